/* SPDX-License-Identifier: MIT */
#include "match_rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** struct cursor - what of one line is not parsed yet */
struct cursor {
	const char *p, *end;
	unsigned line;
	char *err;
	size_t errsize;
};

__attribute__((format(printf, 2, 3))) static int fail(struct cursor *c, const char *fmt, ...)
{
	int n = snprintf(c->err, c->errsize, "line %u: ", c->line);
	va_list ap;

	va_start(ap, fmt);
	if (n >= 0 && (size_t)n < c->errsize)
		vsnprintf(c->err + n, c->errsize - (size_t)n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static void skip_blanks(struct cursor *c)
{
	while (c->p < c->end && isspace((unsigned char)*c->p))
		c->p++;
}

static bool at_end(struct cursor *c)
{
	skip_blanks(c);
	return c->p == c->end || *c->p == '#';
}

/** take_word - the next word is @word: skip it */
static bool take_word(struct cursor *c, const char *word)
{
	size_t n = strlen(word);

	skip_blanks(c);
	if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
		return false;
	if (c->p + n < c->end && (isalnum((unsigned char)c->p[n]) || c->p[n] == '_'))
		return false;
	c->p += n;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** unescape - the byte after a backslash; the cursor stands behind it; -1: no such escape */
static int unescape(struct cursor *c)
{
	static const char from[] = "nrt0\\\"/", to[] = "\n\r\t\0\\\"/";
	const char *at;
	int hi, lo;

	if (c->p == c->end)
		return -1;
	if (*c->p == 'x' && c->end - c->p >= 3) {
		hi = hex_digit(c->p[1]);
		lo = hex_digit(c->p[2]);
		if (hi < 0 || lo < 0)
			return -1;
		c->p += 3;
		return hi << 4 | lo;
	}
	at = memchr(from, *c->p, sizeof(from) - 1);
	if (!at)
		return -1;
	c->p++;
	return (unsigned char)to[at - from];
}

/** take_quoted - a string in double quotes; *@out is owned by the caller, also on failure */
static int take_quoted(struct cursor *c, char **out, size_t *len)
{
	char *s;

	skip_blanks(c);
	if (c->p == c->end || *c->p != '"')
		return fail(c, "a text in double quotes is missing");
	s = *out = malloc((size_t)(c->end - c->p) + 1);
	if (!s)
		return -ENOMEM;
	for (c->p++, *len = 0; c->p < c->end && *c->p != '"';) {
		int byte = (unsigned char)*c->p++;

		if (byte == '\\') {
			byte = unescape(c);
			if (byte < 0)
				return fail(c, "unknown escape after a backslash");
		}
		s[(*len)++] = (char)byte;
	}
	if (c->p == c->end)
		return fail(c, "the closing quote is missing");
	c->p++;
	s[*len] = 0;
	return 0;
}

/** take_regex - /PATTERN/, in which only \/ is an escape of ours */
static int take_regex(struct cursor *c, struct match_rule *r)
{
	r->regex = true;
	r->pattern = malloc((size_t)(c->end - c->p) + 1);
	if (!r->pattern)
		return -ENOMEM;
	for (c->p++; c->p < c->end && *c->p != '/'; c->p++) {
		if (*c->p == '\\' && c->p + 1 < c->end) {
			if (c->p[1] != '/')
				r->pattern[r->len++] = '\\';
			c->p++;
		}
		r->pattern[r->len++] = *c->p;
	}
	if (c->p == c->end)
		return fail(c, "the closing / is missing");
	c->p++;
	r->pattern[r->len] = 0;
	return 0;
}

/** take_flags - letters right behind a pattern */
static int take_flags(struct cursor *c, struct match_rule *r)
{
	for (; c->p < c->end && isalpha((unsigned char)*c->p); c->p++) {
		if (*c->p == 'i')
			r->nocase = true;
		else if (*c->p == 's' && r->regex)
			r->dotall = true;
		else if (*c->p == 'm' && r->regex)
			r->multiline = true;
		else
			return fail(c, "unknown flag '%c'", *c->p);
	}
	return 0;
}

static int take_pattern(struct cursor *c, struct match_rule *r)
{
	int rc;

	skip_blanks(c);
	if (c->p < c->end && *c->p == '/')
		rc = take_regex(c, r);
	else
		rc = take_quoted(c, &r->pattern, &r->len);
	if (!rc)
		rc = take_flags(c, r);
	if (!rc && !r->len)
		rc = fail(c, "the pattern is empty");
	if (!rc && r->len > MATCH_PATTERN_MAX)
		rc = fail(c, "the pattern has more than %d bytes", MATCH_PATTERN_MAX);
	return rc;
}

static int take_action(struct cursor *c, struct match_rule *r)
{
	if (take_word(c, "alert"))
		r->action = MATCH_ALERT;
	else if (take_word(c, "block"))
		r->action = MATCH_BLOCK;
	else if (take_word(c, "replace"))
		r->action = MATCH_REPLACE;
	else
		return fail(c, "it begins with alert, block or replace");
	if (take_word(c, "up"))
		r->dirs = 1;
	else if (take_word(c, "down"))
		r->dirs = 2;
	else
		r->dirs = 3;
	return 0;
}

static int take_name(struct cursor *c, struct match_rule *r)
{
	size_t n = 0;

	skip_blanks(c);
	while (c->p < c->end && !isspace((unsigned char)*c->p)) {
		if (n == sizeof(r->name) - 1 ||
		    !(isalnum((unsigned char)*c->p) || (*c->p && strchr("._-", *c->p))))
			return fail(c, "a name is up to %zu letters, digits, . _ -",
				    sizeof(r->name) - 1);
		r->name[n++] = *c->p++;
	}
	r->name[n] = 0;
	return n ? 0 : fail(c, "the name is missing");
}

static int parse_rule(struct cursor *c, struct match_rule *r)
{
	int rc = take_action(c, r);

	r->line = c->line;
	snprintf(r->name, sizeof(r->name), "line %u", c->line);
	if (!rc)
		rc = take_pattern(c, r);
	if (!rc && take_word(c, "with")) {
		if (r->action != MATCH_REPLACE)
			return fail(c, "only replace takes 'with'");
		rc = take_quoted(c, &r->with, &r->with_len);
	} else if (!rc && r->action == MATCH_REPLACE) {
		rc = fail(c, "replace needs: with \"TEXT\"");
	}
	if (!rc && take_word(c, "name"))
		rc = take_name(c, r);
	if (!rc && !at_end(c))
		rc = fail(c, "something stands behind the rule: %.*s",
			  c->end - c->p > 20 ? 20 : (int)(c->end - c->p), c->p);
	return rc;
}

static int add_rule(struct match_rules *r, struct cursor *c)
{
	if (r->n == MATCH_RULES_MAX)
		return fail(c, "more than %d rules", MATCH_RULES_MAX);
	if (r->n == r->cap) {
		size_t cap = r->cap ? 2 * r->cap : 64;
		struct match_rule *bigger = reallocarray(r->rule, cap, sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		r->rule = bigger;
		r->cap = cap;
	}
	r->rule[r->n] = (struct match_rule){.line = c->line};
	return parse_rule(c, &r->rule[r->n++]);
}

int match_rules_parse(struct match_rules *r, const char *text, size_t len, char *err,
		      size_t errsize)
{
	const char *end = text + len;
	struct cursor c = {.err = err, .errsize = errsize};
	int rc = 0;

	*r = (struct match_rules){NULL, 0, 0};
	while (!rc && text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));

		c.p = text;
		c.end = nl ? nl : end;
		c.line++;
		text = c.end + 1;
		if (!at_end(&c))
			rc = add_rule(r, &c);
	}
	return rc;
}

void match_rules_free(struct match_rules *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->rule[i].pattern);
		free(r->rule[i].with);
	}
	free(r->rule);
	*r = (struct match_rules){NULL, 0, 0};
}
