/* PCI Express extended capabilities. */
#include "support.h"

#define RW VFU_REGION_FLAG_RW
#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX
#define VNDR PCI_EXT_CAP_ID_VNDR
#define DSN PCI_EXT_CAP_ID_DSN
#define EXTENDED VFU_CAP_FLAG_EXTENDED

static const struct dsncap serial_number = {
    .hdr = {.id = DSN, .version = 1, .next = 0xabc}, .sn_lo = 0x01020304, .sn_hi = 0x05060708};

static ssize_t add_serial_number(struct session *s, size_t pos)
{
    struct dsncap cap = serial_number;

    return vfu_pci_add_capability(s->ctx, pos, EXTENDED, &cap);
}

/* A vendor capability of the given length, with letters for data. */
static ssize_t add_vendor(struct session *s, size_t pos, int flags, unsigned length)
{
    uint8_t data[4096];
    struct pcie_ext_cap_vsc_hdr header = {.hdr = {.id = VNDR, .version = 1}, .id = 0x42, .len = length & 0xfff};

    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)('a' + (i + 26 - 8) % 26);
    }
    memcpy(data, &header, sizeof(header));
    return vfu_pci_add_capability(s->ctx, pos, EXTENDED | flags, data);
}

static struct session *new_device(void)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    use_region(s, CONFIG, PCI_CFG_SPACE_EXP_SIZE, RW);
    return s;
}

/* Serial number, three vendor capabilities (read-only, with callback, plain) and one more far away. */
static struct session *five_capabilities(void)
{
    struct session *s = new_device();

    assert_int_equal(add_serial_number(s, 0), 256);
    assert_int_equal(add_vendor(s, 0, VFU_CAP_FLAG_READONLY, 13), 268);
    assert_int_equal(add_vendor(s, 0, VFU_CAP_FLAG_CALLBACK, 20), 284);
    assert_int_equal(add_vendor(s, 512, 0, 16), 512);
    assert_int_equal(add_vendor(s, 600, 0, 32), 600);
    start(s);
    return s;
}

TEST(conventional_devices_have_none)
{
    static const vfu_pci_type_t types[] = {VFU_PCI_TYPE_CONVENTIONAL, VFU_PCI_TYPE_PCI_X_1};

    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct session *s = new_session();

        assert_int_equal(vfu_pci_init(s->ctx, types[i], PCI_HEADER_TYPE_NORMAL, 0), 0);
        assert_fails(add_serial_number(s, 0), EINVAL);
        if (!on_reference()) { /* which aborts */
            assert_zero_with(vfu_pci_find_capability(s->ctx, true, DSN), ENOENT);
            memset(vfu_pci_get_config_space(s->ctx)->raw + 0x40, 0x77, 8); /* what is there is no link */
            assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 0x40, DSN), ENOENT);
            assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 0x100, DSN), EINVAL);
        }
        end_session(s);
    }
}

TEST(pci_x_2_has_them)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_PCI_X_2, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(add_serial_number(s, 0), 256);
}

TEST(bad_arguments)
{
    struct session *s = new_device();
    uint32_t other[64] = {102};

    assert_fails(vfu_pci_add_capability(s->ctx, 0, EXTENDED, other), ENOTSUP);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, EXTENDED | 999, other), EINVAL);
    assert_fails(add_serial_number(s, 4094), EINVAL);
    assert_fails(add_serial_number(s, 4092), EINVAL);
    assert_fails(add_serial_number(s, 8192), EINVAL);
    assert_fails(add_serial_number(s, 512), EINVAL); /* the first must be at 256 */
    assert_fails(add_serial_number(s, 0xfc), EINVAL);
    assert_fails(add_serial_number(s, 0x40), EINVAL);
    assert_zero_with(vfu_pci_find_capability(s->ctx, true, DSN), ENOENT);
    assert_int_equal(add_serial_number(s, 256), 256);
    assert_fails(add_serial_number(s, 256), EINVAL);
    assert_fails(add_serial_number(s, 264), EINVAL);
    assert_int_equal(add_serial_number(s, 272), 272);
}

