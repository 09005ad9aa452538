/*
 * What must cost next to nothing, since guests and devices do it all the time: no memory is allocated, and system calls
 * are those without which there is no message. Each kind of count has a control that must not be 0.
 */
#include "hotpath.h"

void measure(struct session *s, const char *name, operation *op)
{
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(op(s), 0);
    }
    count_begin(name);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(op(s), 0);
    }
    count_end();
    if (counts_syscalls()) {
        print_message("# %s: %g allocations, %g system calls\n", name, (double)allocations() / ROUNDS,
                      (double)syscalls() / ROUNDS);
    }
}

void expect(struct session *s, const char *name, operation *op, unsigned calls_each)
{
    measure(s, name, op);
    assert_int_equal(allocations(), 0);
    if (counts_syscalls()) {
        assert_int_equal(syscalls(), (uint64_t)calls_each * ROUNDS);
    }
}

/* -- The device ---------------------------------------------------------------------------------------- */

ssize_t registers(vfu_ctx_t *ctx, char *bytes, size_t count, loff_t offset, bool is_write)
{
    static char memory[4096];

    (void)ctx;
    assert_true(count <= sizeof(memory) && (size_t)offset <= sizeof(memory) - count);
    memcpy(is_write ? memory + offset : bytes, is_write ? bytes : memory + offset, count);
    return (ssize_t)count;
}

struct session *device(void)
{
    struct session *s = new_session();

    assert_int_equal(vfu_setup_region(s->ctx, VFU_PCI_DEV_BAR0_REGION_IDX, 4096, registers,
                                      VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0),
                     0);
    assert_int_equal(vfu_setup_device_nr_irqs(s->ctx, MSIX, 4), 0);
    assert_int_equal(vfu_setup_device_dma(s->ctx, REGIONS, NULL, NULL), 0);
    use_migration(s);
    realize(s);
    return s;
}

struct session *device_for(const char *json)
{
    struct session *s = device();

    connect_client_with(s, json);
    return s;
}

struct session *polled(void) { return device_for(DEFAULT_JSON); }

/* -- Interrupts ----------------------------------------------------------------------------------------- */

static int trigger(struct session *s) { return COUNTED(vfu_irq_trigger(s->ctx, 2)); }

TEST(interrupt)
{
    struct session *s = polled();
    int fd = new_eventfd(0);

    give(s, MSIX, 2, &fd, 1);
    expect(s, "interrupt", trigger, 1);
    assert_int_equal(eventfd_value(fd), 2 * ROUNDS);
    close(fd);
}

/* -- Controls ------------------------------------------------------------------------------------------- */

static int allocate(struct session *s)
{
    void *blocks[4] = {NULL};
    int result;

    (void)s;
    count_enter();
    blocks[0] = malloc(8);
    blocks[1] = calloc(1, 8);
    blocks[2] = realloc(NULL, 8);
    result = posix_memalign(&blocks[3], 64, 8);
    count_leave();
    for (int i = 0; i < 4; i++) {
        if (blocks[i] == NULL) {
            result = -1;
        }
        free(blocks[i]);
    }
    return result;
}

TEST(control_allocations)
{
    measure(NULL, "control-allocations", allocate);
    assert_int_equal(allocations(), 4 * ROUNDS);
    if (counts_syscalls()) {
        assert_int_equal(syscalls(), 0);
    }
}

static int call_kernel(struct session *s)
{
    (void)s;
    return COUNTED(getppid()) > 0 && getuid() == geteuid() ? 0 : -1;
}

TEST(control_system_calls)
{
    measure(NULL, "control-system-calls", call_kernel);
    assert_int_equal(allocations(), 0);
    if (counts_syscalls()) {
        assert_int_equal(syscalls(), ROUNDS);
    }
}

/* The library's own: a context is objects, with counts of references, and a DMA region one more. */
static int create(struct session *s)
{
    vfu_ctx_t *ctx;

    (void)s;
    ctx = COUNTED(vfu_create_ctx(VFU_TRANS_SOCK, temp_path("control"), LIBVFIO_USER_FLAG_ATTACH_NB, NULL,
                                 VFU_DEV_TYPE_PCI));
    if (ctx == NULL) {
        return -1;
    }
    vfu_destroy_ctx(ctx);
    return 0;
}

TEST(control_library)
{
    measure(NULL, "control-library", create);
    assert_true(allocations() >= ROUNDS);
    if (counts_syscalls()) {
        assert_true(syscalls() >= ROUNDS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(interrupt),
        CASE(control_allocations),
        CASE(control_system_calls),
        CASE(control_library),
    };
    return test_requests() + test_memory() + test_mapping() + RUN(tests);
}
