/* Prints the offsets that entry.S needs, from protocol.h. */
#include <asm/unistd.h>
#include <stddef.h>
#include <stdio.h>
#include "../protocol.h"

#define REGISTER(name, field) printf("#define SLOT_" #name " %zu\n", offsetof(struct caisson_slot, field))

int main(void)
{
	REGISTER(R8, r8);
	REGISTER(R9, r9);
	REGISTER(R10, r10);
	REGISTER(R11, r11);
	REGISTER(R12, r12);
	REGISTER(R13, r13);
	REGISTER(R14, r14);
	REGISTER(R15, r15);
	REGISTER(RDI, rdi);
	REGISTER(RSI, rsi);
	REGISTER(RBP, rbp);
	REGISTER(RBX, rbx);
	REGISTER(RDX, rdx);
	REGISTER(RAX, rax);
	REGISTER(RCX, rcx);
	REGISTER(RSP, rsp);
	REGISTER(RIP, rip);
	REGISTER(EFLAGS, eflags);
	printf("#define SLOT_STACK %zu\n", offsetof(struct caisson_slot, stack_top));
	printf("#define SLOT_SELF %zu\n", offsetof(struct caisson_slot, self));
	printf("#define SLOT_GS %zu\n", offsetof(struct caisson_slot, gs));
	printf("#define SLOT_INTERRUPT %zu\n", offsetof(struct caisson_slot, interrupt));
	printf("#define SLOT_TID %zu\n", offsetof(struct caisson_slot, tid));
	printf("#define FD_SOCKET %d\n", CAISSON_FD_SOCKET);
	printf("#define SLOTS 0x%lx\n", (unsigned long)CAISSON_SLOTS);
	printf("#define SLOTS_SIZE 0x%lx\n", (unsigned long)CAISSON_SLOT_COUNT * CAISSON_SLOT_SIZE);
	printf("#define NR_clone %d\n#define NR_dup3 %d\n#define NR_close %d\n", __NR_clone, __NR_dup3, __NR_close);
	printf("#define NR_write %d\n", __NR_write);
	printf("#define NR_mmap %d\n#define NR_rt_sigreturn %d\n", __NR_mmap, __NR_rt_sigreturn);
	return 0;
}
