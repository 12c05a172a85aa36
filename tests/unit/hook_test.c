/* SPDX-License-Identifier: MIT */
/*
 * hook: the contract between relay and hooks, held against hooks that do as they please.
 * The chain's one built-in hook is replaced by one that is told by its arguments what to do.
 * LINK: src/hook.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "hook.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "../lib/tap.h"

#define STREAM_MAX 4096

/* --- the hook that stands in ---------------------------------------------------------- */

enum mode { ALL, RANDOM, NOTHING, BLOCK_OPEN, BLOCK_CHUNK, TOO_MUCH, NEGATIVE, DROP, LOAD_FAILS };

struct fake {
	enum mode mode;
	struct fake_flow *flow; /* the last one opened */
	unsigned opens, closes, chunks, lasts;
};

/** struct fake_flow - what one hook has seen of one flow */
struct fake_flow {
	struct fake *hook;
	size_t accepted[2];
	uint8_t seen[2][STREAM_MAX]; /* in order of acceptance */
	bool ended[2];
};

static struct fake *fakes[16];
static unsigned n_fakes, unloads;
static unsigned violations; /* of the contract, noticed by hooks */

/** pattern - byte @i of each direction's stream */
static uint8_t pattern(enum hook_dir dir, size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (size_t)dir * 101);
}

static void *fake_load(const char *args, const char **err)
{
	struct fake *f;

	if (args && atoi(args) == LOAD_FAILS) {
		*err = "it is told to fail";
		return NULL;
	}
	f = calloc(1, sizeof(*f));
	f->mode = args ? (enum mode)atoi(args) : ALL;
	fakes[n_fakes++] = f;
	return f;
}

static void fake_unload(void *state)
{
	unloads++;
	free(state);
}

static int fake_open(void *state, const struct hook_view *v, void **fstate)
{
	struct fake *f = state;
	struct fake_flow *ff = calloc(1, sizeof(*ff));

	violations += *fstate != NULL || !v->rec;
	ff->hook = f;
	f->flow = ff;
	*fstate = ff;
	f->opens++;
	return f->mode == BLOCK_OPEN ? HOOK_BLOCK : 0;
}

static ssize_t fake_chunk(void *state, void *fstate, const struct hook_view *v, enum hook_dir dir,
			  const uint8_t *data, size_t len, bool last)
{
	struct fake *f = state;
	struct fake_flow *ff = fstate;
	size_t n = len;

	(void)v;
	violations += ff->hook != f || (!len && !last);
	for (size_t i = 0; i < len; i++)
		violations += data[i] != pattern(dir, ff->accepted[dir] + i);
	violations += ff->ended[dir] && !len; /* a bare end is told once */
	f->chunks++;
	f->lasts += last;
	ff->ended[dir] |= last;
	if (f->mode == BLOCK_CHUNK)
		return HOOK_BLOCK;
	if (f->mode == NEGATIVE)
		return -77;
	if (f->mode == NOTHING)
		n = 0;
	else if (f->mode == RANDOM && !last)
		n = (size_t)random() % (len + 1);
	memcpy(ff->seen[dir] + ff->accepted[dir], data ? data : (const uint8_t *)"", n);
	ff->accepted[dir] += n;
	return (ssize_t)n + (f->mode == TOO_MUCH);
}

static int fake_datagram(void *state, void *fstate, const struct hook_view *v, enum hook_dir dir,
			 const uint8_t *data, size_t len)
{
	struct fake *f = state;

	(void)fstate;
	(void)v;
	(void)dir;
	(void)data;
	(void)len;
	f->chunks++;
	if (f->mode == NEGATIVE)
		return -77;
	if (f->mode == BLOCK_CHUNK)
		return HOOK_BLOCK;
	return f->mode == DROP;
}

static void fake_close(void *state, void *fstate, const struct hook_view *v)
{
	(void)v;
	((struct fake *)state)->closes++;
	free(fstate);
}

