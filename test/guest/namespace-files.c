/* What a descriptor of a namespace tells (ioctl_nsfs), and namespaces by pidfds. */
#include "observe.h"
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>

#define GET_USERNS _IO(0xb7, 1)
#define GET_PARENT _IO(0xb7, 2)
#define GET_NSTYPE _IO(0xb7, 3)
#define GET_OWNER_UID _IO(0xb7, 4)
#define GET_MNTNS_ID _IOR(0xb7, 5, uint64_t)
#define GET_PID_FROM_PIDNS _IOR(0xb7, 6, int)
#define GET_TGID_FROM_PIDNS _IOR(0xb7, 7, int)
#define GET_PID_IN_PIDNS _IOR(0xb7, 8, int)
#define GET_TGID_IN_PIDNS _IOR(0xb7, 9, int)
struct mnt_ns_info {
	uint32_t size, nr_mounts;
	uint64_t id;
};
#define MNT_GET_INFO _IOR(0xb7, 10, struct mnt_ns_info)
#define MNT_GET_NEXT _IOR(0xb7, 11, struct mnt_ns_info)
#define MNT_GET_PREV _IOR(0xb7, 12, struct mnt_ns_info)

/* Linux numbers namespaces in the order in which they are made on each CPU. */
static void stay_on_a_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	MUST(sched_setaffinity(0, sizeof cpus, &cpus));
}

static int own(const char *kind)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
	return open(path, O_RDONLY | O_CLOEXEC);
}
static bool same(int a, int b)
{
	struct stat one = { 0 }, two = { 0 };

	return !fstat(a, &one) && !fstat(b, &two) && one.st_ino == two.st_ino && one.st_dev == two.st_dev;
}

SECTION("ioctls of the wrong kind of namespace")
{
	uint64_t id;
	uid_t uid;

	for (const char *const *kind = (const char *[]){ "uts", "ipc", "net", "user", "pid", "cgroup", "time", NULL }; *kind; kind++) {
		int fd = MUST(own(*kind));
		say("%s:\n", *kind);
		HEX(ioctl(fd, GET_NSTYPE));
		ERR(ioctl(fd, GET_MNTNS_ID, &id));
		ERR(ioctl(fd, GET_PID_IN_PIDNS, getpid()) < 0 ? -1 : 0);
		ERR(ioctl(fd, MNT_GET_INFO, &id));
		ERR(ioctl(fd, MNT_GET_NEXT, 0));
		ERR(ioctl(fd, GET_OWNER_UID, &uid));
		ERR(ioctl(fd, _IO(0xb7, 99)));
		close(fd);
	}
}

SECTION("numbers of processes, from one namespace to another")
{
	need_root();
	int outer = MUST(own("pid")), told[2], done[2];
	char byte;

	MUST(pipe(told));
	MUST(pipe(done));
	MUST(unshare(CLONE_NEWPID));
	pid_t pid = fork();
	if (pid == 0) {
		int inner = MUST(own("pid"));
		RET(ioctl(inner, GET_PID_FROM_PIDNS, 1));
		RET(ioctl(inner, GET_TGID_IN_PIDNS, 1));
		ERR(ioctl(outer, GET_PID_IN_PIDNS, 1) > 1 ? 0 : -1);
		ERR(ioctl(outer, GET_PID_FROM_PIDNS, 1));
		ERR(ioctl(inner, GET_PID_FROM_PIDNS, 4711));
		ERR(ioctl(inner, GET_PID_FROM_PIDNS, -1));
		ERR(ioctl(inner, GET_PARENT));
		write(done[1], "", 1);
		read(told[0], &byte, 1);
		_exit(0);
	}
	MUST(read(done[0], &byte, 1));
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
	int inner = MUST(open(path, O_RDONLY));
	SHOW(ioctl(inner, GET_PID_FROM_PIDNS, 1) == pid);
	SHOW(ioctl(inner, GET_TGID_FROM_PIDNS, 1) == pid);
	RET(ioctl(inner, GET_PID_IN_PIDNS, pid));
	RET(ioctl(inner, GET_TGID_IN_PIDNS, pid));
	ERR(ioctl(inner, GET_PID_IN_PIDNS, getpid()));
	int parent = MUST(ioctl(inner, GET_PARENT));
	SHOW(same(parent, outer));
	write(told[1], "", 1);
	STATUS(end_of(pid));
	ERR(ioctl(inner, GET_PID_FROM_PIDNS, 1));
}

