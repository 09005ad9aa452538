/* BARs and the ROM register in config space. */
#include "support.h"

#define RW VFU_REGION_FLAG_RW
#define MEM VFU_REGION_FLAG_MEM
#define WIDE VFU_REGION_FLAG_64_BITS
#define PREFETCH VFU_REGION_FLAG_PREFETCH
#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX

static struct session *new_device(vfu_pci_type_t type)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, type, PCI_HEADER_TYPE_NORMAL, 0), 0);
    return s;
}

TEST(bars_after_realize)
{
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    use_region(s, 0, 4096, RW);
    use_region(s, 1, 4096, RW | MEM);
    use_region(s, 2, 1 << 20, RW | MEM | WIDE);
    use_region(s, 4, 1 << 30, RW | MEM | WIDE | PREFETCH);
    start(s);
    assert_int_equal(config_get(s, 0x10, 4), 0x1);
    assert_int_equal(config_get(s, 0x14, 4), 0x0);
    assert_int_equal(config_get(s, 0x18, 4), 0x4);
    assert_int_equal(config_get(s, 0x20, 4), 0xc);
    if (!on_reference()) { /* where they look like I/O BARs */
        assert_int_equal(config_get(s, 0x1c, 4), 0);
        assert_int_equal(config_get(s, 0x24, 4), 0);
    }
    end_session(s);
    s = new_device(VFU_PCI_TYPE_CONVENTIONAL);
    use_region(s, 5, 4096, RW | MEM | PREFETCH);
    start(s);
    assert_int_equal(config_get(s, 0x24, 4), 0x8);
}

/* A BAR that was never set up looks like one of I/O, of no size; one of memory may have no size, either. */
TEST(bars_of_no_size)
{
    static const uint32_t values[] = {0xffffffff, 0xfffffff0, 0};
    struct session *s = new_session();

    use_region(s, 2, 0, RW | MEM);
    use_region(s, 3, 0, RW);
    start(s);
    for (unsigned bar = 0; bar < 6; bar++) {
        const unsigned offset = 0x10 + 4 * bar;

        assert_int_equal(config_get(s, offset, 4), bar == 2 ? 0 : 1);
        for (size_t i = 0; i < ARRAY_LEN(values); i++) {
            config_put(s, offset, 4, values[i]);
            assert_int_equal(config_get(s, offset, 4), bar == 2 ? 0 : 1);
        }
    }
}

TEST(io_bar_flagged_as_wide)
{
    struct session *s;

    NOT_ON_REFERENCE("bit 2 is set at first, and then part of the address");
    s = new_device(VFU_PCI_TYPE_CONVENTIONAL);
    use_region(s, 0, 16, RW | WIDE | PREFETCH);
    start(s);
    assert_int_equal(config_get(s, 0x10, 4), 0x1);
    config_put(s, 0x10, 8, UINT64_MAX);
    assert_int_equal(config_get(s, 0x10, 4), 0xfffffff1);
    assert_int_equal(config_get(s, 0x14, 4), 0x1); /* a BAR of its own */
}

/* Size of a BAR as a guest finds it out; the old value is put back. */
static uint64_t probe(struct session *s, unsigned bar)
{
    const unsigned offset = 0x10 + 4 * bar;
    const uint32_t old = (uint32_t)config_get(s, offset, 4);
    uint32_t value;

    config_put(s, offset, 4, 0xffffffff);
    value = (uint32_t)config_get(s, offset, 4);
    config_put(s, offset, 4, old);
    assert_int_equal(config_get(s, offset, 4), old);
    value &= (value & 1) != 0 ? ~UINT32_C(3) : ~UINT32_C(0xf);
    return value == 0 ? 0 : (uint64_t)(uint32_t)(~value + 1);
}

