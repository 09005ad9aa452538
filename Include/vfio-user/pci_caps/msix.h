/* MSI-X, standard capability PCI_CAP_ID_MSIX. Table and pending bits themselves lie in the device's BARs. */
#ifndef LIB_VFIO_USER_PCI_CAPS_MSIX_H
#define LIB_VFIO_USER_PCI_CAPS_MSIX_H

#include "common.h"

#include <linux/pci_regs.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"

/** Message Control. */
struct mxc {
    uint16_t ts:11; /**< Number of table entries minus 1. */
    uint16_t reserved:3;
    uint16_t fm:1;  /**< All vectors are masked. */
    uint16_t mxe:1; /**< MSI-X enabled. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct mxc) == 2, "size of struct mxc");

/** Where the table is. */
struct mtab {
    uint32_t tbir:3; /**< Index of its BAR. */
    uint32_t to:29;  /**< Offset in that BAR, in units of 8 bytes. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct mtab) == 4, "size of struct mtab");

/** Where the pending bit array is. */
struct mpba {
    uint32_t pbir:3;  /**< Index of its BAR. */
    uint32_t pbao:29; /**< Offset in that BAR, in units of 8 bytes. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct mpba) == 4, "size of struct mpba");

/** The capability. Unlike the others it is aligned, to 4 bytes. */
struct msixcap {
    struct cap_hdr hdr;
    struct mxc mxc;
    struct mtab mtab;
    struct mpba mpba;
} __attribute__((packed, aligned(4)));
VFIO_USER_STATIC_ASSERT(sizeof(struct msixcap) == PCI_CAP_MSIX_SIZEOF, "size of struct msixcap");
VFIO_USER_STATIC_ASSERT(offsetof(struct msixcap, mxc) == PCI_MSIX_FLAGS, "offset of msixcap.mxc");
VFIO_USER_STATIC_ASSERT(offsetof(struct msixcap, mtab) == PCI_MSIX_TABLE, "offset of msixcap.mtab");
VFIO_USER_STATIC_ASSERT(offsetof(struct msixcap, mpba) == PCI_MSIX_PBA, "offset of msixcap.mpba");

#pragma GCC diagnostic pop

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_MSIX_H */
