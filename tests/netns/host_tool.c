/* SPDX-License-Identifier: MIT */
/*
 * host_tool: what weir does to a host's routing and firewall, one step a command, for tests.
 * Commands are separated by "--" and share their sockets; each prints its result as a line.
 *
 * LINK: src/rtnl.o src/nft.o src/nlmsg.o src/mirror.o src/regions.o
 * LINK: src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "mirror.h"
#include "nft.h"
#include "rtnl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"

static struct rtnl *nl;
static struct nft *nft;
static int watch = -1, nft_watch = -1;

static void say(const char *what, int err)
{
	printf("%s %s\n", what, err < 0 ? strerrorname_np(-err) : "ok");
}

/** option - the value of "NAME=" among @argv, "" when it is not there */
static const char *option(char **argv, const char *name)
{
	size_t len = strlen(name);

	for (; *argv; argv++)
		if (!strncmp(*argv, name, len) && (*argv)[len] == '=')
			return *argv + len + 1;
	return "";
}

static uint32_t number(char **argv, const char *name)
{
	return (uint32_t)strtoul(option(argv, name), NULL, 0);
}

/** pair - "A-B" or "A/B" */
static bool pair(char **argv, const char *name, uint32_t *a, uint32_t *b)
{
	const char *text = option(argv, name);
	char *end;

	if (!*text)
		return false;
	*a = (uint32_t)strtoul(text, &end, 0);
	*b = *end ? (uint32_t)strtoul(end + 1, NULL, 0) : *a;
	return true;
}

static struct host_rule rule_of(char **argv)
{
	struct host_rule r = {.v6 = number(argv, "v6"), .pref = number(argv, "pref")};
	uint32_t lo, hi;

	r.table = number(argv, "table");
	r.goto_pref = number(argv, "goto");
	r.action = r.table ? RULE_LOOKUP : r.goto_pref ? RULE_GOTO : RULE_NOP;
	r.has_uid = pair(argv, "uid", &r.uid_lo, &r.uid_hi);
	pair(argv, "mark", &r.mark, &r.mask);
	str_copy(r.iif, sizeof(r.iif), option(argv, "iif"));
	r.ip_proto = (uint8_t)number(argv, "proto");
	prefix_parse(option(argv, "to"), &r.to);
	if (pair(argv, "dport", &lo, &hi)) {
		r.dport_lo = (uint16_t)lo;
		r.dport_hi = (uint16_t)hi;
	}
	return r;
}

static struct host_route route_of(char **argv)
{
	static const char *const types[] = {"unicast",	"unreachable", "blackhole",
					    "prohibit", "throw",       "local"};
	struct host_route r = {.v6 = number(argv, "v6"), .table = number(argv, "table")};
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(option(argv, "type"), types[i]))
			r.type = (enum route_type)i;
	prefix_parse(option(argv, "dst"), &r.dst);
	addr_parse(option(argv, "src"), &r.src);
	r.ifindex = *option(argv, "dev") ? if_nametoindex(option(argv, "dev")) : 0;
	r.metric = number(argv, "metric");
	r.mtu = number(argv, "mtu");
	return r;
}

static void print_prefix(const struct prefix *p)
{
	char text[ADDR_STRLEN];

	printf("%s/%u", addr_format(&p->addr, text), p->bits);
}

static int print_rule(void *ctx, const struct host_rule *r, bool ours)
{
	const bool all = ctx != NULL;

	if (!ours && !all)
		return 0;
	printf("%s %s pref=%u", ours ? "ours" : "other", r->v6 ? "v6" : "v4", r->pref);
	if (r->has_uid)
		printf(" uid=%u-%u", r->uid_lo, r->uid_hi);
	if (r->mask)
		printf(" mark=0x%x/0x%x", r->mark, r->mask);
	if (r->iif[0])
		printf(" iif=%s", r->iif);
	if (r->ip_proto)
		printf(" proto=%u", r->ip_proto);
	if (r->to.bits) {
		printf(" to=");
		print_prefix(&r->to);
	}
	if (r->dport_lo || r->dport_hi)
		printf(" dport=%u-%u", r->dport_lo, r->dport_hi);
	if (r->action == RULE_LOOKUP)
		printf(" table=%u\n", r->table);
	else if (r->action == RULE_GOTO)
		printf(" goto=%u\n", r->goto_pref);
	else
		printf(" nop\n");
	return 0;
}

