/* Callbacks that call what they must not, fail without saying why, or find the client gone. */
#include "support.h"
#include "full_device.h"
#include "migration_states.h"

#define BASE UINT64_C(0x10000)
#define CRASHES "it recurses without end or uses a freed context"

/* What forbidden calls gave when they were last made from inside a callback. */
static struct {
    enum call_kind kind; /* where to make them */
    unsigned made;
    int run, run_errno, attach, attach_errno, quiesced, quiesced_errno, dma, dma_errno, realize;
} inner;

static void call_what_is_forbidden(vfu_ctx_t *ctx)
{
    inner.made++;
    errno = 0;
    inner.run = vfu_run_ctx(ctx);
    inner.run_errno = errno;
    errno = 0;
    inner.attach = vfu_attach_ctx(ctx);
    inner.attach_errno = errno;
    errno = 0;
    inner.quiesced = vfu_device_quiesced(ctx, 0);
    inner.quiesced_errno = errno;
    errno = 0;
    inner.dma = vfu_setup_device_dma(ctx, 16, on_register, on_unregister);
    inner.dma_errno = errno;
    inner.realize = vfu_realize_ctx(ctx); /* that was done: nothing happens */
    vfu_destroy_ctx(ctx);
}

static void forbidden_in_callback(vfu_ctx_t *ctx, const struct call *call)
{
    if (call->kind == inner.kind) {
        call_what_is_forbidden(ctx);
    }
}

static void make_forbidden_calls_in(enum call_kind kind)
{
    memset(&inner, 0, sizeof(inner));
    inner.kind = kind;
    calls.hook = forbidden_in_callback;
}

static void assert_all_refused(void)
{
    assert_true(inner.made > 0);
    assert_int_equal(inner.run, -1);
    assert_int_equal(inner.run_errno, EINVAL);
    assert_int_equal(inner.attach, -1);
    assert_int_equal(inner.attach_errno, EINVAL);
    assert_int_equal(inner.quiesced, -1);
    assert_int_equal(inner.quiesced_errno, EINVAL);
    assert_int_equal(inner.dma, -1);
    assert_int_equal(inner.dma_errno, EINVAL);
    assert_int_equal(inner.realize, 0);
    calls.hook = NULL;
}

/* Carries out the one request that leads to a callback of each kind. */
static void provoke(struct session *s, enum call_kind kind)
{
    const uint32_t mask[5] = {20, VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_DATA_NONE, VFU_DEV_MSIX_IRQ, 0, 1};
    const uint32_t data[4] = {16, 8, 0, 0};

    switch (kind) {
    case CALL_QUIESCE:
    case CALL_RESET:
        request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
        break;
    case CALL_REGISTER:
        dma_map(s, DMA_RW, 0, BASE, PS, -1);
        break;
    case CALL_UNREGISTER:
        dma_unmap(s, BASE, PS);
        break;
    case CALL_REGION:
        region_write(s, 0, 0, "abcd", 4);
        region_read(s, 0, 0, 4);
        config_put(s, 0xf0, 1, 1);
        break;
    case CALL_IRQ_STATE:
        request(s, VFIO_USER_DEVICE_SET_IRQS, mask, sizeof(mask));
        break;
    case CALL_TRANSITION:
        set_state(s, PRE_COPY);
        break;
    case CALL_READ_DATA:
        request(s, VFIO_USER_MIG_DATA_READ, data, 8);
        break;
    case CALL_WRITE_DATA:
        set_state(s, RESUMING);
        request(s, VFIO_USER_MIG_DATA_WRITE, data, 16);
        break;
    default:
        fail();
    }
}

TEST(forbidden_calls_in_every_callback)
{
    struct session *s;

    NOT_ON_REFERENCE(CRASHES);
    s = full_device();
    for (int kind = 0; kind < CALL_KINDS; kind++) {
        make_forbidden_calls_in((enum call_kind)kind);
        provoke(s, (enum call_kind)kind);
        assert_all_refused();
        assert_in_step(s);
    }
}

TEST(forbidden_calls_while_a_lost_client_is_removed)
{
    static const enum call_kind kinds[] = {CALL_QUIESCE, CALL_UNREGISTER, CALL_RESET};
    struct session *s;

    NOT_ON_REFERENCE(CRASHES);
    s = full_device();
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        dma_map(s, DMA_RW, 0, BASE, PS, -1);
        make_forbidden_calls_in(kinds[i]);
        lose_client(s);
        assert_all_refused();
        connect_client(s);
    }
    assert_serving(s);
}

TEST(forbidden_calls_while_being_destroyed)
{
    static const enum call_kind kinds[] = {CALL_UNREGISTER, CALL_RESET};

    NOT_ON_REFERENCE(CRASHES);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct session *s = full_device();

        dma_map(s, DMA_RW, 0, BASE, PS, -1);
        make_forbidden_calls_in(kinds[i]);
        end_session(s);
        assert_all_refused();
    }
}

