/* Id-mapped mounts: what owners look like through them, who may do what, and what is kept of what is made there. */
#include "observe.h"
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <grp.h>

static int open_tree_(const char *path, unsigned flags)
{
	return syscall(SYS_open_tree, AT_FDCWD, path, flags);
}
static int move_(int fd, const char *to)
{
	return syscall(SYS_move_mount, fd, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH);
}
static int idmap_(int fd, unsigned flags, uint64_t set, uint64_t clear, uint64_t userns)
{
	struct mount_attr attr = { set, clear, 0, userns };

	return syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | flags, &attr, sizeof attr);
}

/* A user namespace with these maps; "" for none. */
static int new_userns(const char *uids, const char *gids)
{
	int ready[2], go[2];
	char byte, path[64];

	MUST(pipe(ready));
	MUST(pipe(go));
	pid_t pid = fork();
	if (pid == 0) {
		MUST(unshare(CLONE_NEWUSER));
		write(ready[1], "", 1);
		read(go[0], &byte, 1);
		_exit(0);
	}
	MUST(read(ready[0], &byte, 1));
	const char *const maps[2][2] = { { "uid_map", uids }, { "gid_map", gids } };
	for (int i = 0; i < 2; i++) {
		if (!*maps[i][1])
			continue;
		snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, maps[i][0]);
		int fd = MUST(open(path, O_WRONLY));
		MUST(write(fd, maps[i][1], strlen(maps[i][1])));
		close(fd);
	}
	snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
	int fd = MUST(open(path, O_RDONLY | O_CLOEXEC));
	write(go[1], "", 1);
	waitpid(pid, NULL, 0);
	return fd;
}

static void owner(const char *path)
{
	struct stat st = { 0 };

	if (lstat(path, &st))
		say("%s: %s\n", path, error_name(errno));
	else
		say("%s: %u:%u %o\n", path, st.st_uid, st.st_gid, st.st_mode & 07777);
}

/* plain/ is a tmpfs with files of several owners; mapped/ the same through a mount with these maps. */
static void mapped_by(const char *uids, const char *gids)
{
	char here[256];

	need_root();
	umask(022);
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mount("none", ".", "tmpfs", 0, NULL));
	getcwd(here, sizeof here);
	MUST(chdir(here));
	MUST(chmod(".", 0755));
	MUST(mkdir("plain", 0755));
	MUST(mkdir("mapped", 0755));
	MUST(mount("none", "plain", "tmpfs", 0, "mode=755"));
	static const uid_t owners[] = { 0, 1000, 10000, 11000 };
	for (size_t i = 0; i < LENGTH(owners); i++) {
		char path[64];
		snprintf(path, sizeof path, "plain/%u", owners[i]);
		write_file(path, "text");
		MUST(chmod(path, 0640));
		MUST(chown(path, owners[i], owners[i]));
		snprintf(path, sizeof path, "plain/d%u", owners[i]);
		MUST(mkdir(path, 0755));
		MUST(chown(path, owners[i], owners[i]));
	}
	int userns = new_userns(uids, gids);
	int fd = MUST(open_tree_("plain", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
	MUST(idmap_(fd, 0, MOUNT_ATTR_IDMAP, 0, userns));
	MUST(move_(fd, "mapped"));
	close(fd);
	close(userns);
}

static void become(uid_t uid)
{
	MUST(setgroups(0, NULL));
	MUST(setresgid(uid, uid, uid));
	MUST(setresuid(uid, uid, uid));
}

/* Runs `then` as that user. */
static void as(uid_t uid, void (*then)(void))
{
	pid_t pid = fork();
	if (pid == 0) {
		become(uid);
		say("as %u:\n", uid);
		then();
		_exit(0);
	}
	STATUS(end_of(pid));
}

SECTION("owners as they are seen")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	owner("mapped/0");
	owner("mapped/1000");
	owner("mapped/10000");
	owner("mapped/11000");
	owner("mapped");
	int fd = MUST(open("mapped/1000", O_RDONLY));
	struct stat st;
	MUST(fstat(fd, &st));
	SHOW(st.st_uid);
	struct statx sx;
	MUST(statx(AT_FDCWD, "mapped/1000", 0, STATX_UID | STATX_GID, &sx));
	SHOW(sx.stx_uid);
	SHOW(sx.stx_gid);
	char line[1024];
	FILE *file = fopen("/proc/self/mountinfo", "r");
	while (fgets(line, sizeof line, file))
		if (strstr(line, "/mapped "))
			SHOW(!!strstr(line, ",idmapped"));
}

