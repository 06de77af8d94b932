/* Signals: masks, pending sets, queues, dispositions, waiting for them. */
#include "observe.h"
#include <pthread.h>

static volatile int order[64], count;
static siginfo_t last;
static volatile uintptr_t frame;

static void record(int signo)
{
	order[count++] = signo;
}

static void record_info(int signo, siginfo_t *info, void *context)
{
	(void)context;
	last = *info;
	order[count++] = signo;
}

static void record_value(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	order[count++] = info->si_value.sival_int;
}

static void record_frame(int signo)
{
	(void)signo;
	frame = (uintptr_t)__builtin_frame_address(0);
}

static void handle_info(int signo, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	MUST(sigaction(signo, &action, NULL));
}

static void mask(int how, int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	sigprocmask(how, &set, NULL);
}

static void show_order(void)
{
	for (int i = 0; i < count; i++)
		say("%s\n", order[i] > 0 && order[i] <= 64 ? signal_name(order[i]) : "?");
	count = 0;
}

SECTION("sigaction: old action, forbidden signals, SIG_IGN and SIG_DFL")
{
	struct sigaction old, action = { .sa_handler = record, .sa_flags = SA_RESTART | SA_NODEFER };

	sigaddset(&action.sa_mask, SIGHUP);
	sigaddset(&action.sa_mask, SIGKILL);
	ERR(sigaction(SIGUSR1, &action, NULL));
	ERR(sigaction(SIGUSR1, NULL, &old));
	SHOW(old.sa_handler == record);
	HEX(old.sa_flags & ~0x04000000);
	SHOW(sigismember(&old.sa_mask, SIGHUP));
	SHOW(sigismember(&old.sa_mask, SIGKILL));
	ERR(sigaction(SIGKILL, &action, NULL));
	ERR(sigaction(SIGSTOP, &action, NULL));
	ERR(sigaction(SIGKILL, NULL, &old));
	ERR(sigaction(0, &action, NULL));
	ERR(sigaction(65, &action, NULL));
	ERR(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &old, 4));
	ERR(syscall(SYS_rt_sigaction, SIGUSR1, 8, NULL, 8));
}

SECTION("sigprocmask: how, KILL and STOP stay open")
{
	sigset_t set, old;

	sigfillset(&set);
	ERR(sigprocmask(SIG_SETMASK, &set, NULL));
	ERR(sigprocmask(SIG_BLOCK, NULL, &old));
	SHOW(sigismember(&old, SIGKILL));
	SHOW(sigismember(&old, SIGSTOP));
	SHOW(sigismember(&old, SIGTERM));
	ERR(sigprocmask(99, &set, NULL));
	ERR(sigprocmask(99, NULL, &old));
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	ERR(sigprocmask(SIG_UNBLOCK, &set, &old));
	SHOW(sigismember(&old, SIGTERM));
	ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 4));
	ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8));
}

SECTION("blocked signals wait; ordinary ones once, lowest number first")
{
	sigset_t set, pending;

	handle(SIGUSR1, record, 0);
	handle(SIGUSR2, record, 0);
	handle(SIGHUP, record, 0);
	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR2);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	raise(SIGHUP);
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGUSR1));
	SHOW(sigismember(&pending, SIGTERM));
	SHOW(count);
	sigemptyset(&set);
	/* With all three deliverable at once, each later frame lies above the earlier: the last one runs first. */
	sigprocmask(SIG_SETMASK, &set, NULL);
	show_order();
	sigpending(&pending);
	SHOW(sigisemptyset(&pending));
}

SECTION("real-time signals queue, with their values, in order")
{
	struct sigaction action = { .sa_sigaction = record_value, .sa_flags = SA_SIGINFO };

	sigfillset(&action.sa_mask);
	sigaction(SIGRTMIN + 1, &action, NULL);
	sigaction(SIGRTMIN + 2, &action, NULL);
	mask(SIG_BLOCK, SIGRTMIN + 1);
	mask(SIG_BLOCK, SIGRTMIN + 2);
	for (int i = 0; i < 3; i++) {
		sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = 20 + i });
		sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 10 + i });
	}
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 0; i < count; i++)
		SHOW(order[i]);
}

SECTION("RLIMIT_SIGPENDING: sigqueue says EAGAIN, kill still delivers")
{
	struct rlimit limit = { 0, 0 };
	sigset_t pending;

	mask(SIG_BLOCK, SIGRTMIN + 1);
	mask(SIG_BLOCK, SIGUSR1);
	MUST(setrlimit(RLIMIT_SIGPENDING, &limit));
	ERR(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 1 }));
	ERR(kill(getpid(), SIGUSR1));
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGUSR1));
}

