/* SPDX-License-Identifier: MIT */
/*
 * The common part of a flow's life, in the order of the calls: a relay makes
 * the flow (bounds, name, owner asked for), the answer judges it (rules, then
 * hooks opened), the relay ends it (hooks closed, record told, name let go).
 */
#include "relay.h"

#include <netinet/in.h>

#include "base/util.h"
#include "owner.h"

struct hook_view relay_view(const struct relay *r, const struct flow *f)
{
	uint32_t slot = f->rec->host_slot;

	return (struct hook_view){
		.rec = f->rec,
		.owner = f->owner,
		.host = slot ? names_text(r->names, slot) : NULL,
		.rule = judge_rule_text(r, f),
	};
}

/** refuse_half_open - true when a TCP flow more would be one too many */
static bool refuse_half_open(struct relay *r, uint8_t proto)
{
	if (proto != IPPROTO_TCP || flow_count_half_open(r->flows) < r->cfg->max_half_open)
		return false;
	r->count.flows_refused_half_open++;
	r->notice(r->ctx, "half-open",
		  "%u connections are being made at once: SYNs of more are dropped, the programs' "
		  "kernel repeats them (--max-half-open)",
		  r->cfg->max_half_open);
	return true;
}

/** hold_name - note the host name that the program had in mind for its destination */
static void hold_name(struct relay *r, struct flow *f)
{
	uint32_t slot = names_slot(r->names, &f->rec->net.addr, r->now);

	if (slot)
		names_hold(r->names, slot);
	f->rec->host_slot = slot;
}

/** drop_name - after the record: it has its own copy of the text by then */
static void drop_name(struct relay *r, struct flow *f)
{
	if (f->rec->host_slot)
		names_drop(r->names, f->rec->host_slot);
	f->rec->host_slot = 0;
}

/** takes_place - flows that weir carries; the record of a protocol that it doesn't can be missed */
static bool takes_place(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_ICMP ||
	       proto == IPPROTO_ICMPV6;
}

/** evict - end the datagram flow that was silent the longest; false: there is none */
static bool evict(struct relay *r)
{
	struct flow *f = flow_oldest(r->flows);

	if (!f)
		return false;
	r->count.flows_evicted++;
	r->notice(r->ctx, "evicted",
		  "the table of %u flows is full: the UDP and ping flows silent the longest end "
		  "for new ones (--max-flows)",
		  r->cfg->max_flows);
	relay_flow_end(r, f, FLOW_ENDED_EVICTED);
	flow_release(r->flows, f);
	return true;
}

static void refuse_full(struct relay *r, uint8_t proto)
{
	r->count.flows_refused_table++;
	if (proto == IPPROTO_TCP)
		r->notice(r->ctx, "flow table",
			  "the table of %u flows is full: SYNs of new connections are dropped, the "
			  "programs' kernel repeats them (--max-flows)",
			  r->cfg->max_flows);
	else
		r->notice(r->ctx, "flow table, datagrams",
			  "the table of %u flows is full: datagrams of new flows are dropped "
			  "(--max-flows)",
			  r->cfg->max_flows);
}

/** await_owner - ask whose it is, and for how long to wait for an answer */
static void await_owner(struct relay *r, struct flow *f)
{
	uint64_t wait = timers_config(r->timers)->owner_wait;

	f->rec->owner_why = OWNER_PENDING;
	if (wait)
		timers_set(r->timers, f, r->now + wait);
	r->ask_owner(r->ctx, f);
}

struct flow *relay_flow_new(struct relay *r, uint8_t proto, const struct addrport *app,
			    const struct addrport *net)
{
	struct flow *f;

	if (refuse_half_open(r, proto))
		return NULL;
	f = flow_new(r->flows, proto, app, net, r->now, r->wall);
	if (!f && takes_place(proto) && evict(r))
		f = flow_new(r->flows, proto, app, net, r->now, r->wall);
	if (!f) {
		refuse_full(r, proto);
		return NULL;
	}
	hold_name(r, f);
	await_owner(r, f);
	return f;
}

