/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A flow is a 5-tuple; a mapping (relay_dgram.h) is the program's side of it
 * and the socket outside. Up:
 *
 *   packet -> flow -> (held until the owner is known) -> hooks -> out[] -> flush
 *
 * out[] gathers what hooks let pass during one batch of packets, with small
 * payloads copied side by side into an arena (a copy is cheaper than giving
 * away the reader's buffer) and large ones kept in their buffer by reference.
 * relay_udp_flush() sends it, per mapping in the order of arrival, in as few
 * system calls as netsock_dgram_send() can. A super packet of the program (USO)
 * is cut into its datagrams for the hooks; as they still lie in a row, they leave
 * as one UDP_SEGMENT send again.
 *
 * Down:
 *
 *   socket -> flow, by the peer's address (or a new one, if the filter lets the
 *   stranger pass) -> (held) -> hooks -> join -> TUN
 *
 * What the kernel joined on receiving (UDP_GRO) is shown to hooks one by one
 * and goes on as one packet where all pass; what came one by one is joined here,
 * if it is of one flow and size, into one packet with UDP segmentation. It
 * lasts for one receive call at most: nothing waits for more to come.
 *
 * A datagram is lost where a link would lose it: when a queue is full. Each loss is
 * counted. An error is a flow's own and comes back as ICMP; it ends nothing.
 */
#include "relay_dgram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define DNS_PORT     53
#define OUT_MAX	     256	  /* datagrams gathered: four of the longest USO packets */
#define OUT_COPY_MAX 2048	  /* larger ones stay in their buffer */
#define ARENA_SIZE   (256 * 1024) /* OUT_MAX of the usual size; at least one of the largest */
#define SEND_CHUNK   64		  /* datagrams of one call; more of them cost no less each */
#define SLOT_SIZE                                                                                  \
	65600		 /* the largest datagram; no power of two: that would                      \
			  * put the start of all slots into the same cache lines */
#define RECV_CALLS 4	 /* of 16 slots, then other sockets get their turn */
#define JOIN_MAX   64	 /* datagrams in one packet: what kernels accept everywhere */
#define JOIN_BYTES 65000 /* with headers below 65536 */
#define IP_UDP_MAX 48	 /* headers of IPv6 and UDP */
#define NONE	   DGRAM_NONE

/**
 * struct relay_udp - what a UDP flow needs beside its record
 * @map: shared, counted; NULL where no socket could be made
 * @out: the destination as the host knows it
 * @local: of a published socket: the host's address that the peer came to
 * @refuse: positive errno when nothing can go there
 * @held: both directions, until the owner is known and rules let them pass
 * @prev, @next: flows of the same mapping
 */
struct relay_udp {
	struct flow *flow;
	struct dgram_map *map;
	struct addrport out;
	struct addr local;
	int refuse;
	struct dgram_hold held;
	struct relay_udp *prev, *next;
};

/** struct udp_out - a datagram that waits for the flush */
struct udp_out {
	struct netsock_dgram d;
	struct flow_ref flow;
	struct pktbuf *buf; /* owned reference, or NULL: payload is in the arena */
	uint32_t next;	    /* of the same mapping */
};

/** struct udp_join - answers of one size in a row, to be written as one packet */
struct udp_join {
	struct udpout u; /* data: the first one's own place, from the second one on @buf */
	unsigned n;
	size_t size;
	bool full; /* a shorter one was the last */
	uint8_t *buf;
};

struct relay_udp_state {
	struct dgram_maps *maps;
	struct dgram_budget budget;
	struct dgram_map *dirty; /* mappings with something in out[] */
	unsigned n_out;
	size_t arena_used;
	uint8_t *arena, *slots;
	struct udp_join join;
	struct udp_out out[OUT_MAX];
};

/** struct udp_run - datagrams of one flow and packet, side by side */
struct udp_run {
	const uint8_t *data;
	size_t len, size; /* size of each but the last */
	uint8_t ttl, tos;
	bool df;
};

int relay_udp_init(struct relay *r)
{
	struct relay_udp_state *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	r->udp = s;
	s->maps = dgram_maps_new();
	s->arena = malloc(ARENA_SIZE);
	s->slots = malloc((size_t)NETSOCK_DGRAM_BATCH * SLOT_SIZE);
	s->join.buf = malloc(JOIN_BYTES);
	s->budget = (struct dgram_budget){
		.flow_max = r->cfg->flow_buffer,
		.max = r->cfg->total_buffer,
	};
	if (s->maps && s->arena && s->slots && s->join.buf)
		return 0;
	relay_udp_exit(r);
	return -ENOMEM;
}

