/* The UART of Samples/pci-serial, register by register, against the 16550's data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "uart.h"

static struct uart uart;

static int fresh(void **state) {
    (void)state;
    uart_init(&uart);
    return 0;
}

static uint8_t rd(unsigned offset) {
    return uart_read(&uart, offset);
}

static void wr(unsigned offset, uint8_t value) {
    uart_write(&uart, offset, value);
}

/* 8 bits, FIFOs on with this trigger level (FCR bits 6 and 7), every interrupt on. */
static void start(uint8_t trigger) {
    wr(UART_LCR, 3);
    wr(UART_FCR, UART_FCR_ENABLE | trigger);
    wr(UART_IER, UART_IER_MASK);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_THR_EMPTY);
    assert_false(uart_interrupt(&uart));
}

static void receive(unsigned count, uint8_t first) {
    for (unsigned i = 0; i < count; i++) {
        uart_receive(&uart, (uint8_t)(first + i), 0);
    }
}

static void reset_values(void **state) {
    (void)state;
    uart_set_inputs(&uart, UART_MSR_CTS);
    wr(UART_LCR, 0x1b);
    wr(UART_MCR, 0x0b);
    wr(UART_FCR, 0x81);
    wr(UART_IER, 0x0f);
    wr(UART_SCR, 0x5a);
    receive(3, 1);
    wr(UART_THR, 9);
    uart_reset(&uart);
    assert_int_equal(rd(UART_IER), 0);
    assert_int_equal(rd(UART_IIR), 1);
    assert_int_equal(rd(UART_LCR), 0);
    assert_int_equal(rd(UART_MCR), 0);
    assert_int_equal(rd(UART_LSR), 0x60);
    /* The far end still drives its lines, and that is no change. */
    assert_int_equal(rd(UART_MSR), UART_MSR_CTS);
    assert_int_equal(rd(UART_SCR), 0);
    assert_int_equal(rd(UART_RBR), 0);
    assert_int_equal(uart_transmit_count(&uart), 0);
    assert_false(uart_interrupt(&uart));
}

static void plain_registers_keep_what_they_implement(void **state) {
    (void)state;
    for (unsigned value = 0; value < 256; value++) {
        wr(UART_SCR, (uint8_t)value);
        assert_int_equal(rd(UART_SCR), value);
        wr(UART_LCR, (uint8_t)value);
        assert_int_equal(rd(UART_LCR), value);
        wr(UART_LCR, 0);
        wr(UART_IER, (uint8_t)value);
        assert_int_equal(rd(UART_IER), value & 0x0f);
        wr(UART_MCR, (uint8_t)value);
        assert_int_equal(rd(UART_MCR), value & 0x1f);
    }
}

static void status_registers_ignore_writes(void **state) {
    (void)state;
    wr(UART_LSR, 0xff);
    assert_int_equal(rd(UART_LSR), 0x60);
    wr(UART_MSR, 0xff);
    assert_int_equal(rd(UART_MSR), 0);
}

static void divisor_latch_hides_two_registers(void **state) {
    (void)state;
    start(0);
    receive(1, 'x');
    wr(UART_LCR, UART_LCR_DLAB | 3);
    wr(UART_DLL, 0x34);
    wr(UART_DLM, 0x12);
    assert_int_equal(rd(UART_DLL), 0x34);
    assert_int_equal(rd(UART_DLM), 0x12);
    assert_int_equal(uart_transmit_count(&uart), 0);
    wr(UART_LCR, 3);
    assert_int_equal(rd(UART_RBR), 'x');
    assert_int_equal(rd(UART_IER), UART_IER_MASK);
}

static void line_settings_give_the_time_of_a_character(void **state) {
    (void)state;
    wr(UART_LCR, UART_LCR_DLAB);
    wr(UART_DLL, 1);
    wr(UART_DLM, 0);
    wr(UART_LCR, 3);
    assert_int_equal(uart_bits_per_second(&uart), 115200);
    assert_int_equal(uart_character_ns(&uart), 86800); /* 10 bits of 8680 ns */
    wr(UART_LCR, UART_LCR_DLAB);
    wr(UART_DLL, 12);
    wr(UART_LCR, 3 | UART_LCR_TWO_STOP_BITS | UART_LCR_PARITY);
    assert_int_equal(uart_bits_per_second(&uart), 9600);
    assert_int_equal(uart_character_ns(&uart), 12 * 12 * 8680);
    wr(UART_LCR, UART_LCR_DLAB);
    wr(UART_DLL, 0);
    wr(UART_LCR, 0);
    assert_int_equal(uart_character_ns(&uart), 7 * 8680);
}

