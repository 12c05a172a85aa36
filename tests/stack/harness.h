/* SPDX-License-Identifier: MIT */
/*
 * harness: a program's TCP, forged by hand, in front of the real engine and lwIP.
 *
 * Segments are written byte for byte relative to what the engine sent; what it
 * sends is kept in a ring of packets, checked for form (lengths, checksums, GSO)
 * as it comes. Time passes only by ticks().
 */
#ifndef WEIR_TESTS_STACK_HARNESS_H
#define WEIR_TESTS_STACK_HARNESS_H

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "csum.h"
#include "stack.h"
#include "../lib/tap.h"

#include <lwip/priv/tcp_priv.h>

#define SENT_MAX 512
#define F	 TCPF_FIN
#define S	 TCPF_SYN
#define R	 TCPF_RST
#define P	 TCPF_PSH
#define A	 TCPF_ACK

/** struct sent - one packet that the engine sent */
struct sent {
	uint32_t seq, ack;
	uint16_t wnd, mss_option, gso_size;
	uint8_t flags;
	bool wscale_option;
	size_t len; /* of the payload */
	uint8_t *data;
};

static struct sent sent[SENT_MAX];
static unsigned sent_count; /* since sent_clear() */
static int sink_result;	    /* what the sink answers */
static bool sink_loses;	    /* the sink takes packets and loses them */
static unsigned sink_malformed;
static bool sink_gso;

__attribute__((unused)) static void sent_clear(void)
{
	for (unsigned i = 0; i < MIN(sent_count, (unsigned)SENT_MAX); i++)
		free(sent[i].data);
	sent_count = 0;
}

static void sent_options(struct sent *s, const uint8_t *opt, size_t len)
{
	for (size_t i = 0; i < len && opt[i];) {
		if (opt[i] == 1) {
			i++;
			continue;
		}
		if (opt[i] == 2)
			s->mss_option = get_be16(opt + i + 2);
		if (opt[i] == 3)
			s->wscale_option = true;
		i += opt[i + 1];
	}
}

/** malformed - what a kernel would refuse to take from a TUN */
static bool malformed(const struct virtio_net_hdr *vh, const uint8_t *ip, size_t len)
{
	bool v6 = ip[0] >> 4 == 6;
	size_t iphl = v6 ? 40 : 20, total = v6 ? 40u + get_be16(ip + 4) : get_be16(ip + 2);
	struct addr from = v6 ? addr_from_v6(ip + 8) : addr_from_v4(ip + 12);
	struct addr to = v6 ? addr_from_v6(ip + 24) : addr_from_v4(ip + 16);
	uint16_t pseudo = csum_fold(csum_pseudo(&from, &to, IPPROTO_TCP, (uint32_t)(len - iphl)));
	size_t payload = len - iphl - (size_t)(ip[iphl + 12] >> 4) * 4;

	if (total != len || vh->csum_start != iphl || vh->csum_offset != 16 ||
	    vh->flags != VIRTIO_NET_HDR_F_NEEDS_CSUM || memcmp(ip + iphl + 16, &pseudo, 2))
		return true;
	if (!v6 && csum_fold(csum_add(0, ip, 20)) != 0xffff)
		return true;
	if (!vh->gso_type)
		return vh->gso_size;
	return !sink_gso || !vh->gso_size || payload <= vh->gso_size ||
	       vh->hdr_len != len - payload ||
	       vh->gso_type != (v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4);
}

