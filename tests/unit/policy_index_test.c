/* SPDX-License-Identifier: MIT */
/*
 * policy_index: what the index leaves out would not have changed a judgement. Random rules judge
 * random flows, with the index and one after the other.
 * LINK: src/policy.o src/policy_file.o src/policy_rule.o src/policy_set.o src/policy_judge.o
 * LINK: src/policy_index.o src/nameset.o src/prefixset.o src/numset.o src/base/addr.o
 * LINK: src/base/hash.o src/base/util.o src/expr.o src/expr_build.o src/expr_check.o
 * LINK: src/expr_error.o src/expr_field.o src/expr_flags.o src/expr_glob.o src/expr_lex.o
 * LINK: src/expr_literal.o src/expr_parse.o src/expr_print.o src/expr_regex.o
 * LINK: src/expr_required.o src/expr_values.o
 */
#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy_impl.h"

#include "../lib/tap.h"

static uint64_t state = 88172645463325252ULL;
static unsigned evaluated; /* fields that were asked for */

static unsigned rnd(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 16) % below);
}

/* --- values that rules and flows are made of: few, so that they meet ------------------------- */

#define VALUES 6

static const struct {
	const char *name;
	enum expr_field field;
	const char *values[VALUES];
} parts[] = {
	{"uid", EXPR_F_UID, {"0", "1", "2", "3", "1000", "65534"}},
	{"dst.port", EXPR_F_DST_PORT, {"1", "2", "3", "53", "80", "443"}},
	{"proto", EXPR_F_PROTO, {"tcp", "udp", "icmp", "tcp", "udp", "tcp"}},
	{"dst.ip",
	 EXPR_F_DST_IP,
	 {"10.0.0.1", "10.0.0.2", "10.1.2.3", "2001:db8::1", "2001:db8:1::1", "fe80::1"}},
	{"src.ip",
	 EXPR_F_SRC_IP,
	 {"10.0.0.1", "0.0.0.0", "255.255.255.255", "::1", "fe80::2", "10.0.0.9"}},
	{"exe", EXPR_F_EXE, {"/bin/a", "/bin/b", "/bin/c", "/bin/d", "/bin/A", "/bin/"}},
	{"host",
	 EXPR_F_HOST,
	 {"a.example", "b.example", "c.a.example", "d.C.A.EXAMPLE.", "x", "a.examplf"}},
	{"sni", EXPR_F_SNI, {"a.example", "b.example", "c.a.example", "A.EXAMPLE", "x.", "y"}},
	{"alpn", EXPR_F_ALPN, {"h2", "h3", "http/1.1", "H2", "x", "y"}},
	{"ancestor.exe", EXPR_F_ANCESTOR_EXE, {"/bin/a", "/bin/b", "/bin/c", "/x", "/y", "/z"}},
	{"tag", EXPR_F_TAG, {"t0", "t1", "t2", "t3", "t4", "t5"}},
};

#define PARTS (sizeof(parts) / sizeof(parts[0]))

static size_t put_test(char *out)
{
	unsigned p = rnd(PARTS);
	const char *v = parts[p].values[rnd(VALUES)], *v2 = parts[p].values[rnd(VALUES)];
	const char *name = parts[p].name;
	enum expr_type type = expr_field_type(parts[p].field);

	if (!rnd(5) && type == EXPR_ADDR && !strchr(v, ':'))
		return (size_t)sprintf(out, "%s in %s/%u", name, v, rnd(33));
	if (!rnd(5) && type == EXPR_ADDR)
		return (size_t)sprintf(out, "%s in {%s/%u, 10.0.0.0-10.0.0.3}", name, v,
				       strchr(v, ':') ? rnd(129) : rnd(33));
	if (!rnd(5) && type == EXPR_NUMBER)
		return (size_t)sprintf(out, "%s in {%s, %s%u}", name, v, rnd(2) ? "50-" : "7-9",
				       60 + rnd(9));
	if (!rnd(4) && type == EXPR_HOSTNAME)
		return (size_t)sprintf(out, "%s ~ \"*%s%s\"", name,
				       (const char *[]){".", "", "c."}[rnd(3)], v);
	if (!rnd(8) && (type == EXPR_TEXT || type == EXPR_HOSTNAME))
		return (size_t)sprintf(out, "%s ~ \"*%s\"", name, v + 1);
	switch (rnd(5)) {
	case 0:
		return (size_t)sprintf(out, "%s in {%s, %s}", name, v, v2);
	case 1:
		return (size_t)sprintf(out, "%s != %s", name, v);
	default:
		return (size_t)sprintf(out, "%s == %s", name, v);
	}
}

