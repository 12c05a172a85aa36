/* SPDX-License-Identifier: MIT */
/*
 * expr_glob: * is any run of bytes, also across dots and slashes; ? is one byte; [a-z] one of a
 * class, [!a-z] one that is not in it; \ takes the meaning from what follows.
 *
 * Of several stars only the last one is ever tried again, so the time is at most the product of
 * both lengths, of which the pattern's is bounded.
 */
#include "expr_impl.h"

#include <string.h>

/** class_end - the place behind the class that begins at @at ('['), 0: it is not closed */
static size_t class_end(const char *p, size_t len, size_t at)
{
	size_t i = at + 1;

	if (i < len && (p[i] == '!' || p[i] == '^'))
		i++;
	for (size_t first = i; i < len; i++) {
		if (p[i] == ']' && i > first)
			return i + 1;
		if (p[i] == '\\')
			i++;
	}
	return 0;
}

static bool is_plain(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (strchr("*?[\\", p[i]) && p[i])
			return false;
	return true;
}

static enum expr_glob_shape shape_of(const char *p, size_t len)
{
	if (len == 1 && *p == '*')
		return EXPR_GLOB_ANY;
	if (len > 1 && *p == '*' && is_plain(p + 1, len - 1))
		return EXPR_GLOB_SUFFIX;
	if (len > 1 && p[len - 1] == '*' && is_plain(p, len - 1))
		return EXPR_GLOB_PREFIX;
	return EXPR_GLOB_GENERAL;
}

size_t expr_glob_check(const char *pattern, size_t len, enum expr_glob_shape *shape)
{
	*shape = shape_of(pattern, len);
	for (size_t i = 0; i < len;) {
		size_t next = i + 1;

		if (pattern[i] == '[')
			next = class_end(pattern, len, i);
		else if (pattern[i] == '\\')
			next = i + 1 < len ? i + 2 : 0;
		if (!next)
			return i + 1;
		i = next;
	}
	return 0;
}

/** in_class - is @c in the class [@p, @end), from behind the '[' up to the ']' */
static bool in_class(const char *p, const char *end, char c)
{
	const bool negate = *p == '!' || *p == '^';
	bool found = false;

	for (p += negate; p < end; p++) {
		unsigned char lo, hi;

		p += *p == '\\';
		lo = hi = (unsigned char)*p;
		if (p + 2 < end && p[1] == '-') {
			p += 2;
			p += *p == '\\';
			hi = (unsigned char)*p;
		}
		found |= (unsigned char)c >= lo && (unsigned char)c <= hi;
	}
	return found != negate;
}

/** one - does the element at @at, no star, match @c? *@next is the place behind it */
static bool one(const char *p, size_t len, size_t at, char c, size_t *next)
{
	*next = at + 1;
	switch (p[at]) {
	case '?':
		return true;
	case '[':
		*next = class_end(p, len, at);
		return in_class(p + at + 1, p + *next - 1, c);
	case '\\':
		*next = at + 2;
		return p[at + 1] == c;
	default:
		return p[at] == c;
	}
}

static bool match_general(bool fold, const char *p, size_t plen, const char *s, size_t len)
{
	size_t i = 0, at = 0, next, star = SIZE_MAX, star_i = 0;

	while (i < len) {
		const char c = fold ? expr_lower(s[i]) : s[i];

		if (at < plen && p[at] == '*') {
			star = ++at;
			star_i = i;
		} else if (at < plen && one(p, plen, at, c, &next)) {
			at = next;
			i++;
		} else if (star != SIZE_MAX) {
			at = star; /* the star takes one byte more */
			i = ++star_i;
		} else {
			return false;
		}
	}
	while (at < plen && p[at] == '*')
		at++;
	return at == plen;
}

static bool same(bool fold, const char *p, const char *s, size_t len)
{
	if (!fold)
		return !memcmp(p, s, len);
	for (size_t i = 0; i < len; i++)
		if (p[i] != expr_lower(s[i]))
			return false;
	return true;
}

bool expr_glob_match(enum expr_glob_shape shape, bool fold, const char *pattern, size_t plen,
		     const char *s, size_t len)
{
	switch (shape) {
	case EXPR_GLOB_ANY:
		return true;
	case EXPR_GLOB_SUFFIX:
		return len >= plen - 1 && same(fold, pattern + 1, s + len - (plen - 1), plen - 1);
	case EXPR_GLOB_PREFIX:
		return len >= plen - 1 && same(fold, pattern, s, plen - 1);
	default:
		return match_general(fold, pattern, plen, s, len);
	}
}