static void fake_report(void *state, char *line, size_t size)
{
	snprintf(line, size, "%u chunks", ((struct fake *)state)->chunks);
}

const struct hook_ops hook_count = {
	.name = "count",
	.load = fake_load,
	.unload = fake_unload,
	.open = fake_open,
	.chunk = fake_chunk,
	.datagram = fake_datagram,
	.close = fake_close,
	.report = fake_report,
};

/* --- helpers ------------------------------------------------------------------------------ */

static struct flow_rec rec;
static struct flow flow = {.rec = &rec};
static const struct hook_view view = {.rec = &rec};

static struct hook_chain *chain(const enum mode *modes, unsigned n)
{
	struct hook_chain *c = hook_chain_new();
	const char *err;
	char spec[32];

	n_fakes = 0;
	for (unsigned i = 0; i < n; i++) {
		snprintf(spec, sizeof(spec), "count=%d", modes[i]);
		if (hook_chain_add(c, spec, &err))
			abort();
	}
	rec = (struct flow_rec){.state = FLOW_OPEN};
	return c;
}

static void done(struct hook_chain *c)
{
	hook_chain_close(c, &flow, &view);
	hook_chain_free(c);
}

static void test_empty(void)
{
	struct hook_chain *c = chain(NULL, 0);

	tap_ok(hook_chain_empty(c), "a new chain is empty");
	tap_ok(!hook_chain_open(c, &flow, &view) && !flow.hookdata,
	       "an empty chain costs a flow nothing");
	tap_is(hook_chain_chunk(c, &flow, &view, HOOK_UP, NULL, 1000, false), 1000,
	       "it passes chunks");
	tap_is(hook_chain_datagram(c, &flow, &view, HOOK_UP, NULL, 0), 0, "and datagrams");
	done(c);
}

static void test_add(void)
{
	struct hook_chain *c = chain(NULL, 0);
	const char *err = NULL;

	tap_ok(hook_chain_add(c, "nosuch", &err) == -ENOENT && err, "an unknown hook is refused");
	tap_ok(hook_chain_add(c, "coun", &err) == -ENOENT && err, "a name's beginning is no name");
	tap_ok(hook_chain_add(c, "count=8", &err) == -EINVAL && !strcmp(err, "it is told to fail"),
	       "a hook that does not load says why");
	tap_ok(hook_chain_empty(c), "none of them is in the chain");
	for (unsigned i = 0; i < 16; i++)
		hook_chain_add(c, "count", &err);
	tap_ok(hook_chain_add(c, "count", &err) == -EINVAL && err, "a 17th hook is refused");
	unloads = 0;
	hook_chain_free(c);
	tap_is(unloads, 16, "each is unloaded");
}

static void test_block(void)
{
	const enum mode chunk_block[] = {ALL, BLOCK_CHUNK, ALL};
	const enum mode open_block[] = {ALL, BLOCK_OPEN, ALL};
	struct hook_chain *c = chain(chunk_block, 3);
	uint8_t b[2] = {pattern(HOOK_UP, 0), pattern(HOOK_UP, 1)};

	tap_is(hook_chain_open(c, &flow, &view), 0, "a chain opens");
	tap_is(hook_chain_chunk(c, &flow, &view, HOOK_UP, b, 2, false), HOOK_BLOCK,
	       "one hook's block is the chain's");
	tap_is(rec.verdict, 1, "the record has it");
	tap_ok(fakes[0]->chunks == 1 && fakes[2]->chunks == 0, "hooks behind it see nothing");
	tap_is(hook_chain_chunk(c, &flow, &view, HOOK_DOWN, b, 2, false), HOOK_BLOCK,
	       "a block is latched, in both directions");
	tap_is(hook_chain_datagram(c, &flow, &view, HOOK_UP, b, 2), HOOK_BLOCK,
	       "for datagrams too");
	tap_is(fakes[0]->chunks, 1, "and nobody is asked again");
	hook_chain_close(c, &flow, &view);
	tap_ok(fakes[0]->closes == 1 && fakes[1]->closes == 1 && fakes[2]->closes == 1,
	       "each open hook is closed");
	hook_chain_close(c, &flow, &view);
	tap_is(fakes[0]->closes, 1, "once");
	tap_is(hook_chain_chunk(c, &flow, &view, HOOK_UP, b, 2, false), HOOK_BLOCK,
	       "after closing nothing passes unseen");
	done(c);

	c = chain(open_block, 3);
	tap_is(hook_chain_open(c, &flow, &view), HOOK_BLOCK, "a hook may block at open");
	tap_ok(fakes[1]->opens == 1 && fakes[2]->opens == 0, "hooks behind it are not opened");
	hook_chain_close(c, &flow, &view);
	tap_ok(fakes[0]->closes == 1 && fakes[1]->closes == 1 && fakes[2]->closes == 0,
	       "and only the opened ones are closed");
	done(c);
}

