/* SPDX-License-Identifier: MIT */
/*
 * front: what the gate lets through, in all combinations of packet and
 * virtio-net header that matter; fragments end to end; the error at time-out.
 * LINK: stack/front.o stack/reass.o stack/icmp.o stack/pktbuf.o stack/csum.o src/packet.o
 * LINK: src/base/addr.o src/base/hash.o src/base/util.o
 */
#include "stack.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"
#include "base/clock.h"
#include "base/util.h"
#include "forge.h"

#define A4 "192.0.2.1"
#define B4 "198.51.100.2"
#define A6 "2001:db8::1"
#define B6 "2001:db8:1::2"

#define SEC NSEC_PER_SEC

static struct forged f, whole;
static struct caught caught;
static const struct stack_sink sink = {caught_write, &caught};
static const struct front_config config = {1 << 20, 30 * SEC};

/** read_at - @vh and the packet in @f, @off bytes into a buffer; puts what it gets but @p's data */
static enum front_result read_at(struct front *fr, const struct virtio_net_hdr *vh, uint64_t now,
				 struct packet *p, struct pktbuf **out)
{
	struct pktbuf *buf = pktbuf_get();
	enum front_result rc;
	size_t off = 3;

	memcpy(buf->data + off, vh, sizeof(*vh));
	memcpy(buf->data + off + sizeof(*vh), f.b, f.len);
	rc = front_read(fr, buf, off, sizeof(*vh) + f.len, now, p, out);
	if (*out != buf)
		pktbuf_put(buf);
	return rc;
}

static enum front_result read_one(struct front *fr, const struct virtio_net_hdr *vh,
				  struct packet *p)
{
	struct pktbuf *out;
	enum front_result rc = read_at(fr, vh, SEC, p, &out);

	pktbuf_put(out);
	return rc;
}

enum sums { RIGHT, WRONG, PARTIAL };

/** spoil - leave the transport checksum as @s says */
static void spoil(enum sums s, uint8_t proto, size_t at)
{
	uint8_t *field = f.b + f.l4 + at;

	if (s == WRONG)
		forge_put16(field, forge_get16(field) ^ 0x0100);
	if (s == PARTIAL)
		forge_put16(field, forge_l4_sum(f.b, f.l4, f.l4, proto) + (unsigned)(f.len - f.l4));
}

static void test_sums(const char *from, const char *to, uint8_t proto)
{
	static const struct {
		enum sums sums;
		uint8_t flags;
		enum front_result want;
	} t[] = {
		{RIGHT, 0, FRONT_PACKET},
		{WRONG, 0, FRONT_DROPPED},
		{PARTIAL, 0, FRONT_DROPPED},
		{PARTIAL, VIRTIO_NET_HDR_F_NEEDS_CSUM, FRONT_PACKET},
		{RIGHT, VIRTIO_NET_HDR_F_DATA_VALID, FRONT_PACKET},
		{WRONG, VIRTIO_NET_HDR_F_DATA_VALID, FRONT_PACKET}, /* the kernel has seen to it */
	};
	size_t at = proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct front *fr = front_new(&config, &sink);
		struct virtio_net_hdr vh = {.flags = t[i].flags};
		struct packet p;

		if (proto == IPPROTO_TCP)
			forge_tcp(&f, from, to, TCPF_ACK, 1, 2, NULL, 0, 333);
		else if (proto == IPPROTO_UDP)
			forge_udp(&f, from, to, 333);
		else
			forge_icmp(&f, from, to, strchr(from, ':') ? 128 : 8, 0, 333);
		spoil(t[i].sums, proto, at);
		if (t[i].flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
			vh.csum_start = (uint16_t)f.l4;
			vh.csum_offset = (uint16_t)at;
		}
		tap_is(read_one(fr, &vh, &p), t[i].want, "%s protocol %d: checksum %d, flags %d",
		       from, proto, t[i].sums, t[i].flags);
		tap_is(front_stats(fr)->bad_l4_csum, t[i].want == FRONT_DROPPED, "counted");
		if (t[i].want == FRONT_PACKET)
			tap_is(p.csum_trusted, !!t[i].flags, "trusted or verified");
		front_free(fr);
	}
}

