#include "uart.h"

#include <string.h>

/* The input clock of a PC's UART is 1.8432 MHz, and a bit lasts 16 clocks times the divisor. */
enum { MAXIMUM_BITS_PER_SECOND = 115200 };

static bool fifos_enabled(const struct uart *uart) {
    return uart->fcr & UART_FCR_ENABLE;
}

static bool in_loopback(const struct uart *uart) {
    return uart->mcr & UART_MCR_LOOP;
}

static size_t capacity(const struct uart *uart) {
    return fifos_enabled(uart) ? UART_FIFO_SIZE : 1;
}

/* FIFOs. */

static void push(struct uart_fifo *fifo, uint8_t byte, uint8_t error) {
    size_t tail = (fifo->head + fifo->count) % UART_FIFO_SIZE;

    fifo->byte[tail] = byte;
    fifo->error[tail] = error;
    fifo->count++;
}

static void drop(struct uart_fifo *fifo, size_t count) {
    fifo->head = (fifo->head + count) % UART_FIFO_SIZE;
    fifo->count -= count;
}

/* Errors show in LSR when their byte comes to the top of the FIFO. */
static void reveal_errors(struct uart *uart) {
    if (uart->receiver.count > 0) {
        uart->line_errors |= uart->receiver.error[uart->receiver.head];
    }
}

static void clear_receiver(struct uart *uart) {
    drop(&uart->receiver, uart->receiver.count);
    uart->line_errors &= UART_LSR_OVERRUN;
    uart->timeout_pending = false;
}

static void clear_transmitter(struct uart *uart) {
    uart_transmit_done(uart, uart->transmitter.count);
}

/* Receiver. */

static size_t trigger_level(const struct uart *uart) {
    static const uint8_t levels[] = {1, 4, 8, 14};

    return fifos_enabled(uart) ? levels[uart->fcr >> 6] : 1;
}

static uint8_t word_mask(const struct uart *uart) {
    return (uint8_t)(0xff >> (3 - (uart->lcr & UART_LCR_WORD_LENGTH)));
}

static void receive(struct uart *uart, uint8_t byte, uint8_t errors) {
    byte &= word_mask(uart);
    if (uart->receiver.count == capacity(uart)) {
        uart->line_errors |= UART_LSR_OVERRUN;
        if (fifos_enabled(uart)) {
            return;
        }
        /* Without FIFOs the newer byte replaces the one nobody read. */
        drop(&uart->receiver, 1);
    }
    push(&uart->receiver, byte, errors);
    if (uart->receiver.count == 1) {
        reveal_errors(uart);
    }
}

static uint8_t read_received(struct uart *uart) {
    if (uart->receiver.count > 0) {
        uart->last_received = uart->receiver.byte[uart->receiver.head];
        drop(&uart->receiver, 1);
        uart->timeout_pending = false;
        reveal_errors(uart);
    }
    return uart->last_received;
}

size_t uart_receive_count(const struct uart *uart) {
    return uart->receiver.count;
}

size_t uart_receive_room(const struct uart *uart) {
    return in_loopback(uart) ? 0 : capacity(uart) - uart->receiver.count;
}

void uart_receive(struct uart *uart, uint8_t byte, uint8_t errors) {
    if (!in_loopback(uart)) {
        receive(uart, byte, errors & (UART_LSR_PARITY | UART_LSR_FRAMING | UART_LSR_BREAK));
    }
}

bool uart_receive_waits(const struct uart *uart) {
    return fifos_enabled(uart) && uart->receiver.count > 0 && !uart->timeout_pending;
}

void uart_receive_timeout(struct uart *uart) {
    uart->timeout_pending |= uart_receive_waits(uart);
}

/* Transmitter. */

static void write_transmitted(struct uart *uart, uint8_t byte) {
    byte &= word_mask(uart);
    uart->thr_empty_pending = false;
    if (in_loopback(uart)) {
        receive(uart, byte, 0);
        uart->thr_empty_pending = true;
    } else if (uart->transmitter.count < capacity(uart)) {
        push(&uart->transmitter, byte, 0);
    } else if (!fifos_enabled(uart)) {
        uart->transmitter.byte[uart->transmitter.head] = byte;
    }
    /* A byte too many for the FIFO is lost: the guest was told by LSR when there is room. */
}

