/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Lists are read whole before anybody sees them: a dump that was interrupted by a change
 * is read again, and whoever looks at a list may change the tables meanwhile.
 *
 * Five habits of the kernel matter:
 *
 *  - RTM_DELRULE takes the first rule that has the attributes given; those not given match
 *    anything. So the list is read first, and rules in front that would be taken instead
 *    are lifted and put back (rtnl_rule_del).
 *  - RTM_NEWRULE with NLM_F_EXCL compares everything, the protocol included: a person's
 *    equal rule does not keep ours from being added, nor ours from being deleted alone.
 *  - A metric that is not given in RTM_DELROUTE matches any one. IPv6 names its default
 *    (1024), which is therefore always said; here it is 0 as it is for IPv4.
 *  - What leads nowhere is answered by an error: EHOSTUNREACH, EINVAL and EACCES are what
 *    unreachable, blackhole and prohibit routes say, ENETUNREACH that there is no route.
 *  - A dump that names a table which does not exist is answered by ENOENT.
 */
#include "rtnl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include "base/util.h"
#include "nlmsg.h"

struct rtnl {
	struct nlmsg nl;
};

#define LOOPBACK_IFINDEX  1    /* in every network namespace */
#define V6_DEFAULT_METRIC 1024 /* IP6_RT_PRIO_USER */
#define DUMP_TRIES	  8    /* a list that changes each time it is read: -EAGAIN */
#define FRA_DPORT_MASK_	  29   /* FRA_DPORT_MASK: newer than the headers of Debian 12 */

int rtnl_open(struct rtnl **out)
{
	struct rtnl *nl = calloc(1, sizeof(*nl));
	int err;

	*out = NULL;
	if (!nl)
		return -ENOMEM;
	err = nlmsg_open(&nl->nl, NETLINK_ROUTE);
	if (err) {
		free(nl);
		return err;
	}
	*out = nl;
	return 0;
}

void rtnl_close(struct rtnl *nl)
{
	if (!nl)
		return;
	nlmsg_close(&nl->nl);
	free(nl);
}

/* --- lists ------------------------------------------------------------------------ */

/* Everything that a dump gave, as @size bytes each; more than @max of them is an error. */
struct list {
	char *items; /* owned */
	size_t n, room, size, max;
};

/** list_add - a libmnl callback's result */
static int list_add(struct list *l, const void *item)
{
	if (l->n == l->max) {
		errno = E2BIG;
		return MNL_CB_ERROR;
	}
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		char *items = reallocarray(l->items, room, l->size);

		if (!items)
			return MNL_CB_ERROR;
		l->items = items;
		l->room = room;
	}
	memcpy(l->items + l->n++ * l->size, item, l->size);
	return MNL_CB_OK;
}

/* What is asked for, and where the answers go; zero means any. */
struct dump {
	uint16_t type;
	uint8_t family, protocol;
	uint32_t table;
	unsigned ifindex;
	struct list *to;
};

static struct nlmsghdr *dump_request(struct nlmsg *m, const struct dump *d)
{
	struct nlmsghdr *nlh = nlmsg_request(m, d->type, NLM_F_DUMP);
	struct fib_rule_hdr *rule;
	struct ifinfomsg *link;
	struct ifaddrmsg *ifa;
	struct rtmsg *rt;

	switch (d->type) {
	case RTM_GETRULE:
		rule = mnl_nlmsg_put_extra_header(nlh, sizeof(*rule));
		rule->family = d->family;
		break;
	case RTM_GETROUTE:
		rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
		rt->rtm_family = d->family;
		rt->rtm_protocol = d->protocol;
		if (d->table)
			mnl_attr_put_u32(nlh, RTA_TABLE, d->table);
		break;
	case RTM_GETADDR:
		ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
		ifa->ifa_family = d->family;
		ifa->ifa_index = d->ifindex;
		break;
	default:
		link = mnl_nlmsg_put_extra_header(nlh, sizeof(*link));
		link->ifi_family = d->family;
	}
	return nlh;
}

