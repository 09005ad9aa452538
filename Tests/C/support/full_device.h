/* A device with everything there is, and answers that may be anything. */
#ifndef VFU_TEST_FULL_DEVICE_H
#define VFU_TEST_FULL_DEVICE_H

#include "support.h"

#define CONFIG VFU_PCI_DEV_CFG_REGION_IDX
#define UNSAFE "it reads or writes out of bounds, aborts or hangs"

/* The client takes little data at a time, so that replies fit into the socket. */
#define SMALL_JSON "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":4096}}"

struct session *full_device(void);

/* Any answer will do, as long as it is one to this request; returns whether it was success. */
bool answered(struct session *s, uint16_t id, uint16_t cmd);

/* In step, whatever state the device has been put into. */
void assert_in_step(struct session *s);

#endif
