/*
 * vfio-user server library: a PCI device in a process of its own, whose clients are virtual machine monitors.
 *
 * Life of a device: vfu_create_ctx(), the set-up functions, vfu_realize_ctx(), then vfu_attach_ctx() to
 * accept a client and vfu_run_ctx() to serve it until that fails with ENOTCONN; vfu_attach_ctx() again for
 * the next client; vfu_destroy_ctx() at the end. Set-up functions may be called in any order, but
 * vfu_pci_init() goes before ids, class and capabilities. Called after vfu_realize_ctx() they take effect at
 * once, except where it says otherwise below.
 *
 * Errors: a function that returns int or ssize_t gives -1 and sets errno, one that returns a pointer NULL,
 * and the two capability searches 0. On success errno means nothing. A context argument is never NULL unless
 * it says so.
 *
 * Callbacks run in the thread that called the library, before that call returns. They may use
 * vfu_addr_to_sgl(), the vfu_sgl_ functions, vfu_irq_trigger(), vfu_log(), vfu_get_private() and
 * vfu_pci_get_config_space(). From a callback, the log function included, vfu_attach_ctx(), vfu_run_ctx(),
 * vfu_device_quiesced() and vfu_setup_device_dma() fail with EINVAL, and vfu_destroy_ctx() does nothing.
 *
 * Threads: each context belongs to one thread at a time; different contexts are independent. While that
 * thread is in vfu_run_ctx(), others may call vfu_addr_to_sgl(), vfu_sg_is_mappable(), vfu_sgl_get(),
 * vfu_sgl_put(), vfu_sgl_mark_dirty() and, with VFU_SGL_DIRECT_ACCESS on memory that is mapped or backed by a
 * file, vfu_sgl_read() and vfu_sgl_write(), as long as the device is not quiesced; see
 * vfu_setup_device_quiesce_cb().
 */
#ifndef LIB_VFIO_USER_H
#define LIB_VFIO_USER_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#include "pci_caps/dsn.h"
#include "pci_caps/msi.h"
#include "pci_caps/msix.h"
#include "pci_caps/pm.h"
#include "pci_caps/px.h"
#include "pci_defs.h"
#include "vfio-user.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The GNU C library hides loff_t from programs that ask for nothing but standard C. */
#if defined(__GLIBC__) && !defined(__USE_MISC)
typedef __loff_t loff_t;
#endif

/** Protocol version of the library: it speaks this minor version and all before it. */
#define LIB_VFIO_USER_MAJOR 0
#define LIB_VFIO_USER_MINOR 2

/** An address as the device sees it, in the client's DMA address space. Not a pointer in this process. */
typedef void *vfu_dma_addr_t;

/** A contiguous piece of one DMA region. Programs allocate it by dma_sg_size() and do not look inside. */
struct dma_sg;
typedef struct dma_sg dma_sg_t;

/** A device. */
typedef struct vfu_ctx vfu_ctx_t;

/* ---- Context ---- */

/** How messages travel. */
typedef enum {
    VFU_TRANS_SOCK, /**< UNIX stream socket. */
    VFU_TRANS_PIPE, /**< Standard input and output, for tests. */
    VFU_TRANS_MAX
} vfu_trans_t;

/** Kind of device. */
typedef enum {
    VFU_DEV_TYPE_PCI
} vfu_dev_type_t;

/** Flag of vfu_create_ctx(): attach and run return instead of waiting. */
#define LIBVFIO_USER_FLAG_ATTACH_NB (1 << 0)

/**
 * Makes a context and, for VFU_TRANS_SOCK, a socket that listens at a path.
 *
 * A new context has no log function, regions of size 0, no capabilities, no DMA, no migration, a single ERR
 * and a single REQ interrupt, and no others.
 *
 * @param trans VFU_TRANS_SOCK or, if the library was built with it, VFU_TRANS_PIPE
 * @param path where to create the socket, at most 107 bytes, copied; nothing may exist there yet.
 *        VFU_TRANS_PIPE ignores it
 * @param flags 0 or LIBVFIO_USER_FLAG_ATTACH_NB
 * @param pvt any pointer; vfu_get_private() returns it
 * @param dev_type VFU_DEV_TYPE_PCI
 * @return the context, to be given to vfu_destroy_ctx(), or NULL with errno
 *
 * | errno        | cause                                                              |
 * |--------------|--------------------------------------------------------------------|
 * | EINVAL       | unknown bit in flags                                               |
 * | ENOTSUP      | transport or device type not supported                             |
 * | ENOMEM       | out of memory                                                      |
 * | ENAMETOOLONG | path does not fit a socket address                                 |
 * | EADDRINUSE   | something exists at path; it is left alone                         |
 * | others       | of socket(2), bind(2), listen(2), such as ENOENT for the directory |
 */
vfu_ctx_t *
vfu_create_ctx(vfu_trans_t trans, const char *path, int flags, void *pvt, vfu_dev_type_t dev_type);

