/* The client: what it asks for, over and over. */
#define _GNU_SOURCE
#include "turns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Mapped, and then unmapped, in a row. */
#define MAPPINGS 64
#define MAPPING_IOVA UINT64_C(0x10000)

static int wait_flags;
static int memory_file = -1;
static char incoming[2 << 20];

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void put(int socket, const void *bytes, size_t size)
{
    if (send(socket, bytes, size, MSG_NOSIGNAL) != (ssize_t)size) {
        die("send");
    }
}

/* Receives one message into `incoming`; nothing else is under way. Its size. */
static size_t take(int socket)
{
    struct vfio_user_header header;
    size_t there = 0;

    for (;;) {
        ssize_t count = recv(socket, incoming + there, sizeof(incoming) - there, wait_flags);

        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (count <= 0) {
            die("the server has gone");
        }
        there += (size_t)count;
        if (there >= sizeof(header)) {
            memcpy(&header, incoming, sizeof(header));
            if (there == header.msg_size) {
                return there;
            }
            if (there > header.msg_size) {
                fprintf(stderr, "turns: more than one message\n");
                exit(1);
            }
        }
    }
}

static void expect_reply(int socket, size_t size)
{
    struct vfio_user_header header;
    size_t there = take(socket);

    memcpy(&header, incoming, sizeof(header));
    if (header.flags != VFIO_USER_F_TYPE_REPLY || (size != 0 && there != size)) {
        fprintf(stderr, "turns: reply to command %u: flags %x, error %u, %zu bytes\n", header.cmd, header.flags,
                header.error_no, there);
        exit(1);
    }
}

