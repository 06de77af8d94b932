/*
 * The sentry's side of the slots (native/protocol.h): publishing replies, watching for requests, sleeping, and the
 * few host calls that move descriptors and memory between the sentry and its stubs. What to say and when is decided
 * in src/platform/systrap/.
 */
#include "caisson.h"

#include <cpuid.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "../protocol.h"

/* Linux 6.3. */
#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#define AT_RSEQ_ALIGN 28
#endif

#define NUMBER(i) get_number(env, argv[i])

/* libuv's own, exported by node; declared here because its headers are not among ours. */
struct uv_loop_s;
extern int uv_backend_fd(const struct uv_loop_s *loop);

/* Tokens in the epoll set beside those of Host.watch, which are below 2^32. */
#define TOKEN_EVENT (1ull << 40)
#define TOKEN_LOOP (2ull << 40)
#define TOKEN_QUIET (3ull << 40)

/*
 * After much work, some stops, nothing to do for a moment is a good time to tidy up; after any work, a longer time is: what
 * that touched would stay resident for ever. Who wakes up every second does not pay for it each time, and who only waits for
 * a guest that computes, or for a CPU, not soon. ns.
 */
#define QUIET 250000000ll
#define QUIET_STOPS 500
#define LONG_QUIET 3000000000ll

/* Pause instructions that a stub spends on a reply before it sleeps, some 100 µs; and where CPUs are short. */
#define STUB_SPIN 2500
#define CROWDED_SPIN 100

/* Waits from here on need no more precision than milliseconds at first. ns. */
#define LONG_WAIT 2000000ll

/* How often the sentry looks at descriptors while it spins. */
#define LOOK_US 10

#define MAX_READY 64
#define NEXT_TIMEOUT -1
#define NEXT_READY -2

static char *arena;
static size_t slot_limit;
static struct caisson_info *info_page;
static int event_fd = -1;
static int info_fd = -1;
static uint64_t ticks_per_us = 1000;

/*
 * Slots by what their threads do: `running` guest code, so that they can make a request at any time, or `dozing` (in a wait),
 * when they ring their process's bell first. `bells` are the first slots of processes that have such threads. A slot's
 * place in a list is -1 if it isn't there.
 */
struct slot_list {
	int32_t *slots, *places;
	size_t count;
};
static struct slot_list running, dozing, bells;
/* The first slot of a slot's process, and how many of the process doze. */
static int32_t *home, *dozers;
/* When a slot's thread was let go, by the TSC. */
static uint64_t *resumed;
/* At the start there is always something; -1 once it is tidy, since the wait that follows is no work. */
static int stops_since_quiet = QUIET_STOPS;
/* Tokens and events of the last wait, for JavaScript: pairs after a count. */
static double ready[1 + 2 * MAX_READY];

static struct caisson_slot *slot_at(int64_t index)
{
	if (index < 0 || (size_t)index >= slot_limit)
		abort();
	return (struct caisson_slot *)(arena + (size_t)index * CAISSON_SLOT_SIZE);
}

static _Atomic uint32_t *state_of(struct caisson_slot *slot)
{
	return (_Atomic uint32_t *)&slot->state;
}

static bool requested(struct caisson_slot *slot)
{
	uint32_t state = atomic_load_explicit(state_of(slot), memory_order_acquire);

	return state == CAISSON_STATE_REQUEST || state == CAISSON_STATE_SLEEP;
}

static bool list_init(struct slot_list *list)
{
	list->slots = calloc(slot_limit, sizeof *list->slots);
	list->places = malloc(slot_limit * sizeof *list->places);
	if (!list->slots || !list->places)
		return false;
	memset(list->places, 0xff, slot_limit * sizeof *list->places);
	return true;
}

static void list_add(struct slot_list *list, int32_t index)
{
	if (list->places[index] >= 0)
		return;
	list->places[index] = (int32_t)list->count;
	list->slots[list->count++] = index;
}

