/*
 * Entries and exits of the stub. The guest's registers are in the slot (GS base).
 *
 *   stub_entry   a patched call site jumps here by way of its trampoline: rax number, rcx return address,
 *                arguments as for `syscall`. r11 is free, as after a system call. Nothing is pushed on the guest's
 *                stack (red zone).
 *   stub_exit    back to guest code from the registers in the slot. Between stub_exit and stub_exit_end nothing is
 *                lost by starting over, so a kick that arrives there is moved back to stub_exit, which looks at
 *                `interrupt` again: no kick falls between the look and the jump.
 *                A guest that has set GS comes in by signals alone, since its trampolines lead back to the call instructions
 *                (patcher-x86-64.ts). Where it leaves by stub_exit (birth, a wait), iretq carries it.
 *   stub_wait    a host call that a kick interrupts, by the same means. The host's kernel goes back to the instruction where
 *                its call was interrupted and lost nothing (ERESTARTSYS; SA_RESTART); where it gave a result, the instruction
 *                pointer is behind the range, and the result counts.
 */
#include "../build/offsets.h"

	.text
	.globl stub_entry
	.type stub_entry, @function
stub_entry:
	movq	%r8, %gs:SLOT_R8
	movq	%r9, %gs:SLOT_R9
	movq	%r10, %gs:SLOT_R10
	movq	%r11, %gs:SLOT_R11
	movq	%r12, %gs:SLOT_R12
	movq	%r13, %gs:SLOT_R13
	movq	%r14, %gs:SLOT_R14
	movq	%r15, %gs:SLOT_R15
	movq	%rdi, %gs:SLOT_RDI
	movq	%rsi, %gs:SLOT_RSI
	movq	%rbp, %gs:SLOT_RBP
	movq	%rbx, %gs:SLOT_RBX
	movq	%rdx, %gs:SLOT_RDX
	movq	%rax, %gs:SLOT_RAX
	movq	%rcx, %gs:SLOT_RCX
	movq	%rsp, %gs:SLOT_RSP
	movq	%rcx, %gs:SLOT_RIP
	movq	%gs:SLOT_STACK, %rsp
	pushfq
	popq	%r11
	movq	%r11, %gs:SLOT_EFLAGS
	movq	%r11, %gs:SLOT_R11
	cld
	movq	%gs:SLOT_SELF, %rdi
	call	stub_fast_call

	.globl stub_exit
stub_exit:
	cmpl	$0, %gs:SLOT_INTERRUPT
	jne	1f
	cmpq	$0, %gs:SLOT_GS
	jne	2f
	movq	%gs:SLOT_STACK, %rsp
	pushq	%gs:SLOT_EFLAGS
	popfq
	movq	%gs:SLOT_R8, %r8
	movq	%gs:SLOT_R9, %r9
	movq	%gs:SLOT_R10, %r10
	movq	%gs:SLOT_R11, %r11
	movq	%gs:SLOT_R12, %r12
	movq	%gs:SLOT_R13, %r13
	movq	%gs:SLOT_R14, %r14
	movq	%gs:SLOT_R15, %r15
	movq	%gs:SLOT_RDI, %rdi
	movq	%gs:SLOT_RSI, %rsi
	movq	%gs:SLOT_RBP, %rbp
	movq	%gs:SLOT_RBX, %rbx
	movq	%gs:SLOT_RDX, %rdx
	movq	%gs:SLOT_RAX, %rax
	movq	%gs:SLOT_RCX, %rcx
	movq	%gs:SLOT_RSP, %rsp
	jmpq	*%gs:SLOT_RIP
2:	movq	%gs:SLOT_STACK, %rsp
	pushq	$0x2b			/* __USER_DS, __USER_CS */
	pushq	%gs:SLOT_RSP
	pushq	%gs:SLOT_EFLAGS
	pushq	$0x33
	pushq	%gs:SLOT_RIP
	pushq	%gs:SLOT_R11
	movq	%gs:SLOT_R8, %r8
	movq	%gs:SLOT_R9, %r9
	movq	%gs:SLOT_R10, %r10
	movq	%gs:SLOT_R12, %r12
	movq	%gs:SLOT_R13, %r13
	movq	%gs:SLOT_R14, %r14
	movq	%gs:SLOT_R15, %r15
	movq	%gs:SLOT_RDI, %rdi
	movq	%gs:SLOT_RSI, %rsi
	movq	%gs:SLOT_RBP, %rbp
	movq	%gs:SLOT_RBX, %rbx
	movq	%gs:SLOT_RDX, %rdx
	movq	%gs:SLOT_RAX, %rax
	movq	%gs:SLOT_RCX, %rcx
	movq	%gs:SLOT_GS, %r11
	wrgsbase %r11
	popq	%r11
	iretq
	.globl stub_exit_end
stub_exit_end:
1:	movq	%gs:SLOT_STACK, %rsp
	movq	%gs:SLOT_SELF, %rdi
	call	stub_kicked
	jmp	stub_exit

/* Where a kick found a thread in stub_exit: rdi its slot, since GS may be the guest's already. */
	.globl stub_exit_again
	.type stub_exit_again, @function
stub_exit_again:
	wrgsbase %rdi
	jmp	stub_exit

/* A signal handler returns here for a wait: rdi the slot, with the guest's registers. */
	.globl stub_wait_entry
	.type stub_wait_entry, @function
