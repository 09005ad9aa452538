/* Interrupts: DEVICE_GET_IRQ_INFO, DEVICE_SET_IRQS, vfu_irq_trigger and the callbacks of masking. */
#include "support.h"

#define NONE VFIO_IRQ_SET_DATA_NONE
#define BOOL VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define MASK VFIO_IRQ_SET_ACTION_MASK
#define UNMASK VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER
#define MSIX VFU_DEV_MSIX_IRQ
#define VECTORS 2048

static struct session *device(void)
{
    struct session *s = new_session();

    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_REQ_IRQ, 1), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_ERR_IRQ, 1), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, MSIX, VECTORS), 0);
    assert_int_equal(vfu_setup_irq_state_callback(s->ctx, MSIX, on_irq_state), 0);
    start(s);
    return s;
}

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

static void set_irqs(struct session *s, uint32_t flags, uint32_t index, uint32_t start_at, uint32_t count,
                     const void *data, size_t size, const int *fds, size_t nr_fds)
{
    uint8_t body[256];
    size_t total = irqs_body(body, flags, index, start_at, count, data, size);

    assert_int_equal(request_fds(s, VFIO_USER_DEVICE_SET_IRQS, body, total, fds, nr_fds)->size, 0);
}

static void set_irqs_fails(struct session *s, uint32_t flags, uint32_t index, uint32_t start_at, uint32_t count,
                           const void *data, size_t size, const int *fds, size_t nr_fds)
{
    uint8_t body[256];
    size_t before = fd_count();
    size_t total = irqs_body(body, flags, index, start_at, count, data, size);

    request_fds_fails(s, VFIO_USER_DEVICE_SET_IRQS, body, total, fds, nr_fds, EINVAL);
    assert_int_equal(fd_count(), before);
}

/* Gives eventfds to vectors start_at … start_at + n - 1. */
static void give(struct session *s, uint32_t index, uint32_t start_at, const int *fds, uint32_t n)
{
    set_irqs(s, TRIGGER | EVENTFD, index, start_at, n, NULL, 0, fds, n);
}

TEST(irq_info)
{
    static const uint32_t counts[] = {0, 0, VECTORS, 1, 1};
    struct session *s = device();

    for (uint32_t index = 0; index < 5; index++) {
        struct vfio_irq_info info = {.argsz = 32, .index = index, .count = 77, .flags = 0xff};
        struct reply *reply = request(s, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info));

        assert_int_equal(reply->size, 16);
        memcpy(&info, reply->data, sizeof(info));
        assert_int_equal(info.argsz, 16);
        assert_int_equal(info.flags, VFIO_IRQ_INFO_EVENTFD);
        assert_int_equal(info.index, index);
        assert_int_equal(info.count, counts[index]);
    }
}

TEST(bad_irq_info)
{
    struct session *s = device();
    struct vfio_irq_info info = {.argsz = 16, .index = MSIX};

    for (size_t size = 1; size < sizeof(info); size++) {
        request_fails(s, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, size, EINVAL);
    }
    info.argsz = 8;
    request_fails(s, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info), EINVAL);
    info.argsz = 15;
    request_fails(s, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info), EINVAL);
    info.argsz = 16;
    info.index = 5;
    request_fails(s, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info), EINVAL);
    info.index = 0xffffffff;
    request_fails(s, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info), EINVAL);
}

TEST(bad_set_up)
{
    struct session *s = new_session();

    assert_fails(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_NUM_IRQS, 1), EINVAL);
    assert_fails(vfu_setup_device_nr_irqs(s->ctx, (enum vfu_dev_irq_type) - 1, 1), EINVAL);
    assert_fails(vfu_setup_irq_state_callback(s->ctx, VFU_DEV_NUM_IRQS, on_irq_state), EINVAL);
    assert_fails(vfu_setup_irq_state_callback(s->ctx, (enum vfu_dev_irq_type) - 1, on_irq_state), EINVAL);
    for (int type = 0; type < VFU_DEV_NUM_IRQS; type++) {
        assert_int_equal(vfu_setup_irq_state_callback(s->ctx, (enum vfu_dev_irq_type)type, on_irq_state), 0);
        assert_int_equal(vfu_setup_irq_state_callback(s->ctx, (enum vfu_dev_irq_type)type, NULL), 0);
    }
}

