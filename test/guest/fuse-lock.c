/* FUSE: locks that the server keeps. */
#include "fuse-server.h"
#include <sys/file.h>

static int range(int fd, int command, int type, off_t start, off_t length)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };
	int result = fcntl(fd, command, &lock);

	if (result == 0 && (command == F_GETLK || command == F_OFD_GETLK))
		say("in the way: %s %ld+%ld by %s\n",
		    lock.l_type == F_UNLCK ? "nothing" : lock.l_type == F_RDLCK ? "a reader" : "a writer",
		    lock.l_type == F_UNLCK ? 0 : (long)lock.l_start, lock.l_type == F_UNLCK ? 0 : (long)lock.l_len,
		    lock.l_pid == getppid() ? "the parent" : lock.l_pid == 0 ? "nobody" : "somebody");
	return result;
}

static void asked(void)
{
	say("asked for %llx-%llx, flags %u, by %s\n", (unsigned long long)shared->lock_start,
	    (unsigned long long)shared->lock_end, shared->lock_flags, shared->lock_pid == 0 ? "nobody" :
	    shared->lock_pid == (unsigned)getpid() ? "me" : "another");
}

static pid_t start_with(unsigned flags)
{
	need_fuse();
	more_init_flags = flags;
	pid_t pid = start("");
	close(MUST(open("m/a", O_RDWR | O_CREAT, 0644)));
	return pid;
}

static void nothing(int signo)
{
	(void)signo;
}

SECTION("fuse lock: ranges")
{
	pid_t pid = start_with(FUSE_POSIX_LOCKS);
	int fd = MUST(open("m/a", O_RDWR));
	ERR(range(fd, F_SETLK, F_WRLCK, 10, 20));
	asked();
	ERR(range(fd, F_GETLK, F_WRLCK, 0, 0));
	asked();
	pid_t child = MUST(fork());
	if (child == 0) {
		ERR(range(fd, F_GETLK, F_WRLCK, 0, 0));
		ERR(range(fd, F_SETLK, F_RDLCK, 15, 1));
		ERR(range(fd, F_SETLK, F_RDLCK, 30, 1));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	int reader = MUST(open("m/a", O_RDONLY));
	ERR(range(reader, F_SETLK, F_WRLCK, 0, 0));
	close(reader);
	SHOW(shared->count[FUSE_SETLK]);
	SHOW(shared->count[FUSE_GETLK]);
	close(fd);
	finish(pid);
}

SECTION("fuse lock: a waiter goes on when the lock goes with a descriptor")
{
	int status;
	pid_t pid = start_with(FUSE_POSIX_LOCKS);
	int fd = MUST(open("m/a", O_RDWR));
	ERR(range(fd, F_SETLK, F_WRLCK, 0, 0));
	pid_t child = MUST(fork());
	if (child == 0) {
		int own = MUST(open("m/a", O_RDWR));

		_exit(range(own, F_SETLKW, F_WRLCK, 0, 0) == 0 ? 5 : 6);
	}
	while (!shared->held)
		sched_yield();
	ERR(close(fd));
	waitpid(child, &status, 0);
	STATUS(status);
	SHOW(shared->count[FUSE_SETLKW]);
	finish(pid);
}

static void wait_interrupted(int flags)
{
	struct sigaction action = { .sa_handler = nothing, .sa_flags = flags };
	int status;
	pid_t pid = start_with(FUSE_POSIX_LOCKS);
	int fd = MUST(open("m/a", O_RDWR));
	ERR(range(fd, F_SETLK, F_WRLCK, 0, 0));
	pid_t child = MUST(fork());
	if (child == 0) {
		int own = MUST(open("m/a", O_RDWR));

		sigaction(SIGUSR1, &action, NULL);
		_exit(range(own, F_SETLKW, F_WRLCK, 0, 0) == 0 ? 5 : errno == EINTR ? 6 : 7);
	}
	while (!shared->held)
		sched_yield();
	shared->held = 0;
	kill(child, SIGUSR1);
	if (flags & SA_RESTART) {
		while (!shared->held)
			sched_yield();
		ERR(range(fd, F_SETLK, F_UNLCK, 0, 0));
	}
	waitpid(child, &status, 0);
	STATUS(status);
	SHOW(shared->count[FUSE_INTERRUPT]);
	close(fd);
	finish(pid);
}

SECTION("fuse lock: a signal interrupts a waiter")
{
	wait_interrupted(0);
}

SECTION("fuse lock: who waits again after a signal")
{
	wait_interrupted(SA_RESTART);
}

SECTION("fuse lock: open descriptions")
{
	pid_t pid = start_with(FUSE_POSIX_LOCKS);
	int fd = MUST(open("m/a", O_RDWR)), other = MUST(open("m/a", O_RDWR));
	ERR(range(fd, F_OFD_SETLK, F_WRLCK, 0, 0));
	asked();
	ERR(range(other, F_OFD_SETLK, F_RDLCK, 5, 1));
	ERR(range(fd, F_OFD_SETLK, F_UNLCK, 0, 0));
	ERR(range(other, F_OFD_SETLK, F_RDLCK, 5, 1));
	close(fd);
	close(other);
	finish(pid);
}

SECTION("fuse lock: flock")
{
	pid_t pid = start_with(FUSE_FLOCK_LOCKS);
	int fd = MUST(open("m/a", O_RDWR)), other = MUST(open("m/a", O_RDWR));
	ERR(flock(fd, LOCK_EX));
	asked();
	ERR(flock(other, LOCK_SH | LOCK_NB));
	ERR(flock(fd, LOCK_SH));
	ERR(flock(fd, LOCK_UN));
	asked();
	ERR(flock(other, LOCK_SH | LOCK_NB));
	ERR(flock(fd, LOCK_SH | LOCK_NB));
	ERR(close(other));
	ERR(flock(fd, LOCK_UN));
	ERR(flock(fd, LOCK_EX | LOCK_NB));
	/* The kernel keeps the others. */
	ERR(range(fd, F_SETLK, F_WRLCK, 0, 0));
	SHOW(shared->count[FUSE_SETLK]);
	SHOW(shared->count[FUSE_SETLKW]);
	close(fd);
	finish(pid);
}

SECTION("fuse lock: those of a server that keeps none are the kernel's")
{
	pid_t pid = start_with(0);
	int fd = MUST(open("m/a", O_RDWR)), other = MUST(open("m/a", O_RDWR));
	ERR(range(fd, F_OFD_SETLK, F_WRLCK, 0, 0));
	ERR(range(other, F_OFD_SETLK, F_WRLCK, 0, 0));
	ERR(flock(fd, LOCK_EX));
	ERR(flock(other, LOCK_EX | LOCK_NB));
	SHOW(shared->count[FUSE_SETLK]);
	close(fd);
	close(other);
	finish(pid);
}

SECTION("fuse lock: the server's error is the call's")
{
	pid_t pid = start_with(FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS);
	int fd = MUST(open("m/a", O_RDWR));
	shared->fail_opcode = FUSE_SETLK;
	shared->fail_error = ENOLCK;
	ERR(range(fd, F_SETLK, F_WRLCK, 0, 0));
	ERR(flock(fd, LOCK_EX | LOCK_NB));
	shared->fail_error = ENOSYS;
	ERR(range(fd, F_SETLK, F_WRLCK, 0, 0));
	close(fd);
	finish(pid);
}
