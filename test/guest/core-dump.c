/* Core dumps: core(5): when there is one, and what is in it. */
#include "observe.h"
#include <elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/procfs.h>

/* The machine's core_pattern is everybody's: the sections are about the plain one. */
static void need_plain_pattern(void)
{
	if (strcmp(read_file("/proc/sys/kernel/core_pattern"), "core\n") != 0 ||
	    strcmp(read_file("/proc/sys/kernel/core_uses_pid"), "0\n") != 0) {
		say("needs another core_pattern\n");
		_exit(0);
	}
}

static void allow_cores(rlim_t size)
{
	struct rlimit limit = { size, RLIM_INFINITY };

	MUST(setrlimit(RLIMIT_CORE, &limit));
}

static void say_end(const char *name, int status)
{
	say("%s: %s core %d file %d\n", name,
	    WIFSIGNALED(status) ? signal_name(WTERMSIG(status)) : "no signal", WCOREDUMP(status) != 0,
	    access("core", F_OK) == 0);
}

static int crash(void (*body)(void))
{
	pid_t pid = MUST(fork());

	if (pid == 0) {
		body();
		_exit(0);
	}
	return end_of(pid);
}

static void __attribute__((noinline)) segv(void)
{
	__asm__ volatile("movl $1, 16");
}

static void aborts(void)
{
	abort();
}

static char *core;
static size_t core_size;

static const Elf64_Ehdr *load_core(void)
{
	struct stat st;
	int fd = MUST(open("core", O_RDONLY | O_CLOEXEC));

	MUST(fstat(fd, &st));
	core_size = st.st_size;
	core = mmap(NULL, core_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	return (const Elf64_Ehdr *)core;
}

static const Elf64_Phdr *segments(void)
{
	return (const Elf64_Phdr *)(core + ((const Elf64_Ehdr *)core)->e_phoff);
}

/* The segment that holds an address. */
static const Elf64_Phdr *segment_of(const void *address)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)core;
	unsigned long at = (unsigned long)address;

	for (int i = 0; i < header->e_phnum; i++) {
		const Elf64_Phdr *segment = &segments()[i];
		if (segment->p_type == PT_LOAD && at >= segment->p_vaddr && at < segment->p_vaddr + segment->p_memsz)
			return segment;
	}
	return NULL;
}

/* What the dump has at an address; NULL if it has nothing. */
static const char *dumped(const void *address)
{
	const Elf64_Phdr *segment = segment_of(address);

	if (!segment)
		return NULL;
	unsigned long offset = (unsigned long)address - segment->p_vaddr;
	return offset < segment->p_filesz ? core + segment->p_offset + offset : NULL;
}

/* The nth note of a type. */
static const char *note_of(unsigned type, int n)
{
	const Elf64_Phdr *notes = segments();
	const char *at = core + notes->p_offset, *end = at + notes->p_filesz;

	while (at < end) {
		const Elf64_Nhdr *note = (const Elf64_Nhdr *)at;
		const char *contents = at + sizeof *note + ((note->n_namesz + 3) & ~3);
		if (note->n_type == type && n-- == 0)
			return contents;
		at = contents + ((note->n_descsz + 3) & ~3);
	}
	return NULL;
}

SECTION("the limit decides; a page is the least")
{
	need_plain_pattern();
	rlim_t limits[] = { 0, 4095, RLIM_INFINITY };

	for (size_t i = 0; i < LENGTH(limits); i++) {
		allow_cores(limits[i]);
		say_end("segv", crash(segv));
	}
}

static int signal_to_raise;

static void raises(void)
{
	raise(signal_to_raise);
}

SECTION("which signals dump")
{
	int signals[] = { SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGXCPU, SIGXFSZ,
			  SIGHUP,  SIGINT, SIGTERM, SIGKILL, SIGUSR1, SIGALRM, SIGPIPE, SIGIO };

	need_plain_pattern();
	allow_cores(RLIM_INFINITY);
	for (size_t i = 0; i < LENGTH(signals); i++) {
		unlink("core");
		signal_to_raise = signals[i];
		say_end("raise", crash(raises));
	}
}

SECTION("waitid says CLD_DUMPED")
{
	siginfo_t info;

	need_plain_pattern();
	for (int dumps = 0; dumps < 2; dumps++) {
		allow_cores(dumps ? RLIM_INFINITY : 0);
		pid_t pid = fork();
		if (pid == 0)
			abort();
		MUST(waitid(P_PID, pid, &info, WEXITED));
		SHOW(info.si_code == (dumps ? CLD_DUMPED : CLD_KILLED));
		SIGNAL(info.si_status);
	}
}

