/* ptrace(2): beginning, stops and what they show, calls, memory, registers, steps, the end. */
#define HAS_CHILD
#include "observe.h"
#include "ptrace.h"
#include <pthread.h>

static int as_child(int argc, char **argv)
{
	(void)argv;
	return argc + 40;
}

static volatile long shared_value = 0x1122334455667788;

static void nothing(void)
{
}

static void one_call(void)
{
	syscall(SYS_getppid);
}

static void two_calls(void)
{
	syscall(SYS_getppid);
	syscall(SYS_close, 77);
}

static void raise_usr1(void)
{
	raise(SIGUSR1);
}

/* Wrong requests. */

SECTION("a task that is not there, or not traced by the caller")
{
	pid_t pid = sleeping_child();
	unsigned long word;

	ERR(trace(PTRACE_PEEKDATA, 0x3fffff, 0, DATA(&word)));
	ERR(trace(PTRACE_PEEKDATA, pid, 0, DATA(&word)));
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	ERR(trace(PTRACE_KILL, pid, 0, 0));
	ERR(trace(PTRACE_INTERRUPT, pid, 0, 0));
	ERR(trace(PTRACE_DETACH, pid, 0, 0));
	ERR(trace(9999, pid, 0, 0));
	ERR(trace(PTRACE_ATTACH, 0x3fffff, 0, 0));
	ERR(trace(PTRACE_SEIZE, 0x3fffff, 0, 0));
	end_child(pid);
}

SECTION("oneself can't be attached to, nor anybody twice")
{
	ERR(trace(PTRACE_ATTACH, getpid(), 0, 0));
	ERR(trace(PTRACE_SEIZE, getpid(), 0, 0));
	pid_t pid = sleeping_child();
	ERR(trace(PTRACE_ATTACH, pid, 0, 0));
	ERR(trace(PTRACE_ATTACH, pid, 0, 0));
	ERR(trace(PTRACE_SEIZE, pid, 0, 0));
	await("child", pid);
	pid_t other = fork();
	if (other == 0) {
		ERR(trace(PTRACE_ATTACH, pid, 0, 0));
		ERR(trace(PTRACE_CONT, pid, 0, 0));
		_exit(0);
	}
	end_of(other);
	end_child(pid);
}

SECTION("a zombie can't be attached to")
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	await_state(pid, 'Z');
	ERR(trace(PTRACE_ATTACH, pid, 0, 0));
	STATUS(end_of(pid));
}

SECTION("PTRACE_TRACEME twice")
{
	pid_t pid = fork();
	if (pid == 0) {
		ERR(trace(PTRACE_TRACEME, 0, 0, 0));
		ERR(trace(PTRACE_TRACEME, 0, 0, 0));
		SHOW(status_number(getpid(), "TracerPid") == getppid());
		_exit(0);
	}
	await("child", pid);
}

SECTION("a request of a tracee that runs")
{
	pid_t pid = traced_child(sleep_for_ever);
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	unsigned long word;
	ERR(trace(PTRACE_PEEKDATA, pid, DATA(&shared_value), DATA(&word)));
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	ERR(trace(PTRACE_DETACH, pid, 0, 0));
	end_child(pid);
}

