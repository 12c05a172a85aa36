/* SPDX-License-Identifier: MIT */
/*
 * How a selection becomes routing.
 *
 * Policy rules, in the order of their prefs (from --rule-base on, the same for both families):
 *
 *	+0	the worker's uid skips all of the following: no loop, by construction. It skips to
 *		+99, never to the main table, so that a VPN's rules go on applying to it
 *	+1	what has mark PASS does so too
 *	+2	link-local, multicast and broadcast destinations as well, where asked for
 *	+10	answers that the kernel makes without a socket (resets, ACKs of TIME_WAIT, ICMP
 *		errors) to what came from weir0. They carry uid 0, so a mark brings them back:
 *		a packet from weir0 gets REPLY, which fwmark_reflect copies to the answer
 *	+20..	one slot of three prefs for each selector that policy rules can express: first
 *		its exceptions, which go to the next slot, then its users, who go by weir's
 *		table, then what that had no route for, which has none: ENETUNREACH
 *	+80	what nftables marked SELECT goes by weir's table: every other selector
 *	+81	what that had no route for
 *	+99	nothing, the target of the others
 *
 * `iif lo` on a rule means that this host itself sends. Without it uid 0 would include what is
 * forwarded for containers. A selector that contains uid 0 goes by mark, as the kernel's own
 * packets count as uid 0 as well; nft tells them from a program's by the missing socket.
 *
 * nftables, two tables, since a crash must leave one and undo the other. weir_guard marks the
 * packets of fail-closed selectors (a chain of type route: a new mark makes the kernel look up
 * the route again) and drops what they send by any other device than weir0 and lo, for a socket
 * that is bound to a device skips routing. It drops in the postrouting hook: in the output hook
 * the device that a packet is seen with is the one from before it was routed again. The socket's
 * cgroup is not to be had there, so what is selected by cgroup is dropped by its mark.
 *
 * What everybody pays. Each chain of a hook costs every packet of the host, and connection
 * tracking (any `ct`, any nat chain) several times as much. So there is no tracking: what has to be
 * remembered is kept in sets, which only packets of the selected and those without an owner come
 * to. A chain is there only while it is needed (struct plan, @keep_nft), opens with what tells
 * those who are not selected, and REPLY is set where weir0 alone is heard, at its ingress.
 *
 *	old4/6	connections from before the start, by weir
 *	in4/6	connections from outside: the answer to their first packet, from a selected owner,
 *		tells them. Long idle ones are kept, those that have ended are not
 *	udp4/6	pairs of addresses and ports that have sent datagrams from outside
 *	ours4/6	TCP connections of the selected by weir0. A socket that its program has closed has
 *		no owner any more in nft's eyes, but may still have data to send (again), and
 *		may have been bound to another device before. It sends again within TCP_RTO_MAX,
 *		120 s
 *	asked4/6	TCP connections to captured resolvers: the same of their last packets
 *
 * The first three get PASS: their answers keep the way they came.
 */
#include "plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define PREF_WORKER 0
#define PREF_PASS   1
#define PREF_LINK   2
#define PREF_REPLY  10
#define PREF_SLOTS  20 /* three prefs each */
#define PREF_SELECT 80
#define PREF_NOWAY  81
#define PREF_END    99
#define SLOTS_MAX   ((PREF_SELECT - PREF_SLOTS) / 3)
#define SLOT_RULES  256 /* of one selector; with more it goes by mark */
#define METRIC_LAST UINT32_MAX
#define CGROUP_ROOT "/sys/fs/cgroup" /* where nft looks for cgroups */
#define CGROUP_UP   "../../.."	     /* from there to / */
#define BOTH_BITS   3U
#define GUARD_PRIO  90 /* after all filters (0), before source NAT (100) changes addresses */
#define NO_OWNER    "4294967295"
#define FEW_RANGES  4 /* for put_unlike_ids() */
#define DYNAMIC(size, timeout)                                                                     \
	"\t\tflags dynamic,timeout\n\t\tsize " size "\n\t\ttimeout " timeout "\n"
#define UNLOOKED   "unlooked" /* a chain for cgroups that cgroupwatch.c has not looked at */
#define NO_ANSWERS "tcp flags & (syn | ack) != syn | ack"
#define ANSWERS	   "tcp flags & (syn | ack) == syn | ack"
#define CHAIN_MARK "mark" /* name of the chains that give SELECT, less the selector's number */

/** struct making - a plan in the making */
struct making {
	struct plan *p;
	const struct up_config *c;
	const struct selection *s;
	const struct plan_input *in;
	char *err;
	size_t errsize;
	bool full; /* of rules */
};

static int refuse(struct making *m, const struct selector *sel, const char *why)
{
	char text[96];

	snprintf(m->err, m->errsize, "%s: %s", select_text(sel, m->s, text, sizeof(text)), why);
	return -EINVAL;
}

uint32_t plan_mark_value(const struct up_config *c, enum plan_mark m)
{
	return (uint32_t)m << c->mark_bits;
}

uint32_t plan_mark_mask(const struct up_config *c)
{
	return BOTH_BITS << c->mark_bits;
}

/* --- sets without overlaps: nft refuses others -------------------------------------------- */

static int range_compare(const void *a, const void *b)
{
	const struct id_range *x = a, *y = b;

	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/** ranges_merge - sorted, and joined where they touch; returns how many are left */
static unsigned ranges_merge(struct id_range *r, unsigned n)
{
	unsigned out = 0;

	if (!n)
		return 0;
	qsort(r, n, sizeof(*r), range_compare);
	for (unsigned i = 1; i < n; i++) {
		if (r[i].lo <= (uint64_t)r[out].hi + 1)
			r[out].hi = MAX(r[out].hi, r[i].hi);
		else
			r[++out] = r[i];
	}
	return out + 1;
}

static unsigned ids_merged(const struct selection *s, const struct select_ids *ids,
			   struct id_range *out)
{
	memcpy(out, s->ranges + ids->first, ids->n * sizeof(*out));
	return ranges_merge(out, ids->n);
}

static unsigned ports_merged(const struct select_narrow *n, struct id_range *out)
{
	for (unsigned i = 0; i < n->n_ports; i++)
		out[i] = (struct id_range){.lo = n->ports[i].lo, .hi = n->ports[i].hi};
	return ranges_merge(out, n->n_ports);
}

/** prefix_covers - is all of @b in @a? Prefixes never overlap in part */
static bool prefix_covers(const struct prefix *a, const struct prefix *b)
{
	return addr_is_v4(&a->addr) == addr_is_v4(&b->addr) && a->bits <= b->bits &&
	       addr_in_prefix(&b->addr, a);
}

/** prefix_masked - host bits cleared, as the kernel wants them */
static struct prefix prefix_masked(const struct prefix *p)
{
	struct prefix r = *p;
	unsigned bits = p->bits + (addr_is_v4(&p->addr) ? 96U : 0);

	for (unsigned i = bits; i < 128; i++)
		r.addr.b[i / 8] &= (uint8_t) ~(0x80U >> i % 8);
	return r;
}

/** prefixes_of - those of one family, none inside of another; returns how many */
static unsigned prefixes_of(const struct select_narrow *n, bool v6, struct prefix *out)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n->n_to; i++) {
		bool covered = addr_is_v4(&n->to[i].addr) == v6;

		for (unsigned k = 0; k < n->n_to && !covered; k++)
			covered = k != i && prefix_covers(&n->to[k], &n->to[i]) &&
				  (k < i || !prefix_covers(&n->to[i], &n->to[k]));
		if (!covered)
			out[count++] = prefix_masked(&n->to[i]);
	}
	return count;
}

/* --- policy rules ---------------------------------------------------------------------------- */

static void rule_add(struct making *m, const struct host_rule *r, bool guard)
{
	struct plan *p = m->p;

	if (p->n_rules == PLAN_RULES_MAX)
		m->full = true;
	else
		p->rules[p->n_rules++] = (struct plan_rule){.rule = *r, .guard = guard};
}

