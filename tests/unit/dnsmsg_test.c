/* SPDX-License-Identifier: MIT */
/*
 * Messages are written as text: see put() for the few directives. Each must give
 * exactly the addresses and the result named beside it; all of them are also read
 * cut at every length, from memory that ends there.
 *
 * LINK: src/dnsmsg.o src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "../lib/tap.h"

#define Q     "1234 8180 0001 "			    /* id, flags, one question */
#define ASK   "'www' 'Example' 'COM' 00 0001 0001 " /* the name is at 0x0c */
#define W     "c00c "				    /* www.example.com */
#define REST  " 0000 0000 "			    /* authority, additional */
#define IN1   "0001 0001 "			    /* A IN */
#define CN    "0005 0001 "
#define TTL60 "0000003c "
#define TTL9  "00000009 "

static const struct {
	const char *what, *wire;
	int err;
	const char *name, *expect; /* "addr/ttl addr/ttl" */
} cases[] = {
	{"one address", Q "0001" REST ASK W IN1 TTL60 "0004 c0000201", 0, "www.example.com",
	 "192.0.2.1/60"},
	{"one IPv6 address",
	 Q "0001" REST "'a' 00 001c 0001 c00c 001c 0001" TTL60
	   "0010 20010db8 00000000 00000000 00000001",
	 0, "a", "2001:db8::1/60"},
	{"two addresses", Q "0002" REST ASK W IN1 TTL60 "0004 c0000201" W IN1 TTL9 "0004 c0000202",
	 0, "www.example.com", "192.0.2.1/60 192.0.2.2/9"},
	{"a chain: the smallest TTL",
	 Q "0002" REST ASK W CN TTL9 "0003 'c' 00"
	   "'c' 00" IN1 TTL60 "0004 c0000201",
	 0, "www.example.com", "192.0.2.1/9"},
	{"a chain, its end first",
	 Q "0002" REST ASK "'c' 00" IN1 TTL60 "0004 c0000201" W CN TTL9 "0003 'c' 00", 0,
	 "www.example.com", "192.0.2.1/9"},
	{"a chain of two, mixed order",
	 Q "0003" REST ASK "'d' 00" IN1 TTL60 "0004 c0000201"
	   "'C' 00" CN TTL60 "0003 'd' 00" W CN TTL9 "0003 'c' 00",
	 0, "www.example.com", "192.0.2.1/9"},
	{"case does not matter in the owner",
	 Q "0001" REST ASK "'WWW' 'example' 'com' 00" IN1 TTL60 "0004 c0000201", 0,
	 "www.example.com", "192.0.2.1/60"},
	{"an address of another name", Q "0001" REST ASK "'evil' 00" IN1 TTL60 "0004 c0000201", 0,
	 "www.example.com", ""},
	{"an address of wrong size", Q "0001" REST ASK W IN1 TTL60 "0003 c00002", 0,
	 "www.example.com", ""},
	{"another class", Q "0001" REST ASK W "0001 0003" TTL60 "0004 c0000201", 0,
	 "www.example.com", ""},
	{"TTL above the range is zero", Q "0001" REST ASK W IN1 "80000001 0004 c0000201", 0,
	 "www.example.com", "192.0.2.1/0"},
	{"a chain that loops",
	 Q "0002" REST ASK W CN TTL9 "0003 'c' 00"
	   "'c' 00" CN TTL9 "0002 c00c",
	 -EBADMSG, NULL, NULL},
	{"a CNAME to itself", Q "0001" REST ASK W CN TTL9 "0002 c00c", -EBADMSG, NULL, NULL},
	{"a name that points to itself", Q "0001" REST "c00c 0001 0001", -EBADMSG, NULL, NULL},
	{"a name that points forward", Q "0001" REST "c00e 00 0001 0001", -EBADMSG, NULL, NULL},
	{"pointers in a ring", Q "0001" REST "'a' c00c 0001 0001", -EBADMSG, NULL, NULL},
	{"a reserved label type", Q "0000" REST "8041 00 0001 0001", -EBADMSG, NULL, NULL},
	{"two questions", "1234 8180 0002 0000" REST "'a' 00 0001 0001 'b' 00 0001 0001", -EBADMSG,
	 NULL, NULL},
	{"no question", "1234 8180 0000 0000" REST, -EBADMSG, NULL, NULL},
	{"a query", "1234 0100 0001 0000" REST "'a' 00 0001 0001", -ENOENT, NULL, NULL},
	{"another opcode", "1234 a800 0001 0000" REST "'a' 00 0001 0001", -ENOENT, NULL, NULL},
	{"a record that ends after the message", Q "0001" REST ASK W IN1 TTL60 "0005 c0000201",
	 -EBADMSG, NULL, NULL},
	{"a record that is missing", Q "0002" REST ASK W IN1 TTL60 "0004 c0000201", -EBADMSG, NULL,
	 NULL},
	{"the same in a message marked as cut",
	 "1234 8380 0001 0002" REST ASK W IN1 TTL60 "0004 c0000201", 0, "www.example.com",
	 "192.0.2.1/60"},
	{"NXDOMAIN", "1234 8183 0001 0000" REST "'a' 00 0001 0001", 0, "a", ""},
	{"a dot and an escape in a label", Q "0000" REST "0361 2e 1b 00 0001 0001", 0, "a??", ""},
	{"a CNAME that runs out of its record",
	 Q "0002" REST ASK W CN TTL9 "0002 0561"
	   "'c' 00" IN1 TTL60 "0004 c0000201",
	 -EBADMSG, NULL, NULL},
};

