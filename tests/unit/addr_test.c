/* SPDX-License-Identifier: MIT */
/*
 * addr: text, kinds, prefixes and sockaddrs.
 * LINK: src/base/addr.o src/base/util.o
 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "../lib/tap.h"
#include "base/util.h"

static struct addr parsed(const char *text)
{
	struct addr a = {{0}};

	tap_is(addr_parse(text, &a), 0, "parse %s", text);
	return a;
}

static void test_text(void)
{
	static const char *const good[][2] = {
		{"1.2.3.4", "1.2.3.4"},
		{"255.255.255.255", "255.255.255.255"},
		{"::", "::"},
		{"2001:DB8:0:0::1", "2001:db8::1"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
	};
	static const char *const bad[] = {"",	      "1.2.3",	  "1.2.3.4.5", "256.1.1.1",
					  " 1.2.3.4", "1.2.3.4 ", "::1%lo",    "[::1]",
					  "example",  "1::2::3"};
	char buf[ADDR_STRLEN];
	struct addr a;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		a = parsed(good[i][0]);
		tap_ok(!strcmp(addr_format(&a, buf), good[i][1]), "%s is shown as %s", good[i][0],
		       good[i][1]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		tap_is(addr_parse(bad[i], &a), -EINVAL, "refuse \"%s\"", bad[i]);
}

static void test_kinds(void)
{
	static const struct {
		const char *text;
		bool v4, unspec, loop, multi, broad, link;
	} t[] = {
		{"0.0.0.0", 1, 1, 0, 0, 0, 0},	   {"127.255.0.1", 1, 0, 1, 0, 0, 0},
		{"128.0.0.1", 1, 0, 0, 0, 0, 0},   {"223.255.255.255", 1, 0, 0, 0, 0, 0},
		{"224.0.0.1", 1, 0, 0, 1, 0, 0},   {"239.9.9.9", 1, 0, 0, 1, 0, 0},
		{"240.0.0.1", 1, 0, 0, 0, 0, 0},   {"255.255.255.255", 1, 0, 0, 0, 1, 0},
		{"169.254.3.4", 1, 0, 0, 0, 0, 1}, {"169.255.3.4", 1, 0, 0, 0, 0, 0},
		{"::", 0, 1, 0, 0, 0, 0},	   {"::1", 0, 0, 1, 0, 0, 0},
		{"::2", 0, 0, 0, 0, 0, 0},	   {"ff02::1", 0, 0, 0, 1, 0, 0},
		{"fe80::1", 0, 0, 0, 0, 0, 1},	   {"febf::1", 0, 0, 0, 0, 0, 1},
		{"fec0::1", 0, 0, 0, 0, 0, 0},	   {"2001:db8::1", 0, 0, 0, 0, 0, 0},
		{"::127.0.0.1", 0, 0, 0, 0, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct addr a = parsed(t[i].text);

		tap_ok(addr_is_v4(&a) == t[i].v4 && addr_is_unspecified(&a) == t[i].unspec &&
			       addr_is_loopback(&a) == t[i].loop &&
			       addr_is_multicast(&a) == t[i].multi &&
			       addr_is_broadcast(&a) == t[i].broad &&
			       addr_is_link_local(&a) == t[i].link,
		       "kind of %s", t[i].text);
	}
}

static void test_prefixes(void)
{
	static const struct {
		const char *prefix, *addr;
		bool in;
	} t[] = {
		{"10.0.0.0/8", "10.255.0.1", 1},
		{"10.0.0.0/8", "11.0.0.1", 0},
		{"10.0.0.0/9", "10.127.0.1", 1},
		{"10.0.0.0/9", "10.128.0.1", 0},
		{"1.2.3.4", "1.2.3.4", 1},
		{"1.2.3.4", "1.2.3.5", 0},
		{"0.0.0.0/0", "9.9.9.9", 1},
		{"0.0.0.0/0", "2001:db8::1", 0},
		{"::/0", "2001:db8::1", 1},
		{"::/0", "9.9.9.9", 0},
		{"2001:db8::/33", "2001:db8:7fff::1", 1},
		{"2001:db8::/33", "2001:db8:8000::1", 0},
		{"::1/128", "::1", 1},
		{"::1/128", "::", 0},
	};
	static const char *const bad[] = {
		"1.2.3.4/33",
		"1.2.3.4/",
		"1.2.3.4/-1",
		"1.2.3.4/8x",
		"::/129",
		"/8",
		"1.2.3.4/ 8",
		"1.2.3.4/0008",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb/8"};
	struct prefix p;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct addr a = parsed(t[i].addr);

		tap_is(prefix_parse(t[i].prefix, &p), 0, "parse %s", t[i].prefix);
		tap_is(addr_in_prefix(&a, &p), t[i].in, "%s in %s", t[i].addr, t[i].prefix);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		tap_is(prefix_parse(bad[i], &p), -EINVAL, "refuse \"%s\"", bad[i]);
}

static void test_sockaddr(const char *text, socklen_t want, const char *shown)
{
	struct addrport in = {parsed(text), 4660}, out;
	struct sockaddr_storage ss;
	char buf[ADDRPORT_STRLEN];

	memset(&ss, 0xff, sizeof(ss));
	tap_is(addr_to_sockaddr(&in, &ss), want, "length of sockaddr for %s", text);
	tap_is(addr_from_sockaddr((struct sockaddr *)&ss, &out), 0, "and back");
	tap_ok(addrport_equal(&in, &out), "the same");
	tap_ok(!strcmp(addrport_format(&out, buf), shown), "shown as %s", shown);
}

static void test_zone(void)
{
	struct addrport in = {parsed("fe80::7"), 53}, out;
	struct addr v4 = parsed("169.254.1.1"), global = parsed("2001:db8::7");
	struct sockaddr_storage ss;
	struct sockaddr_in6 sin6;

	tap_is(addr_zone(&in.addr), 0, "no zone yet");
	addr_set_zone(&in.addr, 0x01020304);
	tap_is(addr_zone(&in.addr), 0x01020304, "a zone");
	addr_to_sockaddr(&in, &ss);
	memcpy(&sin6, &ss, sizeof(sin6));
	tap_is(sin6.sin6_scope_id, 0x01020304, "it is the sockaddr's scope");
	out.addr = addr_from_v6(&sin6.sin6_addr);
	tap_is(addr_zone(&out.addr), 0, "and not in the address that goes on the wire");
	tap_is(addr_from_sockaddr((struct sockaddr *)&ss, &out), 0, "and back");
	tap_ok(addrport_equal(&in, &out), "the same");
	sin6.sin6_addr.s6_addr[7] = 1;
	tap_is(addr_from_sockaddr((struct sockaddr *)&sin6, &out), -EAFNOSUPPORT,
	       "an address that looks as if it had another zone is refused");
	addr_set_zone(&in.addr, 0);
	out.addr = parsed("fe80::7");
	tap_ok(addr_equal(&in.addr, &out.addr), "zone 0 takes it away");
	addr_set_zone(&v4, 3);
	addr_set_zone(&global, 3);
	out.addr = parsed("169.254.1.1");
	tap_ok(addr_equal(&v4, &out.addr) && !addr_zone(&v4), "IPv4 has none");
	out.addr = parsed("2001:db8::7");
	tap_ok(addr_equal(&global, &out.addr) && !addr_zone(&global), "nor has a global address");
}

int main(void)
{
	struct sockaddr unix_sa = {.sa_family = AF_UNIX};
	struct addrport ap;

	test_text();
	test_kinds();
	test_prefixes();
	test_zone();
	test_sockaddr("192.0.2.7", sizeof(struct sockaddr_in), "192.0.2.7:4660");
	test_sockaddr("2001:db8::7", sizeof(struct sockaddr_in6), "[2001:db8::7]:4660");
	tap_is(addr_from_sockaddr(&unix_sa, &ap), -EAFNOSUPPORT, "refuse another family");
	return tap_done();
}