static bool list_remove(struct slot_list *list, int32_t index)
{
	int32_t at = list->places[index];

	if (at < 0)
		return false;
	list->places[index] = -1;
	list->slots[at] = list->slots[--list->count];
	if ((size_t)at < list->count)
		list->places[list->slots[at]] = at;
	return true;
}

static void stop_dozing(int32_t index)
{
	if (!list_remove(&dozing, index))
		return;
	slot_at(index)->dozing = 0;
	if (--dozers[home[index]] == 0)
		list_remove(&bells, home[index]);
}

static void forget(int32_t index)
{
	list_remove(&running, index);
	stop_dozing(index);
}

/* A running thread waits: false if it has asked for something meanwhile. */
static bool doze(int32_t index)
{
	struct caisson_slot *slot = slot_at(index);

	list_remove(&running, index);
	list_add(&dozing, index);
	if (dozers[home[index]]++ == 0)
		list_add(&bells, home[index]);
	/* seq_cst: a request that is not seen below sees this, and rings. */
	atomic_exchange_explicit((_Atomic uint32_t *)&slot->dozing, 1, memory_order_seq_cst);
	if (!requested(slot))
		return true;
	stop_dozing(index);
	return false;
}

static _Atomic uint32_t *bell_of(int32_t first)
{
	return (_Atomic uint32_t *)&slot_at(first)->bell;
}

/* Threads of a process whose bell rang: those with a request run again. */
static void answer_bell(int32_t first)
{
	atomic_exchange_explicit(bell_of(first), 0, memory_order_seq_cst);
	for (size_t i = dozing.count; i-- > 0;) {
		int32_t index = dozing.slots[i];

		if (home[index] != first || !requested(slot_at(index)))
			continue;
		stop_dozing(index);
		list_add(&running, index);
	}
}

static void answer_bells(void)
{
	for (size_t i = bells.count; i-- > 0;)
		if (i < bells.count && atomic_load_explicit(bell_of(bells.slots[i]), memory_order_acquire))
			answer_bell(bells.slots[i]);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* Tells waiting stubs where the sentry runs. */
static void note_cpu(void)
{
	static uint32_t noted = ~0u;
	unsigned cpu;

	__rdtscp(&cpu);
	cpu &= 0xfff;
	if (cpu != noted)
		info_page->sentry_cpu = noted = cpu;
}

/* Where the sentry may run, as it was when it started. */
static cpu_set_t all_cpus;
static size_t cpu_count;

/*
 * Not every host's scheduler looks for an idle CPU when a thread is woken (virtual machines show no shared caches, and
 * then it does not). A guest thread that shares the sentry's CPU would stay there, and each call cost two switches. So
 * when stubs are found asleep again and again, the sentry goes to another CPU, less often if that changes nothing.
 */
static void leave_cpu(bool asleep)
{
	static unsigned streak;
	static uint64_t next, pause_us = 200;
	cpu_set_t others;
	uint64_t now;
	unsigned cpu;

	if (!asleep) {
		streak = 0;
		return;
	}
	if (++streak < 3)
		return;
	streak = 0;
	now = __rdtscp(&cpu);
	if (now < next)
		return;
	/* A quiet time after the last move: that one helped. */
	if (now - next > 20000 * ticks_per_us)
		pause_us = 200;
	next = now + pause_us * ticks_per_us;
	if (pause_us < 1000000)
		pause_us *= 2;
	others = all_cpus;
	CPU_CLR(cpu & 0xfff, &others);
	if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others))
		return;
	sched_setaffinity(0, sizeof all_cpus, &all_cpus);
}