/**
 * Ends set-up: completes config space (BAR types, interrupt pin, capability list bit) and sizes the vector
 * table.
 *
 * Needed before vfu_run_ctx(). Calling it again does nothing and succeeds.
 *
 * @param vfu_ctx the context
 * @return 0, or -1 with errno
 *
 * | errno  | cause                                                 |
 * |--------|-------------------------------------------------------|
 * | ENOMEM | out of memory, or more than 2^20 interrupts of a type |
 */
int
vfu_realize_ctx(vfu_ctx_t *vfu_ctx);

/**
 * Accepts a client and agrees with it on version and capabilities.
 *
 * A context serves one client at a time. After a failure it listens as before. With
 * LIBVFIO_USER_FLAG_ATTACH_NB the function does not wait for a client to connect.
 *
 * @param vfu_ctx the context, realized or not
 * @return 0, or -1 with errno
 *
 * | errno      | cause                                                                 |
 * |------------|-----------------------------------------------------------------------|
 * | EAGAIN     | LIBVFIO_USER_FLAG_ATTACH_NB, and no client is waiting, or not all of  |
 * |            | its first message is there yet: call again                            |
 * | EINVAL     | a client is attached already, or the new one's first message is wrong |
 * | ENOMSG     | the client closed the connection instead of negotiating               |
 * | ECONNRESET | it did so in the middle of a message                                  |
 * | EFAULT     | it sent file descriptors, which have no place in negotiation          |
 * | EINTR      | a signal handler ran meanwhile: call again, nothing is lost           |
 * | others     | of accept(2), recvmsg(2), sendmsg(2)                                  |
 */
int
vfu_attach_ctx(vfu_ctx_t *vfu_ctx);

/**
 * The descriptor to poll for input: readable means that vfu_attach_ctx(), or with a client attached
 * vfu_run_ctx(), has something to do.
 *
 * Ask again after every vfu_attach_ctx() and every ENOTCONN: the answer changes.
 *
 * @param vfu_ctx the context
 * @return a descriptor, which remains the library's, not to be closed or read; -1 for a VFU_TRANS_PIPE
 *        context that is not attached
 */
int
vfu_get_poll_fd(vfu_ctx_t *vfu_ctx);

/**
 * Serves requests of the attached client.
 *
 * With LIBVFIO_USER_FLAG_ATTACH_NB it handles the requests that are there. Without, it returns only on failure.
 *
 * A request that fails is a matter between client and device: the client gets the error, and this function
 * goes on.
 *
 * @param vfu_ctx a realized context
 * @return how many requests were carried out, even without success, which is 1 for a client that waits for each
 *        reply; 0 if there was none, or it was refused before it reached the device; -1 with errno
 *
 * | errno    | cause                                                                                    |
 * |----------|------------------------------------------------------------------------------------------|
 * | EINVAL   | the context is not realized                                                              |
 * | EBUSY    | the device has not yet said vfu_device_quiesced(); nothing is read until it does         |
 * | ENOTCONN | no client, or it left and all it had set up has been undone: time for vfu_attach_ctx()   |
 * | EINTR    | a signal handler ran while there was nothing to do (without the flag): call again        |
 * | others   | of the quiesce callback when a client left (call again), or of recvmsg(2) and sendmsg(2) |
 */
int
vfu_run_ctx(vfu_ctx_t *vfu_ctx);

/**
 * Ends a context: unregisters and unmaps every DMA region, calls the reset callback with VFU_RESET_LOST_CONN,
 * whether or not there was a client, closes what the library owns, removes the socket's path and frees the
 * memory.
 *
 * Nothing of the device may use the context by then: nobody is asked to quiesce. Descriptors given to
 * vfu_setup_region() and vfu_create_ioeventfd() are the program's to close, afterwards.
 *
 * From a callback of the context it does nothing.
 *
 * @param vfu_ctx the context, or NULL to do nothing
 */
void
vfu_destroy_ctx(vfu_ctx_t *vfu_ctx);

/**
 * @param vfu_ctx the context
 * @return the pointer given to vfu_create_ctx()
 */
void *
vfu_get_private(vfu_ctx_t *vfu_ctx);

/* ---- Log ---- */

/**
 * Takes a message of the library or of vfu_log().
 *
 * @param vfu_ctx the context
 * @param level LOG_EMERG (0) to LOG_DEBUG (7)
 * @param msg the text, without a newline, at most 8191 bytes, valid during the call
 */
typedef void(vfu_log_fn_t)(vfu_ctx_t *vfu_ctx, int level, const char *msg);

/**
 * Sends a message to the context's log function, if there is one and level is at or below its threshold.
 *
 * May be called at any time. Leaves errno alone, and %m stands for what errno was at the call.
 *
 * @param vfu_ctx the context
 * @param level LOG_EMERG (0) to LOG_DEBUG (7)
 * @param fmt as for printf(3), without a newline; text beyond 8191 bytes is cut off. NULL: nothing happens
 */
