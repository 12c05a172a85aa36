/* SPDX-License-Identifier: MIT */
/* shared_util: what the hooks for scripts and programs need alike; sees weir/hook.h only. */
#ifndef WEIR_HOOKS_SHARED_UTIL_H
#define WEIR_HOOKS_SHARED_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/hook.h"

/** struct complaints - about one hook's script or program: one line a second */
struct complaints {
	uint64_t count;
	uint64_t said_ns, unsaid; /* the last one logged, and those since */
};

/** complain - count and log @text as an error, of @f or NULL, unless one was logged just now */
void complain(struct complaints *c, const struct weir_host *host, struct weir_hook_ref *ref,
	      struct weir_flow *f, const char *text);

/** parse_size - "16mb", "512k", "4096" as bytes; 0: it is not, or not from @least to @most */
uint64_t parse_size(const char *text, uint64_t least, uint64_t most);
/** parse_time - "50ms", "5s", "100us" as nanoseconds; 0 likewise */
uint64_t parse_time(const char *text, uint64_t least, uint64_t most);

/** absolute_path - @path as seen from here, into @out; 0, or -1: it is too long */
int absolute_path(const char *path, char *out, size_t size);

enum json_bytes {
	JSON_TEXT,  /* UTF-8 where it is that; else each byte is the code point of its value */
	JSON_BYTES, /* always each byte, so that nothing is lost; the result is ASCII */
};

/** json_escape - @text between quotation marks, by calls of @put */
void json_escape(const char *text, size_t len, enum json_bytes as,
		 void (*put)(void *ctx, const char *text, size_t len), void *ctx);

#endif
