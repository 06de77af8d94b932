/* What a signal does to a blocked call: EINTR or a restart, and what is left of it. */
#include "observe.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>

static volatile int count;

static void counting(int signo)
{
	(void)signo;
	count++;
}

/* A child that sends SIGUSR1 once the parent sleeps, and then, if it is asked to, writes a byte. */
static pid_t disturb(int fd)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid == 0) {
		await_state(parent, 'S');
		kill(parent, SIGUSR1);
		sleep_ms(50);
		await_state(parent, 'S');
		if (fd >= 0)
			write(fd, "x", 1);
		_exit(0);
	}
	return pid;
}

#define WITH(flags, fd, call)                       \
	do {                                        \
		count = 0;                          \
		handle(SIGUSR1, counting, flags);   \
		pid_t pid_ = disturb(fd);           \
		RESULT(#call " with " #flags, call, true); \
		SHOW(count);                        \
		end_of(pid_);                       \
	} while (0)

SECTION("read from a pipe: EINTR without SA_RESTART, restarted with it")
{
	int pair[2];
	char byte;

	MUST(pipe(pair));
	WITH(0, -1, read(pair[0], &byte, 1));
	WITH(SA_RESTART, pair[1], read(pair[0], &byte, 1));
}

SECTION("write to a full pipe: EINTR or what was written")
{
	int pair[2];
	static char big[200000];

	MUST(pipe(pair));
	MUST(write(pair[1], big, 65536));
	WITH(0, -1, write(pair[1], big, 10));
	read(pair[0], big, 65536);
	WITH(0, -1, write(pair[1], big, 100000) > 60000);
}

SECTION("wait: EINTR or restarted")
{
	int go[2], status;

	MUST(pipe(go));
	pid_t pid = fork();
	if (pid == 0) {
		close(go[1]);
		read(go[0], &status, 1);
		_exit(5);
	}
	WITH(0, -1, waitpid(pid, &status, 0));
	WITH(SA_RESTART, go[1], waitpid(pid, &status, 0) == pid);
}

SECTION("nanosleep: EINTR even with SA_RESTART, the rest is told")
{
	struct timespec time = { 5, 0 }, left = { 0, 0 };

	WITH(SA_RESTART, -1, nanosleep(&time, &left));
	SHOW(left.tv_sec >= 3 && left.tv_sec <= 4);
	NUMBERED(clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 0, 1000 }, NULL));
}

SECTION("nanosleep: a stop and continue goes on sleeping")
{
	pid_t pid = fork();
	if (pid == 0) {
		long start = now_ms();
		int result = nanosleep(&(struct timespec){ 0, 300000000 }, NULL);
		say("result %d, slept enough %d\n", result, now_ms() - start >= 300);
		_exit(0);
	}
	await_state(pid, 'S');
	kill(pid, SIGSTOP);
	await_state(pid, 'T');
	kill(pid, SIGCONT);
	STATUS(end_of(pid));
}

SECTION("poll, select, epoll_wait: EINTR even with SA_RESTART")
{
	int pair[2];
	fd_set set;

	MUST(pipe(pair));
	struct pollfd poll_fd = { .fd = pair[0], .events = POLLIN };
	WITH(SA_RESTART, -1, poll(&poll_fd, 1, -1));
	FD_ZERO(&set);
	FD_SET(pair[0], &set);
	WITH(SA_RESTART, -1, select(pair[0] + 1, &set, NULL, NULL, NULL));
	int epoll = MUST(epoll_create1(0));
	struct epoll_event event = { .events = EPOLLIN };
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event));
	WITH(SA_RESTART, -1, epoll_wait(epoll, &event, 1, -1));
}

SECTION("futex: restarted with SA_RESTART, but EINTR with a timeout")
{
	uint32_t word = 0, *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct timespec timeout = { 5, 0 };
	pid_t parent = getpid(), pid;

	handle(SIGUSR1, counting, SA_RESTART);
	if ((pid = fork()) == 0) {
		await_state(parent, 'S');
		kill(parent, SIGUSR1);
		sleep_ms(50);
		while (syscall(SYS_futex, shared, FUTEX_WAKE, 1, NULL, NULL, 0) == 0)
			sleep_ms(1);
		_exit(0);
	}
	RET(syscall(SYS_futex, shared, FUTEX_WAIT, 0, NULL, NULL, 0));
	SHOW(count);
	end_of(pid);

	WITH(0, -1, syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0));
	WITH(SA_RESTART, -1, syscall(SYS_futex, &word, FUTEX_WAIT, 0, &timeout, NULL, 0));
}

