/* SPDX-License-Identifier: MIT */
/* hash: keyed (SipHash-1-3), so that a hostile peer cannot aim at one bucket. */
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/** struct hash_key - 128 bits from getrandom(2), drawn once per process */
struct hash_key {
	uint64_t k[2];
};

/** hash_key_random - returns 0 or -errno */
int hash_key_random(struct hash_key *key);
uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len);

#endif