static void use(void)
{
	ERR(open("mapped/1000", O_RDWR));
	ERR(open("mapped/0", O_RDONLY));
	ERR(open("plain/1000", O_RDONLY));
	ERR(open("plain/11000", O_RDONLY));
	ERR(access("mapped/1000", R_OK | W_OK));
	ERR(chmod("mapped/1000", 0600));
	ERR(chmod("mapped/0", 0600));
	ERR(utimensat(AT_FDCWD, "mapped/1000", NULL, 0));
	ERR(truncate("mapped/1000", 2));
	write_file("mapped/d1000/new", "text");
	ERR(mkdir("mapped/d1000/dir", 0755));
	ERR(symlink("there", "mapped/d1000/link"));
	ERR(mknod("mapped/d1000/pipe", S_IFIFO | 0600, 0));
	ERR(link("mapped/d1000/new", "mapped/d1000/second"));
	ERR(rename("mapped/d1000/second", "mapped/d1000/third"));
	ERR(mkdir("mapped/d0/dir", 0755));
	ERR(mkdir("plain/d1000/dir", 0755));
	owner("mapped/d1000/new");
	owner("plain/d1000/new");
	owner("plain/d1000/dir");
	owner("plain/d1000/link");
	owner("plain/d1000/pipe");
	ERR(unlink("mapped/d1000/third"));
	ERR(unlink("plain/d1000/new"));
	int fd = open("mapped/d1000", O_TMPFILE | O_RDWR, 0600);
	ERR(fd);
	struct stat st = { 0 };
	fstat(fd, &st);
	SHOW(st.st_uid);
}

SECTION("a user works with what is theirs through the mount")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	as(11000, use);
}

static void foreign(void)
{
	owner("mapped/0");
	ERR(open("mapped/1000", O_RDONLY));
	ERR(chmod("mapped/0", 0644));
	ERR(mkdir("mapped/d1000/dir", 0755));
}

SECTION("a user whom the map does not have makes nothing there")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	MUST(chmod("plain/d1000", 0777));
	as(1000, foreign);
	as(0, foreign);
	ERR(open("mapped/d1000/file", O_CREAT | O_WRONLY, 0644));
	ERR(open("mapped/d1000", O_TMPFILE | O_WRONLY, 0644));
	ERR(symlink("x", "mapped/d1000/link"));
}

SECTION("what is nobody's is not written, removed or changed")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	owner("mapped/10000");
	ERR(open("mapped/10000", O_RDONLY));
	ERR(open("mapped/10000", O_RDWR));
	ERR(truncate("mapped/10000", 1));
	ERR(chmod("mapped/10000", 0600));
	ERR(chown("mapped/10000", 10000, 10000));
	ERR(chown("mapped/10000", 10000, -1));
	ERR(utimensat(AT_FDCWD, "mapped/10000", NULL, 0));
	ERR(link("mapped/11000", "mapped/link"));
	ERR(unlink("mapped/11000"));
	ERR(rename("mapped/11000", "mapped/other"));
	ERR(rmdir("mapped/d11000"));
	ERR(mkdir("mapped/d11000/x", 0700));
	owner("plain/10000");
	owner("plain/11000");
}

SECTION("chown takes ids as they are seen")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	ERR(chown("mapped/1000", 10007, 10008));
	owner("mapped/1000");
	owner("plain/1000");
	ERR(chown("mapped/1000", 7, -1));
	ERR(chown("mapped/1000", -1, 15000));
	ERR(lchown("mapped/0", 14999, 10000));
	owner("plain/0");
	int fd = MUST(open("mapped/0", O_RDONLY));
	ERR(fchown(fd, 10001, 10001));
	owner("plain/0");
}

SECTION("several lines of a map, and groups of their own")
{
	mapped_by("0 10000 1\n1000 20000 1\n", "0 30000 1\n1000 40000 1\n");
	owner("mapped/0");
	owner("mapped/1000");
	owner("mapped/10000");
	ERR(chown("mapped/0", 20000, 40000));
	owner("plain/0");
	ERR(chown("mapped/0", 20001, 40000));
}

static int run_setid(const char *path)
{
	pid_t pid = fork();
	if (pid == 0) {
		become(12345);
		execl(path, "id", "-u", NULL);
		_exit(errno);
	}
	int status;
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

SECTION("programs with set-id bits")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	char command[256];
	snprintf(command, sizeof command, "cp /usr/bin/id plain/id && chown 1000:1000 plain/id && chmod 4755 plain/id &&"
		"cp /usr/bin/id plain/no && chown 10000:0 plain/no && chmod 4755 plain/no");
	SHOW(system(command));
	SHOW(run_setid("mapped/id"));
	SHOW(run_setid("plain/id"));
	SHOW(run_setid("mapped/no"));
}

