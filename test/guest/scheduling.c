/* Priorities, schedulers and their permissions; CPUs; the log; calls that only root makes. */
#include "observe.h"
#include <linux/capability.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <sys/klog.h>
#include <sys/prctl.h>
#include <sys/swap.h>

/* linux/sched/types.h does not go together with the C library. */
struct sched_attr {
	uint32_t size, sched_policy;
	uint64_t sched_flags;
	int32_t sched_nice;
	uint32_t sched_priority;
	uint64_t sched_runtime, sched_deadline, sched_period;
	uint32_t sched_util_min, sched_util_max;
};

#define ioprio_get(...) syscall(SYS_ioprio_get, __VA_ARGS__)
#define ioprio_set(...) syscall(SYS_ioprio_set, __VA_ARGS__)
#define IOPRIO(class, data) ((class) << 13 | (data))

static int set_policy(int policy, int priority)
{
	struct sched_param param = { priority };

	return sched_setscheduler(0, policy, &param);
}

static void as_user(void)
{
	MUST(setresgid(1000, 1000, 1000));
	MUST(setresuid(1000, 1000, 1000));
}

SECTION("policies: what root may set, and what is then told")
{
	struct sched_param param;
	struct timespec interval;

	need_root();
	RET(sched_getscheduler(0));
	ERR(set_policy(SCHED_FIFO, 10));
	RET(sched_getscheduler(0));
	MUST(sched_getparam(0, &param));
	SHOW(param.sched_priority);
	ERR(sched_rr_get_interval(0, &interval));
	SHOW(interval.tv_nsec);
	ERR(set_policy(SCHED_RR | SCHED_RESET_ON_FORK, 99));
	HEX(sched_getscheduler(0));
	pid_t child = MUST(fork());
	if (child == 0) {
		HEX(sched_getscheduler(0));
		_exit(0);
	}
	STATUS(end_of(child));
	ERR(set_policy(SCHED_BATCH, 0));
	ERR(set_policy(SCHED_IDLE, 0));
	ERR(set_policy(SCHED_OTHER, 0));
	ERR(set_policy(SCHED_FIFO, 0));
	ERR(set_policy(SCHED_FIFO, 100));
	ERR(set_policy(SCHED_OTHER, 1));
	ERR(set_policy(4, 0));
	ERR(set_policy(-1, 0));
	ERR(sched_setscheduler(-1, SCHED_OTHER, &param));
	ERR(sched_setscheduler(0, SCHED_OTHER, NULL));
	ERR(sched_getscheduler(-1));
	ERR(sched_getparam(0, NULL));
	RET(sched_get_priority_max(SCHED_FIFO));
	RET(sched_get_priority_min(SCHED_RR));
	RET(sched_get_priority_max(SCHED_OTHER));
	ERR(sched_get_priority_max(77));
}

SECTION("policies: what a user may set")
{
	need_root();
	as_user();
	ERR(set_policy(SCHED_FIFO, 1));
	ERR(set_policy(SCHED_BATCH, 0));
	ERR(set_policy(SCHED_IDLE, 0));
	ERR(sched_setscheduler(1, SCHED_OTHER, &(struct sched_param){ 0 }));
}

