/* SPDX-License-Identifier: MIT */
/*
 * The one way into a hook: each call is noted (who runs, in which flow, what it is shown: edits
 * refer to that), measured, and its answer is made fit for use. Nobody else calls one.
 */
#include "hook_impl.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "owner.h"

static struct weir_hook_ref *ref_of(const struct weir_flow *wf)
{
	return wf->all->chain->hook[wf->index];
}

/** struct span - a call that is being measured, and the one that it interrupts */
struct span {
	struct hook_call outer;
	uint64_t start;
};

static struct span begin(struct weir_flow *wf, const struct hook_call *call)
{
	struct hook_chain *c = wf->all->chain;
	const struct span s = {.outer = c->call, .start = c->env.clock ? c->env.clock() : 0};

	c->call = *call;
	return s;
}

/** over_budget - a call took longer than it may: counted, and said once a second */
static void over_budget(const struct weir_flow *wf, struct weir_hook_ref *e, uint64_t now,
			uint64_t took)
{
	e->stats->over_budget++;
	if (e->said && now - e->said < NSEC_PER_SEC)
		return;
	e->said = now;
	log_note("hook %s: flow %llu: a call took %llu us, its budget is %llu (%llu such calls)",
		 e->stats->name, (unsigned long long)wf->all->flow->rec->id, took / NSEC_PER_USEC,
		 e->budget / NSEC_PER_USEC, (unsigned long long)e->stats->over_budget);
}

static void end(struct weir_flow *wf, const struct span *s)
{
	struct hook_chain *c = wf->all->chain;
	struct weir_hook_ref *e = ref_of(wf);

	c->call = s->outer;
	e->stats->calls++;
	if (c->env.clock) {
		const uint64_t now = c->env.clock(), took = now - s->start;

		e->stats->ns += took;
		if (took > e->budget)
			over_budget(wf, e, now, took);
	}
}

int hook_failed(struct weir_flow *wf)
{
	struct weir_hook_ref *e = ref_of(wf);

	e->stats->errors++;
	if (!e->error_passes)
		return HOOK_BLOCK;
	hook_done(wf);
	return 0;
}

static int out_of_range(struct weir_flow *wf)
{
	ref_of(wf)->stats->out_of_range++;
	return HOOK_BLOCK;
}

int64_t hook_call_payload(struct weir_flow *wf, const struct weir_payload *p, size_t fresh)
{
	struct weir_hook_ref *e = ref_of(wf);
	struct hook_chain *c = wf->all->chain;
	int64_t n = (int64_t)p->len;

	if (e->hook.payload) {
		const struct hook_call call = {wf, (enum hook_dir)p->dir, HOOK_CALL_PAYLOAD,
					       p->len};
		const struct span s = begin(wf, &call);

		c->n_edits = 0;
		c->with.off = c->with.len = c->injected.off = c->injected.len = 0;
		c->closing = false;
		n = e->hook.payload(e->state, wf, p);
		end(wf, &s);
	}
	e->stats->bytes += fresh;
	if (n == HOOK_PEND || n == HOOK_BLOCK)
		return n;
	if (n == WEIR_ERROR)
		return hook_failed(wf);
	if (n < 0)
		return out_of_range(wf);
	if ((uint64_t)n > p->len) {
		e->stats->out_of_range++;
		n = (int64_t)p->len;
	}
	return n;
}

int hook_call_datagram(struct weir_flow *wf, const struct weir_datagram *d)
{
	struct weir_hook_ref *e = ref_of(wf);
	struct hook_chain *c = wf->all->chain;
	const struct hook_call call = {wf, (enum hook_dir)d->dir, HOOK_CALL_DATAGRAM, d->len};
	struct span s;
	int verdict;

	s = begin(wf, &call);
	c->n_edits = 0;
	c->with.off = c->with.len = 0;
	verdict = e->hook.datagram(e->state, wf, d);
	end(wf, &s);
	e->stats->bytes += d->len;
	if (verdict == WEIR_ERROR)
		return hook_failed(wf);
	if (verdict > 0 || verdict < WEIR_ERROR)
		return out_of_range(wf);
	return verdict;
}

int hook_call_open(struct weir_flow *wf)
{
	struct weir_hook_ref *e = ref_of(wf);
	const struct hook_call call = {.of = wf};
	struct span s;
	int verdict;

	if (!e->hook.flow_open)
		return 0;
	s = begin(wf, &call);
	verdict = e->hook.flow_open(e->state, wf, hook_info(wf));
	end(wf, &s);
	if (verdict == WEIR_ERROR)
		return hook_failed(wf);
	if (verdict > 0 || verdict < WEIR_ERROR)
		return out_of_range(wf);
	return verdict;
}

void hook_call_half_close(struct weir_flow *wf, enum hook_dir dir)
{
	struct weir_hook_ref *e = ref_of(wf);
	const struct hook_call call = {.of = wf, .dir = dir};
	struct span s;

	if (!e->hook.half_close)
		return;
	s = begin(wf, &call);
	e->hook.half_close(e->state, wf, (enum weir_dir)dir);
	end(wf, &s);
}