static void sticky(void)
{
	ERR(unlink("mapped/t/theirs"));
	ERR(unlink("mapped/t/mine"));
	ERR(rename("mapped/t/third", "mapped/t/fourth"));
}

SECTION("sticky directories, setgid directories")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	MUST(mkdir("plain/t", 0755));
	MUST(chmod("plain/t", 01777));
	write_file("plain/t/theirs", "");
	write_file("plain/t/mine", "");
	write_file("plain/t/third", "");
	MUST(chown("plain/t/theirs", 11000, 11000));
	MUST(chown("plain/t/mine", 1000, 1000));
	as(11000, sticky);
	MUST(mkdir("plain/g", 0755));
	MUST(chown("plain/g", 0, 1000));
	MUST(chmod("plain/g", 02777));
	pid_t pid = fork();
	if (pid == 0) {
		become(12000);
		write_file("mapped/g/file", "");
		MUST(mkdir("mapped/g/dir", 0755));
		ERR(chmod("mapped/g/file", 02755));
		_exit(0);
	}
	STATUS(end_of(pid));
	owner("mapped/g/file");
	owner("plain/g/file");
	owner("plain/g/dir");
}

static void read_0(void)
{
	ERR(open("mapped/0", O_RDONLY));
	ERR(open("mapped/0", O_RDWR));
	ERR(open("plain/0", O_RDONLY));
}

static void put_acl(const char *path, uint32_t uid, int perm)
{
	struct {
		uint32_t version;
		struct {
			uint16_t tag, perm;
			uint32_t id;
		} entries[5];
	} acl = { 2, { { 1, 6, -1 }, { 2, perm, uid }, { 4, 4, -1 }, { 16, 7, -1 }, { 32, 0, -1 } } };

	ERR(setxattr(path, "system.posix_acl_access", &acl, sizeof acl, 0));
}
static void show_acl(const char *path)
{
	uint32_t acl[11];

	if (getxattr(path, "system.posix_acl_access", acl, sizeof acl) < 0)
		say("%s: %s\n", path, error_name(errno));
	else
		say("%s: user %u\n", path, acl[4]);
}

SECTION("access control lists")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	put_acl("mapped/0", 12345, 4);
	show_acl("mapped/0");
	show_acl("plain/0");
	put_acl("mapped/1000", 5, 4);
	put_acl("plain/1000", 10000, 4);
	show_acl("mapped/1000");
	as(12345, read_0);
	as(2345, read_0);
}

SECTION("capabilities of files")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	struct vfs_ns_cap_data caps = { VFS_CAP_REVISION_3, { { 1 << 13, 0 }, { 0, 0 } }, 10000 };
	ERR(setxattr("mapped/0", "security.capability", &caps, sizeof caps, 0));
	memset(&caps, 0, sizeof caps);
	RET(getxattr("mapped/0", "security.capability", &caps, sizeof caps));
	HEX(caps.magic_etc);
	SHOW(caps.rootid);
	memset(&caps, 0, sizeof caps);
	RET(getxattr("plain/0", "security.capability", &caps, sizeof caps));
	HEX(caps.magic_etc);
	SHOW(caps.rootid);
	caps.magic_etc = VFS_CAP_REVISION_3;
	caps.rootid = 3;
	ERR(setxattr("mapped/0", "security.capability", &caps, sizeof caps, 0));
	caps.magic_etc = VFS_CAP_REVISION_2;
	ERR(setxattr("mapped/1000", "security.capability", &caps, XATTR_CAPS_SZ_2, 0));
}

static int setlease(const char *path)
{
	int fd = open(path, O_RDONLY);

	return fd < 0 ? fd : fcntl(fd, F_SETLEASE, F_RDLCK);
}
static void lesser(void)
{
	ERR(setlease("mapped/1000"));
	ERR(setxattr("mapped/1000", "user.x", "1", 1, 0));
	ERR(chdir("mapped/d1000"));
	ERR(open(".", O_RDONLY | O_NOATIME));
	ERR(open("../0", O_RDONLY | O_NOATIME));
}

SECTION("leases, attributes, access times")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	as(11000, lesser);
}

