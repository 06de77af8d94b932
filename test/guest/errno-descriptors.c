/* What calls on descriptors answer to those that are closed, of another kind, or one too many. */
#include "observe.h"
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/xattr.h>

#define BAD ((void *)8)

static char text[64];
static struct iovec vector = { text, sizeof(text) };

/* Calls of every family on a descriptor: closed, a file's, a pipe's, a directory's, one that is only a place (O_PATH). */
static void all_on(int fd, int other)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "no-such-socket" };
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	struct mmsghdr messages = { .msg_hdr = message };
	struct epoll_event event = { .events = EPOLLIN };
	struct itimerspec timer = { 0 };
	struct statfs statfs_;
	int value = 0;
	loff_t at = 0;

	ERR(accept(fd, NULL, NULL));
	ERR(bind(fd, (void *)&name, sizeof(name)));
	ERR(connect(fd, (void *)&name, sizeof(name)));
	ERR(getpeername(fd, (void *)&peer, &length));
	ERR(getsockname(fd, (void *)&peer, &length));
	ERR(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
	ERR(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, sizeof(value)));
	ERR(listen(fd, 1));
	ERR(shutdown(fd, SHUT_RD));
	ERR(send(fd, text, 1, 0));
	ERR(sendto(fd, text, 1, 0, (void *)&name, sizeof(name)));
	ERR(sendmsg(fd, &message, 0));
	ERR(sendmmsg(fd, &messages, 1, 0));
	ERR(recv(fd, text, 1, MSG_DONTWAIT));
	ERR(recvfrom(fd, text, 1, MSG_DONTWAIT, NULL, NULL));
	ERR(recvmsg(fd, &message, MSG_DONTWAIT));
	ERR(recvmmsg(fd, &messages, 1, MSG_DONTWAIT, NULL));
	ERR(lseek(fd, 0, SEEK_CUR));
	ERR(read(fd, text, 0));
	ERR(pread(fd, text, 1, 0));
	ERR(readv(fd, &vector, 0));
	ERR(write(fd, text, 0));
	ERR(pwrite(fd, text, 0, 0));
	ERR(ftruncate(fd, 0));
	ERR(fallocate(fd, 0, 0, 1));
	ERR(fsync(fd));
	ERR(fdatasync(fd));
	ERR(syscall(SYS_sync_file_range, fd, 0L, 0L, 0));
	ERR(syscall(SYS_fadvise64, fd, 0L, 0L, 0));
	ERR(sendfile(fd, other, &at, 0));
	ERR(sendfile(other, fd, NULL, 0));
	ERR(syscall(SYS_getdents64, fd, text, sizeof(text)));
	ERR(fstatfs(fd, &statfs_));
	ERR(fchmod(fd, 0755));
	ERR(fchown(fd, -1, -1));
	ERR(fchdir(fd));
	ERR(flock(fd, LOCK_SH | LOCK_NB));
	ERR(fgetxattr(fd, "user.none", NULL, 0));
	ERR(syscall(SYS_ioctl, fd, 0x5401 /* TCGETS */, BAD));
	ERR(syscall(SYS_ioctl, fd, 0x5450 /* FIONCLEX */, 0));
	ERR(fcntl(fd, F_GETFL) < 0 ? -1 : 0);
	ERR(fcntl(fd, F_SETLEASE, F_RDLCK));
	ERR(fcntl(fd, 9999));
	ERR(dup2(fd, fd) < 0 ? -1 : 0);
	ERR(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
	ERR(copy_file_range(fd, NULL, other, NULL, 1, 0));
	ERR(copy_file_range(other, NULL, fd, NULL, 1, 0));
	ERR(splice(fd, NULL, other, NULL, 1, 0));
	ERR(tee(fd, other, 1, 0));
	ERR(syscall(SYS_vmsplice, fd, &vector, 0L, 0));
	ERR(epoll_ctl(fd, EPOLL_CTL_ADD, other, &event));
	ERR(epoll_wait(fd, &event, 1, 0));
	ERR(epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, fd, &event));
	ERR(timerfd_settime(fd, 0, &timer, NULL));
	ERR(timerfd_gettime(fd, &timer));
	ERR(signalfd(fd, &(sigset_t){ 0 }, 0) < 0 ? -1 : 0);
	ERR(inotify_rm_watch(fd, 1));
	ERR(syscall(SYS_setns, fd, 0));
	ERR(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	ERR(syscall(SYS_pidfd_getfd, fd, 0, 0));
	ERR(syscall(SYS_execveat, fd, "", NULL, NULL, AT_EMPTY_PATH));
}

