/* Making processes: fork, vfork, clone, clone3, posix_spawn; what a child inherits; how a process ends. */
#define HAS_CHILD
#include "observe.h"
#include <pthread.h>
#include <linux/sched.h>
#include <spawn.h>
#include <sys/times.h>

extern char **environ;

static int as_child(int argc, char **argv)
{
	if (!strcmp(argv[0], "exit"))
		return atoi(argv[1]);
	if (!strcmp(argv[0], "state")) {
		sigset_t set;

		sigprocmask(SIG_BLOCK, NULL, &set);
		say("child: usr1 blocked %d, usr2 ignored %d, own group %d\n", sigismember(&set, SIGUSR1),
		    signal(SIGUSR2, SIG_DFL) == SIG_IGN, getpgrp() == getpid());
		return 0;
	}
	return 90 + argc;
}

static long clone3_(struct clone_args *args)
{
	return syscall(SYS_clone3, args, sizeof *args);
}

SECTION("fork: ids, copies of memory and of descriptors")
{
	int value = 1;
	pid_t parent = getpid();

	pid_t pid = fork();
	if (pid == 0) {
		SHOW(getppid() == parent);
		SHOW(getpid() != parent);
		SHOW(getpgrp() == getpgid(parent));
		SHOW(getsid(0) == getsid(parent));
		SHOW(value);
		value = 2;
		_exit(7);
	}
	STATUS(end_of(pid));
	SHOW(pid > 0);
	SHOW(value);
	ERR(kill(pid, 0));
}

SECTION("fork: what is inherited and what is not")
{
	struct itimerval timer = { { 0, 0 }, { 100, 0 } }, got;
	sigset_t set, pending;

	umask(012);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);
	alarm(100);
	MUST(setitimer(ITIMER_VIRTUAL, &timer, NULL));
	MUST(nice(3));
	pid_t pid = fork();
	if (pid == 0) {
		SHOW(umask(0) == 012);
		SHOW(signal(SIGUSR2, SIG_DFL) == SIG_IGN);
		sigprocmask(SIG_BLOCK, NULL, &set);
		SHOW(sigismember(&set, SIGUSR1));
		sigpending(&pending);
		SHOW(sigismember(&pending, SIGUSR1));
		SHOW(alarm(0));
		getitimer(ITIMER_VIRTUAL, &got);
		SHOW(got.it_value.tv_sec);
		SHOW(getpriority(PRIO_PROCESS, 0));
		struct tms times_now;
		times(&times_now);
		SHOW(times_now.tms_cutime + times_now.tms_cstime);
		_exit(0);
	}
	STATUS(end_of(pid));
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGUSR1));
}

SECTION("exit codes are eight bits; signals end with their number")
{
	for (int code = 0; code < 1000; code += 255) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(code);
		STATUS(end_of(pid));
	}
	static const int fatal[] = { SIGHUP, SIGKILL, SIGTERM, SIGUSR1, SIGABRT, SIGQUIT, SIGPIPE, SIGALRM, SIGIO, SIGSYS };
	for (size_t i = 0; i < LENGTH(fatal); i++) {
		pid_t pid = fork();
		if (pid == 0) {
			kill(getpid(), fatal[i]);
			_exit(1);
		}
		STATUS(end_of(pid));
	}
	static const int harmless[] = { SIGCHLD, SIGCONT, SIGURG, SIGWINCH };
	for (size_t i = 0; i < LENGTH(harmless); i++)
		RET(kill(getpid(), harmless[i]));
	pid_t pid = fork();
	if (pid == 0) {
		kill(getpid(), SIGRTMIN + 3);
		_exit(1);
	}
	STATUS(end_of(pid));
}

