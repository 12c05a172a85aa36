/* SPDX-License-Identifier: MIT */
/*
 * packet: what the parser takes, what it refuses and why, what the builder makes.
 * LINK: src/packet.o src/base/addr.o src/base/util.o
 */
#include "packet.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"
#include "base/util.h"
#include "forge.h"

#define A4 "192.0.2.1"
#define B4 "198.51.100.2"
#define A6 "2001:db8::1"
#define B6 "2001:db8:1::2"

static struct forged f;

/** parse - a copy of exactly @f.len bytes, so that a sanitizer sees a read behind them */
static enum packet_drop parse(struct packet *p)
{
	static uint8_t *copy;

	free(copy);
	copy = malloc(f.len + !f.len);
	memcpy(copy, f.b, f.len);
	return packet_parse(p, copy, f.len);
}

static void expect(enum packet_drop want, const char *what)
{
	struct packet p;

	tap_is(parse(&p), want, "%s", what);
}

/* --- whole packets ------------------------------------------------------------- */

static void test_udp(const char *from, const char *to, size_t len)
{
	struct packet p;

	forge_udp(&f, from, to, len);
	if (!tap_ok(parse(&p) == PACKET_OK, "%s: %zu bytes of UDP", from, len))
		return;
	tap_ok(p.app.port == 1111 && p.net.port == 2222 && p.proto == IPPROTO_UDP && p.ttl == 63,
	       "ports, protocol, TTL");
	tap_ok(p.payload == p.l4 + 8 && packet_payload_len(&p) == len && p.len == f.len && p.df,
	       "lengths");
	f.len += 3;
	tap_ok(parse(&p) == PACKET_OK && packet_payload_len(&p) == len, "trailing bytes are cut");
}

static void test_udp_lengths(const char *from, const char *to)
{
	struct packet p;

	forge_udp(&f, from, to, 100);
	forge_put16(f.b + f.l4 + 4, 58);
	tap_ok(parse(&p) == PACKET_OK && packet_payload_len(&p) == 50 && p.l4len == 58,
	       "%s: UDP length shorter than the packet trims it", from);
	forge_put16(f.b + f.l4 + 4, 109);
	expect(PACKET_TRANSPORT, "UDP length past the packet");
	forge_put16(f.b + f.l4 + 4, 7);
	expect(PACKET_TRANSPORT, "UDP length under its header");
	forge_put16(f.b + f.l4 + 4, 0);
	expect(PACKET_TRANSPORT, "UDP length 0");
	forge_udp(&f, from, to, 100);
	forge_put16(f.b + f.l4 + 6, 0);
	expect(f.v6 ? PACKET_TRANSPORT : PACKET_OK, "no UDP checksum");
	f.len = f.l4 + 7;
	forge_lengths(&f);
	expect(PACKET_TRANSPORT, "half a UDP header");
}

static void test_tcp(const char *from, const char *to)
{
	static const uint8_t mss[] = {1, 2, 4, 5, 180, 1, 0, 0};
	struct packet p;

	forge_tcp(&f, from, to, TCPF_SYN | TCPF_ECE, 0xfedcba98, 7, mss, sizeof(mss), 0);
	tap_is(parse(&p), PACKET_OK, "%s: SYN", from);
	tap_ok(p.tcp.seq == 0xfedcba98 && p.tcp.ack == 7 && p.tcp.wnd == 4096 &&
		       p.tcp.flags == (TCPF_SYN | TCPF_ECE) && p.tcp.hdrlen == 28,
	       "its fields");
	tap_ok(packet_is_tcp_syn(&p), "is a SYN");
	tap_is(packet_tcp_mss(&p), 1460, "its MSS");
	tap_is(packet_payload_len(&p), 0, "no payload");
	forge_tcp(&f, from, to, TCPF_SYN | TCPF_ACK, 1, 2, NULL, 0, 11);
	tap_ok(parse(&p) == PACKET_OK && !packet_is_tcp_syn(&p), "SYN-ACK is no SYN");
	tap_is(packet_tcp_mss(&p), f.v6 ? 1220 : 536, "MSS by default");
	tap_is(packet_payload_len(&p), 11, "payload");
	f.b[f.l4 + 12] = 4 << 4;
	expect(PACKET_TRANSPORT, "data offset 4");
	f.b[f.l4 + 12] = 8 << 4;
	expect(PACKET_TRANSPORT, "data offset past the packet");
	f.len = f.l4 + 19;
	forge_lengths(&f);
	expect(PACKET_TRANSPORT, "19 bytes of TCP");
}

