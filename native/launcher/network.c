/*
 * The network namespace of a container. It is the launcher's own, since hooks and network plugins find it by the
 * container's pid (/proc/PID/ns/net).
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void raise_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		die("setting up the loopback interface");
	close(fd);
}

/*
 * The sentry has no capability over the namespace, but its guest's root may bind low ports and send echo requests: who
 * may is then the sentry's to decide. Where /proc/sys can't be written that is left to the host.
 */
static void open_ports(void)
{
	write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
	write_file("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
}

/*
 * A namespace's interfaces can be taken over by one sandbox. Who has it says so by a name that is there as long as it is,
 * and under which follow.c hears of changes.
 */
static const struct sockaddr_un claim_name = { .sun_family = AF_UNIX, .sun_path = "\0caisson-network" };
enum { CLAIM_SIZE = offsetof(struct sockaddr_un, sun_path) + sizeof "\0caisson-network" - 1 };

static int claim_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		die("claiming the network namespace");
	return fd;
}

static _Noreturn void explain_claim(void)
{
	warn("another sandbox has the interfaces of this network namespace: its containers can share it in a pod, with "
		"--network=container:NAME, or with the runtime's flag --network=host for all of them");
	exit(EXIT_INTERNAL);
}

static int claim_network(void)
{
	int fd = claim_socket();

	if (bind(fd, (const struct sockaddr *)&claim_name, CLAIM_SIZE) < 0) {
		if (errno == EADDRINUSE)
			explain_claim();
		die("claiming the network namespace");
	}
	if (listen(fd, 8) < 0)
		die("claiming the network namespace");
	return fd;
}

/* Sockets of the host's would find no addresses there. */
static void refuse_claimed(void)
{
	int fd = claim_socket();

	/* EAGAIN: there is one, whom many ask. */
	if (connect(fd, (const struct sockaddr *)&claim_name, CLAIM_SIZE) == 0 || errno == EAGAIN)
		explain_claim();
	close(fd);
}

/* What the sandbox needs of the container's namespace, which isn't the host's. */
static int prepare(const char *kind)
{
	if (strcmp(kind, "sandbox") == 0)
		return claim_network();
	if (strcmp(kind, "host") == 0) {
		refuse_claimed();
		open_ports();
	}
	return -1;
}

static bool is_own_namespace(int fd)
{
	struct stat own, other;
	return stat("/proc/self/ns/net", &own) == 0 && fstat(fd, &other) == 0 && own.st_dev == other.st_dev
		&& own.st_ino == other.st_ino;
}

static int join_network(const char *path, const char *kind)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	if (is_own_namespace(fd)) {
		close(fd);
		return -1;
	}
	if (setns(fd, CLONE_NEWNET) < 0) {
		warn("joining the network namespace %s: %s", path, strerror(errno));
		exit(EXIT_INTERNAL);
	}
	close(fd);
	return prepare(kind);
}

int enter_network(const char *where, const char *kind)
{
	if (strcmp(where, "host") == 0)
		return -1;
	if (strcmp(where, "new") != 0)
		return join_network(where, kind);
	if (unshare(CLONE_NEWNET) < 0)
		explain_refusal("a new network namespace", errno);
	raise_loopback();
	return prepare(kind);
}
