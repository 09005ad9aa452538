/* The PCI device around the UART: one 8-byte I/O BAR and INTx, as QEMU's pci-serial has them. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <vfio-user/libvfio-user.h>

#include "line.h"
#include "uart.h"

struct device_options {
    const char *socket;
    bool verbose;         /* log clients, resets, line settings, interrupt counts */
    bool trace;           /* log every register access */
    bool ignore_rts;      /* give the guest input even while it does not assert RTS */
};

struct device {
    vfu_ctx_t *vfu;
    struct device_options options;
    struct line *line;
    struct uart uart;
    bool attached;
    bool masked;                /* the client asked for no interrupts */
    bool level;                 /* the interrupt output, as last looked at */
    int64_t send_at;            /* when the bytes in the transmitter have been sent, 0: no such time */
    int64_t receive_at;         /* when the line may bring more, 0: now */
    int64_t timeout_at;         /* when the receiver's character timeout is due, 0: it is not */
    int64_t signal_at;          /* when to signal again an interrupt that stays pending, 0: never */
    unsigned logged_settings;   /* divisor and LCR that the log has seen */
    struct {
        uint64_t raised, unmasked, repeated, accesses, sent, received;
    } count;
};

/* Creates the socket and the device.  Returns -1 with errno set, and says on stderr what failed. */
int device_open(struct device *device, const struct device_options *options, struct line *line);

void device_close(struct device *device);

/* Accepts a client, or serves those of its requests that have arrived. */
void device_serve(struct device *device);

/* Moves bytes between UART and line, and does what the time has come for. */
void device_work(struct device *device);

/* What to wait for on the line besides the socket: POLLIN, POLLOUT. */
short device_line_events(const struct device *device);

/* When to call `device_work` even if nothing happens: a time of `device_clock`, 0 for never. */
int64_t device_deadline(const struct device *device);

/* Nanoseconds of the monotonic clock. */
int64_t device_clock(void);

#endif
