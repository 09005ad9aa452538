/* Threads that use client memory as the I/O threads of a device do. */
#include "io_threads.h"

/* Where I/O threads wait while the device is quiesced. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool closed, end;
    unsigned inside;
} gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

unsigned mapped[REGIONS];
struct worker workers[WORKERS];
bool quiesces_later;

void close_gate(void)
{
    pthread_mutex_lock(&gate.mutex);
    gate.closed = true;
    pthread_mutex_unlock(&gate.mutex);
}

void wait_until_nobody_is_inside(void)
{
    pthread_mutex_lock(&gate.mutex);
    while (gate.inside > 0) {
        pthread_cond_wait(&gate.changed, &gate.mutex);
    }
    pthread_mutex_unlock(&gate.mutex);
}

void open_gate(void)
{
    pthread_mutex_lock(&gate.mutex);
    gate.closed = false;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.mutex);
}

void let_them_work(void)
{
    unsigned long turns[WORKERS];

    pthread_mutex_lock(&gate.mutex);
    for (unsigned number = 0; number < WORKERS; number++) {
        turns[number] = workers[number].turns;
    }
    for (unsigned number = 0; number < WORKERS; number++) {
        while (workers[number].turns == turns[number]) {
            pthread_cond_wait(&gate.changed, &gate.mutex);
        }
    }
    pthread_mutex_unlock(&gate.mutex);
}

static bool enter(void)
{
    bool end;

    pthread_mutex_lock(&gate.mutex);
    while (gate.closed) {
        pthread_cond_wait(&gate.changed, &gate.mutex);
    }
    end = gate.end;
    if (!end) {
        gate.inside++;
    }
    pthread_mutex_unlock(&gate.mutex);
    return !end;
}

static void leave(struct worker *w)
{
    pthread_mutex_lock(&gate.mutex);
    gate.inside--;
    w->turns++;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.mutex);
}

uint32_t below(struct worker *w, uint32_t limit)
{
    w->random = w->random * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)w->random * limit >> 32);
}

static void expect(struct worker *w, bool condition, const char *complaint)
{
    if (!condition && w->complaint == NULL) {
        w->complaint = complaint;
    }
}

uint64_t address(unsigned region, unsigned page)
{
    return BASE + (region * PAGES + page) * PS;
}

/* A page that this thread alone writes to. */
static unsigned own_page(struct worker *w)
{
    return below(w, PAGES / WORKERS) * WORKERS + w->number;
}

static void copy_directly(struct worker *w, dma_sg_t *entry)
{
    uint32_t data = w->random, back = ~data;

    if (on_reference() && quiesces_later) {
        return; /* it aborts if the request has been read already */
    }
    if (vfu_sgl_write(w->ctx, entry, 1, &data, VFU_SGL_DIRECT_ACCESS) != 0 ||
        vfu_sgl_read(w->ctx, entry, 1, &back, VFU_SGL_DIRECT_ACCESS) != 0) {
        expect(w, false, "a direct copy fails");
        return;
    }
    expect(w, back == data, "a direct copy brings something else back");
}

static void write_in_place(struct worker *w, dma_sg_t *entry)
{
    struct iovec iov;

    if (vfu_sgl_get(w->ctx, entry, &iov, 1, 0) != 0) {
        expect(w, false, "vfu_sgl_get fails");
        return;
    }
    expect(w, iov.iov_len == 4, "vfu_sgl_get gives another length");
    *(volatile uint32_t *)iov.iov_base = w->random;
    if (below(w, 2) == 0) {
        vfu_sgl_mark_dirty(w->ctx, entry, 1);
    } else {
        vfu_sgl_put(w->ctx, entry, &iov, 1);
    }
}

static void use_page(struct worker *w)
{
    const unsigned region = below(w, REGIONS), page = own_page(w);
    struct sg_entry entry;
    const int n = vfu_addr_to_sgl(w->ctx, (vfu_dma_addr_t)(address(region, page) + 16), 4, (dma_sg_t *)&entry, 1,
                                  PROT_READ | PROT_WRITE);

    if (mapped[region] == 0) {
        expect(w, n == -1 && errno == ENOENT, "something is found where nothing is mapped");
        return;
    }
    if (n != 1) {
        expect(w, false, "a mapping is not found");
        return;
    }
    if (region == FILE_REGION || below(w, 4) == 0) {
        copy_directly(w, (dma_sg_t *)&entry);
        return; /* which may have been refused: not in w->written */
    }
    write_in_place(w, (dma_sg_t *)&entry);
    w->written[region][page] = true;
}

