/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * packet_parse() goes down the headers once, from outside to inside, and each
 * step narrows the view: the buffer, then the length the IP header states, then
 * what is behind the extension headers, then what the transport header states.
 * No step looks past the view that the step before left.
 *
 * The same parser sees what the kernel made (segments of up to 64 KiB, partial
 * checksums) and what a program made on a raw socket, so it believes neither;
 * transport checksums are stack/front's business, because the virtio-net header
 * has a say in them.
 *
 * Limits of our own, where the RFCs let a host set some (RFC 8504, 5.3):
 * EXT_MAX extension headers in a packet.
 */
#include "packet.h"

#include <netinet/in.h>
#include <string.h>

#include "base/util.h"

#define EXT_MAX 8 /* IPv6 extension headers in one packet; real ones have one or two */

#define V4_HDR	    20
#define V6_HDR	    40
#define V4_DF	    0x4000
#define V4_MF	    0x2000
#define V4_OFFSET   0x1fff
#define V4_OPT_END  0
#define V4_OPT_NOP  1
#define V4_OPT_LSRR 131
#define V4_OPT_SSRR 137

#define V6_OPT_PAD1 0

/** header_sum - one's complement sum of an IPv4 header; 0xffff when its checksum is right */
static uint16_t header_sum(const uint8_t *h, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += get_be16(h + i);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/** check_addrs - sources that cannot be answered, destinations that never leave a host */
static enum packet_drop check_addrs(const struct packet *p)
{
	const struct addr *from = &p->app.addr, *to = &p->net.addr;

	if (addr_is_loopback(from) || addr_is_unspecified(from) || addr_is_multicast(from) ||
	    addr_is_broadcast(from))
		return PACKET_MARTIAN;
	if (addr_is_loopback(to) || addr_is_unspecified(to))
		return PACKET_MARTIAN;
	/* "::ffff:a.b.c.d" never is on a wire (RFC 4291, 2.5.5.2); here it would mean IPv4 */
	if (p->version == 6 && (addr_is_v4(from) || addr_is_v4(to)))
		return PACKET_MARTIAN;
	return PACKET_OK;
}

/** check_frag - @p->l4len bytes at @p->frag_off, @max being the longest datagram payload */
static enum packet_drop check_frag(const struct packet *p, size_t max)
{
	if (!p->l4len || (size_t)p->frag_off + p->l4len > max)
		return PACKET_FRAGMENT;
	/* only the last one may have an odd end (RFC 791, 3.2; RFC 8200, 4.5) */
	if (p->frag_more && p->l4len % 8)
		return PACKET_FRAGMENT;
	return PACKET_OK;
}

/* --- IPv4 ------------------------------------------------------------------ */

/** check_v4_options - all well formed, none a source route */
static enum packet_drop check_v4_options(const uint8_t *opt, size_t len)
{
	size_t i = 0, n;

	while (i < len && opt[i] != V4_OPT_END) {
		if (opt[i] == V4_OPT_NOP) {
			i++;
			continue;
		}
		if (len - i < 2)
			return PACKET_HEADER;
		n = opt[i + 1];
		if (n < 2 || n > len - i)
			return PACKET_HEADER;
		if (opt[i] == V4_OPT_LSRR || opt[i] == V4_OPT_SSRR)
			return PACKET_SOURCE_ROUTE;
		i += n;
	}
	return PACKET_OK;
}

/** check_v4_lengths - IHL and total length against the buffer; cuts trailing bytes off */
static enum packet_drop check_v4_lengths(struct packet *p)
{
	size_t hdrlen, total;

	if (p->len < V4_HDR)
		return PACKET_SHORT;
	hdrlen = (size_t)(p->data[0] & 0xf) * 4;
	total = get_be16(p->data + 2);
	if (hdrlen < V4_HDR || total < hdrlen)
		return PACKET_HEADER;
	if (total > p->len)
		return PACKET_SHORT;
	p->len = total;
	p->l4 = (uint16_t)hdrlen;
	p->l4len = (uint16_t)(total - hdrlen);
	return PACKET_OK;
}

static enum packet_drop parse_v4(struct packet *p)
{
	const uint8_t *h = p->data;
	enum packet_drop why = check_v4_lengths(p);
	uint16_t frag;

	if (why)
		return why;
	if (header_sum(h, p->l4) != 0xffff)
		return PACKET_CHECKSUM;
	why = check_v4_options(h + V4_HDR, p->l4 - (size_t)V4_HDR);
	if (why)
		return why;
	frag = get_be16(h + 6);
	p->tos = h[1];
	p->ttl = h[8];
	p->proto = h[9];
	p->app.addr = addr_from_v4(h + 12);
	p->net.addr = addr_from_v4(h + 16);
	p->df = frag & V4_DF;
	p->frag_more = frag & V4_MF;
	p->frag_off = (uint16_t)((frag & V4_OFFSET) * 8);
	p->frag_id = get_be16(h + 4);
	p->is_frag = p->frag_more || p->frag_off;
	why = check_addrs(p);
	if (!why && p->is_frag)
		why = check_frag(p, 65535U - p->l4);
	return why;
}

/* --- IPv6 ------------------------------------------------------------------ */

/**
 * check_v6_options - the TLVs of a hop-by-hop or destination options header
 *
 * An option that we do not know may be skipped only where its two top bits are
 * zero (RFC 8200, 4.2); that also refuses jumbo payloads.
 */
static enum packet_drop check_v6_options(const uint8_t *opt, size_t len)
{
	size_t i = 0;

	while (i < len) {
		if (opt[i] == V6_OPT_PAD1) {
			i++;
			continue;
		}
		if (len - i < 2 || (size_t)opt[i + 1] + 2 > len - i || opt[i] & 0xc0)
			return PACKET_HEADER;
		i += (size_t)opt[i + 1] + 2;
	}
	return PACKET_OK;
}

/** check_v6_route - only a routing header that has done its work */
static enum packet_drop check_v6_route(const uint8_t *ext)
{
	return ext[2] == 0 || ext[3] ? PACKET_SOURCE_ROUTE : PACKET_OK;
}

/** view_v6_frag - the fragment header at @off; an atomic one (RFC 6946) is no fragment */
static enum packet_drop view_v6_frag(struct packet *p, size_t off)
{
	const uint8_t *ext = p->data + off;
	uint16_t field;

	if (p->len - off < 8)
		return PACKET_SHORT;
	if (p->unfrag_len)
		return PACKET_HEADER; /* a fragment of a fragment */
	field = get_be16(ext + 2);
	p->unfrag_len = (uint16_t)off;
	p->frag_off = field & 0xfff8;
	p->frag_more = field & 1;
	p->frag_id = get_be32(ext + 4);
	p->is_frag = p->frag_more || p->frag_off;
	p->df = !p->is_frag;
	return PACKET_OK;
}

/** ext_len - check the header of kind @kind at @off; its length, or 0 with *@why */
static size_t ext_len(struct packet *p, uint8_t kind, size_t off, enum packet_drop *why)
{
	const uint8_t *ext = p->data + off;
	size_t len;

	if (kind == IPPROTO_FRAGMENT) {
		*why = view_v6_frag(p, off);
		return *why ? 0 : 8;
	}
	*why = PACKET_SHORT;
	if (p->len - off < 8)
		return 0;
	len = ((size_t)ext[1] + 1) * 8;
	if (len > p->len - off)
		return 0;
	if (kind == IPPROTO_ROUTING)
		*why = check_v6_route(ext);
	else if (kind == IPPROTO_HOPOPTS && off != V6_HDR)
		*why = PACKET_HEADER; /* RFC 8200, 4.1: only right behind the IPv6 header */
	else
		*why = check_v6_options(ext + 2, len - 2);
	return *why ? 0 : len;
}

static bool is_ext(uint8_t kind)
{
	return kind == IPPROTO_HOPOPTS || kind == IPPROTO_DSTOPTS || kind == IPPROTO_ROUTING ||
	       kind == IPPROTO_FRAGMENT;
}

/** walk_v6_chain - to the transport header, or to the end of a fragment header */
static enum packet_drop walk_v6_chain(struct packet *p)
{
	size_t off = V6_HDR, link = 6, len;
	uint8_t kind = p->data[6];
	enum packet_drop why = PACKET_OK;

	for (unsigned n = 0; is_ext(kind) && !p->is_frag; n++) {
		if (n == EXT_MAX)
			return PACKET_HEADER;
		if (kind == IPPROTO_FRAGMENT)
			p->frag_link = (uint16_t)link;
		len = ext_len(p, kind, off, &why);
		if (!len)
			return why;
		link = off;
		kind = p->data[off];
		off += len;
	}
	p->proto = kind;
	p->l4 = (uint16_t)off;
	p->l4len = (uint16_t)(p->len - off);
	return PACKET_OK;
}

static enum packet_drop parse_v6(struct packet *p)
{
	const uint8_t *h = p->data;
	enum packet_drop why;
	size_t total;

	if (p->len < V6_HDR)
		return PACKET_SHORT;
	total = V6_HDR + (size_t)get_be16(h + 4);
	if (total > p->len)
		return PACKET_SHORT;
	p->len = total;
	p->tos = (uint8_t)(get_be16(h) >> 4);
	p->ttl = h[7];
	p->app.addr = addr_from_v6(h + 8);
	p->net.addr = addr_from_v6(h + 24);
	p->df = true;
	why = check_addrs(p);
	if (!why)
		why = walk_v6_chain(p);
	if (!why && p->is_frag)
		why = check_frag(p, 65535U - (p->unfrag_len - (size_t)V6_HDR));
	return why;
}

/* --- transport ------------------------------------------------------------- */

static enum packet_drop parse_tcp(struct packet *p)
{
	const uint8_t *t = p->data + p->l4;
	size_t hdrlen;

	if (p->l4len < 20)
		return PACKET_TRANSPORT;
	hdrlen = (size_t)(t[12] >> 4) * 4;
	if (hdrlen < 20 || hdrlen > p->l4len)
		return PACKET_TRANSPORT;
	p->app.port = get_be16(t);
	p->net.port = get_be16(t + 2);
	p->tcp.seq = get_be32(t + 4);
	p->tcp.ack = get_be32(t + 8);
	p->tcp.hdrlen = (uint8_t)hdrlen;
	p->tcp.flags = t[13];
	p->tcp.wnd = get_be16(t + 14);
	p->payload = (uint16_t)(p->l4 + hdrlen);
	return PACKET_OK;
}

/** parse_udp - bytes behind the UDP length are not the datagram's: cut them off */
static enum packet_drop parse_udp(struct packet *p)
{
	const uint8_t *u = p->data + p->l4;
	uint16_t len;

	if (p->l4len < 8)
		return PACKET_TRANSPORT;
	len = get_be16(u + 4);
	if (len < 8 || len > p->l4len)
		return PACKET_TRANSPORT;
	/* IPv6 has no header checksum, so "none" is not allowed here (RFC 8200, 8.1) */
	if (p->version == 6 && !get_be16(u + 6))
		return PACKET_TRANSPORT;
	p->app.port = get_be16(u);
	p->net.port = get_be16(u + 2);
	p->len = (size_t)p->l4 + len;
	p->l4len = len;
	p->payload = (uint16_t)(p->l4 + 8);
	return PACKET_OK;
}

static enum packet_drop parse_icmp(struct packet *p)
{
	const uint8_t *i = p->data + p->l4;

	if (p->l4len < 8)
		return PACKET_TRANSPORT;
	p->icmp.type = i[0];
	p->icmp.code = i[1];
	p->icmp.ident = get_be16(i + 4);
	p->icmp.seqno = get_be16(i + 6);
	p->payload = (uint16_t)(p->l4 + 8);
	return PACKET_OK;
}

static enum packet_drop parse_transport(struct packet *p)
{
	if (p->proto == IPPROTO_TCP)
		return parse_tcp(p);
	if (p->proto == IPPROTO_UDP)
		return parse_udp(p);
	if (p->proto == (p->version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return parse_icmp(p);
	return PACKET_OK;
}

enum packet_drop packet_parse(struct packet *p, uint8_t *data, size_t len)
{
	enum packet_drop why = PACKET_VERSION;

	*p = (struct packet){.data = data, .len = len};
	if (!len)
		return PACKET_SHORT;
	p->version = data[0] >> 4;
	if (p->version == 4)
		why = parse_v4(p);
	else if (p->version == 6)
		why = parse_v6(p);
	if (why)
		return why;
	p->payload = p->l4;
	return p->is_frag ? PACKET_OK : parse_transport(p);
}

uint16_t packet_tcp_mss(const struct packet *p)
{
	const uint8_t *opt = p->data + p->l4 + 20;
	size_t len = p->tcp.hdrlen - 20U, i = 0;
	uint16_t mss = 0;

	while (i < len && opt[i] != 0) {
		if (opt[i] == 1) {
			i++;
			continue;
		}
		if (len - i < 2 || opt[i + 1] < 2 || opt[i + 1] > len - i)
			break;
		if (opt[i] == 2 && opt[i + 1] == 4)
			mss = get_be16(opt + i + 2);
		i += opt[i + 1];
	}
	if (mss)
		return mss;
	return p->version == 4 ? 536 : 1220;
}

/* --- building -------------------------------------------------------------- */

static size_t build_v4(uint8_t *h, const struct ip_build *b, size_t l4len, uint16_t ident)
{
	weir_assert(V4_HDR + l4len <= 65535);
	h[0] = 0x45;
	h[1] = b->tos;
	put_be16(h + 2, (uint16_t)(V4_HDR + l4len));
	put_be16(h + 4, ident);
	put_be16(h + 6, b->df ? V4_DF : 0);
	h[8] = b->ttl;
	h[9] = b->proto;
	put_be16(h + 10, 0);
	memcpy(h + 12, addr_v4_bytes(&b->from), 4);
	memcpy(h + 16, addr_v4_bytes(&b->to), 4);
	put_be16(h + 10, (uint16_t)~header_sum(h, V4_HDR));
	return V4_HDR;
}

static size_t build_v6(uint8_t *h, const struct ip_build *b, size_t l4len)
{
	weir_assert(l4len <= 65535);
	put_be32(h, 6U << 28 | (uint32_t)b->tos << 20);
	put_be16(h + 4, (uint16_t)l4len);
	h[6] = b->proto;
	h[7] = b->ttl;
	memcpy(h + 8, b->from.b, 16);
	memcpy(h + 24, b->to.b, 16);
	return V6_HDR;
}

size_t packet_build_ip(uint8_t *hdr, const struct ip_build *b, size_t l4len, uint16_t ident)
{
	return addr_is_v4(&b->to) ? build_v4(hdr, b, l4len, ident) : build_v6(hdr, b, l4len);
}
