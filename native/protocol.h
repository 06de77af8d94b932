/*
 * The protocol between the sentry and the stubs: shared memory layout, states and commands.
 * TypeScript's copy (src/abi/protocol.ts) is generated from this file.
 *
 * Each guest address space is one host process; each guest thread one host thread with one slot. The slots of
 * a process lie in one memfd, mapped at CAISSON_SLOTS in the process; the sentry maps each slot singly into an
 * arena of its own. A slot:
 *
 *   0x00000  header: state, registers, operations        (struct caisson_slot)
 *   0x02000  stack of the stub's C code
 *   0x04000  alternate signal stack: SIGSYS, faults and kicks arrive here
 *   0x10000  bounce buffer: bytes on their way between guest memory and the sentry
 *
 * State machine; the stub moves RUN -> REQUEST -> SLEEP, the sentry REQUEST|SLEEP -> REPLY, the stub REPLY -> RUN
 * (or, when the command is REPORT, back to REQUEST), and RUN -> WAIT -> RUN. The sentry believes nothing it reads here.
 *
 * WAIT: the thread is in a host call that waits (`wait`), in place of the guest's: futex(2) without PI, futex_waitv(2).
 * All who wait at a futex that is not PI's do so in the host's kernel, and who wakes them does so there: guest threads
 * by themselves (stub.c) as long as CAISSON_CONSTANT_FUTEX is among their `constants`, else by the sentry's order
 * (COMMAND_WAIT; OP_SYSCALL for what doesn't wait), and the sentry for its own words (clear_child_tid, robust lists).
 * A kick ends the wait as a signal would: the stub reports STOP_INTERRUPTED, its registers as at the call, and the sentry
 * delivers signals, starts the call anew (COMMAND_WAIT; a relative timeout has become a `deadline`) or lets it fail.
 * No wake is lost, since the host's kernel says 0 to who was woken, whatever else happened: see stub_wait in entry.S.
 *
 * The sentry looks at the slots of threads that run. One that waits may do so for long: it becomes `dozing`, which means that
 * its next request has to ring the `bell` of its process, a word in the process's first slot.
 */
#ifndef CAISSON_PROTOCOL_H
#define CAISSON_PROTOCOL_H

/* Addresses in every stub process. The guest's end at CAISSON_STUB_TEXT. */
#define CAISSON_STUB_TEXT 0x7fffc0000000
#define CAISSON_STUB_TEXT_SIZE 0x10000
#define CAISSON_INFO_PAGE 0x7fffc0010000
#define CAISSON_INFO_SIZE 0x8000
#define CAISSON_SLOTS 0x7fffc0100000
#define CAISSON_SLOT_SIZE 0x20000
#define CAISSON_SLOT_COUNT 4096

#define CAISSON_SLOT_STACK_TOP 0x4000
#define CAISSON_SLOT_ALTSTACK 0x4000
#define CAISSON_SLOT_ALTSTACK_SIZE 0xc000
#define CAISSON_SLOT_BOUNCE 0x10000
#define CAISSON_SLOT_BOUNCE_SIZE 0x10000
/* Extended state of a thread that stopped by the fast path, saved on demand into the bounce area's end. */
#define CAISSON_SLOT_XSTATE 0x1c000
#define CAISSON_SLOT_XSTATE_SIZE 0x4000

/* Descriptors in a stub process. */
#define CAISSON_FD_SOCKET 0
#define CAISSON_FD_EVENT 1

#define CAISSON_STATE_RUN 0
#define CAISSON_STATE_REQUEST 1
#define CAISSON_STATE_SLEEP 2
#define CAISSON_STATE_REPLY 3
#define CAISSON_STATE_WAIT 4

