/* SPDX-License-Identifier: MIT */
#include "hook_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"

/* What a hook may hold of a flow when all together hold too much: a line, a head. */
#define FAIR_SHARE 16384

/* --- buffers ----------------------------------------------------------------------------- */

/** buf_room - a place for @n more bytes behind what is there; 0 or -ENOMEM */
static int buf_room(struct hook_buf *b, size_t n)
{
	size_t cap = MAX(b->cap, (size_t)256);
	uint8_t *p;

	if (b->len + n > b->cap) {
		while (cap < b->len + n)
			cap *= 2;
		p = malloc(cap);
		if (!p)
			return -ENOMEM;
		if (b->len)
			memcpy(p, hook_buf_at(b), b->len);
		free(b->p);
		b->p = p;
		b->cap = cap;
		b->off = 0;
	} else if (b->off + b->len + n > b->cap) {
		memmove(b->p, hook_buf_at(b), b->len);
		b->off = 0;
	}
	return 0;
}

int hook_buf_add(struct hook_buf *b, const void *data, size_t n)
{
	if (!n)
		return 0;
	if (buf_room(b, n))
		return -ENOMEM;
	memcpy(hook_buf_at(b) + b->len, data, n);
	b->len += n;
	return 0;
}

void hook_buf_drop(struct hook_buf *b, size_t n)
{
	b->off += n;
	b->len -= n;
	if (!b->len)
		b->off = 0;
}

void hook_buf_free(struct hook_buf *b)
{
	free(b->p);
	*b = (struct hook_buf){.p = NULL};
}

/* --- the line of a direction ---------------------------------------------------------------- */

struct hook_line *hook_line_of(struct flow_hooks *h, enum hook_dir dir)
{
	struct hook_side *s = &h->side[dir];

	if (s->line)
		return s->line;
	s->line = calloc(1, sizeof(*s->line) + (h->chain->n + 1) * sizeof(s->line->stage[0]));
	if (s->line)
		h->head.direct = false;
	return s->line;
}

/** line_count - @line has @more bytes now, or fewer */
static void line_count(struct flow_hooks *h, struct hook_line *line, ssize_t more)
{
	line->bytes += (size_t)more;
	h->chain->bytes += (size_t)more;
}

int hook_line_add(struct flow_hooks *h, enum hook_dir dir, unsigned stage, const void *data,
		  size_t n)
{
	struct hook_line *line = hook_line_of(h, dir);

	if (!line || hook_buf_add(&line->stage[stage], data, n))
		return -ENOMEM;
	line_count(h, line, (ssize_t)n);
	return 0;
}

static void line_drop(struct flow_hooks *h, struct hook_line *line, unsigned stage, size_t n)
{
	hook_buf_drop(&line->stage[stage], n);
	line_count(h, line, -(ssize_t)n);
}

void hook_line_free(struct flow_hooks *h, enum hook_dir dir)
{
	struct hook_line *line = h->side[dir].line;

	if (!line)
		return;
	for (unsigned i = 0; i <= h->chain->n; i++)
		hook_buf_free(&line->stage[i]);
	line_count(h, line, -(ssize_t)line->bytes);
	free(line);
	h->side[dir].line = NULL;
}

static bool pends(const struct flow_hooks *h, enum hook_dir dir)
{
	for (unsigned k = 0; k < h->chain->n; k++)
		if (h->at[k].dir[dir].pend)
			return true;
	return false;
}

/** ending - is an end on its way: has it come to a stage and not to the one behind? */
static bool ending(const struct flow_hooks *h, enum hook_dir dir)
{
	const uint32_t ended = h->side[dir].ended, hooks = (1U << h->chain->n) - 1;

	return ended & ~(ended >> 1) & hooks;
}

/** line_settle - an empty line goes: from here the relay's own bytes are shown again */
static void line_settle(struct flow_hooks *h, enum hook_dir dir)
{
	const struct hook_line *line = h->side[dir].line;

	if (!line || line->bytes || pends(h, dir) || ending(h, dir))
		return;
	hook_line_free(h, dir);
	hook_settle(h);
}

static bool ended(const struct flow_hooks *h, enum hook_dir dir, unsigned stage)
{
	return h->side[dir].ended >> stage & 1;
}

static void set_ended(struct flow_hooks *h, enum hook_dir dir, unsigned stage)
{
	h->side[dir].ended |= 1U << stage;
	h->head.direct = false;
}

