/* What calls on processes, signals, time, memory and System V objects answer to wrong arguments. */
#include "observe.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <utime.h>

#define BAD ((void *)8)
#define NO_PROCESS (1 << 22)

static void without_rights(void)
{
	MUST(setresgid(65534, 65534, 65534));
	MUST(setresuid(65534, 65534, 65534));
}

SECTION("results of small calls that can not be written")
{
	struct itimerval timer = { 0 };

	ERR(syscall(SYS_getresuid, BAD, BAD, BAD));
	ERR(syscall(SYS_getresgid, BAD, BAD, BAD));
	ERR(getgroups(-1, NULL));
	ERR(syscall(SYS_setgroups, 1 << 20, NULL));
	ERR(syscall(SYS_setgroups, 1, BAD));
	ERR(syscall(SYS_getrusage, RUSAGE_SELF, BAD));
	ERR(syscall(SYS_getrusage, 99, &timer));
	ERR(syscall(SYS_gettimeofday, BAD, NULL));
	ERR(syscall(SYS_settimeofday, BAD, NULL));
	ERR(syscall(SYS_times, BAD));
	ERR(syscall(SYS_uname, BAD));
	ERR(syscall(SYS_sysinfo, BAD));
	ERR(syscall(SYS_getcpu, BAD, NULL, NULL));
	ERR(syscall(SYS_getitimer, ITIMER_REAL, BAD));
	ERR(syscall(SYS_getitimer, 99, &timer));
	ERR(syscall(SYS_setitimer, 99, &timer, NULL));
	ERR(syscall(SYS_setitimer, ITIMER_REAL, BAD, NULL));
	timer.it_value.tv_usec = 2000000;
	ERR(syscall(SYS_setitimer, ITIMER_REAL, &timer, NULL));
	ERR(syscall(SYS_getrlimit, 99, &timer));
	ERR(syscall(SYS_getrlimit, RLIMIT_CORE, BAD));
	ERR(syscall(SYS_setrlimit, RLIMIT_CORE, &(struct rlimit){ 2, 1 }));
	ERR(syscall(SYS_prlimit64, NO_PROCESS, RLIMIT_CORE, NULL, NULL));
	ERR(syscall(SYS_sethostname, BAD, 1));
	ERR(syscall(SYS_sethostname, "x", -1));
	ERR(syscall(SYS_capget, BAD, NULL));
	ERR(syscall(SYS_capget, (int[2]){ 99, 0 }, BAD));
	ERR(syscall(SYS_capget, (int[2]){ 0x20080522, -1 }, &timer));
	ERR(syscall(SYS_capget, (int[2]){ 0x20080522, NO_PROCESS }, &timer));
	ERR(syscall(SYS_capset, (int[2]){ 0x20080522, 1 }, (int[6]){ 0 }));
	ERR(syscall(SYS_capset, BAD, NULL));
	ERR(syscall(SYS_personality, 0xffffffff));
}

SECTION("clocks and timers")
{
	struct timespec wrong = { 0, 2000000000 }, time = { 0, 1 };
	struct itimerspec setting = { .it_value = wrong };
	struct sigevent event = { .sigev_notify = 99 };
	int id = 0;

	ERR(syscall(SYS_clock_gettime, 99, &time));
	ERR(syscall(SYS_clock_gettime, CLOCK_REALTIME, BAD));
	ERR(syscall(SYS_clock_getres, 99, &time));
	ERR(syscall(SYS_clock_getres, CLOCK_REALTIME, BAD));
	ERR(syscall(SYS_clock_settime, CLOCK_MONOTONIC, &time));
	ERR(syscall(SYS_clock_settime, CLOCK_REALTIME, &wrong));
	ERR(syscall(SYS_clock_nanosleep, 99, 0, &time, NULL));
	ERR(syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &wrong, NULL));
	ERR(syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, BAD, NULL));
	ERR(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, &time, NULL));
	ERR(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &time, NULL));
	ERR(syscall(SYS_clock_nanosleep, CLOCK_REALTIME_ALARM, 0, &time, NULL));
	ERR(syscall(SYS_nanosleep, &wrong, NULL));
	ERR(syscall(SYS_nanosleep, BAD, NULL));
	ERR(syscall(SYS_timer_create, 99, NULL, &id));
	ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC_RAW, NULL, &id));
	ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
	ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, BAD, &id));
	ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, BAD));
	ERR(syscall(SYS_timer_delete, 99));
	ERR(syscall(SYS_timer_gettime, 99, &setting));
	ERR(syscall(SYS_timer_getoverrun, 99));
	ERR(syscall(SYS_timer_settime, 99, 0, &setting, NULL));
	MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id));
	ERR(syscall(SYS_timer_settime, id, 0, &setting, NULL));
	ERR(syscall(SYS_timer_settime, id, 0, BAD, NULL));
	ERR(syscall(SYS_timer_gettime, id, BAD));
	int fd = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
	ERR(timerfd_settime(fd, 0, &setting, NULL));
	ERR(timerfd_settime(fd, 0, BAD, NULL));
	ERR(timerfd_settime(fd, 99, &setting, NULL));
	ERR(timerfd_gettime(fd, BAD));
	without_rights();
	ERR(syscall(SYS_timer_create, CLOCK_BOOTTIME_ALARM, NULL, &id));
	ERR(timerfd_create(CLOCK_REALTIME_ALARM, 0));
	ERR(syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME_ALARM, 0, &time, NULL));
	ERR(syscall(SYS_clock_settime, CLOCK_REALTIME, &time));
	ERR(syscall(SYS_adjtimex, BAD));
}