SECTION("vfork: the parent waits and shares the memory")
{
	static volatile int value;

	pid_t pid = vfork();
	if (pid == 0) {
		value = 5;
		_exit(3);
	}
	SHOW(value);
	STATUS(end_of(pid));
	pid = vfork();
	if (pid == 0) {
		execl(observe_self, observe_self, "@child", "exit", "9", NULL);
		_exit(1);
	}
	STATUS(end_of(pid));
	pid = vfork();
	if (pid == 0) {
		execl("/nothing", "nothing", NULL);
		value = errno;
		_exit(4);
	}
	TEXT(error_name(value));
	STATUS(end_of(pid));
	pid = vfork();
	if (pid == 0) {
		kill(getpid(), SIGKILL);
		_exit(5);
	}
	STATUS(end_of(pid));
}

static int in_clone(void *argument)
{
	*(int *)argument = 77;
	chdir("/");
	close(50);
	return 6;
}

SECTION("clone: sharing memory, descriptors, the working directory")
{
	static char stack[65536] __attribute__((aligned(16)));
	int value = 0;
	char path[4096];

	MUST(dup2(0, 50));
	pid_t pid = MUST(clone(in_clone, stack + sizeof stack, CLONE_VM | SIGCHLD, &value));
	STATUS(end_of(pid));
	SHOW(value);
	SHOW(fcntl(50, F_GETFD));
	SHOW(strlen(getcwd(path, sizeof path)) > 1);
	value = 0;
	pid = MUST(clone(in_clone, stack + sizeof stack, CLONE_FILES | CLONE_FS | SIGCHLD, &value));
	STATUS(end_of(pid));
	SHOW(value);
	ERR(fcntl(50, F_GETFD));
	TEXT(getcwd(path, sizeof path));
}

SECTION("clone: flags that need each other, unknown exit signals")
{
	ERR(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0));
	ERR(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0));
	ERR(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS, 0, 0, 0, 0));
	ERR(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, 8, 0, 0));
	pid_t pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
	if (pid == 0)
		_exit(3);
	int status;
	ERR(waitpid(pid, &status, 0));
	SHOW(waitpid(pid, &status, __WALL) == pid);
	STATUS(status);
	signal(SIGUSR1, ignore);
	pid = syscall(SYS_clone, SIGUSR1, 0, 0, 0, 0);
	if (pid == 0)
		_exit(4);
	while ((pid = waitpid(-1, &status, __WCLONE)) < 0 && errno == EINTR)
		;
	STATUS(status);
}

SECTION("clone: an exit signal that is none is not sent")
{
	int status;
	pid_t pid = syscall(SYS_clone, 200, 0, 0, 0, 0);

	if (pid == 0)
		_exit(5);
	SHOW(waitpid(pid, &status, __WALL) == pid);
	STATUS(status);
}

SECTION("clone3: sizes, set_tid pointers, pidfd, exit signal")
{
	int pidfd = -1, tid = 0, child_tid = 0;
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID,
		.pidfd = (uintptr_t)&pidfd,
		.parent_tid = (uintptr_t)&tid,
		.child_tid = (uintptr_t)&child_tid,
		.exit_signal = SIGCHLD,
	};

	pid_t pid = clone3_(&args);
	if (pid == 0)
		_exit(child_tid == getpid() ? 8 : 9);
	SHOW(pid == tid);
	SHOW(child_tid);
	SHOW(pidfd >= 0 && fcntl(pidfd, F_GETFD) == FD_CLOEXEC);
	STATUS(end_of(pid));
	ERR(syscall(SYS_clone3, &args, 8));
	ERR(syscall(SYS_clone3, NULL, sizeof args));
	args.flags |= 1ull << 40;
	ERR(clone3_(&args));
	args.flags = 0;
	args.exit_signal = 200;
	ERR(clone3_(&args));
	args.exit_signal = SIGCHLD;
	args.stack = 0x10000;
	ERR(clone3_(&args));
	args = (struct clone_args){ .flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD };
	signal(SIGUSR1, ignore);
	signal(SIGUSR2, SIG_IGN);
	pid = clone3_(&args);
	if (pid == 0)
		_exit(signal(SIGUSR1, SIG_DFL) == SIG_DFL && signal(SIGUSR2, SIG_DFL) == SIG_IGN ? 10 : 11);
	STATUS(end_of(pid));
}

