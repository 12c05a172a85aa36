/* SPDX-License-Identifier: MIT */
/*
 * For each family the ranges, in order and joined where they touch, and a tree above them that
 * leads to the few that an address could be in.
 *
 * A node takes six bits of the address. Two maps of 64 bits say what each of its slots is: empty,
 * all of it in the set, a deeper node, or a bucket, a row of at most BUCKET_MAX ranges that is
 * searched one by one. Nodes and buckets of one node lie side by side, so that a slot's place is
 * the number of its kind before it.
 *
 *	a b	slot
 *	0 0	empty
 *	0 1	full
 *	1 0	node
 *	1 1	bucket
 *
 * So a search takes one node for six bits, as far as the addresses nearby differ, and a bucket: of
 * a million IPv4 addresses three or four nodes.
 */
#include "prefixset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define PREFIXSET_MAGIC 0x50534557U /* "WESP" */
#define STRIDE		6
#define SLOTS		(1U << STRIDE)
#define BUCKET_MAX	8
#define RANGES_MIN	64
#define V4		0
#define V6		1

typedef unsigned __int128 u128;

/** struct range - addresses as numbers; of IPv4 32 bits */
struct range {
	u128 lo, hi;
};

/* what is in an image: no number in it needs more than 8-alignment */
struct stored_v4 {
	uint32_t lo, hi;
};

struct stored_v6 {
	uint64_t lo[2], hi[2]; /* upper half first */
};

struct node {
	uint64_t a, b;
	uint32_t nodes, buckets; /* the first of each that is below this one */
};

struct bucket {
	uint32_t first, n; /* ranges */
};

struct tree_head {
	uint32_t nodes, buckets, ranges, pad;
};

struct prefixset_head {
	uint32_t magic, pad;
	struct tree_head tree[2];
};

struct list {
	struct range *v;
	uint32_t n, room;
};

struct prefixset_build {
	struct list list[2];
};

static const size_t stored_size[2] = {sizeof(struct stored_v4), sizeof(struct stored_v6)};
static const unsigned tree_bits[2] = {32, 128};

static u128 join(uint64_t upper, uint64_t lower)
{
	return (u128)upper << 64 | lower;
}

static u128 number_of(const struct addr *a)
{
	const uint8_t *b = a->b;

	if (addr_is_v4(a))
		return get_be32(addr_v4_bytes(a));
	return join((uint64_t)get_be32(b) << 32 | get_be32(b + 4),
		    (uint64_t)get_be32(b + 8) << 32 | get_be32(b + 12));
}

/* --- text ---------------------------------------------------------------------------------- */

/** range_of_prefix - the first and the last address of @p */
static void range_of_prefix(const struct prefix *p, struct prefixset_range *out)
{
	unsigned bits = p->bits + (addr_is_v4(&p->addr) ? 96U : 0U);

	*out = (struct prefixset_range){p->addr, p->addr};
	for (unsigned i = bits; i < 128; i++) {
		uint8_t bit = (uint8_t)(0x80 >> i % 8);

		out->lo.b[i / 8] &= (uint8_t)~bit;
		out->hi.b[i / 8] |= bit;
	}
}

int prefixset_parse(const char *text, size_t len, struct prefixset_range *out)
{
	char copy[2 * ADDR_STRLEN];
	struct prefix p;
	char *dash;

	if (len >= sizeof(copy) || memchr(text, 0, len))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = 0;
	dash = strchr(copy, '-');
	if (!dash) {
		if (prefix_parse(copy, &p))
			return -EINVAL;
		range_of_prefix(&p, out);
		return 0;
	}
	*dash = 0;
	if (addr_parse(copy, &out->lo) || addr_parse(dash + 1, &out->hi) ||
	    addr_is_v4(&out->lo) != addr_is_v4(&out->hi))
		return -EINVAL;
	return memcmp(out->lo.b, out->hi.b, sizeof(out->lo.b)) > 0 ? -EINVAL : 0;
}

/* --- ranges ---------------------------------------------------------------------------------- */

