/* Small calls about the system that stand for themselves. */
#include "observe.h"
#include <sys/quota.h>

SECTION("sysfs: the types of file systems by number and name")
{
	char name[64] = "";
	long count = syscall(SYS_sysfs, 3);

	SHOW(count > 3);
	long tmpfs = syscall(SYS_sysfs, 1, "tmpfs");
	SHOW(tmpfs >= 0 && tmpfs < count);
	ERR(syscall(SYS_sysfs, 2, tmpfs, name));
	TEXT(name);
	ERR(syscall(SYS_sysfs, 1, "nothing of the kind"));
	ERR(syscall(SYS_sysfs, 1, NULL));
	ERR(syscall(SYS_sysfs, 2, 1000000, name));
	ERR(syscall(SYS_sysfs, 2, tmpfs, NULL));
	ERR(syscall(SYS_sysfs, 4));
}

SECTION("quotactl: there are no quotas")
{
	struct dqblk block;

	write_file("f", "");
	ERR(quotactl(QCMD(Q_SYNC, USRQUOTA), NULL, 0, NULL));
	ERR(quotactl(QCMD(Q_GETQUOTA, USRQUOTA), NULL, 0, (char *)&block));
	ERR(quotactl(QCMD(Q_GETQUOTA, USRQUOTA), "f", 0, (char *)&block));
	ERR(quotactl(QCMD(Q_GETQUOTA, USRQUOTA), "nothing", 0, (char *)&block));
	ERR(quotactl(QCMD(Q_GETQUOTA, 3), "f", 0, (char *)&block));
	ERR(syscall(443, -1, QCMD(Q_GETQUOTA, USRQUOTA), 0, &block));
	int proc = MUST(open("/proc", O_RDONLY));
	ERR(syscall(443, proc, QCMD(Q_GETQUOTA, USRQUOTA), 0, &block));
	ERR(syscall(443, proc, QCMD(Q_GETQUOTA, 3), 0, &block));
}

SECTION("lsm_list_modules: capabilities and landlock are among them")
{
	uint64_t ids[32];
	uint32_t size = sizeof ids;
	bool capability = false, landlock = false;
	long count = syscall(461, ids, &size, 0);

	SHOW(size == count * 8);
	for (int i = 0; i < count; i++) {
		capability |= ids[i] == 100;
		landlock |= ids[i] == 110;
	}
	SHOW(capability);
	SHOW(landlock);
	size = 8;
	ERR(syscall(461, ids, &size, 0));
	SHOW(size == count * 8);
	ERR(syscall(461, ids, &size, 1));
	ERR(syscall(461, ids, NULL, 0));
	size = 256;
	ERR(syscall(461, NULL, &size, 0));
}

SECTION("lsm attributes: no module has any")
{
	struct { uint64_t id, flags, len, ctx_len; char text[32]; } context = { 100, 0, 64, 32, "" };
	uint32_t size = sizeof context;

	ERR(syscall(459, 0, &context, &size, 0));
	ERR(syscall(459, 100, &context, NULL, 0));
	ERR(syscall(459, 100, &context, &size, 2));
	ERR(syscall(459, 100, NULL, &size, 1));
	ERR(syscall(459, 100, &context, &size, 1));
	SHOW(size);
	ERR(syscall(460, 100, &context, 8, 0));
	ERR(syscall(460, 100, &context, 8192, 0));
	ERR(syscall(460, 100, &context, 64, 1));
	ERR(syscall(460, 100, NULL, 64, 0));
	context.len = 65;
	ERR(syscall(460, 100, &context, 64, 0));
}

SECTION("process_mrelease: only of a process that ends")
{
	pid_t child = MUST(fork());

	if (child == 0) {
		pause();
		_exit(0);
	}
	int pidfd = MUST(syscall(SYS_pidfd_open, child, 0));
	ERR(syscall(448, pidfd, 0));
	ERR(syscall(448, pidfd, 1));
	ERR(syscall(448, -1, 0));
	ERR(syscall(448, 0, 0));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	ERR(syscall(448, pidfd, 0));
}
