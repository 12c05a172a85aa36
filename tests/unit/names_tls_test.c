/* SPDX-License-Identifier: MIT */
/*
 * ClientHellos forged by names_hello.h and two that programs really sent, in every way they can be
 * cut. JA3 and JA4 were computed by another program when this was written, those of the real
 * hellos by two; JA4 of the forged browser is the example of FoxIO's description.
 *
 * LINK: src/hooks/names_tls.o src/hooks/names_ja.o
 */
#include "hooks/names_ja.h"

#include <stdio.h>

#include "names_hello.h"
#include "../lib/tap.h"

static const char openssl_hello[] = /* openssl s_client 3.0, -alpn h2,http/1.1 */
	"160301014f0100014b0303378898f80cb86bfca717167a121b0773e34765257137bacc823a76878b182cac20"
	"3133d35be41c650a0a4e79f4f70d54d06d981c8bf9061f2e9c62ce0096eb5839003e130213031301c02cc030"
	"009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d"
	"003c0035002f00ff010000c40000001500130000106d61696c2e4578616d706c652e6f7267000b0004030001"
	"02000a00160014001d0017001e0019001801000101010201030104002300000010000e000c02683208687474"
	"702f312e310016000000170000000d002a0028040305030603080708080809080a080b080408050806040105"
	"010601030303010302040205020602002b0009080304030303020301002d00020101003300260024001d0020"
	"b8e5d0eda53b938da90a67be59f4716f2951d59aae79dec0ecaed962cb57214b";
static const char openssl12_hello[] = /* the same with -tls1_2 */
	"16030100cf010000cb03033c6609eb4813a68e96859588cb693f46e2c2cb10beb4973a159fbbc153ef363400"
	"0038c02cc030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033"
	"009d009c003d003c0035002f00ff0100006a00000014001200000f6f6c642e6578616d706c652e6f7267000b"
	"000403000102000a000c000a001d0017001e00190018002300000016000000170000000d002a002804030503"
	"0603080708080809080a080b080408050806040105010601030303010302040205020602";

static struct names_ja *ja;

static size_t unhex(const char *text, uint8_t *out)
{
	size_t n = 0;
	unsigned byte;

	for (; sscanf(text, "%2x", &byte) == 1; text += 2)
		out[n++] = (uint8_t)byte;
	return n;
}

/* --- the message ----------------------------------------------------------------------------- */

#define LIST(...) ((const uint16_t[]){__VA_ARGS__, HELLO_END})

static uint16_t many_ciphers[121];