static void words_are_as_long_as_lcr_says(void **state) {
    static const uint8_t masks[] = {0x1f, 0x3f, 0x7f, 0xff};
    uint8_t bytes[UART_FIFO_SIZE];

    (void)state;
    for (uint8_t length = 0; length < 4; length++) {
        wr(UART_LCR, length);
        uart_receive(&uart, 0xff, 0);
        assert_int_equal(rd(UART_RBR), masks[length]);
        wr(UART_THR, 0xff);
        assert_int_equal(uart_transmit_waiting(&uart, bytes), 1);
        assert_int_equal(bytes[0], masks[length]);
        uart_transmit_done(&uart, 1);
    }
}

static void without_fifos_one_byte_fits(void **state) {
    (void)state;
    wr(UART_LCR, 3);
    wr(UART_IER, UART_IER_RECEIVED);
    assert_int_equal(uart_receive_room(&uart), 1);
    receive(1, 'a');
    assert_int_equal(uart_receive_room(&uart), 0);
    assert_int_equal(rd(UART_IIR), UART_IIR_RECEIVED);
    assert_false(uart_receive_waits(&uart));
    receive(1, 'b');
    assert_int_equal(rd(UART_LSR), 0x60 | UART_LSR_DATA_READY | UART_LSR_OVERRUN);
    assert_int_equal(rd(UART_LSR), 0x60 | UART_LSR_DATA_READY);
    assert_int_equal(rd(UART_RBR), 'b');
    assert_int_equal(rd(UART_LSR), 0x60);
    assert_int_equal(rd(UART_RBR), 'b');
    assert_false(uart_interrupt(&uart));
    wr(UART_THR, 'c');
    wr(UART_THR, 'd');
    assert_int_equal(uart_transmit_count(&uart), 1);
}

static void fifo_keeps_order_and_reports_overruns(void **state) {
    (void)state;
    start(UART_FCR_TRIGGER);
    /* Several rounds, so that the ring's ends are everywhere. */
    for (unsigned round = 0; round < 5; round++) {
        assert_int_equal(uart_receive_room(&uart), 16);
        receive(16, (uint8_t)(round * 16));
        assert_int_equal(uart_receive_count(&uart), 16);
        assert_int_equal(uart_receive_room(&uart), 0);
        receive(1, 0xee);
        assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_LINE_STATUS);
        assert_int_equal(rd(UART_LSR), 0x60 | UART_LSR_DATA_READY | UART_LSR_OVERRUN);
        for (unsigned i = 0; i < 16; i++) {
            assert_int_equal(rd(UART_RBR), round * 16 + i);
        }
        assert_int_equal(rd(UART_LSR), 0x60);
        receive(3, 0);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(rd(UART_RBR), i);
        }
    }
}

static void trigger_levels(void **state) {
    static const unsigned levels[] = {1, 4, 8, 14};

    (void)state;
    start(0);
    for (unsigned i = 0; i < 4; i++) {
        wr(UART_FCR, (uint8_t)(UART_FCR_ENABLE | UART_FCR_CLEAR_RECEIVER | i << 6));
        receive(levels[i] - 1, 0);
        assert_false(uart_interrupt(&uart));
        receive(1, 0);
        assert_true(uart_interrupt(&uart));
        assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_RECEIVED);
        /* A level: reading IIR does not end it, falling below the trigger does. */
        assert_true(uart_interrupt(&uart));
        rd(UART_RBR);
        assert_false(uart_interrupt(&uart));
    }
}

static void character_timeout(void **state) {
    (void)state;
    start(0x80);
    assert_false(uart_receive_waits(&uart));
    uart_receive_timeout(&uart);
    assert_false(uart_interrupt(&uart));
    receive(3, 'a');
    assert_true(uart_receive_waits(&uart));
    assert_false(uart_interrupt(&uart));
    uart_receive_timeout(&uart);
    assert_false(uart_receive_waits(&uart));
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_TIMEOUT);
    assert_true(uart_interrupt(&uart));
    assert_int_equal(rd(UART_RBR), 'a');
    assert_false(uart_interrupt(&uart));
    assert_true(uart_receive_waits(&uart));
    uart_receive_timeout(&uart);
    wr(UART_FCR, UART_FCR_ENABLE | UART_FCR_CLEAR_RECEIVER);
    assert_false(uart_interrupt(&uart));
    assert_int_equal(rd(UART_LSR), 0x60);
}

