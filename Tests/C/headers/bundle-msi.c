/* pci_caps/msi.h needs no other header, can be included twice and brings what programs expect of it. */
#include <vfio-user/pci_caps/msi.h>
#include <vfio-user/pci_caps/msi.h>

#ifndef LIB_VFIO_USER_PCI_CAPS_MSI_H
#error "include guard"
#endif

unsigned long bundle(void);

unsigned long
bundle(void)
{
    return sizeof(struct msicap) + VFIO_USER_PCI_CAP_MSI_SIZEOF;
}