static unsigned lines;
static char last_line[256];

static void take_line(void *ctx, const char *line)
{
	(void)ctx;
	lines++;
	str_copy(last_line, sizeof(last_line), line);
}

static void test_bad_answers(void)
{
	const enum mode much[] = {TOO_MUCH}, negative[] = {NEGATIVE};
	struct hook_chain *c = chain(much, 1);
	uint8_t b[2] = {pattern(HOOK_UP, 0), pattern(HOOK_UP, 1)};

	hook_chain_open(c, &flow, &view);
	tap_is(hook_chain_chunk(c, &flow, &view, HOOK_UP, b, 2, false), 2,
	       "an answer above the length is clamped");
	lines = 0;
	hook_chain_report(c, take_line, NULL);
	tap_is(lines, 2, "the report has the hook's line and one about that");
	tap_ok(strstr(last_line, "1 answers were out of range") != NULL, "with the count");
	done(c);

	c = chain(negative, 1);
	hook_chain_open(c, &flow, &view);
	tap_is(hook_chain_chunk(c, &flow, &view, HOOK_UP, b, 2, false), HOOK_BLOCK,
	       "any negative answer is a block");
	done(c);
}

static void test_datagrams(void)
{
	const enum mode drop[] = {ALL, DROP, ALL}, negative[] = {NEGATIVE};
	struct hook_chain *c = chain(drop, 3);

	hook_chain_open(c, &flow, &view);
	tap_is(hook_chain_datagram(c, &flow, &view, HOOK_UP, NULL, 0), 1, "a datagram is dropped");
	tap_ok(fakes[0]->chunks == 1 && fakes[2]->chunks == 0, "hooks behind do not see it");
	tap_is(hook_chain_datagram(c, &flow, &view, HOOK_UP, NULL, 0), 1, "the next one too");
	tap_is(rec.verdict, 0, "that blocks nothing");
	done(c);
	c = chain(negative, 1);
	hook_chain_open(c, &flow, &view);
	tap_is(hook_chain_datagram(c, &flow, &view, HOOK_UP, NULL, 0), HOOK_BLOCK,
	       "a negative answer blocks the flow");
	tap_is(rec.verdict, 1, "in the record");
	done(c);
}

