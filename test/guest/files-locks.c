/* flock(2), POSIX record locks, open file description locks, leases. */
#include "observe.h"
#include <sys/file.h>

static int lock(int fd, int command, int type, off_t start, off_t length)
{
	struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };

	return fcntl(fd, command, &range);
}

/* Which lock stands in the way, as F_GETLK or F_OFD_GETLK tells it. */
static void who(int fd, int command, int type, off_t start, off_t length, pid_t expected)
{
	struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };

	ERR(fcntl(fd, command, &range));
	if (range.l_type == F_UNLCK)
		say("  nothing in the way\n");
	else
		say("  %s from %lld for %lld, holder %s\n", range.l_type == F_RDLCK ? "read" : "write",
		    (long long)range.l_start, (long long)range.l_len,
		    range.l_pid == expected ? "is expected" : range.l_pid == -1 ? "-1" : "is another");
}

SECTION("flock: belongs to the open file description")
{
	write_file("f", "");
	int one = MUST(open("f", O_RDONLY)), two = MUST(open("f", O_RDWR)), copy = MUST(dup(one));

	ERR(flock(one, LOCK_EX));
	ERR(flock(two, LOCK_EX | LOCK_NB));
	ERR(flock(two, LOCK_SH | LOCK_NB));
	ERR(flock(copy, LOCK_EX | LOCK_NB));
	ERR(flock(copy, LOCK_SH | LOCK_NB));
	ERR(flock(two, LOCK_SH | LOCK_NB));
	ERR(flock(one, LOCK_EX | LOCK_NB));
	ERR(flock(two, LOCK_UN));
	close(one);
	ERR(flock(two, LOCK_EX | LOCK_NB));
	close(copy);
	ERR(flock(two, LOCK_EX | LOCK_NB));
	ERR(flock(two, 0));
	ERR(flock(two, LOCK_SH | LOCK_EX));
	ERR(flock(99, LOCK_SH));
}

SECTION("flock: a waiter gets it when the holder is gone, or EINTR")
{
	int ready[2];

	write_file("f", "");
	MUST(pipe(ready));
	int fd = MUST(open("f", O_RDONLY));
	MUST(flock(fd, LOCK_EX));
	pid_t pid = fork();
	if (pid == 0) {
		int own = open("f", O_RDONLY);
		close(fd);
		write(ready[1], "", 1);
		ERR(flock(own, LOCK_EX));
		_exit(0);
	}
	read(ready[0], (char[1]){ 0 }, 1);
	SHOW(await_state(pid, 'S'));
	close(fd);
	STATUS(end_of(pid));
	fd = MUST(open("f", O_RDONLY));
	int other = MUST(open("f", O_RDONLY));
	MUST(flock(fd, LOCK_EX));
	handle(SIGALRM, ignore, 0);
	alarm(1);
	ERR(flock(other, LOCK_EX));
}

SECTION("POSIX locks: ranges split and merge")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	pid_t holder = getpid();

	ERR(lock(fd, F_SETLK, F_WRLCK, 0, 100));
	ERR(lock(fd, F_SETLK, F_UNLCK, 40, 20));
	ERR(lock(fd, F_SETLK, F_RDLCK, 80, 0));
	pid_t pid = fork();
	if (pid == 0) {
		who(fd, F_GETLK, F_WRLCK, 0, 0, holder);
		who(fd, F_GETLK, F_WRLCK, 40, 20, holder);
		who(fd, F_GETLK, F_WRLCK, 40, 0, holder);
		who(fd, F_GETLK, F_RDLCK, 79, 0, holder);
		who(fd, F_GETLK, F_RDLCK, 80, 0, holder);
		who(fd, F_GETLK, F_WRLCK, 1000, 1, holder);
		ERR(lock(fd, F_SETLK, F_WRLCK, 50, 10));
		ERR(lock(fd, F_SETLK, F_WRLCK, 50, 11));
		ERR(lock(fd, F_SETLK, F_RDLCK, 90, 5));
		_exit(0);
	}
	STATUS(end_of(pid));
	who(fd, F_GETLK, F_WRLCK, 0, 0, holder);
}

SECTION("POSIX locks: closing any descriptor of the file drops them")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	MUST(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	/* One of O_PATH is none. */
	for (int flags = O_PATH;; flags = O_RDONLY) {
		close(MUST(open("f", flags)));
		pid_t pid = fork();
		if (pid == 0) {
			ERR(lock(fd, F_SETLK, F_WRLCK, 0, 0));
			_exit(0);
		}
		STATUS(end_of(pid));
		if (flags == O_RDONLY)
			break;
	}
	ERR(lock(fd, F_SETLK, F_WRLCK, 0, 0));
}

