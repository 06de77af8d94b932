/*
 * The stub: the few KiB of code that live in every guest process and carry its stops to the sentry and the
 * sentry's operations back. It decides nothing. The guest can read it, jump anywhere into it and scribble over its
 * slot: what keeps the host safe is the seccomp filter on the addresses of this code, not the code.
 */
#include <asm/unistd.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/mman.h>
#include <signal.h>
#include <ucontext.h>
#include <errno.h>
#include <sched.h>
#include "stub.h"

#define INFO ((volatile const struct caisson_info *)CAISSON_INFO_PAGE)
/* No errno for user space: what stub_wait returns to say that somebody kicked. */
#define ERESTARTSYS 512
#define FUTEX_COMMAND(op) ((op) & ~(uint32_t)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME))
/* A relative timeout in seconds is cut to this, so that a deadline does not overflow. */
#define FOREVER_SEC (1ll << 33)
#define STATE(slot) ((_Atomic uint32_t *)&(slot)->state)

_Static_assert(offsetof(struct caisson_slot, r11) == 64, "a plain call touches one cache line");
_Static_assert(sizeof(struct caisson_slot) <= 0x2000 - 256, "the slot's header fits before its stack");
_Static_assert(sizeof(struct caisson_info) <= CAISSON_INFO_SIZE, "the info page's size");

static inline slot_t *slot_of(const void *address)
{
	return (slot_t *)((unsigned long)address & ~(unsigned long)(CAISSON_SLOT_SIZE - 1));
}

/*
 * A moment of waiting. Where the sentry is to run on this very CPU, giving the CPU up makes room for it; now and then
 * the answer is to sleep instead (false), since the wake-up lets the host's scheduler find another CPU for this thread.
 */
static int worth_spinning(slot_t *slot, uint32_t spins)
{
	uint32_t lo, hi, cpu;

	if ((spins & 15) != 0) {
		__builtin_ia32_pause();
		return 1;
	}
	__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(cpu));
	if ((cpu & 0xfff) == INFO->sentry_cpu) {
		if ((++slot->crowded & 15) == 0)
			return 0;
		stub_syscall(__NR_sched_yield, 0, 0, 0, 0, 0, 0);
		return 1;
	}
	/* Others may want this CPU, too. */
	if ((spins & 63) == 0)
		stub_syscall(__NR_sched_yield, 0, 0, 0, 0, 0, 0);
	return 1;
}

/* Sets the request, wakes a sleeping sentry, and waits for the reply. */
static void publish_and_wait(slot_t *slot, uint32_t what)
{
	uint32_t spins = 0;

	slot->what = what;
	/* seq_cst: the state must be visible before the look at `sentry_sleeping` (which the sentry sets before it looks). */
	atomic_exchange_explicit(STATE(slot), CAISSON_STATE_REQUEST, memory_order_seq_cst);
	if (*(volatile uint32_t *)&slot->dozing)
		atomic_exchange_explicit((_Atomic uint32_t *)&((slot_t *)CAISSON_SLOTS)->bell, 1, memory_order_seq_cst);
	if (INFO->sentry_sleeping) {
		uint64_t one = 1;

		stub_syscall(__NR_write, CAISSON_FD_EVENT, (unsigned long)&one, sizeof one, 0, 0, 0);
	}
	for (;;) {
		uint32_t state = atomic_load_explicit(STATE(slot), memory_order_acquire);

		if (state == CAISSON_STATE_REPLY)
			return;
		if (spins++ < *(volatile uint32_t *)&slot->spin && worth_spinning(slot, spins))
			continue;
		if (state == CAISSON_STATE_REQUEST &&
		    !atomic_compare_exchange_strong(STATE(slot), &state, CAISSON_STATE_SLEEP))
			continue;
		stub_syscall(__NR_futex, (unsigned long)&slot->state, FUTEX_WAIT, CAISSON_STATE_SLEEP, 0, 0, 0);
	}
}

/* One message of one byte with one or two descriptors into fds: the first one's number, or a negative errno. */
static long receive_fd(int *fds)
{
	char byte;
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof control };
	long n = stub_syscall(__NR_recvmsg, CAISSON_FD_SOCKET, (unsigned long)&message, 0, 0, 0, 0);

	if (n < 0)
		return n;
	if (message.msg_controllen < sizeof(struct cmsghdr))
		return -EBADF;
	fds[0] = ((int *)CMSG_DATA(&control.header))[0];
	if (message.msg_controllen >= CMSG_LEN(2 * sizeof(int)))
		fds[1] = ((int *)CMSG_DATA(&control.header))[1];
	return fds[0];
}

