/*
 * Messages made by chance: whatever comes, every complete message is answered, the server goes on, and nothing
 * leaks. VFU_TEST_SEED repeats a run.
 */
#include "support.h"
#include "full_device.h"

static uint64_t seed;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void choose_seed(void)
{
    const char *given = getenv("VFU_TEST_SEED");

    seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)getpid() * UINT64_C(0x9e3779b97f4a7c15);
    seed = seed != 0 ? seed : 1;
    print_message("# VFU_TEST_SEED=%#llx\n", (unsigned long long)seed);
}

/* Every command with every length of payload, of zeros and of ones, with and without fds. */
TEST(every_command_with_every_length)
{
    struct session *s;
    uint8_t body[96];
    size_t fds;
    const int pair[2] = {0, 1};

    NOT_ON_REFERENCE(UNSAFE);
    s = full_device();
    fds = fd_count();
    for (uint16_t cmd = 0; cmd <= VFIO_USER_MAX + 20; cmd++) {
        for (size_t size = 0; size <= sizeof(body); size++) {
            for (unsigned variant = 0; variant < 4; variant++) {
                uint16_t id;

                memset(body, variant & 1 ? 0xff : 0, sizeof(body));
                id = send_request_fds(s, cmd, body, size, pair, variant & 2 ? 2 : 0);
                answered(s, id, cmd);
                assert_int_equal(fd_count(), fds);
            }
        }
        assert_in_step(s);
    }
    lose_client(s);
    connect_client(s);
    assert_serving(s);
}

static const uint64_t interesting[] = {
    0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 20, 24, 31, 32, 40, 48, 63, 64, 255, 256, 4095, 4096, 4097, 0x10000, 0x11000,
    0x20000, 1048575, 1048576, 1048577, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff, 0x100000000, 0x1ffffffff,
    0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, 0xfffffffffffffff0, 0xffffffffffffffff,
};

static uint64_t interesting_number(void)
{
    return interesting[next_random() % ARRAY_LEN(interesting)];
}

/* Sizes of DMA regions are kept small, as a log of gigabytes by the byte would be no bug but slow. */
static uint64_t region_size(void)
{
    static const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, 8192, 0x10000, 0x80000000001, UINT64_MAX - 4095,
                                     UINT64_MAX};

    return sizes[next_random() % ARRAY_LEN(sizes)];
}

