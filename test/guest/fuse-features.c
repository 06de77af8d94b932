/* FUSE: what a server and the kernel agree on at the beginning, and does not show without. */
#include "fuse-server.h"
#include <grp.h>
#include <sys/fanotify.h>
#include <sys/xattr.h>

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"
#define NONE 0xffffffff

struct acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entries[8];
};

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, MASK = 16, OTHER = 32 };

/* The owner may read and write, user 1000 what `perm` says, others nothing. */
static const struct acl *list_for(unsigned perm)
{
	static struct acl acl;

	acl = (struct acl){ 2, { { USER_OBJ, 6, NONE }, { USER, perm, 1000 }, { GROUP_OBJ, 0, NONE }, { MASK, 7, NONE },
		{ OTHER, 0, NONE } } };
	return &acl;
}

#define LIST_SIZE (4 + 5 * 8)

static void make_file(const char *path, mode_t mode)
{
	int fd = MUST(open(path, O_WRONLY | O_CREAT | O_EXCL, mode));

	MUST(write(fd, "text", 4));
	close(fd);
}

static void show_mode(const char *path)
{
	struct stat st;

	MUST(stat(path, &st));
	say("%s mode %o\n", path, st.st_mode);
}

static void become_1000(void)
{
	MUST(setgroups(0, NULL));
	MUST(setresgid(1000, 1000, 1000));
	MUST(setresuid(1000, 1000, 1000));
}

