/* Pipes and FIFOs: pipe(7), fifo(7), splice(2), tee(2), vmsplice(2). */
#include "observe.h"
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/sendfile.h>

static int events_of(int fd, int events)
{
	struct pollfd p = { .fd = fd, .events = events };

	poll(&p, 1, 0);
	return p.revents;
}

SECTION("pipe: capacity, page by page")
{
	int p[2];
	char page[4096] = { 0 };

	MUST(pipe2(p, O_NONBLOCK));
	RET(fcntl(p[0], F_GETPIPE_SZ));
	long total = 0;
	while (write(p[1], page, sizeof page) > 0)
		total += sizeof page;
	say("total %ld\n", total);
	RET(write(p[1], page, 1));
	RET(events_of(p[1], POLLOUT));
	MUST(read(p[0], page, 4095));
	RET(events_of(p[1], POLLOUT));
	RET(write(p[1], page, 1));
	MUST(read(p[0], page, 1));
	RET(events_of(p[1], POLLOUT));
	RET(write(p[1], page, 10));
	RET(write(p[1], page, 4096));
	int n;
	MUST(ioctl(p[0], FIONREAD, &n));
	say("FIONREAD %d\n", n);
}

SECTION("pipe: one-byte writes share pages")
{
	int p[2], total = 0;

	MUST(pipe2(p, O_NONBLOCK));
	while (write(p[1], "x", 1) == 1)
		total++;
	say("total %d\n", total);
}

SECTION("pipe: sizes")
{
	int p[2];
	char buf[20000];

	MUST(pipe2(p, O_NONBLOCK));
	RET(fcntl(p[0], F_SETPIPE_SZ, 1));
	RET(fcntl(p[0], F_SETPIPE_SZ, 5000));
	RET(write(p[1], buf, 20000));
	RET(fcntl(p[0], F_SETPIPE_SZ, 4096));
	RET(fcntl(p[0], F_SETPIPE_SZ, 1 << 20));
	RET(fcntl(p[0], F_SETPIPE_SZ, -1));
	RET(fcntl(p[0], F_GETPIPE_SZ));
	RET(fcntl(0, F_GETPIPE_SZ) == -1 ? errno == EBADF : -2);
}

SECTION("pipe: packets")
{
	int p[2];
	char buf[9000];

	MUST(pipe2(p, O_NONBLOCK | O_DIRECT));
	RET(write(p[1], "hello", 5));
	RET(write(p[1], "world!", 6));
	RET(write(p[1], buf, 9000));
	RET(read(p[0], buf, 3));
	RET(read(p[0], buf, 100));
	RET(read(p[0], buf, 9000));
	RET(read(p[0], buf, 9000));
	RET(read(p[0], buf, 9000));
	RET(read(p[0], buf, 9000));
	RET(fcntl(p[1], F_GETFL));
	RET(fcntl(p[0], F_GETFL));
}

SECTION("pipe: ends")
{
	int p[2];
	char c;

	signal(SIGPIPE, SIG_IGN);
	MUST(pipe(p));
	RET(events_of(p[0], POLLIN));
	RET(events_of(p[1], POLLOUT));
	RET(write(p[0], &c, 1));
	RET(read(p[1], &c, 1));
	RET(lseek(p[0], 0, SEEK_CUR));
	RET(pread(p[0], &c, 1, 0));
	RET(read(p[0], &c, 0));
	MUST(write(p[1], "a", 1));
	MUST(close(p[1]));
	RET(events_of(p[0], POLLIN));
	RET(read(p[0], &c, 1));
	RET(events_of(p[0], POLLIN));
	RET(read(p[0], &c, 1));
	MUST(close(p[0]));
	MUST(pipe(p));
	MUST(close(p[0]));
	RET(events_of(p[1], POLLOUT));
	RET(write(p[1], "a", 1));
	RET(write(p[1], "a", 0));
	struct stat st;
	MUST(fstat(p[1], &st));
	say("mode %o size %ld blksize %ld nlink %ld\n", st.st_mode, (long)st.st_size, (long)st.st_blksize, (long)st.st_nlink);
	RET(pipe2(p, 0x1));
	RET(pipe((int *)8));
}

SECTION("pipe: SIGPIPE kills, a big blocking write is whole, EINTR after part")
{
	int p[2];

	MUST(pipe(p));
	close(p[0]);
	pid_t child = fork();
	if (child == 0) {
		write(p[1], "x", 1);
		_exit(1);
	}
	STATUS(end_of(child));
	int status;
	MUST(pipe(p));
	char *big = calloc(1, 1000000);
	child = fork();
	if (child == 0) {
		close(p[0]);
		_exit(write(p[1], big, 1000000) == 1000000 ? 0 : 1);
	}
	close(p[1]);
	long total = 0, n;
	while ((n = read(p[0], big, 70000)) > 0)
		total += n;
	MUST(waitpid(child, &status, 0));
	say("total %ld status %x\n", total, status);
}

