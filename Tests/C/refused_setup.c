/* Set-up calls that are refused: which of several errors it is, and that everything is as it was before. */
#include "support.h"

#define RW VFU_REGION_FLAG_RW
#define MEM VFU_REGION_FLAG_MEM
#define WIDE VFU_REGION_FLAG_64_BITS
#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX
#define EXTENDED VFU_CAP_FLAG_EXTENDED

/* What a client can learn of a region: size, flags, mappable areas. */
static void look_at(struct session *s, uint32_t index, uint8_t *answer, size_t size)
{
    struct vfio_region_info info = {.argsz = (uint32_t)size, .index = index};
    struct reply *reply = request(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info));

    assert_true(reply->size <= size);
    memset(answer, 0, size);
    memcpy(answer, reply->data, reply->size);
}

static ssize_t other_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    (void)ctx, (void)buf, (void)count, (void)offset, (void)is_write;
    errno = EXDEV;
    return -1;
}

TEST(regions_stay_as_they_were)
{
    struct iovec good[2] = {{(void *)0x1000, 0x1000}, {(void *)0x3000, 0x1000}};
    struct iovec late[2] = {{(void *)0x1000, 0x1000}, {(void *)0x3000, 0x1001}};
    int fd = guest_file(0x8000);
    const struct {
        int index;
        size_t size;
        bool no_callback;
        int flags;
        struct iovec *areas;
        uint32_t nr_areas;
        int fd;
    } cases[] = {
        {0, 0x2000, false, 0, NULL, 0, -1},               /* neither read nor write */
        {0, 0x2000, false, MEM, NULL, 0, -1},
        {0, 0x2000, false, RW | 0x40, NULL, 0, -1},       /* no such flag */
        {0, 0x2000, true, RW | VFU_REGION_FLAG_ALWAYS_CB, NULL, 0, -1},
        {0, 0x2000, false, RW | MEM, good, 0, fd},        /* a list without a number */
        {0, 0x2000, false, RW | MEM, NULL, 2, fd},        /* and the other way round */
        {0, 0x4000, false, RW | MEM, good, 2, -1},        /* nothing to map */
        {0, 0x1800, false, RW | MEM, NULL, 0, -1},        /* no power of two */
        {0, 8, false, RW | MEM, NULL, 0, -1},
        {0, 2, false, RW, NULL, 0, -1},
        {0, 0x4000, false, RW | MEM, late, 2, fd},        /* the second area does not fit */
        {0, 0x2000, false, RW | MEM | WIDE, NULL, 0, -1}, /* the next BAR is in use */
        {1, 0x2000, false, RW | MEM | WIDE, NULL, 0, -1}, /* an odd one */
        {3, 0x2000, false, RW | MEM, NULL, 0, -1},        /* the upper half of another */
        {3, 0, false, RW, NULL, 0, -1},
        {CONFIG, 0x1000, false, RW | MEM, NULL, 0, -1},
        {CONFIG, 0x1000, false, VFU_REGION_FLAG_READ, NULL, 0, -1},
        {CONFIG, 0x1000, true, RW | VFU_REGION_FLAG_ALWAYS_CB, NULL, 0, -1},
    };
    static uint8_t before[4][256], after[256];
    static const uint32_t watched[4] = {0, 1, 3, CONFIG};
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(vfu_setup_region(s->ctx, 0, 0x4000, region_access, RW | MEM, good, 2, fd, 0), 0);
    use_region(s, 1, 0x1000, VFU_REGION_FLAG_READ);
    use_region(s, 2, 0x1000, RW | MEM | WIDE);
    use_region(s, CONFIG, 0x1000, RW);
    start(s);
    for (size_t n = 0; n < ARRAY_LEN(watched); n++) {
        look_at(s, watched[n], before[n], sizeof(before[n]));
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_fails(vfu_setup_region(s->ctx, cases[i].index, cases[i].size, cases[i].no_callback ? NULL : other_access,
                                      cases[i].flags, cases[i].areas, cases[i].nr_areas, cases[i].fd, 0x1000),
                     EINVAL);
        for (size_t n = 0; n < ARRAY_LEN(watched); n++) {
            look_at(s, watched[n], after, sizeof(after));
            assert_memory_equal(after, before[n], sizeof(after));
        }
        region_read(s, 0, 0x3ffc, 4); /* the callback is there still */
        config_get(s, 0x80, 4);
        region_read_fails(s, 0, 0x4000, 1, EINVAL);
    }
    close(fd);
}

