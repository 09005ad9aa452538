/* Config space as a region: its size, and callbacks that get every access. */
#include "support.h"

#define RW VFU_REGION_FLAG_RW
#define ALWAYS_CB VFU_REGION_FLAG_ALWAYS_CB
#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX

static struct session *new_device(vfu_pci_type_t type)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, type, PCI_HEADER_TYPE_NORMAL, 0), 0);
    return s;
}

/* Without vfu_pci_init it is as large as the region that was set up, if one was. */
TEST(size_without_init)
{
    static const size_t sizes[][2] = {{0, 256}, {256, 256}, {4096, 4096}};
    struct vfio_region_info info;

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct session *s = new_session();
        const uint32_t size = (uint32_t)sizes[i][1];

        use_region(s, CONFIG, sizes[i][0], RW);
        start(s);
        info = (struct vfio_region_info){.argsz = sizeof(info), .index = CONFIG};
        memcpy(&info, request(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info))->data, sizeof(info));
        assert_int_equal(info.size, size);
        assert_int_equal(info.flags, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE);
        config_bytes(s, 0, size);
        config_put(s, size - 1, 1, 0x5a);
        assert_int_equal(call(CALL_REGION, calls_of(CALL_REGION) - 1)->offset, size - 1);
        region_read_fails(s, CONFIG, size - 1, 2, EINVAL);
        region_write_fails(s, CONFIG, size, "x", 1, EINVAL);
        end_session(s);
    }
}

/* Sizes that config space cannot have: it has the next one, or 4096 bytes. */
TEST(sizes_that_are_none)
{
    static const size_t sizes[][2] = {{1, 256}, {64, 256}, {255, 256}, {257, 4096}, {4095, 4096}, {0x10000, 4096}};

    NOT_ON_REFERENCE("config space is as large as it is told");
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct session *s = new_session();
        const uint32_t size = (uint32_t)sizes[i][1];

        use_region(s, CONFIG, sizes[i][0], RW);
        start(s);
        config_bytes(s, 0, size);
        region_read_fails(s, CONFIG, 0, size + 1, EINVAL);
        end_session(s);
    }
}

/* Its flags do not need vfu_pci_init, either. */
TEST(always_cb_without_init)
{
    static const size_t sizes[] = {0, 256, 4096};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct session *s = new_session();

        use_region(s, CONFIG, sizes[i], RW | ALWAYS_CB);
        start(s);
        memset(calls.memory, 0xcc, 256);
        assert_int_equal(config_get(s, 0, 4), 0xcccccccc);
        config_put(s, 0, 4, 0x12345678);
        assert_int_equal(config_get(s, 0, 4), 0x12345678);
        assert_int_equal(vfu_pci_get_config_space(s->ctx)->raw[0], 0);
        end_session(s);
    }
}

/* All but the types of BARs, which come with realize. */
TEST(all_bytes_start_at_zero)
{
    static const struct {
        vfu_pci_type_t type;
        uint32_t size;
    } cases[] = {
        {VFU_PCI_TYPE_CONVENTIONAL, 256},
        {VFU_PCI_TYPE_PCI_X_1, 256},
        {VFU_PCI_TYPE_PCI_X_2, 4096},
        {VFU_PCI_TYPE_EXPRESS, 4096},
    };
    static const uint8_t zeros[4096];
    uint8_t realized[4096] = {0};

    for (size_t i = 0; i < 6; i++) {
        realized[0x10 + 4 * i] = 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct session *s = new_device(cases[i].type);

        assert_memory_equal(vfu_pci_get_config_space(s->ctx), zeros, cases[i].size);
        start(s);
        assert_memory_equal(config_bytes(s, 0, cases[i].size), realized, cases[i].size);
        region_read_fails(s, CONFIG, cases[i].size, 1, EINVAL);
        end_session(s);
    }
}

TEST(init_after_the_config_region)
{
    struct session *s = new_session();

    use_region(s, CONFIG, 256, RW | ALWAYS_CB);
    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    vfu_pci_set_id(s->ctx, 0x1111, 0x2222, 0, 0);
    start(s);
    assert_int_equal(config_get(s, 0, 4), 0x22221111); /* no longer ALWAYS_CB … */
    assert_int_equal(calls_of(CALL_REGION), 0);
    config_get(s, 0xff0, 4); /* … but the callback is there, and all 4096 bytes */
    assert_int_equal(calls_of(CALL_REGION), 1);
}