SECTION("a descriptor that is closed")
{
	all_on(99, MUST(open("file", O_RDWR | O_CREAT, 0600)));
}

SECTION("a file's descriptor")
{
	all_on(MUST(open("other", O_RDWR | O_CREAT, 0600)), MUST(open("file", O_RDWR | O_CREAT, 0600)));
}

SECTION("a pipe's descriptor, to read")
{
	int fds[2];

	MUST(pipe2(fds, O_NONBLOCK));
	all_on(fds[0], MUST(open("file", O_RDWR | O_CREAT, 0600)));
}

SECTION("a pipe's descriptor, to write")
{
	int fds[2];

	MUST(pipe2(fds, O_NONBLOCK));
	all_on(fds[1], MUST(open("file", O_RDWR | O_CREAT, 0600)));
}

SECTION("a directory's descriptor")
{
	all_on(MUST(open(".", O_RDONLY)), MUST(open("file", O_RDWR | O_CREAT, 0600)));
}

SECTION("a descriptor that is only a place")
{
	int fd = MUST(open("file", O_RDWR | O_CREAT, 0600));

	all_on(MUST(open("file", O_PATH)), fd);
}

SECTION("descriptors of the kernel's own kinds")
{
	int fd = MUST(open("file", O_RDWR | O_CREAT, 0600));
	sigset_t none;

	sigemptyset(&none);
	say("eventfd:\n");
	all_on(MUST(eventfd(1, EFD_NONBLOCK)), fd);
	say("epoll:\n");
	all_on(MUST(epoll_create1(0)), fd);
	say("inotify:\n");
	all_on(MUST(inotify_init1(IN_NONBLOCK)), fd);
	say("timerfd:\n");
	all_on(MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), fd);
	say("signalfd:\n");
	all_on(MUST(signalfd(-1, &none, SFD_NONBLOCK)), fd);
}

SECTION("a unix socket without a connection")
{
	all_on(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), MUST(open("file", O_RDWR | O_CREAT, 0600)));
}

SECTION("one descriptor too many")
{
	struct rlimit limit = { 0, 0 };
	int pair[2], fd = MUST(open("file", O_RDWR | O_CREAT, 0600)), listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	int client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "socket" };
	sigset_t none;

	MUST(bind(listener, (void *)&name, sizeof(name)));
	MUST(listen(listener, 5));
	MUST(connect(client, (void *)&name, sizeof(name)));
	sigemptyset(&none);
	MUST(dup(fd));
	limit.rlim_cur = limit.rlim_max = dup(fd);
	close(limit.rlim_cur);
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	ERR(open("file", O_RDONLY));
	ERR(dup(fd));
	ERR(dup2(fd, limit.rlim_cur));
	ERR(dup3(fd, fd, 0));
	ERR(dup3(fd, 5, 1));
	ERR(fcntl(fd, F_DUPFD, 0));
	ERR(fcntl(fd, F_DUPFD, (int)limit.rlim_cur));
	ERR(pipe(pair));
	ERR(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ERR(accept(listener, NULL, NULL));
	ERR(epoll_create1(0));
	ERR(eventfd(0, 0));
	ERR(inotify_init());
	ERR(timerfd_create(CLOCK_MONOTONIC, 0));
	ERR(signalfd(-1, &none, 0));
	ERR(memfd_create("x", 0));
	ERR(syscall(SYS_pidfd_open, getpid(), 0));
	ERR(syscall(SYS_io_uring_setup, 0, NULL));
	ERR(syscall(SYS_mq_open, "x", O_CREAT | O_RDWR, 0600, NULL));
	ERR(syscall(SYS_openat2, AT_FDCWD, "file", (long[3]){ 0 }, 24));
	ERR(syscall(SYS_fsopen, "tmpfs", 0));
	ERR(syscall(SYS_execve, "/no/such", (char *[]){ "x", NULL }, NULL));
}

