/* SPDX-License-Identifier: MIT */
#include "inbound_select.h"

#include <string.h>

#include "base/util.h"

#define PORTS_MIN 1024 /* with fewer for peers too many connections would look the same */

_Static_assert(SELECT_MAX <= 64, "a selector is a bit of a word of 64");
_Static_assert(SELECT_CGROUPS_MAX <= IB_CGROUPS_MAX, "every cgroup has its place");

/* --- which selectors ---------------------------------------------------------------------- */

static bool takes_tcp(const struct selector *sel)
{
	if (sel->narrow.protos && !(sel->narrow.protos & SELECT_TCP))
		return false;
	for (unsigned i = 0; i < sel->n_excepts; i++)
		if (sel->excepts[i].kind == EXCEPT_PROTO && sel->excepts[i].proto & SELECT_TCP)
			return false;
	return true;
}

/** can_follow - leaving aside excepted ports */
static bool can_follow(const struct selector *sel)
{
	for (unsigned i = 0; i < sel->n_excepts; i++)
		if (sel->excepts[i].kind == EXCEPT_CGROUP)
			return false;
	return sel->kind != SELECT_NETNS && sel->kind != SELECT_MARK &&
	       sel->kind != SELECT_CGROUP && !sel->narrow.n_ports;
}

static bool excepts_ports(const struct selector *sel)
{
	for (unsigned i = 0; i < sel->n_excepts; i++)
		if (sel->excepts[i].kind == EXCEPT_PORT)
			return true;
	return false;
}

static bool excepts_port(const struct selector *sel, unsigned port)
{
	for (unsigned i = 0; i < sel->n_excepts; i++) {
		const struct select_except *e = &sel->excepts[i];

		if (e->kind == EXCEPT_PORT && port >= e->port.lo && port <= e->port.hi)
			return true;
	}
	return false;
}

static bool port_is_free(const struct inbound_select *o, const struct selection *s, unsigned port)
{
	for (unsigned i = 0; i < s->n; i++)
		if (o->all >> i & 1 && excepts_port(&s->list[i], port))
			return false;
	return true;
}

/** choose_ports - the longest row of ports that nobody excepts; false: it is too short */
static bool choose_ports(struct inbound_select *o, const struct selection *s)
{
	unsigned first = INBOUND_PORT_LO, best = 0;

	for (unsigned p = INBOUND_PORT_LO; p <= INBOUND_PORT_HI + 1U; p++) {
		if (p <= INBOUND_PORT_HI && port_is_free(o, s, p))
			continue;
		if (p - first > best) {
			best = p - first;
			o->ports.lo = (uint16_t)first;
			o->ports.hi = (uint16_t)(p - 1);
		}
		first = p + 1;
	}
	return best >= PORTS_MIN;
}

static void choose_selectors(struct inbound_select *o, const struct selection *s)
{
	bool short_of_ports;

	for (unsigned i = 0; i < s->n; i++)
		if (takes_tcp(&s->list[i]))
			o->all |= 1ULL << i;
	short_of_ports = !choose_ports(o, s);
	o->obstacle = -1;
	for (unsigned i = 0; i < s->n && o->obstacle < 0; i++)
		if (o->all >> i & 1 &&
		    (!can_follow(&s->list[i]) || (short_of_ports && excepts_ports(&s->list[i]))))
			o->obstacle = (int)i;
}

/* --- whose sockets --------------------------------------------------------------------------- */

static void add_cond(struct inbound_select *o, struct ib_cond c)
{
	weir_assert(o->n_conds < IB_CONDS_MAX);
	o->conds[o->n_conds++] = c;
}

static void add_ids(struct inbound_select *o, const struct selection *s,
		    const struct select_ids *ids, struct ib_cond c)
{
	for (unsigned i = 0; i < ids->n; i++) {
		c.a = s->ranges[ids->first + i].lo;
		c.b = s->ranges[ids->first + i].hi;
		add_cond(o, c);
	}
}

static void add_owner(struct inbound_select *o, const struct selection *s,
		      const struct selector *sel, uint64_t bit)
{
	switch (sel->kind) {
	case SELECT_USER:
		add_ids(o, s, &sel->ids, (struct ib_cond){.what = IB_UID, .take = bit});
		break;
	case SELECT_GROUP:
		add_ids(o, s, &sel->ids, (struct ib_cond){.what = IB_GID, .take = bit});
		break;
	case SELECT_CGROUP:
		o->cgroups[sel->cgroup].take |= bit;
		break;
	case SELECT_ALL:
		add_cond(o, (struct ib_cond){.what = IB_ANYBODY, .take = bit});
		break;
	case SELECT_NETNS:
	case SELECT_MARK:
		break;
	}
}

