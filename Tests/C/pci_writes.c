/* What writes to config space change, byte by byte, and what they leave alone. */
#include "irqs.h"
#include "support.h"

#define RW VFU_REGION_FLAG_RW
#define MEM VFU_REGION_FLAG_MEM
#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX
#define EXTENDED VFU_CAP_FLAG_EXTENDED
#define BASE UINT64_C(0x10000)

static struct session *new_device(void)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    return s;
}

static uint8_t *space(struct session *s)
{
    return vfu_pci_get_config_space(s->ctx)->raw;
}

/* Nothing is stored before a write is refused, wherever in these registers it begins. */
TEST(refused_registers_keep_their_values)
{
    static const uint8_t refused[][2] = {{0x00, 0x04}, {0x0e, 0x10}, {0x28, 0x30}, {0x34, 0x3c}};
    static const uint8_t ones[4] = {0xff, 0xff, 0xff, 0xff};
    uint8_t before[0x40];
    struct session *s = new_device();

    start(s);
    for (size_t i = 0; i < sizeof(before); i++) {
        space(s)[i] = before[i] = (uint8_t)(0x41 + i);
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        for (unsigned offset = refused[i][0]; offset < refused[i][1]; offset++) {
            for (uint32_t length = 1; length <= 4; length++) {
                region_write_fails(s, CONFIG, offset, ones, length, EINVAL);
                assert_memory_equal(space(s), before, sizeof(before));
            }
        }
    }
    /* Those that take writes without effect keep theirs, too, whatever is written. */
    for (unsigned value = 0; value <= 0xff; value += 0xff) {
        config_put(s, 0x06, 2, value | value << 8);
        config_put(s, 0x08, 4, value == 0 ? 0 : UINT32_MAX);
        config_put(s, 0x3d, 3, value == 0 ? 0 : UINT32_MAX);
        assert_memory_equal(space(s), before, sizeof(before));
    }
}

TEST(the_rest_of_a_register_stays)
{
    struct session *s;

    NOT_ON_REFERENCE("it reads beyond the data of the request");
    s = new_device();
    use_region(s, 0, 0x100, RW | MEM);
    start(s);
    config_put(s, 0x04, 2, 0x0504);
    config_put(s, 0x04, 1, 0x03);
    assert_int_equal(config_get(s, 0x04, 2), 0x0503);
    config_put_fails(s, 0x04, 1, 0x48, EINVAL);
    assert_int_equal(config_get(s, 0x04, 2), 0x0500);
    config_put(s, 0x10, 4, 0x12345600);
    config_put(s, 0x10, 1, 0xff);
    assert_int_equal(config_get(s, 0x10, 4), 0x12345600);
    config_put(s, 0x10, 2, 0xabff);
    assert_int_equal(config_get(s, 0x10, 4), 0x1234ab00);
    config_put(s, 0x10, 3, 0xcdef00);
    assert_int_equal(config_get(s, 0x10, 4), 0x12cdef00);
    /* What counts for the ROM register is the value that would be there. */
    vfu_pci_get_config_space(s->ctx)->hdr.erom = 0xffff00ff;
    config_put_fails(s, 0x30, 1, 0, EINVAL);
    config_put(s, 0x30, 2, 0xf800);
    assert_int_equal(config_get(s, 0x30, 4), 0xffff00ff);
    vfu_pci_get_config_space(s->ctx)->hdr.erom = 0x000000ff;
    config_put(s, 0x30, 1, 0);
    assert_int_equal(config_get(s, 0x30, 4), 0);
}

/* A kind of capability: what becomes of a write of any length at any of its offsets, and what is stored. */
struct kind {
    unsigned id, size, header;
    int flags;
    int (*outcome)(unsigned offset, unsigned length);
    uint8_t writable[60];
};

static int stored(unsigned offset, unsigned length)
{
    (void)offset, (void)length;
    return 0;
}

static int refused(unsigned offset, unsigned length)
{
    (void)offset, (void)length;
    return EPERM;
}

static int power_management(unsigned offset, unsigned length)
{
    if (offset == 4 && length == 2) {
        return 0;
    }
    return (offset == 2 && length == 2) || (offset >= 6 && length == 1) ? ENOTSUP : EINVAL;
}

static int express(unsigned offset, unsigned length)
{
    static const uint8_t registers[] = {0x08, 0x10, 0x18, 0x1c, 0x28, 0x30, 0x38};

    return length == 2 && memchr(registers, (int)offset, sizeof(registers)) != NULL ? 0 : EINVAL;
}

