/* SPDX-License-Identifier: MIT */
/*
 * hook: random hooks over random chunkings, against a model that is a few lines long.
 *
 * Each hook does as it pleases with what it is shown: accepts some, holds, replaces, inserts,
 * drops, injects, waits, is done, ends a direction. The model keeps, for each hook and direction,
 * the bytes that it was shown and accepted so far and those that it let go on, made anew from its
 * own verdicts. What hook k is shown must be what hook k - 1 let go on, from where it stopped
 * accepting; what comes out must be what the last one let go on; and in the end nothing is left.
 *
 * LINK: src/hook.o src/hook_call.o src/hook_stream.o src/hook_dgram.o src/hook_host.o
 * LINK: src/hook_load.o src/flow.o src/base/hash.o src/base/addr.o src/base/util.o src/base/log.o
 * LINK: src/base/clock.o
 */
#include "hook.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "owner.h"
#include "../lib/tap.h"

#define HOOKS_MAX 4
#define BYTES_MAX 65536
#define ROUNDS	  4000

/* --- the model ------------------------------------------------------------------------------ */

/** struct text - bytes in order */
struct text {
	uint8_t b[BYTES_MAX];
	size_t len;
};

static void put(struct text *t, const void *data, size_t n)
{
	weir_assert(t->len + n <= BYTES_MAX);
	if (n)
		memcpy(t->b + t->len, data, n);
	t->len += n;
}

/** put_from - the same of @data from @at on, which is NULL where there is nothing */
static void put_from(struct text *t, const uint8_t *data, size_t at, size_t n)
{
	if (n)
		put(t, data + at, n);
}

/** struct stage - one hook in one direction; [0] of a direction stands for who offers the bytes */
struct stage {
	struct text out; /* what it let go on */
	size_t accepted; /* of what the one before it let go on */
	bool pend, ended, closed, done, half_closed;
};

static struct stage stage[2][HOOKS_MAX + 1];
static struct text came_out[2];
static bool last_offered[2];
static unsigned n_hooks;
static unsigned violations, calls, edits, injects, pends, closes;
static struct weir_flow *handle[HOOKS_MAX];
static const struct weir_host *host;

static size_t dice(size_t n)
{
	return n ? (size_t)random() % n : 0;
}

static bool chance(unsigned percent)
{
	return dice(100) < percent;
}

static void violation(const char *what)
{
	if (!violations++)
		tap_ok(false, "%s", what);
}

/** catch_up - hooks that are not called any more: what passes them; closed ones have ended */
static void catch_up(unsigned dir)
{
	for (unsigned k = 1; k <= n_hooks; k++) {
		struct stage *s = &stage[dir][k], *before = &stage[dir][k - 1];

		if (s->done && !s->closed) {
			put(&s->out, before->out.b + s->accepted, before->out.len - s->accepted);
			s->accepted = before->out.len;
			s->ended |= before->ended;
		}
		s->ended |= s->closed;
	}
}

/* --- the hooks ----------------------------------------------------------------------------------
 */

/** struct me - a hook: its number, from 1 */
struct me {
	unsigned k;
};

static unsigned n_loaded;
static struct me mes[HOOKS_MAX];

static void *load(const struct weir_host *h, struct weir_hook_ref *ref, const char **err)
{
	struct me *me = &mes[n_loaded];

	(void)ref;
	(void)err;
	host = h;
	me->k = ++n_loaded;
	return me;
}

static int flow_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	const struct me *me = state;

	(void)info;
	handle[me->k - 1] = f;
	return WEIR_PASS;
}

/** do_edits - of the first @n bytes shown, told to the chain and made in @out; some reach beyond @n
 */
static void do_edits(struct weir_flow *f, const uint8_t *data, size_t n, size_t len,
		     struct text *out)
{
	size_t at = 0;
	bool forgotten = false;

	for (unsigned i = 0; i < 3 && chance(60); i++) {
		const size_t off = at + dice(len - at + 1), cut = dice(MIN(len - off, 20) + 1);
		uint8_t with[16];
		const size_t n_with = dice(sizeof(with));

		for (size_t j = 0; j < n_with; j++)
			with[j] = (uint8_t)('A' + dice(26));
		if (host->replace(f, off, cut, with, n_with))
			violation("replace() was refused");
		edits++;
		forgotten |= off + cut > n;
		if (!forgotten) {
			put_from(out, data, at, off - at);
			put(out, with, n_with);
			at = off + cut;
		} else {
			break; /* the next one could only be further behind */
		}
	}
	if (at < n)
		put_from(out, data, at, n - at);
}

