/* What the programs about ptrace(2) share: raw requests, children to trace, and what a stop is shown as. */
#ifndef PTRACE_H
#define PTRACE_H

#include <elf.h>
#include <linux/ptrace.h>
#include <stddef.h>
#include <sys/user.h>

/* The system call itself, whose results the C library changes. */
static long trace(long request, pid_t pid, unsigned long address, unsigned long data)
{
	return syscall(SYS_ptrace, request, pid, address, data);
}
#define DATA(pointer) ((unsigned long)(pointer))

/* How a tracee stopped or ended, with the event that came along. */
static void stop_text(char *text, int status)
{
	int event = status >> 16;

	if (WIFEXITED(status))
		sprintf(text, "exited %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		sprintf(text, "killed by %s", signal_name(WTERMSIG(status)));
	else if (WIFCONTINUED(status))
		sprintf(text, "continued");
	else if (event != 0)
		sprintf(text, "stopped by %s event %d", signal_name(WSTOPSIG(status)), event);
	else if ((WSTOPSIG(status) & 0x80) != 0)
		sprintf(text, "stopped by %s of a call", signal_name(WSTOPSIG(status) & 0x7f));
	else
		sprintf(text, "stopped by %s", signal_name(WSTOPSIG(status)));
}

/* Waits for one task, and says how it stopped: the status, or -1. */
static int await(const char *name, pid_t pid)
{
	int status = 0;
	char text[64];
	pid_t got;

	do
		got = waitpid(pid, &status, __WALL);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		say("%s: %s\n", name, error_name(errno));
		return -1;
	}
	stop_text(text, status);
	say("%s: %s\n", name, text);
	return status;
}

/* The same without a word. */
static int await_quietly(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	return status;
}

/* A child that asks to be traced, stops, and then runs `body`; it is in its stop when this returns. */
static pid_t traced_child(void (*body)(void))
{
	pid_t pid = MUST(fork());

	if (pid == 0) {
		if (trace(PTRACE_TRACEME, 0, 0, 0) < 0)
			_exit(90);
		raise(SIGSTOP);
		body();
		_exit(0);
	}
	int status = await_quietly(pid);
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
		say("the child did not stop as expected: %#x\n", status);
	return pid;
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

/* A child that is not traced and sleeps. */
static pid_t sleeping_child(void)
{
	pid_t pid = MUST(fork());

	if (pid == 0) {
		sleep_for_ever();
	}
	await_state(pid, 'S');
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	await_quietly(pid);
}

static struct user_regs_struct registers_of(pid_t pid)
{
	struct user_regs_struct regs;

	memset(&regs, 0, sizeof regs);
	MUST(trace(PTRACE_GETREGS, pid, 0, DATA(&regs)));
	return regs;
}

static unsigned long peek(pid_t pid, const void *address)
{
	unsigned long word = 0;

	MUST(trace(PTRACE_PEEKDATA, pid, DATA(address), DATA(&word)));
	return word;
}

static unsigned long event_message(pid_t pid)
{
	unsigned long message = 0;

	MUST(trace(PTRACE_GETEVENTMSG, pid, 0, DATA(&message)));
	return message;
}

static void say_siginfo(pid_t pid)
{
	siginfo_t info;

	memset(&info, 0, sizeof info);
	if (trace(PTRACE_GETSIGINFO, pid, 0, DATA(&info)) < 0)
		say("siginfo: %s\n", error_name(errno));
	else
		say("siginfo: %s code %#x\n", signal_name(info.si_signo), info.si_code);
}

/* Whether the C library's text is in the tracee as the file has it. */
static bool text_is_whole(pid_t pid)
{
	char path[64], line[512], file[256];
	unsigned long start, end, offset;
	bool compared = false, same = true;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");
	while (maps && fgets(line, sizeof line, maps)) {
		if (sscanf(line, "%lx-%lx r-xp %lx %*s %*s %255s", &start, &end, &offset, file) != 4 || !strstr(file, "libc"))
			continue;
		int fd = open(file, O_RDONLY | O_CLOEXEC);
		snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
		int memory = open(path, O_RDONLY | O_CLOEXEC);
		char *ours = malloc(end - start), *theirs = malloc(end - start);
		compared = pread(fd, ours, end - start, offset) == (ssize_t)(end - start) &&
			   pread(memory, theirs, end - start, start) == (ssize_t)(end - start);
		same &= memcmp(ours, theirs, end - start) == 0;
		free(ours);
		free(theirs);
		close(fd);
		close(memory);
	}
	if (maps)
		fclose(maps);
	return compared && same;
}

/* A field of /proc/PID/status. */
static long status_number(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	const char *line = strstr(read_file(path), name);
	return line ? strtol(line + strlen(name) + 1, NULL, 10) : -1;
}

#endif