size_t uart_transmit_count(const struct uart *uart) {
    return uart->transmitter.count;
}

size_t uart_transmit_waiting(const struct uart *uart, uint8_t bytes[static UART_FIFO_SIZE]) {
    const struct uart_fifo *fifo = &uart->transmitter;

    for (size_t i = 0; i < fifo->count; i++) {
        bytes[i] = fifo->byte[(fifo->head + i) % UART_FIFO_SIZE];
    }
    return fifo->count;
}

void uart_transmit_done(struct uart *uart, size_t count) {
    struct uart_fifo *fifo = &uart->transmitter;

    if (count > fifo->count) {
        count = fifo->count;
    }
    drop(fifo, count);
    if (count > 0 && fifo->count == 0) {
        uart->thr_empty_pending = true;
    }
}

/* Modem lines. */

/* In loopback mode the four outputs take the place of the four inputs. */
static uint8_t effective_inputs(const struct uart *uart) {
    uint8_t inputs = 0;

    if (!in_loopback(uart)) {
        return uart->inputs;
    }
    inputs |= uart->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0;
    inputs |= uart->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0;
    inputs |= uart->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0;
    inputs |= uart->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0;
    return inputs;
}

static void update_inputs(struct uart *uart) {
    uint8_t inputs = effective_inputs(uart);
    uint8_t changed = (inputs ^ uart->msr) & UART_MSR_INPUTS;
    uint8_t changes = uart->msr & UART_MSR_CHANGES;

    changes |= changed & UART_MSR_CTS ? UART_MSR_CTS_CHANGED : 0;
    changes |= changed & UART_MSR_DSR ? UART_MSR_DSR_CHANGED : 0;
    changes |= changed & UART_MSR_RI && !(inputs & UART_MSR_RI) ? UART_MSR_RI_ENDED : 0;
    changes |= changed & UART_MSR_DCD ? UART_MSR_DCD_CHANGED : 0;
    uart->msr = inputs | changes;
}

void uart_set_inputs(struct uart *uart, uint8_t inputs) {
    uart->inputs = inputs & UART_MSR_INPUTS;
    update_inputs(uart);
}

bool uart_ready_to_receive(const struct uart *uart) {
    return uart->mcr & UART_MCR_RTS && !in_loopback(uart);
}

/* Interrupts. */

static uint8_t interrupt_source(const struct uart *uart) {
    if (uart->ier & UART_IER_LINE_STATUS && uart->line_errors) {
        return UART_IIR_LINE_STATUS;
    }
    if (uart->ier & UART_IER_RECEIVED && uart->receiver.count >= trigger_level(uart)) {
        return UART_IIR_RECEIVED;
    }
    if (uart->ier & UART_IER_RECEIVED && uart->timeout_pending) {
        return UART_IIR_TIMEOUT;
    }
    if (uart->ier & UART_IER_THR_EMPTY && uart->thr_empty_pending) {
        return UART_IIR_THR_EMPTY;
    }
    if (uart->ier & UART_IER_MODEM_STATUS && uart->msr & UART_MSR_CHANGES) {
        return UART_IIR_MODEM_STATUS;
    }
    return UART_IIR_NONE;
}

bool uart_interrupt(const struct uart *uart) {
    return interrupt_source(uart) != UART_IIR_NONE;
}

/* Registers. */

static uint8_t read_identification(struct uart *uart) {
    uint8_t source = interrupt_source(uart);

    /* Reading this register ends the one interrupt that it alone reports. */
    if (source == UART_IIR_THR_EMPTY) {
        uart->thr_empty_pending = false;
    }
    return fifos_enabled(uart) ? source | UART_IIR_FIFO : source;
}

static uint8_t read_line_status(struct uart *uart) {
    struct uart_fifo *fifo = &uart->receiver;
    uint8_t status = uart->line_errors;

    if (fifo->count > 0) {
        status |= UART_LSR_DATA_READY;
    }
    if (uart->transmitter.count == 0) {
        status |= UART_LSR_THR_EMPTY | UART_LSR_IDLE;
    }
    for (size_t i = 0; fifos_enabled(uart) && i < fifo->count; i++) {
        if (fifo->error[(fifo->head + i) % UART_FIFO_SIZE]) {
            status |= UART_LSR_FIFO_ERROR;
        }
    }
    uart->line_errors = 0;
    if (fifo->count > 0) {
        fifo->error[fifo->head] = 0;
    }
    return status;
}

