/* ptrace(2): attaching and leaving, events, threads, stops of the process, seccomp, what else a tracer asks. */
#define HAS_CHILD
#include "observe.h"
#include "ptrace.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>

static int as_child(int argc, char **argv)
{
	if (!strcmp(argv[0], "ids"))
		say("uid %d euid %d\n", (int)getuid(), (int)geteuid());
	return argc + 40;
}

static void nothing(void)
{
}

/* Attaching and leaving. */

SECTION("PTRACE_ATTACH: SIGSTOP, then on")
{
	pid_t pid = sleeping_child();
	ERR(trace(PTRACE_ATTACH, pid, 0, 0));
	await("child", pid);
	say_siginfo(pid);
	SHOW(status_number(pid, "TracerPid") == getpid());
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	SHOW(await_state(pid, 'S'));
	kill(pid, SIGUSR1);
	await("child", pid);
	ERR(trace(PTRACE_DETACH, pid, 0, 0));
	SHOW(await_state(pid, 'S'));
	SHOW(status_number(pid, "TracerPid"));
	end_child(pid);
}

SECTION("PTRACE_SEIZE stops nobody; PTRACE_INTERRUPT does")
{
	pid_t pid = sleeping_child();
	int status;

	ERR(trace(PTRACE_SEIZE, pid, 0, 0));
	RET(waitpid(pid, &status, WNOHANG | __WALL));
	unsigned long word;
	ERR(trace(PTRACE_PEEKDATA, pid, 0, DATA(&word)));
	ERR(trace(PTRACE_INTERRUPT, pid, 0, 0));
	await("child", pid);
	say_siginfo(pid);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	SHOW(await_state(pid, 'S'));
	kill(pid, SIGSTOP);
	await("signal", pid);
	MUST(trace(PTRACE_CONT, pid, 0, SIGSTOP));
	await("group stop", pid);
	end_child(pid);
}

SECTION("PTRACE_INTERRUPT and PTRACE_LISTEN are for who has seized")
{
	pid_t pid = traced_child(nothing);
	ERR(trace(PTRACE_INTERRUPT, pid, 0, 0));
	ERR(trace(PTRACE_LISTEN, pid, 0, 0));
	end_child(pid);
	pid = sleeping_child();
	MUST(trace(PTRACE_SEIZE, pid, 0, 0));
	kill(pid, SIGUSR1);
	await("child", pid);
	ERR(trace(PTRACE_LISTEN, pid, 0, 0));
	end_child(pid);
}

SECTION("PTRACE_DETACH with a signal, and of a process that is stopped")
{
	pid_t pid = sleeping_child();
	MUST(trace(PTRACE_ATTACH, pid, 0, 0));
	await("child", pid);
	ERR(trace(PTRACE_DETACH, pid, 0, SIGTERM));
	await("child", pid);

	pid = sleeping_child();
	MUST(trace(PTRACE_ATTACH, pid, 0, 0));
	await("child", pid);
	ERR(trace(PTRACE_DETACH, pid, 0, SIGSTOP));
	SHOW(await_state(pid, 'T'));
	kill(pid, SIGCONT);
	SHOW(await_state(pid, 'S'));
	end_child(pid);
}

SECTION("attaching to a stopped process")
{
	pid_t pid = sleeping_child();
	int status;

	kill(pid, SIGSTOP);
	SHOW(await_state(pid, 'T'));
	MUST(waitpid(pid, &status, WUNTRACED));
	ERR(trace(PTRACE_SEIZE, pid, 0, 0));
	await("child", pid);
	say_siginfo(pid);
	SHOW(state_of(pid) == 't');
	ERR(trace(PTRACE_DETACH, pid, 0, 0));
	SHOW(await_state(pid, 'T'));
	kill(pid, SIGCONT);
	SHOW(await_state(pid, 'S'));
	end_child(pid);
}

SECTION("the end of the tracer lets its tracees go; with EXITKILL it ends them")
{
	for (int exitkill = 0; exitkill < 2; exitkill++) {
		pid_t pid = sleeping_child();
		pid_t tracer = fork();
		if (tracer == 0) {
			MUST(trace(PTRACE_SEIZE, pid, 0, exitkill ? PTRACE_O_EXITKILL : 0));
			MUST(trace(PTRACE_INTERRUPT, pid, 0, 0));
			await("tracee", pid);
			_exit(0);
		}
		STATUS(end_of(tracer));
		if (exitkill)
			SHOW(await_state(pid, 'Z'));
		else
			SHOW(await_state(pid, 'S'));
		kill(pid, SIGTERM);
		STATUS(end_of(pid));
	}
}

