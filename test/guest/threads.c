/* Threads: TLS, joining, locks of all kinds, cancellation, ids, the leader's early end. */
#include "observe.h"
#include <linux/futex.h>
#include <grp.h>
#include <pthread.h>
#include <semaphore.h>

static __thread int local = 5;
static pthread_barrier_t barrier;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static volatile int shared;

static void *tls(void *argument)
{
	int was = local;

	local = (int)(long)argument;
	pthread_barrier_wait(&barrier);
	return (void *)(long)(was * 100 + local);
}

SECTION("thread-local storage is each thread's own")
{
	pthread_t threads[4];
	void *result;

	pthread_barrier_init(&barrier, NULL, 5);
	for (long i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, tls, (void *)(i + 1));
	local = 9;
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		SHOW((long)result);
	}
	SHOW(local);
}

static void *add(void *unused)
{
	for (int i = 0; i < 20000; i++) {
		pthread_mutex_lock(&mutex);
		shared++;
		pthread_mutex_unlock(&mutex);
	}
	return unused;
}

SECTION("a mutex under contention loses nothing")
{
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, add, NULL);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	SHOW(shared);
}

static void *consume(void *count)
{
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&mutex);
		while (shared == 0)
			pthread_cond_wait(&condition, &mutex);
		shared--;
		(*(int *)count)++;
		pthread_cond_broadcast(&condition);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

SECTION("condition variables: producer and consumers; timed wait")
{
	pthread_t threads[3];
	int counts[3] = { 0 };

	shared = 0;
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, consume, &counts[i]);
	for (int i = 0; i < 3000; i++) {
		pthread_mutex_lock(&mutex);
		while (shared > 5)
			pthread_cond_wait(&condition, &mutex);
		shared++;
		pthread_cond_broadcast(&condition);
		pthread_mutex_unlock(&mutex);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	SHOW(counts[0] + counts[1] + counts[2]);
	struct timespec soon;
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 10000000;
	if (soon.tv_nsec >= 1000000000) {
		soon.tv_sec++;
		soon.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&mutex);
	NUMBERED(pthread_cond_timedwait(&condition, &mutex, &soon));
}

SECTION("mutex kinds: recursive, error-checking, trylock, timedlock")
{
	pthread_mutexattr_t attributes;
	pthread_mutex_t recursive, checking;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&recursive, &attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&checking, &attributes);
	NUMBERED(pthread_mutex_lock(&recursive));
	NUMBERED(pthread_mutex_lock(&recursive));
	NUMBERED(pthread_mutex_unlock(&recursive));
	NUMBERED(pthread_mutex_lock(&checking));
	NUMBERED(pthread_mutex_lock(&checking));
	NUMBERED(pthread_mutex_trylock(&checking));
	NUMBERED(pthread_mutex_unlock(&checking));
	NUMBERED(pthread_mutex_unlock(&checking));
}

static void *die_holding(void *robust)
{
	pthread_mutex_lock(robust);
	return NULL;
}

SECTION("robust mutex: the owner's death is told, in threads and across processes")
{
	pthread_mutexattr_t attributes;
	pthread_mutex_t *robust = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_t thread;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(robust, &attributes);
	pthread_create(&thread, NULL, die_holding, robust);
	pthread_join(thread, NULL);
	NUMBERED(pthread_mutex_lock(robust));
	NUMBERED(pthread_mutex_consistent(robust));
	NUMBERED(pthread_mutex_unlock(robust));
	pid_t pid = fork();
	if (pid == 0) {
		pthread_mutex_lock(robust);
		kill(getpid(), SIGKILL);
	}
	end_of(pid);
	NUMBERED(pthread_mutex_lock(robust));
	NUMBERED(pthread_mutex_unlock(robust));
	NUMBERED(pthread_mutex_lock(robust));
	void *head;
	size_t length;
	ERR(syscall(SYS_get_robust_list, 0, &head, &length));
	SHOW(length);
	ERR(syscall(SYS_set_robust_list, head, 8));
	ERR(syscall(SYS_get_robust_list, 99999999, &head, &length));
}

enum { HOLDERS = 4, HELD = 5 };
static pthread_mutex_t *held;

static void *hold(void *first)
{
	for (int i = 0; i < HELD; i++)
		pthread_mutex_lock(&held[(long)first + i]);
	pthread_barrier_wait(&barrier);
	for (;;)
		pause();
}

SECTION("robust mutexes: those of all threads of a process that is killed")
{
	for (int pi = 0; pi < 2; pi++) {
		pthread_mutexattr_t attributes;
		int dead = 0;

		held = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		pthread_mutexattr_init(&attributes);
		pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
		pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
		if (pi)
			pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
		for (int i = 0; i < HOLDERS * HELD; i++)
			pthread_mutex_init(&held[i], &attributes);
		pid_t pid = fork();
		if (pid == 0) {
			pthread_t thread;

			pthread_barrier_init(&barrier, NULL, HOLDERS + 1);
			for (long i = 0; i < HOLDERS; i++)
				pthread_create(&thread, NULL, hold, (void *)(i * HELD));
			pthread_barrier_wait(&barrier);
			kill(getpid(), SIGKILL);
		}
		STATUS(end_of(pid));
		for (int i = 0; i < HOLDERS * HELD; i++)
			dead += pthread_mutex_trylock(&held[i]) == EOWNERDEAD;
		SHOW(dead);
	}
}