SECTION("signals")
{
	siginfo_t info = { .si_code = SI_QUEUE };
	struct timespec wrong = { 0, 2000000000 };
	sigset_t set;
	stack_t stack = { .ss_sp = BAD, .ss_size = 100 };

	sigemptyset(&set);
	ERR(kill(NO_PROCESS, 0));
	ERR(kill(getpid(), 99));
	ERR(kill(-NO_PROCESS, SIGTERM));
	ERR(syscall(SYS_tkill, NO_PROCESS, 0));
	ERR(syscall(SYS_tkill, -1, 0));
	ERR(syscall(SYS_tgkill, getpid(), NO_PROCESS, 0));
	ERR(syscall(SYS_tgkill, 0, getpid(), 0));
	ERR(syscall(SYS_rt_sigqueueinfo, NO_PROCESS, SIGTERM, &info));
	ERR(syscall(SYS_rt_sigqueueinfo, getpid(), 99, &info));
	ERR(syscall(SYS_rt_sigqueueinfo, getpid(), SIGTERM, BAD));
	info.si_code = SI_USER;
	ERR(syscall(SYS_rt_sigqueueinfo, getppid(), 0, &info));
	ERR(syscall(SYS_rt_tgsigqueueinfo, -1, 1, 0, &info));
	ERR(syscall(SYS_rt_sigaction, SIGKILL, &(long[4]){ 0 }, NULL, 8));
	ERR(syscall(SYS_rt_sigaction, 99, NULL, NULL, 8));
	ERR(syscall(SYS_rt_sigaction, SIGTERM, NULL, NULL, 4));
	ERR(syscall(SYS_rt_sigaction, SIGTERM, BAD, NULL, 8));
	ERR(syscall(SYS_rt_sigprocmask, 99, &set, NULL, 8));
	ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 4));
	ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, BAD, NULL, 8));
	ERR(syscall(SYS_rt_sigpending, BAD, 8));
	ERR(syscall(SYS_rt_sigpending, &set, 16));
	ERR(syscall(SYS_rt_sigsuspend, BAD, 8));
	ERR(syscall(SYS_rt_sigsuspend, &set, 4));
	ERR(syscall(SYS_rt_sigtimedwait, &set, NULL, &wrong, 8));
	ERR(syscall(SYS_rt_sigtimedwait, BAD, NULL, NULL, 8));
	ERR(syscall(SYS_rt_sigtimedwait, &set, NULL, &(struct timespec){ 0, 0 }, 8));
	ERR(syscall(SYS_sigaltstack, &stack, NULL));
	ERR(syscall(SYS_sigaltstack, BAD, NULL));
	stack.ss_flags = 77;
	ERR(syscall(SYS_sigaltstack, &stack, NULL));
	MUST(setrlimit(RLIMIT_SIGPENDING, &(struct rlimit){ 0, 0 }));
	info.si_code = SI_QUEUE;
	sigaddset(&set, SIGRTMIN);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL));
	ERR(syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, &info));
	ERR(syscall(SYS_tkill, getpid(), SIGRTMIN));
	ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &(int){ 0 }));
	int child = fork(), id = getppid();
	if (child == 0) {
		pause();
		_exit(0);
	}
	without_rights();
	ERR(kill(id, 0));
	ERR(syscall(SYS_tkill, id, 0));
	ERR(syscall(SYS_rt_sigqueueinfo, id, SIGTERM, &info));
	ERR(syscall(SYS_pidfd_send_signal, syscall(SYS_pidfd_open, id, 0), 0, NULL, 0));
	ERR(syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, id, 0), 0, 0));
	kill(child, SIGKILL);
}