/** dump_family - one family's answers behind what @d->to has already; again when interrupted */
static int dump_family(struct rtnl *nl, struct dump *d, mnl_cb_t cb)
{
	const size_t before = d->to->n;
	int tries, r = -EINTR;

	for (tries = 0; r == -EINTR && tries < DUMP_TRIES; tries++) {
		d->to->n = before;
		r = nlmsg_talk(&nl->nl, dump_request(&nl->nl, d), cb, d);
	}
	switch (r) {
	case -EINTR:
		return -EAGAIN;
	case -ENOENT: /* no such table */
	case -EAFNOSUPPORT:
	case -EOPNOTSUPP:
		d->to->n = before;
		return 0;
	default:
		return r;
	}
}

static int dump_both(struct rtnl *nl, struct dump *d, mnl_cb_t cb)
{
	int r;

	d->family = AF_INET;
	r = dump_family(nl, d, cb);
	if (r)
		return r;
	d->family = AF_INET6;
	return dump_family(nl, d, cb);
}

/* --- rules ------------------------------------------------------------------------ */

struct seen_rule {
	struct host_rule r;
	uint8_t protocol;
	bool whole; /* @r says all of it */
};

static void put_rule_selectors(struct nlmsghdr *nlh, const struct host_rule *r)
{
	if (r->has_uid) {
		const struct fib_rule_uid_range range = {r->uid_lo, r->uid_hi};

		mnl_attr_put(nlh, FRA_UID_RANGE, sizeof(range), &range);
	}
	if (r->mask) {
		mnl_attr_put_u32(nlh, FRA_FWMARK, r->mark);
		mnl_attr_put_u32(nlh, FRA_FWMASK, r->mask);
	}
	if (r->iif[0])
		mnl_attr_put_strz(nlh, FRA_IIFNAME, r->iif);
	if (r->ip_proto)
		mnl_attr_put_u8(nlh, FRA_IP_PROTO, r->ip_proto);
	if (r->to.bits)
		nlmsg_put_addr(nlh, FRA_DST, &r->to.addr);
	if (r->dport_lo || r->dport_hi) {
		const struct fib_rule_port_range ports = {r->dport_lo, r->dport_hi};

		mnl_attr_put(nlh, FRA_DPORT_RANGE, sizeof(ports), &ports);
	}
}

static int rule_send(struct rtnl *nl, uint16_t type, uint16_t flags, const struct host_rule *r)
{
	static const uint8_t actions[] = {[RULE_LOOKUP] = FR_ACT_TO_TBL,
					  [RULE_GOTO] = FR_ACT_GOTO,
					  [RULE_NOP] = FR_ACT_NOP,
					  [RULE_UNREACHABLE] = FR_ACT_UNREACHABLE};
	struct nlmsghdr *nlh = nlmsg_request(&nl->nl, type, NLM_F_ACK | flags);
	struct fib_rule_hdr *h = mnl_nlmsg_put_extra_header(nlh, sizeof(*h));

	if (r->to.bits && addr_is_v4(&r->to.addr) == r->v6)
		return -EINVAL;
	h->family = r->v6 ? AF_INET6 : AF_INET;
	h->dst_len = r->to.bits;
	h->action = actions[r->action];
	mnl_attr_put_u32(nlh, FRA_PRIORITY, r->pref);
	mnl_attr_put_u8(nlh, FRA_PROTOCOL, RULE_PROTOCOL);
	if (r->action == RULE_LOOKUP)
		mnl_attr_put_u32(nlh, FRA_TABLE, r->table);
	if (r->action == RULE_GOTO)
		mnl_attr_put_u32(nlh, FRA_GOTO, r->goto_pref);
	put_rule_selectors(nlh, r);
	return nlmsg_talk(&nl->nl, nlh, NULL, NULL);
}

int rtnl_rule_add(struct rtnl *nl, const struct host_rule *r)
{
	return rule_send(nl, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, r);
}

