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

unsigned hook_chain_hooks(const struct hook_chain *c)
{
	return c->n;
}

const char *hook_chain_paths(const struct hook_chain *c, unsigned k)
{
	const struct weir_hook_ref *e = c->hook[k];

	return e->hook.paths ? e->hook.paths(e->state) : NULL;
}

const char *const *hook_chain_process(const struct hook_chain *c, unsigned k)
{
	const struct weir_hook_ref *e = c->hook[k];

	return e->hook.process ? e->hook.process(e->state) : NULL;
}

const char *hook_chain_syscalls(const struct hook_chain *c, unsigned k)
{
	return c->hook[k]->hook.syscalls;
}

void hook_chain_connected(struct hook_chain *c, unsigned k, int fd)
{
	const struct weir_hook_ref *e = k < c->n ? c->hook[k] : NULL;

	if (e && e->hook.connected)
		e->hook.connected(e->state, fd);
	else
		close_fd(&fd);
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

uint64_t hook_chain_calls(const struct hook_chain *c)
{
	uint64_t calls = 0;

	for (unsigned k = 0; k < c->n; k++)
		calls += c->hook[k]->stats->calls;
	return calls;
}

void hook_chain_refresh(struct hook_chain *c)
{
	for (unsigned k = 0; k < c->n; k++) {
		const struct weir_hook_ref *e = c->hook[k];
		char line[sizeof(e->stats->line)] = "";

		if (e->hook.report)
			e->hook.report(e->state, line, sizeof(line));
		memcpy(e->stats->line, line, sizeof(line));
	}
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
		if (!c->hook[k]->hushed)
			report_one(c->hook[k], fn, ctx);
}

void hook_chain_hush(struct hook_chain *c)
{
	c->hook[c->n - 1]->hushed = true;
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
	h->flow->rec->verdict = FLOW_BLOCK;
	h->flow->rec->by = FLOW_BY_HOOK;
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

	if (!hook_wants(hook, kind))
		return false;
	return proto == IPPROTO_TCP ? hook->payload || hook->half_close : hook->datagram != NULL;
}

/** takes - does @hook get this flow? */
static bool takes(const struct weir_hook *hook, uint8_t proto)
{
	return hook->flow_open || hook->flow_close || wants_payload(hook, proto) ||
	       (hook->name_learned && hook_wants(hook, WEIR_WANTS_NAMES));
}

/** asks_now - hook @k is content with the flow: its payload is shown from now on */
static void asks_now(struct flow_hooks *h, unsigned k)
{
	if (!h->at[k].done && wants_payload(&h->chain->hook[k]->hook, h->flow->rec->proto))
		h->asks |= 1U << k;
	hook_settle(h);
}

/** open_one - flow_open() of hook @k, or what was decided about it since; an answer of the chain's
 */
static int open_one(struct flow_hooks *h, unsigned k)
{
	struct weir_flow *wf = &h->at[k];
	struct weir_hook_ref *e = h->chain->hook[k];

	if (!wf->handed) {
		int verdict;

		wf->handed = wf->awaited = true;
		e->stats->flows++;
		verdict = hook_call_open(wf);
		if (wf->awaited && verdict != HOOK_PEND) { /* else decide() was called in it */
			wf->awaited = false;
			wf->verdict = (int8_t)verdict;
		}
	}
	if (wf->awaited)
		return HOOK_PEND;
	if (wf->verdict)
		hook_block(h, e);
	else
		asks_now(h, k);
	return wf->verdict;
}

/** open_rest - of the hooks whose turn has not come; as hook_chain_open() */
static int open_rest(struct flow_hooks *h)
{
	for (; h->opening < h->chain->n; h->opening++) {
		int verdict = h->at[h->opening].in ? open_one(h, h->opening) : 0;

		if (verdict)
			return verdict;
	}
	h->opened = true;
	hook_settle(h);
	return 0;
}

/** late_gate - closed while a hook that was picked late is undecided */
static void late_gate(struct flow_hooks *h)
{
	bool awaited = false;

	for (unsigned k = 0; k < h->chain->n; k++)
		awaited |= h->at[k].awaited;
	h->gated = (uint8_t)((h->gated & ~HOOK_GATE_LATE) | (awaited ? HOOK_GATE_LATE : 0));
	hook_settle(h);
}

/** open_late - hook @k gets a flow that the others have already */
static void open_late(struct flow_hooks *h, unsigned k)
{
	h->at[k].in = true;
	h->at[k].unsure = false;
	open_one(h, k);
	for (const struct hook_fact *fact = h->facts; fact; fact = fact->next)
		hook_call_learned(&h->at[k], fact->field, fact->value);
	late_gate(h);
	hook_wake(h);
}

void hook_decided(struct weir_flow *wf)
{
	struct flow_hooks *h = wf->all;

	if (!h->opened) /* hook_chain_open() will be called again */
		return;
	open_one(h, wf->index);
	late_gate(h);
}

/** in_scope - what @e's if= says of @f */
static enum expr_truth in_scope(const struct hook_chain *c, const struct weir_hook_ref *e,
				const struct flow *f)
{
	return e->scope ? c->env.scopes->holds(c->env.ctx, e->scope, f) : EXPR_YES;
}

/** flow_hooks_new - the state of @f, with the handles of the hooks that get it; NULL on ENOMEM */
static struct flow_hooks *flow_hooks_new(struct hook_chain *c, struct flow *f)
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
	for (unsigned k = 0; k < c->n; k++)
		h->at[k] = (struct weir_flow){.all = h, .index = (uint8_t)k};
	bucket = id_bucket(c, f->rec->id);
	h->same_id = *bucket;
	*bucket = h;
	c->flows++;
	f->hookdata = h;
	return h;
}

