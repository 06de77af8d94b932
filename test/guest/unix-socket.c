/* Unix sockets: streams, datagrams, sequenced packets, names, descriptors and credentials in messages. */
#include "observe.h"
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static char big[400000];

static struct sockaddr_un name_of(const char *path, socklen_t *length)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };

	strcpy(name.sun_path, path);
	*length = offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1;
	return name;
}

static int bind_to(int fd, const char *path)
{
	socklen_t length;
	struct sockaddr_un name = name_of(path, &length);

	return bind(fd, (struct sockaddr *)&name, length);
}

static int connect_to(int fd, const char *path)
{
	socklen_t length;
	struct sockaddr_un name = name_of(path, &length);

	return connect(fd, (struct sockaddr *)&name, length);
}

static int revents(int fd, int events)
{
	struct pollfd one = { fd, events, 0 };

	poll(&one, 1, 0);
	return one.revents;
}

static int listener(const char *path, int type, int backlog)
{
	int fd = MUST(socket(AF_UNIX, type, 0));

	MUST(bind_to(fd, path));
	MUST(listen(fd, backlog));
	return fd;
}

SECTION("socket and socketpair: arguments")
{
	int pair[2];

	ERR(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(socket(AF_UNIX, SOCK_STREAM, 1));
	ERR(socket(AF_UNIX, SOCK_STREAM, 77));
	ERR(socket(AF_UNIX, 77, 0));
	ERR(socket(999, SOCK_STREAM, 0));
	ERR(socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)8));
	ERR(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
	SHOW(fcntl(pair[0], F_GETFD));
	HEX(fcntl(pair[0], F_GETFL));
	int value = 0;
	socklen_t length = sizeof value;
	ERR(getsockopt(pair[0], SOL_SOCKET, SO_TYPE, &value, &length));
	SHOW(value);
	ERR(getsockopt(pair[0], SOL_SOCKET, SO_DOMAIN, &value, &length));
	SHOW(value);
	ERR(getsockopt(pair[0], SOL_SOCKET, SO_ACCEPTCONN, &value, &length));
	SHOW(value);
	ERR(getsockopt(pair[0], SOL_SOCKET, 9999, &value, &length));
	ERR(getsockopt(0, SOL_SOCKET, SO_TYPE, &value, &length));
	ERR(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &value, 1));
}

SECTION("stream pair: bytes, end of file, shutdown, EPIPE")
{
	int pair[2];
	char bytes[16] = "";

	signal(SIGPIPE, SIG_IGN);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	RET(write(pair[0], "hello", 5));
	RET(send(pair[0], " you", 4, 0));
	RET(recv(pair[1], bytes, 3, MSG_PEEK));
	TEXT(bytes);
	RET(read(pair[1], bytes, 15));
	TEXT(bytes);
	ERR(recv(pair[1], bytes, 15, MSG_DONTWAIT));
	ERR(shutdown(pair[0], SHUT_WR));
	RET(read(pair[1], bytes, 15));
	ERR(write(pair[0], "x", 1));
	RET(write(pair[1], "back", 4));
	RET(read(pair[0], bytes, 15));
	ERR(shutdown(pair[0], 7));
	HEX(revents(pair[1], POLLIN | POLLOUT | POLLRDHUP));
	close(pair[0]);
	HEX(revents(pair[1], POLLIN | POLLOUT | POLLRDHUP));
	ERR(write(pair[1], "x", 1));
	RET(read(pair[1], bytes, 1));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	MUST(write(pair[0], "unread", 6));
	MUST(write(pair[1], "other", 5));
	close(pair[1]);
	RET(read(pair[0], bytes, 15));
	RET(read(pair[0], bytes, 15));
	RET(read(pair[0], bytes, 15));
}