SECTION("sched_setattr: sizes, flags, niceness")
{
	struct sched_attr attr = { .size = sizeof attr, .sched_policy = SCHED_OTHER, .sched_nice = 7 };
	struct { struct sched_attr attr; char more[16]; } big = { { 0 }, "" };

	need_root();
	ERR(syscall(SYS_sched_setattr, 0, &attr, 0));
	RET(getpriority(PRIO_PROCESS, 0));
	memset(&attr, 0, sizeof attr);
	ERR(syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0));
	SHOW(attr.size >= 48);
	SHOW(attr.sched_policy);
	SHOW(attr.sched_nice);
	ERR(syscall(SYS_sched_getattr, 0, &attr, 47, 0));
	ERR(syscall(SYS_sched_getattr, 0, &attr, 5000, 0));
	ERR(syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 1));
	ERR(syscall(SYS_sched_getattr, 0, NULL, sizeof attr, 0));
	attr = (struct sched_attr){ .size = 10, .sched_policy = SCHED_OTHER };
	ERR(syscall(SYS_sched_setattr, 0, &attr, 0));
	big.attr = (struct sched_attr){ .size = sizeof big, .sched_policy = SCHED_OTHER };
	ERR(syscall(SYS_sched_setattr, 0, &big, 0));
	big.more[3] = 1;
	ERR(syscall(SYS_sched_setattr, 0, &big, 0));
	attr = (struct sched_attr){ .size = sizeof attr, .sched_policy = SCHED_OTHER, .sched_flags = 1 << 20 };
	ERR(syscall(SYS_sched_setattr, 0, &attr, 0));
	attr = (struct sched_attr){ .size = sizeof attr, .sched_policy = SCHED_OTHER, .sched_nice = -5 };
	ERR(syscall(SYS_sched_setattr, 0, &attr, 0));
	RET(getpriority(PRIO_PROCESS, 0));
	as_user();
	attr.sched_nice = -6;
	ERR(syscall(SYS_sched_setattr, 0, &attr, 0));
	ERR(syscall(SYS_sched_setattr, 0, NULL, 0));
}

SECTION("nice: its range, who may lower it, what children have")
{
	need_root();
	RET(nice(5));
	RET(nice(100));
	RET(nice(-100));
	ERR(setpriority(PRIO_PROCESS, 0, 3));
	pid_t child = MUST(fork());
	if (child == 0) {
		RET(getpriority(PRIO_PROCESS, 0));
		as_user();
		ERR(setpriority(PRIO_PROCESS, 0, 2));
		ERR(setpriority(PRIO_PROCESS, 0, 4));
		ERR(setpriority(PRIO_PROCESS, 1, 10));
		ERR(setpriority(PRIO_USER, 1, 10));
		ERR(setpriority(7, 0, 10));
		ERR(getpriority(PRIO_PROCESS, 1 << 30));
		_exit(0);
	}
	STATUS(end_of(child));
	RET(getpriority(PRIO_PGRP, 0));
	ERR(setpriority(PRIO_PGRP, 0, 6));
	RET(getpriority(PRIO_PROCESS, 0));
}

SECTION("ioprio: classes and who may set them")
{
	need_root();
	RET(ioprio_get(1, 0));
	ERR(ioprio_set(1, 0, IOPRIO(2, 3)));
	RET(ioprio_get(1, 0));
	ERR(ioprio_set(1, 0, IOPRIO(1, 0)));
	RET(ioprio_get(1, 0));
	ERR(ioprio_set(1, 0, IOPRIO(2, 8)));
	ERR(ioprio_set(1, 0, IOPRIO(0, 3)));
	ERR(ioprio_set(1, 0, IOPRIO(4, 0)));
	ERR(ioprio_set(9, 0, IOPRIO(2, 0)));
	ERR(ioprio_get(9, 0));
	ERR(ioprio_get(1, 1 << 30));
	as_user();
	ERR(ioprio_set(1, 0, IOPRIO(1, 0)));
	ERR(ioprio_set(1, 0, IOPRIO(3, 0)));
	ERR(ioprio_set(1, 1, IOPRIO(2, 0)));
}

SECTION("affinity: masks")
{
	cpu_set_t all, one;
	int cpu = 0;

	long size = syscall(SYS_sched_getaffinity, 0, sizeof all, &all);
	SHOW(size > 0 && size % 8 == 0);
	ERR(syscall(SYS_sched_getaffinity, 0, 1, &all));
	ERR(syscall(SYS_sched_getaffinity, 0, 12, &all));
	ERR(syscall(SYS_sched_getaffinity, -1, sizeof all, &all));
	ERR(syscall(SYS_sched_getaffinity, 0, sizeof all, NULL));
	CPU_ZERO(&all);
	MUST(sched_getaffinity(0, sizeof all, &all));
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	ERR(sched_setaffinity(0, sizeof one, &one));
	CPU_SET(cpu, &one);
	ERR(sched_setaffinity(0, sizeof one, &one));
	MUST(sched_getaffinity(0, sizeof all, &all));
	SHOW(CPU_COUNT(&all));
	CPU_SET(1000, &one);
	ERR(sched_setaffinity(0, sizeof one, &one));
	CPU_ZERO(&one);
	CPU_SET(1000, &one);
	ERR(sched_setaffinity(0, sizeof one, &one));
	ERR(sched_setaffinity(0, sizeof one, NULL));
}