static unsigned long with_fd(uint64_t argument, const int *fds)
{
	if (argument == CAISSON_FD_RECEIVED)
		return (unsigned long)fds[0];
	return argument == CAISSON_FD_RECEIVED_SECOND ? (unsigned long)fds[1] : argument;
}

static long copy_checked(void *to, const void *from, uint64_t length)
{
	return (long)stub_copy(to, from, length);
}

/* Bounce offsets come from the sentry; they are clipped all the same, so that a bug there shows here. */
static char *bounce_at(slot_t *slot, uint64_t offset)
{
	return (char *)slot + CAISSON_SLOT_BOUNCE + (offset & (CAISSON_SLOT_BOUNCE_SIZE - 1));
}

static void xsave(slot_t *slot)
{
	char *area = (char *)slot + CAISSON_SLOT_XSTATE;

	/* xsave leaves the header's unused words alone: they must be zero. */
	for (int i = 512; i < 576; i++)
		((volatile char *)area)[i] = 0;
	__asm__ volatile("xsave64 (%0)"
			 : : "r"(area), "a"(INFO->xstate_mask_lo), "d"(INFO->xstate_mask_hi) : "memory");
	slot->xstate = CAISSON_SLOT_XSTATE;
}

/* What the guest has made of GS; 0 if it is the stub's. */
static uint64_t guest_gs(const slot_t *slot)
{
	uint64_t base;

	__asm__ volatile("rdgsbase %0" : "=r"(base));
	return base == (uint64_t)slot ? 0 : base;
}

static long run_op(slot_t *slot, struct caisson_op *op, int *fds)
{
	switch (op->kind) {
	case CAISSON_OP_SYSCALL:
		return stub_syscall(op->nr, with_fd(op->a0, fds), with_fd(op->a1, fds), op->a2, op->a3,
				    with_fd(op->a4, fds), op->a5);
	case CAISSON_OP_ATTEMPT:
		stub_syscall(op->nr, op->a0, op->a1, op->a2, op->a3, op->a4, op->a5);
		return 0;
	case CAISSON_OP_COPY_OUT:
		return copy_checked((void *)op->a0, bounce_at(slot, op->a1), op->a2) ? -EFAULT : 0;
	case CAISSON_OP_COPY_IN:
		return (long)op->a2 - copy_checked(bounce_at(slot, op->a1), (void *)op->a0, op->a2);
	case CAISSON_OP_RECEIVE_FD:
		return receive_fd(fds);
	case CAISSON_OP_XSAVE:
		xsave(slot);
		return 0;
	case CAISSON_OP_XRSTOR:
		return stub_xrstor((char *)slot + CAISSON_SLOT_XSTATE, INFO->xstate_mask_lo, INFO->xstate_mask_hi) ?
			-EINVAL : 0;
	case CAISSON_OP_FORK:
		return stub_fork(CLONE_PARENT | SIGCHLD, fds[0], fds[1]);
	case CAISSON_OP_CLONE:
		return stub_clone(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
				  CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID,
				  (slot_t *)(CAISSON_SLOTS + (op->a0 % CAISSON_SLOT_COUNT) * CAISSON_SLOT_SIZE));
	case CAISSON_OP_SET_FS:
		__asm__ volatile("wrfsbase %0" : : "r"(op->a0));
		return 0;
	case CAISSON_OP_GET_FS: {
		long base;

		__asm__ volatile("rdfsbase %0" : "=r"(base));
		return base;
	}
	case CAISSON_OP_SET_GS:
		__asm__ volatile("wrgsbase %0" : : "r"(op->a0 ? op->a0 : (uint64_t)slot));
		return 0;
	case CAISSON_OP_GET_GS:
		return (long)guest_gs(slot);
	case CAISSON_OP_STORE8:
		atomic_store_explicit((_Atomic uint64_t *)op->a0, op->a1, memory_order_seq_cst);
		return 0;
	case CAISSON_OP_EXCHANGE4: {
		uint32_t seen = op->a1;

		atomic_compare_exchange_strong((_Atomic uint32_t *)op->a0, &seen, (uint32_t)op->a2);
		return seen;
	}
	}
	return -ENOSYS;
}

