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
        .hdr = {.id = PCI_EXT_CAP_ID_VNDR, .version = 0xf, .next = 0xabc}, .len = length & 0xfff};

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
        assert_int_equal(config_get(s, extended[i], 4),
                         PCI_EXT_CAP_ID_VNDR | 0xf << 16 | (uint32_t)extended[i + 1] << 20);
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

/* It is the last of the list that counts, not the one at the highest address. */
TEST(automatic_places_follow_the_list)
{
    struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);

    assert_int_equal(add_vendor(s, 0x80, 8), 0x80);
    assert_int_equal(add_vendor(s, 0x40, 6), 0x40);
    assert_int_equal(add_vendor(s, 0, 8), 0x48);
    assert_int_equal(add_vendor(s, 0, 8), 0x50);
    assert_int_equal(add_extended(s, 0, 12), 0x100);
    assert_int_equal(add_extended(s, 0x200, 12), 0x200);
    assert_int_equal(add_extended(s, 0x140, 13), 0x140);
    assert_int_equal(add_extended(s, 0, 12), 0x150);
}

/* Unlike chosen places they may reach up to the very end. */
TEST(automatic_places_at_the_end)
{
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    assert_int_equal(add_vendor(s, 0, 0xb0), 0x40);
    assert_fails(add_vendor(s, 0, 0x11), ENOSPC);
    assert_int_equal(add_vendor(s, 0, 0x10), 0xf0);
    assert_fails(add_vendor(s, 0, 3), ENOSPC);
    end_session(s);
    s = new_device(VFU_PCI_TYPE_EXPRESS);
    assert_int_equal(add_extended(s, 0, 0xef0), 0x100);
    assert_fails(add_extended(s, 0, 0x11), ENOSPC);
    assert_int_equal(add_extended(s, 0, 0x10), 0xff0);
    assert_fails(add_extended(s, 0, 8), ENOSPC);
}

/* Each kind has its size, behind which the next one may begin. */
TEST(sizes_of_kinds)
{
    static const struct {
        uint8_t id, size;
    } kinds[] = {{PCI_CAP_ID_PM, 8}, {PCI_CAP_ID_MSI, 24}, {PCI_CAP_ID_VNDR, 21}, {PCI_CAP_ID_EXP, 60},
                 {PCI_CAP_ID_MSIX, 12}};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);
        uint8_t data[64] = {kinds[i].id, 0, 21};

        assert_int_equal(vfu_pci_add_capability(s->ctx, 0x44, 0, data), 0x44);
        assert_fails(add_vendor(s, 0x44u + kinds[i].size - 1, 4), EINVAL);
        assert_int_equal(add_vendor(s, 0x44u + kinds[i].size, 4), 0x44 + kinds[i].size);
        end_session(s);
    }
}

TEST(kinds_that_are_unknown)
{
    static const uint8_t standard[] = {PCI_CAP_ID_PM, PCI_CAP_ID_MSI, PCI_CAP_ID_VNDR, PCI_CAP_ID_EXP, PCI_CAP_ID_MSIX};
    struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);

    for (unsigned id = 0; id <= 0xffff; id++) {
        uint8_t data[64] = {(uint8_t)id, (uint8_t)(id >> 8), 12, 0, 0, 0, 0, 1};

        if (id <= 0xff && memchr(standard, (int)id, sizeof(standard)) == NULL) {
            assert_fails(vfu_pci_add_capability(s->ctx, 0, 0, data), ENOTSUP);
        }
        if (id != PCI_EXT_CAP_ID_DSN && id != PCI_EXT_CAP_ID_VNDR) {
            assert_fails(vfu_pci_add_capability(s->ctx, 0, EXTENDED, data), ENOTSUP);
        }
    }
}

/* The program may have written the first one itself; without an id there is none, whatever else is there. */
TEST(first_extended_one_without_an_id)
{
    struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);
    uint32_t *first = (uint32_t *)(vfu_pci_get_config_space(s->ctx)->raw + 0x100);

    *first = 0x1407u << 16; /* next: 0x140 */
    assert_zero_with(vfu_pci_find_capability(s->ctx, true, 0), ENOENT);
    assert_fails(add_extended(s, 0x140, 12), EINVAL); /* the first must be at 0x100 */
    assert_int_equal(add_extended(s, 0, 12), 0x100);
    assert_int_equal(*first, 0xf << 16 | PCI_EXT_CAP_ID_VNDR);
    assert_int_equal(add_extended(s, 0, 12), 0x10c);
    end_session(s);
    s = new_device(VFU_PCI_TYPE_EXPRESS);
    first = (uint32_t *)(vfu_pci_get_config_space(s->ctx)->raw + 0x100);
    *first = 1 << 16 | PCI_EXT_CAP_ID_DSN;
    assert_int_equal(vfu_pci_find_capability(s->ctx, true, PCI_EXT_CAP_ID_DSN), 0x100);
    assert_int_equal(add_extended(s, 0, 12), 0x10c);
    assert_int_equal(*first, 0x10c1u << 16 | PCI_EXT_CAP_ID_DSN);
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
        CASE(automatic_places_follow_the_list),
        CASE(automatic_places_at_the_end),
        CASE(sizes_of_kinds),
        CASE(kinds_that_are_unknown),
        CASE(first_extended_one_without_an_id),
        CASE(lengths_that_are_none),
    };
    return RUN(tests);
}
