/* Time namespaces, chosen process ids, personalities, the vsyscall page. */
#define HAS_CHILD
#include "observe.h"
#include <linux/sched.h>
#include <sys/ipc.h>
#include <sys/personality.h>
#include <sys/shm.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>

static double seconds(clockid_t clock)
{
	struct timespec now;

	MUST(clock_gettime(clock, &now));
	return now.tv_sec + now.tv_nsec / 1e9;
}

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int result = fd < 0 ? -1 : write(fd, text, strlen(text));
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return result;
}

/* A program in a time namespace of its own, which knows when it was outside. */
static int as_child(int argc, char **argv)
{
	double before = atof(argv[1]), boot = atof(argv[2]), up;

	(void)argc;
	double more = seconds(CLOCK_MONOTONIC) - before;
	SHOW(more >= 1000 && more < 1100);
	more = seconds(CLOCK_BOOTTIME) - boot;
	SHOW(more >= 86400.5 && more < 86500);
	struct sysinfo info;
	MUST(sysinfo(&info));
	SHOW(info.uptime - boot >= 86400 && info.uptime - boot < 86500);
	struct timespec until = { (long)(before + 1000), 0 };
	ERR(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
	int timer = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	struct itimerspec at = { { 0, 0 }, { (long)before, 1 } };
	MUST(timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL));
	struct pollfd wait = { timer, POLLIN, 0 };
	RET(poll(&wait, 1, 2000));
	ERR(write_to("/proc/self/timens_offsets", "monotonic 5 0\n"));
	FILE *file = fopen("/proc/uptime", "re");
	SHOW(fscanf(file, "%lf", &up));
	SHOW(up - boot >= 86400);
	long since = atol(strstr(read_file("/proc/stat"), "btime") + 5);
	SHOW(labs(time(NULL) - since - (long)boot - 86400) < 100);
	return 0;
}

SECTION("time namespace: the offsets count for children")
{
	need_root();
	MUST(unshare(CLONE_NEWTIME));
	double before = seconds(CLOCK_MONOTONIC), boot = seconds(CLOCK_BOOTTIME);
	TEXT(read_file("/proc/self/timens_offsets"));
	RET(write_to("/proc/self/timens_offsets", "monotonic 1000 0\nboottime 86400 500000000\n"));
	TEXT(read_file("/proc/self/timens_offsets"));
	SHOW(seconds(CLOCK_MONOTONIC) - before < 100);
	pid_t child = MUST(fork());
	if (child == 0) {
		char times[2][32];

		sprintf(times[0], "%f", before);
		sprintf(times[1], "%f", boot);
		execl(observe_self, observe_self, "@child", "x", times[0], times[1], NULL);
		_exit(0);
	}
	STATUS(end_of(child));
	ERR(write_to("/proc/self/timens_offsets", "monotonic 5 0\n"));
}

SECTION("time namespace: offsets that are not valid")
{
	need_root();
	ERR(write_to("/proc/self/timens_offsets", "monotonic 5 0\n"));
	MUST(unshare(CLONE_NEWTIME));
	ERR(write_to("/proc/self/timens_offsets", "realtime 5 0\n"));
	ERR(write_to("/proc/self/timens_offsets", "monotonic 5\n"));
	ERR(write_to("/proc/self/timens_offsets", "monotonic 5 1000000000\n"));
	ERR(write_to("/proc/self/timens_offsets", "monotonic -10000000000 0\n"));
	ERR(write_to("/proc/self/timens_offsets", "monotonic 10000000000 0\n"));
	ERR(write_to("/proc/self/timens_offsets", "1 7 0\n7 8 0\n"));
	TEXT(read_file("/proc/self/timens_offsets"));
}

static pid_t clone_with(const pid_t *tids, size_t count, uint64_t flags)
{
	struct clone_args args = {
		.flags = flags, .exit_signal = SIGCHLD, .set_tid = (uint64_t)tids, .set_tid_size = count
	};

	return syscall(SYS_clone3, &args, sizeof args);
}

