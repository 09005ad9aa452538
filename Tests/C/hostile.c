/*
 * Clients that mean harm, and programs that pass NULL: whatever comes, every complete message is answered, the
 * server goes on, and nothing leaks.
 */
#include "support.h"

#include <pthread.h>
#include <sys/resource.h>

#define BASE UINT64_C(0x10000)
#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX
#define SMALL_JSON "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":4096}}"
#define UNSAFE "it reads or writes out of bounds, aborts or hangs"

/* A device with everything there is. */
static struct session *device(void)
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

/* Any answer will do, as long as it is one to this request; returns whether it was success. */
static bool answered(struct session *s, uint16_t id, uint16_t cmd)
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

/* In step, whatever state the device has been put into. */
static void assert_in_step(struct session *s)
{
    request_fails(s, 999, "x", 1, EINVAL);
    assert_true(nothing_to_receive(s->client));
}

static uint64_t seed;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void choose_seed(void)
{
    const char *given = getenv("VFU_TEST_SEED");

    seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)getpid() * UINT64_C(0x9e3779b97f4a7c15);
    seed = seed != 0 ? seed : 1;
    print_message("# VFU_TEST_SEED=%#llx\n", (unsigned long long)seed);
}

/* Every command with every length of payload, of zeros and of ones, with and without fds. */
TEST(every_command_with_every_length)
{
    struct session *s;
    uint8_t body[96];
    size_t fds;
    const int pair[2] = {0, 1};

    NOT_ON_REFERENCE(UNSAFE);
    s = device();
    fds = fd_count();
    for (uint16_t cmd = 0; cmd <= VFIO_USER_MAX + 20; cmd++) {
        for (size_t size = 0; size <= sizeof(body); size++) {
            for (unsigned variant = 0; variant < 4; variant++) {
                uint16_t id;

                memset(body, variant & 1 ? 0xff : 0, sizeof(body));
                id = send_request_fds(s, cmd, body, size, pair, variant & 2 ? 2 : 0);
                answered(s, id, cmd);
                assert_int_equal(fd_count(), fds);
            }
        }
        assert_in_step(s);
    }
    lose_client(s);
    connect_client(s);
    assert_serving(s);
}

static const uint64_t interesting[] = {
    0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 20, 24, 31, 32, 40, 48, 63, 64, 255, 256, 4095, 4096, 4097, 0x10000, 0x11000,
    0x20000, 1048575, 1048576, 1048577, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff, 0x100000000, 0x1ffffffff,
    0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, 0xfffffffffffffff0, 0xffffffffffffffff,
};

static uint64_t interesting_number(void)
{
    return interesting[next_random() % ARRAY_LEN(interesting)];
}

/* Sizes of DMA regions are kept small, as a log of gigabytes by the byte would be no bug but slow. */
static uint64_t region_size(void)
{
    static const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, 8192, 0x10000, 0x80000000001, UINT64_MAX - 4095,
                                     UINT64_MAX};

    return sizes[next_random() % ARRAY_LEN(sizes)];
}

