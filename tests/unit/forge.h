/* SPDX-License-Identifier: MIT */
/*
 * forge: packets for tests, made the slow and obvious way so that they do not
 * share a mistake with the code under test, and a sink that keeps what is
 * written to it.
 */
#ifndef WEIR_TESTS_FORGE_H
#define WEIR_TESTS_FORGE_H

#include "stack.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define FORGE_UNUSED __attribute__((unused))

/** struct forged - a packet being made: IP header at @b, @len bytes in all */
struct forged {
	uint8_t b[66000];
	size_t len;
	size_t l4; /* offset of the transport header */
	bool v6;
};

/** naive_sum - RFC 1071 as it is written: 16-bit words, big endian */
FORGE_UNUSED static uint32_t naive_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

FORGE_UNUSED static void forge_put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

FORGE_UNUSED static unsigned forge_get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/** forge_l4_sum - sum of pseudo header and transport; 0xffff when the checksum is right */
FORGE_UNUSED static uint32_t forge_l4_sum(const uint8_t *ip, size_t l4, size_t len, uint8_t proto)
{
	uint8_t tail[4] = {0, proto, (uint8_t)((len - l4) >> 8), (uint8_t)(len - l4)};
	bool v6 = ip[0] >> 4 == 6;
	uint32_t sum = 0;

	if (v6 || proto != IPPROTO_ICMP) {
		sum = naive_sum(sum, v6 ? ip + 8 : ip + 12, v6 ? 32 : 8);
		sum = naive_sum(sum, tail, 4);
	}
	return naive_sum(sum, ip + l4, len - l4);
}

FORGE_UNUSED static void forge_v4_sum(struct forged *f)
{
	forge_put16(f->b + 10, 0);
	forge_put16(f->b + 10, ~naive_sum(0, f->b, (f->b[0] & 0xfU) * 4) & 0xffff);
}

/** forge_ip - a header without options; addresses as text tell the family */
FORGE_UNUSED static void forge_ip(struct forged *f, const char *from, const char *to, uint8_t proto)
{
	memset(f->b, 0, 64);
	f->v6 = strchr(from, ':');
	if (f->v6) {
		f->b[0] = 0x60;
		f->b[6] = proto;
		f->b[7] = 63;
		inet_pton(AF_INET6, from, f->b + 8);
		inet_pton(AF_INET6, to, f->b + 24);
		f->len = f->l4 = 40;
		return;
	}
	f->b[0] = 0x45;
	f->b[6] = 0x40; /* DF */
	f->b[8] = 63;
	f->b[9] = proto;
	inet_pton(AF_INET, from, f->b + 12);
	inet_pton(AF_INET, to, f->b + 16);
	f->len = f->l4 = 20;
}

/** forge_lengths - make the IP header's length and checksum right */
FORGE_UNUSED static void forge_lengths(struct forged *f)
{
	if (f->v6) {
		forge_put16(f->b + 4, (unsigned)(f->len - 40));
		return;
	}
	forge_put16(f->b + 2, (unsigned)f->len);
	forge_v4_sum(f);
}

/** forge_l4 - append the bytes of a transport header or payload */
FORGE_UNUSED static void forge_add(struct forged *f, const void *p, size_t len)
{
	if (len)
		memcpy(f->b + f->len, p, len);
	f->len += len;
}

/** forge_l4_done - set the transport checksum at @at of the transport header */
FORGE_UNUSED static void forge_l4_done(struct forged *f, uint8_t proto, size_t at)
{
	uint32_t sum;

	forge_lengths(f);
	forge_put16(f->b + f->l4 + at, 0);
	sum = ~forge_l4_sum(f->b, f->l4, f->len, proto) & 0xffff;
	forge_put16(f->b + f->l4 + at, sum || proto != IPPROTO_UDP ? sum : 0xffff);
}

