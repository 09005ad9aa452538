/*
 * PCI Express, standard capability PCI_CAP_ID_EXP, version 2 layout.
 *
 * Registers that the library passes over without looking at their bits are a single field called `stuff`.
 */
#ifndef LIB_VFIO_USER_PCI_CAPS_PX_H
#define LIB_VFIO_USER_PCI_CAPS_PX_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"

/** PCI Express Capabilities. */
struct pxcaps {
    uint16_t ver:4;  /**< Version of the capability, 2 for this layout. */
    uint16_t dpt:4;  /**< Device or port type, PCI_EXP_TYPE_*. */
    uint16_t si:1;   /**< A slot is implemented. */
    uint16_t imn:5;  /**< MSI or MSI-X vector used by this capability. */
    uint16_t res1:2;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxcaps) == 2, "size of struct pxcaps");

/** Device Capabilities. */
struct pxdcap {
    uint32_t mps:3;   /**< Largest payload: 128 << mps bytes. */
    uint32_t pfs:2;   /**< Phantom functions. */
    uint32_t etfs:1;  /**< Extended tags. */
    uint32_t l0sl:3;  /**< Acceptable L0s latency. */
    uint32_t l1l:3;   /**< Acceptable L1 latency. */
    uint32_t res1:3;
    uint32_t rer:1;   /**< Role-based error reporting. */
    uint32_t res2:2;
    uint32_t csplv:8; /**< Captured slot power limit, value. */
    uint32_t cspls:2; /**< Captured slot power limit, scale. */
    uint32_t flrc:1;  /**< Function-level reset: without it a client cannot start one. */
    uint32_t res3:3;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxdcap) == 4, "size of struct pxdcap");

/** Device Control. */
union pxdc {
    uint16_t raw;
    struct {
        uint16_t cere:1;  /**< Report correctable errors. */
        uint16_t nfere:1; /**< Report non-fatal errors. */
        uint16_t fere:1;  /**< Report fatal errors. */
        uint16_t urre:1;  /**< Report unsupported requests. */
        uint16_t ero:1;   /**< Relaxed ordering allowed. */
        uint16_t mps:3;   /**< Payload limit: 128 << mps bytes. */
        uint16_t ete:1;   /**< Extended tags. */
        uint16_t pfe:1;   /**< Phantom functions. */
        uint16_t appme:1; /**< Auxiliary power PM. */
        uint16_t ens:1;   /**< No-snoop allowed. */
        uint16_t mrrs:3;  /**< Read request limit: 128 << mrrs bytes. */
        uint16_t iflr:1;  /**< Writing 1 starts a function-level reset; reads as 0. */
    } __attribute__((packed));
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(union pxdc) == 2, "size of union pxdc");

/** Device Status. */
struct pxds {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxds) == 2, "size of struct pxds");

/** Link Capabilities. */
struct pxlcap {
    uint32_t stuff:32;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxlcap) == 4, "size of struct pxlcap");

/** Link Control. */
union pxlc {
    uint16_t raw;
    struct {
        uint16_t aspmc:2; /**< Active state power management: bit 0 L0s, bit 1 L1. */
        uint16_t rsvdp1:1;
        uint16_t rcb:1;   /**< Read completion boundary: 64 or 128 bytes. */
        uint16_t ld:1;    /**< Link disabled. */
        uint16_t rl:1;    /**< Retrain link. */
        uint16_t ccc:1;   /**< Common clock. */
        uint16_t es:1;    /**< Extended synch. */
        uint16_t clkreq_en:1; /**< Clock power management. */
        uint16_t hawd:1;  /**< Hardware may not change the width by itself. */
        uint16_t lbmie:1; /**< Interrupt on a bandwidth management event. */
        uint16_t labie:1; /**< Interrupt on an autonomous bandwidth change. */
        uint16_t rsvdp2:4;
    } __attribute__((packed));
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(union pxlc) == 2, "size of union pxlc");

/** Link Status. */
struct pxls {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxls) == 2, "size of struct pxls");

/** Slot Capabilities. */
struct pxscap {
    uint32_t stuff:32;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxscap) == 4, "size of struct pxscap");

/** Slot Control. */
struct pxsc {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxsc) == 2, "size of struct pxsc");

/** Slot Status. */
struct pxss {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxss) == 2, "size of struct pxss");

/** Root Control. */
struct pxrc {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxrc) == 2, "size of struct pxrc");

/** Root Capabilities. */
struct pxrcap {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxrcap) == 2, "size of struct pxrcap");

/** Root Status. */
struct pxrs {
    uint32_t stuff:32;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxrs) == 4, "size of struct pxrs");

