/* FUSE: what a server tells by itself, and what it lets others wait for. */
#include "fuse-server.h"
#include <sys/epoll.h>
#include <sys/select.h>

static int make_file(const char *path, size_t size)
{
	char data[size];
	int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));

	memset(data, 'a', size);
	MUST(write(fd, data, size));
	return fd;
}

static int poll_one(int fd, short events, int timeout)
{
	struct pollfd one = { fd, events, 0 };
	int n = poll(&one, 1, timeout);

	say("poll: %d, %#x\n", n, (unsigned)one.revents);
	return n;
}

/* In a child, when the server was asked to tell: there is something. */
static pid_t wake_later(int fd, unsigned asked)
{
	pid_t pid = fork();

	if (pid == 0) {
		while (shared->count[FUSE_POLL] < asked)
			usleep(1000);
		usleep(20000);
		MUST(ioctl(fd, SERVER_WAKES));
		_exit(0);
	}
	return pid;
}

SECTION("fuse poll: the server says what holds")
{
	need_root();
	pid_t server = start("");
	int fd = make_file("m/f", 10);
	shared->polls = 1;
	poll_one(fd, POLLIN | POLLOUT, 0);
	HEX(shared->poll_flags);
	HEX(shared->poll_events & (POLLIN | POLLOUT | POLLPRI));
	shared->revents = POLLIN | POLLPRI;
	poll_one(fd, POLLIN | POLLOUT, 0);
	poll_one(fd, POLLPRI, -1);
	shared->revents = POLLOUT;
	fd_set reads, writes;
	FD_ZERO(&reads);
	FD_ZERO(&writes);
	FD_SET(fd, &reads);
	FD_SET(fd, &writes);
	struct timeval none = { 0, 0 };
	RET(select(fd + 1, &reads, &writes, NULL, &none));
	SHOW(FD_ISSET(fd, &reads));
	SHOW(FD_ISSET(fd, &writes));
	SHOW(shared->count[FUSE_POLL]);
	shared->fail_opcode = FUSE_POLL;
	shared->fail_error = EIO;
	poll_one(fd, POLLIN, 0);
	shared->fail_opcode = 0;
	close(fd);
	finish(server);
}

SECTION("fuse poll: and tells when that changes")
{
	need_root();
	pid_t server = start("");
	int fd = make_file("m/f", 10), status;
	shared->polls = 1;
	poll_one(fd, POLLIN, 30);
	HEX(shared->poll_flags);
	pid_t pid = wake_later(fd, shared->count[FUSE_POLL] + 1);
	poll_one(fd, POLLIN, -1);
	waitpid(pid, &status, 0);
	STATUS(status);
	shared->revents = 0;
	pid = wake_later(fd, shared->count[FUSE_POLL] + 1);
	fd_set reads;
	FD_ZERO(&reads);
	FD_SET(fd, &reads);
	RET(select(fd + 1, &reads, NULL, NULL, NULL));
	waitpid(pid, &status, 0);
	close(fd);
	finish(server);
}

SECTION("fuse poll: epoll")
{
	need_root();
	pid_t server = start("");
	int fd = make_file("m/f", 10), status;
	shared->polls = 1;
	int epoll = MUST(epoll_create1(0));
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = 7 };
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	event.data.u32 = 0;
	pid_t pid = wake_later(fd, shared->count[FUSE_POLL]);
	RET(epoll_wait(epoll, &event, 1, -1));
	HEX(event.events);
	SHOW(event.data.u32);
	waitpid(pid, &status, 0);
	RET(epoll_wait(epoll, &event, 1, -1));
	/* What is no event to poll(2) is none to epoll, which has flags there. */
	shared->revents = POLLIN | EPOLLET | EPOLLONESHOT;
	usleep(20000);
	RET(epoll_wait(epoll, &event, 1, -1));
	HEX(event.events);
	int dir = MUST(open("m", O_RDONLY));
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, dir, &event));
	close(fd);
	close(dir);
	finish(server);
}

