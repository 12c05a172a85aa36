/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A selected program's packets are routed by weir's table alone, so that table gives them
 * their source address and MTU. It must say what the host's own rules and tables would say;
 * these may be many (a VPN, several uplinks, containers), and copying them would mean doing
 * the kernel's work again. Instead the kernel is asked, as the workers' uid, which our own
 * rules let pass: one question for each piece of the address space that no prefix of any
 * route or rule divides further (regions.h). Answers that a wider route gives already are
 * left out; most hosts end up with a default route and little more.
 *
 * IPv6 chooses its source by more than routes: by RFC 6724's labels, and by the longest match
 * with the destination. The prefixes of both divide the space as well.
 *
 * Not asked about: what the host takes itself (table local comes before all rules),
 * multicast, link-local IPv6 addresses (they come with a device) and what is no destination
 * at all. Where the host has no route the table has a `throw` one, behind which a rule gives the
 * error for that (plan.c): no type of route does.
 *
 * Changes are made in an order in which no destination is without a route that it had
 * and keeps: narrow new ones first, then replacements, then deletions.
 */
#include "mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "regions.h"

/* Always asked about: the default way, and what RFC 6724 and its successors label apart. */
static const char *const divided_at[] = {
	"0.0.0.0/0", "::/0", "2000::/3", "2001::/32", "2002::/16", "64:ff9b::/96", "fc00::/7",
};

/* No destinations. ::/8 holds the mapped addresses, which would be taken for IPv4. */
static const char *const holes[] = {
	"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32",
	"::/8",	     "fe80::/10",   "ff00::/8",
};

/* What is known of the host while an update goes on. */
struct view {
	const struct mirror *m;
	struct regions rs;
	struct rtnl_link *links; /* owned */
	size_t n_links;
	struct addr *own6; /* owned; IPv6 addresses of global scope */
	size_t n_own6;
	unsigned mtu; /* the device's */
	int err;
};

static void view_free(struct view *v)
{
	regions_free(&v->rs);
	free(v->links);
	free(v->own6);
}

static int divide(struct view *v, const struct prefix *p, bool hole)
{
	int err = regions_add(&v->rs, p, hole);

	if (err)
		v->err = err;
	return err;
}

static int divide_fixed(struct view *v)
{
	struct prefix p;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(divided_at); i++)
		if (!prefix_parse(divided_at[i], &p))
			divide(v, &p, false);
	for (i = 0; i < ARRAY_SIZE(holes); i++)
		if (!prefix_parse(holes[i], &p))
			divide(v, &p, true);
	return v->err;
}

/** is_destination - false: multicast and link-local, whose inside is not looked at either */
static bool is_destination(const struct prefix *p)
{
	const bool v6_link = !addr_is_v4(&p->addr) && addr_is_link_local(&p->addr);

	return !p->bits || (!addr_is_multicast(&p->addr) && !v6_link);
}

static int on_route(void *ctx, const struct host_route *r)
{
	struct view *v = ctx;

	if (r->table == v->m->table || !is_destination(&r->dst))
		return 0;
	return divide(v, &r->dst, false);
}

static int on_rule(void *ctx, const struct host_rule *r, bool ours)
{
	struct view *v = ctx;

	if (ours || !r->to.bits || !is_destination(&r->to))
		return 0;
	return divide(v, &r->to, false);
}

static int on_local(void *ctx, const struct prefix *p)
{
	return divide(ctx, p, true);
}

static int on_link(void *ctx, const struct rtnl_link *l)
{
	struct view *v = ctx;
	struct rtnl_link *links = reallocarray(v->links, v->n_links + 1, sizeof(*links));

	if (!links)
		return v->err = -ENOMEM;
	v->links = links;
	links[v->n_links++] = *l;
	if (l->ifindex == v->m->ifindex)
		v->mtu = l->mtu;
	return 0;
}

static int on_address(void *ctx, unsigned ifindex, const struct prefix *p)
{
	struct view *v = ctx;
	struct addr *own;

	if (ifindex == v->m->ifindex || addr_is_v4(&p->addr) || addr_is_link_local(&p->addr) ||
	    addr_is_loopback(&p->addr))
		return 0;
	own = reallocarray(v->own6, v->n_own6 + 1, sizeof(*own));
	if (!own)
		return v->err = -ENOMEM;
	v->own6 = own;
	own[v->n_own6++] = p->addr;
	return 0;
}

