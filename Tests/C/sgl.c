/* Translating client addresses into scatter/gather lists, and using these without messages. */
#include "support.h"

#include <pthread.h>

#define BASE UINT64_C(0x10000)
#define MAX_SGS 8

/* What lies behind dma_sg_t; programs must not look, but the layout is pinned. */
struct sg {
    uint64_t region_base, reference, length, offset;
    bool writeable;
};

static struct sg sgs[MAX_SGS];
#define LIST ((dma_sg_t *)sgs)

static struct session *device(void)
{
    struct session *s = new_session();

    use_dma(s);
    start(s);
    return s;
}

static int look_up(struct session *s, uint64_t addr, uint64_t len, size_t max, int prot)
{
    memset(sgs, 0, sizeof(sgs));
    return vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)addr, len, LIST, max, prot);
}

static void assert_sg(size_t i, uint64_t region_base, uint64_t offset, uint64_t length, bool writeable)
{
    assert_int_equal(sgs[i].region_base, region_base);
    assert_int_not_equal((uint32_t)sgs[i].reference, 0);
    assert_int_equal(sgs[i].offset, offset);
    assert_int_equal(sgs[i].length, length);
    assert_int_equal(sgs[i].writeable, writeable);
}

TEST(size_of_an_entry)
{
    assert_int_equal(dma_sg_size(), 40);
    assert_int_equal(sizeof(struct sg), 40);
}

TEST(inside_one_region)
{
    struct session *s = device();

    dma_map(s, DMA_RW, 0, BASE, 4 * PS, -1);
    assert_int_equal(look_up(s, BASE, 4 * PS, 1, PROT_READ | PROT_WRITE), 1);
    assert_sg(0, BASE, 0, 4 * PS, true);
    assert_int_equal(look_up(s, BASE + 5, 10, MAX_SGS, PROT_READ), 1);
    assert_sg(0, BASE, 5, 10, false);
    assert_int_equal(look_up(s, BASE + 4 * PS - 1, 1, 1, PROT_WRITE), 1);
    assert_sg(0, BASE, 4 * PS - 1, 1, true);
    assert_int_equal(look_up(s, BASE, PS, 1, 0), 1);
    assert_sg(0, BASE, 0, PS, false);
}

TEST(nothing)
{
    struct session *s = device();

    assert_int_equal(look_up(s, BASE, 0, 1, 0), 0);
    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    assert_int_equal(look_up(s, BASE, 0, 1, 0), 0);
    assert_int_equal(look_up(s, BASE, 0, 0, 0), 0);
    assert_int_equal(look_up(s, 12345, 0, 1, PROT_WRITE), 0);
}

TEST(holes)
{
    struct session *s = device();

    assert_fails(look_up(s, BASE, 1, 1, 0), ENOENT);
    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    dma_map(s, DMA_RW, 0, BASE + 2 * PS, PS, -1);
    assert_fails(look_up(s, BASE - 1, 1, MAX_SGS, 0), ENOENT);
    assert_fails(look_up(s, BASE - 1, 2, MAX_SGS, 0), ENOENT);
    assert_fails(look_up(s, BASE, PS + 1, MAX_SGS, 0), ENOENT);
    assert_fails(look_up(s, BASE + PS, 1, MAX_SGS, 0), ENOENT);
    assert_fails(look_up(s, BASE, 3 * PS, MAX_SGS, 0), ENOENT);
    assert_fails(look_up(s, BASE + 3 * PS, 1, MAX_SGS, 0), ENOENT);
    assert_fails(look_up(s, UINT64_MAX, 1, MAX_SGS, 0), ENOENT);
    assert_fails(look_up(s, 0, 1, MAX_SGS, 0), ENOENT);
    assert_int_equal(look_up(s, BASE, PS, MAX_SGS, 0), 1);
    dma_unmap(s, BASE, PS);
    assert_fails(look_up(s, BASE, PS, MAX_SGS, 0), ENOENT);
}

TEST(length_that_wraps)
{
    struct session *s;

    NOT_ON_REFERENCE("it may match the region of the latest lookup");
    s = device();
    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    assert_int_equal(look_up(s, BASE, PS, 1, 0), 1);
    assert_fails(look_up(s, BASE, UINT64_MAX - BASE + 2, MAX_SGS, 0), ENOENT);
    assert_fails(look_up(s, BASE, UINT64_MAX, MAX_SGS, 0), ENOENT);
    assert_fails(look_up(s, BASE + 8, UINT64_MAX - 7, MAX_SGS, 0), ENOENT);
}

TEST(across_regions)
{
    struct session *s = device();

    dma_map(s, DMA_RW, 0, BASE + 4 * PS, PS, -1);
    dma_map(s, DMA_RW, 0, BASE, 4 * PS, -1);
    dma_map(s, DMA_RW, 0, BASE + 5 * PS, 2 * PS, -1);
    assert_int_equal(look_up(s, BASE, 5 * PS, MAX_SGS, PROT_READ), 2);
    assert_sg(0, BASE, 0, 4 * PS, false);
    assert_sg(1, BASE + 4 * PS, 0, PS, false);
    assert_int_equal(look_up(s, BASE + 1, 7 * PS - 2, 3, PROT_WRITE), 3);
    assert_sg(0, BASE, 1, 4 * PS - 1, true);
    assert_sg(1, BASE + 4 * PS, 0, PS, true);
    assert_sg(2, BASE + 5 * PS, 0, 2 * PS - 1, true);
}

