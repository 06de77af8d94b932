/* What is known about a file: stat and statx, times, modes, owners, extended attributes, file systems. */
#include "observe.h"
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <utime.h>

static unsigned mode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? 0 : st.st_mode;
}

SECTION("stat: size, mode, links, blocks, identity")
{
	struct stat st, other;

	write_file("f", "0123456789");
	MUST(link("f", "g"));
	MUST(stat("f", &st));
	MUST(stat("g", &other));
	HEX(st.st_mode);
	SHOW(st.st_size);
	SHOW(st.st_nlink);
	SHOW(st.st_uid == geteuid());
	SHOW(st.st_gid == getegid());
	SHOW(st.st_ino == other.st_ino && st.st_dev == other.st_dev);
	SHOW(st.st_blksize);
	SHOW(st.st_mtim.tv_sec > 1600000000);
	ERR(stat("f", (struct stat *)8));
	ERR(stat((char *)8, &st));
	ERR(stat("nothing", &st));
	ERR(fstat(99, &st));
	ERR(fstatat(AT_FDCWD, "", &st, 0));
	ERR(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH));
	SHOW(S_ISDIR(st.st_mode));
	ERR(fstatat(AT_FDCWD, "f", &st, 1));
}

SECTION("stat: pipes, devices, sockets")
{
	struct stat st;
	int pair[2];

	MUST(pipe(pair));
	MUST(fstat(pair[0], &st));
	HEX(st.st_mode);
	SHOW(st.st_size);
	SHOW(st.st_nlink);
	MUST(stat("/dev/null", &st));
	HEX(st.st_mode);
	HEX(st.st_rdev);
	MUST(stat("/dev/zero", &st));
	HEX(st.st_rdev);
	MUST(stat("/dev/full", &st));
	HEX(st.st_rdev);
	MUST(stat("/dev/urandom", &st));
	HEX(st.st_rdev);
	MUST(stat("/dev/tty", &st));
	HEX(st.st_rdev);
	MUST(stat("/proc/self/status", &st));
	HEX(st.st_mode);
	SHOW(st.st_size);
}

SECTION("statx: mask, attributes and times")
{
	struct statx stx;

	write_file("f", "0123456789");
	ERR(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &stx));
	HEX(stx.stx_mask & STATX_BASIC_STATS);
	SHOW(stx.stx_size);
	HEX(stx.stx_mode);
	SHOW(stx.stx_nlink);
	SHOW(stx.stx_mtime.tv_sec > 1600000000);
	ERR(statx(AT_FDCWD, "f", 0, STATX__RESERVED, &stx));
	ERR(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_SIZE, &stx));
	ERR(statx(AT_FDCWD, "f", 1, STATX_SIZE, &stx));
	ERR(statx(AT_FDCWD, "nothing", 0, STATX_SIZE, &stx));
	symlink("f", "s");
	ERR(statx(AT_FDCWD, "s", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stx));
	SHOW(S_ISLNK(stx.stx_mode));
	int fd = MUST(open("f", O_RDONLY));
	ERR(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &stx));
	SHOW(stx.stx_size);
}

SECTION("utimensat: set, now, omit, errors")
{
	struct timespec times[2] = { { 1000, 123456789 }, { 2000, 987654321 } };
	struct stat st;

	write_file("f", "");
	ERR(utimensat(AT_FDCWD, "f", times, 0));
	MUST(stat("f", &st));
	SHOW(st.st_atim.tv_sec);
	SHOW(st.st_atim.tv_nsec);
	SHOW(st.st_mtim.tv_sec);
	SHOW(st.st_mtim.tv_nsec);
	times[0].tv_nsec = UTIME_OMIT;
	times[1].tv_nsec = UTIME_NOW;
	ERR(utimensat(AT_FDCWD, "f", times, 0));
	MUST(stat("f", &st));
	SHOW(st.st_atim.tv_sec);
	SHOW(st.st_mtim.tv_sec > 1600000000);
	times[0].tv_nsec = 1000000000;
	ERR(utimensat(AT_FDCWD, "f", times, 0));
	ERR(utimensat(AT_FDCWD, "nothing", NULL, 0));
	ERR(utimensat(AT_FDCWD, "f", NULL, 1));
	symlink("f", "s");
	times[0] = times[1] = (struct timespec){ 3000, 0 };
	ERR(utimensat(AT_FDCWD, "s", times, AT_SYMLINK_NOFOLLOW));
	MUST(lstat("s", &st));
	SHOW(st.st_mtim.tv_sec);
	int fd = MUST(open("f", O_RDONLY));
	ERR(futimens(fd, times));
	MUST(fstat(fd, &st));
	SHOW(st.st_mtim.tv_sec);
	struct utimbuf old = { 5, 6 };
	ERR(utime("f", &old));
	MUST(stat("f", &st));
	SHOW(st.st_atim.tv_sec + st.st_mtim.tv_sec);
}

