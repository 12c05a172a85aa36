/* SPDX-License-Identifier: MIT */
#include "relay_in.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define ACCEPT_BATCH 64	  /* connections of one listener in one turn */
#define PORT_TRIES   64	  /* other ports of a peer that are looked at */
#define PORT_FIRST   1024 /* of them: none that programs take for a sign of privilege */
#define PORTS	     65536
#define SLOTS_MAX    4096
#define GEN_MASK     0xfffffffU /* what a token holds of an id */

/** struct in_slot - one listener; @l.id 0: free */
struct in_slot {
	struct listener l;
	int fd;	     /* owned; TCP */
	int64_t udp; /* of relay_udp_publish() */
	bool starved;
};

struct relay_in {
	struct in_slot *slots;
	uint32_t n; /* all are below */
	uint16_t next_port;
};

int relay_in_init(struct relay *r)
{
	r->in = calloc(1, sizeof(*r->in));
	return r->in ? 0 : -ENOMEM;
}

void relay_in_exit(struct relay *r)
{
	if (!r->in)
		return;
	relay_in_close(r);
	free(r->steered_from);
	r->steered_from = NULL;
	free(r->in->slots);
	free(r->in);
	r->in = NULL;
}

static struct in_slot *slot_new(struct relay_in *in)
{
	struct in_slot *more;

	for (uint32_t i = 0; i < in->n; i++)
		if (!in->slots[i].l.id)
			return &in->slots[i];
	if (in->n == SLOTS_MAX)
		return NULL;
	more = realloc(in->slots, (in->n + 1) * sizeof(*more));
	if (!more)
		return NULL;
	in->slots = more;
	in->slots[in->n] = (struct in_slot){.fd = -1};
	return &in->slots[in->n++];
}

static uint64_t slot_token(const struct relay *r, const struct in_slot *s)
{
	return netsock_token(NETSOCK_LISTEN, (uint32_t)(s - r->in->slots), s->l.id);
}

/** add_failed - 0, or why @l can't be added to @s */
static int add_failed(struct relay *r, const struct in_slot *s, const struct listener *l)
{
	if (!s)
		return -ENOBUFS;
	if (!l->id || (l->steered && (!l->peer_lo || l->peer_lo > l->peer_hi)))
		return -EINVAL;
	if (l->steered && !r->steered_from)
		r->steered_from = calloc(PORTS, sizeof(*r->steered_from));
	return l->steered && !r->steered_from ? -ENOMEM : 0;
}

int relay_in_add(struct relay *r, const struct listener *l, int fd)
{
	struct in_slot *s = slot_new(r->in);
	int rc = add_failed(r, s, l);

	if (rc) {
		netsock_close(&fd);
		return rc;
	}
	*s = (struct in_slot){.l = *l, .fd = -1};
	if (l->proto == IPPROTO_UDP) {
		s->udp = relay_udp_publish(r, &l->app, l->host.port,
					   !addr_is_unspecified(&l->host.addr), fd);
		rc = s->udp < 0 ? (int)s->udp : 0;
	} else {
		s->fd = fd;
		rc = netsock_listen_watch(r->socks, fd, slot_token(r, s));
	}
	if (!rc)
		return 0;
	netsock_close(&s->fd);
	s->l.id = 0;
	return rc;
}

static void slot_close(struct relay *r, struct in_slot *s)
{
	if (s->l.id && s->l.proto == IPPROTO_UDP)
		relay_udp_unpublish(r, (uint64_t)s->udp);
	netsock_close(&s->fd);
	s->starved = false;
	s->l.id = 0;
}

void relay_in_remove(struct relay *r, uint32_t id)
{
	for (uint32_t i = 0; i < r->in->n; i++)
		if (id && r->in->slots[i].l.id == id)
			slot_close(r, &r->in->slots[i]);
}

void relay_in_close(struct relay *r)
{
	for (uint32_t i = 0; i < r->in->n; i++)
		slot_close(r, &r->in->slots[i]);
}

/**
 * port_fits - no other connection looks the same inside with @p's port
 *
 * A steered peer is in one namespace with itself: its own 4-tuple is that of the accepted socket,
 * and so is another of its ports that of another one. Whose ports those are is not looked at.
 */
static bool port_fits(const struct relay *r, const struct in_slot *s, const struct relay_peer *p)
{
	if (s->l.steered && (p->net.port == p->client.port || r->steered_from[p->net.port]))
		return false;
	return !flow_find(r->flows, IPPROTO_TCP, &p->app, &p->net);
}

/**
 * pick_port - the peer's own port, or another that makes the connection one of its kind
 *
 * Returns false when there is none: then so many are open that one less does no harm.
 */
static bool pick_port(struct relay *r, const struct in_slot *s, struct relay_peer *p)
{
	const uint16_t lo = s->l.steered ? s->l.peer_lo : PORT_FIRST;
	const uint16_t hi = s->l.steered ? s->l.peer_hi : UINT16_MAX;
	struct relay_in *in = r->in;

	for (int i = 0; i < PORT_TRIES; i++) {
		if (port_fits(r, s, p))
			return true;
		if (in->next_port < lo || in->next_port > hi)
			in->next_port = lo;
		p->net.port = in->next_port++;
	}
	return false;
}

/** came - a connection was accepted as @fd */
static void came(struct relay *r, const struct in_slot *s, struct relay_peer *p, int fd)
{
	if (!s->l.steered) {
		p->app = s->l.app;
		p->host_port = s->l.host.port;
	}
	p->net.addr = dest_client(&r->dest, &p->client.addr);
	p->net.port = p->client.port;
	/* Who connects to the steered listener's own address was not steered here. */
	if (addr_is_v4(&p->net.addr) != addr_is_v4(&p->app.addr) ||
	    (s->l.steered && addr_is_loopback(&p->app.addr)) || !pick_port(r, s, p)) {
		netsock_reset(&fd);
		return;
	}
	relay_tcp_accepted(r, p, fd);
}

static bool is_shortage(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -ENOBUFS;
}

/** accept_some - up to a batch; the rest has its next turn */
static void accept_some(struct relay *r, struct in_slot *s)
{
	struct relay_peer p = {.host_port = 0};
	int fd = 0;

	s->starved = false;
	for (int n = 0; n < ACCEPT_BATCH; n++) {
		fd = netsock_accept(s->fd, &p.client, s->l.steered ? &p.app : NULL);
		if (fd < 0)
			break;
		came(r, s, &p, fd);
	}
	if (fd >= 0) {
		netsock_dgram_rearm(r->socks, s->fd, slot_token(r, s), false);
	} else if (is_shortage(fd)) {
		s->starved = true;
		r->notice(r->ctx, "accept", "connections to port %u wait: %s", s->l.host.port,
			  strerror(-fd));
	}
}

void relay_in_event(struct relay *r, uint64_t token)
{
	uint32_t i = netsock_token_index(token);
	struct in_slot *s = i < r->in->n ? &r->in->slots[i] : NULL;

	if (s && s->fd >= 0 && (s->l.id & GEN_MASK) == netsock_token_gen(token))
		accept_some(r, s);
}

void relay_in_tick(struct relay *r)
{
	for (uint32_t i = 0; i < r->in->n; i++)
		if (r->in->slots[i].starved)
			accept_some(r, &r->in->slots[i]);
}

bool relay_in_waits(const struct relay *r)
{
	for (uint32_t i = 0; i < r->in->n; i++)
		if (r->in->slots[i].starved)
			return true;
	return false;
}
