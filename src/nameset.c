/* SPDX-License-Identifier: MIT */
/*
 * An image is a head, a table of slots, and a pool of entries one behind the other:
 *
 *	slot:	place of the entry in the pool + 1 (0: free), upper half of its hash
 *	entry:	length (2 bytes), ENTRY_* (1 byte), text
 *
 * Collisions go to the next slot. At most three of four slots are used, and a search compares text
 * only where the halves of the hashes agree, so it mostly costs one look into the table. A host
 * name needs one for itself and one for each of its parents that has as many labels as some entry
 * that stands for the names below it.
 */
#include "nameset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define NAMESET_MAGIC 0x4e534557U /* "WESN" */
#define NAME_MAX_LEN  253
#define LABEL_MAX     63
#define ENTRY_HEAD    3
#define POOL_MIN      4096
#define SLOTS_MIN     8

/* what an entry stands for */
#define ENTRY_SELF  1
#define ENTRY_BELOW 2

struct slot {
	uint32_t entry, tag;
};

/**
 * struct nameset_head - begins an image
 * @mask: number of slots (a power of two) less one
 * @self_labels, @below_labels: bit N: an entry of N labels stands for itself, for those below it
 */
struct nameset_head {
	uint32_t magic, kind;
	struct hash_key key;
	uint64_t self_labels, below_labels;
	uint32_t mask, entries;
	uint64_t pool_size;
};

/** struct nameset_build - @pool: owned; entries in the order they came, some perhaps twice */
struct nameset_build {
	struct nameset_head head;
	uint8_t *pool;
	size_t room;
	uint32_t added;
};

struct nameset_build *nameset_build_new(enum nameset_kind kind, const struct hash_key *key)
{
	struct nameset_build *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->head = (struct nameset_head){.magic = NAMESET_MAGIC, .kind = kind, .key = *key};
	return b;
}

void nameset_build_free(struct nameset_build *b)
{
	if (!b)
		return;
	free(b->pool);
	free(b);
}

/* --- names ------------------------------------------------------------------------------- */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/** is_host_byte - what names are made of in practice: more than RFC 952 has, nothing else */
static bool is_host_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/** host_copy - @name in small letters, without its final dot, in @out (NAME_MAX_LEN); its length,
 * or 0: too long, or nothing is left */
static size_t host_copy(char *out, const char *name, size_t len)
{
	len -= len && name[len - 1] == '.';
	if (len > NAME_MAX_LEN)
		return 0;
	for (size_t i = 0; i < len; i++)
		out[i] = lower(name[i]);
	return len;
}

/** host_is_name - labels of 1 to 63 bytes, with dots between them; the last one is no number */
static bool host_is_name(const char *name, size_t len)
{
	size_t label = 0;
	bool number = true;

	for (size_t i = 0; i < len; i++) {
		if (name[i] == '.') {
			if (!label)
				return false;
			label = 0;
			number = true;
		} else if (!is_host_byte(name[i]) || ++label > LABEL_MAX) {
			return false;
		} else {
			number = number && name[i] >= '0' && name[i] <= '9';
		}
	}
	return label && !number;
}

static uint64_t labels_bit(unsigned labels)
{
	return 1ULL << MIN(labels, 63U);
}

static unsigned count_labels(const char *name, size_t len)
{
	unsigned n = 1;

	for (size_t i = 0; i < len; i++)
		n += name[i] == '.';
	return n;
}

/* --- building ------------------------------------------------------------------------------ */

static int pool_reserve(struct nameset_build *b, size_t more)
{
	size_t want = b->head.pool_size + more, room = MAX(b->room, (size_t)POOL_MIN);
	uint8_t *grown;

	if (want >= UINT32_MAX)
		return -E2BIG;
	if (want <= b->room)
		return 0;
	while (room < want)
		room *= 2;
	grown = realloc(b->pool, room);
	if (!grown)
		return -ENOMEM;
	b->pool = grown;
	b->room = room;
	return 0;
}

static int pool_add(struct nameset_build *b, const char *text, size_t len, uint8_t what)
{
	uint16_t n = (uint16_t)len;
	int rc = pool_reserve(b, ENTRY_HEAD + len);
	uint8_t *e;

	if (rc)
		return rc;
	e = b->pool + b->head.pool_size;
	memcpy(e, &n, sizeof(n));
	e[2] = what;
	memcpy(e + ENTRY_HEAD, text, len);
	b->head.pool_size += ENTRY_HEAD + len;
	b->added++;
	return 0;
}

/** struct host - an entry, as it is kept */
struct host {
	char text[NAME_MAX_LEN];
	size_t len;
	uint8_t what;
};

static int host_parse(struct host *h, const char *name, size_t len)
{
	h->what = ENTRY_SELF;
	if (len > 1 && name[0] == '.') {
		h->what = ENTRY_SELF | ENTRY_BELOW;
		name++;
		len--;
	} else if (len > 2 && name[0] == '*' && name[1] == '.') {
		h->what = ENTRY_BELOW;
		name += 2;
		len -= 2;
	}
	h->len = host_copy(h->text, name, len);
	return host_is_name(h->text, h->len) ? 0 : -EINVAL;
}

bool nameset_is_host(const char *name, size_t len)
{
	struct host h;

	return !host_parse(&h, name, len);
}

static int add_host(struct nameset_build *b, const char *name, size_t len)
{
	uint64_t labels;
	struct host h;

	if (host_parse(&h, name, len))
		return -EINVAL;
	labels = labels_bit(count_labels(h.text, h.len));
	if (h.what & ENTRY_SELF)
		b->head.self_labels |= labels;
	if (h.what & ENTRY_BELOW)
		b->head.below_labels |= labels;
	return pool_add(b, h.text, h.len, h.what);
}