TEST(ioeventfds_that_are_refused_are_not_reported)
{
    struct session *s = new_session();
    struct vfio_user_region_io_fds_request query = {.argsz = 16, .index = 0}, answer;

    use_region(s, 0, 0x1000, RW | MEM);
    start(s);
    assert_int_equal(vfu_create_ioeventfd(s->ctx, 0, -1, 0, 8, 0, 0, -1, 0), 0);
    assert_fails(vfu_create_ioeventfd(s->ctx, 0, -1, 0xff9, 8, 0, 0, -1, 0), EINVAL);
    assert_fails(vfu_create_ioeventfd(s->ctx, 0, -1, 0x1001, 0, 0, 0, -1, 0), EINVAL);
    assert_fails(vfu_create_ioeventfd(s->ctx, 0, -1, 0, 0xffffffff, 0, 0, -1, 0), EINVAL);
    assert_int_equal(vfu_create_ioeventfd(s->ctx, 0, -1, 0xff8, 8, 0, 0, -1, 0), 0); /* up to the very end */
    use_region(s, 0, 0x10, RW | MEM); /* what counts is the size there is now */
    assert_fails(vfu_create_ioeventfd(s->ctx, 0, -1, 0xff8, 8, 0, 0, -1, 0), EINVAL);
    memcpy(&answer, request(s, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &query, sizeof(query))->data, sizeof(answer));
    assert_int_equal(answer.count, 2);
}

/* The second one fails before and after realize, and whatever else is wrong with it comes first. */
TEST(config_space_is_made_once)
{
    struct session *s = new_session();

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    vfu_pci_set_id(s->ctx, 0x1234, 0x5678, 0, 0);
    for (int realized = 0; realized < 2; realized++) {
        assert_fails(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0), EEXIST);
        assert_fails(vfu_pci_init(s->ctx, (vfu_pci_type_t)4, PCI_HEADER_TYPE_NORMAL, 0), EINVAL);
        assert_fails(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_BRIDGE, 0), EINVAL);
        assert_fails(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, 0x80, 0), EINVAL);
        realize(s);
    }
    connect_client(s);
    assert_int_equal(config_get(s, 0, 4), 0x56781234);
    config_get(s, 4092, 4); /* all 4096 bytes are there */
}

/* Each line of the table of errors against the lines below it. */
TEST(errors_of_capabilities_in_their_order)
{
    struct session *s = new_session();
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM};
    struct dsncap dsn = {.hdr = {.id = PCI_EXT_CAP_ID_DSN, .version = 1}};
    uint32_t unknown[16] = {0x99};

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_fails(vfu_pci_add_capability(s->ctx, 4096, 8, unknown), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, 8 | VFU_CAP_FLAG_READONLY, &pm), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, VFU_CAP_FLAG_CALLBACK, unknown), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, EXTENDED, unknown), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 4096, 0, unknown), ENOTSUP);
    assert_fails(vfu_pci_add_capability(s->ctx, 4, 0, unknown), ENOTSUP);
    assert_fails(vfu_pci_add_capability(s->ctx, 248, 0, &pm), EINVAL); /* not even up to the very end */
    assert_int_equal(vfu_pci_add_capability(s->ctx, 244, 0, &pm), 244);
    end_session(s);

    s = new_session();
    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_fails(vfu_pci_add_capability(s->ctx, 4096, EXTENDED, unknown), ENOTSUP);
    for (size_t i = 0; i < 128; i++) {
        assert_int_equal(vfu_pci_add_capability(s->ctx, 0, EXTENDED, &dsn), 256 + 12 * i);
    }
    assert_fails(vfu_pci_add_capability(s->ctx, 0, EXTENDED, unknown), ENOSPC);
    assert_fails(vfu_pci_add_capability(s->ctx, 8192, EXTENDED, &dsn), ENOSPC);
    assert_fails(vfu_pci_add_capability(s->ctx, 256, EXTENDED, &dsn), ENOSPC);
    assert_fails(vfu_pci_add_capability(s->ctx, 256, EXTENDED | VFU_CAP_FLAG_CALLBACK, &dsn), EINVAL);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, 0, &pm), 0x40); /* of the other kind there are none yet */
}

