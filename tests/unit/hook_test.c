/* SPDX-License-Identifier: MIT */
/*
 * hook: the contract between relay and hooks, held against hooks that do as they please.
 * The hooks are told by their arguments what to do.
 * LINK: src/hook.o src/hook_call.o src/hook_stream.o src/hook_dgram.o src/hook_host.o
 * LINK: src/hook_load.o src/flow.o src/base/hash.o src/base/addr.o src/base/util.o src/base/log.o
 * LINK: src/base/clock.o
 */
#include "hook.h"
#include "owner.h"

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
	unsigned half_closes[2];
};

static struct fake *fakes[64]; /* those that are refused count */
static unsigned n_fakes, unloads, frees;
static unsigned violations; /* of the contract, noticed by hooks */
static const struct weir_host *host;

/** pattern - byte @i of each direction's stream */
static uint8_t pattern(unsigned dir, size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (size_t)dir * 101);
}

static void *fake_load(const struct weir_host *h, struct weir_hook_ref *ref, const char **err)
{
	struct fake *f = calloc(1, sizeof(*f));

	(void)ref;
	(void)err;
	host = h;
	f->mode = ALL;
	fakes[n_fakes++] = f;
	return f;
}

static int fake_config(void *state, const char *key, const char *value, const char **err)
{
	struct fake *f = state;

	violations += strcmp(key, "mode") != 0;
	f->mode = (enum mode)atoi(value);
	if (f->mode == LOAD_FAILS)
		*err = "it is told to fail";
	return f->mode == LOAD_FAILS ? -1 : 0;
}

static void fake_unload(void *state)
{
	unloads++;
	free(state);
}

static void fake_free(void *data)
{
	frees++;
	free(data);
}

static int fake_open(void *state, struct weir_flow *wf, const struct weir_info *info)
{
	struct fake *f = state;
	struct fake_flow *ff = calloc(1, sizeof(*ff));

	violations += host->data(wf) != NULL || info->size != sizeof(*info) || info->id != 77;
	ff->hook = f;
	f->flow = ff;
	host->set_data(wf, ff, fake_free);
	f->opens++;
	return f->mode == BLOCK_OPEN ? WEIR_BLOCK : WEIR_PASS;
}

static int64_t fake_chunk(void *state, struct weir_flow *wf, const struct weir_payload *p)
{
	struct fake *f = state;
	struct fake_flow *ff = host->data(wf);
	const bool last = p->flags & WEIR_LAST;
	size_t n = p->len;

	violations += ff->hook != f || (!p->len && !last) || p->offset != ff->accepted[p->dir];
	for (size_t i = 0; i < p->len; i++)
		violations += p->data[i] != pattern(p->dir, ff->accepted[p->dir] + i);
	violations += ff->ended[p->dir]; /* the end is told once */
	f->chunks++;
	f->lasts += last;
	ff->ended[p->dir] |= last;
	if (f->mode == BLOCK_CHUNK)
		return WEIR_BLOCK;
	if (f->mode == NEGATIVE)
		return -77;
	if (f->mode == NOTHING)
		n = 0;
	else if (f->mode == RANDOM && !last)
		n = (size_t)random() % (p->len + 1);
	memcpy(ff->seen[p->dir] + ff->accepted[p->dir], p->data ? p->data : (const uint8_t *)"", n);
	ff->accepted[p->dir] += n;
	return (int64_t)n + (f->mode == TOO_MUCH);
}

static void fake_half_close(void *state, struct weir_flow *wf, enum weir_dir dir)
{
	struct fake_flow *ff = host->data(wf);

	(void)state;
	violations += !ff->ended[dir];
	ff->half_closes[dir]++;
}

static int fake_datagram(void *state, struct weir_flow *wf, const struct weir_datagram *d)
{
	struct fake *f = state;

	(void)wf;
	(void)d;
	f->chunks++;
	if (f->mode == NEGATIVE)
		return -77;
	if (f->mode == BLOCK_CHUNK)
		return WEIR_BLOCK;
	return f->mode == DROP ? WEIR_DROP : WEIR_PASS;
}

