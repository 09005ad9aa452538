/* REGION_WRITE_MULTI: several small register writes in one request, for clients that asked for it. */
#include "support.h"

struct write {
    uint64_t offset;
    uint32_t region, count;
    uint8_t data[8];
};

#define QUIRK "REGION_WRITE_MULTI is not implemented"

static struct session *device(void)
{
    struct session *s = new_session();

    use_region(s, 0, 0x1000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    use_region(s, 2, 0x1000, VFU_REGION_FLAG_RW);
    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0), 0);
    realize(s);
    connect_client_with(s, "{\"capabilities\":{\"write_multiple\":true}}");
    assert_non_null(strstr((const char *)s->reply.data + 4, "\"write_multiple\""));
    return s;
}

static size_t body_of(uint8_t *body, uint64_t announced, const struct write *writes, size_t n)
{
    memcpy(body, &announced, sizeof(announced));
    if (n > 0) {
        memcpy(body + 8, writes, n * sizeof(*writes));
    }
    return 8 + n * sizeof(*writes);
}

TEST(writes_are_done_in_order)
{
    static const struct write writes[] = {
        {.offset = 0x10, .region = 0, .count = 4, .data = "abcd"},
        {.offset = 0xff8, .region = 2, .count = 8, .data = "01234567"},
        {.offset = 0x12, .region = 0, .count = 1, .data = "X"},
        {.offset = 0x3c, .region = VFU_PCI_DEV_CFG_REGION_IDX, .count = 1, .data = {0x2a}},
    };
    struct session *s;
    uint8_t body[256];
    uint64_t done;
    struct reply *reply;

    NOT_ON_REFERENCE(QUIRK);
    s = device();
    reply = request(s, VFIO_USER_REGION_WRITE_MULTI, body, body_of(body, 4, writes, 4));
    assert_int_equal(reply->size, 8);
    memcpy(&done, reply->data, sizeof(done));
    assert_int_equal(done, 4);
    assert_int_equal(calls.count, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct call *c = call(CALL_REGION, i);

        assert_true(c->flag);
        assert_int_equal(c->offset, writes[i].offset);
        assert_int_equal(c->count, writes[i].count);
        assert_memory_equal(c->data, writes[i].data, writes[i].count);
    }
    assert_memory_equal(calls.memory + 0x10, "abXd", 4);
    assert_int_equal(config_get(s, 0x3c, 1), 0x2a);
}

/* What does not fit its own announcement is refused before anything is written. */
TEST(malformed)
{
    static const struct write writes[2] = {{.offset = 0, .region = 0, .count = 4}, {.offset = 4, .count = 4}};
    static const uint64_t wrong[] = {3, 100, 0xffffffff, UINT64_C(1) << 32 | 2, UINT64_MAX, UINT64_MAX / 24 + 1,
                                     UINT64_MAX / 24 + 3};
    struct session *s;
    uint8_t body[256];
    size_t size;

    NOT_ON_REFERENCE(QUIRK);
    s = device();
    size = body_of(body, 2, writes, 2);
    for (size_t cut = 1; cut < size; cut++) {
        request_fails(s, VFIO_USER_REGION_WRITE_MULTI, body, cut, EINVAL);
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        size = body_of(body, wrong[i], writes, 2);
        request_fails(s, VFIO_USER_REGION_WRITE_MULTI, body, size, EINVAL);
    }
    assert_int_equal(calls.count, 0);
    assert_serving(s);
}

/* After a write that fails nothing more is done. */
TEST(failing_write)
{
    static const struct write bad[] = {
        {.offset = 0, .region = 0, .count = 9},
        {.offset = 0, .region = 0, .count = 0xffffffff},
        {.offset = 0, .region = 9, .count = 4},
        {.offset = 0, .region = 1, .count = 4},
        {.offset = 0xffd, .region = 0, .count = 4},
        {.offset = UINT64_MAX, .region = 0, .count = 8},
        {.offset = 0, .region = VFU_PCI_DEV_CFG_REGION_IDX, .count = 4},
    };
    struct session *s;

    NOT_ON_REFERENCE(QUIRK);
    s = device();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct write writes[3] = {{.offset = 0, .region = 0, .count = 4}, bad[i], {.offset = 8, .count = 4}};
        uint8_t body[256];
        struct reply *reply;

        clear_calls();
        send_request(s, VFIO_USER_REGION_WRITE_MULTI, body, body_of(body, 3, writes, 3));
        assert_in_range(run(s), 0, 1);
        reply = receive(s);
        assert_in_range(calls.count, 0, 1);
        if ((reply->header.flags & VFIO_USER_F_ERROR) == 0) {
            uint64_t done;

            assert_int_equal(reply->size, 8);
            memcpy(&done, reply->data, sizeof(done));
            assert_int_equal(done, calls.count);
        } else {
            assert_int_equal(reply->header.error_no, EINVAL);
            assert_int_equal(reply->size, 0);
        }
    }
    assert_serving(s);
}

TEST(not_without_having_been_negotiated)
{
    static const struct write write = {.offset = 0, .region = 0, .count = 4};
    struct session *s = new_session();
    uint8_t body[64];

    use_region(s, 0, 0x1000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    start(s);
    assert_null(strstr((const char *)s->reply.data + 4, "write_multiple"));
    request_fails(s, VFIO_USER_REGION_WRITE_MULTI, body, body_of(body, 1, &write, 1), EINVAL);
    assert_int_equal(calls.count, 0);
    assert_serving(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(writes_are_done_in_order),
        CASE(malformed),
        CASE(failing_write),
        CASE(not_without_having_been_negotiated),
    };
    return RUN(tests);
}
