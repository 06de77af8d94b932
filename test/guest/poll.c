/* poll(2), select(2), epoll(7). */
#include "observe.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>

static int add(int epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* One round of epoll_wait without waiting; the events in the order of their data. */
static void round_(int epoll)
{
	struct epoll_event events[8];
	int count = epoll_wait(epoll, events, 8, 0);

	say("%d events\n", count);
	for (uint64_t data = 0; data < 10; data++)
		for (int i = 0; i < count; i++)
			if (events[i].data.u64 == data)
				say("  %d: %#x\n", (int)data, events[i].events);
}

SECTION("poll: results, negative and bad descriptors, timeouts")
{
	int pair[2];

	MUST(pipe(pair));
	struct pollfd list[3] = { { pair[0], POLLIN, 9 }, { -5, POLLIN, 9 }, { pair[1], POLLOUT, 9 } };
	RET(poll(list, 3, 0));
	SHOW(list[0].revents);
	SHOW(list[1].revents);
	SHOW(list[2].revents);
	SHOW(list[0].events);
	list[1].fd = 99;
	RET(poll(list, 3, 0));
	SHOW(list[1].revents);
	long start = now_ms();
	RET(poll(list, 1, 30));
	SHOW(now_ms() - start >= 30);
	RET(poll(NULL, 0, 0));
	ERR(poll((struct pollfd *)8, 1, 0));
	ERR(poll(list, 100000000, 0));
	ERR(ppoll(list, 1, &(struct timespec){ -1, 0 }, NULL));
	write_file("f", "");
	list[0].fd = MUST(open("f", O_RDWR));
	list[0].events = POLLIN | POLLOUT | POLLPRI;
	RET(poll(list, 1, -1));
	SHOW(list[0].revents);
}

SECTION("poll: woken by a writer, by a close")
{
	int pair[2];

	MUST(pipe(pair));
	pid_t pid = fork(), parent = getppid();
	(void)parent;
	if (pid == 0) {
		sleep_ms(50);
		write(pair[1], "x", 1);
		_exit(0);
	}
	struct pollfd one = { pair[0], POLLIN, 0 };
	RET(poll(&one, 1, 10000));
	HEX(one.revents);
	read(pair[0], &one, 1);
	end_of(pid);
	pid = fork();
	if (pid == 0) {
		sleep_ms(50);
		_exit(0);
	}
	close(pair[1]);
	one = (struct pollfd){ pair[0], POLLIN, 0 };
	RET(poll(&one, 1, 10000));
	HEX(one.revents);
}

SECTION("select: sets, the timeout that is written back, errors")
{
	fd_set in, out, except;
	int pair[2];
	struct timeval limit = { 5, 0 };

	MUST(pipe(pair));
	MUST(write(pair[1], "x", 1));
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&except);
	FD_SET(pair[0], &in);
	FD_SET(pair[1], &out);
	FD_SET(pair[0], &except);
	RET(select(pair[1] + 1, &in, &out, &except, &limit));
	SHOW(FD_ISSET(pair[0], &in));
	SHOW(FD_ISSET(pair[1], &out));
	SHOW(FD_ISSET(pair[0], &except));
	SHOW(limit.tv_sec >= 4);
	MUST(dup2(pair[0], 100)); /* the table grows to 128 at least: 99 is in it and closed */
	FD_SET(99, &in);
	ERR(select(100, &in, NULL, NULL, &limit));
	FD_CLR(99, &in);
	FD_SET(pair[0], &in);
	FD_SET(1000, &in); /* above the table: left out */
	RET(select(1001, &in, NULL, NULL, &limit));
	SHOW(FD_ISSET(pair[0], &in));
	ERR(select(-1, NULL, NULL, NULL, &limit));
	limit = (struct timeval){ 0, 20000 };
	RET(select(0, NULL, NULL, NULL, &limit));
	SHOW(limit.tv_sec + limit.tv_usec);
	limit.tv_usec = -1;
	ERR(select(0, NULL, NULL, NULL, &limit));
	close(pair[1]);
	read(pair[0], &in, 1);
	FD_ZERO(&in);
	FD_SET(pair[0], &in);
	RET(select(pair[0] + 1, &in, NULL, NULL, NULL));
}

SECTION("epoll_ctl: errors")
{
	int pair[2], epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event event = { .events = EPOLLIN };

	MUST(pipe(pair));
	SHOW(fcntl(epoll, F_GETFD));
	ERR(epoll_create1(1));
	ERR(epoll_create(0));
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, 99, &event));
	ERR(epoll_ctl(99, EPOLL_CTL_ADD, pair[0], &event));
	ERR(epoll_ctl(pair[0], EPOLL_CTL_ADD, pair[1], &event));
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event));
	ERR(epoll_ctl(epoll, EPOLL_CTL_MOD, pair[0], &event));
	ERR(epoll_ctl(epoll, EPOLL_CTL_DEL, pair[0], &event));
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event));
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event));
	ERR(epoll_ctl(epoll, 9, pair[0], &event));
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[1], NULL));
	ERR(epoll_ctl(epoll, EPOLL_CTL_DEL, pair[0], NULL));
	write_file("f", "");
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, MUST(open("f", O_RDONLY)), &event));
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, MUST(open(".", O_RDONLY)), &event));
	ERR(epoll_wait(epoll, &event, 0, 0));
	ERR(epoll_wait(pair[0], &event, 1, 0));
	ERR(read(epoll, &event, 1));
}

