/* SPDX-License-Identifier: MIT */
/*
 * names: which host name a program had in mind for an address, learnt from
 * the DNS answers it received (RFC 1035; CNAME chains followed to the name that
 * was asked for; the smallest TTL of the chain counts, at least 1 s).
 */
#ifndef WEIR_NAMES_H
#define WEIR_NAMES_H

#include "base/addr.h"

#include <stddef.h>
#include <stdint.h>

#define NAMES_HOST_MAX 256

struct names;

/**
 * names_new - room for @max names; @shared: names_shared_size() bytes of shared
 * memory that the supervisor reads by slot, or NULL
 */
struct names *names_new(uint32_t max, void *shared);
void names_free(struct names *n);
size_t names_shared_size(uint32_t max);
/** names_learn - read one DNS message (hostile bytes); returns addresses learnt, or -EBADMSG */
int names_learn(struct names *n, const uint8_t *msg, size_t len, uint64_t now);
/** names_slot - 1 + slot of the name for @a, 0 when none is known or its TTL is over */
uint32_t names_slot(struct names *n, const struct addr *a, uint64_t now);
/** names_hold - keep a slot's text while a flow refers to it; names_drop() ends that */
void names_hold(struct names *n, uint32_t slot);
void names_drop(struct names *n, uint32_t slot);
const char *names_text(const struct names *n, uint32_t slot);
/** names_text_at - the same from the shared memory; always terminated, checked; "" when bad */
void names_text_at(const void *shared, uint32_t max, uint32_t slot, char out[NAMES_HOST_MAX]);

/* --- the reader itself (fuzzed) --------------------------------------------- */

struct dnsmsg_addr {
	struct addr addr;
	uint32_t ttl;
};

struct dnsmsg {
	char name[NAMES_HOST_MAX]; /* QNAME, lower case, no trailing dot; odd bytes as '?' */
	uint16_t qtype;
	uint8_t rcode;
	unsigned n;
	struct dnsmsg_addr addrs[32]; /* of QNAME or of the end of its CNAME chain */
};

/** dnsmsg_parse - an answer; returns 0, -EBADMSG, or -ENOENT when it is not an answer */
int dnsmsg_parse(const uint8_t *msg, size_t len, struct dnsmsg *out);

#endif