SECTION("times: what changes mtime and ctime")
{
	struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
	struct stat before, after;

	mkdir("d", 0755);
	write_file("d/f", "text");
	MUST(utimensat(AT_FDCWD, "d/f", old, 0));
	MUST(utimensat(AT_FDCWD, "d", old, 0));
	MUST(chmod("d/f", 0600));
	MUST(stat("d/f", &after));
	SHOW(after.st_mtim.tv_sec);
	SHOW(after.st_ctim.tv_sec > 1600000000);
	int fd = MUST(open("d/f", O_RDWR));
	MUST(write(fd, "x", 1));
	MUST(fstat(fd, &after));
	SHOW(after.st_mtim.tv_sec > 1600000000);
	MUST(stat("d", &before));
	SHOW(before.st_mtim.tv_sec);
	MUST(link("d/f", "d/g"));
	MUST(stat("d", &after));
	SHOW(after.st_mtim.tv_sec > 1600000000);
	MUST(utimensat(AT_FDCWD, "d", old, 0));
	MUST(unlink("d/g"));
	MUST(stat("d", &after));
	SHOW(after.st_mtim.tv_sec > 1600000000);
	MUST(utimensat(AT_FDCWD, "d/f", old, 0));
	MUST(ftruncate(fd, 0));
	MUST(fstat(fd, &after));
	SHOW(after.st_mtim.tv_sec > 1600000000);
}

SECTION("chmod and umask")
{
	SHOW(umask(077));
	SHOW(umask(01777));
	SHOW(umask(0) == 0777);
	MUST(open("all", O_CREAT | O_RDWR, 07777));
	HEX(mode_of("all"));
	umask(077);
	MUST(open("own", O_CREAT | O_RDWR, 0666));
	HEX(mode_of("own"));
	ERR(chmod("own", 06755));
	HEX(mode_of("own"));
	ERR(chmod("own", 0170000 | 0640));
	HEX(mode_of("own"));
	ERR(chmod("nothing", 0600));
	symlink("own", "s");
	ERR(chmod("s", 0604));
	HEX(mode_of("own"));
	ERR(fchmod(MUST(open("own", O_RDONLY)), 0400));
	HEX(mode_of("own"));
	ERR(fchmod(99, 0));
	ERR(fchmodat(AT_FDCWD, "own", 0600, 0));
	ERR(syscall(SYS_fchmodat2, AT_FDCWD, "s", 0600, AT_SYMLINK_NOFOLLOW));
	ERR(syscall(SYS_fchmodat2, AT_FDCWD, "own", 0601, AT_SYMLINK_NOFOLLOW));
	ERR(syscall(SYS_fchmodat2, AT_FDCWD, "own", 0601, 1));
}

SECTION("chown: to oneself, links, errors")
{
	struct stat st;

	write_file("f", "");
	symlink("nowhere", "s");
	ERR(chown("f", -1, -1));
	ERR(chown("f", geteuid(), getegid()));
	ERR(chown("s", geteuid(), -1));
	ERR(lchown("s", geteuid(), -1));
	ERR(fchownat(AT_FDCWD, "s", -1, -1, AT_SYMLINK_NOFOLLOW));
	ERR(fchownat(AT_FDCWD, "f", -1, -1, 1));
	ERR(fchownat(AT_FDCWD, "", -1, -1, AT_EMPTY_PATH));
	ERR(fchown(99, -1, -1));
	MUST(chmod("f", 06775));
	ERR(chown("f", geteuid(), getegid()));
	MUST(stat("f", &st));
	HEX(st.st_mode);
}

SECTION("chown: root gives files away; setuid bits go")
{
	struct stat st;

	need_root();
	write_file("f", "");
	MUST(chmod("f", 06755));
	ERR(chown("f", 1000, 2000));
	MUST(stat("f", &st));
	SHOW(st.st_uid);
	SHOW(st.st_gid);
	HEX(st.st_mode);
	ERR(chown("f", -1, 3000));
	MUST(stat("f", &st));
	SHOW(st.st_uid);
	SHOW(st.st_gid);
}

SECTION("access and faccessat")
{
	write_file("f", "");
	MUST(chmod("f", 0444));
	symlink("nowhere", "s");
	ERR(access("f", F_OK));
	ERR(access("f", R_OK));
	ERR(access("f", X_OK));
	ERR(access("nothing", F_OK));
	ERR(access("f", 8));
	ERR(access("s", F_OK));
	ERR(faccessat(AT_FDCWD, "s", F_OK, AT_SYMLINK_NOFOLLOW));
	ERR(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS));
	ERR(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, 1));
	MUST(chmod("f", 0555));
	ERR(access("f", X_OK));
}

