/* execve(2): errors, scripts, arguments, what survives and what does not. */
#define HAS_CHILD
#include "observe.h"
#include <elf.h>
#include <sys/auxv.h>

static int as_child(int argc, char **argv)
{
	if (!strcmp(argv[0], "arguments")) {
		for (int i = 1; i < argc; i++)
			TEXT(argv[i]);
		return argc;
	}
	if (!strcmp(argv[0], "environment")) {
		TEXT(getenv("ONE"));
		TEXT(getenv("TWO"));
		TEXT(getenv("PATH"));
		return 0;
	}
	if (!strcmp(argv[0], "descriptors")) {
		SHOW(fcntl(10, F_GETFD));
		ERR(fcntl(11, F_GETFD));
		return 0;
	}
	if (!strcmp(argv[0], "signals")) {
		sigset_t set, pending;
		struct sigaction action;
		stack_t stack;

		sigprocmask(SIG_BLOCK, NULL, &set);
		sigpending(&pending);
		SHOW(sigismember(&set, SIGUSR1));
		SHOW(sigismember(&pending, SIGUSR1));
		sigaction(SIGUSR2, NULL, &action);
		SHOW(action.sa_handler == SIG_DFL);
		sigaction(SIGHUP, NULL, &action);
		SHOW(action.sa_handler == SIG_IGN);
		sigaltstack(NULL, &stack);
		SHOW(stack.ss_flags == SS_DISABLE);
		SHOW(alarm(0) > 90);
		return 0;
	}
	if (!strcmp(argv[0], "names")) {
		char name[32] = "";

		prctl(PR_GET_NAME, name);
		SHOW(!strcmp(name, strncmp(argv[1], "own", 3) ? "process-exec" : argv[1]));
		SHOW(prctl(PR_GET_DUMPABLE));
		return 0;
	}
	if (!strcmp(argv[0], "pid"))
		return getpid() == atoi(argv[1]) ? 41 : 42;
	for (int i = 0; i < argc; i++)
		TEXT(argv[i]);
	return 90;
}

/* Runs the program with the arguments in a child and says how it ended; an exec that fails says why. */
static void run(const char *path, char *const argv[], char *const envp[])
{
	pid_t pid = fork();

	if (pid == 0) {
		ERR(execve(path, argv, envp));
		_exit(1);
	}
	STATUS(end_of(pid));
}

#define RUN(path, ...) run(path, (char *[]){ path, __VA_ARGS__, NULL }, (char *[]){ "PATH=/bin:/usr/bin", NULL })

static void script(const char *name, const char *text)
{
	write_file(name, text);
	MUST(chmod(name, 0755));
}

SECTION("exec: errors")
{
	write_file("plain", "text");
	script("garbage", "text without meaning");
	script("empty", "");
	mkdir("d", 0755);
	symlink("a", "b");
	symlink("b", "a");
	RUN("nothing", "x");
	RUN("plain", "x");
	RUN("garbage", "x");
	RUN("empty", "x");
	RUN("d", "x");
	RUN("plain/x", "x");
	RUN("a", "x");
	RUN("", "x");
	RUN("/dev/null", "x");
	run((char *)8, (char *[]){ "x", NULL }, NULL);
	run("/bin/true", (char **)8, NULL);
	run("/bin/true", (char *[]){ (char *)8, NULL }, NULL);
	run("/bin/true", (char *[]){ "x", NULL }, (char **)8);
}

SECTION("exec: a file open for writing is ETXTBSY, and a running program too")
{
	char *copy[] = { "cp", observe_self, "program", NULL };

	run("/bin/cp", copy, NULL);
	int fd = MUST(open("program", O_RDWR));
	RUN("./program", "@child", "exit");
	close(fd);
	RUN("./program", "@child", "exit");
	ERR(open(observe_self, O_WRONLY));
	ERR(truncate(observe_self, 1));
}