SECTION("stream: bind, listen, connect, accept, names of both ends")
{
	struct sockaddr_un name;
	socklen_t length = sizeof name;
	char bytes[8] = "";

	int server = listener("s", SOCK_STREAM, 5);
	int client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(connect_to(client, "s"));
	memset(&name, 0, sizeof name);
	int accepted = MUST(accept4(server, (struct sockaddr *)&name, &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
	SHOW(length);
	SHOW(fcntl(accepted, F_GETFD));
	length = sizeof name;
	ERR(getpeername(client, (struct sockaddr *)&name, &length));
	TEXT(name.sun_path);
	SHOW(length);
	length = sizeof name;
	ERR(getsockname(client, (struct sockaddr *)&name, &length));
	SHOW(length);
	length = sizeof name;
	ERR(getsockname(accepted, (struct sockaddr *)&name, &length));
	TEXT(name.sun_path);
	length = 4;
	ERR(getsockname(server, (struct sockaddr *)&name, &length));
	SHOW(length);
	RET(write(client, "hi", 2));
	RET(read(accepted, bytes, 7));
	TEXT(bytes);
	ERR(read(accepted, bytes, 7));
	ERR(connect_to(client, "s"));
	ERR(getpeername(server, (struct sockaddr *)&name, &length));
	struct stat st;
	MUST(stat("s", &st));
	SHOW(S_ISSOCK(st.st_mode));
}

SECTION("stream: what is received comes from the name that its sender has")
{
	struct sockaddr_un name = { AF_UNIX, "sender" }, from;
	struct iovec iov = { (char[8]){ 0 }, 8 };
	int pair[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	for (int round = 0; round < 3; round++) {
		struct msghdr message = { &from, round == 2 ? 5 : sizeof from, &iov, 1, NULL, 0, 0 };

		memset(&from, 0, sizeof from);
		MUST(write(pair[1], "x", 1));
		if (round == 1)
			MUST(bind(pair[1], (void *)&name, sizeof name));
		SHOW(recvmsg(pair[0], &message, round == 0 ? MSG_PEEK : 0));
		SHOW(message.msg_namelen);
		SHOW(from.sun_family);
		printf("  %s\n", from.sun_path);
	}
}

SECTION("stream: errors of bind, listen, connect, accept")
{
	int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), other = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	struct sockaddr_un name = { .sun_family = AF_UNIX };

	write_file("file", "");
	ERR(connect_to(fd, "nothing"));
	ERR(connect_to(fd, "file"));
	ERR(bind_to(fd, "file"));
	ERR(bind_to(fd, "no/where"));
	ERR(accept(fd, NULL, NULL));
	ERR(listen(fd, 5));
	ERR(bind_to(fd, "s"));
	ERR(bind_to(fd, "t"));
	ERR(bind_to(other, "s"));
	ERR(connect_to(other, "s"));
	ERR(accept(fd, NULL, NULL));
	ERR(listen(fd, 0));
	ERR(connect(other, (struct sockaddr *)&name, 1));
	name.sun_family = AF_INET;
	ERR(connect(other, (struct sockaddr *)&name, sizeof name));
	ERR(bind(other, (struct sockaddr *)&name, sizeof name));
	ERR(write(other, "x", 1) < 0 && (errno == ENOTCONN || errno == EPIPE) ? -1 : 0);
	ERR(recv(other, big, 1, 0));
	ERR(connect_to(other, "s"));
	close(fd);
	int last = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(connect_to(last, "s"));
	int datagram = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	ERR(listen(datagram, 5));
	ERR(accept(datagram, NULL, NULL));
	unlink("s");
	listener("s", SOCK_STREAM, 1);
	ERR(connect_to(datagram, "s"));
	ERR(accept(0, NULL, NULL));
}

SECTION("stream: the backlog fills, a non-blocking connect says EAGAIN")
{
	int server = listener("s", SOCK_STREAM, 1), connected = 0;

	for (int i = 0; i < 5; i++) {
		int fd = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
		if (connect_to(fd, "s") < 0)
			break;
		connected++;
	}
	SHOW(connected);
	TEXT(error_name(errno));
	HEX(revents(server, POLLIN));
	MUST(accept(server, NULL, NULL));
	MUST(accept(server, NULL, NULL));
	MUST(fcntl(server, F_SETFL, O_NONBLOCK));
	ERR(accept(server, NULL, NULL));
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(50);
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		connect_to(fd, "s");
		_exit(0);
	}
	MUST(fcntl(server, F_SETFL, 0));
	ERR(accept(server, NULL, NULL));
	end_of(pid);
}

SECTION("abstract names and autobind")
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t length = offsetof(struct sockaddr_un, sun_path) + 20;
	int one = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), two = MUST(socket(AF_UNIX, SOCK_STREAM, 0));

	snprintf(name.sun_path + 1, 19, "caisson-%d", getpid());
	ERR(bind(one, (struct sockaddr *)&name, length));
	ERR(bind(two, (struct sockaddr *)&name, length));
	ERR(listen(one, 1));
	ERR(connect(two, (struct sockaddr *)&name, length - 1));
	ERR(connect(two, (struct sockaddr *)&name, length));
	close(one);
	one = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(bind(one, (struct sockaddr *)&name, length));
	int automatic = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	ERR(bind(automatic, (struct sockaddr *)&name, sizeof(sa_family_t)));
	length = sizeof name;
	MUST(getsockname(automatic, (struct sockaddr *)&name, &length));
	SHOW(length);
	SHOW(name.sun_path[0]);
}