static void do_inject(unsigned k, struct weir_flow *f, enum weir_dir dir, struct text *out)
{
	uint8_t made[24];
	const size_t n = dice(sizeof(made));
	struct stage *s = &stage[dir][k];
	const bool refused = s->closed || s->ended;

	for (size_t j = 0; j < n; j++)
		made[j] = (uint8_t)('0' + dice(10));
	if (!host->inject(f, dir, made, n) == refused)
		violation(refused ? "inject() behind the end" : "inject() was refused");
	if (!refused)
		put(out, made, n);
	injects++;
}

static void shown_right(const struct stage *before, const struct stage *s,
			const struct weir_payload *p)
{
	catch_up(p->dir);
	if (p->offset != s->accepted || s->accepted + p->len > before->out.len ||
	    memcmp(p->data ? p->data : (const uint8_t *)"", before->out.b + s->accepted, p->len))
		violation("a hook is shown what the one before it did not let go on");
	if (s->pend || s->closed || s->done || s->ended)
		violation("a hook is called that must not be");
	if (!p->len && !(p->flags & WEIR_LAST))
		violation("a hook is shown nothing");
	if ((p->flags & WEIR_LAST) && (!before->ended || s->accepted + p->len != before->out.len))
		violation("WEIR_LAST, and more is to come");
}

static int64_t payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	const unsigned k = ((struct me *)state)->k;
	struct stage *s = &stage[p->dir][k];
	const bool last = p->flags & WEIR_LAST;
	size_t n = last || chance(40) ? p->len : dice(p->len + 1);

	calls++;
	shown_right(&stage[p->dir][k - 1], s, p);
	if (chance(10))
		do_inject(k, f, p->dir == WEIR_UP ? WEIR_DOWN : WEIR_UP, &stage[!p->dir][k].out);
	if (chance(10)) {
		s->pend = true;
		pends++;
		return WEIR_PEND;
	}
	if (chance(2)) {
		host->done(f);
		stage[0][k].done = stage[1][k].done = true;
	}
	if (chance(40))
		do_edits(f, p->data, n, p->len, &s->out);
	else
		put(&s->out, p->data, n);
	if (chance(10))
		do_inject(k, f, p->dir, &s->out);
	if (chance(1)) {
		host->close(f, p->dir);
		s->closed = true;
		closes++;
	}
	s->accepted += n;
	return (int64_t)n;
}

static void half_close(void *state, struct weir_flow *f, enum weir_dir dir)
{
	const unsigned k = ((struct me *)state)->k;
	struct stage *s = &stage[dir][k];

	if (s->accepted != stage[dir][k - 1].out.len || !stage[dir][k - 1].ended || s->half_closed)
		violation("half_close() before the last byte, or twice");
	s->half_closed = true;
	if (chance(20))
		do_inject(k, f, dir, &s->out);
	s->ended = true;
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,		.name = "random",   .load = load,
	.flow_open = flow_open, .payload = payload, .half_close = half_close,
};

/* --- the relay -----------------------------------------------------------------------------------
 */

static struct hook_chain *chain;
static struct flow_rec rec;
static struct flow flow = {.rec = &rec};
static bool gate_open;

static void view(void *ctx, const struct flow *f, struct hook_view *v)
{
	(void)ctx;
	*v = (struct hook_view){.rec = f->rec};
}

static void comes_out(unsigned dir, const uint8_t *data, size_t n)
{
	if (n && !gate_open)
		violation("something passes a gate that is closed");
	put(&came_out[dir], data, n);
}

/** take_out - some of the output; @all: all of it */
static void take_out(enum hook_dir dir, bool all)
{
	const uint8_t *out;
	size_t n;

	while ((n = hook_chain_output(&flow, dir, &out)) > 0) {
		n = all ? n : dice(n + 1);
		comes_out(dir, out, n);
		hook_chain_sent(&flow, dir, n);
		if (!all)
			return;
	}
}

static void offer(enum hook_dir dir, size_t most)
{
	uint8_t bytes[300];
	size_t n = MIN(dice(sizeof(bytes)), most);
	struct hook_passed p;
	const uint8_t *out;
	const bool waiting = hook_chain_output(&flow, dir, &out);
	struct stage *source = &stage[dir][0];

	n = MIN(n, hook_chain_room(&flow, dir));
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)('a' + dice(26));
	put(&source->out, bytes, n);
	if (hook_chain_chunk(chain, &flow, dir, bytes, n, false, &p))
		violation("a chunk is refused");
	if (p.as_is + p.taken != n || (waiting && p.as_is))
		violation("what is offered is neither taken nor passed");
	comes_out(dir, bytes, p.as_is);
}

static void offer_last(enum hook_dir dir)
{
	struct hook_passed p;

	last_offered[dir] = stage[dir][0].ended = true;
	if (hook_chain_chunk(chain, &flow, dir, NULL, 0, true, &p) || p.as_is || p.taken)
		violation("the end is refused");
}