static void forbidden_in_log(vfu_ctx_t *ctx, int level, const char *message)
{
    (void)level;
    (void)message;
    if (inner.made == 0) {
        call_what_is_forbidden(ctx);
    }
}

/* The library logs from inside calls, too. */
TEST(forbidden_calls_while_logging)
{
    struct session *s;
    struct vfio_user_header header = {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 20};

    NOT_ON_REFERENCE(CRASHES);
    s = full_device();
    assert_int_equal(vfu_setup_log(s->ctx, forbidden_in_log, LOG_DEBUG), 0);
    memset(&inner, 0, sizeof(inner));
    request_fails(s, 999, "x", 1, EINVAL);
    if (inner.made > 0) {
        assert_all_refused();
    }
    assert_in_step(s);
    lose_client(s);

    memset(&inner, 0, sizeof(inner));
    s->client = connect_raw(s);
    send_message(s->client, &header, "\7\0\0\0", 4, NULL, 0); /* major version 7 */
    assert_fails(vfu_attach_ctx(s->ctx), EINVAL);
    if (inner.made > 0) {
        assert_all_refused();
    }
    close_client(s);
    connect_client(s);
    assert_serving(s);
}

/* Blocking contexts do not wait for ever inside their own callbacks. */
TEST(blocking_context)
{
    struct session *s;

    NOT_ON_REFERENCE(CRASHES);
    s = new_session_with(0);
    use_quiesce_and_reset(s);
    realize(s);
    connect_client(s);
    make_forbidden_calls_in(CALL_RESET);
    send_request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    assert_int_equal(shutdown(s->client, SHUT_WR), 0);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    assert_all_refused();
    assert_success(s, receive(s), (uint16_t)(s->next_id - 1), VFIO_USER_DEVICE_RESET);
}

/* A callback that fails and leaves errno at 0 has not failed as far as the client is told. */
TEST(failing_without_errno)
{
    struct session *s;
    const uint32_t data[4] = {16, 8, 0, 0};

    s = full_device();
    calls.behave[CALL_REGION] = (struct behaviour){.override = true, .result = -1};
    errno = 0;
    region_write(s, 0, 0, "abcd", 4);
    calls.behave[CALL_RESET] = (struct behaviour){.override = true, .result = -1};
    errno = 0;
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    calls.behave[CALL_RESET] = (struct behaviour){0};
    calls.behave[CALL_TRANSITION] = (struct behaviour){.override = true, .result = -1};
    errno = 0;
    set_state(s, PRE_COPY);
    assert_int_equal(get_state(s), RUNNING);
    calls.behave[CALL_TRANSITION] = (struct behaviour){0};
    set_state(s, PRE_COPY);
    calls.behave[CALL_READ_DATA] = (struct behaviour){.override = true, .result = -1};
    errno = 0;
    request(s, VFIO_USER_MIG_DATA_READ, data, 8);
    set_state(s, RESUMING);
    calls.behave[CALL_WRITE_DATA] = (struct behaviour){.override = true, .result = -1};
    errno = 0;
    request(s, VFIO_USER_MIG_DATA_WRITE, data, 16);
    assert_in_step(s);
}

/* Unless nothing was done at all: a reset that did not happen is none. */
TEST(quiescing_fails_without_errno)
{
    struct session *s;

    NOT_ON_REFERENCE("it answers with success and has done nothing");
    s = full_device();
    calls.behave[CALL_QUIESCE] = (struct behaviour){.override = true, .result = -1};
    errno = EIO; /* not the callback's */
    request_fails(s, VFIO_USER_DEVICE_RESET, NULL, 0, EINVAL);
    assert_int_equal(calls_of(CALL_RESET), 0);
    assert_in_step(s);
    close_client(s);
    assert_fails(vfu_run_ctx(s->ctx), EINVAL); /* tried again each time */
    calls.behave[CALL_QUIESCE] = (struct behaviour){0};
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
}

static enum call_kind dma_in;
static unsigned dma_calls;

/* What a device does that has something left to write. The memory can only be reached by messages. */
static void write_by_message(vfu_ctx_t *ctx, const struct call *call)
{
    uint8_t sg[40], data[8] = {0};

    if (call->kind == dma_in && dma_calls < 100 &&
        vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)BASE, 8, (dma_sg_t *)sg, 1, PROT_WRITE) == 1) {
        dma_calls++;
        errno = 0;
        if (vfu_sgl_write(ctx, (dma_sg_t *)sg, 1, data, 0) != -1 || errno != ENOTCONN) {
            dma_calls = 1000;
        }
    }
}