SECTION("flags and kinds that are none")
{
	int pair[2];
	sigset_t none;

	sigemptyset(&none);
	ERR(pipe2(pair, 1));
	ERR(pipe(BAD));
	ERR(socket(99, SOCK_STREAM, 0));
	ERR(socket(AF_UNIX, 99, 0));
	ERR(socket(AF_UNIX, SOCK_STREAM, 99));
	ERR(socket(AF_UNIX, SOCK_STREAM | 0x100000, 0));
	ERR(socketpair(99, SOCK_STREAM, 0, pair));
	ERR(socketpair(AF_UNIX, SOCK_STREAM, 99, pair));
	ERR(socketpair(AF_UNIX, SOCK_STREAM, 0, BAD));
	ERR(epoll_create(0));
	ERR(epoll_create1(1));
	ERR(eventfd(0, 1 << 20));
	ERR(inotify_init1(1));
	ERR(timerfd_create(99, 0));
	ERR(timerfd_create(CLOCK_MONOTONIC, 1));
	ERR(timerfd_create(CLOCK_REALTIME_ALARM, 0));
	ERR(signalfd(-1, &none, 1));
	ERR(syscall(SYS_signalfd4, -1, &none, 4, 0));
	ERR(memfd_create("x", 1 << 20));
	ERR(memfd_create(BAD, 0));
	ERR(syscall(SYS_pidfd_open, -1, 0));
	ERR(syscall(SYS_pidfd_open, 1 << 22, 0));
	ERR(syscall(SYS_pidfd_open, getpid(), 1));
	ERR(syscall(SYS_getrandom, BAD, 8, 0));
	ERR(syscall(SYS_getrandom, text, 8, 1 << 20));
	ERR(syscall(SYS_getrandom, text, 8, GRND_RANDOM | GRND_INSECURE));
	ERR(syscall(SYS_dup3, 0, 50, 1));
}

SECTION("positions and lengths that are none")
{
	int fd = MUST(open("file", O_RDWR | O_CREAT, 0600)), fds[2], read_only = MUST(open("file", O_RDONLY));
	struct iovec bad = { (void *)8, 8 }, huge = { text, -1 };
	loff_t at = -1;

	MUST(pipe2(fds, O_NONBLOCK));
	MUST(write(fd, "text", 4));
	ERR(lseek(fd, -1, SEEK_SET));
	ERR(lseek(fd, 0, 99));
	ERR(lseek(fd, 100, SEEK_DATA));
	ERR(lseek(fd, INT64_MAX, SEEK_END));
	ERR(pread(fd, text, 1, -1));
	ERR(pwrite(fd, text, 1, -1));
	ERR(pread(fd, BAD, 1, 0));
	ERR(pwrite(fd, BAD, 1, 0));
	ERR(write(read_only, text, 1));
	ERR(readv(fd, &bad, 1));
	ERR(readv(fd, BAD, 1));
	ERR(readv(fd, &vector, -1));
	ERR(readv(fd, &huge, 1));
	ERR(writev(fd, &bad, 1));
	ERR(writev(fd, &vector, 5000));
	ERR(preadv(fd, &vector, 1, -1));
	ERR(syscall(SYS_preadv2, fd, &vector, 1, 0, 0, 1 << 20));
	ERR(fallocate(fd, 0, -1, 1));
	ERR(fallocate(fd, 0, 0, 0));
	ERR(fallocate(fd, 1 << 20, 0, 1));
	ERR(fallocate(fd, 0, INT64_MAX, 1));
	ERR(fallocate(read_only, 0, 0, 1));
	ERR(fallocate(fds[1], 0, 0, 1));
	ERR(fallocate(MUST(open(".", O_RDONLY)), 0, 0, 1));
	ERR(ftruncate(fd, -1));
	ERR(ftruncate(read_only, 0));
	ERR(syscall(SYS_sync_file_range, fd, -1L, 1L, 0));
	ERR(syscall(SYS_sync_file_range, fd, 0L, 0L, 1 << 20));
	ERR(syscall(SYS_fadvise64, fd, 0L, 0L, 99));
	ERR(syscall(SYS_fadvise64, fds[0], 0L, 0L, 0));
	ERR(sendfile(fds[1], fd, &at, 1));
	ERR(sendfile(fds[1], fd, BAD, 1));
	ERR(sendfile(fd, fds[0], &at, 1));
	ERR(sendfile(read_only, fd, NULL, 1));
	ERR(sendfile(fd, fds[0], NULL, 1));
	ERR(copy_file_range(fd, NULL, fds[1], NULL, 1, 0));
	ERR(copy_file_range(fd, NULL, read_only, NULL, 1, 0));
	ERR(copy_file_range(fd, NULL, fd, NULL, 1, 1));
	ERR(copy_file_range(fd, &(loff_t){ 0 }, fd, &(loff_t){ 1 }, 3, 0));
	ERR(copy_file_range(fd, &(loff_t){ INT64_MAX }, fd, &(loff_t){ 1 }, 3, 0));
	ERR(copy_file_range(fd, &(loff_t){ 0 }, fd, &(loff_t){ INT64_MAX }, 3, 0));
	ERR(splice(fd, NULL, fd, NULL, 1, 0));
	ERR(splice(fds[0], &(loff_t){ 0 }, fds[1], NULL, 1, 0));
	ERR(splice(fds[0], NULL, fd, NULL, 1, 1 << 20));
	ERR(splice(fds[0], NULL, fd, NULL, 1, SPLICE_F_NONBLOCK));
	ERR(tee(fds[0], fds[1], 1, 0));
	ERR(syscall(SYS_vmsplice, fds[1], &bad, 1L, 0));
	ERR(syscall(SYS_vmsplice, fds[1], &vector, 1L, 1 << 20));
	ERR(syscall(SYS_vmsplice, fds[0], &vector, 1L, SPLICE_F_NONBLOCK));
	ERR(flock(fd, 99));
	ERR(fcntl(fd, F_SETLK, BAD));
	ERR(fcntl(fd, F_SETLK, &(struct flock){ .l_type = 99 }));
	ERR(fcntl(fd, F_SETLK, &(struct flock){ .l_type = F_RDLCK, .l_start = -1 }));
	ERR(fcntl(read_only, F_SETLK, &(struct flock){ .l_type = F_WRLCK }));
	ERR(fcntl(fd, F_SETSIG, 99));
	ERR(fcntl(fd, F_SETPIPE_SZ, 4096));
	ERR(fcntl(fd, F_DUPFD, -1));
	ERR(fcntl(fd, F_NOTIFY, 1));
	ERR(fcntl(fd, F_GETOWN_EX, BAD));
	ERR(fcntl(fd, F_ADD_SEALS, 1));
}