SECTION("siginfo: kill, sigqueue, tgkill, and what userspace may claim")
{
	handle_info(SIGUSR1, record_info, 0);
	kill(getpid(), SIGUSR1);
	say("code %d, pid right %d, uid right %d\n", last.si_code, last.si_pid == getpid(), last.si_uid == getuid());
	sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 1234 });
	say("code %d, pid right %d, value %d\n", last.si_code, last.si_pid == getpid(), last.si_value.sival_int);
	raise(SIGUSR1);
	say("code %d, pid right %d\n", last.si_code, last.si_pid == getpid());
	siginfo_t info = { .si_signo = SIGUSR1, .si_code = SI_ASYNCIO };
	ERR(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info));
	SHOW(last.si_code == SI_ASYNCIO);
	info.si_code = SI_USER;
	ERR(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &info));
	ERR(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR1, &info));
	ERR(syscall(SYS_rt_sigqueueinfo, 99999999, SIGUSR1, &info));
}

SECTION("siginfo: SIGCHLD tells exit, kill, stop, continue")
{
	handle_info(SIGCHLD, record_info, 0);
	pid_t pid = fork();
	if (pid == 0)
		_exit(9);
	while (count < 1)
		sleep_ms(1);
	say("code %d status %d pid right %d\n", last.si_code, last.si_status, last.si_pid == pid);
	end_of(pid);
	pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	count = 0;
	kill(pid, SIGSTOP);
	while (count < 1)
		sleep_ms(1);
	say("code %d status %d\n", last.si_code, last.si_status);
	count = 0;
	kill(pid, SIGCONT);
	while (count < 1)
		sleep_ms(1);
	say("code %d status %d\n", last.si_code, last.si_status);
	count = 0;
	kill(pid, SIGKILL);
	while (count < 1)
		sleep_ms(1);
	say("code %d status %d\n", last.si_code, last.si_status);
	end_of(pid);
	handle_info(SIGCHLD, record_info, SA_NOCLDSTOP);
	pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	count = 0;
	int status;
	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	SHOW(count);
	kill(pid, SIGKILL);
}

SECTION("the handler's mask: its own signal, sa_mask, SA_NODEFER, SA_RESETHAND")
{
	sigset_t set;
	struct sigaction action = { .sa_handler = record };

	count = 0;
	sigaddset(&action.sa_mask, SIGUSR2);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	sigprocmask(SIG_BLOCK, NULL, &set);
	SHOW(sigismember(&set, SIGUSR1) || sigismember(&set, SIGUSR2));
	handle(SIGUSR2, record, SA_RESETHAND);
	raise(SIGUSR2);
	sigaction(SIGUSR2, NULL, &action);
	SHOW(action.sa_handler == SIG_DFL);
	show_order();
}

static void nested(int signo)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	say("in %s: own blocked %d, other blocked %d\n", signal_name(signo), sigismember(&set, signo),
	    sigismember(&set, signo == SIGUSR1 ? SIGUSR2 : SIGUSR1));
	if (signo == SIGUSR1 && count++ == 0) {
		raise(SIGUSR1);
		raise(SIGUSR2);
		say("the inner one is over\n");
	}
}

SECTION("nested handlers")
{
	handle(SIGUSR1, nested, 0);
	handle(SIGUSR2, nested, 0);
	raise(SIGUSR1);
	say("with SA_NODEFER\n");
	count = 0;
	handle(SIGUSR1, nested, SA_NODEFER);
	raise(SIGUSR1);
}

SECTION("sigsuspend: swaps the mask, returns EINTR, restores it")
{
	sigset_t set, old;

	handle(SIGUSR1, record, SA_RESTART);
	mask(SIG_BLOCK, SIGUSR1);
	raise(SIGUSR1);
	sigemptyset(&set);
	ERR(sigsuspend(&set));
	show_order();
	sigprocmask(SIG_BLOCK, NULL, &old);
	SHOW(sigismember(&old, SIGUSR1));
	pid_t parent = getpid();
	if (fork() == 0) {
		await_state(parent, 'S');
		kill(parent, SIGUSR1);
		_exit(0);
	}
	ERR(sigsuspend(&set));
	show_order();
	ERR(syscall(SYS_rt_sigsuspend, &set, 4));
}

SECTION("sigtimedwait, sigwaitinfo, sigwait")
{
	sigset_t set;
	siginfo_t info;
	struct timespec zero = { 0, 0 }, soon = { 0, 20000000 }, bad = { 0, 1000000000 };
	int got;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ERR(sigtimedwait(&set, &info, &zero));
	long start = now_ms();
	ERR(sigtimedwait(&set, &info, &soon));
	SHOW(now_ms() - start >= 20);
	ERR(sigtimedwait(&set, &info, &bad));
	sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 7 });
	kill(getpid(), SIGUSR1);
	SIGNAL(sigtimedwait(&set, &info, &zero));
	SHOW(info.si_code);
	SIGNAL(sigwaitinfo(&set, &info));
	SHOW(info.si_value.sival_int);
	kill(getpid(), SIGUSR1);
	NUMBERED(sigwait(&set, &got));
	SIGNAL(got);
	handle(SIGALRM, record, SA_RESTART);
	struct itimerval timer = { .it_value = { 0, 20000 } };
	setitimer(ITIMER_REAL, &timer, NULL);
	ERR(sigwaitinfo(&set, &info));
	ERR(syscall(SYS_rt_sigtimedwait, &set, &info, &zero, 4));
}