static void put_with_fd(int socket, const void *bytes, size_t size, int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
    struct iovec all = {.iov_base = (void *)bytes, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &all, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    if (sendmsg(socket, &message, MSG_NOSIGNAL) != (ssize_t)size) {
        die("sendmsg");
    }
}

/* -- Requests -------------------------------------------------------------------------------------------- */

struct access_request {
    struct vfio_user_header header;
    struct vfio_user_region_access access;
    char data[BIG_TRANSFER];
} __attribute__((packed));

#define ACCESS_SIZE (sizeof(struct vfio_user_header) + sizeof(struct vfio_user_region_access))

/* A write of BAR0. */
static struct access_request write_request = {
    .header = {.msg_id = 2, .cmd = VFIO_USER_REGION_WRITE},
    .access = {.region = VFU_PCI_DEV_BAR0_REGION_IDX},
};

static void prepare_write(uint64_t place, uint32_t size)
{
    write_request.access.offset = place;
    write_request.access.count = size;
    write_request.header.msg_size = (uint32_t)ACCESS_SIZE + size;
}

static void write_once(int socket)
{
    put(socket, &write_request, write_request.header.msg_size);
    expect_reply(socket, ACCESS_SIZE);
}

static uint64_t measure_writes(int socket, unsigned count, uint32_t size)
{
    prepare_write(PLACE_PLAIN, size);
    uint64_t begin = now();

    for (unsigned i = 0; i < count; i++) {
        write_once(socket);
    }
    return now() - begin;
}

static uint64_t measure_reads(int socket, unsigned count, uint32_t size)
{
    struct {
        struct vfio_user_header header;
        struct vfio_user_region_access access;
    } __attribute__((packed)) request = {
        .header = {.msg_id = 2, .cmd = VFIO_USER_REGION_READ, .msg_size = ACCESS_SIZE},
        .access = {.offset = PLACE_PLAIN, .region = VFU_PCI_DEV_BAR0_REGION_IDX, .count = size},
    };
    uint64_t begin = now();

    for (unsigned i = 0; i < count; i++) {
        put(socket, &request, sizeof(request));
        expect_reply(socket, ACCESS_SIZE + size);
    }
    return now() - begin;
}

static uint64_t measure_read(int socket, unsigned count) { return measure_reads(socket, count, 4); }
static uint64_t measure_write(int socket, unsigned count) { return measure_writes(socket, count, 4); }
static uint64_t measure_big_read(int socket, unsigned count) { return measure_reads(socket, count, BIG_TRANSFER); }
static uint64_t measure_big_write(int socket, unsigned count) { return measure_writes(socket, count, BIG_TRANSFER); }

struct map_request {
    struct vfio_user_header header;
    struct vfio_user_dma_map map;
} __attribute__((packed));

struct unmap_request {
    struct vfio_user_header header;
    struct vfio_user_dma_unmap unmap;
};

static void map(int socket, uint64_t iova, uint64_t offset, uint64_t size, bool with_file)
{
    struct map_request request = {
        .header = {.msg_id = 3, .cmd = VFIO_USER_DMA_MAP, .msg_size = sizeof(request)},
        .map = {.argsz = sizeof(request.map),
                .flags = VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE,
                .offset = offset,
                .addr = iova,
                .size = size},
    };

    if (with_file) {
        put_with_fd(socket, &request, sizeof(request), memory_file);
    } else {
        put(socket, &request, sizeof(request));
    }
    expect_reply(socket, 0);
}

static void unmap(int socket, uint64_t iova, uint64_t size)
{
    struct unmap_request request = {
        .header = {.msg_id = 4, .cmd = VFIO_USER_DMA_UNMAP, .msg_size = sizeof(request)},
        .unmap = {.argsz = sizeof(request.unmap), .addr = iova, .size = size},
    };

    put(socket, &request, sizeof(request));
    expect_reply(socket, 0);
}

/* One half of mapping and unmapping pages that lie apart, in the file as among the addresses. */
static uint64_t measure_mapping(int socket, unsigned count, bool of_unmap)
{
    uint64_t spent = 0;

    for (unsigned done = 0; done < count; done += MAPPINGS) {
        uint64_t begin = now();

        for (unsigned i = 0; i < MAPPINGS; i++) {
            map(socket, MAPPING_IOVA + i * 8192, i * 8192, 4096, true);
        }
        uint64_t middle = now();

        for (unsigned i = 0; i < MAPPINGS; i++) {
            unmap(socket, MAPPING_IOVA + i * 8192, 4096);
        }
        spent += of_unmap ? now() - middle : middle - begin;
    }
    return spent * count / ((count + MAPPINGS - 1) / MAPPINGS * MAPPINGS);
}

static uint64_t measure_map(int socket, unsigned count) { return measure_mapping(socket, count, false); }
static uint64_t measure_unmap(int socket, unsigned count) { return measure_mapping(socket, count, true); }

struct report_request {
    struct vfio_user_header header;
    struct vfio_user_device_feature feature;
    struct vfio_user_device_feature_dma_logging_report report;
} __attribute__((packed));

#define REPORT_SIZE (sizeof(struct report_request) + FILE_SIZE / 4096 / 8)

static uint64_t measure_report(int socket, unsigned count)
{
    struct report_request request = {
        .header = {.msg_id = 5, .cmd = VFIO_USER_DEVICE_FEATURE, .msg_size = sizeof(request)},
        .feature = {.argsz = REPORT_SIZE - sizeof(struct vfio_user_header),
                    .flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT},
        .report = {.iova = FILE_IOVA, .length = FILE_SIZE, .page_size = 4096},
    };
    uint64_t begin = now();

    for (unsigned i = 0; i < count; i++) {
        put(socket, &request, sizeof(request));
        expect_reply(socket, REPORT_SIZE);
    }
    return now() - begin;
}

struct memory_message {
    struct vfio_user_header header;
    struct vfio_user_dma_region_access access;
    char data[BIG_TRANSFER];
} __attribute__((packed));

/* A write to the device makes it reach for client memory, which the client gives or takes before the answer. */
static uint64_t measure_memory(int socket, unsigned count, uint64_t place)
{
    static struct memory_message reply;
    prepare_write(place, 4);
    uint64_t begin = now();

    for (unsigned i = 0; i < count; i++) {
        put(socket, &write_request, write_request.header.msg_size);
        take(socket);
        memcpy(&reply, incoming, sizeof(reply.header) + sizeof(reply.access));
        reply.header.flags = VFIO_USER_F_TYPE_REPLY;
        reply.header.msg_size = sizeof(reply.header) + sizeof(reply.access);
        if (place == PLACE_READ_MEMORY) {
            reply.header.msg_size += BIG_TRANSFER;
        }
        put(socket, &reply, reply.header.msg_size);
        expect_reply(socket, ACCESS_SIZE);
    }
    return now() - begin;
}

static uint64_t measure_memory_read(int socket, unsigned count)
{
    return measure_memory(socket, count, PLACE_READ_MEMORY);
}

static uint64_t measure_memory_write(int socket, unsigned count)
{
    return measure_memory(socket, count, PLACE_WRITE_MEMORY);
}

static uint64_t measure_interrupt(int socket, unsigned count)
{
    prepare_write(PLACE_INTERRUPTS, 4);
    uint64_t begin = now();
    unsigned done = 0;

    for (; done < count; done += INTERRUPTS_PER_WRITE) {
        write_once(socket);
    }
    return (now() - begin) * count / done;
}

const struct operation operations[] = {
    {"read", measure_read, ACCESS_SIZE + 4, .for_plain = true, .for_floor = true},
    {"write", measure_write, ACCESS_SIZE, .for_plain = true, .for_floor = true},
    {"read-64K", measure_big_read, ACCESS_SIZE + BIG_TRANSFER, .for_plain = true, .for_floor = true},
    {"write-64K", measure_big_write, ACCESS_SIZE, .for_plain = true, .for_floor = true},
    {"map", measure_map, sizeof(struct vfio_user_header), .for_floor = true},
    {"unmap", measure_unmap, sizeof(struct unmap_request), .for_floor = true},
    {"report", measure_report, REPORT_SIZE, .for_floor = true},
    {"memory-read", measure_memory_read, .for_floor = false},
    {"memory-write", measure_memory_write, .for_floor = false},
    {"interrupt", measure_interrupt, .for_floor = false},
};

const size_t operation_count = sizeof(operations) / sizeof(operations[0]);

/* -- Getting ready ----------------------------------------------------------------------------------------- */

static void enable_interrupt(int socket)
{
    struct {
        struct vfio_user_header header;
        struct vfio_irq_set set;
    } __attribute__((packed)) request = {
        .header = {.msg_id = 6, .cmd = VFIO_USER_DEVICE_SET_IRQS, .msg_size = sizeof(request)},
        .set = {.argsz = sizeof(request.set),
                .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                .index = VFU_DEV_MSIX_IRQ,
                .count = 1},
    };
    int event = eventfd(0, EFD_NONBLOCK);

    put_with_fd(socket, &request, sizeof(request), event);
    expect_reply(socket, 0);
    close(event);
}

static void start_logging(int socket)
{
    struct {
        struct vfio_user_header header;
        struct vfio_user_device_feature feature;
        struct vfio_user_device_feature_dma_logging_control control;
        struct vfio_user_device_feature_dma_logging_range range;
    } __attribute__((packed)) request = {
        .header = {.msg_id = 7, .cmd = VFIO_USER_DEVICE_FEATURE, .msg_size = sizeof(request)},
        .feature = {.argsz = sizeof(request) - sizeof(request.header),
                    .flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START},
        .control = {.page_size = 4096, .num_ranges = 1},
        .range = {.iova = FILE_IOVA, .length = FILE_SIZE},
    };

    put(socket, &request, sizeof(request));
    expect_reply(socket, 0);
}

int client_connect(const char *path, const char *name, struct shared *shared, bool polling)
{
    static const char json[] = "{\"capabilities\":{\"max_data_xfer_size\":1048576,\"max_msg_fds\":8}}";
    struct {
        struct vfio_user_header header;
        struct vfio_user_version version;
        char json[sizeof(json)];
    } __attribute__((packed)) hello = {
        .header = {.msg_id = 1, .cmd = VFIO_USER_VERSION, .msg_size = sizeof(hello)}, .version = {.minor = 1}};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    wait_flags = polling ? MSG_DONTWAIT : 0;
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    for (unsigned tries = 0; connect(client, (struct sockaddr *)&address, sizeof(address)) != 0; tries++) {
        if (tries == 500) {
            die(name);
        }
        usleep(10000);
    }
    memcpy(hello.json, json, sizeof(json));
    shared->reply_size = sizeof(struct vfio_user_header) + sizeof(struct vfio_user_version);
    put(client, &hello, sizeof(hello));
    expect_reply(client, 0);
    if (!server_is_library(name)) {
        return client;
    }
    if (memory_file < 0) {
        memory_file = memfd_create("memory", MFD_CLOEXEC);
        if (memory_file < 0 || ftruncate(memory_file, (off_t)FILE_SIZE) != 0) {
            die("memory");
        }
    }
    map(client, FILE_IOVA, 0, FILE_SIZE, true);
    map(client, MESSAGE_IOVA, 0, BIG_TRANSFER, false);
    enable_interrupt(client);
    start_logging(client);
    return client;
}