static void thr_empty_interrupt(void **state) {
    (void)state;
    wr(UART_LCR, 3);
    wr(UART_FCR, UART_FCR_ENABLE);
    /* Enabling it while empty raises it, IIR ends it, and enabling it again is no news. */
    wr(UART_IER, UART_IER_THR_EMPTY);
    assert_true(uart_interrupt(&uart));
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_THR_EMPTY);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_NONE);
    wr(UART_IER, UART_IER_THR_EMPTY);
    assert_false(uart_interrupt(&uart));
    wr(UART_IER, 0);
    wr(UART_IER, UART_IER_THR_EMPTY);
    assert_true(uart_interrupt(&uart));
    /* Writing THR ends it, too, and only the last byte's departure raises it. */
    wr(UART_THR, 'a');
    assert_false(uart_interrupt(&uart));
    wr(UART_THR, 'b');
    assert_int_equal(rd(UART_LSR), 0);
    uart_transmit_done(&uart, 1);
    assert_false(uart_interrupt(&uart));
    assert_int_equal(rd(UART_LSR), 0);
    uart_transmit_done(&uart, 1);
    assert_true(uart_interrupt(&uart));
    assert_int_equal(rd(UART_LSR), 0x60);
    uart_transmit_done(&uart, 0);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_THR_EMPTY);
    uart_transmit_done(&uart, 5);
    assert_false(uart_interrupt(&uart));
    /* Not while it is disabled, but it is remembered. */
    wr(UART_IER, 0);
    wr(UART_THR, 'c');
    wr(UART_IER, UART_IER_THR_EMPTY);
    assert_false(uart_interrupt(&uart));
    wr(UART_IER, 0);
    uart_transmit_done(&uart, 1);
    assert_false(uart_interrupt(&uart));
    wr(UART_IER, UART_IER_THR_EMPTY);
    assert_true(uart_interrupt(&uart));
}

static void reading_iir_for_another_source_keeps_thr_empty(void **state) {
    (void)state;
    start(0);
    wr(UART_THR, 'a');
    uart_transmit_done(&uart, 1);
    receive(1, 'x');
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_RECEIVED);
    rd(UART_RBR);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_THR_EMPTY);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_NONE);
}

static void priorities(void **state) {
    (void)state;
    start(0);
    uart_set_inputs(&uart, UART_MSR_DCD);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_MODEM_STATUS);
    wr(UART_THR, 'a');
    uart_transmit_done(&uart, 1);
    uart_receive(&uart, 0, UART_LSR_BREAK);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_LINE_STATUS);
    rd(UART_LSR);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_RECEIVED);
    rd(UART_RBR);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_THR_EMPTY);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_MODEM_STATUS);
    rd(UART_MSR);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_NONE);
}

static void each_enable_bit_masks_its_own_source(void **state) {
    static const struct { uint8_t bit, source; } rows[] = {
        {UART_IER_LINE_STATUS, UART_IIR_LINE_STATUS},
        {UART_IER_RECEIVED, UART_IIR_RECEIVED},
        {UART_IER_THR_EMPTY, UART_IIR_THR_EMPTY},
        {UART_IER_MODEM_STATUS, UART_IIR_MODEM_STATUS},
    };

    (void)state;
    uart_set_inputs(&uart, UART_MSR_DSR);
    uart_receive(&uart, 0, UART_LSR_FRAMING);
    for (size_t i = 0; i < 4; i++) {
        wr(UART_IER, rows[i].bit);
        assert_int_equal(rd(UART_IIR), rows[i].source);
        wr(UART_IER, 0);
        assert_false(uart_interrupt(&uart));
        assert_int_equal(rd(UART_IIR), UART_IIR_NONE);
    }
}

