/*
 * System calls of all numbers with random and with interesting arguments, from two threads of each process. It removes files
 * and kills what it can.
 *
 * What it leaves out would end or blind the run itself: signals to the first process or to all, memory and file
 * sizes without bounds.
 */
#include "fuzz.h"
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define LAST_CALL 470

static const char *const paths[] = {
	"", ".", "..", "/", "/tmp", "/tmp/fuzz/a", "/tmp/fuzz/b", "/tmp/fuzz/d", "/tmp/fuzz/d/e", "/proc/self/status", "/proc/self/maps",
	"/proc/self/fd/3", "/proc/self/mem", "/proc/self/exe", "/proc/1/stat", "/dev/null", "/dev/zero", "/dev/full", "/dev/ptmx",
	"/etc/passwd", "/bin/true", "/no/such/file", "/tmp/fuzz/link", "//tmp//fuzz/../fuzz/a/", "/sys/kernel", "/dev/pts", "user.name",
};

static unsigned char *pool;

/* An address: in the pool, at its very end, unmapped, of the kernel, a path. */
static uint64_t address(uint64_t *state)
{
	switch (next(state) % 8) {
	case 0:
		return (uintptr_t)paths[next(state) % LENGTH(paths)];
	case 1:
		return (uintptr_t)pool + 15 * PAGE + PAGE - next(state) % 64;
	case 2:
		return next(state) % 2 ? 0 : 8;
	case 3:
		return next(state) % 4 ? (uintptr_t)pool + 20 * PAGE : 0xffffffff80000000;
	default:
		return (uintptr_t)pool + next(state) % (14 * PAGE);
	}
}

static uint64_t argument(uint64_t *state)
{
	static const uint64_t interesting[] = {
		0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 64, 255, 256, 1024, 4095, 4096, 4097, 65535, 65536, 1 << 20, INT32_MAX, UINT32_MAX, 1ull << 31,
		1ull << 32, 1ull << 40, 1ull << 47, INT64_MAX, 1ull << 63, -1ull, -2ull, -100ull, -4096ull, 0x541b, 0x5401, 0x5413,
	};

	switch (next(state) % 8) {
	case 0:
		return interesting[next(state) % LENGTH(interesting)];
	case 1:
		return next(state) % 40;
	case 2:
		return 1ull << next(state) % 64;
	case 3:
		return next(state) & next(state) & 0xffffffff;
	case 4:
		return next(state) % 16 == 0 ? next(state) : next(state) % 32;
	default:
		return address(state);
	}
}

/* Whether the call with these arguments would be the run's end. */
static int forbidden(long number, uint64_t *args)
{
	int target = (int)args[0];

	switch (number) {
	case SYS_kill:
	case SYS_tkill:
	case SYS_tgkill:
	case SYS_rt_sigqueueinfo:
	case SYS_rt_tgsigqueueinfo:
	case SYS_pidfd_send_signal:
	case SYS_ptrace:
		return target <= 1 || number == SYS_pidfd_send_signal;
	case SYS_prlimit64:
	case SYS_setrlimit:
	case SYS_reboot:
	case SYS_kexec_load:
		return 1;
	case SYS_mmap:
		args[1] &= 0xffffff;
		args[3] &= ~(uint64_t)(MAP_POPULATE | MAP_LOCKED | MAP_HUGETLB);
		return 0;
	case SYS_mremap:
		args[2] &= 0xffffff;
		return 0;
	case SYS_munmap:
	case SYS_mprotect:
	case SYS_madvise:
		args[1] &= 0xfffff;
		return 0;
	case SYS_brk:
	case SYS_mlockall:
		return 1;
	case SYS_fallocate:
	case SYS_ftruncate:
	case SYS_truncate:
		args[1] &= 0xfffff;
		args[2] &= 0xfffff;
		args[3] &= 0xfffff;
		return 0;
	default:
		return 0;
	}
}

static void step(uint64_t *state)
{
	uint64_t args[6];
	long number = next(state) % (LAST_CALL + 1);

	for (size_t i = 0; i < LENGTH(args); i++)
		args[i] = argument(state);
	/* A child on a stack of ours would run what lies there; a crash more or less says nothing. */
	if (number == SYS_clone && next(state) % 4)
		args[0] = SIGCHLD, args[1] = 0;
	if (forbidden(number, args))
		return;
	syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
	if (next(state) % 16 == 0)
		pool[next(state) % (14 * PAGE)] = next(state);
}

static void beside(uint64_t *state)
{
	pid_t self = syscall(SYS_getpid);

	while (syscall(SYS_getpid) == self)
		step(state);
	syscall(SYS_exit_group, 0);
}

static void begin(uint64_t *state)
{
	int pair[2];
	sigset_t set;

	pool = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < 14 * PAGE; i++)
		pool[i] = one_in(state, 4) ? next(state) : below(state, 32);
	mkdir("/tmp/fuzz", 0777);
	mkdir("/tmp/fuzz/d", 0777);
	symlink("a", "/tmp/fuzz/link");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	open("/tmp/fuzz/a", O_RDWR | O_CREAT, 0644);
	open("/tmp/fuzz", O_RDONLY);
	pipe2(pair, O_NONBLOCK);
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair);
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair);
	socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	epoll_create1(0);
	eventfd(0, EFD_NONBLOCK);
	timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	signalfd(-1, &set, SFD_NONBLOCK);
	inotify_init1(IN_NONBLOCK);
	memfd_create("fuzz", MFD_ALLOW_SEALING);
	posix_openpt(O_RDWR | O_NOCTTY);
	open("/proc/self/status", O_RDONLY);
	open("/dev/zero", O_RDWR);
}

int main(int argc, char **argv)
{
	static const struct fuzzer fuzzer = { begin, step, beside };

	return run_fuzzer(argc, argv, &fuzzer);
}
