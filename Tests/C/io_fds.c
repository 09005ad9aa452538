/* ioeventfds of sub-regions, and DEVICE_GET_REGION_IO_FDS, by which the client learns of them. */
#include "support.h"

#define ENTRY sizeof(struct vfio_user_sub_region_ioeventfd)
#define NO_FD 0xffffffff

struct answer {
    struct vfio_user_region_io_fds_request head;
    struct vfio_user_sub_region_ioeventfd entries[300];
};

static struct answer answer;
static int eventfds[8];

static struct reply *query(struct session *s, uint32_t index, uint32_t argsz)
{
    uint8_t body[4096] = {0};
    struct vfio_user_region_io_fds_request head = {.argsz = argsz, .index = index};
    struct reply *reply;

    memcpy(body, &head, sizeof(head));
    reply = request(s, VFIO_USER_DEVICE_GET_REGION_IO_FDS, body, sizeof(head));
    memset(&answer, 0, sizeof(answer));
    assert_in_range(reply->size, sizeof(head), sizeof(answer));
    memcpy(&answer, reply->data, reply->size);
    assert_int_equal(answer.head.flags, 0);
    assert_int_equal(answer.head.index, index);
    assert_int_equal(answer.head.argsz, 16 + ENTRY * answer.head.count);
    return reply;
}

static void query_fails(struct session *s, uint32_t argsz, uint32_t flags, uint32_t index, uint32_t count)
{
    struct vfio_user_region_io_fds_request head = {argsz, flags, index, count};

    request_fails(s, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &head, sizeof(head), EINVAL);
}

/* BAR1 bare; BAR2 and BAR5 with a size; six ioeventfds on BAR2, added while the client is there. */
static struct session *device(void)
{
    struct session *s = new_session();

    use_region(s, 1, 0x8000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    use_region(s, 2, 0x8000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    assert_int_equal(vfu_setup_region(s->ctx, 5, 0x8000, region_access, VFU_REGION_FLAG_RW, NULL, 0, -1, 0x8000), 0);
    start(s);
    for (size_t i = 0; i < ARRAY_LEN(eventfds); i++) {
        eventfds[i] = new_eventfd(0);
    }
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(vfu_create_ioeventfd(s->ctx, 2, eventfds[i], 8 * i, 8, 0, 0, -1, 0), 0);
    }
    return s;
}

static void close_eventfds(void)
{
    for (size_t i = 0; i < ARRAY_LEN(eventfds); i++) {
        close(eventfds[i]);
    }
}

/* Signalling the fd that came over the socket is seen by the program's own. */
static void assert_same_eventfd(int received, int own)
{
    uint64_t value = 7;

    assert_int_equal(write(received, &value, sizeof(value)), sizeof(value));
    assert_int_equal(eventfd_value(own), 7);
}

TEST(bad_requests)
{
    struct session *s = device();
    struct vfio_user_region_io_fds_request head = {.argsz = 512, .index = 2};

    query_fails(s, 512, 1, 2, 0);
    query_fails(s, 512, 0, 2, 1);
    query_fails(s, 15, 0, 2, 0);
    query_fails(s, 15, 0, 2, 1);
    query_fails(s, 0, 0, 2, 0);
    query_fails(s, MAX_DATA + 1, 0, 2, 0);
    query_fails(s, MAX_DATA + 1, 0, 2, 1);
    query_fails(s, 0xffffffff, 0, 2, 0);
    query_fails(s, 512, 0, 3, 0); /* never set up */
    query_fails(s, 512, 0, 9, 0);
    query_fails(s, 512, 0, 512, 0);
    query_fails(s, 512, 0, 0xffffffff, 0);
    for (size_t size = 1; size < sizeof(head); size++) {
        request_fails(s, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &head, size, EINVAL);
    }
    query(s, 2, MAX_DATA);
    close_eventfds();
}

TEST(nothing_to_report)
{
    static const uint32_t regions[] = {1, 5, VFU_PCI_DEV_CFG_REGION_IDX};
    struct session *s = device();

    for (size_t i = 0; i < ARRAY_LEN(regions); i++) {
        struct reply *reply = query(s, regions[i], 512);

        assert_int_equal(reply->size, 16);
        assert_int_equal(reply->nr_fds, 0);
        assert_int_equal(answer.head.argsz, 16);
        assert_int_equal(answer.head.count, 0);
    }
    close_eventfds();
}

static void assert_all_six(const struct reply *reply)
{
    assert_int_equal(reply->size, 16 + 6 * ENTRY);
    assert_int_equal(answer.head.count, 6);
    assert_int_equal(reply->nr_fds, 6);
    for (size_t i = 0; i < 6; i++) {
        const struct vfio_user_sub_region_ioeventfd *entry = &answer.entries[i];
        const size_t own = 5 - i; /* the newest comes first */

        assert_int_equal(entry->gpa_offset, 8 * own);
        assert_int_equal(entry->size, 8);
        assert_int_equal(entry->type, VFIO_USER_IO_FD_TYPE_IOEVENTFD);
        assert_int_equal(entry->flags, 0);
        assert_int_equal(entry->shadow_mem_fd_index, 0);
        assert_int_equal(entry->shadow_offset, 0);
        assert_int_equal(entry->datamatch, 0);
        assert_int_equal(entry->fd_index, i);
        assert_same_eventfd(reply->fds[entry->fd_index], eventfds[own]);
    }
}

TEST(everything_fits)
{
    struct session *s = device();

    assert_all_six(query(s, 2, 16 + 10 * ENTRY));
    assert_all_six(query(s, 2, 16 + 6 * ENTRY));
    /* It survives the client. */
    lose_client(s);
    connect_client(s);
    assert_all_six(query(s, 2, 16 + 6 * ENTRY));
    close_eventfds();
}

/* All or nothing. */
TEST(not_everything_fits)
{
    static const uint32_t sizes[] = {16, 17, 16 + ENTRY, 16 + 6 * ENTRY - 1};
    struct session *s = device();

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct reply *reply = query(s, 2, sizes[i]);

        assert_int_equal(reply->size, 16);
        assert_int_equal(reply->nr_fds, 0);
        assert_int_equal(answer.head.count, 6);
        assert_int_equal(answer.head.argsz, 16 + 6 * ENTRY);
    }
    close_eventfds();
}

