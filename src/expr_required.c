/* SPDX-License-Identifier: MIT */
/* expr_required: what a flow must have so that an expression can be true of it, for an index. */
#include "expr_impl.h"

#include <string.h>

#include "base/util.h"

/** struct teller - where to say the values */
struct teller {
	void (*value)(void *ctx, const struct expr_value *v, int prefix_bits);
	void *ctx;
};

static const struct expr_range *ranges_of(const struct expr *e, const struct expr_node *n,
					  uint32_t *count)
{
	*count = n->kind == EXPR_N_RANGE ? 1 : n->values.n;
	return n->kind == EXPR_N_RANGE
		       ? &n->range
		       : (const struct expr_range *)(const void *)(e->pool + n->values.at);
}

/** are_few - all numbers can be said one by one */
static bool are_few(const struct expr *e, const struct expr_node *n)
{
	uint32_t count;
	const struct expr_range *r = ranges_of(e, n, &count);

	for (uint32_t i = 0; i < count; i++)
		if (r[i].hi - r[i].lo >= EXPR_REQUIRED_MAX)
			return false;
	return true;
}

static void tell_numbers(const struct expr *e, const struct expr_node *n, const struct teller *t)
{
	uint32_t count;
	const struct expr_range *r = ranges_of(e, n, &count);

	for (uint32_t i = 0; i < count; i++) {
		for (uint64_t more = 0; more <= r[i].hi - r[i].lo; more++) {
			const struct expr_value v = {.num = r[i].lo + more};

			t->value(t->ctx, &v, -1);
		}
	}
}

static void tell_texts(const struct expr *e, const struct expr_node *n, const struct teller *t)
{
	const struct expr_texts *texts =
		(const struct expr_texts *)(const void *)(e->pool + n->values.at);

	for (uint32_t i = 0; i < texts->n; i++) {
		const struct expr_span *s = &texts->span[i];
		const struct expr_value v = {.text = {(const char *)e->pool + s->at, s->len}};

		t->value(t->ctx, &v, -1);
	}
}

/** block_end - the last address of the block of 2^@host_bits that begins at @a */
static struct addr block_end(const struct addr *a, unsigned host_bits)
{
	struct addr end = *a;

	for (unsigned i = 0; i < host_bits; i++)
		end.b[15 - i / 8] |= (uint8_t)(1U << i % 8);
	return end;
}

/** block_at - how many host bits the largest prefix has that begins at @a and ends not after @hi */
static unsigned block_at(const struct addr *a, const struct addr *hi)
{
	const unsigned max = addr_is_v4(a) ? 32 : 128;
	unsigned bits = 0;

	while (bits < max && !(a->b[15 - bits / 8] & 1U << bits % 8)) {
		const struct addr end = block_end(a, bits + 1);

		if (memcmp(&end, hi, sizeof(end)) > 0)
			break;
		bits++;
	}
	return bits;
}

/** tell_addrs - a range as the fewest prefixes that make it up */
static void tell_addrs(const struct expr_addr_range *r, const struct teller *t)
{
	const int family_bits = addr_is_v4(&r->lo) ? 32 : 128;
	struct addr at = r->lo, end;

	for (;;) {
		const unsigned host_bits = block_at(&at, &r->hi);
		const struct expr_value v = {.addr = at};

		if (addr_is_v4(&at) == addr_is_v4(&r->lo)) /* the others can't be of this family */
			t->value(t->ctx, &v, family_bits - (int)host_bits);
		end = block_end(&at, host_bits);
		if (memcmp(&end, &r->hi, sizeof(end)) >= 0)
			return;
		at = end;
		for (int i = 15; i >= 0 && !++at.b[i]; i--)
			;
	}
}

/** tell - the values of @n */
static void tell(const struct expr *e, const struct expr_node *n, const struct teller *t)
{
	const struct expr_addrs *a;

	switch (n->kind) {
	case EXPR_N_ADDRS:
		a = (const struct expr_addrs *)(const void *)(e->pool + n->values.at);
		for (uint32_t i = 0; i < a->n4 + a->n6; i++)
			tell_addrs(&a->range[i], t);
		break;
	case EXPR_N_TEXTS:
		tell_texts(e, n, t);
		break;
	default:
		tell_numbers(e, n, t);
	}
}

/** lists_values - does the node say which values there may be? */
static bool lists_values(const struct expr *e, const struct expr_node *n)
{
	if (n->negate || n->order != EXPR_T_EQ)
		return false;
	if (n->kind == EXPR_N_RANGE || n->kind == EXPR_N_RANGES)
		return are_few(e, n);
	return n->kind == EXPR_N_ADDRS || n->kind == EXPR_N_TEXTS;
}

/** find_top - the @i-th of the comparisons at the top level of `and` that are @wanted; NULL */
static const struct expr_node *find_top(const struct expr *e, unsigned i,
					bool (*wanted)(const struct expr *e,
						       const struct expr_node *n))
{
	const bool all = e->node[0].kind == EXPR_N_AND && !e->node[0].negate;
	const uint32_t end = all ? e->node[0].skip : 1;

	for (uint32_t at = all; at < end; at = e->node[at].skip)
		if (wanted(e, &e->node[at]) && !i--)
			return &e->node[at];
	return NULL;
}

bool expr_required(const struct expr *e, unsigned i, enum expr_field *field,
		   void (*value)(void *ctx, const struct expr_value *v, int prefix_bits), void *ctx)
{
	const struct teller t = {value, ctx};
	const struct expr_node *n = find_top(e, i, lists_values);

	if (!n)
		return false;
	*field = (enum expr_field)n->field;
	if (value)
		tell(e, n, &t);
	return true;
}

static bool is_tail(const struct expr *e, const struct expr_node *n)
{
	(void)e;
	return n->kind == EXPR_N_GLOB && !n->negate && n->shape == EXPR_GLOB_SUFFIX;
}

bool expr_required_tail(const struct expr *e, unsigned i, enum expr_field *field,
			struct expr_value *tail)
{
	const struct expr_node *n = find_top(e, i, is_tail);

	if (!n)
		return false;
	*field = (enum expr_field)n->field;
	tail->text.s = (const char *)e->pool + n->text.at + 1;
	tail->text.len = n->text.len - 1;
	return true;
}
