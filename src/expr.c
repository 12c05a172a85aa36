/* SPDX-License-Identifier: MIT */
/* expr: an expression from text to its compiled form, and its evaluation in three values. */
#include "expr_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

int expr_compile(const struct expr_context *ctx, const char *text, size_t len, struct expr **out,
		 struct expr_error *err)
{
	struct expr_build b = {.ctx = ctx, .err = err, .text = text, .end = text + len, .at = text};
	uint32_t root = 0;
	int rc;

	*out = NULL;
	memset(err, 0, sizeof(*err));
	if (len > EXPR_LEN_MAX)
		return expr_fail_at(&b, text, 1, "longer than %d bytes", EXPR_LEN_MAX);
	b.scratch = malloc(len + 1);
	rc = b.scratch ? expr_parse(&b, &root) : -ENOMEM;
	if (!rc) {
		*out = expr_build_finish(&b, root);
		rc = *out ? 0 : -ENOMEM;
	}
	expr_build_free(&b);
	return rc;
}

void expr_free(struct expr *e)
{
	if (!e)
		return;
	for (uint32_t i = 0; i < e->n_nodes; i++)
		if (e->node[i].kind == EXPR_N_REGEX)
			expr_regex_free(e->node[i].text.code);
	free(e);
}

uint64_t expr_fields(const struct expr *e)
{
	return e->fields;
}

/* --- evaluation -------------------------------------------------------------------- */

/** without_zone - a link-local address as it is on the wire: see addr_set_zone() */
static struct addr without_zone(const struct addr *a)
{
	struct addr plain = *a;

	if (a->b[0] == 0xfe && addr_zone(a))
		addr_set_zone(&plain, 0);
	return plain;
}

static bool test_addr(const struct expr *e, const struct expr_node *n, const struct addr *value)
{
	const struct expr_value plain = {.addr = without_zone(value)};

	if (n->kind == EXPR_N_SET)
		return n->text.set->has(n->text.set, &plain);
	return expr_addrs_have((const struct expr_addrs *)(const void *)(e->pool + n->values.at),
			       &plain.addr);
}

static bool test_text(const struct expr *e, const struct expr_node *n, const char *s, size_t len)
{
	const char *kept = (const char *)e->pool + n->text.at;

	if (n->fold)
		len = expr_host_len(s, len);
	if (n->kind == EXPR_N_TEXTS)
		return expr_texts_have(e->pool, n->values.at, n->fold, s, len);
	if (n->kind == EXPR_N_GLOB)
		return expr_glob_match((enum expr_glob_shape)n->shape, n->fold, kept, n->text.len,
				       s, len);
	return expr_regex_match(n->text.code, s, len);
}

/** test_value - is it what the node wants? */
static bool test_value(const struct expr *e, const struct expr_node *n, const struct expr_value *v)
{
	switch ((enum expr_node_kind)n->kind) {
	case EXPR_N_RANGE:
		return v->num >= n->range.lo && v->num <= n->range.hi;
	case EXPR_N_RANGES:
		return expr_ranges_have(
			(const struct expr_range *)(const void *)(e->pool + n->values.at),
			n->values.n, v->num);
	case EXPR_N_ANY_BIT:
		return v->num & n->range.lo;
	case EXPR_N_ALL_BITS:
		return (v->num & n->range.lo) == n->range.lo;
	case EXPR_N_ADDRS:
		return test_addr(e, n, &v->addr);
	case EXPR_N_SET:
		if (expr_field_type((enum expr_field)n->field) == EXPR_ADDR)
			return test_addr(e, n, &v->addr);
		return n->text.set->has(n->text.set, v);
	default:
		return test_text(e, n, v->text.s, v->text.len);
	}
}

/** test - a comparison: of a list yes if it is for one element; see the table in expr.h */
static enum expr_truth test(const struct expr *e, const struct expr_node *n, expr_get_fn *get,
			    const void *subject)
{
	const unsigned max = n->list ? EXPR_LIST_MAX : 1;
	struct expr_value v;

	for (unsigned i = 0; i < max; i++) {
		const enum expr_known known = get(subject, (enum expr_field)n->field, i, &v);

		if (known == EXPR_ABSENT)
			return EXPR_NO;
		if (known == EXPR_NOT_YET)
			return EXPR_UNKNOWN;
		if (test_value(e, n, &v))
			return EXPR_YES;
	}
	return EXPR_NO;
}

static enum expr_truth eval(const struct expr *e, uint32_t at, expr_get_fn *get,
			    const void *subject);

/** group - `and` ends at the first no, `or` at the first yes; else one unknown makes it unknown */
static enum expr_truth group(const struct expr *e, uint32_t at, expr_get_fn *get,
			     const void *subject)
{
	const struct expr_node *n = &e->node[at];
	const enum expr_truth decides = n->kind == EXPR_N_AND ? EXPR_NO : EXPR_YES;
	enum expr_truth all = decides == EXPR_NO ? EXPR_YES : EXPR_NO;

	for (uint32_t i = at + 1; i < n->skip; i = e->node[i].skip) {
		const enum expr_truth t = eval(e, i, get, subject);

		if (t == decides)
			return t;
		if (t == EXPR_UNKNOWN)
			all = t;
	}
	return all;
}

/** eval - of the node @at and all below; as deep as the parentheses, which are bounded */
static enum expr_truth eval(const struct expr *e, uint32_t at, expr_get_fn *get,
			    const void *subject)
{
	static const enum expr_truth opposite[] = {
		[EXPR_NO] = EXPR_YES, [EXPR_YES] = EXPR_NO, [EXPR_UNKNOWN] = EXPR_UNKNOWN};
	const struct expr_node *n = &e->node[at];
	const enum expr_truth t =
		n->kind <= EXPR_N_OR ? group(e, at, get, subject) : test(e, n, get, subject);

	return n->negate ? opposite[t] : t;
}

enum expr_truth expr_eval(const struct expr *e, expr_get_fn *get, const void *subject)
{
	return eval(e, 0, get, subject);
}
