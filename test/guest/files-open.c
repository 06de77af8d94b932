/* open(2), openat(2), openat2(2): flags, their errors, and how paths are walked. */
#include "observe.h"
#include <linux/openat2.h>

static int openat2_(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = flags, .mode = mode, .resolve = resolve };

	return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

SECTION("open: missing files, missing directories, not a directory")
{
	write_file("f", "text");
	ERR(open("nothing", O_RDONLY));
	ERR(open("no/where", O_RDONLY | O_CREAT, 0644));
	ERR(open("f/x", O_RDONLY));
	ERR(open("f/..", O_RDONLY));
	ERR(open("", O_RDONLY));
	ERR(open((char *)8, O_RDONLY));
	ERR(openat(-1, "f", O_RDONLY));
	ERR(openat(99, "f", O_RDONLY));
	ERR(openat(-1, "/", O_RDONLY));
}

SECTION("open: a directory can't be written or created")
{
	mkdir("d", 0755);
	ERR(open("d", O_WRONLY));
	ERR(open("d", O_RDWR));
	ERR(open("d", O_RDONLY | O_CREAT, 0644));
	ERR(open("d", O_RDONLY | O_DIRECTORY));
	ERR(open("d", O_RDONLY | O_TRUNC));
	write_file("f", "");
	ERR(open("f", O_RDONLY | O_DIRECTORY));
	ERR(open("new", O_RDONLY | O_CREAT | O_DIRECTORY, 0644));
	int fd = MUST(open("d", O_RDONLY));
	char byte;
	ERR(read(fd, &byte, 1));
	ERR(write(fd, &byte, 1));
}

SECTION("open: O_EXCL refuses files, directories and dangling links")
{
	write_file("f", "");
	mkdir("d", 0755);
	symlink("nowhere", "dangling");
	ERR(open("f", O_RDWR | O_CREAT | O_EXCL, 0644));
	ERR(open("d", O_RDWR | O_CREAT | O_EXCL, 0644));
	ERR(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0644));
	ERR(open("new", O_RDWR | O_CREAT | O_EXCL, 0644));
	ERR(open("new", O_RDWR | O_EXCL));
	ERR(open("dangling", O_RDWR | O_CREAT, 0644));
	ERR(access("nowhere", F_OK));
}

SECTION("open: trailing slashes")
{
	struct stat st;

	write_file("f", "");
	mkdir("d", 0755);
	symlink("d", "to-d");
	symlink("f", "to-f");
	ERR(open("f/", O_RDONLY));
	ERR(open("d/", O_RDONLY));
	ERR(open("d//.//", O_RDONLY));
	ERR(open("new/", O_RDWR | O_CREAT, 0644));
	ERR(open("to-f/", O_RDONLY));
	ERR(open("to-d/", O_RDONLY | O_NOFOLLOW));
	ERR(lstat("to-d/", &st));
	SHOW(S_ISDIR(st.st_mode));
	ERR(mkdir("e/", 0755));
	ERR(unlink("f/"));
	ERR(rmdir("e/"));
	ERR(rename("f", "g/"));
	ERR(rename("d", "h/"));
	ERR(symlink("f", "s/"));
	ERR(link("f", "l/"));
}

SECTION("open: symbolic links, O_NOFOLLOW and loops")
{
	char name[16], target[16];

	write_file("f", "");
	symlink("f", "one");
	symlink("a", "b");
	symlink("b", "a");
	ERR(open("one", O_RDONLY | O_NOFOLLOW));
	ERR(open("one", O_RDONLY));
	ERR(open("a", O_RDONLY));
	ERR(open("a/x", O_RDONLY));
	ERR(open("a", O_RDONLY | O_NOFOLLOW));
	for (int i = 0; i < 45; i++) {
		snprintf(name, sizeof name, "c%d", i);
		snprintf(target, sizeof target, i ? "c%d" : "f", i - 1);
		symlink(target, name);
	}
	ERR(open("c39", O_RDONLY));
	ERR(open("c40", O_RDONLY));
}