static void test_partial_elsewhere(void)
{
	static const struct {
		int start, offset;
		enum front_result want;
	} t[] = {{0, 16, FRONT_PACKET},	   {1, 15, FRONT_DROPPED},     {0, 6, FRONT_DROPPED},
		 {-20, 10, FRONT_DROPPED}, {30000, 16, FRONT_DROPPED}, {0, 65535, FRONT_DROPPED}};
	struct front *fr = front_new(&config, &sink);
	struct packet p;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct virtio_net_hdr vh = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					    .csum_offset = (uint16_t)t[i].offset};

		forge_tcp(&f, A4, B4, TCPF_ACK, 1, 2, NULL, 0, 100);
		spoil(PARTIAL, IPPROTO_TCP, 16);
		vh.csum_start = (uint16_t)((int)f.l4 + t[i].start);
		tap_is(read_one(fr, &vh, &p), t[i].want, "TCP checksum said to be at %d+%d",
		       vh.csum_start, vh.csum_offset);
	}
	for (unsigned end = 58; end <= 61; end++) {
		struct virtio_net_hdr vh = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					    .csum_start = 20,
					    .csum_offset = (uint16_t)(end - 22)};

		forge_ip(&f, A4, B4, 47);
		forge_add(&f, "0123456789012345678901234567890123456789", 40);
		forge_lengths(&f);
		tap_is(read_one(fr, &vh, &p), end <= 60 ? FRONT_PACKET : FRONT_DROPPED,
		       "checksum of an unknown protocol ends at %u of 60", end);
	}
	front_free(fr);
}

static void test_gso(void)
{
	static const struct {
		const char *from, *to;
		int tcp;
		uint8_t flags, type;
		uint16_t size;
		enum front_result want;
	} t[] = {
		{A4, B4, 1, 1, VIRTIO_NET_HDR_GSO_TCPV4, 1448, FRONT_PACKET},
		{A4, B4, 1, 1, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, 1448,
		 FRONT_PACKET},
		{A6, B6, 1, 1, VIRTIO_NET_HDR_GSO_TCPV6, 1428, FRONT_PACKET},
		{A4, B4, 0, 1, VIRTIO_NET_HDR_GSO_UDP_L4, 1400, FRONT_PACKET},
		{A6, B6, 0, 1, VIRTIO_NET_HDR_GSO_UDP_L4, 1400, FRONT_PACKET},
		{A4, B4, 0, 1, VIRTIO_NET_HDR_GSO_UDP_L4, 469, FRONT_PACKET},
		{A4, B4, 0, 1, VIRTIO_NET_HDR_GSO_UDP_L4, 468, FRONT_DROPPED},
		{A4, B4, 1, 1, VIRTIO_NET_HDR_GSO_TCPV6, 1448, FRONT_DROPPED},
		{A6, B6, 1, 1, VIRTIO_NET_HDR_GSO_TCPV4, 1448, FRONT_DROPPED},
		{A4, B4, 0, 1, VIRTIO_NET_HDR_GSO_TCPV4, 1448, FRONT_DROPPED},
		{A4, B4, 1, 1, VIRTIO_NET_HDR_GSO_UDP_L4, 1448, FRONT_DROPPED},
		{A4, B4, 0, 1, VIRTIO_NET_HDR_GSO_UDP, 1448, FRONT_DROPPED},
		{A4, B4, 0, 1, 77, 1448, FRONT_DROPPED},
		{A4, B4, 1, 1, VIRTIO_NET_HDR_GSO_TCPV4, 0, FRONT_DROPPED},
		{A4, B4, 1, 0, VIRTIO_NET_HDR_GSO_TCPV4, 1448, FRONT_DROPPED},
	};
	struct front *fr = front_new(&config, &sink);

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		size_t len = t[i].tcp ? 65000 : 60000;
		struct virtio_net_hdr vh = {.flags = t[i].flags,
					    .gso_type = t[i].type,
					    .gso_size = t[i].size,
					    .csum_offset = t[i].tcp ? 16 : 6};
		struct packet p;

		if (t[i].tcp)
			forge_tcp(&f, t[i].from, t[i].to, TCPF_ACK, 1, 2, NULL, 0, len);
		else
			forge_udp(&f, t[i].from, t[i].to, len);
		vh.csum_start = (uint16_t)f.l4;
		tap_is(read_one(fr, &vh, &p), t[i].want, "super-packet %zu of type %d", i,
		       t[i].type);
		if (t[i].want == FRONT_PACKET)
			tap_ok(p.gso_size == t[i].size && p.gso_type == (t[i].type & 0x7f) &&
				       packet_payload_len(&p) == len,
			       "size and type");
	}
	front_free(fr);
}

