/*
 * The network namespace of a container. It is the launcher's own, since hooks and network plugins find it by the
 * container's pid (/proc/PID/ns/net).
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
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
 * A namespace's interfaces can be taken over by one sandbox. Who has it says so by a name that is there as long as it is; the
 * descriptor stays open until our end.
 */
static void claim_network(void)
{
	static const struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "\0caisson-network" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && bind(fd, (const struct sockaddr *)&name, sizeof name) == 0)
		return;
	if (errno != EADDRINUSE)
		die("claiming the network namespace");
	warn("another sandbox has the interfaces of this network namespace: its containers can share it in a pod, or with "
		"--network=host");
	exit(EXIT_INTERNAL);
}

/* What the sandbox needs of the container's namespace, which isn't the host's. */
static void prepare(const char *kind)
{
	if (strcmp(kind, "host") == 0)
		open_ports();
	else if (strcmp(kind, "sandbox") == 0)
		claim_network();
}

static bool is_own_namespace(int fd)
{
	struct stat own, other;
	return stat("/proc/self/ns/net", &own) == 0 && fstat(fd, &other) == 0 && own.st_dev == other.st_dev
		&& own.st_ino == other.st_ino;
}

static void join_network(const char *path, const char *kind)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	if (is_own_namespace(fd)) {
		close(fd);
		return;
	}
	if (setns(fd, CLONE_NEWNET) < 0) {
		warn("joining the network namespace %s: %s", path, strerror(errno));
		exit(EXIT_INTERNAL);
	}
	close(fd);
	prepare(kind);
}

void enter_network(const char *where, const char *kind)
{
	if (strcmp(where, "host") == 0)
		return;
	if (strcmp(where, "new") != 0) {
		join_network(where, kind);
		return;
	}
	if (unshare(CLONE_NEWNET) < 0)
		explain_refusal("a new network namespace", errno);
	raise_loopback();
	prepare(kind);
}
