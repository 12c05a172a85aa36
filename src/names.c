/* SPDX-License-Identifier: MIT */
/*
 * names: two tables of one size, fixed at start.
 *
 * Addresses: hashed, each points to a name's slot and has an end of life; when the
 * table is full the least recently used one goes. Names: each slot counts who
 * refers to it, addresses and flows (names_hold()); it is free when nobody does.
 * The private part holds the counts; the text lies in memory shared with the
 * supervisor, guarded by a sequence number that is odd while it changes.
 *
 * The supervisor believes nothing that it reads there: text is copied,
 * terminated, and must consist of what dnsmsg.c writes.
 */
#include "names.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"

#define NONE	      0 /* links are 1 + index */
#define READ_TRIES    3 /* a writer needs well below 1 us; a crashed one never ends */
#define RCODE_NOERROR 0

/* struct shared_name - one slot of the shared part */
struct shared_name {
	_Atomic uint32_t seq;
	char text[NAMES_HOST_MAX];
};

struct slot {
	uint32_t refs; /* addresses and flows */
	uint32_t next; /* in its hash chain, or in the free list */
};

struct entry {
	struct addr addr;
	uint32_t slot; /* 1 + index, NONE = entry is free */
	uint64_t expires;
	uint32_t next;	       /* hash chain, or free list */
	uint32_t newer, older; /* by use */
};

struct names {
	uint32_t max, mask;
	struct hash_key key;
	struct shared_name *text;
	bool own_text;
	struct slot *slots;
	uint32_t *slot_hash, free_slot;
	struct entry *entries;
	uint32_t *entry_hash, free_entry, newest, oldest;
};

size_t names_shared_size(uint32_t max)
{
	return (size_t)max * sizeof(struct shared_name);
}

static void init_lists(struct names *n)
{
	uint32_t i;

	for (i = 0; i < n->max; i++) {
		n->slots[i].next = i + 1 < n->max ? i + 2 : NONE;
		n->entries[i].next = i + 1 < n->max ? i + 2 : NONE;
	}
	n->free_slot = n->free_entry = n->max ? 1 : NONE;
}

struct names *names_new(uint32_t max, void *shared)
{
	struct names *n = calloc(1, sizeof(*n));
	uint32_t buckets = 1;

	if (!n)
		return NULL;
	while (buckets < max)
		buckets *= 2;
	n->max = max;
	n->mask = buckets - 1;
	n->own_text = !shared;
	n->text = shared ? shared : calloc(max, sizeof(*n->text));
	n->slots = calloc(max, sizeof(*n->slots));
	n->entries = calloc(max, sizeof(*n->entries));
	n->slot_hash = calloc(buckets, sizeof(uint32_t));
	n->entry_hash = calloc(buckets, sizeof(uint32_t));
	if (!n->text || !n->slots || !n->entries || !n->slot_hash || !n->entry_hash ||
	    hash_key_random(&n->key)) {
		names_free(n);
		return NULL;
	}
	init_lists(n);
	return n;
}

void names_free(struct names *n)
{
	if (!n)
		return;
	if (n->own_text)
		free(n->text);
	free(n->slots);
	free(n->entries);
	free(n->slot_hash);
	free(n->entry_hash);
	free(n);
}

/* --- names -------------------------------------------------------------------- */

static uint32_t *slot_bucket(struct names *n, const char *text)
{
	return &n->slot_hash[hash_bytes(&n->key, text, strlen(text)) & n->mask];
}

