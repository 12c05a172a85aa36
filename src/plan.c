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
 *errors) to what came from weir0. They carry uid 0, so a mark brings them back: a packet from weir0
 *gets REPLY, which fwmark_reflect copies to the answer +20..	one slot of two prefs for each
 *selector that policy rules can express: first its exceptions, which go to the next slot, then its
 *users, who go by weir's table +60	what nftables marked SELECT goes by weir's table: every
 *other selector +99	nothing, the target of the others
 *
 * `iif lo` on a rule means that this host itself sends. Without it uid 0 would include what is
 * forwarded for containers. A selector that contains uid 0 goes by mark, as the kernel's own
 * packets count as uid 0 as well; nft tells them from a program's by the missing socket.
 *
 * nftables, two tables, since a crash must leave one and undo the other. weir_guard marks the
 * packets of fail-closed selectors (a chain of type route: a new mark makes the kernel look up
 * the route again) and drops what they send by any other device than weir0 and lo, for a socket
 *that is bound to a device skips routing. It drops in the postrouting hook: in the output hook the
 *device that a packet is seen with is the one from before it was routed again. The socket's cgroup
 *is not to be had there, so what is selected by cgroup is dropped by its mark.
 *
 * A socket that its program has closed has no owner any more in nft's eyes, but may still have data
 * to send (again). So the connection is marked: SELECT by what leaves by weir0 or was selected,
 *OPEN where the selector is fail-open, and packets without an owner follow their connection's mark.
 *PASS on a connection: it came from outside to a local address, its answers keep the way they came.
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
#define PREF_SLOTS  20 /* two prefs each */
#define PREF_SELECT 60
#define PREF_END    99
#define SLOTS_MAX   ((PREF_SELECT - PREF_SLOTS) / 2)
#define SLOT_RULES  256 /* of one selector; with more it goes by mark */
#define METRIC_LAST UINT32_MAX
#define CGROUP_ROOT "/sys/fs/cgroup" /* where nft looks for cgroups */
#define CGROUP_UP   "../../.."	     /* from there to / */
#define BOTH_BITS   3U
#define GUARD_PRIO  90 /* after all filters (0), before source NAT (100) changes addresses */
#define NO_OWNER    "4294967295"
#define CHAIN_MARK  "mark" /* name of the chains that give SELECT, less the selector's number */

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
	unsigned pref = PREF_SLOTS + 2 * slot;
	struct slot t = {.m = m, .guard = !sel->fail_open};
	struct host_rule r = rule_lookup(m, true);

	t.n_ids = ids_merged(m->s, &sel->ids, t.ids);
	t.n_ports = ports_merged(&sel->narrow, t.ports);
	r.pref = m->c->rule_base + pref + 1;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		r.v6 = v6;
		slot_family(&t, sel, r);
	}
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
			put_lines(m, f, sel, (int)i, "counter drop");
	put_lines(m, f, sel, forwarded ? WHO_FORWARDED : WHO_OWNER, verdict);
	fputs("\t}\n", f);
}

/* --- nft: chains ---------------------------------------------------------------------------------
 */

/** enum ct_mark - our bits in a connection's mark; the third value means something else there */
enum ct_mark { CT_SELECT = PLAN_MARK_SELECT, CT_PASS = PLAN_MARK_PASS, CT_OPEN = 3 };

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

/**
 * put_others_return - who can't be meant by any selector is done with the chain at once
 *
 * The first rule of chains that every packet of this host meets, so that those who are not
 * selected pay for one look at their user. A packet without an owner goes on.
 */
static void put_others_return(struct making *m, FILE *f)
{
	static struct id_range all[SELECT_RANGES_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < m->s->n; i++) {
		const struct selector *sel = &m->s->list[i];

		if (sel->kind != SELECT_USER || n + sel->ids.n > SELECT_RANGES_MAX)
			return;
		memcpy(all + n, m->s->ranges + sel->ids.first, sel->ids.n * sizeof(*all));
		n += sel->ids.n;
	}
	n = ranges_merge(all, n);
	fputs("\t\tmeta skuid != ", f);
	put_ranges(f, all, n);
	fputs("return\n", f);
}