TEST(shared_fds_are_sent_once)
{
    struct session *s = device();
    struct reply *reply;

    assert_int_equal(vfu_create_ioeventfd(s->ctx, 2, eventfds[6], 48, 8, 0, 0, -1, 0), 0);
    assert_int_equal(vfu_create_ioeventfd(s->ctx, 2, eventfds[6], 56, 8, 0, 0, -1, 0), 0);
    reply = query(s, 2, 16 + 8 * ENTRY);
    assert_int_equal(reply->nr_fds, 7);
    assert_int_equal(answer.head.count, 8);
    assert_int_equal(answer.entries[0].fd_index, 0);
    assert_int_equal(answer.entries[1].fd_index, 0);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(answer.entries[i].gpa_offset, 56 - 8 * i);
    }
    assert_same_eventfd(reply->fds[answer.entries[1].fd_index], eventfds[6]);
    for (size_t i = 2; i < 8; i++) {
        assert_int_equal(answer.entries[i].fd_index, i - 1);
        assert_same_eventfd(reply->fds[answer.entries[i].fd_index], eventfds[7 - i]);
    }
    close_eventfds();
}

TEST(entries_without_an_fd)
{
    struct session *s = device();
    const int fds[5] = {eventfds[0], -1, eventfds[1], -1, eventfds[1]};
    static const uint32_t indexes[5] = {0, NO_FD, 0, NO_FD, 1};
    struct reply *reply;

    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        assert_int_equal(vfu_create_ioeventfd(s->ctx, 1, fds[i], 8 * i, 8, 0, 0, -1, 0), 0);
    }
    reply = query(s, 1, 512);
    assert_int_equal(reply->nr_fds, 2);
    assert_int_equal(answer.head.count, 5);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        assert_int_equal(answer.entries[i].gpa_offset, 8 * (4 - i));
        assert_int_equal(answer.entries[i].fd_index, indexes[i]);
    }
    assert_same_eventfd(reply->fds[0], eventfds[1]);
    assert_same_eventfd(reply->fds[1], eventfds[0]);
    close_eventfds();
}

/* What the library does not interpret reaches the client as it was given. */
TEST(fields_are_passed_on)
{
    struct session *s = device();

    assert_int_equal(vfu_create_ioeventfd(s->ctx, 1, eventfds[0], 0x7ff0, 16, 0xdeadbeef, 0x1122334455667788, -1, 0),
                     0);
    assert_int_equal(vfu_create_ioeventfd(s->ctx, 1, eventfds[0], 0x8000, 0, 0, 0, -1, 0), 0);
    query(s, 1, 512);
    assert_int_equal(answer.head.count, 2);
    assert_int_equal(answer.entries[0].gpa_offset, 0x8000);
    assert_int_equal(answer.entries[0].size, 0);
    assert_int_equal(answer.entries[1].gpa_offset, 0x7ff0);
    assert_int_equal(answer.entries[1].size, 16);
    assert_int_equal(answer.entries[1].flags, 0xdeadbeef);
    assert_true(answer.entries[1].datamatch == 0x1122334455667788);
    close_eventfds();
}

