/*
 * Memory in huge pages, which are mapped as a whole. Where the system has none to spare this skips;
 * Tests/Interop/guest-memory.sh runs the same program in a guest that has.
 */
#include "ioas.h"

#include <linux/memfd.h>

#define HUGE ((uint64_t)2 << 20)
#define DIRECT VFU_SGL_DIRECT_ACCESS

static int huge_file(uint64_t pages)
{
    int fd = memfd_create("vfu-test-guest", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    void *all = MAP_FAILED;

    if (fd != -1 && ftruncate(fd, (off_t)(pages * HUGE)) == 0) {
        all = mmap(NULL, pages * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (all == MAP_FAILED) {
        close(fd);
        print_message("# no huge pages\n");
        skip();
    }
    munmap(all, pages * HUGE);
    return fd;
}

/* Of all guest files, and whether each mapping is of whole pages. */
static uint64_t mapped_bytes(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    uint64_t sum = 0;

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long start, end;

        if (strstr(line, "vfu-test-guest") != NULL) {
            assert_int_equal(sscanf(line, "%lx-%lx", &start, &end), 2);
            assert_int_equal(start % HUGE, 0);
            assert_int_equal(end % HUGE, 0);
            sum += end - start;
        }
    }
    fclose(maps);
    return sum;
}

static void write_and_read(struct session *s, uint64_t iova, uint8_t *view)
{
    uint8_t data[5000];

    memset(data, view[0] + 1, sizeof(data));
    assert_int_equal(ioas_look_up(s, iova, sizeof(data), PROT_READ | PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_write(s->ctx, SGL, 1, data, DIRECT), 0);
    assert_memory_equal(view, data, sizeof(data));
    memset(data, 0, sizeof(data));
    assert_int_equal(vfu_sgl_read(s->ctx, SGL, 1, data, DIRECT), 0);
    assert_memory_equal(view, data, sizeof(data));
}

static const struct {
    uint64_t offset, length, blocks;
} parts[] = {
    {12345, 5000, 1}, {0, HUGE, 1}, {HUGE - 1, 5000, 2}, {3 * HUGE / 2, 3 * HUGE / 2, 2}, {HUGE + 1, 2 * HUGE, 3},
};

static void map_parts(int policy)
{
    int fd = huge_file(4);
    uint8_t *view = mmap(NULL, 4 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct session *s = new_session();
    uint64_t before;
    uint32_t id;

    assert_true(view != MAP_FAILED);
    use_dma(s);
    assert_int_equal(vfu_setup_device_iommufd(s->ctx, VFU_IOMMUFD_AUTO, policy), 0);
    realize(s);
    connect_client_with(s, FULL_JSON);
    id = ioas_alloc(s);
    ioas_attach(s, id);
    before = mapped_bytes();
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        uint64_t iova = ioas_map(s, id, RW, 0, parts[i].length, parts[i].offset, fd);

        assert_int_equal(iova % HUGE, parts[i].offset % HUGE);
        assert_int_equal(call(CALL_REGISTER, i)->info.page_size, HUGE);
        assert_int_equal(mapped_bytes() - before, parts[i].blocks * HUGE);
        write_and_read(s, iova, view + parts[i].offset);
        assert_int_equal(ioas_unmap(s, id, iova, parts[i].length), parts[i].length);
        assert_int_equal(mapped_bytes(), before);
    }
    munmap(view, 4 * HUGE);
    close(fd);
}

TEST(chosen_from_a_window) { map_parts(VFU_IOVA_OPAQUE); }

TEST(chosen_by_address) { map_parts(VFU_IOVA_SERVER_ADDRESS); }

TEST(legacy_mode)
{
    int fd = huge_file(4);
    uint8_t *view = mmap(NULL, 4 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct session *s = new_session();
    uint64_t before;

    assert_true(view != MAP_FAILED);
    use_dma(s);
    start(s);
    before = mapped_bytes();
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        dma_map(s, DMA_RW | DMA_MMAP, parts[i].offset, 0x1234000, parts[i].length, fd);
        assert_int_equal(call(CALL_REGISTER, i)->info.page_size, HUGE);
        assert_int_equal(mapped_bytes() - before, parts[i].blocks * HUGE);
        write_and_read(s, 0x1234000, view + parts[i].offset);
        dma_unmap(s, 0x1234000, parts[i].length);
        assert_int_equal(mapped_bytes(), before);
    }
    munmap(view, 4 * HUGE);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(chosen_from_a_window),
        CASE(chosen_by_address),
        CASE(legacy_mode),
    };

    return RUN(tests);
}
