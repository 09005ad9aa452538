/* What client writes do to each kind of standard PCI capability. */
#include "support.h"

#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX

static struct session *new_device(void)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0), 0);
    return s;
}

static ssize_t add(struct session *s, size_t pos, void *data)
{
    return vfu_pci_add_capability(s->ctx, pos, 0, data);
}

static struct session *with_capability(void *data)
{
    struct session *s = new_device();

    assert_int_equal(add(s, 0, data), 0x40);
    start(s);
    return s;
}

TEST(power_management)
{
    struct pmcap cap = {.hdr.id = PCI_CAP_ID_PM, .pc.vs = 3};
    struct session *s = with_capability(&cap);

    config_put_fails(s, 0x43, 2, 0, EINVAL);
    config_put_fails(s, 0x42, 1, 0, EINVAL);
    config_put_fails(s, 0x45, 2, 0, EINVAL);
    config_put_fails(s, 0x45, 1, 0, EINVAL);
    config_put_fails(s, 0x44, 1, 0, EINVAL);
    config_put_fails(s, 0x44, 4, 0, EINVAL);
    config_put_fails(s, 0x46, 2, 0, EINVAL);
    config_put_fails(s, 0x42, 2, 0, ENOTSUP);
    config_put_fails(s, 0x46, 1, 0, ENOTSUP);
    config_put_fails(s, 0x47, 1, 0, ENOTSUP);
    config_put(s, 0x44, 2, 0xffff);
    assert_int_equal(config_get(s, 0x44, 2), 0xffff);
    config_put(s, 0x44, 2, 0x0003);
    assert_int_equal(config_get(s, 0x44, 2), 0x0003);
    assert_int_equal(config_get(s, 0x42, 2), 3);
}

TEST(msi)
{
    struct msicap msi = {.hdr.id = PCI_CAP_ID_MSI, .mc = {.mmc = 4}};
    struct session *s = with_capability(&msi);
    const uint64_t control = 0x42;
    uint8_t zeros[22] = {0};

    config_put_fails(s, control, 2, 0xffff, EINVAL);
    assert_int_equal(config_get(s, control, 2), 4 << 1 | 1); /* enable is stored first */
    config_put_fails(s, control, 2, 5 << 4, EINVAL); /* 32 vectors of 16 */
    assert_int_equal(config_get(s, control, 2), 4 << 1);
    config_put(s, control, 2, 4 << 4 | 1);
    assert_int_equal(config_get(s, control, 2), 4 << 4 | 4 << 1 | 1);
    config_put(s, control, 2, 0);
    assert_int_equal(config_get(s, control, 2), 4 << 1);
    config_put(s, control, 2, 0xff80 | 1); /* read-only and reserved bits */
    assert_int_equal(config_get(s, control, 2), 4 << 1 | 1);
    config_put(s, control, 1, 0x30);
    assert_int_equal(config_get(s, control, 2), 0x30 | 4 << 1);

    config_put(s, 0x44, 4, 0xfee00fff);
    assert_int_equal(config_get(s, 0x44, 4), 0xfee00ffc);
    config_put(s, 0x48, 4, 0x12345678);
    assert_int_equal(config_get(s, 0x48, 4), 0x12345678);
    config_put(s, 0x4c, 4, 0xffff4321);
    assert_int_equal(config_get(s, 0x4c, 4), 0x4321);
    config_put(s, 0x50, 8, UINT64_C(0xffffffff89abcdef));
    assert_int_equal(config_get(s, 0x50, 8), 0x89abcdef);
    config_put(s, 0x49, 1, 0); /* any length, anywhere */
    assert_int_equal(config_get(s, 0x48, 4), 0x12340078);

    region_write(s, CONFIG, control, zeros, sizeof(zeros));
    assert_int_equal(config_get(s, control, 2), 4 << 1);
    assert_memory_equal(config_bytes(s, 0x44, 20), zeros, 20);
}