SECTION("datagrams: boundaries, truncation, addresses")
{
	struct sockaddr_un name;
	socklen_t length = sizeof name;
	char bytes[16] = "";
	int server = MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), client = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));

	MUST(bind_to(server, "server"));
	MUST(bind_to(client, "client"));
	struct sockaddr_un to = name_of("server", &length);
	RET(sendto(client, "one", 3, 0, (struct sockaddr *)&to, length));
	RET(sendto(client, "", 0, 0, (struct sockaddr *)&to, length));
	RET(sendto(client, "a long one", 10, 0, (struct sockaddr *)&to, length));
	length = sizeof name;
	RET(recvfrom(server, bytes, 15, 0, (struct sockaddr *)&name, &length));
	TEXT(name.sun_path);
	RET(recv(server, bytes, 15, 0));
	RET(recv(server, bytes, 4, MSG_PEEK));
	RET(recv(server, bytes, 4, MSG_TRUNC));
	ERR(recv(server, bytes, 4, MSG_DONTWAIT));
	ERR(send(client, "x", 1, 0));
	ERR(connect_to(client, "server"));
	RET(send(client, "x", 1, 0));
	RET(send(client, big, 300000, 0));
	int other = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	ERR(connect_to(server, "client"));
	length = sizeof to;
	to = name_of("server", &length);
	ERR(sendto(other, "x", 1, 0, (struct sockaddr *)&to, length));
	close(server);
	ERR(send(client, "x", 1, 0));
	ERR(connect_to(client, "server"));
	struct sockaddr unspecified = { .sa_family = AF_UNSPEC };
	ERR(connect(client, &unspecified, sizeof unspecified));
}

SECTION("datagrams: a full queue blocks or says EAGAIN")
{
	int pair[2], sent = 0;
	char bytes[16];

	MUST(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair));
	while (send(pair[0], "x", 1, 0) == 1)
		sent++;
	TEXT(error_name(errno));
	SHOW(sent > 5);
	HEX(revents(pair[0], POLLOUT));
	MUST(recv(pair[1], bytes, 1, 0));
	while (recv(pair[1], bytes, 1, 0) == 1)
		;
	HEX(revents(pair[0], POLLOUT));
	close(pair[1]);
	ERR(send(pair[0], "x", 1, 0));
}

