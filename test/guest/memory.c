/* Address spaces: mmap and its relatives, protection, faults, what a fork shares. */
#include "observe.h"
#include <setjmp.h>
#include <ucontext.h>

#define PAGE 4096

static sigjmp_buf escape;
static volatile int fault_signo, fault_code;
static void *volatile fault_address;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)context;
	fault_signo = signo;
	fault_code = info->si_code;
	fault_address = info->si_addr;
	siglongjmp(escape, 1);
}

static void catch_faults(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	MUST(sigaction(SIGSEGV, &action, NULL));
	MUST(sigaction(SIGBUS, &action, NULL));
}

/* Touches a byte and says what came of it. */
static void touch(const char *what, volatile char *at, bool write)
{
	fault_signo = 0;
	if (sigsetjmp(escape, 1) == 0) {
		if (write)
			*at = 1;
		else
			(void)*at;
	}
	if (fault_signo == 0)
		say("%s: fine\n", what);
	else
		say("%s: %s code %d, address is right: %d\n", what, signal_name(fault_signo), fault_code,
		    fault_address == at);
}

static char *map(size_t length, int protection)
{
	char *at = mmap(NULL, length, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(at == MAP_FAILED ? -1 : 0);
	return at;
}

static int map_error(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
	return mmap(at, length, protection, flags, fd, offset) == MAP_FAILED ? -1 : 0;
}

SECTION("mmap: argument errors")
{
	write_file("f", "text");
	int reader = MUST(open("f", O_RDONLY)), writer = MUST(open("f", O_WRONLY)), pair[2];

	MUST(pipe(pair));
	ERR(map_error(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ERR(map_error(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
	ERR(map_error(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0));
	ERR(map_error(NULL, PAGE, PROT_READ, MAP_PRIVATE, reader, 100));
	ERR(map_error(NULL, PAGE, PROT_READ, MAP_PRIVATE, writer, 0));
	ERR(map_error(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0));
	ERR(map_error(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0));
	ERR(map_error(NULL, PAGE, PROT_READ, MAP_PRIVATE, pair[0], 0));
	ERR(map_error((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ERR(map_error(NULL, -PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ERR(map_error(NULL, 1ul << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ERR(map_error(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x200000, reader, 0));
	ERR(map_error((void *)(-1ul << 13), PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ERR(map_error(NULL, PAGE, PROT_READ, MAP_PRIVATE, reader, 1ll << 40));
	ERR(munmap((void *)1, PAGE));
	ERR(munmap((void *)PAGE, 0));
	ERR(munmap((void *)0x10000000, PAGE));
}

SECTION("mmap: a hint is taken when free; MAP_FIXED replaces; NOREPLACE refuses")
{
	char *at = map(8 * PAGE, PROT_READ | PROT_WRITE);

	at[0] = 'a';
	at[PAGE] = 'b';
	MUST(munmap(at + 2 * PAGE, 4 * PAGE));
	SHOW(mmap(at + 3 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == at + 3 * PAGE);
	SHOW(mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == at);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	ERR(map_error(at, PAGE, PROT_READ, flags, -1, 0));
	ERR(map_error(at + 2 * PAGE, 2 * PAGE, PROT_READ, flags, -1, 0));
	SHOW(mmap(at + 2 * PAGE, PAGE, PROT_READ, flags, -1, 0) == at + 2 * PAGE);
	SHOW(mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
	SHOW(at[0]);
	SHOW(at[PAGE] == 'b');
}

SECTION("mprotect: faults tell code and address")
{
	char *at = map(4 * PAGE, PROT_READ | PROT_WRITE);

	catch_faults();
	touch("write", at, true);
	ERR(mprotect(at, PAGE, PROT_READ));
	touch("read a read-only page", at + 5, false);
	touch("write a read-only page", at + 5, true);
	ERR(mprotect(at, PAGE, PROT_NONE));
	touch("read a closed page", at + 7, false);
	MUST(munmap(at + PAGE, PAGE));
	touch("read a hole", at + PAGE + 9, false);
	touch("read page zero", (char *)16, false);
	touch("the next page", at + 2 * PAGE, true);
	ERR(mprotect(at, 2 * PAGE, PROT_READ));
	touch("read after the failed mprotect", at, false);
	ERR(mprotect(at + 1, PAGE, PROT_READ));
	ERR(mprotect(at, 0, PROT_READ));
	ERR(mprotect(at, PAGE, 0x100));
	ERR(mprotect(at, PAGE, PROT_READ | PROT_GROWSDOWN));
}

SECTION("faults: a non-canonical address, execution of data")
{
	char *at = map(PAGE, PROT_READ | PROT_WRITE);

	catch_faults();
	fault_signo = 0;
	if (sigsetjmp(escape, 1) == 0)
		*(volatile char *)0x8000000000000000ull = 1;
	say("%s code %d address %p\n", signal_name(fault_signo), fault_code, fault_address);
	at[0] = (char)0xc3;
	fault_signo = 0;
	if (sigsetjmp(escape, 1) == 0)
		((void (*)(void))at)();
	say("%s code %d at the page: %d\n", signal_name(fault_signo), fault_code, fault_address == at);
	MUST(mprotect(at, PAGE, PROT_READ | PROT_EXEC));
	((void (*)(void))at)();
	say("an executable page runs\n");
}

SECTION("file mappings: SIGBUS beyond the end, zeroes up to the page's end")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	catch_faults();
	MUST(write(fd, "text", 4));
	char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TEXT(at);
	SHOW(at[PAGE - 1]);
	touch("read behind the end", at + PAGE, false);
	at[100] = 'x';
	MUST(ftruncate(fd, PAGE + 1));
	touch("read after growing", at + PAGE, false);
	MUST(ftruncate(fd, 0));
	touch("read after truncating", at, false);
}

SECTION("file mappings: shared ones and write(2) see each other, private ones don't write")
{
	char bytes[8] = "";
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	MUST(write(fd, "0123456789", 10));
	char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	shared[0] = 'a';
	MUST(pread(fd, bytes, 4, 0));
	TEXT(bytes);
	MUST(pwrite(fd, "b", 1, 1));
	SHOW(shared[1] == 'b');
	SHOW(private[1] == 'b');
	private[2] = 'c';
	SHOW(shared[2] == '2');
	MUST(pwrite(fd, "d", 1, 2));
	SHOW(private[2] == 'c');
	ERR(msync(shared, PAGE, MS_SYNC));
	ERR(msync(shared, PAGE, MS_ASYNC | MS_INVALIDATE));
	ERR(msync(shared, PAGE, MS_ASYNC | MS_SYNC));
	ERR(msync(shared + 1, PAGE, MS_SYNC));
	close(fd);
	shared[3] = 'e';
	TEXT(read_file("f"));
	char *again = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, MUST(open("f", O_RDONLY)), 0);
	TEXT(again);
	ERR(mprotect(again, PAGE, PROT_READ | PROT_WRITE));
}

SECTION("file mappings: an unlinked file's mapping and a later offset")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	MUST(pwrite(fd, "first", 5, 0));
	MUST(pwrite(fd, "second", 6, PAGE));
	MUST(unlink("f"));
	char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
	TEXT(at);
	close(fd);
	at[0] = 'S';
	TEXT(at);
	ERR(munmap(at, PAGE));
}

SECTION("fork: private memory is copied, shared memory is shared")
{
	char *private = map(PAGE, PROT_READ | PROT_WRITE);
	char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	private[0] = shared[0] = 'a';
	pid_t pid = fork();
	if (pid == 0) {
		SHOW(private[0] == 'a');
		private[0] = shared[0] = 'b';
		_exit(0);
	}
	STATUS(end_of(pid));
	SHOW(private[0] == 'a');
	SHOW(shared[0] == 'b');
}

SECTION("mremap: grow in place or move, shrink, fixed, errors")
{
	char *at = map(4 * PAGE, PROT_READ | PROT_WRITE);

	at[0] = 'a';
	at[3 * PAGE] = 'd';
	SHOW(mremap(at, 4 * PAGE, 2 * PAGE, 0) == at);
	SHOW(mremap(at, 2 * PAGE, 4 * PAGE, 0) == at);
	SHOW(at[3 * PAGE]);
	MUST(mprotect(at + 2 * PAGE, 2 * PAGE, PROT_READ));
	SHOW(mremap(at, 2 * PAGE, 3 * PAGE, 0) == MAP_FAILED);
	TEXT(error_name(errno));
	char *moved = mremap(at, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE);
	SHOW(moved != MAP_FAILED && moved != at);
	SHOW(moved[0] == 'a');
	char *target = map(4 * PAGE, PROT_NONE);
	SHOW(mremap(moved, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
	SHOW(target[0] == 'a');
	SHOW(mremap(target, PAGE, PAGE, MREMAP_FIXED, moved) == MAP_FAILED);
	TEXT(error_name(errno));
	SHOW(mremap(target + 1, PAGE, PAGE, 0) == MAP_FAILED);
	SHOW(mremap(target, PAGE, 0, 0) == MAP_FAILED);
	SHOW(mremap(target, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target + PAGE) == MAP_FAILED);
	SHOW(mremap(moved, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	TEXT(error_name(errno));
}

SECTION("mremap: DONTUNMAP and the duplicate of a shared mapping")
{
	char *at = map(2 * PAGE, PROT_READ | PROT_WRITE);

	at[0] = 'a';
	char *moved = mremap(at, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	SHOW(moved != MAP_FAILED && moved != at);
	SHOW(moved[0] == 'a');
	SHOW(at[0]);
	char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shared[0] = 's';
	char *twin = mremap(shared, 0, PAGE, MREMAP_MAYMOVE);
	SHOW(twin != MAP_FAILED && twin != shared && twin[0] == 's');
	twin[1] = 't';
	SHOW(shared[1] == 't');
	SHOW(mremap(at, 0, PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
}

SECTION("madvise: DONTNEED gives zeroes or the file back; errors")
{
	char *at = map(2 * PAGE, PROT_READ | PROT_WRITE);

	at[0] = at[PAGE] = 'a';
	ERR(madvise(at, PAGE, MADV_DONTNEED));
	SHOW(at[0]);
	SHOW(at[PAGE] == 'a');
	ERR(madvise(at, 2 * PAGE, MADV_FREE));
	at[0] = 'b';
	SHOW(at[0] == 'b');
	ERR(madvise(at + 1, PAGE, MADV_DONTNEED));
	ERR(madvise(at, PAGE, 1234));
	ERR(madvise(at, 0, MADV_DONTNEED));
	ERR(madvise(at, PAGE, MADV_WILLNEED));
	ERR(madvise(at, PAGE, MADV_SEQUENTIAL));
	MUST(munmap(at + PAGE, PAGE));
	ERR(madvise(at, 2 * PAGE, MADV_DONTNEED));
	write_file("f", "text");
	char *file = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, MUST(open("f", O_RDONLY)), 0);
	file[0] = 'T';
	ERR(madvise(file, PAGE, MADV_DONTNEED));
	TEXT(file);
	ERR(madvise(file, PAGE, MADV_FREE));
}

SECTION("madvise: DONTFORK and WIPEONFORK")
{
	char *gone = map(PAGE, PROT_READ | PROT_WRITE), *wiped = map(PAGE, PROT_READ | PROT_WRITE);

	gone[0] = wiped[0] = 'a';
	ERR(madvise(gone, PAGE, MADV_DONTFORK));
	ERR(madvise(wiped, PAGE, MADV_WIPEONFORK));
	pid_t pid = fork();
	if (pid == 0) {
		SHOW(wiped[0]);
		(void)*(volatile char *)gone;
		_exit(0);
	}
	STATUS(end_of(pid));
	SHOW(gone[0] == 'a' && wiped[0] == 'a');
	ERR(madvise(gone, PAGE, MADV_DOFORK));
	ERR(madvise(wiped, PAGE, MADV_KEEPONFORK));
	pid = fork();
	if (pid == 0)
		_exit(gone[0] == 'a' && wiped[0] == 'a' ? 3 : 4);
	STATUS(end_of(pid));
	char *shared = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ERR(madvise(shared, PAGE, MADV_WIPEONFORK));
}

SECTION("mincore: touched pages are resident")
{
	unsigned char resident[4] = { 0 };
	char *at = map(4 * PAGE, PROT_READ | PROT_WRITE);

	at[0] = at[2 * PAGE] = 1;
	ERR(mincore(at, 4 * PAGE, resident));
	SHOW((resident[0] & 1) && (resident[2] & 1));
	ERR(mincore(at + 1, PAGE, resident));
	ERR(mincore((void *)-1, 0, resident));
	MUST(munmap(at + PAGE, PAGE));
	ERR(mincore(at, 2 * PAGE, resident));
	ERR(mincore(at, PAGE, (unsigned char *)8));
	ERR(mincore(at, 0, resident));
}

SECTION("brk: grows, shrinks, zeroes")
{
	char *start = sbrk(0);

	SHOW(sbrk(3 * PAGE) == start);
	start[2 * PAGE] = 'a';
	SHOW((char *)sbrk(0) == start + 3 * PAGE);
	ERR(brk(start + PAGE));
	ERR(brk(start + 3 * PAGE));
	SHOW(start[2 * PAGE]);
	SHOW(syscall(SYS_brk, 0) == (long)(start + 3 * PAGE));
	SHOW(syscall(SYS_brk, 8) == (long)(start + 3 * PAGE));
	struct rlimit limit = { 1 << 20, 1 << 20 };
	MUST(setrlimit(RLIMIT_DATA, &limit));
	ERR(sbrk(8 << 20) == (void *)-1 ? -1 : 0);
	ERR(map_error(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ERR(map_error(NULL, 8 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

SECTION("RLIMIT_AS limits mappings; mlock")
{
	struct rlimit limit = { 64 << 20, RLIM_INFINITY };
	char *at = map(PAGE, PROT_READ | PROT_WRITE);

	MUST(setrlimit(RLIMIT_AS, &limit));
	ERR(map_error(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ERR(map_error(NULL, 8 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ERR(mlock(at, PAGE));
	ERR(munlock(at, PAGE));
	ERR(mlock((void *)0x10000000, PAGE));
	ERR(munlockall());
	ERR(mlockall(0));
	ERR(syscall(SYS_mlock2, at, PAGE, 8));
}

SECTION("memfd_create: sealing")
{
	int fd = MUST(memfd_create("name", MFD_ALLOW_SEALING | MFD_CLOEXEC));

	SHOW(fcntl(fd, F_GETFD));
	MUST(ftruncate(fd, 2 * PAGE));
	HEX(fcntl(fd, F_GET_SEALS));
	char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	MUST(munmap(shared, PAGE));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	ERR(ftruncate(fd, PAGE));
	ERR(ftruncate(fd, 3 * PAGE));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE));
	ERR(ftruncate(fd, 4 * PAGE));
	ERR(write(fd, "x", 1));
	ERR(map_error(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	ERR(map_error(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	HEX(fcntl(fd, F_GET_SEALS));
	fd = MUST(memfd_create("plain", 0));
	HEX(fcntl(fd, F_GET_SEALS));
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	write_file("f", "");
	ERR(fcntl(MUST(open("f", O_RDWR)), F_GET_SEALS));
	ERR(memfd_create("x", 0x8000));
	char path[64], target[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	target[MUST(readlink(path, target, sizeof target - 1))] = 0;
	TEXT(target);
}

SECTION("/proc/self/maps: one line a mapping, neighbours merged, in order")
{
	char line[4200], *at = map(6 * PAGE, PROT_READ | PROT_WRITE);
	unsigned long from, to, last = 0;
	int ordered = 1, stack = 0, heap = 0, vdso = 0, self = 0;

	MUST(mprotect(at + 2 * PAGE, PAGE, PROT_READ));
	MUST(munmap(at + 4 * PAGE, PAGE));
	sbrk(PAGE);
	FILE *file = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof line, file)) {
		char permissions[5], name[4096] = "";

		sscanf(line, "%lx-%lx %4s %*x %*s %*d %4095s", &from, &to, permissions, name);
		ordered &= from >= last && to > from;
		last = to;
		if (to > (unsigned long)at && from < (unsigned long)at + 6 * PAGE) {
			long start = from < (unsigned long)at ? 0 : (long)(from - (unsigned long)at) / PAGE;
			say("page %ld %s\n", start, permissions);
		}
		stack += !strcmp(name, "[stack]") && !strcmp(permissions, "rw-p");
		heap += !strcmp(name, "[heap]");
		vdso += !strcmp(name, "[vdso]");
		self += !strcmp(name, observe_self);
	}
	fclose(file);
	SHOW(ordered);
	SHOW(stack);
	SHOW(heap > 0);
	SHOW(vdso);
	SHOW(self >= 3);
}

SECTION("the stack grows down to its limit")
{
	struct rlimit limit;

	MUST(getrlimit(RLIMIT_STACK, &limit));
	SHOW(limit.rlim_cur);
	volatile char *low = __builtin_alloca(4 << 20);
	low[0] = 1;
	SHOW(low[0]);
	pid_t pid = fork();
	if (pid == 0) {
		for (volatile char *at = low;; at -= PAGE)
			*at = 1;
	}
	STATUS(end_of(pid));
}

SECTION("process_vm_readv and writev on a child")
{
	char *memory = map(PAGE, PROT_READ | PROT_WRITE), copy[8] = "";
	struct iovec local = { copy, 5 }, remote = { memory, 5 };

	strcpy(memory, "child");
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	strcpy(memory, "paren");
	RET(process_vm_readv(pid, &local, 1, &remote, 1, 0));
	TEXT(copy);
	memcpy(copy, "wrote", 5);
	RET(process_vm_writev(pid, &local, 1, &remote, 1, 0));
	memset(copy, 0, sizeof copy);
	RET(process_vm_readv(pid, &local, 1, &remote, 1, 0));
	TEXT(copy);
	remote.iov_base = (void *)8;
	ERR(process_vm_readv(pid, &local, 1, &remote, 1, 0));
	ERR(process_vm_readv(pid, &local, 1, &remote, 1, 1));
	ERR(process_vm_readv(99999999, &local, 1, &remote, 1, 0));
	kill(pid, SIGKILL);
	STATUS(end_of(pid));
}

SECTION("remap_file_pages of shared anonymous memory")
{
	char *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *own = map(PAGE, PROT_READ | PROT_WRITE);

	for (int i = 0; i < 4; i++)
		memory[i * PAGE] = 'a' + i;
	/* In reverse: the pages whose place is taken are still there. */
	for (int i = 0; i < 4; i++)
		ERR(remap_file_pages(memory + i * PAGE, PAGE, 0, 3 - i, 0));
	say("%c%c%c%c\n", memory[0], memory[PAGE], memory[2 * PAGE], memory[3 * PAGE]);
	memory[0] = 'X';
	ERR(remap_file_pages(memory + PAGE, 2 * PAGE, 0, 2, 0));
	say("%c%c%c%c\n", memory[0], memory[PAGE], memory[2 * PAGE], memory[3 * PAGE]);
	ERR(remap_file_pages(memory, PAGE, PROT_READ, 0, 0));
	ERR(remap_file_pages(own, PAGE, 0, 0, 0));
	ERR(remap_file_pages(memory, 0, 0, 0, 0));
	/* A child sees the same pages at the same places. */
	pid_t pid = fork();
	if (pid == 0) {
		memory[PAGE] = 'C';
		ERR(remap_file_pages(memory + 3 * PAGE, PAGE, 0, 1, 0));
		_exit(memory[3 * PAGE]);
	}
	STATUS(end_of(pid));
	say("%c%c%c%c\n", memory[0], memory[PAGE], memory[2 * PAGE], memory[3 * PAGE]);
	ERR(munmap(memory, 4 * PAGE));
	SHOW(mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

SECTION("a mapping that is all that holds its file is replaced by another part of it, and moved")
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	char *memory, *moved;

	MUST(ftruncate(fd, 4 * PAGE));
	for (int i = 0; i < 4; i++)
		MUST(pwrite(fd, &"abcd"[i], 1, i * PAGE));
	memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	ERR(remap_file_pages(memory, 2 * PAGE, 0, 2, 0));
	say("%c%c\n", memory[0], memory[PAGE]);
	moved = mremap(memory, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, map(2 * PAGE, PROT_READ));
	say("%c%c\n", moved[0], moved[PAGE]);
	moved[0] = 'X';
	ERR(munmap(moved, 2 * PAGE));
	fd = MUST(open("f", O_RDONLY));
	RET(pread(fd, moved = malloc(1), 1, 2 * PAGE));
	say("%c\n", *moved);

	/* The whole of shared anonymous memory, too. */
	memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memory[PAGE] = 'Y';
	ERR(remap_file_pages(memory, 2 * PAGE, 0, 0, 0));
	say("%c\n", memory[PAGE]);
}

SECTION("madvise, MAP_POPULATE: much memory is made present; who waits for it can be killed")
{
	size_t size = 80 << 20, all = 1ull << 40;
	char *memory = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *zeroes = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	unsigned char present = 0;

	ERR(mincore(zeroes + size - PAGE, PAGE, &present));
	SHOW(present & 1);
	ERR(madvise(memory, size, MADV_POPULATE_READ));
	ERR(mincore(memory + size - PAGE, PAGE, &present));
	SHOW(present & 1);
	ERR(madvise(memory + 1, size, MADV_POPULATE_READ));
	ERR(madvise(memory, -PAGE, MADV_POPULATE_READ));
	munmap(memory + size - PAGE, PAGE);
	ERR(madvise(memory, size, MADV_POPULATE_READ));
	/* That takes minutes. */
	pid_t pid = fork();
	if (pid == 0) {
		madvise(memory + size, all - size, MADV_POPULATE_READ);
		_exit(0);
	}
	kill(pid, SIGKILL);
	STATUS(end_of(pid));
}

SECTION("process_madvise")
{
	char *memory = map(4 * PAGE, PROT_READ | PROT_WRITE);
	struct iovec list[2] = { { memory, PAGE }, { memory + 2 * PAGE, PAGE } }, bad = { memory + 1, PAGE };
	int own = MUST(syscall(SYS_pidfd_open, getpid(), 0));

	memory[0] = 1;
	RET(syscall(SYS_process_madvise, own, list, 2, MADV_COLD, 0));
	RET(syscall(SYS_process_madvise, own, list, 2, MADV_DONTNEED, 0));
	SHOW(memory[0]);
	ERR(syscall(SYS_process_madvise, own, list, 2, MADV_COLD, 1));
	ERR(syscall(SYS_process_madvise, 99, list, 2, MADV_COLD, 0));
	ERR(syscall(SYS_process_madvise, STDIN_FILENO, list, 2, MADV_COLD, 0));
	ERR(syscall(SYS_process_madvise, own, list, 2, 9999, 0));
	ERR(syscall(SYS_process_madvise, own, &bad, 1, MADV_COLD, 0));
	ERR(syscall(SYS_process_madvise, own, (void *)8, 1, MADV_COLD, 0));
	munmap(memory + 2 * PAGE, PAGE);
	RET(syscall(SYS_process_madvise, own, list, 2, MADV_COLD, 0));
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	int child = MUST(syscall(SYS_pidfd_open, pid, 0));
	RET(syscall(SYS_process_madvise, child, list, 1, MADV_WILLNEED, 0));
	ERR(syscall(SYS_process_madvise, child, list, 1, MADV_DONTNEED, 0));
	kill(pid, SIGKILL);
	STATUS(end_of(pid));
	ERR(syscall(SYS_process_madvise, child, list, 1, MADV_WILLNEED, 0));
}
