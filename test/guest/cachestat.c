/* cachestat(2). */
#include "observe.h"

struct range {
	uint64_t offset, length;
};
struct stats {
	uint64_t cached, dirty, writeback, evicted, recently;
};

static struct stats stats;

static long cachestat(int fd, uint64_t offset, uint64_t length, unsigned flags)
{
	struct range range = { offset, length };

	memset(&stats, 0xff, sizeof stats);
	return syscall(SYS_cachestat, fd, &range, &stats, flags);
}

static int filled(const char *path, int pages)
{
	char page[4096] = { 1 };
	int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));

	for (int i = 0; i < pages; i++)
		MUST(write(fd, page, sizeof page));
	return fd;
}

SECTION("cachestat: pages of a file that was written")
{
	int fd = filled("f", 8);

	ERR(cachestat(fd, 0, 0, 0));
	SHOW(stats.cached);
	SHOW(stats.recently);
	ERR(cachestat(fd, 0, 4096, 0));
	SHOW(stats.cached);
	ERR(cachestat(fd, 0, 4097, 0));
	SHOW(stats.cached);
	ERR(cachestat(fd, 4095, 2, 0));
	SHOW(stats.cached);
	ERR(cachestat(fd, 6 * 4096, 0, 0));
	SHOW(stats.cached);
	ERR(cachestat(fd, 6 * 4096, 1 << 20, 0));
	SHOW(stats.cached);
	ERR(cachestat(fd, 100 * 4096, 0, 0));
	SHOW(stats.cached);
}

SECTION("cachestat: holes of memory files are not there")
{
	char byte = 1;
	int fd = MUST(memfd_create("m", 0));

	ERR(cachestat(fd, 0, 0, 0));
	SHOW(stats.cached);
	MUST(ftruncate(fd, 1 << 20));
	ERR(cachestat(fd, 0, 0, 0));
	SHOW(stats.cached);
	MUST(pwrite(fd, &byte, 1, 5 * 4096));
	MUST(pwrite(fd, &byte, 1, 9 * 4096));
	ERR(cachestat(fd, 0, 0, 0));
	SHOW(stats.cached);
	SHOW(stats.dirty);
	SHOW(stats.writeback);
	SHOW(stats.evicted);
	ERR(cachestat(fd, 6 * 4096, 3 * 4096, 0));
	SHOW(stats.cached);
	/* Larger than what is looked at in one piece. */
	MUST(ftruncate(fd, 1l << 30));
	MUST(pwrite(fd, &byte, 1, (1l << 30) - 1));
	ERR(cachestat(fd, 0, 0, 0));
	SHOW(stats.cached);
}

SECTION("cachestat: what has no pages")
{
	int pair[2];

	MUST(pipe(pair));
	ERR(cachestat(pair[0], 0, 0, 0));
	SHOW(stats.cached);
	ERR(cachestat(MUST(open("/proc/self/stat", O_RDONLY)), 0, 0, 0));
	SHOW(stats.cached);
}

SECTION("cachestat: errors, in their order")
{
	struct range range = { 0, 0 };
	int fd = filled("f", 1);

	ERR(syscall(SYS_cachestat, -1, &range, &stats, 0));
	ERR(syscall(SYS_cachestat, 99, NULL, &stats, 0));
	ERR(syscall(SYS_cachestat, fd, NULL, &stats, 1));
	ERR(syscall(SYS_cachestat, fd, &range, &stats, 1));
	ERR(syscall(SYS_cachestat, fd, &range, NULL, 1));
	ERR(syscall(SYS_cachestat, fd, &range, NULL, 0));
	ERR(cachestat(MUST(open("f", O_PATH)), 0, 0, 0));
}

SECTION("cachestat: who may not change a file may not ask")
{
	need_root();
	int fd = filled("f", 1);
	int reader = MUST(open("f", O_RDONLY));

	MUST(chmod("f", 0644));
	ERR(cachestat(reader, 0, 0, 0));
	MUST(setresuid(65534, 65534, 65534));
	ERR(cachestat(reader, 0, 0, 0));
	ERR(cachestat(reader, 0, 0, 1));
	ERR(cachestat(fd, 0, 0, 0));
	SHOW(stats.cached);
}
