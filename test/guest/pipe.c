/* Pipes and FIFOs. */
#include "observe.h"
#include <sys/ioctl.h>

static char big[300000];

static int revents(int fd, int events)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };

	poll(&poll_fd, 1, 0);
	return poll_fd.revents;
}

SECTION("pipe: both ends, end of file, wrong directions")
{
	int pair[2];
	char bytes[16] = "";

	ERR(pipe(pair));
	RET(write(pair[1], "hello", 5));
	RET(read(pair[0], bytes, 3));
	RET(read(pair[0], bytes + 3, 10));
	TEXT(bytes);
	ERR(read(pair[1], bytes, 1));
	ERR(write(pair[0], bytes, 1));
	RET(read(pair[0], bytes, 0));
	RET(write(pair[1], bytes, 0));
	close(pair[1]);
	RET(read(pair[0], bytes, 1));
	ERR(pipe((int *)8));
	ERR(pipe2(pair, 1));
	MUST(pipe2(pair, O_NONBLOCK | O_CLOEXEC));
	SHOW(fcntl(pair[0], F_GETFD));
	HEX(fcntl(pair[0], F_GETFL));
	HEX(fcntl(pair[1], F_GETFL));
}

SECTION("pipe: non-blocking: EAGAIN, partial writes, PIPE_BUF is all or nothing")
{
	int pair[2];

	MUST(pipe2(pair, O_NONBLOCK));
	ERR(read(pair[0], big, 1));
	RET(write(pair[1], big, sizeof big));
	ERR(write(pair[1], big, 1));
	RET(read(pair[0], big, 4095));
	ERR(write(pair[1], big, 4096));
	RET(read(pair[0], big, 1));
	RET(write(pair[1], big, 4096));
	RET(read(pair[0], big, 10000));
	RET(write(pair[1], big, 20000));
	int count = 0;
	ERR(ioctl(pair[0], FIONREAD, &count));
	SHOW(count);
}

SECTION("pipe: small writes merge, the capacity counts pages")
{
	int pair[2], writes = 0;

	MUST(pipe2(pair, O_NONBLOCK));
	while (write(pair[1], "x", 1) == 1)
		writes++;
	SHOW(writes);
	RET(read(pair[0], big, sizeof big));
	writes = 0;
	while (write(pair[1], big, 3000) == 3000)
		writes++;
	SHOW(writes);
}

SECTION("pipe: a blocking write of more than the capacity waits for the reader")
{
	int pair[2];
	long total = 0;
	ssize_t got;

	MUST(pipe(pair));
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		_exit(write(pair[1], big, sizeof big) == sizeof big ? 1 : 2);
	}
	close(pair[1]);
	await_state(pid, 'S');
	while ((got = read(pair[0], big, 1000)) > 0)
		total += got;
	SHOW(total);
	STATUS(end_of(pid));
}

SECTION("pipe: writers of up to PIPE_BUF bytes never interleave")
{
	int pair[2], wrong = 0, lines = 0;
	char line[100];

	MUST(pipe(pair));
	for (int child = 0; child < 4; child++) {
		if (fork() == 0) {
			memset(line, 'a' + child, sizeof line);
			for (int i = 0; i < 300; i++)
				write(pair[1], line, sizeof line);
			_exit(0);
		}
	}
	close(pair[1]);
	while (read(pair[0], line, sizeof line) == sizeof line) {
		lines++;
		for (size_t i = 1; i < sizeof line; i++)
			wrong += line[i] != line[0];
	}
	SHOW(lines);
	SHOW(wrong);
}

SECTION("pipe: poll says readable, writable, hung up, error")
{
	int pair[2];

	MUST(pipe(pair));
	HEX(revents(pair[0], POLLIN));
	HEX(revents(pair[1], POLLOUT));
	MUST(write(pair[1], "x", 1));
	HEX(revents(pair[0], POLLIN | POLLOUT));
	MUST(fcntl(pair[1], F_SETFL, O_NONBLOCK));
	while (write(pair[1], big, 4096) > 0)
		;
	HEX(revents(pair[1], POLLOUT));
	close(pair[1]);
	HEX(revents(pair[0], POLLIN));
	read(pair[0], big, sizeof big);
	HEX(revents(pair[0], POLLIN));
	MUST(pipe(pair));
	close(pair[0]);
	HEX(revents(pair[1], POLLOUT));
}

