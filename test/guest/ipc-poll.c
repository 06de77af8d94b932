/* poll(2), select(2), epoll(7). */
#include "observe.h"
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/eventfd.h>

SECTION("poll")
{
	int p[2];
	struct pollfd f[4] = { { -1, POLLIN, 77 }, { 99, 0, 77 }, { 0, POLLIN | POLLOUT, 77 } };

	MUST(pipe(p));
	f[3] = (struct pollfd){ p[0], POLLIN, 77 };
	RET(poll(f, 4, -1));
	for (int i = 0; i < 4; i++)
		say("%d: %#x %#x\n", i, f[i].events, f[i].revents);
	f[0] = (struct pollfd){ p[0], POLLIN, 77 };
	long start = now_ms();
	RET(poll(f, 1, 30));
	SHOW(now_ms() - start >= 30);
	HEX(f[0].revents);
	pid_t child = fork();
	if (child == 0) {
		sleep_ms(30);
		write(p[1], "x", 1);
		_exit(0);
	}
	RET(poll(f, 1, -1));
	HEX(f[0].revents);
	end_of(child);
	int d = MUST(open(".", O_RDONLY));
	f[0].fd = d;
	f[0].events = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLPRI;
	RET(poll(f, 1, 0));
	HEX(f[0].revents);
	RET(poll(NULL, 0, 10));
	RET(poll((void *)8, 1, 0));
	RET(poll(f, 10000000, 0));
	int o = MUST(open(".", O_PATH));
	f[0].fd = o;
	RET(poll(f, 1, 0));
	HEX(f[0].revents);
}

static volatile int handled;
static void count(int signo)
{
	(void)signo;
	handled++;
}

SECTION("poll and select: signals and what is left of the time")
{
	struct itimerval it = { .it_value = { 0, 30000 } };
	struct pollfd f = { -1, 0, 0 };

	handle(SIGALRM, count, SA_RESTART);
	setitimer(ITIMER_REAL, &it, NULL);
	RET(poll(&f, 1, -1));
	struct timeval tv = { 5, 0 };
	setitimer(ITIMER_REAL, &it, NULL);
	RET(select(0, NULL, NULL, NULL, &tv));
	say("left: %d\n", tv.tv_sec == 4);
	struct timespec ts = { 5, 0 };
	setitimer(ITIMER_REAL, &it, NULL);
	RET(syscall(SYS_ppoll, &f, 1, &ts, NULL, 8));
	say("left: %d\n", ts.tv_sec == 4);
	tv = (struct timeval){ 0, 20000 };
	RET(select(0, NULL, NULL, NULL, &tv));
	say("left: %ld %ld\n", tv.tv_sec, tv.tv_usec);
	tv = (struct timeval){ 0, 1999999 };
	int p[2];
	MUST(pipe(p));
	MUST(write(p[1], "x", 1));
	fd_set set;
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	RET(select(p[0] + 1, &set, NULL, NULL, &tv));
	say("left: %d\n", tv.tv_sec == 1 && tv.tv_usec > 0);
	sigset_t block, none;
	sigemptyset(&block);
	sigemptyset(&none);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	handle(SIGUSR1, count, SA_RESTART);
	handled = 0;
	kill(getpid(), SIGUSR1);
	RET(ppoll(&f, 1, NULL, &none));
	SHOW(handled);
	kill(getpid(), SIGUSR1);
	RET(pselect(0, NULL, NULL, NULL, NULL, &none));
	SHOW(handled);
	int e = MUST(epoll_create1(0));
	struct epoll_event ev;
	kill(getpid(), SIGUSR1);
	RET(epoll_pwait(e, &ev, 1, -1, &none));
	SHOW(handled);
	sigset_t now;
	sigprocmask(SIG_BLOCK, NULL, &now);
	SHOW(sigismember(&now, SIGUSR1));
	pid_t child = fork();
	if (child == 0) {
		long start = now_ms();
		int n = poll(&f, 1, 300);
		_exit(n == 0 && now_ms() - start >= 300 && now_ms() - start < 2000 ? 0 : 1);
	}
	sleep_ms(50);
	kill(child, SIGSTOP);
	sleep_ms(50);
	kill(child, SIGCONT);
	STATUS(end_of(child));
	ts.tv_nsec = 1000000000;
	RET(syscall(SYS_ppoll, &f, 1, &ts, NULL, 8));
	ts.tv_nsec = 0;
	RET(syscall(SYS_ppoll, &f, 1, &ts, &none, 7));
}