SECTION("POSIX locks: errors")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), reader = MUST(open("f", O_RDONLY)), pair[2];
	struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	ERR(lock(reader, F_SETLK, F_WRLCK, 0, 0));
	ERR(lock(fd, F_SETLK, F_WRLCK, -1, 0));
	ERR(lock(fd, F_SETLK, 9, 0, 0));
	ERR(lock(fd, F_SETLK, F_WRLCK, 10, -5));
	ERR(lock(fd, F_SETLK, F_WRLCK, 10, -11));
	range.l_whence = 7;
	ERR(fcntl(fd, F_SETLK, &range));
	ERR(fcntl(fd, F_SETLK, 8));
	MUST(pipe(pair));
	ERR(lock(pair[1], F_SETLK, F_WRLCK, 0, 0));
	int writer = MUST(open("f", O_WRONLY));
	ERR(lock(writer, F_SETLK, F_RDLCK, 0, 0));
	MUST(lseek(fd, 5, SEEK_SET));
	range = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = -5, .l_len = 1 };
	ERR(fcntl(fd, F_SETLK, &range));
	ERR(lockf(fd, F_TEST, 10));
}

SECTION("POSIX locks: F_SETLKW waits, and finds deadlocks")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), ready[2];
	char byte;

	MUST(pipe(ready));
	MUST(lock(fd, F_SETLK, F_WRLCK, 0, 1));
	pid_t pid = fork();
	if (pid == 0) {
		MUST(lock(fd, F_SETLK, F_WRLCK, 1, 1));
		write(ready[1], "", 1);
		MUST(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
		_exit(0);
	}
	MUST(read(ready[0], &byte, 1));
	SHOW(await_state(pid, 'S'));
	ERR(lock(fd, F_SETLKW, F_WRLCK, 1, 1));
	ERR(lock(fd, F_SETLK, F_UNLCK, 0, 1));
	STATUS(end_of(pid));
	ERR(lock(fd, F_SETLKW, F_WRLCK, 1, 1));
}

SECTION("POSIX locks are not inherited by fork, and end with the process")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	MUST(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	pid_t pid = fork();
	if (pid == 0) {
		ERR(lock(fd, F_SETLK, F_RDLCK, 0, 1));
		_exit(0);
	}
	STATUS(end_of(pid));
	MUST(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	pid = fork();
	if (pid == 0) {
		ERR(lock(fd, F_SETLK, F_WRLCK, 0, 1));
		_exit(0);
	}
	STATUS(end_of(pid));
	ERR(lock(fd, F_SETLK, F_WRLCK, 0, 0));
}

SECTION("open file description locks: between descriptions of one process")
{
	int one = MUST(open("f", O_RDWR | O_CREAT, 0644)), two = MUST(open("f", O_RDWR));
	struct flock range = { .l_type = F_WRLCK, .l_pid = 1 };

	ERR(lock(one, F_OFD_SETLK, F_WRLCK, 0, 10));
	ERR(lock(two, F_OFD_SETLK, F_WRLCK, 5, 10));
	ERR(lock(two, F_OFD_SETLK, F_WRLCK, 10, 10));
	who(two, F_OFD_GETLK, F_WRLCK, 0, 5, 0);
	ERR(lock(one, F_SETLK, F_WRLCK, 0, 1));
	ERR(fcntl(one, F_OFD_SETLK, &range));
	pid_t pid = fork();
	if (pid == 0) {
		ERR(lock(one, F_OFD_SETLK, F_WRLCK, 0, 10));
		who(one, F_GETLK, F_WRLCK, 0, 5, 0);
		_exit(0);
	}
	STATUS(end_of(pid));
	close(MUST(open("f", O_RDONLY)));
	ERR(lock(two, F_OFD_SETLK, F_WRLCK, 5, 1));
	close(one);
	ERR(lock(two, F_OFD_SETLK, F_WRLCK, 5, 1));
}

SECTION("leases: taken, refused, broken by an open")
{
	write_file("f", "");
	int fd = MUST(open("f", O_RDONLY));

	signal(SIGIO, SIG_IGN);
	SHOW(fcntl(fd, F_GETLEASE) == F_UNLCK);
	ERR(fcntl(fd, F_SETLEASE, F_RDLCK));
	SHOW(fcntl(fd, F_GETLEASE) == F_RDLCK);
	ERR(open("f", O_WRONLY | O_NONBLOCK));
	ERR(fcntl(fd, F_SETLEASE, F_UNLCK));
	ERR(open("f", O_WRONLY | O_NONBLOCK));
	ERR(fcntl(fd, F_SETLEASE, F_RDLCK));
	ERR(fcntl(fd, F_SETLEASE, 77));
}