/* the same rules again, deleted from inside of the list of them */
static int del_rule(void *ctx, const struct host_rule *r, bool ours)
{
	int *n = ctx;

	if (ours && !rtnl_rule_del(nl, r))
		++*n;
	return 0;
}

static int print_route(void *ctx, const struct host_route *r)
{
	static const char *const types[] = {"unicast",	"unreachable", "blackhole",
					    "prohibit", "throw",       "local"};
	char text[ADDR_STRLEN], name[IFNAMSIZ];

	(void)ctx;
	printf("route table=%u %s ", r->table, types[r->type]);
	print_prefix(&r->dst);
	if (r->ifindex)
		printf(" dev %s", if_indextoname(r->ifindex, name) ? name : "?");
	if (!addr_is_unspecified(&r->src))
		printf(" src %s", addr_format(&r->src, text));
	if (r->metric)
		printf(" metric %u", r->metric);
	if (r->mtu)
		printf(" mtu %u", r->mtu);
	printf("\n");
	return 0;
}

static int print_local(void *ctx, const struct prefix *p)
{
	(void)ctx;
	printf("local ");
	print_prefix(p);
	printf("\n");
	return 0;
}

static int print_address(void *ctx, unsigned ifindex, const struct prefix *p)
{
	char name[IFNAMSIZ];

	(void)ctx;
	printf("address %s ", if_indextoname(ifindex, name) ? name : "?");
	print_prefix(p);
	printf("\n");
	return 0;
}

static int print_link(void *ctx, const struct rtnl_link *l)
{
	(void)ctx;
	printf("link %s mtu %u %s\n", l->name, l->mtu, l->up ? "up" : "down");
	return 0;
}

static void way(char **argv)
{
	static const char *const types[] = {"unicast",	"unreachable", "blackhole",
					    "prohibit", "throw",       "local"};
	char src[ADDR_STRLEN], name[IFNAMSIZ];
	struct rtnl_way w;
	struct addr to;
	int err;

	if (addr_parse(option(argv, "to"), &to)) {
		say("way", -EINVAL);
		return;
	}
	err = rtnl_way_to(nl, &to, number(argv, "uid"), number(argv, "mark"), &w);
	if (err)
		say("way", err);
	else if (w.type != ROUTE_UNICAST)
		printf("way %s\n", types[w.type]);
	else
		printf("way %s table %u dev %s src %s mtu %u\n", w.local ? "local" : "unicast",
		       w.table, if_indextoname(w.ifindex, name) ? name : "-",
		       addr_format(&w.src, src), w.mtu);
}

/** heard - what a watch says within a second and a bit of silence after that */
static void heard(void)
{
	struct pollfd p = {.fd = watch, .events = POLLIN};
	int what = 0, wait = 1000;

	while (poll(&p, 1, wait) > 0) {
		int r = rtnl_watch_read(watch, nl);

		if (r < 0)
			say("watch", r);
		else
			what |= r;
		wait = 50;
	}
	printf("heard%s%s%s%s%s\n", what & RTNL_LINK ? " link" : "",
	       what & RTNL_ADDRESS ? " address" : "", what & RTNL_ROUTE ? " route" : "",
	       what & RTNL_RULE ? " rule" : "", what & RTNL_LOST ? " lost" : "");
}

static void nft_heard(void)
{
	struct pollfd p = {.fd = nft_watch, .events = POLLIN};
	int what = 0, wait = 300;

	while (poll(&p, 1, wait) > 0) {
		int r = nft_watch_read(nft_watch, nft);

		if (r < 0)
			say("nft-watch", r);
		else
			what |= r;
		wait = 50;
	}
	printf("nft-heard %d\n", what);
}

static void apply(const char *text)
{
	char err[256];
	int r = nft_apply(nft, text, err, sizeof(err));

	printf("nft %s%s%s\n", r ? strerrorname_np(-r) : "ok", r ? " " : "", err);
}

