/*
 * Tries every system call number, from the program's own text and from the `syscall` instruction of the stub, each in
 * a child of its own, with arguments that no call does anything with. Run with --strace: what the sentry is asked
 * stands between the two access(2) calls that mark each attempt, and what it isn't asked was the host kernel's.
 *
 *	/scan/WAY/NUMBER	an attempt begins
 *	/scan/end		it came back
 *
 * Ways: `text` and `stub`; `prctl`, the stub's with that call, the number being its option; `int80` enters through int $0x80 (i386's numbers), `x32` sets the x32 ABI's bit.
 *
 * Usage: scan LIST-OF-WAYS FIRST LAST
 */
#define _GNU_SOURCE
#include "../../../native/protocol.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define X32_BIT 0x40000000
#define LIMIT_MS 500

static sigjmp_buf back;
static volatile long result;
static char stack[65536];

/* The stub's instruction is followed by ud2: this is how control comes back from there. */
static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	result = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX];
	siglongjmp(back, 1);
}

/* `syscall; ud2` in the stub: the place to jump to. */
static const unsigned char *stub_syscall(void)
{
	static const unsigned char code[] = { 0x0f, 0x05, 0x0f, 0x0b };

	return memmem((void *)CAISSON_STUB_TEXT, 4096, code, sizeof code);
}

static long from_text(long number)
{
	register long r10 __asm__("r10") = -1, r8 __asm__("r8") = -1, r9 __asm__("r9") = -1;

	__asm__ volatile("syscall"
			 : "+a"(number)
			 : "D"(-1l), "S"(-1l), "d"(-1l), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return number;
}

static long from_int80(long number)
{
	__asm__ volatile("int $0x80" : "+a"(number) : "b"(-1), "c"(-1), "d"(-1), "S"(-1), "D"(-1) : "r8", "r9", "r10", "r11", "memory");
	return number;
}

static void jump_to_stub(long number, long argument)
{
	register long r10 __asm__("r10") = -1, r8 __asm__("r8") = -1, r9 __asm__("r9") = -1;

	__asm__ volatile("jmp *%%rcx"
			 :: "a"(number), "D"(argument), "S"(-1l), "d"(-1l), "r"(r10), "r"(r8), "r"(r9), "c"(stub_syscall())
			 : "r11", "memory");
}

static long from_stub(long number, long argument)
{
	/* No mask is saved: that would be calls of its own. */
	if (sigsetjmp(back, 0) == 0)
		jump_to_stub(number, argument);
	return result;
}

static void attempt(const char *way, int number)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	char marker[64];
	pid_t self = getpid();
	long value;

	sigaltstack(&alternate, NULL);
	sigaction(SIGILL, &action, NULL);
	snprintf(marker, sizeof marker, "/scan/%s/%d", way, number);
	access(marker, F_OK);
	if (!strcmp(way, "text"))
		value = from_text(number);
	else if (!strcmp(way, "stub"))
		value = from_stub(number, -1);
	else if (!strcmp(way, "prctl"))
		value = from_stub(SYS_prctl, number);
	else if (!strcmp(way, "int80"))
		value = from_int80(number);
	else
		value = from_text(number | X32_BIT);
	access("/scan/end", F_OK);
	/* A fork's child. */
	if (getpid() != self)
		_exit(0);
	dprintf(1, "%s %d: returned %ld\n", way, number, value);
	_exit(0);
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether the process ended in time. Other children, a killed attempt's, may end meanwhile. */
static int ended(pid_t pid, int *status, const sigset_t *child)
{
	long end = now_ms() + LIMIT_MS, left;

	while (waitpid(pid, status, WNOHANG) != pid) {
		if ((left = end - now_ms()) <= 0)
			return 0;
		sigtimedwait(child, NULL, &(struct timespec){ 0, left * 1000000 });
	}
	return 1;
}

static void try(const char *way, int number)
{
	sigset_t child;
	int status;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		sigprocmask(SIG_UNBLOCK, &child, NULL);
		attempt(way, number);
	}
	if (!ended(pid, &status, &child)) {
		kill(pid, SIGKILL);
		dprintf(1, "%s %d: did not return\n", way, number);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		dprintf(1, "%s %d: killed by %d\n", way, number, WTERMSIG(status));
	/* A vfork's or fork's child may be another one. */
	while (waitpid(-1, &status, WNOHANG) > 0)
		;
	while (sigtimedwait(&child, NULL, &(struct timespec){ 0, 0 }) >= 0)
		;
}

int main(int argc, char **argv)
{
	int last = argc > 3 ? atoi(argv[3]) : 470;

	for (char *way = strtok(argc > 1 ? argv[1] : "text", ","); way; way = strtok(NULL, ","))
		for (int number = argc > 2 ? atoi(argv[2]) : 0; number <= last; number++)
			try(way, number);
	dprintf(1, "done\n");
	return 0;
}