/** state_of - @f's state, made where it has none yet; NULL on ENOMEM */
static struct flow_hooks *state_of(struct hook_chain *c, struct flow *f)
{
	struct flow_hooks *h = f->hookdata;
	const bool opened = hook_indifferent(f);

	if (h && !opened)
		return h;
	h = flow_hooks_new(c, f);
	if (h && opened) {
		h->opened = true;
		hook_settle(h);
	}
	return h;
}

/** choose - which hooks get @f: bits of those that do, and that are not sure yet */
static void choose(const struct hook_chain *c, const struct flow *f, uint32_t *in, uint32_t *unsure)
{
	*in = *unsure = 0;
	for (unsigned k = 0; k < c->n; k++) {
		const struct weir_hook_ref *e = c->hook[k];
		enum expr_truth truth;

		if (e->by_rule || !takes(&e->hook, f->rec->proto))
			continue;
		truth = in_scope(c, e, f);
		*in |= (uint32_t)(truth == EXPR_YES) << k;
		*unsure |= (uint32_t)(truth == EXPR_UNKNOWN) << k;
	}
}

/** begin - the first call of hook_chain_open() for @f; as that */
static int begin(struct hook_chain *c, struct flow *f)
{
	struct flow_hooks *h = f->hookdata;
	uint32_t in, unsure;

	choose(c, f, &in, &unsure);
	if (!h && !in && !unsure) {
		f->hookdata = &hook_nobody;
		return 0;
	}
	h = state_of(c, f);
	if (!h)
		return -ENOMEM;
	h->begun = true;
	for (unsigned k = 0; k < c->n; k++) {
		h->at[k].in |= in >> k & 1;
		h->at[k].unsure = unsure >> k & 1;
	}
	return h->blocked ? HOOK_BLOCK : open_rest(h);
}

int hook_chain_open(struct hook_chain *c, struct flow *f)
{
	struct flow_hooks *h = f->hookdata;

	weir_assert(!hook_indifferent(f));
	if (!h || !h->begun)
		return begin(c, f);
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
	for (unsigned k = 0; k < c->n; k++)
		free(h->at[k].args);
	free(h->given);
	facts_free(h);
	unwake(h);
	id_remove(h);
	c->flows--;
	free(h);
}

/* --- what rules do with it ------------------------------------------------------------ */

/** decide_scopes - all that can be known is known: who gets the flow? */
static void decide_scopes(struct flow_hooks *h)
{
	for (unsigned k = 0; k < h->chain->n; k++) {
		if (!h->at[k].unsure || !h->opened)
			continue;
		h->at[k].unsure = false;
		if (in_scope(h->chain, h->chain->hook[k], h->flow) == EXPR_YES)
			open_late(h, k);
	}
}

int hook_chain_gate(struct hook_chain *c, struct flow *f, bool open)
{
	struct flow_hooks *h = f->hookdata;

	if (open && (!h || hook_indifferent(f)))
		return 0;
	h = state_of(c, f);
	if (!h)
		return -ENOMEM;
	if (open) {
		h->gated &= (uint8_t)~HOOK_GATE_JUDGE;
		decide_scopes(h);
		hook_wake(h);
	} else {
		h->gated |= HOOK_GATE_JUDGE;
	}
	hook_settle(h);
	return 0;
}

bool hook_chain_unsure(const struct flow *f)
{
	const struct flow_hooks *h = f->hookdata;
	bool unsure = false;

	if (!h || hook_indifferent(f))
		return false;
	for (unsigned k = 0; k < h->chain->n; k++)
		unsure |= h->at[k].unsure;
	return unsure;
}

static struct weir_hook_ref *find_hook(const struct hook_chain *c, const char *name)
{
	for (unsigned k = 0; k < c->n; k++)
		if (!strcmp(c->hook[k]->stats->name, name))
			return c->hook[k];
	return NULL;
}

int hook_chain_by_rule(struct hook_chain *c, const char *name, bool on)
{
	struct weir_hook_ref *e = find_hook(c, name);

	if (!e)
		return -ENOENT;
	e->by_rule = on;
	return 0;
}

uint64_t hook_chain_fields(const struct hook_chain *c)
{
	uint64_t fields = 0;

	for (unsigned k = 0; k < c->n; k++)
		fields |= c->hook[k]->scope ? c->env.scopes->fields(c->hook[k]->scope) : 0;
	return fields;
}

int hook_chain_pick(struct hook_chain *c, struct flow *f, const char *name, const char *args)
{
	const struct weir_hook_ref *e = find_hook(c, name);
	struct flow_hooks *h;
	struct weir_flow *wf;

	if (!e)
		return -ENOENT;
	/* The if= of a hook that rules give flows narrows them. */
	if (in_scope(c, e, f) == EXPR_NO)
		return 0;
	h = state_of(c, f);
	if (!h)
		return -ENOMEM;
	wf = &h->at[e->index];
	if (wf->in)
		return 0;
	wf->args = args ? strdup(args) : NULL;
	if (args && !wf->args)
		return -ENOMEM;
	if (h->opened)
		open_late(h, e->index);
	else
		wf->in = true;
	return 0;
}

void hook_chain_refuse(struct flow *f)
{
	struct flow_hooks *h = f->hookdata;

	if (!h || hook_indifferent(f)) {
		f->hookdata = NULL; /* nothing passes a flow that is not open */
		return;
	}
	h->blocked = true;
	h->head.direct = false;
	hook_wake(h);
}
