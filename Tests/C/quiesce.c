/* Quiescing the device before certain requests and before the clean-up after a lost client. */
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

static bool mapped(struct session *s, uint64_t addr)
{
    uint8_t sg[40];

    return vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)addr, PS, (dma_sg_t *)sg, 1, 0) == 1;
}

TEST(quiesced_without_being_asked)
{
    struct session *s = new_session();

    assert_fails(vfu_device_quiesced(s->ctx, 0), EINVAL); /* no callback */
    use_quiesce_and_reset(s);
    start(s);
    assert_fails(vfu_device_quiesced(s->ctx, 0), EINVAL);
    assert_fails(vfu_device_quiesced(s->ctx, ENOTTY), EINVAL);
    assert_int_equal(calls.count, 0);
}

/* Which requests need a quiet device: those that change what it works with. */
TEST(requests_that_quiesce)
{
    struct session *s = device(true);

    dma_map(s, DMA_RW, 0, 2 * BASE, PS, -1);
    assert_int_equal(calls_of(CALL_QUIESCE), 1);
    dma_unmap(s, 2 * BASE, PS);
    assert_int_equal(calls_of(CALL_QUIESCE), 2);
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    assert_int_equal(calls_of(CALL_QUIESCE), 3);
    config_put(s, 0x48, 2, 0); /* Device Control, whatever is written */
    assert_int_equal(calls_of(CALL_QUIESCE), 4);
    config_put_fails(s, 0x48, 1, 0, EINVAL);
    assert_int_equal(calls_of(CALL_QUIESCE), 5);
    /* Malformed ones quiesce, too. */
    request_fails(s, VFIO_USER_DMA_MAP, "\0", 1, EINVAL);
    assert_int_equal(calls_of(CALL_QUIESCE), 6);
    dma_unmap_fails(s, 2 * BASE, PS, ENOENT);
    assert_int_equal(calls_of(CALL_QUIESCE), 7);
}

TEST(requests_that_do_not_quiesce)
{
    struct session *s = device(true);
    uint8_t body[64] = {0};
    struct vfio_region_info info = {.argsz = 32};
    struct vfio_irq_info irq = {.argsz = 16};
    struct vfio_user_region_io_fds_request fds = {.argsz = 16};
    const uint32_t irqs[5] = {20, VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE, VFU_DEV_ERR_IRQ, 0, 0};

    assert_serving(s);
    request(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info));
    request(s, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &fds, sizeof(fds));
    request(s, VFIO_USER_DEVICE_GET_IRQ_INFO, &irq, sizeof(irq));
    request(s, VFIO_USER_DEVICE_SET_IRQS, irqs, sizeof(irqs));
    request_fails(s, 999, body, sizeof(body), EINVAL);
    region_read(s, 0, 0, 4);
    region_write(s, 0, 0x48, body, 2);
    config_get(s, 0x48, 2);
    config_put(s, 0x50, 2, 0);
    config_put_fails(s, 0x46, 4, 0, EINVAL); /* does not begin at Device Control */
    config_put(s, 0x3c, 1, 0);
    feature_fails(s, FEATURE_PROBE(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), 8, NULL, 0, EINVAL);
    assert_int_equal(calls_of(CALL_QUIESCE), 0);
}

TEST(device_control_needs_the_capability)
{
    struct session *s;

    NOT_ON_REFERENCE("without PCI Express a config write at offset 7 quiesces");
    s = device(false);
    for (unsigned offset = 0; offset < 0x40; offset++) {
        uint8_t zero = 0;

        send_region_write(s, CONFIG, offset, &zero, 1);
        assert_in_range(run(s), 0, 1);
        receive(s);
    }
    assert_int_equal(calls_of(CALL_QUIESCE), 0);
}

TEST(positive_results_are_success)
{
    struct session *s = device(false);

    calls.behave[CALL_QUIESCE] = (struct behaviour){.override = true, .result = 1};
    calls.behave[CALL_RESET] = (struct behaviour){.override = true, .result = 1};
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    dma_map(s, DMA_RW, 0, 2 * BASE, PS, -1);
    lose_client(s);
    assert_int_equal(calls_of(CALL_RESET), 2);
}

