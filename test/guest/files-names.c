/* The calls that change directories: link, unlink, rename, mkdir, symlink, and those that list them. */
#include "observe.h"
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static int rename2(const char *from, const char *to, unsigned flags)
{
	return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static int links(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? -1 : (int)st.st_nlink;
}

/* The names in a directory, sorted, '.' and '..' left out. */
static const char *names(const char *path)
{
	static char text[1024];
	struct dirent **list;
	int count = scandir(path, &list, NULL, alphasort);

	text[0] = 0;
	if (count < 0)
		return error_name(errno);
	for (int i = 0; i < count; i++) {
		if (strcmp(list[i]->d_name, ".") && strcmp(list[i]->d_name, "..")) {
			strcat(text, list[i]->d_name);
			strcat(text, " ");
		}
		free(list[i]);
	}
	free(list);
	return text;
}

SECTION("link: counts, and what can't be linked")
{
	write_file("f", "text");
	mkdir("d", 0755);
	symlink("f", "s");
	ERR(link("f", "g"));
	SHOW(links("f"));
	ERR(link("f", "g"));
	ERR(link("d", "e"));
	ERR(link("nothing", "x"));
	ERR(link("f", "no/where"));
	ERR(link("s", "t"));
	SHOW(links("s"));
	ERR(linkat(AT_FDCWD, "s", AT_FDCWD, "u", AT_SYMLINK_FOLLOW));
	SHOW(links("f"));
	ERR(linkat(AT_FDCWD, "f", AT_FDCWD, "v", 1));
	int fd = MUST(open("f", O_RDONLY));
	ERR(linkat(fd, "", AT_FDCWD, "w", AT_EMPTY_PATH));
	ERR(unlink("g"));
	SHOW(links("f"));
	TEXT(names("."));
}

SECTION("unlink: an open file lives on")
{
	struct stat st;
	char bytes[8] = "";
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));

	MUST(write(fd, "text", 4));
	ERR(unlink("f"));
	ERR(access("f", F_OK));
	MUST(fstat(fd, &st));
	SHOW(st.st_nlink);
	RET(pread(fd, bytes, 7, 0));
	TEXT(bytes);
	RET(write(fd, "more", 4));
	char path[64], target[4096];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ssize_t length = MUST(readlink(path, target, sizeof target - 1));
	target[length] = 0;
	TEXT(strrchr(target, '/'));
	TEXT(read_file(path));
	ERR(linkat(AT_FDCWD, path, AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
	write_file("f", "another");
	RET(pread(fd, bytes, 7, 0));
}

SECTION("unlink and rmdir: errors")
{
	write_file("f", "");
	mkdir("d", 0755);
	mkdir("d/e", 0755);
	symlink("d", "s");
	ERR(unlink("nothing"));
	ERR(unlink("d"));
	ERR(rmdir("f"));
	ERR(rmdir("s"));
	ERR(rmdir("d"));
	ERR(rmdir("d/."));
	ERR(rmdir("d/.."));
	ERR(rmdir("."));
	ERR(rmdir("/"));
	ERR(unlink("/"));
	ERR(unlinkat(AT_FDCWD, "d/e", AT_REMOVEDIR));
	ERR(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR));
	ERR(unlinkat(AT_FDCWD, "f", 1));
	ERR(unlink(""));
	ERR(unlink("s"));
	TEXT(names("."));
}

SECTION("rmdir: a removed working directory")
{
	char path[4096];

	mkdir("d", 0755);
	MUST(chdir("d"));
	ERR(rmdir("../d"));
	ERR(open("f", O_CREAT | O_RDWR, 0644));
	ERR(mkdir("e", 0755));
	ERR(open(".", O_RDONLY));
	ERR(access("..", F_OK));
	ERR(getcwd(path, sizeof path) ? 0 : -1);
	RET(syscall(SYS_getcwd, path, sizeof path) > 0 ? 0 : -1);
	TEXT(names("."));
	SHOW(links("."));
	ssize_t length = MUST(readlink("/proc/self/cwd", path, sizeof path - 1));
	path[length] = 0;
	TEXT(strrchr(path, '/'));
	ERR(chdir(".."));
}