SECTION("open: ENAMETOOLONG for names over 255 and paths over 4095 bytes")
{
	char name[300], path[5000];

	memset(name, 'n', sizeof name);
	name[255] = 0;
	ERR(open(name, O_RDWR | O_CREAT, 0644));
	name[255] = 'n';
	name[256] = 0;
	ERR(open(name, O_RDWR | O_CREAT, 0644));
	ERR(mkdir(name, 0755));
	ERR(symlink("x", name));
	memset(path, '/', sizeof path);
	path[4095] = 0;
	ERR(open(path, O_RDONLY));
	path[4095] = '/';
	path[4096] = 0;
	ERR(open(path, O_RDONLY));
	path[4096] = 0;
	ERR(symlink(path, "long"));
	path[4095] = 0;
	ERR(symlink(path, "long"));
}

SECTION("open: O_TMPFILE makes a file without a name, which linkat can give one")
{
	char path[64];
	struct stat st;
	int fd = MUST(open(".", O_TMPFILE | O_RDWR, 0600));

	MUST(write(fd, "hello", 5));
	MUST(fstat(fd, &st));
	SHOW(st.st_nlink);
	SHOW(st.st_size);
	HEX(st.st_mode);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ERR(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	MUST(fstat(fd, &st));
	SHOW(st.st_nlink);
	TEXT(read_file("named"));
	ERR(open(".", O_TMPFILE | O_RDONLY, 0600));
	fd = MUST(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ERR(linkat(AT_FDCWD, path, AT_FDCWD, "other", AT_SYMLINK_FOLLOW));
}

SECTION("open: O_PATH descriptors only name a file")
{
	char byte;
	struct stat st;
	char path[64];

	write_file("f", "text");
	symlink("f", "link");
	int fd = MUST(open("f", O_PATH));
	ERR(read(fd, &byte, 1));
	ERR(write(fd, "x", 1));
	ERR(fchmod(fd, 0600));
	ERR(lseek(fd, 0, SEEK_SET));
	ERR(ftruncate(fd, 0));
	ERR(fstat(fd, &st));
	SHOW(st.st_size);
	HEX(fcntl(fd, F_GETFL) & O_PATH);
	ERR(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	TEXT(read_file(path));
	int link = MUST(open("link", O_PATH | O_NOFOLLOW));
	MUST(fstat(link, &st));
	SHOW(S_ISLNK(st.st_mode));
	char target[8] = "";
	RET(readlinkat(link, "", target, sizeof target - 1));
	TEXT(target);
	int dir = MUST(open(".", O_PATH | O_DIRECTORY));
	ERR(openat(dir, "f", O_RDONLY));
	ERR(fchdir(dir));
	ERR(dup(fd));
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	RET(poll(&poll_fd, 1, 0));
	SHOW(poll_fd.revents == POLLNVAL);
}

SECTION("open: status flags as F_GETFL reports them")
{
	write_file("f", "");
	int mask = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECTORY | O_NOFOLLOW | O_CREAT | O_TRUNC | O_NOATIME | O_SYNC;
	int fd = MUST(open("f", O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_NONBLOCK, 0600));
	HEX(fcntl(fd, F_GETFL) & mask);
	ERR(fcntl(fd, F_SETFL, 0));
	HEX(fcntl(fd, F_GETFL) & mask);
	ERR(fcntl(fd, F_SETFL, O_APPEND | O_WRONLY | O_EXCL));
	HEX(fcntl(fd, F_GETFL) & mask);
	HEX(fcntl(MUST(open("f", O_WRONLY | O_NOFOLLOW)), F_GETFL) & mask);
	HEX(fcntl(MUST(open(".", O_RDONLY | O_DIRECTORY)), F_GETFL) & mask);
	HEX(fcntl(MUST(open("f", O_RDONLY | O_SYNC)), F_GETFL) & mask);
	fd = MUST(open("f", 3));
	char byte;
	ERR(read(fd, &byte, 1));
	ERR(write(fd, "x", 1));
}

SECTION("open: O_CLOEXEC and F_DUPFD")
{
	write_file("f", "");
	int fd = MUST(open("f", O_RDONLY | O_CLOEXEC));
	SHOW(fcntl(fd, F_GETFD));
	ERR(fcntl(fd, F_SETFD, 0));
	SHOW(fcntl(fd, F_GETFD));
	RET(fcntl(fd, F_DUPFD, 50));
	RET(fcntl(fd, F_DUPFD_CLOEXEC, 50));
	SHOW(fcntl(51, F_GETFD));
	RET(fcntl(fd, F_DUPFD, -1));
	RET(fcntl(fd, F_DUPFD, 100000000));
	RET(dup2(fd, fd));
	ERR(dup3(fd, fd, 0));
	ERR(dup3(fd, 60, O_APPEND));
	RET(dup3(fd, 60, O_CLOEXEC));
	SHOW(fcntl(60, F_GETFD));
	ERR(dup2(fd, -1));
	ERR(dup2(99, 98));
	ERR(dup2(99, 99));
	ERR(fcntl(fd, 12345));
	ERR(close(77));
}

SECTION("open: duplicates share the offset, separate opens do not")
{
	write_file("f", "0123456789");
	int one = MUST(open("f", O_RDONLY)), two = MUST(dup(one)), other = MUST(open("f", O_RDONLY));
	char bytes[4];
	MUST(read(one, bytes, 4));
	RET(lseek(two, 0, SEEK_CUR));
	RET(lseek(other, 0, SEEK_CUR));
	if (fork() == 0) {
		read(one, bytes, 3);
		_exit(0);
	}
	wait(NULL);
	RET(lseek(one, 0, SEEK_CUR));
}

SECTION("open: RLIMIT_NOFILE gives EMFILE, lowest free number first")
{
	struct rlimit limit = { 10, 10 };
	int fd, last = 0;

	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	while ((fd = open("/dev/null", O_RDONLY)) >= 0)
		last = fd;
	ERR(fd);
	SHOW(last);
	close(5);
	close(4);
	RET(open("/dev/null", O_RDONLY));
	RET(dup(0));
	ERR(dup2(0, 10));
	int pair[2];
	ERR(pipe(pair));
	limit.rlim_max = 20;
	limit.rlim_cur = 21;
	ERR(setrlimit(RLIMIT_NOFILE, &limit));
}

SECTION("open: writing needs write access, O_TRUNC empties")
{
	struct stat st;

	write_file("f", "some text");
	int fd = MUST(open("f", O_RDONLY));
	ERR(write(fd, "x", 1));
	ERR(ftruncate(fd, 0));
	MUST(open("f", O_WRONLY | O_TRUNC));
	MUST(stat("f", &st));
	SHOW(st.st_size);
	fd = MUST(open("f", O_WRONLY));
	char byte;
	ERR(read(fd, &byte, 1));
	ERR(pread(fd, &byte, 1, 0));
	RET(write(fd, "", 0));
}

SECTION("openat2: the argument's size and unknown bits are checked")
{
	struct open_how how = { .flags = O_RDONLY };
	struct {
		struct open_how how;
		uint64_t more;
	} larger = { { .flags = O_RDONLY }, 0 };

	write_file("f", "");
	ERR(syscall(SYS_openat2, AT_FDCWD, "f", &how, 8));
	ERR(syscall(SYS_openat2, AT_FDCWD, "f", &larger, sizeof larger));
	larger.more = 1;
	ERR(syscall(SYS_openat2, AT_FDCWD, "f", &larger, sizeof larger));
	ERR(syscall(SYS_openat2, AT_FDCWD, "f", NULL, sizeof how));
	ERR(openat2_(AT_FDCWD, "f", O_RDONLY, 0644, 0));
	ERR(openat2_(AT_FDCWD, "f", 1ull << 40, 0, 0));
	ERR(openat2_(AT_FDCWD, "f", O_RDONLY, 0, 1 << 20));
	ERR(openat2_(AT_FDCWD, "g", O_CREAT | O_RDWR, 010000, 0));
	ERR(openat2_(AT_FDCWD, "f", O_PATH | O_RDWR | O_TRUNC, 0, 0));
	ERR(openat2_(AT_FDCWD, "f", O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
}

SECTION("openat2: RESOLVE_BENEATH and RESOLVE_IN_ROOT")
{
	mkdir("d", 0755);
	mkdir("d/e", 0755);
	write_file("d/f", "");
	write_file("outside", "");
	symlink("../outside", "d/up");
	symlink("/f", "d/absolute");
	symlink("e/../f", "d/within");
	int dir = MUST(open("d", O_PATH));
	ERR(openat2_(dir, "f", O_RDONLY, 0, RESOLVE_BENEATH));
	ERR(openat2_(dir, "e/../f", O_RDONLY, 0, RESOLVE_BENEATH));
	ERR(openat2_(dir, "..", O_RDONLY, 0, RESOLVE_BENEATH));
	ERR(openat2_(dir, "../d/f", O_RDONLY, 0, RESOLVE_BENEATH));
	ERR(openat2_(dir, "/", O_RDONLY, 0, RESOLVE_BENEATH));
	ERR(openat2_(dir, "up", O_RDONLY, 0, RESOLVE_BENEATH));
	ERR(openat2_(dir, "absolute", O_RDONLY, 0, RESOLVE_BENEATH));
	ERR(openat2_(dir, "within", O_RDONLY, 0, RESOLVE_BENEATH));
	ERR(openat2_(dir, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
	ERR(openat2_(dir, "../../f", O_RDONLY, 0, RESOLVE_IN_ROOT));
	ERR(openat2_(dir, "absolute", O_RDONLY, 0, RESOLVE_IN_ROOT));
	ERR(openat2_(dir, "up", O_RDONLY, 0, RESOLVE_IN_ROOT));
	ERR(openat2_(dir, "/outside", O_RDONLY, 0, RESOLVE_IN_ROOT));
}

SECTION("openat2: RESOLVE_NO_SYMLINKS, NO_MAGICLINKS, NO_XDEV")
{
	write_file("f", "");
	symlink("f", "link");
	symlink(".", "here");
	ERR(openat2_(AT_FDCWD, "link", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
	ERR(openat2_(AT_FDCWD, "here/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
	ERR(openat2_(AT_FDCWD, "link", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS));
	ERR(openat2_(AT_FDCWD, "f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
	ERR(openat2_(AT_FDCWD, "link", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
	ERR(openat2_(AT_FDCWD, "/proc/self/cwd", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
	ERR(openat2_(AT_FDCWD, "/proc/self/cwd", O_RDONLY, 0, 0));
	ERR(openat2_(AT_FDCWD, "/proc/self/status", O_RDONLY, 0, RESOLVE_NO_XDEV));
	ERR(openat2_(MUST(open("/", O_PATH)), "proc/self", O_PATH, 0, RESOLVE_NO_XDEV));
	/* Absolute paths start at the root, wherever the caller is. */
	ERR(openat2_(MUST(open("/proc", O_PATH)), "/", O_PATH, 0, RESOLVE_NO_XDEV));
	MUST(chdir("/proc"));
	ERR(openat2_(AT_FDCWD, "/", O_PATH, 0, RESOLVE_NO_XDEV));
	ERR(openat2_(AT_FDCWD, "/self", O_PATH, 0, RESOLVE_NO_XDEV));
}

SECTION("close_range closes and marks")
{
	for (int fd = 20; fd < 30; fd++)
		MUST(dup2(0, fd));
	ERR(syscall(SYS_close_range, 22, 24, 0));
	SHOW(fcntl(21, F_GETFD));
	ERR(fcntl(22, F_GETFD));
	ERR(fcntl(24, F_GETFD));
	ERR(syscall(SYS_close_range, 25, ~0u, CLOSE_RANGE_CLOEXEC));
	SHOW(fcntl(25, F_GETFD));
	SHOW(fcntl(29, F_GETFD));
	ERR(syscall(SYS_close_range, 29, 28, 0));
	ERR(syscall(SYS_close_range, 20, 28, 64));
}