static void test_hold_and_end(void)
{
	const enum mode hold[] = {NOTHING, ALL}, all[] = {ALL, ALL};
	struct hook_chain *c = chain(hold, 2);
	uint8_t b[2] = {pattern(HOOK_UP, 0), pattern(HOOK_UP, 1)};

	hook_chain_open(c, &flow, &view);
	tap_is(hook_chain_chunk(c, &flow, &view, HOOK_UP, b, 1, false), 0, "a hook may hold all");
	tap_is(hook_chain_chunk(c, &flow, &view, HOOK_UP, b, 2, true), 0, "to the end");
	tap_ok(fakes[0]->lasts == 1 && fakes[1]->chunks == 0,
	       "which the one behind it is not told: for it there is more to come");
	done(c);

	c = chain(all, 2);
	hook_chain_open(c, &flow, &view);
	tap_is(hook_chain_chunk(c, &flow, &view, HOOK_UP, NULL, 0, true), 0, "a bare end passes");
	hook_chain_chunk(c, &flow, &view, HOOK_UP, NULL, 0, true);
	tap_ok(fakes[0]->lasts == 1 && fakes[1]->lasts == 1, "it is told once to each hook");
	done(c);
}

/* --- the property -------------------------------------------------------------------------- */

/** struct line - one direction: the relay's queue, and what has come out */
struct line {
	uint8_t queue[STREAM_MAX], out[STREAM_MAX];
	size_t total, sent, queued, passed;
	bool ended;
};

/** step - more bytes arrive (or none), the chain is asked, what it lets go leaves the queue */
static void step(struct hook_chain *c, struct line *l, enum hook_dir dir)
{
	size_t more = (size_t)random() % 200;
	ssize_t n;

	more = MIN(more, l->total - l->sent);
	for (size_t i = 0; i < more; i++)
		l->queue[l->queued++] = pattern(dir, l->sent++);
	l->ended = l->sent == l->total;
	if (!l->queued && !l->ended)
		return;
	n = hook_chain_chunk(c, &flow, &view, dir, l->queue, l->queued, l->ended);
	if (n < 0 || (size_t)n > l->queued) {
		violations++;
		return;
	}
	memcpy(l->out + l->passed, l->queue, (size_t)n);
	l->passed += (size_t)n;
	l->queued -= (size_t)n;
	memmove(l->queue, l->queue + n, l->queued);
}

static bool line_exact(const struct line *l, enum hook_dir dir)
{
	for (size_t i = 0; i < l->passed; i++)
		if (l->out[i] != pattern(dir, i))
			return false;
	return l->passed == l->total;
}

static bool hooks_exact(const struct line *l, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		for (int dir = 0; dir < 2; dir++) {
			const struct fake_flow *ff = fakes[k]->flow;

			if (ff->accepted[dir] != l[dir].total || !ff->ended[dir] ||
			    memcmp(ff->seen[dir], l[dir].out, l[dir].total))
				return false;
		}
	return true;
}

static bool run_random_chain(void)
{
	static struct line l[2];
	enum mode modes[5];
	unsigned n = 1 + (unsigned)random() % 5;
	struct hook_chain *c;
	bool good = true;

	for (unsigned i = 0; i < n; i++)
		modes[i] = random() % 4 ? RANDOM : ALL;
	c = chain(modes, n);
	hook_chain_open(c, &flow, &view);
	memset(l, 0, sizeof(l));
	l[0].total = (size_t)random() % STREAM_MAX;
	l[1].total = (size_t)random() % STREAM_MAX;
	while (!l[0].ended || !l[1].ended) {
		enum hook_dir dir = random() % 2 ? HOOK_UP : HOOK_DOWN;

		if (!l[dir].ended)
			step(c, &l[dir], dir);
	}
	good &= line_exact(&l[0], HOOK_UP) && line_exact(&l[1], HOOK_DOWN);
	good &= hooks_exact(l, n);
	done(c);
	return good;
}

static void test_property(void)
{
	unsigned bad = 0;

	srandom(11);
	violations = 0;
	for (unsigned i = 0; i < 3000; i++)
		bad += !run_random_chain();
	tap_is(bad, 0, "3,000 random chains: out what went in, each hook accepted each byte once");
	tap_is(violations, 0, "and no hook was ever shown a wrong byte");
}

int main(void)
{
	test_empty();
	test_add();
	test_block();
	test_bad_answers();
	test_datagrams();
	test_hold_and_end();
	test_property();
	return tap_done();
}
