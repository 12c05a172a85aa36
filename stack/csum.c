/* SPDX-License-Identifier: MIT */
/*
 * The Internet checksum (RFC 1071).
 *
 * One's complement addition does not care how wide the words are, nor for the
 * byte order as long as sum and packet agree on it: so eight bytes are added at
 * a time as they stand in memory, the carry is added back, and only the end is
 * folded to 16 bits. Four sums side by side keep the carries of one from
 * waiting for those of another.
 */
#include "csum.h"

#include <arpa/inet.h>
#include <string.h>

static inline uint64_t add_carry(uint64_t sum, uint64_t v)
{
	sum += v;
	return sum + (sum < v);
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/** add_tail - the last 0 to 7 bytes; an odd one is padded with a zero behind it */
static uint64_t add_tail(uint64_t sum, const uint8_t *p, size_t len)
{
	uint64_t v = 0;

	memcpy(&v, p, len);
	return add_carry(sum, v);
}

uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t s0 = sum, s1 = 0, s2 = 0, s3 = 0;

	for (; len >= 64; len -= 64, p += 64) {
		s0 = add_carry(s0, load64(p));
		s1 = add_carry(s1, load64(p + 8));
		s2 = add_carry(s2, load64(p + 16));
		s3 = add_carry(s3, load64(p + 24));
		s0 = add_carry(s0, load64(p + 32));
		s1 = add_carry(s1, load64(p + 40));
		s2 = add_carry(s2, load64(p + 48));
		s3 = add_carry(s3, load64(p + 56));
	}
	sum = add_carry(add_carry(s0, s1), add_carry(s2, s3));
	for (; len >= 8; len -= 8, p += 8)
		sum = add_carry(sum, load64(p));
	return len ? add_tail(sum, p, len) : sum;
}

uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

uint64_t csum_pseudo(const struct addr *from, const struct addr *to, uint8_t proto, uint32_t l4len)
{
	/* 16-bit length of IPv4 and 32-bit length of IPv6 add up to the same */
	uint64_t sum = (uint64_t)htonl(l4len) + htons(proto);
	bool v4 = addr_is_v4(to);

	sum = csum_add(sum, v4 ? addr_v4_bytes(from) : from->b, v4 ? 4 : 16);
	return csum_add(sum, v4 ? addr_v4_bytes(to) : to->b, v4 ? 4 : 16);
}
