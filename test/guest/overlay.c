/* overlay: a writable directory over others. */
#include "observe.h"
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

static void put(const char *path, const char *text)
{
	int fd = MUST(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));

	MUST(write(fd, text, strlen(text)));
	close(fd);
}

static void show(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY);

	if (fd < 0) {
		say("%s: %s\n", path, error_name(errno));
		return;
	}
	if (read(fd, text, sizeof text - 1) < 0)
		say("%s: %s\n", path, error_name(errno));
	else
		say("%s: %s\n", path, text);
	close(fd);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names and what they are, in order. */
static void list(const char *path)
{
	char *names[64];
	int n = 0;
	struct dirent *entry;
	DIR *dir = opendir(path);

	say("%s:", path);
	while (dir && (entry = readdir(dir)))
		names[n++] = strdup(entry->d_name);
	qsort(names, n, sizeof *names, by_name);
	for (int i = 0; i < n; i++) {
		char full[256];
		struct stat st;

		snprintf(full, sizeof full, "%s/%s", path, names[i]);
		if (lstat(full, &st) < 0)
			say(" %s?", names[i]);
		else if (S_ISCHR(st.st_mode) && st.st_rdev == 0)
			say(" %s(whiteout)", names[i]);
		else
			say(" %s%s", names[i], S_ISDIR(st.st_mode) ? "/" : "");
	}
	say("\n");
	if (dir)
		closedir(dir);
}

/* As need_root, where the host's kernel has it loaded. */
static void need_overlay(void)
{
	char line[64];
	FILE *types = fopen("/proc/filesystems", "r");
	bool there = false;

	need_root();
	while (fgets(line, sizeof line, types))
		there |= strcmp(line, "nodev\toverlay\n") == 0;
	fclose(types);
	if (!there) {
		say("needs overlay\n");
		_exit(0);
	}
}

/* Directories l1, l2, u, w on a tmpfs of their own, and m to mount on. */
static void prepare(void)
{
	need_overlay();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("t", 0755));
	MUST(mount("t", "t", "tmpfs", 0, NULL));
	MUST(chdir("t"));
	const char *dirs[] = { "l1", "l2", "u", "w", "m", "l1/d", "l2/d", "l2/e" };
	for (unsigned i = 0; i < LENGTH(dirs); i++)
		MUST(mkdir(dirs[i], 0755));
	put("l1/a", "a of l1");
	put("l2/a", "a of l2");
	put("l2/b", "b of l2");
	put("l1/d/x", "x of l1");
	put("l2/d/y", "y of l2");
	put("l2/e/z", "z of l2");
}

static void start(void)
{
	prepare();
	MUST(mount("over", "m", "overlay", 0, "lowerdir=l1:l2,upperdir=u,workdir=w"));
}

