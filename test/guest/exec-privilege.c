/* What a program gains by being executed: set-id bits, file capabilities, the ambient set. */
#define HAS_CHILD
#include "observe.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/auxv.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/xattr.h>

#define NET_RAW (1u << 13)
#define NET_ADMIN (1u << 12)
#define SYS_CHROOT (1u << 18)

/* Says who it is. */
static int as_child(int argc, char **argv)
{
	uid_t r, e, s;
	char line[256], name[32];
	unsigned long long value;

	(void)argc;
	(void)argv;
	getresuid(&r, &e, &s);
	say("uid %d %d %d, fs %d\n", (int)r, (int)e, (int)s, setfsuid(-1));
	getresgid(&r, &e, &s);
	say("gid %d %d %d, fs %d\n", (int)r, (int)e, (int)s, setfsgid(-1));
	FILE *status = fopen("/proc/self/status", "re");
	while (fgets(line, sizeof line, status))
		if (sscanf(line, "Cap%15[A-Za-z]:%llx", name, &value) == 2 && strcmp(name, "Bnd"))
			say("%s %llx\n", name, value & (NET_RAW | NET_ADMIN | SYS_CHROOT | 1));
	fclose(status);
	say("secure %ld, dumpable %d\n", getauxval(AT_SECURE), prctl(PR_GET_DUMPABLE));
	return 0;
}

/* A file system of one's own, with the program in it. */
static void own_program(const char *options)
{
	char command[4200];

	need_root();
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("m", 0755));
	MUST(chmod(".", 0755));
	MUST(mount("none", "m", "tmpfs", strstr(options, "nosuid") ? MS_NOSUID : 0, "mode=755"));
	snprintf(command, sizeof command, "cp %s m/program && chmod 755 m/program", observe_self);
	MUST(system(command));
}

static int file_caps(unsigned permitted, unsigned inheritable, bool effective)
{
	uint32_t value[5] = { 0x02000000 | effective, permitted, inheritable, 0, 0 };

	return setxattr("m/program", "security.capability", value, sizeof value, 0);
}

static void become(uid_t uid, gid_t gid)
{
	MUST(setgroups(0, NULL));
	MUST(setresgid(gid, gid, gid));
	MUST(setresuid(uid, uid, uid));
}

static void run(void (*before)(void))
{
	pid_t child = MUST(fork());

	if (child == 0) {
		if (before)
			before();
		execl("m/program", "program", "@child", "x", NULL);
		say("exec: %s\n", error_name(errno));
		_exit(1);
	}
	STATUS(end_of(child));
}

static void as_user(void)
{
	become(1000, 1000);
}

static void as_user_without_privileges(void)
{
	become(1000, 1000);
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

SECTION("a plain program: root keeps its capabilities, a user has none")
{
	own_program("");
	run(NULL);
	run(as_user);
}

SECTION("setuid and setgid programs")
{
	own_program("");
	MUST(chown("m/program", 4000, 5000));
	MUST(chmod("m/program", 04755));
	run(as_user);
	MUST(chmod("m/program", 02755));
	run(as_user);
	MUST(chmod("m/program", 06755));
	run(as_user);
	MUST(chmod("m/program", 02745));
	run(as_user);
	MUST(chown("m/program", 0, 0));
	MUST(chmod("m/program", 04755));
	run(as_user);
	run(as_user_without_privileges);
	run(NULL);
}

SECTION("a mount without set-id programs")
{
	own_program("nosuid");
	MUST(chmod("m/program", 06755));
	ERR(file_caps(NET_RAW, 0, true));
	run(as_user);
}

SECTION("file capabilities")
{
	own_program("");
	ERR(file_caps(NET_RAW | NET_ADMIN, 0, true));
	run(as_user);
	run(NULL);
	ERR(file_caps(NET_RAW, 0, false));
	run(as_user);
	run(as_user_without_privileges);
	ERR(file_caps(0, NET_RAW, false));
	run(as_user);
	ERR(file_caps(0, 0, false));
	run(as_user);
}

static void with_inheritable(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	MUST(prctl(PR_SET_KEEPCAPS, 1));
	become(1000, 1000);
	MUST(syscall(SYS_capget, &header, data));
	data[0].effective = data[0].permitted;
	data[0].inheritable = NET_RAW | SYS_CHROOT;
	MUST(syscall(SYS_capset, &header, data));
}

static void with_ambient(void)
{
	with_inheritable();
	ERR(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 13, 0, 0));
	ERR(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 12, 0, 0));
}

SECTION("inheritable and ambient capabilities")
{
	own_program("");
	run(with_inheritable);
	run(with_ambient);
	ERR(file_caps(0, NET_RAW, true));
	run(with_inheritable);
	run(with_ambient);
	ERR(removexattr("m/program", "security.capability"));
	MUST(chown("m/program", 4000, 5000));
	MUST(chmod("m/program", 04755));
	run(with_ambient);
}

static void without_bounding(void)
{
	MUST(prctl(PR_CAPBSET_DROP, 13));
	become(1000, 1000);
}

SECTION("the bounding set limits what files give")
{
	own_program("");
	ERR(file_caps(NET_RAW | NET_ADMIN, 0, false));
	run(without_bounding);
	ERR(file_caps(NET_RAW | NET_ADMIN, 0, true));
	run(without_bounding);
}

static void without_root(void)
{
	MUST(prctl(PR_SET_SECUREBITS, 1 << 0, 0, 0, 0));
}

SECTION("securebits: root without its capabilities")
{
	own_program("");
	run(without_root);
	ERR(file_caps(NET_RAW, 0, true));
	run(without_root);
}

SECTION("security.capability: what may be written, what takes it away")
{
	uint32_t value[6] = { 0x03000001, NET_RAW, 0, 0, 0, 0 };

	own_program("");
	ERR(setxattr("m/program", "security.capability", value, 8, 0));
	ERR(setxattr("m/program", "security.capability", value, 20, 0));
	value[0] = 0x04000000;
	ERR(setxattr("m/program", "security.capability", value, 20, 0));
	ERR(file_caps(NET_RAW, 0, true));
	RET(getxattr("m/program", "security.capability", value, sizeof value));
	HEX(value[0]);
	int fd = MUST(open("m/program", O_WRONLY | O_APPEND));
	MUST(write(fd, "x", 1));
	close(fd);
	ERR(getxattr("m/program", "security.capability", value, sizeof value));
	ERR(file_caps(NET_RAW, 0, true));
	MUST(chown("m/program", 4, 4));
	ERR(getxattr("m/program", "security.capability", value, sizeof value));
	ERR(file_caps(NET_RAW, 0, true));
	MUST(truncate("m/program", 100));
	ERR(getxattr("m/program", "security.capability", value, sizeof value));
	MUST(chown("m/program", 1000, 1000));
	become(1000, 1000);
	ERR(file_caps(NET_RAW, 0, true));
	ERR(removexattr("m/program", "security.capability"));
}
