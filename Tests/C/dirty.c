/* Dirty logging: starting, stopping, what gets marked, reports, and unmapping with a bitmap. */
#include "support.h"

#define START VFIO_DEVICE_FEATURE_DMA_LOGGING_START
#define STOP VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP
#define REPORT VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT
#define BITMAP VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP

/* Region A: 32 pages from page 0x10, with memory. Region B: 16 pages from page 0x40, without. */
#define A_PAGE UINT64_C(0x10)
#define A (A_PAGE * PS)
#define A_SIZE (32 * PS)
#define B (0x40 * PS)
#define B_SIZE (16 * PS)

static struct session *device(void)
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

/* The payload of START: page size, number of ranges, reserved. */
struct control {
    uint64_t page_size;
    uint32_t num_ranges, reserved;
};

static void start_logging(struct session *s, uint64_t page_size)
{
    struct control c = {.page_size = page_size};
    struct reply *reply = feature(s, FEATURE_SET(START), 24, &c, 16);

    assert_int_equal(reply->size, 24);
    assert_memory_equal(reply->data + 8, &c, 16);
}

static void start_logging_fails(struct session *s, uint64_t page_size, int error)
{
    struct control c = {.page_size = page_size};

    feature_fails(s, FEATURE_SET(START), 24, &c, 16, error);
}

static void stop_logging(struct session *s)
{
    assert_int_equal(feature(s, FEATURE_SET(STOP), 8, NULL, 0)->size, 8);
}

/* The payload of REPORT. */
struct range {
    uint64_t iova, length, page_size;
};

static size_t bitmap_size(uint64_t length, uint64_t page_size)
{
    return ((length + page_size - 1) / page_size + 63) / 64 * 8;
}

/* Reports a range; the bitmap lives until the next reply. */
static const uint64_t *report(struct session *s, uint64_t iova, uint64_t length, uint64_t page_size)
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

static void report_fails(struct session *s, uint64_t iova, uint64_t length, uint64_t page_size, int error)
{
    struct range r = {iova, length, page_size};

    feature_fails(s, FEATURE_GET(REPORT), 4096, &r, sizeof(r), error);
}

/* The pages of the first half of region A, asked for as 16 pages (the usual request of these tests). */
static uint64_t half(struct session *s)
{
    return *report(s, A, 16 * PS, PS);
}

static struct { uint64_t word[5]; } sg;
#define SG ((dma_sg_t *)&sg)

static void look_up(struct session *s, uint64_t addr, uint64_t len, int prot)
{
    assert_int_equal(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)addr, len, SG, 1, prot), 1);
}

/* Gets and puts pages (numbers are absolute); writable ones become dirty at put. */
static void touch(struct session *s, uint64_t page, uint64_t n)
{
    struct iovec iov;

    look_up(s, page * PS, n * PS, PROT_WRITE);
    assert_int_equal(vfu_sgl_get(s->ctx, SG, &iov, 1, 0), 0);
    vfu_sgl_put(s->ctx, SG, &iov, 1);
}

TEST(starting)
{
    struct session *s = device();

    start_logging_fails(s, 0, EINVAL);
    start_logging(s, PS);
    start_logging(s, PS); /* the same again is fine */
    start_logging_fails(s, PS / 2, EINVAL);
    start_logging_fails(s, 2 * PS, EINVAL);
    start_logging_fails(s, 0, EINVAL);
    assert_int_equal(half(s), 0);
    stop_logging(s);
    stop_logging(s);
    report_fails(s, A, 16 * PS, PS, EINVAL);
    start_logging(s, 2 * PS);
}

TEST(bad_starts)
{
    struct session *s = device();
    struct control c = {.page_size = PS};

    feature_fails(s, FEATURE_SET(START), 8, &c, 16, EINVAL);
    feature_fails(s, FEATURE_SET(START), 23, &c, 16, EINVAL);
    /* Larger than a region. */
    start_logging_fails(s, 2 * A_SIZE, EINVAL);
    report_fails(s, A, 16 * PS, PS, EINVAL);
    start_logging(s, PS);
    c.num_ranges = 0xffffffff; /* ranges do not matter, everything is logged */
    feature(s, FEATURE_SET(START), 24, &c, 16);
}