void
vfu_log(vfu_ctx_t *vfu_ctx, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/**
 * Sets the log function and its threshold. May be called at any time.
 *
 * @param vfu_ctx the context
 * @param log the function, or NULL for no log
 * @param level the least urgent level passed on, LOG_EMERG (0) to LOG_DEBUG (7)
 * @return 0, or -1 with errno and nothing changed
 *
 * | errno  | cause                 |
 * |--------|-----------------------|
 * | EINVAL | level is out of range |
 */
int
vfu_setup_log(vfu_ctx_t *vfu_ctx, vfu_log_fn_t *log, int level);

/* ---- Regions ---- */

/** Region indexes of a PCI device, the same as the kernel's VFIO_PCI_*_REGION_INDEX. */
enum {
    VFU_PCI_DEV_BAR0_REGION_IDX,
    VFU_PCI_DEV_BAR1_REGION_IDX,
    VFU_PCI_DEV_BAR2_REGION_IDX,
    VFU_PCI_DEV_BAR3_REGION_IDX,
    VFU_PCI_DEV_BAR4_REGION_IDX,
    VFU_PCI_DEV_BAR5_REGION_IDX,
    VFU_PCI_DEV_ROM_REGION_IDX,
    VFU_PCI_DEV_CFG_REGION_IDX, /**< Configuration space. */
    VFU_PCI_DEV_VGA_REGION_IDX,
    VFU_PCI_DEV_NUM_REGIONS
};

/** Region indexes of devices of no particular kind; there are none yet. */
enum {
    VFU_GENERIC_DEV_MIGR_REGION_IDX,
    VFU_GENERIC_DEV_NUM_REGIONS
};

#define VFU_REGION_FLAG_READ (1 << 0)
#define VFU_REGION_FLAG_WRITE (1 << 1)
#define VFU_REGION_FLAG_RW (VFU_REGION_FLAG_READ | VFU_REGION_FLAG_WRITE)
#define VFU_REGION_FLAG_MEM (1 << 2)       /**< Memory space; without it I/O space. */
#define VFU_REGION_FLAG_ALWAYS_CB (1 << 3) /**< Config space: the callback handles it all, header included. */
#define VFU_REGION_FLAG_64_BITS (1 << 4)   /**< A 64-bit BAR: takes this one, which is even, and the next. */
#define VFU_REGION_FLAG_PREFETCH (1 << 5)  /**< A prefetchable BAR. */
#define VFU_REGION_FLAG_MASK 0x3f          /**< All of them; a plain number, which Swift can import too. */
VFIO_USER_STATIC_ASSERT(VFU_REGION_FLAG_MASK
                            == (VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_ALWAYS_CB
                                | VFU_REGION_FLAG_64_BITS | VFU_REGION_FLAG_PREFETCH),
                        "VFU_REGION_FLAG_MASK");

/**
 * Carries out a client's access to a region.
 *
 * @param vfu_ctx the context
 * @param buf where to put what is read, or what is written; valid during the call, with no particular
 *        alignment
 * @param count bytes, 1 to 1 MiB
 * @param offset of the first byte in the region; offset + count is within its size
 * @param is_write a write, not a read
 * @return count; anything less fails the access, with errno if negative, else with EINVAL. Where the callback
 *        covers the part of config space that is neither header nor capability it may also return less than
 *        count, but not 0, and is called for the rest
 */
typedef ssize_t(vfu_region_access_cb_t)(
    vfu_ctx_t *vfu_ctx, char *buf, size_t count, loff_t offset, bool is_write);

/**
 * Sets up a region, or changes it: a new set-up replaces the old one, mappable areas included.
 *
 * A client reaches the areas by mapping the descriptor, without asking the device, and everything else by
 * messages, for which the callback is called. VFU_REGION_FLAG_READ and VFU_REGION_FLAG_WRITE are what clients
 * are told; the callback must itself refuse an access that it does not want.
 *
 * May be called before and after vfu_realize_ctx(), but BARs keep the type bits that they had then.
 *
 * @param vfu_ctx the context
 * @param region_idx VFU_PCI_DEV_*_REGION_IDX
 * @param size bytes. For a BAR a power of two, at least 16 in memory space and 4 in I/O space, or 0 for none.
 *        For config space 256 or 4096, to match vfu_pci_init()
 * @param region_access the callback, or NULL: accesses by message then fail, in config space only those that
 *        the library does not handle
 * @param flags VFU_REGION_FLAG_*, among them READ or WRITE; for config space both, and not MEM
 * @param mmap_areas the parts that clients may map: iov_base is an offset in the region, iov_len bytes.
 *        Copied. NULL with a descriptor stands for all of the region
 * @param nr_mmap_areas how many; 0 if and only if mmap_areas is NULL
 * @param fd file or memory to map, or -1 for none. It stays the program's, who keeps it open for as long as
 *        the region has it
 * @param offset where in fd the region begins, bytes
 * @return 0, or -1 with errno and the region as it was
 *
 * | errno  | cause                                                                                          |
 * |--------|------------------------------------------------------------------------------------------------|
 * | EINVAL | an argument not as above, ALWAYS_CB without a callback, areas without fd, an area outside size |
 * | EINVAL | 64_BITS on an odd BAR or below one that is in use; the upper half of a 64-bit BAR              |
 * | ENOMEM | out of memory                                                                                  |
 */
int
vfu_setup_region(vfu_ctx_t *vfu_ctx, int region_idx, size_t size, vfu_region_access_cb_t *region_access,
                 int flags, struct iovec *mmap_areas, uint32_t nr_mmap_areas, int fd, uint64_t offset);

/**
 * Offers clients an eventfd for part of a region: guest writes there need no message.
 *
 * It lasts as long as the context, over resets and reconnections. May be called at any time after the region
 * got its size; clients that have already asked do not notice.
 *
 * @param vfu_ctx the context
 * @param region_idx VFU_PCI_DEV_*_REGION_IDX
 * @param fd the eventfd, or -1 for none. It stays the program's, who keeps it open as long as there may be
 *        clients
 * @param gpa_offset of the part in the region, bytes
 * @param size of the part, bytes, as KVM_IOEVENTFD wants it
 * @param flags KVM_IOEVENTFD_FLAG_*
 * @param datamatch the value to signal for, if flags say so
 * @param shadow_fd memory in which the value written is also to be stored, or -1; owned as fd
 * @param shadow_offset where in shadow_fd, bytes
 * @return 0, or -1 with errno
 *
 * | errno  | cause                                                                    |
 * |--------|--------------------------------------------------------------------------|
 * | EINVAL | no such region, the part is not within it, or shadow_fd is not supported |
 * | ENOMEM | out of memory                                                            |
 */
int
vfu_create_ioeventfd(vfu_ctx_t *vfu_ctx, uint32_t region_idx, int fd, size_t gpa_offset, uint32_t size,
                     uint32_t flags, uint64_t datamatch, int shadow_fd, size_t shadow_offset);

/* ---- Quiesce and reset ---- */

/**
 * Asks the device to stop using guest memory for a while.
 *
 * The device is quiesced from the moment this returns 0, or vfu_device_quiesced() is called, to the end of
 * that call or of vfu_run_ctx(). Meanwhile vfu_addr_to_sgl() and the vfu_sgl_ functions may be used only in
 * this callback and in those for DMA, reset and migration transition; addresses looked up earlier may cease
 * to be valid.
 *
 * @param vfu_ctx the context
 * @return 0 or more if the device is now quiesced. -1 with errno EBUSY if it will call vfu_device_quiesced()
 *        later, from outside this callback; -1 with another errno to make what needed the quiesce fail with
 *        it
 */
typedef int(vfu_device_quiesce_cb_t)(vfu_ctx_t *vfu_ctx);

/**
 * Sets the function that quiesces the device: before DMA regions come or go, before a reset (also one by the
 * PCI Express Device Control register), before migration changes state, and when a client has left. Without
 * one the library does these things at once.
 *
 * @param vfu_ctx the context
 * @param quiesce_cb the callback, or NULL for none
 */
void
vfu_setup_device_quiesce_cb(vfu_ctx_t *vfu_ctx, vfu_device_quiesce_cb_t *quiesce_cb);

/**
 * Ends a wait that the quiesce callback began by EBUSY. What waited is carried out, and answered, in this
 * call.
 *
 * @param vfu_ctx the context
 * @param quiesce_errno 0 if the device is quiesced; otherwise why it cannot be, and what waited is given up
 * @return 0, also if the request failed or the client is gone meanwhile; -1 with errno
 *
 * | errno  | cause                                                                   |
 * |--------|-------------------------------------------------------------------------|
 * | EINVAL | nothing waits, or there is no quiesce callback                          |
 * | others | of sendmsg(2), when the reply could not be sent to a client still there |
 */
int
vfu_device_quiesced(vfu_ctx_t *vfu_ctx, int quiesce_errno);

/** Why the device is reset. */
typedef enum vfu_reset_type {
    VFU_RESET_DEVICE,    /**< The client asked for it. */
    VFU_RESET_LOST_CONN, /**< The client left or the context ends. DMA regions are gone. */
    VFU_RESET_PCI_FLR    /**< The guest started a function-level reset. */
} vfu_reset_type_t;

/**
 * Resets the device. The library itself changes nothing on VFU_RESET_DEVICE and VFU_RESET_PCI_FLR: config
 * space, interrupts, DMA regions and migration are as before.
 *
 * @param vfu_ctx the context
 * @param type the cause
 * @return 0; -1 with errno fails the request, but not VFU_RESET_LOST_CONN
 */
typedef int(vfu_reset_cb_t)(vfu_ctx_t *vfu_ctx, vfu_reset_type_t type);

/**
 * Sets the function that resets the device. Without one, resets do nothing and succeed.
 *
 * @param vfu_ctx the context
 * @param reset the callback, or NULL for none
 * @return 0
 */
int
vfu_setup_device_reset_cb(vfu_ctx_t *vfu_ctx, vfu_reset_cb_t *reset);

/* ---- DMA regions ---- */

/** Part of the client's DMA address space. */
typedef struct vfu_dma_info {
    struct iovec iova;    /**< First DMA address and bytes. */
    void *vaddr;          /**< Where its first byte is in this process; NULL if it is not mapped. */
    struct iovec mapping; /**< What the library has mapped for it, in whole pages; NULL and 0 if not. */
    size_t page_size;     /**< Of this system or, for a file with larger blocks, of the file; bytes. */
    uint32_t prot;        /**< What the client lets the device do: PROT_READ, PROT_WRITE. */
} vfu_dma_info_t;
VFIO_USER_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(vfu_dma_info_t) == 56, "size of vfu_dma_info_t");

