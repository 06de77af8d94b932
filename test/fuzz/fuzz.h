/*
 * What all fuzzers share: a generator of numbers, and processes that use it until they die or are too old. A fuzzer says
 * what a process has to begin with and what one step is.
 *
 * Only for use inside a sandbox, as its first process. Usage of each: NAME SEED SECONDS
 */
#ifndef FUZZ_H
#define FUZZ_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 3
#define LIFE_SECONDS 2
#define PAGE 4096
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

struct fuzzer {
	/* A new process, before its first step; may be absent. */
	void (*begin)(uint64_t *state);
	void (*step)(uint64_t *state);
	/* Runs beside the steps in a thread of its own, for ever; may be absent. */
	void (*beside)(uint64_t *state);
};

/* Steps of all workers, shared memory. */
static uint64_t *steps;

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint64_t below(uint64_t *state, uint64_t limit)
{
	return (next(state) >> 11) % limit;
}

static int one_in(uint64_t *state, uint64_t count)
{
	return below(state, count) == 0;
}

/* Where mistakes are: at limits, at signs, at powers of two. */
static uint64_t number(uint64_t *state)
{
	static const uint64_t interesting[] = {
		0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 64, 255, 256, 1024, 4095, 4096, 4097, 65535, 65536, 1 << 20, INT32_MAX, UINT32_MAX, 1ull << 31,
		1ull << 32, 1ull << 40, 1ull << 47, INT64_MAX, 1ull << 63, -1ull, -2ull, -100ull, -4096ull,
	};

	switch (below(state, 5)) {
	case 0:
		return interesting[below(state, LENGTH(interesting))];
	case 1:
		return 1ull << below(state, 64);
	case 2:
		return next(state);
	default:
		return below(state, 40);
	}
}

/* Bytes of which most are small, as in what kernels are given. */
static void scramble(uint64_t *state, void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((unsigned char *)bytes)[i] = one_in(state, 3) ? next(state) : below(state, 4);
}

/* A few bytes, words or bits of something that was right. */
static void mutate(uint64_t *state, void *bytes, size_t length)
{
	for (uint64_t count = below(state, 4); count > 0 && length >= 8; count--) {
		unsigned char *at = (unsigned char *)bytes + below(state, length - 7);
		uint64_t value = number(state);

		if (one_in(state, 2))
			*at ^= 1 << below(state, 8);
		else
			memcpy(at, &value, 1 << below(state, 4));
	}
}

static void *thread_beside(void *fuzzer)
{
	uint64_t state = (uintptr_t)&state ^ (uint64_t)time(NULL);

	((const struct fuzzer *)fuzzer)->beside(&state);
	return NULL;
}

static void work(const struct fuzzer *fuzzer, uint64_t seed)
{
	struct rlimit memory = { 1024 << 20, 1024 << 20 }, size = { 16 << 20, 16 << 20 }, core = { 0, 0 };
	uint64_t state = seed * 104729 | 1;
	pid_t self = syscall(SYS_getpid);
	pthread_t thread;
	int null = open("/dev/null", O_RDWR);

	/* What a call moves to or from the output is not the run's. */
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	/* Signals that calls may ask for are no end; those of faults are. */
	for (int i = 1; i <= SIGRTMAX; i++)
		if (i != SIGSEGV && i != SIGBUS && i != SIGILL && i != SIGFPE && i != SIGTRAP && i != SIGSYS && i != SIGABRT && i != SIGCHLD)
			signal(i, SIG_IGN);
	setrlimit(RLIMIT_AS, &memory);
	setrlimit(RLIMIT_FSIZE, &size);
	setrlimit(RLIMIT_CORE, &core);
	for (int i = 0; i < 20; i++)
		next(&state);
	if (fuzzer->begin)
		fuzzer->begin(&state);
	if (fuzzer->beside)
		pthread_create(&thread, NULL, thread_beside, (void *)fuzzer);
	for (;;) {
		fuzzer->step(&state);
		if (syscall(SYS_getpid) != self)
			syscall(SYS_exit_group, 0);
		__atomic_add_fetch(steps, 1, __ATOMIC_RELAXED);
	}
}

static pid_t start(const struct fuzzer *fuzzer, uint64_t seed)
{
	pid_t pid = fork();

	if (pid == 0) {
		setpgid(0, 0);
		work(fuzzer, seed);
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* What a small call takes tells whether the kernel is busy with something large. */
static int64_t pause_and_measure(void)
{
	struct timespec from, to;
	struct sysinfo info;

	nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
	clock_gettime(CLOCK_MONOTONIC, &from);
	syscall(SYS_sysinfo, &info);
	clock_gettime(CLOCK_MONOTONIC, &to);
	return (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
}

static int run_fuzzer(int argc, char **argv, const struct fuzzer *fuzzer)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, started = WORKERS;
	time_t now = time(NULL), last = now + (argc > 2 ? atoi(argv[2]) : 10);
	int64_t longest = 0, took;
	pid_t workers[WORKERS];
	time_t births[WORKERS];

	if (getpid() != 1) {
		fprintf(stderr, "fuzz: only as the first process of a sandbox\n");
		return 2;
	}
	steps = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = start(fuzzer, seed * 31 + i);
		births[i] = now;
	}
	while ((now = time(NULL)) < last) {
		for (int i = 0; i < WORKERS; i++) {
			/* All its threads may sleep for ever. */
			if (waitpid(workers[i], NULL, WNOHANG) == 0 && now - births[i] <= LIFE_SECONDS)
				continue;
			end(workers[i]);
			workers[i] = start(fuzzer, seed * 31 + started++);
			births[i] = now;
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		took = pause_and_measure();
		if (took > longest)
			longest = took;
	}
	dprintf(1, "steps %llu, workers %llu, longest %lld ms\n", (unsigned long long)*steps, (unsigned long long)started,
		(long long)longest);
	return 0;
}

#endif