/**
 * advance - @n bytes from the front of @from go on to @to, the stage behind it
 *
 * All, or nearly all, of a stage often go on: then the buffers change places, and the few that
 * stay are what is copied.
 */
static int advance(struct hook_buf *from, struct hook_buf *to, size_t n)
{
	struct hook_buf rest = {.p = NULL};

	if (!n)
		return 0;
	if (to->len || n < from->len / 2) {
		if (hook_buf_add(to, hook_buf_at(from), n))
			return -ENOMEM;
		hook_buf_drop(from, n);
		return 0;
	}
	if (hook_buf_add(&rest, hook_ahead(hook_buf_at(from), n), from->len - n))
		return -ENOMEM;
	hook_buf_free(to);
	*to = *from;
	to->len = n;
	*from = rest;
	return 0;
}

/* --- asking -------------------------------------------------------------------------------- */

/** ask - show hook @k @len bytes, all that it has not accepted; its answer, or HOOK_BLOCK */
static int64_t ask(struct flow_hooks *h, unsigned k, enum hook_dir dir, const uint8_t *data,
		   size_t len, bool last)
{
	struct weir_flow *wf = &h->at[k];
	struct hook_stats *stats = h->chain->hook[k]->stats;
	const struct weir_payload p = {
		.size = sizeof(p),
		.dir = (enum weir_dir)dir,
		.flags = last ? WEIR_LAST : 0,
		.data = data,
		.len = len,
		.offset = wf->dir[dir].offset,
	};
	int64_t n;

	wf->dir[dir].told_last |= last;
	wf->dir[dir].again = false;
	n = hook_call_payload(wf, &p, len - wf->dir[dir].seen);
	if (n == HOOK_PEND) {
		wf->dir[dir].pend = true;
		stats->pends++;
		n = 0;
	} else if (n < 0) {
		return hook_block(h, h->chain->hook[k]);
	} else if ((size_t)n < len) {
		stats->holds++;
	}
	wf->dir[dir].offset += (uint64_t)n;
	wf->dir[dir].seen = len - (size_t)n;
	if (wf->dir[dir].again) {
		wf->dir[dir].seen = 0;
		wf->dir[dir].pend = wf->dir[dir].told_last = false;
		hook_wake(h);
	}
	return n;
}

/** made - has the call just returned changed anything of this stream? */
static bool made(const struct hook_chain *c)
{
	return c->n_edits || c->injected.len || c->closing;
}

void hook_end_here(struct flow_hooks *h, unsigned k, enum hook_dir dir)
{
	h->at[k].dir[dir].closed = true;
	set_ended(h, dir, k + 1);
}

/**
 * put_made - what hook @k has accepted (@n bytes of @data) and made, into the next stage
 *
 * Returns 0 or -ENOMEM.
 */
static int put_made(struct flow_hooks *h, unsigned k, enum hook_dir dir, const uint8_t *data,
		    size_t n)
{
	struct hook_chain *c = h->chain;
	struct hook_line *line = hook_line_of(h, dir);
	struct hook_buf *to;
	size_t before;
	int rc;

	if (!line)
		return -ENOMEM;
	c->hook[k]->stats->edits += c->n_edits;
	to = &line->stage[k + 1];
	before = to->len;
	rc = hook_edited(c, data, n, to);
	if (!rc)
		rc = hook_buf_add(to, hook_buf_at(&c->injected), c->injected.len);
	line_count(h, line, (ssize_t)(to->len - before));
	if (c->closing)
		hook_end_here(h, k, dir);
	c->n_edits = c->injected.len = 0;
	c->closing = false;
	return rc;
}

/** pass_end - stage @k is empty and has ended: so has the next one */
static void pass_end(struct flow_hooks *h, unsigned k, enum hook_dir dir)
{
	struct weir_flow *wf = &h->at[k];

	if (ended(h, dir, k + 1))
		return;
	if (hook_asks(h, k) && !wf->dir[dir].closed)
		hook_call_half_close(wf, dir);
	set_ended(h, dir, k + 1);
}

/** give_up - without memory to hold or change it, a flow does not pass */
static int give_up(struct flow_hooks *h, unsigned k)
{
	log_debug("flow %llu: no memory for what hooks hold", (unsigned long long)h->flow->rec->id);
	return hook_block(h, h->chain->hook[k]);
}