/** rule_add_both - in both families, @pref counted from the base */
static void rule_add_both(struct making *m, struct host_rule r, unsigned pref, bool guard)
{
	r.pref = m->c->rule_base + pref;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		r.v6 = v6;
		rule_add(m, &r, guard);
	}
}

static struct host_rule rule_goto(const struct making *m, unsigned pref)
{
	return (struct host_rule){.action = RULE_GOTO, .goto_pref = m->c->rule_base + pref};
}

static struct host_rule rule_lookup(const struct making *m, bool local)
{
	return (struct host_rule){.action = RULE_LOOKUP,
				  .table = m->c->table,
				  .iif = {local ? 'l' : 0, local ? 'o' : 0}};
}

/** link_rules - destinations on the link itself keep their way */
static void link_rules(struct making *m)
{
	static const char *const to[] = {"169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32",
					 "fe80::/10", "ff00::/8"};

	for (size_t i = 0; i < ARRAY_SIZE(to); i++) {
		struct host_rule r = rule_goto(m, PREF_END);

		weir_assert(!prefix_parse(to[i], &r.to));
		r.v6 = !addr_is_v4(&r.to.addr);
		r.pref = m->c->rule_base + PREF_LINK;
		rule_add(m, &r, m->p->has_guard);
	}
}

/**
 * fixed_rules - those that every plan has, targets of a goto first
 *
 * With --forwarded what others send has mark SELECT as well, and comes in by another device.
 */
static void fixed_rules(struct making *m)
{
	bool guard = m->p->has_guard;
	struct host_rule r = {.action = RULE_NOP};

	rule_add_both(m, r, PREF_END, guard);
	r = rule_goto(m, PREF_END);
	r.has_uid = true;
	r.uid_lo = r.uid_hi = m->in->worker_uid;
	if (!select_is_netns(m->s))
		rule_add_both(m, r, PREF_WORKER, false);
	r = rule_goto(m, PREF_END);
	r.mask = plan_mark_mask(m->c);
	r.mark = plan_mark_value(m->c, PLAN_MARK_PASS);
	rule_add_both(m, r, PREF_PASS, guard);
	if (m->c->link_local_pass)
		link_rules(m);
	r = rule_lookup(m, true);
	r.mask = plan_mark_mask(m->c);
	r.mark = plan_mark_value(m->c, PLAN_MARK_REPLY);
	rule_add_both(m, r, PREF_REPLY, false);
	r = rule_lookup(m, !m->s->forwarded);
	r.mask = plan_mark_mask(m->c);
	r.mark = plan_mark_value(m->c, PLAN_MARK_SELECT);
	rule_add_both(m, r, PREF_SELECT, guard);
	r.action = RULE_UNREACHABLE;
	r.table = 0;
	if (guard)
		rule_add_both(m, r, PREF_NOWAY, guard);
}

static uint8_t rule_proto(unsigned proto, bool v6)
{
	return proto == SELECT_TCP   ? IPPROTO_TCP
	       : proto == SELECT_UDP ? IPPROTO_UDP
	       : v6		     ? IPPROTO_ICMPV6
				     : IPPROTO_ICMP;
}

/** struct slot - one selector as rules: what they have in common and what varies */
struct slot {
	struct making *m;
	bool guard;
	struct id_range ids[SELECT_RANGES_MAX], ports[SELECT_NARROW_MAX];
	unsigned n_ids, n_ports;
	struct prefix to[SELECT_NARROW_MAX];
	unsigned n_to;
};

/** slot_ports - @r for every range of ports, or without one */
static void slot_ports(struct slot *t, struct host_rule r)
{
	for (unsigned i = 0; i < MAX(t->n_ports, 1U); i++) {
		if (t->n_ports) {
			r.dport_lo = (uint16_t)t->ports[i].lo;
			r.dport_hi = (uint16_t)t->ports[i].hi;
		}
		rule_add(t->m, &r, t->guard);
	}
}

/** slot_protos - @r for every protocol of @protos, or without one */
static void slot_protos(struct slot *t, unsigned protos, struct host_rule r)
{
	if (!protos)
		slot_ports(t, r);
	for (unsigned bit = SELECT_TCP; bit <= SELECT_ICMP; bit <<= 1) {
		if (protos & bit) {
			r.ip_proto = rule_proto(bit, r.v6);
			slot_ports(t, r);
		}
	}
}

/** slot_family - the users' rules of one family: ids x destinations x protocols x ports */
static void slot_family(struct slot *t, const struct selector *sel, struct host_rule r)
{
	t->n_to = prefixes_of(&sel->narrow, r.v6, t->to);
	if (sel->narrow.n_to && !t->n_to)
		return;
	for (unsigned i = 0; i < MAX(t->n_ids, 1U); i++) {
		if (t->n_ids) {
			r.has_uid = true;
			r.uid_lo = t->ids[i].lo;
			r.uid_hi = t->ids[i].hi;
		}
		for (unsigned k = 0; k < MAX(t->n_to, 1U); k++) {
			if (t->n_to)
				r.to = t->to[k];
			slot_protos(t, sel->narrow.protos, r);
		}
	}
}

/** slot_users - in both families */
static void slot_users(struct slot *t, const struct selector *sel, struct host_rule r)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		r.v6 = v6;
		slot_family(t, sel, r);
	}
}

/** slot_except - one exception as rules of one family that go past the selector */
static void slot_except(struct slot *t, const struct select_except *e, struct host_rule r)
{
	const struct selection *s = t->m->s;

	t->n_ports = 0;
	if (e->kind == EXCEPT_USER) {
		r.has_uid = true;
		for (unsigned i = 0; i < e->ids.n; i++) {
			r.uid_lo = s->ranges[e->ids.first + i].lo;
			r.uid_hi = s->ranges[e->ids.first + i].hi;
			rule_add(t->m, &r, t->guard);
		}
	} else if (e->kind == EXCEPT_TO && addr_is_v4(&e->to.addr) != r.v6) {
		r.to = prefix_masked(&e->to);
		rule_add(t->m, &r, t->guard);
	} else if (e->kind == EXCEPT_PROTO) {
		slot_protos(t, e->proto, r);
	} else if (e->kind == EXCEPT_PORT) {
		t->ports[0] = (struct id_range){.lo = e->port.lo, .hi = e->port.hi};
		t->n_ports = 1;
		slot_protos(t, SELECT_TCP | SELECT_UDP, r);
	}
}

/**
 * slot_make - selector @sel in slot @slot, its exceptions going on at @next
 *
 * Returns the lowest pref that it uses, the place to go on for the slot in front of it.
 */
static unsigned slot_make(struct making *m, const struct selector *sel, unsigned slot,
			  unsigned next)
{
	unsigned pref = PREF_SLOTS + 3 * slot;
	struct slot t = {.m = m, .guard = !sel->fail_open};
	struct host_rule r = rule_lookup(m, true);

	t.n_ids = ids_merged(m->s, &sel->ids, t.ids);
	t.n_ports = ports_merged(&sel->narrow, t.ports);
	r.pref = m->c->rule_base + pref + 1;
	slot_users(&t, sel, r);
	r.action = RULE_UNREACHABLE;
	r.table = 0;
	r.pref++;
	if (!sel->fail_open)
		slot_users(&t, sel, r);
	r = rule_goto(m, next);
	r.iif[0] = 'l';
	r.iif[1] = 'o';
	r.pref = m->c->rule_base + pref;
	for (unsigned i = 0; i < sel->n_excepts; i++) {
		for (unsigned v6 = 0; v6 < 2; v6++) {
			r.v6 = v6;
			slot_except(&t, &sel->excepts[i], r);
		}
	}
	return sel->n_excepts ? pref : pref + 1;
}

