/* SPDX-License-Identifier: MIT */
/* An image is a head and ranges in order, none of which touch: asked by halving. */
#include "numset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define NUMSET_MAGIC 0x55534557U /* "WESU" */
#define RANGES_MIN   16

struct range {
	uint64_t lo, hi;
};

struct numset_head {
	uint32_t magic, n;
};

struct numset_build {
	struct range *v; /* owned */
	uint32_t n, room;
};

/** parse_one - the number that *@text starts with; *@text is then behind it */
static int parse_one(const char **text, const char *end, uint64_t *out)
{
	const char *p = *text;

	*out = 0;
	for (; p < end && *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*out, 10, out) ||
		    __builtin_add_overflow(*out, (uint64_t)(*p - '0'), out))
			return -EINVAL;
	if (p == *text)
		return -EINVAL;
	*text = p;
	return 0;
}

int numset_parse(const char *text, size_t len, uint64_t *lo, uint64_t *hi)
{
	const char *end = text + len;

	if (parse_one(&text, end, lo))
		return -EINVAL;
	*hi = *lo;
	if (text < end && *text == '-') {
		text++;
		if (parse_one(&text, end, hi))
			return -EINVAL;
	}
	return text != end || *lo > *hi ? -EINVAL : 0;
}

struct numset_build *numset_build_new(void)
{
	return calloc(1, sizeof(struct numset_build));
}

void numset_build_free(struct numset_build *b)
{
	if (!b)
		return;
	free(b->v);
	free(b);
}

int numset_build_add(struct numset_build *b, uint64_t lo, uint64_t hi)
{
	uint32_t room = MAX(2 * b->room, RANGES_MIN);
	struct range *grown;

	if (lo > hi)
		return -EINVAL;
	if (b->n == b->room) {
		if (b->room > UINT32_MAX / 2)
			return -E2BIG;
		grown = reallocarray(b->v, room, sizeof(*b->v));
		if (!grown)
			return -ENOMEM;
		b->v = grown;
		b->room = room;
	}
	b->v[b->n++] = (struct range){lo, hi};
	return 0;
}

static int by_lo(const void *va, const void *vb)
{
	const struct range *a = va, *b = vb;

	return a->lo < b->lo ? -1 : a->lo > b->lo;
}

int numset_build_image(struct numset_build *b, void **image, size_t *size)
{
	struct numset_head *h;
	uint32_t n = 0;

	if (b->n)
		qsort(b->v, b->n, sizeof(*b->v), by_lo);
	for (uint32_t i = 0; i < b->n; i++) {
		struct range r = b->v[i];

		if (n && (r.lo <= b->v[n - 1].hi || r.lo - 1 == b->v[n - 1].hi))
			b->v[n - 1].hi = MAX(b->v[n - 1].hi, r.hi);
		else
			b->v[n++] = r;
	}
	b->n = n;
	*size = sizeof(*h) + n * sizeof(*b->v);
	*image = h = malloc(*size);
	if (!h)
		return -ENOMEM;
	*h = (struct numset_head){NUMSET_MAGIC, n};
	if (n)
		memcpy(h + 1, b->v, n * sizeof(*b->v));
	return 0;
}

bool numset_check(const void *image, size_t size)
{
	const struct numset_head *h = image;

	return size >= sizeof(*h) && h->magic == NUMSET_MAGIC &&
	       size - sizeof(*h) == h->n * (uint64_t)sizeof(struct range);
}

uint32_t numset_entries(const void *image)
{
	return ((const struct numset_head *)image)->n;
}

bool numset_has(const void *image, uint64_t number)
{
	const struct numset_head *h = image;
	const struct range *v = (const struct range *)(h + 1);
	uint32_t lo = 0, hi = h->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (number < v[mid].lo)
			hi = mid;
		else if (number > v[mid].hi)
			lo = mid + 1;
		else
			return true;
	}
	return false;
}
