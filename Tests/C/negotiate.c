/* Version negotiation: what is accepted, what is offered, and what becomes of clients that are refused. */
#include "support.h"

#define CAP(text) "{\"capabilities\":{" text "}}"

/* The text without white space, so that the layout of the JSON is left to the library. */
static const char *squeezed(const char *json)
{
    static char text[1024];
    size_t n = 0;

    for (; *json != '\0'; json++) {
        if (strchr(" \t\r\n", *json) == NULL) {
            assert_true(n < sizeof(text) - 1);
            text[n++] = *json;
        }
    }
    text[n] = '\0';
    return text;
}

static void assert_offers(const struct reply *reply, const char *item)
{
    const char *json = (const char *)reply->data + 4;

    if (strstr(squeezed(json), item) == NULL) {
        fail_msg("%s lacks %s", json, item);
    }
}

static void assert_offers_no(const struct reply *reply, const char *key)
{
    assert_null(strstr((const char *)reply->data + 4, key));
}

/* Checks what is common to all accepted VERSIONs. */
static struct reply *accepted(struct session *s, uint16_t minor, const void *json, size_t size)
{
    struct vfio_user_version version;
    struct reply *reply;

    s->client = connect_raw(s);
    send_version(s->client, 0, minor, json, size);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    reply = receive(s);
    assert_success(s, reply, 0xbeef, VFIO_USER_VERSION);
    assert_true(reply->size > 5);
    assert_int_equal(reply->data[reply->size - 1], '\0');
    assert_int_equal(strlen((char *)reply->data + 4), reply->size - 5);
    memcpy(&version, reply->data, 4);
    assert_int_equal(version.major, 0);
    assert_int_equal(version.minor, minor < 2 ? minor : 2);
    assert_offers(reply, "\"max_msg_fds\":8");
    assert_offers(reply, "\"max_data_xfer_size\":1048576");
    assert_serving(s);
    return reply;
}

/* The attach call fails, with an error reply or without any, and the connection is closed. */
static void refused(struct session *s, int error, bool answered, uint16_t cmd)
{
    assert_fails(vfu_attach_ctx(s->ctx), error);
    if (answered) {
        struct reply *reply = receive(s);

        assert_int_equal(reply->header.flags, VFIO_USER_F_TYPE_REPLY | VFIO_USER_F_ERROR);
        assert_int_equal(reply->header.error_no, error);
        assert_int_equal(reply->header.cmd, cmd);
        assert_int_equal(reply->header.msg_id, 0xbeef);
    }
    assert_true(at_end_of_file(s->client));
    close_client(s);
    /* Nothing is attached; the next client is served. */
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    assert_fails(vfu_attach_ctx(s->ctx), EAGAIN);
    connect_client(s);
    assert_serving(s);
    lose_client(s);
}

static void refused_json(struct session *s, const void *json, size_t size)
{
    s->client = connect_raw(s);
    send_version(s->client, 0, 1, json, size);
    refused(s, EINVAL, true, VFIO_USER_VERSION);
}

static struct session *device(void)
{
    struct session *s = new_session();

    realize(s);
    return s;
}

TEST(without_json)
{
    struct session *s = new_session();

    realize(s);
    accepted(s, 1, NULL, 0);
    lose_client(s);
}

TEST(minor_version_is_the_lower_one)
{
    struct session *s = new_session();

    realize(s);
    for (uint16_t minor = 0; minor < 4; minor++) {
        accepted(s, minor, NULL, 0);
        lose_client(s);
    }
    accepted(s, 0xffff, "{}", 3);
}

TEST(page_size_is_offered_with_migration)
{
    struct session *s = new_session();
    char item[64];

    realize(s);
    s->client = connect_raw(s);
    send_version(s->client, 0, 1, NULL, 0);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    assert_offers_no(receive(s), "migration");
    lose_client(s);

    use_migration(s);
    s->client = connect_raw(s);
    send_version(s->client, 0, 1, NULL, 0);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    snprintf(item, sizeof(item), "\"migration\":{\"pgsize\":%llu}", (unsigned long long)PS);
    assert_offers(receive(s), item);
}

