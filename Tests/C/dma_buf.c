/*
 * Memory that is a dma-buf, made of a memfd by /dev/udmabuf: its exporter hears of each use by the processor. Where
 * the kernel has no such device this skips; Tests/Interop/guest-memory.sh runs the same program in a guest.
 */
#include "ioas.h"

#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define DIRECT VFU_SGL_DIRECT_ACCESS
#define START_READ (DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ)
#define END_READ (DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ)
#define START_WRITE (DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW)
#define END_WRITE (DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW)
#define PAGES 4

/* What the library told exporters since the last look, and what is to become of it. */
static struct {
    unsigned flags[16], count;
    unsigned failing; /* this one fails with ENXIO; counts from 1 */
} told;

/* The library finds this one before that of libc. */
int ioctl(int fd, unsigned long number, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, number);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (number == DMA_BUF_IOCTL_SYNC) {
        assert_true(told.count < ARRAY_LEN(told.flags));
        told.flags[told.count++] = (unsigned)((struct dma_buf_sync *)argument)->flags;
        if (told.count == told.failing) {
            errno = ENXIO;
            return -1;
        }
    }
    return (int)syscall(SYS_ioctl, fd, number, argument);
}

static void assert_told_(const unsigned *flags, unsigned count, int line)
{
    if (told.count != count || memcmp(told.flags, flags, count * sizeof(*flags)) != 0) {
        for (unsigned i = 0; i < told.count; i++) {
            print_message("# told %#x\n", told.flags[i]);
        }
        fail_msg("line %d: other uses than these", line);
    }
    told.count = 0;
}
#define assert_told(...)                                                                                      \
    assert_told_((const unsigned[]){__VA_ARGS__}, sizeof((unsigned[]){__VA_ARGS__}) / sizeof(unsigned), __LINE__)
#define assert_not_told() assert_told_(NULL, 0, __LINE__)

struct buffer {
    int memory, fd; /* the memfd, the dma-buf */
    uint8_t *view;
};

/* All but the first page of a memfd of PAGES + 1. */
static struct buffer new_buffer(void)
{
    struct buffer b = {.memory = memfd_create("vfu-test-buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    struct udmabuf_create create = {
        .memfd = (uint32_t)b.memory, .flags = UDMABUF_FLAGS_CLOEXEC, .offset = PS, .size = PAGES * PS};

