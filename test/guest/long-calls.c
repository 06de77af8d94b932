/* Calls that move much at once: what they return, what they hold meanwhile, who else is served, and how they end. */
#include "observe.h"
#include "uring.h"
#include <dirent.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define MIB (1l << 20)

static char *memory(long size)
{
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* Each page says where it is. */
static void mark(char *at, long size)
{
	for (long i = 0; i < size; i += 4096)
		*(long *)(at + i) = i + 1;
}

static int marked(const char *at, long from, long size)
{
	for (long i = 0; i < size; i += 4096)
		if (*(const long *)(at + i) != from + i + 1)
			return 0;
	return 1;
}

/* A process that calls the kernel all the time, and counts. */
static volatile long *pings;

static pid_t start_pinging(void)
{
	pings = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = MUST(fork());

	if (pid == 0) {
		for (;;) {
			getpgid(0);
			(*pings)++;
		}
	}
	while (*pings < 10)
		usleep(1000);
	return pid;
}

SECTION("another process is served while one call works for long")
{
	const long size = 512 * MIB;
	char *at = memory(size);
	int zero = MUST(open("/dev/zero", O_RDONLY));
	int random = MUST(open("/dev/urandom", O_RDONLY));
	int file = MUST(memfd_create("f", 0)), copy = MUST(open("copy", O_RDWR | O_CREAT, 0600));
	int further = MUST(open("further", O_RDWR | O_CREAT, 0600));
	pid_t pinger = start_pinging();
	loff_t offset = 0;
	long before;

#define WHILE(call)                 \
	before = *pings;            \
	RET(call);                  \
	SHOW(*pings - before >= 20)

	WHILE(read(zero, at, size));
	WHILE(read(random, at, 32 * MIB));
	WHILE(getrandom(at, 32 * MIB, 0));
	WHILE(write(file, at, size));
	WHILE(pread(file, at, size, 0));
	WHILE(sendfile(copy, file, &offset, size));
	WHILE(copy_file_range(copy, &(loff_t){ 0 }, further, &(loff_t){ 0 }, size, 0));
	ERR(ftruncate(file, 0));
	WHILE(fallocate(file, 0, 0, size));
	ERR(madvise(at, size, MADV_DONTNEED));
	WHILE(madvise(at, size, MADV_POPULATE_WRITE));
	WHILE(process_vm_readv(getpid(), &(struct iovec){ at + size / 2, size / 2 }, 1,
			       &(struct iovec){ at, size / 2 }, 1, 0));
	MUST(kill(pinger, SIGKILL));
}

SECTION("SIGKILL ends a call that works for long")
{
	const long size = 1024 * MIB;
	char *at = memory(size);
	int status, zero = MUST(open("/dev/zero", O_RDONLY)), file = MUST(memfd_create("f", 0));

	for (int which = 0; which < 3; which++) {
		pid_t pid = MUST(fork());

		if (pid == 0) {
			for (;;) {
				if (which == 0)
					MUST(read(zero, at, size));
				else if (which == 1)
					MUST(pwrite(file, at, size, 0));
				else
					MUST(madvise(at, size, MADV_POPULATE_WRITE) + madvise(at, size, MADV_DONTNEED));
			}
		}
		usleep(30000);
		MUST(kill(pid, SIGKILL));
		MUST(waitpid(pid, &status, 0));
		STATUS(status);
	}
	/* Nothing is locked any more. */
	RET(pwrite(file, "x", 1, 0));
}

static void nothing(int signo)
{
	(void)signo;
}

SECTION("a signal ends a read of a device early, and not one of a file")
{
	const long size = 1536 * MIB;
	char *at = memory(size);
	int zero = MUST(open("/dev/zero", O_RDONLY)), file = MUST(memfd_create("f", 0));
	struct sigaction action = { .sa_handler = nothing };
	struct itimerval soon = { .it_value = { .tv_usec = 20000 } };

	MUST(sigaction(SIGALRM, &action, NULL));
	MUST(setitimer(ITIMER_REAL, &soon, NULL));
	long n = read(zero, at, size);
	SHOW(n > 0 && n < size);
	MUST(ftruncate(file, 256 * MIB));
	soon.it_value.tv_usec = 3000;
	MUST(setitimer(ITIMER_REAL, &soon, NULL));
	RET(read(file, at, 256 * MIB));
	RET(lseek(file, 0, SEEK_CUR));
}

SECTION("bytes, positions and vectors of large transfers")
{
	const long size = 13 * MIB + 4096;
	char *from = memory(size), *to = memory(size);
	int file = MUST(open("f", O_RDWR | O_CREAT, 0600)), copy = MUST(open("copy", O_RDWR | O_CREAT, 0600));

	mark(from, size);
	RET(write(file, from, size));
	RET(lseek(file, 0, SEEK_CUR));
	RET(lseek(file, 0, SEEK_SET));
	RET(read(file, to, size + 4096));
	SHOW(marked(to, 0, size));
	RET(lseek(file, 0, SEEK_CUR));
	RET(read(file, to, size));
	struct iovec parts[3] = { { to + size - 5 * MIB, 5 * MIB }, { NULL, 0 }, { to, size - 5 * MIB } };
	RET(preadv(file, parts, 3, 0));
	SHOW(marked(to + size - 5 * MIB, 0, 5 * MIB) && marked(to, 5 * MIB, size - 5 * MIB));
	RET(pwritev(copy, parts, 3, 4096));
	RET(pread(copy, to, size, 4096));
	SHOW(marked(to, 0, size));
	RET(ftruncate(copy, 0));
	MUST(lseek(file, 4096, SEEK_SET));
	RET(sendfile(copy, file, NULL, size));
	RET(lseek(file, 0, SEEK_CUR));
	RET(lseek(copy, 0, SEEK_CUR));
	loff_t offset = 8192, out = 4096;
	RET(copy_file_range(file, &offset, copy, &out, size * 2, 0));
	SHOW(offset);
	SHOW(out);
	RET(pread(copy, to, size, 4096));
	SHOW(marked(to, 8192, size - 8192));
	int again = MUST(open("f", O_WRONLY | O_APPEND));
	RET(write(again, from, size));
	RET(lseek(again, 0, SEEK_CUR));
}

SECTION("large transfers that end early: a page that is not there, RLIMIT_FSIZE")
{
	const long size = 16 * MIB;
	char *at = memory(size);
	int file = MUST(open("f", O_RDWR | O_CREAT, 0600));

	mark(at, size);
	RET(pwrite(file, at, size, 0));
	MUST(munmap(at + 6 * MIB, 4096));
	RET(read(file, at, size));
	RET(lseek(file, 0, SEEK_CUR));
	RET(pread(file, at, size, 4096));
	RET(pwrite(file, at, size, 0));
	RET(write(file, at + 2 * MIB, size));
	RET(lseek(file, 0, SEEK_CUR));

	struct sigaction action = { .sa_handler = SIG_IGN };
	MUST(sigaction(SIGXFSZ, &action, NULL));
	struct rlimit limit = { 8 * MIB, 8 * MIB };
	char *whole = memory(size);
	MUST(setrlimit(RLIMIT_FSIZE, &limit));
	int other = MUST(open("g", O_RDWR | O_CREAT, 0600));
	RET(write(other, whole, size));
	ERR(write(other, whole, size));
	RET(pwrite(other, whole, size, 4096));
}

struct writer {
	int fd;
	char letter;
};

static void *append(void *argument)
{
	struct writer *writer = argument;
	const long size = 12 * MIB;
	char *at = memory(size);

	memset(at, writer->letter, size);
	for (int i = 0; i < 3; i++)
		MUST(write(writer->fd, at, size));
	return NULL;
}

/* How many times another letter follows. */
static int changes(int fd, long size)
{
	char *at = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	int count = 0;

	for (long i = 4096; i < size; i += 4096)
		count += at[i] != at[i - 4096];
	return count;
}

SECTION("large writes don't get among each other: O_APPEND, a shared position")
{
	const long size = 12 * MIB;

	for (int shared = 0; shared < 2; shared++) {
		int fd = MUST(open(shared ? "/dev/shm" : ".", O_TMPFILE | O_RDWR | (shared ? 0 : O_APPEND), 0600));
		pthread_t threads[2];
		struct writer writers[2] = { { fd, 'a' }, { fd, 'b' } };

		for (int i = 0; i < 2; i++)
			MUST(pthread_create(&threads[i], NULL, append, &writers[i]));
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		struct stat st;
		MUST(fstat(fd, &st));
		SHOW(st.st_size == 6 * size);
		SHOW(changes(fd, st.st_size) <= 5);
		SHOW(lseek(fd, 0, SEEK_CUR) == 6 * size);
	}
}

SECTION("a socket that much is sent to from a file is read meanwhile")
{
	const long size = 24 * MIB;
	int file = MUST(memfd_create("f", 0)), pair[2], room = 8 * MIB, taken = 0;
	char *at = memory(size), byte = 'x';
	struct pollfd sent = { .events = POLLIN };

	need_root();
	MUST(ftruncate(file, size));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	MUST(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room));
	pid_t pid = MUST(fork());
	if (pid == 0)
		_exit(sendfile(pair[0], file, NULL, size) != size);
	sent.fd = pair[1];
	MUST(poll(&sent, 1, -1));
	/* It is in the middle of it, and waits for room. */
	usleep(200000);
	MUST(write(pair[1], &byte, 1));
	alarm(10);
	RET(read(pair[0], &byte, 1));
	RET(lseek(file, 0, SEEK_SET) == 0);
	for (long n; taken < size && (n = read(pair[1], at, size)) > 0;)
		taken += n;
	SHOW(taken);
	int status;
	MUST(waitpid(pid, &status, 0));
	STATUS(status);
}

