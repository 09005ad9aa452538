/* A device with everything there is, and answers that may be anything. */
#include "full_device.h"

struct session *full_device(void)
{
    struct session *s = new_session();
    struct pxcap px = {.hdr.id = PCI_CAP_ID_EXP, .pxcaps.ver = 2, .pxdcap = {.flrc = 1}};
    struct msicap msi = {.hdr.id = PCI_CAP_ID_MSI, .mc = {.mmc = 3}};
    struct msixcap msix = {.hdr.id = PCI_CAP_ID_MSIX, .mxc.ts = 31};
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM};
    uint8_t vendor[] = {PCI_CAP_ID_VNDR, 0, 5, 'a', 'b'};
    struct dsncap dsn = {.hdr = {.id = PCI_EXT_CAP_ID_DSN, .version = 1}};

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    use_region(s, 0, 0x1000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    use_region(s, 2, UINT64_C(1) << 33, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_64_BITS);
    use_region(s, CONFIG, 4096, VFU_REGION_FLAG_RW);
    assert_true(vfu_pci_add_capability(s->ctx, 0, 0, &px) > 0);
    assert_true(vfu_pci_add_capability(s->ctx, 0, 0, &msi) > 0);
    assert_true(vfu_pci_add_capability(s->ctx, 0, 0, &msix) > 0);
    assert_true(vfu_pci_add_capability(s->ctx, 0, 0, &pm) > 0);
    assert_true(vfu_pci_add_capability(s->ctx, 0, 0, vendor) > 0);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn), 256);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 32), 0);
    assert_int_equal(vfu_setup_irq_state_callback(s->ctx, VFU_DEV_MSIX_IRQ, on_irq_state), 0);
    assert_int_equal(vfu_create_ioeventfd(s->ctx, 0, -1, 0, 8, 0, 0, -1, 0), 0);
    use_dma(s);
    (void)vfu_setup_device_migration_callbacks(s->ctx, &migration_callbacks); /* if there is migration at all */
    use_quiesce_and_reset(s);
    realize(s);
    connect_client_with(s, SMALL_JSON);
    return s;
}

bool answered(struct session *s, uint16_t id, uint16_t cmd)
{
    const struct vfio_user_header *header;

    assert_in_range(run(s), 0, 1);
    header = &receive(s)->header;
    assert_int_equal(header->msg_id, id);
    assert_int_equal(header->cmd, cmd);
    calls.count = 0;
    if (header->flags == VFIO_USER_F_TYPE_REPLY) {
        return true;
    }
    assert_int_equal(header->flags, VFIO_USER_F_TYPE_REPLY | VFIO_USER_F_ERROR);
    assert_int_not_equal(header->error_no, 0);
    assert_int_equal(s->reply.size, 0);
    return false;
}

void assert_in_step(struct session *s)
{
    request_fails(s, 999, "x", 1, EINVAL);
    assert_true(nothing_to_receive(s->client));
}