/*
 * The thread ends. The process's first one stays behind, asleep, until the process does: without it the host shows others
 * nothing of the process's memory any more (process_vm_readv(2), /proc/PID/statm).
 */
static void end_thread(const slot_t *slot)
{
	uint32_t never = 0;

	while ((uint64_t)slot == CAISSON_SLOTS)
		stub_syscall(__NR_futex, (unsigned long)&never, FUTEX_WAIT, 0, 0, 0, 0);
	stub_syscall(__NR_exit, 0, 0, 0, 0, 0, 0);
}

/*
 * Carries one stop to the sentry and does as it says until the guest may go on. An operation that fails in the last
 * reply is the call's failure: the errno goes to *result, where the result register is. Returns RESUME, or WAIT: then the
 * caller has it run stub_run_wait.
 */
static uint32_t serve(slot_t *slot, uint32_t what, uint64_t *result)
{
	for (;;) {
		int fds[2] = { -1, -1 };
		uint32_t count, command;

		publish_and_wait(slot, what);
		command = slot->what & 0xff;
		count = slot->what >> 8;
		for (uint32_t i = 0; i < count && i < CAISSON_OP_COUNT; i++) {
			long status = run_op(slot, &slot->ops[i], fds);

			slot->ops[i].result = status;
			if (status < 0 && status > -4096 && command == CAISSON_COMMAND_RESUME)
				*result = (uint64_t)status;
		}
		if (command == CAISSON_COMMAND_EXIT)
			end_thread(slot);
		if (command == CAISSON_COMMAND_RESUME || command == CAISSON_COMMAND_WAIT) {
			atomic_store_explicit(STATE(slot), CAISSON_STATE_RUN, memory_order_release);
			return command;
		}
	}
}

static long wait_natively(slot_t *slot)
{
	uint64_t args[6];
	long result;

	for (int i = 0; i < 6; i++)
		args[i] = slot->wait.args[i];
	if (slot->wait.flags & CAISSON_WAIT_DEADLINE)
		args[3] = (uint64_t)slot->wait.deadline;
	atomic_store_explicit(STATE(slot), CAISSON_STATE_WAIT, memory_order_relaxed);
	do
		result = stub_wait(slot->wait.nr, args);
	while (result == -EINTR);
	/* seq_cst: a sentry that found it waiting and set `interrupt` before is obeyed at stub_exit. */
	atomic_exchange_explicit(STATE(slot), CAISSON_STATE_RUN, memory_order_seq_cst);
	return result;
}

/* The call in slot->wait in place of the guest's, whose registers are in the slot. Also from entry.S. */
void stub_run_wait(slot_t *slot)
{
	for (;;) {
		long result = wait_natively(slot);
		uint32_t what = CAISSON_STOP_INTERRUPTED;

		if (result != -ERESTARTSYS) {
			slot->rax = (uint64_t)result;
			if (!(slot->wait.flags & CAISSON_WAIT_REPORT))
				return;
			what = CAISSON_STOP_WAITED;
		}
		if (serve(slot, what, &slot->rax) != CAISSON_COMMAND_WAIT)
			return;
	}
}

/* Turns the relative timeout at r10 into a deadline: whether it is one. */
static int set_deadline(slot_t *slot)
{
	int64_t timeout[2], now[2];

	if (slot->r10 >= CAISSON_STUB_TEXT || stub_copy(timeout, (const void *)slot->r10, sizeof timeout))
		return 0;
	if (timeout[0] < 0 || timeout[1] < 0 || timeout[1] >= 1000000000)
		return 0;
	if (stub_syscall(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, (unsigned long)now, 0, 0, 0, 0))
		return 0;
	if (timeout[0] > FOREVER_SEC)
		timeout[0] = FOREVER_SEC;
	now[0] += timeout[0];
	now[1] += timeout[1];
	if (now[1] >= 1000000000) {
		now[1] -= 1000000000;
		now[0]++;
	}
	slot->wait.deadline[0] = now[0];
	slot->wait.deadline[1] = now[1];
	return 1;
}

/*
 * futex(2) of the guest's, made right here: whether it was. The host's kernel checks the arguments as Linux does; all that
 * it would see in another way than the guest's kernel goes to the sentry.
 */
