/* What calls on names answer to names that lead nowhere: each call with each kind of them. */
#include "observe.h"
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <utime.h>

#define BAD ((const char *)8)

struct call {
	const char *name;
	long (*run)(const char *name);
};

#define CALL(name, ...)                                    \
	static long call_##name(const char *at)            \
	{                                                  \
		return __VA_ARGS__;                        \
	}

static struct stat status;
static struct statfs statfs_;
static struct statx statx_;
static char text[64];

CALL(access, access(at, F_OK))
CALL(faccessat2, syscall(439, AT_FDCWD, at, F_OK, 0))
CALL(chdir, chdir(at))
CALL(chmod, chmod(at, 0600))
CALL(chown, chown(at, -1, -1))
CALL(lchown, lchown(at, -1, -1))
CALL(chroot, chroot(at))
CALL(creat, creat(at, 0600))
CALL(execve, execve(at, (char *[]){ "x", NULL }, (char *[]){ NULL }))
CALL(execveat, syscall(SYS_execveat, AT_FDCWD, at, (char *[]){ "x", NULL }, (char *[]){ NULL }, 0))
CALL(inotify_add_watch, inotify_add_watch(inotify_init(), at, IN_OPEN))
CALL(link, link(at, "linked"))
CALL(link_to, link("file", at))
CALL(mkdir, mkdir(at, 0700))
CALL(mknod, mknod(at, S_IFIFO | 0600, 0))
CALL(open, open(at, O_RDONLY))
CALL(readlink, readlink(at, text, sizeof(text)))
CALL(rename, rename(at, "renamed"))
CALL(rename_to, rename("file", at))
CALL(rmdir, rmdir(at))
CALL(stat, stat(at, &status))
CALL(lstat, lstat(at, &status))
CALL(statfs, statfs(at, &statfs_))
CALL(statx, statx(AT_FDCWD, at, 0, STATX_BASIC_STATS, &statx_))
CALL(symlink, symlink(at, "linked"))
CALL(symlink_to, symlink("file", at))
CALL(truncate, truncate(at, 0))
CALL(umount2, umount2(at, 0))
CALL(unlink, unlink(at))
CALL(utime, utime(at, NULL))
CALL(utimensat, utimensat(AT_FDCWD, at, NULL, 0))
CALL(getxattr, getxattr(at, "user.x", NULL, 0))
CALL(mount, mount("none", at, "tmpfs", 0, NULL))
CALL(pivot_root, syscall(SYS_pivot_root, at, at))

#define ENTRY(name) { #name, call_##name }
static const struct call calls[] = {
	ENTRY(access), ENTRY(faccessat2), ENTRY(chdir), ENTRY(chmod), ENTRY(chown), ENTRY(lchown), ENTRY(chroot),
	ENTRY(creat), ENTRY(execve), ENTRY(execveat), ENTRY(inotify_add_watch), ENTRY(link), ENTRY(link_to),
	ENTRY(mkdir), ENTRY(mknod), ENTRY(open), ENTRY(readlink), ENTRY(rename), ENTRY(rename_to), ENTRY(rmdir),
	ENTRY(stat), ENTRY(lstat), ENTRY(statfs), ENTRY(statx), ENTRY(symlink), ENTRY(symlink_to), ENTRY(truncate),
	ENTRY(umount2), ENTRY(unlink), ENTRY(utime), ENTRY(utimensat), ENTRY(getxattr), ENTRY(mount), ENTRY(pivot_root),
};

static void put_file(const char *name)
{
	close(MUST(open(name, O_RDWR | O_CREAT, 0644)));
}

/* Each in a process of its own, since some of them change it. */
static void all_with(const char *name, const char *what)
{
	for (unsigned i = 0; i < LENGTH(calls); i++) {
		int fds[2], result[2] = { 0, 0 };

		MUST(pipe(fds));
		if (fork() == 0) {
			result[0] = calls[i].run(name);
			result[1] = errno;
			_exit(write(fds[1], result, sizeof(result)) < 0);
		}
		close(fds[1]);
		MUST(read(fds[0], result, sizeof(result)));
		close(fds[0]);
		wait(NULL);
		say("%s(%s): %s\n", calls[i].name, what, result[0] == -1 ? error_name(result[1]) : "0");
	}
}

static char *long_name(void)
{
	static char name[300];

	memset(name, 'n', sizeof(name) - 1);
	return name;
}

