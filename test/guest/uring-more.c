/* io_uring: what came with Linux 6.5 and later. The headers may be older, so the numbers are here. */
#include "observe.h"
#include "uring-buffers.h"
#include <sys/eventfd.h>
#include <sys/socket.h>

enum {
	NO_MMAP = 1 << 14,
	REGISTERED_FD_ONLY = 1 << 15,
	READ_MULTISHOT = 49,
	WAITID = 50,
	INSTALL = 54,
	CLONE_BUFFERS = 30,
	TIMEOUT_MULTISHOT = 1 << 6,
};

struct clone_buffers {
	unsigned source, flags, from, to, count, pad[3];
};

SECTION("IORING_OP_NOP can be told its result")
{
	struct uring ring = uring_new(4);
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_NOP, 0, NULL, -EFAULT, 0, 1);

	sqe->rw_flags = 1;
	sqe = entry(&ring, IORING_OP_NOP, 0, NULL, 77, 0, 2);
	sqe->rw_flags = 1;
	sqe = entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 3);
	sqe->rw_flags = 1 << 20;
	RET(submit(&ring, 3));
	completions(&ring);
}

SECTION("IORING_OP_FIXED_FD_INSTALL: not in another's name")
{
	struct uring ring = uring_new(4);
	int pipes[2], one;

	MUST(pipe(pipes));
	MUST(uring_register(ring.fd, IORING_REGISTER_FILES, pipes, 2));
	one = MUST(uring_register(ring.fd, IORING_REGISTER_PERSONALITY, NULL, 0));
	entry(&ring, INSTALL, 0, NULL, 0, 0, 1)->flags = IOSQE_FIXED_FILE;
	ring.sqes[*ring.sq_tail & *ring.sq_mask].personality = one;
	RET(submit(&ring, 1));
	completions(&ring);
	entry(&ring, INSTALL, 1, NULL, 0, 0, 2);
	entry(&ring, INSTALL, 7, NULL, 0, 0, 3)->flags = IOSQE_FIXED_FILE;
	RET(submit(&ring, 2));
	completions(&ring);
}

SECTION("a wait for several ends early when its patience does")
{
	struct uring ring = uring_new(4);
	struct __kernel_timespec limit = { .tv_nsec = 50000000 };
	struct {
		uint64_t mask;
		unsigned mask_size, patience;
		uint64_t time;
	} argument = { .patience = 1000, .time = (uintptr_t)&limit };
	unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;

	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	RET(submit(&ring, 0));
	RET(uring_enter(ring.fd, 0, 3, flags, &argument, sizeof(argument)));
	completions(&ring);
	/* Nothing comes: the longer of both times counts. */
	RET(uring_enter(ring.fd, 0, 3, flags, &argument, sizeof(argument)));
	argument.time = 0;
	RET(uring_enter(ring.fd, 0, 3, flags, &argument, sizeof(argument)));
	argument.patience = 0;
	RET(uring_enter(ring.fd, 0, 0, flags, &argument, sizeof(argument)));
}

