/* Creating, realizing, attaching and destroying contexts; polling; logging. */
#include "support.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

static vfu_ctx_t *create(vfu_trans_t transport, const char *path, int flags, vfu_dev_type_t type)
{
    return vfu_create_ctx(transport, path, flags, NULL, type);
}

TEST(create_refuses_bad_arguments)
{
    const char *path = temp_path("refused");
    const int nb = LIBVFIO_USER_FLAG_ATTACH_NB;
    static char longer[70000];

    assert_zero_with(create(VFU_TRANS_MAX, path, nb, VFU_DEV_TYPE_PCI), ENOTSUP);
    assert_zero_with(create((vfu_trans_t)-1, path, nb, VFU_DEV_TYPE_PCI), ENOTSUP);
    assert_zero_with(create(VFU_TRANS_SOCK, path, 999, VFU_DEV_TYPE_PCI), EINVAL);
    assert_zero_with(create(VFU_TRANS_SOCK, path, nb | 2, VFU_DEV_TYPE_PCI), EINVAL);
    assert_zero_with(create(VFU_TRANS_SOCK, path, nb, (vfu_dev_type_t)4), ENOTSUP);
    /* Flags are looked at before the transport. */
    assert_zero_with(create(VFU_TRANS_MAX, path, 2, (vfu_dev_type_t)4), EINVAL);
    assert_int_equal(access(path, F_OK), -1);
    /* What there is in the way, or too much of, is only seen after these. */
    assert_zero_with(create(VFU_TRANS_SOCK, "/", 2, VFU_DEV_TYPE_PCI), EINVAL);
    assert_zero_with(create(VFU_TRANS_MAX, "/", nb, VFU_DEV_TYPE_PCI), ENOTSUP);
    assert_zero_with(create(VFU_TRANS_SOCK, "/", nb, (vfu_dev_type_t)4), ENOTSUP);
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_zero_with(create(VFU_TRANS_SOCK, longer, nb, (vfu_dev_type_t)4), ENOTSUP);
    assert_zero_with(create(VFU_TRANS_SOCK, longer, nb, VFU_DEV_TYPE_PCI), ENAMETOOLONG);
    assert_zero_with(create(VFU_TRANS_SOCK, "/", nb, VFU_DEV_TYPE_PCI), EADDRINUSE);
}