SECTION("select")
{
	int p[2], q[2];
	fd_set r, w, e;
	struct timeval tv = { 0, 0 };

	MUST(pipe(p));
	MUST(pipe(q));
	MUST(write(p[1], "x", 1));
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&e);
	FD_SET(p[0], &r);
	FD_SET(q[0], &r);
	FD_SET(p[1], &w);
	FD_SET(p[1], &e);
	FD_SET(p[0], &e);
	RET(select(q[1] + 1, &r, &w, &e, &tv));
	say("%d %d %d %d %d\n", !!FD_ISSET(p[0], &r), !!FD_ISSET(q[0], &r), !!FD_ISSET(p[1], &w), !!FD_ISSET(p[1], &e), !!FD_ISSET(p[0], &e));
	close(q[1]);
	FD_ZERO(&r);
	FD_SET(q[0], &r);
	RET(select(q[0] + 1, &r, NULL, NULL, NULL));
	FD_SET(60, &r);
	RET(select(61, &r, NULL, NULL, NULL));
	SHOW(!!FD_ISSET(60, &r));
	RET(select(-1, NULL, NULL, NULL, NULL));
	tv.tv_sec = -1;
	RET(select(0, NULL, NULL, NULL, &tv));
	RET(select(10, (void *)8, NULL, NULL, NULL));
}

static void say_events(int e, int max, int timeout)
{
	struct epoll_event ev[20];
	int n = epoll_wait(e, ev, max, timeout);

	if (n < 0) {
		say("epoll_wait: %s\n", error_name(errno));
		return;
	}
	say("epoll_wait: %d", n);
	for (int i = 0; i < n; i++)
		say(" %#x:%d", ev[i].events, (int)ev[i].data.u64);
	say("\n");
}
static int control(int e, int operation, int fd, unsigned events, int data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	return epoll_ctl(e, operation, fd, &ev);
}