static void slot_write(struct shared_name *s, const char *text)
{
	uint32_t seq = atomic_load_explicit(&s->seq, memory_order_relaxed) | 1;

	atomic_store_explicit(&s->seq, seq, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	str_copy(s->text, sizeof(s->text), text);
	atomic_store_explicit(&s->seq, seq + 1, memory_order_release);
}

/* slot_for - the slot of @text, existing or new; NONE when all are in use */
static uint32_t slot_for(struct names *n, const char *text)
{
	uint32_t *bucket = slot_bucket(n, text), s;

	for (s = *bucket; s; s = n->slots[s - 1].next)
		if (!strcmp(n->text[s - 1].text, text))
			return s;
	s = n->free_slot;
	if (!s)
		return NONE;
	n->free_slot = n->slots[s - 1].next;
	slot_write(&n->text[s - 1], text);
	n->slots[s - 1].next = *bucket;
	*bucket = s;
	return s;
}

static void slot_put(struct names *n, uint32_t s)
{
	uint32_t *link;

	weir_assert(n->slots[s - 1].refs > 0);
	if (--n->slots[s - 1].refs)
		return;
	link = slot_bucket(n, n->text[s - 1].text);
	while (*link != s)
		link = &n->slots[*link - 1].next;
	*link = n->slots[s - 1].next;
	n->slots[s - 1].next = n->free_slot;
	n->free_slot = s;
}

void names_hold(struct names *n, uint32_t slot)
{
	if (!slot || slot > n->max)
		return;
	weir_assert(n->slots[slot - 1].refs > 0);
	n->slots[slot - 1].refs++;
}

void names_drop(struct names *n, uint32_t slot)
{
	if (slot && slot <= n->max)
		slot_put(n, slot);
}

const char *names_text(const struct names *n, uint32_t slot)
{
	return slot && slot <= n->max ? n->text[slot - 1].text : "";
}

/* --- addresses ----------------------------------------------------------------- */

static uint32_t *entry_bucket(struct names *n, const struct addr *a)
{
	return &n->entry_hash[hash_bytes(&n->key, a, sizeof(*a)) & n->mask];
}

static void lru_unlink(struct names *n, struct entry *e)
{
	*(e->newer ? &n->entries[e->newer - 1].older : &n->newest) = e->older;
	*(e->older ? &n->entries[e->older - 1].newer : &n->oldest) = e->newer;
}

static void lru_link(struct names *n, struct entry *e)
{
	uint32_t id = (uint32_t)(e - n->entries) + 1;

	e->newer = NONE;
	e->older = n->newest;
	*(n->newest ? &n->entries[n->newest - 1].newer : &n->oldest) = id;
	n->newest = id;
}

static struct entry *entry_find(struct names *n, const struct addr *a)
{
	uint32_t id = *entry_bucket(n, a);

	while (id && !addr_equal(&n->entries[id - 1].addr, a))
		id = n->entries[id - 1].next;
	return id ? &n->entries[id - 1] : NULL;
}

static void entry_free(struct names *n, struct entry *e)
{
	uint32_t id = (uint32_t)(e - n->entries) + 1, *link = entry_bucket(n, &e->addr);

	while (*link != id)
		link = &n->entries[*link - 1].next;
	*link = e->next;
	lru_unlink(n, e);
	slot_put(n, e->slot);
	e->slot = NONE;
	e->next = n->free_entry;
	n->free_entry = id;
}

static struct entry *entry_new(struct names *n, const struct addr *a)
{
	uint32_t *bucket = entry_bucket(n, a), id;
	struct entry *e;

	if (!n->free_entry)
		entry_free(n, &n->entries[n->oldest - 1]);
	id = n->free_entry;
	e = &n->entries[id - 1];
	n->free_entry = e->next;
	e->addr = *a;
	e->next = *bucket;
	*bucket = id;
	lru_link(n, e);
	return e;
}

/* make_room - a slot for @text, at the cost of the least recently used addresses */
static uint32_t make_room(struct names *n, const char *text)
{
	uint32_t s = slot_for(n, text);

	while (!s && n->oldest) {
		entry_free(n, &n->entries[n->oldest - 1]);
		s = slot_for(n, text);
	}
	return s; /* NONE: flows hold them all */
}

static void learn_one(struct names *n, uint32_t slot, const struct dnsmsg_addr *a, uint64_t now)
{
	struct entry *e = entry_find(n, &a->addr);

	if (e)
		entry_free(n, e);
	e = entry_new(n, &a->addr);
	e->slot = slot;
	n->slots[slot - 1].refs++;
	e->expires = now + MAX(a->ttl, 1u) * NSEC_PER_SEC;
}

int names_learn(struct names *n, const uint8_t *msg, size_t len, uint64_t now)
{
	struct dnsmsg m;
	uint32_t slot;
	unsigned i;
	int err = dnsmsg_parse(msg, len, &m);

	if (err == -ENOENT)
		return 0;
	if (err)
		return err;
	if (m.rcode != RCODE_NOERROR || !m.n || !m.name[0])
		return 0;
	slot = make_room(n, m.name);
	if (!slot)
		return 0;
	n->slots[slot - 1].refs++; /* ours, while addresses come and go */
	for (i = 0; i < m.n; i++)
		learn_one(n, slot, &m.addrs[i], now);
	slot_put(n, slot);
	return (int)m.n;
}

uint32_t names_slot(struct names *n, const struct addr *a, uint64_t now)
{
	struct entry *e = entry_find(n, a);

	if (!e)
		return NONE;
	if (now >= e->expires) {
		entry_free(n, e);
		return NONE;
	}
	lru_unlink(n, e);
	lru_link(n, e);
	return e->slot;
}

/* --- the supervisor's side ------------------------------------------------------- */

static bool text_good(const char *p)
{
	for (; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-' ||
		      *p == '_' || *p == '.' || *p == '?'))
			return false;
	return true;
}

void names_text_at(const void *shared, uint32_t max, uint32_t slot, char out[NAMES_HOST_MAX])
{
	const struct shared_name *s = shared;
	unsigned tries;

	for (tries = 0; slot && slot <= max && tries < READ_TRIES; tries++) {
		uint32_t seq = atomic_load_explicit(&s[slot - 1].seq, memory_order_acquire);

		memcpy(out, s[slot - 1].text, NAMES_HOST_MAX);
		out[NAMES_HOST_MAX - 1] = '\0';
		atomic_thread_fence(memory_order_acquire);
		if (!(seq & 1) &&
		    seq == atomic_load_explicit(&s[slot - 1].seq, memory_order_relaxed) &&
		    text_good(out))
			return;
	}
	out[0] = '\0';
}