static void fake_close(void *state, struct weir_flow *wf, const struct weir_info *info)
{
	(void)info;
	violations += host->data(wf) == NULL;
	((struct fake *)state)->closes++;
}

static void fake_report(void *state, char *line, size_t size)
{
	snprintf(line, size, "%u chunks", ((struct fake *)state)->chunks);
}

static const struct weir_hook fake_hook = {
	WEIR_HOOK_HEAD,
	.name = "fake",
	.default_key = "mode",
	.load = fake_load,
	.config = fake_config,
	.unload = fake_unload,
	.flow_open = fake_open,
	.payload = fake_chunk,
	.half_close = fake_half_close,
	.datagram = fake_datagram,
	.flow_close = fake_close,
	.report = fake_report,
};

/* --- helpers ------------------------------------------------------------------------------ */

static struct flow_rec rec;
static struct flow flow = {.rec = &rec};

static void view(void *ctx, const struct flow *f, struct hook_view *v)
{
	(void)ctx;
	*v = (struct hook_view){.rec = f->rec};
}

static struct hook_chain *chain(const enum mode *modes, unsigned n)
{
	static const struct hook_env env = {.view = view, .limit = 1 << 20};
	struct hook_chain *c = hook_chain_new(&env);
	char err[256], args[32];

	n_fakes = 0;
	for (unsigned i = 0; i < n; i++) {
		snprintf(args, sizeof(args), "%d", modes[i]);
		if (hook_chain_add_hook(c, &fake_hook, args, err, sizeof(err)))
			abort();
	}
	rec = (struct flow_rec){.id = 77, .proto = IPPROTO_TCP, .state = FLOW_OPEN};
	return c;
}

static void done(struct hook_chain *c)
{
	hook_chain_close(c, &flow);
	hook_chain_free(c);
}

/** chunk - offer bytes; how many have come out by now (as they are, or as output), or the answer */
static ssize_t chunk(struct hook_chain *c, enum hook_dir dir, const uint8_t *data, size_t len,
		     bool last)
{
	struct hook_passed p;
	const uint8_t *out;
	int rc = hook_chain_chunk(c, &flow, dir, data, len, last, &p);
	size_t n;

	if (rc)
		return rc;
	n = hook_chain_output(&flow, dir, &out);
	if (n)
		hook_chain_sent(&flow, dir, n);
	violations += p.as_is + p.taken != len;
	return (ssize_t)(p.as_is + n);
}

static int datagram(struct hook_chain *c, enum hook_dir dir)
{
	struct hook_dgram d = {.data = (const uint8_t *)"x", .len = 1};

	return hook_chain_datagram(c, &flow, dir, &d);
}

const char *owner_why_text(unsigned why)
{
	return why ? "unknown" : "known";
}

const char *owner_source_text(unsigned source)
{
	return source ? "bpf" : "sockdiag";
}

static unsigned lines;
static char last_line[256];

static void take_line(void *ctx, const char *line)
{
	(void)ctx;
	lines++;
	str_copy(last_line, sizeof(last_line), line);
}

static void test_empty(void)
{
	struct hook_chain *c = chain(NULL, 0);

	tap_ok(hook_chain_empty(c), "a new chain is empty");
	tap_ok(!hook_chain_open(c, &flow) && hook_direct(&flow),
	       "an empty chain costs a flow nothing");
	tap_is(chunk(c, HOOK_UP, NULL, 1000, false), 1000, "it passes chunks");
	tap_is(datagram(c, HOOK_UP), 0, "and datagrams");
	done(c);
}

static int add(struct hook_chain *c, const char *args, char err[256])
{
	return hook_chain_add_hook(c, &fake_hook, args, err, 256);
}

