/* SPDX-License-Identifier: MIT */
#include "intercept.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/icmp6.h>

#include "base/util.h"
#include "relay_in.h"
#include "relay_local.h"
#include "tun.h"

/* Packets read before sockets and timers have their turn: 64 of 64 KiB are about 2 ms. */
#define TUN_BATCH 64

/* Flows woken by hooks in one turn: each may take as long as a read. */
#define WAKE_BATCH 256

/* How long one record stands for the packets of a protocol that weir does not carry. */
#define UNSUPPORTED_KEEP (30 * 1000000000ULL)

static void judged(struct relay *r, struct flow *f, enum judge_say say);

int intercept_init(struct intercept *ic)
{
	const struct front_config fc = {
		.reass_bytes_max = 4 << 20,
		.reass_timeout_ns = 30 * 1000000000ULL,
	};
	int rc;

	ic->relay.judged = judged;
	ic->tun_batch = 1;
	ic->buf = pktbuf_get();
	ic->front = front_new(&fc, ic->relay.sink);
	if (!ic->buf || !ic->front)
		return -ENOMEM;
	rc = relay_tcp_init(&ic->relay);
	if (!rc)
		rc = relay_udp_init(&ic->relay);
	if (!rc)
		rc = relay_icmp_init(&ic->relay);
	if (!rc)
		rc = relay_in_init(&ic->relay);
	return rc;
}

void intercept_exit(struct intercept *ic)
{
	relay_in_exit(&ic->relay);
	relay_icmp_exit(&ic->relay);
	relay_udp_exit(&ic->relay);
	relay_tcp_exit(&ic->relay);
	front_free(ic->front);
	if (ic->buf)
		pktbuf_put(ic->buf);
}

void intercept_now(struct intercept *ic, uint64_t now, uint64_t wall)
{
	ic->relay.now = now;
	ic->relay.wall = wall;
}

/* --- packets -------------------------------------------------------------------------- */

/** unsupported - neither TCP, UDP nor ICMP: say so as a host without that protocol does */
static void unsupported(struct relay *r, const struct packet *p)
{
	struct icmp_error e = {.from = p->net.addr};
	const struct addrport app = {.addr = p->app.addr}, net = {.addr = p->net.addr};
	struct flow *f;

	if (dest_is_ignored(&p->net.addr)) {
		r->count.ignored_dest++;
		return;
	}
	r->count.unsupported_proto++;
	if (p->version == 4) {
		e.type = ICMP_DEST_UNREACH;
		e.code = ICMP_PROT_UNREACH;
	} else {
		e.type = ICMP6_PARAM_PROB;
		e.code = ICMP6_PARAMPROB_NEXTHEADER;
		e.info = 6; /* of the Next Header field in the IPv6 header (RFC 4443, 3.4) */
	}
	icmp_send_error(r->sink, p, &e);
	f = flow_find(r->flows, p->proto, &app, &net);
	if (!f) {
		f = relay_flow_new(r, p->proto, &app, &net);
		if (!f)
			return;
		timers_set(r->timers, f, r->now + UNSUPPORTED_KEEP);
	}
	f->rec->up.packets++;
	f->rec->up.bytes += p->l4len;
	f->rec->last = r->now;
}

static void dispatch(struct intercept *ic, const struct packet *p, struct pktbuf *buf)
{
	struct relay *r = &ic->relay;

	switch (p->proto) {
	case IPPROTO_TCP:
		relay_tcp_packet(r, p, buf);
		break;
	case IPPROTO_UDP:
		relay_udp_packet(r, p, buf);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		relay_icmp_packet(r, p, buf);
		break;
	default:
		unsupported(r, p);
	}
}

/** one_packet - returns 0, or tun_read()'s -errno */
static int one_packet(struct intercept *ic)
{
	struct pktbuf *whole = ic->buf;
	struct packet p;
	ssize_t n;

	if (!ic->buf) {
		ic->buf = whole = pktbuf_get();
		if (!whole)
			return -ENOMEM;
	}
	n = tun_read(ic->tun_fd, ic->buf);
	if (n < 0)
		return (int)n;
	if (front_read(ic->front, ic->buf, 0, (size_t)n, ic->relay.now, &p, &whole) == FRONT_PACKET)
		dispatch(ic, &p, whole);
	if (whole != ic->buf)
		pktbuf_put(whole);
	if (ic->buf->refs > 1) { /* somebody keeps bytes of it */
		pktbuf_put(ic->buf);
		ic->buf = NULL;
	}
	return 0;
}