static void publish(struct caisson_slot *slot, uint32_t what)
{
	bool asleep, parked = slot->spin == 0;

	note_cpu();
	slot->what = what;
	/* seq_cst: whether the stub went to sleep must be seen after the reply is. */
	asleep = atomic_exchange_explicit(state_of(slot), CAISSON_STATE_REPLY, memory_order_seq_cst) == CAISSON_STATE_SLEEP;
	if (asleep)
		syscall(SYS_futex, &slot->state, FUTEX_WAKE, 1, NULL, NULL, 0);
	if (!parked)
		leave_cpu(asleep);
}

static void run(int32_t index)
{
	list_add(&running, index);
	resumed[index] = __rdtsc();
}

/*
 * Until when it is worth spinning for requests: `ticks` after the last thread was let go that still runs. One that has
 * computed for longer will hardly ask just now; and whoever waits for this CPU in another cgroup, as clients of a
 * container do, gets it by no sched_yield(2).
 */
static uint64_t spin_end(uint64_t ticks)
{
	uint64_t last = 0;

	for (size_t i = 0; i < running.count; i++)
		if (resumed[running.slots[i]] > last)
			last = resumed[running.slots[i]];
	return last + ticks;
}

/* A slot with a request, taken from the watched ones. Each search begins behind the last find, so that none starves. */
static int32_t scan(void)
{
	static size_t at;

	answer_bells();
	for (size_t left = running.count; left > 0; left--) {
		int32_t index;
		struct caisson_slot *slot;

		if (at >= running.count)
			at = 0;
		index = running.slots[at];
		slot = slot_at(index);
		if (requested(slot)) {
			list_remove(&running, index);
			return index;
		}
		if (atomic_load_explicit(state_of(slot), memory_order_relaxed) != CAISSON_STATE_WAIT)
			at++;
		else if (!doze(index))
			return index;
	}
	return -1;
}

static void drain_event(void)
{
	uint64_t count;

	if (read(event_fd, &count, sizeof count) < 0)
		return;
}

/* One look at the epoll set; whether something for JavaScript is ready. */
static bool collect(int64_t timeout_ns)
{
	struct epoll_event events[MAX_READY];
	int pairs = 0, count, timeout_ms = timeout_ns < 0 ? -1 : 0;

	/*
	 * epoll_pwait knows milliseconds. (epoll_pwait2 would be one more call on the jail's list.) What is left of a long
	 * wait that ends some of them early is waited for by the next one.
	 */
	if (timeout_ns >= LONG_WAIT) {
		timeout_ms = timeout_ns / 1000000 < INT_MAX ? (int)(timeout_ns / 1000000) : INT_MAX;
	} else if (timeout_ns > 0) {
		struct timespec timeout = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
		struct pollfd set = { .fd = caisson_epoll_fd(), .events = POLLIN };

		ppoll(&set, 1, &timeout, NULL);
	}
	count = epoll_pwait(caisson_epoll_fd(), events, MAX_READY, timeout_ms, NULL);
	ready[0] = 0;
	for (int i = 0; i < count; i++) {
		if (events[i].data.u64 == TOKEN_EVENT) {
			drain_event();
			continue;
		}
		ready[1 + 2 * pairs] = (double)events[i].data.u64;
		ready[2 + 2 * pairs] = events[i].events;
		pairs++;
	}
	ready[0] = pairs;
	return pairs > 0;
}

/* How long the next stop of a thread may spin: not for long where more threads run than there are CPUs. */
static void set_spin(struct caisson_slot *slot)
{
	uint32_t spin = cpu_count < 2 ? 0 : running.count < cpu_count ? STUB_SPIN : CROWDED_SPIN;

	/* The stub has the cache line for itself otherwise. */
	if (slot->spin != spin)
		slot->spin = spin;
}

/* resume(slot, what): publishes the reply; with RESUME and WAIT the slot is watched again. */
static napi_value systrap_resume(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	int64_t index = NUMBER(0);
	uint32_t what = (uint32_t)NUMBER(1);
	struct caisson_slot *slot = slot_at(index);

	if ((what & 0xff) == CAISSON_COMMAND_RESUME || (what & 0xff) == CAISSON_COMMAND_WAIT) {
		run((int32_t)index);
		set_spin(slot);
	}
	publish(slot, what);
	return NULL;
}

