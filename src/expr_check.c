/* SPDX-License-Identifier: MIT */
/* expr_check: what a comparison means, by the type of its field. */
#include "expr_impl.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

#define OP(kind)  (1U << (kind))
#define OPS_SET	  (OP(EXPR_T_EQ) | OP(EXPR_T_NE) | OP(EXPR_T_IN))
#define OPS_ORDER (OP(EXPR_T_LT) | OP(EXPR_T_LE) | OP(EXPR_T_GT) | OP(EXPR_T_GE))
#define OPS_MATCH (OP(EXPR_T_GLOB) | OP(EXPR_T_REGEX))

static const struct {
	unsigned ops;
	const char *text;
} allowed[] = {
	[EXPR_NUMBER] = {OPS_SET | OPS_ORDER, "== != < <= > >= in"},
	[EXPR_SIZE] = {OPS_SET | OPS_ORDER, "== != < <= > >= in"},
	[EXPR_TIME] = {OPS_SET | OPS_ORDER, "== != < <= > >= in"},
	[EXPR_ADDR] = {OPS_SET, "== != in"},
	[EXPR_TEXT] = {OPS_SET | OPS_MATCH, "== != in ~ =~"},
	[EXPR_HOSTNAME] = {OPS_SET | OPS_MATCH, "== != in ~ =~"},
	[EXPR_NAME] = {OPS_SET, "== != in"},
	[EXPR_UID] = {OPS_SET | OPS_ORDER, "== != < <= > >= in"},
	[EXPR_GID] = {OPS_SET | OPS_ORDER, "== != < <= > >= in"},
	[EXPR_FLAGS] = {OPS_SET | OP(EXPR_T_BITS) | OP(EXPR_T_GLOB), "== != in & ~"},
};

int expr_check_field(struct expr_build *b, const struct expr_token *token, enum expr_field *f)
{
	enum expr_field near;

	if (token->kind != EXPR_T_WORD)
		return expr_fail(b, token, "expected a field, not %s: the field stands on the left",
				 expr_shown(token));
	*f = expr_field_find(token->s, token->len);
	if (*f != EXPR_FIELD_MAX) {
		if (!expr_field_is_packet(*f) || b->ctx->packet)
			return 0;
		return expr_fail(b, token, "%s is a field of packets: only capture filters have it",
				 expr_field_name(*f));
	}
	near = expr_field_nearest(token->s, token->len);
	if (near == EXPR_FIELD_MAX)
		return expr_fail(b, token, "no field is named %s", expr_shown(token));
	return expr_fail(b, token, "no field is named %s: did you mean %s?", expr_shown(token),
			 expr_field_name(near));
}

/* --- named sets ------------------------------------------------------------------- */

/** may_be_set - could @token be the name of a set, and nothing else in its place? */
static bool may_be_set(const struct expr_token *token)
{
	return token->kind == EXPR_T_WORD && (token->s[0] < '0' || token->s[0] > '9') &&
	       !memchr(token->s, ':', token->len);
}

static const char *const set_types[] = {[EXPR_NUMBER] = "numbers",
					[EXPR_ADDR] = "addresses",
					[EXPR_TEXT] = "texts",
					[EXPR_HOSTNAME] = "host names"};

static bool set_fits(enum expr_type set, enum expr_type field)
{
	return set == field || (set == EXPR_NUMBER && (field == EXPR_UID || field == EXPR_GID));
}

/** needs_set - no literal can follow `in` of such a field but in {} or as a number */
static bool needs_set(enum expr_type type)
{
	return type != EXPR_NAME && type != EXPR_UID && type != EXPR_GID && type != EXPR_FLAGS;
}

/** check_set - `in NAME`: 0 and *@done when that is what it is */
static int check_set(struct expr_build *b, enum expr_field f, struct expr_node *n, bool *done)
{
	const struct expr_token *t = &b->value[0];
	const enum expr_type type = expr_field_type(f);
	const bool text = type == EXPR_TEXT || type == EXPR_HOSTNAME;
	const struct expr_set *set = NULL;

	if (text && t->kind == EXPR_T_QUOTED)
		return expr_fail(b, t, "in needs a set: {%s}, or the name of one", expr_shown(t));
	if (!text && !may_be_set(t))
		return 0;
	if (b->ctx->set)
		set = b->ctx->set(b->ctx->ctx, t->s, t->len);
	if (!set && needs_set(type))
		return expr_fail(b, t, "no set is named %s", expr_shown(t));
	if (!set)
		return 0;
	if (!set->any && !set_fits(set->type, type))
		return expr_fail(b, t, "set %s is of another type: of %s; %s is compared with %s",
				 expr_shown(t), set_types[set->type], expr_field_name(f),
				 expr_type_text(type));
	*done = true;
	n->kind = EXPR_N_SET;
	n->text.set = set;
	n->text.len = (uint32_t)t->len;
	return expr_pool_text(b, t->s, t->len, &n->text.at);
}

/* --- values ----------------------------------------------------------------------- */

static int check_values(struct expr_build *b, enum expr_field f, struct expr_node *n)
{
	switch (expr_field_type(f)) {
	case EXPR_ADDR:
		return expr_values_addrs(b, f, n);
	case EXPR_TEXT:
	case EXPR_HOSTNAME:
		return expr_values_texts(b, f, n);
	default:
		return expr_values_ranges(b, f, n);
	}
}

/** check_order - < <= > >=: a range from or to the end of all numbers */
static int check_order(struct expr_build *b, enum expr_field f, enum expr_token_kind op,
		       struct expr_node *n)
{
	const struct expr_token *t = &b->value[0];
	struct expr_range *r = &n->range, v;
	int rc = expr_literal_range(b, f, t, &v);

