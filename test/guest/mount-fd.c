/* Mounts by descriptors: fsopen, fsconfig, fsmount, fspick, open_tree, move_mount, mount_setattr. */
#include "observe.h"
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#ifndef FSCONFIG_CMD_CREATE_EXCL
#define FSCONFIG_CMD_CREATE_EXCL 8
#endif

static int fsopen_(const char *name, unsigned flags)
{
	return syscall(SYS_fsopen, name, flags);
}
static int fsconfig_(int fd, unsigned command, const char *key, const void *value, int aux)
{
	return syscall(SYS_fsconfig, fd, command, key, value, aux);
}
static int fsmount_(int fd, unsigned flags, unsigned attributes)
{
	return syscall(SYS_fsmount, fd, flags, attributes);
}
static int open_tree_(int fd, const char *path, unsigned flags)
{
	return syscall(SYS_open_tree, fd, path, flags);
}
static int move_mount_(int from, const char *from_path, int to, const char *to_path, unsigned flags)
{
	return syscall(SYS_move_mount, from, from_path, to, to_path, flags);
}
static int set_(int fd, const char *path, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation)
{
	struct mount_attr attr = { set, clear, propagation, 0 };

	return syscall(SYS_mount_setattr, fd, path, flags, &attr, sizeof attr);
}