static const struct {
	const char *what;
	struct hello_spec spec;
	const char *sni;
	unsigned version;
	bool ech;
	char transport;
	const char *ja3, *ja4;
} hellos[] = {
	{"FoxIO's example with GREASE", HELLO_FOXIO, "www.example.org", 0x304, false, 't',
	 "c000e2caf3a25423f9de6c8a4b12a975", "t13d1516h2_8daaf6152771_e5627efa2ab1"},
	{"the same in QUIC", HELLO_FOXIO, "www.example.org", 0x304, false, 'q',
	 "c000e2caf3a25423f9de6c8a4b12a975", "q13d1516h2_8daaf6152771_e5627efa2ab1"},
	{"SSL 3 without extensions",
	 {.version = 0x300, .ciphers = LIST(0x2f, 0x0a)},
	 "",
	 0x300,
	 false,
	 't',
	 "08481281e077032701c9626ffb366c08",
	 "ts3i020000_b2ad0625f3cb_000000000000"},
	{"no ciphers, nothing but names",
	 {.version = 0x303, .extensions = LIST(0, 16), .sni = "a", .alpn = "1\xab"},
	 "a",
	 0x303,
	 false,
	 't',
	 "f56b0e56df61633726f096384b437677",
	 "t12d0002ab_000000000000_000000000000"},
	{"no signature algorithms",
	 {.version = 0x302,
	  .ciphers = LIST(0xc013, 0x00ff, 0x5600),
	  .extensions = LIST(0, 10, 11),
	  .sni = "a",
	  .groups = LIST(0x17)},
	 "a",
	 0x302,
	 false,
	 't',
	 "417e4ac6ae009a1ebd462b0683daa026",
	 "t11d030300_08316012edd7_33a13ba74d1c"},
	{"more ciphers than two digits say",
	 {.version = 0x301, .ciphers = many_ciphers, .extensions = LIST(5)},
	 "",
	 0x301,
	 false,
	 't',
	 "e4121d79813f3c6cf1e898e42ac920a6",
	 "t10i990100_78cd3e4e4f62_1ed8eb363bcd"},
	{"ECH, outer",
	 {.version = 0x303, .extensions = LIST(0, 0xfe0d), .sni = "public.example"},
	 "public.example",
	 0x303,
	 true,
	 0,
	 NULL,
	 NULL},
	{"ECH, inner",
	 {.version = 0x303, .extensions = LIST(0, 0xfe0d), .sni = "public.example", .ech = 1},
	 "public.example",
	 0x303,
	 false,
	 0,
	 NULL,
	 NULL},
	{"a final dot",
	 {.version = 0x303, .extensions = LIST(0), .sni = "Example.ORG."},
	 "example.org",
	 0x303,
	 false,
	 0,
	 NULL,
	 NULL},
	{"an empty name",
	 {.version = 0x303, .extensions = LIST(0), .sni = ""},
	 "",
	 0x303,
	 false,
	 0,
	 NULL,
	 NULL},
	{"a name with NUL",
	 {.version = 0x303, .extensions = LIST(0), .sni = "a\0b", .sni_len = 3},
	 "",
	 0x303,
	 false,
	 0,
	 NULL,
	 NULL},
	{"a name with a blank",
	 {.version = 0x303, .extensions = LIST(0), .sni = "a b"},
	 "",
	 0x303,
	 false,
	 0,
	 NULL,
	 NULL},
};

static void test_hellos(void)
{
	static uint8_t msg[HELLO_ROOM];
	char ja3[NAMES_JA3_SIZE], ja4[NAMES_JA4_SIZE];
	struct names_hello h;

	for (size_t i = 0; i < sizeof(hellos) / sizeof(*hellos); i++) {
		size_t len = hello_make(&hellos[i].spec, msg);
		bool good = names_hello_parse(msg, len, &h);

		tap_ok(good && !strcmp(h.sni, hellos[i].sni) && h.version == hellos[i].version &&
			       h.ech == hellos[i].ech,
		       "%s: %s, version, ECH", hellos[i].what, h.sni);
		if (!hellos[i].ja3)
			continue;
		tap_ok(names_ja3(ja, &h, ja3) && !strcmp(ja3, hellos[i].ja3), "%s: JA3 %s",
		       hellos[i].what, ja3);
		tap_ok(names_ja4(ja, &h, hellos[i].transport, ja4) && !strcmp(ja4, hellos[i].ja4),
		       "%s: JA4 %s", hellos[i].what, ja4);
	}
}

static void test_alpn_in_ja4(void)
{
	static const struct {
		const char *alpn, *expect;
	} cases[] = {
		{"8http/1.1", "h1"},	     {"1h", "hh"},	  {"1\xab", "ab"},
		{"2\xab\xcd", "ad"},	     {"2\x30\xab", "3b"}, {"4\x30\x31\xab\xcd", "3d"},
		{"4\x30\xab\xcd\x31", "01"}, {"02h2", "00"},	  {"", "00"},
	};
	uint8_t msg[1000];
	char ja4[NAMES_JA4_SIZE];
	struct hello_spec spec = {.version = 0x303, .extensions = LIST(16)};
	struct names_hello h;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		spec.alpn = cases[i].alpn;
		tap_ok(names_hello_parse(msg, hello_make(&spec, msg), &h) &&
			       names_ja4(ja, &h, 't', ja4) && !memcmp(ja4 + 8, cases[i].expect, 2),
		       "ALPN in JA4: %s", cases[i].expect);
	}
}