int nameset_build_add(struct nameset_build *b, const char *name, size_t len)
{
	if (b->head.kind == NAMESET_HOSTS)
		return add_host(b, name, len);
	if (!len || len > NAMESET_TEXT_MAX)
		return -EINVAL;
	return pool_add(b, name, len, ENTRY_SELF);
}

/* --- the table ----------------------------------------------------------------------------- */

/** struct image - one taken apart */
struct image {
	const struct nameset_head *head;
	const struct slot *slots;
	const uint8_t *pool;
};

static struct image image_open(const void *image)
{
	const struct nameset_head *h = image;
	const struct slot *slots = (const struct slot *)(h + 1);

	return (struct image){h, slots, (const uint8_t *)(slots + h->mask + 1)};
}

/** entry_is - does the entry at @at of the pool have this text? Bounds are those of the pool */
static bool entry_is(const struct image *m, uint32_t at, const char *text, size_t len)
{
	uint16_t n;

	if (at + (uint64_t)ENTRY_HEAD > m->head->pool_size)
		return false;
	memcpy(&n, m->pool + at, sizeof(n));
	return n == len && at + (uint64_t)ENTRY_HEAD + n <= m->head->pool_size &&
	       !memcmp(m->pool + at + ENTRY_HEAD, text, len);
}

/**
 * find - the slot of @text, or the free one where it belongs; NULL: neither, which a table of
 * ours never is
 */
static const struct slot *find(const struct image *m, const char *text, size_t len, uint32_t *tag)
{
	uint64_t hash = hash_bytes(&m->head->key, text, len);

	*tag = (uint32_t)(hash >> 32);
	for (uint32_t n = 0; n <= m->head->mask; n++) {
		const struct slot *s = &m->slots[(hash + n) & m->head->mask];

		if (!s->entry || (s->tag == *tag && entry_is(m, s->entry - 1, text, len)))
			return s;
	}
	return NULL;
}

/** fill - put all entries of the pool into the table; entries that are there twice become one */
static void fill(struct nameset_head *h)
{
	struct image m = image_open(h);
	struct slot *slots = (struct slot *)(h + 1);
	uint8_t *pool = (uint8_t *)(slots + h->mask + 1);

	for (uint32_t at = 0; at < h->pool_size;) {
		uint32_t tag;
		uint16_t len;
		struct slot *s;

		memcpy(&len, pool + at, sizeof(len));
		s = slots + (find(&m, (const char *)pool + at + ENTRY_HEAD, len, &tag) - m.slots);
		if (s->entry)
			pool[s->entry - 1 + 2] |= pool[at + 2];
		else
			*s = (struct slot){at + 1, tag};
		h->entries += s->entry == at + 1;
		at += (uint32_t)(ENTRY_HEAD + len);
	}
}

int nameset_build_image(const struct nameset_build *b, void **image, size_t *size)
{
	uint64_t slots = SLOTS_MIN;
	struct nameset_head *h;

	while (slots / 4 * 3 < b->added)
		slots *= 2;
	if (slots > (uint64_t)UINT32_MAX + 1)
		return -E2BIG;
	*size = sizeof(*h) + slots * sizeof(struct slot) + b->head.pool_size;
	h = calloc(1, *size);
	if (!h)
		return -ENOMEM;
	*h = b->head;
	h->mask = (uint32_t)(slots - 1);
	if (h->pool_size)
		memcpy((struct slot *)(h + 1) + slots, b->pool, h->pool_size);
	fill(h);
	*image = h;
	return 0;
}

/* --- asking ---------------------------------------------------------------------------------- */

bool nameset_check(const void *image, size_t size)
{
	const struct nameset_head *h = image;
	uint64_t slots;

	if (size < sizeof(*h) || h->magic != NAMESET_MAGIC || h->kind > NAMESET_TEXTS)
		return false;
	slots = (uint64_t)h->mask + 1;
	if (slots & h->mask)
		return false;
	size -= sizeof(*h);
	return size / sizeof(struct slot) >= slots &&
	       size - slots * sizeof(struct slot) == h->pool_size;
}

uint32_t nameset_entries(const void *image)
{
	return ((const struct nameset_head *)image)->entries;
}

static bool has_entry(const struct image *m, const char *text, size_t len, uint8_t what)
{
	uint32_t tag;
	const struct slot *s = find(m, text, len, &tag);

	return s && s->entry && m->pool[s->entry - 1 + 2] & what;
}

static bool has_host(const struct image *m, const char *name, size_t len)
{
	char text[NAME_MAX_LEN];
	unsigned labels;

	len = host_copy(text, name, len);
	if (!len)
		return false;
	labels = count_labels(text, len);
	if (m->head->self_labels & labels_bit(labels) && has_entry(m, text, len, ENTRY_SELF))
		return true;
	for (size_t i = 0; i < len; i++) {
		if (text[i] != '.')
			continue;
		labels--;
		if (m->head->below_labels & labels_bit(labels) &&
		    has_entry(m, text + i + 1, len - i - 1, ENTRY_BELOW))
			return true;
	}
	return false;
}

bool nameset_has(const void *image, const char *name, size_t len)
{
	struct image m = image_open(image);

	if (m.head->kind == NAMESET_HOSTS)
		return has_host(&m, name, len);
	return len && has_entry(&m, name, len, ENTRY_SELF);
}
