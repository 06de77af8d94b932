/* POSIX message queues. */
#include "observe.h"
#include <grp.h>
#include <mqueue.h>

static char name[64];

/* A name that no other run has. */
static const char *queue_name(void)
{
	snprintf(name, sizeof name, "/observe-%d", (int)getpid());
	return name;
}

static mqd_t make(long messages, long size, int flags)
{
	struct mq_attr attr = { .mq_maxmsg = messages, .mq_msgsize = size };
	mqd_t queue = MUST(mq_open(queue_name(), O_RDWR | O_CREAT | O_EXCL | flags, 0600, &attr));

	MUST(mq_unlink(name));
	return queue;
}

static void receive(mqd_t queue)
{
	char text[64];
	unsigned priority;
	ssize_t length = mq_receive(queue, text, sizeof text, &priority);

	if (length < 0)
		say("receive: %s\n", error_name(errno));
	else
		say("received \"%.*s\" of priority %u\n", (int)length, text, priority);
}

SECTION("mq_open: names, flags, attributes")
{
	struct mq_attr attr = { .mq_maxmsg = 3, .mq_msgsize = 64 };

	ERR(mq_open(queue_name(), O_RDWR));
	ERR(mq_open("/a/b", O_RDWR | O_CREAT, 0600, NULL));
	ERR(mq_open("/", O_RDWR | O_CREAT, 0600, NULL));
	ERR(mq_open("no-slash", O_RDWR | O_CREAT, 0600, NULL));
	mqd_t queue = MUST(mq_open(name, O_RDWR | O_CREAT | O_NONBLOCK, 0640, &attr));
	ERR(mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL));
	SHOW(fcntl(queue, F_GETFD));
	attr.mq_maxmsg = 0;
	ERR(mq_open("/observe-bad", O_RDWR | O_CREAT, 0600, &attr));
	attr.mq_maxmsg = -1;
	ERR(mq_open("/observe-bad", O_RDWR | O_CREAT, 0600, &attr));
	attr.mq_maxmsg = 100000;
	ERR(mq_open("/observe-bad", O_RDWR | O_CREAT, 0600, &attr));
	MUST(mq_getattr(queue, &attr));
	say("flags %#lx max %ld size %ld now %ld\n", attr.mq_flags, attr.mq_maxmsg, attr.mq_msgsize, attr.mq_curmsgs);
	attr.mq_flags = 0;
	MUST(mq_setattr(queue, &attr, NULL));
	MUST(mq_getattr(queue, &attr));
	SHOW(attr.mq_flags);
	attr.mq_flags = O_APPEND;
	ERR(mq_setattr(queue, &attr, NULL));
	struct stat st;
	MUST(fstat(queue, &st));
	say("%o %ld\n", st.st_mode, (long)st.st_size);
	mqd_t reader = MUST(mq_open(name, O_RDONLY)), writer = MUST(mq_open(name, O_WRONLY));
	ERR(mq_send(reader, "x", 1, 0));
	char text[64];
	ERR(mq_receive(writer, text, sizeof text, NULL));
	ERR(mq_unlink(name));
	ERR(mq_unlink(name));
	ERR(mq_open(name, O_RDWR));
	RET(mq_send(writer, "still there", 11, 1));
	receive(reader);
	ERR(mq_close(queue));
	ERR(mq_getattr(queue, &attr));
	ERR(mq_getattr(0, &attr));
}

SECTION("messages: priorities, sizes, O_NONBLOCK, times")
{
	mqd_t queue = make(5, 64, O_NONBLOCK);
	char text[64];

	MUST(mq_send(queue, "low", 3, 1));
	MUST(mq_send(queue, "high", 4, 9));
	MUST(mq_send(queue, "also low", 8, 1));
	MUST(mq_send(queue, "", 0, 5));
	MUST(mq_send(queue, "highest", 7, 32767));
	ERR(mq_send(queue, "full", 4, 0));
	ERR(mq_send(queue, "x", 1, 32768));
	for (int i = 0; i < 6; i++)
		receive(queue);
	ERR(mq_send(queue, text, 65, 0));
	MUST(mq_send(queue, "x", 1, 0));
	ERR(mq_receive(queue, text, 63, NULL));
	receive(queue);
	struct mq_attr attr = { 0 };
	MUST(mq_setattr(queue, &attr, NULL));
	struct timespec past = { 1, 0 }, bad = { 0, -1 }, soon;
	ERR(mq_timedreceive(queue, text, sizeof text, NULL, &past));
	ERR(mq_timedreceive(queue, text, sizeof text, NULL, &bad));
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 20000000;
	if (soon.tv_nsec >= 1000000000)
		soon.tv_sec++, soon.tv_nsec -= 1000000000;
	ERR(mq_timedreceive(queue, text, sizeof text, NULL, &soon));
	for (int i = 0; i < 5; i++)
		MUST(mq_timedsend(queue, "x", 1, 0, &past));
	ERR(mq_timedsend(queue, "x", 1, 0, &past));
}

