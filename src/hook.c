/* SPDX-License-Identifier: MIT */
/*
 * The chain, and a flow's life in it. Bytes go through hook_stream.c, datagrams through
 * hook_dgram.c; what hooks ask of weir is answered in hook_host.c.
 *
 * A flow has state here for as long as one of its hooks has a handle of it. Where none is
 * interested, all such flows share `hook_nobody`. A flow without either has not been opened (or has
 * been closed) and passes nothing: a payload that no hook has seen must not slip by.
 */
#include "hook_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"

#define HOOK_LINE_MAX 256

struct hook_head hook_nobody = {.direct = true};

/* --- the chain ------------------------------------------------------------------- */

struct hook_chain *hook_chain_new(const struct hook_env *env)
{
	struct hook_chain *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->env = *env;
	TAILQ_INIT(&c->woken);
	hook_host_init(&c->host, env);
	return c;
}

void hook_chain_free(struct hook_chain *c)
{
	if (!c)
		return;
	weir_assert(!c->flows);
	while (c->n)
		hook_unload(c->hook[--c->n]);
	hook_buf_free(&c->with);
	hook_buf_free(&c->injected);
	hook_buf_free(&c->scratch);
	free(c->edits);
	free(c->by_id);
	free(c);
}

bool hook_chain_empty(const struct hook_chain *c)
{
	return !c->n;
}

void hook_chain_locked(struct hook_chain *c)
{
	for (unsigned k = 0; k < c->n; k++)
		if (c->hook[k]->hook.locked)
			c->hook[k]->hook.locked(c->hook[k]->state);
}

void hook_chain_reload(struct hook_chain *c)
{
	for (unsigned k = 0; k < c->n; k++)
		if (c->hook[k]->hook.reload)
			c->hook[k]->hook.reload(c->hook[k]->state);
}

size_t hook_chain_bytes(const struct hook_chain *c)
{
	return c->bytes;
}

const struct hook_stats *hook_chain_stats(const struct hook_chain *c, unsigned k)
{
	return k < c->n ? c->hook[k]->stats : NULL;
}

static void report_one(const struct weir_hook_ref *e, void (*fn)(void *ctx, const char *line),
		       void *ctx)
{
	char line[HOOK_LINE_MAX], text[HOOK_LINE_MAX - 64] = "";

	if (e->hook.report)
		e->hook.report(e->state, text, sizeof(text));
	if (text[0]) {
		snprintf(line, sizeof(line), "hook %s: %s", e->stats->name, text);
		fn(ctx, line);
	}
	if (e->stats->out_of_range) {
		snprintf(line, sizeof(line), "hook %s: %llu answers were out of range",
			 e->stats->name, (unsigned long long)e->stats->out_of_range);
		fn(ctx, line);
	}
}

void hook_chain_report(struct hook_chain *c, void (*fn)(void *ctx, const char *line), void *ctx)
{
	for (unsigned k = 0; k < c->n; k++)
		report_one(c->hook[k], fn, ctx);
}

/* --- flows by their number ------------------------------------------------------------- */

static struct flow_hooks **id_bucket(struct hook_chain *c, uint64_t id)
{
	return &c->by_id[(id * 0x9e3779b97f4a7c15ULL >> 32) & (c->by_id_size - 1)];
}

/** id_grow - twice the buckets (or the first ones); 0 or -ENOMEM */
static int id_grow(struct hook_chain *c)
{
	const uint32_t old_size = c->by_id_size;
	struct flow_hooks **old = c->by_id, *h;

	c->by_id_size = old_size ? old_size * 2 : 64;
	c->by_id = calloc(c->by_id_size, sizeof(struct flow_hooks *));
	if (!c->by_id) {
		c->by_id = old;
		c->by_id_size = old_size;
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < old_size; i++) {
		while ((h = old[i])) {
			struct flow_hooks **bucket = id_bucket(c, h->flow->rec->id);

			old[i] = h->same_id;
			h->same_id = *bucket;
			*bucket = h;
		}
	}
	free(old);
	return 0;
}

static void id_remove(struct flow_hooks *h)
{
	struct flow_hooks **link = id_bucket(h->chain, h->flow->rec->id);

	while (*link != h)
		link = &(*link)->same_id;
	*link = h->same_id;
}

struct flow_hooks *hook_find_flow(struct hook_chain *c, uint64_t id)
{
	struct flow_hooks *h = c->by_id ? *id_bucket(c, id) : NULL;

	while (h && h->flow->rec->id != id)
		h = h->same_id;
	return h;
}

/* --- one flow ---------------------------------------------------------------------- */

int hook_block(struct flow_hooks *h, const struct weir_hook_ref *by)
{
	if (!h->blocked)
		log_debug("flow %llu: blocked by hook %s", (unsigned long long)h->flow->rec->id,
			  by->stats->name);
	h->blocked = true;
	h->head.direct = false;
	h->flow->rec->verdict = 1;
	return HOOK_BLOCK;
}

void hook_wake(struct flow_hooks *h)
{
	if (h->woken)
		return;
	h->woken = true;
	TAILQ_INSERT_TAIL(&h->chain->woken, h, woken_link);
}

static void unwake(struct flow_hooks *h)
{
	if (h->woken)
		TAILQ_REMOVE(&h->chain->woken, h, woken_link);
	h->woken = false;
}

struct flow *hook_chain_woken(struct hook_chain *c)
{
	struct flow_hooks *h = TAILQ_FIRST(&c->woken);