/** fits_rules - can policy rules alone express @sel, and in how many? */
static bool fits_rules(const struct making *m, const struct selector *sel)
{
	unsigned n = MAX(sel->narrow.n_to, 1U) * MAX(sel->narrow.n_ports, 1U) * 3;

	if (sel->kind == SELECT_USER ? select_takes_uid(m->s, &sel->ids, 0)
				     : sel->kind != SELECT_NETNS)
		return false;
	for (unsigned i = 0; i < sel->n_excepts; i++) {
		enum except_kind k = sel->excepts[i].kind;

		if (k == EXCEPT_GROUP || k == EXCEPT_CGROUP || k == EXCEPT_MARK)
			return false;
	}
	return n * MAX(sel->ids.n, 1U) <= SLOT_RULES;
}

/** choose_ways - by rule or by mark, for each selector */
static void choose_ways(struct making *m)
{
	unsigned slots = 0;

	for (unsigned i = 0; i < m->s->n; i++) {
		m->p->by_rule[i] = slots < SLOTS_MAX && fits_rules(m, &m->s->list[i]);
		slots += m->p->by_rule[i];
		m->p->has_guard |= !m->s->list[i].fail_open;
	}
}

/**
 * make_rules - last slot first: exceptions go on at the next slot in use
 *
 * Of one slot the users stand in front of the exceptions here, so for a moment what is excepted is
 * selected, rather than the other way round.
 */
static void make_rules(struct making *m)
{
	unsigned slot = 0, next = PREF_SELECT;

	fixed_rules(m);
	for (unsigned i = 0; i < m->s->n; i++)
		slot += m->p->by_rule[i];
	for (unsigned i = m->s->n; i-- > 0;)
		if (m->p->by_rule[i])
			next = slot_make(m, &m->s->list[i], --slot, next);
}

/* --- routes and sysctls ----------------------------------------------------------------------- */

static void make_routes(struct making *m)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct host_route r = {.v6 = v6,
				       .type = ROUTE_UNREACHABLE,
				       .table = m->c->table,
				       .metric = METRIC_LAST};

		weir_assert(!prefix_parse(v6 ? "::/0" : "0.0.0.0/0", &r.dst));
		m->p->routes[m->p->n_routes++] =
			(struct plan_route){.route = r, .guard = m->p->has_guard};
	}
}

static void sysctl_set(struct host_sysctl *list, unsigned *n, const char *name, const char *value)
{
	weir_assert(*n < PLAN_SYSCTLS_MAX);
	snprintf(list[*n].name, sizeof(list[*n].name), "%s", name);
	snprintf(list[*n].value, sizeof(list[*n].value), "%s", value);
	(*n)++;
}

/**
 * make_sysctls - answers carry marks back; and the device as quiet as it can be
 *
 * rp_filter: the kernel takes the larger one of "all" and the device's; 2 asks only that the source
 * can be reached at all, which no "all" of 0, 1 or 2 makes stricter.
 */
static void make_sysctls(struct making *m)
{
	static const char *const dev[][3] = {
		{"ipv4", "rp_filter", "2"},
		{"ipv6", "accept_ra", "0"},
		{"ipv6", "autoconf", "0"},
		{"ipv6", "addr_gen_mode", "1"},
		{"ipv6", "router_solicitations", "0"},
		{"ipv6", "accept_dad", "0"},
	};
	struct plan *p = m->p;
	char name[sizeof(p->sysctls[0].name)];

	sysctl_set(p->sysctls, &p->n_sysctls, "net/ipv4/fwmark_reflect", "1");
	sysctl_set(p->sysctls, &p->n_sysctls, "net/ipv6/fwmark_reflect", "1");
	for (size_t i = 0; i < ARRAY_SIZE(dev); i++) {
		snprintf(name, sizeof(name), "net/%s/conf/%.15s/%s", dev[i][0], m->in->dev,
			 dev[i][1]);
		sysctl_set(p->dev_sysctls, &p->n_dev_sysctls, name, dev[i][2]);
	}
}

/* --- nft: conditions -----------------------------------------------------------------------------
 */

static void put_ranges(FILE *f, const struct id_range *r, unsigned n)
{
	fputs("{", f);
	for (unsigned i = 0; i < n; i++) {
		fprintf(f, "%s %" PRIu32, i ? "," : "", r[i].lo);
		if (r[i].hi != r[i].lo)
			fprintf(f, "-%" PRIu32, r[i].hi);
	}
	fputs(" } ", f);
}

static void put_ids(struct making *m, FILE *f, const char *key, const struct select_ids *ids)
{
	struct id_range r[SELECT_RANGES_MAX];
	unsigned n = ids_merged(m->s, ids, r);

	fprintf(f, "meta %s ", key);
	put_ranges(f, r, n);
}

static void put_protos(FILE *f, unsigned protos)
{
	const char *comma = "";

	fputs("meta l4proto {", f);
	for (unsigned bit = SELECT_TCP; bit <= SELECT_ICMP; bit <<= 1) {
		if (protos & bit) {
			fprintf(f, "%s %s", comma,
				bit == SELECT_TCP   ? "tcp"
				: bit == SELECT_UDP ? "udp"
						    : "icmp, ipv6-icmp");
			comma = ",";
		}
	}
	fputs(" } ", f);
}

/** put_prefixes - destinations of one family; all of it is no address but the family */
static void put_prefixes(FILE *f, bool v6, const struct prefix *p, unsigned n)
{
	char text[ADDR_STRLEN];

	if (!p[0].bits) {
		fprintf(f, "meta nfproto %s ", v6 ? "ipv6" : "ipv4");
		return;
	}
	fprintf(f, "%s daddr {", v6 ? "ip6" : "ip");
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%s %s/%u", i ? "," : "", addr_format(&p[i].addr, text), p[i].bits);
	fputs(" } ", f);
}

/** put_mark - a mark of the user's; our own bits in it, which come and go, do not count */
static void put_mark(struct making *m, FILE *f, uint32_t mark, uint32_t mask)
{
	fprintf(f, "meta mark and 0x%08" PRIx32 " == 0x%08" PRIx32 " ",
		mask & ~plan_mark_mask(m->c), mark);
}

static void put_cgroup(struct making *m, FILE *f, unsigned index)
{
	fprintf(f, "socket cgroupv2 level %u @" PLAN_CG_SET " ", m->s->cgroups[index].level, index);
}

/** put_owner - who sends */
static void put_owner(struct making *m, FILE *f, const struct selector *sel)
{
	switch (sel->kind) {
	case SELECT_USER:
		put_ids(m, f, "skuid", &sel->ids);
		break;
	case SELECT_GROUP:
		put_ids(m, f, "skgid", &sel->ids);
		break;
	case SELECT_CGROUP:
		put_cgroup(m, f, sel->cgroup);
		break;
	case SELECT_MARK:
		put_mark(m, f, sel->mark, sel->mask);
		break;
	case SELECT_NETNS:
	case SELECT_ALL:
		fputs("meta skuid != " NO_OWNER " ", f);
		break;
	}
}

static void put_except(struct making *m, FILE *f, const struct select_except *e)
{
	struct id_range r = {.lo = e->port.lo, .hi = e->port.hi};
	struct prefix to = prefix_masked(&e->to);

	fputs("\t\t", f);
	switch (e->kind) {
	case EXCEPT_USER:
		put_ids(m, f, "skuid", &e->ids);
		break;
	case EXCEPT_GROUP:
		put_ids(m, f, "skgid", &e->ids);
		break;
	case EXCEPT_CGROUP:
		put_cgroup(m, f, e->cgroup);
		break;
	case EXCEPT_MARK:
		put_mark(m, f, e->mark, e->mask);
		break;
	case EXCEPT_PROTO:
		put_protos(f, e->proto);
		break;
	case EXCEPT_TO:
		put_prefixes(f, !addr_is_v4(&to.addr), &to, 1);
		break;
	case EXCEPT_PORT:
		fputs("meta l4proto { tcp, udp } th dport ", f);
		put_ranges(f, &r, 1);
		break;
	}
	fputs("return\n", f);
}