TEST(bad_position)
{
    struct session *s;

    NOT_ON_REFERENCE("it aborts at an unaligned position, and pos + size may wrap");
    s = new_device();
    assert_int_equal(add_serial_number(s, 0), 256);
    assert_fails(add_serial_number(s, 513), EINVAL);
    assert_fails(add_serial_number(s, 514), EINVAL);
    assert_fails(add_serial_number(s, SIZE_MAX - 3), EINVAL);
}

TEST(space_runs_out)
{
    struct session *s = new_device();

    assert_int_equal(add_vendor(s, 0, 0, 3000), 256);
    assert_fails(add_vendor(s, 0, 0, 1000), ENOSPC);
    assert_int_equal(add_vendor(s, 0, 0, 700), 3256);
    end_session(s);
    s = new_device();
    for (size_t i = 0; i < 128; i++) {
        assert_int_equal(add_serial_number(s, 0), 256 + 12 * i);
    }
    assert_fails(add_serial_number(s, 0), ENOSPC);
}

TEST(the_list)
{
    static const uint16_t chain[] = {256, 268, 284, 512, 600, 0};
    struct session *s = five_capabilities();

    memcpy(calls.memory + 284, (uint8_t *)vfu_pci_get_config_space(s->ctx) + 284, 20);
    for (size_t i = 0; i < 5; i++) {
        const uint32_t header = (uint32_t)config_get(s, chain[i], 4);

        assert_int_equal(header, (i == 0 ? DSN : VNDR) | 1 << 16 | (uint32_t)chain[i + 1] << 20);
    }
    assert_int_equal(config_get(s, 256 + 4, 8), UINT64_C(0x0506070801020304));
    assert_int_equal(config_get(s, PCI_STATUS, 2), 0); /* that bit is for standard capabilities */
    assert_int_equal(config_get(s, PCI_CAPABILITY_LIST, 1), 0);
}

TEST(searching)
{
    static const uint16_t vendors[] = {268, 284, 512, 600};
    struct session *s = five_capabilities();
    size_t pos = 0;

    assert_int_equal(vfu_pci_find_capability(s->ctx, true, DSN), 256);
    assert_int_equal(vfu_pci_find_capability(s->ctx, true, VNDR), 268);
    for (size_t i = 0; i < ARRAY_LEN(vendors); i++) {
        pos = vfu_pci_find_next_capability(s->ctx, true, pos, VNDR);
        assert_int_equal(pos, vendors[i]);
    }
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, pos, VNDR), ENOENT);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 256, DSN), ENOENT);
    assert_zero_with(vfu_pci_find_capability(s->ctx, true, PCI_EXT_CAP_ID_ERR), ENOENT);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 8192, DSN), EINVAL);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 4096, DSN), EINVAL);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 4095, DSN), EINVAL);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 4092, DSN), EINVAL);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 269, DSN), ENOENT);
    if (!on_reference()) { /* which follows a link of 0 into the standard header */
        assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 4091, DSN), ENOENT);
    }
    assert_zero_with(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_PM), ENOENT);
}

/* The end of the list is not the beginning of config space, whatever ids the device has. */
TEST(searching_from_the_last)
{
    struct session *s;

    NOT_ON_REFERENCE("it takes the standard header for a capability");
    s = five_capabilities();
    vfu_pci_set_id(s->ctx, VNDR, 0x1001, 0, 0);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 600, VNDR), ENOENT);
    vfu_pci_set_id(s->ctx, DSN, 0x1001, 0, 0);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 600, DSN), ENOENT);
}

