/* io_uring: sockets, provided buffers. */
#include "observe.h"
#include "inet.h"
#include "uring.h"
#include <sys/un.h>

static void pair_of(int pair[2])
{
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}

SECTION("send and recv over a pair")
{
	struct uring ring = uring_new(8);
	int pair[2];
	char text[16] = "";

	pair_of(pair);
	entry(&ring, IORING_OP_RECV, pair[0], text, 16, 0, 1);
	RET(submit(&ring, 0));
	completions(&ring);
	entry(&ring, IORING_OP_SEND, pair[1], "hello", 5, 0, 2);
	run(&ring, 2);
	TEXT(text);
	entry(&ring, IORING_OP_RECV, pair[0], text, 16, 0, 3)->msg_flags = MSG_DONTWAIT;
	run(&ring, 1);
	entry(&ring, IORING_OP_RECV, pair[0], text, 10, 0, 4)->msg_flags = MSG_WAITALL;
	RET(submit(&ring, 0));
	MUST(write(pair[1], "12345", 5));
	completions(&ring);
	MUST(write(pair[1], "67890", 5));
	await(&ring, 1);
	TEXT(text);
	entry(&ring, IORING_OP_RECV, pair[0], text, 10, 0, 5);
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_SHUTDOWN, pair[1], NULL, SHUT_WR, 0, 6);
	run(&ring, 2);
	close(pair[0]);
	entry(&ring, IORING_OP_SEND, pair[1], "x", 1, 0, 7);
	run(&ring, 1);
	entry(&ring, IORING_OP_SEND, STDIN_FILENO, "x", 1, 0, 8);
	run(&ring, 1);
	entry(&ring, IORING_OP_SEND, pair[1], "x", 1, 0, 9)->ioprio = 1 << 10;
	run(&ring, 1);
	entry(&ring, IORING_OP_RECV, pair[1], text, 1, 5, 10);
	run(&ring, 1);
}

SECTION("a full socket: a send waits, in part or in whole")
{
	struct uring ring = uring_new(8);
	int pair[2], size = 4096;
	static char block[1 << 20];

	pair_of(pair);
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	MUST(fcntl(pair[1], F_SETFL, O_NONBLOCK));
	while (write(pair[1], block, 1024) > 0)
		;
	entry(&ring, IORING_OP_SEND, pair[1], "x", 1, 0, 1);
	RET(submit(&ring, 0));
	completions(&ring);
	SHOW(read(pair[0], block, sizeof block) > 0);
	await(&ring, 1);
}

SECTION("sendmsg and recvmsg, with descriptors")
{
	struct uring ring = uring_new(8);
	int pair[2], fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	char text[16] = "", control[CMSG_SPACE(sizeof fd)] = "", got[CMSG_SPACE(sizeof fd)] = "";
	struct iovec out[2] = { { "one ", 4 }, { "two", 3 } }, in = { text, 16 };
	struct msghdr send = { .msg_iov = out, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control };
	struct msghdr receive = { .msg_iov = &in, .msg_iovlen = 1, .msg_control = got, .msg_controllen = sizeof got };
	struct cmsghdr *head = CMSG_FIRSTHDR(&send);

	pair_of(pair);
	*head = (struct cmsghdr){ CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(head), &fd, sizeof fd);
	entry(&ring, IORING_OP_RECVMSG, pair[0], &receive, 1, 0, 1);
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_SENDMSG, pair[1], &send, 1, 0, 2);
	run(&ring, 2);
	TEXT(text);
	SHOW(receive.msg_controllen);
	SHOW(CMSG_FIRSTHDR(&receive)->cmsg_type == SCM_RIGHTS);
	entry(&ring, IORING_OP_SENDMSG, pair[1], (void *)8, 1, 0, 3);
	run(&ring, 1);
}

