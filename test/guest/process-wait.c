/* Waiting for children, orphans, process groups and sessions. */
#include "observe.h"

static void info(const char *what, int result, const siginfo_t *info, pid_t pid)
{
	if (result < 0)
		say("%s -> %s\n", what, error_name(errno));
	else
		say("%s -> signo %d code %d status %d pid is right %d\n", what, info->si_signo, info->si_code,
		    info->si_status, info->si_pid == pid);
}

static pid_t stopped_child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

SECTION("wait: no children, wrong children, wrong options")
{
	int status;

	ERR(wait(&status));
	ERR(waitpid(getppid(), &status, 0));
	ERR(waitpid(-1, &status, WNOHANG));
	ERR(waitpid(-1, &status, 0x1000));
	ERR(waitpid(INT32_MIN, &status, 0));
	siginfo_t got;
	ERR(waitid(P_ALL, 0, &got, 0));
	ERR(waitid(P_ALL, 0, &got, WEXITED));
	ERR(waitid(77, 0, &got, WEXITED));
	ERR(waitid(P_PID, -1, &got, WEXITED));
	ERR(waitid(P_PIDFD, 99, &got, WEXITED));
}

SECTION("waitpid: WNOHANG, groups, any")
{
	int status = 0, go[2];

	MUST(pipe(go));
	pid_t pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		close(go[1]);
		read(go[0], &status, 1);
		_exit(5);
	}
	setpgid(pid, pid);
	RET(waitpid(pid, &status, WNOHANG));
	ERR(waitpid(0, &status, WNOHANG));
	RET(waitpid(-pid, &status, WNOHANG));
	close(go[1]);
	SHOW(waitpid(-pid, &status, 0) == pid);
	STATUS(status);
	ERR(waitpid(-pid, &status, 0));
	pid_t one = fork();
	if (one == 0)
		_exit(1);
	pid_t two = fork();
	if (two == 0)
		_exit(2);
	SHOW(waitpid(two, &status, 0) == two);
	STATUS(status);
	SHOW(wait(NULL) == one);
}

SECTION("waitpid: stopped and continued children")
{
	int status;
	pid_t pid = stopped_child();

	kill(pid, SIGSTOP);
	SHOW(waitpid(pid, &status, WUNTRACED) == pid);
	STATUS(status);
	RET(waitpid(pid, &status, WUNTRACED | WNOHANG));
	kill(pid, SIGUSR1);
	RET(waitpid(pid, &status, WUNTRACED | WNOHANG));
	SHOW(state_of(pid) == 'T');
	kill(pid, SIGCONT);
	SHOW(waitpid(pid, &status, 0) == pid);
	STATUS(status);
	pid = stopped_child();
	kill(pid, SIGSTOP);
	SHOW(waitpid(pid, &status, WUNTRACED) == pid);
	kill(pid, SIGCONT);
	SHOW(waitpid(pid, &status, WCONTINUED) == pid);
	STATUS(status);
	kill(pid, SIGTSTP);
	SHOW(waitpid(pid, &status, WUNTRACED) == pid);
	STATUS(status);
	kill(pid, SIGKILL);
	SHOW(waitpid(pid, &status, WUNTRACED) == pid);
	STATUS(status);
}

SECTION("waitid: exited, killed, stopped, continued; WNOWAIT leaves it")
{
	siginfo_t got = { 0 };

	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	info("WNOWAIT", waitid(P_PID, pid, &got, WEXITED | WNOWAIT), &got, pid);
	SHOW(state_of(pid) == 'Z');
	info("exited", waitid(P_PID, pid, &got, WEXITED), &got, pid);
	info("again", waitid(P_PID, pid, &got, WEXITED), &got, pid);
	pid = stopped_child();
	memset(&got, 0, sizeof got);
	info("nothing yet", waitid(P_PID, pid, &got, WEXITED | WSTOPPED | WNOHANG), &got, 0);
	kill(pid, SIGSTOP);
	info("stopped", waitid(P_PID, pid, &got, WSTOPPED), &got, pid);
	kill(pid, SIGCONT);
	info("continued", waitid(P_PID, pid, &got, WCONTINUED), &got, pid);
	kill(pid, SIGTERM);
	info("killed", waitid(P_PGID, getpgrp(), &got, WEXITED), &got, pid);
	SHOW(got.si_uid == getuid());
}

SECTION("SIGCHLD ignored or SA_NOCLDWAIT: children leave nothing behind")
{
	int status;

	signal(SIGCHLD, SIG_IGN);
	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	ERR(waitpid(pid, &status, 0));
	ERR(kill(pid, 0));
	struct sigaction action = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT };
	sigaction(SIGCHLD, &action, NULL);
	pid = fork();
	if (pid == 0)
		_exit(3);
	ERR(wait(&status));
	signal(SIGCHLD, SIG_DFL);
	pid = fork();
	if (pid == 0)
		_exit(3);
	STATUS(end_of(pid));
}

SECTION("orphans go to the nearest subreaper")
{
	int ready[2], status;
	pid_t reaper = getpid(), grandchild = 0;

	ERR(prctl(PR_SET_CHILD_SUBREAPER, 1));
	int set = 0;
	ERR(prctl(PR_GET_CHILD_SUBREAPER, &set));
	SHOW(set);
	MUST(pipe(ready));
	pid_t pid = fork();
	if (pid == 0) {
		pid_t parent = getpid();
		grandchild = fork();
		if (grandchild == 0) {
			while (getppid() == parent)
				sleep_ms(1);
			_exit(getppid() == reaper ? 11 : 12);
		}
		write(ready[1], &grandchild, sizeof grandchild);
		_exit(10);
	}
	read(ready[0], &grandchild, sizeof grandchild);
	SHOW(waitpid(pid, &status, 0) == pid);
	STATUS(status);
	SHOW(waitpid(-1, &status, 0) == grandchild);
	STATUS(status);
}

