/* Standard PCI capabilities: placement, searching, and what client writes do to each kind. */
#include "support.h"

#define RW VFU_REGION_FLAG_RW
#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX
#define VNDR PCI_CAP_ID_VNDR

static struct session *new_device(bool with_callback)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0), 0);
    if (with_callback) {
        use_region(s, CONFIG, PCI_CFG_SPACE_SIZE, RW);
    }
    return s;
}

/* A vendor capability of the given size, with letters for data. */
static ssize_t add_vendor(struct session *s, size_t pos, int flags, uint8_t size)
{
    uint8_t data[256];

    memcpy(data, (uint8_t[]){VNDR, 0xee, size}, 3);
    for (size_t i = 3; i < sizeof(data); i++) {
        data[i] = (uint8_t)('a' + (i - 3) % 26);
    }
    return vfu_pci_add_capability(s->ctx, pos, flags, data);
}

static ssize_t add(struct session *s, size_t pos, void *data)
{
    return vfu_pci_add_capability(s->ctx, pos, 0, data);
}

TEST(bad_arguments)
{
    struct session *s = new_device(false);
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM};
    uint8_t other[64] = {0x81};

    assert_fails(vfu_pci_add_capability(s->ctx, 0, 999, &pm), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, 8, &pm), EINVAL);
    assert_fails(add_vendor(s, 0, VFU_CAP_FLAG_CALLBACK, 6), EINVAL);
    assert_fails(add(s, 0, other), ENOTSUP);
    other[0] = 0;
    assert_fails(add(s, 0, other), ENOTSUP);
    assert_fails(add(s, PCI_CFG_SPACE_SIZE, &pm), EINVAL);
    assert_fails(add(s, PCI_CFG_SPACE_SIZE - 7, &pm), EINVAL);
    assert_fails(add(s, 4096, &pm), EINVAL);
    assert_fails(add(s, 0x3f, &pm), EINVAL);
    assert_fails(add(s, 4, &pm), EINVAL);
    assert_zero_with(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_PM), ENOENT);
    end_session(s);
    s = new_session();
    assert_fails(add(s, 0, &pm), EINVAL); /* no config space yet */
    assert_zero_with(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_PM), EINVAL);
}

TEST(position_that_wraps)
{
    struct session *s;
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM};

    NOT_ON_REFERENCE("pos + size may wrap");
    s = new_device(false);
    assert_fails(add(s, SIZE_MAX, &pm), EINVAL);
    assert_fails(add(s, SIZE_MAX - 3, &pm), EINVAL);
}

TEST(overlapping)
{
    struct session *s = new_device(false);

    assert_int_equal(add_vendor(s, 0x60, 0, 16), 0x60);
    assert_fails(add_vendor(s, 0x60, 0, 16), EINVAL);
    assert_fails(add_vendor(s, 0x5f, 0, 4), EINVAL);
    assert_fails(add_vendor(s, 0x6f, 0, 4), EINVAL);
    assert_fails(add_vendor(s, 0x64, 0, 4), EINVAL);
    assert_fails(add_vendor(s, 0x5c, 0, 4), EINVAL); /* to end where another begins is too near */
    assert_int_equal(add_vendor(s, 0x58, 0, 7), 0x58);
    assert_fails(add_vendor(s, 0x50, 0, 0x40), EINVAL);
    assert_int_equal(add_vendor(s, 0x70, 0, 4), 0x70);
}

TEST(space_runs_out)
{
    struct session *s = new_device(false);

    assert_int_equal(add_vendor(s, 0, 0, 0x80), 0x40);
    assert_fails(add_vendor(s, 0, 0, 0x80), ENOSPC);
    assert_int_equal(add_vendor(s, 0, 0, 0x20), 0xc0);
    assert_fails(add_vendor(s, 0, 0, 0x30), ENOSPC);
}

/* Power management, three vendor capabilities by position 0 and two at chosen places. */
static struct session *five_capabilities(void)
{
    struct session *s = new_device(true);
    struct pmcap pm = {.hdr = {.id = PCI_CAP_ID_PM, .next = 0xff}, .pc.vs = 3};