enum who { WHO_OWNER = -2, WHO_FORWARDED = -1 }; /* or a level: what is unknown below it */

/**
 * put_who - who sends, for a selector's line
 *
 * A child, made a moment ago, of a directory on the way to a selected cgroup may be that one
 * made again: see cgroupwatch.c.
 */
static void put_who(struct making *m, FILE *f, const struct selector *sel, int who)
{
	if (who == WHO_OWNER)
		put_owner(m, f, sel);
	else if (who != WHO_FORWARDED)
		fprintf(f,
			"socket cgroupv2 level %d @" PLAN_CG_PARENTS
			" socket cgroupv2 level %d != @" PLAN_CG_KNOWN " ",
			who, who + 1);
}

/** put_narrowed - one line: who sends and @sel's narrowing, then @verdict */
static void put_narrowed(struct making *m, FILE *f, const struct selector *sel, int who,
			 const struct prefix *to, unsigned n_to, const char *verdict)
{
	struct id_range ports[SELECT_NARROW_MAX];
	unsigned n_ports = ports_merged(&sel->narrow, ports);

	fputs("\t\t", f);
	put_who(m, f, sel, who);
	if (n_to)
		put_prefixes(f, !addr_is_v4(&to[0].addr), to, n_to);
	if (sel->narrow.protos)
		put_protos(f, sel->narrow.protos);
	if (n_ports) {
		fputs("th dport ", f);
		put_ranges(f, ports, n_ports);
	}
	fprintf(f, "%s\n", verdict);
}

/** put_lines - what @sel takes, as few lines as its prefixes allow */
static void put_lines(struct making *m, FILE *f, const struct selector *sel, int who,
		      const char *verdict)
{
	struct prefix to[SELECT_NARROW_MAX];

	if (!sel->narrow.n_to)
		put_narrowed(m, f, sel, who, NULL, 0, verdict);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		unsigned n = prefixes_of(&sel->narrow, v6, to);

		if (n)
			put_narrowed(m, f, sel, who, to, n, verdict);
	}
}

/**
 * put_selector - chain @name@index: exceptions return, what is left of the selector meets @verdict
 * @forwarded: for packets that no socket here has sent
 */
static void put_selector(struct making *m, FILE *f, unsigned index, const char *name,
			 bool forwarded, const char *verdict)
{
	const struct selector *sel = &m->s->list[index];

	fprintf(f, "\tchain %s%u {\n", name, index);
	for (unsigned i = 0; i < sel->n_excepts; i++) {
		enum except_kind k = sel->excepts[i].kind;

		if (!forwarded || (k != EXCEPT_USER && k != EXCEPT_GROUP && k != EXCEPT_CGROUP))
			put_except(m, f, &sel->excepts[i]);
	}
	/*
	 * From the root down, and before the selected ones: sets may change between two look-ups of
	 * one packet, and what is known by the first is then selected by a later one.
	 */
	if (sel->kind == SELECT_CGROUP && !strcmp(name, CHAIN_MARK))
		for (unsigned i = 0; i < m->s->cgroups[sel->cgroup].level; i++)
			put_lines(m, f, sel, (int)i, "goto " UNLOOKED);
	put_lines(m, f, sel, forwarded ? WHO_FORWARDED : WHO_OWNER, verdict);
	fputs("\t}\n", f);
}

/* --- nft: chains ---------------------------------------------------------------------------------
 */

static void put_has(struct making *m, FILE *f, const char *what, unsigned value)
{
	fprintf(f, "%s mark and 0x%08" PRIx32 " == 0x%08" PRIx32 " ", what, plan_mark_mask(m->c),
		value << m->c->mark_bits);
}

/** put_set - our bits of the mark, and no others */
static void put_set(struct making *m, FILE *f, const char *what, unsigned value)
{
	fprintf(f, "%s mark set %s mark and 0x%08" PRIx32 " or 0x%08" PRIx32, what, what,
		~plan_mark_mask(m->c), value << m->c->mark_bits);
}

/** put_worker_returns - of another namespace the worker is no part, and its uid anybody's */
static void put_worker_returns(struct making *m, FILE *f)
{
	if (select_is_netns(m->s))
		return;
	fprintf(f, "\t\tmeta skuid %" PRIu32 " return\n", m->in->worker_uid);
}

/* Which selectors a part of a table is about. */
typedef bool which_fn(const struct making *m, unsigned i);

static bool is_closed(const struct making *m, unsigned i)
{
	return !m->s->list[i].fail_open;
}

static bool is_ruled(const struct making *m, unsigned i)
{
	return m->p->by_rule[i];
}

static bool is_any(const struct making *m, unsigned i)
{
	(void)m;
	(void)i;
	return true;
}

/** which_has - is there one of @kind, or of any (-1), among those that @which says? */
static bool which_has(const struct making *m, which_fn *which, int kind)
{
	for (unsigned i = 0; i < m->s->n; i++)
		if (which(m, i) && (kind < 0 || (int)m->s->list[i].kind == kind))
			return true;
	return false;
}

/** ids_of - all users, or groups, of those that @which says; 0: they are not all of @kind */
static unsigned ids_of(const struct making *m, which_fn *which, enum select_kind kind,
		       struct id_range *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->s->n; i++) {
		const struct selector *sel = &m->s->list[i];

		if (!which(m, i))
			continue;
		if (sel->kind != kind || n + sel->ids.n > SELECT_RANGES_MAX)
			return 0;
		memcpy(out + n, m->s->ranges + sel->ids.first, sel->ids.n * sizeof(*out));
		n += sel->ids.n;
	}
	return ranges_merge(out, n);
}

/**
 * put_unlike_ids - return for ids outside of all of @r
 *
 * Few ranges are compared one after another: to look for one in a set of ranges costs more.
 */
static void put_unlike_ids(FILE *f, const char *key, const struct id_range *r, unsigned n)
{
	if (n > FEW_RANGES) {
		fprintf(f, "\t\tmeta %s != ", key);
		put_ranges(f, r, n);
		fputs("return\n", f);
		return;
	}
	fprintf(f, "\t\tmeta %s != %" PRIu32, key, r[0].lo);
	if (r[n - 1].hi != r[0].lo)
		fprintf(f, "-%" PRIu32, r[n - 1].hi);
	fputs(" return\n", f);
	for (unsigned i = 1; i < n; i++)
		fprintf(f, "\t\tmeta %s %" PRIu32 "-%" PRIu32 " return\n", key, r[i - 1].hi + 1,
			r[i].lo - 1);
}

/** put_except_users - those are excepted from the only selector */
static void put_except_users(struct making *m, FILE *f, const struct selector *sel)
{
	for (unsigned i = 0; i < sel->n_excepts; i++)
		if (sel->excepts[i].kind == EXCEPT_USER)
			put_except(m, f, &sel->excepts[i]);
}

/** put_unlike_mark - return for other marks than that of the only selector; sockets keep theirs */
static bool put_unlike_mark(struct making *m, FILE *f, which_fn *which)
{
	const struct selector *sel = &m->s->list[0];

	if (m->s->n != 1 || !which(m, 0) || sel->kind != SELECT_MARK)
		return false;
	fprintf(f, "\t\tmeta mark and 0x%08" PRIx32 " != 0x%08" PRIx32 " return\n",
		sel->mask & ~plan_mark_mask(m->c), sel->mark);
	return true;
}

/**
 * put_others_return - who can't be meant by those that @which says is done with the chain
 *
 * The first rule of chains that every packet of this host meets, so that those who are not
 * selected pay for one look at their user. A packet without an owner goes on. Returns whether
 * that could be said.
 */
