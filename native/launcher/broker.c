/*
 * The broker: a process beside the sentry of `caisson do --network=user`, in the caller's network namespace, that makes
 * sockets for it. The sentry, whose own network namespace is empty, asks over a socket pair with one message for each:
 *
 *     sentry ── request ──► broker: socket(), connect() or bind()
 *            ◄── answer, with the socket as descriptor
 *
 * Until it is sealed, the sentry, in which no guest code has run yet, says what may be connected to, and has the sockets
 * made that listen. BROKER_SEAL ends that: capabilities go, and a seccomp filter leaves connections and nothing else. What
 * the rules refuse is refused from then on also to a sentry that was taken over. src/platform/linux-broker.ts is the other
 * side.
 *
 * The broker ends with the sentry, whose end of the pair closes, and with the launcher, its parent.
 */
#include "launcher.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BROKER_CONNECT = 1, BROKER_LISTEN, BROKER_RULE, BROKER_SEAL };
#ifdef __x86_64__
#define OWN_ARCH AUDIT_ARCH_X86_64
#else
#define OWN_ARCH AUDIT_ARCH_AARCH64
#endif

enum { MAX_RULES = 1024, BACKLOG = 1024 };

struct request {
	uint32_t id;
	uint8_t kind;
	/* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP (of either family, echoes only); of a rule also 0, all. */
	uint8_t protocol;
	/* Of a rule: the last one. */
	uint16_t port;
	/* IPv6, or an IPv4 address mapped into it. */
	uint8_t address[16];
	/* Of a rule: */
	uint16_t first_port;
	uint8_t prefix_length;
	uint8_t allows;
};
_Static_assert(sizeof(struct request) == 28, "src/platform/linux-broker.ts writes it");

struct answer {
	uint32_t id;
	/* 0, or a negative errno. */
	int32_t status;
};

struct rule {
	uint8_t protocol, prefix_length, allows;
	uint16_t first_port, last_port;
	uint8_t address[16];
};

static struct rule rules[MAX_RULES];
static int rule_count;
static bool sealed;

static bool in_prefix(const uint8_t *address, const uint8_t *prefix, int length)
{
	int bytes = length / 8, bits = length % 8;

	if (memcmp(address, prefix, bytes) != 0)
		return false;
	return bits == 0 || ((address[bytes] ^ prefix[bytes]) & (0xff00 >> bits) & 0xff) == 0;
}

/* The first rule that matches decides; what none speaks of is allowed. */
static bool is_allowed(const struct request *request)
{
	for (int i = 0; i < rule_count; i++) {
		const struct rule *rule = &rules[i];
		if (rule->protocol != 0 && rule->protocol != request->protocol)
			continue;
		if (request->protocol != IPPROTO_ICMP
			&& (request->port < rule->first_port || request->port > rule->last_port))
			continue;
		if (in_prefix(request->address, rule->address, rule->prefix_length))
			return rule->allows;
	}
	return true;
}

static int add_rule(const struct request *request)
{
	if (rule_count == MAX_RULES || request->prefix_length > 128)
		return -EINVAL;
	struct rule *rule = &rules[rule_count++];
	rule->protocol = request->protocol;
	rule->prefix_length = request->prefix_length;
	rule->allows = request->allows;
	rule->first_port = request->first_port;
	rule->last_port = request->port;
	memcpy(rule->address, request->address, sizeof rule->address);
	return 0;
}

static bool is_v4(const struct request *request)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	return memcmp(request->address, mapped, sizeof mapped) == 0;
}

static socklen_t make_address(const struct request *request, struct sockaddr_storage *into)
{
	memset(into, 0, sizeof *into);
	if (is_v4(request)) {
		struct sockaddr_in *address = (struct sockaddr_in *)into;
		address->sin_family = AF_INET;
		address->sin_port = htons(request->port);
		memcpy(&address->sin_addr, request->address + 12, 4);
		return sizeof *address;
	}
	struct sockaddr_in6 *address = (struct sockaddr_in6 *)into;
	address->sin6_family = AF_INET6;
	address->sin6_port = htons(request->port);
	memcpy(&address->sin6_addr, request->address, 16);
	return sizeof *address;
}

