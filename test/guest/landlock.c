/* landlock(7). */
#define HAS_CHILD
#include "observe.h"
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>

#define EXECUTE (1 << 0)
#define WRITE_FILE (1 << 1)
#define READ_FILE (1 << 2)
#define READ_DIR (1 << 3)
#define REMOVE_DIR (1 << 4)
#define REMOVE_FILE (1 << 5)
#define MAKE_CHAR (1 << 6)
#define MAKE_DIR (1 << 7)
#define MAKE_REG (1 << 8)
#define MAKE_SOCK (1 << 9)
#define MAKE_FIFO (1 << 10)
#define MAKE_SYM (1 << 12)
#define REFER (1 << 13)
#define TRUNCATE (1 << 14)
#define IOCTL_DEV (1 << 15)
#define BIND_TCP 1
#define CONNECT_TCP 2
#define SCOPE_ABSTRACT 1
#define SCOPE_SIGNAL 2

struct ruleset {
	uint64_t fs, net, scoped;
};
struct beneath {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));
struct port {
	uint64_t allowed, port;
};

static int create(uint64_t fs, uint64_t net, uint64_t scoped)
{
	struct ruleset attr = { fs, net, scoped };

	return syscall(444, &attr, sizeof attr, 0);
}

static int allow(int ruleset, const char *path, uint64_t rights)
{
	struct beneath rule = { rights, open(path, O_PATH | O_CLOEXEC) };
	int result = syscall(445, ruleset, 1, &rule, 0);
	int saved = errno;

	close(rule.parent);
	errno = saved;
	return result;
}

static int restrict_self(int ruleset)
{
	return syscall(446, ruleset, 0);
}

/* All rights in `fs` are gone but those in `path`, which stay below it. */
static void confine(uint64_t fs, const char *path, uint64_t rights)
{
	int ruleset = MUST(create(fs, 0, 0));

	if (path)
		MUST(allow(ruleset, path, rights));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(restrict_self(ruleset));
	close(ruleset);
}

