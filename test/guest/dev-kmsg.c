/* The kernel's log: /dev/kmsg, /proc/kmsg, syslog(2). Other programs' records may come in between: ours are known by a mark. */
#include "observe.h"
#include <poll.h>
#include <sys/klog.h>

#define show(title, result) RESULT(title, result, true)

static char mark[32];

static void make_mark(void)
{
	snprintf(mark, sizeof mark, "m%lx-", (long)time(NULL) * 100000 + getpid());
}

/* At the end of the log, so that only what comes is read. */
static int at_end(int flags)
{
	int fd = open("/dev/kmsg", O_RDWR | O_NONBLOCK | flags);

	lseek(fd, 0, SEEK_END);
	return fd;
}

/* Our records, without number and time; long texts by their length. */
static void show_ours(int fd)
{
	char text[8192];
	ssize_t got;

	while ((got = read(fd, text, sizeof text - 1)) > 0) {
		text[got] = 0;
		char *semicolon = strchr(text, ';');
		char *ours = strstr(text, mark);
		if (!ours)
			continue;
		unsigned priority;
		char flag;
		int fields = sscanf(text, "%u,%*u,%*u,%c", &priority, &flag);
		if (strlen(ours) > 200)
			say("  priority %u, %zd bytes\n", priority, got - (semicolon - text));
		else
			say("  %d fields: priority %u flag %c%s: %s", fields, priority, flag,
			    ours == semicolon + 1 ? "" : " with something in front", ours + strlen(mark));
	}
	say("  then %s\n", got < 0 ? error_name(errno) : "end");
}

static void put(int fd, const char *form, ...)
{
	char text[4096];
	va_list list;

	va_start(list, form);
	int length = vsnprintf(text, sizeof text, form, list);
	va_end(list);
	show("write", write(fd, text, length));
}

/* On Linux a record without a newline at its end is seen when another one follows. */
SECTION("kmsg: what is written comes back as a record")
{
	make_mark();
	int fd = at_end(0);
	put(fd, "%splain\n", mark);
	put(fd, "%swithout newline", mark);
	put(fd, "<3>%spriority 3\n", mark);
	put(fd, "<14>%sfacility 1\n", mark);
	put(fd, "<190>%sfacility 23\n", mark);
	put(fd, "<2050>%slarge\n", mark);
	put(fd, "<>%sempty priority\n", mark);
	put(fd, "<x>%sno number\n", mark);
	show_ours(fd);
	close(fd);
}

SECTION("kmsg: what can't be printed is escaped")
{
	make_mark();
	int fd = at_end(0);
	put(fd, "%s\\ \t\x01\x7f\xc3\xa4", mark);
	put(fd, "%stwo\nlines\n", mark);
	put(fd, "%sends here%cunseen", mark, 0);
	put(fd, "<6>%s\n", mark);
	show_ours(fd);
	close(fd);
}

SECTION("kmsg: lengths")
{
	char text[1100];

	make_mark();
	int fd = at_end(0);
	memset(text, 'x', sizeof text);
	memcpy(text, mark, strlen(mark));
	show("write 1024", write(fd, text, 1024));
	text[1023] = '\n';
	show("write 1024 with newline", write(fd, text, 1024));
	show("write 1025", write(fd, text, 1025));
	show("write nothing", write(fd, text, 0));
	show_ours(fd);
	put(fd, "%sone\n", mark);
	put(fd, "%stwo\n", mark);
	show("read into 5 bytes", read(fd, text, 5));
	show_ours(fd);
	close(fd);
}

SECTION("kmsg: each open file may write ten records at once")
{
	make_mark();
	int fd = at_end(0);
	for (int i = 0; i < 15; i++)
		put(fd, "%s%02d\n", mark, i);
	show_ours(fd);
	int other = at_end(0);
	put(other, "%sother\n", mark);
	show_ours(other);
	close(other);
	close(fd);
}

