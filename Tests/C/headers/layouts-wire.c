/* Every constant and structure of vfio-user.h. All checks are the compiler's. */
#include <vfio-user/vfio-user.h>

#include "layouts.h"

VALUE(VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE, 1048576);
VALUE(VFIO_USER_FLAGS_NO_REPLY, 0x1);
VALUE(VFIO_USER_F_TYPE_MASK, 0xf);
VALUE(VFIO_USER_F_TYPE_COMMAND, 0x0);
VALUE(VFIO_USER_F_TYPE_REPLY, 0x1);
VALUE(VFIO_USER_F_NO_REPLY, 0x10);
VALUE(VFIO_USER_F_ERROR, 0x20);
VALUE(VFIO_USER_F_DMA_REGION_READ, 1);
VALUE(VFIO_USER_F_DMA_REGION_WRITE, 2);
VALUE(VFIO_USER_F_DMA_REGION_MMAP, 4);
VALUE(VFIO_USER_F_DMA_REGION_FILE_IO, 8);
VALUE(VFIO_USER_IO_FD_TYPE_IOEVENTFD, 0);
VALUE(VFIO_USER_IO_FD_TYPE_IOREGIONFD, 1);
VALUE(VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW, 2);
VALUE(VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, 1);
VALUE(VFIO_DMA_UNMAP_FLAG_ALL, 2);
VALUE(VFIO_DEVICE_FEATURE_MASK, 0xffff);
VALUE(VFIO_DEVICE_FEATURE_GET, 1 << 16);
VALUE(VFIO_DEVICE_FEATURE_SET, 1 << 17);
VALUE(VFIO_DEVICE_FEATURE_PROBE, 1 << 18);
VALUE(VFIO_DEVICE_FEATURE_MIGRATION, 1);
VALUE(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, 2);
VALUE(VFIO_DEVICE_FEATURE_DMA_LOGGING_START, 6);
VALUE(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, 7);
VALUE(VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, 8);
VALUE(VFIO_MIGRATION_STOP_COPY, 1);
VALUE(VFIO_MIGRATION_P2P, 2);
VALUE(VFIO_MIGRATION_PRE_COPY, 4);

TYPE(enum vfio_user_command, 4, 4);
VALUE(VFIO_USER_VERSION, 1);
VALUE(VFIO_USER_DMA_MAP, 2);
VALUE(VFIO_USER_DMA_UNMAP, 3);
VALUE(VFIO_USER_DEVICE_GET_INFO, 4);
VALUE(VFIO_USER_DEVICE_GET_REGION_INFO, 5);
VALUE(VFIO_USER_DEVICE_GET_REGION_IO_FDS, 6);
VALUE(VFIO_USER_DEVICE_GET_IRQ_INFO, 7);
VALUE(VFIO_USER_DEVICE_SET_IRQS, 8);
VALUE(VFIO_USER_REGION_READ, 9);
VALUE(VFIO_USER_REGION_WRITE, 10);
VALUE(VFIO_USER_DMA_READ, 11);
VALUE(VFIO_USER_DMA_WRITE, 12);
VALUE(VFIO_USER_DEVICE_RESET, 13);
VALUE(VFIO_USER_REGION_WRITE_MULTI, 15);
VALUE(VFIO_USER_DEVICE_FEATURE, 16);
VALUE(VFIO_USER_MIG_DATA_READ, 17);
VALUE(VFIO_USER_MIG_DATA_WRITE, 18);
VALUE(VFIO_USER_MAX, 19);

TYPE(enum vfio_user_message_type, 4, 4);
VALUE(VFIO_USER_MESSAGE_COMMAND, 0);
VALUE(VFIO_USER_MESSAGE_REPLY, 1);