static int addr_order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct addr));
}

static unsigned common_bits(const struct addr *a, const struct addr *b)
{
	unsigned i = 0;

	while (i < 128 && !((a->b[i / 8] ^ b->b[i / 8]) & (0x80 >> i % 8)))
		i++;
	return i;
}

/**
 * divide_by_match - where two own addresses part, destinations prefer the nearer one
 *
 * Among sorted addresses the neighbours show every such place.
 */
static int divide_by_match(struct view *v)
{
	size_t i;

	if (v->n_own6)
		qsort(v->own6, v->n_own6, sizeof(*v->own6), addr_order);
	for (i = 0; !v->err && i + 1 < v->n_own6; i++) {
		unsigned bits = common_bits(&v->own6[i], &v->own6[i + 1]) + 1;
		struct prefix p = {.addr = v->own6[i], .bits = (uint8_t)bits};

		if (bits > 128) /* the same address on two links */
			continue;
		divide(v, &p, false);
		p.addr = v->own6[i + 1];
		divide(v, &p, false);
	}
	return v->err;
}

/** divide_by_host - the prefixes of its routes, rules and addresses */
static int divide_by_host(struct view *v, struct mirror_report *report)
{
	struct rtnl *nl = v->m->nl;
	int err = rtnl_routes(nl, on_route, v);

	if (err == -E2BIG) {
		report->limited = true;
		err = 0;
	}
	if (!err)
		err = rtnl_rules(nl, on_rule, v);
	if (!err)
		err = rtnl_local_prefixes(nl, on_local, v);
	if (!err)
		err = rtnl_addresses(nl, 0, on_address, v);
	if (!err)
		err = divide_by_match(v);
	return err ? err : v->err;
}

static unsigned link_mtu(const struct view *v, unsigned ifindex)
{
	size_t i;

	for (i = 0; i < v->n_links; i++)
		if (v->links[i].ifindex == ifindex)
			return v->links[i].mtu;
	return 0;
}

/** way_of - what the table shall say for an answer of the kernel */
static struct region_way way_of(const struct view *v, const struct rtnl_way *w)
{
	struct region_way out = {.type = w->local ? ROUTE_LOCAL : w->type};
	unsigned mtu = w->mtu ? w->mtu : link_mtu(v, w->ifindex);

	if (out.type != ROUTE_UNICAST)
		return out;
	out.src = w->src;
	/* one that is bound to a link is none for another device */
	if (!addr_is_v4(&w->src) && addr_is_link_local(&w->src))
		out.src = (struct addr){0};
	out.mtu = mtu < v->mtu ? mtu : 0;
	return out;
}

/** ask - the way to @r; 0 or -errno of what is no answer */
static int ask(struct view *v, struct region *r)
{
	struct rtnl_way w;
	int err = rtnl_way_to(v->m->nl, &r->probe, v->m->uid, 0, &w);

	switch (err) {
	case 0:
		r->way = way_of(v, &w);
		return 0;
	case -ENETUNREACH:
	case -ENETDOWN:
	case -ENODEV:
	case -EADDRNOTAVAIL:
		r->way = (struct region_way){.type = ROUTE_THROW};
		return 0;
	default:
		return err;
	}
}

static int look(struct view *v, struct mirror_report *report)
{
	int err = rtnl_links(v->m->nl, on_link, v);
	size_t i;

	if (!err)
		err = v->err;
	if (!err && !v->mtu)
		err = -ENODEV;
	if (!err)
		err = divide_fixed(v);
	if (!err)
		err = divide_by_host(v, report);
	if (err)
		return err;
	regions_build(&v->rs);
	for (i = 0; !err && i < v->rs.n; i++) {
		if (!v->rs.r[i].has_probe)
			continue;
		err = ask(v, &v->rs.r[i]);
		report->asked++;
	}
	regions_elide(&v->rs);
	return err;
}

/* --- the table ---------------------------------------------------------------------- */

/* Routes of the table, in the order of their prefixes. */
struct routes {
	struct host_route *r; /* owned */
	size_t n, room;
};

