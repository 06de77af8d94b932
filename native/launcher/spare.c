/*
 * Spare sandboxes. Node.js needs as long to start in the sentry as in the runtime that is going to order it, so the one
 * is not kept waiting for the other: before `create`, `run` or a shim begins, a launcher is forked that makes a network
 * namespace and starts a sentry for the container that will be, most likely, ordered.
 *
 *   launcher ──fork── spare ──clone── sentry, which starts and waits for its settings
 *      │ exec           │ waits on the socket: an order, or the end of the runtime
 *   runtime (node) ─────┘
 *
 * The order is what `caisson sandbox` has as flags, with descriptors of the log and the terminal (src/sandbox/spare.ts). The
 * sentry has not heard of anything by then. Until an order comes the runtime owes nothing: when it closes the socket,
 * or is killed, the spare ends, and where no spare can be made there is none, and the runtime launches its sandbox itself.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The network of a spare sandbox. */
struct network {
	/* "host" or "sandbox" */
	char kind[16];
	/* "new", or a path; NULL: no spare is wanted. */
	const char *where;
};

static void set_kind(struct network *network, const char *kind, size_t length)
{
	snprintf(network->kind, sizeof network->kind, "%.*s", (int)length, kind);
}

/* Whether the command makes a container; where that can't be seen at once, no. */
static bool makes_container(int argc, char **argv, struct network *network)
{
	struct globals globals;
	int verb = find_verb(argc, argv, &globals);

	if (globals.network)
		set_kind(network, globals.network, strlen(globals.network));
	return verb > 0 && (strcmp(argv[verb], "create") == 0 || strcmp(argv[verb], "run") == 0);
}

/* A shim is told KIND:WHERE by `start` (src/shim/start.ts). */
static void read_network(const char *text, struct network *network)
{
	size_t length = strcspn(text, ":");

	set_kind(network, text, length);
	if (text[length] == ':')
		network->where = text + length + 1;
}

/* The network that the sandbox would have. */
static struct network wanted_network(int argc, char **argv)
{
	/* As src/sandbox/options.ts has it. */
	struct network network = { .kind = "sandbox" };

	if (argc > 2 && strcmp(argv[1], "shim") == 0) {
		for (int i = 2; i + 1 < argc; i++)
			if (strcmp(argv[i], "-spare") == 0)
				read_network(argv[i + 1], &network);
	} else if (makes_container(argc, argv, &network)) {
		network.where = "new";
	}
	if (strcmp(network.kind, "host") != 0 && strcmp(network.kind, "sandbox") != 0)
		network.where = NULL;
	return network;
}

char *start_spare(struct parts *parts, int argc, char **argv)
{
	struct network network = wanted_network(argc, argv);
	int pair[2];
	char *variable;

	if (geteuid() != 0 || !network.where || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		return NULL;
	int ours = fcntl(pair[0], F_DUPFD, LEAST_FD);
	close(pair[0]);
	pid_t pid = ours < 0 ? -1 : fork();
	if (pid == 0) {
		int nothing = open("/dev/null", O_RDWR);
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		/* What the caller has left open is not for us to hold. */
		for (int fd = 0; fd <= STDERR_FILENO; fd++)
			dup2(nothing, fd);
		report_fd = dup2(pair[1], STDERR_FILENO + 1);
		if (report_fd < 0 || syscall(SYS_close_range, report_fd + 1, ~0u, 0) < 0)
			exit(EXIT_INTERNAL);
		fcntl(report_fd, F_SETFD, FD_CLOEXEC);
		run_spare(parts, network.kind, network.where);
	}
	close(pair[1]);
	if (pid < 0 || asprintf(&variable, "%s%d:%d:%s:%s", SPARE_VARIABLE, ours, pid, network.kind,
				network.where) < 0) {
		close(ours);
		return NULL;
	}
	return variable;
}

/* The descriptors of an order, the log and perhaps a terminal, to their places. */
static void place_descriptors(struct msghdr *message)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	size_t count = header ? (header->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
	int fds[2];

	if (count < 1 || count > 2) {
		warn("sandbox: an order without a log");
		exit(EXIT_INTERNAL);
	}
	memcpy(fds, CMSG_DATA(header), count * sizeof(int));
	dup2(fds[0], STDOUT_FILENO);
	dup2(fds[0], STDERR_FILENO);
	if (count == 2)
		dup2(fds[1], STDIN_FILENO);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

int receive_order(char *text, size_t room, char **flags, int most)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = text, .iov_len = room };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof control };
	ssize_t length;
	int count = 0;

	do
		length = recvmsg(report_fd, &message, MSG_CMSG_CLOEXEC);
	while (length < 0 && errno == EINTR);
	if (length <= 0)
		return 0;
	if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || text[length - 1] != '\0') {
		errno = EMSGSIZE;
		die("sandbox");
	}
	place_descriptors(&message);
	for (char *flag = text; flag < text + length; flag += strlen(flag) + 1) {
		if (count == most) {
			errno = E2BIG;
			die("sandbox");
		}
		flags[count++] = flag;
	}
	return count;
}