/* The end of a region and the beginning of the next one. */
static void look_across(struct worker *w)
{
    const unsigned region = below(w, REGIONS - 1);
    struct sg_entry entries[2];
    const int n = vfu_addr_to_sgl(w->ctx, (vfu_dma_addr_t)(address(region + 1, 0) - 8), 16, (dma_sg_t *)entries, 2,
                                  PROT_READ);

    if (mapped[region] != 0 && mapped[region + 1] != 0) {
        expect(w, n == 2, "two mappings are not found");
    } else {
        expect(w, n == -1 && errno == ENOENT, "a range is found that is not all mapped");
    }
}

/* An entry is good as long as its mapping, whatever is mapped there afterwards. */
static void use_kept_entry(struct worker *w)
{
    dma_sg_t *const entry = (dma_sg_t *)&w->kept;
    struct iovec iov;

    if (w->kept_mapping != 0) {
        if (mapped[w->kept_region] == w->kept_mapping) {
            expect(w, vfu_sgl_get(w->ctx, entry, &iov, 1, 0) == 0, "a kept entry does not work any more");
            vfu_sgl_put(w->ctx, entry, &iov, 1);
            return;
        }
        expect(w, on_reference() || (vfu_sgl_get(w->ctx, entry, &iov, 1, 0) == -1 && errno == EINVAL),
               "an entry outlives its mapping");
    }
    w->kept_region = below(w, FILE_REGION);
    w->kept_mapping = mapped[w->kept_region];
    expect(w, vfu_addr_to_sgl(w->ctx, (vfu_dma_addr_t)address(w->kept_region, 0), PS, entry, 1, PROT_READ) ==
               (w->kept_mapping != 0 ? 1 : -1), "the mapping to be kept is not found");
}

static void *work(void *argument)
{
    struct worker *w = argument;

    while (enter()) {
        for (unsigned n = 0; n < 20; n++) {
            switch (below(w, 8)) {
            case 0:
                look_across(w);
                break;
            case 1:
                use_kept_entry(w);
                break;
            default:
                use_page(w);
                break;
            }
        }
        leave(w);
    }
    return NULL;
}

void start_workers(vfu_ctx_t *ctx)
{
    gate.closed = gate.end = false;
    for (unsigned number = 0; number < WORKERS; number++) {
        workers[number] = (struct worker){.ctx = ctx, .number = number, .random = number + 1};
        assert_int_equal(pthread_create(&workers[number].thread, NULL, work, &workers[number]), 0);
    }
}

void stop_workers(void)
{
    pthread_mutex_lock(&gate.mutex);
    gate.end = true;
    pthread_mutex_unlock(&gate.mutex);
    open_gate();
    for (unsigned number = 0; number < WORKERS; number++) {
        pthread_join(workers[number].thread, NULL);
    }
    for (unsigned number = 0; number < WORKERS; number++) {
        if (workers[number].complaint != NULL) {
            fail_msg("thread %u: %s", number, workers[number].complaint);
        }
    }
}

int quiesce_workers(vfu_ctx_t *ctx __attribute__((unused)))
{
    close_gate();
    if (quiesces_later) {
        errno = EBUSY;
        return -1;
    }
    wait_until_nobody_is_inside();
    return 0;
}

void change(struct session *s, uint16_t cmd, const void *body, size_t size, int fd)
{
    const uint16_t id = send_request_fds(s, cmd, body, size, &fd, fd != -1 ? 1 : 0);

    if (quiesces_later) {
        assert_int_equal(run(s), -1);
        assert_int_equal(s->run_errno, EBUSY);
        wait_until_nobody_is_inside();
        assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    } else {
        assert_int_equal(run(s), 1);
    }
    assert_success(s, receive(s), id, cmd);
}