static uint8_t read_modem_status(struct uart *uart) {
    uint8_t status = uart->msr;

    uart->msr &= UART_MSR_INPUTS;
    return status;
}

uint8_t uart_read(struct uart *uart, unsigned offset) {
    bool latch = uart->lcr & UART_LCR_DLAB;

    switch (offset) {
    case UART_RBR:
        return latch ? (uint8_t)uart->divisor : read_received(uart);
    case UART_IER:
        return latch ? (uint8_t)(uart->divisor >> 8) : uart->ier;
    case UART_IIR:
        return read_identification(uart);
    case UART_LCR:
        return uart->lcr;
    case UART_MCR:
        return uart->mcr;
    case UART_LSR:
        return read_line_status(uart);
    case UART_MSR:
        return read_modem_status(uart);
    case UART_SCR:
        return uart->scr;
    default:
        return 0xff;
    }
}

static void write_interrupt_enable(struct uart *uart, uint8_t value) {
    uint8_t enabled = value & ~uart->ier;

    uart->ier = value & UART_IER_MASK;
    /* Enabled while the transmitter is empty, this interrupt comes at once. */
    if (enabled & UART_IER_THR_EMPTY && uart->transmitter.count == 0) {
        uart->thr_empty_pending = true;
    }
}

static void write_fifo_control(struct uart *uart, uint8_t value) {
    /* The other bits only count in a write that has this one set. */
    if (!(value & UART_FCR_ENABLE)) {
        value = 0;
    }
    bool switched = (value ^ uart->fcr) & UART_FCR_ENABLE;

    if (switched || value & UART_FCR_CLEAR_RECEIVER) {
        clear_receiver(uart);
    }
    if (switched || value & UART_FCR_CLEAR_TRANSMITTER) {
        clear_transmitter(uart);
    }
    uart->fcr = value & (UART_FCR_ENABLE | UART_FCR_DMA_MODE | UART_FCR_TRIGGER);
}

static void write_line_control(struct uart *uart, uint8_t value) {
    uint8_t raised = value & ~uart->lcr;

    uart->lcr = value;
    if (raised & UART_LCR_BREAK && in_loopback(uart)) {
        receive(uart, 0, UART_LSR_BREAK);
    }
}

void uart_write(struct uart *uart, unsigned offset, uint8_t value) {
    bool latch = uart->lcr & UART_LCR_DLAB;

    switch (offset) {
    case UART_THR:
        if (latch) {
            uart->divisor = (uart->divisor & 0xff00) | value;
        } else {
            write_transmitted(uart, value);
        }
        break;
    case UART_IER:
        if (latch) {
            uart->divisor = (uint16_t)((uart->divisor & 0x00ff) | value << 8);
        } else {
            write_interrupt_enable(uart, value);
        }
        break;
    case UART_FCR:
        write_fifo_control(uart, value);
        break;
    case UART_LCR:
        write_line_control(uart, value);
        break;
    case UART_MCR:
        uart->mcr = value & UART_MCR_MASK;
        update_inputs(uart);
        break;
    case UART_SCR:
        uart->scr = value;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
}

/* Life. */

void uart_init(struct uart *uart) {
    memset(uart, 0, sizeof(*uart));
    uart->divisor = MAXIMUM_BITS_PER_SECOND / 9600;
}

void uart_reset(struct uart *uart) {
    uint8_t inputs = uart->inputs;

    uart_init(uart);
    uart->inputs = inputs;
    uart->msr = inputs;
}

unsigned uart_bits_per_second(const struct uart *uart) {
    return MAXIMUM_BITS_PER_SECOND / (uart->divisor > 0 ? uart->divisor : 1u);
}

int64_t uart_character_ns(const struct uart *uart) {
    int64_t divisor = uart->divisor > 0 ? uart->divisor : 1;
    int64_t bits = 1 + 5 + (uart->lcr & UART_LCR_WORD_LENGTH);

    bits += uart->lcr & UART_LCR_PARITY ? 1 : 0;
    bits += uart->lcr & UART_LCR_TWO_STOP_BITS ? 2 : 1;
    return bits * divisor * (1000000000 / MAXIMUM_BITS_PER_SECOND);
}
