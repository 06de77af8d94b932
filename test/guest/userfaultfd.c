/* userfaultfd(2): page faults that the program serves itself. */
#include "observe.h"
#include <sys/socket.h>

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/ioctl.h>

#define PAGE 4096ul

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

static int plain(unsigned flags)
{
	return (int)syscall(SYS_userfaultfd, flags);
}

/* Agreed on features. */
static int served(unsigned flags, unsigned long features)
{
	int fd = MUST(plain(flags));
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	MUST(ioctl(fd, UFFDIO_API, &api));
	return fd;
}

static char *room(size_t pages)
{
	char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(at == MAP_FAILED ? -1 : 0);
	return at;
}

static int enroll(int fd, char *at, size_t pages, unsigned long mode)
{
	struct uffdio_register range = { .range = { (unsigned long)at, pages * PAGE }, .mode = mode };

	return ioctl(fd, UFFDIO_REGISTER, &range);
}

static long copied;

static int put(int fd, char *at, const void *from, size_t pages, unsigned long mode)
{
	struct uffdio_copy copy = { .dst = (unsigned long)at, .src = (unsigned long)from, .len = pages * PAGE,
				    .mode = mode };
	int result;

	/* Something else may be going on with the memory for a moment. */
	do {
		copy.copy = 0;
		result = ioctl(fd, UFFDIO_COPY, &copy);
	} while (result < 0 && errno == EAGAIN && copy.copy < 0);
	copied = copy.copy;
	return result;
}

static int zero(int fd, char *at, size_t pages, unsigned long mode)
{
	struct uffdio_zeropage request = { .range = { (unsigned long)at, pages * PAGE }, .mode = mode };
	int result = ioctl(fd, UFFDIO_ZEROPAGE, &request);

	copied = request.zeropage;
	return result;
}

static int protect(int fd, char *at, size_t pages, unsigned long mode)
{
	struct uffdio_writeprotect request = { .range = { (unsigned long)at, pages * PAGE }, .mode = mode };

	return ioctl(fd, UFFDIO_WRITEPROTECT, &request);
}

static int range(int fd, unsigned long request, char *at, size_t pages)
{
	struct uffdio_range of = { (unsigned long)at, pages * PAGE };

	return ioctl(fd, request, &of);
}

/* A thread that serves faults: each page gets its number, counted from `base`. */
struct server {
	int fd;
	char *base;
	int left, faults, writes, protects;
	unsigned long last;
};

static void *serve(void *argument)
{
	struct server *server = argument;
	char page[PAGE];

	while (server->left-- > 0) {
		struct uffd_msg message;

		if (read(server->fd, &message, sizeof message) != sizeof message)
			break;
		server->faults++;
		server->writes += !!(message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE);
		server->last = message.arg.pagefault.address;
		char *at = (char *)(message.arg.pagefault.address & ~(PAGE - 1));
		if (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
			server->protects++;
			protect(server->fd, at, 1, 0);
			continue;
		}
		memset(page, 'a' + (at - server->base) / PAGE, PAGE);
		put(server->fd, at, page, 1, 0);
	}
	return NULL;
}