/* The program may have spoilt the list. */
TEST(links_that_lead_outside)
{
    struct session *s = five_capabilities();
    uint8_t *header = (uint8_t *)vfu_pci_get_config_space(s->ctx) + 256;

    header[3] = 0xff; /* next: 0xffc, the last four bytes */
    header[2] = 0xc1;
    assert_zero_with(vfu_pci_find_capability(s->ctx, true, VNDR), EINVAL);
    assert_zero_with(vfu_pci_find_next_capability(s->ctx, true, 256, VNDR), EINVAL);
    header[2] = 0xf1;
    assert_zero_with(vfu_pci_find_capability(s->ctx, true, VNDR), EINVAL);
}

TEST(list_that_loops)
{
    struct session *s;
    uint8_t *space;

    NOT_ON_REFERENCE("it searches for ever");
    s = five_capabilities();
    space = (uint8_t *)vfu_pci_get_config_space(s->ctx);
    for (unsigned link = 0x100; link <= 600; link += 600 - 0x100) { /* to the first, and to itself */
        space[600 + 2] = (uint8_t)(1 | link << 4);
        space[600 + 3] = (uint8_t)(link >> 4);
        assert_zero_with(vfu_pci_find_capability(s->ctx, true, PCI_EXT_CAP_ID_ERR), ENOENT);
        assert_int_equal(vfu_pci_find_next_capability(s->ctx, true, 600, VNDR), link == 600 ? 600 : 268);
        assert_fails(add_vendor(s, 0, 0, 16), EINVAL); /* there is no last one */
    }
}

/* Where no capability can be a list ends. */
TEST(links_that_lead_too_low)
{
    static const uint8_t header[4] = {VNDR, 0, 0x01, 0x10};
    struct session *s;
    uint8_t *space;

    NOT_ON_REFERENCE("it takes what it finds there for a capability");
    s = five_capabilities();
    space = (uint8_t *)vfu_pci_get_config_space(s->ctx);
    space[PCI_CAPABILITY_LIST] = PCI_INTERRUPT_LINE;
    space[PCI_INTERRUPT_LINE] = PCI_CAP_ID_PM;
    assert_zero_with(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_PM), ENOENT);
    space[PCI_CAPABILITY_LIST] = 0x40;
    space[0x40] = PCI_CAP_ID_PM;
    assert_int_equal(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_PM), 0x40);
    memcpy(space + 0xfc, header, sizeof(header));
    space[256 + 2] = 0xc1; /* next: 0xfc */
    space[256 + 3] = 0x0f;
    assert_zero_with(vfu_pci_find_capability(s->ctx, true, VNDR), ENOENT);
    assert_int_equal(vfu_pci_find_capability(s->ctx, true, DSN), 256);
    assert_fails(add_vendor(s, 0, 0, 16), EINVAL);
}

TEST(headers_are_protected)
{
    struct session *s = five_capabilities();

    for (unsigned i = 0; i < 4; i++) {
        config_put_fails(s, 256 + i, 1, 0x55, EPERM);
    }
    for (unsigned i = 0; i < 8; i++) {
        config_put_fails(s, 268 + i, 1, 0x55, EPERM);
        config_put_fails(s, 512 + i, 1, 0x55, EPERM);
    }
    assert_int_equal(config_get(s, 512, 2), VNDR);
}

TEST(read_only)
{
    struct session *s = five_capabilities();

    config_put_fails(s, 268 + 8, 1, 'x', EPERM);
    config_put_fails(s, 268 + 8, 4, 0, EPERM);
    assert_memory_equal(config_bytes(s, 268 + 8, 5), "abcde", 5);
}

TEST(callback)
{
    struct session *s = five_capabilities();

    memcpy(calls.memory + 284, "12345678ABCDEFGHIJKL", 20);
    assert_memory_equal(config_bytes(s, 284, 20), "12345678ABCDEFGHIJKL", 20);
    config_put(s, 284 + 8, 3, 0x7a7978);
    assert_memory_equal(calls.memory + 284 + 8, "xyz", 3);
    assert_int_equal(calls_of(CALL_REGION), 2);
    assert_int_equal(call(CALL_REGION, 1)->offset, 284 + 8);
    assert_int_equal(call(CALL_REGION, 1)->count, 3);
}