SECTION("waiting for a message and for room; poll; signals")
{
	mqd_t queue = make(1, 64, 0);
	struct pollfd p = { queue, POLLIN | POLLOUT, 0 };

	poll(&p, 1, 0);
	HEX(p.revents);
	pid_t pid = fork();
	if (pid == 0) {
		receive(queue);
		_exit(0);
	}
	await_state(pid, 'S');
	MUST(mq_send(queue, "woken", 5, 3));
	STATUS(end_of(pid));
	MUST(mq_send(queue, "first", 5, 0));
	poll(&p, 1, 0);
	HEX(p.revents);
	pid = fork();
	if (pid == 0)
		_exit(mq_send(queue, "second", 6, 0) == 0 ? 0 : 1);
	await_state(pid, 'S');
	receive(queue);
	STATUS(end_of(pid));
	receive(queue);
	pid = fork();
	if (pid == 0) {
		handle(SIGUSR1, ignore, 0);
		receive(queue);
		_exit(0);
	}
	await_state(pid, 'S');
	sleep_ms(20);
	kill(pid, SIGUSR1);
	STATUS(end_of(pid));
}

static volatile siginfo_t told;
static volatile int times_told;

static void notified(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	*(siginfo_t *)&told = *info;
	times_told++;
}

SECTION("mq_notify: once, for the empty queue, one process at a time")
{
	mqd_t queue = make(5, 64, O_NONBLOCK);
	struct sigaction action = { .sa_sigaction = notified, .sa_flags = SA_SIGINFO };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77 };

	sigaction(SIGUSR1, &action, NULL);
	MUST(mq_notify(queue, &event));
	ERR(mq_notify(queue, &event));
	MUST(mq_send(queue, "a", 1, 0));
	SHOW(times_told);
	SHOW(told.si_code == SI_MESGQ && told.si_pid == getpid() && told.si_value.sival_int == 77);
	MUST(mq_send(queue, "b", 1, 0));
	SHOW(times_told);
	MUST(mq_notify(queue, &event));
	MUST(mq_send(queue, "c", 1, 0));
	SHOW(times_told);
	for (int i = 0; i < 3; i++)
		receive(queue);
	pid_t pid = fork();
	if (pid == 0) {
		ERR(mq_notify(queue, &event));
		MUST(mq_send(queue, "d", 1, 0));
		_exit(0);
	}
	STATUS(end_of(pid));
	SHOW(times_told);
	SHOW(told.si_pid == pid);
	receive(queue);
	MUST(mq_notify(queue, &event));
	MUST(mq_notify(queue, NULL));
	MUST(mq_send(queue, "e", 1, 0));
	SHOW(times_told);
	event.sigev_signo = 99;
	ERR(mq_notify(queue, &event));
	event.sigev_notify = 42;
	ERR(mq_notify(queue, &event));
	ERR(mq_notify(0, NULL));
}

SECTION("permissions of another user")
{
	need_root();
	mqd_t queue = MUST(mq_open(queue_name(), O_RDWR | O_CREAT, 0604, NULL));
	pid_t pid = fork();

	if (pid == 0) {
		MUST(setgroups(0, NULL));
		MUST(setgid(12345));
		MUST(setuid(12345));
		ERR(mq_open(name, O_RDWR));
		ERR(mq_open(name, O_RDONLY));
		ERR(mq_unlink(name));
		struct mq_attr attr = { .mq_maxmsg = 11, .mq_msgsize = 64 };
		ERR(mq_open("/observe-12345", O_RDWR | O_CREAT, 0600, &attr));
		_exit(0);
	}
	STATUS(end_of(pid));
	mq_close(queue);
	mq_unlink(name);
}
