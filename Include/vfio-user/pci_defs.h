/*
 * PCI configuration space: the 64-byte type 0 header, register by register, and the space around it.
 *
 * Everything is packed, so a pointer to live config space can be used whatever its alignment. `raw` is a
 * register as a number; the other members are its fields, allocated from bit 0 upwards.
 */
#ifndef LIBVFIO_USER_PCI_DEFS_H
#define LIBVFIO_USER_PCI_DEFS_H

#include <linux/pci_regs.h>
#include <stdbool.h>
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

/** Values of vfu_bar_t.mem.locatable: the kernel's BAR type bits, moved down to bit 0. */
#define PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_32 (PCI_BASE_ADDRESS_MEM_TYPE_32 >> 1)
#define PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_1M (PCI_BASE_ADDRESS_MEM_TYPE_1M >> 1)
#define PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_64 (PCI_BASE_ADDRESS_MEM_TYPE_64 >> 1)

/** Number of BARs in a type 0 header. */
#define PCI_BARS_NR 6

/** Subsystem ids, offset 0x2c. */
typedef union {
    uint32_t raw;
    struct {
        uint16_t vid; /**< Subsystem vendor. */
        uint16_t sid; /**< Subsystem. */
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_ss_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_pci_hdr_ss_t) == 4, "size of vfu_pci_hdr_ss_t");

/** Built-in self test, offset 0x0f. */
typedef union {
    uint8_t raw;
} __attribute__((packed)) vfu_pci_hdr_bist_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_pci_hdr_bist_t) == 1, "size of vfu_pci_hdr_bist_t");

/** A base address register, offsets 0x10 to 0x27. */
typedef union {
    uint32_t raw;
    union {
        struct {
            unsigned int region_type:1;   /**< 0: memory space. */
            unsigned int locatable:2;     /**< PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_* */
            unsigned int prefetchable:1;
            unsigned int base_address:28; /**< Bits 31:4 of the address. */
        } __attribute__((packed)) mem;
        struct {
            unsigned int region_type:1;   /**< 1: I/O space. */
            unsigned int reserved:1;
            unsigned int base_address:30; /**< Bits 31:2 of the address. */
        } __attribute__((packed)) io;
    } __attribute__((packed));
} __attribute__((packed)) vfu_bar_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_bar_t) == 4, "size of vfu_bar_t");

/** Header type, offset 0x0e. */
typedef union {
    uint8_t raw;
} __attribute__((packed)) vfu_pci_hdr_htype_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_pci_hdr_htype_t) == 1, "size of vfu_pci_hdr_htype_t");

/** Class code, offset 0x09. */
typedef union {
    uint8_t raw[3];
    struct {
        uint8_t pi;  /**< Programming interface. */
        uint8_t scc; /**< Sub-class. */
        uint8_t bcc; /**< Base class. */
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_cc_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_pci_hdr_cc_t) == 3, "size of vfu_pci_hdr_cc_t");

/** Status, offset 0x06. */
typedef union {
    uint16_t raw;
    struct {
        unsigned int res1:3;
        unsigned int is:1;   /**< INTx is asserted. */
        unsigned int cl:1;   /**< There is a capability list. */
        unsigned int c66:1;  /**< 66 MHz capable. */
        unsigned int res2:1;
        unsigned int fbc:1;  /**< Fast back-to-back capable. */
        unsigned int dpd:1;  /**< Data parity error seen as bus master. */
        unsigned int devt:2; /**< DEVSEL timing. */
        unsigned int sta:1;  /**< Signalled a target abort. */
        unsigned int rta:1;  /**< Received a target abort. */
        unsigned int rma:1;  /**< Received a master abort. */
        unsigned int sse:1;  /**< Signalled a system error. */
        unsigned int dpe:1;  /**< Detected a parity error. */
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_sts_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_pci_hdr_sts_t) == 2, "size of vfu_pci_hdr_sts_t");

/** Command, offset 0x04. */
typedef union {
    uint16_t raw;
    struct {
        uint8_t iose:1; /**< I/O space enabled. */
        uint8_t mse:1;  /**< Memory space enabled. */
        uint8_t bme:1;  /**< Bus master enabled: the device may do DMA. */
        uint8_t sce:1;  /**< Special cycles. */
        uint8_t mwie:1; /**< Memory write and invalidate. */
        uint8_t vga:1;  /**< VGA palette snoop. */
        uint8_t pee:1;  /**< Parity error response. */
        uint8_t zero:1; /**< Wait cycle control, always 0. */
        uint8_t see:1;  /**< SERR# enabled. */
        uint8_t fbe:1;  /**< Fast back-to-back. */
        uint8_t id:1;   /**< INTx disabled. */
        uint8_t res1:5;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_cmd_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_pci_hdr_cmd_t) == 2, "size of vfu_pci_hdr_cmd_t");

/** Device ids, offset 0x00. */
typedef union {
    uint32_t raw;
    struct {
        uint16_t vid; /**< Vendor. */
        uint16_t did; /**< Device. */
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_id_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_pci_hdr_id_t) == 4, "size of vfu_pci_hdr_id_t");

/** Interrupt line and pin, offset 0x3c. */
typedef union {
    uint16_t raw;
    struct {
        uint8_t iline; /**< Where firmware routed the pin; the device makes no use of it. */
        uint8_t ipin;  /**< 0: none, 1 to 4: INTA# to INTD#. */
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_intr_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_pci_hdr_intr_t) == 2, "size of vfu_pci_hdr_intr_t");

/** The type 0 header. */
typedef union {
    uint8_t raw[PCI_STD_HEADER_SIZEOF];
    struct {
        vfu_pci_hdr_id_t id;
        vfu_pci_hdr_cmd_t cmd;
        vfu_pci_hdr_sts_t sts;
        uint8_t rid;           /**< Revision. */
        vfu_pci_hdr_cc_t cc;
        uint8_t cls;           /**< Cache line size, in dwords. */
        uint8_t mlt;           /**< Latency timer. */
        vfu_pci_hdr_htype_t htype;
        vfu_pci_hdr_bist_t bist;
        vfu_bar_t bars[PCI_BARS_NR];
        uint32_t ccptr;        /**< CardBus CIS pointer. */
        vfu_pci_hdr_ss_t ss;
        uint32_t erom;         /**< Expansion ROM base address. */
        uint8_t cap;           /**< Offset of the first standard capability, 0 for none. */
        uint8_t res1[7];
        vfu_pci_hdr_intr_t intr;
        uint8_t mgnt;          /**< Minimum grant. */
        uint8_t mlat;          /**< Maximum latency. */
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_pci_hdr_t) == 64, "size of vfu_pci_hdr_t");

/** Config space: 256 bytes, followed by 3840 more in `extended` on PCI-X 2 and PCI Express devices. */
typedef struct {
    union {
        uint8_t raw[PCI_CFG_SPACE_SIZE];
        vfu_pci_hdr_t hdr;
    } __attribute__((packed));
    uint8_t extended[];
} __attribute__((packed)) vfu_pci_config_space_t;
VFIO_USER_STATIC_ASSERT(sizeof(vfu_pci_config_space_t) == 256, "size of vfu_pci_config_space_t");

#pragma GCC diagnostic pop

#ifdef __cplusplus
}
#endif

#endif /* LIBVFIO_USER_PCI_DEFS_H */
