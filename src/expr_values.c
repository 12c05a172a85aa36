/* SPDX-License-Identifier: MIT */
/*
 * expr_values: the values of a comparison in the compiled form, and whether one is among them.
 *
 * Numbers and addresses are sorted ranges that do not overlap, found by halving. Texts are found
 * by length while there are few, else by hash. Nobody chooses a set to attack it with: it is
 * the user's own, so the hash has no key.
 */
#include "expr_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* --- numbers ----------------------------------------------------------------------- */

static int compare_ranges(const void *a, const void *b)
{
	const struct expr_range *x = a, *y = b;

	return (x->lo > y->lo) - (x->lo < y->lo);
}

/** merge_ranges - sort, and make one of those that overlap; returns how many are left */
static uint32_t merge_ranges(struct expr_range *r, uint32_t n)
{
	uint32_t kept = 0;

	qsort(r, n, sizeof(*r), compare_ranges);
	for (uint32_t i = 1; i < n; i++) {
		if (r[i].lo <= r[kept].hi)
			r[kept].hi = MAX(r[kept].hi, r[i].hi);
		else
			r[++kept] = r[i];
	}
	return kept + 1;
}

int expr_values_ranges(struct expr_build *b, enum expr_field f, struct expr_node *n)
{
	struct expr_range one, *r;
	uint32_t at;
	int rc = expr_pool_add(b, b->n_value * sizeof(*r), &at);

	for (uint32_t i = 0; !rc && i < b->n_value; i++) {
		rc = expr_literal_range(b, f, &b->value[i], &one);
		if (!rc)
			memcpy(b->pool + at + i * sizeof(one), &one, sizeof(one));
	}
	if (rc)
		return rc;
	r = (struct expr_range *)(void *)(b->pool + at);
	n->kind = EXPR_N_RANGES;
	n->values.at = at;
	n->values.n = merge_ranges(r, b->n_value);
	if (n->values.n == 1) {
		n->kind = EXPR_N_RANGE;
		n->range = r[0];
	}
	return 0;
}

bool expr_ranges_have(const struct expr_range *r, uint32_t n, uint64_t v)
{
	while (n > 1) { /* the last one that begins at or before v is the only candidate */
		const uint32_t half = n / 2;

		if (r[half].lo <= v) {
			r += half;
			n -= half;
		} else {
			n = half;
		}
	}
	return v >= r->lo && v <= r->hi;
}

/* --- addresses --------------------------------------------------------------------- */

static int compare_addrs(const void *a, const void *b)
{
	const struct expr_addr_range *x = a, *y = b;
	const bool x4 = addr_is_v4(&x->lo), y4 = addr_is_v4(&y->lo);

	return x4 != y4 ? y4 - x4 : memcmp(&x->lo, &y->lo, sizeof(x->lo));
}

/** merge_addrs - as merge_ranges(), in each family, and count these */
static void merge_addrs(struct expr_addrs *a, uint32_t n)
{
	struct expr_addr_range *r = a->range;
	uint32_t kept = 0;

	qsort(r, n, sizeof(*r), compare_addrs);
	for (uint32_t i = 1; i < n; i++) {
		const bool same_family = addr_is_v4(&r[i].lo) == addr_is_v4(&r[kept].lo);

		if (!same_family || memcmp(&r[i].lo, &r[kept].hi, sizeof(r->lo)) > 0)
			r[++kept] = r[i];
		else if (memcmp(&r[i].hi, &r[kept].hi, sizeof(r->hi)) > 0)
			r[kept].hi = r[i].hi;
	}
	for (uint32_t i = 0; i <= kept; i++) {
		a->n4 += addr_is_v4(&r[i].lo);
		a->n6 += !addr_is_v4(&r[i].lo);
	}
}

int expr_values_addrs(struct expr_build *b, enum expr_field f, struct expr_node *n)
{
	struct expr_addr_range one;
	struct expr_addrs *a;
	uint32_t at;
	int rc = expr_pool_add(b, sizeof(*a) + b->n_value * sizeof(one), &at);

	for (uint32_t i = 0; !rc && i < b->n_value; i++) {
		rc = expr_literal_addrs(b, f, &b->value[i], &one);
		if (!rc)
			memcpy(b->pool + at + sizeof(*a) + i * sizeof(one), &one, sizeof(one));
	}
	if (rc)
		return rc;
	n->kind = EXPR_N_ADDRS;
	n->values.at = at;
	merge_addrs((struct expr_addrs *)(void *)(b->pool + at), b->n_value);
	return 0;
}

bool expr_addrs_have(const struct expr_addrs *a, const struct addr *v)
{
	const bool v4 = addr_is_v4(v);
	const struct expr_addr_range *r = v4 ? a->range : a->range + a->n4;
	uint32_t n = v4 ? a->n4 : a->n6;

	if (!n)
		return false;
	while (n > 1) {
		const uint32_t half = n / 2;

		if (memcmp(&r[half].lo, v, sizeof(*v)) <= 0) {
			r += half;
			n -= half;
		} else {
			n = half;
		}
	}
	return memcmp(v, &r->lo, sizeof(*v)) >= 0 && memcmp(v, &r->hi, sizeof(*v)) <= 0;
}