/* There are never more than 32 vectors, whatever the capability claims. */
TEST(msi_capable_of_too_much)
{
    struct msicap msi = {.hdr.id = PCI_CAP_ID_MSI, .mc = {.mmc = 7}};
    struct session *s = with_capability(&msi);

    config_put_fails(s, 0x42, 2, 6 << 4, EINVAL);
    config_put_fails(s, 0x42, 1, 7 << 4, EINVAL);
    config_put(s, 0x42, 2, 5 << 4);
    assert_int_equal(config_get(s, 0x42, 2), 5 << 4 | 7 << 1);
}

TEST(msi_write_past_the_end)
{
    struct msicap msi = {.hdr.id = PCI_CAP_ID_MSI, .mc = {.mmc = 4}};
    uint8_t data[64];
    struct session *s;

    NOT_ON_REFERENCE("it overruns a buffer on the stack");
    s = with_capability(&msi);
    memset(data, 0, sizeof(data));
    data[2] = 0x18;
    region_write_fails(s, CONFIG, 0x42, data, 60, EINVAL); /* the rest is nobody's */
    assert_int_equal(config_get(s, 0x44, 1), 0x18);
    assert_int_equal(config_get(s, 0x58, 8), 0);
}

TEST(msix)
{
    struct msixcap msix = {.hdr.id = PCI_CAP_ID_MSIX, .mxc.ts = 0x7f, .mtab.to = 0x1000 >> 3, .mpba.pbao = 0x2000 >> 3};
    struct session *s = with_capability(&msix);
    const uint64_t control = 0x42, table = config_get(s, 0x44, 8);

    assert_int_equal(config_get(s, control, 2), 0x7f);
    config_put(s, control, 2, 0xffff);
    assert_int_equal(config_get(s, control, 2), 0xc07f);
    config_put(s, control, 2, 0);
    assert_int_equal(config_get(s, control, 2), 0x7f);
    config_put(s, control + 1, 2, 0xff80); /* starts in the middle and runs into the table register */
    assert_int_equal(config_get(s, control, 2), 0x807f);
    assert_int_equal(config_get(s, 0x44, 8), table);
    config_put(s, 0x44, 1, 0xff);
    config_put(s, 0x44, 8, 0);
    assert_int_equal(config_get(s, 0x44, 8), table);
    assert_int_equal(config_get(s, control, 2), 0x807f);
    config_put(s, control, 8, 0x4000);
    assert_int_equal(config_get(s, control, 2), 0x407f);
}

TEST(msix_write_past_the_end)
{
    struct msixcap msix = {.hdr.id = PCI_CAP_ID_MSIX, .mxc.ts = 0x7f};
    uint8_t data[64] = {0};
    struct session *s;

    NOT_ON_REFERENCE("it overruns a buffer on the stack");
    s = with_capability(&msix);
    data[1] = 0xc0;
    region_write_fails(s, CONFIG, 0x42, data, 64, EINVAL);
    assert_int_equal(config_get(s, 0x42, 2), 0xc07f);
}

static struct session *express(bool flr)
{
    struct session *s = new_device();
    struct pxcap cap = {.hdr.id = PCI_CAP_ID_EXP, .pxcaps.ver = 2, .pxdcap = {.flrc = flr}};

    use_quiesce_and_reset(s);
    start(s);
    assert_int_equal(add(s, 0, &cap), 0x40); /* it may come after realize and a client */
    return s;
}

TEST(express_registers)
{
    static const struct {
        uint8_t offset;
        bool stored;
    } registers[] = {{0x10, false}, {0x18, false}, {0x1c, false}, {0x28, true}, {0x30, true}, {0x38, false}};
    static const uint16_t values[] = {0xadde, 0xefbe, 0xffff, 0};
    struct session *s = express(false);

    for (size_t i = 0; i < ARRAY_LEN(registers); i++) {
        for (size_t v = 0; v < ARRAY_LEN(values); v++) {
            config_put(s, 0x40 + registers[i].offset, 2, values[v]);
            assert_int_equal(config_get(s, 0x40 + registers[i].offset, 2), registers[i].stored ? values[v] : 0);
        }
        config_put_fails(s, 0x40 + registers[i].offset, 1, 0, EINVAL);
        config_put_fails(s, 0x40 + registers[i].offset, 4, 0, EINVAL);
    }
    for (unsigned offset = 2; offset < 0x3c; offset++) {
        bool known = offset == 8;

        for (size_t i = 0; i < ARRAY_LEN(registers); i++) {
            known = known || registers[i].offset == offset;
        }
        if (!known && offset + 2 <= 0x3c) {
            config_put_fails(s, 0x40 + offset, 2, 0, EINVAL);
        }
    }
    config_put_fails(s, 0x40, 2, 0, EPERM);
}