static char *long_path(void)
{
	static char name[5000];

	memset(name, '/', sizeof(name) - 1);
	return name;
}

SECTION("a name that can not be read")
{
	put_file("file");
	all_with(BAD, "bad pointer");
}

SECTION("links that go in circles")
{
	put_file("file");
	MUST(symlink("two", "one"));
	MUST(symlink("one", "two"));
	all_with("one/x", "circle/x");
	all_with("one", "circle");
}

SECTION("a part of a name that is too long")
{
	put_file("file");
	all_with(long_name(), "long name");
}

SECTION("a name that is too long as a whole")
{
	put_file("file");
	all_with(long_path(), "long path");
}

SECTION("a file where a directory should be")
{
	put_file("file");
	all_with("file/x", "file/x");
	all_with("file/", "file/");
}

SECTION("a name that is not there, and an empty one")
{
	put_file("file");
	all_with("none/x", "none/x");
	all_with("none/", "none/");
	all_with("", "empty");
}

SECTION("a file system that can only be read")
{
	put_file("file");
	MUST(mkdir("mounted", 0755));
	MUST(unshare(CLONE_NEWNS));
	MUST(mount("none", "/", NULL, MS_PRIVATE | MS_REC, NULL));
	MUST(mount("none", "mounted", "tmpfs", 0, NULL));
	put_file("mounted/file");
	MUST(mkdir("mounted/dir", 0755));
	int fd = MUST(open("mounted/file", O_RDONLY));
	MUST(mount("none", "mounted", NULL, MS_REMOUNT | MS_RDONLY, NULL));
	ERR(access("mounted/file", W_OK));
	ERR(chmod("mounted/file", 0600));
	ERR(fchmod(fd, 0600));
	ERR(chown("mounted/file", 1, 1));
	ERR(fchown(fd, 1, 1));
	ERR(link("mounted/file", "mounted/other"));
	ERR(mkdir("mounted/new", 0700));
	ERR(mkdir("mounted/dir", 0700));
	ERR(mknod("mounted/new", S_IFIFO | 0600, 0));
	ERR(open("mounted/file", O_WRONLY));
	ERR(open("mounted/new", O_WRONLY | O_CREAT, 0600));
	ERR(open("mounted/file", O_RDONLY | O_TRUNC));
	ERR(rename("mounted/file", "mounted/other"));
	ERR(rename("file", "mounted/other"));
	ERR(rmdir("mounted/dir"));
	ERR(symlink("x", "mounted/new"));
	ERR(truncate("mounted/file", 0));
	ERR(unlink("mounted/file"));
	ERR(unlink("mounted/none"));
	ERR(utime("mounted/file", NULL));
	ERR(utimensat(AT_FDCWD, "mounted/file", NULL, 0));
	ERR(setxattr("mounted/file", "trusted.x", "y", 1, 0));
	/* Device and mount points. */
	ERR(rmdir("mounted"));
	ERR(unlink("mounted"));
	ERR(rename("mounted", "away"));
	ERR(umount2("mounted", 0));
	close(fd);
	ERR(umount2("mounted", 1 << 20));
	ERR(umount2("mounted", 0));
	ERR(umount2("mounted", 0));
	ERR(umount2("none", 0));
	ERR(mount("none", "mounted", "no-such-type", 0, NULL));
	ERR(mount("none", "mounted", BAD, 0, NULL));
	ERR(mount("file", "mounted", NULL, MS_BIND, NULL));
	ERR(mount("none", "file", "tmpfs", 0, NULL));
	ERR(mount("none", "mounted", NULL, MS_REMOUNT, NULL));
	ERR(mount("none", "mounted", NULL, MS_MOVE, NULL));
	ERR(mount("none", "mounted", NULL, MS_SHARED | MS_PRIVATE, NULL));
	ERR(syscall(SYS_pivot_root, "file", "mounted"));
	ERR(syscall(SYS_pivot_root, "/", "/"));
}

