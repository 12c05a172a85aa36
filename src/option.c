/* SPDX-License-Identifier: MIT */
#include "option.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#include "base/util.h"

#define VALUE_SHOWN 60 /* characters of a bad value that an error repeats */

void *option_member(struct config *c, size_t offset)
{
	return (char *)c + offset;
}

int option_set_flag(struct config *c, const struct option *o, const char *value)
{
	(void)value;
	*(bool *)option_member(c, o->offset) = true;
	return 0;
}

int option_set_text(struct config *c, const struct option *o, const char *value)
{
	if (!*value)
		return -EINVAL;
	*(const char **)option_member(c, o->offset) = value;
	return 0;
}

/**
 * option_number - digits, and with @suffix one of k, m, g (powers of 1024)
 *
 * strtoull() alone would take signs, blanks and other bases.
 */
int option_number(const char *text, bool suffix, uint64_t *out)
{
	unsigned shift = 0;
	uint64_t n;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (suffix && *end) {
		const char *at = strchr("kmg", tolower((unsigned char)*end));

		if (!at)
			return -EINVAL;
		shift = 10 * (unsigned)(1 + (at - "kmg"));
		end++;
	}
	if (*end || n > UINT64_MAX >> shift)
		return -EINVAL;
	*out = n << shift;
	return 0;
}

static int parse_bounded(const struct option *o, const char *value, bool suffix, uint64_t *n)
{
	if (option_number(value, suffix, n) || *n < o->min || *n > o->max)
		return -EINVAL;
	return 0;
}

int option_set_number(struct config *c, const struct option *o, const char *value)
{
	uint64_t n;

	_Static_assert(sizeof(unsigned) == sizeof(uint32_t), "one setter serves both");
	if (parse_bounded(o, value, false, &n))
		return -EINVAL;
	*(uint32_t *)option_member(c, o->offset) = (uint32_t)n;
	return 0;
}

int option_set_size(struct config *c, const struct option *o, const char *value)
{
	uint64_t n;

	if (parse_bounded(o, value, true, &n))
		return -EINVAL;
	*(size_t *)option_member(c, o->offset) = (size_t)n;
	return 0;
}

/** option_set_help - nothing to set: apply() knows the option by this function */
int option_set_help(struct config *c, const struct option *o, const char *value)
{
	(void)c;
	(void)o;
	(void)value;
	return 0;
}

/* --- parsing ---------------------------------------------------------------------- */

/** one_line - a copy of hostile text that is fit for a terminal */
static const char *one_line(const char *text, char out[VALUE_SHOWN + 1])
{
	size_t n = str_copy(out, VALUE_SHOWN + 1, text);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)out[i] < ' ' || out[i] == 0x7f)
			out[i] = '?';
	return out;
}

int option_fail(struct option_parse *p, const char *what, const char *shown, const char *why)
{
	char buf[VALUE_SHOWN + 1];

	snprintf(p->err, p->errsize, "%s%s%s", what, shown ? one_line(shown, buf) : "", why);
	return -EINVAL;
}

/** fail_value - @value is NULL where a flag is refused */
static int fail_value(struct option_parse *p, const struct option *o, const char *value)
{
	char buf[VALUE_SHOWN + 1];

	if (value)
		snprintf(p->err, p->errsize, "--%s: not '%s'; allowed: %s", o->name,
			 one_line(value, buf), o->allowed);
	else
		snprintf(p->err, p->errsize, "--%s: allowed: %s", o->name, o->allowed);
	return -EINVAL;
}

/** find_option - by @letter, or else by the long name of @len characters */
static const struct option *find_option(const struct option_table *t, char letter, const char *name,
					size_t len)
{
	for (size_t k = 0; t->parts[k]; k++) {
		for (size_t i = 0; i < t->parts[k]->n; i++) {
			const struct option *o = &t->parts[k]->rows[i];

			if (letter ? o->letter == letter
				   : o->name && strlen(o->name) == len &&
					     !memcmp(o->name, name, len))
				return o;
		}
	}
	return NULL;
}

static int fail_unknown(struct option_parse *p, const char *dashes, const char *word)
{
	char what[32], why[64];

	snprintf(what, sizeof(what), "unknown option %s", dashes);
	snprintf(why, sizeof(why), "; see weir %s --help", p->table->command);
	return option_fail(p, what, word, why);
}

/** apply - set it, unless it belongs to the other pass */
static int apply(struct option_parse *p, const struct option *o, const char *value)
{
	if (o->set == option_set_help) {
		p->help = true;
		return 0;
	}
	if (o->early != p->early)
		return 0;
	return o->set(p->c, o, value) ? fail_value(p, o, value) : 0;
}