SECTION("a tracer that is not the parent: who waits for what")
{
	pid_t pid = sleeping_child();
	int go[2], ready[2], status;
	char byte = 0;

	MUST(pipe(go));
	MUST(pipe(ready));
	pid_t tracer = fork();
	if (tracer == 0) {
		MUST(trace(PTRACE_ATTACH, pid, 0, 0));
		await("tracer", pid);
		MUST(trace(PTRACE_CONT, pid, 0, 0));
		write(ready[1], "x", 1);
		await_state(pid, 'Z');
		read(go[0], &byte, 1);
		await("tracer", pid);
		_exit(0);
	}
	read(ready[0], &byte, 1);
	RET(waitpid(pid, &status, WNOHANG | WUNTRACED));
	kill(pid, SIGKILL);
	SHOW(await_state(pid, 'Z'));
	RET(waitpid(pid, &status, WNOHANG));
	write(go[1], "x", 1);
	STATUS(end_of(tracer));
	await("parent", pid);
}

SECTION("other users may not attach, nor to what must not be dumped")
{
	need_root();
	pid_t root_child = sleeping_child();
	pid_t pid = fork();
	if (pid == 0) {
		if (setresgid(1234, 1234, 1234) < 0 || setresuid(1234, 1234, 1234) < 0)
			_exit(1);
		ERR(trace(PTRACE_ATTACH, root_child, 0, 0));
		ERR(trace(PTRACE_SEIZE, root_child, 0, 0));
		pid_t own = sleeping_child();
		/* A changed identity made it undumpable. */
		ERR(trace(PTRACE_ATTACH, own, 0, 0));
		kill(own, SIGKILL);
		MUST(prctl(PR_SET_DUMPABLE, 1));
		own = sleeping_child();
		ERR(trace(PTRACE_ATTACH, own, 0, 0));
		await("own", own);
		kill(own, SIGKILL);
		own = fork();
		if (own == 0) {
			prctl(PR_SET_DUMPABLE, 0);
			sleep_for_ever();
		}
		await_state(own, 'S');
		ERR(trace(PTRACE_SEIZE, own, 0, 0));
		kill(own, SIGKILL);
		_exit(0);
	}
	STATUS(end_of(pid));
	end_child(root_child);
}

SECTION("capabilities decide within a user namespace only")
{
	need_root();
	pid_t pid = fork();
	if (pid == 0) {
		if (setresgid(1234, 1234, 1234) < 0 || setresuid(1234, 1234, 1234) < 0)
			_exit(1);
		prctl(PR_SET_DUMPABLE, 1);
		pid_t outside = sleeping_child();
		MUST(unshare(CLONE_NEWUSER));
		/* All capabilities there, none where the other one is. */
		ERR(trace(PTRACE_ATTACH, outside, 0, 0));
		ERR(syscall(SYS_process_vm_readv, outside, &(struct iovec){ &pid, 4 }, 1, &(struct iovec){ &pid, 4 }, 1, 0));
		kill(outside, SIGKILL);
		_exit(0);
	}
	STATUS(end_of(pid));
	/* A child that can do more than its parent does not make that one its tracer. */
	pid = fork();
	if (pid == 0) {
		pid_t child = fork();
		if (child == 0) {
			while (getuid() == 0 && status_number(getppid(), "Uid") == 0)
				sleep_ms(1);
			ERR(trace(PTRACE_TRACEME, 0, 0, 0));
			_exit(0);
		}
		if (setresuid(1234, 1234, 1234) < 0)
			_exit(1);
		_exit(WEXITSTATUS(end_of(child)));
	}
	STATUS(end_of(pid));
}

