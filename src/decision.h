/* SPDX-License-Identifier: MIT */
/*
 * decision: what somebody answered to a rule `ask` (`weir decide`), and for how many flows more it
 * counts. Remembered ones are judged before all rules. The supervisor keeps them and gives
 * them to each worker.
 */
#ifndef WEIR_DECISION_H
#define WEIR_DECISION_H

#include "facts.h"

enum decision_for {
	DECISION_ONCE, /* this flow alone: is not remembered */
	DECISION_PROCESS,
	DECISION_PROGRAM, /* all that run this executable */
	DECISION_USER,	  /* all sockets of this user */
	DECISION_HOST,	  /* all that go to this name; to the address, where it has none */
	DECISION_FOR_MAX
};

#define DECISIONS_MAX 256

/**
 * struct decision - remembered
 * @number: from 1, unique in a run
 * @verdict: FLOW_ALLOW or FLOW_BLOCK
 * @expires: monotonic ns, 0 = never
 * @text: of a program its path, of a host its name or address
 */
struct decision {
	uint32_t number;
	uint8_t what, verdict; /* enum decision_for, enum flow_verdict */
	uint32_t uid;
	int32_t pid;
	uint64_t start_ns, expires;
	char text[FLOW_HOST_MAX];
};

/** struct decisions - the newest first */
struct decisions {
	struct decision *list; /* owned */
	unsigned n;
};

/** decision_for_find - by its word; DECISION_FOR_MAX: there is none */
enum decision_for decision_for_find(const char *word);
const char *decision_for_text(unsigned what);
/** decision_make - what @ff's flow says for @what; 0, or -ENODATA: that is not known of it */
int decision_make(struct decision *d, enum decision_for what, enum flow_verdict verdict,
		  const struct flow_facts *ff);
bool decision_fits(const struct decision *d, const struct flow_facts *ff);
/** decision_rule - as a rule of a file, for programs, users and hosts; else false */
bool decision_rule(const struct decision *d, char *buf, size_t size);

/** decisions_add - in front; one for the same gives way. 0 or -errno (-ENOSPC: DECISIONS_MAX) */
int decisions_add(struct decisions *ds, const struct decision *d);
/** decisions_find - the newest one that fits and has not expired, or NULL */
const struct decision *decisions_find(const struct decisions *ds, const struct flow_facts *ff);
/** decisions_expire - forget those whose time is over */
void decisions_expire(struct decisions *ds, uint64_t now);
/** decisions_remove - by number; false: there is none */
bool decisions_remove(struct decisions *ds, uint32_t number);
/** decisions_of_owner - does one of them depend on whose flow it is? */
bool decisions_of_owner(const struct decisions *ds);
void decisions_free(struct decisions *ds);

#endif