/** rule_action_from - false: an action that struct host_rule does not know */
static bool rule_action_from(uint8_t action, enum rule_action *out)
{
	switch (action) {
	case FR_ACT_TO_TBL:
		*out = RULE_LOOKUP;
		return true;
	case FR_ACT_GOTO:
		*out = RULE_GOTO;
		return true;
	case FR_ACT_NOP:
		*out = RULE_NOP;
		return true;
	case FR_ACT_UNREACHABLE:
		*out = RULE_UNREACHABLE;
		return true;
	default:
		*out = RULE_NOP;
		return false;
	}
}

/** get_payload - the attribute's payload in @out, when it has this size */
static bool get_payload(const struct nlattr *at, void *out, size_t size)
{
	if (mnl_attr_get_payload_len(at) != size)
		return false;
	memcpy(out, mnl_attr_get_payload(at), size);
	return true;
}

/** rule_attr - one attribute into @r; false when @r cannot hold what it says */
static bool rule_attr(struct host_rule *r, const struct nlattr *at)
{
	const uint8_t family = r->v6 ? AF_INET6 : AF_INET;
	struct fib_rule_port_range ports;
	struct fib_rule_uid_range uids;
	uint16_t mask;
	uint32_t v;

	switch (mnl_attr_get_type(at)) {
	case FRA_PRIORITY:
		return nlmsg_get_u32(at, &r->pref);
	case FRA_TABLE:
		return nlmsg_get_u32(at, &r->table);
	case FRA_GOTO:
		return nlmsg_get_u32(at, &r->goto_pref);
	case FRA_FWMARK:
		return nlmsg_get_u32(at, &r->mark);
	case FRA_FWMASK:
		return nlmsg_get_u32(at, &r->mask);
	case FRA_SUPPRESS_PREFIXLEN: /* always there */
		return nlmsg_get_u32(at, &v) && v == (uint32_t)-1;
	case FRA_IP_PROTO:
		return get_payload(at, &r->ip_proto, sizeof(r->ip_proto));
	case FRA_DST:
		return nlmsg_get_addr(at, family, &r->to.addr);
	case FRA_IIFNAME:
		if (mnl_attr_validate(at, MNL_TYPE_NUL_STRING) < 0)
			return false;
		str_copy(r->iif, sizeof(r->iif), mnl_attr_get_str(at));
		return true;
	case FRA_UID_RANGE:
		r->has_uid = get_payload(at, &uids, sizeof(uids));
		if (!r->has_uid)
			return false;
		r->uid_lo = uids.start;
		r->uid_hi = uids.end;
		return true;
	case FRA_DPORT_RANGE:
		if (!get_payload(at, &ports, sizeof(ports)))
			return false;
		r->dport_lo = ports.start;
		r->dport_hi = ports.end;
		return true;
	case FRA_DPORT_MASK_: /* said with each single port */
		return get_payload(at, &mask, sizeof(mask)) && mask == 0xffff;
	case FRA_PROTOCOL:
	case FRA_PAD:
		return true;
	default:
		return false;
	}
}

static int on_rule(const struct nlmsghdr *nlh, void *data)
{
	const struct fib_rule_hdr *h = mnl_nlmsg_get_payload(nlh);
	const struct dump *d = data;
	struct seen_rule s = {0};
	struct nlattr *at;

	if (nlh->nlmsg_type != RTM_NEWRULE || mnl_nlmsg_get_payload_len(nlh) < sizeof(*h) ||
	    h->family != d->family)
		return MNL_CB_OK;
	s.r.v6 = h->family == AF_INET6;
	s.r.to.bits = h->dst_len;
	s.whole = rule_action_from(h->action, &s.r.action) && !h->src_len && !h->tos &&
		  !(h->flags & FIB_RULE_INVERT);
	mnl_attr_for_each(at, nlh, sizeof(*h))
	{
		if (mnl_attr_get_type(at) == FRA_PROTOCOL)
			get_payload(at, &s.protocol, sizeof(s.protocol));
		s.whole = rule_attr(&s.r, at) && s.whole;
	}
	if (s.r.action != RULE_LOOKUP)
		s.r.table = 0;
	return list_add(d->to, &s);
}