TEST(capabilities_before_config_space)
{
    struct session *s = new_session();
    struct pmcap pm = {.hdr.id = PCI_CAP_ID_PM};
    uint32_t unknown[16] = {0x99};

    assert_fails(vfu_pci_add_capability(s->ctx, 0, 0, &pm), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 0x40, 0, &pm), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, 8, unknown), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, EXTENDED, unknown), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, VFU_CAP_FLAG_CALLBACK, unknown), EINVAL);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, 0, unknown), ENOTSUP);
    use_region(s, CONFIG, 256, RW);
    assert_fails(vfu_pci_add_capability(s->ctx, 0, VFU_CAP_FLAG_CALLBACK, unknown), ENOTSUP);
    if (!on_reference()) { /* which crashes */
        assert_fails(vfu_pci_add_capability(s->ctx, 0, VFU_CAP_FLAG_CALLBACK, &pm), EINVAL);
        assert_fails(vfu_pci_add_capability(s->ctx, 0x40, 0, &pm), EINVAL);
    }
}

TEST(capabilities_that_are_refused_leave_no_trace)
{
    static const size_t positions[] = {0x3f, 0x40, 0x44, 0x46, 0x5c, 0x60, 0x6f, 0xf0, 0xf8, 0x100};
    static uint8_t before[4096];
    struct session *s = new_session();
    struct pmcap pm = {.hdr = {.id = PCI_CAP_ID_PM, .next = 0xee}, .pc.vs = 3};
    uint8_t vendor[256] = {PCI_CAP_ID_VNDR, 0, 0x90, 'x'};
    struct dsncap dsn = {.hdr = {.id = PCI_EXT_CAP_ID_DSN, .version = 1, .next = 0xabc}, .sn_lo = 1, .sn_hi = 2};
    const uint8_t *space;

    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    space = (const uint8_t *)vfu_pci_get_config_space(s->ctx);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, 0, &pm), 0x40);
    vendor[2] = 0x10;
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0x60, 0, vendor), 0x60);
    assert_int_equal(vfu_pci_add_capability(s->ctx, 0, EXTENDED, &dsn), 0x100);
    memcpy(before, space, sizeof(before));
    vendor[2] = 0x90;
    for (size_t i = 0; i < ARRAY_LEN(positions); i++) {
        if (positions[i] < 0xf0 || !on_reference()) { /* where there are standard capabilities above 0xff */
            assert_fails(vfu_pci_add_capability(s->ctx, positions[i], 0, vendor), EINVAL);
        }
        assert_fails(vfu_pci_add_capability(s->ctx, positions[i] & ~3u, EXTENDED, &dsn), EINVAL);
    }
    if (!on_reference()) {
        vendor[2] = 0x91;
        assert_fails(vfu_pci_add_capability(s->ctx, 0, 0, vendor), ENOSPC);
    }
    vendor[0] = 0x99;
    assert_fails(vfu_pci_add_capability(s->ctx, 0x80, 0, vendor), ENOTSUP);
    assert_fails(vfu_pci_add_capability(s->ctx, 4084, EXTENDED, &dsn), EINVAL);
    assert_memory_equal(space, before, sizeof(before));
    assert_int_equal(vfu_pci_add_capability(s->ctx, 4080, EXTENDED, &dsn), 4080);
}