void relay_udp_exit(struct relay *r)
{
	struct relay_udp_state *s = r->udp;

	if (!s)
		return;
	for (unsigned i = 0; i < s->n_out; i++)
		if (s->out[i].buf)
			pktbuf_put(s->out[i].buf);
	dgram_maps_free(s->maps);
	free(s->arena);
	free(s->slots);
	free(s->join.buf);
	free(s);
	r->udp = NULL;
}

static struct relay_udp *relay_udp_of(const struct flow *f)
{
	return f->relay;
}

static void queue_full(struct relay *r, const char *where)
{
	r->count.dgram_queue_full++;
	r->notice(r->ctx, "udp queue", "UDP: a queue is full (%s), datagrams are lost", where);
}

/* --- flows and mappings ---------------------------------------------------------------- */

static void map_attach(struct dgram_map *m, struct relay_udp *u)
{
	u->map = m;
	u->next = m->flows;
	if (u->next)
		u->next->prev = u;
	m->flows = u;
	m->refs++;
}

/** map_put - with its last reference the mapping goes, and what it still had to send is sent */
static void map_put(struct relay *r, struct dgram_map *m)
{
	if (--m->refs)
		return;
	if (m->dirty)
		relay_udp_flush(r);
	dgram_hold_drop_all(&m->backlog, &r->udp->budget);
	dgram_map_free(r->udp->maps, m);
}

static void map_detach(struct relay *r, struct relay_udp *u)
{
	struct dgram_map *m = u->map;

	if (!m)
		return;
	if (u->prev)
		u->prev->next = u->next;
	else
		m->flows = u->next;
	if (u->next)
		u->next->prev = u->prev;
	u->map = NULL;
	map_put(r, m);
}

/** is_shortage - errors that say something of this process, not of the destination */
static bool is_shortage(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS || err == EAGAIN;
}

/** flow_new_mapped - flow, destination and mapping; NULL when a bound refuses it */
static struct flow *flow_new_mapped(struct relay *r, const struct addrport *app,
				    const struct addrport *net)
{
	struct flow *f = relay_flow_new(r, IPPROTO_UDP, app, net);
	struct relay_udp *u;
	struct dgram_map *m;
	int err = 0;

	if (!f)
		return NULL;
	u = calloc(1, sizeof(*u));
	if (!u) {
		dgram_end(r, f, FLOW_ENDED_LIMIT);
		return NULL;
	}
	u->flow = f;
	f->relay = u;
	u->refuse = -dest_out(&r->dest, net, &u->out);
	if (u->refuse)
		return f;
	m = dgram_map_open(r, r->udp->maps, app, NETSOCK_UDP, &err);
	if (m) {
		map_attach(m, u);
	} else if (is_shortage(err)) {
		r->notice(r->ctx, "udp socket", "UDP: no socket for a new flow: %s", strerror(err));
		dgram_end(r, f, FLOW_ENDED_LIMIT);
		return NULL;
	} else {
		/* A host without this family has no way there. */
		u->refuse = err == EAFNOSUPPORT || err == EADDRNOTAVAIL ? ENETUNREACH : err;
	}
	return f;
}

/* --- published sockets --------------------------------------------------------------------
 *
 * One is a mapping like others, made beforehand: what comes to it makes flows, and what the program
 * sends from that port leaves by it. Only the peer's address may be another inside.
 */

int64_t relay_udp_publish(struct relay *r, const struct addrport *app, uint16_t host_port,
			  bool private, int fd)
{
	struct dgram_map *m = dgram_map_new(r->udp->maps, app);
	int rc;

	if (!m) {
		netsock_close(&fd);
		return -ENOMEM;
	}
	m->fd = fd;
	m->published = true;
	m->private = private;
	m->host_port = host_port;
	rc = netsock_udp_adopt(r->socks, fd, m->v4, dgram_map_token(m, NETSOCK_UDP));
	if (rc) {
		dgram_map_free(r->udp->maps, m);
		return rc;
	}
	m->refs = 1;
	return (int64_t)dgram_map_token(m, NETSOCK_UDP);
}