static void add_except(struct inbound_select *o, const struct selection *s,
		       const struct select_except *e, uint64_t bit, uint32_t own_marks)
{
	switch (e->kind) {
	case EXCEPT_USER:
		add_ids(o, s, &e->ids, (struct ib_cond){.what = IB_UID, .except = bit});
		break;
	case EXCEPT_GROUP:
		add_ids(o, s, &e->ids, (struct ib_cond){.what = IB_GID, .except = bit});
		break;
	case EXCEPT_CGROUP:
		o->cgroups[e->cgroup].except |= bit;
		break;
	case EXCEPT_MARK:
		add_cond(o, (struct ib_cond){.what = IB_MARK,
					     .a = e->mask & ~own_marks,
					     .b = e->mark,
					     .except = bit});
		break;
	case EXCEPT_PROTO:
	case EXCEPT_TO:
	case EXCEPT_PORT:
		break;
	}
}

/* --- which peers -------------------------------------------------------------------------------
 */

static bool covers(const struct prefix *a, const struct prefix *b)
{
	return addr_is_v4(&a->addr) == addr_is_v4(&b->addr) && a->bits <= b->bits &&
	       addr_in_prefix(&b->addr, a);
}

/** sends_to - does @sel take what is sent to all of @p? Prefixes never overlap in part */
static bool sends_to(const struct selector *sel, const struct prefix *p)
{
	bool in = !sel->narrow.n_to;

	for (unsigned i = 0; i < sel->narrow.n_to && !in; i++)
		in = covers(&sel->narrow.to[i], p);
	for (unsigned i = 0; i < sel->n_excepts && in; i++)
		in = sel->excepts[i].kind != EXCEPT_TO || !covers(&sel->excepts[i].to, p);
	return in;
}

/** on_link - no address to forge a connection from: its zone is not in the packet */
static bool on_link(const struct prefix *p, bool link_local_pass)
{
	struct prefix v4, v6;

	weir_assert(!prefix_parse("169.254.0.0/16", &v4) && !prefix_parse("fe80::/10", &v6));
	return covers(&v6, p) || (link_local_pass && covers(&v4, p));
}

static void key_of(const struct prefix *p, struct ib_prefix *k)
{
	unsigned bits = p->bits + (addr_is_v4(&p->addr) ? 96U : 0);

	k->bits = bits;
	memcpy(k->addr, p->addr.b, sizeof(k->addr));
	for (unsigned i = bits; i < 128; i++)
		k->addr[i / 8] &= (uint8_t) ~(0x80U >> i % 8);
}

static void add_peer(struct inbound_select *o, const struct selection *s, const struct prefix *p,
		     bool link_local_pass)
{
	struct inbound_peer *peer = &o->peers[o->n_peers];

	weir_assert(o->n_peers < IB_PREFIXES_MAX);
	peer->take = 0;
	for (unsigned i = 0; i < s->n; i++)
		if (sends_to(&s->list[i], p) && !on_link(p, link_local_pass))
			peer->take |= 1ULL << i;
	peer->take &= o->all;
	key_of(p, &peer->key);
	for (unsigned i = 0; i < o->n_peers; i++)
		if (!memcmp(&o->peers[i].key, &peer->key, sizeof(peer->key)))
			return;
	o->n_peers++;
}

/** add_peers - every prefix that a selector names, as for each of them others may apply */
static void add_peers(struct inbound_select *o, const struct selection *s, bool link_local_pass)
{
	static const char *const always[] = {"0.0.0.0/0", "::/0", "169.254.0.0/16", "fe80::/10"};
	struct prefix p;

	for (size_t i = 0; i < ARRAY_SIZE(always); i++) {
		weir_assert(!prefix_parse(always[i], &p));
		add_peer(o, s, &p, link_local_pass);
	}
	for (unsigned i = 0; i < s->n; i++) {
		const struct selector *sel = &s->list[i];

		for (unsigned k = 0; k < sel->narrow.n_to; k++)
			add_peer(o, s, &sel->narrow.to[k], link_local_pass);
		for (unsigned k = 0; k < sel->n_excepts; k++)
			if (sel->excepts[k].kind == EXCEPT_TO)
				add_peer(o, s, &sel->excepts[k].to, link_local_pass);
	}
}

void inbound_select_make(struct inbound_select *out, const struct selection *s, uint32_t own_marks,
			 bool link_local_pass)
{
	memset(out, 0, sizeof(*out));
	choose_selectors(out, s);
	for (unsigned i = 0; i < s->n; i++) {
		const uint64_t bit = 1ULL << i & out->all;
		const struct selector *sel = &s->list[i];

		add_owner(out, s, sel, bit);
		for (unsigned k = 0; k < sel->n_excepts; k++)
			add_except(out, s, &sel->excepts[k], bit, own_marks);
	}
	out->n_cgroups = s->n_cgroups;
	add_peers(out, s, link_local_pass);
}