SECTION("a ring's large write holds up its own task no longer than it takes")
{
	struct uring ring = uring_with(4, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	const long size = 24 * MIB;
	int file = MUST(open("f", O_RDWR | O_CREAT, 0600));
	char *at = memory(size);
	struct stat st;

	entry(&ring, IORING_OP_WRITE, file, at, size, 0, 1);
	RET(submit(&ring, 0));
	alarm(10);
	RET(pwrite(file, "x", 1, size));
	MUST(submit(&ring, 1));
	completions(&ring);
	MUST(fstat(file, &st));
	SHOW(st.st_size);
}

SECTION("large reads of a ring into buffers that they select")
{
	struct uring ring = uring_new(4);
	const long size = 12 * MIB;
	int file = MUST(open("f", O_RDWR | O_CREAT, 0600));
	char *at = memory(size), *buffers = memory(2 * size);

	mark(at, size);
	MUST(write(file, at, size));
	entry(&ring, IORING_OP_PROVIDE_BUFFERS, 2, buffers, size, 0, 1)->buf_group = 7;
	MUST(submit(&ring, 1));
	completions(&ring);
	for (int i = 0; i < 2; i++) {
		struct io_uring_sqe *sqe = entry(&ring, IORING_OP_READ, file, NULL, size, 0, 2 + i);

		sqe->flags = IOSQE_BUFFER_SELECT;
		sqe->buf_group = 7;
	}
	MUST(submit(&ring, 2));
	completions(&ring);
	SHOW(marked(buffers, 0, size));
	SHOW(marked(buffers + size, 0, size));
}

SECTION("advice and locks over large ranges with holes")
{
	const long size = 192 * MIB;
	char *at = memory(size);

	need_root();
	mark(at, size);
	MUST(munmap(at + 100 * MIB, 4096));
	ERR(madvise(at, size, MADV_DONTNEED));
	SHOW(at[0] == 0 && at[99 * MIB] == 0 && at[size - 4096] == 0);
	ERR(madvise(at, size, MADV_POPULATE_WRITE));
	ERR(mlock(at, size));
	ERR(mlock(at, 64 * MIB));
	ERR(madvise(at, 80 * MIB, MADV_DONTNEED));
	ERR(munlock(at, 64 * MIB));
	ERR(madvise(at + 1, 80 * MIB, MADV_DONTNEED));
	char *locked = mmap(NULL, 48 * MIB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	SHOW(locked != MAP_FAILED);
	unsigned char *there = malloc(48 * MIB / 4096);
	MUST(mincore(locked, 48 * MIB, there));
	SHOW(there[0] & there[48 * MIB / 4096 - 1] & 1);
	ERR(madvise(locked, 48 * MIB, MADV_DONTNEED));
	/* What is attached is locked like what is mapped. */
	int id = MUST(shmget(IPC_PRIVATE, 48 * MIB, IPC_CREAT | 0600));
	ERR(mlockall(MCL_FUTURE));
	char *attached = shmat(id, NULL, 0);
	MUST(shmctl(id, IPC_RMID, NULL));
	MUST(mincore(attached, 48 * MIB, there));
	SHOW(there[0] & there[48 * MIB / 4096 - 1] & 1);
	ERR(munlockall());
}

SECTION("fallocate of large ranges of memory")
{
	int fd = MUST(memfd_create("f", MFD_ALLOW_SEALING));
	struct stat st;

	ERR(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 40 * MIB));
	MUST(fstat(fd, &st));
	SHOW(st.st_size);
	SHOW(st.st_blocks);
	ERR(fallocate(fd, 0, 4096, 64 * MIB));
	MUST(fstat(fd, &st));
	SHOW(st.st_size);
	SHOW(st.st_blocks);
	ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 48 * MIB));
	MUST(fstat(fd, &st));
	SHOW(st.st_blocks);
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	ERR(fallocate(fd, 0, 0, 100 * MIB));
	MUST(fstat(fd, &st));
	SHOW(st.st_blocks);
}