/* Requests that are right but for some numbers. */
static size_t compose(uint16_t cmd, uint8_t *body, size_t capacity)
{
    const size_t least[] = {8, 4, 32, 24, 16, 32, 16, 16, 20, 16, 24, 16, 16, 0, 8, 32, 8, 8, 12, 16};
    size_t size = least[cmd % ARRAY_LEN(least)];
    uint32_t words[16];

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        words[i] = (uint32_t)interesting_number();
    }
    memcpy(body, words, sizeof(words));
    if (next_random() % 4 == 0) {
        size += next_random() % 48;
    }
    if (next_random() % 16 == 0) {
        size = next_random() % capacity;
    }
    switch (cmd) {
    case VFIO_USER_DMA_MAP:
    case VFIO_USER_DMA_UNMAP: {
        uint64_t addr = interesting_number(), length = region_size();

        memcpy(body, ((uint32_t[]){64, (uint32_t)next_random() & 0xf}), 8);
        if (cmd == VFIO_USER_DMA_MAP) {
            memcpy(body + 16, &addr, 8);
            memcpy(body + 24, &length, 8);
        } else {
            memcpy(body + 8, &addr, 8);
            memcpy(body + 16, &length, 8);
            if (next_random() % 2 == 0) {
                const uint64_t bitmap[2] = {interesting_number(), interesting_number()};

                memcpy(body + 24, bitmap, sizeof(bitmap));
                size = 40;
            }
        }
        break;
    }
    case VFIO_USER_DEVICE_SET_IRQS:
        words[0] = 64;
        words[1] = (uint32_t)next_random() & 0x3f;
        words[2] = (uint32_t)next_random() % 6;
        memcpy(body, words, 12);
        break;
    case VFIO_USER_REGION_READ:
    case VFIO_USER_REGION_WRITE: {
        const uint64_t offset = next_random() % 2 ? interesting_number() : next_random() % 320;
        uint32_t where[2] = {next_random() % 2 ? CONFIG : (uint32_t)next_random() % 10,
                             next_random() % 8 ? (uint32_t)next_random() % 64 : (uint32_t)interesting_number()};

        /* The client does not read while it waits, so replies must fit into the socket. */
        if (where[1] > 0x10000 && where[1] <= MAX_DATA) {
            where[1] = 0x10000;
        }
        memcpy(body, &offset, 8);
        memcpy(body + 8, where, 8);
        if (where[1] <= 64 && cmd == VFIO_USER_REGION_WRITE) {
            size = 16 + where[1];
        }
        break;
    }
    case VFIO_USER_DEVICE_FEATURE: {
        static const uint32_t features[] = {1, 2, 6, 7, 8};
        const uint32_t head[2] = {next_random() % 4 ? 4096 : (uint32_t)interesting_number(),
                                  features[next_random() % 5] | (uint32_t)(1 + next_random() % 7) << 16};

        memcpy(body, head, 8);
        if ((head[1] & 0xffff) == VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) {
            const uint32_t state = next_random() % 4 ? VFIO_USER_DEVICE_STATE_RUNNING : (uint32_t)next_random() % 9;

            memcpy(body + 8, &state, 4);
            size = 16;
        } else if (next_random() % 2 == 0) {
            const uint64_t report[3] = {interesting_number(), region_size(), interesting_number()};

            memcpy(body + 8, report, sizeof(report));
            size = 32;
        }
        break;
    }
    default:
        break;
    }
    return size < capacity ? size : capacity;
}

TEST(almost_valid_requests)
{
    struct session *s;
    uint8_t body[160];
    int fd;
    size_t fds, good = 0;

    NOT_ON_REFERENCE(UNSAFE);
    choose_seed();
    s = device();
    fd = guest_file(0x20000);
    fds = fd_count();
    for (int i = 0; i < 30000; i++) {
        const uint16_t cmd = (uint16_t)(next_random() % 20);
        const int sent[3] = {fd, fd, fd};
        uint16_t id;
        size_t size;

        memset(body, 0, sizeof(body));
        size = compose(cmd, body, sizeof(body));
        id = send_request_fds(s, cmd, body, size, sent, next_random() % 2 ? 0 : next_random() % 4);
        good += answered(s, id, cmd) ? 1 : 0;
        if (i % 500 == 499) {
            assert_in_step(s);
            lose_client(s);
            drop_reply(s);
            assert_int_equal(fd_count(), fds - 2);
            assert_int_equal(guest_mapping_count(), 0);
            (void)vfu_setup_device_migration_callbacks(s->ctx, &migration_callbacks); /* back to RUNNING */
            calls.count = 0;
            connect_client_with(s, SMALL_JSON);
        }
    }
    /* Not all of it was refused at the door. */
    assert_true(good > 1000);
    close(fd);
}

/* No messages at all, just bytes. */
TEST(random_bytes)
{
    struct session *s;

    NOT_ON_REFERENCE(UNSAFE);
    choose_seed();
    s = device();
    for (int i = 0; i < 200; i++) {
        uint64_t bytes[512];

        for (size_t n = 0; n < ARRAY_LEN(bytes); n++) {
            bytes[n] = next_random();
        }
        assert_true(send(s->client, bytes, 1 + next_random() % sizeof(bytes), MSG_NOSIGNAL) > 0);
        for (int n = 0; n < 600 && run(s) > 0; n++) {
        }
        assert_true(s->result >= 0);
        lose_client(s);
        calls.count = 0;
        connect_client(s);
        assert_serving(s);
    }
}

static void *send_all(void *argument)
{
    struct session *s = argument;
    struct vfio_user_header header = command_header(s, 999, MAX_MESSAGE - sizeof(header));
    uint8_t *body = calloc(1, MAX_MESSAGE);

    if (body != NULL) {
        memcpy(body, &header, sizeof(header));
        for (size_t done = 0; done < MAX_MESSAGE;) {
            ssize_t n = send(s->client, body + done, MAX_MESSAGE - done, MSG_NOSIGNAL);

            if (n <= 0) {
                break;
            }
            done += (size_t)n;
        }
        free(body);
    }
    return NULL;
}

