/* SPDX-License-Identifier: MIT */
#include "regions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static unsigned bits_of(const struct prefix *p)
{
	return p->bits + (addr_is_v4(&p->addr) ? 96U : 0U);
}

/** fill_host_bits - @a with all bits past the first @bits set to @one */
static struct addr fill_host_bits(struct addr a, unsigned bits, bool one)
{
	unsigned i;

	for (i = bits / 8; i < sizeof(a.b); i++) {
		uint8_t mask = i == bits / 8 ? (uint8_t)(0xff >> bits % 8) : 0xff;

		a.b[i] = one ? a.b[i] | mask : (uint8_t)(a.b[i] & ~mask);
	}
	return a;
}

struct prefix prefix_masked(const struct prefix *p)
{
	return (struct prefix){.addr = fill_host_bits(p->addr, bits_of(p), false), .bits = p->bits};
}

static struct addr last_of(const struct prefix *p)
{
	return fill_host_bits(p->addr, bits_of(p), true);
}

/** addr_after - the next address in @out; false behind the very last one */
static bool addr_after(const struct addr *a, struct addr *out)
{
	size_t i;

	*out = *a;
	for (i = sizeof(out->b); i-- > 0;)
		if (++out->b[i])
			return true;
	return false;
}

int prefix_compare(const struct prefix *a, const struct prefix *b)
{
	int v6 = !addr_is_v4(&a->addr) - !addr_is_v4(&b->addr);
	int r = v6 ? v6 : memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));

	return r ? r : (int)a->bits - (int)b->bits;
}

bool region_way_equal(const struct region_way *a, const struct region_way *b)
{
	if (a->type != b->type)
		return false;
	return a->type != ROUTE_UNICAST || (addr_equal(&a->src, &b->src) && a->mtu == b->mtu);
}

int regions_add(struct regions *rs, const struct prefix *p, bool hole)
{
	if (rs->n == rs->room) {
		size_t room = rs->room ? 2 * rs->room : 64;
		struct region *r = reallocarray(rs->r, room, sizeof(*r));

		if (!r)
			return -ENOMEM;
		rs->r = r;
		rs->room = room;
	}
	rs->r[rs->n++] = (struct region){.p = prefix_masked(p), .hole = hole, .parent = -1};
	return 0;
}

void regions_free(struct regions *rs)
{
	free(rs->r);
	*rs = (struct regions){0};
}

/** region_order - a hole stands in front of its equals and so is the one that stays */
static int region_order(const void *a, const void *b)
{
	const struct region *x = a, *y = b;
	int r = prefix_compare(&x->p, &y->p);

	return r ? r : (int)y->hole - (int)x->hole;
}

static void drop_duplicates(struct regions *rs)
{
	size_t i, n = 0;

	for (i = 0; i < rs->n; i++)
		if (!n || prefix_compare(&rs->r[n - 1].p, &rs->r[i].p))
			rs->r[n++] = rs->r[i];
	rs->n = n;
}

static int find_parent(const struct regions *rs, size_t i)
{
	int p = (int)i - 1;

	while (p >= 0 && !addr_in_prefix(&rs->r[i].p.addr, &rs->r[p].p))
		p = rs->r[p].parent;
	return p;
}

/*
 * While regions_build() goes on, @probe is the lowest address of a region that nothing inside
 * has taken so far (@has_probe: there is one). Once something inside begins behind it, it is
 * settled. What is inside comes in the order of addresses.
 */

/** take_from - @inner's addresses are no more @outer's */
static void take_from(struct region *outer, const struct region *inner)
{
	struct addr last = last_of(&inner->p);

	if (outer->settled || !outer->has_probe)
		return;
	if (memcmp(outer->probe.b, inner->p.addr.b, sizeof(outer->probe.b)) < 0)
		outer->settled = true;
	else
		outer->has_probe = addr_after(&last, &outer->probe) &&
				   addr_in_prefix(&outer->probe, &outer->p);
}

void regions_build(struct regions *rs)
{
	size_t i;

	if (!rs->n)
		return;
	qsort(rs->r, rs->n, sizeof(*rs->r), region_order);
	drop_duplicates(rs);
	for (i = 0; i < rs->n; i++) {
		struct region *r = &rs->r[i];

		r->parent = find_parent(rs, i);
		r->has_probe = !r->hole;
		r->settled = r->has_way = false;
		r->probe = r->p.addr;
		if (r->parent >= 0)
			take_from(&rs->r[r->parent], r);
	}
}

/**
 * adopt_from_inside - a region that is all others' has the way of the first of these
 *
 * Nothing is routed by it then; but halves that are alike become one route.
 */
static void adopt_from_inside(struct regions *rs)
{
	size_t i;

	for (i = rs->n; i-- > 0;) {
		struct region *r = &rs->r[i];
		struct region *p = r->parent < 0 ? NULL : &rs->r[r->parent];

		r->has_way = r->has_way || r->has_probe;
		if (r->has_way && p && !p->has_probe && !p->hole) {
			p->way = r->way;
			p->has_way = true;
		}
	}
}

void regions_elide(struct regions *rs)
{
	static const struct region_way outside = {.type = ROUTE_UNREACHABLE};
	size_t i;

	adopt_from_inside(rs);
	for (i = 0; i < rs->n; i++) {
		struct region *r = &rs->r[i];
		const struct region_way *around = r->parent < 0 ? &outside : &rs->r[r->parent].way;

		if (!r->has_way)
			r->way = *around;
		r->keep = r->has_way && !region_way_equal(&r->way, around);
	}
}
