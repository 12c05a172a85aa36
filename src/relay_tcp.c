/* SPDX-License-Identifier: MIT */
/*
 * relay_tcp: the life of a TCP flow.
 *
 * The program's SYN is held while two things happen side by side: the real
 * connect, and the look-up of the owner. (One after the other, where rules may refuse
 * that owner.) Only when both are known, and rules let the flow pass, is the SYN
 * answered: by lwIP's SYN-ACK, or as the network answered us (RST, ICMP error,
 * silence). A repeated SYN meanwhile says that the program still waits.
 *
 * Open, a flow is two pumps (relay_tcp_pump.c). Each side's FIN and RST goes to
 * the other side behind the bytes that came before it:
 *
 *   program FIN   app_fin -> queue empty -> shutdown(socket)       up_shut
 *   peer FIN      net_fin -> held empty  -> engine_shutdown()      down_shut
 *   program RST   socket is closed with a RST, at once
 *   peer RST      what can still be read goes first, then engine_abort()
 *
 * A connection that a peer makes to a program (inbound) is accepted before anybody knows whether
 * the program wants it: a listening socket offers no other way. When its owner is known
 * and hooks have seen it, lwIP opens the program's side, with the peer's address as its own. From
 * then on it is like any other: the pumps do not know the difference. A refusal inside
 * becomes a reset outside.
 *
 * lwIP being done (closed) is not the end: bytes may wait for the socket. The
 * flow leaves the hash then, so that a new SYN may use the 5-tuple, and ends when
 * the queue is empty.
 */
#include "relay_tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "dnsstream.h"

int relay_tcp_init(struct relay *r)
{
	r->tcp = malloc(sizeof(*r->tcp));
	if (!r->tcp)
		return -ENOMEM;
	*r->tcp = (struct relay_tcp_state){.bufs = {NULL}};
	TAILQ_INIT(&r->tcp->half_open);
	return 0;
}

void relay_tcp_exit(struct relay *r)
{
	for (int i = 0; r->tcp && i < RELAY_TCP_BUFS; i++) {
		if (r->tcp->bufs[i])
			pktbuf_put(r->tcp->bufs[i]);
	}
	free(r->tcp);
	r->tcp = NULL;
}

/* --- the SYN --------------------------------------------------------------------------
 *
 * A program may give a connect up without a word (a time-out of its own, an
 * exit): its kernel just stops to repeat the SYN, while ours goes on trying for
 * minutes. So when --max-half-open is reached, the flow whose SYN was seen the
 * longest ago makes room. Silently: a program that does still wait repeats its
 * SYN, and starts again.
 */

/* A kernel's first pauses between two SYNs are a second; a shorter silence says nothing. */
#define SYN_SILENCE (2 * NSEC_PER_SEC)

/* The last pause between two SYNs is 64 s. For so long one that rules drop is remembered. */
#define SILENCE_KEEP (75 * NSEC_PER_SEC)

static void drop_syn(struct relay *r, struct relay_tcp *rt)
{
	if (!rt->syn)
		return;
	TAILQ_REMOVE(&r->tcp->half_open, rt->syn, waiting);
	free(rt->syn);
	rt->syn = NULL;
}

/** hold_syn - keep a copy of @p, in place of an older one */
static int hold_syn(struct relay *r, struct flow *f, const struct packet *p)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	struct held_syn *h = malloc(sizeof(*h) + p->len);

	if (!h)
		return -ENOMEM;
	h->flow = f;
	h->seen = r->now;
	h->len = (uint16_t)p->len;
	memcpy(h->data, p->data, p->len);
	drop_syn(r, rt);
	rt->syn = h;
	TAILQ_INSERT_TAIL(&r->tcp->half_open, h, waiting);
	return 0;
}

static bool held_syn(const struct relay_tcp *rt, struct packet *p)
{
	if (!rt->syn || packet_parse(p, rt->syn->data, rt->syn->len) != PACKET_OK)
		return false;
	p->csum_trusted = true;
	return true;
}