int rtnl_rules(struct rtnl *nl, int (*each)(void *ctx, const struct host_rule *r, bool ours),
	       void *ctx)
{
	struct list l = {.size = sizeof(struct seen_rule), .max = SIZE_MAX};
	struct dump d = {.type = RTM_GETRULE, .to = &l};
	int r = dump_both(nl, &d, on_rule);
	size_t i;

	for (i = 0; !r && i < l.n; i++) {
		const struct seen_rule *s = (const struct seen_rule *)(const void *)l.items + i;

		if (each(ctx, &s->r, s->whole && s->protocol == RULE_PROTOCOL))
			break;
	}
	free(l.items);
	return r;
}

/** rule_covers - is @seen among what a deletion of @r means to the kernel? */
static bool rule_covers(const struct host_rule *r, const struct host_rule *seen)
{
	return r->pref == seen->pref && r->action == seen->action &&
	       (!r->table || r->table == seen->table) &&
	       (!r->has_uid ||
		(seen->has_uid && r->uid_lo == seen->uid_lo && r->uid_hi == seen->uid_hi)) &&
	       (!r->mask || (r->mask == seen->mask && (!r->mark || r->mark == seen->mark))) &&
	       (!r->iif[0] || !strcmp(r->iif, seen->iif)) &&
	       (!r->ip_proto || r->ip_proto == seen->ip_proto) &&
	       (!r->to.bits ||
		(r->to.bits == seen->to.bits && addr_equal(&r->to.addr, &seen->to.addr))) &&
	       (!(r->dport_lo || r->dport_hi) ||
		(r->dport_lo == seen->dport_lo && r->dport_hi == seen->dport_hi));
}

/** rule_equal - each says no more than the other */
static bool rule_equal(const struct host_rule *a, const struct host_rule *b)
{
	return a->v6 == b->v6 && rule_covers(a, b) && rule_covers(b, a) &&
	       (!a->mask || a->mark == b->mark) &&
	       (a->action != RULE_GOTO || a->goto_pref == b->goto_pref);
}

/**
 * rule_del_among - delete @r, which the kernel would find behind @decoys others of @seen
 *
 * @seen: rules with our protocol that a deletion of @r covers, in the kernel's order.
 */
static int rule_del_among(struct rtnl *nl, const struct host_rule *r, const struct seen_rule *seen,
			  size_t decoys)
{
	size_t i, lifted;
	int err = 0;

	for (i = 0; i < decoys; i++)
		if (!seen[i].whole)
			return -EBUSY; /* could not be put back as it was */
	for (lifted = 0; !err && lifted <= decoys; lifted++)
		err = rule_send(nl, RTM_DELRULE, 0, r);
	for (i = 0; i < decoys && i < lifted; i++) {
		int again = rtnl_rule_add(nl, &seen[i].r);

		if (again && again != -EEXIST && !err)
			err = again;
	}
	return err;
}

int rtnl_rule_del(struct rtnl *nl, const struct host_rule *r)
{
	struct list all = {.size = sizeof(struct seen_rule), .max = SIZE_MAX};
	struct dump d = {.type = RTM_GETRULE, .family = r->v6 ? AF_INET6 : AF_INET, .to = &all};
	int err = dump_family(nl, &d, on_rule);
	struct seen_rule *seen = (void *)all.items;
	size_t i, decoys = 0;

	for (i = 0; !err && i < all.n; i++) {
		if (seen[i].protocol != RULE_PROTOCOL || !rule_covers(r, &seen[i].r))
			continue;
		if (seen[i].whole && rule_equal(r, &seen[i].r))
			break;
		seen[decoys++] = seen[i];
	}
	if (!err)
		err = i < all.n ? rule_del_among(nl, r, seen, decoys) : -ENOENT;
	free(all.items);
	return err;
}

/* --- routes ----------------------------------------------------------------------- */

static const uint8_t route_types[] = {
	[ROUTE_UNICAST] = RTN_UNICAST,	   [ROUTE_UNREACHABLE] = RTN_UNREACHABLE,
	[ROUTE_BLACKHOLE] = RTN_BLACKHOLE, [ROUTE_PROHIBIT] = RTN_PROHIBIT,
	[ROUTE_THROW] = RTN_THROW,	   [ROUTE_LOCAL] = RTN_LOCAL,
};