TEST(sizing_narrow_bars)
{
    static const uint64_t sizes[] = {0, 4096, 8192, 16384, 0, 0};
    struct session *s = new_session();

    /* Regions may come before vfu_pci_init and the config region. */
    for (int bar = 1; bar < 4; bar++) {
        use_region(s, bar, sizes[bar], RW | MEM);
    }
    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0), 0);
    use_region(s, CONFIG, 256, RW);
    start(s);
    for (unsigned bar = 0; bar < 6; bar++) {
        assert_int_equal(probe(s, bar), sizes[bar]);
    }
}

static uint64_t region_size(struct session *s, uint32_t index)
{
    struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

    memcpy(&info, request(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info))->data, sizeof(info));
    return info.size;
}

TEST(sizing_wide_bars)
{
    static const uint64_t sizes[] = {UINT64_C(4) << 30, UINT64_C(8) << 30, UINT64_C(16) << 30};
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    for (int i = 0; i < 3; i++) {
        use_region(s, 2 * i, sizes[i], RW | MEM | WIDE);
    }
    start(s);
    for (unsigned i = 0; i < 3; i++) {
        const unsigned offset = 0x10 + 8 * i;
        uint64_t value;

        config_put(s, offset, 4, 0xffffffff);
        config_put(s, offset + 4, 4, 0xffffffff);
        value = config_get(s, offset, 4) | config_get(s, offset + 4, 4) << 32;
        assert_int_equal(value & 0xf, 4);
        assert_int_equal(~(value & ~UINT64_C(0xf)) + 1, sizes[i]);
        assert_int_equal(region_size(s, 2 * i), sizes[i]);
        assert_int_equal(region_size(s, 2 * i + 1), 0);
    }
}

TEST(wide_bars_below_4_gib)
{
    struct session *s;

    NOT_ON_REFERENCE("the upper half cannot be written");
    s = new_device(VFU_PCI_TYPE_CONVENTIONAL);
    use_region(s, 0, 0x10000, RW | MEM | WIDE);
    start(s);
    config_put(s, 0x10, 4, 0xffffffff);
    config_put(s, 0x14, 4, 0xffffffff);
    assert_int_equal(config_get(s, 0x10, 4), 0xffff0004);
    assert_int_equal(config_get(s, 0x14, 4), 0xffffffff);
    config_put(s, 0x14, 4, 0x12);
    assert_int_equal(config_get(s, 0x14, 4), 0x12);
}

TEST(bar_values)
{
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    use_region(s, 0, 4096, RW | MEM);
    use_region(s, 1, 256, RW);
    use_region(s, 2, UINT64_C(8) << 30, RW | MEM | WIDE | PREFETCH);
    use_region(s, 4, UINT64_C(4) << 30, RW | MEM | WIDE);
    start(s);
    config_put(s, 0x10, 4, 0xffffffff);
    assert_int_equal(config_get(s, 0x10, 4), 0xfffff000);
    config_put(s, 0x10, 4, 0x12345678);
    assert_int_equal(config_get(s, 0x10, 4), 0x12345000);
    config_put(s, 0x14, 4, 0xffffffff);
    assert_int_equal(config_get(s, 0x14, 4), 0xffffff01);
    config_put(s, 0x14, 4, 0xc043);
    assert_int_equal(config_get(s, 0x14, 4), 0xc001);
    config_put(s, 0x18, 4, 0xffffffff);
    assert_int_equal(config_get(s, 0x18, 4), 0x0000000c);
    config_put(s, 0x1c, 4, 0xffffffff);
    assert_int_equal(config_get(s, 0x1c, 4), 0xfffffffe);
    config_put(s, 0x1c, 4, 0x00000013);
    assert_int_equal(config_get(s, 0x1c, 4), 0x12);
    config_put(s, 0x20, 4, 0xffffffff);
    assert_int_equal(config_get(s, 0x20, 4), 0x00000004);
    config_put(s, 0x24, 4, 0xffffffff);
    assert_int_equal(config_get(s, 0x24, 4), 0xffffffff);
    /* A BAR that moved is still the same region. */
    memset(calls.memory, 0x77, 4);
    assert_memory_equal(region_read(s, 0, 0, 4)->data + 16, "\x77\x77\x77\x77", 4);
    assert_int_equal(call(CALL_REGION, 0)->offset, 0);
}