SECTION("the file: mode, owner, an old one gives way, a directory does not")
{
	struct stat st;

	need_plain_pattern();
	allow_cores(RLIM_INFINITY);
	umask(0);
	write_file("core", "old");
	MUST(link("core", "other"));
	say_end("segv", crash(segv));
	MUST(stat("core", &st));
	HEX(st.st_mode);
	SHOW(st.st_uid == geteuid());
	SHOW(st.st_nlink);
	SHOW(st.st_size > 4096);
	TEXT(read_file("other"));
	unlink("core");
	MUST(symlink("elsewhere", "core"));
	say_end("segv", crash(segv));
	SHOW(access("elsewhere", F_OK));
	MUST(lstat("core", &st));
	HEX(st.st_mode & S_IFMT);
	unlink("core");
	MUST(mkdir("core", 0755));
	SHOW(WCOREDUMP(crash(segv)) != 0);
}

static void undumpable(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	segv();
}

SECTION("what must not be dumped is not")
{
	need_plain_pattern();
	allow_cores(RLIM_INFINITY);
	say_end("undumpable", crash(undumpable));
}

SECTION("the ELF file: header and notes of the thread that got the signal")
{
	need_plain_pattern();
	allow_cores(RLIM_INFINITY);
	pid_t pid = fork();
	if (pid == 0)
		segv();
	end_of(pid);
	const Elf64_Ehdr *header = load_core();
	SHOW(memcmp(header->e_ident, ELFMAG, SELFMAG));
	SHOW(header->e_type == ET_CORE);
	SHOW(header->e_machine == EM_X86_64);
	SHOW(header->e_phentsize);
	SHOW(segments()->p_type == PT_NOTE);
	unsigned types[] = { NT_PRSTATUS, NT_PRPSINFO, NT_SIGINFO, NT_AUXV, NT_FILE, NT_FPREGSET, NT_X86_XSTATE };
	for (size_t i = 0; i < LENGTH(types); i++)
		SHOW(note_of(types[i], 0) != NULL && note_of(types[i], 1) == NULL);
	const prstatus_t *status = (const prstatus_t *)note_of(NT_PRSTATUS, 0);
	SIGNAL(status->pr_cursig);
	SIGNAL(status->pr_info.si_signo);
	SHOW(status->pr_pid == pid);
	SHOW(status->pr_ppid == getpid());
	SHOW(status->pr_fpvalid);
	const struct user_regs_struct *regs = (const struct user_regs_struct *)status->pr_reg;
	SHOW(regs->rip > (unsigned long)segv - 1 && regs->rip < (unsigned long)segv + 64);
	SHOW((long)regs->orig_rax);
	const prpsinfo_t *process = (const prpsinfo_t *)note_of(NT_PRPSINFO, 0);
	TEXT(process->pr_fname);
	SHOW(process->pr_pid == pid);
	SHOW(process->pr_uid == getuid());
	SHOW(strncmp(process->pr_psargs, observe_self, 79) == 0 || strchr(process->pr_psargs, ' ') != NULL);
	const siginfo_t *info = (const siginfo_t *)note_of(NT_SIGINFO, 0);
	SIGNAL(info->si_signo);
	SHOW(info->si_code);
	SHOW((unsigned long)info->si_addr);
}

static char known[] = "a text that is looked for in the dump";
static const char constant[] = "constants are in the file already";

SECTION("the memory: data, stack, heap and mappings, but not the text")
{
	need_plain_pattern();
	allow_cores(RLIM_INFINITY);
	char on_stack[64];
	char *heap = malloc(200000), *mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *untouched = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *locked = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *left_out = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(on_stack, known);
	strcpy(heap + 100000, known);
	strcpy(mapped + 5000, known);
	strcpy(locked, known);
	strcpy(left_out, known);
	mprotect(locked, 4096, PROT_NONE);
	madvise(left_out, 4096, MADV_DONTDUMP);
	crash(segv);
	load_core();
	TEXT(dumped(known));
	TEXT(dumped(on_stack));
	TEXT(dumped(heap + 100000));
	TEXT(dumped(mapped + 5000));
	TEXT(dumped(locked));
	SHOW(segment_of(untouched) != NULL);
	SHOW(dumped(left_out) != NULL);
	SHOW(segment_of(left_out) != NULL);
	SHOW(dumped(constant) != NULL);
	SHOW(dumped((void *)segv) != NULL);
	SHOW(segment_of((void *)segv) != NULL && segment_of((void *)segv)->p_flags == (PF_R | PF_X));
	SHOW(segment_of(known)->p_flags == (PF_R | PF_W));
	/* The tables by which a debugger finds the libraries were written and then made read-only. */
	SHOW(dumped(stdout) != NULL);
}