SECTION("exec: corrupt ELF files")
{
	char *copy[] = { "cp", observe_self, "program", NULL };

	run("/bin/cp", copy, NULL);
	MUST(truncate("program", 100));
	RUN("./program", "x");
	MUST(truncate("program", 40));
	RUN("./program", "x");
	script("class", "\177ELF\1\1\1");
	RUN("./class", "x");
	run("/bin/cp", copy, NULL);
	int fd = MUST(open("program", O_RDWR));
	MUST(pwrite(fd, "\xb7", 1, 18));
	close(fd);
	RUN("./program", "x");
	run("/bin/cp", copy, NULL);
	fd = MUST(open("program", O_RDWR));
	MUST(pwrite(fd, "\xff\xff", 2, 56));
	close(fd);
	RUN("./program", "x");
}

SECTION("exec: #! scripts: one argument, nested, loops, missing interpreter")
{
	char line[sizeof observe_self + 40];

	snprintf(line, sizeof line, "#!%s @child\n", observe_self);
	/* The child sees: @child ./s arguments two. */
	script("s", line);
	RUN("./s", "arguments", "two");
	snprintf(line, sizeof line, "#!  %s   @one word \n", observe_self);
	script("blank", line);
	RUN("./blank", "one");
	script("echo", "#!/bin/echo a b  c\n");
	RUN("./echo", "one", "two");
	script("outer", "#!./echo x y\n");
	RUN("./outer", "one");
	script("loop", "#!./loop\n");
	RUN("./loop", "one");
	script("missing", "#!/no/such/interpreter\n");
	RUN("./missing", "one");
	script("none", "#!\n");
	RUN("./none", "one");
	script("no-newline", "#!/bin/echo last");
	RUN("./no-newline", "one");
	write_file("not-executable", "#!/bin/echo\n");
	script("via", "#!./not-executable\n");
	RUN("./via", "one");
	script("sh", "#!/bin/sh\necho \"$0 $# $1\"\n");
	RUN("./sh", "one", "two");
}

SECTION("exec: arguments and environment arrive")
{
	char *arguments[] = { "name", "@child", "arguments", "", "with space", "\xff\x01", NULL };
	char *environment[] = { "name", "@child", "environment", NULL };

	run(observe_self, arguments, NULL);
	run(observe_self, environment, (char *[]){ "ONE=1", "TWO=", "ODD", NULL });
	run("/bin/sh", (char *[]){ NULL }, NULL);
}

SECTION("exec: E2BIG for one long string and for all together")
{
	char *big = malloc(200 << 10);
	static char *many[30000];

	memset(big, 'x', 200 << 10);
	big[(128 << 10) - 1] = 0;
	run("/bin/true", (char *[]){ "x", big, NULL }, NULL);
	big[(128 << 10) - 1] = 'x';
	big[128 << 10] = 0;
	run("/bin/true", (char *[]){ "x", big, NULL }, NULL);
	big[100 << 10] = 0;
	for (int i = 0; i < 60; i++)
		many[i] = big;
	many[60] = NULL;
	struct rlimit limit = { 8 << 20, 8 << 20 };
	MUST(setrlimit(RLIMIT_STACK, &limit));
	run("/bin/true", many, NULL);
	many[15] = NULL;
	run("/bin/true", many, NULL);
}

SECTION("exec: descriptors: close-on-exec ones are gone")
{
	MUST(dup2(0, 10));
	MUST(dup3(0, 11, O_CLOEXEC));
	RUN(observe_self, "@child", "descriptors");
}

SECTION("exec: signals: ignored and blocked stay, handlers and stacks go")
{
	static char stack[16384];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);
	signal(SIGUSR2, ignore);
	signal(SIGHUP, SIG_IGN);
	MUST(sigaltstack(&alternate, NULL));
	alarm(100);
	ERR(execl(observe_self, observe_self, "@child", "signals", NULL));
}

SECTION("exec: the name and the dumpable flag start anew")
{
	prctl(PR_SET_NAME, "other");
	prctl(PR_SET_DUMPABLE, 0);
	RUN(observe_self, "@child", "names", "x");
	SHOW(prctl(PR_GET_DUMPABLE));
}

