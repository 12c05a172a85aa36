/* SPDX-License-Identifier: MIT */
/* expr_print: the normal form of an expression, which compiles to the same. */
#include "expr_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"

/** struct out - as snprintf(): @len is what there would be with room enough */
struct out {
	char *buf;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void say(struct out *o, const char *fmt, ...)
{
	const size_t at = MIN(o->len, o->size);
	va_list ap;

	va_start(ap, fmt);
	o->len += (size_t)vsnprintf(o->size ? o->buf + at : NULL, o->size - at, fmt, ap);
	va_end(ap);
}

static void say_text(struct out *o, const char *s, size_t len)
{
	say(o, "\"");
	for (size_t i = 0; i < len; i++) {
		const unsigned char c = (unsigned char)s[i];

		if (c == '"' || c == '\\')
			say(o, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			say(o, "\\x%02x", c);
		else
			say(o, "%c", c);
	}
	say(o, "\"");
}

/** say_pattern - its backslashes are its own: see expr_token_text() */
static void say_pattern(struct out *o, const char *s, size_t len)
{
	say(o, "\"");
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\\' && i + 1 < len)
			say(o, "%c", s[i++]);
		else if (s[i] == '"')
			say(o, "\\");
		say(o, "%c", s[i]);
	}
	say(o, "\"");
}

/* --- numbers ----------------------------------------------------------------------- */

struct unit {
	const char *name;
	uint64_t factor;
};

/** say_in_units - by the largest one that leaves no rest; the last one is 1 */
static void say_in_units(struct out *o, uint64_t v, const struct unit *u)
{
	while (u->factor > 1 && (v % u->factor || !v))
		u++;
	say(o, "%" PRIu64 "%s", v / u->factor, v ? u->name : "");
}

static void say_number(struct out *o, enum expr_field f, uint64_t v)
{
	static const struct unit sizes[] = {{"gib", 1ULL << 30},
					    {"gb", 1000000000},
					    {"mib", 1ULL << 20},
					    {"mb", 1000000},
					    {"kib", 1ULL << 10},
					    {"kb", 1000},
					    {"", 1}};
	static const struct unit times[] = {{"d", 86400 * NSEC_PER_SEC},
					    {"h", 3600 * NSEC_PER_SEC},
					    {"m", 60 * NSEC_PER_SEC},
					    {"s", NSEC_PER_SEC},
					    {"ms", NSEC_PER_MSEC},
					    {"us", NSEC_PER_USEC},
					    {"ns", 1}};
	char flags[64];

	switch (expr_field_type(f)) {
	case EXPR_SIZE:
		say_in_units(o, v, sizes);
		break;
	case EXPR_TIME:
		say_in_units(o, v, times);
		break;
	case EXPR_NAME:
		if (expr_name_text(f, v))
			say(o, "%s", expr_name_text(f, v));
		else
			say(o, "%" PRIu64, v);
		break;
	case EXPR_FLAGS:
		if (*expr_flags_text(v, flags, sizeof(flags)))
			say(o, "\"%s\"", flags);
		else
			say(o, "%#" PRIx64, v);
		break;
	default:
		say(o, "%" PRIu64, v);
	}
}

static void say_range(struct out *o, enum expr_field f, const struct expr_range *r)
{
	/* words have no order: a range of them is one of numbers */
	const bool numbers = expr_field_type(f) == EXPR_NAME || expr_field_type(f) == EXPR_FLAGS;

	if (r->lo == r->hi) {
		say_number(o, f, r->lo);
	} else if (numbers) {
		say(o, "%" PRIu64 "-%" PRIu64, r->lo, r->hi);
	} else {
		say_number(o, f, r->lo);
		say(o, "-");
		say_number(o, f, r->hi);
	}
}

static void say_addrs(struct out *o, const struct expr_addr_range *r)
{
	const int bits = expr_addr_prefix(&r->lo, &r->hi);
	char lo[ADDR_STRLEN], hi[ADDR_STRLEN];

	addr_format(&r->lo, lo);
	addr_format(&r->hi, hi);
	if (addr_equal(&r->lo, &r->hi))
		say(o, "%s", lo);
	else if (bits >= 0)
		say(o, "%s/%d", lo, bits);
	else
		say(o, "%s-%s", lo, hi);
}

/* --- comparisons ------------------------------------------------------------------- */

static const char *sign_of(const struct expr_node *n)
{
	switch (n->kind) {
	case EXPR_N_GLOB:
	case EXPR_N_ALL_BITS:
		return "~";
	case EXPR_N_REGEX:
		return "=~";
	case EXPR_N_ANY_BIT:
		return "&";
	default:
		break;
	}
	switch (n->order) {
	case EXPR_T_LT:
		return "<";
	case EXPR_T_LE:
		return "<=";
	case EXPR_T_GT:
		return ">";
	default:
		return ">=";
	}
}

static const struct expr_addrs *addrs_of(const struct expr *e, const struct expr_node *n)
{
	return (const struct expr_addrs *)(const void *)(e->pool + n->values.at);
}

/** count_values - how many values the node lists; *@single: one, and no range; 0: it lists none */
static uint32_t count_values(const struct expr *e, const struct expr_node *n, bool *single)
{
	const struct expr_addrs *a;
	uint32_t count;

	switch (n->kind) {
	case EXPR_N_RANGE:
		*single = n->order == EXPR_T_EQ && n->range.lo == n->range.hi;
		return n->order == EXPR_T_EQ;
	case EXPR_N_RANGES:
		*single = false;
		return n->values.n;
	case EXPR_N_TEXTS:
		*single = n->values.n == 1;
		return n->values.n;
	case EXPR_N_ADDRS:
		a = addrs_of(e, n);
		count = a->n4 + a->n6;
		*single = count == 1 && addr_equal(&a->range[0].lo, &a->range[0].hi);
		return count;
	default:
		return 0;
	}
}

static void say_value(struct out *o, const struct expr *e, const struct expr_node *n, uint32_t i)
{
	const enum expr_field f = (enum expr_field)n->field;
	const uint8_t *values = e->pool + n->values.at;
	const struct expr_texts *t;

	switch (n->kind) {
	case EXPR_N_RANGE:
		say_range(o, f, &n->range);
		break;
	case EXPR_N_RANGES:
		say_range(o, f, (const struct expr_range *)(const void *)values + i);
		break;
	case EXPR_N_ADDRS:
		say_addrs(o, &addrs_of(e, n)->range[i]);
		break;
	default:
		t = (const struct expr_texts *)(const void *)values;
		say_text(o, (const char *)e->pool + t->span[i].at, t->span[i].len);
	}
}

/** say_values - behind `in` */
static void say_values(struct out *o, const struct expr *e, const struct expr_node *n,
		       uint32_t count)
{
	const bool braces = count > 1 || n->kind == EXPR_N_TEXTS;

	if (braces)
		say(o, "{");
	for (uint32_t i = 0; i < count; i++) {
		if (i)
			say(o, ", ");
		say_value(o, e, n, i);
	}
	if (braces)
		say(o, "}");
}

static void say_operand(struct out *o, const struct expr *e, const struct expr_node *n)
{
	const enum expr_field f = (enum expr_field)n->field;

	if (n->kind == EXPR_N_GLOB || n->kind == EXPR_N_REGEX)
		say_pattern(o, (const char *)e->pool + n->text.at, n->text.len);
	else if (n->kind != EXPR_N_RANGE)
		say_number(o, f, n->range.lo);
	else if (n->order == EXPR_T_LT || n->order == EXPR_T_LE)
		say_number(o, f, n->range.hi + (n->order == EXPR_T_LT));
	else
		say_number(o, f, n->range.lo - (n->order == EXPR_T_GT));
}

static void say_comparison(struct out *o, const struct expr *e, const struct expr_node *n)
{
	const char *name = expr_field_name((enum expr_field)n->field);
	bool single = false;
	const uint32_t count = count_values(e, n, &single);

	if (single) {
		say(o, "%s %s ", name, n->negate ? "!=" : "==");
		say_value(o, e, n, 0);
		return;
	}
	say(o, "%s%s ", n->negate ? "not " : "", name);
	if (n->kind == EXPR_N_SET) {
		say(o, "in %.*s", (int)n->text.len, (const char *)e->pool + n->text.at);
	} else if (count) {
		say(o, "in ");
		say_values(o, e, n, count);
	} else {
		say(o, "%s ", sign_of(n));
		say_operand(o, e, n);
	}
}

/* --- the tree ---------------------------------------------------------------------- */

/** say_node - @inside: the kind of the group that it stands in */
static void say_node(struct out *o, const struct expr *e, uint32_t at, enum expr_node_kind inside)
{
	const struct expr_node *n = &e->node[at];
	const bool parens = n->negate || (inside == EXPR_N_AND && n->kind == EXPR_N_OR);

	if (n->kind > EXPR_N_OR) {
		say_comparison(o, e, n);
		return;
	}
	if (parens)
		say(o, "%s(", n->negate ? "not " : "");
	for (uint32_t i = at + 1; i < n->skip; i = e->node[i].skip) {
		if (i != at + 1)
			say(o, n->kind == EXPR_N_AND ? " and " : " or ");
		say_node(o, e, i, (enum expr_node_kind)n->kind);
	}
	if (parens)
		say(o, ")");
}

size_t expr_print(const struct expr *e, char *buf, size_t size)
{
	struct out o = {.buf = buf, .size = size};

	if (size)
		buf[0] = '\0';
	say_node(&o, e, 0, EXPR_N_OR);
	return o.len;
}
