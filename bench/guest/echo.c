/*
 * Round trips and connections: a server in one network namespace, a client in another.
 *
 *   echo serve PORT                      answers datagrams and what comes over connections; closes with its client
 *   echo tcp|udp ADDRESS PORT COUNT      prints the median and the 99th percentile of the round trips of 64 bytes, ns
 *   echo connect ADDRESS PORT COUNT      prints what a connection takes that is made, used for a round trip and closed, ns
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, MAX_PEERS = 64 };

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int open_socket(int type, const struct sockaddr_in *address, int connects)
{
	int fd = socket(AF_INET, type, 0), on = 1;
	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if ((connects ? connect : bind)(fd, (const struct sockaddr *)address, sizeof *address) < 0)
		err(1, connects ? "connect" : "bind");
	return fd;
}

static void serve(struct sockaddr_in *address)
{
	struct pollfd fds[MAX_PEERS] = { { .events = POLLIN }, { .events = POLLIN } };
	struct sockaddr_in peer;
	int count = 2;
	char bytes[SIZE];

	address->sin_addr.s_addr = 0;
	fds[0].fd = open_socket(SOCK_STREAM, address, 0);
	fds[1].fd = open_socket(SOCK_DGRAM, address, 0);
	if (listen(fds[0].fd, 128) < 0)
		err(1, "listen");
	for (;;) {
		poll(fds, count, -1);
		for (int i = count - 1; i > 1; i--) {
			ssize_t length;
			if (!fds[i].revents)
				continue;
			length = read(fds[i].fd, bytes, sizeof bytes);
			if (length > 0 && write(fds[i].fd, bytes, length) == length)
				continue;
			close(fds[i].fd);
			fds[i] = fds[--count];
		}
		if (fds[1].revents) {
			socklen_t size = sizeof peer;
			ssize_t length = recvfrom(fds[1].fd, bytes, sizeof bytes, 0, (struct sockaddr *)&peer, &size);
			if (length >= 0)
				sendto(fds[1].fd, bytes, length, 0, (struct sockaddr *)&peer, size);
		}
		if (fds[0].revents && count < MAX_PEERS) {
			int on = 1;
			fds[count] = (struct pollfd){ .fd = accept(fds[0].fd, NULL, NULL), .events = POLLIN };
			setsockopt(fds[count++].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		}
	}
}

static void round_trip(int fd)
{
	char bytes[SIZE] = "";
	if (write(fd, bytes, SIZE) != SIZE || read(fd, bytes, SIZE) != SIZE)
		err(1, "round trip");
}

static int compare(const void *a, const void *b)
{
	uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;
	return (first > second) - (first < second);
}

static void measure_trips(int fd, int count)
{
	uint64_t *times = calloc(count, sizeof *times);
	/* Patched call sites, neighbours, buffers. */
	for (int i = 0; i < 200; i++)
		round_trip(fd);
	for (int i = 0; i < count; i++) {
		uint64_t start = now();
		round_trip(fd);
		times[i] = now() - start;
	}
	qsort(times, count, sizeof *times, compare);
	printf("%llu %llu\n", (unsigned long long)times[count / 2], (unsigned long long)times[count * 99 / 100]);
}

static void measure_connections(const struct sockaddr_in *address, int count)
{
	uint64_t start = now();
	for (int i = 0; i < count; i++) {
		/* Without TIME_WAIT, of which there would soon be no ports left. */
		struct linger reset = { .l_onoff = 1 };
		int fd = open_socket(SOCK_STREAM, address, 1);
		round_trip(fd);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(fd);
	}
	printf("%llu\n", (unsigned long long)((now() - start) / count));
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	if (argc == 3 && strcmp(argv[1], "serve") == 0) {
		address.sin_port = htons(atoi(argv[2]));
		serve(&address);
	}
	if (argc != 5)
		errx(2, "see the head of echo.c");
	address.sin_port = htons(atoi(argv[3]));
	inet_pton(AF_INET, argv[2], &address.sin_addr);
	if (strcmp(argv[1], "connect") == 0)
		measure_connections(&address, atoi(argv[4]));
	else
		measure_trips(open_socket(strcmp(argv[1], "tcp") == 0 ? SOCK_STREAM : SOCK_DGRAM, &address, 1), atoi(argv[4]));
	return 0;
}
