/* io_uring: rings, chains, cancelling, timeouts, files. Sockets and provided buffers are in inet-uring.c. */
#define HAS_CHILD
#include "observe.h"
#include "uring.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/xattr.h>

/* `wait FD`: until the other end is closed. */
static int as_child(int argc, char **argv)
{
	char one;

	return argc > 1 ? read(atoi(argv[1]), &one, 1) != 0 : 1;
}

SECTION("io_uring_setup: arguments")
{
	struct io_uring_params params = { 0 };

	needs_uring();
	ERR(uring_setup(0, &params));
	ERR(uring_setup(8, NULL));
	ERR(uring_setup(40000, &params));
	params.flags = IORING_SETUP_CLAMP;
	ERR(uring_setup(40000, &params));
	SHOW(params.sq_entries);
	SHOW(params.cq_entries);
	params = (struct io_uring_params){ .resv[1] = 1 };
	ERR(uring_setup(8, &params));
	params = (struct io_uring_params){ .flags = 1u << 30 };
	ERR(uring_setup(8, &params));
	params = (struct io_uring_params){ 0 };
	ERR(uring_setup(5, &params));
	SHOW(params.sq_entries);
	SHOW(params.cq_entries);
	params = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE, .cq_entries = 3 };
	ERR(uring_setup(8, &params));
	params = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE, .cq_entries = 100 };
	ERR(uring_setup(8, &params));
	SHOW(params.cq_entries);
	params = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE };
	ERR(uring_setup(8, &params));
	params = (struct io_uring_params){ .flags = IORING_SETUP_SQ_AFF };
	ERR(uring_setup(8, &params));
	params = (struct io_uring_params){ .flags = IORING_SETUP_TASKRUN_FLAG };
	ERR(uring_setup(8, &params));
	params = (struct io_uring_params){ .flags = IORING_SETUP_DEFER_TASKRUN };
	ERR(uring_setup(8, &params));
	params = (struct io_uring_params){ .flags = IORING_SETUP_SQPOLL | IORING_SETUP_COOP_TASKRUN };
	ERR(uring_setup(8, &params));
	params = (struct io_uring_params){ .flags = IORING_SETUP_ATTACH_WQ, .wq_fd = 99 };
	ERR(uring_setup(8, &params));
	params = (struct io_uring_params){ .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
	int fd = MUST(uring_setup(8, &params));
	SHOW(fcntl(fd, F_GETFD));
	HEX(fcntl(fd, F_GETFL));
	char text[64] = "";
	char path[32];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	readlink(path, text, sizeof text);
	TEXT(text);
	ERR(read(fd, text, 8));
	ERR(write(fd, text, 8));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0x20000000) == MAP_FAILED);
}

SECTION("io_uring_enter: arguments")
{
	struct uring ring = uring_new(4);

	ERR(uring_enter(ring.fd, 0, 0, 1u << 30, NULL, 0));
	ERR(uring_enter(99, 0, 0, 0, NULL, 0));
	ERR(uring_enter(STDIN_FILENO, 0, 0, 0, NULL, 0));
	RET(uring_enter(ring.fd, 0, 0, 0, NULL, 0));
	RET(uring_enter(ring.fd, 5, 0, 0, NULL, 0));
	RET(uring_enter(ring.fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0));
	ERR(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, (void *)8, 4));
	ERR(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, (void *)8, 8));
	ERR(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, (void *)8, 24));
	ERR(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, (void *)8, 8));
	ERR(uring_enter(0, 0, 0, IORING_ENTER_REGISTERED_RING, NULL, 0));
	ERR(uring_enter(99, 0, 0, IORING_ENTER_REGISTERED_RING, NULL, 0));
}

SECTION("nothing, many times, and bad entries")
{
	struct uring ring = uring_new(4);

	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 2);
	run(&ring, 2);
	for (int i = 0; i < 20; i++) {
		entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, i);
		if (submit(&ring, 1) != 1 || ready(&ring) != 1)
			say("wrong in round %d\n", i);
		struct io_uring_cqe cqe;
		take(&ring, &cqe);
		if ((int)cqe.user_data != i)
			say("wrong data in round %d\n", i);
	}
	/* The first bad one ends the submission. */
	entry(&ring, 200, 0, NULL, 0, 0, 3);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 4);
	run(&ring, 1);
	RET(uring_enter(ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 5)->flags = 1 << 7;
	run(&ring, 1);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 6)->flags = IOSQE_BUFFER_SELECT;
	run(&ring, 1);
	entry(&ring, IORING_OP_FSYNC, 99, NULL, 0, 0, 7);
	run(&ring, 1);
	entry(&ring, IORING_OP_FSYNC, 0, NULL, 0, 0, 8)->ioprio = 1;
	run(&ring, 1);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 9)->personality = 5;
	run(&ring, 1);
	/* An index that is none. */
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 10);
	ring.sq_array[*ring.sq_tail & *ring.sq_mask] = 1000;
	RET(submit(&ring, 0));
	completions(&ring);
	SHOW(*ring.sq_head == *ring.sq_tail);
}

SECTION("IORING_SETUP_SUBMIT_ALL: bad entries don't end a submission")
{
	struct uring ring = uring_with(4, IORING_SETUP_SUBMIT_ALL);

	entry(&ring, 200, 0, NULL, 0, 0, 1);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 2);
	run(&ring, 2);
}

SECTION("reads and writes of files")
{
	struct uring ring = uring_new(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), only = MUST(open("f", O_RDONLY));
	int directory = MUST(open(".", O_RDONLY));
	char text[32] = "", more[8] = "";
	struct iovec out[2] = { { "one ", 4 }, { "two", 3 } }, in[2] = { { text, 3 }, { more, 4 } };

	entry(&ring, IORING_OP_WRITE, fd, "hello", 5, 0, 1);
	run(&ring, 1);
	entry(&ring, IORING_OP_WRITEV, fd, out, 2, 5, 2);
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, fd, text, 32, 0, 3);
	run(&ring, 1);
	TEXT(text);
	entry(&ring, IORING_OP_READV, fd, in, 2, 4, 4);
	run(&ring, 1);
	TEXT(more);
	/* At the file's own position, which moves. */
	entry(&ring, IORING_OP_READ, fd, text, 3, -1, 5);
	run(&ring, 1);
	SHOW(lseek(fd, 0, SEEK_CUR));
	entry(&ring, IORING_OP_WRITE, fd, "X", 1, -1, 6);
	run(&ring, 1);
	SHOW(lseek(fd, 0, SEEK_CUR));
	entry(&ring, IORING_OP_READ, fd, text, 3, 100, 7);
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, fd, text, 3, -5, 8);
	run(&ring, 1);
	entry(&ring, IORING_OP_WRITE, only, text, 3, 0, 9);
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, directory, text, 3, 0, 10);
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, fd, (void *)8, 3, 0, 11);
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, fd, (void *)-8, 3, 0, 12);
	run(&ring, 1);
	entry(&ring, IORING_OP_READV, fd, (void *)8, 3, 0, 13);
	run(&ring, 1);
	entry(&ring, IORING_OP_READV, fd, in, 2000, 0, 14);
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, fd, text, 3, 0, 15)->rw_flags = 1 << 20;
	run(&ring, 1);
	entry(&ring, IORING_OP_WRITE, fd, "end", 3, 0, 16)->rw_flags = RWF_APPEND | RWF_DSYNC;
	run(&ring, 1);
	SHOW(lseek(fd, 0, SEEK_END));
}