static int futex_call(slot_t *slot)
{
	const uint32_t op = (uint32_t)slot->rsi, command = FUTEX_COMMAND(op);
	struct caisson_wait *wait = &slot->wait;

	if (slot->rdi >= CAISSON_STUB_TEXT || ((op & FUTEX_CLOCK_REALTIME) && command != FUTEX_WAIT_BITSET))
		return 0;
	switch (command) {
	case FUTEX_REQUEUE:
	case FUTEX_CMP_REQUEUE:
	case FUTEX_WAKE_OP:
		if (slot->r8 >= CAISSON_STUB_TEXT)
			return 0;
		/* fall through */
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
		slot->rax = (uint64_t)stub_syscall(__NR_futex, slot->rdi, op, slot->rdx, slot->r10, slot->r8, slot->r9);
		return 1;
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		break;
	default:
		return 0;
	}
	wait->nr = __NR_futex;
	wait->flags = 0;
	wait->args[0] = slot->rdi;
	wait->args[1] = op;
	wait->args[2] = slot->rdx;
	wait->args[3] = slot->r10;
	wait->args[5] = slot->r9;
	if (command == FUTEX_WAIT && slot->r10 != 0) {
		if (!set_deadline(slot))
			return 0;
		wait->flags = CAISSON_WAIT_DEADLINE;
		wait->args[1] = op | FUTEX_WAIT_BITSET;
		wait->args[5] = FUTEX_BITSET_MATCH_ANY;
	} else if (slot->r10 >= CAISSON_STUB_TEXT) {
		return 0;
	}
	stub_run_wait(slot);
	return 1;
}

_Static_assert(FUTEX_WAIT == 0, "a bit makes WAIT_BITSET of it");

enum {
	/* From here on a piece of any length that is allowed may not fit any more. */
	PREFETCH_FULL = CAISSON_SLOT_XSTATE - CAISSON_SLOT_BOUNCE - CAISSON_PREFETCH_BUFFER_LIMIT,
};

/* Pieces of a call's data in the bounce buffer: how many, and where the next one goes. */
struct pieces {
	uint32_t count, at;
};

static int is_full(const struct pieces *pieces)
{
	return pieces->count == CAISSON_PREFETCH_PIECES || pieces->at > PREFETCH_FULL;
}

/* The guest's bytes from `address` on are at the end of the bounce buffer's pieces. */
static void add_piece(slot_t *slot, struct pieces *pieces, uint64_t address, uint64_t length)
{
	if (length == 0)
		return;
	slot->prefetched[pieces->count].address = address;
	slot->prefetched[pieces->count].length = (uint32_t)length;
	slot->prefetched[pieces->count].offset = pieces->at;
	pieces->count++;
	pieces->at = (pieces->at + (uint32_t)length + 15) & ~15u;
}

static uint64_t copy_string(char *to, const char *from)
{
	for (uint64_t done = 0; done < CAISSON_PREFETCH_STRING_LIMIT; done++) {
		int byte = stub_load_byte(from + done);

		if (byte < 0)
			return done;
		to[done] = (char)byte;
		if (byte == 0)
			return done + 1;
	}
	return CAISSON_PREFETCH_STRING_LIMIT;
}

/* How many bytes an argument points to; more than the limit for those that don't come along. */
static uint64_t prefetch_length(const volatile uint8_t *rule, const uint64_t *args)
{
	uint64_t count;

	if (rule[0] == CAISSON_PREFETCH_STRUCT)
		return rule[1] | (uint64_t)rule[2] << 8;
	count = rule[1] < 6 ? args[rule[1]] : 0;
	if (count > CAISSON_PREFETCH_BUFFER_LIMIT)
		return count;
	return rule[0] == CAISSON_PREFETCH_BITS ? (count + 63) / 64 * 8 : count * rule[2];
}

/* What the first iovecs of an array point to, which lies in the bounce buffer. */
static void prefetch_vector(slot_t *slot, struct pieces *pieces, const volatile uint64_t *vector, uint64_t count)
{
	for (uint64_t i = 0; i < count && !is_full(pieces); i++) {
		uint64_t address = vector[2 * i], length = vector[2 * i + 1];

		if (address >= CAISSON_STUB_TEXT || length > CAISSON_PREFETCH_BUFFER_LIMIT)
			return;
		add_piece(slot, pieces, address,
			  length - stub_copy(bounce_at(slot, pieces->at), (const void *)address, length));
	}
}

