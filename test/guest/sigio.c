/* Signals of open files: O_ASYNC with F_SETOWN and F_SETSIG, leases, directory notification. */
#include "observe.h"
#include <sys/ioctl.h>
#include <sys/socket.h>

static volatile int taken, code, band, fd_of, handled;

static void note(int signo, siginfo_t *info, void *context)
{
	(void)context;
	taken = signo;
	code = info->si_code;
	band = info->si_band;
	fd_of = info->si_fd;
	handled++;
}

static void catch(int signo)
{
	struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };

	MUST(sigaction(signo, &action, NULL));
}

/* Waits up to a second for the next signal, and tells of it. */
static void told(int expected_fd)
{
	for (int i = 0; i < 200 && !taken; i++)
		sleep_ms(5);
	if (!taken) {
		say("no signal\n");
		return;
	}
	if (code > 0 && code < 10)
		say("%s code %d band %#x%s\n", signal_name(taken), code, band, fd_of == expected_fd ? "" : " of another fd");
	else
		say("%s from the kernel\n", signal_name(taken));
	taken = 0;
}

static void quiet(void)
{
	sleep_ms(50);
	SHOW(taken);
	taken = 0;
}

SECTION("F_SETOWN, F_GETOWN, F_SETSIG: what is kept and refused")
{
	int pair[2];
	struct f_owner_ex owner = { F_OWNER_PGRP, getpgrp() };

	MUST(pipe(pair));
	RET(fcntl(pair[0], F_GETOWN));
	ERR(fcntl(pair[0], F_SETOWN, 99999999));
	ERR(fcntl(pair[0], F_SETOWN, getpid()));
	SHOW(fcntl(pair[0], F_GETOWN) == getpid());
	ERR(fcntl(pair[0], F_SETOWN_EX, &owner));
	SHOW(fcntl(pair[0], F_GETOWN) == -getpgrp());
	ERR(fcntl(pair[0], F_GETOWN_EX, &owner));
	for (int type = F_OWNER_TID; type <= F_OWNER_PGRP; type++) {
		struct f_owner_ex none = { type, 0 };

		ERR(fcntl(pair[0], F_SETOWN_EX, &none));
		ERR(fcntl(pair[0], F_GETOWN_EX, &none));
		printf("  type %d, nobody: type %d, %d\n", type, none.type, none.pid);
	}
	SHOW(owner.type == F_OWNER_PGRP && owner.pid == getpgrp());
	owner.type = 9;
	ERR(fcntl(pair[0], F_SETOWN_EX, &owner));
	ERR(fcntl(pair[0], F_SETOWN, 0));
	RET(fcntl(pair[0], F_GETOWN));
	/* A negative int may fill the register. */
	ERR(syscall(SYS_fcntl, pair[0], F_SETOWN, -(long)getpgrp()));
	SHOW(fcntl(pair[0], F_GETOWN) == -getpgrp());
	ERR(syscall(SYS_fcntl, pair[0], F_SETSIG, -1L));
	ERR(syscall(SYS_fcntl, pair[0], F_GETLK, -4096L));
	ERR(fcntl(pair[0], F_SETOWN, 0));
	RET(fcntl(pair[0], F_GETSIG));
	ERR(fcntl(pair[0], F_SETSIG, 65));
	ERR(fcntl(pair[0], F_SETSIG, SIGUSR1));
	SHOW(fcntl(pair[0], F_GETSIG) == SIGUSR1);
	SHOW(fcntl(pair[1], F_GETSIG));
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	MUST(fcntl(pair[0], F_SETOWN, pid));
	end_of(pid);
	RET(fcntl(pair[0], F_GETOWN));
}

SECTION("O_ASYNC: which files have it")
{
	int pair[2], file = MUST(open("f", O_RDWR | O_CREAT, 0644)), on = 1;

	MUST(pipe(pair));
	ERR(fcntl(pair[0], F_SETFL, O_ASYNC));
	HEX(fcntl(pair[0], F_GETFL) & O_ASYNC);
	ERR(fcntl(pair[0], F_SETFL, 0));
	HEX(fcntl(pair[0], F_GETFL) & O_ASYNC);
	ERR(ioctl(pair[0], FIOASYNC, &on));
	HEX(fcntl(pair[0], F_GETFL) & O_ASYNC);
	ERR(fcntl(file, F_SETFL, O_ASYNC));
	HEX(fcntl(file, F_GETFL) & O_ASYNC);
	ERR(ioctl(file, FIOASYNC, &on));
}

