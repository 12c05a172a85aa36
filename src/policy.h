/* SPDX-License-Identifier: MIT */
/*
 * policy: rules, and how they judge a flow. Data and decisions only: no clock, no system call.
 *
 * A file has one rule a line, `ACTION [PARAMETERS] [if EXPR]` (docs/weir-rules.5.scd). The first
 * final rule that matches decides; collecting ones before it all apply, in order. Where a final
 * rule cannot be decided yet (expr.h), judging stops there with POLICY_WAIT and says for what; the
 * caller asks again when more is known, and sees to it that what must not pass before stays.
 *
 * A ruleset is immutable: a reload makes another one, and flows are judged again by that.
 *
 * The files: policy_file.c (lines and includes), policy_set.c (named sets), policy_rule.c (one
 * rule: the table of actions), policy_judge.c, policy_index.c (which rules could match at all),
 * policy_explain.c, policy_pack.c and policy_fd.c (from the process that reads files to the one
 * that judges), policy.c (the rest).
 */
#ifndef WEIR_POLICY_H
#define WEIR_POLICY_H

#include "expr.h"

#include <stdio.h>

/** enum policy_verdict - what a final rule says */
enum policy_verdict {
	POLICY_ALLOW,
	POLICY_BLOCK, /* refused: RST, or ICMP "administratively prohibited" for datagrams */
	POLICY_DROP,  /* silence */
	POLICY_RESET, /* TCP: the handshake is made and then reset; else as POLICY_BLOCK */
	POLICY_ASK,   /* hold, until somebody decides */
	POLICY_WAIT,  /* not decided yet: see waits */
	POLICY_VERDICT_MAX
};

/** enum policy_what - what a collecting rule does */
enum policy_what { POLICY_HOOK, POLICY_LOG, POLICY_TAG, POLICY_LIMIT, POLICY_QUOTA };

/* what a judgement waits for, bits */
#define POLICY_WAITS_OWNER   1u /* the answer to "whose socket is it?" */
#define POLICY_WAITS_PAYLOAD 2u /* the first payload (sni, http.host, app ...) */

enum policy_per {
	POLICY_PER_USER,
	POLICY_PER_PROCESS,
	POLICY_PER_PROGRAM,
	POLICY_PER_HOST,
	POLICY_PER_RULE
};

/**
 * struct policy_rule - a compiled rule, as others may see it
 * @file, @line: where it stands
 * @text: the line, without comment and blanks around it
 */
struct policy_rule {
	const char *file, *text; /* NULL, NULL: the default action that nobody stated */
	unsigned line;
	bool final;
	enum policy_verdict verdict; /* of a final one */
	enum policy_what what;	     /* of a collecting one */
	const char *name;	     /* of POLICY_HOOK and POLICY_TAG */
	const char *args;	     /* of POLICY_HOOK: its scope parameters, or NULL */
	int level;		     /* of POLICY_LOG: enum log_level */
	uint64_t amount;	     /* of POLICY_LIMIT (flows) and POLICY_QUOTA (bytes) */
	enum policy_per per;
	uint64_t period;		 /* ns, 0 = for ever */
	uint64_t ask_timeout;		 /* ns, of POLICY_ASK */
	enum policy_verdict ask_default; /* when nobody has decided by then */
};

/** struct policy_counter - of one rule; the caller adds */
struct policy_counter {
	uint64_t hits, bytes_up, bytes_down;
};

struct policy;

/**
 * struct policy_source - where texts and names come from, so that a test can answer instead
 * @read_file: the text of @path, malloc'd, of *@len bytes; 0 or -errno. A path that a file names
 *	comes with the directory of that file before it
 * @user, @group: as in struct expr_context
 */
struct policy_source {
	int (*read_file)(void *ctx, const char *path, char **text, size_t *len);
	int (*user)(void *ctx, const char *name, uint32_t *uid);
	int (*group)(void *ctx, const char *name, uint32_t *gid);
	void *ctx;
};

#define POLICY_INCLUDE_DEPTH 16	     /* files within files */
#define POLICY_FILES_MAX     256     /* includes of one set of rules */
#define POLICY_RULES_MAX     1000000 /* so that an include of an include of ... ends */

/**
 * policy_load - compile the file @path and what it includes
 * @err: on -EINVAL "FILE:LINE:COLUMN: what", and below the line with carets; else one line
 *
 * Returns 0, -EINVAL, -ENOMEM, or the -errno of a file that can't be read.
 */
