/* I/O address spaces: what must hold, in the C interface. */
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

/* 1: an address of a space that is not attached is refused. */
TEST(only_the_attached_space_is_seen)
{
    struct session *s = ioas_device(), *other = ioas_device();
    int fd = guest_file(16 * PS);
    uint32_t a = ioas_alloc(s), b = ioas_alloc(s), c = ioas_alloc(other);
    struct sg_entry kept;
    struct iovec iov;
    char byte;

    ioas_map(s, a, RW | FIXED, 0x10000, PS, 0, fd);
    ioas_map(s, b, RW | FIXED, 0x20000, PS, 0, fd);
    ioas_map(other, c, RW | FIXED, 0x30000, PS, 0, fd);
    ioas_attach(other, c);
    assert_false(ioas_sees(s, 0x10000, 1));
    ioas_attach(s, a);
    assert_true(ioas_sees(s, 0x10000, PS));
    kept = ioas_sgs[0];
    assert_false(ioas_sees(s, 0x20000, 1) || ioas_sees(s, 0x30000, 1) || ioas_sees(other, 0x10000, 1));
    ioas_attach(s, b);
    assert_false(ioas_sees(s, 0x10000, 1));
    assert_true(ioas_sees(s, 0x20000, 1));
    ioas_sgs[0] = kept;
    assert_fails(vfu_sgl_get(s->ctx, SGL, &iov, 1, 0), EINVAL);
    assert_fails(vfu_sgl_read(s->ctx, SGL, 1, &byte, DIRECT), EINVAL);
    assert_fails(vfu_sgl_read(s->ctx, SGL, 1, &byte, 0), EINVAL);
    assert_fails(vfu_sgl_get(other->ctx, SGL, &iov, 1, 0), EINVAL);
    ioas_unmap(s, b, 0x20000, PS);
    assert_false(ioas_sees(s, 0x20000, 1));
    ioas_attach(s, a);
    ioas_detach(s);
    assert_false(ioas_sees(s, 0x10000, 1));
    ioas_destroy(s, a);
    ioas_map(s, b, RW | FIXED, 0x20000, PS, 0, fd);
    ioas_attach(s, b);
    lose_client(s);
    assert_false(ioas_sees(s, 0x20000, 1));
    assert_true(ioas_sees(other, 0x30000, 1));
    close(fd);
}

/* 2: the scatter-gather functions. */
TEST(scatter_gather)
{
    struct session *s = ioas_device();
    int fd = guest_file(16 * PS);
    uint8_t *view = guest_view(fd, 16 * PS);
    uint32_t id = ioas_alloc(s);
    struct iovec iov[4];
    uint8_t data[64];

    ioas_attach(s, id);
    ioas_map(s, id, RW | FIXED, 0x10000, 2 * PS, PS, fd);
    ioas_map(s, id, RW | FIXED, 0x10000 + 2 * PS, PS, 8 * PS, fd);
    ioas_map(s, id, RO | FIXED, 0x10000 + 3 * PS, PS, 9 * PS, fd);
    ioas_map(s, id, RW | FIXED, 0x10000 + 4 * PS, PS, 0, -1);
    assert_int_equal(ioas_look_up(s, 0x10000 + PS, 2 * PS, PROT_READ | PROT_WRITE), 2);
    assert_int_equal(ioas_sgs[1].region_base, 0x10000 + 2 * PS);
    assert_true(vfu_sg_is_mappable(s->ctx, SGL));
    assert_int_equal(vfu_sgl_get(s->ctx, SGL, iov, 2, 0), 0);
    assert_int_equal(iov[0].iov_len, PS);
    memset(iov[0].iov_base, 0x11, PS);
    memset(iov[1].iov_base, 0x22, PS);
    vfu_sgl_put(s->ctx, SGL, iov, 2);
    vfu_sgl_mark_dirty(s->ctx, SGL, 2);
    assert_int_equal(view[2 * PS], 0x11);
    assert_int_equal(view[8 * PS], 0x22);

    assert_int_equal(ioas_look_up(s, 0x10000 + PS - 10, sizeof(data), PROT_WRITE), 1);
    memset(data, 0x33, sizeof(data));
    assert_int_equal(vfu_sgl_write(s->ctx, SGL, 1, data, DIRECT), 0);
    assert_int_equal(view[2 * PS - 10], 0x33);
    view[2 * PS - 10] = 0x44;
    assert_int_equal(vfu_sgl_read(s->ctx, SGL, 1, data, DIRECT), 0);
    assert_int_equal(data[0], 0x44);
    /* Rights. */
    assert_fails(ioas_look_up(s, 0x10000 + 2 * PS, 2 * PS, PROT_WRITE), EACCES);
    assert_int_equal(ioas_look_up(s, 0x10000 + 2 * PS, 2 * PS, PROT_READ), 2);
    assert_fails(vfu_sgl_write(s->ctx, SGL, 1, data, DIRECT), EPERM);
    /* Memory without a file. */
    assert_int_equal(ioas_look_up(s, 0x10000 + 4 * PS, 8, PROT_READ), 1);
    assert_false(vfu_sg_is_mappable(s->ctx, SGL));
    assert_fails(vfu_sgl_get(s->ctx, SGL, iov, 1, 0), EFAULT);
    munmap(view, 16 * PS);
    close(fd);
}

