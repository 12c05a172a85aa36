/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Echo goes through ping sockets, which a host gives to ordinary users whose
 * group is in net.ipv4.ping_group_range (it holds for IPv6 too). One socket
 * stands for one echo identifier of one program address (a mapping, see
 * relay_dgram.h; its port is the identifier), a flow for each destination asked.
 * The kernel puts the socket's identifier into what is sent and takes back only
 * replies that carry it; the program is given its own again.
 *
 * A faked reply would call dead hosts alive, so where no ping socket is to be had
 * the answer is "administratively prohibited" and one line says what to change.
 *
 * Echo is rare beside UDP: nothing is gathered, each request is sent at once.
 * Whatever else the program sends as ICMP (errors about datagrams of ours,
 * neighbour discovery to a link that has no neighbours) ends here, counted.
 */
#include "relay_dgram.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

#define ICMP_HDR   8
#define SLOTS	   8	 /* replies of one receive call */
#define SLOT_SIZE  65600 /* the largest message; no power of two: see relay_udp.c */
#define RECV_CALLS 8	 /* then other sockets get their turn */

/**
 * struct relay_echo - what an echo flow needs beside its record
 * @map: shared, counted; NULL where no socket could be made
 * @refuse: positive errno when nothing can be sent there
 * @held: both directions, whole ICMP messages, until the owner is known
 */
struct relay_echo {
	struct dgram_map *map;
	struct addrport out;
	int refuse;
	struct dgram_hold held;
};

struct relay_icmp_state {
	struct dgram_maps *maps;
	struct dgram_budget budget;
	uint8_t *slots;
	uint8_t *made; /* SLOT_SIZE: a message whose payload is the hooks' */
	unsigned gid;  /* asked before system calls are filtered */
};

int relay_icmp_init(struct relay *r)
{
	struct relay_icmp_state *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	r->icmp = s;
	s->gid = getegid();
	s->maps = dgram_maps_new();
	s->slots = malloc((size_t)SLOTS * SLOT_SIZE);
	s->made = malloc(SLOT_SIZE);
	s->budget = (struct dgram_budget){
		.flow_max = r->cfg->flow_buffer,
		.max = r->cfg->total_buffer,
	};
	if (s->maps && s->slots && s->made)
		return 0;
	relay_icmp_exit(r);
	return -ENOMEM;
}

void relay_icmp_exit(struct relay *r)
{
	struct relay_icmp_state *s = r->icmp;

	if (!s)
		return;
	dgram_maps_free(s->maps);
	free(s->slots);
	free(s->made);
	free(s);
	r->icmp = NULL;
}

static struct relay_echo *relay_echo_of(const struct flow *f)
{
	return f->relay;
}

static void pass_up(struct relay *r, struct flow *f, struct netsock_dgram *d);
static void pass_down(struct relay *r, struct flow *f, const struct netsock_dgram *d);

static uint8_t proto_of(bool v4)
{
	return v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
}

/* --- flows and mappings ---------------------------------------------------------------- */

/** no_socket - why, once for the user, and as what the program shall see it */
static int no_socket(struct relay *r, int err)
{
	if (err == EACCES || err == EPERM) {
		r->notice(r->ctx, "ping",
			  "ping: net.ipv4.ping_group_range of the host does not include gid %u",
			  r->icmp->gid);
		return EACCES;
	}
	if (err == EAFNOSUPPORT || err == EPROTONOSUPPORT || err == EADDRNOTAVAIL)
		return ENETUNREACH;
	r->notice(r->ctx, "ping", "ping: no socket: %s", strerror(err));
	return err;
}

/** echo_flow_new - flow, destination and mapping; NULL when a bound refuses it */
static struct flow *echo_flow_new(struct relay *r, uint8_t proto, const struct addrport *app,
				  const struct addrport *net)
{
	struct flow *f = relay_flow_new(r, proto, app, net);
	struct relay_echo *u;
	int err = 0;

	if (!f)
		return NULL;
	u = calloc(1, sizeof(*u));
	if (!u) {
		dgram_end(r, f, FLOW_ENDED_LIMIT);
		return NULL;
	}
	f->relay = u;
	u->refuse = -dest_out(&r->dest, net, &u->out);
	if (u->refuse)
		return f;
	u->map = dgram_map_open(r, r->icmp->maps, app, NETSOCK_ICMP, &err);
	if (u->map)
		u->map->refs++;
	else
		u->refuse = no_socket(r, err);
	return f;
}

