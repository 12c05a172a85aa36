/* SPDX-License-Identifier: MIT */
#include "judge.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "policy.h"
#include "relay.h"

#define GATE_NS	   (300 * NSEC_PER_MSEC) /* after the handshake, without a word of the client */
#define GATE_BYTES 16384		 /* of the client that may wait */
#define UNPACK_MAX 100			 /* rules compiled in one turn: about half a millisecond */
#define AGAIN_MAX  512			 /* flows looked at in one turn: well below a millisecond */
#define ASK_WAIT   (60 * NSEC_PER_SEC)	 /* where a rule that asks says no time */

/**
 * struct collected - a collecting rule that applies to a flow
 * @slot: of the limit's or quota's count; of others where the rule is counted
 * @amount, @period: of a quota; kept, as the ruleset may be another one meanwhile
 */
struct collected {
	uint32_t rule;
	enum policy_what what;
	bool fresh; /* to be told of */
	struct tally_slot *slot;
	uint64_t amount, period;
};

/**
 * struct judged - what the rules said beyond what the record has
 * @answered: the rule `ask` has its answer, @answer
 * @waiting: linked in judge.dirty
 * @seen, @ended: what the client has sent while it was gated; nothing of it will come any more,
 *   or it comes too late: the server has spoken
 * @credit: where the deciding rule is counted; NULL: the default
 */
struct judged {
	TAILQ_ENTRY(judged) link;
	struct flow *flow;
	bool answered, waiting, ended;
	enum flow_verdict answer, late; /* late: what counts when nobody answers */
	uint32_t seen;
	struct tally_slot *credit;
	unsigned n;
	struct collected *rules; /* owned */
};

/**
 * struct ruleset - a policy in use
 * @credit: for each rule, as policy_by() numbers them, where it is counted (NULL: no room)
 * @counts: it has limits or quotas, so that `allow` may still mean no
 */
struct ruleset {
	struct policy *p; /* owned */
	uint32_t number;
	uint64_t fields;
	bool counts;
	struct tally_slot **credit; /* owned */
};

struct judge {
	struct judge_config cfg;
	struct ruleset now;
	struct decisions decisions;
	struct tally *own_tally;	 /* owned; where none is shared */
	struct tally *limits;		 /* owned: flows counted by limits end with the worker */
	struct policy_unpacking *coming; /* owned: the next ruleset */
	uint32_t coming_number;
	uint64_t limits_hit; /* of regular expressions, as far as it was said */
	bool watched;
	bool walking; /* flows from @at on have not been judged by what is in force now */
	uint32_t at;
	TAILQ_HEAD(, judged) dirty; /* to be judged again before the turn ends */
};

/** struct ruling - what is said of a flow at one moment */
struct ruling {
	enum flow_verdict verdict;
	enum flow_by by;
	uint32_t rule; /* as in struct flow_rec */
	bool needs_names;
	struct policy_judgement pj;
};

/* --- life ------------------------------------------------------------------------------ */

static struct tally *new_tally(void)
{
	struct tally *t = calloc(1, sizeof(*t));

	if (t && tally_start(t)) {
		free(t);
		t = NULL;
	}
	return t;
}

struct judge *judge_new(const struct judge_config *cfg)
{
	struct judge *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->cfg = *cfg;
	TAILQ_INIT(&j->dirty);
	if (!cfg->tally)
		j->cfg.tally = j->own_tally = new_tally();
	j->limits = new_tally();
	if (!j->cfg.tally || !j->limits) {
		judge_free(j);
		return NULL;
	}
	return j;
}

static void ruleset_free(struct ruleset *s)
{
	policy_free(s->p);
	free(s->credit);
	*s = (struct ruleset){.p = NULL};
}

void judge_free(struct judge *j)
{
	if (!j)
		return;
	if (j->coming)
		policy_unpack_stop(j->coming);
	ruleset_free(&j->now);
	decisions_free(&j->decisions);
	free(j->own_tally);
	free(j->limits);
	free(j);
}

const struct policy *judge_ruleset(const struct judge *j)
{
	return j->now.p;
}

void judge_watch(struct judge *j, bool on)
{
	j->watched = on;
}

/* --- what is known of a flow -------------------------------------------------------------- */

static struct learnt *learnt_of(const struct judge *j, const struct flow *f)
{
	return &j->cfg.learnt[f->index];
}

/** touch_learnt - the place beside the record, cleared at its first use */
static struct learnt *touch_learnt(const struct judge *j, struct flow *f)
{
	struct learnt *l = learnt_of(j, f);

	if (!f->rec->learnt) {
		learnt_clear(l);
		f->rec->learnt = 1;
	}
	return l;
}

