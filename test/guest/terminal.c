/* Pseudo terminals: line discipline, signals from the keyboard, sessions and job control. */
#include "observe.h"
#include <sys/ioctl.h>
#include <termios.h>

static int slave_of(int master)
{
	char path[64];

	MUST(grantpt(master));
	MUST(unlockpt(master));
	MUST(ptsname_r(master, path, sizeof path) ? -1 : 0);
	return MUST(open(path, O_RDWR | O_NOCTTY));
}

static int open_master(void)
{
	return MUST(posix_openpt(O_RDWR | O_NOCTTY));
}

/* What can be read within half a second, as text. */
static const char *seen(int fd)
{
	static char text[512];
	size_t used = 0;
	struct pollfd one = { fd, POLLIN, 0 };

	while (used < sizeof text - 1 && poll(&one, 1, used ? 50 : 500) > 0 && (one.revents & POLLIN)) {
		ssize_t got = read(fd, text + used, sizeof text - 1 - used);
		if (got <= 0)
			break;
		used += got;
	}
	text[used] = 0;
	return text;
}

static void change(int fd, int clear, int set)
{
	struct termios state;

	MUST(tcgetattr(fd, &state));
	state.c_lflag = (state.c_lflag & ~clear) | set;
	MUST(tcsetattr(fd, TCSANOW, &state));
}

SECTION("opening: locked until unlockpt, names, isatty")
{
	int master = open_master(), number = -1, lock = -1;
	char path[64];

	ERR(ioctl(master, TIOCGPTN, &number));
	SHOW(number >= 0);
	ERR(ioctl(master, TIOCGPTLCK, &lock));
	SHOW(lock);
	MUST(ptsname_r(master, path, sizeof path) ? -1 : 0);
	SHOW(!strncmp(path, "/dev/pts/", 9));
	ERR(open(path, O_RDWR | O_NOCTTY));
	int slave = slave_of(master);
	SHOW(isatty(slave));
	SHOW(isatty(master));
	SHOW(!strcmp(ttyname(slave), path));
	struct stat st;
	MUST(fstat(slave, &st));
	SHOW(S_ISCHR(st.st_mode));
	SHOW(st.st_rdev >> 8);
	SHOW(st.st_uid == getuid());
	MUST(stat("/dev/ptmx", &st));
	HEX(st.st_rdev);
	close(slave);
	close(master);
	ERR(access(path, F_OK));
}

SECTION("defaults of a new terminal")
{
	int slave = slave_of(open_master());
	struct termios state;
	struct winsize size;

	MUST(tcgetattr(slave, &state));
	HEX(state.c_iflag);
	HEX(state.c_oflag);
	HEX(state.c_cflag);
	HEX(state.c_lflag);
	SHOW(state.c_cc[VINTR]);
	SHOW(state.c_cc[VEOF]);
	SHOW(state.c_cc[VERASE]);
	SHOW(state.c_cc[VMIN]);
	SHOW(cfgetospeed(&state) == B38400);
	MUST(ioctl(slave, TIOCGWINSZ, &size));
	SHOW(size.ws_row + size.ws_col);
}

SECTION("locked attributes stay as they are")
{
	need_root();
	int slave = slave_of(open_master());
	struct termios state, locked;

	MUST(ioctl(slave, TIOCGLCKTRMIOS, &locked));
	SHOW(locked.c_iflag | locked.c_oflag | locked.c_cflag | locked.c_lflag | locked.c_cc[VINTR]);
	locked.c_lflag = ECHO;
	locked.c_cc[VINTR] = 1;
	ERR(ioctl(slave, TIOCSLCKTRMIOS, &locked));
	MUST(tcgetattr(slave, &state));
	state.c_lflag &= ~(ECHO | ICANON);
	state.c_cc[VINTR] = 'x';
	state.c_cc[VQUIT] = 'y';
	ERR(ioctl(slave, TCSETS, &state));
	MUST(tcgetattr(slave, &state));
	SHOW((state.c_lflag & ECHO) != 0);
	SHOW((state.c_lflag & ICANON) != 0);
	SHOW(state.c_cc[VINTR]);
	SHOW(state.c_cc[VQUIT]);
	locked.c_lflag = 0;
	MUST(ioctl(slave, TIOCSLCKTRMIOS, &locked));
	ERR(ioctl(slave, TIOCGLCKTRMIOS, NULL));
}