TEST(create_reports_socket_errors)
{
    char path[160];
    char longest[108];
    size_t base;
    vfu_ctx_t *ctx;
    int fd;

    base = (size_t)snprintf(path, sizeof(path), "%s", temp_path(""));
    memset(path + base, 'x', sizeof(path) - base);
    path[108] = '\0';
    assert_zero_with(create(VFU_TRANS_SOCK, path, 0, VFU_DEV_TYPE_PCI), ENAMETOOLONG);
    path[107] = '\0';
    memcpy(longest, path, sizeof(longest));
    ctx = create(VFU_TRANS_SOCK, longest, 0, VFU_DEV_TYPE_PCI);
    assert_non_null(ctx);
    assert_int_equal(access(path, F_OK), 0);
    vfu_destroy_ctx(ctx);
    assert_int_equal(access(path, F_OK), -1);

    assert_zero_with(create(VFU_TRANS_SOCK, temp_path("none/socket"), 0, VFU_DEV_TYPE_PCI), ENOENT);

    /* A file in the way is neither replaced nor removed. */
    fd = open(temp_path("occupied"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_zero_with(create(VFU_TRANS_SOCK, temp_path("occupied"), 0, VFU_DEV_TYPE_PCI), EADDRINUSE);
    assert_int_equal(unlink(temp_path("occupied")), 0);
}

TEST(create_with_an_empty_path_binds_an_abstract_socket)
{
    vfu_ctx_t *ctx = create(VFU_TRANS_SOCK, "", LIBVFIO_USER_FLAG_ATTACH_NB, VFU_DEV_TYPE_PCI);

    assert_non_null(ctx);
    assert_true(vfu_get_poll_fd(ctx) >= 0);
    assert_fails(vfu_attach_ctx(ctx), EAGAIN);
    vfu_destroy_ctx(ctx);
}

TEST(create_makes_a_socket)
{
    struct session *s = new_session();
    struct stat status;

    assert_int_equal(stat(s->path, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_ptr_equal(vfu_get_private(s->ctx), s);
    end_session(s);
}

TEST(the_path_is_copied)
{
    char path[108];
    vfu_ctx_t *ctx;

    snprintf(path, sizeof(path), "%s", temp_path("copied"));
    ctx = create(VFU_TRANS_SOCK, path, LIBVFIO_USER_FLAG_ATTACH_NB, VFU_DEV_TYPE_PCI);
    assert_non_null(ctx);
    memset(path, 'z', sizeof(path) - 1);
    vfu_destroy_ctx(ctx);
    assert_int_equal(access(temp_path("copied"), F_OK), -1);
}

TEST(realize_is_idempotent)
{
    struct session *s = new_session();

    realize(s);
    realize(s);
}

TEST(run_needs_realize)
{
    struct session *s = new_session();

    assert_fails(vfu_run_ctx(s->ctx), EINVAL);
    connect_client(s); /* attaching does not */
    assert_fails(vfu_run_ctx(s->ctx), EINVAL);
    realize(s);
    assert_serving(s);
}

TEST(run_without_client)
{
    struct session *s = new_session();

    realize(s);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
}

TEST(run_with_nothing_to_read)
{
    struct session *s = new_session();

    start(s);
    assert_int_equal(run(s), 0);
    assert_int_equal(run(s), 0);
    assert_serving(s);
}

TEST(attach_without_client)
{
    struct session *s = new_session();

    realize(s);
    assert_fails(vfu_attach_ctx(s->ctx), EAGAIN);
    connect_client(s);
}

/* The program has no descriptor left: the client waits until it has. */
TEST(attach_without_descriptors)
{
    struct session *s = new_session();
    struct rlimit limit, tight;

    realize(s);
    s->client = connect_raw(s);
    send_version(s->client, 0, 1, NULL, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    tight = limit;
    tight.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    errno = 0;
    s->result = vfu_attach_ctx(s->ctx);
    s->run_errno = errno;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(s->result, -1);
    assert_int_equal(s->run_errno, EMFILE);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    assert_success(s, receive(s), 0xbeef, VFIO_USER_VERSION);
    assert_serving(s);
}

TEST(attach_twice)
{
    struct session *s = new_session();

    start(s);
    assert_fails(vfu_attach_ctx(s->ctx), EINVAL);
    assert_serving(s);
}

static bool readable(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    return poll(&poller, 1, 0) == 1 && (poller.revents & POLLIN) != 0;
}

TEST(poll_fd_follows_the_connection)
{
    struct session *s = new_session();
    struct vfio_device_info info = {.argsz = 16};
    int listener, connection;

    realize(s);
    listener = vfu_get_poll_fd(s->ctx);
    assert_true(listener >= 0);
    assert_false(readable(listener));
    s->client = connect_raw(s);
    assert_true(readable(listener));
    close_client(s);
    assert_int_equal(vfu_attach_ctx(s->ctx), -1);
    assert_int_equal(vfu_get_poll_fd(s->ctx), listener);

    connect_client(s);
    connection = vfu_get_poll_fd(s->ctx);
    assert_int_not_equal(connection, listener);
    assert_false(readable(connection));
    send_request(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info));
    assert_true(readable(connection));
    assert_int_equal(run(s), 1);
    assert_false(readable(connection));
    receive(s);

    lose_client(s);
    assert_int_equal(vfu_get_poll_fd(s->ctx), listener);
}

TEST(a_second_client_waits_for_the_first)
{
    struct session *s = new_session();
    int waiting;

    start(s);
    waiting = connect_raw(s);
    send_version(waiting, 0, 1, DEFAULT_JSON, sizeof(DEFAULT_JSON));
    assert_serving(s);
    assert_true(nothing_to_receive(waiting));
    lose_client(s);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    s->client = waiting;
    assert_success(s, receive(s), 0xbeef, VFIO_USER_VERSION);
    assert_serving(s);
}

/* Only one client waits; who does not wait to be let in is told so. */
TEST(a_third_client_is_turned_away)
{
    struct session *s = new_session();
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int waiting, third;

    start(s);
    waiting = connect_raw(s);
    third = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(third >= 0);
    memcpy(address.sun_path, s->path, sizeof(address.sun_path));
    assert_fails(connect(third, (const struct sockaddr *)&address, sizeof(address)), EAGAIN);
    assert_serving(s);
    close(third);
    close(waiting);
}

TEST(destroy_accepts_null)
{
    vfu_destroy_ctx(NULL);
}

/* No quiescing on destroy; regions go in ascending order, then the reset callback hears of a lost client. */
TEST(destroy_while_attached)
{
    static const enum call_kind expected[] = {CALL_UNREGISTER, CALL_UNREGISTER, CALL_RESET};
    struct session *s = new_session();
    int fd = guest_file(PS);
    int client;

    use_dma(s);
    use_quiesce_and_reset(s);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, 0x20000, PS, fd);
    dma_map(s, DMA_RW, 0, 0x10000, PS, -1);
    close(fd);
    assert_int_equal(guest_mapping_count(), 1);
    clear_calls();

    client = s->client;
    s->client = -1;
    end_session(s);
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_int_equal(call(CALL_UNREGISTER, 0)->info.iova.iov_base, 0x10000);
    assert_int_equal(call(CALL_UNREGISTER, 1)->info.iova.iov_base, 0x20000);
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_LOST_CONN);
    assert_int_equal(guest_mapping_count(), 0);
    assert_true(at_end_of_file(client));
    close(client);
}

TEST(destroy_without_client_resets_too)
{
    struct session *s = new_session();

    use_quiesce_and_reset(s);
    calls.behave[CALL_RESET].error = EIO; /* ignored */
    end_session(s);
    assert_int_equal(calls.count, 1);
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_LOST_CONN);
}

TEST(destroy_with_a_request_waiting_for_quiesce)
{
    struct session *s = new_session();

    use_dma(s);
    use_quiesce_and_reset(s);
    start(s);
    calls.behave[CALL_QUIESCE].error = EBUSY;
    send_request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, EBUSY);
    clear_calls();
    end_session(s);
    assert_int_equal(calls_of(CALL_QUIESCE), 0);
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_LOST_CONN);
}

