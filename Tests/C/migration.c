/* Migration: set-up, device features, device states and the paths between them. */
#include "support.h"
#include "migration_states.h"

#include <limits.h>

#define SMALL_JSON "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":4}}"

/* The states a device can be in. */
static const uint32_t states[] = {STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY};

/* What the callback is told for each. */
static const int told[] = {
    [STOP] = VFU_MIGR_STATE_STOP,
    [RUNNING] = VFU_MIGR_STATE_RUNNING,
    [STOP_COPY] = VFU_MIGR_STATE_STOP_AND_COPY,
    [RESUMING] = VFU_MIGR_STATE_RESUME,
    [PRE_COPY] = VFU_MIGR_STATE_PRE_COPY,
};

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

TEST(bad_callbacks)
{
    struct session *s = new_session();
    vfu_migration_callbacks_t callbacks = migration_callbacks;

    callbacks.version = 1;
    assert_fails(vfu_setup_device_migration_callbacks(s->ctx, &callbacks), EINVAL);
    callbacks.version = 3;
    assert_fails(vfu_setup_device_migration_callbacks(s->ctx, &callbacks), EINVAL);
    callbacks = migration_callbacks;
    callbacks.transition = NULL;
    assert_fails(vfu_setup_device_migration_callbacks(s->ctx, &callbacks), EINVAL);
    callbacks = migration_callbacks;
    callbacks.read_data = NULL;
    assert_fails(vfu_setup_device_migration_callbacks(s->ctx, &callbacks), EINVAL);
    callbacks = migration_callbacks;
    callbacks.write_data = NULL;
    assert_fails(vfu_setup_device_migration_callbacks(s->ctx, &callbacks), EINVAL);
    callbacks = migration_callbacks;
    assert_int_equal(vfu_setup_device_migration_callbacks(s->ctx, &callbacks), 0);
    memset(&callbacks, 0, sizeof(callbacks)); /* they are copied */
    start(s);
    set_state(s, STOP);
}

TEST(device_without_migration)
{
    struct session *s = new_session();
    uint8_t body[16] = {16};

    start(s);
    for (uint32_t n = 0; n < 10; n++) {
        feature_fails(s, FEATURE_GET(n), 64, NULL, 0, EINVAL);
        feature_fails(s, FEATURE_PROBE(n), 64, NULL, 0, EINVAL);
        feature_fails(s, FEATURE_SET(n), 64, body, 16, EINVAL);
    }
    request_fails(s, VFIO_USER_MIG_DATA_READ, body, 8, EINVAL);
    request_fails(s, VFIO_USER_MIG_DATA_WRITE, body, 8, EINVAL);
    use_migration(s); /* it can be added while a client is there */
    assert_int_equal(get_state(s), RUNNING);
}

TEST(features)
{
    static const struct {
        uint32_t feature;
        bool get, set;
    } table[] = {
        {VFIO_DEVICE_FEATURE_MIGRATION, true, false},
        {VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, true, true},
        {VFIO_DEVICE_FEATURE_DMA_LOGGING_START, false, true},
        {VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, false, true},
        {VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, true, false},
    };
    struct session *s = device();
    uint8_t data[24] = "what is behind the head";

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const uint32_t probe = FEATURE_PROBE(table[i].feature);
        struct reply *reply = feature(s, probe, 8, NULL, 0);

        assert_int_equal(reply->size, 8);
        assert_memory_equal(reply->data, ((uint32_t[]){8, probe}), 8);
        reply = feature(s, probe, 32, data, 24); /* comes back as it was */
        assert_int_equal(reply->size, 32);
        assert_memory_equal(reply->data, ((uint32_t[]){32, probe}), 8);
        assert_memory_equal(reply->data + 8, data, 24);
        if (table[i].get) {
            feature(s, probe | VFIO_DEVICE_FEATURE_GET, 8, NULL, 0);
        } else {
            feature_fails(s, probe | VFIO_DEVICE_FEATURE_GET, 8, NULL, 0, EINVAL);
            feature_fails(s, FEATURE_GET(table[i].feature), 64, data, 24, EINVAL);
        }
        if (table[i].set) {
            feature(s, probe | VFIO_DEVICE_FEATURE_SET, 8, NULL, 0);
        } else {
            feature_fails(s, probe | VFIO_DEVICE_FEATURE_SET, 8, NULL, 0, EINVAL);
            feature_fails(s, FEATURE_SET(table[i].feature), 64, data, 24, EINVAL);
        }
        if (table[i].get && table[i].set) {
            feature(s, probe | VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_GET, 8, NULL, 0);
        } else {
            feature_fails(s, probe | VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_GET, 8, NULL, 0, EINVAL);
        }
        feature_fails(s, table[i].feature, 64, data, 24, EINVAL); /* nothing asked for */
        feature_fails(s, FEATURE_GET(table[i].feature) | VFIO_DEVICE_FEATURE_SET, 64, data, 24, EINVAL);
        feature_fails(s, probe | 1 << 19, 64, data, 24, EINVAL);
        feature_fails(s, probe | 1u << 31, 64, data, 24, EINVAL);
        feature_fails(s, probe, 2, NULL, 0, EINVAL);
        feature_fails(s, probe, 31, data, 24, EINVAL); /* less than was sent */
    }
    for (uint32_t n = 0; n < 20; n++) {
        if (n == 0 || (n > 2 && n < 6) || n > 8) {
            feature_fails(s, FEATURE_PROBE(n), 8, NULL, 0, EINVAL);
            feature_fails(s, FEATURE_GET(n), 64, data, 24, EINVAL);
        }
    }
    assert_int_equal(calls_of(CALL_TRANSITION), 0);
}