SECTION("canonical mode: lines, echo, erase, kill, end of file")
{
	int master = open_master(), slave = slave_of(master);
	char text[64] = "";

	MUST(write(master, "hel", 3));
	struct pollfd one = { slave, POLLIN, 0 };
	RET(poll(&one, 1, 50));
	MUST(write(master, "lo\n", 3));
	RET(poll(&one, 1, 500));
	RET(read(slave, text, sizeof text));
	TEXT(text);
	TEXT(seen(master));
	MUST(write(master, "abc\177\177d\n", 7));
	TEXT(seen(slave));
	TEXT(seen(master));
	MUST(write(master, "word\25new\n", 9));
	TEXT(seen(slave));
	seen(master);
	MUST(write(master, "part\4", 5));
	RET(read(slave, text, sizeof text));
	MUST(write(master, "\4", 1));
	RET(read(slave, text, sizeof text));
	MUST(write(master, "one\ntwo\n", 8));
	RET(read(slave, text, sizeof text));
	RET(read(slave, text, 2));
	RET(read(slave, text, sizeof text));
	MUST(write(master, "a\1b\26\3c\r", 7));
	TEXT(seen(slave));
	seen(master);
	MUST(write(master, "two words\27x\n", 12));
	TEXT(seen(slave));
}

SECTION("raw mode, VMIN and VTIME, no echo")
{
	int master = open_master(), slave = slave_of(master);
	struct termios state;
	char text[16] = "";

	MUST(tcgetattr(slave, &state));
	cfmakeraw(&state);
	MUST(tcsetattr(slave, TCSANOW, &state));
	MUST(write(master, "a\3\4\r\n", 5));
	TEXT(seen(slave));
	TEXT(seen(master));
	MUST(write(slave, "x\n", 2));
	TEXT(seen(master));
	state.c_cc[VMIN] = 0;
	state.c_cc[VTIME] = 0;
	MUST(tcsetattr(slave, TCSANOW, &state));
	RET(read(slave, text, 10));
	state.c_cc[VTIME] = 1;
	MUST(tcsetattr(slave, TCSANOW, &state));
	long start = now_ms();
	RET(read(slave, text, 10));
	SHOW(now_ms() - start >= 90);
	state.c_cc[VMIN] = 3;
	state.c_cc[VTIME] = 0;
	MUST(tcsetattr(slave, TCSANOW, &state));
	MUST(write(master, "xy", 2));
	struct pollfd one = { slave, POLLIN, 0 };
	RET(poll(&one, 1, 50));
	MUST(write(master, "z", 1));
	RET(read(slave, text, 10));
}

SECTION("output processing: newlines, tabs; window size and its signal")
{
	int master = open_master(), slave = slave_of(master);
	struct winsize size = { 24, 80, 0, 0 }, got;

	MUST(write(slave, "a\tb\n", 4));
	TEXT(seen(master));
	struct termios state;
	MUST(tcgetattr(slave, &state));
	state.c_oflag &= ~ONLCR;
	MUST(tcsetattr(slave, TCSADRAIN, &state));
	MUST(write(slave, "\n", 1));
	TEXT(seen(master));
	ERR(ioctl(master, TIOCSWINSZ, &size));
	MUST(ioctl(slave, TIOCGWINSZ, &got));
	SHOW(got.ws_row);
	SHOW(got.ws_col);
	int count = 0;
	MUST(write(slave, "12345", 5));
	struct pollfd one = { master, POLLIN, 0 };
	RET(poll(&one, 1, 500));
	ERR(ioctl(master, FIONREAD, &count));
	SHOW(count);
	ERR(tcflush(slave, TCIOFLUSH));
	ERR(tcsendbreak(slave, 0));
	ERR(tcdrain(slave));
	ERR(tcflow(slave, 77));
	ERR(ioctl(slave, 0x12345678, NULL));
}

