/* SPDX-License-Identifier: MIT */
/*
 * owner_cache: the worker's copies of struct owner, counted by the flows that
 * refer to them. The supervisor sends each owner before the first answer that
 * names it, and again once OWNER_CACHE_RECENT others were sent since: both sides
 * count alike, so neither asks.
 */
#ifndef WEIR_OWNER_CACHE_H
#define WEIR_OWNER_CACHE_H

#include "owner.h"

#define OWNER_CACHE_RECENT 4096

struct owner_cache;

struct owner_cache *owner_cache_new(void);
void owner_cache_free(struct owner_cache *c);
/** owner_cache_add - a copy of @o, among the recent ones now; 0 or -ENOMEM */
int owner_cache_add(struct owner_cache *c, const struct owner *o);
/** owner_cache_hold - the owner with this id, or NULL; to be given back by owner_cache_drop() */
const struct owner *owner_cache_hold(struct owner_cache *c, uint32_t id);
void owner_cache_drop(struct owner_cache *c, const struct owner *o);

/** struct owner_sent - the sender's side of the same rule */
struct owner_sent {
	uint32_t ring[OWNER_CACHE_RECENT];
	uint32_t next;
};

/** owner_sent_known - true when the receiver has @id; else notes that it is sent now */
bool owner_sent_known(struct owner_sent *s, uint32_t id);

#endif
