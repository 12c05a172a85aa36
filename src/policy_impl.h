/* SPDX-License-Identifier: MIT */
/* policy_impl: what the files of policy share, and nobody else. */
#ifndef WEIR_POLICY_IMPL_H
#define WEIR_POLICY_IMPL_H

#include "policy.h"

#include "base/hash.h"

/** struct policy_set - a named one; lives as long as the policy, at one place: expressions borrow
 * it */
struct policy_set {
	struct expr_set set;
	const char *name, *path, *file;
	unsigned line;
	const void *image; /* nameset.h, prefixset.h, numset.h, by the type */
	size_t size;
	void *owned; /* @image when it is ours; NULL: it lies in the policy's mapping */
};

/**
 * struct policy_entry - a compiled rule
 * @expr: owned; NULL: it matches always
 * @head: length of the part of rule.text before "if"
 */
struct policy_entry {
	struct policy_rule rule;
	struct expr *expr;
	uint32_t head;
};

struct policy_chunk;
struct policy_index;

struct policy {
	struct policy_chunk *chunks; /* of policy_alloc() */
	struct hash_key key;
	struct policy_entry *entries;
	uint32_t n_entries, room_entries;
	struct policy_entry fallback; /* the default action */
	struct policy_set **sets;
	uint32_t n_sets, room_sets;
	struct policy_index *index; /* in @chunks */
	uint64_t fields;
	uint32_t always; /* 1 + the first rule that always decides; 0: there is none */
	/* where sets lie that were mapped */
	void *map;
	size_t map_size;
	void (*unmap)(void *map, size_t size);
};

/* --- policy.c ----------------------------------------------------------------- */

/** policy_new - empty, "allow" by default; NULL: no memory */
struct policy *policy_new(void);
/** policy_alloc - zeroed memory that lives as long as @p; NULL */
void *policy_alloc(struct policy *p, size_t size);
/** policy_text - a terminated copy of @len bytes that lives as long as @p; NULL */
char *policy_text(struct policy *p, const char *s, size_t len);
/** policy_grow - room for one more in an array of *@room elements, @n used; 0 or -ENOMEM */
int policy_grow(void **array, size_t size, uint32_t n, uint32_t *room);
/** policy_add_entry, policy_add_set - @e's expression is then @p's; 0, -ENOMEM, -E2BIG */
int policy_add_entry(struct policy *p, const struct policy_entry *e);
int policy_add_set(struct policy *p, struct policy_set *set);
struct policy_set *policy_find_set(const struct policy *p, const char *name, size_t len);

/* --- parsing --------------------------------------------------------------------- */

/** struct policy_parse - where something is being read, for errors and names */
struct policy_parse {
	struct policy *p;
	const struct policy_source *src;
	const char *path, *text; /* of the file */
	size_t len;
	char *err;
	size_t errsize;
};

/** struct policy_word - @s, @len: as it stands there; @text: without quotes, the policy's */
struct policy_word {
	const char *s, *text;
	size_t len;
};

/** struct policy_line - what is left of a line, which may be several when each ends in \ */
struct policy_line {
	const char *at, *end;
	unsigned number;
};

/**
 * policy_fail - write the error of what stands at @at, @width bytes wide; -EINVAL
 *
 * @at lies in @x's text, or is NULL: all of the file.
 */
int policy_fail(const struct policy_parse *x, const char *at, size_t width, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** policy_word_next - 1 and the next word, 0 at the end, -EINVAL or -ENOMEM */
int policy_word_next(const struct policy_parse *x, struct policy_line *l, struct policy_word *w);
bool policy_word_is(const struct policy_word *w, const char *text);
/** policy_shown - @w for a message: printable, not too long; one static buffer */
const char *policy_shown(const struct policy_word *w);
/** policy_line_text - the line on one line, without blanks at its ends; the policy's; NULL */
char *policy_line_text(struct policy *p, const struct policy_line *l);
/** policy_mark - the length of the mark by which some editors say that a file is UTF-8, or 0 */
size_t policy_mark(const char *text, size_t len);
/** policy_is_blank - blanks between words; the end of a line is one where a line goes on */
bool policy_is_blank(char c);

/* policy_rule.c */
/** policy_rule_parse - a whole line; the caller fills in where it stands */
int policy_rule_parse(const struct policy_parse *x, const struct policy_line *l,
		      struct policy_entry *out);
/**
 * policy_rule_head - an action and its parameters, up to "if" or the end; @l is then behind that
 * @head_end: where "if" stands, or the line ends
 *
 * 1: there is an "if"; 0, -EINVAL, -ENOMEM.
 */
int policy_rule_head(const struct policy_parse *x, struct policy_line *l, struct policy_entry *out,
		     const char **head_end);
/** policy_rule_condition - the expression that @l is; -ENOMEM, -EINVAL */
int policy_rule_condition(const struct policy_parse *x, const struct policy_line *l,
			  struct policy_entry *out);

/* policy_set.c */
/** policy_set_line - what follows the word "set"; may go on to other lines, up to @l->end */
int policy_set_line(const struct policy_parse *x, struct policy_line *l);
/** policy_set_open - let @set be the @image, if it is one of @type */
bool policy_set_open(struct policy_set *set, enum expr_type type, const void *image, size_t size);
/** policy_set_empty - nothing is in @set, nor was said of what type it is: it goes with all fields
 */
void policy_set_empty(struct policy_set *set);
/** policy_path - @path as seen from the directory of the file @from; the policy's; NULL */
char *policy_path(struct policy *p, const char *from, const char *path);

/* --- judging -------------------------------------------------------------------- */

/** struct policy_judging - one call of policy_judge() */
struct policy_judging {
	const struct policy *p;
	expr_get_fn *get;
	const void *subject;
	struct policy_judgement *out;
	uint64_t unknown;      /* fields that the rule at hand asked for in vain */
	uint64_t tags_unknown; /* ... that `tag` rules before it did */
};

/** policy_judge_rule - look at rule @i; false: it decides, or waits */
bool policy_judge_rule(struct policy_judging *j, uint32_t i, enum expr_truth *truth);
/** policy_waits - what has to happen for all of @fields to be known: POLICY_WAITS_* */
unsigned policy_waits(uint64_t fields);
void policy_judge_start(struct policy_judging *j, const struct policy *p, expr_get_fn *get,
			const void *subject, struct policy_judgement *out);
/** policy_judge_linear - policy_judge() without the index: what it must be equal to */
void policy_judge_linear(const struct policy *p, expr_get_fn *get, const void *subject,
			 struct policy_judgement *out);

/* --- passing on ------------------------------------------------------------------ */

/** policy_image_write - 0, -E2BIG, -ENOMEM, or the -errno of @f */
int policy_image_write(const struct policy *p, FILE *f);
/** policy_image_start - @image, 8-aligned, must stay as long as the policy; as
 * policy_unpack_start() */
int policy_image_start(const void *image, size_t size, struct policy_unpacking **out, char *err,
		       size_t errsize);
struct policy *policy_unpacking_policy(struct policy_unpacking *u);

/** policy_index_make - when all rules are there; 0 or -ENOMEM */
int policy_index_make(struct policy *p);

#endif
