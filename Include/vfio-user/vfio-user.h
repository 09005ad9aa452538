/*
 * The vfio-user protocol: what travels over the socket between a client (a virtual machine monitor) and a
 * server (a device).
 *
 * A message is a struct vfio_user_header, a payload and possibly file descriptors, sent with the header. All
 * numbers are in host byte order. Structures are packed. In those that begin with argsz, a request's argsz
 * says how large an answer the client has room for, and a reply's how large the complete answer is. Where a
 * payload has the same form as an argument of the kernel's VFIO ioctls, <linux/vfio.h> describes it and
 * nothing is repeated here.
 */
#ifndef VFIO_USER_H
#define VFIO_USER_H

#include <inttypes.h>
#include <linux/version.h>
#include <linux/vfio.h>

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

/* Flexible arrays, and arrays of what ends in one: in C or in C++, these are extensions. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"

/* ---- Messages ---- */

/** Commands; each is sent by the client, except DMA_READ and DMA_WRITE. */
enum vfio_user_command {
    VFIO_USER_VERSION = 1,
    VFIO_USER_DMA_MAP = 2,
    VFIO_USER_DMA_UNMAP = 3,
    VFIO_USER_DEVICE_GET_INFO = 4,
    VFIO_USER_DEVICE_GET_REGION_INFO = 5,
    VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6,
    VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
    VFIO_USER_DEVICE_SET_IRQS = 8,
    VFIO_USER_REGION_READ = 9,
    VFIO_USER_REGION_WRITE = 10,
    VFIO_USER_DMA_READ = 11,
    VFIO_USER_DMA_WRITE = 12,
    VFIO_USER_DEVICE_RESET = 13,
    /* 14 is not assigned. */
    VFIO_USER_REGION_WRITE_MULTI = 15,
    VFIO_USER_DEVICE_FEATURE = 16,
    VFIO_USER_MIG_DATA_READ = 17,
    VFIO_USER_MIG_DATA_WRITE = 18,
    VFIO_USER_MAX /**< One more than the last command of the base protocol. */
};

/** Values of the type bits in the header's flags. */
enum vfio_user_message_type {
    VFIO_USER_MESSAGE_COMMAND = 0,
    VFIO_USER_MESSAGE_REPLY = 1
};

#define VFIO_USER_F_TYPE_MASK 0xf    /**< Bits of the header's flags that hold the type. */
#define VFIO_USER_F_TYPE_COMMAND 0x0
#define VFIO_USER_F_TYPE_REPLY 0x1
#define VFIO_USER_F_NO_REPLY 0x10    /**< In a command: carry it out, answer neither success nor error. */
#define VFIO_USER_F_ERROR 0x20       /**< In a reply: the command failed with error_no. */

#define VFIO_USER_FLAGS_NO_REPLY 0x1 /**< Of an earlier draft; nothing uses it. */

/** Data of one message, in bytes, unless VERSION's max_data_xfer_size says otherwise. */
#define VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE (1024 * 1024)

