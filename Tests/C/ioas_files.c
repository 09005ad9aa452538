/* I/O address spaces: files that get shorter, and those that cannot. */
#include "ioas.h"

#include <fcntl.h>
#include <sys/stat.h>

#define DIRECT VFU_SGL_DIRECT_ACCESS

static int sealed_file(size_t size)
{
    int fd = memfd_create("vfu-test-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    return fd;
}

static void shrink(bool legacy)
{
    struct session *s = new_session();
    int fd = guest_file(4 * PS), sealed = sealed_file(4 * PS);
    uint8_t data[256] = {1};
    struct stat status;

    use_dma(s);
    assert_int_equal(vfu_setup_device_guard_dma(s->ctx, true), 0);
    realize(s);
    connect_client_with(s, FULL_JSON);
    uint32_t id = ioas_alloc(s);
    if (legacy) {
        ioas_compat(s, VFIO_USER_IOMMUFD_COMPAT_SET, id);
        dma_map(s, DMA_RW | DMA_MMAP, 0, 0x10000, 4 * PS, fd);
        dma_map_fails(s, DMA_RW | DMA_MMAP, 0, 0x20000, 4 * PS + 1, sealed, EINVAL);
        dma_map(s, DMA_RW | DMA_MMAP, 0, 0x20000, 4 * PS, sealed);
    } else {
        ioas_map(s, id, RW | FIXED, 0x10000, 4 * PS, 0, fd);
        ioas_map(s, id, RW | FIXED, 0x20000, 4 * PS, 0, sealed);
    }
    ioas_attach(s, id);
    for (uint64_t base = 0x10000; base <= 0x20000; base += 0x10000) {
        assert_int_equal(ioas_look_up(s, base + 2 * PS, sizeof(data), PROT_READ | PROT_WRITE), 1);
        assert_int_equal(vfu_sgl_write(s->ctx, SGL, 1, data, DIRECT), 0);
        assert_int_equal(vfu_sgl_read(s->ctx, SGL, 1, data, DIRECT), 0);
        assert_int_equal(data[0], 1);
    }
    assert_int_equal(ftruncate(fd, (off_t)PS), 0);
    assert_int_equal(ioas_look_up(s, 0x10000 + 2 * PS, sizeof(data), PROT_READ | PROT_WRITE), 1);
    assert_fails(vfu_sgl_read(s->ctx, SGL, 1, data, DIRECT), EFAULT);
    assert_fails(vfu_sgl_write(s->ctx, SGL, 1, data, DIRECT), EFAULT);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_size, PS);
    assert_int_equal(ioas_look_up(s, 0x10000, sizeof(data), PROT_READ | PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_read(s->ctx, SGL, 1, data, DIRECT), 0);
    close(fd);
    close(sealed);
}

/* 6: a file that gets shorter. */
TEST(shrinking_file)
{
    shrink(false);
}

TEST(shrinking_file_mapped_by_dma_map)
{
    shrink(true);
}

TEST(only_sealed_files)
{
    struct session *s = new_session();
    int fd = guest_file(PS), sealed = sealed_file(PS);

    use_dma(s);
    assert_int_equal(vfu_setup_device_require_sealed(s->ctx, true), 0);
    realize(s);
    connect_client_with(s, FULL_JSON);
    uint32_t id = ioas_alloc(s);
    ioas_map_fails(s, id, RW, 0, PS, 0, fd, EPERM);
    ioas_compat(s, VFIO_USER_IOMMUFD_COMPAT_SET, id);
    dma_map_fails(s, DMA_RW, 0, 0x10000, PS, fd, EPERM);
    dma_map_fails(s, DMA_RW, 0, 0x10000, 1 << 30, sealed, EINVAL);
    dma_map_fails(s, DMA_RW, 1, 0x10000, PS, sealed, EINVAL);
    dma_map(s, DMA_RW, 0, 0x10000, PS, sealed);
    ioas_map(s, id, RW, 0, PS, 0, sealed);
    close(fd);
    close(sealed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(shrinking_file),
        CASE(shrinking_file_mapped_by_dma_map),
        CASE(only_sealed_files),
    };

    return RUN(tests);
}
