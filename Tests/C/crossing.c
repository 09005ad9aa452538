/* DMA_READ and DMA_WRITE on the socket that requests come on, too; answers that bring more than was asked for. */
#include "support.h"

#define BASE UINT64_C(0x10000)

static struct session *device(void)
{
    struct session *s = new_session();

    use_dma(s);
    use_region(s, 0, 0x1000, VFU_REGION_FLAG_RW);
    start(s);
    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    return s;
}

/*
 * An answer that is there before the question, whose number is known: so one thread is enough. `more` bytes follow
 * what was asked for.
 */
static void answer(struct session *s, uint16_t id, uint32_t flags, uint32_t error_no, uint64_t count, size_t more)
{
    struct vfio_user_header header = {
        .msg_id = id,
        .cmd = VFIO_USER_DMA_READ,
        .msg_size = (uint32_t)(32 + count + more),
        .flags = VFIO_USER_F_TYPE_REPLY | flags,
        .error_no = error_no,
    };
    uint8_t body[64] = {0};
    struct vfio_user_dma_region_access access = {.addr = BASE, .count = count};

    memcpy(body, &access, sizeof(access));
    memset(body + 16, 0x5a, sizeof(body) - 16);
    send_message(s->client, &header, body, 16 + count + more, NULL, 0);
}

static int read_memory(struct session *s, uint8_t *data, size_t count)
{
    uint64_t sg[5];

    assert_int_equal(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)BASE, count, (dma_sg_t *)sg, 1, PROT_READ), 1);
    memset(data, 0, count);
    return vfu_sgl_read(s->ctx, (dma_sg_t *)sg, 1, data, 0);
}

/* Looks at the question, which must be this one, without descriptors. */
static void assert_question(struct session *s, uint16_t id, uint64_t count)
{
    const uint64_t body[2] = {BASE, count};
    struct reply *question = receive(s);

    assert_int_equal(question->header.msg_id, id);
    assert_int_equal(question->header.cmd, VFIO_USER_DMA_READ);
    assert_int_equal(question->header.flags, 0);
    assert_int_equal(question->header.error_no, 0);
    assert_int_equal(question->size, 16);
    assert_memory_equal(question->data, body, 16);
    assert_int_equal(question->nr_fds, 0);
}

/* Requests that come instead of the answer wait, and keep their order and their descriptors. */
TEST(requests_that_cross_a_command)
{
    struct session *s;
    struct vfio_user_dma_map map = dma_map_body(DMA_RW | DMA_MMAP, 0, 2 * BASE, PS);
    struct vfio_device_info info = {.argsz = 16};
    uint16_t ids[3];
    uint8_t data[4];
    int fd;

    NOT_ON_REFERENCE("it takes them for the answer");
    s = device();
    fd = guest_file(PS);
    ids[0] = send_region_write(s, 0, 0, "abcd", 4);
    ids[1] = send_request_fds(s, VFIO_USER_DMA_MAP, &map, sizeof(map), &fd, 1);
    ids[2] = send_request(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info));
    close(fd);
    answer(s, 1, 0, 0, sizeof(data), 0);
    clear_calls();
    assert_int_equal(read_memory(s, data, sizeof(data)), 0);
    assert_memory_equal(data, "ZZZZ", 4);
    assert_int_equal(calls.count, 0); /* none is carried out in between */
    assert_question(s, 1, sizeof(data));
    assert_true(nothing_to_receive(s->client));
    for (int handled = 0; handled < 3; handled += s->result) {
        assert_in_range(run(s), 1, 3);
    }
    assert_success(s, receive(s), ids[0], VFIO_USER_REGION_WRITE);
    assert_success(s, receive(s), ids[1], VFIO_USER_DMA_MAP);
    assert_success(s, receive(s), ids[2], VFIO_USER_DEVICE_GET_INFO);
    assert_int_equal(call(CALL_REGION, 0)->count, 4);
    assert_non_null(call(CALL_REGISTER, 0)->info.vaddr);
    assert_serving(s);
}

static unsigned warnings;

static void count_warnings(vfu_ctx_t *ctx, int level, const char *msg)
{
    (void)ctx;
    (void)msg;
    warnings += level == LOG_WARNING ? 1 : 0;
}

/* A program whose clients do that is told so, once for each of them. */
TEST(crossing_is_logged_once)
{
    struct session *s;
    struct vfio_device_info info = {.argsz = 16};
    uint8_t data[2];

    NOT_ON_REFERENCE("it warns of the possibility");
    s = device();
    assert_int_equal(vfu_setup_log(s->ctx, count_warnings, LOG_WARNING), 0);
    warnings = 0;
    for (uint16_t id = 1; id < 4; id++) {
        uint16_t request = send_request(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info));

        answer(s, id, 0, 0, sizeof(data), 0);
        assert_int_equal(read_memory(s, data, sizeof(data)), 0);
        assert_question(s, id, sizeof(data));
        assert_int_equal(run(s), 1);
        assert_success(s, receive(s), request, VFIO_USER_DEVICE_GET_INFO);
        assert_int_equal(warnings, 1);
    }
}

/* Numbers begin at 1 and go up by one, in each context. */
TEST(every_context_counts_for_itself)
{
    NOT_ON_REFERENCE("it counts for the whole process");
    for (int i = 0; i < 2; i++) {
        struct session *s = device();
        uint8_t data[2];

        for (uint16_t id = 1; id < 4; id++) {
            answer(s, id, 0, 0, sizeof(data), 0);
            assert_int_equal(read_memory(s, data, sizeof(data)), 0);
            assert_question(s, id, sizeof(data));
        }
    }
}

/* What is behind the data, or behind the header of an error, is not the next message. */
TEST(answers_with_more_than_needed)
{
    struct session *s;
    uint8_t data[2];

    NOT_ON_REFERENCE("it takes the rest for the next message");
    s = device();
    answer(s, 1, 0, 0, sizeof(data), 30);
    assert_int_equal(read_memory(s, data, sizeof(data)), 0);
    assert_memory_equal(data, "ZZ", 2);
    assert_question(s, 1, sizeof(data));
    answer(s, 2, VFIO_USER_F_ERROR, EIO, sizeof(data), 5);
    assert_fails(read_memory(s, data, sizeof(data)), EIO);
    assert_question(s, 2, sizeof(data));
    answer(s, 3, 0, 0, sizeof(data), 0);
    assert_int_equal(read_memory(s, data, sizeof(data)), 0);
    assert_question(s, 3, sizeof(data));
    assert_serving(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(requests_that_cross_a_command),
        CASE(crossing_is_logged_once),
        CASE(every_context_counts_for_itself),
        CASE(answers_with_more_than_needed),
    };
    return RUN(tests);
}