SECTION("signals that are none")
{
	pid_t pid = traced_child(nothing);
	ERR(trace(PTRACE_CONT, pid, 0, 65));
	ERR(trace(PTRACE_SYSCALL, pid, 0, 1000));
	ERR(trace(PTRACE_DETACH, pid, 0, -1ul));
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("options that are none")
{
	pid_t pid = traced_child(nothing);
	ERR(trace(PTRACE_SETOPTIONS, pid, 0, 0x80000000));
	ERR(trace(PTRACE_SETOPTIONS, pid, 0, 0x400));
	ERR(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
	end_child(pid);
	pid = sleeping_child();
	ERR(trace(PTRACE_SEIZE, pid, 1, 0));
	ERR(trace(PTRACE_SEIZE, pid, 0, 0x400));
	ERR(trace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACECLONE));
	end_child(pid);
}

/* Stops. */

SECTION("the stop of a signal: state, siginfo, TracerPid")
{
	pid_t pid = traced_child(raise_usr1);
	SHOW(state_of(pid));
	SHOW(status_number(pid, "TracerPid") == getpid());
	say_siginfo(pid);
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	say_siginfo(pid);
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

static void say_got(int signo)
{
	say("got %s\n", signal_name(signo));
}

static void handle_usr(void)
{
	handle(SIGUSR1, say_got, 0);
	handle(SIGUSR2, say_got, 0);
	raise(SIGUSR1);
	say("after\n");
}

SECTION("a signal that the tracer delivers, drops, or replaces")
{
	int deliver[] = { SIGUSR1, 0, SIGUSR2, SIGTERM };

	for (size_t i = 0; i < LENGTH(deliver); i++) {
		pid_t pid = traced_child(handle_usr);
		ERR(trace(PTRACE_CONT, pid, 0, 0));
		await("child", pid);
		SIGNAL(deliver[i]);
		MUST(trace(PTRACE_CONT, pid, 0, deliver[i]));
		await("child", pid);
	}
}

static void info_handler(int signo, siginfo_t *info, void *context)
{
	(void)context;
	say("%s code %d value %d from its tracer %d\n", signal_name(signo), info->si_code, info->si_value.sival_int,
	    info->si_pid == getppid());
}

static void with_info(void)
{
	struct sigaction action = { .sa_sigaction = info_handler, .sa_flags = SA_SIGINFO };

	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR1);
}

SECTION("PTRACE_SETSIGINFO changes what the handler gets")
{
	pid_t pid = traced_child(with_info);
	siginfo_t info;

	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	MUST(trace(PTRACE_GETSIGINFO, pid, 0, DATA(&info)));
	info.si_code = SI_QUEUE;
	info.si_value.sival_int = 4711;
	ERR(trace(PTRACE_SETSIGINFO, pid, 0, DATA(&info)));
	MUST(trace(PTRACE_CONT, pid, 0, SIGUSR1));
	await("child", pid);

	pid = traced_child(with_info);
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	say("another signal is the tracer's\n");
	MUST(trace(PTRACE_CONT, pid, 0, SIGUSR2));
	await("child", pid);
	ERR(trace(PTRACE_SETSIGINFO, pid, 0, DATA(&info)));
}

SECTION("ignored and blocked signals")
{
	signal(SIGUSR1, SIG_IGN);
	pid_t pid = traced_child(raise_usr1);
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("ignored", pid);
	ERR(trace(PTRACE_CONT, pid, 0, SIGUSR1));
	await("child", pid);

	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid = traced_child(raise_usr1);
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("blocked", pid);
}

SECTION("SIGCHLD tells the tracer of a stop")
{
	sigset_t set;
	siginfo_t info;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		trace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGUSR1);
		_exit(4);
	}
	SIGNAL(sigwaitinfo(&set, &info));
	SHOW(info.si_code == CLD_TRAPPED);
	SHOW(info.si_status);
	SHOW(info.si_pid == pid);
	await("child", pid);
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	SIGNAL(sigwaitinfo(&set, &info));
	SHOW(info.si_code == CLD_EXITED);
	SHOW(info.si_status);
	await("child", pid);
}

SECTION("waitid: what a trace stop looks like, and WNOWAIT")
{
	pid_t pid = traced_child(raise_usr1);
	siginfo_t info;

	ERR(trace(PTRACE_CONT, pid, 0, 0));
	MUST(waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT));
	SHOW(info.si_code == CLD_TRAPPED);
	SHOW(info.si_status);
	MUST(waitid(P_PID, pid, &info, WSTOPPED));
	SHOW(info.si_status);
	info.si_pid = 0;
	RET(waitid(P_PID, pid, &info, WSTOPPED | WNOHANG));
	SHOW(info.si_pid);
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("a stop is seen without WUNTRACED, once")
{
	pid_t pid = traced_child(raise_usr1);
	int status;

	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	RET(waitpid(pid, &status, WNOHANG | __WALL));
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	RET(waitpid(pid, &status, WNOHANG | __WALL));
}

/* Calls. */

static void say_call(const char *name, pid_t pid)
{
	struct user_regs_struct regs = registers_of(pid);

	/* What getppid gives is another number each time. */
	say("%s: orig_rax %lld rax %lld rdi %lld\n", name, (long long)regs.orig_rax,
	    (long long)regs.rax > 0 ? 1 : (long long)regs.rax, regs.orig_rax == SYS_close ? (long long)regs.rdi : 0);
}

