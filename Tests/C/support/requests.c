/* Requests that many subjects need. */
#include "support.h"

struct vfio_user_dma_map dma_map_body(uint32_t flags, uint64_t offset, uint64_t addr, uint64_t size)
{
    return (struct vfio_user_dma_map){
        .argsz = sizeof(struct vfio_user_dma_map),
        .flags = flags,
        .offset = offset,
        .addr = addr,
        .size = size,
    };
}

void dma_map(struct session *s, uint32_t flags, uint64_t offset, uint64_t addr, uint64_t size, int fd)
{
    struct vfio_user_dma_map body = dma_map_body(flags, offset, addr, size);
    struct reply *reply = request_fds(s, VFIO_USER_DMA_MAP, &body, sizeof(body), &fd, fd != -1 ? 1 : 0);

    assert_int_equal(reply->size, 0);
}

void dma_map_fails(struct session *s, uint32_t flags, uint64_t offset, uint64_t addr, uint64_t size, int fd,
                   int error)
{
    struct vfio_user_dma_map body = dma_map_body(flags, offset, addr, size);

    request_fds_fails(s, VFIO_USER_DMA_MAP, &body, sizeof(body), &fd, fd != -1 ? 1 : 0, error);
}

void dma_unmap_body(struct vfio_user_dma_unmap *body, uint32_t flags, uint64_t addr, uint64_t size)
{
    body->argsz = sizeof(*body);
    body->flags = flags;
    body->addr = addr;
    body->size = size;
}

void dma_unmap(struct session *s, uint64_t addr, uint64_t size)
{
    struct vfio_user_dma_unmap body;
    struct reply *reply;

    dma_unmap_body(&body, 0, addr, size);
    reply = request(s, VFIO_USER_DMA_UNMAP, &body, sizeof(body));
    assert_int_equal(reply->size, sizeof(body));
    assert_memory_equal(reply->data, &body, sizeof(body));
}

void dma_unmap_fails(struct session *s, uint64_t addr, uint64_t size, int error)
{
    struct vfio_user_dma_unmap body;

    dma_unmap_body(&body, 0, addr, size);
    request_fails(s, VFIO_USER_DMA_UNMAP, &body, sizeof(body), error);
}

static size_t access_body(uint8_t *body, uint32_t region, uint64_t offset, const void *data, uint32_t announced,
                          size_t data_size)
{
    struct vfio_user_region_access access = {.offset = offset, .region = region, .count = announced};

    memcpy(body, &access, sizeof(access));
    if (data_size > 0) {
        memcpy(body + sizeof(access), data, data_size);
    }
    return sizeof(access) + data_size;
}

struct reply *region_read(struct session *s, uint32_t region, uint64_t offset, uint32_t count)
{
    uint8_t body[16];
    size_t size = access_body(body, region, offset, NULL, count, 0);
    struct reply *reply = request(s, VFIO_USER_REGION_READ, body, size);

    if (count == 0) {
        assert_int_equal(reply->size, 0);
    } else {
        assert_int_equal(reply->size, 16 + count);
        assert_memory_equal(reply->data, body, 16);
    }
    return reply;
}

void region_read_fails(struct session *s, uint32_t region, uint64_t offset, uint32_t count, int error)
{
    uint8_t body[16];
    size_t size = access_body(body, region, offset, NULL, count, 0);

    request_fails(s, VFIO_USER_REGION_READ, body, size, error);
}

uint16_t send_region_write(struct session *s, uint32_t region, uint64_t offset, const void *data, uint32_t count)
{
    uint8_t *body = malloc(16 + (size_t)count);
    size_t size;
    uint16_t id;

    assert_non_null(body);
    size = access_body(body, region, offset, data, count, count);
    id = send_request(s, VFIO_USER_REGION_WRITE, body, size);
    free(body);
    return id;
}

void region_write(struct session *s, uint32_t region, uint64_t offset, const void *data, uint32_t count)
{
    uint8_t echo[16];
    uint16_t id = send_region_write(s, region, offset, data, count);
    struct reply *reply;

    access_body(echo, region, offset, NULL, count, 0);
    assert_int_equal(run(s), 1);
    reply = receive(s);
    assert_success(s, reply, id, VFIO_USER_REGION_WRITE);
    if (count == 0) {
        assert_int_equal(reply->size, 0);
    } else {
        assert_int_equal(reply->size, 16);
        assert_memory_equal(reply->data, echo, 16);
    }
}

void region_write_fails(struct session *s, uint32_t region, uint64_t offset, const void *data, uint32_t count,
                        int error)
{
    uint16_t id = send_region_write(s, region, offset, data, count);

    assert_in_range(run(s), 0, 1);
    assert_error(s, receive(s), id, VFIO_USER_REGION_WRITE, error);
}

uint64_t config_get(struct session *s, uint64_t offset, uint32_t count)
{
    uint64_t value = 0;
    struct reply *reply = region_read(s, VFU_PCI_DEV_CFG_REGION_IDX, offset, count);

    assert_true(count <= sizeof(value));
    memcpy(&value, reply->data + 16, count);
    return value;
}

const uint8_t *config_bytes(struct session *s, uint64_t offset, uint32_t count)
{
    return region_read(s, VFU_PCI_DEV_CFG_REGION_IDX, offset, count)->data + 16;
}

void config_put(struct session *s, uint64_t offset, uint32_t count, uint64_t value)
{
    region_write(s, VFU_PCI_DEV_CFG_REGION_IDX, offset, &value, count);
}

void config_put_fails(struct session *s, uint64_t offset, uint32_t count, uint64_t value, int error)
{
    region_write_fails(s, VFU_PCI_DEV_CFG_REGION_IDX, offset, &value, count, error);
}

static size_t feature_body(uint8_t *body, uint32_t flags, uint32_t argsz, const void *data, size_t size)
{
    struct vfio_user_device_feature head = {.argsz = argsz, .flags = flags};

    assert_true(sizeof(head) + size <= 256);
    memcpy(body, &head, sizeof(head));
    if (size > 0) {
        memcpy(body + sizeof(head), data, size);
    }
    return sizeof(head) + size;
}

struct reply *feature(struct session *s, uint32_t flags, uint32_t argsz, const void *data, size_t size)
{
    uint8_t body[256];
    size_t total = feature_body(body, flags, argsz, data, size);

    return request(s, VFIO_USER_DEVICE_FEATURE, body, total);
}

void feature_fails(struct session *s, uint32_t flags, uint32_t argsz, const void *data, size_t size, int error)
{
    uint8_t body[256];
    size_t total = feature_body(body, flags, argsz, data, size);

    request_fails(s, VFIO_USER_DEVICE_FEATURE, body, total, error);
}

void set_state(struct session *s, uint32_t device_state)
{
    struct vfio_user_device_feature_mig_state state = {.device_state = device_state};
    struct reply *reply = feature(s, FEATURE_SET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), 16, &state, sizeof(state));

    assert_int_equal(reply->size, 16);
    assert_memory_equal(reply->data + 8, &state, sizeof(state));
}

void set_state_fails(struct session *s, uint32_t device_state, int error)
{
    struct vfio_user_device_feature_mig_state state = {.device_state = device_state};

    feature_fails(s, FEATURE_SET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), 16, &state, sizeof(state), error);
}

uint32_t get_state(struct session *s)
{
    struct vfio_user_device_feature_mig_state state;
    struct reply *reply = feature(s, FEATURE_GET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), 16, NULL, 0);

    assert_int_equal(reply->size, 16);
    memcpy(&state, reply->data + 8, sizeof(state));
    assert_int_equal(state.data_fd, 0);
    return state.device_state;
}
