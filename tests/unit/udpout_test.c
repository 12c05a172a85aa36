/* SPDX-License-Identifier: MIT */
/*
 * udpout: every size, one by one and as super-packets; what a kernel would make
 * of them is put together again and compared.
 * LINK: stack/udpout.o stack/csum.o src/packet.o src/base/addr.o src/base/util.o
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
#define A6 "2001:db8::1"
#define B6 "2001:db8:1::2"

static struct caught caught;
static const struct stack_sink sink = {caught_write, &caught};
static uint8_t data[70000];

static struct udpout make(const char *from, const char *to, size_t len, uint16_t gso_size)
{
	return (struct udpout){.from = ap_of(from, 53),
			       .app = ap_of(to, 4000),
			       .ttl = 9,
			       .tos = 0x2e,
			       .data = data,
			       .len = len,
			       .gso_size = gso_size};
}

/** receive - do as the kernel: complete the checksum, then check the packet; its view in @p */
static bool receive(unsigned i, struct packet *p)
{
	struct virtio_net_hdr *vh = &caught.p[i].vh;
	uint8_t *b = caught.p[i].b;
	size_t len = caught.p[i].len;

	if (!(vh->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || vh->csum_start + 8U > len)
		return false;
	forge_put16(b + vh->csum_start + vh->csum_offset,
		    ~naive_sum(0, b + vh->csum_start, len - vh->csum_start) & 0xffff);
	return packet_parse(p, b, len) == PACKET_OK && p->len == len && p->l4 == vh->csum_start &&
	       vh->hdr_len == p->l4 + 8 && forge_l4_sum(b, p->l4, len, IPPROTO_UDP) == 0xffff;
}

/** test_send - @packets packets come, whose payloads in a row are the data */
static void test_send(const char *from, const char *to, size_t len, uint16_t gso_size, bool uso,
		      unsigned packets)
{
	struct udpout d = make(from, to, len, gso_size);
	size_t at = 0, segment = gso_size ? gso_size : len + !len, bad = 0;
	struct packet p;

	tap_is(udpout_send(&sink, &d, uso, 1500), 0, "%s: %zu bytes of %u%s", from, len, gso_size,
	       uso ? " with USO" : "");
	tap_is(caught.n, packets, "in %u packets", packets);
	for (unsigned i = 0; i < caught.n; i++) {
		size_t n, hdr = strchr(from, ':') ? 48 : 28;
		bool super;

		if (!receive(i, &p)) {
			bad++;
			continue;
		}
		n = packet_payload_len(&p);
		super = n > segment;
		bad += at + n > len || memcmp(p.data + p.payload, data + at, n) != 0;
		bad += !addrport_equal(&p.app, &d.from) || !addrport_equal(&p.net, &d.app);
		bad += p.ttl != 9 || p.tos != 0x2e;
		bad += caught.p[i].vh.gso_type != (super ? VIRTIO_NET_HDR_GSO_UDP_L4 : 0);
		bad += caught.p[i].vh.gso_size != (super ? gso_size : 0);
		bad += super && (!uso || (n + gso_size - 1) / gso_size > 64);
		bad += at % segment || (i + 1 < caught.n && n % segment);
		bad += p.version == 4 && p.df != ((super ? gso_size : n) + hdr <= 1500);
		at += n;
	}
	tap_ok(!bad && at == len, "as sent");
	caught_clear(&caught);
}

int main(void)
{
	static const char *const from[] = {B4, B6}, *const to[] = {A4, A6};
	struct packet p;
	struct udpout d;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = forge_byte(i);
	for (int v = 0; v < 2; v++) {
		static const size_t sizes[] = {0, 1, 2, 1452, 1453, 1472, 1473, 9000, 65507};

		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
			test_send(from[v], to[v], sizes[i], 0, i % 2, 1);
		test_send(from[v], to[v], 10000, 1400, false, 8);
		test_send(from[v], to[v], 10000, 1400, true, 1);
		test_send(from[v], to[v], 2800, 1400, true, 1);
		test_send(from[v], to[v], 1400, 1400, true, 1);
		test_send(from[v], to[v], 900, 1400, true, 1);
		test_send(from[v], to[v], 100, 1, true, 2);
		test_send(from[v], to[v], 70, 1, false, 70);
		test_send(from[v], to[v], 65500, 1400, true, 2);
		test_send(from[v], to[v], 69000, 60000, true, 2);
		test_send(from[v], to[v], 4000, 2000, true, 1);
		d = make(from[v], to[v], v ? 65528 : 65508, 0);
		tap_is(udpout_send(&sink, &d, true, 1500), -EMSGSIZE, "a byte too much");
		tap_is(caught.n, 0, "nothing sent");
	}
	test_send(B6, A6, 65527, 0, false, 1);

	d = make(B4, A4, 3000, 1000);
	caught.fail = -EAGAIN;
	tap_is(udpout_send(&sink, &d, false, 1500), -EAGAIN, "a full queue is reported");
	tap_is(caught.n, 3, "and each datagram was tried");
	caught_clear(&caught);

	d = make(B4, A4, 3000, 0);
	caught.fail = 0;
	udpout_send(&sink, &d, false, 1500);
	udpout_send(&sink, &d, false, 1500);
	tap_ok(receive(0, &p) && caught.n == 2 &&
		       forge_get16(caught.p[0].b + 4) != forge_get16(caught.p[1].b + 4),
	       "packets that may be cut have identifications of their own");
	caught_clear(&caught);
	return tap_done();
}