static void test_add(void)
{
	struct hook_chain *c = chain(NULL, 0);
	struct weir_hook other = fake_hook;
	char err[256];

	tap_ok(add(c, "8", err) == -EINVAL && !strcmp(err, "mode: it is told to fail"),
	       "a hook that does not load says why: %s", err);
	tap_ok(add(c, "x,y", err) == -EINVAL && !strcmp(err, "'y': not key=value"),
	       "a second bare value is refused: %s", err);
	tap_ok(add(c, "on-error=maybe", err) == -EINVAL &&
		       !strcmp(err, "on-error: not 'maybe', but block or pass"),
	       "a common key is checked: %s", err);
	tap_ok(add(c, "budget=10", err) == -EINVAL && strstr(err, "a time such as 10ms"),
	       "a budget needs its unit: %s", err);
	tap_ok(add(c, "name=a b", err) == -EINVAL && strstr(err, "name: not 'a b'"),
	       "a name has no blanks: %s", err);
	other.config = NULL;
	tap_ok(hook_chain_add_hook(c, &other, "mode=1", err, sizeof(err)) == -EINVAL &&
		       !strcmp(err, "mode: there is no such key"),
	       "a hook without configuration takes no key: %s", err);
	tap_ok(hook_chain_empty(c), "none of them is in the chain");
	tap_ok(!add(c, "name=one,on-error=pass,budget=3ms", err) &&
		       !strcmp(hook_chain_stats(c, 0)->name, "one"),
	       "common keys are the chain's");
	for (unsigned i = 1; i < 16; i++)
		add(c, NULL, err);
	tap_ok(add(c, NULL, err) == -EINVAL && *err, "a 17th hook is refused");
	unloads = 0;
	hook_chain_free(c);
	tap_is(unloads, 16, "each is unloaded");
}

/** test_shared - counters and reports where another process sees them */
static void test_shared(void)
{
	static struct hook_stats shared[HOOK_CHAIN_MAX];
	const struct hook_env env = {.view = view, .limit = 1000, .stats = shared};
	struct hook_chain *c = hook_chain_new(&env);
	struct hook_passed p;
	char err[256];

	n_fakes = 0;
	hook_chain_add_hook(c, &fake_hook, "name=a", err, sizeof(err));
	hook_chain_add_hook(c, &fake_hook, "name=b", err, sizeof(err));
	rec = (struct flow_rec){.id = 77, .proto = IPPROTO_TCP, .state = FLOW_OPEN};
	hook_chain_open(c, &flow);
	tap_is(hook_chain_calls(c), 2, "each was called once");
	hook_chain_chunk(c, &flow, HOOK_UP, (const uint8_t *)"\0", 1, false, &p);
	hook_chain_refresh(c);
	tap_ok(shared[0].calls == 2 && shared[1].bytes == 1 && !strcmp(shared[1].name, "b") &&
		       !strcmp(shared[0].line, "1 chunks"),
	       "who may look sees it: %s", shared[0].line);
	done(c);
}

static void test_sizes(void)
{
	/* as a newer header would have it, and as an older one did */
	struct {
		struct weir_hook hook;
		void *more[4];
	} larger = {.hook = fake_hook};
	struct weir_hook smaller = fake_hook, other = fake_hook, none = fake_hook;
	struct hook_chain *c = chain(NULL, 0);
	char err[256];

	larger.hook.size = sizeof(larger);
	memset(larger.more, 0xff, sizeof(larger.more));
	tap_is(hook_chain_add_hook(c, &larger.hook, "0", err, sizeof(err)), 0,
	       "a hook with members that we do not know");
	smaller.size = offsetof(struct weir_hook, report);
	tap_is(hook_chain_add_hook(c, &smaller, "0", err, sizeof(err)), 0,
	       "and one that ends before ours does");
	other.abi++;
	tap_ok(hook_chain_add_hook(c, &other, "0", err, sizeof(err)) == -EINVAL &&
		       !strcmp(err, "it was built for ABI 2 of hooks, this is 1"),
	       "another ABI is refused: %s", err);
	none.size = sizeof(size_t);
	tap_ok(hook_chain_add_hook(c, &none, "0", err, sizeof(err)) == -EINVAL && *err,
	       "and a description that is cut short: %s", err);
	lines = 0;
	hook_chain_report(c, take_line, NULL);
	tap_is(lines, 1, "what the small one has behind its size is not looked at");
	done(c);
}

