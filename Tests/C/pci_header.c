/* Config space outside capabilities: creation, the standard header, BAR sizing, the device's own part. */
#include "support.h"

#define RW VFU_REGION_FLAG_RW
#define MEM VFU_REGION_FLAG_MEM
#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX

static struct session *new_device(vfu_pci_type_t type)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, type, PCI_HEADER_TYPE_NORMAL, 0), 0);
    return s;
}

static struct session *conventional(void)
{
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    start(s);
    return s;
}

TEST(bad_init)
{
    struct session *s = new_session();

    assert_null(vfu_pci_get_config_space(s->ctx));
    assert_fails(vfu_pci_init(s->ctx, (vfu_pci_type_t)4, PCI_HEADER_TYPE_NORMAL, 0), EINVAL);
    assert_fails(vfu_pci_init(s->ctx, (vfu_pci_type_t)-1, PCI_HEADER_TYPE_NORMAL, 0), EINVAL);
    assert_fails(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_BRIDGE, 0), EINVAL);
    assert_null(vfu_pci_get_config_space(s->ctx));
    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_fails(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), EEXIST);
    assert_fails(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_BRIDGE, 0), EINVAL);
    end_session(s);
    s = new_session();
    realize(s);
    assert_non_null(vfu_pci_get_config_space(s->ctx));
    assert_fails(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), EEXIST);
}

TEST(ids_and_class)
{
    struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);
    vfu_pci_config_space_t *space = vfu_pci_get_config_space(s->ctx);
    uint8_t expected[64] = {0};

    assert_non_null(space);
    vfu_pci_set_id(s->ctx, 0x1234, 0x5678, 0x9abc, 0xdef0);
    vfu_pci_set_class(s->ctx, 0x01, 0x08, 0x02);
    start(s);
    assert_ptr_equal(vfu_pci_get_config_space(s->ctx), space);
    memcpy(expected, "\x34\x12\x78\x56", 4);
    memcpy(expected + 9, "\x02\x08\x01", 3);
    memcpy(expected + 0x2c, "\xbc\x9a\xf0\xde", 4);
    assert_memory_equal(config_bytes(s, 0, 0x10), expected, 0x10);
    assert_memory_equal(config_bytes(s, 0x28, 0x18), expected + 0x28, 0x18);
    assert_memory_equal(space->raw, expected, 0x10);
    vfu_pci_set_class(s->ctx, 0xff, 0xee, 0xdd); /* at any time */
    assert_int_equal(config_get(s, 9, 3), 0xffeedd);
    assert_int_equal(config_get(s, 0x3d, 1), 0); /* no interrupt pin */
}

/* The program owns the memory; clients see what it writes. */
TEST(program_writes)
{
    struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);
    vfu_pci_config_space_t *space = vfu_pci_get_config_space(s->ctx);

    start(s);
    space->hdr.rid = 0x77;
    space->raw[0x80] = 0x12;
    ((uint8_t *)space)[4095] = 0x34;
    assert_int_equal(config_get(s, 8, 1), 0x77);
    assert_int_equal(config_get(s, 0x80, 1), 0x12);
    assert_int_equal(config_get(s, 4095, 1), 0x34);
    region_read_fails(s, CONFIG, 4095, 2, EINVAL);
    region_read_fails(s, CONFIG, 4096, 1, EINVAL);
    assert_int_equal(config_bytes(s, 0, 4096)[4095], 0x34);
}

TEST(conventional_space_is_256_bytes)
{
    struct session *s = conventional();

    config_bytes(s, 0, 256);
    region_read_fails(s, CONFIG, 0, 257, EINVAL);
    region_read_fails(s, CONFIG, 255, 2, EINVAL);
}