static int hex(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* put - hex bytes, and 'label' for a label with its length; blanks are ignored */
static size_t put(const char *text, uint8_t *out)
{
	size_t n = 0;

	while (*text) {
		if (*text == ' ') {
			text++;
		} else if (*text == '\'') {
			size_t len = strcspn(text + 1, "'");

			out[n++] = (uint8_t)len;
			memcpy(out + n, text + 1, len);
			n += len;
			text += len + 2;
		} else {
			out[n++] = (uint8_t)(hex(text[0]) << 4 | hex(text[1]));
			text += 2;
		}
	}
	return n;
}

static void show(const struct dnsmsg *m, char *out, size_t size)
{
	char a[ADDR_STRLEN];
	size_t o = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < m->n; i++)
		o += (size_t)snprintf(out + o, size - o, "%s%s/%u", i ? " " : "",
				      addr_format(&m->addrs[i].addr, a), m->addrs[i].ttl);
}

static void cut_everywhere(const uint8_t *wire, size_t len)
{
	struct dnsmsg m;

	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *copy = malloc(cut + !cut);

		memcpy(copy, wire, cut);
		dnsmsg_parse(copy, cut, &m);
		free(copy);
	}
}

static void long_names(void)
{
	uint8_t msg[1024] = {0x12, 0x34, 0x81, 0x80, 0, 1};
	struct dnsmsg m;
	size_t n = 12;

	for (int i = 0; i < 127; i++) {
		msg[n++] = 1;
		msg[n++] = 'x';
	}
	msg[n + 2] = msg[n + 4] = 1; /* root, A, IN */
	tap_is(dnsmsg_parse(msg, n + 5, &m), 0, "a name of 255 bytes");
	tap_is(strlen(m.name), 253, "its text has 253");
	msg[n++] = 1;
	msg[n++] = 'x';
	msg[n + 2] = msg[n + 4] = 1;
	tap_is(dnsmsg_parse(msg, n + 5, &m), -EBADMSG, "a name of 257 bytes");
}

static void many_addresses(void)
{
	uint8_t msg[4096];
	size_t n = put("1234 8180 0001 0032" REST "'a' 00 0001 0001", msg);
	struct dnsmsg m;

	for (int i = 0; i < 50; i++)
		n += put("c00c 0001 0001 0000003c 0004 c0000201", msg + n);
	tap_is(dnsmsg_parse(msg, n, &m), 0, "fifty addresses");
	tap_is(m.n, ARRAY_SIZE(m.addrs), "as many as there is room for");
}

int main(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t wire[1024], *exact;
		size_t len = put(cases[i].wire, wire);
		struct dnsmsg m;
		char got[2048];
		int err;

		exact = malloc(len);
		memcpy(exact, wire, len);
		err = dnsmsg_parse(exact, len, &m);
		free(exact);
		tap_is(err, cases[i].err, "%s", cases[i].what);
		if (!err && cases[i].name) {
			show(&m, got, sizeof(got));
			tap_ok(!strcmp(m.name, cases[i].name) && !strcmp(got, cases[i].expect),
			       "  %s = %s", m.name, got);
		}
		cut_everywhere(wire, len);
	}
	long_names();
	many_addresses();
	return tap_done();
}