SECTION("many descriptors from a number on")
{
	struct rlimit limit = { 16000, 16000 };
	int fd = MUST(open("/dev/null", O_RDONLY)), last = 0;

	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < 6000; i++)
		last = MUST(fcntl(fd, F_DUPFD, 20));
	SHOW(last);
	MUST(close(3000));
	SHOW(fcntl(fd, F_DUPFD, 20));
	SHOW(fcntl(fd, F_DUPFD, 20));
	SHOW(fcntl(fd, F_DUPFD, 4000));
	ERR(fcntl(fd, F_DUPFD, 16000));
}

SECTION("very many descriptors: listed, and closed in one call")
{
	struct rlimit limit = { 16000, 16000 };
	int fd = MUST(open("/dev/null", O_RDONLY)), count = 0;

	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < 12000; i++)
		MUST(fcntl(fd, F_DUPFD, 100));
	DIR *directory = opendir("/proc/self/fd");
	long last = -1, order = 1;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		if (entry->d_name[0] == '.' || atol(entry->d_name) < 100)
			continue;
		order &= atol(entry->d_name) > last;
		last = atol(entry->d_name);
		count++;
	}
	SHOW(count);
	SHOW(order);
	closedir(directory);
	struct stat st;
	MUST(stat("/proc/self/fd", &st));
	SHOW(st.st_size >= 12000);
	ERR(syscall(SYS_close_range, 100, ~0u, 0));
	ERR(fcntl(100, F_GETFD));
	ERR(fcntl(12099, F_GETFD));
	SHOW(fcntl(fd, F_DUPFD, 100));
}

