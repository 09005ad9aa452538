/* A thread that plays the client answering DMA_READ and DMA_WRITE. */
#include "responder.h"

#include <poll.h>

static bool receive_all(int fd, void *buffer, size_t size)
{
    return size == 0 || recv(fd, buffer, size, MSG_WAITALL) == (ssize_t)size;
}

static void answer(struct responder *r, struct vfio_user_header request, uint64_t addr, uint64_t count)
{
    static uint8_t message[32 + MEMORY_SIZE];
    struct vfio_user_header header = {
        .msg_id = request.msg_id, .cmd = request.cmd, .msg_size = 32, .flags = VFIO_USER_F_TYPE_REPLY};
    struct vfio_user_dma_region_access access = {.addr = addr, .count = count};
    size_t size = 32;

    if (request.cmd == VFIO_USER_DMA_READ) {
        memcpy(message + 32, r->memory + (addr - BASE), count);
        size += count;
    }
    header.msg_size = (uint32_t)size;
    switch (r->manner) {
    case WITH_ERROR:
        size = 16;
        /* fall through */
    case WITH_ERROR_AND_PAYLOAD:
        header.flags |= VFIO_USER_F_ERROR;
        header.error_no = r->error_no;
        header.msg_size = (uint32_t)size;
        break;
    case WITH_OTHER_ID:
        header.msg_id++;
        break;
    case WITH_OTHER_COMMAND:
        header.cmd = 999;
        break;
    case WITH_A_COMMAND:
        header.flags = VFIO_USER_F_TYPE_COMMAND;
        break;
    case WITH_TINY_SIZE:
        header.msg_size = 15;
        size = 16;
        break;
    case WITH_HUGE_SIZE:
        header.msg_size = MAX_MESSAGE + 1;
        size = 16;
        break;
    case WITH_HEADER_ONLY:
        header.msg_size = 16;
        size = 16;
        break;
    case WITH_OTHER_ADDRESS:
        access.addr++;
        break;
    case WITH_OTHER_COUNT:
        access.count--;
        break;
    case WITH_TOO_LITTLE:
        size -= 1;
        header.msg_size = (uint32_t)size;
        break;
    case BY_CLOSING:
        size = 0;
        break;
    case BY_CLOSING_IN_THE_MIDDLE:
        size -= 1;
        break;
    default:
        break;
    }
    memcpy(message, &header, sizeof(header));
    memcpy(message + 16, &access, sizeof(access));
    if (size > 0 && send(r->fd, message, size, MSG_NOSIGNAL) != (ssize_t)size) {
        r->complaint = "the reply cannot be sent";
    }
    if (r->manner == BY_CLOSING || r->manner == BY_CLOSING_IN_THE_MIDDLE) {
        shutdown(r->fd, SHUT_RDWR);
    }
}

static void *respond(void *argument)
{
    struct responder *r = argument;

    for (;;) {
        struct pollfd pollers[2] = {{.fd = r->fd, .events = POLLIN}, {.fd = r->stop, .events = POLLIN}};
        struct vfio_user_header header;
        struct vfio_user_dma_region_access access;
        const unsigned n = r->messages;

        if (poll(pollers, 2, -1) < 1 || pollers[0].revents == 0 || !receive_all(r->fd, &header, sizeof(header)) ||
            !receive_all(r->fd, &access, sizeof(access))) {
            return NULL;
        }
        if (n == ARRAY_LEN(r->headers)) {
            r->complaint = "too many messages";
            return NULL;
        }
        r->headers[n] = header;
        r->addrs[n] = access.addr;
        r->counts[n] = access.count;
        r->messages++;
        if (access.addr < BASE || access.count > MEMORY_SIZE || access.addr - BASE > MEMORY_SIZE - access.count) {
            r->complaint = "address outside the region";
            return NULL;
        }
        if (header.cmd == VFIO_USER_DMA_WRITE) {
            if (header.msg_size != 32 + access.count ||
                !receive_all(r->fd, r->memory + (access.addr - BASE), access.count)) {
                r->complaint = "bad size of DMA_WRITE";
            }
        } else if (header.cmd != VFIO_USER_DMA_READ || header.msg_size != 32) {
            r->complaint = "neither DMA_READ nor DMA_WRITE";
        }
        if (header.flags != 0 || header.error_no != 0) {
            r->complaint = "bad flags";
        }
        answer(r, header, access.addr, access.count);
    }
}

void start_responder(struct responder *r, int fd)
{
    r->fd = fd;
    r->stop = new_eventfd(0);
    r->messages = 0;
    r->complaint = NULL;
    assert_int_equal(pthread_create(&r->thread, NULL, respond, r), 0);
}

void stop_responder(struct responder *r)
{
    uint64_t one = 1;

    assert_int_equal(write(r->stop, &one, sizeof(one)), sizeof(one));
    assert_int_equal(pthread_join(r->thread, NULL), 0);
    close(r->stop);
    if (r->complaint != NULL) {
        fail_msg("%s", r->complaint);
    }
}