    assert_int_equal(add(s, 0, &pm), 0x40);
    assert_int_equal(add_vendor(s, 0, VFU_CAP_FLAG_READONLY, 6), 0x48);
    assert_int_equal(add_vendor(s, 0, VFU_CAP_FLAG_CALLBACK, 15), 0x50);
    assert_int_equal(add_vendor(s, 0x80, 0, 8), 0x80);
    assert_int_equal(add_vendor(s, 0x90, 0, 8), 0x90);
    start(s);
    clear_calls();
    return s;
}

TEST(the_list)
{
    static const uint8_t chain[] = {0x40, 0x48, 0x50, 0x80, 0x90, 0};
    struct session *s = five_capabilities();

    assert_int_equal(config_get(s, PCI_CAPABILITY_LIST, 1), chain[0]);
    assert_int_equal(config_get(s, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
    memcpy(calls.memory + 0x50, vfu_pci_get_config_space(s->ctx)->raw + 0x50, 15);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(config_get(s, chain[i], 1), i == 0 ? PCI_CAP_ID_PM : VNDR);
        assert_int_equal(config_get(s, chain[i] + 1, 1), chain[i + 1]);
    }
    assert_int_equal(config_get(s, 0x42, 2), 3);
    assert_memory_equal(config_bytes(s, 0x4b, 3), "abc", 3);
    assert_memory_equal(config_bytes(s, 0x83, 5), "abcde", 5);
}

TEST(searching)
{
    struct session *s = five_capabilities();
    size_t pos;

    assert_int_equal(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_PM), 0x40);
    assert_int_equal(vfu_pci_find_capability(s->ctx, false, VNDR), 0x48);
    assert_zero_with(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_MSI), ENOENT);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 0x40, PCI_CAP_ID_PM), ENOENT);
    pos = vfu_pci_find_next_capability(s->ctx, false, 0, VNDR);
    assert_int_equal(pos, 0x48);
    pos = vfu_pci_find_next_capability(s->ctx, false, pos, VNDR);
    assert_int_equal(pos, 0x50);
    pos = vfu_pci_find_next_capability(s->ctx, false, pos, VNDR);
    assert_int_equal(pos, 0x80);
    pos = vfu_pci_find_next_capability(s->ctx, false, pos, VNDR);
    assert_int_equal(pos, 0x90);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, pos, VNDR), ENOENT);

    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 8192, VNDR), EINVAL);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 256, VNDR), EINVAL);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 255, VNDR), EINVAL);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 0x49, PCI_CAP_ID_PM), ENOENT);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 254, VNDR), ENOENT); /* what is there is followed */
}

/* In 4096 bytes a search may begin, but not lead, behind the list. */
TEST(searching_in_extended_space)
{
    struct session *s = new_session();
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM};
    uint8_t *space;

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(add(s, 0, &pm), 0x40);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 255, PCI_CAP_ID_PM), ENOENT);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 4094, PCI_CAP_ID_PM), ENOENT);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 4095, PCI_CAP_ID_PM), EINVAL);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 4096, PCI_CAP_ID_PM), EINVAL);
    space = (uint8_t *)vfu_pci_get_config_space(s->ctx);
    space[4095] = 0x40;
    assert_int_equal(vfu_pci_find_next_capability(s->ctx, false, 4094, PCI_CAP_ID_PM), 0x40);
}

TEST(links_that_lead_outside)
{
    struct session *s = five_capabilities();
    uint8_t *space = vfu_pci_get_config_space(s->ctx)->raw;

    space[0x41] = 0xff;
    assert_zero_with(vfu_pci_find_capability(s->ctx, false, VNDR), EINVAL);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, false, 0x40, VNDR), EINVAL);
    space[PCI_CAPABILITY_LIST] = 0xff;
    assert_zero_with(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_PM), EINVAL);
}

/* The program may have spoilt the list; the search ends all the same. */
TEST(list_that_loops)
{
    struct session *s;

    NOT_ON_REFERENCE("it searches for ever");
    s = five_capabilities();
    vfu_pci_get_config_space(s->ctx)->raw[0x91] = 0x40;
    assert_zero_with(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_MSI), ENOENT);
    vfu_pci_get_config_space(s->ctx)->raw[0x91] = 0x90;
    assert_zero_with(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_MSI), ENOENT);
}

