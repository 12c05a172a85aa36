/* SPDX-License-Identifier: MIT */
/*
 * What weir does for a hook: the table of services (struct weir_host). Each is a few lines that
 * note what is asked for; its effect on a stream comes when the callback has returned, or, from
 * outside of a flow's own calls, when the flow is woken.
 */
#include "hook_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"

#define FACTS_MAX    64 /* fields of a flow: names of one protocol are a few */
#define FACT_LEN_MAX 4096

static struct hook_chain *chain_of(const struct weir_flow *wf)
{
	return wf->all->chain;
}

/** in_payload - is payload() of this very handle and direction running? */
static bool in_payload(const struct weir_flow *wf, enum hook_dir dir)
{
	const struct hook_call *call = &chain_of(wf)->call;

	return call->of == wf && call->what == HOOK_CALL_PAYLOAD && call->dir == dir;
}

static bool valid_dir(enum weir_dir dir)
{
	return dir == WEIR_UP || dir == WEIR_DOWN;
}

/* --- the flow ----------------------------------------------------------------------------- */

static const struct weir_info *host_info(struct weir_flow *wf)
{
	return hook_info(wf);
}

static void host_set_data(struct weir_flow *wf, void *data, void (*free_fn)(void *data))
{
	wf->data = data;
	wf->free_fn = free_fn;
}

static void *host_data(struct weir_flow *wf)
{
	return wf->data;
}

static struct weir_flow *host_find(struct weir_hook_ref *hook, uint64_t id)
{
	struct flow_hooks *h = hook_find_flow(hook->chain, id);

	return h && h->at[hook->index].handed ? &h->at[hook->index] : NULL;
}

/* --- edits ------------------------------------------------------------------------------------ */

