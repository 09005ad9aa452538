/*
 * Additions to the interface of libvfio-user: I/O address spaces (the iommufd extension of vfio-user), and how far
 * the files behind client memory are trusted. A program that calls none of these functions works as ever: clients
 * that offer the extension get it, others do not notice.
 *
 * Errors, callbacks and threads are as libvfio-user.h says.
 */
#ifndef VFU_EXT_H
#define VFU_EXT_H

#include "libvfio-user.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- I/O address spaces ---- */

/** Whether clients manage I/O address spaces themselves. */
enum vfu_iommufd_policy {
    VFU_IOMMUFD_OFF = 0,    /**< Never: all clients use DMA_MAP and DMA_UNMAP. */
    VFU_IOMMUFD_AUTO = 1,   /**< If they offer it. The default. */
    VFU_IOMMUFD_REQUIRE = 2 /**< Always: vfu_attach_ctx() refuses other clients with ENOTSUP. */
};

/** Where the IOVAs of mappings come from in IOAS mode, unless the client chooses. */
enum vfu_iova_policy {
    VFU_IOVA_SERVER_ADDRESS = 0, /**< The address of the memory in this process. The default. */
    VFU_IOVA_OPAQUE = 1          /**< The lowest free one, which says nothing about this process. */
};

/**
 * Chooses how clients map memory. Call it before vfu_realize_ctx().
 *
 * VFU_IOMMUFD_REQUIRE needs vfu_setup_device_dma() before vfu_realize_ctx(), which fails with EINVAL otherwise.
 *
 * @param vfu_ctx the context
 * @param policy enum vfu_iommufd_policy
 * @param iova_policy enum vfu_iova_policy; without effect with vfu_setup_device_iova_allocator()
 * @return 0, or -1 with errno
 *
 * | errno  | cause                                                      |
 * |--------|------------------------------------------------------------|
 * | EINVAL | no such policy, or vfu_realize_ctx() was called            |
 */
int
vfu_setup_device_iommufd(vfu_ctx_t *vfu_ctx, int policy, int iova_policy);

/**
 * Gives memory that a client maps its IOVA, for example the bus address that a driver knows it by.
 *
 * The range must be free, else the client's request fails with EADDRINUSE, and within the limits of
 * vfu_setup_device_iova_limits(), else it fails with EINVAL. An IOVA that is refused so counts as not given.
 *
 * @param vfu_ctx the context
 * @param vaddr its first byte in this process; NULL if it is reached by messages
 * @param length bytes
 * @param fd its file, not to be closed; -1 if it is reached by messages
 * @param offset where in the file it begins
 * @param iova where the callback stores the IOVA
 * @return 0, or -1 with the errno that the client's request fails with
 */
typedef int(vfu_iova_allocate_cb_t)(vfu_ctx_t *vfu_ctx, void *vaddr, uint64_t length, int fd,
                                    uint64_t offset, uint64_t *iova);

/**
 * Tells that a mapping with an IOVA of the other callback has gone, or could not be made after all.
 *
 * @param vfu_ctx the context
 * @param iova what was given
 * @param length bytes
 */
typedef void(vfu_iova_free_cb_t)(vfu_ctx_t *vfu_ctx, uint64_t iova, uint64_t length);

/**
 * Lets the program choose IOVAs in IOAS mode. Call it before vfu_realize_ctx().
 *
 * @param vfu_ctx the context
 * @param allocate called for each mapping whose IOVA the client does not choose; NULL: no allocator
 * @param free_iova called when such a mapping has gone, or NULL
 * @return 0, or -1 with errno
 *
 * | errno  | cause                                                          |
 * |--------|----------------------------------------------------------------|
 * | EINVAL | free_iova without allocate, or vfu_realize_ctx() was called    |
 */
int
vfu_setup_device_iova_allocator(vfu_ctx_t *vfu_ctx, vfu_iova_allocate_cb_t *allocate,
                                vfu_iova_free_cb_t *free_iova);

