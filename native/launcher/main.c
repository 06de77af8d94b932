/*
 * Which verb needs what: most are plain runs of node, for some beside a spare sandbox; two make a sandbox around it, one is
 * all of its own, and three most often do without a node of theirs.
 */
#include "launcher.h"

#include <string.h>

/* What a terminal, a shell or a service manager sends to the command that it has started. */
static const int forwarded[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT };
enum { FORWARDED = sizeof forwarded / sizeof forwarded[0] };

/* The signals that go to the sentry, and SIGCHLD. What the caller had ignored (nohup) stays ignored. */
static void command_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (int i = 0; i < FORWARDED; i++) {
		struct sigaction action;
		sigaction(forwarded[i], NULL, &action);
		if (action.sa_handler != SIG_IGN)
			sigaddset(set, forwarded[i]);
	}
}

/*
 * The flags of `do` that take no value; src/cli/do.ts has them all, and src/cli/do.test.ts compares. The launcher must know
 * before node does what network the command is to have.
 */
static const char *const bare_flags[] = { "--init", "--strace", "--read-only", "--no-patch", "--host-loopback" };

static bool is_bare(const char *flag)
{
	for (size_t i = 0; i < sizeof bare_flags / sizeof bare_flags[0]; i++)
		if (strcmp(flag, bare_flags[i]) == 0)
			return true;
	return false;
}

/* The last --network counts, as with node. */
static const char *network_kind(int argc, char **argv)
{
	const char *kind = "none";

	for (int i = 2; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++) {
		if (strncmp(argv[i], "--network=", 10) == 0)
			kind = argv[i] + 10;
		else if (strcmp(argv[i], "--network") == 0 && i + 1 < argc)
			kind = argv[++i];
		else if (!strchr(argv[i], '=') && !is_bare(argv[i]))
			i++;
	}
	return kind;
}

/* `caisson do`: the sandbox of one command, whose process is in the caller's terminal and network's place. */
static _Noreturn void run_command(struct parts *parts, int argc, char **argv, char **environment)
{
	const char *network = network_kind(argc, argv);
	/* Where no device can be made, the network is that of those who have no right to one. */
	int tap = strcmp(network, "sandbox") == 0 ? open_tap() : -1;
	bool user = strcmp(network, "user") == 0 || (strcmp(network, "sandbox") == 0 && tap < 0);
	struct sentry_options options = {
		.own_network = strcmp(network, "host") != 0,
		.broker = user ? start_broker() : -1,
		.tap = tap,
		.oom_score_adj = read_setting("/proc/self/oom_score_adj"),
		.environment = node_environment(environment, (char *[2]){ launcher_variable() }),
		.argc = argc,
		.argv = argv,
	};
	struct watch watch = { .stops = true };

	follow_init(&watch.follow, -1, NULL, parts);
	command_signals(&watch.signals);
	watch.child = start_sentry(parts, &options, &watch.signals, &watch.channel);
	watch.control = open_abstract_socket();
	watch_over(&watch);
}

/* Starting node would be most of the time of these, and engines wait for each of them. */
static bool is_done_here(int argc, char **argv)
{
	struct globals globals;
	int verb = find_verb(argc, argv, &globals);

	if (verb == 0 || !globals.root)
		return false;
	if (strcmp(argv[verb], "kill") == 0)
		return kill_container(globals.root, argc - verb - 1, argv + verb + 1);
	if (strcmp(argv[verb], "start") == 0)
		return start_by_standby(globals.root, verb, argc, argv);
	return strcmp(argv[verb], "delete") == 0
		&& delete_container(globals.root, argc - verb - 1, argv + verb + 1);
}

int main(int argc, char **argv, char **environment)
{
	struct parts parts;
	const char *verb = argc > 1 ? argv[1] : "";

	if (strcmp(verb, "attach") == 0)
		run_attached(argc, argv);
	if (is_done_here(argc, argv))
		return 0;
	find_parts(&parts);
	if (strcmp(verb, "do") == 0)
		run_command(&parts, argc, argv, environment);
	if (strcmp(verb, "sandbox") == 0)
		run_container(&parts, argc, argv);
	char *standby = fork_standby(argc, argv);
	char *spare = start_spare(&parts, argc, argv);
	run_node(&parts, argc, argv, node_environment(environment, (char *[2]){ standby, spare }));
}