SECTION("epoll: level-triggered")
{
	int pair[2], epoll = MUST(epoll_create1(0));

	MUST(pipe(pair));
	MUST(add(epoll, pair[0], EPOLLIN, 1));
	MUST(add(epoll, pair[1], EPOLLOUT, 2));
	round_(epoll);
	MUST(write(pair[1], "xy", 2));
	round_(epoll);
	round_(epoll);
	read(pair[0], &(char[2]){ 0 }, 2);
	round_(epoll);
	close(pair[1]);
	round_(epoll);
	close(pair[0]);
	round_(epoll);
}

SECTION("epoll: edge-triggered: again only after something new")
{
	int pair[2], epoll = MUST(epoll_create1(0));
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = 2 };

	MUST(pipe(pair));
	MUST(write(pair[1], "x", 1));
	MUST(add(epoll, pair[0], EPOLLIN | EPOLLET, 1));
	round_(epoll);
	round_(epoll);
	MUST(write(pair[1], "y", 1));
	round_(epoll);
	round_(epoll);
	read(pair[0], &(char[1]){ 0 }, 1);
	round_(epoll);
	MUST(epoll_ctl(epoll, EPOLL_CTL_MOD, pair[0], &event));
	round_(epoll);
	round_(epoll);
}

SECTION("epoll: EPOLLONESHOT is off until set again")
{
	int event_fd = MUST(eventfd(1, 0)), epoll = MUST(epoll_create1(0));
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 1 };

	MUST(add(epoll, event_fd, EPOLLIN | EPOLLONESHOT, 1));
	round_(epoll);
	round_(epoll);
	MUST(epoll_ctl(epoll, EPOLL_CTL_MOD, event_fd, &event));
	round_(epoll);
	round_(epoll);
}

SECTION("epoll: an epoll in an epoll, loops, depth")
{
	int event_fd = MUST(eventfd(0, 0)), inner = MUST(epoll_create1(0)), outer = MUST(epoll_create1(0));

	MUST(add(inner, event_fd, EPOLLIN, 1));
	MUST(add(outer, inner, EPOLLIN, 2));
	round_(outer);
	MUST(write(event_fd, &(uint64_t){ 1 }, 8));
	round_(outer);
	struct pollfd one = { outer, POLLIN, 0 };
	RET(poll(&one, 1, 0));
	round_(inner);
	read(event_fd, &(uint64_t){ 0 }, 8);
	round_(outer);
	ERR(add(inner, outer, EPOLLIN, 3));
	int last = outer;
	for (int i = 0; i < 6; i++) {
		int next = MUST(epoll_create1(0));
		ERR(add(next, last, EPOLLIN, 1));
		last = next;
	}
}

SECTION("epoll: EPOLLEXCLUSIVE, EPOLLRDHUP")
{
	int event_fd = MUST(eventfd(0, 0)), epoll = MUST(epoll_create1(0)), pair[2];
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE };

	ERR(add(epoll, event_fd, EPOLLIN | EPOLLEXCLUSIVE, 1));
	ERR(epoll_ctl(epoll, EPOLL_CTL_MOD, event_fd, &event));
	ERR(add(epoll, MUST(eventfd(0, 0)), EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 1));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ERR(add(epoll, pair[0], EPOLLIN | EPOLLRDHUP, 2));
	round_(epoll);
	shutdown(pair[1], SHUT_WR);
	round_(epoll);
	close(pair[1]);
	round_(epoll);
}

SECTION("epoll: a duplicate keeps the entry alive, fork shares it")
{
	int pair[2], epoll = MUST(epoll_create1(0));

	MUST(pipe(pair));
	MUST(add(epoll, pair[0], EPOLLIN, 1));
	int copy = MUST(dup(pair[0]));
	close(pair[0]);
	MUST(write(pair[1], "x", 1));
	round_(epoll);
	ERR(add(epoll, copy, EPOLLIN, 2));
	round_(epoll);
	ERR(epoll_ctl(epoll, EPOLL_CTL_DEL, pair[0], NULL));
	pid_t pid = fork();
	if (pid == 0) {
		round_(epoll);
		_exit(0);
	}
	end_of(pid);
	close(copy);
	round_(epoll);
}

SECTION("epoll_wait: timeouts, wake-up from another process, maxevents goes round")
{
	int epoll = MUST(epoll_create1(0)), fds[4], seen = 0;
	struct epoll_event event;
	long start = now_ms();

	RET(epoll_wait(epoll, &event, 1, 30));
	SHOW(now_ms() - start >= 30);
	for (int i = 0; i < 4; i++) {
		fds[i] = MUST(eventfd(1, 0));
		MUST(add(epoll, fds[i], EPOLLIN, i));
	}
	for (int i = 0; i < 4; i++) {
		MUST(epoll_wait(epoll, &event, 1, 0));
		seen |= 1 << event.data.u64;
	}
	SHOW(seen);
	for (int i = 0; i < 4; i++)
		read(fds[i], &(uint64_t){ 0 }, 8);
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(50);
		write(fds[2], &(uint64_t){ 1 }, 8);
		_exit(0);
	}
	RET(epoll_wait(epoll, &event, 1, 10000));
	SHOW(event.data.u64);
	end_of(pid);
	struct timespec limit = { 0, 1000000 };
	RET(syscall(SYS_epoll_pwait2, epoll, &event, 1, &limit, NULL, 8));
	read(fds[2], &(uint64_t){ 0 }, 8);
	RET(syscall(SYS_epoll_pwait2, epoll, &event, 1, &limit, NULL, 8));
	ERR(syscall(SYS_epoll_pwait2, epoll, &event, 1, &(struct timespec){ 0, -1 }, NULL, 8));
}
