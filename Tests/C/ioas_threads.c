/*
 * Two I/O threads use client memory while the client switches between address spaces, and maps and unmaps what they see.
 * At any time they see one space, all of it and nothing else.
 */
#include "io_threads.h"
#include "ioas.h"

#define ROUNDS 300
#define SPACES 2

static bool in_space[SPACES][REGIONS];
static uint32_t ids[SPACES];
static int attached; /* -1: none */

static bool belongs(int space, unsigned region) { return (int)region % SPACES == space; }

/* What the threads must find from now on. What was seen before is of no use even where the same is seen again. */
static void look_at(int space)
{
    static unsigned mappings;

    attached = space;
    for (unsigned region = 0; region < REGIONS; region++) {
        mapped[region] = space != -1 && in_space[space][region] ? ++mappings : 0;
    }
}

static void map_region(struct session *s, unsigned region, int fd)
{
    const struct vfio_user_iommufd_ioas_map body =
        ioas_map_body(ids[attached], RW | FIXED, address(region, 0), PAGES * PS, region * PAGES * PS);

    change(s, VFIO_USER_IOMMUFD_IOAS_MAP, &body, sizeof(body), fd);
}

static void unmap_region(struct session *s, unsigned region)
{
    const struct vfio_user_iommufd_ioas_unmap body =
        unmap_body(ids[attached], 0, address(region, 0), PAGES * PS);

    change(s, VFIO_USER_IOMMUFD_IOAS_UNMAP, &body, sizeof(body), -1);
}

static void attach(struct session *s, int space)
{
    const struct vfio_user_iommufd_attach_pt body = attach_body(ids[space]);

    change(s, VFIO_USER_IOMMUFD_ATTACH_PT, &body, sizeof(body), -1);
    look_at(space);
}

static void detach(struct session *s)
{
    const struct vfio_user_iommufd_detach_pt body = {.argsz = sizeof(body)};

    change(s, VFIO_USER_IOMMUFD_DETACH_PT, &body, sizeof(body), -1);
    look_at(-1);
}

static void toggle(struct session *s, unsigned region, int fd)
{
    static unsigned mappings = 1u << 31; /* numbers that look_at() does not give */

    if (in_space[attached][region]) {
        unmap_region(s, region);
    } else {
        map_region(s, region, fd);
    }
    in_space[attached][region] = !in_space[attached][region];
    mapped[region] = in_space[attached][region] ? ++mappings : 0;
}

static void spaces_are_switched(bool later)
{
    struct session *s = new_session();
    int fd = guest_file(REGIONS * PAGES * PS);
    struct worker chance = {.random = 7};

    quiesces_later = later;
    use_dma(s);
    vfu_setup_device_quiesce_cb(s->ctx, quiesce_workers);
    realize(s);
    connect_client_with(s, FULL_JSON);
    for (int space = 0; space < SPACES; space++) {
        ids[space] = ioas_alloc(s);
        for (unsigned region = 0; region < FILE_REGION; region++) {
            in_space[space][region] = belongs(space, region);
            if (belongs(space, region)) {
                ioas_map(s, ids[space], RW | FIXED, address(region, 0), PAGES * PS, region * PAGES * PS, fd);
            }
        }
    }
    look_at(-1);
    start_workers(s->ctx);
    for (unsigned round = 0; round < ROUNDS; round++) {
        calls.count = 0;
        let_them_work();
        if (attached == -1) {
            attach(s, (int)below(&chance, SPACES));
        } else if (below(&chance, 2) == 0) {
            toggle(s, below(&chance, FILE_REGION), fd);
        } else if (below(&chance, 4) == 0) {
            detach(s);
        } else {
            attach(s, (attached + 1) % SPACES);
        }
        open_gate();
    }
    stop_workers();
    end_session(s);
    close(fd);
}

TEST(spaces_are_switched_at_once) { spaces_are_switched(false); }

TEST(spaces_are_switched_later) { spaces_are_switched(true); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(spaces_are_switched_at_once),
        CASE(spaces_are_switched_later),
    };

    return RUN(tests);
}
