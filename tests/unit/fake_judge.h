/* SPDX-License-Identifier: MIT */
/*
 * fake_judge: judge.c for tests of relays: says what the test wants, and notes what it was told.
 */
#ifndef WEIR_TESTS_FAKE_JUDGE_H
#define WEIR_TESTS_FAKE_JUDGE_H

#include <sys/param.h>

#include "relay.h"

static struct {
	enum judge_say say;	       /* of judge_owned() */
	bool late;		       /* judge_early() says: not yet */
	size_t allowance;	       /* of metered flows */
	enum judge_say payload, shown; /* of gated flows */
	unsigned n_opened, n_ended, n_spent;
	size_t spent, seen[2]; /* seen: bytes that judge_payload() was told of */
} judge_fake = {.allowance = SIZE_MAX};

bool judge_early(struct relay *r, const struct flow *f)
{
	(void)r;
	(void)f;
	return !judge_fake.late;
}

enum judge_say judge_owned(struct relay *r, struct flow *f)
{
	static const enum flow_verdict verdicts[] = {[JUDGE_PASS] = FLOW_ALLOW,
						     [JUDGE_BLOCK] = FLOW_BLOCK,
						     [JUDGE_DROP] = FLOW_DROP,
						     [JUDGE_RESET] = FLOW_RESET,
						     [JUDGE_HOLD] = FLOW_HELD};

	(void)r;
	f->rec->verdict = (uint8_t)verdicts[judge_fake.say];
	f->rec->by = judge_fake.say == JUDGE_PASS ? FLOW_BY_DEFAULT : FLOW_BY_RULE;
	f->held = judge_fake.say == JUDGE_HOLD;
	return judge_fake.say;
}

void judge_opened(struct relay *r, struct flow *f)
{
	(void)r;
	(void)f;
	judge_fake.n_opened++;
}

void judge_end(struct relay *r, struct flow *f)
{
	(void)r;
	(void)f;
	judge_fake.n_ended++;
}

const char *judge_rule_text(const struct relay *r, const struct flow *f)
{
	(void)r;
	(void)f;
	return NULL;
}

enum judge_say judge_gate(struct relay *r, struct flow *f)
{
	if (f->gated)
		hook_chain_gate(r->hooks, f, false);
	return JUDGE_PASS;
}

enum judge_say judge_payload(struct relay *r, struct flow *f, enum hook_dir dir, size_t len,
			     bool last)
{
	(void)r;
	(void)last;
	if (!f->gated)
		return JUDGE_PASS;
	judge_fake.seen[dir] += len;
	return judge_fake.payload;
}

enum judge_say judge_shown(struct relay *r, struct flow *f)
{
	(void)r;
	return f->gated ? judge_fake.shown : JUDGE_PASS;
}

size_t judge_allowance(struct relay *r, const struct flow *f, size_t want)
{
	(void)r;
	(void)f;
	return MIN(want, judge_fake.allowance);
}

void judge_spend(const struct relay *r, const struct flow *f, size_t n)
{
	(void)r;
	(void)f;
	judge_fake.allowance -= n;
	judge_fake.spent += n;
}

void judge_spent(struct relay *r, struct flow *f)
{
	(void)r;
	f->rec->verdict = FLOW_BLOCK;
	judge_fake.n_spent++;
}

#endif