/** Begins every message. */
struct vfio_user_header {
    uint16_t msg_id;   /**< Chosen by the sender of the command; the reply repeats it. */
    uint16_t cmd;      /**< enum vfio_user_command or enum vfio_user_iommufd_command. */
    uint32_t msg_size; /**< Bytes of the whole message, this header included. */
    uint32_t flags;    /**< VFIO_USER_F_* */
    uint32_t error_no; /**< Error number in a reply with VFIO_USER_F_ERROR. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_header) == 16, "size of struct vfio_user_header");

/** VERSION: the first message of a connection, and its reply. */
struct vfio_user_version {
    uint16_t major;
    uint16_t minor;
    uint8_t data[]; /**< Capabilities as JSON text, ended by a NUL; may be absent. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_version) == 4, "size of struct vfio_user_version");

/** DEVICE_GET_INFO: request and reply. */
struct vfio_user_device_info {
    uint32_t argsz;
    uint32_t flags; /**< VFIO_DEVICE_FLAGS_* */
    uint32_t num_regions;
    uint32_t num_irqs; /**< Interrupt types, not vectors. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_device_info) == 16, "size of struct vfio_user_device_info");

/* ---- DMA ---- */

/** Dirty pages of a range: a bit per page, the lowest page in bit 0 of the first byte. */
struct vfio_user_bitmap {
    uint64_t pgsize; /**< Bytes per bit. */
    uint64_t size;   /**< Bytes of data. */
    char data[];
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_bitmap) == 16, "size of struct vfio_user_bitmap");

#define VFIO_USER_F_DMA_REGION_READ (1 << 0)    /**< The device may read it. */
#define VFIO_USER_F_DMA_REGION_WRITE (1 << 1)   /**< The device may write it. */
#define VFIO_USER_F_DMA_REGION_MMAP (1 << 2)    /**< Access through a mapping of the descriptor. */
#define VFIO_USER_F_DMA_REGION_FILE_IO (1 << 3) /**< Access by reading and writing the descriptor. */

/** DMA_MAP: request, with at most one file descriptor. The reply has no payload. */
struct vfio_user_dma_map {
    uint32_t argsz;
    uint32_t flags;  /**< VFIO_USER_F_DMA_REGION_* */
    uint64_t offset; /**< Where the region begins in the file. */
    uint64_t addr;   /**< First DMA address. */
    uint64_t size;   /**< Bytes. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_dma_map) == 32, "size of struct vfio_user_dma_map");

#ifndef VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
#define VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP (1 << 0)
#endif
#ifndef VFIO_DMA_UNMAP_FLAG_ALL
#define VFIO_DMA_UNMAP_FLAG_ALL (1 << 1)
#endif

/** DMA_UNMAP: request and reply. Naturally aligned, unlike the rest. */
struct vfio_user_dma_unmap {
    uint32_t argsz;
    uint32_t flags; /**< VFIO_DMA_UNMAP_FLAG_* */
    uint64_t addr;
    uint64_t size;
    struct vfio_user_bitmap bitmap[]; /**< One with FLAG_GET_DIRTY_BITMAP, else none. */
};
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_dma_unmap) == 24, "size of struct vfio_user_dma_unmap");

/** DMA_READ, DMA_WRITE: server to client. Data is in the reply to the first, the request of the second. */
struct vfio_user_dma_region_access {
    uint64_t addr;
    uint64_t count; /**< Bytes. */
    uint8_t data[];
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_dma_region_access) == 16, "size of struct vfio_user_dma_region_access");

/* ---- Regions and interrupts ---- */

/** REGION_READ, REGION_WRITE: data is in the reply to the first, the request of the second. */
struct vfio_user_region_access {
    uint64_t offset; /**< From the start of the region. */
    uint32_t region; /**< Its index. */
    uint32_t count;  /**< Bytes. */
    uint8_t data[];
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_region_access) == 16, "size of struct vfio_user_region_access");

/** Of an earlier draft; no command carries it. */
struct vfio_user_irq_info {
    uint32_t subindex;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_irq_info) == 4, "size of struct vfio_user_irq_info");

/** DEVICE_GET_REGION_IO_FDS: request. */
typedef struct vfio_user_region_io_fds_request {
    uint32_t argsz;
    uint32_t flags; /**< 0 */
    uint32_t index; /**< The region. */
    uint32_t count; /**< 0 */
} __attribute__((packed)) vfio_user_region_io_fds_request_t;
VFIO_USER_STATIC_ASSERT(
    sizeof(vfio_user_region_io_fds_request_t) == 16, "size of vfio_user_region_io_fds_request_t");

#define VFIO_USER_IO_FD_TYPE_IOEVENTFD 0
#define VFIO_USER_IO_FD_TYPE_IOREGIONFD 1
#define VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW 2

/** Part of a region whose writes signal an eventfd in the kernel, without a message. */
typedef struct vfio_user_sub_region_ioeventfd {
    uint64_t gpa_offset; /**< From the start of the region. */
    uint64_t size;       /**< Bytes. */
    uint32_t fd_index;   /**< Which of the reply's descriptors; 0xffffffff for none. */
    uint32_t type;       /**< VFIO_USER_IO_FD_TYPE_IOEVENTFD, or _SHADOW: the value is also stored. */
    uint32_t flags;      /**< KVM_IOEVENTFD_FLAG_* */
    uint32_t shadow_mem_fd_index; /**< Descriptor of the memory that gets the value. */
    uint64_t shadow_offset;       /**< Where in that memory. */
    uint64_t datamatch;  /**< Signal for this value only, if flags say so. */
} __attribute__((packed)) vfio_user_sub_region_ioeventfd_t;
VFIO_USER_STATIC_ASSERT(
    sizeof(vfio_user_sub_region_ioeventfd_t) == 48, "size of vfio_user_sub_region_ioeventfd_t");

/** Part of a region whose accesses travel over a descriptor of their own. */
typedef struct vfio_user_sub_region_ioregionfd {
    uint64_t offset;
    uint64_t size;
    uint32_t fd_index;
    uint32_t type; /**< VFIO_USER_IO_FD_TYPE_IOREGIONFD */
    uint32_t flags;
    uint32_t padding;
    uint64_t user_data; /**< Handed back with each access. */
} __attribute__((packed)) vfio_user_sub_region_ioregionfd_t;
VFIO_USER_STATIC_ASSERT(
    sizeof(vfio_user_sub_region_ioregionfd_t) == 40, "size of vfio_user_sub_region_ioregionfd_t");

