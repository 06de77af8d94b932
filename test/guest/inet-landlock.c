/* landlock(7): TCP ports. */
#include "observe.h"
#include <netinet/in.h>
#include <sys/socket.h>

#define BIND_TCP 1
#define CONNECT_TCP 2

struct ruleset {
	uint64_t fs, net, scoped;
};
struct port {
	uint64_t allowed, port;
};

static int listener(struct sockaddr_in *at)
{
	socklen_t length = sizeof *at;
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));

	*at = (struct sockaddr_in){ AF_INET, 0, { htonl(INADDR_LOOPBACK) }, { 0 } };
	MUST(bind(fd, (struct sockaddr *)at, sizeof *at));
	MUST(listen(fd, 5));
	MUST(getsockname(fd, (struct sockaddr *)at, &length));
	return fd;
}

static int try(int (*call)(int, const struct sockaddr *, socklen_t), int type, int port)
{
	struct sockaddr_in at = { AF_INET, port, { htonl(INADDR_LOOPBACK) }, { 0 } };
	int fd = MUST(socket(AF_INET, type, 0));
	int result = call(fd, (struct sockaddr *)&at, sizeof at);
	int saved = errno;

	close(fd);
	errno = saved;
	return result;
}

SECTION("landlock: ports to connect to and to bind")
{
	struct sockaddr_in open, closed;
	int a = listener(&open), b = listener(&closed);
	struct ruleset attr = { 0, BIND_TCP | CONNECT_TCP, 0 };
	int ruleset = MUST(syscall(444, &attr, sizeof attr, 0));
	struct port rule = { CONNECT_TCP, ntohs(open.sin_port) };

	MUST(syscall(445, ruleset, 2, &rule, 0));
	rule = (struct port){ BIND_TCP, 0 };
	MUST(syscall(445, ruleset, 2, &rule, 0));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(syscall(446, ruleset, 0));
	ERR(try(connect, SOCK_STREAM, open.sin_port));
	ERR(try(connect, SOCK_STREAM, closed.sin_port));
	ERR(try(connect, SOCK_DGRAM, closed.sin_port));
	ERR(try(bind, SOCK_STREAM, 0));
	ERR(try(bind, SOCK_STREAM, open.sin_port));
	ERR(try(bind, SOCK_DGRAM, 0));
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	ERR(listen(fd, 5));
	struct sockaddr none = { AF_UNSPEC, "" };
	fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(fd, (struct sockaddr *)&open, sizeof open));
	ERR(connect(fd, &none, sizeof none));
	close(a);
	close(b);
}
