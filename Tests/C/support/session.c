/* Contexts and their clients. */
#include "support.h"
#include "internal.h"

#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#define MAX_SESSIONS 4

static struct session sessions[MAX_SESSIONS];

struct session *new_session_with(int flags)
{
    static unsigned number;
    struct session *s = NULL;
    char name[32];

    for (size_t i = 0; i < MAX_SESSIONS && s == NULL; i++) {
        if (sessions[i].ctx == NULL) {
            s = &sessions[i];
        }
    }
    assert_non_null(s);
    memset(s, 0, sizeof(*s));
    s->client = -1;
    s->twin = -1;
    s->next_id = 0x1234;
    snprintf(name, sizeof(name), "socket-%u", number++);
    snprintf(s->path, sizeof(s->path), "%s", temp_path(name));
    s->ctx = vfu_create_ctx(VFU_TRANS_SOCK, s->path, flags, s, VFU_DEV_TYPE_PCI);
    assert_non_null(s->ctx);
    return s;
}

struct session *new_session(void)
{
    return new_session_with(LIBVFIO_USER_FLAG_ATTACH_NB);
}

void realize(struct session *s)
{
    assert_int_equal(vfu_realize_ctx(s->ctx), 0);
}

int connect_raw(const struct session *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    memcpy(address.sun_path, s->path, sizeof(address.sun_path));
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

void send_version(int fd, uint16_t major, uint16_t minor, const void *json, size_t json_size)
{
    uint8_t payload[4096];
    struct vfio_user_version version = {.major = major, .minor = minor};
    struct vfio_user_header header = {
        .msg_id = 0xbeef,
        .cmd = VFIO_USER_VERSION,
        .msg_size = (uint32_t)(sizeof(header) + sizeof(version) + json_size),
    };

    assert_true(sizeof(version) + json_size <= sizeof(payload));
    memcpy(payload, &version, sizeof(version));
    if (json_size > 0) {
        memcpy(payload + sizeof(version), json, json_size);
    }
    send_message(fd, &header, payload, sizeof(version) + json_size, NULL, 0);
}

void connect_client_with(struct session *s, const char *json)
{
    struct reply *reply;

    assert_int_equal(s->client, -1);
    s->client = connect_raw(s);
    send_version(s->client, 0, 1, json, json != NULL ? strlen(json) + 1 : 0);
    assert_int_equal(vfu_attach_ctx(s->ctx), 0);
    reply = receive(s);
    assert_success(s, reply, 0xbeef, VFIO_USER_VERSION);
    assert_true(reply->nr_fds <= 1);
    if (reply->nr_fds == 1) {
        s->twin = take_fd(reply, 0);
    }
}

void connect_client(struct session *s)
{
    connect_client_with(s, DEFAULT_JSON);
}

void start(struct session *s)
{
    realize(s);
    connect_client(s);
}

void close_client(struct session *s)
{
    if (s->client != -1) {
        close(s->client);
    }
    if (s->twin != -1) {
        close(s->twin);
    }
    s->client = -1;
    s->twin = -1;
}

void lose_client(struct session *s)
{
    close_client(s);
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, ENOTCONN);
}

static void clean_up(struct session *s)
{
    close_client(s);
    drop_reply(s);
    free(s->reply.data);
    s->reply.data = NULL;
    vfu_destroy_ctx(s->ctx);
    s->ctx = NULL;
}

void end_session(struct session *s)
{
    struct stat status;

    clean_up(s);
    assert_int_equal(stat(s->path, &status), -1);
    assert_int_equal(errno, ENOENT);
}

void end_all_sessions(void)
{
    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        if (sessions[i].ctx != NULL) {
            calls.hook = NULL;
            clean_up(&sessions[i]);
        }
    }
}