static void errors_show_with_their_byte(void **state) {
    (void)state;
    start(0);
    uart_receive(&uart, 'a', 0);
    uart_receive(&uart, 'b', UART_LSR_PARITY);
    uart_receive(&uart, 'c', 0);
    uart_receive(&uart, 'd', UART_LSR_FRAMING | 0xe3);
    assert_int_equal(rd(UART_LSR), 0x60 | UART_LSR_DATA_READY | UART_LSR_FIFO_ERROR);
    assert_int_equal(rd(UART_RBR), 'a');
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_LINE_STATUS);
    assert_int_equal(rd(UART_LSR), 0x60 | UART_LSR_DATA_READY | UART_LSR_PARITY | UART_LSR_FIFO_ERROR);
    assert_int_equal(rd(UART_LSR), 0x60 | UART_LSR_DATA_READY | UART_LSR_FIFO_ERROR);
    assert_int_equal(rd(UART_RBR), 'b');
    assert_int_equal(rd(UART_RBR), 'c');
    assert_int_equal(rd(UART_LSR), 0x60 | UART_LSR_DATA_READY | UART_LSR_FRAMING | UART_LSR_FIFO_ERROR);
    assert_int_equal(rd(UART_LSR), 0x60 | UART_LSR_DATA_READY);
}

static void fifo_control_counts_only_with_its_first_bit(void **state) {
    (void)state;
    start(0);
    receive(2, 'a');
    wr(UART_THR, 'x');
    /* Clearing one FIFO leaves the other alone. */
    wr(UART_FCR, UART_FCR_ENABLE | UART_FCR_CLEAR_TRANSMITTER);
    assert_int_equal(uart_transmit_count(&uart), 0);
    assert_int_equal(uart_receive_count(&uart), 2);
    assert_int_equal(rd(UART_LSR), 0x60 | UART_LSR_DATA_READY);
    wr(UART_THR, 'x');
    wr(UART_FCR, UART_FCR_ENABLE | UART_FCR_CLEAR_RECEIVER);
    assert_int_equal(uart_receive_count(&uart), 0);
    assert_int_equal(uart_transmit_count(&uart), 1);
    assert_int_equal(rd(UART_IIR) & UART_IIR_FIFO, UART_IIR_FIFO);
    /* Switching the FIFOs off clears both. */
    receive(2, 'a');
    wr(UART_FCR, 0xfe);
    assert_int_equal(rd(UART_IIR) & UART_IIR_FIFO, 0);
    assert_int_equal(uart_receive_count(&uart), 0);
    assert_int_equal(uart_transmit_count(&uart), 0);
    /* Off already: the clear bits do nothing. */
    receive(1, 'a');
    wr(UART_FCR, 0xfe);
    assert_int_equal(rd(UART_RBR), 'a');
}

static void full_transmitter_loses_the_newest(void **state) {
    uint8_t bytes[UART_FIFO_SIZE];

    (void)state;
    start(0);
    for (unsigned i = 0; i < 20; i++) {
        wr(UART_THR, (uint8_t)i);
    }
    assert_int_equal(uart_transmit_waiting(&uart, bytes), 16);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(bytes[i], i);
    }
    uart_transmit_done(&uart, 10);
    wr(UART_THR, 99);
    assert_int_equal(uart_transmit_waiting(&uart, bytes), 7);
    assert_int_equal(bytes[0], 10);
    assert_int_equal(bytes[6], 99);
}

static void modem_status_changes(void **state) {
    (void)state;
    start(0);
    uart_set_inputs(&uart, UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD);
    assert_true(uart_interrupt(&uart));
    assert_int_equal(rd(UART_MSR), 0xb0 | 0x0b);
    assert_false(uart_interrupt(&uart));
    assert_int_equal(rd(UART_MSR), 0xb0);
    /* Of the ring indicator only the end counts. */
    uart_set_inputs(&uart, 0xf0);
    assert_int_equal(rd(UART_MSR), 0xf0);
    uart_set_inputs(&uart, 0xb0);
    assert_int_equal(rd(UART_MSR), 0xb0 | UART_MSR_RI_ENDED);
    /* A pulse between two reads is not lost. */
    uart_set_inputs(&uart, 0x30);
    uart_set_inputs(&uart, 0xb0);
    assert_int_equal(rd(UART_MSR), 0xb0 | UART_MSR_DCD_CHANGED);
}

