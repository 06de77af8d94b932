/*
 * What every guest program is made of. A program is a list of sections; each is one behaviour of the kernel and
 * prints one line per observation. What it prints must not depend on the run: no pids, addresses or times, only
 * relations between them, so that the host's output and the sandbox's can be compared line by line.
 *
 *	SECTION("lseek: past the end is allowed")
 *	{
 *		int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
 *		RET(lseek(fd, 100, SEEK_SET));
 *	}
 *
 * A section runs in a child of its own, leader of its own process group, in a fresh empty directory, with
 * /dev/null as standard input. A section that hangs is killed after LIMIT seconds and says so; the others go on.
 *
 * Usage: PROGRAM [TITLE-PART...]   runs the sections whose title contains one of the parts, or all
 *        PROGRAM @child ARG...     runs the program's as_child(), for tests of exec
 */
#ifndef OBSERVE_H
#define OBSERVE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIMIT 20

/* Newer than the C library's headers may be. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

struct section {
	int line;
	const char *title;
	void (*run)(void);
};

#define SECTION(title) SECTION_(title, __COUNTER__)
#define SECTION_(title, n) SECTION__(title, n)
#define SECTION__(title, n)                                                                                \
	static void section_##n(void);                                                                     \
	static const struct section entry_##n = { __LINE__, title, section_##n };                          \
	static const struct section *const pointer_##n __attribute__((section("sections"), used)) = &entry_##n; \
	static void section_##n(void)

/* `expression = value`, for a number or a truth. */
#define SHOW(expression) say("%s = %lld\n", #expression, (long long)(expression))
/* `expression = 0x…` */
#define HEX(expression) say("%s = %#llx\n", #expression, (unsigned long long)(expression))
/* `expression = "text"`, unprintable bytes escaped. */
#define TEXT(expression) say_text(#expression, expression)
/* `expression -> ok` or the error's name: for results whose value says nothing. */
#define ERR(expression) RESULT(#expression, expression, false)
/* `expression -> value` or the error's name. */
#define RET(expression) RESULT(#expression, expression, true)
#define RESULT(text, expression, value)                             \
	do {                                                        \
		long long result_ = (long long)(expression);        \
		say_result(text, result_, errno, value);            \
	} while (0)
/* For functions that return the error number itself, as pthread_*. */
#define NUMBERED(expression) say_number(#expression, expression)
/* A step that only prepares: says so and ends the section when it fails. */
#define MUST(expression) must(#expression, (long)(expression))
/* How a child ended. */
#define STATUS(expression) say_status(#expression, expression)
#define SIGNAL(expression) say("%s = %s\n", #expression, signal_name(expression))

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* One line with one write, so that lines of parent and child never mix and a fork copies no buffer. */
static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
	int saved = errno;
	char line[1024];
	va_list list;

	va_start(list, format);
	int length = vsnprintf(line, sizeof line, format, list);
	va_end(list);
	if (length >= (int)sizeof line)
		length = sizeof line - 1;
	if (write(STDOUT_FILENO, line, length) != length)
		_exit(99);
	errno = saved;
}

static const char *error_name(int error)
{
	const char *name = error == 0 ? "0" : strerrorname_np(error);

	return name ? name : "unknown error";
}

static const char *signal_name(int signo)
{
	static char name[16];

	if (signo == 0)
		return "none";
	if (signo >= SIGRTMIN && signo <= SIGRTMAX)
		snprintf(name, sizeof name, "SIGRT%d", signo - SIGRTMIN);
	else if (sigabbrev_np(signo))
		snprintf(name, sizeof name, "SIG%s", sigabbrev_np(signo));
	else
		snprintf(name, sizeof name, "signal %d", signo);
	return name;
}

static void say_result(const char *expression, long long result, int error, bool value)
{
	if (result == -1)
		say("%s -> %s\n", expression, error_name(error));
	else if (value)
		say("%s -> %lld\n", expression, result);
	else
		say("%s -> ok\n", expression);
}

static void say_number(const char *expression, int error)
{
	say("%s -> %s\n", expression, error ? error_name(error) : "ok");
}

static void say_text(const char *name, const char *text)
{
	char line[800];
	size_t used = 0;

	if (!text) {
		say("%s = NULL\n", name);
		return;
	}
	for (; *text && used < sizeof line - 5; text++) {
		unsigned char c = *text;

		if (c == '\n')
			used += sprintf(line + used, "\\n");
		else if (c < ' ' || c > '~')
			used += sprintf(line + used, "\\x%02x", c);
		else
			line[used++] = c;
	}
	line[used] = 0;
	say("%s = \"%s\"\n", name, line);
}

static long must(const char *expression, long result)
{
	if (result != -1)
		return result;
	say("failed: %s: %s\n", expression, error_name(errno));
	_exit(98);
}

