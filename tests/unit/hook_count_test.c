/* SPDX-License-Identifier: MIT */
/*
 * the counting hook, in a chain as weir loads it.
 * LINK: src/hook.o src/hooks/count.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "hook.h"

#include <errno.h>
#include <string.h>

#include "../lib/tap.h"

static char seen[256];

static void take_line(void *ctx, const char *line)
{
	(void)ctx;
	snprintf(seen, sizeof(seen), "%s", line);
}

int main(void)
{
	struct hook_chain *c = hook_chain_new();
	struct flow_rec rec = {.state = FLOW_OPEN};
	struct flow f = {.rec = &rec};
	struct hook_view v = {.rec = &rec};
	const char *err = NULL;

	tap_ok(hook_chain_add(c, "count=x", &err) == -EINVAL && err, "count takes no arguments");
	tap_is(hook_chain_add(c, "count", &err), 0, "count loads");
	hook_chain_open(c, &f, &v);
	tap_is(hook_chain_chunk(c, &f, &v, HOOK_UP, (const uint8_t *)"abc", 3, false), 3,
	       "it accepts all");
	tap_is(hook_chain_chunk(c, &f, &v, HOOK_UP, NULL, 0, true), 0, "and the end");
	tap_is(hook_chain_datagram(c, &f, &v, HOOK_DOWN, (const uint8_t *)"abcd", 4), 0,
	       "and datagrams");
	hook_chain_close(c, &f, &v);
	hook_chain_report(c, take_line, NULL);
	tap_ok(!strcmp(seen, "hook count: 1 flows; up 1 chunks, 0 datagrams, 3 bytes; "
			     "down 0 chunks, 1 datagrams, 4 bytes"),
	       "it reports what passed: %s", seen);
	hook_chain_free(c);
	return tap_done();
}
