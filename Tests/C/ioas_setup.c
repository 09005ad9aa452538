/* I/O address spaces: what a program chooses before, and is told of. */
#include "ioas.h"

static char logged[4096];

static void log_message(vfu_ctx_t *ctx, int level, const char *message)
{
    (void)ctx;
    (void)level;
    strncat(logged, message, sizeof(logged) - strlen(logged) - 1);
}

static struct session *unrealized(void)
{
    struct session *s = new_session();

    use_dma(s);
    return s;
}

TEST(without_a_call_it_is_there)
{
    struct session *s = unrealized();
    uint32_t id, attached;
    int fd = guest_file(PS);
    uint64_t iova;

    assert_fails(vfu_iommufd_in_use(s->ctx), ENOTCONN);
    assert_fails(vfu_iommufd_attached_ioas(s->ctx, &attached), ENOTCONN);
    realize(s);
    connect_client(s);
    assert_int_equal(vfu_iommufd_in_use(s->ctx), 0);
    assert_fails(vfu_iommufd_attached_ioas(s->ctx, &attached), ENOTSUP);
    lose_client(s);
    connect_client_with(s, FULL_JSON);
    assert_int_equal(vfu_iommufd_in_use(s->ctx), 1);
    assert_fails(vfu_iommufd_attached_ioas(s->ctx, &attached), ENODEV);
    assert_fails(vfu_iommufd_attached_ioas(s->ctx, NULL), EINVAL);
    id = ioas_alloc(s);
    ioas_attach(s, id);
    assert_int_equal(vfu_iommufd_attached_ioas(s->ctx, &attached), 0);
    assert_int_equal(attached, id);
    /* The IOVA is the address here. */
    iova = ioas_map(s, id, RW, 0, PS, 0, fd);
    assert_ptr_equal(call(CALL_REGISTER, 0)->info.vaddr, (void *)(uintptr_t)iova);
    lose_client(s);
    assert_fails(vfu_iommufd_in_use(s->ctx), ENOTCONN);
    close(fd);
}

TEST(policy_arguments)
{
    struct session *s = unrealized();
    struct vfio_user_iommufd_iova_range range = {0x1000, 0xffff}, bad = {2, 1};

    assert_fails(vfu_setup_device_iommufd(s->ctx, -1, 0), EINVAL);
    assert_fails(vfu_setup_device_iommufd(s->ctx, 3, 0), EINVAL);
    assert_fails(vfu_setup_device_iommufd(s->ctx, 1, 2), EINVAL);
    assert_fails(vfu_setup_device_iommufd(s->ctx, 1, -1), EINVAL);
    assert_fails(vfu_setup_device_iova_limits(s->ctx, NULL, 1, 1), EINVAL);
    assert_fails(vfu_setup_device_iova_limits(s->ctx, &range, 0, 1), EINVAL);
    assert_fails(vfu_setup_device_iova_limits(s->ctx, &range, 1, 0), EINVAL);
    assert_fails(vfu_setup_device_iova_limits(s->ctx, &range, 1, 3), EINVAL);
    assert_fails(vfu_setup_device_iova_limits(s->ctx, &range, 1, 2 * PS), EINVAL);
    assert_fails(vfu_setup_device_iova_limits(s->ctx, &bad, 1, 1), EINVAL);
    assert_int_equal(vfu_setup_device_iommufd(s->ctx, VFU_IOMMUFD_AUTO, VFU_IOVA_OPAQUE), 0);
    assert_int_equal(vfu_setup_device_iova_limits(s->ctx, &range, 1, PS), 0);
    realize(s);
    assert_fails(vfu_setup_device_iommufd(s->ctx, 1, 0), EINVAL);
    assert_fails(vfu_setup_device_iova_limits(s->ctx, &range, 1, 1), EINVAL);
    assert_fails(vfu_setup_device_iova_allocator(s->ctx, NULL, NULL), EINVAL);
}

TEST(off)
{
    struct session *s = unrealized();
    struct vfio_user_iommufd_alloc_ioas body = {.argsz = sizeof(body)};

    assert_int_equal(vfu_setup_device_iommufd(s->ctx, VFU_IOMMUFD_OFF, 0), 0);
    realize(s);
    connect_client_with(s, FULL_JSON);
    assert_int_equal(vfu_iommufd_in_use(s->ctx), 0);
    request_fails(s, VFIO_USER_IOMMUFD_ALLOC_IOAS, &body, sizeof(body), EINVAL);
}

TEST(required)
{
    struct session *s = new_session();
    int client;

    assert_int_equal(vfu_setup_log(s->ctx, log_message, LOG_ERR), 0);
    assert_int_equal(vfu_setup_device_iommufd(s->ctx, VFU_IOMMUFD_REQUIRE, 0), 0);
    assert_fails(vfu_realize_ctx(s->ctx), EINVAL); /* no DMA */
    use_dma(s);
    realize(s);
    logged[0] = '\0';
    client = connect_raw(s);
    send_version(client, 0, 1, DEFAULT_JSON, sizeof(DEFAULT_JSON));
    assert_fails(vfu_attach_ctx(s->ctx), ENOTSUP);
    assert_int_equal(receive_on(s, client)->header.error_no, ENOTSUP);
    assert_non_null(strstr(logged, "iommufd"));
    assert_true(at_end_of_file(client));
    close(client);
    connect_client_with(s, BASELINE_JSON);
    assert_int_equal(vfu_iommufd_in_use(s->ctx), 1);
}