TEST(headers_are_protected)
{
    static const uint8_t positions[] = {0x40, 0x48, 0x80, 0x90};
    struct session *s = five_capabilities();

    for (size_t i = 0; i < ARRAY_LEN(positions); i++) {
        config_put_fails(s, positions[i], 1, 0, EPERM);
        config_put_fails(s, positions[i] + 1, 1, 0, EPERM);
        config_put_fails(s, positions[i], 2, 0, EPERM);
    }
    config_put_fails(s, 0x82, 1, 9, EPERM); /* the size of a vendor capability */
    assert_int_equal(config_get(s, 0x80, 4), 0x61000009 | 0x90 << 8 | 8 << 16);
}

TEST(read_only)
{
    struct session *s = five_capabilities();

    for (unsigned offset = 0; offset < 6; offset++) {
        config_put_fails(s, 0x48 + offset, 1, 0, EPERM);
    }
    assert_memory_equal(config_bytes(s, 0x4b, 3), "abc", 3);
    assert_int_equal(calls.count, 0);
}

TEST(vendor)
{
    struct session *s = five_capabilities();

    config_put(s, 0x83, 5, UINT64_C(0x5554535251));
    config_put(s, 0x94, 1, 'x');
    assert_memory_equal(config_bytes(s, 0x83, 5), "QRSTU", 5);
    assert_memory_equal(config_bytes(s, 0x93, 5), "axcde", 5);
    assert_int_equal(calls.count, 0);
}

TEST(callback)
{
    struct session *s = five_capabilities();

    memcpy(calls.memory + 0x50, "0123456789abcde", 15);
    assert_memory_equal(config_bytes(s, 0x50, 15), "0123456789abcde", 15);
    assert_int_equal(call(CALL_REGION, 0)->offset, 0x50);
    assert_int_equal(call(CALL_REGION, 0)->count, 15);
    config_put(s, 0x53, 2, 0x4241);
    assert_true(call(CALL_REGION, 1)->flag);
    assert_int_equal(call(CALL_REGION, 1)->offset, 0x53);
    assert_memory_equal(calls.memory + 0x53, "AB", 2);
    config_put(s, 0x50, 1, 'h'); /* its header, too */
    assert_int_equal(calls.count, 3);
    calls.behave[CALL_REGION] = (struct behaviour){.override = true, .result = 3};
    config_put(s, 0x51, 6, UINT64_C(0x363534333231)); /* called again for the rest */
    assert_memory_equal(calls.memory + 0x51, "123456", 6);
    assert_int_equal(call(CALL_REGION, 4)->offset, 0x54);
    assert_int_equal(call(CALL_REGION, 4)->count, 3);
    assert_int_equal(calls.count, 5);
    calls.behave[CALL_REGION] = (struct behaviour){.error = EXDEV};
    config_put_fails(s, 0x53, 2, 0, EXDEV);
}

TEST(read_only_with_callback)
{
    struct session *s = new_device(true);

    assert_int_equal(add_vendor(s, 0, VFU_CAP_FLAG_READONLY | VFU_CAP_FLAG_CALLBACK, 8), 0x40);
    start(s);
    for (unsigned offset = 0; offset < 8; offset++) {
        config_put_fails(s, 0x40 + offset, 1, 0, EPERM);
    }
    assert_int_equal(calls.count, 0);
    memcpy(calls.memory + 0x40, "callback", 8);
    assert_memory_equal(config_bytes(s, 0x40, 8), "callback", 8);
    assert_int_equal(calls.count, 1);
}

