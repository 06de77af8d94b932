/* Unix sockets: unix(7), socket(7), cmsg(3). */
#include "observe.h"
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/sockios.h>

static int events_of(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP | POLLPRI };

	poll(&p, 1, 0);
	return p.revents;
}

static socklen_t address(struct sockaddr_un *sun, const char *name)
{
	memset(sun, 0, sizeof *sun);
	sun->sun_family = AF_UNIX;
	if (name[0] == '@') {
		strcpy(sun->sun_path + 1, name + 1);
		return offsetof(struct sockaddr_un, sun_path) + strlen(name);
	}
	strcpy(sun->sun_path, name);
	return sizeof *sun;
}
static int bind_to(int fd, const char *name)
{
	struct sockaddr_un sun;
	socklen_t length = address(&sun, name);

	return bind(fd, (struct sockaddr *)&sun, length);
}
static int connect_to(int fd, const char *name)
{
	struct sockaddr_un sun;
	socklen_t length = address(&sun, name);

	return connect(fd, (struct sockaddr *)&sun, length);
}
static int send_to(int fd, const char *name, const char *text, size_t size)
{
	struct sockaddr_un sun;
	socklen_t length = address(&sun, name);

	return sendto(fd, text, size, MSG_DONTWAIT, (struct sockaddr *)&sun, length);
}
static void say_name(const char *what, int fd, bool peer)
{
	struct sockaddr_un sun;
	socklen_t length = sizeof sun;

	memset(&sun, 'x', sizeof sun);
	int status = peer ? getpeername(fd, (void *)&sun, &length) : getsockname(fd, (void *)&sun, &length);
	if (status < 0) {
		say("%s: %s\n", what, error_name(errno));
		return;
	}
	say("%s: length %d family %d", what, (int)length, sun.sun_family);
	if (length > 2)
		say(" first %d text %.*s", sun.sun_path[0], (int)length - 3, sun.sun_path + 1);
	say("\n");
}
static int option(int fd, int name)
{
	int value = -77;
	socklen_t length = sizeof value;

	if (getsockopt(fd, SOL_SOCKET, name, &value, &length) < 0)
		return -errno;
	return value;
}
static int set(int fd, int name, int value)
{
	return setsockopt(fd, SOL_SOCKET, name, &value, sizeof value);
}