/** An entry of the reply; the type field is at the same place in all of them. */
union sub_region {
    struct vfio_user_sub_region_ioeventfd ioeventfd;
    struct vfio_user_sub_region_ioregionfd ioregionfd;
};
VFIO_USER_STATIC_ASSERT(sizeof(union sub_region) == 48, "size of union sub_region");

/** DEVICE_GET_REGION_IO_FDS: reply. It has entries only if the request's argsz has room for all of them. */
typedef struct vfio_user_region_io_fds_reply {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count; /**< How many entries the region has. */
    union sub_region sub_regions[];
} __attribute__((packed)) vfio_user_region_io_fds_reply_t;
VFIO_USER_STATIC_ASSERT(
    sizeof(vfio_user_region_io_fds_reply_t) == 16, "size of vfio_user_region_io_fds_reply_t");

/* ---- Features, migration, dirty page logging; the kernel's constants, in case its headers are older ---- */

#ifndef VFIO_DEVICE_FEATURE_MASK
#define VFIO_DEVICE_FEATURE_MASK (0xffff)
#endif
#ifndef VFIO_DEVICE_FEATURE_GET
#define VFIO_DEVICE_FEATURE_GET (1 << 16)
#endif
#ifndef VFIO_DEVICE_FEATURE_SET
#define VFIO_DEVICE_FEATURE_SET (1 << 17)
#endif
#ifndef VFIO_DEVICE_FEATURE_PROBE
#define VFIO_DEVICE_FEATURE_PROBE (1 << 18)
#endif
#ifndef VFIO_DEVICE_FEATURE_MIGRATION
#define VFIO_DEVICE_FEATURE_MIGRATION (1)
#endif
#ifndef VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
#define VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE (2)
#endif
#ifndef VFIO_DEVICE_FEATURE_DMA_LOGGING_START
#define VFIO_DEVICE_FEATURE_DMA_LOGGING_START (6)
#endif
#ifndef VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP
#define VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP (7)
#endif
#ifndef VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT
#define VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT (8)
#endif
#ifndef VFIO_MIGRATION_STOP_COPY
#define VFIO_MIGRATION_STOP_COPY (1 << 0)
#endif
#ifndef VFIO_MIGRATION_P2P
#define VFIO_MIGRATION_P2P (1 << 1)
#endif
#ifndef VFIO_MIGRATION_PRE_COPY
#define VFIO_MIGRATION_PRE_COPY (1 << 2)
#endif

/** DEVICE_FEATURE: request and reply; data depends on the feature. */
struct vfio_user_device_feature {
    uint32_t argsz;
    uint32_t flags; /**< Feature in the low 16 bits, VFIO_DEVICE_FEATURE_GET, _SET, _PROBE above. */
    uint8_t data[];
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_device_feature) == 8, "size of struct vfio_user_device_feature");

/** Data of VFIO_DEVICE_FEATURE_MIGRATION. */
struct vfio_user_device_feature_migration {
    uint64_t flags; /**< VFIO_MIGRATION_* */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_device_feature_migration) == 8,
    "size of struct vfio_user_device_feature_migration");

/** Migration states on the wire, numbered like the kernel's. */
enum vfio_user_device_mig_state {
    VFIO_USER_DEVICE_STATE_ERROR = 0,
    VFIO_USER_DEVICE_STATE_STOP = 1,
    VFIO_USER_DEVICE_STATE_RUNNING = 2,
    VFIO_USER_DEVICE_STATE_STOP_COPY = 3,
    VFIO_USER_DEVICE_STATE_RESUMING = 4,
    VFIO_USER_DEVICE_STATE_RUNNING_P2P = 5,
    VFIO_USER_DEVICE_STATE_PRE_COPY = 6,
    VFIO_USER_DEVICE_STATE_PRE_COPY_P2P = 7,
    VFIO_USER_DEVICE_NUM_STATES = 8
};

/** Data of VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE. */
struct vfio_user_device_feature_mig_state {
    uint32_t device_state; /**< enum vfio_user_device_mig_state */
    uint32_t data_fd;      /**< Not used: state travels by MIG_DATA_READ and MIG_DATA_WRITE. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_device_feature_mig_state) == 8,
    "size of struct vfio_user_device_feature_mig_state");

/** A range of DMA addresses to log. */
struct vfio_user_device_feature_dma_logging_range {
    uint64_t iova;
    uint64_t length;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_device_feature_dma_logging_range) == 16,
                        "size of struct vfio_user_device_feature_dma_logging_range");

