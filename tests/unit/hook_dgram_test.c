/* SPDX-License-Identifier: MIT */
/*
 * hook: datagrams past random hooks: each sees what the one before it let go on, in order, and
 * what comes out is what the last one let go on.
 * LINK: src/hook.o src/hook_call.o src/hook_stream.o src/hook_dgram.o src/hook_host.o
 * LINK: src/hook_load.o src/flow.o src/base/hash.o src/base/addr.o src/base/util.o src/base/log.o
 * LINK: src/base/clock.o
 */
#include "hook.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "owner.h"
#include "../lib/tap.h"

#define HOOKS_MAX 3
#define MANY	  512
#define ROUNDS	  3000

/** struct list - numbers of datagrams in order; a datagram is its number as text, and more */
struct list {
	char text[MANY][24];
	unsigned n;
};

/* [0]: what was offered; [k]: what hook k let go on. at[k]: how many hook k has judged. */
static struct list let[2][HOOKS_MAX + 1], out[2];
static unsigned at[2][HOOKS_MAX + 1];
static bool pend[2][HOOKS_MAX + 1];
static unsigned n_hooks, n_loaded, violations, calls, pends, replaced, injected;
static struct weir_flow *handle[HOOKS_MAX + 1];
static const struct weir_host *host;
static unsigned mes[HOOKS_MAX];

static bool chance(unsigned percent)
{
	return (unsigned)random() % 100 < percent;
}

static void violation(const char *what)
{
	if (!violations++)
		tap_ok(false, "%s", what);
}

static void add(struct list *l, const char *text)
{
	weir_assert(l->n < MANY);
	str_copy(l->text[l->n++], sizeof(l->text[0]), text);
}

/* --- the hooks --------------------------------------------------------------------------- */

static void *load(const struct weir_host *h, struct weir_hook_ref *ref, const char **err)
{
	unsigned *me = &mes[n_loaded++];

	(void)ref;
	(void)err;
	host = h;
	*me = n_loaded;
	return me;
}

static int flow_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	(void)info;
	handle[*(unsigned *)state] = f;
	return WEIR_PASS;
}

/** change - in place of some of it, or of all, other bytes */
static void change(struct weir_flow *f, const struct weir_datagram *d, char *text, size_t size)
{
	if (chance(50)) {
		if (host->replace(f, 0, 0, "+", 1) || host->replace(f, d->len, 0, "-", 1))
			violation("replace() was refused");
		snprintf(text, size, "+%.*s-", (int)d->len, (const char *)d->data);
	} else {
		if (host->replace(f, 0, d->len, "new", 3))
			violation("replace() was refused");
		snprintf(text, size, "new");
	}
	replaced++;
}

static int datagram(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	const unsigned k = *(unsigned *)state;
	struct list *mine = &let[d->dir][k];
	const struct list *before = &let[d->dir][k - 1];
	char text[24];

	calls++;
	if (pend[d->dir][k])
		violation("a hook that waits is called");
	snprintf(text, sizeof(text), "%.*s", (int)d->len, (const char *)d->data);
	if (at[d->dir][k] >= before->n || strcmp(before->text[at[d->dir][k]], text))
		violation("a hook is shown another datagram than the one before it let go on");
	if (chance(10)) {
		pend[d->dir][k] = true;
		pends++;
		return WEIR_PEND;
	}
	at[d->dir][k]++;
	if (chance(10))
		return WEIR_DROP;
	if (d->len < 12 && chance(20))
		change(f, d, text, sizeof(text));
	add(mine, text);
	return WEIR_PASS;
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,		.name = "random",     .load = load,
	.flow_open = flow_open, .datagram = datagram,
};

/* --- the relay ------------------------------------------------------------------------------ */

static struct hook_chain *chain;
static struct flow_rec rec;
static struct flow flow = {.rec = &rec};
static bool gate_open;

static void view(void *ctx, const struct flow *f, struct hook_view *v)
{
	(void)ctx;
	*v = (struct hook_view){.rec = f->rec};
}