SECTION("socket: arguments")
{
	int p[2];

	ERR(socket(-1, SOCK_STREAM, 0));
	ERR(socket(1000, SOCK_STREAM, 0));
	ERR(socket(AF_UNIX, 0, 0));
	ERR(socket(AF_UNIX, SOCK_RDM, 0));
	ERR(socket(AF_UNIX, 12, 0));
	ERR(socket(AF_UNIX, SOCK_STREAM | 0x100, 0));
	ERR(socket(AF_UNIX, SOCK_STREAM, 7));
	ERR(socket(AF_UNIX, SOCK_STREAM, 1));
	ERR(socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)8));
	int fd = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	HEX(fcntl(fd, F_GETFL));
	SHOW(fcntl(fd, F_GETFD));
	struct stat st;
	MUST(fstat(fd, &st));
	say("mode %o size %ld nlink %ld\n", st.st_mode, (long)st.st_size, (long)st.st_nlink);
	ERR(lseek(fd, 0, SEEK_SET));
	ERR(bind(0, NULL, 0));
	ERR(listen(99, 0));
	ERR(accept(fd, NULL, NULL));
	ERR(listen(fd, 1));
	MUST(socketpair(AF_UNIX, SOCK_RAW, 0, p));
	SHOW(option(p[0], SO_TYPE));
	SHOW(option(p[0], SO_DOMAIN));
	SHOW(option(p[0], SO_PROTOCOL));
	SHOW(option(p[0], SO_ACCEPTCONN));
	SHOW(option(p[0], SO_SNDBUF));
	SHOW(option(p[0], SO_RCVBUF));
	SHOW(option(p[0], SO_RCVLOWAT));
	SHOW(option(p[0], SO_SNDLOWAT));
	SHOW(option(p[0], SO_PEEK_OFF));
	SHOW(option(p[0], SO_ERROR));
	SHOW(option(p[0], SO_PRIORITY));
	SHOW(option(p[0], SO_REUSEADDR));
	SHOW(option(p[0], 9999));
	ERR(set(p[0], SO_REUSEADDR, 5));
	SHOW(option(p[0], SO_REUSEADDR));
	ERR(set(p[0], SO_SNDBUF, 1));
	SHOW(option(p[0], SO_SNDBUF));
	ERR(set(p[0], SO_SNDBUF, 100000));
	SHOW(option(p[0], SO_SNDBUF));
	ERR(set(p[0], SO_SNDBUF, 10000000));
	SHOW(option(p[0], SO_SNDBUF));
	ERR(set(p[0], SO_RCVBUF, 1));
	SHOW(option(p[0], SO_RCVBUF));
	ERR(set(p[0], SO_TYPE, 1));
	ERR(set(p[0], SO_REUSEPORT, 1));
	ERR(setsockopt(p[0], SOL_SOCKET, SO_REUSEADDR, &fd, 1));
	ERR(setsockopt(p[0], SOL_SOCKET, SO_REUSEADDR, (void *)8, 4));
	ERR(setsockopt(p[0], 6, 1, &fd, 4));
	ERR(getsockopt(p[0], 6, 1, &fd, &(socklen_t){ 4 }));
	struct timeval tv = { 1, 2000000 };
	ERR(setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	tv.tv_usec = 500000;
	ERR(setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	ERR(setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &tv, 8));
	memset(&tv, 0, sizeof tv);
	socklen_t length = sizeof tv;
	MUST(getsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &length));
	say("timeout %ld %ld\n", tv.tv_sec, tv.tv_usec);
}

SECTION("names: paths, abstract names, autobind")
{
	int a = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), b = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	struct sockaddr_un sun;

	say_name("unbound", a, false);
	say_name("peer", a, true);
	RET(bind_to(a, "s"));
	say_name("path", a, false);
	RET(bind_to(b, "s"));
	RET(bind_to(a, "t"));
	ERR(access("t", F_OK));
	struct stat st;
	MUST(stat("s", &st));
	say("mode %o\n", st.st_mode);
	RET(open("s", O_RDWR));
	RET(bind_to(b, "no/such"));
	RET(bind_to(b, "@abs"));
	say_name("abstract", b, false);
	int c = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), d = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	RET(bind_to(c, "@abs"));
	RET(bind_to(d, "@abs"));
	sun.sun_family = AF_UNIX;
	RET(bind(c, (void *)&sun, 2));
	socklen_t length = sizeof sun;
	MUST(getsockname(c, (void *)&sun, &length));
	say("autobind length %d\n", (int)length);
	RET(bind(c, (void *)&sun, 1));
	RET(bind(c, (void *)&sun, 200));
	sun.sun_family = AF_INET;
	RET(bind(c, (void *)&sun, 10));
	memset(sun.sun_path, 'y', sizeof sun.sun_path);
	sun.sun_family = AF_UNIX;
	RET(bind(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&sun, sizeof sun));
	close(b);
	RET(bind_to(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), "@abs"));
	char small[4];
	length = 3;
	RET(getsockname(a, (void *)small, &length));
	SHOW(length);
	length = -1;
	RET(getsockname(a, (void *)small, &length));
}

