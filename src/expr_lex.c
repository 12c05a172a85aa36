/* SPDX-License-Identifier: MIT */
/*
 * expr_lex: the tokens of the filter language.
 *
 * A word is whatever needs no quotes: names of fields, numbers with units, addresses, prefixes,
 * ranges, host names, paths, globs. What it means is for the comparison's type to say.
 */
#include "expr_impl.h"

#include <string.h>

#include "base/util.h"

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool expr_is_word(char c)
{
	return is_alnum(c) || (c && strchr("_.:/-*?@+%", c));
}

static const struct sign {
	char text[3];
	enum expr_token_kind kind;
} signs[] = {
	/* two characters first */
	{"==", EXPR_T_EQ},    {"!=", EXPR_T_NE},   {"<=", EXPR_T_LE},	   {">=", EXPR_T_GE},
	{"=~", EXPR_T_REGEX}, {"&&", EXPR_T_AND},  {"||", EXPR_T_OR},	   {"<", EXPR_T_LT},
	{">", EXPR_T_GT},     {"~", EXPR_T_GLOB},  {"!", EXPR_T_NOT},	   {"&", EXPR_T_BITS},
	{"(", EXPR_T_OPEN},   {")", EXPR_T_CLOSE}, {"{", EXPR_T_OPEN_SET}, {"}", EXPR_T_CLOSE_SET},
	{",", EXPR_T_COMMA},
};

static const struct {
	const char *text;
	enum expr_token_kind kind;
} keywords[] = {{"and", EXPR_T_AND}, {"or", EXPR_T_OR}, {"not", EXPR_T_NOT}, {"in", EXPR_T_IN}};

/** take_word - the word at @b->at, which may be a keyword */
static void take_word(struct expr_build *b)
{
	struct expr_token *t = &b->token;

	while (b->at < b->end && expr_is_word(*b->at))
		b->at++;
	t->len = (size_t)(b->at - t->s);
	t->kind = EXPR_T_WORD;
	for (size_t i = 0; i < ARRAY_SIZE(keywords); i++)
		if (strlen(keywords[i].text) == t->len && !memcmp(keywords[i].text, t->s, t->len))
			t->kind = keywords[i].kind;
}

/** take_quoted - up to the closing quote, in one line */
static int take_quoted(struct expr_build *b)
{
	struct expr_token *t = &b->token;

	for (b->at++; b->at < b->end && *b->at != '"'; b->at++) {
		if (*b->at == '\n')
			break;
		if (((unsigned char)*b->at < ' ' && *b->at != '\t') || *b->at == 0x7f)
			return expr_fail_at(b, b->at, 1, "a control character: write it as \\xNN");
		if (*b->at == '\\' && b->at + 1 < b->end && (b->at[1] == '"' || b->at[1] == '\\'))
			b->at++;
	}
	if (b->at >= b->end || *b->at != '"')
		return expr_fail_at(b, t->s, 1, "this quote is not closed");
	b->at++;
	t->len = (size_t)(b->at - t->s);
	t->kind = EXPR_T_QUOTED;
	return 0;
}

static int take_sign(struct expr_build *b)
{
	struct expr_token *t = &b->token;
	const size_t left = (size_t)(b->end - b->at);

	for (size_t i = 0; i < ARRAY_SIZE(signs); i++) {
		const size_t len = strlen(signs[i].text);

		if (len > left || memcmp(signs[i].text, b->at, len) != 0)
			continue;
		t->kind = signs[i].kind;
		t->len = len;
		b->at += len;
		return 0;
	}
	if (*b->at == '=')
		return expr_fail_at(b, b->at, 1, "to compare write ==");
	if (*b->at == '\'')
		return expr_fail_at(b, b->at, 1, "texts stand in double quotes");
	if (*b->at == '|')
		return expr_fail_at(b, b->at, 1, "write or, or ||");
	t->len = 1;
	return expr_fail_at(b, b->at, 1, "%s means nothing here: a text with it needs quotes",
			    expr_shown(t));
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int expr_next(struct expr_build *b)
{
	while (b->at < b->end && is_blank(*b->at))
		b->at++;
	b->token = (struct expr_token){.kind = EXPR_T_END, .s = b->at};
	if (b->at == b->end)
		return 0;
	if (*b->at == '"')
		return take_quoted(b);
	if (!expr_is_word(*b->at))
		return take_sign(b);
	take_word(b);
	return 0;
}

/* --- texts ----------------------------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = expr_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** take_escape - what the backslash at @p makes; returns how many bytes of the text it took, 0 =
 * error */
static size_t take_escape(const char *p, const char *end, char *out)
{
	static const char from[] = "\"\\nrt", to[] = "\"\\\n\r\t";
	const char *known = strchr(from, p[1]);

	if (known) {
		*out = to[known - from];
		return 2;
	}
	if (p[1] != 'x' || end - p < 4 || hex_digit(p[2]) < 0 || hex_digit(p[3]) < 0)
		return 0;
	*out = (char)(hex_digit(p[2]) * 16 + hex_digit(p[3]));
	return 4;
}

/** pattern_step - a byte of a pattern, or two, the first of which is a backslash; returns 1 or 2 */
static size_t pattern_step(const char *p, const char **from)
{
	*from = p;
	if (*p != '\\')
		return 1;
	if (p[1] != '"')
		return 2;
	*from = p + 1; /* the quote alone */
	return 2;
}

int expr_token_text(struct expr_build *b, const struct expr_token *token, bool pattern, char **text,
		    size_t *len)
{
	const bool quoted = token->kind == EXPR_T_QUOTED;
	const char *p = token->s + quoted, *end = token->s + token->len - quoted, *from;
	char *out = b->scratch;

	while (p < end) {
		size_t took = 1;

		if (!quoted || *p != '\\') {
			*out++ = *p;
		} else if (!pattern) {
			took = take_escape(p, end, out++);
			if (!took)
				return expr_fail_at(
					b, p, 2,
					"unknown escape: known are \\\" \\\\ \\n \\r \\t \\xNN");
		} else {
			took = pattern_step(p, &from);
			for (; from < p + took; from++)
				*out++ = *from;
		}
		p += took;
	}
	*out = '\0';
	*text = b->scratch;
	*len = (size_t)(out - b->scratch);
	return 0;
}

const char *expr_pattern_place(const struct expr_token *token, size_t n)
{
	const bool quoted = token->kind == EXPR_T_QUOTED;
	const char *p = token->s + quoted, *end = token->s + token->len - quoted, *from;

	while (p < end && n) {
		const size_t took = quoted ? pattern_step(p, &from) : 1;
		const size_t made = quoted ? (size_t)(p + took - from) : 1;

		p += took;
		n -= MIN(n, made);
	}
	return p;
}
