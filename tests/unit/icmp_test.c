/* SPDX-License-Identifier: MIT */
/*
 * icmp: resets by RFC 9293, errors and what they quote, the errno tables, echo.
 * LINK: stack/icmp.o stack/csum.o src/packet.o src/base/addr.o src/base/util.o
 */
#include "stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"
#include "base/util.h"
#include "forge.h"

#define A4 "192.0.2.1"
#define B4 "198.51.100.2"
#define R4 "203.0.113.9"
#define A6 "2001:db8::1"
#define B6 "2001:db8:1::2"
#define R6 "2001:db8:2::9"

static struct forged f;
static struct caught caught;
static const struct stack_sink sink = {caught_write, &caught};

static void parse(struct packet *p)
{
	if (packet_parse(p, f.b, f.len) != PACKET_OK)
		abort();
}

/** answer - the one packet that was sent, checked as a receiver would */
static bool answer(struct packet *p)
{
	static const struct virtio_net_hdr plain;

	return tap_ok(caught.n == 1 &&
			      packet_parse(p, caught.p[0].b, caught.p[0].len) == PACKET_OK &&
			      p->len == caught.p[0].len &&
			      forge_l4_sum(p->data, p->l4, p->len, p->proto) == 0xffff &&
			      !memcmp(&caught.p[0].vh, &plain, sizeof(plain)),
		      "one well-formed answer");
}

/* --- resets ------------------------------------------------------------------------ */

static void test_reset(const char *from, const char *to)
{
	static const struct {
		uint8_t flags;
		size_t len;
		uint32_t seq, ack;
		int want; /* flags of the answer, 0 = none */
	} t[] = {
		{TCPF_SYN, 0, 0, 1001, TCPF_RST | TCPF_ACK},
		{TCPF_SYN, 9, 0, 1010, TCPF_RST | TCPF_ACK},
		{TCPF_FIN, 9, 0, 1010, TCPF_RST | TCPF_ACK},
		{0, 9, 0, 1009, TCPF_RST | TCPF_ACK},
		{0, 60000, 0, 61000, TCPF_RST | TCPF_ACK},
		{TCPF_ACK, 9, 5555, 0, TCPF_RST},
		{TCPF_ACK | TCPF_SYN, 0, 5555, 0, TCPF_RST},
		{TCPF_ACK | TCPF_FIN, 3, 5555, 0, TCPF_RST},
		{TCPF_RST, 0, 0, 0, 0},
		{TCPF_RST | TCPF_ACK, 0, 0, 0, 0},
	};
	struct packet p, a;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		forge_tcp(&f, from, to, t[i].flags, 1000, 5555, NULL, 0, t[i].len);
		f.b[1] |= f.v6 ? 0x50 : 0xb9;
		forge_lengths(&f);
		parse(&p);
		icmp_reset_tcp(&sink, &p);
		if (!t[i].want) {
			tap_is(caught.n, 0, "%s: no reset to a reset", from);
			continue;
		}
		if (answer(&a))
			tap_ok(a.tcp.flags == t[i].want && a.tcp.seq == t[i].seq &&
				       a.tcp.ack == t[i].ack && addrport_equal(&a.app, &p.net) &&
				       addrport_equal(&a.net, &p.app) && !(a.tos & 3) &&
				       a.len == a.l4 + 20U,
			       "%s: reset to flags %#x with %zu bytes", from, t[i].flags, t[i].len);
		caught_clear(&caught);
	}
}

static void test_groups(void)
{
	static const char *const to[] = {"224.0.0.1", "255.255.255.255", "ff0e::1"};
	struct packet p;

	for (size_t i = 0; i < ARRAY_SIZE(to); i++) {
		const char *from = strchr(to[i], ':') ? A6 : A4;
		struct icmp_error e = {addr_of(from), 3, 3, 0};
		struct addrport app = ap_of(from, 1), net = ap_of(to[i], 2);

		forge_tcp(&f, from, to[i], TCPF_SYN, 1, 2, NULL, 0, 0);
		parse(&p);
		icmp_reset_tcp(&sink, &p);
		tap_is(caught.n, 0, "no reset to %s", to[i]);
		forge_udp(&f, from, to[i], 10);
		parse(&p);
		icmp_send_error(&sink, &p, &e);
		icmp_send_error_tuple(&sink, IPPROTO_UDP, &app, &net, 0, "", 0, &e);
		tap_is(caught.n, 0, "no error to %s", to[i]);
	}
}