TYPE(enum vfio_user_device_mig_state, 4, 4);
VALUE(VFIO_USER_DEVICE_STATE_ERROR, 0);
VALUE(VFIO_USER_DEVICE_STATE_STOP, 1);
VALUE(VFIO_USER_DEVICE_STATE_RUNNING, 2);
VALUE(VFIO_USER_DEVICE_STATE_STOP_COPY, 3);
VALUE(VFIO_USER_DEVICE_STATE_RESUMING, 4);
VALUE(VFIO_USER_DEVICE_STATE_RUNNING_P2P, 5);
VALUE(VFIO_USER_DEVICE_STATE_PRE_COPY, 6);
VALUE(VFIO_USER_DEVICE_STATE_PRE_COPY_P2P, 7);
VALUE(VFIO_USER_DEVICE_NUM_STATES, 8);

TYPE(struct vfio_user_header, 16, 1);
FIELD(struct vfio_user_header, msg_id, 0, 2);
FIELD(struct vfio_user_header, cmd, 2, 2);
FIELD(struct vfio_user_header, msg_size, 4, 4);
FIELD(struct vfio_user_header, flags, 8, 4);
FIELD(struct vfio_user_header, error_no, 12, 4);

TYPE(struct vfio_user_version, 4, 1);
FIELD(struct vfio_user_version, major, 0, 2);
FIELD(struct vfio_user_version, minor, 2, 2);
FLEXIBLE(struct vfio_user_version, data, 4, 1);

TYPE(struct vfio_user_device_info, 16, 1);
FIELD(struct vfio_user_device_info, argsz, 0, 4);
FIELD(struct vfio_user_device_info, flags, 4, 4);
FIELD(struct vfio_user_device_info, num_regions, 8, 4);
FIELD(struct vfio_user_device_info, num_irqs, 12, 4);

TYPE(struct vfio_user_bitmap, 16, 1);
FIELD(struct vfio_user_bitmap, pgsize, 0, 8);
FIELD(struct vfio_user_bitmap, size, 8, 8);
FLEXIBLE(struct vfio_user_bitmap, data, 16, 1);

TYPE(struct vfio_user_dma_map, 32, 1);
FIELD(struct vfio_user_dma_map, argsz, 0, 4);
FIELD(struct vfio_user_dma_map, flags, 4, 4);
FIELD(struct vfio_user_dma_map, offset, 8, 8);
FIELD(struct vfio_user_dma_map, addr, 16, 8);
FIELD(struct vfio_user_dma_map, size, 24, 8);

TYPE(struct vfio_user_dma_unmap, 24, 8);
FIELD(struct vfio_user_dma_unmap, argsz, 0, 4);
FIELD(struct vfio_user_dma_unmap, flags, 4, 4);
FIELD(struct vfio_user_dma_unmap, addr, 8, 8);
FIELD(struct vfio_user_dma_unmap, size, 16, 8);
FLEXIBLE(struct vfio_user_dma_unmap, bitmap, 24, 16);

TYPE(struct vfio_user_region_access, 16, 1);
FIELD(struct vfio_user_region_access, offset, 0, 8);
FIELD(struct vfio_user_region_access, region, 8, 4);
FIELD(struct vfio_user_region_access, count, 12, 4);
FLEXIBLE(struct vfio_user_region_access, data, 16, 1);

TYPE(struct vfio_user_dma_region_access, 16, 1);
FIELD(struct vfio_user_dma_region_access, addr, 0, 8);
FIELD(struct vfio_user_dma_region_access, count, 8, 8);
FLEXIBLE(struct vfio_user_dma_region_access, data, 16, 1);

TYPE(struct vfio_user_irq_info, 4, 1);
FIELD(struct vfio_user_irq_info, subindex, 0, 4);

TYPE(struct vfio_user_region_io_fds_request, 16, 1);
TYPE(vfio_user_region_io_fds_request_t, 16, 1);
FIELD(vfio_user_region_io_fds_request_t, argsz, 0, 4);
FIELD(vfio_user_region_io_fds_request_t, flags, 4, 4);
FIELD(vfio_user_region_io_fds_request_t, index, 8, 4);
FIELD(vfio_user_region_io_fds_request_t, count, 12, 4);