SECTION("overlay: options")
{
	prepare();
	ERR(mount("o", "m", "overlay", 0, NULL));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1,upperdir=u"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=none:l1"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1/a:l1"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1,upperdir=u,workdir=u"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1,upperdir=u,workdir=w,what=1"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1,upperdir=l1,workdir=w"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1:l2"));
	ERR(open("m/new", O_WRONLY | O_CREAT, 0644));
	list("m");
	ERR(umount("m"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1:l2,upperdir=u,workdir=w,index=off,xino=off"));
	FILE *mounts = fopen("/proc/self/mounts", "r");
	char line[1024];
	while (fgets(line, sizeof line, mounts)) {
		char *options = strstr(line, "lowerdir");
		if (strstr(line, " overlay ") && strncmp(line, "o ", 2) == 0)
			say("%.*s\n", (int)(strstr(options, "workdir=w") - options), options);
	}
	fclose(mounts);
	ERR(umount("m"));
}

SECTION("overlay: the places of its layers may be unmounted before it")
{
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	mkdir("lower", 0755);
	mkdir("upper", 0755);
	mkdir("m", 0755);
	MUST(mount("t", "lower", "tmpfs", 0, NULL));
	MUST(mount("t", "upper", "tmpfs", 0, NULL));
	mkdir("upper/u", 0755);
	mkdir("upper/w", 0755);
	write_file("lower/a", "text");
	MUST(mount("over", "m", "overlay", 0, "lowerdir=lower,upperdir=upper/u,workdir=upper/w"));
	ERR(umount("lower"));
	ERR(umount("upper"));
	ERR(unlink("m/a"));
	write_file("m/b", "more");
	list("m");
	ERR(umount("m"));
}

SECTION("overlay: layers merge")
{
	struct stat st;

	start();
	list("m");
	list("m/d");
	show("m/a");
	show("m/b");
	show("m/d/x");
	show("m/d/y");
	put("m/b", "changed");
	show("m/b");
	show("l2/b");
	list("u");
	MUST(chmod("m/d/y", 0600));
	MUST(stat("l2/d/y", &st));
	HEX(st.st_mode);
	MUST(stat("m/d/y", &st));
	HEX(st.st_mode);
	list("u/d");
	show("u/d/y");
	ERR(umount("m"));
}

SECTION("overlay: what is removed is whited out")
{
	start();
	ERR(unlink("m/a"));
	show("m/a");
	list("m");
	list("u");
	ERR(unlink("m/d/x"));
	ERR(rmdir("m/d"));
	ERR(unlink("m/d/y"));
	ERR(rmdir("m/d"));
	list("m");
	list("u");
	put("m/a", "new");
	show("m/a");
	list("u");
	ERR(mkdir("m/d", 0755));
	list("m/d");
	char value[8] = "";
	RET(getxattr("u/d", "trusted.overlay.opaque", value, sizeof value));
	TEXT(value);
	ERR(umount("m"));
	MUST(mount("over", "m", "overlay", 0, "lowerdir=l1:l2,upperdir=u,workdir=w"));
	list("m");
	list("m/d");
	show("m/a");
	ERR(umount("m"));
}

SECTION("overlay: whiteouts and opaque directories of lower layers")
{
	prepare();
	MUST(mknod("l1/b", S_IFCHR, makedev(0, 0)));
	MUST(setxattr("l1/d", "trusted.overlay.opaque", "y", 1, 0));
	MUST(mount("over", "m", "overlay", 0, "lowerdir=l1:l2"));
	list("m");
	list("m/d");
	show("m/b");
	show("m/d/y");
	ERR(umount("m"));
}

SECTION("overlay: renames")
{
	start();
	ERR(rename("m/a", "m/c"));
	list("m");
	list("u");
	show("m/c");
	ERR(rename("m/e", "m/f"));
	ERR(rename("m/b", "m/d/b"));
	list("m/d");
	ERR(mkdir("m/n", 0755));
	ERR(rename("m/n", "m/o"));
	ERR(rename("m/c", "m/d/x"));
	show("m/d/x");
	ERR(unlink("m/e/z"));
	ERR(rename("m/o", "m/e"));
	list("m/e");
	list("m");
	ERR(syscall(SYS_renameat2, AT_FDCWD, "m/d/x", AT_FDCWD, "m/d/b", RENAME_EXCHANGE));
	show("m/d/x");
	ERR(umount("m"));
}

SECTION("overlay: links")
{
	struct stat st;

	start();
	ERR(link("m/b", "m/l"));
	put("m/l", "both");
	show("m/b");
	MUST(stat("m/l", &st));
	SHOW(st.st_nlink);
	ERR(symlink("b", "m/s"));
	show("m/s");
	ERR(umount("m"));
	show("u/l");
}

SECTION("overlay: the upper directory shows what was made, whoever looked before")
{
	struct stat st;

	start();
	ERR(stat("u/new", &st));
	put("m/new", "text");
	show("u/new");
	ERR(rename("m/new", "m/other"));
	ERR(stat("u/new", &st));
	show("u/other");
	ERR(unlink("m/other"));
	ERR(stat("u/other", &st));
	ERR(stat("u/b", &st));
	put("m/b", "copied");
	show("u/b");
	ERR(umount("m"));
}

static void redirect_of(const char *path)
{
	char value[300] = "";
	ssize_t n = getxattr(path, "trusted.overlay.redirect", value, sizeof value - 1);

	say("%s leads to %s\n", path, n < 0 ? error_name(errno) : value);
}

static void again(const char *options)
{
	char text[256];

	ERR(umount("m"));
	snprintf(text, sizeof text, "lowerdir=l1:l2,upperdir=u,workdir=w%s", options);
	MUST(mount("over", "m", "overlay", 0, text));
}

SECTION("overlay: directories of lower layers are renamed with redirect_dir=on")
{
	prepare();
	MUST(mount("over", "m", "overlay", 0, "lowerdir=l1:l2,upperdir=u,workdir=w,redirect_dir=on"));
	ERR(rename("m/d", "m/k"));
	list("m/k");
	list("m");
	show("m/k/y");
	redirect_of("u/k");
	ERR(mkdir("m/n", 0755));
	ERR(rename("m/k", "m/n/k"));
	redirect_of("u/n/k");
	ERR(rename("m/e", "m/n/e"));
	redirect_of("u/n/e");
	again(",redirect_dir=on");
	list("m");
	list("m/n");
	list("m/n/k");
	show("m/n/k/x");
	show("m/n/e/z");
	put("m/n/k/x", "changed");
	ERR(rename("m/n/k/x", "m/n/k/w"));
	ERR(unlink("m/n/k/y"));
	list("m/n/k");
	ERR(mkdir("m/d", 0755));
	list("m/d");
	ERR(rename("m/n/e", "m/e"));
	redirect_of("u/e");
	again("");
	list("m/n/k");
	list("m/e");
	list("m/d");
	ERR(rename("m/e", "m/f"));
	ERR(unlink("m/n/k/w"));
	ERR(rmdir("m/n/k"));
	list("m/n");
	ERR(umount("m"));
}

SECTION("overlay: two directories change their places")
{
	prepare();
	MUST(mount("over", "m", "overlay", 0, "lowerdir=l1:l2,upperdir=u,workdir=w,redirect_dir=on"));
	ERR(syscall(SYS_renameat2, AT_FDCWD, "m/d", AT_FDCWD, "m/e", RENAME_EXCHANGE));
	list("m/d");
	list("m/e");
	redirect_of("u/d");
	redirect_of("u/e");
	again(",redirect_dir=nofollow");
	list("m/d");
	list("m/e");
	again(",redirect_dir=follow");
	list("m/d");
	list("m/e");
	ERR(rename("m/d", "m/q"));
	ERR(umount("m"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1:l2,upperdir=u,workdir=w,redirect_dir=maybe"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1:l2,upperdir=u,workdir=w,redirect_dir=on,userxattr"));
}

SECTION("overlay: a copied directory does not hide what its original hid")
{
	prepare();
	MUST(setxattr("l1/d", "trusted.overlay.opaque", "y", 1, 0));
	MUST(mount("over", "m", "overlay", 0, "lowerdir=l1:l2,upperdir=u,workdir=w"));
	list("m/d");
	put("m/d/new", "new");
	list("m/d");
	again("");
	list("m/d");
	ERR(umount("m"));
}

SECTION("overlay: metacopy=on leaves the data below until it is written")
{
	struct stat st;
	char value[8];

	prepare();
	write_file("l2/data", "data");
	MUST(mount("over", "m", "overlay", 0, "lowerdir=l1:l2,upperdir=u,workdir=w,metacopy=on"));
	ERR(chmod("m/data", 0600));
	ERR(stat("u/data", &st));
	say("%o %ld %ld\n", st.st_mode, (long)st.st_size, (long)st.st_blocks);
	ERR(getxattr("u/data", "trusted.overlay.metacopy", value, sizeof value));
	show("m/data");
	show("u/data");
	int fd = MUST(open("m/data", O_WRONLY | O_APPEND));
	ERR(write(fd, "+", 1));
	close(fd);
	show("m/data");
	show("u/data");
	ERR(getxattr("u/data", "trusted.overlay.metacopy", value, sizeof value));
	ERR(umount("m"));
}

/* l1/meta has the attributes of a file whose data is d/object. */
static void prepare_data(void)
{
	int fd;

	prepare();
	mkdir("d", 0755);
	write_file("d/object", "data");
	fd = MUST(open("l1/meta", O_WRONLY | O_CREAT, 0644));
	MUST(ftruncate(fd, 4));
	close(fd);
	MUST(setxattr("l1/meta", "trusted.overlay.metacopy", "", 0, 0));
	MUST(setxattr("l1/meta", "trusted.overlay.redirect", "/object", 7, 0));
}

SECTION("overlay: data-only layers show what redirects lead to")
{
	prepare_data();
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l1::d:l2"));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=::d"));
	MUST(mount("o", "m", "overlay", 0, "lowerdir=l1::d"));
	show("m/meta");
	ERR(open("m/object", O_RDONLY));
	ERR(umount("m"));
	MUST(mount("o", "m", "overlay", 0, "lowerdir=l1:l2"));
	show("m/meta");
	ERR(umount("m"));
	/* Without metacopy=on from the lower layer next to them only. */
	MUST(mount("o", "m", "overlay", 0, "lowerdir=l1:l2::d"));
	show("m/meta");
	ERR(umount("m"));
	MUST(mount("o", "m", "overlay", 0, "lowerdir=l2:l1::d"));
	show("m/meta");
	ERR(umount("m"));
	MUST(mount("o", "m", "overlay", 0, "lowerdir=l1:l2::d,metacopy=on"));
	show("m/meta");
	ERR(umount("m"));
}

