/*
 * Reading ahead: a thread that reads frames of a host's link while the sentry is at others. Reading is copying, a quarter of
 * what a stream that comes in costs, and needs nothing of what the sentry knows.
 *
 * There is one thread, started before the sentry is sealed, and one job. The sentry posts it and takes it back, with what
 * was read by then:
 *
 *   IDLE -> POSTED            by the sentry
 *   POSTED -> RUNNING -> DONE by the thread
 *   POSTED -> IDLE            by the sentry, which then reads itself: the thread has not got a CPU yet
 *   RUNNING -> AWAITED        by the sentry, which waits for it
 *   DONE -> IDLE              by the sentry
 *
 * The buffers are JavaScript's. The sentry keeps them for as long as there is a job.
 */
#include "caisson.h"
#include "link.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { IDLE, POSTED, RUNNING, AWAITED, DONE };
/* A frame takes some 15 microseconds: after so many looks it is better to sleep. */
enum { LOOKS = 2000 };
enum { STACK_SIZE = 64 << 10 };

static struct {
	_Atomic uint32_t state;
	/* Counts the posts, for the thread to sleep on. */
	_Atomic uint32_t posts;
	_Atomic uint32_t sleeping;
	int fd;
	uint32_t count, done;
	struct iovec frames[LINK_BATCH];
	int32_t lengths[LINK_BATCH];
} job;
static bool started;
/* The thread has made the calls with which threads begin. */
static _Atomic uint32_t ready;

/* What the job holds is published with its state. */
static uint32_t job_state(void)
{
	return atomic_load_explicit(&job.state, memory_order_acquire);
}

static void set_job_state(uint32_t state)
{
	atomic_store_explicit(&job.state, state, memory_order_release);
}

static bool change_job_state(uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong_explicit(&job.state, &from, to, memory_order_acq_rel, memory_order_acquire);
}

static void sleep_on(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void read_job(void)
{
	job.done = link_read(job.fd, job.frames, job.count, job.lengths);
}

static void *reader(void *unused)
{
	(void)unused;
	atomic_store_explicit(&ready, 1, memory_order_release);
	wake(&ready);
	for (;;) {
		/* Before the look at the state: a post after that look changes it. */
		uint32_t posts = atomic_load_explicit(&job.posts, memory_order_acquire);

		if (change_job_state(POSTED, RUNNING)) {
			read_job();
			if (atomic_exchange_explicit(&job.state, DONE, memory_order_acq_rel) == AWAITED)
				wake(&job.state);
			continue;
		}
		/* One order for both sides: either the sentry sees the sleeper, or the sleeper the post. */
		atomic_store_explicit(&job.sleeping, 1, memory_order_seq_cst);
		if (atomic_load_explicit(&job.posts, memory_order_seq_cst) == posts)
			sleep_on(&job.posts, posts);
		atomic_store_explicit(&job.sleeping, 0, memory_order_relaxed);
	}
	return NULL;
}

/* startLinkReader(): starts the thread, once. 0 or a negative errno. */
napi_value link_start_reader(napi_env env, napi_callback_info info)
{
	(void)info;
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;
	int error = 0;

	if (!started) {
		sigfillset(&all);
		pthread_attr_init(&attributes);
		pthread_attr_setstacksize(&attributes, STACK_SIZE > PTHREAD_STACK_MIN ? STACK_SIZE : PTHREAD_STACK_MIN);
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		error = pthread_create(&thread, &attributes, reader, NULL);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		pthread_attr_destroy(&attributes);
		started = error == 0;
		while (started && !atomic_load_explicit(&ready, memory_order_acquire))
			sleep_on(&ready, 0);
	}
	return make_number(env, -error);
}

/* linkReadAhead(fd, buffers, offset): posts a job; whether it was taken. Buffers as linkReceive's. */
napi_value link_read_ahead(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	int64_t count;
	napi_value taken;
	bool free = started && job_state() == IDLE;

	if (free) {
		count = link_frames(env, argv[1], get_number(env, argv[2]), job.frames);
		free = count > 0;
	}
	if (free) {
		job.fd = (int)get_number(env, argv[0]);
		job.count = (uint32_t)count;
		set_job_state(POSTED);
		atomic_fetch_add_explicit(&job.posts, 1, memory_order_seq_cst);
		if (atomic_load_explicit(&job.sleeping, memory_order_seq_cst))
			wake(&job.posts);
	}
	napi_get_boolean(env, free, &taken);
	return taken;
}

/* linkCollect(lengths): the result of the job that was posted, as linkReceive's. */
napi_value link_collect(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	size_t room;
	int32_t *lengths = get_bytes(env, argv[0], &room);

	if (job_state() == IDLE || !lengths || room < job.count * sizeof *lengths)
		return make_number(env, -EINVAL);
	if (change_job_state(POSTED, IDLE)) {
		read_job();
	} else {
		for (int i = 0; i < LOOKS && job_state() != DONE; i++)
			__builtin_ia32_pause();
		change_job_state(RUNNING, AWAITED);
		while (job_state() != DONE)
			sleep_on(&job.state, AWAITED);
		set_job_state(IDLE);
	}
	for (uint32_t i = 0; i < job.done; i++)
		lengths[i] = job.lengths[i];
	return make_number(env, job.done);
}