TEST(short_set_irqs)
{
    struct session *s = device();
    uint32_t body[5] = {20, TRIGGER | NONE, VFU_DEV_REQ_IRQ, 0, 0};

    for (size_t size = 0; size < sizeof(body); size++) {
        request_fails(s, VFIO_USER_DEVICE_SET_IRQS, body, size, EINVAL);
    }
    body[0] = 3;
    request_fails(s, VFIO_USER_DEVICE_SET_IRQS, body, sizeof(body), EINVAL);
    body[0] = 19;
    request_fails(s, VFIO_USER_DEVICE_SET_IRQS, body, sizeof(body), EINVAL);
    body[0] = 0xffffffff;
    request(s, VFIO_USER_DEVICE_SET_IRQS, body, sizeof(body));
}

TEST(bad_set_irqs)
{
    static const struct {
        uint32_t flags, index, start, count;
    } cases[] = {
        {MASK | NONE, 5, 0, 1},
        {MASK | NONE, 0xffffffff, 0, 1},
        {MASK | UNMASK, MSIX, 0, 1},
        {MASK | UNMASK | NONE, MSIX, 0, 1},
        {TRIGGER | MASK | NONE, MSIX, 0, 1},
        {NONE, MSIX, 0, 1},
        {MASK, MSIX, 0, 1},
        {MASK | NONE | BOOL, MSIX, 0, 1},
        {TRIGGER | BOOL | EVENTFD, MSIX, 0, 1},
        {0, MSIX, 0, 0},
        {MASK | NONE, MSIX, VECTORS - 1, 2},
        {MASK | NONE, MSIX, VECTORS + 1, 1},
        {MASK | NONE, MSIX, VECTORS, 0},
        {TRIGGER | EVENTFD, MSIX, 284, 0xffffffff},
        {MASK | NONE, MSIX, 0xffffffff, 2},
        {MASK | NONE, MSIX, 0, VECTORS + 1},
        {MASK | NONE, VFU_DEV_ERR_IRQ, 0, 1},
        {MASK | NONE, VFU_DEV_REQ_IRQ, 0, 1},
        {UNMASK | NONE, VFU_DEV_ERR_IRQ, 0, 1},
        {UNMASK | NONE, VFU_DEV_REQ_IRQ, 0, 1},
        {TRIGGER | NONE, VFU_DEV_ERR_IRQ, 0, 2},
        {TRIGGER | NONE, VFU_DEV_REQ_IRQ, 0, 2},
        {TRIGGER | NONE, VFU_DEV_ERR_IRQ, 1, 1},
        {TRIGGER | NONE, MSIX, 1, 0},
        {MASK | NONE, MSIX, 0, 0},
        {TRIGGER | BOOL, MSIX, 0, 0},
        {TRIGGER | EVENTFD, MSIX, 0, 0},
        {TRIGGER | NONE, VFU_DEV_INTX_IRQ, 0, 1}, /* there are none */
        {TRIGGER | NONE, VFU_DEV_INTX_IRQ, 0, 0},
        {TRIGGER | NONE, VFU_DEV_MSI_IRQ, 0, 0},
    };
    struct session *s = device();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        set_irqs_fails(s, cases[i].flags, cases[i].index, cases[i].start, cases[i].count, NULL, 0, NULL, 0);
    }
    assert_int_equal(calls.count, 0);
}

TEST(bad_data)
{
    struct session *s = device();
    int fds[3] = {0, 0, 0};

    set_irqs_fails(s, TRIGGER | BOOL, MSIX, 0, 2, "\0", 1, NULL, 0);
    set_irqs_fails(s, TRIGGER | BOOL, MSIX, 0, 2, "\0\0", 3, NULL, 0);
    set_irqs_fails(s, TRIGGER | BOOL, MSIX, 0, 1, "\0", 1, fds, 1);
    set_irqs_fails(s, TRIGGER | NONE, MSIX, 0, 1, NULL, 0, fds, 1);
    set_irqs_fails(s, TRIGGER | NONE, MSIX, 0, 0, NULL, 0, fds, 1);
    set_irqs_fails(s, TRIGGER | EVENTFD, MSIX, 0, 2, NULL, 0, fds, 1);
    set_irqs_fails(s, TRIGGER | EVENTFD, MSIX, 0, 2, NULL, 0, fds, 3);
    set_irqs_fails(s, TRIGGER | EVENTFD, VFU_DEV_ERR_IRQ, 0, 2, NULL, 0, fds, 2);
    set_irqs(s, TRIGGER | NONE, MSIX, 0, 1, "extra", 5, NULL, 0);
    set_irqs(s, TRIGGER | NONE | 0xffffffc0, MSIX, 0, 1, NULL, 0, NULL, 0);
    assert_fails(vfu_irq_trigger(s->ctx, 0), ENOENT);
}

