/* Asynchronous I/O of the kernel's: io_setup(2), io_submit(2), io_getevents(2), by raw calls. */
#include "observe.h"
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

struct ring {
	unsigned id, nr, head, tail, magic, compat, incompat, header;
	struct io_event events[];
};

static long setup(unsigned count, aio_context_t *context)
{
	return syscall(SYS_io_setup, count, context);
}

static long destroy(aio_context_t context)
{
	return syscall(SYS_io_destroy, context);
}

static long submit(aio_context_t context, long count, struct iocb **list)
{
	return syscall(SYS_io_submit, context, count, list);
}

static long submit_one(aio_context_t context, struct iocb *one)
{
	return submit(context, 1, &one);
}

static long events(aio_context_t context, long min, long max, struct io_event *into, struct timespec *timeout)
{
	return syscall(SYS_io_getevents, context, min, max, into, timeout);
}

static aio_context_t new_context(unsigned count)
{
	aio_context_t context = 0;

	MUST(setup(count, &context));
	return context;
}

static struct iocb iocb(int opcode, int fd, const void *buffer, size_t length, off_t offset)
{
	static unsigned next = 100;

	return (struct iocb){
		.aio_data = next++,
		.aio_lio_opcode = opcode,
		.aio_fildes = fd,
		.aio_buf = (uintptr_t)buffer,
		.aio_nbytes = length,
		.aio_offset = offset,
	};
}

/* Waits for one event and shows it. */
static void one_event(aio_context_t context, struct iocb *of)
{
	struct io_event event = { 0 };

	RET(events(context, 1, 1, &event, NULL));
	say("  data %d, of the request: %d, result %lld, second %lld\n", (int)event.data,
	    event.obj == (uintptr_t)of, (long long)event.res, (long long)event.res2);
}

SECTION("io_setup: arguments")
{
	aio_context_t context = 0;

	ERR(setup(0, &context));
	ERR(setup(1, NULL));
	ERR(setup(0x10000000, &context));
	ERR(setup(70000, &context));
	context = 1;
	ERR(setup(1, &context));
	context = 0;
	ERR(setup(1, &context));
	SHOW(context != 0);
	ERR(destroy(context));
	ERR(destroy(context));
	ERR(destroy(0));
	ERR(destroy(1));
}

SECTION("io_setup: the ring that the guest sees")
{
	aio_context_t context = new_context(100);
	struct ring *ring = (void *)context;

	HEX(ring->magic);
	SHOW(ring->compat);
	SHOW(ring->incompat);
	SHOW(ring->header);
	SHOW(ring->head);
	SHOW(ring->tail);
	SHOW(ring->nr);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	struct iocb write = iocb(IOCB_CMD_PWRITE, fd, "hello", 5, 0);
	RET(submit_one(context, &write));
	SHOW(ring->head);
	SHOW(ring->tail);
	SHOW(ring->events[0].res);
	SHOW(ring->events[0].data == write.aio_data);
	/* Taken without a call. */
	ring->head = 1;
	struct io_event event;
	struct timespec now = { 0, 0 };
	RET(events(context, 1, 1, &event, &now));
	ring->head = 1000000;
	SHOW(events(context, 0, 1, &event, &now) >= 0);
	SHOW(mremap(ring, 4096, 65536, 0) == MAP_FAILED);
	ERR(destroy(context));
	SHOW(msync(ring, 4096, MS_ASYNC));
}

