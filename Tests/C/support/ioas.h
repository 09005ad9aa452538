/* The client's side of IOAS mode. */
#ifndef VFU_TEST_IOAS_H
#define VFU_TEST_IOAS_H

#include "support.h"

#include <vfio-user/vfu-ext.h>

#define BASELINE_JSON "{\"capabilities\":{\"max_msg_fds\":8,\"iommufd\":{\"supported\":true}}}"
#define FULL_JSON                                                                                             \
    "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576,\"iommufd\":{\"supported\":true,"      \
    "\"x-fixed-iova\":true,\"x-copy\":true,\"x-iova-ranges\":true,\"x-compat-ioas\":true,"                      \
    "\"x-reply-args\":true,\"x-message-dma\":true}}}"

#define RW (VFIO_USER_IOMMUFD_MAP_READABLE | VFIO_USER_IOMMUFD_MAP_WRITEABLE)
#define RO VFIO_USER_IOMMUFD_MAP_READABLE
#define FIXED VFIO_USER_IOMMUFD_MAP_FIXED_IOVA

/* What lies behind dma_sg_t; programs must not look, but the layout is pinned. */
struct ioas_entry {
    uint64_t region_base, reference, length, offset;
    bool writeable;
};

/* The entries of the latest translation. */
static struct ioas_entry ioas_sgs[16];
#define SGL ((dma_sg_t *)ioas_sgs)

/* A device that does DMA, and a client with every feature. */
static inline struct session *ioas_device(void)
{
    struct session *s = new_session();

    use_dma(s);
    use_quiesce_and_reset(s);
    realize(s);
    connect_client_with(s, FULL_JSON);
    return s;
}

static inline uint32_t ioas_alloc(struct session *s)
{
    struct vfio_user_iommufd_alloc_ioas body = {.argsz = sizeof(body)};
    struct reply *reply = request(s, VFIO_USER_IOMMUFD_ALLOC_IOAS, &body, sizeof(body));

    assert_int_equal(reply->size, sizeof(body));
    memcpy(&body, reply->data, sizeof(body));
    assert_int_equal(body.argsz, sizeof(body));
    assert_int_not_equal(body.out_ioas_id, 0);
    return body.out_ioas_id;
}

static inline void ioas_destroy(struct session *s, uint32_t id)
{
    struct vfio_user_iommufd_destroy_ioas body = {.argsz = sizeof(body), .ioas_id = id};

    assert_int_equal(request(s, VFIO_USER_IOMMUFD_DESTROY_IOAS, &body, sizeof(body))->size, 0);
}

static inline struct vfio_user_iommufd_ioas_map ioas_map_body(uint32_t id, uint32_t flags, uint64_t iova,
                                                              uint64_t length, uint64_t offset)
{
    return (struct vfio_user_iommufd_ioas_map){
        .argsz = sizeof(struct vfio_user_iommufd_ioas_map),
        .flags = flags,
        .ioas_id = id,
        .user_va = 0x700000000000 + offset,
        .length = length,
        .iova = iova,
        .offset = offset,
    };
}

static inline uint64_t ioas_map(struct session *s, uint32_t id, uint32_t flags, uint64_t iova, uint64_t length,
                  uint64_t offset, int fd)
{
    struct vfio_user_iommufd_ioas_map body = ioas_map_body(id, flags, iova, length, offset), answer;
    struct reply *reply =
        request_fds(s, VFIO_USER_IOMMUFD_IOAS_MAP, &body, sizeof(body), &fd, fd != -1 ? 1 : 0);

    assert_int_equal(reply->size, sizeof(answer));
    memcpy(&answer, reply->data, sizeof(answer));
    body.iova = answer.iova;
    assert_memory_equal(&answer, &body, sizeof(body));
    if (flags & FIXED) {
        assert_int_equal(answer.iova, iova);
    }
    return answer.iova;
}

static inline void ioas_map_fails(struct session *s, uint32_t id, uint32_t flags, uint64_t iova, uint64_t length,
                    uint64_t offset, int fd, int error)
{
    struct vfio_user_iommufd_ioas_map body = ioas_map_body(id, flags, iova, length, offset);

    request_fds_fails(s, VFIO_USER_IOMMUFD_IOAS_MAP, &body, sizeof(body), &fd, fd != -1 ? 1 : 0, error);
}

static inline struct vfio_user_iommufd_ioas_unmap unmap_body(uint32_t id, uint32_t flags, uint64_t iova,
                                                      uint64_t length)
{
    return (struct vfio_user_iommufd_ioas_unmap){
        .argsz = sizeof(struct vfio_user_iommufd_ioas_unmap),
        .flags = flags,
        .ioas_id = id,
        .iova = iova,
        .length = length,
    };
}

