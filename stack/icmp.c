/* SPDX-License-Identifier: MIT */
/*
 * icmp: what weir says to a program's kernel in the name of others: resets for
 * segments without a connection, errors, echo replies.
 *
 * Errors follow the rules for hosts and routers alike (RFC 1122 3.2.2, RFC 1812
 * 4.3.2, RFC 4443 2.4): never about an error, about any but the first fragment,
 * or about what was sent to a group; and they quote the packet they are about,
 * by which the kernel finds the socket.
 *
 * Which error makes Linux report which errno is in two tables below. For IPv4
 * the codes are those that Linux calls fatal, because a connected UDP socket
 * does not hear of the others ("network" and "host unreachable", 0 and 1)
 * without IP_RECVERR, while on the direct path it gets the errno from send()
 * itself. IPv6 has no fatal code for those two, so there a connected UDP socket
 * stays without the errno; connect() of TCP hears of all codes in both families.
 * Errors that come from the network are not made here: they keep type and code.
 *
 * All packets leave with complete checksums and an empty virtio-net header.
 */
#include "stack.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "base/util.h"
#include "csum.h"

#define OUR_TTL	     64
#define ERROR_TOS    0xc0 /* RFC 1812, 4.3.2.5: internetwork control */
#define TOS_DSCP     0xfc
#define ICMP_HDR     8
#define QUOTE_V4_MAX 548  /* 576 bytes with the error's own headers */
#define QUOTE_V6_MAX 1232 /* 1280 */

/** send_l4 - IP header around @iov[1..], whose first part has its checksum at @csum_at */
static void send_l4(const struct stack_sink *sink, const struct ip_build *b, struct iovec *iov,
		    int n, size_t csum_at)
{
	static const struct virtio_net_hdr plain;
	uint8_t hdr[PACKET_IP_MAX];
	uint8_t *l4 = iov[1].iov_base;
	uint64_t sum = 0;
	size_t len = 0;
	uint16_t field;

	for (int i = 1; i < n; i++)
		len += iov[i].iov_len;
	if (b->proto != IPPROTO_ICMP)
		sum = csum_pseudo(&b->from, &b->to, b->proto, (uint32_t)len);
	put_be16(l4 + csum_at, 0);
	for (int i = 1; i < n; i++)
		sum = csum_add(sum, iov[i].iov_base, iov[i].iov_len);
	field = (uint16_t)~csum_fold(sum);
	memcpy(l4 + csum_at, &field, sizeof(field));
	iov[0].iov_base = hdr;
	iov[0].iov_len = packet_build_ip(hdr, b, len, 0);
	sink->write(sink->ctx, &plain, iov, n); /* as on any link, it may be lost */
}

/** to_group - nobody answers to these */
static bool to_group(const struct packet *p)
{
	return addr_is_multicast(&p->net.addr) || addr_is_broadcast(&p->net.addr);
}

/* --- resets -------------------------------------------------------------------- */

void icmp_reset_tcp(const struct stack_sink *sink, const struct packet *p)
{
	const struct ip_build b = {
		.from = p->net.addr,
		.to = p->app.addr,
		.proto = IPPROTO_TCP,
		.ttl = OUR_TTL,
		.tos = p->tos & TOS_DSCP,
		.df = true,
	};
	uint32_t seglen = (uint32_t)packet_payload_len(p);
	uint8_t t[20] = {0};
	struct iovec iov[2] = {[1] = {t, sizeof(t)}};

	if (p->tcp.flags & TCPF_RST || to_group(p))
		return;
	put_be16(t, p->net.port);
	put_be16(t + 2, p->app.port);
	t[12] = 5 << 4;
	if (p->tcp.flags & TCPF_ACK) {
		put_be32(t + 4, p->tcp.ack);
		t[13] = TCPF_RST;
	} else {
		seglen += !!(p->tcp.flags & TCPF_SYN) + !!(p->tcp.flags & TCPF_FIN);
		put_be32(t + 8, p->tcp.seq + seglen);
		t[13] = TCPF_RST | TCPF_ACK;
	}
	send_l4(sink, &b, iov, 2, 16);
}

/* --- which error ---------------------------------------------------------------- */

/**
 * struct errno_map - @err is what the kernel makes of @type and @code
 * @exact: false: it makes something else, and this is the nearest
 */
struct errno_map {
	int err;
	uint8_t type, code;
	bool exact;
};