/* 3: nothing may wrap round. */
TEST(wrapping)
{
    struct session *s = ioas_device();
    int fd = guest_file(2 * PS);
    uint32_t id = ioas_alloc(s);

    ioas_attach(s, id);
    ioas_map_fails(s, id, RW | FIXED, UINT64_MAX - PS + 2, PS, 0, fd, EOVERFLOW);
    ioas_map_fails(s, id, RW, 0, PS, UINT64_MAX - PS + 2, fd, EOVERFLOW);
    ioas_map(s, id, RW | FIXED, UINT64_MAX - PS + 1, PS, 0, fd);
    ioas_unmap_fails(s, id, 0, UINT64_MAX - PS + 1, PS + 1, EOVERFLOW);
    assert_true(ioas_sees(s, UINT64_MAX, 1));
    assert_fails(ioas_look_up(s, UINT64_MAX, 2, PROT_READ), ENOENT);
    assert_fails(ioas_look_up(s, UINT64_MAX - PS + 1, PS + 1, PROT_READ), ENOENT);
    assert_fails(ioas_look_up(s, UINT64_MAX - PS + 1, UINT64_MAX, PROT_READ), ENOENT);
    assert_int_equal(ioas_unmap(s, id, UINT64_MAX - PS + 1, PS), PS);
    close(fd);
}

/* 4: a mapping that begins within a page goes whole. */
TEST(parts_of_pages)
{
    struct session *s = ioas_device();
    int fd = guest_file(16 * PS);
    uint32_t id = ioas_alloc(s);
    size_t before = guest_mapping_count();

    for (uint64_t offset = 1; offset < 3 * PS; offset += 997) {
        uint64_t iova = ioas_map(s, id, RW, 0, 2 * PS + 5, offset, fd);

        assert_int_equal(iova % PS, offset % PS);
        assert_int_equal(guest_mapping_count(), before + 1);
        assert_int_equal(ioas_unmap(s, id, iova, 2 * PS + 5), 2 * PS + 5);
        assert_int_equal(guest_mapping_count(), before);
    }
    close(fd);
}

/* 5: neither success nor failure leaves anything behind. */
TEST(ten_thousand_cycles)
{
    struct session *s = ioas_device();
    int fd = guest_file(4 * PS);
    uint32_t id = ioas_alloc(s);
    size_t fds, mappings;

    ioas_attach(s, id);
    calls.count = 0;
    fds = fd_count();
    mappings = guest_mapping_count();
    for (int i = 0; i < 10000; i++) {
        uint64_t iova = ioas_map(s, id, RW, 0, PS + 1, 3, fd);

        ioas_unmap(s, id, iova, PS + 1);
        calls.count = 0;
    }
    for (int i = 0; i < 10000; i++) {
        ioas_map_fails(s, id, RW, 0, PS, 4 * PS, fd, EINVAL);
        calls.count = 0;
    }
    assert_int_equal(fd_count(), fds);
    assert_int_equal(guest_mapping_count(), mappings);
    close(fd);
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
    dma_map(s, DMA_RW, 0, 0x10000, PS, sealed);
    ioas_map(s, id, RW, 0, PS, 0, sealed);
    close(fd);
    close(sealed);
}

struct sample {
    uint16_t cmd;
    size_t size;
    uint32_t words[12];
    uint32_t known_flags;
    int reserved, ids[2];
    bool takes_fd;
};

