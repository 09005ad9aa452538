/* Message Signalled Interrupts, standard capability PCI_CAP_ID_MSI. */
#ifndef LIB_VFIO_USER_PCI_CAPS_MSI_H
#define LIB_VFIO_USER_PCI_CAPS_MSI_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"

/** Message Control. */
struct mc {
    unsigned int msie:1; /**< MSI enabled. */
    unsigned int mmc:3;  /**< The device can send 2^mmc messages, mmc at most 5. */
    unsigned int mme:3;  /**< The driver allows 2^mme of them. */
    unsigned int c64:1;  /**< The address has 64 bits. */
    unsigned int pvm:1;  /**< Vectors can be masked one by one. */
    unsigned int res1:7;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct mc) == 2, "size of struct mc");

/** Message Address, low dword. */
struct ma {
    unsigned int res1:2;
    unsigned int addr:30; /**< Bits 31:2 of the address. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct ma) == 4, "size of struct ma");

/** Size of the layout below; the kernel's headers have no name for it. */
#define VFIO_USER_PCI_CAP_MSI_SIZEOF 0x18

/** The longest MSI layout, whatever c64 and pvm say: 64-bit address and a mask bit per vector. */
struct msicap {
    struct cap_hdr hdr;
    struct mc mc;
    struct ma ma;
    uint32_t mua;     /**< Message Upper Address. */
    uint16_t md;      /**< Message Data. */
    uint16_t padding;
    uint32_t mmask;   /**< A set bit masks its vector. */
    uint32_t mpend;   /**< A set bit: the vector is pending while masked. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct msicap) == VFIO_USER_PCI_CAP_MSI_SIZEOF, "size of struct msicap");

#pragma GCC diagnostic pop

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_MSI_H */