void relay_icmp_freeing(struct relay *r, struct flow *f)
{
	struct relay_echo *u = relay_echo_of(f);

	if (!u)
		return;
	f->relay = NULL;
	dgram_hold_drop_all(&u->held, &r->icmp->budget);
	if (u->map && !--u->map->refs)
		dgram_map_free(r->icmp->maps, u->map);
	free(u);
}

static void prohibit(struct relay *r, struct flow *f, int err, const struct netsock_dgram *d)
{
	struct icmp_error e = dgram_prohibited(&f->rec->net.addr);

	dgram_give_error(r, f, err, &e, d ? d->data : NULL, d ? d->len : 0);
}

/** message - @hd with its header in front; one whose payload is the hooks' lies in icmp->made */
static struct netsock_dgram message(struct relay *r, const struct hook_dgram *hd)
{
	const size_t len = MIN(hd->len, (size_t)(SLOT_SIZE - ICMP_HDR));
	uint8_t *made = r->icmp->made;

	memcpy(made, hd->head, ICMP_HDR);
	if (len)
		memcpy(made + ICMP_HDR, hd->data, len);
	return (struct netsock_dgram){
		.data = made,
		.len = ICMP_HDR + len,
		.ttl = hd->ttl,
		.tos = hd->tos,
		.df = hd->df,
	};
}

static void blocked(struct relay *r, struct flow *f, const struct netsock_dgram *d)
{
	prohibit(r, f, 0, d);
	dgram_end(r, f, FLOW_ENDED_BLOCKED);
}

/** pass_made - messages that have waited in the chain */
static void pass_made(struct relay *r, struct flow *f, enum hook_dir dir)
{
	struct hook_dgram hd;
	int rc;

	while ((rc = hook_chain_next_datagram(f, dir, &hd)) > 0) {
		struct netsock_dgram d = message(r, &hd);

		if (dir == HOOK_UP)
			pass_up(r, f, &d);
		else
			pass_down(r, f, &d);
	}
	if (rc)
		blocked(r, f, NULL);
}

/**
 * shown - true when the hooks let this message's payload pass; a block ends the flow
 *
 * They may have put another payload in its place: *@d is the message to send.
 */
static bool shown(struct relay *r, struct flow *f, enum hook_dir dir, struct netsock_dgram *d)
{
	struct hook_dgram hd = {
		.data = d->data + ICMP_HDR,
		.len = d->len - ICMP_HDR,
		.ttl = d->ttl,
		.tos = d->tos,
		.df = d->df,
	};
	const uint8_t *own = hd.data;
	int verdict;

	if (hook_direct(f))
		return true;
	memcpy(hd.head, d->data, ICMP_HDR);
	verdict = hook_chain_datagram(r->hooks, f, dir, &hd);
	if (verdict == HOOK_BLOCK)
		blocked(r, f, dir == HOOK_UP ? d : NULL);
	else if (verdict == HOOK_TAKEN)
		pass_made(r, f, dir);
	else if (!verdict && hd.data != own)
		*d = message(r, &hd);
	return !verdict;
}

static void hold(struct relay *r, struct flow *f, enum hook_dir dir, const struct netsock_dgram *d)
{
	if (!dgram_hold_push(&relay_echo_of(f)->held, &r->icmp->budget, flow_ref(f), dir, d))
		return;
	r->count.dgram_queue_full++;
	r->notice(r->ctx, "ping queue", "ping: a queue is full, messages are lost");
}

/* --- up ---------------------------------------------------------------------------------- */

static void send_up(struct relay *r, struct flow *f, struct netsock_dgram *d)
{
	struct relay_echo *u = relay_echo_of(f);
	uint32_t mtu;
	int rc;

	d->peer = u->out;
	rc = dgram_send(r, u->map, f->rec->proto, d, 1, &mtu);
	if (rc == -EAGAIN || rc == -ENOBUFS)
		r->count.dgram_queue_full++; /* lost, as on any link */
	else if (rc < 0)
		dgram_give_errno(r, f, -rc, mtu, d->data, d->len);
}