/* The size of config space follows from the type of device, whatever the program says. */
TEST(config_region_of_a_wrong_size)
{
    static const size_t sizes[] = {0, 16, 256, 0x10000, 1 << 30};

    NOT_ON_REFERENCE("the given size is taken, so clients can reach beyond the memory");
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);

        vfu_setup_region(s->ctx, CONFIG, sizes[i], NULL, RW, NULL, 0, -1, 0);
        start(s);
        config_bytes(s, 0, 4096);
        region_read_fails(s, CONFIG, 4096, 1, EINVAL);
        region_read_fails(s, CONFIG, 0, 4097, EINVAL);
        end_session(s);
    }
}

/* A callback for everything must do everything. */
TEST(always_cb_results)
{
    static const ssize_t results[] = {0, 1, 3, 4, 0x7fffffff};
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    use_region(s, CONFIG, 256, RW | ALWAYS_CB);
    start(s);
    for (size_t i = 0; i < ARRAY_LEN(results); i++) {
        calls.behave[CALL_REGION] = (struct behaviour){.override = true, .result = results[i]};
        region_read_fails(s, CONFIG, 0x80, 2, EINVAL);
        region_write_fails(s, CONFIG, 0x04, "ab", 2, EINVAL);
    }
    assert_int_equal(calls_of(CALL_REGION), 2 * ARRAY_LEN(results));
    calls.behave[CALL_REGION] = (struct behaviour){.error = EACCES};
    region_read_fails(s, CONFIG, 0x10, 4, EACCES);
    region_write_fails(s, CONFIG, 0x10, "abcd", 4, EACCES);
}

/* Then neither headers nor capabilities are protected, and a reset is the program's to notice; it is still quiesced. */
TEST(always_cb_and_capabilities)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_REGION};
    struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);
    struct pxcap cap = {.hdr.id = PCI_CAP_ID_EXP, .pxcaps.ver = 2, .pxdcap = {.flrc = 1}};

    use_region(s, CONFIG, 4096, RW | ALWAYS_CB);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, 0, &cap), 0x40);
    use_quiesce_and_reset(s);
    start(s);
    config_put(s, 0x40, 2, 0xffff);
    config_put(s, 0x4a, 2, 0xffff);
    assert_int_equal(calls_of(CALL_QUIESCE), 0);
    assert_int_equal(config_get(s, 0x40, 2), 0xffff);
    clear_calls();
    config_put(s, 0x48, 2, 0x8000);
    assert_sequence(expected, ARRAY_LEN(expected));
    assert_int_equal(config_get(s, 0x48, 2), 0x8000);
    assert_int_equal(vfu_pci_get_config_space(s->ctx)->raw[0x49], 0);
}

/* However long an access is, and whatever is in its way, there is one call. */
TEST(always_cb_and_long_writes)
{
    struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM};
    struct dsncap dsn = {.hdr = {.id = PCI_EXT_CAP_ID_DSN, .version = 1}};
    static uint8_t data[0x200], before[0x200];

    use_region(s, CONFIG, 4096, RW | ALWAYS_CB);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, VFU_CAP_FLAG_READONLY, &pm), 0x40);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn), 0x100);
    start(s);
    memcpy(before, vfu_pci_get_config_space(s->ctx), sizeof(before));
    memset(data, 0x5a, sizeof(data));
    region_write(s, CONFIG, 1, data, 0x1ff);
    assert_int_equal(calls.count, 1);
    assert_int_equal(call(CALL_REGION, 0)->offset, 1);
    assert_int_equal(call(CALL_REGION, 0)->count, 0x1ff);
    assert_memory_equal(calls.memory + 1, data, 0x1ff);
    assert_memory_equal(vfu_pci_get_config_space(s->ctx), before, sizeof(before));
}

/* What was set up after realize counts, also for config space. */
TEST(always_cb_no_longer)
{
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    use_region(s, CONFIG, 256, RW | ALWAYS_CB);
    start(s);
    memset(calls.memory, 0xcc, 256);
    assert_int_equal(config_get(s, 0, 2), 0xcccc);
    use_region(s, CONFIG, 256, RW);
    realize(s);
    assert_int_equal(config_get(s, 0, 2), 0);
    region_read_fails(s, CONFIG, UINT64_MAX, 256, EINVAL);
    config_put_fails(s, 0, 2, 0xffff, EINVAL);
    assert_int_equal(config_get(s, 0x80, 2), 0xcccc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(size_without_init),
        CASE(sizes_that_are_none),
        CASE(always_cb_without_init),
        CASE(all_bytes_start_at_zero),
        CASE(init_after_the_config_region),
        CASE(config_region_of_a_wrong_size),
        CASE(always_cb_results),
        CASE(always_cb_and_capabilities),
        CASE(always_cb_and_long_writes),
        CASE(always_cb_no_longer),
    };
    return RUN(tests);
}