TEST(nothing_written)
{
    struct session *s = device();
    struct iovec iov;

    start_logging(s, PS);
    assert_int_equal(half(s), 0);
    /* Reading, and looking up for writing, are no writes. */
    look_up(s, A, 4 * PS, PROT_READ);
    assert_int_equal(vfu_sgl_get(s->ctx, SG, &iov, 1, 0), 0);
    vfu_sgl_put(s->ctx, SG, &iov, 1);
    vfu_sgl_mark_dirty(s->ctx, SG, 1);
    look_up(s, A, 4 * PS, PROT_WRITE);
    assert_int_equal(vfu_sgl_get(s->ctx, SG, &iov, 1, 0), 0);
    assert_int_equal(half(s), 0);
    vfu_sgl_put(s->ctx, SG, &iov, 1);
    assert_int_equal(half(s), 0xf);
}

TEST(not_logging)
{
    struct session *s = device();

    touch(s, A_PAGE, 4);
    start_logging(s, PS);
    assert_int_equal(half(s), 0);
    touch(s, A_PAGE, 4);
    stop_logging(s);
    start_logging(s, PS);
    assert_int_equal(half(s), 0); /* starting begins with a clean sheet */
}

static void make_pattern(struct session *s)
{
    touch(s, A_PAGE, 1);
    touch(s, A_PAGE + 6, 4);
}

TEST(written_pages)
{
    struct session *s = device();

    start_logging(s, PS);
    make_pattern(s);
    assert_int_equal(half(s), 0x3c1);
    assert_int_equal(half(s), 0); /* reporting cleared it */
    make_pattern(s);
    assert_int_equal(*report(s, A, 16 * PS, PS / 2), 0xff003);
    make_pattern(s);
    assert_int_equal(*report(s, A, 16 * PS, 2 * PS), 0x19);
    make_pattern(s);
    assert_int_equal(*report(s, A, 16 * PS, 16 * PS), 1);
    assert_int_equal(half(s), 0);
}

TEST(one_put_after_the_other)
{
    struct session *s = device();
    struct iovec iov;

    start_logging(s, PS);
    look_up(s, A + 3 * PS, PS, PROT_READ | PROT_WRITE);
    assert_int_equal(vfu_sgl_get(s->ctx, SG, &iov, 1, 0), 0);
    for (int i = 0; i < 2; i++) {
        vfu_sgl_put(s->ctx, SG, &iov, 1);
        assert_int_equal(half(s), 8);
    }
    vfu_sgl_put(s->ctx, SG, NULL, 1); /* the addresses are of no interest */
    assert_int_equal(half(s), 8);
    vfu_sgl_mark_dirty(s->ctx, SG, 1);
    assert_int_equal(half(s), 8);
}

/* A report tells whole 64-bit words: also of pages behind the range asked for. */
TEST(single_pages)
{
    struct session *s = device();

    start_logging(s, PS);
    for (uint64_t page = 0; page < 32; page++) {
        touch(s, A_PAGE + page, 1);
        assert_int_equal(half(s), UINT64_C(1) << page);
    }
    for (uint64_t first = 0; first < 24; first++) {
        for (uint64_t n = 1; n <= 8; n++) {
            touch(s, A_PAGE + first, n);
            assert_int_equal(half(s), ((UINT64_C(1) << n) - 1) << first);
        }
    }
    touch(s, 0x26, 1);
    touch(s, 0x12, 2);
    assert_int_equal(half(s), 1 << 22 | 1 << 3 | 1 << 2);
    touch(s, A_PAGE, 32);
    assert_int_equal(half(s), 0xffffffff);
}

/* Any byte of a page makes all of it dirty. */
TEST(parts_of_pages)
{
    struct session *s = device();

    start_logging(s, PS);
    look_up(s, A + PS + 100, 1, PROT_WRITE);
    vfu_sgl_mark_dirty(s->ctx, SG, 1);
    assert_int_equal(half(s), 2);
    look_up(s, A + 2 * PS - 1, 2, PROT_WRITE);
    vfu_sgl_mark_dirty(s->ctx, SG, 1);
    assert_int_equal(half(s), 6);
    look_up(s, A + 4 * PS, PS, PROT_WRITE);
    vfu_sgl_mark_dirty(s->ctx, SG, 1);
    assert_int_equal(half(s), 0x10);
}