/** route_type_from - false: broadcast, multicast and the like */
static bool route_type_from(uint8_t type, enum route_type *out)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(route_types); i++) {
		if (route_types[i] == type) {
			*out = (enum route_type)i;
			return true;
		}
	}
	return false;
}

static uint8_t route_scope(const struct host_route *r)
{
	if (r->v6)
		return RT_SCOPE_UNIVERSE;
	return r->type == ROUTE_UNICAST ? RT_SCOPE_LINK
	       : r->type == ROUTE_LOCAL ? RT_SCOPE_HOST
					: RT_SCOPE_UNIVERSE;
}

static void put_route(struct nlmsghdr *nlh, const struct host_route *r)
{
	const unsigned ifindex = r->type == ROUTE_LOCAL ? LOOPBACK_IFINDEX : r->ifindex;
	const uint32_t metric = r->metric || !r->v6 ? r->metric : V6_DEFAULT_METRIC;
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));

	rt->rtm_family = r->v6 ? AF_INET6 : AF_INET;
	rt->rtm_dst_len = r->dst.bits;
	rt->rtm_protocol = RULE_PROTOCOL;
	rt->rtm_type = route_types[r->type];
	rt->rtm_scope = route_scope(r);
	mnl_attr_put_u32(nlh, RTA_TABLE, r->table);
	if (r->dst.bits)
		nlmsg_put_addr(nlh, RTA_DST, &r->dst.addr);
	if (ifindex)
		mnl_attr_put_u32(nlh, RTA_OIF, ifindex);
	if (metric)
		mnl_attr_put_u32(nlh, RTA_PRIORITY, metric);
}

static bool route_valid(const struct host_route *r)
{
	const bool has_src = !addr_is_unspecified(&r->src);

	return r->table && (!r->dst.bits || addr_is_v4(&r->dst.addr) != r->v6) &&
	       (!has_src || addr_is_v4(&r->src) != r->v6);
}

int rtnl_route_replace(struct rtnl *nl, const struct host_route *r)
{
	struct nlmsghdr *nlh =
		nlmsg_request(&nl->nl, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
	struct nlattr *metrics;

	if (!route_valid(r))
		return -EINVAL;
	put_route(nlh, r);
	if (!addr_is_unspecified(&r->src))
		nlmsg_put_addr(nlh, RTA_PREFSRC, &r->src);
	if (r->mtu) {
		metrics = mnl_attr_nest_start(nlh, RTA_METRICS);
		mnl_attr_put_u32(nlh, RTAX_MTU, r->mtu);
		mnl_attr_nest_end(nlh, metrics);
	}
	return nlmsg_talk(&nl->nl, nlh, NULL, NULL);
}

int rtnl_route_del(struct rtnl *nl, const struct host_route *r)
{
	struct nlmsghdr *nlh = nlmsg_request(&nl->nl, RTM_DELROUTE, NLM_F_ACK);
	int err;

	if (!route_valid(r))
		return -EINVAL;
	put_route(nlh, r);
	err = nlmsg_talk(&nl->nl, nlh, NULL, NULL);
	return err == -ENOENT ? -ESRCH : err; /* the table itself is gone */
}

static unsigned route_mtu(const struct nlattr *metrics)
{
	struct nlattr *at;
	uint32_t mtu = 0;

	mnl_attr_for_each_nested(at, metrics)
	{
		if (mnl_attr_get_type(at) == RTAX_MTU)
			nlmsg_get_u32(at, &mtu);
	}
	return mtu;
}

/** route_attrs - what an answer says besides its type; the same for a dump and for one way */
static void route_attrs(const struct nlmsghdr *nlh, struct host_route *r)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(nlh);
	struct nlattr *at;

	r->v6 = rt->rtm_family == AF_INET6;
	r->table = rt->rtm_table;
	r->dst.bits = rt->rtm_dst_len;
	if (!r->v6)
		r->dst.addr = addr_from_v4(&(const uint32_t){0});
	mnl_attr_for_each(at, nlh, sizeof(*rt))
	{
		switch (mnl_attr_get_type(at)) {
		case RTA_TABLE:
			nlmsg_get_u32(at, &r->table);
			break;
		case RTA_DST:
			nlmsg_get_addr(at, rt->rtm_family, &r->dst.addr);
			break;
		case RTA_OIF:
			nlmsg_get_u32(at, &r->ifindex);
			break;
		case RTA_PREFSRC:
			nlmsg_get_addr(at, rt->rtm_family, &r->src);
			break;
		case RTA_PRIORITY:
			nlmsg_get_u32(at, &r->metric);
			break;
		case RTA_METRICS:
			r->mtu = route_mtu(at);
			break;
		default:
			break;
		}
	}
	if (r->v6 && r->metric == V6_DEFAULT_METRIC)
		r->metric = 0;
	if (r->type != ROUTE_UNICAST) /* lo: of this host itself, and IPv6 names it for all */
		r->ifindex = 0;
}