SECTION("connect: refusals")
{
	int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), c = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	int d = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));

	RET(connect_to(c, "none"));
	RET(connect_to(c, "@none"));
	write_file("plain", "");
	RET(connect_to(c, "plain"));
	MUST(bind_to(s, "s"));
	RET(connect_to(c, "s"));
	MUST(listen(s, 1));
	RET(connect_to(d, "s"));
	RET(connect_to(c, "s"));
	RET(connect_to(c, "s"));
	RET(connect_to(s, "s"));
	SHOW(option(s, SO_ACCEPTCONN));
	HEX(events_of(s));
	HEX(events_of(c));
	HEX(events_of(d));
	HEX(events_of(socket(AF_UNIX, SOCK_STREAM, 0)));
	HEX(events_of(socket(AF_UNIX, SOCK_SEQPACKET, 0)));
	say_name("client", c, false);
	say_name("client peer", c, true);
	struct sockaddr_un sun;
	socklen_t length = sizeof sun;
	int fd = MUST(accept4(s, (void *)&sun, &length, 0));
	SHOW(length);
	say_name("accepted", fd, false);
	say_name("accepted peer", fd, true);
	close(s);
	RET(connect_to(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), "s"));
}

SECTION("listen: the backlog")
{
	int s = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));

	RET(accept(s, NULL, NULL));
	MUST(bind_to(s, "@backlog"));
	RET(accept(s, NULL, NULL));
	MUST(listen(s, 2));
	RET(accept(s, NULL, NULL));
	for (int i = 0; i < 5; i++) {
		int c = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
		say("%d: %s\n", i, connect_to(c, "@backlog") == 0 ? "ok" : error_name(errno));
	}
	pid_t child = fork();
	if (child == 0) {
		int c = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
		_exit(connect_to(c, "@backlog") == 0 ? 0 : errno);
	}
	MUST(await_state(child, 'S'));
	int a = MUST(accept(s, NULL, NULL));
	STATUS(end_of(child));
	struct timeval tv = { 0, 20000 };
	int c = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
	RET(connect_to(c, "@backlog"));
	shutdown(s, SHUT_RD);
	RET(connect_to(c, "@backlog"));
	HEX(events_of(s));
}