SECTION("clone3: a chosen process id")
{
	need_root();
	/* Not near anything that runs. */
	pid_t wanted = 31000 + getpid() % 500;
	pid_t child = clone_with(&wanted, 1, 0);
	if (child == 0)
		_exit(getpid() == wanted ? 7 : 8);
	SHOW(child == wanted);
	pid_t again = clone_with(&wanted, 1, 0);
	if (again == 0)
		_exit(0);
	ERR(again);
	STATUS(end_of(child));
	pid_t inner[] = { 1, wanted };
	child = clone_with(inner, 2, CLONE_NEWPID);
	if (child == 0)
		_exit(getpid());
	SHOW(child == wanted);
	STATUS(end_of(child));
	pid_t bad = 0;
	ERR(clone_with(&bad, 1, 0));
	bad = -5;
	ERR(clone_with(&bad, 1, 0));
	bad = 1 << 30;
	ERR(clone_with(&bad, 1, 0));
	pid_t second[] = { 2, wanted };
	ERR(clone_with(second, 2, CLONE_NEWPID));
	ERR(clone_with(&wanted, 40, 0));
	ERR(clone_with(NULL, 1, 0));
	ERR(clone_with(&wanted, 0, 0));
	MUST(setresuid(1000, 1000, 1000));
	ERR(clone_with(&wanted, 1, 0));
}

SECTION("personality: kept, inherited, shown")
{
	HEX(personality(0xffffffff));
	HEX(personality(ADDR_NO_RANDOMIZE | UNAME26));
	HEX(personality(0xffffffff));
	TEXT(read_file("/proc/self/personality"));
	pid_t child = MUST(fork());
	if (child == 0) {
		HEX(personality(0xffffffff));
		_exit(0);
	}
	STATUS(end_of(child));
	HEX(personality(PER_LINUX32));
	HEX(personality(PER_LINUX));
}

SECTION("the vsyscall page is executed")
{
	long (*clock_seconds)(long *) = (void *)0xffffffffff600400;
	int (*time_of_day)(struct timeval *, void *) = (void *)0xffffffffff600000;
	long (*which_cpu)(unsigned *, unsigned *, void *) = (void *)0xffffffffff600800;

	long now = time(NULL), there = 0;
	SHOW(clock_seconds(NULL) - now <= 1);
	SHOW(clock_seconds(&there) == there);
	struct timeval tv = { 0, 0 };
	SHOW(time_of_day(&tv, NULL));
	SHOW(tv.tv_sec - now <= 1);
	unsigned cpu = 1000;
	SHOW(which_cpu(&cpu, NULL, NULL));
	SHOW(cpu < 1000);
}

SECTION("sysinfo: memory, processes and load")
{
	struct sysinfo info;
	double loads[3];

	MUST(sysinfo(&info));
	SHOW(info.totalram * info.mem_unit > 1 << 27);
	SHOW(info.freeram <= info.totalram);
	SHOW(info.procs >= 1);
	SHOW(info.uptime > 0);
	SHOW(info.loads[0] / 65536.0 < 1000);
	SHOW(getloadavg(loads, 3));
	SHOW(info.loads[0] / 65536.0 - loads[0] < 0.5);
}

SECTION("shared memory ends with its namespace, which a descriptor keeps")
{
	need_root();
	int pair[2];
	MUST(pipe(pair));
	pid_t child = MUST(fork());
	if (child == 0) {
		MUST(unshare(CLONE_NEWIPC));
		int id = MUST(shmget(4711, 1 << 20, IPC_CREAT | 0600));
		char *at = shmat(id, NULL, 0);
		memset(at, 1, 1 << 20);
		struct shmid_ds ds;
		ERR(shmctl(id, IPC_STAT, &ds));
		SHOW(ds.shm_nattch);
		MUST(write(pair[1], "x", 1));
		pause();
	}
	char byte, path[64];
	MUST(read(pair[0], &byte, 1));
	sprintf(path, "/proc/%d/ns/ipc", (int)child);
	int ns = MUST(open(path, O_RDONLY));
	kill(child, SIGKILL);
	STATUS(end_of(child));
	MUST(setns(ns, CLONE_NEWIPC));
	int id = shmget(4711, 1 << 20, 0600);
	SHOW(id >= 0);
	char *at = shmat(id, NULL, 0);
	SHOW(at[12345]);
	close(ns);
	shmdt(at);
	MUST(unshare(CLONE_NEWIPC));
	ERR(shmget(4711, 1 << 20, 0600));
}
