/* A device with dirty logging: its regions, the requests of the log, writes that show up in it. */
#include "dirty_log.h"

struct session *logging_device(void)
{
    struct session *s = new_session();
    int fd = guest_file(A_SIZE);

    use_dma(s);
    use_quiesce_and_reset(s);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, A, A_SIZE, fd);
    dma_map(s, DMA_RW, 0, B, B_SIZE, -1);
    use_migration(s);
    close(fd);
    return s;
}

void start_logging(struct session *s, uint64_t page_size)
{
    struct control c = {.page_size = page_size};
    struct reply *reply = feature(s, FEATURE_SET(START), 24, &c, 16);

    assert_int_equal(reply->size, 24);
    assert_memory_equal(reply->data, ((uint32_t[]){24, FEATURE_SET(START)}), 8);
    assert_memory_equal(reply->data + 8, &c, 16);
}

void start_logging_fails(struct session *s, uint64_t page_size, int error)
{
    struct control c = {.page_size = page_size};

    feature_fails(s, FEATURE_SET(START), 24, &c, 16, error);
}

void stop_logging(struct session *s)
{
    struct reply *reply = feature(s, FEATURE_SET(STOP), 8, NULL, 0);

    assert_int_equal(reply->size, 8);
    assert_memory_equal(reply->data, ((uint32_t[]){8, FEATURE_SET(STOP)}), 8);
}

size_t bitmap_size(uint64_t length, uint64_t page_size)
{
    return ((length + page_size - 1) / page_size + 63) / 64 * 8;
}

const uint64_t *report(struct session *s, uint64_t iova, uint64_t length, uint64_t page_size)
{
    struct range r = {iova, length, page_size};
    const size_t total = 32 + bitmap_size(length, page_size);
    struct reply *reply = feature(s, FEATURE_GET(REPORT), (uint32_t)total, &r, sizeof(r));
    uint32_t head[2];

    assert_int_equal(reply->size, total);
    memcpy(head, reply->data, sizeof(head));
    assert_int_equal(head[0], total);
    assert_int_equal(head[1], FEATURE_GET(REPORT));
    assert_memory_equal(reply->data + 8, &r, sizeof(r));
    return (const uint64_t *)(reply->data + 32);
}

void report_fails(struct session *s, uint64_t iova, uint64_t length, uint64_t page_size, int error)
{
    struct range r = {iova, length, page_size};

    feature_fails(s, FEATURE_GET(REPORT), 4096, &r, sizeof(r), error);
}

uint64_t half(struct session *s)
{
    return *report(s, A, 16 * PS, PS);
}

struct sg_entry sg;

void look_up(struct session *s, uint64_t addr, uint64_t len, int prot)
{
    assert_int_equal(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)addr, len, SG, 1, prot), 1);
}

void touch(struct session *s, uint64_t page, uint64_t n)
{
    struct iovec iov;

    look_up(s, page * PS, n * PS, PROT_WRITE);
    assert_int_equal(vfu_sgl_get(s->ctx, SG, &iov, 1, 0), 0);
    vfu_sgl_put(s->ctx, SG, &iov, 1);
}

void make_pattern(struct session *s)
{
    touch(s, A_PAGE, 1);
    touch(s, A_PAGE + 6, 4);
}
