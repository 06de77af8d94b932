/* prctl(PR_SET_SYSCALL_USER_DISPATCH): calls that come back to their thread as SIGSYS. */
#include "observe.h"

#include <pthread.h>
#include <sys/ptrace.h>
#include <ucontext.h>

#define DISPATCH 59 /* PR_SET_SYSCALL_USER_DISPATCH */
#define OFF 0
#define ON 1
#define ALLOW 0
#define BLOCK 1

static volatile char selector;
static volatile int caught, last_code, last_call, last_arch, last_errno;
static void *volatile last_address;
static volatile long rax, rip;

/* By instructions of its own, so that it is known where they are. */
static __attribute__((noinline)) long raw_call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("call_begin_%=: syscall\n" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

static void catch(int signo, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signo;
	selector = ALLOW;
	caught++;
	last_code = info->si_code;
	last_call = info->si_syscall;
	last_arch = (int)info->si_arch;
	last_errno = info->si_errno;
	last_address = info->si_call_addr;
	rax = regs[REG_RAX];
	rip = regs[REG_RIP];
	/* An emulator's answer. */
	regs[REG_RAX] = 4711;
}

static void catch_calls(void)
{
	struct sigaction action = { .sa_sigaction = catch, .sa_flags = SA_SIGINFO };

	MUST(sigaction(SIGSYS, &action, NULL));
}

SECTION("user dispatch: arguments")
{
	ERR(prctl(DISPATCH, OFF, 0, 0, 0));
	ERR(prctl(DISPATCH, OFF, 1, 0, 0));
	ERR(prctl(DISPATCH, OFF, 0, 1, 0));
	ERR(prctl(DISPATCH, OFF, 0, 0, &selector));
	ERR(prctl(DISPATCH, 77, 0, 0, 0));
	ERR(prctl(DISPATCH, -1, 0, 0, 0));
	ERR(prctl(DISPATCH, ON, 1, 0, &selector));
	ERR(prctl(DISPATCH, ON, 2, -1ul, &selector));
	ERR(prctl(DISPATCH, ON, 2, -2ul, &selector));
	ERR(prctl(DISPATCH, ON, 0, 0, 0xffff800000000000));
	selector = ALLOW;
	ERR(prctl(DISPATCH, ON, 2, -8192ul, &selector));
	ERR(prctl(DISPATCH, ON, 0, 0, &selector));
	ERR(prctl(DISPATCH, OFF, 0, 0, 0));
}

SECTION("user dispatch: a blocked call is a SIGSYS that says which it was, and the handler answers")
{
	catch_calls();
	MUST(prctl(DISPATCH, ON, 0, 0, &selector));
	selector = BLOCK;
	long result = raw_call(SYS_getuid, 0, 0, 0);
	SHOW(result);
	SHOW(caught);
	SHOW(last_code);
	SHOW(last_call == SYS_getuid);
	HEX(last_arch);
	SHOW(last_errno);
	SHOW(rax == SYS_getuid);
	SHOW((long)last_address == rip);
	SHOW(((unsigned char *)rip)[-2] == 0x0f && ((unsigned char *)rip)[-1] == 0x05);
	selector = BLOCK;
	result = raw_call(-1, 0, 0, 0);
	SHOW(result);
	SHOW(last_call);
	selector = BLOCK;
	result = raw_call(99999, 0, 0, 0);
	SHOW(last_call);
	ERR(prctl(DISPATCH, OFF, 0, 0, 0));
	selector = BLOCK;
	SHOW(getppid() > 0);
}

SECTION("user dispatch: calls from the range are made")
{
	catch_calls();
	MUST(prctl(DISPATCH, ON, (long)raw_call & ~4095, 8192, &selector));
	selector = BLOCK;
	long inside = raw_call(SYS_getppid, 0, 0, 0);
	long outside = getppid();
	SHOW(inside > 0 && inside != 4711);
	SHOW(outside);
	SHOW(caught);
	SHOW(last_call == SYS_getppid);
}

SECTION("user dispatch: calls that the thread has made often, and those answered nearby, are dispatched too")
{
	static int word;
	int before = 0, after = 0;

	catch_calls();
	for (int i = 0; i < 1000; i++) {
		before += raw_call(SYS_getpid, 0, 0, 0) == getpid();
		before += raw_call(SYS_futex, (long)&word, 1, 1) == 0;
	}
	MUST(prctl(DISPATCH, ON, 0, 0, &selector));
	for (int i = 0; i < 1000; i++) {
		selector = BLOCK;
		after += raw_call(SYS_getpid, 0, 0, 0) == 4711;
		selector = BLOCK;
		after += raw_call(SYS_futex, (long)&word, 1, 1) == 4711;
		/* Selected to be made: answered again. */
		before += raw_call(SYS_getpid, 0, 0, 0) == getpid();
		before += raw_call(SYS_futex, (long)&word, 1, 1) == 0;
	}
	SHOW(before);
	SHOW(after);
	SHOW(caught);
}

SECTION("user dispatch: a selector that says something else ends the process by SIGSYS, whatever the handler")
{
	catch_calls();
	MUST(prctl(DISPATCH, ON, 0, 0, &selector));
	selector = 2;
	raw_call(SYS_getuid, 0, 0, 0);
	selector = ALLOW;
	say("goes on\n");
}

SECTION("user dispatch: a selector that is not there ends the process by SIGSEGV, whatever the handler")
{
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	handle(SIGSEGV, ignore, 0);
	MUST(prctl(DISPATCH, ON, 0, 0, page));
	MUST(munmap(page, 4096));
	say("goes on\n");
}

SECTION("user dispatch: without a selector all calls from outside the range are dispatched")
{
	catch_calls();
	/* The handler's return is a call of the C library's. */
	pid_t child = fork();
	if (child == 0) {
		MUST(prctl(DISPATCH, ON, (long)raw_call & ~4095, 8192, 0));
		raw_call(SYS_exit_group, raw_call(SYS_getuid, 0, 0, 0) == 4711, 0, 0);
	}
	STATUS(end_of(child));
	child = fork();
	if (child == 0) {
		signal(SIGSYS, SIG_DFL);
		MUST(prctl(DISPATCH, ON, (long)raw_call & ~4095, 8192, 0));
		getppid();
	}
	STATUS(end_of(child));
}

static void *thread_calls(void *result)
{
	*(long *)result = raw_call(SYS_getuid, 0, 0, 0);
	return NULL;
}

SECTION("user dispatch: children and threads begin without, and so does a new program")
{
	pthread_t thread;
	long result = -1;

	catch_calls();
	MUST(prctl(DISPATCH, ON, 0, 0, &selector));
	pid_t child = fork();
	if (child == 0) {
		selector = BLOCK;
		SHOW(raw_call(SYS_getuid, 0, 0, 0) == 4711);
		_exit(0);
	}
	STATUS(end_of(child));
	pthread_create(&thread, NULL, thread_calls, &result);
	pthread_join(thread, NULL);
	SHOW(result == getuid());
	child = fork();
	if (child == 0) {
		MUST(prctl(DISPATCH, ON, 0, 0, &selector));
		execlp("true", "true", NULL);
		_exit(1);
	}
	STATUS(end_of(child));
}

SECTION("user dispatch: a blocked call with SIGSYS blocked ends the process")
{
	sigset_t set;

	catch_calls();
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL));
	MUST(prctl(DISPATCH, ON, 0, 0, &selector));
	selector = BLOCK;
	raw_call(SYS_getuid, 0, 0, 0);
	selector = ALLOW;
	say("goes on\n");
}

SECTION("user dispatch: a tracer sees and sets it")
{
	struct {
		uint64_t mode, selector, offset, length;
	} config = { 0 };
	int status;
	pid_t child = fork();

	if (child == 0) {
		catch_calls();
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		selector = BLOCK;
		long result = raw_call(SYS_getuid, 0, 0, 0);
		SHOW(result == 4711);
		_exit(0);
	}
	MUST(waitpid(child, &status, 0));
	ERR(ptrace(0x4211, child, 8, &config));
	ERR(ptrace(0x4211, child, sizeof config, &config));
	SHOW(config.mode);
	SHOW(config.selector);
	config.mode = ON;
	config.selector = (uint64_t)&selector;
	ERR(ptrace(0x4210, child, 8, &config));
	ERR(ptrace(0x4210, child, sizeof config, &config));
	memset(&config, 0, sizeof config);
	ERR(ptrace(0x4211, child, sizeof config, &config));
	SHOW(config.mode);
	SHOW(config.selector == (uint64_t)&selector);
	SHOW(config.offset);
	MUST(ptrace(PTRACE_DETACH, child, 0, 0));
	STATUS(end_of(child));
}