TEST(disabling_what_is_not_enabled)
{
    struct session *s = device();

    set_irqs(s, TRIGGER | NONE, VFU_DEV_REQ_IRQ, 0, 0, NULL, 0, NULL, 0);
    set_irqs(s, TRIGGER | EVENTFD, VFU_DEV_REQ_IRQ, 0, 1, NULL, 0, NULL, 0);
    set_irqs(s, TRIGGER | EVENTFD, VFU_DEV_ERR_IRQ, 0, 1, NULL, 0, NULL, 0);
    set_irqs(s, TRIGGER | NONE, MSIX, 0, 0, NULL, 0, NULL, 0);
    set_irqs(s, TRIGGER | EVENTFD, MSIX, 0, VECTORS, NULL, 0, NULL, 0);
}

TEST(enabling)
{
    struct session *s = device();
    int first = new_eventfd(0), second = new_eventfd(0);
    size_t before = fd_count();

    give(s, MSIX, 0, &first, 1);
    assert_int_equal(fd_count(), before + 1);
    assert_int_equal(vfu_irq_trigger(s->ctx, 0), 0);
    assert_int_equal(eventfd_value(first), 1);
    give(s, MSIX, 0, &second, 1); /* in place of the first, which is closed */
    assert_int_equal(fd_count(), before + 1);
    assert_int_equal(vfu_irq_trigger(s->ctx, 0), 0);
    assert_int_equal(eventfd_value(first), 0);
    assert_int_equal(eventfd_value(second), 1);
    set_irqs(s, TRIGGER | NONE, MSIX, 0, 0, NULL, 0, NULL, 0);
    assert_int_equal(fd_count(), before);
    assert_fails(vfu_irq_trigger(s->ctx, 0), ENOENT);
    close(first);
    close(second);
}

TEST(disabling_by_eventfd_without_fds)
{
    struct session *s = device();
    int fds[4];
    size_t before;

    for (size_t i = 0; i < 4; i++) {
        fds[i] = new_eventfd(0);
    }
    before = fd_count();
    give(s, MSIX, 0, fds, 4);
    set_irqs(s, TRIGGER | EVENTFD, MSIX, 0, 3, NULL, 0, NULL, 0);
    assert_int_equal(fd_count(), before + 1);
    assert_fails(vfu_irq_trigger(s->ctx, 2), ENOENT);
    assert_int_equal(vfu_irq_trigger(s->ctx, 3), 0);
    assert_int_equal(eventfd_value(fds[3]), 1);
    for (size_t i = 0; i < 4; i++) {
        close(fds[i]);
    }
}

TEST(disabling_a_range_in_the_middle)
{
    struct session *s;
    int fds[6];

    NOT_ON_REFERENCE("it disables vectors start … count - 1");
    s = device();
    for (size_t i = 0; i < 6; i++) {
        fds[i] = new_eventfd(0);
    }
    give(s, MSIX, 0, fds, 6);
    set_irqs(s, TRIGGER | EVENTFD, MSIX, 3, 2, NULL, 0, NULL, 0);
    for (uint32_t i = 0; i < 6; i++) {
        if (i == 3 || i == 4) {
            assert_fails(vfu_irq_trigger(s->ctx, i), ENOENT);
        } else {
            assert_int_equal(vfu_irq_trigger(s->ctx, i), 0);
            assert_int_equal(eventfd_value(fds[i]), 1);
        }
        close(fds[i]);
    }
}

TEST(the_client_triggers)
{
    struct session *s = device();
    int fds[2] = {new_eventfd(4), new_eventfd(8)};

    give(s, MSIX, 0, fds, 2);
    set_irqs(s, TRIGGER | NONE, MSIX, 1, 1, NULL, 0, NULL, 0);
    assert_int_equal(eventfd_value(fds[0]), 4);
    assert_int_equal(eventfd_value(fds[1]), 9);
    set_irqs(s, TRIGGER | NONE, MSIX, 0, 5, NULL, 0, NULL, 0); /* those without eventfd are skipped */
    assert_int_equal(eventfd_value(fds[0]), 1);
    assert_int_equal(eventfd_value(fds[1]), 1);
    close(fds[0]);
    close(fds[1]);
}

