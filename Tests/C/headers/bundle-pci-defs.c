/* pci_defs.h needs no other header, can be included twice and brings what programs expect of it. */
#include <vfio-user/pci_defs.h>
#include <vfio-user/pci_defs.h>

#ifndef LIBVFIO_USER_PCI_DEFS_H
#error "include guard"
#endif

unsigned long bundle(void);

unsigned long
bundle(void)
{
    return sizeof(vfu_pci_config_space_t) + sizeof(bool) + PCI_STD_HEADER_SIZEOF;
}