SECTION("clone: CLONE_PARENT makes a sibling, CHILD_CLEARTID clears")
{
	int *cleared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t parent = getpid();

	pid_t pid = fork();
	if (pid == 0) {
		pid_t sibling = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
		if (sibling == 0)
			_exit(getppid() == parent ? 21 : 22);
		_exit(20);
	}
	int status, sum = 0;
	for (int i = 0; i < 2; i++) {
		wait(&status);
		sum += WEXITSTATUS(status);
	}
	SHOW(sum);
	*cleared = 5;
	pid = syscall(SYS_clone, CLONE_CHILD_CLEARTID | SIGCHLD, 0, 0, cleared, 0);
	if (pid == 0) {
		cleared[1] = *cleared;
		_exit(0);
	}
	STATUS(end_of(pid));
	SHOW(cleared[1]);
	SHOW(cleared[0]);
}

SECTION("posix_spawn: attributes and file actions")
{
	posix_spawnattr_t attributes;
	posix_spawn_file_actions_t actions;
	sigset_t mask, defaults;
	char *state[] = { observe_self, "@child", "state", NULL }, *leave[] = { observe_self, "@child", "exit", "12", NULL };
	pid_t pid;

	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_init(&actions);
	NUMBERED(posix_spawn(&pid, observe_self, NULL, NULL, leave, environ));
	STATUS(end_of(pid));
	NUMBERED(posix_spawn(&pid, "/nothing", NULL, NULL, leave, environ));
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGUSR2);
	posix_spawnattr_setsigmask(&attributes, &mask);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	/* The child prints, too: nothing else until it has ended. */
	int error = posix_spawn(&pid, observe_self, NULL, &attributes, state, environ);
	STATUS(end_of(pid));
	SHOW(error);
	posix_spawn_file_actions_addopen(&actions, 1, "out", O_WRONLY | O_CREAT, 0600);
	NUMBERED(posix_spawn(&pid, observe_self, &actions, NULL, state, environ));
	STATUS(end_of(pid));
	TEXT(read_file("out"));
	posix_spawn_file_actions_addopen(&actions, 5, "no/where", O_RDONLY, 0);
	NUMBERED(posix_spawn(&pid, observe_self, &actions, NULL, state, environ));
}

SECTION("getrusage, times, getrlimit: sane values")
{
	struct rusage usage;
	struct tms all;

	for (volatile long i = 0; i < 200000000; i++)
		;
	ERR(getrusage(RUSAGE_SELF, &usage));
	SHOW(usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec > 50000);
	SHOW(usage.ru_maxrss > 0);
	ERR(getrusage(RUSAGE_CHILDREN, &usage));
	SHOW(usage.ru_utime.tv_sec + usage.ru_utime.tv_usec);
	pid_t pid = fork();
	if (pid == 0) {
		for (volatile long i = 0; i < 100000000; i++)
			;
		_exit(0);
	}
	int status;
	struct rusage waited;
	SHOW(wait4(pid, &status, 0, &waited) == pid);
	SHOW(waited.ru_utime.tv_sec * 1000000 + waited.ru_utime.tv_usec > 20000);
	ERR(getrusage(RUSAGE_CHILDREN, &usage));
	SHOW(usage.ru_utime.tv_usec == waited.ru_utime.tv_usec);
	SHOW(times(&all) > 0);
	SHOW(all.tms_utime > 4);
	ERR(getrusage(5, &usage));
	ERR(getrusage(RUSAGE_THREAD, &usage));
}

