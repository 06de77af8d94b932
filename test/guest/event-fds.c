/* eventfd, signalfd, pidfd, inotify. */
#include "observe.h"
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>

static int revents(int fd)
{
	struct pollfd one = { fd, POLLIN | POLLOUT, 0 };

	poll(&one, 1, 0);
	return one.revents;
}

SECTION("eventfd: adds up, a read takes all")
{
	uint64_t value = 0;
	int fd = MUST(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));

	SHOW(fcntl(fd, F_GETFD));
	MUST(write(fd, &(uint64_t){ 4 }, 8));
	RET(read(fd, &value, 8));
	SHOW(value);
	ERR(read(fd, &value, 8));
	ERR(read(fd, &value, 4));
	ERR(write(fd, &(uint64_t){ 4 }, 7));
	RET(write(fd, &(uint64_t){ UINT64_MAX - 1 }, 8));
	ERR(write(fd, &(uint64_t){ 1 }, 8));
	ERR(write(fd, &(uint64_t){ UINT64_MAX }, 8));
	HEX(revents(fd));
	RET(read(fd, &value, 8));
	HEX(value);
	HEX(revents(fd));
	ERR(eventfd(0, 4));
	ERR(lseek(fd, 0, SEEK_SET));
	ERR(pread(fd, &value, 8, 0));
}

SECTION("eventfd: semaphore mode; blocking reads and writes")
{
	uint64_t value = 0;
	int fd = MUST(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));

	RET(read(fd, &value, 8));
	SHOW(value);
	RET(read(fd, &value, 8));
	ERR(read(fd, &value, 8));
	fd = MUST(eventfd(0, 0));
	pid_t pid = fork();
	if (pid == 0) {
		RET(read(fd, &value, 8));
		SHOW(value);
		_exit(0);
	}
	await_state(pid, 'S');
	MUST(write(fd, &(uint64_t){ 9 }, 8));
	STATUS(end_of(pid));
	MUST(write(fd, &(uint64_t){ UINT64_MAX - 1 }, 8));
	pid = fork();
	if (pid == 0) {
		int result = write(fd, &(uint64_t){ 5 }, 8);
		RET(result);
		_exit(0);
	}
	await_state(pid, 'S');
	MUST(read(fd, &value, 8));
	STATUS(end_of(pid));
	RET(read(fd, &value, 8));
	SHOW(value);
}

SECTION("signalfd: reads signals with their information")
{
	sigset_t set;
	struct signalfd_siginfo info[3];

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = MUST(signalfd(-1, &set, SFD_NONBLOCK));
	ERR(read(fd, info, sizeof info));
	HEX(revents(fd));
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 5 });
	HEX(revents(fd));
	SHOW(read(fd, info, sizeof info) / (long)sizeof info[0]);
	SHOW(info[0].ssi_signo);
	SHOW(info[0].ssi_pid == (uint32_t)getpid());
	SHOW(info[0].ssi_code);
	SHOW(info[1].ssi_int);
	ERR(read(fd, info, 10));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	RET(signalfd(fd, &set, 0) == fd);
	kill(getpid(), SIGUSR1);
	ERR(read(fd, info, sizeof info));
	ERR(signalfd(-1, &set, 1));
	ERR(signalfd(0, &set, 0));
	ERR(signalfd(99, &set, 0));
}

SECTION("signalfd: a child reads its own signals; SIGCHLD carries the status")
{
	sigset_t set;
	struct signalfd_siginfo info;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = MUST(signalfd(-1, &set, 0));
	pid_t pid = fork();
	if (pid == 0) {
		raise(SIGUSR1);
		read(fd, &info, sizeof info);
		_exit(info.ssi_signo == SIGUSR1 ? 5 : 6);
	}
	RET(read(fd, &info, sizeof info));
	SHOW(info.ssi_signo);
	SHOW(info.ssi_status);
	SHOW(info.ssi_code);
	STATUS(end_of(pid));
}

