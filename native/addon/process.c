/*
 * Host processes for src/sandbox/host-process.ts. Node.js's own way of starting one loads a third of Node.js first, sockets
 * and streams included, which takes as long as the rest of a container's creation on the host's side.
 */
#include "caisson.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_DESCRIPTORS = 256 };

struct start {
	char *path;
	char **argv;
	char **environment;
	int descriptors[MAX_DESCRIPTORS];
	int count;
	bool session;
	sigset_t signals;
	/* Written by the child, which shares our memory until it executes the program. */
	volatile int error;
};

static char *copy_string(napi_env env, napi_value value)
{
	size_t length = 0;
	napi_get_value_string_utf8(env, value, NULL, 0, &length);
	char *copy = malloc(length + 1);
	if (!copy)
		abort();
	napi_get_value_string_utf8(env, value, copy, length + 1, NULL);
	return copy;
}

/* An array of strings, ended by NULL; NULL for anything else. */
static char **copy_strings(napi_env env, napi_value value)
{
	bool is_array = false;
	uint32_t length = 0;
	napi_is_array(env, value, &is_array);
	if (!is_array)
		return NULL;
	napi_get_array_length(env, value, &length);
	char **copies = calloc(length + 1, sizeof *copies);
	if (!copies)
		abort();
	for (uint32_t i = 0; i < length; i++) {
		napi_value element;
		napi_get_element(env, value, i, &element);
		copies[i] = copy_string(env, element);
	}
	return copies;
}

static void free_strings(char **strings)
{
	for (char **at = strings; at && *at; at++)
		free(*at);
	free(strings);
}

/* 0, 1, … are what was asked for, and nothing else is open. */
static int arrange_descriptors(const struct start *start)
{
	int above[MAX_DESCRIPTORS];
	/* Out of the way first: each may have another's number. */
	for (int i = 0; i < start->count; i++) {
		int fd = start->descriptors[i] < 0 ? open("/dev/null", O_RDWR) : start->descriptors[i];
		above[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD, start->count);
		if (above[i] < 0)
			return -1;
	}
	for (int i = 0; i < start->count; i++)
		if (dup2(above[i], i) < 0)
			return -1;
	return syscall(SYS_close_range, start->count, ~0u, 0);
}

static _Noreturn void run_child(struct start *start)
{
	sigset_t none;

	if (start->session)
		setsid();
	/* A handler of ours must not run here, and an ignored signal is Node.js's own matter. */
	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (arrange_descriptors(start) == 0)
		execve(start->path, start->argv, start->environment ? start->environment : environ);
	start->error = errno;
	_exit(127);
}

/* startProcess(path, args, environment, descriptors, session): see src/platform/addon.ts. */
static napi_value process_start(napi_env env, napi_callback_info info)
{
	ARGUMENTS(5);
	struct start start = { .error = 0 };
	size_t length;
	sigset_t all;
	const int *descriptors = get_bytes(env, argv[3], &length);

	start.count = length / sizeof *descriptors;
	if (start.count > MAX_DESCRIPTORS)
		return make_number(env, -E2BIG);
	memcpy(start.descriptors, descriptors, length);
	napi_get_value_bool(env, argv[4], &start.session);
	start.path = copy_string(env, argv[0]);
	start.argv = copy_strings(env, argv[1]);
	start.environment = copy_strings(env, argv[2]);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &start.signals);
	pid_t pid = vfork();
	if (pid == 0)
		run_child(&start);
	int error = pid < 0 ? errno : start.error;
	sigprocmask(SIG_SETMASK, &start.signals, NULL);
	if (pid > 0 && error != 0)
		waitpid(pid, NULL, 0);
	free(start.path);
	free_strings(start.argv);
	free_strings(start.environment);
	return make_number(env, error != 0 ? -error : pid);
}

napi_value process_init(napi_env env, napi_value exports)
{
	static const struct caisson_call calls[] = {
		{ "startProcess", process_start },
	};
	caisson_export(env, exports, calls, sizeof calls / sizeof calls[0]);
	return exports;
}
