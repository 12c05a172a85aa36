/* SPDX-License-Identifier: MIT */
/*
 * Community ID 1.0, seed 0: SHA-1 over the 5-tuple in an order that does not
 * depend on the direction, so that other tools' records of the same flow match.
 * An echo has its type and the type of its answer in place of ports; a protocol
 * without ports has none in the sum. SCTP has them, but weir does not carry it and so
 * does not read them: without ports the identifier would be another one than everybody
 * else's, so there is none.
 */
#include "record.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/util.h"

#define ECHO4_REQUEST 8
#define ECHO4_REPLY   0
#define ECHO6_REQUEST 128
#define ECHO6_REPLY   129

struct end {
	const uint8_t *addr;
	size_t len;
	uint16_t port;
};

static struct end end_of(const struct addrport *ap, bool v4)
{
	return (struct end){v4 ? addr_v4_bytes(&ap->addr) : ap->addr.b, v4 ? 4 : 16, ap->port};
}

static size_t put_end(uint8_t *at, const struct end *e)
{
	memcpy(at, e->addr, e->len);
	return e->len;
}

static bool is_echo(uint8_t proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

static bool has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || is_echo(proto);
}

/** order_ends - the smaller one first, whoever began */
static void order_ends(struct end *a, struct end *b)
{
	int order = memcmp(a->addr, b->addr, a->len);
	struct end swap;

	if (order > 0 || (!order && a->port > b->port)) {
		swap = *a;
		*a = *b;
		*b = swap;
	}
}

void record_community_id(const struct flow_rec *f, char out[32])
{
	bool v4 = addr_is_v4(&f->app.addr) && addr_is_v4(&f->net.addr);
	struct end a = end_of(&f->app, v4), b = end_of(&f->net, v4);
	uint8_t text[2 + 16 + 16 + 2 + 4] = {0}, digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	size_t n = 2;

	out[0] = '\0';
	if (f->proto == IPPROTO_SCTP)
		return;
	if (is_echo(f->proto)) {
		a.port = f->proto == IPPROTO_ICMP ? ECHO4_REQUEST : ECHO6_REQUEST;
		b.port = f->proto == IPPROTO_ICMP ? ECHO4_REPLY : ECHO6_REPLY;
	}
	order_ends(&a, &b);
	n += put_end(text + n, &a);
	n += put_end(text + n, &b);
	text[n] = f->proto;
	n += 2;
	if (has_ports(f->proto)) {
		put_be16(text + n, a.port);
		put_be16(text + n + 2, b.port);
		n += 4;
	}
	if (EVP_Digest(text, n, digest, &len, EVP_sha1(), NULL) != 1 || len != 20)
		return;
	memcpy(out, "1:", 3);
	EVP_EncodeBlock((unsigned char *)out + 2, digest, (int)len);
}
