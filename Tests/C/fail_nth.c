/*
 * A good sequence of requests, repeated with the first, the second, the nth of the system calls that may find no memory
 * failing. A request that fails for it has changed nothing, and succeeds when it is sent again.
 */
#include "ioas.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* -- Calls of the library that fail --------------------------------------------------------------------- */

static struct {
    bool armed;       /* the library is carrying out a request */
    unsigned calls;   /* so far */
    unsigned failing; /* this one fails; counts from 1 */
    bool was_munmap;
} nth;

static bool fails(bool is_munmap)
{
    if (!nth.armed || ++nth.calls != nth.failing) {
        return false;
    }
    nth.was_munmap = is_munmap;
    errno = ENOMEM;
    return true;
}

#ifdef SANITIZED
void *__interceptor_mmap(void *place, size_t length, int protection, int flags, int fd, off_t offset);
int __interceptor_munmap(void *place, size_t length);
#define real_mmap __interceptor_mmap
#define real_munmap __interceptor_munmap
#else
#define real_mmap(place, length, protection, flags, fd, offset)                                               \
    (void *)syscall(SYS_mmap, place, length, protection, flags, fd, offset)
#define real_munmap(place, length) (int)syscall(SYS_munmap, place, length)
#endif

void *mmap(void *place, size_t length, int protection, int flags, int fd, off_t offset)
{
    return fails(false) ? MAP_FAILED : real_mmap(place, length, protection, flags, fd, offset);
}

int munmap(void *place, size_t length) { return fails(true) ? -1 : real_munmap(place, length); }

void *mremap(void *old, size_t old_length, size_t length, int flags, ...)
{
    va_list arguments;
    void *place;

    va_start(arguments, flags);
    place = flags & MREMAP_FIXED ? va_arg(arguments, void *) : NULL;
    va_end(arguments);
    return fails(false) ? MAP_FAILED : (void *)syscall(SYS_mremap, old, old_length, length, flags, place);
}

int madvise(void *place, size_t length, int advice)
{
    return fails(false) ? -1 : (int)syscall(SYS_madvise, place, length, advice);
}

int fstat(int fd, struct stat *status) { return fails(false) ? -1 : (int)syscall(SYS_fstat, fd, status); }

int fcntl(int fd, int command, ...)
{
    va_list arguments;
    long argument;

    va_start(arguments, command);
    argument = va_arg(arguments, long);
    va_end(arguments);
    return fails(false) ? -1 : (int)syscall(SYS_fcntl, fd, command, argument);
}

/* -- What may not change -------------------------------------------------------------------------------- */

#define PLACES 24

static uint64_t places[PLACES]; /* where something is or was mapped */
static size_t place_count;
static unsigned failures;

struct view {
    size_t fds, mappings, registered, unregistered;
    int attached_result;
    uint32_t attached;
    struct {
        int found, error;
        void *address;
        uint8_t byte;
    } at[PLACES];
};

static struct view look(struct session *s)
{
    struct view view;

    memset(&view, 0, sizeof(view)); /* views are compared whole */
    view.fds = fd_count();
    view.mappings = guest_mapping_count();
    view.registered = calls_of(CALL_REGISTER);
    view.unregistered = calls_of(CALL_UNREGISTER);
    view.attached_result = vfu_iommufd_attached_ioas(s->ctx, &view.attached);
    for (size_t i = 0; i < place_count; i++) {
        struct iovec iov = {0};

        errno = 0;
        view.at[i].found = ioas_look_up(s, places[i], 1, PROT_READ);
        view.at[i].error = errno;
        if (view.at[i].found == 1 && vfu_sgl_get(s->ctx, SGL, &iov, 1, 0) == 0) {
            view.at[i].address = iov.iov_base;
            view.at[i].byte = *(uint8_t *)iov.iov_base;
            vfu_sgl_put(s->ctx, SGL, &iov, 1);
        }
    }
    return view;
}

static struct reply *attempt(struct session *s, uint16_t cmd, const void *body, size_t size, int fd)
{
    send_request_fds(s, cmd, body, size, &fd, fd != -1 ? 1 : 0);
    nth.armed = true;
    run(s);
    nth.armed = false;
    assert_int_equal(s->result, 1);
    return receive(s);
}

