/* Calls made too early, too late or twice, and NULL where a pointer belongs: an errno or no effect, never more. */
#include "support.h"

#define BASE UINT64_C(0x10000)
#define CRASHES "it crashes"

static uint64_t sg[5];
#define SG ((dma_sg_t *)sg)

static int look_up(vfu_ctx_t *ctx)
{
    return vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)BASE, PS, SG, 1, PROT_READ | PROT_WRITE);
}

/* Whatever sg holds, it is of no use. */
static void assert_sg_is_useless(vfu_ctx_t *ctx)
{
    struct iovec iov;
    uint8_t data[8] = {0};

    assert_false(vfu_sg_is_mappable(ctx, SG));
    assert_fails(vfu_sgl_get(ctx, SG, &iov, 1, 0), EINVAL);
    vfu_sgl_put(ctx, SG, &iov, 1);
    vfu_sgl_mark_dirty(ctx, SG, 1);
    for (int flags = 0; flags <= VFU_SGL_DIRECT_ACCESS; flags++) {
        assert_fails(vfu_sgl_read(ctx, SG, 1, data, flags), EINVAL);
        sg[4] = 1; /* as if it had been asked for writing */
        assert_fails(vfu_sgl_write(ctx, SG, 1, data, flags), EINVAL);
    }
}

/* Nothing has been set up, and nothing of it is there. */
static void assert_nothing_works(struct session *s, int trigger_error)
{
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM};

    assert_fails(vfu_irq_trigger(s->ctx, 0), trigger_error);
    assert_fails(vfu_irq_trigger(s->ctx, UINT32_MAX), EINVAL);
    assert_fails(look_up(s->ctx), EINVAL);
    memset(sg, 0, sizeof(sg));
    assert_sg_is_useless(s->ctx);
    memset(sg, 0xff, sizeof(sg));
    assert_sg_is_useless(s->ctx);
    assert_fails(vfu_device_quiesced(s->ctx, 0), EINVAL);
    assert_fails(vfu_device_quiesced(s->ctx, EIO), EINVAL);
    assert_fails(vfu_create_ioeventfd(s->ctx, 0, -1, 0, 8, 0, 0, -1, 0), EINVAL);
    assert_true(vfu_get_poll_fd(s->ctx) >= 0);
    if (vfu_pci_get_config_space(s->ctx) == NULL) {
        assert_fails(vfu_pci_add_capability(s->ctx, 0, 0, &pm), EINVAL);
        assert_zero_with(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_PM), EINVAL);
        assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 0x100, PCI_EXT_CAP_ID_DSN), EINVAL);
        vfu_pci_set_id(s->ctx, 1, 2, 3, 4);
        vfu_pci_set_class(s->ctx, 1, 2, 3);
        assert_null(vfu_pci_get_config_space(s->ctx));
    }
}

TEST(nothing_was_set_up)
{
    struct session *s;

    NOT_ON_REFERENCE(CRASHES);
    s = new_session();
    assert_nothing_works(s, EINVAL);
    assert_fails(vfu_run_ctx(s->ctx), EINVAL);
    connect_client(s); /* before realize */
    assert_nothing_works(s, EINVAL);
    assert_fails(vfu_run_ctx(s->ctx), EINVAL);
    assert_fails(vfu_attach_ctx(s->ctx), EINVAL);
    realize(s);
    assert_nothing_works(s, ENOENT);
    assert_serving(s);
    assert_int_equal(config_get(s, 0, 4), 0); /* ids set too early went nowhere */
    lose_client(s);
    assert_nothing_works(s, ENOENT);
}

TEST(nothing_is_mapped)
{
    struct session *s = new_session();

    use_dma(s);
    assert_fails(look_up(s->ctx), ENOENT);
    realize(s);
    assert_fails(look_up(s->ctx), ENOENT);
    connect_client(s);
    assert_fails(look_up(s->ctx), ENOENT);
    lose_client(s);
    assert_fails(look_up(s->ctx), ENOENT);
}

/* What belonged to a client is of no use when it is gone, nor with the next one. */
TEST(after_the_client_left)
{
    struct session *s;
    int fd, irq;
    const uint32_t irqs[5] = {20, VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD, VFU_DEV_MSIX_IRQ, 0, 1};

    NOT_ON_REFERENCE("it uses the freed region");
    s = new_session();
    fd = guest_file(PS);
    irq = new_eventfd(0);
    use_dma(s);
    use_quiesce_and_reset(s);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 1), 0);
    start(s);
    request_fds(s, VFIO_USER_DEVICE_SET_IRQS, irqs, sizeof(irqs), &irq, 1);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    assert_int_equal(look_up(s->ctx), 1);
    lose_client(s);
    for (int round = 0; round < 2; round++) {
        assert_sg_is_useless(s->ctx);
        assert_fails(vfu_irq_trigger(s->ctx, 0), ENOENT);
        assert_fails(vfu_device_quiesced(s->ctx, 0), EINVAL);
        if (round == 0) {
            assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
            connect_client(s);
            dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
        }
    }
    assert_serving(s);
    close(fd);
    close(irq);
}

