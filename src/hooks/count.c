/* SPDX-License-Identifier: MIT */
/* count: accepts everything and counts it; the cheapest hook there is, and the benchmarks' one. */
#include "hook.h"

#include <stdio.h>
#include <stdlib.h>

struct count_state {
	uint64_t flows;
	struct {
		uint64_t chunks, datagrams, bytes;
	} dir[2];
};

static void *count_load(const char *args, const char **err)
{
	struct count_state *s;

	if (args) {
		*err = "it takes no arguments";
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		*err = "out of memory";
	return s;
}

static int count_open(void *state, const struct hook_view *v, void **fstate)
{
	struct count_state *s = state;

	(void)v;
	(void)fstate;
	s->flows++;
	return 0;
}

static ssize_t count_chunk(void *state, void *fstate, const struct hook_view *v, enum hook_dir dir,
			   const uint8_t *data, size_t len, bool last)
{
	struct count_state *s = state;

	(void)fstate;
	(void)v;
	(void)data;
	(void)last;
	s->dir[dir].chunks += len != 0; /* the bare end of a stream is not a chunk */
	s->dir[dir].bytes += len;
	return (ssize_t)len;
}

static int count_datagram(void *state, void *fstate, const struct hook_view *v, enum hook_dir dir,
			  const uint8_t *data, size_t len)
{
	struct count_state *s = state;

	(void)fstate;
	(void)v;
	(void)data;
	s->dir[dir].datagrams++;
	s->dir[dir].bytes += len;
	return 0;
}

static void count_report(void *state, char *line, size_t size)
{
	const struct count_state *s = state;

	snprintf(line, size,
		 "%llu flows; up %llu chunks, %llu datagrams, %llu bytes; "
		 "down %llu chunks, %llu datagrams, %llu bytes",
		 (unsigned long long)s->flows, (unsigned long long)s->dir[HOOK_UP].chunks,
		 (unsigned long long)s->dir[HOOK_UP].datagrams,
		 (unsigned long long)s->dir[HOOK_UP].bytes,
		 (unsigned long long)s->dir[HOOK_DOWN].chunks,
		 (unsigned long long)s->dir[HOOK_DOWN].datagrams,
		 (unsigned long long)s->dir[HOOK_DOWN].bytes);
}

const struct hook_ops hook_count = {
	.name = "count",
	.load = count_load,
	.unload = free,
	.open = count_open,
	.chunk = count_chunk,
	.datagram = count_datagram,
	.report = count_report,
};
