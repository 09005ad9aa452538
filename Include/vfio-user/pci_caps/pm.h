/* Power Management, standard capability PCI_CAP_ID_PM. */
#ifndef LIB_VFIO_USER_PCI_CAPS_PM_H
#define LIB_VFIO_USER_PCI_CAPS_PM_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"

/** Power Management Capabilities. */
struct pc {
    uint16_t vs:3;   /**< Version of the power management specification. */
    uint16_t pmec:1; /**< PME# needs the PCI clock. */
    uint16_t res:1;
    uint16_t dsi:1;  /**< The device needs its own initialisation after D0uninitialized. */
    uint16_t auxc:3; /**< Auxiliary current needed in D3cold. */
    uint16_t d1s:1;  /**< D1 supported. */
    uint16_t d2s:1;  /**< D2 supported. */
    uint16_t psup:5; /**< States that can assert PME#: D0, D1, D2, D3hot, D3cold from the low bit up. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pc) == 2, "size of struct pc");

/** Power Management Control/Status. */
struct pmcs {
    union {
        uint16_t raw;
        struct {
            uint16_t ps:2;     /**< Power state, 0 is D0 and 3 is D3hot. */
            uint16_t res1:1;
            uint16_t nsfrst:1; /**< Leaving D3hot does not reset the device. */
            uint16_t res2:4;
            uint16_t pmee:1;   /**< PME# enabled. */
            uint16_t dse:4;    /**< Which figure the data register shows. */
            uint16_t dsc:2;    /**< Unit of the data register. */
            uint16_t pmes:1;   /**< PME# asserted. */
        } __attribute__((packed));
    } __attribute__((packed));
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pmcs) == 2, "size of struct pmcs");

/** The capability. Clients may write pmcs and nothing else. */
struct pmcap {
    struct cap_hdr hdr;
    struct pc pc;
    struct pmcs pmcs;
    uint8_t pmcsr_bse; /**< PCI bridge extensions. */
    uint8_t data;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pmcap) == PCI_PM_SIZEOF, "size of struct pmcap");

#pragma GCC diagnostic pop

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_PM_H */
