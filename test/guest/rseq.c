/* rseq(2): registration, and what the kernel keeps in the area. */
#define HAS_CHILD
#include "observe.h"

#include <elf.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>

#define SIGNATURE 0x53053053
#define OTHER_SIGNATURE 0x11223344

/* As of Linux 6.3. */
struct area {
	uint32_t cpu_id_start;
	uint32_t cpu_id;
	uint64_t rseq_cs;
	uint32_t flags;
	uint32_t node_id;
	uint32_t mm_cid;
	uint32_t end;
} __attribute__((aligned(32)));

_Static_assert(sizeof(struct area) == 32, "the first version's size");

static struct area own, second;

static long call(void *area, unsigned length, int flags, unsigned signature)
{
	return syscall(SYS_rseq, area, length, flags, signature);
}

/* The C library has an area of its own for each thread. */
static void leave_libc(void)
{
	if (__rseq_size > 0)
		MUST(call((char *)__builtin_thread_pointer() + __rseq_offset, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG));
}

SECTION("rseq: the C library has registered an area, and sched_getcpu takes the CPU from it")
{
	SHOW(__rseq_size > 0);
	struct area *area = (struct area *)((char *)__builtin_thread_pointer() + __rseq_offset);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	SHOW(area->cpu_id < cpus);
	SHOW(area->cpu_id == area->cpu_id_start);
	SHOW(sched_getcpu() >= 0 && sched_getcpu() < cpus);
	/* The call and the area agree, unless the thread was moved in between. */
	unsigned cpu = -1, before;
	int tries = 0;
	do {
		before = *(volatile uint32_t *)&area->cpu_id;
		MUST(syscall(SYS_getcpu, &cpu, NULL, NULL));
	} while (cpu != before && ++tries < 100);
	SHOW(cpu == before);
	ERR(call(area, 32, 0, RSEQ_SIG));
	SHOW(getauxval(27) >= 20);
	SHOW(getauxval(28));
}

SECTION("rseq: what can't be registered")
{
	static char bytes[128] __attribute__((aligned(32)));

	leave_libc();
	ERR(call(&own, 32, 2, SIGNATURE));
	ERR(call(&own, 32, -1, SIGNATURE));
	ERR(call(&own, 31, 0, SIGNATURE));
	ERR(call(&own, 0, 0, SIGNATURE));
	ERR(call(bytes + 16, 32, 0, SIGNATURE));
	ERR(call(bytes + 16, 64, 0, SIGNATURE));
	ERR(call((void *)0x7ffffffff000, 32, 0, SIGNATURE));
	ERR(call((void *)0xffff800000000000, 32, 0, SIGNATURE));
	ERR(call(&own, 32, RSEQ_FLAG_UNREGISTER, SIGNATURE));
	ERR(call(NULL, 32, RSEQ_FLAG_UNREGISTER, SIGNATURE));
	ERR(call(&own, 32, RSEQ_FLAG_UNREGISTER | 2, SIGNATURE));
}

SECTION("rseq: an area that can't be written ends the process, whatever handles SIGSEGV")
{
	char *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	leave_libc();
	handle(SIGSEGV, ignore, 0);
	ERR(call(page, 32, 0, SIGNATURE));
	say("goes on\n");
}

SECTION("rseq: one area a thread")
{
	leave_libc();
	own.cpu_id = own.cpu_id_start = -1;
	ERR(call(&own, 32, 0, SIGNATURE));
	SHOW(own.cpu_id < sysconf(_SC_NPROCESSORS_CONF));
	SHOW(own.cpu_id == own.cpu_id_start);
	ERR(call(&own, 32, 0, SIGNATURE));
	ERR(call(&own, 32, 0, OTHER_SIGNATURE));
	ERR(call(&own, 64, 0, SIGNATURE));
	ERR(call(&second, 32, 0, SIGNATURE));
	ERR(call(&second, 32, RSEQ_FLAG_UNREGISTER, SIGNATURE));
	ERR(call(&own, 64, RSEQ_FLAG_UNREGISTER, SIGNATURE));
	ERR(call(&own, 32, RSEQ_FLAG_UNREGISTER, OTHER_SIGNATURE));
	ERR(call(&own, 32, RSEQ_FLAG_UNREGISTER, SIGNATURE));
	SHOW((int)own.cpu_id);
	SHOW(own.cpu_id_start);
	ERR(call(&own, 32, RSEQ_FLAG_UNREGISTER, SIGNATURE));
	ERR(call(&second, 32, 0, OTHER_SIGNATURE));
	SHOW(second.cpu_id < sysconf(_SC_NPROCESSORS_CONF));
}