    if (device < 0) {
        close(b.memory);
        print_message("# no /dev/udmabuf\n");
        skip();
    }
    told.count = told.failing = 0;
    assert_int_equal(ftruncate(b.memory, (off_t)((PAGES + 1) * PS)), 0);
    assert_int_equal(fcntl(b.memory, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    b.fd = ioctl(device, UDMABUF_CREATE, &create);
    assert_true(b.fd >= 0);
    close(device);
    b.view = mmap(NULL, PAGES * PS, PROT_READ | PROT_WRITE, MAP_SHARED, b.memory, (off_t)PS);
    assert_true(b.view != MAP_FAILED);
    for (size_t i = 0; i < PAGES * PS; i++) {
        b.view[i] = (uint8_t)(i * 7 + i / 4096);
    }
    return b;
}

static void end_buffer(struct buffer *b)
{
    munmap(b->view, PAGES * PS);
    close(b->fd);
    close(b->memory);
}

static size_t dma_buf_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    size_t count = 0;

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        count += strstr(line, "dmabuf") != NULL;
    }
    fclose(maps);
    return count;
}

/* Mapped from its second page on at 0x10000 in either mode; ordinary memory behind it. */
static void map_both(struct session *s, bool legacy, int buffer, int plain)
{
    if (legacy) {
        dma_map(s, DMA_RW | DMA_MMAP, PS, 0x10000, 2 * PS, buffer);
        dma_map(s, DMA_RW | DMA_MMAP, 0, 0x10000 + 2 * PS, PS, plain);
    } else {
        uint32_t id = ioas_alloc(s);

        ioas_attach(s, id);
        ioas_map(s, id, RW | FIXED, 0x10000, 2 * PS, PS, buffer);
        ioas_map(s, id, RW | FIXED, 0x10000 + 2 * PS, PS, 0, plain);
    }
}

static void unmap_both(struct session *s, bool legacy)
{
    if (legacy) {
        dma_unmap(s, 0x10000, 2 * PS);
        dma_unmap(s, 0x10000 + 2 * PS, PS);
    } else {
        assert_int_equal(ioas_unmap(s, 1, 0x10000, 3 * PS), 3 * PS);
    }
}

/* The lengths are such that bytes at both ends of a page and across pages are among them. */
static void copies(struct session *s, struct buffer *b)
{
    uint8_t data[600], *memory = b->view + PS;

    for (uint64_t offset = 0; offset + sizeof(data) <= 2 * PS; offset += 1234) {
        assert_int_equal(ioas_look_up(s, 0x10000 + offset, sizeof(data), PROT_READ), 1);
        assert_not_told();
        assert_int_equal(vfu_sgl_read(s->ctx, SGL, 1, data, DIRECT), 0);
        assert_told(START_READ, END_READ);
        assert_memory_equal(data, memory + offset, sizeof(data));
        memset(data, (int)(offset / 1234 + 1), sizeof(data));
        assert_int_equal(ioas_look_up(s, 0x10000 + offset, sizeof(data), PROT_WRITE), 1);
        assert_int_equal(vfu_sgl_write(s->ctx, SGL, 1, data, DIRECT), 0);
        assert_told(START_WRITE, END_WRITE);
        assert_memory_equal(data, memory + offset, sizeof(data));
    }
}

static void addresses(struct session *s, struct buffer *b)
{
    struct iovec iov[2];

    /* Of two pieces, one is of the dma-buf. */
    assert_int_equal(ioas_look_up(s, 0x10000 + PS, 2 * PS, PROT_READ | PROT_WRITE), 2);
    assert_true(vfu_sg_is_mappable(s->ctx, SGL));
    assert_int_equal(vfu_sgl_get(s->ctx, SGL, iov, 2, 0), 0);
    assert_told(START_WRITE);
    assert_memory_equal(iov[0].iov_base, b->view + 2 * PS, PS);
    memset(iov[0].iov_base, 0x5a, PS);
    memset(iov[1].iov_base, 0xa5, PS);
    assert_not_told();
    vfu_sgl_put(s->ctx, SGL, iov, 2);
    assert_told(END_WRITE);
    assert_int_equal(b->view[2 * PS], 0x5a);
    assert_int_equal(b->view[3 * PS - 1], 0x5a);
    assert_int_not_equal(b->view[3 * PS], 0xa5);

    assert_int_equal(ioas_look_up(s, 0x10000, 1, PROT_READ), 1);
    assert_int_equal(vfu_sgl_get(s->ctx, SGL, iov, 1, 0), 0);
    vfu_sgl_put(s->ctx, SGL, iov, 1);
    assert_told(START_READ, END_READ);

    /* Ordinary memory is nobody's business. */
    assert_int_equal(ioas_look_up(s, 0x10000 + 2 * PS, PS, PROT_READ | PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_get(s->ctx, SGL, iov, 1, 0), 0);
    vfu_sgl_put(s->ctx, SGL, iov, 1);
    assert_not_told();
}

/* The exporter refuses: nothing is copied, and no use goes on. */
static void refusals(struct session *s, struct buffer *b)
{
    uint8_t data[16], before = b->view[PS];
    struct iovec iov[2];

    memset(data, before + 1, sizeof(data));
    told.failing = 1;
    assert_int_equal(ioas_look_up(s, 0x10000, sizeof(data), PROT_READ | PROT_WRITE), 1);
    assert_fails(vfu_sgl_write(s->ctx, SGL, 1, data, DIRECT), EIO);
    assert_told(START_WRITE);
    assert_int_equal(b->view[PS], before);
    assert_fails(vfu_sgl_read(s->ctx, SGL, 1, data, DIRECT), EIO);
    assert_told(START_READ);
    assert_int_equal(data[0], (uint8_t)(before + 1));
    assert_fails(vfu_sgl_get(s->ctx, SGL, iov, 1, 0), ENXIO);
    assert_told(START_WRITE);
    /* The second of two. */
    told.failing = 2;
    ioas_sgs[1] = ioas_sgs[0];
    assert_fails(vfu_sgl_get(s->ctx, SGL, iov, 2, 0), ENXIO);
    assert_told(START_WRITE, START_WRITE, END_WRITE);
    told.failing = 0;
}

static void play(bool legacy)
{
    struct buffer b = new_buffer();
    int plain = guest_file(3 * PS);
    struct session *s = new_session();
    struct iovec iov;
    uint8_t byte;
    size_t fds;

    use_dma(s);
    realize(s);
    connect_client_with(s, legacy ? DEFAULT_JSON : FULL_JSON);
    fds = fd_count();
    map_both(s, legacy, b.fd, plain);
    assert_int_equal(dma_buf_mappings(), 1);
    copies(s, &b);
    addresses(s, &b);
    refusals(s, &b);

    assert_int_equal(ioas_look_up(s, 0x10000, PS, PROT_READ), 1);
    unmap_both(s, legacy);
    assert_int_equal(dma_buf_mappings(), 0);
    assert_int_equal(fd_count(), fds);
    /* An entry that outlived its mapping reaches no exporter any more. */
    assert_fails(vfu_sgl_get(s->ctx, SGL, &iov, 1, 0), EINVAL);
    assert_fails(vfu_sgl_read(s->ctx, SGL, 1, &byte, DIRECT), EINVAL);
    vfu_sgl_put(s->ctx, SGL, &iov, 1);
    map_both(s, legacy, plain, plain);
    vfu_sgl_put(s->ctx, SGL, &iov, 1);
    assert_not_told();
    end_buffer(&b);
    close(plain);
}

TEST(legacy_mode)
{
    play(true);
}

TEST(ioas_mode)
{
    play(false);
}

/* How long it is, the buffer itself knows, although fstat() says 0. */
TEST(its_size_is_known)
{
    struct buffer b = new_buffer();
    struct session *s = ioas_device();
    uint32_t id = ioas_alloc(s);

    ioas_map_fails(s, id, RW, 0, PAGES * PS + 1, 0, b.fd, EINVAL);
    ioas_map_fails(s, id, RW, 0, PS + 1, (PAGES - 1) * PS, b.fd, EINVAL);
    ioas_map_fails(s, id, RW, 0, 1, PAGES * PS, b.fd, EINVAL);
    assert_int_equal(dma_buf_mappings(), 0);
    ioas_map(s, id, RW, 0, PAGES * PS, 0, b.fd);
    ioas_map(s, id, RO, 0, 1, PAGES * PS - 1, b.fd);
    ioas_unmap_all(s, id);
    assert_int_equal(dma_buf_mappings(), 0);
    end_buffer(&b);
}

/* A copy of the mapping is the same memory, and minded in the same way. */
TEST(copies_of_mappings)
{
    struct buffer b = new_buffer();
    struct session *s = ioas_device();
    uint32_t from = ioas_alloc(s), to = ioas_alloc(s);
    uint8_t data[8];

    ioas_map(s, from, RW | FIXED, 0x10000, PAGES * PS, 0, b.fd);
    assert_int_equal(ioas_copy(s, from, 0x10000 + PS, PS, to, RO | FIXED, 0x50000), 0x50000);
    assert_int_equal(dma_buf_mappings(), 1);
    ioas_unmap_all(s, from);
    ioas_attach(s, to);
    assert_int_equal(ioas_look_up(s, 0x50000 + 16, sizeof(data), PROT_READ), 1);
    assert_int_equal(vfu_sgl_read(s->ctx, SGL, 1, data, DIRECT), 0);
    assert_told(START_READ, END_READ);
    assert_memory_equal(data, b.view + PS + 16, sizeof(data));
    end_buffer(&b);
}

/* A dma-buf cannot shrink: it needs no seal, and no guard. */
TEST(sealed_by_nature)
{
    struct buffer b = new_buffer();
    struct session *s = new_session();
    uint8_t data[8] = {1, 2, 3};

    use_dma(s);
    assert_int_equal(vfu_setup_device_require_sealed(s->ctx, true), 0);
    assert_int_equal(vfu_setup_device_guard_dma(s->ctx, true), 0);
    start(s);
    dma_map(s, DMA_RW | DMA_MMAP, 0, 0x10000, PS, b.fd);
    assert_int_equal(ioas_look_up(s, 0x10000, sizeof(data), PROT_READ | PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_write(s->ctx, SGL, 1, data, DIRECT), 0);
    assert_told(START_WRITE, END_WRITE);
    assert_memory_equal(b.view, data, sizeof(data));
    end_buffer(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(legacy_mode),
        CASE(ioas_mode),
        CASE(its_size_is_known),
        CASE(copies_of_mappings),
        CASE(sealed_by_nature),
    };

    return RUN(tests);
}
