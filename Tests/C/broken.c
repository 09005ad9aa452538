/*
 * Programs that break the rules, which a sanitizer has to notice in the library. Tests/C/sanitize.sh runs them one by
 * one to see that it does; they are no tests of the library.
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_bool over;

static void *translate(void *ctx)
{
    while (!over) {
        char entry[64];

        vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)PS, 1, (dma_sg_t *)entry, 1, PROT_READ);
    }
    return NULL;
}

/* A device that is told to stop, and does not. */
TEST(race)
{
    struct session *s = new_session();
    int fd = guest_file(PS);
    pthread_t thread;

    assert_true(dma_sg_size() <= 64);
    use_dma(s);
    use_quiesce_and_reset(s);
    start(s);
    assert_int_equal(pthread_create(&thread, NULL, translate, s->ctx), 0);
    for (int i = 0; i < 200; i++) {
        dma_map(s, DMA_RW, 0, PS, PS, fd);
        dma_unmap(s, PS, PS);
    }
    over = true;
    pthread_join(thread, NULL);
    close(fd);
}

TEST(use_after_destroy)
{
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, temp_path("broken"), 0, NULL, VFU_DEV_TYPE_PCI);

    assert_non_null(ctx);
    vfu_destroy_ctx(ctx);
    assert_null(vfu_get_private(ctx));
}

TEST(leak)
{
    assert_non_null(vfu_create_ctx(VFU_TRANS_SOCK, temp_path("broken"), 0, NULL, VFU_DEV_TYPE_PCI));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(race),
        CASE(use_after_destroy),
        CASE(leak),
    };

    return RUN(tests);
}
