/* vfu_sgl_read and vfu_sgl_write by messages to the client (DMA_READ, DMA_WRITE), whom a thread plays. */
#include "support.h"
#include "responder.h"

#define TWIN_JSON(size)                                                                                       \
    "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":" size ",\"twin_socket\":{\"supported\":true}}}"

struct setting {
    struct session *s;
    struct responder responder;
    uint64_t sg[5];
    int fd;
    size_t size;
};

/* The region is all of the client's file, mapped with the given mode (0: no fd, messages). */
static void set_up(struct setting *t, uint32_t mode, const char *json)
{
    memset(t, 0, sizeof(*t));
    t->s = new_session();
    use_dma(t->s);
    use_quiesce_and_reset(t->s);
    realize(t->s);
    connect_client_with(t->s, json);
    t->size = MEMORY_SIZE;
    t->fd = guest_file(t->size);
    t->responder.memory = guest_view(t->fd, t->size);
    dma_map(t->s, DMA_RW | mode, 0, BASE, t->size, mode == 0 ? -1 : t->fd);
    start_responder(&t->responder, t->s->twin != -1 ? t->s->twin : t->s->client);
}

static void tear_down(struct setting *t)
{
    stop_responder(&t->responder);
    munmap(t->responder.memory, t->size);
    close(t->fd);
}

static dma_sg_t *sg_of(struct setting *t, uint64_t offset, size_t len)
{
    assert_int_equal(vfu_addr_to_sgl(t->s->ctx, (vfu_dma_addr_t)(BASE + offset), len, (dma_sg_t *)t->sg, 1,
                                     PROT_READ | PROT_WRITE),
                     1);
    return (dma_sg_t *)t->sg;
}

static void fill(uint8_t *data, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i * 31 + i / 251 + seed);
    }
}

static void round_trip(struct setting *t, uint64_t offset, size_t size, int flags)
{
    uint8_t *data = malloc(size), *back = malloc(size);

    assert_non_null(data);
    assert_non_null(back);
    fill(data, size, 1);
    assert_int_equal(vfu_sgl_write(t->s->ctx, sg_of(t, offset, size), 1, data, flags), 0);
    assert_memory_equal(t->responder.memory + offset, data, size);
    fill(t->responder.memory + offset, size, 77);
    assert_int_equal(vfu_sgl_read(t->s->ctx, sg_of(t, offset, size), 1, back, flags), 0);
    assert_memory_equal(t->responder.memory + offset, back, size);
    free(data);
    free(back);
}

static const uint32_t modes[] = {0, DMA_MMAP, DMA_FILE};

TEST(direct_if_possible)
{
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct setting t;

        set_up(&t, modes[i], TWIN_JSON("4096"));
        assert_int_not_equal(t.s->twin, -1);
        round_trip(&t, 100, 64, VFU_SGL_DIRECT_ACCESS);
        tear_down(&t);
        assert_int_equal(t.responder.messages, modes[i] == 0 ? 2 : 0);
        end_session(t.s);
    }
}

/* Without the flag it is messages in every mode, in pieces the client can take. */
TEST(large_transfers_are_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct setting t;
        const size_t size = 2 * 4096 + 42;

        set_up(&t, modes[i], TWIN_JSON("4096"));
        round_trip(&t, 7, size, 0);
        tear_down(&t);
        assert_int_equal(t.responder.messages, 6);
        for (unsigned m = 0; m < 6; m++) {
            assert_int_equal(t.responder.headers[m].cmd, m < 3 ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ);
            assert_int_equal(t.responder.addrs[m], BASE + 7 + 4096 * (m % 3));
            assert_int_equal(t.responder.counts[m], m % 3 == 2 ? 42 : 4096);
            if (m > 0) {
                assert_int_equal((uint16_t)(t.responder.headers[m - 1].msg_id + 1), t.responder.headers[m].msg_id);
            }
        }
        end_session(t.s);
    }
}

TEST(odd_chunks)
{
    struct setting t;

    set_up(&t, 0, TWIN_JSON("7"));
    round_trip(&t, 0, 15, 0);
    tear_down(&t);
    assert_int_equal(t.responder.messages, 6);
    assert_int_equal(t.responder.counts[1], 7);
    assert_int_equal(t.responder.counts[2], 1);
}