/* The largest message there can be, for a command that does not exist. */
TEST(largest_message)
{
    struct session *s;
    pthread_t thread;

    NOT_ON_REFERENCE("a body that does not arrive in one piece is refused and put out of step");
    s = device();
    assert_int_equal(pthread_create(&thread, NULL, send_all, s), 0);
    while (nothing_to_receive(s->client)) {
        assert_in_range(run(s), 0, 1);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(receive(s)->header.error_no, EINVAL);
    assert_in_step(s);
}

/* Fields that are not there must not be used. */
TEST(truncated_requests)
{
    static const struct {
        uint16_t cmd;
        size_t complete;
        uint8_t body[40];
    } cases[] = {
        {VFIO_USER_DMA_UNMAP, 24, {24}},
        {VFIO_USER_DMA_UNMAP, 40, {48, 0, 0, 0, 1}},
        {VFIO_USER_DEVICE_FEATURE, 16, {64, 0, 0, 0, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, 0, 2}},
        {VFIO_USER_DEVICE_FEATURE, 24, {64, 0, 0, 0, VFIO_DEVICE_FEATURE_DMA_LOGGING_START, 0, 2}},
        {VFIO_USER_DEVICE_FEATURE, 32, {64, 0, 0, 0, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, 0, 1}},
        {VFIO_USER_MIG_DATA_READ, 8, {8}},
        {VFIO_USER_MIG_DATA_WRITE, 8, {8}},
    };
    struct session *s;

    NOT_ON_REFERENCE(UNSAFE);
    s = device();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t size = 0; size < cases[i].complete; size++) {
            request_fails(s, cases[i].cmd, cases[i].body, size, EINVAL);
        }
    }
    assert_int_equal(calls_of(CALL_TRANSITION), 0);
}

/* Config space with all capabilities, read and written at every offset in many lengths. */
TEST(all_of_config_space)
{
    static const uint32_t lengths[] = {1, 2, 3, 4, 7, 8, 12, 13, 24, 60, 64, 200};
    struct session *s;
    uint8_t data[200];

    NOT_ON_REFERENCE(UNSAFE);
    s = device();
    for (unsigned fill = 0; fill < 3; fill++) {
        memset(data, (int[]){0, 0xff, 0x55}[fill], sizeof(data));
        for (unsigned offset = 0; offset < 300; offset++) {
            for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
                uint16_t id = send_region_write(s, CONFIG, offset, data, lengths[i]);

                answered(s, id, VFIO_USER_REGION_WRITE);
                config_bytes(s, offset, lengths[i]);
                calls.count = 0;
            }
        }
    }
    for (unsigned offset = 4000; offset < 4100; offset++) {
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            uint16_t id = send_region_write(s, CONFIG, offset, data, lengths[i]);

            assert_int_equal(answered(s, id, VFIO_USER_REGION_WRITE), offset + lengths[i] <= 4096);
        }
    }
    /* What identifies the capabilities is untouched. */
    assert_int_equal(config_get(s, 0x40, 1), PCI_CAP_ID_EXP);
    assert_int_equal(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_PM), 0xa0);
    assert_int_equal(vfu_pci_find_capability(s->ctx, false, PCI_CAP_ID_VNDR), 0xa8);
    assert_int_equal(vfu_pci_find_capability(s->ctx, true, PCI_EXT_CAP_ID_DSN), 256);
}

/* fds belong to the header; those that come with the body do not stay open. */
TEST(fds_with_the_body)
{
    struct session *s = device();
    struct vfio_user_dma_map body = dma_map_body(DMA_RW | DMA_MMAP, 0, BASE, PS);
    struct vfio_user_header header = command_header(s, VFIO_USER_DMA_MAP, sizeof(body));
    struct vfio_user_header fake;
    int fd = guest_file(PS);
    size_t fds = fd_count();

    send_message(s->client, &header, NULL, 0, NULL, 0);
    memcpy(&fake, &body, sizeof(fake));
    send_message(s->client, &fake, (uint8_t *)&body + 16, sizeof(body) - 16, &fd, 1);
    assert_in_range(run(s), 0, 1);
    receive(s);
    dma_unmap_fails(s, 2 * BASE, PS, ENOENT);
    lose_client(s);
    assert_int_equal(fd_count(), fds - 2);
    assert_int_equal(guest_mapping_count(), 0);
    close(fd);
}