/** may_learn - its first payload is still to come, or is held at the gate */
static bool may_learn(const struct judge *j, const struct flow *f)
{
	const struct flow_rec *rec = f->rec;

	if (rec->proto != IPPROTO_TCP && rec->proto != IPPROTO_UDP)
		return false;
	if (rec->learnt && learnt_of(j, f)->done)
		return false;
	return f->gated || !(rec->up.bytes + rec->down.bytes);
}

void judge_facts(const struct relay *r, const struct flow *f, struct flow_facts *ff)
{
	const struct judge *j = r->judge;
	const struct flow_rec *rec = f->rec;

	*ff = (struct flow_facts){
		.rec = rec,
		.owner = f->owner,
		.learnt = rec->learnt ? learnt_of(j, f) : NULL,
		.dns_name = rec->host_slot ? names_text(r->names, rec->host_slot) : NULL,
		.netns = j->cfg.netns,
		.now = r->now,
		.owner_pending = rec->state == FLOW_NEW,
		.names_pending = may_learn(j, f),
	};
}

/* --- ruling ----------------------------------------------------------------------------------- */

static enum flow_verdict verdict_of(enum policy_verdict v)
{
	static const enum flow_verdict of[POLICY_VERDICT_MAX] = {
		[POLICY_ALLOW] = FLOW_ALLOW, [POLICY_BLOCK] = FLOW_BLOCK,
		[POLICY_DROP] = FLOW_DROP,   [POLICY_RESET] = FLOW_RESET,
		[POLICY_ASK] = FLOW_HELD,    [POLICY_WAIT] = FLOW_WAITS,
	};

	return of[v];
}

/** ask_rules - the decisions, then the rules; collecting rules count in both cases */
static void ask_rules(const struct judge *j, const struct flow_facts *ff, struct ruling *x)
{
	const struct decision *d = decisions_find(&j->decisions, ff);

	*x = (struct ruling){.verdict = FLOW_ALLOW};
	if (j->now.p) {
		policy_judge(j->now.p, facts_get, ff, &x->pj);
		x->verdict = verdict_of(x->pj.verdict);
		x->by = x->pj.rule ? FLOW_BY_RULE : FLOW_BY_DEFAULT;
		x->rule = x->pj.rule;
		x->needs_names = x->verdict == FLOW_WAITS || x->pj.hooks_wait;
	}
	if (d) {
		x->verdict = (enum flow_verdict)d->verdict;
		x->by = FLOW_BY_DECISION;
		x->rule = d->number;
		x->needs_names = x->pj.hooks_wait;
	}
}

/** say_limits - a rule that could not be looked at to its end counts as one that does not match */
static void say_limits(const struct relay *r)
{
	const uint64_t hit = expr_limits_hit();

	if (hit == r->judge->limits_hit)
		return;
	r->judge->limits_hit = hit;
	r->notice(
		r->ctx, "regex",
		"a rule's regular expression was too much work for a text: it counts as no match");
}

/**
 * rule_on - @f as it is known now
 *
 * The name of the destination is known from DNS before the payload tells another one. Such a
 * name is enough to refuse the flow, but not to let its payload pass.
 */
static void rule_on(const struct relay *r, const struct flow *f, struct ruling *x)
{
	const struct judge *j = r->judge;
	struct flow_facts ff;

	judge_facts(r, f, &ff);
	ask_rules(j, &ff, x);
	say_limits(r);
	if (x->verdict != FLOW_ALLOW || !(j->now.fields & 1ULL << EXPR_F_HOST) || !ff.dns_name ||
	    !ff.names_pending)
		return;
	ff.host_pending = true;
	ask_rules(j, &ff, x);
}

bool judge_early(struct relay *r, const struct flow *f)
{
	const struct judge *j = r->judge;
	struct ruling x;

	if (!j->now.p && !j->decisions.n)
		return true;
	if (j->now.counts || decisions_of_owner(&j->decisions))
		return false;
	rule_on(r, f, &x);
	if (x.verdict == FLOW_WAITS)
		return x.pj.waits == POLICY_WAITS_PAYLOAD && !j->cfg.before_connect;
	return x.verdict == FLOW_ALLOW && !(x.needs_names && j->cfg.before_connect);
}

/* --- counting -----------------------------------------------------------------------------------
 */

static struct judged *judged_of(struct flow *f)
{
	if (!f->judged) {
		f->judged = calloc(1, sizeof(*f->judged));
		if (f->judged)
			f->judged->flow = f;
	}
	return f->judged;
}

