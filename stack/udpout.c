/* SPDX-License-Identifier: MIT */
/*
 * udpout: UDP answers to the program.
 *
 * A datagram goes out as one packet, also above the MTU: a TUN device takes it,
 * and only a kernel that has to forward it further cuts it, for which IPv4's DF
 * stays clear. Several datagrams of one size go out as one super-packet where
 * the device takes those, else one by one.
 *
 * Checksums are left partial: nothing lies between weir and the program's kernel
 * that could damage a byte, and a kernel that forwards completes them.
 */
#include "stack.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/util.h"
#include "csum.h"

#define UDP_HDR	     8
#define SEGMENTS_MAX 64 /* in a super-packet: what every kernel with UDP_SEGMENT takes */

static size_t headers(const struct udpout *d)
{
	return UDP_HDR + (addr_is_v4(&d->app.addr) ? 20U : 40U);
}

/** payload_max - the most bytes that one packet holds; IPv6 does not count its own header */
static size_t payload_max(const struct udpout *d)
{
	return 65535U - UDP_HDR - (addr_is_v4(&d->app.addr) ? 20U : 0U);
}

/** build_udp - the header, with the pseudo header's sum where the checksum goes */
static void build_udp(uint8_t *u, const struct udpout *d, size_t len)
{
	uint16_t l4len = (uint16_t)(UDP_HDR + len);
	uint16_t sum = csum_fold(csum_pseudo(&d->from.addr, &d->app.addr, IPPROTO_UDP, l4len));

	put_be16(u, d->from.port);
	put_be16(u + 2, d->app.port);
	put_be16(u + 4, l4len);
	memcpy(u + 6, &sum, sizeof(sum));
}

/** send_packet - @len bytes in one packet; several datagrams where that is over @d->gso_size */
static int send_packet(const struct stack_sink *sink, const struct udpout *d, const uint8_t *data,
		       size_t len, unsigned mtu)
{
	static uint16_t ident; /* of IPv4 packets that may be cut on their way */
	bool super = d->gso_size && len > d->gso_size;
	bool fits = (super ? d->gso_size : len) + headers(d) <= mtu;
	const struct ip_build b = {
		.from = d->from.addr,
		.to = d->app.addr,
		.proto = IPPROTO_UDP,
		.ttl = d->ttl,
		.tos = d->tos,
		.df = fits,
	};
	uint8_t hdr[PACKET_IP_MAX + UDP_HDR];
	size_t iplen = packet_build_ip(hdr, &b, UDP_HDR + len, fits ? 0 : ++ident);
	struct virtio_net_hdr vh = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = super ? VIRTIO_NET_HDR_GSO_UDP_L4 : VIRTIO_NET_HDR_GSO_NONE,
		.gso_size = super ? d->gso_size : 0,
		.hdr_len = (uint16_t)(iplen + UDP_HDR),
		.csum_start = (uint16_t)iplen,
		.csum_offset = 6,
	};
	union { /* writev(2) takes what it only reads as not const */
		const void *in;
		void *out;
	} body = {.in = data};
	const struct iovec iov[2] = {{hdr, iplen + UDP_HDR}, {body.out, len}};

	build_udp(hdr + iplen, d, len);
	return sink->write(sink->ctx, &vh, iov, len ? 2 : 1);
}

int udpout_send(const struct stack_sink *sink, const struct udpout *d, bool uso, unsigned mtu)
{
	size_t max = payload_max(d), step = d->gso_size ? d->gso_size : d->len, done = 0;
	int err = 0;

	if (step > max)
		return -EMSGSIZE;
	if (uso && d->gso_size)
		step *= MIN(max / step, (size_t)SEGMENTS_MAX);
	do {
		size_t len = MIN(step, d->len - done);
		int rc = send_packet(sink, d, (const uint8_t *)d->data + done, len, mtu);

		/* one that is lost does not take the others along */
		err = err ? err : rc;
		done += len;
	} while (done < d->len);
	return err;
}
