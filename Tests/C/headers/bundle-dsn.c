/* pci_caps/dsn.h needs no other header, can be included twice and brings what programs expect of it. */
#include <vfio-user/pci_caps/dsn.h>
#include <vfio-user/pci_caps/dsn.h>

#ifndef LIB_VFIO_USER_PCI_CAPS_DSN_H
#error "include guard"
#endif

unsigned long bundle(void);

unsigned long
bundle(void)
{
    return sizeof(struct dsncap) + sizeof(struct pcie_ext_cap_hdr);
}