TEST(get_migration)
{
    struct session *s = device();
    const uint32_t flags = FEATURE_GET(VFIO_DEVICE_FEATURE_MIGRATION);
    const uint32_t expected[4] = {16, flags, VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY, 0};
    uint32_t body[2] = {16, flags};
    struct reply *reply = feature(s, flags, 16, NULL, 0);

    assert_int_equal(reply->size, 16);
    assert_memory_equal(reply->data, expected, 16);
    reply = feature(s, flags, 100, NULL, 0);
    assert_memory_equal(reply->data, expected, 16);
    feature_fails(s, flags, 8, NULL, 0, EINVAL);
    feature_fails(s, flags, 15, NULL, 0, EINVAL);
    for (size_t size = 1; size < 8; size++) {
        if (size >= 4 || !on_reference()) {
            request_fails(s, VFIO_USER_DEVICE_FEATURE, body, size, EINVAL);
        }
    }
}

TEST(state_requests)
{
    struct session *s = device();
    const uint32_t get = FEATURE_GET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE);
    const uint32_t set = FEATURE_SET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE);
    uint32_t data[2] = {STOP, 0xffffffff};
    struct reply *reply;

    assert_int_equal(get_state(s), RUNNING);
    feature_fails(s, get, 8, NULL, 0, EINVAL);
    feature_fails(s, get, 15, NULL, 0, EINVAL);
    feature_fails(s, set, 8, data, 8, EINVAL);
    feature_fails(s, set, 15, data, 8, EINVAL);
    assert_int_equal(calls_of(CALL_TRANSITION), 0);
    reply = feature(s, set, 16, data, 8); /* the fd in it means nothing */
    assert_int_equal(reply->size, 16);
    assert_memory_equal(reply->data, ((uint32_t[]){16, set, STOP, 0xffffffff}), 16);
    assert_int_equal(get_state(s), STOP);
    data[0] = RUNNING;
    feature(s, set, 100, data, 8);
    assert_int_equal(get_state(s), RUNNING);
}

/* The states passed through, the target included; -1 ends the list, a lone INT_MAX refuses. */
static const int paths[8][8][4] = {
    [STOP] = {[STOP] = {-1},
              [RUNNING] = {RUNNING, -1},
              [STOP_COPY] = {STOP_COPY, -1},
              [RESUMING] = {RESUMING, -1},
              [PRE_COPY] = {RUNNING, PRE_COPY, -1}},
    [RUNNING] = {[STOP] = {STOP, -1},
                 [RUNNING] = {-1},
                 [STOP_COPY] = {STOP, STOP_COPY, -1},
                 [RESUMING] = {STOP, RESUMING, -1},
                 [PRE_COPY] = {PRE_COPY, -1}},
    [STOP_COPY] = {[STOP] = {STOP, -1},
                   [RUNNING] = {STOP, RUNNING, -1},
                   [STOP_COPY] = {-1},
                   [RESUMING] = {STOP, RESUMING, -1},
                   [PRE_COPY] = {INT_MAX}},
    [RESUMING] = {[STOP] = {STOP, -1},
                  [RUNNING] = {STOP, RUNNING, -1},
                  [STOP_COPY] = {STOP, STOP_COPY, -1},
                  [RESUMING] = {-1},
                  [PRE_COPY] = {STOP, RUNNING, PRE_COPY, -1}},
    [PRE_COPY] = {[STOP] = {RUNNING, STOP, -1},
                  [RUNNING] = {RUNNING, -1},
                  [STOP_COPY] = {STOP_COPY, -1},
                  [RESUMING] = {RUNNING, STOP, RESUMING, -1},
                  [PRE_COPY] = {-1}},
};

