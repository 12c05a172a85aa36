/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A pattern is a row of items. Those that match in one way only (a class, a back reference, %b, %f,
 * the end) are taken by the loop of match_rest(). Those that may match in several ways (a
 * quantifier, a capture, which must be taken back when what follows does not match) try the rest of
 * the pattern by recursion, so the depth is bounded by the number of such items, and by DEPTH_MAX.
 *
 * Every comparison of a character is a step. When may_go_on() says no, error is set, and
 * whoever sees that returns NULL: all loops end at once.
 */
#include "lua_pattern.h"

#include <ctype.h>
#include <string.h>

#define DEPTH_MAX 200

static const char *match_rest(struct pattern_match *m, const char *s, const char *p);

static const char *fail(struct pattern_match *m, const char *error)
{
	if (!m->error)
		m->error = error;
	return NULL;
}

/** steps - @n more of them; false when the search has to end */
static bool steps(struct pattern_match *m, size_t n)
{
	m->steps += n;
	if (m->steps >= PATTERN_STEPS) {
		m->steps = 0;
		if (!m->may_go_on(m->ctx))
			fail(m, "it takes too long");
	}
	return !m->error;
}

/* --- one character --------------------------------------------------------------------- */

static bool in_class(unsigned char c, unsigned char class)
{
	bool yes;

	switch (tolower(class)) {
	case 'a':
		yes = isalpha(c);
		break;
	case 'c':
		yes = iscntrl(c);
		break;
	case 'd':
		yes = isdigit(c);
		break;
	case 'g':
		yes = isgraph(c);
		break;
	case 'l':
		yes = islower(c);
		break;
	case 'p':
		yes = ispunct(c);
		break;
	case 's':
		yes = isspace(c);
		break;
	case 'u':
		yes = isupper(c);
		break;
	case 'w':
		yes = isalnum(c);
		break;
	case 'x':
		yes = isxdigit(c);
		break;
	case 'z': /* of older versions; the library still knows it */
		yes = c == 0;
		break;
	default:
		return c == class;
	}
	return isupper(class) ? !yes : yes;
}

/** set_end - behind the set that begins at @p, which is '['; NULL and an error when it has no end
 */
static const char *set_end(struct pattern_match *m, const char *p)
{
	const char *first = p + 1;

	if (first < m->pattern_end && *first == '^')
		first++;
	for (p = first; p < m->pattern_end; p++) {
		if (*p == ']' && p > first)
			return p + 1;
		if (*p == '%' && ++p == m->pattern_end)
			break;
	}
	return fail(m, "malformed pattern (missing ']')");
}

/** single_end - behind the single character, class or set at @p */
static const char *single_end(struct pattern_match *m, const char *p)
{
	if (*p == '[')
		return set_end(m, p);
	if (*p != '%')
		return p + 1;
	if (p + 1 == m->pattern_end)
		return fail(m, "malformed pattern (ends with '%')");
	return p + 2;
}

/** in_set - @c against [...], whose ']' is @close */
static bool in_set(unsigned char c, const char *p, const char *close)
{
	bool negated = p[1] == '^';

	for (p += 1 + negated; p < close; p++) {
		if (*p == '%') {
			if (in_class(c, (unsigned char)*++p))
				return !negated;
		} else if (p + 2 < close && p[1] == '-') {
			if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2])
				return !negated;
			p += 2;
		} else if ((unsigned char)*p == c) {
			return !negated;
		}
	}
	return negated;
}

/** single_matches - the item [@p, @end) against the character at @s */
static bool single_matches(struct pattern_match *m, const char *s, const char *p, const char *end)
{
	unsigned char c;

	if (s >= m->subject_end || !steps(m, 1))
		return false;
	c = (unsigned char)*s;
	switch (*p) {
	case '.':
		return true;
	case '%':
		return in_class(c, (unsigned char)p[1]);
	case '[':
		return in_set(c, p, end - 1);
	default:
		return (unsigned char)*p == c;
	}
}

/* --- quantifiers --------------------------------------------------------------------------- */

/** longest_first - item* (@least 0) or item+ (1) and then the rest at @rest */
static const char *longest_first(struct pattern_match *m, const char *s, const char *p,
				 const char *end, const char *rest, size_t least)
{
	size_t n = 0;

	while (single_matches(m, s + n, p, end))
		n++;
	for (; !m->error && n >= least; n--) {
		const char *e = match_rest(m, s + n, rest);

		if (e || n == 0)
			return e;
	}
	return NULL;
}

/** shortest_first - item- and then the rest */
static const char *shortest_first(struct pattern_match *m, const char *s, const char *p,
				  const char *end, const char *rest)
{
	for (;; s++) {
		const char *e = match_rest(m, s, rest);

		if (e || m->error || !single_matches(m, s, p, end))
			return e;
	}
}

/** once_or_not - item? and then the rest */
static const char *once_or_not(struct pattern_match *m, const char *s, const char *p,
			       const char *end, const char *rest)
{
	if (single_matches(m, s, p, end)) {
		const char *e = match_rest(m, s + 1, rest);

		if (e || m->error)
			return e;
	}
	return m->error ? NULL : match_rest(m, s, rest);
}

/* --- captures ------------------------------------------------------------------------------- */

static const char *open_capture(struct pattern_match *m, const char *s, const char *p)
{
	bool place = p + 1 < m->pattern_end && p[1] == ')';
	const char *e;

	if (m->n_captures == PATTERN_CAPTURES_MAX)
		return fail(m, "too many captures");
	m->capture[m->n_captures++] =
		(struct pattern_capture){s, place ? CAPTURE_PLACE : CAPTURE_OPEN};
	e = match_rest(m, s, p + 1 + place);
	if (!e)
		m->n_captures--;
	return e;
}

