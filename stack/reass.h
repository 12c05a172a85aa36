/* SPDX-License-Identifier: MIT */
/* reass: fragments to datagrams (RFC 791, RFC 8200, RFC 5722), bounded in bytes and time. */
#ifndef WEIR_STACK_REASS_H
#define WEIR_STACK_REASS_H

#include "packet.h"
#include "stack.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reass;

enum reass_result {
	REASS_HELD,    /* kept, or an exact duplicate of what is kept */
	REASS_WHOLE,   /* the datagram is complete */
	REASS_REFUSED, /* contradicts what came before: the datagram is lost */
	REASS_NOMEM,
};

/** struct reass_datagram - a whole datagram; @buf is the caller's to put */
struct reass_datagram {
	struct pktbuf *buf;
	uint8_t *data; /* the IP header, in buf->data */
	size_t len;
};

#define REASS_QUOTE_MAX 1232 /* RFC 4443, 2.4 (c): 1280 less the error's own headers */

/** struct reass_expired - a datagram that took too long */
struct reass_expired {
	bool first;	      /* its first fragment was here: @packet may be quoted */
	struct packet packet; /* view of @data: that fragment as it came, cut to what is quoted */
	uint8_t data[REASS_QUOTE_MAX];
};

/** reass_new - @bytes_max bounds all memory held; @timeout_ns is IPv4's, IPv6 has twice that */
struct reass *reass_new(size_t bytes_max, uint64_t timeout_ns);
void reass_free(struct reass *r);
/**
 * reass_add - one fragment, checked by packet_parse()
 * @evicted: datagrams that were given up to make room are added to it
 */
enum reass_result reass_add(struct reass *r, const struct packet *p, uint64_t now,
			    struct reass_datagram *whole, uint64_t *evicted);
/** reass_expire - take one datagram whose time is over; false when there is none */
bool reass_expire(struct reass *r, uint64_t now, struct reass_expired *e);
/** reass_next - when reass_expire() will have something to say; 0: nothing waits */
uint64_t reass_next(const struct reass *r);
/** reass_count - datagrams waiting */
unsigned reass_count(const struct reass *r);

#endif