SECTION("calls on files")
{
	struct uring ring = uring_new(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	struct stat status;

	entry(&ring, IORING_OP_FSYNC, fd, NULL, 0, 0, 1);
	entry(&ring, IORING_OP_FSYNC, fd, NULL, 0, 0, 2)->fsync_flags = IORING_FSYNC_DATASYNC;
	entry(&ring, IORING_OP_FSYNC, fd, NULL, 0, 0, 3)->fsync_flags = 2;
	run(&ring, 3);
	entry(&ring, IORING_OP_FALLOCATE, fd, (void *)1000, 0, 100, 4);
	run(&ring, 1);
	fstat(fd, &status);
	SHOW(status.st_size);
	entry(&ring, 55 /* FTRUNCATE */, fd, NULL, 0, 10, 5);
	run(&ring, 1);
	fstat(fd, &status);
	SHOW(status.st_size);
	entry(&ring, IORING_OP_FADVISE, fd, NULL, 10, 0, 6)->fadvise_advice = POSIX_FADV_WILLNEED;
	entry(&ring, IORING_OP_FADVISE, fd, NULL, 10, 0, 7)->fadvise_advice = 77;
	entry(&ring, IORING_OP_SYNC_FILE_RANGE, fd, NULL, 10, 0, 8)->sync_range_flags = SYNC_FILE_RANGE_WRITE;
	run(&ring, 3);
	char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory[0] = 1;
	entry(&ring, IORING_OP_MADVISE, -1, memory, 4096, 0, 9)->fadvise_advice = MADV_DONTNEED;
	run(&ring, 1);
	SHOW(memory[0]);
}

SECTION("calls on names")
{
	struct uring ring = uring_new(8);
	struct statx status;
	struct stat plain;
	char value[8] = "";

	entry(&ring, IORING_OP_MKDIRAT, AT_FDCWD, "d", 0755, 0, 1);
	run(&ring, 1);
	entry(&ring, IORING_OP_OPENAT, AT_FDCWD, "d/f", 0600, 0, 2)->open_flags = O_CREAT | O_RDWR;
	RET(submit(&ring, 1));
	struct io_uring_cqe cqe;
	take(&ring, &cqe);
	SHOW(cqe.res > 2);
	entry(&ring, IORING_OP_WRITE, cqe.res, "abc", 3, 0, 3);
	run(&ring, 1);
	entry(&ring, IORING_OP_STATX, AT_FDCWD, "d/f", STATX_SIZE | STATX_MODE, (uintptr_t)&status, 4);
	run(&ring, 1);
	SHOW(status.stx_size);
	SHOW(status.stx_mode & 0777);
	entry(&ring, IORING_OP_RENAMEAT, AT_FDCWD, "d/f", AT_FDCWD, (uintptr_t) "d/g", 5);
	run(&ring, 1);
	entry(&ring, IORING_OP_SYMLINKAT, AT_FDCWD, "g", 0, (uintptr_t) "d/link", 6);
	run(&ring, 1);
	entry(&ring, IORING_OP_LINKAT, AT_FDCWD, "d/g", AT_FDCWD, (uintptr_t) "d/h", 7);
	run(&ring, 1);
	SHOW(stat("d/link", &plain));
	SHOW(plain.st_nlink);
	entry(&ring, IORING_OP_FSETXATTR, cqe.res, "user.x", 3, (uintptr_t) "one", 8);
	run(&ring, 1);
	entry(&ring, IORING_OP_GETXATTR, 0, "user.x", 8, (uintptr_t)value, 9)->addr3 = (uintptr_t) "d/h";
	run(&ring, 1);
	TEXT(value);
	entry(&ring, IORING_OP_UNLINKAT, AT_FDCWD, "d/h", 0, 0, 10);
	run(&ring, 1);
	entry(&ring, IORING_OP_UNLINKAT, AT_FDCWD, "d", 0, 0, 11)->unlink_flags = AT_REMOVEDIR;
	run(&ring, 1);
	entry(&ring, IORING_OP_UNLINKAT, AT_FDCWD, "none", 0, 0, 12);
	run(&ring, 1);
	entry(&ring, IORING_OP_MKDIRAT, AT_FDCWD, "e", 0755, 7, 13);
	run(&ring, 1);
	entry(&ring, IORING_OP_OPENAT, 0, "x", 0600, 0, 14)->flags = IOSQE_FIXED_FILE;
	run(&ring, 1);
	entry(&ring, IORING_OP_CLOSE, cqe.res, NULL, 0, 0, 15);
	run(&ring, 1);
	entry(&ring, IORING_OP_CLOSE, cqe.res, NULL, 0, 0, 16);
	run(&ring, 1);
	entry(&ring, IORING_OP_CLOSE, ring.fd, NULL, 0, 0, 17);
	run(&ring, 1);
}

SECTION("a pipe: a read waits, a write wakes it")
{
	struct uring ring = uring_new(8);
	int ends[2];
	char text[16] = "";

	MUST(pipe(ends));
	entry(&ring, IORING_OP_READ, ends[0], text, 16, 0, 1);
	RET(submit(&ring, 0));
	completions(&ring);
	MUST(write(ends[1], "hello", 5));
	await(&ring, 1);
	TEXT(text);
	entry(&ring, IORING_OP_READ, ends[0], text, 16, -1, 2);
	entry(&ring, IORING_OP_WRITE, ends[1], "again", 5, -1, 3);
	run(&ring, 2);
	TEXT(text);
	entry(&ring, IORING_OP_READ, ends[0], text, 16, 0, 4);
	RET(submit(&ring, 0));
	close(ends[1]);
	await(&ring, 1);
	/* O_NONBLOCK is not what decides. */
	MUST(pipe2(ends, O_NONBLOCK));
	entry(&ring, IORING_OP_READ, ends[0], text, 16, 0, 5);
	RET(submit(&ring, 0));
	completions(&ring);
	MUST(write(ends[1], "x", 1));
	await(&ring, 1);
	entry(&ring, IORING_OP_READ, ends[0], text, 16, 0, 6)->rw_flags = RWF_NOWAIT;
	run(&ring, 1);
	/* A full pipe. */
	static char page[65536];
	MUST(write(ends[1], page, sizeof page));
	entry(&ring, IORING_OP_WRITE, ends[1], page, 4096, 0, 7);
	RET(submit(&ring, 0));
	completions(&ring);
	MUST(read(ends[0], page, 8192));
	await(&ring, 1);
}

static volatile sig_atomic_t caught;

static void count(int signo)
{
	(void)signo;
	caught++;
}

/* Under a limit that output, which may go to a file, must not meet. */
static void limited(struct uring *ring)
{
	struct rlimit limit = { 10, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };

	MUST(setrlimit(RLIMIT_FSIZE, &limit));
	int submitted = submit(ring, 1);
	MUST(setrlimit(RLIMIT_FSIZE, &none));
	SHOW(submitted);
	completions(ring);
	SHOW(caught);
}

SECTION("what a broken pipe and a limit of the file size do")
{
	struct uring ring = uring_new(4);
	int ends[2], fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	signal(SIGPIPE, count);
	signal(SIGXFSZ, count);
	MUST(pipe(ends));
	close(ends[0]);
	entry(&ring, IORING_OP_WRITE, ends[1], "x", 1, -1, 1);
	run(&ring, 1);
	SHOW(caught);
	entry(&ring, IORING_OP_WRITE, fd, "0123456789", 10, 5, 2);
	limited(&ring);
	entry(&ring, IORING_OP_WRITE, fd, "0123456789", 10, 10, 3);
	limited(&ring);
	entry(&ring, IORING_OP_FALLOCATE, fd, (void *)1000, 0, 0, 4);
	limited(&ring);
}

SECTION("an eventfd: reads wait")
{
	struct uring ring = uring_new(8);
	int fd = MUST(eventfd(0, 0));
	uint64_t value = 0;

	entry(&ring, IORING_OP_READ, fd, &value, 8, 0, 1);
	RET(submit(&ring, 0));
	MUST(eventfd_write(fd, 7));
	await(&ring, 1);
	SHOW(value);
}

SECTION("chains: in order, and cancelled by a failure")
{
	struct uring ring = uring_new(16);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	char text[8] = "";

	entry(&ring, IORING_OP_WRITE, fd, "abc", 3, 0, 1)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_READ, fd, text, 3, 0, 2)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 3);
	run(&ring, 3);
	TEXT(text);
	/* A failure in the middle. */
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 4)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_READ, 99, text, 3, 0, 5)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 6)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 7);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 8);
	run(&ring, 5);
	/* A short read is a failure. */
	entry(&ring, IORING_OP_READ, fd, text, 8, 0, 9)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 10);
	run(&ring, 2);
	/* Hard links go on. */
	entry(&ring, IORING_OP_READ, fd, text, 8, 0, 11)->flags = IOSQE_IO_HARDLINK;
	entry(&ring, IORING_OP_READ, 99, text, 8, 0, 12)->flags = IOSQE_IO_HARDLINK;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 13);
	run(&ring, 3);
	/* An entry that is refused fails the whole chain. */
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 14)->flags = IOSQE_IO_LINK;
	entry(&ring, 200, 0, NULL, 0, 0, 15)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 16);
	run(&ring, 3);
	/* A chain ends with its submission. */
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 17)->flags = IOSQE_IO_LINK;
	run(&ring, 1);
	/* One that waits holds up the rest. */
	int ends[2];
	MUST(pipe(ends));
	entry(&ring, IORING_OP_READ, ends[0], text, 1, 0, 18)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_WRITE, fd, "later", 5, 0, 19);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 20);
	run(&ring, 1);
	MUST(write(ends[1], "x", 1));
	await(&ring, 2);
}

