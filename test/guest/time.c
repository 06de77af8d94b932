/* Clocks, sleeping, interval timers, POSIX timers, timerfd. */
#include "observe.h"
#include <linux/sched.h>
#include <pthread.h>
#include <sys/timerfd.h>
#include <sys/timex.h>

static volatile int count, overruns;
static siginfo_t last;

static void counting(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	count++;
	last = *info;
	/* The next tick may come in between, with none. */
	if (info->si_overrun > overruns)
		overruns = info->si_overrun;
}

static void handle_info(int signo)
{
	struct sigaction action = { .sa_sigaction = counting, .sa_flags = SA_SIGINFO | SA_RESTART };

	MUST(sigaction(signo, &action, NULL));
}

static long elapsed(struct timespec from, struct timespec to)
{
	return (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
}

SECTION("clock_gettime: every clock, none goes backwards")
{
	static const struct {
		const char *name;
		clockid_t id;
	} clocks[] = {
		{ "REALTIME", CLOCK_REALTIME }, { "MONOTONIC", CLOCK_MONOTONIC }, { "BOOTTIME", CLOCK_BOOTTIME },
		{ "RAW", CLOCK_MONOTONIC_RAW }, { "COARSE", CLOCK_REALTIME_COARSE }, { "TAI", CLOCK_TAI },
		{ "MONOTONIC_COARSE", CLOCK_MONOTONIC_COARSE }, { "PROCESS", CLOCK_PROCESS_CPUTIME_ID },
		{ "THREAD", CLOCK_THREAD_CPUTIME_ID }, { "unknown", 99 }, { "negative", -1 },
	};

	for (size_t i = 0; i < LENGTH(clocks); i++) {
		struct timespec one, two;
		int result = clock_gettime(clocks[i].id, &one);

		if (result < 0) {
			say("%s -> %s\n", clocks[i].name, error_name(errno));
			continue;
		}
		clock_gettime(clocks[i].id, &two);
		say("%s forward %d\n", clocks[i].name, elapsed(one, two) >= 0);
	}
	ERR(syscall(SYS_clock_gettime, CLOCK_REALTIME, 8));
	struct timespec vdso, call;
	clock_gettime(CLOCK_MONOTONIC, &vdso);
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &call);
	SHOW(elapsed(vdso, call) >= 0 && elapsed(vdso, call) < 1000);
	clock_gettime(CLOCK_REALTIME, &vdso);
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &call);
	SHOW(elapsed(vdso, call) >= 0 && elapsed(vdso, call) < 1000);
}

SECTION("time, gettimeofday, clock_getres")
{
	struct timeval tv;
	struct timespec ts;

	ERR(gettimeofday(&tv, NULL));
	SHOW(labs(time(NULL) - tv.tv_sec) <= 1);
	SHOW(labs(syscall(SYS_time, NULL) - tv.tv_sec) <= 1);
	ERR(clock_getres(CLOCK_MONOTONIC, &ts));
	SHOW(ts.tv_sec);
	SHOW(ts.tv_nsec);
	ERR(clock_getres(CLOCK_REALTIME_COARSE, &ts));
	SHOW(ts.tv_nsec);
	ERR(clock_getres(CLOCK_PROCESS_CPUTIME_ID, &ts));
	SHOW(ts.tv_nsec);
	ERR(clock_getres(99, &ts));
}

SECTION("CPU time clocks count work, not sleep")
{
	struct timespec from, to;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	sleep_ms(200);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	SHOW(elapsed(from, to) < 150);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	for (volatile long i = 0; i < 100000000; i++)
		;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	SHOW(elapsed(from, to) > 20);
	clockid_t clock;
	NUMBERED(clock_getcpuclockid(0, &clock));
	ERR(clock_gettime(clock, &to));
	NUMBERED(clock_getcpuclockid(99999999, &clock));
}