bool intercept_tun(struct intercept *ic)
{
	int rc = 0, n = 0;

	/*
	 * The read that finds nothing is saved where packets come one by one: as
	 * many are read as came last time, and four times that when all were there.
	 */
	while (n < ic->tun_batch && !(rc = one_packet(ic)))
		n++;
	ic->tun_batch = rc ? MAX(n, 1) : MIN(4 * n, TUN_BATCH);
	engine_settle();
	relay_udp_flush(&ic->relay);
	return !rc;
}

/* --- sockets --------------------------------------------------------------------------- */

void intercept_event(struct intercept *ic, const struct epoll_event *ev)
{
	struct relay *r = &ic->relay;
	uint64_t token = ev->data.u64;
	const struct flow_ref ref = {netsock_token_index(token), netsock_token_gen(token)};
	struct flow *f;

	switch (netsock_token_kind(token)) {
	case NETSOCK_TCP:
		f = flow_get(r->flows, ref);
		if (f && f->relay)
			relay_tcp_net(r, f, ev->events);
		break;
	case NETSOCK_UDP:
		relay_udp_net(r, token, ev->events);
		break;
	case NETSOCK_ICMP:
		relay_icmp_net(r, token, ev->events);
		break;
	case NETSOCK_LOCAL:
		relay_local_net(r, token, ev->events);
		break;
	case NETSOCK_LISTEN:
		relay_in_event(r, token);
		break;
	case NETSOCK_TUN:
	case NETSOCK_LOOP:
		break; /* the worker's */
	}
}

/* --- owners, deadlines, turns ------------------------------------------------------------ */

/* A protocol that weir does not carry: a record, and nothing else. */

static void unsupported_owned(struct relay *r, struct flow *f)
{
	if (relay_flow_owned(r, f) == JUDGE_PASS)
		flow_set_state(r->flows, f, FLOW_OPEN);
	timers_set(r->timers, f, r->now + UNSUPPORTED_KEEP);
}

static void unsupported_judged(struct relay *r, struct flow *f, enum judge_say say)
{
	(void)r;
	(void)f;
	(void)say; /* it is refused anyway */
}

static void unsupported_woken(struct relay *r, struct flow *f)
{
	(void)r;
	(void)f; /* there is no payload */
}

static void unsupported_end(struct relay *r, struct flow *f)
{
	relay_flow_end(r, f, FLOW_ENDED_UNSUPPORTED);
	flow_release(r->flows, f);
}

static void nothing_to_free(struct relay *r, struct flow *f)
{
	(void)r;
	(void)f;
}

/** struct relay_ops - what happens to a flow, as its relay answers it (relay.h) */
struct relay_ops {
	void (*owned)(struct relay *r, struct flow *f);
	void (*judged)(struct relay *r, struct flow *f, enum judge_say say);
	void (*woken)(struct relay *r, struct flow *f);
	void (*timeout)(struct relay *r, struct flow *f);
	void (*stop)(struct relay *r, struct flow *f);
	void (*freeing)(struct relay *r, struct flow *f);
};

static const struct relay_ops *ops_of(const struct flow *f)
{
	static const struct relay_ops tcp = {relay_tcp_owned, relay_tcp_judged,
					     relay_tcp_woken, relay_tcp_timeout,
					     relay_tcp_stop,  relay_tcp_freeing};
	static const struct relay_ops udp = {relay_udp_owned, relay_udp_judged,
					     relay_udp_woken, relay_udp_timeout,
					     relay_udp_stop,  relay_udp_freeing};
	static const struct relay_ops icmp = {relay_icmp_owned, relay_icmp_judged,
					      relay_icmp_woken, relay_icmp_timeout,
					      relay_icmp_stop,	relay_icmp_freeing};
	static const struct relay_ops local = {relay_local_owned, relay_local_judged,
					       relay_local_woken, relay_local_stop,
					       relay_local_stop,  nothing_to_free};
	static const struct relay_ops none = {unsupported_owned, unsupported_judged,
					      unsupported_woken, unsupported_end,
					      unsupported_end,	 nothing_to_free};

	if (f->local)
		return &local;
	switch (f->rec->proto) {
	case IPPROTO_TCP:
		return &tcp;
	case IPPROTO_UDP:
		return &udp;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return &icmp;
	default:
		return &none;
	}
}