void hook_call_learned(struct weir_flow *wf, const char *field, const char *value)
{
	struct weir_hook_ref *e = ref_of(wf);
	const struct hook_call call = {.of = wf};
	struct span s;

	if (!e->hook.name_learned || !hook_wants(&e->hook, WEIR_WANTS_NAMES))
		return;
	s = begin(wf, &call);
	e->hook.name_learned(e->state, wf, field, value);
	end(wf, &s);
}

void hook_call_close(struct weir_flow *wf)
{
	struct weir_hook_ref *e = ref_of(wf);
	const struct hook_call call = {.of = wf};

	if (e->hook.flow_close) {
		const struct span s = begin(wf, &call);

		e->hook.flow_close(e->state, wf, hook_info(wf));
		end(wf, &s);
	}
	if (wf->free_fn)
		wf->free_fn(wf->data);
}

/* --- what a hook is told about a flow ---------------------------------------------------- */

static void tell_owner(struct hook_info *i, const struct hook_view *v)
{
	const struct owner *o = v->owner;
	const struct flow_rec *rec = v->rec;
	struct weir_owner *w = &i->owner;

	*w = (struct weir_owner){
		.size = sizeof(*w),
		.uid = o ? (int64_t)o->uid : -1,
		.gid = o ? (int64_t)o->gid : -1,
		.socket_uid = rec->owner_uid == UINT32_MAX ? -1 : (int64_t)rec->owner_uid,
		.pid = o ? o->pid : -1,
		.start_ns = o ? o->start_ns : 0,
		.user = o ? o->user : "",
		.exe = o ? o->exe : "",
		.comm = i->comm,
		.cmdline = o ? o->cmdline : "",
		.cgroup = o ? o->cgroup : "",
		.source = o ? owner_source_text(o->source) : owner_why_text(rec->owner_why),
		.n_parents = o ? MIN(o->parents_len, (unsigned)OWNER_PARENTS_MAX) : 0,
		.parent_comm = i->parent_comms,
		.parent_pid = i->parent_pid,
	};
	i->comm[0] = '\0';
	if (o)
		memcpy(i->comm, o->comm, sizeof(o->comm));
	for (unsigned k = 0; k < w->n_parents; k++) {
		memcpy(i->parent_comm[k], o->parents[k].comm, sizeof(o->parents[k].comm));
		i->parent_comms[k] = i->parent_comm[k];
		i->parent_pid[k] = o->parents[k].pid;
	}
}

static struct weir_endpoint endpoint(const struct addrport *ap, char *text)
{
	const bool v4 = addr_is_v4(&ap->addr);

	return (struct weir_endpoint){
		.ip = addr_format(&ap->addr, text),
		.bytes = v4 ? addr_v4_bytes(&ap->addr) : ap->addr.b,
		.n_bytes = v4 ? 4 : 16,
		.port = ap->port,
	};
}

/** best_host - what was learnt from the payload is nearer than what the resolver said */
static const char *best_host(const struct flow_hooks *h, const struct hook_view *v)
{
	const char *sni = hook_fact(h, "sni"), *http = hook_fact(h, "http.host");

	return http ? http : sni ? sni : v->host;
}

int hook_chain_listen(struct hook_chain *c, uint8_t proto, const struct addrport *at, bool ended)
{
	const struct flow_rec nobody = {.owner_uid = UINT32_MAX, .owner_why = OWNER_UNSUPPORTED};
	const struct hook_view v = {.rec = &nobody};
	struct weir_listen l = {.size = sizeof(l), .proto = proto, .ended = ended};
	int verdict = 0;

	tell_owner(&c->info, &v);
	l.owner = &c->info.owner;
	l.at = endpoint(at, c->info.app);
	for (unsigned k = 0; k < c->n && !verdict; k++) {
		const struct weir_hook_ref *e = c->hook[k];
		const struct hook_call outer = c->call;

		if (!e->hook.listen || !hook_wants(&e->hook, WEIR_WANTS_LISTENS))
			continue;
		c->call = (struct hook_call){.of = NULL};
		verdict = e->hook.listen(e->state, &l);
		c->call = outer;
		e->stats->calls++;
	}
	return verdict && !ended ? HOOK_BLOCK : 0;
}

const struct weir_info *hook_info(const struct weir_flow *wf)
{
	struct hook_chain *c = wf->all->chain;
	struct hook_info *i = &c->info;
	struct hook_view v = {.rec = wf->all->flow->rec};
	const struct flow_rec *rec;

	c->env.view(c->env.ctx, wf->all->flow, &v);
	rec = v.rec;
	tell_owner(i, &v);
	i->info = (struct weir_info){
		.size = sizeof(i->info),
		.id = rec->id,
		.proto = rec->proto,
		.inbound = rec->inbound,
		.app = endpoint(&rec->app, i->app),
		.net = endpoint(&rec->net, i->net),
		.owner = &i->owner,
		.host = best_host(wf->all, &v),
		.verdict = flow_verdict_text(rec->verdict),
		.rule = v.rule,
		.args = wf->args,
		.start_ns = rec->start_wall,
		.bytes_up = rec->up.bytes,
		.bytes_down = rec->down.bytes,
		.packets_up = rec->up.packets,
		.packets_down = rec->down.packets,
		.reason = rec->reason == FLOW_ENDED_NOT ? NULL : flow_reason_text(rec->reason),
	};
	return &i->info;
}
