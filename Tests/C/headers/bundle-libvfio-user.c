/* libvfio-user.h needs no other header, can be included twice and brings what programs expect of it. */
#include <vfio-user/libvfio-user.h>
#include <vfio-user/libvfio-user.h>

#ifndef LIB_VFIO_USER_H
#error "include guard"
#endif

unsigned long bundle(void);

unsigned long
bundle(void)
{
    return sizeof(vfu_dma_info_t) + sizeof(struct iovec) + sizeof(struct pxcap)
           + sizeof(struct vfio_user_header) + (size_t)LOG_DEBUG + PCI_CAP_ID_EXP
           + VFIO_DEVICE_FLAGS_PCI + (size_t)true;
}