/**
 * Tells the device of a DMA region that it may use from now on. Repeated if the client maps the same region
 * again.
 *
 * @param vfu_ctx the context
 * @param info the library's record of the region, at the same address until the region is unregistered; not
 *        to be changed or freed
 */
typedef void(vfu_dma_register_cb_t)(vfu_ctx_t *vfu_ctx, vfu_dma_info_t *info);

/**
 * Tells the device of a DMA region that it must not use after this call, in which it is still mapped.
 *
 * @param vfu_ctx the context
 * @param info the record that the register callback had
 */
typedef void(vfu_dma_unregister_cb_t)(vfu_ctx_t *vfu_ctx, vfu_dma_info_t *info);

/** More DMA regions than any client will need: a value for max_regions. */
#define LIBVFIO_USER_MAX_DMA_REGIONS (1000 * 1000)

/**
 * Lets the device do DMA. Without it, what clients map is accepted and forgotten. Call it before
 * vfu_attach_ctx(). A second call starts anew: what was mapped is unregistered.
 *
 * @param vfu_ctx the context
 * @param max_regions how many regions a client may have at a time; mapping more fails. 0: none
 * @param dma_register called after a region has come, or NULL
 * @param dma_unregister called before a region goes, or NULL
 * @return 0, or -1 with errno
 *
 * | errno  | cause                  |
 * |--------|------------------------|
 * | EINVAL | called from a callback |
 * | ENOMEM | out of memory          |
 */