SECTION("io_submit: reads, writes and vectors")
{
	aio_context_t context = new_context(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	char text[32] = "", more[4] = "";
	struct iovec out[2] = { { "one ", 4 }, { "two", 3 } }, in[2] = { { text, 3 }, { more, 3 } };
	struct iocb write = iocb(IOCB_CMD_PWRITEV, fd, out, 2, 10), read = iocb(IOCB_CMD_PREAD, fd, text, 32, 8);

	RET(submit_one(context, &write));
	one_event(context, &write);
	RET(submit_one(context, &read));
	one_event(context, &read);
	TEXT(text + 2);
	read = iocb(IOCB_CMD_PREADV, fd, in, 2, 11);
	RET(submit_one(context, &read));
	one_event(context, &read);
	TEXT(more);
	SHOW(lseek(fd, 0, SEEK_CUR));
	read = iocb(IOCB_CMD_PREAD, fd, text, 5, 100);
	RET(submit_one(context, &read));
	one_event(context, &read);
	write = iocb(IOCB_CMD_FSYNC, fd, NULL, 0, 0);
	RET(submit_one(context, &write));
	one_event(context, &write);
	write = iocb(IOCB_CMD_FDSYNC, fd, NULL, 0, 0);
	RET(submit_one(context, &write));
	one_event(context, &write);
	write = iocb(IOCB_CMD_PWRITE, fd, "end", 3, 0);
	write.aio_rw_flags = RWF_APPEND | RWF_DSYNC;
	RET(submit_one(context, &write));
	one_event(context, &write);
	SHOW(lseek(fd, 0, SEEK_END));
}

SECTION("io_submit: what is refused, and in which order")
{
	aio_context_t context = new_context(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), only = MUST(open("f", O_RDONLY));
	int place = MUST(open("f", O_PATH)), directory = MUST(open(".", O_RDONLY));
	char text[8];
	struct iocb one, *list[3] = { &one, NULL, &one };

	one = iocb(IOCB_CMD_PWRITE, only, "x", 1, 0);
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_PREAD, place, text, 1, 0);
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_PREAD, 99, text, 1, 0);
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_PREAD, directory, text, 1, 0);
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_PREAD, fd, text, 1, -5);
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_PREAD, fd, (void *)-1, 1, 0);
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_PREADV, fd, text, 2000, 0);
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_PWRITE, fd, (void *)8, 1, 0);
	RET(submit_one(context, &one));
	one_event(context, &one);
	one = iocb(77, fd, text, 1, 0);
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_NOOP, fd, text, 1, 0);
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_PREAD, fd, text, 1, 0);
	one.aio_rw_flags = 0x4000000;
	ERR(submit_one(context, &one));
	one.aio_rw_flags = 0;
	one.aio_reserved2 = 1;
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_FSYNC, fd, text, 0, 0);
	ERR(submit_one(context, &one));
	one = iocb(IOCB_CMD_PREAD, fd, text, 1, 0);
	one.aio_flags = IOCB_FLAG_RESFD;
	one.aio_resfd = 99;
	ERR(submit_one(context, &one));
	one.aio_resfd = fd;
	ERR(submit_one(context, &one));
	one.aio_flags = 0;
	ERR(submit(context, -1, list));
	RET(submit(context, 0, list));
	ERR(submit(context, 1, NULL));
	ERR(submit(0, 1, list));
	RET(submit(context, 3, list));
	one_event(context, &one);
}

SECTION("io_submit: no more than there is room for")
{
	aio_context_t context = new_context(4);
	unsigned room = ((struct ring *)context)->nr - 1;
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	struct iocb one = iocb(IOCB_CMD_PWRITE, fd, "x", 1, 0), *list[1000];

	for (int i = 0; i < 1000; i++)
		list[i] = &one;
	long accepted = submit(context, 1000, list);
	SHOW(accepted > 0 && accepted <= room);
	ERR(submit(context, 1, list));
	struct io_event got[1000];
	SHOW(events(context, 0, 1000, got, NULL) == accepted);
	RET(submit(context, 1, list));
}

SECTION("io_submit: an eventfd is told")
{
	aio_context_t context = new_context(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), tell = MUST(eventfd(0, EFD_NONBLOCK));
	struct iocb one = iocb(IOCB_CMD_PWRITE, fd, "x", 1, 0), *list[] = { &one, &one, &one };
	uint64_t count = 0;

	one.aio_flags = IOCB_FLAG_RESFD;
	one.aio_resfd = tell;
	RET(submit(context, 3, list));
	RET(read(tell, &count, 8));
	SHOW(count);
}

SECTION("io_submit: poll")
{
	aio_context_t context = new_context(8);
	int ends[2];
	struct timespec now = { 0, 0 };
	struct io_event event;

	MUST(pipe(ends));
	struct iocb in = iocb(IOCB_CMD_POLL, ends[0], (void *)POLLIN, 0, 0);
	struct iocb out = iocb(IOCB_CMD_POLL, ends[1], (void *)POLLOUT, 0, 0);
	RET(submit_one(context, &in));
	RET(events(context, 0, 1, &event, &now));
	RET(submit_one(context, &out));
	one_event(context, &out);
	MUST(write(ends[1], "x", 1));
	one_event(context, &in);
	in.aio_buf = 0x10001;
	ERR(submit_one(context, &in));
	in.aio_buf = POLLIN;
	in.aio_nbytes = 1;
	ERR(submit_one(context, &in));
	in.aio_nbytes = 0;
	char one;
	MUST(read(ends[0], &one, 1));
	RET(submit_one(context, &in));
	close(ends[1]);
	one_event(context, &in);
}