SECTION("echo of control characters, NOECHO, signals off")
{
	int master = open_master(), slave = slave_of(master);

	change(slave, ISIG, 0);
	MUST(write(master, "a\3b\n", 4));
	TEXT(seen(master));
	TEXT(seen(slave));
	change(slave, ECHO, 0);
	MUST(write(master, "secret\n", 7));
	TEXT(seen(master));
	TEXT(seen(slave));
	change(slave, 0, ECHONL);
	MUST(write(master, "x\n", 2));
	TEXT(seen(master));
}

/* A child that is the leader of a new session with the slave as its terminal. */
static pid_t leader(int *master)
{
	*master = open_master();
	pid_t pid = fork();

	if (pid == 0) {
		int slave = slave_of(*master);
		close(*master);
		MUST(setsid());
		MUST(ioctl(slave, TIOCSCTTY, 0));
		dup2(slave, 0);
	}
	return pid;
}

SECTION("a controlling terminal: /dev/tty, session, foreground group")
{
	int master;
	pid_t pid = leader(&master);

	if (pid == 0) {
		SHOW(tcgetpgrp(0) == getpid());
		SHOW(tcgetsid(0) == getpid());
		int tty = open("/dev/tty", O_RDWR);
		SHOW(tty >= 0);
		RET(write(tty, "to the tty\n", 11));
		ERR(tcsetpgrp(0, 99999999));
		ERR(ioctl(0, TIOCSCTTY, 0));
		signal(SIGHUP, SIG_IGN);
		ERR(ioctl(0, TIOCNOTTY));
		ERR(open("/dev/tty", O_RDWR));
		_exit(0);
	}
	STATUS(end_of(pid));
	TEXT(seen(master));
}

SECTION("opening a terminal without O_NOCTTY makes it the session leader's")
{
	int master = open_master();
	char path[64];

	close(slave_of(master));
	ptsname_r(master, path, sizeof path);
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		ERR(open("/dev/tty", O_RDWR));
		ERR(open(path, O_RDWR | O_NOCTTY));
		ERR(open("/dev/tty", O_RDWR));
		ERR(open(path, O_RDWR));
		ERR(open("/dev/tty", O_RDWR));
		_exit(0);
	}
	STATUS(end_of(pid));
}

SECTION("the keyboard's signals: interrupt, quit, suspend")
{
	static const char keys[] = { 3, 034, 032 };

	for (int i = 0; i < 3; i++) {
		int master, status;
		pid_t pid = leader(&master);

		if (pid == 0)
			for (;;)
				pause();
		/* The child's session is ready when it sleeps. */
		await_state(pid, 'S');
		sleep_ms(50);
		MUST(write(master, &keys[i], 1));
		if (i == 2) {
			/* The leader's group is orphaned, and such a group is not stopped from the keyboard. */
			sleep_ms(100);
			SHOW(state_of(pid) == 'S');
			kill(pid, SIGKILL);
		}
		waitpid(pid, &status, WUNTRACED);
		STATUS(status);
		TEXT(seen(master));
		close(master);
	}
}