SECTION("long texts of /proc: read in parts, from the middle, again")
{
	char *at = memory(64 * MIB), *text = memory(64 * MIB);
	long length = 0, n, lines = 0;

	for (int i = 0; i < 3000; i++)
		MUST(mprotect(at + i * 8192l, 4096, PROT_READ));
	int fd = MUST(open("/proc/self/maps", O_RDONLY));
	while ((n = MUST(read(fd, text + length, 10000))) > 0)
		length += n;
	text[length] = 0;
	for (char *line = text; (line = strchr(line, '\n')) != NULL; line++)
		lines++;
	SHOW(lines > 6000);
	RET(read(fd, text, 100));
	RET(pread(fd, text + length + 1, 50, 200000));
	SHOW(memcmp(text + length + 1, text + 200000, 50) == 0);
	RET(lseek(fd, 200000, SEEK_SET));
	RET(read(fd, text + length + 1, 50));
	SHOW(memcmp(text + length + 1, text + 200000, 50) == 0);
	int smaps = MUST(open("/proc/self/smaps", O_RDONLY));
	long whole = 0, sizes = 0;
	while ((n = MUST(read(smaps, text + whole, 1 << 20))) > 0)
		whole += n;
	text[whole] = 0;
	for (char *line = text; (line = strstr(line, "\nSize:")) != NULL; line++)
		sizes++;
	SHOW(sizes == lines);
}
