/* Calls of Linux 6.7 and later, and what only newer flags do. */
#include "observe.h"
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/eventfd.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#define SYS_setxattrat_ 463
#define SYS_getxattrat_ 464
#define SYS_listxattrat_ 465
#define SYS_removexattrat_ 466
#define SYS_futex_wake_ 454
#define SYS_futex_wait_ 455
#define SYS_futex_requeue_ 456
#define SIZE_U32 2
#define PRIVATE 128

struct xattr_arguments {
	uint64_t value;
	uint32_t size, flags;
};

static int setx(int fd, const char *path, unsigned at, const char *name, const char *value, uint32_t flags)
{
	struct xattr_arguments arguments = { (uintptr_t)value, strlen(value), flags };

	return syscall(SYS_setxattrat_, fd, path, at, name, &arguments, sizeof arguments);
}

static int getx(int fd, const char *path, unsigned at, const char *name, char *into, uint32_t size)
{
	struct xattr_arguments arguments = { (uintptr_t)into, size, 0 };

	memset(into, 0, size);
	return syscall(SYS_getxattrat_, fd, path, at, name, &arguments, sizeof arguments);
}

SECTION("setxattrat, getxattrat, listxattrat, removexattrat")
{
	char text[64];
	struct xattr_arguments arguments = { 0 };

	write_file("f", "");
	MUST(symlink("f", "link"));
	int directory = MUST(open(".", O_RDONLY)), fd = MUST(open("f", O_RDONLY)), place = MUST(open("f", O_PATH));
	ERR(setx(directory, "f", 0, "user.one", "1", 0));
	ERR(setx(directory, "link", 0, "user.one", "2", XATTR_CREATE));
	ERR(setx(directory, "link", 0, "user.two", "two", XATTR_CREATE));
	ERR(setx(directory, "link", AT_SYMLINK_NOFOLLOW, "user.two", "two", 0));
	ERR(setx(fd, "", AT_EMPTY_PATH, "user.three", "3", 0));
	ERR(setx(place, "", AT_EMPTY_PATH, "user.four", "4", 0));
	ERR(setx(fd, "", 0, "user.three", "3", 0));
	ERR(setx(fd, "", AT_EMPTY_PATH, "user.three", "3", 4));
	ERR(setx(directory, "f", AT_REMOVEDIR, "user.three", "3", 0));
	ERR(setx(99, "f", 0, "user.three", "3", 0));
	RET(getx(directory, "link", 0, "user.two", text, sizeof text));
	TEXT(text);
	RET(getx(fd, "", AT_EMPTY_PATH, "user.three", text, 1));
	RET(getx(fd, "", AT_EMPTY_PATH, "user.two", text, 1));
	RET(getx(fd, "", AT_EMPTY_PATH, "user.five", text, 1));
	RET(getx(AT_FDCWD, "f", 0, "user.two", text, 0));
	ERR(syscall(SYS_getxattrat_, directory, "f", 0, "user.two", &arguments, 8));
	ERR(syscall(SYS_getxattrat_, directory, "f", 0, "user.two", NULL, sizeof arguments));
	arguments.flags = 1;
	ERR(syscall(SYS_getxattrat_, directory, "f", 0, "user.two", &arguments, sizeof arguments));
	SHOW(syscall(SYS_listxattrat_, directory, "f", 0, text, sizeof text) == listxattr("f", NULL, 0));
	ERR(syscall(SYS_removexattrat_, directory, "f", 0, "user.two"));
	ERR(syscall(SYS_removexattrat_, fd, "", AT_EMPTY_PATH, "user.two"));
	ERR(syscall(SYS_removexattrat_, fd, "", 1u << 30, "user.three"));
}

static _Atomic uint32_t word, other;

static void *sleeps(void *mask)
{
	return (void *)syscall(SYS_futex_wait_, &word, 5, (uintptr_t)mask, SIZE_U32 | PRIVATE, NULL, 0);
}

