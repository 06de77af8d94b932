/* Buffers that an io_uring is provided with. */
#ifndef URING_BUFFERS_H
#define URING_BUFFERS_H

#include "uring.h"

/* A ring of provided buffers in memory of our own. */
struct buffers {
	struct io_uring_buf *ring;
	char *bytes;
	unsigned length, tail;
};

static struct buffers buffer_ring(struct uring *uring, unsigned entries, unsigned length, int group)
{
	struct buffers buffers = { .length = length };
	struct io_uring_buf_reg request = { .ring_entries = entries, .bgid = group };

	buffers.ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	buffers.bytes = calloc(entries, length);
	request.ring_addr = (uintptr_t)buffers.ring;
	MUST(uring_register(uring->fd, IORING_REGISTER_PBUF_RING, &request, 1));
	return buffers;
}

static void provide(struct buffers *buffers, unsigned id)
{
	struct io_uring_buf *buf = &buffers->ring[buffers->tail++ % 8];

	buf->addr = (uintptr_t)(buffers->bytes + id * buffers->length);
	buf->len = buffers->length;
	buf->bid = id;
	__atomic_store_n(&buffers->ring[0].resv, buffers->tail, __ATOMIC_RELEASE);
}

static struct io_uring_sqe *selecting(struct io_uring_sqe *sqe, int group)
{
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = group;
	return sqe;
}

#endif
