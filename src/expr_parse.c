/* SPDX-License-Identifier: MIT */
/*
 * expr_parse: the grammar of the filter language.
 *
 *   any        = all { "or" all }
 *   all        = one { "and" one }
 *   one        = { "not" } ( "(" any ")" | comparison )
 *   comparison = FIELD OPERATOR value | FIELD [ "not" ] "in" ( value | "{" value { "," value } "}"
 * )
 *
 * The tree is made as it is read; what a comparison means is expr_check.c's.
 */
#include "expr_impl.h"

#include <errno.h>

static int parse_any(struct expr_build *b, uint32_t *out);

static bool is_operator(enum expr_token_kind kind)
{
	return kind >= EXPR_T_IN;
}

/** take_value - the next token as a value */
static int take_value(struct expr_build *b)
{
	struct expr_token *t = &b->token;
	int rc;

	if (t->kind == EXPR_T_IN) /* dir == in */
		t->kind = EXPR_T_WORD;
	if (t->kind == EXPR_T_AND || t->kind == EXPR_T_OR || t->kind == EXPR_T_NOT)
		return expr_fail(b, t, "expected a value; as a text \"%s\" needs quotes",
				 expr_shown(t));
	if (t->kind == EXPR_T_OPEN_SET)
		return expr_fail(b, t, "a set of values goes with in");
	if (t->kind != EXPR_T_WORD && t->kind != EXPR_T_QUOTED)
		return expr_fail(b, t, "expected a value, not %s", expr_shown(t));
	rc = expr_value_add(b, t);
	return rc ? rc : expr_next(b);
}

/** take_set - the rest of {a, b}; a comma may stand behind the last one */
static int take_set(struct expr_build *b)
{
	int rc;

	for (;;) {
		if (b->token.kind == EXPR_T_CLOSE_SET && b->n_value)
			return expr_next(b);
		if (b->token.kind == EXPR_T_CLOSE_SET)
			return expr_fail(b, &b->token, "an empty set: nothing is in it");
		if (b->n_value == EXPR_SET_MAX)
			return expr_fail(b, &b->token,
					 "more than %d values: use a named set of a file",
					 EXPR_SET_MAX);
		rc = take_value(b);
		if (rc)
			return rc;
		if (b->token.kind == EXPR_T_COMMA)
			rc = expr_next(b);
		else if (b->token.kind != EXPR_T_CLOSE_SET)
			rc = expr_fail(b, &b->token, "expected , or } in a set, not %s",
				       expr_shown(&b->token));
		if (rc)
			return rc;
	}
}

static const char *example(enum expr_type type)
{
	static const char *const texts[] = {
		[EXPR_NUMBER] = "== 443",   [EXPR_SIZE] = "> 10mb",
		[EXPR_TIME] = "> 3s",	    [EXPR_ADDR] = "in 10.0.0.0/8",
		[EXPR_TEXT] = "~ \"*\"",    [EXPR_HOSTNAME] = "~ \"*.example.com\"",
		[EXPR_NAME] = "== one of ", [EXPR_UID] = "== alice",
		[EXPR_GID] = "== staff",    [EXPR_FLAGS] = "& syn",
	};

	return texts[type];
}

/** no_operator - @field stands there alone, or before something that is no operator */
static int no_operator(struct expr_build *b, const struct expr_token *field)
{
	const struct expr_token *at = b->token.kind == EXPR_T_WORD ? &b->token : field;
	enum expr_field f;

	if (expr_check_field(b, field, &f))
		return -EINVAL;
	return expr_fail(b, at, "%s needs an operator behind it, as in %s %s%s", expr_field_name(f),
			 expr_field_name(f), example(expr_field_type(f)),
			 expr_name_list(f) ? expr_name_list(f) : "");
}

/** take_operator - the one behind a field; "not in" is @c->negate and in */
static int take_operator(struct expr_build *b, struct expr_compare *c)
{
	int rc = 0;

	if (b->token.kind == EXPR_T_NOT) {
		rc = expr_next(b);
		if (!rc && b->token.kind != EXPR_T_IN)
			rc = expr_fail(b, &b->token, "expected in behind not");
		c->negate = true;
	}
	if (rc)
		return rc;
	if (!is_operator(b->token.kind))
		return no_operator(b, &c->field);
	c->op = b->token;
	return expr_next(b);
}