SECTION("exec of a set-user-id program under a tracer that may not gain anything by it")
{
	need_root();
	/* A copy of this program that belongs to root. */
	char copy[] = "set-id", command[8192];
	snprintf(command, sizeof command, "cp %s %s && chmod 4755 %s && chmod 755 .", observe_self, copy, copy);
	if (system(command) != 0)
		say("no copy\n");
	for (int with_tracer = 0; with_tracer < 2; with_tracer++) {
		pid_t pid = fork();
		if (pid == 0) {
			if (setresgid(1234, 1234, 1234) < 0 || setresuid(1234, 1234, 1234) < 0)
				_exit(1);
			prctl(PR_SET_DUMPABLE, 1);
			pid_t child = fork();
			if (child == 0) {
				if (with_tracer)
					trace(PTRACE_TRACEME, 0, 0, 0);
				execl(copy, copy, "@child", "ids", (char *)NULL);
				say("exec: %s\n", error_name(errno));
				_exit(2);
			}
			int status = await_quietly(child);
			while (WIFSTOPPED(status)) {
				MUST(trace(PTRACE_CONT, child, 0, 0));
				status = await_quietly(child);
			}
			_exit(WEXITSTATUS(status));
		}
		STATUS(end_of(pid));
	}
}

/* Stops of the process. */

SECTION("a group stop of a tracee: no siginfo, SIGCONT does not end it")
{
	pid_t pid = traced_child(sleep_for_ever);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await_state(pid, 'S');
	kill(pid, SIGTSTP);
	await("signal", pid);
	say_siginfo(pid);
	MUST(trace(PTRACE_CONT, pid, 0, SIGTSTP));
	await("group stop", pid);
	say_siginfo(pid);
	SHOW(state_of(pid) == 't');
	kill(pid, SIGCONT);
	SHOW(state_of(pid) == 't');
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("continue", pid);
	end_child(pid);
}

SECTION("PTRACE_LISTEN: stays stopped, and hears of SIGCONT")
{
	pid_t pid = sleeping_child();
	int status;

	MUST(trace(PTRACE_SEIZE, pid, 0, 0));
	kill(pid, SIGSTOP);
	await("signal", pid);
	MUST(trace(PTRACE_CONT, pid, 0, SIGSTOP));
	await("group stop", pid);
	say_siginfo(pid);
	ERR(trace(PTRACE_LISTEN, pid, 0, 0));
	RET(waitpid(pid, &status, WNOHANG | __WALL));
	ERR(trace(PTRACE_CONT, pid, 0, 0));
	kill(pid, SIGCONT);
	await("trap", pid);
	say_siginfo(pid);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("signal", pid);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	SHOW(await_state(pid, 'S'));
	end_child(pid);
}

SECTION("PTRACE_INTERRUPT ends PTRACE_LISTEN for a look")
{
	pid_t pid = sleeping_child();

	MUST(trace(PTRACE_SEIZE, pid, 0, 0));
	kill(pid, SIGSTOP);
	await("signal", pid);
	MUST(trace(PTRACE_CONT, pid, 0, SIGSTOP));
	await("group stop", pid);
	MUST(trace(PTRACE_LISTEN, pid, 0, 0));
	MUST(trace(PTRACE_INTERRUPT, pid, 0, 0));
	await("again", pid);
	end_child(pid);
}

/* Events. */

static void forks(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(5);
	end_of(pid);
}

/* Follows everything until the first task ends, and says what happens to whom. */
static void follow(pid_t first, pid_t other, long resume)
{
	char text[64];
	int status;
	pid_t pid;
	bool first_ended = false, other_ended = other == 0;

	MUST(trace(resume, first, 0, 0));
	while (!first_ended || !other_ended) {
		/* One after the other: the order between two is nobody's business. */
		pid = waitpid(other_ended ? first : other, &status, __WALL);
		if (pid < 0) {
			say("follow: %s\n", error_name(errno));
			return;
		}
		stop_text(text, status);
		say("%s: %s\n", pid == first ? "first" : "other", text);
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (pid == first)
				first_ended = true;
			else
				other_ended = true;
			continue;
		}
		int signo = WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status);
		if (status >> 16 == PTRACE_EVENT_EXIT)
			say("exit status %#lx\n", event_message(pid));
		trace(resume, pid, 0, signo);
	}
}

static pid_t run_to_event(pid_t pid)
{
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	int status = await("event", pid);
	if (!WIFSTOPPED(status) || status >> 16 == 0)
		return 0;
	pid_t other = (pid_t)event_message(pid);
	SHOW(other > 0);
	return other;
}

SECTION("PTRACE_O_TRACEFORK")
{
	pid_t pid = traced_child(forks);
	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXIT));
	pid_t other = run_to_event(pid);
	SHOW((long)registers_of(pid).rax);
	await("new", other);
	SHOW((long)registers_of(other).rax);
	SHOW(status_number(other, "TracerPid") == getpid());
	MUST(trace(PTRACE_CONT, other, 0, 0));
	follow(pid, other, PTRACE_CONT);
}

