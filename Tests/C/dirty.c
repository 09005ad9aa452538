/* Dirty logging: starting, stopping, what gets marked, and what reports are refused. */
#include "support.h"
#include "dirty_log.h"

TEST(starting)
{
    struct session *s = logging_device();

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
    struct session *s = logging_device();
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
    struct session *s = logging_device();
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
    struct session *s = logging_device();

    touch(s, A_PAGE, 4);
    start_logging(s, PS);
    assert_int_equal(half(s), 0);
    touch(s, A_PAGE, 4);
    stop_logging(s);
    start_logging(s, PS);
    assert_int_equal(half(s), 0); /* starting begins with a clean sheet */
}

TEST(written_pages)
{
    struct session *s = logging_device();

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
    struct session *s = logging_device();
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
    struct session *s = logging_device();

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
    struct session *s = logging_device();

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
    struct session *s = logging_device();
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
    struct session *s = logging_device();

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
    s = logging_device();
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
    struct session *s = logging_device();
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
    s = logging_device();
    start_logging(s, PS);
    look_up(s, B, PS, PROT_WRITE);
    vfu_sgl_mark_dirty(s->ctx, SG, 1);
    vfu_sgl_put(s->ctx, SG, NULL, 1);
    assert_int_equal(half(s), 0);
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
    };
    return RUN(tests);
}