static void test_mss(void)
{
	static const struct {
		uint8_t opt[8];
		uint16_t want;
		const char *what;
	} t[] = {
		{{2, 4, 0, 0}, 536, "MSS 0"},
		{{2, 3, 5, 5}, 536, "MSS option of 3 bytes"},
		{{2, 40, 5, 5}, 536, "MSS option past the header"},
		{{3, 0, 2, 4, 5, 5}, 536, "option of length 0"},
		{{0, 2, 4, 5, 5}, 536, "MSS behind the end of options"},
		{{3, 3, 7, 2, 4, 2, 0, 1}, 512, "MSS behind another option"},
		{{1, 1, 1, 1, 1, 1, 1, 2}, 536, "kind without length"},
	};
	struct packet p;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		forge_tcp(&f, A4, B4, TCPF_SYN, 0, 0, t[i].opt, 8, 0);
		tap_is(parse(&p), PACKET_OK, "SYN: %s", t[i].what);
		tap_is(packet_tcp_mss(&p), t[i].want, "%s", t[i].what);
	}
}

static void test_icmp(const char *from, const char *to, uint8_t type)
{
	struct packet p;

	forge_icmp(&f, from, to, type, 0, 56);
	tap_ok(parse(&p) == PACKET_OK && p.icmp.type == type && p.icmp.ident == 0x1234 &&
		       p.icmp.seqno == 5 && packet_payload_len(&p) == 56,
	       "%s: echo", from);
	f.len = f.l4 + 7;
	forge_lengths(&f);
	expect(PACKET_TRANSPORT, "7 bytes of ICMP");
	forge_ip(&f, from, to, f.v6 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	forge_add(&f, "abc", 3);
	forge_lengths(&f);
	tap_ok(parse(&p) == PACKET_OK && packet_payload_len(&p) == 3,
	       "the other family's ICMP is just another protocol");
}

/* --- IPv4 ------------------------------------------------------------------------ */

static void with_options(const uint8_t *opt, size_t len)
{
	forge_udp(&f, A4, B4, 8);
	memmove(f.b + 20 + len, f.b + 20, f.len - 20);
	memcpy(f.b + 20, opt, len);
	f.len += len;
	f.l4 += len;
	f.b[0] = (uint8_t)(0x40 | (5 + len / 4));
	forge_lengths(&f);
}

static void test_v4_header(void)
{
	static const uint8_t nops[40] = {1, 1, 1, 7, 35, 4}, lsrr[4] = {131, 3, 4},
			     ssrr[4] = {1, 137, 3, 4}, zero[4] = {7, 0}, longer[4] = {7, 5},
			     cut[4] = {1, 1, 1, 7}, end[4] = {0, 131, 3, 4};

	with_options(nops, sizeof(nops));
	expect(PACKET_OK, "40 bytes of options");
	with_options(lsrr, 4);
	expect(PACKET_SOURCE_ROUTE, "loose source route");
	with_options(ssrr, 4);
	expect(PACKET_SOURCE_ROUTE, "strict source route");
	with_options(zero, 4);
	expect(PACKET_HEADER, "option of length 0");
	with_options(longer, 4);
	expect(PACKET_HEADER, "option past the header");
	with_options(cut, 4);
	expect(PACKET_HEADER, "option without length");
	with_options(end, 4);
	expect(PACKET_OK, "bytes behind the end of options");

	forge_udp(&f, A4, B4, 8);
	f.b[8]--;
	expect(PACKET_CHECKSUM, "header checksum");
	forge_udp(&f, A4, B4, 8);
	f.b[0] = 0x44;
	forge_v4_sum(&f);
	expect(PACKET_HEADER, "IHL 4");
	forge_udp(&f, A4, B4, 8);
	forge_put16(f.b + 2, 19);
	forge_v4_sum(&f);
	expect(PACKET_HEADER, "total length under the header");
	forge_put16(f.b + 2, 37);
	forge_v4_sum(&f);
	expect(PACKET_SHORT, "total length past the buffer");
	f.b[0] = 0x4f;
	expect(PACKET_HEADER, "IHL past the total length");
}

static void test_martians(void)
{
	static const struct {
		const char *from, *to;
		enum packet_drop want;
	} t[] = {
		{"127.0.0.1", B4, PACKET_MARTIAN},
		{"0.0.0.0", B4, PACKET_MARTIAN},
		{"224.0.0.5", B4, PACKET_MARTIAN},
		{"255.255.255.255", B4, PACKET_MARTIAN},
		{A4, "127.1.2.3", PACKET_MARTIAN},
		{A4, "0.0.0.0", PACKET_MARTIAN},
		{A4, "224.0.0.251", PACKET_OK},
		{A4, "255.255.255.255", PACKET_OK},
		{"169.254.1.1", B4, PACKET_OK},
		{"::1", B6, PACKET_MARTIAN},
		{"::", B6, PACKET_MARTIAN},
		{"ff02::1", B6, PACKET_MARTIAN},
		{A6, "::1", PACKET_MARTIAN},
		{A6, "::", PACKET_MARTIAN},
		{"::ffff:192.0.2.1", B6, PACKET_MARTIAN},
		{A6, "::ffff:192.0.2.1", PACKET_MARTIAN},
		{A6, "ff02::fb", PACKET_OK},
		{"fe80::1", "fe80::2", PACKET_OK},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct packet p;

		forge_udp(&f, t[i].from, t[i].to, 4);
		tap_is(parse(&p), t[i].want, "%s to %s", t[i].from, t[i].to);
	}
}

/* --- IPv6 extension headers --------------------------------------------------------- */

static void test_v6_ext(void)
{
	static const uint8_t pad[16] = {0, 1, 0, 0, 1, 3, 9, 9, 9, 0, 0, 0, 5, 2, 0, 0};
	static const uint8_t unknown_skip[8] = {0, 0, 0x1e, 4, 1, 2, 3, 4};
	static const uint8_t unknown_drop[8] = {0, 0, 0x5e, 4, 1, 2, 3, 4};
	static const uint8_t jumbo[8] = {0, 0, 0xc2, 4, 0, 1, 0, 0};
	static const uint8_t past[8] = {0, 0, 1, 5, 0, 0, 0, 0};
	static const uint8_t longer[8] = {0, 40, 1, 4, 0, 0, 0, 0};
	static const uint8_t rh0[24] = {0, 2, 0, 0}, rh2_done[24] = {0, 2, 2, 0},
			     rh2_open[24] = {0, 2, 2, 1};
	static const struct {
		uint8_t kind;
		const uint8_t *ext;
		size_t len;
		enum packet_drop want;
		const char *what;
	} t[] = {
		{0, pad, 16, PACKET_OK, "hop-by-hop with padding and router alert"},
		{60, pad, 16, PACKET_OK, "destination options"},
		{60, unknown_skip, 8, PACKET_OK, "unknown option to be skipped"},
		{60, unknown_drop, 8, PACKET_HEADER, "unknown option to be refused"},
		{0, jumbo, 8, PACKET_HEADER, "jumbo payload"},
		{0, past, 8, PACKET_HEADER, "option past its header"},
		{60, longer, 8, PACKET_SHORT, "extension header past the packet"},
		{43, rh0, 24, PACKET_SOURCE_ROUTE, "routing header type 0"},
		{43, rh2_done, 24, PACKET_OK, "routing header that is done"},
		{43, rh2_open, 24, PACKET_SOURCE_ROUTE, "routing header with a way to go"},
	};
	struct packet p;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		forge_udp(&f, A6, B6, 4);
		forge_ext(&f, t[i].kind, t[i].ext, t[i].len);
		tap_is(parse(&p), t[i].want, "%s", t[i].what);
		if (t[i].want == PACKET_OK)
			tap_ok(p.proto == IPPROTO_UDP && p.net.port == 2222 && p.l4 == f.l4,
			       "the transport behind it is found");
	}
	forge_udp(&f, A6, B6, 4);
	forge_ext(&f, 0, unknown_skip, 8);
	forge_ext(&f, 60, unknown_skip, 8);
	expect(PACKET_HEADER, "hop-by-hop that is not the first");
	for (int n = 1; n <= 9; n++) {
		if (n == 1)
			forge_udp(&f, A6, B6, 4);
		forge_ext(&f, 60, unknown_skip, 8);
		if (n >= 8)
			expect(n == 8 ? PACKET_OK : PACKET_HEADER,
			       n == 8 ? "8 headers" : "9 headers");
	}
	forge_ip(&f, A6, B6, 60);
	forge_add(&f, unknown_skip, 7);
	forge_lengths(&f);
	expect(PACKET_SHORT, "7 bytes of extension header");
	forge_ip(&f, A6, B6, 59);
	forge_lengths(&f);
	expect(PACKET_OK, "no next header");
	forge_udp(&f, A6, B6, 4);
	f.b[5]++;
	expect(PACKET_SHORT, "payload length past the buffer");
}