SECTION("futex_wait, futex_wake, futex_requeue")
{
	struct futex_waitv waiters[2] = { { 5, (uintptr_t)&word, SIZE_U32 | PRIVATE, 0 },
		{ 0, (uintptr_t)&other, SIZE_U32 | PRIVATE, 0 } };
	struct timespec past = { 1, 0 };
	pthread_t threads[3];
	void *result;

	word = 5;
	RET(syscall(SYS_futex_wake_, &word, ~0u, 1, SIZE_U32));
	ERR(syscall(SYS_futex_wake_, &word, ~0u, 1, 0));
	ERR(syscall(SYS_futex_wake_, &word, ~0u, 1, 1u << 20));
	ERR(syscall(SYS_futex_wake_, &word, 0, 1, SIZE_U32));
	ERR(syscall(SYS_futex_wake_, &word, 1ul << 40, 1, SIZE_U32));
	ERR(syscall(SYS_futex_wake_, (char *)&word + 1, ~0u, 1, SIZE_U32));
	ERR(syscall(SYS_futex_wake_, 16, ~0u, 1, SIZE_U32));
	ERR(syscall(SYS_futex_wait_, &word, 4, ~0u, SIZE_U32, NULL, 0));
	ERR(syscall(SYS_futex_wait_, &word, 1ul << 40, ~0u, SIZE_U32, NULL, 0));
	ERR(syscall(SYS_futex_wait_, &word, 5, 0, SIZE_U32, NULL, 0));
	ERR(syscall(SYS_futex_wait_, &word, 5, ~0u, SIZE_U32, &past, CLOCK_MONOTONIC));
	ERR(syscall(SYS_futex_wait_, &word, 5, ~0u, SIZE_U32, &past, CLOCK_REALTIME));
	ERR(syscall(SYS_futex_wait_, &word, 5, ~0u, SIZE_U32, &past, 7));
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, sleeps, (void *)(uintptr_t)(1 << i));
	sleep_ms(200);
	RET(syscall(SYS_futex_wake_, &word, 8, 10, SIZE_U32 | PRIVATE));
	RET(syscall(SYS_futex_wake_, &word, 2, 10, SIZE_U32 | PRIVATE));
	pthread_join(threads[1], &result);
	SHOW((long)result);
	waiters[0].val = 6;
	ERR(syscall(SYS_futex_requeue_, waiters, 0, 0, 10));
	waiters[0].val = 5;
	ERR(syscall(SYS_futex_requeue_, waiters, 1, 0, 10));
	ERR(syscall(SYS_futex_requeue_, waiters, 0, -1, 10));
	RET(syscall(SYS_futex_requeue_, waiters, 0, 0, 10));
	RET(syscall(SYS_futex_wake_, &word, ~0u, 10, SIZE_U32 | PRIVATE));
	RET(syscall(SYS_futex_wake_, &other, ~0u, 10, SIZE_U32 | PRIVATE));
	pthread_join(threads[0], NULL);
	pthread_join(threads[2], NULL);
}

static void type_of(const char *name, int fd)
{
	struct statfs st = { 0 };

	if (fstatfs(fd, &st) < 0)
		say("%s: %s\n", name, error_name(errno));
	else
		say("%s: %#lx, blocks %ld, names %ld\n", name, (long)st.f_type, (long)st.f_blocks, (long)st.f_namelen);
	close(fd);
}

SECTION("fstatfs of what has no place in the tree")
{
	int pair[2];

	MUST(pipe(pair));
	type_of("pipe", pair[0]);
	type_of("socket", MUST(socket(AF_UNIX, SOCK_STREAM, 0)));
	type_of("eventfd", MUST(eventfd(0, 0)));
	type_of("proc", MUST(open("/proc", O_RDONLY)));
	struct statfs st;
	int memory = MUST(memfd_create("m", 0));
	MUST(fstatfs(memory, &st));
	HEX(st.f_type);
}

SECTION("preadv2, pwritev2: flags")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_APPEND, 0644)), pair[2];
	char text[16] = "";
	struct iovec out = { "abc", 3 }, in = { text, 8 };

	RET(pwritev2(fd, &out, 1, -1, 0));
	RET(pwritev2(fd, &out, 1, 0, RWF_DSYNC | RWF_SYNC | RWF_HIPRI));
	RET(pwritev2(fd, &out, 1, 0, 0x20));
	RET(preadv2(fd, &in, 1, 0, 0));
	TEXT(text);
	int plain = MUST(open("g", O_RDWR | O_CREAT, 0644));
	RET(pwritev2(plain, &out, 1, 0, RWF_APPEND));
	RET(pwritev2(plain, &out, 1, 0, RWF_APPEND));
	RET(lseek(plain, 0, SEEK_CUR));
	ERR(preadv2(plain, &in, 1, 0, 0x10000));
	ERR(pwritev2(plain, &out, 1, 0, RWF_APPEND | 0x20));
	ERR(preadv2(plain, &in, 1, -2, 0));
	RET(preadv2(plain, &in, 1, 0, RWF_NOWAIT));
	MUST(pipe(pair));
	ERR(preadv2(pair[0], &in, 1, -1, RWF_NOWAIT));
	ERR(preadv2(pair[0], &in, 1, 0, 0));
}

SECTION("getcpu, with and without places")
{
	unsigned cpu = 9999, node = 9999;

	ERR(syscall(SYS_getcpu, &cpu, &node, NULL));
	SHOW(cpu < 4096 && node < 64);
	ERR(syscall(SYS_getcpu, NULL, NULL, NULL));
	ERR(syscall(SYS_getcpu, (void *)8, NULL, NULL));
}