void relay_udp_unpublish(struct relay *r, uint64_t token)
{
	struct dgram_map *m = dgram_map_get(r->udp->maps, token);

	if (!m || !m->host_port)
		return;
	m->host_port = 0;
	m->private = true; /* its port is somebody else's in a moment */
	for (struct relay_udp *u = m->flows; u; u = u->next)
		dgram_end(r, u->flow, dgram_idle_reason(u->flow));
	map_put(r, m);
}

/** client_new - a flow for a peer that has come to @m; NULL when a bound refuses it */
static struct flow *client_new(struct relay *r, struct dgram_map *m, const struct addrport *client,
			       const struct addrport *net)
{
	const struct relay_peer p = {
		.client = *client, .net = *net, .app = m->app, .host_port = m->host_port};
	struct flow *f = relay_flow_new_in(r, IPPROTO_UDP, &p);
	struct relay_udp *u = f ? calloc(1, sizeof(*u)) : NULL;

	if (!u) {
		if (f)
			dgram_end(r, f, FLOW_ENDED_LIMIT);
		return NULL;
	}
	u->flow = f;
	f->relay = u;
	u->out = *client;
	map_attach(m, u);
	return f;
}

/**
 * flow_for_client - the flow of a published socket's peer, or NULL: it is dropped
 *
 * Peers that are known by one address inside and have one port cannot be told apart there: who
 * came first stays.
 */
static struct flow *flow_for_client(struct relay *r, struct dgram_map *m,
				    const struct netsock_dgram *d)
{
	const struct addrport net = {dest_client(&r->dest, &d->peer.addr), d->peer.port};
	struct flow *f = flow_find(r->flows, IPPROTO_UDP, &m->app, &net);

	if (addr_is_v4(&d->peer.addr) != m->v4 || !d->peer.port)
		return NULL;
	if (!f && !r->draining && m->host_port)
		f = client_new(r, m, &d->peer, &net);
	if (!f || !f->relay || !addrport_equal(&relay_udp_of(f)->out, &d->peer))
		return NULL;
	relay_udp_of(f)->local = d->local;
	return f;
}

void relay_udp_freeing(struct relay *r, struct flow *f)
{
	struct relay_udp *u = relay_udp_of(f);

	if (!u)
		return;
	f->relay = NULL;
	dgram_hold_drop_all(&u->held, &r->udp->budget);
	map_detach(r, u);
	free(u);
}

/**
 * refuse - rules do: the flow stays, so that its next datagrams need no judgement
 *
 * Its entry makes room in a full table like that of any other flow that is silent.
 */
static void refuse(struct relay *r, struct flow *f)
{
	dgram_hold_drop_all(&relay_udp_of(f)->held, &r->udp->budget);
	dgram_refuse(r, f, NULL, 0);
}

/** block - a hook or rule ends @f; the program is told that it is not the network's fault */
static void block(struct relay *r, struct flow *f)
{
	struct icmp_error e = dgram_prohibited(&f->rec->net.addr);

	if (f->rec->by != FLOW_BY_HOOK && f->rec->verdict != FLOW_ALLOW && f->relay) {
		refuse(r, f);
		return;
	}
	dgram_give_error(r, f, 0, &e, NULL, 0);
	dgram_end(r, f, FLOW_ENDED_BLOCKED);
}

/* --- up: gathering and sending ----------------------------------------------------------- */

/** give_send_error - @d of @ref could not be sent */
static void give_send_error(struct relay *r, struct flow_ref ref, const struct netsock_dgram *d,
			    int err, uint32_t mtu)
{
	struct flow *f = flow_get(r->flows, ref);

	if (err == ENOBUFS) {
		r->count.dgram_queue_full++; /* the host's device queue: a loss like any other */
		return;
	}
	if (f && f->rec->state != FLOW_CLOSING)
		dgram_give_errno(r, f, err, mtu, d->data, d->len);
}

/**
 * send_first - send as many of @d as go; when none, decide about the first
 *
 * Returns how many datagrams are dealt with, 0 when the socket is full.
 */
static int send_first(struct relay *r, struct dgram_map *m, const struct netsock_dgram *d,
		      const struct flow_ref *ref, int n)
{
	uint32_t mtu;
	int rc = dgram_send(r, m, IPPROTO_UDP, d, n, &mtu);

	if (rc == -EAGAIN)
		return 0;
	if (rc > 0)
		return rc;
	give_send_error(r, ref[0], d, -rc, mtu);
	return 1;
}

