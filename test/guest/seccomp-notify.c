/* seccomp_unotify(2). */
#include "observe.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

static long install(unsigned flags, int nr, unsigned action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { LENGTH(code), code };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static int listen_to(int nr, unsigned flags)
{
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	return install(SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, nr, SECCOMP_RET_USER_NOTIF);
}

static int receive(int fd, struct seccomp_notif *notif)
{
	memset(notif, 0, sizeof *notif);
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, notif);
}

static int answer(int fd, struct seccomp_notif *notif, long val, int error, unsigned flags)
{
	struct seccomp_notif_resp resp = { notif->id, val, error, flags };

	return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &resp);
}

static short events(int fd)
{
	struct pollfd wait = { fd, POLLIN | POLLOUT, 0 };

	return poll(&wait, 1, 0) < 0 ? -1 : wait.revents;
}

/* A child that makes the call, and says what came of it. */
static pid_t caller(int listener, long nr, long argument)
{
	pid_t child = MUST(fork());

	if (child == 0) {
		close(listener);
		long result = syscall(nr, argument, 2, 3, 4, 5, 6);
		say("the call -> %ld %s\n", result, result == -1 ? error_name(errno) : "");
		_exit(0);
	}
	return child;
}

/* What the answer that lets the child go on came to; said when it has said its own. */
static int sent;

static void caught(int signo)
{
	(void)signo;
	say("a handler runs\n");
}

SECTION("a listener receives the call and answers")
{
	struct seccomp_notif notif;
	int fd = listen_to(SYS_getppid, 0);

	SHOW(fd >= 0);
	RET(fcntl(fd, F_GETFD));
	HEX(events(fd));
	pid_t child = caller(fd, SYS_getppid, 11);
	ERR(receive(fd, &notif));
	SHOW(notif.pid == (unsigned)child);
	SHOW(notif.flags);
	SHOW(notif.data.nr == SYS_getppid);
	SHOW(notif.data.args[0]);
	SHOW(notif.data.args[5]);
	HEX(notif.data.arch);
	HEX(events(fd));
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &notif.id));
	sent = answer(fd, &notif, 4711, 0, 0);
	STATUS(end_of(child));
	ERR(sent);
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &notif.id));
	ERR(answer(fd, &notif, 4711, 0, 0));
	child = caller(fd, SYS_getppid, 0);
	ERR(receive(fd, &notif));
	sent = answer(fd, &notif, 0, -EXDEV, 0);
	STATUS(end_of(child));
	ERR(sent);
	child = caller(fd, SYS_getppid, 0);
	ERR(receive(fd, &notif));
	sent = answer(fd, &notif, -5000000000, 0, 0);
	STATUS(end_of(child));
	ERR(sent);
	child = caller(fd, SYS_getppid, 0);
	ERR(receive(fd, &notif));
	sent = answer(fd, &notif, 7, 5, 0);
	STATUS(end_of(child));
	ERR(sent);
}