static void vforks(void)
{
	pid_t pid = vfork();
	if (pid == 0)
		_exit(6);
	end_of(pid);
}

SECTION("PTRACE_O_TRACEVFORK and PTRACE_O_TRACEVFORKDONE")
{
	pid_t pid = traced_child(vforks);
	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE));
	pid_t other = run_to_event(pid);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("new", other);
	MUST(trace(PTRACE_CONT, other, 0, 0));
	await("new", other);
	int status = await("parent", pid);
	if (WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_VFORK_DONE)
		SHOW(event_message(pid) == (unsigned long)other);
	follow(pid, 0, PTRACE_CONT);
}

static void *thread_body(void *arg)
{
	return arg;
}

static void makes_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, thread_body, NULL);
	pthread_join(thread, NULL);
}

SECTION("PTRACE_O_TRACECLONE: a thread, which is waited for on its own")
{
	pid_t pid = traced_child(makes_thread);
	int status;

	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE));
	pid_t other = run_to_event(pid);
	await("new", other);
	SHOW(status_number(other, "Tgid") == pid);
	ERR(waitpid(other, &status, WNOHANG | __WALL));
	MUST(trace(PTRACE_CONT, other, 0, 0));
	follow(pid, other, PTRACE_CONT);
}

SECTION("a new task of a seized one stops by an event")
{
	pid_t pid = fork();
	if (pid == 0) {
		raise(SIGSTOP);
		forks();
		_exit(0);
	}
	await_state(pid, 'T');
	MUST(trace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEFORK));
	await("seized", pid);
	kill(pid, SIGCONT);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	/* Two traps may have become one. */
	int status = await_quietly(pid);
	while (WIFSTOPPED(status) && status >> 16 != PTRACE_EVENT_FORK) {
		MUST(trace(PTRACE_CONT, pid, 0, 0));
		status = await_quietly(pid);
	}
	pid_t other = (pid_t)event_message(pid);
	await("new", other);
	say_siginfo(other);
	MUST(trace(PTRACE_CONT, other, 0, 0));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("other", other);
	status = await_quietly(pid);
	if (WIFSTOPPED(status)) {
		say("stopped by %s\n", signal_name(WSTOPSIG(status)));
		MUST(trace(PTRACE_CONT, pid, 0, 0));
		await("first", pid);
	}
}

static void exits_seven(void)
{
	_exit(7);
}

static void kills_itself(void)
{
	raise(SIGTERM);
}

SECTION("PTRACE_O_TRACEEXIT: by exit, by signal, by SIGKILL")
{
	void (*bodies[])(void) = { exits_seven, kills_itself };

	for (size_t i = 0; i < LENGTH(bodies); i++) {
		pid_t pid = traced_child(bodies[i]);
		MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT));
		follow(pid, 0, PTRACE_CONT);
	}
	pid_t pid = traced_child(sleep_for_ever);
	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	kill(pid, SIGKILL);
	await("killed", pid);
	HEX(event_message(pid));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("killed", pid);
}

SECTION("PTRACE_KILL and SIGKILL of a stopped tracee")
{
	pid_t pid = traced_child(nothing);
	ERR(trace(PTRACE_KILL, pid, 0, 0));
	await("child", pid);
	pid = traced_child(nothing);
	kill(pid, SIGKILL);
	await("child", pid);
}

static pid_t exec_thread_tid;

static void *exec_thread(void *arg)
{
	(void)arg;
	execl(observe_self, observe_self, "@child", "x", (char *)NULL);
	return NULL;
}

static void execs_in_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, exec_thread, NULL);
	pause();
}

SECTION("an exec by a thread that is not the leader: the event tells its old id")
{
	(void)exec_thread_tid;
	pid_t pid = traced_child(execs_in_thread);
	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC));
	pid_t other = run_to_event(pid);
	await("new", other);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	MUST(trace(PTRACE_CONT, other, 0, 0));
	await("leader", pid);
	SHOW(event_message(pid) == (unsigned long)other);
	int status;
	ERR(waitpid(other, &status, WNOHANG | __WALL));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("leader", pid);
}

