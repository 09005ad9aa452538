/* What is common to all requests: headers, replies, order, stray file descriptors, clients that vanish. */
#include "support.h"

static struct session *plain_device(void)
{
    struct session *s = new_session();

    use_dma(s);
    use_quiesce_and_reset(s);
    use_region(s, 0, 0x1000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 4), 0);
    start(s);
    return s;
}

static void rejected(struct session *s, struct vfio_user_header header, const void *payload, size_t size, int error)
{
    send_message(s->client, &header, payload, size, NULL, 0);
    assert_in_range(run(s), 0, 1);
    assert_error(s, receive(s), header.msg_id, header.cmd, error);
    assert_serving(s);
}

/* Refused at once, without waiting for a body that may never come. */
TEST(impossible_message_size)
{
    static const uint32_t sizes[] = {0, 1, 15, MAX_MESSAGE + 1, 0x7fffffff, 0xffffffff};
    struct session *s = plain_device();

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct vfio_user_header header = command_header(s, VFIO_USER_DEVICE_SET_IRQS, 0);

        header.msg_size = sizes[i];
        rejected(s, header, NULL, 0, EINVAL);
    }
}

TEST(message_that_is_no_command)
{
    struct session *s = plain_device();

    for (uint32_t type = 1; type <= VFIO_USER_F_TYPE_MASK; type++) {
        struct vfio_user_header header = command_header(s, VFIO_USER_DMA_MAP, 0);

        header.flags = type;
        rejected(s, header, NULL, 0, EINVAL);
    }
}

TEST(unknown_commands)
{
    static const uint16_t commands[] = {0, VFIO_USER_VERSION, VFIO_USER_DMA_READ, VFIO_USER_DMA_WRITE, 14,
                                        VFIO_USER_MAX, 20, 999, 0xffff};
    struct session *s = plain_device();
    uint8_t body[64] = {0};

    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        request_fails(s, commands[i], body, 1, EINVAL);
        request_fails(s, commands[i], body, sizeof(body), EINVAL);
    }
    assert_serving(s);
    assert_int_equal(calls.count, 0);
}

/* DEVICE_RESET is the only request that needs no payload. */
TEST(header_alone)
{
    struct session *s = plain_device();

    for (uint16_t cmd = 0; cmd <= VFIO_USER_MAX; cmd++) {
        if (cmd != VFIO_USER_DEVICE_RESET) {
            request_fails(s, cmd, NULL, 0, EINVAL);
        }
    }
    assert_int_equal(calls.count, 0); /* none has come so far as to quiesce the device */
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    assert_int_equal(calls_of(CALL_RESET), 1);
}

TEST(ids_are_echoed)
{
    static const uint16_t ids[] = {0, 1, 0x8000, 0xffff, 0xffff};
    struct session *s = plain_device();
    struct vfio_device_info info = {.argsz = 16};

    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        s->next_id = ids[i];
        request(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info));
        s->next_id = ids[i];
        request_fails(s, 77, &info, sizeof(info), EINVAL);
    }
}

TEST(flag_bits_without_meaning)
{
    struct session *s = plain_device();
    struct vfio_device_info info = {.argsz = 16};
    struct vfio_user_header header = command_header(s, VFIO_USER_DEVICE_GET_INFO, sizeof(info));

    header.flags = VFIO_USER_F_ERROR | 0xffffff80;
    header.error_no = EIO;
    send_message(s->client, &header, &info, sizeof(info), NULL, 0);
    assert_int_equal(run(s), 1);
    assert_success(s, receive(s), header.msg_id, header.cmd);
}

/* A request that wants no reply is executed and gets none, not even if it fails. */
TEST(no_reply)
{
    struct session *s = plain_device();
    struct vfio_user_header header = command_header(s, VFIO_USER_DEVICE_RESET, 0);
    uint8_t body[16] = {0};

    header.flags |= VFIO_USER_F_NO_REPLY;
    send_message(s->client, &header, NULL, 0, NULL, 0);
    assert_int_equal(run(s), 1);
    assert_int_equal(calls_of(CALL_RESET), 1);
    assert_true(nothing_to_receive(s->client));

    header = command_header(s, 999, sizeof(body));
    header.flags |= VFIO_USER_F_NO_REPLY;
    send_message(s->client, &header, body, sizeof(body), NULL, 0);
    assert_in_range(run(s), 0, 1);
    assert_true(nothing_to_receive(s->client));

    header = command_header(s, VFIO_USER_DEVICE_GET_INFO, 0);
    header.flags |= VFIO_USER_F_NO_REPLY;
    send_message(s->client, &header, NULL, 0, NULL, 0);
    assert_in_range(run(s), 0, 1);
    assert_true(nothing_to_receive(s->client));
    assert_serving(s);
}

