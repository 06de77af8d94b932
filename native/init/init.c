/*
 * The init of `--init`: process 1 of a sandbox or container whose command is no init itself. A guest program like any
 * other, freestanding and static, so that it runs on every root.
 *
 *   init COMMAND [ARGUMENT...]
 *
 * It starts the command in a process group of its own, the terminal's foreground one, passes it every signal, waits for
 * whatever becomes its child, and ends as the command has: with its status, or 128 and the number of its signal.
 */
#include <asm/errno.h>
#include <asm/ioctls.h>
#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/limits.h>
#include <linux/prctl.h>
#include <linux/wait.h>

#ifndef __x86_64__
#error "the system call and the entry are those of x86-64"
#endif

typedef unsigned long word;

static long call4(long nr, word a, word b, word c, word d)
{
	register word r10 __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

static word length(const char *text)
{
	word n = 0;

	while (text[n])
		n++;
	return n;
}

static void say(const char *text)
{
	call4(__NR_write, 2, (word)text, length(text), 0);
}

static const char *variable(char **environment, const char *name)
{
	word n = length(name);

	for (; *environment; environment++) {
		word i = 0;

		while (i < n && (*environment)[i] == name[i])
			i++;
		if (i == n && (*environment)[n] == '=')
			return *environment + n + 1;
	}
	return 0;
}

static int has_slash(const char *text)
{
	for (; *text; text++)
		if (*text == '/')
			return 1;
	return 0;
}

/* As execvp(3), without the shell for files that are no programs. Returns only with an error. */
static long execute(char **arguments, char **environment)
{
	static char path[PATH_MAX];
	const char *name = arguments[0], *from = variable(environment, "PATH");
	word n = length(name);
	long error = -ENOENT;

	if (has_slash(name) || n == 0)
		return call4(__NR_execve, (word)name, (word)arguments, (word)environment, 0);
	if (!from)
		from = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	for (;;) {
		word at = 0, i;

		for (; *from && *from != ':'; from++)
			if (at < sizeof(path))
				path[at++] = *from;
		if (at + n + 2 <= sizeof(path)) {
			long tried;

			/* An empty entry is the working directory. */
			if (at)
				path[at++] = '/';
			for (i = 0; i <= n; i++)
				path[at + i] = name[i];
			tried = call4(__NR_execve, (word)path, (word)arguments, (word)environment, 0);
			if (tried != -ENOENT && tried != -ENOTDIR) {
				error = tried;
				if (tried != -EACCES)
					return error;
			}
		}
		if (!*from++)
			return error;
	}
}

static void run(char **arguments, char **environment, word mask)
{
	int group = 0;
	long error;

	call4(__NR_setpgid, 0, 0, 0, 0);
	group = call4(__NR_getpid, 0, 0, 0, 0);
	/* All signals are blocked, SIGTTOU too. Without a terminal it fails. */
	call4(__NR_ioctl, 0, TIOCSPGRP, (word)&group, 0);
	call4(__NR_rt_sigprocmask, SIG_SETMASK, (word)&mask, 0, sizeof(mask));
	error = execute(arguments, environment);
	say("init: ");
	say(arguments[0]);
	say(error == -ENOENT   ? ": not found\n"
	    : error == -EACCES ? ": permission denied\n"
			       : ": can't be executed\n");
	call4(__NR_exit_group, error == -ENOENT ? 127 : 126, 0, 0, 0);
}

/* Waits for all that has ended: true when the command has, whose status is then in `status`. */
static int reap(long command, int *status)
{
	int one, over = 0;
	long pid;

	while ((pid = call4(__NR_wait4, -1, (word)&one, WNOHANG, 0)) > 0) {
		if (pid != command)
			continue;
		*status = one;
		over = 1;
	}
	return over;
}

__attribute__((used)) static void start(word *stack)
{
	char **arguments = (char **)(stack + 1), **environment = arguments + stack[0] + 1;
	word all = ~0UL, mask;
	int status = 0;
	long command;

	if (stack[0] < 2) {
		say("usage: init COMMAND [ARGUMENT...]\n");
		call4(__NR_exit_group, 2, 0, 0, 0);
	}
	call4(__NR_rt_sigprocmask, SIG_SETMASK, (word)&all, (word)&mask, sizeof(mask));
	/* In a pid namespace that it shares it is not process 1. */
	call4(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0);
	command = call4(__NR_fork, 0, 0, 0, 0);
	if (command == 0)
		run(arguments + 1, environment, mask);
	if (command < 0) {
		say("init: no process can be started\n");
		call4(__NR_exit_group, 126, 0, 0, 0);
	}
	for (;;) {
		long signal = call4(__NR_rt_sigtimedwait, (word)&all, 0, 0, sizeof(all));

		if (signal == SIGCHLD) {
			if (reap(command, &status))
				break;
		} else if (signal > 0) {
			call4(__NR_kill, command, signal, 0, 0);
		}
	}
	call4(__NR_exit_group, status & 0x7f ? 128 + (status & 0x7f) : status >> 8, 0, 0, 0);
}

__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start\n");
