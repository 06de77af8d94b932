/* eventfd(2), timerfd_create(2), signalfd(2), pidfd_open(2). */
#include "observe.h"
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int events_of(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP };

	poll(&p, 1, 0);
	return p.revents;
}
static long add(int fd, uint64_t value)
{
	return write(fd, &value, sizeof value);
}
static void take(int fd)
{
	uint64_t value = 0;
	long n = read(fd, &value, sizeof value);

	if (n < 0)
		say("read: %s\n", error_name(errno));
	else
		say("read: %ld value %llu\n", n, (unsigned long long)value);
}

SECTION("eventfd")
{
	char buf[20] = { 0 };
	int fd = MUST(eventfd(3, EFD_NONBLOCK));

	HEX(events_of(fd));
	HEX(fcntl(fd, F_GETFL));
	RET(add(fd, 4));
	take(fd);
	take(fd);
	HEX(events_of(fd));
	RET(add(fd, 0));
	HEX(events_of(fd));
	RET(add(fd, -1));
	RET(add(fd, -2));
	HEX(events_of(fd));
	RET(add(fd, 1));
	RET(read(fd, buf, 7));
	RET(write(fd, buf, 7));
	RET(write(fd, buf, 16));
	RET(read(fd, buf, 16));
	RET(read(fd, (void *)8, 8));
	RET(pread(fd, buf, 8, 0));
	RET(lseek(fd, 5, SEEK_SET));
	ERR(eventfd(0, 0x10));
	int s = MUST(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
	take(s);
	take(s);
	take(s);
	int b = MUST(eventfd(0, 0));
	pid_t child = fork();
	if (child == 0) {
		sleep_ms(30);
		add(b, 9);
		_exit(0);
	}
	take(b);
	STATUS(end_of(child));
	struct stat st;
	MUST(fstat(b, &st));
	say("mode %o\n", st.st_mode);
}

static void arm(int fd, int flags, long value_ns, long interval_ns)
{
	struct itimerspec it = { { 0, interval_ns }, { 0, value_ns } };

	MUST(timerfd_settime(fd, flags, &it, NULL));
}

SECTION("timerfd")
{
	struct itimerspec it = { { 0, 0 }, { 100, 5 } }, old;
	int fd = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));

	take(fd);
	HEX(events_of(fd));
	RET(timerfd_settime(fd, 0, &it, &old));
	say("old %ld %ld\n", old.it_value.tv_sec, old.it_value.tv_nsec);
	RET(timerfd_gettime(fd, &old));
	say("left about 100: %d interval %ld\n", old.it_value.tv_sec >= 98, old.it_interval.tv_nsec);
	arm(fd, 0, 10000000, 0);
	sleep_ms(30);
	HEX(events_of(fd));
	RET(timerfd_gettime(fd, &old));
	say("%ld %ld\n", old.it_value.tv_sec, old.it_value.tv_nsec);
	take(fd);
	take(fd);
	arm(fd, 0, 10000000, 10000000);
	sleep_ms(35);
	uint64_t ticks = 0;
	RET(read(fd, &ticks, 8));
	SHOW(ticks >= 3 && ticks < 10);
	arm(fd, TFD_TIMER_ABSTIME, 1, 0);
	take(fd);
	arm(fd, TFD_TIMER_ABSTIME, 1, 0);
	arm(fd, 0, 0, 0);
	take(fd);
	struct timespec now;
	int wall = MUST(timerfd_create(CLOCK_REALTIME, 0));
	clock_gettime(CLOCK_REALTIME, &now);
	it.it_value = now;
	it.it_value.tv_nsec += 20000000;
	if (it.it_value.tv_nsec >= 1000000000) {
		it.it_value.tv_sec++;
		it.it_value.tv_nsec -= 1000000000;
	}
	RET(timerfd_settime(wall, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &it, NULL));
	take(wall);
	clock_gettime(CLOCK_REALTIME, &now);
	SHOW(now.tv_sec > it.it_value.tv_sec || now.tv_nsec >= it.it_value.tv_nsec);
	ERR(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
	ERR(timerfd_create(CLOCK_BOOTTIME, 0));
	ERR(timerfd_create(CLOCK_MONOTONIC, 1));
	it.it_value.tv_nsec = 1000000000;
	ERR(timerfd_settime(fd, 0, &it, NULL));
	ERR(timerfd_settime(fd, 8, &it, NULL));
	ERR(timerfd_settime(0, 0, (void *)8, NULL));
	it.it_value.tv_nsec = 0;
	ERR(timerfd_settime(0, 0, &it, NULL));
	ERR(timerfd_settime(99, 0, &it, NULL));
	char small[4];
	ERR(read(fd, small, 4));
	ERR(write(fd, small, 4));
}

