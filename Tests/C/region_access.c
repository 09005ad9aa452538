/* REGION_READ and REGION_WRITE. Config space has subjects of its own. */
#include "support.h"

#include <pthread.h>

#define RW VFU_REGION_FLAG_RW
#define MEM VFU_REGION_FLAG_MEM

TEST(accesses_reach_the_callback)
{
    static const uint32_t regions[] = {0, 5, VFU_PCI_DEV_ROM_REGION_IDX, VFU_PCI_DEV_VGA_REGION_IDX};
    struct session *s = new_session();

    for (size_t i = 0; i < ARRAY_LEN(regions); i++) {
        use_region(s, (int)regions[i], 0x1000, RW | MEM);
    }
    start(s);
    for (size_t i = 0; i < ARRAY_LEN(regions); i++) {
        struct reply *reply;

        clear_calls();
        region_write(s, regions[i], 0x123, "payload", 7);
        assert_int_equal(calls.count, 1);
        assert_int_equal(call(CALL_REGION, 0)->offset, 0x123);
        assert_int_equal(call(CALL_REGION, 0)->count, 7);
        assert_true(call(CALL_REGION, 0)->flag);
        assert_memory_equal(call(CALL_REGION, 0)->data, "payload", 7);
        reply = region_read(s, regions[i], 0x125, 5);
        assert_memory_equal(reply->data + 16, "yload", 5);
        assert_int_equal(calls.count, 2);
        assert_false(call(CALL_REGION, 1)->flag);
    }
}

TEST(access_without_callback)
{
    struct session *s = new_session();

    assert_int_equal(vfu_setup_region(s->ctx, 0, 0x1000, NULL, RW | MEM, NULL, 0, -1, 0), 0);
    start(s);
    region_read_fails(s, 0, 0, 4, EINVAL);
    region_write_fails(s, 0, 0, "abcd", 4, EINVAL);
}

TEST(access_of_nothing)
{
    struct session *s = new_session();

    use_region(s, 0, 0x1000, RW | MEM);
    start(s);
    region_read(s, 0, 0, 0);
    region_write(s, 0, 0, NULL, 0);
    region_read(s, 0, 0x1000, 0);
    region_read_fails(s, 0, 0x1001, 0, EINVAL);
    assert_int_equal(calls.count, 0);
}

TEST(access_out_of_bounds)
{
    static const struct {
        uint64_t offset;
        uint32_t region, count;
    } cases[] = {
        {0, 0, 0x1001},          {0x1000, 0, 1},         {0xfff, 0, 2},      {UINT64_MAX, 0, 256},
        {UINT64_MAX - 255, 0, 256}, {0x8000000000000000, 0, 4}, {0, 1, 1}, {0, 9, 1},
        {0, 0xffffffff, 1},      {UINT64_MAX, 7, 256},   {0x100, 7, 1},
    };
    struct session *s = new_session();
    uint8_t data[0x1001] = {0};

    use_region(s, 0, 0x1000, RW | MEM);
    start(s);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        region_read_fails(s, cases[i].region, cases[i].offset, cases[i].count, EINVAL);
        region_write_fails(s, cases[i].region, cases[i].offset, data, cases[i].count, EINVAL);
    }
    assert_int_equal(calls.count, 0);
    region_read(s, 0, 0, 0x1000);
    region_read(s, 0, 0xfff, 1);
}

TEST(access_with_wrong_lengths)
{
    struct session *s = new_session();
    uint8_t body[64] = {0};
    struct vfio_user_region_access access = {.offset = 0, .region = 0, .count = 4};

    use_region(s, 0, 0x400000, RW | MEM);
    start(s);
    memcpy(body, &access, sizeof(access));
    for (size_t size = 1; size < 16; size++) {
        request_fails(s, VFIO_USER_REGION_READ, body, size, EINVAL);
        request_fails(s, VFIO_USER_REGION_WRITE, body, size, EINVAL);
    }
    request_fails(s, VFIO_USER_REGION_WRITE, body, 16, EINVAL);
    request_fails(s, VFIO_USER_REGION_WRITE, body, 19, EINVAL);
    request_fails(s, VFIO_USER_REGION_WRITE, body, 21, EINVAL);
    request(s, VFIO_USER_REGION_WRITE, body, 20);
    request(s, VFIO_USER_REGION_READ, body, 40); /* more than needed is no harm */
    access.count = MAX_DATA + 8;
    memcpy(body, &access, sizeof(access));
    request_fails(s, VFIO_USER_REGION_READ, body, 16, EINVAL);
    request_fails(s, VFIO_USER_REGION_WRITE, body, 16, EINVAL);
    access.count = MAX_DATA + 1;
    memcpy(body, &access, sizeof(access));
    request_fails(s, VFIO_USER_REGION_READ, body, 16, EINVAL);
    access.count = 0xffffffff;
    memcpy(body, &access, sizeof(access));
    request_fails(s, VFIO_USER_REGION_READ, body, 16, EINVAL);
    request_fails(s, VFIO_USER_REGION_WRITE, body, 31, EINVAL);
    assert_int_equal(calls.count, 2);
}