SECTION("CLONE_UNTRACED is not followed; CLONE_PTRACE is without an option")
{
	unsigned long flags[] = { CLONE_UNTRACED, CLONE_PTRACE };

	for (size_t i = 0; i < LENGTH(flags); i++) {
		pid_t pid = fork();
		if (pid == 0) {
			trace(PTRACE_TRACEME, 0, 0, 0);
			raise(SIGSTOP);
			long child = syscall(SYS_clone, flags[i] | SIGCHLD, 0, 0, 0, 0);
			if (child == 0)
				_exit(8);
			_exit(WEXITSTATUS(end_of(child)));
		}
		await_quietly(pid);
		MUST(trace(PTRACE_SETOPTIONS, pid, 0, i == 0 ? PTRACE_O_TRACEFORK : 0));
		MUST(trace(PTRACE_CONT, pid, 0, 0));
		int status;
		pid_t got = waitpid(-1, &status, __WALL);
		while (got > 0 && got != pid) {
			char text[64];
			stop_text(text, status);
			say("other: %s\n", text);
			if (WIFSTOPPED(status))
				MUST(trace(PTRACE_CONT, got, 0, 0));
			got = waitpid(-1, &status, __WALL);
		}
		STATUS(status);
	}
}

/* seccomp. */

static void filtered(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 0x1234),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { LENGTH(code), code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(92);
	long result = syscall(SYS_getppid);
	say("getppid %s\n", result < 0 ? error_name(errno) : "ok");
}

SECTION("SECCOMP_RET_TRACE: an event with the filter's data, ENOSYS without a tracer that wants it")
{
	pid_t pid = traced_child(filtered);
	MUST(trace(PTRACE_SETOPTIONS, pid, 0, 0));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("no option", pid);

	pid = traced_child(filtered);
	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("event", pid);
	HEX(event_message(pid));
	struct ptrace_syscall_info info;
	RET(trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, DATA(&info)));
	SHOW(info.op);
	SHOW(info.seccomp.nr);
	HEX(info.seccomp.ret_data);
	SHOW((long)registers_of(pid).rax);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("allowed", pid);

	/* Changed into a call that the filter refuses, and skipped. */
	for (int skip = 0; skip < 2; skip++) {
		pid = traced_child(filtered);
		MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP));
		MUST(trace(PTRACE_CONT, pid, 0, 0));
		await("event", pid);
		MUST(trace(PTRACE_POKEUSR, pid, offsetof(struct user, regs.orig_rax), skip ? -1ul : SYS_getpgid));
		if (skip)
			MUST(trace(PTRACE_POKEUSR, pid, offsetof(struct user, regs.rax), -ENOLINK));
		MUST(trace(PTRACE_CONT, pid, 0, 0));
		await("changed", pid);
	}
}

SECTION("PTRACE_O_SUSPEND_SECCOMP: filters are not asked")
{
	enum { SUSPEND_SECCOMP = 1 << 21 };

	need_root();
	pid_t pid = traced_child(filtered);
	MUST(trace(PTRACE_SETOPTIONS, pid, 0, SUSPEND_SECCOMP | PTRACE_O_TRACESECCOMP));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("suspended", pid);

	pid = traced_child(filtered);
	pid_t tracer = fork();
	if (tracer == 0) {
		MUST(setuid(1000));
		pid_t own = fork();
		if (own == 0) {
			trace(PTRACE_TRACEME, 0, 0, 0);
			raise(SIGSTOP);
			_exit(0);
		}
		await("unprivileged", own);
		ERR(trace(PTRACE_SETOPTIONS, own, 0, SUSPEND_SECCOMP));
		MUST(trace(PTRACE_CONT, own, 0, 0));
		await("unprivileged", own);
		_exit(0);
	}
	await("tracer", tracer);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("PTRACE_SECCOMP_GET_FILTER")
{
	need_root();
	pid_t pid = traced_child(filtered);
	struct sock_filter code[16];

	ERR(trace(0x420c, pid, 0, DATA(code)));
	MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("event", pid);
	long length = trace(0x420c, pid, 0, DATA(code));
	/* A kernel without checkpointing says EIO. */
	if (length < 0 && errno == EIO)
		say("length 6 k 1234\n");
	else
		say("length %ld k %x\n", length, code[2].k & 0xffff);
	end_child(pid);
}

/* What else a tracer asks. */

static void queues(void)
{
	sigset_t set;
	union sigval value = { .sival_int = 5 };

	sigfillset(&set);
	sigdelset(&set, SIGTRAP);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigqueue(getpid(), SIGRTMIN, value);
	value.sival_int = 6;
	sigqueue(getpid(), SIGRTMIN + 1, value);
	syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1);
	__asm__ volatile("int3");
}