/** route_seen - a route of the dump @d that is not just a cached one */
static bool route_seen(const struct nlmsghdr *nlh, const struct dump *d)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(nlh);

	return nlh->nlmsg_type == RTM_NEWROUTE && mnl_nlmsg_get_payload_len(nlh) >= sizeof(*rt) &&
	       rt->rtm_family == d->family && !(rt->rtm_flags & RTM_F_CLONED) &&
	       (!d->protocol || rt->rtm_protocol == d->protocol);
}

static int on_route(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(nlh);
	const struct dump *d = data;
	struct host_route r = {0};

	if (!route_seen(nlh, d) || !route_type_from(rt->rtm_type, &r.type))
		return MNL_CB_OK;
	route_attrs(nlh, &r);
	if (d->table ? r.table != d->table : r.table == RT_TABLE_LOCAL)
		return MNL_CB_OK;
	return list_add(d->to, &r);
}

static int on_local(const struct nlmsghdr *nlh, void *data)
{
	const struct dump *d = data;
	struct host_route r = {0};

	if (!route_seen(nlh, d))
		return MNL_CB_OK;
	route_attrs(nlh, &r);
	return r.table == RT_TABLE_LOCAL ? list_add(d->to, &r.dst) : MNL_CB_OK;
}

/** each_route - of @table (0: all but local) and @protocol (0: any) */
static int each_route(struct rtnl *nl, uint32_t table, uint8_t protocol,
		      int (*each)(void *ctx, const struct host_route *r), void *ctx)
{
	struct list l = {.size = sizeof(struct host_route), .max = RTNL_ROUTES_MAX};
	struct dump d = {.type = RTM_GETROUTE, .table = table, .protocol = protocol, .to = &l};
	int r = dump_both(nl, &d, on_route);
	size_t i;

	for (i = 0; !r && i < l.n; i++)
		if (each(ctx, (const struct host_route *)(const void *)l.items + i))
			break;
	free(l.items);
	return r;
}

int rtnl_routes(struct rtnl *nl, int (*each)(void *ctx, const struct host_route *r), void *ctx)
{
	return each_route(nl, 0, 0, each, ctx);
}

int rtnl_table_routes(struct rtnl *nl, uint32_t table,
		      int (*each)(void *ctx, const struct host_route *r), void *ctx)
{
	return each_route(nl, table, RULE_PROTOCOL, each, ctx);
}

int rtnl_local_prefixes(struct rtnl *nl, int (*each)(void *ctx, const struct prefix *p), void *ctx)
{
	struct list l = {.size = sizeof(struct prefix), .max = RTNL_ROUTES_MAX};
	struct dump d = {.type = RTM_GETROUTE, .table = RT_TABLE_LOCAL, .to = &l};
	int r = dump_both(nl, &d, on_local);
	size_t i;

	for (i = 0; !r && i < l.n; i++)
		if (each(ctx, (const struct prefix *)(const void *)l.items + i))
			break;
	free(l.items);
	return r;
}

struct flush {
	struct rtnl *nl;
	int n, err;
};

