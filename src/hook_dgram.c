/* SPDX-License-Identifier: MIT */
/*
 * Datagrams on their way along the hooks.
 *
 * One that every hook lets pass at once never waits here. When a hook pends, or the gate is closed,
 * a copy waits in the flow's queue with the stage that it has come to, and so do those that
 * come after it: each may go as far as the one before it (what stops that one stops all), so the
 * hooks in front of the gate see a second datagram while the first one waits behind them. The queue
 * so begins with those that have come the farthest, and none overtakes another.
 */
#include "hook_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* A burst of what one hook waits for; bytes are bounded by the flow's limit. */
#define QUEUE_MAX 256

int hook_queue_add(struct flow_hooks *h, enum hook_dir dir, unsigned stage,
		   const struct hook_dgram *d)
{
	struct hook_queue *q = &h->queue[dir];
	struct hook_chain *c = h->chain;
	struct hook_held *held, *behind;

	if (q->n >= QUEUE_MAX || q->bytes + d->len > c->env.limit ||
	    (c->env.total && c->bytes + d->len > c->env.total))
		return -ENOBUFS;
	held = malloc(sizeof(*held) + d->len);
	if (!held)
		return -ENOMEM;
	held->stage = stage;
	held->d = *d;
	held->d.data = held->data;
	if (d->len)
		memcpy(held->data, d->data, d->len);
	/* What a hook makes goes before what it has not let go on. */
	behind = TAILQ_FIRST(&q->list);
	while (behind && behind->stage >= stage)
		behind = TAILQ_NEXT(behind, next);
	if (behind)
		TAILQ_INSERT_BEFORE(behind, held, next);
	else
		TAILQ_INSERT_TAIL(&q->list, held, next);
	q->n++;
	q->bytes += d->len;
	c->bytes += d->len;
	h->head.direct = false;
	return 0;
}

/** unqueue - out of the queue, still to be freed */
static void unqueue(struct flow_hooks *h, enum hook_dir dir, struct hook_held *held)
{
	struct hook_queue *q = &h->queue[dir];

	TAILQ_REMOVE(&q->list, held, next);
	q->n--;
	q->bytes -= held->d.len;
	h->chain->bytes -= held->d.len;
}

void hook_queue_free(struct flow_hooks *h, enum hook_dir dir)
{
	struct hook_held *held;

	while ((held = TAILQ_FIRST(&h->queue[dir].list))) {
		unqueue(h, dir, held);
		free(held);
	}
}

/** ask - hook @k's answer about @d, with its edits made; @scratch: where edited bytes lie then */
static int ask(struct flow_hooks *h, unsigned k, enum hook_dir dir, struct hook_dgram *d,
	       struct hook_buf *scratch)
{
	struct hook_chain *c = h->chain;
	const struct weir_datagram wd = {
		.size = sizeof(wd),
		.dir = (enum weir_dir)dir,
		.data = d->data,
		.len = d->len,
	};
	struct hook_buf out = {.p = NULL};
	int verdict = hook_call_datagram(&h->at[k], &wd);

	if (verdict == HOOK_BLOCK)
		return hook_block(h, c->hook[k]);
	if (verdict == HOOK_PEND) {
		h->at[k].dir[dir].pend = true;
		c->hook[k]->stats->pends++;
	}
	if (verdict || !c->n_edits)
		return verdict;
	c->hook[k]->stats->edits += c->n_edits;
	if (hook_edited(c, d->data, d->len, &out)) {
		hook_buf_free(&out);
		return HOOK_DROP; /* no memory: lost, as on any link */
	}
	hook_buf_free(scratch);
	*scratch = out;
	d->data = hook_buf_at(scratch);
	d->len = out.len;
	return 0;
}

/**
 * walk - @d from hook *@k on
 *
 * 0: past all; HOOK_PEND: it waits before hook *@k; HOOK_DROP, HOOK_BLOCK.
 */