/* --- errors ------------------------------------------------------------------------- */

static void test_quote(const char *from, const char *to, const char *router, size_t len)
{
	bool v6 = strchr(from, ':');
	size_t room = v6 ? 1232 : 548;
	struct icmp_error e = {addr_of(router), v6 ? 1 : 3, v6 ? 4 : 3, 0};
	struct packet p, a;

	forge_udp(&f, from, to, len);
	parse(&p);
	icmp_send_error(&sink, &p, &e);
	if (!answer(&a))
		return;
	tap_ok(a.icmp.type == e.type && a.icmp.code == e.code && addr_equal(&a.app.addr, &e.from) &&
		       addr_equal(&a.net.addr, &p.app.addr) && !a.icmp.ident && !a.icmp.seqno,
	       "%s: error about %zu bytes", from, len);
	tap_ok(packet_payload_len(&a) == MIN(f.len, room) &&
		       !memcmp(a.data + a.payload, f.b, packet_payload_len(&a)),
	       "quotes it, at most %zu bytes", room);
	caught_clear(&caught);
}

static void test_info(void)
{
	struct packet p, a;

	forge_udp(&f, A4, B4, 100);
	parse(&p);
	icmp_send_error(&sink, &p, &(struct icmp_error){addr_of(R4), 3, 4, 1300});
	if (answer(&a))
		tap_ok(!a.icmp.ident && a.icmp.seqno == 1300, "IPv4: MTU in the low half");
	caught_clear(&caught);
	icmp_send_error(&sink, &p, &(struct icmp_error){addr_of(R4), 3, 4, 70000});
	if (answer(&a))
		tap_is(a.icmp.seqno, 65535, "IPv4: MTU that does not fit");
	caught_clear(&caught);
	icmp_send_error(&sink, &p, &(struct icmp_error){addr_of(R4), 3, 1, 1300});
	if (answer(&a))
		tap_is(a.icmp.seqno, 0, "IPv4: no MTU in other errors");
	caught_clear(&caught);
	icmp_send_error(&sink, &p, &(struct icmp_error){addr_of(R6), 3, 1, 0});
	if (answer(&a))
		tap_ok(addr_equal(&a.app.addr, &p.net.addr),
		       "a router of the wrong family is replaced by the destination");
	caught_clear(&caught);
	forge_udp(&f, A6, B6, 100);
	parse(&p);
	icmp_send_error(&sink, &p, &(struct icmp_error){addr_of(R6), 2, 0, 66000});
	if (answer(&a))
		tap_ok(a.icmp.ident == 1 && a.icmp.seqno == 464, "IPv6: MTU of 32 bits");
	caught_clear(&caught);
}

static void test_never(void)
{
	static const struct {
		const char *from, *to;
		uint8_t type;
		unsigned want;
	} t[] = {
		{A4, B4, 8, 1},	  {A4, B4, 0, 1},   {A4, B4, 13, 1},  {A4, B4, 3, 0},
		{A4, B4, 4, 0},	  {A4, B4, 5, 0},   {A4, B4, 11, 0},  {A4, B4, 12, 0},
		{A6, B6, 128, 1}, {A6, B6, 129, 1}, {A6, B6, 1, 0},   {A6, B6, 2, 0},
		{A6, B6, 127, 0}, {A6, B6, 137, 0}, {A6, B6, 135, 1},
	};
	static struct forged part;
	struct packet p;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct icmp_error e = {addr_of(t[i].to), 3, 1, 0};

		forge_icmp(&f, t[i].from, t[i].to, t[i].type, 0, 40);
		parse(&p);
		icmp_send_error(&sink, &p, &e);
		tap_is(caught.n, t[i].want, "%s: errors about ICMP type %u", t[i].from, t[i].type);
		caught_clear(&caught);
		forge_frag(&part, &f, 1, 0, 24, true);
		if (packet_parse(&p, part.b, part.len) != PACKET_OK)
			abort();
		icmp_send_error(&sink, &p, &e);
		tap_is(caught.n, t[i].want, "the same for a first fragment");
		caught_clear(&caught);
		forge_frag(&part, &f, 1, 24, 48, false);
		if (packet_parse(&p, part.b, part.len) != PACKET_OK)
			abort();
		icmp_send_error(&sink, &p, &e);
		tap_is(caught.n, 0, "none about a later fragment");
	}
}