SECTION("nanosleep and clock_nanosleep")
{
	struct timespec from, to, target;

	clock_gettime(CLOCK_MONOTONIC, &from);
	ERR(nanosleep(&(struct timespec){ 0, 50000000 }, NULL));
	clock_gettime(CLOCK_MONOTONIC, &to);
	SHOW(elapsed(from, to) >= 50);
	ERR(nanosleep(&(struct timespec){ 0, 1000000000 }, NULL));
	ERR(nanosleep(&(struct timespec){ -1, 0 }, NULL));
	ERR(nanosleep((struct timespec *)8, NULL));
	ERR(nanosleep(&(struct timespec){ 0, 0 }, NULL));
	target = to;
	target.tv_sec += (target.tv_nsec + 50000000) / 1000000000;
	target.tv_nsec = (target.tv_nsec + 50000000) % 1000000000;
	NUMBERED(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &target, NULL));
	clock_gettime(CLOCK_MONOTONIC, &to);
	SHOW(elapsed(target, to) >= 0);
	NUMBERED(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){ 1, 0 }, NULL));
	NUMBERED(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &target, NULL));
	NUMBERED(clock_nanosleep(CLOCK_REALTIME, 0, &(struct timespec){ 0, 1000 }, NULL));
	NUMBERED(clock_nanosleep(99, 0, &target, NULL));
}

SECTION("setitimer: once, repeatedly, what is left, off")
{
	struct itimerval timer = { { 0, 0 }, { 0, 30000 } }, old;

	handle_info(SIGALRM);
	ERR(setitimer(ITIMER_REAL, &timer, NULL));
	while (count < 1)
		pause();
	SHOW(last.si_code == SI_KERNEL || last.si_code == SI_TIMER);
	getitimer(ITIMER_REAL, &old);
	SHOW(old.it_value.tv_sec + old.it_value.tv_usec);
	timer.it_interval.tv_usec = 10000;
	setitimer(ITIMER_REAL, &timer, NULL);
	while (count < 6)
		pause();
	timer.it_value.tv_usec = 0;
	ERR(setitimer(ITIMER_REAL, &timer, &old));
	SHOW(old.it_interval.tv_usec);
	ERR(getitimer(ITIMER_REAL, &old));
	SHOW(old.it_interval.tv_usec);
	ERR(setitimer(ITIMER_VIRTUAL, &timer, NULL));
	ERR(getitimer(ITIMER_VIRTUAL, &old));
	SHOW(old.it_interval.tv_usec > 0);
	timer.it_value.tv_usec = 1000000;
	ERR(setitimer(ITIMER_REAL, &timer, NULL));
	ERR(setitimer(9, &timer, NULL));
	ERR(getitimer(ITIMER_REAL, (struct itimerval *)8));
	SHOW(alarm(100));
	SHOW(alarm(0));
	SHOW(alarm(0));
}

SECTION("ITIMER_VIRTUAL and ITIMER_PROF count work")
{
	struct itimerval timer = { { 0, 0 }, { 0, 50000 } };

	handle_info(SIGVTALRM);
	handle_info(SIGPROF);
	MUST(setitimer(ITIMER_VIRTUAL, &timer, NULL));
	sleep_ms(200);
	SHOW(count);
	long start = now_ms();
	while (count < 1 && now_ms() - start < 5000)
		;
	SHOW(count);
	MUST(setitimer(ITIMER_PROF, &timer, NULL));
	start = now_ms();
	while (count < 2 && now_ms() - start < 5000)
		;
	SHOW(count);
}

SECTION("POSIX timers: signal, value, overrun")
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77 };
	struct itimerspec spec = { { 0, 10000000 }, { 0, 10000000 } }, got;
	timer_t timer;
	sigset_t set;

	handle_info(SIGRTMIN);
	ERR(timer_create(CLOCK_MONOTONIC, &event, &timer));
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ERR(timer_settime(timer, 0, &spec, NULL));
	sleep_ms(200);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	SHOW(count >= 1);
	SHOW(last.si_code == SI_TIMER);
	SHOW(last.si_value.sival_int);
	SHOW(overruns > 5);
	ERR(timer_gettime(timer, &got));
	SHOW(got.it_interval.tv_nsec);
	spec = (struct itimerspec){ { 0, 0 }, { 0, 0 } };
	ERR(timer_settime(timer, 0, &spec, &got));
	SHOW(got.it_interval.tv_nsec);
	count = 0;
	sleep_ms(50);
	SHOW(count);
	ERR(timer_delete(timer));
	ERR(timer_gettime(timer, &got));
}

