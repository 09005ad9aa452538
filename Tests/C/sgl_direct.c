/* vfu_sgl_read and vfu_sgl_write on memory and files that the client shares. */
#include "support.h"

#include <fcntl.h>

#define BASE UINT64_C(0x10000)

/* What lies behind dma_sg_t; programs must not look, but the layout is pinned. */
struct sg {
    uint64_t region_base, reference, length, offset;
    bool writeable;
};

static struct sg sgs[1];
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

static const uint32_t direct_modes[] = {DMA_RW | DMA_MMAP, DMA_RW | DMA_FILE};

TEST(direct_access)
{
    struct session *s = device();
    int fd = guest_file(4 * PS);
    uint8_t *view = guest_view(fd, 4 * PS);
    uint8_t data[64], back[64];

    for (size_t mode = 0; mode < ARRAY_LEN(direct_modes); mode++) {
        dma_map(s, direct_modes[mode], PS, BASE, 2 * PS, fd);
        memset(data, 0x10 + (int)mode, sizeof(data));
        assert_int_equal(look_up(s, BASE + 33, sizeof(data), 1, PROT_WRITE), 1);
        assert_int_equal(vfu_sgl_write(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
        assert_memory_equal(view + PS + 33, data, sizeof(data));
        assert_int_equal(view[PS + 32], 0);
        assert_int_equal(view[PS + 33 + sizeof(data)], 0);
        assert_int_equal(vfu_sgl_read(s->ctx, LIST, 1, back, VFU_SGL_DIRECT_ACCESS), 0);
        assert_memory_equal(back, data, sizeof(data));
        assert_true(nothing_to_receive(s->client));
        dma_unmap(s, BASE, 2 * PS);
        memset(view, 0, 4 * PS);
    }
    munmap(view, 4 * PS);
    close(fd);
}

TEST(bad_direct_access)
{
    struct session *s = device();
    int fd = guest_file(PS);
    uint8_t data[64] = {0};

    for (size_t mode = 0; mode < ARRAY_LEN(direct_modes); mode++) {
        dma_map(s, direct_modes[mode], 0, BASE, PS, fd);
        assert_int_equal(look_up(s, BASE, sizeof(data), 1, PROT_READ), 1);
        assert_fails(vfu_sgl_write(s->ctx, LIST, 1, data, 0x42), EINVAL);
        assert_fails(vfu_sgl_read(s->ctx, LIST, 1, data, 0x42), EINVAL);
        assert_fails(vfu_sgl_read(s->ctx, LIST, 2, data, 0x42), EINVAL);
        assert_fails(vfu_sgl_write(s->ctx, LIST, 2, data, VFU_SGL_DIRECT_ACCESS), ENOTSUP);
        assert_fails(vfu_sgl_read(s->ctx, LIST, 2, data, VFU_SGL_DIRECT_ACCESS), ENOTSUP);
        assert_fails(vfu_sgl_read(s->ctx, LIST, 0, data, VFU_SGL_DIRECT_ACCESS), ENOTSUP);
        assert_fails(vfu_sgl_write(s->ctx, LIST, 2, data, 0), ENOTSUP);
        /* The entry was not obtained for writing. */
        assert_fails(vfu_sgl_write(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), EPERM);
        assert_fails(vfu_sgl_write(s->ctx, LIST, 1, data, 0), EPERM);
        assert_int_equal(vfu_sgl_read(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
        dma_unmap(s, BASE, PS);
    }
    close(fd);
}

TEST(file_shorter_than_the_region)
{
    struct session *s = device();
    int fd = guest_file(PS);
    uint8_t data[64] = {1, 2, 3};

    dma_map(s, DMA_RW | DMA_FILE, 0, BASE, 4 * PS, fd);
    assert_int_equal(look_up(s, BASE + PS, sizeof(data), 1, PROT_WRITE), 1);
    assert_fails(vfu_sgl_read(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), EIO);
    assert_int_equal(look_up(s, BASE + PS - 32, sizeof(data), 1, PROT_WRITE), 1);
    assert_fails(vfu_sgl_read(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), EIO);
    /* Writing makes it longer. */
    assert_int_equal(vfu_sgl_write(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    assert_int_equal(lseek(fd, 0, SEEK_END), PS + 32);
    assert_int_equal(vfu_sgl_read(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    close(fd);
}

/* The client gave less rights with the file than it said. */
TEST(file_that_refuses)
{
    static const struct {
        int flags;
        bool can_read, can_write;
    } cases[] = {{O_RDONLY, true, false}, {O_WRONLY, false, true}};
    struct session *s = device();
    int fd = guest_file(PS);
    uint8_t data[64] = {0};
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int other = open(path, cases[i].flags | O_CLOEXEC);

        assert_true(other >= 0);
        dma_map(s, DMA_RW | DMA_FILE, 0, BASE, PS, other);
        close(other);
        assert_int_equal(look_up(s, BASE, sizeof(data), 1, PROT_READ | PROT_WRITE), 1);
        if (cases[i].can_read) {
            assert_int_equal(vfu_sgl_read(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
        } else {
            assert_fails(vfu_sgl_read(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), EIO);
        }
        if (cases[i].can_write) {
            assert_int_equal(vfu_sgl_write(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
        } else {
            assert_fails(vfu_sgl_write(s->ctx, LIST, 1, data, VFU_SGL_DIRECT_ACCESS), EIO);
        }
        dma_unmap(s, BASE, PS);
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(direct_access),
        CASE(bad_direct_access),
        CASE(file_shorter_than_the_region),
        CASE(file_that_refuses),
    };
    return RUN(tests);
}