TYPE(struct vfio_user_sub_region_ioeventfd, 48, 1);
TYPE(vfio_user_sub_region_ioeventfd_t, 48, 1);
FIELD(vfio_user_sub_region_ioeventfd_t, gpa_offset, 0, 8);
FIELD(vfio_user_sub_region_ioeventfd_t, size, 8, 8);
FIELD(vfio_user_sub_region_ioeventfd_t, fd_index, 16, 4);
FIELD(vfio_user_sub_region_ioeventfd_t, type, 20, 4);
FIELD(vfio_user_sub_region_ioeventfd_t, flags, 24, 4);
FIELD(vfio_user_sub_region_ioeventfd_t, shadow_mem_fd_index, 28, 4);
FIELD(vfio_user_sub_region_ioeventfd_t, shadow_offset, 32, 8);
FIELD(vfio_user_sub_region_ioeventfd_t, datamatch, 40, 8);

TYPE(struct vfio_user_sub_region_ioregionfd, 40, 1);
TYPE(vfio_user_sub_region_ioregionfd_t, 40, 1);
FIELD(vfio_user_sub_region_ioregionfd_t, offset, 0, 8);
FIELD(vfio_user_sub_region_ioregionfd_t, size, 8, 8);
FIELD(vfio_user_sub_region_ioregionfd_t, fd_index, 16, 4);
FIELD(vfio_user_sub_region_ioregionfd_t, type, 20, 4);
FIELD(vfio_user_sub_region_ioregionfd_t, flags, 24, 4);
FIELD(vfio_user_sub_region_ioregionfd_t, padding, 28, 4);
FIELD(vfio_user_sub_region_ioregionfd_t, user_data, 32, 8);

TYPE(struct vfio_user_region_io_fds_reply, 16, 1);
TYPE(vfio_user_region_io_fds_reply_t, 16, 1);
FIELD(vfio_user_region_io_fds_reply_t, argsz, 0, 4);
FIELD(vfio_user_region_io_fds_reply_t, flags, 4, 4);
FIELD(vfio_user_region_io_fds_reply_t, index, 8, 4);
FIELD(vfio_user_region_io_fds_reply_t, count, 12, 4);
FLEXIBLE(vfio_user_region_io_fds_reply_t, sub_regions, 16, 48);
FIELD(union sub_region, ioeventfd, 0, 48);
FIELD(union sub_region, ioregionfd, 0, 40);

TYPE(struct vfio_user_device_feature_dma_logging_range, 16, 1);
FIELD(struct vfio_user_device_feature_dma_logging_range, iova, 0, 8);
FIELD(struct vfio_user_device_feature_dma_logging_range, length, 8, 8);

TYPE(struct vfio_user_device_feature_dma_logging_control, 16, 1);
FIELD(struct vfio_user_device_feature_dma_logging_control, page_size, 0, 8);
FIELD(struct vfio_user_device_feature_dma_logging_control, num_ranges, 8, 4);
FIELD(struct vfio_user_device_feature_dma_logging_control, reserved, 12, 4);
FLEXIBLE(struct vfio_user_device_feature_dma_logging_control, ranges, 16, 16);

TYPE(struct vfio_user_device_feature_dma_logging_report, 24, 1);
FIELD(struct vfio_user_device_feature_dma_logging_report, iova, 0, 8);
FIELD(struct vfio_user_device_feature_dma_logging_report, length, 8, 8);
FIELD(struct vfio_user_device_feature_dma_logging_report, page_size, 16, 8);
FLEXIBLE(struct vfio_user_device_feature_dma_logging_report, bitmap, 24, 1);

TYPE(struct vfio_user_device_feature, 8, 1);
FIELD(struct vfio_user_device_feature, argsz, 0, 4);
FIELD(struct vfio_user_device_feature, flags, 4, 4);
FLEXIBLE(struct vfio_user_device_feature, data, 8, 1);

TYPE(struct vfio_user_device_feature_migration, 8, 1);
FIELD(struct vfio_user_device_feature_migration, flags, 0, 8);

