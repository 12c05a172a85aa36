/* SPDX-License-Identifier: MIT */
#include "relay_dgram.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>

#include <linux/errqueue.h>

#include "base/util.h"

/* --- held datagrams ---------------------------------------------------------------- */

int dgram_hold_push(struct dgram_hold *h, struct dgram_budget *b, struct flow_ref flow,
		    enum hook_dir dir, const struct netsock_dgram *d)
{
	size_t cost = sizeof(struct dgram_held) + d->len; /* many are small, or empty */
	struct dgram_held *held;

	if (h->count >= DGRAM_HOLD_MAX || h->bytes + d->len > b->flow_max ||
	    b->used + cost > b->max)
		return -ENOBUFS;
	held = malloc(sizeof(*held) + d->len);
	if (!held)
		return -ENOMEM;
	*held = (struct dgram_held){
		.flow = flow,
		.peer = d->peer,
		.local = d->local,
		.dir = dir,
		.ttl = d->ttl,
		.tos = d->tos,
		.df = d->df,
		.len = d->len,
	};
	if (d->len)
		memcpy(held->data, d->data, d->len);
	if (h->last)
		h->last->next = held;
	else
		h->first = held;
	h->last = held;
	h->count++;
	h->bytes += d->len;
	b->used += cost;
	return 0;
}

struct dgram_held *dgram_hold_pop(struct dgram_hold *h, struct dgram_budget *b)
{
	struct dgram_held *held = h->first;

	if (!held)
		return NULL;
	h->first = held->next;
	if (!h->first)
		h->last = NULL;
	held->next = NULL;
	h->count--;
	h->bytes -= held->len;
	b->used -= sizeof(*held) + held->len;
	return held;
}

void dgram_hold_drop_all(struct dgram_hold *h, struct dgram_budget *b)
{
	struct dgram_held *held;

	while ((held = dgram_hold_pop(h, b)))
		free(held);
}

struct netsock_dgram dgram_held_view(const struct dgram_held *held)
{
	return (struct netsock_dgram){
		.peer = held->peer,
		.local = held->local,
		.ttl = held->ttl,
		.tos = held->tos,
		.df = held->df,
		.data = held->data,
		.len = held->len,
	};
}

/* --- mappings ------------------------------------------------------------------------ */

#define TOKEN_GEN_MASK 0xfffffffU /* what a token holds of a generation */

/** struct map_slot - an entry of the table; survives the mappings that use it in turn */
struct map_slot {
	struct dgram_map *map; /* owned; NULL = free */
	uint32_t gen;
	uint32_t next_free; /* 1 + index */
};

struct dgram_maps {
	struct map_slot *slots;
	uint32_t *buckets; /* 1 + index */
	uint32_t size;	   /* of both, a power of two */
	uint32_t count, fresh, free_head;
	struct hash_key hash_key;
};

/** struct map_key - hashed as memory: no padding */
struct map_key {
	struct addr addr;
	uint16_t port;
};

static uint32_t *bucket_of(const struct dgram_maps *t, const struct addrport *app)
{
	struct map_key k = {.addr = app->addr, .port = app->port};

	_Static_assert(sizeof(k) == 18, "no padding: it is hashed as memory");
	return &t->buckets[hash_bytes(&t->hash_key, &k, sizeof(k)) & (t->size - 1)];
}

static void bucket_add(struct dgram_maps *t, struct dgram_map *m)
{
	uint32_t *bucket = bucket_of(t, &m->app);

	m->hash_next = *bucket;
	*bucket = m->index + 1;
}

/** maps_grow - twice the slots and buckets (or the first ones); 0 or -ENOMEM */
static int maps_grow(struct dgram_maps *t)
{
	uint32_t size = t->size ? t->size * 2 : 64;
	uint32_t *buckets = calloc(size, sizeof(*buckets));
	struct map_slot *slots = realloc(t->slots, size * sizeof(*slots));

	if (slots) {
		memset(slots + t->size, 0, (size - t->size) * sizeof(*slots));
		t->slots = slots;
	}
	if (!slots || !buckets) {
		free(buckets);
		return -ENOMEM;
	}
	free(t->buckets);
	t->buckets = buckets;
	t->size = size;
	for (uint32_t i = 0; i < t->fresh; i++)
		if (t->slots[i].map)
			bucket_add(t, t->slots[i].map);
	return 0;
}

struct dgram_maps *dgram_maps_new(void)
{
	struct dgram_maps *t = calloc(1, sizeof(*t));

	if (t && (hash_key_random(&t->hash_key) || maps_grow(t))) {
		dgram_maps_free(t);
		return NULL;
	}
	return t;
}

static void map_destroy(struct dgram_map *m)
{
	netsock_close(&m->fd);
	free(m);
}

void dgram_maps_free(struct dgram_maps *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; i < t->fresh; i++)
		if (t->slots[i].map)
			map_destroy(t->slots[i].map);
	free(t->slots);
	free(t->buckets);
	free(t);
}