/* The READ and WRITE flags tell the client something; they stop nobody. */
TEST(flags_are_not_enforced)
{
    struct session *s = new_session();

    use_region(s, 0, 0x1000, VFU_REGION_FLAG_READ);
    use_region(s, 1, 0x1000, VFU_REGION_FLAG_WRITE);
    start(s);
    region_write(s, 0, 0, "abcd", 4);
    region_read(s, 1, 0, 4);
    assert_int_equal(calls.count, 2);
}

TEST(callback_results)
{
    static const ssize_t wrong[] = {0, 1, 3, 5, 0x7fffffff};
    static const int errors[] = {EPERM, EIO, EAGAIN, ENOTCONN, EBUSY, 0xbeef};
    struct session *s = new_session();

    use_region(s, 0, 0x1000, RW);
    start(s);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        calls.behave[CALL_REGION] = (struct behaviour){.override = true, .result = wrong[i]};
        region_read_fails(s, 0, 0, 4, EINVAL);
        region_write_fails(s, 0, 0, "abcd", 4, EINVAL);
    }
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        calls.behave[CALL_REGION] = (struct behaviour){.error = errors[i]};
        region_read_fails(s, 0, 0, 4, errors[i]);
        assert_int_equal(s->result, 1);
        assert_int_equal(s->run_errno, errors[i]);
        region_write_fails(s, 0, 0, "abcd", 4, errors[i]);
        assert_int_equal(s->run_errno, errors[i]);
    }
    assert_serving(s);
}

/* The client's max_data_xfer_size limits what is sent to it on the server's own account, not its reads. */
TEST(client_transfer_size_does_not_limit_reads)
{
    struct session *s = new_session();

    use_region(s, 0, 0x10000, RW | MEM);
    realize(s);
    connect_client_with(s, "{\"capabilities\":{\"max_data_xfer_size\":64}}");
    region_read(s, 0, 0, 1000);
    region_write(s, 0, 0, calls.memory + 0x10000, 1000);
}

struct big_transfer {
    int fd;
    uint8_t *request;
    size_t request_size, reply_size;
    uint8_t *reply;
    _Atomic bool done;
    bool good;
};

static void *transfer(void *argument)
{
    struct big_transfer *t = argument;
    size_t done = 0;

    while (done < t->request_size) {
        ssize_t n = send(t->fd, t->request + done, t->request_size - done, MSG_NOSIGNAL);

        if (n <= 0) {
            t->done = true;
            return NULL;
        }
        done += (size_t)n;
    }
    t->good = recv(t->fd, t->reply, t->reply_size, MSG_WAITALL) == (ssize_t)t->reply_size;
    t->done = true;
    return NULL;
}

/* Carries out one request with a client thread, as neither socket buffer holds the whole message. */
static struct vfio_user_header run_big(struct session *s, uint16_t cmd, uint32_t count, struct big_transfer *t)
{
    struct vfio_user_region_access access = {.region = 0, .count = count};
    struct vfio_user_header header;
    pthread_t thread;

    t->fd = s->client;
    t->request = calloc(1, t->request_size);
    t->reply = calloc(1, t->reply_size);
    assert_non_null(t->request);
    assert_non_null(t->reply);
    header = command_header(s, cmd, t->request_size - sizeof(header));
    memcpy(t->request, &header, sizeof(header));
    memcpy(t->request + 16, &access, sizeof(access));
    memset(t->request + 32, 0x5a, t->request_size - 32);
    assert_int_equal(pthread_create(&thread, NULL, transfer, t), 0);
    while (!t->done) {
        assert_in_range(run(s), 0, 1);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(t->good);
    assert_int_equal(calls_of(CALL_REGION), 1);
    assert_int_equal(call(CALL_REGION, 0)->count, count);
    memcpy(&header, t->reply, sizeof(header));
    assert_int_equal(header.flags, VFIO_USER_F_TYPE_REPLY);
    assert_int_equal(header.msg_size, t->reply_size);
    free(t->request);
    free(t->reply);
    return header;
}

TEST(largest_read)
{
    struct session *s = new_session();
    struct big_transfer t = {.request_size = 32, .reply_size = MAX_MESSAGE};

    use_region(s, 0, MAX_DATA, RW | MEM);
    start(s);
    run_big(s, VFIO_USER_REGION_READ, MAX_DATA, &t);
    assert_serving(s);
}

TEST(largest_write)
{
    struct session *s;
    struct big_transfer t = {.request_size = MAX_MESSAGE, .reply_size = 32};

    NOT_ON_REFERENCE("a body that does not arrive in one piece is refused and put out of step");
    s = new_session();
    use_region(s, 0, MAX_DATA, RW | MEM);
    start(s);
    run_big(s, VFIO_USER_REGION_WRITE, MAX_DATA, &t);
    assert_int_equal(call(CALL_REGION, 0)->data[0], 0x5a);
    assert_serving(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(accesses_reach_the_callback),
        CASE(access_without_callback),
        CASE(access_of_nothing),
        CASE(access_out_of_bounds),
        CASE(access_with_wrong_lengths),
        CASE(flags_are_not_enforced),
        CASE(callback_results),
        CASE(client_transfer_size_does_not_limit_reads),
        CASE(largest_read),
        CASE(largest_write),
    };
    return RUN(tests);
}
