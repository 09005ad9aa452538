/*
 * What all subjects of the C API test-suite share.
 *
 * A test process is the server (through the public header of libvfio-user) and also the client, which is a
 * plain UNIX socket: nothing here knows more about the library than its header and the protocol.
 */
#ifndef VFU_TEST_SUPPORT_H
#define VFU_TEST_SUPPORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfio-user/libvfio-user.h>

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* The system page size. */
#define PS ((uint64_t)getpagesize())

/* The largest amount of data in one message, and the largest message. */
#define MAX_DATA ((size_t)VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE)
#define MAX_MESSAGE (MAX_DATA + 16 + 16)

/* -- harness.c ------------------------------------------------------------------------------------------ */

#define TEST(name) static void name(void **state __attribute__((unused)))
#define CASE(name) cmocka_unit_test_setup_teardown(name, before_each, after_each)
#define RUN(tests)                                                                                            \
    (cmocka_set_test_filter(getenv("VFU_TEST_ONLY")), cmocka_run_group_tests(tests, before_all, after_all))

int before_all(void **state);
int after_all(void **state);
int before_each(void **state); /* counts fds and guest mappings, arms the watchdog */
int after_each(void **state);  /* ends all sessions of the test, compares the counts */

/*
 * Whether the library under test is the C library whose behaviour is the yardstick. Where that library does
 * something unsafe or plainly wrong the tests state what is right, and are skipped when run against it.
 */
bool on_reference(void);
#define NOT_ON_REFERENCE(quirk)                                                                               \
    do {                                                                                                      \
        if (on_reference()) {                                                                                 \
            print_message("# skipped on the reference: %s\n", quirk);                                         \
            skip();                                                                                           \
        }                                                                                                     \
    } while (0)

/* Whether the library was built with shadow ioeventfds (VFU_TEST_NO_SHADOW=1 says it was not). */
bool with_shadow_ioeventfd(void);

/* Statement of a failing call: returns -1 and leaves `error` in errno. */
#define assert_fails(call, error)                                                                             \
    do {                                                                                                      \
        errno = 0;                                                                                            \
        assert_int_equal((call), -1);                                                                         \
        assert_int_equal(errno, (error));                                                                     \
    } while (0)

/* Same for calls that answer 0 on failure (capability search) or NULL. */
#define assert_zero_with(call, error)                                                                         \
    do {                                                                                                      \
        errno = 0;                                                                                            \
        assert_true((call) == 0);                                                                             \
        assert_int_equal(errno, (error));                                                                     \
    } while (0)

const char *temp_path(const char *name); /* a path in this process's temporary directory (one static buffer) */
size_t fd_count(void);                   /* open file descriptors of this process */
size_t guest_mapping_count(void);        /* mappings of guest_file() files in this process */

/* A file that plays guest memory; the descriptor is the caller's to close. */
int guest_file(size_t size);

/* A writable shared mapping of a guest file, to look at what the server did; undone with munmap(). */
uint8_t *guest_view(int fd, size_t size);

uint64_t eventfd_value(int fd); /* reads (and clears) an eventfd; 0 if it has not been signalled */
int new_eventfd(unsigned initial);

/* -- session.c ------------------------------------------------------------------------------------------ */

struct reply {
    struct vfio_user_header header;
    size_t size; /* of the payload */
    uint8_t *data;
    int fds[256];
    size_t nr_fds;
};

struct session {
    vfu_ctx_t *ctx;
    char path[108];
    int client;    /* the client's socket, -1 if there is none */
    int twin;      /* the client's end of the second socket, -1 */
    int result;    /* of the latest vfu_run_ctx */
    int run_errno; /* errno left by it */
    uint16_t next_id;
    struct reply reply;
};

/* A non-blocking context with nothing set up. All sessions still alive are ended after each test. */
struct session *new_session(void);
struct session *new_session_with(int flags);
void realize(struct session *s);

/* One client: connects, sends VERSION, then attaches (which must succeed in one call). */
void connect_client(struct session *s);
void connect_client_with(struct session *s, const char *json);
#define DEFAULT_JSON "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576}}"

void start(struct session *s);        /* realize + connect_client */
void close_client(struct session *s); /* the client goes away; the server has not looked yet */
void lose_client(struct session *s);  /* close_client, and the next run call says ENOTCONN */
void end_session(struct session *s);  /* destroys the context; the socket file must be gone */

int connect_raw(const struct session *s); /* a connected socket that has sent nothing */
void send_version(int fd, uint16_t major, uint16_t minor, const void *json, size_t json_size);

/* -- messages.c ----------------------------------------------------------------------------------------- */

/* One vfu_run_ctx call; its result and errno are kept in the session. */
int run(struct session *s);

/* Sends one message in one sendmsg(). */
void send_message(int fd, const struct vfio_user_header *header, const void *payload, size_t size,
                  const int *fds, size_t nr_fds);

/* Sends a request of the given command; returns its message id. */
uint16_t send_request(struct session *s, uint16_t cmd, const void *payload, size_t size);
uint16_t send_request_fds(struct session *s, uint16_t cmd, const void *payload, size_t size, const int *fds,
                          size_t nr_fds);
struct vfio_user_header command_header(struct session *s, uint16_t cmd, size_t payload_size);

/*
 * Receives one reply. It and the fds that came with it live until the next one is received (take_fd keeps an
 * fd for longer). Small replies must come in one piece.
 */
struct reply *receive(struct session *s);
struct reply *receive_on(struct session *s, int fd);
int take_fd(struct reply *reply, size_t index);
bool nothing_to_receive(int fd);
bool at_end_of_file(int fd);
void drop_reply(struct session *s);