/** syn_again - the same one, or the program's second try from the same port */
static void syn_again(struct relay *r, struct flow *f, const struct packet *p)
{
	struct held_syn *h = relay_tcp_of(f)->syn;
	struct packet held;

	if (!held_syn(relay_tcp_of(f), &held))
		return;
	if (held.tcp.seq != p->tcp.seq) {
		hold_syn(r, f, p);
		return;
	}
	h->seen = r->now;
	if (f->rec->verdict == FLOW_DROP)
		timers_set(r->timers, f, r->now + SILENCE_KEEP);
	TAILQ_REMOVE(&r->tcp->half_open, h, waiting);
	TAILQ_INSERT_TAIL(&r->tcp->half_open, h, waiting);
}

/* --- ends ------------------------------------------------------------------------- */

static struct relay_tcp_dials *dials_of(struct relay *r, const struct flow *f)
{
	return &r->tcp->dials[f->rec->app.port % RELAY_TCP_DIALS];
}

/** dial_answered - by whatever, or never any more: the next one may be on its way */
static void dial_answered(struct relay *r, const struct flow *f)
{
	struct relay_tcp_dials *d = dials_of(r, f);

	if (d->unanswered == relay_tcp_of(f))
		d->unanswered = NULL;
}

static void unlink_from(struct relay_tcp_list *list, struct flow *f)
{
	struct flow **link = &list->first, *before = NULL;

	while (*link && *link != f) {
		before = *link;
		link = &relay_tcp_of(before)->next;
	}
	if (!*link)
		return;
	*link = relay_tcp_of(f)->next;
	if (list->last == f)
		list->last = before;
	list->n--;
}

static void list_append(struct relay_tcp_list *list, struct flow *f)
{
	relay_tcp_of(f)->next = NULL;
	if (list->last)
		relay_tcp_of(list->last)->next = f;
	else
		list->first = f;
	list->last = f;
	list->n++;
}

static void dial_wait_over(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (!rt->waiting)
		return;
	unlink_from(&dials_of(r, f)->waiting, f);
	rt->waiting = false;
	r->tcp->waiting--;
}

/** relay_tcp_end - the flow is over; sockets not closed by the caller end in order */
void relay_tcp_end(struct relay *r, struct flow *f, enum flow_reason reason)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	relay_flow_end(r, f, reason);
	if (rt->queued) {
		unlink_from(&r->tcp->ready, f);
		unlink_from(&r->tcp->starved, f);
	}
	dial_wait_over(r, f);
	dial_answered(r, f);
	netsock_close(&rt->fd);
	engine_free(rt->conn);
	drop_syn(r, rt);
	free(rt->held);
	dnsstream_free(rt->dns);
	free(rt);
	f->relay = NULL;
	flow_release(r->flows, f);
}

/** reset_both - RST to each side that is still there */
static void reset_both(struct relay *r, struct flow *f, enum flow_reason reason)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (rt->conn && !rt->closed)
		engine_abort(rt->conn);
	netsock_reset(&rt->fd);
	relay_tcp_end(r, f, reason);
}

void relay_tcp_blocked(struct relay *r, struct flow *f, enum flow_reason reason)
{
	struct packet syn;

	if (held_syn(relay_tcp_of(f), &syn))
		icmp_reset_tcp(r->sink, &syn);
	reset_both(r, f, reason);
}

void relay_tcp_refused(struct relay *r, struct flow *f, int rc)
{
	if (rc == HOOK_LIMIT) {
		r->count.buffer_full++;
		r->notice(r->ctx, "flow-buffer", "a hook holds more than --flow-buffer allows");
	}
	relay_tcp_blocked(r, f, rc == HOOK_LIMIT ? FLOW_ENDED_LIMIT : FLOW_ENDED_BLOCKED);
}

/**
 * relay_tcp_net_failed - the real connection broke
 *
 * A peer that fell silent (ETIMEDOUT) has sent nothing, so nothing is sent to
 * the program where its kernel will find out by itself. Otherwise it would wait
 * for ever, and a RST is the nearest.
 */