/** Data of VFIO_DEVICE_FEATURE_DMA_LOGGING_START. */
struct vfio_user_device_feature_dma_logging_control {
    uint64_t page_size;  /**< Bytes per dirty bit. */
    uint32_t num_ranges; /**< Entries of ranges. */
    uint32_t reserved;
    struct vfio_user_device_feature_dma_logging_range ranges[];
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_device_feature_dma_logging_control) == 16,
                        "size of struct vfio_user_device_feature_dma_logging_control");

/** Data of VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT. */
struct vfio_user_device_feature_dma_logging_report {
    uint64_t iova;
    uint64_t length;
    uint64_t page_size; /**< Bytes per bit of the answer; need not be the one logged with. */
    uint8_t bitmap[];   /**< In the reply, a multiple of 8 bytes. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_device_feature_dma_logging_report) == 24,
                        "size of struct vfio_user_device_feature_dma_logging_report");

/** MIG_DATA_READ: request and reply. MIG_DATA_WRITE: request. */
struct vfio_user_mig_data {
    uint32_t argsz;
    uint32_t size; /**< Bytes of data asked for or carried. */
    uint8_t data[];
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_mig_data) == 8, "size of struct vfio_user_mig_data");

/* ---- I/O address spaces: the iommufd extension, once both sides have named the capability "iommufd" ---- */

/** Commands of the extension. The first equals VFIO_USER_MAX, hence an enumeration of their own. */
enum vfio_user_iommufd_command {
    VFIO_USER_IOMMUFD_ALLOC_IOAS = 19,
    VFIO_USER_IOMMUFD_DESTROY_IOAS = 20,
    VFIO_USER_IOMMUFD_IOAS_MAP = 21,
    VFIO_USER_IOMMUFD_IOAS_UNMAP = 22,
    VFIO_USER_IOMMUFD_IOAS_COPY = 23,
    VFIO_USER_IOMMUFD_BIND = 24,
    VFIO_USER_IOMMUFD_ATTACH_PT = 25,
    VFIO_USER_IOMMUFD_DETACH_PT = 26,
    VFIO_USER_IOMMUFD_IOVA_RANGES = 0x8001, /**< With the capability x-iova-ranges. */
    VFIO_USER_IOMMUFD_COMPAT_IOAS = 0x8002  /**< With the capability x-compat-ioas. */
};

/** ALLOC_IOAS: request and reply. Makes an empty address space. */
struct vfio_user_iommufd_alloc_ioas {
    uint32_t argsz;
    uint32_t flags;       /**< 0 */
    uint32_t out_ioas_id; /**< Reply: its id, never 0. */
    uint32_t __reserved;  /**< 0 */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_iommufd_alloc_ioas) == 16, "size of struct vfio_user_iommufd_alloc_ioas");

/** DESTROY_IOAS: request. The reply has no payload. */
struct vfio_user_iommufd_destroy_ioas {
    uint32_t argsz;
    uint32_t flags; /**< 0 */
    uint32_t ioas_id;
    uint32_t __reserved; /**< 0 */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_iommufd_destroy_ioas) == 16, "size of struct vfio_user_iommufd_destroy_ioas");

/* Flags of IOAS_MAP and IOAS_COPY: what the device may do with the range, and who chooses its address. */
#define VFIO_USER_IOMMUFD_MAP_WRITEABLE (1 << 0)
#define VFIO_USER_IOMMUFD_MAP_READABLE (1 << 1)
#define VFIO_USER_IOMMUFD_MAP_FIXED_IOVA (1 << 2) /**< The client does; with the capability x-fixed-iova. */