/* --- fragments ----------------------------------------------------------------------- */

static void test_fragments(const char *from, const char *to)
{
	struct forged *whole = malloc(sizeof(*whole));
	struct packet p;

	forge_udp(whole, from, to, 3000);
	forge_frag(&f, whole, 0x4321, 1480, 2960, true);
	tap_is(parse(&p), PACKET_OK, "%s: a fragment in the middle", from);
	tap_ok(p.is_frag && p.frag_more && p.frag_off == 1480 && p.frag_id == 0x4321 &&
		       p.l4len == 1480 && p.proto == IPPROTO_UDP && !p.net.port,
	       "its fields, and no ports");
	tap_ok(!memcmp(p.data + p.l4, whole->b + whole->l4 + 1480, 1480), "its payload");
	if (f.v6)
		tap_ok(p.unfrag_len == 40 && p.frag_link == 6, "its place in the chain");
	forge_frag(&f, whole, 1, 0, 3, true);
	expect(PACKET_FRAGMENT, "3 bytes that are not the last");
	forge_frag(&f, whole, 1, 8, 8, true);
	expect(PACKET_FRAGMENT, "an empty one");
	forge_frag(&f, whole, 1, 8, 8, false);
	expect(PACKET_FRAGMENT, "an empty last one");
	forge_frag(&f, whole, 1, 0, 200, true);
	forge_put16(f.b + (f.v6 ? 42 : 6), f.v6 ? 65528 : 8191);
	forge_lengths(&f);
	expect(PACKET_FRAGMENT, "one that ends past 65535");
	forge_frag(&f, whole, 1, 0, 1, false);
	forge_put16(f.b + (f.v6 ? 42 : 6), f.v6 ? 65528 : 8189);
	forge_lengths(&f);
	expect(PACKET_OK, "the last bytes of the longest datagram");
	free(whole);
}