SECTION("job control: background reads and writes stop, the foreground may")
{
	int master;
	pid_t pid = leader(&master);

	if (pid == 0) {
		int status;

		signal(SIGTTOU, SIG_IGN);
		pid_t job = fork();
		if (job == 0) {
			signal(SIGTTOU, SIG_DFL);
			setpgid(0, 0);
			char byte;
			read(0, &byte, 1);
			say("the job read %c\n", byte);
			_exit(7);
		}
		setpgid(job, job);
		waitpid(job, &status, WUNTRACED);
		STATUS(status);
		ERR(tcsetpgrp(0, job));
		kill(-job, SIGCONT);
		waitpid(job, &status, WUNTRACED);
		STATUS(status);
		ERR(tcsetpgrp(0, getpgrp()));
		job = fork();
		if (job == 0) {
			signal(SIGTTOU, SIG_DFL);
			setpgid(0, 0);
			change(0, 0, TOSTOP);
			_exit(8);
		}
		setpgid(job, job);
		waitpid(job, &status, WUNTRACED);
		STATUS(status);
		kill(job, SIGKILL);
		waitpid(job, &status, 0);
		job = fork();
		if (job == 0) {
			setpgid(0, 0);
			signal(SIGTTIN, SIG_IGN);
			char byte;
			ERR(read(0, &byte, 1));
			RET(write(0, "background", 10));
			_exit(9);
		}
		waitpid(job, &status, WUNTRACED);
		STATUS(status);
		_exit(0);
	}
	sleep_ms(300);
	MUST(write(master, "x\n", 2));
	STATUS(end_of(pid));
}

SECTION("the master's close is a hangup: SIGHUP, EIO, end of file")
{
	int master, status;
	char byte;

	pid_t pid = leader(&master);
	if (pid == 0)
		for (;;)
			pause();
	await_state(pid, 'S');
	sleep_ms(50);
	close(master);
	waitpid(pid, &status, 0);
	STATUS(status);
	master = open_master();
	int slave = slave_of(master);
	close(master);
	RET(read(slave, &byte, 1));
	ERR(write(slave, "x", 1));
	struct pollfd one = { slave, POLLIN | POLLOUT, 0 };
	RET(poll(&one, 1, 0));
	HEX(one.revents & (POLLHUP | POLLERR));
	struct termios state;
	ERR(tcgetattr(slave, &state));
}

SECTION("the last slave's close: EIO at the master, until it is opened again")
{
	int master = open_master();
	char byte;

	int slave = slave_of(master);
	MUST(write(slave, "a", 1));
	close(slave);
	RET(read(master, &byte, 1));
	ERR(read(master, &byte, 1));
	struct pollfd one = { master, POLLIN, 0 };
	poll(&one, 1, 0);
	HEX(one.revents);
	slave = slave_of(master);
	MUST(fcntl(master, F_SETFL, O_NONBLOCK));
	ERR(read(master, &byte, 1));
	MUST(write(slave, "b", 1));
	RET(read(master, &byte, 1));
}

SECTION("the session leader's exit: SIGHUP to the foreground, the terminal is free")
{
	int master, out[2];
	char text[16] = "";

	MUST(pipe(out));
	pid_t pid = leader(&master);
	if (pid == 0) {
		if (fork() == 0) {
			sigset_t set;
			siginfo_t got;

			sigemptyset(&set);
			sigaddset(&set, SIGHUP);
			sigprocmask(SIG_BLOCK, &set, NULL);
			write(out[1], "r", 1);
			sigwaitinfo(&set, &got);
			write(out[1], "hup", 3);
			_exit(0);
		}
		read(out[0], text, 1);
		_exit(4);
	}
	STATUS(end_of(pid));
	RET(read(out[0], text, 15));
	TEXT(text);
}

SECTION("packet mode and TIOCSTI")
{
	int master = open_master(), slave = slave_of(master), on = 1;
	char text[16] = "";

	ERR(ioctl(master, TIOCPKT, &on));
	MUST(write(slave, "data", 4));
	RET(read(master, text, 15));
	SHOW(text[0]);
	MUST(tcflush(slave, TCIFLUSH));
	RET(read(master, text, 15));
	SHOW(text[0]);
}