TEST(the_serial_number_is_fixed)
{
    struct session *s = five_capabilities();

    config_put_fails(s, 256 + 4, 8, 0, EPERM);
    config_put_fails(s, 256 + 4, 1, 0, EPERM);
    config_put_fails(s, 256 + 11, 1, 0, EPERM);
    assert_int_equal(config_get(s, 256 + 4, 8), UINT64_C(0x0506070801020304));
}

TEST(vendor)
{
    struct session *s = five_capabilities();

    config_put(s, 512 + 8, 8, UINT64_C(0x4847464544434241));
    assert_memory_equal(config_bytes(s, 512 + 8, 8), "ABCDEFGH", 8);
    config_put(s, 600 + 31, 1, '!');
    assert_memory_equal(config_bytes(s, 600 + 28, 4), "uvw!", 4);
    assert_int_equal(calls_of(CALL_REGION), 0);
}

/* Between capabilities config space is the program's. */
TEST(gaps)
{
    struct session *s = five_capabilities();

    config_put(s, 400, 4, 0x12345678);
    assert_int_equal(call(CALL_REGION, 0)->offset, 400);
    config_put(s, 4092, 4, 1);
    assert_int_equal(call(CALL_REGION, 1)->offset, 4092);
    config_get(s, 508, 8); /* up to the capability, then the capability */
    assert_int_equal(calls_of(CALL_REGION), 3);
    assert_int_equal(call(CALL_REGION, 2)->offset, 508);
    assert_int_equal(call(CALL_REGION, 2)->count, 4);
}

/* Both lists count in an access that goes from the space of one into that of the other. */
TEST(access_over_both_kinds)
{
    struct session *s = new_device();
    uint8_t vendor[12] = {PCI_CAP_ID_VNDR, 0, 12, 'a', 'b', 'c'}, data[0x24];
    const uint8_t *bytes;

    assert_int_equal(add_vendor(s, 0, 0, 16), 256);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0xe8, 0, vendor), 0xe8);
    start(s);
    memset(calls.memory, 0xdd, 0x200);
    bytes = config_bytes(s, 0xe0, 0x40);
    assert_int_equal(bytes[0x07], 0xdd);
    assert_memory_equal(bytes + 0x08, vendor, 1);
    assert_memory_equal(bytes + 0x0b, "abc", 3);
    assert_int_equal(bytes[0x14], 0xdd);
    assert_int_equal(bytes[0x1f], 0xdd);
    assert_int_equal(bytes[0x20], VNDR);
    assert_memory_equal(bytes + 0x28, "abcdefgh", 8);
    assert_int_equal(bytes[0x30], 0xdd);
    assert_int_equal(calls.count, 3);
    assert_int_equal(call(CALL_REGION, 1)->offset, 0xf4);
    assert_int_equal(call(CALL_REGION, 1)->count, 12);
    memset(data, 'z', sizeof(data));
    region_write_fails(s, CONFIG, 0xeb, data, sizeof(data), EPERM); /* the second one's header */
    assert_memory_equal((uint8_t *)vfu_pci_get_config_space(s->ctx) + 0xeb, "zzzzzzzzz", 9);
    assert_memory_equal(calls.memory + 0xf4, "zzzzzzzzzzzz", 12);
    assert_memory_equal(config_bytes(s, 0x108, 8), "abcdefgh", 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(conventional_devices_have_none),
        CASE(pci_x_2_has_them),
        CASE(bad_arguments),
        CASE(bad_position),
        CASE(space_runs_out),
        CASE(the_list),
        CASE(searching),
        CASE(searching_from_the_last),
        CASE(links_that_lead_outside),
        CASE(list_that_loops),
        CASE(links_that_lead_too_low),
        CASE(headers_are_protected),
        CASE(read_only),
        CASE(callback),
        CASE(the_serial_number_is_fixed),
        CASE(vendor),
        CASE(gaps),
        CASE(access_over_both_kinds),
    };
    return RUN(tests);
}