/** credit - add what has passed since the last time to the rules that it passed by */
static void credit(struct flow *f)
{
	const struct judged *g = f->judged;
	struct flow_rec *rec = f->rec;
	const uint64_t up = rec->up.bytes - rec->counted[0];
	const uint64_t down = rec->down.bytes - rec->counted[1];

	rec->counted[0] += up;
	rec->counted[1] += down;
	if (!g || !(up + down))
		return;
	if (g->credit) {
		g->credit->up += up;
		g->credit->down += down;
	}
	for (unsigned i = 0; i < g->n; i++) {
		if (g->rules[i].what == POLICY_QUOTA || g->rules[i].what == POLICY_LIMIT)
			continue; /* these slots count something else */
		if (g->rules[i].slot) {
			g->rules[i].slot->up += up;
			g->rules[i].slot->down += down;
		}
	}
}

/** release - @f does not count for its limits any more */
static void release(struct flow *f)
{
	struct judged *g = f->judged;

	for (unsigned i = 0; g && i < g->n; i++) {
		struct tally_slot *s = g->rules[i].slot;

		if (g->rules[i].what == POLICY_LIMIT && s && !--s->hits)
			tally_free(s);
	}
	if (g) {
		free(g->rules);
		g->rules = NULL;
		g->n = 0;
	}
	f->metered = false;
}

/** struct count_key - whose count it is; hashed up to @len bytes of value */
struct count_key {
	uint64_t rule[2];
	uint32_t per;
	uint32_t len;
	char value[FLOW_HOST_MAX];
};

static void key_text(struct count_key *k, const char *text, size_t len)
{
	k->len = (uint32_t)MIN(len, sizeof(k->value));
	memcpy(k->value, text, k->len);
}

static void key_field(struct count_key *k, const struct flow_facts *ff, enum expr_field field)
{
	struct expr_value v;

	if (facts_get(ff, field, 0, &v) == EXPR_KNOWN)
		key_text(k, v.text.s, v.text.len);
}

/** count_key - owners that are not known share one count */
static void count_key(const struct judge *j, const struct policy_rule *rule,
		      const struct flow_facts *ff, struct count_key *k)
{
	const uint64_t process[2] = {ff->owner ? (uint64_t)ff->owner->pid : 0,
				     ff->owner ? ff->owner->start_ns : 0};
	struct expr_value v = {.num = UINT64_MAX};

	memset(k, 0, sizeof(*k));
	tally_rule(j->cfg.tally, rule->file, rule->text, k->rule);
	k->per = (uint32_t)rule->per;
	switch (rule->per) {
	case POLICY_PER_USER:
		facts_get(ff, EXPR_F_UID, 0, &v);
		key_text(k, (const char *)&v.num, sizeof(v.num));
		break;
	case POLICY_PER_PROCESS:
		key_text(k, (const char *)process, sizeof(process));
		break;
	case POLICY_PER_PROGRAM:
		key_field(k, ff, EXPR_F_EXE);
		break;
	case POLICY_PER_HOST:
		key_field(k, ff, EXPR_F_HOST);
		if (!k->len)
			key_text(k, (const char *)&ff->rec->net.addr, sizeof(ff->rec->net.addr));
		break;
	case POLICY_PER_RULE:
		break;
	}
}

static struct tally_slot *count_slot(struct relay *r, struct tally *t, const struct flow_facts *ff,
				     const struct policy_rule *rule)
{
	struct count_key k;
	struct tally_slot *s;

	count_key(r->judge, rule, ff, &k);
	s = tally_take(t, &k, offsetof(struct count_key, value) + k.len, r->now);
	if (!s)
		r->notice(r->ctx, "counts", "%s:%u: too many are counted: more are refused",
			  rule->file, rule->line);
	return s;
}

/** quota_left - a period begins with its first byte, and the next one with the first after it */
static uint64_t quota_left(const struct relay *r, const struct collected *c)
{
	struct tally_slot *s = c->slot;

	if (s->until && s->until <= r->now)
		s->up = s->until = 0;
	if (!s->until && c->period)
		s->until = r->now + c->period;
	return s->up < c->amount ? c->amount - s->up : 0;
}

/** had - was @rule applied to @f before, in this ruleset? */
static const struct collected *had(const struct collected *old, unsigned n, uint32_t rule)
{
	for (unsigned i = 0; i < n; i++)
		if (old[i].rule == rule)
			return &old[i];
	return NULL;
}

/**
 * count_in - @c counts for one flow more; false: it refuses it
 * @open: the flow was let in before: a limit does not throw it out
 */
static bool count_in(struct relay *r, const struct flow_facts *ff, struct collected *c, bool open)
{
	const struct policy_rule *rule = policy_rule(r->judge->now.p, c->rule);

	if (rule->what == POLICY_LIMIT) {
		c->slot = count_slot(r, r->judge->limits, ff, rule);
		if (!c->slot || (!open && c->slot->hits >= rule->amount)) {
			if (c->slot && !c->slot->hits)
				tally_free(c->slot);
			c->slot = NULL;
			return false;
		}
		c->slot->hits++;
	} else if (rule->what == POLICY_QUOTA) {
		c->slot = count_slot(r, r->judge->cfg.tally, ff, rule);
		c->amount = rule->amount;
		c->period = rule->period;
		return c->slot && quota_left(r, c);
	}
	return true;
}