/* The type is what is in the register, not what the region is, and it takes as many bits as the kind of BAR has. */
TEST(type_bits_are_kept)
{
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);
    uint8_t *space = vfu_pci_get_config_space(s->ctx)->raw;

    use_region(s, 0, 16, RW | MEM | PREFETCH);
    use_region(s, 1, 4, RW);
    start(s);
    config_put(s, 0x10, 4, 0xfffffff7);
    assert_int_equal(config_get(s, 0x10, 4), 0xfffffff8);
    config_put(s, 0x14, 4, 0xfffffffe);
    assert_int_equal(config_get(s, 0x14, 4), 0xfffffffd);
    for (uint8_t type = 0; type < 16; type++) {
        space[0x10] = type;
        space[0x14] = type;
        config_put(s, 0x10, 4, type % 2 == 0 ? 0xffffffff : 0);
        config_put(s, 0x14, 4, type % 2 == 0 ? 0xffffffff : 0);
        assert_int_equal(config_get(s, 0x10, 4), (type % 2 == 0 ? 0xfffffff0 : 0) | type);
        assert_int_equal(config_get(s, 0x14, 4), (type % 2 == 0 ? 0xfffffffc : 0) | (type & 3));
    }
}

/* Of a region set up later the size counts, as it is then; the type was written by realize. */
TEST(bar_set_up_after_realize)
{
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    start(s);
    use_region(s, 3, 0x1000, RW | MEM);
    assert_int_equal(config_get(s, 0x1c, 4), 1);
    config_put(s, 0x1c, 4, 0xffffffff);
    assert_int_equal(config_get(s, 0x1c, 4), 0xfffff001);
    use_region(s, 3, 0x100000, RW | MEM);
    config_put(s, 0x1c, 4, 0xffffffff);
    assert_int_equal(config_get(s, 0x1c, 4), 0xfff00001);
    use_region(s, 3, 0, RW);
    config_put(s, 0x1c, 4, 0xffffffff);
    assert_int_equal(config_get(s, 0x1c, 4), 1);
}

TEST(rom_register)
{
    static const uint32_t ignored[] = {0xfffff800, 0xfffffffe, 0xffffffff};
    static const uint32_t refused[] = {1,          2,          0x800,      0xfffff000, 0x7fffffff,
                                       0xfffff801, 0xfffff7ff, 0xfffffffc, 0xfffffffd};
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    use_region(s, VFU_PCI_DEV_ROM_REGION_IDX, 0x10000, VFU_REGION_FLAG_READ);
    start(s);
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++) {
        config_put(s, 0x30, 4, ignored[i]);
        assert_int_equal(config_get(s, 0x30, 4), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        config_put_fails(s, 0x30, 4, refused[i], EINVAL);
    }
    memset(calls.memory, 0x99, 4); /* the region is there, whatever its register says */
    assert_memory_equal(region_read(s, VFU_PCI_DEV_ROM_REGION_IDX, 0, 4)->data + 16, "\x99\x99\x99\x99", 4);
    vfu_pci_get_config_space(s->ctx)->hdr.erom = 0xabcd0001;
    assert_int_equal(config_get(s, 0x30, 4), 0xabcd0001);
    config_put(s, 0x30, 4, 0xfffff800);
    config_put_fails(s, 0x30, 4, 0x800, EINVAL);
    assert_int_equal(config_get(s, 0x30, 4), 0xabcd0001);
    config_put(s, 0x30, 4, 0);
    assert_int_equal(config_get(s, 0x30, 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(bars_after_realize),
        CASE(bars_of_no_size),
        CASE(io_bar_flagged_as_wide),
        CASE(sizing_narrow_bars),
        CASE(sizing_wide_bars),
        CASE(wide_bars_below_4_gib),
        CASE(bar_values),
        CASE(type_bits_are_kept),
        CASE(bar_set_up_after_realize),
        CASE(rom_register),
    };
    return RUN(tests);
}
