/* Users, groups, capabilities, no_new_privs. */
#include "observe.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>

static void ids(void)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	MUST(getresuid(&r, &e, &s));
	MUST(getresgid(&rg, &eg, &sg));
	say("uid %u %u %u fs %d, gid %u %u %u fs %d\n", r, e, s, setfsuid(-1), rg, eg, sg, setfsgid(-1));
}

static void capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };

	ERR(syscall(SYS_capget, &header, data));
	say("effective %d, permitted %d, inheritable %d\n", data[0].effective != 0, data[0].permitted != 0,
	    data[0].inheritable != 0);
}

static int capset_(uint32_t effective, uint32_t permitted, uint32_t inheritable)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { effective, permitted, inheritable } };

	return syscall(SYS_capset, &header, data);
}

SECTION("setresuid: any ids as root, then only among one's own")
{
	need_root();
	ERR(setresuid(1, 2, 3));
	ids();
	ERR(setresuid(-1, 0, -1));
	ERR(setresuid(-1, 3, -1));
	ids();
	ERR(setresuid(2, 1, 3));
	ids();
	ERR(setresuid(-1, -1, -1));
	ERR(setresuid(4, -1, -1));
}

SECTION("setuid, seteuid, setreuid and the saved id")
{
	need_root();
	ERR(seteuid(1000));
	ids();
	ERR(setuid(0));
	ids();
	ERR(setuid(1000));
	ids();
	ERR(setuid(0));
	ERR(seteuid(0));
	pid_t pid = fork();
	if (pid == 0) {
		ids();
		_exit(0);
	}
	end_of(pid);
	ERR(setreuid(1000, -1));
	ERR(setreuid(1001, 1000));
}

SECTION("setreuid sets the saved id; setgid and its relatives")
{
	need_root();
	ERR(setreuid(1000, 0));
	ids();
	ERR(setregid(10, 20));
	ids();
	ERR(setresgid(-1, 30, 40));
	ids();
	ERR(setgid(50));
	ids();
	ERR(setreuid(1000, 1000));
	ids();
	ERR(setgid(60));
	ERR(setegid(50));
	ERR(setresgid(50, 50, 50));
}

SECTION("setgroups and getgroups")
{
	gid_t many[3] = { 30, 10, 20 }, got[8] = { 0 };

	need_root();
	ERR(setgroups(3, many));
	RET(getgroups(0, NULL));
	RET(getgroups(8, got));
	SHOW(got[0]);
	SHOW(got[2]);
	ERR(getgroups(2, got));
	ERR(getgroups(-1, got));
	ERR(setgroups(70000, many));
	ERR(setgroups(3, (gid_t *)8));
	ERR(setgroups(0, NULL));
	RET(getgroups(0, NULL));
}

SECTION("capabilities: go with the user id, come back with the effective one")
{
	need_root();
	capabilities();
	MUST(seteuid(1000));
	capabilities();
	MUST(seteuid(0));
	capabilities();
	MUST(setresuid(1000, 1000, 1000));
	capabilities();
}

SECTION("capabilities: PR_SET_KEEPCAPS keeps the permitted ones")
{
	need_root();
	SHOW(prctl(PR_GET_KEEPCAPS));
	ERR(prctl(PR_SET_KEEPCAPS, 1));
	SHOW(prctl(PR_GET_KEEPCAPS));
	MUST(setresuid(1000, 1000, 1000));
	capabilities();
	ERR(capset_(1 << CAP_CHOWN, 1 << CAP_CHOWN, 0));
	write_file("/dev/null", "");
	ERR(prctl(PR_SET_KEEPCAPS, 2));
}

SECTION("capset: rules and versions")
{
	struct __user_cap_header_struct header = { 0x12345678, 0 };
	struct __user_cap_data_struct data[2];

	need_root();
	ERR(syscall(SYS_capget, &header, NULL));
	SHOW(header.version == _LINUX_CAPABILITY_VERSION_3);
	header.version = 0x12345678;
	ERR(syscall(SYS_capget, &header, data));
	header = (struct __user_cap_header_struct){ _LINUX_CAPABILITY_VERSION_3, 99999999 };
	ERR(syscall(SYS_capget, &header, data));
	ERR(capset_(1 << CAP_CHOWN, 1 << CAP_CHOWN | 1 << CAP_KILL, 0));
	ERR(capset_(1 << CAP_SETUID, 1 << CAP_CHOWN, 0));
	ERR(capset_(0, 1 << CAP_SETUID, 0));
	ERR(capset_(1 << CAP_KILL, 1 << CAP_CHOWN | 1 << CAP_KILL, 0));
	ERR(setresuid(1, 1, 1));
	ERR(setgroups(0, NULL));
	ERR(capset_(0, 0, 0));
	capabilities();
}

SECTION("the bounding set and ambient capabilities")
{
	need_root();
	RET(prctl(PR_CAPBSET_READ, CAP_CHOWN));
	ERR(prctl(PR_CAPBSET_READ, 99));
	ERR(prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT));
	RET(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT));
	RET(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
	ERR(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
	ERR(capset_(1 << CAP_KILL | 1 << CAP_SETPCAP, 1 << CAP_KILL | 1 << CAP_SETPCAP, 1 << CAP_KILL));
	ERR(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
	RET(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
	ERR(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	RET(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
	RET(prctl(PR_GET_SECUREBITS));
	ERR(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
	RET(prctl(PR_GET_SECUREBITS));
}

SECTION("no_new_privs")
{
	RET(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	ERR(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
	ERR(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
	ERR(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	RET(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	pid_t pid = fork();
	if (pid == 0)
		_exit(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	STATUS(end_of(pid));
}

SECTION("what needs root: chroot, mknod, nice, raising limits, setting the host name")
{
	struct rlimit limit = { 10, 10 };

	need_root();
	MUST(setresuid(1000, 1000, 1000));
	ERR(chroot("/"));
	ERR(setpriority(PRIO_PROCESS, 0, 5));
	ERR(setpriority(PRIO_PROCESS, 0, 4));
	ERR(setrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_max = 20;
	ERR(setrlimit(RLIMIT_NOFILE, &limit));
	ERR(sethostname("x", 1));
	ERR(chroot("/nothing"));
	ERR(syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL));
	ERR(syscall(SYS_reboot, 0, 0, 0, 0));
	ERR(acct("nothing"));
	ERR(syscall(SYS_swapon, "nothing", 0));
	ERR(syscall(SYS_swapoff, "nothing"));
	ERR(syscall(SYS_iopl, 4));
	ERR(syscall(SYS_ioperm, 0, 0, 1));
	ERR(vhangup());
}

SECTION("chroot: a new root, .. stops there")
{
	char path[4096];

	need_root();
	mkdir("root", 0755);
	mkdir("root/d", 0755);
	write_file("root/f", "inside");
	ERR(chroot("root/f"));
	ERR(chroot("nothing"));
	ERR(chroot("root"));
	TEXT(read_file("/f"));
	TEXT(read_file("/../../f"));
	RET(syscall(SYS_getcwd, path, sizeof path) > 0);
	path[12] = 0;
	TEXT(path);
	ERR(chdir("/d"));
	syscall(SYS_getcwd, path, sizeof path);
	TEXT(path);
	symlink("/f", "/link");
	TEXT(read_file("/link"));
}
