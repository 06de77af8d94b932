/* Flags of inodes (chattr), whiteouts, extents. */
#include "observe.h"
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

static void own_files(void)
{
	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("m", 0755));
	MUST(mount("none", "m", "tmpfs", 0, NULL));
	MUST(chdir("m"));
}

static int flags_of(const char *path)
{
	int fd = MUST(open(path, O_RDONLY)), flags = -1;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		say("FS_IOC_GETFLAGS: %s\n", error_name(errno));
	close(fd);
	return flags;
}

static int set_flags(const char *path, int flags)
{
	int fd = MUST(open(path, O_RDONLY));
	int result = ioctl(fd, FS_IOC_SETFLAGS, &flags);
	int saved = errno;

	close(fd);
	errno = saved;
	return result;
}

SECTION("immutable files")
{
	struct statx st;

	own_files();
	write_file("f", "content");
	int open_before = MUST(open("f", O_WRONLY));
	HEX(flags_of("f"));
	ERR(set_flags("f", FS_IMMUTABLE_FL));
	HEX(flags_of("f"));
	ERR(open("f", O_WRONLY));
	ERR(open("f", O_RDONLY));
	ERR(write(open_before, "x", 1));
	ERR(truncate("f", 0));
	ERR(unlink("f"));
	ERR(rename("f", "g"));
	ERR(link("f", "g"));
	ERR(chmod("f", 0600));
	ERR(chown("f", 1, 1));
	ERR(utimensat(AT_FDCWD, "f", NULL, 0));
	MUST(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &st));
	HEX(st.stx_attributes & 0x70);
	ERR(set_flags("f", 0));
	ERR(unlink("f"));
}

SECTION("append-only files and directories")
{
	own_files();
	write_file("f", "content");
	ERR(set_flags("f", FS_APPEND_FL));
	ERR(open("f", O_WRONLY));
	ERR(open("f", O_WRONLY | O_TRUNC));
	int fd = MUST(open("f", O_WRONLY | O_APPEND));
	RET(write(fd, "more", 4));
	ERR(ftruncate(fd, 0));
	ERR(fcntl(fd, F_SETFL, 0));
	ERR(unlink("f"));
	MUST(mkdir("d", 0755));
	ERR(set_flags("d", FS_APPEND_FL));
	write_file("d/f", "");
	ERR(unlink("d/f"));
	ERR(rename("d/f", "d/g"));
	ERR(set_flags("d", FS_IMMUTABLE_FL));
	ERR(open("d/n", O_WRONLY | O_CREAT, 0644));
	ERR(mkdir("d/n", 0755));
	ERR(unlink("d/f"));
	ERR(set_flags("d", 0));
	ERR(set_flags("f", 0));
}

SECTION("flags: who may set them")
{
	own_files();
	write_file("f", "");
	MUST(chown("f", 1000, 1000));
	ERR(set_flags("f", FS_NODUMP_FL | FS_NOATIME_FL));
	HEX(flags_of("f"));
	ERR(set_flags("f", FS_COMPR_FL));
	MUST(setresuid(1000, 1000, 1000));
	ERR(set_flags("f", FS_IMMUTABLE_FL | FS_NODUMP_FL | FS_NOATIME_FL));
	ERR(set_flags("f", 0));
	HEX(flags_of("f"));
	MUST(setfsuid(1001));
	int fd = open("/proc/self/status", O_RDONLY), flags;
	ERR(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	ERR(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

SECTION("FS_IOC_FSGETXATTR tells of the same flags")
{
	struct fsxattr attr = { 0 };

	own_files();
	write_file("f", "");
	MUST(set_flags("f", FS_APPEND_FL | FS_NODUMP_FL));
	int fd = MUST(open("f", O_RDONLY));
	ERR(ioctl(fd, FS_IOC_FSGETXATTR, &attr));
	HEX(attr.fsx_xflags);
	SHOW(attr.fsx_projid);
	attr.fsx_xflags = 0;
	ERR(ioctl(fd, FS_IOC_FSSETXATTR, &attr));
	HEX(flags_of("f"));
}

SECTION("rename leaves a whiteout")
{
	struct stat st;

	own_files();
	write_file("f", "content");
	ERR(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "g", RENAME_WHITEOUT));
	MUST(lstat("f", &st));
	HEX(st.st_mode);
	SHOW(st.st_rdev);
	TEXT(read_file("g"));
	write_file("h", "other");
	ERR(syscall(SYS_renameat2, AT_FDCWD, "g", AT_FDCWD, "h", RENAME_WHITEOUT));
	MUST(lstat("g", &st));
	HEX(st.st_mode);
	TEXT(read_file("h"));
	ERR(syscall(SYS_renameat2, AT_FDCWD, "h", AT_FDCWD, "g", RENAME_WHITEOUT | RENAME_EXCHANGE));
	ERR(mknod("w", S_IFCHR | 0644, makedev(0, 0)));
	ERR(open("w", O_RDONLY));
	MUST(setresuid(1000, 1000, 1000));
}

SECTION("extents and clones where there are none")
{
	struct { struct fiemap map; struct fiemap_extent extents[4]; } all = { { 0, ~0ull, 0, 0, 4, 0 }, { { 0 } } };

	own_files();
	write_file("f", "content");
	int fd = MUST(open("f", O_RDWR)), other = MUST(open("g", O_RDWR | O_CREAT, 0644));
	ERR(ioctl(fd, FS_IOC_FIEMAP, &all));
	ERR(ioctl(other, FICLONE, fd));
	ERR(ioctl(other, FICLONE, -1));
	int dir = MUST(open(".", O_RDONLY));
	ERR(ioctl(dir, FICLONE, fd));
	ERR(ioctl(other, FICLONE, dir));
	int block = 0;
	ERR(ioctl(fd, FIBMAP, &block));
	ERR(ioctl(fd, FIFREEZE, 0));
}