SECTION("O_ASYNC: a pipe that gets data, and room")
{
	int pair[2];
	char buffer[65536];

	catch(SIGIO);
	MUST(pipe(pair));
	MUST(fcntl(pair[0], F_SETOWN, getpid()));
	MUST(write(pair[1], "x", 1));
	quiet();
	MUST(fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK));
	quiet();
	MUST(write(pair[1], "x", 1));
	told(pair[0]);
	MUST(write(pair[1], "x", 1));
	told(pair[0]);
	MUST(fcntl(pair[0], F_SETSIG, SIGIO));
	MUST(write(pair[1], "x", 1));
	told(pair[0]);
	MUST(fcntl(pair[0], F_SETSIG, SIGRTMIN + 2));
	catch(SIGRTMIN + 2);
	MUST(write(pair[1], "x", 1));
	told(pair[0]);
	MUST(read(pair[0], buffer, sizeof buffer));
	quiet();
	close(pair[1]);
	told(pair[0]);
	MUST(pipe(pair));
	MUST(fcntl(pair[1], F_SETOWN, getpid()));
	MUST(fcntl(pair[1], F_SETSIG, SIGIO));
	MUST(write(pair[1], buffer, sizeof buffer));
	MUST(fcntl(pair[1], F_SETFL, O_ASYNC | O_NONBLOCK));
	MUST(read(pair[0], buffer, sizeof buffer));
	told(pair[1]);
	close(pair[0]);
	told(pair[1]);
}

SECTION("O_ASYNC: a socket that gets data and loses its peer")
{
	int pair[2];
	char buffer[100];

	catch(SIGIO);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	MUST(fcntl(pair[0], F_SETOWN, getpid()));
	MUST(fcntl(pair[0], F_SETSIG, SIGIO));
	MUST(fcntl(pair[0], F_SETFL, O_ASYNC));
	MUST(write(pair[1], "abc", 3));
	told(pair[0]);
	MUST(read(pair[0], buffer, sizeof buffer));
	MUST(write(pair[0], "abc", 3));
	MUST(read(pair[1], buffer, sizeof buffer));
	quiet();
	close(pair[1]);
	told(pair[0]);
	MUST(fcntl(pair[0], F_SETFL, 0));
	HEX(fcntl(pair[0], F_GETFL));
}

SECTION("O_ASYNC: another process, a thread, a group, and who may not be told")
{
	int pair[2], ready[2];
	char byte;

	MUST(pipe(pair));
	MUST(pipe(ready));
	catch(SIGIO);
	pid_t pid = fork();
	if (pid == 0) {
		MUST(fcntl(pair[0], F_SETOWN, getpid()));
		MUST(fcntl(pair[0], F_SETFL, O_ASYNC));
		write(ready[1], "", 1);
		told(pair[0]);
		_exit(0);
	}
	MUST(read(ready[0], &byte, 1));
	MUST(write(pair[1], "x", 1));
	STATUS(end_of(pid));
	quiet();
	struct f_owner_ex owner = { F_OWNER_TID, gettid() };
	MUST(fcntl(pair[0], F_SETOWN_EX, &owner));
	MUST(write(pair[1], "x", 1));
	told(pair[0]);
	MUST(fcntl(pair[0], F_SETOWN, -getpgrp()));
	MUST(write(pair[1], "x", 1));
	told(pair[0]);
	if (geteuid() != 0)
		return;
	/* What was set by a user may not signal root. */
	pid = fork();
	if (pid == 0) {
		MUST(setresuid(1000, 1000, 1000));
		MUST(fcntl(pair[0], F_SETOWN, getppid()));
		_exit(0);
	}
	end_of(pid);
	MUST(write(pair[1], "x", 1));
	quiet();
}

SECTION("O_ASYNC: a terminal tells its foreground group, or who switched it on")
{
	int master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
	char path[64];

	MUST(grantpt(master));
	MUST(unlockpt(master));
	MUST(ptsname_r(master, path, sizeof path));
	int slave = MUST(open(path, O_RDWR | O_NOCTTY));
	catch(SIGIO);
	MUST(fcntl(slave, F_SETFL, O_ASYNC));
	SHOW(fcntl(slave, F_GETOWN) == getpid());
	MUST(write(master, "line\n", 5));
	told(slave);
}