static bool put_others_return(struct making *m, FILE *f, which_fn *which)
{
	static struct id_range ids[SELECT_RANGES_MAX];
	unsigned n = ids_of(m, which, SELECT_USER, ids);

	if (n) {
		put_unlike_ids(f, "skuid", ids, n);
		return true;
	}
	n = ids_of(m, which, SELECT_GROUP, ids);
	if (n)
		put_unlike_ids(f, "skgid", ids, n);
	if (n || put_unlike_mark(m, f, which))
		return true;
	if (m->s->n == 1 && which(m, 0)) /* all, but for these */
		put_except_users(m, f, &m->s->list[0]);
	return false;
}

static const char *const tuple[] = {
	"ip saddr . tcp sport . ip daddr . tcp dport",
	"ip6 saddr . tcp sport . ip6 daddr . tcp dport",
};
static const char *const tuple_udp[] = {
	"ip saddr . udp sport . ip daddr . udp dport",
	"ip6 saddr . udp sport . ip6 daddr . udp dport",
};
static const char *const tuple_udp_back[] = {
	"ip daddr . udp dport . ip saddr . udp sport",
	"ip6 daddr . udp dport . ip6 saddr . udp sport",
};

static char family_of(unsigned v6)
{
	return v6 ? '6' : '4';
}

/** put_kept - connections from before, from outside, and, where asked for, the link's own */
static void put_kept(struct making *m, FILE *f, const char *old, const char *in, const char *udp)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		fprintf(f, "\t\t%s @old%c %s\n", tuple[v6], family_of(v6), old);
		fprintf(f, "\t\t%s @in%c %s\n", tuple[v6], family_of(v6), in);
		fprintf(f, "\t\t%s @udp%c %s\n", tuple_udp[v6], family_of(v6), udp);
	}
	if (!m->c->link_local_pass)
		return;
	fprintf(f,
		"\t\tip daddr { 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255 } %s\n"
		"\t\tip6 daddr { fe80::/10, ff00::/8 } %s\n"
		"\t\tfib daddr type broadcast %s\n",
		old, old, old);
}

/** takes_root - is who has to be reached on a host in trouble among those that nft selects? */
static bool takes_root(const struct making *m)
{
	for (unsigned i = 0; i < m->s->n; i++) {
		const struct selector *sel = &m->s->list[i];

		if (sel->kind == SELECT_ALL ||
		    (sel->kind == SELECT_USER && select_takes_uid(m->s, &sel->ids, 0)))
			return true;
	}
	return false;
}

/**
 * learns_answers - has the guard to know servers' answers to connections from outside?
 *
 * Not where the worker takes such connections over: then they come from weir0 and are answered by
 * it. After a crash that has an end, but root's servers must not (chain answers of table weir).
 */
static bool learns_answers(const struct making *m)
{
	return !m->in->steered || takes_root(m);
}

/** put_kept_pass - in the output hook: they get PASS, and those from outside are kept on */
static void put_kept_pass(struct making *m, FILE *f)
{
	put_kept(m, f, "goto pass", "goto pass_in", "goto pass_udp");
	if (learns_answers(m))
		fputs("\t\t" ANSWERS " goto pass_answer\n", f);
}

/** uses_cgroup - has @sel anything to do with cgroup @index? */
static bool uses_cgroup(const struct selector *sel, unsigned index)
{
	if (sel->kind == SELECT_CGROUP && sel->cgroup == index)
		return true;
	for (unsigned i = 0; i < sel->n_excepts; i++)
		if (sel->excepts[i].kind == EXCEPT_CGROUP && sel->excepts[i].cgroup == index)
			return true;
	return false;
}

static bool uses_any_cgroup(const struct selector *sel)
{
	for (unsigned i = 0; i < SELECT_CGROUPS_MAX; i++)
		if (uses_cgroup(sel, i))
			return true;
	return false;
}

/** put_cgroup_path - as seen from where nft looks; quoted, select.c has let no quote pass */
static void put_cgroup_path(FILE *f, const char *mount, const char *path)
{
	size_t len = strlen(CGROUP_ROOT);

	if (!strncmp(mount, CGROUP_ROOT "/", len + 1))
		fprintf(f, "\"%s/%s\"", mount + len + 1, path);
	else if (!strcmp(mount, CGROUP_ROOT))
		fprintf(f, "\"%s\"", path);
	else
		fprintf(f, "\"" CGROUP_UP "%s/%s\"", mount, path);
}

/** put_cgroup_sets - sets, as cgroups come and go; every table has those of all */
static void put_cgroup_sets(struct making *m, FILE *f)
{
	if (m->s->n_cgroups)
		fputs("\tset " PLAN_CG_PARENTS " {\n\t\ttype cgroupsv2\n\t}\n"
		      "\tset " PLAN_CG_KNOWN " {\n\t\ttype cgroupsv2\n\t}\n",
		      f);
	for (unsigned i = 0; i < m->s->n_cgroups; i++) {
		fprintf(f, "\tset " PLAN_CG_SET " {\n\t\ttype cgroupsv2\n", i);
		if (m->in->cgroup_exists[i]) {
			fputs("\t\telements = { ", f);
			put_cgroup_path(f, m->in->cgroup_mount, m->s->cgroups[i].path);
			fputs(" }\n", f);
		}
		fputs("\t}\n", f);
	}
}

/* Of weir_guard, fail-closed; of weir, fail-open: marked by nft there. */
static bool is_marked_closed(const struct making *m, unsigned i)
{
	return !m->p->by_rule[i] && !m->s->list[i].fail_open;
}

static bool is_marked_open(const struct making *m, unsigned i)
{
	return !m->p->by_rule[i] && m->s->list[i].fail_open;
}

/** takes_forwarded - does selector @i take what is forwarded? */
static bool takes_forwarded(const struct making *m, unsigned i)
{
	const struct selector *sel = &m->s->list[i];

	return m->s->forwarded &&
	       (sel->kind == SELECT_ALL || sel->kind == SELECT_NETNS ||
		(sel->kind == SELECT_USER && select_takes_uid(m->s, &sel->ids, 0)));
}

static bool is_forwarded_closed(const struct making *m, unsigned i)
{
	return takes_forwarded(m, i) && is_closed(m, i);
}

static bool is_forwarded_open(const struct making *m, unsigned i)
{
	return takes_forwarded(m, i) && !is_closed(m, i);
}

/** put_jumps - to chain @name of each selector that @which says */
static void put_jumps(struct making *m, FILE *f, const char *name, which_fn *which)
{
	for (unsigned i = 0; i < m->s->n; i++)
		if (which(m, i))
			fprintf(f, "\t\tjump %s%u\n", name, i);
}

static void put_selectors(struct making *m, FILE *f, const char *name, bool forwarded,
			  which_fn *which, const char *verdict)
{
	for (unsigned i = 0; i < m->s->n; i++)
		if (which(m, i))
			put_selector(m, f, i, name, forwarded, verdict);
}

/** put_marks - chains that find what nft selects, for chain select; and what is not looked at yet
 */
static void put_marks(struct making *m, FILE *f, which_fn *which, which_fn *forwarded)
{
	if (which_has(m, which, SELECT_CGROUP)) {
		fputs("\tchain " UNLOOKED " {\n", f);
		put_worker_returns(m, f);
		fputs("\t\tcounter drop\n\t}\n", f);
	}
	put_selectors(m, f, CHAIN_MARK, false, which, "goto select");
	if (m->s->forwarded)
		put_selectors(m, f, "forward", true, forwarded, "goto select_forwarded");
}

/** put_select_forwarded - no socket here, so nothing that could be kept */
static void put_select_forwarded(struct making *m, FILE *f, enum plan_mark mark)
{
	if (!m->s->forwarded)
		return;
	fputs("\tchain select_forwarded {\n\t\t", f);
	put_set(m, f, "meta", mark);
	fputs("\n\t}\n", f);
}

/** put_prerouting_forwarded - select what comes in by other devices to go on to others */
static void put_prerouting_forwarded(struct making *m, FILE *f, int priority, which_fn *which)
{
	if (!m->s->forwarded)
		return;
	fprintf(f,
		"\tchain forwarded {\n"
		"\t\ttype filter hook prerouting priority %d; policy accept;\n"
		"\t\tiifname { \"lo\", \"%s\" } return\n"
		"\t\tfib daddr type != unicast return\n",
		priority, m->in->dev);
	put_jumps(m, f, "forward", which);
	fputs("\t}\n", f);
}

