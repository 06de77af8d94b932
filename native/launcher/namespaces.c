/*
 * The sandbox's namespaces. Ids keep their meaning: root maps all ids that it has to themselves, others map their own.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

long read_setting(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t length = read(fd, text, sizeof text - 1);
	close(fd);
	return length > 0 ? atol(text) : -1;
}

_Noreturn void explain_refusal(const char *what, int error)
{
	warn("%s: %s", what, strerror(error));
	if (read_setting("/proc/sys/user/max_user_namespaces") == 0)
		warn("the host allows no user namespaces; allow them with: sysctl -w user.max_user_namespaces=15000");
	else if (read_setting("/proc/sys/kernel/unprivileged_userns_clone") == 0)
		warn("the host allows user namespaces to root only; allow them with: "
			"sysctl -w kernel.unprivileged_userns_clone=1");
	else if (read_setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
		warn("AppArmor restricts user namespaces; allow them with: "
			"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
	else if (error == EPERM || error == EINVAL)
		warn("a container's seccomp profile, a chroot or the kernel's configuration (CONFIG_USER_NS) forbids "
			"namespaces here");
	else if (error == ENOSPC || error == EUSERS)
		warn("too many or too deeply nested namespaces: see /proc/sys/user/max_*_namespaces");
	exit(EXIT_INTERNAL);
}

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t done = write(fd, text, strlen(text));
	int error = errno;
	close(fd);
	errno = error;
	return done < 0 ? -1 : 0;
}

/* The map that gives each id of our own namespace to itself. */
static int identity_map(const char *own_map, char *text, size_t room)
{
	unsigned long first, outside, count;
	size_t at = 0;
	FILE *file = fopen(own_map, "re");
	if (!file)
		return -1;
	text[0] = '\0';
	while (fscanf(file, "%lu %lu %lu", &first, &outside, &count) == 3 && at < room)
		at += snprintf(text + at, room - at, "%lu %lu %lu\n", first, first, count);
	fclose(file);
	return 0;
}

static void write_map(pid_t child, const char *name, unsigned long own_id, bool all)
{
	char path[64], own_map[64], text[4096];
	snprintf(path, sizeof path, "/proc/%d/%s", child, name);
	snprintf(own_map, sizeof own_map, "/proc/self/%s", name);
	if (!all || identity_map(own_map, text, sizeof text) < 0)
		snprintf(text, sizeof text, "%lu %lu 1\n", own_id, own_id);
	if (write_file(path, text) == 0)
		return;
	int error = errno;
	kill(child, SIGKILL);
	explain_refusal(path, error);
}

void map_ids(pid_t child)
{
	bool root = geteuid() == 0;
	char path[64];
	if (!root) {
		/* The condition for mapping a group without privilege, user_namespaces(7). */
		snprintf(path, sizeof path, "/proc/%d/setgroups", child);
		write_file(path, "deny");
	}
	write_map(child, "uid_map", geteuid(), root);
	write_map(child, "gid_map", getegid(), root);
}

pid_t clone_sandbox(bool own_network)
{
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
			| (own_network ? CLONE_NEWNET : 0),
		.exit_signal = SIGCHLD,
	};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid < 0 && errno == ENOSYS)
		/* Container engines answer clone3 so, to be asked with the older call. */
		pid = syscall(SYS_clone, args.flags | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		explain_refusal("new namespaces", errno);
	return pid;
}