/* watchSlot(slot): a thread that was not resumed, but will make a request (it is being born). */
static napi_value systrap_watch_slot(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	run((int32_t)NUMBER(0));
	return NULL;
}

static napi_value systrap_forget_slot(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	forget((int32_t)NUMBER(0));
	return NULL;
}

/*
 * Waits for a slot's request: 0, or -EPIPE when the process died first, which `watched` tells: its pidfd (POLLIN) or
 * the socket to it (no events: POLLHUP). What else happens meanwhile stays in the epoll set.
 */
static int64_t await_request(struct caisson_slot *slot, int watched, short events)
{
	uint64_t end = __rdtsc() + 50 * ticks_per_us;
	unsigned round = 0;

	for (;;) {
		if (requested(slot))
			return 0;
		if (__rdtsc() < end) {
			if (++round % 16 == 0) {
				sched_yield();
				note_cpu();
			} else {
				_mm_pause();
			}
			continue;
		}
		atomic_store_explicit((_Atomic uint32_t *)&info_page->sentry_sleeping, 1, memory_order_seq_cst);
		if (!requested(slot)) {
			struct pollfd fds[2] = { { .fd = event_fd, .events = POLLIN }, { .fd = watched, .events = events } };

			ppoll(fds, 2, &(struct timespec){ 0, 100 * 1000000 }, NULL);
			if (fds[0].revents & POLLIN)
				drain_event();
			if (fds[1].revents && !requested(slot)) {
				info_page->sentry_sleeping = 0;
				return -EPIPE;
			}
		}
		info_page->sentry_sleeping = 0;
		/* The eventfd is shared: others may have rung while this one was waited for. They are found by scan(). */
	}
}

/* pending(): whether a thread asks for something. */
static napi_value systrap_pending(napi_env env, napi_callback_info info)
{
	napi_value value = NULL;
	bool found = false;

	(void)info;
	answer_bells();
	for (size_t i = 0; i < running.count && !found; i++)
		found = requested(slot_at(running.slots[i]));
	napi_get_boolean(env, found, &value);
	return value;
}

/* awaitRequest(slot, watched, events) */
static napi_value systrap_await(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	return make_number(env, await_request(slot_at(NUMBER(0)), (int)NUMBER(1), (short)NUMBER(2)));
}

/* exchange(slot, count, watched, events): has the stub do the slot's operations and report: 0 or -EPIPE. */
static napi_value systrap_exchange(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	struct caisson_slot *slot = slot_at(NUMBER(0));

	publish(slot, CAISSON_COMMAND_REPORT | (uint32_t)NUMBER(1) << 8);
	return make_number(env, await_request(slot, (int)NUMBER(2), (short)NUMBER(3)));
}

/*
 * next(spinNs, timeoutNs): the slot of a thread that stopped, -1 at the timeout, -2 when watched descriptors, node's own
 * event loop, or word of a quiet time are in `ready`. timeoutNs -1: no limit.
 */