SECTION("MSG_WAITALL and MSG_PEEK come to an end")
{
	struct uring ring = uring_new(4);
	static char room[1 << 20];
	int pair[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	MUST(write(pair[1], "abc", 3));
	MUST(shutdown(pair[1], SHUT_WR));
	entry(&ring, IORING_OP_RECV, pair[0], room, sizeof room, 0, 1)->msg_flags = MSG_WAITALL | MSG_PEEK;
	RET(submit(&ring, 1));
	struct io_uring_cqe cqe;
	SHOW(take(&ring, &cqe) && cqe.res >= 3);
	RET(read(pair[0], room, sizeof room));
}

SECTION("accept, connect, socket, bind, listen")
{
	struct uring ring = uring_new(8);
	struct io_uring_cqe cqe;
	struct sockaddr_in address = loopback(0);
	socklen_t length = sizeof address;

	entry(&ring, IORING_OP_SOCKET, AF_INET, NULL, 0, SOCK_STREAM, 1);
	RET(submit(&ring, 1));
	take(&ring, &cqe);
	int listening = cqe.res;
	SHOW(listening > 2);
	entry(&ring, 56 /* BIND */, listening, &address, 0, sizeof address, 2);
	run(&ring, 1);
	entry(&ring, 57 /* LISTEN */, listening, NULL, 5, 0, 3);
	run(&ring, 1);
	MUST(getsockname(listening, (struct sockaddr *)&address, &length));
	struct sockaddr_in peer;
	entry(&ring, IORING_OP_ACCEPT, listening, &peer, 0, (uintptr_t)&length, 4);
	RET(submit(&ring, 0));
	completions(&ring);
	int fd = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	entry(&ring, IORING_OP_CONNECT, fd, &address, 0, sizeof address, 5);
	RET(submit(&ring, 2));
	int accepted = -1;
	for (int i = 0; i < 2 && take(&ring, &cqe); i++) {
		if (cqe.user_data == 4)
			accepted = cqe.res;
		else
			say("  connect: %d\n", cqe.res);
	}
	SHOW(accepted > 2);
	SHOW(peer.sin_family == AF_INET);
	entry(&ring, IORING_OP_SEND, fd, "over TCP", 8, 0, 6);
	char text[16] = "";
	entry(&ring, IORING_OP_RECV, accepted, text, 16, 0, 7);
	run(&ring, 2);
	TEXT(text);
	int refused = closed_port();
	address = loopback(refused);
	int other = MUST(socket(AF_INET, SOCK_STREAM, 0));
	entry(&ring, IORING_OP_CONNECT, other, &address, 0, sizeof address, 8);
	run(&ring, 1);
	entry(&ring, IORING_OP_ACCEPT, other, NULL, 0, 0, 9);
	run(&ring, 1);
	entry(&ring, IORING_OP_ACCEPT, STDIN_FILENO, NULL, 0, 0, 10);
	run(&ring, 1);
	entry(&ring, IORING_OP_ACCEPT, listening, NULL, 0, 0, 11)->accept_flags = 1;
	run(&ring, 1);
	entry(&ring, IORING_OP_SOCKET, 4711, NULL, 0, SOCK_STREAM, 12);
	run(&ring, 1);
	entry(&ring, IORING_OP_ACCEPT, listening, NULL, 0, 0, 13)->ioprio = 1 << 1 /* DONTWAIT */;
	run(&ring, 1);
}

SECTION("accept, again and again")
{
	struct uring ring = uring_new(8);
	int listening = listener(8), none[4] = { -1, -1, -1, -1 };
	struct io_uring_cqe cqe;

	entry(&ring, IORING_OP_ACCEPT, listening, NULL, 0, 0, 1)->ioprio = IORING_ACCEPT_MULTISHOT;
	RET(submit(&ring, 0));
	for (int i = 0; i < 3; i++) {
		int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
		MUST(connect_loopback(fd, port_of(listening)));
		RET(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
		SHOW(take(&ring, &cqe));
		SHOW(cqe.res > 2);
		HEX(cqe.flags);
	}
	entry(&ring, IORING_OP_ASYNC_CANCEL, -1, (void *)1, 0, 0, 2);
	run(&ring, 2);
	/* Into places of the table. */
	MUST(uring_register(ring.fd, IORING_REGISTER_FILES, none, 4));
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_ACCEPT, listening, NULL, 0, 0, 3);
	sqe->ioprio = IORING_ACCEPT_MULTISHOT;
	sqe->file_index = IORING_FILE_INDEX_ALLOC;
	RET(submit(&ring, 0));
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect_loopback(fd, port_of(listening)));
	await(&ring, 1);
	entry(&ring, IORING_OP_SEND, 0, "x", 1, 0, 4)->flags = IOSQE_FIXED_FILE;
	run(&ring, 1);
}

static char pool[8][64];