static int walk(struct flow_hooks *h, unsigned *k, enum hook_dir dir, struct hook_dgram *d,
		struct hook_buf *scratch)
{
	for (; *k < h->chain->n; ++*k) {
		int verdict;

		if (h->gated && *k == h->chain->gate)
			return HOOK_PEND;
		if (!hook_asks(h, *k))
			continue;
		verdict = h->at[*k].dir[dir].pend ? HOOK_PEND : ask(h, *k, dir, d, scratch);
		if (verdict)
			return verdict;
	}
	return h->gated && *k == h->chain->gate ? HOOK_PEND : 0;
}

int hook_chain_datagram(struct hook_chain *c, struct flow *f, enum hook_dir dir,
			struct hook_dgram *d)
{
	struct flow_hooks *h = f->hookdata;
	unsigned k = 0;
	int rc;

	if (!c->n || hook_indifferent(f))
		return 0;
	weir_assert(f->rec->state != FLOW_NEW);
	if (!h || !h->opened || h->blocked)
		return HOOK_BLOCK;
	if (!h->queue[dir].n) {
		rc = walk(h, &k, dir, d, &c->scratch);
		if (rc != HOOK_PEND)
			return rc;
	}
	if (hook_queue_add(h, dir, k, d))
		return HOOK_DROP;
	return HOOK_TAKEN;
}

/** held_edited - @held with what edits have made of it, in its place; NULL on ENOMEM */
static struct hook_held *held_edited(struct flow_hooks *h, enum hook_dir dir,
				     struct hook_held *held, const struct hook_dgram *d)
{
	struct hook_queue *q = &h->queue[dir];
	struct hook_held *now = malloc(sizeof(*now) + d->len);

	if (!now)
		return NULL;
	now->stage = held->stage;
	now->d = *d;
	now->d.data = now->data;
	if (d->len)
		memcpy(now->data, d->data, d->len);
	TAILQ_INSERT_AFTER(&q->list, held, now, next);
	q->n++;
	q->bytes += d->len;
	h->chain->bytes += d->len;
	return now;
}

/**
 * push_on - one that waits, as far as it goes
 *
 * Returns 0 and *@held where it stays in the queue, HOOK_DROP when it is gone, HOOK_BLOCK.
 */
static int push_on(struct flow_hooks *h, enum hook_dir dir, struct hook_held **held)
{
	struct hook_held *was = *held;
	struct hook_buf scratch = {.p = NULL};
	struct hook_dgram d = was->d;
	int verdict = walk(h, &was->stage, dir, &d, &scratch);

	if (verdict == HOOK_BLOCK) {
		hook_buf_free(&scratch);
		return HOOK_BLOCK;
	}
	if (d.data != was->data && verdict != HOOK_DROP) {
		*held = held_edited(h, dir, was, &d);
		verdict = *held ? 0 : HOOK_DROP;
	} else if (verdict == HOOK_PEND) {
		verdict = 0;
	}
	hook_buf_free(&scratch);
	if (verdict == HOOK_DROP || *held != was) {
		unqueue(h, dir, was);
		free(was);
	}
	return verdict;
}

/** give - @held has passed: it leaves, and stays until the relay asks for another */
static void give(struct flow_hooks *h, enum hook_dir dir, struct hook_held *held,
		 struct hook_dgram *d)
{
	unqueue(h, dir, held);
	h->given = held;
	*d = held->d;
}

int hook_chain_next_datagram(struct flow *f, enum hook_dir dir, struct hook_dgram *d)
{
	struct flow_hooks *h = f->hookdata;
	struct hook_held *held, *after;

	if (hook_indifferent(f))
		return 0;
	if (!h || !h->opened || h->blocked)
		return HOOK_BLOCK;
	free(h->given);
	h->given = NULL;
	for (held = TAILQ_FIRST(&h->queue[dir].list); held; held = after) {
		int rc;

		after = TAILQ_NEXT(held, next);
		rc = push_on(h, dir, &held);
		if (rc == HOOK_BLOCK)
			return HOOK_BLOCK;
		if (rc == HOOK_DROP)
			continue;
		if (held->stage == h->chain->n && !h->gated) {
			give(h, dir, held, d);
			hook_settle(h);
			return 1;
		}
	}
	hook_settle(h);
	return 0;
}
