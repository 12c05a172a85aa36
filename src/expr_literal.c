/* SPDX-License-Identifier: MIT */
/* expr_literal: one value on the right side of a comparison, by the field's type. */
#include "expr_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"

/** struct piece - a word of the text, or one end of a range */
struct piece {
	const char *s;
	size_t len;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/** wrong_type - @token can't be compared with @f */
static int wrong_type(struct expr_build *b, enum expr_field f, const struct expr_token *token)
{
	return expr_fail(b, token, "%s is compared with %s, not with %s", expr_field_name(f),
			 expr_type_text(expr_field_type(f)), expr_shown(token));
}

/* --- numbers and units ------------------------------------------------------------ */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {{"", 1},
					 {"b", 1},
					 {"kb", 1000},
					 {"mb", 1000000},
					 {"gb", 1000000000},
					 {"kib", 1ULL << 10},
					 {"mib", 1ULL << 20},
					 {"gib", 1ULL << 30},
					 {NULL, 0}};
static const struct unit time_units[] = {{"ns", 1},
					 {"us", NSEC_PER_USEC},
					 {"ms", NSEC_PER_MSEC},
					 {"s", NSEC_PER_SEC},
					 {"m", 60 * NSEC_PER_SEC},
					 {"h", 3600 * NSEC_PER_SEC},
					 {"d", 86400 * NSEC_PER_SEC},
					 {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum expr_type type)
{
	if (type == EXPR_SIZE)
		return size_units;
	return type == EXPR_TIME ? time_units : no_units;
}

static const struct unit *find_unit(enum expr_type type, const char *s, size_t len)
{
	const struct unit *u = units_of(type);

	while (u->name && (strlen(u->name) != len || strncasecmp(u->name, s, len) != 0))
		u++;
	return u->name ? u : NULL;
}

/** digit_value - of @c to @base, or -1 */
static int digit_value(char c, unsigned base)
{
	if (is_digit(c))
		return c - '0';
	c = expr_lower(c);
	return base == 16 && c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** take_digits - the digits at the front of @p, also 0x1f; how many bytes, 0 = none, -1 = too many
 */
static int take_digits(const struct piece *p, uint64_t *v)
{
	const bool hex = p->len > 2 && p->s[0] == '0' && (p->s[1] == 'x' || p->s[1] == 'X');
	const unsigned base = hex ? 16 : 10;
	size_t i = hex ? 2 : 0;

	*v = 0;
	for (; i < p->len && digit_value(p->s[i], base) >= 0; i++)
		if (__builtin_mul_overflow(*v, base, v) ||
		    __builtin_add_overflow(*v, (uint64_t)digit_value(p->s[i], base), v))
			return -1;
	return (int)(hex && i == 2 ? 0 : i);
}

static int bad_unit(struct expr_build *b, enum expr_field f, const char *s, size_t len)
{
	const struct expr_token rest = {EXPR_T_WORD, s, len};

	if (expr_field_type(f) == EXPR_TIME && !len)
		return expr_fail_at(b, s - 1, 1, "%s is a time: give a unit, ns us ms s m h d",
				    expr_field_name(f));
	return expr_fail(b, &rest, "%s: %s is no unit of it: known are %s", expr_field_name(f),
			 expr_shown(&rest),
			 expr_field_type(f) == EXPR_TIME ? "ns us ms s m h d"
							 : "b kb mb gb kib mib gib");
}

/** parse_number - the whole of @p with its unit, within the field's bounds */
static int parse_number(struct expr_build *b, enum expr_field f, const struct piece *p, uint64_t *v)
{
	const enum expr_type type = expr_field_type(f);
	const struct expr_token all = {EXPR_T_WORD, p->s, p->len};
	const int n = take_digits(p, v);
	const struct unit *u;
	uint64_t factor;

	if (!n)
		return wrong_type(b, f, &all);
	u = n > 0 ? find_unit(type, p->s + n, p->len - (size_t)n) : NULL;
	if (n > 0 && !u && (type == EXPR_SIZE || type == EXPR_TIME) && (*v || (size_t)n < p->len))
		return bad_unit(b, f, p->s + n, p->len - (size_t)n);
	if (n > 0 && !u && (size_t)n < p->len)
		return wrong_type(b, f, &all);
	factor = u ? u->factor : 1; /* 0 needs no unit */
	if (n < 0 || __builtin_mul_overflow(*v, factor, v) || *v > expr_field_max(f))
		return expr_fail(b, &all, "%s is at most %" PRIu64, expr_field_name(f),
				 expr_field_max(f));
	return 0;
}

/** split_range - the two ends of LO-HI, or twice the same */
static bool split_range(const struct expr_token *token, struct piece *lo, struct piece *hi)
{
	const char *dash = memchr(token->s, '-', token->len);

	*lo = *hi = (struct piece){token->s, token->len};
	if (!dash)
		return false;
	lo->len = (size_t)(dash - token->s);
	*hi = (struct piece){dash + 1, token->len - lo->len - 1};
	return true;
}

static int number_range(struct expr_build *b, enum expr_field f, const struct expr_token *token,
			struct expr_range *out)
{
	struct piece lo, hi;
	int rc;

	if (token->kind != EXPR_T_WORD || !is_digit(token->s[0]))
		return wrong_type(b, f, token);
	split_range(token, &lo, &hi);
	if (!lo.len || !hi.len)
		return expr_fail(b, token, "a range is written without blanks: 1000-1999");
	rc = parse_number(b, f, &lo, &out->lo);
	if (!rc)
		rc = parse_number(b, f, &hi, &out->hi);
	if (!rc && out->hi < out->lo)
		rc = expr_fail(b, token, "this range ends before it begins");
	return rc;
}

/* --- names that stand for numbers ---------------------------------------------------- */

static int owner_range(struct expr_build *b, enum expr_field f, const struct expr_token *token,
		       struct expr_range *out)
{
	const bool user = expr_field_type(f) == EXPR_UID;
	int (*find)(void *ctx, const char *name, uint32_t *id) =
		user ? b->ctx->user : b->ctx->group;
	const char *what = user ? "user" : "group";
	uint32_t id;
	size_t len;
	char *name;
	int rc;

	if (token->kind == EXPR_T_WORD && is_digit(token->s[0]))
		return number_range(b, f, token, out);
	if (!find)
		return expr_fail(b, token, "names of %ss are not known here: give the number",
				 what);
	rc = expr_token_text(b, token, false, &name, &len);
	if (rc)
		return rc;
	rc = !len || strlen(name) != len ? -ENOENT : find(b->ctx->ctx, name, &id);
	if (rc == -ENOMEM)
		return rc;
	if (rc == -ENOENT)
		return expr_fail(b, token, "no %s is named %s", what, expr_shown(token));
	if (rc)
		return expr_fail(b, token, "can't look up %s %s: %s", what, expr_shown(token),
				 strerrordesc_np(-rc));
	out->lo = out->hi = id;
	return 0;
}

static int word_range(struct expr_build *b, enum expr_field f, const struct expr_token *token,
		      struct expr_range *out)
{
	const bool numbers = expr_field_max(f) > 0;
	size_t len;
	char *word;
	int rc, n;

	if (numbers && token->kind == EXPR_T_WORD && is_digit(token->s[0]))
		return number_range(b, f, token, out);
	rc = expr_token_text(b, token, false, &word, &len);
	if (rc)
		return rc;
	n = expr_name_find(f, word, len);
	if (n < 0)
		return expr_fail(b, token, "%s is one of %s%s, not %s", expr_field_name(f),
				 expr_name_list(f), numbers ? " or a number" : "",
				 expr_shown(token));
	out->lo = out->hi = (uint64_t)n;
	return 0;
}

static int flags_range(struct expr_build *b, enum expr_field f, const struct expr_token *token,
		       struct expr_range *out)
{
	size_t len;
	char *text;
	int rc;

	if (token->kind == EXPR_T_WORD && is_digit(token->s[0]))
		return number_range(b, f, token, out);
	rc = expr_token_text(b, token, false, &text, &len);
	if (rc)
		return rc;
	if (!expr_flags_parse(text, len, &out->lo))
		return wrong_type(b, f, token);
	out->hi = out->lo;
	return 0;
}

int expr_literal_range(struct expr_build *b, enum expr_field f, const struct expr_token *token,
		       struct expr_range *out)
{
	switch (expr_field_type(f)) {
	case EXPR_UID:
	case EXPR_GID:
		return owner_range(b, f, token, out);
	case EXPR_NAME:
		return word_range(b, f, token, out);
	case EXPR_FLAGS:
		return flags_range(b, f, token, out);
	default:
		return number_range(b, f, token, out);
	}
}

/* --- addresses -------------------------------------------------------------------- */

/** prefix_range - the first and last address of @p */
static void prefix_range(const struct prefix *p, struct expr_addr_range *out)
{
	const unsigned bits = p->bits + (addr_is_v4(&p->addr) ? 96U : 0);

	for (unsigned i = 0; i < sizeof(out->lo.b); i++) {
		const unsigned kept = bits > i * 8 ? MIN(bits - i * 8, 8U) : 0;
		const uint8_t mask = (uint8_t)(0xff00 >> kept);

		out->lo.b[i] = p->addr.b[i] & mask;
		out->hi.b[i] = p->addr.b[i] | (uint8_t)~mask;
	}
}

/** piece_prefix - an address or prefix; only an address when it is an end of a range */
static int piece_prefix(const struct piece *p, bool end, struct prefix *out)
{
	char text[ADDR_STRLEN + 4];

	if (p->len >= sizeof(text) || (end && memchr(p->s, '/', p->len)))
		return -EINVAL;
	memcpy(text, p->s, p->len);
	text[p->len] = '\0';
	return prefix_parse(text, out);
}

int expr_literal_addrs(struct expr_build *b, enum expr_field f, const struct expr_token *token,
		       struct expr_addr_range *out)
{
	struct prefix from, to;
	struct piece lo, hi;
	bool range;

	if (token->kind != EXPR_T_WORD)
		return wrong_type(b, f, token);
	range = split_range(token, &lo, &hi);
	if (piece_prefix(&lo, range, &from) || piece_prefix(&hi, range, &to))
		return wrong_type(b, f, token);
	if (!range) {
		prefix_range(&from, out);
		return 0;
	}
	if (addr_is_v4(&from.addr) != addr_is_v4(&to.addr))
		return expr_fail(b, token, "this range goes from one family to the other");
	if (memcmp(&from.addr, &to.addr, sizeof(from.addr)) > 0)
		return expr_fail(b, token, "this range ends before it begins");
	*out = (struct expr_addr_range){from.addr, to.addr};
	return 0;
}

/* --- texts ------------------------------------------------------------------------ */

int expr_literal_text(struct expr_build *b, enum expr_field f, const struct expr_token *token,
		      char **text, size_t *len)
{
	int rc;

	if (token->kind == EXPR_T_WORD &&
	    (memchr(token->s, '*', token->len) || memchr(token->s, '?', token->len)))
		return expr_fail(b, token, "patterns go with ~; a text with * or ? needs quotes");
	rc = expr_token_text(b, token, false, text, len);
	if (rc || expr_field_type(f) != EXPR_HOSTNAME)
		return rc;
	*len = expr_host_len(*text, *len);
	if (*len && (*text)[*len - 1] == '.')
		return expr_fail(b, token, "no host name ends with two dots");
	if (*len && **text == '.')
		return expr_fail(
			b, token,
			"no host name begins with a dot; for those below it: ~ \"*.NAME\", or "
			"a named set");
	for (size_t i = 0; i < *len; i++)
		(*text)[i] = expr_lower((*text)[i]);
	return 0;
}
