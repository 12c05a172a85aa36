/* SPDX-License-Identifier: MIT */
/* expr_impl: what the files of expr share, and nobody else. */
#ifndef WEIR_EXPR_IMPL_H
#define WEIR_EXPR_IMPL_H

#include "expr.h"

/* --- tokens: expr_lex.c ------------------------------------------------------- */

enum expr_token_kind {
	EXPR_T_END,
	EXPR_T_WORD,   /* port, 443, 10.0.0.0/8, *.example.com */
	EXPR_T_QUOTED, /* with its quotes */
	EXPR_T_OPEN,
	EXPR_T_CLOSE,
	EXPR_T_OPEN_SET,
	EXPR_T_CLOSE_SET,
	EXPR_T_COMMA,
	EXPR_T_NOT,
	EXPR_T_AND,
	EXPR_T_OR,
	EXPR_T_IN, /* from here on: what may follow a field */
	EXPR_T_EQ,
	EXPR_T_NE,
	EXPR_T_LT,
	EXPR_T_LE,
	EXPR_T_GT,
	EXPR_T_GE,
	EXPR_T_GLOB,
	EXPR_T_REGEX,
	EXPR_T_BITS,
};

/** struct expr_token - borrowed from the text */
struct expr_token {
	enum expr_token_kind kind;
	const char *s;
	size_t len;
};

/* --- the compiled form -------------------------------------------------------- */

enum expr_node_kind {
	EXPR_N_AND,
	EXPR_N_OR,
	EXPR_N_RANGE, /* one range of numbers, in the node */
	EXPR_N_RANGES,
	EXPR_N_ADDRS,
	EXPR_N_TEXTS,
	EXPR_N_GLOB,
	EXPR_N_REGEX,
	EXPR_N_ANY_BIT,
	EXPR_N_ALL_BITS,
	EXPR_N_SET, /* a named one */
};

/* how a glob can be matched: by far the most are one of the first three */
enum expr_glob_shape { EXPR_GLOB_SUFFIX, EXPR_GLOB_PREFIX, EXPR_GLOB_ANY, EXPR_GLOB_GENERAL };

/**
 * struct expr_node - of the tree, in preorder
 * @order: of EXPR_N_RANGE: the operator that it was written with, LT to GE; else EXPR_T_EQ
 * @skip: index of the node behind this one and all below it
 */
struct expr_node {
	uint8_t kind;					   /* enum expr_node_kind */
	uint8_t field;					   /* enum expr_field */
	uint8_t order;					   /* enum expr_token_kind */
	uint8_t negate : 1, list : 1, fold : 1, shape : 2; /* shape: enum expr_glob_shape */
	uint32_t skip;
	union {
		struct expr_range {
			uint64_t lo, hi; /* inclusive; of bits: lo */
		} range;
		struct {
			uint32_t at, n; /* in the pool */
		} values;		/* of texts: a struct expr_texts */
		struct {
			uint32_t at, len; /* in the pool: a pattern, a set's name */
			union {
				void *code;		    /* owned: of PCRE2 */
				const struct expr_set *set; /* borrowed */
			};
		} text;
	};
};

/** struct expr_addrs - sorted by family, then value; the first @n4 are IPv4 */
struct expr_addrs {
	uint32_t n4, n6;
	struct expr_addr_range {
		struct addr lo, hi;
	} range[];
};

/** struct expr_texts - @slots (0, or a power of two) indexes from 1 into @span follow the spans */
struct expr_texts {
	uint32_t n, slots;
	struct expr_span {
		uint32_t at, len; /* in the pool */
	} span[];
};

/** struct expr - one allocation: nodes, then the pool that they refer to */
struct expr {
	uint64_t fields;
	uint32_t n_nodes;
	uint32_t pool_size;
	const uint8_t *pool;
	struct expr_node node[];
};

/* --- compiling ---------------------------------------------------------------- */

#define EXPR_NONE UINT32_MAX

/** struct expr_branch - a node while the tree is being made */
struct expr_branch {
	struct expr_node node;
	uint32_t first, last, next; /* children of a group, and siblings */
};

/** struct expr_build - one call of expr_compile() */
struct expr_build {
	const struct expr_context *ctx;
	struct expr_error *err;
	const char *text, *end;
	const char *at;		 /* lexer: behind @token */
	struct expr_token token; /* the next one, not taken yet */
	unsigned depth, regexes;

	struct expr_branch *branch; /* owned */
	uint32_t n_branch, room_branch;
	uint8_t *pool; /* owned */
	uint32_t n_pool, room_pool;
	struct expr_token *value; /* owned: right side of the comparison at hand */
	uint32_t n_value, room_value;
	char *scratch; /* owned: as long as the text; the last token's text */
};

/** struct expr_compare - a comparison, as parsed; its values are the builder's */
struct expr_compare {
	struct expr_token field, op;
	bool braces; /* {} around the values */
	bool negate;
};