/* The client is gone, and the callbacks that tell the device so try to write to its memory. */
TEST(memory_of_a_lost_client)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_UNREGISTER, CALL_RESET};
    static const enum call_kind kinds[] = {CALL_QUIESCE, CALL_UNREGISTER};
    static const char *const settings[] = {DEFAULT_JSON, "{\"capabilities\":{\"twin_socket\":{\"supported\":true}}}"};

    NOT_ON_REFERENCE(CRASHES);
    for (size_t i = 0; i < ARRAY_LEN(kinds) * ARRAY_LEN(settings); i++) {
        struct session *s = new_session();

        use_dma(s);
        use_quiesce_and_reset(s);
        realize(s);
        connect_client_with(s, settings[i / 2]);
        dma_map(s, DMA_RW, 0, BASE, PS, -1);
        dma_in = kinds[i % 2];
        dma_calls = 0;
        clear_calls();
        calls.hook = write_by_message;
        lose_client(s);
        assert_int_equal(dma_calls, 1);
        assert_sequence(expected, ARRAY_LEN(expected));
        assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
        calls.hook = NULL;
        connect_client(s);
        assert_serving(s);
        end_session(s);
    }
}

/* A request is there, its client is not, and the device learns that in the callback of the request. */
TEST(client_found_gone_in_a_callback)
{
    static const enum call_kind kinds[] = {CALL_QUIESCE, CALL_RESET, CALL_REGISTER, CALL_UNREGISTER, CALL_REGION,
                                           CALL_IRQ_STATE, CALL_TRANSITION, CALL_WRITE_DATA, CALL_READ_DATA};
    const uint32_t mask[5] = {20, VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_DATA_NONE, VFU_DEV_MSIX_IRQ, 0, 1};
    const uint32_t data[4] = {16, 8, 0, 0};
    const uint32_t change[4] = {16, FEATURE_SET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), STOP_COPY, 0};
    struct vfio_user_dma_map map = dma_map_body(DMA_RW, 0, 2 * BASE, PS);
    struct vfio_user_dma_unmap unmap;

    NOT_ON_REFERENCE(CRASHES);
    dma_unmap_body(&unmap, 0, BASE, PS);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct session *s = full_device();
        int runs = 0;

        dma_map(s, DMA_RW, 0, BASE, PS, -1);
        if (kinds[i] == CALL_READ_DATA || kinds[i] == CALL_WRITE_DATA) {
            set_state(s, kinds[i] == CALL_READ_DATA ? PRE_COPY : RESUMING);
        }
        dma_in = kinds[i];
        dma_calls = 0;
        clear_calls();
        calls.hook = write_by_message;
        switch (kinds[i]) {
        case CALL_REGISTER:
            send_request(s, VFIO_USER_DMA_MAP, &map, sizeof(map));
            break;
        case CALL_UNREGISTER:
            send_request(s, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap));
            break;
        case CALL_REGION:
            send_region_write(s, 0, 0, "abcd", 4);
            break;
        case CALL_IRQ_STATE:
            send_request(s, VFIO_USER_DEVICE_SET_IRQS, mask, sizeof(mask));
            break;
        case CALL_TRANSITION:
            send_request(s, VFIO_USER_DEVICE_FEATURE, change, sizeof(change));
            break;
        case CALL_READ_DATA:
            send_request(s, VFIO_USER_MIG_DATA_READ, data, 8);
            break;
        case CALL_WRITE_DATA:
            send_request(s, VFIO_USER_MIG_DATA_WRITE, data, 16);
            break;
        default:
            send_request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
            break;
        }
        close_client(s);
        while (run(s) >= 0) {
            assert_true(++runs < 4);
        }
        assert_int_equal(s->run_errno, ENOTCONN);
        assert_in_range(dma_calls, 1, 3);
        assert_int_equal(call(CALL_RESET, calls_of(CALL_RESET) - 1)->value, VFU_RESET_LOST_CONN);
        assert_int_equal(calls_of(CALL_RESET), kinds[i] == CALL_QUIESCE || kinds[i] == CALL_RESET ? 2 : 1);
        assert_int_equal(calls_of(CALL_UNREGISTER), kinds[i] == CALL_REGISTER ? 2 : 1);
        calls.hook = NULL;
        connect_client(s);
        end_session(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(forbidden_calls_in_every_callback),
        CASE(forbidden_calls_while_a_lost_client_is_removed),
        CASE(forbidden_calls_while_being_destroyed),
        CASE(forbidden_calls_while_logging),
        CASE(blocking_context),
        CASE(failing_without_errno),
        CASE(quiescing_fails_without_errno),
        CASE(memory_of_a_lost_client),
        CASE(client_found_gone_in_a_callback),
    };
    return RUN(tests);
}