/** IOAS_MAP: request, with the file descriptor of the memory, and reply. */
struct vfio_user_iommufd_ioas_map {
    uint32_t argsz;
    uint32_t flags; /**< VFIO_USER_IOMMUFD_MAP_* */
    uint32_t ioas_id;
    uint32_t __reserved; /**< 0 */
    uint64_t user_va;    /**< The client's own address of the memory: a label, never followed. */
    uint64_t length;     /**< Bytes. */
    uint64_t iova;       /**< Reply: where the range is. Request: where it shall be, with FIXED_IOVA. */
    uint64_t offset;     /**< Where the range begins in the file. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_iommufd_ioas_map) == 48, "size of struct vfio_user_iommufd_ioas_map");

/** Flag of IOAS_UNMAP: every mapping of the address space; iova and length are 0. */
#define VFIO_USER_IOMMUFD_UNMAP_ALL (1 << 0)

/** IOAS_UNMAP: request. The reply has no payload, or with the capability x-reply-args this one. */
struct vfio_user_iommufd_ioas_unmap {
    uint32_t argsz;
    uint32_t flags; /**< 0 or VFIO_USER_IOMMUFD_UNMAP_ALL */
    uint32_t ioas_id;
    uint32_t __reserved; /**< 0 */
    uint64_t iova;
    uint64_t length; /**< Bytes; in the reply, how many were unmapped. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_iommufd_ioas_unmap) == 32, "size of struct vfio_user_iommufd_ioas_unmap");

/** IOAS_COPY, with the capability x-copy: request and reply. Maps the memory in a second address space. */
struct vfio_user_iommufd_ioas_copy {
    uint32_t argsz;
    uint32_t flags; /**< VFIO_USER_IOMMUFD_MAP_* */
    uint32_t src_ioas_id;
    uint32_t dst_ioas_id;
    uint64_t src_iova;
    uint64_t dst_iova; /**< As iova in IOAS_MAP. */
    uint64_t length;   /**< Bytes. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_iommufd_ioas_copy) == 40, "size of struct vfio_user_iommufd_ioas_copy");

/** BIND: request and reply. The device is the one behind the socket. */
struct vfio_user_iommufd_bind {
    uint32_t argsz;
    uint32_t flags;     /**< 0 */
    int32_t iommufd;    /**< Not used. */
    uint32_t out_devid; /**< Reply: 1. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(sizeof(struct vfio_user_iommufd_bind) == 16, "size of struct vfio_user_iommufd_bind");

/* Flag of ATTACH_PT and DETACH_PT: pasid means something. Known, but no server grants it yet. */
#define VFIO_USER_IOMMUFD_ATTACH_PASID (1 << 0)
#define VFIO_USER_IOMMUFD_DETACH_PASID (1 << 0)

/** ATTACH_PT: request. Makes one address space the device's. The reply as for IOAS_UNMAP. */
struct vfio_user_iommufd_attach_pt {
    uint32_t argsz;
    uint32_t flags; /**< 0 */
    uint32_t pt_id; /**< Id of the address space. */
    uint32_t pasid; /**< 0 */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_iommufd_attach_pt) == 16, "size of struct vfio_user_iommufd_attach_pt");

/** DETACH_PT: request. Until the next ATTACH_PT the device can reach no memory. The reply has no payload. */
struct vfio_user_iommufd_detach_pt {
    uint32_t argsz;
    uint32_t flags;      /**< 0 */
    uint32_t pasid;      /**< 0 */
    uint32_t __reserved; /**< 0 */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_iommufd_detach_pt) == 16, "size of struct vfio_user_iommufd_detach_pt");

/** Addresses from start to last, both included. */
struct vfio_user_iommufd_iova_range {
    uint64_t start;
    uint64_t last;
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_iommufd_iova_range) == 16, "size of struct vfio_user_iommufd_iova_range");

/** IOVA_RANGES: request and reply. Ranges are left out if the request's argsz has no room for all of them. */
struct vfio_user_iommufd_iova_ranges {
    uint32_t argsz;
    uint32_t flags; /**< 0 */
    uint32_t ioas_id;
    uint32_t num_ranges; /**< Reply: how many there are. */
    uint64_t alignment;  /**< Reply: of every IOVA, a power of two. */
    struct vfio_user_iommufd_iova_range ranges[];
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_iommufd_iova_ranges) == 24, "size of struct vfio_user_iommufd_iova_ranges");

/** Values of op in COMPAT_IOAS. */
enum vfio_user_iommufd_compat_op {
    VFIO_USER_IOMMUFD_COMPAT_GET = 0,
    VFIO_USER_IOMMUFD_COMPAT_SET = 1,
    VFIO_USER_IOMMUFD_COMPAT_CLEAR = 2
};

/** COMPAT_IOAS: request and reply. The address space that DMA_MAP and DMA_UNMAP act on. */
struct vfio_user_iommufd_compat_ioas {
    uint32_t argsz;
    uint32_t flags;   /**< 0 */
    uint32_t op;      /**< enum vfio_user_iommufd_compat_op */
    uint32_t ioas_id; /**< Request: the one to SET. Reply: the one that GET found. */
} __attribute__((packed));
VFIO_USER_STATIC_ASSERT(
    sizeof(struct vfio_user_iommufd_compat_ioas) == 16, "size of struct vfio_user_iommufd_compat_ioas");

#pragma GCC diagnostic pop

#ifdef __cplusplus
}
#endif

#endif /* VFIO_USER_H */
