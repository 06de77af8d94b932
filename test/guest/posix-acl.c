/* acl(5): access control lists as extended attributes. */
#include "observe.h"
#include <grp.h>
#include <sys/mount.h>
#include <sys/xattr.h>

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"
#define USER_OBJ 0x01
#define USER 0x02
#define GROUP_OBJ 0x04
#define GROUP 0x08
#define MASK 0x10
#define OTHER 0x20
#define NONE 0xffffffffu

struct acl {
	uint32_t version;
	struct { uint16_t tag, perm; uint32_t id; } entries[16];
};

#define ENTRIES(...) (const unsigned[]){ __VA_ARGS__ }, LENGTH(((const unsigned[]){ __VA_ARGS__ }))

/* Triples of tag, permissions and id. */
static int set(const char *path, const char *name, const unsigned *triples, size_t count)
{
	struct acl acl = { 2, { { 0 } } };

	for (size_t i = 0; i < count / 3; i++) {
		acl.entries[i].tag = triples[3 * i];
		acl.entries[i].perm = triples[3 * i + 1];
		acl.entries[i].id = triples[3 * i + 2];
	}
	return setxattr(path, name, &acl, 4 + count / 3 * 8, 0);
}

static void show(const char *path, const char *name)
{
	struct acl acl;
	ssize_t size = getxattr(path, name, &acl, sizeof acl);
	char line[512];
	int used = sprintf(line, "%s %s:", path, name + 17);

	if (size < 0) {
		say("%s %s\n", line, error_name(errno));
		return;
	}
	for (int i = 0; i < (size - 4) / 8; i++)
		used += sprintf(line + used, " %x:%o:%d", acl.entries[i].tag, acl.entries[i].perm, (int)acl.entries[i].id);
	say("%s\n", line);
}

static void mode(const char *path)
{
	struct stat st;

	MUST(stat(path, &st));
	say("%s mode %o\n", path, st.st_mode);
}

/* What an identity may do with a file. */
static void tries(const char *path, uid_t uid, gid_t gid, gid_t extra)
{
	pid_t child = MUST(fork());

	if (child == 0) {
		MUST(setgroups(extra ? 1 : 0, &extra));
		MUST(setresgid(gid, gid, gid));
		MUST(setresuid(uid, uid, uid));
		say("%s as %d:%d,%d: r%d w%d x%d\n", path, uid, gid, extra, access(path, R_OK) == 0, access(path, W_OK) == 0,
		    access(path, X_OK) == 0);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void open_directory(void)
{
	MUST(chmod(".", 0777));
}

SECTION("setting a list changes the mode, chmod changes the list")
{
	write_file("f", "");
	MUST(chmod("f", 0644));
	show("f", ACCESS);
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 7, NONE, USER, 6, 1000, GROUP_OBJ, 4, NONE, MASK, 6, NONE, OTHER, 1, NONE)));
	show("f", ACCESS);
	mode("f");
	ERR(chmod("f", 0750));
	show("f", ACCESS);
	mode("f");
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 6, NONE, GROUP_OBJ, 4, NONE, OTHER, 0, NONE)));
	show("f", ACCESS);
	mode("f");
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 6, NONE, GROUP_OBJ, 4, NONE, MASK, 2, NONE, OTHER, 0, NONE)));
	show("f", ACCESS);
	mode("f");
	ERR(removexattr("f", ACCESS));
	show("f", ACCESS);
	mode("f");
	ERR(removexattr("f", ACCESS));
}

