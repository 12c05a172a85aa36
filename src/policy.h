/* SPDX-License-Identifier: MIT */
/*
 * policy: rules, and how they judge a flow. Data and decisions only: no clock, no system call.
 *
 * A file has one rule a line, `ACTION [PARAMETERS] [if EXPR]` (docs/weir-rules.5.scd). The first
 * final rule that matches decides; collecting ones all apply, in order. Where a rule cannot be
 * decided yet (expr.h), judging stops there with POLICY_WAIT and says for what; the caller asks
 * again when more is known, and sees to it that what must not pass before stays.
 *
 * A ruleset is immutable: a reload makes another one, and flows are judged again by that.
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
#define POLICY_WAITS_OWNER   1 /* the answer to "whose socket is it?" */
#define POLICY_WAITS_PAYLOAD 2 /* the first payload (sni, http.host, app ...) */

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
	const char *file, *text;
	unsigned line;
	bool final;
	enum policy_verdict verdict; /* of a final one */
	enum policy_what what;	     /* of a collecting one */
	const char *name;	     /* of POLICY_HOOK and POLICY_TAG */
	const char *args;	     /* of POLICY_HOOK: its scope parameters, or NULL */
	int level;		     /* of POLICY_LOG: enum log_level's order, 0 = error */
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
 * @read_file: the text of @path, relative to the file it is named in, malloc'd; 0 or -errno
 * @user, @group: as in struct expr_context
 */
struct policy_source {
	int (*read_file)(void *ctx, const char *path, char **text, size_t *len);
	int (*user)(void *ctx, const char *name, uint32_t *uid);
	int (*group)(void *ctx, const char *name, uint32_t *gid);
	void *ctx;
};

/**
 * policy_load - compile the file @path and what it includes
 * @err: one line "FILE:LINE:COLUMN: what", and the line with carets below, on -EINVAL
 *
 * Returns 0, -EINVAL, -ENOMEM, or the -errno of a file that can't be read (@err says which).
 */
int policy_load(const struct policy_source *src, const char *path, struct policy **out, char *err,
		size_t errsize);
void policy_free(struct policy *p);
/** policy_pack - all of @p (texts, resolved names, sets) into a flat image of *@len bytes that
 * policy_unpack() maps, in another process, without reading a file; malloc'd or in *@fd (a memfd)
 */
int policy_pack(const struct policy *p, int fd);
/** policy_unpack - from the memfd of policy_pack(): sets stay where they are mapped (shared) */
int policy_unpack(int fd, struct policy **out, char *err, size_t errsize);

unsigned policy_rules(const struct policy *p);
const struct policy_rule *policy_rule(const struct policy *p, unsigned i);
/** policy_fields - bit for each field that any rule looks at (expr_fields()) */
uint64_t policy_fields(const struct policy *p);
/** policy_default - the final action that no rule's match leads to, and where it is stated */
enum policy_verdict policy_default(const struct policy *p);

/* Collecting rules of one judgement; more than that is an error of the file's check. */
#define POLICY_COLLECT_MAX 64

/**
 * struct policy_judgement - what the rules say
 * @rule: 1 + index of the final rule (or of the one that waits), 0 = the default
 * @waits: POLICY_WAITS_*, with POLICY_WAIT
 * @hooks_wait: a `hook` rule before the deciding one is not decided: payload must not pass yet
 * @collected: indexes of the collecting rules that match, in order
 */
struct policy_judgement {
	enum policy_verdict verdict;
	uint32_t rule;
	unsigned waits;
	bool hooks_wait;
	unsigned n_collected;
	uint32_t collected[POLICY_COLLECT_MAX];
};

/**
 * policy_judge - judge what @get tells about @subject
 *
 * Costs what the rules cost that could match (an index leaves out the others), allocates nothing.
 */
void policy_judge(const struct policy *p, expr_get_fn *get, const void *subject,
		  struct policy_judgement *out);
/** policy_explain - what each rule says of @subject, one line each, and which decides, to @out */
void policy_explain(const struct policy *p, expr_get_fn *get, const void *subject, FILE *out);
const char *policy_verdict_text(unsigned verdict);

#endif
