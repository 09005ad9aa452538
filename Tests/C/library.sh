#!/bin/sh
# What an installed library is to a C program: its name, its symbols, what it needs, and that a plain program links with
# pkg-config and runs.
#
#   Tests/C/library.sh PREFIX
set -eu

prefix=${1:?usage: library.sh PREFIX}
library=$prefix/lib/libvfio-user.so.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

check() {
    name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name" >&2
    fi
}

cat >"$work/expected" <<'LIST'
dma_sg_size
vfu_addr_to_sgl
vfu_attach_ctx
vfu_create_ctx
vfu_create_ioeventfd
vfu_destroy_ctx
vfu_device_quiesced
vfu_dma_info_user_va
vfu_get_poll_fd
vfu_get_private
vfu_iommufd_attached_ioas
vfu_iommufd_in_use
vfu_irq_trigger
vfu_log
vfu_pci_add_capability
vfu_pci_find_capability
vfu_pci_find_next_capability
vfu_pci_get_config_space
vfu_pci_init
vfu_pci_set_class
vfu_pci_set_id
vfu_realize_ctx
vfu_run_ctx
vfu_setup_device_dma
vfu_setup_device_guard_dma
vfu_setup_device_ioas_cb
vfu_setup_device_iommufd
vfu_setup_device_iova_allocator
vfu_setup_device_iova_limits
vfu_setup_device_migration_callbacks
vfu_setup_device_nr_irqs
vfu_setup_device_quiesce_cb
vfu_setup_device_require_sealed
vfu_setup_device_reset_cb
vfu_setup_irq_state_callback
vfu_setup_log
vfu_setup_region
vfu_sg_is_mappable
vfu_sgl_get
vfu_sgl_mark_dirty
vfu_sgl_put
vfu_sgl_read
vfu_sgl_write
LIST

same_symbols() {
    nm -D --defined-only "$library" | awk '$2 ~ /^[A-Z]$/ {print $3}' | LC_ALL=C sort >"$work/exported"
    diff "$work/expected" "$work/exported"
}

dynamic() { readelf -d "$library" | sed -n "s/.*($1).*\[\(.*\)\]/\1/p"; }

has_soname() { [ "$(dynamic SONAME)" = libvfio-user.so.0 ]; }

needs_little() {
    dynamic NEEDED | while read -r name; do
        case $name in
        libc.so.* | libm.so.* | libjson-c.so.* | ld-linux*) ;;
        *) echo "needs $name"; exit 1 ;;
        esac
    done
}

links_and_runs() {
    cat >"$work/program.c" <<'PROGRAM'
#include <stdio.h>
#include <vfio-user/libvfio-user.h>

int
main(int argc, char **argv)
{
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, argv[argc - 1], LIBVFIO_USER_FLAG_ATTACH_NB, NULL,
                                    VFU_DEV_TYPE_PCI);

    if (ctx == NULL || vfu_realize_ctx(ctx) != 0 || vfu_get_poll_fd(ctx) < 0) {
        return 1;
    }
    vfu_destroy_ctx(ctx);
    return 0;
}
PROGRAM
    export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
    # shellcheck disable=SC2046 # words
    cc -Wall -Werror "$work/program.c" -o "$work/program" $(pkg-config --cflags --libs vfio-user) &&
        env -i LD_LIBRARY_PATH="$prefix/lib" "$work/program" "$work/socket" && [ ! -e "$work/socket" ]
}

check 'exactly the 34 symbols of libvfio-user and the 9 of vfu-ext.h' same_symbols
check 'soname libvfio-user.so.0' has_soname
check 'needs no library of Swift or C++' needs_little
check 'a C program links and runs' links_and_runs

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
