/* io_uring: what sockets got with Linux 6.10 and later. The headers may be older, so the numbers are here. */
#include "observe.h"
#include "uring-buffers.h"
#include <netinet/in.h>
#include <sys/socket.h>

enum { BUNDLE = 1 << 4 };

/* Both ends of a connection over loopback. */
static void connection(int ends[2])
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(name);
	int listener = MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(bind(listener, (void *)&name, sizeof(name)));
	MUST(listen(listener, 5));
	MUST(getsockname(listener, (void *)&name, &length));
	ends[0] = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(ends[0], (void *)&name, sizeof(name)));
	ends[1] = MUST(accept(listener, NULL, NULL));
	close(listener);
}

SECTION("a bundle is received into several buffers, and sent from them")
{
	struct uring ring = uring_new(8);
	struct buffers buffers = buffer_ring(&ring, 8, 4, 1);
	int ends[2];
	char text[64] = { 0 };

	connection(ends);
	for (int i = 0; i < 5; i++)
		provide(&buffers, i);
	RET(write(ends[0], "abcdefghij", 10));
	selecting(entry(&ring, IORING_OP_RECV, ends[1], NULL, 10, 0, 1), 1)->ioprio = BUNDLE;
	RET(submit(&ring, 1));
	completions(&ring);
	TEXT(buffers.bytes);
	/* The rest is sent: two buffers. */
	memcpy(buffers.bytes + 12, "01234567", 8);
	selecting(entry(&ring, IORING_OP_SEND, ends[1], NULL, 0, 0, 2), 1)->ioprio = BUNDLE;
	RET(submit(&ring, 1));
	completions(&ring);
	RET(read(ends[0], text, sizeof(text)));
	TEXT(text);
	/* None is left. */
	selecting(entry(&ring, IORING_OP_SEND, ends[1], NULL, 0, 0, 3), 1)->ioprio = BUNDLE;
	RET(submit(&ring, 1));
	completions(&ring);
	/* Without a bundle one buffer is sent, and no more of it than said. */
	provide(&buffers, 0);
	provide(&buffers, 1);
	selecting(entry(&ring, IORING_OP_SEND, ends[1], NULL, 3, 0, 4), 1);
	RET(submit(&ring, 1));
	completions(&ring);
	RET(read(ends[0], text, sizeof(text)));
	entry(&ring, IORING_OP_SENDMSG, ends[1], text, 1, 0, 5)->ioprio = BUNDLE;
	entry(&ring, IORING_OP_RECVMSG, ends[1], text, 1, 0, 6)->ioprio = BUNDLE;
	selecting(entry(&ring, IORING_OP_SENDMSG, ends[1], text, 1, 0, 7), 1);
	RET(submit(&ring, 1));
	RET(submit(&ring, 1));
	RET(submit(&ring, 1));
	completions(&ring);
}

SECTION("that there is more is told")
{
	struct uring ring = uring_new(8);
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(name);
	int listener = MUST(socket(AF_INET, SOCK_STREAM, 0));
	int one = MUST(socket(AF_INET, SOCK_STREAM, 0)), two = MUST(socket(AF_INET, SOCK_STREAM, 0));
	struct io_uring_cqe cqe;
	char text[16];

	MUST(bind(listener, (void *)&name, sizeof(name)));
	MUST(listen(listener, 5));
	MUST(getsockname(listener, (void *)&name, &length));
	MUST(connect(one, (void *)&name, sizeof(name)));
	MUST(connect(two, (void *)&name, sizeof(name)));
	for (int i = 0; i < 2; i++) {
		entry(&ring, IORING_OP_ACCEPT, listener, NULL, 0, 0, 1);
		RET(submit(&ring, 1));
		SHOW(take(&ring, &cqe) && cqe.res >= 0);
		HEX(cqe.flags);
		one = i == 0 ? cqe.res : one;
	}
	int ends[2];
	connection(ends);
	RET(write(ends[0], "12345678", 8));
	for (int i = 0; i < 2; i++) {
		entry(&ring, IORING_OP_RECV, ends[1], text, 4, 0, 1);
		RET(submit(&ring, 1));
		completions(&ring);
	}
}
