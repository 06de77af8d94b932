/* FUSE: what the kernel keeps of a file's bytes, and what mappings do to them. */
#include "fuse-server.h"

/* An open file on the mount, with `size` bytes of 'a'. */
static int make_file(const char *path, size_t size)
{
	char data[size];
	int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));

	memset(data, 'a', size);
	MUST(write(fd, data, size));
	return fd;
}

/* One byte as the server has it. */
static void served(const char *path, off_t offset)
{
	const unsigned before = shared->open_flags;
	char byte = '-';

	shared->open_flags = FOPEN_DIRECT_IO;
	int fd = MUST(open(path, O_RDONLY));
	MUST(pread(fd, &byte, 1, offset));
	close(fd);
	shared->open_flags = before;
	say("at %ld the server has %c\n", (long)offset, byte);
}

static char *map_shared(int fd, size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	SHOW(p != MAP_FAILED);
	return p;
}

SECTION("fuse cache: msync sends what a shared mapping has written")
{
	need_fuse();
	pid_t pid = start("");
	int fd = make_file("m/a", 6000);
	char *p = map_shared(fd, 8192);
	p[0] = 'X';
	p[5000] = 'Y';
	unsigned writes = shared->count[FUSE_WRITE], syncs = shared->count[FUSE_FSYNC];
	ERR(msync(p, 8192, MS_SYNC));
	SHOW(shared->count[FUSE_WRITE] > writes);
	SHOW(shared->count[FUSE_FSYNC] - syncs);
	served("m/a", 0);
	served("m/a", 5000);
	served("m/a", 5001);
	writes = shared->count[FUSE_WRITE];
	ERR(msync(p, 8192, MS_SYNC));
	SHOW(shared->count[FUSE_WRITE] - writes);
	struct stat st;
	MUST(stat("m/a", &st));
	SHOW(st.st_size);
	munmap(p, 8192);
	close(fd);
	finish(pid);
}

