#define _GNU_SOURCE
#include "device.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    MICROSECOND = 1000,
    MILLISECOND = 1000 * MICROSECOND,
    /*
     * The least time that the FIFOs rest between the guest's last access to them and what the
     * line does next, so that an interrupt handler finds nothing more to do and returns, however
     * slow the guest is compared with the line.
     */
    REST = 250 * MICROSECOND,
    /*
     * An eventfd carries edges and this interrupt is a level.  QEMU without KVM takes the first
     * access of the guest's handler for the end of the interrupt, and says so by unmasking it:
     * the handler gets this long to really end it before it is signalled again.
     */
    SIGNAL_AFTER_UNMASK = 500 * MICROSECOND,
    /* A client that gives the eventfd to the kernel (irqfd) may never say so: signal now and then. */
    SIGNAL_AGAIN = 100 * MILLISECOND,
    /* A pseudo-terminal is looked at this often, to see whether someone has it open. */
    CHECK_LINE = 100 * MILLISECOND,
    /* How long the last output of a client that is gone may take. */
    LAST_WORDS_MS = 1000,
};

int64_t device_clock(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

__attribute__((format(printf, 2, 3)))
static void note(const struct device *device, const char *format, ...) {
    va_list arguments;

    if (device->options.verbose) {
        fputs("pci-serial: ", stderr);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputc('\n', stderr);
    }
}

/* Interrupts. */

static void signal_interrupt(struct device *device) {
    device->signal_at = device_clock() + SIGNAL_AGAIN;
    /* Without an eventfd yet, there is nobody to tell: try again later. */
    if (!device->masked && vfu_irq_trigger(device->vfu, 0) != 0 && errno != ENOENT) {
        note(device, "interrupt: %s", strerror(errno));
    }
}

static void update_interrupt(struct device *device) {
    bool level = uart_interrupt(&device->uart);

    if (level && !device->level) {
        device->count.raised++;
        signal_interrupt(device);
    } else if (!level) {
        device->signal_at = 0;
    }
    device->level = level;
}

/* The client believes the interrupt serviced: if it is pending still, it is a new one to it. */
static void irq_state_changed(vfu_ctx_t *vfu, uint32_t start, uint32_t count, bool mask) {
    struct device *device = vfu_get_private(vfu);

    (void)start;
    (void)count;
    device->masked = mask;
    if (!mask && device->level) {
        device->count.unmasked++;
        device->signal_at = device_clock() + SIGNAL_AFTER_UNMASK;
    }
}

/*
 * The line.  Bytes take as long as they would on a wire, so that drivers see what they were made
 * for: an interrupt for each filling of the FIFO, and time between two of them.
 */

static void send_output(struct device *device) {
    uint8_t bytes[UART_FIFO_SIZE];
    size_t waiting = uart_transmit_waiting(&device->uart, bytes);
    size_t sent = line_write(device->line, bytes, waiting);

    uart_transmit_done(&device->uart, sent);
    device->count.sent += sent;
    device->send_at = 0;
}

static bool wants_input(const struct device *device) {
    return device->attached && uart_receive_count(&device->uart) == 0 &&
           uart_receive_room(&device->uart) > 0 &&
           (device->options.ignore_rts || uart_ready_to_receive(&device->uart));
}

static void restart_timeout(struct device *device) {
    device->timeout_at = uart_receive_waits(&device->uart)
                             ? device_clock() + 4 * uart_character_ns(&device->uart)
                             : 0;
}

/* As much as there is room for comes at once, and then nothing for as long as that takes. */
static void take_input(struct device *device) {
    uint8_t bytes[UART_FIFO_SIZE];
    size_t count = line_read(device->line, bytes, uart_receive_room(&device->uart));

    for (size_t i = 0; i < count; i++) {
        uart_receive(&device->uart, bytes[i], 0);
    }
    if (count > 0) {
        device->count.received += count;
        device->receive_at = device_clock() + (int64_t)count * uart_character_ns(&device->uart);
        restart_timeout(device);
    }
}

/* A terminal at the other end holds its DTR and RTS high, which arrive here by these names. */
static void update_modem_lines(struct device *device) {
    bool connected = line_check(device->line);

    uart_set_inputs(&device->uart, connected ? UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS : 0);
}

short device_line_events(const struct device *device) {
    short events = 0;

    /* POLLHUP cannot be ignored in poll(), so a terminal that hung up is checked by the clock. */
    if (!device->line->connected) {
        return 0;
    }
    if (wants_input(device) && device->receive_at == 0 && !device->line->input_ended) {
        events |= POLLIN;
    }
    if (device->send_at == 0 && uart_transmit_count(&device->uart) > 0) {
        events |= POLLOUT;
    }
    return events;
}

int64_t device_deadline(const struct device *device) {
    int64_t times[] = {device->send_at, device->receive_at, device->timeout_at, device->signal_at,
                       device->line->pty ? device_clock() + CHECK_LINE : 0};
    int64_t first = 0;

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        if (times[i] != 0 && (first == 0 || times[i] < first)) {
            first = times[i];
        }
    }
    return first;
}

