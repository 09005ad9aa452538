/* Clients that vanish after any byte of a session: the next one is served, and nothing stays behind. */
#include "support.h"

#define BASE UINT64_C(0x10000)
#define MAX_PART 256

struct part {
    _Alignas(8) uint8_t bytes[MAX_PART];
    size_t size;
    int fds[2];
    size_t nr_fds;
};

static struct part parts[16];
static size_t nr_parts, total;
static int memory, eventfds[2];

static void append(uint16_t cmd, const void *body, size_t size, const int *fds, size_t nr_fds)
{
    struct part *part = &parts[nr_parts++];
    struct vfio_user_header header = {
        .msg_id = (uint16_t)nr_parts, .cmd = cmd, .msg_size = (uint32_t)(sizeof(header) + size)};

    assert_true(nr_parts <= ARRAY_LEN(parts) && sizeof(header) + size <= MAX_PART);
    memcpy(part->bytes, &header, sizeof(header));
    if (size > 0) {
        memcpy(part->bytes + sizeof(header), body, size);
    }
    part->size = sizeof(header) + size;
    for (size_t i = 0; i < nr_fds; i++) {
        part->fds[i] = fds[i];
    }
    part->nr_fds = nr_fds;
    total += part->size;
}

/* A session with a bit of everything, fds in both directions included. */
static void compose(void)
{
    uint8_t version[4 + sizeof(DEFAULT_JSON)] = {0, 0, 1, 0};
    struct vfio_user_dma_map map = dma_map_body(DMA_RW | DMA_MMAP, 0, BASE, PS);
    struct vfio_region_info info = {.argsz = 128, .index = 2};
    struct vfio_user_dma_unmap unmap;
    struct {
        struct vfio_user_region_access access;
        uint8_t data[4];
    } __attribute__((packed)) write;
    const uint32_t irqs[5] = {20, VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD, VFU_DEV_MSIX_IRQ, 0, 2};

    nr_parts = total = 0;
    memory = guest_file(4 * PS);
    eventfds[0] = new_eventfd(0);
    eventfds[1] = new_eventfd(0);
    memcpy(version + 4, DEFAULT_JSON, sizeof(DEFAULT_JSON));
    append(VFIO_USER_VERSION, version, sizeof(version), NULL, 0);
    append(VFIO_USER_DEVICE_SET_IRQS, irqs, sizeof(irqs), eventfds, 2);
    append(VFIO_USER_DMA_MAP, &map, sizeof(map), &memory, 1);
    map = dma_map_body(DMA_RW | DMA_FILE, PS, 2 * BASE, PS);
    append(VFIO_USER_DMA_MAP, &map, sizeof(map), &memory, 1);
    append(VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info), NULL, 0);
    memset(&write, 0, sizeof(write));
    write.access.count = 4;
    append(VFIO_USER_REGION_WRITE, &write, sizeof(write), NULL, 0);
    append(VFIO_USER_REGION_READ, &write, 16, eventfds, 2);
    append(999, &write, sizeof(write), eventfds, 1);
    append(VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0);
    dma_unmap_body(&unmap, 0, BASE, PS);
    append(VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0);
}

static void close_files(void)
{
    close(memory);
    close(eventfds[0]);
    close(eventfds[1]);
}

/* Sends bytes [from, to) of a part; its fds go with the first byte. */
static void send_piece(int fd, const struct part *part, size_t from, size_t to)
{
    union {
        struct cmsghdr align;
        char buffer[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)(part->bytes + from), .iov_len = to - from};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    /* The reference loses fds whose header is cut short. */
    if (from == 0 && part->nr_fds > 0 && (to >= 16 || !on_reference())) {
        struct cmsghdr *item;

        message.msg_control = control.buffer;
        message.msg_controllen = CMSG_SPACE(part->nr_fds * sizeof(int));
        item = CMSG_FIRSTHDR(&message);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN(part->nr_fds * sizeof(int));
        memcpy(CMSG_DATA(item), part->fds, part->nr_fds * sizeof(int));
    }
    assert_int_equal(sendmsg(fd, &message, MSG_NOSIGNAL), to - from);
}

static struct session *device(void)
{
    struct session *s = new_session();
    struct iovec area = {.iov_base = NULL, .iov_len = 0x1000};

    use_dma(s);
    use_quiesce_and_reset(s);
    use_region(s, 0, 0x1000, VFU_REGION_FLAG_RW);
    assert_int_equal(vfu_setup_region(s->ctx, 2, 0x1000, region_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, &area,
                                      1, memory, 0),
                     0);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 2), 0);
    realize(s);
    return s;
}

/* Everything of the lost client is gone, and another one is served. */
static void assert_recovered(struct session *s, bool was_attached, size_t fds)
{
    int runs = 0;

    if (was_attached) {
        while (run(s) >= 0) {
            assert_true(++runs < 40);
        }
        assert_int_equal(s->run_errno, ENOTCONN);
        assert_int_equal(calls.list[calls.count - 1].kind, CALL_RESET);
        assert_int_equal(calls.list[calls.count - 1].value, VFU_RESET_LOST_CONN);
        assert_int_equal(calls_of(CALL_REGISTER), calls_of(CALL_UNREGISTER));
    }
    assert_int_equal(fd_count(), fds);
    assert_int_equal(guest_mapping_count(), 0);
    connect_client(s);
    assert_serving(s);
    lose_client(s);
    assert_int_equal(fd_count(), fds);
    clear_calls();
}