SECTION("leases: who may have one, and when")
{
	write_file("f", "");
	int reader = MUST(open("f", O_RDONLY)), pair[2];

	signal(SIGIO, SIG_IGN);
	ERR(fcntl(reader, F_SETLEASE, F_UNLCK));
	int second = MUST(open("f", O_RDONLY));
	ERR(fcntl(reader, F_SETLEASE, F_WRLCK));
	ERR(fcntl(reader, F_SETLEASE, F_RDLCK));
	ERR(fcntl(second, F_SETLEASE, F_RDLCK));
	ERR(fcntl(second, F_SETLEASE, F_WRLCK));
	close(second);
	ERR(fcntl(reader, F_SETLEASE, F_WRLCK));
	SHOW(fcntl(reader, F_GETLEASE) == F_WRLCK);
	ERR(open("f", O_RDONLY | O_NONBLOCK));
	SHOW(fcntl(reader, F_GETLEASE) == F_RDLCK);
	ERR(open("f", O_WRONLY | O_NONBLOCK));
	SHOW(fcntl(reader, F_GETLEASE) == F_UNLCK);
	ERR(fcntl(reader, F_SETLEASE, F_UNLCK));
	int writer = MUST(open("f", O_RDWR));
	ERR(fcntl(writer, F_SETLEASE, F_RDLCK));
	ERR(fcntl(writer, F_SETLEASE, F_WRLCK));
	close(reader);
	ERR(fcntl(writer, F_SETLEASE, F_WRLCK));
	close(writer);
	ERR(open("f", O_RDONLY));
	int directory = MUST(open(".", O_RDONLY));
	ERR(fcntl(directory, F_SETLEASE, F_RDLCK));
	MUST(pipe(pair));
	ERR(fcntl(pair[0], F_SETLEASE, F_RDLCK));
	if (geteuid() == 0) {
		MUST(chmod("f", 0666));
		int fd = MUST(open("f", O_RDONLY));
		MUST(setresuid(1000, 1000, 1000));
		ERR(fcntl(fd, F_SETLEASE, F_RDLCK));
	}
}

SECTION("leases: the holder is told, the opener waits")
{
	write_file("f", "");
	int fd = MUST(open("f", O_RDONLY)), report[2];
	char byte;

	catch(SIGIO);
	catch(SIGRTMIN);
	MUST(pipe(report));
	MUST(fcntl(fd, F_SETLEASE, F_RDLCK));
	SHOW(fcntl(fd, F_GETOWN) == getpid());
	for (int round = 0; round < 2; round++) {
		pid_t pid = fork();

		if (pid == 0) {
			int writer = MUST(open("f", O_WRONLY));
			write(report[1], "", 1);
			close(writer);
			_exit(0);
		}
		told(fd);
		SHOW(await_state(pid, 'S'));
		SHOW(fcntl(fd, F_GETLEASE) == F_UNLCK);
		ERR(fcntl(fd, F_SETLEASE, F_UNLCK));
		MUST(read(report[0], &byte, 1));
		STATUS(end_of(pid));
		SHOW(fcntl(fd, F_GETSIG));
		MUST(fcntl(fd, F_SETSIG, SIGRTMIN));
		MUST(fcntl(fd, F_SETLEASE, F_RDLCK));
	}
	/* A reader does not mind a lease to read; truncation does. */
	close(MUST(open("f", O_RDONLY)));
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGALRM, ignore);
		MUST(truncate("f", 0));
		_exit(0);
	}
	told(fd);
	MUST(fcntl(fd, F_SETLEASE, F_UNLCK));
	STATUS(end_of(pid));
}

SECTION("leases: an open that waits is interrupted by a signal")
{
	write_file("f", "");
	int fd = MUST(open("f", O_RDONLY));

	signal(SIGIO, SIG_IGN);
	MUST(fcntl(fd, F_SETLEASE, F_RDLCK));
	handle(SIGALRM, ignore, 0);
	ualarm(100000, 0);
	ERR(open("f", O_WRONLY));
}

SECTION("F_NOTIFY: entries of a directory")
{
	int fd = MUST(open(".", O_RDONLY)), file = MUST(open("f", O_RDWR | O_CREAT, 0644));

	catch(SIGIO);
	catch(SIGRTMIN);
	ERR(fcntl(file, F_NOTIFY, DN_CREATE));
	MUST(fcntl(fd, F_SETSIG, SIGRTMIN));
	ERR(fcntl(fd, F_NOTIFY, DN_CREATE));
	SHOW(fcntl(fd, F_GETOWN) == getpid());
	MUST(write(file, "x", 1));
	quiet();
	close(MUST(open("g", O_RDWR | O_CREAT, 0644)));
	told(fd);
	close(MUST(open("h", O_RDWR | O_CREAT, 0644)));
	quiet();
	ERR(fcntl(fd, F_NOTIFY, DN_MODIFY | DN_ATTRIB | DN_DELETE | DN_MULTISHOT));
	MUST(write(file, "x", 1));
	told(fd);
	MUST(chmod("f", 0600));
	told(fd);
	MUST(unlink("g"));
	told(fd);
	MUST(mkdir("d", 0755));
	quiet();
	ERR(fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT));
	MUST(mkdir("e", 0755));
	told(fd);
	MUST(unlink("h"));
	told(fd);
	ERR(fcntl(fd, F_NOTIFY, 0));
	MUST(mkdir("i", 0755));
	quiet();
	ERR(fcntl(fd, F_NOTIFY, DN_RENAME | DN_MULTISHOT));
	MUST(rename("d", "j"));
	told(fd);
	close(fd);
	MUST(rename("j", "d"));
	quiet();
}
