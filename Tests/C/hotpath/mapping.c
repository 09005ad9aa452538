/*
 * Mappings that come and go: what one costs must not depend on how many there are, nor a copy of one on its size. The
 * pairs named table-*-empty and table-*-full are compared by verdict.awk, in instructions.
 */
#include "hotpath.h"
#include "ioas.h"

#define MOST 65535 /* mappings of a connection */
#define IOVA UINT64_C(0x100000000)
#define SPARE (IOVA - 4 * PS) /* where the mapping is that comes and goes */
#define GIB ((uint64_t)1 << 30)

static int guest;
static uint32_t space;
static struct vfio_user_iommufd_ioas_map map_request;
static struct vfio_user_iommufd_ioas_unmap unmap_request;

static struct session *with_space(int iova_policy)
{
    struct session *s = new_session();

    assert_int_equal(vfu_setup_device_dma(s->ctx, MOST, NULL, NULL), 0);
    assert_int_equal(vfu_setup_device_iommufd(s->ctx, VFU_IOMMUFD_AUTO, iova_policy), 0);
    realize(s);
    connect_client_with(s, FULL_JSON);
    space = ioas_alloc(s);
    ioas_attach(s, space);
    return s;
}

/* All mappings but one: pages of a file side by side, mapped in an order that jumps about. */
static void fill(struct session *s, uint32_t flags)
{
    for (uint64_t i = 0; i < MOST - 1; i++) {
        const uint64_t page = flags & FIXED ? i * 40503 % (MOST - 1) : i;

        ioas_map(s, space, RW | flags, IOVA + page * PS, PS, page * PS, guest);
    }
}

/* The library's part of one request: whether it was carried out. */
static bool carried_out(struct session *s, uint16_t cmd, const void *body, size_t size, int fd)
{
    send_request_fds(s, cmd, body, size, &fd, fd != -1 ? 1 : 0);
    if (COUNTED(vfu_run_ctx(s->ctx)) != 1) {
        return false;
    }
    return (receive(s)->header.flags & VFIO_USER_F_ERROR) == 0;
}

static int come_and_go(struct session *s)
{
    struct vfio_user_iommufd_ioas_map answer;

    if (!carried_out(s, VFIO_USER_IOMMUFD_IOAS_MAP, &map_request, sizeof(map_request), guest)) {
        return -1;
    }
    memcpy(&answer, s->reply.data, sizeof(answer));
    unmap_request.iova = answer.iova;
    return carried_out(s, VFIO_USER_IOMMUFD_IOAS_UNMAP, &unmap_request, sizeof(unmap_request), -1) ? 0 : -1;
}

static void table(const char *name, int iova_policy, uint32_t flags, bool full)
{
    struct session *s = with_space(iova_policy);

    guest = guest_file(MOST * PS);
    if (full) {
        fill(s, flags);
    }
    map_request = ioas_map_body(space, RW | flags, SPARE, PS, (MOST - 1) * PS);
    unmap_request = unmap_body(space, 0, 0, PS);
    measure(s, name, come_and_go);
    if (counts_syscalls()) {
        /* Each is received and answered; the memory is mapped, and its file looked at and closed. */
        assert_true(syscalls() <= 12 * ROUNDS);
    }
    if (full) {
        ioas_map(s, space, RW | flags, SPARE, PS, (MOST - 1) * PS, guest);
        ioas_map_fails(s, space, RW | FIXED, SPARE + PS, 1, 0, guest, ENOSPC);
    }
    end_session(s);
    close(guest);
}

TEST(chosen_by_the_client) { table("table-fixed-empty", VFU_IOVA_OPAQUE, FIXED, false); }
TEST(chosen_by_the_client_among_many) { table("table-fixed-full", VFU_IOVA_OPAQUE, FIXED, true); }
TEST(lowest_free) { table("table-lowest-empty", VFU_IOVA_OPAQUE, 0, false); }
TEST(lowest_free_among_many) { table("table-lowest-full", VFU_IOVA_OPAQUE, 0, true); }
TEST(server_address) { table("table-address-empty", VFU_IOVA_SERVER_ADDRESS, 0, false); }
TEST(server_address_among_many) { table("table-address-full", VFU_IOVA_SERVER_ADDRESS, 0, true); }

static int come_and_go_as_dma(struct session *s)
{
    const struct vfio_user_dma_map map = {
        .argsz = sizeof(map),
        .flags = DMA_RW,
        .offset = (MOST - 1) * PS,
        .addr = SPARE,
        .size = PS,
    };
    const struct vfio_user_dma_unmap unmap = {.argsz = sizeof(unmap), .addr = SPARE, .size = PS};

    if (!carried_out(s, VFIO_USER_DMA_MAP, &map, sizeof(map), guest)) {
        return -1;
    }
    return carried_out(s, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), -1) ? 0 : -1;
}

/* By DMA_MAP and DMA_UNMAP, without address spaces. */
static void dma_table(const char *name, bool full)
{
    struct session *s = new_session();

    assert_int_equal(vfu_setup_device_dma(s->ctx, MOST, NULL, NULL), 0);
    realize(s);
    connect_client(s);
    guest = guest_file(MOST * PS);
    for (uint64_t i = 0; full && i < MOST - 1; i++) {
        const uint64_t page = i * 40503 % (MOST - 1);

        dma_map(s, DMA_RW, page * PS, IOVA + page * PS, PS, guest);
    }
    measure(s, name, come_and_go_as_dma);
    if (counts_syscalls()) {
        /* To map: receive, fstat, mmap, madvise, close, send; to unmap: receive, send, munmap; and one to spare. */
        assert_true(syscalls() <= 10 * ROUNDS);
    }
    end_session(s);
    close(guest);
}

TEST(dma) { dma_table("table-dma-empty", false); }
TEST(dma_among_many) { dma_table("table-dma-full", true); }

static int copy_mapping(struct session *s)
{
    const struct vfio_user_iommufd_ioas_copy copy = {
        .argsz = sizeof(copy),
        .flags = RW | FIXED,
        .src_ioas_id = space,
        .dst_ioas_id = space + 1,
        .src_iova = GIB,
        .dst_iova = 4 * GIB,
        .length = GIB,
    };

    if (!carried_out(s, VFIO_USER_IOMMUFD_IOAS_COPY, &copy, sizeof(copy), -1)) {
        return -1;
    }
    return ioas_unmap(s, space + 1, 4 * GIB, GIB) == GIB ? 0 : -1;
}

/* No mmap and no descriptor: the request is received and answered. */
TEST(copy_of_a_gibibyte)
{
    struct session *s = with_space(VFU_IOVA_SERVER_ADDRESS);
    int file = guest_file(GIB);

    assert_int_equal(ioas_alloc(s), space + 1);
    ioas_map(s, space, RW | FIXED, GIB, GIB, 0, file);
    measure(s, "table-copy", copy_mapping);
    if (counts_syscalls()) {
        assert_int_equal(syscalls(), 2 * ROUNDS);
    }
    assert_int_equal(guest_mapping_count(), 1);
    close(file);
}

int test_mapping(void)
{
    const struct CMUnitTest tests[] = {
        CASE(chosen_by_the_client),
        CASE(chosen_by_the_client_among_many),
        CASE(lowest_free),
        CASE(lowest_free_among_many),
        CASE(server_address),
        CASE(server_address_among_many),
        CASE(dma),
        CASE(dma_among_many),
        CASE(copy_of_a_gibibyte),
    };
    return RUN(tests);
}