SECTION("fuse poll: of a server without it files are always ready")
{
	need_root();
	pid_t server = start("");
	int fd = make_file("m/f", 10);
	poll_one(fd, POLLIN | POLLOUT, -1);
	poll_one(fd, POLLIN | POLLOUT, 0);
	SHOW(shared->count[FUSE_POLL]);
	int epoll = MUST(epoll_create1(0));
	struct epoll_event event = { .events = EPOLLIN };
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	RET(epoll_wait(epoll, &event, 1, -1));
	close(fd);
	finish(server);
}

SECTION("fuse poll: the server dies while somebody waits")
{
	need_root();
	pid_t server = start("");
	int fd = make_file("m/f", 10), status;
	shared->polls = 1;
	pid_t pid = fork();
	if (pid == 0) {
		while (shared->count[FUSE_POLL] < 1)
			usleep(1000);
		usleep(20000);
		kill(server, SIGKILL);
		_exit(0);
	}
	poll_one(fd, POLLIN, 3000);
	waitpid(pid, &status, 0);
	waitpid(server, &status, 0);
	close(fd);
	umount("m");
}

SECTION("fuse store: bytes that nobody has asked for")
{
	need_root();
	pid_t server = start("");
	char bytes[3 * 4096] = "";
	int fd = make_file("m/f", 3 * 4096);
	const unsigned before = shared->count[FUSE_READ];
	ERR(ioctl(fd, SERVER_STORES));
	RET(pread(fd, bytes, 4096, 4096));
	SHOW(bytes[0] == 'T' && bytes[4095] == 'T');
	SHOW(shared->count[FUSE_READ] - before);
	RET(pread(fd, bytes, sizeof bytes, 0));
	SHOW(bytes[0] == 'a' && bytes[4095] == 'a' && bytes[4096] == 'T' && bytes[8192] == 'a');
	close(fd);
	/* Beyond the end: the file is longer. */
	fd = make_file("m/g", 10);
	struct stat st;
	ERR(ioctl(fd, SERVER_STORES));
	shared->attr_valid = 0;
	MUST(fstat(fd, &st));
	close(fd);
	finish(server);
}

SECTION("fuse store: a part of pages, one of them known")
{
	need_root();
	pid_t server = start("");
	char bytes[3 * 4096] = "";
	int fd = make_file("m/f", sizeof bytes);
	close(fd);
	fd = MUST(open("m/f", O_RDWR));
	MUST(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM));
	RET(pread(fd, bytes, 4096, 4096));
	shared->store_offset = 4000;
	shared->store_size = 200;
	ERR(ioctl(fd, SERVER_STORES));
	RET(pread(fd, bytes, sizeof bytes, 0));
	SHOW(bytes[4000] == 'a' && bytes[4095] == 'a');
	SHOW(bytes[4096] == 'T' && bytes[4195] == 'T' && bytes[4196] == 'a');
	close(fd);
	finish(server);
}

SECTION("fuse store: a mapping shows it")
{
	need_root();
	pid_t server = start("");
	int fd = make_file("m/f", 3 * 4096);
	char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	SHOW(p[4096] == 'a');
	ERR(ioctl(fd, SERVER_STORES));
	SHOW(p[4096] == 'T' && p[8191] == 'T' && p[8192] == 'a' && p[4095] == 'a');
	p[100] = 'm';
	shared->store_offset = 101;
	shared->store_size = 3;
	ERR(ioctl(fd, SERVER_STORES));
	SHOW(p[100] == 'm' && p[101] == 'T' && p[103] == 'T' && p[104] == 'a');
	MUST(msync(p, 3 * 4096, MS_SYNC));
	munmap(p, 3 * 4096);
	close(fd);
	finish(server);
}

SECTION("fuse retrieve: what the kernel knows of a file")
{
	need_root();
	pid_t server = start("");
	char bytes[4096];
	int fd = make_file("m/f", 5000);
	close(fd);
	fd = MUST(open("m/f", O_RDWR));
	MUST(pread(fd, bytes, sizeof bytes, 0));
	MUST(pread(fd, bytes, sizeof bytes, 4096));
	ERR(ioctl(fd, SERVER_RETRIEVES));
	while (!shared->retrieved)
		usleep(1000);
	SHOW(shared->retrieved_unique);
	SHOW(shared->retrieved_offset);
	SHOW(shared->retrieved_size);
	SHOW(shared->retrieved_sum == 5000 * 'a');
	close(fd);
	finish(server);
}