static const struct kind kinds[] = {
    {PCI_CAP_ID_PM, 8, 2, 0, power_management, {[4] = 0xff, 0xff}},
    {PCI_CAP_ID_MSI, 24, 2, 0, stored,
     {[2] = 0x71, 0, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, [16] = 0xff, 0xff, 0xff, 0xff}},
    {PCI_CAP_ID_VNDR, 9, 3, 0, stored, {[3] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {PCI_CAP_ID_EXP, 60, 2, 0, express,
     {[0x08] = 0xff, 0x7f, [0x28] = 0xff, 0xff, [0x30] = 0xff, 0xff}},
    {PCI_CAP_ID_MSIX, 12, 2, 0, stored, {[3] = 0xc0}},
    {PCI_EXT_CAP_ID_DSN, 12, 4, EXTENDED, refused, {0}},
    {PCI_EXT_CAP_ID_VNDR, 14, 8, EXTENDED, stored, {[8] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
};

/* All writes of a byte's repetitions that stay in the capability, each with its bytes as they were at first. */
static void try_every_write(struct session *s, const struct kind *kind, size_t pos, uint8_t byte)
{
    uint8_t before[60], expected[60], data[60];

    memcpy(before, space(s) + pos, kind->size);
    memset(data, byte, sizeof(data));
    for (unsigned offset = 0; offset < kind->size; offset++) {
        for (unsigned length = 1; length <= kind->size - offset; length++) {
            const int outcome = offset < kind->header ? EPERM : kind->outcome(offset, length);

            memcpy(expected, before, kind->size);
            if (outcome != 0) {
                region_write_fails(s, CONFIG, pos + offset, data, length, outcome);
            } else {
                region_write(s, CONFIG, pos + offset, data, length);
                for (unsigned i = offset; i < offset + length; i++) {
                    expected[i] = (uint8_t)((before[i] & ~kind->writable[i]) | (byte & kind->writable[i]));
                }
            }
            assert_memory_equal(config_bytes(s, pos, kind->size), expected, kind->size);
            memcpy(space(s) + pos, before, kind->size);
        }
    }
}

TEST(every_write_to_every_kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct kind *kind = &kinds[i];
        struct session *s = new_device();
        uint8_t cap[60] = {(uint8_t)kind->id};
        ssize_t pos;

        if (kind->flags == EXTENDED) {
            cap[6] = (uint8_t)(kind->size << 4);
            cap[7] = (uint8_t)(kind->size >> 4);
        } else if (kind->id == PCI_CAP_ID_VNDR) {
            cap[2] = (uint8_t)kind->size;
        }
        pos = vfu_pci_add_capability(s->ctx, 0, kind->flags, cap);
        assert_int_equal(pos, kind->flags == EXTENDED ? 0x100 : 0x40);
        start(s);
        /* 0x4f sets what can be set, except for vectors of MSI and a function-level reset. */
        try_every_write(s, kind, (size_t)pos, kind->id == PCI_CAP_ID_EXP ? 0x4f : 0x8f);
        memset(space(s) + pos + kind->header, 0xff, kind->size - kind->header);
        if (kind->id == PCI_CAP_ID_MSI) {
            space(s)[pos + 2] = 0xdf; /* 32 vectors, no more */
        } else if (kind->id == PCI_CAP_ID_EXP) {
            space(s)[pos + 9] = 0x7f;
        }
        try_every_write(s, kind, (size_t)pos, 0);
        end_session(s);
    }
}

/* Only the enable bit is stored before the number of vectors is looked at. */
TEST(msi_refused_writes_store_no_more)
{
    struct msicap msi = {.hdr.id = PCI_CAP_ID_MSI, .mc = {.mmc = 2, .mme = 1}};
    struct session *s = new_device();
    uint8_t data[22], expected[24] = {PCI_CAP_ID_MSI, 0, 1 << 4 | 2 << 1 | 1};

    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, 0, &msi), 0x40);
    start(s);
    memset(data, 0xff, sizeof(data));
    region_write_fails(s, CONFIG, 0x42, data, sizeof(data), EINVAL);
    assert_memory_equal(config_bytes(s, 0x40, 24), expected, 24);
    data[0] = 3 << 4;
    region_write_fails(s, CONFIG, 0x42, data, sizeof(data), EINVAL);
    expected[2] = 1 << 4 | 2 << 1;
    assert_memory_equal(config_bytes(s, 0x40, 24), expected, 24);
}

static void assert_everything_works(struct session *s, int irq)
{
    uint8_t sg[40], data[4];

    calls.memory[8]++;
    assert_int_equal(region_read(s, 0, 8, 1)->data[16], calls.memory[8]);
    assert_int_equal(region_read(s, 1, 8, 1)->data[16], calls.memory[8]);
    region_write(s, 0, 12, "abcd", 4);
    assert_memory_equal(calls.memory + 12, "abcd", 4);
    assert_int_equal(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)BASE, 4, (dma_sg_t *)sg, 1, PROT_READ | PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_write(s->ctx, (dma_sg_t *)sg, 1, "DMA!", VFU_SGL_DIRECT_ACCESS), 0);
    assert_int_equal(vfu_sgl_read(s->ctx, (dma_sg_t *)sg, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    assert_memory_equal(data, "DMA!", 4);
    assert_int_equal(vfu_irq_trigger(s->ctx, 0), 0);
    assert_int_equal(eventfd_value(irq), 1);
}

/* Command, power state and the enable bits of interrupts are for the device to look at. */
TEST(registers_have_no_effect)
{
    static const uint16_t commands[] = {0, 0x400, 0x517, 0x117};
    struct session *s = new_device();
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM, .pc.vs = 3};
    struct msixcap msix = {.hdr.id = PCI_CAP_ID_MSIX};
    int irq = new_eventfd(0), memory = guest_file(PS);

    use_region(s, 0, 0x1000, RW | MEM);
    use_region(s, 1, 0x100, RW);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_INTX_IRQ, 1), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, MSIX, 1), 0);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, 0, &pm), 0x40);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, 0, &msix), 0x48);
    use_dma(s);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, memory);
    for (unsigned kind = 0; kind < 2; kind++) {
        give(s, kind == 0 ? VFU_DEV_INTX_IRQ : MSIX, 0, &irq, 1);
        for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
            for (unsigned state = 0; state < 4; state++) {
                config_put(s, 0x04, 2, commands[i]);
                config_put(s, 0x44, 2, state);        /* D0 … D3 */
                config_put(s, 0x4a, 2, state << 14); /* enabled and masked in every combination */
                assert_everything_works(s, irq);
            }
        }
    }
    close(irq);
    close(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(refused_registers_keep_their_values),
        CASE(the_rest_of_a_register_stays),
        CASE(every_write_to_every_kind),
        CASE(msi_refused_writes_store_no_more),
        CASE(registers_have_no_effect),
    };
    return RUN(tests);
}