/* The first entry is for everything that is not listed. */
static const struct errno_map errno_v4[] = {
	{0, ICMP_DEST_UNREACH, ICMP_HOST_ANO, false},
	{ENETUNREACH, ICMP_DEST_UNREACH, ICMP_NET_UNKNOWN, true},
	{EHOSTUNREACH, ICMP_DEST_UNREACH, ICMP_HOST_ANO, true},
	{ENOPROTOOPT, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, true},
	{ECONNREFUSED, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, true},
	{EMSGSIZE, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, true},
	{EOPNOTSUPP, ICMP_DEST_UNREACH, ICMP_SR_FAILED, true},
	{EHOSTDOWN, ICMP_DEST_UNREACH, ICMP_HOST_UNKNOWN, true},
	{ENONET, ICMP_DEST_UNREACH, ICMP_HOST_ISOLATED, true},
	{EPROTO, ICMP_PARAMETERPROB, 0, true},
	{ENETDOWN, ICMP_DEST_UNREACH, ICMP_NET_UNKNOWN, false},
	{EACCES, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, false},
	{EPERM, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, false},
};

static const struct errno_map errno_v6[] = {
	{0, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADDR, false},
	{ENETUNREACH, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOROUTE, true},
	{EACCES, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN, true},
	{EHOSTUNREACH, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADDR, true},
	{ECONNREFUSED, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOPORT, true},
	{EMSGSIZE, ICMP6_PACKET_TOO_BIG, 0, true},
	{EPROTO, ICMP6_PARAM_PROB, ICMP6_PARAMPROB_HEADER, true},
	{ENOPROTOOPT, ICMP6_PARAM_PROB, ICMP6_PARAMPROB_NEXTHEADER, false},
	{ENETDOWN, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOROUTE, false},
	{EPERM, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN, false},
};

bool icmp_error_for_errno(int err, const struct addr *dest, uint32_t mtu, struct icmp_error *e)
{
	bool v4 = addr_is_v4(dest);
	const struct errno_map *map = v4 ? errno_v4 : errno_v6, *m = map;
	size_t n = v4 ? ARRAY_SIZE(errno_v4) : ARRAY_SIZE(errno_v6);

	for (size_t i = 1; i < n; i++)
		if (map[i].err == err)
			m = &map[i];
	*e = (struct icmp_error){
		.from = *dest,
		.type = m->type,
		.code = m->code,
		.info = err == EMSGSIZE ? mtu : 0,
	};
	return m->exact;
}

/* --- errors ---------------------------------------------------------------------- */