struct prefixset_build *prefixset_build_new(void)
{
	return calloc(1, sizeof(struct prefixset_build));
}

void prefixset_build_free(struct prefixset_build *b)
{
	if (!b)
		return;
	free(b->list[V4].v);
	free(b->list[V6].v);
	free(b);
}

int prefixset_build_add(struct prefixset_build *b, const struct prefixset_range *r)
{
	bool v4 = addr_is_v4(&r->lo);
	struct list *l = &b->list[v4 ? V4 : V6];
	struct range *grown;

	if (addr_is_v4(&r->hi) != v4 || number_of(&r->lo) > number_of(&r->hi))
		return -EINVAL;
	if (l->n == l->room) {
		if (l->room > UINT32_MAX / 2)
			return -E2BIG;
		grown = reallocarray(l->v, MAX(2 * l->room, RANGES_MIN), sizeof(*l->v));
		if (!grown)
			return -ENOMEM;
		l->v = grown;
		l->room = MAX(2 * l->room, RANGES_MIN);
	}
	l->v[l->n++] = (struct range){number_of(&r->lo), number_of(&r->hi)};
	return 0;
}

static int by_lo(const void *va, const void *vb)
{
	const struct range *a = va, *b = vb;

	return a->lo < b->lo ? -1 : a->lo > b->lo;
}

/** list_join - in order, and one range for those that overlap or touch */
static void list_join(struct list *l)
{
	uint32_t n = 0;

	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_lo);
	for (uint32_t i = 0; i < l->n; i++) {
		struct range r = l->v[i];

		if (n && (r.lo <= l->v[n - 1].hi || r.lo - 1 == l->v[n - 1].hi))
			l->v[n - 1].hi = MAX(l->v[n - 1].hi, r.hi);
		else
			l->v[n++] = r;
	}
	l->n = n;
}

/* --- the tree ----------------------------------------------------------------------------------
 */

/** struct planting - a tree while it is made; @nodes and @buckets are owned */
struct planting {
	const struct list *list;
	unsigned bits; /* of an address */
	struct node *nodes;
	struct bucket *buckets;
	uint32_t n_nodes, room_nodes, n_buckets, room_buckets;
};