void relay_tcp_net_failed(struct relay *r, struct flow *f, int err)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	f->rec->net_errno = err;
	if (err == ETIMEDOUT && rt->keepalive && rt->conn && !rt->closed) {
		relay_tcp_die(r, f);
		return;
	}
	f->rec->down.rst = 1;
	if (rt->conn && !rt->closed)
		engine_abort(rt->conn);
	relay_tcp_end(r, f, err == ETIMEDOUT ? FLOW_ENDED_TIMEOUT : FLOW_ENDED_RESET_NET);
}

/** down_waits - the program has not been given all that was read for it */
static bool down_waits(const struct flow *f)
{
	const uint8_t *made;

	return relay_tcp_of(f)->held_len || hook_chain_output(f, HOOK_DOWN, &made);
}

/**
 * relay_tcp_net_broken - the real connection broke; false when the flow has ended
 *
 * What the peer sent before goes first, for as long as the program only reads;
 * one that writes has to learn that nobody takes its bytes.
 */
bool relay_tcp_net_broken(struct relay *r, struct flow *f, int err)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (!rt->net_err)
		rt->net_err = (int16_t)err;
	if (rt->conn && !rt->closed && !rt->net_fin) {
		rt->net_readable = rt->net_over = true;
		if (!relay_tcp_pump_down(r, f))
			return false;
		if (!engine_pending(rt->conn) && (down_waits(f) || netsock_unread(rt->fd)))
			return true;
	}
	relay_tcp_net_failed(r, f, rt->net_err);
	return false;
}

static void app_reset(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	f->rec->up.rst = 1;
	rt->closed = true;
	netsock_reset(&rt->fd);
	relay_tcp_end(r, f, FLOW_ENDED_RESET_APP);
}

/* --- quotas ------------------------------------------------------------------------------
 *
 * What a quota has let pass shall arrive, to the byte, and a reset may throw away what is still
 * under way: so it comes when all is acknowledged, or nobody takes it.
 */

#define CUT_LOOK (5 * NSEC_PER_MSEC)
#define CUT_WAIT (5 * NSEC_PER_SEC)

/** relay_tcp_spent - no byte more may pass */
void relay_tcp_spent(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (rt->cut)
		return;
	rt->cut = true;
	rt->probing = false;
	rt->cut_until = r->now + CUT_WAIT;
	judge_spent(r, f);
	timers_set(r->timers, f, r->now + CUT_LOOK);
}

static void cut_look(struct relay *r, struct flow *f)
{
	const struct relay_tcp *rt = relay_tcp_of(f);

	if (r->now < rt->cut_until && (engine_unacked(rt->conn) || netsock_unsent(rt->fd) > 0))
		timers_set(r->timers, f, r->now + CUT_LOOK);
	else
		reset_both(r, f, FLOW_ENDED_BLOCKED);
}

/** settle - after any event: is it over? */
static void settle(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (rt->closed && rt->up_shut)
		relay_tcp_end(r, f, FLOW_ENDED_FIN);
	else if (rt->closed && f->rec->state != FLOW_CLOSING)
		flow_set_state(r->flows, f, FLOW_CLOSING);
	else if (rt->up_shut && rt->down_shut && !f->deadline)
		timers_set(r->timers, f, r->now + timers_config(r->timers)->tcp_closing);
}

/* --- connecting -------------------------------------------------------------------- */

/** is_ours - the failure is weir's or this host's lack, and says nothing about the peer */
static bool is_ours(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS ||
	       err == EADDRNOTAVAIL;
}

/** refuse - tell the program's kernel what ours was told */
static void refuse(struct relay *r, struct flow *f, int err)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	struct icmp_error e;
	struct packet syn;

	f->rec->net_errno = err;
	if (is_ours(err)) {
		/* Silence: the program's kernel repeats its SYN, and may have more luck. */
		r->notice(r->ctx, "connect", "cannot connect for the program: %s", strerror(err));
		relay_tcp_end(r, f, FLOW_ENDED_LIMIT);
		return;
	}
	if (err != ETIMEDOUT && held_syn(rt, &syn)) {
		if (err == ECONNREFUSED) {
			icmp_reset_tcp(r->sink, &syn);
		} else {
			icmp_error_for_errno(err, &f->rec->net.addr, r->mtu, &e);
			icmp_send_error(r->sink, &syn, &e);
		}
	}
	relay_tcp_end(r, f, err == ETIMEDOUT ? FLOW_ENDED_TIMEOUT : FLOW_ENDED_REFUSED);
}