/** ask_stage - show hook @k its stage, if there is news, and move what it accepts; 0 or HOOK_BLOCK
 */
static int ask_stage(struct flow_hooks *h, unsigned k, enum hook_dir dir)
{
	struct hook_line *line = h->side[dir].line;
	struct weir_flow *wf = &h->at[k];
	struct hook_buf *stage = &line->stage[k];
	const bool last = ended(h, dir, k);
	int64_t n;
	int rc;

	if (wf->dir[dir].pend ||
	    (stage->len <= wf->dir[dir].seen && (!last || wf->dir[dir].told_last)))
		return 0;
	n = ask(h, k, dir, stage->len ? hook_buf_at(stage) : NULL, stage->len, last);
	if (n < 0)
		return HOOK_BLOCK;
	if (made(h->chain)) {
		rc = put_made(h, k, dir, stage->len ? hook_buf_at(stage) : NULL, (size_t)n);
		line_drop(h, line, k, (size_t)n);
	} else {
		rc = advance(stage, &line->stage[k + 1], (size_t)n);
	}
	if (rc)
		return give_up(h, k);
	/* No more will come, and yet it is not content: the flow can't end in order. */
	if (last && stage->len && !wf->dir[dir].pend && !wf->dir[dir].again &&
	    !wf->dir[dir].closed && hook_asks(h, k))
		return hook_block(h, h->chain->hook[k]);
	return 0;
}

/** run_stage - take what waits before hook @k as far as it goes; 0 or HOOK_BLOCK */
static int run_stage(struct flow_hooks *h, unsigned k, enum hook_dir dir)
{
	struct hook_line *line = h->side[dir].line;
	struct weir_flow *wf = &h->at[k];

	if (hook_asks(h, k) && !wf->dir[dir].closed && ask_stage(h, k, dir))
		return HOOK_BLOCK;
	if (wf->dir[dir].closed)
		line_drop(h, line, k, line->stage[k].len);
	else if (!hook_asks(h, k) &&
		 advance(&line->stage[k], &line->stage[k + 1], line->stage[k].len))
		return give_up(h, k);
	if (!line->stage[k].len && ended(h, dir, k) && !wf->dir[dir].pend)
		pass_end(h, k, dir);
	return 0;
}

/** waits - something other than more bytes is awaited */
static bool waits(const struct flow_hooks *h, enum hook_dir dir)
{
	return h->gated || pends(h, dir);
}

/** is_full - all flows keep what they may */
static bool is_full(const struct hook_chain *c)
{
	return c->env.total && c->bytes >= c->env.total;
}

/** holds_too_much - and not because it waits: more bytes would only make it more */
static bool holds_too_much(const struct flow_hooks *h, enum hook_dir dir)
{
	const struct hook_chain *c = h->chain;
	const struct hook_line *line = h->side[dir].line;
	const size_t held = line ? line->bytes - line->stage[c->n].len : 0;

	return !waits(h, dir) && (held > c->env.limit || (held > FAIR_SHARE && is_full(c)));
}

/** run - all stages from hook @k on; 0, HOOK_BLOCK or HOOK_LIMIT */
static int run(struct flow_hooks *h, enum hook_dir dir, unsigned k)
{
	struct hook_chain *c = h->chain;
	const struct hook_line *line = h->side[dir].line;

	for (; line && k < c->n && !(h->gated && k == c->gate); k++)
		if (run_stage(h, k, dir) < 0)
			return HOOK_BLOCK;
	if (h->blocked)
		return HOOK_BLOCK;
	if (holds_too_much(h, dir))
		return HOOK_LIMIT;
	line_settle(h, dir);
	return 0;
}

/* --- the relay's own bytes ------------------------------------------------------------------- */

/** own_to_line - hook @k was shown relay's bytes and accepted @n, and now they must be ours */
static int own_to_line(struct flow_hooks *h, unsigned k, enum hook_dir dir, const uint8_t *data,
		       size_t len, size_t n)
{
	if (put_made(h, k, dir, data, n) || hook_line_add(h, dir, k, hook_ahead(data, n), len - n))
		return give_up(h, k);
	return run(h, dir, k);
}

/**
 * show_own - the hooks look at the relay's own bytes, while there is no line
 * @pass: in: how many there are, out: how many may go on as they are; the rest is in a line
 */
