/* Callbacks: results at the edge of what they may be, what the caller learns of them, set-up calls from inside. */
#include "support.h"
#include "full_device.h"
#include "migration_states.h"

#define BASE UINT64_C(0x10000)
#define DEVICE_CONTROL 0x48

/* Leaves an errno that is none of the next callback's. */
static void leave_an_errno(vfu_ctx_t *ctx, const struct call *call)
{
    (void)ctx;
    if (call->kind == CALL_QUIESCE) {
        errno = EXDEV;
    }
}

/* Only what a callback says itself is its error. */
TEST(reset_without_errno)
{
    struct session *s;

    NOT_ON_REFERENCE("it takes whatever errno is left from before");
    s = full_device();
    calls.behave[CALL_RESET] = (struct behaviour){.override = true, .result = -1};
    calls.hook = leave_an_errno;
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    config_put(s, DEVICE_CONTROL, 2, 0x8000);
    assert_int_equal(calls_of(CALL_RESET), 2);
    calls.hook = NULL;
    errno = EXDEV;
    vfu_setup_device_quiesce_cb(s->ctx, NULL);
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
}

TEST(positive_result_of_a_function_level_reset)
{
    struct session *s;

    NOT_ON_REFERENCE("it is taken for a number of bytes");
    s = full_device();
    calls.behave[CALL_RESET] = (struct behaviour){.override = true, .result = 1};
    config_put(s, DEVICE_CONTROL, 2, 0x8010);
    assert_int_equal(calls_of(CALL_RESET), 1);
    assert_int_equal(config_get(s, DEVICE_CONTROL, 2), 0x0010);
    calls.behave[CALL_RESET].result = 100;
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
}

static void say_why(vfu_ctx_t *ctx, const struct call *call)
{
    (void)ctx, (void)call;
    errno = EDOM;
}

/* Every result but 0 refuses a transition. */
TEST(positive_result_of_a_transition)
{
    struct session *s = full_device();

    calls.hook = say_why;
    calls.behave[CALL_TRANSITION] = (struct behaviour){.override = true, .result = 1};
    set_state_fails(s, STOP, EDOM);
    assert_int_equal(s->run_errno, EDOM);
    calls.hook = NULL;
    assert_int_equal(get_state(s), RUNNING);
    calls.behave[CALL_TRANSITION] = (struct behaviour){0};
    set_state(s, STOP);
}

/* A failing read, too, whose callback does not say why, has not failed. */
TEST(reading_without_errno)
{
    struct session *s = full_device();

    memcpy(calls.memory, "abcd", 4);
    calls.behave[CALL_REGION] = (struct behaviour){.override = true, .result = -1};
    errno = 0;
    assert_int_equal(region_read(s, 0, 0, 4)->size, 20);
}

/* What a failing callback leaves in errno is there when the call returns, though the reply was sent meanwhile. */
TEST(errno_of_the_request_lasts)
{
    struct session *s = full_device();

    calls.behave[CALL_REGION].error = EDOM;
    config_put_fails(s, 0xf0, 1, 0, EDOM);
    assert_int_equal(s->result, 1);
    assert_int_equal(s->run_errno, EDOM);
    calls.behave[CALL_RESET].error = EXDEV;
    config_put_fails(s, DEVICE_CONTROL, 2, 0x8000, EXDEV);
    assert_int_equal(s->result, 1);
    assert_int_equal(s->run_errno, EXDEV);
    set_state(s, STOP_COPY);
    calls.behave[CALL_READ_DATA].error = EXFULL;
    request_fails(s, VFIO_USER_MIG_DATA_READ, ((uint32_t[]){12, 4}), 8, EXFULL);
    assert_int_equal(s->result, 1);
    assert_int_equal(s->run_errno, EXFULL);
    set_state(s, RUNNING);
    set_state(s, RESUMING);
    calls.behave[CALL_WRITE_DATA].error = ENOTUNIQ;
    request_fails(s, VFIO_USER_MIG_DATA_WRITE, ((uint32_t[]){12, 4, 0}), 12, ENOTUNIQ);
    assert_int_equal(s->result, 1);
    assert_int_equal(s->run_errno, ENOTUNIQ);
    calls.behave[CALL_QUIESCE].error = ENOTTY;
    request_fails(s, VFIO_USER_DEVICE_RESET, NULL, 0, ENOTTY);
    calls.behave[CALL_QUIESCE].error = 0;
    assert_int_equal(run(s), 0);
    assert_int_equal(s->run_errno, EAGAIN); /* there was nothing to read */
}

/* A message of this kind, answered with EINVAL, counts for so much. */
static void assert_counts(struct session *s, struct vfio_user_header header, int count)
{
    send_message(s->client, &header, NULL, 0, NULL, 0);
    assert_int_equal(run(s), count);
    assert_error(s, receive(s), header.msg_id, header.cmd, EINVAL);
}

