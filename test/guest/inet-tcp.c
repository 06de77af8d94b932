/* TCP over the loopback interface: connections, data, readiness, errors. */
#include "observe.h"
#include "inet.h"
#include <sys/sendfile.h>

SECTION("socket: families, types and protocols")
{
	ERR(socket(AF_INET, SOCK_STREAM, 0));
	ERR(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
	ERR(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	ERR(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
	ERR(socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP));
	ERR(socket(AF_INET, SOCK_STREAM, 300));
	ERR(socket(AF_INET, SOCK_STREAM, -1));
	ERR(socket(AF_INET, SOCK_RAW, 0));
	ERR(socket(AF_INET, SOCK_RDM, 0));
	ERR(socket(AF_INET, 77, 0));
	ERR(socket(AF_INET, SOCK_STREAM | 0x100000, 0));
	int pair[2];
	ERR(socketpair(AF_INET, SOCK_STREAM, 0, pair));
	int fd = MUST(socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	HEX(fcntl(fd, F_GETFL));
	SHOW(fcntl(fd, F_GETFD));
	SHOW(int_option(fd, SOL_SOCKET, SO_TYPE));
	SHOW(int_option(fd, SOL_SOCKET, SO_DOMAIN));
	SHOW(int_option(fd, SOL_SOCKET, SO_PROTOCOL));
	SHOW(int_option(fd, SOL_SOCKET, SO_ACCEPTCONN));
	ERR(lseek(fd, 0, SEEK_SET));
	ERR(pread(fd, big, 1, 0));
	ERR(fsync(fd));
	ERR(ftruncate(fd, 0));
}

SECTION("a connection: accept, names, bytes both ways, end of file")
{
	int server = listener(4);
	int client = MUST(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in name;
	socklen_t length = sizeof name;

	SHOW(int_option(server, SOL_SOCKET, SO_ACCEPTCONN));
	ERR(connect_loopback(client, port_of(server)));
	memset(&name, 0xff, sizeof name);
	int peer = MUST(accept(server, (struct sockaddr *)&name, &length));
	SHOW(length);
	SHOW(name.sin_family);
	SHOW(ntohs(name.sin_port) == port_of(client));
	HEX(ntohl(name.sin_addr.s_addr));
	length = 5;
	memset(&name, 0, sizeof name);
	ERR(getpeername(client, (struct sockaddr *)&name, &length));
	SHOW(length);
	SHOW(ntohs(name.sin_port) == port_of(server));
	SHOW(int_option(peer, SOL_SOCKET, SO_ACCEPTCONN));
	RET(write(client, "hello", 5));
	RET(read(peer, big, sizeof big));
	RET(send(peer, "world!", 6, 0));
	RET(recv(client, big, 3, 0));
	RET(recv(client, big, 100, 0));
	RET(send(client, "", 0, 0));
	RET(shutdown(client, SHUT_WR));
	RET(read(peer, big, 10));
	ERR(send(client, "x", 1, MSG_NOSIGNAL));
	RET(write(peer, "late", 4));
	RET(read(client, big, 10));
	close(peer);
	RET(read(client, big, 10));
	ERR(connect_loopback(client, port_of(server)));
}

SECTION("errors: unconnected, refused, in use, connected, bad addresses")
{
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	char byte;
	socklen_t length = sizeof(struct sockaddr_in);
	struct sockaddr_in address = loopback(0);

	ERR(recv(fd, &byte, 1, 0));
	ERR(send(fd, "x", 1, MSG_NOSIGNAL));
	ERR(getpeername(fd, (struct sockaddr *)&address, &length));
	ERR(getsockname(fd, (struct sockaddr *)&address, &length));
	SHOW(ntohs(address.sin_port));
	SHOW(length);
	ERR(shutdown(fd, SHUT_RD));
	ERR(shutdown(fd, 7));
	ERR(accept(fd, NULL, NULL));
	ERR(connect_loopback(fd, closed_port()));
	SHOW(int_option(fd, SOL_SOCKET, SO_ERROR));
	ERR(connect_loopback(fd, closed_port()));
	int server = listener(1);
	ERR(connect_loopback(fd, port_of(server)));
	ERR(connect_loopback(fd, port_of(server)));
	ERR(connect(fd, (struct sockaddr *)&address, 3));
	ERR(bind_loopback(fd, 0));
	ERR(listen(fd, 1));
	int other = MUST(socket(AF_INET, SOCK_STREAM, 0));
	ERR(bind_loopback(other, port_of(server)));
	ERR(bind(other, (struct sockaddr *)&address, 3));
	address.sin_family = AF_INET6;
	ERR(bind(other, (struct sockaddr *)&address, sizeof address));
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(0x01020304);
	ERR(bind(other, (struct sockaddr *)&address, sizeof address));
	ERR(bind(other, (struct sockaddr *)8, sizeof address));
	ERR(connect(other, (struct sockaddr *)8, sizeof address));
	ERR(connect(other, (struct sockaddr *)&address, 200));
	ERR(connect(other, (struct sockaddr *)&address, -1));
	ERR(connect(0, (struct sockaddr *)&address, sizeof address));
	ERR(connect(99, (struct sockaddr *)&address, sizeof address));
	ERR(sendto(other, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&address, sizeof address));
}

SECTION("a connection that does not wait: EINPROGRESS, then readiness and SO_ERROR")
{
	int server = listener(4);
	int fd = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));

	ERR(accept4(server, NULL, NULL, 0x100));
	fcntl(server, F_SETFL, O_NONBLOCK);
	ERR(accept(server, NULL, NULL));
	int result = connect_loopback(fd, port_of(server));
	SHOW(result == 0 || errno == EINPROGRESS);
	HEX(revents_within(fd, POLLOUT, 2000));
	SHOW(int_option(fd, SOL_SOCKET, SO_ERROR));
	ERR(connect_loopback(fd, port_of(server)));
	HEX(revents_within(server, POLLIN, 2000));
	int peer = MUST(accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
	HEX(fcntl(peer, F_GETFL));
	SHOW(fcntl(peer, F_GETFD));
	ERR(recv(fd, big, 1, 0));
	close(fd);
	fd = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	connect_loopback(fd, closed_port());
	HEX(revents_within(fd, EVERYTHING & ~POLLOUT, 2000));
	HEX(revents(fd, EVERYTHING));
	SHOW(int_option(fd, SOL_SOCKET, SO_ERROR));
	SHOW(int_option(fd, SOL_SOCKET, SO_ERROR));
	HEX(revents(fd, EVERYTHING));
}

SECTION("poll: what a stream says over its life")
{
	int pair[2];
	int fresh = MUST(socket(AF_INET, SOCK_STREAM, 0));

	HEX(revents(fresh, EVERYTHING));
	int server = listener(1);
	HEX(revents(server, EVERYTHING));
	connected(pair);
	HEX(revents(pair[0], EVERYTHING));
	MUST(write(pair[0], "x", 1));
	HEX(revents_within(pair[1], POLLIN, 1000));
	HEX(revents(pair[1], EVERYTHING));
	MUST(read(pair[1], big, 1));
	HEX(revents(pair[1], EVERYTHING));
	MUST(shutdown(pair[0], SHUT_WR));
	HEX(revents_within(pair[1], POLLRDHUP, 1000));
	HEX(revents(pair[1], EVERYTHING));
	HEX(revents(pair[0], EVERYTHING));
	MUST(shutdown(pair[1], SHUT_WR));
	revents_within(pair[0], POLLHUP, 1000);
	HEX(revents(pair[0], EVERYTHING));
	HEX(revents(pair[1], EVERYTHING));
}

SECTION("a reset: ECONNRESET, then EPIPE with SIGPIPE")
{
	int pair[2];
	struct linger reset = { 1, 0 };

	connected(pair);
	MUST(write(pair[0], "unread", 6));
	revents_within(pair[1], POLLIN, 1000);
	MUST(setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
	close(pair[1]);
	revents_within(pair[0], POLLIN, 1000);
	HEX(revents(pair[0], EVERYTHING));
	ERR(read(pair[0], big, 1));
	RET(read(pair[0], big, 1));
	ERR(send(pair[0], "x", 1, MSG_NOSIGNAL));
	handle(SIGPIPE, ignore, 0);
	ERR(write(pair[0], "x", 1));
	handle(SIGPIPE, SIG_DFL, 0);
	pid_t child = MUST(fork());
	if (child == 0) {
		write(pair[0], "x", 1);
		_exit(0);
	}
	STATUS(end_of(child));
}

SECTION("a reset behind the end of file: reading still finds the end, writing EPIPE")
{
	int pair[2];

	connected(pair);
	close(pair[1]);
	revents_within(pair[0], POLLIN, 1000);
	MUST(write(pair[0], "to nobody", 9));
	revents_within(pair[0], POLLHUP, 1000);
	HEX(revents(pair[0], EVERYTHING));
	RET(read(pair[0], big, 1));
	RET(recv(pair[0], big, 1, MSG_PEEK));
	ERR(send(pair[0], "x", 1, MSG_NOSIGNAL));
	ERR(send(pair[0], "x", 1, MSG_NOSIGNAL));
	RET(read(pair[0], big, 1));
}

SECTION("a full buffer: EAGAIN, readiness after reading, a blocked writer goes on")
{
	int pair[2];
	long sent = 0, got = 0;
	ssize_t n;

	connected(pair);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	while ((n = write(pair[0], big, sizeof big)) > 0)
		sent += n;
	SHOW(errno == EAGAIN);
	SHOW(sent > 100000);
	HEX(revents(pair[0], EVERYTHING));
	while (got < sent)
		got += MUST(read(pair[1], big, sizeof big));
	SHOW(got == sent);
	HEX(revents_within(pair[0], POLLOUT, 1000));
	fcntl(pair[0], F_SETFL, 0);
	pid_t child = MUST(fork());
	if (child == 0) {
		close(pair[1]);
		for (size_t i = 0; i < sizeof big; i++)
			big[i] = i * 7 + i / 251;
		for (int i = 0; i < 4; i++)
			RET(write(pair[0], big, sizeof big));
		_exit(0);
	}
	close(pair[0]);
	unsigned long long sum = 0;
	got = 0;
	while ((n = read(pair[1], big, 300000)) > 0) {
		for (int i = 0; i < n; i++)
			sum = sum * 31 + (unsigned char)big[i];
		got += n;
	}
	STATUS(end_of(child));
	SHOW(got);
	HEX(sum);
}

SECTION("flags: peek, wait for all, truncate, do not wait, scatter and gather")
{
	int pair[2];
	struct iovec parts[3] = { { "ab", 2 }, { "", 0 }, { "cdef", 4 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 3 };
	char one[5] = "....", two[10] = ".........";

	connected(pair);
	RET(sendmsg(pair[0], &message, 0));
	revents_within(pair[1], POLLIN, 1000);
	RET(recv(pair[1], big, 100, MSG_PEEK));
	RET(recv(pair[1], big, 3, MSG_PEEK | MSG_WAITALL));
	struct iovec places[2] = { { one, 3 }, { two, 9 } };
	struct sockaddr_in from;
	message = (struct msghdr){ .msg_iov = places, .msg_iovlen = 2, .msg_name = &from, .msg_namelen = sizeof from };
	RET(recvmsg(pair[1], &message, 0));
	TEXT(one);
	TEXT(two);
	SHOW(message.msg_namelen);
	HEX(message.msg_flags);
	ERR(recv(pair[1], big, 1, MSG_DONTWAIT));
	MUST(write(pair[0], "0123456789", 10));
	revents_within(pair[1], POLLIN, 1000);
	memset(big, '#', 10);
	RET(recv(pair[1], big, 4, MSG_TRUNC));
	SHOW(big[0]);
	RET(recv(pair[1], big, 2, 0));
	SHOW(big[0]);
	pid_t child = MUST(fork());
	if (child == 0) {
		for (int i = 0; i < 4; i++) {
			sleep_ms(10);
			send(pair[0], "more", 4, MSG_MORE);
		}
		_exit(0);
	}
	RET(recv(pair[1], big, 20, MSG_WAITALL));
	STATUS(end_of(child));
	ERR(recv(pair[1], (char *)8, 0, MSG_DONTWAIT));
	ERR(recv(pair[1], big, 1, MSG_OOB));
	ERR(recv(pair[1], big, 1, MSG_ERRQUEUE));
}

SECTION("urgent data: the mark, MSG_OOB, SO_OOBINLINE")
{
	int pair[2], mark = -1;

	connected(pair);
	MUST(write(pair[0], "abc", 3));
	RET(send(pair[0], "X", 1, MSG_OOB));
	MUST(write(pair[0], "def", 3));
	HEX(revents_within(pair[1], POLLPRI, 1000));
	sleep_ms(20);
	HEX(revents(pair[1], EVERYTHING));
	MUST(ioctl(pair[1], SIOCATMARK, &mark));
	SHOW(mark);
	RET(recv(pair[1], big, 100, 0));
	MUST(ioctl(pair[1], SIOCATMARK, &mark));
	SHOW(mark);
	RET(recv(pair[1], big, 100, MSG_OOB));
	SHOW(big[0]);
	ERR(recv(pair[1], big, 100, MSG_OOB));
	RET(recv(pair[1], big, 100, 0));
	MUST(set_int(pair[1], SOL_SOCKET, SO_OOBINLINE, 1));
	RET(send(pair[0], "Y", 1, MSG_OOB));
	revents_within(pair[1], POLLPRI, 1000);
	RET(recv(pair[1], big, 100, 0));
	SHOW(big[0]);
}

static int urgent_seen, io_seen, io_band;

static void note_urgent(int signo)
{
	(void)signo;
	urgent_seen++;
}

static void note_io(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	io_seen++;
	io_band = info->si_code;
}

SECTION("signals: SIGURG to the owner, SIGIO with O_ASYNC")
{
	int pair[2];
	struct sigaction action = { .sa_sigaction = note_io, .sa_flags = SA_SIGINFO };

	connected(pair);
	handle(SIGURG, note_urgent, 0);
	MUST(fcntl(pair[1], F_SETOWN, getpid()));
	MUST(send(pair[0], "!", 1, MSG_OOB));
	revents_within(pair[1], POLLPRI, 1000);
	sleep_ms(20);
	SHOW(urgent_seen);
	MUST(sigaction(SIGRTMIN, &action, NULL));
	MUST(fcntl(pair[0], F_SETOWN, getpid()));
	MUST(fcntl(pair[0], F_SETSIG, SIGRTMIN));
	MUST(fcntl(pair[0], F_SETFL, O_ASYNC));
	MUST(write(pair[1], "x", 1));
	for (int i = 0; i < 100 && !io_seen; i++)
		sleep_ms(5);
	int owner = -1, own = getpid();
	ERR(ioctl(pair[0], FIOGETOWN, &owner));
	SHOW(owner == own);
	ERR(ioctl(pair[1], FIOSETOWN, &(int){ 0 }));
	ERR(ioctl(pair[1], SIOCGPGRP, &owner));
	SHOW(owner);
	SHOW(io_seen > 0);
	SHOW(io_band == POLL_IN);
}

SECTION("shutdown of reading, of a listener, of both ends")
{
	int pair[2], server = listener(2);

	connected(pair);
	RET(shutdown(pair[0], SHUT_RD));
	HEX(revents(pair[0], EVERYTHING));
	RET(read(pair[0], big, 1));
	MUST(write(pair[1], "x", 1));
	revents_within(pair[0], POLLIN, 1000);
	sleep_ms(20);
	RET(read(pair[0], big, 1));
	RET(shutdown(pair[0], SHUT_RDWR));
	HEX(revents(pair[0], EVERYTHING));
	ERR(send(pair[0], "x", 1, MSG_NOSIGNAL));
	RET(shutdown(server, SHUT_RDWR));
	ERR(accept(server, NULL, NULL));
	HEX(revents(server, EVERYTHING));
	RET(listen(server, 3));
	RET(set_int(server, SOL_SOCKET, SO_RCVTIMEO, 0));
}

SECTION("who waits is woken: accept, read, connect of another process; a signal interrupts")
{
	int server = listener(1), port = port_of(server);
	struct timeval short_time = { 0, 50000 };
	pid_t child = MUST(fork());

	if (child == 0) {
		sleep_ms(30);
		int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
		MUST(connect_loopback(fd, port));
		sleep_ms(30);
		MUST(write(fd, "now", 3));
		_exit(0);
	}
	int peer = MUST(accept(server, NULL, NULL));
	RET(read(peer, big, 10));
	RET(read(peer, big, 10));
	STATUS(end_of(child));
	MUST(setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &short_time, sizeof short_time));
	long before = now_ms();
	ERR(accept(server, NULL, NULL));
	SHOW(now_ms() - before >= 45);
	int pair[2];
	connected(pair);
	handle(SIGALRM, ignore, 0);
	struct itimerval soon = { .it_value = { 0, 30000 } };
	setitimer(ITIMER_REAL, &soon, NULL);
	ERR(read(pair[0], big, 1));
	MUST(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &short_time, sizeof short_time));
	ERR(recv(pair[0], big, 10, 0));
	MUST(write(pair[1], "abc", 3));
	RET(recv(pair[0], big, 10, MSG_WAITALL));
}

SECTION("epoll: level and edge, one shot, ends")
{
	int pair[2], ep = MUST(epoll_create1(0));
	struct epoll_event event = { EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, { .fd = 1 } }, got[4];

	connected(pair);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, pair[0], &event));
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, pair[1], &event));
	RET(epoll_wait(ep, got, 4, 0));
	HEX(got[0].events);
	RET(epoll_wait(ep, got, 4, 0));
	RET(epoll_wait(ep, got, 4, 20));
	MUST(epoll_ctl(ep, EPOLL_CTL_DEL, pair[1], &event));
	MUST(write(pair[1], "x", 1));
	RET(epoll_wait(ep, got, 4, 1000));
	HEX(got[0].events);
	RET(epoll_wait(ep, got, 4, 0));
	MUST(write(pair[1], "y", 1));
	RET(epoll_wait(ep, got, 4, 1000));
	RET(epoll_wait(ep, got, 4, 0));
	event.events = EPOLLIN;
	MUST(epoll_ctl(ep, EPOLL_CTL_MOD, pair[0], &event));
	RET(epoll_wait(ep, got, 4, 0));
	RET(epoll_wait(ep, got, 4, 0));
	MUST(read(pair[0], big, 10));
	RET(epoll_wait(ep, got, 4, 0));
	event.events = EPOLLIN | EPOLLONESHOT;
	MUST(epoll_ctl(ep, EPOLL_CTL_MOD, pair[0], &event));
	MUST(write(pair[1], "z", 1));
	RET(epoll_wait(ep, got, 4, 1000));
	MUST(write(pair[1], "z", 1));
	RET(epoll_wait(ep, got, 4, 30));
	event.events = EPOLLRDHUP;
	MUST(epoll_ctl(ep, EPOLL_CTL_MOD, pair[0], &event));
	close(pair[1]);
	RET(epoll_wait(ep, got, 4, 1000));
	HEX(got[0].events);
	close(pair[0]);
	RET(epoll_wait(ep, got, 4, 0));
}

