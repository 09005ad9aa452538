/* DMA_MAP: what is refused, what the device is told, and what happens when a client leaves meanwhile. */
#include "support.h"

#define BASE UINT64_C(0x10000)
#define EIGHT_TIB (UINT64_C(8) << 40)

static struct session *device(void)
{
    struct session *s = new_session();

    use_dma(s);
    use_quiesce_and_reset(s);
    start(s);
    return s;
}

static const vfu_dma_info_t *registered(size_t n)
{
    return &call(CALL_REGISTER, n)->info;
}

static void assert_iova(const vfu_dma_info_t *info, uint64_t addr, uint64_t size)
{
    assert_int_equal(info->iova.iov_base, addr);
    assert_int_equal(info->iova.iov_len, size);
}

/* Whether [addr, addr + size) is one region. */
static bool mapped(struct session *s, uint64_t addr, uint64_t size)
{
    uint8_t sg[64];

    return vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)addr, size, (dma_sg_t *)sg, 1, 0) == 1;
}

TEST(device_without_dma)
{
    struct session *s = new_session();
    struct vfio_user_dma_map body = dma_map_body(0xff, 1, 2, 0);
    int fd = guest_file(PS);
    size_t before;

    use_quiesce_and_reset(s);
    start(s);
    before = fd_count();
    assert_int_equal(request_fds(s, VFIO_USER_DMA_MAP, &body, sizeof(body), &fd, 1)->size, 0);
    assert_int_equal(request(s, VFIO_USER_DMA_MAP, &body, 1)->size, 0);
    assert_int_equal(request(s, VFIO_USER_DMA_UNMAP, &body, 24)->size, 0);
    assert_int_equal(request(s, VFIO_USER_DMA_UNMAP, &body, 1)->size, 0);
    assert_int_equal(fd_count(), before);
    assert_int_equal(calls.count, 0); /* no quiescing either */
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0); /* for which there is, always */
    assert_int_equal(calls_of(CALL_QUIESCE), 1);
    close(fd);
}

TEST(short_requests)
{
    struct session *s = device();
    struct vfio_user_dma_map body = dma_map_body(DMA_RW, 0, BASE, PS);

    for (size_t size = 0; size < sizeof(body); size++) {
        request_fails(s, VFIO_USER_DMA_MAP, &body, size, EINVAL);
    }
    for (uint32_t argsz = 0; argsz < sizeof(body); argsz++) {
        body.argsz = argsz;
        request_fails(s, VFIO_USER_DMA_MAP, &body, sizeof(body), EINVAL);
    }
    assert_int_equal(calls_of(CALL_REGISTER), 0);
    body.argsz = 0xffffffff;
    request(s, VFIO_USER_DMA_MAP, &body, sizeof(body));
    assert_int_equal(calls_of(CALL_REGISTER), 1);
}

TEST(bad_flags)
{
    struct session *s = device();
    int fd = guest_file(PS);
    size_t before = fd_count();

    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, BASE, PS, -1, EINVAL);
    dma_map_fails(s, DMA_RW | DMA_FILE, 0, BASE, PS, -1, EINVAL);
    dma_map_fails(s, DMA_RW | DMA_MMAP | DMA_FILE, 0, BASE, PS, -1, EINVAL);
    dma_map_fails(s, DMA_RW | DMA_MMAP | DMA_FILE, 0, BASE, PS, fd, EINVAL);
    for (uint32_t bit = 16; bit != 0; bit <<= 1) {
        dma_map_fails(s, DMA_RW | bit, 0, BASE, PS, -1, EINVAL);
    }
    dma_map_fails(s, 0x10 | DMA_MMAP, 0, BASE, PS, fd, EINVAL);
    assert_int_equal(fd_count(), before);
    assert_int_equal(calls_of(CALL_REGISTER), 0);
    assert_int_equal(guest_mapping_count(), 0);
    close(fd);
}

TEST(region_too_big)
{
    struct session *s = device();
    int fd = guest_file(PS);

    dma_map_fails(s, DMA_RW, 0, BASE, EIGHT_TIB + PS, -1, ENOSPC);
    dma_map_fails(s, DMA_RW, 0, BASE, EIGHT_TIB + 1, -1, ENOSPC);
    dma_map_fails(s, DMA_RW, 0, BASE, UINT64_MAX, -1, ENOSPC);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, BASE, EIGHT_TIB + PS, fd, ENOSPC);
    dma_map(s, DMA_RW, 0, BASE, EIGHT_TIB, -1);
    close(fd);
}

TEST(too_many_regions)
{
    struct session *s = device();

    for (uint64_t i = 0; i < 64; i++) {
        dma_map(s, DMA_RW, 0, BASE + i * PS, PS, -1);
    }
    dma_map_fails(s, DMA_RW, 0, BASE + 64 * PS, PS, -1, EINVAL);
    dma_map(s, DMA_RW, 0, BASE, PS, -1); /* there already */
    dma_unmap(s, BASE + 7 * PS, PS);
    dma_map(s, DMA_RW, 0, BASE + 64 * PS, PS, -1);
    dma_map_fails(s, DMA_RW, 0, BASE + 65 * PS, PS, -1, EINVAL);
}