TEST(pipelined_requests_are_answered_in_order)
{
    struct session *s = plain_device();
    struct vfio_device_info info = {.argsz = 16};
    uint16_t first, second, third;
    int handled = 0;

    first = send_request(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info));
    second = send_request(s, 999, &info, sizeof(info));
    third = send_request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    for (int i = 0; i < 4; i++) {
        assert_in_range(run(s), 0, 3);
        handled += s->result;
    }
    assert_in_range(handled, 2, 3);
    assert_success(s, receive(s), first, VFIO_USER_DEVICE_GET_INFO);
    assert_error(s, receive(s), second, 999, EINVAL);
    assert_success(s, receive(s), third, VFIO_USER_DEVICE_RESET);
    assert_true(nothing_to_receive(s->client));
}

/* A request with an fd behind one without: each keeps its own. */
TEST(pipelined_requests_keep_their_fds)
{
    struct session *s = plain_device();
    struct vfio_user_dma_map first = dma_map_body(DMA_RW, 0, 0x10000, PS);
    struct vfio_user_dma_map second = dma_map_body(DMA_RW | DMA_MMAP, 0, 0x20000, PS);
    int fd = guest_file(PS);
    uint16_t ids[3];

    ids[0] = send_request(s, VFIO_USER_DMA_MAP, &first, sizeof(first));
    ids[1] = send_request_fds(s, VFIO_USER_DMA_MAP, &second, sizeof(second), &fd, 1);
    first.addr = 0x30000;
    ids[2] = send_request(s, VFIO_USER_DMA_MAP, &first, sizeof(first));
    close(fd);
    for (int i = 0; i < 4; i++) {
        assert_in_range(run(s), 0, 3);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_success(s, receive(s), ids[i], VFIO_USER_DMA_MAP);
        assert_int_equal(call(CALL_REGISTER, i)->info.vaddr != NULL, i == 1);
    }
}

TEST(header_and_body_sent_apart)
{
    struct session *s = plain_device();
    struct vfio_device_info info = {.argsz = 16};
    struct vfio_user_header header = command_header(s, VFIO_USER_DEVICE_GET_INFO, sizeof(info));

    send_message(s->client, &header, NULL, 0, NULL, 0);
    assert_int_equal(send(s->client, &info, sizeof(info), 0), sizeof(info));
    assert_int_equal(run(s), 1);
    assert_success(s, receive(s), header.msg_id, header.cmd);
}

/* A call never waits for the rest of a message; it keeps what came. */
TEST(message_in_pieces)
{
    struct session *s;
    struct vfio_user_device_info info = {.argsz = 16};
    struct vfio_user_header header;
    uint8_t message[16 + sizeof(info)];

    NOT_ON_REFERENCE("a header must arrive in one piece, and the body is waited for");
    s = plain_device();
    header = command_header(s, VFIO_USER_DEVICE_GET_INFO, sizeof(info));
    memcpy(message, &header, 16);
    memcpy(message + 16, &info, sizeof(info));
    for (size_t i = 0; i < sizeof(message); i++) {
        assert_true(nothing_to_receive(s->client));
        assert_int_equal(send(s->client, &message[i], 1, 0), 1);
        assert_int_equal(run(s), i == sizeof(message) - 1 ? 1 : 0);
    }
    assert_success(s, receive(s), header.msg_id, header.cmd);
    assert_serving(s);
}

/* The body of a refused message is not the next header. */
TEST(bodies_of_refused_messages_are_consumed)
{
    struct session *s;
    uint8_t body[100];

    NOT_ON_REFERENCE("bodies of messages refused by their header are taken for headers");
    s = plain_device();
    memset(body, 0xff, sizeof(body));
    for (uint32_t type = 1; type <= VFIO_USER_F_TYPE_MASK; type++) {
        struct vfio_user_header header = command_header(s, VFIO_USER_REGION_WRITE, sizeof(body));

        header.flags = type;
        send_message(s->client, &header, body, sizeof(body), NULL, 0);
        assert_in_range(run(s), 0, 1);
        assert_error(s, receive(s), header.msg_id, header.cmd, EINVAL);
        assert_serving(s);
    }
}

TEST(refused_requests_close_their_fds)
{
    struct session *s = plain_device();
    uint8_t body[64] = {0};
    int fds[2] = {0, 1};
    size_t before = fd_count();
    struct vfio_irq_set set = {
        .argsz = 20,
        .flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_BOOL,
        .index = VFU_DEV_REQ_IRQ,
        .count = 1,
    };

    memcpy(body, &set, 20);
    request_fds_fails(s, VFIO_USER_DEVICE_SET_IRQS, body, 21, fds, 2, EINVAL);
    assert_int_equal(fd_count(), before);
    for (uint16_t cmd = 0; cmd <= VFIO_USER_MAX; cmd++) {
        if (cmd != VFIO_USER_DEVICE_RESET) {
            request_fds_fails(s, cmd, NULL, 0, fds, 2, EINVAL); /* header only */
            assert_int_equal(fd_count(), before);
            request_fds_fails(s, cmd, body, 1, fds, 2, EINVAL); /* payload too short */
            assert_int_equal(fd_count(), before);
        }
    }
    assert_serving(s);
}