TEST(direct_writes)
{
    static const uint32_t modes[] = {DMA_MMAP, DMA_FILE};
    struct session *s = new_session();
    int fd = guest_file(8 * PS);
    uint8_t data[8] = {0};

    use_dma(s);
    use_migration(s);
    start(s);
    start_logging(s, PS);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        dma_map(s, DMA_RW | modes[i], 0, A, 8 * PS, fd); /* mapped while logging */
        assert_int_equal(*report(s, A, 8 * PS, PS), 0);
        look_up(s, A + 3 * PS - 4, 8, PROT_WRITE);
        assert_int_equal(vfu_sgl_read(s->ctx, SG, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
        assert_int_equal(*report(s, A, 8 * PS, PS), 0);
        assert_int_equal(vfu_sgl_write(s->ctx, SG, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
        assert_int_equal(*report(s, A, 8 * PS, PS), 0xc);
        dma_unmap(s, A, 8 * PS);
    }
    close(fd);
}

TEST(bad_reports)
{
    struct session *s = device();
    struct range r = {A, 16 * PS, PS};

    start_logging(s, PS);
    touch(s, A_PAGE, 1);
    report_fails(s, 0x1000000, 16 * PS, PS, ENOENT);
    report_fails(s, A - PS, 16 * PS, PS, ENOENT);
    report_fails(s, A, A_SIZE + PS, PS, ENOENT);
    report_fails(s, A + PS, 4 * PS, PS, ENOTSUP);
    report_fails(s, A + 1, 4 * PS, PS, ENOTSUP);
    report_fails(s, A, 16 * PS, 1 << 24, EINVAL);
    report_fails(s, A, 16 * PS, 0, EINVAL);
    report_fails(s, A, 0, PS, EINVAL);
    report_fails(s, A, 16 * PS, 3 * PS, EINVAL);
    report_fails(s, A, 16 * PS, PS + 1, EINVAL);
    report_fails(s, A, PS / 2, PS / 2, EINVAL); /* less than a page of the log */
    report_fails(s, B, B_SIZE, PS, EINVAL);
    report_fails(s, B, 4 * PS, PS, EINVAL);
    feature_fails(s, FEATURE_GET(REPORT), 39, &r, sizeof(r), EINVAL);
    feature_fails(s, FEATURE_GET(REPORT), 0, &r, sizeof(r), EINVAL);
    assert_int_equal(half(s), 1); /* none of these cleared anything */
    stop_logging(s);
    report_fails(s, A, 16 * PS, PS, EINVAL);
    report_fails(s, A + PS, 4 * PS, PS, ENOTSUP);
    report_fails(s, 0x1000000, 16 * PS, PS, ENOENT);
}

TEST(reports_that_wrap)
{
    struct session *s;

    NOT_ON_REFERENCE("sums of client values may wrap");
    s = device();
    start_logging(s, PS);
    report_fails(s, A, UINT64_MAX, PS, EINVAL);
    report_fails(s, A, UINT64_MAX - A + 2, UINT64_C(1) << 62, ENOENT);
    report_fails(s, UINT64_MAX, 2, 1, ENOENT);
    start_logging_fails(s, UINT64_MAX, EINVAL);
}

TEST(report_over_two_regions)
{
    struct session *s;
    int fd;

    NOT_ON_REFERENCE("it is answered with success and no bitmap");
    s = device();
    fd = guest_file(2 * PS);
    dma_map(s, DMA_RW | DMA_MMAP, 0, A + A_SIZE, 2 * PS, fd);
    close(fd);
    start_logging(s, PS);
    report_fails(s, A, A_SIZE + PS, PS, ENOENT);
}

TEST(device_without_dma)
{
    struct session *s = new_session();

    start(s);
    start_logging_fails(s, PS, EINVAL);
    report_fails(s, A, 16 * PS, PS, EINVAL);
    if (!on_reference()) { /* where starting aborts */
        use_migration(s);
        start_logging_fails(s, PS, EINVAL);
        report_fails(s, A, 16 * PS, PS, EINVAL);
    }
}

TEST(without_stopping)
{
    struct session *s = new_session();
    int fd = guest_file(8 * PS);

    use_dma(s);
    use_migration(s);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, A, 4 * PS, fd);
    dma_map(s, DMA_RW | DMA_MMAP, 4 * PS, B, 4 * PS, fd);
    close(fd);
    start_logging(s, PS);
    touch(s, A_PAGE, 1);
    touch(s, 0x40, 1);
    dma_unmap(s, A, 4 * PS);
    report_fails(s, A, 4 * PS, PS, ENOENT);
    assert_int_equal(*report(s, B, 4 * PS, PS), 1);
    lose_client(s);
    end_session(s);
}

/* Logging itself outlives resets and clients; bitmaps go with their regions. */
TEST(logging_lasts)
{
    struct session *s = device();
    int fd = guest_file(A_SIZE);

    start_logging(s, PS);
    touch(s, A_PAGE, 2);
    request(s, VFIO_USER_DEVICE_RESET, NULL, 0);
    assert_int_equal(half(s), 3);
    touch(s, A_PAGE, 2);
    lose_client(s);
    connect_client(s);
    report_fails(s, A, 16 * PS, PS, ENOENT);
    start_logging_fails(s, 2 * PS, EINVAL);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, A, PS / 2, fd, EINVAL); /* smaller than a page of the log */
    dma_map(s, DMA_RW | DMA_MMAP, 0, A, A_SIZE, fd);
    assert_int_equal(half(s), 0);
    touch(s, A_PAGE + 1, 1);
    assert_int_equal(half(s), 2);
    close(fd);
}

TEST(put_without_memory)
{
    struct session *s;

    NOT_ON_REFERENCE("it aborts");
    s = device();
    start_logging(s, PS);
    look_up(s, B, PS, PROT_WRITE);
    vfu_sgl_mark_dirty(s->ctx, SG, 1);
    vfu_sgl_put(s->ctx, SG, NULL, 1);
    assert_int_equal(half(s), 0);
}

/* A region of 1024 pages, of which every third is dirty. */
static struct session *large_device(void)
{
    struct session *s = new_session();
    int fd = guest_file(1024 * PS);

    use_dma(s);
    use_migration(s);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, A, 1024 * PS, fd);
    close(fd);
    start_logging(s, PS);
    return s;
}