static const struct sample samples[] = {
    {VFIO_USER_IOMMUFD_ALLOC_IOAS, 16, {16}, 0, 3, {0}, false},
    {VFIO_USER_IOMMUFD_DESTROY_IOAS, 16, {16, 0, 2}, 0, 3, {2}, false},
    {VFIO_USER_IOMMUFD_IOAS_MAP, 48, {48, 3, 1, 0, 0, 0, 4096}, 7, 3, {2}, true},
    {VFIO_USER_IOMMUFD_IOAS_UNMAP, 32, {32, 0, 1, 0, 0x10000, 0, 4096}, 1, 3, {2}, false},
    {VFIO_USER_IOMMUFD_IOAS_COPY, 40, {40, 3, 1, 2, 0x20000, 0, 0, 0, 4096}, 7, 0, {2, 3}, false},
    {VFIO_USER_IOMMUFD_BIND, 16, {16}, 0, 0, {0}, false},
    {VFIO_USER_IOMMUFD_ATTACH_PT, 16, {16, 0, 1}, 1, 3, {2}, false},
    {VFIO_USER_IOMMUFD_DETACH_PT, 16, {16}, 1, 3, {0}, false},
    {VFIO_USER_IOMMUFD_IOVA_RANGES, 24, {24, 0, 1}, 0, 0, {2}, false},
    {VFIO_USER_IOMMUFD_COMPAT_IOAS, 16, {16, 0, 1, 1}, 0, 0, {3}, false},
};

/* 7: malformed requests. */
TEST(malformed_requests)
{
    struct session *s = ioas_device();
    int fds[2] = {guest_file(4 * PS)};

    fds[1] = fds[0];
    ioas_alloc(s);
    ioas_alloc(s);
    ioas_map(s, 1, RW | FIXED, 0x10000, PS, 0, fds[0]);
    ioas_map(s, 1, RW | FIXED, 0x20000, PS, 0, fds[0]);
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct sample *sample = &samples[i];
        size_t right = sample->takes_fd ? 1 : 0, open_fds = fd_count();
        uint32_t words[16];

        memset(words, 0, sizeof(words));
        memcpy(words, sample->words, sample->size);
        for (size_t size = 1; size < sample->size; size++) {
            request_fds_fails(s, sample->cmd, words, size, fds, right, EINVAL);
        }
        words[sample->size / 4] = 1; /* behind the struct */
        request_fds_fails(s, sample->cmd, words, sample->size + 4, fds, right, E2BIG);
        words[sample->size / 4] = 0;
        words[0] = (uint32_t)sample->size - 1;
        request_fds_fails(s, sample->cmd, words, sample->size, fds, right, EINVAL);
        words[0] = (uint32_t)sample->size;
        for (uint32_t bit = 1; bit != 0; bit <<= 1) {
            if ((sample->known_flags & bit) == 0) {
                words[1] = sample->words[1] | bit;
                request_fds_fails(s, sample->cmd, words, sample->size, fds, right, EINVAL);
            }
        }
        words[1] = sample->words[1];
        if (sample->reserved != 0) {
            words[sample->reserved] = 1;
            request_fds_fails(s, sample->cmd, words, sample->size, fds, right, EINVAL);
            words[sample->reserved] = 0;
        }
        for (size_t k = 0; k < 2 && sample->ids[k] != 0; k++) {
            words[sample->ids[k]] = 77;
            request_fds_fails(s, sample->cmd, words, sample->size, fds, right, ENOENT);
            words[sample->ids[k]] = sample->words[sample->ids[k]];
        }
        request_fds_fails(s, sample->cmd, words, sample->size, fds, right + 1, EINVAL);
        assert_int_equal(fd_count(), open_fds);
        assert_serving(s);
    }
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        if (samples[i].cmd != VFIO_USER_IOMMUFD_DESTROY_IOAS) {
            request_fds(s, samples[i].cmd, samples[i].words, samples[i].size, fds, samples[i].takes_fd);
        }
    }
    close(fds[0]);
}

/* 8: sizes and contents of replies to a client that offers the capability alone. */
TEST(baseline_replies)
{
    static const size_t sizes[] = {16, 0, 48, 0, 0, 16, 0, 0};
    static const uint16_t order[] = {0, 0, 5, 2, 6, 3, 7, 1};
    struct session *s = new_session();
    int fd = guest_file(PS);
    uint64_t iova = 0;

    use_dma(s);
    realize(s);
    connect_client_with(s, BASELINE_JSON);
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        const struct sample *sample = &samples[order[i]];
        uint32_t words[12];
        struct reply *reply;

        memcpy(words, sample->words, sizeof(words));
        if (sample->cmd == VFIO_USER_IOMMUFD_IOAS_UNMAP) {
            memcpy(&words[4], &iova, 8);
        }
        reply = request_fds(s, sample->cmd, words, sample->size, &fd, sample->takes_fd);
        assert_int_equal(reply->size, sizes[order[i]]);
        if (reply->size > 0) {
            assert_memory_equal(reply->data, &words[0], 4);
        }
        if (sample->cmd == VFIO_USER_IOMMUFD_IOAS_MAP) {
            memcpy(&iova, reply->data + 32, 8);
        }
    }
    request_fails(s, VFIO_USER_IOMMUFD_IOAS_COPY, samples[4].words, samples[4].size, EOPNOTSUPP);
    dma_map_fails(s, DMA_RW, 0, 0x10000, PS, fd, EOPNOTSUPP);
    close(fd);
}