SECTION("rlimits: inherited, soft below hard, prlimit on a child")
{
	struct rlimit limit = { 100, 200 }, got;

	ERR(setrlimit(RLIMIT_NOFILE, &limit));
	pid_t pid = fork();
	if (pid == 0) {
		MUST(getrlimit(RLIMIT_NOFILE, &got));
		SHOW(got.rlim_cur);
		SHOW(got.rlim_max);
		pause();
	}
	await_state(pid, 'S');
	struct rlimit other = { 50, 60 };
	ERR(prlimit(pid, RLIMIT_NOFILE, &other, &got));
	SHOW(got.rlim_cur);
	ERR(prlimit(pid, RLIMIT_NOFILE, NULL, &got));
	SHOW(got.rlim_cur);
	kill(pid, SIGKILL);
	end_of(pid);
	ERR(prlimit(pid, RLIMIT_NOFILE, NULL, &got));
	limit.rlim_cur = 300;
	ERR(setrlimit(RLIMIT_NOFILE, &limit));
	ERR(getrlimit(99, &got));
	ERR(setrlimit(RLIMIT_NOFILE, (void *)8));
}

static void *works(void *nothing)
{
	struct timespec now;

	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while (now.tv_nsec < 60000000 && now.tv_sec == 0);
	return nothing;
}

static long thread_ms(const struct rusage *usage)
{
	return (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000 +
	       (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1000;
}

SECTION("a thread's own time and faults, after another one has ended")
{
	struct rusage before, after;
	struct timespec now;
	pthread_t thread;
	enum { PAGES = 200 };

	MUST(pthread_create(&thread, NULL, works, NULL));
	MUST(pthread_join(thread, NULL));
	MUST(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now));
	SHOW(now.tv_sec == 0 && now.tv_nsec < 50000000);
	MUST(getrusage(RUSAGE_THREAD, &before));
	SHOW(thread_ms(&before) < 50);
	char *pages = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(pages, PAGES * 4096, MADV_NOHUGEPAGE);
	for (int i = 0; i < PAGES; i++)
		pages[i * 4096] = 1;
	MUST(getrusage(RUSAGE_THREAD, &after));
	SHOW(after.ru_minflt - before.ru_minflt >= PAGES);
}

SECTION("RLIMIT_CPU: SIGXCPU, then SIGKILL")
{
	struct rlimit limit = { 1, 2 };

	pid_t pid = fork();
	if (pid == 0) {
		MUST(setrlimit(RLIMIT_CPU, &limit));
		for (;;)
			;
	}
	STATUS(end_of(pid));
	pid = fork();
	if (pid == 0) {
		signal(SIGXCPU, SIG_IGN);
		MUST(setrlimit(RLIMIT_CPU, &limit));
		for (;;)
			;
	}
	STATUS(end_of(pid));
}

SECTION("structs with a size: what a newer one has beside must be nothing, which is seen first")
{
	static const struct { const char *name; long nr; size_t known; } calls[] = {
		{ "clone3", SYS_clone3, 88 },
		{ "openat2", SYS_openat2, 24 },
	};
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(mprotect(pages + 4096, 4096, PROT_NONE));
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		size_t known = calls[i].known;

		for (int beside = 0; beside < 2; beside++) {
			/* The known part, 8 bytes, and then a page that is missing. */
			char *at = pages + 4096 - known - 8;
			long result;

			memset(pages, 0, 4096);
			memset(at, 0xff, 8);
			pages[4095] = (char)beside;
			if (calls[i].nr == SYS_clone3)
				result = syscall(SYS_clone3, at, known + 16);
			else
				result = syscall(SYS_openat2, AT_FDCWD, "/", at, known + 16);
			printf("  %s, beside %d: %s", calls[i].name, beside, result < 0 ? error_name(errno) : "ok");
			if (calls[i].nr == SYS_clone3)
				result = syscall(SYS_clone3, at, known + 8);
			else
				result = syscall(SYS_openat2, AT_FDCWD, "/", at, known + 8);
			printf(", all there: %s\n", result < 0 ? error_name(errno) : "ok");
		}
	}
}
