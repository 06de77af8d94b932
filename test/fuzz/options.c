/*
 * getsockopt(2), setsockopt(2), ioctl(2), fcntl(2), addresses and control messages with wrong contents, on descriptors
 * of every kind.
 */
#include "fuzz.h"
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/loop.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>

#define POOL (8 * PAGE)

static int fds[256];
static size_t count;
static unsigned char *pool;

static void keep(int fd)
{
	if (fd >= 0 && count < LENGTH(fds))
		fds[count++] = fd;
}

static void sockets(void)
{
	static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK };
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET };
	struct sockaddr_in local = { AF_INET, 0, { htonl(INADDR_LOOPBACK) }, { 0 } };
	socklen_t length = sizeof local;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), client, pair[2];

	for (size_t i = 0; i < LENGTH(families); i++)
		for (size_t j = 0; j < LENGTH(types); j++)
			for (int protocol = 0; protocol < (families[i] == AF_NETLINK ? 22 : 2); protocol++)
				keep(socket(families[i], types[j] | SOCK_NONBLOCK, protocol));
	keep(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_ICMP));
	keep(socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMPV6));
	keep(socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(3)));
	bind(listener, (struct sockaddr *)&local, length);
	listen(listener, 5);
	getsockname(listener, (struct sockaddr *)&local, &length);
	client = socket(AF_INET, SOCK_STREAM, 0);
	connect(client, (struct sockaddr *)&local, length);
	keep(listener);
	keep(client);
	keep(accept4(listener, NULL, NULL, SOCK_NONBLOCK));
	for (size_t i = 0; i < 4; i++)
		if (!socketpair(AF_UNIX, types[i] | SOCK_NONBLOCK, 0, pair)) {
			keep(pair[0]);
			keep(pair[1]);
		}
}