/* What a device reads after it has written, with the client's changes in between. */
static size_t program(struct session *s, bool legacy, uint8_t *out)
{
    int fd = guest_file(16 * PS);
    uint32_t id = 0, seed = 12345;
    bool mapped[8] = {false};
    size_t n = 0;

    if (!legacy) {
        id = ioas_alloc(s);
        ioas_attach(s, id);
    }
    for (int i = 0; i < 2000; i++) {
        uint64_t slot = (seed >> 8) % 8, iova = 0x10000 + slot * 2 * PS, offset = slot * 1000;
        uint8_t data[100];

        seed = seed * 1103515245 + 12345;
        calls.count = 0;
        if (i % 7 == 0 && legacy) {
            mapped[slot] ? dma_unmap(s, iova, 2 * PS) : dma_map(s, DMA_RW, offset, iova, 2 * PS, fd);
            mapped[slot] = !mapped[slot];
        } else if (i % 7 == 0) {
            mapped[slot] ? (void)ioas_unmap(s, id, iova, 2 * PS)
                         : (void)ioas_map(s, id, RW | FIXED, iova, 2 * PS, offset, fd);
            mapped[slot] = !mapped[slot];
        }
        errno = 0;
        int found = ioas_look_up(s, iova + (seed >> 20) % (2 * PS), sizeof(data), PROT_READ | PROT_WRITE);
        out[n++] = (uint8_t)found;
        out[n++] = found < 0 ? (uint8_t)errno : 0;
        if (found == 1) {
            assert_int_equal(vfu_sgl_read(s->ctx, SGL, 1, data, DIRECT), 0);
            out[n++] = data[7];
            memset(data, (uint8_t)i, sizeof(data));
            assert_int_equal(vfu_sgl_write(s->ctx, SGL, 1, data, DIRECT), 0);
        }
    }
    close(fd);
    return n;
}

/* 9: both modes give the same bytes. */
TEST(same_bytes_in_both_modes)
{
    static uint8_t legacy[8192], ioas[8192];
    struct session *one = new_session();
    size_t n;

    use_dma(one);
    start(one);
    n = program(one, true, legacy);
    assert_int_equal(program(ioas_device(), false, ioas), n);
    assert_true(n > 4500);
    assert_memory_equal(legacy, ioas, n);
}

/* 10: DMA_MAP into an address space. */
TEST(compatibility_space)
{
    struct session *s = ioas_device();
    int fd = guest_file(16 * PS);
    uint32_t id = ioas_alloc(s);

    dma_map_fails(s, DMA_RW, 0, 0x10000, PS, fd, ENODEV);
    ioas_compat(s, VFIO_USER_IOMMUFD_COMPAT_SET, id);
    ioas_attach(s, id);
    dma_map(s, DMA_RW, 0, 0x10000, PS, fd);
    assert_true(ioas_sees(s, 0x10000, PS));
    ioas_map_fails(s, id, RW | FIXED, 0x10000, PS, 0, fd, EEXIST);
    assert_int_equal(ioas_unmap(s, id, 0x10000, PS), PS);
    dma_unmap_fails(s, 0x10000, PS, ENOENT);
    ioas_map(s, id, RW | FIXED, 0x20000, PS, 0, fd);
    dma_map_fails(s, DMA_RW, PS, 0x20000, PS, fd, EINVAL);
    dma_unmap(s, 0x20000, PS);
    assert_false(ioas_sees(s, 0x20000, PS));
    ioas_compat(s, VFIO_USER_IOMMUFD_COMPAT_CLEAR, 0);
    dma_unmap_fails(s, 0x20000, PS, ENODEV);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(only_the_attached_space_is_seen),
        CASE(scatter_gather),
        CASE(wrapping),
        CASE(parts_of_pages),
        CASE(ten_thousand_cycles),
        CASE(shrinking_file),
        CASE(shrinking_file_mapped_by_dma_map),
        CASE(only_sealed_files),
        CASE(malformed_requests),
        CASE(baseline_replies),
        CASE(same_bytes_in_both_modes),
        CASE(compatibility_space),
    };

    return RUN(tests);
}
