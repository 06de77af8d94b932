/*
 * Small operations, timed from inside: prints nanoseconds per operation.
 *
 * Usage: micro OPERATION COUNT
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void check(int good, const char *what)
{
	if (!good) {
		perror(what);
		exit(1);
	}
}

static void getppid_(long count)
{
	while (count--)
		syscall(SYS_getppid);
}

static void umask_(long count)
{
	while (count--)
		syscall(SYS_umask, 022);
}

static void clock_(long count)
{
	struct timespec now;

	while (count--)
		clock_gettime(CLOCK_MONOTONIC, &now);
}

static void fault(long count)
{
	char *at = mmap(NULL, count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(at != MAP_FAILED, "mmap");
	madvise(at, count * 4096, MADV_NOHUGEPAGE);
	for (long i = 0; i < count; i++)
		at[i * 4096] = 1;
}

static void map(long count)
{
	while (count--) {
		char *at = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check(at != MAP_FAILED, "mmap");
		munmap(at, 16384);
	}
}

struct pipes {
	int there[2], back[2];
	long count;
};

static void *echo(void *argument)
{
	struct pipes *pipes = argument;
	char byte;

	for (long i = 0; i < pipes->count; i++) {
		if (read(pipes->there[0], &byte, 1) != 1 || write(pipes->back[1], &byte, 1) != 1)
			exit(1);
	}
	return NULL;
}

static void bounce(struct pipes *pipes)
{
	char byte = 0;

	for (long i = 0; i < pipes->count; i++) {
		check(write(pipes->there[1], &byte, 1) == 1, "write");
		check(read(pipes->back[0], &byte, 1) == 1, "read");
	}
}

static void pipe_processes(long count)
{
	struct pipes pipes = { .count = count };

	check(pipe(pipes.there) == 0 && pipe(pipes.back) == 0, "pipe");
	if (fork() == 0) {
		echo(&pipes);
		_exit(0);
	}
	bounce(&pipes);
	wait(NULL);
}

static void pipe_threads(long count)
{
	struct pipes pipes = { .count = count };
	pthread_t thread;

	check(pipe(pipes.there) == 0 && pipe(pipes.back) == 0, "pipe");
	pthread_create(&thread, NULL, echo, &pipes);
	bounce(&pipes);
	pthread_join(thread, NULL);
}

static uint32_t turn;

static void take_turns(uint32_t own, long count)
{
	for (long i = 0; i < count; i++) {
		while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != own)
			syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, 1 - own, NULL, NULL, 0);
		__atomic_store_n(&turn, 1 - own, __ATOMIC_RELEASE);
		syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
}

static void *other_turns(void *count)
{
	take_turns(1, (long)count);
	return NULL;
}

static void futex_(long count)
{
	pthread_t thread;

	pthread_create(&thread, NULL, other_turns, (void *)count);
	take_turns(0, count);
	pthread_join(thread, NULL);
}

static void fork_(long count)
{
	while (count--) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

static void spawn(long count)
{
	char *argv[] = { "true", NULL };
	pid_t pid;

	while (count--) {
		check(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0, "posix_spawn");
		waitpid(pid, NULL, 0);
	}
}

static void thread_(long count)
{
	while (count--) {
		pthread_t thread;
		long none = 0;
		pthread_create(&thread, NULL, other_turns, (void *)none);
		pthread_join(thread, NULL);
	}
}

static void open_(long count)
{
	char bytes[4096];

	while (count--) {
		int fd = open("small", O_RDONLY);
		check(fd >= 0, "open");
		check(read(fd, bytes, sizeof bytes) > 0, "read");
		close(fd);
	}
}

static void stat_(long count)
{
	struct stat st;

	while (count--)
		check(stat("small", &st) == 0, "stat");
}

static void create(long count)
{
	char name[32];

	for (long i = 0; i < count; i++) {
		snprintf(name, sizeof name, "new-%ld", i % 100);
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
		check(fd >= 0, "create");
		close(fd);
		check(unlink(name) == 0, "unlink");
	}
}

static void transfer(long count, size_t size, int writing)
{
	char *bytes = malloc(size);
	int fd = open("large", O_RDWR);

	check(fd >= 0, "open");
	memset(bytes, 1, size);
	for (long i = 0; i < count; i++) {
		off_t offset = (i * size) % (8 << 20);
		ssize_t done = writing ? pwrite(fd, bytes, size, offset) : pread(fd, bytes, size, offset);
		check(done == (ssize_t)size, "transfer");
	}
}

static void read_64k(long count) { transfer(count, 64 << 10, 0); }
static void read_1m(long count) { transfer(count, 1 << 20, 0); }
static void write_64k(long count) { transfer(count, 64 << 10, 1); }
static void write_1m(long count) { transfer(count, 1 << 20, 1); }

static void *busy_thread(void *count)
{
	for (volatile long i = (long)count; i > 0; i--)
		;
	return NULL;
}

static void busy(long count, int threads)
{
	pthread_t ids[8];

	for (int i = 0; i < threads; i++)
		pthread_create(&ids[i], NULL, busy_thread, (void *)(count / threads));
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
}

static void busy_1(long count) { busy(count, 1); }
static void busy_2(long count) { busy(count, 2); }
static void busy_8(long count) { busy(count, 8); }

static const struct {
	const char *name;
	void (*run)(long count);
} operations[] = {
	{ "getppid", getppid_ }, { "umask", umask_ }, { "clock_gettime", clock_ }, { "page-fault", fault }, { "mmap", map },
	{ "pipe-processes", pipe_processes }, { "pipe-threads", pipe_threads }, { "futex", futex_ }, { "fork", fork_ },
	{ "spawn", spawn }, { "thread", thread_ }, { "open", open_ }, { "stat", stat_ }, { "create", create },
	{ "read-64k", read_64k }, { "read-1m", read_1m }, { "write-64k", write_64k }, { "write-1m", write_1m },
	{ "busy-1", busy_1 }, { "busy-2", busy_2 }, { "busy-8", busy_8 },
};

int main(int argc, char **argv)
{
	struct timespec from, to;
	long count = argc > 2 ? atol(argv[2]) : 1;

	for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
		if (argc < 2 || strcmp(operations[i].name, argv[1]))
			continue;
		/* The first calls at a place are not like the later ones: patching, caches. */
		if (!strstr(argv[1], "busy") && strcmp(argv[1], "page-fault"))
			operations[i].run(count < 20 ? 1 : count / 20);
		clock_gettime(CLOCK_MONOTONIC, &from);
		operations[i].run(count);
		clock_gettime(CLOCK_MONOTONIC, &to);
		printf("%.1f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / count);
		return 0;
	}
	fprintf(stderr, "usage: micro OPERATION COUNT\n");
	return 2;
}
