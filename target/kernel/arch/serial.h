/* Knows the first serial port, a 16550 at I/O port 0x3f8: the kernel's only way to speak. */
#ifndef ARCH_SERIAL_H
#define ARCH_SERIAL_H

void serial_init(void);
void serial_put(char c);

#endif
