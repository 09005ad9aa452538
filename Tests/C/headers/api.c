/* The type of every function and callback of libvfio-user.h: what does not match does not compile. */
#include <vfio-user/libvfio-user.h>

struct api {
    vfu_ctx_t *(*create_ctx)(vfu_trans_t, const char *, int, void *, vfu_dev_type_t);
    int (*realize_ctx)(vfu_ctx_t *);
    int (*attach_ctx)(vfu_ctx_t *);
    int (*get_poll_fd)(vfu_ctx_t *);
    int (*run_ctx)(vfu_ctx_t *);
    void (*destroy_ctx)(vfu_ctx_t *);
    void *(*get_private)(vfu_ctx_t *);
    void (*log)(vfu_ctx_t *, int, const char *, ...);
    int (*setup_log)(vfu_ctx_t *, vfu_log_fn_t *, int);
    int (*setup_region)(vfu_ctx_t *, int, size_t, vfu_region_access_cb_t *, int, struct iovec *, uint32_t,
                        int, uint64_t);
    int (*create_ioeventfd)(vfu_ctx_t *, uint32_t, int, size_t, uint32_t, uint32_t, uint64_t, int, size_t);
    void (*setup_device_quiesce_cb)(vfu_ctx_t *, vfu_device_quiesce_cb_t *);
    int (*device_quiesced)(vfu_ctx_t *, int);
    int (*setup_device_reset_cb)(vfu_ctx_t *, vfu_reset_cb_t *);
    int (*setup_device_dma)(vfu_ctx_t *, size_t, vfu_dma_register_cb_t *, vfu_dma_unregister_cb_t *);
    int (*setup_device_nr_irqs)(vfu_ctx_t *, enum vfu_dev_irq_type, uint32_t);
    int (*setup_irq_state_callback)(vfu_ctx_t *, enum vfu_dev_irq_type, vfu_dev_irq_state_cb_t *);
    int (*irq_trigger)(vfu_ctx_t *, uint32_t);
    int (*setup_device_migration_callbacks)(vfu_ctx_t *, const vfu_migration_callbacks_t *);
    size_t (*sg_size)(void);
    int (*addr_to_sgl)(vfu_ctx_t *, vfu_dma_addr_t, size_t, dma_sg_t *, size_t, int);
    bool (*sg_is_mappable)(vfu_ctx_t *, dma_sg_t *);
    int (*sgl_get)(vfu_ctx_t *, dma_sg_t *, struct iovec *, size_t, int);
    void (*sgl_mark_dirty)(vfu_ctx_t *, dma_sg_t *, size_t);
    void (*sgl_put)(vfu_ctx_t *, dma_sg_t *, struct iovec *, size_t);
    int (*sgl_read)(vfu_ctx_t *, dma_sg_t *, size_t, void *, int);
    int (*sgl_write)(vfu_ctx_t *, dma_sg_t *, size_t, void *, int);
    int (*pci_init)(vfu_ctx_t *, vfu_pci_type_t, int, int);
    void (*pci_set_id)(vfu_ctx_t *, uint16_t, uint16_t, uint16_t, uint16_t);
    void (*pci_set_class)(vfu_ctx_t *, uint8_t, uint8_t, uint8_t);
    vfu_pci_config_space_t *(*pci_get_config_space)(vfu_ctx_t *);
    ssize_t (*pci_add_capability)(vfu_ctx_t *, size_t, int, void *);
    size_t (*pci_find_capability)(vfu_ctx_t *, bool, int);
    size_t (*pci_find_next_capability)(vfu_ctx_t *, bool, size_t, int);
};

extern const struct api api;

const struct api api = {
    vfu_create_ctx,
    vfu_realize_ctx,
    vfu_attach_ctx,
    vfu_get_poll_fd,
    vfu_run_ctx,
    vfu_destroy_ctx,
    vfu_get_private,
    vfu_log,
    vfu_setup_log,
    vfu_setup_region,
    vfu_create_ioeventfd,
    vfu_setup_device_quiesce_cb,
    vfu_device_quiesced,
    vfu_setup_device_reset_cb,
    vfu_setup_device_dma,
    vfu_setup_device_nr_irqs,
    vfu_setup_irq_state_callback,
    vfu_irq_trigger,
    vfu_setup_device_migration_callbacks,
    dma_sg_size,
    vfu_addr_to_sgl,
    vfu_sg_is_mappable,
    vfu_sgl_get,
    vfu_sgl_mark_dirty,
    vfu_sgl_put,
    vfu_sgl_read,
    vfu_sgl_write,
    vfu_pci_init,
    vfu_pci_set_id,
    vfu_pci_set_class,
    vfu_pci_get_config_space,
    vfu_pci_add_capability,
    vfu_pci_find_capability,
    vfu_pci_find_next_capability,
};

struct callbacks {
    void (*log)(vfu_ctx_t *, int, const char *);
    ssize_t (*region_access)(vfu_ctx_t *, char *, size_t, loff_t, bool);
    int (*quiesce)(vfu_ctx_t *);
    int (*reset)(vfu_ctx_t *, vfu_reset_type_t);
    void (*dma_register)(vfu_ctx_t *, vfu_dma_info_t *);
    void (*dma_unregister)(vfu_ctx_t *, vfu_dma_info_t *);
    void (*irq_state)(vfu_ctx_t *, uint32_t, uint32_t, bool);
    int (*transition)(vfu_ctx_t *, vfu_migr_state_t);
    ssize_t (*read_data)(vfu_ctx_t *, void *, uint64_t);
    ssize_t (*write_data)(vfu_ctx_t *, void *, uint64_t);
};

struct callbacks
callbacks_of(vfu_log_fn_t *log, vfu_region_access_cb_t *region_access, vfu_device_quiesce_cb_t *quiesce,
             vfu_reset_cb_t *reset, vfu_dma_register_cb_t *dma_register,
             vfu_dma_unregister_cb_t *dma_unregister, vfu_dev_irq_state_cb_t *irq_state,
             const vfu_migration_callbacks_t *migration);

struct callbacks
callbacks_of(vfu_log_fn_t *log, vfu_region_access_cb_t *region_access, vfu_device_quiesce_cb_t *quiesce,
             vfu_reset_cb_t *reset, vfu_dma_register_cb_t *dma_register,
             vfu_dma_unregister_cb_t *dma_unregister, vfu_dev_irq_state_cb_t *irq_state,
             const vfu_migration_callbacks_t *migration)
{
    struct callbacks all = {log, region_access, quiesce, reset, dma_register, dma_unregister, irq_state,
                            migration->transition, migration->read_data, migration->write_data};

    return all;
}
