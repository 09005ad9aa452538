/* Which error a request gets that deserves several, and requests that bring more than they need. */
#include "support.h"
#include "dirty_log.h"

#define EIGHT_TIB (UINT64_C(8) << 40)

/* What is wrong with a header comes before the state of the device, and that before quiescing. */
TEST(the_header_comes_first)
{
    struct session *s = logging_device();
    struct vfio_user_dma_map map = dma_map_body(DMA_RW, 0, 0, PS);
    struct vfio_user_header header;

    clear_calls();
    calls.behave[CALL_QUIESCE].error = ENOTTY;
    for (uint32_t type = 1; type <= VFIO_USER_F_TYPE_MASK; type++) {
        header = command_header(s, VFIO_USER_DMA_MAP, sizeof(map));
        header.flags = type;
        header.msg_size = 16; /* what is behind it is not of interest here */
        send_message(s->client, &header, NULL, 0, NULL, 0);
        assert_int_equal(run(s), 0);
        assert_error(s, receive(s), header.msg_id, header.cmd, EINVAL);
    }
    header = command_header(s, VFIO_USER_DEVICE_RESET, 0);
    header.flags = VFIO_USER_F_TYPE_REPLY;
    send_message(s->client, &header, NULL, 0, NULL, 0);
    assert_int_equal(run(s), 0);
    assert_error(s, receive(s), header.msg_id, header.cmd, EINVAL);
    request_fails(s, VFIO_USER_DMA_MAP, NULL, 0, EINVAL);
    request_fails(s, VFIO_USER_DMA_UNMAP, NULL, 0, EINVAL);
    request_fails(s, VFIO_USER_DEVICE_FEATURE, NULL, 0, EINVAL);
    assert_int_equal(calls.count, 0);
    dma_map_fails(s, DMA_RW, 0, 0, PS, -1, ENOTTY);
    request_fails(s, VFIO_USER_DMA_MAP, &map, 1, ENOTTY); /* the body comes after it */
}

/* Who wants no reply gets none, whatever the request is refused for. */
TEST(refused_without_a_reply)
{
    static const struct {
        uint16_t cmd;
        uint32_t size, flags;
        int quiesce_error;
        uint32_t state;
    } cases[] = {
        {VFIO_USER_DEVICE_RESET, 16, VFIO_USER_F_TYPE_REPLY, 0, VFIO_USER_DEVICE_STATE_RUNNING},
        {VFIO_USER_DEVICE_RESET, 16, 15, 0, VFIO_USER_DEVICE_STATE_RUNNING},
        {VFIO_USER_DEVICE_RESET, 15, 0, 0, VFIO_USER_DEVICE_STATE_RUNNING},
        {VFIO_USER_DEVICE_RESET, MAX_MESSAGE + 1, 0, 0, VFIO_USER_DEVICE_STATE_RUNNING},
        {VFIO_USER_DEVICE_GET_INFO, 16, 0, 0, VFIO_USER_DEVICE_STATE_RUNNING},
        {VFIO_USER_DEVICE_RESET, 16, 0, ENOTTY, VFIO_USER_DEVICE_STATE_RUNNING},
        {VFIO_USER_DEVICE_RESET, 16, 0, 0, VFIO_USER_DEVICE_STATE_STOP},
    };
    struct session *s = logging_device();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct vfio_user_header header = command_header(s, cases[i].cmd, 0);

        set_state(s, cases[i].state);
        calls.behave[CALL_QUIESCE].error = cases[i].quiesce_error;
        header.msg_size = cases[i].size;
        header.flags = cases[i].flags | VFIO_USER_F_NO_REPLY;
        send_message(s->client, &header, NULL, 0, NULL, 0);
        assert_int_equal(run(s), 0);
        assert_true(nothing_to_receive(s->client));
        calls.behave[CALL_QUIESCE].error = 0;
        set_state(s, VFIO_USER_DEVICE_STATE_RUNNING);
        assert_serving(s);
    }
    assert_int_equal(calls_of(CALL_RESET), 0);
}

