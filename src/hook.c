/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The relay keeps one queue of held bytes per direction: those that have not
 * passed the whole chain. It shows all of them, from the oldest, and removes
 * what the call returns. The hooks of a chain may disagree about how much of
 * that queue they accept, so each has, per flow and direction, a mark: how many
 * bytes from the queue's front it has accepted already.
 *
 *   queue   |.....................|...........|.............|
 *           0                     mark[1]     mark[0]       len
 *            \_ passed both: goes  \_ hook 1   \_ hook 0
 *               on to the peer        sees this   sees this
 *
 * Hook k is shown the bytes between its own mark and that of the hook before
 * it, and moves its mark forward by what it accepts. The last mark is the
 * answer to the relay; as those bytes leave the queue, all marks move back
 * by as much. So no hook accepts a byte twice, and none sees a byte that the
 * one before it has not accepted.
 *
 * A flow without open hooks has no state here. Where the chain is not empty
 * such a flow passes nothing: a payload that no hook has seen must not slip by.
 */
#include "hook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"

#define HOOK_CHAIN_MAX 16 /* bits of flow_hooks.told_last */
#define HOOK_LINE_MAX  256

struct hook_entry {
	const struct hook_ops *ops;
	void *state;
	uint64_t out_of_range; /* answers that had to be clamped */
};

struct hook_chain {
	unsigned n;
	uint32_t flows; /* with open hooks: the chain must not change meanwhile */
	struct hook_entry hook[HOOK_CHAIN_MAX];
};

/** struct flow_hooks - what hangs on flow->hookdata */
struct flow_hooks {
	uint8_t opened;	       /* hooks 0..opened-1 have seen open() */
	bool blocked;	       /* latched */
	uint16_t told_last[2]; /* bit k: hook k knows that no more will come */
	struct {
		void *fstate;
		uint32_t mark[2];
	} hook[];
};

static const struct hook_ops *const builtin[] = {&hook_count};

/* --- the chain ------------------------------------------------------------------- */

struct hook_chain *hook_chain_new(void)
{
	return calloc(1, sizeof(struct hook_chain));
}

void hook_chain_free(struct hook_chain *c)
{
	if (!c)
		return;
	weir_assert(!c->flows);
	while (c->n) {
		struct hook_entry *e = &c->hook[--c->n];

		if (e->ops->unload)
			e->ops->unload(e->state);
	}
	free(c);
}

bool hook_chain_empty(const struct hook_chain *c)
{
	return !c->n;
}

static const struct hook_ops *find_builtin(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(builtin); i++)
		if (strlen(builtin[i]->name) == len && !memcmp(builtin[i]->name, name, len))
			return builtin[i];
	return NULL;
}

int hook_chain_add(struct hook_chain *c, const char *spec, const char **err)
{
	size_t len = strcspn(spec, "=");
	const struct hook_ops *ops = find_builtin(spec, len);
	struct hook_entry e = {.ops = ops};

	weir_assert(!c->flows);
	*err = NULL;
	if (!ops) {
		*err = "no such hook";
		return -ENOENT;
	}
	if (c->n == HOOK_CHAIN_MAX) {
		*err = "too many hooks";
		return -EINVAL;
	}
	if (ops->load) {
		e.state = ops->load(spec[len] ? spec + len + 1 : NULL, err);
		if (!e.state) {
			if (!*err)
				*err = "it could not be loaded";
			return -EINVAL;
		}
	}
	c->hook[c->n++] = e;
	return 0;
}

void hook_chain_report(struct hook_chain *c, void (*fn)(void *ctx, const char *line), void *ctx)
{
	char line[HOOK_LINE_MAX], text[HOOK_LINE_MAX - 64];

	for (unsigned k = 0; k < c->n; k++) {
		const struct hook_entry *e = &c->hook[k];

		text[0] = 0;
		if (e->ops->report)
			e->ops->report(e->state, text, sizeof(text));
		if (text[0]) {
			snprintf(line, sizeof(line), "hook %.32s: %s", e->ops->name, text);
			fn(ctx, line);
		}
		if (e->out_of_range) {
			snprintf(line, sizeof(line), "hook %.32s: %llu answers were out of range",
				 e->ops->name, (unsigned long long)e->out_of_range);
			fn(ctx, line);
		}
	}
}

/* --- one flow ---------------------------------------------------------------------- */

/** block - the first block is latched: in the record, and for every later call */
static int block(struct flow *f, struct flow_hooks *h, const struct hook_entry *by)
{
	if (!h->blocked)
		log_debug("flow %llu: blocked by hook %s", (unsigned long long)f->rec->id,
			  by->ops->name);
	h->blocked = true;
	f->rec->verdict = 1;
	return HOOK_BLOCK;
}

