/* Nested user namespaces: what ids mean in each, and over which files a capability counts. */
#define HAS_CHILD
#include "observe.h"
#include <grp.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

/* Says who it is. */
static int as_child(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	SHOW(getuid());
	SHOW(geteuid());
	SHOW(getegid());
	return 0;
}

static int write_map(pid_t pid, const char *name, const char *text)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int result = write(fd, text, strlen(text)) < 0 ? -1 : 0;
	int error = errno;
	close(fd);
	errno = error;
	return result;
}

static void owner_of(const char *path)
{
	struct stat st = { 0 };

	MUST(lstat(path, &st));
	say("%s belongs to %u:%u\n", path, st.st_uid, st.st_gid);
}

static void make(const char *path, uid_t uid, gid_t gid, mode_t mode)
{
	write_file(path, "text");
	MUST(chown(path, uid, gid));
	MUST(chmod(path, mode));
}

/* Runs `inside` in a new user namespace with these maps, written from outside. */
static void in_namespace(const char *uids, const char *gids, void (*inside)(void))
{
	int ready[2], go[2];
	char byte;

	MUST(pipe(ready));
	MUST(pipe(go));
	pid_t pid = fork();
	if (pid == 0) {
		MUST(unshare(CLONE_NEWUSER));
		write(ready[1], "", 1);
		MUST(read(go[0], &byte, 1));
		inside();
		_exit(0);
	}
	MUST(read(ready[0], &byte, 1));
	ERR(write_map(pid, "uid_map", uids));
	ERR(write_map(pid, "gid_map", gids));
	ERR(write_map(pid, "uid_map", uids));
	write(go[1], "", 1);
	STATUS(end_of(pid));
}

static void look(void)
{
	owner_of("mine");
	owner_of("partly");
	owner_of("foreign");
	SHOW(getuid());
	SHOW(geteuid());
	SHOW(getgid());
	ERR(chmod("mine", 0640));
	ERR(chmod("partly", 0640));
	ERR(chmod("foreign", 0640));
	ERR(open("mine", O_RDWR));
	ERR(open("partly", O_RDWR));
	ERR(open("foreign", O_RDWR));
	ERR(chown("mine", 1, 1));
	owner_of("mine");
	ERR(chown("mine", 5000, -1));
	ERR(chown("foreign", 0, 0));
	ERR(chown("partly", 0, 0));
	ERR(chown("mine", 0, 0));
}

static void become_root(void)
{
	ERR(setresgid(0, 0, 0));
	ERR(setresuid(0, 0, 0));
	look();
}

SECTION("one level: capabilities count over files whose user and group are mapped")
{
	need_root();
	MUST(chmod(".", 0777));
	make("mine", 1000, 1000, 0600);
	make("partly", 1001, 50, 0600);
	make("foreign", 0, 0, 0600);
	in_namespace("0 1000 10\n", "0 1000 10\n", become_root);
}

static void outer(void)
{
	MUST(setresgid(0, 0, 0));
	MUST(setresuid(0, 0, 0));
	look();
	MUST(prctl(PR_SET_DUMPABLE, 1));
	/* What is 0 to 3 here is 1000 to 1003 to the kernel; inside it is 0 to 3 again, and 7 is nobody. */
	in_namespace("0 7 1\n1 0 2\n", "0 7 1\n1 0 2\n", become_root);
	in_namespace("0 9 2\n", "0 9 2\n", become_root);
}

SECTION("two levels: maps are in the parent's ids, files in the kernel's")
{
	need_root();
	MUST(chmod(".", 0777));
	make("mine", 1000, 1000, 0600);
	make("partly", 1001, 50, 0600);
	make("foreign", 7, 7, 0600);
	in_namespace("0 1000 10\n", "0 1000 10\n", outer);
	owner_of("mine");
}

static void show_map(void)
{
	TEXT(read_file("/proc/self/uid_map"));
	TEXT(read_file("/proc/self/gid_map"));
	TEXT(read_file("/proc/self/setgroups"));
}

static void show_nested(void)
{
	MUST(setresgid(0, 0, 0));
	MUST(setresuid(0, 0, 0));
	MUST(prctl(PR_SET_DUMPABLE, 1));
	show_map();
	in_namespace("5 1 2\n", "5 1 2\n", show_map);
}

SECTION("two levels: what the maps show")
{
	need_root();
	in_namespace("0 1000 10\n20 50 1\n", "0 1000 10\n", show_nested);
}