SECTION("pause returns only after a handler ran")
{
	pid_t parent = getpid();

	handle(SIGUSR1, record, SA_RESTART);
	signal(SIGUSR2, SIG_IGN);
	pid_t pid = fork();
	if (pid == 0) {
		await_state(parent, 'S');
		kill(parent, SIGUSR2);
		kill(parent, SIGSTOP);
		await_state(parent, 'T');
		kill(parent, SIGCONT);
		await_state(parent, 'S');
		kill(parent, SIGUSR1);
		_exit(0);
	}
	ERR(pause());
	show_order();
}

SECTION("sigaltstack: the handler runs there; rules")
{
	static char memory[65536];
	stack_t stack = { .ss_sp = memory, .ss_size = sizeof memory }, old;

	ERR(sigaltstack(&stack, NULL));
	ERR(sigaltstack(NULL, &old));
	SHOW(old.ss_sp == memory && old.ss_size == sizeof memory);
	HEX(old.ss_flags);
	handle(SIGUSR1, record_frame, SA_ONSTACK);
	raise(SIGUSR1);
	SHOW(frame > (uintptr_t)memory && frame < (uintptr_t)memory + sizeof memory);
	handle(SIGUSR1, record_frame, 0);
	raise(SIGUSR1);
	SHOW(frame > (uintptr_t)memory && frame < (uintptr_t)memory + sizeof memory);
	stack.ss_size = 100;
	ERR(sigaltstack(&stack, NULL));
	stack.ss_flags = 77;
	ERR(sigaltstack(&stack, NULL));
	stack = (stack_t){ .ss_flags = SS_DISABLE };
	ERR(sigaltstack(&stack, NULL));
	ERR(sigaltstack((stack_t *)8, NULL));
}

static stack_t inside;
static int change_result;

static void on_stack(int signo)
{
	stack_t other = { .ss_flags = SS_DISABLE };

	(void)signo;
	sigaltstack(NULL, &inside);
	change_result = sigaltstack(&other, NULL) < 0 ? errno : 0;
}

SECTION("sigaltstack: in use inside the handler, or released with SS_AUTODISARM")
{
	static char memory[65536];
	stack_t stack = { .ss_sp = memory, .ss_size = sizeof memory }, after;

	sigaltstack(&stack, NULL);
	handle(SIGUSR1, on_stack, SA_ONSTACK);
	raise(SIGUSR1);
	HEX(inside.ss_flags);
	TEXT(error_name(change_result));
	stack.ss_flags = (int)(1u << 31);
	ERR(sigaltstack(&stack, NULL));
	raise(SIGUSR1);
	HEX(inside.ss_flags);
	TEXT(error_name(change_result));
	sigaltstack(NULL, &after);
	HEX(after.ss_flags);
}

static void *blocked_thread(void *argument)
{
	mask(SIG_BLOCK, SIGUSR1);
	*(volatile int *)argument = gettid();
	sleep_ms(300);
	sigset_t pending;
	sigpending(&pending);
	return (void *)(long)sigismember(&pending, SIGUSR1);
}

SECTION("process signals go to a thread that takes them; thread signals wait for theirs")
{
	pthread_t thread;
	volatile int tid = 0;
	void *result;

	handle(SIGUSR1, record, 0);
	pthread_create(&thread, NULL, blocked_thread, (void *)&tid);
	while (!tid)
		sleep_ms(1);
	kill(getpid(), SIGUSR1);
	SHOW(count);
	syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
	SHOW(count);
	pthread_join(thread, &result);
	SHOW((long)result);
	SHOW(count);
}

SECTION("SIGCONT discards pending stops, a stop discards SIGCONT")
{
	int status;
	sigset_t pending;

	handle(SIGCONT, record, 0);
	mask(SIG_BLOCK, SIGTSTP);
	mask(SIG_BLOCK, SIGCONT);
	raise(SIGTSTP);
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGTSTP));
	raise(SIGCONT);
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGTSTP));
	SHOW(sigismember(&pending, SIGCONT));
	raise(SIGTSTP);
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGCONT));
	pid_t pid = fork();
	if (pid == 0) {
		mask(SIG_UNBLOCK, SIGCONT);
		raise(SIGSTOP);
		SHOW(count);
		_exit(0);
	}
	waitpid(pid, &status, WUNTRACED);
	STATUS(status);
	kill(pid, SIGCONT);
	STATUS(end_of(pid));
}

SECTION("ignoring a signal drops what is pending")
{
	sigset_t pending;

	mask(SIG_BLOCK, SIGUSR1);
	raise(SIGUSR1);
	signal(SIGUSR1, SIG_IGN);
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGUSR1));
	raise(SIGUSR1);
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGUSR1));
	handle(SIGUSR1, record, 0);
	count = 0;
	mask(SIG_UNBLOCK, SIGUSR1);
	SHOW(count);
}