/** tell_logs - rules `log` that have begun to apply, now that the record says what became of it */
static void tell_logs(struct relay *r, struct flow *f)
{
	struct judged *g = f->judged;

	for (unsigned i = 0; g && i < g->n; i++) {
		if (g->rules[i].what == POLICY_LOG && g->rules[i].fresh)
			r->flow_event(r->ctx, f, JUDGE_EV_LOG, g->rules[i].rule + 1);
		g->rules[i].fresh = false;
	}
}

/** struct collecting - the rules of a judgement, while they are applied one after the other */
struct collecting {
	struct relay *r;
	struct flow *f;
	struct flow_facts ff;
	bool lets_in, open;	     /* the flow may pass; it has been let in before */
	const struct collected *old; /* those of before, of the same ruleset */
	unsigned n_old;
};

/** collect_one - the rule of index @i applies, and is noted in @c; false: it refuses the flow */
static bool collect_one(const struct collecting *cs, uint32_t i, struct collected *c)
{
	const struct judge *j = cs->r->judge;
	const struct policy_rule *rule = policy_rule(j->now.p, i);

	*c = (struct collected){.rule = i, .what = rule->what, .slot = j->now.credit[i + 1]};
	c->fresh = !had(cs->old, cs->n_old, i);
	if (c->slot && c->fresh)
		c->slot->hits++;
	cs->f->metered |= rule->what == POLICY_QUOTA;
	if (rule->what == POLICY_TAG)
		judge_tag(cs->r, cs->f, rule->name);
	if (!cs->lets_in)
		return true;
	/* Not only a fresh one: a flow that was held has matched it, and no hook has seen it yet.
	 */
	if (rule->what == POLICY_HOOK)
		return !hook_chain_pick(cs->r->hooks, cs->f, rule->name, rule->args);
	return count_in(cs->r, &cs->ff, c, cs->open);
}

/** replace - @list in the place of what @f was counted for, after it, so that nobody slips in */
static void replace(struct judged *g, struct collected *list, unsigned n)
{
	struct judged before = {.n = g->n, .rules = g->rules};
	struct flow shell = {.judged = &before};

	release(&shell);
	g->rules = list;
	g->n = n;
}

/**
 * collect - apply the collecting rules of @x; false: one of them refuses the flow, and is x->rule
 *
 * Those of before (of the same ruleset) are not logged and counted as hits a second time.
 */
static bool collect(struct relay *r, struct flow *f, struct ruling *x, bool same_rules)
{
	struct judged *g = x->pj.n_collected ? judged_of(f) : f->judged;
	struct collecting cs = {
		.r = r,
		.f = f,
		.lets_in = x->verdict == FLOW_ALLOW || x->verdict == FLOW_WAITS,
		.open = f->rec->state >= FLOW_JUDGED && f->rec->state != FLOW_CLOSING,
		.old = g ? g->rules : NULL,
		.n_old = g && same_rules ? g->n : 0,
	};
	struct collected *list = NULL;
	bool passes = true;
	unsigned n = 0;

	if (x->pj.n_collected)
		list = calloc(x->pj.n_collected, sizeof(*list));
	if (x->pj.n_collected && (!g || !list)) { /* what can't be counted does not pass */
		free(list);
		x->rule = 0;
		return false;
	}
	judge_facts(r, f, &cs.ff);
	f->metered = false;
	while (n < x->pj.n_collected && passes) {
		passes = collect_one(&cs, x->pj.collected[n], &list[n]);
		if (!passes)
			x->rule = x->pj.collected[n] + 1;
		n++;
	}
	if (g)
		replace(g, list, n);
	return passes;
}

/* --- what follows from it ------------------------------------------------------------------------
 */

static enum judge_say say_of(enum flow_verdict v)
{
	static const enum judge_say of[FLOW_VERDICT_MAX] = {
		[FLOW_ALLOW] = JUDGE_PASS,  [FLOW_BLOCK] = JUDGE_BLOCK, [FLOW_DROP] = JUDGE_DROP,
		[FLOW_RESET] = JUDGE_RESET, [FLOW_HELD] = JUDGE_HOLD,	[FLOW_WAITS] = JUDGE_PASS,
	};

	return of[v];
}

/** set_gate - what waits in the hook chain wakes the flow when the gate is opened */
static void set_gate(struct relay *r, struct flow *f, bool gated, bool held)
{
	const bool opens = f->gated && !gated && f->hookdata;

	f->gated = gated;
	f->held = held;
	if (opens)
		hook_chain_gate(r->hooks, f, true);
}