SECTION("where a user may not go")
{
	MUST(mkdir("closed", 0700));
	put_file("closed/file");
	MUST(mkdir("open", 0755));
	put_file("open/file");
	MUST(chmod(".", 0755));
	MUST(setresgid(65534, 65534, 65534));
	MUST(setresuid(65534, 65534, 65534));
	all_with("closed/file", "closed/file");
	all_with("open/file", "open/file");
	ERR(open("open/new", O_CREAT | O_WRONLY, 0600));
	ERR(open("open/file", O_WRONLY));
	ERR(open("open/file", O_RDONLY | O_NOATIME));
	ERR(access("open/file", W_OK));
	ERR(access("open/file", X_OK));
	ERR(utime("open/file", &(struct utimbuf){ 1, 1 }));
	ERR(utimensat(AT_FDCWD, "open/file", (struct timespec[2]){ { 1, 0 }, { 1, 0 } }, 0));
	ERR(mknod("open/device", S_IFCHR | 0600, 0));
	ERR(truncate("open/file", 0));
	ERR(chroot("open"));
	ERR(inotify_add_watch(inotify_init(), "closed", IN_OPEN));
	ERR(inotify_add_watch(inotify_init(), "closed/file", IN_OPEN));
}

SECTION("a directory descriptor that is none, and one that is a file's")
{
	int file = MUST(open("file", O_RDWR | O_CREAT, 0600));

	for (int i = 0; i < 2; i++) {
		int fd = i == 0 ? 99 : file;

		ERR(openat(fd, "x", O_RDONLY));
		ERR(mkdirat(fd, "x", 0700));
		ERR(mknodat(fd, "x", S_IFIFO | 0600, 0));
		ERR(unlinkat(fd, "x", 0));
		ERR(linkat(fd, "x", AT_FDCWD, "y", 0));
		ERR(linkat(AT_FDCWD, "file", fd, "y", 0));
		ERR(renameat(fd, "x", AT_FDCWD, "y"));
		ERR(renameat(AT_FDCWD, "file", fd, "y"));
		ERR(symlinkat("x", fd, "y"));
		ERR(readlinkat(fd, "x", text, sizeof(text)));
		ERR(fchmodat(fd, "x", 0600, 0));
		ERR(fchownat(fd, "x", -1, -1, 0));
		ERR(fstatat(fd, "x", &status, 0));
		ERR(statx(fd, "x", 0, 0, &statx_));
		ERR(utimensat(fd, "x", NULL, 0));
		ERR(faccessat(fd, "x", F_OK, 0));
		ERR(syscall(SYS_execveat, fd, "x", NULL, NULL, 0));
		ERR(fchdir(fd));
		ERR(fstatfs(fd, &statfs_));
	}
}

SECTION("results that can not be written")
{
	int fd = MUST(open(".", O_RDONLY));

	MUST(symlink("target", "link"));
	ERR(stat(".", (void *)8));
	ERR(lstat("link", (void *)8));
	ERR(fstat(fd, (void *)8));
	ERR(statfs(".", (void *)8));
	ERR(fstatfs(fd, (void *)8));
	ERR(statx(AT_FDCWD, ".", 0, 0, (void *)8));
	ERR(statx(AT_FDCWD, ".", 1 << 20, 0, &statx_));
	ERR(statx(AT_FDCWD, ".", 0, 1u << 31, &statx_));
	ERR(readlink("link", (void *)8, 10));
	ERR(readlink("link", text, 0));
	ERR(readlink(".", text, 10));
	ERR(syscall(SYS_getcwd, 8, 100));
	ERR(syscall(SYS_getcwd, text, 1));
	ERR(syscall(SYS_getdents64, fd, 8, 1000));
	ERR(syscall(SYS_getdents64, 99, text, sizeof(text)));
	ERR(syscall(SYS_getdents64, fd, text, 1));
	ERR(utimensat(AT_FDCWD, ".", (void *)8, 0));
	ERR(utimensat(AT_FDCWD, ".", (struct timespec[2]){ { 0, 2000000000 }, { 0, 0 } }, 0));
	ERR(syscall(SYS_utime, ".", 8));
	ERR(syscall(SYS_execve, "/bin/true", 8, NULL));
	ERR(getxattr(".", BAD, NULL, 0));
}