/** accept_held - lwIP answers the SYN */
static int accept_held(struct relay_tcp *rt, struct flow *f)
{
	struct packet syn;

	if (!held_syn(rt, &syn))
		return -EBADMSG;
	return engine_accept(&syn, flow_ref_pack(flow_ref(f)), &rt->conn);
}

/** connected_late - the SYN was answered before; what the program has sent meanwhile goes on */
static void connected_late(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (rt->connect_err)
		relay_tcp_net_failed(r, f, rt->connect_err);
	else if (rt->connected && relay_tcp_pump_down(r, f) && relay_tcp_pump_up(r, f))
		settle(r, f);
}

/** answer - both the connect and the owner are known: answer the held SYN */
static void answer(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (rt->early) {
		connected_late(r, f);
		return;
	}
	if (rt->conn || relay_flow_waits(f))
		return;
	if (rt->connect_err) {
		refuse(r, f, rt->connect_err);
		return;
	}
	if (!rt->connected)
		return;
	if (accept_held(rt, f)) {
		reset_both(r, f, FLOW_ENDED_LIMIT);
		return;
	}
	drop_syn(r, rt);
}

static void connect_result(struct relay *r, struct flow *f, int err)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	rt->connect_err = (int16_t)err;
	if (!err) {
		rt->connected = true;
		rt->net_writable = true;
		f->rec->connected = r->now;
	}
	answer(r, f);
}

/* --- from outside ---------------------------------------------------------------------- */

/*
 * A burst of peers has been accepted here before the server could slow it down, and would arrive
 * there at once. A server's kernel looks for room in its backlog when a SYN comes, and again at the
 * end of the handshake; who comes then and finds it taken is forgotten, if the SYN was answered by
 * a cookie, and a client that waits for a greeting waits for ever. So to each server one SYN at a
 * time is on its way: then who finds room keeps it, and who finds none gets no answer, so that lwIP
 * tries again later. That one does not hold up the others.
 */
#define DIAL_SOON (20 * NSEC_PER_MSEC) /* an answer comes at once or never */

/** dial_now - open the program's side of @f */
static void dial_now(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	struct relay_tcp_dials *d = dials_of(r, f);
	int rc = engine_connect(&f->rec->app, &f->rec->net, flow_ref_pack(flow_ref(f)), &rt->conn);

	if (rc) {
		netsock_reset(&rt->fd);
		relay_tcp_end(r, f, FLOW_ENDED_LIMIT);
		return;
	}
	d->unanswered = rt;
	d->since = r->now;
}

static bool dial_may(const struct relay *r, const struct relay_tcp_dials *d)
{
	return !d->unanswered || r->now - d->since >= DIAL_SOON;
}

/** dial_waiting - those whose turn it is */
static void dial_waiting(struct relay *r, struct relay_tcp_dials *d)
{
	while (d->waiting.first && dial_may(r, d)) {
		struct flow *f = d->waiting.first;

		dial_wait_over(r, f);
		dial_now(r, f);
	}
}

/** dial - the owner of an inbound flow is known, hooks let it pass: open the program's side */
static void dial(struct relay *r, struct flow *f)
{
	struct relay_tcp_dials *d = dials_of(r, f);

	list_append(&d->waiting, f);
	relay_tcp_of(f)->waiting = true;
	r->tcp->waiting++;
	dial_waiting(r, d);
}

/** refused_inside - the program's kernel answered with a reset (or with silence) */
static void refused_inside(struct relay *r, struct flow *f, unsigned ev)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	bool silent = ev & ENGINE_EV_SILENT;

	f->rec->app_errno = silent ? ETIMEDOUT : ECONNREFUSED;
	f->rec->up.rst = !silent;
	rt->closed = true;
	netsock_reset(&rt->fd);
	relay_tcp_end(r, f, silent ? FLOW_ENDED_TIMEOUT : FLOW_ENDED_REFUSED);
}