static void test_alpn_list(void)
{
	uint8_t msg[1000];
	char name[256];
	struct names_hello h;
	struct names_view rest;

	names_hello_parse(msg, hello_make(&hello_foxio, msg), &h);
	rest = h.alpn;
	tap_ok(names_hello_alpn(&rest, name) && !strcmp(name, "h2"), "the first protocol");
	tap_ok(names_hello_alpn(&rest, name) && !strcmp(name, "http/1.1"), "the second");
	tap_ok(!names_hello_alpn(&rest, name), "no third");
}

static void test_real(const char *hex, const char *sni, const char *ja3, const char *ja4)
{
	uint8_t stream[1000];
	char got3[NAMES_JA3_SIZE] = "", got4[NAMES_JA4_SIZE] = "";
	struct names_tls t = {0};
	struct names_view msg;
	struct names_hello h = {0};

	tap_ok(names_tls_feed(&t, stream, unhex(hex, stream), &msg) == NAMES_FOUND &&
		       names_hello_parse(msg.at, msg.len, &h) && !strcmp(h.sni, sni) &&
		       names_ja3(ja, &h, got3) && !strcmp(got3, ja3) &&
		       names_ja4(ja, &h, 't', got4) && !strcmp(got4, ja4),
	       "a real hello: %s %s %s", h.sni, got3, got4);
	names_tls_free(&t);
}

/* a type that comes twice, at either end, and among many */
static void test_twice(void)
{
	uint8_t msg[1000];
	struct hello_spec spec = hello_foxio;
	struct names_hello h;

	spec.extensions = LIST(0, 10, 0);
	tap_ok(!names_hello_parse(msg, hello_make(&spec, msg), &h), "two names: no hello");
	spec.extensions = LIST(0, 0x4469, 0x4469);
	tap_ok(!names_hello_parse(msg, hello_make(&spec, msg), &h), "any type twice: no hello");
}

/* cut at every length, and with every byte of a length changed, memory ends where the message
 * does */
static void test_damaged(void)
{
	uint8_t msg[1000];
	size_t len = hello_make(&hello_foxio, msg), n, wrong = 0;
	struct names_hello h;

	for (n = 0; n < len; n++) {
		uint8_t *exact = malloc(n + 1);

		memcpy(exact, msg, n);
		wrong += names_hello_parse(exact, n, &h);
		if (n > 4) { /* one whose own length agrees */
			exact[2] = (uint8_t)((n - 4) >> 8);
			exact[3] = (uint8_t)(n - 4);
			wrong += names_hello_parse(exact, n, &h) && h.has_extensions;
		}
		free(exact);
	}
	tap_is(wrong, 0, "a hello that is cut is none, at %zu places", len);
	msg[len] = 0;
	tap_ok(!names_hello_parse(msg, len + 1, &h), "nor is one with a byte too many");
}

/* --- the stream --------------------------------------------------------------------------------
 */

static bool same(const struct names_view *v, const uint8_t *msg, size_t len)
{
	return v->len == len && !memcmp(v->at, msg, len);
}

/* feed - @stream in pieces of @step after a first one of @first */
static enum names_step feed(const uint8_t *stream, size_t len, size_t first, size_t step,
			    struct names_tls *t, struct names_view *msg)
{
	enum names_step s = NAMES_MORE;
	size_t n = first ? first : step;

	while (len && s == NAMES_MORE) {
		if (n > len)
			n = len;
		s = names_tls_feed(t, stream, n, msg);
		stream += n;
		len -= n;
		n = step;
	}
	return s;
}

static void check_cuts(const char *what, const struct hello_spec *spec, size_t record)
{
	static uint8_t msg[HELLO_ROOM], stream[6 * HELLO_ROOM];
	size_t len = hello_make(spec, msg), all = hello_records(msg, len, record, stream), cut;
	struct names_view got;
	unsigned wrong = 0;

	for (cut = 0; cut <= all; cut++) {
		struct names_tls t = {0};

		wrong += feed(stream, all, cut, all, &t, &got) != NAMES_FOUND ||
			 !same(&got, msg, len);
		names_tls_free(&t);
	}
	tap_is(wrong, 0, "%s, records of %zu: cut once, anywhere (%zu places)", what, record, all);
	for (cut = 1, wrong = 0; cut < 8; cut++) {
		struct names_tls t = {0};

		wrong +=
			feed(stream, all, 0, cut, &t, &got) != NAMES_FOUND || !same(&got, msg, len);
		names_tls_free(&t);
	}
	tap_is(wrong, 0, "%s, records of %zu: in pieces of 1 to 7 bytes", what, record);
}