static void say_status(const char *name, int status)
{
	if (WIFEXITED(status))
		say("%s: exited %d\n", name, WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		say("%s: killed by %s\n", name, signal_name(WTERMSIG(status)));
	else if (WIFSTOPPED(status))
		say("%s: stopped by %s\n", name, signal_name(WSTOPSIG(status)));
	else if (WIFCONTINUED(status))
		say("%s: continued\n", name);
	else
		say("%s: unknown status\n", name);
}

/* Waits for the child and returns how it ended. */
static int end_of(pid_t pid)
{
	int status = 0;
	pid_t got;

	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	MUST(got);
	return status;
}

static void sleep_ms(long milliseconds)
{
	struct timespec left = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The state letter of /proc/PID/stat, 0 when there is no such process. */
static char state_of(pid_t pid)
{
	char path[64], text[512];

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t length = read(fd, text, sizeof text - 1);
	close(fd);
	if (length <= 0)
		return 0;
	text[length] = 0;
	char *end = strrchr(text, ')');
	return end ? end[2] : 0;
}

/* Waits, at most five seconds, until the process or thread is in the state: 'S' asleep, 'T' stopped, 'Z' dead. */
static bool await_state(pid_t pid, char state)
{
	for (int i = 0; i < 1000; i++) {
		if (state_of(pid) == state)
			return true;
		sleep_ms(5);
	}
	return false;
}

static void write_file(const char *path, const char *text)
{
	int fd = MUST(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

	MUST(write(fd, text, strlen(text)));
	close(fd);
}

/* The first bytes of a file as a string, or the error's name; the buffer is overwritten by the next call. */
static const char *read_file(const char *path)
{
	static char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t got;

	if (fd < 0)
		return error_name(errno);
	while (used < sizeof text - 1 && (got = read(fd, text + used, sizeof text - 1 - used)) > 0)
		used += got;
	text[used] = 0;
	close(fd);
	return text;
}

static void handle(int signo, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	MUST(sigaction(signo, &action, NULL));
}

/* A handler that only interrupts. */
static void ignore(int signo)
{
	(void)signo;
}

/* Sections that need root's powers begin with this; the comparison skips them where the host's user is not root. */
static void need_root(void)
{
	if (geteuid() != 0) {
		say("needs root\n");
		_exit(0);
	}
}

static pid_t observe_section;
static char observe_self[4096];

static void observe_timeout(int signo)
{
	(void)signo;
	kill(-observe_section, SIGKILL);
	kill(observe_section, SIGKILL);
	say("timed out\n");
}

static int observe_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* Ends what a section left behind: its children are handed to this process, which is a subreaper. */
static void observe_reap(void)
{
	char path[64];
	int pid;

	kill(-observe_section, SIGKILL);
	for (int round = 0; round < 20; round++) {
		snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
		FILE *children = fopen(path, "re");
		while (children && fscanf(children, "%d", &pid) == 1)
			kill(pid, SIGKILL);
		if (children)
			fclose(children);
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid < 0)
			return;
		sleep_ms(round);
	}
}

static void observe_one(const struct section *section)
{
	const char *base = getenv("TMPDIR");
	char directory[4096];

	say("## %s\n", section->title);
	snprintf(directory, sizeof directory, "%s/section.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(directory)) {
		say("failed: mkdtemp: %s\n", error_name(errno));
		return;
	}
	observe_section = fork();
	if (observe_section == 0) {
		setpgid(0, 0);
		signal(SIGALRM, SIG_DFL);
		umask(022);
		syscall(SYS_close_range, 3, ~0u, 0);
		int null = open("/dev/null", O_RDONLY);
		if (null > 0) {
			dup2(null, 0);
			close(null);
		}
		MUST(chdir(directory));
		section->run();
		_exit(0);
	}
	alarm(LIMIT);
	int status = 0;
	while (waitpid(observe_section, &status, 0) < 0 && errno == EINTR)
		;
	alarm(0);
	observe_reap();
	STATUS(status);
	nftw(directory, observe_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static int observe_order(const void *left, const void *right)
{
	return (*(const struct section *const *)left)->line - (*(const struct section *const *)right)->line;
}

extern const struct section *__start_sections[], *__stop_sections[];

/* What a program does when it has run itself (observe_self) with `@child`; define HAS_CHILD to provide it. */
#ifdef HAS_CHILD
static int as_child(int argc, char **argv);
#else
static int as_child(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return 97;
}
#endif

int main(int argc, char **argv)
{
	size_t count = __stop_sections - __start_sections;
	const struct section *sections[256];

	if (argc > 2 && !strcmp(argv[1], "@child"))
		return as_child(argc - 2, argv + 2);
	if (argc > 1 && argv[1][0] == '@') {
		TEXT(argv[1]);
		return 97;
	}
	/* A test of exec that runs the whole program again would never end. */
	if (getenv("OBSERVE_RUNNING"))
		return 96;
	setenv("OBSERVE_RUNNING", "1", 1);
	MUST(readlink("/proc/self/exe", observe_self, sizeof observe_self - 1));
	memcpy(sections, __start_sections, count * sizeof sections[0]);
	qsort(sections, count, sizeof sections[0], observe_order);
	handle(SIGALRM, observe_timeout, SA_RESTART);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (size_t i = 0; i < count; i++) {
		bool wanted = argc == 1;

		for (int a = 1; a < argc; a++)
			wanted |= strstr(sections[i]->title, argv[a]) != NULL;
		if (wanted)
			observe_one(sections[i]);
	}
	return 0;
}

#endif
