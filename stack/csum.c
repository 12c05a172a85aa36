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
	uint64_t s[4] = {sum, 0, 0, 0};

	for (; len >= 64; len -= 64, p += 64) {
		for (int i = 0; i < 4; i++) {
			s[i] = add_carry(s[i], load64(p + 8 * i));
			s[i] = add_carry(s[i], load64(p + 32 + 8 * i));
		}
	}
	sum = add_carry(add_carry(s[0], s[1]), add_carry(s[2], s[3]));
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
