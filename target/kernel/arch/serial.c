/* Knows the registers of the 16550. Polled: the kernel never turns interrupts on. */

#include "arch/serial.h"
#include "arch/cpu.h"

enum { PORT = 0x3f8 };

/* Register offsets. The first two mean the baud-rate divisor while LINE_CONTROL has LATCH set. */
enum { DATA = 0, INTERRUPTS = 1, FIFO = 2, LINE_CONTROL = 3, MODEM_CONTROL = 4, LINE_STATUS = 5 };
enum { LATCH = 0x80, EIGHT_BITS = 0x03, FIFO_ON = 0x07, DTR_RTS = 0x03, TRANSMITTER_EMPTY = 0x20 };

void serial_init(void)
{
    out8(PORT + INTERRUPTS, 0);
    out8(PORT + LINE_CONTROL, LATCH);
    out8(PORT + DATA, 1);               /* 115200 baud */
    out8(PORT + INTERRUPTS, 0);
    out8(PORT + LINE_CONTROL, EIGHT_BITS);
    out8(PORT + FIFO, FIFO_ON);
    out8(PORT + MODEM_CONTROL, DTR_RTS);
}

void serial_put(char c)
{
    if (c == '\n')
        serial_put('\r');
    while (!(in8(PORT + LINE_STATUS) & TRANSMITTER_EMPTY))
        ;
    out8(PORT + DATA, (uint8_t)c);
}