/* Copies what a call's pointers point to into the bounce buffer, as the table says, so that one round trip does. */
static uint32_t prefetch(slot_t *slot, uint64_t nr, const uint64_t *args)
{
	struct pieces pieces = { 0, 0 };

	if (nr >= CAISSON_PREFETCH_MAX || !INFO->prefetch[nr].args[0])
		return 0;
	for (int i = 0; i < 6 && !is_full(&pieces); i++) {
		const volatile uint8_t *rule = &INFO->prefetch[nr].args[1 + i * 3];
		char *to = bounce_at(slot, pieces.at);
		uint64_t length, done;

		if (rule[0] == CAISSON_PREFETCH_NONE || args[i] == 0 || args[i] >= CAISSON_STUB_TEXT)
			continue;
		if (rule[0] == CAISSON_PREFETCH_STRING) {
			add_piece(slot, &pieces, args[i], copy_string(to, (const char *)args[i]));
			continue;
		}
		length = prefetch_length(rule, args);
		if (length > CAISSON_PREFETCH_BUFFER_LIMIT)
			continue;
		done = length - stub_copy(to, (const void *)args[i], length);
		add_piece(slot, &pieces, args[i], done);
		if (rule[0] == CAISSON_PREFETCH_VECTOR)
			prefetch_vector(slot, &pieces, (const volatile uint64_t *)to, done / 16);
	}
	return pieces.count;
}

static int constant_of(uint64_t nr)
{
	switch (nr) {
	case __NR_getpid: return CAISSON_CONSTANT_GETPID;
	case __NR_gettid: return CAISSON_CONSTANT_GETTID;
	case __NR_getppid: return CAISSON_CONSTANT_GETPPID;
	case __NR_getuid: return CAISSON_CONSTANT_GETUID;
	case __NR_geteuid: return CAISSON_CONSTANT_GETEUID;
	case __NR_getgid: return CAISSON_CONSTANT_GETGID;
	case __NR_getegid: return CAISSON_CONSTANT_GETEGID;
	}
	return -1;
}

/* From entry.S: a patched call site. */
void stub_fast_call(slot_t *slot)
{
	const uint64_t args[6] = { slot->rdi, slot->rsi, slot->rdx, slot->r10, slot->r8, slot->r9 };
	int constant = constant_of(slot->rax);

	if (constant >= 0 && (*(volatile uint32_t *)&slot->constants >> constant & 1)) {
		slot->rax = (uint64_t)(int64_t)slot->constant[constant];
		return;
	}
	if (slot->rax == __NR_futex && (*(volatile uint32_t *)&slot->constants >> CAISSON_CONSTANT_FUTEX & 1) &&
	    futex_call(slot))
		return;
	if (serve(slot, CAISSON_STOP_SYSCALL_FAST | prefetch(slot, slot->rax, args) << 8, &slot->rax) == CAISSON_COMMAND_WAIT)
		stub_run_wait(slot);
}

/* From entry.S: a kick arrived while the thread was on its way back. */
void stub_kicked(slot_t *slot)
{
	if (serve(slot, CAISSON_STOP_KICK_FAST, &slot->rax) == CAISSON_COMMAND_WAIT)
		stub_run_wait(slot);
}

/*
 * From entry.S: the first code of a thread, on the slot's stack. It goes on at stub_begin by a return from a signal that never
 * was: that sets the signal stack and clears the signal mask in one call, which handlers need anyway.
 */
void stub_thread_start(slot_t *slot)
{
	ucontext_t context = {
		.uc_stack = { .ss_sp = (char *)slot + CAISSON_SLOT_ALTSTACK, .ss_size = CAISSON_SLOT_ALTSTACK_SIZE },
	};
	greg_t *regs = context.uc_mcontext.gregs;

	regs[REG_RIP] = (greg_t)stub_begin;
	regs[REG_RDI] = (greg_t)slot;
	regs[REG_RSP] = (greg_t)slot->stack_top;
	regs[REG_EFL] = 0x202;
	/* __USER_CS, and __USER_DS for the stack. */
	regs[REG_CSGSFS] = 0x33 | 0x2bll << 48;
	stub_return(&context);
}

/* From entry.S: the sentry learns that the thread is there and has it wait. */
void stub_thread_born(slot_t *slot)
{
	serve(slot, CAISSON_STOP_BORN, &slot->rax);
}

static int in(const void *address, const char *from, const char *to)
{
	return (const char *)address >= from && (const char *)address < to;
}

