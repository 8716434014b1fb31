/* Tries accesses in 64-bit mode and writes down what the processor makes of each.
 *
 * There is no boot code: the test switches the paging mode on and sets the registers. On entry r15 holds the first
 * case, r14 their number, and CS is a 64-bit code segment. The page tables of every case map the probe too, so nothing
 * is put back between cases. Each access ends in an exception: its own fault, or the int3 behind it, which says that
 * it was granted.
 */
#include "layout.h"

#define EFER_MSR 0xC0000080
#define CR4_PKE  (1 << 22)

        .text
        .code64
        .globl  _start
base:
_start: lgdt    base + GDTR(%rip)
        lidt    base + IDTR(%rip)
        mov     $TSS_ENTRY, %eax
        ltr     %ax

        .org    LOOP, 0x90
next:   test    %r14, %r14
        jz      done
        dec     %r14

        mov     CASE_CR4(%r15), %rax
        or      $CR4_PKE, %rax          /* without it there is no wrpkru */
        mov     %rax, %cr4
        mov     CASE_PKRU(%r15), %eax
        xor     %ecx, %ecx
        xor     %edx, %edx
        wrpkru
        mov     CASE_CR4(%r15), %rax
        mov     %rax, %cr4
        mov     $EFER_MSR, %ecx
        mov     CASE_EFER(%r15), %eax
        wrmsr
        mov     CASE_CR0(%r15), %rax
        mov     %rax, %cr0
        mov     CASE_CR3(%r15), %rax
        mov     %rax, %cr3

        lea     base + STACK_END(%rip), %rsp
        pushq   CASE_SS(%r15)
        push    %rsp
        pushq   CASE_RFLAGS(%r15)
        pushq   CASE_CS(%r15)
        pushq   CASE_STUB(%r15)
        mov     CASE_ADDRESS(%r15), %rdi
        mov     CASE_BYTE(%r15), %rsi
        xor     %eax, %eax
        iretq

caught: mov     %rax, CASE_VALUE(%r15)
        popq    CASE_VECTOR(%r15)
        popq    CASE_ERROR(%r15)
        mov     %cr2, %rax
        mov     %rax, CASE_CR2(%r15)
        add     $CASE_SIZE, %r15
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
        mov     (%rdi), %rax            /* read */
        int3
        .org    STUBS + STUB_SIZE
        mov     %sil, (%rdi)            /* write */
        int3
        .org    STUBS + 2 * STUB_SIZE
        jmp     *%rdi                   /* fetch: the page holds `mov $number, %eax; int3` */
        .org    USER_STUBS