SECTION("priority-inheritance mutex")
{
	pthread_mutexattr_t attributes;
	pthread_mutex_t inherit;
	pthread_t thread;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
	NUMBERED(pthread_mutex_init(&inherit, &attributes));
	NUMBERED(pthread_mutex_lock(&inherit));
	pthread_create(&thread, NULL, die_holding, &inherit);
	sleep_ms(50);
	NUMBERED(pthread_mutex_unlock(&inherit));
	pthread_join(thread, NULL);
	NUMBERED(pthread_mutex_trylock(&inherit));
}

static void cleanup(void *text)
{
	say("cleanup %s\n", (char *)text);
}

static void *cancelled(void *how)
{
	pthread_cleanup_push(cleanup, how);
	if (!strcmp(how, "read")) {
		int pair[2];
		pipe(pair);
		read(pair[0], pair, 1);
	} else if (!strcmp(how, "sleep")) {
		sleep(100);
	} else if (!strcmp(how, "asynchronous")) {
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
		for (;;)
			;
	} else {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
		sleep_ms(100);
	}
	pthread_cleanup_pop(0);
	return "survived";
}

SECTION("cancellation: in read, in sleep, asynchronously, disabled")
{
	static char *const ways[] = { "read", "sleep", "asynchronous", "disabled" };

	for (size_t i = 0; i < LENGTH(ways); i++) {
		pthread_t thread;
		void *result;

		pthread_create(&thread, NULL, cancelled, ways[i]);
		sleep_ms(50);
		int cancelled = pthread_cancel(thread);
		pthread_join(thread, &result);
		NUMBERED(cancelled);
		if (result == PTHREAD_CANCELED)
			say("%s: cancelled\n", ways[i]);
		else
			say("%s: %s\n", ways[i], (char *)result);
	}
}

static void *ids(void *tid)
{
	*(int *)tid = gettid();
	SHOW(getpid() != gettid());
	SHOW(syscall(SYS_set_tid_address, NULL) == gettid());
	return NULL;
}

static int blocked_pipe[2];

static void *blocked_reader(void *argument)
{
	char byte;

	ERR(read(blocked_pipe[0], &byte, 1));
	return argument;
}

static sem_t never;

static void *blocked_semaphore(void *argument)
{
	struct timespec later;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	clock_gettime(CLOCK_REALTIME, &later);
	later.tv_sec += LIMIT;
	while (sem_timedwait(&never, &later) < 0 && errno == EINTR)
		;
	return argument;
}

SECTION("a signal for one thread wakes it from its call; setgroups reaches all threads")
{
	pthread_t thread;

	MUST(pipe(blocked_pipe));
	handle(SIGUSR1, ignore, 0);
	NUMBERED(pthread_create(&thread, NULL, blocked_reader, NULL));
	sleep_ms(50);
	/* The thread prints as soon as it is woken. */
	int killed = pthread_kill(thread, SIGUSR1);
	NUMBERED(pthread_join(thread, NULL));
	NUMBERED(killed);
	sem_init(&never, 0, 0);
	NUMBERED(pthread_create(&thread, NULL, blocked_semaphore, NULL));
	sleep_ms(50);
	long start = now_ms();
	if (geteuid() == 0)
		MUST(setgroups(0, NULL));
	else
		setuid(getuid());
	SHOW(now_ms() - start < LIMIT * 500);
	sem_post(&never);
	NUMBERED(pthread_join(thread, NULL));
}

SECTION("ids: threads share the process id and have their own thread id")
{
	pthread_t thread;
	int tid = 0;

	SHOW(getpid() == gettid());
	pthread_create(&thread, NULL, ids, &tid);
	sleep_ms(50);
	SHOW(tid != getpid());
	char path[64];
	snprintf(path, sizeof path, "/proc/self/task/%d", getpid());
	ERR(access(path, F_OK));
}

static void *wait_and_exit(void *parent)
{
	(void)parent;
	sleep_ms(100);
	say("the process lives on: state %c\n", state_of(getpid()));
	exit(7);
}

SECTION("the leader's pthread_exit leaves the process alive; exit ends it with its code")
{
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t thread;
		pthread_create(&thread, NULL, wait_and_exit, NULL);
		pthread_exit(NULL);
	}
	STATUS(end_of(pid));
	pid = fork();
	if (pid == 0)
		pthread_exit(NULL);
	STATUS(end_of(pid));
}