SECTION("sequenced packets: connected, with boundaries")
{
	int pair[2];
	char bytes[16] = "";

	signal(SIGPIPE, SIG_IGN);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	RET(write(pair[0], "first", 5));
	RET(write(pair[0], "second", 6));
	RET(read(pair[1], bytes, 3));
	memset(bytes, 0, sizeof bytes);
	RET(read(pair[1], bytes, 15));
	TEXT(bytes);
	close(pair[0]);
	RET(read(pair[1], bytes, 15));
	ERR(write(pair[1], "x", 1));
	int server = listener("s", SOCK_SEQPACKET, 5), client = MUST(socket(AF_UNIX, SOCK_SEQPACKET, 0));
	ERR(connect_to(client, "s"));
	int accepted = MUST(accept(server, NULL, NULL));
	RET(send(client, "packet", 6, 0));
	struct iovec vector = { bytes, 3 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	RET(recvmsg(accepted, &message, 0));
	HEX(message.msg_flags);
}

/* Sends one byte and the descriptors. */
static ssize_t send_fds(int socket, const int *fds, int count)
{
	char byte = 'f', control[CMSG_SPACE(sizeof(int) * 300)] = { 0 };
	struct iovec vector = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int) * count),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
	return sendmsg(socket, &message, 0);
}

/* Receives up to `room` descriptors; says how many came and the message's flags. */
static int receive_fds(int socket, int *fds, int room, int flags)
{
	char bytes[8], control[CMSG_SPACE(sizeof(int) * 300)];
	struct iovec vector = { bytes, sizeof bytes };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = room ? control : NULL,
		.msg_controllen = room ? CMSG_LEN(sizeof(int) * room) : 0,
	};
	ssize_t got = recvmsg(socket, &message, flags);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int count = 0;

	if (header && header->cmsg_type == SCM_RIGHTS) {
		count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(header), sizeof(int) * count);
	}
	say("got %zd bytes, %d descriptors, flags %#x\n", got, count, message.msg_flags);
	return count;
}

SECTION("SCM_RIGHTS: descriptors arrive as duplicates")
{
	int pair[2], fds[3], got[3];
	char bytes[8] = "";

	write_file("f", "0123456789");
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	fds[0] = MUST(open("f", O_RDONLY));
	fds[1] = pair[0];
	MUST(lseek(fds[0], 4, SEEK_SET));
	RET(send_fds(pair[0], fds, 2));
	receive_fds(pair[1], got, 3, MSG_CMSG_CLOEXEC);
	SHOW(got[0] != fds[0]);
	SHOW(fcntl(got[0], F_GETFD));
	RET(read(got[0], bytes, 3));
	TEXT(bytes);
	RET(lseek(fds[0], 0, SEEK_CUR));
	RET(write(got[1], "x", 1));
	RET(read(pair[1], bytes, 1));
	fds[0] = 99;
	ERR(send_fds(pair[0], fds, 1));
}

SECTION("SCM_RIGHTS: too little room, none at all, peeked, dropped")
{
	int pair[2], fds[3], got[3], pipes[2];
	char byte;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	MUST(pipe(pipes));
	fds[0] = fds[1] = fds[2] = pipes[1];
	MUST(send_fds(pair[0], fds, 3));
	receive_fds(pair[1], got, 1, 0);
	MUST(send_fds(pair[0], fds, 1));
	receive_fds(pair[1], got, 0, 0);
	MUST(send_fds(pair[0], fds, 1));
	receive_fds(pair[1], got, 1, MSG_PEEK);
	receive_fds(pair[1], got, 1, 0);
	MUST(send_fds(pair[0], fds, 1));
	RET(read(pair[1], &byte, 1));
	MUST(send_fds(pair[0], fds, 1));
	close(pipes[1]);
	close(pair[0]);
	close(pair[1]);
	for (int fd = 3; fd < 40; fd++)
		if (fd != pipes[0])
			close(fd);
	RET(read(pipes[0], &byte, 1));
}

SECTION("SCM_RIGHTS: a read ends behind a byte with descriptors; 253 at most")
{
	int pair[2], fds[300], got[3];

	for (int i = 0; i < 300; i++)
		fds[i] = 0;
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	MUST(write(pair[0], "a", 1));
	MUST(send_fds(pair[0], fds, 1));
	MUST(write(pair[0], "b", 1));
	receive_fds(pair[1], got, 1, 0);
	receive_fds(pair[1], got, 1, 0);
	RET(send_fds(pair[0], fds, 253));
	ERR(send_fds(pair[0], fds, 254));
	/* A socket sent over itself and closed. */
	fds[0] = pair[0];
	fds[1] = pair[1];
	RET(send_fds(pair[0], fds, 2));
}

