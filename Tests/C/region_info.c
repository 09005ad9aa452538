/* DEVICE_GET_INFO and DEVICE_GET_REGION_INFO. */
#include "support.h"

#define RW VFU_REGION_FLAG_RW
#define MEM VFU_REGION_FLAG_MEM

struct area {
    uint64_t offset, size;
};

/* A complete answer with room for the areas of the tests. */
struct answer {
    struct vfio_region_info info;
    uint16_t cap_id, cap_version;
    uint32_t cap_next, nr_areas, reserved;
    struct area areas[16];
};

static struct reply *query(struct session *s, uint32_t index, uint32_t argsz, struct answer *answer)
{
    uint8_t body[512] = {0};
    struct vfio_region_info info = {.argsz = argsz, .index = index};
    struct reply *reply;

    assert_true(argsz <= sizeof(body));
    memcpy(body, &info, sizeof(info));
    reply = request(s, VFIO_USER_DEVICE_GET_REGION_INFO, body, argsz);
    memset(answer, 0, sizeof(*answer));
    assert_true(reply->size <= sizeof(*answer));
    assert_true(reply->size >= sizeof(info));
    memcpy(answer, reply->data, reply->size);
    assert_int_equal(answer->info.index, index);
    return reply;
}

/* A region without anything to map, in full. */
static void assert_plain(struct session *s, uint32_t index, uint32_t flags, uint64_t size)
{
    struct answer a;
    struct reply *reply = query(s, index, 40, &a);

    assert_int_equal(reply->size, 32);
    assert_int_equal(reply->nr_fds, 0);
    assert_int_equal(a.info.argsz, 32);
    assert_int_equal(a.info.flags, flags);
    assert_int_equal(a.info.cap_offset, 0);
    assert_int_equal(a.info.size, size);
    assert_int_equal(a.info.offset, 0);
}

TEST(device_info)
{
    struct session *s = new_session();
    struct vfio_device_info info;
    uint8_t body[64] = {0};
    struct reply *reply;

    use_region(s, 0, 4096, RW);
    use_region(s, 1, 4096, RW | MEM);
    start(s);
    for (uint32_t size = 1; size < 16; size++) {
        info = (struct vfio_device_info){.argsz = 16};
        request_fails(s, VFIO_USER_DEVICE_GET_INFO, &info, size, EINVAL);
        info.argsz = size;
        request_fails(s, VFIO_USER_DEVICE_GET_INFO, &info, 16, EINVAL);
    }
    info = (struct vfio_device_info){.argsz = 32};
    memcpy(body, &info, 16);
    reply = request(s, VFIO_USER_DEVICE_GET_INFO, body, 32);
    assert_int_equal(reply->size, 16);
    memcpy(&info, reply->data, 16);
    assert_int_equal(info.argsz, 16);
    assert_int_equal(info.flags, VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI);
    assert_int_equal(info.num_regions, 9);
    assert_int_equal(info.num_irqs, 5);
}

TEST(bad_requests)
{
    struct session *s = new_session();
    struct vfio_region_info info = {.argsz = 32, .index = 1};

    use_region(s, 1, 4096, RW | MEM);
    start(s);
    for (size_t size = 1; size < 32; size++) {
        request_fails(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, size, EINVAL);
    }
    info.argsz = 8;
    request_fails(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, 32, EINVAL);
    info.argsz = 31;
    request_fails(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, 32, EINVAL);
    info.argsz = 32;
    info.index = 9;
    request_fails(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, 32, EINVAL);
    info.index = 0xffffffff;
    request_fails(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, 32, EINVAL);
}

TEST(plain_regions)
{
    struct session *s = new_session();

    use_region(s, 0, 256, VFU_REGION_FLAG_READ);
    use_region(s, 1, 4096, RW | MEM);
    use_region(s, 2, 4096, VFU_REGION_FLAG_WRITE | MEM | VFU_REGION_FLAG_PREFETCH);
    use_region(s, VFU_PCI_DEV_ROM_REGION_IDX, 777, VFU_REGION_FLAG_READ);
    start(s);
    assert_plain(s, 0, VFIO_REGION_INFO_FLAG_READ, 256);
    assert_plain(s, 1, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE, 4096);
    assert_plain(s, 2, VFIO_REGION_INFO_FLAG_WRITE, 4096);
    assert_plain(s, VFU_PCI_DEV_ROM_REGION_IDX, VFIO_REGION_INFO_FLAG_READ, 777);
    for (uint32_t index = 3; index < 6; index++) {
        assert_plain(s, index, 0, 0);
    }
    assert_plain(s, VFU_PCI_DEV_VGA_REGION_IDX, 0, 0);
}

