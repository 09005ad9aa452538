/* I/O address spaces: what requests and replies look like. */
#include "ioas.h"

struct sample {
    uint16_t cmd;
    size_t size;
    uint32_t words[12];
    uint32_t known_flags;
    int reserved, ids[2];
    bool takes_fd;
};

static const struct sample samples[] = {
    {VFIO_USER_IOMMUFD_ALLOC_IOAS, 16, {16}, 0, 3, {0}, false},
    {VFIO_USER_IOMMUFD_DESTROY_IOAS, 16, {16, 0, 2}, 0, 3, {2}, false},
    {VFIO_USER_IOMMUFD_IOAS_MAP, 48, {48, 3, 1, 0, 0, 0, 4096}, 7, 3, {2}, true},
    {VFIO_USER_IOMMUFD_IOAS_UNMAP, 32, {32, 0, 1, 0, 0x10000, 0, 4096}, 1, 3, {2}, false},
    {VFIO_USER_IOMMUFD_IOAS_COPY, 40, {40, 3, 1, 2, 0x20000, 0, 0, 0, 4096}, 7, 0, {2, 3}, false},
    {VFIO_USER_IOMMUFD_BIND, 16, {16}, 0, 0, {0}, false},
    {VFIO_USER_IOMMUFD_ATTACH_PT, 16, {16, 0, 1}, 1, 3, {2}, false},
    {VFIO_USER_IOMMUFD_DETACH_PT, 16, {16}, 1, 3, {0}, false},
    {VFIO_USER_IOMMUFD_IOVA_RANGES, 24, {24, 0, 1}, 0, 0, {2}, false},
    {VFIO_USER_IOMMUFD_COMPAT_IOAS, 16, {16, 0, 1, 1}, 0, 0, {3}, false},
};

/* 7: malformed requests. */
TEST(malformed_requests)
{
    struct session *s = ioas_device();
    int fds[2] = {guest_file(4 * PS)};

    fds[1] = fds[0];
    ioas_alloc(s);
    ioas_alloc(s);
    ioas_map(s, 1, RW | FIXED, 0x10000, PS, 0, fds[0]);
    ioas_map(s, 1, RW | FIXED, 0x20000, PS, 0, fds[0]);
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct sample *sample = &samples[i];
        size_t right = sample->takes_fd ? 1 : 0, open_fds = fd_count();
        uint32_t words[16];

        memset(words, 0, sizeof(words));
        memcpy(words, sample->words, sample->size);
        for (size_t size = 1; size < sample->size; size++) {
            request_fds_fails(s, sample->cmd, words, size, fds, right, EINVAL);
        }
        words[sample->size / 4] = 1; /* behind the struct */
        request_fds_fails(s, sample->cmd, words, sample->size + 4, fds, right, E2BIG);
        words[sample->size / 4] = 0;
        words[0] = (uint32_t)sample->size - 1;
        request_fds_fails(s, sample->cmd, words, sample->size, fds, right, EINVAL);
        words[0] = (uint32_t)sample->size;
        for (uint32_t bit = 1; bit != 0; bit <<= 1) {
            if ((sample->known_flags & bit) == 0) {
                words[1] = sample->words[1] | bit;
                request_fds_fails(s, sample->cmd, words, sample->size, fds, right, EINVAL);
            }
        }
        words[1] = sample->words[1];
        if (sample->reserved != 0) {
            words[sample->reserved] = 1;
            request_fds_fails(s, sample->cmd, words, sample->size, fds, right, EINVAL);
            words[sample->reserved] = 0;
        }
        for (size_t k = 0; k < 2 && sample->ids[k] != 0; k++) {
            words[sample->ids[k]] = 77;
            request_fds_fails(s, sample->cmd, words, sample->size, fds, right, ENOENT);
            words[sample->ids[k]] = sample->words[sample->ids[k]];
        }
        request_fds_fails(s, sample->cmd, words, sample->size, fds, right + 1, EINVAL);
        assert_int_equal(fd_count(), open_fds);
        assert_serving(s);
    }
    /* After all that each works, with zeros behind it and more room for the reply than it needs. */
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        uint32_t words[16] = {0};

        memcpy(words, samples[i].words, samples[i].size);
        words[0] += 1000;
        if (samples[i].cmd != VFIO_USER_IOMMUFD_DESTROY_IOAS) {
            request_fds(s, samples[i].cmd, words, samples[i].size + 12, fds, samples[i].takes_fd);
        }
    }
    close(fds[0]);
}

/* 8: sizes and contents of replies to a client that offers the capability alone. */
TEST(baseline_replies)
{
    static const size_t sizes[] = {16, 0, 48, 0, 0, 16, 0, 0};
    static const uint16_t order[] = {0, 0, 5, 2, 6, 3, 7, 1};
    struct session *s = new_session();
    int fd = guest_file(PS);
    uint64_t iova = 0;

    use_dma(s);
    realize(s);
    connect_client_with(s, BASELINE_JSON);
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        const struct sample *sample = &samples[order[i]];
        uint32_t words[12];
        struct reply *reply;

        memcpy(words, sample->words, sizeof(words));
        if (sample->cmd == VFIO_USER_IOMMUFD_IOAS_UNMAP) {
            memcpy(&words[4], &iova, 8);
        }
        reply = request_fds(s, sample->cmd, words, sample->size, &fd, sample->takes_fd);
        assert_int_equal(reply->size, sizes[order[i]]);
        if (reply->size > 0) {
            assert_memory_equal(reply->data, &words[0], 4);
        }
        if (sample->cmd == VFIO_USER_IOMMUFD_IOAS_MAP) {
            memcpy(&iova, reply->data + 32, 8);
        }
    }
    close(fd);
}

/* 7: commands and flags that were not granted. */
TEST(not_granted)
{
    static const size_t commands[] = {4, 8, 9};
    struct session *s = new_session();
    int fd = guest_file(PS);
    uint32_t id, words[12];

    use_dma(s);
    realize(s);
    connect_client_with(s, BASELINE_JSON);
    id = ioas_alloc(s);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct sample *sample = &samples[commands[i]];

        request_fails(s, sample->cmd, sample->words, sample->size, EOPNOTSUPP);
        request_fails(s, sample->cmd, sample->words, sample->size - 1, EINVAL);
        memcpy(words, sample->words, sample->size);
        words[1] = 0x80000000;
        request_fails(s, sample->cmd, words, sample->size, EOPNOTSUPP);
    }
    ioas_map_fails(s, id, RW | FIXED, 0x10000, PS, 0, fd, EOPNOTSUPP);
    ioas_map_fails(s, id, RW, 0, PS, 0, -1, EINVAL); /* without its file */
    for (size_t i = 6; i <= 7; i++) { /* PASID */
        memcpy(words, samples[i].words, samples[i].size);
        words[1] = 1;
        request_fails(s, samples[i].cmd, words, samples[i].size, EOPNOTSUPP);
    }
    dma_map_fails(s, DMA_RW, 0, 0x10000, PS, fd, EOPNOTSUPP);
    dma_unmap_fails(s, 0x10000, PS, EOPNOTSUPP);
    assert_int_equal(vfu_iommufd_attached_ioas(s->ctx, &id), -1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(malformed_requests),
        CASE(baseline_replies),
        CASE(not_granted),
    };

    return RUN(tests);
}