/* Kicks are blocked in a signal handler: a wait begins behind it, as after a call by the fast path. */
static void enter_wait(slot_t *slot, greg_t *regs)
{
	slot->r8 = regs[REG_R8];
	slot->r9 = regs[REG_R9];
	slot->r10 = regs[REG_R10];
	slot->r11 = regs[REG_R11];
	slot->r12 = regs[REG_R12];
	slot->r13 = regs[REG_R13];
	slot->r14 = regs[REG_R14];
	slot->r15 = regs[REG_R15];
	slot->rdi = regs[REG_RDI];
	slot->rsi = regs[REG_RSI];
	slot->rbp = regs[REG_RBP];
	slot->rbx = regs[REG_RBX];
	slot->rdx = regs[REG_RDX];
	slot->rax = regs[REG_RAX];
	slot->rcx = regs[REG_RCX];
	slot->rsp = regs[REG_RSP];
	slot->rip = regs[REG_RIP];
	slot->eflags = regs[REG_EFL];
	slot->gs = guest_gs(slot);
	regs[REG_RIP] = (greg_t)stub_wait_entry;
	regs[REG_RDI] = (greg_t)slot;
	regs[REG_EFL] = 0x202;
}

/* Every signal: SIGSYS (a call from unpatched text), faults, kicks. On the thread's alternate stack. */
void stub_signal(int signo, siginfo_t *info, void *context)
{
	slot_t *slot = slot_of(__builtin_frame_address(0));
	ucontext_t *uc = context;
	greg_t *regs = uc->uc_mcontext.gregs;
	const void *ip = (const void *)regs[REG_RIP];
	const char *text = (const char *)CAISSON_STUB_TEXT;
	uint32_t what = CAISSON_STOP_KICK;

	if (in(ip, text, text + CAISSON_STUB_TEXT_SIZE)) {
		if (signo == CAISSON_KICK_SIGNAL) {
			if (in(ip, stub_exit, stub_exit_end)) {
				regs[REG_RIP] = (greg_t)stub_exit_again;
				regs[REG_RDI] = (greg_t)slot;
			}
			if (in(ip, stub_wait_begin, stub_wait_end))
				regs[REG_RIP] = (greg_t)stub_wait_begin;
			return;
		}
		if (ip == stub_copy_fault) {
			regs[REG_RIP] = (greg_t)stub_copy_fixup;
			return;
		}
		if (ip == stub_load_fault) {
			regs[REG_RIP] = (greg_t)stub_load_fixup;
			return;
		}
		if (ip == stub_xrstor_fault) {
			regs[REG_RIP] = (greg_t)stub_xrstor_fixup;
			return;
		}
	}
	if (signo == CAISSON_KICK_SIGNAL && !*(volatile uint32_t *)&slot->interrupt)
		return;
	slot->registers = (uint32_t)((char *)regs - (char *)slot);
	slot->xstate = (uint32_t)((char *)uc->uc_mcontext.fpregs - (char *)slot);
	if (signo == SIGSYS) {
		const uint64_t args[6] = { regs[REG_RDI], regs[REG_RSI], regs[REG_RDX], regs[REG_R10], regs[REG_R8],
					   regs[REG_R9] };

		/* A 32-bit entry (int $0x80) has another table: no number of ours. */
		slot->fault_code = info->si_arch;
		what = CAISSON_STOP_SYSCALL_TRAP | prefetch(slot, regs[REG_RAX], args) << 8;
	} else if (signo != CAISSON_KICK_SIGNAL) {
		what = CAISSON_STOP_FAULT;
		slot->fault_signo = signo;
		slot->fault_code = info->si_code;
		slot->fault_address = (uint64_t)info->si_addr;
		slot->fault_trapno = regs[REG_TRAPNO];
		slot->fault_error = regs[REG_ERR];
	}
	if (serve(slot, what, (uint64_t *)&regs[REG_RAX]) == CAISSON_COMMAND_WAIT) {
		enter_wait(slot, regs);
		return;
	}
	/* The kick signal is blocked here: what the sentry asks from now on arrives right after the return. */
	while (*(volatile uint32_t *)&slot->interrupt) {
		slot->registers = (uint32_t)((char *)regs - (char *)slot);
		slot->xstate = (uint32_t)((char *)uc->uc_mcontext.fpregs - (char *)slot);
		serve(slot, CAISSON_STOP_KICK, (uint64_t *)&regs[REG_RAX]);
	}
}

/* What the zygote needs of the image: at its start. */
__attribute__((section(".table"), used)) static const void *const stub_table[] = {
	(void *)stub_signal,
	(void *)stub_restorer,
	(void *)stub_exit,
	(void *)stub_born,
	(void *)stub_entry,
};
