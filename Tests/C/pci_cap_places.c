/* Where capabilities go, and in which order their lists run. */
#include "support.h"

#define VNDR PCI_CAP_ID_VNDR
#define EXTENDED VFU_CAP_FLAG_EXTENDED

static struct session *new_device(vfu_pci_type_t type)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, type, PCI_HEADER_TYPE_NORMAL, 0), 0);
    return s;
}

static ssize_t add_vendor(struct session *s, size_t pos, uint8_t size)
{
    uint8_t data[256] = {VNDR, 0xee, size};

    return vfu_pci_add_capability(s->ctx, pos, 0, data);
}

static ssize_t add_extended(struct session *s, size_t pos, unsigned length)
{
    uint8_t data[4096] = {0};
    struct pcie_ext_cap_vsc_hdr header = {
        .hdr = {.id = PCI_EXT_CAP_ID_VNDR, .version = 7, .next = 0xabc}, .len = length & 0xfff};

    memcpy(data, &header, sizeof(header));
    return vfu_pci_add_capability(s->ctx, pos, EXTENDED, data);
}

TEST(chosen_places)
{
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    assert_fails(add_vendor(s, 1, 4), EINVAL);
    assert_fails(add_vendor(s, 0x3f, 4), EINVAL);
    assert_int_equal(add_vendor(s, 0x51, 5), 0x51); /* nothing needs to be aligned */
    assert_fails(add_vendor(s, 0x4d, 4), EINVAL);   /* to end where another begins is too near */
    assert_fails(add_vendor(s, 0x55, 4), EINVAL);
    assert_int_equal(add_vendor(s, 0x56, 3), 0x56);
    assert_int_equal(add_vendor(s, 0, 4), 0x5c); /* behind the last one */
    assert_fails(add_vendor(s, 0xfc, 4), EINVAL); /* nor may the end be that of config space */
    assert_fails(add_vendor(s, 0xff, 3), EINVAL);
    assert_int_equal(add_vendor(s, 0xfb, 4), 0xfb);
}

TEST(chosen_places_of_extended_ones)
{
    struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);

    assert_fails(add_extended(s, 0xfc, 12), EINVAL);
    assert_fails(add_extended(s, 0x104, 12), EINVAL); /* the first must be at 0x100 */
    assert_int_equal(add_extended(s, 0x100, 12), 0x100);
    assert_fails(add_extended(s, 0xfc, 12), EINVAL);
    assert_fails(add_extended(s, 0x108, 12), EINVAL);
    assert_int_equal(add_extended(s, 0x200, 12), 0x200);
    assert_fails(add_extended(s, 0x1f4, 12), EINVAL); /* to end where another begins is too near */
    assert_int_equal(add_extended(s, 0x1f0, 12), 0x1f0);
    assert_int_equal(add_extended(s, 0x10c, 9), 0x10c);
    assert_int_equal(add_extended(s, 0, 12), 0x118); /* behind the last one, at a multiple of 4 */
    assert_fails(add_extended(s, 4084, 12), EINVAL);
    assert_fails(add_extended(s, 4095, 12), EINVAL);
    assert_int_equal(add_extended(s, 4080, 12), 4080);
}

/* Lists run in the order of adding, wherever their members are. */
TEST(lists_run_in_order_of_adding)
{
    static const uint16_t standard[] = {0x80, 0x40, 0xc0, 0}, extended[] = {0x100, 0x300, 0x200, 0};
    struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);

    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(add_vendor(s, standard[i], 8), standard[i]);
        assert_int_equal(add_extended(s, extended[i], 16), extended[i]);
    }
    start(s);
    assert_int_equal(config_get(s, PCI_CAPABILITY_LIST, 1), standard[0]);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(config_get(s, standard[i] + 1, 1), standard[i + 1]);
        assert_int_equal(config_get(s, extended[i], 4), PCI_EXT_CAP_ID_VNDR | 7 << 16 | (uint32_t)extended[i + 1] << 20);
    }
}

/* Behind the last of the list there may be others, which were put there before. */
TEST(automatic_places_avoid_others)
{
    struct session *s;

    NOT_ON_REFERENCE("they may overlap");
    s = new_device(VFU_PCI_TYPE_EXPRESS);
    assert_int_equal(add_vendor(s, 0x60, 8), 0x60);
    assert_int_equal(add_vendor(s, 0x40, 8), 0x40);
    assert_int_equal(add_vendor(s, 0, 0x20), 0x68);
    assert_int_equal(add_extended(s, 0, 12), 0x100);
    assert_int_equal(add_extended(s, 0x140, 12), 0x140);
    assert_int_equal(add_extended(s, 0x110, 12), 0x110);
    assert_int_equal(add_extended(s, 0, 0x40), 0x14c);
}

/* Lengths that do not even cover the header. */
TEST(lengths_that_are_none)
{
    struct session *s;

    NOT_ON_REFERENCE("they are taken as they are");
    s = new_device(VFU_PCI_TYPE_EXPRESS);
    for (uint8_t size = 0; size < 3; size++) {
        assert_fails(add_vendor(s, 0, size), EINVAL);
        assert_fails(add_vendor(s, 0x80, size), EINVAL);
    }
    for (unsigned length = 0; length < 8; length++) {
        assert_fails(add_extended(s, 0, length), EINVAL);
    }
    assert_int_equal(add_vendor(s, 0, 3), 0x40);
    assert_int_equal(add_extended(s, 0, 8), 0x100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(chosen_places),
        CASE(chosen_places_of_extended_ones),
        CASE(lists_run_in_order_of_adding),
        CASE(automatic_places_avoid_others),
        CASE(lengths_that_are_none),
    };
    return RUN(tests);
}
