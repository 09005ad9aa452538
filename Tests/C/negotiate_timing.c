/* Negotiation with clients that are slow, leave in the middle, are ahead of it, or set odd flags. */
#include "support.h"

#define CAP(text) "{\"capabilities\":{" text "}}"

static struct session *device(void)
{
    struct session *s = new_session();

    realize(s);
    return s;
}

TEST(client_leaves_in_the_middle)
{
    static const struct {
        size_t sent;
        int error;
    } cases[] = {{0, ENOMSG}, {1, ECONNRESET}, {15, ECONNRESET}, {16, ENOMSG}, {17, ECONNRESET}, {19, ECONNRESET}};
    struct session *s = device();
    struct vfio_user_header header = {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 20};
    uint8_t message[20] = {0};

    memcpy(message, &header, sizeof(header));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        s->client = connect_raw(s);
        if (cases[i].sent > 0) {
            assert_int_equal(send(s->client, message, cases[i].sent, 0), cases[i].sent);
        }
        close_client(s);
        assert_fails(vfu_attach_ctx(s->ctx), cases[i].error);
        connect_client(s);
        assert_serving(s);
        lose_client(s);
    }
}

/* It does not wait for the answer to its VERSION. */
TEST(client_leaves_after_its_version)
{
    struct session *s = device();

    s->client = connect_raw(s);
    send_version(s->client, 0, 1, "{}", 3);
    close_client(s);
    assert_fails(vfu_attach_ctx(s->ctx), ECONNRESET);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    connect_client(s);
    assert_serving(s);
}

/* The client that connects and then says nothing must not stop the server. */
TEST(version_that_is_late)
{
    struct session *s;

    NOT_ON_REFERENCE("negotiation blocks in non-blocking contexts");
    s = device();
    s->client = connect_raw(s);
    assert_fails(vfu_attach_ctx(s->ctx), EAGAIN);
    assert_fails(vfu_attach_ctx(s->ctx), EAGAIN);
    send_version(s->client, 0, 1, NULL, 0);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    assert_success(s, receive(s), 0xbeef, VFIO_USER_VERSION);
    assert_serving(s);
}

TEST(version_in_pieces)
{
    struct session *s;
    struct vfio_user_header header = {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 20};
    uint8_t message[20] = {0};

    NOT_ON_REFERENCE("a header must arrive in one piece");
    s = device();
    memcpy(message, &header, sizeof(header));
    s->client = connect_raw(s);
    for (size_t i = 0; i < sizeof(message) - 1; i++) {
        assert_int_equal(send(s->client, &message[i], 1, 0), 1);
        assert_fails(vfu_attach_ctx(s->ctx), EAGAIN);
    }
    assert_int_equal(send(s->client, &message[19], 1, 0), 1);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    assert_success(s, receive(s), 0xbeef, VFIO_USER_VERSION);
    assert_serving(s);
}

TEST(silent_client_leaves)
{
    struct session *s;

    NOT_ON_REFERENCE("negotiation blocks in non-blocking contexts");
    s = device();
    s->client = connect_raw(s);
    assert_fails(vfu_attach_ctx(s->ctx), EAGAIN);
    close_client(s);
    assert_fails(vfu_attach_ctx(s->ctx), ENOMSG);
    assert_fails(vfu_attach_ctx(s->ctx), EAGAIN);
    connect_client(s);
    assert_serving(s);
}

/* A context with a silent client can be destroyed. */
TEST(silent_client_at_destroy)
{
    struct session *s;

    NOT_ON_REFERENCE("negotiation blocks in non-blocking contexts");
    s = device();
    s->client = connect_raw(s);
    assert_fails(vfu_attach_ctx(s->ctx), EAGAIN);
    end_session(s);
}