/* A long access is taken apart where capabilities begin and end. */
TEST(access_over_several_capabilities)
{
    struct session *s = five_capabilities();
    const uint8_t *bytes;

    memset(calls.memory, 0xdd, 256);
    bytes = config_bytes(s, 0x3c, 0x60);
    assert_int_equal(bytes[0x40 - 0x3c], PCI_CAP_ID_PM);
    assert_int_equal(bytes[0x48 - 0x3c], VNDR);
    assert_int_equal(bytes[0x4e - 0x3c], 0xdd); /* a gap: the program's */
    assert_int_equal(bytes[0x50 - 0x3c], 0xdd); /* as is the capability with a callback */
    assert_int_equal(bytes[0x60 - 0x3c], 0xdd);
    assert_int_equal(bytes[0x80 - 0x3c], VNDR);
    assert_int_equal(bytes[0x88 - 0x3c], 0xdd);
    assert_int_equal(bytes[0x90 - 0x3c], VNDR);
    assert_int_equal(bytes[0x98 - 0x3c], 0xdd);
    for (size_t i = 0; i < calls_of(CALL_REGION); i++) {
        const struct call *c = call(CALL_REGION, i);

        assert_true(c->offset >= 0x4e);
        assert_true(c->offset >= 0x88 || c->offset + c->count <= 0x80);
    }
    assert_int_equal(config_get(s, 0x90, 4), 0x61080009);
}

TEST(access_past_the_end_of_a_capability)
{
    struct session *s;
    uint8_t data[32];

    NOT_ON_REFERENCE("it hands out and stores more than belongs to the capability");
    s = five_capabilities();
    memset(data, 'z', sizeof(data));
    memset(calls.memory, 0xdd, 256);
    assert_int_equal(config_bytes(s, 0x84, 8)[4], 0xdd);
    region_write(s, CONFIG, 0x84, data, 8);
    assert_memory_equal(config_bytes(s, 0x83, 5), "azzzz", 5);
    assert_memory_equal(calls.memory + 0x88, "zzzz\xdd", 5);
    assert_int_equal(vfu_pci_get_config_space(s->ctx)->raw[0x88], 0);
}

TEST(capabilities_added_out_of_order)
{
    struct session *s;

    NOT_ON_REFERENCE("what lies lower but was added later is not noticed in long accesses");
    s = new_device(true);
    assert_int_equal(add_vendor(s, 0x80, 0, 8), 0x80);
    assert_int_equal(add_vendor(s, 0x60, 0, 8), 0x60);
    start(s);
    memset(calls.memory, 0xdd, 256);
    assert_int_equal(config_bytes(s, 0x5c, 0x30)[0x60 - 0x5c], VNDR);
    assert_int_equal(config_bytes(s, 0x5c, 0x30)[0x80 - 0x5c], VNDR);
    region_write_fails(s, CONFIG, 0x5c, calls.memory, 0x30, EPERM);
}

/* The list pointers have 8 bits. */
TEST(position_beyond_the_pointers)
{
    struct session *s;

    NOT_ON_REFERENCE("positions above 0xff are accepted in 4096 bytes of config space");
    s = new_session();
    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_fails(add_vendor(s, 0x200, 0, 8), EINVAL);
    assert_fails(add_vendor(s, 0x100, 0, 8), EINVAL);
    assert_fails(add_vendor(s, 0xf9, 0, 8), EINVAL); /* nor may a part of it be there */
    assert_int_equal(add_vendor(s, 0xf8, 0, 8), 0xf8);
}

TEST(status_bit_after_realize)
{
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM};
    struct session *s = new_device(false);

    assert_int_equal(add(s, 0, &pm), 0x40);
    start(s);
    assert_int_equal(config_get(s, PCI_STATUS, 2), 0x0010);
    end_session(s);
    s = new_device(false);
    start(s);
    assert_int_equal(config_get(s, PCI_STATUS, 2), 0);
    assert_int_equal(add(s, 0, &pm), 0x40);
    assert_int_equal(config_get(s, PCI_STATUS, 2), 0); /* realize is over */
    assert_int_equal(config_get(s, PCI_CAPABILITY_LIST, 1), 0x40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(bad_arguments),
        CASE(position_that_wraps),
        CASE(overlapping),
        CASE(space_runs_out),
        CASE(the_list),
        CASE(searching),
        CASE(searching_in_extended_space),
        CASE(links_that_lead_outside),
        CASE(list_that_loops),
        CASE(headers_are_protected),
        CASE(read_only),
        CASE(vendor),
        CASE(callback),
        CASE(read_only_with_callback),
        CASE(access_over_several_capabilities),
        CASE(access_past_the_end_of_a_capability),
        CASE(capabilities_added_out_of_order),
        CASE(position_beyond_the_pointers),
        CASE(status_bit_after_realize),
    };
    return RUN(tests);
}