/** Device Capabilities 2. */
struct pxdcap2 {
    uint32_t ctrs:4;   /**< Completion timeout ranges. */
    uint32_t ctds:1;   /**< Completion timeout can be disabled. */
    uint32_t arifs:1;  /**< ARI forwarding. */
    uint32_t aors:1;   /**< AtomicOp routing. */
    uint32_t aocs32:1; /**< 32-bit AtomicOp completer. */
    uint32_t aocs64:1; /**< 64-bit AtomicOp completer. */
    uint32_t ccs128:1; /**< 128-bit compare-and-swap completer. */
    uint32_t nprpr:1;  /**< No relaxed ordering between peers. */
    uint32_t ltrs:1;   /**< Latency tolerance reporting. */
    uint32_t tphcs:2;  /**< TPH completer. */
    uint32_t ln:2;     /**< Lightweight notification system cache line. */
    uint32_t tcs:1;    /**< 10-bit tag completer. */
    uint32_t trs:1;    /**< 10-bit tag requester. */
    uint32_t obffs:2;  /**< Optimized buffer flush/fill. */
    uint32_t effs:1;   /**< Extended Fmt field. */
    uint32_t eetps:1;  /**< End-to-end TLP prefixes. */
    uint32_t meetp:2;  /**< How many of those at most. */
    uint32_t eprs:2;   /**< Emergency power reduction. */
    uint32_t eprir:1;  /**< Emergency power reduction needs initialisation. */
    uint32_t res1:1;
    uint32_t dmwcs:1;  /**< Deferrable memory write completer. */
    uint32_t dmwls:2;  /**< Deferrable memory write lengths. */
    uint32_t frss:1;   /**< Function readiness status. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxdcap2) == 4, "size of struct pxdcap2");

/** Device Control 2. */
union pxdc2 {
    uint16_t raw;
    struct {
        uint32_t comp_timeout:4;    /**< Completion timeout range. */
        uint32_t comp_timout_dis:1; /**< No completion timeout. */
        uint32_t ari:1;
        uint32_t atomic_req:1;
        uint32_t atomic_egress_block:1;
        uint32_t ido_req_en:1;      /**< ID-based ordering of requests. */
        uint32_t ido_cmp_en:1;      /**< ID-based ordering of completions. */
        uint32_t ltr_en:1;
        uint32_t obff_en:2;
        uint32_t end_end_tlp_prefix_block:1;
    } __attribute__((packed));
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(union pxdc2) == 2, "size of union pxdc2");

/** Device Status 2. */
struct pxds2 {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxds2) == 2, "size of struct pxds2");

/** Link Capabilities 2. */
struct pxlcap2 {
    uint32_t stuff:32;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxlcap2) == 4, "size of struct pxlcap2");

/** Link Control 2. */
struct pxlc2 {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxlc2) == 2, "size of struct pxlc2");

/** Link Status 2. */
struct pxls2 {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxls2) == 2, "size of struct pxls2");

/** Slot Capabilities 2. */
struct pxscap2 {
    uint32_t stuff:32;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxscap2) == 4, "size of struct pxscap2");

/** Slot Control 2. */
struct pxsc2 {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxsc2) == 2, "size of struct pxsc2");

/** Slot Status 2. */
struct pxss2 {
    uint16_t stuff:16;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxss2) == 2, "size of struct pxss2");

/** Size of the layout below; the kernel's headers have no name for it. */
#define VFIO_USER_PCI_CAP_EXP_SIZEOF 0x3c

/** The capability: each register is named after its type. */
struct pxcap {
    struct cap_hdr hdr;
    struct pxcaps pxcaps;
    struct pxdcap pxdcap;
    union pxdc pxdc;
    struct pxds pxds;
    struct pxlcap pxlcap;
    union pxlc pxlc;
    struct pxls pxls;
    struct pxscap pxscap;
    struct pxsc pxsc;
    struct pxss pxss;
    struct pxrc pxrc;
    struct pxrcap pxrcap;
    struct pxrs pxrs;
    struct pxdcap2 pxdcap2;
    union pxdc2 pxdc2;
    struct pxds2 pxds2;
    struct pxlcap2 pxlcap2;
    struct pxlc2 pxlc2;
    struct pxls2 pxls2;
    struct pxscap2 pxscap2;
    struct pxsc2 pxsc2;
    struct pxss2 pxss2;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct pxcap) == VFIO_USER_PCI_CAP_EXP_SIZEOF, "size of struct pxcap");
VFIO_USER_STATIC_ASSERT(offsetof(struct pxcap, pxdc) == PCI_EXP_DEVCTL, "offset of pxcap.pxdc");
VFIO_USER_STATIC_ASSERT(offsetof(struct pxcap, pxdc2) == PCI_EXP_DEVCTL2, "offset of pxcap.pxdc2");

#pragma GCC diagnostic pop

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_PCI_CAPS_PX_H */