SECTION("what can't be mapped")
{
	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mount("none", ".", "tmpfs", 0, NULL));
	char here[256];
	getcwd(here, sizeof here);
	MUST(chdir(here));
	mkdir("a", 0755);
	MUST(mount("none", "a", "tmpfs", 0, NULL));
	int userns = new_userns("0 10000 10\n", "0 10000 10\n");
	int unmapped = new_userns("", "");
	int first = MUST(open("/proc/self/ns/user", O_RDONLY)), uts = MUST(open("/proc/self/ns/uts", O_RDONLY));
	int attached = MUST(open("a", O_PATH));
	ERR(idmap_(attached, 0, MOUNT_ATTR_IDMAP, 0, userns));
	int fd = MUST(open_tree_("a", OPEN_TREE_CLONE));
	ERR(idmap_(fd, 0, MOUNT_ATTR_IDMAP, 0, 99));
	ERR(idmap_(fd, 0, MOUNT_ATTR_IDMAP, 0, uts));
	ERR(idmap_(fd, 0, MOUNT_ATTR_IDMAP, 0, first));
	ERR(idmap_(fd, 0, MOUNT_ATTR_IDMAP, 0, 1ull << 33));
	ERR(idmap_(fd, 0, MOUNT_ATTR_IDMAP, 0, fd));
	ERR(idmap_(fd, 0, 0, MOUNT_ATTR_IDMAP, userns));
	ERR(idmap_(fd, 0, MOUNT_ATTR_IDMAP, 0, unmapped));
	ERR(idmap_(fd, 0, MOUNT_ATTR_IDMAP, 0, userns));
	ERR(idmap_(fd, 0, MOUNT_ATTR_IDMAP, 0, userns));
	mkdir("proc", 0755);
	MUST(mount("none", "proc", "proc", 0, NULL));
	int proc = MUST(open_tree_("proc", OPEN_TREE_CLONE));
	ERR(idmap_(proc, 0, MOUNT_ATTR_IDMAP, 0, userns));
	/* A copy keeps the map; a tree is changed as a whole or not at all. */
	mkdir("b", 0755);
	MUST(move_(fd, "b"));
	mkdir("c", 0755);
	MUST(mount("b", "c", NULL, MS_BIND, NULL));
	owner("c");
	int tree = MUST(open_tree_(".", OPEN_TREE_CLONE | AT_RECURSIVE));
	ERR(idmap_(tree, AT_RECURSIVE, MOUNT_ATTR_IDMAP, 0, userns));
	owner("a");
}

SECTION("an overlay over layers that are mapped")
{
	mapped_by("0 10000 5000\n", "0 10000 5000\n");
	put_acl("plain/0", 2345, 4);
	MUST(mkdir("o", 0755));
	MUST(mkdir("upper", 0755));
	MUST(mkdir("work", 0755));
	MUST(mkdir("merged", 0755));
	MUST(mount("none", "merged", "overlay", 0, "lowerdir=mapped,upperdir=upper,workdir=work"));
	owner("merged/0");
	owner("merged/1000");
	owner("merged/10000");
	show_acl("merged/0");
	ERR(chmod("merged/1000", 0600));
	owner("upper/1000");
	owner("merged/1000");
	ERR(chmod("merged/0", 0600));
	show_acl("upper/0");
	ERR(chmod("merged/10000", 0600));
	/* Nobody is privileged over what is nobody's. */
	ERR(open("merged/10000", O_RDONLY));
	ERR(open("merged/10000", O_RDWR));
	ERR(access("merged/10000", R_OK));
	ERR(utimensat(AT_FDCWD, "merged/10000", NULL, 0));
	ERR(chown("merged/10000", 5, 5));
	ERR(link("merged/10000", "merged/link"));
	ERR(unlink("merged/10000"));
	ERR(mkdir("merged/d10000/x", 0755));
	ERR(chown("merged/d1000", 5, 5));
	owner("upper/d1000");
	owner("plain/d1000");
	write_file("merged/d1000/new", "");
	owner("upper/d1000/new");
}

SECTION("capabilities of a program count in the user namespaces below the one that gave them")
{
	need_root();
	char here[256];
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mount("none", ".", "tmpfs", 0, "mode=755"));
	getcwd(here, sizeof here);
	MUST(chdir(here));
	SHOW(system("cp /bin/grep ./grep"));
	struct vfs_cap_data caps = { VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, { { 1 << 13, 0 }, { 0, 0 } } };
	MUST(setxattr("grep", "security.capability", &caps, sizeof caps, 0));
	pid_t pid = fork();
	if (pid == 0) {
		become(1000);
		MUST(unshare(CLONE_NEWUSER));
		execl("./grep", "grep", "CapEff", "/proc/self/status", NULL);
		_exit(1);
	}
	STATUS(end_of(pid));
}