/* A list that is too short is told how long it must be: -(needed) - 1. */
TEST(too_many_for_the_list)
{
    struct session *s = device();

    for (uint64_t i = 0; i < 5; i++) {
        dma_map(s, DMA_RW, 0, BASE + i * PS, PS, -1);
    }
    assert_int_equal(look_up(s, BASE, PS, 0, 0), -2);
    assert_int_equal(look_up(s, BASE, 3 * PS, 2, 0), -4);
    assert_int_equal(look_up(s, BASE, 5 * PS, 1, 0), -6);
    errno = EIO;
    assert_int_equal(look_up(s, BASE, 5 * PS, 4, 0), -6);
    assert_int_equal(errno, 0);
    assert_int_equal(look_up(s, BASE, 5 * PS, 5, 0), 5);
    assert_fails(look_up(s, BASE, 6 * PS, 2, 0), ENOENT);
}

TEST(permissions)
{
    struct session *s = device();

    dma_map(s, VFIO_USER_F_DMA_REGION_READ, 0, BASE, PS, -1);
    dma_map(s, VFIO_USER_F_DMA_REGION_WRITE, 0, BASE + PS, PS, -1);
    dma_map(s, 0, 0, BASE + 2 * PS, PS, -1);
    assert_int_equal(look_up(s, BASE, PS, 1, PROT_READ), 1);
    assert_fails(look_up(s, BASE, PS, 1, PROT_WRITE), EACCES);
    assert_fails(look_up(s, BASE, PS, 1, PROT_READ | PROT_WRITE), EACCES);
    assert_int_equal(look_up(s, BASE + PS, PS, 1, PROT_WRITE), 1);
    assert_int_equal(look_up(s, BASE + PS, PS, 1, PROT_READ), 1); /* only writing is checked */
    assert_int_equal(look_up(s, BASE + 2 * PS, PS, 1, PROT_READ), 1);
    assert_fails(look_up(s, BASE + 2 * PS, PS, 1, PROT_WRITE), EACCES);
    assert_fails(look_up(s, BASE, 2 * PS, 2, PROT_WRITE), EACCES);
    assert_int_equal(look_up(s, BASE, 3 * PS, 3, PROT_READ), 3);
    /* What is wrong first, in address order, is reported. */
    assert_fails(look_up(s, BASE + PS, 3 * PS, 4, PROT_WRITE), EACCES);
    assert_fails(look_up(s, BASE - 1, 2, 4, PROT_WRITE), ENOENT);
    /* Entries that were not asked for are not judged. */
    assert_int_equal(look_up(s, BASE + PS, 2 * PS, 1, PROT_WRITE), -3);
    assert_int_equal(look_up(s, BASE, PS, 0, PROT_WRITE), -2);
}

TEST(device_without_dma)
{
    struct session *s;

    NOT_ON_REFERENCE("it crashes");
    s = new_session();
    start(s);
    assert_fails(look_up(s, BASE, PS, 1, 0), EINVAL);
}

TEST(mappable)
{
    static const struct {
        uint32_t flags;
        bool with_fd, mappable;
    } cases[] = {{DMA_RW, false, false}, {DMA_RW, true, true}, {DMA_RW | DMA_MMAP, true, true},
                 {DMA_RW | DMA_FILE, true, false}};
    struct session *s = device();
    int fd = guest_file(PS);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct iovec iov;

        dma_map(s, cases[i].flags, 0, BASE, PS, cases[i].with_fd ? fd : -1);
        assert_int_equal(look_up(s, BASE, PS, 1, 0), 1);
        assert_int_equal(vfu_sg_is_mappable(s->ctx, LIST), cases[i].mappable);
        if (cases[i].mappable) {
            assert_int_equal(vfu_sgl_get(s->ctx, LIST, &iov, 1, 0), 0);
            vfu_sgl_put(s->ctx, LIST, &iov, 1);
        } else {
            assert_fails(vfu_sgl_get(s->ctx, LIST, &iov, 1, 0), EFAULT);
        }
        dma_unmap(s, BASE, PS);
    }
    close(fd);
}

TEST(entry_that_is_none)
{
    struct session *s = device();
    struct iovec iov[2] = {{0}};
    int fd = guest_file(PS);

    memset(sgs, 0, sizeof(sgs));
    assert_fails(vfu_sgl_get(s->ctx, LIST, iov, 1, 0), EINVAL);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    close(fd);
    assert_int_equal(look_up(s, BASE, PS, 1, 0), 1);
    assert_fails(vfu_sgl_get(s->ctx, LIST, iov, 2, 0), EINVAL);
    assert_ptr_equal(iov[0].iov_base, call(CALL_REGISTER, 0)->info.vaddr); /* those before it are filled in */
}