SECTION("mkdir: modes, links and errors")
{
	struct stat st;

	umask(027);
	ERR(mkdir("d", 0777));
	MUST(stat("d", &st));
	HEX(st.st_mode);
	ERR(mkdir("d", 0777));
	ERR(mkdir(".", 0777));
	ERR(mkdir("/", 0777));
	ERR(mkdir("no/where", 0777));
	symlink("nowhere", "s");
	ERR(mkdir("s", 0777));
	write_file("f", "");
	ERR(mkdir("f/x", 0777));
	ERR(mkdir("sticky", 01777));
	MUST(stat("sticky", &st));
	HEX(st.st_mode);
}

SECTION("an empty name is seen before the descriptor that it would start from")
{
	struct stat st;
	char bytes[9];

	ERR(openat(-1, "", O_RDONLY));
	ERR(fstatat(-1, "", &st, 0));
	ERR(fstatat(-1, "", &st, AT_EMPTY_PATH));
	ERR(readlinkat(-1, "", bytes, sizeof bytes));
	ERR(unlinkat(-1, "", 0));
	ERR(mkdirat(-1, "", 0755));
	ERR(linkat(-1, "", -1, "x", 0));
	ERR(renameat(-1, "", -1, "x"));
	ERR(renameat(-1, "x", -1, ""));
	ERR(faccessat(-1, "", F_OK, 0));
	ERR(fchmodat(-1, "", 0644, 0));
	ERR(fchownat(-1, "", 0, 0, 0));
	ERR(fchownat(-1, "", 0, 0, AT_EMPTY_PATH));
	ERR(utimensat(-1, "", NULL, 0));
	ERR(syscall(SYS_openat2, -1, "", &(uint64_t[3]){ O_RDONLY, 0, 0x10 /* RESOLVE_IN_ROOT */ }, 24));
}

SECTION("rename: replaces files, links stay")
{
	write_file("a", "A");
	write_file("b", "B");
	int fd = MUST(open("b", O_RDONLY));
	struct stat st;

	ERR(rename("a", "b"));
	TEXT(read_file("b"));
	MUST(fstat(fd, &st));
	SHOW(st.st_nlink);
	MUST(link("b", "c"));
	ERR(rename("b", "c"));
	TEXT(names("."));
	SHOW(links("b"));
	symlink("c", "s");
	write_file("d", "D");
	ERR(rename("d", "s"));
	TEXT(names("."));
	TEXT(read_file("s"));
	ERR(rename("s", "s"));
}

SECTION("rename: files and directories")
{
	write_file("f", "");
	mkdir("d", 0755);
	mkdir("e", 0755);
	mkdir("full", 0755);
	write_file("full/x", "");
	ERR(rename("f", "d"));
	ERR(rename("d", "f"));
	ERR(rename("d", "full"));
	ERR(rename("d", "e"));
	ERR(rename("e", "e/sub"));
	ERR(rename("full", "full"));
	ERR(rename("nothing", "x"));
	ERR(rename("f", "no/where"));
	ERR(rename(".", "x"));
	ERR(rename("full/..", "x"));
	ERR(rename("f", "."));
	TEXT(names("."));
	TEXT(names("full"));
}

SECTION("rename: a directory below another takes its contents along")
{
	mkdir("a", 0755);
	mkdir("a/b", 0755);
	write_file("a/b/f", "deep");
	mkdir("x", 0755);
	int dir = MUST(open("a/b", O_PATH));
	ERR(rename("a/b", "x/y"));
	TEXT(read_file("x/y/f"));
	ERR(openat(dir, "f", O_RDONLY));
	ERR(openat(dir, "../y/f", O_RDONLY));
	ERR(openat(dir, "../b/f", O_RDONLY));
	ERR(rename("x", "x/y/z"));
	ERR(access("a/b", F_OK));
}

