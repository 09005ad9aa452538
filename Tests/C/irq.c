/* Interrupts: DEVICE_GET_IRQ_INFO, what DEVICE_SET_IRQS refuses, enables and disables, and masking. */
#include "support.h"
#include "irqs.h"

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

TEST(counts_by_default)
{
    static const uint32_t counts[] = {0, 0, 0, 1, 1};
    struct session *s = new_session();

    start(s);
    for (uint32_t index = 0; index < ARRAY_LEN(counts); index++) {
        struct vfio_irq_info info = {.argsz = 16, .index = index};

        memcpy(&info, request(s, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info))->data, sizeof(info));
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

/* There may be several, but each is set and triggered on its own. */
TEST(err_and_req_one_at_a_time)
{
    static const uint32_t kinds[] = {VFU_DEV_ERR_IRQ, VFU_DEV_REQ_IRQ};
    struct session *s;
    int fds[2] = {new_eventfd(0), new_eventfd(0)};

    if (on_reference()) { /* which has room for one of them */
        close(fds[0]);
        close(fds[1]);
        skip();
    }
    s = new_session();
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_ERR_IRQ, 3), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, VFU_DEV_REQ_IRQ, 3), 0);
    start(s);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        for (uint32_t vector = 0; vector < 3; vector++) {
            give(s, kinds[i], vector, &fds[vector % 2], 1);
            set_irqs(s, TRIGGER | NONE, kinds[i], vector, 1, NULL, 0, NULL, 0);
            assert_int_equal(eventfd_value(fds[vector % 2]), 1);
            assert_int_equal(eventfd_value(fds[1 - vector % 2]), 0);
            set_irqs(s, TRIGGER | EVENTFD, kinds[i], vector, 1, NULL, 0, NULL, 0);
            set_irqs(s, TRIGGER | NONE, kinds[1 - i], vector, 1, NULL, 0, NULL, 0); /* none of the other kind */
            assert_int_equal(eventfd_value(fds[vector % 2]), 0);
        }
        set_irqs_fails(s, TRIGGER | NONE, kinds[i], 0, 2, NULL, 0, NULL, 0);
        set_irqs_fails(s, TRIGGER | BOOL, kinds[i], 1, 2, "\1\1", 2, NULL, 0);
        set_irqs_fails(s, TRIGGER | EVENTFD, kinds[i], 0, 2, NULL, 0, fds, 2);
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) { /* both kinds at once, each with its own */
        give(s, kinds[i], 1 - (uint32_t)i, &fds[i], 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        set_irqs(s, TRIGGER | NONE, kinds[i], 1 - (uint32_t)i, 1, NULL, 0, NULL, 0);
        assert_int_equal(eventfd_value(fds[i]), 1);
        assert_int_equal(eventfd_value(fds[1 - i]), 0);
    }
    close(fds[0]);
    close(fds[1]);
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

/* Writing to a pipe or a socket whose other end is closed would end this process by SIGPIPE. */
TEST(pipes_and_sockets_are_refused)
{
    struct session *s;
    int own, fds[2], pipes[2], sockets[2];

    NOT_ON_REFERENCE("it takes any descriptor, and SIGPIPE ends it");
    s = device();
    own = new_eventfd(0);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    give(s, MSIX, 0, &own, 1);
    for (size_t i = 0; i < 2; i++) {
        set_irqs_fails(s, TRIGGER | EVENTFD, MSIX, 0, 1, NULL, 0, &pipes[i], 1);
        set_irqs_fails(s, TRIGGER | EVENTFD, MSIX, 0, 1, NULL, 0, &sockets[i], 1);
        set_irqs_fails(s, MASK | EVENTFD, MSIX, 0, 1, NULL, 0, &pipes[i], 1);
    }
    /* One among others refuses them all, and what there was stays. */
    fds[0] = own;
    fds[1] = pipes[1];
    set_irqs_fails(s, TRIGGER | EVENTFD, MSIX, 1, 2, NULL, 0, fds, 2);
    assert_fails(vfu_irq_trigger(s->ctx, 1), ENOENT);
    assert_int_equal(vfu_irq_trigger(s->ctx, 0), 0);
    assert_int_equal(eventfd_value(own), 1);
    assert_int_equal(calls.count, 0);
    close(own);
    for (size_t i = 0; i < 2; i++) {
        close(pipes[i]);
        close(sockets[i]);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(irq_info),
        CASE(counts_by_default),
        CASE(bad_irq_info),
        CASE(bad_set_up),
        CASE(short_set_irqs),
        CASE(bad_set_irqs),
        CASE(bad_data),
        CASE(err_and_req_one_at_a_time),
        CASE(disabling_what_is_not_enabled),
        CASE(pipes_and_sockets_are_refused),
        CASE(enabling),
        CASE(disabling_by_eventfd_without_fds),
        CASE(disabling_a_range_in_the_middle),
        CASE(masking_calls_back),
    };
    return RUN(tests);
}
