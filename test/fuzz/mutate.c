/*
 * A library for LD_PRELOAD: whatever a program says to the kernel over a netlink socket, or by setsockopt(2) with more than
 * a few bytes, is said many times before with mistakes in it, over a socket of our own. So all that real programs know of
 * the kernel's structures is what the mistakes begin with.
 *
 * MUTATE_SEED: where the numbers begin.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define COPIES 30
#define MAX_LENGTH 65536
#define MIN_OPTION 16

static uint64_t state;

static uint64_t next(void)
{
	if (state == 0) {
		const char *seed = getenv("MUTATE_SEED");

		state = (seed ? strtoull(seed, NULL, 0) : 1) * 104729 | 1;
		for (int i = 0; i < 20; i++)
			next();
	}
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t below(uint64_t limit)
{
	return (next() >> 11) % limit;
}

static uint32_t number(void)
{
	static const uint32_t interesting[] = { 0, 1, 4, 8, 16, 64, 255, 256, 4096, 65535, 65536, INT32_MAX, 1u << 31, UINT32_MAX };

	switch (below(4)) {
	case 0:
		return interesting[below(sizeof interesting / sizeof interesting[0])];
	case 1:
		return 1u << below(32);
	case 2:
		return below(40);
	default:
		return next();
	}
}

/* Words, since that is what attributes are made of: their lengths and types, numbers in them, in either byte order. */
static size_t mutate(unsigned char *bytes, size_t length, size_t from)
{
	for (uint64_t count = 1 + below(3); count > 0 && length >= from + 8; count--) {
		size_t at = from + below(length - from - 4);
		uint32_t value = number();

		if (below(2))
			at &= ~3ul;
		switch (below(6)) {
		case 0:
			bytes[at] ^= 1 << below(8);
			break;
		case 1:
			value = __builtin_bswap32(value);
			memcpy(bytes + at, &value, 4);
			break;
		case 2: {
			/* A piece of itself somewhere else. */
			size_t source = from + below(length - from - 4), most = length - (source > at ? source : at);

			memmove(bytes + at, bytes + source, below(most) & ~3ul);
			break;
		}
		case 3:
			if (below(4) == 0)
				length = from + below(length - from);
			break;
		default:
			memcpy(bytes + at, &value, 1 << below(3));
		}
	}
	return length;
}

static int netlink_protocol(int fd)
{
	int domain = 0, protocol = 0;
	socklen_t length = sizeof domain;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) || domain != AF_NETLINK)
		return -1;
	length = sizeof protocol;
	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) ? -1 : protocol;
}

static void mutants(int fd, const unsigned char *message, size_t length)
{
	static unsigned char copy[MAX_LENGTH];
	int protocol = netlink_protocol(fd), own;

	if (protocol < 0 || length > sizeof copy)
		return;
	own = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (own < 0)
		return;
	for (int i = 0; i < COPIES; i++) {
		size_t changed, size = length;

		memcpy(copy, message, length);
		/* Mostly the message's own header stays right, or nothing is looked at. */
		changed = mutate(copy, size, below(8) ? sizeof(struct nlmsghdr) : 0);
		if (below(8))
			memcpy(copy, &(uint32_t){ changed < ((struct nlmsghdr *)message)->nlmsg_len ? changed :
							    ((struct nlmsghdr *)message)->nlmsg_len }, 4);
		syscall(SYS_sendto, own, copy, changed, MSG_DONTWAIT, NULL, 0);
		for (int answers = 0; answers < 50; answers++)
			if (syscall(SYS_recvfrom, own, copy, sizeof copy, MSG_DONTWAIT, NULL, NULL) < 0)
				break;
	}
	close(own);
}

ssize_t sendmsg(int fd, const struct msghdr *header, int flags)
{
	static unsigned char whole[MAX_LENGTH];
	size_t length = 0;

	for (size_t i = 0; i < header->msg_iovlen; i++) {
		const struct iovec *piece = &header->msg_iov[i];

		if (piece->iov_len > sizeof whole - length)
			break;
		memcpy(whole + length, piece->iov_base, piece->iov_len);
		length += piece->iov_len;
	}
	mutants(fd, whole, length);
	return syscall(SYS_sendmsg, fd, header, flags);
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *address, socklen_t size)
{
	mutants(fd, data, length);
	return syscall(SYS_sendto, fd, data, length, flags, address, size);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
	return sendto(fd, data, length, flags, NULL, 0);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
	static unsigned char copy[MAX_LENGTH];

	for (int i = 0; i < COPIES && length >= MIN_OPTION && length <= sizeof copy; i++) {
		memcpy(copy, value, length);
		syscall(SYS_setsockopt, fd, level, option, copy, mutate(copy, length, 0));
	}
	return syscall(SYS_setsockopt, fd, level, option, value, length);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *length)
{
	static unsigned char copy[MAX_LENGTH];

	for (int i = 0; i < COPIES && *length >= MIN_OPTION && *length <= sizeof copy; i++) {
		socklen_t changed;

		memcpy(copy, value, *length);
		changed = mutate(copy, *length, 0);
		syscall(SYS_getsockopt, fd, level, option, copy, &changed);
	}
	return syscall(SYS_getsockopt, fd, level, option, value, length);
}
