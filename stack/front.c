/* SPDX-License-Identifier: MIT */
/*
 * front: the gate between the TUN and everything else.
 *
 * What goes past it is a whole IP packet whose lengths, headers and checksums
 * are right, so that nobody behind it checks them again. The virtio-net header
 * is part of the input: it is the kernel's, but a program in the namespace has a
 * say in it (UDP_SEGMENT, AF_PACKET with PACKET_VNET_HDR), so each of its fields
 * is compared with the packet before it is believed.
 *
 * Fragments go through stack/reass. A fragment has no checksum of its own: the
 * kernel has summed up the datagram before cutting it, so what comes out whole
 * is always verified, whatever the parts' virtio-net headers said.
 */
#include "stack.h"

#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "csum.h"
#include "reass.h"

#define ICMP6_TIME_EXCEEDED_TYPE 3

/* What kernels put into one packet at most; a forged header could claim 65527 of a byte each. */
#define UDP_SEGMENTS_MAX 128

struct front {
	struct reass *reass;	       /* owned */
	const struct stack_sink *sink; /* borrowed */
	struct front_stats stats;
};

struct front *front_new(const struct front_config *cfg, const struct stack_sink *sink)
{
	struct front *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->sink = sink;
	f->reass = reass_new(cfg->reass_bytes_max, cfg->reass_timeout_ns);
	if (!f->reass) {
		free(f);
		return NULL;
	}
	return f;
}

void front_free(struct front *f)
{
	if (!f)
		return;
	reass_free(f->reass);
	free(f);
}

const struct front_stats *front_stats(const struct front *f)
{
	return &f->stats;
}

static enum front_result drop(struct front *f, enum packet_drop why)
{
	f->stats.dropped[why]++;
	return FRONT_DROPPED;
}

/* --- checksums ---------------------------------------------------------------- */

/** csum_offset_of - where the checksum is in the transport header; -1 = not one that we know */
static int csum_offset_of(const struct packet *p)
{
	switch (p->proto) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
		return 6;
	case IPPROTO_ICMP:
		return p->version == 4 ? 2 : -1;
	case IPPROTO_ICMPV6:
		return p->version == 6 ? 2 : -1;
	default:
		return -1;
	}
}

/** csum_right - verify the transport checksum; true where there is none to verify */
static bool csum_right(const struct packet *p)
{
	const uint8_t *t = p->data + p->l4;
	uint64_t sum = 0;

	if (csum_offset_of(p) < 0)
		return true;
	if (p->proto == IPPROTO_UDP && !get_be16(t + 6))
		return true; /* none was made; the parser lets that pass for IPv4 alone */
	if (p->proto != IPPROTO_ICMP)
		sum = csum_pseudo(&p->app.addr, &p->net.addr, p->proto, p->l4len);
	return csum_fold(csum_add(sum, t, p->l4len)) == 0xffff;
}

/** partial_fits - "complete the checksum here" points to the checksum and nowhere else */
static bool partial_fits(const struct packet *p, const struct virtio_net_hdr *vh)
{
	int offset = csum_offset_of(p);

	if (offset < 0)
		return (size_t)vh->csum_start + vh->csum_offset + 2 <= p->len;
	return vh->csum_start == p->l4 && vh->csum_offset == offset;
}

/* --- virtio-net header ---------------------------------------------------------- */

