/* SPDX-License-Identifier: MIT */
/* expr_flags: TCP flags as people write them. */
#include "expr_impl.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"

#define NAME_LEN 3

static const struct {
	char name[NAME_LEN + 1], letter;
} flags_known[] = {/* by bit */
		   {"fin", 'f'}, {"syn", 's'}, {"rst", 'r'}, {"psh", 'p'},
		   {"ack", 'a'}, {"urg", 'u'}, {"ece", 'e'}, {"cwr", 'c'}};

/** flag_named - the bit of @name, 0: none */
static uint64_t flag_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags_known); i++)
		if (!strncasecmp(flags_known[i].name, name, NAME_LEN))
			return 1ULL << i;
	return 0;
}

static uint64_t flag_of_letter(char c)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags_known); i++)
		if (flags_known[i].letter == expr_lower(c))
			return 1ULL << i;
	return 0;
}

/** parse_names - names of three letters with a comma between */
static bool parse_names(const char *text, size_t len, uint64_t *flags)
{
	*flags = 0;
	for (size_t at = 0; at + NAME_LEN <= len; at += NAME_LEN + 1) {
		const uint64_t bit = flag_named(text + at);

		*flags |= bit;
		if (!bit)
			return false;
		if (at + NAME_LEN == len)
			return true;
		if (text[at + NAME_LEN] != ',')
			return false;
	}
	return false;
}

static bool parse_letters(const char *text, size_t len, uint64_t *flags)
{
	*flags = 0;
	for (size_t i = 0; i < len; i++) {
		const uint64_t bit = flag_of_letter(text[i]);

		*flags |= bit;
		if (!bit)
			return false;
	}
	return len > 0;
}

bool expr_flags_parse(const char *text, size_t len, uint64_t *flags)
{
	return parse_names(text, len, flags) || parse_letters(text, len, flags);
}

const char *expr_flags_text(uint64_t flags, char *buf, size_t size)
{
	size_t n = 0;

	buf[0] = '\0';
	if (flags >> ARRAY_SIZE(flags_known))
		return buf;
	for (size_t i = 0; i < ARRAY_SIZE(flags_known); i++)
		if (flags & 1ULL << i)
			n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? "," : "",
					      flags_known[i].name);
	return buf;
}