SECTION("provided buffers: a list")
{
	struct uring ring = uring_new(8);
	int pair[2];
	struct io_uring_sqe *sqe;

	pair_of(pair);
	sqe = entry(&ring, IORING_OP_RECV, pair[0], NULL, 64, 0, 1);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = 7;
	run(&ring, 1);
	sqe = entry(&ring, IORING_OP_PROVIDE_BUFFERS, 3, pool, 64, 10, 2);
	sqe->buf_group = 7;
	run(&ring, 1);
	MUST(write(pair[1], "hello", 5));
	sqe = entry(&ring, IORING_OP_RECV, pair[0], NULL, 64, 0, 3);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = 7;
	run(&ring, 1);
	TEXT(pool[0]);
	/* It waits without a buffer. */
	sqe = entry(&ring, IORING_OP_RECV, pair[0], NULL, 3, 0, 4);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = 7;
	RET(submit(&ring, 0));
	MUST(write(pair[1], "again", 5));
	await(&ring, 1);
	TEXT(pool[1]);
	sqe = entry(&ring, IORING_OP_READ, pair[0], NULL, 64, 0, 5);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = 7;
	run(&ring, 1);
	sqe = entry(&ring, IORING_OP_READ, pair[0], NULL, 64, 0, 6);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = 7;
	run(&ring, 1);
	sqe = entry(&ring, IORING_OP_PROVIDE_BUFFERS, 4, pool, 64, 0, 7);
	sqe->buf_group = 7;
	run(&ring, 1);
	entry(&ring, IORING_OP_REMOVE_BUFFERS, 3, NULL, 0, 0, 8)->buf_group = 7;
	run(&ring, 1);
	entry(&ring, IORING_OP_REMOVE_BUFFERS, 3, NULL, 0, 0, 9)->buf_group = 7;
	run(&ring, 1);
	entry(&ring, IORING_OP_REMOVE_BUFFERS, 3, NULL, 0, 0, 10)->buf_group = 8;
	run(&ring, 1);
	entry(&ring, IORING_OP_PROVIDE_BUFFERS, 0, pool, 64, 0, 11)->buf_group = 7;
	run(&ring, 1);
	entry(&ring, IORING_OP_PROVIDE_BUFFERS, 2, pool, 64, 70000, 12)->buf_group = 7;
	run(&ring, 1);
	entry(&ring, IORING_OP_PROVIDE_BUFFERS, 2, pool, 64, 65535, 13)->buf_group = 7;
	run(&ring, 1);
}

SECTION("provided buffers: as many as a list can hold")
{
	struct uring ring = uring_new(8);

	entry(&ring, IORING_OP_PROVIDE_BUFFERS, 65530, pool, 1, 0, 1)->buf_group = 7;
	run(&ring, 1);
	entry(&ring, IORING_OP_PROVIDE_BUFFERS, 10, pool, 1, 0, 2)->buf_group = 7;
	run(&ring, 1);
	entry(&ring, IORING_OP_PROVIDE_BUFFERS, 1, pool, 1, 0, 3)->buf_group = 7;
	run(&ring, 1);
	entry(&ring, IORING_OP_REMOVE_BUFFERS, 65536, NULL, 0, 0, 4)->buf_group = 7;
	run(&ring, 1);
	entry(&ring, IORING_OP_PROVIDE_BUFFERS, 1, pool, 1, 0, 5)->buf_group = 7;
	run(&ring, 1);
}

static void provide(struct io_uring_buf_ring *buffers, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned at = (buffers->tail + i) & 7;
		buffers->bufs[at].addr = (uintptr_t)pool[at];
		buffers->bufs[at].len = 64;
		buffers->bufs[at].bid = at;
	}
	__atomic_store_n(&buffers->tail, buffers->tail + count, __ATOMIC_RELEASE);
}

