/* mq_notify(3) by a thread: the C library hears of messages through a netlink socket. */
#include "observe.h"
#include <linux/netlink.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/socket.h>

enum { COOKIE = 32 };

static mqd_t new_queue(void)
{
	char name[32];
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 16 };

	snprintf(name, sizeof name, "/caisson-%d", getpid());
	mqd_t queue = MUST(mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
	mq_unlink(name);
	return queue;
}

static int netlink_socket(void)
{
	return MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static long notify(mqd_t queue, void *cookie, int fd)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_signo = fd };
	event.sigev_value.sival_ptr = cookie;
	return syscall(SYS_mq_notify, queue, &event);
}

/* What has come, without waiting. */
static void show_cookies(int fd)
{
	unsigned char got[COOKIE + 1];
	ssize_t length;

	while ((length = recv(fd, got, sizeof got, MSG_DONTWAIT)) > 0)
		say("  %zd bytes: %02x %02x ... last %d\n", length, got[0], got[1], got[COOKIE - 1]);
	say("  then %s\n", length < 0 ? error_name(errno) : "end");
}

static int pipe_fds[2];

static void told(union sigval value)
{
	dprintf(pipe_fds[1], "%d", value.sival_int);
}

SECTION("SIGEV_THREAD: the C library's thread is told")
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = told };
	char text[16] = "";

	event.sigev_value.sival_int = 42;
	MUST(pipe(pipe_fds));
	mqd_t queue = new_queue();
	ERR(mq_notify(queue, &event));
	ERR(mq_notify(queue, &event));
	ERR(mq_send(queue, "one", 3, 0));
	RET(read(pipe_fds[0], text, sizeof text - 1));
	TEXT(text);
	ERR(mq_notify(queue, &event));
	ERR(mq_notify(queue, NULL));
	ERR(mq_notify(queue, &event));
}

SECTION("SIGEV_THREAD: cookies")
{
	unsigned char cookie[COOKIE] = { 0xab, 0xcd };
	mqd_t queue = new_queue();
	int fd = netlink_socket();

	ERR(notify(queue, cookie, fd));
	show_cookies(fd);
	ERR(mq_send(queue, "one", 3, 0));
	show_cookies(fd);
	ERR(mq_send(queue, "two", 3, 0));
	show_cookies(fd);
	ERR(notify(queue, cookie, fd));
	ERR(mq_notify(queue, NULL));
	show_cookies(fd);
	ERR(notify(queue, cookie, fd));
	close(dup(queue));
	show_cookies(fd);
	ERR(notify(queue, cookie, fd));
	close(fd);
	close(queue);
}

SECTION("SIGEV_THREAD: arguments")
{
	unsigned char cookie[COOKIE] = { 0 };
	mqd_t queue = new_queue();
	int fd = netlink_socket();

	ERR(notify(queue, NULL, fd));
	ERR(notify(queue, cookie, -1));
	MUST(pipe(pipe_fds));
	ERR(notify(queue, cookie, pipe_fds[0]));
	ERR(notify(queue, cookie, MUST(socket(AF_UNIX, SOCK_DGRAM, 0))));
	ERR(notify(fd, cookie, fd));
	ERR(notify(-1, cookie, fd));
	ERR(notify(queue, cookie, fd));
	ERR(notify(queue, cookie, fd));
	char text[128] = "";
	RET(pread(queue, text, sizeof text - 1, 0) > 0);
	say("%.*s\n", (int)strcspn(text, "P"), text);
	pid_t child = fork();
	if (child == 0) {
		ERR(syscall(SYS_mq_notify, queue, NULL));
		ERR(notify(queue, cookie, fd));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	show_cookies(fd);
}
