/* The launcher's life beside its sentry: signals and connections go in, the exit status comes out. */
#include "launcher.h"

#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* We have killed the sentry, and said so. */
static bool killed_by_us;

static _Noreturn void end_as(int status)
{
	if (WIFEXITED(status))
		exit(WEXITSTATUS(status));
	int signal = WTERMSIG(status);
	if (signal == SIGSYS)
		warn("the sandbox was ended: its kernel made a host call that is not on its list, which the line before "
			"names");
	else if (signal == SIGKILL && !killed_by_us)
		warn("the sandbox was killed from outside or by the host's out-of-memory killer");
	else if (signal != SIGKILL)
		warn("the sandbox's kernel died of signal %d (%s)", signal, strsignal(signal));
	/* V8 aborts when it gets no memory. */
	if ((signal == SIGTRAP || signal == SIGABRT) && read_setting("/proc/sys/vm/overcommit_memory") == 2)
		warn("the host counts reserved memory as used, so that there may have been none left; let it be with: sysctl -w vm.overcommit_memory=0");
	exit(128 + signal);
}

/*
 * A sentry that leaves what it was told unread for so long hangs. Then it does not get a second signal that asks for the
 * end: it is killed, and with it everything in the sandbox.
 */
enum { PATIENCE_MS = 1000 };

int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static bool asks_for_the_end(int signal)
{
	return signal == SIGINT || signal == SIGTERM || signal == SIGQUIT || signal == SIGHUP;
}

static void kill_if_deaf(const struct watch *watch)
{
	static int64_t unread_since;
	int unread = 0;

	ioctl(watch->channel, SIOCOUTQ, &unread);
	if (unread == 0)
		unread_since = now_ms();
	else if (now_ms() - unread_since >= PATIENCE_MS) {
		warn("the sandbox does not react: it is killed");
		killed_by_us = true;
		kill(watch->child, SIGKILL);
	}
}

static void handle_signal(struct watch *watch, const struct signalfd_siginfo *info)
{
	int status;
	if (info->ssi_signo == SIGCHLD) {
		if (waitpid(watch->child, &status, WNOHANG) == watch->child)
			end_as(status);
		follow_ended(&watch->follow);
		return;
	}
	if (asks_for_the_end(info->ssi_signo))
		kill_if_deaf(watch);
	unsigned char signo = info->ssi_signo;
	tell(watch->channel, &signo, 1, -1);
	if (info->ssi_signo == SIGTSTP && watch->stops)
		raise(SIGSTOP);
}

_Noreturn void watch_over(struct watch *watch)
{
	struct follow *follow = &watch->follow;
	int signals = signalfd(-1, &watch->signals, SFD_CLOEXEC);
	if (signals < 0)
		die("signalfd");
	struct pollfd polled[] = { { .fd = signals, .events = POLLIN }, { .fd = watch->control, .events = POLLIN },
		{ .fd = follow->claim, .events = POLLIN }, { .events = POLLIN } };
	for (;;) {
		struct signalfd_siginfo info;
		polled[3].fd = follow->events;
		if (poll(polled, sizeof polled / sizeof *polled, follow_timeout(follow)) < 0)
			continue;
		if (polled[0].revents && read(signals, &info, sizeof info) == sizeof info)
			handle_signal(watch, &info);
		if (polled[1].revents)
			pass_connection(watch->control, watch->channel);
		follow_changes(follow, polled[2].revents, polled[3].revents);
	}
}
