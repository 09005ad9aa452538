/* vfio-user.h needs no other header, can be included twice and brings what programs expect of it. */
#include <vfio-user/vfio-user.h>
#include <vfio-user/vfio-user.h>

#ifndef VFIO_USER_H
#error "include guard"
#endif

unsigned long bundle(void);

unsigned long
bundle(void)
{
    return sizeof(struct vfio_user_header) + sizeof(struct vfio_irq_set) + VFIO_REGION_INFO_FLAG_MMAP
           + LINUX_VERSION_CODE + sizeof(PRIx64);
}