TEST(no_region_at_all)
{
    struct session *s = new_session();

    start(s);
    for (uint32_t index = 0; index < 9; index++) {
        if (index != VFU_PCI_DEV_CFG_REGION_IDX) {
            assert_plain(s, index, 0, 0);
        }
    }
}

TEST(config_region)
{
    static const struct {
        vfu_pci_type_t type;
        uint64_t size;
    } cases[] = {
        {VFU_PCI_TYPE_CONVENTIONAL, 256},
        {VFU_PCI_TYPE_PCI_X_1, 256},
        {VFU_PCI_TYPE_PCI_X_2, 4096},
        {VFU_PCI_TYPE_EXPRESS, 4096},
    };
    struct session *s = new_session();

    start(s); /* without vfu_pci_init */
    assert_plain(s, VFU_PCI_DEV_CFG_REGION_IDX, 3, 256);
    end_session(s);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        s = new_session();
        assert_int_equal(vfu_pci_init(s->ctx, cases[i].type, PCI_HEADER_TYPE_NORMAL, 0), 0);
        start(s);
        assert_plain(s, VFU_PCI_DEV_CFG_REGION_IDX, 3, cases[i].size);
        end_session(s);
    }
}

static const struct area some_areas[] = {{0x2000, 0x1000}, {0x4000, 0x2000}, {0x7000, 0}, {0x4800, 0x10}};

static struct session *mappable_device(int fd)
{
    struct session *s = new_session();
    struct iovec areas[ARRAY_LEN(some_areas)];

    for (size_t i = 0; i < ARRAY_LEN(areas); i++) {
        areas[i].iov_base = (void *)some_areas[i].offset;
        areas[i].iov_len = some_areas[i].size;
    }
    assert_int_equal(vfu_setup_region(s->ctx, 2, 0x8000, region_access, RW | MEM, areas, ARRAY_LEN(areas), fd, 0x8000),
                     0);
    memset(areas, 0xff, sizeof(areas)); /* they are copied */
    assert_int_equal(vfu_setup_region(s->ctx, 3, 0x10000, region_access, RW | MEM, NULL, 0, fd, 0x10000), 0);
    start(s);
    return s;
}

/* Too small for the areas: what is there, how much would be needed, but no fd. */
TEST(areas_with_too_small_an_argsz)
{
    int fd = guest_file(0x20000);
    struct session *s = mappable_device(fd);
    const uint32_t full = 32 + 16 + 16 * ARRAY_LEN(some_areas);
    struct answer a;

    for (uint32_t argsz = 32; argsz < full; argsz++) {
        struct reply *reply = query(s, 2, argsz, &a);

        assert_int_equal(reply->size, argsz);
        assert_int_equal(reply->nr_fds, 0);
        assert_int_equal(a.info.argsz, full);
        assert_int_equal(a.info.flags, 1 | 2 | VFIO_REGION_INFO_FLAG_MMAP);
        assert_int_equal(a.info.cap_offset, 0);
        assert_int_equal(a.info.size, 0x8000);
        assert_int_equal(a.info.offset, 0x8000);
        for (size_t i = 32; i < argsz; i++) {
            assert_int_equal(((uint8_t *)&a)[i], 0);
        }
    }
    close(fd);
}