/** keep_backlog - what the full socket did not take waits for EPOLLOUT */
static void keep_backlog(struct relay *r, struct dgram_map *m, const struct netsock_dgram *d,
			 const struct flow_ref *ref, int n)
{
	if (!m->backlog.first)
		netsock_dgram_rearm(r->socks, m->fd, dgram_map_token(m, NETSOCK_UDP), true);
	for (int i = 0; i < n; i++)
		if (dgram_hold_push(&m->backlog, &r->udp->budget, ref[i], HOOK_UP, &d[i]))
			queue_full(r, "the network is slower than the program");
}

/** backlog_view - the oldest of @m's backlog in @d and @ref; returns how many */
static int backlog_view(const struct dgram_map *m, struct netsock_dgram *d, struct flow_ref *ref)
{
	int n = 0;

	for (const struct dgram_held *h = m->backlog.first; h && n < SEND_CHUNK; h = h->next) {
		d[n] = dgram_held_view(h);
		ref[n++] = h->flow;
	}
	return n;
}

/** send_backlog - the socket takes datagrams again */
static void send_backlog(struct relay *r, struct dgram_map *m)
{
	struct netsock_dgram d[SEND_CHUNK];
	struct flow_ref ref[SEND_CHUNK];
	int n, done;

	while ((n = backlog_view(m, d, ref)) > 0) {
		done = send_first(r, m, d, ref, n);
		if (!done)
			return;
		while (done--)
			free(dgram_hold_pop(&m->backlog, &r->udp->budget));
	}
	netsock_dgram_rearm(r->socks, m->fd, dgram_map_token(m, NETSOCK_UDP), false);
}

/** chunk_take - the next datagrams of @m's list in @d and @ref; returns how many */
static int chunk_take(struct relay_udp_state *s, struct dgram_map *m, struct netsock_dgram *d,
		      struct flow_ref *ref)
{
	int n = 0;

	while (n < SEND_CHUNK && m->out_first != NONE) {
		const struct udp_out *o = &s->out[m->out_first];

		d[n] = o->d;
		ref[n++] = o->flow;
		m->out_first = o->next;
	}
	return n;
}

/** map_flush - send what was gathered for @m */
static void map_flush(struct relay *r, struct dgram_map *m)
{
	struct netsock_dgram d[SEND_CHUNK];
	struct flow_ref ref[SEND_CHUNK] = {{0}};
	int n;

	while ((n = chunk_take(r->udp, m, d, ref)) > 0) {
		int done = 0, rc = m->backlog.first ? 0 : 1;

		while (rc && done < n) {
			rc = send_first(r, m, d + done, ref + done, n - done);
			done += rc;
		}
		if (done < n)
			keep_backlog(r, m, d + done, ref + done, n - done);
	}
	m->out_last = NONE;
}

void relay_udp_flush(struct relay *r)
{
	struct relay_udp_state *s = r->udp;
	struct dgram_map *m;

	while ((m = s->dirty)) {
		s->dirty = m->dirty_next;
		m->dirty_next = NULL;
		m->dirty = false;
		map_flush(r, m);
	}
	for (unsigned i = 0; i < s->n_out; i++)
		if (s->out[i].buf)
			pktbuf_put(s->out[i].buf);
	s->n_out = 0;
	s->arena_used = 0;
}

/** out_link - at the end of its mapping's list */
static void out_link(struct relay_udp_state *s, struct dgram_map *m, uint32_t i)
{
	s->out[i].next = NONE;
	if (m->out_last == NONE)
		m->out_first = i;
	else
		s->out[m->out_last].next = i;
	m->out_last = i;
	if (m->dirty)
		return;
	m->dirty = true;
	m->dirty_next = s->dirty;
	s->dirty = m;
}

/** gather - one datagram for the next flush; @buf is what it lies in, NULL: copy it */
static void gather(struct relay *r, const struct flow *f, struct netsock_dgram d,
		   struct pktbuf *buf)
{
	struct relay_udp_state *s = r->udp;
	struct relay_udp *u = relay_udp_of(f);
	bool copy = !buf || d.len <= OUT_COPY_MAX;
	struct udp_out *o;