/* Where a call, the vDSO and /proc say that it runs: the same number, or -1. */
static int current_cpu(void)
{
	unsigned cpu = 0, node = 0;
	int shown = -1;

	MUST(syscall(SYS_getcpu, &cpu, &node, NULL));
	char *field = strrchr(read_file("/proc/self/stat"), ')') + 2;
	for (int i = 3; i < 39; i++)
		field = strchr(field, ' ') + 1;
	sscanf(field, "%d", &shown);
	return (int)cpu == sched_getcpu() && shown == (int)cpu ? (int)cpu : -1;
}

static void *run_there(void *argument)
{
	*(bool *)argument = current_cpu() == *((int *)argument + 1);
	return NULL;
}

SECTION("affinity: a thread runs where it may, and so do its children")
{
	cpu_set_t all, one;

	CPU_ZERO(&all);
	MUST(sched_getaffinity(0, sizeof all, &all));
	for (int round = 0; round < 2; round++) {
		bool right = true;

		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			if (!CPU_ISSET(cpu, &all))
				continue;
			int wanted[2] = { 0, cpu };
			pthread_t thread;

			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			MUST(sched_setaffinity(0, sizeof one, &one));
			right &= current_cpu() == cpu;
			pid_t child = MUST(fork());
			if (child == 0)
				_exit(current_cpu() == cpu ? 0 : 1);
			right &= end_of(child) == 0;
			pthread_create(&thread, NULL, run_there, wanted);
			pthread_join(thread, NULL);
			right &= *(bool *)wanted;
		}
		SHOW(right);
	}
}

SECTION("affinity: another process is moved while it computes, and keeps its CPU over an exec")
{
	cpu_set_t all, one;
	int last = 0, out[2];
	char text[64] = "";

	CPU_ZERO(&all);
	MUST(sched_getaffinity(0, sizeof all, &all));
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all))
			last = cpu;
	CPU_ZERO(&one);
	CPU_SET(last, &one);
	MUST(pipe(out));
	pid_t child = MUST(fork());
	if (child == 0) {
		while (sched_getaffinity(0, sizeof all, &all), CPU_COUNT(&all) > 1)
			;
		if (sched_getcpu() != last)
			_exit(1);
		MUST(dup2(out[1], 1));
		execlp("cut", "cut", "-d ", "-f39", "/proc/self/stat", NULL);
		_exit(2);
	}
	ERR(sched_setaffinity(child, sizeof one, &one));
	STATUS(end_of(child));
	MUST(read(out[0], text, sizeof text - 1));
	SHOW(atoi(text) == last);
}

static void use_first_cpu(void)
{
	cpu_set_t all, one;
	int cpu = 0;

	CPU_ZERO(&all);
	MUST(sched_getaffinity(0, sizeof all, &all));
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	MUST(sched_setaffinity(0, sizeof one, &one));
}

static sem_t nobody_posts;

static void *wait_for_ever(void *unused)
{
	(void)unused;
	sem_wait(&nobody_posts);
	return NULL;
}

