/* SPDX-License-Identifier: MIT */
/*
 * relay: the common part of a flow's life, with the real flow table, timers and hooks, and
 * names that only count.
 * LINK: src/relay.o src/flow.o src/timers.o src/base/hash.o src/base/util.o
 * LINK: src/hook.o src/hook_call.o src/hook_stream.o src/hook_dgram.o src/hook_host.o
 * LINK: src/hook_load.o src/base/log.o src/base/addr.o src/base/clock.o
 */
#include "relay.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "owner.h"
#include "../lib/tap.h"
#include "fake_judge.h"

#define SEC 1000000000ULL

/* --- fakes ---------------------------------------------------------------------------------- */

static int held, names_known = 1;

uint32_t names_slot(struct names *n, const struct addr *a, uint64_t now)
{
	(void)n;
	(void)a;
	(void)now;
	return names_known ? 3 : 0;
}

void names_hold(struct names *n, uint32_t slot)
{
	(void)n;
	held += slot == 3 ? 1 : 100;
}

void names_drop(struct names *n, uint32_t slot)
{
	(void)n;
	held -= slot == 3 ? 1 : 100;
}

const char *names_text(const struct names *n, uint32_t slot)
{
	(void)n;
	return slot == 3 ? "example.org" : "wrong";
}

static int hook_answer, hook_closed;
static struct weir_flow *hook_flow;
static const struct weir_host *hook_weir;
static const char *hook_host;

static int fake_open(void *state, struct weir_flow *wf, const struct weir_info *info)
{
	(void)state;
	hook_flow = wf;
	hook_host = info->host;
	return hook_answer;
}

static void fake_close(void *state, struct weir_flow *wf, const struct weir_info *info)
{
	(void)state;
	(void)wf;
	hook_closed += info->reason != NULL;
}

static void *fake_load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	(void)ref;
	(void)err;
	hook_weir = host;
	return &hook_weir;
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,		.name = "fake",		  .load = fake_load,
	.flow_open = fake_open, .flow_close = fake_close,
};

const char *owner_why_text(unsigned w)
{
	return w ? "unknown" : "known";
}

const char *owner_source_text(unsigned source)
{
	return source ? "bpf" : "sockdiag";
}

static int asked, notices, ended;
static char notice_what[32];
static char ended_as[64];

static void ask_owner(void *ctx, struct flow *f)
{
	(void)ctx;
	asked += f->rec->owner_why == OWNER_PENDING;
}

__attribute__((format(printf, 3, 4))) static void notice(void *ctx, const char *what,
							 const char *fmt, ...)
{
	(void)ctx;
	(void)fmt;
	snprintf(notice_what, sizeof(notice_what), "%s", what);
	notices++;
}

static void flow_ended(void *ctx, struct flow *f)
{
	(void)ctx;
	ended++;
	snprintf(ended_as, sizeof(ended_as), "%s %s slot %u held %d",
		 flow_reason_text(f->rec->reason), flow_state_text(f->rec->state),
		 f->rec->host_slot, held);
}

/* --- tests ----------------------------------------------------------------------------------- */

static struct config cfg = {.max_flows = 8, .max_half_open = 3};
static struct relay r = {
	.cfg = &cfg,
	.ask_owner = ask_owner,
	.notice = notice,
	.flow_ended = flow_ended,
	.now = 10 * SEC,
};

static struct flow *make(uint8_t proto, uint16_t port)
{
	struct addrport app = {.port = port}, net = {.port = 80};

	addr_parse("192.0.2.2", &app.addr);
	addr_parse("198.51.100.1", &net.addr);
	return relay_flow_new(&r, proto, &app, &net);
}

static void end(struct flow *f, enum flow_reason reason)
{
	relay_flow_end(&r, f, reason);
	flow_release(r.flows, f);
	flow_reap(r.flows, NULL, NULL);
}