/* The socket, or a negative errno. */
static int make_socket(const struct request *request)
{
	int family = is_v4(request) ? AF_INET : AF_INET6;
	int type = request->protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
	int protocol = request->protocol;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_ICMP)
		return -EPROTONOSUPPORT;
	if (protocol == IPPROTO_ICMP && family == AF_INET6)
		protocol = IPPROTO_ICMPV6;
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	return fd < 0 ? -errno : fd;
}

/* What failed, with the socket closed. */
static int give_up(int fd)
{
	int error = errno;
	close(fd);
	return -error;
}

static int open_connection(const struct request *request)
{
	static const int on = 1;
	struct sockaddr_storage address;
	socklen_t length = make_address(request, &address);

	if (!is_allowed(request))
		return -EACCES;
	int fd = make_socket(request);
	if (fd < 0)
		return fd;
	/* What the guest holds back, its own stack holds back. */
	if (request->protocol == IPPROTO_TCP)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(fd, (struct sockaddr *)&address, length) < 0 && errno != EINPROGRESS)
		return give_up(fd);
	return fd;
}

/* On the IPv6 wildcard address it listens for IPv4 too. */
static int open_listener(const struct request *request)
{
	static const int on = 1;
	struct sockaddr_storage address;
	socklen_t length = make_address(request, &address);
	int only_v6 = !IN6_IS_ADDR_UNSPECIFIED((const struct in6_addr *)request->address);
	bool tcp = request->protocol == IPPROTO_TCP;

	int fd = make_socket(request);
	if (fd < 0)
		return fd;
	if (!is_v4(request))
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof only_v6);
	if (tcp) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	} else if (is_v4(request)) {
		/* Answers are to come from the address that was asked. */
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
	} else {
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
	}
	if (bind(fd, (struct sockaddr *)&address, length) < 0 || (tcp && listen(fd, BACKLOG) < 0))
		return give_up(fd);
	return fd;
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
	struct __user_cap_data_struct none[2] = { 0 };
	if (syscall(SYS_capset, &header, none) < 0)
		_exit(EXIT_INTERNAL);
}

#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void close_filter(void)
{
	static struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(recvmsg),
		ALLOW(sendmsg),
		ALLOW(connect),
		ALLOW(setsockopt),
		ALLOW(close),
		ALLOW(exit_group),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { .len = sizeof filter / sizeof filter[0], .filter = filter };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(EXIT_INTERNAL);
}

static int serve(const struct request *request)
{
	if (request->kind == BROKER_CONNECT)
		return open_connection(request);
	if (sealed)
		return -EPERM;
	switch (request->kind) {
	case BROKER_LISTEN:
		return open_listener(request);
	case BROKER_RULE:
		return add_rule(request);
	case BROKER_SEAL:
		drop_capabilities();
		close_filter();
		sealed = true;
		return 0;
	}
	return -EINVAL;
}

static void answer(int channel, const struct request *request, int result)
{
	struct answer answer = { .id = request->id, .status = result < 0 ? result : 0 };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = &answer, .iov_len = sizeof answer };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	bool has_socket = result >= 0 && (request->kind == BROKER_CONNECT || request->kind == BROKER_LISTEN);

	if (has_socket) {
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &result, sizeof result);
	}
	if (sendmsg(channel, &message, MSG_NOSIGNAL) < 0 && errno != EINTR)
		_exit(0);
	if (has_socket)
		close(result);
}

static _Noreturn void run(int channel)
{
	for (;;) {
		struct request request;
		struct iovec iov = { .iov_base = &request, .iov_len = sizeof request };
		/* Without room for control messages: descriptors are dropped by the kernel. */
		struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t length = recvmsg(channel, &message, 0);

		if (length < 0 && errno == EINTR)
			continue;
		if (length != sizeof request)
			_exit(0);
		answer(channel, &request, serve(&request));
	}
}

int start_broker(void)
{
	int pair[2];
	pid_t launcher = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid > 0) {
		close(pair[1]);
		return pair[0];
	}
	/* The terminal's signals are for the launcher. */
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != launcher)
		_exit(0);
	prctl(PR_SET_NAME, "caisson-broker", 0, 0, 0);
	/* The terminal or pipe of the caller must not stay open with us, nor his directory be busy. */
	if (dup2(pair[1], 0) < 0 || syscall(SYS_close_range, 1, ~0u, 0) < 0 || chdir("/") < 0)
		_exit(EXIT_INTERNAL);
	run(0);
}
