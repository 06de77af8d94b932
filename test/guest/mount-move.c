/* move_mount: beneath what stands there, and into the groups of another mount. */
#include "observe.h"
#include <sys/mount.h>

#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x200
#endif

static int move_(int from, const char *from_path, const char *to_path, unsigned flags)
{
	return syscall(SYS_move_mount, from, from_path, AT_FDCWD, to_path, flags);
}
static int clone_(const char *path)
{
	return syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

/* Linux numbers namespaces in the order in which they are made on each CPU. */
static void stay_on_a_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	MUST(sched_setaffinity(0, sizeof cpus, &cpus));
}

/* A mount namespace of one's own, where nothing spreads. */
static void alone(void)
{
	need_root();
	stay_on_a_cpu();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

/* The working directory is one of these. */
static void on_tmpfs(void)
{
	char here[256];

	MUST(mount("none", ".", "tmpfs", 0, NULL));
	getcwd(here, sizeof here);
	MUST(chdir(here));
}

static void tmpfs(const char *at, const char *holds)
{
	char path[64];

	mkdir(at, 0755);
	MUST(mount("none", at, "tmpfs", 0, NULL));
	snprintf(path, sizeof path, "%s/%s", at, holds);
	close(MUST(open(path, O_CREAT | O_WRONLY, 0644)));
}

/* What is in a directory, and what in each one that is uncovered by an unmount. */
static void peel(const char *at)
{
	for (;;) {
		DIR *dir = opendir(at);
		struct dirent *entry;

		while ((entry = readdir(dir)))
			if (entry->d_name[0] != '.')
				say("%s has %s\n", at, entry->d_name);
		closedir(dir);
		if (umount(at))
			break;
	}
	say("%s is bare: %s\n", at, error_name(errno));
}

SECTION("beneath: a copy, and a mount that is moved")
{
	alone();
	on_tmpfs();
	tmpfs("top", "upper");
	tmpfs("one", "first");
	tmpfs("two", "second");
	int copy = MUST(clone_("one"));
	ERR(move_(copy, "", "top", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH));
	ERR(access("top/upper", F_OK));
	ERR(move_(AT_FDCWD, "two", "top", MOVE_MOUNT_BENEATH));
	ERR(access("top/upper", F_OK));
	ERR(access("two/second", F_OK));
	peel("top");
	peel("one");
}

SECTION("beneath: where it can't be")
{
	alone();
	on_tmpfs();
	tmpfs("top", "upper");
	tmpfs("one", "first");
	mkdir("plain", 0755);
	mkdir("top/.within", 0755);
	close(MUST(open("file", O_CREAT | O_WRONLY, 0644)));
	ERR(move_(AT_FDCWD, "one", "plain", MOVE_MOUNT_BENEATH));
	ERR(move_(AT_FDCWD, "one", "top/.within", MOVE_MOUNT_BENEATH));
	ERR(move_(AT_FDCWD, "one", "file", MOVE_MOUNT_BENEATH));
	ERR(move_(AT_FDCWD, "plain", "top", MOVE_MOUNT_BENEATH));
	ERR(move_(AT_FDCWD, "top", "top", MOVE_MOUNT_BENEATH));
	ERR(move_(AT_FDCWD, "one", "/", MOVE_MOUNT_BENEATH));
	ERR(move_(AT_FDCWD, "one", "top", MOVE_MOUNT_BENEATH | MOVE_MOUNT_SET_GROUP));
	ERR(move_(AT_FDCWD, "one", "top", MOVE_MOUNT_BENEATH | 0x400));
	/* Something on its own root. */
	MUST(mount("none", "one", "tmpfs", 0, NULL));
	int lower = MUST(open("one", O_PATH));
	(void)lower;
	ERR(move_(AT_FDCWD, "one", "top", MOVE_MOUNT_BENEATH));
	peel("top");
	peel("one");
}

SECTION("beneath: it spreads below what was there")
{
	alone();
	on_tmpfs();
	mkdir("a", 0755);
	mkdir("b", 0755);
	MUST(mount("none", "a", "tmpfs", 0, NULL));
	MUST(mount(NULL, "a", NULL, MS_SHARED, NULL));
	MUST(mount("a", "b", NULL, MS_BIND, NULL));
	tmpfs("a/top", "upper");
	tmpfs("one", "first");
	ERR(access("b/top/upper", F_OK));
	ERR(move_(AT_FDCWD, "one", "a/top", MOVE_MOUNT_BENEATH));
	ERR(access("a/top/upper", F_OK));
	ERR(access("b/top/upper", F_OK));
	peel("b/top");
	peel("a/top");
}

static void groups(const char *at)
{
	char line[1024], path[256], real[512];
	FILE *file = fopen("/proc/self/mountinfo", "r");

	realpath(at, real);
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, "%*d %*d %*s %*s %255s", path) != 1 || strcmp(path, real))
			continue;
		say("%s:%s%s\n", at, strstr(line, " shared:") ? " shared" : "", strstr(line, " master:") ? " slave" : "");
	}
	fclose(file);
}