SECTION("IOSQE_CQE_SKIP_SUCCESS")
{
	struct uring ring = uring_new(16);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1)->flags = IOSQE_CQE_SKIP_SUCCESS;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 2);
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, 99, NULL, 3, 0, 3)->flags = IOSQE_CQE_SKIP_SUCCESS;
	run(&ring, 1);
	entry(&ring, IORING_OP_WRITE, fd, "abc", 3, 0, 4)->flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 5);
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, 99, NULL, 3, 0, 6)->flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 7)->flags = IOSQE_CQE_SKIP_SUCCESS;
	run(&ring, 1);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 8)->flags = IOSQE_IO_DRAIN;
	run(&ring, 1);
}

SECTION("IOSQE_IO_DRAIN waits for all before it")
{
	struct uring ring = uring_new(16);
	int ends[2];
	char one;

	MUST(pipe(ends));
	entry(&ring, IORING_OP_READ, ends[0], &one, 1, 0, 1);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 2)->flags = IOSQE_IO_DRAIN;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 3);
	RET(submit(&ring, 0));
	completions(&ring);
	MUST(write(ends[1], "x", 1));
	await(&ring, 3);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 4)->flags = IOSQE_IO_DRAIN;
	run(&ring, 1);
}

SECTION("poll")
{
	struct uring ring = uring_new(16);
	int ends[2];
	char one;

	MUST(pipe(ends));
	entry(&ring, IORING_OP_POLL_ADD, ends[1], NULL, 0, 0, 1)->poll32_events = POLLOUT;
	run(&ring, 1);
	entry(&ring, IORING_OP_POLL_ADD, ends[0], NULL, 0, 0, 2)->poll32_events = POLLIN;
	RET(submit(&ring, 0));
	completions(&ring);
	MUST(write(ends[1], "x", 1));
	await(&ring, 1);
	MUST(read(ends[0], &one, 1));
	/* Taken back, changed. */
	entry(&ring, IORING_OP_POLL_ADD, ends[0], NULL, 0, 0, 3)->poll32_events = POLLIN;
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_POLL_REMOVE, -1, (void *)99, 0, 0, 4);
	run(&ring, 1);
	entry(&ring, IORING_OP_POLL_REMOVE, -1, (void *)3, 0, 0, 5);
	run(&ring, 2);
	entry(&ring, IORING_OP_POLL_ADD, ends[0], NULL, 0, 0, 6)->poll32_events = POLLIN;
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_POLL_REMOVE, -1, (void *)6, IORING_POLL_UPDATE_USER_DATA, 8, 7);
	run(&ring, 1);
	MUST(write(ends[1], "x", 1));
	await(&ring, 1);
	MUST(read(ends[0], &one, 1));
	/* Again and again. */
	entry(&ring, IORING_OP_POLL_ADD, ends[0], NULL, IORING_POLL_ADD_MULTI, 0, 9)->poll32_events = POLLIN;
	RET(submit(&ring, 0));
	MUST(write(ends[1], "x", 1));
	await(&ring, 1);
	MUST(read(ends[0], &one, 1));
	MUST(write(ends[1], "x", 1));
	await(&ring, 1);
	MUST(read(ends[0], &one, 1));
	close(ends[1]);
	await(&ring, 1);
	entry(&ring, IORING_OP_POLL_ADD, ends[0], NULL, 64, 0, 10)->poll32_events = POLLIN;
	run(&ring, 1);
	entry(&ring, IORING_OP_POLL_ADD, ends[0], NULL, 0, 7, 11)->poll32_events = POLLIN;
	run(&ring, 1);
	/* What is always ready. */
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	entry(&ring, IORING_OP_POLL_ADD, fd, NULL, 0, 0, 12)->poll32_events = POLLIN;
	run(&ring, 1);
}

