/*
 * What a process does to itself and to its children: registers, signal frames, alternate stacks, restartable sequences, robust
 * lists, filters, memory of others, threads that are made and stopped in all ways.
 */
#include "fuzz.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <ucontext.h>

#define POOL (8 * PAGE)
#define CHILD_LIFE 30

static unsigned char *pool;

static uint64_t address(uint64_t *state)
{
	static const uint64_t edges[] = {
		0, 8, 0x7ffffffff000, 0x7fffffffffff, 0x800000000000, 0xffff800000000000, 0xffffffff80000000, 0xffffffffff600000, -8ull, 0x7fffeffff000,
		0x7ffff0000000, 0x10000,
	};

	if (one_in(state, 3))
		return edges[below(state, LENGTH(edges))];
	return (uintptr_t)pool + below(state, POOL);
}

static void begin(uint64_t *state)
{
	(void)state;
	pool = mmap(NULL, POOL, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(pool, 0x90, POOL);
}

/* A child that does one thing, is waited for a while, and ended. */
static void in_child(uint64_t *state, void (*act)(uint64_t *))
{
	pid_t pid = fork();

	if (pid == 0) {
		/* Whatever writes here and there. */
		munmap(steps, PAGE);
		act(state);
		syscall(SYS_exit_group, 0);
	}
	/* It has drawn numbers of its own. */
	next(state);
	for (int i = 0; i < CHILD_LIFE; i++) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return;
		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void frame_handler(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint64_t state = (uintptr_t)info ^ (uint64_t)uc->uc_mcontext.gregs[REG_R15] ^ *(uint64_t *)pool;

	(void)signo;
	state |= 1;
	for (uint64_t i = 1 + below(&state, 3); i > 0; i--) {
		size_t at = below(&state, sizeof *uc / 8) * 8;

		*(uint64_t *)((char *)uc + at) = one_in(&state, 2) ? address(&state) : number(&state);
	}
	if (one_in(&state, 4) && uc->uc_mcontext.fpregs)
		for (int i = 0; i < 8; i++)
			((uint64_t *)uc->uc_mcontext.fpregs)[below(&state, 64)] = number(&state);
}

static void frame(uint64_t *state)
{
	struct sigaction action = { .sa_sigaction = frame_handler, .sa_flags = SA_SIGINFO | (one_in(state, 2) ? SA_ONSTACK : 0) };
	stack_t stack = { (void *)address(state), (int)number(state), one_in(state, 2) ? POOL : number(state) };

	*(uint64_t *)pool = next(state);
	if (one_in(state, 2))
		sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	raise(SIGUSR1);
	raise(SIGUSR1);
}

/* rt_sigreturn with no frame at all, on a stack of our making. */
static void bare_return(uint64_t *state)
{
	uint64_t at = address(state);

	scramble(state, pool, POOL);
	__asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall; ud2" : : "r"(at) : "memory");
}

/* Guest code with registers of all kinds: a call, a fault or a trap from there. */
static void registers(uint64_t *state)
{
	static const unsigned char ends[][8] = {
		{ 0x0f, 0x05, 0x0f, 0x0b }, { 0xcd, 0x80, 0x0f, 0x0b }, { 0x0f, 0x0b }, { 0xcc, 0x0f, 0x05 }, { 0xf1, 0x0f, 0x05 }, { 0xf4 }, { 0xcf },
		{ 0x9d, 0x0f, 0x05 }, { 0xc3 }, { 0x0f, 0x34 }, { 0xfd, 0x0f, 0x05 }, { 0x0f, 0x01, 0xd0 }, { 0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x05 },
		{ 0x8e, 0xd8, 0x0f, 0x05 }, { 0x8e, 0xe8, 0x0f, 0x05 }, { 0xf3, 0x48, 0x0f, 0xae, 0xd8, 0x0f, 0x05 },
		{ 0xf3, 0x48, 0x0f, 0xae, 0xd0, 0x0f, 0x05 },
	};
	unsigned char *code = pool + below(state, POOL - 16);
	uint64_t stack = address(state), flags = number(state), number_of_call = below(state, 470), a = address(state), b = number(state);

	memcpy(code, ends[below(state, LENGTH(ends))], 8);
	if (number_of_call == SYS_kill || number_of_call == SYS_reboot)
		return;
	if (one_in(state, 2))
		flags = 0x202 | (flags & 0x254dd5);
	__asm__ volatile("mov %0, %%r11; mov %1, %%r12; mov %2, %%rax; mov %3, %%rdi; mov %4, %%rsi; mov %5, %%r13;"
			 "pushq %%r13; popfq; mov %%r12, %%rsp; jmp *%%r11"
			 : : "r"(code), "m"(stack), "m"(number_of_call), "m"(a), "m"(b), "m"(flags)
			 : "memory", "r11", "r12", "r13", "rax", "rdi", "rsi");
}

static void filter(uint64_t *state)
{
	struct sock_filter code[16];
	struct sock_fprog program = { 1 + below(state, LENGTH(code)), code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (int i = 0; i < program.len; i++) {
		static const uint16_t likely[] = { 0x20, 0x20, 0x15, 0x25, 0x35, 0x45, 0x05, 0x06, 0x16, 0x54, 0x04, 0x0c, 0x61, 0x60, 0x02, 0x03, 0x07, 0x87, 0x34, 0x3c, 0x64, 0x74 };

		code[i] = (struct sock_filter){ one_in(state, 8) ? next(state) : likely[below(state, LENGTH(likely))],
						below(state, 4), below(state, 4), one_in(state, 2) ? below(state, 17) * 4 : number(state) };
	}
	code[program.len - 1] = (struct sock_filter){ 0x06, 0, 0, one_in(state, 3) ? 0x7fff0000 : (uint32_t)number(state) };
	syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, one_in(state, 4) ? below(state, 64) : 0, &program);
	for (int i = 0; i < 5; i++)
		syscall(below(state, 300), address(state), 0, 0, 0, 0, 0);
}

static void areas(uint64_t *state)
{
	struct {
		uint64_t next;
		int64_t offset;
		uint64_t pending;
	} *head = (void *)(pool + below(state, POOL / 32) * 8);

	head->next = one_in(state, 2) ? (uintptr_t)head : address(state);
	head->offset = one_in(state, 2) ? 32 : (int64_t)number(state);
	head->pending = one_in(state, 2) ? address(state) : 0;
	syscall(SYS_set_robust_list, head, 24);
	syscall(SYS_set_tid_address, address(state));
	if (one_in(state, 2)) {
		syscall(SYS_rseq, (void *)(address(state) & ~31ul), one_in(state, 2) ? 32 : number(state), (int)below(state, 3), 0x53053053);
		for (int i = 0; i < 20; i++) {
			*(uint64_t *)(pool + below(state, POOL / 8 - 1) * 8) = address(state);
			sched_yield();
		}
	}
	prctl((int)below(state, 75), address(state), number(state), number(state), number(state));
	syscall(SYS_arch_prctl, 0x1000 + (int)below(state, 24), address(state));
	sched_yield();
}

static int idle(void *argument)
{
	(void)argument;
	for (int i = 0; i < 3; i++)
		syscall(SYS_sched_yield);
	syscall(SYS_exit, 0);
	return 0;
}

static void clones(uint64_t *state)
{
	struct clone_args args = { .flags = next(state) & next(state) & ~(uint64_t)CLONE_VM, .exit_signal = one_in(state, 2) ? SIGCHLD : number(state) };

	switch (below(state, 4)) {
	case 0:
		mutate(state, &args, sizeof args);
		/* Without a stack of its own such a child would run on ours. */
		args.flags &= ~(uint64_t)(CLONE_VM | CLONE_THREAD);
		if (syscall(SYS_clone3, &args, one_in(state, 4) ? number(state) : sizeof args) == 0)
			syscall(SYS_exit_group, 0);
		break;
	case 1:
		clone(idle, pool + POOL - PAGE, (int)(next(state) & next(state)) | (one_in(state, 2) ? CLONE_VM : 0), NULL, address(state), address(state),
		      address(state));
		break;
	case 2:
		unshare((int)(next(state) & next(state) & next(state)));
		if (fork() == 0)
			syscall(SYS_exit_group, 0);
		break;
	default:
		for (int i = 0; i < 20; i++)
			clone(idle, pool + POOL - PAGE * (i % 4), CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES | CLONE_FS, NULL);
		if (one_in(state, 2))
			execl("/bin/true", "true", NULL);
	}
}

static void traced(uint64_t *state)
{
	pid_t pid = fork();

	if (pid == 0) {
		uint64_t own = next(state);

		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (int i = 0; i < 10; i++) {
			if (one_in(&own, 5))
				clone(idle, pool + POOL, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, NULL);
			syscall(below(&own, 120) == SYS_pause ? SYS_getpid : SYS_getppid);
			if (one_in(&own, 8) && fork() == 0)
				syscall(SYS_exit_group, 0);
		}
		if (one_in(&own, 2))
			execl("/bin/true", "true", NULL);
		syscall(SYS_exit_group, 0);
	}
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 25; i++) {
		static const int requests[] = {
			PTRACE_PEEKTEXT, PTRACE_PEEKUSER, PTRACE_POKETEXT, PTRACE_POKEUSER, PTRACE_CONT, PTRACE_SINGLESTEP, PTRACE_SYSCALL, PTRACE_GETREGS,
			PTRACE_SETREGS, PTRACE_GETFPREGS, PTRACE_SETFPREGS, PTRACE_SETOPTIONS, PTRACE_GETEVENTMSG, PTRACE_GETSIGINFO, PTRACE_SETSIGINFO,
			PTRACE_GETREGSET, PTRACE_SETREGSET, PTRACE_INTERRUPT, PTRACE_LISTEN, PTRACE_SYSEMU, 31, 32, 33, 0x420e, 0x420f, 0x4210, 0x4211,
		};
		int request = one_in(state, 30) ? (int)number(state) : requests[below(state, LENGTH(requests))], status;
		uint64_t where = one_in(state, 3) ? number(state) : address(state), data = one_in(state, 3) ? number(state) : address(state);
		struct user_regs_struct regs;
		struct iovec vector = { pool, one_in(state, 3) ? number(state) : 512 };

		if (request == PTRACE_SETREGS || one_in(state, 4)) {
			ptrace(PTRACE_GETREGS, pid, 0, &regs);
			for (uint64_t count = below(state, 3); count > 0; count--)
				((uint64_t *)&regs)[below(state, sizeof regs / 8)] = one_in(state, 2) ? address(state) : number(state);
			syscall(SYS_ptrace, PTRACE_SETREGS, pid, 0, &regs);
			continue;
		}
		if (request == PTRACE_SETOPTIONS)
			data = one_in(state, 3) ? number(state) : below(state, 256);
		if (request == PTRACE_PEEKUSER || request == PTRACE_POKEUSER)
			where = one_in(state, 4) ? number(state) : below(state, 120) * 8;
		if (request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) {
			static const int sets[] = { 1, 2, 0x200, 0x202, 3 };

			where = sets[below(state, LENGTH(sets))];
			data = (uintptr_t)&vector;
		}
		if (request == PTRACE_CONT || request == PTRACE_SINGLESTEP || request == PTRACE_SYSCALL || request == PTRACE_SYSEMU)
			data = one_in(state, 3) ? below(state, 66) : 0;
		syscall(SYS_ptrace, request, pid, where, data);
		syscall(SYS_wait4, -1, &status, WNOHANG | __WALL, NULL);
		if (one_in(state, 6)) {
			struct iovec theirs = { (void *)address(state), one_in(state, 4) ? number(state) : 4096 };

			vector.iov_len = 4096;
			syscall(one_in(state, 2) ? SYS_process_vm_readv : SYS_process_vm_writev, pid, &vector, 1, &theirs, 1, 0);
		}
	}
	kill(pid, SIGKILL);
	while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
		;
}

static void step(uint64_t *state)
{
	static void (*const acts[])(uint64_t *) = { frame, bare_return, registers, registers, filter, areas, clones, traced };

	in_child(state, acts[below(state, LENGTH(acts))]);
}

int main(int argc, char **argv)
{
	static const struct fuzzer fuzzer = { begin, step, NULL };

	return run_fuzzer(argc, argv, &fuzzer);
}
