/* DEVICE_SET_IRQS. */
#include "irqs.h"

static size_t irqs_body(uint8_t *body, uint32_t flags, uint32_t index, uint32_t start_at, uint32_t count,
                        const void *data, size_t size)
{
    const uint32_t head[5] = {20 + (uint32_t)size, flags, index, start_at, count};

    memcpy(body, head, sizeof(head));
    if (size > 0) {
        memcpy(body + sizeof(head), data, size);
    }
    return sizeof(head) + size;
}

void set_irqs(struct session *s, uint32_t flags, uint32_t index, uint32_t start_at, uint32_t count,
                     const void *data, size_t size, const int *fds, size_t nr_fds)
{
    uint8_t body[256];
    size_t total = irqs_body(body, flags, index, start_at, count, data, size);

    assert_int_equal(request_fds(s, VFIO_USER_DEVICE_SET_IRQS, body, total, fds, nr_fds)->size, 0);
}

void set_irqs_fails(struct session *s, uint32_t flags, uint32_t index, uint32_t start_at, uint32_t count,
                           const void *data, size_t size, const int *fds, size_t nr_fds)
{
    uint8_t body[256];
    size_t before = fd_count();
    size_t total = irqs_body(body, flags, index, start_at, count, data, size);

    request_fds_fails(s, VFIO_USER_DEVICE_SET_IRQS, body, total, fds, nr_fds, EINVAL);
    assert_int_equal(fd_count(), before);
}

void give(struct session *s, uint32_t index, uint32_t start_at, const int *fds, uint32_t n)
{
    set_irqs(s, TRIGGER | EVENTFD, index, start_at, n, NULL, 0, fds, n);
}
