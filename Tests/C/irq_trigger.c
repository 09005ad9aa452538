/* Triggering interrupts, by the device and by the client; how long eventfds last. */
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

/* It is as long as the largest count, whichever kind that is of. */
TEST(the_largest_count_decides)
{
    /* The reference writes outside its memory if there is more than one ERR or REQ. */
    const int kinds = on_reference() ? VFU_DEV_ERR_IRQ : VFU_DEV_NUM_IRQS;

    for (int largest = 0; largest < kinds; largest++) {
        struct session *s = new_session();

        for (int type = 0; type < kinds; type++) {
            assert_int_equal(
                vfu_setup_device_nr_irqs(s->ctx, (enum vfu_dev_irq_type)type, type == largest ? 7 : 3), 0);
        }
        start(s);
        assert_fails(vfu_irq_trigger(s->ctx, 6), ENOENT);
        assert_fails(vfu_irq_trigger(s->ctx, 7), EINVAL);
        end_session(s);
    }
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
        assert_int_equal(errno, EINVAL);
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
        CASE(the_client_triggers),
        CASE(the_client_triggers_some),
        CASE(err_and_req_have_their_own),
        CASE(shared_vector_table),
        CASE(trigger_errors),
        CASE(trigger),
        CASE(default_table),
        CASE(the_largest_count_decides),
        CASE(count_raised_after_realize),
        CASE(disconnect_closes_eventfds),
    };
    return RUN(tests);
}