/** fragment - @from..@to of @whole through the gate */
static enum front_result fragment(struct front *fr, uint64_t now, size_t from, size_t to, bool more,
				  struct packet *p, struct pktbuf **out)
{
	static const struct virtio_net_hdr plain;

	forge_frag(&f, &whole, 99, from, to, more);
	return read_at(fr, &plain, now, p, out);
}

static void forge_whole(const char *from, const char *to, uint8_t proto, size_t len)
{
	if (proto == IPPROTO_UDP)
		forge_udp(&whole, from, to, len);
	else
		forge_icmp(&whole, from, to, strchr(from, ':') ? 128 : 8, 0, len);
}

static void test_reassembly(const char *from, const char *to, uint8_t proto, bool spoiled)
{
	struct front *fr = front_new(&config, &sink);
	size_t len = 9000, at;
	struct pktbuf *out;
	struct packet p;

	forge_whole(from, to, proto, len);
	if (spoiled)
		whole.b[whole.len - 5] ^= 1;
	for (at = 0; at + 1480 < len + 8; at += 1480) {
		tap_is(fragment(fr, SEC, at, at + 1480, true, &p, &out), FRONT_HELD, "%s: %zu held",
		       from, at);
		pktbuf_put(out);
	}
	tap_is(fragment(fr, SEC, at, len + 8, false, &p, &out),
	       spoiled ? FRONT_DROPPED : FRONT_PACKET, "protocol %d, whole", proto);
	if (spoiled) {
		tap_is(front_stats(fr)->bad_l4_csum, 1, "a changed bit is found, and counted");
	} else {
		tap_ok(packet_payload_len(&p) == len && p.proto == proto && !p.is_frag && !p.df &&
			       !memcmp(p.data + p.payload, whole.b + whole.l4 + 8, len) &&
			       p.data > out->data && p.data < out->data + PKTBUF_SIZE,
		       "the payload, in the buffer handed out");
		tap_ok(front_stats(fr)->reassembled == 1 && front_stats(fr)->fragments == 7,
		       "counted");
	}
	pktbuf_put(out);
	front_free(fr);
	tap_is(pktbuf_live(), 0, "no buffer is out");
}

static void test_false_fragments(void)
{
	static const struct virtio_net_hdr vh[] = {
		{.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 20, .csum_offset = 6},
		{.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		 .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
		 .gso_size = 100,
		 .csum_start = 20,
		 .csum_offset = 6},
	};
	static const struct virtio_net_hdr valid = {.flags = VIRTIO_NET_HDR_F_DATA_VALID};
	struct front *fr = front_new(&config, &sink);
	struct packet p;

	forge_udp(&whole, A4, B4, 2000);
	forge_frag(&f, &whole, 1, 0, 1480, true);
	tap_is(read_one(fr, &vh[0], &p), FRONT_DROPPED, "a fragment with a partial checksum");
	tap_is(read_one(fr, &vh[1], &p), FRONT_DROPPED, "a fragment that is a super-packet");
	whole.b[1000] ^= 1;
	forge_frag(&f, &whole, 1, 0, 1480, true);
	tap_is(read_one(fr, &valid, &p), FRONT_HELD, "a fragment said to be valid is kept");
	forge_frag(&f, &whole, 1, 1480, 2008, false);
	tap_is(read_one(fr, &valid, &p), FRONT_DROPPED, "but not believed");
	tap_is(front_stats(fr)->bad_l4_csum, 1, "counted");

	/* a fragment header inside what was fragmented */
	forge_udp(&whole, A6, B6, 2000);
	forge_ext(&whole, IPPROTO_FRAGMENT, (const uint8_t[]){0, 0, 0, 1, 0, 0, 0, 9}, 8);
	whole.l4 = 40;
	forge_frag(&f, &whole, 1, 0, 1480, true);
	tap_is(read_one(fr, &(struct virtio_net_hdr){0}, &p), FRONT_HELD, "a nested fragment");
	forge_frag(&f, &whole, 1, 1480, 2016, false);
	tap_is(read_one(fr, &(struct virtio_net_hdr){0}, &p), FRONT_DROPPED, "is refused");
	front_free(fr);
	tap_is(pktbuf_live(), 0, "no buffer is out");
}