static napi_value systrap_next(napi_env env, napi_callback_info info)
{
	static unsigned turn;
	ARGUMENTS(2);
	int64_t spin = NUMBER(0), timeout = NUMBER(1), until_quiet;
	int32_t index;
	bool found, quiet;

	/* Descriptors must not starve while guests keep the sentry busy. */
	if ((++turn & 31) == 0 && collect(0))
		return make_number(env, NEXT_READY);
	index = scan();
	if (stops_since_quiet < QUIET_STOPS)
		stops_since_quiet++;
	if (index >= 0)
		return make_number(env, index);
	if (timeout == 0)
		return make_number(env, collect(0) ? NEXT_READY : NEXT_TIMEOUT);
	if (spin > 0 && running.count > 0) {
		uint64_t now, end = spin_end((uint64_t)spin * ticks_per_us / 1000);
		uint64_t look = __rdtsc() + LOOK_US * ticks_per_us;

		for (unsigned round = 1; (now = __rdtsc()) < end; round++) {
			/* Where the guest is to run on this very CPU, only giving it up brings its request. */
			if (round % 16 == 0) {
				sched_yield();
				note_cpu();
			} else {
				_mm_pause();
			}
			index = scan();
			if (index >= 0)
				return make_number(env, index);
			if (now < look)
				continue;
			/* A thread that computes must not keep from the others what comes in for them. */
			if (collect(0))
				return make_number(env, NEXT_READY);
			look = __rdtsc() + LOOK_US * ticks_per_us;
		}
	}
	until_quiet = stops_since_quiet >= QUIET_STOPS && running.count == 0 ? QUIET : LONG_QUIET;
	quiet = stops_since_quiet > 0 && (timeout < 0 || timeout > until_quiet);
	if (quiet)
		timeout = until_quiet;
	/* seq_cst: a stub that does not see the flag has published before the scan below. */
	atomic_store_explicit((_Atomic uint32_t *)&info_page->sentry_sleeping, 1, memory_order_seq_cst);
	index = scan();
	found = index < 0 && collect(timeout);
	info_page->sentry_sleeping = 0;
	if (index < 0)
		index = found ? NEXT_READY : scan();
	if (index == NEXT_TIMEOUT && quiet) {
		stops_since_quiet = -1;
		ready[0] = 1;
		ready[1] = (double)TOKEN_QUIET;
		index = NEXT_READY;
	}
	return make_number(env, index);
}

/* look(): whether watched descriptors or node's event loop, now in `ready`, have something to tell. */
static napi_value systrap_look(napi_env env, napi_callback_info info)
{
	(void)info;
	return make_number(env, collect(0) ? NEXT_READY : NEXT_TIMEOUT);
}

/* mapSlot(index, memfd, local, first): maps a process's slot into the arena; `first` is the place of its slot 0. */
static napi_value systrap_map_slot(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	struct caisson_slot *slot = slot_at(NUMBER(0));
	void *at = mmap(slot, CAISSON_SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, (int)NUMBER(1),
			NUMBER(2) * CAISSON_SLOT_SIZE);

	home[NUMBER(0)] = (int32_t)NUMBER(3);
	return make_result(env, at == (void *)slot ? 0 : -1);
}

/* unmapSlot(index): the arena's place is empty again, and its memory is the host's. */
static napi_value systrap_unmap_slot(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	struct caisson_slot *slot = slot_at(NUMBER(0));
	void *at;

	forget((int32_t)NUMBER(0));
	at = mmap(slot, CAISSON_SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		  -1, 0);
	return make_result(env, at == (void *)slot ? 0 : -1);
}

static napi_value systrap_socketpair(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	size_t length;
	int32_t *out = get_bytes(env, argv[0], &length);
	int fds[2], one = 1;

	if (!out || length < 8)
		return make_number(env, -EINVAL);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return make_result(env, -1);
	setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
	out[0] = fds[0];
	out[1] = fds[1];
	return make_number(env, 0);
}