/* In a user and a mount namespace below those in which the mounts were made. */
static void try_mounts(void)
{
	struct { uint64_t set, clear, propagation, userns; } attr = { 0, 1, 0, 0 };

	ERR(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV, NULL));
	ERR(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NODEV, NULL));
	ERR(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOATIME, NULL));
	ERR(mount(NULL, "m", NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, NULL));
	ERR(syscall(442, AT_FDCWD, "m", 0, &attr, sizeof attr));
	ERR(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	ERR(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL));
	ERR(umount("m"));
	ERR(umount2("m", MNT_DETACH));
	MUST(mkdir("/tmp/to", 0755));
	ERR(mount("m", "/tmp/to", NULL, MS_MOVE, NULL));
	ERR(mount(".", "/tmp/to", NULL, MS_BIND, NULL));
	ERR(mount(".", "/tmp/to", NULL, MS_BIND | MS_REC, NULL));
	ERR(umount("/tmp/to/m"));
	ERR(umount2("/tmp/to", MNT_DETACH));
	ERR(mount("m", "/tmp/to", NULL, MS_BIND, NULL));
	ERR(mount(NULL, "/tmp/to", NULL, MS_REMOUNT | MS_BIND, NULL));
	ERR(umount("/tmp/to"));
	ERR(mount("t", "m", "tmpfs", 0, NULL));
	ERR(umount("m"));
}

SECTION("mounts of a more privileged namespace keep their flags and their places")
{
	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("m", 0755));
	MUST(mount("t", "m", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL));
	pid_t pid = MUST(fork());
	if (pid == 0) {
		MUST(unshare(CLONE_NEWUSER | CLONE_NEWNS));
		MUST(write_map(getpid(), "uid_map", "0 0 1"));
		MUST(write_map(getpid(), "setgroups", "deny"));
		MUST(write_map(getpid(), "gid_map", "0 0 1"));
		MUST(mount("t", "/tmp", "tmpfs", 0, NULL));
		try_mounts();
		_exit(0);
	}
	STATUS(end_of(pid));
}

/* Two tmpfs: "m", which the namespace mounts itself, with a program that sets ids, and "theirs", from outside. */
static void mount_inside(void)
{
	char command[4200];

	MUST(setresgid(0, 0, 0));
	MUST(setresuid(0, 0, 0));
	MUST(unshare(CLONE_NEWNS));
	ERR(mount("t", "m", "tmpfs", 0, "mode=777"));
	ERR(mknod("m/null", S_IFCHR | 0666, makedev(1, 3)));
	ERR(mknod("theirs/null", S_IFCHR | 0666, makedev(1, 3)));
	ERR(mknod("m/disk", S_IFBLK | 0666, makedev(8, 0)));
	ERR(mknod("m/whiteout", S_IFCHR | 0666, 0));
	ERR(open("m/whiteout", O_RDONLY));
	ERR(mount(NULL, "theirs", NULL, MS_REMOUNT, "size=1m"));
	ERR(mount(NULL, "m", NULL, MS_REMOUNT, "size=10m"));
	write_file("m/file", "text");
	ERR(chown("m/file", 10, 0));
	snprintf(command, sizeof command, "cp %s m/program && chmod 6755 m/program", observe_self);
	MUST(system(command));
}

static void run_as_user(const char *program)
{
	pid_t child = MUST(fork());

	if (child == 0) {
		MUST(setgroups(0, NULL));
		MUST(setresgid(2000, 2000, 2000));
		MUST(setresuid(2000, 2000, 2000));
		execl(program, "program", "@child", "x", NULL);
		say("exec: %s\n", error_name(errno));
		_exit(1);
	}
	STATUS(end_of(child));
}

SECTION("what a user namespace mounts knows its ids alone, and gives nothing to others")
{
	int mapped[2], mounted[2];
	char byte, directory[256], path[512];

	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("theirs", 0777));
	MUST(mkdir("m", 0777));
	MUST(chmod(".", 0777));
	MUST(mount("t", "theirs", "tmpfs", 0, "mode=777"));
	MUST(pipe(mapped));
	MUST(pipe(mounted));
	pid_t pid = MUST(fork());
	if (pid == 0) {
		MUST(unshare(CLONE_NEWUSER));
		MUST(write(mounted[1], "", 1));
		MUST(read(mapped[0], &byte, 1));
		mount_inside();
		MUST(write(mounted[1], "", 1));
		MUST(read(mapped[0], &byte, 1));
		_exit(0);
	}
	MUST(read(mounted[0], &byte, 1));
	MUST(write_map(pid, "uid_map", "0 1000 10\n"));
	MUST(write_map(pid, "gid_map", "0 1000 10\n"));
	MUST(write(mapped[1], "", 1));
	MUST(read(mounted[0], &byte, 1));

	MUST(getcwd(directory, sizeof directory) != NULL ? 0 : -1);
	snprintf(path, sizeof path, "/proc/%d/root%s/m", (int)pid, directory);
	MUST(chdir(path));
	owner_of("file");
	ERR(open("new", O_WRONLY | O_CREAT, 0644));
	ERR(mkdir("directory", 0755));
	ERR(symlink("file", "link"));
	ERR(link("file", "again"));
	ERR(chown("file", 0, 0));
	ERR(chown("file", 1001, -1));
	ERR(chown("file", -1, 2000));
	owner_of("file");
	ERR(open("file", O_WRONLY | O_CREAT, 0644));
	run_as_user("program");
	MUST(write(mapped[1], "", 1));
	STATUS(end_of(pid));
}
