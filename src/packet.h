/* SPDX-License-Identifier: MIT */
/*
 * packet: views of IP packets and the headers we build.
 *
 * A view borrows the buffer it was parsed from. packet_parse() accepts only
 * what a receiving host would: every length is checked against the buffer
 * before a byte behind it is read, IPv6 extension headers are walked, and the
 * transport header is only looked at in an unfragmented packet.
 * No system calls, no clock, no lwIP: this file is fuzzed on its own.
 */
#ifndef WEIR_PACKET_H
#define WEIR_PACKET_H

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** enum packet_drop - why packet_parse() refused; indexes counters */
enum packet_drop {
	PACKET_OK,
	PACKET_SHORT,	     /* buffer ends before a header or the stated length */
	PACKET_VERSION,	     /* neither 4 nor 6 */
	PACKET_HEADER,	     /* IHL, total length or extension header malformed */
	PACKET_CHECKSUM,     /* IPv4 header checksum */
	PACKET_MARTIAN,	     /* loopback, unspecified or multicast source; loopback or
			      * unspecified destination; IPv6 that looks like mapped IPv4 */
	PACKET_SOURCE_ROUTE, /* RFC 7126 LSRR/SSRR, RFC 5095 type 0 routing header */
	PACKET_FRAGMENT,     /* a fragment that ends past 65535 or is empty */
	PACKET_TRANSPORT,    /* transport header does not fit or contradicts itself */
	PACKET_DROP_MAX
};

#define TCPF_FIN 0x01
#define TCPF_SYN 0x02
#define TCPF_RST 0x04
#define TCPF_PSH 0x08
#define TCPF_ACK 0x10
#define TCPF_URG 0x20
#define TCPF_ECE 0x40
#define TCPF_CWR 0x80

/**
 * struct packet - a checked view of one IP packet
 * @data: the IP header; borrowed
 * @len: the packet's own length (trailing bytes of the buffer are cut off)
 * @app, @net: source (the program) and destination, as read from the TUN
 * @l4: offset of the transport header, or of the fragment's payload
 * @l4len: bytes from there to the end of the packet
 * @is_frag: set for every fragment; then only the IP level fields are valid
 * @unfrag_len: IPv6: bytes before the fragment header (for reassembly)
 * @frag_link: IPv6: where the next-header byte is that announces the fragment header
 * @payload: offset of the transport payload (TCP, UDP)
 */
struct packet {
	uint8_t *data;
	size_t len;
	struct addrport app, net;
	uint8_t version; /* 4 or 6 */
	uint8_t proto;	 /* IPPROTO_*, behind all extension headers */
	uint8_t ttl;	 /* or hop limit */
	uint8_t tos;	 /* DSCP and ECN, or traffic class */
	bool df;	 /* IPv4 DF; always true for unfragmented IPv6 */
	bool is_frag;
	bool frag_more;
	uint16_t frag_off; /* bytes */
	uint32_t frag_id;
	uint16_t l4, l4len, payload;
	uint16_t unfrag_len, frag_link;
	struct {
		uint32_t seq, ack;
		uint16_t wnd;
		uint8_t flags; /* TCPF_* */
		uint8_t hdrlen;
	} tcp;
	struct {
		uint8_t type, code;
		uint16_t ident, seqno; /* of an echo */
	} icmp;
	/* from the virtio-net header, filled by stack/front */
	bool csum_trusted; /* NEEDS_CSUM or DATA_VALID: made by a kernel, never on a wire */
	uint8_t gso_type;  /* VIRTIO_NET_HDR_GSO_*, without the ECN bit */
	uint16_t gso_size;
};

/**
 * packet_parse - check @len bytes at @data and fill @p
 *
 * For TCP and UDP fills the ports and the tcp member; for ICMP and ICMPv6 the
 * icmp member. Returns PACKET_OK or why the packet is refused.
 */
enum packet_drop packet_parse(struct packet *p, uint8_t *data, size_t len);

/** packet_payload_len - bytes of transport payload */
static inline size_t packet_payload_len(const struct packet *p)
{
	return p->len - p->payload;
}

/** packet_is_tcp_syn - SYN set, ACK and RST not */
static inline bool packet_is_tcp_syn(const struct packet *p)
{
	return (p->tcp.flags & (TCPF_SYN | TCPF_ACK | TCPF_RST)) == TCPF_SYN;
}

/** packet_tcp_mss - the MSS option of a SYN, or the protocol's default (RFC 9293, 3.7.1) */
uint16_t packet_tcp_mss(const struct packet *p);

/* --- building ------------------------------------------------------------ */

/**
 * struct ip_build - what an outgoing (to the program) IP header says
 */
struct ip_build {
	struct addr from, to;
	uint8_t proto, ttl, tos;
	bool df;
};

#define PACKET_IP_MAX 40 /* longest header that we build */

/**
 * packet_build_ip - write an IPv4 or IPv6 header for @l4len bytes behind it
 * @hdr: PACKET_IP_MAX bytes
 * @ident: IPv4 identification (matters only without DF)
 *
 * Returns the header's length. The IPv4 header checksum is filled in.
 */
size_t packet_build_ip(uint8_t *hdr, const struct ip_build *b, size_t l4len, uint16_t ident);

#endif
