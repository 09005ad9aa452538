/* Device reset, function-level reset, and the reset that follows a lost client. */
#include "support.h"

#define BASE UINT64_C(0x10000)
#define DEVICE_CONTROL 0x48

static struct session *device(void)
{
    struct session *s = new_session();
    struct pxcap cap = {.hdr.id = PCI_CAP_ID_EXP, .pxcaps.ver = 2, .pxdcap = {.flrc = 1}};

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, 0, &cap), 0x40);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 2), 0);
    use_region(s, 1, 0x1000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    use_dma(s);
    use_quiesce_and_reset(s);
    start(s);
    return s;
}

static void give_irq(struct session *s, int fd)
{
    const uint32_t body[5] = {20, VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD, VFU_DEV_MSIX_IRQ, 0, 1};

    request_fds(s, VFIO_USER_DEVICE_SET_IRQS, body, sizeof(body), &fd, 1);
}

TEST(device_reset)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_RESET};
    struct session *s = device();

    assert_int_equal(request(s, VFIO_USER_DEVICE_RESET, NULL, 0)->size, 0);
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_DEVICE);
    /* A payload is read and means nothing. */
    assert_int_equal(request(s, VFIO_USER_DEVICE_RESET, "some bytes", 10)->size, 0);
    assert_int_equal(calls_of(CALL_RESET), 2);
    assert_serving(s);
}

TEST(device_reset_fails)
{
    static const int errors[] = {EIO, EBUSY, ENOTCONN, 0xbeef};
    struct session *s = device();

    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        calls.behave[CALL_RESET].error = errors[i];
        request_fails(s, VFIO_USER_DEVICE_RESET, NULL, 0, errors[i]);
        assert_int_equal(s->run_errno, errors[i]);
    }
    calls.behave[CALL_RESET].error = 0;
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
}

TEST(device_reset_without_callback)
{
    struct session *s = device();

    assert_int_equal(vfu_setup_device_reset_cb(s->ctx, NULL), 0);
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    config_put(s, DEVICE_CONTROL, 2, 0x8000);
    lose_client(s);
    assert_int_equal(calls_of(CALL_RESET), 0);
    assert_int_equal(calls_of(CALL_QUIESCE), 3);
}

/* What to reset is the device's business: the library leaves everything as it is. */
TEST(resets_change_nothing)
{
    struct session *s = device();
    struct vfio_user_region_io_fds_request query = {.argsz = 16, .index = 1};
    struct vfio_user_region_io_fds_request answer;
    int irq = new_eventfd(0), io = new_eventfd(0), memory = guest_file(PS);
    uint8_t sg[40];

    assert_int_equal(vfu_create_ioeventfd(s->ctx, 1, io, 0, 8, 0, 0, -1, 0), 0);
    give_irq(s, irq);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, memory);
    config_put(s, 4, 2, 6);
    config_put(s, 0x14, 4, 0xabcd0000);
    for (int i = 0; i < 2; i++) {
        if (i == 0) {
            request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
        } else {
            config_put(s, DEVICE_CONTROL, 2, 0x8000);
        }
        assert_int_equal(calls_of(CALL_RESET), i + 1);
        assert_int_equal(calls_of(CALL_UNREGISTER), 0);
        assert_int_equal(config_get(s, 4, 2), 6);
        assert_int_equal(config_get(s, 0x14, 4), 0xabcd0000);
        assert_int_equal(vfu_irq_trigger(s->ctx, 0), 0);
        assert_int_equal(eventfd_value(irq), 1);
        assert_int_equal(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)BASE, PS, (dma_sg_t *)sg, 1, 0), 1);
        memcpy(&answer, request(s, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &query, sizeof(query))->data, sizeof(answer));
        assert_int_equal(answer.count, 1);
    }
    close(irq);
    close(io);
    close(memory);
}

static unsigned control_before, control_at_reset;

static void look_at_control(vfu_ctx_t *ctx, const struct call *call)
{
    const uint8_t *control = vfu_pci_get_config_space(ctx)->raw + DEVICE_CONTROL;

    *(call->kind == CALL_RESET ? &control_at_reset : &control_before) = control[0] | (unsigned)control[1] << 8;
}

TEST(function_level_reset)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_RESET};
    struct session *s = device();

    calls.hook = look_at_control;
    config_put(s, DEVICE_CONTROL, 2, 0x8010);
    calls.hook = NULL;
    assert_int_equal(control_before, 0);
    assert_int_equal(control_at_reset, 0x0010); /* stored before the device is told */
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_PCI_FLR);
    assert_int_equal(config_get(s, DEVICE_CONTROL, 2), 0x0010); /* the bit itself is never stored */
    config_put(s, DEVICE_CONTROL, 2, 0x7fff);
    assert_int_equal(calls_of(CALL_RESET), 1);
}

TEST(function_level_reset_fails)
{
    struct session *s = device();

    calls.behave[CALL_RESET].error = EDOM;
    config_put_fails(s, DEVICE_CONTROL, 2, 0x8123, EDOM);
    assert_int_equal(config_get(s, DEVICE_CONTROL, 2), 0x0123);
    calls.behave[CALL_RESET].error = 0;
    config_put(s, DEVICE_CONTROL, 2, 0x8000);
    assert_int_equal(calls_of(CALL_RESET), 2);
}

static int irq_fd, connection;
static bool irq_worked, same_poll_fd;
static int memory_errno;

static void look_round(vfu_ctx_t *ctx, const struct call *call)
{
    uint8_t sg[40];

    if (call->kind == CALL_RESET) {
        irq_worked = vfu_irq_trigger(ctx, 0) == 0 && eventfd_value(irq_fd) == 1;
        same_poll_fd = vfu_get_poll_fd(ctx) == connection;
        errno = 0;
        vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)BASE, PS, (dma_sg_t *)sg, 1, 0);
        memory_errno = errno;
    }
}

/* When the device hears that the client is gone, its memory is, too; interrupts still work. */
TEST(lost_client)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_UNREGISTER, CALL_RESET};
    struct session *s = device();

    irq_fd = new_eventfd(0);
    give_irq(s, irq_fd);
    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    connection = vfu_get_poll_fd(s->ctx);
    clear_calls();
    calls.hook = look_round;
    calls.behave[CALL_RESET].error = EIO; /* nobody cares */
    lose_client(s);
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_LOST_CONN);
    assert_true(irq_worked);
    assert_true(same_poll_fd);
    assert_int_equal(memory_errno, ENOENT);
    calls.hook = NULL;
    assert_fails(vfu_irq_trigger(s->ctx, 0), ENOENT);
    close(irq_fd);
}

/* Config space, regions and ioeventfds are the device's and outlive its clients. */
TEST(what_survives_a_client)
{
    struct session *s = device();

    config_put(s, 4, 2, 6);
    region_write(s, 1, 8, "kept", 4);
    lose_client(s);
    connect_client(s);
    assert_int_equal(config_get(s, 4, 2), 6);
    assert_memory_equal(region_read(s, 1, 8, 4)->data + 16, "kept", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(device_reset),
        CASE(device_reset_fails),
        CASE(device_reset_without_callback),
        CASE(resets_change_nothing),
        CASE(function_level_reset),
        CASE(function_level_reset_fails),
        CASE(lost_client),
        CASE(what_survives_a_client),
    };
    return RUN(tests);
}
