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

/* In front of the verb, those that are for the runtime alone; src/cli/globals.test.ts compares. */
static const char *const valued_flags[] = { "--root", "--log", "--log-format", "--log-level", "--debug-log" };
static const char *const bare_flags[] = { "--debug", "--systemd-cgroup", "--strace" };

static bool is_one_of(const char *word, size_t length, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(words[i]) == length && memcmp(words[i], word, length) == 0)
			return true;
	return false;
}
#define IS_ONE_OF(word, length, words) is_one_of(word, length, words, sizeof words / sizeof words[0])

/* Whether the command makes a container; where that can't be seen at once, no. */
static bool makes_container(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		size_t length = strcspn(argv[i], "=");
		bool attached = argv[i][length] == '=';
		if (argv[i][0] != '-')
			return strcmp(argv[i], "create") == 0 || strcmp(argv[i], "run") == 0;
		if (IS_ONE_OF(argv[i], length, valued_flags))
			i += !attached;
		else if (attached || !IS_ONE_OF(argv[i], length, bare_flags))
			return false;
	}
	return false;
}

/* The network namespace that the sandbox would have: 'new', or a path, as a shim is told by `start`; NULL for no sandbox. */
static const char *wanted_network(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "shim") == 0) {
		for (int i = 2; i + 1 < argc; i++)
			if (strcmp(argv[i], "-spare") == 0)
				return argv[i + 1];
		return NULL;
	}
	return makes_container(argc, argv) ? "new" : NULL;
}

/* The runtime's end is above the descriptors that a caller may want to pass on to the container. */
enum { LEAST_FD = 512 };

char *start_spare(struct parts *parts, int argc, char **argv)
{
	const char *network = geteuid() == 0 ? wanted_network(argc, argv) : NULL;
	int pair[2];
	char *variable;

	if (!network || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
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
		run_spare(parts, network);
	}
	close(pair[1]);
	if (pid < 0 || asprintf(&variable, "%s%d:%d:%s", SPARE_VARIABLE, ours, pid, network) < 0) {
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