static void test_life(void)
{
	struct flow *f = make(IPPROTO_TCP, 1);

	tap_ok(f && asked == 1 && held == 1 && relay_flow_waits(f),
	       "a new flow: owner asked for, name held");
	tap_ok(timers_next(r.timers) == 11 * SEC, "the wait for the owner has an end");
	tap_ok(!strcmp(relay_view(&r, f).host, "example.org"), "hooks see the name");
	tap_is(relay_flow_owned(&r, f), JUDGE_PASS, "it is judged");
	tap_ok(f->rec->state == FLOW_JUDGED && f->hookdata && hook_host, "with hooks open");
	tap_is(timers_next(r.timers), 0, "nobody waits for the owner any more");
	timers_set(r.timers, f, 99 * SEC);
	r.now = 12 * SEC;
	relay_flow_end(&r, f, FLOW_ENDED_RESET_NET);
	relay_flow_end(&r, f, FLOW_ENDED_FIN);
	tap_ok(ended == 1 && hook_closed == 1 && !held, "it ends once, and gives all back");
	tap_ok(!strcmp(ended_as, "reset-net closing slot 3 held 1"),
	       "the record is told while the name is there: %s", ended_as);
	tap_ok(f->rec->end == 12 * SEC && !f->rec->host_slot && !timers_next(r.timers),
	       "with its time, without a deadline");
	flow_release(r.flows, f);
	flow_reap(r.flows, NULL, NULL);

	names_known = 0;
	f = make(IPPROTO_TCP, 1);
	tap_ok(!held && !relay_view(&r, f).host, "a destination without a name has none");
	relay_flow_owned(&r, f);
	flow_set_state(r.flows, f, FLOW_CLOSING);
	ended = 0;
	relay_flow_end(&r, f, FLOW_ENDED_FIN);
	tap_is(ended, 1, "a flow that is CLOSING already still ends, and is told");
	end(f, FLOW_ENDED_FIN);
	names_known = 1;
}

static void test_timers(void)
{
	struct flow *f = make(IPPROTO_TCP, 1), *u = make(IPPROTO_UDP, 1);

	tap_ok(timers_pop(r.timers, r.now + SEC) && timers_pop(r.timers, r.now + SEC) &&
		       relay_flow_waits(f) && relay_flow_waits(u),
	       "an owner that does not answer in time is noticed, TCP and UDP");
	timers_set(r.timers, f, 77 * SEC);
	relay_flow_owned(&r, f);
	tap_ok(f->deadline == 77 * SEC, "a deadline of the relay's own survives the answer");
	end(f, FLOW_ENDED_FIN);
	end(u, FLOW_ENDED_FIN);

	u = make(IPPROTO_UDP, 2);
	relay_flow_owned(&r, u);
	tap_ok(!timers_pop(r.timers, r.now + SEC) && u->deadline == r.now + 300 * SEC,
	       "for UDP it turns into the idle time");
	end(u, FLOW_ENDED_TIMEOUT);
}

static void test_bounds(void)
{
	struct flow *f[8];

	notices = 0;
	for (uint16_t i = 0; i < 3; i++)
		f[i] = make(IPPROTO_TCP, i);
	tap_ok(!make(IPPROTO_TCP, 9) && r.count.flows_refused_half_open == 1 && notices == 1,
	       "a half-open flow too many is refused, counted and said");
	f[3] = make(IPPROTO_UDP, 9);
	tap_ok(f[3] != NULL, "UDP is never half open");
	relay_flow_owned(&r, f[0]);
	tap_ok(!make(IPPROTO_TCP, 9), "a judged flow still counts");
	flow_set_state(r.flows, f[0], FLOW_OPEN);
	f[4] = make(IPPROTO_TCP, 9);
	tap_ok(f[4] != NULL, "an open one makes room");
	for (uint16_t i = 5; i < 8; i++)
		f[i] = make(IPPROTO_UDP, i);
	tap_ok(!make(IPPROTO_UDP, 99) && r.count.flows_refused_table == 1,
	       "a full table refuses where no datagram flow is open");
	tap_ok(!strcmp(notice_what, "flow table, datagrams"), "and says so: %s", notice_what);
	for (uint16_t i = 0; i < 8; i++)
		end(f[i], FLOW_ENDED_SHUTDOWN);
	tap_ok(!held && !flow_count(r.flows) && !timers_next(r.timers), "all are given back");
}