/* By default a message carries up to 1 MiB. */
TEST(default_chunks)
{
    struct setting t;

    set_up(&t, 0, "{\"capabilities\":{\"twin_socket\":{\"supported\":true}}}");
    t.responder.manner = PROPERLY;
    round_trip(&t, 0, 100000, 0);
    tear_down(&t);
    assert_int_equal(t.responder.messages, 2);
    assert_int_equal(t.responder.counts[0], 100000);
}

TEST(chunks_have_a_limit)
{
    struct setting t;

    NOT_ON_REFERENCE("the client's max_data_xfer_size is not capped, and larger replies are then refused");
    set_up(&t, 0, TWIN_JSON("268435456"));
    round_trip(&t, 0, MAX_DATA + 10, 0);
    tear_down(&t);
    assert_int_equal(t.responder.messages, 4);
    for (unsigned m = 0; m < t.responder.messages; m++) {
        assert_true(t.responder.counts[m] <= MAX_DATA);
    }
}

/* Without a second socket the first one serves both directions. */
TEST(main_socket)
{
    struct setting t;

    set_up(&t, 0, "{\"capabilities\":{\"max_data_xfer_size\":4096}}");
    assert_int_equal(t.s->twin, -1);
    round_trip(&t, 5, 5000, 0);
    round_trip(&t, 5, 50, VFU_SGL_DIRECT_ACCESS);
    tear_down(&t);
    assert_int_equal(t.responder.messages, 6);
    assert_serving(t.s);
}

TEST(bad_arguments)
{
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct setting t;
        uint8_t data[128] = {0};
        dma_sg_t *sg;

        set_up(&t, modes[i], TWIN_JSON("4096"));
        sg = sg_of(&t, 0, 64);
        assert_fails(vfu_sgl_write(t.s->ctx, sg, 1, data, 0x42), EINVAL);
        assert_fails(vfu_sgl_read(t.s->ctx, sg, 1, data, 0x42), EINVAL);
        assert_fails(vfu_sgl_write(t.s->ctx, sg, 2, data, 0), ENOTSUP);
        assert_fails(vfu_sgl_read(t.s->ctx, sg, 2, data, 0), ENOTSUP);
        /* Not looked up for writing. */
        assert_int_equal(vfu_addr_to_sgl(t.s->ctx, (vfu_dma_addr_t)BASE, 64, sg, 1, PROT_READ), 1);
        assert_fails(vfu_sgl_write(t.s->ctx, sg, 1, data, 0), EPERM);
        assert_fails(vfu_sgl_write(t.s->ctx, sg, 2, data, 0), ENOTSUP);
        assert_fails(vfu_sgl_write(t.s->ctx, sg, 2, data, 0x42), EINVAL);
        tear_down(&t);
        assert_int_equal(t.responder.messages, 0);
        end_session(t.s);
    }
}

/* Both directions fail with the errno, the connection goes on, and the next transfer works. */
static void survivable(enum manner manner, uint32_t error_no, int expected)
{
    uint8_t data[64] = {0};

    for (int writing = 0; writing < 2; writing++) {
        struct setting t;
        dma_sg_t *sg;

        set_up(&t, 0, TWIN_JSON("4096"));
        t.responder.manner = manner;
        t.responder.error_no = error_no;
        sg = sg_of(&t, 0, sizeof(data));
        if (writing) {
            assert_fails(vfu_sgl_write(t.s->ctx, sg, 1, data, 0), expected);
        } else {
            assert_fails(vfu_sgl_read(t.s->ctx, sg, 1, data, 0), expected);
        }
        assert_int_equal(t.responder.messages, 1);
        assert_int_equal(calls_of(CALL_RESET), 0);
        assert_serving(t.s);
        if (manner == WITH_ERROR) {
            t.responder.manner = PROPERLY;
            round_trip(&t, 0, 64, 0);
        }
        tear_down(&t);
        end_session(t.s);
        memset(&calls, 0, sizeof(calls));
    }
}

TEST(error_replies)
{
    survivable(WITH_ERROR, EIO, EIO);
    survivable(WITH_ERROR, 1, EPERM);
    survivable(WITH_ERROR, 4096, 4096);
    survivable(WITH_ERROR, 0, EINVAL);
    survivable(WITH_ERROR, 4097, EINVAL);
    survivable(WITH_ERROR, 0xffffffff, EINVAL);
    survivable(WITH_ERROR_AND_PAYLOAD, EIO, EIO);
}