SECTION("timeouts")
{
	struct uring ring = uring_new(16);
	struct __kernel_timespec soon = { 0, 10000000 }, late = { 100, 0 }, bad = { 0, -1 };

	entry(&ring, IORING_OP_TIMEOUT, -1, &soon, 1, 0, 1);
	run(&ring, 1);
	/* Over when one more is complete. */
	entry(&ring, IORING_OP_TIMEOUT, -1, &late, 1, 1, 2);
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 3);
	run(&ring, 2);
	entry(&ring, IORING_OP_TIMEOUT, -1, &late, 1, 0, 4);
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_TIMEOUT_REMOVE, -1, (void *)4, 0, 0, 5);
	run(&ring, 2);
	entry(&ring, IORING_OP_TIMEOUT_REMOVE, -1, (void *)4, 0, 0, 6);
	run(&ring, 1);
	/* Made earlier. */
	entry(&ring, IORING_OP_TIMEOUT, -1, &late, 1, 0, 7);
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_TIMEOUT_REMOVE, -1, (void *)7, 0, (uintptr_t)&soon, 8)->timeout_flags =
		IORING_TIMEOUT_UPDATE;
	RET(submit(&ring, 2));
	completions(&ring);
	entry(&ring, IORING_OP_TIMEOUT, -1, &bad, 1, 0, 9);
	run(&ring, 1);
	entry(&ring, IORING_OP_TIMEOUT, -1, &soon, 2, 0, 10);
	run(&ring, 1);
	entry(&ring, IORING_OP_TIMEOUT, -1, NULL, 1, 0, 11);
	run(&ring, 1);
	entry(&ring, IORING_OP_TIMEOUT, -1, &soon, 1, 0, 12)->timeout_flags = 1 << 20;
	run(&ring, 1);
	/* A point in time, and one that is no failure. */
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	struct __kernel_timespec at = { now.tv_sec, now.tv_nsec };
	entry(&ring, IORING_OP_TIMEOUT, -1, &at, 1, 0, 13)->timeout_flags = IORING_TIMEOUT_ABS | IORING_TIMEOUT_REALTIME;
	run(&ring, 1);
	struct io_uring_sqe *first = entry(&ring, IORING_OP_TIMEOUT, -1, &soon, 1, 0, 14);
	first->flags = IOSQE_IO_LINK;
	first->timeout_flags = IORING_TIMEOUT_ETIME_SUCCESS;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 15);
	run(&ring, 2);
	entry(&ring, IORING_OP_TIMEOUT, -1, &soon, 1, 0, 16)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 17);
	run(&ring, 2);
	entry(&ring, IORING_OP_TIMEOUT, -1, &soon, 1, 3, 18)->timeout_flags = 1 << 6 /* MULTISHOT */;
	RET(submit(&ring, 0));
	/* Each one that runs out ends a wait. */
	while (ready(&ring) < 3)
		uring_enter(ring.fd, 0, 3, IORING_ENTER_GETEVENTS, NULL, 0);
	completions(&ring);
}

SECTION("linked timeouts")
{
	struct uring ring = uring_new(16);
	struct __kernel_timespec soon = { 0, 10000000 }, late = { 100, 0 };
	int ends[2];
	char one;

	MUST(pipe(ends));
	entry(&ring, IORING_OP_READ, ends[0], &one, 1, 0, 1)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_LINK_TIMEOUT, -1, &soon, 1, 0, 2);
	run(&ring, 2);
	entry(&ring, IORING_OP_READ, ends[0], &one, 1, 0, 3)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_LINK_TIMEOUT, -1, &late, 1, 0, 4);
	RET(submit(&ring, 0));
	MUST(write(ends[1], "x", 1));
	await(&ring, 2);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 5)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_LINK_TIMEOUT, -1, &late, 1, 0, 6)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 7);
	run(&ring, 3);
	entry(&ring, IORING_OP_LINK_TIMEOUT, -1, &late, 1, 0, 8);
	run(&ring, 1);
	/* The rest of the chain is cancelled with what ran out of time, or goes on with what did not. */
	for (int i = 0; i < 2; i++) {
		entry(&ring, IORING_OP_READ, ends[0], &one, 1, 0, 9)->flags = IOSQE_IO_LINK;
		entry(&ring, IORING_OP_LINK_TIMEOUT, -1, i == 0 ? &soon : &late, 1, 0, 10)->flags = IOSQE_IO_LINK;
		entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 11);
		RET(submit(&ring, 0));
		if (i == 1)
			MUST(write(ends[1], "x", 1));
		await(&ring, 3);
	}
}

SECTION("cancelling")
{
	struct uring ring = uring_new(16);
	int ends[2], others[2];
	char text[4];

	MUST(pipe(ends));
	MUST(pipe(others));
	entry(&ring, IORING_OP_READ, ends[0], text, 1, 0, 1);
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_ASYNC_CANCEL, -1, (void *)99, 0, 0, 2);
	run(&ring, 1);
	entry(&ring, IORING_OP_ASYNC_CANCEL, -1, (void *)1, 0, 0, 3);
	run(&ring, 2);
	/* By descriptor, all of them. */
	entry(&ring, IORING_OP_READ, ends[0], text, 1, 0, 4);
	entry(&ring, IORING_OP_READ, ends[0], text, 1, 0, 5);
	entry(&ring, IORING_OP_READ, others[0], text, 1, 0, 6);
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_ASYNC_CANCEL, ends[0], NULL, 0, 0, 7)->cancel_flags =
		IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
	run(&ring, 3);
	entry(&ring, IORING_OP_ASYNC_CANCEL, -1, NULL, 0, 0, 8)->cancel_flags = IORING_ASYNC_CANCEL_ANY;
	run(&ring, 2);
	entry(&ring, IORING_OP_ASYNC_CANCEL, -1, NULL, 0, 0, 9)->cancel_flags = IORING_ASYNC_CANCEL_ANY;
	run(&ring, 1);
	entry(&ring, IORING_OP_ASYNC_CANCEL, 99, NULL, 0, 0, 10)->cancel_flags = IORING_ASYNC_CANCEL_FD;
	run(&ring, 1);
	entry(&ring, IORING_OP_ASYNC_CANCEL, -1, NULL, 0, 0, 11)->cancel_flags = 1 << 20;
	run(&ring, 1);
	/* Its chain goes with it. */
	entry(&ring, IORING_OP_READ, ends[0], text, 1, 0, 12)->flags = IOSQE_IO_LINK;
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 13);
	RET(submit(&ring, 0));
	struct io_uring_sync_cancel_reg key = { .addr = 12, .timeout = { -1, -1 } };
	ERR(uring_register(ring.fd, IORING_REGISTER_SYNC_CANCEL, &key, 1));
	await(&ring, 2);
	ERR(uring_register(ring.fd, IORING_REGISTER_SYNC_CANCEL, &key, 1));
}

SECTION("completions that find no room wait")
{
	struct uring ring = uring_new(4);

	for (int i = 0; i < 12; i++) {
		entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, i);
		if (i % 4 == 3)
			RET(submit(&ring, 0));
	}
	SHOW(ready(&ring));
	SHOW((*ring.sq_flags & IORING_SQ_CQ_OVERFLOW) != 0);
	SHOW(*ring.cq_overflow);
	completions(&ring);
	RET(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
	SHOW((*ring.sq_flags & IORING_SQ_CQ_OVERFLOW) != 0);
}