SECTION("io_cancel")
{
	aio_context_t context = new_context(8);
	int ends[2];
	struct io_event event;

	MUST(pipe(ends));
	struct iocb in = iocb(IOCB_CMD_POLL, ends[0], (void *)POLLIN, 0, 0);
	RET(submit_one(context, &in));
	ERR(syscall(SYS_io_cancel, context, NULL, &event));
	ERR(syscall(SYS_io_cancel, 0, &in, &event));
	ERR(syscall(SYS_io_cancel, context, &in, &event));
	one_event(context, &in);
	ERR(syscall(SYS_io_cancel, context, &in, &event));
	in.aio_key = 5;
	ERR(syscall(SYS_io_cancel, context, &in, &event));
}

SECTION("io_getevents: counts, timeouts and bad places")
{
	aio_context_t context = new_context(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	struct iocb one = iocb(IOCB_CMD_PWRITE, fd, "x", 1, 0), *list[] = { &one, &one, &one };
	struct timespec now = { 0, 0 }, soon = { 0, 20000000 };
	struct io_event got[4];

	ERR(events(context, 2, 1, got, &now));
	ERR(events(context, -1, 1, got, &now));
	ERR(events(context + 1, 0, 1, got, &now));
	ERR(events(context, 1, 1, got, (void *)8));
	RET(events(context, 0, 0, got, NULL));
	RET(events(context, 1, 4, got, &now));
	RET(events(context, 1, 4, got, &soon));
	RET(submit(context, 3, list));
	RET(events(context, 4, 4, got, &soon));
	RET(submit(context, 3, list));
	RET(events(context, 1, 2, got, NULL));
	ERR(events(context, 1, 1, NULL, NULL));
	RET(events(context, 1, 1, got, NULL));
}

static void nothing(int signo)
{
	(void)signo;
}

SECTION("io_getevents, io_pgetevents: interrupted, with a mask of their own")
{
	aio_context_t context = new_context(8);
	struct io_event event;
	struct sigaction action = { .sa_handler = nothing, .sa_flags = SA_RESTART };
	struct itimerval timer = { { 0, 20000 }, { 0, 20000 } }, off = { { 0, 0 }, { 0, 0 } };
	sigset_t alarm, empty, seen;
	struct {
		const sigset_t *mask;
		size_t size;
	} argument = { &empty, 8 };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	ERR(events(context, 1, 1, &event, NULL));
	setitimer(ITIMER_REAL, &off, NULL);
	sigemptyset(&empty);
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm, NULL);
	raise(SIGALRM);
	ERR(syscall(SYS_io_pgetevents, context, 1, 1, &event, NULL, &argument));
	sigprocmask(SIG_BLOCK, NULL, &seen);
	SHOW(sigismember(&seen, SIGALRM));
	argument.size = 4;
	ERR(syscall(SYS_io_pgetevents, context, 1, 1, &event, NULL, &argument));
}

static void *waits(void *context)
{
	struct io_event event;

	return (void *)events((aio_context_t)context, 1, 1, &event, NULL);
}

SECTION("io_destroy ends those who wait")
{
	aio_context_t context = new_context(8);
	pthread_t thread;
	void *result;
	int ends[2];

	MUST(pipe(ends));
	struct iocb in = iocb(IOCB_CMD_POLL, ends[0], (void *)POLLIN, 0, 0);
	RET(submit_one(context, &in));
	pthread_create(&thread, NULL, waits, (void *)context);
	usleep(20000);
	ERR(destroy(context));
	pthread_join(thread, &result);
	SHOW((long)result <= 0);
}

SECTION("a context is not the child's")
{
	aio_context_t context = new_context(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	struct iocb one = iocb(IOCB_CMD_PWRITE, fd, "x", 1, 0);

	if (fork() == 0) {
		HEX(((struct ring *)context)->magic);
		ERR(submit_one(context, &one));
		ERR(destroy(context));
		_exit(0);
	}
	STATUS(end_of(-1));
	RET(submit_one(context, &one));
}
