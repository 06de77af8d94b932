/*
 * `caisson attach [FD]`: stands for a process of a container on the host's side. FD, or 3, is the process's connection
 * (src/sandbox/protocol.ts). Signals go in as bytes; the exit status comes out; with a terminal as standard input, its
 * size too. The process ends with the connection, and the connection with the process.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONNECTION = 3 };

/* Nothing of the guest's may be kept open by us. */
static void arrange_descriptors(int connection)
{
	if (connection != CONNECTION && dup2(connection, CONNECTION) < 0)
		die("attach: the connection");
	if (syscall(SYS_close_range, CONNECTION + 1, ~0u, 0) < 0)
		die("attach: descriptors");
	take_terminal();
	leave_directory();
	if (dup2(STDIN_FILENO, STDOUT_FILENO) < 0 || dup2(STDIN_FILENO, STDERR_FILENO) < 0)
		die("attach: descriptors");
	fcntl(CONNECTION, F_SETFL, O_NONBLOCK);
	fcntl(CONNECTION, F_SETFD, FD_CLOEXEC);
}

/* What has come of the exit status; true when it is whole. */
static bool receive_status(unsigned char status[4], size_t *length)
{
	ssize_t received = recv(CONNECTION, status + *length, 4 - *length, MSG_DONTWAIT);
	if (received < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	/* The sandbox is gone, and the process with it. */
	if (received <= 0)
		exit(EXIT_KILLED);
	*length += received;
	return *length == 4;
}

_Noreturn void run_attached(int argc, char **argv)
{
	unsigned char status[4];
	size_t length = 0;
	sigset_t signals;

	passable_signals(&signals);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	arrange_descriptors(argc > 2 ? atoi(argv[2]) : CONNECTION);
	prctl(PR_SET_NAME, "caisson-attach");
	int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (signal_fd < 0)
		die("signalfd");
	struct pollfd polled[] = { { .fd = signal_fd, .events = POLLIN }, { .fd = CONNECTION, .events = POLLIN } };
	do {
		struct signalfd_siginfo info;
		if (poll(polled, 2, -1) < 0)
			continue;
		if (polled[0].revents && read(signal_fd, &info, sizeof info) == sizeof info
		    && info.ssi_signo != SIGCHLD) {
			unsigned char signo = info.ssi_signo;
			send(CONNECTION, &signo, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		}
	} while (!polled[1].revents || !receive_status(status, &length));
	int ending = status[0] | status[1] << 8;
	exit(WIFSIGNALED(ending) ? 128 + WTERMSIG(ending) : WEXITSTATUS(ending));
}