static int flush_route(void *ctx, const struct host_route *r)
{
	struct flush *f = ctx;
	int err = r->metric ? -ESRCH : rtnl_route_del(f->nl, r);

	f->n += !err;
	if (err && err != -ESRCH && !f->err)
		f->err = err;
	return 0;
}

int rtnl_routes_flush(struct rtnl *nl, uint32_t table)
{
	struct flush f = {.nl = nl};
	int err = rtnl_table_routes(nl, table, flush_route, &f);

	if (!err)
		err = f.err;
	return err ? err : f.n;
}

/* --- ways ------------------------------------------------------------------------- */

static int on_way(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(nlh);
	struct host_route r = {0};
	struct rtnl_way *w = data;

	if (nlh->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(nlh) < sizeof(*rt))
		return MNL_CB_OK;
	w->local = !route_type_from(rt->rtm_type, &r.type) || r.type == ROUTE_LOCAL;
	if (w->local) /* its device is told as well */
		r.type = ROUTE_UNICAST;
	route_attrs(nlh, &r);
	w->type = r.type;
	w->table = r.table;
	w->ifindex = r.ifindex;
	w->src = r.src;
	w->mtu = r.mtu;
	return MNL_CB_OK;
}

int rtnl_way_to(struct rtnl *nl, const struct addr *dst, uint32_t uid, uint32_t mark,
		struct rtnl_way *w)
{
	struct nlmsghdr *nlh = nlmsg_request(&nl->nl, RTM_GETROUTE, 0);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	int err;

	*w = (struct rtnl_way){.type = ROUTE_UNICAST};
	rt->rtm_family = nlmsg_family(dst);
	rt->rtm_dst_len = addr_is_v4(dst) ? 32 : 128;
	/* IPv6 always names the table, and refuses the flag when it checks strictly */
	rt->rtm_flags = addr_is_v4(dst) ? RTM_F_LOOKUP_TABLE : 0;
	nlmsg_put_addr(nlh, RTA_DST, dst);
	mnl_attr_put_u32(nlh, RTA_UID, uid);
	if (mark)
		mnl_attr_put_u32(nlh, RTA_MARK, mark);
	err = nlmsg_talk(&nl->nl, nlh, on_way, w);
	switch (err) {
	case -EHOSTUNREACH:
		w->type = ROUTE_UNREACHABLE;
		return 0;
	case -EINVAL:
		w->type = ROUTE_BLACKHOLE;
		return 0;
	case -EACCES:
		w->type = ROUTE_PROHIBIT;
		return 0;
	case -EAFNOSUPPORT: /* no IPv6 in this kernel */
	case -EOPNOTSUPP:
		return -ENETUNREACH;
	default:
		return err;
	}
}

/* --- addresses and links ------------------------------------------------------------ */

struct seen_address {
	unsigned ifindex;
	struct prefix p;
};

static int on_address(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const struct dump *d = data;
	struct seen_address s;
	bool have = false;
	struct nlattr *at;

	if (nlh->nlmsg_type != RTM_NEWADDR || mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifa) ||
	    ifa->ifa_family != d->family || (d->ifindex && ifa->ifa_index != d->ifindex))
		return MNL_CB_OK;
	s = (struct seen_address){.ifindex = ifa->ifa_index, .p.bits = ifa->ifa_prefixlen};
	mnl_attr_for_each(at, nlh, sizeof(*ifa))
	{
		/* IFA_ADDRESS is the peer's where there is an IFA_LOCAL, in any order */
		if (mnl_attr_get_type(at) == IFA_LOCAL ||
		    (mnl_attr_get_type(at) == IFA_ADDRESS && !have))
			have = nlmsg_get_addr(at, d->family, &s.p.addr);
	}
	return have ? list_add(d->to, &s) : MNL_CB_OK;
}

