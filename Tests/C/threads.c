/*
 * Client memory used by two I/O threads while the thread of the context serves requests. Requests that change memory
 * quiesce the device first: the I/O threads stop before they are carried out, at once or later. Most of what could go
 * wrong is for ThreadSanitizer to see.
 */
#include "io_threads.h"

#define BAR0 VFU_PCI_DEV_BAR0_REGION_IDX
#define ROUNDS 300

static unsigned mappings; /* so far */
static bool logging;

static struct session *device(bool later)
{
    struct session *s = new_session();

    memset(mapped, 0, sizeof(mapped));
    logging = false;
    quiesces_later = later;
    use_dma(s);
    use_region(s, BAR0, 0x1000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM);
    assert_int_equal(vfu_pci_init(s->ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0), 0);
    vfu_setup_device_quiesce_cb(s->ctx, quiesce_workers);
    start(s);
    use_migration(s);
    return s;
}

static void toggle_mapping(struct session *s, unsigned region, int fd)
{
    if (mapped[region] != 0) {
        struct vfio_user_dma_unmap body;

        dma_unmap_body(&body, 0, address(region, 0), PAGES * PS);
        change(s, VFIO_USER_DMA_UNMAP, &body, sizeof(body), -1);
        mapped[region] = 0;
    } else {
        const struct vfio_user_dma_map body = dma_map_body(
            DMA_RW | (region == FILE_REGION ? DMA_FILE : DMA_MMAP), region * PAGES * PS, address(region, 0), PAGES * PS);

        change(s, VFIO_USER_DMA_MAP, &body, sizeof(body), fd);
        mapped[region] = ++mappings;
    }
    open_gate();
}

static void toggle_logging(struct session *s)
{
    const struct {
        struct vfio_user_device_feature head;
        struct control control;
    } start = {{24, FEATURE_SET(START)}, {PS, 0, 0}};
    const struct vfio_user_device_feature stop = {8, FEATURE_SET(STOP)};

    if (logging) {
        change(s, VFIO_USER_DEVICE_FEATURE, &stop, sizeof(stop), -1);
    } else {
        change(s, VFIO_USER_DEVICE_FEATURE, &start, sizeof(start), -1);
    }
    logging = !logging;
    for (unsigned number = 0; number < WORKERS; number++) {
        memset(workers[number].written, 0, sizeof(workers[number].written));
    }
    open_gate();
}

static void lose_client_and_workers(struct session *s)
{
    close_client(s);
    if (quiesces_later) {
        assert_int_equal(run(s), -1);
        assert_int_equal(s->run_errno, EBUSY);
        wait_until_nobody_is_inside();
        assert_int_equal(vfu_device_quiesced(s->ctx, 0), 0);
    }
    assert_int_equal(run(s), -1);
    assert_int_equal(s->run_errno, ENOTCONN);
    memset(mapped, 0, sizeof(mapped));
    open_gate();
}

static void memory_comes_and_goes(bool later)
{
    struct session *s = device(later);
    int fd = guest_file(REGIONS * PAGES * PS);
    struct worker chance = {.random = 42};

    start_workers(s->ctx);
    for (unsigned round = 0; round < ROUNDS; round++) {
        let_them_work();
        switch (below(&chance, 8)) {
        case 0:
            toggle_logging(s);
            break;
        case 1:
            change(s, VFIO_USER_DEVICE_RESET, NULL, 0, -1);
            open_gate();
            break;
        case 2: {
            const unsigned region = below(&chance, REGIONS);

            if (logging && mapped[region] != 0) {
                report(s, address(region, 0), PAGES * PS, PS);
            }
            break;
        }
        case 3:
            region_read(s, BAR0, 8, 4);
            break;
        default:
            toggle_mapping(s, below(&chance, REGIONS), fd);
            break;
        }
    }
    lose_client_and_workers(s);
    stop_workers();
    end_session(s);
    close(fd);
}

TEST(memory_comes_and_goes_at_once) { memory_comes_and_goes(false); }

TEST(memory_comes_and_goes_later) { memory_comes_and_goes(true); }

/* Every page that was written is in a report: those made meanwhile, or the one made when all is quiet. */
static void every_written_page_is_reported(bool later)
{
    struct session *s = device(later);
    int fd = guest_file(REGIONS * PAGES * PS);
    uint64_t reported[REGIONS];
    unsigned missing = 0, written = 0;

    for (unsigned region = 0; region < REGIONS; region++) {
        toggle_mapping(s, region, fd);
    }
    start_workers(s->ctx);
    for (unsigned turn = 0; turn < 20; turn++) {
        toggle_logging(s);
        memset(reported, 0, sizeof(reported));
        for (unsigned n = 0; n < 20; n++) {
            const unsigned region = n % REGIONS;

            let_them_work();
            reported[region] |= *report(s, address(region, 0), PAGES * PS, PS);
        }
        close_gate();
        wait_until_nobody_is_inside();
        for (unsigned region = 0; region < REGIONS; region++) {
            reported[region] |= *report(s, address(region, 0), PAGES * PS, PS);
            for (unsigned page = 0; page < PAGES; page++) {
                if (workers[page % WORKERS].written[region][page]) {
                    written++;
                    missing += (reported[region] >> page & 1) == 0;
                }
            }
        }
        toggle_logging(s);
    }
    stop_workers();
    assert_true(written > 0);
    assert_int_equal(missing, 0);
    end_session(s);
    close(fd);
}

TEST(every_written_page_is_reported_at_once) { every_written_page_is_reported(false); }

TEST(every_written_page_is_reported_later) { every_written_page_is_reported(true); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(memory_comes_and_goes_at_once),
        CASE(memory_comes_and_goes_later),
        CASE(every_written_page_is_reported_at_once),
        CASE(every_written_page_is_reported_later),
    };
    return RUN(tests);
}