SECTION("a limit to the size of files")
{
	int fd = MUST(open("file", O_RDWR | O_CREAT, 0600)), other = MUST(open("other", O_RDWR | O_CREAT, 0600));

	MUST(write(other, "text", 4));
	signal(SIGXFSZ, SIG_IGN);
	MUST(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 100, 100 }));
	RET(pwrite(fd, text, 50, 80));
	ERR(pwrite(fd, text, 50, 100));
	ERR(ftruncate(fd, 101));
	ERR(truncate("file", 101));
	ERR(fallocate(fd, 0, 50, 100));
	ERR(copy_file_range(other, &(loff_t){ 0 }, fd, &(loff_t){ 100 }, 4, 0));
	ERR(sendfile(MUST(open("file", O_WRONLY | O_APPEND)), other, &(loff_t){ 0 }, 4));
}

SECTION("sockets: addresses, states and orders that are wrong")
{
	int stream = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), other = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), pair[2];
	int datagrams = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "socket" }, deep = name, many = name, dir = name;
	socklen_t length = sizeof(name);
	int value = 0;

	strcpy(deep.sun_path, "none/socket");
	memset(many.sun_path, 'n', sizeof(many.sun_path));
	strcpy(dir.sun_path, "file/socket");
	close(MUST(open("file", O_RDWR | O_CREAT, 0600)));
	ERR(bind(stream, (void *)&deep, sizeof(deep)));
	ERR(bind(stream, (void *)&dir, sizeof(dir)));
	ERR(bind(stream, (void *)&many, sizeof(many) + 1));
	ERR(bind(stream, BAD, sizeof(name)));
	ERR(bind(stream, (void *)&name, 1));
	ERR(listen(stream, 1));
	ERR(bind(stream, (void *)&name, sizeof(name)));
	ERR(bind(stream, (void *)&name, sizeof(name)));
	ERR(bind(other, (void *)&name, sizeof(name)));
	ERR(connect(other, (void *)&name, sizeof(name)));
	ERR(listen(stream, 1));
	ERR(connect(datagrams, (void *)&name, sizeof(name)));
	ERR(connect(other, (void *)&(struct sockaddr_in){ .sin_family = AF_INET }, sizeof(struct sockaddr_in)));
	ERR(connect(other, BAD, sizeof(name)));
	ERR(connect(other, (void *)&deep, sizeof(deep)));
	ERR(accept(other, NULL, NULL));
	ERR(accept4(stream, NULL, NULL, 99));
	MUST(fcntl(stream, F_SETFL, O_NONBLOCK));
	ERR(accept(stream, NULL, NULL));
	ERR(connect(other, (void *)&name, sizeof(name)));
	ERR(connect(other, (void *)&name, sizeof(name)));
	ERR(accept(stream, BAD, BAD));
	ERR(getpeername(stream, (void *)&name, &length));
	length = -1;
	ERR(getsockname(stream, (void *)&name, &length));
	ERR(getsockname(stream, BAD, &length));
	ERR(getsockname(stream, (void *)&name, BAD));
	length = sizeof(value);
	ERR(getsockopt(stream, SOL_SOCKET, 9999, &value, &length));
	ERR(getsockopt(stream, 9999, SO_TYPE, &value, &length));
	ERR(getsockopt(stream, SOL_SOCKET, SO_TYPE, BAD, &length));
	ERR(setsockopt(stream, SOL_SOCKET, SO_TYPE, &value, sizeof(value)));
	ERR(setsockopt(stream, SOL_SOCKET, SO_SNDBUF, &value, 1));
	ERR(setsockopt(stream, SOL_SOCKET, SO_SNDBUF, BAD, sizeof(value)));
	ERR(shutdown(stream, 99));
	ERR(shutdown(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), SHUT_RD));
	ERR(send(stream, text, 1, MSG_NOSIGNAL));
	ERR(sendto(other, text, 1, 0, (void *)&name, sizeof(name)));
	ERR(send(datagrams, text, 1, 0));
	ERR(sendto(datagrams, text, 1, 0, (void *)&deep, sizeof(deep)));
	ERR(send(other, BAD, 1, 0));
	ERR(send(other, text, 1, MSG_OOB));
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	static char big[1 << 20];
	ERR(send(pair[0], big, sizeof(big), 0));
	ERR(recv(pair[0], text, 1, MSG_DONTWAIT));
	ERR(recv(pair[0], text, 1, MSG_OOB));
	MUST(send(pair[1], text, 1, 0));
	ERR(recv(pair[0], BAD, 1, 0));
	ERR(recvmmsg(pair[0], NULL, 1, 0, &(struct timespec){ -1, 0 }));
	ERR(recvmsg(pair[0], BAD, 0));
	ERR(sendmsg(pair[0], BAD, 0));
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 5000 };
	ERR(sendmsg(pair[0], &message, 0));
	ERR(recvmsg(pair[0], &message, 0));
	close(pair[1]);
	ERR(send(pair[0], text, 1, MSG_NOSIGNAL));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	close(pair[1]);
	ERR(send(pair[0], text, 1, MSG_NOSIGNAL));
	while (send(MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) + pair[0], big, sizeof(big), MSG_DONTWAIT) == sizeof(big))
		;
	ERR(send(pair[0], big, sizeof(big), MSG_DONTWAIT));
}