SECTION("provided buffers: a ring, received into again and again")
{
	struct uring ring = uring_new(8);
	int pair[2];
	struct io_uring_buf_ring *buffers =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)buffers, .ring_entries = 8, .bgid = 3 }, bad = reg;

	pair_of(pair);
	bad.ring_entries = 7;
	ERR(uring_register(ring.fd, IORING_REGISTER_PBUF_RING, &bad, 1));
	bad = reg;
	bad.ring_addr += 8;
	ERR(uring_register(ring.fd, IORING_REGISTER_PBUF_RING, &bad, 1));
	bad.ring_addr = 0;
	ERR(uring_register(ring.fd, IORING_REGISTER_PBUF_RING, &bad, 1));
	ERR(uring_register(ring.fd, IORING_UNREGISTER_PBUF_RING, &reg, 1));
	ERR(uring_register(ring.fd, IORING_REGISTER_PBUF_RING, &reg, 1));
	ERR(uring_register(ring.fd, IORING_REGISTER_PBUF_RING, &reg, 1));
	provide(buffers, 3);
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_RECV, pair[0], NULL, 0, 0, 1);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = 3;
	sqe->ioprio = IORING_RECV_MULTISHOT;
	RET(submit(&ring, 0));
	MUST(write(pair[1], "one", 3));
	await(&ring, 1);
	MUST(write(pair[1], "two", 3));
	await(&ring, 1);
	TEXT(pool[0]);
	TEXT(pool[1]);
	MUST(write(pair[1], "three", 5));
	await(&ring, 1);
	/* No buffer is left. */
	MUST(write(pair[1], "four", 4));
	await(&ring, 1);
	provide(buffers, 5);
	sqe = entry(&ring, IORING_OP_RECV, pair[0], NULL, 0, 0, 2);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = 3;
	sqe->ioprio = IORING_RECV_MULTISHOT;
	run(&ring, 1);
	TEXT(pool[3]);
	close(pair[1]);
	await(&ring, 1);
	ERR(uring_register(ring.fd, IORING_UNREGISTER_PBUF_RING, &reg, 1));
	/* With a length, or without a buffer. */
	sqe = entry(&ring, IORING_OP_RECV, pair[0], NULL, 5, 0, 3);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->ioprio = IORING_RECV_MULTISHOT;
	run(&ring, 1);
	entry(&ring, IORING_OP_RECV, pair[0], pool, 0, 0, 4)->ioprio = IORING_RECV_MULTISHOT;
	run(&ring, 1);
}

SECTION("provided buffers: memory of the kernel's, and a pipe read again and again")
{
	struct uring ring = uring_new(8);
	int ends[2];
	struct io_uring_buf_reg reg = { .ring_entries = 8, .bgid = 2, .pad = 1 /* IOU_PBUF_RING_MMAP */ };

	ERR(uring_register(ring.fd, IORING_REGISTER_PBUF_RING, &reg, 1));
	struct io_uring_buf_ring *buffers =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, 0x80000000ull | (2ull << 16));
	SHOW(buffers != MAP_FAILED);
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_SHARED, ring.fd, 0x80000000ull | (5ull << 16)) == MAP_FAILED);
	provide(buffers, 2);
	MUST(pipe(ends));
	struct io_uring_sqe *sqe = entry(&ring, 49 /* READ_MULTISHOT */, ends[0], NULL, 0, 0, 1);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = 2;
	RET(submit(&ring, 0));
	MUST(write(ends[1], "one", 3));
	await(&ring, 1);
	MUST(write(ends[1], "two", 3));
	await(&ring, 1);
	TEXT(pool[0]);
	TEXT(pool[1]);
	close(ends[1]);
	await(&ring, 1);
}

SECTION("datagrams")
{
	struct uring ring = uring_new(8);
	int a = datagram(), b = datagram();
	struct sockaddr_in to = loopback(port_of(b)), from;
	char text[16] = "";
	struct iovec in = { text, 16 };
	struct msghdr receive = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &in, .msg_iovlen = 1 };

	entry(&ring, IORING_OP_RECVMSG, b, &receive, 1, 0, 1);
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_SEND, a, "datagram", 8, (uintptr_t)&to, 2)->addr_len = sizeof to;
	run(&ring, 2);
	TEXT(text);
	SHOW(receive.msg_namelen);
	SHOW(ntohs(from.sin_port) == port_of(a));
	entry(&ring, IORING_OP_RECV, b, text, 3, 0, 3);
	RET(submit(&ring, 0));
	MUST(sendto(a, "longer", 6, 0, (struct sockaddr *)&to, sizeof to));
	await(&ring, 1);
}

