/* SPDX-License-Identifier: MIT */
/* expr_error: what is wrong with an expression, where, and how that looks to a person. */
#include "expr_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

/** fill - the place of @at, by counting lines, as this happens once */
__attribute__((format(printf, 4, 0))) static void fill(struct expr_build *b, const char *at,
						       size_t width, const char *fmt, va_list ap)
{
	struct expr_error *err = b->err;
	const char *line = b->text;

	err->line = 1;
	for (const char *p = b->text; p < at; p++) {
		if (*p == '\n') {
			err->line++;
			line = p + 1;
		}
	}
	err->column = (unsigned)(at - line) + 1;
	err->width = width ? (unsigned)width : 1;
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
}

int expr_fail_at(struct expr_build *b, const char *at, size_t width, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(b, at, width, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int expr_fail(struct expr_build *b, const struct expr_token *token, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(b, token->s, token->len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/** printable - @c, or what stands for it where a line is shown */
static char printable(char c)
{
	if (c == '\t')
		return ' ';
	return (unsigned char)c < ' ' || c == 0x7f ? '?' : c;
}

#define SHOWN_MAX 40

const char *expr_shown(const struct expr_token *token)
{
	static char buffers[2][SHOWN_MAX + 8];
	static unsigned turn;
	char *out = buffers[turn++ % ARRAY_SIZE(buffers)];
	size_t n = MIN(token->len, (size_t)SHOWN_MAX);

	if (!token->len)
		return "the end";
	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned char)token->s[i] >= 0x80 ? '?' : printable(token->s[i]);
	str_copy(out + n, sizeof(buffers[0]) - n, token->len > n ? "..." : "");
	return out;
}

const char *expr_type_text(enum expr_type type)
{
	static const char *const texts[] = {
		[EXPR_NUMBER] = "a number",
		[EXPR_SIZE] = "a size (512, 10kb, 4mib)",
		[EXPR_TIME] = "a time (200ms, 3s)",
		[EXPR_ADDR] = "an address, a prefix or a range",
		[EXPR_TEXT] = "a text",
		[EXPR_HOSTNAME] = "a host name",
		[EXPR_NAME] = "a word",
		[EXPR_UID] = "a user, by name or number",
		[EXPR_GID] = "a group, by name or number",
		[EXPR_FLAGS] = "TCP flags (syn, \"syn,ack\", SA)",
	};

	return texts[type];
}

/* --- the line and the carets ----------------------------------------------------- */

#define LINE_MAX_SHOWN 100 /* bytes of the line, from not far before the place */
#define LINE_BEFORE    60

/** is_inside_char - a byte of UTF-8 that does not begin a character, so takes no place of its own
 */
static bool is_inside_char(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/** find_line - line number @line of the text, without its end */
static void find_line(const char *text, size_t len, unsigned line, const char **at, size_t *n)
{
	const char *end = text + len, *stop;

	while (line > 1 && text < end)
		line -= *text++ == '\n';
	stop = memchr(text, '\n', (size_t)(end - text));
	*at = text;
	*n = (size_t)((stop ? stop : end) - text);
}

/** put - append @n times @c, as far as there is room for it and the NUL */
static size_t put(char *buf, size_t size, size_t at, char c, size_t n)
{
	for (; n && at + 1 < size; n--)
		buf[at++] = c;
	return at;
}

void expr_error_show(const struct expr_error *err, const char *text, size_t len, char *buf,
		     size_t size)
{
	size_t n, from, to, column = err->column - 1, caret_end, at;
	const char *line;

	if (!size)
		return;
	at = (size_t)snprintf(buf, size, "%u:%u: %s\n", err->line, err->column, err->text);
	at = MIN(at, size - 1);
	find_line(text, len, err->line, &line, &n);
	from = column > LINE_BEFORE && n > LINE_MAX_SHOWN ? column - LINE_BEFORE : 0;
	while (from < column && from < n && is_inside_char(line[from]))
		from++;
	to = MIN(n, from + LINE_MAX_SHOWN);
	caret_end = MIN(MAX((size_t)err->width + column, column + 1), MAX(to, column + 1));
	for (size_t i = from; i < to; i++)
		at = put(buf, size, at, printable(line[i]), 1);
	at = put(buf, size, at, '\n', 1);
	for (size_t i = from; i < caret_end; i++)
		if (i >= n || i == column || !is_inside_char(line[i]))
			at = put(buf, size, at, i < column ? ' ' : '^', 1);
	buf[at] = '\0';
}
