/* Large dirty bitmaps, other page sizes, and unmapping with a bitmap. */
#include "support.h"
#include "dirty_log.h"

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
    struct session *s = logging_device();

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
        struct session *s = logging_device();

        start_logging(s, PS);
        make_pattern(s);
        assert_true(*unmap(s, A, A_SIZE, PS * cases[i].multiple / cases[i].divisor) == cases[i].expected);
        end_session(s);
    }
}

TEST(bad_unmaps_with_a_bitmap)
{
    struct session *s = logging_device();

    unmap_fails(s, A, A_SIZE, PS, 8, EINVAL); /* not logging */
    start_logging(s, PS);
    touch(s, A_PAGE, 1);
    unmap_fails(s, A, A_SIZE, 0, 8, EINVAL);
    unmap_fails(s, A, A_SIZE, 3 * PS, 8, EINVAL);
    unmap_fails(s, A, A_SIZE, 1 << 24, 8, EINVAL);
    unmap_fails(s, A + PS, PS, PS, 8, ENOTSUP);
    unmap_fails(s, 0x1000000, PS, PS, 8, ENOENT);
    unmap_fails(s, A, 0, PS, 8, ENOENT);
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
    s = logging_device();
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
        CASE(large_bitmaps),
        CASE(large_bitmaps_of_other_page_sizes),
        CASE(unmapping_with_a_bitmap),
        CASE(unmapping_with_another_page_size),
        CASE(bad_unmaps_with_a_bitmap),
        CASE(unmapping_a_prefix_with_a_bitmap),
    };
    return RUN(tests);
}