/** wake - what relay does with a flow that was woken */
static void wake(void)
{
	while (hook_chain_woken(chain))
		for (enum hook_dir dir = HOOK_UP; dir <= HOOK_DOWN; dir++)
			if (hook_chain_run(&flow, dir))
				violation("a run is refused");
}

static void resume(unsigned k, enum hook_dir dir)
{
	if (!stage[dir][k].pend)
		return;
	stage[dir][k].pend = false;
	host->resume(handle[k - 1], (enum weir_dir)dir);
}

/** something - happens, in either direction */
static void something(void)
{
	const enum hook_dir dir = chance(50) ? HOOK_UP : HOOK_DOWN;
	const unsigned k = 1 + (unsigned)dice(n_hooks);

	switch (dice(8)) {
	case 0:
	case 1:
	case 2:
		if (!last_offered[dir])
			offer(dir, 300);
		break;
	case 3:
		take_out(dir, chance(70));
		break;
	case 4:
		resume(k, dir);
		break;
	case 5:
		if (!stage[dir][k].done && chance(50))
			do_inject(k, handle[k - 1], (enum weir_dir)dir, &stage[dir][k].out);
		break;
	case 6:
		if (!last_offered[dir] && chance(10))
			offer_last(dir);
		break;
	case 7:
		if (!gate_open && chance(30)) {
			gate_open = true;
			hook_chain_gate(chain, &flow, true);
		}
		break;
	}
	wake();
}

/** finish - everything ends, and has to come out */
static void finish(void)
{
	if (!gate_open)
		hook_chain_gate(chain, &flow, gate_open = true);
	for (int i = 0; i < 200; i++) {
		for (enum hook_dir dir = HOOK_UP; dir <= HOOK_DOWN; dir++) {
			if (!last_offered[dir])
				offer_last(dir);
			for (unsigned k = 1; k <= n_hooks; k++)
				resume(k, dir);
			wake();
			take_out(dir, true);
		}
		if (hook_chain_over(&flow, HOOK_UP) && hook_chain_over(&flow, HOOK_DOWN))
			return;
	}
	violation("a direction does not end");
}

static void check(void)
{
	for (unsigned dir = 0; dir < 2; dir++) {
		const struct text *want = &stage[dir][n_hooks].out;

		catch_up(dir);
		if (came_out[dir].len != want->len || memcmp(came_out[dir].b, want->b, want->len))
			violation("what comes out is not what the last hook let go on");
		/* Before a hook that has ended the direction things may have been left. */
		for (unsigned k = n_hooks; k && !stage[dir][k].closed; k--)
			if (stage[dir][k].accepted != stage[dir][k - 1].out.len)
				violation("something is left before a hook");
	}
}

static void begin(unsigned n)
{
	static const struct hook_env env = {.view = view, .limit = 1 << 20};
	char err[256];

	memset(stage, 0, sizeof(stage));
	memset(came_out, 0, sizeof(came_out));
	last_offered[0] = last_offered[1] = false;
	n_hooks = n;
	n_loaded = 0;
	chain = hook_chain_new(&env);
	for (unsigned k = 0; k < n; k++)
		if (hook_chain_add_hook(chain, &hook, NULL, err, sizeof(err)))
			abort();
	rec = (struct flow_rec){.id = 5, .proto = IPPROTO_TCP, .state = FLOW_OPEN};
	if (hook_chain_open(chain, &flow))
		violation("the chain does not open");
	gate_open = chance(80);
	if (!gate_open)
		hook_chain_gate(chain, &flow, false);
}

static void run(unsigned seed)
{
	const unsigned before = violations;

	srandom(seed);
	begin(1 + (unsigned)dice(HOOKS_MAX));
	for (size_t i = 0, steps = dice(120); i < steps; i++)
		something();
	finish();
	check();
	hook_chain_close(chain, &flow);
	if (hook_chain_bytes(chain))
		violation("bytes are left in the chain");
	hook_chain_free(chain);
	if (violations != before && !before)
		printf("# the first one: seed %u\n", seed);
}

const char *owner_why_text(unsigned why)
{
	return why ? "unknown" : "known";
}

const char *owner_source_text(unsigned source)
{
	return source ? "bpf" : "sockdiag";
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		run((unsigned)atoi(argv[1]));
		return violations != 0;
	}
	for (unsigned seed = 1; seed <= ROUNDS; seed++)
		run(seed);
	tap_is(violations, 0, "%d random chains: out came what their verdicts say", ROUNDS);
	tap_ok(calls > 50000 && edits > 20000 && injects > 10000 && pends > 5000 && closes > 300,
	       "of %u calls, with %u edits, %u injected, %u waits, %u ends", calls, edits, injects,
	       pends, closes);
	return tap_done();
}