static void nothing(int signo)
{
	(void)signo;
}

SECTION("io_uring_enter: waits end by time, by signal, with a mask")
{
	struct uring ring = uring_new(4);
	struct __kernel_timespec soon = { 0, 10000000 }, zero = { 0, 0 };
	struct io_uring_getevents_arg argument = { .ts = (uintptr_t)&soon };
	struct sigaction action = { .sa_handler = nothing, .sa_flags = SA_RESTART };
	struct itimerval timer = { { 0, 20000 }, { 0, 20000 } }, off = { { 0, 0 }, { 0, 0 } };
	sigset_t empty, alarm;
	unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;

	ERR(uring_enter(ring.fd, 0, 1, flags, &argument, sizeof argument));
	argument.ts = (uintptr_t)&zero;
	ERR(uring_enter(ring.fd, 0, 1, flags, &argument, sizeof argument));
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	RET(submit(&ring, 0));
	RET(uring_enter(ring.fd, 0, 2, flags, &argument, sizeof argument));
	completions(&ring);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	ERR(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	setitimer(ITIMER_REAL, &off, NULL);
	sigemptyset(&empty);
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm, NULL);
	raise(SIGALRM);
	ERR(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, &empty, 8));
	sigprocmask(SIG_BLOCK, NULL, &empty);
	SHOW(sigismember(&empty, SIGALRM));
}

SECTION("an io_uring can be polled")
{
	struct uring ring = uring_new(4);
	struct pollfd one = { ring.fd, POLLIN | POLLOUT, 0 };
	int fd = MUST(epoll_create1(0));
	struct epoll_event event = { .events = EPOLLIN };

	RET(poll(&one, 1, 0));
	HEX(one.revents);
	ERR(epoll_ctl(fd, EPOLL_CTL_ADD, ring.fd, &event));
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	RET(submit(&ring, 0));
	RET(poll(&one, 1, 0));
	HEX(one.revents);
	RET(epoll_wait(fd, &event, 1, 0));
	completions(&ring);
	RET(epoll_wait(fd, &event, 1, 0));
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_EPOLL_CTL, fd, &event, EPOLL_CTL_ADD, STDIN_FILENO, 2);
	(void)sqe;
	run(&ring, 1);
}

SECTION("fixed files")
{
	struct uring ring = uring_new(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), fds[4] = { fd, -1, STDIN_FILENO, -1 };
	char text[8] = "";

	ERR(uring_register(ring.fd, IORING_UNREGISTER_FILES, NULL, 0));
	ERR(uring_register(ring.fd, IORING_REGISTER_FILES, NULL, 4));
	ERR(uring_register(ring.fd, IORING_REGISTER_FILES, fds, 0));
	fds[2] = 99;
	ERR(uring_register(ring.fd, IORING_REGISTER_FILES, fds, 4));
	fds[2] = ring.fd;
	ERR(uring_register(ring.fd, IORING_REGISTER_FILES, fds, 4));
	fds[2] = STDIN_FILENO;
	ERR(uring_register(ring.fd, IORING_REGISTER_FILES, fds, 4));
	ERR(uring_register(ring.fd, IORING_REGISTER_FILES, fds, 4));
	close(fd);
	entry(&ring, IORING_OP_WRITE, 0, "fixed", 5, 0, 1)->flags = IOSQE_FIXED_FILE;
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, 1, text, 5, 0, 2)->flags = IOSQE_FIXED_FILE;
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, 9, text, 5, 0, 3)->flags = IOSQE_FIXED_FILE;
	run(&ring, 1);
	/* Opened into a place, and one of the kernel's choice. */
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_OPENAT, AT_FDCWD, "f", 0, 0, 4);
	sqe->open_flags = O_RDONLY;
	sqe->file_index = 2;
	run(&ring, 1);
	entry(&ring, IORING_OP_READ, 1, text, 5, 0, 5)->flags = IOSQE_FIXED_FILE;
	run(&ring, 1);
	TEXT(text);
	sqe = entry(&ring, IORING_OP_OPENAT, AT_FDCWD, "f", 0, 0, 6);
	sqe->open_flags = O_RDONLY;
	sqe->file_index = IORING_FILE_INDEX_ALLOC;
	run(&ring, 1);
	sqe = entry(&ring, IORING_OP_OPENAT, AT_FDCWD, "f", 0, 0, 7);
	sqe->open_flags = O_RDONLY;
	sqe->file_index = IORING_FILE_INDEX_ALLOC;
	run(&ring, 1);
	sqe = entry(&ring, IORING_OP_OPENAT, AT_FDCWD, "f", 0, 0, 8);
	sqe->open_flags = O_RDONLY | O_CLOEXEC;
	sqe->file_index = 1;
	run(&ring, 1);
	sqe = entry(&ring, IORING_OP_OPENAT, AT_FDCWD, "f", 0, 0, 9);
	sqe->file_index = 50;
	run(&ring, 1);
	entry(&ring, IORING_OP_CLOSE, 0, NULL, 0, 0, 10)->file_index = 2;
	run(&ring, 1);
	entry(&ring, IORING_OP_CLOSE, 0, NULL, 0, 0, 11)->file_index = 2;
	run(&ring, 1);
	entry(&ring, 54 /* FIXED_FD_INSTALL */, 0, NULL, 0, 0, 12)->flags = IOSQE_FIXED_FILE;
	RET(submit(&ring, 1));
	struct io_uring_cqe cqe;
	take(&ring, &cqe);
	SHOW(pread(cqe.res, text, 5, 0));
	SHOW(fcntl(cqe.res, F_GETFD));
	int update[2] = { cqe.res, -1 };
	struct io_uring_files_update list = { .offset = 1, .fds = (uintptr_t)update };
	RET(uring_register(ring.fd, IORING_REGISTER_FILES_UPDATE, &list, 2));
	list.offset = 3;
	RET(uring_register(ring.fd, IORING_REGISTER_FILES_UPDATE, &list, 2));
	update[1] = 98;
	entry(&ring, IORING_OP_FILES_UPDATE, -1, update, 2, 0, 13);
	run(&ring, 1);
	ERR(uring_register(ring.fd, IORING_UNREGISTER_FILES, NULL, 0));
}

SECTION("tags tell when a resource is free")
{
	struct uring ring = uring_new(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), fds[2] = { fd, fd };
	uint64_t tags[2] = { 50, 51 };
	struct io_uring_rsrc_register files = { .nr = 2, .data = (uintptr_t)fds, .tags = (uintptr_t)tags };
	struct io_uring_rsrc_register sparse = { .nr = 4, .flags = IORING_RSRC_REGISTER_SPARSE };

	ERR(uring_register(ring.fd, IORING_REGISTER_FILES2, &files, 8));
	ERR(uring_register(ring.fd, IORING_REGISTER_FILES2, &files, sizeof files));
	struct io_uring_rsrc_update2 update = { .offset = 0, .data = (uintptr_t)fds, .tags = (uintptr_t)&tags[1], .nr = 1 };
	RET(uring_register(ring.fd, IORING_REGISTER_FILES_UPDATE2, &update, sizeof update));
	await(&ring, 1);
	ERR(uring_register(ring.fd, IORING_UNREGISTER_FILES, NULL, 0));
	await(&ring, 2);
	ERR(uring_register(ring.fd, IORING_REGISTER_FILES2, &sparse, sizeof sparse));
	ERR(uring_register(ring.fd, IORING_UNREGISTER_FILES, NULL, 0));
	ERR(uring_register(ring.fd, IORING_REGISTER_BUFFERS2, &sparse, sizeof sparse));
	ERR(uring_register(ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0));
}

