/* Migration data; what is refused while a device is stopped; what it may do during a transition. */
#include "support.h"
#include "migration_states.h"

#define BASE UINT64_C(0x10000)
#define SMALL_JSON "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":4}}"

/* The states a device can be in. */
static const uint32_t states[] = {STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY};

static struct session *device(void)
{
    struct session *s = new_session();

    use_migration(s);
    use_dma(s);
    use_quiesce_and_reset(s);
    use_region(s, 0, 0x1000, VFU_REGION_FLAG_RW);
    realize(s);
    connect_client_with(s, SMALL_JSON);
    return s;
}

TEST(what_is_refused_while_stopped)
{
    static const uint32_t stopped[] = {STOP, STOP_COPY};
    struct session *s = device();
    uint8_t body[64] = {0};

    for (size_t i = 0; i < ARRAY_LEN(stopped); i++) {
        set_state(s, stopped[i]);
        clear_calls();
        dma_map_fails(s, DMA_RW, 0, BASE, PS, -1, EINVAL);
        dma_unmap_fails(s, BASE, PS, EINVAL);
        for (uint16_t cmd = VFIO_USER_DEVICE_GET_INFO; cmd <= VFIO_USER_MAX; cmd++) {
            body[0] = 64;
            if (cmd != VFIO_USER_REGION_READ && cmd != VFIO_USER_REGION_WRITE && cmd != VFIO_USER_DEVICE_FEATURE &&
                cmd != VFIO_USER_MIG_DATA_READ) {
                request_fails(s, cmd, body, sizeof(body), EINVAL);
            }
        }
        request_fails(s, VFIO_USER_DEVICE_RESET, NULL, 0, EINVAL);
        assert_int_equal(calls.count, 0); /* they do not even quiesce */
        if (stopped[i] == STOP) {
            region_read(s, 0, 0, 4);
            region_write(s, 0, 0, "abcd", 4);
        } else {
            region_read_fails(s, 0, 0, 4, EINVAL);
            region_write_fails(s, 0, 0, "abcd", 4, EINVAL);
            assert_int_equal(calls_of(CALL_REGION), 0);
        }
        set_state(s, RUNNING);
        assert_serving(s);
    }
}

static struct reply *read_data(struct session *s, uint32_t size)
{
    const uint32_t body[2] = {8 + size, size};

    return request(s, VFIO_USER_MIG_DATA_READ, body, sizeof(body));
}

static void read_data_fails(struct session *s, uint32_t argsz, uint32_t size, int error)
{
    const uint32_t body[2] = {argsz, size};

    request_fails(s, VFIO_USER_MIG_DATA_READ, body, sizeof(body), error);
}

TEST(reading_data)
{
    struct session *s = device();

    memcpy(calls.memory, "data", 4);
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        set_state(s, RUNNING);
        set_state(s, states[i]);
        clear_calls();
        if (states[i] == PRE_COPY || states[i] == STOP_COPY) {
            struct reply *reply = read_data(s, 4);

            assert_int_equal(reply->size, 12);
            assert_memory_equal(reply->data, ((uint32_t[]){12, 4}), 8);
            assert_memory_equal(reply->data + 8, "data", 4);
            assert_int_equal(calls.count, 1); /* no quiescing */
            assert_int_equal(call(CALL_READ_DATA, 0)->count, 4);
        } else {
            read_data_fails(s, 12, 4, EINVAL);
            assert_int_equal(calls.count, 0);
        }
    }
}

TEST(reading_less_data)
{
    struct session *s = device();
    struct reply *reply;

    set_state(s, STOP_COPY);
    memcpy(calls.memory, "data", 4);
    for (uint32_t n = 0; n < 4; n++) { /* 0 is the end of the data */
        calls.behave[CALL_READ_DATA] = (struct behaviour){.override = true, .result = n};
        reply = read_data(s, 4);
        assert_int_equal(reply->size, 12);
        assert_memory_equal(reply->data, ((uint32_t[]){8 + n, n}), 8);
    }
}

TEST(bad_reads_of_data)
{
    struct session *s = device();
    const uint32_t body[2] = {12, 4};

    set_state(s, PRE_COPY);
    clear_calls();
    read_data_fails(s, 13, 5, EINVAL);
    read_data_fails(s, 0xffffffff, 0xffffffff, EINVAL);
    read_data_fails(s, 3, 0xfffffffb, EINVAL);
    read_data_fails(s, 11, 4, EINVAL);
    for (size_t size = 1; size < 8; size++) {
        request_fails(s, VFIO_USER_MIG_DATA_READ, body, size, EINVAL);
    }
    assert_int_equal(calls.count, 0);
    calls.behave[CALL_READ_DATA].error = 0xbeef;
    read_data_fails(s, 12, 4, 0xbeef);
    assert_int_equal(s->result, 1);
    assert_int_equal(s->run_errno, 0xbeef);
}

TEST(device_claims_to_have_read_too_much)
{
    struct session *s;

    NOT_ON_REFERENCE("the reply then carries what lies behind the buffer");
    s = device();
    set_state(s, STOP_COPY);
    calls.behave[CALL_READ_DATA] = (struct behaviour){.override = true, .result = 5};
    read_data_fails(s, 12, 4, EINVAL);
    calls.behave[CALL_READ_DATA].result = 0x7fffffff;
    read_data_fails(s, 12, 4, EINVAL);
}

static void write_data_fails(struct session *s, uint32_t argsz, uint32_t size, size_t payload, int error)
{
    uint8_t body[32] = {0};

    memcpy(body, ((uint32_t[]){argsz, size}), 8);
    memcpy(body + 8, "data", 4);
    request_fails(s, VFIO_USER_MIG_DATA_WRITE, body, payload, error);
}

