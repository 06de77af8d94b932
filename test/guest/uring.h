/* An io_uring by raw calls, without a library. */
#ifndef URING_H
#define URING_H

#include <linux/io_uring.h>
#include <linux/time_types.h>

struct uring {
	int fd;
	struct io_uring_params params;
	unsigned *sq_head, *sq_tail, *sq_mask, *sq_array, *sq_flags;
	unsigned *cq_head, *cq_tail, *cq_mask, *cq_overflow;
	struct io_uring_cqe *cqes;
	struct io_uring_sqe *sqes;
	unsigned filled;
};

static int uring_setup(unsigned entries, struct io_uring_params *params)
{
	return syscall(SYS_io_uring_setup, entries, params);
}

static int uring_register(int fd, unsigned opcode, const void *argument, unsigned count)
{
	return syscall(SYS_io_uring_register, fd, opcode, argument, count);
}

static int uring_enter(int fd, unsigned submit, unsigned wait, unsigned flags, const void *argument, size_t size)
{
	return syscall(SYS_io_uring_enter, fd, submit, wait, flags, argument, size);
}

static void uring_map(struct uring *ring)
{
	struct io_uring_params *p = &ring->params;
	size_t cq = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	size_t sq = p->sq_off.array + p->sq_entries * sizeof(unsigned);
	char *rings = mmap(NULL, cq > sq ? cq : sq, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
			   IORING_OFF_SQ_RING);

	MUST(rings == MAP_FAILED ? -1 : 0);
	ring->sqes = mmap(NULL, p->sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	MUST(ring->sqes == MAP_FAILED ? -1 : 0);
	ring->sq_head = (unsigned *)(rings + p->sq_off.head);
	ring->sq_tail = (unsigned *)(rings + p->sq_off.tail);
	ring->sq_mask = (unsigned *)(rings + p->sq_off.ring_mask);
	ring->sq_array = (unsigned *)(rings + p->sq_off.array);
	ring->sq_flags = (unsigned *)(rings + p->sq_off.flags);
	ring->cq_head = (unsigned *)(rings + p->cq_off.head);
	ring->cq_tail = (unsigned *)(rings + p->cq_off.tail);
	ring->cq_mask = (unsigned *)(rings + p->cq_off.ring_mask);
	ring->cq_overflow = (unsigned *)(rings + p->cq_off.overflow);
	ring->cqes = (struct io_uring_cqe *)(rings + p->cq_off.cqes);
}

/* First of all in a section: a host may have switched io_uring off. */
static void needs_uring(void)
{
	struct io_uring_params params = { 0 };
	int fd = uring_setup(1, &params);

	if (fd >= 0) {
		close(fd);
		return;
	}
	say("needs io_uring\n");
	_exit(0);
}

static struct uring uring_with(unsigned entries, unsigned flags)
{
	struct uring ring = { .params.flags = flags };

	needs_uring();
	ring.fd = MUST(uring_setup(entries, &ring.params));
	uring_map(&ring);
	return ring;
}

static struct uring uring_new(unsigned entries)
{
	return uring_with(entries, 0);
}

/* The next entry, filled with what nearly all need. */
static struct io_uring_sqe *entry(struct uring *ring, int opcode, int fd, const void *at, unsigned length,
				  uint64_t offset, uint64_t data)
{
	unsigned index = (*ring->sq_tail + ring->filled++) & *ring->sq_mask;
	struct io_uring_sqe *sqe = &ring->sqes[index];

	ring->sq_array[index] = index;
	*sqe = (struct io_uring_sqe){
		.opcode = opcode,
		.fd = fd,
		.addr = (uintptr_t)at,
		.len = length,
		.off = offset,
		.user_data = data,
	};
	return sqe;
}

/* Submits what was filled, and waits for `wait` completions. */
static int submit(struct uring *ring, unsigned wait)
{
	unsigned count = ring->filled;

	ring->filled = 0;
	__atomic_store_n(ring->sq_tail, *ring->sq_tail + count, __ATOMIC_RELEASE);
	return uring_enter(ring->fd, count, wait, wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
}

static unsigned ready(struct uring *ring)
{
	return __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - *ring->cq_head;
}

static bool take(struct uring *ring, struct io_uring_cqe *into)
{
	if (ready(ring) == 0)
		return false;
	*into = ring->cqes[*ring->cq_head & *ring->cq_mask];
	__atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
	return true;
}

static int by_data(const void *a, const void *b)
{
	const struct io_uring_cqe *x = a, *y = b;

	return x->user_data < y->user_data ? -1 : x->user_data > y->user_data;
}

/* Shows all completions that are there, those of one request in order, the requests by their data. */
static void completions(struct uring *ring)
{
	struct io_uring_cqe list[64];
	unsigned count = 0;

	while (count < LENGTH(list) && take(ring, &list[count]))
		count++;
	/* A stable sort: insertion. */
	for (unsigned i = 1; i < count; i++)
		for (unsigned j = i; j > 0 && by_data(&list[j - 1], &list[j]) > 0; j--) {
			struct io_uring_cqe swap = list[j];
			list[j] = list[j - 1];
			list[j - 1] = swap;
		}
	for (unsigned i = 0; i < count; i++) {
		unsigned flags = list[i].flags;
		if (list[i].res < 0)
			say("  %d: %s", (int)list[i].user_data, error_name(-list[i].res));
		else
			say("  %d: %d", (int)list[i].user_data, list[i].res);
		say(flags ? " flags %#x\n" : "\n", flags);
	}
	if (count == 0)
		say("  no completion\n");
}

/* Submits, waits for `wait` completions, shows all. */
static void run(struct uring *ring, unsigned wait)
{
	RET(submit(ring, wait));
	completions(ring);
}

/* Waits for `count` more. */
static void await(struct uring *ring, unsigned count)
{
	RET(uring_enter(ring->fd, 0, count, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(ring);
}

#endif