	if (s->n_out == OUT_MAX || (copy && ARENA_SIZE - s->arena_used < d.len))
		relay_udp_flush(r);
	o = &s->out[s->n_out];
	if (copy) {
		uint8_t *to = s->arena + s->arena_used;

		if (d.len)
			memcpy(to, d.data, d.len);
		d.data = to;
		s->arena_used += d.len;
	}
	d.peer = u->out;
	d.local = u->local;
	*o = (struct udp_out){
		.d = d,
		.flow = flow_ref(f),
		.buf = copy ? NULL : pktbuf_ref(buf),
	};
	out_link(s, u->map, s->n_out++);
}

/** up_one - past the hooks: on its way, or refused */
static void up_one(struct relay *r, struct flow *f, const struct netsock_dgram *d,
		   struct pktbuf *buf)
{
	struct relay_udp *u = relay_udp_of(f);

	if (!dgram_within(r, f, HOOK_UP, d->data, d->len))
		return;
	f->rec->up.packets++;
	f->rec->up.bytes += d->len;
	if (u->refuse)
		dgram_give_errno(r, f, u->refuse, r->mtu, d->data, d->len);
	else
		gather(r, f, *d, buf);
}

/** hold - until the owner is known */
static void hold(struct relay *r, struct flow *f, enum hook_dir dir, const struct netsock_dgram *d)
{
	if (dgram_hold_push(&relay_udp_of(f)->held, &r->udp->budget, flow_ref(f), dir, d))
		queue_full(r, "the owner of a new flow is being looked up");
}

/** run_next - the next datagram of @run at *@off; false at its end (an empty one is one) */
static bool run_next(const struct udp_run *run, size_t *off, struct netsock_dgram *d)
{
	if (*off >= run->len && (*off || run->len))
		return false;
	*d = (struct netsock_dgram){
		.ttl = run->ttl,
		.tos = run->tos,
		.df = run->df,
		.data = run->data + *off,
		.len = MIN(run->size, run->len - *off),
	};
	*off += d->len ? d->len : 1;
	return true;
}

static void hold_run(struct relay *r, struct flow *f, enum hook_dir dir, const struct udp_run *run)
{
	struct netsock_dgram d;
	size_t off = 0;

	while (run_next(run, &off, &d))
		hold(r, f, dir, &d);
}

/** show - @d to the hooks, which may put other data in its place; as hook_chain_datagram() */
static int show(struct relay *r, struct flow *f, enum hook_dir dir, struct netsock_dgram *d)
{
	struct hook_dgram hd = {
		.data = d->data, .len = d->len, .ttl = d->ttl, .tos = d->tos, .df = d->df};
	int verdict;

	if (judge_payload(r, f, dir, d->len, false) != JUDGE_PASS)
		return HOOK_BLOCK;
	if (hook_direct(f))
		return 0;
	verdict = hook_chain_datagram(r->hooks, f, dir, &hd);
	if (judge_shown(r, f) != JUDGE_PASS)
		return HOOK_BLOCK;
	d->data = hd.data;
	d->len = hd.len;
	return verdict;
}

/** dgram_of - one that has waited in the chain */
static struct netsock_dgram dgram_of(const struct hook_dgram *hd)
{
	return (struct netsock_dgram){
		.data = hd->data, .len = hd->len, .ttl = hd->ttl, .tos = hd->tos, .df = hd->df};
}

/** up_made - the program's datagrams that have waited in the chain; false when the flow has ended
 */
static bool up_made(struct relay *r, struct flow *f)
{
	struct hook_dgram hd;
	int rc;

	while ((rc = hook_chain_next_datagram(f, HOOK_UP, &hd)) > 0) {
		const struct netsock_dgram d = dgram_of(&hd);

		up_one(r, f, &d, NULL);
	}
	if (rc)
		block(r, f);
	return !rc;
}

/** up_run - show the program's datagrams to the hooks and gather what passes */
static void up_run(struct relay *r, struct flow *f, const struct udp_run *run, struct pktbuf *buf)
{
	struct netsock_dgram d;
	size_t off = 0;

	while (run_next(run, &off, &d)) {
		const uint8_t *own = d.data;
		int verdict = show(r, f, HOOK_UP, &d);

		if (verdict == HOOK_BLOCK) {
			block(r, f);
			return;
		}
		if (!verdict)
			up_one(r, f, &d, d.data == own ? buf : NULL);
		else if (verdict == HOOK_TAKEN && !up_made(r, f))
			return;
	}
}