/** pass_up - one echo request that hooks let pass */
static void pass_up(struct relay *r, struct flow *f, struct netsock_dgram *d)
{
	struct relay_echo *u = relay_echo_of(f);

	if (!dgram_within(r, f, HOOK_UP, d->data, d->len - ICMP_HDR))
		return;
	f->rec->up.packets++;
	f->rec->up.bytes += d->len - ICMP_HDR;
	if (u->map)
		send_up(r, f, d);
	else if (u->refuse == EACCES)
		prohibit(r, f, EACCES, d);
	else
		dgram_give_errno(r, f, u->refuse, r->mtu, d->data, d->len);
}

/** up - one echo request of a judged flow */
static void up(struct relay *r, struct flow *f, struct netsock_dgram *d)
{
	if (shown(r, f, HOOK_UP, d))
		pass_up(r, f, d);
}

/** is_request - the only ICMP message of a program that goes on */
static bool is_request(const struct packet *p)
{
	uint8_t request = p->version == 4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;

	return p->proto == proto_of(p->version == 4) && p->l4len >= ICMP_HDR &&
	       p->icmp.type == request && !p->icmp.code;
}

void relay_icmp_packet(struct relay *r, const struct packet *p, struct pktbuf *buf)
{
	const struct addrport app = {.addr = p->app.addr, .port = p->icmp.ident};
	const struct addrport net = {.addr = p->net.addr};
	struct netsock_dgram d = {
		.ttl = p->ttl,
		.tos = p->tos,
		.df = p->df,
		.data = p->data + p->l4,
		.len = p->l4len,
	};
	struct flow *f;

	(void)buf; /* sent at once or copied */
	if (dest_is_ignored(&p->net.addr)) {
		r->count.ignored_dest++;
		return;
	}
	if (!is_request(p)) {
		r->count.unsupported_proto++;
		return;
	}
	f = flow_find(r->flows, p->proto, &app, &net);
	if (!f)
		f = echo_flow_new(r, p->proto, &app, &net);
	if (!f || !f->relay)
		return;
	dgram_seen(r, f);
	if (f->refused)
		dgram_refuse(r, f, d.data, d.len);
	else if (relay_flow_waits(f))
		hold(r, f, HOOK_UP, &d);
	else
		up(r, f, &d);
}

/* --- down -------------------------------------------------------------------------------- */

/** pass_down - one echo reply that hooks let pass */
static void pass_down(struct relay *r, struct flow *f, const struct netsock_dgram *d)
{
	struct flow_rec *rec = f->rec;

	if (!dgram_within(r, f, HOOK_DOWN, NULL, d->len - ICMP_HDR))
		return;
	if (!rec->first_byte)
		rec->first_byte = r->now;
	rec->down.packets++;
	rec->down.bytes += d->len - ICMP_HDR;
	icmp_send_echo_reply(r->sink, &rec->net.addr, &rec->app.addr, rec->icmp_ident,
			     get_be16(d->data + 6), d->ttl, d->tos, d->data + ICMP_HDR,
			     d->len - ICMP_HDR);
}

/** down - one echo reply of a judged flow */
static void down(struct relay *r, struct flow *f, const struct netsock_dgram *reply)
{
	struct netsock_dgram d = *reply;

	if (shown(r, f, HOOK_DOWN, &d))
		pass_down(r, f, &d);
}

/** one_reply - of a socket; from a host that was not asked it is nobody's */
static void one_reply(struct relay *r, struct dgram_map *m, const struct netsock_dgram *d)
{
	struct addrport net;
	struct flow *f;

	if (d->len < ICMP_HDR || d->data[0] != (m->v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY))
		return;
	dest_in(&r->dest, &d->peer, &net);
	net.port = 0;
	f = flow_find(r->flows, proto_of(m->v4), &m->app, &net);
	if (!f || !f->relay)
		return;
	if (f->refused)
		return;
	dgram_seen(r, f);
	if (relay_flow_waits(f))
		hold(r, f, HOOK_DOWN, d);
	else
		down(r, f, d);
}