/** write_down - the record says who decided, and the rule counts it */
static void write_down(struct relay *r, struct flow *f, const struct ruling *x)
{
	const struct judge *j = r->judge;
	struct flow_rec *rec = f->rec;
	const bool by_rule = j->now.p && (x->by == FLOW_BY_RULE || x->by == FLOW_BY_DEFAULT);
	struct tally_slot *slot = by_rule ? j->now.credit[x->rule] : NULL;
	struct judged *g = slot ? judged_of(f) : f->judged;

	if (slot && (!g || g->credit != slot))
		slot->hits++;
	if (g)
		g->credit = slot;
	rec->verdict = (uint8_t)x->verdict;
	rec->by = (uint8_t)x->by;
	rec->rule = x->rule;
	rec->ruleset = j->now.number;
}

/** answered - a rule that asks has been answered for this flow */
static void answered(const struct flow *f, struct ruling *x)
{
	const struct judged *g = f->judged;

	if (x->verdict == FLOW_HELD && g && g->answered)
		x->verdict = g->answer;
}

/** ask - from now on somebody may decide, for as long as the rule says */
static void ask(struct relay *r, struct flow *f)
{
	const struct flow_rec *rec = f->rec;
	const struct policy_rule *rule = policy_by(r->judge->now.p, rec->rule);
	struct judged *g = judged_of(f);

	if (g)
		g->late = verdict_of(rule->ask_default);
	timers_set(r->timers, f, r->now + (rule->ask_timeout ? rule->ask_timeout : ASK_WAIT));
	r->flow_event(r->ctx, f, JUDGE_EV_HELD, 0);
}

/** needs_gate - rules, or the scope of a hook, wait for a name that may still come */
static bool needs_gate(const struct relay *r, const struct flow *f, const struct ruling *x)
{
	return (x->needs_names || (f->hookdata && hook_chain_unsure(f))) && may_learn(r->judge, f);
}

/** apply - the flow is now what @x says */
static enum judge_say apply(struct relay *r, struct flow *f, struct ruling *x)
{
	const bool same_rules = f->rec->ruleset == r->judge->now.number;
	const bool was_held = f->held;
	enum judge_say say;

	answered(f, x);
	credit(f);
	if (r->judge->now.p && !collect(r, f, x, same_rules)) {
		x->verdict = FLOW_BLOCK;
		x->by = x->rule ? FLOW_BY_RULE : FLOW_BY_DEFAULT;
	}
	write_down(r, f, x);
	tell_logs(r, f);
	say = say_of(x->verdict);
	/* What waited for names and is asked about goes on waiting, with what it has sent. */
	set_gate(r, f, say == JUDGE_PASS ? needs_gate(r, f, x) : say == JUDGE_HOLD && f->gated,
		 say == JUDGE_HOLD);
	if (say == JUDGE_HOLD && !was_held)
		ask(r, f);
	else if (say != JUDGE_PASS && say != JUDGE_HOLD)
		release(f);
	return say;
}

enum judge_say judge_owned(struct relay *r, struct flow *f)
{
	const struct judge *j = r->judge;
	enum judge_say say;
	struct ruling x;

	if (!j->now.p && !j->decisions.n)
		return JUDGE_PASS; /* a scope that waits for names is judge_gate()'s */
	rule_on(r, f, &x);
	say = apply(r, f, &x);
	if (say != JUDGE_PASS && say != JUDGE_HOLD && j->watched)
		r->flow_event(r->ctx, f, JUDGE_EV_BLOCKED, 0);
	return say;
}

enum judge_say judge_gate(struct relay *r, struct flow *f)
{
	struct ruling x;

	if (!f->gated && !(hook_chain_unsure(f) && may_learn(r->judge, f)))
		return JUDGE_PASS;
	f->gated = true;
	/* Closed for nobody it would be for nothing: no hook learns a name. */
	if (!hook_direct(f) && !hook_chain_gate(r->hooks, f, false))
		return JUDGE_PASS;
	touch_learnt(r->judge, f)->done = 1;
	rule_on(r, f, &x);
	return apply(r, f, &x);
}

void judge_opened(struct relay *r, struct flow *f)
{
	if (f->gated)
		timers_set(r->timers, f, r->now + GATE_NS);
}

/** unhold - the deadline was for the decision or the gate; idle time begins with the next packet */
static void unhold(struct relay *r, struct flow *f)
{
	if (f->deadline)
		timers_clear(r->timers, f);
	if (f->rec->proto != IPPROTO_TCP)
		timers_datagram(r->timers, f, r->now);
}

/**
 * act - a flow that is there was judged again: tell its relay if there is something to do
 * @waited: it was held or gated
 */
