/*
 * Clients that mean harm, and programs that pass NULL: whatever comes, every complete message is answered, the
 * server goes on, and nothing leaks.
 */
#include "support.h"
#include "full_device.h"

#include <pthread.h>
#include <sys/resource.h>

#define BASE UINT64_C(0x10000)

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
    s = full_device();
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
    s = full_device();
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
    s = full_device();
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

/*
 * fds belong to the header. Those that come with the body are the request's only if both arrive at once, when they
 * cannot be told apart; otherwise they do not stay open.
 */
TEST(fds_with_the_body)
{
    struct session *s = full_device();
    struct vfio_user_dma_map body = dma_map_body(DMA_RW | DMA_MMAP, 0, BASE, PS);
    int fd = guest_file(PS);
    size_t fds = fd_count();

    for (int at_once = 0; at_once < 2; at_once++) {
        struct vfio_user_header header = command_header(s, VFIO_USER_DMA_MAP, sizeof(body));
        struct vfio_user_header fake;

        clear_calls();
        send_message(s->client, &header, NULL, 0, NULL, 0);
        if (!at_once && !on_reference()) { /* which would wait for the body */
            assert_int_equal(run(s), 0);
        }
        memcpy(&fake, &body, sizeof(fake));
        send_message(s->client, &fake, (uint8_t *)&body + 16, sizeof(body) - 16, &fd, 1);
        assert_int_equal(run(s), 1);
        if (at_once && !on_reference()) {
            assert_success(s, receive(s), header.msg_id, VFIO_USER_DMA_MAP);
            assert_int_equal(calls_of(CALL_REGISTER), 1);
        } else {
            assert_error(s, receive(s), header.msg_id, VFIO_USER_DMA_MAP, EINVAL); /* it came without an fd */
            assert_int_equal(calls_of(CALL_REGISTER), 0);
            assert_int_equal(fd_count(), fds);
        }
    }
    lose_client(s);
    assert_int_equal(fd_count(), fds - 2);
    assert_int_equal(guest_mapping_count(), 0);
    close(fd);
}

/* More fds than this process may have: some are lost on the way, the rest must not stay. */
TEST(no_room_for_fds)
{
    struct session *s = full_device();
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
    s = full_device();
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
