/*
 * Control connections, whose protocol is in src/sandbox/protocol.ts. The client's side asks on a thread of libuv's pool,
 * since a sandbox may hang, or at once, where nothing else is to be done meanwhile: making the pool takes longer than most
 * answers. The sentry's side receives requests with their descriptors.
 */
#include "caisson.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* MAX_DESCRIPTORS of the protocol; the host's kernel passes 253 at most. */
enum { MAX_DESCRIPTORS = 250, MAX_LINE = 4 << 20 };

union descriptors {
	struct cmsghdr header;
	char space[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
};

struct ask {
	napi_async_work work;
	napi_deferred deferred;
	char path[PATH_MAX];
	char *request;
	size_t request_length;
	int descriptors[MAX_DESCRIPTORS];
	size_t descriptor_count;
	int64_t deadline_ms;
	/* The outcome. */
	int error;
	int connection;
	char *line;
	size_t line_length;
};

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

/* 0 when one of `events` (or an error) is there, -ETIMEDOUT. */
static int wait_for(struct ask *ask, short events)
{
	for (;;) {
		struct pollfd polled = { .fd = ask->connection, .events = events };
		int64_t left = ask->deadline_ms - now_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		int found = poll(&polled, 1, left > INT_MAX ? INT_MAX : (int)left);
		if (found > 0)
			return 0;
		if (found < 0 && errno != EINTR)
			return -errno;
	}
}

/* A path that doesn't fit into an address is reached through its directory's descriptor. */
static int connect_to(struct ask *ask)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof address;
	size_t length = strlen(ask->path);
	int directory = -1, status;

