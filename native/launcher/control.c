/* Control sockets, and what is said through sockets. */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* `caisson ps` finds it in /proc/net/unix; only `ps` suffers where it can't be had. */
int open_abstract_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "caisson-%d-%d", geteuid(), getpid());
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + length;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 8) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

int open_control_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *slash = strrchr(path, '/');
	char directory[PATH_MAX];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		die("the control socket");
	if (!slash || slash - path >= PATH_MAX || strlen(slash + 1) > 32) {
		errno = ENAMETOOLONG;
		die(path);
	}
	/* By the directory's descriptor, since an address is short. */
	snprintf(directory, sizeof directory, "%.*s/", (int)(slash - path), path);
	int at = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (at < 0)
		die(directory);
	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%.32s", at, slash + 1);
	mode_t before = umask(0177);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 128) < 0)
		die(path);
	umask(before);
	close(at);
	return fd;
}

int connect_in(int directory, const char *name, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	/* By the directory's descriptor, since an address is short. */
	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%.32s", directory, name);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

bool tell(int socket, const void *bytes, size_t length, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)length;
}

/* Everybody can connect to an abstract socket. */
int accept_trusted(int listener)
{
	int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t size = sizeof peer;

	if (connection < 0)
		return -1;
	if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid() || peer.uid == 0))
		return connection;
	close(connection);
	return -1;
}

void pass_connection(int control, int channel)
{
	int connection = accept_trusted(control);

	if (connection < 0)
		return;
	tell(channel, "", 1, connection);
	close(connection);
}