SECTION("epoll: what was sent is ready at once")
{
	int ep = MUST(epoll_create1(0));
	struct epoll_event got[16];
	int pairs[8][2];

	for (int i = 0; i < 8; i++) {
		struct epoll_event event = { EPOLLIN | EPOLLET, { .u32 = i } };
		connected(pairs[i]);
		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, pairs[i][0], &event));
	}
	RET(epoll_wait(ep, got, 16, 0));
	for (int i = 0; i < 8; i++)
		MUST(write(pairs[i][1], "x", 1));
	int seen = 0;
	for (int i = 0; i < 10 && seen < 8; i++)
		seen += epoll_wait(ep, got, 16, 100);
	SHOW(seen);
}

SECTION("descriptors: passed to another process, sent over a unix socket, duplicated")
{
	int pair[2], channel[2];

	connected(pair);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
	pid_t child = MUST(fork());
	if (child == 0) {
		union {
			struct cmsghdr header;
			char space[CMSG_SPACE(sizeof(int))];
		} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
		struct iovec iov = { "x", 1 };
		struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
		memcpy(CMSG_DATA(&control.header), &pair[0], sizeof(int));
		MUST(sendmsg(channel[0], &message, 0));
		_exit(0);
	}
	STATUS(end_of(child));
	close(pair[0]);
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { big, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	RET(recvmsg(channel[1], &message, 0));
	int fd;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
	RET(write(fd, "via", 3));
	RET(read(pair[1], big, 10));
	int copy = MUST(dup(fd));
	close(fd);
	RET(write(copy, "copy", 4));
	RET(read(pair[1], big, 10));
	close(copy);
	RET(read(pair[1], big, 10));
}

SECTION("sendfile, splice and tee")
{
	int pair[2], pipes[2];

	write_file("data", "contents of a file\n");
	connected(pair);
	int file = MUST(open("data", O_RDONLY));
	off_t offset = 9;
	RET(sendfile(pair[0], file, &offset, 100));
	SHOW(offset);
	RET(recv(pair[1], big, 100, 0));
	MUST(pipe(pipes));
	MUST(write(pipes[1], "piped", 5));
	RET(splice(pipes[0], NULL, pair[0], NULL, 100, 0));
	RET(recv(pair[1], big, 100, MSG_PEEK));
	RET(splice(pair[1], NULL, pipes[1], NULL, 100, 0));
	RET(read(pipes[0], big, 100));
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	ERR(splice(pair[1], NULL, pipes[1], NULL, 100, 0));
}

SECTION("ioctl: what is queued, and not a terminal")
{
	int pair[2], n = -1, server = listener(1);

	connected(pair);
	MUST(write(pair[0], "12345", 5));
	revents_within(pair[1], POLLIN, 1000);
	ERR(ioctl(pair[1], FIONREAD, &n));
	SHOW(n);
	ERR(ioctl(pair[1], FIONREAD, 8));
	for (int i = 0; i < 100 && (ioctl(pair[0], TIOCOUTQ, &n), n); i++)
		sleep_ms(1);
	SHOW(n);
	ERR(ioctl(server, FIONREAD, &n));
	ERR(ioctl(server, TCGETS, big));
	SHOW(isatty(server));
	ERR(ioctl(pair[0], FIONBIO, &(int){ 1 }));
	ERR(recv(pair[0], big, 1, 0));
}

SECTION("IPv6: names, V6ONLY, mapped addresses")
{
	int server = MUST(socket(AF_INET6, SOCK_STREAM, 0));
	struct sockaddr_in6 address = { .sin6_family = AF_INET6 };
	socklen_t length = sizeof address;
	char text[64];

	MUST(bind(server, (struct sockaddr *)&address, sizeof address));
	MUST(listen(server, 2));
	int client = MUST(socket(AF_INET, SOCK_STREAM, 0));
	RET(connect_loopback(client, port_of(server)));
	int peer = MUST(accept(server, (struct sockaddr *)&address, &length));
	SHOW(length);
	TEXT(inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text));
	length = sizeof address;
	MUST(getsockname(peer, (struct sockaddr *)&address, &length));
	SHOW(length);
	TEXT(inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text));
	SHOW(int_option(server, SOL_IPV6, IPV6_V6ONLY));
	ERR(set_int(server, SOL_IPV6, IPV6_V6ONLY, 1));
	int six = MUST(socket(AF_INET6, SOCK_STREAM, 0));
	ERR(set_int(six, SOL_IPV6, IPV6_V6ONLY, 1));
	address = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	ERR(bind(six, (struct sockaddr *)&address, 20));
	ERR(bind(six, (struct sockaddr *)&address, sizeof address));
	MUST(listen(six, 1));
	int other = MUST(socket(AF_INET, SOCK_STREAM, 0));
	ERR(connect_loopback(other, port_of(six)));
	int sixth = MUST(socket(AF_INET6, SOCK_STREAM, 0));
	length = sizeof address;
	MUST(getsockname(six, (struct sockaddr *)&address, &length));
	RET(connect(sixth, (struct sockaddr *)&address, length));
}

SECTION("low ports: root may, others may not")
{
	need_root();
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	pid_t child = MUST(fork());
	if (child == 0) {
		MUST(setuid(1234));
		ERR(bind_loopback(fd, 81));
		ERR(bind_loopback(fd, 0));
		_exit(0);
	}
	STATUS(end_of(child));
}

SECTION("connect with AF_UNSPEC takes a connection apart")
{
	int pair[2];
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	connected(pair);
	RET(connect(pair[0], &nobody, sizeof nobody));
	ERR(send(pair[0], "x", 1, MSG_NOSIGNAL));
	int server = listener(1);
	RET(connect_loopback(pair[0], port_of(server)));
}

SECTION("fast open: data with the connection")
{
	int server = listener(1);
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in address = loopback(port_of(server));

	MUST(set_int(server, SOL_TCP, TCP_FASTOPEN, 5));
	RET(sendto(fd, "early", 5, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof address));
	int peer = MUST(accept(server, NULL, NULL));
	RET(recv(peer, big, 5, MSG_WAITALL));
	ERR(sendto(fd, "again", 5, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof address));
}