SECTION("execve: what is no program")
{
	static char *none[] = { NULL };
	int fd = MUST(open("writing", O_RDWR | O_CREAT, 0755));

	MUST(mkdir("dir", 0755));
	ERR(execve("dir", none, none));
	ERR(execve("writing", none, none));
	MUST(write(fd, "#!/no/such/interpreter\n", 23));
	ERR(execve("writing", none, none));
	close(fd);
	ERR(execve("writing", none, none));
	put_file("plain");
	ERR(execve("plain", none, none));
	MUST(chmod("plain", 0755));
	ERR(execve("plain", none, none));
	ERR(execve("/dev/null", none, none));
	fd = MUST(open("elf", O_RDWR | O_CREAT, 0755));
	MUST(write(fd, "\177ELF\2\1\1", 7));
	close(fd);
	ERR(execve("elf", none, none));
	fd = MUST(open("self", O_RDWR | O_CREAT, 0755));
	MUST(write(fd, "#! self\n", 8));
	close(fd);
	ERR(execve("self", none, none));
	static char *huge[2], big[200000];
	memset(big, 'x', sizeof(big) - 1);
	huge[0] = big;
	ERR(execve("/bin/true", huge, none));
}

SECTION("links: too many, over borders, of directories")
{
	put_file("file");
	MUST(mkdir("dir", 0755));
	ERR(link("dir", "other"));
	ERR(link("file", "file"));
	ERR(link("file", "/proc/x"));
	ERR(rename("dir", "dir/inside"));
	ERR(rename("file", "dir"));
	ERR(rename("dir", "file"));
	put_file("dir/file");
	MUST(mkdir("other", 0755));
	ERR(rename("other", "dir"));
	ERR(rename("file", "/proc/x"));
	ERR(rename(".", "x"));
	ERR(rename("dir/..", "x"));
	ERR(rmdir("dir"));
	ERR(rmdir("."));
	ERR(rmdir("dir/.."));
	ERR(rmdir("/"));
	ERR(unlink("dir"));
	ERR(unlink("/"));
	ERR(mkdir("/", 0755));
	ERR(mkdir(".", 0755));
	ERR(symlink("", "empty"));
	ERR(symlink("x", "dir"));
	ERR(open("dir", O_WRONLY));
	ERR(open("dir", O_CREAT, 0600));
	ERR(open("file", O_RDONLY | O_DIRECTORY));
	ERR(open("file", O_CREAT | O_EXCL, 0600));
	ERR(open("none", O_RDONLY | O_CREAT | O_DIRECTORY, 0600));
	ERR(open(".", O_TMPFILE | O_RDONLY, 0600));
	ERR(mkfifo("fifo", 0600));
	ERR(open("fifo", O_WRONLY | O_NONBLOCK));
	ERR(truncate("dir", 0));
	ERR(truncate("file", -1));
	ERR(truncate("fifo", 0));
	ERR(mknod("file", S_IFREG | 0600, 0));
	ERR(mknod("x", S_IFDIR | 0600, 0));
	ERR(mknod("x", S_IFLNK | 0600, 0));
	ERR(chroot("file"));
	ERR(chdir("file"));
}

SECTION("openat2: how far a name may lead")
{
	struct {
		uint64_t flags, mode, resolve;
	} how = { 0 };
	enum { NO_XDEV = 1, NO_MAGICLINKS = 2, NO_SYMLINKS = 4, BENEATH = 8, IN_ROOT = 16, CACHED = 32 };

	put_file("file");
	MUST(symlink("file", "link"));
	how.resolve = NO_SYMLINKS;
	ERR(syscall(SYS_openat2, AT_FDCWD, "link", &how, sizeof(how)));
	how.resolve = NO_XDEV;
	ERR(syscall(SYS_openat2, AT_FDCWD, "/proc/self", &how, sizeof(how)));
	how.resolve = NO_MAGICLINKS;
	ERR(syscall(SYS_openat2, AT_FDCWD, "/proc/self/exe", &how, sizeof(how)));
	how.resolve = BENEATH;
	ERR(syscall(SYS_openat2, AT_FDCWD, "/proc", &how, sizeof(how)));
	ERR(syscall(SYS_openat2, AT_FDCWD, "../x", &how, sizeof(how)));
	how.resolve = CACHED;
	how.flags = O_CREAT | O_RDWR;
	ERR(syscall(SYS_openat2, AT_FDCWD, "other", &how, sizeof(how)));
	how.resolve = BENEATH | IN_ROOT;
	ERR(syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how)));
	how.resolve = 1 << 20;
	ERR(syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how)));
	how.resolve = 0;
	how.flags = O_RDONLY;
	how.mode = 0600;
	ERR(syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how)));
	ERR(syscall(SYS_openat2, AT_FDCWD, "file", &how, 8));
	ERR(syscall(SYS_openat2, AT_FDCWD, "file", 8, sizeof(how)));
}
