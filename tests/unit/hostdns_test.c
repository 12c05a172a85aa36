/* SPDX-License-Identifier: MIT */
/*
 * Which resolvers a resolv.conf names, and which of them are local inside.
 * LINK: src/hostdns.o src/base/addr.o src/base/util.o src/base/log.o
 */
#include "hostdns.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "../lib/tap.h"

static const struct {
	const char *text, *expect; /* addresses, a space behind each */
	unsigned zoned, lost;
} parse[] = {
	{"nameserver 127.0.0.53\n", "127.0.0.53 ", 0, 0},
	{"nameserver 127.0.0.53", "127.0.0.53 ", 0, 0},
	{"nameserver\t10.0.0.1 # office\r\nnameserver ::1\n", "10.0.0.1 ::1 ", 0, 0},
	{"", "127.0.0.1 ", 0, 0},
	{"search example.org\noptions timeout:1\n", "127.0.0.1 ", 0, 0},
	{"# nameserver 1.2.3.4\n;nameserver 1.2.3.4\n nameserver 1.2.3.4\n", "127.0.0.1 ", 0, 0},
	{"nameservers 1.2.3.4\nnameserver1.2.3.4\nnameserver \nnameserver\n", "127.0.0.1 ", 0, 0},
	{"nameserver 1.2.3\nnameserver nonsense\nnameserver 9.9.9.9\n", "9.9.9.9 ", 0, 0},
	{"nameserver 0.0.0.0\nnameserver ::\n", "127.0.0.1 ::1 ", 0, 0},
	{"nameserver fe80::1%lo\n", "", 1, 0},
	{"nameserver fe80::1%7 # comment\nnameserver 8.8.8.8\n", "8.8.8.8 ", 1, 0},
	{"nameserver fe80::1%lo\nnameserver fe80::1%lo\nnameserver fe80::2%lo\n", "", 2, 0},
	{"nameserver fe80::1%nodev0\n", "", 0, 1},
	{"nameserver fe80::1%\nnameserver fe80::1%0\nnameserver fe80::1%4294967297\n", "", 0, 3},
	{"nameserver 2001:db8::1%lo\nnameserver 10.0.0.1%lo\nnameserver %lo\n", "127.0.0.1 ", 0, 0},
	{"nameserver fe80:0:0:1::1%lo\n", "127.0.0.1 ", 0, 0},
	{"nameserver 1.1.1.1\nnameserver 1.1.1.1\n", "1.1.1.1 ", 0, 0},
	{"nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4\n"
	 "nameserver 1.0.0.5\nnameserver 1.0.0.6\nnameserver 1.0.0.7\nnameserver 1.0.0.8\n"
	 "nameserver 1.0.0.9\n",
	 "1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6 1.0.0.7 1.0.0.8 ", 0, 0},
};

static const char *text_of(const struct hostdns *h)
{
	static char out[HOSTDNS_MAX * ADDR_STRLEN];
	char one[ADDR_STRLEN];
	size_t n = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < h->n; i++)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s ",
				      addr_format(&h->addr[i], one));
	return out;
}

static void parses(void)
{
	struct hostdns h;

	for (size_t i = 0; i < ARRAY_SIZE(parse); i++) {
		hostdns_parse(parse[i].text, strlen(parse[i].text), &h);
		if (!tap_ok(!strcmp(text_of(&h), parse[i].expect) && h.n_zoned == parse[i].zoned &&
				    h.lost == parse[i].lost,
			    "parse case %zu: \"%s\"", i, parse[i].expect))
			printf("# got \"%s\", %u zoned, %u lost\n", text_of(&h), h.n_zoned, h.lost);
	}
}

/** long_word - a line longer than any address, and bytes that are no text */
static void odd_bytes(void)
{
	char text[600] = "nameserver ";
	struct hostdns h;

	memset(text + 11, '1', sizeof(text) - 11);
	hostdns_parse(text, sizeof(text), &h);
	tap_ok(!strcmp(text_of(&h), "127.0.0.1 "), "a word too long is no address");
	memset(text, 0, sizeof(text));
	hostdns_parse(text, sizeof(text), &h);
	tap_ok(!strcmp(text_of(&h), "127.0.0.1 "), "NUL bytes are no address");
}

