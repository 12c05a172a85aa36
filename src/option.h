/* SPDX-License-Identifier: MIT */
/*
 * option: tables of options.
 *
 * One row says everything about an option: how it is spelt, what its argument is called, which
 * values are allowed, which member it sets and how it is explained. Parsing, error messages, --help
 * and the file of options are made from it, so they cannot disagree.
 *
 * A command's table is made of parts, so that commands share rows. Every row writes to a struct
 * config; what a command has beyond it begins with one.
 */
#ifndef WEIR_OPTION_H
#define WEIR_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct option;

/** option_set_fn - take @value (NULL for a flag); 0, or -EINVAL when it is not allowed */
typedef int (*option_set_fn)(struct config *c, const struct option *o, const char *value);

/**
 * struct option - a row of the table
 * @name: long name; NULL: @help is a heading
 * @letter: short form or 0
 * @arg: name of the argument, NULL for a flag
 * @early: is looked at before all others, and has no place in a file
 * @number: what @set wants to know beside
 * @offset: of the member that @set writes
 * @offset6: the IPv6 twin of it, where there is one
 * @min, @max: bounds of a number
 * @allowed: what an error says
 */
struct option {
	const char *name;
	int letter; /* a character */
	const char *arg;
	option_set_fn set;
	bool early;
	int number;
	size_t offset, offset6;
	uint64_t min, max;
	const char *allowed;
	const char *help;
};

#define OPTION_HEADING(h)                                                                          \
	{                                                                                          \
		.help = (h)                                                                        \
	}

/** struct option_part - some rows of a table */
struct option_part {
	const struct option *rows;
	size_t n;
};

/** struct option_table - all options of "weir @command", in the order of --help; NULL ends @parts
 */
struct option_table {
	const char *command;
	const struct option_part *parts[4];
};

/* setters that serve any member of their type, at @offset */
int option_set_flag(struct config *c, const struct option *o, const char *value);
int option_set_text(struct config *c, const struct option *o, const char *value);
int option_set_number(struct config *c, const struct option *o, const char *value); /* uint32_t */
int option_set_size(struct config *c, const struct option *o, const char *value);
int option_set_help(struct config *c, const struct option *o, const char *value);
/** option_number - digits, and with @suffix one of k, m, g (powers of 1024); 0 or -EINVAL */
int option_number(const char *text, bool suffix, uint64_t *out);
/** option_member - the member at @offset of @c, or of what begins with it */
void *option_member(struct config *c, size_t offset);

/** struct option_parse - words of a command line, and how far they have been taken */
struct option_parse {
	const struct option_table *table;
	struct config *c;
	int argc, next; /* argv[next] is the first word not taken yet */
	char **argv;
	char *err;
	size_t errsize;
	bool early; /* take only early options in this pass, else only the others */
	bool help;  /* was asked for */
};

/**
 * option_parse_words - options up to "--", the first word that is none, or --help
 *
 * @p->next is then at what follows. 0, or -EINVAL with one line in @p->err.
 */
int option_parse_words(struct option_parse *p);
/**
 * option_parse_file - the options of a file: lines "name = value" or "name"
 * @text: is cut into strings that the configuration borrows
 * @path: for errors, which name it and the line
 *
 * Blanks around names and values do not count; lines that begin with # are comments.
 */
int option_parse_file(struct option_parse *p, const char *path, char *text);
/** option_fail - write an error of three parts, @shown being hostile or NULL; -EINVAL */
int option_fail(struct option_parse *p, const char *what, const char *shown, const char *why);
/** option_print - --help: every row of @t */
void option_print(const struct option_table *t, int fd);

#endif
