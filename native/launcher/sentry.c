/* The sentry, from its first instruction to node's: everything that must be so before node runs. */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

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
static void start_zygote(struct parts *parts, long oom_score_adj)
{
	char score[16];
	char *arguments[] = { "caisson-zygote", NULL, NULL };
	/* The children unmap the memory that the C library would have registered for restartable sequences. */
	char *environment[] = { "GLIBC_TUNABLES=glibc.pthread.rseq=0", NULL };
	int channel[2];

	if (oom_score_adj != read_setting("/proc/self/oom_score_adj")) {
		snprintf(score, sizeof score, "%ld", oom_score_adj);
		arguments[1] = score;
	}
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

/* LAUNCHER_FD, the others if there are any, and nothing else above standard error. */
static void arrange_descriptors(int channel, const struct sentry_options *options)
{
	int descriptors[] = { channel, options->reports ? report_fd : -1, options->broker, options->tap };
	static const int numbers[] = { LAUNCHER_FD, REPORT_FD, BROKER_FD, TAP_FD };
	enum { COUNT = sizeof numbers / sizeof *numbers, ABOVE = 10 };

	/* Out of the way first: any may have another's number. */
	for (int i = 0; i < COUNT; i++)
		if (descriptors[i] >= 0 && (descriptors[i] = fcntl(descriptors[i], F_DUPFD, ABOVE)) < 0)
			die("descriptors");
	for (int i = 0; i < COUNT; i++)
		if (descriptors[i] >= 0 && dup2(descriptors[i], numbers[i]) < 0)
			die("descriptors");
	for (int fd = LAUNCHER_FD; fd < ABOVE; fd++) {
		bool kept = false;
		for (int i = 0; i < COUNT; i++)
			kept |= descriptors[i] >= 0 && numbers[i] == fd;
		if (!kept)
			close(fd);
	}
	if (syscall(SYS_close_range, ABOVE, ~0u, 0) < 0)
		die("descriptors");
	if (options->reports)
		report_fd = REPORT_FD;
	fcntl(LAUNCHER_FD, F_SETFL, O_NONBLOCK);
}

static void become_sentry(struct parts *parts, const struct sentry_options *options, int channel)
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
	arrange_descriptors(channel, options);
	/* Guest processes that outlive the zygote become our children, and nobody waits for them. */
	signal(SIGCHLD, SIG_IGN);
	start_zygote(parts, options->oom_score_adj);
}

/* Node.js reserves many more addresses than it uses, and so does the sentry, for the slots of guest threads. */
static void lift_address_limit(void)
{
	enum { NEEDED_GIB = 16 };
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_AS, &limit);
	if (limit.rlim_max >> 30 >= NEEDED_GIB)
		return;
	warn("a limit of %llu KiB of addresses is in force (ulimit -v), and a sandbox reserves up to %d GiB: start it without",
		(unsigned long long)limit.rlim_max / 1024, NEEDED_GIB);
	exit(EXIT_INTERNAL);
}

pid_t start_sentry(struct parts *parts, const struct sentry_options *options, const sigset_t *watched, int *channel)
{
	int pair[2];
	sigset_t before;

	lift_address_limit();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	/* A caller that ignores SIGCHLD would take the exit status from us. */
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, watched, &before);
	pid_t child = clone_sandbox(options->own_network);
	if (child == 0) {
		close(pair[0]);
		sigprocmask(SIG_SETMASK, &before, NULL);
		become_sentry(parts, options, pair[1]);
		run_node(parts, options->argc, options->argv, options->environment);
	}
	close(pair[1]);
	map_ids(child);
	tell(pair[0], "g", 1, -1);
	*channel = pair[0];
	return child;
}