/* Requests that are right but for some numbers. */
static size_t compose(uint16_t cmd, uint8_t *body, size_t capacity)
{
    const size_t least[] = {8, 4, 32, 24, 16, 32, 16, 16, 20, 16, 24, 16, 16, 0, 8, 32, 8, 8, 12, 16};
    size_t size = least[cmd % ARRAY_LEN(least)];
    uint32_t words[16];

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        words[i] = (uint32_t)interesting_number();
    }
    memcpy(body, words, sizeof(words));
    if (next_random() % 4 == 0) {
        size += next_random() % 48;
    }
    if (next_random() % 16 == 0) {
        size = next_random() % capacity;
    }
    switch (cmd) {
    case VFIO_USER_DMA_MAP:
    case VFIO_USER_DMA_UNMAP: {
        uint64_t addr = interesting_number(), length = region_size();

        memcpy(body, ((uint32_t[]){64, (uint32_t)next_random() & 0xf}), 8);
        if (cmd == VFIO_USER_DMA_MAP) {
            memcpy(body + 16, &addr, 8);
            memcpy(body + 24, &length, 8);
        } else {
            memcpy(body + 8, &addr, 8);
            memcpy(body + 16, &length, 8);
            if (next_random() % 2 == 0) {
                const uint64_t bitmap[2] = {interesting_number(), interesting_number()};

                memcpy(body + 24, bitmap, sizeof(bitmap));
                size = 40;
            }
        }
        break;
    }
    case VFIO_USER_DEVICE_SET_IRQS:
        words[0] = 64;
        words[1] = (uint32_t)next_random() & 0x3f;
        words[2] = (uint32_t)next_random() % 6;
        memcpy(body, words, 12);
        break;
    case VFIO_USER_REGION_READ:
    case VFIO_USER_REGION_WRITE: {
        const uint64_t offset = next_random() % 2 ? interesting_number() : next_random() % 320;
        uint32_t where[2] = {next_random() % 2 ? CONFIG : (uint32_t)next_random() % 10,
                             next_random() % 8 ? (uint32_t)next_random() % 64 : (uint32_t)interesting_number()};

        /* The client does not read while it waits, so replies must fit into the socket. */
        if (where[1] > 0x10000 && where[1] <= MAX_DATA) {
            where[1] = 0x10000;
        }
        memcpy(body, &offset, 8);
        memcpy(body + 8, where, 8);
        if (where[1] <= 64 && cmd == VFIO_USER_REGION_WRITE) {
            size = 16 + where[1];
        }
        break;
    }
    case VFIO_USER_DEVICE_FEATURE: {
        static const uint32_t features[] = {1, 2, 6, 7, 8};
        const uint32_t head[2] = {next_random() % 4 ? 4096 : (uint32_t)interesting_number(),
                                  features[next_random() % 5] | (uint32_t)(1 + next_random() % 7) << 16};

        memcpy(body, head, 8);
        if ((head[1] & 0xffff) == VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) {
            const uint32_t state = next_random() % 4 ? VFIO_USER_DEVICE_STATE_RUNNING : (uint32_t)next_random() % 9;

            memcpy(body + 8, &state, 4);
            size = 16;
        } else if (next_random() % 2 == 0) {
            const uint64_t report[3] = {interesting_number(), region_size(), interesting_number()};

            memcpy(body + 8, report, sizeof(report));
            size = 32;
        }
        break;
    }
    default:
        break;
    }
    return size < capacity ? size : capacity;
}

TEST(almost_valid_requests)
{
    struct session *s;
    uint8_t body[160];
    int fd;
    size_t fds, good = 0;

    NOT_ON_REFERENCE(UNSAFE);
    choose_seed();
    s = full_device();
    fd = guest_file(0x20000);
    fds = fd_count();
    for (int i = 0; i < 30000; i++) {
        const uint16_t cmd = (uint16_t)(next_random() % 20);
        const int sent[3] = {fd, fd, fd};
        uint16_t id;
        size_t size;

        memset(body, 0, sizeof(body));
        size = compose(cmd, body, sizeof(body));
        id = send_request_fds(s, cmd, body, size, sent, next_random() % 2 ? 0 : next_random() % 4);
        good += answered(s, id, cmd) ? 1 : 0;
        if (i % 500 == 499) {
            assert_in_step(s);
            lose_client(s);
            drop_reply(s);
            assert_int_equal(fd_count(), fds - 2);
            assert_int_equal(guest_mapping_count(), 0);
            (void)vfu_setup_device_migration_callbacks(s->ctx, &migration_callbacks); /* back to RUNNING */
            calls.count = 0;
            connect_client_with(s, SMALL_JSON);
        }
    }
    /* Not all of it was refused at the door. */
    assert_true(good > 1000);
    close(fd);
}

/* No messages at all, just bytes. */
TEST(random_bytes)
{
    struct session *s;

    NOT_ON_REFERENCE(UNSAFE);
    choose_seed();
    s = full_device();
    for (int i = 0; i < 200; i++) {
        uint64_t bytes[512];

        for (size_t n = 0; n < ARRAY_LEN(bytes); n++) {
            bytes[n] = next_random();
        }
        assert_true(send(s->client, bytes, 1 + next_random() % sizeof(bytes), MSG_NOSIGNAL) > 0);
        for (int n = 0; n < 600 && run(s) > 0; n++) {
        }
        assert_true(s->result >= 0);
        lose_client(s);
        calls.count = 0;
        connect_client(s);
        assert_serving(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_command_with_every_length),
        CASE(almost_valid_requests),
        CASE(random_bytes),
    };
    return RUN(tests);
}