SECTION("lists that are not valid")
{
	struct acl acl = { 1, { { USER_OBJ, 6, NONE } } };

	write_file("f", "");
	ERR(setxattr("f", ACCESS, &acl, 12, 0));
	acl.version = 2;
	ERR(setxattr("f", ACCESS, &acl, 12, 0));
	ERR(setxattr("f", ACCESS, &acl, 13, 0));
	ERR(setxattr("f", ACCESS, &acl, 3, 0));
	ERR(setxattr("f", ACCESS, &acl, 4, 0));
	ERR(setxattr("f", ACCESS, &acl, 0, 0));
	ERR(setxattr("f", ACCESS, &acl, 12, 4));
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 6, NONE, GROUP_OBJ, 4, NONE)));
	ERR(set("f", ACCESS, ENTRIES(GROUP_OBJ, 6, NONE, USER_OBJ, 4, NONE, OTHER, 0, NONE)));
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 6, NONE, USER, 4, 1, GROUP_OBJ, 4, NONE, OTHER, 0, NONE)));
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 16, NONE, GROUP_OBJ, 4, NONE, OTHER, 0, NONE)));
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 6, NONE, GROUP_OBJ, 4, NONE, OTHER, 0, NONE, OTHER, 0, NONE)));
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 6, NONE, 0x40, 4, NONE, GROUP_OBJ, 4, NONE, OTHER, 0, NONE)));
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 6, NONE, USER, 6, NONE, GROUP_OBJ, 4, NONE, MASK, 7, NONE, OTHER, 0, NONE)));
	ERR(set("f", DEFAULT, ENTRIES(USER_OBJ, 6, NONE, GROUP_OBJ, 4, NONE, OTHER, 0, NONE)));
	ERR(removexattr("f", DEFAULT));
	show("f", DEFAULT);
	MUST(symlink("f", "l"));
	ERR(lgetxattr("l", ACCESS, NULL, 0));
	ERR(lremovexattr("l", ACCESS));
	ERR(set("/proc/self/comm", ACCESS, ENTRIES(USER_OBJ, 6, NONE, GROUP_OBJ, 4, NONE, OTHER, 0, NONE)));
	ERR(getxattr("/proc/self/comm", ACCESS, NULL, 0));
	char small[4];
	MUST(set("f", ACCESS, ENTRIES(USER_OBJ, 6, NONE, GROUP_OBJ, 4, NONE, MASK, 7, NONE, OTHER, 0, NONE)));
	ERR(getxattr("f", ACCESS, small, sizeof small));
	RET(getxattr("f", ACCESS, NULL, 0));
}

SECTION("only the owner sets lists")
{
	need_root();
	open_directory();
	write_file("f", "");
	MUST(chmod("f", 0666));
	MUST(setresuid(1000, 1000, 1000));
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 6, NONE, GROUP_OBJ, 4, NONE, OTHER, 0, NONE)));
	ERR(removexattr("f", ACCESS));
	show("f", ACCESS);
	write_file("mine", "");
	ERR(set("mine", ACCESS, ENTRIES(USER_OBJ, 6, NONE, GROUP_OBJ, 4, NONE, OTHER, 0, NONE)));
	mode("mine");
}

SECTION("a new file inherits the directory's default list")
{
	MUST(mkdir("d", 0755));
	ERR(set("d", DEFAULT, ENTRIES(USER_OBJ, 7, NONE, USER, 7, 1000, GROUP_OBJ, 5, NONE, MASK, 7, NONE, OTHER, 4, NONE)));
	mode("d");
	show("d", ACCESS);
	show("d", DEFAULT);
	umask(0);
	close(MUST(open("d/f", O_WRONLY | O_CREAT, 0664)));
	mode("d/f");
	show("d/f", ACCESS);
	show("d/f", DEFAULT);
	MUST(symlink("x", "d/l"));
	ERR(removexattr("d", DEFAULT));
	close(MUST(open("d/g", O_WRONLY | O_CREAT, 0664)));
	mode("d/g");
	show("d/g", ACCESS);
}

SECTION("the list is kept by copies of attributes, links and renames")
{
	char names[256] = "";

	write_file("f", "");
	MUST(set("f", ACCESS, ENTRIES(USER_OBJ, 7, NONE, GROUP_OBJ, 4, NONE, GROUP, 6, 1000, MASK, 6, NONE, OTHER, 1, NONE)));
	MUST(link("f", "g"));
	MUST(rename("f", "h"));
	show("g", ACCESS);
	RET(listxattr("h", names, sizeof names));
	TEXT(names);
	struct stat before, after;
	MUST(stat("h", &before));
	sleep_ms(20);
	MUST(set("h", ACCESS, ENTRIES(USER_OBJ, 7, NONE, GROUP_OBJ, 4, NONE, MASK, 4, NONE, OTHER, 1, NONE)));
	MUST(stat("h", &after));
	SHOW(memcmp(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim) != 0);
	SHOW(memcmp(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim) == 0);
}

SECTION("fsetxattr and fgetxattr work on descriptors")
{
	struct acl acl = { 2, { { USER_OBJ, 6, NONE }, { GROUP_OBJ, 2, NONE }, { MASK, 3, NONE }, { OTHER, 0, NONE } } };
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0600));

	ERR(fsetxattr(fd, ACCESS, &acl, 36, 0));
	memset(&acl, 0, sizeof acl);
	RET(fgetxattr(fd, ACCESS, &acl, sizeof acl));
	SHOW(acl.version);
	mode("f");
	ERR(fremovexattr(fd, ACCESS));
	ERR(fgetxattr(fd, ACCESS, NULL, 0));
}

/* Each of these runs in the directory that there is, which may be the host's, and on a tmpfs. */
static void own_files(void)
{
	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("m", 0755));
	MUST(mount("none", "m", "tmpfs", 0, "mode=777"));
	MUST(chdir("m"));
}