SECTION("userfaultfd: flags and the file")
{
	need_root();
	struct uffd_msg message;
	char path[64], target[64] = "";

	ERR(plain(2));
	ERR(plain(O_NONBLOCK | 4));
	int fd = MUST(plain(O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
	SHOW(fcntl(fd, F_GETFD));
	HEX(fcntl(fd, F_GETFL));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	MUST(readlink(path, target, sizeof target - 1));
	TEXT(target);
	ERR(read(fd, &message, sizeof message));
	ERR(write(fd, &message, sizeof message));
	ERR(lseek(fd, 0, SEEK_SET));
	struct pollfd poller = { fd, POLLIN, 0 };
	SHOW(poll(&poller, 1, 0));
	HEX(poller.revents);
	char *at = room(1);
	ERR(enroll(fd, at, 1, UFFDIO_REGISTER_MODE_MISSING));
	ERR(ioctl(fd, 0x1234, 0));
	MUST(setresuid(65534, 65534, 65534));
	ERR(plain(0));
	ERR(plain(2));
	ERR(plain(UFFD_USER_MODE_ONLY));
}

SECTION("userfaultfd: UFFDIO_API")
{
	int fd = MUST(plain(UFFD_USER_MODE_ONLY | O_NONBLOCK));
	struct uffd_msg message;
	struct uffdio_api api = { .api = 0x55 };

	ERR(ioctl(fd, UFFDIO_API, NULL));
	ERR(ioctl(fd, UFFDIO_API, &api));
	SHOW(api.api);
	api = (struct uffdio_api){ .api = UFFD_API, .features = 1ul << 40 };
	ERR(ioctl(fd, UFFDIO_API, &api));
	SHOW(api.api);
	SHOW(api.features);
	api = (struct uffdio_api){ .api = UFFD_API };
	ERR(ioctl(fd, UFFDIO_API, &api));
	HEX(api.api);
	HEX(api.features & (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_SIGBUS |
			    UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EXACT_ADDRESS));
	HEX(api.ioctls);
	ERR(read(fd, &message, 8));
	ERR(read(fd, &message, sizeof message));
	struct pollfd poller = { fd, POLLIN, 0 };
	SHOW(poll(&poller, 1, 0));
	api = (struct uffdio_api){ .api = UFFD_API };
	ERR(ioctl(fd, UFFDIO_API, &api));
	SHOW(api.api);
}

SECTION("userfaultfd: what can be registered")
{
	int fd = served(UFFD_USER_MODE_ONLY, 0), other = served(UFFD_USER_MODE_ONLY, 0);
	char *at = room(8);
	struct uffdio_register request = { .range = { (unsigned long)at, 2 * PAGE },
					   .mode = UFFDIO_REGISTER_MODE_MISSING };

	ERR(ioctl(fd, UFFDIO_REGISTER, NULL));
	ERR(enroll(fd, at, 1, 0));
	ERR(enroll(fd, at, 1, 16));
	ERR(enroll(fd, at + 1, 1, 1));
	ERR(enroll(fd, at, 0, 1));
	ERR(enroll(fd, NULL, 1, 1));
	ERR(enroll(fd, (char *)0xffff800000000000, 1, 1));
	ERR(ioctl(fd, UFFDIO_REGISTER, &request));
	HEX(request.ioctls & 0x1c);
	SHOW(request.ioctls >> _UFFDIO_WRITEPROTECT & 1);
	request.mode |= UFFDIO_REGISTER_MODE_WP;
	ERR(ioctl(fd, UFFDIO_REGISTER, &request));
	SHOW(request.ioctls >> _UFFDIO_WRITEPROTECT & 1);
	ERR(enroll(other, at, 1, 1));
	ERR(enroll(other, at + PAGE, 4, 1));
	ERR(enroll(other, at + 2 * PAGE, 2, 1));
	MUST(munmap(at + 6 * PAGE, 2 * PAGE));
	ERR(enroll(fd, at + 6 * PAGE, 1, 1));
	int file = MUST(open("f", O_RDWR | O_CREAT, 0644));
	MUST(ftruncate(file, PAGE));
	char *mapped = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
	ERR(enroll(fd, mapped, 1, 1));
	ERR(range(fd, UFFDIO_UNREGISTER, mapped, 1));
	ERR(range(fd, UFFDIO_UNREGISTER, at, 1));
	ERR(range(fd, UFFDIO_UNREGISTER, at, 1));
	ERR(range(fd, UFFDIO_UNREGISTER, at + 1, 1));
	ERR(range(fd, UFFDIO_WAKE, at, 1));
	ERR(range(fd, UFFDIO_WAKE, at, 0));
}

SECTION("userfaultfd: missing pages, read and written")
{
	int fd = served(UFFD_USER_MODE_ONLY, 0);
	char *at = room(4);
	struct server server = { .fd = fd, .base = at, .left = 3 };
	pthread_t thread;

	at[3 * PAGE] = 'x';
	ERR(enroll(fd, at, 4, UFFDIO_REGISTER_MODE_MISSING));
	pthread_create(&thread, NULL, serve, &server);
	SHOW(at[PAGE + 5]);
	SHOW(server.faults);
	SHOW(server.writes);
	SHOW(server.last == (unsigned long)at + PAGE);
	at[7] = '!';
	SHOW(server.faults);
	SHOW(server.writes);
	SHOW(at[7]);
	SHOW(at[8]);
	SHOW(at[2 * PAGE]);
	pthread_join(thread, NULL);
	SHOW(server.faults);
	/* It was there before. */
	SHOW(at[3 * PAGE]);
}

static void *touch(void *at)
{
	return (void *)(long)*(volatile char *)at;
}

SECTION("userfaultfd: COPY and ZEROPAGE before anybody faults, and errors of them")
{
	int fd = served(UFFD_USER_MODE_ONLY, 0);
	char *at = room(8), source[3 * PAGE];

	memset(source, 's', sizeof source);
	ERR(put(fd, at, source, 1, 0));
	SHOW(copied);
	MUST(enroll(fd, at, 8, UFFDIO_REGISTER_MODE_MISSING));
	ERR(put(fd, at, source, 3, 0));
	SHOW(copied);
	SHOW(at[0] + at[PAGE] + at[3 * PAGE - 1]);
	ERR(put(fd, at, source, 1, 0));
	SHOW(copied);
	ERR(put(fd, at + 2 * PAGE, source, 2, 0));
	SHOW(copied);
	ERR(zero(fd, at + 4 * PAGE, 1, 0));
	SHOW(copied);
	SHOW(at[4 * PAGE]);
	ERR(zero(fd, at + 4 * PAGE, 2, 0));
	SHOW(copied);
	/* What stops in the middle says how far it came. */
	ERR(put(fd, at + 3 * PAGE, source, 2, 0));
	SHOW(copied);
	ERR(put(fd, at + 5 * PAGE, (void *)8, 1, 0));
	SHOW(copied);
	ERR(put(fd, at + 5 * PAGE, source, 0, 0));
	ERR(put(fd, at + 5 * PAGE + 1, source, 1, 0));
	ERR(put(fd, at + 5 * PAGE, source, 1, 16));
	ERR(put(fd, at + 5 * PAGE, source, 1, UFFDIO_COPY_MODE_WP));
	ERR(put(fd, at + 7 * PAGE, source, 3, 0));
	ERR(zero(fd, at + 5 * PAGE, 1, 2));
	ERR(zero(fd, at + 5 * PAGE, 0, 0));
	ERR(ioctl(fd, UFFDIO_COPY, NULL));
	/* From any byte. */
	ERR(put(fd, at + 5 * PAGE, source + 3, 1, 0));
	SHOW(at[5 * PAGE]);
	MUST(munmap(at, PAGE));
	ERR(put(fd, at, source, 1, 0));
	ERR(zero(fd, at, 1, 0));
}

SECTION("userfaultfd: a page that came without a wake-up, and WAKE")
{
	int fd = served(UFFD_USER_MODE_ONLY | O_NONBLOCK, 0);
	struct uffd_msg message;
	char *at = room(1), source[PAGE] = "w";
	pthread_t thread;
	void *seen;

	MUST(enroll(fd, at, 1, UFFDIO_REGISTER_MODE_MISSING));
	pthread_create(&thread, NULL, touch, at);
	struct pollfd poller = { fd, POLLIN, 0 };
	SHOW(poll(&poller, 1, -1));
	HEX(poller.revents);
	RET(read(fd, &message, sizeof message));
	SHOW(message.event);
	SHOW(message.arg.pagefault.flags);
	SHOW(message.arg.pagefault.address == (unsigned long)at);
	SHOW(message.arg.pagefault.feat.ptid);
	SHOW(poll(&poller, 1, 0));
	ERR(read(fd, &message, sizeof message));
	ERR(put(fd, at, source, 1, UFFDIO_COPY_MODE_DONTWAKE));
	SHOW(at[0]);
	ERR(range(fd, UFFDIO_WAKE, at, 1));
	pthread_join(thread, &seen);
	SHOW((long)seen);
}

SECTION("userfaultfd: a wake-up without the page makes another fault")
{
	int fd = served(UFFD_USER_MODE_ONLY, UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_THREAD_ID);
	struct uffd_msg message;
	char *at = room(1), source[PAGE] = "w";
	pthread_t thread;
	void *seen;

	MUST(enroll(fd, at, 1, UFFDIO_REGISTER_MODE_MISSING));
	pthread_create(&thread, NULL, touch, at + 77);
	MUST(read(fd, &message, sizeof message));
	SHOW(message.arg.pagefault.address - (unsigned long)at);
	SHOW(message.arg.pagefault.feat.ptid > (unsigned)getpid());
	MUST(range(fd, UFFDIO_WAKE, at, 1));
	MUST(read(fd, &message, sizeof message));
	SHOW(message.arg.pagefault.address - (unsigned long)at);
	source[77] = 'x';
	ERR(put(fd, at, source, 1, 0));
	pthread_join(thread, &seen);
	SHOW((long)seen);
}

SECTION("userfaultfd: who waits when it is unregistered, or closed, finds zeros")
{
	int fd = served(UFFD_USER_MODE_ONLY, 0);
	struct uffd_msg message;
	char *at = room(2);
	pthread_t thread;
	void *seen;

	MUST(enroll(fd, at, 2, UFFDIO_REGISTER_MODE_MISSING));
	pthread_create(&thread, NULL, touch, at);
	MUST(read(fd, &message, sizeof message));
	ERR(range(fd, UFFDIO_UNREGISTER, at, 1));
	pthread_join(thread, &seen);
	SHOW((long)seen);
	pthread_create(&thread, NULL, touch, at + PAGE);
	MUST(read(fd, &message, sizeof message));
	MUST(close(fd));
	pthread_join(thread, &seen);
	SHOW((long)seen);
}

SECTION("userfaultfd: a signal interrupts the wait, and the fault comes again")
{
	int fd = served(UFFD_USER_MODE_ONLY, 0);
	struct uffd_msg message;
	char *at = room(1), source[PAGE] = "w";
	pthread_t thread;
	void *seen;

	handle(SIGUSR1, ignore, 0);
	MUST(enroll(fd, at, 1, UFFDIO_REGISTER_MODE_MISSING));
	pthread_create(&thread, NULL, touch, at);
	MUST(read(fd, &message, sizeof message));
	pthread_kill(thread, SIGUSR1);
	MUST(read(fd, &message, sizeof message));
	SHOW(message.event);
	ERR(put(fd, at, source, 1, 0));
	pthread_join(thread, &seen);
	SHOW((long)seen);
	/* SIGKILL ends who waits. */
	char *more = room(1);
	MUST(enroll(fd, more, 1, UFFDIO_REGISTER_MODE_MISSING));
	pthread_create(&thread, NULL, touch, more);
	MUST(read(fd, &message, sizeof message));
	kill(getpid(), SIGKILL);
	sleep_ms(5000);
}

static volatile sig_atomic_t bus_code;
static void *volatile bus_address;
static sigjmp_buf *bus_return;



static void on_bus(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	bus_code = info->si_code;
	bus_address = info->si_addr;
	siglongjmp(*bus_return, 1);
}

SECTION("userfaultfd: UFFD_FEATURE_SIGBUS")
{
	int fd = served(UFFD_USER_MODE_ONLY, UFFD_FEATURE_SIGBUS), pair[2];
	struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
	char *at = room(2), source[PAGE] = "b";
	sigjmp_buf back;

	MUST(pipe(pair));
	MUST(enroll(fd, at, 2, UFFDIO_REGISTER_MODE_MISSING));
	bus_return = &back;
	sigaction(SIGBUS, &action, NULL);
	if (sigsetjmp(back, 1) == 0)
		SHOW(at[5]);
	SHOW(bus_code);
	SHOW((char *)bus_address - at);
	ERR(write(pair[1], at, 1));
	ERR(put(fd, at, source, 1, 0));
	SHOW(at[0]);
}

SECTION("userfaultfd: write protection")
{
	int fd = served(UFFD_USER_MODE_ONLY, 0);
	char *at = room(4), source[PAGE] = "p";
	struct server server = { .fd = fd, .base = at, .left = 2 };
	pthread_t thread;

	at[0] = 1;
	at[PAGE] = 2;
	MUST(enroll(fd, at, 4, UFFDIO_REGISTER_MODE_WP));
	ERR(protect(fd, at, 2, UFFDIO_WRITEPROTECT_MODE_WP));
	ERR(protect(fd, at, 2, 4));
	ERR(protect(fd, at, 2, UFFDIO_WRITEPROTECT_MODE_WP | UFFDIO_WRITEPROTECT_MODE_DONTWAKE));
	ERR(protect(fd, at, 9, UFFDIO_WRITEPROTECT_MODE_WP));
	SHOW(at[0]);
	pthread_create(&thread, NULL, serve, &server);
	at[0] = 7;
	SHOW(server.faults);
	SHOW(server.protects);
	SHOW(server.writes);
	SHOW(at[0]);
	at[0] = 8;
	SHOW(server.faults);
	at[PAGE + 1] = 9;
	pthread_join(thread, NULL);
	SHOW(server.faults);
	/* Unprotected for good. */
	ERR(protect(fd, at, 2, UFFDIO_WRITEPROTECT_MODE_WP));
	ERR(protect(fd, at, 2, 0));
	at[0] = 10;
	SHOW(at[0]);
	MUST(enroll(fd, at, 4, UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING));
	ERR(put(fd, at + 2 * PAGE, source, 1, UFFDIO_COPY_MODE_WP));
	SHOW(at[2 * PAGE]);
	server.left = 1;
	pthread_create(&thread, NULL, serve, &server);
	at[2 * PAGE] = 11;
	pthread_join(thread, NULL);
	SHOW(server.protects);
	SHOW(at[2 * PAGE]);
}

SECTION("userfaultfd: mprotect, MADV_DONTNEED and munmap of what is registered")
{
	int fd = served(UFFD_USER_MODE_ONLY, 0);
	char *at = room(4), source[PAGE] = "m";
	struct server server = { .fd = fd, .base = at, .left = 2 };
	pthread_t thread;

	MUST(enroll(fd, at, 4, UFFDIO_REGISTER_MODE_MISSING));
	MUST(put(fd, at, source, 1, 0));
	ERR(mprotect(at, 4 * PAGE, PROT_READ));
	ERR(mprotect(at, 4 * PAGE, PROT_READ | PROT_WRITE));
	SHOW(at[0]);
	ERR(madvise(at, PAGE, MADV_DONTNEED));
	pthread_create(&thread, NULL, serve, &server);
	SHOW(at[0]);
	SHOW(server.faults);
	SHOW(at[PAGE]);
	SHOW(server.faults);
	pthread_join(thread, NULL);
	ERR(munmap(at + 2 * PAGE, PAGE));
	char *again = mmap(at + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	SHOW(again[0]);
	ERR(put(fd, again, source, 1, 0));
}

SECTION("userfaultfd: memory that moves is served no more")
{
	int fd = served(UFFD_USER_MODE_ONLY, 0);
	char *at = room(4), *target = room(4), source[PAGE] = "v";

	MUST(enroll(fd, at, 4, UFFDIO_REGISTER_MODE_MISSING));
	MUST(put(fd, at + PAGE, source, 1, 0));
	SHOW(mremap(at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
	SHOW(target[0]);
	SHOW(target[PAGE]);
	target[2 * PAGE] = 3;
	SHOW(target[2 * PAGE]);
	ERR(put(fd, target + 3 * PAGE, source, 1, 0));
}

SECTION("userfaultfd: a child's memory is not served")
{
	int fd = served(UFFD_USER_MODE_ONLY, 0);
	char *at = room(3), source[PAGE] = "c";

	MUST(enroll(fd, at, 3, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP));
	MUST(put(fd, at, source, 1, UFFDIO_COPY_MODE_WP));
	pid_t child = fork();
	if (child == 0) {
		SHOW(at[0]);
		SHOW(at[PAGE]);
		at[0] = 1;
		at[PAGE] = 2;
		SHOW(at[0] + at[PAGE]);
		/* The descriptor is the parent's memory's. */
		ERR(put(fd, at + 2 * PAGE, source, 1, 0));
		_exit(0);
	}
	STATUS(end_of(child));
	SHOW(at[2 * PAGE]);
}

SECTION("userfaultfd: shared memory: what one mapping gets is there for all")
{
	int fd = served(UFFD_USER_MODE_ONLY, 0);
	int memory = MUST(memfd_create("m", 0));
	char source[PAGE] = "s";

	MUST(ftruncate(memory, 4 * PAGE));
	MUST(pwrite(memory, "there", 5, 3 * PAGE));
	char *at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	char *second = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	struct server server = { .fd = fd, .base = at, .left = 1 };
	pthread_t thread;
	ERR(enroll(fd, at, 4, UFFDIO_REGISTER_MODE_MISSING));
	TEXT(at + 3 * PAGE);
	ERR(put(fd, at, source, 1, 0));
	TEXT(second);
	ERR(put(fd, at + 3 * PAGE, source, 1, 0));
	pthread_create(&thread, NULL, serve, &server);
	SHOW(at[PAGE]);
	SHOW(second[PAGE]);
	pthread_join(thread, NULL);
	ERR(zero(fd, at + 2 * PAGE, 1, 0));
	SHOW(second[2 * PAGE]);
}

SECTION("userfaultfd: system calls wait for the pages that they use")
{
	need_root();
	int fd = served(0, 0), pair[2];
	char *at = room(4);
	struct server server = { .fd = fd, .base = at, .left = 3 };
	pthread_t thread;
	char seen[4] = "";

	MUST(pipe(pair));
	MUST(enroll(fd, at, 4, UFFDIO_REGISTER_MODE_MISSING));
	pthread_create(&thread, NULL, serve, &server);
	RET(write(pair[1], at + PAGE + 4, 3));
	RET(read(pair[0], seen, 3));
	TEXT(seen);
	SHOW(server.faults);
	SHOW(server.writes);
	MUST(write(pair[1], "in", 2));
	RET(read(pair[0], at, 2));
	SHOW(at[0]);
	SHOW(at[2]);
	SHOW(server.writes);
	struct timespec *now = (void *)(at + 2 * PAGE + 64);
	ERR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, now));
	SHOW(now->tv_sec >= 0);
	pthread_join(thread, NULL);
	SHOW(server.faults);
}

SECTION("userfaultfd: a call with a vector waits for all of its pieces")
{
	need_root();
	int fd = served(0, 0), pair[2];
	char *at = room(3);
	struct server server = { .fd = fd, .base = at, .left = 3 };
	struct iovec *pieces = (void *)(at + 2 * PAGE), plain[2] = { { at, 2 }, { at + PAGE, 2 } };
	pthread_t thread;
	char seen[8] = "";

	MUST(pipe(pair));
	MUST(enroll(fd, at, 2, UFFDIO_REGISTER_MODE_MISSING));
	pieces[0] = plain[0];
	pieces[1] = plain[1];
	pthread_create(&thread, NULL, serve, &server);
	RET(writev(pair[1], pieces, 2));
	RET(read(pair[0], seen, 8));
	TEXT(seen);
	SHOW(server.faults);
	MUST(madvise(at, 2 * PAGE, MADV_DONTNEED));
	MUST(write(pair[1], "12", 2));
	RET(readv(pair[0], plain, 1));
	SHOW(at[0]);
	SHOW(at[2]);
	SHOW(server.faults);
	pthread_join(thread, NULL);
}

SECTION("userfaultfd: messages and names wait for all of their pieces")
{
	need_root();
	int fd = served(0, 0), pair[2];
	char *at = room(4);
	struct server server = { .fd = fd, .base = at, .left = 5 };
	struct iovec piece = { at, 2 };
	struct msghdr *message = (void *)(at + PAGE), plain = { .msg_iov = &piece, .msg_iovlen = 1 };
	struct mmsghdr many = { .msg_hdr = plain };
	struct stat state;
	pthread_t thread;

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	MUST(enroll(fd, at, 3, UFFDIO_REGISTER_MODE_MISSING));
	pthread_create(&thread, NULL, serve, &server);
	RET(sendmsg(pair[0], &plain, 0));
	SHOW(server.faults);
	MUST(madvise(at, PAGE, MADV_DONTNEED));
	RET(recvmsg(pair[1], &plain, 0));
	SHOW(server.faults);
	SHOW(server.writes);
	/* The page of the header is one of zeros but for what the server has put there. */
	message->msg_name = NULL;
	message->msg_iov = &piece;
	message->msg_iovlen = 1;
	message->msg_control = NULL;
	SHOW(server.faults);
	MUST(madvise(at, PAGE, MADV_DONTNEED));
	RET(sendmmsg(pair[0], &many, 1, 0));
	SHOW(many.msg_len);
	SHOW(server.faults);
	/* A name that goes on in the next page, which is absent. */
	char *name = at + 2 * PAGE - 3;
	memcpy(name, "dir", 3);
	SHOW(stat(name, &state) < 0 && errno != EFAULT);
	SHOW(server.faults);
	pthread_join(thread, NULL);
}

SECTION("userfaultfd: with UFFD_USER_MODE_ONLY system calls fail")
{
	int fd = served(UFFD_USER_MODE_ONLY | O_NONBLOCK, 0), pair[2];
	struct uffd_msg message;
	char *at = room(1);

	MUST(pipe(pair));
	MUST(enroll(fd, at, 1, UFFDIO_REGISTER_MODE_MISSING));
	ERR(write(pair[1], at, 1));
	ERR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, at));
	ERR(open(at, O_RDONLY));
	ERR(read(fd, &message, sizeof message));
}

/* Reads one event, or two. */
struct listener {
	int fd;
	bool twice;
	struct uffd_msg message, second;
};

static void *listen_once(void *argument)
{
	struct listener *listener = argument;

	if (read(listener->fd, &listener->message, sizeof listener->message) != sizeof listener->message)
		say("failed\n");
	if (listener->twice && read(listener->fd, &listener->second, sizeof listener->second) < 0)
		say("failed\n");
	return NULL;
}

static bool supports(unsigned long feature)
{
	int fd = MUST(plain(UFFD_USER_MODE_ONLY));
	struct uffdio_api api = { .api = UFFD_API, .features = feature };
	int result = ioctl(fd, UFFDIO_API, &api);

	close(fd);
	return result == 0;
}

SECTION("userfaultfd: events of what is thrown away, unmapped and moved")
{
	SHOW(supports(UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP));
	int fd = served(UFFD_USER_MODE_ONLY,
			UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP);
	char *at = room(4), *target = room(4), source[PAGE] = "e";
	struct listener listener = { .fd = fd };
	pthread_t thread;

	MUST(enroll(fd, at, 4, UFFDIO_REGISTER_MODE_MISSING));
	MUST(put(fd, at, source, 1, 0));
	pthread_create(&thread, NULL, listen_once, &listener);
	ERR(madvise(at, 2 * PAGE, MADV_DONTNEED));
	pthread_join(thread, NULL);
	HEX(listener.message.event);
	SHOW(listener.message.arg.remove.start == (unsigned long)at);
	SHOW(listener.message.arg.remove.end - listener.message.arg.remove.start);
	/* Absent again. */
	ERR(put(fd, at, source, 1, 0));
	listener.twice = true;
	pthread_create(&thread, NULL, listen_once, &listener);
	SHOW(mremap(at, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
	pthread_join(thread, NULL);
	HEX(listener.message.event);
	SHOW(listener.message.arg.remap.from == (unsigned long)at);
	SHOW(listener.message.arg.remap.to == (unsigned long)target);
	SHOW(listener.message.arg.remap.len);
	HEX(listener.second.event);
	SHOW(listener.second.arg.remove.start == (unsigned long)at);
	SHOW(listener.second.arg.remove.end - listener.second.arg.remove.start);
	listener.twice = false;
	/* It is served where it is now. */
	ERR(put(fd, target, source, 1, 0));
	ERR(put(fd, target + PAGE, source, 1, 0));
	TEXT(target);
	TEXT(target + PAGE);
	pthread_create(&thread, NULL, listen_once, &listener);
	ERR(munmap(target + PAGE, PAGE));
	pthread_join(thread, NULL);
	HEX(listener.message.event);
	SHOW(listener.message.arg.remove.start - (unsigned long)target);
	SHOW(listener.message.arg.remove.end - (unsigned long)target);
	/* Nobody hears of what is not registered. */
	ERR(munmap(target + 3 * PAGE, PAGE));
	ERR(madvise(target + 2 * PAGE, PAGE, MADV_DONTNEED));
}

SECTION("userfaultfd: a child's memory is served by a descriptor of its own")
{
	need_root();
	int fd = served(0, UFFD_FEATURE_EVENT_FORK), hold[2];
	char *at = room(2), source[PAGE] = "f", byte;
	struct listener listener = { .fd = fd };
	struct uffd_msg message;
	pthread_t thread;

	MUST(pipe(hold));
	MUST(enroll(fd, at, 2, UFFDIO_REGISTER_MODE_MISSING));
	MUST(put(fd, at, source, 1, 0));
	pthread_create(&thread, NULL, listen_once, &listener);
	pid_t child = fork();
	if (child == 0) {
		MUST(read(hold[0], &byte, 1));
		TEXT(at);
		TEXT(at + PAGE);
		_exit(0);
	}
	pthread_join(thread, NULL);
	HEX(listener.message.event);
	int own = (int)listener.message.arg.fork.ufd;
	SHOW(own > fd);
	SHOW(fcntl(own, F_GETFD));
	MUST(write(hold[1], "x", 1));
	MUST(read(own, &message, sizeof message));
	HEX(message.event);
	SHOW(message.arg.pagefault.address == (unsigned long)at + PAGE);
	/* The child goes on, and speaks, at once. */
	int filled = put(own, at + PAGE, source, 1, 0);
	STATUS(end_of(child));
	SHOW(filled);
	/* The parent's page is still to come. */
	ERR(put(fd, at + PAGE, "P", 0, 0));
	ERR(put(fd, at + PAGE, source, 1, 0));
	ERR(put(own, at + PAGE, source, 1, 0));
	MUST(setresuid(65534, 65534, 65534));
	int other = MUST(plain(UFFD_USER_MODE_ONLY));
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_FORK };
	ERR(ioctl(other, UFFDIO_API, &api));
}

static volatile int stop;

static void *spin(void *unused)
{
	volatile unsigned long *counter = unused;

	while (!stop)
		++*counter;
	return NULL;
}

SECTION("userfaultfd: many pages, while other threads run")
{
	enum { PAGES = 200 };
	int fd = served(UFFD_USER_MODE_ONLY, 0);
	char *at = room(PAGES);
	struct server server = { .fd = fd, .base = at, .left = PAGES };
	pthread_t thread, spinner;
	unsigned long counter = 0;
	int wrong = 0;

	MUST(enroll(fd, at, PAGES, UFFDIO_REGISTER_MODE_MISSING));
	pthread_create(&thread, NULL, serve, &server);
	pthread_create(&spinner, NULL, spin, &counter);
	for (int i = 0; i < PAGES; i++)
		wrong += at[(i * 7 % PAGES) * PAGE + 9] != (char)('a' + i * 7 % PAGES);
	stop = 1;
	pthread_join(thread, NULL);
	pthread_join(spinner, NULL);
	SHOW(wrong);
	SHOW(server.faults);
	SHOW(counter > 0);
}
