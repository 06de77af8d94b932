/* futex(2) by itself. */
#include "observe.h"
#include <linux/futex.h>
#include <pthread.h>

static uint32_t word, other;
static volatile int woken, waiters;

static long futex(uint32_t *at, int op, uint32_t value, const struct timespec *timeout, uint32_t *second, uint32_t third)
{
	return syscall(SYS_futex, at, op, value, timeout, second, third);
}

static void *waiter(void *bits)
{
	__atomic_add_fetch(&waiters, 1, __ATOMIC_SEQ_CST);
	long result = bits ? futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, (long)bits)
			   : futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	if (result == 0)
		__atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static pthread_t threads[8];

/* Starts threads that wait on `word` and returns when they sleep. */
static void start(int count, const long *bits)
{
	woken = waiters = 0;
	for (int i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, waiter, bits ? (void *)bits[i] : NULL);
	while (waiters < count)
		sleep_ms(1);
	sleep_ms(100);
}

static void join(int count)
{
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	SHOW(woken);
}

SECTION("futex: immediate results")
{
	struct timespec zero = { 0, 0 }, bad = { 0, 1000000000 };

	word = 1;
	ERR(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0));
	ERR(futex(&word, FUTEX_WAIT, 1, &zero, NULL, 0));
	ERR(futex(&word, FUTEX_WAIT, 1, &bad, NULL, 0));
	ERR(futex((uint32_t *)((char *)&word + 1), FUTEX_WAIT, 1, NULL, NULL, 0));
	ERR(futex((uint32_t *)8, FUTEX_WAIT, 1, NULL, NULL, 0));
	ERR(futex((uint32_t *)8, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0));
	RET(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
	RET(futex((uint32_t *)8, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	ERR(futex((uint32_t *)8, FUTEX_WAKE, 1, NULL, NULL, 0));
	ERR(futex(&word, 99, 1, NULL, NULL, 0));
	ERR(futex(&word, FUTEX_WAIT_BITSET, 1, NULL, NULL, 0));
	ERR(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
	ERR(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1, &other, 2));
}

SECTION("futex: timeouts, relative and absolute")
{
	struct timespec relative = { 0, 30000000 }, now;
	long begin = now_ms();

	word = 0;
	ERR(futex(&word, FUTEX_WAIT, 0, &relative, NULL, 0));
	SHOW(now_ms() - begin >= 30);
	clock_gettime(CLOCK_MONOTONIC, &now);
	ERR(futex(&word, FUTEX_WAIT_BITSET, 0, &now, NULL, FUTEX_BITSET_MATCH_ANY));
	clock_gettime(CLOCK_REALTIME, &now);
	ERR(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &now, NULL, FUTEX_BITSET_MATCH_ANY));
}

SECTION("futex: wake counts")
{
	word = 0;
	start(5, NULL);
	RET(futex(&word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0));
	sleep_ms(100);
	SHOW(woken);
	RET(futex(&word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0));
	join(5);
}

SECTION("futex: bitsets choose")
{
	static const long bits[] = { 1, 2, 4, 3 };

	start(4, bits);
	RET(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 2));
	RET(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 8));
	RET(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
	join(4);
}

SECTION("futex: requeue moves the waiters")
{
	start(5, NULL);
	RET(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &other, 0));
	RET(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
	RET(futex(&other, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
	join(5);
	start(3, NULL);
	RET(futex(&word, FUTEX_REQUEUE_PRIVATE, 0, (void *)10, &other, 0));
	RET(futex(&other, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
	join(3);
}

SECTION("futex: WAKE_OP changes, compares and wakes")
{
	other = 5;
	start(2, NULL);
	RET(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)));
	SHOW(other);
	RET(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_GT, 100)));
	SHOW(other);
	join(2);
}