/* Carries out a request, again if the nth call fails it. */
static struct reply *insist(struct session *s, uint16_t cmd, const void *body, size_t size, int fd)
{
    const struct view before = look(s);
    struct reply *reply = attempt(s, cmd, body, size, fd);

    if (reply->header.flags & VFIO_USER_F_ERROR) {
        const struct view after = look(s);

        assert_int_equal(nth.calls >= nth.failing, true);
        assert_int_equal(reply->header.error_no, ENOMEM);
        assert_memory_equal(&before, &after, sizeof(before));
        failures++;
        reply = attempt(s, cmd, body, size, fd);
    }
    assert_int_equal(reply->header.flags, VFIO_USER_F_TYPE_REPLY);
    return reply;
}

/* -- The sequence --------------------------------------------------------------------------------------- */

static void note(uint64_t iova)
{
    assert_true(place_count < PLACES);
    places[place_count++] = iova;
}

static uint32_t alloc(struct session *s)
{
    struct vfio_user_iommufd_alloc_ioas body = {.argsz = sizeof(body)};

    memcpy(&body, insist(s, VFIO_USER_IOMMUFD_ALLOC_IOAS, &body, sizeof(body), -1)->data, sizeof(body));
    return body.out_ioas_id;
}

static uint64_t map(struct session *s, uint32_t id, uint32_t flags, uint64_t iova, uint64_t length, uint64_t offset,
                    int fd)
{
    struct vfio_user_iommufd_ioas_map body = ioas_map_body(id, flags, iova, length, offset);

    memcpy(&body, insist(s, VFIO_USER_IOMMUFD_IOAS_MAP, &body, sizeof(body), fd)->data, sizeof(body));
    note(body.iova);
    return body.iova;
}

static uint64_t copy(struct session *s, uint32_t from, uint64_t iova, uint32_t to, uint32_t flags, uint64_t fixed)
{
    struct vfio_user_iommufd_ioas_copy body = {.argsz = sizeof(body), .flags = flags, .src_ioas_id = from,
        .dst_ioas_id = to, .src_iova = iova, .dst_iova = fixed, .length = PS};

    memcpy(&body, insist(s, VFIO_USER_IOMMUFD_IOAS_COPY, &body, sizeof(body), -1)->data, sizeof(body));
    note(body.dst_iova);
    return body.dst_iova;
}

static void unmap(struct session *s, uint32_t id, uint32_t flags, uint64_t iova, uint64_t length)
{
    struct vfio_user_iommufd_ioas_unmap body = unmap_body(id, flags, iova, length);

    insist(s, VFIO_USER_IOMMUFD_IOAS_UNMAP, &body, sizeof(body), -1);
}

static void attach(struct session *s, uint32_t id)
{
    struct vfio_user_iommufd_attach_pt body = attach_body(id);

    insist(s, VFIO_USER_IOMMUFD_ATTACH_PT, &body, sizeof(body), -1);
}

static void legacy_map(struct session *s, uint32_t flags, uint64_t offset, uint64_t iova, int fd)
{
    struct vfio_user_dma_map body = dma_map_body(DMA_RW | flags, offset, iova, PS);

    insist(s, VFIO_USER_DMA_MAP, &body, sizeof(body), fd);
    note(iova);
}

static void legacy_unmap(struct session *s, uint64_t iova)
{
    struct vfio_user_dma_unmap body;

    dma_unmap_body(&body, 0, iova, PS);
    insist(s, VFIO_USER_DMA_UNMAP, &body, sizeof(body), -1);
}

static void legacy_requests(struct session *s, const int *files)
{
    legacy_map(s, DMA_MMAP, 0, 0x80000, files[0]);
    legacy_map(s, DMA_MMAP, PS, 0x90000, files[0]);
    legacy_map(s, DMA_FILE, 2 * PS, 0xa0000, files[0]);
    legacy_map(s, DMA_FILE, PS, 0xb0000, files[1]);
    legacy_map(s, DMA_MMAP, 3 * PS, 0xc0000, files[1]);
    legacy_unmap(s, 0x90000);
    legacy_unmap(s, 0xb0000);
}