/** grow - room for @more at the end of an array that has @n of @room; @n stays as it is */
static int grow(void **array, size_t size, uint32_t n, uint32_t *room, uint32_t more)
{
	uint64_t want = (uint64_t)n + more, new_room = MAX(*room, (uint32_t)SLOTS);
	void *grown;

	if (want > UINT32_MAX / 2)
		return -E2BIG;
	while (new_room < want)
		new_room *= 2;
	if (*array && new_room == *room)
		return 0;
	grown = reallocarray(*array, new_room, size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*room = (uint32_t)new_room;
	return 0;
}

static int nodes_reserve(struct planting *t, uint32_t more)
{
	void *array = t->nodes;
	int rc = grow(&array, sizeof(*t->nodes), t->n_nodes, &t->room_nodes, more);

	t->nodes = array;
	return rc;
}

static int buckets_reserve(struct planting *t, uint32_t more)
{
	void *array = t->buckets;
	int rc = grow(&array, sizeof(*t->buckets), t->n_buckets, &t->room_buckets, more);

	t->buckets = array;
	return rc;
}

/** struct part - of the ranges, those that a slot has to do with */
struct part {
	uint32_t first, n;
};

/** struct split - a node's slots: @left: how many bits of an address are below each */
struct split {
	u128 base;
	unsigned left;
	uint64_t a, b;
	struct part part[SLOTS];
};

/** split_range - look at each slot of a node for the addresses from @base, @bits of them open */
static void split_range(const struct planting *t, struct split *s, u128 base, unsigned bits,
			struct part in)
{
	const struct range *r = t->list->v;
	uint32_t at = in.first, end = in.first + in.n;

	*s = (struct split){.base = base, .left = bits > STRIDE ? bits - STRIDE : 0};
	for (unsigned i = 0; i < 1U << (bits - s->left); i++) {
		u128 lo = base + ((u128)i << s->left), hi = lo + (((u128)1 << s->left) - 1);
		uint32_t k;

		while (at < end && r[at].hi < lo)
			at++;
		if (at == end || r[at].lo > hi)
			continue;
		if (r[at].lo <= lo && r[at].hi >= hi) {
			s->b |= 1ULL << i;
			continue;
		}
		for (k = at; k < end && r[k].lo <= hi; k++)
			;
		s->part[i] = (struct part){at, k - at};
		s->a |= 1ULL << i;
		if (k - at <= BUCKET_MAX)
			s->b |= 1ULL << i;
	}
}

/** plant - make node @self and all below it; as deep as an address has strides */
static int plant(struct planting *t, uint32_t self, u128 base, unsigned bits, struct part in)
{
	uint32_t first = t->n_nodes;
	struct split s;
	int rc;

	split_range(t, &s, base, bits, in);
	t->nodes[self] = (struct node){s.a, s.b, first, t->n_buckets};
	rc = nodes_reserve(t, (uint32_t)__builtin_popcountll(s.a & ~s.b));
	if (!rc)
		rc = buckets_reserve(t, (uint32_t)__builtin_popcountll(s.a & s.b));
	if (rc)
		return rc;
	t->n_nodes += (uint32_t)__builtin_popcountll(s.a & ~s.b);
	for (unsigned i = 0; i < SLOTS; i++)
		if (s.a & s.b & 1ULL << i)
			t->buckets[t->n_buckets++] = (struct bucket){s.part[i].first, s.part[i].n};
	for (unsigned i = 0; i < SLOTS && !rc; i++)
		if (s.a & ~s.b & 1ULL << i)
			rc = plant(t, first++, base + ((u128)i << s.left), s.left, s.part[i]);
	return rc;
}

static int tree_make(struct planting *t, const struct list *l, unsigned family)
{
	int rc;

	*t = (struct planting){.list = l, .bits = tree_bits[family]};
	rc = nodes_reserve(t, 1);
	if (rc)
		return rc;
	t->n_nodes = 1;
	return plant(t, 0, 0, t->bits, (struct part){0, l->n});
}

static void tree_free(struct planting *t)
{
	free(t->nodes);
	free(t->buckets);
}

/* --- the image -----------------------------------------------------------------------------------
 */

/** struct tree - one taken apart */
struct tree {
	const struct tree_head *head;
	const struct node *nodes;
	const struct bucket *buckets;
	const void *ranges;
};

/** tree_size - in an image; the parts are multiples of 8 bytes */
static uint64_t tree_size(const struct tree_head *h, unsigned family)
{
	return h->nodes * (uint64_t)sizeof(struct node) +
	       h->buckets * (uint64_t)sizeof(struct bucket) +
	       h->ranges * (uint64_t)stored_size[family];
}

static struct tree tree_open(const struct prefixset_head *h, unsigned family)
{
	const char *at = (const char *)(h + 1);
	struct tree t = {.head = &h->tree[family]};

	if (family == V6)
		at += tree_size(&h->tree[V4], V4);
	t.nodes = (const struct node *)(const void *)at;
	t.buckets = (const struct bucket *)(t.nodes + t.head->nodes);
	t.ranges = t.buckets + t.head->buckets;
	return t;
}

static char *put(char *at, const void *data, size_t size)
{
	if (size)
		memcpy(at, data, size);
	return at + size;
}

static char *put_tree(char *at, const struct planting *t)
{
	at = put(at, t->nodes, t->n_nodes * sizeof(*t->nodes));
	at = put(at, t->buckets, t->n_buckets * sizeof(*t->buckets));
	for (uint32_t i = 0; i < t->list->n; i++) {
		const struct range *r = &t->list->v[i];
		struct stored_v4 v4 = {(uint32_t)r->lo, (uint32_t)r->hi};
		struct stored_v6 v6 = {{(uint64_t)(r->lo >> 64), (uint64_t)r->lo},
				       {(uint64_t)(r->hi >> 64), (uint64_t)r->hi}};

		at = t->bits == 32 ? put(at, &v4, sizeof(v4)) : put(at, &v6, sizeof(v6));
	}
	return at;
}

static int image_make(const struct planting trees[2], void **image, size_t *size)
{
	struct prefixset_head h = {.magic = PREFIXSET_MAGIC};
	char *at;

	*size = sizeof(h);
	for (unsigned f = V4; f <= V6; f++) {
		h.tree[f] = (struct tree_head){.nodes = trees[f].n_nodes,
					       .buckets = trees[f].n_buckets,
					       .ranges = trees[f].list->n};
		*size += tree_size(&h.tree[f], f);
	}
	*image = at = malloc(*size);
	if (!at)
		return -ENOMEM;
	at = put(at, &h, sizeof(h));
	at = put_tree(at, &trees[V4]);
	put_tree(at, &trees[V6]);
	return 0;
}

int prefixset_build_image(struct prefixset_build *b, void **image, size_t *size)
{
	struct planting trees[2] = {{.nodes = NULL}, {.nodes = NULL}};
	int rc = 0;

	for (unsigned f = V4; f <= V6 && !rc; f++) {
		list_join(&b->list[f]);
		rc = tree_make(&trees[f], &b->list[f], f);
	}
	if (!rc)
		rc = image_make(trees, image, size);
	tree_free(&trees[V4]);
	tree_free(&trees[V6]);
	return rc;
}

/* --- asking -------------------------------------------------------------------------------------
 */

bool prefixset_check(const void *image, size_t size)
{
	const struct prefixset_head *h = image;

	return size >= sizeof(*h) && h->magic == PREFIXSET_MAGIC &&
	       size - sizeof(*h) == tree_size(&h->tree[V4], V4) + tree_size(&h->tree[V6], V6);
}

uint32_t prefixset_entries(const void *image)
{
	const struct prefixset_head *h = image;

	return h->tree[V4].ranges + h->tree[V6].ranges;
}

static struct range range_at(const struct tree *t, unsigned family, uint32_t i)
{
	const struct stored_v4 *v4 = t->ranges;
	const struct stored_v6 *v6 = t->ranges;

	if (family == V4)
		return (struct range){v4[i].lo, v4[i].hi};
	return (struct range){join(v6[i].lo[0], v6[i].lo[1]), join(v6[i].hi[0], v6[i].hi[1])};
}

/** bucket_has - bounds are those of the image */
static bool bucket_has(const struct tree *t, unsigned family, uint32_t at, u128 x)
{
	uint32_t n, first;

	if (at >= t->head->buckets)
		return false;
	n = MIN(t->buckets[at].n, (uint32_t)BUCKET_MAX);
	first = t->buckets[at].first;
	for (uint32_t i = first; i < t->head->ranges && i - first < n; i++) {
		struct range r = range_at(t, family, i);

		if (x < r.lo)
			return false;
		if (x <= r.hi)
			return true;
	}
	return false;
}

bool prefixset_has(const void *image, const struct addr *addr)
{
	unsigned family = addr_is_v4(addr) ? V4 : V6, left = tree_bits[family], bits;
	struct tree t = tree_open(image, family);
	u128 x = number_of(addr);
	uint32_t at = 0;

	for (; left; left -= bits) {
		const struct node *n = &t.nodes[at];
		uint64_t slot, before;

		bits = MIN(left, (unsigned)STRIDE);
		if (at >= t.head->nodes)
			return false;
		slot = 1ULL << ((unsigned)(x >> (left - bits)) & ((1U << bits) - 1));
		before = slot - 1;
		if (!(n->a & slot))
			return n->b & slot;
		if (n->b & slot)
			return bucket_has(
				&t, family,
				n->buckets + (uint32_t)__builtin_popcountll(n->a & n->b & before),
				x);
		at = n->nodes + (uint32_t)__builtin_popcountll(n->a & ~n->b & before);
	}
	return false;
}