/* What was sent right behind the VERSION is a request like any other. */
TEST(request_behind_the_version)
{
    struct session *s = device();
    struct vfio_device_info info = {.argsz = 16};
    uint16_t id;

    s->client = connect_raw(s);
    send_version(s->client, 0, 1, "{}", 3);
    id = send_request(s, VFIO_USER_DEVICE_GET_INFO, &info, 16);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    assert_success(s, receive(s), 0xbeef, VFIO_USER_VERSION);
    assert_int_equal(run(s), 1);
    assert_success(s, receive(s), id, VFIO_USER_DEVICE_GET_INFO);
}

/* Commands are not read from the second socket, and losing the client closes it. */
TEST(twin_socket_belongs_to_the_connection)
{
    struct session *s = new_session();
    struct vfio_user_header header = {.cmd = VFIO_USER_DEVICE_RESET, .msg_size = 16};
    int type = 0;
    socklen_t size = sizeof(type);

    realize(s);
    connect_client_with(s, CAP("\"twin_socket\":{\"supported\":true}"));
    assert_int_not_equal(s->twin, -1);
    assert_int_equal(getsockopt(s->twin, SOL_SOCKET, SO_TYPE, &type, &size), 0);
    assert_int_equal(type, SOCK_STREAM);
    send_message(s->twin, &header, NULL, 0, NULL, 0);
    assert_int_equal(run(s), 0);
    assert_true(nothing_to_receive(s->twin));
    assert_serving(s);
    close(s->client);
    s->client = -1;
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    assert_true(at_end_of_file(s->twin));
}

/* A VERSION is always answered, and the error bit of a command means nothing. */
TEST(flags_without_meaning)
{
    static const uint32_t flags[] = {VFIO_USER_F_NO_REPLY, VFIO_USER_F_ERROR, 0xffffff00};
    struct session *s = device();

    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        struct vfio_user_header header = {.msg_id = 0xbeef,
                                          .cmd = VFIO_USER_VERSION,
                                          .msg_size = 20,
                                          .flags = flags[i],
                                          .error_no = 5};

        s->client = connect_raw(s);
        send_message(s->client, &header, "\0\0\1\0", 4, NULL, 0);
        assert_int_equal(vfu_attach_ctx(s->ctx), 0);
        assert_success(s, receive(s), 0xbeef, VFIO_USER_VERSION);
        lose_client(s);
    }
}

/* In a blocking context it is the same: who is refused hears why, the next one is served, and run waits for its end. */
TEST(blocking_context)
{
    static const char *const refused[] = {
        "{",
        "\"",
        "{\"capabilities\":\"text\"}",
        CAP("\"max_msg_fds\":\"foo\""),
        CAP("\"max_msg_fds\":-1"),
        CAP("\"max_msg_fds\":1025"),
        CAP("\"migration\":\"text\""),
        CAP("\"migration\":{\"pgsize\":\"foo\"}"),
        CAP("\"migration\":{\"pgsize\":4095}"),
    };
    static const char *const accepted[] = {NULL, "{}", CAP("\"max_msg_fds\":1024")};
    struct vfio_user_header too_long = {.cmd = VFIO_USER_VERSION, .msg_size = MAX_MESSAGE + 1};
    struct session *s = new_session_with(0);

    use_migration(s);
    realize(s);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        s->client = connect_raw(s);
        send_version(s->client, 0, 1, refused[i], strlen(refused[i]) + 1);
        assert_fails(vfu_attach_ctx(s->ctx), EINVAL);
        assert_error(s, receive(s), 0xbeef, VFIO_USER_VERSION, EINVAL);
        assert_true(at_end_of_file(s->client));
        close_client(s);
    }
    s->client = connect_raw(s);
    send_message(s->client, &too_long, NULL, 0, NULL, 0);
    assert_fails(vfu_attach_ctx(s->ctx), EINVAL);
    close_client(s);
    for (size_t i = 0; i < ARRAY_LEN(accepted); i++) {
        connect_client_with(s, accepted[i]);
        assert_non_null(strstr((const char *)s->reply.data + 4, "\"pgsize\""));
        lose_client(s);
    }
}