void device_work(struct device *device) {
    int64_t now = device_clock();

    update_modem_lines(device);
    if (device->send_at <= now) {
        send_output(device);
    }
    if (device->timeout_at != 0 && device->timeout_at <= now) {
        device->timeout_at = 0;
        uart_receive_timeout(&device->uart);
    }
    if (device->receive_at <= now) {
        device->receive_at = 0;
        if (wants_input(device)) {
            take_input(device);
        }
    }
    update_interrupt(device);
    if (device->signal_at != 0 && device->signal_at <= now) {
        device->count.repeated++;
        signal_interrupt(device);
    }
}

/* Registers. */

static int64_t later(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static void note_settings(struct device *device) {
    const struct uart *uart = &device->uart;
    unsigned settings = (unsigned)uart->divisor << 8 | uart->lcr;

    if (!(uart->lcr & UART_LCR_DLAB) && settings != device->logged_settings) {
        device->logged_settings = settings;
        note(device, "the guest set the line to %u %u%c%d", uart_bits_per_second(uart),
             5 + (uart->lcr & UART_LCR_WORD_LENGTH),
             !(uart->lcr & UART_LCR_PARITY) ? 'N' : uart->lcr & UART_LCR_EVEN ? 'E' : 'O',
             uart->lcr & UART_LCR_TWO_STOP_BITS ? 2 : 1);
    }
}

static uint8_t read_register(struct device *device, unsigned offset) {
    uint8_t value = uart_read(&device->uart, offset);

    if (offset == UART_RBR) {
        device->receive_at = later(device->receive_at, device_clock() + REST);
        restart_timeout(device);
    }
    return value;
}

static void write_register(struct device *device, unsigned offset, uint8_t value) {
    size_t before = uart_transmit_count(&device->uart), after;

    uart_write(&device->uart, offset, value);
    if (offset == UART_LCR) {
        note_settings(device);
    }
    after = uart_transmit_count(&device->uart);
    /* A transmitter that waits for room on the line, and not for the time to pass, has no time. */
    if (after > before && (before == 0 || device->send_at != 0)) {
        int64_t now = device_clock();

        device->send_at = (before == 0 ? now : device->send_at) + uart_character_ns(&device->uart);
        device->send_at = later(device->send_at, now + REST);
    }
}

/* A wider access is one to each register in turn, as the bus of such a device makes it. */
static ssize_t access_registers(vfu_ctx_t *vfu, char *buffer, size_t count, loff_t offset,
                                bool is_write) {
    struct device *device = vfu_get_private(vfu);

    for (size_t i = 0; i < count; i++) {
        unsigned reg = (unsigned)offset + (unsigned)i;

        if (is_write) {
            write_register(device, reg, (uint8_t)buffer[i]);
        } else {
            buffer[i] = (char)read_register(device, reg);
        }
        if (device->options.trace) {
            note(device, "%s %u %02x", is_write ? "write" : "read ", reg, (uint8_t)buffer[i]);
        }
    }
    device->count.accesses++;
    update_interrupt(device);
    return (ssize_t)count;
}

/* Clients. */

static void client_gone(struct device *device) {
    struct pollfd pollfd = {.fd = device->line->output, .events = POLLOUT};

    send_output(device);
    while (uart_transmit_count(&device->uart) > 0 && poll(&pollfd, 1, LAST_WORDS_MS) > 0) {
        send_output(device);
    }
    if (device->attached) {
        note(device, "client gone after %llu register accesses, %llu bytes out, %llu in",
             (unsigned long long)device->count.accesses, (unsigned long long)device->count.sent,
             (unsigned long long)device->count.received);
        note(device, "interrupts: %llu raised, %llu pending when unmasked, %llu signalled again",
             (unsigned long long)device->count.raised, (unsigned long long)device->count.unmasked,
             (unsigned long long)device->count.repeated);
    }
    memset(&device->count, 0, sizeof(device->count));
    device->attached = false;
    device->masked = false;
}

static int reset(vfu_ctx_t *vfu, vfu_reset_type_t type) {
    struct device *device = vfu_get_private(vfu);
    vfu_pci_hdr_t *header = &vfu_pci_get_config_space(vfu)->hdr;

    if (type == VFU_RESET_LOST_CONN) {
        client_gone(device);
    } else {
        send_output(device);
        note(device, "reset");
    }
    uart_reset(&device->uart);
    device->level = false;
    device->send_at = 0;
    device->receive_at = 0;
    device->timeout_at = 0;
    device->signal_at = 0;
    device->logged_settings = 0;
    header->cmd.raw = 0;
    header->intr.iline = 0;
    header->bars[0].raw = PCI_BASE_ADDRESS_SPACE_IO;
    return 0;
}

void device_serve(struct device *device) {
    int served = 0;

    if (!device->attached) {
        if (vfu_attach_ctx(device->vfu) == 0) {
            device->attached = true;
            note(device, "client attached");
        } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            note(device, "no client: %s", strerror(errno));
        }
        return;
    }
    /* A bound, so that a client that never pauses does not keep the line waiting. */
    for (int i = 0; i < 64 && device->attached; i++) {
        served = vfu_run_ctx(device->vfu);
        if (served <= 0) {
            break;
        }
    }
    if (served < 0 && errno == ENOTCONN) {
        device->attached = false;
    } else if (served < 0 && errno != EINTR) {
        note(device, "request: %s", strerror(errno));
    }
}