SECTION("fixed buffers")
{
	struct uring ring = uring_new(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	static char own[4096] = "in the program's data";
	char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec data = { own, sizeof own };
	struct iovec list[2] = { { memory, 4096 }, { memory + 4096, 100 } }, bad = { (void *)8, 100 }, none = { NULL, 8 };

	ERR(uring_register(ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0));
	ERR(uring_register(ring.fd, IORING_REGISTER_BUFFERS, &bad, 1));
	ERR(uring_register(ring.fd, IORING_REGISTER_BUFFERS, &none, 1));
	ERR(uring_register(ring.fd, IORING_REGISTER_BUFFERS, list, 0));
	ERR(uring_register(ring.fd, IORING_REGISTER_BUFFERS, &data, 1));
	ERR(uring_register(ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0));
	ERR(uring_register(ring.fd, IORING_REGISTER_BUFFERS, list, 2));
	ERR(uring_register(ring.fd, IORING_REGISTER_BUFFERS, list, 2));
	strcpy(memory, "in a fixed buffer");
	entry(&ring, IORING_OP_WRITE_FIXED, fd, memory + 5, 12, 0, 1)->buf_index = 0;
	run(&ring, 1);
	entry(&ring, IORING_OP_READ_FIXED, fd, memory + 4096, 12, 0, 2)->buf_index = 1;
	run(&ring, 1);
	TEXT(memory + 4096);
	entry(&ring, IORING_OP_READ_FIXED, fd, memory + 4096, 101, 0, 3)->buf_index = 1;
	run(&ring, 1);
	entry(&ring, IORING_OP_READ_FIXED, fd, memory + 4096, 10, 0, 4)->buf_index = 5;
	run(&ring, 1);
	ERR(uring_register(ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0));
}

SECTION("an eventfd is told of completions")
{
	struct uring ring = uring_new(8);
	int fd = MUST(eventfd(0, EFD_NONBLOCK)), wrong = STDIN_FILENO;
	uint64_t count;

	ERR(uring_register(ring.fd, IORING_UNREGISTER_EVENTFD, NULL, 0));
	ERR(uring_register(ring.fd, IORING_REGISTER_EVENTFD, &wrong, 1));
	ERR(uring_register(ring.fd, IORING_REGISTER_EVENTFD, &fd, 2));
	ERR(uring_register(ring.fd, IORING_REGISTER_EVENTFD, &fd, 1));
	ERR(uring_register(ring.fd, IORING_REGISTER_EVENTFD, &fd, 1));
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	run(&ring, 1);
	SHOW(read(fd, &count, 8) == 8 && count > 0);
	ERR(uring_register(ring.fd, IORING_UNREGISTER_EVENTFD, NULL, 0));
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 2);
	run(&ring, 1);
	ERR(read(fd, &count, 8));
}

SECTION("probe: what there is")
{
	struct uring ring = uring_new(4);
	struct {
		struct io_uring_probe head;
		struct io_uring_probe_op ops[64];
	} probe = { 0 };

	ERR(uring_register(ring.fd, IORING_REGISTER_PROBE, NULL, 64));
	ERR(uring_register(ring.fd, IORING_REGISTER_PROBE, &probe, 300));
	ERR(uring_register(ring.fd, IORING_REGISTER_PROBE, &probe, 48));
	SHOW(probe.head.ops_len);
	SHOW(probe.ops[IORING_OP_READ].flags);
	SHOW(probe.ops[IORING_OP_ACCEPT].op == IORING_OP_ACCEPT);
	ERR(uring_register(ring.fd, IORING_REGISTER_PROBE, &probe, 48));
	ERR(uring_register(ring.fd, 200, NULL, 0));
	ERR(uring_register(99, IORING_REGISTER_PROBE, &probe, 48));
	ERR(uring_register(STDIN_FILENO, IORING_REGISTER_PROBE, &probe, 48));
}

