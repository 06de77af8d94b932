/* memfd_secret(2): memory that only those reach who have it mapped. */
#include "observe.h"

#include <sys/ptrace.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static int secret(unsigned flags)
{
	return (int)syscall(SYS_memfd_secret, flags);
}

static char *map(int fd, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

SECTION("memfd_secret: flags and the file")
{
	char path[64], target[64] = "";
	struct stat st;

	ERR(secret(1));
	ERR(secret(O_NONBLOCK));
	ERR(secret(O_CLOEXEC | 2));
	int plain = MUST(secret(0));
	int closed = MUST(secret(O_CLOEXEC));
	SHOW(fcntl(plain, F_GETFD));
	SHOW(fcntl(closed, F_GETFD));
	SHOW(fcntl(plain, F_GETFL) & O_ACCMODE);
	MUST(fstat(plain, &st));
	HEX(st.st_mode);
	SHOW(st.st_size);
	SHOW(st.st_nlink);
	SHOW(st.st_uid == geteuid());
	snprintf(path, sizeof path, "/proc/self/fd/%d", plain);
	MUST(readlink(path, target, sizeof target - 1));
	TEXT(target);
}

SECTION("memfd_secret: it is reached by mappings only")
{
	char byte = 1;
	struct iovec piece = { &byte, 1 };
	int fd = MUST(secret(0));

	ERR(read(fd, &byte, 1));
	ERR(write(fd, &byte, 1));
	ERR(pread(fd, &byte, 1, 0));
	ERR(pwrite(fd, &byte, 1, 0));
	ERR(readv(fd, &piece, 1));
	ERR(lseek(fd, 0, SEEK_SET));
	ERR(fallocate(fd, 0, 0, 4096));
	ERR(fsync(fd));
	ERR(fcntl(fd, F_GET_SEALS));
	ERR(ftruncate(fd, 8192));
	ERR(ftruncate(fd, 16384));
	ERR(ftruncate(fd, 8192));
	ERR(ftruncate(fd, 0));
	ERR(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
	ERR(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	char *at = map(fd, 8192);
	SHOW(at != MAP_FAILED);
	SHOW(at[0]);
	at[4096] = 7;
	char *again = map(fd, 8192);
	SHOW(again[4096]);
}

SECTION("memfd_secret: beyond its end there is nothing")
{
	int fd = MUST(secret(0));
	char *at = map(fd, 4096);

	at[0] = 1;
	say("goes on\n");
}

SECTION("memfd_secret: system calls of its own processes use it as other memory")
{
	int fd = MUST(secret(0)), pair[2];
	char word[8] = "";

	MUST(ftruncate(fd, 4096));
	char *at = map(fd, 4096);
	MUST(pipe(pair));
	strcpy(at, "hidden");
	RET(write(pair[1], at, 7));
	RET(read(pair[0], word, 7));
	TEXT(word);
	RET(write(pair[1], "public", 7));
	RET(read(pair[0], at + 100, 7));
	TEXT(at + 100);
	pid_t child = fork();
	if (child == 0) {
		TEXT(at);
		at[0] = 'H';
		_exit(0);
	}
	STATUS(end_of(child));
	TEXT(at);
}

SECTION("memfd_secret: nobody else reads it: process_vm_readv, ptrace, /proc/PID/mem")
{
	int fd = MUST(secret(0)), status;
	char bytes[8192] = "";

	MUST(ftruncate(fd, 4096));
	char *room = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = mmap(room + 4096, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	at[0] = 1;
	room[0] = 2;
	struct iovec local = { bytes, 8 }, remote = { at, 8 };
	RET(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	RET(process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
	local.iov_len = 8192;
	remote = (struct iovec){ room, 8192 };
	RET(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	int memory = MUST(open("/proc/self/mem", O_RDWR));
	RET(pread(memory, bytes, 8, (off_t)at));
	RET(pwrite(memory, bytes, 8, (off_t)at));
	RET(pread(memory, bytes, 8192, (off_t)room));
	pid_t child = fork();
	if (child == 0) {
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		SHOW(at[0]);
		_exit(0);
	}
	MUST(waitpid(child, &status, 0));
	errno = 0;
	ERR(ptrace(PTRACE_PEEKDATA, child, at, 0));
	ERR(ptrace(PTRACE_POKEDATA, child, at, 0));
	RET(ptrace(PTRACE_PEEKDATA, child, room, 0) & 0xff);
	MUST(ptrace(PTRACE_DETACH, child, 0, 0));
	STATUS(end_of(child));
}

static long field(char *at, const char *name)
{
	char line[512], pattern[64];
	unsigned long from = 0, to = 0;
	long value = -1;
	FILE *smaps = fopen("/proc/self/smaps", "re");

	snprintf(pattern, sizeof pattern, "%s: %%ld", name);
	while (fgets(line, sizeof line, smaps)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			continue;
		if (from == (unsigned long)at && sscanf(line, pattern, &value) == 1)
			break;
	}
	fclose(smaps);
	return value;
}

static long locked_kb(void)
{
	char *found = strstr(read_file("/proc/self/status"), "VmLck:");

	return found ? atol(found + 6) : -1;
}

SECTION("memfd_secret: it counts as locked, within RLIMIT_MEMLOCK")
{
	need_root();
	struct rlimit limit = { 65536, 65536 };
	int fd = MUST(secret(0));

	MUST(ftruncate(fd, 1 << 20));
	char *at = map(fd, 65536);
	SHOW(field(at, "Size"));
	SHOW(locked_kb());
	ERR(munlock(at, 65536));
	SHOW(locked_kb());
	ERR(mlock(at, 4096));
	ERR(munlockall());
	SHOW(locked_kb());
	MUST(munmap(at, 65536));
	SHOW(locked_kb());
	MUST(setrlimit(RLIMIT_MEMLOCK, &limit));
	MUST(setresuid(65534, 65534, 65534));
	ERR(map(fd, 65536 + 4096) == MAP_FAILED ? -1 : 0);
	at = map(fd, 65536);
	SHOW(at != MAP_FAILED);
	ERR(map(fd, 4096) == MAP_FAILED ? -1 : 0);
	pid_t child = fork();
	if (child == 0) {
		SHOW(locked_kb());
		_exit(0);
	}
	STATUS(end_of(child));
}
