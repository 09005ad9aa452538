/* What the operating system refuses, signals that interrupt a wait, and the transport over pipes. */
#include "support.h"
#include "irqs.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#define BASE UINT64_C(0x10000)

/* The region's fd is the program's, and is only looked at when it is to be sent. */
TEST(fd_that_cannot_be_sent)
{
    struct session *s = new_session();
    struct vfio_region_info info = {.argsz = 200, .index = 0};
    const int fd = 999; /* not open */

    assert_int_equal(vfu_setup_region(s->ctx, 0, PS, region_access, VFU_REGION_FLAG_RW, NULL, 0, fd, 0), 0);
    start(s);
    send_request(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info));
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, EBADF);
    assert_true(nothing_to_receive(s->client));
    assert_serving(s);
    info.argsz = 32; /* the fd is not asked for */
    request(s, VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info));
}

/* The kernel passes on 253 in one message. */
TEST(more_fds_than_can_be_sent)
{
    static int fds[254];
    struct session *s = new_session();
    struct vfio_user_region_io_fds_request query = {.argsz = 16 + 254 * 48, .index = 0};

    use_region(s, 0, PS, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    start(s);
    for (size_t i = 0; i < 253; i++) {
        fds[i] = new_eventfd(0);
        assert_int_equal(vfu_create_ioeventfd(s->ctx, 0, fds[i], 8 * i, 8, 0, 0, -1, 0), 0);
    }
    assert_int_equal(request(s, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &query, sizeof(query))->nr_fds, 253);
    fds[253] = new_eventfd(0);
    assert_int_equal(vfu_create_ioeventfd(s->ctx, 0, fds[253], 8 * 253, 8, 0, 0, -1, 0), 0);
    send_request(s, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &query, sizeof(query));
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, EINVAL);
    assert_true(nothing_to_receive(s->client));
    assert_serving(s);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        close(fds[i]);
    }
}

/* Any fd can be given for an interrupt; triggering it says what is wrong. */
TEST(irq_fd_that_cannot_be_written)
{
    struct session *s = new_session();
    const uint32_t body[5] = {20, TRIGGER | NONE, MSIX, 0, 1};
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, MSIX, 1), 0);
    start(s);
    give(s, MSIX, 0, &fd, 1);
    assert_fails(vfu_irq_trigger(s->ctx, 0), EBADF);
    request_fails(s, VFIO_USER_DEVICE_SET_IRQS, body, sizeof(body), EBADF);
    set_irqs(s, TRIGGER | NONE, MSIX, 0, 0, NULL, 0, NULL, 0);
    close(fd);
}

/* What the kernel does not map at all. */
TEST(memory_that_is_none)
{
    struct session *s = new_session();
    int fd = new_eventfd(0);
    size_t before;

    use_dma(s);
    start(s);
    before = fd_count();
    dma_map_fails(s, DMA_RW | DMA_MMAP, 0, BASE, PS, fd, ENODEV);
    assert_int_equal(fd_count(), before);
    assert_int_equal(calls_of(CALL_REGISTER), 0);
    close(fd);
}

static void interrupted(int signal)
{
    (void)signal;
}

/* Signals come every 20 ms, so that a wait is interrupted whenever it begins. */
static void start_signals(struct sigaction *saved)
{
    struct sigaction action = {.sa_handler = interrupted}; /* without SA_RESTART */
    struct itimerval timer = {.it_interval.tv_usec = 20000, .it_value.tv_usec = 20000};

    assert_int_equal(sigaction(SIGALRM, &action, saved), 0); /* the watchdog's, which is off for now */
    assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

static void stop_signals(const struct sigaction *saved)
{
    struct itimerval none = {0};

    setitimer(ITIMER_REAL, &none, NULL);
    sigaction(SIGALRM, saved, NULL);
}

/* Calls that wait for a client return when a signal handler has run, and can be made again. */
TEST(signals_interrupt_waiting)
{
    struct session *s = new_session_with(0);
    struct vfio_device_info info = {.argsz = 16};
    struct sigaction saved;
    int attach, attach_errno, run_errno;

    realize(s);
    start_signals(&saved);
    attach = vfu_attach_ctx(s->ctx);
    attach_errno = errno;
    stop_signals(&saved);
    assert_int_equal(attach, -1);
    assert_int_equal(attach_errno, EINTR);

    connect_client(s);
    for (int i = 0; i < 2; i++) {
        send_request(s, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info));
        start_signals(&saved);
        run(s);
        run_errno = s->run_errno;
        stop_signals(&saved);
        assert_int_equal(s->result, -1);
        assert_int_equal(run_errno, EINTR);
        receive(s); /* what was there was answered before */
        assert_int_equal(s->reply.header.flags, VFIO_USER_F_TYPE_REPLY);
    }
}

