/* SPDX-License-Identifier: MIT */
#include "shared_util.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define SAY_EVERY_NS UINT64_C(1000000000)

void complain(struct complaints *c, const struct weir_host *host, struct weir_hook_ref *ref,
	      struct weir_flow *f, const char *text)
{
	uint64_t now = host->now(ref);
	char line[640];

	c->count++;
	if (c->said_ns && now - c->said_ns < SAY_EVERY_NS) {
		c->unsaid++;
		return;
	}
	if (c->unsaid)
		snprintf(line, sizeof(line), "%s (and %llu more errors since the last)", text,
			 (unsigned long long)c->unsaid);
	else
		snprintf(line, sizeof(line), "%s", text);
	c->said_ns = now;
	c->unsaid = 0;
	host->log(ref, f, WEIR_LOG_ERROR, line);
}

/* --- settings -------------------------------------------------------------------------- */

struct unit {
	const char *name;
	uint64_t times;
};

static uint64_t parse_quantity(const char *text, const struct unit *units, uint64_t least,
			       uint64_t most)
{
	unsigned long long n;
	uint64_t all;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || errno)
		return 0;
	while (units->name && strcasecmp(end, units->name) != 0)
		units++;
	if (!units->name || __builtin_mul_overflow(n, units->times, &all))
		return 0;
	return all < least || all > most ? 0 : all;
}

uint64_t parse_size(const char *text, uint64_t least, uint64_t most)
{
	static const struct unit units[] = {{"", 1},	     {"k", 1 << 10},  {"kb", 1 << 10},
					    {"m", 1 << 20},  {"mb", 1 << 20}, {"g", 1 << 30},
					    {"gb", 1 << 30}, {NULL, 0}};

	return parse_quantity(text, units, least, most);
}

uint64_t parse_time(const char *text, uint64_t least, uint64_t most)
{
	static const struct unit units[] = {
		{"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {NULL, 0}};

	return parse_quantity(text, units, least, most);
}

int absolute_path(const char *path, char *out, size_t size)
{
	char here[PATH_MAX];
	int n;

	if (*path == '/')
		n = snprintf(out, size, "%s", path);
	else if (getcwd(here, sizeof(here)))
		n = snprintf(out, size, "%s%s%s", strcmp(here, "/") || !*path ? here : "",
			     *path ? "/" : "", path);
	else
		return -1;
	return n >= 0 && (size_t)n < size ? 0 : -1;
}

/* --- JSON ----------------------------------------------------------------------------------- */

/** utf8_length - of the valid sequence of several bytes at @s, or 0 */
static size_t utf8_length(const unsigned char *s, size_t left)
{
	static const struct {
		unsigned char mask, bits;
		uint32_t least;
	} kind[] = {{0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

	for (size_t n = 2; n <= 4 && n <= left; n++) {
		uint32_t c = s[0] & (0xffU >> (n + 1));

		if ((s[0] & kind[n - 2].mask) != kind[n - 2].bits)
			continue;
		for (size_t i = 1; i < n; i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			c = c << 6 | (s[i] & 0x3f);
		}
		return c >= kind[n - 2].least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n
											     : 0;
	}
	return 0;
}

/** plain_run - how many bytes from the front of @s stand for themselves */
static size_t plain_run(const unsigned char *s, size_t len)
{
	size_t n = 0;

	while (n < len && s[n] >= 0x20 && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
		n++;
	return n;
}

/** escape_byte - \n and the like are what a program that looks at lines of text can search for */
static void escape_byte(unsigned char c, void (*put)(void *ctx, const char *text, size_t len),
			void *ctx)
{
	static const char letters[] = "\"\\\n\r\t", names[] = "\"\\nrt";
	const char *known = c ? strchr(letters, c) : NULL;
	char escaped[8];
	int n;

	if (known)
		n = snprintf(escaped, sizeof(escaped), "\\%c", names[known - letters]);
	else
		n = snprintf(escaped, sizeof(escaped), "\\u%04x", c);
	put(ctx, escaped, (size_t)n);
}

void json_escape(const char *text, size_t len, enum json_bytes as,
		 void (*put)(void *ctx, const char *text, size_t len), void *ctx)
{
	const unsigned char *s = (const unsigned char *)text, *end = s + len;

	put(ctx, "\"", 1);
	while (s < end) {
		size_t n = plain_run(s, (size_t)(end - s));

		if (!n && as == JSON_TEXT)
			n = utf8_length(s, (size_t)(end - s));
		if (n)
			put(ctx, (const char *)s, n);
		else
			escape_byte(*s, put, ctx);
		s += n ? n : 1;
	}
	put(ctx, "\"", 1);
}