static void *send_much(void *fd)
{
	enum { SIZE = 300000 };
	char *bytes = malloc(SIZE);

	memset(bytes, 'x', SIZE);
	while (state_of(getpid()) != 'Z')
		sleep_ms(1);
	sleep_ms(20);
	for (ssize_t n, left = SIZE; left > 0; left -= n)
		if ((n = write((int)(long)fd, bytes, left)) < 0)
			exit(1);
	exit(9);
}

SECTION("the memory of a process whose leader has ended is read")
{
	int fds[2];
	char bytes[4096];
	long total = 0;
	ssize_t n;

	MUST(pipe(fds));
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t thread;

		close(fds[0]);
		pthread_create(&thread, NULL, send_much, (void *)(long)fds[1]);
		pthread_exit(NULL);
	}
	close(fds[1]);
	while ((n = read(fds[0], bytes, sizeof bytes)) > 0)
		total += n;
	SHOW(total);
	STATUS(end_of(pid));
}

static void *loop(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void *crash(void *unused)
{
	*(volatile char *)16 = 1;
	return unused;
}

SECTION("a fault in one thread kills all; _exit in one ends all")
{
	pthread_t thread;
	pid_t pid = fork();

	if (pid == 0) {
		pthread_create(&thread, NULL, loop, NULL);
		pthread_create(&thread, NULL, crash, NULL);
		loop(NULL);
	}
	STATUS(end_of(pid));
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 5; i++)
			pthread_create(&thread, NULL, loop, NULL);
		_exit(3);
	}
	STATUS(end_of(pid));
}

SECTION("fork in a threaded process copies only the caller")
{
	pthread_t thread;
	char tasks[64];

	for (int i = 0; i < 3; i++)
		pthread_create(&thread, NULL, loop, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		int entries = 0;
		struct dirent *entry;
		DIR *dir = opendir("/proc/self/task");
		while ((entry = readdir(dir)))
			entries += entry->d_name[0] != '.';
		SHOW(entries);
		SHOW(getpid() == gettid());
		_exit(0);
	}
	STATUS(end_of(pid));
	snprintf(tasks, sizeof tasks, "/proc/self/task");
	int entries = 0;
	struct dirent *entry;
	DIR *dir = opendir(tasks);
	while ((entry = readdir(dir)))
		entries += entry->d_name[0] != '.';
	SHOW(entries);
}

static void *small(void *argument)
{
	return argument;
}

SECTION("a thousand short threads, one after the other and in batches")
{
	long sum = 0;
	void *result;
	pthread_t threads[50];

	for (long i = 0; i < 300; i++) {
		pthread_create(&threads[0], NULL, small, (void *)i);
		pthread_join(threads[0], &result);
		sum += (long)result;
	}
	for (int round = 0; round < 10; round++) {
		for (long i = 0; i < 50; i++)
			MUST(pthread_create(&threads[i], NULL, small, (void *)i) ? -1 : 0);
		for (int i = 0; i < 50; i++) {
			pthread_join(threads[i], &result);
			sum += (long)result;
		}
	}
	SHOW(sum);
}

static sem_t semaphore;

static void *poster(void *unused)
{
	sleep_ms(30);
	sem_post(&semaphore);
	return unused;
}

SECTION("semaphores, read-write locks, once, keys")
{
	pthread_t thread;
	pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

	sem_init(&semaphore, 0, 0);
	ERR(sem_trywait(&semaphore));
	pthread_create(&thread, NULL, poster, NULL);
	ERR(sem_wait(&semaphore));
	pthread_join(thread, NULL);
	NUMBERED(pthread_rwlock_rdlock(&lock));
	NUMBERED(pthread_rwlock_tryrdlock(&lock));
	NUMBERED(pthread_rwlock_trywrlock(&lock));
	sem_t *named = sem_open("/caisson-observe", O_CREAT | O_EXCL, 0600, 2);
	SHOW(named != SEM_FAILED);
	if (named != SEM_FAILED) {
		ERR(sem_wait(named));
		int value;
		sem_getvalue(named, &value);
		SHOW(value);
	}
	ERR(sem_unlink("/caisson-observe"));
}

static void *sleeper(void *tid)
{
	*(volatile int *)tid = gettid();
	sleep_ms(3000);
	return NULL;
}

SECTION("per-thread scheduling attributes, names and CPU clocks")
{
	pthread_t thread;
	volatile int tid = 0;
	char name[32] = "", path[64];

	pthread_create(&thread, NULL, sleeper, (void *)&tid);
	while (!tid)
		sleep_ms(1);
	NUMBERED(pthread_setname_np(thread, "worker"));
	NUMBERED(pthread_setname_np(thread, "far too long a name"));
	NUMBERED(pthread_getname_np(thread, name, sizeof name));
	TEXT(name);
	snprintf(path, sizeof path, "/proc/self/task/%d/comm", tid);
	TEXT(read_file(path));
	clockid_t clock;
	NUMBERED(pthread_getcpuclockid(thread, &clock));
	struct timespec used;
	ERR(clock_gettime(clock, &used));
	SHOW(used.tv_sec);
	SHOW(await_state(tid, 'S'));
}