static void assert_areas(struct session *s, uint32_t index, const struct area *areas, uint32_t n, uint32_t argsz,
                         int fd, uint64_t offset)
{
    struct answer a;
    struct reply *reply = query(s, index, argsz, &a);
    uint8_t *ours, *theirs;

    assert_int_equal(reply->size, 48 + 16 * n);
    assert_int_equal(a.info.argsz, 48 + 16 * n);
    assert_int_equal(a.info.flags, 1 | 2 | VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS);
    assert_int_equal(a.info.cap_offset, 32);
    assert_int_equal(a.info.offset, offset);
    assert_int_equal(a.cap_id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
    assert_int_equal(a.cap_version, 1);
    assert_int_equal(a.cap_next, 0);
    assert_int_equal(a.nr_areas, n);
    assert_int_equal(a.reserved, 0);
    assert_memory_equal(a.areas, areas, 16 * n);
    /* One fd, and it is the one of the region. */
    assert_int_equal(reply->nr_fds, 1);
    ours = guest_view(fd, PS);
    theirs = guest_view(reply->fds[0], PS);
    ours[10] = (uint8_t)(0x40 + index);
    assert_int_equal(theirs[10], 0x40 + index);
    munmap(ours, PS);
    munmap(theirs, PS);
}

TEST(areas)
{
    static const struct area whole = {0, 0x10000};
    int fd = guest_file(0x20000);
    struct session *s = mappable_device(fd);

    /* Every query brings the fd again. */
    assert_areas(s, 2, some_areas, ARRAY_LEN(some_areas), 112, fd, 0x8000);
    assert_areas(s, 2, some_areas, ARRAY_LEN(some_areas), 400, fd, 0x8000);
    assert_areas(s, 3, &whole, 1, 64, fd, 0x10000);
    close(fd);
}

/* Areas may cover a region in many pieces. */
TEST(many_areas)
{
    static struct area expected[9];
    struct iovec areas[ARRAY_LEN(expected)];
    int fd = guest_file(0x20000);
    struct session *s = new_session();

    for (size_t i = 0; i < ARRAY_LEN(areas); i++) {
        expected[i] = (struct area){i * 0x1000, 0x1000};
        areas[i] = (struct iovec){(void *)expected[i].offset, expected[i].size};
    }
    assert_int_equal(
        vfu_setup_region(s->ctx, 3, 0x10000, region_access, RW | MEM, areas, ARRAY_LEN(areas), fd, 0x10000), 0);
    start(s);
    assert_areas(s, 3, expected, ARRAY_LEN(expected), 32 + 16 + 16 * ARRAY_LEN(expected), fd, 0x10000);
    close(fd);
}

/* Where there are no bytes there is nothing to map, though there is an fd. */
TEST(region_of_no_size)
{
    struct session *s = new_session();
    int fd = guest_file(PS);
    struct answer a;
    struct reply *reply;

    assert_int_equal(vfu_setup_region(s->ctx, VFU_PCI_DEV_ROM_REGION_IDX, 0, region_access, RW, NULL, 0, fd, PS), 0);
    start(s);
    reply = query(s, VFU_PCI_DEV_ROM_REGION_IDX, 200, &a);
    assert_int_equal(reply->size, 32);
    assert_int_equal(reply->nr_fds, 0);
    assert_int_equal(a.info.argsz, 32);
    assert_int_equal(a.info.flags, 1 | 2 | VFIO_REGION_INFO_FLAG_MMAP);
    assert_int_equal(a.info.size, 0);
    assert_int_equal(a.info.cap_offset, 0);
    close(fd);
}

/* What is not asked for by argsz and index is not looked at. */
TEST(fields_that_are_ignored)
{
    struct session *s = new_session();
    struct vfio_region_info info;

    use_region(s, 1, 4096, RW | MEM);
    start(s);
    memset(&info, 0xff, sizeof(info));
    info.argsz = 32;
    info.index = 1;
    memcpy(&info, request(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info))->data, sizeof(info));
    assert_int_equal(info.argsz, 32);
    assert_int_equal(info.flags, 3);
    assert_int_equal(info.cap_offset, 0);
    assert_int_equal(info.size, 4096);
    assert_int_equal(info.offset, 0);
}

/* A region that loses its fd has nothing to map any more. */
TEST(set_up_again_without_fd)
{
    struct session *s;
    int fd;

    NOT_ON_REFERENCE("stale areas survive, and the answer cannot be sent");
    fd = guest_file(0x20000);
    s = mappable_device(fd);
    use_region(s, 2, 0x8000, RW | MEM);
    assert_plain(s, 2, 3, 0x8000);
    close(fd);
}

/* The fd stays with the program. */
TEST(the_fd_is_not_the_library_s)
{
    int fd = guest_file(0x20000);
    struct session *s = mappable_device(fd);
    struct answer a;

    query(s, 2, 200, &a);
    lose_client(s);
    end_session(s);
    assert_int_equal(lseek(fd, 0, SEEK_END), 0x20000);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(device_info),
        CASE(bad_requests),
        CASE(plain_regions),
        CASE(no_region_at_all),
        CASE(config_region),
        CASE(areas_with_too_small_an_argsz),
        CASE(areas),
        CASE(many_areas),
        CASE(region_of_no_size),
        CASE(fields_that_are_ignored),
        CASE(set_up_again_without_fd),
        CASE(the_fd_is_not_the_library_s),
    };
    return RUN(tests);
}
