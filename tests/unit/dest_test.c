/* SPDX-License-Identifier: MIT */
/*
 * dest: a table of destinations, with and without mappings, and the way back.
 * LINK: src/dest.o src/base/addr.o src/base/util.o
 */
#include "dest.h"

#include <errno.h>
#include <string.h>

#include "../lib/tap.h"

static const struct {
	const char *name;
	bool mapped; /* all four mappings set */
	const char *net;
	int want;
	const char *out;
	bool ignored;
} cases[] = {
	{"public v4", false, "93.184.216.34", 0, "93.184.216.34", false},
	{"public v6", false, "2606:2800::1", 0, "2606:2800::1", false},
	{"private v4", true, "10.1.2.3", 0, "10.1.2.3", false},
	{"v4 link-local passes: cloud resolvers", false, "169.254.169.254", 0, "169.254.169.254",
	 false},
	{"loopback v4", false, "127.0.0.1", -EHOSTUNREACH, NULL, false},
	{"loopback v4, another one", true, "127.9.9.9", -EHOSTUNREACH, NULL, false},
	{"loopback v4 itself stays out of reach when mapped", true, "127.0.0.1", -EHOSTUNREACH,
	 NULL, false},
	{"loopback v6", true, "::1", -EHOSTUNREACH, NULL, false},
	{"unspecified v4", true, "0.0.0.0", -EHOSTUNREACH, NULL, false},
	{"unspecified v6", true, "::", -EHOSTUNREACH, NULL, false},
	{"unspecified v6 is no mapping that is not set", false, "::", -EHOSTUNREACH, NULL, false},
	{"this network", false, "0.1.2.3", -ENETUNREACH, NULL, false},
	{"IPv4-compatible v6", false, "::1.2.3.4", -ENETUNREACH, NULL, false},
	{"mapped loopback v4", true, "10.0.2.2", 0, "127.0.0.1", false},
	{"mapped loopback v6", true, "fd00::2", 0, "::1", false},
	{"the same address without mapping", false, "10.0.2.2", 0, "10.0.2.2", false},
	{"mapped host v4", true, "10.0.2.3", 0, "192.0.2.10", false},
	{"mapped host v6", true, "fd00::3", 0, "2001:db8::10", false},
	{"own v4 forged from inside", false, "192.0.2.10", -EHOSTUNREACH, NULL, false},
	{"own v6 forged from inside", true, "2001:db8::10", -EHOSTUNREACH, NULL, false},
	{"multicast v4", false, "224.0.0.251", -ENETUNREACH, NULL, true},
	{"multicast v4, last", false, "239.255.255.250", -ENETUNREACH, NULL, true},
	{"multicast v6", false, "ff02::fb", -ENETUNREACH, NULL, true},
	{"broadcast", false, "255.255.255.255", -ENETUNREACH, NULL, true},
	{"link-local v6", false, "fe80::1", -ENETUNREACH, NULL, true},
};

static struct addr parse(const char *text)
{
	struct addr a = {{0}};

	if (addr_parse(text, &a))
		tap_ok(false, "test address %s", text);
	return a;
}

static void fill(struct dest_map *m, bool mapped)
{
	memset(m, 0, sizeof(*m));
	m->own4 = parse("192.0.2.10");
	m->own6 = parse("2001:db8::10");
	if (!mapped)
		return;
	m->loop4 = parse("10.0.2.2");
	m->loop6 = parse("fd00::2");
	m->host4 = parse("10.0.2.3");
	m->host6 = parse("fd00::3");
}

static void way_out(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addrport net = {parse(cases[i].net), 53}, out = {{{0}}, 0}, back;
		struct dest_map m;
		bool ok;

		fill(&m, cases[i].mapped);
		ok = dest_out(&m, &net, &out) == cases[i].want;
		if (ok && !cases[i].want) {
			struct addr want = parse(cases[i].out);

			ok = addr_equal(&out.addr, &want) && out.port == 53;
			dest_in(&m, &out, &back);
			ok = ok && addrport_equal(&back, &net);
		}
		tap_ok(ok, "%s", cases[i].name);
		tap_ok(dest_is_ignored(&net.addr) == cases[i].ignored, "%s: ignored or not",
		       cases[i].name);
	}
}