static void touch_every_third(struct session *s)
{
    for (uint64_t page = 0; page < 1024; page += 3) {
        touch(s, A_PAGE + page, 1);
    }
}

static bool bit(const uint64_t *bitmap, uint64_t n)
{
    return (bitmap[n / 64] >> (n % 64) & 1) != 0;
}

TEST(large_bitmaps)
{
    struct session *s = large_device();
    const uint64_t *bitmap;

    touch_every_third(s);
    bitmap = report(s, A, 1024 * PS, PS);
    for (uint64_t page = 0; page < 1024; page++) {
        assert_int_equal(bit(bitmap, page), page % 3 == 0);
    }
    bitmap = report(s, A, 1024 * PS, PS);
    for (uint64_t page = 0; page < 1024; page++) {
        assert_false(bit(bitmap, page));
    }
}

TEST(large_bitmaps_of_other_page_sizes)
{
    static const unsigned factors[] = {2, 4, 8, 64, 512, 1024};
    struct session *s;
    const uint64_t *bitmap;

    NOT_ON_REFERENCE("from 256 bits on it loops for ever or puts bits into wrong places");
    s = large_device();
    for (size_t i = 0; i < ARRAY_LEN(factors); i++) {
        const uint64_t f = factors[i];

        touch_every_third(s);
        bitmap = report(s, A, 1024 * PS, f * PS);
        for (uint64_t n = 0; n < 1024 / f; n++) {
            const bool dirty = (n * f + 2) / 3 * 3 < (n + 1) * f;

            assert_int_equal(bit(bitmap, n), dirty);
        }
        if (PS / f >= 64) {
            touch_every_third(s);
            bitmap = report(s, A, 1024 * PS, PS / f);
            for (uint64_t n = 0; n < 1024 * f; n++) {
                assert_int_equal(bit(bitmap, n), n / f % 3 == 0);
            }
        }
    }
}

/* Unmaps with a bitmap; `reply` is checked for what is common, the bitmap is returned. */
static const uint64_t *unmap(struct session *s, uint64_t addr, uint64_t size, uint64_t page_size)
{
    const uint64_t bytes = bitmap_size(size, page_size);
    struct {
        uint32_t argsz, flags;
        uint64_t addr, size, page_size, bytes;
    } body = {(uint32_t)(40 + bytes), BITMAP, addr, size, page_size, bytes};
    struct reply *reply = request(s, VFIO_USER_DMA_UNMAP, &body, sizeof(body));

    assert_int_equal(reply->size, 40 + bytes);
    assert_memory_equal(reply->data, &body, sizeof(body));
    return (const uint64_t *)(reply->data + 40);
}