static void receive(struct relay *r, struct dgram_map *m)
{
	struct netsock_dgram d[SLOTS];

	for (int call = 0; call < RECV_CALLS; call++) {
		int n = netsock_dgram_recv(m->fd, m->v4, d, SLOTS, r->icmp->slots, SLOT_SIZE);

		if (n == -EAGAIN)
			return;
		if (n < 0) /* a report; behind it replies may wait */
			dgram_drain_errors(r, m, proto_of(m->v4), NULL);
		for (int i = 0; i < n; i++)
			one_reply(r, m, &d[i]);
		if (n >= 0 && n < SLOTS)
			return;
	}
	netsock_dgram_rearm(r->socks, m->fd, dgram_map_token(m, NETSOCK_ICMP), false);
}

void relay_icmp_net(struct relay *r, uint64_t token, uint32_t events)
{
	struct dgram_map *m = dgram_map_get(r->icmp->maps, token);

	if (!m)
		return;
	if (events & EPOLLERR)
		dgram_drain_errors(r, m, proto_of(m->v4), NULL);
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		receive(r, m);
}

/* --- the flow's other events -------------------------------------------------------------- */

static enum flow_reason idle_reason(const struct flow *f)
{
	const struct relay_echo *u = relay_echo_of(f);

	if (u && u->refuse == EACCES && !f->refused)
		return FLOW_ENDED_UNSUPPORTED;
	return dgram_idle_reason(f);
}

static void play_held(struct relay *r, struct flow *f)
{
	struct relay_echo *u = relay_echo_of(f);
	struct dgram_held *held;

	while (u && f->rec->state == FLOW_OPEN && !f->held &&
	       (held = dgram_hold_pop(&u->held, &r->icmp->budget))) {
		struct netsock_dgram d = dgram_held_view(held);

		if (held->dir == HOOK_UP)
			up(r, f, &d);
		else
			down(r, f, &d);
		free(held);
	}
}

/** refuse - rules do; the flow stays, see relay_udp.c. The first of what waits is answered */
static void refuse(struct relay *r, struct flow *f)
{
	struct dgram_hold *h = &relay_echo_of(f)->held;

	dgram_refuse(r, f, h->first ? h->first->data : NULL, h->first ? h->first->len : 0);
	dgram_hold_drop_all(h, &r->icmp->budget);
}

static void judged(struct relay *r, struct flow *f, enum judge_say say)
{
	if (say == JUDGE_HOLD)
		return;
	if (say == JUDGE_PASS) {
		dgram_opened(r, f);
		play_held(r, f);
	} else if (f->rec->by != FLOW_BY_HOOK && f->relay) {
		refuse(r, f);
	} else if (say == JUDGE_DROP) {
		dgram_end(r, f, FLOW_ENDED_BLOCKED);
	} else {
		blocked(r, f, NULL);
	}
}

void relay_icmp_owned(struct relay *r, struct flow *f)
{
	if (f->rec->state < FLOW_JUDGED && !f->refused)
		judged(r, f, relay_flow_owned(r, f));
}

void relay_icmp_judged(struct relay *r, struct flow *f, enum judge_say say)
{
	if (f->rec->state == FLOW_OWNED && !f->refused)
		say = relay_flow_passed(r, f, say);
	if (f->refused) /* not any more: see relay_udp_judged() */
		dgram_end(r, f, FLOW_ENDED_BLOCKED);
	else if (f->rec->state <= FLOW_JUDGED)
		judged(r, f, say);
	else if (say != JUDGE_PASS && say != JUDGE_HOLD)
		refuse(r, f);
	else
		play_held(r, f);
}

void relay_icmp_woken(struct relay *r, struct flow *f)
{
	if (f->rec->state == FLOW_OPEN)
		pass_made(r, f, HOOK_UP);
	if (f->rec->state == FLOW_OPEN)
		pass_made(r, f, HOOK_DOWN);
}

void relay_icmp_timeout(struct relay *r, struct flow *f)
{
	if (f->rec->state == FLOW_NEW)
		relay_icmp_owned(r, f); /* nobody knows the owner in time */
	else
		dgram_end(r, f, idle_reason(f));
}

void relay_icmp_stop(struct relay *r, struct flow *f)
{
	dgram_end(r, f, dgram_stop_reason(idle_reason(f)));
}