static void *register_again(void *result)
{
	*(long *)result = __rseq_size > 0 ? call((char *)__builtin_thread_pointer() + __rseq_offset, 32, 0, RSEQ_SIG)
					  : 0;
	*(int *)((long *)result + 1) = errno;
	return NULL;
}

static int vfork_child(void *unused)
{
	(void)unused;
	ERR(call(&own, 32, RSEQ_FLAG_UNREGISTER, SIGNATURE));
	ERR(call(&second, 32, 0, SIGNATURE));
	SHOW(second.cpu_id == second.cpu_id_start);
	_exit(0);
}

SECTION("rseq: a forked child has the parent's, a thread and a vforked child have none")
{
	long result[2];
	pthread_t thread;
	static char stack[65536] __attribute__((aligned(16)));

	/* The thread's C library has registered one for it. */
	pthread_create(&thread, NULL, register_again, result);
	pthread_join(thread, NULL);
	SHOW(result[0]);
	TEXT(error_name((int)result[1]));
	leave_libc();
	MUST(call(&own, 32, 0, SIGNATURE));
	pid_t child = fork();
	if (child == 0) {
		SHOW(own.cpu_id == own.cpu_id_start);
		ERR(call(&own, 32, 0, SIGNATURE));
		ERR(call(&own, 32, RSEQ_FLAG_UNREGISTER, SIGNATURE));
		_exit(0);
	}
	STATUS(end_of(child));
	STATUS(end_of(MUST(clone(vfork_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL))));
	ERR(call(&own, 32, 0, SIGNATURE));
}

SECTION("rseq: a new program begins without")
{
	leave_libc();
	MUST(call(&own, 32, 0, SIGNATURE));
	pid_t child = fork();
	if (child == 0) {
		setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
		unsetenv("OBSERVE_RUNNING");
		execl(observe_self, "rseq", "@child", "x", NULL);
		_exit(1);
	}
	STATUS(end_of(child));
}

static int as_child(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	SHOW(__rseq_size);
	ERR(call(&own, 32, RSEQ_FLAG_UNREGISTER, SIGNATURE));
	ERR(call(&own, 32, 0, OTHER_SIGNATURE));
	SHOW(own.cpu_id == own.cpu_id_start);
	SHOW(sched_getcpu() >= 0);
	return 0;
}

/* A critical section that spins until somebody aborts it: 1 if it was. Its counter says that it has begun. */
static int spin_until_aborted(volatile uint64_t *counter, struct area *area)
{
	int aborted = 0;

	__asm__ volatile(
		".pushsection .data.rel, \"aw\"\n\t"
		".balign 32\n"
		"3:\n\t"
		".long 0, 0\n\t"
		".quad 1f, (2f - 1f), 4f\n\t"
		".popsection\n\t"
		"leaq 3b(%%rip), %%rax\n\t"
		"movq %%rax, %[cs]\n"
		"1:\n\t"
		"incq %[counter]\n\t"
		"jmp 1b\n"
		"2:\n\t"
		"jmp 5f\n\t"
		".byte 0x0f, 0xb9, 0x3d\n\t"
		".long 0x53053053\n"
		"4:\n\t"
		"movl $1, %[aborted]\n"
		"5:\n"
		: [aborted] "+m"(aborted), [counter] "+m"(*counter), [cs] "=m"(area->rseq_cs)
		:
		: "rax", "memory", "cc");
	return aborted;
}