static void begin(uint64_t *state)
{
	static const char *const paths[] = {
		"/dev/ptmx", "/dev/net/tun", "/dev/loop-control", "/dev/loop0", "/dev/fuse", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
		"/dev/tty", "/dev/kmsg", "/dev/rtc0", "/dev/userfaultfd", "/dev/full", "/tmp", "/tmp/fuzz/options", "/proc/self/ns/net",
		"/proc/self/ns/user", "/proc/self/pagemap", "/proc/self/maps", "/proc/self", "/etc/passwd", "/", "/sys", "/dev/shm",
		"/sys/fs/cgroup", "/dev/mqueue",
	};
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_TASK_CLOCK };
	sigset_t set;
	int pair[2], master, slave;

	(void)state;
	pool = mmap(NULL, POOL + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(pool + POOL, PAGE);
	mkdir("/tmp/fuzz", 0777);
	close(open("/tmp/fuzz/options", O_CREAT | O_RDWR, 0644));
	truncate("/tmp/fuzz/options", 1 << 20);
	for (size_t i = 0; i < LENGTH(paths); i++) {
		int fd = open(paths[i], O_RDWR | O_NONBLOCK | O_NOCTTY);

		keep(fd < 0 ? open(paths[i], O_RDONLY | O_NONBLOCK) : fd);
	}
	master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	unlockpt(master);
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
	keep(master);
	keep(slave);
	sockets();
	sigfillset(&set);
	pipe2(pair, O_NONBLOCK);
	keep(pair[0]);
	keep(pair[1]);
	keep(epoll_create1(0));
	keep(eventfd(0, EFD_NONBLOCK));
	keep(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
	keep(signalfd(-1, &set, SFD_NONBLOCK));
	keep(inotify_init1(IN_NONBLOCK));
	keep(memfd_create("fuzz", MFD_ALLOW_SEALING));
	keep(syscall(SYS_userfaultfd, O_NONBLOCK));
	keep(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
	keep(syscall(SYS_pidfd_open, getpid(), 0));
	keep(syscall(SYS_fanotify_init, 0, O_RDONLY));
	keep(syscall(SYS_fsopen, "tmpfs", 0));
	keep(syscall(SYS_landlock_create_ruleset, &(uint64_t){ 1 }, 8, 0));
}

static void *place(uint64_t *state)
{
	if (one_in(state, 12))
		return (void *)number(state);
	/* At the end of what is mapped, and anywhere. */
	if (one_in(state, 4))
		return pool + POOL - below(state, 64);
	return pool + below(state, POOL / 8) * 8;
}

/* What many requests take: numbers, addresses of more memory, names of interfaces, descriptors. */
static void content(uint64_t *state, unsigned char *at)
{
	size_t length = at < pool || at >= pool + POOL ? 0 : pool + POOL - at;

	if (length > 512)
		length = 512;
	for (size_t i = 0; i + 8 <= length; i += 8) {
		uint64_t value = number(state);

		switch (below(state, 6)) {
		case 0:
			value = (uintptr_t)place(state);
			break;
		case 1:
			value = fds[below(state, count)];
			break;
		case 2:
			value = below(state, 20) | below(state, 20) << 32;
			break;
		case 3:
			value = one_in(state, 2) ? 0x6f6c : 0x307074; /* "lo", "tp0" */
			break;
		}
		memcpy(at + i, &value, 8);
	}
}

static void option(uint64_t *state, int fd)
{
	static const int levels[] = { SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6, IPPROTO_RAW, 255, SOL_PACKET, 270, 279, 58, 1 };
	int level = one_in(state, 20) ? (int)number(state) : levels[below(state, LENGTH(levels))];
	int name = one_in(state, 20) ? (int)number(state) : (int)below(state, 130);
	unsigned char *value = place(state);
	socklen_t length = one_in(state, 8) ? number(state) : below(state, 2) ? 4 : below(state, 300);

	content(state, value);
	if (one_in(state, 3)) {
		syscall(SYS_getsockopt, fd, level, name, value, &length);
		return;
	}
	/* A classic filter: some instructions. */
	if (level == SOL_SOCKET && (name == SO_ATTACH_FILTER || name == SO_ATTACH_REUSEPORT_CBPF)) {
		struct sock_fprog *program = (void *)pool;
		struct sock_filter *code = (void *)(pool + PAGE);

		program->len = 1 + below(state, 12);
		program->filter = code;
		for (int i = 0; i < program->len; i++)
			code[i] = (struct sock_filter){ below(state, 256), below(state, 4), below(state, 4), number(state) };
		code[program->len - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, number(state));
		value = pool;
		length = sizeof *program;
	}
	syscall(SYS_setsockopt, fd, level, name, value, length);
}

static void request(uint64_t *state, int fd)
{
	/* tty, files, sockets and interfaces, tun, loop, userfaultfd, perf, file systems, namespaces, fuse, pagemap, dm. */
	static const unsigned char groups[] = { 'T', 'T', 0x89, 0x8b, 'T', 'L', 0xaa, '$', 'f', 'X', 0xb7, 229, 'v', 0xfd, 0x12, 'p', 'R' };
	unsigned char group = groups[below(state, LENGTH(groups))];
	unsigned int number_in_group = one_in(state, 20) ? (unsigned int)number(state) : (unsigned int)below(state, 256);
	static const unsigned int sizes[] = { 0, 4, 8, 16, 24, 32, 40, 64, 72, 96, 128, 232 };
	unsigned int code = one_in(state, 3) ? group << 8 | number_in_group :
		(unsigned int)_IOC(below(state, 4), group, number_in_group, sizes[below(state, LENGTH(sizes))]);
	void *argument = one_in(state, 4) ? (void *)number(state) : place(state);

	content(state, argument);
	syscall(SYS_ioctl, fd, code, argument);
}

static void address(uint64_t *state, int fd)
{
	struct sockaddr_storage *at = (void *)(pool + below(state, POOL / PAGE) * PAGE);
	static const unsigned char families[] = { AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK };
	socklen_t length = one_in(state, 4) ? number(state) : 16 + below(state, 13);

	content(state, (unsigned char *)at);
	at->ss_family = one_in(state, 20) ? number(state) : families[below(state, LENGTH(families))];
	if (at->ss_family == AF_INET && one_in(state, 2))
		((struct sockaddr_in *)at)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	switch (below(state, 6)) {
	case 0:
		syscall(SYS_bind, fd, at, length);
		break;
	case 1:
		syscall(SYS_connect, fd, at, length);
		break;
	case 2:
		syscall(one_in(state, 2) ? SYS_getpeername : SYS_getsockname, fd, at, place(state));
		break;
	case 3:
		syscall(SYS_listen, fd, (int)number(state));
		keep(syscall(SYS_accept4, fd, at, place(state), SOCK_NONBLOCK));
		break;
	case 4:
		syscall(SYS_shutdown, fd, (int)below(state, 4));
		break;
	default:
		syscall(SYS_sendto, fd, place(state), one_in(state, 5) ? number(state) : below(state, 2000), (int)number(state) | MSG_DONTWAIT, at,
			length);
	}
}

static void message(uint64_t *state, int fd)
{
	struct msghdr *header = (void *)pool;
	struct iovec *vector = (void *)(pool + 256);
	struct cmsghdr *control = (void *)(pool + 1024);

	content(state, pool + 512);
	for (int i = 0; i < 4; i++)
		vector[i] = (struct iovec){ place(state), one_in(state, 5) ? number(state) : below(state, 1000) };
	content(state, (unsigned char *)control);
	control->cmsg_len = one_in(state, 3) ? number(state) : CMSG_LEN(below(state, 5) * 4);
	control->cmsg_level = one_in(state, 3) ? (int)number(state) : below(state, 2) ? SOL_SOCKET : (int)below(state, 60);
	control->cmsg_type = one_in(state, 6) ? (int)number(state) : (int)below(state, 40);
	if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS)
		for (int i = 0; i < 4; i++)
			((int *)CMSG_DATA(control))[i] = fds[below(state, count)];
	*header = (struct msghdr){ one_in(state, 3) ? place(state) : NULL, below(state, 200), vector, below(state, 5), control,
				   one_in(state, 4) ? number(state) : below(state, 128), 0 };
	if (one_in(state, 4))
		mutate(state, header, sizeof *header);
	syscall(one_in(state, 2) ? SYS_sendmsg : SYS_recvmsg, fd, header, (int)number(state) | MSG_DONTWAIT);
}

static void control(uint64_t *state, int fd)
{
	int command = one_in(state, 2) ? (int)below(state, 40) : 1024 + (int)below(state, 20);

	if (command != F_SETFL)
		syscall(SYS_fcntl, fd, command, one_in(state, 2) ? (uint64_t)(uintptr_t)place(state) : number(state));
}

static void transfer(uint64_t *state, int fd)
{
	void *at = place(state);
	size_t length = one_in(state, 10) ? number(state) : below(state, 3000);

	switch (below(state, 5)) {
	case 0:
		content(state, at);
		syscall(SYS_write, fd, at, length);
		break;
	case 1:
		syscall(SYS_pwrite64, fd, at, length, number(state));
		break;
	case 2:
		syscall(SYS_pread64, fd, at, length, number(state));
		break;
	case 3: {
		int other = fds[below(state, count)];

		syscall(one_in(state, 2) ? SYS_splice : SYS_sendfile, fd, one_in(state, 2) ? NULL : at, other, NULL, length, 3);
		break;
	}
	default:
		syscall(SYS_read, fd, at, length);
	}
}

static void step(uint64_t *state)
{
	int fd = fds[below(state, count)];

	switch (below(state, 8)) {
	case 0:
	case 1:
		option(state, fd);
		break;
	case 2:
	case 3:
		request(state, fd);
		break;
	case 4:
		address(state, fd);
		break;
	case 5:
		message(state, fd);
		break;
	case 6:
		control(state, fd);
		break;
	default:
		transfer(state, fd);
	}
	if (one_in(state, 100))
		syscall(SYS_mmap, NULL, PAGE * (1 + below(state, 64)), PROT_READ | PROT_WRITE, MAP_SHARED, fd, below(state, 4) * PAGE);
}

int main(int argc, char **argv)
{
	static const struct fuzzer fuzzer = { begin, step, NULL };

	return run_fuzzer(argc, argv, &fuzzer);
}