SECTION("pipe: interrupted calls")
{
	int p[2];
	char *big = calloc(1, 1000000);
	struct sigaction sa = { .sa_handler = ignore };

	MUST(pipe(p));
	sigaction(SIGALRM, &sa, NULL);
	struct itimerval it = { .it_value = { 0, 100000 } };
	setitimer(ITIMER_REAL, &it, NULL);
	RET(read(p[0], big, 1));
	setitimer(ITIMER_REAL, &it, NULL);
	RET(write(p[1], big, 100000));
	setitimer(ITIMER_REAL, &it, NULL);
	RET(write(p[1], big, 100000));
}

SECTION("fifo: opening")
{
	char c[10];

	MUST(mkfifo("f", 0644));
	RET(open("f", O_WRONLY | O_NONBLOCK));
	int r = open("f", O_RDONLY | O_NONBLOCK);
	RET(r);
	RET(events_of(r, POLLIN));
	RET(read(r, c, 1));
	int w = open("f", O_WRONLY | O_NONBLOCK);
	RET(w);
	RET(events_of(r, POLLIN));
	RET(read(r, c, 1));
	RET(write(w, "abc", 3));
	MUST(close(w));
	RET(events_of(r, POLLIN));
	RET(read(r, c, 10));
	RET(events_of(r, POLLIN));
	MUST(close(r));
	int rw = MUST(open("f", O_RDWR));
	RET(write(rw, "abc", 3));
	RET(read(rw, c, 3));
	RET(events_of(rw, POLLIN | POLLOUT));
	MUST(close(rw));
	pid_t child = fork();
	if (child == 0) {
		int fd = open("f", O_WRONLY);
		_exit(write(fd, "child", 5) == 5 ? 0 : 1);
	}
	r = MUST(open("f", O_RDONLY));
	RET(read(r, c, 10));
	RET(read(r, c, 10));
	MUST(close(r));
	int status;
	MUST(waitpid(child, &status, 0));
	struct sigaction sa = { .sa_handler = ignore };
	sigaction(SIGALRM, &sa, NULL);
	struct itimerval it = { .it_value = { 0, 50000 } };
	setitimer(ITIMER_REAL, &it, NULL);
	RET(open("f", O_RDONLY));
	RET(open("f", O_WRONLY | O_NONBLOCK));
	struct stat st;
	MUST(stat("f", &st));
	say("mode %o size %ld\n", st.st_mode, (long)st.st_size);
}

SECTION("pipe: opened again through /proc")
{
	int p[2];
	char path[40], c[10];

	MUST(pipe(p));
	snprintf(path, sizeof path, "/proc/self/fd/%d", p[0]);
	int w = MUST(open(path, O_WRONLY));
	MUST(close(p[1]));
	RET(write(w, "hi", 2));
	RET(read(p[0], c, 10));
	MUST(close(w));
	RET(read(p[0], c, 10));
	int r = MUST(open(path, O_RDONLY));
	RET(read(r, c, 10));
}

SECTION("splice and tee")
{
	int a[2], b[2];
	char buf[100000] = { 0 };

	signal(SIGPIPE, SIG_IGN);
	MUST(pipe(a));
	MUST(pipe(b));
	int f = MUST(open("f", O_RDWR | O_CREAT, 0644));
	MUST(write(f, buf, 100000));
	loff_t off = 10;
	RET(splice(f, &off, a[1], NULL, 5000, 0));
	say("off %ld\n", (long)off);
	RET(tee(a[0], b[1], 3000, 0));
	RET(splice(a[0], NULL, b[1], NULL, 100000, 0));
	RET(splice(a[0], NULL, b[1], NULL, 100000, SPLICE_F_NONBLOCK));
	RET(splice(a[0], NULL, a[1], NULL, 10, 0));
	RET(splice(f, NULL, f, NULL, 10, 0));
	off = 0;
	RET(splice(b[0], &off, f, NULL, 10, 0));
	RET(splice(b[0], NULL, f, &off, 100000, 0));
	say("off %ld\n", (long)off);
	RET(splice(b[0], NULL, f, &off, 100, SPLICE_F_NONBLOCK));
	RET(splice(b[0], NULL, f, &off, 100, 0x100));
	RET(splice(b[0], NULL, 99, &off, 100, 0));
	int ap = MUST(open("f", O_WRONLY | O_APPEND));
	MUST(write(a[1], "abc", 3));
	RET(splice(a[0], NULL, ap, NULL, 100, 0));
	close(a[1]);
	RET(splice(a[0], NULL, f, NULL, 100, 0));
	RET(splice(a[0], NULL, f, NULL, 100, 0));
	RET(tee(a[0], b[1], 10, 0));
	close(b[0]);
	MUST(lseek(f, 0, SEEK_SET));
	RET(splice(f, NULL, b[1], NULL, 100, 0));
	MUST(pipe(a));
	struct iovec iov[2] = { { "hello ", 6 }, { "world", 5 } };
	RET(vmsplice(a[1], iov, 2, 0));
	char out[20] = "";
	struct iovec back = { out, 20 };
	RET(vmsplice(a[0], &back, 1, 0));
	TEXT(out);
	RET(vmsplice(f, iov, 2, 0));
	MUST(lseek(f, 0, SEEK_SET));
	RET(sendfile(a[1], f, NULL, 3000));
	RET(sendfile(a[1], f, NULL, 100000) > 0);
}