TEST(migration_stays_as_it_was)
{
    struct session *s;
    vfu_migration_callbacks_t incomplete = migration_callbacks, outdated = migration_callbacks;

    NOT_ON_REFERENCE("a missing function takes away what was set up before");
    s = new_session();
    incomplete.read_data = NULL;
    outdated.version = 1;
    assert_fails(vfu_setup_device_migration_callbacks(s->ctx, &incomplete), EINVAL);
    assert_fails(vfu_setup_device_migration_callbacks(s->ctx, &outdated), EINVAL);
    realize(s);
    connect_client(s);
    assert_null(strstr((const char *)s->reply.data + 4, "migration")); /* there is none yet */
    feature_fails(s, FEATURE_GET(VFIO_DEVICE_FEATURE_MIGRATION), 16, NULL, 0, EINVAL);
    use_migration(s);
    set_state(s, VFIO_USER_DEVICE_STATE_PRE_COPY);
    clear_calls();
    assert_fails(vfu_setup_device_migration_callbacks(s->ctx, &incomplete), EINVAL);
    assert_fails(vfu_setup_device_migration_callbacks(s->ctx, &outdated), EINVAL);
    assert_int_equal(get_state(s), VFIO_USER_DEVICE_STATE_PRE_COPY);
    request(s, VFIO_USER_MIG_DATA_READ, ((uint32_t[]){12, 4}), 8);
    assert_int_equal(calls_of(CALL_READ_DATA), 1);
}

TEST(interrupts_stay_as_they_were)
{
    struct session *s = new_session();
    struct vfio_irq_info info = {.argsz = 16, .index = VFU_DEV_MSIX_IRQ};

    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 4), 0);
    start(s);
    if (!on_reference()) { /* where more can be set up than the table has */
        assert_fails(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 5), EINVAL);
        assert_fails(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_ERR_IRQ, UINT32_MAX), EINVAL);
    }
    assert_fails(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_NUM_IRQS, 1), EINVAL);
    memcpy(&info, request(s, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info))->data, sizeof(info));
    assert_int_equal(info.count, 4);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 2), 0); /* less is no harm */
    assert_fails(vfu_irq_trigger(s->ctx, 3), ENOENT);
    assert_fails(vfu_irq_trigger(s->ctx, 4), EINVAL);
}

/* What is taken away twice, or was never there. */
TEST(removing_what_is_not_there)
{
    struct session *s = new_session();

    for (int round = 0; round < 3; round++) {
        assert_int_equal(vfu_setup_log(s->ctx, NULL, LOG_ERR), 0);
        for (int index = 0; index < VFU_PCI_DEV_NUM_REGIONS; index++) {
            assert_int_equal(vfu_setup_region(s->ctx, index, 0, NULL, RW, NULL, 0, -1, 0), 0);
        }
        for (int type = 0; type < VFU_DEV_NUM_IRQS; type++) {
            assert_int_equal(vfu_setup_irq_state_callback(s->ctx, (enum vfu_dev_irq_type)type, NULL), 0);
            assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, (enum vfu_dev_irq_type)type, 0), 0);
        }
        assert_int_equal(vfu_setup_device_reset_cb(s->ctx, NULL), 0);
        vfu_setup_device_quiesce_cb(s->ctx, NULL);
        if (round == 0) {
            realize(s);
        } else if (round == 1) {
            connect_client(s);
        }
    }
    assert_serving(s);
    region_read_fails(s, 0, 0, 1, EINVAL);
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    lose_client(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(regions_stay_as_they_were),
        CASE(ioeventfds_that_are_refused_are_not_reported),
        CASE(config_space_is_made_once),
        CASE(errors_of_capabilities_in_their_order),
        CASE(capabilities_before_config_space),
        CASE(capabilities_that_are_refused_leave_no_trace),
        CASE(migration_stays_as_it_was),
        CASE(interrupts_stay_as_they_were),
        CASE(removing_what_is_not_there),
    };
    return RUN(tests);
}
