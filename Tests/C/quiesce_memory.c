/* Client memory in the callbacks that run while the device is quiesced. */
#include "support.h"

#define BASE UINT64_C(0x10000)
#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX

/* A device with everything but migration, and a region of the client's memory. */
static struct session *device(bool express)
{
    struct session *s = new_session();
    struct pxcap cap = {.hdr.id = PCI_CAP_ID_EXP, .pxcaps.ver = 2, .pxdcap = {.flrc = 1}};
    int fd = guest_file(PS);

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0), 0);
    use_region(s, CONFIG, 256, VFU_REGION_FLAG_RW);
    use_region(s, 0, 0x1000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    if (express) {
        assert_int_equal(vfu_pci_add_capability(s->ctx, 0, 0, &cap), 0x40);
    }
    use_dma(s);
    use_quiesce_and_reset(s);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    close(fd);
    clear_calls();
    return s;
}

static void assert_busy(struct session *s)
{
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, EBUSY);
}

static enum call_kind use_memory_in;
static unsigned memory_used;

/* What a device does in a callback in which its memory must be at hand: the region it is told of, if any. */
static void use_memory(vfu_ctx_t *ctx, const struct call *call)
{
    const bool told = call->kind == CALL_REGISTER || call->kind == CALL_UNREGISTER;
    const vfu_dma_addr_t addr = told ? call->info.iova.iov_base : (void *)BASE;
    uint8_t sg[40];
    struct iovec iov;

    if (call->kind == use_memory_in && vfu_addr_to_sgl(ctx, addr, PS, (dma_sg_t *)sg, 1, PROT_WRITE) == 1 &&
        vfu_sgl_get(ctx, (dma_sg_t *)sg, &iov, 1, 0) == 0) {
        *(volatile uint8_t *)iov.iov_base = 1;
        vfu_sgl_put(ctx, (dma_sg_t *)sg, &iov, 1);
        memory_used++;
    }
}

/* Sends the request, quiescing at once or later; the hook must have found the memory. */
static void memory_during(struct session *s, enum call_kind kind, bool later, uint16_t cmd, const void *body,
                          size_t size, int fd)
{
    uint16_t id;

    use_memory_in = kind;
    memory_used = 0;
    calls.hook = use_memory;
    calls.behave[CALL_QUIESCE].error = later ? EBUSY : 0;
    id = send_request_fds(s, cmd, body, size, &fd, fd != -1 ? 1 : 0);
    if (later) {
        assert_busy(s);
        assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    } else {
        assert_int_equal(run(s), 1);
    }
    assert_success(s, receive(s), id, cmd);
    assert_int_equal(memory_used, 1);
    calls.hook = NULL;
    calls.behave[CALL_QUIESCE].error = 0;
}

TEST(memory_while_registering)
{
    struct vfio_user_dma_map body = dma_map_body(DMA_RW | DMA_MMAP, PS, 2 * BASE, PS);
    int fd = guest_file(2 * PS);
    uint8_t byte = 0;

    for (int later = 0; later < 2; later++) {
        struct session *s = device(true);

        memory_during(s, CALL_REGISTER, later, VFIO_USER_DMA_MAP, &body, sizeof(body), fd);
        end_session(s);
        assert_int_equal(pread(fd, &byte, 1, (off_t)PS), 1);
        assert_int_equal(byte, 1);
        assert_int_equal(pwrite(fd, "", 1, (off_t)PS), 1);
    }
    close(fd);
}

TEST(memory_while_unregistering)
{
    NOT_ON_REFERENCE("the region is only found if this thread's latest lookup was there");
    for (int later = 0; later < 2; later++) {
        struct session *s = device(true);
        struct vfio_user_dma_unmap body;

        dma_unmap_body(&body, 0, BASE, PS);
        memory_during(s, CALL_UNREGISTER, later, VFIO_USER_DMA_UNMAP, &body, sizeof(body), -1);
        end_session(s);
    }
}

TEST(memory_while_resetting)
{
    struct {
        struct vfio_user_region_access access;
        uint16_t value;
    } __attribute__((packed)) flr;

    memset(&flr, 0, sizeof(flr));
    flr.access.offset = 0x48;
    flr.access.region = CONFIG;
    flr.access.count = 2;
    flr.value = 0x8000;
    for (int later = 0; later < 2; later++) {
        struct session *s = device(true);

        memory_during(s, CALL_RESET, later, VFIO_USER_DEVICE_RESET, NULL, 0, -1);
        assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_DEVICE);
        memory_during(s, CALL_RESET, later, VFIO_USER_REGION_WRITE, &flr, sizeof(flr), -1);
        assert_int_equal(calls_of(CALL_RESET), 2);
        assert_int_equal(call(CALL_RESET, 1)->value, VFU_RESET_PCI_FLR);
        end_session(s);
        clear_calls();
    }
}

/* Until the device is quiesced it may go on, except for copies by messages. */
TEST(memory_while_quiescing)
{
    struct session *s;
    uint8_t sg[40], data[8] = {0};
    struct iovec iov;
    uint16_t id;

    NOT_ON_REFERENCE("it aborts");
    s = device(true);
    calls.behave[CALL_QUIESCE].error = EBUSY;
    id = send_request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    assert_busy(s);
    assert_int_equal(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)BASE, 8, (dma_sg_t *)sg, 1, PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_get(s->ctx, (dma_sg_t *)sg, &iov, 1, 0), 0);
    vfu_sgl_put(s->ctx, (dma_sg_t *)sg, &iov, 1);
    assert_int_equal(vfu_sgl_write(s->ctx, (dma_sg_t *)sg, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    assert_int_equal(vfu_sgl_read(s->ctx, (dma_sg_t *)sg, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    assert_fails(vfu_sgl_read(s->ctx, (dma_sg_t *)sg, 1, data, 0), EBUSY);
    assert_fails(vfu_sgl_write(s->ctx, (dma_sg_t *)sg, 1, data, 0), EBUSY);
    assert_true(nothing_to_receive(s->client));
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_success(s, receive(s), id, VFIO_USER_DEVICE_RESET);
    assert_int_equal(vfu_sgl_write(s->ctx, (dma_sg_t *)sg, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(memory_while_registering),
        CASE(memory_while_unregistering),
        CASE(memory_while_resetting),
        CASE(memory_while_quiescing),
    };
    return RUN(tests);
}