/* Reply checks: flags, message id, command, error. In an error reply there is nothing but the header. */
void assert_success(const struct session *s, const struct reply *reply, uint16_t id, uint16_t cmd);
void assert_error(const struct session *s, const struct reply *reply, uint16_t id, uint16_t cmd, int error);

/* Send, one run call, receive; expecting success or the given error. */
struct reply *request(struct session *s, uint16_t cmd, const void *payload, size_t size);
struct reply *request_fds(struct session *s, uint16_t cmd, const void *payload, size_t size, const int *fds,
                          size_t nr_fds);
void request_fails(struct session *s, uint16_t cmd, const void *payload, size_t size, int error);
void request_fds_fails(struct session *s, uint16_t cmd, const void *payload, size_t size, const int *fds,
                       size_t nr_fds, int error);

/* The connection is in step and answers a query. */
void assert_serving(struct session *s);

/* -- requests.c ----------------------------------------------------------------------------------------- */

struct vfio_user_dma_map dma_map_body(uint32_t flags, uint64_t offset, uint64_t addr, uint64_t size);
void dma_map(struct session *s, uint32_t flags, uint64_t offset, uint64_t addr, uint64_t size, int fd);
void dma_map_fails(struct session *s, uint32_t flags, uint64_t offset, uint64_t addr, uint64_t size, int fd,
                   int error);
void dma_unmap_body(struct vfio_user_dma_unmap *body, uint32_t flags, uint64_t addr, uint64_t size);
void dma_unmap(struct session *s, uint64_t addr, uint64_t size);
void dma_unmap_fails(struct session *s, uint64_t addr, uint64_t size, int error);
#define DMA_RW (VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE)
#define DMA_MMAP VFIO_USER_F_DMA_REGION_MMAP
#define DMA_FILE VFIO_USER_F_DMA_REGION_FILE_IO

struct reply *region_read(struct session *s, uint32_t region, uint64_t offset, uint32_t count);
void region_read_fails(struct session *s, uint32_t region, uint64_t offset, uint32_t count, int error);
void region_write(struct session *s, uint32_t region, uint64_t offset, const void *data, uint32_t count);
void region_write_fails(struct session *s, uint32_t region, uint64_t offset, const void *data, uint32_t count,
                        int error);
uint16_t send_region_write(struct session *s, uint32_t region, uint64_t offset, const void *data, uint32_t count);

/* Config space in little-endian pieces of up to 8 bytes. */
uint64_t config_get(struct session *s, uint64_t offset, uint32_t count);
void config_put(struct session *s, uint64_t offset, uint32_t count, uint64_t value);
void config_put_fails(struct session *s, uint64_t offset, uint32_t count, uint64_t value, int error);
const uint8_t *config_bytes(struct session *s, uint64_t offset, uint32_t count);

/* DEVICE_FEATURE with the given operation and feature in flags. */
struct reply *feature(struct session *s, uint32_t flags, uint32_t argsz, const void *data, size_t size);
void feature_fails(struct session *s, uint32_t flags, uint32_t argsz, const void *data, size_t size, int error);
void set_state(struct session *s, uint32_t device_state);
void set_state_fails(struct session *s, uint32_t device_state, int error);
uint32_t get_state(struct session *s);
#define FEATURE_GET(n) (VFIO_DEVICE_FEATURE_GET | (n))
#define FEATURE_SET(n) (VFIO_DEVICE_FEATURE_SET | (n))
#define FEATURE_PROBE(n) (VFIO_DEVICE_FEATURE_PROBE | (n))

/* -- calls.c: callbacks that record how they were called ------------------------------------------------ */

enum call_kind {
    CALL_QUIESCE,
    CALL_RESET,
    CALL_REGISTER,
    CALL_UNREGISTER,
    CALL_REGION,
    CALL_IRQ_STATE,
    CALL_TRANSITION,
    CALL_READ_DATA,
    CALL_WRITE_DATA,
    CALL_KINDS,
};

struct call {
    enum call_kind kind;
    int value;                    /* reset type, migration state */
    vfu_dma_info_t info;          /* register, unregister: a copy … */
    const vfu_dma_info_t *record; /* … and the library's own */
    uint64_t offset;              /* region access; irq state: start */
    uint64_t count;               /* region access, irq state, migration data */
    bool flag;                    /* region access: write; irq state: mask */
    uint8_t data[64];             /* what was written (its beginning) */
};

/* How a kind of callback is to behave. A zeroed one succeeds. */
struct behaviour {
    int error;       /* fail with this errno */
    bool override;   /* return `result` instead of the ordinary one */
    ssize_t result;
};

struct recorder {
    struct call list[4096];
    size_t count;
    struct behaviour behave[CALL_KINDS];
    void (*hook)(vfu_ctx_t *ctx, const struct call *call); /* runs inside every callback */
    uint8_t memory[0x20000];                               /* behind region_access() */
};

extern struct recorder calls; /* cleared before each test */

int on_quiesce(vfu_ctx_t *ctx);
int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type);
void on_register(vfu_ctx_t *ctx, vfu_dma_info_t *info);
void on_unregister(vfu_ctx_t *ctx, vfu_dma_info_t *info);
ssize_t region_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write);
void on_irq_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask);
extern const vfu_migration_callbacks_t migration_callbacks;

void clear_calls(void);                               /* forgets what happened, keeps the behaviour */
size_t calls_of(enum call_kind kind);                 /* how many so far */
const struct call *call(enum call_kind kind, size_t n); /* the n-th of a kind; the test fails if there is none */
void assert_sequence(const enum call_kind *kinds, size_t n); /* exactly these, in this order */

/* Set-up calls that must succeed. */
void use_dma(struct session *s);
void use_quiesce_and_reset(struct session *s);
void use_region(struct session *s, int index, size_t size, int flags);
void use_migration(struct session *s);

#endif