SECTION("set group: a private mount joins the group of another")
{
	alone();
	on_tmpfs();
	mkdir("a", 0755);
	mkdir("b", 0755);
	mkdir("c", 0755);
	MUST(mount("none", "a", "tmpfs", 0, NULL));
	mkdir("a/sub", 0755);
	MUST(mount("a", "b", NULL, MS_BIND, NULL));
	MUST(mount("a/sub", "c", NULL, MS_BIND, NULL));
	ERR(move_(AT_FDCWD, "a", "b", MOVE_MOUNT_SET_GROUP));
	MUST(mount(NULL, "a", NULL, MS_SHARED, NULL));
	ERR(move_(AT_FDCWD, "a", "b", MOVE_MOUNT_SET_GROUP));
	ERR(move_(AT_FDCWD, "a", "b", MOVE_MOUNT_SET_GROUP));
	ERR(move_(AT_FDCWD, "a/sub", "c", MOVE_MOUNT_SET_GROUP));
	ERR(move_(AT_FDCWD, "a", "c", MOVE_MOUNT_SET_GROUP));
	groups("a");
	groups("b");
	groups("c");
	mkdir("a/new", 0755);
	tmpfs("a/new", "spread");
	ERR(access("b/new/spread", F_OK));
	mkdir("a/sub/new", 0755);
	tmpfs("a/sub/new", "spread");
	ERR(access("c/new/spread", F_OK));
	ERR(access("b/sub/new/spread", F_OK));
}

SECTION("set group: what receives only, and what does not fit")
{
	alone();
	on_tmpfs();
	mkdir("a", 0755);
	mkdir("b", 0755);
	mkdir("c", 0755);
	mkdir("d", 0755);
	MUST(mount("none", "a", "tmpfs", 0, NULL));
	MUST(mount(NULL, "a", NULL, MS_SHARED, NULL));
	MUST(mount("a", "b", NULL, MS_BIND, NULL));
	MUST(mount(NULL, "b", NULL, MS_SLAVE, NULL));
	MUST(mount("a", "c", NULL, MS_BIND, NULL));
	MUST(mount(NULL, "c", NULL, MS_PRIVATE, NULL));
	MUST(mount("none", "d", "tmpfs", 0, NULL));
	ERR(move_(AT_FDCWD, "b", "d", MOVE_MOUNT_SET_GROUP));
	ERR(move_(AT_FDCWD, "b", "c", MOVE_MOUNT_SET_GROUP));
	groups("b");
	groups("c");
	mkdir("a/new", 0755);
	tmpfs("a/new", "spread");
	ERR(access("b/new/spread", F_OK));
	ERR(access("c/new/spread", F_OK));
	/* The narrower one has nothing to give. */
	mkdir("e", 0755);
	mkdir("a/sub", 0755);
	MUST(mount("a/sub", "e", NULL, MS_BIND, NULL));
	MUST(mount(NULL, "d", NULL, MS_SHARED, NULL));
	MUST(mount(NULL, "c", NULL, MS_PRIVATE, NULL));
	ERR(move_(AT_FDCWD, "e", "c", MOVE_MOUNT_SET_GROUP));
	int copy = MUST(clone_("a"));
	ERR(move_(copy, "", "c", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_SET_GROUP));
}

static int held_namespace(const char *file, int bind_it)
{
	int ready[2], go[2];
	char byte, path[64];

	MUST(pipe(ready));
	MUST(pipe(go));
	pid_t pid = fork();
	if (pid == 0) {
		MUST(unshare(CLONE_NEWNS));
		MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		tmpfs("inside", "there");
		write(ready[1], "", 1);
		read(go[0], &byte, 1);
		_exit(0);
	}
	MUST(read(ready[0], &byte, 1));
	snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)pid);
	int result = bind_it ? mount(path, file, NULL, MS_BIND, NULL) : open(path, O_RDONLY);
	int error = errno;
	write(go[1], "", 1);
	MUST(waitpid(pid, NULL, 0));
	errno = error;
	return result;
}

/* In a child: a caller that shares its fs with nobody. */
static void look_into(int fd)
{
	if (fork() == 0) {
		char here[256];
		getcwd(here, sizeof here);
		ERR(setns(fd, CLONE_NEWNS));
		MUST(chdir(here));
		ERR(access("inside/there", F_OK));
		_exit(0);
	}
	wait(NULL);
}

SECTION("a mount namespace is kept by a descriptor of it, and by a mount")
{
	alone();
	on_tmpfs();
	mkdir("inside", 0755);
	close(MUST(open("file", O_CREAT | O_WRONLY, 0644)));
	int fd = MUST(held_namespace("file", 0));
	ERR(access("inside/there", F_OK));
	look_into(fd);
	close(fd);
	MUST(held_namespace("file", 1));
	fd = MUST(open("file", O_RDONLY));
	look_into(fd);
	close(fd);
	ERR(umount("file"));
	/* Its own, and one that is older. */
	ERR(mount("/proc/self/ns/mnt", "file", NULL, MS_BIND, NULL));
	fd = MUST(open("/proc/self/ns/mnt", O_RDONLY));
	MUST(unshare(CLONE_NEWNS));
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ERR(mount(path, "file", NULL, MS_BIND, NULL));
}

SECTION("the file of a mount namespace does not spread, and is not copied")
{
	alone();
	on_tmpfs();
	mkdir("a", 0755);
	mkdir("b", 0755);
	mkdir("inside", 0755);
	close(MUST(open("file", O_CREAT | O_WRONLY, 0644)));
	MUST(mount("none", "a", "tmpfs", 0, NULL));
	MUST(mount(NULL, "a", NULL, MS_SHARED, NULL));
	close(MUST(open("a/file", O_CREAT | O_WRONLY, 0644)));
	ERR(held_namespace("a/file", 1));
	ERR(umount("a/file"));
	MUST(mount("a", "b", NULL, MS_BIND, NULL));
	ERR(held_namespace("a/file", 1));
	MUST(held_namespace("file", 1));
	if (fork() == 0) {
		MUST(unshare(CLONE_NEWNS));
		ERR(umount("file"));
		_exit(0);
	}
	wait(NULL);
	ERR(umount("file"));
}
