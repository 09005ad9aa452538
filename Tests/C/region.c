/* Setting up regions, and reading and writing them. Config space has subjects of its own. */
#include "support.h"

#include <pthread.h>

#define RW VFU_REGION_FLAG_RW
#define MEM VFU_REGION_FLAG_MEM
#define WIDE VFU_REGION_FLAG_64_BITS

/* Sets up a region with a callback and nothing to map. */
static int set(struct session *s, int index, size_t size, int flags)
{
    return vfu_setup_region(s->ctx, index, size, region_access, flags, NULL, 0, -1, 0);
}

static uint64_t size_of(struct session *s, uint32_t index)
{
    struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

    memcpy(&info, request(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info))->data, sizeof(info));
    return info.size;
}

TEST(bad_flags)
{
    static const int flags[] = {0, MEM, WIDE | MEM, 0x40 | RW, 0x400, 0x400 | RW, (int)0x80000003};
    struct session *s = new_session();

    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        assert_fails(set(s, 0, 0x1000, flags[i]), EINVAL);
    }
    assert_int_equal(set(s, 0, 0x1000, VFU_REGION_FLAG_READ), 0);
    assert_int_equal(set(s, 1, 0x1000, VFU_REGION_FLAG_WRITE), 0);
    assert_int_equal(set(s, 2, 0x1000, VFU_REGION_FLAG_MASK), 0);
}

TEST(bad_mmap_areas)
{
    struct session *s = new_session();
    struct iovec area = {.iov_base = (void *)0x1000, .iov_len = 0x1000};
    int fd = guest_file(0x8000);

    assert_fails(vfu_setup_region(s->ctx, 6, 0x5000, NULL, RW | MEM, &area, 0, fd, 0), EINVAL);
    assert_fails(vfu_setup_region(s->ctx, 6, 0x5000, NULL, RW | MEM, NULL, 1, fd, 0), EINVAL);
    assert_fails(vfu_setup_region(s->ctx, 6, 0x5000, NULL, RW | MEM, &area, 1, -1, 0), EINVAL);
    area.iov_len = 0x4001;
    assert_fails(vfu_setup_region(s->ctx, 6, 0x5000, NULL, RW | MEM, &area, 1, fd, 0), EINVAL);
    area.iov_len = 0x4000;
    assert_int_equal(vfu_setup_region(s->ctx, 6, 0x5000, NULL, RW | MEM, &area, 1, fd, 0), 0);
    close(fd);
}

TEST(mmap_area_that_wraps)
{
    struct session *s;
    struct iovec area = {.iov_base = (void *)0x1000, .iov_len = SIZE_MAX - 0xff};

    NOT_ON_REFERENCE("the end of an area may wrap");
    s = new_session();
    assert_fails(vfu_setup_region(s->ctx, 0, 0x4000, NULL, RW | MEM, &area, 1, 0, 0), EINVAL);
}

TEST(bad_index)
{
    static const int indexes[] = {-2, -1, 9, 10, 1000, INT32_MIN, INT32_MAX};
    struct session *s = new_session();

    for (size_t i = 0; i < ARRAY_LEN(indexes); i++) {
        assert_fails(set(s, indexes[i], 0x1000, RW), EINVAL);
    }
}

TEST(bar_sizes)
{
    struct session *s = new_session();

    assert_fails(set(s, 0, 8, RW | MEM), EINVAL);
    assert_int_equal(set(s, 0, 16, RW | MEM), 0);
    assert_fails(set(s, 1, 2, RW), EINVAL);
    assert_int_equal(set(s, 1, 4, RW), 0);
    assert_fails(set(s, 2, 0x1800, RW | MEM), EINVAL);
    assert_fails(set(s, 5, 0x1001, RW), EINVAL);
    assert_int_equal(set(s, 3, 0, RW), 0);
    /* ROM and VGA may be of any size. */
    assert_int_equal(set(s, VFU_PCI_DEV_ROM_REGION_IDX, 12345, VFU_REGION_FLAG_READ), 0);
    assert_int_equal(set(s, VFU_PCI_DEV_VGA_REGION_IDX, 1, RW), 0);
}

TEST(wide_bars_take_two)
{
    struct session *s = new_session();

    for (int bar = 1; bar < 6; bar += 2) {
        assert_fails(set(s, bar, 0x1000, RW | MEM | WIDE), EINVAL);
    }
    for (int bar = 0; bar < 6; bar += 2) {
        assert_int_equal(set(s, bar, 0x1000, RW | MEM | WIDE), 0);
    }
    for (int bar = 1; bar < 6; bar += 2) {
        assert_fails(set(s, bar, 0x1000, RW | MEM), EINVAL);
        assert_fails(set(s, bar, 0x1000, RW | MEM | WIDE), EINVAL);
        assert_fails(set(s, bar, 0, RW), EINVAL); /* not even cleared */
    }
    for (int bar = 0; bar < 6; bar += 2) {
        assert_int_equal(set(s, bar, 0, RW), 0);
    }
    for (int bar = 1; bar < 6; bar += 2) {
        assert_int_equal(set(s, bar, 0x1000, RW | MEM), 0);
    }
    for (int bar = 0; bar < 6; bar += 2) {
        assert_fails(set(s, bar, 0x1000, RW | MEM | WIDE), EINVAL);
        assert_int_equal(set(s, bar, 0x1000, RW | MEM), 0);
    }
}