TYPE(struct vfio_user_device_feature_mig_state, 8, 1);
FIELD(struct vfio_user_device_feature_mig_state, device_state, 0, 4);
FIELD(struct vfio_user_device_feature_mig_state, data_fd, 4, 4);

TYPE(struct vfio_user_mig_data, 8, 1);
FIELD(struct vfio_user_mig_data, argsz, 0, 4);
FIELD(struct vfio_user_mig_data, size, 4, 4);
FLEXIBLE(struct vfio_user_mig_data, data, 8, 1);

/* The iommufd extension. */

VALUE(VFIO_USER_IOMMUFD_ALLOC_IOAS, 19);
VALUE(VFIO_USER_IOMMUFD_DESTROY_IOAS, 20);
VALUE(VFIO_USER_IOMMUFD_IOAS_MAP, 21);
VALUE(VFIO_USER_IOMMUFD_IOAS_UNMAP, 22);
VALUE(VFIO_USER_IOMMUFD_IOAS_COPY, 23);
VALUE(VFIO_USER_IOMMUFD_BIND, 24);
VALUE(VFIO_USER_IOMMUFD_ATTACH_PT, 25);
VALUE(VFIO_USER_IOMMUFD_DETACH_PT, 26);
VALUE(VFIO_USER_IOMMUFD_IOVA_RANGES, 0x8001);
VALUE(VFIO_USER_IOMMUFD_COMPAT_IOAS, 0x8002);
VALUE(VFIO_USER_IOMMUFD_MAP_WRITEABLE, 1);
VALUE(VFIO_USER_IOMMUFD_MAP_READABLE, 2);
VALUE(VFIO_USER_IOMMUFD_MAP_FIXED_IOVA, 4);
VALUE(VFIO_USER_IOMMUFD_UNMAP_ALL, 1);
VALUE(VFIO_USER_IOMMUFD_ATTACH_PASID, 1);
VALUE(VFIO_USER_IOMMUFD_DETACH_PASID, 1);
VALUE(VFIO_USER_IOMMUFD_COMPAT_GET, 0);
VALUE(VFIO_USER_IOMMUFD_COMPAT_SET, 1);
VALUE(VFIO_USER_IOMMUFD_COMPAT_CLEAR, 2);

TYPE(struct vfio_user_iommufd_alloc_ioas, 16, 1);
FIELD(struct vfio_user_iommufd_alloc_ioas, argsz, 0, 4);
FIELD(struct vfio_user_iommufd_alloc_ioas, flags, 4, 4);
FIELD(struct vfio_user_iommufd_alloc_ioas, out_ioas_id, 8, 4);
FIELD(struct vfio_user_iommufd_alloc_ioas, __reserved, 12, 4);

TYPE(struct vfio_user_iommufd_destroy_ioas, 16, 1);
FIELD(struct vfio_user_iommufd_destroy_ioas, argsz, 0, 4);
FIELD(struct vfio_user_iommufd_destroy_ioas, flags, 4, 4);
FIELD(struct vfio_user_iommufd_destroy_ioas, ioas_id, 8, 4);
FIELD(struct vfio_user_iommufd_destroy_ioas, __reserved, 12, 4);

TYPE(struct vfio_user_iommufd_ioas_map, 48, 1);
FIELD(struct vfio_user_iommufd_ioas_map, argsz, 0, 4);
FIELD(struct vfio_user_iommufd_ioas_map, flags, 4, 4);
FIELD(struct vfio_user_iommufd_ioas_map, ioas_id, 8, 4);
FIELD(struct vfio_user_iommufd_ioas_map, __reserved, 12, 4);
FIELD(struct vfio_user_iommufd_ioas_map, user_va, 16, 8);
FIELD(struct vfio_user_iommufd_ioas_map, length, 24, 8);
FIELD(struct vfio_user_iommufd_ioas_map, iova, 32, 8);
FIELD(struct vfio_user_iommufd_ioas_map, offset, 40, 8);