TEST(without_callback_nothing_is_asked)
{
    struct session *s = device(false);

    vfu_setup_device_quiesce_cb(s->ctx, NULL);
    calls.behave[CALL_QUIESCE].error = ENOTTY;
    dma_map(s, DMA_RW, 0, 2 * BASE, PS, -1);
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    lose_client(s);
    assert_int_equal(calls_of(CALL_QUIESCE), 0);
}

TEST(quiesce_fails)
{
    struct session *s = device(true);

    calls.behave[CALL_QUIESCE].error = ENOTTY;
    dma_map_fails(s, DMA_RW, 0, 2 * BASE, PS, -1, ENOTTY);
    dma_unmap_fails(s, BASE, PS, ENOTTY);
    request_fails(s, VFIO_USER_DEVICE_RESET, NULL, 0, ENOTTY);
    config_put_fails(s, 0x48, 2, 0x8000, ENOTTY);
    assert_int_equal(calls_of(CALL_QUIESCE), 4);
    assert_int_equal(calls.count, 4);
    assert_true(mapped(s, BASE));
    assert_false(mapped(s, 2 * BASE));
    assert_serving(s);
}

TEST(quiesce_fails_with_fds)
{
    struct session *s = device(false);
    int fd = guest_file(PS);
    size_t before = fd_count();

    calls.behave[CALL_QUIESCE].error = ENOTTY;
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, 2 * BASE, PS, fd, ENOTTY);
    assert_int_equal(fd_count(), before);
    close(fd);
}

/* fds of a request that is given up, or still waits when the context is destroyed, do not stay. */
TEST(request_with_fds_is_given_up)
{
    struct session *s;
    struct vfio_user_dma_map body = dma_map_body(DMA_RW | DMA_MMAP, 0, 2 * BASE, PS);
    int fd;
    size_t before;

    NOT_ON_REFERENCE("a pending request leaks");
    s = device(false);
    fd = guest_file(PS);
    before = fd_count();
    calls.behave[CALL_QUIESCE].error = EBUSY;
    send_request_fds(s, VFIO_USER_DMA_MAP, &body, sizeof(body), &fd, 1);
    assert_busy(s);
    assert_int_equal(vfu_device_quiesced(s->ctx, ENOTTY), 0);
    assert_int_equal(fd_count(), before);
    send_request_fds(s, VFIO_USER_DMA_MAP, &body, sizeof(body), &fd, 1);
    assert_busy(s);
    close(fd);
    end_session(s);
}

TEST(busy)
{
    struct session *s = device(true);
    struct vfio_device_info info = {.argsz = 16};
    uint16_t first, second;

    calls.behave[CALL_QUIESCE].error = EBUSY;
    first = send_request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    second = send_request(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info));
    assert_busy(s);
    for (int i = 0; i < 3; i++) {
        assert_busy(s);
    }
    assert_int_equal(calls_of(CALL_QUIESCE), 1);
    assert_int_equal(calls_of(CALL_RESET), 0);
    assert_true(nothing_to_receive(s->client));
    assert_true(mapped(s, BASE)); /* the device may go on meanwhile */

    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_int_equal(calls_of(CALL_RESET), 1);
    assert_success(s, receive(s), first, VFIO_USER_DEVICE_RESET);
    /* The request behind it waited, for the run call if not for the one above. */
    assert_in_range(run(s), 0, 1);
    assert_success(s, receive(s), second, VFIO_USER_DEVICE_GET_INFO);
    assert_fails(vfu_device_quiesced(s->ctx, 0), EINVAL);
    assert_int_equal(calls_of(CALL_QUIESCE), 1);
}

/* The client learns of the failure; the device did its part. */
TEST(busy_and_then_the_request_fails)
{
    struct session *s = device(true);
    struct vfio_user_dma_unmap body;
    uint16_t id;

    calls.behave[CALL_QUIESCE].error = EBUSY;
    dma_unmap_body(&body, 0, 3 * BASE, PS);
    id = send_request(s, VFIO_USER_DMA_UNMAP, &body, sizeof(body));
    assert_busy(s);
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_error(s, receive(s), id, VFIO_USER_DMA_UNMAP, ENOENT);
    calls.behave[CALL_RESET].error = EIO;
    id = send_request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    assert_busy(s);
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_error(s, receive(s), id, VFIO_USER_DEVICE_RESET, EIO);
}