SECTION("stream: data, peeking, waiting for all")
{
	int p[2];
	char buf[100] = "";

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	HEX(events_of(p[0]));
	RET(send(p[0], "hello", 5, 0));
	RET(send(p[0], " world", 6, 0));
	RET(send(p[0], "", 0, 0));
	HEX(events_of(p[1]));
	int n;
	MUST(ioctl(p[1], FIONREAD, &n));
	SHOW(n);
	RET(recv(p[1], buf, 3, MSG_PEEK));
	TEXT(buf);
	RET(recv(p[1], buf, 8, MSG_PEEK));
	TEXT(buf);
	RET(read(p[1], buf, 7));
	TEXT(buf);
	RET(recv(p[1], buf, 100, MSG_DONTWAIT));
	RET(recv(p[1], buf, 100, MSG_DONTWAIT));
	RET(recv(p[1], buf, 0, MSG_DONTWAIT));
	RET(read(p[1], buf, 0));
	pid_t child = fork();
	if (child == 0) {
		for (int i = 0; i < 5; i++) {
			write(p[0], "abcd", 4);
			sleep_ms(10);
		}
		_exit(0);
	}
	RET(recv(p[1], buf, 20, MSG_WAITALL));
	buf[20] = 0;
	TEXT(buf);
	STATUS(end_of(child));
	struct timeval tv = { 0, 20000 };
	MUST(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	RET(recv(p[1], buf, 20, 0));
	MUST(write(p[0], "abcd", 4));
	RET(recv(p[1], buf, 20, MSG_WAITALL));
	MUST(set(p[1], SO_RCVLOWAT, 3));
	MUST(write(p[0], "ab", 2));
	RET(recv(p[1], buf, 20, MSG_DONTWAIT));
	MUST(write(p[0], "ab", 2));
	RET(recv(p[1], buf, 20, 0));
	RET(send(p[0], "x", 1, MSG_OOB) == 1 || errno == EOPNOTSUPP);
	RET(sendto(p[0], "x", 1, 0, (void *)&(struct sockaddr_un){ AF_UNIX, "q" }, 5));
	ERR(set(p[1], SO_PEEK_OFF, 0));
	MUST(write(p[0], "0123456789", 10));
	memset(buf, 0, sizeof buf);
	RET(recv(p[1], buf, 3, MSG_PEEK));
	TEXT(buf);
	RET(recv(p[1], buf, 3, MSG_PEEK));
	TEXT(buf);
	SHOW(option(p[1], SO_PEEK_OFF));
	RET(recv(p[1], buf, 2, 0));
	SHOW(option(p[1], SO_PEEK_OFF));
}

SECTION("stream: how much fits")
{
	int p[2], total = 0, n;
	char *big = calloc(1, 1 << 20);

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p));
	RET(write(p[0], big, 1 << 20));
	HEX(events_of(p[0]));
	MUST(ioctl(p[0], SIOCOUTQ, &n));
	SHOW(n);
	RET(write(p[0], big, 1));
	RET(read(p[1], big, 1));
	RET(write(p[0], big, 1));
	RET(read(p[1], big, 36543));
	RET(write(p[0], big, 1));
	while (read(p[1], big, 1 << 20) > 0)
		;
	HEX(events_of(p[0]));
	while (write(p[0], "x", 1) == 1)
		total++;
	SHOW(total);
	while (read(p[1], big, 1 << 20) > 0)
		;
	for (int size = 1; size < 200000; size = size * 3 + 1) {
		MUST(write(p[0], big, size));
		MUST(ioctl(p[0], SIOCOUTQ, &n));
		say("%d: %d\n", size, n);
		MUST(read(p[1], big, 1 << 20));
	}
	pid_t child = fork();
	if (child == 0) {
		fcntl(p[0], F_SETFL, 0);
		close(p[1]);
		_exit(write(p[0], big, 1 << 20) == 1 << 20 ? 0 : 1);
	}
	close(p[0]);
	fcntl(p[1], F_SETFL, 0);
	long sum = 0;
	while ((n = read(p[1], big, 1 << 20)) > 0)
		sum += n;
	SHOW(sum);
	STATUS(end_of(child));
}

SECTION("stream: shutdown and close")
{
	int p[2];
	char c;

	signal(SIGPIPE, SIG_IGN);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	RET(shutdown(p[0], 7));
	RET(shutdown(p[0], SHUT_WR));
	HEX(events_of(p[0]));
	HEX(events_of(p[1]));
	RET(write(p[0], "x", 1));
	RET(read(p[1], &c, 1));
	RET(write(p[1], "x", 1));
	RET(read(p[0], &c, 1));
	RET(shutdown(p[0], SHUT_RD));
	HEX(events_of(p[0]));
	HEX(events_of(p[1]));
	RET(write(p[1], "x", 1));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	MUST(write(p[0], "x", 1));
	MUST(write(p[1], "y", 1));
	close(p[1]);
	HEX(events_of(p[0]));
	SHOW(option(p[0], SO_ERROR));
	RET(read(p[0], &c, 1));
	RET(read(p[0], &c, 1));
	RET(write(p[0], "x", 1));
	say_name("peer", p[0], true);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	MUST(write(p[0], "x", 1));
	close(p[1]);
	RET(write(p[0], "x", 1));
	RET(read(p[0], &c, 1));
	RET(read(p[0], &c, 1));
	int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	RET(read(fd, &c, 1));
	RET(write(fd, &c, 1));
	RET(shutdown(fd, SHUT_RDWR));
	RET(send(fd, &c, 1, MSG_NOSIGNAL));
	signal(SIGPIPE, SIG_DFL);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	close(p[1]);
	RET(send(p[0], "x", 1, MSG_NOSIGNAL));
	pid_t child = fork();
	if (child == 0) {
		write(p[0], "x", 1);
		_exit(0);
	}
	STATUS(end_of(child));
}