SECTION("coredump_filter: shared memory and files")
{
	need_plain_pattern();
	allow_cores(RLIM_INFINITY);
	write_file("file", known);
	int fd = MUST(open("file", O_RDWR | O_CLOEXEC));
	char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *file_shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *file_private = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	char *private = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(shared, known);
	strcpy(private, known);
	const char *filters[] = { "0x33", "0x0", "0x1", "0x2", "0x4", "0x8" };
	TEXT(read_file("/proc/self/coredump_filter"));
	for (size_t i = 0; i < LENGTH(filters); i++) {
		write_file("/proc/self/coredump_filter", filters[i]);
		crash(segv);
		load_core();
		say("%s: private %d shared %d file private %d file shared %d\n", filters[i], dumped(private) != NULL,
		    dumped(shared) != NULL, dumped(file_private) != NULL, dumped(file_shared) != NULL);
	}
}

static volatile int spinning_now;
static volatile pid_t sleeper;

static void *thread_that_sleeps(void *arg)
{
	sleeper = gettid();
	pause();
	return arg;
}

static void *thread_that_spins(void *arg)
{
	__asm__ volatile("movq $0x1234567, %%r12\n movl $1, %0\n1: jmp 1b\n" : "=m"(spinning_now) : : "r12");
	return arg;
}

static void crashes_with_threads(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, thread_that_sleeps, NULL);
	pthread_create(&thread, NULL, thread_that_spins, NULL);
	while (!spinning_now || !sleeper)
		sched_yield();
	await_state(sleeper, 'S');
	segv();
}

SECTION("coredump_filter is inherited by fork and exec")
{
	write_file("/proc/self/coredump_filter", "0x11");
	SHOW(system("cat /proc/self/coredump_filter"));
}

SECTION("all threads are in the dump, the one that got the signal first")
{
	need_plain_pattern();
	allow_cores(RLIM_INFINITY);
	say_end("threads", crash(crashes_with_threads));
	load_core();
	int count = 0, spinning = 0, sleeping = 0;
	for (; note_of(NT_PRSTATUS, count); count++) {
		const prstatus_t *status = (const prstatus_t *)note_of(NT_PRSTATUS, count);
		const struct user_regs_struct *regs = (const struct user_regs_struct *)status->pr_reg;
		spinning += regs->r12 == 0x1234567;
		sleeping += regs->orig_rax == SYS_pause;
		if (count == 0)
			SHOW(regs->rip > (unsigned long)segv - 1 && regs->rip < (unsigned long)segv + 64);
	}
	SHOW(count);
	SHOW(spinning);
	SHOW(sleeping);
	SHOW(note_of(NT_FPREGSET, 2) != NULL && note_of(NT_FPREGSET, 3) == NULL);
}

SECTION("the limit cuts the file off")
{
	struct stat st;

	need_plain_pattern();
	allow_cores(65536);
	say_end("segv", crash(segv));
	MUST(stat("core", &st));
	/* Holes don't count. */
	SHOW(st.st_blocks * 512 <= 65536 + 4096);
}

static void filtered(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { LENGTH(code), code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(92);
	getppid();
}

SECTION("a filter that kills the process leaves a dump")
{
	need_plain_pattern();
	allow_cores(RLIM_INFINITY);
	say_end("filtered", crash(filtered));
}

SECTION("abort: the dump tells of the call")
{
	need_plain_pattern();
	allow_cores(RLIM_INFINITY);
	say_end("abort", crash(aborts));
	load_core();
	const siginfo_t *info = (const siginfo_t *)note_of(NT_SIGINFO, 0);
	SIGNAL(info->si_signo);
	SHOW(info->si_code);
	const prstatus_t *status = (const prstatus_t *)note_of(NT_PRSTATUS, 0);
	const struct user_regs_struct *regs = (const struct user_regs_struct *)status->pr_reg;
	SHOW((long)regs->rax);
}