void relay_tcp_accepted(struct relay *r, const struct relay_peer *p, int fd)
{
	struct flow *f = relay_flow_new_in(r, IPPROTO_TCP, p);
	struct relay_tcp *rt = f ? calloc(1, sizeof(*rt)) : NULL;
	struct flow_ref ref;

	if (!rt) {
		netsock_reset(&fd);
		if (f) {
			relay_flow_end(r, f, FLOW_ENDED_LIMIT);
			flow_release(r->flows, f);
		}
		return;
	}
	f->relay = rt;
	rt->fd = fd;
	rt->connected = rt->net_writable = true;
	ref = flow_ref(f);
	if (netsock_watch(r->socks, fd, netsock_token(NETSOCK_TCP, ref.index, ref.gen))) {
		netsock_reset(&rt->fd);
		relay_tcp_end(r, f, FLOW_ENDED_LIMIT);
	}
}

/** ask_again - the program has taken the connection: ask who has the accepted socket */
static void ask_again(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (!f->rec->inbound || rt->served)
		return;
	rt->served = true;
	r->ask_owner(r->ctx, f);
}

/** make_room - one flow less at --max-half-open, if one looks given up */
static void make_room(struct relay *r)
{
	struct held_syn *h = TAILQ_FIRST(&r->tcp->half_open);
	struct flow *f;

	if (!h || flow_count_half_open(r->flows) < r->cfg->max_half_open ||
	    r->now - h->seen < SYN_SILENCE)
		return;
	f = h->flow;
	netsock_reset(&relay_tcp_of(f)->fd);
	relay_tcp_end(r, f, FLOW_ENDED_APP_GONE);
}

/** start_connect - ask the network */
static void start_connect(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	const struct flow_ref ref = flow_ref(f);
	struct addrport to;
	int rc = dest_out(&r->dest, &f->rec->net, &to);

	if (!rc)
		rc = netsock_tcp_connect(r->socks, &to,
					 netsock_token(NETSOCK_TCP, ref.index, ref.gen), &rt->fd);
	if (rc != -EINPROGRESS)
		connect_result(r, f, -rc);
}

/**
 * first_syn - a new flow: the owner is looked up
 *
 * Meanwhile the real connect starts, unless rules may yet refuse it.
 */
static void first_syn(struct relay *r, const struct packet *p)
{
	struct relay_tcp *rt;
	struct flow *f;

	make_room(r);
	f = relay_flow_new(r, IPPROTO_TCP, &p->app, &p->net);
	if (!f)
		return;
	rt = calloc(1, sizeof(*rt));
	if (!rt) {
		relay_flow_end(r, f, FLOW_ENDED_LIMIT);
		flow_release(r->flows, f);
		return;
	}
	rt->fd = -1;
	f->relay = rt;
	if (hold_syn(r, f, p)) {
		relay_tcp_end(r, f, FLOW_ENDED_LIMIT);
		return;
	}
	f->rec->up.packets++;
	if (judge_early(r, f))
		start_connect(r, f);
}

/** early_segment - something on a flow whose SYN is not answered yet */
static void early_segment(struct relay *r, struct flow *f, const struct packet *p)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (packet_is_tcp_syn(p) && !f->rec->inbound) {
		syn_again(r, f, p);
		return;
	}
	if (p->tcp.flags & TCPF_RST) {
		if (f->rec->inbound) /* of an older connection: ours has not been seen inside */
			return;
		f->rec->up.rst = 1;
		netsock_reset(&rt->fd);
		relay_tcp_end(r, f,
			      f->rec->verdict == FLOW_DROP ? FLOW_ENDED_BLOCKED
							   : FLOW_ENDED_APP_GONE);
		return;
	}
	icmp_reset_tcp(r->sink, p);
}

