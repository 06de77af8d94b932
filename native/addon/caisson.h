/* What the parts of the addon share. */
#ifndef CAISSON_H
#define CAISSON_H

#include <errno.h>
#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>

/* Each adds its functions to the addon's exports. */
napi_value host_init(napi_env env, napi_value exports);
napi_value jail_init(napi_env env, napi_value exports);
napi_value control_init(napi_env env, napi_value exports);
napi_value systrap_init(napi_env env, napi_value exports);
napi_value watch_init(napi_env env, napi_value exports);
napi_value process_init(napi_env env, napi_value exports);
napi_value socket_init(napi_env env, napi_value exports);
napi_value link_init(napi_env env, napi_value exports);

/* The epoll set of Host.watch; its events carry the watch's token in data.u64. */
int caisson_epoll_fd(void);

struct caisson_call {
	const char *name;
	napi_callback run;
};

/* Exports a table of functions. */
void caisson_export(napi_env env, napi_value exports, const struct caisson_call *calls, size_t count);

/* Declares `argv` and fetches the call's arguments; what the caller left out is undefined. */
#define ARGUMENTS(count)                                                      \
	napi_value argv[count];                                               \
	size_t argc = count;                                                  \
	napi_get_cb_info(env, info, &argc, argv, NULL, NULL)

/* A JavaScript number, truncated; 0 for anything else. */
static inline int64_t get_number(napi_env env, napi_value value)
{
	int64_t number = 0;
	napi_get_value_int64(env, value, &number);
	return number;
}

static inline napi_value make_number(napi_env env, int64_t number)
{
	napi_value value = NULL;
	if (number == (int32_t)number)
		napi_create_int32(env, (int32_t)number, &value);
	else
		napi_create_double(env, (double)number, &value);
	return value;
}

/* The result of a C library call: the value, or the negative errno. */
static inline napi_value make_result(napi_env env, int64_t result)
{
	return make_number(env, result == -1 ? -errno : result);
}

/* The memory of a typed array; NULL and length 0 for anything else. */
static inline void *get_bytes(napi_env env, napi_value value, size_t *length)
{
	napi_typedarray_type type;
	void *data = NULL;
	size_t count = 0;
	if (napi_get_typedarray_info(env, value, &type, &count, &data, NULL, NULL) != napi_ok) {
		*length = 0;
		return NULL;
	}
	*length = type == napi_float64_array ? count * 8
		: type == napi_int32_array || type == napi_uint32_array ? count * 4 : count;
	return data;
}

#endif