static void loopback(void **state) {
    static const uint8_t pairs[][2] = {
        {UART_MCR_DTR, UART_MSR_DSR}, {UART_MCR_RTS, UART_MSR_CTS},
        {UART_MCR_OUT1, UART_MSR_RI}, {UART_MCR_OUT2, UART_MSR_DCD},
    };

    (void)state;
    uart_set_inputs(&uart, UART_MSR_DCD | UART_MSR_CTS);
    rd(UART_MSR);
    start(0x80);
    wr(UART_MCR, UART_MCR_LOOP);
    assert_int_equal(rd(UART_MSR) & UART_MSR_INPUTS, 0);
    for (size_t i = 0; i < 4; i++) {
        wr(UART_MCR, UART_MCR_LOOP | pairs[i][0]);
        assert_int_equal(rd(UART_MSR) & UART_MSR_INPUTS, pairs[i][1]);
        assert_false(uart_ready_to_receive(&uart));
    }
    /* What is sent comes back, and nothing leaves or enters. */
    assert_int_equal(uart_receive_room(&uart), 0);
    uart_receive(&uart, 'z', 0);
    for (unsigned i = 0; i < 8; i++) {
        wr(UART_THR, (uint8_t)('a' + i));
    }
    assert_int_equal(uart_transmit_count(&uart), 0);
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_RECEIVED);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(rd(UART_RBR), 'a' + i);
    }
    assert_int_equal(rd(UART_IIR), UART_IIR_FIFO | UART_IIR_THR_EMPTY);
    for (unsigned i = 0; i < 17; i++) {
        wr(UART_THR, (uint8_t)i);
    }
    assert_int_equal(rd(UART_LSR) & UART_LSR_OVERRUN, UART_LSR_OVERRUN);
    wr(UART_FCR, UART_FCR_ENABLE | UART_FCR_CLEAR_RECEIVER);
    wr(UART_LCR, 3 | UART_LCR_BREAK);
    wr(UART_LCR, 3 | UART_LCR_BREAK);
    assert_int_equal(rd(UART_LSR), 0x60 | UART_LSR_DATA_READY | UART_LSR_BREAK | UART_LSR_FIFO_ERROR);
    assert_int_equal(uart_receive_count(&uart), 1);
    assert_int_equal(rd(UART_RBR), 0);
    rd(UART_MSR);
    wr(UART_MCR, UART_MCR_RTS);
    assert_int_equal(rd(UART_MSR) & UART_MSR_INPUTS, UART_MSR_DCD | UART_MSR_CTS);
    assert_true(uart_ready_to_receive(&uart));
}

/* Whatever a guest does, the counts stay in range and a disabled interrupt stays silent. */
static void random_accesses(void **state) {
    const uint32_t seed = 0x16550a;
    uint32_t random = seed;
    uint8_t bytes[UART_FIFO_SIZE];

    (void)state;
    for (unsigned step = 0; step < 1000000; step++) {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        unsigned offset = random >> 8 & 7;
        uint8_t value = (uint8_t)(random >> 16);

        switch (random & 7) {
        case 0:
            uart_receive(&uart, value, (uint8_t)(random >> 24));
            break;
        case 1:
            uart_receive_timeout(&uart);
            break;
        case 2:
            uart_transmit_done(&uart, value & 31);
            break;
        case 3:
            uart_set_inputs(&uart, value);
            break;
        case 4:
        case 5:
            rd(offset);
            break;
        default:
            wr(offset, value);
            break;
        }
        if (uart_transmit_waiting(&uart, bytes) > 16 || uart_receive_count(&uart) > 16 ||
            uart_receive_room(&uart) > 16 || uart_character_ns(&uart) <= 0) {
            fail_msg("step %u of seed %#x", step, seed);
        }
        if (step % 64 == 0 && uart_interrupt(&uart)) {
            wr(UART_LCR, 3);
            wr(UART_IER, 0);
            if (uart_interrupt(&uart) || rd(UART_IIR) % 2 == 0) {
                fail_msg("an interrupt with all disabled: step %u of seed %#x", step, seed);
            }
        }
    }
}

#define TEST(name) cmocka_unit_test_setup(name, fresh)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(reset_values),
        TEST(plain_registers_keep_what_they_implement),
        TEST(status_registers_ignore_writes),
        TEST(divisor_latch_hides_two_registers),
        TEST(line_settings_give_the_time_of_a_character),
        TEST(words_are_as_long_as_lcr_says),
        TEST(without_fifos_one_byte_fits),
        TEST(fifo_keeps_order_and_reports_overruns),
        TEST(trigger_levels),
        TEST(character_timeout),
        TEST(thr_empty_interrupt),
        TEST(reading_iir_for_another_source_keeps_thr_empty),
        TEST(priorities),
        TEST(each_enable_bit_masks_its_own_source),
        TEST(errors_show_with_their_byte),
        TEST(fifo_control_counts_only_with_its_first_bit),
        TEST(full_transmitter_loses_the_newest),
        TEST(modem_status_changes),
        TEST(loopback),
        TEST(random_accesses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
