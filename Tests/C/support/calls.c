/* Callbacks that record their calls, behave as told and run the test's hook. */
#include "support.h"

struct recorder calls;

static struct call *record(enum call_kind kind)
{
    struct call *entry = &calls.list[calls.count % ARRAY_LEN(calls.list)];

    calls.count++;
    memset(entry, 0, sizeof(*entry));
    entry->kind = kind;
    return entry;
}

static ssize_t finish(vfu_ctx_t *ctx, const struct call *entry, ssize_t result)
{
    const struct behaviour *behave = &calls.behave[entry->kind];

    if (calls.hook != NULL) {
        calls.hook(ctx, entry);
    }
    if (behave->error != 0) {
        errno = behave->error;
        return -1;
    }
    return behave->override ? behave->result : result;
}

int on_quiesce(vfu_ctx_t *ctx)
{
    return (int)finish(ctx, record(CALL_QUIESCE), 0);
}

int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    struct call *entry = record(CALL_RESET);

    entry->value = (int)type;
    return (int)finish(ctx, entry, 0);
}

static void dma_event(vfu_ctx_t *ctx, enum call_kind kind, const vfu_dma_info_t *info)
{
    struct call *entry = record(kind);

    entry->info = *info;
    entry->record = info;
    finish(ctx, entry, 0);
}

void on_register(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    dma_event(ctx, CALL_REGISTER, info);
}

void on_unregister(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    dma_event(ctx, CALL_UNREGISTER, info);
}

ssize_t region_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    struct call *entry = record(CALL_REGION);

    entry->offset = (uint64_t)offset;
    entry->count = count;
    entry->flag = is_write;
    if (is_write) {
        memcpy(entry->data, buf, count < sizeof(entry->data) ? count : sizeof(entry->data));
    }
    if (offset >= 0 && (size_t)offset <= sizeof(calls.memory) && count <= sizeof(calls.memory) - (size_t)offset) {
        if (is_write) {
            memcpy(calls.memory + offset, buf, count);
        } else {
            memcpy(buf, calls.memory + offset, count);
        }
    }
    return finish(ctx, entry, (ssize_t)count);
}

void on_irq_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    struct call *entry = record(CALL_IRQ_STATE);

    entry->offset = start;
    entry->count = count;
    entry->flag = mask;
    finish(ctx, entry, 0);
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    struct call *entry = record(CALL_TRANSITION);

    entry->value = (int)state;
    return (int)finish(ctx, entry, 0);
}

/* The device's migration data is calls.memory, from its beginning at every read. */
static ssize_t on_read_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    struct call *entry = record(CALL_READ_DATA);

    entry->count = count;
    memcpy(buf, calls.memory, count < sizeof(calls.memory) ? count : sizeof(calls.memory));
    return finish(ctx, entry, (ssize_t)count);
}

static ssize_t on_write_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    struct call *entry = record(CALL_WRITE_DATA);

    entry->count = count;
    memcpy(entry->data, buf, count < sizeof(entry->data) ? count : sizeof(entry->data));
    return finish(ctx, entry, (ssize_t)count);
}

const vfu_migration_callbacks_t migration_callbacks = {
    .version = VFU_MIGR_CALLBACKS_VERS,
    .transition = on_transition,
    .read_data = on_read_data,
    .write_data = on_write_data,
};

void clear_calls(void)
{
    calls.count = 0;
}

size_t calls_of(enum call_kind kind)
{
    size_t n = 0;

    assert_true(calls.count <= ARRAY_LEN(calls.list));
    for (size_t i = 0; i < calls.count; i++) {
        n += calls.list[i].kind == kind ? 1 : 0;
    }
    return n;
}

const struct call *call(enum call_kind kind, size_t n)
{
    assert_true(calls.count <= ARRAY_LEN(calls.list));
    for (size_t i = 0; i < calls.count; i++) {
        if (calls.list[i].kind == kind && n-- == 0) {
            return &calls.list[i];
        }
    }
    fail_msg("callback of kind %d was not called often enough", (int)kind);
    return NULL;
}

void assert_sequence(const enum call_kind *kinds, size_t n)
{
    for (size_t i = 0; i < n && i < calls.count; i++) {
        assert_int_equal(calls.list[i].kind, kinds[i]);
    }
    assert_int_equal(calls.count, n);
}

void use_dma(struct session *s)
{
    assert_int_equal(vfu_setup_device_dma(s->ctx, 64, on_register, on_unregister), 0);
}

void use_quiesce_and_reset(struct session *s)
{
    vfu_setup_device_quiesce_cb(s->ctx, on_quiesce);
    assert_int_equal(vfu_setup_device_reset_cb(s->ctx, on_reset), 0);
}

void use_region(struct session *s, int index, size_t size, int flags)
{
    assert_int_equal(vfu_setup_region(s->ctx, index, size, region_access, flags, NULL, 0, -1, 0), 0);
}

void use_migration(struct session *s)
{
    assert_int_equal(vfu_setup_device_migration_callbacks(s->ctx, &migration_callbacks), 0);
}
