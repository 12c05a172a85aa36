/* SPDX-License-Identifier: MIT */
#include "tally.h"

#include <string.h>

#define WINDOW 32

int tally_start(struct tally *t)
{
	int rc = hash_key_random(&t->keys[0]);

	return rc ? rc : hash_key_random(&t->keys[1]);
}

/** hash_of - 128 bits, so that no two keys meet by chance; the first half is never 0 */
static void hash_of(const struct tally *t, const void *key, size_t len, uint64_t h[2])
{
	h[0] = hash_bytes(&t->keys[0], key, len) | 1;
	h[1] = hash_bytes(&t->keys[1], key, len);
}

static size_t place(const uint64_t h[2], unsigned i)
{
	return (size_t)(h[1] + i) & (TALLY_SLOTS - 1);
}

static bool is(const struct tally_slot *s, const uint64_t h[2])
{
	return s->key[0] == h[0] && s->key[1] == h[1];
}

static bool is_free(const struct tally_slot *s, uint64_t now)
{
	return !s->key[0] || (s->until && s->until <= now);
}

struct tally_slot *tally_take(struct tally *t, const void *key, size_t len, uint64_t now)
{
	struct tally_slot *fresh = NULL;
	uint64_t h[2];

	hash_of(t, key, len, h);
	for (unsigned i = 0; i < WINDOW; i++) {
		struct tally_slot *s = &t->slots[place(h, i)];

		if (is(s, h))
			return s;
		if (!fresh && is_free(s, now))
			fresh = s;
	}
	if (fresh)
		*fresh = (struct tally_slot){.key = {h[0], h[1]}};
	return fresh;
}

const struct tally_slot *tally_find(const struct tally *t, const void *key, size_t len)
{
	uint64_t h[2];

	hash_of(t, key, len, h);
	for (unsigned i = 0; i < WINDOW; i++)
		if (is(&t->slots[place(h, i)], h))
			return &t->slots[place(h, i)];
	return NULL;
}

void tally_rule(const struct tally *t, const char *file, const char *text, uint64_t id[2])
{
	for (int i = 0; i < 2; i++) {
		const uint64_t both[2] = {hash_bytes(&t->keys[i], file, strlen(file)),
					  hash_bytes(&t->keys[i], text, strlen(text))};

		id[i] = hash_bytes(&t->keys[i], both, sizeof(both));
	}
}

void tally_free(struct tally_slot *s)
{
	memset(s, 0, sizeof(*s));
}
