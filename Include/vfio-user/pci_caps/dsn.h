/* Device Serial Number, extended capability PCI_EXT_CAP_ID_DSN. */
#ifndef LIB_VFIO_USER_PCI_CAPS_DSN_H
#define LIB_VFIO_USER_PCI_CAPS_DSN_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A 64-bit serial number (IEEE EUI-64), low dword first. Clients can never write it. */
struct dsncap {
    struct pcie_ext_cap_hdr hdr;
    uint32_t sn_lo; /**< Bits 31:0. */
    uint32_t sn_hi; /**< Bits 63:32. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct dsncap) == PCI_EXT_CAP_DSN_SIZEOF, "size of struct dsncap");

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_DSN_H */