/** is_icmp_error - of a whole packet or of a first fragment that holds the type */
static bool is_icmp_error(const struct packet *p)
{
	uint8_t type;

	if (p->proto != (p->version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return false;
	if (!p->l4len)
		return true; /* cannot tell */
	type = p->data[p->l4];
	if (p->version == 6)
		return type < 128 || type == ND_REDIRECT;
	return type == ICMP_DEST_UNREACH || type == ICMP_SOURCE_QUENCH || type == ICMP_REDIRECT ||
	       type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB;
}

/** put_info - the second word of the header, where the type has something to put there */
static void put_info(uint8_t *icmp, bool v4, const struct icmp_error *e)
{
	if (!v4)
		put_be32(icmp + 4, e->info);
	else if (e->type == ICMP_DEST_UNREACH && e->code == ICMP_FRAG_NEEDED)
		put_be16(icmp + 6, (uint16_t)MIN(e->info, 65535U));
}

/** send_error - @quote is cut to what the family allows; from and to are of one family */
static void send_error(const struct stack_sink *sink, const struct addr *net,
		       const struct addr *app, const struct icmp_error *e, uint8_t *quote,
		       size_t len)
{
	bool v4 = addr_is_v4(app);
	bool usable = addr_is_v4(&e->from) == v4 && !addr_is_unspecified(&e->from);
	const struct ip_build b = {
		.from = usable ? e->from : *net,
		.to = *app,
		.proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.ttl = OUR_TTL,
		.tos = v4 ? ERROR_TOS : 0,
		.df = true,
	};
	uint8_t icmp[ICMP_HDR] = {e->type, e->code};
	struct iovec iov[3] = {
		[1] = {icmp, sizeof(icmp)},
		[2] = {quote, MIN(len, (size_t)(v4 ? QUOTE_V4_MAX : QUOTE_V6_MAX))},
	};

	put_info(icmp, v4, e);
	send_l4(sink, &b, iov, 3, 2);
}

/** quote_one - make the quoted super-packet's headers those of one of its datagrams */
static void quote_one(const struct packet *p, uint8_t *quote, size_t len)
{
	size_t l4len = 8U + p->gso_size;
	uint16_t sum;

	if (p->gso_type != VIRTIO_NET_HDR_GSO_UDP_L4 || p->l4len <= l4len || len < p->l4 + 8U)
		return;
	put_be16(quote + p->l4 + 4, (uint16_t)l4len);
	if (p->version == 6) {
		put_be16(quote + 4, (uint16_t)(p->l4 - 40 + l4len));
		return;
	}
	put_be16(quote + 2, (uint16_t)(p->l4 + l4len));
	put_be16(quote + 10, 0);
	sum = (uint16_t)~csum_fold(csum_add(0, quote, p->l4));
	memcpy(quote + 10, &sum, sizeof(sum));
}

void icmp_send_error(const struct stack_sink *sink, const struct packet *p,
		     const struct icmp_error *e)
{
	uint8_t quote[QUOTE_V6_MAX];
	size_t len = MIN(p->len, sizeof(quote));

	if ((p->is_frag && p->frag_off) || to_group(p) || is_icmp_error(p))
		return;
	/* a super-packet stands for several: the quote is of the first */
	if (p->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4)
		len = MIN(len, (size_t)p->l4 + 8 + p->gso_size);
	memcpy(quote, p->data, len);
	quote_one(p, quote, len);
	send_error(sink, &p->net.addr, &p->app.addr, e, quote, len);
}

/** make_l4 - a transport header of 8 bytes in @h; returns how much of @payload stands in it */
static size_t make_l4(uint8_t *h, uint8_t proto, uint16_t app_port, uint16_t net_port,
		      uint16_t ident, const void *payload, size_t len)
{
	size_t taken = 0;

	memset(h, 0, 8);
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		taken = MIN(len, (size_t)8);
		if (taken)
			memcpy(h, payload, taken);
		h[0] = proto == IPPROTO_ICMP ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
		put_be16(h + 4, ident);
		return taken;
	}
	put_be16(h, app_port);
	put_be16(h + 2, net_port);
	if (proto == IPPROTO_UDP)
		put_be16(h + 4, (uint16_t)(8 + len));
	return 0;
}

void icmp_send_error_tuple(const struct stack_sink *sink, uint8_t proto, const struct addrport *app,
			   const struct addrport *net, uint16_t ident, const void *payload,
			   size_t len, const struct icmp_error *e)
{
	const struct ip_build b = {
		.from = app->addr,
		.to = net->addr,
		.proto = proto,
		.ttl = OUR_TTL,
	};
	uint8_t quote[QUOTE_V6_MAX];
	size_t at, n, taken;

	if (addr_is_multicast(&net->addr) || addr_is_broadcast(&net->addr))
		return;
	len = MIN(len, (size_t)65507);
	at = addr_is_v4(&net->addr) ? 20 : 40;
	taken = make_l4(quote + at, proto, app->port, net->port, ident, payload, len);
	packet_build_ip(quote, &b, 8 + len - taken, 0);
	at += 8;
	n = MIN(len - taken, sizeof(quote) - at);
	if (n)
		memcpy(quote + at, (const uint8_t *)payload + taken, n);
	send_error(sink, &net->addr, &app->addr, e, quote, at + n);
}

/* --- echo ------------------------------------------------------------------------- */

void icmp_send_echo_reply(const struct stack_sink *sink, const struct addr *from,
			  const struct addr *app, uint16_t ident, uint16_t seqno, uint8_t ttl,
			  uint8_t tos, const void *payload, size_t len)
{
	bool v4 = addr_is_v4(app);
	const struct ip_build b = {
		.from = *from,
		.to = *app,
		.proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.ttl = ttl,
		.tos = tos,
	};
	uint8_t icmp[ICMP_HDR] = {v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY};
	union { /* writev(2) takes what it only reads as not const */
		const void *in;
		void *out;
	} body = {.in = payload};
	struct iovec iov[3] = {[1] = {icmp, sizeof(icmp)}, [2] = {body.out, len}};

	if (len > 65535U - ICMP_HDR - (v4 ? 20 : 0))
		return; /* no packet holds it, so no peer has sent it */
	put_be16(icmp + 4, ident);
	put_be16(icmp + 6, seqno);
	send_l4(sink, &b, iov, 3, 2);
}
