/* SPDX-License-Identifier: MIT */
/* policy_judge: what rules say of a flow, one after the other. */
#include "policy.h"

#include <string.h>

#include "policy_impl.h"

#include "base/util.h"

#define BIT(f) (1ULL << (f))

/* known from the first packet on; dns.name is what was asked for before it */
#define PACKET_FIELDS                                                                              \
	(BIT(EXPR_F_PROTO) | BIT(EXPR_F_DIR) | BIT(EXPR_F_SRC_IP) | BIT(EXPR_F_DST_IP) |           \
	 BIT(EXPR_F_SRC_PORT) | BIT(EXPR_F_DST_PORT) | BIT(EXPR_F_IP_VERSION) |                    \
	 BIT(EXPR_F_BYTES_UP) | BIT(EXPR_F_BYTES_DOWN) | BIT(EXPR_F_DURATION) |                    \
	 BIT(EXPR_F_STATE) | BIT(EXPR_F_VERDICT) | BIT(EXPR_F_ID) | BIT(EXPR_F_TAG) |              \
	 BIT(EXPR_F_NETNS) | BIT(EXPR_F_DNS_NAME))
/* known when somebody has answered whose socket it is */
#define OWNER_FIELDS                                                                               \
	(BIT(EXPR_F_UID) | BIT(EXPR_F_USER) | BIT(EXPR_F_GID) | BIT(EXPR_F_PID) |                  \
	 BIT(EXPR_F_COMM) | BIT(EXPR_F_EXE) | BIT(EXPR_F_CMDLINE) | BIT(EXPR_F_PARENT_COMM) |      \
	 BIT(EXPR_F_ANCESTOR_COMM) | BIT(EXPR_F_ANCESTOR_EXE) | BIT(EXPR_F_CGROUP) |               \
	 BIT(EXPR_F_UNIT))

unsigned policy_waits(uint64_t fields)
{
	return (fields & OWNER_FIELDS ? POLICY_WAITS_OWNER : 0) |
	       (fields & ~(OWNER_FIELDS | PACKET_FIELDS) ? POLICY_WAITS_PAYLOAD : 0);
}

/** get_tag - the @i-th tag that rules before this one gave; of those undecided nobody knows */
static enum expr_known get_tag(struct policy_judging *j, unsigned i, struct expr_value *out)
{
	for (unsigned k = 0; k < j->out->n_collected; k++) {
		const struct policy_rule *r = &j->p->entries[j->out->collected[k]].rule;

		if (r->what != POLICY_TAG || i--)
			continue;
		out->text.s = r->name;
		out->text.len = strlen(r->name);
		return EXPR_KNOWN;
	}
	j->unknown |= j->tags_unknown;
	return j->tags_unknown ? EXPR_NOT_YET : EXPR_ABSENT;
}

/** get_field - between an expression and the subject: notes what was asked for in vain */
static enum expr_known get_field(const void *subject, enum expr_field f, unsigned i,
				 struct expr_value *out)
{
	struct policy_judging *j = *(struct policy_judging *const *)subject;
	enum expr_known known;

	if (f == EXPR_F_TAG)
		return get_tag(j, i, out);
	known = j->get(j->subject, f, i, out);
	if (known == EXPR_NOT_YET)
		j->unknown |= BIT(f);
	return known;
}

void policy_judge_start(struct policy_judging *j, const struct policy *p, expr_get_fn *get,
			const void *subject, struct policy_judgement *out)
{
	*j = (struct policy_judging){.p = p, .get = get, .subject = subject, .out = out};
	out->verdict = p->fallback.rule.verdict;
	out->rule = 0;
	out->waits = 0;
	out->unknown = 0;
	out->hooks_wait = false;
	out->n_collected = 0;
}

/** decide - the judging ends with rule @i */
static bool decide(struct policy_judging *j, uint32_t i, enum policy_verdict verdict)
{
	j->out->verdict = verdict;
	j->out->rule = i + 1;
	return false;
}

static void note_unknown(struct policy_judging *j)
{
	j->out->unknown |= j->unknown;
	j->out->waits |= policy_waits(j->unknown);
}

static bool collect(struct policy_judging *j, uint32_t i)
{
	if (j->out->n_collected == POLICY_COLLECT_MAX)
		return decide(j, i, POLICY_BLOCK);
	j->out->collected[j->out->n_collected++] = i;
	return true;
}

/** cannot_say - rule @i is not decided yet: does the flow have to wait for it? */
static bool cannot_say(struct policy_judging *j, uint32_t i, const struct policy_rule *r)
{
	if (r->final) {
		note_unknown(j);
		return decide(j, i, POLICY_WAIT);
	}
	if (r->what == POLICY_HOOK) {
		note_unknown(j);
		j->out->hooks_wait = true;
	} else if (r->what == POLICY_TAG) {
		j->tags_unknown |= j->unknown;
	}
	return true;
}

bool policy_judge_rule(struct policy_judging *j, uint32_t i, enum expr_truth *truth)
{
	const struct policy_entry *e = &j->p->entries[i];

	j->unknown = 0;
	*truth = e->expr ? expr_eval(e->expr, get_field, &j) : EXPR_YES;
	if (*truth == EXPR_NO)
		return true;
	if (*truth == EXPR_UNKNOWN)
		return cannot_say(j, i, &e->rule);
	return e->rule.final ? decide(j, i, e->rule.verdict) : collect(j, i);
}

void policy_judge_linear(const struct policy *p, expr_get_fn *get, const void *subject,
			 struct policy_judgement *out)
{
	struct policy_judging j;
	enum expr_truth truth;
	bool go_on = true;

	policy_judge_start(&j, p, get, subject, out);
	for (uint32_t i = 0; i < p->n_entries && go_on; i++)
		go_on = policy_judge_rule(&j, i, &truth);
}