/** is_steered - what is counted in steered_from: see relay_in.c */
static bool is_steered(const struct relay *r, const struct flow *f)
{
	return r->steered_from && f->rec->inbound && !f->rec->host_port;
}

struct flow *relay_flow_new_in(struct relay *r, uint8_t proto, const struct relay_peer *p)
{
	struct flow *f = NULL;

	if (refuse_half_open(r, proto))
		return NULL;
	if (flow_count(r->flows) < (r->cfg->max_flows + 1) / 2)
		f = flow_new(r->flows, proto, &p->app, &p->net, r->now, r->wall);
	if (!f) {
		r->count.flows_refused_table++;
		r->notice(
			r->ctx, "flow table in",
			"peers have half of the table of %u flows: more are refused (--max-flows)",
			r->cfg->max_flows);
		return NULL;
	}
	/* No name: the program has not asked for this peer. */
	flow_set_inbound(f, p->host_port, p->client.port);
	if (is_steered(r, f))
		r->steered_from[f->rec->orig_port]++;
	await_owner(r, f);
	return f;
}

/**
 * end_owner_wait - the deadline of relay_flow_new() has done its work
 *
 * A datagram flow keeps it: timers.c will find it to be idle time. A relay that
 * has set another deadline meanwhile keeps that.
 */
static void end_owner_wait(struct relay *r, struct flow *f)
{
	uint64_t wait = timers_config(r->timers)->owner_wait;

	if (f->rec->proto == IPPROTO_TCP && wait && f->deadline == f->rec->start + wait)
		timers_clear(r->timers, f);
}

/** refused_by_hook - the record says so; HOOK_PEND holds it for the moment */
static enum judge_say refused_by_hook(struct flow *f, int verdict)
{
	static const enum flow_verdict verdicts[] = {
		[JUDGE_BLOCK] = FLOW_BLOCK, [JUDGE_DROP] = FLOW_DROP, [JUDGE_HOLD] = FLOW_HELD};
	/* Without memory for the hooks the flow cannot be inspected: it does not pass. */
	const enum judge_say say = verdict == HOOK_PEND	  ? JUDGE_HOLD
				   : verdict == HOOK_DROP ? JUDGE_DROP
							  : JUDGE_BLOCK;

	f->rec->verdict = (uint8_t)verdicts[say];
	f->rec->by = FLOW_BY_HOOK;
	f->held = say == JUDGE_HOLD;
	return say;
}

enum judge_say relay_flow_passed(struct relay *r, struct flow *f, enum judge_say say)
{
	int verdict;

	if (say != JUDGE_PASS)
		return say;
	verdict = hook_chain_open(r->hooks, f);
	if (verdict)
		return refused_by_hook(f, verdict);
	flow_set_state(r->flows, f, FLOW_JUDGED);
	return judge_gate(r, f);
}

enum judge_say relay_flow_owned(struct relay *r, struct flow *f)
{
	weir_assert(f->rec->state == FLOW_NEW || f->rec->state == FLOW_OWNED);
	if (f->rec->state == FLOW_NEW) {
		end_owner_wait(r, f);
		flow_set_state(r->flows, f, FLOW_OWNED);
	} else if (f->rec->by == FLOW_BY_HOOK) { /* it wanted time, and has made up its mind */
		f->rec->verdict = FLOW_ALLOW;
		f->rec->by = FLOW_BY_DEFAULT;
		f->held = false;
	}
	return relay_flow_passed(r, f, judge_owned(r, f));
}

void relay_flow_end(struct relay *r, struct flow *f, enum flow_reason reason)
{
	if (f->rec->reason != FLOW_ENDED_NOT)
		return;
	timers_clear(r->timers, f);
	if (is_steered(r, f))
		r->steered_from[f->rec->orig_port]--;
	flow_end(r->flows, f, reason, r->now);
	hook_chain_close(r->hooks, f);
	judge_end(r, f);
	r->flow_ended(r->ctx, f);
	drop_name(r, f);
}