static void test_super_packet(const char *from, const char *to)
{
	struct icmp_error e = {addr_of(to), 3, 3, 0};
	struct packet p, a, q;

	forge_udp(&f, from, to, 5000);
	parse(&p);
	p.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	p.gso_size = 300;
	icmp_send_error(&sink, &p, &e);
	if (answer(&a))
		tap_ok(packet_parse(&q, a.data + a.payload, packet_payload_len(&a)) == PACKET_OK &&
			       packet_payload_len(&q) == 300 && q.len == packet_payload_len(&a) &&
			       addrport_equal(&q.net, &p.net) &&
			       !memcmp(q.data + q.payload, p.data + p.payload, 300),
		       "%s: a super-packet is quoted as its first datagram", from);
	caught_clear(&caught);
	p.gso_size = 6000;
	icmp_send_error(&sink, &p, &e);
	if (answer(&a))
		tap_ok(!memcmp(a.data + a.payload, f.b, packet_payload_len(&a)),
		       "one that is a single datagram is quoted as it is");
	caught_clear(&caught);
}

static void test_tuple_udp(const char *from, const char *to, size_t len)
{
	struct addrport app = ap_of(from, 1111), net = ap_of(to, 2222);
	struct icmp_error e = {net.addr, 3, 3, 0};
	size_t room = strchr(from, ':') ? 1232 : 548;
	struct packet a, p;

	forge_udp(&f, from, to, len);
	parse(&p);
	icmp_send_error_tuple(&sink, IPPROTO_UDP, &app, &net, 0, f.b + p.payload, len, &e);
	if (!answer(&a))
		return;
	tap_is(packet_payload_len(&a), MIN(f.len, room), "%s: quote of a datagram that is gone",
	       from);
	tap_ok(!memcmp(a.data + a.payload + p.l4, f.b + p.l4, 6) &&
		       !memcmp(a.data + a.payload + p.payload, f.b + p.payload,
			       MIN(f.len, room) - p.payload),
	       "ports, length, payload");
	if (a.version == 4)
		tap_is(naive_sum(0, a.data + a.payload, 20), 0xffff, "header checksum");
	caught_clear(&caught);
}

static void test_tuple_echo(const char *from, const char *to)
{
	struct addrport app = ap_of(from, 0), net = ap_of(to, 0);
	struct icmp_error e = {net.addr, 3, 1, 0};
	static const size_t part[] = {0, 3, 8, 64};
	struct packet a, p;

	forge_icmp(&f, from, to, strchr(from, ':') ? 128 : 8, 0, 56);
	parse(&p);
	for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
		uint8_t *q, msg[64];

		memcpy(msg, f.b + p.l4, 64);
		forge_put16(msg + 4, 0x9999); /* the identifier that the network saw */
		icmp_send_error_tuple(&sink, p.proto, &app, &net, 0x1234, msg, part[i], &e);
		if (!answer(&a))
			return;
		q = a.data + a.payload + p.l4;
		tap_is(packet_payload_len(&a), p.l4 + MAX(part[i], (size_t)8),
		       "%s: quote of an echo of which %zu bytes are left", from, part[i]);
		tap_ok(q[0] == p.icmp.type && forge_get16(q + 4) == 0x1234 &&
			       (part[i] < 8 || forge_get16(q + 6) == 5),
		       "type, the program's identifier, sequence number");
		caught_clear(&caught);
	}
}

