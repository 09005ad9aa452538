/* pci_caps/msix.h needs no other header, can be included twice and brings what programs expect of it. */
#include <vfio-user/pci_caps/msix.h>
#include <vfio-user/pci_caps/msix.h>

#ifndef LIB_VFIO_USER_PCI_CAPS_MSIX_H
#error "include guard"
#endif

unsigned long bundle(void);

unsigned long
bundle(void)
{
    return sizeof(struct msixcap) + PCI_CAP_MSIX_SIZEOF + sizeof(uint64_t);
}
