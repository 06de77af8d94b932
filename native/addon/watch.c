/*
 * Descriptors in Node.js's own event loop, for processes of the host side: what neither net.Socket nor tty.ReadStream
 * takes, or takes only to wait in a write (masters of terminals, eventfds).
 *
 * A watch lives from watchStart to watchEnd, or to the end of the process; its descriptor stays the caller's, is made
 * non-blocking, and must be open for as long as the watch lives.
 */
#include "caisson.h"

#include <stdlib.h>

/* The little of libuv that is needed; Node.js exports it, and its numbers are part of its ABI. */
typedef struct uv_loop_s uv_loop_t;
typedef struct uv_poll_s uv_poll_t;
typedef struct uv_handle_s uv_handle_t;
enum { UV_POLL = 8 };
size_t uv_handle_size(int type);
int uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd);
int uv_poll_start(uv_poll_t *handle, int events, void (*callback)(uv_poll_t *, int status, int events));
int uv_poll_stop(uv_poll_t *handle);
void uv_close(uv_handle_t *handle, void (*callback)(uv_handle_t *));
void *uv_handle_get_data(const uv_handle_t *handle);
void uv_handle_set_data(uv_handle_t *handle, void *data);

struct watch {
	napi_env env;
	napi_ref callback;
	napi_async_context context;
	uv_poll_t *poll;
};

static void ready(uv_poll_t *poll, int status, int events)
{
	struct watch *watch = uv_handle_get_data((uv_handle_t *)poll);
	napi_env env = watch->env;
	napi_handle_scope scope;
	napi_value callback, receiver, argument, result;
	if (napi_open_handle_scope(env, &scope) != napi_ok)
		return;
	napi_get_reference_value(env, watch->callback, &callback);
	napi_get_global(env, &receiver);
	argument = make_number(env, status < 0 ? status : events);
	/* An exception that is thrown in it ends the process, as one in any other callback. */
	if (napi_make_callback(env, watch->context, receiver, callback, 1, &argument, &result) == napi_pending_exception) {
		napi_value exception;
		napi_get_and_clear_last_exception(env, &exception);
		napi_fatal_exception(env, exception);
	}
	napi_close_handle_scope(env, scope);
}

static void closed(uv_handle_t *handle)
{
	struct watch *watch = uv_handle_get_data(handle);
	free(watch->poll);
	free(watch);
}

/* watchStart(fd, callback): the watch, which waits for nothing yet, or a negative errno. */
static napi_value watch_start(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	uv_loop_t *loop;
	napi_value name, external;
	struct watch *watch = calloc(1, sizeof *watch);
	uv_poll_t *poll = calloc(1, uv_handle_size(UV_POLL));
	int status = -ENOMEM;
	if (!watch || !poll || napi_get_uv_event_loop(env, (struct uv_loop_s **)&loop) != napi_ok)
		goto failed;
	status = uv_poll_init(loop, poll, (int)get_number(env, argv[0]));
	if (status < 0)
		goto failed;
	watch->env = env;
	watch->poll = poll;
	uv_handle_set_data((uv_handle_t *)poll, watch);
	napi_create_string_utf8(env, "watch", NAPI_AUTO_LENGTH, &name);
	napi_async_init(env, NULL, name, &watch->context);
	napi_create_reference(env, argv[1], 1, &watch->callback);
	napi_create_external(env, watch, NULL, NULL, &external);
	return external;
failed:
	free(watch);
	free(poll);
	return make_number(env, status);
}

static struct watch *get_watch(napi_env env, napi_value value)
{
	void *watch = NULL;
	napi_get_value_external(env, value, &watch);
	return watch;
}

/* watchEvents(watch, events): 1 to read, 2 to write, their sum, or 0 for neither. */
static napi_value watch_events(napi_env env, napi_callback_info info)
{
	ARGUMENTS(2);
	struct watch *watch = get_watch(env, argv[0]);
	int events = (int)get_number(env, argv[1]) & 3;
	if (!watch)
		return make_number(env, -EINVAL);
	return make_number(env, events ? uv_poll_start(watch->poll, events, ready) : uv_poll_stop(watch->poll));
}

/* watchEnd(watch): it must not be used again. */
static napi_value watch_end(napi_env env, napi_callback_info info)
{
	ARGUMENTS(1);
	struct watch *watch = get_watch(env, argv[0]);
	if (!watch)
		return make_number(env, -EINVAL);
	napi_delete_reference(env, watch->callback);
	napi_async_destroy(env, watch->context);
	uv_close((uv_handle_t *)watch->poll, closed);
	return make_number(env, 0);
}

napi_value watch_init(napi_env env, napi_value exports)
{
	static const struct caisson_call calls[] = {
		{"watchStart", watch_start}, {"watchEvents", watch_events}, {"watchEnd", watch_end},
	};
	caisson_export(env, exports, calls, sizeof calls / sizeof *calls);
	return exports;
}