static void assert_path(const int *path)
{
    size_t n = 0;

    for (; path[n] != -1; n++) {
        assert_int_equal(call(CALL_TRANSITION, n)->value, told[path[n]]);
    }
    assert_int_equal(calls_of(CALL_TRANSITION), n);
}

TEST(paths_between_states)
{
    struct session *s = device();

    for (size_t from = 0; from < ARRAY_LEN(states); from++) {
        for (size_t to = 0; to < ARRAY_LEN(states); to++) {
            const int *path = paths[states[from]][states[to]];

            set_state(s, RUNNING);
            set_state(s, states[from]);
            assert_int_equal(get_state(s), states[from]);
            clear_calls();
            if (path[0] == INT_MAX) {
                set_state_fails(s, states[to], EINVAL);
                assert_int_equal(calls_of(CALL_TRANSITION), 0);
                assert_int_equal(get_state(s), states[from]);
            } else {
                set_state(s, states[to]);
                assert_path(path);
                assert_int_equal(get_state(s), states[to]);
            }
        }
    }
}

TEST(states_that_cannot_be_reached)
{
    static const uint32_t targets[] = {ERROR, RUNNING_P2P, PRE_COPY_P2P, 8, 9, 0xabcd, 0x80000002, 0xffffffff};
    struct session *s = device();

    for (size_t from = 0; from < ARRAY_LEN(states); from++) {
        set_state(s, RUNNING);
        set_state(s, states[from]);
        clear_calls();
        for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
            set_state_fails(s, targets[i], EINVAL);
        }
        assert_int_equal(calls_of(CALL_TRANSITION), 0);
        assert_int_equal(get_state(s), states[from]);
    }
}

TEST(transition_fails)
{
    struct session *s = device();

    calls.behave[CALL_TRANSITION].error = 0xbeef;
    set_state_fails(s, STOP, 0xbeef);
    assert_int_equal(s->result, 1);
    assert_int_equal(s->run_errno, 0xbeef);
    calls.behave[CALL_TRANSITION].error = 0;
    assert_int_equal(get_state(s), RUNNING);
}

static void fail_the_second(vfu_ctx_t *ctx, const struct call *call)
{
    (void)ctx;
    if (call->kind == CALL_TRANSITION && calls_of(CALL_TRANSITION) == 2) {
        calls.behave[CALL_TRANSITION].error = EDOM;
    }
}

TEST(transition_fails_midway)
{
    struct session *s = device();

    calls.hook = fail_the_second;
    set_state_fails(s, STOP_COPY, EDOM);
    calls.behave[CALL_TRANSITION].error = 0;
    assert_int_equal(calls_of(CALL_TRANSITION), 2);
    assert_int_equal(get_state(s), STOP);
    set_state(s, STOP_COPY);
}

TEST(state_changes_quiesce)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_TRANSITION, CALL_TRANSITION};
    struct session *s = device();

    feature(s, FEATURE_PROBE(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) | VFIO_DEVICE_FEATURE_SET, 8, NULL, 0);
    feature(s, FEATURE_GET(VFIO_DEVICE_FEATURE_MIGRATION), 16, NULL, 0);
    assert_int_equal(calls.count, 0);
    set_state(s, STOP_COPY);
    assert_sequence(expected, ARRAY_LEN(expected));
    calls.behave[CALL_QUIESCE].error = ENOTTY;
    set_state_fails(s, STOP, ENOTTY);
    calls.behave[CALL_QUIESCE].error = 0;
    assert_int_equal(get_state(s), STOP_COPY);
}

/* Neither a reset nor another client changes the state; setting up migration anew does. */
TEST(the_state_lasts)
{
    struct session *s = device();

    set_state(s, PRE_COPY);
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    assert_int_equal(get_state(s), PRE_COPY);
    set_state(s, STOP_COPY);
    lose_client(s);
    connect_client(s);
    assert_int_equal(get_state(s), STOP_COPY);
    use_migration(s);
    assert_int_equal(get_state(s), RUNNING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(bad_callbacks),
        CASE(device_without_migration),
        CASE(features),
        CASE(get_migration),
        CASE(state_requests),
        CASE(paths_between_states),
        CASE(states_that_cannot_be_reached),
        CASE(transition_fails),
        CASE(transition_fails_midway),
        CASE(state_changes_quiesce),
        CASE(the_state_lasts),
    };
    return RUN(tests);
}