SECTION("PTRACE_SYSCALL: entry and exit, with and without TRACESYSGOOD")
{
	for (int good = 0; good < 2; good++) {
		pid_t pid = traced_child(two_calls);
		ERR(trace(PTRACE_SETOPTIONS, pid, 0, good ? PTRACE_O_TRACESYSGOOD : 0));
		for (int i = 0; i < 5; i++) {
			MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
			await("child", pid);
			if (i == 0)
				say_siginfo(pid);
			/* The exit of tgkill, which raise(3) made, is the first. */
			if (i == 1 || i >= 3)
				say_call("call", pid);
		}
		ERR(trace(PTRACE_CONT, pid, 0, 0));
		await("child", pid);
	}
}

SECTION("a call is changed into another one, its argument, its result")
{
	pid_t pid = traced_child(two_calls);
	struct user_regs_struct regs;

	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD));
	/* To the entry of getppid. */
	for (int i = 0; i < 2; i++) {
		do {
			MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
			await_quietly(pid);
			regs = registers_of(pid);
		} while (regs.orig_rax != SYS_getppid && i == 0);
	}
	regs.rax = -77;
	ERR(trace(PTRACE_SETREGS, pid, 0, DATA(&regs)));
	MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
	await_quietly(pid);
	regs = registers_of(pid);
	SHOW((long)regs.orig_rax);
	regs.orig_rax = SYS_umask;
	regs.rdi = 0123;
	ERR(trace(PTRACE_SETREGS, pid, 0, DATA(&regs)));
	MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
	await_quietly(pid);
	say_call("exit", pid);
	SHOW(status_number(pid, "Umask"));
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

static void close_says(void)
{
	long result = syscall(SYS_close, 77);
	say("close: %ld %s\n", result, error_name(errno));
}

SECTION("a call is skipped by the number -1, its result is the tracer's")
{
	for (int with_result = 0; with_result < 2; with_result++) {
		pid_t pid = traced_child(close_says);
		struct user_regs_struct regs;
		do {
			MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
			await_quietly(pid);
			regs = registers_of(pid);
		} while (regs.orig_rax != SYS_close);
		regs.orig_rax = -1;
		if (with_result)
			regs.rax = -EXDEV;
		MUST(trace(PTRACE_SETREGS, pid, 0, DATA(&regs)));
		MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
		await_quietly(pid);
		say_call("exit", pid);
		MUST(trace(PTRACE_CONT, pid, 0, 0));
		await("child", pid);
	}
}

