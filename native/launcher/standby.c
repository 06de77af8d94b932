/*
 * The runtime of `create` that stands by for `start`. Engines call the one right after the other, and starting node again
 * would be most of the time of the second, so the first one's process does both:
 *
 *   launcher of `create` ──fork── runtime (node) ── create ── stands by ── start ── ends
 *      │ waits                         └─ a byte: created ─┐     │ │
 *      └─ ends ────────────────────────────────────────────┘     │ │
 *                        launcher of `start` ── the command line ┘ └─ its exit status
 *
 * The runtime's side is src/cli/standby.ts. It is all for speed: where nobody stands by, node is started for `start`.
 */
#include "launcher.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char socket_name[] = "standby.sock";
/* As src/cli/standby.ts has it. */
enum { MAX_COMMAND_LINE = 8192 };

/* ",FD" for each descriptor that the caller has left open besides the standard ones: who stands by has to close them. */
static char *list_inherited(void)
{
	char *list = NULL;
	size_t size;
	FILE *text = open_memstream(&list, &size);
	DIR *directory = opendir("/proc/self/fd");

	if (!text || !directory)
		die("/proc/self/fd");
	for (struct dirent *entry; (entry = readdir(directory));) {
		int fd = atoi(entry->d_name);
		if (fd > STDERR_FILENO && fd != dirfd(directory))
			fprintf(text, ",%d", fd);
	}
	closedir(directory);
	fclose(text);
	return list;
}

/* It has done its work when it says so, and has failed when it ends without. */
static _Noreturn void await_runtime(pid_t runtime, int channel)
{
	char byte;
	int status;
	ssize_t length;

	do
		length = recv(channel, &byte, 1, 0);
	while (length < 0 && errno == EINTR);
	if (length == 1)
		exit(EXIT_SUCCESS);
	while (waitpid(runtime, &status, 0) < 0)
		if (errno != EINTR)
			die("the runtime");
	exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* Out of the way of those that the caller passes on to the container; 0 where there is none. */
static int raise_descriptor(int fd)
{
	int raised = fcntl(fd, F_DUPFD, LEAST_FD);
	close(fd);
	return raised < 0 ? 0 : raised;
}

char *fork_standby(int argc, char **argv)
{
	struct globals globals;
	int verb = find_verb(argc, argv, &globals), pair[2];
	pid_t launcher = getpid();
	char *inherited, *variable;

	if (geteuid() != 0 || verb == 0 || strcmp(argv[verb], "create") != 0)
		return NULL;
	inherited = list_inherited();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		die("socketpair");
	pid_t runtime = fork();
	if (runtime < 0)
		die("fork");
	if (runtime > 0) {
		close(pair[1]);
		await_runtime(runtime, pair[0]);
	}
	close(pair[0]);
	/* Until it stands by it goes with its launcher, as if it were the same process. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != launcher)
		exit(EXIT_INTERNAL);
	int channel = raise_descriptor(pair[1]);
	if (channel == 0)
		return NULL;
	if (asprintf(&variable, STANDBY_VARIABLE "%d%s", channel, inherited) < 0)
		die("environment");
	free(inherited);
	return variable;
}

/* Our directory, and the command line: each ends with a 0. Its length, 0 where it is too long. */
static size_t write_command_line(char *text, size_t room, int argc, char **argv)
{
	if (!getcwd(text, room))
		return 0;
	size_t at = strlen(text) + 1;
	for (int i = 1; i < argc; i++) {
		size_t length = strlen(argv[i]) + 1;
		if (length > room - at)
			return 0;
		memcpy(text + at, argv[i], length);
		at += length;
	}
	return at;
}

bool start_by_standby(const char *root, int verb, int argc, char **argv)
{
	char text[MAX_COMMAND_LINE];
	unsigned char status;

	if (argc != verb + 2 || !is_container_id(argv[verb + 1]))
		return false;
	size_t length = write_command_line(text, sizeof text, argc, argv);
	int directory = open_state(root, argv[verb + 1]);
	int fd = directory < 0 || length == 0 ? -1 : connect_in(directory, socket_name, SOCK_SEQPACKET);
	/* Standard error, for what it has to say. Whoever ends without an answer has not begun. */
	if (fd < 0 || !tell(fd, text, length, STDERR_FILENO))
		return false;
	while ((length = recv(fd, &status, 1, 0)) == (size_t)-1 && errno == EINTR)
		;
	if (length != 1)
		return false;
	exit(status);
}
