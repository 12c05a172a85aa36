/* SPDX-License-Identifier: MIT */
/*
 * tally: counters by key: what rules were credited with, what is used of quotas, how many flows
 * a limit has let in.
 *
 * In memory that the supervisor shares, so that they outlive a worker: one worker writes, the
 * supervisor reads, each 64-bit number being whole. A key has a window of WINDOW slots in which it
 * may lie, so a slot that nobody needs any more can be given away without a second thought.
 */
#ifndef WEIR_TALLY_H
#define WEIR_TALLY_H

#include "base/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TALLY_SLOTS 262144 /* a power of two; pages that no key falls into cost nothing */

/**
 * struct tally_slot - @key 0: free
 * @until: when it may be given away (monotonic ns), 0: never
 * @hits, @up, @down: of a rule; a quota uses @up (bytes of both directions), a limit @hits
 */
struct tally_slot {
	uint64_t key[2];
	uint64_t until;
	uint64_t hits, up, down;
};

struct tally {
	struct hash_key keys[2];
	struct tally_slot slots[TALLY_SLOTS];
};

/** tally_start - zeroed memory becomes a table; 0 or -errno */
int tally_start(struct tally *t);
/** tally_take - the slot of @key, a fresh one where there was none; NULL: no room in its window */
struct tally_slot *tally_take(struct tally *t, const void *key, size_t len, uint64_t now);
/** tally_find - the same, or NULL: there is none. Only reads */
const struct tally_slot *tally_find(const struct tally *t, const void *key, size_t len);
/** tally_rule - who a rule is, also in the next ruleset: its file and text */
void tally_rule(const struct tally *t, const char *file, const char *text, uint64_t id[2]);
/** tally_free - nobody needs @s any more */
void tally_free(struct tally_slot *s);

#endif