SECTION("a listener lets the call go on")
{
	struct seccomp_notif notif;
	int fd = listen_to(SYS_dup, 0);
	pid_t child = caller(fd, SYS_dup, -1);

	ERR(receive(fd, &notif));
	ERR(answer(fd, &notif, 1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
	ERR(answer(fd, &notif, 0, -1, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
	ERR(answer(fd, &notif, 0, 0, 2));
	sent = answer(fd, &notif, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
	STATUS(end_of(child));
	ERR(sent);
}

SECTION("a listener gives descriptors")
{
	struct seccomp_notif notif;
	int fd = listen_to(SYS_getppid, 0);
	pid_t child = MUST(fork());

	write_file("given", "content");
	if (child == 0) {
		char text[16] = "";

		close(fd);
		long got = syscall(SYS_getppid);
		SHOW(got);
		RET(read(got, text, sizeof text));
		TEXT(text);
		RET(fcntl(got, F_GETFD));
		got = syscall(SYS_getppid);
		RET(fcntl(got, F_GETFD));
		RET(fcntl(42, F_GETFD));
		_exit(0);
	}
	int given = MUST(open("given", O_RDONLY));
	MUST(receive(fd, &notif));
	struct seccomp_notif_addfd add = { notif.id, 0, given, 0, 0 };
	RET(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
	add.flags = SECCOMP_ADDFD_FLAG_SETFD;
	add.newfd = 42;
	add.newfd_flags = O_CLOEXEC;
	RET(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
	add.newfd = 1 << 30;
	RET(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
	add.newfd = 42;
	add.flags = 0;
	RET(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
	add.newfd = 0;
	add.flags = 4;
	RET(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
	add.flags = 0;
	add.newfd_flags = O_NONBLOCK;
	RET(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
	add.newfd_flags = 0;
	/* A longer structure, as of a newer kernel: what is unknown must be empty. */
	struct { struct seccomp_notif_addfd add; long more; } longer = { add, 1 };
	RET(ioctl(fd, SECCOMP_IOW(3, longer), &longer));
	RET(ioctl(fd, SECCOMP_IOWR(3, longer), &longer));
	RET(ioctl(fd, SECCOMP_IOW(3, longer.more), &longer));
	add.srcfd = 999;
	RET(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
	add.srcfd = given;
	add.id++;
	RET(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
	MUST(answer(fd, &notif, 3, 0, 0));
	MUST(receive(fd, &notif));
	add = (struct seccomp_notif_addfd){ notif.id, SECCOMP_ADDFD_FLAG_SEND, given, 0, O_CLOEXEC };
	sent = ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
	STATUS(end_of(child));
	SHOW(sent >= 0);
	ERR(answer(fd, &notif, 3, 0, 0));
}

SECTION("a signal interrupts the wait, and the call is asked about again")
{
	struct seccomp_notif notif, again;
	int fd = listen_to(SYS_getppid, 0);

	handle(SIGUSR1, caught, SA_RESTART);
	pid_t child = caller(fd, SYS_getppid, 0);
	MUST(receive(fd, &notif));
	kill(child, SIGUSR1);
	MUST(receive(fd, &again));
	SHOW(notif.id != again.id);
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &notif.id));
	ERR(answer(fd, &notif, 1, 0, 0));
	sent = answer(fd, &again, 2, 0, 0);
	STATUS(end_of(child));
	ERR(sent);
	handle(SIGUSR1, caught, 0);
	child = caller(fd, SYS_getppid, 0);
	MUST(receive(fd, &notif));
	kill(child, SIGUSR1);
	STATUS(end_of(child));
	child = caller(fd, SYS_getppid, 0);
	MUST(receive(fd, &notif));
	kill(child, SIGSTOP);
	int status;
	MUST(waitpid(child, &status, WUNTRACED));
	STATUS(status);
	kill(child, SIGCONT);
	MUST(receive(fd, &again));
	SHOW(notif.id != again.id);
	sent = answer(fd, &again, 3, 0, 0);
	STATUS(end_of(child));
	ERR(sent);
	child = caller(fd, SYS_getppid, 0);
	MUST(receive(fd, &notif));
	kill(child, SIGKILL);
	STATUS(end_of(child));
	ERR(answer(fd, &notif, 3, 0, 0));
}

SECTION("with WAIT_KILLABLE_RECV only what kills interrupts a call that was received")
{
	struct seccomp_notif notif;
	int fd = listen_to(SYS_getppid, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);

	handle(SIGUSR1, caught, 0);
	pid_t child = caller(fd, SYS_getppid, 0);
	MUST(receive(fd, &notif));
	kill(child, SIGUSR1);
	sleep_ms(20);
	sent = answer(fd, &notif, 5, 0, 0);
	STATUS(end_of(child));
	ERR(sent);
	child = caller(fd, SYS_getppid, 0);
	MUST(receive(fd, &notif));
	kill(child, SIGKILL);
	STATUS(end_of(child));
}

SECTION("a listener that closes answers ENOSYS")
{
	struct seccomp_notif notif;
	int fd = listen_to(SYS_getppid, 0);
	pid_t child = caller(fd, SYS_getppid, 0);

	MUST(receive(fd, &notif));
	close(fd);
	STATUS(end_of(child));
	ERR(syscall(SYS_getppid));
}

SECTION("the listener hears when nobody is left")
{
	int pair[2];
	struct seccomp_notif notif;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid_t child = MUST(fork());
	if (child == 0) {
		int fd = listen_to(SYS_getppid, 0);
		struct iovec byte = { "x", 1 };
		union { struct cmsghdr header; char room[CMSG_SPACE(sizeof fd)]; } control = {
			{ CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS }
		};
		struct msghdr message = { NULL, 0, &byte, 1, &control, sizeof control, 0 };

		memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
		MUST(sendmsg(pair[1], &message, 0));
		close(fd);
		SHOW(syscall(SYS_getppid));
		_exit(0);
	}
	char byte;
	struct iovec vector = { &byte, 1 };
	union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control;
	struct msghdr message = { NULL, 0, &vector, 1, &control, sizeof control, 0 };
	MUST(recvmsg(pair[0], &message, 0));
	int fd;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
	MUST(receive(fd, &notif));
	MUST(answer(fd, &notif, 12, 0, 0));
	struct pollfd wait = { fd, POLLIN, 0 };
	RET(poll(&wait, 1, 5000));
	HEX(wait.revents);
	STATUS(end_of(child));
	ERR(receive(fd, &notif));
}

SECTION("wrong arguments")
{
	struct seccomp_notif notif;
	struct { uint16_t notif, resp, data; } sizes;

	ERR(syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
	SHOW(sizes.notif);
	SHOW(sizes.resp);
	SHOW(sizes.data);
	ERR(syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 1, &sizes));
	ERR(syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, NULL));
	uint32_t action = SECCOMP_RET_USER_NOTIF;
	ERR(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
	int fd = listen_to(SYS_getppid, 0);
	ERR(listen_to(SYS_getppid, 0));
	ERR(install(SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC, 1000, SECCOMP_RET_ALLOW));
	ERR(install(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 1000, SECCOMP_RET_ALLOW));
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, NULL));
	memset(&notif, 0, sizeof notif);
	notif.pid = 1;
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &notif));
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, NULL));
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, NULL));
	ERR(ioctl(fd, 0x1234));
	ERR(read(fd, &notif, sizeof notif));
	ERR(write(fd, &notif, sizeof notif));
}