/** parse_long - "--name", "--name=value" or "--name" "value" */
static int parse_long(struct option_parse *p, const char *word)
{
	size_t len = strcspn(word, "=");
	const struct option *o = find_option(p->table, 0, word, len);
	const char *value = word[len] ? word + len + 1 : NULL;

	if (!o)
		return fail_unknown(p, "--", word);
	if (!o->arg && value)
		return option_fail(p, "--", o->name, ": takes no value");
	if (o->arg && !value) {
		if (p->next >= p->argc)
			return option_fail(p, "--", o->name, ": a value is missing");
		value = p->argv[p->next++];
	}
	return apply(p, o, value);
}

/** parse_letters - "-v", or several flags as "-qv"; no short option has an argument */
static int parse_letters(struct option_parse *p, const char *word)
{
	for (; *word; word++) {
		char text[2] = {*word, 0};
		const struct option *o = find_option(p->table, *word, "", 0);
		int rc;

		if (!o)
			return fail_unknown(p, "-", text);
		rc = apply(p, o, NULL);
		if (rc)
			return rc;
	}
	return 0;
}

int option_parse_words(struct option_parse *p)
{
	int rc = 0;

	while (!rc && !p->help && p->next < p->argc) {
		const char *word = p->argv[p->next];

		if (word[0] != '-' || !word[1])
			break;
		p->next++;
		if (!strcmp(word, "--"))
			break;
		rc = word[1] == '-' ? parse_long(p, word + 2) : parse_letters(p, word + 1);
	}
	return rc;
}

/* --- a file of options -------------------------------------------------------------- */

/** trim - @text without blanks at its ends */
static char *trim(char *text)
{
	size_t len;

	text += strspn(text, " \t\r");
	for (len = strlen(text); len && strchr(" \t\r", text[len - 1]); len--)
		;
	text[len] = 0;
	return text;
}

/** parse_line - "name = value", "name", a comment or nothing */
static int parse_line(struct option_parse *p, char *line)
{
	char *name = trim(line), *value = NULL, *equal;
	const struct option *o;

	if (!*name || *name == '#')
		return 0;
	equal = strchr(name, '=');
	if (equal) {
		*equal = 0;
		value = trim(equal + 1);
		name = trim(name);
	}
	o = find_option(p->table, 0, name, strlen(name));
	if (!o || o->early || o->set == option_set_help)
		return option_fail(p, "unknown option ", name, "");
	if (!o->arg && value)
		return option_fail(p, o->name, NULL, ": takes no value");
	if (o->arg && !value)
		return option_fail(p, o->name, NULL, ": a value is missing");
	return apply(p, o, value);
}

int option_parse_file(struct option_parse *p, const char *path, char *text)
{
	char shown[VALUE_SHOWN + 1];
	struct option_parse line = *p;
	unsigned number = 0;
	char *next;
	int rc = 0;

	for (; !rc && text; text = next) {
		int n = snprintf(p->err, p->errsize, "%s:%u: ", one_line(path, shown), ++number);

		if (n < 0 || (size_t)n >= p->errsize)
			n = 0;
		line.err = p->err + n;
		line.errsize = p->errsize - (size_t)n;
		next = strchr(text, '\n');
		if (next)
			*next++ = 0;
		rc = parse_line(&line, text);
	}
	if (!rc && p->errsize)
		p->err[0] = 0;
	return rc;
}

/* --- help --------------------------------------------------------------------------- */

#define HELP_COLUMN 29 /* where explanations start */
#define HELP_WIDTH  80

/** print_wrapped - @text from HELP_COLUMN on, in lines that fit; the cursor is at @column */
static void print_wrapped(int fd, const char *text, int column)
{
	const int room = HELP_WIDTH - HELP_COLUMN - 1;

	while (*text) {
		int len = (int)strlen(text);

		if (len > room)
			for (len = room; len > 0 && text[len] != ' '; len--)
				;
		if (!len) /* a word longer than a line */
			len = (int)strcspn(text, " ");
		dprintf(fd, "%*s%.*s\n", HELP_COLUMN - column, "", len, text);
		column = 0;
		text += len;
		text += *text == ' ';
	}
}

static void print_option(int fd, const struct option *o)
{
	char left[HELP_COLUMN + 32];
	int n;

	n = snprintf(left, sizeof(left), "  %c%c%s --%s%s%s", o->letter ? '-' : ' ',
		     o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name, o->arg ? " " : "",
		     o->arg ? o->arg : "");
	dprintf(fd, "%s", left);
	if (n > HELP_COLUMN - 2) {
		dprintf(fd, "\n");
		n = 0;
	}
	print_wrapped(fd, o->help, n);
}

void option_print(const struct option_table *t, int fd)
{
	for (size_t k = 0; t->parts[k]; k++) {
		for (size_t i = 0; i < t->parts[k]->n; i++) {
			const struct option *o = &t->parts[k]->rows[i];

			if (o->name)
				print_option(fd, o);
			else
				dprintf(fd, "\n%s:\n", o->help);
		}
	}
}
