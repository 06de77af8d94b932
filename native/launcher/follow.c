/*
 * Interfaces that come and go while a container runs, as with `docker network connect`. Whoever takes the container's network
 * from the host's kernel (src/oci/follow-network.ts) hands us a netlink socket of the container's network namespace, which
 * becomes readable when something changes there. What that is we don't look at:
 *
 *     readable → `caisson follow-network CONTROL`, which waits until nothing happens any more → the next socket
 *
 * The socket comes over the name by which the launcher claims the namespace; nobody outside of it can connect to that.
 */
#include "launcher.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Somebody who connects says at once what he wants. */
enum { PATIENCE_MS = 1000 };
/* A sentry that ends takes its interfaces with it: that it has ended is known before so much time has passed. */
enum { SETTLE_MS = 100 };

void follow_init(struct follow *follow, int claim, const struct order *order, struct parts *parts)
{
	*follow = (struct follow){ .claim = claim, .events = -1, .order = order, .parts = parts };
}

static void note_change(struct follow *follow)
{
	if (!follow->changed)
		follow->due = now_ms() + SETTLE_MS;
	follow->changed = true;
}

/* Takes the next socket from who has taken the network, who says 'changed' where he has seen a change already. */
static void accept_events(struct follow *follow)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char word[64] = "";
	struct iovec iov = { .iov_base = word, .iov_len = sizeof word - 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof control };
	static const char answer[] = "{\"done\":true}\n";
	int connection = accept_trusted(follow->claim);
	struct pollfd polled = { .fd = connection, .events = POLLIN };

	if (connection < 0)
		return;
	if (poll(&polled, 1, PATIENCE_MS) == 1 && recvmsg(connection, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) > 0
		&& CMSG_FIRSTHDR(&message) && control.header.cmsg_type == SCM_RIGHTS) {
		if (follow->events >= 0)
			close(follow->events);
		memcpy(&follow->events, CMSG_DATA(&control.header), sizeof follow->events);
		follow->changed = false;
		if (strcmp(word, "changed\n") == 0)
			note_change(follow);
		send(connection, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	close(connection);
}

/* What was missed (ENOBUFS) is a change as well. */
static void drain_events(struct follow *follow)
{
	char ignored[1];

	while (recv(follow->events, ignored, sizeof ignored, MSG_DONTWAIT | MSG_TRUNC) >= 0 || errno == ENOBUFS)
		;
	note_change(follow);
}

/* To the tops of the hierarchies, as the runtime's memory is not the container's. Where that can't be, it is the first to die. */
static void leave_cgroups(const struct order *order)
{
	char path[PATH_MAX], procs[PATH_MAX + sizeof "/cgroup.procs"], top[sizeof procs];

	for (int i = 0; i < order->cgroup_count; i++) {
		char *slash;
		snprintf(path, sizeof path, "%s", order->cgroups[i]);
		top[0] = '\0';
		while ((slash = strrchr(path, '/'))) {
			*slash = '\0';
			snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
			if (access(procs, F_OK) < 0)
				break;
			strcpy(top, procs);
		}
		if (top[0] != '\0')
			write_file(top, "0");
	}
	write_file("/proc/self/oom_score_adj", "1000");
}

static void start_worker(struct follow *follow)
{
	char *arguments[] = { "caisson", "follow-network", (char *)follow->order->control, NULL };
	sigset_t none;
	pid_t pid = fork();

	/* Where none can be made, with the next change. */
	follow->changed = false;
	follow->worker = pid < 0 ? 0 : pid;
	if (pid != 0)
		return;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	leave_cgroups(follow->order);
	run_node(follow->parts, 3, arguments, empty_environment());
}

int follow_timeout(const struct follow *follow)
{
	if (!follow->changed || follow->worker != 0)
		return -1;
	int64_t left = follow->due - now_ms();
	return left > 0 ? left : 0;
}

void follow_ended(struct follow *follow)
{
	if (follow->worker > 0 && waitpid(follow->worker, NULL, WNOHANG) == follow->worker)
		follow->worker = 0;
}

void follow_changes(struct follow *follow, bool claimed, bool happened)
{
	if (claimed)
		accept_events(follow);
	else if (happened)
		drain_events(follow);
	if (follow_timeout(follow) == 0)
		start_worker(follow);
}
