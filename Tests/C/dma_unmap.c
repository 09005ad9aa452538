/* DMA_UNMAP of one region and of all. Unmapping with a dirty bitmap is in dirty.c. */
#include "support.h"

#define BASE UINT64_C(0x10000)

static struct session *device(void)
{
    struct session *s = new_session();

    use_dma(s);
    use_quiesce_and_reset(s);
    start(s);
    return s;
}

static struct vfio_user_dma_unmap *body_of(uint32_t argsz, uint32_t flags, uint64_t addr, uint64_t size)
{
    static struct vfio_user_dma_unmap body;

    dma_unmap_body(&body, flags, addr, size);
    body.argsz = argsz;
    return &body;
}

static void unmap_fails(struct session *s, uint32_t argsz, uint32_t flags, uint64_t addr, uint64_t size, int error)
{
    request_fails(s, VFIO_USER_DMA_UNMAP, body_of(argsz, flags, addr, size), 24, error);
}

TEST(one_region)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_UNREGISTER};
    struct session *s = device();
    int fd = guest_file(PS);
    size_t before = fd_count();
    const vfu_dma_info_t *record;

    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    record = call(CALL_REGISTER, 0)->record;
    clear_calls();
    dma_unmap(s, BASE, PS);
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_ptr_equal(call(CALL_UNREGISTER, 0)->record, record);
    assert_int_equal(call(CALL_UNREGISTER, 0)->info.iova.iov_base, BASE);
    assert_int_equal(call(CALL_UNREGISTER, 0)->info.iova.iov_len, PS);
    assert_int_equal(fd_count(), before);
    assert_int_equal(guest_mapping_count(), 0);
    dma_unmap_fails(s, BASE, PS, ENOENT);
    close(fd);
}

/* Of several regions exactly the one named goes; the records of the others stay where they are. */
TEST(one_of_several)
{
    struct session *s = device();
    int fd = guest_file(3 * PS);
    const vfu_dma_info_t *records[3];
    vfu_dma_info_t copies[3];

    for (size_t i = 0; i < 3; i++) {
        dma_map(s, DMA_RW | DMA_MMAP, i * PS, BASE + i * PS, PS, fd);
        records[i] = call(CALL_REGISTER, i)->record;
        copies[i] = *records[i];
    }
    dma_unmap(s, BASE + PS, PS);
    assert_int_equal(calls_of(CALL_UNREGISTER), 1);
    assert_memory_equal(&call(CALL_UNREGISTER, 0)->info, &copies[1], sizeof(copies[1]));
    assert_memory_equal(records[0], &copies[0], sizeof(copies[0]));
    assert_memory_equal(records[2], &copies[2], sizeof(copies[2]));
    assert_int_equal(guest_mapping_count(), 2);
    dma_unmap_fails(s, BASE + PS, PS, ENOENT);
    dma_unmap(s, BASE + 2 * PS, PS);
    dma_unmap(s, BASE, PS);
    close(fd);
}

static void memory_is_still_there(vfu_ctx_t *ctx, const struct call *call)
{
    (void)ctx;
    if (call->kind == CALL_UNREGISTER && call->info.vaddr != NULL) {
        calls.memory[0] = *(volatile uint8_t *)call->info.vaddr;
    }
}

TEST(memory_is_mapped_while_unregistering)
{
    struct session *s = device();
    int fd = guest_file(PS);

    assert_int_equal(pwrite(fd, "Z", 1, 0), 1);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    calls.hook = memory_is_still_there;
    dma_unmap(s, BASE, PS);
    assert_int_equal(calls.memory[0], 'Z');
    close(fd);
}

TEST(short_requests)
{
    struct session *s = device();

    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    if (!on_reference()) { /* which looks at fields that are not there */
        for (size_t size = 1; size < 8; size++) {
            request_fails(s, VFIO_USER_DMA_UNMAP, body_of(24, 0, BASE, PS), size, EINVAL);
        }
    }
    for (size_t size = 8; size < 24; size++) {
        request_fails(s, VFIO_USER_DMA_UNMAP, body_of(24, 0, BASE, PS), size, EINVAL);
    }
    for (uint32_t argsz = 0; argsz < 24; argsz++) {
        unmap_fails(s, argsz, 0, BASE, PS, EINVAL);
    }
    unmap_fails(s, MAX_DATA + 8, 0, BASE, PS, EINVAL);
    unmap_fails(s, MAX_DATA + 1, 0, BASE, PS, EINVAL);
    unmap_fails(s, 0xffffffff, 0, BASE, PS, EINVAL);
    assert_int_equal(calls_of(CALL_UNREGISTER), 0);
    dma_unmap(s, BASE, PS);
}

/* The request comes back as it was, argsz included; what follows it is ignored. */
TEST(longer_requests)
{
    struct session *s = device();
    uint8_t body[64] = {0};
    struct reply *reply;

    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    memcpy(body, body_of(MAX_DATA, 0, BASE, PS), 24);
    reply = request(s, VFIO_USER_DMA_UNMAP, body, sizeof(body));
    assert_int_equal(reply->size, 24);
    assert_memory_equal(reply->data, body, 24);
}

TEST(bad_flags)
{
    struct session *s = device();

    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    for (uint32_t bit = 4; bit != 0; bit <<= 1) {
        unmap_fails(s, 24, bit, BASE, PS, EINVAL);
        unmap_fails(s, 24, bit | VFIO_DMA_UNMAP_FLAG_ALL, 0, 0, EINVAL);
    }
    assert_int_equal(calls_of(CALL_UNREGISTER), 0);
}

