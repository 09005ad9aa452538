/* pci_caps/px.h needs no other header, can be included twice and brings what programs expect of it. */
#include <vfio-user/pci_caps/px.h>
#include <vfio-user/pci_caps/px.h>

#ifndef LIB_VFIO_USER_PCI_CAPS_PX_H
#error "include guard"
#endif

unsigned long bundle(void);

unsigned long
bundle(void)
{
    return sizeof(struct pxcap) + VFIO_USER_PCI_CAP_EXP_SIZEOF;
}