/** put_passes - chains that give PASS and keep what is in the sets there */
static void put_passes(struct making *m, FILE *f)
{
	fputs("\tchain pass {\n\t\t", f);
	put_set(m, f, "meta", PLAN_MARK_PASS);
	fputs("\n\t}\n\tchain pass_in {\n", f);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		fprintf(f,
			"\t\ttcp flags & (fin | rst) != 0 update @in%c { %s timeout 2m } goto pass\n",
			family_of(v6), tuple[v6]);
		fprintf(f, "\t\tupdate @in%c { %s } goto pass\n", family_of(v6), tuple[v6]);
	}
	fputs("\t}\n\tchain pass_udp {\n", f);
	for (unsigned v6 = 0; v6 < 2; v6++)
		fprintf(f, "\t\tupdate @udp%c { %s } goto pass\n", family_of(v6), tuple_udp[v6]);
	fputs("\t}\n\tchain pass_answer {\n", f);
	for (unsigned v6 = 0; v6 < 2; v6++)
		fprintf(f, "\t\tupdate @in%c { %s timeout 2m } goto pass\n", family_of(v6),
			tuple[v6]);
	fputs("\t}\n", f);
}

/** put_ours - a connection of ours, by a packet without an owner */
static void put_ours(FILE *f, const char *verdict)
{
	for (unsigned v6 = 0; v6 < 2; v6++)
		fprintf(f, "\t\t%s @ours%c %s\n", tuple[v6], family_of(v6), verdict);
}

/** orphans_marked - may a packet without an owner be one that nft has to mark? */
static bool orphans_marked(const struct making *m, which_fn *which)
{
	return which_has(m, which, SELECT_USER) || which_has(m, which, SELECT_GROUP) ||
	       which_has(m, which, SELECT_ALL) || which_has(m, which, SELECT_NETNS);
}

/**
 * put_output - the chain that marks, of weir_guard
 *
 * What is selected by rule comes here for PASS only. Answers of a server in a cgroup are none of
 * the cgroup's in nft's eyes, so they are looked for before it.
 */
static void put_output(struct making *m, FILE *f)
{
	const bool open = which_has(m, is_marked_open, -1);
	const bool marks = which_has(m, is_marked_closed, -1);
	bool told = false;

	fputs("\tchain output {\n"
	      "\t\ttype route hook output priority -150; policy accept;\n",
	      f);
	if (!open)
		told = put_others_return(m, f, is_any);
	fputs("\t\t", f);
	put_has(m, f, "meta", PLAN_MARK_REPLY);
	fputs("return\n", f);
	if (learns_answers(m) && which_has(m, is_any, SELECT_CGROUP))
		fputs("\t\t" ANSWERS " goto pass_answer\n", f);
	put_jumps(m, f, CHAIN_MARK, is_marked_closed);
	if (!open && !told && which_has(m, is_ruled, -1))
		told = put_others_return(m, f, is_ruled);
	if (open || which_has(m, is_ruled, -1)) {
		put_worker_returns(m, f);
		put_kept_pass(m, f);
	}
	if (marks && orphans_marked(m, is_marked_closed)) {
		if (!told)
			fputs("\t\tmeta skuid != " NO_OWNER " return\n", f);
		put_ours(f, "goto select");
	}
	fputs("\t}\n", f);
}

/** put_guard_output - with the chains that it needs */
static void put_guard_output(struct making *m, FILE *f)
{
	put_passes(m, f);
	if (which_has(m, is_marked_closed, -1)) {
		fputs("\tchain select {\n", f);
		put_worker_returns(m, f);
		put_kept_pass(m, f);
		fputs("\t\t", f);
		put_set(m, f, "meta", PLAN_MARK_SELECT);
		fputs("\n\t}\n", f);
	}
	put_select_forwarded(m, f, PLAN_MARK_SELECT);
	put_marks(m, f, is_marked_closed, is_forwarded_closed);
	if (!m->p->output_for_kept)
		put_output(m, f);
}

/** is_guarded_by_owner - is fail-closed, and its condition can be seen behind routing */
static bool is_guarded_by_owner(const struct making *m, unsigned i)
{
	return is_closed(m, i) && !uses_any_cgroup(&m->s->list[i]);
}

/** steers_answers - has table weir to bring answers back that the guard would let pass? */
static bool steers_answers(const struct making *m)
{
	return m->in->steered && learns_answers(m);
}

/**
 * put_remember - of what goes by weir0: the connections of the selected; more than fit are dropped
 *
 * Also those that were taken over: until the server's program has accepted one, its socket has no
 * owner.
 */
static void put_remember(struct making *m, FILE *f)
{
	fputs("\tchain remember {\n\t\tmeta l4proto != tcp return\n\t\t", f);
	put_has(m, f, "meta", PLAN_MARK_REPLY);
	fprintf(f, "%sreturn\n", steers_answers(m) ? NO_ANSWERS " " : "");
	for (unsigned v6 = 0; v6 < 2; v6++)
		fprintf(f, "\t\tupdate @ours%c { %s } return\n", family_of(v6), tuple[v6]);
	fputs("\t\tcounter drop\n\t}\n", f);
}

/** put_refuse - what stands against being dropped */
static void put_refuse(struct making *m, FILE *f)
{
	fputs("\tchain refuse {\n", f);
	put_worker_returns(m, f);
	fputs("\t\t", f);
	put_has(m, f, "meta", PLAN_MARK_PASS);
	fputs("return\n", f);
	put_kept(m, f, "return", "return", "return");
	fputs("\t\tcounter drop\n\t}\n", f);
}

/** put_judge - of packets that have an owner, or weir's mark: who may not leave by this device */
static void put_judge(struct making *m, FILE *f)
{
	fprintf(f,
		"\tchain judge {\n\t\toifname \"lo\" return\n"
		"\t\toifname \"%s\" goto remember\n",
		m->in->dev);
	put_jumps(m, f, "guard", is_guarded_by_owner);
	fputs("\t\t", f);
	put_has(m, f, "meta", PLAN_MARK_SELECT);
	fputs("goto refuse\n\t}\n", f);
	fprintf(f,
		"\tchain orphan {\n\t\toifname \"lo\" return\n"
		"\t\toifname \"%s\" goto remember\n\t\tcounter drop\n\t}\n",
		m->in->dev);
}

/**
 * put_guard_drop - what the selected send leaves by @dev and lo only
 *
 * Who is not meant is done with it by the first rule. The last ACK of a connection has no owner and
 * looks for itself among ours: nothing but that is in its way.
 */
static void put_guard_drop(struct making *m, FILE *f)
{
	if (!m->p->has_guard)
		return;
	put_remember(m, f);
	put_refuse(m, f);
	put_selectors(m, f, "guard", false, is_guarded_by_owner, "goto refuse");
	put_judge(m, f);
	fputs("\tchain guard {\n", f);
	fprintf(f, "\t\ttype filter hook postrouting priority %d; policy accept;\n", GUARD_PRIO);
	if (which_has(m, is_guarded_by_owner, -1))
		put_others_return(m, f, is_closed);
	else
		fprintf(f,
			"\t\tmeta mark and 0x%08" PRIx32 " == 0 meta skuid != " NO_OWNER
			" return\n",
			plan_mark_mask(m->c));
	fputs("\t\tmeta skuid != " NO_OWNER " goto judge\n", f);
	if (which_has(m, is_marked_closed, -1) || m->s->forwarded) {
		fputs("\t\t", f);
		put_has(m, f, "meta", PLAN_MARK_SELECT);
		fputs("goto judge\n", f);
	}
	put_ours(f, "goto orphan");
	fputs("\t}\n", f);
}