static void as_1000(const char *path)
{
	pid_t child = MUST(fork());

	if (child == 0) {
		become_1000();
		ERR(open(path, O_RDONLY));
		ERR(open(path, O_WRONLY));
		ERR(access(path, R_OK));
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void lists(unsigned flags, const char *options)
{
	char back[128];

	more_init_flags = flags;
	pid_t pid = start(options);
	make_file("m/f", 0640);
	as_1000("m/f");
	ERR(setxattr("m/f", ACCESS, list_for(4), LIST_SIZE, 0));
	SHOW(shared->setxattr_flags);
	show_mode("m/f");
	as_1000("m/f");
	/* What the mode shows of the list is the server's to change. */
	MUST(chmod("m/f", 0670));
	as_1000("m/f");
	unsigned count = shared->count[FUSE_GETXATTR];
	as_1000("m/f");
	SHOW(shared->count[FUSE_GETXATTR] - count);
	RET(getxattr("m/f", ACCESS, back, sizeof back));
	SHOW(memcmp(back, list_for(4), LIST_SIZE));
	ERR(setxattr("m/f", ACCESS, list_for(6), LIST_SIZE - 8, 0));
	ERR(setxattr("m/f", ACCESS, list_for(6), 3, 0));
	ERR(setxattr("m/f", DEFAULT, list_for(6), LIST_SIZE, 0));
	ERR(removexattr("m/f", ACCESS));
	ERR(removexattr("m/f", ACCESS));
	RET(getxattr("m/f", ACCESS, back, sizeof back));
	as_1000("m/f");
	MUST(mkdir("m/d", 0755));
	ERR(setxattr("m/d", DEFAULT, list_for(6), LIST_SIZE, 0));
	umask(027);
	make_file("m/d/f", 0666);
	HEX(shared->create_mode);
	show_mode("m/d/f");
	MUST(mkdir("m/d/e", 0777));
	show_mode("m/d/e");
	RET(getxattr("m/d/e", DEFAULT, back, sizeof back));
	finish(pid);
}

SECTION("fuse: access control lists of a server that has not asked for them are its bytes")
{
	need_fuse();
	lists(0, ",allow_other,default_permissions");
}

SECTION("fuse: access control lists are obeyed for a server that asks for it")
{
	need_fuse();
	lists(FUSE_POSIX_ACL, ",allow_other");
}

SECTION("fuse: who sets a list and may not keep the setgid bit")
{
	need_fuse();
	more_init_flags = FUSE_POSIX_ACL | FUSE_SETXATTR_EXT;
	pid_t pid = start(",allow_other");
	make_file("m/f", 0644);
	MUST(chown("m/f", 1000, 0));
	MUST(chmod("m/f", 02755));
	pid_t child = MUST(fork());
	if (child == 0) {
		become_1000();
		ERR(setxattr("m/f", ACCESS, list_for(4), LIST_SIZE, 0));
		ERR(setxattr("m/f", "user.x", "value", 5, 0));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	ERR(setxattr("m/f", ACCESS, list_for(4), LIST_SIZE, 0));
	SHOW(shared->setxattr_flags);
	char text[16];
	RET(getxattr("m/f", "user.x", text, sizeof text));
	finish(pid);
}

SECTION("fuse: the setgid bit goes with a list")
{
	need_fuse();
	more_init_flags = FUSE_POSIX_ACL | FUSE_SETXATTR_EXT;
	pid_t pid = start(",allow_other");
	make_file("m/f", 0644);
	MUST(chown("m/f", 1000, 0));
	pid_t child = MUST(fork());
	if (child == 0) {
		become_1000();
		ERR(setxattr("m/f", ACCESS, list_for(4), LIST_SIZE, 0));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	SHOW(shared->setxattr_flags);
	finish(pid);
}

SECTION("fuse: files without a name")
{
	char path[64], text[16] = "";
	struct stat st;

	need_fuse();
	pid_t pid = start("");
	umask(022);
	int fd = open("m", O_TMPFILE | O_RDWR, 0666);
	SHOW(fd >= 0);
	HEX(shared->create_flags);
	HEX(shared->create_mode);
	RET(write(fd, "text", 4));
	RET(pread(fd, text, sizeof text, 0));
	TEXT(text);
	MUST(fstat(fd, &st));
	SHOW(st.st_nlink);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ERR(linkat(AT_FDCWD, path, AT_FDCWD, "m/named", AT_SYMLINK_FOLLOW));
	close(fd);
	fd = MUST(open("m/named", O_RDONLY));
	RET(read(fd, text, sizeof text));
	close(fd);
	SHOW(shared->count[FUSE_TMPFILE]);
	shared->fail_opcode = FUSE_TMPFILE;
	shared->fail_error = ENOSPC;
	ERR(open("m", O_TMPFILE | O_RDWR, 0600));
	shared->fail_error = ENOSYS;
	ERR(open("m", O_TMPFILE | O_RDWR, 0600));
	shared->fail_opcode = 0;
	ERR(open("m", O_TMPFILE | O_RDWR, 0600));
	finish(pid);
}

static void truncating(unsigned flags)
{
	char text[16] = "";
	struct stat st;

	more_init_flags = flags;
	pid_t pid = start("");
	make_file("m/f", 0644);
	int reader = MUST(open("m/f", O_RDONLY));
	RET(read(reader, text, sizeof text));
	int fd = MUST(open("m/f", O_WRONLY | O_TRUNC));
	HEX(shared->opened_with);
	SHOW(shared->count[FUSE_SETATTR]);
	MUST(fstat(reader, &st));
	SHOW(st.st_size);
	RET(pread(reader, text, sizeof text, 0));
	RET(write(fd, "new", 3));
	close(fd);
	RET(pread(reader, text, sizeof text, 0));
	MUST(truncate("m/f", 0));
	SHOW(shared->count[FUSE_SETATTR]);
	MUST(fstat(reader, &st));
	SHOW(st.st_size);
	ERR(open("m/f", O_WRONLY | O_CREAT | O_TRUNC, 0644));
	ERR(open("m/f", O_RDONLY | O_TRUNC));
	SHOW(shared->count[FUSE_SETATTR]);
	close(reader);
	for (int i = 3; i < 10; i++)
		close(i);
	finish(pid);
}

SECTION("fuse: O_TRUNC")
{
	need_fuse();
	truncating(0);
}

SECTION("fuse: O_TRUNC of a server that truncates as it opens")
{
	need_fuse();
	truncating(FUSE_ATOMIC_O_TRUNC);
}

static void links(unsigned flags)
{
	char text[64];

	more_init_flags = flags;
	pid_t pid = start("");
	MUST(symlink("target", "m/s"));
	for (int i = 0; i < 5; i++)
		RET(readlink("m/s", text, sizeof text));
	SHOW(shared->count[FUSE_READLINK]);
	finish(pid);
}

SECTION("fuse: symbolic links are read each time")
{
	need_fuse();
	links(0);
}

SECTION("fuse: symbolic links are read once where the server allows it")
{
	need_fuse();
	links(FUSE_CACHE_SYMLINKS);
}

SECTION("fuse: a file system that is one file")
{
	char text[64] = "";

	need_fuse();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	int fd = MUST(open("/dev/fuse", O_RDWR));
	close(MUST(open("file", O_WRONLY | O_CREAT, 0644)));
	MUST(mkdir("dir", 0755));
	snprintf(text, sizeof text, "fd=%d,rootmode=100644,user_id=0,group_id=0", fd);
	ERR(mount("s", "dir", "fuse", 0, text));
	ERR(mount("s", "file", "fuse", 0, text));
	fd = MUST(open("/dev/fuse", O_RDWR));
	snprintf(text, sizeof text, "fd=%d,rootmode=100644,user_id=0,group_id=0", fd);
	ERR(mount("s", "file", "fuse", 0, text));
	snprintf(text, sizeof text, "fd=%d,rootmode=0644,user_id=0,group_id=0", fd);
	ERR(mount("s", "file", "fuse", 0, text));
	ERR(umount("file"));
}

SECTION("fuse: a server that counts no links")
{
	need_fuse();
	pid_t pid = start("");
	shared->no_links = 1;
	MUST(mkdir("m/d", 0755));
	make_file("m/d/f", 0644);
	ERR(mkdir("m/d/e", 0755));
	ERR(rename("m/d/f", "m/d/e/f"));
	ERR(link("m/d/e/f", "m/g"));
	ERR(rmdir("m/d"));
	ERR(unlink("m/d/e/f"));
	int dir = MUST(open("m/d/e", O_RDONLY | O_DIRECTORY));
	ERR(rmdir("m/d/e"));
	ERR(openat(dir, "f", O_RDWR | O_CREAT, 0644));
	ERR(mkdirat(dir, "f", 0755));
	close(dir);
	finish(pid);
}

SECTION("fuse: a process that ends with a file open gives it up in order")
{
	need_fuse();
	pid_t pid = start("");
	pid_t child = MUST(fork());
	if (child == 0) {
		MUST(open("m/f", O_RDWR | O_CREAT, 0644));
		MUST(unlink("m/f"));
		shared->slow_opcode = FUSE_FLUSH;
		_exit(0);
	}
	waitpid(child, NULL, 0);
	while (!shared->count[FUSE_RELEASE])
		sched_yield();
	SHOW(shared->forgotten_before_release);
	finish(pid);
}

static void read_late(const char *path, unsigned opcode)
{
	char text[4096];

	shared->late_opcode = opcode;
	pid_t child = MUST(fork());
	if (child == 0) {
		int fd = MUST(open(path, O_RDONLY));

		if (opcode == FUSE_READ)
			read(fd, text, sizeof text);
		else
			syscall(SYS_getdents64, fd, text, sizeof text);
		_exit(0);
	}
	while (!shared->late)
		sched_yield();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	shared->late_opcode = 0;
	unsigned release = opcode == FUSE_READ ? FUSE_RELEASE : FUSE_RELEASEDIR;
	while (!shared->count[release])
		sched_yield();
	SHOW(shared->released_early);
}

SECTION("fuse: what a killed process reads is released after the answer")
{
	need_fuse();
	pid_t pid = start("");
	MUST(mkdir("m/d", 0755));
	make_file("m/f", 0644);
	while (!shared->count[FUSE_RELEASE])
		sched_yield();
	shared->count[FUSE_RELEASE] = 0;
	shared->open_flags = FOPEN_DIRECT_IO;
	read_late("m/f", FUSE_READ);
	read_late("m/d", FUSE_READDIR);
	finish(pid);
}

/* Reads who asks for permission to open, and answers. */
static void decide(int group, unsigned response)
{
	struct fanotify_event_metadata event;

	MUST(read(group, &event, sizeof event));
	SHOW((fcntl(event.fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	struct fanotify_response answer = { event.fd, response };
	MUST(write(group, &answer, sizeof answer));
	close(event.fd);
}

SECTION("fuse: the file that CREATE has opened is for who made it, if that is allowed")
{
	need_fuse();
	pid_t pid = start("");
	int group = MUST(fanotify_init(FAN_CLASS_CONTENT, O_RDONLY));
	MUST(fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN_PERM, AT_FDCWD, "m"));
	for (unsigned answer = FAN_ALLOW; answer <= FAN_DENY; answer++) {
		unsigned opened = shared->count[FUSE_OPEN], released = shared->count[FUSE_RELEASE];
		pid_t child = MUST(fork());
		if (child == 0) {
			ERR(open("m/f", O_WRONLY | O_CREAT | O_EXCL, 0644));
			_exit(0);
		}
		decide(group, answer);
		waitpid(child, NULL, 0);
		/* One for the listener. */
		SHOW(shared->count[FUSE_OPEN] - opened);
		HEX(shared->opened_with);
		while (shared->count[FUSE_RELEASE] - released < 2)
			sched_yield();
		child = MUST(fork());
		if (child == 0) {
			ERR(open("m/f", O_RDONLY));
			_exit(0);
		}
		decide(group, FAN_ALLOW);
		waitpid(child, NULL, 0);
		SHOW(shared->count[FUSE_OPEN] - opened);
		while (shared->count[FUSE_RELEASE] - released < 4)
			sched_yield();
		MUST(unlink("m/f"));
		SHOW(shared->count[FUSE_RELEASE] - released);
	}
	close(group);
	finish(pid);
}

SECTION("fuse: a node is forgotten after its files are released")
{
	need_fuse();
	pid_t pid = start("");
	int fd = MUST(open("m/f", O_RDWR | O_CREAT, 0644));
	MUST(unlink("m/f"));
	shared->hold_opcode = FUSE_RELEASE;
	shared->held = 0;
	close(fd);
	while (!shared->held)
		sched_yield();
	unsigned before = shared->forgotten;
	MUST(access("m", F_OK));
	MUST(close(MUST(open("m", O_RDONLY))));
	SHOW(shared->forgotten - before);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	umount("m");
}