SECTION("futex: in shared memory between processes, private not")
{
	uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();

	if (pid == 0) {
		struct timespec limit = { 10, 0 };
		RET(futex(shared, FUTEX_WAIT, 0, &limit, NULL, 0));
		_exit(0);
	}
	await_state(pid, 'S');
	RET(futex(shared + 1, FUTEX_WAKE, 1, NULL, NULL, 0));
	RET(futex(shared, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	while (futex(shared, FUTEX_WAKE, 1, NULL, NULL, 0) == 0)
		sleep_ms(1);
	STATUS(end_of(pid));
}

SECTION("futex: in a file mapped at two places")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	MUST(ftruncate(fd, 4096));
	uint32_t *one = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pid_t pid = fork();
	if (pid == 0) {
		uint32_t *two = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		struct timespec limit = { 10, 0 };
		RET(futex(two, FUTEX_WAIT, 0, &limit, NULL, 0));
		_exit(0);
	}
	await_state(pid, 'S');
	while (futex(one, FUTEX_WAKE, 1, NULL, NULL, 0) == 0)
		sleep_ms(1);
	STATUS(end_of(pid));
}

SECTION("futex: a thread's exit clears its word and wakes")
{
	pthread_t thread;

	pthread_create(&thread, NULL, waiter, NULL);
	sleep_ms(100);
	futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	NUMBERED(pthread_join(thread, NULL));
}

SECTION("futex: priority inheritance: lock, trylock, unlock, errors")
{
	word = 0;
	RET(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	SHOW(word == (uint32_t)gettid());
	ERR(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	ERR(futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	RET(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	SHOW(word);
	ERR(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	word = 99999999 & FUTEX_TID_MASK;
	ERR(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

static volatile sig_atomic_t handled;

static void on_signal(int signo)
{
	(void)signo;
	handled++;
}

static void *wait_to_be_moved(void *unused)
{
	ERR(futex(&word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &other, 0));
	return unused;
}

SECTION("futex: a signal before FUTEX_CMP_REQUEUE_PI starts the wait anew, one after it ends it")
{
	pthread_t thread;
	long moved;

	signal(SIGUSR1, on_signal);
	word = other = 0;
	RET(futex(&other, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	pthread_create(&thread, NULL, wait_to_be_moved, NULL);
	sleep_ms(100);
	pthread_kill(thread, SIGUSR1);
	while (handled == 0)
		sleep_ms(1);
	while ((moved = futex(&word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &other, 0)) == 0)
		sleep_ms(5);
	SHOW(moved);
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	SHOW(handled);
	RET(futex(&other, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

static void *interrupt_waiter(void *target)
{
	sleep_ms(100);
	pthread_kill(*(pthread_t *)target, SIGUSR1);
	sleep_ms(100);
	word = 1;
	futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	return NULL;
}

/* A wait on `word` that a signal finds: what it gives, and whether the handler ran. */
static void interrupted_wait(int flags, const struct timespec *timeout)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };
	pthread_t self = pthread_self(), other_thread;

	MUST(sigaction(SIGUSR1, &action, NULL));
	word = 0;
	handled = 0;
	pthread_create(&other_thread, NULL, interrupt_waiter, &self);
	ERR(futex(&word, FUTEX_WAIT_PRIVATE, 0, timeout, NULL, 0));
	SHOW(handled);
	pthread_join(other_thread, NULL);
}

SECTION("futex: a signal with a handler, restarted or not, with and without a timeout")
{
	struct timespec second = { 1, 0 };

	interrupted_wait(0, NULL);
	interrupted_wait(SA_RESTART, NULL);
	interrupted_wait(0, &second);
	interrupted_wait(SA_RESTART, &second);
}

SECTION("futex: a process that waits is stopped, goes on waiting, and is killed")
{
	char path[64], state = 0;
	struct timespec timeout = { 0, 600000000 };
	pid_t pid = fork();

	word = 0;
	if (pid == 0) {
		long result = futex(&word, FUTEX_WAIT, 0, &timeout, NULL, 0);
		if (result != -1 || errno != ETIMEDOUT)
			_exit(1);
		futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(2);
	}
	sleep_ms(100);
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *file = fopen(path, "r");
	MUST(file ? 0 : -1);
	SHOW(fscanf(file, "%*d %*s %c", &state));
	fclose(file);
	SHOW(state == 'S');
	MUST(kill(pid, SIGSTOP));
	int status;
	MUST(waitpid(pid, &status, WUNTRACED));
	SHOW(WIFSTOPPED(status));
	sleep_ms(200);
	MUST(kill(pid, SIGCONT));
	sleep_ms(800);
	SHOW(waitpid(pid, &status, WNOHANG));
	MUST(kill(pid, SIGKILL));
	STATUS(end_of(pid));
}

SECTION("futex_waitv: several words at once")
{
	struct futex_waitv list[2] = {
		{ .val = 0, .uaddr = (uintptr_t)&word, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG },
		{ .val = 7, .uaddr = (uintptr_t)&other, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG },
	};
	struct timespec now;

	word = 0;
	other = 8;
	ERR(syscall(SYS_futex_waitv, list, 2, 0, NULL, 0));
	other = 7;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ERR(syscall(SYS_futex_waitv, list, 2, 0, &now, CLOCK_MONOTONIC));
	ERR(syscall(SYS_futex_waitv, list, 0, 0, NULL, 0));
	ERR(syscall(SYS_futex_waitv, list, 2, 1, NULL, 0));
}