/* More fds than this process may have: some are lost on the way, the rest must not stay. */
TEST(no_room_for_fds)
{
    struct session *s = device();
    struct rlimit limit, tight;
    const int sent[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    size_t fds = fd_count();

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (rlim_t room = 0; room < (on_reference() ? 1 : 4); room++) { /* the reference loses those that arrive */
        const int lowest = dup(0);

        close(lowest);
        tight = limit;
        tight.rlim_cur = (rlim_t)lowest + room;
        send_request_fds(s, VFIO_USER_DEVICE_RESET, NULL, 0, sent, ARRAY_LEN(sent));
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        run(s);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(s->result, -1);
        assert_int_equal(s->run_errno, EFAULT);
        assert_int_equal(calls_of(CALL_RESET), 0);
        assert_true(nothing_to_receive(s->client));
        assert_int_equal(fd_count(), fds);
        assert_serving(s);
    }
}

TEST(twin_socket_is_spoken_to)
{
    struct session *s = new_session();
    uint8_t junk[4096];

    memset(junk, 0xff, sizeof(junk));
    use_dma(s);
    realize(s);
    connect_client_with(s, "{\"capabilities\":{\"twin_socket\":{\"supported\":true}}}");
    assert_int_equal(send(s->twin, junk, sizeof(junk), MSG_NOSIGNAL), sizeof(junk));
    assert_serving(s);
    close(s->twin);
    s->twin = -1;
    assert_serving(s);
}

/* A client that never speaks, next to others that come and go. */
TEST(silent_clients)
{
    struct session *s;

    NOT_ON_REFERENCE("negotiation blocks in non-blocking contexts");
    s = device();
    lose_client(s);
    for (int i = 0; i < 3; i++) {
        int silent = connect_raw(s);

        for (int n = 0; n < 3; n++) {
            assert_fails(vfu_attach_ctx(s->ctx), EAGAIN);
        }
        assert_int_equal(send(silent, "\1", 1, MSG_NOSIGNAL), 1);
        assert_fails(vfu_attach_ctx(s->ctx), EAGAIN);
        close(silent);
        assert_int_equal(vfu_attach_ctx(s->ctx), -1);
        connect_client(s);
        assert_serving(s);
        lose_client(s);
    }
}

/* Whatever may be NULL is NULL. */
TEST(null_arguments)
{
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, temp_path("null"), LIBVFIO_USER_FLAG_ATTACH_NB, NULL,
                                    VFU_DEV_TYPE_PCI);

    assert_non_null(ctx);
    assert_null(vfu_get_private(ctx));
    assert_null(vfu_pci_get_config_space(ctx));
    assert_int_equal(vfu_setup_log(ctx, NULL, LOG_DEBUG), 0);
    vfu_log(ctx, LOG_ERR, "to nobody");
    for (int region = 0; region < VFU_PCI_DEV_NUM_REGIONS; region++) {
        assert_int_equal(vfu_setup_region(ctx, region, 256, NULL, VFU_REGION_FLAG_RW, NULL, 0, -1, 0), 0);
    }
    for (int type = 0; type < VFU_DEV_NUM_IRQS; type++) {
        assert_int_equal(vfu_setup_irq_state_callback(ctx, (enum vfu_dev_irq_type)type, NULL), 0);
    }
    assert_int_equal(vfu_setup_device_reset_cb(ctx, NULL), 0);
    vfu_setup_device_quiesce_cb(ctx, NULL);
    assert_int_equal(vfu_setup_device_dma(ctx, 16, NULL, NULL), 0);
    assert_int_equal(vfu_realize_ctx(ctx), 0);
    assert_fails(vfu_device_quiesced(ctx, 0), EINVAL);
    assert_fails(vfu_attach_ctx(ctx), EAGAIN);
    vfu_destroy_ctx(ctx);
    vfu_destroy_ctx(NULL);
}

/* A device without any callback serves all requests. */
TEST(device_without_callbacks)
{
    struct session *s = new_session();
    const uint32_t mask[5] = {20, VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_DATA_NONE, VFU_DEV_MSIX_IRQ, 0, 1};
    int fd = guest_file(PS);

    assert_int_equal(vfu_setup_device_dma(s->ctx, 16, NULL, NULL), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_MSIX_IRQ, 1), 0);
    assert_int_equal(vfu_setup_region(s->ctx, 0, 256, NULL, VFU_REGION_FLAG_RW, NULL, 0, -1, 0), 0);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    dma_unmap(s, BASE, PS);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    close(fd);
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    request(s, VFIO_USER_DEVICE_SET_IRQS, mask, sizeof(mask));
    region_read_fails(s, 0, 0, 4, EINVAL);
    config_get(s, 0, 4);
    lose_client(s);
    connect_client(s);
    assert_serving(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_command_with_every_length),
        CASE(almost_valid_requests),
        CASE(random_bytes),
        CASE(largest_message),
        CASE(truncated_requests),
        CASE(all_of_config_space),
        CASE(fds_with_the_body),
        CASE(no_room_for_fds),
        CASE(twin_socket_is_spoken_to),
        CASE(silent_clients),
        CASE(null_arguments),
        CASE(device_without_callbacks),
    };
    return RUN(tests);
}
