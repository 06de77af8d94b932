/* What the programs about internet sockets share. Everything is on the loopback interface, with ports that the kernel chose. */
#ifndef INET_H
#define INET_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <sys/socket.h>

static char big[1 << 22] __attribute__((unused));

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int bind_loopback(int fd, int port)
{
	struct sockaddr_in address = loopback(port);
	return bind(fd, (struct sockaddr *)&address, sizeof address);
}

static int connect_loopback(int fd, int port)
{
	struct sockaddr_in address = loopback(port);
	return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static int port_of(int fd)
{
	struct sockaddr_in6 address;
	socklen_t length = sizeof address;
	MUST(getsockname(fd, (struct sockaddr *)&address, &length));
	return ntohs(address.sin6_port);
}

static int listener(int backlog)
{
	int fd = MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	MUST(bind_loopback(fd, 0));
	MUST(listen(fd, backlog));
	return fd;
}

/* A port that nobody listens on. */
static int closed_port(void)
{
	int fd = listener(1), port = port_of(fd);
	close(fd);
	return port;
}

/* Both ends of a TCP connection. */
static void connected(int pair[2])
{
	int fd = listener(1);
	pair[0] = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect_loopback(pair[0], port_of(fd)));
	pair[1] = MUST(accept(fd, NULL, NULL));
	close(fd);
}

static int datagram(void)
{
	int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(bind_loopback(fd, 0));
	return fd;
}

/* poll(2) that waits a while for any of the events that are asked for. */
static int revents_within(int fd, int events, int milliseconds)
{
	struct pollfd one = { fd, events, 0 };
	poll(&one, 1, milliseconds);
	return one.revents;
}

static int revents(int fd, int events)
{
	return revents_within(fd, events, 0);
}

enum { EVERYTHING = POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLWRNORM | POLLRDBAND };

static int int_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof value;
	return getsockopt(fd, level, name, &value, &length) < 0 ? -1 : value;
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value);
}

#endif