static int show_own(struct flow_hooks *h, enum hook_dir dir, const uint8_t *data, size_t *pass)
{
	const struct hook_side *side = &h->side[dir];
	bool held = false;

	for (unsigned k = 0; k < h->chain->n && *pass; k++) {
		int64_t n = hook_asks(h, k) ? ask(h, k, dir, data, *pass, false) : (int64_t)*pass;
		const size_t shown = *pass;

		if (n < 0)
			return HOOK_BLOCK;
		/* The other way to a line: a hook behind this one was called, and has injected. */
		if (made(h->chain) || (side->line && !held)) {
			*pass = 0;
			return own_to_line(h, k, dir, data, shown, (size_t)n);
		}
		if (!hook_asks(h, k) || (size_t)n == shown)
			continue;
		held = true;
		*pass = (size_t)n;
		if (hook_line_add(h, dir, k, hook_ahead(data, (size_t)n), shown - (size_t)n))
			return give_up(h, k);
	}
	return run(h, dir, h->chain->n);
}

/** must_take - may the relay's own bytes not be shown? */
static bool must_take(const struct flow_hooks *h, enum hook_dir dir, bool last)
{
	return h->side[dir].line || h->side[dir].ended || h->gated || last;
}

int hook_chain_chunk(struct hook_chain *c, struct flow *f, enum hook_dir dir, const uint8_t *data,
		     size_t len, bool last, struct hook_passed *out)
{
	struct flow_hooks *h = f->hookdata;
	size_t pass = len;
	int rc;

	*out = (struct hook_passed){.as_is = len};
	if (!c->n || hook_indifferent(f))
		return 0;
	weir_assert(f->rec->state != FLOW_NEW);
	if (!h || !h->opened || h->blocked)
		return HOOK_BLOCK;
	if (must_take(h, dir, last)) {
		*out = (struct hook_passed){.taken = len};
		if (hook_line_add(h, dir, 0, data, len))
			return give_up(h, 0);
		if (last)
			set_ended(h, dir, 0);
		return run(h, dir, 0);
	}
	rc = show_own(h, dir, data, &pass);
	*out = (struct hook_passed){.as_is = pass, .taken = len - pass};
	return rc;
}

int hook_chain_run(struct flow *f, enum hook_dir dir)
{
	struct flow_hooks *h = f->hookdata;

	if (hook_indifferent(f))
		return 0;
	if (!h || !h->opened || h->blocked)
		return HOOK_BLOCK;
	return run(h, dir, 0);
}

/* --- the way out --------------------------------------------------------------------------------
 */

size_t hook_chain_room(const struct flow *f, enum hook_dir dir)
{
	const struct flow_hooks *h = f->hookdata;
	const struct hook_line *line = hook_indifferent(f) || !h ? NULL : h->side[dir].line;
	size_t limit, free;

	if (!line)
		return SIZE_MAX;
	if (line->stage[h->chain->n].len && !h->gated)
		return 0;
	limit = h->chain->env.limit;
	free = line->bytes < limit ? limit - line->bytes : 0;
	if (waits(h, dir))
		return is_full(h->chain) ? 0 : free;
	/* One byte more than a hook may hold: to know that it wants more. */
	return free ? free : 1;
}

size_t hook_chain_output(const struct flow *f, enum hook_dir dir, const uint8_t **data)
{
	const struct flow_hooks *h = f->hookdata;
	const struct hook_line *line = hook_indifferent(f) || !h ? NULL : h->side[dir].line;
	const struct hook_buf *out = line ? &line->stage[h->chain->n] : NULL;

	if (!out || !out->len || h->gated || h->blocked)
		return 0;
	*data = hook_buf_at(out);
	return out->len;
}

void hook_chain_sent(struct flow *f, enum hook_dir dir, size_t n)
{
	struct flow_hooks *h = f->hookdata;

	line_drop(h, h->side[dir].line, h->chain->n, n);
	line_settle(h, dir);
}

bool hook_chain_over(const struct flow *f, enum hook_dir dir)
{
	const struct flow_hooks *h = f->hookdata;

	if (!h || hook_indifferent(f))
		return false;
	return ended(h, dir, h->chain->n) && !h->blocked && !h->gated &&
	       (!h->side[dir].line || !h->side[dir].line->stage[h->chain->n].len);
}