static void write_data(struct session *s, uint32_t size, size_t payload)
{
    uint8_t body[32] = {0};

    memcpy(body, ((uint32_t[]){8 + size, size}), 8);
    memcpy(body + 8, "data", 4);
    assert_int_equal(request(s, VFIO_USER_MIG_DATA_WRITE, body, payload)->size, 0);
}

TEST(writing_data)
{
    struct session *s = device();

    set_state(s, RESUMING);
    clear_calls();
    write_data(s, 4, 12);
    assert_int_equal(calls.count, 1); /* no quiescing */
    assert_int_equal(call(CALL_WRITE_DATA, 0)->count, 4);
    assert_memory_equal(call(CALL_WRITE_DATA, 0)->data, "data", 4);
    write_data(s, 3, 20); /* more than needed is no harm */
    assert_int_equal(call(CALL_WRITE_DATA, 1)->count, 3);
    write_data(s, 0, 8);
    assert_int_equal(call(CALL_WRITE_DATA, 2)->count, 0);
}

TEST(bad_writes_of_data)
{
    static const uint32_t wrong[] = {STOP, RUNNING, STOP_COPY, PRE_COPY};
    struct session *s = device();

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        set_state(s, RUNNING);
        set_state(s, wrong[i]);
        write_data_fails(s, 12, 4, 12, EINVAL);
    }
    set_state(s, RUNNING);
    set_state(s, RESUMING);
    write_data_fails(s, 13, 5, 13, EINVAL);
    write_data_fails(s, 11, 4, 12, EINVAL);
    write_data_fails(s, 12, 4, 8, EINVAL);
    write_data_fails(s, 12, 4, 11, EINVAL);
    write_data_fails(s, 0xffffffff, 0xffffffff, 12, EINVAL);
    for (size_t size = 1; size < 8; size++) {
        write_data_fails(s, 12, 4, size, EINVAL);
    }
    assert_int_equal(calls_of(CALL_WRITE_DATA), 0);
    calls.behave[CALL_WRITE_DATA].error = 0xbeef;
    write_data_fails(s, 12, 4, 12, 0xbeef);
    assert_int_equal(s->run_errno, 0xbeef);
    calls.behave[CALL_WRITE_DATA] = (struct behaviour){.override = true, .result = 3};
    write_data_fails(s, 12, 4, 12, EINVAL);
    calls.behave[CALL_WRITE_DATA].result = 5;
    write_data_fails(s, 12, 4, 12, EINVAL);
}

static bool memory_found;

static void use_memory(vfu_ctx_t *ctx, const struct call *call)
{
    uint8_t sg[40];
    struct iovec iov;

    if (call->kind == CALL_TRANSITION &&
        vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)BASE, PS, (dma_sg_t *)sg, 1, PROT_WRITE) == 1 &&
        vfu_sgl_get(ctx, (dma_sg_t *)sg, &iov, 1, 0) == 0) {
        vfu_sgl_put(ctx, (dma_sg_t *)sg, &iov, 1);
        memory_found = true;
    }
}

/* The device may use the client's memory inside the transition callback, quiesced at once or later. */
TEST(memory_during_transition)
{
    const uint32_t body[4] = {16, FEATURE_SET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), STOP, 0};

    for (int later = 0; later < 2; later++) {
        struct session *s = device();
        int fd = guest_file(PS);
        uint16_t id;

        dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
        close(fd);
        memory_found = false;
        calls.hook = use_memory;
        calls.behave[CALL_QUIESCE].error = later ? EBUSY : 0;
        id = send_request(s, VFIO_USER_DEVICE_FEATURE, body, sizeof(body));
        if (later) {
            assert_fails(vfu_run_ctx(s->ctx), EBUSY);
            assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
        } else {
            assert_int_equal(run(s), 1);
        }
        assert_success(s, receive(s), id, VFIO_USER_DEVICE_FEATURE);
        assert_int_equal(calls_of(CALL_TRANSITION), 1);
        assert_int_equal(call(CALL_TRANSITION, 0)->value, VFU_MIGR_STATE_STOP);
        assert_true(memory_found);
        end_session(s);
        memset(&calls, 0, sizeof(calls));
    }
}

static struct session *leaver;

static void leave_on_transition(vfu_ctx_t *ctx, const struct call *call)
{
    (void)ctx;
    if (call->kind == CALL_TRANSITION) {
        close_client(leaver);
    }
}

TEST(client_leaves_during_transition)
{
    const uint32_t body[4] = {16, FEATURE_SET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), STOP_COPY, 0};
    struct session *s = device();

    leaver = s;
    calls.hook = leave_on_transition;
    calls.behave[CALL_QUIESCE].error = EBUSY;
    send_request(s, VFIO_USER_DEVICE_FEATURE, body, sizeof(body));
    for (int i = 0; i < 4; i++) {
        assert_fails(vfu_run_ctx(s->ctx), EBUSY);
    }
    assert_int_equal(calls_of(CALL_RESET), 0);
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_int_equal(calls_of(CALL_TRANSITION), 2);
    assert_int_equal(calls_of(CALL_RESET), 1);
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_LOST_CONN);
    assert_int_equal(calls_of(CALL_QUIESCE), 1);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_refused_while_stopped),
        CASE(reading_data),
        CASE(reading_less_data),
        CASE(bad_reads_of_data),
        CASE(device_claims_to_have_read_too_much),
        CASE(writing_data),
        CASE(bad_writes_of_data),
        CASE(memory_during_transition),
        CASE(client_leaves_during_transition),
    };
    return RUN(tests);
}