static void use(struct flow *f)
{
	if (relay_flow_waits(f)) {
		relay_flow_owned(&r, f);
		flow_set_state(r.flows, f, FLOW_OPEN);
	}
	flow_touch(r.flows, f, r.now);
}

/** test_evict - in a full table the datagram flow that was silent the longest makes room */
static void test_evict(void)
{
	struct flow *f[8], *fresh;
	struct flow_ref gone;

	names_known = 1;
	for (uint16_t i = 0; i < 8; i++) {
		f[i] = make(i < 2 ? IPPROTO_TCP : i < 5 ? IPPROTO_UDP : IPPROTO_ICMP, i);
		relay_flow_owned(&r, f[i]);
		flow_set_state(r.flows, f[i], FLOW_OPEN);
		if (i >= 2)
			flow_touch(r.flows, f[i], r.now);
	}
	use(f[2]); /* the oldest is 3 now */
	gone = flow_ref(f[3]);
	ended = hook_closed = notices = 0;
	memset(&r.count, 0, sizeof(r.count));
	tap_ok(!make(IPPROTO_SCTP, 90) && !ended && r.count.flows_refused_table == 1,
	       "a protocol that is not carried gets no place: it evicts nothing");
	tap_ok(!strcmp(notice_what, "flow table, datagrams"), "and says so: %s", notice_what);
	fresh = make(IPPROTO_UDP, 91);
	tap_ok(fresh && ended == 1 && hook_closed == 1 && r.count.flows_evicted == 1 &&
		       r.count.flows_refused_table == 1,
	       "a datagram flow finds its place");
	tap_ok(f[3]->rec->reason == FLOW_ENDED_EVICTED && !strncmp(ended_as, "evicted closing", 15),
	       "the one silent the longest ended: %s", ended_as);
	tap_ok(!strcmp(notice_what, "evicted") && flow_get(r.flows, gone) == f[3],
	       "it is said, and the entry stays until the end of the turn");
	use(fresh);
	tap_ok(make(IPPROTO_ICMP, 92) && f[4]->rec->reason == FLOW_ENDED_EVICTED,
	       "an echo evicts the next one");
	f[3] = make(IPPROTO_UDP, 3);
	tap_ok(f[3] && f[3]->rec->state == FLOW_NEW && f[5]->rec->reason == FLOW_ENDED_EVICTED,
	       "one that was evicted may come back, and evicts another kind");
	tap_ok(make(IPPROTO_TCP, 93) && f[6]->rec->reason == FLOW_ENDED_EVICTED,
	       "so does a connection");
	tap_is(flow_reap(r.flows, NULL, NULL), 4, "four are freed");
	tap_ok(!flow_get(r.flows, gone) && flow_count(r.flows) == 8, "the table is full as before");
	tap_ok(f[0]->rec->reason == FLOW_ENDED_NOT && f[1]->rec->reason == FLOW_ENDED_NOT,
	       "connections are left alone");
}

/** test_steered - the ports that steered peers have outside are counted while their flows live */
static void test_steered(void)
{
	static uint32_t from[65536];
	struct relay_peer p = {
		.client = {.port = 4444}, .net = {.port = 5001}, .app = {.port = 80}};
	struct flow *f;

	addr_parse("198.51.100.1", &p.net.addr);
	addr_parse("192.0.2.2", &p.app.addr);
	r.steered_from = from;
	f = relay_flow_new_in(&r, IPPROTO_TCP, &p);
	tap_ok(f && from[4444] == 1 && !from[5001], "a steered peer's port is counted");
	p.host_port = 8080;
	p.net.port = 5002;
	end(relay_flow_new_in(&r, IPPROTO_TCP, &p), FLOW_ENDED_FIN);
	tap_is(from[4444], 1, "not that of one who came to a published port");
	end(f, FLOW_ENDED_FIN);
	tap_is(from[4444], 0, "until the flow has ended");
	r.steered_from = NULL;
}

