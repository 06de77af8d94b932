/*
 * `caisson sandbox`: the launcher of a sandbox for containers, started by src/sandbox/launch.ts. It stands for the first
 * container's init: its pid is the container's, its network namespace too, and its exit status.
 *
 *   --report-fd=N       a pipe: 'launched' when the namespaces are there, or what failed; the sentry goes on with it
 *   --control=PATH      the control socket to make
 *   --netns=WHERE       'host', 'new', or a path
 *   --network=KIND      'host': the sentry lives in that namespace; 'sandbox' and 'none': in one without anything
 *   --cgroup=DIR        to join, any number of them
 *   --oom-score-adj=N   of the guest's processes
 *
 * All other flags are the sentry's, which gets them as a message when everything else is done. For a spare sandbox (spare.c)
 * the same flags come when the sentry has been started already.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *value_of(const char *flag, const char *name)
{
	size_t length = strlen(name);
	return strncmp(flag, name, length) == 0 && flag[length] == '=' ? flag + length + 1 : NULL;
}

/* Adds a flag to what the sentry is told, one a line. */
static void pass_on(struct order *order, const char *flag)
{
	size_t at = strlen(order->settings), room = sizeof order->settings - at;
	if (snprintf(order->settings + at, room, "%s\n", flag) >= (int)room) {
		errno = E2BIG;
		die("sandbox");
	}
}

/* `flags` stay where they are. */
static void read_order(struct order *order, int count, char **flags)
{
	const char *value;

	order->cgroups = calloc(count + 1, sizeof *order->cgroups);
	if (!order->cgroups)
		die("sandbox");
	for (int i = 0; i < count; i++) {
		char *flag = flags[i];
		if (value_of(flag, "--report-fd"))
			continue;
		else if ((value = value_of(flag, "--control")))
			order->control = value;
		else if ((value = value_of(flag, "--netns")))
			order->network_namespace = value;
		else if ((value = value_of(flag, "--network")))
			order->network = value;
		else if ((value = value_of(flag, "--cgroup")))
			order->cgroups[order->cgroup_count++] = value;
		else if ((value = value_of(flag, "--oom-score-adj")))
			order->oom_score_adj = atol(value);
		else
			pass_on(order, flag);
	}
	if (!order->control) {
		warn("sandbox: --control is missing");
		exit(EXIT_INTERNAL);
	}
}

/* `pid`: 0 for ourselves. */
static void join_cgroups(const struct order *order, pid_t pid)
{
	char path[PATH_MAX], text[16];

	snprintf(text, sizeof text, "%d\n", pid);
	for (int i = 0; i < order->cgroup_count; i++) {
		if (snprintf(path, sizeof path, "%s/cgroup.procs", order->cgroups[i]) >= (int)sizeof path) {
			errno = ENAMETOOLONG;
			die(order->cgroups[i]);
		}
		if (write_file(path, text) < 0)
			die(path);
	}
}

/*
 * Moves the processes below `pid` into the cgroups and gives them the guest's oom_score_adj. A process is moved before its
 * children are listed: those that it makes afterwards are born where they belong, and none is forked in between, since
 * the kernel lets nobody fork while it moves a process.
 */
static void move_children(const struct order *order, pid_t pid)
{
	char path[64], score[16];
	int child;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
	FILE *children = fopen(path, "re");
	if (!children)
		die(path);
	snprintf(score, sizeof score, "%ld", order->oom_score_adj);
	while (fscanf(children, "%d", &child) == 1) {
		join_cgroups(order, child);
		snprintf(path, sizeof path, "/proc/%d/oom_score_adj", child);
		if (write_file(path, score) < 0)
			die(path);
		move_children(order, child);
	}
	fclose(children);
}

/*
 * Sentry and launcher are the last that the host's out-of-memory killer takes, since all guest processes end with them.
 * Who may not ask for that makes the guest's processes the first.
 */
enum { SHIELDED = -998, FIRST = 1000 };