/* Part of a message is kept while a signal is dealt with. */
TEST(signals_lose_nothing)
{
    struct session *s;
    struct vfio_user_device_info info = {.argsz = 16};
    struct vfio_user_header header = {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 20};
    uint8_t message[32] = {0};
    struct sigaction saved;
    int attach, attach_errno;

    NOT_ON_REFERENCE("a message must come in one piece, and is waited for");
    s = new_session_with(0);
    realize(s);
    s->client = connect_raw(s);
    memcpy(message, &header, sizeof(header));
    assert_int_equal(send(s->client, message, 18, 0), 18);
    start_signals(&saved);
    attach = vfu_attach_ctx(s->ctx);
    attach_errno = errno;
    stop_signals(&saved);
    assert_int_equal(attach, -1);
    assert_int_equal(attach_errno, EINTR);
    assert_int_equal(send(s->client, message + 18, 2, 0), 2);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    assert_success(s, receive(s), 0xbeef, VFIO_USER_VERSION);

    header = command_header(s, VFIO_USER_DEVICE_GET_INFO, sizeof(info));
    memcpy(message, &header, sizeof(header));
    memcpy(message + 16, &info, sizeof(info));
    for (size_t sent = 0; sent < sizeof(message); sent += 8) {
        assert_int_equal(send(s->client, message + sent, 8, 0), 8);
        start_signals(&saved);
        run(s);
        stop_signals(&saved);
        assert_int_equal(s->result, -1);
        assert_int_equal(s->run_errno, EINTR);
    }
    assert_success(s, receive(s), header.msg_id, VFIO_USER_DEVICE_GET_INFO);
}

struct late_answer {
    int fd;
    bool good;
};

/* A client that takes its time to answer a DMA_WRITE of 8 bytes. */
static void *answer_late(void *argument)
{
    struct late_answer *late = argument;
    uint8_t message[40];
    struct vfio_user_header header;

    late->good = recv(late->fd, message, sizeof(message), MSG_WAITALL) == sizeof(message);
    usleep(100000);
    memcpy(&header, message, sizeof(header));
    header.flags = VFIO_USER_F_TYPE_REPLY;
    header.msg_size = 32;
    memcpy(message, &header, sizeof(header));
    late->good = late->good && send(late->fd, message, 32, MSG_NOSIGNAL) == 32;
    return NULL;
}

/* Access to client memory is not cut short by a signal. */
TEST(signals_do_not_interrupt_memory_access)
{
    struct session *s;
    struct late_answer late;
    struct sigaction saved;
    sigset_t alarm_only, old;
    pthread_t thread;
    uint64_t sg[5];
    uint8_t data[8] = {0};
    int written;

    NOT_ON_REFERENCE("it fails with EINTR, and the reply that comes later puts it out of step");
    s = new_session();
    use_dma(s);
    start(s);
    dma_map(s, DMA_RW, 0, BASE, PS, -1);
    assert_int_equal(vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)BASE, 8, (dma_sg_t *)sg, 1, PROT_WRITE), 1);
    late.fd = s->client;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &alarm_only, &old), 0); /* in the other thread */
    assert_int_equal(pthread_create(&thread, NULL, answer_late, &late), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
    start_signals(&saved);
    written = vfu_sgl_write(s->ctx, (dma_sg_t *)sg, 1, data, 0);
    stop_signals(&saved);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(written, 0);
    assert_true(late.good);
    assert_serving(s);
}

/* What happened on standard input and output while they were pipes. */
struct piped {
    vfu_ctx_t *ctx;
    int poll_fds[2];
    int attach, attach_again, run, region_run, second_run, second_errno, third_run, third_errno;
    uint8_t version[512], info[64], region[128];
    ssize_t version_size, info_size, region_size;
    size_t resets;
};

struct late_request {
    int fd;
    struct vfio_user_header header;
    struct vfio_user_device_info info;
};

static void *send_late(void *argument)
{
    struct late_request *late = argument;
    struct iovec parts[2] = {{.iov_base = &late->header, .iov_len = 16}, {.iov_base = &late->info, .iov_len = 16}};

    usleep(50000);
    return writev(late->fd, parts, 2) == 32 ? late : NULL;
}