TEST(express_device_control)
{
    struct session *s = express(false);

    config_put(s, 0x48, 2, 0x7fff);
    assert_int_equal(config_get(s, 0x48, 2), 0x7fff);
    config_put(s, 0x48, 2, 0x0010);
    assert_int_equal(config_get(s, 0x48, 2), 0x0010);
    config_put_fails(s, 0x48, 2, 0x8020, EINVAL); /* no function-level reset here */
    assert_int_equal(config_get(s, 0x48, 2), 0x0020);
    config_put_fails(s, 0x48, 1, 0x10, EINVAL);
    config_put_fails(s, 0x48, 4, 0x10, EINVAL);
    assert_int_equal(config_get(s, 0x48, 2), 0x0020);
    /* It is this bit of Device Capabilities that offers one, as it is at that time. */
    memset(vfu_pci_get_config_space(s->ctx)->raw + 0x44, 0xff, 4);
    vfu_pci_get_config_space(s->ctx)->raw[0x47] = 0xef;
    config_put_fails(s, 0x48, 2, 0x8000, EINVAL);
    assert_int_equal(calls_of(CALL_RESET), 0);
    memset(vfu_pci_get_config_space(s->ctx)->raw + 0x44, 0, 4);
    vfu_pci_get_config_space(s->ctx)->raw[0x47] = 0x10;
    config_put(s, 0x48, 2, 0x8000);
    assert_int_equal(calls_of(CALL_RESET), 1);
}

TEST(function_level_reset)
{
    struct session *s = express(true);
    uint8_t body[18];
    struct vfio_user_region_access access = {.region = CONFIG};

    config_put(s, 0x48, 2, 0x8000);
    assert_int_equal(calls_of(CALL_QUIESCE), 1);
    assert_int_equal(calls_of(CALL_RESET), 1);
    assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_PCI_FLR);
    assert_int_equal(config_get(s, 0x48, 2), 0);

    /* Two bytes of data and another count. */
    memset(body, 0, sizeof(body));
    for (unsigned i = 0; i < 2; i++) {
        access.offset = i == 0 ? 0x47 : 0x49;
        access.count = i == 0 ? 1 : 3;
        memcpy(body, &access, sizeof(access));
        request_fails(s, VFIO_USER_REGION_WRITE, body, sizeof(body), EINVAL);
    }
    assert_int_equal(calls_of(CALL_RESET), 1);
}

/* Writes to Device Control that the capability's flags keep from it: no reset, but quiesced all the same. */
TEST(express_with_flags)
{
    static const int flags[] = {VFU_CAP_FLAG_READONLY, VFU_CAP_FLAG_CALLBACK};
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_REGION};

    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        struct session *s = new_device();
        struct pxcap cap = {.hdr.id = PCI_CAP_ID_EXP, .pxcaps.ver = 2, .pxdcap = {.flrc = 1}};

        use_region(s, CONFIG, 256, VFU_REGION_FLAG_RW);
        assert_int_equal(vfu_pci_add_capability(s->ctx, 0, flags[i], &cap), 0x40);
        use_quiesce_and_reset(s);
        start(s);
        if (flags[i] == VFU_CAP_FLAG_READONLY) {
            config_put_fails(s, 0x48, 2, 0x8000, EPERM);
        } else {
            config_put(s, 0x48, 2, 0x8000);
        }
        assert_sequence(expected, flags[i] == VFU_CAP_FLAG_READONLY ? 1 : 2);
        end_session(s);
        clear_calls();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(power_management),
        CASE(msi),
        CASE(msi_capable_of_too_much),
        CASE(msi_write_past_the_end),
        CASE(msix),
        CASE(msix_write_past_the_end),
        CASE(express_registers),
        CASE(express_device_control),
        CASE(function_level_reset),
        CASE(express_with_flags),
    };
    return RUN(tests);
}