static int set_string(int fd, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fd, FSCONFIG_SET_STRING, key, value, 0);
}

static int create(int fd)
{
	return syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

/* The messages that a context has, without those that only inform. */
static void messages(int fd)
{
	char text[256];
	ssize_t n;

	while ((n = read(fd, text, sizeof text - 1)) > 0) {
		text[n] = 0;
		say("%s", text);
	}
	ERR(read(fd, text, sizeof text));
}

SECTION("overlay: layers one by one, data-only ones last")
{
	prepare_data();
	int fd = MUST(syscall(SYS_fsopen, "overlay", 0));
	ERR(set_string(fd, "lowerdir+", "l2"));
	ERR(set_string(fd, "lowerdir+", "l1"));
	ERR(set_string(fd, "datadir+", "d"));
	ERR(create(fd));
	int mounted = MUST(syscall(SYS_fsmount, fd, 0, 0));
	ERR(syscall(SYS_move_mount, mounted, "", AT_FDCWD, "m", MOVE_MOUNT_F_EMPTY_PATH));
	close(fd);
	close(mounted);
	show("m/meta");
	show("m/b");
	ERR(open("m/object", O_RDONLY));
	FILE *mounts = fopen("/proc/self/mounts", "r");
	char line[1024];
	while (fgets(line, sizeof line, mounts))
		if (strstr(line, " overlay ") && strstr(line, "datadir+=d"))
			say("%.*s\n", (int)strlen("lowerdir+=l2,lowerdir+=l1,datadir+=d"), strstr(line, "lowerdir+"));
	fclose(mounts);
	ERR(umount("m"));
	fd = MUST(syscall(SYS_fsopen, "overlay", 0));
	ERR(set_string(fd, "datadir+", "d"));
	ERR(create(fd));
}

SECTION("overlay: a context says what it does not take")
{
	prepare();
	int fd = MUST(syscall(SYS_fsopen, "overlay", 0));
	ERR(set_string(fd, "what", "1"));
	messages(fd);
	ERR(set_string(fd, "metacopy", "maybe"));
	messages(fd);
	ERR(set_string(fd, "lowerdir", "l1:l2"));
	ERR(set_string(fd, "source", "one"));
	ERR(set_string(fd, "source", "two"));
	messages(fd);
	ERR(create(fd));
}

SECTION("overlay: files with an attribute are whiteouts where the layer says so")
{
	prepare();
	write_file("l2/gone", "text");
	write_file("l1/gone", "");
	MUST(setxattr("l1/gone", "trusted.overlay.whiteout", "y", 1, 0));
	MUST(mount("o", "m", "overlay", 0, "lowerdir=l1:l2"));
	ERR(open("m/gone", O_RDONLY));
	ERR(umount("m"));
	MUST(setxattr("l1", "trusted.overlay.opaque", "x", 1, 0));
	MUST(mount("o", "m", "overlay", 0, "lowerdir=l1:l2"));
	ERR(open("m/gone", O_RDONLY));
	list("m");
	ERR(umount("m"));
}

SECTION("overlay: one is a lower layer of another, and no upper one")
{
	struct statfs about;

	start();
	MUST(statfs("m", &about));
	SHOW(about.f_type == OVERLAYFS_SUPER_MAGIC);
	MUST(mkdir("m/u", 0755));
	MUST(mkdir("m/w", 0755));
	MUST(mkdir("m2", 0755));
	ERR(mount("o", "m2", "overlay", 0, "lowerdir=l1,upperdir=m/u,workdir=m/w"));
	MUST(mkdir("u2", 0755));
	MUST(mkdir("w2", 0755));
	ERR(mount("o", "m2", "overlay", 0, "lowerdir=m,upperdir=u2,workdir=w2"));
	show("m2/a");
}
