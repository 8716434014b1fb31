/* Tries accesses in 32-bit mode and writes down what the processor makes of each: probe64.S for PAE and two-level
 * paging. On entry ebp holds the first case, ebx their number, CS, SS and DS are flat segments of 32 bits.
 */
#include "layout.h"

#define EFER_MSR 0xC0000080
#define CR4_PKE  (1 << 22)

        .text
        .code32
        .globl  _start
base:
_start: lgdt    base + GDTR
        lidt    base + IDTR
        mov     $TSS_ENTRY, %eax
        ltr     %ax
        mov     $KERNEL_DATA, %eax
        mov     %eax, %ss
        mov     $USER_DATA, %eax        /* serves both rings; an iret to ring 3 would clear KERNEL_DATA */
        mov     %eax, %ds
        mov     %eax, %es

        .org    LOOP, 0x90
next:   test    %ebx, %ebx
        jz      done
        dec     %ebx

        mov     CASE_CR4(%ebp), %eax
        or      $CR4_PKE, %eax          /* without it there is no wrpkru */
        mov     %eax, %cr4
        mov     CASE_PKRU(%ebp), %eax
        xor     %ecx, %ecx
        xor     %edx, %edx
        wrpkru
        mov     CASE_CR4(%ebp), %eax
        mov     %eax, %cr4
        mov     $EFER_MSR, %ecx
        mov     CASE_EFER(%ebp), %eax
        wrmsr
        mov     CASE_CR0(%ebp), %eax
        mov     %eax, %cr0
        mov     CASE_CR3(%ebp), %eax
        mov     %eax, %cr3

        mov     $base + STACK_END, %esp
        pushl   CASE_SS(%ebp)           /* taken, with the stack pointer, on the way to ring 3 only */
        push    %esp
        pushl   CASE_RFLAGS(%ebp)
        pushl   CASE_CS(%ebp)
        pushl   CASE_STUB(%ebp)
        mov     CASE_ADDRESS(%ebp), %edi
        mov     CASE_BYTE(%ebp), %edx
        xor     %eax, %eax
        iret

caught: mov     %eax, CASE_VALUE(%ebp)
        popl    CASE_VECTOR(%ebp)
        popl    CASE_ERROR(%ebp)
        mov     %cr2, %eax
        mov     %eax, CASE_CR2(%ebp)
        add     $CASE_SIZE, %ebp
        jmp     next

        .org    VECTORS
        .set    vector, 0
        .rept   32
        .org    VECTORS + vector * VECTOR_SIZE
        .ifeq   (vector - 8) * (vector - 10) * (vector - 11) * (vector - 12) * (vector - 13) * (vector - 14) * (vector - 17)
        .else
        push    $0                      /* where the processor pushes no error code */
        .endif
        push    $vector
        jmp     caught
        .set    vector, vector + 1
        .endr

        .org    DONE
done:   hlt
        jmp     done

        .org    STUBS
        mov     (%edi), %eax            /* read */
        int3
        .org    STUBS + STUB_SIZE
        mov     %dl, (%edi)             /* write */
        int3
        .org    STUBS + 2 * STUB_SIZE
        jmp     *%edi                   /* fetch: the page holds `mov $number, %eax; int3` */
        .org    USER_STUBS