stub_wait_entry:
	wrgsbase %rdi
	movq	%gs:SLOT_STACK, %rsp
	movq	%gs:SLOT_SELF, %rdi
	call	stub_run_wait
	jmp	stub_exit

/* rdi number, rsi six arguments. Returns the result, -EINTR (look again), or -ERESTARTSYS: somebody kicked. */
	.globl stub_wait
	.type stub_wait, @function
stub_wait:
	pushq	%rbx
	movq	%rdi, %rbx
	movq	%rsi, %rax
	movq	(%rax), %rdi
	movq	8(%rax), %rsi
	movq	16(%rax), %rdx
	movq	24(%rax), %r10
	movq	32(%rax), %r8
	movq	40(%rax), %r9
	.globl stub_wait_begin
stub_wait_begin:
	cmpl	$0, %gs:SLOT_INTERRUPT
	jne	1f
	movq	%rbx, %rax
	syscall
	.globl stub_wait_end
stub_wait_end:
	popq	%rbx
	ret
1:	movq	$-512, %rax		/* ERESTARTSYS */
	popq	%rbx
	ret

/* Bytes up to a fault: rdi target, rsi source, rdx count. Returns the count not copied. */
	.globl stub_copy
	.type stub_copy, @function
stub_copy:
	movq	%rdx, %rcx
	.globl stub_copy_fault
stub_copy_fault:
	rep movsb
	.globl stub_copy_fixup
stub_copy_fixup:
	movq	%rcx, %rax
	ret

/* One byte: rdi address. Returns it, or -1 where there is no memory. */
	.globl stub_load_byte
	.type stub_load_byte, @function
stub_load_byte:
	.globl stub_load_fault
stub_load_fault:
	movzbl	(%rdi), %eax
	ret
	.globl stub_load_fixup
stub_load_fixup:
	movl	$-1, %eax
	ret

/* xrstor of a hostile image: rdi image, esi/edx mask. Returns 0, or -1 if the CPU refuses it. */
	.globl stub_xrstor
	.type stub_xrstor, @function
stub_xrstor:
	movl	%esi, %eax
	.globl stub_xrstor_fault
stub_xrstor_fault:
	xrstor64 (%rdi)
	xorl	%eax, %eax
	ret
	.globl stub_xrstor_fixup
stub_xrstor_fixup:
	movl	$-1, %eax
	ret

/*
 * fork: rdi flags, rsi the received slots memfd, rdx the received socket. The child runs on memory that it shares
 * with the parent until it has mapped its own slots, so it must not touch the stack: registers only.
 */
	.globl stub_fork
	.type stub_fork, @function
stub_fork:
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	movq	%rsi, %r12
	movq	%rdx, %r13
	xorl	%esi, %esi
	xorl	%edx, %edx
	xorl	%r10d, %r10d
	xorl	%r8d, %r8d
	movl	$NR_clone, %eax
	syscall
	testq	%rax, %rax
	jz	1f
	popq	%r13
	popq	%r12
	popq	%rbx
	ret
1:	movq	%r13, %rdi		/* the new socket takes the old one's place */
	movl	$FD_SOCKET, %esi
	xorl	%edx, %edx
	movl	$NR_dup3, %eax
	syscall
	movq	%r13, %rdi
	movl	$NR_close, %eax
	syscall
	movabsq	$SLOTS, %rdi
	movabsq	$SLOTS_SIZE, %rsi
	movl	$3, %edx		/* PROT_READ | PROT_WRITE */
	movl	$0x11, %r10d		/* MAP_SHARED | MAP_FIXED */
	movq	%r12, %r8
	xorl	%r9d, %r9d
	movl	$NR_mmap, %eax
	syscall
	movq	%r12, %rdi
	movl	$NR_close, %eax
	syscall
	movl	$FD_SOCKET, %edi	/* a byte over the socket: the host's kernel tells the sentry whose it is */
	leaq	stub_fork(%rip), %rsi
	movl	$1, %edx
	movl	$NR_write, %eax
	syscall
	movabsq	$SLOTS, %rdi
	jmp	stub_born

/* A new host thread: rdi flags, rsi its slot. Returns the tid in the parent. */
	.globl stub_clone
	.type stub_clone, @function
stub_clone:
	pushq	%r12
	movq	%rsi, %r12
	movq	SLOT_STACK(%rsi), %rsi
	xorl	%edx, %edx
	leaq	SLOT_TID(%r12), %r10	/* child_tid, cleared when it ends */
	xorl	%r8d, %r8d
	movl	$NR_clone, %eax
	syscall
	testq	%rax, %rax
	jz	1f
	popq	%r12
	ret
1:	movq	%r12, %rdi

/* The start of every thread: rdi its slot, whose registers the sentry has filled. */
	.globl stub_born
stub_born:
	wrgsbase %rdi
	movq	%gs:SLOT_STACK, %rsp
	call	stub_thread_start
	.globl stub_begin
stub_begin:
	call	stub_thread_born
	jmp	stub_exit

/* rdi: the ucontext that stands for all registers. */
	.globl stub_return
	.type stub_return, @function
stub_return:
	movq	%rdi, %rsp

	.globl stub_restorer
	.type stub_restorer, @function
stub_restorer:
	movl	$NR_rt_sigreturn, %eax
	syscall
	ud2
	.section .note.GNU-stack,"",@progbits
