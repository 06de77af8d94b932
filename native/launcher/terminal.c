/* What the processes that stand for guest processes have in common: a terminal's size, signals, no directory. */
#include "launcher.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

void take_terminal(void)
{
	if (isatty(STDIN_FILENO)) {
		/* It fails for who leads a session already, which will do as well. */
		setsid();
		ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	}
	/* The controlling terminal stays without a descriptor; that its other end sees the guest close it matters. */
	int nothing = open("/dev/null", O_RDWR);
	if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0)
		die("/dev/null");
	if (nothing > STDERR_FILENO)
		close(nothing);
}

void leave_directory(void)
{
	if (chdir("/") < 0)
		die("/");
}

void passable_signals(sigset_t *set)
{
	static const int kept[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPIPE };
	sigfillset(set);
	for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
		sigdelset(set, kept[i]);
}