TEST(malformed_offer)
{
    static const char json[] = "{\"capabilities\":{\"iommufd\":{\"supported\":\"yes\"}}}";
    struct session *s = unrealized();
    int client;

    realize(s);
    client = connect_raw(s);
    send_version(client, 0, 1, json, sizeof(json));
    assert_fails(vfu_attach_ctx(s->ctx), EINVAL);
    close(client);
}

TEST(opaque_addresses)
{
    struct session *s = unrealized();
    int fd = guest_file(4 * PS);
    uint32_t id;

    assert_int_equal(vfu_setup_device_iommufd(s->ctx, VFU_IOMMUFD_AUTO, VFU_IOVA_OPAQUE), 0);
    realize(s);
    connect_client_with(s, FULL_JSON);
    id = ioas_alloc(s);
    assert_int_equal(ioas_map(s, id, RW, 0, PS, 0, fd), 0x1000);
    assert_int_equal(ioas_map(s, id, RW, 0, PS, 100, fd), 0x1000 + PS + 100);
    close(fd);
}

static struct {
    void *vaddr;
    uint64_t length, offset, answer, freed, freed_length;
    int fd, error, asked, frees;
} allocator;

static int allocate(vfu_ctx_t *ctx, void *vaddr, uint64_t length, int fd, uint64_t offset, uint64_t *iova)
{
    assert_non_null(vfu_get_private(ctx));
    allocator.vaddr = vaddr;
    allocator.length = length;
    allocator.offset = offset;
    allocator.fd = fd;
    allocator.asked++;
    *iova = allocator.answer;
    errno = allocator.error;
    return allocator.error == 0 ? 0 : -1;
}

static void free_iova(vfu_ctx_t *ctx, uint64_t iova, uint64_t length)
{
    assert_non_null(vfu_get_private(ctx));
    allocator.freed = iova;
    allocator.freed_length = length;
    allocator.frees++;
}

TEST(own_allocator)
{
    struct session *s = unrealized();
    int fd = guest_file(4 * PS);
    uint32_t id;

    memset(&allocator, 0, sizeof(allocator));
    assert_fails(vfu_setup_device_iova_allocator(s->ctx, NULL, free_iova), EINVAL);
    assert_int_equal(vfu_setup_device_iova_allocator(s->ctx, allocate, free_iova), 0);
    /* It stays, whatever is said of other addresses. */
    assert_int_equal(vfu_setup_device_iommufd(s->ctx, VFU_IOMMUFD_AUTO, VFU_IOVA_OPAQUE), 0);
    realize(s);
    connect_client_with(s, FULL_JSON);
    id = ioas_alloc(s);
    ioas_attach(s, id);
    allocator.answer = 0xabc000;
    assert_int_equal(ioas_map(s, id, RW, 0, 2 * PS, PS, fd), 0xabc000);
    assert_ptr_equal(allocator.vaddr, call(CALL_REGISTER, 0)->info.vaddr);
    assert_int_equal(allocator.length, 2 * PS);
    assert_int_equal(allocator.offset, PS);
    assert_true(allocator.fd >= 0);
    ioas_map_fails(s, id, RW, 0, PS, 0, fd, EADDRINUSE);
    allocator.answer = UINT64_MAX;
    ioas_map_fails(s, id, RW, 0, PS, 0, fd, EINVAL);
    allocator.error = ENOBUFS;
    ioas_map_fails(s, id, RW, 0, PS, 0, fd, ENOBUFS);
    allocator.error = 0;
    assert_int_equal(allocator.frees, 0);
    ioas_unmap(s, id, 0xabc000, 2 * PS);
    assert_int_equal(allocator.frees, 1);
    assert_int_equal(allocator.freed, 0xabc000);
    assert_int_equal(allocator.freed_length, 2 * PS);
    allocator.answer = 0xdef000;
    ioas_map(s, id, RW, 0, PS, 0, -1);
    assert_null(allocator.vaddr);
    assert_int_equal(allocator.fd, -1);
    lose_client(s);
    assert_int_equal(allocator.frees, 2);
    close(fd);
}

static uint32_t attachments[16];
static size_t nr_attachments;

static void on_attach(vfu_ctx_t *ctx, uint32_t id)
{
    assert_non_null(vfu_get_private(ctx));
    attachments[nr_attachments++ % ARRAY_LEN(attachments)] = id;
    assert_int_equal(calls_of(CALL_REGISTER), calls_of(CALL_UNREGISTER));
}

