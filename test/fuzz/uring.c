/* io_uring: live rings, entries and registrations of all kinds with right and wrong arguments, rings written over. */
#include "fuzz.h"
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define ENTRIES 32
#define BUFFERS (16 * PAGE)

static int ring = -1;
static struct io_uring_params params;
static unsigned char *sq, *cq, *buffers;
static struct io_uring_sqe *sqes;

static void open_ring(uint64_t *state)
{
	if (ring >= 0) {
		munmap(sq, PAGE * 4);
		munmap(cq, PAGE * 4);
		munmap(sqes, PAGE * 4);
		close(ring);
	}
	memset(&params, 0, sizeof params);
	if (!one_in(state, 3))
		params.flags = (1u << below(state, 14)) & ~(IORING_SETUP_SQE128 | IORING_SETUP_CQE32);
	if (one_in(state, 4))
		params.flags |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	params.cq_entries = number(state);
	params.sq_thread_idle = below(state, 100);
	ring = syscall(SYS_io_uring_setup, one_in(state, 8) ? number(state) : ENTRIES, &params);
	if (ring < 0) {
		memset(&params, 0, sizeof params);
		ring = syscall(SYS_io_uring_setup, ENTRIES, &params);
	}
	sq = mmap(NULL, PAGE * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, PAGE * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	sqes = mmap(NULL, PAGE * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
}

static void begin(uint64_t *state)
{
	int pair[2];

	mkdir("/tmp/fuzz", 0777);
	buffers = mmap(NULL, BUFFERS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	open("/tmp/fuzz/uring", O_RDWR | O_CREAT, 0644);
	pipe2(pair, 0);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
	socket(AF_INET, SOCK_STREAM, 0);
	socket(AF_INET, SOCK_DGRAM, 0);
	epoll_create1(0);
	eventfd(0, 0);
	open_ring(state);
}

static uint64_t place(uint64_t *state)
{
	if (one_in(state, 6))
		return number(state);
	return (uintptr_t)buffers + below(state, BUFFERS) / (one_in(state, 3) ? 1 : PAGE) * (one_in(state, 3) ? 1 : 8);
}

static void fill(uint64_t *state, struct io_uring_sqe *sqe)
{
	struct iovec *vector = (struct iovec *)buffers;

	memset(sqe, 0, sizeof *sqe);
	sqe->opcode = below(state, IORING_OP_LAST + 20);
	sqe->flags = one_in(state, 2) ? 0 : below(state, 128);
	sqe->fd = one_in(state, 8) ? (int)number(state) : (int)below(state, 16);
	sqe->off = one_in(state, 2) ? below(state, 3) : place(state);
	sqe->addr = place(state);
	sqe->len = one_in(state, 4) ? (uint32_t)number(state) : below(state, 64);
	sqe->rw_flags = one_in(state, 3) ? (uint32_t)number(state) : 0;
	sqe->user_data = below(state, 8);
	sqe->buf_index = one_in(state, 3) ? number(state) : 0;
	sqe->personality = one_in(state, 16) ? number(state) : 0;
	sqe->splice_fd_in = one_in(state, 2) ? (int)below(state, 12) : 0;
	sqe->addr3 = one_in(state, 3) ? number(state) : 0;
	for (int i = 0; i < 8; i++) {
		vector[i].iov_base = (void *)place(state);
		vector[i].iov_len = one_in(state, 5) ? number(state) : below(state, PAGE);
	}
	if (sqe->opcode == IORING_OP_TIMEOUT || sqe->opcode == IORING_OP_LINK_TIMEOUT) {
		struct __kernel_timespec *time = (struct __kernel_timespec *)(buffers + 2 * PAGE);

		time->tv_sec = one_in(state, 3) ? (int64_t)number(state) : 0;
		time->tv_nsec = one_in(state, 3) ? (int64_t)number(state) : 1000000;
		sqe->addr = (uintptr_t)time;
		sqe->len = 1;
	}
}

static void submit(uint64_t *state)
{
	uint32_t *head = (uint32_t *)(sq + params.sq_off.head), *tail = (uint32_t *)(sq + params.sq_off.tail);
	uint32_t *array = (uint32_t *)(sq + params.sq_off.array), mask = params.sq_entries - 1;
	uint32_t count = 1 + below(state, 8), flags = one_in(state, 3) ? below(state, 256) : IORING_ENTER_GETEVENTS;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = (*tail + i) & mask;

		fill(state, &sqes[at]);
		array[at] = one_in(state, 20) ? number(state) : at;
	}
	*tail += one_in(state, 50) ? number(state) : count;
	if (one_in(state, 50))
		*head = number(state);
	syscall(SYS_io_uring_enter, ring, count, one_in(state, 30) ? 1 : 0, flags & ~IORING_ENTER_REGISTERED_RING,
		one_in(state, 3) ? buffers : NULL, one_in(state, 3) ? number(state) : 8);
	/* What has completed was seen. */
	if (!one_in(state, 10))
		*(uint32_t *)(cq + params.cq_off.head) = *(uint32_t *)(cq + params.cq_off.tail);
}

static void registration(uint64_t *state)
{
	uint32_t *words = (uint32_t *)(buffers + 4 * PAGE);
	uint64_t *addresses = (uint64_t *)words;

	for (int i = 0; i < 64; i++)
		words[i] = one_in(state, 3) ? (uint32_t)number(state) : below(state, 12);
	for (int i = 0; i < 16; i += 2)
		if (one_in(state, 2))
			addresses[i] = place(state);
	syscall(SYS_io_uring_register, ring, below(state, 40), one_in(state, 10) ? (void *)number(state) : (void *)words,
		one_in(state, 5) ? number(state) : below(state, 9));
}

static void step(uint64_t *state)
{
	if (one_in(state, 60))
		open_ring(state);
	else if (one_in(state, 4))
		registration(state);
	else
		submit(state);
	if (one_in(state, 8))
		scramble(state, buffers + below(state, 16) * PAGE, 256);
	if (one_in(state, 200)) {
		mutate(state, sq, 256);
		mutate(state, cq, 256);
	}
}

int main(int argc, char **argv)
{
	static const struct fuzzer fuzzer = { begin, step, NULL };

	return run_fuzzer(argc, argv, &fuzzer);
}