static int close_after(int fd)
{
	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

#define OPEN(path, flags) ERR(close_after(open(path, flags, 0644)))

static void tree(void)
{
	MUST(mkdir("in", 0755));
	MUST(mkdir("in/deep", 0755));
	MUST(mkdir("out", 0755));
	write_file("in/file", "inside");
	write_file("in/deep/file", "deep");
	write_file("out/file", "outside");
}

static int as_child(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	OPEN("in/file", O_RDONLY);
	OPEN("out/file", O_RDONLY);
	return 0;
}

SECTION("rulesets: wrong arguments")
{
	struct ruleset attr = { READ_FILE, 0, 0 };
	char big[64] = { READ_FILE };

	SHOW(syscall(444, NULL, 0, 1) >= 6);
	ERR(syscall(444, &attr, sizeof attr, 1));
	ERR(syscall(444, NULL, 0, 0x80));
	ERR(syscall(444, &attr, 7, 0));
	ERR(syscall(444, &attr, 8192, 0));
	ERR(syscall(444, NULL, sizeof attr, 0));
	ERR(syscall(444, NULL, 1, 0));
	big[40] = 1;
	ERR(syscall(444, big, sizeof big, 0));
	ERR(create(1 << 20, 0, 0));
	ERR(create(0, 1 << 20, 0));
	ERR(create(0, 0, 1 << 20));
	ERR(create(0, 0, 0));
	int ruleset = create(READ_FILE, 0, 0);
	RET(fcntl(ruleset, F_GETFD));
	RET(fcntl(ruleset, F_GETFL) & O_ACCMODE);
	ERR(read(ruleset, big, 8));
	ERR(write(ruleset, big, 8));
}

SECTION("landlock_add_rule: wrong arguments")
{
	struct beneath rule = { READ_FILE, MUST(open(".", O_PATH)) };
	struct port port = { BIND_TCP, 80 };
	int ruleset = MUST(create(READ_FILE | READ_DIR | MAKE_REG, BIND_TCP, 0));
	int pair[2];

	ERR(syscall(445, ruleset, 1, &rule, 1));
	ERR(syscall(445, -1, 1, &rule, 0));
	ERR(syscall(445, rule.parent, 1, &rule, 0));
	ERR(syscall(445, 0, 1, &rule, 0));
	ERR(syscall(445, ruleset, 0, &rule, 0));
	ERR(syscall(445, ruleset, 3, &rule, 0));
	ERR(syscall(445, ruleset, 1, NULL, 0));
	rule.allowed = 0;
	ERR(syscall(445, ruleset, 1, &rule, 0));
	rule.allowed = WRITE_FILE;
	ERR(syscall(445, ruleset, 1, &rule, 0));
	rule.allowed = READ_FILE;
	rule.parent = -1;
	ERR(syscall(445, ruleset, 1, &rule, 0));
	rule.parent = ruleset;
	ERR(syscall(445, ruleset, 1, &rule, 0));
	MUST(pipe(pair));
	rule.parent = pair[0];
	ERR(syscall(445, ruleset, 1, &rule, 0));
	write_file("file", "");
	ERR(allow(ruleset, "file", READ_FILE));
	ERR(allow(ruleset, "file", READ_DIR));
	ERR(allow(ruleset, "file", READ_FILE | MAKE_REG));
	ERR(syscall(445, ruleset, 2, &port, 0));
	port.allowed = CONNECT_TCP;
	ERR(syscall(445, ruleset, 2, &port, 0));
	port.allowed = 0;
	ERR(syscall(445, ruleset, 2, &port, 0));
	port.allowed = BIND_TCP;
	port.port = 65536;
	ERR(syscall(445, ruleset, 2, &port, 0));
	ERR(syscall(445, ruleset, 2, NULL, 0));
}

SECTION("landlock_restrict_self: only who can gain nothing by programs")
{
	int ruleset = MUST(create(READ_FILE, 0, 0));

	if (geteuid() == 0)
		MUST(setresuid(1000, 1000, 1000));
	ERR(restrict_self(ruleset));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	ERR(restrict_self(-1));
	ERR(restrict_self(0));
	ERR(syscall(446, ruleset, 0x1000));
	ERR(restrict_self(ruleset));
	int count = 1;
	while (restrict_self(ruleset) == 0)
		count++;
	SHOW(count);
	SHOW(errno == E2BIG);
}

SECTION("files: what is not handled stays, what is handled is denied but below the rules' places")
{
	tree();
	confine(READ_FILE | WRITE_FILE | READ_DIR, "in", READ_FILE);
	OPEN("in/file", O_RDONLY);
	OPEN("in/file", O_WRONLY);
	OPEN("in/file", O_RDWR);
	OPEN("in/deep/file", O_RDONLY);
	OPEN("in", O_RDONLY);
	OPEN("out/file", O_RDONLY);
	OPEN("out/file", O_WRONLY);
	OPEN("out/file", O_PATH);
	OPEN("out/none", O_RDONLY);
	ERR(access("out/file", R_OK));
	struct stat st;
	ERR(stat("out/file", &st));
	ERR(mkdir("out/d", 0755));
	OPEN("out/new", O_WRONLY | O_CREAT);
	ERR(access("out/new", F_OK));
	ERR(unlink("out/file"));
	ERR(chmod("in/file", 0600));
	OPEN("in/deep/../../out/file", O_RDONLY);
}

SECTION("files: a rule for a file, and one for a directory inside a denied one")
{
	tree();
	int ruleset = MUST(create(READ_FILE | READ_DIR, 0, 0));
	MUST(allow(ruleset, "out/file", READ_FILE));
	MUST(allow(ruleset, "in/deep", READ_FILE));
	MUST(allow(ruleset, "in", READ_DIR));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(restrict_self(ruleset));
	OPEN("out/file", O_RDONLY);
	OPEN("out", O_RDONLY);
	OPEN("in/file", O_RDONLY);
	OPEN("in/deep/file", O_RDONLY);
	OPEN("in/deep", O_RDONLY);
	OPEN("in", O_RDONLY);
	OPEN(".", O_RDONLY);
	MUST(rename("out/file", "out/renamed"));
	OPEN("out/renamed", O_RDONLY);
}

SECTION("files: making and removing")
{
	uint64_t all = MAKE_REG | MAKE_DIR | MAKE_SYM | MAKE_FIFO | MAKE_SOCK | MAKE_CHAR | REMOVE_FILE | REMOVE_DIR;

	tree();
	MUST(mkdir("out/dir", 0755));
	confine(all, "in", MAKE_REG | MAKE_SYM | REMOVE_FILE);
	OPEN("in/new", O_WRONLY | O_CREAT);
	OPEN("out/new", O_WRONLY | O_CREAT);
	OPEN("out/file", O_WRONLY | O_CREAT);
	OPEN("out/file", O_WRONLY | O_CREAT | O_EXCL);
	ERR(mkdir("in/d", 0755));
	ERR(mkdir("in/deep", 0755));
	ERR(symlink("x", "in/l"));
	ERR(symlink("x", "out/l"));
	ERR(mkfifo("in/f", 0644));
	ERR(mknod("out/r", S_IFREG | 0644, 0));
	ERR(mknod("in/c", S_IFCHR | 0644, 0));
	ERR(unlink("in/new"));
	ERR(unlink("out/file"));
	ERR(unlink("out/none"));
	ERR(rmdir("in/deep"));
	ERR(rmdir("out/dir"));
	OPEN("out", O_WRONLY | O_TMPFILE);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un name = { AF_UNIX, "out/sock" };
	ERR(bind(fd, (struct sockaddr *)&name, sizeof name));
}

SECTION("files: renames and links within a directory")
{
	tree();
	write_file("in/other", "");
	MUST(mkdir("in/dir", 0755));
	confine(MAKE_REG | REMOVE_FILE | MAKE_DIR | REMOVE_DIR, "in", MAKE_REG | REMOVE_FILE);
	ERR(rename("in/file", "in/renamed"));
	ERR(rename("in/renamed", "in/other"));
	ERR(rename("in/dir", "in/dir2"));
	ERR(link("in/other", "in/link"));
	ERR(rename("out/file", "out/renamed"));
	ERR(link("out/file", "out/link"));
	ERR(syscall(SYS_renameat2, AT_FDCWD, "in/other", AT_FDCWD, "in/link", 2));
	ERR(syscall(SYS_renameat2, AT_FDCWD, "in/other", AT_FDCWD, "in/dir", 2));
	/* Also where nothing would change. */
	ERR(syscall(SYS_renameat2, AT_FDCWD, "out/file", AT_FDCWD, "out/file", 2));
	ERR(syscall(SYS_renameat2, AT_FDCWD, "in/other", AT_FDCWD, "in/other", 2));
}

SECTION("files: another parent is denied unless both allow it and nothing is gained")
{
	tree();
	MUST(mkdir("third", 0755));
	write_file("third/file", "");
	MUST(mkdir("third/dir", 0755));
	int ruleset = MUST(create(READ_FILE | WRITE_FILE | MAKE_REG | REMOVE_FILE | REFER, 0, 0));
	MUST(allow(ruleset, "in", READ_FILE | MAKE_REG | REMOVE_FILE | REFER));
	MUST(allow(ruleset, "third", READ_FILE | WRITE_FILE | MAKE_REG | REMOVE_FILE | REFER));
	MUST(allow(ruleset, "out", MAKE_REG | REMOVE_FILE));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(restrict_self(ruleset));
	ERR(rename("in/file", "in/deep/moved"));
	ERR(rename("in/deep/moved", "third/moved"));
	ERR(rename("third/file", "in/moved"));
	ERR(rename("in/moved", "out/moved"));
	ERR(link("in/moved", "third/link"));
	ERR(link("third/file", "third/dir/link"));
	ERR(link("in/moved", "in/deep/link"));
	ERR(rename("third/dir", "in/dir"));
	ERR(rename("out/file", "out/renamed"));
	ERR(rename("out/renamed", "third/x"));
	ERR(rename("none", "in/x"));
}

SECTION("files: without the right in any ruleset another parent is denied as well")
{
	tree();
	confine(READ_FILE, ".", READ_FILE);
	ERR(rename("in/file", "in/renamed"));
	ERR(rename("in/renamed", "out/renamed"));
	ERR(link("in/renamed", "in/link"));
	ERR(link("in/renamed", "out/link"));
}

SECTION("files: truncation")
{
	tree();
	int before = MUST(open("out/file", O_RDWR));
	confine(TRUNCATE, "in", TRUNCATE);
	ERR(truncate("in/file", 2));
	ERR(truncate("out/file", 2));
	OPEN("in/file", O_WRONLY | O_TRUNC);
	OPEN("out/file", O_WRONLY | O_TRUNC);
	OPEN("out/new", O_WRONLY | O_CREAT | O_TRUNC);
	int fd = MUST(open("out/file", O_RDWR));
	ERR(ftruncate(fd, 1));
	ERR(ftruncate(before, 1));
	RET(write(fd, "xyz", 3));
	fd = MUST(open("in/deep/file", O_RDWR));
	ERR(ftruncate(fd, 1));
	fd = MUST(memfd_create("m", 0));
	ERR(ftruncate(fd, 1));
}

SECTION("files: execution")
{
	tree();
	write_file("in/script", "#!/bin/true\n");
	MUST(chmod("in/script", 0755));
	pid_t child = MUST(fork());
	if (child == 0) {
		confine(EXECUTE, "/", EXECUTE);
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	STATUS(end_of(child));
	child = MUST(fork());
	if (child == 0) {
		confine(EXECUTE, "in", EXECUTE);
		ERR(execl("/bin/true", "true", NULL));
		ERR(execl("in/script", "script", NULL));
		_exit(0);
	}
	STATUS(end_of(child));
}

SECTION("files: the domain is inherited by children and programs")
{
	tree();
	int ruleset = MUST(create(READ_FILE, 0, 0));
	MUST(allow(ruleset, "/usr", READ_FILE));
	MUST(allow(ruleset, "/etc", READ_FILE));
	MUST(allow(ruleset, "/lib", READ_FILE));
	MUST(allow(ruleset, observe_self, READ_FILE));
	MUST(allow(ruleset, "in", READ_FILE));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(restrict_self(ruleset));
	execl(observe_self, observe_self, "@child", "x", NULL);
}

SECTION("files: layers all have to allow")
{
	tree();
	confine(READ_FILE | WRITE_FILE, "in", READ_FILE | WRITE_FILE);
	OPEN("in/file", O_RDWR);
	confine(WRITE_FILE, ".", WRITE_FILE);
	OPEN("in/file", O_RDWR);
	OPEN("out/file", O_WRONLY);
	confine(READ_FILE, "in/deep", READ_FILE);
	OPEN("in/deep/file", O_RDWR);
	OPEN("in/file", O_RDONLY);
	OPEN("in/file", O_WRONLY);
	pid_t child = MUST(fork());
	if (child == 0) {
		confine(WRITE_FILE, NULL, 0);
		OPEN("in/deep/file", O_WRONLY);
		_exit(0);
	}
	STATUS(end_of(child));
	OPEN("in/deep/file", O_WRONLY);
}

SECTION("files: mounts")
{
	need_root();
	tree();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mount("none", "in/deep", "tmpfs", 0, NULL));
	write_file("in/deep/mounted", "");
	MUST(mount("out", "in/deep", NULL, MS_BIND, NULL));
	confine(READ_FILE, "in", READ_FILE);
	OPEN("in/deep/file", O_RDONLY);
	OPEN("out/file", O_RDONLY);
	ERR(mount("none", "out", "tmpfs", 0, NULL));
	ERR(mount(NULL, "in/deep", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	ERR(umount("in/deep"));
	ERR(syscall(SYS_pivot_root, "in", "in/deep"));
	ERR(chroot("in"));
	OPEN("/file", O_RDONLY);
}

SECTION("files: descriptors and places that no path leads to")
{
	char text[64];
	int pair[2];

	tree();
	int fd = MUST(open("out/file", O_RDONLY));
	MUST(pipe(pair));
	int memfd = MUST(memfd_create("m", 0));
	confine(READ_FILE | WRITE_FILE, "in", READ_FILE);
	RET(read(fd, text, sizeof text));
	sprintf(text, "/proc/self/fd/%d", fd);
	OPEN(text, O_RDONLY);
	sprintf(text, "/proc/self/fd/%d", pair[1]);
	OPEN(text, O_WRONLY);
	sprintf(text, "/proc/self/fd/%d", memfd);
	OPEN(text, O_RDWR);
	OPEN("/dev/null", O_RDONLY);
	OPEN("/proc/self/status", O_RDONLY);
}

SECTION("files: ioctls of devices")
{
	int value;

	int before = MUST(open("/dev/tty0", O_RDWR) < 0 ? open("/dev/zero", O_RDWR) : open("/dev/zero", O_RDWR));
	confine(IOCTL_DEV, NULL, 0);
	int fd = MUST(open("/dev/zero", O_RDWR));
	ERR(ioctl(before, TCGETS, &value));
	ERR(ioctl(fd, TCGETS, &value));
	ERR(ioctl(fd, FIONREAD, &value));
	value = 0;
	ERR(ioctl(fd, FIONBIO, &value));
	ERR(ioctl(fd, FIOCLEX));
	fd = MUST(open(".", O_RDONLY));
	ERR(ioctl(fd, TCGETS, &value));
}

SECTION("scopes: signals reach one's own domain only")
{
	pid_t outside = MUST(fork());

	if (outside == 0) {
		pause();
		_exit(0);
	}
	int ruleset = MUST(create(0, 0, SCOPE_SIGNAL));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	pid_t before = MUST(fork());
	if (before == 0) {
		pause();
		_exit(0);
	}
	MUST(restrict_self(ruleset));
	ERR(kill(outside, 0));
	ERR(kill(outside, SIGTERM));
	ERR(kill(getppid(), 0));
	ERR(kill(getpid(), 0));
	pid_t inside = MUST(fork());
	if (inside == 0) {
		ERR(kill(getppid(), 0));
		MUST(restrict_self(ruleset));
		ERR(kill(getppid(), 0));
		pause();
		_exit(0);
	}
	await_state(inside, 'S');
	ERR(kill(inside, SIGTERM));
	STATUS(end_of(inside));
	ERR(kill(before, SIGTERM));
}

SECTION("scopes: abstract unix sockets of others")
{
	struct sockaddr_un name = { AF_UNIX, "" };
	int outer = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	int datagrams = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));

	MUST(bind(outer, (struct sockaddr *)&name, 2));
	MUST(bind(datagrams, (struct sockaddr *)&name, 2));
	MUST(listen(outer, 5));
	struct sockaddr_un at, datagram_at;
	socklen_t length = sizeof at, datagram_length = sizeof at;
	MUST(getsockname(outer, (struct sockaddr *)&at, &length));
	MUST(getsockname(datagrams, (struct sockaddr *)&datagram_at, &datagram_length));
	int ruleset = MUST(create(0, 0, SCOPE_ABSTRACT));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	ERR(connect(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&at, length));
	MUST(restrict_self(ruleset));
	ERR(connect(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&at, length));
	int sender = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	ERR(connect(sender, (struct sockaddr *)&datagram_at, datagram_length));
	ERR(sendto(sender, "x", 1, 0, (struct sockaddr *)&datagram_at, datagram_length));
	int inner = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(bind(inner, (struct sockaddr *)&name, 2));
	MUST(listen(inner, 5));
	length = sizeof at;
	MUST(getsockname(inner, (struct sockaddr *)&at, &length));
	ERR(connect(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&at, length));
}

SECTION("tracing: a child asks a parent in another domain in vain")
{
	int gate[2];
	char byte;

	MUST(pipe(gate));
	pid_t pid = MUST(fork());
	if (pid == 0) {
		MUST(read(gate[0], &byte, 1));
		ERR(ptrace(PTRACE_TRACEME, 0, 0, 0));
		_exit(0);
	}
	confine(READ_DIR, "/", READ_DIR);
	MUST(write(gate[1], "", 1));
	end_of(pid);
	pid = MUST(fork());
	if (pid == 0) {
		ERR(ptrace(PTRACE_TRACEME, 0, 0, 0));
		_exit(0);
	}
	end_of(pid);
}

SECTION("tracing: only from a domain into what it has made")
{
	char path[64];
	pid_t outside = MUST(fork());

	if (outside == 0) {
		pause();
		_exit(0);
	}
	confine(READ_DIR, "/", READ_DIR);
	sprintf(path, "/proc/%d/cwd", (int)outside);
	char target[256];
	struct iovec mine = { target, 8 }, theirs = { &outside, 8 };
	ERR(readlink(path, target, sizeof target));
	ERR(process_vm_readv(outside, &mine, 1, &theirs, 1, 0));
	pid_t inside = MUST(fork());
	if (inside == 0) {
		confine(READ_DIR, "/", READ_DIR);
		pause();
		_exit(0);
	}
	await_state(inside, 'S');
	sprintf(path, "/proc/%d/cwd", (int)inside);
	ERR(readlink(path, target, sizeof target));
	ERR(process_vm_readv(inside, &mine, 1, &theirs, 1, 0));
}