TEST(replies_that_do_not_fit)
{
    survivable(WITH_OTHER_ID, 0, EPROTO);
    survivable(WITH_A_COMMAND, 0, EINVAL);
    survivable(WITH_TINY_SIZE, 0, EINVAL);
    survivable(WITH_HUGE_SIZE, 0, EINVAL);
    survivable(WITH_HEADER_ONLY, 0, EINVAL);
    survivable(WITH_OTHER_ADDRESS, 0, EINVAL);
    survivable(WITH_OTHER_COUNT, 0, EINVAL);
}

TEST(command_of_the_reply_does_not_matter)
{
    struct setting t;

    set_up(&t, 0, TWIN_JSON("4096"));
    t.responder.manner = WITH_OTHER_COMMAND;
    round_trip(&t, 0, 64, 0);
    tear_down(&t);
}

/* A reply cut short means the client is gone; the context is reset inside the call. */
static void fatal(enum manner manner, const char *json)
{
    static const enum call_kind expected[] = {CALL_QUIESCE, CALL_UNREGISTER, CALL_RESET};
    uint8_t data[64] = {0};

    for (int writing = 0; writing < 2; writing++) {
        struct setting t;
        dma_sg_t *sg;

        set_up(&t, 0, json);
        clear_calls();
        t.responder.manner = manner;
        sg = sg_of(&t, 0, sizeof(data));
        if (writing) {
            assert_fails(vfu_sgl_write(t.s->ctx, sg, 1, data, 0), ENOTCONN);
        } else {
            assert_fails(vfu_sgl_read(t.s->ctx, sg, 1, data, 0), ENOTCONN);
        }
        assert_sequence(expected, ARRAY_LEN(expected));
        assert_int_equal(call(CALL_RESET, 0)->value, VFU_RESET_LOST_CONN);
        assert_fails(vfu_run_ctx(t.s->ctx), ENOTCONN);
        tear_down(&t);
        close_client(t.s);
        connect_client(t.s);
        assert_serving(t.s);
        end_session(t.s);
        clear_calls();
    }
}

TEST(client_leaves_instead_of_replying)
{
    fatal(BY_CLOSING, TWIN_JSON("4096"));
    fatal(BY_CLOSING_IN_THE_MIDDLE, TWIN_JSON("4096"));
    fatal(BY_CLOSING, "{}");
    fatal(BY_CLOSING_IN_THE_MIDDLE, "{}");
}

/* As is one that from its header on is too short for what was asked. */
TEST(reply_announces_too_little)
{
    fatal(WITH_TOO_LITTLE, TWIN_JSON("4096"));
}

static struct setting *inner;

static void dma_on_access(vfu_ctx_t *ctx, const struct call *call)
{
    uint8_t data[4] = {9, 8, 7, 6};

    if (call->kind == CALL_REGION) {
        calls.memory[100] = vfu_sgl_write(ctx, sg_of(inner, 0, 4), 1, data, 0) == 0;
    }
}

/* The usual case: a register write makes the device do DMA before the write is answered. */
TEST(from_inside_a_callback)
{
    struct setting t;

    set_up(&t, 0, TWIN_JSON("4096"));
    inner = &t;
    use_region(t.s, 0, 0x1000, VFU_REGION_FLAG_RW);
    calls.hook = dma_on_access;
    region_write(t.s, 0, 0, "go", 2);
    calls.hook = NULL;
    assert_int_equal(calls.memory[100], 1);
    assert_memory_equal(t.responder.memory, "\x09\x08\x07\x06", 4);
    tear_down(&t);
    assert_int_equal(t.responder.messages, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(direct_if_possible),
        CASE(large_transfers_are_cut),
        CASE(odd_chunks),
        CASE(default_chunks),
        CASE(chunks_have_a_limit),
        CASE(main_socket),
        CASE(bad_arguments),
        CASE(error_replies),
        CASE(replies_that_do_not_fit),
        CASE(command_of_the_reply_does_not_matter),
        CASE(client_leaves_instead_of_replying),
        CASE(reply_announces_too_little),
        CASE(from_inside_a_callback),
    };
    return RUN(tests);
}