void relay_udp_packet(struct relay *r, const struct packet *p, struct pktbuf *buf)
{
	size_t len = packet_payload_len(p);
	struct udp_run run = {
		.data = p->data + p->payload,
		.len = len,
		.size = p->gso_size ? p->gso_size : len,
		.ttl = p->ttl,
		.tos = p->tos,
		.df = p->df,
	};
	struct flow *f;

	if (dest_is_ignored(&p->net.addr)) {
		r->count.ignored_dest++;
		return;
	}
	f = flow_find(r->flows, IPPROTO_UDP, &p->app, &p->net);
	if (!f)
		f = flow_new_mapped(r, &p->app, &p->net);
	if (!f || !f->relay)
		return;
	dgram_seen(r, f);
	if (f->refused)
		dgram_refuse(r, f, run.data, MIN(run.len, run.size));
	else if (relay_flow_waits(f))
		hold_run(r, f, HOOK_UP, &run);
	else
		up_run(r, f, &run, buf);
}

/* --- down: showing, joining, writing -------------------------------------------------------- */

static void write_down(struct relay *r, const struct udpout *u)
{
	int rc = dest_is_dns(&r->dest, &u->from) ? r->local_reply(r, u)
						 : udpout_send(r->sink, u, r->uso, r->mtu);

	/* The device's or socket's queue is full: the packet is lost, as on any link. */
	if (rc)
		r->count.dgram_queue_full++;
}

static void join_flush(struct relay *r)
{
	struct udp_join *j = &r->udp->join;

	if (!j->n)
		return;
	j->u.gso_size = j->n > 1 ? (uint16_t)j->size : 0;
	write_down(r, &j->u);
	j->n = 0;
}

/** join_fits - @u can follow what is joined already */
static bool join_fits(const struct udp_join *j, const struct udpout *u)
{
	return j->n && j->n < JOIN_MAX && !j->full && u->len && u->len <= j->size &&
	       j->u.len + u->len <= JOIN_BYTES && u->ttl == j->u.ttl && u->tos == j->u.tos &&
	       addrport_equal(&u->from, &j->u.from) && addrport_equal(&u->app, &j->u.app);
}

/**
 * join - write @u together with others of its size, or begin anew with it
 *
 * @u's data must stay where it is until join_flush(): only a second datagram
 * makes copying worth it.
 */
static void join(struct relay *r, const struct udpout *u)
{
	struct udp_join *j = &r->udp->join;

	if (join_fits(j, u)) {
		if (j->n == 1) {
			memcpy(j->buf, j->u.data, j->u.len);
			j->u.data = j->buf;
		}
		memcpy(j->buf + j->u.len, u->data, u->len);
		j->u.len += u->len;
		j->full = u->len < j->size;
		j->n++;
		return;
	}
	join_flush(r);
	j->u = *u;
	j->n = 1;
	j->size = u->len;
	/* What needs fragments goes alone, and so does what the device cannot cut. */
	j->full = !r->uso || !u->len || u->len + IP_UDP_MAX > r->mtu;
}

/** emit - datagrams of @run that passed, side by side, to the program */
static void emit(struct relay *r, struct flow *f, const struct udp_run *run)
{
	struct udpout u = {
		.from = f->rec->net,
		.app = f->rec->app,
		.ttl = run->ttl,
		.tos = run->tos,
		.data = run->data,
		.len = run->len,
	};

	if (run->len > run->size) {
		join_flush(r);
		u.gso_size = (uint16_t)run->size;
		write_down(r, &u);
	} else {
		join(r, &u);
	}
}

/** down_passed - facts about one datagram that hooks let pass */
static void down_passed(struct relay *r, struct flow *f, const struct netsock_dgram *d)
{
	struct flow_rec *rec = f->rec;

	if (!rec->first_byte)
		rec->first_byte = r->now;
	rec->down.packets++;
	rec->down.bytes += d->len;
	if (rec->net.port == DNS_PORT && !rec->inbound && r->names) /* a client is no resolver */
		names_learn(r->names, d->data, d->len, r->now);
}

/** down_other - one that is not the peer's own (any more), so alone, and now: its data go away */
static void down_other(struct relay *r, struct flow *f, const struct netsock_dgram *d)
{
	const struct udp_run run = {
		.data = d->data, .len = d->len, .size = d->len, .ttl = d->ttl, .tos = d->tos};

	if (!dgram_within(r, f, HOOK_DOWN, NULL, d->len))
		return;
	down_passed(r, f, d);
	emit(r, f, &run);
	join_flush(r);
}