static void put_set_of(FILE *f, const char *name, unsigned v6, const char *more)
{
	const char *type = v6 ? "ipv6_addr" : "ipv4_addr";

	fprintf(f, "\tset %s%c {\n\t\ttype %s . inet_service . %s . inet_service\n%s\t}\n", name,
		family_of(v6), type, type, more);
}

static void put_sets(FILE *f)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		put_set_of(f, "old", v6, "");
		put_set_of(f, "in", v6, DYNAMIC("131072", "5d"));
		put_set_of(f, "udp", v6, DYNAMIC("65536", "3m"));
		put_set_of(f, "ours", v6, DYNAMIC("1048576", "150s"));
	}
}

/** put_guard_table - all of weir_guard but what is there for @keep_nft */
static void put_guard_table(struct making *m, FILE *f)
{
	fputs("table inet " PLAN_GUARD_TABLE " {\n", f);
	put_sets(f);
	put_cgroup_sets(m, f);
	put_guard_output(m, f);
	put_guard_drop(m, f);
	put_prerouting_forwarded(m, f, -150, is_forwarded_closed);
	fputs("}\n", f);
}

/** put_keep - chains for what keeps its path: see plan.h */
static void put_keep(struct making *m, FILE *f)
{
	fputs("table inet " PLAN_GUARD_TABLE " {\n", f);
	if (m->p->output_for_kept)
		put_output(m, f);
	fputs("\tchain inbound_udp {\n"
	      "\t\ttype filter hook prerouting priority -150; policy accept;\n"
	      "\t\tmeta l4proto != udp return\n\t\tiifname \"lo\" return\n",
	      f);
	fprintf(f, "\t\tiifname \"%s\" return\n\t\tfib daddr type != local return\n", m->in->dev);
	for (unsigned v6 = 0; v6 < 2; v6++)
		fprintf(f, "\t\tupdate @udp%c { %s }\n", family_of(v6), tuple_udp_back[v6]);
	fputs("\t}\n}\n", f);
}

static void put_unkeep(struct making *m, FILE *f)
{
	if (m->p->output_for_kept)
		fputs("delete chain inet " PLAN_GUARD_TABLE " output\n", f);
	fputs("delete chain inet " PLAN_GUARD_TABLE " inbound_udp\n", f);
}

/* --- nft: what a crash undoes
 * ---------------------------------------------------------------------- */

/** put_redirect - questions to @d go to the worker's port, and answers come from where @d is */
static void put_redirect(FILE *f, const struct plan_dns *d, const char *proto, uint16_t port,
			 bool answers)
{
	const bool v4 = addr_is_v4(&d->addr);
	const char *ip = v4 ? "ip" : "ip6", *here = v4 ? "127.0.0.1" : "::1";
	char text[ADDR_STRLEN];

	addr_format(&d->addr, text);
	if (!port)
		return;
	if (!answers && !strcmp(proto, "tcp"))
		fprintf(f, "\t\t%s daddr %s tcp dport 53 update @asked%c { %s }\n", ip, text,
			family_of(!v4), tuple[!v4]);
	if (answers)
		fprintf(f,
			"\t\t%s saddr %s %s sport %u notrack %s saddr set %s %s sport set 53 "
			"return\n",
			ip, here, proto, port, ip, text, proto);
	else
		fprintf(f, "\t\t%s daddr %s %s dport 53 notrack %s daddr set %s %s dport set %u\n",
			ip, text, proto, ip, here, proto, port);
}

/**
 * put_dns - port 53 of the resolvers, for the selected, to the worker's sockets
 *
 * Each resolver has ports of its own there, so that what is changed can be changed back without
 * connection tracking. A firewall's, which would see questions and answers of different connections
 * and may drop them as invalid, is told to leave them out, ahead of it. A connection that its
 * program has closed has no owner any more, but a last ACK to send: asked4 and asked6 tell it.
 */
static void put_dns(struct making *m, FILE *f)
{
	for (unsigned v6 = 0; v6 < 2; v6++)
		put_set_of(f, "asked", v6, DYNAMIC("65536", "150s"));
	fputs("\tchain redirect_dns {\n", f);
	put_worker_returns(m, f);
	for (unsigned i = 0; i < m->in->n_dns; i++) {
		put_redirect(f, &m->in->dns[i], "udp", m->in->dns[i].udp_port, false);
		put_redirect(f, &m->in->dns[i], "tcp", m->in->dns[i].tcp_port, false);
	}
	fputs("\t}\n", f);
	put_selectors(m, f, "dns", false, is_any, "goto redirect_dns");
	fputs("\tchain dns {\n\t\ttype filter hook output priority -300; policy accept;\n"
	      "\t\toifname != \"lo\" return\n",
	      f);
	for (unsigned i = 0; i < m->in->n_dns; i++) {
		put_redirect(f, &m->in->dns[i], "udp", m->in->dns[i].udp_port, true);
		put_redirect(f, &m->in->dns[i], "tcp", m->in->dns[i].tcp_port, true);
	}
	fputs("\t\tmeta l4proto != { tcp, udp } return\n\t\tth dport != 53 return\n", f);
	put_jumps(m, f, "dns", is_any);
	fputs("\t\tmeta skuid != " NO_OWNER " return\n", f);
	for (unsigned v6 = 0; v6 < 2; v6++)
		fprintf(f, "\t\t%s @asked%c goto redirect_dns\n", tuple[v6], family_of(v6));
	fputs("\t}\n", f);
}

/**
 * put_open_output - the marking chain of fail-open selectors, behind that of weir_guard
 *
 * Their mark is REPLY, which goes the same way and is none of the guard's business.
 */
static void put_open_output(struct making *m, FILE *f)
{
	for (unsigned v6 = 0; v6 < 2; v6++)
		put_set_of(f, "ours", v6, DYNAMIC("1048576", "150s"));
	fputs("\tchain select {\n", f);
	put_worker_returns(m, f);
	fputs("\t\t", f);
	put_set(m, f, "meta", PLAN_MARK_REPLY);
	fputs("\n", f);
	for (unsigned v6 = 0; v6 < 2; v6++)
		fprintf(f, "\t\tupdate @ours%c { %s }\n", family_of(v6), tuple[v6]);
	fputs("\t}\n", f);
	put_select_forwarded(m, f, PLAN_MARK_REPLY);
	put_marks(m, f, is_marked_open, is_forwarded_open);
	fputs("\tchain output {\n\t\ttype route hook output priority -149; policy accept;\n", f);
	put_others_return(m, f, is_marked_open);
	fprintf(f, "\t\tmeta mark and 0x%08" PRIx32 " != 0 return\n", plan_mark_mask(m->c));
	put_jumps(m, f, CHAIN_MARK, is_marked_open);
	if (orphans_marked(m, is_marked_open)) {
		fputs("\t\tmeta skuid != " NO_OWNER " return\n", f);
		put_ours(f, "goto select");
	}
	fputs("\t}\n", f);
	put_prerouting_forwarded(m, f, -149, is_forwarded_open);
}

/** put_answers - to what the worker has taken over: by weir0, whatever the guard thinks of them */
static void put_answers(struct making *m, FILE *f)
{
	fputs("\tchain answer {\n", f);
	put_worker_returns(m, f);
	fputs("\t\t", f);
	put_set(m, f, "meta", PLAN_MARK_REPLY);
	fputs("\n", f);
	for (unsigned v6 = 0; v6 < 2 && which_has(m, is_marked_open, -1); v6++)
		fprintf(f, "\t\tupdate @ours%c { %s }\n", family_of(v6), tuple[v6]);
	fputs("\t}\n", f);
	put_selectors(m, f, "answer", false, is_any, "goto answer");
	fputs("\tchain answers {\n\t\ttype route hook output priority -151; policy accept;\n"
	      "\t\t" NO_ANSWERS " return\n",
	      f);
	put_jumps(m, f, "answer", is_any);
	fputs("\t}\n", f);
}