/**
 * Limits the IOVAs that clients and the allocator may choose. By default all are good. Call it before
 * vfu_realize_ctx().
 *
 * @param vfu_ctx the context
 * @param ranges a mapping must lie in one of these; copied
 * @param nr_ranges how many there are, at least one
 * @param alignment what every IOVA is a multiple of: a power of two up to the page size, 1 for any
 * @return 0, or -1 with errno
 *
 * | errno  | cause                                                                              |
 * |--------|------------------------------------------------------------------------------------|
 * | EINVAL | no range, one that ends before it starts, a bad alignment, or vfu_realize_ctx() was called |
 */
int
vfu_setup_device_iova_limits(vfu_ctx_t *vfu_ctx, const struct vfio_user_iommufd_iova_range *ranges,
                             size_t nr_ranges, uint64_t alignment);

/**
 * Tells the device which address space it sees now. Comes after the unregister callbacks for all memory of the one
 * before, when that can be used no more, and before the register callbacks for that of the new one.
 *
 * @param vfu_ctx the context
 * @param ioas_id the id of the address space; 0: none
 */
typedef void(vfu_ioas_cb_t)(vfu_ctx_t *vfu_ctx, uint32_t ioas_id);

/**
 * Sets the function that is told when a client attaches or detaches an address space, and when a client that has
 * one attached goes. In legacy mode it is not called.
 *
 * @param vfu_ctx the context
 * @param changed the callback, or NULL for none
 * @return 0
 */
int
vfu_setup_device_ioas_cb(vfu_ctx_t *vfu_ctx, vfu_ioas_cb_t *changed);

/**
 * Asks whether the client uses IOAS mode.
 *
 * @param vfu_ctx the context
 * @return 1 in IOAS mode, 0 in legacy mode, or -1 with errno
 *
 * | errno    | cause                 |
 * |----------|-----------------------|
 * | ENOTCONN | no client is attached |
 */
int
vfu_iommufd_in_use(vfu_ctx_t *vfu_ctx);

/**
 * Asks which address space the device sees.
 *
 * @param vfu_ctx the context
 * @param ioas_id where its id is stored
 * @return 0, or -1 with errno
 *
 * | errno    | cause                          |
 * |----------|--------------------------------|
 * | ENOTCONN | no client is attached          |
 * | ENOTSUP  | the client uses legacy mode    |
 * | ENODEV   | no address space is attached   |
 * | EINVAL   | ioas_id is NULL                |
 */
int
vfu_iommufd_attached_ioas(vfu_ctx_t *vfu_ctx, uint32_t *ioas_id);

/**
 * Asks for the client's own address of a DMA region: what it said in IOAS_MAP, 0 in legacy mode. It means something
 * to the client only.
 *
 * @param vfu_ctx the context
 * @param info what a register or unregister callback got, or a copy of it
 * @param user_va where the address is stored
 * @return 0, or -1 with errno
 *
 * | errno  | cause                               |
 * |--------|-------------------------------------|
 * | ENOENT | the device sees no such region now  |
 * | EINVAL | info or user_va is NULL             |
 */
int
vfu_dma_info_user_va(vfu_ctx_t *vfu_ctx, const vfu_dma_info_t *info, uint64_t *user_va);

/* ---- files that may become shorter ---- */

/**
 * Whether files that clients map, in either mode, must be sealed against shrinking (F_SEAL_SHRINK). Others are then
 * refused with EPERM, and what ends behind its file with EINVAL. Holds for what is mapped from then on; off by default.
 *
 * @param vfu_ctx the context
 * @param on whether they must
 * @return 0
 */
int
vfu_setup_device_require_sealed(vfu_ctx_t *vfu_ctx, bool on);

/**
 * Whether vfu_sgl_read() and vfu_sgl_write() with VFU_SGL_DIRECT_ACCESS use pread() and pwrite() on mapped files
 * that are not sealed against shrinking. Then a client that shortens its file makes them fail with EFAULT; otherwise
 * the program gets SIGBUS. What the program does with addresses of vfu_sgl_get() is not guarded. Mappings that end
 * behind their file are refused with EINVAL. Holds for what is mapped from then on; off by default.
 *
 * @param vfu_ctx the context
 * @param on whether they do
 * @return 0
 */
int
vfu_setup_device_guard_dma(vfu_ctx_t *vfu_ctx, bool on);

#ifdef __cplusplus
}
#endif

#endif /* VFU_EXT_H */