SECTION("POSIX timers: absolute, SIGEV_NONE, thread target, errors")
{
	struct sigevent event = { .sigev_notify = SIGEV_NONE };
	struct itimerspec spec = { { 0, 0 }, { 5, 0 } }, got;
	struct timespec now;
	timer_t timer;

	MUST(timer_create(CLOCK_REALTIME, &event, &timer));
	MUST(timer_settime(timer, 0, &spec, NULL));
	MUST(timer_gettime(timer, &got));
	SHOW(got.it_value.tv_sec);
	MUST(timer_delete(timer));
	handle_info(SIGUSR1);
	event = (struct sigevent){ .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	event._sigev_un._tid = gettid();
	MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
	clock_gettime(CLOCK_MONOTONIC, &now);
	spec.it_value = now;
	MUST(timer_settime(timer, TIMER_ABSTIME, &spec, NULL));
	long start = now_ms();
	while (count < 1 && now_ms() - start < 5000)
		sleep_ms(1);
	SHOW(count);
	MUST(timer_gettime(timer, &got));
	SHOW(got.it_value.tv_sec + got.it_value.tv_nsec);
	spec.it_value.tv_nsec = 1000000000;
	ERR(timer_settime(timer, 0, &spec, NULL));
	ERR(timer_create(99, &event, &timer));
	event.sigev_signo = 99;
	ERR(timer_create(CLOCK_MONOTONIC, &event, &timer));
	event = (struct sigevent){ .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	event._sigev_un._tid = 1;
	ERR(timer_create(CLOCK_MONOTONIC, &event, &timer));
	ERR(timer_create(CLOCK_PROCESS_CPUTIME_ID, NULL, &timer));
}

static void *sleeping(void *unused)
{
	pause();
	return unused;
}

SECTION("POSIX timers: CPU time of a thread that makes no calls, beside one that sleeps")
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	struct itimerspec spec = { { 0, 5000000 }, { 0, 5000000 } };
	pthread_t other;
	timer_t timer;

	pthread_create(&other, NULL, sleeping, NULL);
	handle_info(SIGUSR1);
	event._sigev_un._tid = gettid();
	MUST(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer));
	MUST(timer_settime(timer, 0, &spec, NULL));
	while (count < 3)
		;
	SHOW(last.si_code == SI_TIMER);
	MUST(timer_delete(timer));
}

static volatile pid_t worker, interrupted;

static void note_thread(int signo)
{
	(void)signo;
	interrupted = gettid();
}

static void *working(void *unused)
{
	struct itimerval every = { { 0, 5000 }, { 0, 5000 } };

	worker = gettid();
	MUST(setitimer(ITIMER_PROF, &every, NULL));
	while (!interrupted)
		;
	MUST(setitimer(ITIMER_PROF, &(struct itimerval){ 0 }, NULL));
	return unused;
}

SECTION("ITIMER_PROF interrupts the thread that works")
{
	pthread_t thread;

	MUST(sigaction(SIGPROF, &(struct sigaction){ .sa_handler = note_thread, .sa_flags = SA_RESTART }, NULL));
	pthread_create(&thread, NULL, working, NULL);
	pthread_join(thread, NULL);
	SHOW(interrupted == worker);
}