void relay_tcp_packet(struct relay *r, const struct packet *p, struct pktbuf *buf)
{
	struct flow *f = flow_find(r->flows, IPPROTO_TCP, &p->app, &p->net);

	if (f && relay_tcp_of(f)->dead) {
		relay_tcp_dead_packet(r, f, p);
	} else if (f && relay_tcp_of(f)->conn) {
		f->rec->up.packets++;
		relay_tcp_engine(r, f, engine_input(relay_tcp_of(f)->conn, p, buf));
	} else if (f) {
		early_segment(r, f, p);
	} else if (dest_is_ignored(&p->net.addr)) {
		r->count.ignored_dest++;
	} else if (packet_is_tcp_syn(p)) {
		first_syn(r, p);
	} else {
		r->count.stray_segments++;
		icmp_reset_tcp(r->sink, p);
	}
}

/* --- what rules say --------------------------------------------------------------------- */

#define DOOMED_KEEP (10 * NSEC_PER_SEC) /* for the program's half of the handshake */

/** refuse_syn - as by a host where nobody listens */
static void refuse_syn(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	struct packet syn;

	if (held_syn(rt, &syn))
		icmp_reset_tcp(r->sink, &syn);
	reset_both(r, f, FLOW_ENDED_BLOCKED);
}

/** keep_silent - no answer, now and to the SYNs that are still to come */
static void keep_silent(struct relay *r, struct flow *f)
{
	netsock_reset(&relay_tcp_of(f)->fd);
	timers_set(r->timers, f, r->now + SILENCE_KEEP);
}

/** doom - the program shall see its connection made, and then reset */
static void doom(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	netsock_reset(&rt->fd);
	if (f->rec->inbound || accept_held(rt, f)) {
		reset_both(r, f, FLOW_ENDED_BLOCKED);
		return;
	}
	drop_syn(r, rt);
	rt->doomed = true;
	timers_set(r->timers, f, r->now + DOOMED_KEEP);
}

/** accept_early - the payload is judged before the network is asked (--judge-before-connect) */
static void accept_early(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	rt->early = true;
	if (accept_held(rt, f))
		reset_both(r, f, FLOW_ENDED_LIMIT);
	else
		drop_syn(r, rt);
}

/** let_in - nothing speaks against it (any more) */
static void let_in(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	flow_set_state(r->flows, f, FLOW_CONNECTING);
	if (f->rec->inbound)
		dial(r, f);
	else if (rt->fd >= 0 || rt->connect_err)
		answer(r, f);
	else if (f->gated && r->cfg->judge_before_connect)
		accept_early(r, f);
	else
		start_connect(r, f);
}

static void judged_syn(struct relay *r, struct flow *f, enum judge_say say)
{
	if (say == JUDGE_DROP && f->rec->by == FLOW_BY_HOOK) { /* who wants no more of it */
		drop_syn(r, relay_tcp_of(f));
		say = JUDGE_BLOCK;
	}
	switch (say) {
	case JUDGE_PASS:
		let_in(r, f);
		break;
	case JUDGE_HOLD:
		break;
	case JUDGE_DROP:
		keep_silent(r, f);
		break;
	case JUDGE_RESET:
		doom(r, f);
		break;
	case JUDGE_BLOCK:
		refuse_syn(r, f);
	}
}

void relay_tcp_owned(struct relay *r, struct flow *f)
{
	judged_syn(r, f, relay_flow_owned(r, f));
}

void relay_tcp_judged(struct relay *r, struct flow *f, enum judge_say say)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (f->rec->state == FLOW_OWNED && !rt->conn)
		say = relay_flow_passed(r, f, say);
	if (f->rec->state <= FLOW_JUDGED && !rt->conn)
		judged_syn(r, f, say);
	else if (say != JUDGE_PASS && say != JUDGE_HOLD)
		refuse_syn(r, f);
	else if (say == JUDGE_PASS)
		relay_tcp_woken(r, f);
}

/* --- open -------------------------------------------------------------------------- */