TEST(limit_of_the_program)
{
    struct session *s = new_session();

    assert_int_equal(vfu_setup_device_dma(s->ctx, 0, on_register, on_unregister), 0);
    start(s);
    dma_map_fails(s, DMA_RW, 0, BASE, PS, -1, EINVAL);
    end_session(s);
    s = new_session();
    assert_int_equal(vfu_setup_device_dma(s->ctx, 1, on_register, on_unregister), 0);
    start(s);
    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    dma_map_fails(s, DMA_RW, 0, 2 * BASE, PS, -1, EINVAL);
    end_session(s);
    s = new_session();
    assert_int_equal(vfu_setup_device_dma(s->ctx, LIBVFIO_USER_MAX_DMA_REGIONS, on_register, on_unregister), 0);
    start(s);
    dma_map(s, DMA_RW, 0, BASE, PS, -1);
}

TEST(without_callbacks)
{
    struct session *s = new_session();

    assert_int_equal(vfu_setup_device_dma(s->ctx, LIBVFIO_USER_MAX_DMA_REGIONS, NULL, NULL), 0);
    start(s);
    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    dma_map(s, DMA_RW, 0, 2 * BASE, PS, -1);
    dma_unmap(s, BASE, PS);
    lose_client(s);
}

TEST(empty_region)
{
    struct session *s;

    NOT_ON_REFERENCE("a region of size 0 is accepted and cannot be unmapped");
    s = device();
    dma_map_fails(s, DMA_RW, 0, BASE, 0, -1, EINVAL);
    dma_map_fails(s, 0, 0, 0, 0, -1, EINVAL);
    assert_int_equal(calls_of(CALL_REGISTER), 0);
}

TEST(region_that_wraps)
{
    struct session *s;
    int fd;

    NOT_ON_REFERENCE("the end of a region may wrap");
    s = device();
    fd = guest_file(PS);
    dma_map_fails(s, DMA_RW, 0, UINT64_MAX - PS + 2, PS, -1, EINVAL);
    dma_map_fails(s, DMA_RW, 0, UINT64_MAX, 2, -1, EINVAL);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, UINT64_MAX - PS + 2, PS, fd, EINVAL);
    dma_map_fails(s, DMA_RW, 0, UINT64_MAX - PS, EIGHT_TIB, -1, EINVAL);
    assert_int_equal(calls_of(CALL_REGISTER), 0);
    close(fd);
}

TEST(region_at_the_very_end)
{
    struct session *s = device();

    dma_map(s, DMA_RW, 0, UINT64_MAX - PS + 1, PS, -1);
    if (!on_reference()) { /* where such a region is accepted but never found */
        assert_true(mapped(s, UINT64_MAX - PS + 1, PS));
        assert_true(mapped(s, UINT64_MAX, 1));
        assert_false(mapped(s, UINT64_MAX, 2));
    }
    dma_unmap(s, UINT64_MAX - PS + 1, PS);
    dma_map(s, DMA_RW, 0, 0, PS, -1);
    assert_true(mapped(s, 0, PS));
}

TEST(overlaps)
{
    struct session *s = device();
    static const struct {
        uint64_t addr, size;
    } cases[] = {{0x0f000, 0x2000}, {0x10000, 0x1000}, {0x10000, 0x5000}, {0x11000, 0x1000}, {0x13000, 0x1000},
                 {0x13fff, 1},      {0x10000, 1},      {0x0ffff, 2},      {0x0f000, 0x9000}, {0x13fff, 0x1000},
                 {0x12000, 0x7000}};

    dma_map(s, DMA_RW, 0, 0x10000, 0x4000, -1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        dma_map_fails(s, DMA_RW, 0, cases[i].addr, cases[i].size, -1, EINVAL);
    }
    dma_map(s, DMA_RW, 0, 0x0f000, 0x1000, -1); /* neighbours are no overlap */
    dma_map(s, DMA_RW, 0, 0x14000, 0x1000, -1);
    assert_int_equal(calls_of(CALL_REGISTER), 3);
}

TEST(the_same_region_again)
{
    struct session *s = device();
    int fd = guest_file(4 * PS), other = guest_file(4 * PS);
    size_t before = fd_count();
    const vfu_dma_info_t *record;

    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    record = call(CALL_REGISTER, 0)->record;
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    dma_map(s, DMA_RW | DMA_FILE, 0, BASE, PS, fd); /* the mode stays as it was */
    assert_int_equal(calls_of(CALL_REGISTER), 3);
    assert_ptr_equal(call(CALL_REGISTER, 1)->record, record);
    assert_ptr_equal(registered(1)->vaddr, registered(0)->vaddr);
    assert_non_null(registered(2)->vaddr);
    assert_int_equal(fd_count(), before + 1);
    assert_int_equal(guest_mapping_count(), 1);

    dma_map_fails(s, DMA_RW | DMA_MMAP, PS, BASE, PS, fd, EINVAL);
    dma_map_fails(s, VFIO_USER_F_DMA_REGION_READ | DMA_MMAP, 0, BASE, PS, fd, EINVAL);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, BASE, PS, other, EINVAL);
    dma_map_fails(s, DMA_RW, 0, BASE, PS, -1, EINVAL);
    assert_int_equal(calls_of(CALL_REGISTER), 3);
    assert_int_equal(fd_count(), before + 1);

    dma_map(s, DMA_RW, 0, 2 * BASE, PS, -1);
    dma_map(s, DMA_RW, 0, 2 * BASE, PS, -1);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, 2 * BASE, PS, fd, EINVAL);
    assert_int_equal(calls_of(CALL_REGISTER), 5);

    dma_unmap(s, BASE, PS); /* once is enough */
    dma_unmap_fails(s, BASE, PS, ENOENT);
    assert_int_equal(guest_mapping_count(), 0);
    close(fd);
    close(other);
}