static volatile uint64_t turns;
static volatile sig_atomic_t handled;

static void count_signal(int signo)
{
	(void)signo;
	handled++;
}

static void *interrupt(void *target)
{
	while (turns < 1000)
		sched_yield();
	pthread_kill(*(pthread_t *)target, SIGUSR1);
	return NULL;
}

SECTION("rseq: a signal aborts the critical section that it interrupts")
{
	pthread_t self = pthread_self(), thread;
	int aborted;

	leave_libc();
	MUST(call(&own, 32, 0, SIGNATURE));
	handle(SIGUSR1, count_signal, 0);
	pthread_create(&thread, NULL, interrupt, &self);
	/* Preemption aborts it too: then it begins again. */
	do
		aborted = spin_until_aborted(&turns, &own);
	while (aborted && !handled);
	SHOW(aborted);
	pthread_join(thread, NULL);
	SHOW(handled);
	SHOW(own.rseq_cs);
}

static volatile uintptr_t fault_ip;
extern const char fault_abort[];

static void note_ip(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo;
	(void)info;
	fault_ip = uc->uc_mcontext.gregs[REG_RIP];
}

SECTION("rseq: a fault aborts the critical section that it is in: the handler's frame has the abort handler")
{
	struct sigaction action = { .sa_sigaction = note_ip, .sa_flags = SA_SIGINFO };
	int aborted = 0;

	leave_libc();
	MUST(call(&own, 32, 0, SIGNATURE));
	MUST(sigaction(SIGSEGV, &action, NULL));
	__asm__ volatile(
		".pushsection .data.rel, \"aw\"\n\t"
		".balign 32\n"
		"3:\n\t"
		".long 0, 0\n\t"
		".quad 1f, (2f - 1f), fault_abort\n\t"
		".popsection\n\t"
		"leaq 3b(%%rip), %%rax\n\t"
		"movq %%rax, %[cs]\n"
		"1:\n\t"
		"movq 0, %%rax\n"
		"2:\n\t"
		"jmp 5f\n\t"
		".byte 0x0f, 0xb9, 0x3d\n\t"
		".long 0x53053053\n\t"
		".globl fault_abort\n"
		"fault_abort:\n\t"
		"movl $1, %[aborted]\n"
		"5:\n"
		: [aborted] "+m"(aborted), [cs] "=m"(own.rseq_cs)
		:
		: "rax", "memory", "cc");
	SHOW(aborted);
	SHOW(fault_ip == (uintptr_t)fault_abort);
}

static void *nothing(void *argument)
{
	return argument;
}

SECTION("rseq: threads end, and their stacks go, while others run")
{
	for (int i = 0; i < 200; i++) {
		pthread_t thread;
		pthread_attr_t attributes;
		size_t size = 65536;
		char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		pthread_attr_init(&attributes);
		pthread_attr_setstack(&attributes, stack, size);
		if (pthread_create(&thread, &attributes, nothing, NULL))
			say("failed\n");
		pthread_join(thread, NULL);
		munmap(stack, size);
	}
	say("all ended\n");
}

SECTION("rseq: a tracer sees what is registered")
{
	struct __ptrace_rseq_configuration {
		uint64_t pointer;
		uint32_t size, signature, flags, pad;
	} seen = { 0 };
	pid_t child = fork();

	if (child == 0) {
		leave_libc();
		MUST(call(&own, 32, 0, SIGNATURE));
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	int status;
	MUST(waitpid(child, &status, 0));
	STATUS(status);
	RET(ptrace(0x420f, child, sizeof seen, &seen));
	SHOW(seen.pointer == (uint64_t)&own);
	SHOW(seen.size);
	HEX(seen.signature);
	SHOW(seen.flags);
	RET(ptrace(0x420f, child, 8, &seen));
	MUST(ptrace(PTRACE_CONT, child, 0, 0));
	STATUS(end_of(child));
}
