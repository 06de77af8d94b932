/* Who may do what: modes, owners, sticky and setgid directories, seen from another user. */
#include "observe.h"
#include <grp.h>

/* Gives up root for good: user and group 1000 and no other group. */
static void become_user(void)
{
	MUST(setgroups(0, NULL));
	MUST(setresgid(1000, 1000, 1000));
	MUST(setresuid(1000, 1000, 1000));
}

static unsigned mode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? 0 : st.st_mode;
}

SECTION("permissions: root passes, except executing what nobody may")
{
	need_root();
	write_file("f", "text");
	MUST(chmod("f", 0));
	mkdir("d", 0);
	ERR(open("f", O_RDWR));
	ERR(access("f", R_OK | W_OK));
	ERR(access("f", X_OK));
	ERR(execl("./f", "f", NULL));
	ERR(open("d", O_RDONLY));
	ERR(access("d", R_OK | W_OK | X_OK));
	ERR(mkdir("d/e", 0755));
}

SECTION("permissions: the owner's, the group's and the others' bits")
{
	need_root();
	MUST(chmod(".", 0755));
	write_file("mine", "");
	write_file("group", "");
	write_file("other", "");
	MUST(chown("mine", 1000, 0));
	MUST(chown("group", 0, 1000));
	MUST(chmod("mine", 0077));
	MUST(chmod("group", 0707));
	MUST(chmod("other", 0770));
	become_user();
	ERR(open("mine", O_RDONLY));
	ERR(open("group", O_RDONLY));
	ERR(open("other", O_RDONLY));
	ERR(chmod("mine", 0400));
	ERR(open("mine", O_RDONLY));
	ERR(open("mine", O_WRONLY));
	ERR(open("mine", O_RDONLY | O_TRUNC));
	ERR(truncate("mine", 0));
	ERR(chmod("group", 0777));
	ERR(chown("mine", 0, -1));
	ERR(chown("mine", -1, 0));
	ERR(chown("mine", -1, 1000));
	ERR(open("new", O_RDWR | O_CREAT, 0644));
}

SECTION("permissions: directories: search, read, write")
{
	need_root();
	MUST(chmod(".", 0755));
	mkdir("search", 0711);
	mkdir("list", 0744);
	mkdir("closed", 0700);
	write_file("search/f", "");
	write_file("list/f", "");
	write_file("closed/f", "");
	become_user();
	ERR(open("search/f", O_RDONLY));
	ERR(open("search", O_RDONLY));
	ERR(open("list", O_RDONLY));
	ERR(open("list/f", O_RDONLY));
	ERR(access("list/f", F_OK));
	ERR(open("closed/f", O_RDONLY));
	ERR(open("closed/nothing", O_RDONLY));
	ERR(unlink("search/f"));
	ERR(unlink("search/nothing"));
	ERR(mkdir("search/x", 0755));
	ERR(mkdir("search/f", 0755));
	ERR(rename("search/f", "search/g"));
	ERR(chdir("list"));
	ERR(chdir("search"));
	ERR(open("..", O_RDONLY));
}

SECTION("permissions: supplementary groups count")
{
	gid_t groups[2] = { 2000, 3000 };

	need_root();
	MUST(chmod(".", 0755));
	write_file("f", "");
	MUST(chown("f", 0, 3000));
	MUST(chmod("f", 0060));
	MUST(setgroups(2, groups));
	MUST(setresgid(1000, 1000, 1000));
	MUST(setresuid(1000, 1000, 1000));
	ERR(open("f", O_RDWR));
	RET(getgroups(0, NULL));
	gid_t got[4] = { 0 };
	RET(getgroups(4, got));
	SHOW(got[0] + got[1]);
	ERR(getgroups(1, got));
	ERR(setgroups(0, NULL));
}

SECTION("sticky directories: only owners remove")
{
	need_root();
	mkdir("tmp", 01777);
	MUST(chmod("tmp", 01777));
	MUST(chmod(".", 0755));
	write_file("tmp/root", "");
	write_file("tmp/user", "");
	MUST(chown("tmp/user", 1000, 1000));
	become_user();
	ERR(unlink("tmp/root"));
	ERR(rename("tmp/root", "tmp/x"));
	ERR(rename("tmp/user", "tmp/root"));
	ERR(unlink("tmp/user"));
	ERR(mkdir("tmp/d", 0755));
	ERR(rmdir("tmp/d"));
	ERR(link("tmp/root", "tmp/link"));
}

SECTION("setgid directories hand their group down")
{
	struct stat st;

	need_root();
	mkdir("d", 0777);
	MUST(chown("d", 0, 3000));
	MUST(chmod("d", 02777));
	MUST(mkdir("d/e", 0755));
	HEX(mode_of("d/e"));
	MUST(stat("d/e", &st));
	SHOW(st.st_gid);
	write_file("d/f", "");
	MUST(stat("d/f", &st));
	SHOW(st.st_gid);
	HEX(st.st_mode);
	MUST(chmod(".", 0755));
	become_user();
	MUST(open("d/g", O_RDWR | O_CREAT, 02755));
	MUST(stat("d/g", &st));
	SHOW(st.st_gid);
	HEX(st.st_mode);
}

SECTION("setuid and setgid bits go when another user writes")
{
	need_root();
	MUST(chmod(".", 0755));
	write_file("f", "text");
	MUST(chown("f", 1000, 1000));
	MUST(chmod("f", 06777));
	int fd = MUST(open("f", O_RDWR));
	MUST(write(fd, "x", 1));
	HEX(mode_of("f"));
	become_user();
	MUST(write(fd, "x", 1));
	HEX(mode_of("f"));
	ERR(chmod("f", 06777));
	HEX(mode_of("f"));
}

SECTION("access uses the real user, open and AT_EACCESS the effective one")
{
	need_root();
	MUST(chmod(".", 0755));
	write_file("f", "");
	MUST(chmod("f", 0600));
	MUST(setresuid(1000, 0, 0));
	ERR(access("f", R_OK));
	ERR(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS));
	ERR(open("f", O_RDONLY));
	MUST(setresuid(0, 1000, 0));
	ERR(access("f", R_OK));
	ERR(open("f", O_RDONLY));
	MUST(setresuid(0, 0, 0));
	ERR(open("f", O_RDONLY));
}

SECTION("utimes: the owner sets any time, a writer only now")
{
	struct timespec times[2] = { { 1, 0 }, { 2, 0 } };

	need_root();
	MUST(chmod(".", 0755));
	write_file("writable", "");
	write_file("readable", "");
	MUST(chmod("writable", 0666));
	become_user();
	ERR(utimensat(AT_FDCWD, "writable", times, 0));
	ERR(utimensat(AT_FDCWD, "writable", NULL, 0));
	ERR(utimensat(AT_FDCWD, "readable", NULL, 0));
	ERR(open("readable", O_RDONLY | O_NOATIME));
}

SECTION("the file system user id decides alone")
{
	need_root();
	MUST(chmod(".", 0755));
	write_file("f", "");
	MUST(chmod("f", 0600));
	SHOW(syscall(SYS_setfsuid, 1000));
	SHOW(syscall(SYS_setfsuid, -1));
	ERR(open("f", O_RDONLY));
	SHOW(geteuid());
	SHOW(syscall(SYS_setfsuid, 0));
	ERR(open("f", O_RDONLY));
}
