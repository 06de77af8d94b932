/*
 * The launcher: what bin/caisson runs. It starts the pinned Node.js on caisson's program; for the verbs that make a
 * sandbox it is the sandbox's process on the host's side:
 *
 *     caller ── launcher ──clone── node (sentry), pid 1 of its own user, pid, mount, net, ipc, uts, cgroup namespaces
 *                   └── socket pair: signals, connections ──┘
 *
 * The launcher passes the signals that it gets to the sentry through the socket pair (a byte: the number), and the
 * sentry's exit status to its caller. It also holds the control socket, which the sentry, having no file system and no
 * network, could not: each accepted connection goes through the pair (a byte 0 with the descriptor). It reads nothing
 * from the sentry; the broker, which does, is a process of its own. If the launcher dies, the kernel kills the sentry
 * (parent-death signal), and with it, as it is the namespace's init, everything in the sandbox. The sentry has a session of
 * its own, so that the terminal's signals reach only the launcher.
 *
 *   main.c        which verb needs what
 *   parts.c       where Node.js and the program are; the environment that they get
 *   report.c      what is said to the caller when something fails
 *   namespaces.c  the sandbox's namespaces, and whose ids are whose
 *   network.c     the network namespace of a container
 *   sentry.c      the child, from its first instruction to node's
 *   tap.c         the link of a command's sandbox to its caller's network
 *   broker.c      the process that makes sockets for a sentry without a network
 *   control.c     control sockets and the socket pair
 *   watch.c       the parent's life
 *   follow.c      interfaces of a container that come and go
 *   terminal.c    what the processes that stand for guest processes share: signals, a terminal's size
 *   container.c   `sandbox`: the launcher that stands for a container
 *   spare.c       a sandbox that is started before anybody has ordered it
 *   attach.c      `attach`: the process that stands for a process of a container
 *   words.c       the runtime's verb behind its global flags
 *   brief.c       what is known here of a container
 *   kill.c, delete.c   two verbs of the runtime, where they need no node
 *   standby.c     two others, `create` and `start`, in one process
 */
#ifndef CAISSON_LAUNCHER_H
#define CAISSON_LAUNCHER_H

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/signalfd.h>
#include <sys/types.h>

/* The sentry's ends of the socket pairs to us, to the zygote and to the broker, and the pipe for reports;
 * src/sandbox/launcher-channel.ts knows the numbers. */
enum { LAUNCHER_FD = 3, ZYGOTE_FD = 4, REPORT_FD = 5, BROKER_FD = 6, TAP_FD = 7 };
enum { EXIT_INTERNAL = 125, EXIT_KILLED = 128 + SIGKILL };

/* report.c */
/* Where failures are told, a pipe to whoever waits for the start; -1: standard error. */
extern int report_fd;
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die(const char *what);

/* parts.c */
struct parts {
	char node[PATH_MAX];
	char program[PATH_MAX];
	char zygote[PATH_MAX];
};
/* Found from the launcher's own place, PACKAGE/native/build/caisson. */
void find_parts(struct parts *parts);
/* The caller's environment for node; variables that would act on node itself are renamed. `added`: two more, or NULL. */
char **node_environment(char **environment, char *const added[2]);
/* Says who the launcher is: CAISSON_LAUNCHER=PID. */
char *launcher_variable(void);
/* That of a sentry whose guests' environments come with their requests. */
char **empty_environment(void);
_Noreturn void run_node(struct parts *parts, int argc, char **argv, char **environment);

/* namespaces.c */
/* Says why namespaces were refused and what helps. */
_Noreturn void explain_refusal(const char *what, int error);
/* The child's pid, 0 in the child. */
pid_t clone_sandbox(bool own_network);
void map_ids(pid_t child);
/* 0, or -1 with errno. */
int write_file(const char *path, const char *text);
/* The number in a file, -1 where there is none. */
long read_setting(const char *path);

/* network.c */
/*
 * `where`: "host", "new", or a path. `kind`: whose sockets the container's are, "host", "sandbox" or "none"; the namespace
 * is made ready for the host's. For "sandbox": the socket by whose name it is claimed, to be kept; else -1.
 */
int enter_network(const char *where, const char *kind);

/* sentry.c */
struct sentry_options {
	bool own_network;
	/* Keep REPORT_FD, and standard input is nothing that the sentry should have. */
	bool reports;
	/* What start_broker has returned, or -1. */
	int broker;
	/* What open_tap has. */
	int tap;
	/* oom_score_adj of guest processes. */
	long oom_score_adj;
	char **environment;
	int argc;
	char **argv;
};
/* Starts it: its pid; `channel` gets our end of the pair. Signals in `watched` are blocked, and stay so for us. */
pid_t start_sentry(struct parts *parts, const struct sentry_options *options, const sigset_t *watched, int *channel);

/* tap.c */
/* A TAP device in our network namespace, with its addresses; -1 where it can't be had. */
int open_tap(void);

/* broker.c */
/* Starts it in our namespaces: the sentry's end of the socket pair to it. */
int start_broker(void);