static void test_timeout(const char *from, const char *to, uint64_t timeout)
{
	struct front *fr = front_new(&config, &sink);
	struct pktbuf *out;
	struct packet p, e;
	bool v6 = strchr(from, ':');

	forge_whole(from, to, IPPROTO_UDP, 3000);
	tap_is(front_tick(fr, SEC), 0, "%s: nothing waits", from);
	tap_ok(!front_waits(fr), "so no tick is wanted");
	fragment(fr, SEC, 0, 1480, true, &p, &out);
	pktbuf_put(out);
	tap_is(front_tick(fr, 2 * SEC), SEC + timeout, "when to come back");
	tap_ok(front_waits(fr), "until then it is");
	tap_is(caught.n, 0, "no error yet");
	tap_is(front_tick(fr, SEC + timeout), 0, "nothing waits again");
	tap_ok(caught.n == 1 && packet_parse(&e, caught.p[0].b, caught.p[0].len) == PACKET_OK &&
		       e.icmp.type == (v6 ? 3 : 11) && e.icmp.code == 1,
	       "time exceeded");
	tap_ok(!memcmp(e.data + e.payload, f.b, e.len - e.payload) && e.len == (v6 ? 1280 : 576),
	       "about the first fragment");
	tap_ok(addr_equal(&e.app.addr, &p.net.addr) && addr_equal(&e.net.addr, &p.app.addr),
	       "from the destination");
	tap_is(forge_l4_sum(e.data, e.l4, e.len, e.proto), 0xffff, "with a right checksum");
	caught_clear(&caught);

	/* also without a tick, when the next fragment comes; none without a first fragment */
	fragment(fr, 100 * SEC, 1480, 2960, true, &p, &out);
	pktbuf_put(out);
	fragment(fr, 100 * SEC + timeout, 0, 1480, true, &p, &out);
	pktbuf_put(out);
	tap_is(front_stats(fr)->reass_timeout, 2, "the second timed out");
	tap_is(caught.n, 0, "without a word");
	front_free(fr);
}

int main(void)
{
	struct front *fr = front_new(&config, &sink);
	struct pktbuf *buf = pktbuf_get(), *out;
	struct packet p;

	tap_is(front_read(fr, buf, 0, 9, SEC, &p, &out), FRONT_DROPPED, "9 bytes");
	memset(buf->data, 0, 10);
	tap_is(front_read(fr, buf, 0, 10, SEC, &p, &out), FRONT_DROPPED, "a header alone");
	tap_ok(front_stats(fr)->dropped[PACKET_SHORT] == 2 && front_stats(fr)->packets == 2,
	       "counted");
	tap_ok(out == buf, "the buffer stays the caller's");
	pktbuf_put(buf);
	front_free(fr);

	test_sums(A4, B4, IPPROTO_TCP);
	test_sums(A6, B6, IPPROTO_TCP);
	test_sums(A4, B4, IPPROTO_UDP);
	test_sums(A6, B6, IPPROTO_UDP);
	test_sums(A4, B4, IPPROTO_ICMP);
	test_sums(A6, B6, IPPROTO_ICMPV6);
	test_partial_elsewhere();
	test_gso();
	test_reassembly(A4, B4, IPPROTO_UDP, false);
	test_reassembly(A6, B6, IPPROTO_UDP, false);
	test_reassembly(A4, B4, IPPROTO_UDP, true);
	test_reassembly(A6, B6, IPPROTO_UDP, true);
	test_reassembly(A4, B4, IPPROTO_ICMP, false);
	test_reassembly(A6, B6, IPPROTO_ICMPV6, false);
	test_false_fragments();
	test_timeout(A4, B4, 30 * SEC);
	test_timeout(A6, B6, 60 * SEC);
	tap_is(pktbuf_live(), 0, "no buffer is out");
	pktbuf_drain();
	return tap_done();
}