unsigned dgram_maps_count(const struct dgram_maps *t)
{
	return t->count;
}

/** map_find - not a private one */
static struct dgram_map *map_find(const struct dgram_maps *t, const struct addrport *app)
{
	uint32_t i = *bucket_of(t, app);

	while (i) {
		struct dgram_map *m = t->slots[i - 1].map;

		if (!m->private && addrport_equal(&m->app, app))
			return m;
		i = m->hash_next;
	}
	return NULL;
}

/** slot_take - index of a free slot, or -ENOMEM */
static int64_t slot_take(struct dgram_maps *t)
{
	uint32_t i;

	if (t->free_head) {
		i = t->free_head - 1;
		t->free_head = t->slots[i].next_free;
		return i;
	}
	if (t->fresh == t->size && maps_grow(t))
		return -ENOMEM;
	return t->fresh++;
}

struct dgram_map *dgram_map_new(struct dgram_maps *t, const struct addrport *app)
{
	struct dgram_map *m = calloc(1, sizeof(*m));
	int64_t i;

	if (!m)
		return NULL;
	i = slot_take(t);
	if (i < 0) {
		free(m);
		return NULL;
	}
	m->index = (uint32_t)i;
	m->gen = t->slots[i].gen;
	m->app = *app;
	m->fd = -1;
	m->v4 = addr_is_v4(&app->addr);
	m->out_first = m->out_last = DGRAM_NONE;
	t->slots[i].map = m;
	t->count++;
	bucket_add(t, m);
	return m;
}

static int map_socket(struct relay *r, const struct dgram_map *m, enum netsock_kind kind)
{
	uint64_t token = dgram_map_token(m, kind);
	uint16_t ident = m->app.port;

	return kind == NETSOCK_UDP ? netsock_udp_open(r->socks, m->v4, m->app.port, token)
				   : netsock_icmp_open(r->socks, m->v4, &ident, token);
}

struct dgram_map *dgram_map_open(struct relay *r, struct dgram_maps *t, const struct addrport *app,
				 enum netsock_kind kind, int *err)
{
	struct dgram_map *m = map_find(t, app);
	int fd;

	if (m)
		return m;
	m = dgram_map_new(t, app);
	if (!m) {
		*err = ENOMEM;
		return NULL;
	}
	fd = map_socket(r, m, kind);
	if (fd < 0) {
		*err = -fd;
		dgram_map_free(t, m);
		return NULL;
	}
	m->fd = fd;
	return m;
}

struct dgram_map *dgram_map_get(const struct dgram_maps *t, uint64_t token)
{
	uint32_t i = netsock_token_index(token);

	if (i >= t->fresh || !t->slots[i].map || t->slots[i].gen != netsock_token_gen(token))
		return NULL;
	return t->slots[i].map;
}

uint64_t dgram_map_token(const struct dgram_map *m, enum netsock_kind kind)
{
	return netsock_token(kind, m->index, m->gen);
}

void dgram_map_free(struct dgram_maps *t, struct dgram_map *m)
{
	struct map_slot *slot = &t->slots[m->index];
	uint32_t *link = bucket_of(t, &m->app);

	weir_assert(!m->backlog.first && !m->dirty && slot->map == m);
	while (*link != m->index + 1)
		link = &t->slots[*link - 1].map->hash_next;
	*link = m->hash_next;
	slot->map = NULL;
	slot->gen = (slot->gen + 1) & TOKEN_GEN_MASK;
	slot->next_free = t->free_head;
	t->free_head = m->index + 1;
	t->count--;
	map_destroy(m);
}

/* --- errors for the program ------------------------------------------------------------ */

struct icmp_error dgram_prohibited(const struct addr *net)
{
	bool v4 = addr_is_v4(net);

	return (struct icmp_error){
		.from = *net,
		.type = v4 ? ICMP_DEST_UNREACH : ICMP6_DST_UNREACH,
		.code = v4 ? ICMP_PKT_FILTERED : ICMP6_DST_UNREACH_ADMIN,
	};
}

void dgram_give_error(struct relay *r, struct flow *f, int err, const struct icmp_error *e,
		      const void *payload, size_t len)
{
	struct flow_rec *rec = f->rec;

	if (err)
		rec->net_errno = err;
	/* A resolver on the programs' own loopback: no packet of ours can reach them there. */
	if (dest_is_dns(&r->dest, &rec->net))
		return;
	icmp_send_error_tuple(r->sink, rec->proto, &rec->app, &rec->net, rec->icmp_ident, payload,
			      len, e);
}

void dgram_give_errno(struct relay *r, struct flow *f, int err, uint32_t mtu, const void *payload,
		      size_t len)
{
	struct icmp_error e;

	/* Where no ICMP carries the error the nearest one is better than silence. */
	icmp_error_for_errno(err, &f->rec->net.addr, mtu, &e);
	dgram_give_error(r, f, err, &e, payload, len);
}

