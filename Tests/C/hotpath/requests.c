/* Requests: polled and waited for, one by one and in batches. */
#include "hotpath.h"

#include <sys/wait.h>

#define BURST 32

struct access {
    struct vfio_user_header header;
    struct vfio_user_region_access access;
    uint32_t data;
} __attribute__((packed));

static struct access burst[BURST];
static size_t burst_size, reply_size;
static int burst_count;

/* What one round of exchange() sends: a number of accesses of 4 bytes. */
static void prepare(uint16_t cmd, int count, uint32_t flags)
{
    bool is_read = cmd == VFIO_USER_REGION_READ;
    /* The messages lie one behind the other, those to read without data. */
    size_t each = sizeof(struct access) - (is_read ? 4 : 0);

    for (int i = 0; i < count; i++) {
        struct access request = {
            .header = {.msg_id = (uint16_t)i, .cmd = cmd, .msg_size = (uint32_t)each, .flags = flags},
            .access = {.offset = 16, .region = VFU_PCI_DEV_BAR0_REGION_IDX, .count = 4},
            .data = 7,
        };
        memcpy((char *)burst + (size_t)i * each, &request, each);
    }
    burst_count = count;
    burst_size = each * (size_t)count;
    reply_size = flags & VFIO_USER_F_NO_REPLY ? 0 : (size_t)count * (16 + 16 + (is_read ? 4 : 0));
}

static bool receive_replies(int fd)
{
    char replies[BURST * sizeof(struct access)];
    size_t received = 0;

    while (received < reply_size) {
        ssize_t n = recv(fd, replies + received, reply_size - received, 0);

        if (n <= 0) {
            return false;
        }
        received += (size_t)n;
    }
    return nothing_to_receive(fd);
}

static int exchange(struct session *s)
{
    if (send(s->client, burst, burst_size, 0) != (ssize_t)burst_size) {
        return -1;
    }
    if (COUNTED(vfu_run_ctx(s->ctx)) != burst_count) {
        return -1;
    }
    return receive_replies(s->client) ? 0 : -1;
}

static int idle(struct session *s)
{
    errno = 0;
    return COUNTED(vfu_run_ctx(s->ctx)) == 0 && errno == EAGAIN ? 0 : -1;
}

TEST(poll_without_requests) { expect(polled(), "idle", idle, 1); }

TEST(one_read)
{
    prepare(VFIO_USER_REGION_READ, 1, 0);
    expect(polled(), "read", exchange, 2);
}

TEST(one_write)
{
    prepare(VFIO_USER_REGION_WRITE, 1, 0);
    expect(polled(), "write", exchange, 2);
}

TEST(pipelined_reads)
{
    prepare(VFIO_USER_REGION_READ, BURST, 0);
    expect(polled(), "pipelined-reads", exchange, 2);
}

TEST(pipelined_writes)
{
    prepare(VFIO_USER_REGION_WRITE, BURST, 0);
    expect(polled(), "pipelined-writes", exchange, 2);
}

TEST(posted_write)
{
    prepare(VFIO_USER_REGION_WRITE, 1, VFIO_USER_F_NO_REPLY);
    expect(polled(), "posted-write", exchange, 1);
}

TEST(posted_writes)
{
    prepare(VFIO_USER_REGION_WRITE, BURST, VFIO_USER_F_NO_REPLY);
    expect(polled(), "posted-writes", exchange, 1);
}

/* A failed request is answered like any other. */
TEST(refused_write)
{
    prepare(VFIO_USER_REGION_WRITE, 1, 0);
    burst[0].access.region = VFU_PCI_DEV_BAR5_REGION_IDX;
    reply_size = 16;
    expect(polled(), "refused-write", exchange, 2);
}

/* -- A server that waits -------------------------------------------------------------------------------- */

/* Counts between two requests of which the later is the last. */
static ssize_t counting_registers(vfu_ctx_t *ctx, char *bytes, size_t count, loff_t offset, bool is_write)
{
    static unsigned requests;

    requests++;
    if (requests == ROUNDS) {
        count_begin("waiting");
        count_enter();
    } else if (requests == 2 * ROUNDS) {
        count_leave();
        count_end();
    }
    return registers(ctx, bytes, count, offset, is_write);
}

TEST(waiting_server)
{
    struct session *s = new_session_with(0);
    pid_t client;
    int status;

    assert_int_equal(vfu_setup_region(s->ctx, VFU_PCI_DEV_BAR0_REGION_IDX, 4096, counting_registers,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0),
                     0);
    start(s);
    prepare(VFIO_USER_REGION_WRITE, 1, 0);
    client = fork();
    assert_true(client >= 0);
    if (client == 0) {
        for (int i = 0; i < 2 * ROUNDS; i++) {
            if (send(s->client, burst, burst_size, 0) != (ssize_t)burst_size || !receive_replies(s->client)) {
                _exit(1);
            }
        }
        _exit(0);
    }
    close_client(s);
    assert_fails(vfu_run_ctx(s->ctx), ENOTCONN);
    assert_int_equal(waitpid(client, &status, 0), client);
    assert_int_equal(status, 0);
    assert_int_equal(allocations(), 0);
    if (counts_syscalls()) {
        print_message("# waiting: %g system calls\n", (double)syscalls() / ROUNDS);
        assert_int_equal(syscalls(), 2 * ROUNDS);
    }
}

int test_requests(void)
{
    const struct CMUnitTest tests[] = {
        CASE(poll_without_requests),
        CASE(one_read),
        CASE(one_write),
        CASE(pipelined_reads),
        CASE(pipelined_writes),
        CASE(posted_write),
        CASE(posted_writes),
        CASE(refused_write),
        CASE(waiting_server),
    };
    return RUN(tests);
}