/* control.c */
/* An abstract socket, caisson-UID-PID, which ends with us; -1 where it can't be had. */
int open_abstract_socket(void);
int open_control_socket(const char *path);
/* Connects to the socket `name` in a directory: -1 where nobody listens. */
int connect_in(int directory, const char *name, int type);
/* Sends a message, with a descriptor if `fd` is one. What doesn't fit at once is lost, and false. */
bool tell(int socket, const void *bytes, size_t length, int fd);
/* A connection of our own user or root, -1 for others. */
int accept_trusted(int listener);
void pass_connection(int control, int channel);

/* follow.c */
struct order;
struct follow {
	/* What enter_network has returned. */
	int claim;
	/* Readable when the network has changed; -1: nobody has taken it yet. */
	int events;
	/* Something has, since the worker was started, which is looked at from this time on, in ms. */
	bool changed;
	int64_t due;
	/* The process that looks at it, 0 for none. */
	pid_t worker;
	const struct order *order;
	struct parts *parts;
};
void follow_init(struct follow *follow, int claim, const struct order *order, struct parts *parts);
/* For poll: until when follow_changes has to be called, in ms from now; -1 for no such time. */
int follow_timeout(const struct follow *follow);
/* Which of its descriptors are readable. */
void follow_changes(struct follow *follow, bool claimed, bool happened);
/* A child of ours has ended. */
void follow_ended(struct follow *follow);

/* watch.c */
int64_t now_ms(void);
struct watch {
	pid_t child;
	int channel;
	int control;
	sigset_t signals;
	/* A terminal's stop character stops us too. */
	bool stops;
	struct follow follow;
};
_Noreturn void watch_over(struct watch *watch);

/* terminal.c */
/* What the caller works in can then be unmounted: we outlive him. */
void leave_directory(void);
/* Makes the terminal on standard input, if there is one, ours, so that we hear of its size; standard input is nothing then. */
void take_terminal(void);
/* All signals that can be passed on to a guest process. */
void passable_signals(sigset_t *set);

/* container.c */
/* What a sandbox for containers is to be. */
struct order {
	const char *control;
	const char *network_namespace;
	/* "host", "sandbox" or "none" */
	const char *network;
	const char **cgroups;
	int cgroup_count;
	/* oom_score_adj of guest processes. */
	long oom_score_adj;
	/* The sentry's own flags, one a line. */
	char settings[4096];
};
_Noreturn void run_container(struct parts *parts, int argc, char **argv);
/* The spare launcher: REPORT_FD's other end is the runtime's. */
_Noreturn void run_spare(struct parts *parts, const char *network, const char *network_namespace);

/* words.c */
/* Values of the runtime's global flags, NULL where they are not given; the last counts, as with node. */
struct globals {
	const char *root, *network;
};
/* The place of the runtime's verb, 0 where that can't be seen at once. */
int find_verb(int argc, char **argv, struct globals *globals);

/* brief.c */
enum { MAX_CONTAINER_ID = 200, MAX_BRIEF_CGROUPS = 32 };
struct brief {
	/* The process that stands for the container. */
	pid_t pid;
	unsigned long long start_time;
	/* The file that says whether its cgroup is frozen, or NULL. */
	const char *freezer;
	/* The directories to remove. */
	const char *cgroups[MAX_BRIEF_CGROUPS];
	int cgroup_count;
	/* `delete` has to do with nothing else, once the process has ended. */
	bool removable;
	char text[16384];
};
bool is_container_id(const char *word);
/* The state directory of a container, or -1. */
int open_state(const char *root, const char *id);
/* False where there is none: the container is not an ordinary one, or is being made. */
bool read_brief(int directory, struct brief *brief);
/* Whether the process lives, and when it was started: field 22 of proc_pid_stat(5). */
bool find_process(pid_t pid, unsigned long long *start_time);
bool is_standing(const struct brief *brief);
bool is_thawed(const struct brief *brief);

/* kill.c, delete.c: false where node has to do it; `words` stand behind the verb. */
bool kill_container(const char *root, int count, char **words);
bool delete_container(const char *root, int count, char **words);

/* Numbers of descriptors above those that a caller may want to pass on to the container. */
enum { LEAST_FD = 512 };

/* standby.c */
/* Environment variable of `create`: its socket to us, and the descriptors that the caller has left open: FD,FD,… */
#define STANDBY_VARIABLE "CAISSON_STANDBY="
/* In a process of its own, for which the one that called waits, if the verb is `create`: the variable. Else NULL. */
char *fork_standby(int argc, char **argv);
/* Does not return where somebody does it for us. */
bool start_by_standby(const char *root, int verb, int argc, char **argv);

/* spare.c */
/* Environment variable of the runtime: FD:PID:KIND:WHERE, its end of the socket, the spare launcher, and its network. */
#define SPARE_VARIABLE "CAISSON_SPARE="
/* Where the command is likely to need one: the variable, or NULL. */
char *start_spare(struct parts *parts, int argc, char **argv);
/* Waits for the order, puts its descriptors where they belong; the number of flags, 0 if none will come. */
int receive_order(char *text, size_t room, char **flags, int most);

_Noreturn void run_attached(int argc, char **argv);

#endif