/* sendFds(socket, bytes, fd0, fd1): one message; an fd of -1 is none. */
static napi_value systrap_send_fds(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	size_t length;
	char *bytes = get_bytes(env, argv[1], &length);
	int fds[2] = { (int)NUMBER(2), (int)NUMBER(3) };
	int count = fds[0] < 0 ? 0 : fds[1] < 0 ? 1 : 2;
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = { .header = { .cmsg_len = CMSG_LEN(count * sizeof(int)), .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { .iov_base = bytes, .iov_len = length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (count > 0) {
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
	}
	return make_result(env, sendmsg((int)NUMBER(0), &message, MSG_NOSIGNAL | MSG_DONTWAIT));
}

/* receiveSender(socket): takes one message and tells the sender's pid as the host's kernel vouches for it. */
static napi_value systrap_receive_sender(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	char byte;
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(16 * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof control };
	pid_t pid = -ESRCH;

	if (recvmsg((int)NUMBER(0), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
		return make_result(env, -1);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
			pid = ((struct ucred *)CMSG_DATA(c))->pid;
		/* A hostile guest may send descriptors along. */
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
				close(((int *)CMSG_DATA(c))[i]);
	}
	return make_number(env, pid);
}

static napi_value systrap_receive_bytes(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	size_t length;
	char *bytes = get_bytes(env, argv[1], &length);

	return make_result(env, recv((int)NUMBER(0), bytes, length, 0));
}

static napi_value systrap_pidfd_open(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	return make_result(env, syscall(SYS_pidfd_open, (pid_t)NUMBER(0), 0));
}

static napi_value systrap_pidfd_kill(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	return make_result(env, syscall(SYS_pidfd_send_signal, (int)NUMBER(0), SIGKILL, NULL, 0));
}

/* kick(slot, pid, tid): asks a running thread to stop. */
static napi_value systrap_kick(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	struct caisson_slot *slot = slot_at(NUMBER(0));

	atomic_store_explicit((_Atomic uint32_t *)&slot->interrupt, 1, memory_order_seq_cst);
	return make_result(env, syscall(SYS_tgkill, (pid_t)NUMBER(1), (pid_t)NUMBER(2), CAISSON_KICK_SIGNAL));
}

/*
 * setCpus(pid, tid, mask): where a host thread may run. The thread's id comes from its slot, into which the guest can
 * write: signal 0 asks whether it is that process's. (Ids of threads that ended are not given to others before all the rest
 * were used.)
 */
static napi_value systrap_set_cpus(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	pid_t pid = (pid_t)NUMBER(0), tid = (pid_t)NUMBER(1);
	size_t length;
	void *mask = get_bytes(env, argv[2], &length);

	if (syscall(SYS_tgkill, pid, tid, 0))
		return make_result(env, -1);
	return make_result(env, syscall(SYS_sched_setaffinity, tid, length, mask));
}

/* awaitStop(slot, ns): whether a thread that was kicked stops within that time. Its request stays where it is. */
static napi_value systrap_await_stop(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	struct caisson_slot *slot = slot_at(NUMBER(0));
	uint64_t end = __rdtsc() + (uint64_t)NUMBER(1) * ticks_per_us / 1000;
	napi_value value = NULL;

	for (unsigned round = 1; !requested(slot) && __rdtsc() < end; round++) {
		if (round % 16 == 0)
			sched_yield();
		else
			_mm_pause();
	}
	napi_get_boolean(env, requested(slot), &value);
	return value;
}

/* slotTid(slot): 0 once the slot's host thread is gone. */
static napi_value systrap_slot_tid(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	return make_number(env, atomic_load_explicit((_Atomic uint32_t *)&slot_at(NUMBER(0))->tid, memory_order_acquire));
}

static napi_value vm_transfer(napi_env env, napi_callback_info info, bool write)
{
	ARGUMENTS(3);
	size_t length;
	struct iovec local, remote;

	local.iov_base = get_bytes(env, argv[2], &length);
	local.iov_len = length;
	remote.iov_base = (void *)NUMBER(1);
	remote.iov_len = length;
	if (length == 0)
		return make_number(env, 0);
	if (write)
		return make_result(env, process_vm_writev((pid_t)NUMBER(0), &local, 1, &remote, 1, 0));
	return make_result(env, process_vm_readv((pid_t)NUMBER(0), &local, 1, &remote, 1, 0));
}

static napi_value systrap_vm_read(napi_env env, napi_callback_info info)
{
	return vm_transfer(env, info, false);
}

static napi_value systrap_vm_write(napi_env env, napi_callback_info info)
{
	return vm_transfer(env, info, true);
}

/* mapShared(fd, length): an ArrayBuffer over a memfd of the sentry's, mapped until unmapShared or for ever. */
static napi_value make_buffer(napi_env env, void *at, size_t length)
{
	napi_value buffer = NULL;

	napi_create_external_arraybuffer(env, at, length, NULL, NULL, &buffer);
	return buffer;
}

static napi_value systrap_map_shared(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	size_t length = (size_t)NUMBER(1);
	void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, (int)NUMBER(0), 0);

	return at == MAP_FAILED ? make_result(env, -1) : make_buffer(env, at, length);
}

/* unmapShared(buffer): views of it are empty from then on. */
static napi_value systrap_unmap_shared(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	void *at = NULL;
	size_t length = 0;

	if (napi_get_arraybuffer_info(env, argv[0], &at, &length) != napi_ok || length == 0 ||
	    napi_detach_arraybuffer(env, argv[0]) != napi_ok)
		return make_number(env, -EINVAL);
	return make_result(env, munmap(at, length));
}

static void calibrate(void)
{
	int64_t start = now_ns(), now;
	uint64_t ticks = __rdtsc();

	while ((now = now_ns()) - start < 200000)
		;
	ticks_per_us = (__rdtsc() - ticks) * 1000 / (uint64_t)(now - start);
	if (ticks_per_us == 0)
		ticks_per_us = 1;
}

static napi_value property(napi_env env, napi_value object, const char *name, napi_value value)
{
	napi_set_named_property(env, object, name, value);
	return value;
}

/* The extended state that user space can have: XCR0, and the size of its standard format. */
static void extended_state(void)
{
	uint32_t lo, hi, a, b, c, d;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	__cpuid_count(0xd, 0, a, b, c, d);
	info_page->xstate_mask_lo = lo;
	info_page->xstate_mask_hi = hi;
	info_page->xstate_size = b;
}

/* systrapStart(arena): takes the memory for the slots, makes the info page and the eventfd, and returns what JavaScript
 * needs of them. */
static napi_value systrap_start(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = TOKEN_EVENT };
	napi_value result, ready_array, buffer;
	size_t length;

	arena = get_bytes(env, argv[0], &length);
	slot_limit = length / CAISSON_SLOT_SIZE;
	home = calloc(slot_limit, sizeof *home);
	dozers = calloc(slot_limit, sizeof *dozers);
	resumed = calloc(slot_limit, sizeof *resumed);
	info_fd = memfd_create("caisson-info", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!arena || (uintptr_t)arena % 4096 || !home || !dozers || !resumed || !list_init(&running) ||
	    !list_init(&dozing) || !list_init(&bells) || info_fd < 0 || event_fd < 0 ||
	    ftruncate(info_fd, CAISSON_INFO_SIZE))
		return make_result(env, -1);
	info_page = mmap(NULL, CAISSON_INFO_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, info_fd, 0);
	if (info_page == MAP_FAILED)
		return make_result(env, -1);
	/* From now on nobody else can map it writable, whatever a guest tries with mprotect. */
	if (fcntl(info_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
		return make_result(env, -1);
	if (epoll_ctl(caisson_epoll_fd(), EPOLL_CTL_ADD, event_fd, &event))
		return make_result(env, -1);
	if (sched_getaffinity(0, sizeof all_cpus, &all_cpus))
		CPU_ZERO(&all_cpus);
	cpu_count = (size_t)CPU_COUNT(&all_cpus);
	calibrate();
	extended_state();

	napi_create_object(env, &result);
	property(env, result, "info", make_buffer(env, info_page, CAISSON_INFO_SIZE));
	buffer = make_buffer(env, ready, sizeof ready);
	napi_create_typedarray(env, napi_float64_array, sizeof ready / sizeof ready[0], buffer, 0, &ready_array);
	property(env, result, "ready", ready_array);
	property(env, result, "infoFd", make_number(env, info_fd));
	property(env, result, "eventFd", make_number(env, event_fd));
	property(env, result, "hwcap", make_number(env, (int64_t)getauxval(AT_HWCAP)));
	property(env, result, "hwcap2", make_number(env, (int64_t)getauxval(AT_HWCAP2)));
	property(env, result, "minSignalStack", make_number(env, (int64_t)getauxval(AT_MINSIGSTKSZ)));
	property(env, result, "rseqFeatureSize", make_number(env, (int64_t)getauxval(AT_RSEQ_FEATURE_SIZE)));
	property(env, result, "rseqAlign", make_number(env, (int64_t)getauxval(AT_RSEQ_ALIGN)));
	return result;
}

/* awaitQuiet(): the next quiet time is to be told, whatever was done before it. */
static napi_value systrap_await_quiet(napi_env env, napi_callback_info info)
{
	(void)env;
	(void)info;
	stops_since_quiet = QUIET_STOPS;
	return NULL;
}

/*
 * followLoop(): node's event loop counts as a watched descriptor from now on. Its timers don't: nothing in the sentry may
 * use them, since the kernel has its own.
 */
static napi_value systrap_follow_loop(napi_env env, napi_callback_info info)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = TOKEN_LOOP };
	struct uv_loop_s *loop;

	(void)info;
	if (napi_get_uv_event_loop(env, (void *)&loop) != napi_ok)
		return make_number(env, -EINVAL);
	return make_result(env, epoll_ctl(caisson_epoll_fd(), EPOLL_CTL_ADD, uv_backend_fd(loop), &event));
}

/* processClock(pid): CPU time of a process in ns; clock ids of processes as in clock_getcpuclockid(3). */
static napi_value systrap_process_clock(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	struct timespec time;

	if (clock_gettime((clockid_t)(~(uint32_t)NUMBER(0) << 3 | 2), &time))
		return make_number(env, 0);
	return make_number(env, time.tv_sec * 1000000000ll + time.tv_nsec);
}

/* allowedCpus(into): the mask of the CPUs that the caller may run on; the length of what was written. */
static napi_value systrap_allowed_cpus(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	size_t length;
	void *mask = get_bytes(env, argv[0], &length);

	return make_result(env, syscall(SYS_sched_getaffinity, 0, length, mask));
}

napi_value systrap_init(napi_env env, napi_value exports)
{
	static const struct caisson_call calls[] = {
		{ "systrapStart", systrap_start },
		{ "resume", systrap_resume },
		{ "watchSlot", systrap_watch_slot },
		{ "forgetSlot", systrap_forget_slot },
		{ "pending", systrap_pending },
		{ "awaitRequest", systrap_await },
		{ "exchange", systrap_exchange },
		{ "next", systrap_next },
		{ "look", systrap_look },
		{ "mapSlot", systrap_map_slot },
		{ "unmapSlot", systrap_unmap_slot },
		{ "socketpair", systrap_socketpair },
		{ "sendFds", systrap_send_fds },
		{ "receiveSender", systrap_receive_sender },
		{ "receiveBytes", systrap_receive_bytes },
		{ "pidfdOpen", systrap_pidfd_open },
		{ "pidfdKill", systrap_pidfd_kill },
		{ "kick", systrap_kick },
		{ "setCpus", systrap_set_cpus },
		{ "awaitStop", systrap_await_stop },
		{ "slotTid", systrap_slot_tid },
		{ "vmRead", systrap_vm_read },
		{ "vmWrite", systrap_vm_write },
		{ "mapShared", systrap_map_shared },
		{ "unmapShared", systrap_unmap_shared },
		{ "awaitQuiet", systrap_await_quiet },
		{ "followLoop", systrap_follow_loop },
		{ "processClock", systrap_process_clock },
		{ "allowedCpus", systrap_allowed_cpus },
	};

	caisson_export(env, exports, calls, sizeof calls / sizeof calls[0]);
	return exports;
}
