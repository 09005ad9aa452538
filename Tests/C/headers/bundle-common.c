/* pci_caps/common.h needs no other header, can be included twice and brings what programs expect of it. */
#include <vfio-user/pci_caps/common.h>
#include <vfio-user/pci_caps/common.h>

#ifndef LIB_VFIO_USER_PCI_CAPS_COMMON_H
#error "include guard"
#endif

unsigned long bundle(void);

unsigned long
bundle(void)
{
    return sizeof(struct vsc) + offsetof(struct cap_hdr, next) + PCI_CAP_ID_VNDR;
}