/** shared_bits - the number of leading bits that @a and @b share, of 128 */
static int shared_bits(const struct addr *a, const struct addr *b)
{
	for (int i = 0; i < 16; i++)
		if (a->b[i] != b->b[i])
			return i * 8 + __builtin_clz((unsigned)(a->b[i] ^ b->b[i])) - 24;
	return 128;
}

int expr_addr_prefix(const struct addr *lo, const struct addr *hi)
{
	const int bits = shared_bits(lo, hi);

	for (int i = bits; i < 128; i++) {
		const unsigned bit = 0x80U >> i % 8;

		if ((lo->b[i / 8] & bit) || !(hi->b[i / 8] & bit))
			return -1;
	}
	return addr_is_v4(lo) ? bits - 96 : bits;
}

/* --- texts ------------------------------------------------------------------------- */

#define FEW 8 /* are compared one by one */

/** slots_of - they follow the spans */
static uint32_t *slots_of(struct expr_texts *t)
{
	return (uint32_t *)(void *)&t->span[t->n];
}

/** hash_text - FNV-1a of what @s is when compared */
static uint32_t hash_text(bool fold, const char *s, size_t len)
{
	uint32_t h = 2166136261U;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)(fold ? expr_lower(s[i]) : s[i])) * 16777619U;
	return h ^ h >> 15;
}

/** same_text - @kept is in lower case if @fold */
static bool same_text(bool fold, const char *kept, const char *s, size_t len)
{
	if (!fold)
		return !memcmp(kept, s, len);
	for (size_t i = 0; i < len; i++)
		if (kept[i] != expr_lower(s[i]))
			return false;
	return true;
}

static bool is_span(const uint8_t *pool, const struct expr_span *span, bool fold, const char *s,
		    size_t len)
{
	return span->len == len && same_text(fold, (const char *)pool + span->at, s, len);
}

bool expr_texts_have(const uint8_t *pool, uint32_t at, bool fold, const char *s, size_t len)
{
	const struct expr_texts *t = (const struct expr_texts *)(const void *)(pool + at);
	const uint32_t *slot = (const uint32_t *)(const void *)&t->span[t->n];

	if (!t->slots) {
		for (uint32_t i = 0; i < t->n; i++)
			if (is_span(pool, &t->span[i], fold, s, len))
				return true;
		return false;
	}
	for (uint32_t i = hash_text(fold, s, len);; i++) {
		const uint32_t found = slot[i & (t->slots - 1)];

		if (!found)
			return false;
		if (is_span(pool, &t->span[found - 1], fold, s, len))
			return true;
	}
}

/** slots_for - a power of two, at most half full; 0 where no hash is worth it */
static uint32_t slots_for(uint32_t n)
{
	return n <= FEW ? 0 : 2U << (32 - __builtin_clz(n - 1));
}

static int compare_texts(const uint8_t *pool, const struct expr_span *x, const struct expr_span *y)
{
	const int c = memcmp(pool + x->at, pool + y->at, MIN(x->len, y->len));

	return c ? c : (x->len > y->len) - (x->len < y->len);
}

static int compare_spans(const void *a, const void *b, void *pool)
{
	return compare_texts(pool, a, b);
}

/** fill_slots - the hash of all texts, each of them once */
static void fill_slots(const uint8_t *pool, struct expr_texts *t)
{
	uint32_t *slot = slots_of(t);

	for (uint32_t k = 0; t->slots && k < t->n; k++) {
		const struct expr_span *s = &t->span[k];
		uint32_t i = hash_text(false, (const char *)pool + s->at, s->len);

		while (slot[i & (t->slots - 1)])
			i++;
		slot[i & (t->slots - 1)] = k + 1;
	}
}

/** finish_texts - sort, leave out doubles, and index */
static void finish_texts(const uint8_t *pool, struct expr_texts *t)
{
	uint32_t kept = 0;

	qsort_r(t->span, t->n, sizeof(t->span[0]), compare_spans, (void *)(uintptr_t)pool);
	for (uint32_t i = 1; i < t->n; i++)
		if (compare_texts(pool, &t->span[kept], &t->span[i]) != 0)
			t->span[++kept] = t->span[i];
	t->n = kept + 1;
	t->slots = slots_for(t->n);
	memset(slots_of(t), 0, t->slots * sizeof(uint32_t));
	fill_slots(pool, t);
}

int expr_values_texts(struct expr_build *b, enum expr_field f, struct expr_node *n)
{
	const size_t spans = b->n_value * sizeof(struct expr_span);
	struct expr_texts *t;
	struct expr_span span;
	uint32_t at;
	size_t len;
	char *text;
	int rc = expr_pool_add(b, sizeof(*t) + spans + slots_for(b->n_value) * sizeof(uint32_t),
			       &at);

	for (uint32_t i = 0; !rc && i < b->n_value; i++) {
		rc = expr_literal_text(b, f, &b->value[i], &text, &len);
		if (!rc)
			rc = expr_pool_text(b, text, len, &span.at);
		if (rc)
			break;
		span.len = (uint32_t)len;
		memcpy(b->pool + at + sizeof(*t) + i * sizeof(span), &span, sizeof(span));
	}
	if (rc)
		return rc;
	t = (struct expr_texts *)(void *)(b->pool + at);
	t->n = b->n_value;
	finish_texts(b->pool, t);
	n->kind = EXPR_N_TEXTS;
	n->values.at = at;
	n->values.n = t->n;
	return 0;
}
