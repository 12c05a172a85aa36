/* SPDX-License-Identifier: MIT */
/*
 * expr: the filter language, one for rules, hook scope, capture and display.
 *
 *   user == alice and dst.port in {80, 443} and host ~ "*.example.com"
 *
 * An expression is compiled once. Evaluation asks the subject for fields through one
 * function, allocates nothing, and answers in three values, as a field of a flow may
 * not be known yet (a host name before the first payload):
 *
 *   field     ==, <, in, ~, =~ ...   !=          not X           X and Y        X or Y
 *   known     yes or no              not ==      no, yes         usual          usual
 *   absent    no                     yes         (of the above)
 *   not yet   unknown                unknown     unknown         no if one is   yes if one is
 *                                                                no, else       yes, else
 *                                                                unknown        unknown
 *
 * A comparison of a list (ancestor.exe, dns.name) is yes when it is for one of its elements, so
 * != says that none is. `sni ~ "*"` asks whether there is one at all.
 *
 * The files, in the order of compiling: expr_lex.c (tokens), expr_parse.c (and, or, not),
 * expr_check.c (what a comparison means, by the field's type), expr_literal.c (values),
 * expr_values.c (sets of them), expr_regex.c (PCRE2), expr.c (the compiled form and its
 * evaluation); then expr_print.c and expr_required.c. docs/weir-rules.5.scd, FILTER LANGUAGE, is
 * the description for users.
 */
#ifndef WEIR_EXPR_H
#define WEIR_EXPR_H

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum expr_truth { EXPR_NO, EXPR_YES, EXPR_UNKNOWN };

enum expr_type {
	EXPR_NUMBER,   /* ports, ids, lengths */
	EXPR_SIZE,     /* bytes: 10kb (1000), 10kib (1024) */
	EXPR_TIME,     /* ns: 3s, 200ms */
	EXPR_ADDR,     /* an address; compared with addresses, prefixes, ranges */
	EXPR_TEXT,     /* compared as it is */
	EXPR_HOSTNAME, /* a domain name: case does not count, nor does a final dot */
	EXPR_NAME,     /* one of a list of words: proto, dir, state, verdict */
	EXPR_UID,      /* a number, or a user's or group's name, resolved when compiled */
	EXPR_GID,
	EXPR_FLAGS, /* tcp.flags: compared with names, letters or a number; & and ~ look at bits */
};

/* All fields; expr_field.c has their names and types, in this order. */
enum expr_field {
	EXPR_F_PROTO,
	EXPR_F_DIR,    /* out: the program opened it; in: the peer did */
	EXPR_F_SRC_IP, /* of whoever opened the flow */
	EXPR_F_DST_IP,
	EXPR_F_SRC_PORT,
	EXPR_F_DST_PORT,
	EXPR_F_IP_VERSION,
	EXPR_F_UID, /* of the socket; `user` is the same by name */
	EXPR_F_USER,
	EXPR_F_GID,
	EXPR_F_PID,
	EXPR_F_COMM,
	EXPR_F_EXE,
	EXPR_F_CMDLINE,
	EXPR_F_PARENT_COMM,
	EXPR_F_ANCESTOR_COMM, /* list */
	EXPR_F_ANCESTOR_EXE,  /* list */
	EXPR_F_CGROUP,
	EXPR_F_UNIT,
	EXPR_F_NETNS,	 /* its name, or its number as text */
	EXPR_F_HOST,	 /* best known name: http.host, sni, dns.name */
	EXPR_F_DNS_NAME, /* list: what the program may have asked for */
	EXPR_F_SNI,
	EXPR_F_ALPN, /* list */
	EXPR_F_HTTP_HOST,
	EXPR_F_HTTP_METHOD,
	EXPR_F_HTTP_PATH,
	EXPR_F_APP, /* detected protocol: tls, http, quic, ssh, dns ... */
	EXPR_F_JA3,
	EXPR_F_JA4,
	EXPR_F_BYTES_UP,
	EXPR_F_BYTES_DOWN,
	EXPR_F_DURATION,
	EXPR_F_STATE,
	EXPR_F_VERDICT,
	EXPR_F_ID,  /* flow_id */
	EXPR_F_TAG, /* list: tags that rules gave it */
	/* of packets: capture only */
	EXPR_F_LEN,
	EXPR_F_TCP_FLAGS,
	EXPR_F_TTL,
	EXPR_FIELD_MAX
};

/* Numbers of the words of dir and state; those of proto are the protocol's (icmp6: 58), those of
 * verdict are enum policy_verdict's. States are enum flow_state's, and one of waiting for somebody
 */
enum expr_dir { EXPR_DIR_OUT, EXPR_DIR_IN };
enum expr_state {
	EXPR_STATE_NEW = 1,
	EXPR_STATE_OWNED,
	EXPR_STATE_JUDGED,
	EXPR_STATE_CONNECTING,
	EXPR_STATE_OPEN,
	EXPR_STATE_CLOSING,
	EXPR_STATE_HELD,
};

/* Bounds. An expression that exceeds one is an error. */
#define EXPR_LEN_MAX	 65536 /* bytes of an expression */
#define EXPR_DEPTH_MAX	 64    /* parentheses within each other */
#define EXPR_SET_MAX	 8192  /* values of one {} */
#define EXPR_GLOB_MAX	 256   /* bytes of a glob */
#define EXPR_REGEX_MAX	 1024  /* bytes of a regular expression */
#define EXPR_REGEXES_MAX 64    /* of them in one expression */
/* What a subject may have. More is not looked at: of lists elements, of texts that a regular
 * expression is tried on bytes (a limit that is hit). */
#define EXPR_LIST_MAX	 256
#define EXPR_SUBJECT_MAX 4096