SECTION("extended attributes: set, get, list, remove")
{
	char value[64] = "", list[256];

	write_file("f", "");
	ERR(setxattr("f", "user.one", "value", 5, 0));
	ERR(setxattr("f", "user.two", "", 0, XATTR_CREATE));
	ERR(setxattr("f", "user.one", "x", 1, XATTR_CREATE));
	ERR(setxattr("f", "user.three", "x", 1, XATTR_REPLACE));
	RET(getxattr("f", "user.one", value, sizeof value));
	TEXT(value);
	RET(getxattr("f", "user.one", NULL, 0));
	ERR(getxattr("f", "user.one", value, 2));
	RET(getxattr("f", "user.two", value, sizeof value));
	ERR(getxattr("f", "user.none", value, sizeof value));
	ssize_t length = listxattr("f", list, sizeof list);
	int users = 0;
	for (ssize_t at = 0; at < length; at += strlen(list + at) + 1)
		users += !strncmp(list + at, "user.", 5);
	SHOW(users);
	ERR(listxattr("f", list, 3));
	ERR(removexattr("f", "user.one"));
	ERR(removexattr("f", "user.one"));
	int fd = MUST(open("f", O_RDONLY));
	ERR(fsetxattr(fd, "user.three", "3", 1, 0));
	RET(fgetxattr(fd, "user.three", value, sizeof value));
}

SECTION("extended attributes: names, sizes, kinds of file")
{
	char name[300], *big = calloc(1, 70000);

	write_file("f", "");
	symlink("f", "s");
	mknod("p", S_IFIFO | 0600, 0);
	mkdir("d", 0755);
	strcpy(name, "user.");
	memset(name + 5, 'n', 251);
	name[256] = 0;
	ERR(setxattr("f", name, "x", 1, 0));
	ERR(setxattr("f", "", "x", 1, 0));
	ERR(setxattr("f", "user.", "x", 1, 0));
	ERR(setxattr("f", "bogus.name", "x", 1, 0));
	ERR(setxattr("f", "user.big", big, 65537, 0));
	ERR(setxattr("f", "user.x", "x", 1, 4));
	ERR(lsetxattr("s", "user.x", "x", 1, 0));
	ERR(setxattr("p", "user.x", "x", 1, 0));
	ERR(setxattr("d", "user.x", "x", 1, 0));
	ERR(setxattr("nothing", "user.x", "x", 1, 0));
	ERR(getxattr("/proc/self/status", "user.x", name, 10));
}

SECTION("statfs: the proc and pipe file systems, limits")
{
	struct statfs fs;
	int pair[2];

	ERR(statfs("/proc", &fs));
	HEX(fs.f_type);
	SHOW(fs.f_namelen);
	MUST(pipe(pair));
	ERR(fstatfs(pair[0], &fs));
	HEX(fs.f_type);
	ERR(statfs(".", &fs));
	SHOW(fs.f_namelen);
	SHOW(fs.f_bsize);
	SHOW(fs.f_bavail <= fs.f_bfree && fs.f_bfree <= fs.f_blocks);
	ERR(statfs("nothing", &fs));
	ERR(fstatfs(99, &fs));
	SHOW(pathconf(".", _PC_NAME_MAX));
	SHOW(pathconf(".", _PC_PIPE_BUF));
}

SECTION("/dev: null, zero, full, urandom")
{
	char bytes[64];

	memset(bytes, 1, sizeof bytes);
	int null = MUST(open("/dev/null", O_RDWR)), zero = MUST(open("/dev/zero", O_RDWR));
	int full = MUST(open("/dev/full", O_RDWR)), random = MUST(open("/dev/urandom", O_RDONLY));
	RET(read(null, bytes, 10));
	RET(write(null, bytes, 10));
	RET(lseek(null, 100, SEEK_SET));
	RET(read(zero, bytes, 10));
	SHOW(bytes[0] == 0 && bytes[9] == 0 && bytes[10] == 1);
	RET(write(zero, bytes, 10));
	RET(read(full, bytes, 10));
	ERR(write(full, bytes, 10));
	RET(read(random, bytes, 32));
	SHOW(memcmp(bytes, bytes + 16, 16) != 0);
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
	SHOW(map != MAP_FAILED && map[0] == 0);
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, null, 0) == MAP_FAILED);
	TEXT(error_name(errno));
	ERR(ftruncate(null, 0));
	ERR(open("/dev/null", O_RDONLY | O_CREAT | O_TRUNC, 0644));
	ERR(open("/dev/tty", O_RDWR) >= 0 || errno == ENXIO ? 0 : -1);
	ERR(access("/dev/stdin", F_OK));
	ERR(access("/dev/fd/1", F_OK));
}