static void act(struct relay *r, struct flow *f, enum judge_say say, bool waited)
{
	const bool inside = f->rec->state > FLOW_OWNED && !f->refused;
	const bool waits = f->held || f->gated;

	if ((waited || !inside) && !waits)
		unhold(r, f);
	if (say == JUDGE_HOLD || (say == JUDGE_PASS && inside && (!waited || waits)))
		return;
	if (say != JUDGE_PASS && f->refused)
		return;
	if (say != JUDGE_PASS && inside)
		r->flow_event(r->ctx, f, JUDGE_EV_CUT, 0);
	r->judged(r, f, say);
}

void judge_again(struct relay *r, struct flow *f)
{
	const bool waited = f->held || f->gated, was_held = f->held;
	enum judge_say say;
	struct ruling x;

	if (f->rec->state < FLOW_OWNED || f->rec->reason != FLOW_ENDED_NOT ||
	    f->rec->by == FLOW_BY_HOOK || f->rec->by == FLOW_BY_KILL)
		return;
	rule_on(r, f, &x);
	say = apply(r, f, &x);
	if (was_held && !f->held && x.by == FLOW_BY_DECISION)
		r->flow_event(r->ctx, f, JUDGE_EV_DECIDED, 0);
	act(r, f, say, waited);
}

/* --- decisions
 * ------------------------------------------------------------------------------------- */

static void answer(struct relay *r, struct flow *f, enum flow_verdict verdict)
{
	struct judged *g = judged_of(f);

	if (!g) { /* no memory to note that it may pass */
		f->rec->verdict = FLOW_BLOCK;
		r->judged(r, f, JUDGE_BLOCK);
		return;
	}
	g->answered = true;
	g->answer = verdict;
	r->flow_event(r->ctx, f, JUDGE_EV_DECIDED, 0);
	judge_again(r, f);
}

void judge_decide(struct relay *r, struct flow *f, enum flow_verdict verdict)
{
	if (!f->held || f->rec->by == FLOW_BY_HOOK)
		return;
	answer(r, f, verdict);
}

/** fall_silent - @f was not gated any more because nobody has said anything yet */
static void fall_silent(struct flow *f)
{
	if (f->rec->reason != FLOW_ENDED_NOT || f->gated || f->held ||
	    f->rec->up.bytes + f->rec->down.bytes)
		return;
	f->silent = true;
}

void judge_timeout(struct relay *r, struct flow *f)
{
	if (f->held && f->rec->by != FLOW_BY_HOOK) {
		answer(r, f, f->judged ? f->judged->late : FLOW_BLOCK);
	} else if (f->gated) {
		touch_learnt(r->judge, f)->done = 1;
		judge_again(r, f);
		fall_silent(f);
	}
}

void judge_kill(struct relay *r, struct flow *f)
{
	if (f->rec->reason != FLOW_ENDED_NOT)
		return;
	f->rec->verdict = FLOW_BLOCK;
	f->rec->by = FLOW_BY_KILL;
	f->rec->rule = 0;
	set_gate(r, f, false, false);
	r->flow_event(r->ctx, f, JUDGE_EV_CUT, 0);
	r->judged(r, f, JUDGE_BLOCK);
}

/** walk - all flows are to be judged again */
static void walk(struct judge *j)
{
	j->walking = true;
	j->at = 0;
}

int judge_remember(struct relay *r, const struct decision *d)
{
	int rc;

	decisions_expire(&r->judge->decisions, r->now);
	rc = decisions_add(&r->judge->decisions, d);
	if (!rc)
		walk(r->judge);
	return rc;
}

void judge_forget(struct relay *r, uint32_t number)
{
	if (decisions_remove(&r->judge->decisions, number))
		walk(r->judge);
}

/* --- another ruleset
 * ---------------------------------------------------------------------------------- */

static int fill_ruleset(const struct judge *j, struct ruleset *s, uint64_t now)
{
	const unsigned n = policy_rules(s->p);

	s->fields = policy_fields(s->p);
	s->credit = calloc(n + 1UL, sizeof(struct tally_slot *));
	if (!s->credit)
		return -ENOMEM;
	for (unsigned i = 0; i <= n; i++) {
		const struct policy_rule *rule = policy_by(s->p, i);
		uint64_t id[2];

		tally_rule(j->cfg.tally, rule->file ? rule->file : "", rule->text ? rule->text : "",
			   id);
		s->credit[i] = tally_take(j->cfg.tally, id, sizeof(id), now);
		s->counts |=
			!rule->final && (rule->what == POLICY_LIMIT || rule->what == POLICY_QUOTA);
	}
	return 0;
}

/** hooks_by_rule - hooks that rules name get only the flows that they give them */
static void hooks_by_rule(struct relay *r, const struct ruleset *s, bool on)
{
	for (unsigned i = 0; s->p && i < policy_rules(s->p); i++) {
		const struct policy_rule *rule = policy_rule(s->p, i);

		if (rule->final || rule->what != POLICY_HOOK ||
		    !hook_chain_by_rule(r->hooks, rule->name, on) || !on)
			continue;
		r->notice(r->ctx, "rule hook",
			  "%s:%u: there is no hook %s (--hook): its flows are blocked", rule->file,
			  rule->line, rule->name);
	}
}

