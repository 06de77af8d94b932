/*
 * `kill [--all] ID [SIGNAL]` of a container that has a sandbox to itself, by the signal's number: SIGKILL ends the launcher, and
 * with it the sandbox, which may hang; another signal is a request to the sentry. See Runtime.kill in src/oci/runtime.ts.
 */
#include "launcher.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As src/sandbox/control-client.ts has it. */
enum { ANSWER_MS = 10000 };
/* As runc's when a verb fails. */
enum { EXIT_REFUSED = 1 };
enum { MAX_SIGNAL = 64 };

struct kill_words {
	const char *id;
	int signal;
	bool all;
};

/* A number, or 0: node knows the names. */
static int signal_number(const char *word)
{
	char *end;
	long number = strtol(word, &end, 10);
	return word[0] >= '1' && word[0] <= '9' && *end == '\0' && number <= MAX_SIGNAL ? (int)number : 0;
}

static bool parse_words(int count, char **words, struct kill_words *kill)
{
	*kill = (struct kill_words){ .signal = SIGTERM };
	bool has_signal = false;

	for (int i = 0; i < count; i++) {
		if (strcmp(words[i], "--all") == 0 || strcmp(words[i], "-a") == 0) {
			kill->all = true;
		} else if (!kill->id && is_container_id(words[i])) {
			kill->id = words[i];
		} else if (kill->id && !has_signal && (kill->signal = signal_number(words[i]))) {
			has_signal = true;
		} else {
			return false;
		}
	}
	return kill->id;
}

/* Behind its descriptor a process stays the same, while its number may be another's at any moment. */
static bool kill_sandbox(const struct brief *brief)
{
	int pidfd = syscall(SYS_pidfd_open, brief->pid, 0);
	bool killed = pidfd >= 0 && is_standing(brief) && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0;

	if (pidfd >= 0)
		close(pidfd);
	return killed;
}

/* Where none comes it may still be obeyed: nobody must ask again, since some programs take a second signal for another. */
static _Noreturn void give_up(void)
{
	warn("the sandbox did not answer 'signal' within %d s", ANSWER_MS / 1000);
	exit(EXIT_REFUSED);
}

/* Whether the answer is that all is done. */
static bool receive_done(int fd)
{
	static const char done[] = "{\"done\":true}\n";
	char answer[sizeof done - 1];
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	int64_t end = now_ms() + ANSWER_MS, left;
	size_t length = 0;

	while (length < sizeof answer) {
		if ((left = end - now_ms()) <= 0)
			give_up();
		/* Nothing in time, or we were stopped meanwhile. */
		if (poll(&polled, 1, (int)left) <= 0)
			continue;
		ssize_t count = recv(fd, answer + length, sizeof answer - length, 0);
		if (count <= 0)
			return false;
		length += count;
	}
	return memcmp(answer, done, length) == 0;
}

static bool ask_sentry(int directory, const struct kill_words *kill)
{
	char request[MAX_CONTAINER_ID + 128];
	int fd = connect_in(directory, "control.sock", SOCK_STREAM);
	int length = snprintf(request, sizeof request,
		"{\"command\":\"signal\",\"container\":\"%s\",\"signo\":%d,\"all\":%s}\n", kill->id, kill->signal,
		kill->all ? "true" : "false");
	bool done = fd >= 0 && send(fd, request, length, MSG_NOSIGNAL) == length && receive_done(fd);

	if (fd >= 0)
		close(fd);
	return done;
}

bool kill_container(const char *root, int count, char **words)
{
	static struct brief brief;
	struct kill_words kill;

	if (!parse_words(count, words, &kill))
		return false;
	int directory = open_state(root, kill.id);
	if (directory < 0 || !read_brief(directory, &brief))
		return false;
	/* Nothing is left for `all` to reach: the others have ended with the first. */
	if (!is_standing(&brief))
		return kill.all;
	if (!is_thawed(&brief))
		return false;
	return kill.signal == SIGKILL ? kill_sandbox(&brief) : ask_sentry(directory, &kill);
}