static void comes_out(unsigned dir, const struct hook_dgram *d)
{
	char text[24];

	if (!gate_open)
		violation("something passes a gate that is closed");
	/* those that hooks have made have none */
	if ((d->ttl != 7 || d->tos != 3 || !d->df) && (d->ttl != 64 || d->tos || d->df))
		violation("its other marks are lost");
	snprintf(text, sizeof(text), "%.*s", (int)d->len, (const char *)d->data);
	add(&out[dir], text);
}

static void fetch(enum hook_dir dir)
{
	struct hook_dgram d;
	int rc;

	while ((rc = hook_chain_next_datagram(&flow, dir, &d)) > 0)
		comes_out(dir, &d);
	if (rc)
		violation("a flow is blocked");
}

static void offer(enum hook_dir dir)
{
	static unsigned serial;
	char text[16];
	struct hook_dgram d = {.data = (uint8_t *)text, .ttl = 7, .tos = 3, .df = true};

	d.len = (size_t)snprintf(text, sizeof(text), "%u", serial++ % 1000);
	if (chance(10))
		d.len = 0;
	text[d.len] = '\0';
	add(&let[dir][0], text);
	switch (hook_chain_datagram(chain, &flow, dir, &d)) {
	case 0:
		comes_out(dir, &d);
		break;
	case HOOK_TAKEN:
		fetch(dir);
		break;
	case HOOK_DROP:
		break;
	default:
		violation("a strange answer");
	}
}

static void resume(unsigned k, enum hook_dir dir)
{
	if (pend[dir][k])
		host->resume(handle[k], (enum weir_dir)dir);
	pend[dir][k] = false;
}

static void wake(void)
{
	while (hook_chain_woken(chain)) {
		fetch(HOOK_UP);
		fetch(HOOK_DOWN);
	}
}

/** all_let - nothing waits before hook @k and those in front of it, so what it injects is next */
static bool all_let(unsigned k, enum hook_dir dir)
{
	for (; k <= n_hooks; k++)
		if (at[dir][k] != let[dir][k - 1].n)
			return false;
	return true;
}

static void something(void)
{
	const enum hook_dir dir = chance(50) ? HOOK_UP : HOOK_DOWN;
	const unsigned k = 1 + (unsigned)random() % n_hooks;

	switch (random() % 8) {
	case 0:
		resume(k, dir);
		break;
	case 1:
		injected++;
		add(&let[dir][k], "*made");
		if (host->inject(handle[k], (enum weir_dir)dir, "*made", 5))
			violation("inject() was refused");
		break;
	case 2:
		if (gate_open || chance(70))
			break;
		gate_open = true;
		hook_chain_gate(chain, &flow, true);
		break;
	default:
		if (let[dir][0].n < 200)
			offer(dir);
	}
	wake();
}

static void begin(void)
{
	static const struct hook_env env = {.view = view, .limit = 1 << 20};
	char err[256];

	memset(let, 0, sizeof(let));
	memset(out, 0, sizeof(out));
	memset(at, 0, sizeof(at));
	memset(pend, 0, sizeof(pend));
	n_hooks = 1 + (unsigned)random() % HOOKS_MAX;
	n_loaded = 0;
	chain = hook_chain_new(&env);
	for (unsigned k = 0; k < n_hooks; k++)
		if (hook_chain_add_hook(chain, &hook, NULL, err, sizeof(err)))
			abort();
	rec = (struct flow_rec){.id = 5, .proto = IPPROTO_UDP, .state = FLOW_OPEN};
	hook_chain_open(chain, &flow);
	gate_open = chance(80);
	hook_chain_gate(chain, &flow, gate_open);
	wake();
}