int
vfu_setup_device_dma(vfu_ctx_t *vfu_ctx, size_t max_regions, vfu_dma_register_cb_t *dma_register,
                     vfu_dma_unregister_cb_t *dma_unregister);

/* ---- Interrupts ---- */

/** Interrupt types, the same as the kernel's VFIO_PCI_*_IRQ_INDEX. */
enum vfu_dev_irq_type {
    VFU_DEV_INTX_IRQ,
    VFU_DEV_MSI_IRQ,
    VFU_DEV_MSIX_IRQ,
    VFU_DEV_ERR_IRQ,
    VFU_DEV_REQ_IRQ,
    VFU_DEV_NUM_IRQS
};

/**
 * Sets how many interrupts of a type the device has. Call it before vfu_realize_ctx(), which sizes the vector
 * table.
 *
 * @param vfu_ctx the context
 * @param type VFU_DEV_*_IRQ
 * @param count vectors; 0, the default but for ERR and REQ, for none
 * @return 0, or -1 with errno
 *
 * | errno  | cause                                                                 |
 * |--------|-----------------------------------------------------------------------|
 * | EINVAL | unknown type, or more than the vector table of a realized context has |
 */
int
vfu_setup_device_nr_irqs(vfu_ctx_t *vfu_ctx, enum vfu_dev_irq_type type, uint32_t count);

/**
 * Tells the device that a client masked or unmasked interrupts.
 *
 * @param vfu_ctx the context
 * @param start first vector
 * @param count vectors
 * @param mask true: masked, false: unmasked
 */
typedef void(vfu_dev_irq_state_cb_t)(vfu_ctx_t *vfu_ctx, uint32_t start, uint32_t count, bool mask);

/**
 * Sets the function that learns of masking for one type of interrupt. Without one, masking has no effect.
 *
 * @param vfu_ctx the context
 * @param type VFU_DEV_INTX_IRQ, VFU_DEV_MSI_IRQ or VFU_DEV_MSIX_IRQ; clients cannot mask the others
 * @param cb the callback, or NULL for none
 * @return 0, or -1 with errno
 *
 * | errno  | cause        |
 * |--------|--------------|
 * | EINVAL | unknown type |
 */
int
vfu_setup_irq_state_callback(vfu_ctx_t *vfu_ctx, enum vfu_dev_irq_type type, vfu_dev_irq_state_cb_t *cb);