static void who_may(void)
{
	write_file("f", "");
	MUST(chown("f", 1, 100));
	MUST(set("f", ACCESS, ENTRIES(USER_OBJ, 7, NONE, USER, 4, 10, USER, 7, 11, GROUP_OBJ, 1, NONE, GROUP, 6, 200, GROUP, 2, 300, MASK, 6, NONE, OTHER, 4, NONE)));
	mode("f");
	tries("f", 1, 1, 0);
	tries("f", 10, 1, 0);
	tries("f", 10, 200, 0);
	tries("f", 11, 1, 0);
	tries("f", 12, 100, 0);
	tries("f", 12, 200, 0);
	tries("f", 12, 1, 200);
	tries("f", 12, 300, 200);
	tries("f", 12, 300, 100);
	tries("f", 12, 1, 0);
	MUST(chmod("f", 0704));
	tries("f", 11, 1, 0);
	tries("f", 12, 100, 0);
	MUST(chmod("f", 0774));
	tries("f", 11, 1, 0);
}

SECTION("who may do what")
{
	need_root();
	open_directory();
	who_may();
}

SECTION("tmpfs: who may do what")
{
	own_files();
	who_may();
}

static void directories(void)
{
	MUST(mkdir("d", 0700));
	write_file("d/f", "");
	tries("d/f", 10, 10, 0);
	MUST(set("d", ACCESS, ENTRIES(USER_OBJ, 7, NONE, USER, 1, 10, GROUP_OBJ, 0, NONE, MASK, 7, NONE, OTHER, 0, NONE)));
	tries("d/f", 10, 10, 0);
	tries("d", 10, 10, 0);
	tries("d/f", 11, 10, 0);
}

SECTION("directories by their lists")
{
	need_root();
	open_directory();
	directories();
}

SECTION("tmpfs: directories by their lists")
{
	own_files();
	directories();
}

static void default_list(void)
{
	MUST(mkdir("d", 0755));
	MUST(set("d", DEFAULT, ENTRIES(USER_OBJ, 7, NONE, USER, 7, 1000, GROUP_OBJ, 5, NONE, MASK, 7, NONE, OTHER, 4, NONE)));
	umask(077);
	close(MUST(open("d/f", O_WRONLY | O_CREAT, 0664)));
	mode("d/f");
	show("d/f", ACCESS);
	MUST(mkdir("d/d", 0777));
	mode("d/d");
	show("d/d", DEFAULT);
	MUST(mkfifo("d/p", 0666));
	mode("d/p");
	MUST(set("d/d", DEFAULT, ENTRIES(USER_OBJ, 7, NONE, GROUP_OBJ, 5, NONE, OTHER, 5, NONE)));
	MUST(mkdir("d/d/plain", 0777));
	mode("d/d/plain");
	show("d/d/plain", ACCESS);
	show("d/d/plain", DEFAULT);
	int fd = MUST(open("d", O_RDWR | O_TMPFILE, 0666));
	struct stat st;
	MUST(fstat(fd, &st));
	say("unnamed mode %o\n", st.st_mode);
}

SECTION("a default list takes the place of the umask")
{
	need_root();
	open_directory();
	default_list();
}

SECTION("tmpfs: a default list takes the place of the umask")
{
	own_files();
	default_list();
	show("d/p", ACCESS);
}

static void setgid_goes(void)
{
	write_file("f", "");
	MUST(chown("f", 1000, 500));
	MUST(chmod("f", 02755));
	MUST(setgroups(0, NULL));
	MUST(setresgid(1000, 1000, 1000));
	MUST(setresuid(1000, 1000, 1000));
	ERR(set("f", ACCESS, ENTRIES(USER_OBJ, 7, NONE, GROUP_OBJ, 5, NONE, OTHER, 5, NONE)));
	mode("f");
}

SECTION("setgid goes with a list that a stranger to the group sets")
{
	need_root();
	open_directory();
	setgid_goes();
}

SECTION("tmpfs: setgid goes with a list that a stranger to the group sets")
{
	own_files();
	setgid_goes();
}

SECTION("a list that changes is obeyed at once")
{
	need_root();
	open_directory();
	write_file("f", "");
	MUST(chmod("f", 0640));
	tries("f", 10, 10, 0);
	MUST(set("f", ACCESS, ENTRIES(USER_OBJ, 6, NONE, USER, 4, 10, GROUP_OBJ, 4, NONE, MASK, 4, NONE, OTHER, 0, NONE)));
	tries("f", 10, 10, 0);
	MUST(chmod("f", 0600));
	tries("f", 10, 10, 0);
	MUST(chmod("f", 0660));
	tries("f", 10, 10, 0);
	ERR(removexattr("f", ACCESS));
	tries("f", 10, 10, 0);
}