SECTION("renameat2: RENAME_NOREPLACE and RENAME_EXCHANGE")
{
	write_file("a", "A");
	write_file("b", "B");
	mkdir("d", 0755);
	write_file("d/x", "X");
	ERR(rename2("a", "b", RENAME_NOREPLACE));
	ERR(rename2("a", "c", RENAME_NOREPLACE));
	ERR(rename2("c", "b", RENAME_EXCHANGE));
	TEXT(read_file("c"));
	TEXT(read_file("b"));
	ERR(rename2("b", "d", RENAME_EXCHANGE));
	TEXT(read_file("b/x"));
	TEXT(read_file("d"));
	ERR(rename2("b", "nothing", RENAME_EXCHANGE));
	ERR(rename2("c", "e", RENAME_EXCHANGE | RENAME_NOREPLACE));
	ERR(rename2("c", "e", 64));
	ERR(rename2("b", "b/x", RENAME_EXCHANGE));
	TEXT(names("."));
}

SECTION("symlink and readlink")
{
	char target[16] = "";
	struct stat st;

	ERR(symlink("somewhere", "s"));
	ERR(symlink("else", "s"));
	ERR(symlink("", "t"));
	RET(readlink("s", target, sizeof target));
	TEXT(target);
	memset(target, 0, sizeof target);
	RET(readlink("s", target, 4));
	TEXT(target);
	ERR(readlink("s", target, 0));
	ERR(readlink("nothing", target, 4));
	ERR(readlink(".", target, 4));
	MUST(lstat("s", &st));
	SHOW(st.st_size);
	HEX(st.st_mode);
	ERR(stat("s", &st));
	ERR(chmod("s", 0600));
}

SECTION("getdents64: every name once, with its type, whatever the buffer")
{
	char name[16];
	int seen[50] = { 0 }, types = 0, dots = 0, calls = 0;
	char buffer[200];

	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "name-%d", i);
		if (i % 3 == 0)
			mkdir(name, 0755);
		else if (i % 3 == 1)
			write_file(name, "");
		else
			symlink("x", name);
	}
	int fd = MUST(open(".", O_RDONLY | O_DIRECTORY));
	ssize_t got;
	while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
		calls++;
		for (ssize_t at = 0; at < got;) {
			struct dirent64 *entry = (struct dirent64 *)(buffer + at);
			int i;

			if (sscanf(entry->d_name, "name-%d", &i) == 1) {
				int want = i % 3 == 0 ? DT_DIR : i % 3 == 1 ? DT_REG : DT_LNK;
				seen[i]++;
				types += entry->d_type == want;
			} else {
				dots++;
			}
			at += entry->d_reclen;
		}
	}
	RET(got);
	int once = 0;
	for (int i = 0; i < 50; i++)
		once += seen[i] == 1;
	SHOW(once);
	SHOW(types);
	SHOW(dots);
	SHOW(calls > 5);
	RET(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
	RET(lseek(fd, 0, SEEK_SET));
	SHOW(syscall(SYS_getdents64, fd, buffer, sizeof buffer) > 0);
	MUST(lseek(fd, 0, SEEK_SET));
	RET(syscall(SYS_getdents64, fd, buffer, 8));
	ERR(syscall(SYS_getdents64, 0, buffer, sizeof buffer));
}

SECTION("getdents64: names created and removed while reading")
{
	char name[16];
	int left = 0;

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof name, "n%d", i);
		write_file(name, "");
	}
	DIR *dir = opendir(".");
	struct dirent *entry;
	int removed = 0;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] == 'n')
			removed += unlink(entry->d_name) == 0;
	SHOW(removed);
	rewinddir(dir);
	while ((entry = readdir(dir)))
		left += entry->d_name[0] == 'n';
	SHOW(left);
	write_file("later", "");
	rewinddir(dir);
	while ((entry = readdir(dir)))
		left += !strcmp(entry->d_name, "later");
	SHOW(left);
	closedir(dir);
}

SECTION("getdents64: telldir and seekdir come back to the same name")
{
	char name[16], after[16] = "";

	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "n%d", i);
		write_file(name, "");
	}
	DIR *dir = opendir(".");
	for (int i = 0; i < 20; i++)
		readdir(dir);
	long at = telldir(dir);
	strcpy(after, readdir(dir)->d_name);
	while (readdir(dir))
		;
	seekdir(dir, at);
	SHOW(strcmp(after, readdir(dir)->d_name));
	int rest = 0;
	while (readdir(dir))
		rest++;
	SHOW(rest);
}