/**
 * Raises an interrupt: adds 1 to the eventfd that the client gave for a vector.
 *
 * INTx, MSI and MSI-X share one vector table, of which the client uses one type at a time. The interrupt
 * disable and mask bits in config space are not looked at. For realized contexts.
 *
 * @param vfu_ctx the context
 * @param subindex the vector, from 0
 * @return 0, or -1 with errno
 *
 * | errno  | cause                                              |
 * |--------|----------------------------------------------------|
 * | EINVAL | no such vector                                     |
 * | ENOENT | the client has set no eventfd for it               |
 * | EAGAIN | the eventfd is full                                |
 * | others | of write(2): the client's descriptor is unsuitable |
 */
int
vfu_irq_trigger(vfu_ctx_t *vfu_ctx, uint32_t subindex);

/* ---- Migration ---- */

/** States of migration as the device sees them. A new context is RUNNING. */
typedef enum {
    VFU_MIGR_STATE_STOP,          /**< Does nothing: no DMA, no interrupts. */
    VFU_MIGR_STATE_RUNNING,       /**< Normal operation. */
    VFU_MIGR_STATE_STOP_AND_COPY, /**< Stopped; its state is read. */
    VFU_MIGR_STATE_PRE_COPY,      /**< Runs while its state is read. */
    VFU_MIGR_STATE_RESUME         /**< Stopped; its state is written. */
} vfu_migr_state_t;

/** Value of vfu_migration_callbacks_t.version. */
#define VFU_MIGR_CALLBACKS_VERS 2

/** What a device does for migration; no function may be NULL. */
typedef struct {
    /** VFU_MIGR_CALLBACKS_VERS */
    int version;

    /**
     * Goes to a state. A client's request may take several steps, each a call.
     *
     * @param vfu_ctx the context
     * @param state the new state
     * @return 0; -1 with errno to stay in the old state and fail the request
     */
    int (*transition)(vfu_ctx_t *vfu_ctx, vfu_migr_state_t state);

    /**
     * Gives the next piece of the device's state, in PRE_COPY and STOP_AND_COPY.
     *
     * @param vfu_ctx the context
     * @param buf where to put it, valid during the call
     * @param count room, bytes
     * @return bytes given, at most count; 0 if there is no more for now; -1 with errno
     */
    ssize_t (*read_data)(vfu_ctx_t *vfu_ctx, void *buf, uint64_t count);

    /**
     * Takes the next piece of the device's state, in RESUME.
     *
     * @param vfu_ctx the context
     * @param buf the piece, valid during the call
     * @param count its length, bytes
     * @return count; -1 with errno
     */
    ssize_t (*write_data)(vfu_ctx_t *vfu_ctx, void *buf, uint64_t count);
} vfu_migration_callbacks_t;
VFIO_USER_STATIC_ASSERT(
    sizeof(void *) != 8 || sizeof(vfu_migration_callbacks_t) == 32, "size of vfu_migration_callbacks_t");

/**
 * Lets clients migrate the device and log dirty pages. Call it before vfu_attach_ctx(), so that clients hear
 * of it. A second call replaces the callbacks and returns to RUNNING.
 *
 * @param vfu_ctx the context
 * @param callbacks the functions, copied
 * @return 0, or -1 with errno
 *
 * | errno  | cause                                |
 * |--------|--------------------------------------|
 * | EINVAL | wrong version, or a function is NULL |
 * | ENOMEM | out of memory                        |
 */
int
vfu_setup_device_migration_callbacks(vfu_ctx_t *vfu_ctx, const vfu_migration_callbacks_t *callbacks);

/* ---- Access to guest memory ---- */

/**
 * @return bytes of a dma_sg_t, the same for the whole life of the process; an array for n entries takes n
 *        times that
 */
size_t
dma_sg_size(void);

/**
 * Looks up a range of DMA addresses: splits it at the borders of DMA regions, one entry for each piece.
 * Entries are usable until their region is unregistered.
 *
 * @param vfu_ctx a context with vfu_setup_device_dma()
 * @param dma_addr first address
 * @param len bytes; 0 yields no entry
 * @param sgl room for the entries
 * @param max_nr_sgs how many entries it can hold
 * @param prot what the device will do: PROT_READ, PROT_WRITE or both. Without PROT_WRITE the entries cannot
 *        be written
 * @return how many entries were filled in; -1 with errno. If the range is good but max_nr_sgs too small,
 *        minus the number of entries needed, minus 1, with errno 0: -4 says that it takes 3
 *
 * | errno  | cause                                                                        |
 * |--------|------------------------------------------------------------------------------|
 * | ENOENT | some of the range is in no DMA region, or it passes the end of all addresses |
 * | EACCES | prot asks for writing, which the client does not allow                       |
 * | EINVAL | there is no DMA, or no list                                                  |
 */
int
vfu_addr_to_sgl(vfu_ctx_t *vfu_ctx, vfu_dma_addr_t dma_addr, size_t len, dma_sg_t *sgl, size_t max_nr_sgs,
                int prot);