SECTION("PR_SET_PDEATHSIG: the parent's end is a signal")
{
	int ready[2], status;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	MUST(pipe(ready));
	pid_t pid = fork();
	if (pid == 0) {
		if (fork() == 0) {
			int signo = 0;
			prctl(PR_SET_PDEATHSIG, SIGUSR1);
			prctl(PR_GET_PDEATHSIG, &signo);
			SIGNAL(signo);
			write(ready[1], "", 1);
			for (;;)
				pause();
		}
		read(ready[0], &status, 1);
		_exit(0);
	}
	STATUS(end_of(pid));
	wait(&status);
	STATUS(status);
	ERR(prctl(PR_SET_PDEATHSIG, 100));
}

SECTION("setpgid and getpgid: rules")
{
	pid_t pid = fork();

	if (pid == 0) {
		pid_t own = getpid();
		SHOW(getpgrp() == getppid());
		ERR(setpgid(0, 0));
		SHOW(getpgrp() == own);
		ERR(setpgid(0, 0));
		ERR(setpgid(0, 99999999));
		ERR(setpgid(-1, 0));
		ERR(setpgid(0, -1));
		ERR(setpgid(getppid(), 0));
		ERR(getpgid(99999999));
		ERR(getsid(99999999));
		pid_t child = fork();
		if (child == 0) {
			setsid();
			pause();
		}
		while (getsid(child) != child)
			sleep_ms(1);
		ERR(setpgid(child, own));
		ERR(setpgid(child, child));
		kill(child, SIGKILL);
		_exit(0);
	}
	STATUS(end_of(pid));
	pid = fork();
	if (pid == 0) {
		execl("/bin/sleep", "sleep", "5", NULL);
		_exit(1);
	}
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	while (strcmp(read_file(path), "sleep\n"))
		sleep_ms(1);
	ERR(setpgid(pid, pid));
	kill(pid, SIGKILL);
}

SECTION("setsid: a new session and group; not for group leaders")
{
	ERR(setsid());
	pid_t pid = fork();
	if (pid == 0) {
		pid_t own = getpid();
		SHOW(setsid() == own);
		SHOW(getsid(0) == own && getpgrp() == own);
		ERR(setsid());
		ERR(setpgid(0, 0));
		pid_t child = fork();
		if (child == 0) {
			SHOW(getsid(0) == own && getpgrp() == own);
			_exit(0);
		}
		STATUS(end_of(child));
		ERR(open("/dev/tty", O_RDWR));
		_exit(0);
	}
	STATUS(end_of(pid));
}

SECTION("kill: groups, all, errors")
{
	int status;
	pid_t group = 0, members[3];

	for (int i = 0; i < 3; i++) {
		members[i] = fork();
		if (members[i] == 0) {
			setpgid(0, group);
			for (;;)
				pause();
		}
		setpgid(members[i], group ? group : members[i]);
		group = members[0];
	}
	ERR(kill(-group, 0));
	ERR(kill(-group, SIGUSR1));
	for (int i = 0; i < 3; i++) {
		waitpid(members[i], &status, 0);
		STATUS(status);
	}
	ERR(kill(-group, SIGUSR1));
	ERR(kill(99999999, 0));
	ERR(kill(getpid(), 65));
	ERR(kill(getpid(), -1));
	ERR(kill(getpid(), 0));
	ERR(kill(INT32_MIN, 0));
	ERR(syscall(SYS_tgkill, getpid(), getpid(), 0));
	ERR(syscall(SYS_tgkill, getpid(), getppid(), 0));
	ERR(syscall(SYS_tgkill, -1, getpid(), 0));
	ERR(syscall(SYS_tkill, getpid(), 0));
}

SECTION("kill: another user's process; SIGCONT within the session")
{
	need_root();
	pid_t root = fork();
	if (root == 0)
		for (;;)
			pause();
	pid_t pid = fork();
	if (pid == 0) {
		MUST(setresuid(1000, 1000, 1000));
		ERR(kill(root, 0));
		ERR(kill(root, SIGTERM));
		ERR(kill(root, SIGCONT));
		ERR(getpgid(root) < 0 ? -1 : 0);
		_exit(0);
	}
	STATUS(end_of(pid));
	kill(root, SIGKILL);
	STATUS(end_of(root));
}

SECTION("an orphaned process group with a stopped member gets SIGHUP and SIGCONT")
{
	int out[2], ready[2];
	char text[8] = "";

	MUST(pipe(out));
	MUST(pipe(ready));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		pid_t middle = fork();
		if (middle == 0) {
			setpgid(0, 0);
			pid_t stopped = fork();
			if (stopped == 0) {
				sigset_t set;
				siginfo_t got;

				sigemptyset(&set);
				sigaddset(&set, SIGHUP);
				sigprocmask(SIG_BLOCK, &set, NULL);
				kill(getpid(), SIGSTOP);
				sigwaitinfo(&set, &got);
				write(out[1], "hup", 3);
				_exit(0);
			}
			await_state(stopped, 'T');
			_exit(0);
		}
		end_of(middle);
		pause();
	}
	RET(read(out[0], text, sizeof text - 1));
	TEXT(text);
	kill(pid, SIGKILL);
}

SECTION("many children: each is waited for once")
{
	int count = 0, sum = 0, status;

	for (int i = 0; i < 100; i++)
		if (fork() == 0)
			_exit(i);
	while (wait(&status) > 0) {
		count++;
		sum += WEXITSTATUS(status);
	}
	SHOW(count);
	SHOW(sum);
	TEXT(error_name(errno));
}
