/* The type of every function and callback of vfu-ext.h: what does not match does not compile. */
#include <vfio-user/vfu-ext.h>

struct api_ext {
    int (*setup_device_iommufd)(vfu_ctx_t *, int, int);
    int (*setup_device_iova_allocator)(vfu_ctx_t *, vfu_iova_allocate_cb_t *, vfu_iova_free_cb_t *);
    int (*setup_device_iova_limits)(vfu_ctx_t *, const struct vfio_user_iommufd_iova_range *, size_t,
                                    uint64_t);
    int (*setup_device_ioas_cb)(vfu_ctx_t *, vfu_ioas_cb_t *);
    int (*iommufd_in_use)(vfu_ctx_t *);
    int (*iommufd_attached_ioas)(vfu_ctx_t *, uint32_t *);
    int (*dma_info_user_va)(vfu_ctx_t *, const vfu_dma_info_t *, uint64_t *);
    int (*setup_device_require_sealed)(vfu_ctx_t *, bool);
    int (*setup_device_guard_dma)(vfu_ctx_t *, bool);
};

extern const struct api_ext api_ext;

const struct api_ext api_ext = {
    vfu_setup_device_iommufd,
    vfu_setup_device_iova_allocator,
    vfu_setup_device_iova_limits,
    vfu_setup_device_ioas_cb,
    vfu_iommufd_in_use,
    vfu_iommufd_attached_ioas,
    vfu_dma_info_user_va,
    vfu_setup_device_require_sealed,
    vfu_setup_device_guard_dma,
};

struct callbacks_ext {
    int (*allocate)(vfu_ctx_t *, void *, uint64_t, int, uint64_t, uint64_t *);
    void (*free_iova)(vfu_ctx_t *, uint64_t, uint64_t);
    void (*changed)(vfu_ctx_t *, uint32_t);
};

struct callbacks_ext api_callbacks_ext(vfu_iova_allocate_cb_t *, vfu_iova_free_cb_t *, vfu_ioas_cb_t *);

struct callbacks_ext
api_callbacks_ext(vfu_iova_allocate_cb_t *allocate, vfu_iova_free_cb_t *free_iova, vfu_ioas_cb_t *changed)
{
    struct callbacks_ext callbacks = {allocate, free_iova, changed};

    return callbacks;
}