/**
 * Whether vfu_sgl_get() can give an address for an entry.
 *
 * @param vfu_ctx the context
 * @param sg an entry filled in by vfu_addr_to_sgl()
 * @return true if its region is mapped in this process
 */
bool
vfu_sg_is_mappable(vfu_ctx_t *vfu_ctx, dma_sg_t *sg);

/**
 * Gives the addresses, in this process, of what entries stand for. It is the guest's memory: others change it
 * at any time. When done with writing, call vfu_sgl_put() or, to keep the addresses, vfu_sgl_mark_dirty().
 *
 * @param vfu_ctx the context
 * @param sgl entries filled in by vfu_addr_to_sgl(), regions still registered
 * @param iov gets address and bytes of each
 * @param cnt how many, at least 1
 * @param flags 0
 * @return 0, or -1 with errno and iov undefined
 *
 * | errno  | cause                                                            |
 * |--------|------------------------------------------------------------------|
 * | EINVAL | flags is not 0, or an entry is not, or no longer, valid          |
 * | EFAULT | an entry's region is not mapped: vfu_sgl_read(), vfu_sgl_write() |
 */
int
vfu_sgl_get(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, struct iovec *iov, size_t cnt, int flags);

/**
 * Marks what entries stand for as written by the device, if dirty pages are logged. Entries looked up without
 * PROT_WRITE are passed over. The addresses stay usable.
 *
 * @param vfu_ctx the context
 * @param sgl entries filled in by vfu_addr_to_sgl()
 * @param cnt how many, at least 1
 */
void
vfu_sgl_mark_dirty(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, size_t cnt);

/**
 * Ends a use begun by vfu_sgl_get(), marking as vfu_sgl_mark_dirty() does.
 *
 * @param vfu_ctx the context
 * @param sgl the same entries
 * @param iov the same addresses
 * @param cnt how many, at least 1
 */
void
vfu_sgl_put(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, struct iovec *iov, size_t cnt);

/** Flag of vfu_sgl_read() and vfu_sgl_write(): use the mapping or the file, where there is one. */
#define VFU_SGL_DIRECT_ACCESS (1)

/**
 * Copies what an entry stands for out of guest memory.
 *
 * Without VFU_SGL_DIRECT_ACCESS, and with it if the region has neither mapping nor file, by messages to the
 * client: the call waits for the answers, and if the client leaves meanwhile everything that follows from
 * that happens in it, or, in a callback for quiesce, DMA or reset, after that callback. Not while a quiesce is
 * pending.
 *
 * @param vfu_ctx the context
 * @param sgl one entry filled in by vfu_addr_to_sgl()
 * @param sg_cnt 1
 * @param data room for as many bytes as the entry has
 * @param flags 0 or VFU_SGL_DIRECT_ACCESS
 * @return 0, or -1 with errno
 *
 * | errno    | cause                                                                   |
 * |----------|-------------------------------------------------------------------------|
 * | EINVAL   | unknown bit in flags, an entry that is not valid, or a malformed answer |
 * | ENOTSUP  | sg_cnt is not 1                                                         |
 * | EIO      | the file could not be read, or ends too early                           |
 * | EFAULT   | guarded DMA is on, and the client's file no longer has the data         |
 * | ENOMEM   | out of memory                                                           |
 * | EPROTO   | the client answered something else                                      |
 * | EBUSY    | a quiesce is pending                                                    |
 * | ENOTCONN | the client left; the context waits for vfu_attach_ctx()                 |
 * | others   | of the client                                                           |
 */
int
vfu_sgl_read(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, size_t sg_cnt, void *data, int flags);

/**
 * Copies to guest memory what an entry stands for; otherwise like vfu_sgl_read(). Direct access also marks
 * dirty pages.
 *
 * @param vfu_ctx the context
 * @param sgl one entry filled in by vfu_addr_to_sgl() with PROT_WRITE
 * @param sg_cnt 1
 * @param data as many bytes as the entry has
 * @param flags 0 or VFU_SGL_DIRECT_ACCESS
 * @return 0, or -1 with errno
 *
 * | errno  | cause                                      |
 * |--------|--------------------------------------------|
 * | EPERM  | the entry was looked up without PROT_WRITE |
 * | EIO    | the file could not be written              |
 * | others | as for vfu_sgl_read()                      |
 */
int
vfu_sgl_write(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, size_t sg_cnt, void *data, int flags);

/* ---- PCI ---- */

/** Generation of the bus; it decides on the size of config space. */
typedef enum {
    VFU_PCI_TYPE_CONVENTIONAL, /**< 256 bytes. */
    VFU_PCI_TYPE_PCI_X_1,      /**< 256 bytes. */
    VFU_PCI_TYPE_PCI_X_2,      /**< 4096 bytes. */
    VFU_PCI_TYPE_EXPRESS       /**< 4096 bytes. */
} vfu_pci_type_t;

