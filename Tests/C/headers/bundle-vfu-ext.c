/* vfu-ext.h brings what it is an addition to, and can be included twice. */
#include <vfio-user/vfu-ext.h>
#include <vfio-user/vfu-ext.h>

#ifndef VFU_EXT_H
#error "include guard"
#endif

unsigned long bundle(void);

unsigned long
bundle(void)
{
    return sizeof(vfu_dma_info_t) + VFU_IOMMUFD_REQUIRE + VFU_IOVA_OPAQUE;
}