SECTION("fuse cache: so do munmap, fsync, close and the end of a process")
{
	need_fuse();
	pid_t pid = start("");
	int fd = make_file("m/a", 20000);
	char *p = map_shared(fd, 20000);
	p[0] = 'f';
	ERR(fsync(fd));
	served("m/a", 0);
	p[4096] = 'c';
	ERR(close(fd));
	served("m/a", 4096);
	p[8192] = 'u';
	ERR(munmap(p, 20000));
	served("m/a", 8192);
	fd = MUST(open("m/a", O_RDWR));
	pid_t child = MUST(fork());
	if (child == 0) {
		p = mmap(NULL, 20000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
		p[12288] = 'e';
		_exit(0);
	}
	close(fd);
	waitpid(child, NULL, 0);
	served("m/a", 12288);
	served("m/a", 0);
	finish(pid);
}

SECTION("fuse cache: read, write and mappings see each other's bytes")
{
	char text[8] = "";

	need_fuse();
	pid_t pid = start("");
	int fd = make_file("m/a", 10000);
	char *p = map_shared(fd, 10000);
	char *same = mmap(NULL, 10000, PROT_READ, MAP_SHARED, fd, 0);
	RET(pwrite(fd, "written", 7, 4094));
	SHOW(memcmp(p + 4094, "written", 7));
	memcpy(p + 100, "mapped", 6);
	RET(pread(fd, text, 6, 100));
	TEXT(text);
	SHOW(memcmp(same + 100, "mapped", 6));
	/* In a page that the mapping has written, and not all of it. */
	RET(pwrite(fd, "!", 1, 106));
	ERR(msync(p, 10000, MS_SYNC));
	served("m/a", 100);
	served("m/a", 106);
	served("m/a", 4095);
	munmap(p, 10000);
	munmap(same, 10000);
	close(fd);
	finish(pid);
}

SECTION("fuse cache: the size of a mapped file changes")
{
	int status;

	need_fuse();
	pid_t pid = start("");
	int fd = make_file("m/a", 4096);
	char *p = map_shared(fd, 16384);
	RET(pwrite(fd, "end", 3, 9000));
	SHOW(p[9000]);
	SHOW(p[5000]);
	ERR(ftruncate(fd, 100));
	SHOW(p[99]);
	SHOW(p[100]);
	pid_t child = MUST(fork());
	if (child == 0)
		_exit(p[4096]);
	waitpid(child, &status, 0);
	STATUS(status);
	ERR(ftruncate(fd, 5000));
	SHOW(p[99]);
	SHOW(p[4999]);
	unsigned writes = shared->count[FUSE_WRITE];
	ERR(msync(p, 16384, MS_SYNC));
	SHOW(shared->count[FUSE_WRITE] - writes);
	munmap(p, 16384);
	close(fd);
	finish(pid);
}

SECTION("fuse cache: direct files can't be mapped to share")
{
	need_fuse();
	pid_t pid = start("");
	shared->open_flags = FOPEN_DIRECT_IO;
	int fd = make_file("m/a", 100);
	ERR(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	ERR(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	char *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	SHOW(p[99]);
	munmap(p, 4096);
	close(fd);
	fd = MUST(open("m/a", O_RDONLY));
	ERR(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	close(fd);
	finish(pid);
}

SECTION("fuse cache: what was read is kept, across opens if the server says so")
{
	char text[100];

	need_fuse();
	pid_t pid = start("");
	close(make_file("m/a", 10000));
	int fd = MUST(open("m/a", O_RDONLY));
	RET(pread(fd, text, 100, 0));
	unsigned reads = shared->count[FUSE_READ];
	RET(pread(fd, text, 100, 50));
	RET(pread(fd, text, 100, 0));
	SHOW(shared->count[FUSE_READ] - reads);
	close(fd);
	fd = MUST(open("m/a", O_RDONLY));
	reads = shared->count[FUSE_READ];
	RET(pread(fd, text, 100, 0));
	SHOW(shared->count[FUSE_READ] > reads);
	close(fd);
	shared->open_flags = FOPEN_KEEP_CACHE;
	fd = MUST(open("m/a", O_RDONLY));
	reads = shared->count[FUSE_READ];
	RET(pread(fd, text, 100, 0));
	SHOW(shared->count[FUSE_READ] - reads);
	ERR(ioctl(fd, SERVER_CHANGES));
	RET(pread(fd, text, 1, 0));
	SHOW(text[0]);
	ERR(ioctl(fd, SERVER_NOTIFIES));
	RET(pread(fd, text, 1, 0));
	SHOW(text[0]);
	SHOW(shared->count[FUSE_READ] > reads);
	close(fd);
	finish(pid);
}

static void see_change(unsigned flags)
{
	char byte = 0;

	need_fuse();
	more_init_flags = flags;
	pid_t pid = start("");
	int fd = make_file("m/a", 100);
	shared->attr_valid = 0;
	struct stat st;
	MUST(fstat(fd, &st));
	RET(pread(fd, &byte, 1, 0));
	ERR(ioctl(fd, SERVER_MODIFIES));
	RET(pread(fd, &byte, 1, 0));
	SHOW(byte);
	MUST(fstat(fd, &st));
	RET(pread(fd, &byte, 1, 0));
	SHOW(byte);
	close(fd);
	finish(pid);
}

SECTION("fuse cache: another time of change means other bytes where that was agreed on")
{
	see_change(FUSE_AUTO_INVAL_DATA);
}

SECTION("fuse cache: and says nothing where it was not")
{
	see_change(0);
}

SECTION("fuse cache: a mapping shows what the server declares new")
{
	need_fuse();
	pid_t pid = start("");
	int fd = make_file("m/a", 8192);
	char *p = map_shared(fd, 8192);
	p[4096] = 'M';
	SHOW(p[0]);
	/* A server of one thread can't take the page back while it declares others old. */
	ERR(msync(p, 8192, MS_SYNC));
	ERR(ioctl(fd, SERVER_NOTIFIES));
	while (*(volatile char *)p != 'S')
		sched_yield();
	SHOW(p[0]);
	SHOW(p[4096]);
	served("m/a", 0);
	served("m/a", 4096);
	munmap(p, 8192);
	close(fd);
	finish(pid);
}

SECTION("fuse cache: a write that the server refuses leaves nothing behind")
{
	char byte = 0;

	need_fuse();
	pid_t pid = start("");
	int fd = make_file("m/a", 8192);
	char *p = map_shared(fd, 8192);
	shared->fail_opcode = FUSE_WRITE;
	shared->fail_error = ENOSPC;
	RET(pwrite(fd, "no", 2, 10));
	p[0] = 'n';
	ERR(msync(p, 8192, MS_SYNC));
	ERR(msync(p, 8192, MS_SYNC));
	p[0] = 'm';
	ERR(fsync(fd));
	ERR(fsync(fd));
	shared->fail_opcode = 0;
	RET(pread(fd, &byte, 1, 10));
	SHOW(byte);
	served("m/a", 0);
	munmap(p, 8192);
	close(fd);
	finish(pid);
}

SECTION("fuse cache: writes through a descriptor that asks the server each time")
{
	char byte = 0;

	need_fuse();
	pid_t pid = start("");
	int fd = make_file("m/a", 8192);
	char *p = map_shared(fd, 8192);
	p[1] = 'p';
	shared->open_flags = FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE;
	int direct = MUST(open("m/a", O_RDWR));
	RET(pread(direct, &byte, 1, 1));
	SHOW(byte);
	RET(pwrite(direct, "D", 1, 2));
	RET(pread(fd, &byte, 1, 2));
	SHOW(byte);
	munmap(p, 8192);
	close(direct);
	close(fd);
	finish(pid);
}

SECTION("fuse cache: a program that is run and mapped at the same time")
{
	need_fuse();
	pid_t pid = start(",allow_other");
	int fd = MUST(open("m/script", O_RDWR | O_CREAT, 0755));
	MUST(write(fd, "#!/bin/sh\nexit 7\n", 17));
	close(fd);
	pid_t child = MUST(fork());
	if (child == 0) {
		execl("m/script", "script", NULL);
		_exit(1);
	}
	int status;
	waitpid(child, &status, 0);
	STATUS(status);
	finish(pid);
}

SECTION("fuse cache: a large file in pieces")
{
	need_fuse();
	pid_t pid = start("");
	int fd = make_file("m/a", 65536);
	char *p = map_shared(fd, 65536);
	for (int i = 0; i < 65536; i += 4096)
		p[i + 7] = 'A' + i / 4096;
	ERR(msync(p, 65536, MS_SYNC));
	for (int i = 0; i < 65536; i += 20480)
		served("m/a", i + 7);
	munmap(p, 65536);
	close(fd);
	finish(pid);
}