TEST(json_that_is_accepted)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "5",
        "\"text\"",
        "{\"other\":{\"capabilities\":5}}",
        CAP(""),
        CAP("\"unknown\":[1,{\"a\":null}]"),
        CAP("\"max_msg_fds\":0"),
        CAP("\"max_msg_fds\":1024"),
        CAP("\"max_data_xfer_size\":1"),
        CAP("\"max_data_xfer_size\":1048576"),
        CAP("\"migration\":{}"),
        CAP("\"migration\":{\"pgsize\":0}"),
        CAP("\"twin_socket\":{}"),
        CAP("\"twin_socket\":{\"supported\":false}"),
        " { \"capabilities\" : { \"max_msg_fds\" : 8 } } ",
        "{} and something after it",
        CAP("\"pgsizes\":4096,\"max_dma_maps\":65535,\"write_multiple\":true,\"max_bitmap_size\":1024"),
    };
    struct session *s = device();

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        accepted(s, 1, texts[i], strlen(texts[i]) + 1);
        lose_client(s);
    }
    /* A NUL inside ends the text; what follows up to the last byte, again a NUL, is nobody's. */
    accepted(s, 1, "{}\0{{{{", 8);
}

TEST(json_that_is_refused)
{
    static const char *const texts[] = {
        "",
        " ",
        "null",
        "{",
        "\"",
        "}",
        "{\"capabilities\"}",
        "{\"capabilities\":\"text\"}",
        "{\"capabilities\":null}",
        "{\"capabilities\":5}",
        "{\"capabilities\":[]}",
        CAP("\"max_msg_fds\":\"foo\""),
        CAP("\"max_msg_fds\":-1"),
        CAP("\"max_msg_fds\":1025"),
        CAP("\"max_msg_fds\":1.5"),
        CAP("\"max_msg_fds\":null"),
        CAP("\"max_data_xfer_size\":\"4\""),
        CAP("\"max_data_xfer_size\":{}"),
        CAP("\"migration\":\"text\""),
        CAP("\"migration\":null"),
        CAP("\"migration\":{\"pgsize\":\"foo\"}"),
        CAP("\"twin_socket\":1"),
        CAP("\"twin_socket\":null"),
        CAP("\"twin_socket\":{\"supported\":1}"),
        CAP("\"twin_socket\":{\"supported\":\"true\"}"),
    };
    struct session *s = device();

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        refused_json(s, texts[i], strlen(texts[i]) + 1);
    }
    refused_json(s, "{}", 2); /* the final NUL is missing */
    refused_json(s, "x", 1);
}

TEST(page_size_must_match_with_migration)
{
    static const char wrong[] = CAP("\"migration\":{\"pgsize\":4095}");
    static const char none[] = CAP("\"migration\":{\"pgsize\":0}");
    struct session *s = new_session();
    char right[64];

    use_migration(s);
    realize(s);
    refused_json(s, wrong, sizeof(wrong));
    accepted(s, 1, none, sizeof(none));
    lose_client(s);
    snprintf(right, sizeof(right), CAP("\"migration\":{\"pgsize\":%llu}"), (unsigned long long)PS);
    accepted(s, 1, right, strlen(right) + 1);
}

/* Without migration nobody cares about its page size, but the type must be right all the same. */
TEST(page_size_is_ignored_without_migration)
{
    static const char text[] = CAP("\"migration\":{\"pgsize\":4095}");
    struct session *s = new_session();

    realize(s);
    accepted(s, 1, text, sizeof(text));
}

TEST(json_numbers_out_of_range)
{
    static const char *const texts[] = {
        CAP("\"max_data_xfer_size\":0"),
        CAP("\"max_data_xfer_size\":-1"),
        CAP("\"max_data_xfer_size\":-4294967295"),
        CAP("\"max_msg_fds\":4294967297"),
        CAP("\"max_msg_fds\":-4294967295"),
    };
    struct session *s;

    NOT_ON_REFERENCE("it truncates numbers to 32 bits, and a transfer size of 0 makes it loop for ever");
    s = device();
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        refused_json(s, texts[i], strlen(texts[i]) + 1);
    }
}