	if (ask->path[0] == '@' && length <= sizeof address.sun_path) {
		memcpy(address.sun_path + 1, ask->path + 1, length - 1);
		size = offsetof(struct sockaddr_un, sun_path) + length;
	} else if (length < sizeof address.sun_path) {
		strcpy(address.sun_path, ask->path);
	} else {
		char *slash = strrchr(ask->path, '/');
		if (!slash)
			return -ENAMETOOLONG;
		*slash = '\0';
		directory = open(ask->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		*slash = '/';
		if (directory < 0)
			return -errno;
		length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory, slash + 1);
		if (length >= sizeof address.sun_path) {
			close(directory);
			return -ENAMETOOLONG;
		}
	}
	/* It waits only where many wait before it. */
	struct timeval patience = { .tv_sec = 2 };
	setsockopt(ask->connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	status = connect(ask->connection, (struct sockaddr *)&address, size) < 0 ? -errno : 0;
	if (directory >= 0)
		close(directory);
	return status == -EAGAIN ? -ETIMEDOUT : status;
}

/* The descriptors go with the first bytes. */
static int send_request(struct ask *ask)
{
	union descriptors control = { 0 };
	size_t bytes = ask->descriptor_count * sizeof(int), at = 0;

	while (at < ask->request_length) {
		struct iovec iov = { .iov_base = ask->request + at, .iov_len = ask->request_length - at };
		struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
		if (at == 0 && bytes > 0) {
			message.msg_control = &control;
			message.msg_controllen = CMSG_SPACE(bytes);
			control.header.cmsg_level = SOL_SOCKET;
			control.header.cmsg_type = SCM_RIGHTS;
			control.header.cmsg_len = CMSG_LEN(bytes);
			memcpy(CMSG_DATA(&control.header), ask->descriptors, bytes);
		}
		ssize_t sent = sendmsg(ask->connection, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0) {
			at += sent;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		int status = wait_for(ask, POLLOUT);
		if (status < 0)
			return status;
	}
	return 0;
}

/* Exactly one line: what follows belongs to whoever goes on with the connection. */
static int receive_line(struct ask *ask)
{
	size_t room = 4096;
	ask->line = malloc(room);
	while (ask->line) {
		int status = wait_for(ask, POLLIN);
		if (status < 0)
			return status;
		char *at = ask->line + ask->line_length;
		ssize_t seen = recv(ask->connection, at, room - ask->line_length, MSG_PEEK | MSG_DONTWAIT);
		if (seen < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (seen <= 0)
			return seen < 0 ? -errno : -ECONNRESET;
		char *end = memchr(at, '\n', seen);
		ssize_t taken = recv(ask->connection, at, end ? end + 1 - at : seen, MSG_DONTWAIT);
		if (taken <= 0)
			return -ECONNRESET;
		ask->line_length += taken;
		if (end) {
			ask->line_length--;
			return 0;
		}
		if (ask->line_length < room)
			continue;
		if (room >= MAX_LINE)
			return -EMSGSIZE;
		room *= 2;
		char *larger = realloc(ask->line, room);
		if (!larger)
			return -ENOMEM;
		ask->line = larger;
	}
	return -ENOMEM;
}

static void ask_and_wait(struct ask *ask)
{
	ask->connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ask->error = ask->connection < 0 ? -errno : connect_to(ask);
	if (ask->error == 0)
		ask->error = send_request(ask);
	/* A sandbox may refuse a request before it has read all of it. */
	if (ask->error == 0 || ask->error == -EPIPE) {
		int status = receive_line(ask);
		if (ask->error == 0 || status == 0)
			ask->error = status;
	}
	if (ask->error != 0 && ask->connection >= 0) {
		close(ask->connection);
		ask->connection = -1;
	}
}

static void ask_on_thread(napi_env env, void *data)
{
	(void)env;
	ask_and_wait(data);
}

/* And nothing is left of `ask`. */
static napi_value make_outcome(napi_env env, struct ask *ask)
{
	napi_value outcome, line;

	napi_create_object(env, &outcome);
	napi_create_string_utf8(env, ask->line ? ask->line : "", ask->error ? 0 : ask->line_length, &line);
	napi_set_named_property(env, outcome, "error", make_number(env, ask->error));
	napi_set_named_property(env, outcome, "line", line);
	napi_set_named_property(env, outcome, "connection", make_number(env, ask->connection));
	free(ask->line);
	free(ask->request);
	free(ask);
	return outcome;
}

static void tell_outcome(napi_env env, napi_status status, void *data)
{
	struct ask *ask = data;
	napi_deferred deferred = ask->deferred;
	(void)status;

	napi_delete_async_work(env, ask->work);
	napi_resolve_deferred(env, deferred, make_outcome(env, ask));
}

/* controlAsk(path, request, descriptors, timeoutMs, blocking): a promise, or the outcome: see src/platform/addon.ts. */
static napi_value control_ask(napi_env env, napi_callback_info info)
{
	ARGUMENTS(5);
	bool blocking = false;
	napi_value promise, name;
	size_t length, descriptor_bytes;
	struct ask *ask = calloc(1, sizeof *ask);
	const char *request = get_bytes(env, argv[1], &length);
	const int *descriptors = get_bytes(env, argv[2], &descriptor_bytes);

	if (!ask)
		abort();
	/* What JavaScript can change is copied. */
	napi_get_value_string_utf8(env, argv[0], ask->path, sizeof ask->path, NULL);
	ask->request = malloc(length + 1);
	if (!ask->request || descriptor_bytes > sizeof ask->descriptors)
		abort();
	memcpy(ask->request, request, length);
	ask->request_length = length;
	if (descriptor_bytes > 0)
		memcpy(ask->descriptors, descriptors, descriptor_bytes);
	ask->descriptor_count = descriptor_bytes / sizeof(int);
	ask->deadline_ms = now_ms() + get_number(env, argv[3]);
	ask->connection = -1;
	napi_get_value_bool(env, argv[4], &blocking);
	if (blocking) {
		ask_and_wait(ask);
		return make_outcome(env, ask);
	}
	napi_create_promise(env, &ask->deferred, &promise);
	napi_create_string_utf8(env, "caisson.controlAsk", NAPI_AUTO_LENGTH, &name);
	napi_create_async_work(env, NULL, name, ask_on_thread, tell_outcome, ask, &ask->work);
	napi_queue_async_work(env, ask->work);
	return promise;
}

/* receiveAll(fd, into, descriptors): see src/platform/addon.ts. More descriptors than there is room for are closed. */
static napi_value control_receive_all(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	union descriptors control;
	size_t length, room;
	struct iovec iov = { .iov_base = get_bytes(env, argv[1], &length) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof control };
	int32_t *out = get_bytes(env, argv[2], &room);
	int32_t count = 0;

	iov.iov_len = length;
	room /= sizeof *out;
	ssize_t received = recvmsg(get_number(env, argv[0]), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int error = errno;
	for (struct cmsghdr *at = received < 0 ? NULL : CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
		if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (at->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
			if ((size_t)count + 1 < room)
				out[++count] = fd;
			else
				close(fd);
		}
	}
	if (room > 0)
		out[0] = count;
	errno = error;
	return make_result(env, received);
}

napi_value control_init(napi_env env, napi_value exports)
{
	static const struct caisson_call calls[] = {
		{ "controlAsk", control_ask },
		{ "receiveAll", control_receive_all },
	};
	caisson_export(env, exports, calls, sizeof calls / sizeof calls[0]);
	return exports;
}