/** put_expr - some tests with and, or, not between them */
static size_t put_expr(char *out)
{
	size_t n = 0;

	for (unsigned i = 1 + rnd(3); i; i--) {
		if (!rnd(6)) {
			n += (size_t)sprintf(out + n, "not (");
			n += put_test(out + n);
			n += (size_t)sprintf(out + n, ")");
		} else {
			n += put_test(out + n);
		}
		if (i > 1)
			n += (size_t)sprintf(out + n, rnd(4) ? " and " : " or ");
	}
	return n;
}

static void put_rules(char *out, unsigned rules)
{
	static const char *const actions[] = {"allow", "block",		"drop",	  "hook a",
					      "tag t", "limit flows=1", "hook b", "log note"};
	size_t n = 0;

	while (rules--) {
		unsigned a = rnd(8);

		n += (size_t)sprintf(out + n, "%s", actions[a]);
		if (a == 4)
			n += (size_t)sprintf(out + n, "%u", rnd(VALUES));
		if (rnd(a < 3 ? 60 : 10)) {
			n += (size_t)sprintf(out + n, " if ");
			n += put_expr(out + n);
		}
		out[n++] = '\n';
		out[n] = 0;
	}
}

/* --- flows -------------------------------------------------------------------------------------
 */

static char rules_text[400000];

static int read_rules(void *ctx, const char *path, char **text, size_t *len)
{
	(void)ctx;
	(void)path;
	*text = strdup(rules_text);
	*len = strlen(rules_text);
	return *text ? 0 : -ENOMEM;
}

/** struct flow - of each part some values, then whether more may come */
struct flow {
	struct {
		unsigned n, value[3];
		enum expr_known end;
	} part[PARTS];
};

static enum expr_known flow_get(const void *subject, enum expr_field f, unsigned i,
				struct expr_value *out)
{
	const struct flow *w = subject;
	const char *text;
	unsigned p = 0;

	evaluated++;
	while (parts[p].field != f)
		p++;
	if (i >= w->part[p].n)
		return w->part[p].end;
	text = parts[p].values[w->part[p].value[i]];
	switch (expr_field_type(f)) {
	case EXPR_ADDR:
		addr_parse(text, &out->addr);
		if (strchr(text, ':') && text[0] == 'f')
			addr_set_zone(&out->addr, 3);
		break;
	case EXPR_NAME:
		out->num = (uint64_t)expr_name_find(f, text, strlen(text));
		break;
	case EXPR_TEXT:
	case EXPR_HOSTNAME:
		out->text.s = text;
		out->text.len = strlen(text);
		break;
	default:
		out->num = strtoull(text, NULL, 10);
	}
	return EXPR_KNOWN;
}

static void flow_make(struct flow *w, unsigned unknown)
{
	for (unsigned p = 0; p < PARTS; p++) {
		w->part[p].n = rnd(8) ? 1 : 0;
		if (expr_field_is_list(parts[p].field))
			w->part[p].n = rnd(4);
		for (unsigned i = 0; i < 3; i++)
			w->part[p].value[i] = rnd(VALUES);
		w->part[p].end = EXPR_ABSENT;
		if (rnd(10) < unknown) {
			w->part[p].end = EXPR_NOT_YET;
			if (!expr_field_is_list(parts[p].field))
				w->part[p].n = 0;
		}
	}
}

static bool same(const struct policy_judgement *a, const struct policy_judgement *b)
{
	return a->verdict == b->verdict && a->rule == b->rule && a->waits == b->waits &&
	       a->unknown == b->unknown && a->hooks_wait == b->hooks_wait &&
	       a->n_collected == b->n_collected &&
	       !memcmp(a->collected, b->collected, a->n_collected * sizeof(a->collected[0]));
}

