/* Quiescing that goes wrong: it fails later, its callback goes, the answer cannot be sent, or the context waits. */
#include "support.h"

#include <fcntl.h>

static struct session *device_with(int flags)
{
    struct session *s = new_session_with(flags);

    use_dma(s);
    use_migration(s);
    use_quiesce_and_reset(s);
    start(s);
    return s;
}

static struct session *device(void)
{
    return device_with(LIBVFIO_USER_FLAG_ATTACH_NB);
}

/* Sends a request whose device wants time. */
static uint16_t send_and_wait(struct session *s, uint16_t cmd, const void *body, size_t size)
{
    uint16_t id;

    calls.behave[CALL_QUIESCE].error = EBUSY;
    id = send_request(s, cmd, body, size);
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, EBUSY);
    calls.behave[CALL_QUIESCE].error = 0;
    return id;
}

/* Whatever was asked for, nothing of it happens; the client hears why. */
TEST(failing_later)
{
    struct session *s = device();
    const uint32_t change[4] = {16, FEATURE_SET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), VFIO_USER_DEVICE_STATE_STOP, 0};
    struct vfio_user_dma_map map = dma_map_body(DMA_RW, 0, 0x20000, PS);
    struct vfio_user_dma_unmap unmap;
    const struct {
        uint16_t cmd;
        const void *body;
        size_t size;
    } cases[] = {
        {VFIO_USER_DEVICE_RESET, NULL, 0},
        {VFIO_USER_DMA_MAP, &map, sizeof(map)},
        {VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap)},
        {VFIO_USER_DEVICE_FEATURE, change, sizeof(change)},
    };

    dma_unmap_body(&unmap, 0, 0x10000, PS);
    dma_map(s, DMA_RW, 0, 0x10000, PS, -1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint16_t id;

        clear_calls();
        id = send_and_wait(s, cases[i].cmd, cases[i].body, cases[i].size);
        assert_int_equal(vfu_device_quiesced(s->ctx, ENOTTY), 0);
        assert_int_equal(calls.count, 1); /* the question */
        assert_fails(vfu_device_quiesced(s->ctx, 0), EINVAL); /* that was it */
        assert_fails(vfu_device_quiesced(s->ctx, ENOTTY), EINVAL);
        if (on_reference()) { /* which never answers */
            assert_true(nothing_to_receive(s->client));
        } else {
            assert_error(s, receive(s), id, cases[i].cmd, ENOTTY);
        }
        assert_serving(s);
    }
    assert_int_equal(get_state(s), VFIO_USER_DEVICE_STATE_RUNNING);
    dma_unmap_fails(s, 0x20000, PS, ENOENT);
    dma_unmap(s, 0x10000, PS);
}

/* Without a callback nothing can be done quiesced, not even what waits for it; with one it goes on. */
TEST(callback_goes_meanwhile)
{
    struct session *s = device();
    uint16_t id = send_and_wait(s, VFIO_USER_DEVICE_RESET, NULL, 0);

    vfu_setup_device_quiesce_cb(s->ctx, NULL);
    assert_fails(vfu_device_quiesced(s->ctx, 0), EINVAL);
    assert_fails(vfu_device_quiesced(s->ctx, EIO), EINVAL);
    assert_fails(vfu_run_ctx(s->ctx), EBUSY);
    assert_int_equal(calls_of(CALL_RESET), 0);
    vfu_setup_device_quiesce_cb(s->ctx, on_quiesce);
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_success(s, receive(s), id, VFIO_USER_DEVICE_RESET);
    assert_int_equal(calls_of(CALL_QUIESCE), 1);
}

/* The library's socket is not one for a while. */
static int replace_socket(struct session *s)
{
    const int fd = vfu_get_poll_fd(s->ctx);
    const int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0), other = open("/dev/null", O_RDWR | O_CLOEXEC);

    assert_true(kept >= 0 && other >= 0);
    assert_int_equal(dup3(other, fd, O_CLOEXEC), fd);
    close(other);
    return kept;
}

static void restore_socket(struct session *s, int kept)
{
    const int fd = vfu_get_poll_fd(s->ctx);

    assert_int_equal(dup3(kept, fd, O_CLOEXEC), fd);
    close(kept);
}

/* What was to be done is done, the caller hears that the client does not know. */
TEST(answer_cannot_be_sent)
{
    struct session *s = device();
    int kept;

    send_and_wait(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    kept = replace_socket(s);
    assert_fails(vfu_device_quiesced(s->ctx, 0), ENOTSOCK);
    restore_socket(s, kept);
    assert_int_equal(calls_of(CALL_RESET), 1);
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_DEVICE);
    assert_fails(vfu_device_quiesced(s->ctx, 0), EINVAL);
}

/* Errors of the socket itself are passed on, and leave the client attached. */
TEST(socket_that_is_none)
{
    struct session *s = device();
    int kept = replace_socket(s);

    assert_fails(vfu_run_ctx(s->ctx), ENOTSOCK);
    assert_fails(vfu_attach_ctx(s->ctx), EINVAL);
    restore_socket(s, kept);
    assert_int_equal(calls.count, 0);
    assert_serving(s);
}

/* Blocking contexts do not wait for their own device. */
TEST(blocking_context)
{
    struct session *s = device_with(0);
    uint16_t id = send_and_wait(s, VFIO_USER_DEVICE_RESET, NULL, 0);

    assert_fails(vfu_run_ctx(s->ctx), EBUSY);
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_success(s, receive(s), id, VFIO_USER_DEVICE_RESET);
    calls.behave[CALL_QUIESCE].error = EBUSY;
    close_client(s);
    assert_fails(vfu_run_ctx(s->ctx), EBUSY);
    assert_fails(vfu_attach_ctx(s->ctx), EINVAL);
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    assert_int_equal(calls_of(CALL_RESET), 2);
}

/* The client whose request waits hears nothing when the context ends. */
TEST(destroyed_meanwhile)
{
    struct session *s = device();
    int client;

    send_and_wait(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    client = s->client;
    s->client = -1;
    end_session(s);
    assert_true(at_end_of_file(client));
    close(client);
    assert_int_equal(calls_of(CALL_RESET), 1);
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_LOST_CONN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(failing_later),
        CASE(callback_goes_meanwhile),
        CASE(answer_cannot_be_sent),
        CASE(socket_that_is_none),
        CASE(blocking_context),
        CASE(destroyed_meanwhile),
    };
    return RUN(tests);
}