TEST(errors_of_map)
{
    struct session *s = new_session();
    struct vfio_user_dma_map map = dma_map_body(DMA_RW | DMA_MMAP, 0, A, EIGHT_TIB + 1);
    int fd = guest_file(PS), useless = new_eventfd(0);

    assert_int_equal(vfu_setup_device_dma(s->ctx, 1, on_register, on_unregister), 0);
    use_migration(s);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, A, PS, fd);
    clear_calls();
    /* Lengths and flags before the size. */
    map.argsz = 31;
    request_fds_fails(s, VFIO_USER_DMA_MAP, &map, sizeof(map), &fd, 1, EINVAL);
    dma_map_fails(s, 16, 0, A, EIGHT_TIB + 1, -1, EINVAL);
    dma_map_fails(s, DMA_MMAP, 0, A, EIGHT_TIB + 1, -1, EINVAL);
    dma_map_fails(s, DMA_MMAP | DMA_FILE, 0, A, EIGHT_TIB + 1, fd, EINVAL);
    /* The size before what is there, what is there before the file. */
    dma_map_fails(s, DMA_RW, 0, A, EIGHT_TIB + 1, -1, ENOSPC);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, A, PS, useless, EINVAL);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, A, 2 * PS, useless, EINVAL);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, B, PS, useless, EINVAL); /* one too many */
    dma_unmap(s, A, PS);
    start_logging(s, PS);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, A, PS - 1, useless, EINVAL); /* less than a page of the log */
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, A, PS, useless, ENODEV);
    assert_int_equal(calls_of(CALL_REGISTER), 0);
    close(useless);
    close(fd);
}

static void unmap_fails(struct session *s, uint32_t argsz, uint32_t flags, uint64_t addr, uint64_t page_size,
                        uint64_t bytes, int error)
{
    struct {
        uint32_t argsz, flags;
        uint64_t addr, size, page_size, bytes;
    } body = {argsz, flags, addr, PS, page_size, bytes};

    request_fails(s, VFIO_USER_DMA_UNMAP, &body, sizeof(body), error);
}

/* What the request says of itself comes before whether there is such a region. */
TEST(errors_of_unmap)
{
    struct session *s = logging_device();
    const uint64_t nowhere = 0x1000000;

    unmap_fails(s, 24, 0, nowhere, 0, 0, ENOENT);
    unmap_fails(s, 23, 0, nowhere, 0, 0, EINVAL);
    unmap_fails(s, MAX_DATA + 1, 0, nowhere, 0, 0, EINVAL);
    unmap_fails(s, 24, 4, nowhere, 0, 0, EINVAL);
    unmap_fails(s, 24, VFIO_DMA_UNMAP_FLAG_ALL, nowhere, 0, 0, EINVAL);
    start_logging(s, PS);
    unmap_fails(s, 48, BITMAP, nowhere, PS, 8, ENOENT);
    unmap_fails(s, 47, BITMAP, nowhere, PS, 8, EINVAL);
    unmap_fails(s, 48, BITMAP, A + PS, PS, 8, ENOTSUP);
    unmap_fails(s, 47, BITMAP, A + PS, PS, 8, EINVAL);
    unmap_fails(s, 48, BITMAP | 4, A + PS, PS, 8, EINVAL);
    assert_int_equal(calls_of(CALL_UNREGISTER), 0);
}

TEST(errors_of_report)
{
    struct session *s = logging_device();
    const uint64_t nowhere = 0x1000000;
    struct range r = {nowhere, 16 * PS, PS};

    start_logging(s, PS);
    /* Page size, then argsz, then whether it is mapped, then whether from its start on. */
    report_fails(s, nowhere, 16 * PS, 0, EINVAL);
    report_fails(s, nowhere, PS, 2 * PS, EINVAL);
    feature_fails(s, FEATURE_GET(REPORT), 39, &r, sizeof(r), EINVAL);
    feature_fails(s, FEATURE_GET(REPORT), 40, &r, sizeof(r), ENOENT);
    report_fails(s, A + PS, 4 * PS, 0, EINVAL);
    r.iova = A + PS;
    feature_fails(s, FEATURE_GET(REPORT), 39, &r, sizeof(r), EINVAL);
    feature_fails(s, FEATURE_GET(REPORT), 40, &r, sizeof(r), ENOTSUP);
    /* The rest after that. */
    report_fails(s, nowhere, 16 * PS, 3 * PS, ENOENT);
    report_fails(s, A + PS, 4 * PS, 3 * PS, ENOTSUP);
    report_fails(s, nowhere, PS / 2, PS / 2, ENOENT);
    report_fails(s, A + PS, PS / 2, PS / 2, ENOTSUP);
    report_fails(s, B + PS, PS, PS, ENOTSUP); /* no memory */
    stop_logging(s);
    report_fails(s, B + PS, PS, PS, ENOTSUP);
    report_fails(s, nowhere, PS, PS, ENOENT);
    report_fails(s, nowhere, PS, 0, EINVAL);
}