/* Returns the bytes that went; for a client with x-reply-args. */
static inline uint64_t ioas_unmap(struct session *s, uint32_t id, uint64_t iova, uint64_t length)
{
    struct vfio_user_iommufd_ioas_unmap body = unmap_body(id, 0, iova, length);
    struct reply *reply = request(s, VFIO_USER_IOMMUFD_IOAS_UNMAP, &body, sizeof(body));

    assert_int_equal(reply->size, sizeof(body));
    memcpy(&body, reply->data, sizeof(body));
    return body.length;
}

static inline void ioas_unmap_fails(struct session *s, uint32_t id, uint32_t flags, uint64_t iova, uint64_t length,
                      int error)
{
    struct vfio_user_iommufd_ioas_unmap body = unmap_body(id, flags, iova, length);

    request_fails(s, VFIO_USER_IOMMUFD_IOAS_UNMAP, &body, sizeof(body), error);
}

static inline void ioas_unmap_all(struct session *s, uint32_t id)
{
    struct vfio_user_iommufd_ioas_unmap body = unmap_body(id, VFIO_USER_IOMMUFD_UNMAP_ALL, 0, 0);

    request(s, VFIO_USER_IOMMUFD_IOAS_UNMAP, &body, sizeof(body));
}

static inline uint64_t ioas_copy(struct session *s, uint32_t from, uint64_t iova, uint64_t length, uint32_t to,
                   uint32_t flags, uint64_t fixed)
{
    struct vfio_user_iommufd_ioas_copy body = {
        .argsz = sizeof(body),
        .flags = flags,
        .src_ioas_id = from,
        .dst_ioas_id = to,
        .src_iova = iova,
        .dst_iova = fixed,
        .length = length,
    };
    struct reply *reply = request(s, VFIO_USER_IOMMUFD_IOAS_COPY, &body, sizeof(body));

    assert_int_equal(reply->size, sizeof(body));
    memcpy(&body, reply->data, sizeof(body));
    return body.dst_iova;
}

static inline void ioas_copy_fails(struct session *s, uint32_t from, uint64_t iova, uint64_t length, uint32_t to,
                     uint32_t flags, uint64_t fixed, int error)
{
    struct vfio_user_iommufd_ioas_copy body = {
        .argsz = sizeof(body),
        .flags = flags,
        .src_ioas_id = from,
        .dst_ioas_id = to,
        .src_iova = iova,
        .dst_iova = fixed,
        .length = length,
    };

    request_fails(s, VFIO_USER_IOMMUFD_IOAS_COPY, &body, sizeof(body), error);
}

static inline struct vfio_user_iommufd_attach_pt attach_body(uint32_t id)
{
    return (struct vfio_user_iommufd_attach_pt){
        .argsz = sizeof(struct vfio_user_iommufd_attach_pt),
        .pt_id = id,
    };
}

static inline void ioas_attach(struct session *s, uint32_t id)
{
    struct vfio_user_iommufd_attach_pt body = attach_body(id);

    request(s, VFIO_USER_IOMMUFD_ATTACH_PT, &body, sizeof(body));
}

static inline void ioas_attach_fails(struct session *s, uint32_t id, int error)
{
    struct vfio_user_iommufd_attach_pt body = attach_body(id);

    request_fails(s, VFIO_USER_IOMMUFD_ATTACH_PT, &body, sizeof(body), error);
}

static inline void ioas_detach(struct session *s)
{
    struct vfio_user_iommufd_detach_pt body = {.argsz = sizeof(body)};

    assert_int_equal(request(s, VFIO_USER_IOMMUFD_DETACH_PT, &body, sizeof(body))->size, 0);
}

static inline void ioas_compat(struct session *s, uint32_t op, uint32_t id)
{
    struct vfio_user_iommufd_compat_ioas body = {.argsz = sizeof(body), .op = op, .ioas_id = id};

    assert_int_equal(request(s, VFIO_USER_IOMMUFD_COMPAT_IOAS, &body, sizeof(body))->size, sizeof(body));
}

static inline int ioas_look_up(struct session *s, uint64_t addr, uint64_t length, int prot)
{
    memset(ioas_sgs, 0, sizeof(ioas_sgs));
    return vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)addr, length, SGL, ARRAY_LEN(ioas_sgs), prot);
}

static inline bool ioas_sees(struct session *s, uint64_t addr, uint64_t length)
{
    int found = ioas_look_up(s, addr, length, PROT_READ);

    if (found == -1) {
        assert_int_equal(errno, ENOENT);
    }
    return found > 0;
}

#endif