TEST(quiesce_later)
{
    struct session *s = device();
    struct vfio_user_dma_map body = dma_map_body(DMA_RW, 0, BASE, PS);
    uint64_t sg[5];
    uint16_t id;

    calls.behave[CALL_QUIESCE].error = EBUSY;
    id = send_request(s, VFIO_USER_DMA_MAP, &body, sizeof(body));
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, EBUSY);
    assert_int_equal(calls_of(CALL_REGISTER), 0);
    assert_true(nothing_to_receive(s->client));

    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_int_equal(calls_of(CALL_REGISTER), 1);
    assert_iova(registered(0), BASE, PS);
    assert_null(registered(0)->vaddr);
    assert_null(registered(0)->mapping.iov_base);
    assert_int_equal(registered(0)->mapping.iov_len, 0);
    assert_int_equal(registered(0)->page_size, PS);
    assert_int_equal(registered(0)->prot, PROT_READ | PROT_WRITE);
    assert_success(s, receive(s), id, VFIO_USER_DMA_MAP);
    assert_int_equal(run(s), 0);

    memset(sg, 0, sizeof(sg));
    assert_int_equal(dma_sg_size(), sizeof(sg));
    assert_int_equal(
        vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)BASE, PS, (dma_sg_t *)sg, 1, PROT_READ | PROT_WRITE), 1);
    assert_int_equal(sg[0], BASE);
    assert_int_not_equal((uint32_t)sg[1], 0);
    assert_int_equal(sg[2], PS);
    assert_int_equal(sg[3], 0);
    assert_int_equal((uint8_t)sg[4], 1);
}

static struct session *leaver;

static void leave_on_register(vfu_ctx_t *ctx, const struct call *call)
{
    (void)ctx;
    if (call->kind == CALL_REGISTER) {
        close_client(leaver);
    }
}

TEST(client_leaves_before_the_reply)
{
    struct session *s = device();
    struct vfio_user_dma_map body = dma_map_body(DMA_RW | DMA_MMAP, 0, BASE, PS);
    int fd = guest_file(PS);

    leaver = s;
    calls.hook = leave_on_register;
    send_request_fds(s, VFIO_USER_DMA_MAP, &body, sizeof(body), &fd, 1);
    close(fd);
    assert_int_equal(run(s), 1);
    assert_int_equal(calls_of(CALL_RESET), 1); /* the reply could not be sent */
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, ENOTCONN);
    assert_int_equal(calls_of(CALL_QUIESCE), 2);
    assert_int_equal(calls_of(CALL_UNREGISTER), 1);
    assert_int_equal(calls_of(CALL_RESET), 1);
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_LOST_CONN);
    assert_int_equal(guest_mapping_count(), 0);
    assert_false(mapped(s, BASE, PS));
}

/* The clean-up happens inside vfu_device_quiesced, which need not ask to quiesce again. */
TEST(client_leaves_while_quiescing)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_REGISTER, CALL_UNREGISTER, CALL_RESET};
    struct session *s = device();
    struct vfio_user_dma_map body = dma_map_body(DMA_RW, 0, BASE, PS);
    uint8_t sg[40];

    calls.behave[CALL_QUIESCE].error = EBUSY;
    send_request(s, VFIO_USER_DMA_MAP, &body, sizeof(body));
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, EBUSY);
    close_client(s);
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_LOST_CONN);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    assert_int_equal(calls.count, ARRAY_LEN(expected));
    assert_fails(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)BASE, PS, (dma_sg_t *)sg, 1, 0), ENOENT);
    calls.behave[CALL_QUIESCE].error = 0;
    connect_client(s);
    assert_serving(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(device_without_dma),
        CASE(short_requests),
        CASE(bad_flags),
        CASE(region_too_big),
        CASE(too_many_regions),
        CASE(limit_of_the_program),
        CASE(without_callbacks),
        CASE(empty_region),
        CASE(region_that_wraps),
        CASE(region_at_the_very_end),
        CASE(overlaps),
        CASE(the_same_region_again),
        CASE(quiesce_later),
        CASE(client_leaves_before_the_reply),
        CASE(client_leaves_while_quiescing),
    };
    return RUN(tests);
}
