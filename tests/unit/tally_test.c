/* SPDX-License-Identifier: MIT */
/*
 * tally and learnt: what lies in shared memory beside flows.
 * LINK: src/tally.o src/learnt.o src/base/hash.o src/base/log.o src/base/util.o
 */
#include "learnt.h"
#include "tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"

static void test_tally(void)
{
	struct tally *t = calloc(1, sizeof(*t));
	struct tally_slot *a, *b;
	uint64_t one[2], two[2];
	unsigned lost = 0;

	if (!t || tally_start(t))
		exit(1);
	tap_ok(!tally_find(t, "a", 1), "nothing is counted yet");
	a = tally_take(t, "a", 1, 5);
	b = tally_take(t, "b", 1, 5);
	tap_ok(a && b && a != b, "a slot for each key");
	a->hits = 3;
	tap_ok(tally_take(t, "a", 1, 6) == a && tally_find(t, "a", 1)->hits == 3,
	       "the same one again");
	tally_free(a);
	tap_ok(!tally_find(t, "a", 1), "given back");
	tally_rule(t, "file", "block", one);
	tally_rule(t, "fileb", "lock", two);
	tap_ok(memcmp(one, two, sizeof(one)) != 0,
	       "where a file's name ends and a rule begins counts");
	for (unsigned i = 0; i < TALLY_SLOTS; i++) {
		struct tally_slot *s = tally_take(t, &i, sizeof(i), 10);

		lost += !s;
		if (s)
			s->until = 100;
	}
	tap_ok(lost && lost < TALLY_SLOTS / 4, "a full window has no place: %u of %u", lost,
	       TALLY_SLOTS);
	lost = 0;
	for (unsigned i = TALLY_SLOTS; i < 2 * TALLY_SLOTS; i++)
		lost += !tally_take(t, &i, sizeof(i), 99);
	tap_ok(lost > TALLY_SLOTS / 2, "before their time is over slots are kept");
	lost = 0;
	for (unsigned i = 2 * TALLY_SLOTS; i < 2 * TALLY_SLOTS + 1000; i++)
		lost += !tally_take(t, &i, sizeof(i), 100);
	tap_is(lost, 0, "after it they are given away");
	free(t);
}

static bool is(const struct learnt *l, unsigned field, unsigned i, const char *want)
{
	const char *text;
	size_t len;

	return learnt_get(l, field, i, &text, &len) == LEARNT_VALUE && len == strlen(want) &&
	       !memcmp(text, want, len);
}

static void test_learnt(void)
{
	static struct learnt l;
	static char text[2000];
	const char *p;
	size_t len;

	memset(&l, 0xff, sizeof(l));
	learnt_clear(&l);
	tap_ok(learnt_get(&l, 1, 0, &p, &len) == LEARNT_NOTHING, "nothing is learnt");
	tap_ok(!learnt_add(&l, 1, "a") && !learnt_add(&l, 2, "b") && !learnt_add(&l, 1, "c"),
	       "learnt");
	tap_ok(is(&l, 1, 0, "a") && is(&l, 1, 1, "c") && is(&l, 2, 0, "b"), "lists in order");
	tap_ok(learnt_get(&l, 1, 2, &p, &len) == LEARNT_NOTHING, "more may come");
	tap_is(learnt_add(&l, 1, "a"), 1, "what is there is not repeated");
	tap_ok(!learnt_add(&l, 3, NULL) && learnt_get(&l, 3, 0, &p, &len) == LEARNT_ABSENT,
	       "that there is none is learnt as well");
	l.done = 1;
	tap_ok(learnt_get(&l, 4, 0, &p, &len) == LEARNT_ABSENT, "done: the rest is absent");
	learnt_forget(&l, 1);
	tap_ok(learnt_get(&l, 1, 0, &p, &len) == LEARNT_ABSENT && is(&l, 2, 0, "b"),
	       "one forgotten");
	memset(text, 'x', sizeof(text) - 1);
	tap_ok(!learnt_add(&l, 5, text) && learnt_get(&l, 5, 0, &p, &len) == LEARNT_VALUE &&
		       len == 511,
	       "a long one is cut");
	text[0] = 'y';
	tap_is(learnt_add(&l, 5, text), -ENOSPC, "no room for another one");
	l.used = 0xffff; /* what another process may have written */
	memset(l.data, 0xff, sizeof(l.data));
	tap_ok(learnt_get(&l, 0xff, 0, &p, &len) != LEARNT_VALUE,
	       "a length beyond the end is none");
}

int main(void)
{
	test_tally();
	test_learnt();
	return tap_done();
}