SECTION("chdir and getcwd")
{
	char path[4096], start[4096];

	MUST(syscall(SYS_getcwd, start, sizeof start));
	mkdir("d", 0755);
	write_file("f", "");
	symlink("d", "s");
	ERR(chdir("f"));
	ERR(chdir("nothing"));
	ERR(chdir("s"));
	SHOW(syscall(SYS_getcwd, path, sizeof path) == (long)strlen(start) + 3);
	TEXT(strrchr(path, '/'));
	ERR(syscall(SYS_getcwd, path, 3));
	ERR(syscall(SYS_getcwd, NULL, 100));
	int fd = MUST(open("../f", O_RDONLY));
	ERR(fchdir(fd));
	ERR(fchdir(99));
	MUST(rename("../d", "../e"));
	MUST(syscall(SYS_getcwd, path, sizeof path));
	TEXT(strrchr(path, '/'));
	ERR(chdir("/"));
	ERR(chdir("../../.."));
	MUST(syscall(SYS_getcwd, path, sizeof path));
	TEXT(path);
}

SECTION("mknod: FIFOs, regular files, sockets; devices for root only")
{
	struct stat st;

	ERR(mknod("p", S_IFIFO | 0600, 0));
	MUST(stat("p", &st));
	HEX(st.st_mode);
	ERR(mknod("r", S_IFREG | 0600, 0));
	ERR(mknod("r", S_IFREG | 0600, 0));
	ERR(mknod("d", S_IFDIR | 0600, 0));
	ERR(mknod("s", S_IFSOCK | 0600, 0));
	ERR(open("s", O_RDONLY));
	ERR(mknod("x", 0170000 | 0600, 0));
	ERR(mknod("plain", 0600, 0));
	MUST(stat("plain", &st));
	HEX(st.st_mode);
}

SECTION("mknod: device nodes, in whatever directory")
{
	need_root();
	struct stat st = { 0 };
	char byte = 1, text[8];

	umask(022);
	ERR(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	ERR(mknod("zero", S_IFCHR | 0600, makedev(1, 5)));
	ERR(mknod("disk", S_IFBLK | 0660, makedev(300, 7000)));
	ERR(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	MUST(stat("null", &st));
	HEX(st.st_mode);
	SHOW(st.st_rdev == makedev(1, 3));
	SHOW(st.st_size);
	MUST(stat("disk", &st));
	HEX(st.st_mode);
	SHOW(st.st_rdev == makedev(300, 7000));
	ERR(open("disk", O_RDONLY));
	int fd = MUST(open("zero", O_RDWR | O_TRUNC));
	RET(read(fd, &byte, 1));
	SHOW(byte);
	MUST(fstat(fd, &st));
	SHOW(S_ISCHR(st.st_mode));
	fd = MUST(open("null", O_RDWR));
	RET(write(fd, "x", 1));
	RET(read(fd, &byte, 1));
	ERR(ftruncate(fd, 0));
	ERR(chmod("null", 04604));
	ERR(chown("null", 7, 8));
	MUST(stat("null", &st));
	HEX(st.st_mode);
	SHOW(st.st_uid);
	SHOW(st.st_gid);
	ERR(setxattr("null", "user.x", "1", 1, 0));
	ERR(getxattr("null", "user.x", text, sizeof text));
	RET(listxattr("null", NULL, 0));
	ERR(link("null", "second"));
	ERR(rename("null", "renamed"));
	MUST(stat("second", &st));
	HEX(st.st_mode);
	SHOW(st.st_nlink);
	SHOW(st.st_rdev == makedev(1, 3));
	ERR(unlink("renamed"));
	ERR(unlink("second"));
	ERR(open("second", O_RDONLY));
	/* An empty file of such a mode is none. */
	close(MUST(open("plain", O_CREAT | O_WRONLY, 0600)));
	MUST(chmod("plain", 01600));
	MUST(rename("plain", "again"));
	MUST(stat("again", &st));
	HEX(st.st_mode);
}