void relay_tcp_engine(struct relay *r, struct flow *f, unsigned ev)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if ((ev & ENGINE_EV_RESET) && f->rec->inbound && f->rec->state == FLOW_CONNECTING) {
		refused_inside(r, f, ev);
		return;
	}
	if (ev & ENGINE_EV_RESET) {
		app_reset(r, f);
		return;
	}
	if (rt->dead)
		return;
	if ((ev & ENGINE_EV_OPEN) && rt->doomed) {
		reset_both(r, f, FLOW_ENDED_BLOCKED);
		return;
	}
	if (ev & ENGINE_EV_OPEN) {
		if (f->rec->inbound) {
			f->rec->connected = r->now;
			dial_answered(r, f);
			dial_waiting(r, dials_of(r, f));
		}
		flow_set_state(r->flows, f, FLOW_OPEN);
		r->flow_opened(r->ctx, f);
		judge_opened(r, f);
		ev |= ENGINE_EV_ROOM;
	}
	if ((ev & ENGINE_EV_KEEPALIVE) && !rt->cut)
		relay_tcp_probe(r, f);
	if (ev & ENGINE_EV_CLOSED)
		rt->closed = true;
	if (ev & ENGINE_EV_FIN)
		rt->app_fin = true;
	if (ev & (ENGINE_EV_DATA | ENGINE_EV_FIN))
		ask_again(r, f);
	/* From the start there may be something that hooks have made before. */
	if ((ev & (ENGINE_EV_DATA | ENGINE_EV_FIN | ENGINE_EV_OPEN)) && !relay_tcp_pump_up(r, f))
		return;
	if ((ev & ENGINE_EV_ROOM) && !rt->closed && !relay_tcp_pump_down(r, f))
		return;
	settle(r, f);
}

void relay_tcp_woken(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	int rc;

	if (rt->early && rt->fd < 0 && !f->gated && !f->held) {
		start_connect(r, f);
		if (!f->relay) /* there is no way */
			return;
	}
	rc = hook_chain_run(f, HOOK_UP);

	if (!rc)
		rc = hook_chain_run(f, HOOK_DOWN);
	if (rc) {
		relay_tcp_refused(r, f, rc);
		return;
	}
	if (rt->dead || !rt->conn || f->rec->state < FLOW_OPEN)
		return;
	if (!relay_tcp_pump_up(r, f) || (!rt->closed && !relay_tcp_pump_down(r, f)))
		return;
	settle(r, f);
}

/**
 * connect_event - the connect is decided
 *
 * ECONNRESET is no answer to a SYN (that is ECONNREFUSED): the connection was
 * made and then reset, and the program sees it happen in this order too.
 */