	if (rc)
		return rc;
	if (v.lo != v.hi)
		return expr_fail(b, t, "a range goes with == != in");
	n->kind = EXPR_N_RANGE;
	n->order = (uint8_t)op;
	if (op == EXPR_T_LT && !v.lo)
		return expr_fail(b, t, "%s is never less than 0", expr_field_name(f));
	if (op == EXPR_T_GT && v.hi == expr_field_max(f))
		return expr_fail(b, t, "%s is never more than that", expr_field_name(f));
	*r = (struct expr_range){0, UINT64_MAX};
	if (op == EXPR_T_LT || op == EXPR_T_LE)
		r->hi = v.hi - (op == EXPR_T_LT);
	else
		r->lo = v.lo + (op == EXPR_T_GT);
	return 0;
}

/** check_bits - &: one of the bits; ~: all of them */
static int check_bits(struct expr_build *b, enum expr_field f, enum expr_token_kind op,
		      struct expr_node *n)
{
	const struct expr_token *t = &b->value[0];
	int rc = expr_literal_range(b, f, t, &n->range);

	if (!rc && (!n->range.lo || n->range.lo != n->range.hi))
		rc = expr_fail(b, t, "at least one flag, and no range");
	n->kind = op == EXPR_T_BITS ? EXPR_N_ANY_BIT : EXPR_N_ALL_BITS;
	return rc;
}

/* --- patterns --------------------------------------------------------------------- */

/** pattern_host - a glob of host names: lower case, no dot at the end */
static void pattern_host(char *text, size_t *len)
{
	while (*len > 1 && text[*len - 1] == '.' && text[*len - 2] != '\\')
		--*len;
	for (size_t i = 0; i < *len; i++)
		text[i] = expr_lower(text[i]);
}

static int check_glob(struct expr_build *b, enum expr_field f, struct expr_node *n)
{
	const struct expr_token *t = &b->value[0];
	enum expr_glob_shape shape;
	size_t len, bad;
	char *text;
	int rc = expr_token_text(b, t, true, &text, &len);

	if (rc)
		return rc;
	if (len > EXPR_GLOB_MAX)
		return expr_fail(b, t, "a glob has at most %d bytes", EXPR_GLOB_MAX);
	if (expr_field_type(f) == EXPR_HOSTNAME)
		pattern_host(text, &len);
	bad = expr_glob_check(text, len, &shape);
	if (bad)
		return expr_fail_at(b, expr_pattern_place(t, bad - 1), 1,
				    text[bad - 1] == '\\' ? "nothing follows this backslash"
							  : "this [ is not closed");
	n->kind = EXPR_N_GLOB;
	n->shape = shape;
	n->text.len = (uint32_t)len;
	return expr_pool_text(b, text, len, &n->text.at);
}

static int check_regex(struct expr_build *b, struct expr_node *n)
{
	const struct expr_token *t = &b->value[0];
	size_t len;
	char *text;
	int rc;

	if (t->kind != EXPR_T_QUOTED)
		return expr_fail(b, t, "a regular expression stands in quotes");
	if (b->regexes++ == EXPR_REGEXES_MAX)
		return expr_fail(b, t, "more than %d regular expressions", EXPR_REGEXES_MAX);
	rc = expr_token_text(b, t, true, &text, &len);
	if (rc)
		return rc;
	if (len > EXPR_REGEX_MAX)
		return expr_fail(b, t, "a regular expression has at most %d bytes", EXPR_REGEX_MAX);
	n->text.len = (uint32_t)len;
	rc = expr_pool_text(b, text, len, &n->text.at);
	if (!rc)
		rc = expr_regex_compile(b, t, text, len, n->fold, &n->text.code);
	if (!rc)
		n->kind = EXPR_N_REGEX;
	return rc;
}

/** wrong_operator - says which ones there are */
static int wrong_operator(struct expr_build *b, const struct expr_compare *c, enum expr_field f)
{
	const enum expr_type type = expr_field_type(f);

	return expr_fail(b, &c->op, "%s is no operator for %s (%s): there are %s",
			 expr_shown(&c->op), expr_field_name(f), expr_type_text(type),
			 allowed[type].text);
}

int expr_check(struct expr_build *b, const struct expr_compare *c, struct expr_node *n)
{
	enum expr_field f = EXPR_FIELD_MAX;
	enum expr_type type;
	bool done = false;
	int rc = expr_check_field(b, &c->field, &f);

	if (rc)
		return rc;
	type = expr_field_type(f);
	if (!(allowed[type].ops & OP(c->op.kind)))
		return wrong_operator(b, c, f);
	n->field = (uint8_t)f;
	n->order = EXPR_T_EQ;
	n->negate = c->negate ^ (c->op.kind == EXPR_T_NE);
	n->list = expr_field_is_list(f);
	n->fold = type == EXPR_HOSTNAME;
	if (OPS_ORDER & OP(c->op.kind))
		return check_order(b, f, c->op.kind, n);
	if (type == EXPR_FLAGS && !(OPS_SET & OP(c->op.kind)))
		return check_bits(b, f, c->op.kind, n);
	if (c->op.kind == EXPR_T_GLOB)
		return check_glob(b, f, n);
	if (c->op.kind == EXPR_T_REGEX)
		return check_regex(b, n);
	if (c->op.kind == EXPR_T_IN && !c->braces)
		rc = check_set(b, f, n, &done);
	return rc || done ? rc : check_values(b, f, n);
}
