/* seccomp(2): strict mode, filters and their verdicts, who may install them, inheritance. */
#define HAS_CHILD
#include "observe.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/utsname.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
/* If the number is `nr`, the verdict; else go on. */
#define WHEN(nr, verdict) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), RETURN(verdict)

#define INSTALL(flags, ...)                                                                     \
	({                                                                                      \
		struct sock_filter code_[] = { __VA_ARGS__ };                                   \
		struct sock_fprog program_ = { LENGTH(code_), code_ };                          \
		syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program_);                \
	})

static void promise(void)
{
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static const char *status_line(const char *name)
{
	static char line[128];
	char *at = strstr(read_file("/proc/self/status"), name);

	if (!at)
		return NULL;
	snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
	return line;
}

SECTION("modes: asked for, and what is refused")
{
	struct sock_filter code[] = { RETURN(SECCOMP_RET_ALLOW) };
	struct sock_fprog program = { 1, code }, empty = { 0, code }, nowhere = { 1, (void *)8 };

	RET(prctl(PR_GET_SECCOMP));
	ERR(syscall(SYS_seccomp, 99, 0, NULL));
	ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL));
	ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, &program));
	ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1u << 30, &program));
	ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL));
	ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &empty));
	promise();
	ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &nowhere));
	ERR(prctl(PR_SET_SECCOMP, 77, 0));
	ERR(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
	RET(prctl(PR_GET_SECCOMP));
	ERR(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
	RET(prctl(PR_GET_SECCOMP));
	TEXT(status_line("Seccomp:"));
	TEXT(status_line("Seccomp_filters:"));
	TEXT(status_line("NoNewPrivs:"));
}

SECTION("actions: which are known")
{
	uint32_t actions[] = { SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP,
		SECCOMP_RET_ERRNO, SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW, 0x12340000 };

	for (size_t i = 0; i < LENGTH(actions); i++)
		ERR(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &actions[i]));
	ERR(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 1, &actions[0]));
	ERR(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, NULL));
}

SECTION("filter: without privilege and without the promise of no new ones")
{
	if (geteuid() == 0)
		MUST(setresuid(1000, 1000, 1000));
	ERR(INSTALL(0, RETURN(SECCOMP_RET_ALLOW)));
	promise();
	ERR(INSTALL(0, RETURN(SECCOMP_RET_ALLOW)));
}

SECTION("filter: programs that are not accepted")
{
	promise();
	ERR(INSTALL(0, LOAD(nr)));
	ERR(INSTALL(0, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_STMT(BPF_LD | BPF_MEM, 0), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_STMT(BPF_ST, 16), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_STMT(BPF_JMP | BPF_JA, 1), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), RETURN(SECCOMP_RET_ALLOW)));
	ERR(INSTALL(0, BPF_STMT(BPF_RET | BPF_X, 0)));
	ERR(INSTALL(0, BPF_STMT(0xffff, 0), RETURN(SECCOMP_RET_ALLOW)));
	RET(prctl(PR_GET_SECCOMP));
}

SECTION("filter: errors instead of the call, also for calls whose answer never changes")
{
	char byte = 0;

	promise();
	SHOW(getppid() > 0);
	for (int i = 0; i < 5; i++)
		getppid();
	MUST(INSTALL(0, LOAD(nr), WHEN(SYS_getppid, SECCOMP_RET_ERRNO | EDOM), WHEN(SYS_sync, SECCOMP_RET_ERRNO),
		WHEN(SYS_pause, SECCOMP_RET_ERRNO | 0xffff), WHEN(SYS_uname, SECCOMP_RET_TRACE),
		WHEN(SYS_getpid, SECCOMP_RET_LOG), RETURN(SECCOMP_RET_ALLOW)));
	RET(syscall(SYS_getppid));
	RET(syscall(SYS_sync));
	errno = 0;
	syscall(SYS_pause);
	SHOW(errno);
	struct utsname name;
	ERR(syscall(SYS_uname, &name));
	SHOW(syscall(SYS_getpid) == getpid());
	for (int i = 0; i < 5; i++)
		getpid();
	MUST(INSTALL(0, LOAD(nr), WHEN(SYS_getpid, SECCOMP_RET_ERRNO | EPROTO), RETURN(SECCOMP_RET_ALLOW)));
	RET(syscall(SYS_getpid));
	RET(read(0, &byte, 1));
	TEXT(status_line("Seccomp_filters:"));
}