/* A device sees one space after the other, and hears of each mapping once. */
TEST(attaching)
{
    static const enum call_kind order[] = {CALL_QUIESCE, CALL_UNREGISTER, CALL_UNREGISTER, CALL_REGISTER};
    struct session *s = unrealized();
    int fd = guest_file(4 * PS);
    uint32_t a, b;

    nr_attachments = 0;
    use_quiesce_and_reset(s);
    assert_int_equal(vfu_setup_device_ioas_cb(s->ctx, on_attach), 0);
    realize(s);
    connect_client_with(s, FULL_JSON);
    a = ioas_alloc(s);
    b = ioas_alloc(s);
    ioas_map(s, a, RW | FIXED, 0x10000, PS, 0, fd);
    ioas_map(s, a, RW | FIXED, 0x20000, PS, 0, fd);
    ioas_map(s, b, RW | FIXED, 0x10000, PS, 0, fd);
    assert_int_equal(calls.count, 0);
    ioas_attach(s, a);
    assert_int_equal(calls_of(CALL_REGISTER), 2);
    vfu_setup_device_ioas_cb(s->ctx, NULL);
    clear_calls();
    ioas_attach(s, b);
    assert_sequence(order, ARRAY_LEN(order));
    clear_calls();
    ioas_attach(s, b);
    assert_sequence(order, 1);
    ioas_attach_fails(s, 99, ENOENT);
    vfu_setup_device_ioas_cb(s->ctx, on_attach);
    clear_calls();
    calls.behave[CALL_QUIESCE].error = EBUSY;
    close_client(s);
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, EBUSY);
    calls.behave[CALL_QUIESCE].error = 0;
    nr_attachments = 1;
    vfu_setup_device_ioas_cb(s->ctx, NULL);
    assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    assert_int_equal(calls_of(CALL_UNREGISTER), 1);
    assert_int_equal(calls_of(CALL_REGISTER), 0);
    assert_int_equal(attachments[0], a);
    close(fd);
}

static uint64_t expected_user_va;

static void ask_user_va(vfu_ctx_t *ctx, const struct call *entry)
{
    uint64_t user_va = 1;

    if (entry->kind == CALL_REGISTER || entry->kind == CALL_UNREGISTER) {
        assert_int_equal(vfu_dma_info_user_va(ctx, entry->record, &user_va), 0);
        assert_int_equal(user_va, expected_user_va);
        assert_int_equal(vfu_dma_info_user_va(ctx, &entry->info, &user_va), 0);
        assert_int_equal(user_va, expected_user_va);
    }
}

TEST(addresses_of_the_client)
{
    struct session *s = ioas_device();
    int fd = guest_file(4 * PS);
    uint32_t id = ioas_alloc(s);
    vfu_dma_info_t info;
    uint64_t user_va;

    ioas_attach(s, id);
    calls.hook = ask_user_va;
    expected_user_va = 0x700000000000 + PS;
    ioas_map(s, id, RW | FIXED, 0x10000, 2 * PS, PS, fd);
    assert_int_equal(calls_of(CALL_REGISTER), 1);
    info = call(CALL_REGISTER, 0)->info;
    assert_fails(vfu_dma_info_user_va(s->ctx, NULL, &user_va), EINVAL);
    assert_fails(vfu_dma_info_user_va(s->ctx, &info, NULL), EINVAL);
    expected_user_va += PS;
    ioas_copy(s, id, 0x10000 + PS, PS, id, RW | FIXED, 0x40000);
    calls.hook = NULL;
    ioas_detach(s);
    assert_fails(vfu_dma_info_user_va(s->ctx, &info, &user_va), ENOENT);
    ioas_attach(s, id);
    assert_int_equal(vfu_dma_info_user_va(s->ctx, &info, &user_va), 0);
    assert_int_equal(user_va, 0x700000000000 + PS);
    close(fd);
}

TEST(no_address_in_legacy_mode)
{
    struct session *s = unrealized();

    start(s);
    calls.hook = ask_user_va;
    expected_user_va = 0;
    dma_map(s, DMA_RW, 0, 0x10000, PS, -1);
    assert_int_equal(calls_of(CALL_REGISTER), 1);
    calls.hook = NULL;
}

/* Neither a callback nor a descriptor is left when the context goes with everything in use. */
TEST(destroying)
{
    struct session *s = ioas_device();
    int fd = guest_file(4 * PS);
    uint32_t a = ioas_alloc(s), b = ioas_alloc(s);

    ioas_attach(s, a);
    ioas_map(s, a, RW, 0, PS, 0, fd);
    ioas_map(s, b, RW, 0, PS, 0, fd);
    clear_calls();
    end_session(s);
    assert_int_equal(calls_of(CALL_UNREGISTER), 1);
    assert_int_equal(calls_of(CALL_RESET), 1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(without_a_call_it_is_there),
        CASE(policy_arguments),
        CASE(off),
        CASE(required),
        CASE(malformed_offer),
        CASE(opaque_addresses),
        CASE(own_allocator),
        CASE(attaching),
        CASE(addresses_of_the_client),
        CASE(no_address_in_legacy_mode),
        CASE(destroying),
    };

    return RUN(tests);
}
