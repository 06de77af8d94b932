/*
 * The host's internet and routing sockets for src/platform/linux-sockets.ts: each function decodes numbers and buffers,
 * makes one call and gives back its value or the negative errno. What may be asked for is decided in TypeScript and by
 * the sentry's seccomp filter (src/sandbox/network-calls.ts).
 */
#include "caisson.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define NUMBER(index) get_number(env, argv[index])
#define BUFFER_ARGUMENT(name, index)                                          \
	size_t name##_length;                                                 \
	void *name = get_bytes(env, argv[index], &name##_length)

/* socket(family, type, protocol): never blocks, closed on exec. */
static napi_value socket_make(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	return make_result(env, socket(NUMBER(0), NUMBER(1) | SOCK_NONBLOCK | SOCK_CLOEXEC, NUMBER(2)));
}

/* bindSocket(fd, address) */
static napi_value socket_bind(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	BUFFER_ARGUMENT(address, 1);
	return make_result(env, bind(NUMBER(0), address, address_length));
}

/* connectSocket(fd, address) */
static napi_value socket_connect(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	BUFFER_ARGUMENT(address, 1);
	return make_result(env, connect(NUMBER(0), address, address_length));
}

/* listenSocket(fd, backlog) */
static napi_value socket_listen(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	return make_result(env, listen(NUMBER(0), NUMBER(1)));
}

/* acceptSocket(fd, address?): the descriptor; `address` gets as much of the peer's as it holds. */
static napi_value socket_accept(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	BUFFER_ARGUMENT(address, 1);
	socklen_t length = address_length;
	return make_result(env,
		accept4(NUMBER(0), address, address ? &length : NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

/* shutdownSocket(fd, how) */
static napi_value socket_shutdown(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	return make_result(env, shutdown(NUMBER(0), NUMBER(1)));
}

/* socketName(fd, peer, into): the address's length. */
static napi_value socket_name(napi_env env, napi_callback_info info)
{
	ARGUMENTS(3);
	BUFFER_ARGUMENT(into, 2);
	socklen_t length = into_length;
	int status = NUMBER(1) ? getpeername(NUMBER(0), into, &length) : getsockname(NUMBER(0), into, &length);
	return make_result(env, status < 0 ? -1 : (int64_t)length);
}

/* getSocketOption(fd, level, name, into): the value's length. */
static napi_value socket_get_option(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	BUFFER_ARGUMENT(into, 3);
	socklen_t length = into_length;
	int status = getsockopt(NUMBER(0), NUMBER(1), NUMBER(2), into, &length);
	return make_result(env, status < 0 ? -1 : (int64_t)length);
}

/* setSocketOption(fd, level, name, value) */
static napi_value socket_set_option(napi_env env, napi_callback_info info)
{
	ARGUMENTS(4);
	BUFFER_ARGUMENT(value, 3);
	return make_result(env, setsockopt(NUMBER(0), NUMBER(1), NUMBER(2), value, value_length));
}

/* sendMessage(fd, bytes, flags, address?, control?): the count. */
static napi_value socket_send(napi_env env, napi_callback_info info)
{
	ARGUMENTS(5);
	BUFFER_ARGUMENT(bytes, 1);
	BUFFER_ARGUMENT(address, 3);
	BUFFER_ARGUMENT(control, 4);
	struct iovec iov = { .iov_base = bytes, .iov_len = bytes_length };
	struct msghdr message = { .msg_name = address, .msg_namelen = address_length, .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = control_length };
	return make_result(env, sendmsg(NUMBER(0), &message, NUMBER(2)));
}

/*
 * receiveMessage(fd, bytes, flags, address?, control?, out): the count; out is an Int32Array for the lengths of address
 * and control messages and for the message's flags.
 */
static napi_value socket_receive(napi_env env, napi_callback_info info)
{
	ARGUMENTS(6);
	BUFFER_ARGUMENT(bytes, 1);
	BUFFER_ARGUMENT(address, 3);
	BUFFER_ARGUMENT(control, 4);
	BUFFER_ARGUMENT(out, 5);
	struct iovec iov = { .iov_base = bytes, .iov_len = bytes_length };
	struct msghdr message = { .msg_name = address, .msg_namelen = address_length, .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = control_length };
	if (out_length < 3 * sizeof(int32_t))
		return make_number(env, -EINVAL);
	ssize_t count = recvmsg(NUMBER(0), &message, NUMBER(2));
	if (count < 0)
		return make_number(env, -errno);
	int32_t *results = out;
	results[0] = (int32_t)message.msg_namelen;
	results[1] = (int32_t)message.msg_controllen;
	results[2] = message.msg_flags;
	return make_number(env, count);
}

/* interfaceList(fd, into): SIOCGIFCONF into the buffer: its length; with an empty one the length that it would have. */
static napi_value socket_interface_list(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	BUFFER_ARGUMENT(into, 1);
	struct ifconf list = { .ifc_len = into_length, .ifc_buf = into_length ? into : NULL };
	int status = ioctl(NUMBER(0), SIOCGIFCONF, &list);
	return make_result(env, status < 0 ? -1 : list.ifc_len);
}

napi_value socket_init(napi_env env, napi_value exports)
{
	static const struct caisson_call calls[] = {
		{ "makeSocket", socket_make },
		{ "bindSocket", socket_bind },
		{ "connectSocket", socket_connect },
		{ "listenSocket", socket_listen },
		{ "acceptSocket", socket_accept },
		{ "shutdownSocket", socket_shutdown },
		{ "socketName", socket_name },
		{ "getSocketOption", socket_get_option },
		{ "setSocketOption", socket_set_option },
		{ "sendMessage", socket_send },
		{ "receiveMessage", socket_receive },
		{ "interfaceList", socket_interface_list },
	};
	caisson_export(env, exports, calls, sizeof calls / sizeof calls[0]);
	return exports;
}