SECTION("execveat and fexecve")
{
	char *argv[] = { "x", "@child", "exit", NULL }, *envp[] = { NULL };
	int fd = MUST(open(observe_self, O_PATH | O_CLOEXEC));
	int dir = MUST(open("/bin", O_PATH));

	pid_t pid = fork();
	if (pid == 0)
		ERR(fexecve(fd, argv, envp));
	STATUS(end_of(pid));
	pid = fork();
	if (pid == 0)
		ERR(syscall(SYS_execveat, dir, "true", argv, envp, 0));
	STATUS(end_of(pid));
	ERR(syscall(SYS_execveat, dir, "", argv, envp, 0));
	ERR(syscall(SYS_execveat, dir, "nothing", argv, envp, 0));
	ERR(syscall(SYS_execveat, dir, "true", argv, envp, 1));
	symlink("/bin/true", "link");
	ERR(syscall(SYS_execveat, AT_FDCWD, "link", argv, envp, AT_SYMLINK_NOFOLLOW));
	script("s", "#!/bin/echo\n");
	int cloexec = MUST(open("s", O_RDONLY | O_CLOEXEC));
	ERR(syscall(SYS_execveat, cloexec, "", argv, envp, AT_EMPTY_PATH));
}

static void *exec_in_thread(void *pid)
{
	execl(observe_self, observe_self, "@child", "pid", (char *)pid, NULL);
	return NULL;
}

#include <pthread.h>

static void *sleep_for_ever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

SECTION("exec from a thread ends the others and takes over the process id")
{
	pthread_t threads[3];
	char pid[16];

	pid_t child = fork();
	if (child == 0) {
		snprintf(pid, sizeof pid, "%d", getpid());
		pthread_create(&threads[0], NULL, sleep_for_ever, NULL);
		pthread_create(&threads[1], NULL, sleep_for_ever, NULL);
		pthread_create(&threads[2], NULL, exec_in_thread, pid);
		sleep_for_ever(NULL);
	}
	STATUS(end_of(child));
}

SECTION("the auxiliary vector")
{
	SHOW(getauxval(AT_PAGESZ));
	SHOW(getauxval(AT_CLKTCK));
	SHOW(getauxval(AT_UID) == getuid());
	SHOW(getauxval(AT_EGID) == getegid());
	SHOW(getauxval(AT_SECURE));
	SHOW(getauxval(AT_PHDR) != 0);
	SHOW(getauxval(AT_PHENT));
	SHOW(getauxval(AT_BASE) != 0);
	SHOW(getauxval(AT_ENTRY) != 0);
	SHOW(getauxval(AT_SYSINFO_EHDR) != 0);
	SHOW(getauxval(AT_RANDOM) != 0);
	TEXT((char *)getauxval(AT_PLATFORM));
	SHOW(!strcmp(strrchr((char *)getauxval(AT_EXECFN), '/'), "/process-exec"));
	SHOW(getauxval(AT_MINSIGSTKSZ) >= 2048);
}

SECTION("setuid programs change the effective user, unless no_new_privs")
{
	need_root();
	char *copy[] = { "cp", "/usr/bin/id", "id", NULL };
	run("/bin/cp", copy, NULL);
	MUST(chmod(".", 0755));
	MUST(chown("id", 1234, 1234));
	MUST(chmod("id", 06755));
	RUN("./id", "-u");
	RUN("./id", "-ru");
	RUN("./id", "-g");
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	RUN("./id", "-u");
}

/* A program of one segment at this address, with this much memory. */
static void write_program(const char *path, uint64_t address, uint64_t size)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
		char text[4096];
	} image = {
		.header = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_type = ET_EXEC,
			.e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_entry = address + 200,
			.e_phoff = sizeof(Elf64_Ehdr), .e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 },
		.segment = { .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = address, .p_filesz = sizeof image,
			.p_memsz = size, .p_align = 4096 },
	};
	int fd = MUST(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0755));

	MUST(write(fd, &image, sizeof image));
	close(fd);
}

static int outcome_of(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl(path, path, NULL);
		_exit(errno == ENOEXEC ? 1 : errno == EINVAL ? 2 : errno == ENOMEM ? 3 : 4);
	}
	return end_of(pid);
}

SECTION("a program that can't be mapped is the end of the process, not an error")
{
	signal(SIGSEGV, SIG_IGN);
	write_program("high", 0xffff800000000000, 8192);
	STATUS(outcome_of("high"));
	write_program("huge", 0x10000000, 1ul << 60);
	STATUS(outcome_of("huge"));
	write_program("low", 0, 8192);
	STATUS(outcome_of("low"));
	write_program("short", 0x10000000, 16);
	STATUS(outcome_of("short"));
}