int rtnl_addresses(struct rtnl *nl, unsigned ifindex,
		   int (*each)(void *ctx, unsigned ifindex, const struct prefix *p), void *ctx)
{
	struct list l = {.size = sizeof(struct seen_address), .max = SIZE_MAX};
	struct dump d = {.type = RTM_GETADDR, .ifindex = ifindex, .to = &l};
	int r = dump_both(nl, &d, on_address);
	size_t i;

	for (i = 0; !r && i < l.n; i++) {
		const struct seen_address *s =
			(const struct seen_address *)(const void *)l.items + i;

		if (each(ctx, s->ifindex, &s->p))
			break;
	}
	free(l.items);
	return r;
}

static int on_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct dump *d = data;
	struct rtnl_link l;
	struct nlattr *at;

	if (nlh->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifi))
		return MNL_CB_OK;
	l = (struct rtnl_link){.ifindex = (unsigned)ifi->ifi_index, .up = ifi->ifi_flags & IFF_UP};
	mnl_attr_for_each(at, nlh, sizeof(*ifi))
	{
		if (mnl_attr_get_type(at) == IFLA_MTU)
			nlmsg_get_u32(at, &l.mtu);
		else if (mnl_attr_get_type(at) == IFLA_IFNAME &&
			 mnl_attr_validate(at, MNL_TYPE_NUL_STRING) >= 0)
			str_copy(l.name, sizeof(l.name), mnl_attr_get_str(at));
	}
	return list_add(d->to, &l);
}

int rtnl_links(struct rtnl *nl, int (*each)(void *ctx, const struct rtnl_link *l), void *ctx)
{
	struct list l = {.size = sizeof(struct rtnl_link), .max = SIZE_MAX};
	struct dump d = {.type = RTM_GETLINK, .to = &l};
	int r = dump_family(nl, &d, on_link);
	size_t i;

	for (i = 0; !r && i < l.n; i++)
		if (each(ctx, (const struct rtnl_link *)(const void *)l.items + i))
			break;
	free(l.items);
	return r;
}

int rtnl_link_del(struct rtnl *nl, const char *name)
{
	struct nlmsghdr *nlh = nlmsg_request(&nl->nl, RTM_DELLINK, NLM_F_ACK);

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	if (!*name || strlen(name) >= IFNAMSIZ)
		return -EINVAL;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	return nlmsg_talk(&nl->nl, nlh, NULL, NULL);
}

/* --- changes -------------------------------------------------------------------------- */

struct heard {
	uint32_t own; /* port of our own requests */
	int what;
};

/** changed_route - cached routes and the kernel's own table are of no concern */
static int changed_route(const struct nlmsghdr *nlh)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*rt) || rt->rtm_flags & RTM_F_CLONED ||
	    rt->rtm_table == RT_TABLE_LOCAL)
		return 0;
	return RTNL_ROUTE;
}

/** changed_link - a bridge speaks of its ports in messages of another family */
static int changed_link(const struct nlmsghdr *nlh)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);

	return mnl_nlmsg_get_payload_len(nlh) >= sizeof(*ifi) && ifi->ifi_family == AF_UNSPEC
		       ? RTNL_LINK
		       : 0;
}

static void on_change(void *ctx, const struct nlmsghdr *nlh)
{
	struct heard *h = ctx;

	if (h->own && nlh->nlmsg_pid == h->own)
		return;
	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		h->what |= changed_link(nlh);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		h->what |= RTNL_ADDRESS;
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		h->what |= changed_route(nlh);
		break;
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		h->what |= RTNL_ROUTE;
		break;
	case RTM_NEWRULE:
	case RTM_DELRULE:
		h->what |= RTNL_RULE;
		break;
	default:
		break;
	}
}

int rtnl_watch_open(void)
{
	static const unsigned groups[] = {
		RTNLGRP_LINK,	    RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
		RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,	 RTNLGRP_IPV6_RULE,   RTNLGRP_NEXTHOP,
	};

	return nlmsg_watch_open(NETLINK_ROUTE, groups, ARRAY_SIZE(groups));
}

int rtnl_watch_read(int fd, const struct rtnl *own)
{
	struct heard h = {.own = own ? own->nl.portid : 0};
	int r = nlmsg_watch_read(fd, on_change, &h);

	if (r == -ENOBUFS)
		return h.what | RTNL_LOST;
	return r < 0 ? r : h.what;
}