SECTION("pipe: F_SETPIPE_SZ rounds, refuses to shrink below the contents")
{
	int pair[2];

	MUST(pipe(pair));
	RET(fcntl(pair[0], F_GETPIPE_SZ));
	RET(fcntl(pair[0], F_SETPIPE_SZ, 5000));
	RET(fcntl(pair[1], F_GETPIPE_SZ));
	RET(fcntl(pair[0], F_SETPIPE_SZ, 100));
	RET(fcntl(pair[0], F_SETPIPE_SZ, 1 << 20));
	MUST(write(pair[1], big, 100000));
	ERR(fcntl(pair[0], F_SETPIPE_SZ, 4096));
	RET(fcntl(pair[0], F_SETPIPE_SZ, 131072));
	ERR(fcntl(pair[0], F_SETPIPE_SZ, (1u << 31) + 1));
	ERR(fcntl(0, F_GETPIPE_SZ));
}

SECTION("pipe: O_DIRECT keeps packets apart")
{
	int pair[2];
	char bytes[16] = "";

	MUST(pipe2(pair, O_DIRECT));
	MUST(write(pair[1], "one", 3));
	MUST(write(pair[1], "two", 3));
	MUST(write(pair[1], "three", 5));
	RET(read(pair[0], bytes, 10));
	RET(read(pair[0], bytes, 2));
	RET(read(pair[0], bytes, 10));
	TEXT(bytes);
}

SECTION("pipe: /proc/self/fd opens the same pipe again")
{
	int pair[2];
	char path[64], target[64] = "", bytes[8] = "";

	MUST(pipe(pair));
	snprintf(path, sizeof path, "/proc/self/fd/%d", pair[0]);
	MUST(readlink(path, target, sizeof target - 1));
	SHOW(!strncmp(target, "pipe:[", 6));
	int writer = MUST(open(path, O_WRONLY));
	RET(write(writer, "again", 5));
	RET(read(pair[0], bytes, 7));
	TEXT(bytes);
}

SECTION("FIFO: opening rules")
{
	char bytes[8] = "";

	ERR(mkfifo("p", 0600));
	ERR(mkfifo("p", 0600));
	ERR(open("p", O_WRONLY | O_NONBLOCK));
	int reader = MUST(open("p", O_RDONLY | O_NONBLOCK));
	RET(read(reader, bytes, 1));
	HEX(revents(reader, POLLIN));
	int writer = MUST(open("p", O_WRONLY | O_NONBLOCK));
	ERR(read(reader, bytes, 1));
	RET(write(writer, "text", 4));
	RET(read(reader, bytes, 7));
	TEXT(bytes);
	close(writer);
	RET(read(reader, bytes, 7));
	HEX(revents(reader, POLLIN));
	close(reader);
	int both = MUST(open("p", O_RDWR));
	RET(write(both, "self", 4));
	RET(read(both, bytes, 7));
	ERR(lseek(both, 0, SEEK_SET));
}

SECTION("FIFO: a blocking open waits for the other side")
{
	char bytes[8] = "";

	MUST(mkfifo("p", 0600));
	pid_t pid = fork();
	if (pid == 0) {
		int writer = open("p", O_WRONLY);
		write(writer, "met", 3);
		_exit(0);
	}
	SHOW(await_state(pid, 'S'));
	int reader = MUST(open("p", O_RDONLY));
	RET(read(reader, bytes, 7));
	TEXT(bytes);
	STATUS(end_of(pid));
	RET(read(reader, bytes, 7));
}

SECTION("FIFO: unlinked while in use")
{
	char bytes[8] = "";

	MUST(mkfifo("p", 0600));
	int both = MUST(open("p", O_RDWR | O_NONBLOCK));
	MUST(unlink("p"));
	RET(write(both, "x", 1));
	RET(read(both, bytes, 1));
	ERR(open("p", O_RDWR));
}
