/* prctl(2) and arch_prctl(2): every option with plain and with wrong arguments, and what some of them do. */
#define HAS_CHILD
#include "observe.h"
#include <linux/prctl.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
enum { REFUSE_EXEC_GAIN = 1, NO_INHERIT = 2 };

static int as_child(int argc, char **argv)
{
	(void)argc, (void)argv;
	RET(prctl(PR_GET_MDWE, 0, 0, 0, 0));
	RET(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	RET(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	return 0;
}

static void exec_child(void)
{
	execl("/proc/self/exe", "prctl", "@child", "asks", NULL);
	_exit(97);
}

/* What an option says to an argument: of its own process, which it may change. */
static void try(int option, const unsigned long arguments[4])
{
	int fds[2];
	long result[2] = { -1, 0 };

	MUST(pipe(fds));
	if (fork() == 0) {
		result[0] = syscall(SYS_prctl, option, arguments[0], arguments[1], arguments[2], arguments[3]);
		result[1] = errno;
		_exit(write(fds[1], result, sizeof(result)) < 0);
	}
	close(fds[1]);
	if (read(fds[0], result, sizeof(result)) == sizeof(result)) {
		say("%d (%ld %ld %ld %ld): ", option, arguments[0], arguments[1], arguments[2], arguments[3]);
		if (result[0] == -1)
			say("%s\n", error_name(result[1]));
		else
			say("%ld\n", result[0]);
	}
	close(fds[0]);
	wait(NULL);
}

static void sweep(int from, int to)
{
	static const unsigned long arguments[][4] = {
		{ 0, 0, 0, 0 }, { 1, 0, 0, 0 }, { 2, 0, 0, 0 }, { 3, 0, 0, 0 }, { 65, 0, 0, 0 }, { -1ul, 0, 0, 0 },
		{ 0, 1, 0, 0 }, { 1, 1, 0, 0 }, { 1, 2, 0, 0 }, { 1, 4, 0, 0 }, { 1, 0, 1, 0 }, { 0, 0, 0, 1 },
	};

	for (int option = from; option <= to; option++)
		for (unsigned i = 0; i < LENGTH(arguments); i++)
			try(option, arguments[i]);
}

/* What needs a right is tried without any, since tests have more or fewer of them. */
static void without_rights(void)
{
	MUST(setresgid(65534, 65534, 65534));
	MUST(setresuid(65534, 65534, 65534));
}

SECTION("options 1 to 12: parents, dumps, alignment, capabilities")
{
	without_rights();
	sweep(1, 12);
}

SECTION("options 13 to 25: timing, names, endianness, seccomp, bounds")
{
	without_rights();
	sweep(13, 21);
	sweep(23, 25);
}

SECTION("options 27 to 30 and 33 to 40: security bits, slack, failing memory, orphans, privileges")
{
	without_rights();
	sweep(27, 30);
	sweep(33, 40);
}

SECTION("options 43 to 51: what other machines have")
{
	without_rights();
	sweep(43, 51);
}

SECTION("options 54 to 64: pointers, tags, flushers, scheduling of cores")
{
	without_rights();
	sweep(54, 61);
	sweep(63, 64);
}

SECTION("options 69 to 76: vectors, shadow stacks")
{
	without_rights();
	sweep(69, 76);
}

SECTION("the address that is cleared at a thread's end may be any number")
{
	unsigned long set = 0;

	if (fork() == 0) {
		SHOW(syscall(SYS_set_tid_address, -3ul) == getpid());
		RET(prctl(PR_GET_TID_ADDRESS, &set));
		SHOW(set == -3ul);
		ERR(prctl(PR_GET_TID_ADDRESS, -3ul));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

SECTION("options that are none")
{
	sweep(90, 91);
	sweep(0x59616d60, 0x59616d60);
}

SECTION("how memory failures are told")
{
	RET(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	for (int when = 0; when < 4; when++) {
		RET(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, when, 0, 0));
		RET(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	}
	RET(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	if (fork() == 0)
		exec_child();
	wait(NULL);
	RET(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0));
	RET(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
}

SECTION("speculation that a process can not choose")
{
	for (int which = 0; which < 5; which++)
		ERR(prctl(PR_GET_SPECULATION_CTRL, which, 1, 0, 0));
	ERR(prctl(PR_SET_SPECULATION_CTRL, 0, PR_SPEC_ENABLE, 1, 0));
	ERR(prctl(PR_SET_SPECULATION_CTRL, 77, PR_SPEC_ENABLE, 0, 0));
	ERR(prctl(PR_GET_SPECULATION_CTRL, 77, 0, 0, 0));
}

SECTION("huge pages are forbidden, also to children and their programs")
{
	RET(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	RET(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	RET(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	if (fork() == 0)
		exec_child();
	wait(NULL);
	RET(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	RET(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	ERR(prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0));
	ERR(prctl(PR_SET_THP_DISABLE, 1, 0, 1, 0));
}

SECTION("what is written does not become code: PR_SET_MDWE")
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ERR(prctl(PR_SET_MDWE, NO_INHERIT, 0, 0, 0));
	ERR(prctl(PR_SET_MDWE, 4, 0, 0, 0));
	ERR(prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 1, 0, 0));
	ERR(prctl(PR_GET_MDWE, 1, 0, 0, 0));
	RET(prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0));
	RET(prctl(PR_GET_MDWE, 0, 0, 0, 0));
	ERR(prctl(PR_SET_MDWE, 0, 0, 0, 0));
	ERR(prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN | NO_INHERIT, 0, 0, 0));
	RET(prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0));
	ERR(mprotect(page, 4096, PROT_READ | PROT_EXEC));
	ERR(mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
	ERR(mprotect(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
	ERR(mprotect(code, 4096, PROT_READ | PROT_WRITE));
	ERR(mprotect(code, 4096, PROT_READ | PROT_EXEC));
	ERR(mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	ERR(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	if (fork() == 0)
		exec_child();
	wait(NULL);
}

SECTION("PR_SET_MDWE that is not inherited")
{
	RET(prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN | NO_INHERIT, 0, 0, 0));
	if (fork() == 0) {
		RET(prctl(PR_GET_MDWE, 0, 0, 0, 0));
		_exit(0);
	}
	wait(NULL);
	exec_child();
}

/* A field of /proc/self/stat, from 1 on. */
static unsigned long stat_field(int number)
{
	static char text[2048];
	int fd = MUST(open("/proc/self/stat", O_RDONLY));
	int length = MUST(read(fd, text, sizeof(text) - 1));

	close(fd);
	text[length] = 0;
	char *at = strrchr(text, ')') + 2;
	for (int i = 3; i < number; i++)
		at = strchr(at, ' ') + 1;
	return strtoul(at, NULL, 10);
}

static struct prctl_mm_map present_map(void)
{
	return (struct prctl_mm_map){
		.start_code = stat_field(26), .end_code = stat_field(27), .start_stack = stat_field(28),
		.start_data = stat_field(45), .end_data = stat_field(46), .start_brk = stat_field(47),
		.brk = (uintptr_t)sbrk(0), .arg_start = stat_field(48), .arg_end = stat_field(49),
		.env_start = stat_field(50), .env_end = stat_field(51), .exe_fd = -1,
	};
}

static int set_map(const struct prctl_mm_map *map)
{
	return prctl(PR_SET_MM, PR_SET_MM_MAP, map, sizeof(*map), 0);
}

SECTION("where the parts of memory are: PR_SET_MM")
{
	unsigned size = 0;
	struct prctl_mm_map map = present_map(), wrong;
	char title[] = "a\0new\0title", text[64];

	ERR(prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0));
	SHOW(size);
	ERR(prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, 8, 0, 0));
	ERR(prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map) - 1, 0));
	ERR(prctl(PR_SET_MM, PR_SET_MM_MAP, 8, sizeof(map), 0));
	ERR(prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 1));
	ERR(set_map(&map));
#define WRONG(field, value) (wrong = map, wrong.field = (value), set_map(&wrong))
	ERR(WRONG(start_code, map.end_code));
	ERR(WRONG(start_data, map.end_data + 1));
	ERR(WRONG(start_brk, map.brk + 1));
	ERR(WRONG(arg_start, map.arg_end + 1));
	ERR(WRONG(env_start, map.env_end + 1));
	ERR(WRONG(start_stack, 0));
	ERR(WRONG(start_stack, 1ul << 63));
	ERR(WRONG(auxv_size, 8));
	wrong = map;
	wrong.auxv = (void *)text;
	wrong.auxv_size = 4096;
	ERR(set_map(&wrong));
	wrong.auxv = (void *)8;
	wrong.auxv_size = 16;
	ERR(set_map(&wrong));
	map.arg_start = (uintptr_t)title;
	map.arg_end = map.arg_start + sizeof(title);
	ERR(set_map(&map));
	SHOW(stat_field(48) == map.arg_start);
	int fd = MUST(open("/proc/self/cmdline", O_RDONLY));
	SHOW(read(fd, text, sizeof(text)));
	SHOW(memcmp(text, title, sizeof(title)));
	/* The auxiliary vector, which ends by itself. */
	unsigned long vector[4] = { 6, 4096, 99, 1 }, seen[4] = { 0 };
	wrong = map;
	wrong.auxv = (void *)vector;
	wrong.auxv_size = sizeof(vector);
	ERR(set_map(&wrong));
	fd = MUST(open("/proc/self/auxv", O_RDONLY));
	SHOW(read(fd, seen, sizeof(seen)) == sizeof(seen) && memcmp(vector, seen, sizeof(seen)) == 0);
}

SECTION("a command line and an environment that reach as far as addresses do")
{
	struct prctl_mm_map map = present_map();
	char text[4];

	map.arg_start = map.env_start = (uintptr_t)text;
	map.arg_end = map.env_end = 1ul << 46;
	ERR(set_map(&map));
	RET(read(MUST(open("/proc/self/cmdline", O_RDONLY)), text, sizeof(text)));
	RET(read(MUST(open("/proc/self/environ", O_RDONLY)), text, sizeof(text)));
}

SECTION("PR_SET_MM without the right to")
{
	struct prctl_mm_map map = present_map();

	without_rights();
	for (int option = 1; option <= 13; option++)
		ERR(prctl(PR_SET_MM, option, map.arg_start, 0, 0));
	ERR(prctl(PR_SET_MM, PR_SET_MM_ARG_START, map.arg_start, 1, 0));
	ERR(prctl(PR_SET_MM, 77, 0, 0, 0));
	map.exe_fd = 0;
	ERR(set_map(&map));
	map.exe_fd = -1;
	ERR(set_map(&map));
}

SECTION("arch_prctl: addresses, and what was asked of processors")
{
	unsigned long word = 0;
	const int options[] = { 0x1021, 0x1022, 0x1024 };

	for (unsigned i = 0; i < LENGTH(options); i++) {
		word = 0;
		RET(syscall(SYS_arch_prctl, options[i], &word));
		/* The x87 and SSE state at least. */
		SHOW((word & 3) == 3);
		ERR(syscall(SYS_arch_prctl, options[i], 8));
	}
	ERR(syscall(SYS_arch_prctl, 0x1023, 2));
	ERR(syscall(SYS_arch_prctl, 0x1023, 200));
	ERR(syscall(SYS_arch_prctl, 0x1025, 2));
	RET(syscall(SYS_arch_prctl, 0x1011, 0));
	ERR(syscall(SYS_arch_prctl, 0x1002, 1ul << 47));
	ERR(syscall(SYS_arch_prctl, 0x1001, -1ul));
	ERR(syscall(SYS_arch_prctl, 0x1003, 8));
	ERR(syscall(SYS_arch_prctl, 0x1004, 8));
	ERR(syscall(SYS_arch_prctl, 0x5001, 1));
	ERR(syscall(SYS_arch_prctl, 0x6001, 0));
	ERR(syscall(SYS_arch_prctl, 0, 0));
}