TEST(bad_ioeventfds)
{
    struct session *s = device();

    assert_fails(vfu_create_ioeventfd(s->ctx, 2, eventfds[0], 0x7800, 4096, 0, 0, -1, 0), EINVAL);
    assert_fails(vfu_create_ioeventfd(s->ctx, 2, eventfds[0], 0x8001, 0, 0, 0, -1, 0), EINVAL);
    assert_fails(vfu_create_ioeventfd(s->ctx, 3, eventfds[0], 0, 1, 0, 0, -1, 0), EINVAL);
    assert_fails(vfu_create_ioeventfd(s->ctx, 9, eventfds[0], 0, 8, 0, 0, -1, 0), EINVAL);
    assert_fails(vfu_create_ioeventfd(s->ctx, 0xffffffff, eventfds[0], 0, 8, 0, 0, -1, 0), EINVAL);
    query(s, 2, 16);
    assert_int_equal(answer.head.count, 6);
    close_eventfds();
}

TEST(ioeventfd_that_wraps)
{
    struct session *s;

    NOT_ON_REFERENCE("offset + size may wrap");
    s = device();
    assert_fails(vfu_create_ioeventfd(s->ctx, 2, eventfds[0], SIZE_MAX - 3, 8, 0, 0, -1, 0), EINVAL);
    close_eventfds();
}

/* As many entries as the answer may have, for which few fds are enough. */
TEST(many_entries)
{
    struct session *s = device();
    struct reply *reply;

    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(vfu_create_ioeventfd(s->ctx, 1, eventfds[i % 8], 8 * i, 8, 0, 0, -1, 0), 0);
    }
    reply = query(s, 1, 16 + 300 * ENTRY);
    assert_int_equal(reply->nr_fds, 8);
    assert_int_equal(answer.head.count, 300);
    assert_int_equal(reply->size, 16 + 300 * ENTRY);
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(answer.entries[i].gpa_offset, 8 * (299 - i));
        assert_int_equal(answer.entries[i].fd_index, i % 8);
    }
    close_eventfds();
}

TEST(shadow_ioeventfd)
{
    struct session *s = device();
    int shadow = guest_file(PS);
    struct reply *reply;
    uint8_t *ours, *theirs;

    if (!with_shadow_ioeventfd()) {
        assert_fails(vfu_create_ioeventfd(s->ctx, 1, eventfds[0], 8, 0x16, 0, 0, shadow, 0x10), EINVAL);
        close(shadow);
        close_eventfds();
        return;
    }
    reply = query(s, 1, 512);
    assert_int_equal(reply->nr_fds, 0);
    assert_int_equal(answer.head.count, 0);
    assert_int_equal(vfu_create_ioeventfd(s->ctx, 1, eventfds[0], 8, 0x16, 0, 0, shadow, 0x10), 0);
    reply = query(s, 1, 512);
    assert_int_equal(reply->nr_fds, 2);
    assert_int_equal(answer.head.count, 1);
    assert_int_equal(answer.entries[0].gpa_offset, 8);
    assert_int_equal(answer.entries[0].size, 0x16);
    assert_int_equal(answer.entries[0].type, VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW);
    assert_int_equal(answer.entries[0].flags, 0);
    assert_int_equal(answer.entries[0].datamatch, 0);
    assert_int_equal(answer.entries[0].shadow_offset, 0x10);
    assert_int_equal(answer.entries[0].fd_index, 0);
    assert_int_equal(answer.entries[0].shadow_mem_fd_index, 1);
    assert_same_eventfd(reply->fds[0], eventfds[0]);
    ours = guest_view(shadow, PS);
    theirs = guest_view(reply->fds[1], PS);
    theirs[0x10] = 0x42;
    assert_int_equal(ours[0x10], 0x42);
    munmap(ours, PS);
    munmap(theirs, PS);
    close(shadow);
    close_eventfds();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(bad_requests),
        CASE(nothing_to_report),
        CASE(everything_fits),
        CASE(not_everything_fits),
        CASE(shared_fds_are_sent_once),
        CASE(entries_without_an_fd),
        CASE(fields_are_passed_on),
        CASE(bad_ioeventfds),
        CASE(ioeventfd_that_wraps),
        CASE(many_entries),
        CASE(shadow_ioeventfd),
    };
    return RUN(tests);
}