static void judged(struct relay *r, struct flow *f, enum judge_say say)
{
	ops_of(f)->judged(r, f, say);
}

static void set_owner(struct flow *f, const struct owner_answer *a, const struct owner *o)
{
	f->rec->owner = o ? a->owner : 0;
	f->rec->owner_uid = a->uid;
	f->rec->owner_why = a->why;
	f->rec->inode = a->inode;
	f->rec->cookie = a->cookie;
	f->owner = o;
}

const struct owner *intercept_owner(struct intercept *ic, struct flow_ref ref,
				    const struct owner_answer *a, const struct owner *o)
{
	struct flow *f = flow_get(ic->relay.flows, ref);

	if (f && f->rec->state == FLOW_NEW) {
		set_owner(f, a, o);
		ops_of(f)->owned(&ic->relay, f);
		return NULL;
	}
	/* Asked for a second time; an answer that knows less than the first is none. */
	if (f && f->rec->reason == FLOW_ENDED_NOT && o) {
		const struct owner *was = f->owner;

		set_owner(f, a, o);
		judge_again(&ic->relay, f);
		return was;
	}
	return o;
}

static void deadline(struct relay *r, struct flow *f)
{
	if (f->rec->state == FLOW_NEW) {
		f->rec->owner_why = OWNER_NO_ANSWER;
		ops_of(f)->owned(r, f);
		return;
	}
	if (f->held || f->gated)
		judge_timeout(r, f);
	else
		ops_of(f)->timeout(r, f);
}

void intercept_deadlines(struct intercept *ic)
{
	struct flow *f;

	while ((f = timers_pop(ic->relay.timers, ic->relay.now)))
		deadline(&ic->relay, f);
}

void intercept_tick(struct intercept *ic)
{
	struct relay *r = &ic->relay;
	uint64_t cookie;
	unsigned ev;

	front_tick(ic->front, r->now);
	engine_tick();
	while (engine_next(&cookie, &ev)) {
		struct flow *f = flow_get(r->flows, flow_ref_unpack(cookie));

		if (f && f->relay)
			relay_tcp_engine(r, f, ev);
	}
	relay_tcp_tick(r);
	relay_in_tick(r);
}

bool intercept_wants_tick(const struct intercept *ic)
{
	return engine_live() || front_waits(ic->front) || relay_in_waits(&ic->relay);
}

static void freeing(void *ctx, struct flow *f)
{
	struct relay *r = ctx;

	timers_clear(r->timers, f);
	ops_of(f)->freeing(r, f);
}

/** wake - flows for which hooks have done something; true: there are more of them */
static bool wake(struct relay *r)
{
	struct flow *f;

	for (int n = 0; n < WAKE_BATCH; n++) {
		f = hook_chain_woken(r->hooks);
		if (!f)
			return false;
		if (f->rec->state == FLOW_OWNED)
			ops_of(f)->owned(r, f);
		else
			ops_of(f)->woken(r, f);
	}
	return true;
}

bool intercept_turn_end(struct intercept *ic)
{
	bool more = judge_turn(&ic->relay);

	more |= wake(&ic->relay);
	more |= relay_tcp_resume(&ic->relay);
	relay_udp_flush(&ic->relay);
	flow_reap(ic->relay.flows, freeing, &ic->relay);
	return more;
}

struct idle_walk {
	const struct relay *r;
	bool idle;
};

static void check_idle(void *ctx, struct flow *f)
{
	struct idle_walk *w = ctx;

	if (f->rec->proto == IPPROTO_TCP && !f->local)
		w->idle &= relay_tcp_idle(w->r, f);
	else if (f->rec->proto == IPPROTO_UDP)
		w->idle &= relay_udp_idle(f);
}

bool intercept_idle(struct intercept *ic)
{
	struct idle_walk w = {.r = &ic->relay, .idle = true};

	flow_each(ic->relay.flows, check_idle, &w);
	return w.idle;
}

static void stop_flow(void *ctx, struct flow *f)
{
	if (!f->reaping)
		ops_of(f)->stop(ctx, f);
}

void intercept_stop(struct intercept *ic)
{
	flow_each(ic->relay.flows, stop_flow, &ic->relay);
	intercept_turn_end(ic);
}