TEST(fds_nobody_asked_for_are_closed)
{
    struct session *s = plain_device();
    struct vfio_device_info info = {.argsz = 16};
    struct vfio_user_dma_map map = dma_map_body(DMA_RW, 0, 0x10000, PS);
    int memory = guest_file(PS);
    int fds[3] = {memory, memory, 1};
    size_t before = fd_count();

    request_fds(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info), fds, 3);
    assert_int_equal(fd_count(), before);
    request_fds(s, VFIO_USER_DEVICE_RESET, NULL, 0, fds, 3);
    assert_int_equal(fd_count(), before);
    /* DMA_MAP uses the first. */
    request_fds(s, VFIO_USER_DMA_MAP, &map, sizeof(map), fds, 3);
    assert_in_range(fd_count(), before, before + 1);
    dma_unmap(s, 0x10000, PS);
    assert_int_equal(fd_count(), before);
    close(memory);
}

/* As many as the kernel lets through in one message. */
TEST(as_many_fds_as_possible)
{
    struct session *s = plain_device();
    struct vfio_device_info info = {.argsz = 16};
    int fds[253];
    size_t before = fd_count();

    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = 0;
    }
    request_fds(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info), fds, ARRAY_LEN(fds));
    assert_int_equal(fd_count(), before);
}

TEST(client_disconnects)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_RESET};
    struct session *s = plain_device();

    lose_client(s);
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_LOST_CONN);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    assert_int_equal(calls.count, 2);
    connect_client(s);
    assert_serving(s);
}

/* What arrived before the client left is still done. */
TEST(request_of_a_client_that_left)
{
    struct session *s = plain_device();
    int calls_made = 0;

    send_region_write(s, 0, 4, "abcd", 4);
    close_client(s);
    do {
        assert_true(++calls_made < 4);
    } while (run(s) >= 0);
    assert_int_equal(s->run_errno, ENOTCONN);
    assert_int_equal(calls_of(CALL_REGION), 1);
    assert_memory_equal(calls.memory + 4, "abcd", 4);
    assert_int_equal(calls_of(CALL_RESET), 1);
    connect_client(s);
    assert_serving(s);
}

/* A client that only stops sending still gets its answers. */
TEST(half_closed_connection)
{
    struct session *s = plain_device();
    struct vfio_device_info info = {.argsz = 16};
    uint16_t id = send_request(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info));
    int calls_made = 0;

    assert_int_equal(shutdown(s->client, SHUT_WR), 0);
    do {
        assert_true(++calls_made < 4);
    } while (run(s) >= 0);
    assert_int_equal(s->run_errno, ENOTCONN);
    assert_success(s, receive(s), id, VFIO_USER_DEVICE_GET_INFO);
    assert_true(at_end_of_file(s->client));
    assert_int_equal(calls_of(CALL_RESET), 1);
}

TEST(half_closed_in_the_middle_of_a_body)
{
    struct session *s = plain_device();
    struct vfio_user_header header = command_header(s, VFIO_USER_DEVICE_GET_INFO, 16);
    int calls_made = 0;

    send_message(s->client, &header, NULL, 0, NULL, 0);
    assert_int_equal(shutdown(s->client, SHUT_WR), 0);
    do {
        assert_true(++calls_made < 4);
    } while (run(s) >= 0);
    assert_int_equal(s->run_errno, ENOTCONN);
    assert_int_equal(calls_of(CALL_RESET), 1);
    if (on_reference()) {
        assert_error(s, receive(s), header.msg_id, header.cmd, ENOMSG);
    }
    assert_true(at_end_of_file(s->client));
    close_client(s);
    connect_client(s);
    assert_serving(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(impossible_message_size),
        CASE(message_that_is_no_command),
        CASE(unknown_commands),
        CASE(header_alone),
        CASE(ids_are_echoed),
        CASE(flag_bits_without_meaning),
        CASE(no_reply),
        CASE(pipelined_requests_are_answered_in_order),
        CASE(pipelined_requests_keep_their_fds),
        CASE(header_and_body_sent_apart),
        CASE(message_in_pieces),
        CASE(bodies_of_refused_messages_are_consumed),
        CASE(refused_requests_close_their_fds),
        CASE(fds_nobody_asked_for_are_closed),
        CASE(as_many_fds_as_possible),
        CASE(client_disconnects),
        CASE(request_of_a_client_that_left),
        CASE(half_closed_connection),
        CASE(half_closed_in_the_middle_of_a_body),
    };
    return RUN(tests);
}
