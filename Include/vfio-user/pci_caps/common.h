/*
 * PCI capability headers: what every entry of the standard and of the extended capability list begins with.
 *
 * Bit-fields are allocated from bit 0 upwards, as on every Linux target with little-endian byte order.
 */
#ifndef LIB_VFIO_USER_PCI_CAPS_COMMON_H
#define LIB_VFIO_USER_PCI_CAPS_COMMON_H

#include <linux/pci_regs.h>
#include <stddef.h>
#include <stdint.h>

/* Layout checks that C11 and C++11 both accept. */
#ifndef VFIO_USER_STATIC_ASSERT
#ifdef __cplusplus
#define VFIO_USER_STATIC_ASSERT(condition, message) static_assert(condition, message)
#else
#define VFIO_USER_STATIC_ASSERT(condition, message) _Static_assert(condition, message)
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Narrow bit-fields, flexible arrays, unnamed members: in C or in C++, these are extensions. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"

/** The first two bytes of a standard capability. */
struct cap_hdr {
    uint8_t id;   /**< PCI_CAP_ID_* */
    uint8_t next; /**< Config-space offset of the next capability, 0 at the end; filled in by the library. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct cap_hdr) == 2, "size of struct cap_hdr");
VFIO_USER_STATIC_ASSERT(offsetof(struct cap_hdr, id) == PCI_CAP_LIST_ID, "offset of cap_hdr.id");
VFIO_USER_STATIC_ASSERT(offsetof(struct cap_hdr, next) == PCI_CAP_LIST_NEXT, "offset of cap_hdr.next");

/** Vendor-specific standard capability, PCI_CAP_ID_VNDR. */
struct vsc {
    struct cap_hdr hdr;
    uint8_t size;   /**< Length of the whole capability in bytes, these three included. */
    uint8_t data[]; /**< size - 3 bytes that only the vendor can interpret. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vsc) == 3, "size of struct vsc");

/** The first four bytes of an extended capability. */
struct pcie_ext_cap_hdr {
    uint32_t id:16;     /**< PCI_EXT_CAP_ID_* */
    uint32_t version:4; /**< Version of the capability's layout; kept by the library. */
    uint32_t next:12;   /**< Config-space offset of the next one, 0 at the end; filled in by the library. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pcie_ext_cap_hdr) == 4, "size of struct pcie_ext_cap_hdr");

/** Vendor-specific extended capability, PCI_EXT_CAP_ID_VNDR. */
struct pcie_ext_cap_vsc_hdr {
    struct pcie_ext_cap_hdr hdr;
    uint32_t id:16; /**< The vendor's own id of the structure. */
    uint32_t rev:4; /**< The vendor's revision of it. */
    uint32_t len:12; /**< Length of the whole capability in bytes, these eight included. */
    uint8_t data[];
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pcie_ext_cap_vsc_hdr) == 8, "size of struct pcie_ext_cap_vsc_hdr");

#pragma GCC diagnostic pop

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_COMMON_H */