struct server {
    vfu_ctx_t *ctx;
    int attach, attach_errno, run, run_errno;
};

static void *serve(void *argument)
{
    struct server *server = argument;

    server->attach = vfu_attach_ctx(server->ctx);
    server->attach_errno = errno;
    server->run = vfu_run_ctx(server->ctx);
    server->run_errno = errno;
    return NULL;
}

/* In a blocking context attach waits for a client, and run serves it until it is gone. */
TEST(blocking_context)
{
    struct session *s = new_session_with(0);
    struct server server = {.ctx = s->ctx};
    struct vfio_device_info info = {.argsz = 16};
    struct reply *reply;
    pthread_t thread;

    realize(s);
    assert_int_equal(pthread_create(&thread, NULL, serve, &server), 0);
    usleep(20000);
    s->client = connect_raw(s);
    send_version(s->client, 0, 1, NULL, 0);
    assert_success(s, receive(s), 0xbeef, VFIO_USER_VERSION);
    for (int i = 0; i < 3; i++) {
        uint16_t id = send_request(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info));

        reply = receive(s);
        assert_success(s, reply, id, VFIO_USER_DEVICE_GET_INFO);
    }
    send_request(s, 999, &info, sizeof(info));
    assert_int_equal(receive(s)->header.error_no, EINVAL);
    close_client(s);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(server.attach, 0);
    assert_int_equal(server.run, -1);
    assert_int_equal(server.run_errno, ENOTCONN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(create_refuses_bad_arguments),
        CASE(create_reports_socket_errors),
        CASE(create_with_an_empty_path_binds_an_abstract_socket),
        CASE(create_makes_a_socket),
        CASE(the_path_is_copied),
        CASE(realize_is_idempotent),
        CASE(run_needs_realize),
        CASE(run_without_client),
        CASE(run_with_nothing_to_read),
        CASE(attach_without_client),
        CASE(attach_without_descriptors),
        CASE(attach_twice),
        CASE(poll_fd_follows_the_connection),
        CASE(a_second_client_waits_for_the_first),
        CASE(a_third_client_is_turned_away),
        CASE(destroy_accepts_null),
        CASE(destroy_while_attached),
        CASE(destroy_without_client_resets_too),
        CASE(destroy_with_a_request_waiting_for_quiesce),
        CASE(blocking_context),
    };
    return RUN(tests);
}