SECTION("PTRACE_PEEKSIGINFO, PTRACE_GETSIGMASK, PTRACE_SETSIGMASK")
{
	pid_t pid = traced_child(queues);
	siginfo_t info[4];
	struct ptrace_peeksiginfo_args args = { 0, PTRACE_PEEKSIGINFO_SHARED, 4 };
	uint64_t mask = 0;

	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	memset(info, 0, sizeof info);
	RET(trace(PTRACE_PEEKSIGINFO, pid, DATA(&args), DATA(info)));
	for (int i = 0; i < 2; i++)
		say("%s code %d value %d\n", signal_name(info[i].si_signo), info[i].si_code, info[i].si_value.sival_int);
	args.off = 1;
	args.nr = 1;
	RET(trace(PTRACE_PEEKSIGINFO, pid, DATA(&args), DATA(info)));
	SIGNAL(info[0].si_signo);
	args.off = 0;
	args.flags = 0;
	RET(trace(PTRACE_PEEKSIGINFO, pid, DATA(&args), DATA(info)));
	SIGNAL(info[0].si_signo);
	args.flags = 2;
	ERR(trace(PTRACE_PEEKSIGINFO, pid, DATA(&args), DATA(info)));
	args.flags = 0;
	args.nr = -1;
	ERR(trace(PTRACE_PEEKSIGINFO, pid, DATA(&args), DATA(info)));
	ERR(trace(PTRACE_PEEKSIGINFO, pid, 8, DATA(info)));

	ERR(trace(PTRACE_GETSIGMASK, pid, 8, DATA(&mask)));
	HEX(mask);
	ERR(trace(PTRACE_GETSIGMASK, pid, 4, DATA(&mask)));
	mask = ~0ull;
	ERR(trace(PTRACE_SETSIGMASK, pid, 8, DATA(&mask)));
	ERR(trace(PTRACE_GETSIGMASK, pid, 8, DATA(&mask)));
	HEX(mask);
	mask = 0;
	ERR(trace(PTRACE_SETSIGMASK, pid, 8, DATA(&mask)));
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("unblocked", pid);
	end_child(pid);
}

SECTION("PTRACE_GET_RSEQ_CONFIGURATION: a length")
{
	pid_t pid = traced_child(nothing);
	char configuration[64];

	ERR(trace(0x420f, pid, 7, DATA(configuration)));
	RET(trace(0x420f, pid, 24, DATA(configuration)));
	end_child(pid);
}

/* Threads. */

static int thread_count;

static void *waits(void *arg)
{
	__atomic_add_fetch(&thread_count, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return arg;
}

SECTION("each thread is attached to by itself")
{
	int ids[2];
	MUST(pipe(ids));
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t thread;
		pthread_create(&thread, NULL, waits, NULL);
		while (!__atomic_load_n(&thread_count, __ATOMIC_SEQ_CST))
			sched_yield();
		write(ids[1], "x", 1);
		waits(NULL);
	}
	char byte;
	read(ids[0], &byte, 1);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	struct dirent *entry;
	pid_t other = 0;
	while ((entry = readdir(tasks)))
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != pid)
			other = atoi(entry->d_name);
	closedir(tasks);
	ERR(trace(PTRACE_SEIZE, other, 0, 0));
	ERR(trace(PTRACE_INTERRUPT, other, 0, 0));
	await("thread", other);
	SHOW(status_number(pid, "TracerPid"));
	ERR(trace(PTRACE_CONT, other, 0, 0));
	kill(pid, SIGKILL);
	await("thread", other);
	await("process", pid);
}

static void *spins(void *arg)
{
	volatile unsigned long *counter = arg;

	for (;;)
		++*counter;
	return NULL;
}

static unsigned long spin_counter;

static void spins_in_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, spins, &spin_counter);
	while (!*(volatile unsigned long *)&spin_counter)
		sched_yield();
	raise(SIGUSR1);
	_exit(9);
}

SECTION("a thread that is not traced runs on while another one is stopped")
{
	pid_t pid = traced_child(spins_in_thread);

	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
	unsigned long before = peek(pid, &spin_counter);
	for (int i = 0; i < 8000 && peek(pid, &spin_counter) == before; i++)
		sleep_ms(1);
	SHOW(peek(pid, &spin_counter) != before);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	await("child", pid);
}