/* Revision and type of header are the program's to write; a revision given to vfu_pci_init means nothing. */
TEST(revision_and_header_type)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0x42), 0);
    start(s);
    assert_int_equal(config_get(s, 0x08, 1), 0);
    assert_int_equal(config_get(s, 0x0e, 1), 0);
    config_put_fails(s, 0x0e, 1, 0x80, EINVAL);
    assert_int_equal(config_get(s, 0x0e, 1), 0);
}

TEST(interrupt_pin)
{
    static const uint32_t counts[] = {0, 1, 4};

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

        assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_INTX_IRQ, counts[i]), 0);
        assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 2), 0); /* which has no pin */
        start(s);
        assert_int_equal(config_get(s, 0x3d, 1), counts[i] != 0);
        end_session(s);
    }
}

static bool contains(const uint8_t *list, size_t n, unsigned value)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == value) {
            return true;
        }
    }
    return false;
}

/* Where a write of 1, 2 or 4 zero bytes may start; it may start nowhere else. */
TEST(where_writes_may_start)
{
    static const uint8_t one[] = {0x04, 0x06, 0x08, 0x09, 0x0c, 0x0d, 0x10, 0x14, 0x18, 0x1c,
                                  0x20, 0x24, 0x30, 0x3c, 0x3d, 0x3e, 0x3f};
    static const uint8_t two[] = {0x04, 0x06, 0x08, 0x09, 0x0c, 0x10, 0x14, 0x18,
                                  0x1c, 0x20, 0x24, 0x30, 0x3c, 0x3d, 0x3e};
    static const uint8_t four[] = {0x04, 0x06, 0x08, 0x09, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x30, 0x3c};
    struct session *s = conventional();

    for (unsigned offset = 0; offset < 0x40; offset++) {
        const bool in_part = offset == 4 || (offset >= 0x10 && offset <= 0x24) || offset == 0x30;

        /* The reference reads beyond the request if only a part of such a register is written. */
        if (!in_part || !on_reference()) {
            if (contains(one, sizeof(one), offset)) {
                config_put(s, offset, 1, 0);
            } else {
                config_put_fails(s, offset, 1, 0, EINVAL);
            }
        }
        if (!in_part || offset == 4 || !on_reference()) {
            if (contains(two, sizeof(two), offset)) {
                config_put(s, offset, 2, 0);
            } else {
                config_put_fails(s, offset, 2, 0, EINVAL);
            }
        }
        if (contains(four, sizeof(four), offset)) {
            config_put(s, offset, 4, 0);
        } else {
            config_put_fails(s, offset, 4, 0, EINVAL);
        }
    }
}

TEST(registers_that_are_stored)
{
    static const uint8_t offsets[] = {0x0c, 0x0d, 0x3c};
    struct session *s = conventional();

    for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
        config_put(s, offsets[i], 1, 0xa5);
        assert_int_equal(config_get(s, offsets[i], 1), 0xa5);
        config_put(s, offsets[i], 1, 0);
        assert_int_equal(config_get(s, offsets[i], 1), 0);
    }
}

TEST(registers_that_are_ignored)
{
    static const struct {
        uint8_t offset, size;
    } registers[] = {{0x06, 2}, {0x08, 1}, {0x09, 3}, {0x3d, 1}, {0x3e, 1}, {0x3f, 1}};
    struct session *s = new_device(VFU_PCI_TYPE_CONVENTIONAL);

    vfu_pci_get_config_space(s->ctx)->hdr.sts.raw = 0xf900;
    start(s);
    for (size_t i = 0; i < ARRAY_LEN(registers); i++) {
        const uint64_t before = config_get(s, registers[i].offset, registers[i].size);

        config_put(s, registers[i].offset, registers[i].size, 0xffffff);
        assert_int_equal(config_get(s, registers[i].offset, registers[i].size), before);
    }
}

