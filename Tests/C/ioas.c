/* I/O address spaces: what must hold, in the C interface (see also ioas_files.c and ioas_format.c). */
#include "dirty_log.h"
#include "ioas.h"
#include "responder.h"

#include <fcntl.h>

#define DIRECT VFU_SGL_DIRECT_ACCESS

/* 1: an address of a space that is not attached is refused. */
TEST(only_the_attached_space_is_seen)
{
    struct session *s = ioas_device(), *other = ioas_device();
    int fd = guest_file(16 * PS);
    uint32_t a = ioas_alloc(s), b = ioas_alloc(s), c = ioas_alloc(other);
    struct ioas_entry kept;
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
    assert_false(ioas_sees(s, 0x10000, 1));
    ioas_map(s, b, RW | FIXED, 0x20000, PS, 0, fd);
    ioas_attach(s, b);
    lose_client(s);
    assert_false(ioas_sees(s, 0x20000, 1));
    assert_true(ioas_sees(other, 0x30000, 1));
    close(fd);
}

/* 1: an address of this process is an IOVA only where a mapping in the attached space has it. */
TEST(pointers_are_no_iovas)
{
    struct session *s = ioas_device();
    int fd = guest_file(4 * PS);
    uint32_t a = ioas_alloc(s), b = ioas_alloc(s);
    uint64_t hidden = ioas_map(s, a, RW, 0, PS, 0, fd), seen = ioas_map(s, b, RW, 0, PS, 2 * PS, fd);
    struct iovec iov;

    ioas_attach(s, b);
    assert_true(ioas_sees(s, seen, PS));
    assert_int_equal(vfu_sgl_get(s->ctx, SGL, &iov, 1, 0), 0);
    assert_int_equal((uintptr_t)iov.iov_base, seen); /* the default policy */
    assert_false(ioas_sees(s, hidden, 1));
    assert_false(ioas_sees(s, seen + PS, 1) || ioas_sees(s, seen - 1, 1));
    assert_false(ioas_sees(s, (uintptr_t)&iov, sizeof(iov)) || ioas_sees(s, (uintptr_t)s->ctx, 1));
    ioas_unmap(s, b, seen, PS);
    assert_false(ioas_sees(s, seen, 1));
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

/* 2: pages that are put or marked are dirty, by their IOVAs. */
TEST(dirty_pages)
{
    struct session *s = ioas_device();
    int fd = guest_file(16 * PS);
    uint32_t id = ioas_alloc(s), other = ioas_alloc(s);
    struct iovec iov;

    use_migration(s);
    ioas_map(s, id, RW | FIXED, 0x10000, 8 * PS, 0, fd);
    ioas_map(s, other, RW | FIXED, 0x10000, 8 * PS, 8 * PS, fd);
    ioas_attach(s, id);
    start_logging(s, PS);
    assert_int_equal(ioas_look_up(s, 0x10000 + 2 * PS, PS + 1, PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_get(s->ctx, SGL, &iov, 1, 0), 0);
    assert_int_equal(*report(s, 0x10000, 8 * PS, PS), 0);
    vfu_sgl_put(s->ctx, SGL, &iov, 1);
    assert_int_equal(*report(s, 0x10000, 8 * PS, PS), 0xc);
    assert_int_equal(ioas_look_up(s, 0x10000 + 7 * PS, 1, PROT_WRITE), 1);
    vfu_sgl_mark_dirty(s->ctx, SGL, 1);
    /* What comes into sight is clean, and what was out of sight is, too. */
    ioas_attach(s, other);
    assert_int_equal(*report(s, 0x10000, 8 * PS, PS), 0);
    ioas_attach(s, id);
    assert_int_equal(*report(s, 0x10000, 8 * PS, PS), 0);
    stop_logging(s);
    close(fd);
}

/* 2: by messages, which name memory by its IOVAs. */
TEST(by_message)
{
    static const char json[] =
        "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":4096,\"twin_socket\":{\"supported\":true},"
        "\"iommufd\":{\"supported\":true,\"x-fixed-iova\":true,\"x-message-dma\":true}}}";
    struct session *s = new_session();
    struct responder client = {0};
    int fd = guest_file(MEMORY_SIZE);
    uint8_t data[6000], back[6000];
    uint32_t id;

    use_dma(s);
    realize(s);
    connect_client_with(s, json);
    client.memory = guest_view(fd, MEMORY_SIZE);
    id = ioas_alloc(s);
    ioas_map(s, id, RW | FIXED, BASE, MEMORY_SIZE / 2, 0, fd);
    ioas_map(s, id, RW | FIXED, BASE + MEMORY_SIZE / 2, MEMORY_SIZE / 2, 0, -1);
    ioas_attach(s, id);
    start_responder(&client, s->twin);
    for (size_t offset = 100; offset < MEMORY_SIZE; offset += MEMORY_SIZE / 2) {
        memset(data, (int)(offset >> 16) + 5, sizeof(data));
        assert_int_equal(ioas_look_up(s, BASE + offset, sizeof(data), PROT_READ | PROT_WRITE), 1);
        /* Memory without a file is reached by messages whatever is asked. */
        assert_int_equal(vfu_sgl_write(s->ctx, SGL, 1, data, offset == 100 ? 0 : DIRECT), 0);
        assert_memory_equal(client.memory + offset, data, sizeof(data));
        assert_int_equal(vfu_sgl_read(s->ctx, SGL, 1, back, offset == 100 ? 0 : DIRECT), 0);
        assert_memory_equal(back, data, sizeof(data));
    }
    stop_responder(&client);
    assert_int_equal(client.messages, 8);
    assert_int_equal(client.addrs[0], BASE + 100);
    munmap(client.memory, MEMORY_SIZE);
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
    ioas_copy_fails(s, id, UINT64_MAX - PS + 1, PS + 1, id, RW, 0, EOVERFLOW);
    ioas_copy_fails(s, id, UINT64_MAX - PS + 1, PS, id, RW | FIXED, UINT64_MAX - PS + 2, EOVERFLOW);
    ioas_unmap_fails(s, id, 0, 2, UINT64_MAX, EOVERFLOW);
    ioas_compat(s, VFIO_USER_IOMMUFD_COMPAT_SET, id);
    dma_map_fails(s, DMA_RW, 0, UINT64_MAX - PS + 2, PS, fd, EINVAL);
    dma_unmap_fails(s, UINT64_MAX - PS + 1, PS + 1, ENOENT);
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
    int fd = guest_file(4 * PS), read_only;
    uint32_t id = ioas_alloc(s);
    size_t fds, mappings;
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    read_only = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read_only >= 0);

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
        ioas_map_fails(s, id, RW, 0, PS, 0, read_only, EACCES); /* mmap's own */
        calls.count = 0;
    }
    assert_int_equal(fd_count(), fds);
    assert_int_equal(guest_mapping_count(), mappings);
    close(read_only);
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
        CASE(pointers_are_no_iovas),
        CASE(scatter_gather),
        CASE(dirty_pages),
        CASE(by_message),
        CASE(wrapping),
        CASE(parts_of_pages),
        CASE(ten_thousand_cycles),
        CASE(same_bytes_in_both_modes),
        CASE(compatibility_space),
    };

    return RUN(tests);
}