SECTION("recv and accept: restarted; with a time limit EINTR")
{
	int pair[2];
	char byte;
	struct timeval limit = { 5, 0 };

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	WITH(0, -1, recv(pair[0], &byte, 1, 0));
	WITH(SA_RESTART, pair[1], recv(pair[0], &byte, 1, 0));
	MUST(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	WITH(SA_RESTART, -1, recv(pair[0], &byte, 1, 0));
}

SECTION("flock and fcntl locks: restarted")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), other = MUST(open("f", O_RDWR));
	struct flock range = { .l_type = F_WRLCK };

	MUST(flock(fd, LOCK_EX));
	WITH(0, -1, flock(other, LOCK_EX));
	pid_t pid = fork();
	if (pid == 0) {
		fcntl(fd, F_SETLK, &range);
		pause();
	}
	await_state(pid, 'S');
	WITH(0, -1, fcntl(fd, F_SETLKW, &range));
	count = 0;
	handle(SIGUSR1, counting, SA_RESTART);
	pid_t parent = getpid();
	pid_t helper = fork();
	if (helper == 0) {
		await_state(parent, 'S');
		kill(parent, SIGUSR1);
		sleep_ms(50);
		await_state(parent, 'S');
		kill(pid, SIGKILL);
		_exit(0);
	}
	RET(fcntl(fd, F_SETLKW, &range));
	SHOW(count);
}

SECTION("opening a FIFO: restarted")
{
	mkfifo("p", 0600);
	count = 0;
	WITH(0, -1, open("p", O_RDONLY));
	count = 0;
	handle(SIGUSR1, counting, SA_RESTART);
	pid_t parent = getpid();
	pid_t pid = fork();
	if (pid == 0) {
		await_state(parent, 'S');
		kill(parent, SIGUSR1);
		sleep_ms(50);
		await_state(parent, 'S');
		open("p", O_WRONLY);
		_exit(0);
	}
	ERR(open("p", O_RDONLY));
	SHOW(count);
}

SECTION("ignored and default-ignored signals interrupt nothing")
{
	int pair[2];
	char byte;

	signal(SIGUSR1, SIG_IGN);
	MUST(pipe(pair));
	pid_t pid = disturb(pair[1]);
	RET(read(pair[0], &byte, 1));
	end_of(pid);
}

SECTION("ppoll and pselect: the mask holds only during the wait")
{
	sigset_t block, none, after;
	int pair[2];

	MUST(pipe(pair));
	handle(SIGUSR1, counting, 0);
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	raise(SIGUSR1);
	struct pollfd poll_fd = { .fd = pair[0], .events = POLLIN };
	RET(ppoll(&poll_fd, 1, &(struct timespec){ 1, 0 }, &none));
	SHOW(count);
	sigprocmask(SIG_BLOCK, NULL, &after);
	SHOW(sigismember(&after, SIGUSR1));
	raise(SIGUSR1);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(pair[0], &set);
	RET(pselect(pair[0] + 1, &set, NULL, NULL, NULL, &none));
	SHOW(count);
	MUST(write(pair[1], "x", 1));
	raise(SIGUSR1);
	RET(ppoll(&poll_fd, 1, NULL, &none));
	SHOW(count);
}

SECTION("SIGPIPE: killed, or EPIPE when ignored or MSG_NOSIGNAL")
{
	int pair[2], sockets[2];

	pid_t pid = fork();
	if (pid == 0) {
		MUST(pipe(pair));
		close(pair[0]);
		write(pair[1], "x", 1);
		_exit(0);
	}
	STATUS(end_of(pid));
	handle(SIGPIPE, counting, 0);
	MUST(pipe(pair));
	close(pair[0]);
	ERR(write(pair[1], "x", 1));
	SHOW(count);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	close(sockets[0]);
	ERR(send(sockets[1], "x", 1, MSG_NOSIGNAL));
	SHOW(count);
	ERR(send(sockets[1], "x", 1, 0));
	SHOW(count);
	signal(SIGPIPE, SIG_IGN);
	ERR(write(pair[1], "x", 1));
}

SECTION("SIGKILL ends a process in any blocked call")
{
	int pair[2];
	uint32_t word = 0;

	MUST(pipe(pair));
	for (int i = 0; i < 5; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			sigset_t all;
			sigfillset(&all);
			sigprocmask(SIG_SETMASK, &all, NULL);
			if (i == 0)
				read(pair[0], &word, 1);
			if (i == 1)
				syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
			if (i == 2)
				poll(NULL, 0, -1);
			if (i == 3)
				sigsuspend(&all);
			if (i == 4)
				for (;;)
					;
		}
		if (i < 4)
			await_state(pid, 'S');
		kill(pid, SIGKILL);
		STATUS(end_of(pid));
	}
}
