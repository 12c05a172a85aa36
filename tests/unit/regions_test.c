/* SPDX-License-Identifier: MIT */
/*
 * Each case is a list of prefixes with what the host says of them; wanted is the probe that
 * each region gets and which routes remain.
 *
 * LINK: src/regions.o src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "regions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "../lib/tap.h"

struct piece {
	const char *prefix;
	char way; /* 'h' hole, 'a', 'b' two sources, 'm' source a with an MTU, 'u' unreachable */
	const char *probe; /* NULL: none */
	bool keep;
};

struct region_case {
	const char *name;
	struct piece pieces[8]; /* in the order wanted, which is not the one they are added in */
};

static const struct region_case cases[] = {
	{"a default route", {{"0.0.0.0/0", 'a', "0.0.0.0", true}}},
	{"nothing to say where all is unreachable", {{"0.0.0.0/0", 'u', "0.0.0.0", false}}},
	{"the default's probe is outside of what is inside",
	 {{"0.0.0.0/0", 'a', "2.0.0.0", true},
	  {"0.0.0.0/8", 'h', NULL, false},
	  {"1.0.0.0/8", 'b', "1.0.0.0", true}}},
	{"same answer as around needs no route",
	 {{"0.0.0.0/0", 'a', "0.0.0.0", true},
	  {"10.0.0.0/8", 'a', "10.0.0.0", false},
	  {"10.1.0.0/16", 'b', "10.1.0.0", true},
	  {"10.1.2.0/24", 'a', "10.1.2.0", true}}},
	{"what cannot be reached inside of what can",
	 {{"0.0.0.0/0", 'a', "0.0.0.0", true}, {"10.0.0.0/8", 'u', "10.0.0.0", true}}},
	{"two halves alike become one",
	 {{"0.0.0.0/0", 'b', NULL, true},
	  {"0.0.0.0/1", 'a', "0.0.0.0", false},
	  {"128.0.0.0/1", 'a', "128.0.0.0", false}}},
	{"two halves that differ",
	 {{"0.0.0.0/0", 'u', NULL, true},
	  {"0.0.0.0/1", 'a', "0.0.0.0", false},
	  {"128.0.0.0/1", 'b', "128.0.0.0", true}}},
	{"a hole passes on what is around it",
	 {{"0.0.0.0/0", 'a', "0.0.0.0", true},
	  {"127.0.0.0/8", 'h', NULL, false},
	  {"127.1.0.0/16", 'a', "127.1.0.0", false},
	  {"127.2.0.0/16", 'b', "127.2.0.0", true}}},
	{"nothing left but holes",
	 {{"10.0.0.0/31", 'a', NULL, false},
	  {"10.0.0.0/32", 'h', NULL, false},
	  {"10.0.0.1/32", 'h', NULL, false}}},
	{"own and network address are stepped over",
	 {{"10.0.0.0/24", 'a', "10.0.0.2", true},
	  {"10.0.0.0/32", 'h', NULL, false},
	  {"10.0.0.1/32", 'h', NULL, false},
	  {"10.0.0.255/32", 'h', NULL, false}}},
	{"the last addresses there are",
	 {{"255.255.255.254/31", 'a', "255.255.255.254", true},
	  {"255.255.255.255/32", 'h', NULL, false},
	  {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", 'a', NULL, false},
	  {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/128", 'h', NULL, false},
	  {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", 'h', NULL, false}}},
	{"IPv4 is not inside of ::/0",
	 {{"10.0.0.0/8", 'a', "10.0.0.0", true},
	  {"::/0", 'a', "100::", true},
	  {"::/8", 'h', NULL, false},
	  {"fc00::/7", 'm', "fc00::", true}}},
	{"an MTU alone is a difference",
	 {{"0.0.0.0/0", 'a', "0.0.0.0", true}, {"10.0.0.0/8", 'm', "10.0.0.0", true}}},
};

static struct region_way way_named(char c)
{
	struct region_way w = {.type = c == 'u' ? ROUTE_UNREACHABLE : ROUTE_UNICAST};

	w.src = addr_from_v4(c == 'b' ? "\x0a\x00\x00\x02" : "\x0a\x00\x00\x01");
	w.mtu = c == 'm' ? 1400 : 0;
	return w;
}

static size_t count(const struct region_case *c)
{
	size_t n = 0;

	while (n < ARRAY_SIZE(c->pieces) && c->pieces[n].prefix)
		n++;
	return n;
}

static bool piece_right(const struct region *r, const struct piece *p)
{
	char probe[ADDR_STRLEN];
	struct prefix want;

	prefix_parse(p->prefix, &want);
	addr_format(&r->probe, probe);
	if (!prefix_compare(&r->p, &want) && r->hole == (p->way == 'h') &&
	    r->has_probe == (p->probe != NULL) && (!p->probe || !strcmp(probe, p->probe)) &&
	    r->keep == p->keep)
		return true;
	printf("# %s: hole %d, probe %s, keep %d\n", p->prefix, r->hole,
	       r->has_probe ? probe : "none", r->keep);
	return false;
}

static void one_case(const struct region_case *c)
{
	struct regions rs = {0};
	size_t i, n = count(c);
	bool right = true;

	for (i = n; i-- > 0;) {
		struct prefix p;

		prefix_parse(c->pieces[i].prefix, &p);
		regions_add(&rs, &p, c->pieces[i].way == 'h');
		regions_add(&rs, &p, false); /* twice: no hole is filled by that */
	}
	regions_build(&rs);
	right = rs.n == n;
	for (i = 0; right && i < n; i++)
		if (rs.r[i].has_probe)
			rs.r[i].way = way_named(c->pieces[i].way);
	regions_elide(&rs);
	for (i = 0; right && i < n; i++)
		right = piece_right(&rs.r[i], &c->pieces[i]);
	tap_ok(right, "%s", c->name);
	regions_free(&rs);
}

/* --- against a plain model ------------------------------------------------------------- */

/** most_specific - the longest of @rs around @a that counts; -1: none */
static int most_specific(const struct regions *rs, const struct addr *a, bool kept_only)
{
	int i, best = -1;

	for (i = 0; i < (int)rs->n; i++)
		if (addr_in_prefix(a, &rs->r[i].p) && (!kept_only || rs->r[i].keep) &&
		    (best < 0 || rs->r[i].p.bits > rs->r[best].p.bits))
			best = i;
	return best;
}

/** model_round - random prefixes of 8 bits' variety; each address is routed as it was asked */
static bool model_round(void)
{
	static const struct region_way outside = {.type = ROUTE_UNREACHABLE};
	struct regions rs = {0};
	unsigned i;
	bool right = true;

	for (i = 0; i < 20; i++) {
		uint8_t b[4] = {10, 0, 0, (uint8_t)rand()};
		struct prefix p = {.addr = addr_from_v4(b), .bits = (uint8_t)(24 + rand() % 9)};

		regions_add(&rs, &p, rand() % 8 == 0);
	}
	regions_build(&rs);
	for (i = 0; i < rs.n; i++) {
		if (!rs.r[i].has_probe)
			continue;
		rs.r[i].way = way_named("abmu"[rand() % 4]);
		right = right && most_specific(&rs, &rs.r[i].probe, false) == (int)i;
	}
	regions_elide(&rs);
	for (i = 0; right && i < 256; i++) {
		uint8_t b[4] = {10, 0, 0, (uint8_t)i};
		struct addr a = addr_from_v4(b);
		int in = most_specific(&rs, &a, false), by = most_specific(&rs, &a, true);

		if (in < 0 || rs.r[in].hole)
			continue;
		right = rs.r[in].has_probe &&
			region_way_equal(&rs.r[in].way, by < 0 ? &outside : &rs.r[by].way);
	}
	regions_free(&rs);
	return right;
}

static void model(void)
{
	int i;

	srand(1);
	for (i = 0; i < 5000 && model_round(); i++)
		;
	tap_is(i, 5000, "routes that remain say what all answers said, each address");
}

int main(void)
{
	struct prefix p;
	char text[ADDR_STRLEN];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		one_case(&cases[i]);
	model();
	prefix_parse("10.1.2.3/20", &p);
	p = prefix_masked(&p);
	tap_ok(!strcmp(addr_format(&p.addr, text), "10.1.0.0"), "host bits go");
	return tap_done();
}