/* What is wrong with a header shows before there is a body: descriptors first, then type and size. */
TEST(refusals_in_their_order)
{
    static const struct {
        uint32_t size, flags;
        bool with_fd;
        int error;
    } cases[] = {
        {15, VFIO_USER_F_TYPE_REPLY, true, EFAULT},
        {MAX_MESSAGE + 1, 0, true, EFAULT},
        {20, VFIO_USER_F_TYPE_REPLY, true, EFAULT},
        {20, 0, true, EFAULT},
        {20, VFIO_USER_F_TYPE_REPLY, false, EINVAL},
        {20, 15, false, EINVAL},
    };
    struct session *s = device();
    int fd = 0;

    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        const size_t n = i / 2;
        struct vfio_user_header header = {
            .msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = cases[n].size, .flags = cases[n].flags};
        size_t before = fd_count();

        s->client = connect_raw(s);
        send_message(s->client, &header, NULL, 0, &fd, cases[n].with_fd ? 1 : 0);
        if (i % 2 == 1) { /* there will be no body */
            assert_int_equal(shutdown(s->client, SHUT_WR), 0);
        }
        assert_fails(vfu_attach_ctx(s->ctx), cases[n].error);
        assert_true(at_end_of_file(s->client)); /* nor an answer */
        close_client(s);
        assert_int_equal(fd_count(), before);
    }
    connect_client(s);
    assert_serving(s);
}

/* Taking a text apart takes many times its length. */
TEST(version_that_is_too_long)
{
    static const size_t longest = 8192;
    struct session *s;
    uint8_t payload[8193] = {0, 0, 1, 0, '{', '}'};

    NOT_ON_REFERENCE("it takes all that fits into a message");
    s = device();
    memset(payload + 6, ' ', sizeof(payload) - 6);
    for (size_t size = longest; size <= longest + 1; size++) {
        struct vfio_user_header header = {
            .msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = (uint32_t)(16 + size)};

        payload[size - 1] = '\0';
        s->client = connect_raw(s);
        send_message(s->client, &header, payload, size, NULL, 0);
        if (size == longest) {
            assert_int_equal(vfu_attach_ctx(s->ctx), 0);
            assert_success(s, receive(s), 0xbeef, VFIO_USER_VERSION);
            lose_client(s);
        } else {
            assert_fails(vfu_attach_ctx(s->ctx), EINVAL);
            assert_error(s, receive(s), 0xbeef, VFIO_USER_VERSION, EINVAL);
            assert_true(at_end_of_file(s->client));
            close_client(s);
        }
        payload[size - 1] = ' ';
    }
}

/* What one client asked for does not hold for the next. */
TEST(settings_go_with_their_client)
{
    struct session *s = new_session();
    const uint32_t body[2] = {13, 5};

    use_migration(s);
    realize(s);
    connect_client_with(s, CAP("\"max_data_xfer_size\":4"));
    set_state(s, VFIO_USER_DEVICE_STATE_PRE_COPY);
    request_fails(s, VFIO_USER_MIG_DATA_READ, body, sizeof(body), EINVAL);
    lose_client(s);
    connect_client_with(s, "{}");
    request(s, VFIO_USER_MIG_DATA_READ, body, sizeof(body));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(client_leaves_in_the_middle),
        CASE(client_leaves_after_its_version),
        CASE(version_that_is_late),
        CASE(version_in_pieces),
        CASE(silent_client_leaves),
        CASE(silent_client_at_destroy),
        CASE(request_behind_the_version),
        CASE(twin_socket_belongs_to_the_connection),
        CASE(flags_without_meaning),
        CASE(blocking_context),
        CASE(refusals_in_their_order),
        CASE(version_that_is_too_long),
        CASE(settings_go_with_their_client),
    };
    return RUN(tests);
}