SECTION("disabled rings and restrictions")
{
	struct uring ring = uring_with(8, IORING_SETUP_R_DISABLED);
	struct io_uring_restriction list[3] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_NOP },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_ENABLE_RINGS },
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_IO_LINK },
	};
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	ERR(submit(&ring, 0));
	ERR(uring_register(ring.fd, IORING_REGISTER_RESTRICTIONS, list, 3));
	ERR(uring_register(ring.fd, IORING_REGISTER_RESTRICTIONS, list, 3));
	ERR(uring_register(ring.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	ERR(uring_register(ring.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	ERR(uring_register(ring.fd, IORING_REGISTER_FILES, &fd, 1));
	RET(uring_enter(ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
	entry(&ring, IORING_OP_FSYNC, fd, NULL, 0, 0, 2);
	run(&ring, 1);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 3)->flags = IOSQE_ASYNC;
	run(&ring, 1);
	struct uring other = uring_new(4);
	ERR(uring_register(other.fd, IORING_REGISTER_RESTRICTIONS, list, 3));
}

SECTION("registered rings and personalities")
{
	struct uring ring = uring_new(8);
	struct io_uring_rsrc_update list = { .offset = -1U, .data = ring.fd };

	RET(uring_register(ring.fd, IORING_REGISTER_RING_FDS, &list, 1));
	SHOW(list.offset);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	__atomic_store_n(ring.sq_tail, *ring.sq_tail + 1, __ATOMIC_RELEASE);
	ring.filled = 0;
	RET(uring_enter(0, 1, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING, NULL, 0));
	completions(&ring);
	RET(uring_register(ring.fd, IORING_REGISTER_RING_FDS, &list, 1));
	list.data = STDIN_FILENO;
	list.offset = 3;
	ERR(uring_register(ring.fd, IORING_REGISTER_RING_FDS, &list, 1));
	list.offset = 0;
	RET(uring_register(ring.fd, IORING_UNREGISTER_RING_FDS, &list, 1));
	ERR(uring_enter(0, 0, 0, IORING_ENTER_REGISTERED_RING, NULL, 0));
	int id = uring_register(ring.fd, IORING_REGISTER_PERSONALITY, NULL, 0);
	SHOW(id > 0);
	write_file("secret", "x");
	chmod("secret", 0600);
	chmod(".", 0755);
	MUST(setresuid(1000, 1000, 0));
	entry(&ring, IORING_OP_OPENAT, AT_FDCWD, "secret", 0, 0, 2)->open_flags = O_RDONLY;
	run(&ring, 1);
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_OPENAT, AT_FDCWD, "secret", 0, 0, 3);
	sqe->open_flags = O_RDONLY;
	sqe->personality = id;
	RET(submit(&ring, 1));
	struct io_uring_cqe cqe;
	take(&ring, &cqe);
	SHOW(cqe.res > 0);
	ERR(uring_register(ring.fd, IORING_UNREGISTER_PERSONALITY, NULL, id));
	ERR(uring_register(ring.fd, IORING_UNREGISTER_PERSONALITY, NULL, id));
}

SECTION("splice and tee")
{
	struct uring ring = uring_new(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), a[2], b[2];
	char text[16] = "";

	MUST(write(fd, "0123456789", 10));
	MUST(pipe(a));
	MUST(pipe(b));
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_SPLICE, a[1], (void *)4, 6, -1, 1);
	sqe->splice_fd_in = fd;
	run(&ring, 1);
	sqe = entry(&ring, IORING_OP_TEE, b[1], NULL, 6, 0, 2);
	sqe->splice_fd_in = a[0];
	run(&ring, 1);
	RET(read(b[0], text, 16));
	TEXT(text);
	sqe = entry(&ring, IORING_OP_SPLICE, fd, (void *)-1, 6, 20, 3);
	sqe->splice_fd_in = a[0];
	run(&ring, 1);
	SHOW(lseek(fd, 0, SEEK_END));
	sqe = entry(&ring, IORING_OP_SPLICE, a[1], (void *)4, 6, 5, 4);
	sqe->splice_fd_in = fd;
	run(&ring, 1);
	sqe = entry(&ring, IORING_OP_SPLICE, fd, (void *)-1, 6, 20, 5);
	sqe->splice_fd_in = 99;
	run(&ring, 1);
}

SECTION("messages to another ring")
{
	struct uring ring = uring_new(8), other = uring_new(8);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), none = -1;

	entry(&ring, IORING_OP_MSG_RING, other.fd, NULL, 77, 5, 1);
	run(&ring, 1);
	completions(&other);
	entry(&ring, IORING_OP_MSG_RING, STDIN_FILENO, NULL, 77, 5, 2);
	run(&ring, 1);
	MUST(uring_register(ring.fd, IORING_REGISTER_FILES, &fd, 1));
	MUST(uring_register(other.fd, IORING_REGISTER_FILES, &none, 1));
	struct io_uring_sqe *sqe = entry(&ring, IORING_OP_MSG_RING, other.fd, (void *)1, 0, 6, 3);
	sqe->addr3 = 0;
	sqe->file_index = 1;
	run(&ring, 1);
	completions(&other);
	entry(&other, IORING_OP_WRITE, 0, "abc", 3, 0, 4)->flags = IOSQE_FIXED_FILE;
	run(&other, 1);
}

SECTION("a child: wait for it, and a ring that it inherits")
{
	struct uring ring = uring_new(8);
	siginfo_t info = { 0 };
	int ends[2];

	MUST(pipe(ends));
	pid_t child = fork();
	if (child == 0) {
		char one;
		entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
		submit(&ring, 1);
		read(ends[0], &one, 1);
		_exit(7);
	}
	RET(uring_enter(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
	struct io_uring_sqe *sqe = entry(&ring, 50 /* WAITID */, child, NULL, P_PID, (uintptr_t)&info, 2);
	sqe->file_index = WEXITED;
	RET(submit(&ring, 0));
	completions(&ring);
	MUST(write(ends[1], "x", 1));
	await(&ring, 1);
	SHOW(info.si_status);
	SHOW(info.si_pid == child);
}

SECTION("the end of a thread cancels what it has submitted")
{
	struct uring ring = uring_new(8);
	int ends[2];
	char one;

	MUST(pipe(ends));
	if (fork() == 0) {
		entry(&ring, IORING_OP_READ, ends[0], &one, 1, 0, 1);
		submit(&ring, 0);
		_exit(0);
	}
	STATUS(end_of(-1));
	MUST(write(ends[1], "x", 1));
	await(&ring, 1);
}

SECTION("nonsense in the rings harms nobody else")
{
	unsigned seed = 12345;

	if (fork() == 0) {
		struct uring ring = uring_new(8);
		unsigned char *rings = (unsigned char *)ring.sq_head, *entries = (unsigned char *)ring.sqes;

		for (int round = 0; round < 300; round++) {
			for (int i = 0; i < 512; i++) {
				seed = seed * 1103515245 + 12345;
				rings[i] = seed >> 16;
				entries[i] = seed >> 24;
			}
			/* Nothing that ends the process, and nothing that waits for ever. */
			for (int i = 0; i < 8; i++)
				ring.sqes[i].fd = -1;
			uring_enter(ring.fd, 8, 0, IORING_ENTER_GETEVENTS, NULL, 0);
		}
		_exit(0);
	}
	STATUS(end_of(-1));
	struct uring other = uring_new(8);
	entry(&other, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	run(&other, 1);
}

SECTION("an exec ends what was submitted")
{
	struct uring ring = uring_new(8);
	int ends[2];
	char one;

	MUST(pipe2(ends, O_CLOEXEC));
	MUST(fcntl(ring.fd, F_SETFD, FD_CLOEXEC));
	pid_t pid = fork();
	if (pid == 0) {
		entry(&ring, IORING_OP_READ, ends[0], &one, 1, 0, 1);
		submit(&ring, 0);
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	STATUS(end_of(pid));
	await(&ring, 1);
}

SECTION("an exec ends what waits behind a timeout, and what waits for its turn")
{
	struct uring ring = uring_new(8);
	int control[2], data[2], blocked[2];
	struct __kernel_timespec soon = { 0, 100000000 };
	char path[32], text[8] = "";

	MUST(pipe2(data, O_NONBLOCK));
	MUST(pipe(blocked));
	MUST(pipe(control));
	/* It stays open over the exec, and the program that is executed waits until the other end is closed. */
	snprintf(path, sizeof path, "%d", control[0]);
	pid_t pid = fork();
	if (pid == 0) {
		char one;

		close(control[1]);
		struct io_uring_sqe *sqe = entry(&ring, IORING_OP_TIMEOUT, -1, &soon, 1, 0, 1);
		sqe->flags = IOSQE_IO_LINK;
		sqe->timeout_flags = IORING_TIMEOUT_ETIME_SUCCESS;
		entry(&ring, IORING_OP_WRITE, data[1], "a", 1, 0, 2);
		entry(&ring, IORING_OP_READ, blocked[0], &one, 1, 0, 3);
		entry(&ring, IORING_OP_WRITE, data[1], "b", 1, 0, 4)->flags = IOSQE_IO_DRAIN;
		submit(&ring, 0);
		execl("/proc/self/exe", "uring", "@child", "wait", path, NULL);
		_exit(1);
	}
	/* A timeout ends a wait before its time. */
	while (ready(&ring) < 4)
		MUST(uring_enter(ring.fd, 0, 4, IORING_ENTER_GETEVENTS, NULL, 0));
	completions(&ring);
	ERR(read(data[0], text, sizeof text));
	close(control[1]);
	STATUS(end_of(pid));
}

SECTION("the end of a process ends rings that wait for rings")
{
	struct uring ring = uring_new(8);
	int ends[2];
	char one;

	MUST(pipe(ends));
	pid_t pid = fork();
	if (pid == 0) {
		struct uring own = uring_new(8), other = uring_new(8);

		close(ends[0]);
		entry(&own, IORING_OP_POLL_ADD, own.fd, NULL, 0, 0, 1)->poll32_events = POLLIN;
		entry(&own, IORING_OP_POLL_ADD, other.fd, NULL, 0, 0, 2)->poll32_events = POLLIN;
		entry(&own, IORING_OP_POLL_ADD, ends[1], NULL, 0, 0, 3)->poll32_events = POLLIN;
		submit(&own, 0);
		entry(&other, IORING_OP_POLL_ADD, own.fd, NULL, 0, 0, 1)->poll32_events = POLLIN;
		submit(&other, 0);
		_exit(0);
	}
	close(ends[1]);
	/* The request on the pipe holds it open until its ring has gone. */
	struct pollfd end = { ends[0], POLLIN, 0 };
	SHOW(poll(&end, 1, 10000));
	RET(read(ends[0], &one, 1));
	STATUS(end_of(pid));
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	run(&ring, 1);
}

SECTION("a file that goes into the table leaves the locks on it alone")
{
	struct uring ring = uring_new(4);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), none = -1;

	MUST(fcntl(fd, F_SETLK, &lock));
	MUST(uring_register(ring.fd, IORING_REGISTER_FILES, &none, 1));
	entry(&ring, IORING_OP_OPENAT, AT_FDCWD, "f", 0, 0, 1)->file_index = 1;
	run(&ring, 1);
	pid_t pid = fork();
	if (pid == 0) {
		MUST(fcntl(fd, F_GETLK, &lock));
		_exit(lock.l_type == F_WRLCK);
	}
	STATUS(end_of(pid));
}

SECTION("where a file is put: places that are none")
{
	struct uring ring = uring_new(4), other = uring_new(4);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644)), none = -1;
	const unsigned places[] = { 0, 2, 1 };

	MUST(uring_register(ring.fd, IORING_REGISTER_FILES, &fd, 1));
	for (unsigned i = 0; i < LENGTH(places); i++) {
		struct io_uring_sqe *sqe = entry(&ring, IORING_OP_MSG_RING, other.fd, (void *)1, 0, 6, 1);
		sqe->file_index = places[i];
		run(&ring, 1);
		if (i == 0)
			MUST(uring_register(other.fd, IORING_REGISTER_FILES, &none, 1));
	}
}

SECTION("timeouts that count, many of them and with the same count")
{
	struct uring ring = uring_new(8);
	struct __kernel_timespec never = { 1000, 0 };

	for (int i = 0; i < 3; i++)
		entry(&ring, IORING_OP_TIMEOUT, -1, &never, 1, i == 2 ? 3 : 2, i + 1);
	RET(submit(&ring, 0));
	entry(&ring, IORING_OP_TIMEOUT_REMOVE, -1, (void *)2, 0, 0, 10);
	/* The completion of one that is taken back counts, of one that has counted enough not. */
	run(&ring, 3);
	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 11);
	run(&ring, 2);
}

SECTION("IORING_SETUP_SQPOLL, as the flags say")
{
	struct uring ring = uring_with(8, IORING_SETUP_SQPOLL);

	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	ring.filled = 0;
	__atomic_store_n(ring.sq_tail, *ring.sq_tail + 1, __ATOMIC_SEQ_CST);
	unsigned flags = IORING_ENTER_GETEVENTS;
	if (__atomic_load_n(ring.sq_flags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP)
		flags |= IORING_ENTER_SQ_WAKEUP;
	RET(uring_enter(ring.fd, 1, 1, flags, NULL, 0));
	completions(&ring);
}

SECTION("IORING_SETUP_DEFER_TASKRUN and SINGLE_ISSUER")
{
	struct uring ring = uring_with(8, IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER);

	entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 1);
	run(&ring, 1);
	if (fork() == 0) {
		entry(&ring, IORING_OP_NOP, 0, NULL, 0, 0, 2);
		ERR(submit(&ring, 1));
		_exit(0);
	}
	STATUS(end_of(-1));
}

SECTION("IORING_SETUP_SQE128 and CQE32, and no array")
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32 };

	needs_uring();
	int fd = MUST(uring_setup(4, &params));
	size_t size = params.cq_off.cqes + params.cq_entries * 32;
	char *rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	char *sqes = mmap(NULL, 4 * 128, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);

	SHOW(rings != MAP_FAILED && sqes != MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		struct io_uring_sqe *sqe = (void *)(sqes + i * 128);
		sqe->opcode = IORING_OP_NOP;
		sqe->user_data = i + 1;
		((unsigned *)(rings + params.sq_off.array))[i] = i;
	}
	*(unsigned *)(rings + params.sq_off.tail) = 2;
	RET(uring_enter(fd, 2, 2, IORING_ENTER_GETEVENTS, NULL, 0));
	for (int i = 0; i < 2; i++)
		SHOW(((struct io_uring_cqe *)(rings + params.cq_off.cqes + i * 32))->user_data);
}