static void send_first(int fd, size_t cut)
{
    for (size_t i = 0; i < nr_parts && cut > 0; i++) {
        const size_t n = cut < parts[i].size ? cut : parts[i].size;

        send_piece(fd, &parts[i], 0, n);
        cut -= n;
    }
}

/* The client sends a number of bytes and leaves before the server looks. */
TEST(sent_and_gone)
{
    struct session *s;
    size_t fds;

    compose();
    s = device();
    fds = fd_count();
    for (size_t cut = 0; cut <= total; cut++) {
        bool attached;

        s->client = connect_raw(s);
        send_first(s->client, cut);
        close_client(s);
        attached = vfu_attach_ctx(s->ctx) == 0;
        /* Whether a whole VERSION of a client that left is still accepted is left open. */
        assert_true(!attached || cut >= parts[0].size);
        assert_recovered(s, attached, fds);
    }
    close_files();
}

/* The client sends a number of bytes and will send no more, but is still there to be answered. */
TEST(sent_and_half_closed)
{
    struct session *s;
    size_t fds;

    compose();
    s = device();
    fds = fd_count();
    for (size_t cut = 0; cut <= total; cut++) {
        bool attached;
        int client;

        client = connect_raw(s);
        send_first(client, cut);
        assert_int_equal(shutdown(client, SHUT_WR), 0);
        attached = vfu_attach_ctx(s->ctx) == 0;
        assert_int_equal(attached, cut >= parts[0].size);
        assert_recovered(s, attached, fds + 1);
        close(client);
    }
    close_files();
}

/* The server handles each message as it comes; the client leaves in the middle of one. */
TEST(handled_and_gone)
{
    struct session *s;
    size_t fds;

    compose();
    s = device();
    fds = fd_count();
    for (size_t cut = parts[0].size; cut <= total; cut++) {
        size_t left = cut;

        s->client = connect_raw(s);
        for (size_t i = 0; i < nr_parts && left > 0; i++) {
            const size_t n = left < parts[i].size ? left : parts[i].size;

            send_piece(s->client, &parts[i], 0, n);
            left -= n;
            if (n < parts[i].size) {
                continue;
            }
            if (i == 0) {
                assert_int_equal(vfu_attach_ctx(s->ctx), 0);
            } else {
                assert_in_range(run(s), 0, 1);
            }
            receive(s);
        }
        drop_reply(s);
        close_client(s);
        assert_recovered(s, true, fds);
    }
    close_files();
}

/* The server looks after every single byte (of what follows VERSION, for which an attach call takes its time). */
TEST(byte_by_byte)
{
    struct session *s;
    size_t fds;

    NOT_ON_REFERENCE("it waits for the rest of a message");
    compose();
    s = device();
    fds = fd_count();
    for (size_t cut = 1; cut <= total - parts[0].size; cut += cut % 64 < 20 ? 1 : 7) {
        size_t left = cut;

        s->client = connect_raw(s);
        send_piece(s->client, &parts[0], 0, parts[0].size);
        assert_int_equal(vfu_attach_ctx(s->ctx), 0);
        receive(s);
        for (size_t i = 1; i < nr_parts && left > 0; i++) {
            for (size_t at = 0; at < parts[i].size && left > 0; at++, left--) {
                assert_true(nothing_to_receive(s->client));
                send_piece(s->client, &parts[i], at, at + 1);
                assert_in_range(run(s), 0, at == parts[i].size - 1 ? 1 : 0);
            }
            if (left > 0) {
                assert_int_equal(receive(s)->header.cmd, ((uint16_t *)parts[i].bytes)[1]);
            }
        }
        drop_reply(s);
        close_client(s);
        assert_recovered(s, true, fds);
    }
    close_files();
}

/* A context can be destroyed at any of these moments. */
TEST(destroyed_after_any_byte)
{
    size_t fds;

    NOT_ON_REFERENCE("it waits for the rest of a message");
    compose();
    fds = fd_count();
    for (size_t cut = 1; cut <= total; cut += 5) {
        struct session *s = device();

        s->client = connect_raw(s);
        send_first(s->client, cut);
        if (vfu_attach_ctx(s->ctx) == 0) {
            for (int i = 0; i < 3; i++) {
                run(s);
            }
        }
        end_session(s);
        assert_int_equal(fd_count(), fds);
        assert_int_equal(guest_mapping_count(), 0);
        clear_calls();
    }
    close_files();
}

/* Many clients, one after the other, each leaving all sorts of things behind. */
TEST(many_clients)
{
    struct session *s;
    size_t fds;

    compose();
    s = device();
    fds = fd_count();
    for (int round = 0; round < 200; round++) {
        connect_client(s);
        for (size_t i = 1; i < 5; i++) {
            send_piece(s->client, &parts[i], 0, parts[i].size);
            assert_int_equal(run(s), 1);
            receive(s);
        }
        assert_int_equal(guest_mapping_count(), 1);
        lose_client(s);
        drop_reply(s);
        assert_int_equal(fd_count(), fds);
        assert_int_equal(guest_mapping_count(), 0);
        clear_calls();
    }
    close_files();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(sent_and_gone),
        CASE(sent_and_half_closed),
        CASE(handled_and_gone),
        CASE(byte_by_byte),
        CASE(destroyed_after_any_byte),
        CASE(many_clients),
    };
    return RUN(tests);
}
