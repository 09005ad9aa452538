/* Setting up regions. */
#include "support.h"

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

/* Sizes are size_t. */
TEST(largest_regions)
{
    struct session *s;

    NOT_ON_REFERENCE("it takes as much memory for config space as it is told");
    s = new_session();
    assert_int_equal(set(s, 2, (size_t)1 << 63, RW | MEM | WIDE), 0);
    assert_int_equal(set(s, VFU_PCI_DEV_ROM_REGION_IDX, SIZE_MAX, RW), 0);
    assert_int_equal(set(s, VFU_PCI_DEV_CFG_REGION_IDX, SIZE_MAX, RW), 0);
    assert_int_equal(vfu_create_ioeventfd(s->ctx, 2, -1, ((size_t)1 << 63) - 8, 8, 0, 0, -1, SIZE_MAX), 0);
    assert_fails(vfu_create_ioeventfd(s->ctx, 2, -1, ((size_t)1 << 63) - 7, 8, 0, 0, -1, 0), EINVAL);
    start(s);
    assert_int_equal(size_of(s, 2), (uint64_t)1 << 63);
    assert_int_equal(size_of(s, VFU_PCI_DEV_ROM_REGION_IDX), UINT64_MAX);
    assert_int_equal(size_of(s, VFU_PCI_DEV_CFG_REGION_IDX), 4096);
    region_read(s, 2, ((uint64_t)1 << 63) - 4, 4);
    region_read_fails(s, 2, ((uint64_t)1 << 63) - 3, 4, EINVAL);
    region_read(s, VFU_PCI_DEV_ROM_REGION_IDX, UINT64_MAX - 4, 4);
    region_read_fails(s, VFU_PCI_DEV_ROM_REGION_IDX, UINT64_MAX - 3, 4, EINVAL);
    config_put(s, 0x18, 8, UINT64_MAX);
    assert_true(config_get(s, 0x18, 8) == (((uint64_t)1 << 63) | 4)); /* the guest sizes it */
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
        CASE(largest_regions),
    };
    return RUN(tests);
}
