/* The servers: libraries, programs, and none at all. */
#define _GNU_SOURCE
#include "turns.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool server_is_library(const char *name) { return strstr(name, ".so") != NULL; }

bool server_is_plain(const char *name) { return name[0] == '@'; }

/* -- No library: the system calls alone ------------------------------------------------------------------- */

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, 1) != 0) {
        die(path);
    }
    return listener;
}

/* Answers whatever comes with as many bytes as are wanted. */
static _Noreturn void serve_floor(const char *path, const struct shared *shared, bool polling, bool room_for_fds)
{
    static char bytes[1 << 20];
    char control[CMSG_SPACE(8 * sizeof(int))];
    int client = accept(listen_at(path), NULL, NULL);
    int flags = polling ? MSG_DONTWAIT : 0;

    for (;;) {
        struct vfio_user_header header = {.msg_size = sizeof(header)};
        size_t there = 0;

        while (there < header.msg_size) {
            struct iovec rest = {.iov_base = bytes + there, .iov_len = sizeof(bytes) - there};
            struct msghdr message = {.msg_iov = &rest,
                                     .msg_iovlen = 1,
                                     .msg_control = control,
                                     .msg_controllen = sizeof(control)};
            ssize_t count = room_for_fds ? recvmsg(client, &message, flags | MSG_CMSG_CLOEXEC)
                                         : recv(client, rest.iov_base, rest.iov_len, flags);

            if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
                continue;
            }
            if (count <= 0) {
                _exit(0);
            }
            there += (size_t)count;
            memcpy(&header, bytes, sizeof(header));
        }
        header.flags = VFIO_USER_F_TYPE_REPLY;
        header.msg_size = shared->reply_size;
        memcpy(bytes, &header, sizeof(header));
        if (send(client, bytes, shared->reply_size, MSG_NOSIGNAL) < 0) {
            _exit(0);
        }
    }
}

/* -- A library --------------------------------------------------------------------------------------------- */

static struct {
    typeof(vfu_addr_to_sgl) *addr_to_sgl;
    typeof(vfu_sgl_read) *sgl_read;
    typeof(vfu_sgl_write) *sgl_write;
    typeof(vfu_irq_trigger) *irq_trigger;
    typeof(dma_sg_size) *sg_size;
} library;

static char memory[BIG_TRANSFER];

static ssize_t access_memory(vfu_ctx_t *ctx, size_t count, bool is_write)
{
    dma_sg_t *entry = __builtin_alloca(library.sg_size());

    if (library.addr_to_sgl(ctx, (vfu_dma_addr_t)(uintptr_t)MESSAGE_IOVA, sizeof(memory), entry, 1,
                            PROT_READ | PROT_WRITE) != 1) {
        return -1;
    }
    int result = is_write ? library.sgl_write(ctx, entry, 1, memory, 0)
                          : library.sgl_read(ctx, entry, 1, memory, 0);

    return result == 0 ? (ssize_t)count : -1;
}

static ssize_t registers(vfu_ctx_t *ctx, char *bytes, size_t count, loff_t offset, bool is_write)
{
    if (!is_write) {
        memset(bytes, 1, count);
        return (ssize_t)count;
    }
    switch (offset) {
    case PLACE_READ_MEMORY: return access_memory(ctx, count, false);
    case PLACE_WRITE_MEMORY: return access_memory(ctx, count, true);
    case PLACE_INTERRUPTS:
        for (unsigned i = 0; i < INTERRUPTS_PER_WRITE; i++) {
            if (library.irq_trigger(ctx, 0) != 0) {
                return -1;
            }
        }
        return (ssize_t)count;
    default: return (ssize_t)count;
    }
}

static void memory_comes(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    (void)ctx;
    (void)info;
}

static int transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    (void)ctx;
    (void)state;
    return 0;
}

static ssize_t no_data(vfu_ctx_t *ctx, void *bytes, uint64_t count)
{
    (void)ctx;
    (void)bytes;
    (void)count;
    return 0;
}

static ssize_t take_data(vfu_ctx_t *ctx, void *bytes, uint64_t count)
{
    (void)ctx;
    (void)bytes;
    return (ssize_t)count;
}

static _Noreturn void serve_library(const char *file, const char *path, bool polling)
{
    static const vfu_migration_callbacks_t migration = {.version = VFU_MIGR_CALLBACKS_VERS,
                                                        .transition = transition,
                                                        .read_data = no_data,
                                                        .write_data = take_data};
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);

    if (handle == NULL) {
        fprintf(stderr, "turns: %s\n", dlerror());
        _exit(1);
    }
#define FUNCTION(name) typeof(name) *const call_##name = (typeof(name) *)dlsym(handle, #name)
    FUNCTION(vfu_create_ctx);
    FUNCTION(vfu_setup_region);
    FUNCTION(vfu_setup_device_dma);
    FUNCTION(vfu_setup_device_nr_irqs);
    FUNCTION(vfu_setup_device_migration_callbacks);
    FUNCTION(vfu_realize_ctx);
    FUNCTION(vfu_attach_ctx);
    FUNCTION(vfu_run_ctx);
    library.addr_to_sgl = (typeof(library.addr_to_sgl))dlsym(handle, "vfu_addr_to_sgl");
    library.sgl_read = (typeof(library.sgl_read))dlsym(handle, "vfu_sgl_read");
    library.sgl_write = (typeof(library.sgl_write))dlsym(handle, "vfu_sgl_write");
    library.irq_trigger = (typeof(library.irq_trigger))dlsym(handle, "vfu_irq_trigger");
    library.sg_size = (typeof(library.sg_size))dlsym(handle, "dma_sg_size");

    vfu_ctx_t *ctx = call_vfu_create_ctx(VFU_TRANS_SOCK, path, polling ? LIBVFIO_USER_FLAG_ATTACH_NB : 0, NULL,
                                         VFU_DEV_TYPE_PCI);
    if (ctx == NULL ||
        call_vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, REGION_SIZE, registers,
                              VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) != 0 ||
        call_vfu_setup_device_dma(ctx, 256, memory_comes, memory_comes) != 0 ||
        call_vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, 1) != 0 ||
        call_vfu_setup_device_migration_callbacks(ctx, &migration) != 0 || call_vfu_realize_ctx(ctx) != 0) {
        die("device");
    }
    while (call_vfu_attach_ctx(ctx) != 0) {
        if (errno != EAGAIN && errno != EINTR) {
            die("vfu_attach_ctx");
        }
    }
    for (;;) {
        if (call_vfu_run_ctx(ctx) < 0 && errno != EINTR) {
            _exit(0);
        }
    }
}

pid_t server_start(const char *name, const char *path, const struct shared *shared, bool polling)
{
    pid_t process = fork();

    if (process != 0) {
        return process;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(0);
    if (server_is_plain(name)) {
        execl(name + 1, name + 1, path, polling ? "poll" : "wait", (char *)NULL);
        die(name);
    }
    if (server_is_library(name)) {
        serve_library(name, path, polling);
    }
    serve_floor(path, shared, polling, strcmp(name, "floor-fds") == 0);
}