/** change_over - to @p, owned, from here on; 0 or -errno */
static int change_over(struct relay *r, struct policy *p, uint32_t number)
{
	struct judge *j = r->judge;
	struct ruleset next = {.p = p, .number = number};
	int rc = fill_ruleset(j, &next, r->now);

	if (rc) {
		ruleset_free(&next);
		return rc;
	}
	hooks_by_rule(r, &j->now, false);
	ruleset_free(&j->now);
	j->now = next;
	hooks_by_rule(r, &j->now, true);
	walk(j);
	return 0;
}

int judge_use(struct relay *r, int fd, uint32_t number)
{
	struct policy *p = NULL;
	char err[256] = "";
	int rc = policy_unpack(fd, &p, err, sizeof(err));

	close(fd);
	if (rc)
		log_error("the rules can't be used: %s", *err ? err : strerror(-rc));
	return rc ? rc : change_over(r, p, number);
}

static void cannot_use(struct relay *r, const char *why)
{
	r->notice(r->ctx, "rules", "the new rules can't be used, the old ones are: %s", why);
}

void judge_change(struct relay *r, int fd, uint32_t number)
{
	struct judge *j = r->judge;
	char err[256] = "";
	int rc;

	if (j->coming)
		policy_unpack_stop(j->coming);
	j->coming = NULL;
	j->coming_number = number;
	rc = policy_unpack_start(fd, &j->coming, err, sizeof(err));
	close(fd);
	if (rc)
		cannot_use(r, *err ? err : strerror(-rc));
}

/** unpack - some of the rules that are to come; true: more are left */
static bool unpack(struct relay *r)
{
	struct judge *j = r->judge;
	struct policy *p = NULL;
	char err[256] = "";
	int rc;

	if (!j->coming)
		return false;
	rc = policy_unpack_step(j->coming, UNPACK_MAX, &p, err, sizeof(err));
	if (rc == 1)
		return true;
	j->coming = NULL;
	if (!rc)
		rc = change_over(r, p, j->coming_number);
	if (rc)
		cannot_use(r, *err ? err : strerror(-rc));
	return false;
}

static void again_one(void *ctx, struct flow *f)
{
	judge_again(ctx, f);
}

bool judge_turn(struct relay *r)
{
	struct judge *j = r->judge;
	struct judged *g;

	while ((g = TAILQ_FIRST(&j->dirty))) {
		TAILQ_REMOVE(&j->dirty, g, link);
		g->waiting = false;
		judge_again(r, g->flow);
	}
	if (unpack(r))
		return true;
	if (j->walking)
		j->walking = flow_walk(r->flows, &j->at, AGAIN_MAX, again_one, r);
	return j->walking;
}

void judge_end(struct relay *r, struct flow *f)
{
	struct judged *g = f->judged;

	credit(f);
	release(f);
	if (g && g->waiting)
		TAILQ_REMOVE(&r->judge->dirty, g, link);
	free(g);
	f->judged = NULL;
	f->held = f->gated = false;
}

/* --- names from the payload
 * ------------------------------------------------------------------------- */

/** later - judge @f again before the turn ends, unless judge_shown() does so before */
static void later(struct relay *r, struct flow *f)
{
	struct judged *g;

	if (!f->gated && !(r->judge->now.fields & facts_of_payload))
		return;
	g = judged_of(f);
	if (!g || g->waiting)
		return;
	g->waiting = true;
	TAILQ_INSERT_TAIL(&r->judge->dirty, g, link);
}

int judge_learn(struct relay *r, struct flow *f, const char *field, const char *value)
{
	enum expr_field id = expr_field_find(field, strlen(field));
	int rc;

	if (id == EXPR_FIELD_MAX || !(1ULL << id & facts_of_payload) || id == EXPR_F_HOST)
		return -EINVAL;
	rc = learnt_add(touch_learnt(r->judge, f), id, value);
	if (!rc)
		later(r, f);
	return rc < 0 ? rc : 0;
}

void judge_learn_done(struct relay *r, struct flow *f)
{
	if (f->rec->learnt && learnt_of(r->judge, f)->done)
		return;
	touch_learnt(r->judge, f)->done = 1;
	later(r, f);
}

int judge_tag(struct relay *r, struct flow *f, const char *tag)
{
	int rc = learnt_add(touch_learnt(r->judge, f), EXPR_F_TAG, tag);

	return rc < 0 ? rc : 0;
}

/** from_client - @dir is that of whoever opened the flow */
static bool from_client(const struct flow *f, enum hook_dir dir)
{
	return (dir == HOOK_UP) != (f->rec->inbound != 0);
}

