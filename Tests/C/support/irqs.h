/* DEVICE_SET_IRQS. */
#ifndef VFU_TEST_IRQS_H
#define VFU_TEST_IRQS_H

#include "support.h"

#define NONE VFIO_IRQ_SET_DATA_NONE
#define BOOL VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define MASK VFIO_IRQ_SET_ACTION_MASK
#define UNMASK VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER
#define MSIX VFU_DEV_MSIX_IRQ

void set_irqs(struct session *s, uint32_t flags, uint32_t index, uint32_t start_at, uint32_t count, const void *data,
              size_t size, const int *fds, size_t nr_fds);

/* Fails with EINVAL and keeps none of the fds. */
void set_irqs_fails(struct session *s, uint32_t flags, uint32_t index, uint32_t start_at, uint32_t count,
                    const void *data, size_t size, const int *fds, size_t nr_fds);

/* Gives eventfds to vectors start_at … start_at + n - 1. */
void give(struct session *s, uint32_t index, uint32_t start_at, const int *fds, uint32_t n);

#endif