static void test_block(void)
{
	const enum mode chunk_block[] = {ALL, BLOCK_CHUNK, ALL};
	const enum mode open_block[] = {ALL, BLOCK_OPEN, ALL};
	struct hook_chain *c = chain(chunk_block, 3);
	uint8_t b[2] = {pattern(HOOK_UP, 0), pattern(HOOK_UP, 1)};
	const unsigned freed_before = frees;

	tap_is(chunk(c, HOOK_UP, b, 2, false), HOOK_BLOCK, "before it is open nothing passes");
	tap_is(hook_chain_open(c, &flow), 0, "a chain opens");
	tap_is(chunk(c, HOOK_UP, b, 2, false), HOOK_BLOCK, "one hook's block is the chain's");
	tap_is(rec.verdict, 1, "the record has it");
	tap_ok(fakes[0]->chunks == 1 && fakes[2]->chunks == 0, "hooks behind it see nothing");
	tap_is(chunk(c, HOOK_DOWN, b, 2, false), HOOK_BLOCK,
	       "a block is latched, in both directions");
	tap_is(fakes[0]->chunks, 1, "and nobody is asked again");
	hook_chain_close(c, &flow);
	tap_ok(fakes[0]->closes == 1 && fakes[1]->closes == 1 && fakes[2]->closes == 1,
	       "each open hook is closed");
	hook_chain_close(c, &flow);
	tap_is(fakes[0]->closes, 1, "once");
	tap_is(frees, freed_before + 3, "and its data are freed");
	tap_is(chunk(c, HOOK_UP, b, 2, false), HOOK_BLOCK, "after closing nothing passes unseen");
	tap_is(datagram(c, HOOK_UP), HOOK_BLOCK, "nor datagrams");
	done(c);

	c = chain(open_block, 3);
	tap_is(hook_chain_open(c, &flow), HOOK_BLOCK, "a hook may block at open");
	tap_ok(fakes[1]->opens == 1 && fakes[2]->opens == 0, "hooks behind it are not opened");
	hook_chain_close(c, &flow);
	tap_ok(fakes[0]->closes == 1 && fakes[1]->closes == 1 && fakes[2]->closes == 0,
	       "and only the opened ones are closed");
	done(c);
}

static void test_bad_answers(void)
{
	const enum mode much[] = {TOO_MUCH}, negative[] = {NEGATIVE};
	struct hook_chain *c = chain(much, 1);
	uint8_t b[2] = {pattern(HOOK_UP, 0), pattern(HOOK_UP, 1)};

	hook_chain_open(c, &flow);
	tap_is(chunk(c, HOOK_UP, b, 2, false), 2, "an answer above the length is clamped");
	lines = 0;
	hook_chain_report(c, take_line, NULL);
	tap_is(lines, 2, "the report has the hook's line and one about that");
	tap_ok(strstr(last_line, "1 answers were out of range") != NULL, "with the count");
	done(c);

	c = chain(negative, 1);
	hook_chain_open(c, &flow);
	tap_is(chunk(c, HOOK_UP, b, 2, false), HOOK_BLOCK, "any negative answer is a block");
	done(c);
}

static void test_datagrams(void)
{
	const enum mode drop[] = {ALL, DROP, ALL}, negative[] = {NEGATIVE};
	struct hook_chain *c = chain(drop, 3);

	rec.proto = IPPROTO_UDP;
	hook_chain_open(c, &flow);
	tap_is(datagram(c, HOOK_UP), HOOK_DROP, "a datagram is dropped");
	tap_ok(fakes[0]->chunks == 1 && fakes[2]->chunks == 0, "hooks behind do not see it");
	tap_is(datagram(c, HOOK_UP), HOOK_DROP, "the next one too");
	tap_is(rec.verdict, 0, "that blocks nothing");
	done(c);
	c = chain(negative, 1);
	rec.proto = IPPROTO_UDP;
	hook_chain_open(c, &flow);
	tap_is(datagram(c, HOOK_UP), HOOK_BLOCK, "a negative answer blocks the flow");
	tap_is(rec.verdict, 1, "in the record");
	done(c);
}