static void show(const struct policy_judgement *g, const char *who)
{
	printf("# %s: %s by %u, waits %u, unknown %llx, hooks %d, %u collected\n", who,
	       policy_verdict_text(g->verdict), g->rule, g->waits, (unsigned long long)g->unknown,
	       g->hooks_wait, g->n_collected);
}

static void test_random(unsigned rules, unsigned rounds, unsigned flows)
{
	const struct policy_source src = {.read_file = read_rules};
	unsigned wrong = 0, verdicts[POLICY_VERDICT_MAX] = {0}, hooks = 0, collected = 0;
	struct policy_judgement a, b;
	char err[500];

	for (unsigned round = 0; round < rounds; round++) {
		struct policy *p;

		put_rules(rules_text, 1 + rnd(rules));
		if (policy_load(&src, "r", &p, err, sizeof(err))) {
			printf("# %s\n", err);
			abort();
		}
		for (unsigned i = 0; i < flows; i++) {
			struct flow w;

			flow_make(&w, i % 4);
			policy_judge(p, flow_get, &w, &a);
			policy_judge_linear(p, flow_get, &w, &b);
			if (!same(&a, &b) && wrong++ < 3) {
				show(&a, "index");
				show(&b, "linear");
				printf("%s", rules < 20 ? rules_text : "");
			}
			verdicts[a.verdict]++;
			hooks += a.hooks_wait;
			collected += a.n_collected;
		}
		policy_free(p);
	}
	tap_is(wrong, 0, "%u sets of up to %u rules: the same judgements as without an index",
	       rounds, rules);
	tap_ok(verdicts[POLICY_ALLOW] && verdicts[POLICY_BLOCK] && verdicts[POLICY_DROP] &&
		       verdicts[POLICY_WAIT] && hooks && collected,
	       "... of all kinds (%u allow, %u block, %u wait; hooks wait for %u)",
	       verdicts[POLICY_ALLOW], verdicts[POLICY_BLOCK], verdicts[POLICY_WAIT], hooks);
}

/** test_effort - of ten thousand rules only those are looked at that could match */
static void test_effort(void)
{
	static const struct {
		const char *head, *tail;
	} kinds[] = {
		{"block if uid == ", "\n"},
		{"block if dst.port == ", "\n"},
		{"block if host == h", ".example\n"},
		{"block if dst.ip == 10.9.", ".1\n"},
		{"block if uid == 3 and exe == \"/x/", "\"\n"},
		{"hook a if dst.port == 443 and sni == h", ".example\n"},
	};
	const struct policy_source src = {.read_file = read_rules};
	struct policy_judgement g;
	struct policy *p;
	struct flow w;
	char err[500];
	size_t n = 0;

	for (unsigned i = 0; i < 10000; i++)
		n += (size_t)sprintf(rules_text + n, "%s%u%s", kinds[i % 6].head,
				     i % 6 == 3 ? i % 250 : 2000 + i, kinds[i % 6].tail);
	if (policy_load(&src, "r", &p, err, sizeof(err)))
		abort();
	flow_make(&w, 0);
	w.part[0].n = w.part[1].n = 1;
	w.part[0].value[0] = 3; /* uid 3, port 443: what many rules name beside something rarer */
	w.part[1].value[0] = 5;
	evaluated = 0;
	policy_judge(p, flow_get, &w, &g);
	tap_ok(!g.rule && evaluated < 30, "a stranger among 10000 rules: %u fields asked for",
	       evaluated);
	for (unsigned i = 0; i < PARTS; i++)
		w.part[i].n = 0;
	for (unsigned i = 0; i < PARTS; i++)
		w.part[i].end = parts[i].field == EXPR_F_HOST || parts[i].field == EXPR_F_SNI
					? EXPR_NOT_YET
					: EXPR_ABSENT;
	evaluated = 0;
	policy_judge(p, flow_get, &w, &g);
	tap_ok(g.verdict == POLICY_WAIT && evaluated < 40,
	       "... whose host is not known yet: %u fields asked for", evaluated);
	policy_free(p);
}

int main(void)
{
	test_random(8, 3000, 40);
	test_random(60, 600, 100);
	test_random(1000, 40, 300);
	test_effort();
	return tap_done();
}