SECTION("sets of events: wrong members, circles, too deep")
{
	int set = MUST(epoll_create1(0)), other = MUST(epoll_create1(0)), file = MUST(open("f", O_RDWR | O_CREAT, 0600));
	int event_fd = MUST(eventfd(0, 0));
	struct epoll_event event = { .events = EPOLLIN }, alone = { .events = EPOLLIN | EPOLLEXCLUSIVE };

	ERR(epoll_ctl(set, EPOLL_CTL_ADD, file, &event));
	ERR(epoll_ctl(set, EPOLL_CTL_ADD, set, &event));
	ERR(epoll_ctl(set, EPOLL_CTL_MOD, event_fd, &event));
	ERR(epoll_ctl(set, EPOLL_CTL_DEL, event_fd, &event));
	ERR(epoll_ctl(set, EPOLL_CTL_ADD, event_fd, BAD));
	ERR(epoll_ctl(set, 99, event_fd, &event));
	ERR(epoll_ctl(set, EPOLL_CTL_ADD, event_fd, &event));
	ERR(epoll_ctl(set, EPOLL_CTL_ADD, event_fd, &event));
	ERR(epoll_ctl(set, EPOLL_CTL_MOD, event_fd, &alone));
	ERR(epoll_ctl(set, EPOLL_CTL_ADD, other, &alone));
	ERR(epoll_ctl(set, EPOLL_CTL_ADD, other, &event));
	ERR(epoll_ctl(other, EPOLL_CTL_ADD, set, &event));
	for (int depth = 0; depth < 6; depth++) {
		int above = MUST(epoll_create1(0));
		ERR(epoll_ctl(above, EPOLL_CTL_ADD, set, &event));
		set = above;
	}
	ERR(epoll_wait(set, &event, 0, 0));
	ERR(epoll_wait(set, &event, 1 << 30, 0));
	MUST(eventfd_write(event_fd, 1));
	ERR(epoll_wait(other, &event, -1, 0));
	ERR(syscall(SYS_epoll_pwait, other, &event, 1, 0, &event, 4));
	ERR(syscall(SYS_epoll_pwait, other, &event, 1, 0, BAD, 8));
}