static void end_one(void *ctx, struct flow *f)
{
	(void)ctx;
	relay_flow_end(&r, f, FLOW_ENDED_SHUTDOWN);
	flow_release(r.flows, f);
}

static void test_all_back(void)
{
	flow_each(r.flows, end_one, NULL);
	flow_reap(r.flows, NULL, NULL);
	tap_ok(!held && !flow_count(r.flows) && !timers_next(r.timers), "all is given back");
}

static void test_block(void)
{
	struct flow *f = make(IPPROTO_TCP, 1);

	hook_answer = WEIR_BLOCK;
	tap_is(relay_flow_owned(&r, f), JUDGE_BLOCK, "a hook may block a flow when it is judged");
	tap_ok(f->rec->verdict == FLOW_BLOCK && f->rec->by == FLOW_BY_HOOK,
	       "the verdict is in the record");
	hook_closed = 0;
	end(f, FLOW_ENDED_BLOCKED);
	tap_is(hook_closed, 1, "its hooks are closed all the same");
	hook_answer = 0;
}

/** test_pend - a hook does not know yet: the flow waits, and is woken */
static void test_pend(void)
{
	struct flow *f = make(IPPROTO_TCP, 1);

	hook_answer = WEIR_PEND;
	tap_is(relay_flow_owned(&r, f), JUDGE_HOLD, "a hook may let a flow wait");
	tap_ok(f->rec->state == FLOW_OWNED && relay_flow_waits(f) && !timers_next(r.timers),
	       "its owner is known, and yet nothing may pass");
	tap_is(relay_flow_owned(&r, f), JUDGE_HOLD, "asked again it still waits");
	tap_ok(!hook_chain_woken(r.hooks), "nobody is woken");
	hook_weir->decide(hook_flow, WEIR_PASS);
	tap_ok(hook_chain_woken(r.hooks) == f && !hook_chain_woken(r.hooks),
	       "a decision wakes it, once");
	tap_ok(!relay_flow_owned(&r, f) && f->rec->state == FLOW_JUDGED && !f->rec->verdict,
	       "and it goes on");
	hook_weir->decide(hook_flow, WEIR_BLOCK);
	tap_ok(hook_chain_woken(r.hooks) == f && hook_chain_run(f, HOOK_UP) == HOOK_BLOCK &&
		       f->rec->verdict,
	       "until the hook decides to end it");
	end(f, FLOW_ENDED_BLOCKED);
	f = make(IPPROTO_UDP, 1);
	tap_is(relay_flow_owned(&r, f), JUDGE_HOLD, "another one waits");
	hook_weir->decide(hook_flow, WEIR_DROP);
	tap_ok(hook_chain_woken(r.hooks) == f && relay_flow_owned(&r, f) == JUDGE_DROP &&
		       f->rec->verdict,
	       "and is dropped");
	hook_weir->decide(hook_flow, WEIR_PASS);
	end(f, FLOW_ENDED_BLOCKED);
	tap_ok(!hook_chain_woken(r.hooks), "one that has ended is not woken");
	hook_answer = 0;
}

static void view(void *ctx, const struct flow *f, struct hook_view *v)
{
	(void)ctx;
	*v = relay_view(&r, f);
}

int main(void)
{
	const struct timers_config times = {.udp_idle = 300 * SEC, .owner_wait = SEC};
	const struct flow_table_config table = {.max_flows = cfg.max_flows};
	const struct hook_env env = {.view = view};
	char err[256];

	r.flows = flow_table_new(&table);
	r.timers = timers_new(&times, cfg.max_flows);
	r.hooks = hook_chain_new(&env);
	if (hook_chain_add_hook(r.hooks, &hook, NULL, err, sizeof(err)))
		return 1;
	test_life();
	test_timers();
	test_bounds();
	test_steered();
	test_block();
	test_pend();
	test_evict();
	test_all_back();
	hook_chain_free(r.hooks);
	timers_free(r.timers);
	flow_table_free(r.flows);
	return tap_done();
}