TEST(local_addresses)
{
    struct session *s = device();
    int fd = guest_file(4 * PS);
    struct iovec iov[2] = {{0}};
    const uint8_t *memory;

    dma_map(s, DMA_RW | DMA_MMAP, PS, BASE, 2 * PS, fd);
    memory = call(CALL_REGISTER, 0)->info.vaddr;
    assert_int_equal(look_up(s, BASE + 100, PS, 1, PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_get(s->ctx, LIST, iov, 1, 0), 0);
    assert_ptr_equal(iov[0].iov_base, memory + 100);
    assert_int_equal(iov[0].iov_len, PS);
    vfu_sgl_put(s->ctx, LIST, iov, 1);
    vfu_sgl_put(s->ctx, LIST, iov, 1);
    vfu_sgl_mark_dirty(s->ctx, LIST, 1);

    /* An entry without memory behind one that has some. */
    dma_map(s, DMA_RW, 0, BASE + 2 * PS, PS, -1);
    assert_int_equal(look_up(s, BASE, 3 * PS, 2, 0), 2);
    memset(iov, 0, sizeof(iov));
    assert_fails(vfu_sgl_get(s->ctx, LIST, iov, 2, 0), EFAULT);
    assert_ptr_equal(iov[0].iov_base, memory);
    close(fd);
}

static void three_pages(struct session *s)
{
    struct iovec iov[3];
    int fd = guest_file(PS);

    connect_client(s);
    for (uint64_t i = 0; i < 3; i++) {
        dma_map(s, DMA_RW | DMA_MMAP, 0, BASE + i * PS, PS, fd);
    }
    close(fd);
    assert_int_equal(look_up(s, BASE, 3 * PS, 3, PROT_READ | PROT_WRITE), 3);
    assert_int_equal(vfu_sgl_get(s->ctx, LIST, iov, 3, 0), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(iov[i].iov_len, PS);
        assert_non_null(iov[i].iov_base);
    }
    memset(iov[0].iov_base, 0x33, 1);
    assert_int_equal(*(uint8_t *)iov[2].iov_base, 0x33); /* three views of one page */
    vfu_sgl_put(s->ctx, LIST, iov, 3);
    lose_client(s);
}

/* The second time with a new client of the same context. */
TEST(several_entries)
{
    struct session *s = new_session();

    use_dma(s);
    realize(s);
    three_pages(s);
    three_pages(s);
}

TEST(stale_entries)
{
    struct session *s;
    struct iovec iov;
    int fd;

    NOT_ON_REFERENCE("it uses the freed region");
    s = device();
    fd = guest_file(PS);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    assert_int_equal(look_up(s, BASE, PS, 1, PROT_WRITE), 1);
    dma_unmap(s, BASE, PS);
    assert_fails(vfu_sgl_get(s->ctx, LIST, &iov, 1, 0), EINVAL);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    assert_fails(vfu_sgl_get(s->ctx, LIST, &iov, 1, 0), EINVAL);
    assert_false(vfu_sg_is_mappable(s->ctx, LIST));
    vfu_sgl_mark_dirty(s->ctx, LIST, 1);
    vfu_sgl_put(s->ctx, LIST, &iov, 1);
    close(fd);
}

struct worker {
    vfu_ctx_t *ctx;
    unsigned step;
    unsigned wrong;
};

static void *translate_all(void *argument)
{
    struct worker *w = argument;
    struct sg sg;

    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < 64; i++) {
            const uint64_t addr = BASE + 2 * ((i * w->step) % 64) * PS;

            if (vfu_addr_to_sgl(w->ctx, (vfu_dma_addr_t)addr, PS, (dma_sg_t *)&sg, 1, PROT_WRITE) != 1 ||
                sg.region_base != addr ||
                vfu_addr_to_sgl(w->ctx, (vfu_dma_addr_t)(addr + PS), 1, (dma_sg_t *)&sg, 1, 0) != -1 ||
                errno != ENOENT) {
                w->wrong++;
            }
        }
    }
    return NULL;
}

/* Any number of threads may translate while nothing is mapped or unmapped. */
TEST(several_threads)
{
    struct session *s = device();
    struct worker workers[4];
    pthread_t threads[4];

    for (uint64_t i = 0; i < 64; i++) {
        dma_map(s, DMA_RW, 0, BASE + 2 * i * PS, PS, -1);
    }
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){.ctx = s->ctx, .step = 2 * i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, translate_all, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].wrong, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(size_of_an_entry),
        CASE(inside_one_region),
        CASE(nothing),
        CASE(holes),
        CASE(length_that_wraps),
        CASE(across_regions),
        CASE(too_many_for_the_list),
        CASE(permissions),
        CASE(device_without_dma),
        CASE(mappable),
        CASE(entry_that_is_none),
        CASE(local_addresses),
        CASE(several_entries),
        CASE(stale_entries),
        CASE(several_threads),
    };
    return RUN(tests);
}