/* --- errno ----------------------------------------------------------------------------- */

static void test_errno(void)
{
	static const struct {
		int err;
		const char *dest;
		uint8_t type, code;
		bool exact;
	} t[] = {
		{ENETUNREACH, B4, 3, 6, true},	{EHOSTUNREACH, B4, 3, 10, true},
		{ECONNREFUSED, B4, 3, 3, true}, {EMSGSIZE, B4, 3, 4, true},
		{ENOPROTOOPT, B4, 3, 2, true},	{EHOSTDOWN, B4, 3, 7, true},
		{ENONET, B4, 3, 8, true},	{EOPNOTSUPP, B4, 3, 5, true},
		{EPROTO, B4, 12, 0, true},	{EACCES, B4, 3, 13, false},
		{EPERM, B4, 3, 13, false},	{ETIMEDOUT, B4, 3, 10, false},
		{ENETUNREACH, B6, 1, 0, true},	{EHOSTUNREACH, B6, 1, 3, true},
		{ECONNREFUSED, B6, 1, 4, true}, {EMSGSIZE, B6, 2, 0, true},
		{EACCES, B6, 1, 1, true},	{EPERM, B6, 1, 1, false},
		{EPROTO, B6, 4, 0, true},	{ENOPROTOOPT, B6, 4, 1, false},
		{EHOSTDOWN, B6, 1, 3, false},	{ETIMEDOUT, B6, 1, 3, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct addr dest = addr_of(t[i].dest);
		struct icmp_error e;
		bool exact = icmp_error_for_errno(t[i].err, &dest, 1280, &e);

		tap_ok(exact == t[i].exact && e.type == t[i].type && e.code == t[i].code &&
			       addr_equal(&e.from, &dest) &&
			       e.info == (t[i].err == EMSGSIZE ? 1280 : 0),
		       "%s: %s", t[i].dest, strerrorname_np(t[i].err));
	}
}

/* --- echo ------------------------------------------------------------------------------- */

static void test_echo(const char *from, const char *to)
{
	static const size_t sizes[] = {0, 1, 56, 1473, 65507};
	static uint8_t data[65528];
	struct addr peer = addr_of(from), app = addr_of(to);
	struct packet a;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = forge_byte(i);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		icmp_send_echo_reply(&sink, &peer, &app, 0xbeef, 7, 55, 0x48, data, sizes[i]);
		if (!answer(&a))
			continue;
		tap_ok(a.icmp.type == (a.version == 4 ? 0 : 129) && !a.icmp.code &&
			       a.icmp.ident == 0xbeef && a.icmp.seqno == 7 && a.ttl == 55 &&
			       a.tos == 0x48 && packet_payload_len(&a) == sizes[i] &&
			       !memcmp(a.data + a.payload, data, sizes[i]),
		       "%s: echo reply of %zu bytes", from, sizes[i]);
		caught_clear(&caught);
	}
	icmp_send_echo_reply(&sink, &peer, &app, 1, 1, 64, 0, data,
			     addr_is_v4(&app) ? 65508 : 65528);
	tap_is(caught.n, 0, "none that no packet holds");
}

int main(void)
{
	test_reset(A4, B4);
	test_reset(A6, B6);
	test_groups();
	test_quote(A4, B4, R4, 0);
	test_quote(A4, B4, R4, 520);
	test_quote(A4, B4, R4, 521);
	test_quote(A4, B4, R4, 9000);
	test_quote(A6, B6, R6, 0);
	test_quote(A6, B6, R6, 1184);
	test_quote(A6, B6, R6, 1185);
	test_info();
	test_never();
	test_super_packet(A4, B4);
	test_super_packet(A6, B6);
	test_tuple_udp(A4, B4, 0);
	test_tuple_udp(A4, B4, 65507);
	test_tuple_udp(A6, B6, 10);
	test_tuple_udp(A6, B6, 2000);
	test_tuple_echo(A4, B4);
	test_tuple_echo(A6, B6);
	test_errno();
	test_echo(B4, A4);
	test_echo(B6, A6);
	return tap_done();
}
