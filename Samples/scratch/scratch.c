#include <err.h>
#include <errno.h>
#include <string.h>
#include <vfio-user/libvfio-user.h>

static char scratch[4096];

static ssize_t
bar0(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    (void)ctx;
    if (is_write)
        memcpy(scratch + offset, buf, count);
    else
        memcpy(buf, scratch + offset, count);
    return (ssize_t)count;
}

int
main(int argc, char **argv)
{
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, argv[argc - 1], 0, NULL, VFU_DEV_TYPE_PCI);

    if (ctx == NULL || vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, 0, 0) != 0)
        err(1, "%s", argv[argc - 1]);
    vfu_pci_set_id(ctx, 0x1b36, 0x0005, 0, 0);
    vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, sizeof(scratch), bar0,
                     VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0);
    if (vfu_realize_ctx(ctx) != 0)
        err(1, "realize");
    while (vfu_attach_ctx(ctx) == 0)
        vfu_run_ctx(ctx); /* until the client leaves */
    err(1, "attach");
}