TEST(the_client_triggers_some)
{
    struct session *s = device();
    int fds[2] = {new_eventfd(4), new_eventfd(8)};

    give(s, MSIX, 0, fds, 2);
    set_irqs(s, TRIGGER | BOOL, MSIX, 0, 2, "\0\1", 2, NULL, 0);
    assert_int_equal(eventfd_value(fds[0]), 4);
    assert_int_equal(eventfd_value(fds[1]), 9);
    set_irqs(s, TRIGGER | BOOL, MSIX, 0, 3, "\2\xff\1", 3, NULL, 0); /* exactly 1 counts */
    assert_int_equal(eventfd_value(fds[0]), 0);
    assert_int_equal(eventfd_value(fds[1]), 0);
    close(fds[0]);
    close(fds[1]);
}

TEST(err_and_req_have_their_own)
{
    static const uint32_t types[] = {VFU_DEV_ERR_IRQ, VFU_DEV_REQ_IRQ};
    struct session *s = device();
    int fds[2] = {new_eventfd(0), new_eventfd(0)};
    size_t before = fd_count();

    give(s, VFU_DEV_ERR_IRQ, 0, &fds[0], 1);
    give(s, VFU_DEV_REQ_IRQ, 0, &fds[1], 1);
    assert_int_equal(fd_count(), before + 2);
    assert_fails(vfu_irq_trigger(s->ctx, 0), ENOENT);
    for (size_t i = 0; i < 2; i++) {
        set_irqs(s, TRIGGER | NONE, types[i], 0, 1, NULL, 0, NULL, 0);
        assert_int_equal(eventfd_value(fds[i]), 1);
        assert_int_equal(eventfd_value(fds[1 - i]), 0);
    }
    set_irqs(s, TRIGGER | NONE, VFU_DEV_ERR_IRQ, 0, 0, NULL, 0, NULL, 0);
    assert_int_equal(fd_count(), before + 1);
    lose_client(s);
    assert_int_equal(fd_count(), before - 2); /* nor the two ends of the connection */
    close(fds[0]);
    close(fds[1]);
}

/* INTx, MSI and MSI-X write into one table. */
TEST(shared_vector_table)
{
    struct session *s = new_session();
    int first = new_eventfd(0), second = new_eventfd(0);

    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_INTX_IRQ, 1), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, MSIX, 4), 0);
    start(s);
    give(s, VFU_DEV_INTX_IRQ, 0, &first, 1);
    assert_int_equal(vfu_irq_trigger(s->ctx, 0), 0);
    assert_int_equal(eventfd_value(first), 1);
    give(s, MSIX, 0, &second, 1);
    assert_int_equal(vfu_irq_trigger(s->ctx, 0), 0);
    assert_int_equal(eventfd_value(first), 0);
    assert_int_equal(eventfd_value(second), 1);
    set_irqs(s, TRIGGER | NONE, VFU_DEV_INTX_IRQ, 0, 0, NULL, 0, NULL, 0);
    assert_fails(vfu_irq_trigger(s->ctx, 0), ENOENT);
    close(first);
    close(second);
}

TEST(masking_calls_back)
{
    struct session *s = device();
    int fds[2] = {0, 0};
    size_t before = fd_count();

    set_irqs(s, MASK | NONE, MSIX, 0, 1, NULL, 0, NULL, 0);
    set_irqs(s, UNMASK | NONE, MSIX, 5, 7, NULL, 0, NULL, 0);
    set_irqs(s, MASK | BOOL, MSIX, 2, 2, "\0\0", 2, NULL, 0);
    set_irqs(s, MASK | EVENTFD, MSIX, VECTORS - 2, 2, NULL, 0, fds, 2);
    assert_int_equal(fd_count(), before);
    assert_int_equal(calls.count, 4);
    assert_int_equal(call(CALL_IRQ_STATE, 0)->offset, 0);
    assert_int_equal(call(CALL_IRQ_STATE, 0)->count, 1);
    assert_true(call(CALL_IRQ_STATE, 0)->flag);
    assert_int_equal(call(CALL_IRQ_STATE, 1)->offset, 5);
    assert_int_equal(call(CALL_IRQ_STATE, 1)->count, 7);
    assert_false(call(CALL_IRQ_STATE, 1)->flag);
    assert_int_equal(call(CALL_IRQ_STATE, 2)->offset, 2);
    assert_int_equal(call(CALL_IRQ_STATE, 3)->offset, VECTORS - 2);
    assert_int_equal(vfu_setup_irq_state_callback(s->ctx, MSIX, NULL), 0);
    set_irqs(s, MASK | NONE, MSIX, 0, 1, NULL, 0, NULL, 0);
    assert_int_equal(calls.count, 4);
}