/* 1 for a request that got as far as being carried out, 0 for one that was refused before; both are answered. */
TEST(run_tells_what_was_carried_out)
{
    struct session *s = full_device();
    struct vfio_user_header header = command_header(s, VFIO_USER_DEVICE_GET_INFO, 0);

    assert_counts(s, header, 0); /* no payload */
    header.flags = VFIO_USER_F_TYPE_REPLY;
    assert_counts(s, header, 0);
    header.flags = 0;
    header.msg_size = 15;
    assert_counts(s, header, 0);
    calls.behave[CALL_QUIESCE].error = ENOTTY;
    request_fails(s, VFIO_USER_DEVICE_RESET, NULL, 0, ENOTTY);
    assert_int_equal(s->result, 0);
    calls.behave[CALL_QUIESCE].error = 0;
    set_state(s, STOP);
    request_fails(s, VFIO_USER_DEVICE_RESET, NULL, 0, EINVAL);
    assert_int_equal(s->result, 0);
    set_state(s, RUNNING);
    calls.behave[CALL_RESET].error = EIO;
    request_fails(s, VFIO_USER_DEVICE_RESET, NULL, 0, EIO);
    assert_int_equal(s->result, 1);
    request_fails(s, 999, "x", 1, EINVAL);
    assert_int_equal(s->result, 1);
}

static enum call_kind set_up_in;
static unsigned set_ups;

/* Everything but what starts the device's life anew; the device is the same afterwards. */
static void set_up_everything(vfu_ctx_t *ctx, const struct call *call)
{
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM};
    struct iovec area = {.iov_base = (void *)1, .iov_len = 0x1000};

    if (call->kind != set_up_in || ++set_ups > 1) {
        return;
    }
    assert_int_equal(vfu_setup_log(ctx, NULL, LOG_ERR), 0);
    for (int index = 0; index < VFU_PCI_DEV_NUM_REGIONS; index++) {
        const int flags = VFU_REGION_FLAG_RW | (index == CONFIG ? 0 : VFU_REGION_FLAG_MEM);

        if (index != 2 && index != 3) { /* a wide BAR */
            assert_int_equal(vfu_setup_region(ctx, index, 0x1000, region_access, flags, NULL, 0, -1, 0), 0);
        }
        assert_fails(vfu_setup_region(ctx, index, 0x1000, NULL, flags, &area, 1, 0, 0), EINVAL);
    }
    assert_int_equal(vfu_create_ioeventfd(ctx, 0, -1, 0, 8, 0, 0, -1, 0), 0);
    assert_fails(vfu_create_ioeventfd(ctx, 9, -1, 0, 8, 0, 0, -1, 0), EINVAL);
    assert_fails(vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), EEXIST);
    assert_true(vfu_pci_add_capability(ctx, 0, 0, &pm) > 0);
    assert_fails(vfu_pci_add_capability(ctx, 0x40, 0, &pm), EINVAL);
    assert_int_equal(vfu_pci_find_capability(ctx, false, PCI_CAP_ID_PM), 0xa0);
    vfu_pci_set_id(ctx, 1, 2, 3, 4);
    vfu_pci_set_class(ctx, 1, 2, 3);
    assert_int_equal(vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, 32), 0);
    assert_fails(vfu_setup_device_nr_irqs(ctx, VFU_DEV_NUM_IRQS, 1), EINVAL);
    assert_int_equal(vfu_setup_irq_state_callback(ctx, VFU_DEV_MSIX_IRQ, on_irq_state), 0);
    assert_int_equal(vfu_setup_device_reset_cb(ctx, on_reset), 0);
    vfu_setup_device_quiesce_cb(ctx, on_quiesce);
    assert_fails(vfu_setup_device_migration_callbacks(ctx, NULL), EINVAL);
    assert_int_equal(vfu_setup_device_migration_callbacks(ctx, &migration_callbacks), 0);
    assert_fails(vfu_irq_trigger(ctx, 31), ENOENT);
    assert_fails(vfu_irq_trigger(ctx, 32), EINVAL);
    assert_int_equal(vfu_realize_ctx(ctx), 0);
}

TEST(set_up_calls_in_every_callback)
{
    const uint32_t mask[5] = {20, VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_DATA_NONE, VFU_DEV_MSIX_IRQ, 0, 1};
    const uint32_t data[4] = {12, 4, 0, 0};
    struct session *s;

    NOT_ON_REFERENCE("it replaces what it is using");
    for (int kind = 0; kind < CALL_KINDS; kind++) {
        s = full_device();
        dma_map(s, DMA_RW, 0, BASE, PS, -1);
        if (kind == CALL_READ_DATA || kind == CALL_WRITE_DATA) {
            set_state(s, kind == CALL_READ_DATA ? PRE_COPY : RESUMING);
        }
        set_up_in = (enum call_kind)kind;
        set_ups = 0;
        calls.hook = set_up_everything;
        dma_map(s, DMA_RW, 0, 2 * BASE, PS, -1);
        dma_unmap(s, 2 * BASE, PS);
        region_write(s, 0, 0, "abcd", 4);
        config_put(s, 0xf0, 1, 1);
        region_read(s, CONFIG, 0, 256);
        request(s, VFIO_USER_DEVICE_SET_IRQS, mask, sizeof(mask));
        request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
        if (kind == CALL_READ_DATA) {
            request(s, VFIO_USER_MIG_DATA_READ, data, 8);
        } else if (kind == CALL_WRITE_DATA) {
            request(s, VFIO_USER_MIG_DATA_WRITE, data, 12);
        } else {
            set_state(s, PRE_COPY);
        }
        lose_client(s);
        calls.hook = NULL;
        assert_true(set_ups > 0);
        connect_client(s);
        assert_serving(s);
        end_session(s);
        clear_calls();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(reset_without_errno),
        CASE(positive_result_of_a_function_level_reset),
        CASE(positive_result_of_a_transition),
        CASE(reading_without_errno),
        CASE(errno_of_the_request_lasts),
        CASE(run_tells_what_was_carried_out),
        CASE(set_up_calls_in_every_callback),
    };
    return RUN(tests);
}
