/* What a user of the packages compiles: a device, and a client in a child process that reads one of its registers. */
#include <err.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vfio-user/libvfio-user.h>

#define REGISTER UINT32_C(0x70617373)

static ssize_t
bar0(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    const uint32_t value = REGISTER;

    (void)ctx;
    if (is_write || offset != 8 || count != sizeof(value)) {
        errno = EINVAL;
        return -1;
    }
    memcpy(buf, &value, count);
    return (ssize_t)count;
}

/* A message of the client, and the size of what comes back. */
static size_t
ask(int fd, uint16_t id, uint16_t command, const void *payload, size_t size, char *reply, size_t room)
{
    char message[256];
    struct vfio_user_header header = {.msg_id = id, .cmd = command, .msg_size = (uint32_t)(sizeof(header) + size)};
    ssize_t received;

    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), payload, size);
    if (send(fd, message, header.msg_size, 0) != (ssize_t)header.msg_size)
        err(1, "send");
    received = recv(fd, reply, room, 0);
    if (received < (ssize_t)sizeof(header))
        err(1, "recv");
    memcpy(&header, reply, sizeof(header));
    if (header.msg_id != id || header.error_no != 0 || header.msg_size != (size_t)received)
        errx(1, "command %u: error %u", command, header.error_no);
    return (size_t)received;
}

static void
client(const char *path)
{
    static const char version[] = "\0\0\1\0{\"capabilities\":{}}"; /* 0.1 */
    struct vfio_user_region_access access = {.offset = 8, .region = VFU_PCI_DEV_BAR0_REGION_IDX, .count = 4};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const uint32_t expected = REGISTER;
    char reply[4096];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    size_t size;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        err(1, "connect");
    ask(fd, 1, VFIO_USER_VERSION, version, sizeof(version), reply, sizeof(reply));
    size = ask(fd, 2, VFIO_USER_REGION_READ, &access, sizeof(access), reply, sizeof(reply));
    if (size < sizeof(expected) || memcmp(reply + size - sizeof(expected), &expected, sizeof(expected)) != 0)
        errx(1, "the register has another value");
    close(fd);
}

int
main(int argc, char **argv)
{
    const char *path = argv[argc - 1];
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, path, 0, NULL, VFU_DEV_TYPE_PCI);
    int status = 1;

    if (ctx == NULL || vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) != 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, 4096, bar0, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM,
                         NULL, 0, -1, 0) != 0 ||
        vfu_realize_ctx(ctx) != 0)
        err(1, "%s", path);
    if (fork() == 0) {
        client(path);
        _exit(0);
    }
    if (vfu_attach_ctx(ctx) != 0)
        err(1, "attach");
    if (vfu_run_ctx(ctx) != -1 || errno != ENOTCONN)
        err(1, "run");
    vfu_destroy_ctx(ctx);
    if (wait(&status) < 0 || status != 0)
        errx(1, "the client ended with status %d", status);
    puts("a register was read");
    return 0;
}