TEST(busy_without_reply)
{
    struct session *s = device(true);
    struct vfio_user_header header = command_header(s, VFIO_USER_DEVICE_RESET, 0);

    header.flags |= VFIO_USER_F_NO_REPLY;
    calls.behave[CALL_QUIESCE].error = EBUSY;
    send_message(s->client, &header, NULL, 0, NULL, 0);
    assert_busy(s);
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_int_equal(calls_of(CALL_RESET), 1);
    assert_true(nothing_to_receive(s->client));
}

TEST(busy_and_then_quiescing_fails)
{
    struct session *s = device(true);
    struct vfio_user_dma_map body = dma_map_body(DMA_RW, 0, 2 * BASE, PS);
    uint16_t id;
    uint8_t sg[40];

    calls.behave[CALL_QUIESCE].error = EBUSY;
    id = send_request(s, VFIO_USER_DMA_MAP, &body, sizeof(body));
    assert_busy(s);
    assert_int_equal(vfu_device_quiesced(s->ctx, ENOTTY), 0);
    assert_int_equal(calls_of(CALL_REGISTER), 0);
    assert_fails(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)(2 * BASE), PS, (dma_sg_t *)sg, 1, 0), ENOENT);
    if (on_reference()) { /* which never answers */
        assert_true(nothing_to_receive(s->client));
    } else {
        assert_error(s, receive(s), id, VFIO_USER_DMA_MAP, ENOTTY);
    }
    calls.behave[CALL_QUIESCE].error = 0;
    assert_serving(s);
    dma_map(s, DMA_RW, 0, 2 * BASE, PS, -1);
}

static int inner_result, inner_errno;

static void quiesced_at_once(vfu_ctx_t *ctx, const struct call *call)
{
    if (call->kind == CALL_QUIESCE) {
        errno = 0;
        inner_result = vfu_device_quiesced(ctx, 0);
        inner_errno = errno;
    }
}

TEST(quiesced_from_inside_the_callback)
{
    struct session *s = device(true);

    calls.hook = quiesced_at_once;
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    assert_int_equal(inner_result, -1);
    assert_int_equal(inner_errno, EINVAL);
}

TEST(lost_client)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_UNREGISTER, CALL_RESET};
    struct session *s = device(true);

    calls.behave[CALL_QUIESCE].error = EBUSY;
    close_client(s);
    assert_busy(s);
    for (int i = 0; i < 3; i++) {
        assert_busy(s);
    }
    assert_int_equal(calls.count, 1);
    assert_fails(vfu_attach_ctx(s->ctx), EINVAL); /* not yet */
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_fails(vfu_device_quiesced(s->ctx, 0), EINVAL);
    calls.behave[CALL_QUIESCE].error = 0;
    connect_client(s);
    assert_serving(s);
}

TEST(lost_client_and_quiescing_fails)
{
    struct session *s = device(true);

    calls.behave[CALL_QUIESCE].error = ENOTTY;
    close_client(s);
    for (int i = 0; i < 2; i++) { /* it tries again each time */
        assert_int_equal(run(s), -1);
        assert_int_equal(s->run_errno, ENOTTY);
        assert_int_equal(calls.count, i + 1);
    }
    calls.behave[CALL_QUIESCE].error = EBUSY;
    assert_busy(s);
    assert_int_equal(vfu_device_quiesced(s->ctx, ENOTTY), 0);
    assert_int_equal(calls.count, 3);
    assert_busy(s); /* asked once more */
    assert_int_equal(calls.count, 4);
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_int_equal(calls_of(CALL_RESET), 1);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(quiesced_without_being_asked),
        CASE(requests_that_quiesce),
        CASE(requests_that_do_not_quiesce),
        CASE(device_control_needs_the_capability),
        CASE(positive_results_are_success),
        CASE(without_callback_nothing_is_asked),
        CASE(quiesce_fails),
        CASE(quiesce_fails_with_fds),
        CASE(request_with_fds_is_given_up),
        CASE(busy),
        CASE(busy_and_then_the_request_fails),
        CASE(busy_without_reply),
        CASE(busy_and_then_quiescing_fails),
        CASE(quiesced_from_inside_the_callback),
        CASE(lost_client),
        CASE(lost_client_and_quiescing_fails),
    };
    return RUN(tests);
}
