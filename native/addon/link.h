/* What link.c and link-reader.c share. */
#ifndef LINK_H
#define LINK_H

#include <node_api.h>
#include <stdint.h>
#include <sys/uio.h>

/* Frames of one batch at most. */
enum { LINK_BATCH = 64 };

/* The places from `offset` on in a JavaScript array of buffers, LINK_BATCH at most: how many, or a negative errno. */
int64_t link_frames(napi_env env, napi_value buffers, int64_t offset, struct iovec *frames);

/* Reads a frame into each place until there are none left: how many. `lengths`: as linkReceive's. */
uint32_t link_read(int fd, const struct iovec *frames, uint32_t count, int32_t *lengths);

napi_value link_start_reader(napi_env env, napi_callback_info info);
napi_value link_read_ahead(napi_env env, napi_callback_info info);
napi_value link_collect(napi_env env, napi_callback_info info);

#endif