/* A process that computes, with so many threads that wait besides. */
static pid_t competitor(int niceness, int waiting)
{
	int ready[2];
	char byte = 0;

	MUST(pipe(ready));
	pid_t pid = MUST(fork());
	if (pid == 0) {
		for (int i = 0; i < waiting; i++) {
			pthread_t thread;

			pthread_create(&thread, NULL, wait_for_ever, NULL);
		}
		MUST(write(ready[1], &byte, 1));
		MUST(setpriority(PRIO_PROCESS, 0, niceness));
		for (volatile long i = 0;; i++)
			;
	}
	MUST(read(ready[0], &byte, 1));
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static double cpu_seconds(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &used))
		return 0;
	return used.tv_sec + used.tv_nsec / 1e9;
}

SECTION("nice: who has a higher value gets less of a CPU, until it is taken back")
{
	need_root();
	use_first_cpu();
	pid_t usual = competitor(0, 0), lower = competitor(15, 0);
	while (cpu_seconds(usual) + cpu_seconds(lower) < 0.4)
		sleep_ms(20);
	SHOW(cpu_seconds(usual) > 3 * cpu_seconds(lower));
	MUST(setpriority(PRIO_PROCESS, lower, 0));
	MUST(setpriority(PRIO_PROCESS, usual, 15));
	double before = cpu_seconds(usual), other = cpu_seconds(lower);
	while (cpu_seconds(usual) + cpu_seconds(lower) < before + other + 0.4)
		sleep_ms(20);
	SHOW(cpu_seconds(lower) - other > 3 * (cpu_seconds(usual) - before));
	kill(usual, SIGKILL);
	kill(lower, SIGKILL);
	STATUS(end_of(usual));
	STATUS(end_of(lower));
}

SECTION("nice: threads that wait bring their process no more of a CPU")
{
	need_root();
	use_first_cpu();
	pid_t lower = competitor(15, 200), usual = competitor(0, 0);
	double before = cpu_seconds(lower);
	while (cpu_seconds(usual) + cpu_seconds(lower) < before + 0.5)
		sleep_ms(20);
	SHOW(cpu_seconds(usual) > 3 * (cpu_seconds(lower) - before));
	kill(usual, SIGKILL);
	kill(lower, SIGKILL);
	STATUS(end_of(usual));
	STATUS(end_of(lower));
}

SECTION("proc: stat and status tell of priorities")
{
	char *field, line[256];
	long values[2] = { 0, 0 };

	need_root();
	MUST(setpriority(PRIO_PROCESS, 0, 4));
	char *text = strdup(read_file("/proc/self/stat"));
	field = strrchr(text, ')') + 2;
	for (int i = 3; i < 18; i++)
		field = strchr(field, ' ') + 1;
	sscanf(field, "%ld %ld", &values[0], &values[1]);
	SHOW(values[0]);
	SHOW(values[1]);
	FILE *status = fopen("/proc/self/status", "re");
	while (fgets(line, sizeof line, status))
		if (!strncmp(line, "Cpus_allowed_list", 17))
			SHOW(strlen(line) > 19);
	fclose(status);
}

SECTION("syslog: who may, and with what")
{
	char text[16];

	need_root();
	ERR(klogctl(99, NULL, 0));
	ERR(klogctl(3, NULL, 10));
	ERR(klogctl(3, text, -1));
	RET(klogctl(3, text, 0));
	ERR(klogctl(8, NULL, 0));
	ERR(klogctl(8, NULL, 9));
	SHOW(klogctl(10, NULL, 0) > 0);
	as_user();
	ERR(klogctl(2, text, sizeof text));
	ERR(klogctl(5, NULL, 0));
}

SECTION("what is root's alone")
{
	struct timespec now = { 0, 0 };

	need_root();
	as_user();
	ERR(acct(NULL));
	ERR(swapon("/nothing", 0));
	ERR(swapoff("/nothing"));
	ERR(syscall(SYS_vhangup));
	ERR(sethostname("x", 1));
	ERR(syscall(SYS_setdomainname, "x", 1));
	ERR(clock_settime(CLOCK_REALTIME, &now));
	ERR(chroot("."));
	ERR(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x89abcdef, NULL));
	ERR(mlock((void *)0x10000, 4096) == 0 || errno == ENOMEM ? 0 : -1);
}