TEST(bad_bitmap_requests)
{
    struct session *s = device();
    struct {
        struct {
            uint32_t argsz, flags;
            uint64_t addr, size, page_size, bitmap_size;
        } request;
        uint8_t more[64];
    } body = {.request = {48, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, BASE, PS, PS, 8}};

    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    for (size_t size = 24; size < 40; size++) {
        request_fails(s, VFIO_USER_DMA_UNMAP, &body, size, EINVAL);
    }
    request_fails(s, VFIO_USER_DMA_UNMAP, &body, 40, EINVAL); /* not logging */
    body.request.argsz = 47;
    request_fails(s, VFIO_USER_DMA_UNMAP, &body, 40, EINVAL);
    body.request.argsz = 48;
    for (uint64_t excess = 0; excess < 64; excess++) {
        body.request.bitmap_size = UINT64_MAX - excess;
        request_fails(s, VFIO_USER_DMA_UNMAP, &body, 40, EINVAL);
    }
    assert_int_equal(calls_of(CALL_UNREGISTER), 0);
    dma_unmap(s, BASE, PS);
}

TEST(addresses_that_are_not_mapped)
{
    static const struct {
        uint64_t addr, size;
    } cases[] = {
        {0x20000, 0x4000},  {0x10000, 0x1000},    {0x11000, 0x3000},      {0x10000, 0x8000}, {0x0f000, 0x5000},
        {0x10000, 0x3fff},  {0x10000, 0x4001},    {0x10000, 0},           {0, 0},
        {0x10000, UINT64_MAX}, {UINT64_MAX, 0x4000}, {UINT64_MAX, UINT64_MAX},
    };
    struct session *s = device();

    dma_map(s, DMA_RW, 0, 0x10000, 0x4000, -1);
    dma_map(s, DMA_RW, 0, 0x14000, 0x4000, -1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        dma_unmap_fails(s, cases[i].addr, cases[i].size, ENOENT);
    }
    assert_int_equal(calls_of(CALL_UNREGISTER), 0);
    dma_unmap(s, 0x10000, 0x4000);
}

TEST(quiesce_later)
{
    struct session *s = device();
    uint16_t id;
    struct reply *reply;

    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    calls.behave[CALL_QUIESCE].error = EBUSY;
    id = send_request(s, VFIO_USER_DMA_UNMAP, body_of(24, 0, BASE, PS), 24);
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, EBUSY);
    assert_int_equal(calls_of(CALL_UNREGISTER), 0);
    assert_true(nothing_to_receive(s->client));
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_int_equal(calls_of(CALL_UNREGISTER), 1);
    reply = receive(s);
    assert_success(s, reply, id, VFIO_USER_DMA_UNMAP);
    assert_int_equal(reply->size, 24);
    assert_int_equal(run(s), 0);
}

static void unmap_all(struct session *s)
{
    struct reply *reply;

    reply = request(s, VFIO_USER_DMA_UNMAP, body_of(24, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0), 24);
    assert_int_equal(reply->size, 24);
    assert_memory_equal(reply->data, body_of(24, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0), 24);
}

TEST(all_regions)
{
    struct session *s = device();
    int fd = guest_file(64 * PS);
    size_t before = fd_count();

    unmap_all(s); /* of none */
    for (uint64_t i = 0; i < 64; i++) {
        const uint64_t page = (i * 37) % 64; /* in no particular order */

        dma_map(s, DMA_RW | (i % 2 ? DMA_MMAP : DMA_FILE), page * PS, BASE + page * PS, PS, fd);
    }
    clear_calls();
    unmap_all(s);
    assert_int_equal(calls_of(CALL_QUIESCE), 1);
    assert_int_equal(calls_of(CALL_UNREGISTER), 64);
    for (uint64_t i = 0; i < 64; i++) {
        assert_int_equal(call(CALL_UNREGISTER, i)->info.iova.iov_base, BASE + i * PS);
    }
    assert_int_equal(fd_count(), before);
    assert_int_equal(guest_mapping_count(), 0);
    dma_unmap_fails(s, BASE, PS, ENOENT);
    for (uint64_t i = 0; i < 64; i++) {
        dma_map(s, DMA_RW, 0, BASE + i * PS, PS, -1);
    }
    close(fd);
}

TEST(bad_requests_for_all)
{
    struct session *s = device();

    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    unmap_fails(s, 24, VFIO_DMA_UNMAP_FLAG_ALL, BASE, PS, EINVAL);
    unmap_fails(s, 24, VFIO_DMA_UNMAP_FLAG_ALL, BASE, 0, EINVAL);
    unmap_fails(s, 24, VFIO_DMA_UNMAP_FLAG_ALL, 0, PS, EINVAL);
    unmap_fails(s, 24, VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, 0, 0, EINVAL);
    unmap_fails(s, 23, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0, EINVAL);
    assert_int_equal(calls_of(CALL_UNREGISTER), 0);
}

TEST(disconnect_unmaps_all)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_UNREGISTER, CALL_UNREGISTER, CALL_RESET};
    struct session *s = device();
    int fd = guest_file(2 * PS);

    dma_map(s, DMA_RW | DMA_MMAP, PS, 2 * BASE, PS, fd);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    clear_calls();
    lose_client(s);
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_int_equal(call(CALL_UNREGISTER, 0)->info.iova.iov_base, BASE);
    assert_int_equal(guest_mapping_count(), 0);
    connect_client(s);
    dma_unmap_fails(s, BASE, PS, ENOENT);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(one_region),
        CASE(one_of_several),
        CASE(memory_is_mapped_while_unregistering),
        CASE(short_requests),
        CASE(longer_requests),
        CASE(bad_flags),
        CASE(bad_bitmap_requests),
        CASE(addresses_that_are_not_mapped),
        CASE(quiesce_later),
        CASE(all_regions),
        CASE(bad_requests_for_all),
        CASE(disconnect_unmaps_all),
    };
    return RUN(tests);
}