static void mirror(char **argv)
{
	struct mirror m = {.nl = nl,
			   .table = number(argv, "table"),
			   .ifindex = if_nametoindex(option(argv, "dev")),
			   .uid = number(argv, "uid")};
	struct mirror_report r;
	uint64_t from = clock_mono_ns();
	int err = mirror_update(&m, &r);

	if (err)
		say("mirror", err);
	else
		printf("mirror routes=%u added=%u replaced=%u deleted=%u%s%s%s\n", r.routes,
		       r.added, r.replaced, r.deleted, r.limited ? " limited" : "",
		       r.failed ? " failed=" : "", r.failed ? strerrorname_np(-r.failed) : "");
	fprintf(stderr, "mirror: %u asked, %u us\n", r.asked,
		(unsigned)((clock_mono_ns() - from) / 1000));
}

static bool rules_command(char **argv)
{
	struct host_rule r = rule_of(argv + 1);
	int n = 0;

	if (!strcmp(*argv, "rule-add"))
		say("rule-add", rtnl_rule_add(nl, &r));
	else if (!strcmp(*argv, "rule-del"))
		say("rule-del", rtnl_rule_del(nl, &r));
	else if (!strcmp(*argv, "rules"))
		rtnl_rules(nl, print_rule, number(argv, "all") ? &n : NULL);
	else if (!strcmp(*argv, "rules-del")) {
		rtnl_rules(nl, del_rule, &n);
		printf("rules-del %d\n", n);
	} else
		return false;
	return true;
}

static bool routes_command(char **argv)
{
	struct host_route r = route_of(argv + 1);

	if (!strcmp(*argv, "route-replace"))
		say("route-replace", rtnl_route_replace(nl, &r));
	else if (!strcmp(*argv, "route-del"))
		say("route-del", rtnl_route_del(nl, &r));
	else if (!strcmp(*argv, "routes"))
		say("routes", rtnl_routes(nl, print_route, NULL));
	else if (!strcmp(*argv, "table"))
		say("table", rtnl_table_routes(nl, r.table, print_route, NULL));
	else if (!strcmp(*argv, "flush"))
		printf("flush %d\n", rtnl_routes_flush(nl, r.table));
	else if (!strcmp(*argv, "local"))
		rtnl_local_prefixes(nl, print_local, NULL);
	else if (!strcmp(*argv, "addresses"))
		rtnl_addresses(nl, if_nametoindex(option(argv, "dev")), print_address, NULL);
	else if (!strcmp(*argv, "links"))
		rtnl_links(nl, print_link, NULL);
	else if (!strcmp(*argv, "link-del"))
		say("link-del", rtnl_link_del(nl, option(argv, "dev")));
	else if (!strcmp(*argv, "way"))
		way(argv + 1);
	else if (!strcmp(*argv, "mirror"))
		mirror(argv + 1);
	else
		return false;
	return true;
}

static bool nft_command(char **argv)
{
	if (!strcmp(*argv, "nft"))
		apply(argv[1] ? argv[1] : "");
	else if (!strcmp(*argv, "nft-del"))
		say("nft-del", nft_table_delete(nft, argv[1] ? argv[1] : ""));
	else if (!strcmp(*argv, "nft-exists"))
		printf("nft-exists %d\n", nft_table_exists(nft, argv[1] ? argv[1] : ""));
	else if (!strcmp(*argv, "nft-heard"))
		nft_heard();
	else
		return false;
	return true;
}

static void command(char **argv)
{
	if (rules_command(argv) || routes_command(argv) || nft_command(argv))
		return;
	if (!strcmp(*argv, "heard"))
		heard();
	else if (!strcmp(*argv, "sh") && argv[1])
		printf("sh %d\n", system(argv[1])); /* NOLINT(cert-env33-c): the test's own */
	else
		printf("no such command: %s\n", *argv);
}

int main(int argc, char **argv)
{
	int i, from;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (rtnl_open(&nl) || nft_open(&nft))
		return 1;
	watch = rtnl_watch_open();
	nft_watch = nft_watch_open();
	if (watch < 0 || nft_watch < 0)
		return 1;
	for (i = from = 1; i <= argc; i++) {
		if (i < argc && strcmp(argv[i], "--") != 0)
			continue;
		argv[i] = NULL;
		if (from < i)
			command(argv + from);
		from = i + 1;
	}
	close(watch);
	close(nft_watch);
	nft_close(nft);
	rtnl_close(nl);
	return 0;
}
