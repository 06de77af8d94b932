/* The addon: groups of functions on one exports object, typed in src/platform/addon.ts. */
#include "caisson.h"

#pragma weak systrap_init

void caisson_export(napi_env env, napi_value exports, const struct caisson_call *calls, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		napi_value function;
		if (napi_create_function(env, calls[i].name, NAPI_AUTO_LENGTH, calls[i].run, NULL, &function) == napi_ok)
			napi_set_named_property(env, exports, calls[i].name, function);
	}
}

NAPI_MODULE_INIT()
{
	host_init(env, exports);
	jail_init(env, exports);
	control_init(env, exports);
	socket_init(env, exports);
	link_init(env, exports);
	watch_init(env, exports);
	process_init(env, exports);
	if (systrap_init)
		systrap_init(env, exports);
	return exports;
}