SECTION("PTRACE_SYSEMU: the call is not made")
{
	pid_t pid = traced_child(close_says);
	struct user_regs_struct regs;

	for (;;) {
		MUST(trace(PTRACE_SYSEMU, pid, 0, 0));
		await_quietly(pid);
		regs = registers_of(pid);
		if (regs.orig_rax == SYS_close)
			break;
	}
	say_call("entry", pid);
	regs.rax = 42;
	MUST(trace(PTRACE_SETREGS, pid, 0, DATA(&regs)));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("PTRACE_SET_SYSCALL_INFO: another call, and another result")
{
	enum { SET_SYSCALL_INFO = 0x4212 };
	pid_t pid = traced_child(close_says);
	struct ptrace_syscall_info info;

	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD));
	memset(&info, 0, sizeof info);
	ERR(trace(SET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	do {
		MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
		await_quietly(pid);
		MUST(trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	} while (info.op != PTRACE_SYSCALL_INFO_ENTRY || info.entry.nr != SYS_close);
	ERR(trace(SET_SYSCALL_INFO, pid, sizeof info - 8, DATA(&info)));
	ERR(trace(SET_SYSCALL_INFO, pid, sizeof info, 8));
	for (int at = 1; at < 4; at++) {
		((char *)&info)[at] = 1;
		ERR(trace(SET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
		((char *)&info)[at] = 0;
	}
	info.op = PTRACE_SYSCALL_INFO_EXIT;
	ERR(trace(SET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	info.op = PTRACE_SYSCALL_INFO_ENTRY;
	info.entry.nr = 1ull << 40;
	ERR(trace(SET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	info.entry.nr = SYS_dup;
	info.entry.args[0] = 78;
	ERR(trace(SET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	SHOW(registers_of(pid).orig_rax);
	SHOW(registers_of(pid).rdi);
	/* A call that is not made keeps its arguments. */
	info.entry.nr = -1;
	info.entry.args[0] = 79;
	ERR(trace(SET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	SHOW((int)registers_of(pid).orig_rax);
	SHOW(registers_of(pid).rdi);
	MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
	await_quietly(pid);
	MUST(trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	SHOW(info.op);
	SHOW(info.exit.rval);
	info.exit.rval = -ENOLINK;
	info.exit.is_error = 1;
	ERR(trace(SET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("PTRACE_GET_SYSCALL_INFO")
{
	pid_t pid = traced_child(close_says);
	struct ptrace_syscall_info info;
	bool ip_right = true;

	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD));
	memset(&info, 0xff, sizeof info);
	RET(trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	SHOW(info.op);
	do {
		MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
		await_quietly(pid);
		MUST(trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
		ip_right &= info.instruction_pointer == registers_of(pid).rip;
	} while (info.op != PTRACE_SYSCALL_INFO_ENTRY || info.entry.nr != SYS_close);
	RET(trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	SHOW(info.entry.args[0]);
	HEX(info.arch);
	RET(trace(PTRACE_GET_SYSCALL_INFO, pid, 1, DATA(&info)));
	ERR(trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, 8));
	SHOW(event_message(pid));
	MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
	await_quietly(pid);
	RET(trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	SHOW(info.op);
	SHOW(info.exit.rval);
	SHOW(info.exit.is_error);
	SHOW(event_message(pid));
	SHOW(ip_right);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

static void sleep_interrupted(void)
{
	struct timespec time = { 2, 0 };

	handle(SIGUSR1, say_got, SA_RESTART);
	long result = nanosleep(&time, NULL);
	say("nanosleep: %ld %s\n", result, result ? error_name(errno) : "");
}

SECTION("an interrupted sleep: its result at the exit, and restart_syscall")
{
	for (int deliver = 0; deliver < 2; deliver++) {
		pid_t pid = traced_child(sleep_interrupted);
		struct user_regs_struct regs;

		MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD));
		do {
			MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
			await_quietly(pid);
			regs = registers_of(pid);
		} while (regs.orig_rax != SYS_clock_nanosleep && regs.orig_rax != SYS_nanosleep);
		MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
		await_state(pid, 'S');
		kill(pid, SIGUSR1);
		await("child", pid);
		SHOW((long)registers_of(pid).rax);
		MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
		await("child", pid);
		SHOW((long)registers_of(pid).rax);
		MUST(trace(PTRACE_SYSCALL, pid, 0, deliver ? SIGUSR1 : 0));
		await("child", pid);
		if (!deliver)
			SHOW((long)registers_of(pid).orig_rax);
		MUST(trace(PTRACE_CONT, pid, 0, 0));
		await("child", pid);
	}
}

static int pipe_ends[2];

static void read_restarts(void)
{
	char byte = 0;

	handle(SIGUSR1, say_got, SA_RESTART);
	long result = read(pipe_ends[0], &byte, 1);
	say("read: %ld\n", result);
}

SECTION("an interrupted read with SA_RESTART is made again after the handler")
{
	MUST(pipe(pipe_ends));
	pid_t pid = traced_child(read_restarts);
	struct user_regs_struct regs;

	do {
		MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
		await_quietly(pid);
		regs = registers_of(pid);
	} while (regs.orig_rax != SYS_read);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await_state(pid, 'S');
	kill(pid, SIGUSR1);
	await("child", pid);
	SHOW((long)registers_of(pid).rax);
	SHOW((long)registers_of(pid).orig_rax);
	MUST(trace(PTRACE_CONT, pid, 0, SIGUSR1));
	write(pipe_ends[1], "x", 1);
	await("child", pid);
}

SECTION("the tracer of an interrupted read says that it is not to be restarted")
{
	MUST(pipe(pipe_ends));
	pid_t pid = traced_child(read_restarts);
	struct user_regs_struct regs;

	do {
		MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
		await_quietly(pid);
		regs = registers_of(pid);
	} while (regs.orig_rax != SYS_read);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await_state(pid, 'S');
	kill(pid, SIGUSR1);
	await("child", pid);
	regs = registers_of(pid);
	regs.orig_rax = -1;
	regs.rax = 123;
	MUST(trace(PTRACE_SETREGS, pid, 0, DATA(&regs)));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

/* Memory. */

static void report_value(void)
{
	say("value %#lx\n", shared_value);
}

SECTION("PTRACE_PEEKDATA and PTRACE_POKEDATA")
{
	pid_t pid = traced_child(report_value);
	unsigned long word = 0;

	HEX(peek(pid, (void *)&shared_value));
	HEX(peek(pid, (char *)&shared_value + 2) & 0xffff);
	ERR(trace(PTRACE_POKEDATA, pid, DATA(&shared_value), 0xfedcba9876543210));
	HEX(peek(pid, (void *)&shared_value));
	ERR(trace(PTRACE_PEEKDATA, pid, 8, DATA(&word)));
	ERR(trace(PTRACE_POKEDATA, pid, 8, 1));
	ERR(trace(PTRACE_PEEKDATA, pid, DATA(&shared_value), 8));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	HEX(shared_value);
}

static char *page;

static void read_page(void)
{
	say("page %s\n", page);
}

SECTION("memory without permissions is read and written all the same; a shared read-only one is not written")
{
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(page, "abcdefgh");
	mprotect(page, 4096, PROT_NONE);
	pid_t pid = traced_child(nothing);
	HEX(peek(pid, page));
	ERR(trace(PTRACE_POKEDATA, pid, DATA(page), 0x4141414141414141));
	HEX(peek(pid, page));
	end_child(pid);

	mprotect(page, 4096, PROT_READ);
	pid = traced_child(read_page);
	ERR(trace(PTRACE_POKEDATA, pid, DATA(page), 0x4242424242424242));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	read_page();

	char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	strcpy(shared, "xyzxyzx");
	mprotect(shared, 4096, PROT_READ);
	pid = traced_child(nothing);
	HEX(peek(pid, shared));
	ERR(trace(PTRACE_POKEDATA, pid, DATA(shared), 1));
	end_child(pid);
}

SECTION("/proc/PID/mem: past protections, offsets, ends")
{
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + 4096, 4096);
	strcpy(page, "abcdefgh");
	mprotect(page, 4096, PROT_READ);
	pid_t pid = traced_child(read_page);
	char path[64], buffer[64] = "";
	snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
	int fd = MUST(open(path, O_RDWR | O_CLOEXEC));
	RET(pread(fd, buffer, 8, DATA(page)));
	TEXT(buffer);
	RET(pwrite(fd, "ABCD", 4, DATA(page)));
	RET(pread(fd, buffer, 64, DATA(page) + 4080));
	ERR(pread(fd, buffer, 8, DATA(page) + 4096));
	ERR(pwrite(fd, buffer, 8, DATA(page) + 4096));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	RET(pread(fd, buffer, 8, DATA(page)));
}

static long __attribute__((noinline)) answer(void)
{
	return 41;
}

static void breakpoint_body(void)
{
	long (*volatile call)(void) = answer;
	long first = call();
	say("answer %ld\n", first);
}

SECTION("a breakpoint in read-only text: hit, taken out, stepped over")
{
	pid_t pid = traced_child(breakpoint_body);
	unsigned long text = peek(pid, (void *)answer);

	ERR(trace(PTRACE_POKETEXT, pid, DATA(answer), (text & ~0xfful) | 0xcc));
	HEX(peek(pid, (void *)answer) & 0xff);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	say_siginfo(pid);
	struct user_regs_struct regs = registers_of(pid);
	SHOW(regs.rip - DATA(answer));
	SHOW((long)regs.orig_rax);
	MUST(trace(PTRACE_POKETEXT, pid, DATA(answer), text));
	regs.rip = DATA(answer);
	MUST(trace(PTRACE_SETREGS, pid, 0, DATA(&regs)));
	MUST(trace(PTRACE_SINGLESTEP, pid, 0, 0));
	await("step", pid);
	say_siginfo(pid);
	SHOW(registers_of(pid).rip > DATA(answer));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("the text of call sites is the program's own, however often they were used")
{
	int pipe_fds[2];
	char path[] = "/proc/self/maps";
	MUST(pipe(pipe_fds));
	for (int i = 0; i < 200; i++) {
		(void)!write(pipe_fds[1], "x", 1);
		char byte;
		(void)!read(pipe_fds[0], &byte, 1);
		close(open(path, O_RDONLY));
		getppid();
	}
	pid_t pid = traced_child(one_call);
	SHOW(text_is_whole(pid));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

/* Registers. */

static void known_registers(void)
{
	__asm__ volatile("movq $0x1111111111111111, %%r12\n movq $0x2222222222222222, %%r13\n"
			 "movq $0x3333, %%rbx\n movq $0x9444444444444444, %%r9\n int3\n movq %%r12, %0\n"
			 : "=m"(shared_value) : : "r12", "r13", "rbx", "r9");
	say("r12 %#lx\n", shared_value);
}

SECTION("PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_PEEKUSR, PTRACE_POKEUSR")
{
	pid_t pid = traced_child(known_registers);
	struct user_regs_struct regs;
	unsigned long word = 0;

	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	regs = registers_of(pid);
	HEX(regs.r12);
	HEX(regs.r13);
	HEX(regs.rbx);
	HEX(regs.r9);
	HEX(regs.cs);
	HEX(regs.ss);
	HEX(regs.ds | regs.es | regs.fs | regs.gs);
	SHOW((long)regs.orig_rax);
	SHOW(regs.fs_base != 0);
	SHOW(regs.gs_base);
	ERR(trace(PTRACE_PEEKUSR, pid, offsetof(struct user, regs.r13), DATA(&word)));
	HEX(word);
	ERR(trace(PTRACE_POKEUSR, pid, offsetof(struct user, regs.r12), 0x8765432187654321));
	ERR(trace(PTRACE_PEEKUSR, pid, offsetof(struct user, regs.r12), DATA(&word)));
	HEX(word);
	ERR(trace(PTRACE_PEEKUSR, pid, 3, DATA(&word)));
	ERR(trace(PTRACE_PEEKUSR, pid, sizeof(struct user), DATA(&word)));
	ERR(trace(PTRACE_POKEUSR, pid, sizeof(struct user), 0));
	ERR(trace(PTRACE_POKEUSR, pid, offsetof(struct user, regs.cs), 0));
	ERR(trace(PTRACE_POKEUSR, pid, offsetof(struct user, regs.fs_base), 0x8000000000000000));
	ERR(trace(PTRACE_POKEUSR, pid, offsetof(struct user, u_tsize), 1));
	ERR(trace(PTRACE_PEEKUSR, pid, offsetof(struct user, u_tsize), DATA(&word)));
	SHOW(word);
	ERR(trace(PTRACE_GETREGS, pid, 0, 8));
	ERR(trace(PTRACE_SETREGS, pid, 0, 8));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("the flags: what a tracer may set")
{
	pid_t pid = traced_child(known_registers);
	struct user_regs_struct regs;

	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	regs = registers_of(pid);
	regs.eflags = 0xffffffff;
	MUST(trace(PTRACE_SETREGS, pid, 0, DATA(&regs)));
	HEX(registers_of(pid).eflags);
	regs.eflags = 0;
	MUST(trace(PTRACE_SETREGS, pid, 0, DATA(&regs)));
	HEX(registers_of(pid).eflags);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("PTRACE_GETREGSET: lengths and types")
{
	pid_t pid = traced_child(nothing);
	struct user_regs_struct regs;
	char big[8192];
	struct iovec iov = { &regs, sizeof regs };

	ERR(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, DATA(&iov)));
	SHOW(iov.iov_len);
	iov = (struct iovec){ big, sizeof big };
	ERR(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, DATA(&iov)));
	SHOW(iov.iov_len);
	iov = (struct iovec){ big, 16 };
	ERR(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, DATA(&iov)));
	SHOW(iov.iov_len);
	iov = (struct iovec){ big, 12 };
	ERR(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, DATA(&iov)));
	iov = (struct iovec){ big, sizeof big };
	ERR(trace(PTRACE_GETREGSET, pid, NT_PRFPREG, DATA(&iov)));
	SHOW(iov.iov_len);
	iov = (struct iovec){ big, sizeof big };
	ERR(trace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, DATA(&iov)));
	SHOW(iov.iov_len >= 576);
	SHOW((*(unsigned long *)(big + 464) & 7) == 7);
	iov = (struct iovec){ big, sizeof big };
	ERR(trace(PTRACE_GETREGSET, pid, 0x12345, DATA(&iov)));
	ERR(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, 8));
	iov = (struct iovec){ (void *)8, 64 };
	ERR(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, DATA(&iov)));
	iov = (struct iovec){ big, sizeof big };
	MUST(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, DATA(&iov)));
	ERR(trace(PTRACE_SETREGSET, pid, NT_PRSTATUS, DATA(&iov)));
	iov.iov_len = 16;
	ERR(trace(PTRACE_SETREGSET, pid, NT_PRFPREG, DATA(&iov)));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

static double number = 1.5;

static void known_floats(void)
{
	double result;

	__asm__ volatile("movsd %1, %%xmm7\n fldl %1\n int3\n movsd %%xmm7, %0\n fstp %%st(0)\n"
			 : "=m"(result) : "m"(number) : "xmm7");
	say("xmm7 %g\n", result);
}

SECTION("PTRACE_GETFPREGS, PTRACE_SETFPREGS, NT_X86_XSTATE")
{
	for (int set = 0; set < 2; set++) {
		pid_t pid = traced_child(known_floats);
		struct user_fpregs_struct floats;
		char state[16384];
		struct iovec iov = { state, sizeof state };
		double value;

		MUST(trace(PTRACE_CONT, pid, 0, 0));
		await("child", pid);
		ERR(trace(PTRACE_GETFPREGS, pid, 0, DATA(&floats)));
		HEX(floats.cwd);
		HEX(floats.mxcsr);
		HEX(floats.swd);
		memcpy(&value, (char *)floats.xmm_space + 16 * 7, 8);
		SHOW(value * 10);
		MUST(trace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, DATA(&iov)));
		memcpy(&value, state + 160 + 16 * 7, 8);
		SHOW(value * 10);
		value = 2.5 + set;
		memcpy((char *)floats.xmm_space + 16 * 7, &value, 8);
		memcpy(state + 160 + 16 * 7, &value, 8);
		if (set)
			ERR(trace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, DATA(&iov)));
		else
			ERR(trace(PTRACE_SETFPREGS, pid, 0, DATA(&floats)));
		floats.mxcsr = 0xffffffff;
		ERR(trace(PTRACE_SETFPREGS, pid, 0, DATA(&floats)));
		memset(state + 512, 0xff, 64);
		ERR(trace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, DATA(&iov)));
		MUST(trace(PTRACE_CONT, pid, 0, 0));
		await("child", pid);
	}
}

SECTION("PTRACE_ARCH_PRCTL: the bases of FS and GS")
{
	pid_t pid = traced_child(nothing);
	unsigned long base = 0;

	ERR(trace(30, pid, DATA(&base), 0x1003));
	SHOW(base == registers_of(pid).fs_base);
	ERR(trace(30, pid, DATA(&base), 0x1004));
	SHOW(base);
	ERR(trace(30, pid, 0x8000000000000000, 0x1002));
	ERR(trace(30, pid, DATA(&base), 0x9999));
	ERR(trace(30, pid, registers_of(pid).fs_base, 0x1002));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

/* Steps. */

static void stepped(void)
{
	__asm__ volatile("int3\n nop\n nop\n movl $39, %%eax\n syscall\n nop\n nop\n" : : : "rax", "rcx", "r11");
}

SECTION("PTRACE_SINGLESTEP: instructions, a call, the flag")
{
	pid_t pid = traced_child(stepped);

	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	unsigned long start = registers_of(pid).rip;
	for (int i = 0; i < 6; i++) {
		MUST(trace(PTRACE_SINGLESTEP, pid, 0, 0));
		await("step", pid);
		say_siginfo(pid);
		struct user_regs_struct regs = registers_of(pid);
		SHOW(regs.rip - start);
		SHOW((long)regs.orig_rax);
		HEX(regs.eflags & 0x100);
	}
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

static void handled(void)
{
	handle(SIGUSR1, ignore, 0);
	raise(SIGUSR1);
	say("handled\n");
}

SECTION("PTRACE_SINGLESTEP into a handler stops at its first instruction")
{
	pid_t pid = traced_child(handled);

	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	MUST(trace(PTRACE_SINGLESTEP, pid, 0, SIGUSR1));
	await("step", pid);
	say_siginfo(pid);
	SHOW(registers_of(pid).rip == DATA(ignore));
	SHOW(registers_of(pid).rdi);
	HEX(registers_of(pid).eflags & 0x100);
	MUST(trace(PTRACE_SINGLESTEP, pid, 0, 0));
	await("step", pid);
	SHOW(registers_of(pid).rip > DATA(ignore));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

static void steps_far(void)
{
	for (volatile int i = 0; i < 50; i++)
		;
	getppid();
	getpid();
	say("walked\n");
}

SECTION("a thousand steps through calls and the C library")
{
	pid_t pid = traced_child(steps_far);
	int status, stops = 0, others = 0;

	for (;;) {
		MUST(trace(PTRACE_SINGLESTEP, pid, 0, 0));
		status = await_quietly(pid);
		if (!WIFSTOPPED(status))
			break;
		if (WSTOPSIG(status) == SIGTRAP)
			stops++;
		else
			others++;
		if (stops == 1000) {
			MUST(trace(PTRACE_CONT, pid, 0, 0));
			status = await_quietly(pid);
			break;
		}
	}
	STATUS(status);
	SHOW(stops >= 500);
	SHOW(others);
}

static void exec_self(void)
{
	execl(observe_self, observe_self, "@child", "x", (char *)NULL);
	_exit(91);
}

SECTION("exec of a tracee: SIGTRAP, an event, the first instruction")
{
	pid_t pid = traced_child(exec_self);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	say_siginfo(pid);
	SHOW((long)registers_of(pid).orig_rax);
	SHOW((long)registers_of(pid).rax);
	SHOW((peek(pid, (void *)registers_of(pid).rsp)));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);

	pid = traced_child(exec_self);
	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	SHOW(event_message(pid) == (unsigned long)pid);
	SHOW((long)registers_of(pid).orig_rax);
	MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
	await("exit of execve", pid);
	SHOW((long)registers_of(pid).rax);
	MUST(trace(PTRACE_SINGLESTEP, pid, 0, 0));
	await("step", pid);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

static void failing_exec(void)
{
	execl("/does/not/exist", "x", (char *)NULL);
	say("failed with %s\n", error_name(errno));
}

SECTION("an exec that fails stops nowhere")
{
	pid_t pid = traced_child(failing_exec);
	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXEC));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

/* Debug registers. */

static const unsigned long debug_registers = offsetof(struct user, u_debugreg);

static void set_debug(pid_t pid, int n, unsigned long value)
{
	MUST(trace(PTRACE_POKEUSR, pid, debug_registers + n * 8, value));
}

static unsigned long debug_register(pid_t pid, int n)
{
	unsigned long word = 0;

	MUST(trace(PTRACE_PEEKUSR, pid, debug_registers + n * 8, DATA(&word)));
	return word;
}

SECTION("debug registers: addresses are kept")
{
	pid_t pid = traced_child(nothing);
	unsigned long word = 1;
	unsigned long at = offsetof(struct user, u_debugreg);

	ERR(trace(PTRACE_PEEKUSR, pid, at + 7 * 8, DATA(&word)));
	HEX(word & ~0x400ul);
	ERR(trace(PTRACE_POKEUSR, pid, at, DATA(&shared_value)));
	ERR(trace(PTRACE_PEEKUSR, pid, at, DATA(&word)));
	SHOW(word == DATA(&shared_value));
	ERR(trace(PTRACE_POKEUSR, pid, at + 7 * 8, 0));
	ERR(trace(PTRACE_POKEUSR, pid, at + 4 * 8, 0));
	ERR(trace(PTRACE_POKEUSR, pid, at + 5 * 8, 0));
	ERR(trace(PTRACE_POKEUSR, pid, at + 8, 0xffff800000000000));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

static long watched[4];

static void __attribute__((noinline)) write_watched(void)
{
	watched[0] = 1;
	watched[1] = 2;
	watched[2] = 3;
	__asm__ volatile("" : : : "memory");
}

static void writes(void)
{
	for (volatile int i = 0; i < 20; i++)
		;
	write_watched();
	say("watched %ld\n", watched[1]);
}

SECTION("a write to a watched word stops behind the instruction")
{
	pid_t pid = traced_child(writes);

	set_debug(pid, 1, DATA(&watched[1]));
	/* DR1, for writes, of 8 bytes. */
	set_debug(pid, 7, 1ul << 2 | 0x9ul << 20);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	say_siginfo(pid);
	HEX(debug_register(pid, 6) & 0x400f);
	SHOW(peek(pid, &watched[0]));
	SHOW(peek(pid, &watched[1]));
	SHOW(peek(pid, &watched[2]));
	SHOW((long)registers_of(pid).orig_rax);
	set_debug(pid, 7, 0);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("an instruction that is watched stops in front of it, and is then gone over")
{
	pid_t pid = traced_child(writes);

	set_debug(pid, 0, DATA(write_watched));
	set_debug(pid, 7, 1);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	say_siginfo(pid);
	SHOW(registers_of(pid).rip == DATA(write_watched));
	HEX(debug_register(pid, 6) & 0x400f);
	SHOW(peek(pid, &watched[0]));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("what debug registers can't watch is refused")
{
	pid_t pid = traced_child(nothing);

	set_debug(pid, 0, DATA(&watched[0]) + 1);
	ERR(trace(PTRACE_POKEUSR, pid, debug_registers + 56, 1 | 0xdul << 16));
	/* Ports. */
	set_debug(pid, 0, DATA(&watched[0]));
	ERR(trace(PTRACE_POKEUSR, pid, debug_registers + 56, 1 | 2ul << 16));
	/* An instruction longer than one byte. */
	ERR(trace(PTRACE_POKEUSR, pid, debug_registers + 56, 1 | 4ul << 16));
	end_child(pid);
}