SECTION("filter: arithmetic, memory and arguments")
{
	promise();
	/* The error is ((low half of the first argument) * 2 + 1 - 3) ^ 8, kept in memory word 5 meanwhile. */
	MUST(INSTALL(0, LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		RETURN(SECCOMP_RET_KILL), LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_alarm, 1, 0),
		RETURN(SECCOMP_RET_ALLOW), LOAD(args[0]), BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 1),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 1), BPF_STMT(BPF_ST, 5), BPF_STMT(BPF_LD | BPF_IMM, 3),
		BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_LD | BPF_MEM, 5), BPF_STMT(BPF_ALU | BPF_SUB | BPF_X, 0),
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, 8), BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
		BPF_STMT(BPF_RET | BPF_A, 0)));
	for (long i = 2; i < 20; i += 7) {
		errno = 0;
		syscall(SYS_alarm, i);
		SHOW(errno);
	}
	/* The high half of an argument. */
	MUST(INSTALL(0, LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_lseek, 1, 0), RETURN(SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]) + 4),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 4, 0, 1), RETURN(SECCOMP_RET_ERRNO | ERANGE),
		RETURN(SECCOMP_RET_ALLOW)));
	ERR(syscall(SYS_lseek, -1, 5l << 32, SEEK_SET));
	ERR(syscall(SYS_lseek, -1, 4l << 32, SEEK_SET));
}

SECTION("filter: the strictest verdict counts, whatever the order")
{
	promise();
	MUST(INSTALL(0, LOAD(nr), WHEN(SYS_getppid, SECCOMP_RET_ERRNO | 1), WHEN(SYS_sync, SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_ALLOW)));
	MUST(INSTALL(0, LOAD(nr), WHEN(SYS_getppid, SECCOMP_RET_ERRNO | 2), WHEN(SYS_sync, SECCOMP_RET_ERRNO | 3),
		RETURN(SECCOMP_RET_ALLOW)));
	MUST(INSTALL(0, LOAD(nr), WHEN(SYS_getppid, SECCOMP_RET_ALLOW), WHEN(SYS_sync, SECCOMP_RET_LOG),
		RETURN(SECCOMP_RET_ALLOW)));
	RET(syscall(SYS_getppid));
	RET(syscall(SYS_sync));
}

static void on_sys(int signo, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	SIGNAL(signo);
	SHOW(info->si_code);
	SHOW(info->si_errno);
	SHOW(info->si_syscall);
	SHOW(info->si_arch == AUDIT_ARCH_X86_64);
	SHOW(info->si_call_addr == (void *)regs[REG_RIP]);
	SHOW(regs[REG_RAX]);
	SHOW(regs[REG_RDI]);
	regs[REG_RAX] = -ENOTTY;
}

SECTION("filter: SECCOMP_RET_TRAP")
{
	struct sigaction action = { .sa_sigaction = on_sys, .sa_flags = SA_SIGINFO };

	promise();
	MUST(sigaction(SIGSYS, &action, NULL));
	MUST(INSTALL(0, LOAD(nr), WHEN(SYS_close, SECCOMP_RET_TRAP | 77), RETURN(SECCOMP_RET_ALLOW)));
	for (int i = 0; i < 3; i++)
		ERR(close(200 + i));
	signal(SIGSYS, SIG_IGN);
	pid_t pid = fork();
	if (pid == 0) {
		close(200);
		_exit(1);
	}
	SHOW(WTERMSIG(end_of(pid)) == SIGSYS);
}

