/* SPDX-License-Identifier: MIT */
/* count: accepts everything and counts it; the cheapest hook there is, and the benchmarks' one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "weir/hook.h"

struct count {
	uint64_t flows;
	struct {
		uint64_t chunks, datagrams, bytes;
	} dir[2];
};

static void *count_load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	struct count *c = calloc(1, sizeof(*c));

	(void)host;
	(void)ref;
	if (!c)
		*err = "out of memory";
	return c;
}

static int count_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct count *c = state;

	(void)f;
	(void)info;
	c->flows++;
	return WEIR_PASS;
}

static int64_t count_payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	struct count *c = state;

	(void)f;
	c->dir[p->dir].chunks += p->len != 0; /* the bare end of a stream is not a chunk */
	c->dir[p->dir].bytes += p->len;
	return (int64_t)p->len;
}

static int count_datagram(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	struct count *c = state;

	(void)f;
	c->dir[d->dir].datagrams++;
	c->dir[d->dir].bytes += d->len;
	return WEIR_PASS;
}

static void count_report(void *state, char *line, size_t size)
{
	const struct count *c = state;

	snprintf(line, size,
		 "%" PRIu64 " flows; up %" PRIu64 " chunks, %" PRIu64 " datagrams, %" PRIu64
		 " bytes; down %" PRIu64 " chunks, %" PRIu64 " datagrams, %" PRIu64 " bytes",
		 c->flows, c->dir[WEIR_UP].chunks, c->dir[WEIR_UP].datagrams, c->dir[WEIR_UP].bytes,
		 c->dir[WEIR_DOWN].chunks, c->dir[WEIR_DOWN].datagrams, c->dir[WEIR_DOWN].bytes);
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,
	.name = "count",
	.help = "accepts everything and counts it",
	.load = count_load,
	.unload = free,
	.flow_open = count_open,
	.payload = count_payload,
	.datagram = count_datagram,
	.report = count_report,
};
WEIR_HOOK(hook)