static void keeps_local(void)
{
	static const char conf[] =
		"nameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver 9.9.9.9\n"
		"nameserver ::1\nnameserver fd00::2\n";
	struct addr own[3] = {0};
	struct hostdns h;

	hostdns_parse(conf, sizeof(conf) - 1, &h);
	addr_parse("10.0.0.2", &own[0]);
	hostdns_local(&h, own, ARRAY_SIZE(own));
	tap_ok(!strcmp(text_of(&h), "127.0.0.53 10.0.0.2 ::1 "),
	       "loopback and own addresses are local, unspecified own ones match nothing");
}

static void no_file(void)
{
	static struct hostdns_conf c;

	hostdns_read("/nonexistent/resolv.conf", &c);
	tap_ok(!strcmp(text_of(&c.dns), "127.0.0.1 "), "no file: this host, as libc does");
	hostdns_read("/", &c);
	tap_ok(!strcmp(text_of(&c.dns), "127.0.0.1 "), "a directory in its place");
}

static void zone_kept(void)
{
	static const char text[] = "nameserver fe80::1%7\n";
	struct hostdns h;

	hostdns_parse(text, sizeof(text) - 1, &h);
	tap_is(addr_zone(&h.zoned[0].addr), 7, "the zone is in the address");
	tap_ok(!strcmp(h.zoned[0].word, "fe80::1%7"), "and the word is kept");
}

/* @expect is where fe80::1%7 and fe80::2%7 are fd00::1 and fd00::2 inside, fe80::3%7 nowhere */
static const struct {
	const char *text, *expect;
} rewrite[] = {
	{"", ""},
	{"nameserver 1.1.1.1", "nameserver 1.1.1.1"},
	{"nameserver fe80::1%7", "nameserver fd00::1"},
	{"nameserver fe80::1%7\n\n", "nameserver fd00::1\n\n"},
	{"search a b\n# x\nnameserver\t fe80::1%7 ; y\r\nnameserver ::1\noptions edns0\n",
	 "search a b\n# x\nnameserver\t fd00::1 ; y\r\nnameserver ::1\noptions edns0\n"},
	{"nameserver fe80::1%7\nnameserver fe80::2%7\nnameserver fe80::1%7\n",
	 "nameserver fd00::1\nnameserver fd00::2\nnameserver fd00::1\n"},
	{"nameserver fe80::1%7\nnameserver fe80::2%7\nnameserver fe80::3%7\n",
	 "nameserver fd00::1\nnameserver fd00::2\nnameserver fe80::3%7\n"},
	{"nameserver fe80::1%7x\nsearch fe80::1%7\n", "nameserver fe80::1%7x\nsearch fe80::1%7\n"},
};

static void rewrites(void)
{
	static struct hostdns_conf c;
	struct addr inside[HOSTDNS_MAX] = {0};
	char out[256];

	addr_parse("fd00::1", &inside[0]);
	addr_parse("fd00::2", &inside[1]);
	for (size_t i = 0; i < ARRAY_SIZE(rewrite); i++) {
		c.len = (uint32_t)strlen(rewrite[i].text);
		memcpy(c.text, rewrite[i].text, c.len);
		hostdns_parse(c.text, c.len, &c.dns);
		size_t n = hostdns_rewrite(&c, inside, out, sizeof(out));

		tap_ok(n == strlen(rewrite[i].expect) && !memcmp(out, rewrite[i].expect, n),
		       "rewrite case %zu", i);
	}
	c.len = (uint32_t)strlen(rewrite[2].text);
	memcpy(c.text, rewrite[2].text, c.len);
	hostdns_parse(c.text, c.len, &c.dns);
	tap_is(hostdns_rewrite(&c, inside, out, 13), 13, "what has no room is cut");
}

int main(void)
{
	parses();
	odd_bytes();
	keeps_local();
	no_file();
	zone_kept();
	rewrites();
	return tap_done();
}
