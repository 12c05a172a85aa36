/* SPDX-License-Identifier: MIT */
/*
 * judge: what the rules say of live flows, and who is told when they say something else.
 *
 * Theory of operation
 *
 * A flow is judged when its owner is known (judge_owned()). Its SYN waits for that, and the network
 * is not asked before, unless rules let it pass whoever it is (judge_early()).
 *
 * A rule about what only the payload tells (a TLS name) lets the flow go on as far as it must to
 * learn it: the flow is *gated*. The gate lies in the hook chain, behind the hook that learns
 * names. What the client sends waits there until it is known, or known to be absent: the server
 * has spoken first, or GATE_BYTES have come. Then the flow is judged again. When nobody has said
 * anything for GATE_NS after the handshake it is judged as well, as the client may wait for the
 * server; should the client speak first after all, the gate is closed again.
 *
 * A flow that a rule `ask` decides is *held*: its SYN stays unanswered, datagrams wait in bounds,
 * until somebody has decided (judge_decide()) or the rule's time is over.
 *
 * And flows are judged again when something that was judged by changes: another ruleset (all
 * flows, some in each turn: judge_turn()), a name, a decision, the owner. When that makes a
 * difference relay.judged() is called, which goes to the flow's relay as _judged():
 *
 *   JUDGE_PASS   what was held or gated goes on
 *   JUDGE_HOLD   nothing more passes for now
 *   others       the flow ends, or is kept to be refused
 *
 * Counters and quotas lie in the tally that the supervisor shares; what a flow has been counted
 * for hangs on f->judged.
 */
#ifndef WEIR_JUDGE_H
#define WEIR_JUDGE_H

#include "decision.h"
#include "facts.h"
#include "hook.h"
#include "tally.h"

struct relay;
struct judge;

enum judge_say {
	JUDGE_PASS,
	JUDGE_BLOCK, /* refused: RST, administratively prohibited */
	JUDGE_DROP,  /* silence */
	JUDGE_RESET, /* TCP: the handshake is made, and then reset; else as JUDGE_BLOCK */
	JUDGE_HOLD,
};

/* Things to be told of: relay.flow_event(). */
enum judge_event {
	JUDGE_EV_HELD,	  /* somebody is asked for a decision */
	JUDGE_EV_DECIDED, /* ... and has given one, or nobody has in time */
	JUDGE_EV_BLOCKED, /* a new flow is refused (only while somebody watches) */
	JUDGE_EV_CUT,	  /* a flow that was open is not allowed any more */
	JUDGE_EV_LOG,	  /* a rule `log` says so; it is passed as the rule */
	JUDGE_EV_MAX
};

/**
 * struct judge_config - all borrowed
 * @tally: shared; NULL: of the worker's own
 * @learnt: shared, one for each flow record
 * @netns: name of the programs' network namespace, or NULL
 * @before_connect: --judge-before-connect
 */
struct judge_config {
	struct tally *tally;
	struct learnt *learnt;
	const char *netns;
	bool before_connect;
};

/** judge_new - NULL on ENOMEM */
struct judge *judge_new(const struct judge_config *cfg);
void judge_free(struct judge *j);

/** judge_use - the first ruleset, in the memfd @fd (owned), before the first packet; 0 or -errno */
int judge_use(struct relay *r, int fd, uint32_t number);
/** judge_change - another one, in the turns to come; where that fails the old one stays (said) */
void judge_change(struct relay *r, int fd, uint32_t number);
/** judge_ruleset - the one in use, for hooks that rules name; NULL: none */
const struct policy *judge_ruleset(const struct judge *j);
/** judge_remember - one more decision; flows that wait are judged by it, others too */
int judge_remember(struct relay *r, const struct decision *d);
void judge_forget(struct relay *r, uint32_t number);
/** judge_watch - somebody wants to hear of JUDGE_EV_BLOCKED */
void judge_watch(struct judge *j, bool on);

/** judge_early - before the owner is known: is there no way in which @f could be refused? */
bool judge_early(struct relay *r, const struct flow *f);
/** judge_owned - the owner is known, or known to be unknown */
enum judge_say judge_owned(struct relay *r, struct flow *f);
/** judge_gate - hooks are open and @f is gated: close it; where nobody learns names it is judged */
enum judge_say judge_gate(struct relay *r, struct flow *f);
/** judge_opened - the handshake is done, or the first datagram has passed: time runs */
void judge_opened(struct relay *r, struct flow *f);
/** judge_again - the owner is another one, or what @f waited for has happened */
void judge_again(struct relay *r, struct flow *f);
/** judge_timeout - the deadline of a held or gated flow has passed */
void judge_timeout(struct relay *r, struct flow *f);
/** judge_decide - @f is held: FLOW_ALLOW or FLOW_BLOCK, for this flow */
void judge_decide(struct relay *r, struct flow *f, enum flow_verdict verdict);
/** judge_kill - somebody wants it to end */
void judge_kill(struct relay *r, struct flow *f);
/** judge_turn - at the end of a turn: some of the flows that must be judged again; true: more */
bool judge_turn(struct relay *r);
/** judge_end - @f has ended: credit its rules, forget it */
void judge_end(struct relay *r, struct flow *f);

/* --- names from the payload -------------------------------------------------------------- */

/** judge_learn - a hook has learnt @field; @value NULL: there is none; 0 or -errno */
int judge_learn(struct relay *r, struct flow *f, const char *field, const char *value);
/** judge_learn_done - it will learn no more */
void judge_learn_done(struct relay *r, struct flow *f);
/** judge_tag - -ENOSPC when it has too many */
int judge_tag(struct relay *r, struct flow *f, const char *tag);
/**
 * judge_payload - @len bytes of @dir are about to be offered to hooks, or (@last) its end
 *
 * And judge_shown(): they have been, so names may be known now. Both are for gated and held flows,
 * and say JUDGE_PASS unless the flow must end; the gate itself is the chain's.
 */
enum judge_say judge_payload(struct relay *r, struct flow *f, enum hook_dir dir, size_t len,
			     bool last);
enum judge_say judge_shown(struct relay *r, struct flow *f);

/* --- quotas: flows with f->metered ---------------------------------------------------------- */

/** judge_allowance - how many of @want bytes may still pass */
size_t judge_allowance(struct relay *r, const struct flow *f, size_t want);
void judge_spend(const struct relay *r, const struct flow *f, size_t n);
/** judge_spent - more was wanted than a quota allows: note which one in the record */
void judge_spent(struct relay *r, struct flow *f);

/** judge_facts - what is known of @f now */
void judge_facts(const struct relay *r, const struct flow *f, struct flow_facts *ff);
/** judge_rule_text - "FILE:LINE" of the rule that decided, or NULL; until the next call */
const char *judge_rule_text(const struct relay *r, const struct flow *f);

#endif
