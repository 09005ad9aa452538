/*
 * How the C library scales: many devices polled by one thread, and devices on threads of their own.
 *
 * Costs are processor time of the thread that serves (user and system), which other processes disturb less than the
 * clock. Each number is the median of some repetitions.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <vfio-user/libvfio-user.h>

#define REPETITIONS 11
#define IOVA UINT64_C(0x100000)
#define PAGE UINT64_C(4096)

struct device {
    vfu_ctx_t *ctx;
    int client;
};

struct access {
    struct vfio_user_header header;
    struct vfio_user_region_access access;
    uint32_t data;
} __attribute__((packed));

static const struct access write_request = {
    .header = {.msg_id = 2, .cmd = VFIO_USER_REGION_WRITE, .msg_size = sizeof(struct access)},
    .access = {.offset = 16, .region = VFU_PCI_DEV_BAR0_REGION_IDX, .count = 4},
    .data = 7,
};

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t thread_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), ascending);
    return values[count / 2];
}

static ssize_t registers(vfu_ctx_t *ctx, char *bytes, size_t count, loff_t offset, bool is_write)
{
    (void)ctx;
    (void)offset;
    if (!is_write) {
        memset(bytes, 0, count);
    }
    return (ssize_t)count;
}

/* Sends a request, lets the device work, takes the reply. */
static void exchange(struct device *device, const void *request, size_t size)
{
    char reply[4096];

    if (send(device->client, request, size, 0) != (ssize_t)size || vfu_run_ctx(device->ctx) != 1 ||
        recv(device->client, reply, sizeof(reply), 0) < (ssize_t)sizeof(struct vfio_user_header)) {
        die("request");
    }
}

static void start(struct device *device)
{
    struct {
        struct vfio_user_header header;
        struct vfio_user_version version;
    } __attribute__((packed)) hello = {
        .header = {.msg_id = 1, .cmd = VFIO_USER_VERSION, .msg_size = sizeof(hello)}, .version = {.minor = 1}};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    static atomic_uint number;
    char reply[4096];

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/vfu-scaling-%d-%u",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", getpid(), number++);
    device->ctx = vfu_create_ctx(VFU_TRANS_SOCK, address.sun_path, LIBVFIO_USER_FLAG_ATTACH_NB, NULL,
                                 VFU_DEV_TYPE_PCI);
    if (device->ctx == NULL ||
        vfu_setup_region(device->ctx, VFU_PCI_DEV_BAR0_REGION_IDX, 4096, registers,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) != 0 ||
        vfu_setup_device_dma(device->ctx, 16, NULL, NULL) != 0 || vfu_realize_ctx(device->ctx) != 0) {
        die("device");
    }
    device->client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(device->client, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        send(device->client, &hello, sizeof(hello), 0) != sizeof(hello) || vfu_attach_ctx(device->ctx) != 0 ||
        recv(device->client, reply, sizeof(reply), 0) <= 0) {
        die("client");
    }
}

static void stop(struct device *device)
{
    close(device->client);
    vfu_destroy_ctx(device->ctx);
}

/* -- Many devices on one thread -------------------------------------------------------------------------- */

static void poll_all(struct device *devices, size_t count, int expected)
{
    for (size_t i = 0; i < count; i++) {
        if (vfu_run_ctx(devices[i].ctx) != expected) {
            die("vfu_run_ctx");
        }
    }
}

static double idle_cost(struct device *devices, size_t count)
{
    size_t rounds = 100000 / count;
    uint64_t begin = thread_time();

    for (size_t i = 0; i < rounds; i++) {
        poll_all(devices, count, 0);
    }
    return (double)(thread_time() - begin) / (double)(rounds * count);
}

static double request_cost(struct device *devices, size_t count)
{
    size_t rounds = 20000 / count;
    uint64_t total = 0;
    char reply[64];

    for (size_t i = 0; i < rounds; i++) {
        uint64_t begin;

        for (size_t j = 0; j < count; j++) {
            if (send(devices[j].client, &write_request, sizeof(write_request), 0) != sizeof(write_request)) {
                die("send");
            }
        }
        begin = thread_time();
        poll_all(devices, count, 1);
        total += thread_time() - begin;
        for (size_t j = 0; j < count; j++) {
            if (recv(devices[j].client, reply, sizeof(reply), 0) != 32) {
                die("recv");
            }
        }
    }
    return (double)total / (double)(rounds * count);
}