SECTION("mount namespaces: which, how many mounts, the next one")
{
	need_root();
	stay_on_a_cpu();
	MUST(unshare(CLONE_NEWNS));
	int first = MUST(own("mnt"));
	struct mnt_ns_info info = { 0 }, other = { 0 };
	uint64_t id = 0;

	MUST(ioctl(first, MNT_GET_INFO, &info));
	MUST(ioctl(first, GET_MNTNS_ID, &id));
	SHOW(info.size);
	SHOW(info.id == id);
	SHOW(info.nr_mounts > 0);
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mount("none", ".", "tmpfs", 0, NULL));
	int second = MUST(own("mnt"));
	MUST(ioctl(second, MNT_GET_INFO, &other));
	SHOW(other.id > info.id);
	SHOW(other.nr_mounts == info.nr_mounts + 1);
	/* There may be others between them. */
	int fd = dup(first), next;
	bool rising = true, cloexec = true;
	while ((next = ioctl(fd, MNT_GET_NEXT, &other)) >= 0) {
		bool found = same(next, second);
		rising = rising && other.id > info.id;
		cloexec = cloexec && (fcntl(next, F_GETFD) & FD_CLOEXEC);
		close(fd);
		fd = next;
		if (found)
			break;
	}
	SHOW(same(fd, second));
	SHOW(rising);
	SHOW(cloexec);
	while ((next = ioctl(fd, MNT_GET_PREV, NULL)) >= 0) {
		bool found = same(next, first);
		close(fd);
		fd = next;
		if (found)
			break;
	}
	SHOW(same(fd, first));
	ERR(ioctl(first, MNT_GET_INFO, NULL));
}

SECTION("namespaces of a process by its pidfd")
{
	static const struct {
		int request;
		const char *kind;
	} kinds[] = { { 1, "cgroup" }, { 2, "ipc" }, { 3, "mnt" }, { 4, "net" }, { 5, "pid" }, { 6, "pid_for_children" },
		{ 7, "time" }, { 8, "time_for_children" }, { 9, "user" }, { 10, "uts" } };
	pid_t pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	int pidfd = MUST(syscall(SYS_pidfd_open, pid, 0));
	for (size_t i = 0; i < LENGTH(kinds); i++) {
		int fd = ioctl(pidfd, _IO(0xff, kinds[i].request), 0), mine = own(kinds[i].kind);
		say("%s: %s\n", kinds[i].kind, fd < 0 ? error_name(errno) : same(fd, mine) ? "the same" : "another");
		close(fd);
		close(mine);
	}
	ERR(ioctl(pidfd, _IO(0xff, 3), 1));
	ERR(ioctl(pidfd, _IO(0xff, 200), 0));
	kill(pid, SIGKILL);
	siginfo_t gone;
	waitid(P_PID, pid, &gone, WEXITED | WNOWAIT);
	ERR(ioctl(pidfd, _IO(0xff, 3), 0));
	waitpid(pid, NULL, 0);
	ERR(ioctl(pidfd, _IO(0xff, 3), 0));
}

SECTION("the links of an ended process that nobody has waited for")
{
	static const char *const kinds[] = { "cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "user", "uts" };
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	siginfo_t gone;
	MUST(waitid(P_PID, pid, &gone, WEXITED | WNOWAIT));
	for (size_t i = 0; i < LENGTH(kinds); i++) {
		char path[64], text[64];
		snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kinds[i]);
		say("%s: %s\n", kinds[i], readlink(path, text, sizeof text) < 0 ? error_name(errno) : "ok");
	}
	waitpid(pid, NULL, 0);
}

SECTION("a mounted namespace has its name as the root in mountinfo")
{
	char line[1024], root[256], name[64] = "";

	need_root();
	MUST(unshare(CLONE_NEWNS | CLONE_NEWUTS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	close(MUST(open("here", O_CREAT | O_WRONLY, 0600)));
	MUST(mount("/proc/self/ns/uts", "here", NULL, MS_BIND, NULL));
	MUST(readlink("/proc/self/ns/uts", name, sizeof name - 1));
	FILE *mounts = fopen("/proc/self/mountinfo", "r");
	while (fgets(line, sizeof line, mounts))
		if (strstr(line, "/here ") && sscanf(line, "%*s %*s %*s %255s", root) == 1)
			SHOW(strcmp(root, name) == 0);
	fclose(mounts);
	MUST(umount("here"));
}