TEST(deeply_nested_json)
{
    char text[3001];
    struct session *s = device();

    memset(text, '[', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    refused_json(s, text, sizeof(text));
}

TEST(short_version)
{
    struct session *s = device();

    for (size_t size = 0; size < 4; size++) {
        struct vfio_user_header header = {
            .msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = (uint32_t)(16 + size)};

        s->client = connect_raw(s);
        send_message(s->client, &header, "\0\0\0", size, NULL, 0);
        refused(s, EINVAL, true, VFIO_USER_VERSION);
    }
}

TEST(wrong_command)
{
    static const uint16_t commands[] = {0, VFIO_USER_DMA_MAP, VFIO_USER_DEVICE_RESET, 999};
    struct session *s = device();

    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        struct vfio_user_header header = {.msg_id = 0xbeef, .cmd = commands[i], .msg_size = 20};

        s->client = connect_raw(s);
        send_message(s->client, &header, "\0\0\1\0", 4, NULL, 0);
        refused(s, EINVAL, true, commands[i]);
    }
}

TEST(wrong_major_version)
{
    struct session *s = device();

    s->client = connect_raw(s);
    send_version(s->client, 999, 1, NULL, 0);
    refused(s, EINVAL, true, VFIO_USER_VERSION);
    s->client = connect_raw(s);
    send_version(s->client, 1, 0, "{}", 3);
    refused(s, EINVAL, true, VFIO_USER_VERSION);
}

/* Headers that make no sense are not even answered. */
TEST(wrong_header)
{
    static const struct vfio_user_header headers[] = {
        {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = MAX_MESSAGE + 1},
        {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 0xffffffff},
        {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 15},
        {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 0},
        {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 20, .flags = VFIO_USER_F_TYPE_REPLY},
        {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 20, .flags = 7},
    };
    struct session *s = device();

    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        s->client = connect_raw(s);
        send_message(s->client, &headers[i], "\0\0\1\0", headers[i].msg_size == 20 ? 4 : 0, NULL, 0);
        refused(s, EINVAL, false, 0);
    }
}

TEST(fds_are_refused)
{
    struct session *s = device();
    struct vfio_user_header header = {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 20};
    int fds[3] = {0, 1, 2};

    for (size_t n = 1; n <= ARRAY_LEN(fds); n++) {
        size_t before = fd_count();

        s->client = connect_raw(s);
        send_message(s->client, &header, "\0\0\1\0", 4, fds, n);
        refused(s, EFAULT, false, 0);
        assert_int_equal(fd_count(), before);
    }
}

static void twin_case(struct session *s, const char *json, bool expected)
{
    struct reply *reply;

    s->client = connect_raw(s);
    send_version(s->client, 0, 1, json, strlen(json) + 1);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    reply = receive(s);
    assert_success(s, reply, 0xbeef, VFIO_USER_VERSION);
    assert_int_equal(reply->nr_fds, expected ? 1 : 0);
    if (expected) {
        assert_offers(reply, "\"twin_socket\":{");
        assert_offers(reply, "\"supported\":true");
        assert_offers(reply, "\"fd_index\":0");
        s->twin = take_fd(reply, 0);
        assert_true(nothing_to_receive(s->twin));
    } else {
        assert_offers_no(reply, "twin_socket");
    }
    assert_serving(s);
    lose_client(s);
}

TEST(twin_socket)
{
    struct session *s = new_session();

    realize(s);
    twin_case(s, CAP("\"max_msg_fds\":8,\"twin_socket\":{\"supported\":true}"), true);
    twin_case(s, CAP("\"twin_socket\":{\"supported\":true}"), true); /* max_msg_fds defaults to 1 */
    twin_case(s, CAP("\"max_msg_fds\":0,\"twin_socket\":{\"supported\":true}"), false);
    twin_case(s, CAP("\"max_msg_fds\":8,\"twin_socket\":{\"supported\":false}"), false);
    twin_case(s, CAP("\"max_msg_fds\":8,\"twin_socket\":{}"), false);
    twin_case(s, CAP("\"max_msg_fds\":8"), false); /* settings do not outlive a connection */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(without_json),
        CASE(minor_version_is_the_lower_one),
        CASE(page_size_is_offered_with_migration),
        CASE(json_that_is_accepted),
        CASE(json_that_is_refused),
        CASE(page_size_must_match_with_migration),
        CASE(page_size_is_ignored_without_migration),
        CASE(json_numbers_out_of_range),
        CASE(deeply_nested_json),
        CASE(short_version),
        CASE(wrong_command),
        CASE(wrong_major_version),
        CASE(wrong_header),
        CASE(fds_are_refused),
        CASE(twin_socket),
    };
    return RUN(tests);
}