SECTION("groups and sessions")
{
	ERR(getpgid(NO_PROCESS));
	ERR(getsid(NO_PROCESS));
	ERR(setpgid(NO_PROCESS, 0));
	ERR(setpgid(-1, 0));
	ERR(setpgid(0, -1));
	ERR(setpgid(0, NO_PROCESS));
	ERR(setsid());
	ERR(setpgid(getppid(), 0));
	ERR(getpriority(99, 0));
	ERR(getpriority(PRIO_PROCESS, NO_PROCESS));
	ERR(setpriority(PRIO_USER, NO_PROCESS, 0));
	ERR(waitpid(-1, NULL, 0));
	ERR(waitpid(NO_PROCESS, NULL, 0));
	ERR(syscall(SYS_wait4, -1, NULL, 1 << 10, NULL));
	ERR(syscall(SYS_wait4, 1 << 31, NULL, 0, NULL));
	ERR(syscall(SYS_waitid, 99, 0, NULL, WEXITED, NULL));
	ERR(syscall(SYS_waitid, P_ALL, 0, NULL, 0, NULL));
	ERR(syscall(SYS_waitid, P_PIDFD, 99, NULL, WEXITED, NULL));
	without_rights();
	ERR(setuid(0));
	ERR(setgid(0));
	ERR(setreuid(0, 0));
	ERR(setregid(0, 0));
	ERR(setresuid(0, 0, 0));
	ERR(setresgid(0, 0, 0));
	ERR(syscall(SYS_setuid, -1));
	ERR(syscall(SYS_setgid, -1));
	ERR(syscall(SYS_setgroups, 0, NULL));
	ERR(setpriority(PRIO_PROCESS, 0, -5));
	ERR(setpriority(PRIO_PROCESS, getppid(), 5));
	ERR(chroot("/"));
	ERR(syscall(SYS_sethostname, "x", 1));
	ERR(syscall(SYS_prlimit64, getppid(), RLIMIT_CORE, NULL, (long[2]){ 0 }));
	ERR(unshare(CLONE_NEWNS));
	ERR(unshare(CLONE_NEWNET));
	ERR(unshare(1));
	ERR(syscall(SYS_setns, open("/proc/self/ns/net", O_RDONLY), 0));
	ERR(syscall(SYS_setns, open("/proc/self/ns/uts", O_RDONLY), CLONE_NEWNET));
	ERR(syscall(SYS_setns, open("/proc/self/ns/user", O_RDONLY), 0));
	ERR(syscall(SYS_setns, syscall(SYS_pidfd_open, getpid(), 0), 0));
	ERR(syscall(SYS_setns, syscall(SYS_pidfd_open, getpid(), 0), CLONE_NEWUTS));
}

