/* SPDX-License-Identifier: MIT */
/*
 * nDPI itself, on payloads that it must know by their form; and on random bytes, of which it may
 * make something now and then, but must survive them.
 *
 * LINK: src/hooks/names_ndpi.o
 */
#include "hooks/names_ndpi.h"

#include <stdio.h>

#include "../lib/tap.h"

static struct names_ndpi *nd;

static const char *app(bool udp, uint16_t port, const void *data, size_t len)
{
	static char out[NAMES_NDPI_APP_MAX + 1];
	static uint16_t client = 2000;
	struct names_ndpi_payload p = {
		.udp = udp, .from_port = client++, .to_port = port, .bytes = {data, len}};

	return names_ndpi_app(nd, &p, out) ? out : "";
}

static void test_known(void)
{
	static const struct {
		const char *app, *bytes;
		size_t len;
		bool udp;
		uint16_t port;
	} cases[] = {
		{"bittorrent",
		 "\x13"
		 "BitTorrent protocol\0\0\0\0\0\x10\0\x05"
		 "aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb",
		 68, false, 6881},
		{"mqtt",
		 "\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04"
		 "abcd",
		 18, false, 1883},
		{"sip", "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\n\r\n",
		 64, true, 5060},
		{"", "hello world, this is no protocol", 32, false, 4000},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *got = app(cases[i].udp, cases[i].port, cases[i].bytes, cases[i].len);

		tap_ok(!strcmp(got, cases[i].app), "%s: %s",
		       *cases[i].app ? cases[i].app : "nothing", got);
	}
}

static void test_left_out(void)
{
	static const char ssh[] = "SSH-2.0-OpenSSH_9.2\r\n";
	static const char http[] = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";

	tap_ok(!*app(false, 4000, ssh, sizeof(ssh) - 1), "SSH is not asked for");
	tap_ok(!*app(false, 4000, http, sizeof(http) - 1), "HTTP is not asked for");
}

/* no state of one flow is seen in the next, and random bytes are rarely something */
static void test_random(void)
{
	uint64_t s = 88172645463325252ULL;
	unsigned known = 0, i;
	uint8_t data[1460];

	for (i = 0; i < 5000; i++) {
		size_t n = 1 + s % sizeof(data), k;

		for (k = 0; k < n; k++) {
			s ^= s << 13;
			s ^= s >> 7;
			s ^= s << 17;
			data[k] = (uint8_t)(s >> 24);
		}
		known += *app(i & 1, (uint16_t)(s >> 40), data, n) != 0;
	}
	tap_ok(known < 50, "of %u random payloads %u are taken for something", i, known);
}

int main(void)
{
	const char *err;

	nd = names_ndpi_new(&err);
	if (!nd) {
		tap_skip_all(err);
		return 0;
	}
	test_known();
	test_left_out();
	test_random();
	names_ndpi_free(nd);
	return tap_done();
}