/** say_now - judge @f in the middle of its relay's work, which acts on what is returned */
static enum judge_say say_now(struct relay *r, struct flow *f)
{
	struct judged *g = f->judged;
	enum judge_say say;
	struct ruling x;

	if (g && g->waiting) {
		TAILQ_REMOVE(&r->judge->dirty, g, link);
		g->waiting = false;
	}
	rule_on(r, f, &x);
	say = apply(r, f, &x);
	if (!f->held && !f->gated)
		unhold(r, f);
	if (say == JUDGE_PASS || say == JUDGE_HOLD)
		return JUDGE_PASS;
	r->flow_event(r->ctx, f, JUDGE_EV_CUT, 0);
	return say;
}

/** gate_again - after a silence, in which it was judged without names, the client speaks first */
static enum judge_say gate_again(struct relay *r, struct flow *f)
{
	f->gated = true;
	touch_learnt(r->judge, f)->done = 0;
	if (hook_chain_gate(r->hooks, f, false))
		touch_learnt(r->judge, f)->done = 1;
	return say_now(r, f);
}

enum judge_say judge_payload(struct relay *r, struct flow *f, enum hook_dir dir, size_t len,
			     bool last)
{
	const bool client = from_client(f, dir);
	struct judged *g;

	if ((!f->gated && !f->silent) || (!len && !last))
		return JUDGE_PASS;
	if (f->silent) {
		f->silent = false;
		if (client && len && gate_again(r, f) != JUDGE_PASS)
			return JUDGE_BLOCK;
		if (!f->gated)
			return JUDGE_PASS;
	}
	g = judged_of(f);
	if (!g)
		return JUDGE_PASS; /* then the end of its first bytes is not seen: the gate stays */
	if (!client) {		   /* it speaks first: the client's names come too late */
		g->ended = true;
		return JUDGE_PASS;
	}
	if (len && !g->seen && f->deadline && !f->held)
		unhold(r, f); /* time does not run against who speaks slowly: else it would win */
	g->seen += (uint32_t)MIN(len, (size_t)GATE_BYTES);
	g->ended |= last && g->seen; /* else the server may still say what it is */
	return JUDGE_PASS;
}

enum judge_say judge_shown(struct relay *r, struct flow *f)
{
	struct judged *g = f->judged;

	if (!f->gated || !g)
		return JUDGE_PASS;
	if (g->seen >= GATE_BYTES || g->ended)
		touch_learnt(r->judge, f)->done = 1;
	else if (!g->waiting)
		return JUDGE_PASS;
	return say_now(r, f);
}

/* --- quotas
 * --------------------------------------------------------------------------------------------- */

/** tightest - the quota of @f that leaves least; NULL: none */
static const struct collected *tightest(const struct relay *r, const struct flow *f, uint64_t *left)
{
	const struct judged *g = f->judged;
	const struct collected *least = NULL;

	*left = UINT64_MAX;
	for (unsigned i = 0; g && i < g->n; i++) {
		const struct collected *c = &g->rules[i];
		uint64_t n;

		if (c->what != POLICY_QUOTA || !c->slot)
			continue;
		n = quota_left(r, c);
		if (n < *left) {
			*left = n;
			least = c;
		}
	}
	return least;
}

size_t judge_allowance(struct relay *r, const struct flow *f, size_t want)
{
	uint64_t left;

	tightest(r, f, &left);
	return MIN((uint64_t)want, left);
}

void judge_spend(const struct relay *r, const struct flow *f, size_t n)
{
	const struct judged *g = f->judged;

	(void)r;
	for (unsigned i = 0; g && i < g->n; i++)
		if (g->rules[i].what == POLICY_QUOTA && g->rules[i].slot)
			g->rules[i].slot->up += n;
}

void judge_spent(struct relay *r, struct flow *f)
{
	uint64_t left;
	const struct collected *c = tightest(r, f, &left);

	if (!c)
		return;
	f->rec->verdict = FLOW_BLOCK;
	f->rec->by = FLOW_BY_RULE;
	f->rec->rule = c->rule + 1;
	r->flow_event(r->ctx, f, JUDGE_EV_CUT, 0);
}

const char *judge_rule_text(const struct relay *r, const struct flow *f)
{
	static char text[512];
	const struct ruleset *s = &r->judge->now;
	const struct flow_rec *rec = f->rec;

	if (rec->by != FLOW_BY_RULE || !s->p || rec->ruleset != s->number || !rec->rule ||
	    rec->rule > policy_rules(s->p))
		return NULL;
	snprintf(text, sizeof(text), "%s:%u", policy_rule(s->p, rec->rule - 1)->file,
		 policy_rule(s->p, rec->rule - 1)->line);
	return text;
}
