# Knows the way from the processor's exception to trap() in C and back: one stub per vector, all registers saved in the
# order of struct trap_frame.
#
# The .cfi lines say where everything was saved, so that a debugger's backtrace goes on from trap() to the instruction that
# faulted. The frame address is the end of what the processor pushed: ss, rsp, rflags, cs, rip, downwards.

    .cfi_sections .debug_frame
    .text

#define CFI_RIP 16

.macro CFI_TRAP pushed
    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa %rsp, 40 + \pushed
    .cfi_offset %rsp, -16
    .cfi_offset CFI_RIP, -40
.endm

.macro SAVE register
    pushq \register
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset \register, 0
.endm

.macro RESTORE register
    popq \register
    .cfi_adjust_cfa_offset -8
    .cfi_restore \register
.endm

# The processor pushes an error code for some vectors only; the others push a 0, so that the frame is always the same.
.macro STUB vector has_error_code=0
vector_\vector:
    .if \has_error_code == 0
    CFI_TRAP 0
    pushq $0
    .cfi_adjust_cfa_offset 8
    .else
    CFI_TRAP 8
    .endif
    pushq $\vector
    .cfi_adjust_cfa_offset 8
    jmp save_and_handle
    .cfi_endproc
.endm

    STUB 0
    STUB 1
    STUB 2
    STUB 3
    STUB 4
    STUB 5
    STUB 6
    STUB 7
    STUB 8, 1
    STUB 9
    STUB 10, 1
    STUB 11, 1
    STUB 12, 1
    STUB 13, 1
    STUB 14, 1
    STUB 15
    STUB 16
    STUB 17, 1
    STUB 18
    STUB 19
    STUB 20
    STUB 21, 1
    STUB 22
    STUB 23
    STUB 24
    STUB 25
    STUB 26
    STUB 27
    STUB 28
    STUB 29, 1
    STUB 30, 1
    STUB 31

save_and_handle:
    CFI_TRAP 16             # error code and vector
    SAVE %rax
    SAVE %rbx
    SAVE %rcx
    SAVE %rdx
    SAVE %rsi
    SAVE %rdi
    SAVE %rbp
    SAVE %r8
    SAVE %r9
    SAVE %r10
    SAVE %r11
    SAVE %r12
    SAVE %r13
    SAVE %r14
    SAVE %r15
    cld
    movq %rsp, %rdi         # the processor aligned the stack before its push of 5 words; 17 more keep it at 16
    call trap
    RESTORE %r15
    RESTORE %r14
    RESTORE %r13
    RESTORE %r12
    RESTORE %r11
    RESTORE %r10
    RESTORE %r9
    RESTORE %r8
    RESTORE %rbp
    RESTORE %rdi
    RESTORE %rsi
    RESTORE %rdx
    RESTORE %rcx
    RESTORE %rbx
    RESTORE %rax
    addq $16, %rsp          # vector and error code
    .cfi_adjust_cfa_offset -16
    iretq
    .cfi_endproc

    .section .rodata, "a"
    .balign 8
    .global vector_stubs
vector_stubs:
    .irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    .quad vector_\vector
    .endr

    .section .note.GNU-stack, "", @progbits
