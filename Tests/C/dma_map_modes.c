/* The modes of DMA regions: what the device is told of each, and what is mapped how. */
#include "support.h"

#include <fcntl.h>
#include <sys/stat.h>

#define BASE UINT64_C(0x10000)

static struct session *device(void)
{
    struct session *s = new_session();

    use_dma(s);
    use_quiesce_and_reset(s);
    start(s);
    return s;
}

static const vfu_dma_info_t *registered(size_t n)
{
    return &call(CALL_REGISTER, n)->info;
}

static void assert_iova(const vfu_dma_info_t *info, uint64_t addr, uint64_t size)
{
    assert_int_equal(info->iova.iov_base, addr);
    assert_int_equal(info->iova.iov_len, size);
}

/* Whether [addr, addr + size) is one region. */
static bool mapped(struct session *s, uint64_t addr, uint64_t size)
{
    uint8_t sg[64];

    return vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)addr, size, (dma_sg_t *)sg, 1, 0) == 1;
}

TEST(message_mode_info)
{
    struct session *s = device();

    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    dma_map(s, VFIO_USER_F_DMA_REGION_READ, 0, 2 * BASE, 3 * PS, -1);
    dma_map(s, 0, 123, 0x123456789, 77, -1); /* nothing needs to be aligned, or to be allowed */
    assert_int_equal(calls_of(CALL_REGISTER), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_null(registered(i)->vaddr);
        assert_null(registered(i)->mapping.iov_base);
        assert_int_equal(registered(i)->mapping.iov_len, 0);
        assert_int_equal(registered(i)->page_size, PS);
    }
    assert_iova(registered(0), BASE, PS);
    assert_int_equal(registered(0)->prot, PROT_READ | PROT_WRITE);
    assert_iova(registered(1), 2 * BASE, 3 * PS);
    assert_int_equal(registered(1)->prot, PROT_READ);
    assert_iova(registered(2), 0x123456789, 77);
    assert_int_equal(registered(2)->prot, PROT_NONE);
}

TEST(mmap_mode_info)
{
    static const uint32_t flags[] = {DMA_RW | DMA_MMAP, DMA_RW}; /* an fd without a mode means mmap */
    struct session *s = device();
    int fd = guest_file(4 * PS);
    uint8_t *view = guest_view(fd, 4 * PS);

    view[PS] = 0xa5;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        const uint64_t addr = BASE * (i + 1);
        const vfu_dma_info_t *info;

        dma_map(s, flags[i], PS, addr, 2 * PS, fd);
        info = registered(i);
        assert_iova(info, addr, 2 * PS);
        assert_non_null(info->vaddr);
        assert_ptr_equal(info->mapping.iov_base, info->vaddr);
        assert_int_equal(info->mapping.iov_len, 2 * PS);
        assert_int_equal(info->page_size, PS);
        assert_int_equal(info->prot, PROT_READ | PROT_WRITE);
        assert_int_equal(*(uint8_t *)info->vaddr, 0xa5);
        ((uint8_t *)info->vaddr)[PS + i] = (uint8_t)(0x11 * (i + 1));
    }
    assert_int_equal(view[2 * PS], 0x11);
    assert_int_equal(view[2 * PS + 1], 0x22);
    munmap(view, 4 * PS);
    close(fd);
}

TEST(file_mode_info)
{
    struct session *s = device();
    struct stat status;
    int fd = guest_file(4 * PS);

    assert_int_equal(fstat(fd, &status), 0);
    dma_map(s, DMA_RW | DMA_FILE, PS, BASE, 2 * PS, fd);
    assert_iova(registered(0), BASE, 2 * PS);
    assert_null(registered(0)->vaddr);
    assert_null(registered(0)->mapping.iov_base);
    assert_int_equal(registered(0)->mapping.iov_len, 0);
    assert_int_equal(registered(0)->page_size, (uint64_t)status.st_blksize > PS ? (uint64_t)status.st_blksize : PS);
    assert_int_equal(registered(0)->prot, PROT_READ | PROT_WRITE);
    assert_int_equal(guest_mapping_count(), 0);
    close(fd);
}

/* The protection of the memory is what the client granted. */
TEST(mapping_protection)
{
    static const struct {
        uint32_t flags, prot;
        const char *text;
    } cases[] = {
        {0, PROT_NONE, "---s"},
        {VFIO_USER_F_DMA_REGION_READ, PROT_READ, "r--s"},
        {VFIO_USER_F_DMA_REGION_WRITE, PROT_WRITE, "-w-s"},
        {DMA_RW, PROT_READ | PROT_WRITE, "rw-s"},
    };
    struct session *s = device();
    int fd = guest_file(PS);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char line[512], wanted[64];
        bool found = false;
        FILE *maps;

        clear_calls();
        dma_map(s, cases[i].flags | DMA_MMAP, 0, BASE, PS, fd);
        assert_int_equal(registered(0)->prot, cases[i].prot);
        snprintf(wanted, sizeof(wanted), "%lx-%lx %s", (unsigned long)(uintptr_t)registered(0)->vaddr,
                 (unsigned long)((uintptr_t)registered(0)->vaddr + PS), cases[i].text);
        maps = fopen("/proc/self/maps", "re");
        assert_non_null(maps);
        while (fgets(line, sizeof(line), maps) != NULL) {
            found = found || strncmp(line, wanted, strlen(wanted)) == 0;
        }
        fclose(maps);
        assert_true(found);
        dma_unmap(s, BASE, PS);
    }
    close(fd);
}

