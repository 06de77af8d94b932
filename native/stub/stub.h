/* Shared by the stub's C and assembly parts. No libc here. */
#ifndef CAISSON_STUB_H
#define CAISSON_STUB_H

#include <stddef.h>
#include "../protocol.h"

typedef struct caisson_slot slot_t;

/* entry.S */
unsigned long stub_copy(void *to, const void *from, unsigned long count);
int stub_load_byte(const void *from);
int stub_xrstor(const void *image, uint32_t mask_lo, uint32_t mask_hi);
long stub_fork(unsigned long flags, long slots_fd, long socket_fd);
long stub_clone(unsigned long flags, slot_t *slot);
long stub_wait(unsigned long nr, const uint64_t *args);
void stub_entry(void);
void stub_wait_entry(void);
void stub_exit_again(void);
void stub_born(slot_t *slot);
void stub_begin(void);
_Noreturn void stub_return(void *context);
void stub_restorer(void);
extern const char stub_exit[], stub_exit_end[];
extern const char stub_wait_begin[], stub_wait_end[];
extern const char stub_copy_fault[], stub_copy_fixup[];
extern const char stub_load_fault[], stub_load_fixup[];
extern const char stub_xrstor_fault[], stub_xrstor_fixup[];

static inline long stub_syscall(long nr, unsigned long a0, unsigned long a1, unsigned long a2, unsigned long a3,
				unsigned long a4, unsigned long a5)
{
	long result;
	register unsigned long r10 __asm__("r10") = a3;
	register unsigned long r8 __asm__("r8") = a4;
	register unsigned long r9 __asm__("r9") = a5;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a0), "S"(a1), "d"(a2), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#endif