SECTION("datagram: borders, names, limits")
{
	int a = MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), b = MUST(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
	char buf[100] = "", *big = calloc(1, 1 << 20);
	struct sockaddr_un sun;
	socklen_t length = sizeof sun;

	RET(send(a, "x", 1, 0));
	RET(send_to(a, "@none", "x", 1));
	RET(send_to(a, "none", "x", 1));
	MUST(bind_to(b, "@b"));
	RET(send_to(a, "@b", "hello", 5));
	RET(send_to(a, "@b", "", 0));
	HEX(events_of(b));
	int n;
	MUST(ioctl(b, FIONREAD, &n));
	SHOW(n);
	RET(recvfrom(b, buf, 3, MSG_TRUNC, (void *)&sun, &length));
	SHOW(length);
	RET(recv(b, buf, 3, 0));
	RET(recv(b, buf, 3, 0));
	MUST(bind_to(a, "@a"));
	RET(send_to(a, "@b", "again", 5));
	length = sizeof sun;
	RET(recvfrom(b, buf, 100, MSG_PEEK, (void *)&sun, &length));
	SHOW(length);
	RET(recv(b, buf, 100, 0));
	int sent = 0;
	while (send_to(a, "@b", "x", 1) == 1)
		sent++;
	SHOW(sent);
	SHOW(errno == EAGAIN);
	HEX(events_of(a));
	RET(connect_to(a, "@b"));
	HEX(events_of(a));
	RET(recv(b, buf, 1, 0));
	HEX(events_of(a));
	RET(send(a, big, 212992 - 32, 0));
	RET(send(a, big, 212992 - 31, 0));
	RET(connect_to(b, "@a"));
	int c = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	RET(connect_to(c, "@b"));
	RET(send_to(c, "@b", "x", 1));
	RET(send_to(c, "@a", "x", 1));
	close(b);
	HEX(events_of(a));
	RET(send(a, "x", 1, 0));
	RET(send(a, "x", 1, 0));
	RET(connect_to(a, "@b"));
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	RET(connect(a, &unspec, sizeof unspec));
	say_name("peer", a, true);
	RET(listen(a, 1));
	RET(accept(a, NULL, NULL));
	RET(shutdown(a, SHUT_RD));
	RET(recv(a, buf, 1, MSG_DONTWAIT));
	RET(recv(a, buf, 1, 0));
	RET(recv(a, buf, 1, MSG_DONTWAIT));
	RET(shutdown(a, SHUT_WR));
	HEX(events_of(a));
	RET(send_to(a, "@a", "x", 1));
	int p[2];
	MUST(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p));
	sent = 0;
	while (write(p[0], "x", 1) == 1)
		sent++;
	SHOW(sent);
	close(p[1]);
	RET(write(p[0], "x", 1));
	HEX(events_of(p[0]));
}

SECTION("datagram: a peer that turns away")
{
	int a = MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), b = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	char c;

	MUST(bind_to(a, "@a"));
	MUST(bind_to(b, "@b"));
	MUST(connect_to(a, "@b"));
	MUST(connect_to(b, "@a"));
	MUST(send(a, "x", 1, 0));
	int d = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	MUST(bind_to(d, "@d"));
	RET(connect_to(b, "@d"));
	HEX(events_of(a));
	HEX(events_of(b));
	SHOW(option(a, SO_ERROR));
	RET(send(a, "x", 1, 0));
	RET(recv(b, &c, 1, MSG_DONTWAIT));
}