static int killed_by(uint32_t verdict)
{
	pid_t pid = fork();

	if (pid == 0) {
		MUST(INSTALL(0, LOAD(nr), WHEN(SYS_sync, verdict), RETURN(SECCOMP_RET_ALLOW)));
		sync();
		_exit(1);
	}
	int status = end_of(pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

SECTION("filter: verdicts that kill")
{
	promise();
	signal(SIGSYS, SIG_IGN);
	SHOW(killed_by(SECCOMP_RET_KILL_PROCESS));
	SHOW(killed_by(SECCOMP_RET_KILL_THREAD));
	SHOW(killed_by(0x12340000));
	SHOW(killed_by(SECCOMP_RET_ALLOW));
}

static int threads_done[2];

static void *doomed(void *verdict)
{
	MUST(INSTALL(0, LOAD(nr), WHEN(SYS_sync, (uint32_t)(uintptr_t)verdict), RETURN(SECCOMP_RET_ALLOW)));
	write(threads_done[1], "", 1);
	sync();
	return NULL;
}

SECTION("filter: a thread dies alone, or takes the others along")
{
	promise();
	for (int whole = 0; whole < 2; whole++) {
		pid_t pid = fork();

		if (pid == 0) {
			pthread_t thread;
			char byte;

			MUST(pipe(threads_done));
			pthread_create(&thread, NULL, doomed,
				(void *)(uintptr_t)(whole ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_KILL_THREAD));
			MUST(read(threads_done[0], &byte, 1));
			sleep_ms(300);
			SHOW(prctl(PR_GET_SECCOMP));
			_exit(7);
		}
		int status = end_of(pid);
		SHOW(WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status) + 1000);
	}
}

static int hold[2], told[2];

static void *waits(void *unused)
{
	char byte;

	if (unused)
		MUST(INSTALL(0, RETURN(SECCOMP_RET_ALLOW)));
	write(told[1], "", 1);
	MUST(read(hold[0], &byte, 1));
	return (void *)(syscall(SYS_getppid) == -1 ? (long)errno : 0l);
}

SECTION("filter: TSYNC gives it to all threads, unless one has gone its own way")
{
	pthread_t thread;
	void *result;
	char byte;

	promise();
	MUST(pipe(hold));
	MUST(pipe(told));
	pthread_create(&thread, NULL, waits, NULL);
	MUST(read(told[0], &byte, 1));
	RET(INSTALL(SECCOMP_FILTER_FLAG_TSYNC, LOAD(nr), WHEN(SYS_getppid, SECCOMP_RET_ERRNO | EDOM),
		RETURN(SECCOMP_RET_ALLOW)));
	write(hold[1], "", 1);
	pthread_join(thread, &result);
	SHOW((long)result == EDOM);
	pthread_create(&thread, NULL, waits, (void *)1);
	MUST(read(told[0], &byte, 1));
	SHOW(INSTALL(SECCOMP_FILTER_FLAG_TSYNC, RETURN(SECCOMP_RET_ALLOW)) > 0);
	ERR(INSTALL(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, RETURN(SECCOMP_RET_ALLOW)));
	write(hold[1], "", 1);
	pthread_join(thread, &result);
	SHOW((long)result == EDOM);
}

static int as_child(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	RET(syscall(SYS_getppid));
	RET(prctl(PR_GET_SECCOMP));
	RET(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	return 3;
}

SECTION("filter: children have it, and so have the programs they execute")
{
	promise();
	MUST(INSTALL(0, LOAD(nr), WHEN(SYS_getppid, SECCOMP_RET_ERRNO | EDOM), RETURN(SECCOMP_RET_ALLOW)));
	pid_t pid = fork();
	if (pid == 0) {
		RET(syscall(SYS_getppid));
		execl(observe_self, observe_self, "@child", "x", NULL);
		_exit(1);
	}
	STATUS(end_of(pid));
}

SECTION("strict: read, write, exit and nothing else")
{
	for (int bad = 0; bad < 2; bad++) {
		pid_t pid = fork();

		if (pid == 0) {
			MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
			write(1, "still here\n", 11);
			if (bad)
				syscall(SYS_getpid);
			syscall(SYS_exit, 5);
		}
		STATUS(end_of(pid));
	}
}

SECTION("filter: calls that wait are judged once")
{
	int pair[2];
	char byte;

	promise();
	MUST(pipe(pair));
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(50);
		write(pair[1], "x", 1);
		_exit(0);
	}
	MUST(INSTALL(0, LOAD(nr), WHEN(SYS_getppid, SECCOMP_RET_ERRNO | EDOM), RETURN(SECCOMP_RET_ALLOW)));
	RET(read(pair[0], &byte, 1));
	STATUS(end_of(pid));
}