SECTION("epoll: levels, edges, one shot")
{
	int e = MUST(epoll_create1(EPOLL_CLOEXEC)), p[2];
	char buf[10];

	MUST(pipe2(p, O_NONBLOCK));
	RET(control(e, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	RET(control(e, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	say_events(e, 10, 0);
	MUST(write(p[1], "x", 1));
	say_events(e, 10, 0);
	say_events(e, 10, 0);
	RET(control(e, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET, 2));
	say_events(e, 10, 0);
	say_events(e, 10, 0);
	MUST(write(p[1], "x", 1));
	say_events(e, 10, 0);
	say_events(e, 10, 0);
	RET(control(e, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 3));
	say_events(e, 10, 0);
	MUST(write(p[1], "x", 1));
	say_events(e, 10, 0);
	RET(control(e, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 4));
	say_events(e, 10, 0);
	RET(control(e, EPOLL_CTL_MOD, p[0], 0, 5));
	close(p[1]);
	say_events(e, 10, 0);
	RET(control(e, EPOLL_CTL_DEL, p[0], 0, 0));
	RET(control(e, EPOLL_CTL_DEL, p[0], 0, 0));
	RET(control(e, EPOLL_CTL_MOD, p[0], 0, 0));
	RET(control(e, 9, p[0], 0, 0));
	RET(control(e, EPOLL_CTL_ADD, e, EPOLLIN, 0));
	RET(control(e, EPOLL_CTL_ADD, 99, EPOLLIN, 0));
	RET(control(p[0], EPOLL_CTL_ADD, e, EPOLLIN, 0));
	RET(control(99, EPOLL_CTL_ADD, e, EPOLLIN, 0));
	int d = MUST(open(".", O_RDONLY));
	RET(control(e, EPOLL_CTL_ADD, d, EPOLLIN, 0));
	RET(control(e, EPOLL_CTL_ADD, 0, EPOLLIN, 0));
	RET(epoll_ctl(e, EPOLL_CTL_ADD, p[0], NULL));
	RET(epoll_ctl(e, EPOLL_CTL_DEL, p[0], NULL));
	struct epoll_event ev;
	RET(epoll_wait(e, &ev, 0, 0));
	RET(epoll_wait(e, &ev, -1, 0));
	RET(epoll_wait(0, &ev, 1, 0));
	RET(epoll_wait(99, &ev, 1, 0));
	RET(epoll_create(0));
	RET(epoll_create1(5));
	RET(read(e, buf, 10));
	int v = MUST(eventfd(1, 0));
	MUST(control(e, EPOLL_CTL_ADD, v, EPOLLIN, 0));
	RET(epoll_wait(e, (void *)8, 1, 0));
}

SECTION("epoll: turns, duplicates, closing")
{
	int e = MUST(epoll_create1(0)), v[5];

	for (int i = 0; i < 5; i++) {
		v[i] = MUST(eventfd(1, 0));
		MUST(control(e, EPOLL_CTL_ADD, v[i], EPOLLIN, i));
	}
	say_events(e, 2, 0);
	say_events(e, 2, 0);
	say_events(e, 2, 0);
	say_events(e, 20, 0);
	int copy = MUST(dup(v[0]));
	RET(control(e, EPOLL_CTL_ADD, copy, EPOLLIN, 10));
	close(v[0]);
	say_events(e, 20, 0);
	RET(control(e, EPOLL_CTL_DEL, v[0], 0, 0));
	close(copy);
	say_events(e, 20, 0);
	for (int i = 1; i < 5; i++)
		close(v[i]);
	say_events(e, 20, 0);
}

SECTION("epoll: nesting")
{
	int a = MUST(epoll_create1(0)), b = MUST(epoll_create1(0)), v = MUST(eventfd(0, 0));

	RET(control(a, EPOLL_CTL_ADD, b, EPOLLIN, 1));
	RET(control(b, EPOLL_CTL_ADD, a, EPOLLIN, 2));
	RET(control(b, EPOLL_CTL_ADD, v, EPOLLIN, 3));
	say_events(a, 10, 0);
	eventfd_write(v, 1);
	say_events(a, 10, 0);
	say_events(b, 10, 0);
	RET(control(a, EPOLL_CTL_MOD, b, EPOLLIN | EPOLLET, 4));
	say_events(a, 10, 0);
	say_events(a, 10, 0);
	eventfd_write(v, 1);
	say_events(a, 10, 0);
	struct pollfd p = { a, POLLIN, 0 };
	RET(poll(&p, 1, 0));
	int top = MUST(epoll_create1(0));
	for (int i = 0; i < 8; i++) {
		int next = MUST(epoll_create1(0));
		say("%d: %s\n", i, control(next, EPOLL_CTL_ADD, top, EPOLLIN, 0) == 0 ? "ok" : error_name(errno));
		top = next;
	}
	int bottom = MUST(epoll_create1(0));
	for (int i = 0; i < 8; i++) {
		int next = MUST(epoll_create1(0));
		say("%d: %s\n", i, control(bottom, EPOLL_CTL_ADD, next, EPOLLIN, 0) == 0 ? "ok" : error_name(errno));
		bottom = next;
	}
}

SECTION("epoll: exclusive")
{
	int e = MUST(epoll_create1(0)), v = MUST(eventfd(0, 0)), f = MUST(epoll_create1(0));

	RET(control(e, EPOLL_CTL_ADD, v, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 1));
	RET(control(e, EPOLL_CTL_ADD, f, EPOLLIN | EPOLLEXCLUSIVE, 1));
	RET(control(e, EPOLL_CTL_ADD, v, EPOLLIN | EPOLLEXCLUSIVE, 1));
	RET(control(e, EPOLL_CTL_MOD, v, EPOLLIN, 1));
	RET(control(e, EPOLL_CTL_MOD, v, EPOLLIN | EPOLLEXCLUSIVE, 1));
	eventfd_write(v, 1);
	say_events(e, 10, 0);
}

SECTION("epoll: waiting")
{
	int e = MUST(epoll_create1(0)), p[2];
	long start = now_ms();

	MUST(pipe(p));
	MUST(control(e, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	say_events(e, 10, 30);
	SHOW(now_ms() - start >= 30);
	pid_t child = fork();
	if (child == 0) {
		sleep_ms(30);
		write(p[1], "x", 1);
		_exit(0);
	}
	say_events(e, 10, -1);
	end_of(child);
	char c;
	MUST(read(p[0], &c, 1));
	struct itimerval it = { .it_value = { 0, 30000 } };
	handle(SIGALRM, ignore, SA_RESTART);
	setitimer(ITIMER_REAL, &it, NULL);
	say_events(e, 10, -1);
	/* A file added while somebody waits. */
	child = fork();
	if (child == 0) {
		sleep_ms(30);
		int v = eventfd(1, 0);
		control(e, EPOLL_CTL_ADD, v, EPOLLIN, 7);
		sleep_ms(100);
		_exit(0);
	}
	say_events(e, 10, 2000);
	end_of(child);
	/* Of several waiters each event wakes one. */
	int v = MUST(eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK)), out[2];
	MUST(control(e, EPOLL_CTL_ADD, v, EPOLLIN | EPOLLET, 8));
	MUST(pipe(out));
	for (int i = 0; i < 3; i++) {
		if (fork() == 0) {
			struct epoll_event ev;
			int n = epoll_wait(e, &ev, 1, 300);
			write(out[1], n == 1 ? "1" : "0", 1);
			_exit(0);
		}
	}
	sleep_ms(50);
	eventfd_write(v, 1);
	int sum = 0;
	for (int i = 0; i < 3; i++) {
		MUST(read(out[0], &c, 1));
		sum += c - '0';
	}
	SHOW(sum);
}

SECTION("epoll: socket and pipe events")
{
	int e = MUST(epoll_create1(0)), s[2], p[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	MUST(pipe(p));
	MUST(control(e, EPOLL_CTL_ADD, s[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1));
	MUST(control(e, EPOLL_CTL_ADD, p[1], EPOLLOUT | EPOLLET, 2));
	say_events(e, 10, 0);
	say_events(e, 10, 0);
	MUST(write(s[1], "x", 1));
	say_events(e, 10, 0);
	shutdown(s[1], SHUT_WR);
	say_events(e, 10, 0);
	close(s[1]);
	say_events(e, 10, 0);
	close(p[0]);
	say_events(e, 10, 0);
	say_events(e, 10, 0);
}