TEST(config_region_flags)
{
    struct session *s = new_session();

    assert_fails(set(s, VFU_PCI_DEV_CFG_REGION_IDX, 0x1000, RW | MEM), EINVAL);
    assert_fails(set(s, VFU_PCI_DEV_CFG_REGION_IDX, 0x1000, VFU_REGION_FLAG_READ), EINVAL);
    assert_fails(set(s, VFU_PCI_DEV_CFG_REGION_IDX, 0x1000, VFU_REGION_FLAG_WRITE), EINVAL);
    assert_int_equal(set(s, VFU_PCI_DEV_CFG_REGION_IDX, 0x1000, RW), 0);
}

TEST(always_cb_needs_a_callback)
{
    struct session *s = new_session();

    for (int index = 0; index < VFU_PCI_DEV_NUM_REGIONS; index++) {
        assert_fails(vfu_setup_region(s->ctx, index, 0x1000, NULL, RW | VFU_REGION_FLAG_ALWAYS_CB, NULL, 0, -1, 0),
                     EINVAL);
    }
}

/* With ALWAYS_CB the program sees every access to config space, header included, and in one piece. */
TEST(always_cb_config_space)
{
    struct session *s = new_session();
    struct reply *reply;

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(set(s, VFU_PCI_DEV_CFG_REGION_IDX, 0x1000, RW | VFU_REGION_FLAG_ALWAYS_CB), 0);
    start(s);
    memset(calls.memory, 0xcc, 0x1000);
    reply = region_read(s, VFU_PCI_DEV_CFG_REGION_IDX, 0, 2);
    assert_memory_equal(reply->data + 16, "\xcc\xcc", 2);
    config_put(s, 0, 4, 0x12345678); /* the id registers */
    assert_int_equal(config_get(s, 0, 4), 0x12345678);
    region_read(s, VFU_PCI_DEV_CFG_REGION_IDX, 0, 0x1000);
    assert_int_equal(calls_of(CALL_REGION), 4);
    assert_int_equal(call(CALL_REGION, 3)->count, 0x1000);

    calls.behave[CALL_REGION] = (struct behaviour){.override = true, .result = 1};
    region_read_fails(s, VFU_PCI_DEV_CFG_REGION_IDX, 0x80, 2, EINVAL);
    calls.behave[CALL_REGION] = (struct behaviour){.error = EACCES};
    region_read_fails(s, VFU_PCI_DEV_CFG_REGION_IDX, 0x80, 2, EACCES);
}

TEST(failed_set_up_changes_nothing)
{
    struct session *s = new_session();

    start(s);
    assert_int_equal(set(s, 0, 0x1000, RW | MEM), 0);
    assert_fails(set(s, 0, 0x1800, RW | MEM), EINVAL);
    assert_fails(set(s, 0, 0x2000, 0x400), EINVAL);
    assert_int_equal(size_of(s, 0), 0x1000);
    region_write(s, 0, 0xff8, "abcdefgh", 8);
    assert_int_equal(calls_of(CALL_REGION), 1);
}

/* Regions can come and go while a client is there. */
TEST(set_up_after_realize)
{
    struct session *s = new_session();

    start(s);
    region_read_fails(s, 0, 0, 4, EINVAL);
    assert_int_equal(set(s, 0, 0x1000, RW | MEM), 0);
    region_read(s, 0, 0, 4);
    assert_int_equal(set(s, 0, 0x2000, RW | MEM), 0);
    region_read(s, 0, 0x1ffc, 4);
    assert_int_equal(set(s, 0, 0, RW), 0);
    region_read_fails(s, 0, 0, 4, EINVAL);
    region_read_fails(s, 0, 0, 1, EINVAL);
}

TEST(large_wide_bars)
{
    struct session *s = new_session();

    assert_int_equal(set(s, 2, (size_t)4 << 30, RW | MEM | WIDE), 0);
    assert_int_equal(set(s, 4, (size_t)8 << 30, RW | MEM | WIDE), 0);
    start(s);
    assert_int_equal(size_of(s, 2), (uint64_t)4 << 30);
    assert_int_equal(size_of(s, 4), (uint64_t)8 << 30);
    region_read(s, 4, 0x1fffffff0, 16);
    assert_int_equal(call(CALL_REGION, 0)->offset, 0x1fffffff0);
    region_read_fails(s, 4, 0x1fffffff1, 16, EINVAL);
}

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
        CASE(bad_flags),
        CASE(bad_mmap_areas),
        CASE(mmap_area_that_wraps),
        CASE(bad_index),
        CASE(bar_sizes),
        CASE(wide_bars_take_two),
        CASE(config_region_flags),
        CASE(always_cb_needs_a_callback),
        CASE(always_cb_config_space),
        CASE(failed_set_up_changes_nothing),
        CASE(set_up_after_realize),
        CASE(large_wide_bars),
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