SECTION("credentials: SO_PEERCRED, SO_PASSCRED, SCM_CREDENTIALS")
{
	int pair[2], on = 1;
	struct ucred peer;
	socklen_t length = sizeof peer;
	char byte, control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec vector = { &byte, 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ERR(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &length));
	SHOW(peer.pid == getpid() && peer.uid == geteuid() && peer.gid == getegid());
	ERR(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	pid_t pid = fork();
	if (pid == 0) {
		write(pair[0], "x", 1);
		_exit(0);
	}
	end_of(pid);
	RET(recvmsg(pair[1], &message, 0));
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	SHOW(header && header->cmsg_type == SCM_CREDENTIALS);
	if (header) {
		memcpy(&peer, CMSG_DATA(header), sizeof peer);
		SHOW(peer.pid == pid && peer.uid == getuid());
	}
	message.msg_controllen = sizeof control;
	header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_CREDENTIALS;
	header->cmsg_len = CMSG_LEN(sizeof peer);
	peer = (struct ucred){ .pid = 1, .uid = 4242, .gid = 0 };
	memcpy(CMSG_DATA(header), &peer, sizeof peer);
	if (geteuid() == 0)
		MUST(setresuid(1000, 1000, 1000));
	ERR(sendmsg(pair[0], &message, 0));
	peer = (struct ucred){ .pid = getpid(), .uid = getuid(), .gid = getgid() };
	memcpy(CMSG_DATA(header), &peer, sizeof peer);
	ERR(sendmsg(pair[0], &message, 0));
}

SECTION("blocking streams: large transfers, MSG_WAITALL, time limits, SO_SNDBUF")
{
	int pair[2], value = 0;
	long total = 0;
	ssize_t got;
	socklen_t length = sizeof value;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		_exit(write(pair[1], big, sizeof big) == sizeof big ? 1 : 2);
	}
	close(pair[1]);
	await_state(pid, 'S');
	RET(recv(pair[0], big, 100000, MSG_WAITALL));
	while ((got = read(pair[0], big, 5000)) > 0)
		total += got;
	SHOW(total);
	STATUS(end_of(pid));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	struct timeval limit = { 0, 30000 };
	ERR(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	long start = now_ms();
	ERR(recv(pair[0], big, 1, 0));
	SHOW(now_ms() - start >= 30);
	value = 10000;
	ERR(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &value, sizeof value));
	ERR(getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &value, &length));
	SHOW(value);
	MUST(write(pair[1], "12345", 5));
	ERR(ioctl(pair[0], FIONREAD, &value));
	SHOW(value);
	ERR(recv(pair[0], big, 1, MSG_OOB) < 0 ? -1 : 0);
}

SECTION("sendmmsg and recvmmsg; gather and scatter")
{
	int pair[2];
	char one[8] = "", two[8] = "";
	struct iovec out[2] = { { "ab", 2 }, { "cd", 2 } }, in[2] = { { one, 7 }, { two, 7 } };
	struct mmsghdr messages[2] = {
		{ .msg_hdr = { .msg_iov = &out[0], .msg_iovlen = 2 } }, { .msg_hdr = { .msg_iov = &out[1], .msg_iovlen = 1 } },
	};

	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	RET(sendmmsg(pair[0], messages, 2, 0));
	SHOW(messages[0].msg_len);
	memset(messages, 0, sizeof messages);
	messages[0].msg_hdr = (struct msghdr){ .msg_iov = &in[0], .msg_iovlen = 1 };
	messages[1].msg_hdr = (struct msghdr){ .msg_iov = &in[1], .msg_iovlen = 1 };
	RET(recvmmsg(pair[1], messages, 2, MSG_DONTWAIT, NULL));
	TEXT(one);
	TEXT(two);
	ERR(recvmmsg(pair[1], messages, 2, MSG_DONTWAIT, NULL));
	struct msghdr message = { .msg_iov = out, .msg_iovlen = 2000 };
	ERR(sendmsg(pair[0], &message, 0));
}