static void connect_event(struct relay *r, struct flow *f, uint32_t ev)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	int err = netsock_error(rt->fd);

	if (!err && !(ev & EPOLLOUT))
		return;
	if (ev & (EPOLLIN | EPOLLRDHUP | EPOLLERR))
		rt->net_readable = true;
	if (ev & (EPOLLPRI | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		rt->net_over = true;
	if (err == ECONNRESET) {
		rt->net_err = (int16_t)err;
		err = 0;
	}
	connect_result(r, f, err);
}

/** unanswered_event - connected, but the program's SYN still waits for the owner */
static void unanswered_event(struct relay_tcp *rt, uint32_t ev)
{
	if ((ev & EPOLLERR) && !rt->net_err)
		rt->net_err = (int16_t)netsock_error(rt->fd);
}

/** net_error - true when the socket had an error and the flow has ended */
static bool net_error(struct relay *r, struct flow *f)
{
	int err = netsock_error(relay_tcp_of(f)->fd);

	return err && !relay_tcp_net_broken(r, f, err);
}

void relay_tcp_net(struct relay *r, struct flow *f, uint32_t ev)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (!rt->connected) {
		if (!rt->connect_err)
			connect_event(r, f, ev);
		return;
	}
	if (rt->dead)
		return;
	if (ev & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		rt->net_readable = true;
	if (ev & (EPOLLPRI | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		rt->net_over = true;
	if (ev & EPOLLOUT)
		rt->net_writable = true;
	if (!rt->conn) {
		unanswered_event(rt, ev);
		return;
	}
	if (!rt->closed && !relay_tcp_pump_down(r, f))
		return;
	if ((ev & EPOLLERR) && net_error(r, f))
		return;
	if (!relay_tcp_pump_up(r, f))
		return;
	settle(r, f);
}

void relay_tcp_timeout(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (f->rec->state <= FLOW_JUDGED) /* silence was kept, or nobody completes what is doomed */
		reset_both(r, f, FLOW_ENDED_BLOCKED);
	else if (rt->cut)
		cut_look(r, f);
	else if (rt->probing)
		relay_tcp_probe_poll(r, f);
	else if (rt->dead)
		relay_tcp_end(r, f, FLOW_ENDED_TIMEOUT);
	else if (rt->up_shut && rt->down_shut && engine_unacked(rt->conn))
		/* A slow reader: lwIP is the one that knows whether it is there at all. */
		timers_set(r->timers, f, r->now + timers_config(r->timers)->tcp_closing);
	else if (rt->up_shut && rt->down_shut)
		reset_both(r, f, FLOW_ENDED_FIN);
}

void relay_tcp_stop(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	/* A transfer that is cut off must not look complete to the peer. */
	bool complete = rt->up_shut;
	bool refused = f->rec->state == FLOW_OWNED && !f->held;

	if (!complete)
		netsock_reset(&rt->fd);
	relay_tcp_end(r, f,
		      complete	? FLOW_ENDED_FIN
		      : refused ? FLOW_ENDED_BLOCKED
				: FLOW_ENDED_SHUTDOWN);
}

void relay_tcp_freeing(struct relay *r, struct flow *f)
{
	(void)r;
	weir_assert(!f->relay);
}

bool relay_tcp_idle(const struct relay *r, const struct flow *f)
{
	const struct relay_tcp *rt = relay_tcp_of(f);

	(void)r;
	return !rt || !rt->conn || rt->up_shut || rt->dead;
}

/* --- more than one turn -------------------------------------------------------------- */

void relay_tcp_again(struct relay_tcp_list *list, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	if (rt->queued)
		return;
	rt->queued = true;
	list_append(list, f);
}

/** resume_first - the first of @list has its turn; false when it is in a list again after that */
static bool resume_first(struct relay *r, struct relay_tcp_list *list)
{
	const struct flow_ref ref = flow_ref(list->first);
	struct flow *f = list->first;
	struct relay_tcp *rt = relay_tcp_of(f);

	list->first = rt->next;
	if (!list->first)
		list->last = NULL;
	list->n--;
	rt->queued = false;
	if (!rt->dead && relay_tcp_pump_down(r, f))
		settle(r, f);
	f = flow_get(r->flows, ref);
	return !f || !f->relay || !relay_tcp_of(f)->queued;
}

/** resume_all - those that are in @list now; what they put into it meanwhile is for later */
static void resume_all(struct relay *r, struct relay_tcp_list *list)
{
	for (unsigned n = list->n; n && list->first; n--)
		resume_first(r, list);
}

/**
 * resume_starved - while there is memory, the flow that has waited the longest goes on
 *
 * The first one that finds none after all goes to the end of the list, and ends the round:
 * however many wait, a turn costs one try that fails.
 */
static void resume_starved(struct relay *r)
{
	struct relay_tcp_list *list = &r->tcp->starved;

	for (unsigned n = list->n; n && list->first; n--)
		if (engine_memory() > r->cfg->total_buffer || !resume_first(r, list))
			return;
}

static void dial_more(struct relay *r)
{
	for (unsigned i = 0; i < RELAY_TCP_DIALS && r->tcp->waiting; i++)
		dial_waiting(r, &r->tcp->dials[i]);
}

bool relay_tcp_resume(struct relay *r)
{
	dial_more(r);
	resume_all(r, &r->tcp->ready);
	resume_starved(r);
	return r->tcp->ready.first != NULL;
}

void relay_tcp_tick(struct relay *r)
{
	dial_more(r);
	resume_all(r, &r->tcp->starved);
}