static void finish(void)
{
	gate_open = true;
	hook_chain_gate(chain, &flow, true);
	for (int i = 0; i < 1000 && !(all_let(1, HOOK_UP) && all_let(1, HOOK_DOWN)); i++)
		for (enum hook_dir dir = HOOK_UP; dir <= HOOK_DOWN; dir++) {
			for (unsigned k = 1; k <= n_hooks; k++)
				resume(k, dir);
			wake();
		}
	wake();
	for (unsigned dir = 0; dir < 2; dir++) {
		const struct list *want = &let[dir][n_hooks];

		if (out[dir].n != want->n || memcmp(out[dir].text, want->text, sizeof(want->text)))
			violation("what comes out is not what the last hook let go on");
	}
	if (hook_chain_bytes(chain))
		violation("something is left in the chain");
	hook_chain_close(chain, &flow);
	hook_chain_free(chain);
}

static void test_property(void)
{
	for (unsigned seed = 1; seed <= ROUNDS && !violations; seed++) {
		srandom(seed);
		begin();
		for (unsigned i = 0, steps = (unsigned)random() % 100; i < steps; i++)
			something();
		finish();
		if (violations)
			printf("# seed %u\n", seed);
	}
	tap_is(violations, 0, "%d random chains: in order, each once, as their verdicts say",
	       ROUNDS);
	tap_ok(calls > 50000 && pends > 3000 && replaced > 3000 && injected > 1000,
	       "of %u calls, %u waits, %u replaced, %u injected", calls, pends, replaced, injected);
}

/* --- bounds -------------------------------------------------------------------------------------
 */

static int never(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	(void)state;
	(void)f;
	(void)d;
	return WEIR_PEND;
}

static void test_bounds(void)
{
	static const struct weir_hook waits = {WEIR_HOOK_HEAD, .name = "waits", .load = load,
					       .flow_open = flow_open, .datagram = never};
	const struct hook_env env = {.view = view, .limit = 1000, .total = 1500};
	struct flow_rec other_rec = {.id = 6, .proto = IPPROTO_UDP, .state = FLOW_OPEN};
	struct flow other = {.rec = &other_rec};
	struct hook_dgram d = {.data = (const uint8_t *)"0123456789", .len = 10};
	unsigned n = 0, more = 0;
	char err[256];

	chain = hook_chain_new(&env);
	n_loaded = 0;
	hook_chain_add_hook(chain, &waits, NULL, err, sizeof(err));
	hook_chain_open(chain, &flow);
	hook_chain_open(chain, &other);
	while (n < 1000 && hook_chain_datagram(chain, &flow, HOOK_UP, &d) == HOOK_TAKEN)
		n++;
	tap_is(n, 100, "a flow's datagrams wait up to its limit, then they are lost");
	while (more < 1000 && hook_chain_datagram(chain, &other, HOOK_UP, &d) == HOOK_TAKEN)
		more++;
	tap_is(more, 50, "and all flows' up to theirs");
	d.len = 0;
	n = 0;
	while (n < 1000 && hook_chain_datagram(chain, &flow, HOOK_DOWN, &d) == HOOK_TAKEN)
		n++;
	tap_is(n, 256, "empty ones are counted");
	tap_is(host->inject(handle[1], WEIR_UP, "x", 1), -ENOBUFS,
	       "a hook is told that it is full");
	tap_is(host->close(handle[1], WEIR_UP), -EINVAL, "there is no end to close");
	hook_chain_close(chain, &flow);
	hook_chain_close(chain, &other);
	tap_is(hook_chain_bytes(chain), 0, "all is given back");
	rec.proto = IPPROTO_ICMP;
	hook_chain_open(chain, &flow);
	tap_is(host->inject(handle[1], WEIR_UP, "x", 1), -EOPNOTSUPP, "an echo is not made up");
	hook_chain_close(chain, &flow);
	hook_chain_free(chain);
}

const char *owner_why_text(unsigned why)
{
	return why ? "unknown" : "known";
}

const char *owner_source_text(unsigned source)
{
	return source ? "bpf" : "sockdiag";
}

int main(void)
{
	test_property();
	test_bounds();
	return tap_done();
}