static void put_table(struct making *m, FILE *f)
{
	fputs("table inet " PLAN_TABLE " {\n", f);
	put_cgroup_sets(m, f);
	if (which_has(m, is_marked_open, -1))
		put_open_output(m, f);
	if (m->in->n_dns)
		put_dns(m, f);
	if (steers_answers(m))
		put_answers(m, f);
	fprintf(f,
		"}\ntable netdev " PLAN_TABLE " {\n\tchain reply {\n"
		"\t\ttype filter hook ingress device \"%s\" priority -150; policy accept;\n\t\t",
		m->in->dev);
	put_set(m, f, "meta", PLAN_MARK_REPLY);
	fputs("\n\t}\n}\n", f);
}

/** text_of - what @put writes, as a string; NULL when there is no memory */
static char *text_of(struct making *m, void (*put)(struct making *m, FILE *f))
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	bool bad;

	if (!f)
		return NULL;
	put(m, f);
	bad = ferror(f);
	if (fclose(f) || bad) {
		free(text);
		return NULL;
	}
	return text;
}

/* --- the whole
 * --------------------------------------------------------------------------------------- */

/** mark_clashes - does a mark that the user names have bits that are ours? */
static bool mark_clashes(struct making *m, uint32_t mark, uint32_t mask)
{
	uint32_t ours = plan_mark_mask(m->c);

	return mark & ours || (mask != UINT32_MAX && mask & ours);
}

/** is_output_for_kept - has the chain in the output hook nothing to do but for what is kept? */
static bool is_output_for_kept(const struct making *m)
{
	return m->in->steered && !m->c->link_local_pass && !which_has(m, is_marked_closed, -1);
}

static int check_selector(struct making *m, const struct selector *sel)
{
	const struct id_range *r = &m->s->ranges[sel->ids.first];
	uint32_t worker = m->in->worker_uid;

	if (sel->kind == SELECT_MARK && mark_clashes(m, sel->mark, sel->mask))
		return refuse(m, sel, "has bits that weir uses; see --mark-bits");
	for (unsigned i = 0; i < sel->n_excepts; i++)
		if (sel->excepts[i].kind == EXCEPT_MARK &&
		    mark_clashes(m, sel->excepts[i].mark, sel->excepts[i].mask))
			return refuse(m, sel,
				      "--except mark= has bits that weir uses; see --mark-bits");
	if (uses_any_cgroup(sel) && !m->in->cgroup_mount)
		return refuse(m, sel, "needs a cgroup v2 hierarchy, and none is mounted");
	if (sel->kind == SELECT_USER && r->lo == worker && r->hi == worker)
		return refuse(m, sel, "is the worker's own user, which relays for the others");
	return 0;
}

int plan_make(struct plan *p, const struct up_config *c, const struct plan_input *in, char *err,
	      size_t errsize)
{
	struct making m = {
		.p = p, .c = c, .s = &c->select, .in = in, .err = err, .errsize = errsize};
	int rc = 0;

	memset(p, 0, sizeof(*p));
	for (unsigned i = 0; !rc && i < m.s->n; i++)
		rc = check_selector(&m, &m.s->list[i]);
	if (rc)
		return rc;
	choose_ways(&m);
	make_rules(&m);
	if (m.full) {
		snprintf(err, errsize, "the selection takes more than %d rules", PLAN_RULES_MAX);
		return -E2BIG;
	}
	make_routes(&m);
	make_sysctls(&m);
	p->output_for_kept = is_output_for_kept(&m);
	p->guard_nft = text_of(&m, put_guard_table);
	p->keep_nft = text_of(&m, put_keep);
	p->unkeep_nft = text_of(&m, put_unkeep);
	p->nft = text_of(&m, put_table);
	if (p->guard_nft && p->keep_nft && p->unkeep_nft && p->nft)
		return 0;
	plan_free(p);
	snprintf(err, errsize, "no memory for the plan");
	return -ENOMEM;
}

void plan_free(struct plan *p)
{
	free(p->guard_nft);
	free(p->keep_nft);
	free(p->unkeep_nft);
	free(p->nft);
	p->guard_nft = p->keep_nft = p->unkeep_nft = p->nft = NULL;
}

/* --- text
 * -----------------------------------------------------------------------------------------------
 */

static void print_rule(const struct host_rule *r, FILE *f)
{
	char text[ADDR_STRLEN];

	fprintf(f, "ip %s rule add pref %" PRIu32, r->v6 ? "-6" : "-4", r->pref);
	if (r->to.bits)
		fprintf(f, " to %s/%u", addr_format(&r->to.addr, text), r->to.bits);
	if (r->mask)
		fprintf(f, " fwmark 0x%" PRIx32 "/0x%" PRIx32, r->mark, r->mask);
	if (r->iif[0])
		fprintf(f, " iif %s", r->iif);
	if (r->has_uid)
		fprintf(f, " uidrange %" PRIu32 "-%" PRIu32, r->uid_lo, r->uid_hi);
	if (r->ip_proto)
		fprintf(f, " ipproto %u", r->ip_proto);
	if (r->dport_lo)
		fprintf(f, " dport %u-%u", r->dport_lo, r->dport_hi);
	if (r->action == RULE_LOOKUP)
		fprintf(f, " lookup %" PRIu32, r->table);
	else if (r->action == RULE_GOTO)
		fprintf(f, " goto %" PRIu32, r->goto_pref);
	else
		fputs(r->action == RULE_NOP ? " nop" : " unreachable", f);
	fprintf(f, " protocol %d\n", RULE_PROTOCOL);
}

static void print_route(const struct host_route *r, FILE *f)
{
	static const char *const types[] = {
		[ROUTE_UNICAST] = "unicast",	 [ROUTE_UNREACHABLE] = "unreachable",
		[ROUTE_BLACKHOLE] = "blackhole", [ROUTE_PROHIBIT] = "prohibit",
		[ROUTE_THROW] = "throw",
	};

	fprintf(f, "ip %s route add %s default table %" PRIu32 " metric %" PRIu32 " protocol %d\n",
		r->v6 ? "-6" : "-4", types[r->type], r->table, r->metric, RULE_PROTOCOL);
}

static void print_sysctls(const struct host_sysctl *s, unsigned n, FILE *f)
{
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "echo %s >/proc/sys/%s\n", s[i].value, s[i].name);
}

void plan_print(const struct plan *p, FILE *f)
{
	fputs("# settings\n", f);
	print_sysctls(p->sysctls, p->n_sysctls, f);
	fputs("# settings of the device, once it is there\n", f);
	print_sysctls(p->dev_sysctls, p->n_dev_sysctls, f);
	fputs("# the end of weir's routing table; the host's routes are mirrored in front of it\n",
	      f);
	for (unsigned i = 0; i < p->n_routes; i++)
		print_route(&p->routes[i].route, f);
	fprintf(f,
		"# nft -f: %s\n%s# nft -f: in the same table, while connections from before or UDP "
		"servers of the selected are there\n%s# nft -f: undone after a crash\n%s# rules\n",
		p->has_guard ? "stays after a crash, until `weir down`" : "undone after a crash",
		p->guard_nft, p->keep_nft, p->nft);
	for (unsigned i = 0; i < p->n_rules; i++)
		print_rule(&p->rules[i].rule, f);
}

int plan_old_text(char *buf, size_t size, bool add, const struct addrport *local,
		  const struct addrport *remote)
{
	char a[ADDR_STRLEN], b[ADDR_STRLEN];
	int n = snprintf(buf, size,
			 "%s element inet " PLAN_GUARD_TABLE " old%c { %s . %u . %s . %u }\n",
			 add ? "add" : "delete", addr_is_v4(&remote->addr) ? '4' : '6',
			 addr_format(&local->addr, a), local->port, addr_format(&remote->addr, b),
			 remote->port);

	return n < 0 || (size_t)n >= size ? -ENOSPC : n;
}