/**
 * offender_inside - the address that the program may know the reporter by
 *
 * A report of the host's own stack may carry an address that cannot come from
 * outside here; the destination speaks in its place.
 */
static struct addr offender_inside(const struct relay *r, const struct addr *offender,
				   const struct addr *net)
{
	struct addrport who = {.addr = *offender}, inside, unused;

	if (addr_is_unspecified(offender) || addr_is_v4(offender) != addr_is_v4(net))
		return *net;
	dest_in(&r->dest, &who, &inside);
	if (!addr_is_link_local(&inside.addr) && dest_out(&r->dest, &inside, &unused))
		return *net;
	addr_set_zone(&inside.addr, 0); /* not on the wire */
	return inside.addr;
}

/** report - one remote error, to the flow whose datagram met it; it may have ended */
static void report(struct relay *r, struct dgram_map *m, uint8_t proto,
		   const struct netsock_dgram_error *q)
{
	struct addrport net;
	struct icmp_error e;
	struct flow *f;

	dest_in(&r->dest, &q->peer, &net);
	if (m->published)
		net.addr = dest_client(&r->dest, &q->peer.addr);
	if (proto != IPPROTO_UDP)
		net.port = 0;
	f = flow_find(r->flows, proto, &m->app, &net);
	if (!f)
		return;
	e = (struct icmp_error){
		.from = offender_inside(r, &q->offender, &net.addr),
		.type = q->type,
		.code = q->code,
		.info = q->info,
	};
	dgram_give_error(r, f, q->err, &e, q->data, q->len);
}

unsigned dgram_drain_errors(struct relay *r, struct dgram_map *m, uint8_t proto, uint32_t *mtu)
{
	struct netsock_dgram_error q;
	unsigned remote = 0;

	for (int n = 0; n < DGRAM_ERRORS_MAX && netsock_dgram_error(m->fd, m->v4, &q) > 0; n++) {
		if (q.origin == SO_EE_ORIGIN_ICMP || q.origin == SO_EE_ORIGIN_ICMP6) {
			remote++;
			report(r, m, proto, &q);
		} else if (q.origin == SO_EE_ORIGIN_LOCAL && q.err == EMSGSIZE && mtu) {
			*mtu = q.info;
		}
	}
	return remote;
}

int dgram_send(struct relay *r, struct dgram_map *m, uint8_t proto, const struct netsock_dgram *d,
	       int n, uint32_t *mtu)
{
	int rc = netsock_dgram_send(m->fd, m->v4, d, n);

	*mtu = 0;
	for (int again = 0; rc < 0 && rc != -EAGAIN && again < 2; again++) {
		/* The second time only if a new report came in between. */
		if (!dgram_drain_errors(r, m, proto, mtu) && again)
			break;
		rc = netsock_dgram_send(m->fd, m->v4, d, n);
	}
	return rc;
}

void dgram_refuse(struct relay *r, struct flow *f, const void *payload, size_t len)
{
	struct icmp_error e = dgram_prohibited(&f->rec->net.addr);

	if (!f->refused) {
		f->refused = true;
		dgram_seen(r, f); /* from here on it may make room for others */
	}
	if (f->rec->verdict != FLOW_DROP)
		dgram_give_error(r, f, 0, &e, payload, len);
}

bool dgram_within(struct relay *r, struct flow *f, enum hook_dir dir, const void *payload,
		  size_t len)
{
	struct icmp_error e = dgram_prohibited(&f->rec->net.addr);

	if (!f->metered)
		return true;
	if (judge_allowance(r, f, len) >= len) {
		judge_spend(r, f, len);
		return true;
	}
	r->notice(r->ctx, "quota", "datagrams beyond a quota are refused");
	if (dir == HOOK_UP)
		dgram_give_error(r, f, 0, &e, payload, len);
	return false;
}

void dgram_opened(struct relay *r, struct flow *f)
{
	flow_set_state(r->flows, f, FLOW_OPEN);
	r->flow_opened(r->ctx, f);
	dgram_seen(r, f);
	judge_opened(r, f);
}

void dgram_seen(struct relay *r, struct flow *f)
{
	flow_touch(r->flows, f, r->now);
	timers_datagram(r->timers, f, r->now);
}

void dgram_end(struct relay *r, struct flow *f, enum flow_reason reason)
{
	if (f->rec->state == FLOW_CLOSING)
		return;
	relay_flow_end(r, f, reason);
	flow_release(r->flows, f);
}

enum flow_reason dgram_idle_reason(const struct flow *f)
{
	if (f->refused || f->held)
		return FLOW_ENDED_BLOCKED;
	if (f->rec->net_errno && !f->rec->down.packets)
		return FLOW_ENDED_REFUSED;
	return FLOW_ENDED_TIMEOUT;
}

enum flow_reason dgram_stop_reason(enum flow_reason idle)
{
	return idle == FLOW_ENDED_TIMEOUT ? FLOW_ENDED_SHUTDOWN : idle;
}