/* expr_error.c */
/** expr_fail - fill the error, with @token's place; returns -EINVAL */
int expr_fail(struct expr_build *b, const struct expr_token *token, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** expr_fail_at - the same for @width bytes at @at */
int expr_fail_at(struct expr_build *b, const char *at, size_t width, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** expr_shown - @token for a message: printable, not too long; one of a few static buffers */
const char *expr_shown(const struct expr_token *token);

/** expr_type_text - what values of the type are, for messages */
const char *expr_type_text(enum expr_type type);

/* expr_lex.c */
/** expr_next - read the next token into @b->token; 0 or -EINVAL */
int expr_next(struct expr_build *b);
/**
 * expr_token_text - what a word or quoted text stands for, in @b->scratch, terminated
 *
 * A pattern's backslashes are its own: only \" loses one. 0 or -EINVAL.
 */
int expr_token_text(struct expr_build *b, const struct expr_token *token, bool pattern, char **text,
		    size_t *len);
/** expr_pattern_place - where byte @n of a pattern's text stands in @token */
const char *expr_pattern_place(const struct expr_token *token, size_t n);
bool expr_is_word(char c);

/* expr_parse.c */
/** expr_parse - the whole text; 0 and the root */
int expr_parse(struct expr_build *b, uint32_t *root);

/* expr_check.c */
/** expr_check - make *@n of a comparison; 0, -EINVAL, -ENOMEM */
int expr_check(struct expr_build *b, const struct expr_compare *c, struct expr_node *n);

/** expr_check_field - the field that @token names, if this is the place for it; 0 or -EINVAL */
int expr_check_field(struct expr_build *b, const struct expr_token *token, enum expr_field *f);

/* expr_flags.c */
/** expr_flags_parse - "syn", "syn,ack", "SA", or a number; false: none of these */
bool expr_flags_parse(const char *text, size_t len, uint64_t *flags);
/** expr_flags_text - the names, with commas; "" where there is a bit without a name */
const char *expr_flags_text(uint64_t flags, char *buf, size_t size);

/* expr_literal.c: one value; 0 or -EINVAL with the error filled */
int expr_literal_range(struct expr_build *b, enum expr_field f, const struct expr_token *token,
		       struct expr_range *out);
int expr_literal_addrs(struct expr_build *b, enum expr_field f, const struct expr_token *token,
		       struct expr_addr_range *out);
/** expr_literal_text - lower case and without a final dot for a host name; as expr_token_text() */
int expr_literal_text(struct expr_build *b, enum expr_field f, const struct expr_token *token,
		      char **text, size_t *len);

/* expr_values.c: all values of the builder, into the pool */
int expr_values_ranges(struct expr_build *b, enum expr_field f, struct expr_node *n);
int expr_values_addrs(struct expr_build *b, enum expr_field f, struct expr_node *n);
int expr_values_texts(struct expr_build *b, enum expr_field f, struct expr_node *n);
bool expr_ranges_have(const struct expr_range *r, uint32_t n, uint64_t v);
bool expr_addrs_have(const struct expr_addrs *a, const struct addr *v);
bool expr_texts_have(const uint8_t *pool, uint32_t at, bool fold, const char *s, size_t len);
/** expr_addr_prefix - the length of the prefix that @lo to @hi is, or -1 */
int expr_addr_prefix(const struct addr *lo, const struct addr *hi);

/* expr_glob.c */
/** expr_glob_check - is @pattern well-formed? 0, or 1 + the place of what is not */
size_t expr_glob_check(const char *pattern, size_t len, enum expr_glob_shape *shape);
bool expr_glob_match(enum expr_glob_shape shape, bool fold, const char *pattern, size_t plen,
		     const char *s, size_t len);

/* expr_regex.c */
/** expr_regex_compile - @token is for the place of an error */
int expr_regex_compile(struct expr_build *b, const struct expr_token *token, const char *pattern,
		       size_t len, bool fold, void **code);
void expr_regex_free(void *code);
bool expr_regex_match(const void *code, const char *s, size_t len);

/* expr_build.c */
/** expr_pool_add - @size bytes, zero, aligned for all that is kept there; 0 or -ENOMEM */
int expr_pool_add(struct expr_build *b, size_t size, uint32_t *at);
int expr_pool_text(struct expr_build *b, const char *text, size_t len, uint32_t *at);
int expr_value_add(struct expr_build *b, const struct expr_token *token);
int expr_branch_add(struct expr_build *b, const struct expr_node *n, uint32_t *index);
/** expr_branch_append - @child becomes the last one of @group; a group of the same kind, which is
 * not negated, gives its children instead */
void expr_branch_append(struct expr_build *b, uint32_t group, uint32_t child);
/** expr_build_finish - the compiled form, which takes the regular expressions; NULL: no memory */
struct expr *expr_build_finish(struct expr_build *b, uint32_t root);
void expr_build_free(struct expr_build *b);

static inline char expr_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/** expr_host_len - without the final dot */
static inline size_t expr_host_len(const char *s, size_t len)
{
	return len && s[len - 1] == '.' ? len - 1 : len;
}

#endif