static void test_v6_fragment_headers(void)
{
	static const uint8_t atomic[8] = {0, 0, 0, 0, 1, 2, 3, 4}, dest[8] = {0, 0, 1, 4};
	struct packet p;

	forge_udp(&f, A6, B6, 10);
	forge_ext(&f, IPPROTO_FRAGMENT, atomic, 8);
	tap_ok(parse(&p) == PACKET_OK && !p.is_frag && p.net.port == 2222,
	       "an atomic fragment is a whole packet");
	forge_ext(&f, IPPROTO_FRAGMENT, atomic, 8);
	expect(PACKET_HEADER, "two fragment headers");
	forge_ip(&f, A6, B6, IPPROTO_FRAGMENT);
	forge_add(&f, atomic, 6);
	forge_lengths(&f);
	expect(PACKET_SHORT, "6 bytes of fragment header");
	forge_udp(&f, A6, B6, 8);
	forge_ext(&f, IPPROTO_FRAGMENT, (const uint8_t[]){0, 0, 0, 1, 0, 0, 0, 9}, 8);
	forge_ext(&f, IPPROTO_DSTOPTS, dest, 8);
	tap_ok(parse(&p) == PACKET_OK && p.is_frag && p.unfrag_len == 48 && p.frag_link == 40 &&
		       p.l4 == 56,
	       "a fragment behind another header");
}

/* --- building ------------------------------------------------------------------------ */

static void test_build(const char *from, const char *to, size_t hdrlen)
{
	struct ip_build b = {addr_of(from), addr_of(to), IPPROTO_UDP, 17, 0xb9, false};
	struct packet p;

	forge_udp(&f, from, to, 100);
	tap_is(packet_build_ip(f.b, &b, f.len - f.l4, 0xabcd), hdrlen, "%s: header length", from);
	tap_ok(parse(&p) == PACKET_OK && addr_equal(&p.app.addr, &b.from) &&
		       addr_equal(&p.net.addr, &b.to) && p.ttl == 17 && p.tos == 0xb9,
	       "parses back");
	if (!f.v6) {
		tap_ok(!p.df && p.frag_id == 0xabcd, "identification, no DF");
		b.df = true;
		packet_build_ip(f.b, &b, f.len - f.l4, 0);
		tap_ok(parse(&p) == PACKET_OK && p.df, "DF");
	}
}

int main(void)
{
	static const size_t sizes[] = {0, 1, 1472, 65507};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		test_udp(A4, B4, sizes[i]);
		test_udp(A6, B6, sizes[i]);
	}
	test_udp(A6, B6, 65527);
	test_udp_lengths(A4, B4);
	test_udp_lengths(A6, B6);
	test_tcp(A4, B4);
	test_tcp(A6, B6);
	test_mss();
	test_icmp(A4, B4, 8);
	test_icmp(A6, B6, 128);
	test_v4_header();
	test_martians();
	test_v6_ext();
	test_fragments(A4, B4);
	test_fragments(A6, B6);
	test_v6_fragment_headers();
	test_build(A4, B4, 20);
	test_build(A6, B6, 40);

	f.len = 0;
	expect(PACKET_SHORT, "nothing");
	f.b[0] = 0x50;
	f.len = 40;
	expect(PACKET_VERSION, "version 5");
	/* every prefix of a good packet is refused, and none reads past its end */
	for (int v6 = 0; v6 < 2; v6++) {
		struct packet p;
		size_t whole, taken = 0;

		forge_tcp(&f, v6 ? A6 : A4, v6 ? B6 : B4, TCPF_ACK, 1, 1, "\1\1\1\1", 4, 9);
		for (whole = f.len, f.len = 0; f.len < whole; f.len++)
			taken += parse(&p) == PACKET_OK;
		tap_is(taken, 0, "no prefix of an IPv%d packet is taken", v6 ? 6 : 4);
	}
	return tap_done();
}