SECTION("signalfd")
{
	sigset_t mask;
	struct signalfd_siginfo info[3];

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigaddset(&mask, SIGRTMIN + 3);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	int fd = MUST(signalfd(-1, &mask, SFD_NONBLOCK));
	RET(read(fd, info, sizeof info));
	RET(read(fd, info, 100));
	HEX(events_of(fd));
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 77 });
	sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 78 });
	HEX(events_of(fd));
	RET(read(fd, info, sizeof info));
	for (int i = 0; i < 3; i++)
		say("%s code %d pid %d uid %d int %d\n", signal_name(info[i].ssi_signo), info[i].ssi_code,
		    info[i].ssi_pid == getpid(), info[i].ssi_uid, info[i].ssi_int);
	HEX(events_of(fd));
	pid_t child = fork();
	if (child == 0)
		_exit(5);
	sleep_ms(30);
	RET(read(fd, info, sizeof info));
	say("%s code %d pid %d status %d\n", signal_name(info[0].ssi_signo), info[0].ssi_code, info[0].ssi_pid == child,
	    info[0].ssi_status);
	end_of(child);
	sigdelset(&mask, SIGUSR1);
	RET(signalfd(fd, &mask, 0) == fd);
	kill(getpid(), SIGUSR1);
	HEX(events_of(fd));
	ERR(signalfd(0, &mask, 0));
	ERR(signalfd(99, &mask, 0));
	ERR(signalfd(-1, &mask, 1));
	fcntl(fd, F_SETFL, 0);
	child = fork();
	if (child == 0) {
		sleep_ms(30);
		kill(getppid(), SIGRTMIN + 3);
		/* Its own end is a signal too, with a lower number. */
		sleep_ms(200);
		_exit(0);
	}
	RET(read(fd, info, sizeof info[0]));
	SIGNAL(info[0].ssi_signo);
	end_of(child);
}

SECTION("pidfd")
{
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	int fd = MUST(syscall(SYS_pidfd_open, child, 0));
	SHOW(fcntl(fd, F_GETFD));
	HEX(fcntl(fd, F_GETFL));
	HEX(events_of(fd));
	RET(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	RET(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	struct pollfd p = { fd, POLLIN, 0 };
	RET(poll(&p, 1, 2000));
	HEX(p.revents);
	siginfo_t info = { 0 };
	RET(waitid(P_PIDFD, fd, &info, WEXITED));
	say("code %d status %d\n", info.si_code, info.si_status);
	HEX(events_of(fd));
	RET(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	ERR(syscall(SYS_pidfd_open, child, 0));
	ERR(syscall(SYS_pidfd_open, 0, 0));
	ERR(syscall(SYS_pidfd_open, -1, 0));
	ERR(syscall(SYS_pidfd_open, getpid(), 1));
	ERR(read(fd, &info, 1));
	int p2[2];
	MUST(pipe(p2));
	int self = MUST(syscall(SYS_pidfd_open, getpid(), 0));
	int copy = MUST(syscall(SYS_pidfd_getfd, self, p2[1], 0));
	RET(write(copy, "x", 1));
	RET(read(p2[0], &info, 1));
	ERR(syscall(SYS_pidfd_getfd, self, 99, 0));
	ERR(syscall(SYS_pidfd_getfd, self, 0, 1));
	ERR(syscall(SYS_pidfd_getfd, 0, 0, 0));
	ERR(syscall(SYS_pidfd_getfd, fd, 0, 0));
}