SECTION("seqpacket")
{
	int p[2];
	char buf[10] = "";

	signal(SIGPIPE, SIG_DFL);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p));
	MUST(write(p[0], "one", 3));
	MUST(write(p[0], "two", 3));
	MUST(write(p[0], "", 0));
	struct iovec iov = { buf, 2 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	RET(recvmsg(p[1], &m, 0));
	HEX(m.msg_flags);
	iov.iov_len = 10;
	RET(recvmsg(p[1], &m, 0));
	HEX(m.msg_flags);
	RET(recv(p[1], buf, 10, MSG_DONTWAIT));
	RET(recv(p[1], buf, 10, MSG_DONTWAIT));
	RET(send_to(p[0], "@nobody", "x", 1));
	HEX(events_of(p[1]));
	close(p[0]);
	HEX(events_of(p[1]));
	RET(recv(p[1], buf, 10, MSG_DONTWAIT));
	RET(recv(p[1], buf, 10, 0));
	RET(write(p[1], "x", 1));
	RET(write(p[1], "x", 1));
	int fd = MUST(socket(AF_UNIX, SOCK_SEQPACKET, 0));
	RET(recv(fd, buf, 10, 0));
	RET(send(fd, buf, 10, 0));
}

static long send_fds(int fd, const char *text, size_t size, int *fds, int count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 300)];
	} control;
	struct iovec iov = { (char *)text, size };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = CMSG_SPACE(sizeof(int) * count) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
	return sendmsg(fd, &m, MSG_DONTWAIT);
}

static int received[300];

static void receive_fds(int fd, size_t room, size_t control_room, int flags)
{
	char buf[100];
	union {
		struct cmsghdr align;
		char bytes[2000];
	} control;
	struct iovec iov = { buf, room };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = control_room };
	long n = recvmsg(fd, &m, flags | MSG_DONTWAIT);

	if (n < 0) {
		say("recvmsg: %s\n", error_name(errno));
		return;
	}
	say("recvmsg: %ld flags %#x controllen %d\n", n, m.msg_flags, (int)m.msg_controllen);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		int count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		say("  level %d type %d len %d", c->cmsg_level, c->cmsg_type, (int)c->cmsg_len);
		memcpy(received, CMSG_DATA(c), count * sizeof(int));
		if (c->cmsg_type == SCM_RIGHTS)
			for (int i = 0; i < count; i++)
				say(" fd %s", fcntl(received[i], F_GETFD) == FD_CLOEXEC ? "cloexec" : "plain");
		if (c->cmsg_type == SCM_CREDENTIALS)
			say(" pid %d uid %d", received[0] == getpid(), received[1]);
		say("\n");
	}
}

SECTION("rights")
{
	int p[2], q[2], many[300];
	char c;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	MUST(pipe(q));
	RET(send_fds(p[0], "ab", 2, q, 2));
	RET(send_fds(p[0], "cd", 2, q, 1));
	RET(send(p[0], "ef", 2, 0));
	receive_fds(p[1], 100, 1000, MSG_PEEK);
	receive_fds(p[1], 1, 1000, 0);
	MUST(write(received[1], "x", 1));
	RET(read(q[0], &c, 1));
	receive_fds(p[1], 100, 1000, MSG_CMSG_CLOEXEC);
	receive_fds(p[1], 100, 1000, 0);
	RET(send_fds(p[0], "ab", 2, q, 2));
	receive_fds(p[1], 100, CMSG_LEN(sizeof(int)), 0);
	RET(send_fds(p[0], "ab", 2, q, 2));
	receive_fds(p[1], 100, 8, 0);
	RET(send_fds(p[0], "ab", 2, q, 1));
	receive_fds(p[1], 100, 0, 0);
	RET(send_fds(p[0], "ab", 2, q, 1));
	RET(read(p[1], &c, 1));
	RET(read(p[1], &c, 1));
	many[0] = 99;
	RET(send_fds(p[0], "ab", 2, many, 1));
	for (int i = 0; i < 300; i++)
		many[i] = q[0];
	RET(send_fds(p[0], "ab", 2, many, 254));
	RET(send_fds(p[0], "ab", 2, many, 253));
	receive_fds(p[1], 100, 2000, 0);
	MUST(close(p[1]));
	/* A pipe's end that is only in a message lives, and goes with the socket. */
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	MUST(pipe(q));
	RET(send_fds(p[0], "", 0, q + 1, 1));
	close(q[1]);
	fcntl(q[0], F_SETFL, O_NONBLOCK);
	RET(read(q[0], &c, 1));
	close(p[0]);
	close(p[1]);
	RET(read(q[0], &c, 1));
}