static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file == NULL || fscanf(file, "%ld %ld", &pages, &resident) != 2) {
        die("statm");
    }
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void many_devices(size_t count)
{
    struct device *devices = calloc(count, sizeof(*devices));
    double idle[REPETITIONS], request[REPETITIONS];
    long before = resident_kib();

    if (devices == NULL) {
        die("calloc");
    }
    for (size_t i = 0; i < count; i++) {
        start(&devices[i]);
    }
    idle_cost(devices, count); /* which also makes polls cheap that find nothing */
    request_cost(devices, count);
    for (size_t i = 0; i < REPETITIONS; i++) {
        request[i] = request_cost(devices, count);
        idle_cost(devices, count);
        idle[i] = idle_cost(devices, count);
    }
    printf("%7zu %18.0f %18.0f %20.0f\n", count, median(idle, REPETITIONS), median(request, REPETITIONS),
           (double)(resident_kib() - before) / (double)count);
    for (size_t i = 0; i < count; i++) {
        stop(&devices[i]);
    }
    free(devices);
}

/* -- A device per thread --------------------------------------------------------------------------------- */

struct worker {
    pthread_t thread;
    pthread_barrier_t *barrier;
    double requests[REPETITIONS], uses[REPETITIONS]; /* ns of processor time each */
    double rate;                                     /* requests per second of the clock */
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void use_memory(vfu_ctx_t *ctx, dma_sg_t *entry, unsigned rounds)
{
    struct iovec vector;

    for (unsigned i = 0; i < rounds; i++) {
        if (vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)IOVA, 512, entry, 1, PROT_READ | PROT_WRITE) != 1 ||
            vfu_sgl_get(ctx, entry, &vector, 1, 0) != 0) {
            die("vfu_addr_to_sgl");
        }
        *(volatile char *)vector.iov_base = 1;
        vfu_sgl_put(ctx, entry, &vector, 1);
    }
}

static void map_memory(struct device *device)
{
    struct {
        struct vfio_user_header header;
        struct vfio_user_dma_map map;
    } __attribute__((packed)) request = {
        .header = {.msg_id = 3, .cmd = VFIO_USER_DMA_MAP, .msg_size = sizeof(request)},
        .map = {.argsz = sizeof(request.map),
                .flags = VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE,
                .addr = IOVA,
                .size = PAGE},
    };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    int guest = memfd_create("guest", MFD_CLOEXEC);
    char reply[64];

    memcpy(CMSG_DATA(&control.header), &guest, sizeof(guest));
    if (guest < 0 || ftruncate(guest, PAGE) != 0 || sendmsg(device->client, &message, 0) != sizeof(request) ||
        vfu_run_ctx(device->ctx) != 1 || recv(device->client, reply, sizeof(reply), 0) != 16) {
        die("DMA_MAP");
    }
    close(guest);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    dma_sg_t *entry = calloc(1, dma_sg_size());
    struct device device;
    double begin;

    start(&device);
    map_memory(&device);
    for (int i = 0; i < 1000; i++) {
        exchange(&device, &write_request, sizeof(write_request));
    }
    pthread_barrier_wait(worker->barrier);
    begin = now();
    for (size_t i = 0; i < REPETITIONS; i++) {
        uint64_t time = thread_time();

        for (int j = 0; j < 10000; j++) {
            exchange(&device, &write_request, sizeof(write_request));
        }
        worker->requests[i] = (double)(thread_time() - time) / 10000;
    }
    worker->rate = REPETITIONS * 10000 / (now() - begin);
    pthread_barrier_wait(worker->barrier);
    for (size_t i = 0; i < REPETITIONS; i++) {
        uint64_t time = thread_time();

        use_memory(device.ctx, entry, 1000000);
        worker->uses[i] = (double)(thread_time() - time) / 1000000;
    }
    pthread_barrier_wait(worker->barrier);
    stop(&device);
    free(entry);
    return NULL;
}

static void own_threads(unsigned count)
{
    struct worker workers[8];
    pthread_barrier_t barrier;
    double requests[8], uses[8], rate = 0;

    pthread_barrier_init(&barrier, NULL, count);
    for (unsigned i = 0; i < count; i++) {
        workers[i].barrier = &barrier;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            die("pthread_create");
        }
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(workers[i].thread, NULL);
        requests[i] = median(workers[i].requests, REPETITIONS);
        uses[i] = median(workers[i].uses, REPETITIONS);
        rate += workers[i].rate;
    }
    pthread_barrier_destroy(&barrier);
    printf("%7u %18.0f %18.0f %20.2f\n", count, rate / 1000, median(requests, count), median(uses, count));
}

int main(void)
{
    static const size_t counts[] = {1, 16, 256, 1000};
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("One thread polls all devices: processor time per device, and memory that each device and client take\n");
    printf("%7s %18s %18s %20s\n", "devices", "idle poll, ns", "request, ns", "resident, KiB");
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        many_devices(counts[i]);
    }
    printf("\nEach thread has a device and its client: a request is sent, carried out, and its reply received\n");
    printf("%7s %18s %18s %20s\n", "threads", "kilorequests/s", "request, ns CPU", "memory use, ns CPU");
    for (unsigned threads = 1; threads <= 2; threads++) {
        own_threads(threads);
    }
    return 0;
}