/** gso_fits - a packet said to be several is of the kind that is said */
static bool gso_fits(const struct packet *p, const struct virtio_net_hdr *vh)
{
	if (!vh->gso_size || !(vh->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return false;
	switch (vh->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return p->version == 4 && p->proto == IPPROTO_TCP;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return p->version == 6 && p->proto == IPPROTO_TCP;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return p->proto == IPPROTO_UDP &&
		       packet_payload_len(p) <= (size_t)UDP_SEGMENTS_MAX * vh->gso_size;
	default:
		return false;
	}
}

/** read_offload - fill in what the virtio-net header says of a whole packet */
static enum packet_drop read_offload(struct packet *p, const struct virtio_net_hdr *vh)
{
	if (vh->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (!partial_fits(p, vh))
			return PACKET_TRANSPORT;
		p->csum_trusted = true;
	} else if (vh->flags & VIRTIO_NET_HDR_F_DATA_VALID) {
		p->csum_trusted = true;
	}
	if (vh->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return PACKET_OK;
	if (!gso_fits(p, vh))
		return PACKET_TRANSPORT;
	p->gso_type = vh->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	p->gso_size = vh->gso_size;
	return PACKET_OK;
}

/* --- fragments ------------------------------------------------------------------ */

/** accept_whole - a reassembled datagram meets the same checks as one that came whole */
static enum front_result accept_whole(struct front *f, const struct reass_datagram *d,
				      struct packet *p, struct pktbuf **whole)
{
	enum packet_drop why = packet_parse(p, d->data, d->len);

	if (!why && p->is_frag)
		why = PACKET_FRAGMENT; /* fragments of fragments */
	if (!why && csum_right(p)) {
		f->stats.reassembled++;
		p->df = false;
		*whole = d->buf;
		return FRONT_PACKET;
	}
	pktbuf_put(d->buf);
	if (why)
		return drop(f, why);
	f->stats.bad_l4_csum++;
	return FRONT_DROPPED;
}

static enum front_result read_fragment(struct front *f, const struct virtio_net_hdr *vh,
				       uint64_t now, struct packet *p, struct pktbuf **whole)
{
	struct reass_datagram d;

	f->stats.fragments++;
	/* neither exists for a part of a datagram: nothing that the kernel made */
	if (vh->gso_type != VIRTIO_NET_HDR_GSO_NONE || vh->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return drop(f, PACKET_FRAGMENT);
	front_tick(f, now);
	switch (reass_add(f->reass, p, now, &d, &f->stats.reass_overflow)) {
	case REASS_HELD:
		return FRONT_HELD;
	case REASS_WHOLE:
		return accept_whole(f, &d, p, whole);
	case REASS_NOMEM:
		f->stats.reass_overflow++;
		return FRONT_DROPPED;
	case REASS_REFUSED:
	default:
		return drop(f, PACKET_FRAGMENT);
	}
}

/** say_time_exceeded - fragment reassembly time exceeded (RFC 792; RFC 4443, 3.3) */
static void say_time_exceeded(struct front *f, const struct packet *first)
{
	struct icmp_error e = {
		.from = first->net.addr,
		.type = first->version == 4 ? ICMP_TIME_EXCEEDED : ICMP6_TIME_EXCEEDED_TYPE,
		.code = ICMP_EXC_FRAGTIME,
	};

	icmp_send_error(f->sink, first, &e);
}

uint64_t front_tick(struct front *f, uint64_t now)
{
	struct reass_expired e;

	while (reass_expire(f->reass, now, &e)) {
		f->stats.reass_timeout++;
		if (e.first)
			say_time_exceeded(f, &e.packet);
	}
	return reass_next(f->reass);
}

bool front_waits(const struct front *f)
{
	return reass_next(f->reass) != 0;
}

/* --- the gate --------------------------------------------------------------------- */

enum front_result front_read(struct front *f, struct pktbuf *buf, size_t off, size_t len,
			     uint64_t now, struct packet *p, struct pktbuf **whole)
{
	struct virtio_net_hdr vh;
	enum packet_drop why;

	weir_assert(len <= PKTBUF_SIZE && off <= PKTBUF_SIZE - len);
	*whole = buf;
	f->stats.packets++;
	if (len < sizeof(vh))
		return drop(f, PACKET_SHORT);
	f->stats.bytes += len - sizeof(vh);
	memcpy(&vh, buf->data + off, sizeof(vh));
	why = packet_parse(p, buf->data + off + sizeof(vh), len - sizeof(vh));
	if (why)
		return drop(f, why);
	if (p->is_frag)
		return read_fragment(f, &vh, now, p, whole);
	why = read_offload(p, &vh);
	if (why)
		return drop(f, why);
	if (p->csum_trusted || csum_right(p))
		return FRONT_PACKET;
	f->stats.bad_l4_csum++;
	return FRONT_DROPPED;
}