static const char *close_capture(struct pattern_match *m, const char *s, const char *p)
{
	unsigned k = m->n_captures;
	const char *e;

	while (k && m->capture[k - 1].len != CAPTURE_OPEN)
		k--;
	if (!k)
		return fail(m, "invalid pattern capture");
	m->capture[k - 1].len = s - m->capture[k - 1].at;
	e = match_rest(m, s, p + 1);
	if (!e)
		m->capture[k - 1].len = CAPTURE_OPEN;
	return e;
}

/** back_reference - behind a copy of what capture @digit holds */
static const char *back_reference(struct pattern_match *m, const char *s, char digit)
{
	unsigned k = (unsigned)(digit - '1');
	ptrdiff_t len;

	if (digit == '0' || k >= m->n_captures || m->capture[k].len == CAPTURE_OPEN)
		return fail(m, "invalid capture index in a pattern");
	len = m->capture[k].len;
	if (len == CAPTURE_PLACE) /* has no text: nothing equals it */
		return NULL;
	if (!steps(m, 1 + (size_t)len / 16) || m->subject_end - s < len ||
	    memcmp(m->capture[k].at, s, (size_t)len) != 0)
		return NULL;
	return s + len;
}

/* --- %b and %f ----------------------------------------------------------------------------------
 */

/** balanced - %bxy at @p: behind the y that ends what the x at @s has begun */
static const char *balanced(struct pattern_match *m, const char *s, const char *p)
{
	size_t depth = 1;

	if (m->pattern_end - p < 4)
		return fail(m, "malformed pattern (missing arguments to '%b')");
	if (s >= m->subject_end || *s != p[2])
		return NULL;
	while (++s < m->subject_end && steps(m, 1)) {
		if (*s == p[3]) {
			if (--depth == 0)
				return s + 1;
		} else if (*s == p[2]) {
			depth++;
		}
	}
	return NULL;
}

/** frontier - %f[set] at @p: the character before @s is not in the set, that at @s is; *@end */
static bool frontier(struct pattern_match *m, const char *s, const char *p, const char **end)
{
	unsigned char before = s == m->subject ? 0 : (unsigned char)s[-1];
	unsigned char here = s < m->subject_end ? (unsigned char)*s : 0;

	p += 2;
	if (p >= m->pattern_end || *p != '[') {
		fail(m, "missing '[' after '%f' in pattern");
		return false;
	}
	*end = set_end(m, p);
	return *end && steps(m, 1) && !in_set(before, p, *end - 1) && in_set(here, p, *end - 1);
}

/* --- a row of items
 * ------------------------------------------------------------------------------- */

/**
 * match_single - a single item with or without a quantifier
 *
 * Returns true with *@s and *@p behind it when the loop may go on; else *@s is the answer.
 */
static bool match_single(struct pattern_match *m, const char **s, const char **p)
{
	const char *item = *p, *end = single_end(m, item);
	char q;

	if (!end) {
		*s = NULL;
		return false;
	}
	q = end < m->pattern_end ? *end : 0;
	switch (q) {
	case '*':
		*s = longest_first(m, *s, item, end, end + 1, 0);
		return false;
	case '+':
		*s = longest_first(m, *s, item, end, end + 1, 1);
		return false;
	case '-':
		*s = shortest_first(m, *s, item, end, end + 1);
		return false;
	case '?':
		*s = once_or_not(m, *s, item, end, end + 1);
		return false;
	default:
		*s = single_matches(m, *s, item, end) ? *s + 1 : NULL;
		*p = end;
		return *s != NULL;
	}
}

/** match_special - what begins with %: as match_single() */
static bool match_special(struct pattern_match *m, const char **s, const char **p)
{
	const char *end = NULL;
	char c = *p + 1 < m->pattern_end ? (*p)[1] : 0;

	if (c == 'b') {
		*s = balanced(m, *s, *p);
		*p += 4;
	} else if (c == 'f') {
		if (!frontier(m, *s, *p, &end))
			*s = NULL;
		*p = end;
	} else if (isdigit((unsigned char)c)) {
		*s = back_reference(m, *s, c);
		*p += 2;
	} else {
		return match_single(m, s, p);
	}
	return *s != NULL;
}

static const char *match_rest(struct pattern_match *m, const char *s, const char *p)
{
	bool on = true;

	if (m->depth == DEPTH_MAX)
		return fail(m, "pattern too complex");
	m->depth++;
	while (on && s && p < m->pattern_end) {
		if (*p == '(') {
			s = open_capture(m, s, p);
			break;
		}
		if (*p == ')') {
			s = close_capture(m, s, p);
			break;
		}
		if (*p == '$' && p + 1 == m->pattern_end) {
			s = s == m->subject_end ? s : NULL;
			break;
		}
		on = *p == '%' ? match_special(m, &s, &p) : match_single(m, &s, &p);
	}
	m->depth--;
	return m->error ? NULL : s;
}

const char *pattern_match_at(struct pattern_match *m, const char *s)
{
	m->n_captures = 0;
	m->depth = 0;
	return steps(m, 1) ? match_rest(m, s, m->pattern) : NULL;
}

bool pattern_is_plain(const char *pattern, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (pattern[i] && strchr("^$*+?.([%-", pattern[i]))
			return false;
	return true;
}