SECTION("pidfd: open, poll, wait, signal")
{
	siginfo_t info = { 0 };
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	int fd = MUST(syscall(SYS_pidfd_open, pid, 0));
	SHOW(fcntl(fd, F_GETFD));
	HEX(revents(fd));
	ERR(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	ERR(syscall(SYS_pidfd_send_signal, fd, 99, NULL, 0));
	ERR(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 1 << 20));
	ERR(syscall(SYS_pidfd_send_signal, 0, SIGTERM, NULL, 0));
	ERR(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	struct pollfd one = { fd, POLLIN, 0 };
	RET(poll(&one, 1, 5000));
	HEX(one.revents);
	RET(waitid(P_PIDFD, fd, &info, WEXITED));
	SHOW(info.si_status);
	HEX(revents(fd) & POLLHUP);
	ERR(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	ERR(waitid(P_PIDFD, fd, &info, WEXITED));
	ERR(syscall(SYS_pidfd_open, 99999999, 0));
	ERR(syscall(SYS_pidfd_open, -1, 0));
	ERR(syscall(SYS_pidfd_open, getpid(), 1));
	ERR(read(fd, &info, 1));
}

SECTION("pidfd_getfd takes a copy of another process's descriptor")
{
	int pair[2], go[2];
	char bytes[8] = "";

	MUST(pipe(pair));
	MUST(pipe(go));
	pid_t pid = fork();
	if (pid == 0) {
		dup2(pair[1], 40);
		write(go[1], "", 1);
		for (;;)
			pause();
	}
	read(go[0], bytes, 1);
	int fd = MUST(syscall(SYS_pidfd_open, pid, 0));
	int copy = syscall(SYS_pidfd_getfd, fd, 40, 0);
	ERR(copy);
	RET(write(copy, "got", 3));
	RET(read(pair[0], bytes, 7));
	TEXT(bytes);
	ERR(syscall(SYS_pidfd_getfd, fd, 99, 0));
	ERR(syscall(SYS_pidfd_getfd, fd, 40, 1));
	kill(pid, SIGKILL);
}

/* Reads and prints what there is, without waiting. */
static void events(int fd)
{
	char buffer[4096] __attribute__((aligned(8)));
	ssize_t got = read(fd, buffer, sizeof buffer);

	if (got < 0) {
		say("none: %s\n", error_name(errno));
		return;
	}
	for (ssize_t at = 0; at < got;) {
		struct inotify_event *event = (struct inotify_event *)(buffer + at);

		say("wd %d mask %#x cookie %d name %s\n", event->wd, event->mask, event->cookie != 0,
		    event->len ? event->name : "-");
		at += sizeof *event + event->len;
	}
}

SECTION("inotify: files in a directory")
{
	int fd = MUST(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));

	RET(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
	events(fd);
	int file = MUST(open("f", O_RDWR | O_CREAT, 0644));
	events(fd);
	MUST(write(file, "x", 1));
	MUST(fchmod(file, 0600));
	events(fd);
	read(file, &(char){ 0 }, 1);
	MUST(lseek(file, 0, SEEK_SET));
	MUST(read(file, &(char){ 0 }, 1));
	close(file);
	events(fd);
	MUST(rename("f", "g"));
	events(fd);
	MUST(mkdir("d", 0755));
	MUST(open("g", O_WRONLY | O_TRUNC));
	events(fd);
	MUST(link("g", "h"));
	MUST(unlink("g"));
	MUST(rmdir("d"));
	events(fd);
}

SECTION("inotify: watches on files, self events, removal")
{
	int fd = MUST(inotify_init1(IN_NONBLOCK));

	write_file("f", "");
	mkdir("d", 0755);
	RET(inotify_add_watch(fd, "f", IN_MODIFY | IN_DELETE_SELF | IN_ATTRIB));
	RET(inotify_add_watch(fd, "d", IN_DELETE_SELF | IN_MOVE_SELF));
	RET(inotify_add_watch(fd, "f", IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF));
	write_file("f", "text");
	events(fd);
	MUST(unlink("f"));
	events(fd);
	MUST(rename("d", "e"));
	events(fd);
	MUST(rmdir("e"));
	events(fd);
	mkdir("x", 0755);
	int watch = MUST(inotify_add_watch(fd, "x", IN_CREATE));
	SHOW(watch);
	ERR(inotify_rm_watch(fd, watch));
	events(fd);
	ERR(inotify_rm_watch(fd, watch));
}

SECTION("inotify: flags and errors, merged events, FIONREAD")
{
	int fd = MUST(inotify_init1(IN_NONBLOCK)), size = 0;

	write_file("f", "");
	mkdir("d", 0755);
	symlink("d", "s");
	ERR(inotify_init1(1));
	ERR(inotify_add_watch(fd, "nothing", IN_CREATE));
	ERR(inotify_add_watch(fd, "f", IN_CREATE | IN_ONLYDIR));
	ERR(inotify_add_watch(fd, "f", 0));
	ERR(inotify_add_watch(0, "f", IN_MODIFY));
	ERR(inotify_add_watch(99, "f", IN_MODIFY));
	RET(inotify_add_watch(fd, "s", IN_CREATE | IN_DONT_FOLLOW));
	RET(inotify_add_watch(fd, "d", IN_CREATE | IN_ONESHOT));
	ERR(inotify_add_watch(fd, "d", IN_CREATE | IN_MASK_CREATE));
	write_file("d/x", "");
	write_file("d/y", "");
	events(fd);
	RET(inotify_add_watch(fd, "f", IN_MODIFY));
	RET(inotify_add_watch(fd, "f", IN_ATTRIB | IN_MASK_ADD));
	int file = MUST(open("f", O_WRONLY));
	for (int i = 0; i < 5; i++)
		MUST(write(file, "x", 1));
	MUST(fchmod(file, 0600));
	ERR(syscall(SYS_ioctl, fd, 0x541b, &size));
	SHOW(size);
	char small[8];
	ERR(read(fd, small, sizeof small));
	events(fd);
	ERR(read(fd, small, sizeof small));
}