/** put_kept - connections from before, from outside, and, where asked for, the link's own */
static void put_kept(struct making *m, FILE *f, const char *verdict)
{
	fprintf(f, "\t\tip saddr . tcp sport . ip daddr . tcp dport @old4 %s\n", verdict);
	fprintf(f, "\t\tip6 saddr . tcp sport . ip6 daddr . tcp dport @old6 %s\n", verdict);
	fputs("\t\t", f);
	put_has(m, f, "ct", CT_PASS);
	fprintf(f, "%s\n", verdict);
	if (!m->c->link_local_pass)
		return;
	fprintf(f,
		"\t\tip daddr { 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255 } %s\n"
		"\t\tip6 daddr { fe80::/10, ff00::/8 } %s\n"
		"\t\tfib daddr type broadcast %s\n",
		verdict, verdict, verdict);
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

/** marked - is selector @i marked by nft, in the table of its kind? */
static bool marked(const struct making *m, unsigned i, bool open)
{
	return !m->p->by_rule[i] && m->s->list[i].fail_open == open;
}

/** forwards - does selector @i take what is forwarded, in the table of its kind? */
static bool forwards(const struct making *m, unsigned i, bool open)
{
	const struct selector *sel = &m->s->list[i];

	if (!m->s->forwarded || sel->fail_open != open)
		return false;
	return sel->kind == SELECT_ALL || sel->kind == SELECT_NETNS ||
	       (sel->kind == SELECT_USER && select_takes_uid(m->s, &sel->ids, 0));
}

/** put_jumps - to chain @name of each selector that @which says; returns whether there was one */
static bool put_jumps(struct making *m, FILE *f, const char *name, bool open,
		      bool (*which)(const struct making *m, unsigned i, bool open))
{
	bool any = false;

	for (unsigned i = 0; i < m->s->n; i++) {
		if (which(m, i, open)) {
			fprintf(f, "\t\tjump %s%u\n", name, i);
			any = true;
		}
	}
	return any;
}

static void put_selectors(struct making *m, FILE *f, const char *name, bool open, bool forwarded,
			  bool (*which)(const struct making *m, unsigned i, bool open),
			  const char *verdict)
{
	for (unsigned i = 0; i < m->s->n; i++)
		if (which(m, i, open))
			put_selector(m, f, i, name, forwarded, verdict);
}

/**
 * put_marking - what nft selects, and packets without an owner as their connection was
 *
 * The same in both tables but for the selectors and the connection's mark.
 */
static void put_marking(struct making *m, FILE *f, bool open)
{
	unsigned ct = open ? CT_OPEN : CT_SELECT;

	fputs("\tchain select {\n\t\t", f);
	put_set(m, f, "meta", PLAN_MARK_SELECT);
	fputs("\n\t\t", f);
	put_has(m, f, "ct", 0);
	put_set(m, f, "ct", ct);
	fputs("\n\t}\n", f);
	put_selectors(m, f, CHAIN_MARK, open, false, marked, "goto select");
	fputs("\tchain owned {\n", f);
	put_jumps(m, f, CHAIN_MARK, open, marked);
	fputs("\t}\n", f);
	if (m->s->forwarded)
		put_selectors(m, f, "forward", open, true, forwards, "goto select");
}

/** put_prerouting_forwarded - select what comes in by other devices to go on to others */
static void put_prerouting_forwarded(struct making *m, FILE *f, bool open)
{
	fprintf(f, "\t\tiifname { \"lo\", \"%s\" } return\n\t\t", m->in->dev);
	put_has(m, f, "ct", CT_PASS);
	fputs("return\n\t\tfib daddr type != unicast return\n", f);
	put_jumps(m, f, "forward", open, forwards);
}

/** put_guard_output - the chain that marks, of weir_guard */
static void put_guard_output(struct making *m, FILE *f)
{
	fputs("\tchain pass {\n\t\t", f);
	put_set(m, f, "meta", PLAN_MARK_PASS);
	fputs("\n\t}\n", f);
	put_marking(m, f, false);
	fputs("\tchain output {\n"
	      "\t\ttype route hook output priority -150; policy accept;\n",
	      f);
	put_others_return(m, f);
	put_worker_returns(m, f);
	fputs("\t\t", f);
	put_has(m, f, "meta", PLAN_MARK_REPLY);
	fputs("return\n", f);
	put_kept(m, f, "goto pass");
	fputs("\t\tmeta skuid != " NO_OWNER " goto owned\n\t\t", f);
	put_has(m, f, "ct", CT_SELECT);
	fputs("goto select\n\t}\n", f);
}

/** guarded_by_owner - is fail-closed, and its condition can be seen behind routing */
static bool guarded_by_owner(const struct making *m, unsigned i, bool open)
{
	const struct selector *sel = &m->s->list[i];

	return sel->fail_open == open && !uses_any_cgroup(sel);
}

/** put_guard_drop - what the selected send leaves by @dev and lo only */
static void put_guard_drop(struct making *m, FILE *f)
{
	put_selectors(m, f, "guard", false, false, guarded_by_owner, "counter drop");
	fputs("\tchain guard {\n", f);
	fprintf(f, "\t\ttype filter hook postrouting priority %d; policy accept;\n", GUARD_PRIO);
	put_others_return(m, f);
	fputs("\t\toifname \"lo\" return\n", f);
	put_worker_returns(m, f);
	fprintf(f, "\t\toifname \"%s\" ", m->in->dev);
	put_has(m, f, "ct", 0);
	put_set(m, f, "ct", CT_SELECT);
	fprintf(f, "\n\t\toifname \"%s\" return\n\t\t", m->in->dev);
	put_has(m, f, "meta", PLAN_MARK_PASS);
	fputs("return\n", f);
	put_kept(m, f, "return");
	put_jumps(m, f, "guard", false, guarded_by_owner);
	fputs("\t\t", f);
	put_has(m, f, "ct", CT_OPEN);
	fputs("return\n\t\t", f);
	put_has(m, f, "meta", PLAN_MARK_SELECT);
	fputs("counter drop\n\t\tmeta skuid != " NO_OWNER " return\n\t\t", f);
	put_has(m, f, "ct", CT_SELECT);
	fputs("counter drop\n\t}\n", f);
}

static void put_old_set(FILE *f, const char *name, const char *type)
{
	fprintf(f, "\tset %s {\n\t\ttype %s . inet_service . %s . inet_service\n\t}\n", name, type,
		type);
}

/** put_inbound - connections that come from outside to this host, by their first packet */
static void put_inbound(struct making *m, FILE *f, const char *first)
{
	fprintf(f, "\t\tiifname != { \"lo\", \"%s\" } %s fib daddr type local ", m->in->dev, first);
	put_has(m, f, "ct", 0);
	put_set(m, f, "ct", CT_PASS);
	fputs("\n", f);
}

/** put_guard_table - all of weir_guard */
static void put_guard_table(struct making *m, FILE *f)
{
	fputs("table inet " PLAN_GUARD_TABLE " {\n", f);
	put_old_set(f, "old4", "ipv4_addr");
	put_old_set(f, "old6", "ipv6_addr");
	put_cgroup_sets(m, f);
	put_guard_output(m, f);
	put_guard_drop(m, f);
	fputs("\tchain prerouting {\n"
	      "\t\ttype filter hook prerouting priority -150; policy accept;\n",
	      f);
	put_inbound(m, f, "tcp flags & (fin | syn | rst | ack) == syn");
	put_inbound(m, f, "meta l4proto != tcp ct state new");
	if (m->s->forwarded)
		put_prerouting_forwarded(m, f, false);
	fputs("\t}\n}\n", f);
}

/* --- nft: what a crash undoes
 * ---------------------------------------------------------------------- */

static bool any_selector(const struct making *m, unsigned i, bool open)
{
	(void)m;
	(void)i;
	(void)open;
	return true;
}

static void put_redirect(FILE *f, const struct plan_dns *d, const char *proto, uint16_t port)
{
	char text[ADDR_STRLEN];

	if (port)
		fprintf(f, "\t\t%s daddr %s %s dport 53 redirect to :%u\n",
			addr_is_v4(&d->addr) ? "ip" : "ip6", addr_format(&d->addr, text), proto,
			port);
}

/** put_dns - port 53 of the resolvers, for the selected, to the worker's sockets */
static void put_dns(struct making *m, FILE *f)
{
	fputs("\tchain redirect_dns {\n", f);
	for (unsigned i = 0; i < m->in->n_dns; i++) {
		put_redirect(f, &m->in->dns[i], "udp", m->in->dns[i].udp_port);
		put_redirect(f, &m->in->dns[i], "tcp", m->in->dns[i].tcp_port);
	}
	fputs("\t}\n", f);
	put_selectors(m, f, "dns", false, false, any_selector, "goto redirect_dns");
	fputs("\tchain select_dns {\n", f);
	put_jumps(m, f, "dns", false, any_selector);
	fputs("\t}\n\tchain dns {\n\t\ttype nat hook output priority -100; policy accept;\n", f);
	put_worker_returns(m, f);
	fputs("\t\tmeta l4proto { tcp, udp } th dport 53 jump select_dns\n\t}\n", f);
}

/** put_open_output - the marking chain of fail-open selectors, behind that of weir_guard */
static void put_open_output(struct making *m, FILE *f)
{
	put_marking(m, f, true);
	fputs("\tchain output {\n\t\ttype route hook output priority -149; policy accept;\n", f);
	put_worker_returns(m, f);
	fprintf(f, "\t\tmeta mark and 0x%08" PRIx32 " != 0 return\n", plan_mark_mask(m->c));
	fputs("\t\tmeta skuid != " NO_OWNER " goto owned\n\t\t", f);
	put_has(m, f, "ct", CT_OPEN);
	fputs("goto select\n\t}\n", f);
}

static bool has_open(const struct making *m)
{
	for (unsigned i = 0; i < m->s->n; i++)
		if (m->s->list[i].fail_open)
			return true;
	return false;
}

static void put_table(struct making *m, FILE *f)
{
	bool open = has_open(m);

	fputs("table inet " PLAN_TABLE " {\n", f);
	put_cgroup_sets(m, f);
	if (open)
		put_open_output(m, f);
	if (m->in->n_dns)
		put_dns(m, f);
	fprintf(f,
		"\tchain prerouting {\n"
		"\t\ttype filter hook prerouting priority -149; policy accept;\n"
		"\t\tiifname \"%s\" ",
		m->in->dev);
	put_set(m, f, "meta", PLAN_MARK_REPLY);
	fputs("\n", f);
	if (open && m->s->forwarded)
		put_prerouting_forwarded(m, f, true);
	fputs("\t}\n}\n", f);
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
	p->guard_nft = text_of(&m, put_guard_table);
	p->nft = text_of(&m, put_table);
	if (p->guard_nft && p->nft)
		return 0;
	plan_free(p);
	snprintf(err, errsize, "no memory for the plan");
	return -ENOMEM;
}

void plan_free(struct plan *p)
{
	free(p->guard_nft);
	free(p->nft);
	p->guard_nft = p->nft = NULL;
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
		fputs(" nop", f);
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
	fprintf(f, "# nft -f: %s\n%s# nft -f: undone after a crash\n%s# rules\n",
		p->has_guard ? "stays after a crash, until `weir down`" : "undone after a crash",
		p->guard_nft, p->nft);
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