static bool shield(void)
{
	char score[16];
	snprintf(score, sizeof score, "%d", SHIELDED);
	return write_file("/proc/self/oom_score_adj", score) == 0;
}

static void start(struct parts *parts, const struct order *order, struct watch *watch)
{
	char kind[32];
	char *arguments[] = { "caisson", "sandbox", kind, NULL };
	struct sentry_options options = {
		.own_network = strcmp(order->network, "host") != 0,
		.reports = true,
		.broker = -1,
		.tap = -1,
		.oom_score_adj = order->oom_score_adj,
		.environment = empty_environment(),
		.argc = 3,
		.argv = arguments,
	};

	snprintf(kind, sizeof kind, "--network=%s", order->network);
	passable_signals(&watch->signals);
	watch->child = start_sentry(parts, &options, &watch->signals, &watch->channel);
}

/* The sentry, which waits for them, locks itself in and goes on. */
static void tell_settings(const struct order *order, const struct watch *watch)
{
	tell(watch->channel, order->settings, strlen(order->settings) + 1, STDERR_FILENO);
}

static _Noreturn void go_on(struct watch *watch)
{
	leave_directory();
	dprintf(report_fd, "launched\n");
	close(report_fd);
	report_fd = -1;
	watch_over(watch);
}

_Noreturn void run_container(struct parts *parts, int argc, char **argv)
{
	struct order order = {
		.network_namespace = "host",
		.network = "none",
		.oom_score_adj = read_setting("/proc/self/oom_score_adj"),
	};
	struct watch watch = { .stops = false };
	const char *value;

	for (int i = 2; i < argc; i++)
		if ((value = value_of(argv[i], "--report-fd")))
			report_fd = atoi(value);
	if (report_fd <= STDERR_FILENO || fcntl(report_fd, F_SETFD, FD_CLOEXEC) < 0) {
		report_fd = -1;
		warn("sandbox: started by the runtime alone; --report-fd is missing");
		exit(EXIT_INTERNAL);
	}
	read_order(&order, argc - 2, argv + 2);
	/* First, so that all that the sandbox takes counts as the container's. */
	join_cgroups(&order, 0);
	if (!shield())
		order.oom_score_adj = FIRST;
	take_terminal();
	/* Before the network namespace: it is in the caller's file system, but its name is for those who look for it. */
	watch.control = open_control_socket(order.control);
	follow_init(&watch.follow, enter_network(order.network_namespace, order.network), &order, parts);
	start(parts, &order, &watch);
	tell_settings(&order, &watch);
	go_on(&watch);
}

/* Kills the sentry and waits for its end, so that nothing is left when we are gone. */
static _Noreturn void give_up(const struct watch *watch)
{
	kill(watch->child, SIGKILL);
	waitpid(watch->child, NULL, 0);
	exit(0);
}

_Noreturn void run_spare(struct parts *parts, const char *network, const char *network_namespace)
{
	/* More than a command line of our own has. */
	static char text[1 << 16];
	char *flags[256];
	struct order order = { .network = network, .network_namespace = network_namespace };
	struct watch watch = { .stops = false };
	long own_score = read_setting("/proc/self/oom_score_adj");
	bool shielded = shield();

	follow_init(&watch.follow, enter_network(network_namespace, network), &order, parts);
	/* The zygote does not know the guest's score yet. */
	order.oom_score_adj = read_setting("/proc/self/oom_score_adj");
	start(parts, &order, &watch);
	int count = receive_order(text, sizeof text, flags, sizeof flags / sizeof flags[0]);
	if (count == 0)
		give_up(&watch);
	order.oom_score_adj = own_score;
	read_order(&order, count, flags);
	if (!shielded)
		order.oom_score_adj = FIRST;
	take_terminal();
	watch.control = open_control_socket(order.control);
	join_cgroups(&order, 0);
	join_cgroups(&order, watch.child);
	move_children(&order, watch.child);
	/* When all is done, since it looks at its CPUs then. */
	tell_settings(&order, &watch);
	go_on(&watch);
}