static int edit_new(struct hook_chain *c, const struct hook_edit *e)
{
	if (c->n_edits == c->edits_cap) {
		size_t cap = c->edits_cap ? 2 * c->edits_cap : 16;
		struct hook_edit *more = realloc(c->edits, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		c->edits = more;
		c->edits_cap = cap;
	}
	c->edits[c->n_edits++] = *e;
	return 0;
}

static int host_replace(struct weir_flow *wf, size_t off, size_t len, const void *with, size_t n)
{
	struct hook_chain *c = chain_of(wf);
	const struct hook_edit e = {.off = off, .len = len, .n = n, .with = c->with.len};
	const struct hook_edit *before = c->n_edits ? &c->edits[c->n_edits - 1] : NULL;

	if (c->call.of != wf || c->call.what == HOOK_CALL_OTHER || off > c->call.len ||
	    len > c->call.len - off || (before && off < before->off + before->len))
		return -EINVAL;
	if (c->env.limit && n > c->env.limit - MIN(c->env.limit, c->with.len))
		return -ENOBUFS;
	if (hook_buf_add(&c->with, with, n))
		return -ENOMEM;
	return edit_new(c, &e);
}

int hook_edited(const struct hook_chain *c, const uint8_t *data, size_t n, struct hook_buf *out)
{
	size_t at = 0;
	int rc = 0;

	for (size_t i = 0; !rc && i < c->n_edits; i++) {
		const struct hook_edit *e = &c->edits[i];

		if (e->off + e->len > n)
			break;
		rc = hook_buf_add(out, hook_ahead(data, at), e->off - at);
		if (!rc && e->n)
			rc = hook_buf_add(out, hook_buf_at(&c->with) + e->with, e->n);
		at = e->off + e->len;
	}
	return rc ? rc : hook_buf_add(out, hook_ahead(data, at), n - at);
}

/** inject_datagram - behind those that wait, or as the next one */
static int inject_datagram(struct weir_flow *wf, enum hook_dir dir, const void *data, size_t len)
{
	const struct flow_rec *rec = wf->all->flow->rec;
	const struct hook_dgram d = {.data = data, .len = len, .ttl = 64};
	int rc;

	if (rec->proto != IPPROTO_UDP)
		return -EOPNOTSUPP;
	if (len > UINT16_MAX - 48)
		return -EMSGSIZE;
	rc = hook_queue_add(wf->all, dir, wf->index + 1U, &d);
	if (!rc)
		hook_wake(wf->all);
	return rc;
}

static int inject_stream(struct weir_flow *wf, enum hook_dir dir, const void *data, size_t len)
{
	struct flow_hooks *h = wf->all;
	struct hook_chain *c = chain_of(wf);
	const struct hook_side *side = &h->side[dir];
	const size_t there = (side->line ? side->line->bytes : 0) + c->injected.len;

	if (side->ended >> (wf->index + 1U) & 1)
		return -EPIPE;
	if (c->env.limit && len > c->env.limit - MIN(c->env.limit, there))
		return -ENOBUFS;
	if (in_payload(wf, dir))
		return c->closing ? -EPIPE : hook_buf_add(&c->injected, data, len);
	hook_wake(h);
	return hook_line_add(h, dir, wf->index + 1U, data, len);
}

static int host_inject(struct weir_flow *wf, enum weir_dir dir, const void *data, size_t len)
{
	if (!valid_dir(dir))
		return -EINVAL;
	if (wf->all->flow->rec->proto == IPPROTO_TCP)
		return inject_stream(wf, (enum hook_dir)dir, data, len);
	return inject_datagram(wf, (enum hook_dir)dir, data, len);
}

static int host_close(struct weir_flow *wf, enum weir_dir dir)
{
	if (!valid_dir(dir) || wf->all->flow->rec->proto != IPPROTO_TCP)
		return -EINVAL;
	if (in_payload(wf, (enum hook_dir)dir)) {
		chain_of(wf)->closing = true;
		return 0;
	}
	if (!hook_line_of(wf->all, (enum hook_dir)dir))
		return -ENOMEM;
	hook_end_here(wf->all, wf->index, (enum hook_dir)dir);
	hook_wake(wf->all);
	return 0;
}

/* --- waiting, deciding, being done ---------------------------------------------------------- */

static void host_resume(struct weir_flow *wf, enum weir_dir dir)
{
	if (!valid_dir(dir))
		return;
	if (in_payload(wf, (enum hook_dir)dir)) {
		wf->dir[dir].again = true;
		return;
	}
	wf->dir[dir].pend = false;
	wf->dir[dir].seen = 0;
	wf->dir[dir].told_last = false;
	hook_wake(wf->all);
}

static void host_decide(struct weir_flow *wf, int verdict)
{
	struct flow_hooks *h = wf->all;

	if (verdict == WEIR_ERROR)
		verdict = hook_failed(wf) ? WEIR_BLOCK : WEIR_PASS;
	if (verdict != WEIR_PASS && verdict != WEIR_DROP)
		verdict = WEIR_BLOCK;
	if (wf->awaited) {
		wf->awaited = false;
		wf->verdict = (int8_t)verdict;
		hook_decided(wf);
	} else if (verdict == WEIR_BLOCK || verdict == WEIR_DROP) {
		hook_block(h, h->chain->hook[wf->index]);
	}
	hook_wake(h);
}

void hook_done(struct weir_flow *wf)
{
	struct flow_hooks *h = wf->all;

	wf->done = true;
	h->asks &= ~(1U << wf->index);
	for (int dir = 0; dir < 2; dir++)
		wf->dir[dir].pend = false;
	hook_settle(h);
	if (!h->head.direct)
		hook_wake(h);
}

/* --- names ------------------------------------------------------------------------------------ */

const char *hook_fact(const struct flow_hooks *h, const char *field)
{
	for (const struct hook_fact *fact = h->facts; fact; fact = fact->next)
		if (!strcmp(fact->field, field))
			return fact->value;
	return NULL;
}

static int fact_add(struct flow_hooks *h, const char *field, const char *value)
{
	const size_t n = strlen(field) + 1, len = strlen(value) + 1;
	struct hook_fact **link = &h->facts, *fact;
	unsigned count = 0;

	while (*link) {
		link = &(*link)->next;
		count++;
	}
	if (count == FACTS_MAX || n + len > FACT_LEN_MAX)
		return -ENOSPC;
	fact = malloc(sizeof(*fact) + n + len);
	if (!fact)
		return -ENOMEM;
	fact->next = NULL;
	memcpy(fact->field, field, n);
	memcpy(fact->field + n, value, len);
	fact->value = fact->field + n;
	*link = fact;
	return 0;
}

static int host_learn(struct weir_flow *wf, const char *field, const char *value)
{
	struct flow_hooks *h = wf->all;
	struct hook_chain *c = chain_of(wf);
	int rc = value ? fact_add(h, field, value) : 0;

	if (rc)
		return rc;
	if (c->env.learned)
		c->env.learned(c->env.ctx, h->flow, field, value);
	for (unsigned k = 0; value && k < c->n; k++)
		if (k != wf->index && h->at[k].handed)
			hook_call_learned(&h->at[k], field, value);
	return 0;
}

static void host_learn_done(struct weir_flow *wf)
{
	struct hook_chain *c = chain_of(wf);

	if (c->env.learned)
		c->env.learned(c->env.ctx, wf->all->flow, NULL, NULL);
}

static int host_tag(struct weir_flow *wf, const char *tag)
{
	struct hook_chain *c = chain_of(wf);

	return c->env.tag ? c->env.tag(c->env.ctx, wf->all->flow, tag) : -ENOSYS;
}

static int host_event(struct weir_flow *wf, const char *type, const char *json)
{
	struct hook_chain *c = chain_of(wf);

	return c->env.event ? c->env.event(c->env.ctx, wf->all->flow, type, json) : -ENOSYS;
}

/* --- the world -------------------------------------------------------------------------------- */

/** host_log - what a hook says may be made of payload: one line of printable bytes */
static void host_log(struct weir_hook_ref *hook, struct weir_flow *wf, enum weir_log level,
		     const char *text)
{
	static const enum log_level levels[] = {LOG_ERROR, LOG_WARN, LOG_NOTE, LOG_DEBUG};
	const enum log_level l = levels[MIN((unsigned)level, ARRAY_SIZE(levels) - 1)];
	char line[512];

	str_copy(line, sizeof(line), text);
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	if (wf)
		log_at(l, "hook %s: flow %llu: %s", hook->stats->name,
		       (unsigned long long)wf->all->flow->rec->id, line);
	else
		log_at(l, "hook %s: %s", hook->stats->name, line);
}

static uint64_t host_now(struct weir_hook_ref *hook)
{
	const struct hook_env *env = &hook->chain->env;

	return env->now ? env->now(env->ctx) : 0;
}

static struct weir_timer *host_timer(struct weir_hook_ref *hook, unsigned ms, void (*fn)(void *ctx),
				     void *ctx)
{
	const struct hook_env *env = &hook->chain->env;

	return env->timer ? env->timer(env->ctx, ms, fn, ctx) : NULL;
}

static struct weir_watch *host_watch(struct weir_hook_ref *hook, int fd, unsigned events,
				     void (*fn)(void *ctx, unsigned events), void *ctx)
{
	const struct hook_env *env = &hook->chain->env;

	return env->watch ? env->watch(env->ctx, fd, events, fn, ctx) : NULL;
}

static int host_open(struct weir_hook_ref *hook, const char *path, int flags,
		     void (*fn)(void *ctx, int fd), void *ctx)
{
	const struct hook_env *env = &hook->chain->env;

	return env->open ? env->open(env->ctx, hook->index, path, flags, fn, ctx) : -ENOSYS;
}

void hook_host_init(struct weir_host *host, const struct hook_env *env)
{
	*host = (struct weir_host){
		.size = sizeof(*host),
		.abi = WEIR_HOOK_ABI,
		.info = host_info,
		.set_data = host_set_data,
		.data = host_data,
		.find = host_find,
		.replace = host_replace,
		.inject = host_inject,
		.close = host_close,
		.resume = host_resume,
		.decide = host_decide,
		.done = hook_done,
		.learn = host_learn,
		.learn_done = host_learn_done,
		.tag = host_tag,
		.event = host_event,
		.log = host_log,
		.now = host_now,
		.timer = host_timer,
		.timer_stop = env->timer_stop,
		.watch = host_watch,
		.watch_set = env->watch_set,
		.watch_stop = env->watch_stop,
		.open = host_open,
	};
}