static void unmap_fails(struct session *s, uint64_t addr, uint64_t size, uint64_t page_size, uint64_t bytes,
                        int error)
{
    struct {
        uint32_t argsz, flags;
        uint64_t addr, size, page_size, bytes;
    } body = {(uint32_t)(40 + bytes), BITMAP, addr, size, page_size, bytes};

    request_fails(s, VFIO_USER_DMA_UNMAP, &body, sizeof(body), error);
}

TEST(unmapping_with_a_bitmap)
{
    struct session *s = device();

    start_logging(s, PS);
    make_pattern(s);
    clear_calls();
    assert_int_equal(*unmap(s, A, A_SIZE, PS), 0x3c1);
    assert_int_equal(calls_of(CALL_UNREGISTER), 1);
    dma_unmap_fails(s, A, A_SIZE, ENOENT);
}

TEST(unmapping_with_another_page_size)
{
    static const struct {
        unsigned multiple, divisor;
        uint64_t expected;
    } cases[] = {{2, 1, 0x19}, {1, 2, 0xff003}, {32, 1, 1}};

    NOT_ON_REFERENCE("the bitmap begins with what was in memory");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct session *s = device();

        start_logging(s, PS);
        make_pattern(s);
        assert_true(*unmap(s, A, A_SIZE, PS * cases[i].multiple / cases[i].divisor) == cases[i].expected);
        end_session(s);
    }
}

TEST(bad_unmaps_with_a_bitmap)
{
    struct session *s = device();

    unmap_fails(s, A, A_SIZE, PS, 8, EINVAL); /* not logging */
    start_logging(s, PS);
    touch(s, A_PAGE, 1);
    unmap_fails(s, A, A_SIZE, 0, 8, EINVAL);
    unmap_fails(s, A, A_SIZE, 3 * PS, 8, EINVAL);
    unmap_fails(s, A, A_SIZE, 1 << 24, 8, EINVAL);
    unmap_fails(s, A + PS, PS, PS, 8, ENOTSUP);
    unmap_fails(s, 0x1000000, PS, PS, 8, ENOENT);
    unmap_fails(s, B, B_SIZE, PS, 8, EINVAL);
    unmap_fails(s, A, A_SIZE, PS, 0, EINVAL);
    unmap_fails(s, A, A_SIZE, PS, 7, EINVAL);
    unmap_fails(s, A, A_SIZE, PS / 4, 8, EINVAL); /* that needs 16 bytes */
    assert_int_equal(half(s), 1);
    assert_int_equal(calls_of(CALL_UNREGISTER), 0);
}

/* An unmap that fails does not take the bits along. */
TEST(unmapping_a_prefix_with_a_bitmap)
{
    struct session *s;
    int fd;

    NOT_ON_REFERENCE("dirty bits are lost; over two regions it claims success and does nothing");
    s = device();
    fd = guest_file(2 * PS);
    dma_map(s, DMA_RW | DMA_MMAP, 0, A + A_SIZE, 2 * PS, fd);
    close(fd);
    start_logging(s, PS);
    make_pattern(s);
    unmap_fails(s, A, 16 * PS, PS, 8, ENOENT);
    unmap_fails(s, A, A_SIZE + 2 * PS, PS, 8, ENOENT);
    assert_int_equal(half(s), 0x3c1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(starting),
        CASE(bad_starts),
        CASE(nothing_written),
        CASE(not_logging),
        CASE(written_pages),
        CASE(one_put_after_the_other),
        CASE(single_pages),
        CASE(parts_of_pages),
        CASE(direct_writes),
        CASE(bad_reports),
        CASE(reports_that_wrap),
        CASE(report_over_two_regions),
        CASE(device_without_dma),
        CASE(without_stopping),
        CASE(logging_lasts),
        CASE(put_without_memory),
        CASE(large_bitmaps),
        CASE(large_bitmaps_of_other_page_sizes),
        CASE(unmapping_with_a_bitmap),
        CASE(unmapping_with_another_page_size),
        CASE(bad_unmaps_with_a_bitmap),
        CASE(unmapping_a_prefix_with_a_bitmap),
    };
    return RUN(tests);
}