static int parse_comparison(struct expr_build *b, bool negate, uint32_t *out)
{
	struct expr_compare c = {.field = b->token};
	struct expr_node n = {0};
	int rc;

	if (c.field.kind != EXPR_T_WORD && c.field.kind != EXPR_T_QUOTED)
		return expr_fail(b, &c.field, "expected a field, not %s", expr_shown(&c.field));
	b->n_value = 0;
	rc = expr_next(b);
	if (!rc)
		rc = take_operator(b, &c);
	if (rc)
		return rc;
	c.braces = c.op.kind == EXPR_T_IN && b->token.kind == EXPR_T_OPEN_SET;
	if (c.braces)
		rc = expr_next(b);
	if (!rc)
		rc = c.braces ? take_set(b) : take_value(b);
	if (!rc)
		rc = expr_check(b, &c, &n);
	if (rc)
		return rc;
	n.negate ^= negate;
	rc = expr_branch_add(b, &n, out);
	if (rc && n.kind == EXPR_N_REGEX)
		expr_regex_free(n.text.code);
	return rc;
}

static int parse_group(struct expr_build *b, uint32_t *out)
{
	const struct expr_token open = b->token;
	int rc;

	if (b->depth == EXPR_DEPTH_MAX)
		return expr_fail(b, &open, "more than %d parentheses within each other",
				 EXPR_DEPTH_MAX);
	b->depth++;
	rc = expr_next(b);
	if (!rc)
		rc = parse_any(b, out);
	if (rc)
		return rc;
	b->depth--;
	if (b->token.kind == EXPR_T_END)
		return expr_fail(b, &open, "this parenthesis is not closed");
	if (b->token.kind != EXPR_T_CLOSE)
		return expr_fail(b, &b->token, "expected and, or or ), not %s",
				 expr_shown(&b->token));
	return expr_next(b);
}

static int parse_one(struct expr_build *b, uint32_t *out)
{
	bool negate = false;
	int rc;

	for (; b->token.kind == EXPR_T_NOT; negate = !negate) {
		rc = expr_next(b);
		if (rc)
			return rc;
	}
	if (b->token.kind != EXPR_T_OPEN)
		return parse_comparison(b, negate, out);
	*out = EXPR_NONE;
	rc = parse_group(b, out);
	if (!rc)
		b->branch[*out].node.negate ^= negate;
	return rc;
}

/** parse_list - what @element reads, with @sign between; a group of @kind when there are several */
static int parse_list(struct expr_build *b, enum expr_token_kind sign, enum expr_node_kind kind,
		      int (*element)(struct expr_build *b, uint32_t *out), uint32_t *out)
{
	const struct expr_node group = {.kind = (uint8_t)kind};
	uint32_t first = EXPR_NONE, next = EXPR_NONE;
	int rc = element(b, &first);

	*out = first;
	if (rc || b->token.kind != sign)
		return rc;
	rc = expr_branch_add(b, &group, out);
	if (!rc)
		expr_branch_append(b, *out, first);
	while (!rc && b->token.kind == sign) {
		rc = expr_next(b);
		if (!rc)
			rc = element(b, &next);
		if (!rc)
			expr_branch_append(b, *out, next);
	}
	return rc;
}

static int parse_all(struct expr_build *b, uint32_t *out)
{
	return parse_list(b, EXPR_T_AND, EXPR_N_AND, parse_one, out);
}

static int parse_any(struct expr_build *b, uint32_t *out)
{
	return parse_list(b, EXPR_T_OR, EXPR_N_OR, parse_all, out);
}

int expr_parse(struct expr_build *b, uint32_t *root)
{
	int rc = expr_next(b);

	if (!rc && b->token.kind == EXPR_T_END)
		return expr_fail(b, &b->token, "nothing here: expected a field");
	if (!rc)
		rc = parse_any(b, root);
	if (!rc && b->token.kind != EXPR_T_END)
		rc = expr_fail(b, &b->token, "expected and, or or the end, not %s",
			       expr_shown(&b->token));
	return rc;
}