/* A write over several registers is a write to each of them; those done before an error stay done. */
TEST(writes_over_several_registers)
{
    struct session *s = conventional();

    config_put(s, 0x04, 4, 0xffff0007);
    assert_int_equal(config_get(s, 0x04, 4), 7);
    config_put(s, 0x3c, 4, 0xffffff5a);
    assert_int_equal(config_get(s, 0x3c, 4), 0x5a);
    config_put_fails(s, 0x0c, 4, 0x00002211, EINVAL);
    assert_int_equal(config_get(s, 0x0c, 4), 0x2211);
    config_put(s, 0x04, 8, 3); /* command, status, revision, class */
    assert_int_equal(config_get(s, 0x04, 8), 3);
    config_put(s, 0x09, 5, UINT64_C(0x6677ffffff)); /* class, cache line size, latency timer */
    assert_int_equal(config_get(s, 0x08, 8), UINT64_C(0x667700000000));
    region_write_fails(s, CONFIG, 0x3f, "\0\0", 2, EINVAL); /* into space that is nobody's */
}

TEST(command_register)
{
    static const uint16_t stored[] = {0x1, 0x2, 0x4, 0x10, 0x100, 0x400, 0x517};
    static const uint16_t refused[] = {0x8, 0x40, 0x80, 0x200, 0x800, 0x1000, 0x2000, 0x4000, 0x8000};
    struct session *s = conventional();

    for (size_t i = 0; i < ARRAY_LEN(stored); i++) {
        config_put(s, 4, 2, stored[i]);
        assert_int_equal(config_get(s, 4, 2), stored[i]);
        config_put(s, 4, 2, 0);
        assert_int_equal(config_get(s, 4, 2), 0);
    }
    config_put(s, 4, 2, 0x20); /* accepted without effect */
    assert_int_equal(config_get(s, 4, 2), 0);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        config_put_fails(s, 4, 2, refused[i], EINVAL);
        assert_int_equal(config_get(s, 4, 2), 0);
    }
    config_put(s, 4, 2, 0x410);
    config_put_fails(s, 4, 2, 0x547, EINVAL);
    assert_int_equal(config_get(s, 4, 2), 0x507); /* the known bits took effect, those that are 0, too */
}

/* One byte of the command register leaves no trace of what happens to lie behind it in memory. */
TEST(writes_of_a_part)
{
    struct session *s;
    uint8_t body[64];
    struct vfio_user_region_access access = {.region = CONFIG, .count = 1};

    NOT_ON_REFERENCE("it reads beyond the data of the request");
    s = new_device(VFU_PCI_TYPE_CONVENTIONAL);
    use_region(s, 0, 0x10000, RW | MEM);
    start(s);
    /* The previous message leaves ones in whatever buffer it was received into. */
    memset(body, 0xff, sizeof(body));
    request_fails(s, 999, body, sizeof(body), EINVAL);
    access.offset = 4;
    memcpy(body, &access, sizeof(access));
    body[16] = 0x07;
    request(s, VFIO_USER_REGION_WRITE, body, 17);
    assert_int_equal(config_get(s, 4, 2), 0x07);
    memset(body, 0xff, sizeof(body));
    request_fails(s, 999, body, sizeof(body), EINVAL);
    access.offset = 0x10;
    memcpy(body, &access, sizeof(access));
    body[16] = 0;
    request(s, VFIO_USER_REGION_WRITE, body, 17);
    assert_int_equal(config_get(s, 0x10, 4), 0);
}

TEST(device_space_without_callback)
{
    struct session *s = conventional();

    vfu_pci_get_config_space(s->ctx)->raw[0x99] = 0x42;
    assert_int_equal(config_get(s, 0x98, 4), 0x4200);
    config_put_fails(s, 0x98, 4, 0, EINVAL);
    config_put_fails(s, 0x40, 1, 0, EINVAL);
    config_put_fails(s, 0xff, 1, 0, EINVAL);
    assert_int_equal(config_get(s, 0x98, 4), 0x4200);
}

static struct session *with_callback(void)
{
    struct session *s = new_device(VFU_PCI_TYPE_EXPRESS);