TEST(null_pointers)
{
    struct session *s;
    struct iovec iov;
    uint8_t data[8] = {0};
    const char *no_path = NULL;
    int fd;

    NOT_ON_REFERENCE(CRASHES);
    assert_zero_with(vfu_create_ctx(VFU_TRANS_SOCK, no_path, 0, NULL, VFU_DEV_TYPE_PCI), EINVAL);
    assert_zero_with(vfu_create_ctx(VFU_TRANS_MAX, no_path, 0, NULL, VFU_DEV_TYPE_PCI), ENOTSUP);
    s = new_session();
    assert_fails(vfu_pci_add_capability(s->ctx, 0, 0, NULL), EINVAL);
    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, 0, NULL), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, VFU_CAP_FLAG_EXTENDED, NULL), EINVAL);
    assert_fails(vfu_setup_device_migration_callbacks(s->ctx, NULL), EINVAL);
    use_dma(s);
    start(s);
    fd = guest_file(PS);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    close(fd);
    assert_int_equal(look_up(s->ctx), 1);
    assert_int_equal(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)BASE, PS, NULL, 0, 0), -2); /* how many are needed */
    assert_fails(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)BASE, PS, NULL, 1, 0), EINVAL);
    assert_false(vfu_sg_is_mappable(s->ctx, NULL));
    assert_fails(vfu_sgl_get(s->ctx, NULL, &iov, 1, 0), EINVAL);
    assert_fails(vfu_sgl_get(s->ctx, SG, NULL, 1, 0), EINVAL);
    vfu_sgl_put(s->ctx, NULL, &iov, 1);
    vfu_sgl_put(s->ctx, SG, NULL, 1);
    vfu_sgl_mark_dirty(s->ctx, NULL, 1);
    assert_fails(vfu_sgl_read(s->ctx, NULL, 1, data, VFU_SGL_DIRECT_ACCESS), EINVAL);
    assert_fails(vfu_sgl_write(s->ctx, NULL, 1, data, VFU_SGL_DIRECT_ACCESS), EINVAL);
    assert_fails(vfu_sgl_read(s->ctx, SG, 1, NULL, VFU_SGL_DIRECT_ACCESS), EFAULT);
    assert_fails(vfu_sgl_write(s->ctx, SG, 1, NULL, VFU_SGL_DIRECT_ACCESS), EFAULT);
    assert_serving(s);
}

TEST(numbers_and_flags_of_lists)
{
    struct session *s;
    struct iovec iov;
    int fd;

    NOT_ON_REFERENCE("0 entries abort, flags are ignored");
    s = new_session();
    use_dma(s);
    start(s);
    fd = guest_file(PS);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    close(fd);
    assert_int_equal(look_up(s->ctx), 1);
    assert_fails(vfu_sgl_get(s->ctx, SG, &iov, 0, 0), EINVAL);
    assert_fails(vfu_sgl_get(s->ctx, SG, &iov, 1, 1), EINVAL);
    assert_fails(vfu_sgl_get(s->ctx, SG, &iov, 1, -1), EINVAL);
    vfu_sgl_put(s->ctx, SG, &iov, 0);
    vfu_sgl_mark_dirty(s->ctx, SG, 0);
    assert_int_equal(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)BASE, PS, SG, SIZE_MAX, 0), 1); /* no limit */
    assert_int_equal(vfu_sgl_get(s->ctx, SG, &iov, 1, 0), 0);
}

/* Memory can be used without anybody being told when it goes. */
TEST(memory_without_callbacks)
{
    struct session *s = new_session();
    struct iovec iov;
    int fd = guest_file(PS);

    assert_int_equal(vfu_setup_device_dma(s->ctx, 16, NULL, NULL), 0);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    close(fd);
    assert_int_equal(look_up(s->ctx), 1);
    assert_int_equal(vfu_sgl_get(s->ctx, SG, &iov, 1, 0), 0);
    *(volatile uint8_t *)iov.iov_base = 1;
    vfu_sgl_put(s->ctx, SG, &iov, 1);
}

/* As many regions as anybody can want; the client sees a limit all the same. */
TEST(no_limit_to_regions)
{
    static const size_t limits[] = {SIZE_MAX, (size_t)1 << 63, (size_t)1 << 40, UINT32_MAX};

    NOT_ON_REFERENCE("the limit is cut to 31 bits");
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct session *s = new_session();

        assert_int_equal(vfu_setup_device_dma(s->ctx, limits[i], on_register, on_unregister), 0);
        start(s);
        dma_map(s, DMA_RW, 0, BASE, PS, -1);
        dma_map(s, DMA_RW, 0, 2 * BASE, PS, -1);
        end_session(s);
    }
}

/* Setting DMA up anew ends what was mapped; entries of it are stale, and the client can map again. */
TEST(dma_set_up_twice)
{
    struct session *s;
    int fd;

    NOT_ON_REFERENCE("regions leak and stay mapped");
    s = new_session();
    fd = guest_file(PS);
    use_dma(s);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    assert_int_equal(look_up(s->ctx), 1);
    use_dma(s);
    assert_int_equal(calls_of(CALL_UNREGISTER), 1);
    assert_int_equal(guest_mapping_count(), 0);
    assert_sg_is_useless(s->ctx);
    assert_fails(look_up(s->ctx), ENOENT);
    dma_unmap_fails(s, BASE, PS, ENOENT);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    assert_int_equal(look_up(s->ctx), 1);
    close(fd);
}

/* More vectors than a machine has memory for. */
TEST(too_many_vectors)
{
    struct session *s;

    NOT_ON_REFERENCE("it takes all memory there is");
    s = new_session();
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, UINT32_MAX), 0);
    errno = 0;
    if (vfu_realize_ctx(s->ctx) == -1) {
        assert_int_equal(errno, ENOMEM);
        assert_fails(vfu_run_ctx(s->ctx), EINVAL);
        assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 2048), 0);
        realize(s);
    }
    connect_client(s);
    assert_fails(vfu_irq_trigger(s->ctx, 2047), ENOENT);
    lose_client(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_was_set_up),
        CASE(nothing_is_mapped),
        CASE(after_the_client_left),
        CASE(null_pointers),
        CASE(numbers_and_flags_of_lists),
        CASE(memory_without_callbacks),
        CASE(no_limit_to_regions),
        CASE(dma_set_up_twice),
        CASE(too_many_vectors),
    };
    return RUN(tests);
}