/** down_made - the peer's datagrams that have waited in the chain; false when the flow has ended */
static bool down_made(struct relay *r, struct flow *f)
{
	struct hook_dgram hd;
	int rc;

	while ((rc = hook_chain_next_datagram(f, HOOK_DOWN, &hd)) > 0) {
		const struct netsock_dgram d = dgram_of(&hd);

		down_other(r, f, &d);
	}
	if (rc)
		block(r, f);
	return !rc;
}

/** struct pass - datagrams in a row that passed and are not written yet */
struct pass {
	struct udp_run run;
	size_t n;
};

static void pass_flush(struct relay *r, struct flow *f, struct pass *pass)
{
	if (pass->n)
		emit(r, f, &pass->run);
	pass->n = pass->run.len = 0;
}

static void pass_add(struct pass *pass, const struct netsock_dgram *d)
{
	if (!pass->n++)
		pass->run.data = d->data;
	pass->run.len += d->len;
}

/** down_run - show the net's datagrams to the hooks and write what passes */
static void down_run(struct relay *r, struct flow *f, const struct udp_run *run)
{
	struct pass pass = {.run = *run};
	struct netsock_dgram d;
	size_t off = 0;

	pass.run.len = 0;
	while (run_next(run, &off, &d)) {
		const uint8_t *own = d.data;
		int verdict = show(r, f, HOOK_DOWN, &d);

		if (!verdict && d.data == own && !f->metered) {
			pass_add(&pass, &d);
			down_passed(r, f, &d);
			continue;
		}
		pass_flush(r, f, &pass);
		if (!verdict)
			down_other(r, f, &d);
		if (verdict == HOOK_BLOCK)
			block(r, f);
		if (verdict == HOOK_BLOCK || (verdict == HOOK_TAKEN && !down_made(r, f)))
			return;
	}
	pass_flush(r, f, &pass);
}

/**
 * filter_passes - may a peer without a flow send to this mapping (RFC 4787, section 5)?
 *
 * The search is as long as the mapping's list of flows: only strangers cost it,
 * and only where the user asked for the address filter.
 */
static bool filter_passes(const struct relay *r, const struct dgram_map *m,
			  const struct addrport *net)
{
	if (r->cfg->udp_filter == FILTER_ENDPOINT)
		return true;
	if (r->cfg->udp_filter == FILTER_PORT)
		return false;
	for (const struct relay_udp *u = m->flows; u; u = u->next)
		if (addr_equal(&u->flow->rec->net.addr, &net->addr))
			return true;
	return false;
}

/** flow_for_peer - the flow that @net's datagram belongs to, or NULL: it is dropped */
static struct flow *flow_for_peer(struct relay *r, struct dgram_map *m, const struct addrport *net)
{
	struct flow *f = flow_find(r->flows, IPPROTO_UDP, &m->app, net);
	struct addrport out;

	if (f)
		return f;
	/* Strangers must not take the table's last places from the program. */
	if (r->draining || flow_count(r->flows) >= r->cfg->max_flows / 2)
		return NULL;
	/* A peer that the program could not answer (the host's loopback) is no peer. */
	if (addr_is_v4(&net->addr) != m->v4 || dest_is_ignored(&net->addr) ||
	    dest_out(&r->dest, net, &out) || !filter_passes(r, m, net))
		return NULL;
	return flow_new_mapped(r, &m->app, net);
}

static void down(struct relay *r, struct dgram_map *m, const struct netsock_dgram *d)
{
	struct udp_run run = {
		.data = d->data,
		.len = d->len,
		.size = d->gso_size ? d->gso_size : d->len,
		.ttl = d->ttl,
		.tos = d->tos,
	};
	struct addrport net;
	struct flow *f;

	if (m->published) {
		f = flow_for_client(r, m, d);
	} else {
		dest_in(&r->dest, &d->peer, &net);
		f = flow_for_peer(r, m, &net);
	}
	if (!f || !f->relay)
		return;
	if (f->refused)
		return;
	dgram_seen(r, f);
	if (relay_flow_waits(f))
		hold_run(r, f, HOOK_DOWN, &run);
	else
		down_run(r, f, &run);
}