SECTION("rings in memory of the program's own")
{
	struct io_uring_params params = { .flags = NO_MMAP };
	char *memory = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uring ring = { 0 };

	needs_uring();
	/* In both structures of offsets, the last word is the address. */
	uint64_t *entries_at = (uint64_t *)(&params.sq_off + 1) - 1, *rings_at = (uint64_t *)(&params.cq_off + 1) - 1;
	ERR(uring_setup(4, &params));
	*entries_at = (uintptr_t)memory + 8;
	*rings_at = (uintptr_t)memory + 4096;
	ERR(uring_setup(4, &params));
	*entries_at = (uintptr_t)memory;
	*rings_at = 1 << 12;
	ERR(uring_setup(4, &params));
	*rings_at = (uintptr_t)memory + 4096;
	ring.fd = MUST(uring_setup(4, &params));
	char *rings = memory + 4096;
	SHOW(params.cq_off.cqes + 8 * sizeof(struct io_uring_cqe) <= params.sq_off.array);
	ring.sqes = (void *)memory;
	ring.sq_head = (unsigned *)(rings + params.sq_off.head);
	ring.sq_tail = (unsigned *)(rings + params.sq_off.tail);
	ring.sq_mask = (unsigned *)(rings + params.sq_off.ring_mask);
	ring.sq_array = (unsigned *)(rings + params.sq_off.array);
	ring.cq_head = (unsigned *)(rings + params.cq_off.head);
	ring.cq_tail = (unsigned *)(rings + params.cq_off.tail);
	ring.cq_mask = (unsigned *)(rings + params.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
	SHOW(*ring.sq_mask);
	SHOW(*ring.cq_mask);
	for (int i = 0; i < 20; i++) {
		struct io_uring_cqe cqe = { 0 };

		entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, i);
		if (submit(&ring, 1) != 1 || !take(&ring, &cqe) || cqe.user_data != (unsigned)i)
			say("lost %d\n", i);
	}
	/* One that is completed while nobody is in the kernel for it. */
	int event = MUST(eventfd(0, 0));
	uint64_t value = 5, seen = 0;
	entry(&ring, IORING_OP_READ, event, &seen, 8, 0, 30);
	RET(submit(&ring, 0));
	RET(write(event, &value, 8));
	RET(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
	SHOW(seen);
	ERR(mmap(NULL, 4096, PROT_READ, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING) == MAP_FAILED ? -1 : 0);
}

SECTION("a ring that is registered and has no descriptor")
{
	struct io_uring_params params = { .flags = REGISTERED_FD_ONLY };
	char *memory = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	needs_uring();
	ERR(uring_setup(4, &params));
	params.flags |= NO_MMAP;
	((uint64_t *)(&params.sq_off + 1))[-1] = (uintptr_t)memory;
	((uint64_t *)(&params.cq_off + 1))[-1] = (uintptr_t)memory + 4096;
	RET(uring_setup(4, &params));
	RET(uring_enter(0, 0, 0, 1 << 4, NULL, 0));
	ERR(uring_enter(1, 0, 0, 1 << 4, NULL, 0));
	RET(uring_register(0, IORING_REGISTER_PERSONALITY | 1u << 31, NULL, 0));
}

SECTION("registered buffers of another ring")
{
	struct uring from = uring_new(4), to = uring_new(4);
	static char bytes[4][16];
	struct iovec vectors[4];
	struct clone_buffers request = { .source = to.fd };
	int pipes[2];

	MUST(pipe(pipes));
	for (int i = 0; i < 4; i++)
		vectors[i] = (struct iovec){ bytes[i], 16 };
	request.source = from.fd;
	ERR(uring_register(to.fd, CLONE_BUFFERS, &request, 1));
	MUST(uring_register(from.fd, IORING_REGISTER_BUFFERS, vectors, 4));
	ERR(uring_register(to.fd, CLONE_BUFFERS, &request, 2));
	ERR(uring_register(to.fd, CLONE_BUFFERS, NULL, 1));
	request.flags = 4;
	ERR(uring_register(to.fd, CLONE_BUFFERS, &request, 1));
	request.flags = 0;
	request.pad[1] = 1;
	ERR(uring_register(to.fd, CLONE_BUFFERS, &request, 1));
	request.pad[1] = 0;
	request.source = pipes[0];
	ERR(uring_register(to.fd, CLONE_BUFFERS, &request, 1));
	request.source = from.fd;
	request.from = 1;
	ERR(uring_register(to.fd, CLONE_BUFFERS, &request, 1));
	request.count = 5;
	ERR(uring_register(to.fd, CLONE_BUFFERS, &request, 1));
	request.count = 4;
	ERR(uring_register(to.fd, CLONE_BUFFERS, &request, 1));
	request.count = 2;
	request.to = 3;
	ERR(uring_register(to.fd, CLONE_BUFFERS, &request, 1));
	ERR(uring_register(to.fd, CLONE_BUFFERS, &request, 1));
	MUST(uring_register(from.fd, IORING_UNREGISTER_BUFFERS, NULL, 0));
	for (int i = 2; i < 6; i++) {
		struct io_uring_sqe *sqe = entry(&to, IORING_OP_WRITE_FIXED, pipes[1], bytes[1], 4, -1, i);
		sqe->buf_index = i;
	}
	RET(submit(&to, 4));
	completions(&to);
}

SECTION("a tag is told when the last request that uses the resource is over")
{
	struct uring ring = uring_new(4);
	static char bytes[16], others[16];
	struct iovec vector = { bytes, 16 };
	uint64_t tag = 99, none = 0;
	struct io_uring_rsrc_register resources = {
		.nr = 1, .data = (uintptr_t)&vector, .tags = (uintptr_t)&tag,
	};
	struct io_uring_rsrc_update2 update = { .data = (uintptr_t)&vector, .tags = (uintptr_t)&none, .nr = 1 };
	int pipes[2];

	MUST(pipe(pipes));
	MUST(uring_register(ring.fd, IORING_REGISTER_BUFFERS2, &resources, sizeof(resources)));
	entry(&ring, IORING_OP_READ_FIXED, pipes[0], bytes, 4, -1, 1);
	RET(submit(&ring, 0));
	vector.iov_base = others;
	RET(uring_register(ring.fd, IORING_REGISTER_BUFFERS_UPDATE, &update, sizeof(update)));
	SHOW(ready(&ring));
	RET(write(pipes[1], "text", 4));
	RET(uring_enter(ring.fd, 0, 2, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
	TEXT(bytes);
}

SECTION("IORING_OP_WAITID, and what ends it")
{
	struct uring ring = uring_new(4);
	struct __kernel_timespec soon = { .tv_nsec = 1000000 };
	siginfo_t info;
	int child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	struct io_uring_sqe *sqe = entry(&ring, WAITID, child, NULL, P_PID, (uintptr_t)&info, 1);
	sqe->flags = IOSQE_IO_LINK;
	sqe->file_index = WEXITED;
	entry(&ring, IORING_OP_LINK_TIMEOUT, -1, &soon, 1, 0, 2);
	RET(submit(&ring, 2));
	completions(&ring);
	sqe = entry(&ring, WAITID, child, NULL, P_PID, (uintptr_t)&info, 3);
	sqe->file_index = WEXITED;
	entry(&ring, IORING_OP_ASYNC_CANCEL, -1, (void *)3, 0, 0, 4);
	RET(submit(&ring, 2));
	completions(&ring);
	sqe = entry(&ring, WAITID, child, NULL, P_PID, 8, 5);
	sqe->file_index = WEXITED;
	RET(submit(&ring, 0));
	kill(child, SIGKILL);
	RET(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
}

SECTION("IORING_OP_READ_MULTISHOT needs what can be polled, and buffers")
{
	struct uring ring = uring_new(4);
	int file = MUST(open("f", O_RDWR | O_CREAT, 0600)), pipes[2];
	struct buffers buffers = buffer_ring(&ring, 8, 4, 1);

	MUST(pipe(pipes));
	selecting(entry(&ring, READ_MULTISHOT, file, NULL, 0, 0, 1), 1);
	RET(submit(&ring, 1));
	entry(&ring, READ_MULTISHOT, pipes[0], NULL, 0, 0, 2);
	RET(submit(&ring, 1));
	completions(&ring);
	selecting(entry(&ring, READ_MULTISHOT, pipes[0], NULL, 0, -1, 3), 1);
	provide(&buffers, 0);
	provide(&buffers, 1);
	RET(submit(&ring, 0));
	RET(write(pipes[1], "1234", 4));
	RET(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
	RET(write(pipes[1], "5678", 4));
	RET(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
	RET(write(pipes[1], "90", 2));
	RET(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
}

SECTION("a timeout that repeats is changed, and still repeats")
{
	struct uring ring = uring_new(4);
	struct __kernel_timespec late = { .tv_sec = 100 }, soon = { .tv_nsec = 1000000 };
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_TIMEOUT, -1, &late, 1, 3, 1);

	sqe->timeout_flags = TIMEOUT_MULTISHOT;
	sqe = entry(&ring, IORING_OP_TIMEOUT_REMOVE, -1, (void *)1, 0, (uintptr_t)&soon, 2);
	sqe->timeout_flags = IORING_TIMEOUT_UPDATE;
	RET(submit(&ring, 1));
	/* The change, and more of the timeouts than were asked for at first. */
	for (int i = 0; i < 6; i++) {
		struct io_uring_cqe cqe;

		while (!take(&ring, &cqe))
			uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
		say("%d: %s flags %#x\n", (int)cqe.user_data, error_name(-cqe.res), cqe.flags);
	}
}

SECTION("a file that is in no table has no free place")
{
	struct uring ring = uring_new(4);
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_SOCKET, AF_UNIX, NULL, 0, SOCK_DGRAM, 1);

	sqe->file_index = ~0u;
	RET(submit(&ring, 1));
	sqe = entry(&ring, IORING_OP_SOCKET, AF_UNIX, NULL, 0, SOCK_DGRAM, 2);
	sqe->file_index = 1;
	RET(submit(&ring, 1));
	completions(&ring);
}

SECTION("IORING_SETUP_DEFER_TASKRUN: nothing goes on before it is asked for")
{
	struct uring ring = uring_with(8, IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_TASKRUN_FLAG);
	int told = MUST(eventfd(0, EFD_NONBLOCK)), event = MUST(eventfd(0, EFD_NONBLOCK));
	struct pollfd poll_ring = { .fd = ring.fd, .events = POLLIN };
	uint64_t count = 0;

	MUST(uring_register(ring.fd, IORING_REGISTER_EVENTFD, &told, 1));
	entry(&ring, IORING_OP_POLL_ADD, event, NULL, 0, 0, 1)->poll32_events = POLLIN;
	RET(submit(&ring, 0));
	HEX(*ring.sq_flags);
	RET(poll(&poll_ring, 1, 0));
	RET(eventfd_write(event, 1));
	SHOW(ready(&ring));
	HEX(*ring.sq_flags);
	RET(poll(&poll_ring, 1, 0));
	/* A moment later on Linux, since it was an eventfd that woke it. */
	RET(poll(&(struct pollfd){ .fd = told, .events = POLLIN }, 1, -1));
	RET(read(told, &count, 8));
	RET(uring_enter(ring.fd, 0, 0, 0, NULL, 0));
	SHOW(ready(&ring));
	RET(uring_enter(ring.fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0));
	HEX(*ring.sq_flags);
	completions(&ring);
	/* A wait is ended by what comes. */
	RET(eventfd_read(event, &count));
	entry(&ring, IORING_OP_READ, event, &count, 8, 0, 2);
	RET(submit(&ring, 0));
	if (fork() == 0)
		_exit(eventfd_write(event, 7));
	RET(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
	wait(NULL);
	SHOW(count);
}