/* Set-up. */

static void log_library(vfu_ctx_t *vfu, int level, const char *message) {
    (void)vfu;
    (void)level;
    fprintf(stderr, "libvfio-user: %s\n", message);
}

static int fail(struct device *device, const char *what) {
    int error = errno;

    fprintf(stderr, "pci-serial: %s: %s\n", what, strerror(error));
    device_close(device);
    errno = error;
    return -1;
}

int device_open(struct device *device, const struct device_options *options, struct line *line) {
    *device = (struct device){.options = *options, .line = line};
    uart_init(&device->uart);
    update_modem_lines(device);
    uart_reset(&device->uart);

    device->vfu = vfu_create_ctx(VFU_TRANS_SOCK, options->socket, LIBVFIO_USER_FLAG_ATTACH_NB,
                                 device, VFU_DEV_TYPE_PCI);
    if (device->vfu == NULL) {
        return fail(device, options->socket);
    }
    if (vfu_setup_log(device->vfu, log_library, options->verbose ? LOG_INFO : LOG_ERR) != 0) {
        return fail(device, "vfu_setup_log");
    }
    if (vfu_pci_init(device->vfu, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 1) != 0) {
        return fail(device, "vfu_pci_init");
    }
    /* Red Hat's vendor ID, QEMU's pci-serial, revision 1; a 16550-compatible serial controller. */
    vfu_pci_set_id(device->vfu, 0x1b36, 0x0002, 0x1af4, 0x1100);
    vfu_pci_set_class(device->vfu, 0x07, 0x00, 0x02);
    vfu_pci_get_config_space(device->vfu)->hdr.rid = 1;
    if (vfu_setup_region(device->vfu, VFU_PCI_DEV_BAR0_REGION_IDX, UART_REGISTERS,
                         access_registers, VFU_REGION_FLAG_RW, NULL, 0, -1, 0) != 0) {
        return fail(device, "vfu_setup_region");
    }
    if (vfu_setup_device_nr_irqs(device->vfu, VFU_DEV_INTX_IRQ, 1) != 0 ||
        vfu_setup_irq_state_callback(device->vfu, VFU_DEV_INTX_IRQ, irq_state_changed) != 0) {
        return fail(device, "INTx");
    }
    if (vfu_setup_device_reset_cb(device->vfu, reset) != 0) {
        return fail(device, "vfu_setup_device_reset_cb");
    }
    if (vfu_realize_ctx(device->vfu) != 0) {
        return fail(device, "vfu_realize_ctx");
    }
    return 0;
}

void device_close(struct device *device) {
    vfu_destroy_ctx(device->vfu);
    device->vfu = NULL;
}