SECTION("timerfd: relative, interval, absolute, errors")
{
	struct itimerspec spec = { { 0, 0 }, { 0, 20000000 } }, got;
	uint64_t expirations = 0;
	int fd = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));

	ERR(read(fd, &expirations, 8));
	MUST(timerfd_settime(fd, 0, &spec, NULL));
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	RET(poll(&poll_fd, 1, 5000));
	RET(read(fd, &expirations, 8));
	SHOW(expirations);
	ERR(read(fd, &expirations, 8));
	spec.it_interval.tv_nsec = 10000000;
	MUST(timerfd_settime(fd, 0, &spec, NULL));
	sleep_ms(200);
	RET(read(fd, &expirations, 8));
	SHOW(expirations > 5);
	MUST(timerfd_gettime(fd, &got));
	SHOW(got.it_interval.tv_nsec);
	ERR(read(fd, &expirations, 4));
	ERR(write(fd, &expirations, 8));
	ERR(lseek(fd, 0, SEEK_SET));
	clock_gettime(CLOCK_MONOTONIC, &spec.it_value);
	spec.it_interval.tv_nsec = 0;
	MUST(timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL));
	RET(poll(&poll_fd, 1, 5000));
	spec.it_value = (struct timespec){ 0, 0 };
	MUST(timerfd_settime(fd, 0, &spec, NULL));
	RET(poll(&poll_fd, 1, 0));
	ERR(timerfd_create(99, 0));
	ERR(timerfd_create(CLOCK_MONOTONIC, 1));
	ERR(timerfd_settime(fd, 64, &spec, NULL));
	spec.it_value.tv_nsec = -1;
	ERR(timerfd_settime(fd, 0, &spec, NULL));
	ERR(timerfd_settime(0, 0, &spec, NULL));
}

SECTION("timerfd: a blocking read waits")
{
	struct itimerspec spec = { { 0, 0 }, { 0, 50000000 } };
	uint64_t expirations = 0;
	int fd = MUST(timerfd_create(CLOCK_REALTIME, 0));
	long start = now_ms();

	MUST(timerfd_settime(fd, 0, &spec, NULL));
	RET(read(fd, &expirations, 8));
	SHOW(now_ms() - start >= 49);
	SHOW(expirations);
}

SECTION("setting the time needs a privilege; adjtimex reads")
{
	struct timex timex = { .modes = 0 };

	if (geteuid() == 0)
		MUST(setresuid(1000, 1000, 1000));
	ERR(settimeofday(&(struct timeval){ 1, 0 }, NULL));
	ERR(clock_settime(CLOCK_REALTIME, &(struct timespec){ 1, 0 }));
	ERR(clock_settime(CLOCK_MONOTONIC, &(struct timespec){ 1, 0 }));
	SHOW(adjtimex(&timex) >= 0);
	timex.modes = ADJ_FREQUENCY;
	ERR(adjtimex(&timex));
	/* adjtime(3): what is left may be asked for. */
	ERR(adjtime(NULL, &(struct timeval){ 0 }));
	ERR(adjtime(&(struct timeval){ 0, 1 }, NULL));
	for (unsigned i = 0; i < 8; i++) {
		timex.modes = (i & 1 ? 0x8000 : 0) | (i & 2 ? 0x2000 : 0) | (i & 4 ? 1 : 0);
		SHOW(adjtimex(&timex) >= 0 ? 0 : errno);
	}
}

static const char *time_namespace(const char *name)
{
	static char path[64], text[64];
	ssize_t length;

	snprintf(path, sizeof path, "/proc/self/ns/%s", name);
	length = readlink(path, text, sizeof text - 1);
	text[length < 0 ? 0 : length] = 0;
	return text;
}

SECTION("time namespaces: a fork enters the one for children, a vfork with its exec")
{
	static const char script[] = "test \"$(readlink /proc/$$/ns/time)\" = \"$1\"";
	struct clone_args args = { .flags = CLONE_NEWTIME, .exit_signal = SIGCHLD };
	char own[64], next[64];
	pid_t pid;

	need_root();
	strcpy(own, time_namespace("time"));
	pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		_exit(strcmp(time_namespace("time"), own) != 0);
	STATUS(end_of(pid));
	SHOW(!strcmp(time_namespace("time_for_children"), own));
	MUST(unshare(CLONE_NEWTIME));
	SHOW(!strcmp(time_namespace("time"), own));
	strcpy(next, time_namespace("time_for_children"));
	SHOW(!strcmp(next, own));
	pid = fork();
	if (pid == 0)
		_exit(strcmp(time_namespace("time"), next) == 0);
	STATUS(end_of(pid));
	pid = vfork();
	if (pid == 0)
		_exit(strcmp(time_namespace("time"), own) == 0);
	STATUS(end_of(pid));
	pid = vfork();
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", script, "sh", next, NULL);
		_exit(127);
	}
	STATUS(end_of(pid));
}