SECTION("clone: flags that don't go together")
{
	ERR(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, NULL, NULL, NULL, NULL));
	ERR(syscall(SYS_clone, CLONE_THREAD | CLONE_VM, NULL, NULL, NULL, NULL));
	ERR(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS, NULL, NULL, NULL, NULL));
	ERR(syscall(SYS_clone, CLONE_NEWUSER | CLONE_FS, NULL, NULL, NULL, NULL));
	ERR(syscall(SYS_clone, CLONE_NEWIPC | CLONE_SYSVSEM, NULL, NULL, NULL, NULL));
	ERR(syscall(SYS_clone, CLONE_NEWPID | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, NULL, NULL, NULL, NULL));
	ERR(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID, NULL, &(int){ 0 }, NULL, NULL));
	ERR(syscall(SYS_clone, CLONE_PIDFD, NULL, BAD, NULL, NULL));
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
	} args = { 0 };
	ERR(syscall(SYS_clone3, &args, 8));
	ERR(syscall(SYS_clone3, BAD, sizeof(args)));
	ERR(syscall(SYS_clone3, &args, 1 << 20));
	args.exit_signal = 200;
	ERR(syscall(SYS_clone3, &args, sizeof(args)));
	args.exit_signal = 0;
	args.stack = 4096;
	ERR(syscall(SYS_clone3, &args, sizeof(args)));
	args.stack = 0;
	args.flags = 1ul << 60;
	ERR(syscall(SYS_clone3, &args, sizeof(args)));
	args.flags = 0;
	args.set_tid = (uintptr_t)&(int){ getpid() };
	args.set_tid_size = 1;
	ERR(syscall(SYS_clone3, &args, sizeof(args)));
	args.set_tid = (uintptr_t)&(int){ 0 };
	ERR(syscall(SYS_clone3, &args, sizeof(args)));
	args.set_tid_size = 100;
	ERR(syscall(SYS_clone3, &args, sizeof(args)));
	args.set_tid_size = 0;
	args.set_tid = 0;
	args.flags = 1ul << 33; /* CLONE_INTO_CGROUP */
	args.cgroup = 99;
	ERR(syscall(SYS_clone3, &args, sizeof(args)));
	args.cgroup = MUST(open(".", O_RDONLY));
	ERR(syscall(SYS_clone3, &args, sizeof(args)));
	without_rights();
	MUST(setrlimit(RLIMIT_NPROC, &(struct rlimit){ 0, 0 }));
	ERR(fork());
	ERR(syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, NULL, NULL, NULL, NULL));
}

SECTION("scheduling")
{
	struct sched_param param = { 0 };
	struct timespec interval;
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
		uint32_t util_min, util_max;
	} attributes = { .size = sizeof(attributes) };
	unsigned long mask = 0;

	ERR(syscall(SYS_sched_setscheduler, NO_PROCESS, SCHED_OTHER, &param));
	ERR(syscall(SYS_sched_setscheduler, -1, SCHED_OTHER, &param));
	ERR(syscall(SYS_sched_setscheduler, 0, 99, &param));
	ERR(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, NULL));
	ERR(syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &param));
	ERR(syscall(SYS_sched_getscheduler, NO_PROCESS));
	ERR(syscall(SYS_sched_getscheduler, -1));
	ERR(syscall(SYS_sched_setparam, NO_PROCESS, &param));
	ERR(syscall(SYS_sched_setparam, 0, NULL));
	ERR(syscall(SYS_sched_getparam, NO_PROCESS, &param));
	ERR(syscall(SYS_sched_getparam, 0, NULL));
	ERR(syscall(SYS_sched_get_priority_max, 99));
	ERR(syscall(SYS_sched_rr_get_interval, NO_PROCESS, &interval));
	ERR(syscall(SYS_sched_rr_get_interval, -1, &interval));
	ERR(syscall(SYS_sched_rr_get_interval, 0, BAD));
	ERR(syscall(SYS_sched_setaffinity, 0, 8, &mask));
	ERR(syscall(SYS_sched_setaffinity, 0, 8, BAD));
	ERR(syscall(SYS_sched_setaffinity, NO_PROCESS, 8, &mask));
	ERR(syscall(SYS_sched_getaffinity, 0, 1, &mask));
	ERR(syscall(SYS_sched_getaffinity, 0, 8192, BAD));
	ERR(syscall(SYS_sched_getaffinity, NO_PROCESS, 8192, &mask));
	ERR(syscall(SYS_sched_setattr, NO_PROCESS, &attributes, 0));
	ERR(syscall(SYS_sched_setattr, 0, NULL, 0));
	ERR(syscall(SYS_sched_setattr, 0, &attributes, 1));
	attributes.flags = 1 << 20;
	ERR(syscall(SYS_sched_setattr, 0, &attributes, 0));
	attributes.flags = 0;
	attributes.size = 4;
	ERR(syscall(SYS_sched_setattr, 0, &attributes, 0));
	SHOW(attributes.size);
	attributes.size = 1 << 20;
	ERR(syscall(SYS_sched_setattr, 0, &attributes, 0));
	attributes.size = sizeof(attributes);
	attributes.policy = 6;
	ERR(syscall(SYS_sched_setattr, 0, &attributes, 0));
	attributes.runtime = 10;
	attributes.deadline = 5;
	ERR(syscall(SYS_sched_setattr, 0, &attributes, 0));
	attributes.policy = 0;
	attributes.flags = 8 | 16; /* KEEP_POLICY, KEEP_PARAMS */
	ERR(syscall(SYS_sched_setattr, 0, &attributes, 0));
	attributes.flags = 1; /* RESET_ON_FORK */
	ERR(syscall(SYS_sched_setattr, 0, &attributes, 0));
	ERR(syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0));
	HEX(attributes.flags);
	ERR(syscall(SYS_sched_getattr, 0, &attributes, 4, 0));
	ERR(syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 1));
	ERR(syscall(SYS_sched_getattr, NO_PROCESS, &attributes, sizeof(attributes), 0));
	ERR(syscall(SYS_ioprio_set, 99, 0, 0));
	ERR(syscall(SYS_ioprio_set, 1, NO_PROCESS, 0));
	ERR(syscall(SYS_ioprio_get, 99, 0));
	MUST(setrlimit(RLIMIT_RTPRIO, &(struct rlimit){ 0, 0 }));
	without_rights();
	param.sched_priority = 1;
	ERR(syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &param));
	param.sched_priority = 0;
	ERR(syscall(SYS_sched_setscheduler, getppid(), SCHED_BATCH, &param));
	ERR(syscall(SYS_sched_setparam, getppid(), &param));
	mask = 1;
	ERR(syscall(SYS_sched_setaffinity, getppid(), 8, &mask));
	attributes.flags = 0;
	attributes.nice = -5;
	attributes.runtime = attributes.deadline = 0;
	ERR(syscall(SYS_sched_setattr, 0, &attributes, 0));
}