FORGE_UNUSED static uint8_t forge_byte(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

/** forge_udp - a datagram of @len patterned bytes, port 1111 to 2222 */
FORGE_UNUSED static void forge_udp(struct forged *f, const char *from, const char *to, size_t len)
{
	uint8_t u[8] = {1111 >> 8, 1111 & 0xff, 2222 >> 8, 2222 & 0xff};

	forge_ip(f, from, to, IPPROTO_UDP);
	forge_put16(u + 4, (unsigned)len + 8);
	forge_add(f, u, 8);
	for (size_t i = 0; i < len; i++)
		f->b[f->len++] = forge_byte(i);
	forge_l4_done(f, IPPROTO_UDP, 6);
}

/** forge_tcp - a segment with @optlen bytes of options and @len of payload, 1111 to 2222 */
FORGE_UNUSED static void forge_tcp(struct forged *f, const char *from, const char *to,
				   uint8_t flags, uint32_t seq, uint32_t ack, const void *opt,
				   size_t optlen, size_t len)
{
	uint8_t t[20] = {1111 >> 8, 1111 & 0xff, 2222 >> 8, 2222 & 0xff};

	forge_ip(f, from, to, IPPROTO_TCP);
	forge_put16(t + 4, seq >> 16);
	forge_put16(t + 6, seq & 0xffff);
	forge_put16(t + 8, ack >> 16);
	forge_put16(t + 10, ack & 0xffff);
	t[12] = (uint8_t)((20 + optlen) / 4 << 4);
	t[13] = flags;
	forge_put16(t + 14, 4096);
	forge_add(f, t, 20);
	forge_add(f, opt, optlen);
	for (size_t i = 0; i < len; i++)
		f->b[f->len++] = forge_byte(i);
	forge_l4_done(f, IPPROTO_TCP, 16);
}

/** forge_icmp - type, code, ident 0x1234, sequence 5, @len bytes */
FORGE_UNUSED static void forge_icmp(struct forged *f, const char *from, const char *to,
				    uint8_t type, uint8_t code, size_t len)
{
	uint8_t h[8] = {type, code, 0, 0, 0x12, 0x34, 0, 5};
	uint8_t proto = strchr(from, ':') ? IPPROTO_ICMPV6 : IPPROTO_ICMP;

	forge_ip(f, from, to, proto);
	forge_add(f, h, 8);
	for (size_t i = 0; i < len; i++)
		f->b[f->len++] = forge_byte(i);
	forge_l4_done(f, proto, 2);
}

/** forge_ext - put @len bytes of extension headers of kind @kind behind the IPv6 header */
FORGE_UNUSED static void forge_ext(struct forged *f, uint8_t kind, const uint8_t *ext, size_t len)
{
	memmove(f->b + 40 + len, f->b + 40, f->len - 40);
	memcpy(f->b + 40, ext, len);
	f->b[40] = f->b[6];
	f->b[6] = kind;
	f->len += len;
	f->l4 += len;
	forge_lengths(f);
}

/** forge_frag - bytes @from..@to of @whole's transport as a fragment */
FORGE_UNUSED static void forge_frag(struct forged *f, const struct forged *whole, uint32_t id,
				    size_t from, size_t to, bool more)
{
	size_t hdr = whole->l4;

	f->v6 = whole->v6;
	memcpy(f->b, whole->b, hdr);
	if (f->v6) {
		uint8_t fh[8] = {f->b[6]};

		f->b[6] = IPPROTO_FRAGMENT;
		forge_put16(fh + 2, (unsigned)from | more);
		forge_put16(fh + 4, id >> 16);
		forge_put16(fh + 6, id & 0xffff);
		memcpy(f->b + hdr, fh, 8);
		hdr += 8;
	} else {
		forge_put16(f->b + 4, id);
		forge_put16(f->b + 6, (unsigned)(from / 8) | (more ? 0x2000 : 0));
	}
	f->l4 = hdr;
	f->len = hdr;
	forge_add(f, whole->b + whole->l4 + from, to - from);
	forge_lengths(f);
}

/* --- sink -------------------------------------------------------------------- */

#define CAUGHT_MAX 80

/** struct caught - packets written to the sink; @total counts also those that were not kept */
struct caught {
	struct {
		struct virtio_net_hdr vh;
		size_t len;
		uint8_t *b; /* exactly @len bytes, so that a sanitizer sees a read past them */
	} p[CAUGHT_MAX];
	unsigned n;
	int fail; /* returned by write */
};

FORGE_UNUSED static int caught_write(void *ctx, const struct virtio_net_hdr *vh,
				     const struct iovec *iov, int iovcnt)
{
	struct caught *c = ctx;
	size_t len = 0;

	for (int i = 0; i < iovcnt; i++)
		len += iov[i].iov_len;
	if (c->n == CAUGHT_MAX)
		abort();
	c->p[c->n].vh = *vh;
	c->p[c->n].len = len;
	c->p[c->n].b = malloc(len + !len);
	len = 0;
	for (int i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len)
			memcpy(c->p[c->n].b + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	c->n++;
	return c->fail;
}

FORGE_UNUSED static void caught_clear(struct caught *c)
{
	while (c->n)
		free(c->p[--c->n].b);
}

/** addr_of, ap_of - numeric text to address; tests only use text that is right */
FORGE_UNUSED static struct addr addr_of(const char *text)
{
	struct addr a;

	if (addr_parse(text, &a))
		abort();
	return a;
}

FORGE_UNUSED static struct addrport ap_of(const char *text, uint16_t port)
{
	return (struct addrport){addr_of(text), port};
}

#endif
