/*
 * `caisson sandbox`: the launcher of a sandbox for containers, started by src/sandbox/launch.ts. It stands for the first
 * container's init: its pid is the container's, its network namespace too, and its exit status.
 *
 *   --report-fd=N       a pipe: 'launched' when the namespaces are there, or what failed; the sentry goes on with it
 *   --control=PATH      the control socket to make
 *   --netns=WHERE       'host', 'new', or a path
 *   --network=KIND      'host': the sentry lives in that namespace; 'none': in one without anything
 *   --cgroup=DIR        to join, any number of them
 *   --oom-score-adj=N   of the guest's processes
 *
 * All other flags are the sentry's.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *value_of(const char *flag, const char *name)
{
	size_t length = strlen(name);
	return strncmp(flag, name, length) == 0 && flag[length] == '=' ? flag + length + 1 : NULL;
}

static void join_cgroup(const char *directory)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof path, "%s/cgroup.procs", directory) >= (int)sizeof path) {
		errno = ENAMETOOLONG;
		die(directory);
	}
	if (write_file(path, "0\n") < 0)
		die(path);
}

/*
 * Sentry and launcher are the last that the host's out-of-memory killer takes, since all guest processes end with them.
 * Who may not ask for that makes the guest's processes the first.
 */
enum { SHIELDED = -998, FIRST = 1000 };

static void shield(long *guests)
{
	char score[16];
	snprintf(score, sizeof score, "%d", SHIELDED);
	if (write_file("/proc/self/oom_score_adj", score) < 0)
		*guests = FIRST;
}

_Noreturn void run_container(struct parts *parts, int argc, char **argv)
{
	const char *control = NULL, *network_namespace = "host", *value;
	struct sentry_options options = {
		.own_network = true,
		.reports = true,
		.oom_score_adj = read_setting("/proc/self/oom_score_adj"),
		.argv = argv,
		.argc = 2,
	};
	struct watch watch = { .stops = false };

	for (int i = 2; i < argc; i++)
		if ((value = value_of(argv[i], "--report-fd")))
			report_fd = atoi(value);
	if (report_fd <= STDERR_FILENO || fcntl(report_fd, F_SETFD, FD_CLOEXEC) < 0) {
		report_fd = -1;
		warn("sandbox: started by the runtime alone; --report-fd is missing");
		exit(EXIT_INTERNAL);
	}
	for (int i = 2; i < argc; i++) {
		char *flag = argv[i];
		if (value_of(flag, "--report-fd"))
			continue;
		else if ((value = value_of(flag, "--control")))
			control = value;
		else if ((value = value_of(flag, "--netns")))
			network_namespace = value;
		else if ((value = value_of(flag, "--cgroup")))
			join_cgroup(value);
		else if ((value = value_of(flag, "--oom-score-adj")))
			options.oom_score_adj = atol(value);
		else {
			if (strcmp(flag, "--network=host") == 0)
				options.own_network = false;
			options.argv[options.argc++] = flag;
		}
	}
	options.argv[options.argc] = NULL;
	if (!control) {
		warn("sandbox: --control is missing");
		exit(EXIT_INTERNAL);
	}
	shield(&options.oom_score_adj);
	take_terminal();
	/* Before the network namespace: it is in the caller's file system, but its name is for those who look for it. */
	watch.control = open_control_socket(control);
	enter_network(network_namespace);
	options.environment = empty_environment();
	passable_signals(&watch.signals);
	watch.child = start_sentry(parts, &options, &watch.signals, &watch.channel);
	dprintf(report_fd, "launched\n");
	close(report_fd);
	report_fd = -1;
	watch_over(&watch);
}