int policy_load(const struct policy_source *src, const char *path, struct policy **out, char *err,
		size_t errsize);
void policy_free(struct policy *p);

/* From the process that reads files to the one that judges. */

/** policy_pack - write all of @p to the memfd @fd (MFD_ALLOW_SEALING, empty) and seal it; 0 or
 * -errno */
int policy_pack(const struct policy *p, int fd);
/**
 * policy_unpack - what policy_pack() has written, by mapping it; @fd may be closed afterwards
 *
 * Sets and texts are not copied, and no file is read. -errno with one line in @err: -EPERM when @fd
 * is not sealed, -EINVAL when it has something else in it.
 */
int policy_unpack(int fd, struct policy **out, char *err, size_t errsize);
/*
 * The same in steps, as rules are compiled again and that takes a few microseconds for each: a loop
 * can do other things in between.
 */
struct policy_unpacking;
int policy_unpack_start(int fd, struct policy_unpacking **out, char *err, size_t errsize);
/** policy_unpack_step - at most @rules more; 1: go on. 0: *@out is it; -errno; then @u is gone */
int policy_unpack_step(struct policy_unpacking *u, unsigned rules, struct policy **out, char *err,
		       size_t errsize);
/** policy_unpack_stop - never mind */
void policy_unpack_stop(struct policy_unpacking *u);

unsigned policy_rules(const struct policy *p);
const struct policy_rule *policy_rule(const struct policy *p, unsigned i);
/** policy_default_rule - what happens to flows that no final rule matches: allow, unless stated */
const struct policy_rule *policy_default_rule(const struct policy *p);
/** policy_by - the rule that a judgement's @rule means: that of the default for 0 */
const struct policy_rule *policy_by(const struct policy *p, uint32_t rule);
/** policy_fields - bit for each field that any rule looks at (expr_fields()) */
uint64_t policy_fields(const struct policy *p);
/** policy_print - rule @i in its normal form (expr_print()); size as snprintf() */
size_t policy_print(const struct policy *p, unsigned i, char *buf, size_t size);

/**
 * struct policy_set_info - a named set
 * @path: of the list, NULL: it stands in the rules
 * @entries: of addresses and numbers: when those that touch are joined
 */
struct policy_set_info {
	const char *name, *path, *file;
	unsigned line;
	enum expr_type type;
	uint32_t entries;
	size_t size; /* bytes */
};

unsigned policy_sets(const struct policy *p);
void policy_set_info(const struct policy *p, unsigned i, struct policy_set_info *out);
/** policy_warnings - @say what is not wrong but can't be meant, "FILE:LINE: what" */
void policy_warnings(const struct policy *p, void (*say)(void *ctx, const char *text), void *ctx);

/* Collecting rules of one judgement. A flow for which more match is blocked, by the first that has
 * no room. */
#define POLICY_COLLECT_MAX 64

/**
 * struct policy_judgement - what the rules say
 * @rule: 1 + index of the final rule (or of the one that waits), 0 = the default: policy_by()
 * @waits: POLICY_WAITS_*, with POLICY_WAIT or @hooks_wait
 * @unknown: bit for each field that was missing there
 * @hooks_wait: a `hook` rule before the deciding one is not decided: payload must not pass yet
 * @collected: indexes of the collecting rules that match, in order
 */
struct policy_judgement {
	enum policy_verdict verdict;
	uint32_t rule;
	unsigned waits;
	uint64_t unknown;
	bool hooks_wait;
	unsigned n_collected;
	uint32_t collected[POLICY_COLLECT_MAX];
};

/**
 * policy_judge - judge what @get tells about @subject
 *
 * Costs what the rules cost that could match (an index leaves out the others), allocates nothing.
 * The field tag is not asked of @get: tags are those of the `tag` rules that match before.
 */
void policy_judge(const struct policy *p, expr_get_fn *get, const void *subject,
		  struct policy_judgement *out);
/** policy_explain_rules - sets, rules in normal form, what they wait for, warnings */
void policy_explain_rules(const struct policy *p, FILE *out);
/** policy_explain - what each rule says of @subject, one line each, and which decides, to @out */
void policy_explain(const struct policy *p, expr_get_fn *get, const void *subject, FILE *out);
const char *policy_verdict_text(unsigned verdict);

#endif