TEST(unaligned_size)
{
    struct session *s = device();
    int fd = guest_file(4 * PS);

    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE + 5, PS + 1, fd);
    assert_iova(registered(0), BASE + 5, PS + 1);
    assert_ptr_equal(registered(0)->vaddr, registered(0)->mapping.iov_base);
    assert_int_equal(registered(0)->mapping.iov_len, 2 * PS);
    close(fd);
}

TEST(unaligned_offset)
{
    struct session *s = device();
    int fd = guest_file(4 * PS);
    uint8_t *view = guest_view(fd, 4 * PS);
    const vfu_dma_info_t *info;

    view[PS + 100] = 0x77;
    dma_map(s, DMA_RW | DMA_MMAP, PS + 100, BASE, PS, fd);
    info = registered(0);
    assert_ptr_equal((uint8_t *)info->mapping.iov_base + 100, info->vaddr);
    assert_int_equal(*(uint8_t *)info->vaddr, 0x77);
    munmap(view, 4 * PS);
    close(fd);
    if (!on_reference()) { /* where the mapping ends before the region does */
        assert_int_equal(info->mapping.iov_len, 2 * PS);
        ((uint8_t *)info->vaddr)[PS - 1] = 1;
    }
}

/* What lies beyond the end of the file is the client's affair. */
TEST(file_shorter_than_the_region)
{
    struct session *s = device();
    int fd = guest_file(PS);

    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, 4 * PS, fd);
    assert_int_equal(registered(0)->mapping.iov_len, 4 * PS);
    ((volatile uint8_t *)registered(0)->vaddr)[PS - 1] = 1;
    assert_true(mapped(s, BASE, 4 * PS));
    close(fd);
}

TEST(file_that_cannot_be_mapped)
{
    struct session *s = device();
    char path[64];
    int pipes[2], read_only, fd = guest_file(PS);
    size_t before;

    assert_int_equal(pipe(pipes), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    read_only = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read_only >= 0);
    before = fd_count();
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, BASE, PS, pipes[0], EACCES);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, BASE, PS, read_only, EACCES);
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, BASE, 0, fd, EINVAL);
    dma_map_fails(s, DMA_RW | DMA_MMAP, UINT64_MAX - PS + 1, BASE, PS, fd, EOVERFLOW);
    assert_int_equal(fd_count(), before);
    assert_int_equal(calls_of(CALL_REGISTER), 0);
    assert_false(mapped(s, BASE, PS));
    dma_map(s, VFIO_USER_F_DMA_REGION_READ | DMA_MMAP, 0, BASE, PS, read_only);
    close(read_only);
    close(pipes[0]);
    close(pipes[1]);
    close(fd);
}

TEST(regions_of_one_file_share_one_fd)
{
    struct session *s = device();
    int fd = guest_file(8 * PS);
    size_t before = fd_count();

    for (uint64_t i = 0; i < 8; i++) {
        dma_map(s, DMA_RW | DMA_MMAP, i * PS, BASE + 2 * i * PS, PS, fd);
    }
    assert_int_equal(fd_count(), before + 1);
    for (uint64_t i = 0; i < 7; i++) {
        dma_unmap(s, BASE + 2 * i * PS, PS);
    }
    assert_int_equal(fd_count(), before + 1);
    dma_unmap(s, BASE + 14 * PS, PS);
    assert_int_equal(fd_count(), before);
    assert_int_equal(guest_mapping_count(), 0);
    close(fd);
}

/* It is the same memory, however often the file was opened. */
TEST(file_opened_twice)
{
    struct session *s;
    char path[64];
    int fd, again;
    size_t before;

    NOT_ON_REFERENCE("only the same open file will do");
    s = device();
    fd = guest_file(PS);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    again = open(path, O_RDWR | O_CLOEXEC);
    assert_true(again >= 0);
    before = fd_count();
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd);
    dma_map(s, DMA_RW | DMA_MMAP, 0, BASE, PS, again);
    assert_int_equal(calls_of(CALL_REGISTER), 2);
    assert_ptr_equal(registered(1)->vaddr, registered(0)->vaddr);
    assert_int_equal(fd_count(), before + 1);
    assert_int_equal(guest_mapping_count(), 1);
    dma_unmap(s, BASE, PS);
    assert_int_equal(fd_count(), before);
    close(again);
    close(fd);
}

/* Pages that continue a mapping are not had by it against what the file says by then. */
TEST(seal_made_between_mappings)
{
    struct session *s = device();
    int fd = memfd_create("vfu-test-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 8 * PS), 0);
    for (uint64_t i = 0; i < 3; i++) {
        dma_map(s, DMA_RW, i * PS, BASE + i * PS, PS, fd);
    }
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    dma_map_fails(s, DMA_RW, 3 * PS, BASE + 3 * PS, PS, fd, EPERM);
    dma_map(s, VFIO_USER_F_DMA_REGION_READ, 3 * PS, BASE + 3 * PS, PS, fd);
    assert_true(mapped(s, BASE + 2 * PS, PS));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(message_mode_info),
        CASE(mmap_mode_info),
        CASE(file_mode_info),
        CASE(mapping_protection),
        CASE(unaligned_size),
        CASE(unaligned_offset),
        CASE(file_shorter_than_the_region),
        CASE(file_that_cannot_be_mapped),
        CASE(regions_of_one_file_share_one_fd),
        CASE(file_opened_twice),
        CASE(seal_made_between_mappings),
    };
    return RUN(tests);
}