static void test_cuts(void)
{
	struct hello_spec large = hello_foxio;

	check_cuts("a hello", &hello_foxio, 16384);
	check_cuts("a hello", &hello_foxio, 100);
	check_cuts("a hello", &hello_foxio, 1);
	large.key_share = 1700; /* post-quantum */
	check_cuts("a large hello", &large, 16384);
	check_cuts("a large hello", &large, 512);
}

static void test_bounds(void)
{
	static uint8_t msg[HELLO_ROOM], stream[2 * HELLO_ROOM];
	struct hello_spec spec = hello_foxio;
	struct names_tls t = {0};
	struct names_view got;
	size_t len;

	spec.key_share = 0;
	spec.key_share = NAMES_HELLO_MAX - hello_make(&spec, msg);
	len = hello_make(&spec, msg);
	tap_ok(len == NAMES_HELLO_MAX && feed(stream, hello_records(msg, len, 4000, stream), 0,
					      1000, &t, &got) == NAMES_FOUND,
	       "the largest hello");
	names_tls_free(&t);
	spec.key_share++;
	len = hello_make(&spec, msg);
	tap_is(feed(stream, hello_records(msg, len, 4000, stream), 0, 9, &t, &got), NAMES_NOT,
	       "a larger one is none");
	tap_ok(t.message.len < 16, "and nothing of it was kept");
	names_tls_free(&t);
}

static void test_start(void)
{
	static const struct {
		const char *what, *bytes;
		size_t len;
		enum names_step expect;
	} cases[] = {
		{"nothing", "", 0, NAMES_MORE},
		{"a record's head", "\x16\x03\x01\x02\x00", 5, NAMES_MORE},
		{"a hello", "\x16\x03\x01\x02\x00\x01", 6, NAMES_FOUND},
		{"a server's hello", "\x16\x03\x01\x02\x00\x02", 6, NAMES_NOT},
		{"an empty record", "\x16\x03\x01\x00\x00", 5, NAMES_NOT},
		{"a record too large", "\x16\x03\x01\x40\x01", 5, NAMES_NOT},
		{"data", "\x17\x03\x03\x00\x10", 5, NAMES_NOT},
		{"another version", "\x16\x02", 2, NAMES_NOT},
		{"text", "GET", 3, NAMES_NOT},
	};
	struct names_tls t = {0};
	struct names_view got;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		tap_is(names_tls_start((const uint8_t *)cases[i].bytes, cases[i].len),
		       cases[i].expect, "a stream that begins with %s", cases[i].what);
	tap_is(names_tls_feed(&t, (const uint8_t *)"\x16\x03\x01\x00\x04\x01\x00\x00\x30\x15\x03",
			      11, &got),
	       NAMES_NOT, "an alert in the middle of a hello");
	names_tls_free(&t);
}

int main(void)
{
	for (size_t i = 0; i < 120; i++)
		many_ciphers[i] = (uint16_t)(0x100 + i);
	many_ciphers[120] = HELLO_END;
	ja = names_ja_new();
	test_hellos();
	test_alpn_in_ja4();
	test_alpn_list();
	test_real(openssl_hello, "mail.example.org", "5a1edc7f170af1014fc65c994878e63c",
		  "t13d3111h2_e8f1e7e78f70_1f22a2ca17c4");
	test_real(openssl12_hello, "old.example.org", "871a754af286dfb70c1b53c6887c62e0",
		  "t12d280700_d943125447b4_e7e480e5a997");
	test_twice();
	test_damaged();
	test_cuts();
	test_bounds();
	test_start();
	names_ja_free(ja);
	return tap_done();
}