static int routes_add(struct routes *rs, const struct host_route *r)
{
	if (rs->n == rs->room) {
		size_t room = rs->room ? 2 * rs->room : 64;
		struct host_route *to = reallocarray(rs->r, room, sizeof(*to));

		if (!to)
			return -ENOMEM;
		rs->r = to;
		rs->room = room;
	}
	rs->r[rs->n++] = *r;
	return 0;
}

static int wanted_routes(const struct view *v, struct routes *out)
{
	size_t i;
	int err = 0;

	for (i = 0; !err && i < v->rs.n; i++) {
		const struct region *g = &v->rs.r[i];
		struct host_route r = {.v6 = !addr_is_v4(&g->p.addr),
				       .type = g->way.type,
				       .table = v->m->table,
				       .dst = g->p};

		if (!g->keep)
			continue;
		if (r.type == ROUTE_UNICAST) {
			r.ifindex = v->m->ifindex;
			r.src = g->way.src;
			r.mtu = g->way.mtu;
		}
		err = routes_add(out, &r);
	}
	return err;
}

struct collect {
	struct routes *to;
	int err;
};

/** on_present - a route with a metric is not the mirror's */
static int on_present(void *ctx, const struct host_route *r)
{
	struct collect *c = ctx;

	if (!r->metric)
		c->err = routes_add(c->to, r);
	return c->err;
}

static int route_order(const void *a, const void *b)
{
	const struct host_route *x = a, *y = b;

	return prefix_compare(&x->dst, &y->dst);
}

static int present_routes(const struct mirror *m, struct routes *out)
{
	struct collect c = {.to = out};
	int err = rtnl_table_routes(m->nl, m->table, on_present, &c);

	if (!err)
		err = c.err;
	if (!err && out->n)
		qsort(out->r, out->n, sizeof(*out->r), route_order);
	return err;
}

static bool route_same(const struct host_route *a, const struct host_route *b)
{
	const bool no_src = addr_is_unspecified(&a->src) && addr_is_unspecified(&b->src);

	return a->type == b->type && a->ifindex == b->ifindex && a->mtu == b->mtu &&
	       (no_src || addr_equal(&a->src, &b->src));
}

static void apply(struct mirror_report *report, int err, unsigned *count)
{
	if (!err)
		++*count;
	else if (!report->failed)
		report->failed = err;
}

/** find - the route to @dst in @in, which is sorted; NULL: none */
static const struct host_route *find(const struct routes *in, const struct host_route *like)
{
	return in->n ? bsearch(like, in->r, in->n, sizeof(*in->r), route_order) : NULL;
}

/**
 * change - from @present to @wanted
 *
 * What is wanted goes backwards: there what is inside a prefix comes before it, so that a wide
 * route never answers for a narrow one that is still to come.
 */
static void change(const struct mirror *m, const struct routes *present,
		   const struct routes *wanted, struct mirror_report *report)
{
	const struct host_route *was;
	size_t i;

	for (i = wanted->n; i-- > 0;)
		if (!find(present, &wanted->r[i]))
			apply(report, rtnl_route_replace(m->nl, &wanted->r[i]), &report->added);
	for (i = wanted->n; i-- > 0;) {
		was = find(present, &wanted->r[i]);
		if (was && !route_same(was, &wanted->r[i]))
			apply(report, rtnl_route_replace(m->nl, &wanted->r[i]), &report->replaced);
	}
	for (i = 0; i < present->n; i++) {
		int err = find(wanted, &present->r[i]) ? 1 : rtnl_route_del(m->nl, &present->r[i]);

		if (err <= 0 && err != -ESRCH) /* somebody else was faster */
			apply(report, err, &report->deleted);
	}
}

int mirror_update(const struct mirror *m, struct mirror_report *report)
{
	struct routes present = {0}, wanted = {0};
	struct view v = {.m = m};
	int err;

	*report = (struct mirror_report){0};
	err = look(&v, report);
	if (!err)
		err = wanted_routes(&v, &wanted);
	if (!err)
		err = present_routes(m, &present);
	if (!err) {
		change(m, &present, &wanted, report);
		report->routes = (unsigned)wanted.n;
	}
	free(present.r);
	free(wanted.r);
	view_free(&v);
	return err;
}