TEST(trigger_errors)
{
    struct session *s = device();
    int fd = new_eventfd(0);
    uint64_t almost_full = 0xfffffffffffffffe;

    assert_fails(vfu_irq_trigger(s->ctx, VECTORS), EINVAL);
    assert_fails(vfu_irq_trigger(s->ctx, VECTORS + 1), EINVAL);
    assert_fails(vfu_irq_trigger(s->ctx, 0xffffffff), EINVAL);
    assert_fails(vfu_irq_trigger(s->ctx, 0), ENOENT);
    assert_fails(vfu_irq_trigger(s->ctx, VECTORS - 1), ENOENT);
    give(s, MSIX, 0, &fd, 1);
    assert_int_equal(write(fd, &almost_full, sizeof(almost_full)), sizeof(almost_full));
    assert_fails(vfu_irq_trigger(s->ctx, 0), EAGAIN);
    close(fd);
}

TEST(trigger)
{
    struct session *s = device();
    int fd = new_eventfd(4);

    give(s, MSIX, 8, &fd, 1);
    assert_int_equal(vfu_irq_trigger(s->ctx, 8), 0);
    assert_int_equal(eventfd_value(fd), 5);
    assert_int_equal(vfu_irq_trigger(s->ctx, 8), 0);
    assert_int_equal(vfu_irq_trigger(s->ctx, 8), 0);
    assert_int_equal(eventfd_value(fd), 2);
    close(fd);
}

/* By default there is one slot, because ERR and REQ count one each. */
TEST(default_table)
{
    struct session *s = new_session();

    start(s);
    assert_fails(vfu_irq_trigger(s->ctx, 0), ENOENT);
    assert_fails(vfu_irq_trigger(s->ctx, 1), EINVAL);
}

/* A count raised after realize must not let requests outside the table. */
TEST(count_raised_after_realize)
{
    struct session *s;
    int fd;

    NOT_ON_REFERENCE("it writes outside its vector table");
    s = new_session();
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, MSIX, 1), 0);
    start(s);
    fd = new_eventfd(0);
    if (vfu_setup_device_nr_irqs(s->ctx, MSIX, 4096) == 0) {
        give(s, MSIX, 4000, &fd, 1);
        assert_int_equal(vfu_irq_trigger(s->ctx, 4000), 0);
        assert_int_equal(eventfd_value(fd), 1);
    } else {
        set_irqs_fails(s, TRIGGER | EVENTFD, MSIX, 4000, 1, NULL, 0, &fd, 1);
        assert_fails(vfu_irq_trigger(s->ctx, 4000), EINVAL);
    }
    close(fd);
}

TEST(disconnect_closes_eventfds)
{
    struct session *s = device();
    int fds[200];
    int fd = new_eventfd(0);
    size_t before = fd_count();

    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = fd;
    }
    give(s, MSIX, 100, fds, ARRAY_LEN(fds));
    assert_int_equal(fd_count(), before + ARRAY_LEN(fds));
    lose_client(s);
    assert_int_equal(fd_count(), before - 2);
    assert_fails(vfu_irq_trigger(s->ctx, 100), ENOENT);
    connect_client(s);
    assert_fails(vfu_irq_trigger(s->ctx, 100), ENOENT);
    give(s, MSIX, 0, fds, 3);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(irq_info),
        CASE(bad_irq_info),
        CASE(bad_set_up),
        CASE(short_set_irqs),
        CASE(bad_set_irqs),
        CASE(bad_data),
        CASE(disabling_what_is_not_enabled),
        CASE(enabling),
        CASE(disabling_by_eventfd_without_fds),
        CASE(disabling_a_range_in_the_middle),
        CASE(the_client_triggers),
        CASE(the_client_triggers_some),
        CASE(err_and_req_have_their_own),
        CASE(shared_vector_table),
        CASE(masking_calls_back),
        CASE(trigger_errors),
        CASE(trigger),
        CASE(default_table),
        CASE(count_raised_after_realize),
        CASE(disconnect_closes_eventfds),
    };
    return RUN(tests);
}