/* Nothing may fail in here: the test's own output goes to a pipe. */
static void talk_through_pipes(struct piped *p)
{
    struct vfio_user_header header = {.msg_id = 0xbeef, .cmd = VFIO_USER_VERSION, .msg_size = 20};
    struct late_request late = {.info.argsz = 16};
    struct vfio_region_info region = {.argsz = 64};
    uint8_t version[4] = {0, 0, 1, 0};
    struct iovec parts[2] = {{.iov_base = &header, .iov_len = 16}, {.iov_base = version, .iov_len = 4}};
    int in[2], out[2], memory = guest_file(PS), saved_in = dup(0), saved_out = dup(1);
    pthread_t thread;
    void *sent = NULL;

    if (pipe(in) != 0 || pipe(out) != 0) {
        return;
    }
    dup2(in[0], 0);
    dup2(out[1], 1);
    close(in[0]);
    close(out[1]);
    p->ctx = vfu_create_ctx(VFU_TRANS_PIPE, "", LIBVFIO_USER_FLAG_ATTACH_NB, NULL, VFU_DEV_TYPE_PCI);
    if (p->ctx != NULL) {
        vfu_setup_device_reset_cb(p->ctx, on_reset);
        vfu_setup_region(p->ctx, 0, PS, region_access, VFU_REGION_FLAG_RW, NULL, 0, memory, 0);
        vfu_realize_ctx(p->ctx);
        p->poll_fds[0] = vfu_get_poll_fd(p->ctx);
        if (writev(in[1], parts, 2) == 20) {
            p->attach = vfu_attach_ctx(p->ctx);
            p->version_size = read(out[0], p->version, sizeof(p->version));
            p->attach_again = on_reference() ? -1 : vfu_attach_ctx(p->ctx); /* which would wait for a VERSION */
        }
        p->poll_fds[1] = vfu_get_poll_fd(p->ctx);
        /* It waits, though the context is one that does not. */
        late.fd = in[1];
        late.header = (struct vfio_user_header){.msg_id = 7, .cmd = VFIO_USER_DEVICE_GET_INFO, .msg_size = 32};
        if (pthread_create(&thread, NULL, send_late, &late) == 0) {
            p->run = vfu_run_ctx(p->ctx);
            pthread_join(thread, &sent);
            p->info_size = sent != NULL && p->run == 1 ? read(out[0], p->info, sizeof(p->info)) : -1;
        }
        header = (struct vfio_user_header){.msg_id = 8, .cmd = VFIO_USER_DEVICE_GET_REGION_INFO, .msg_size = 48};
        parts[1] = (struct iovec){.iov_base = &region, .iov_len = sizeof(region)};
        if (writev(in[1], parts, 2) == 48) {
            p->region_run = vfu_run_ctx(p->ctx);
            p->region_size = p->region_run == 1 ? read(out[0], p->region, sizeof(p->region)) : -1;
        }
        close(in[1]);
        in[1] = -1;
        p->second_run = vfu_run_ctx(p->ctx);
        p->second_errno = errno;
        p->third_run = vfu_run_ctx(p->ctx);
        p->third_errno = errno;
        p->resets = calls_of(CALL_RESET);
        vfu_destroy_ctx(p->ctx);
    }
    dup2(saved_in, 0);
    dup2(saved_out, 1);
    close(saved_in);
    close(saved_out);
    close(out[0]);
    close(memory);
    if (in[1] != -1) {
        close(in[1]);
    }
}

TEST(pipe_transport)
{
    struct piped p = {.poll_fds = {-2, -2}};
    struct vfio_user_header header;
    struct vfio_region_info region;

    talk_through_pipes(&p);
    if (p.ctx == NULL) {
        NOT_ON_REFERENCE("built without pipes");
    }
    assert_non_null(p.ctx);
    assert_int_equal(p.poll_fds[0], -1);
    assert_int_equal(p.poll_fds[1], 0);
    assert_int_equal(p.attach, 0);
    assert_true(p.version_size > 20);
    memcpy(&header, p.version, sizeof(header));
    assert_int_equal(header.msg_id, 0xbeef);
    assert_int_equal(header.flags, VFIO_USER_F_TYPE_REPLY);
    assert_null(strstr((char *)p.version + 20, "twin_socket"));
    assert_int_equal(p.run, 1);
    assert_int_equal(p.info_size, 32);
    memcpy(&header, p.info, sizeof(header));
    assert_int_equal(header.msg_id, 7);
    assert_int_equal(header.flags, VFIO_USER_F_TYPE_REPLY);
    if (!on_reference()) { /* where it is 0 */
        assert_int_equal(header.msg_size, 32);
    }
    /* What should bring an fd comes without. */
    assert_int_equal(p.region_run, 1);
    assert_int_equal(p.region_size, 80);
    memcpy(&region, p.region + 16, sizeof(region));
    assert_int_equal(region.flags, 3 | VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS);
    assert_int_equal(p.second_run, -1);
    assert_int_equal(p.second_errno, ENOTCONN);
    assert_int_equal(p.third_run, -1);
    assert_int_equal(p.third_errno, ENOTCONN);
    assert_int_equal(p.attach_again, -1);
    /* The end is told once; the reference tells it again in each call. */
    assert_int_equal(p.resets, on_reference() ? 2 : 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(fd_that_cannot_be_sent),
        CASE(more_fds_than_can_be_sent),
        CASE(irq_fd_that_cannot_be_written),
        CASE(memory_that_is_none),
        CASE(signals_interrupt_waiting),
        CASE(signals_lose_nothing),
        CASE(signals_do_not_interrupt_memory_access),
        CASE(pipe_transport),
    };
    return RUN(tests);
}