SECTION("kmsg: seeking and waiting")
{
	make_mark();
	int fd = at_end(0);
	struct pollfd poll_fd = { fd, POLLIN | POLLOUT | POLLPRI, 0 };
	show("seek 1", lseek(fd, 1, SEEK_SET));
	show("seek end -1", lseek(fd, -1, SEEK_END));
	show("seek current", lseek(fd, 0, SEEK_CUR));
	show("seek hole", lseek(fd, 0, SEEK_HOLE));
	show("seek set", lseek(fd, 0, SEEK_SET));
	show("poll", poll(&poll_fd, 1, 0));
	say("  %x\n", poll_fd.revents);
	show("seek data", lseek(fd, 0, SEEK_DATA));
	show("seek end", lseek(fd, 0, SEEK_END));
	put(fd, "%sto wait for\n", mark);
	show("poll", poll(&poll_fd, 1, 0));
	say("  %x\n", poll_fd.revents);
	show_ours(fd);
	close(fd);
}

SECTION("kmsg: a reader that waits gets what another process writes")
{
	make_mark();
	int fd = open("/dev/kmsg", O_RDONLY);
	char text[8192];

	lseek(fd, 0, SEEK_END);
	pid_t child = fork();
	if (child == 0) {
		int out = open("/dev/kmsg", O_WRONLY);
		snprintf(text, sizeof text, "<6>%shello\n", mark);
		write(out, text, strlen(text));
		_exit(0);
	}
	ssize_t got;
	do {
		got = read(fd, text, sizeof text - 1);
		text[got > 0 ? got : 0] = 0;
	} while (got > 0 && !strstr(text, mark));
	say("%s", got > 0 ? strchr(text, ';') + 1 + strlen(mark) : "nothing\n");
	waitpid(child, NULL, 0);
	close(fd);
}

SECTION("kmsg: who may open it")
{
	show("read", open("/dev/kmsg", O_RDONLY) < 0 ? -1 : 0);
	pid_t child = fork();
	if (child == 0) {
		setresgid(65534, 65534, 65534);
		setresuid(65534, 65534, 65534);
		show("nobody reads", open("/dev/kmsg", O_RDONLY));
		show("nobody writes", open("/dev/kmsg", O_WRONLY));
		show("nobody: /proc/kmsg", open("/proc/kmsg", O_RDONLY));
		show("nobody: read all", klogctl(3, mark, sizeof mark));
		show("nobody: size", klogctl(10, NULL, 0));
		show("nobody: clear", klogctl(5, NULL, 0));
		show("nobody: unknown", klogctl(11, NULL, 0));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

SECTION("syslog: arguments")
{
	char text[256];

	show("open", klogctl(1, NULL, 0));
	show("close", klogctl(0, NULL, 0));
	show("read null", klogctl(2, NULL, 10));
	show("read negative", klogctl(2, text, -1));
	show("read nothing", klogctl(2, text, 0));
	show("read all null", klogctl(3, NULL, 10));
	show("read all nothing", klogctl(3, text, 0));
	show("read all to nowhere", klogctl(3, (char *)16, 256));
	show("console level 0", klogctl(8, NULL, 0));
	show("console level 9", klogctl(8, NULL, 9));
	show("unknown", klogctl(11, NULL, 0));
	show("negative", klogctl(-1, NULL, 0));
	say("buffer: %s\n", klogctl(10, NULL, 0) >= 1 << 16 ? "large" : "small");
}

SECTION("syslog: all that fits, the newest")
{
	char text[512];

	make_mark();
	int fd = open("/dev/kmsg", O_WRONLY);
	put(fd, "<5>%sfirst\nsecond line\n", mark);
	close(fd);
	int got = klogctl(3, text, sizeof text - 1);
	text[got > 0 ? got : 0] = 0;
	char *ours = strstr(text, mark);
	char *line = ours;
	while (line && line > text && line[-1] != '<')
		line--;
	unsigned long seconds, micros;
	int level = -1;
	int parsed = line ? sscanf(line - 1, "<%d>[%lu.%lu]", &level, &seconds, &micros) : 0;
	say("%d parsed, level %d\n", parsed, level);
	say("%s\n", ours && strstr(ours, "second line") ? "both lines" : "lost");
}
