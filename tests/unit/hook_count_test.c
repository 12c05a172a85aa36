/* SPDX-License-Identifier: MIT */
/*
 * the counting hook, in a chain as weir loads it.
 * LINK: src/hook.o src/hook_call.o src/hook_stream.o src/hook_dgram.o src/hook_host.o
 * LINK: src/hook_load.o src/hooks/count.o src/flow.o src/base/hash.o src/base/addr.o
 * LINK: src/base/util.o src/base/log.o src/base/clock.o
 */
#include "hook.h"

#include <errno.h>
#include <string.h>

#include "owner.h"
#include "../lib/tap.h"

extern const struct weir_hook *const weir_builtin_count;

static char seen[256];

const char *owner_why_text(unsigned why)
{
	return why ? "unknown" : "known";
}

const char *owner_source_text(unsigned source)
{
	return source ? "bpf" : "sockdiag";
}

static void take_line(void *ctx, const char *line)
{
	(void)ctx;
	snprintf(seen, sizeof(seen), "%s", line);
}

static void view(void *ctx, const struct flow *f, struct hook_view *v)
{
	(void)ctx;
	*v = (struct hook_view){.rec = f->rec};
}

int main(void)
{
	const struct hook_env env = {.view = view};
	struct hook_chain *c = hook_chain_new(&env);
	struct flow_rec rec = {.state = FLOW_OPEN, .proto = IPPROTO_TCP};
	struct flow f = {.rec = &rec};
	struct hook_dgram d = {.data = (const uint8_t *)"abcd", .len = 4};
	struct hook_passed p;
	char err[256];

	tap_ok(hook_chain_add_hook(c, weir_builtin_count, "x", err, sizeof(err)) == -EINVAL && *err,
	       "count takes no arguments: %s", err);
	tap_is(hook_chain_add_hook(c, weir_builtin_count, NULL, err, sizeof(err)), 0,
	       "count loads");
	hook_chain_open(c, &f);
	tap_ok(!hook_chain_chunk(c, &f, HOOK_UP, (const uint8_t *)"abc", 3, false, &p) &&
		       p.as_is == 3,
	       "it accepts all");
	tap_ok(!hook_chain_chunk(c, &f, HOOK_UP, NULL, 0, true, &p) && hook_chain_over(&f, HOOK_UP),
	       "and the end");
	hook_chain_close(c, &f);
	rec.proto = IPPROTO_UDP;
	hook_chain_open(c, &f);
	tap_is(hook_chain_datagram(c, &f, HOOK_DOWN, &d), 0, "and datagrams");
	hook_chain_close(c, &f);
	hook_chain_report(c, take_line, NULL);
	tap_ok(!strcmp(seen, "hook count: 2 flows; up 1 chunks, 0 datagrams, 3 bytes; "
			     "down 0 chunks, 1 datagrams, 4 bytes"),
	       "it reports what passed: %s", seen);
	hook_chain_free(c);
	return tap_done();
}
