/*
 * A 16550A UART: registers, FIFOs and interrupt conditions.
 *
 * This file knows neither PCI nor sockets nor time.  Its owner moves bytes between it and a line
 * (`uart_receive`, `uart_transmit_*`), tells it when the line has been quiet for long enough
 * (`uart_receive_timeout`), and looks at `uart_interrupt` after every call.
 */
#ifndef UART_H
#define UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UART_FIFO_SIZE = 16, UART_REGISTERS = 8 };

/* Offsets.  With DLAB set in LCR, 0 and 1 are the divisor latch instead. */
enum {
    UART_RBR = 0, /* read: receiver buffer */
    UART_THR = 0, /* write: transmitter holding */
    UART_DLL = 0,
    UART_DLM = 1,
    UART_IER = 1, /* interrupt enable */
    UART_IIR = 2, /* read: interrupt identification */
    UART_FCR = 2, /* write: FIFO control */
    UART_LCR = 3, /* line control */
    UART_MCR = 4, /* modem control */
    UART_LSR = 5, /* line status */
    UART_MSR = 6, /* modem status */
    UART_SCR = 7, /* scratch */
};

enum { /* IER */
    UART_IER_RECEIVED = 0x01,
    UART_IER_THR_EMPTY = 0x02,
    UART_IER_LINE_STATUS = 0x04,
    UART_IER_MODEM_STATUS = 0x08,
    UART_IER_MASK = 0x0f,
};

enum { /* IIR, highest priority first */
    UART_IIR_LINE_STATUS = 0x06,
    UART_IIR_RECEIVED = 0x04,
    UART_IIR_TIMEOUT = 0x0c,
    UART_IIR_THR_EMPTY = 0x02,
    UART_IIR_MODEM_STATUS = 0x00,
    UART_IIR_NONE = 0x01,
    UART_IIR_FIFO = 0xc0,
};

enum { /* FCR */
    UART_FCR_ENABLE = 0x01,
    UART_FCR_CLEAR_RECEIVER = 0x02,
    UART_FCR_CLEAR_TRANSMITTER = 0x04,
    UART_FCR_DMA_MODE = 0x08,
    UART_FCR_TRIGGER = 0xc0,
};

enum { /* LCR */
    UART_LCR_WORD_LENGTH = 0x03,
    UART_LCR_TWO_STOP_BITS = 0x04,
    UART_LCR_PARITY = 0x08,
    UART_LCR_EVEN = 0x10,
    UART_LCR_BREAK = 0x40,
    UART_LCR_DLAB = 0x80,
};

enum { /* MCR */
    UART_MCR_DTR = 0x01,
    UART_MCR_RTS = 0x02,
    UART_MCR_OUT1 = 0x04,
    UART_MCR_OUT2 = 0x08,
    UART_MCR_LOOP = 0x10,
    UART_MCR_MASK = 0x1f,
};

enum { /* LSR */
    UART_LSR_DATA_READY = 0x01,
    UART_LSR_OVERRUN = 0x02,
    UART_LSR_PARITY = 0x04,
    UART_LSR_FRAMING = 0x08,
    UART_LSR_BREAK = 0x10,
    UART_LSR_THR_EMPTY = 0x20,
    UART_LSR_IDLE = 0x40,
    UART_LSR_FIFO_ERROR = 0x80,
};

enum { /* MSR: what changed since it was read, and the state of the inputs */
    UART_MSR_CTS_CHANGED = 0x01,
    UART_MSR_DSR_CHANGED = 0x02,
    UART_MSR_RI_ENDED = 0x04,
    UART_MSR_DCD_CHANGED = 0x08,
    UART_MSR_CHANGES = 0x0f,
    UART_MSR_CTS = 0x10,
    UART_MSR_DSR = 0x20,
    UART_MSR_RI = 0x40,
    UART_MSR_DCD = 0x80,
    UART_MSR_INPUTS = 0xf0,
};

struct uart_fifo {
    uint8_t byte[UART_FIFO_SIZE];
    uint8_t error[UART_FIFO_SIZE]; /* LSR bits that came with the byte (receiver only) */
    size_t head, count;
};

/* Private to uart.c, but for the tests and for allocation. */
struct uart {
    struct uart_fifo receiver, transmitter;
    uint16_t divisor;
    uint8_t ier, fcr, lcr, mcr, msr, scr;
    uint8_t last_received;    /* what an empty RBR reads as */
    uint8_t line_errors;      /* LSR bits 1 to 4: stay until LSR is read */
    uint8_t inputs;           /* modem inputs as the far end drives them, MSR bits 4 to 7 */
    bool thr_empty_pending;   /* the THR empty interrupt, until IIR reports it or THR is written */
    bool timeout_pending;     /* the character timeout interrupt, until RBR is read */
};

/* State at power-on, with all modem inputs low. */
void uart_init(struct uart *uart);

/* The reset input: everything but the modem inputs, which the far end drives. */
void uart_reset(struct uart *uart);

/* Guest accesses; `offset` is below UART_REGISTERS. */
uint8_t uart_read(struct uart *uart, unsigned offset);
void uart_write(struct uart *uart, unsigned offset, uint8_t value);

/* The level of the interrupt output. */
bool uart_interrupt(const struct uart *uart);

/* Bytes the receiver holds, and bytes that it can take without an overrun: 0 in loopback mode. */
size_t uart_receive_count(const struct uart *uart);
size_t uart_receive_room(const struct uart *uart);

/*
 * One byte arrives from the line, with LSR bits (parity, framing, break) that go with it.
 * Without room, it is lost and an overrun is reported.  Nothing happens in loopback mode.
 */
void uart_receive(struct uart *uart, uint8_t byte, uint8_t errors);

/*
 * Whether bytes wait below the trigger level, so that `uart_receive_timeout` is due once the
 * receiver has been left alone, by line and guest, for four times `uart_character_ns`.
 */
bool uart_receive_waits(const struct uart *uart);
void uart_receive_timeout(struct uart *uart);

/*
 * The bytes that wait to be sent: how many there are, a copy of them (which returns the same
 * number), and the word that the first `count` are gone.
 */
size_t uart_transmit_count(const struct uart *uart);
size_t uart_transmit_waiting(const struct uart *uart, uint8_t bytes[static UART_FIFO_SIZE]);
void uart_transmit_done(struct uart *uart, size_t count);

/* Modem inputs, as MSR bits 4 to 7. */
void uart_set_inputs(struct uart *uart, uint8_t inputs);

/* The RTS output: whether the guest wants to receive. */
bool uart_ready_to_receive(const struct uart *uart);

/* Line parameters: time on the line of one character, start to stop bits; and bits per second. */
int64_t uart_character_ns(const struct uart *uart);
unsigned uart_bits_per_second(const struct uart *uart);

#endif