/* A larger argsz, and bytes behind the struct, are no harm. */
TEST(more_than_needed)
{
    static const uint16_t queries[] = {
        VFIO_USER_DEVICE_GET_INFO, VFIO_USER_DEVICE_GET_REGION_IO_FDS, VFIO_USER_DEVICE_GET_IRQ_INFO};
    struct session *s = new_session();
    uint8_t body[100] = {0};
    struct vfio_user_dma_map map = dma_map_body(DMA_RW, 0, A, PS);
    const uint32_t wanted[2] = {1000, 3};
    uint32_t argsz;
    struct reply *reply;

    use_dma(s);
    use_migration(s);
    use_region(s, 0, PS, VFU_REGION_FLAG_RW);
    start(s);
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        memset(body, 0, sizeof(body));
        memset(body + 16, 0xff, sizeof(body) - 16);
        argsz = 0x10000;
        memcpy(body, &argsz, sizeof(argsz));
        reply = request(s, queries[i], body, sizeof(body));
        assert_int_equal(reply->size, 16);
        memcpy(&argsz, reply->data, sizeof(argsz));
        assert_int_equal(argsz, 16);
    }
    map.argsz = 1000;
    memset(body, 0xff, sizeof(body));
    memcpy(body, &map, sizeof(map));
    assert_int_equal(request(s, VFIO_USER_DMA_MAP, body, sizeof(body))->size, 0);
    assert_int_equal(call(CALL_REGISTER, 0)->info.iova.iov_len, PS);
    /* Here the reply is as much longer as the request was. */
    set_state(s, VFIO_USER_DEVICE_STATE_PRE_COPY);
    memset(body, 0xff, sizeof(body));
    memcpy(body, wanted, sizeof(wanted));
    memcpy(calls.memory, "abc", 3);
    reply = request(s, VFIO_USER_MIG_DATA_READ, body, 20);
    assert_int_equal(reply->size, 23);
    assert_memory_equal(reply->data, ((uint32_t[]){11, 3}), 8);
    assert_memory_equal(reply->data + 8, "abc", 3);
    for (size_t i = 11; i < 23; i++) {
        assert_int_equal(reply->data[i], 0);
    }
}

/* Descriptors that no request of its kind has are closed, whatever the request. */
TEST(descriptors_nobody_asked_for)
{
    struct session *s = logging_device();
    const uint32_t set = FEATURE_SET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE);
    const struct {
        uint16_t cmd;
        uint32_t body[8];
        size_t size;
    } cases[] = {
        {VFIO_USER_DEVICE_GET_REGION_INFO, {32}, 32},
        {VFIO_USER_DEVICE_GET_REGION_IO_FDS, {16, 0, 0}, 16},
        {VFIO_USER_DEVICE_GET_IRQ_INFO, {16}, 16},
        {VFIO_USER_REGION_READ, {0, 0, 0, 4}, 16},
        {VFIO_USER_REGION_WRITE, {0, 0, 0, 4, 1}, 20},
        {VFIO_USER_DEVICE_FEATURE, {16, FEATURE_GET(VFIO_DEVICE_FEATURE_MIGRATION)}, 8},
        {VFIO_USER_DEVICE_FEATURE, {16, set, VFIO_USER_DEVICE_STATE_PRE_COPY}, 16},
        {VFIO_USER_MIG_DATA_READ, {12, 4}, 8},
        {VFIO_USER_DEVICE_FEATURE, {16, set, VFIO_USER_DEVICE_STATE_RESUMING}, 16},
        {VFIO_USER_MIG_DATA_WRITE, {12, 4, 1}, 12},
        {VFIO_USER_DMA_UNMAP, {24, VFIO_DMA_UNMAP_FLAG_ALL}, 24},
    };
    const int fds[2] = {0, 1};
    size_t before;

    use_region(s, 0, PS, VFU_REGION_FLAG_RW);
    before = fd_count();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        request_fds(s, cases[i].cmd, cases[i].body, cases[i].size, fds, 2);
        assert_true(fd_count() <= before);
    }
    assert_int_equal(fd_count(), before - 1); /* the region's, which is unmapped */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_header_comes_first),
        CASE(refused_without_a_reply),
        CASE(errors_of_map),
        CASE(errors_of_unmap),
        CASE(errors_of_report),
        CASE(more_than_needed),
        CASE(descriptors_nobody_asked_for),
    };
    return RUN(tests);
}