/** receive - up to RECV_CALLS batches; then the socket waits for its next turn */
static void receive(struct relay *r, struct dgram_map *m)
{
	struct netsock_dgram d[NETSOCK_DGRAM_BATCH];
	struct relay_udp_state *s = r->udp;

	for (int call = 0; call < RECV_CALLS; call++) {
		int n = netsock_dgram_recv(m->fd, m->v4, d, NETSOCK_DGRAM_BATCH, s->slots,
					   SLOT_SIZE);

		if (n == -EAGAIN)
			return;
		if (n < 0) /* a report; behind it datagrams may wait */
			dgram_drain_errors(r, m, IPPROTO_UDP, NULL);
		for (int i = 0; i < n; i++)
			down(r, m, &d[i]);
		join_flush(r);
		if (n >= 0 && n < NETSOCK_DGRAM_BATCH)
			return;
	}
	netsock_dgram_rearm(r->socks, m->fd, dgram_map_token(m, NETSOCK_UDP), m->backlog.first);
}

void relay_udp_net(struct relay *r, uint64_t token, uint32_t events)
{
	struct dgram_map *m = dgram_map_get(r->udp->maps, token);

	if (!m)
		return;
	if (events & EPOLLERR)
		dgram_drain_errors(r, m, IPPROTO_UDP, NULL);
	if (events & EPOLLOUT && m->backlog.first)
		send_backlog(r, m);
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		receive(r, m);
}

/* --- the flow's other events -------------------------------------------------------------- */

/** play_held - what waited for the owner goes on, in the order of arrival */
static void play_held(struct relay *r, struct flow *f)
{
	struct relay_udp *u = relay_udp_of(f);
	struct dgram_held *held;

	while (f->rec->state == FLOW_OPEN && !f->held && !f->refused &&
	       (held = dgram_hold_pop(&u->held, &r->udp->budget))) {
		struct udp_run run = {
			.data = held->data,
			.len = held->len,
			.size = held->len,
			.ttl = held->ttl,
			.tos = held->tos,
			.df = held->df,
		};

		if (held->dir == HOOK_UP)
			up_run(r, f, &run, NULL);
		else
			down_run(r, f, &run);
		join_flush(r); /* before its data is freed */
		free(held);
	}
}

static void judged(struct relay *r, struct flow *f, enum judge_say say)
{
	if (say == JUDGE_HOLD)
		return;
	if (say == JUDGE_PASS) {
		dgram_opened(r, f);
		if (f->relay)
			play_held(r, f);
		relay_udp_flush(r);
	} else if (say == JUDGE_DROP && f->rec->by == FLOW_BY_HOOK) {
		dgram_end(r, f, FLOW_ENDED_BLOCKED);
	} else {
		block(r, f);
	}
}

void relay_udp_owned(struct relay *r, struct flow *f)
{
	if (f->rec->state < FLOW_JUDGED && !f->refused)
		judged(r, f, relay_flow_owned(r, f));
}

void relay_udp_judged(struct relay *r, struct flow *f, enum judge_say say)
{
	if (f->rec->state == FLOW_OWNED && !f->refused)
		say = relay_flow_passed(r, f, say);
	if (f->refused) { /* not any more: its next datagram is a flow that hooks see from its start
			   */
		dgram_end(r, f, FLOW_ENDED_BLOCKED);
	} else if (f->rec->state <= FLOW_JUDGED) {
		judged(r, f, say);
	} else if (say != JUDGE_PASS && say != JUDGE_HOLD) {
		refuse(r, f);
	} else {
		play_held(r, f);
		relay_udp_flush(r);
	}
}

void relay_udp_woken(struct relay *r, struct flow *f)
{
	if (f->rec->state == FLOW_OPEN && up_made(r, f))
		down_made(r, f);
}

void relay_udp_timeout(struct relay *r, struct flow *f)
{
	if (f->rec->state == FLOW_NEW)
		relay_udp_owned(r, f); /* nobody knows the owner in time */
	else
		dgram_end(r, f, dgram_idle_reason(f));
}

bool relay_udp_idle(const struct flow *f)
{
	const struct relay_udp *u = relay_udp_of(f);

	return f->refused || (!relay_flow_waits(f) && !(u && u->map && u->map->backlog.first));
}

void relay_udp_stop(struct relay *r, struct flow *f)
{
	relay_udp_flush(r);
	dgram_end(r, f, dgram_stop_reason(dgram_idle_reason(f)));
}