    use_region(s, CONFIG, 4096, RW);
    start(s);
    return s;
}

TEST(device_space_with_callback)
{
    struct session *s = with_callback();
    const uint8_t *bytes;

    config_put(s, 0x98, 4, 0x11223344);
    assert_int_equal(call(CALL_REGION, 0)->offset, 0x98);
    assert_int_equal(call(CALL_REGION, 0)->count, 4);
    assert_int_equal(config_get(s, 0x98, 4), 0x11223344);
    config_put(s, 0xfff, 1, 0x77);
    assert_int_equal(calls_of(CALL_REGION), 3);
    calls.behave[CALL_REGION].error = EDOM;
    config_put_fails(s, 0x98, 4, 0, EDOM);
    region_read_fails(s, CONFIG, 0x98, 4, EDOM);
    config_put_fails(s, 0x3c, 8, 0x34, EDOM); /* the register before it stays written */
    assert_int_equal(config_get(s, 0x3c, 4), 0x34);
    calls.behave[CALL_REGION].error = 0;
    clear_calls();

    /* The header stays with the library. */
    config_get(s, 0x3c, 4);
    assert_int_equal(calls_of(CALL_REGION), 0);
    calls.memory[0x40] = 0xaa;
    calls.memory[0x3f] = 0xbb;
    bytes = config_bytes(s, 0, 0x48);
    assert_int_equal(bytes[0x3f], 0);
    assert_int_equal(bytes[0x40], 0xaa);
    assert_int_equal(call(CALL_REGION, 0)->offset, 0x40);
    assert_int_equal(call(CALL_REGION, 0)->count, 8);
    config_put(s, 0x3c, 8, UINT64_C(0x8877665500000012));
    assert_int_equal(config_get(s, 0x3c, 1), 0x12);
    assert_memory_equal(calls.memory + 0x40, "\x55\x66\x77\x88", 4);
}

/* A callback that does less than asked is called again for the rest. */
TEST(device_space_in_pieces)
{
    struct session *s = with_callback();
    uint8_t data[10] = "0123456789";

    for (size_t i = 0; i < sizeof(data); i++) {
        calls.memory[0x80 + i] = (uint8_t)('a' + i);
    }
    calls.behave[CALL_REGION] = (struct behaviour){.override = true, .result = 2};
    assert_memory_equal(config_bytes(s, 0x80, 10), "abcdefghij", 10);
    assert_int_equal(calls_of(CALL_REGION), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(call(CALL_REGION, i)->offset, 0x80 + 2 * i);
        assert_int_equal(call(CALL_REGION, i)->count, 10 - 2 * i);
    }
    region_write(s, CONFIG, 0x80, data, 10);
    assert_memory_equal(calls.memory + 0x80, data, 10);
}

TEST(device_space_callback_does_nothing)
{
    struct session *s;

    NOT_ON_REFERENCE("it calls again for ever");
    s = with_callback();
    calls.behave[CALL_REGION] = (struct behaviour){.override = true, .result = 0};
    region_read_fails(s, CONFIG, 0x80, 4, EINVAL);
    config_put_fails(s, 0x80, 4, 0, EINVAL);
    calls.behave[CALL_REGION].result = 5; /* more than asked for */
    region_read_fails(s, CONFIG, 0x80, 4, EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(bad_init),
        CASE(ids_and_class),
        CASE(program_writes),
        CASE(conventional_space_is_256_bytes),
        CASE(revision_and_header_type),
        CASE(interrupt_pin),
        CASE(where_writes_may_start),
        CASE(registers_that_are_stored),
        CASE(registers_that_are_ignored),
        CASE(writes_over_several_registers),
        CASE(command_register),
        CASE(writes_of_a_part),
        CASE(device_space_without_callback),
        CASE(device_space_with_callback),
        CASE(device_space_in_pieces),
        CASE(device_space_callback_does_nothing),
    };
    return RUN(tests);
}