/* what, from the stub: the FAST ones and BORN have their registers in the slot, the others in a signal frame */
#define CAISSON_STOP_SYSCALL_FAST 1
#define CAISSON_STOP_SYSCALL_TRAP 2
#define CAISSON_STOP_FAULT 3
#define CAISSON_STOP_KICK 4
#define CAISSON_STOP_KICK_FAST 5
#define CAISSON_STOP_BORN 6
#define CAISSON_STOP_INTERRUPTED 7 /* in a wait, by a kick */
#define CAISSON_STOP_WAITED 8      /* a wait with CAISSON_WAIT_REPORT is over; rax is the result */

/* what, to the stub */
#define CAISSON_COMMAND_RESUME 0
#define CAISSON_COMMAND_REPORT 1
#define CAISSON_COMMAND_EXIT 2
#define CAISSON_COMMAND_WAIT 3 /* the call in `wait`, then as RESUME */

/* The host signal that makes a running thread stop. */
#define CAISSON_KICK_SIGNAL 10

/* Operations that the stub does before it resumes or reports. */
#define CAISSON_OP_SYSCALL 1    /* a0.. of number nr; result */
#define CAISSON_OP_COPY_OUT 2   /* a0 guest address, a1 bounce offset, a2 length; result 0 or -EFAULT */
#define CAISSON_OP_COPY_IN 3    /* the other way; result is the count of bytes read before a fault */
#define CAISSON_OP_RECEIVE_FD 4 /* receives descriptors over the socket; result is the first one's number */
#define CAISSON_OP_XSAVE 5
#define CAISSON_OP_XRSTOR 6     /* at resume; result -EINVAL if the CPU refuses the image */
#define CAISSON_OP_FORK 7       /* a0 the slots memfd, a1 the new socket: both as received; result is the pid */
#define CAISSON_OP_CLONE 8      /* a0 local index of the new slot; result is the tid */
#define CAISSON_OP_SET_FS 9
#define CAISSON_OP_GET_FS 10
#define CAISSON_OP_SET_GS 11    /* a0 base, 0 for the stub's; only for a stop by a signal frame */
#define CAISSON_OP_GET_GS 12    /* 0 if the guest has set none */
#define CAISSON_OP_STORE8 13    /* a0 address, a1 value: one aligned 8-byte store */
#define CAISSON_OP_EXCHANGE4 14 /* a0 address, a1 expected, a2 desired: compare-and-exchange of 4 bytes; result is what was there */
#define CAISSON_OP_ATTEMPT 15   /* as OP_SYSCALL for what the guest need not know: result 0 also where the host refuses */
/* In a0, a1 and a4 of OP_SYSCALL: replaced by the descriptors that the last OP_RECEIVE_FD brought. */
#define CAISSON_FD_RECEIVED 0x7fffffff
#define CAISSON_FD_RECEIVED_SECOND 0x7ffffffe
#define CAISSON_OP_COUNT 88

/* Calls that a stub can answer: the index of each in `constant`. */
#define CAISSON_CONSTANT_GETPID 0
#define CAISSON_CONSTANT_GETTID 1
#define CAISSON_CONSTANT_GETPPID 2
#define CAISSON_CONSTANT_GETUID 3
#define CAISSON_CONSTANT_GETEUID 4
#define CAISSON_CONSTANT_GETGID 5
#define CAISSON_CONSTANT_GETEGID 6
#define CAISSON_CONSTANTS 7
/* A bit of `constants` without a value: the thread makes futex calls by itself. */
#define CAISSON_CONSTANT_FUTEX 31

/* Flags of a wait: its fourth argument is `deadline`; its end is to be reported. */
#define CAISSON_WAIT_DEADLINE 1
#define CAISSON_WAIT_REPORT 2