SECTION("IORING_REGISTER_CLOCK: by which clock an absolute time is meant")
{
	struct uring ring = uring_new(4);
	/* struct io_uring_clock_register. */
	struct {
		unsigned clock, reserved[3];
	} choice = { CLOCK_BOOTTIME, { 0, 0, 0 } };
	enum { REGISTER_CLOCK = 29, ABS_TIMER = 1 << 5 };
	struct __kernel_timespec until;
	struct io_uring_getevents_arg argument = { .ts = (uintptr_t)&until };
	unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | ABS_TIMER;
	const int clocks[] = { CLOCK_MONOTONIC, CLOCK_BOOTTIME };

	ERR(uring_register(ring.fd, REGISTER_CLOCK, NULL, 0));
	ERR(uring_register(ring.fd, REGISTER_CLOCK, &choice, 1));
	ERR(uring_register(ring.fd, REGISTER_CLOCK, (void *)8, 0));
	choice.reserved[1] = 1;
	ERR(uring_register(ring.fd, REGISTER_CLOCK, &choice, 0));
	choice.reserved[1] = 0;
	choice.clock = CLOCK_REALTIME;
	ERR(uring_register(ring.fd, REGISTER_CLOCK, &choice, 0));
	for (int i = 0; i < 2; i++) {
		struct timespec now;

		choice.clock = clocks[i];
		ERR(uring_register(ring.fd, REGISTER_CLOCK, &choice, 0));
		clock_gettime(clocks[i], &now);
		until = (struct __kernel_timespec){ now.tv_sec, now.tv_nsec + 20000000 };
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		long before = now_ms();
		ERR(uring_enter(ring.fd, 0, 1, flags, &argument, sizeof argument));
		SHOW(now_ms() - before >= 19);
		ERR(uring_enter(ring.fd, 0, 1, flags, &argument, sizeof argument));
	}
}