int hook_chain_open(struct hook_chain *c, struct flow *f, const struct hook_view *v)
{
	struct flow_hooks *h;

	if (!c->n)
		return 0;
	weir_assert(!f->hookdata);
	h = calloc(1, sizeof(*h) + c->n * sizeof(h->hook[0]));
	if (!h)
		return -ENOMEM;
	f->hookdata = h;
	c->flows++;
	for (unsigned k = 0; k < c->n; k++) {
		struct hook_entry *e = &c->hook[k];

		h->opened++;
		if (e->ops->open && e->ops->open(e->state, v, &h->hook[k].fstate))
			return block(f, h, e);
	}
	return 0;
}

void hook_chain_close(struct hook_chain *c, struct flow *f, const struct hook_view *v)
{
	struct flow_hooks *h = f->hookdata;

	if (!h)
		return;
	while (h->opened) {
		unsigned k = --h->opened;

		if (c->hook[k].ops->close)
			c->hook[k].ops->close(c->hook[k].state, h->hook[k].fstate, v);
	}
	f->hookdata = NULL;
	c->flows--;
	free(h);
}

/** ask_chunk - one hook's answer, made fit for use: 0..len or HOOK_BLOCK */
static ssize_t ask_chunk(struct hook_entry *e, void *fstate, const struct hook_view *v,
			 enum hook_dir dir, const uint8_t *data, size_t len, bool last)
{
	ssize_t n;

	if (!e->ops->chunk)
		return (ssize_t)len;
	n = e->ops->chunk(e->state, fstate, v, dir, data, len, last);
	if (n < 0) {
		e->out_of_range += n != HOOK_BLOCK;
		return HOOK_BLOCK;
	}
	if ((size_t)n > len) {
		e->out_of_range++;
		return (ssize_t)len;
	}
	return n;
}

/** must_ask - bytes to look at, or the end, which is told once */
static bool must_ask(struct flow_hooks *h, unsigned k, enum hook_dir dir, size_t len, bool last)
{
	uint16_t bit = (uint16_t)(1U << k);
	bool news = last && !(h->told_last[dir] & bit);

	if (last)
		h->told_last[dir] |= bit;
	return len || news;
}

ssize_t hook_chain_chunk(struct hook_chain *c, struct flow *f, const struct hook_view *v,
			 enum hook_dir dir, const uint8_t *data, size_t len, bool last)
{
	struct flow_hooks *h = f->hookdata;
	uint32_t passed;

	if (!c->n)
		return (ssize_t)len;
	weir_assert(f->rec->state != FLOW_NEW);
	if (!h || h->blocked)
		return HOOK_BLOCK;
	/* What hook 0 has accepted is still in the queue, or the relay has lost bytes. */
	weir_assert(len <= INT32_MAX && h->hook[0].mark[dir] <= len);

	passed = (uint32_t)len;
	for (unsigned k = 0; k < c->n; k++) {
		uint32_t *mark = &h->hook[k].mark[dir];
		size_t window = passed - *mark;

		if (must_ask(h, k, dir, window, last)) {
			ssize_t n = ask_chunk(&c->hook[k], h->hook[k].fstate, v, dir,
					      window ? data + *mark : data, window, last);
			if (n < 0)
				return block(f, h, &c->hook[k]);
			*mark += (uint32_t)n;
		}
		/* For the next hook the end has come only when nothing is held before it. */
		last = last && *mark == passed;
		passed = *mark;
	}
	for (unsigned k = 0; k < c->n; k++)
		h->hook[k].mark[dir] -= passed;
	return passed;
}

int hook_chain_datagram(struct hook_chain *c, struct flow *f, const struct hook_view *v,
			enum hook_dir dir, const uint8_t *data, size_t len)
{
	struct flow_hooks *h = f->hookdata;

	if (!c->n)
		return 0;
	weir_assert(f->rec->state != FLOW_NEW);
	if (!h || h->blocked)
		return HOOK_BLOCK;
	for (unsigned k = 0; k < c->n; k++) {
		struct hook_entry *e = &c->hook[k];
		int rc = 0;

		if (e->ops->datagram)
			rc = e->ops->datagram(e->state, h->hook[k].fstate, v, dir, data, len);
		e->out_of_range += rc < HOOK_BLOCK || rc > 1;
		if (rc < 0)
			return block(f, h, e);
		if (rc)
			return 1;
	}
	return 0;
}