SECTION("a tracer's threads: only the one that attached may ask, all may wait")
{
	pid_t pid = traced_child(nothing);
	pthread_t thread;

	void *asks(void *arg)
	{
		ERR(trace(PTRACE_CONT, pid, 0, 0));
		int status;
		ERR(waitpid(pid, &status, WNOHANG | __WNOTHREAD | __WALL));
		return arg;
	}
	pthread_create(&thread, NULL, asks, NULL);
	pthread_join(thread, NULL);
	MUST(trace(PTRACE_CONT, pid, 0, 0));
	void *waits_for(void *arg)
	{
		await("child", pid);
		return arg;
	}
	pthread_create(&thread, NULL, waits_for, NULL);
	pthread_join(thread, NULL);
}

struct busy {
	pthread_mutex_t lock;
	pthread_cond_t condition;
	unsigned long turns[3];
	volatile int over;
};

static struct busy *busy;

/* Calls of all kinds, futexes among them, that the kernel may have made faster in its own way. */
static void *is_busy(void *arg)
{
	long n = (long)arg;
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	while (!busy->over) {
		pthread_mutex_lock(&busy->lock);
		pthread_cond_broadcast(&busy->condition);
		if (n == 0) {
			struct timespec until;
			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_nsec += 1000000;
			if (until.tv_nsec >= 1000000000) {
				until.tv_nsec -= 1000000000;
				until.tv_sec++;
			}
			pthread_cond_timedwait(&busy->condition, &busy->lock, &until);
		}
		pthread_mutex_unlock(&busy->lock);
		if (write(fd, "x", 1) != 1 || getppid() < 1 || lseek(fd, 0, SEEK_SET) != 0)
			_exit(1);
		busy->turns[n]++;
	}
	return arg;
}

static bool turns_go_on(void)
{
	for (int n = 0; n < 3; n++) {
		unsigned long before = *(volatile unsigned long *)&busy->turns[n];
		for (int i = 0; i < 2000 && *(volatile unsigned long *)&busy->turns[n] == before; i++)
			sleep_ms(5);
		if (*(volatile unsigned long *)&busy->turns[n] == before)
			return false;
	}
	return true;
}

SECTION("attaching to all of busy threads and leaving them, again and again")
{
	pid_t tids[8];
	int rounds = 0, stops = 0, odd = 0;
	bool same = true, going = true;

	busy = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutex_init(&busy->lock, NULL);
	pthread_cond_init(&busy->condition, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t threads[2];
		for (long n = 0; n < 2; n++)
			pthread_create(&threads[n], NULL, is_busy, (void *)(n + 1));
		is_busy(NULL);
		for (int n = 0; n < 2; n++)
			pthread_join(threads[n], NULL);
		_exit(0);
	}
	going &= turns_go_on();
	for (; rounds < 6 && going; rounds++) {
		char path[64];
		int count = 0;

		snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
		DIR *tasks = opendir(path);
		struct dirent *entry;
		while (count < 8 && (entry = readdir(tasks)))
			if (entry->d_name[0] != '.')
				tids[count++] = atoi(entry->d_name);
		closedir(tasks);
		for (int n = 0; n < count; n++) {
			MUST(trace(PTRACE_SEIZE, tids[n], 0, PTRACE_O_TRACESYSGOOD));
			MUST(trace(PTRACE_INTERRUPT, tids[n], 0, 0));
		}
		for (int n = 0; n < count; n++) {
			int status = await_quietly(tids[n]);
			stops += WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP;
		}
		same &= text_is_whole(pid);
		/* Every other time their calls are looked at for a while. */
		for (int i = 0; i < 15 && rounds % 2 == 1; i++) {
			for (int n = 0; n < count; n++)
				MUST(trace(PTRACE_SYSCALL, tids[n], 0, 0));
			for (int n = 0; n < count; n++)
				MUST(trace(PTRACE_INTERRUPT, tids[n], 0, 0));
			for (int n = 0; n < count; n++) {
				int status = await_quietly(tids[n]);
				odd += !WIFSTOPPED(status) || (WSTOPSIG(status) & 0x7f) != SIGTRAP;
			}
		}
		for (int n = 0; n < count; n++)
			MUST(trace(PTRACE_DETACH, tids[n], 0, 0));
		going &= turns_go_on();
	}
	SHOW(rounds);
	SHOW(stops);
	SHOW(odd);
	SHOW(same);
	SHOW(going);
	busy->over = 1;
	STATUS(end_of(pid));
}
