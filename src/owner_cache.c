/* SPDX-License-Identifier: MIT */
#include "owner_cache.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define BUCKETS 1024 /* ids are handed out in turn: no hash needed */

struct entry {
	struct owner owner;
	struct entry *next;
	unsigned refs; /* flows, and one while it is among the recent */
};

struct owner_cache {
	struct entry *buckets[BUCKETS];
	struct entry *recent[OWNER_CACHE_RECENT];
	uint32_t next;
};

struct owner_cache *owner_cache_new(void)
{
	return calloc(1, sizeof(struct owner_cache));
}

static void put(struct owner_cache *c, struct entry *e)
{
	struct entry **p = &c->buckets[e->owner.id % BUCKETS];

	if (--e->refs)
		return;
	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	free(e);
}

void owner_cache_free(struct owner_cache *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		while (c->buckets[i]) {
			struct entry *e = c->buckets[i];

			c->buckets[i] = e->next;
			free(e);
		}
	}
	free(c);
}

static struct entry *find(const struct owner_cache *c, uint32_t id)
{
	struct entry *e = c->buckets[id % BUCKETS];

	while (e && e->owner.id != id)
		e = e->next;
	return e;
}

int owner_cache_add(struct owner_cache *c, const struct owner *o)
{
	struct entry *e = find(c, o->id), **slot = &c->recent[c->next % OWNER_CACHE_RECENT];

	if (!e) {
		e = calloc(1, sizeof(*e));
		if (!e)
			return -ENOMEM;
		e->owner = *o;
		e->next = c->buckets[o->id % BUCKETS];
		c->buckets[o->id % BUCKETS] = e;
	}
	e->refs++;
	if (*slot)
		put(c, *slot);
	*slot = e;
	c->next++;
	return 0;
}

const struct owner *owner_cache_hold(struct owner_cache *c, uint32_t id)
{
	struct entry *e = id ? find(c, id) : NULL;

	if (!e)
		return NULL;
	e->refs++;
	return &e->owner;
}

void owner_cache_drop(struct owner_cache *c, const struct owner *o)
{
	if (o)
		put(c, find(c, o->id));
}

bool owner_sent_known(struct owner_sent *s, uint32_t id)
{
	for (unsigned i = 0; i < OWNER_CACHE_RECENT && i < s->next; i++) {
		if (s->ring[(s->next - 1 - i) % OWNER_CACHE_RECENT] == id)
			return true;
	}
	s->ring[s->next++ % OWNER_CACHE_RECENT] = id;
	return false;
}