TYPE(struct vfio_user_iommufd_ioas_unmap, 32, 1);
FIELD(struct vfio_user_iommufd_ioas_unmap, argsz, 0, 4);
FIELD(struct vfio_user_iommufd_ioas_unmap, flags, 4, 4);
FIELD(struct vfio_user_iommufd_ioas_unmap, ioas_id, 8, 4);
FIELD(struct vfio_user_iommufd_ioas_unmap, __reserved, 12, 4);
FIELD(struct vfio_user_iommufd_ioas_unmap, iova, 16, 8);
FIELD(struct vfio_user_iommufd_ioas_unmap, length, 24, 8);

TYPE(struct vfio_user_iommufd_ioas_copy, 40, 1);
FIELD(struct vfio_user_iommufd_ioas_copy, argsz, 0, 4);
FIELD(struct vfio_user_iommufd_ioas_copy, flags, 4, 4);
FIELD(struct vfio_user_iommufd_ioas_copy, src_ioas_id, 8, 4);
FIELD(struct vfio_user_iommufd_ioas_copy, dst_ioas_id, 12, 4);
FIELD(struct vfio_user_iommufd_ioas_copy, src_iova, 16, 8);
FIELD(struct vfio_user_iommufd_ioas_copy, dst_iova, 24, 8);
FIELD(struct vfio_user_iommufd_ioas_copy, length, 32, 8);

TYPE(struct vfio_user_iommufd_bind, 16, 1);
FIELD(struct vfio_user_iommufd_bind, argsz, 0, 4);
FIELD(struct vfio_user_iommufd_bind, flags, 4, 4);
FIELD(struct vfio_user_iommufd_bind, iommufd, 8, 4);
FIELD(struct vfio_user_iommufd_bind, out_devid, 12, 4);

TYPE(struct vfio_user_iommufd_attach_pt, 16, 1);
FIELD(struct vfio_user_iommufd_attach_pt, argsz, 0, 4);
FIELD(struct vfio_user_iommufd_attach_pt, flags, 4, 4);
FIELD(struct vfio_user_iommufd_attach_pt, pt_id, 8, 4);
FIELD(struct vfio_user_iommufd_attach_pt, pasid, 12, 4);

TYPE(struct vfio_user_iommufd_detach_pt, 16, 1);
FIELD(struct vfio_user_iommufd_detach_pt, argsz, 0, 4);
FIELD(struct vfio_user_iommufd_detach_pt, flags, 4, 4);
FIELD(struct vfio_user_iommufd_detach_pt, pasid, 8, 4);
FIELD(struct vfio_user_iommufd_detach_pt, __reserved, 12, 4);

TYPE(struct vfio_user_iommufd_iova_range, 16, 1);
FIELD(struct vfio_user_iommufd_iova_range, start, 0, 8);
FIELD(struct vfio_user_iommufd_iova_range, last, 8, 8);

TYPE(struct vfio_user_iommufd_iova_ranges, 24, 1);
FIELD(struct vfio_user_iommufd_iova_ranges, argsz, 0, 4);
FIELD(struct vfio_user_iommufd_iova_ranges, flags, 4, 4);
FIELD(struct vfio_user_iommufd_iova_ranges, ioas_id, 8, 4);
FIELD(struct vfio_user_iommufd_iova_ranges, num_ranges, 12, 4);
FIELD(struct vfio_user_iommufd_iova_ranges, alignment, 16, 8);
FLEXIBLE(struct vfio_user_iommufd_iova_ranges, ranges, 24, 16);

TYPE(struct vfio_user_iommufd_compat_ioas, 16, 1);
FIELD(struct vfio_user_iommufd_compat_ioas, argsz, 0, 4);
FIELD(struct vfio_user_iommufd_compat_ioas, flags, 4, 4);
FIELD(struct vfio_user_iommufd_compat_ioas, op, 8, 4);
FIELD(struct vfio_user_iommufd_compat_ioas, ioas_id, 12, 4);