/* A mount namespace of one's own, where nothing spreads. */
static void alone(void)
{
	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

static int new_tmpfs(void)
{
	int fd = MUST(fsopen_("tmpfs", FSOPEN_CLOEXEC));

	MUST(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	int mount_fd = MUST(fsmount_(fd, FSMOUNT_CLOEXEC, 0));
	close(fd);
	return mount_fd;
}

static void flags_of(const char *path)
{
	struct statvfs st;

	MUST(statvfs(path, &st));
	say("%s:%s%s%s%s%s%s%s\n", path, st.f_flag & ST_RDONLY ? " ro" : "", st.f_flag & ST_NOSUID ? " nosuid" : "",
		st.f_flag & ST_NODEV ? " nodev" : "", st.f_flag & ST_NOEXEC ? " noexec" : "",
		st.f_flag & ST_NOATIME ? " noatime" : "", st.f_flag & ST_NODIRATIME ? " nodiratime" : "",
		st.f_flag & ST_RELATIME ? " relatime" : "");
}

SECTION("fsopen, fsconfig: steps and errors")
{
	alone();
	ERR(fsopen_("nothing-like-it", 0));
	ERR(fsopen_("tmpfs", 2));
	ERR(fsopen_(NULL, 0));
	int fd = MUST(fsopen_("tmpfs", 0));
	char text[16];
	RET(fcntl(fd, F_GETFD));
	ERR(read(fd, text, sizeof text));
	ERR(fsmount_(fd, 0, 0));
	ERR(fsconfig_(fd, 99, NULL, NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_SET_STRING, "size", NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_SET_STRING, NULL, "1m", 0));
	ERR(fsconfig_(fd, FSCONFIG_SET_STRING, "size", "1m", 1));
	ERR(fsconfig_(fd, FSCONFIG_SET_FLAG, "ro", "x", 0));
	ERR(fsconfig_(fd, FSCONFIG_SET_STRING, "source", "name", 0));
	ERR(fsconfig_(fd, FSCONFIG_SET_STRING, "source", "again", 0));
	ERR(fsconfig_(fd, FSCONFIG_SET_STRING, "size", "1m", 0));
	ERR(fsconfig_(fd, FSCONFIG_SET_STRING, "mode", "0750", 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE, "x", NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_SET_STRING, "size", "2m", 0));
	ERR(fsmount_(fd, 7, 0));
	ERR(fsmount_(fd, 0, 1u << 30));
	ERR(fsmount_(fd, 0, 0x70));
	ERR(fsmount_(0, 0, 0));
	ERR(fsmount_(99, 0, 0));
	int mount_fd = MUST(fsmount_(fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME));
	RET(fcntl(mount_fd, F_GETFD));
	HEX(fcntl(mount_fd, F_GETFL) & O_PATH);
	ERR(fsmount_(fd, 0, 0));
	struct statfs st;
	MUST(fstatfs(mount_fd, &st));
	SHOW(st.f_type == 0x01021994);
	SHOW(st.f_blocks * st.f_bsize);
	struct stat root;
	MUST(fstat(mount_fd, &root));
	HEX(root.st_mode);
	ERR(fsconfig_(0, FSCONFIG_SET_FLAG, "ro", NULL, 0));
	ERR(fsconfig_(99, FSCONFIG_SET_FLAG, "ro", NULL, 0));
}

SECTION("fsconfig: a context whose file system could not be made is of no use")
{
	alone();
	int fd = MUST(fsopen_("tmpfs", 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE_EXCL, NULL, NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE_EXCL, NULL, NULL, 0));
	ERR(fsmount_(fd, 0, 0));
	close(fd);
	fd = MUST(fsopen_("mqueue", 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE_EXCL, NULL, NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	char text[64] = "";
	ERR(read(fd, text, sizeof text - 1));
	TEXT(text);
	close(fd);
	fd = MUST(fsopen_("overlay", 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_SET_FLAG, "ro", NULL, 0));
	ERR(fsmount_(fd, 0, 0));
}

SECTION("fsmount, move_mount: a file system that is filled before it is attached")
{
	char line[256];

	alone();
	MUST(mkdir("at", 0755));
	int fd = new_tmpfs();
	int file = MUST(openat(fd, "inside", O_CREAT | O_RDWR, 0644));
	MUST(write(file, "text", 4));
	close(file);
	ERR(openat(fd, "../at", O_RDONLY));
	ERR(open("at/inside", O_RDONLY));
	ERR(move_mount_(fd, "", AT_FDCWD, "at", 0));
	ERR(move_mount_(fd, "", AT_FDCWD, "at", 1u << 20));
	ERR(move_mount_(fd, "inside", AT_FDCWD, "at", 0));
	ERR(move_mount_(fd, "", AT_FDCWD, "nothing", MOVE_MOUNT_F_EMPTY_PATH));
	close(MUST(open("plain", O_CREAT | O_RDWR, 0644)));
	ERR(move_mount_(fd, "", AT_FDCWD, "plain", MOVE_MOUNT_F_EMPTY_PATH));
	ERR(move_mount_(fd, "", AT_FDCWD, "at", MOVE_MOUNT_F_EMPTY_PATH));
	TEXT(read_file("at/inside"));
	close(fd);
	TEXT(read_file("at/inside"));
	FILE *mounts = fopen("/proc/self/mounts", "r");
	while (fgets(line, sizeof line, mounts))
		if (strstr(line, "/at "))
			say("%.7s\n", line);
	fclose(mounts);
	/* Moved again, by name. */
	MUST(mkdir("to", 0755));
	ERR(move_mount_(AT_FDCWD, "at", AT_FDCWD, "to", 0));
	TEXT(read_file("to/inside"));
	ERR(move_mount_(AT_FDCWD, "at", AT_FDCWD, "to", 0));
	ERR(umount("to"));
	ERR(umount("to"));
}

SECTION("fsmount: without being attached it goes with its descriptor")
{
	alone();
	int fd = new_tmpfs();
	int file = MUST(openat(fd, "inside", O_CREAT | O_RDWR, 0644));
	close(fd);
	RET(write(file, "text", 4));
	ERR(umount2("/proc/self/fd/0", 0));
}

SECTION("open_tree: a place, a copy, a copy with what is mounted below")
{
	alone();
	MUST(mkdir("a", 0755));
	MUST(mkdir("b", 0755));
	MUST(mount("x", "a", "tmpfs", 0, NULL));
	MUST(mkdir("a/sub", 0755));
	MUST(mount("x", "a/sub", "tmpfs", 0, NULL));
	write_file("a/sub/deep", "deep");
	write_file("a/top", "top");
	ERR(open_tree_(AT_FDCWD, "a", AT_RECURSIVE));
	ERR(open_tree_(AT_FDCWD, "a", 1u << 28));
	ERR(open_tree_(AT_FDCWD, "nothing", OPEN_TREE_CLONE));
	int place = MUST(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLOEXEC));
	HEX(fcntl(place, F_GETFL) & O_PATH);
	ERR(faccessat(place, "top", R_OK, 0));
	int flat = MUST(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE));
	ERR(faccessat(flat, "top", R_OK, 0));
	ERR(faccessat(flat, "sub/deep", R_OK, 0));
	int deep = MUST(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE | AT_RECURSIVE));
	ERR(faccessat(deep, "sub/deep", R_OK, 0));
	ERR(move_mount_(deep, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
	TEXT(read_file("b/sub/deep"));
	ERR(umount("b"));
	ERR(umount2("b", MNT_DETACH));
	/* A copy of a directory within a mount is a bind mount. */
	int part = MUST(open_tree_(AT_FDCWD, "a/sub", OPEN_TREE_CLONE));
	ERR(move_mount_(part, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
	TEXT(read_file("b/deep"));
	int file = MUST(open_tree_(AT_FDCWD, "a/top", OPEN_TREE_CLONE));
	write_file("over", "under");
	ERR(move_mount_(file, "", AT_FDCWD, "over", MOVE_MOUNT_F_EMPTY_PATH));
	TEXT(read_file("over"));
	/* A place is no mount that could be moved, unless it is its root. */
	int inside = MUST(open_tree_(AT_FDCWD, "a/sub/deep", 0));
	ERR(move_mount_(inside, "", AT_FDCWD, "over", MOVE_MOUNT_F_EMPTY_PATH));
}

SECTION("mount_setattr: flags of one mount and of all below")
{
	alone();
	MUST(mkdir("a", 0755));
	MUST(mount("x", "a", "tmpfs", 0, NULL));
	MUST(mkdir("a/sub", 0755));
	MUST(mount("x", "a/sub", "tmpfs", MS_NOSUID, NULL));
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	ERR(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, &attr, 8));
	ERR(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, &attr, 5000));
	ERR(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, NULL, sizeof attr));
	ERR(set_(AT_FDCWD, "a", 1u << 30, MOUNT_ATTR_RDONLY, 0, 0));
	ERR(set_(AT_FDCWD, "a", 0, 1u << 30, 0, 0));
	ERR(set_(AT_FDCWD, "nothing", 0, 0, 0, 0));
	ERR(set_(AT_FDCWD, "nothing", 0, MOUNT_ATTR_RDONLY, 0, 0));
	ERR(set_(AT_FDCWD, "a", 0, MOUNT_ATTR_NOATIME, 0, 0));
	ERR(set_(AT_FDCWD, "a", 0, 0, MOUNT_ATTR_NOATIME, 0));
	ERR(set_(AT_FDCWD, "a", 0, 0, 0, MS_SHARED | MS_PRIVATE));
	flags_of("a");
	ERR(set_(AT_FDCWD, "a", 0, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, 0, 0));
	flags_of("a");
	flags_of("a/sub");
	ERR(open("a/new", O_CREAT | O_RDWR, 0644));
	ERR(set_(AT_FDCWD, "a", AT_RECURSIVE, MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME | MOUNT_ATTR_NODIRATIME,
		MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR__ATIME, 0));
	flags_of("a");
	flags_of("a/sub");
	int writer = MUST(open("a/sub/w", O_CREAT | O_RDWR, 0644));
	ERR(set_(AT_FDCWD, "a", AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, 0));
	flags_of("a");
	close(writer);
	ERR(set_(AT_FDCWD, "a", AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, 0));
	flags_of("a/sub");
	MUST(mkdir("plain", 0755));
	ERR(set_(AT_FDCWD, "plain", 0, MOUNT_ATTR_RDONLY, 0, 0));
	int fd = new_tmpfs();
	ERR(set_(fd, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0));
	ERR(openat(fd, "new", O_CREAT | O_RDWR, 0644));
	ERR(set_(AT_FDCWD, "a", 0, 0, 0, MS_SHARED));
}

SECTION("fspick: the file system of a mount is changed")
{
	alone();
	MUST(mkdir("a", 0755));
	MUST(mount("x", "a", "tmpfs", 0, "size=1m"));
	MUST(mkdir("a/sub", 0755));
	ERR(syscall(SYS_fspick, AT_FDCWD, "a/sub", 0));
	ERR(syscall(SYS_fspick, AT_FDCWD, "nothing", 0));
	ERR(syscall(SYS_fspick, AT_FDCWD, "a", 0x100));
	int fd = MUST(syscall(SYS_fspick, AT_FDCWD, "a", 1));
	ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_SET_STRING, "size", "2m", 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
	struct statfs st;
	MUST(statfs("a", &st));
	SHOW(st.f_blocks * st.f_bsize);
	ERR(fsconfig_(fd, FSCONFIG_SET_FLAG, "ro", NULL, 0));
	ERR(fsconfig_(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
	ERR(open("a/new", O_CREAT | O_RDWR, 0644));
}

SECTION("without the capability")
{
	need_root();
	MUST(setresuid(1000, 1000, 1000));
	ERR(fsopen_("tmpfs", 0));
	ERR(fsopen_("nothing-like-it", 99));
	ERR(open_tree_(AT_FDCWD, "/", OPEN_TREE_CLONE));
	ERR(open_tree_(AT_FDCWD, "/", 0));
	ERR(move_mount_(AT_FDCWD, "/", AT_FDCWD, "/", 0));
	ERR(set_(AT_FDCWD, "/", 0, MOUNT_ATTR_RDONLY, 0, 0));
	ERR(set_(AT_FDCWD, "/", 1u << 30, MOUNT_ATTR_RDONLY, 0, 0));
	ERR(fsmount_(0, 0, 0));
	ERR(syscall(SYS_fspick, AT_FDCWD, "/", 0));
}

SECTION("mountinfo tells of changes: poll, and epoll on edges")
{
	need_root();
	alone();
	int fd = MUST(open("/proc/self/mountinfo", O_RDONLY));
	struct pollfd poll_fd = { fd, POLLIN | POLLPRI, 0 };
	RET(poll(&poll_fd, 1, 0));
	HEX(poll_fd.revents);
	int epoll = MUST(epoll_create1(0));
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	ERR(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	RET(epoll_wait(epoll, &event, 1, 0));
	RET(epoll_wait(epoll, &event, 1, 0));
	MUST(mkdir("m", 0755));
	MUST(mount("t", "m", "tmpfs", 0, NULL));
	RET(epoll_wait(epoll, &event, 1, 1000));
	RET(epoll_wait(epoll, &event, 1, 0));
	MUST(umount("m"));
	RET(poll(&poll_fd, 1, 1000));
	HEX(poll_fd.revents);
	RET(poll(&poll_fd, 1, 0));
	HEX(poll_fd.revents);
}