SECTION("credentials")
{
	int p[2];
	struct ucred u;
	socklen_t length = sizeof u;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	MUST(getsockopt(p[0], SOL_SOCKET, SO_PEERCRED, &u, &length));
	say("pid %d uid %d gid %d length %d\n", u.pid == getpid(), u.uid == getuid(), u.gid == getgid(), length);
	int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &length));
	say("pid %d uid %d gid %d\n", u.pid, (int)u.uid, (int)u.gid);
	length = 0;
	RET(getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length));
	MUST(write(p[0], "a", 1));
	MUST(set(p[1], SO_PASSCRED, 1));
	MUST(write(p[0], "b", 1));
	receive_fds(p[1], 100, 1000, 0);
	receive_fds(p[1], 100, 1000, 0);
	MUST(write(p[0], "c", 1));
	receive_fds(p[1], 100, 20, 0);
	MUST(write(p[0], "c", 1));
	receive_fds(p[1], 100, 0, 0);
	pid_t child = fork();
	if (child == 0) {
		write(p[0], "d", 1);
		_exit(0);
	}
	end_of(child);
	MUST(write(p[0], "e", 1));
	receive_fds(p[1], 100, 1000, 0);
	receive_fds(p[1], 100, 1000, 0);
}

SECTION("sendmmsg and recvmmsg")
{
	int p[2];
	char buf[3][10];
	struct iovec out[3] = { { "a", 1 }, { "bb", 2 }, { "ccc", 3 } }, in[3];
	struct mmsghdr m[3] = { 0 };

	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	for (int i = 0; i < 3; i++) {
		m[i].msg_hdr.msg_iov = out + i;
		m[i].msg_hdr.msg_iovlen = 1;
	}
	RET(sendmmsg(p[0], m, 3, 0));
	SHOW(m[2].msg_len);
	for (int i = 0; i < 3; i++) {
		in[i] = (struct iovec){ buf[i], 10 };
		m[i].msg_hdr.msg_iov = in + i;
	}
	RET(recvmmsg(p[1], m, 2, 0, NULL));
	SHOW(m[1].msg_len);
	RET(recvmmsg(p[1], m, 3, MSG_WAITFORONE, NULL));
	RET(recvmmsg(p[1], m, 3, MSG_DONTWAIT, NULL));
	RET(sendmmsg(p[0], (void *)8, 1, 0));
	RET(sendmsg(p[0], (void *)8, 0));
	struct msghdr h = { .msg_iov = out, .msg_iovlen = 2000 };
	RET(sendmsg(p[0], &h, 0));
	RET(recvmsg(p[1], &h, MSG_DONTWAIT));
}

SECTION("interrupted")
{
	int p[2];
	char c;
	struct itimerval it = { .it_value = { 0, 30000 } };

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	handle(SIGALRM, ignore, 0);
	setitimer(ITIMER_REAL, &it, NULL);
	RET(recv(p[0], &c, 1, 0));
	char *big = calloc(1, 1 << 20);
	setitimer(ITIMER_REAL, &it, NULL);
	RET(send(p[0], big, 1 << 20, 0));
	setitimer(ITIMER_REAL, &it, NULL);
	RET(send(p[0], big, 1 << 20, 0));
	handle(SIGALRM, ignore, SA_RESTART);
	struct timeval tv = { 1, 0 };
	MUST(setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	setitimer(ITIMER_REAL, &it, NULL);
	RET(recv(p[0], &c, 1, 0));
}