static void test_hold_and_end(void)
{
	const enum mode hold[] = {NOTHING, ALL}, all[] = {ALL, ALL};
	struct hook_chain *c = chain(hold, 2);
	uint8_t b[2] = {pattern(HOOK_UP, 0), pattern(HOOK_UP, 1)};
	struct hook_passed p;

	hook_chain_open(c, &flow);
	tap_is(chunk(c, HOOK_UP, b, 1, false), 0, "a hook may hold all");
	tap_ok(!hook_chain_run(&flow, HOOK_UP) && fakes[0]->chunks == 1,
	       "without news it is not asked again");
	tap_is(chunk(c, HOOK_UP, b + 1, 1, true), HOOK_BLOCK,
	       "but not to the end: that blocks the flow");
	tap_ok(fakes[0]->lasts == 1 && fakes[1]->chunks == 0,
	       "which the one behind it is not told: for it there is more to come");
	done(c);

	c = chain(all, 2);
	hook_chain_open(c, &flow);
	hook_chain_chunk(c, &flow, HOOK_UP, b, 2, false, &p);
	tap_ok(p.as_is == 2 && !hook_chain_bytes(c), "what all accept is not copied");
	tap_ok(!hook_chain_over(&flow, HOOK_UP), "nor over");
	tap_is(chunk(c, HOOK_UP, NULL, 0, true), 0, "a bare end passes");
	tap_ok(hook_chain_over(&flow, HOOK_UP) && !hook_chain_over(&flow, HOOK_DOWN),
	       "and then the direction is over");
	hook_chain_run(&flow, HOOK_UP);
	tap_ok(fakes[0]->lasts == 1 && fakes[1]->lasts == 1, "it is told once to each hook");
	tap_ok(fakes[0]->flow->half_closes[0] == 1 && fakes[1]->flow->half_closes[0] == 1,
	       "that accepted all of it");
	done(c);
}

/* --- the property -------------------------------------------------------------------------- */

/** struct line - one direction: what was offered, and what has come out */
struct line {
	uint8_t out[STREAM_MAX];
	size_t total, sent, passed;
	bool ended;
};

static void come_out(struct line *l, const uint8_t *data, size_t n)
{
	violations += l->passed + n > l->total;
	if (l->passed + n <= l->total)
		memcpy(l->out + l->passed, data, n);
	l->passed += n;
}

/** step - more bytes arrive (or none), the chain is asked, what it lets go comes out */
static void step(struct hook_chain *c, struct line *l, enum hook_dir dir)
{
	uint8_t bytes[200];
	size_t more = (size_t)random() % sizeof(bytes), n;
	struct hook_passed p;
	const uint8_t *out;

	more = MIN(more, l->total - l->sent);
	for (size_t i = 0; i < more; i++)
		bytes[i] = pattern(dir, l->sent++);
	l->ended = l->sent == l->total && random() % 2;
	if (hook_chain_chunk(c, &flow, dir, bytes, more, l->ended, &p) ||
	    p.as_is + p.taken != more) {
		violations++;
		return;
	}
	come_out(l, bytes, p.as_is);
	while ((n = hook_chain_output(&flow, dir, &out)) > 0) {
		n = 1 + (size_t)random() % n;
		come_out(l, out, n);
		hook_chain_sent(&flow, dir, n);
	}
	violations += hook_chain_over(&flow, dir) != l->ended;
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
	hook_chain_open(c, &flow);
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
	test_shared();
	test_sizes();
	test_block();
	test_bad_answers();
	test_datagrams();
	test_hold_and_end();
	test_property();
	return tap_done();
}