/* Prefetch kinds, one byte an argument in the info page's table. */
#define CAISSON_PREFETCH_NONE 0
#define CAISSON_PREFETCH_STRING 1
#define CAISSON_PREFETCH_BUFFER 2 /* count in another argument: the second byte; bytes of each: the third */
#define CAISSON_PREFETCH_STRUCT 3 /* fixed size: the second and third byte */
#define CAISSON_PREFETCH_BITS 4	  /* count in another argument: the second byte; a bit each, in words of 64 */
#define CAISSON_PREFETCH_VECTOR 5 /* the same for struct iovec, with what they point to */
#define CAISSON_PREFETCH_PIECES 6 /* of one call */
#define CAISSON_PREFETCH_MAX 512  /* system call numbers in the table */
#define CAISSON_PREFETCH_BUFFER_LIMIT 0x4000
#define CAISSON_PREFETCH_STRING_LIMIT 0x400

#ifndef __ASSEMBLER__
#include <stdint.h>

struct caisson_op {
	uint32_t kind;
	uint32_t nr;
	uint64_t a0;
	uint64_t a1;
	uint64_t a2;
	uint64_t a3;
	uint64_t a4;
	uint64_t a5;
	int64_t result;
};

struct caisson_prefetched {
	uint64_t address;
	uint32_t length;
	uint32_t offset;
};

/* A host call that waits. */
struct caisson_wait {
	uint32_t nr;
	uint32_t flags;
	uint64_t args[6];
	/* struct timespec: a point of the host's clock. */
	int64_t deadline[2];
};

/*
 * The first cache line is all that a plain call touches: the stub fills it, the sentry answers in it. What else is here
 * stays in the cache of the side that uses it.
 */
struct caisson_slot {
	uint32_t state;
	/* From the stub: CAISSON_STOP_* and the count of prefetched pieces << 8. To it: CAISSON_COMMAND_* and the count of
	 * operations << 8. */
	uint32_t what;
	/* Registers of a stop by the fast path, from here to eflags. */
	uint64_t rax, rdi, rsi, rdx, r10, r8, r9;

	uint64_t r11, r12, r13, r14, r15, rbp, rbx, rcx, rsp, rip, eflags;
	uint64_t self;
	uint64_t stack_top;
	/* The stub's own: how often it met the sentry on its CPU. */
	uint64_t crowded;
	/* The guest's GS base, with which the thread leaves by stub_exit; 0: the guest has none, and the stub's stays. */
	uint64_t gs;
	uint64_t reserved[1];

	/* Written by the sentry now and then. */
	/* Spins before sleeping; 0 parks the thread at once. */
	uint32_t spin;
	uint32_t interrupt;
	/* Calls whose answer does not change for now, and the answers: the stub gives them itself. */
	uint32_t constants;
	/* The sentry does not look at this slot: a request must ring the bell, which counts in a process's first slot. */
	uint32_t dozing;
	uint32_t bell;
	int32_t constant[CAISSON_CONSTANTS];
	/* Kernel-cleared when the host thread is gone (CLONE_CHILD_CLEARTID). */
	uint32_t tid;

	/* Stops by a signal: where the registers (struct sigcontext's order, r8 first) and the extended state are in the slot. */
	uint32_t registers;
	uint32_t xstate;
	uint32_t fault_signo;
	uint32_t fault_code;
	uint64_t fault_address;
	uint64_t fault_trapno;
	uint64_t fault_error;
	struct caisson_wait wait;
	struct caisson_prefetched prefetched[CAISSON_PREFETCH_PIECES];
	struct caisson_op ops[CAISSON_OP_COUNT];
};

/* The first byte tells whether there is any rule; then a triple an argument: CAISSON_PREFETCH_* and its two bytes. */
struct caisson_prefetch_row {
	uint8_t args[24];
};

/* Read-only in the stubs, written by the sentry. */
struct caisson_info {
	uint32_t sentry_sleeping;
	/* Where the sentry runs: who waits for it on the same CPU must sleep. */
	uint32_t sentry_cpu;
	uint32_t xstate_mask_lo;
	uint32_t xstate_mask_hi;
	uint32_t xstate_size;
	uint32_t reserved[11];
	struct caisson_prefetch_row prefetch[CAISSON_PREFETCH_MAX];
};
#endif
#endif
