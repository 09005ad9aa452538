/* Client memory: translated, used, marked dirty. */
#include "hotpath.h"
#include "dirty_log.h"

#define IOVA UINT64_C(0x40000000)

/* Entries as big as the library's, whose contents are its own. */
static struct sg_entry entries[2];
#define LIST ((dma_sg_t *)entries)

/* Regions of one page with a gap behind every other, so that neighbours and strangers are there. */
static uint64_t iova_of(unsigned region) { return IOVA + ((uint64_t)region * 3 / 2) * PS; }

static struct session *with_memory(void)
{
    struct session *s = polled();
    int guest = guest_file(REGIONS * PS);

    for (unsigned i = 0; i < REGIONS; i++) {
        dma_map(s, DMA_RW, i * PS, iova_of(i), PS, guest);
    }
    close(guest);
    return s;
}

static struct session *with_log(void)
{
    struct session *s = with_memory();

    start_logging(s, PS);
    return s;
}

/* The same memory in an address space that the client made and attached. */
static struct session *with_address_space(void)
{
    static const char json[] = "{\"capabilities\":{\"iommufd\":{\"supported\":true,\"x-fixed-iova\":true}}}";
    struct session *s = device_for(json);
    struct vfio_user_iommufd_alloc_ioas made = {.argsz = sizeof(made)};
    struct vfio_user_iommufd_attach_pt attached = {.argsz = sizeof(attached)};
    struct reply *reply;
    int guest = guest_file(REGIONS * PS);

    reply = request(s, VFIO_USER_IOMMUFD_ALLOC_IOAS, &made, sizeof(made));
    assert_int_equal(reply->size, sizeof(made));
    memcpy(&made, reply->data, sizeof(made));
    for (unsigned i = 0; i < REGIONS; i++) {
        struct vfio_user_iommufd_ioas_map map = {
            .argsz = sizeof(map),
            .flags = VFIO_USER_IOMMUFD_MAP_WRITEABLE | VFIO_USER_IOMMUFD_MAP_READABLE |
                     VFIO_USER_IOMMUFD_MAP_FIXED_IOVA,
            .ioas_id = made.out_ioas_id,
            .length = PS,
            .iova = iova_of(i),
            .offset = i * PS,
        };
        request_fds(s, VFIO_USER_IOMMUFD_IOAS_MAP, &map, sizeof(map), &guest, 1);
    }
    close(guest);
    attached.pt_id = made.out_ioas_id;
    request(s, VFIO_USER_IOMMUFD_ATTACH_PT, &attached, sizeof(attached));
    return s;
}

static int use(struct session *s, uint64_t iova, uint64_t length, int count)
{
    struct iovec vectors[2];

    if (vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)iova, length, LIST, 2, PROT_READ | PROT_WRITE) != count ||
        vfu_sgl_get(s->ctx, LIST, vectors, (size_t)count, 0) != 0) {
        return -1;
    }
    *(volatile char *)vectors[0].iov_base = 1;
    vfu_sgl_mark_dirty(s->ctx, LIST, (size_t)count);
    vfu_sgl_put(s->ctx, LIST, vectors, (size_t)count);
    return 0;
}

static int use_same(struct session *s) { return COUNTED(use(s, iova_of(0) + 64, 512, 1)); }

static int use_any(struct session *s)
{
    static unsigned number;

    number = number * 1103515245 + 12345;
    return COUNTED(use(s, iova_of(number / 65536 % REGIONS), PS, 1));
}

static int use_two(struct session *s) { return COUNTED(use(s, iova_of(0) + PS / 2, PS, 2)); }

static int no_memory(struct session *s)
{
    int found = COUNTED(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)(IOVA - PS), 1, LIST, 1, PROT_READ));
    return found == -1 && errno == ENOENT ? 0 : -1;
}

static int copy(struct session *s)
{
    static char bytes[64];

    if (vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)IOVA, sizeof(bytes), LIST, 1, PROT_READ | PROT_WRITE) != 1) {
        return -1;
    }
    return COUNTED(vfu_sgl_write(s->ctx, LIST, 1, bytes, VFU_SGL_DIRECT_ACCESS) |
                   vfu_sgl_read(s->ctx, LIST, 1, bytes, VFU_SGL_DIRECT_ACCESS));
}

TEST(same_region) { expect(with_memory(), "memory-same", use_same, 0); }
TEST(any_region) { expect(with_memory(), "memory-any", use_any, 0); }
TEST(two_regions) { expect(with_memory(), "memory-two", use_two, 0); }
TEST(not_there) { expect(with_memory(), "memory-none", no_memory, 0); }
TEST(copied) { expect(with_memory(), "memory-copy", copy, 0); }
TEST(same_region_logged) { expect(with_log(), "memory-same-logged", use_same, 0); }
TEST(any_region_logged) { expect(with_log(), "memory-any-logged", use_any, 0); }
TEST(two_regions_logged) { expect(with_log(), "memory-two-logged", use_two, 0); }
TEST(not_there_logged) { expect(with_log(), "memory-none-logged", no_memory, 0); }
TEST(copied_logged) { expect(with_log(), "memory-copy-logged", copy, 0); }
TEST(same_region_in_ioas) { expect(with_address_space(), "memory-same-in-ioas", use_same, 0); }
TEST(any_region_in_ioas) { expect(with_address_space(), "memory-any-in-ioas", use_any, 0); }
TEST(two_regions_in_ioas) { expect(with_address_space(), "memory-two-in-ioas", use_two, 0); }
TEST(not_there_in_ioas) { expect(with_address_space(), "memory-none-in-ioas", no_memory, 0); }
TEST(copied_in_ioas) { expect(with_address_space(), "memory-copy-in-ioas", copy, 0); }

int test_memory(void)
{
    const struct CMUnitTest tests[] = {
        CASE(same_region),
        CASE(any_region),
        CASE(two_regions),
        CASE(not_there),
        CASE(copied),
        CASE(same_region_logged),
        CASE(any_region_logged),
        CASE(two_regions_logged),
        CASE(not_there_logged),
        CASE(copied_logged),
        CASE(same_region_in_ioas),
        CASE(any_region_in_ioas),
        CASE(two_regions_in_ioas),
        CASE(not_there_in_ioas),
        CASE(copied_in_ioas),
    };
    return RUN(tests);
}