static void way_in(void)
{
	struct addrport peer = {parse("127.0.0.1"), 80}, net;
	struct dest_map m;

	fill(&m, false);
	dest_in(&m, &peer, &net);
	tap_ok(addrport_equal(&net, &peer), "loopback stays itself without mapping");
	tap_ok(dest_out(&m, &net, &peer) < 0, "and is refused as a peer");
	peer = (struct addrport){parse("127.0.0.2"), 80};
	fill(&m, true);
	dest_in(&m, &peer, &net);
	tap_ok(addrport_equal(&net, &peer), "only 127.0.0.1 is mapped back");
	m.host4 = parse("10.0.2.3");
	memset(&m.own4, 0, sizeof(m.own4));
	net = (struct addrport){parse("10.0.2.3"), 80};
	tap_ok(!dest_out(&m, &net, &peer) && addrport_equal(&net, &peer),
	       "--host-addr without an own address of that family maps nothing");
}

static void resolvers(void)
{
	struct addrport net = {parse("127.0.0.53"), 53}, out = {{{0}}, 0};
	struct dest_map m;

	fill(&m, true);
	m.dns[0].inside = m.dns[0].outside = parse("127.0.0.53");
	m.dns[1].inside = parse("fd77::1");
	m.dns[1].outside = parse("fe80::1");
	addr_set_zone(&m.dns[1].outside, 4);
	m.n_dns = 2;
	tap_ok(dest_is_dns(&m, &net) && !dest_out(&m, &net, &out) && addrport_equal(&net, &out),
	       "a resolver on loopback is itself outside");
	dest_in(&m, &out, &net);
	tap_ok(addrport_equal(&net, &out), "and answers as itself");
	net = (struct addrport){parse("fd77::1"), 53};
	tap_ok(dest_is_dns(&m, &net) && !dest_out(&m, &net, &out) &&
		       addr_equal(&out.addr, &m.dns[1].outside) && out.port == 53,
	       "a link-local one has another address inside");
	dest_in(&m, &out, &net);
	tap_ok(addr_equal(&net.addr, &m.dns[1].inside), "and answers from that");
	net = (struct addrport){parse("127.0.0.53"), 54};
	tap_ok(!dest_is_dns(&m, &net) && dest_out(&m, &net, &out), "port 53 only");
	out = (struct addrport){parse("fe80::1"), 53};
	addr_set_zone(&out.addr, 5);
	dest_in(&m, &out, &net);
	tap_ok(addrport_equal(&net, &out), "the same address on another link is another one");
}

/** clients - by which address a program knows who connects to it */
static void clients(void)
{
	static const struct {
		const char *name;
		bool mapped;
		const char *client, *want;
	} t[] = {
		{"a stranger", false, "93.184.216.34", "93.184.216.34"},
		{"a stranger, v6", true, "2606:2800::1", "2606:2800::1"},
		{"the host's loopback", false, "127.0.0.1", "192.0.2.1"},
		{"another one of it", false, "127.8.8.8", "192.0.2.1"},
		{"the host's loopback, v6", false, "::1", "2001:db8::1"},
		{"the host's loopback, mapped", true, "127.0.0.1", "10.0.2.2"},
		{"the host's loopback, mapped, v6", true, "::1", "fd00::2"},
		{"the mirrored address", false, "192.0.2.10", "192.0.2.1"},
		{"the mirrored address, v6", false, "2001:db8::10", "2001:db8::1"},
		{"the mirrored address, mapped", true, "192.0.2.10", "10.0.2.3"},
		{"the mirrored address, mapped, v6", true, "2001:db8::10", "fd00::3"},
		{"link-local", false, "fe80::7", "2001:db8::1"},
		{"link-local of IPv4 is an address like others", false, "169.254.1.1",
		 "169.254.1.1"},
	};
	struct addr a, want, got;
	struct dest_map m;

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		fill(&m, t[i].mapped);
		m.inside[0] = m.own4;
		m.inside[1] = m.own6;
		m.n_inside = 2;
		a = parse(t[i].client);
		want = parse(t[i].want);
		got = dest_client(&m, &a);
		tap_ok(addr_equal(&got, &want), "client: %s", t[i].name);
	}
	fill(&m, false);
	m.inside[0] = parse("192.0.2.1");
	m.inside[1] = parse("2001:db8::1");
	m.n_inside = 2;
	a = parse("127.0.0.1");
	got = dest_client(&m, &a);
	want = parse("198.51.100.1");
	tap_ok(addr_equal(&got, &want), "the stand-in is not an address that is inside");
	a = parse("::1");
	got = dest_client(&m, &a);
	want = parse("2001:db8:ff00::1");
	tap_ok(addr_equal(&got, &want), "... nor is that of IPv6");
}

int main(void)
{
	clients();
	way_out();
	way_in();
	resolvers();
	return tap_done();
}