static void all_requests(struct session *s, const int *files)
{
    const uint32_t a = alloc(s), b = alloc(s);
    const struct vfio_user_iommufd_compat_ioas compat = {
        .argsz = sizeof(compat), .op = VFIO_USER_IOMMUFD_COMPAT_SET, .ioas_id = a};
    const struct vfio_user_iommufd_detach_pt detach = {.argsz = sizeof(detach)};
    const struct vfio_user_iommufd_destroy_ioas destroy = {.argsz = sizeof(destroy), .ioas_id = b};
    uint64_t chosen, second;

    chosen = map(s, a, RW, 0, 2 * PS, 0, files[0]);
    map(s, a, RW | FIXED, 0x10000, PS, 2 * PS, files[0]);
    attach(s, a);
    second = map(s, a, RO, 0, PS + 3, PS - 1, files[1]);
    map(s, a, RW | FIXED, 0x20000, PS, 3 * PS, files[1]);
    copy(s, a, chosen, b, RW | FIXED, 0x30000);
    copy(s, a, chosen, b, RO, 0);
    copy(s, a, chosen, b, RW, 0); /* where the one before is, so that it needs memory of its own */
    insist(s, VFIO_USER_IOMMUFD_COMPAT_IOAS, &compat, sizeof(compat), -1);
    legacy_requests(s, files);
    attach(s, b);
    unmap(s, a, 0, 0x10000, PS);
    unmap(s, a, 0, second, PS + 3);
    attach(s, a);
    unmap(s, a, 0, chosen, 2 * PS);
    insist(s, VFIO_USER_IOMMUFD_DESTROY_IOAS, &destroy, sizeof(destroy), -1);
    insist(s, VFIO_USER_IOMMUFD_DETACH_PT, &detach, sizeof(detach), -1);
    unmap(s, a, VFIO_USER_IOMMUFD_UNMAP_ALL, 0, 0);
}

static void end_legacy(struct session *s, const int *files)
{
    legacy_requests(s, files);
    legacy_unmap(s, 0x80000);
    legacy_unmap(s, 0xa0000);
    legacy_unmap(s, 0xc0000);
}

/* Returns whether there were as many calls as `failing` says. */
static bool once(unsigned failing, const char *json, int iova_policy, void (*requests)(struct session *, const int *))
{
    struct session *s = new_session();
    int files[2] = {guest_file(8 * PS), guest_file(8 * PS)};
    uint8_t byte = 'a';
    size_t fds, mappings;

    for (int i = 0; i < 2; i++) {
        for (uint64_t page = 0; page < 8; page++) {
            assert_int_equal(pwrite(files[i], &byte, 1, (off_t)(page * PS)), 1);
            byte++;
        }
    }
    memset(&nth, 0, sizeof(nth));
    nth.failing = failing;
    place_count = 0;
    calls.count = 0;
    use_dma(s);
    assert_int_equal(vfu_setup_device_iommufd(s->ctx, VFU_IOMMUFD_AUTO, iova_policy), 0);
    realize(s);
    connect_client_with(s, json);
    fds = fd_count();
    mappings = guest_mapping_count();
    requests(s, files);
    /* All is gone; what could not be unmapped goes with the next that is. */
    if (!nth.was_munmap || nth.calls > nth.failing) {
        assert_int_equal(guest_mapping_count(), mappings);
    }
    assert_int_equal(calls_of(CALL_REGISTER), calls_of(CALL_UNREGISTER));
    assert_int_equal(fd_count(), fds);
    end_session(s);
    close(files[0]);
    close(files[1]);
    return nth.calls >= nth.failing;
}

static void sweep(const char *json, int iova_policy, void (*requests)(struct session *, const int *))
{
    unsigned n = 1;

    failures = 0;
    while (once(n, json, iova_policy, requests)) {
        n++;
    }
    print_message("# %u calls, of which %u failed a request\n", n - 1, failures);
    assert_true(n > 20 && failures >= 8);
}

TEST(legacy_mode) { sweep(DEFAULT_JSON, VFU_IOVA_OPAQUE, end_legacy); }

TEST(chosen_from_a_window) { sweep(FULL_JSON, VFU_IOVA_OPAQUE, all_requests); }

TEST(chosen_by_address) { sweep(FULL_JSON, VFU_IOVA_SERVER_ADDRESS, all_requests); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(legacy_mode),
        CASE(chosen_from_a_window),
        CASE(chosen_by_address),
    };

    return RUN(tests);
}