SECTION("sends that tell when their memory is free")
{
	struct uring ring = uring_new(8);
	int pair[2], local[2], a = datagram(), b = datagram();
	struct sockaddr_in to = loopback(port_of(b));
	static char block[4096] = "zero copy";
	struct iovec fixed = { block, sizeof block }, piece = { block, 4 };
	struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
	char text[16] = "";

	connected(pair);
	pair_of(local);
	entry(&ring, IORING_OP_SEND_ZC, pair[0], block, 9, 0, 1);
	run(&ring, 2);
	RET(read(pair[1], text, 16));
	TEXT(text);
	entry(&ring, IORING_OP_SENDMSG_ZC, pair[0], &message, 1, 0, 2);
	run(&ring, 2);
	entry(&ring, IORING_OP_SEND_ZC, a, block, 9, (uintptr_t)&to, 3)->addr_len = sizeof to;
	run(&ring, 2);
	entry(&ring, IORING_OP_SEND_ZC, local[0], block, 9, 0, 4);
	run(&ring, 2);
	entry(&ring, IORING_OP_SEND_ZC, pair[0], block, 9, 0, 5)->flags = IOSQE_CQE_SKIP_SUCCESS;
	run(&ring, 1);
	MUST(uring_register(ring.fd, IORING_REGISTER_BUFFERS, &fixed, 1));
	entry(&ring, IORING_OP_SEND_ZC, pair[0], block, 9, 0, 7)->ioprio = IORING_RECVSEND_FIXED_BUF;
	run(&ring, 2);
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_SEND_ZC, pair[0], block, 9, 0, 8);
	sqe->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 9);
	run(&ring, 3);
}

static struct io_uring_sqe *command(struct uring *ring, int fd, unsigned what, int level, int option, void *value,
				    unsigned length, int data)
{
	struct io_uring_sqe *sqe = entry(ring, IORING_OP_URING_CMD, fd, NULL, 0, 0, data);

	sqe->off = what;
	sqe->addr = (unsigned)level | (uint64_t)option << 32;
	sqe->file_index = length;
	sqe->addr3 = (uint64_t)value;
	return sqe;
}

SECTION("URING_CMD: options and queues of a socket")
{
	enum { SIOCINQ_OP, SIOCOUTQ_OP, GETSOCKOPT_OP, SETSOCKOPT_OP };
	struct uring ring = uring_new(8);
	int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0)), pair[2], value = 0;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;

	MUST(bind(fd, (void *)&address, sizeof address));
	MUST(getsockname(fd, (void *)&address, &length));
	command(&ring, fd, SIOCINQ_OP, 0, 0, NULL, 0, 1);
	run(&ring, 1);
	MUST(sendto(fd, "12345", 5, 0, (void *)&address, sizeof address));
	command(&ring, fd, SIOCINQ_OP, 0, 0, NULL, 0, 2);
	run(&ring, 1);
	command(&ring, fd, SIOCOUTQ_OP, 0, 0, NULL, 0, 3);
	run(&ring, 1);
	command(&ring, fd, GETSOCKOPT_OP, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value, 4);
	run(&ring, 1);
	SHOW(value);
	value = 1;
	command(&ring, fd, SETSOCKOPT_OP, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value, 5);
	run(&ring, 1);
	value = 0;
	command(&ring, fd, GETSOCKOPT_OP, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value, 6);
	run(&ring, 1);
	SHOW(value);
	value = 0;
	command(&ring, fd, GETSOCKOPT_OP, SOL_SOCKET, SO_TYPE, &value, 2, 7);
	run(&ring, 1);
	SHOW(value == SOCK_DGRAM);
	command(&ring, fd, GETSOCKOPT_OP, IPPROTO_IP, IP_TTL, &value, sizeof value, 8);
	run(&ring, 1);
	value = 9;
	command(&ring, fd, SETSOCKOPT_OP, IPPROTO_IP, IP_TTL, &value, sizeof value, 9);
	run(&ring, 1);
	command(&ring, fd, GETSOCKOPT_OP, SOL_SOCKET, 9999, &value, sizeof value, 10);
	run(&ring, 1);
	command(&ring, fd, GETSOCKOPT_OP, SOL_SOCKET, SO_TYPE, (void *)8, sizeof value, 11);
	run(&ring, 1);
	command(&ring, fd, 99, 0, 0, NULL, 0, 12);
	run(&ring, 1);
	command(&ring, fd, SIOCINQ_OP, 0, 0, NULL, 0, 13)->rw_flags = 1 << 20;
	run(&ring, 1);
	pair_of(pair);
	command(&ring, pair[0], SIOCINQ_OP, 0, 0, NULL, 0, 14);
	run(&ring, 1);
	MUST(pipe(pair));
	command(&ring, pair[0], SIOCINQ_OP, 0, 0, NULL, 0, 15);
	run(&ring, 1);
	command(&ring, -1, SIOCINQ_OP, 0, 0, NULL, 0, 16);
	run(&ring, 1);
}