	if (!h)
		return NULL;
	unwake(h);
	return h->flow;
}

void hook_settle(struct flow_hooks *h)
{
	h->head.direct = h->opened && !h->blocked && !h->gated && !h->asks;
	for (int dir = 0; dir < 2; dir++)
		h->head.direct &= !h->side[dir].line && !h->side[dir].ended && !h->queue[dir].n;
}

/** wants - would @hook ever be called with payload of such a flow? */
static bool wants_payload(const struct weir_hook *hook, uint8_t proto)
{
	const unsigned kind = proto == IPPROTO_TCP ? WEIR_WANTS_PAYLOAD : WEIR_WANTS_DATAGRAMS;

	if (hook->wants && !(hook->wants & kind))
		return false;
	return proto == IPPROTO_TCP ? hook->payload || hook->half_close : hook->datagram != NULL;
}

/** takes - does @hook get this flow? */
static bool takes(const struct weir_hook *hook, uint8_t proto)
{
	return hook->flow_open || hook->flow_close || wants_payload(hook, proto) ||
	       (hook->name_learned && (hook->wants & WEIR_WANTS_NAMES));
}

/** flow_hooks_new - the state of @f, with the handles of the hooks that take it; NULL on ENOMEM */
static struct flow_hooks *flow_hooks_new(struct hook_chain *c, struct flow *f, uint32_t takers)
{
	struct flow_hooks *h = calloc(1, sizeof(*h) + c->n * sizeof(h->at[0]));
	struct flow_hooks **bucket;

	if (!h || (c->flows >= c->by_id_size && id_grow(c))) {
		free(h);
		return NULL;
	}
	h->chain = c;
	h->flow = f;
	for (int dir = 0; dir < 2; dir++)
		TAILQ_INIT(&h->queue[dir].list);
	for (unsigned k = 0; k < c->n; k++) {
		h->at[k] = (struct weir_flow){.all = h, .index = (uint8_t)k};
		h->at[k].in = takers >> k & 1;
	}
	bucket = id_bucket(c, f->rec->id);
	h->same_id = *bucket;
	*bucket = h;
	c->flows++;
	f->hookdata = h;
	return h;
}

/** open_one - flow_open() of hook @k, or what decide() has said since; an answer of the chain's */
static int open_one(struct flow_hooks *h, unsigned k)
{
	struct weir_flow *wf = &h->at[k];
	struct weir_hook_ref *e = h->chain->hook[k];
	int verdict;

	if (!wf->handed) {
		wf->handed = true;
		e->stats->flows++;
		verdict = hook_call_open(wf);
	} else {
		verdict = wf->decided ? wf->verdict : HOOK_PEND;
	}
	if (wf->decided && verdict == HOOK_PEND)
		verdict = wf->verdict;
	if (verdict == HOOK_BLOCK || verdict == HOOK_DROP)
		hook_block(h, e);
	return verdict;
}

/** open_rest - of the hooks whose turn has not come; as hook_chain_open() */
static int open_rest(struct flow_hooks *h)
{
	struct hook_chain *c = h->chain;

	for (; h->opening < c->n; h->opening++) {
		const unsigned k = h->opening;
		int verdict;

		if (!h->at[k].in)
			continue;
		verdict = open_one(h, k);
		if (verdict)
			return verdict;
		if (!h->at[k].done && wants_payload(&c->hook[k]->hook, h->flow->rec->proto))
			h->asks |= 1U << k;
	}
	h->opened = true;
	hook_settle(h);
	return 0;
}

int hook_chain_open(struct hook_chain *c, struct flow *f)
{
	struct flow_hooks *h = f->hookdata;
	uint32_t takers = 0;

	weir_assert(!hook_indifferent(f));
	if (!h) {
		for (unsigned k = 0; k < c->n; k++)
			takers |= (uint32_t)takes(&c->hook[k]->hook, f->rec->proto) << k;
		if (!takers) {
			f->hookdata = &hook_nobody;
			return 0;
		}
		h = flow_hooks_new(c, f, takers);
		if (!h)
			return -ENOMEM;
	}
	weir_assert(!h->opened);
	return h->blocked ? HOOK_BLOCK : open_rest(h);
}

static void facts_free(struct flow_hooks *h)
{
	while (h->facts) {
		struct hook_fact *fact = h->facts;

		h->facts = fact->next;
		free(fact);
	}
}

void hook_chain_close(struct hook_chain *c, struct flow *f)
{
	struct flow_hooks *h = f->hookdata;

	f->hookdata = NULL;
	if (!h || &h->head == &hook_nobody)
		return;
	h->blocked = true; /* what hooks still ask for comes too late */
	for (unsigned k = c->n; k-- > 0;)
		if (h->at[k].handed)
			hook_call_close(&h->at[k]);
	for (enum hook_dir dir = HOOK_UP; dir <= HOOK_DOWN; dir++) {
		hook_line_free(h, dir);
		hook_queue_free(h, dir);
	}
	free(h->given);
	facts_free(h);
	unwake(h);
	id_remove(h);
	c->flows--;
	free(h);
}

void hook_chain_gate(struct flow *f, bool open)
{
	struct flow_hooks *h = f->hookdata;

	if (!h || hook_indifferent(f))
		return;
	h->gated = !open;
	hook_settle(h);
	if (open)
		hook_wake(h);
}