/** enum expr_known - is a field's value there? */
enum expr_known {
	EXPR_ABSENT, /* there is none, and none will come */
	EXPR_KNOWN,
	EXPR_NOT_YET, /* it may still come */
};

/** struct expr_value - by the field's type; text is borrowed and need not end in NUL */
struct expr_value {
	union {
		uint64_t num; /* NUMBER, SIZE, TIME, UID, GID, FLAGS; of a NAME its number */
		struct addr addr;
		struct {
			const char *s;
			size_t len;
		} text;
	};
};

/**
 * expr_get_fn - the @i-th value of @field (0: the only one of a field that is no list)
 *
 * Of a list, an @i past the last element answers EXPR_ABSENT. EXPR_NOT_YET for one element
 * says that more may come.
 */
typedef enum expr_known expr_get_fn(const void *subject, enum expr_field field, unsigned i,
				    struct expr_value *out);

/**
 * struct expr_set - what a name after `in` stands for: nameset.h, prefixset.h
 * @type: EXPR_HOSTNAME, EXPR_TEXT, EXPR_ADDR or EXPR_NUMBER (ids, too); only fields of this type
 * can be in it
 * @has: @v is as the subject gave it (a host name in any case, perhaps with a final dot), but for
 * an address, which has no zone
 * @any: nothing is in it, so it goes with all fields
 */
struct expr_set {
	enum expr_type type;
	bool (*has)(const struct expr_set *set, const struct expr_value *v);
	bool any;
};

/**
 * struct expr_context - what compiling has to ask for
 * @user, @group: the id of a name; 0 or -ENOENT; NULL: names of users or groups are an error
 * @set: borrowed for as long as the expression lives; NULL: there is none of this name (or none at
 * all)
 * @packet: are the fields of packets allowed?
 */
struct expr_context {
	int (*user)(void *ctx, const char *name, uint32_t *uid);
	int (*group)(void *ctx, const char *name, uint32_t *gid);
	const struct expr_set *(*set)(void *ctx, const char *name, size_t len);
	bool packet;
	void *ctx;
};

/** struct expr_error - where, from 1, in the text that was given, and what; one printable line */
struct expr_error {
	unsigned line, column, width; /* in bytes; width: of the token, for the carets under it */
	char text[160];
};

struct expr;

/**
 * expr_compile - text of @len bytes; 0, -EINVAL with *@err filled, or -ENOMEM
 *
 * Takes time and memory in proportion to @len; nesting, regular expressions and sets are bounded.
 * @text is not needed afterwards.
 */
int expr_compile(const struct expr_context *ctx, const char *text, size_t len, struct expr **out,
		 struct expr_error *err);
void expr_free(struct expr *e);
/** expr_eval - allocates nothing; regular expressions are bounded, a limit hit counts as no */
enum expr_truth expr_eval(const struct expr *e, expr_get_fn *get, const void *subject);
/** expr_fields - bit (1 << field) for each field that the expression looks at */
uint64_t expr_fields(const struct expr *e);
/**
 * expr_print - normal form, for explaining; size as snprintf()
 *
 * Parentheses where needed, users and groups as numbers, sets sorted and without doubles, one value
 * by == or !=. It compiles, with the same named sets and no other context, to the same.
 */
size_t expr_print(const struct expr *e, char *buf, size_t size);
/**
 * expr_required - a test without which the whole can't be yes, for indexing rules
 *
 * Goes through the comparisons at the top level of `and` that list what the field may be: == and
 * in,
 * @i from 0; false past the last one. *@field must have one of the values for which @value is
 * called (NULL: not wanted). Those of host names are in lower case without a final dot.
 * @prefix_bits: of an address, in the family's own terms as in struct prefix, else -1. Named sets,
 * and ranges of more than EXPR_REQUIRED_MAX numbers, are left out.
 */
#define EXPR_REQUIRED_MAX 64
bool expr_required(const struct expr *e, unsigned i, enum expr_field *field,
		   void (*value)(void *ctx, const struct expr_value *v, int prefix_bits),
		   void *ctx);
/**
 * expr_required_tail - the same for globs that are a star and a text, as most of host names are
 *
 * *@field must end with *@tail, which is borrowed; of host names in lower case, no dot at the end.
 */
bool expr_required_tail(const struct expr *e, unsigned i, enum expr_field *field,
			struct expr_value *tail);
/** expr_limits_hit - how often a regular expression met a limit, for all expressions */
uint64_t expr_limits_hit(void);

/* expr_field.c */
/** expr_field_find - by name; EXPR_FIELD_MAX: there is none */
enum expr_field expr_field_find(const char *name, size_t len);
const char *expr_field_name(enum expr_field f);
enum expr_type expr_field_type(enum expr_field f);
bool expr_field_is_list(enum expr_field f);
/** expr_field_is_packet - of packets, not of flows */
bool expr_field_is_packet(enum expr_field f);
/** expr_field_max - the largest number that a field of numbers can have */
uint64_t expr_field_max(enum expr_field f);
/** expr_field_nearest - the field that somebody may have meant, or EXPR_FIELD_MAX */
enum expr_field expr_field_nearest(const char *name, size_t len);
/** expr_name_find - the number of a word of an EXPR_NAME field, or -1 */
int expr_name_find(enum expr_field f, const char *word, size_t len);
/** expr_name_text - the word of a number, or NULL */
const char *expr_name_text(enum expr_field f, uint64_t number);
/** expr_name_list - all words of a field, with blanks between, for messages */
const char *expr_name_list(enum expr_field f);

/* expr_error.c */
/** expr_error_show - "line:column: text", the line of the text, and carets under the token */
void expr_error_show(const struct expr_error *err, const char *text, size_t len, char *buf,
		     size_t size);

#endif