static int sink_write(void *ctx, const struct virtio_net_hdr *vh, const struct iovec *iov, int n)
{
	static uint8_t pkt[70000];
	struct sent *s = &sent[sent_count % SENT_MAX];
	size_t len = 0, iphl, tcphl;
	const uint8_t *tcp;

	(void)ctx;
	for (int i = 0; i < n; i++) {
		memcpy(pkt + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	sink_malformed += malformed(vh, pkt, len);
	if (sink_result || sink_loses)
		return sink_result;
	iphl = pkt[0] >> 4 == 6 ? 40 : 20;
	tcp = pkt + iphl;
	tcphl = (size_t)(tcp[12] >> 4) * 4;
	if (sent_count >= SENT_MAX)
		free(s->data);
	*s = (struct sent){.seq = get_be32(tcp + 4),
			   .ack = get_be32(tcp + 8),
			   .flags = tcp[13],
			   .wnd = get_be16(tcp + 14),
			   .gso_size = vh->gso_size,
			   .len = len - iphl - tcphl};
	sent_options(s, tcp + 20, tcphl - 20);
	s->data = malloc(s->len + 1);
	if (s->data)
		memcpy(s->data, tcp + tcphl, s->len);
	sent_count++;
	return 0;
}

static const struct stack_sink sink = {.write = sink_write};

/** last - the newest packet; all zero when there is none */
__attribute__((unused)) static struct sent last(void)
{
	return sent_count ? sent[(sent_count - 1) % SENT_MAX] : (struct sent){0};
}

/** sent_bytes - payload bytes in all packets since sent_clear() */
__attribute__((unused)) static size_t sent_bytes(void)
{
	size_t n = 0;

	for (unsigned i = 0; i < MIN(sent_count, (unsigned)SENT_MAX); i++)
		n += sent[i].len;
	return n;
}

/** struct app - the program's end of one connection */
struct app {
	struct engine_conn *c;
	struct addrport me, peer;
	uint32_t seq, ack; /* what the next segment carries */
	uint16_t wnd;
	uint8_t opt[40];
	size_t optlen;
	unsigned ev; /* everything that was ever reported */
};

static void start_engine(bool gso, unsigned mtu, unsigned send_buffer)
{
	struct engine_config cfg = {
		.sink = &sink, .gso = gso, .mtu = mtu, .send_buffer = send_buffer};

	sink_gso = gso;
	if (engine_init(&cfg)) {
		printf("Bail out! engine_init failed\n");
		exit(1);
	}
}

/** finish - leak checks and the plan */
__attribute__((unused)) static int finish(void)
{
	sent_clear();
	tap_is(sink_malformed, 0, "every packet sent was well formed");
	tap_is(engine_memory(), 0, "no bytes are held");
	tap_is(pktbuf_live(), 0, "no packet buffer is held");
	tap_ok(!tcp_active_pcbs && !tcp_tw_pcbs, "lwIP's lists are empty");
	engine_exit();
	pktbuf_drain();
	return tap_done();
}

static struct app app_at(bool v6, uint16_t port)
{
	static const uint8_t me4[4] = {10, 1, 2, 3}, peer4[4] = {93, 184, 216, 34};
	static const uint8_t me6[16] = {0x20, 1, 0xd, 0xb8, [15] = 9};
	static const uint8_t peer6[16] = {0x26, 6, 0x28, [15] = 0x46};

	return (struct app){
		.me = {v6 ? addr_from_v6(me6) : addr_from_v4(me4), port},
		.peer = {v6 ? addr_from_v6(peer6) : addr_from_v4(peer4), 443},
		.seq = 0xfffffff0u, /* wraps soon */
		.wnd = 0xffff,
	};
}

/** build - one segment in a buffer of its own */
static struct packet build(const struct app *a, struct pktbuf *b, uint8_t flags, uint32_t seq,
			   const void *data, size_t len)
{
	bool v6 = !addr_is_v4(&a->me.addr);
	size_t iphl = v6 ? 40 : 20, hdr = 20 + a->optlen;
	struct packet p = {
		.data = b->data,
		.len = iphl + hdr + len,
		.version = v6 ? 6 : 4,
		.proto = IPPROTO_TCP,
		.l4 = (uint16_t)iphl,
		.l4len = (uint16_t)(hdr + len),
		.payload = (uint16_t)(iphl + hdr),
		.app = a->me,
		.net = a->peer,
		.tcp = {.seq = seq,
			.ack = a->ack,
			.wnd = a->wnd,
			.flags = flags,
			.hdrlen = (uint8_t)hdr},
		.csum_trusted = true,
	};

	memset(b->data, 0xee, p.payload);
	memcpy(b->data + iphl + 20, a->opt, a->optlen);
	if (len)
		memcpy(b->data + p.payload, data, len);
	return p;
}

/** seg_at - a segment from @seq; a->seq does not move */
static unsigned seg_at(struct app *a, uint8_t flags, uint32_t seq, const void *data, size_t len)
{
	struct pktbuf *b = pktbuf_get();
	struct packet p = build(a, b, flags, seq, data, len);
	unsigned ev = engine_input(a->c, &p, b);

	pktbuf_put(b);
	a->ev |= ev;
	return ev;
}

/** seg - the next segment in order */
__attribute__((unused)) static unsigned seg(struct app *a, uint8_t flags, const void *data,
					    size_t len)
{
	uint32_t seq = a->seq;

	a->seq += (uint32_t)len + !!(flags & F);
	return seg_at(a, flags, seq, data, len);
}

/** syn - a->c gets a half-open connection; returns engine_accept()'s result */
static int syn(struct app *a)
{
	struct pktbuf *b = pktbuf_get();
	struct packet p = build(a, b, S, a->seq, NULL, 0);
	int err;

	a->ack = 0;
	err = engine_accept(&p, (uintptr_t)a, &a->c);
	pktbuf_put(b);
	a->seq++;
	a->optlen = 0;
	if (!err)
		a->ack = last().seq + 1;
	return err;
}

/** handshake - with MSS 1460 and, unless @scale < 0, a window scale option */
static void handshake(struct app *a, uint16_t mss, int scale)
{
	uint8_t opt[8] = {2, 4, (uint8_t)(mss >> 8), (uint8_t)mss, 1, 3, 3, (uint8_t)scale};

	memcpy(a->opt, opt, sizeof(opt));
	a->optlen = scale < 0 ? 4 : 8;
	if (syn(a)) {
		printf("Bail out! no SYN-ACK\n");
		exit(1);
	}
	seg(a, A, NULL, 0);
	sent_clear();
}

/** connected_wnd - the handshake's last ACK announces @wnd (in units of 2^@scale) */
static struct app connected_wnd(bool v6, uint16_t port, uint16_t wnd, int scale)
{
	struct app a = app_at(v6, port);

	a.wnd = wnd;
	handshake(&a, 1460, scale);
	return a;
}

__attribute__((unused)) static struct app connected(bool v6, uint16_t port)
{
	return connected_wnd(v6, port, 0xffff, 7);
}

/** ticks - let 250 ms pass @n times; events go to @a */
__attribute__((unused)) static unsigned ticks(struct app *a, unsigned n)
{
	unsigned ev, all = 0;
	uint64_t cookie;

	while (n--) {
		engine_tick();
		while (engine_next(&cookie, &ev))
			all |= ev;
	}
	a->ev |= all;
	return all;
}

__attribute__((unused)) static void app_free(struct app *a)
{
	engine_free(a->c);
	a->c = NULL;
}

/** pattern - the bytes from position @at of a stream that no shift repeats */
__attribute__((unused)) static void pattern(uint8_t *out, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t x = (at + i) * 0x9e3779b97f4a7c15u;

		out[i] = (uint8_t)(x >> 32 ^ x >> 56);
	}
}

/** take - consume all that is there into @out (@max bytes); returns how many */
__attribute__((unused)) static size_t take(struct app *a, uint8_t *out, size_t max)
{
	struct iovec iov[8];
	size_t got = 0;
	int n;

	while (got < max && (n = engine_peek(a->c, iov, 8)) > 0) {
		size_t part = 0;

		for (int i = 0; i < n; i++) {
			size_t len = MIN(iov[i].iov_len, max - got - part);

			memcpy(out + got + part, iov[i].iov_base, len);
			part += len;
		}
		engine_consume(a->c, part);
		got += part;
	}
	return got;
}

#endif