SECTION("memory")
{
	int fd = MUST(open("file", O_RDWR | O_CREAT, 0600)), read_only = MUST(open("file", O_RDONLY));
	int write_only = MUST(open("file", O_WRONLY));
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *gone = page + 4096;
	struct iovec one = { page, 8 }, bad = { (void *)8, 8 };

	MUST(munmap(gone, 4096));
	ERR(syscall(SYS_mmap, NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ERR(syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0));
	ERR(syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, 99, 0));
	ERR(syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 1));
	ERR(syscall(SYS_mmap, NULL, 4096, PROT_WRITE, MAP_SHARED, read_only, 0));
	ERR(syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, write_only, 0));
	ERR(syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0));
	ERR(syscall(SYS_mmap, NULL, 1ul << 50, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ERR(syscall(SYS_mmap, page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	ERR(syscall(SYS_mmap, NULL, 8192, PROT_READ, MAP_PRIVATE, fd, INT64_MAX - 4095));
	ERR(munmap(page + 1, 4096));
	ERR(munmap(page, 0));
	ERR(mprotect(page + 1, 4096, PROT_READ));
	ERR(mprotect(gone, 4096, PROT_READ));
	ERR(mprotect(page, 4096, 1 << 10));
	char *shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED, read_only, 0);
	ERR(mprotect(shared, 4096, PROT_READ | PROT_WRITE));
	ERR(syscall(SYS_mremap, page + 1, 4096, 8192, MREMAP_MAYMOVE));
	ERR(syscall(SYS_mremap, page, 4096, 0, MREMAP_MAYMOVE));
	ERR(syscall(SYS_mremap, page, 4096, 8192, 1 << 10));
	ERR(syscall(SYS_mremap, page, 4096, 8192, MREMAP_FIXED, gone));
	ERR(syscall(SYS_mremap, gone, 4096, 8192, MREMAP_MAYMOVE));
	ERR(syscall(SYS_mremap, page, 4096, 1ul << 50, MREMAP_MAYMOVE));
	ERR(syscall(SYS_mremap, page, 0, 4096, MREMAP_MAYMOVE));
	ERR(syscall(SYS_mremap, page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, page));
	ERR(msync(page + 1, 4096, MS_SYNC));
	ERR(msync(page, 4096, MS_SYNC | MS_ASYNC));
	ERR(msync(page, 4096, 1 << 10));
	ERR(msync(gone, 4096, MS_SYNC));
	MUST(mlock(page, 4096));
	ERR(msync(page, 4096, MS_INVALIDATE));
	ERR(madvise(page, 4096, MADV_DONTNEED));
	ERR(madvise(page + 1, 4096, MADV_NORMAL));
	ERR(madvise(page, 4096, 9999));
	ERR(madvise(gone, 4096, MADV_NORMAL));
	ERR(madvise(page, -4096ul, MADV_NORMAL));
	ERR(madvise(page, 4096, MADV_REMOVE));
	ERR(madvise(shared, 4096, MADV_REMOVE));
	ERR(madvise(shared, 4096, MADV_FREE));
	ERR(madvise(gone, 4096, 22 /* MADV_POPULATE_READ */));
	ERR(madvise(shared, 4096, 23 /* MADV_POPULATE_WRITE */));
	ERR(mincore(page + 1, 4096, (void *)page));
	ERR(mincore(gone, 4096, (void *)page));
	ERR(mincore(page, 4096, BAD));
	ERR(mincore(page, -4096ul, (void *)page));
	ERR(mlock(gone, 4096));
	ERR(mlock2(page, 4096, 99));
	ERR(munlock(gone, 4096));
	ERR(mlockall(0));
	ERR(mlockall(MCL_ONFAULT));
	ERR(syscall(SYS_process_vm_readv, NO_PROCESS, &one, 1, &one, 1, 0));
	ERR(syscall(SYS_process_vm_readv, getpid(), &one, 1, &one, 1, 1));
	ERR(syscall(SYS_process_vm_readv, getpid(), &one, 1, &bad, 1, 0));
	ERR(syscall(SYS_process_vm_readv, getpid(), &one, 5000, &one, 1, 0));
	ERR(syscall(SYS_process_vm_writev, getpid(), &bad, 1, &one, 1, 0));
	ERR(syscall(SYS_process_madvise, 99, &one, 1, 0, 0));
	ERR(syscall(SYS_futex, page + 1, 0, 0, NULL));
	ERR(syscall(SYS_futex, gone, 0, 0, NULL));
	ERR(syscall(SYS_futex, page, 99, 0, NULL));
	ERR(syscall(SYS_futex, page, 0, 5, NULL));
	ERR(syscall(SYS_futex, page, 0, 0, &(struct timespec){ 0, 1 }));
	ERR(syscall(SYS_futex, page, 0, 0, &(struct timespec){ 0, -1 }));
	ERR(syscall(SYS_futex, page, 7, 0, NULL));
	ERR(syscall(SYS_get_robust_list, NO_PROCESS, &one, &one));
	ERR(syscall(SYS_set_robust_list, page, 1));
	MUST(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 4096, 4096 }));
	without_rights();
	ERR(mlock(page, 4096));
	page = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ERR(mlock(page, 16384));
	ERR(syscall(SYS_mmap, NULL, 16384, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
	MUST(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 0, 0 }));
	ERR(mlock(page, 4096));
	ERR(mlockall(MCL_CURRENT));
	ERR(syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
}

SECTION("System V: objects that are gone, there, another's, too large")
{
	MUST(unshare(CLONE_NEWIPC));
	int queue = MUST(msgget(77, IPC_CREAT | 0600)), set = MUST(semget(77, 2, IPC_CREAT | 0600));
	int segment = MUST(shmget(77, 4096, IPC_CREAT | 0600)), gone_queue, gone_set, gone_segment;
	struct {
		long type;
		char text[16];
	} message = { 1, "text" };
	struct sembuf operation = { 0, -1, IPC_NOWAIT }, many[2] = { { 9, 1, 0 }, { 0, 1, 0 } };
	struct msqid_ds status;
	struct shmid_ds segment_status;

	MUST(msgctl(gone_queue = MUST(msgget(IPC_PRIVATE, 0600)), IPC_RMID, NULL));
	MUST(semctl(gone_set = MUST(semget(IPC_PRIVATE, 1, 0600)), 0, IPC_RMID));
	MUST(shmctl(gone_segment = MUST(shmget(IPC_PRIVATE, 4096, 0600)), IPC_RMID, NULL));
	ERR(msgget(77, IPC_CREAT | IPC_EXCL | 0600));
	ERR(msgget(78, 0600));
	ERR(semget(77, 1, IPC_CREAT | IPC_EXCL | 0600));
	ERR(semget(78, 1, 0600));
	ERR(semget(77, 3, 0600));
	ERR(semget(79, 0, IPC_CREAT | 0600));
	ERR(semget(79, -1, IPC_CREAT | 0600));
	ERR(shmget(77, 4096, IPC_CREAT | IPC_EXCL | 0600));
	ERR(shmget(78, 4096, 0600));
	ERR(shmget(77, 8192, 0600));
	ERR(shmget(79, 0, IPC_CREAT | 0600));
	ERR(msgsnd(queue, &message, -1, 0));
	ERR(msgsnd(queue, &message, 1 << 20, 0));
	ERR(msgsnd(queue, BAD, 1, 0));
	message.type = 0;
	ERR(msgsnd(queue, &message, 1, 0));
	ERR(msgsnd(gone_queue, &message, 1, 0));
	ERR(msgrcv(queue, &message, 1, 0, IPC_NOWAIT));
	ERR(msgrcv(queue, &message, -1, 0, IPC_NOWAIT));
	ERR(msgrcv(gone_queue, &message, 1, 0, IPC_NOWAIT));
	message.type = 1;
	MUST(msgsnd(queue, &message, 16, 0));
	ERR(msgrcv(queue, &message, 1, 0, 0));
	ERR(msgrcv(queue, BAD, 16, 0, 0));
	ERR(msgctl(queue, IPC_STAT, BAD));
	ERR(msgctl(queue, IPC_SET, BAD));
	ERR(msgctl(queue, 99, &status));
	ERR(msgctl(gone_queue, IPC_STAT, &status));
	ERR(msgctl(-1, IPC_STAT, &status));
	while (msgsnd(queue, &message, 16, IPC_NOWAIT) == 0)
		;
	ERR(msgsnd(queue, &message, 16, IPC_NOWAIT));
	ERR(semop(set, &operation, 1));
	ERR(semop(set, many, 1));
	ERR(semop(set, &operation, 0));
	ERR(semop(set, &operation, 5000));
	ERR(semop(set, BAD, 1));
	ERR(semop(gone_set, &operation, 1));
	ERR(semop(-1, &operation, 1));
	operation.sem_op = 32767;
	MUST(semop(set, &operation, 1));
	ERR(semop(set, &operation, 1));
	ERR(semtimedop(set, &operation, 1, &(struct timespec){ -1, 0 }));
	ERR(semctl(set, 9, GETVAL));
	ERR(semctl(set, 0, SETVAL, 40000));
	ERR(semctl(set, 0, SETVAL, -1));
	ERR(semctl(set, 0, GETALL, BAD));
	ERR(semctl(set, 0, SETALL, BAD));
	ERR(semctl(set, 0, IPC_STAT, BAD));
	ERR(semctl(set, 0, 99));
	ERR(semctl(gone_set, 0, GETVAL));
	ERR(semctl(-1, 0, GETVAL));
	ERR(syscall(SYS_shmat, segment, (void *)1, 0));
	ERR(syscall(SYS_shmat, segment, NULL, SHM_REMAP));
	ERR(syscall(SYS_shmat, gone_segment, NULL, 0));
	ERR(syscall(SYS_shmat, -1, NULL, 0));
	ERR(shmdt((void *)4096));
	ERR(shmdt((void *)1));
	ERR(shmctl(segment, IPC_STAT, BAD));
	ERR(shmctl(segment, IPC_SET, BAD));
	ERR(shmctl(segment, 99, NULL));
	ERR(shmctl(gone_segment, IPC_STAT, &segment_status));
	without_rights();
	ERR(msgget(77, 0600));
	ERR(semget(77, 1, 0600));
	ERR(shmget(77, 4096, 0600));
	ERR(msgctl(queue, IPC_STAT, &status));
	ERR(msgctl(queue, IPC_RMID, NULL));
	ERR(msgsnd(queue, &message, 1, IPC_NOWAIT));
	ERR(msgrcv(queue, &message, 1, 0, IPC_NOWAIT));
	ERR(semctl(set, 0, GETVAL));
	ERR(semctl(set, 0, SETVAL, 1));
	ERR(semctl(set, 0, IPC_RMID));
	ERR(semop(set, &operation, 1));
	ERR(shmctl(segment, IPC_STAT, &segment_status));
	ERR(shmctl(segment, IPC_RMID, NULL));
	ERR(shmctl(segment, SHM_LOCK, NULL));
	ERR(syscall(SYS_shmat, segment, NULL, 0));
}

/* Until the process sleeps in a call. */
static void await_sleep(pid_t pid)
{
	char name[64], text[512];

	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	for (;;) {
		int fd = MUST(open(name, O_RDONLY)), length = MUST(read(fd, text, sizeof(text) - 1));

		close(fd);
		text[length] = 0;
		if (strrchr(text, ')')[2] == 'S')
			return;
		sched_yield();
	}
}

SECTION("System V: what is removed while somebody waits")
{
	MUST(unshare(CLONE_NEWIPC));
	int queue = MUST(msgget(IPC_PRIVATE, 0600)), set = MUST(semget(IPC_PRIVATE, 1, 0600));
	long message[2] = { 1, 0 };
	struct sembuf take = { 0, -1, 0 };

	for (int i = 0; i < 2; i++) {
		pid_t child = fork();

		if (child == 0) {
			if (i == 0)
				ERR(msgrcv(queue, message, 8, 0, 0));
			else
				ERR(semop(set, &take, 1));
			_exit(0);
		}
		await_sleep(child);
		MUST(i == 0 ? msgctl(queue, IPC_RMID, NULL) : semctl(set, 0, IPC_RMID));
		wait(NULL);
	}
}

SECTION("POSIX message queues: names, sizes, rights")
{
	struct mq_attr attributes = { .mq_maxmsg = 0 };
	MUST(unshare(CLONE_NEWIPC));
	mqd_t queue = MUST(mq_open("/errno-queue", O_CREAT | O_RDWR | O_NONBLOCK, 0600, NULL));
	static char name[300] = "/", text[10000];

	memset(name + 1, 'q', sizeof(name) - 2);
	ERR(mq_open("/none", O_RDONLY));
	ERR(mq_open("/errno-queue", O_CREAT | O_EXCL | O_RDWR, 0600, NULL));
	ERR(mq_open("/errno-new", O_CREAT | O_RDWR, 0600, &attributes));
	ERR(mq_open(name, O_CREAT | O_RDWR, 0600, NULL));
	ERR(mq_open("/", O_RDONLY));
	ERR(mq_open("/a/b", O_CREAT | O_RDWR, 0600, NULL));
	ERR(syscall(SYS_mq_open, "", O_RDONLY));
	ERR(syscall(SYS_mq_open, 8, O_RDONLY));
	ERR(mq_unlink("/none"));
	ERR(mq_unlink(name));
	ERR(mq_receive(queue, text, sizeof(text), NULL));
	ERR(mq_receive(queue, text, 1, NULL));
	ERR(mq_send(queue, text, sizeof(text), 0));
	ERR(mq_send(queue, text, 1, 1 << 30));
	ERR(mq_send(99, text, 1, 0));
	ERR(mq_timedsend(queue, text, 1, 0, &(struct timespec){ 0, -1 }));
	ERR(mq_getattr(99, &attributes));
	ERR(syscall(SYS_mq_getsetattr, queue, 8, NULL));
	while (mq_send(queue, text, 1, 0) == 0)
		;
	ERR(mq_send(queue, text, 1, 0));
	ERR(mq_notify(queue, &(struct sigevent){ .sigev_notify = 99 }));
	ERR(mq_notify(99, NULL));
	without_rights();
	ERR(mq_open("/errno-queue", O_RDWR));
	ERR(mq_unlink("/errno-queue"));
	MUST(setresuid(-1, -1, -1));
	mq_close(queue);
}

static void nothing(int signo)
{
	(void)signo;
}

/* Calls that wait, which a signal ends. */
SECTION("a signal ends what waits: EINTR")
{
	struct sigaction action = { .sa_handler = nothing };
	struct timespec long_time = { 100, 0 };
	struct itimerval often = { { 0, 20000 }, { 0, 20000 } };
	struct sembuf take = { 0, -1, 0 };
	struct pollfd polled = { .fd = -1 };
	int fds[2], set = MUST(semget(IPC_PRIVATE, 1, 0600)), queue = MUST(msgget(IPC_PRIVATE, 0600)), status;
	long message[2];
	char byte;

	MUST(pipe(fds));
	MUST(sigaction(SIGALRM, &action, NULL));
	MUST(setitimer(ITIMER_REAL, &often, NULL));
	ERR(read(fds[0], &byte, 1));
	ERR(syscall(SYS_nanosleep, &long_time, NULL));
	ERR(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &long_time, NULL));
	ERR(pause());
	ERR(poll(&polled, 1, -1));
	ERR(select(0, NULL, NULL, NULL, NULL));
	ERR(semop(set, &take, 1));
	ERR(msgrcv(queue, message, 8, 0, 0));
	ERR(syscall(SYS_futex, &status, 0, status, NULL));
	int child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	ERR(waitpid(child, &status, 0));
	ERR(syscall(SYS_waitid, P_PID, child, NULL, WEXITED, NULL));
	kill(child, SIGKILL);
	semctl(set, 0, IPC_RMID);
	msgctl(queue, IPC_RMID, NULL);
}