/**
 * Makes config space, all zero, and sets up its region. Once, before vfu_realize_ctx() and the functions
 * below.
 *
 * @param vfu_ctx the context
 * @param pci_type kind of bus
 * @param hdr_type PCI_HEADER_TYPE_NORMAL (0)
 * @param revision not used: the revision register stays 0 until the program writes it in config space
 * @return 0, or -1 with errno
 *
 * | errno  | cause                                                |
 * |--------|------------------------------------------------------|
 * | EINVAL | unknown pci_type, or hdr_type is not a normal header |
 * | EEXIST | there is a config space already                      |
 * | ENOMEM | out of memory                                        |
 */
int
vfu_pci_init(vfu_ctx_t *vfu_ctx, vfu_pci_type_t pci_type, int hdr_type, int revision);

/**
 * Sets the ids in config space. After vfu_pci_init() or vfu_realize_ctx(), at any time.
 *
 * @param vfu_ctx the context
 * @param vid vendor
 * @param did device
 * @param ssvid subsystem vendor
 * @param ssid subsystem
 */
void
vfu_pci_set_id(vfu_ctx_t *vfu_ctx, uint16_t vid, uint16_t did, uint16_t ssvid, uint16_t ssid);

/**
 * Sets the class code in config space. After vfu_pci_init() or vfu_realize_ctx(), at any time.
 *
 * @param vfu_ctx the context
 * @param base base class, PCI_BASE_CLASS_*
 * @param sub sub-class
 * @param pi programming interface
 */
void
vfu_pci_set_class(vfu_ctx_t *vfu_ctx, uint8_t base, uint8_t sub, uint8_t pi);

/**
 * The live config space: what clients read. The program may read and write it at any time.
 *
 * @param vfu_ctx the context
 * @return config space, valid as long as the context; NULL before vfu_pci_init() and vfu_realize_ctx()
 */
vfu_pci_config_space_t *
vfu_pci_get_config_space(vfu_ctx_t *vfu_ctx);

#define VFU_CAP_FLAG_EXTENDED (1 << 0) /**< An extended capability, not a standard one. */
#define VFU_CAP_FLAG_CALLBACK (1 << 1) /**< Accesses go to the config region's callback. */
#define VFU_CAP_FLAG_READONLY (1 << 2) /**< Clients cannot write it. */

/**
 * Adds a capability to config space, at the end of its list.
 *
 * Standard ones: PM, MSI, VNDR, EXP, MSIX; extended ones: DSN, VNDR. What clients may write in them depends
 * on the kind: enable bits, the registers that only software uses, all of a VNDR but its header.
 *
 * May be called at any time after vfu_pci_init(), but vfu_realize_ctx() is what sets the capability list bit
 * in the status register.
 *
 * @param vfu_ctx the context
 * @param pos its offset in config space: from 0x40 and below 0x100, or extended from 0x100, the first at
 *        0x100 and all divisible by 4. 0: behind the last one
 * @param flags VFU_CAP_FLAG_*
 * @param data the capability from its header on, as long as its kind or, for VNDR, its length field says;
 *        copied, except for the link to the next one
 * @return its offset, or -1 with errno
 *
 * | errno   | cause                                                                                  |
 * |---------|----------------------------------------------------------------------------------------|
 * | EINVAL  | unknown bit in flags, CALLBACK without a callback, EXTENDED on a 256-byte config space |
 * | EINVAL  | bad pos, overlap with another capability, or no room at pos; no vfu_pci_init()         |
 * | ENOSPC  | no room behind the last one, or 128 of them already                                    |
 * | ENOTSUP | the library does not know that kind                                                    |
 */
ssize_t
vfu_pci_add_capability(vfu_ctx_t *vfu_ctx, size_t pos, int flags, void *data);

/**
 * Searches for the first capability of a kind.
 *
 * @param vfu_ctx the context
 * @param extended in the extended list, not the standard one
 * @param cap_id PCI_CAP_ID_* or PCI_EXT_CAP_ID_*
 * @return its offset, or 0 with errno
 *
 * | errno  | cause                                      |
 * |--------|--------------------------------------------|
 * | ENOENT | none                                       |
 * | EINVAL | no config space, or a link leads out of it |
 */
size_t
vfu_pci_find_capability(vfu_ctx_t *vfu_ctx, bool extended, int cap_id);

/**
 * Searches for the next capability of a kind.
 *
 * @param vfu_ctx the context
 * @param extended in the extended list, not the standard one
 * @param pos offset of the capability to begin after, 0 for the start of the list
 * @param cap_id PCI_CAP_ID_* or PCI_EXT_CAP_ID_*
 * @return its offset, or 0 with errno
 *
 * | errno  | cause                                             |
 * |--------|---------------------------------------------------|
 * | ENOENT | none                                              |
 * | EINVAL | no config space, or pos or a link lies outside it |
 */
size_t
vfu_pci_find_next_capability(vfu_ctx_t *vfu_ctx, bool extended, size_t pos, int cap_id);

#ifdef __cplusplus
}
#endif

#endif /* LIB_VFIO_USER_H */
