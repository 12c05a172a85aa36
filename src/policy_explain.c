/* SPDX-License-Identifier: MIT */
/* policy_explain: the rules, and a judgement, for people. */
#include "policy.h"

#include <stdlib.h>

#include "policy_impl.h"

#include "base/util.h"

#define PLACE_WIDTH 20

/* --- one flow -------------------------------------------------------------------------------- */

static void print_fields(uint64_t fields, FILE *out)
{
	const char *before = "";

	for (unsigned f = 0; f < EXPR_FIELD_MAX; f++) {
		if (!(fields & 1ULL << f))
			continue;
		fprintf(out, "%s%s", before, expr_field_name((enum expr_field)f));
		before = ", ";
	}
}

static void print_rule(const struct policy *p, uint32_t i, FILE *out)
{
	const struct policy_rule *r = &p->entries[i].rule;
	size_t n = policy_print(p, i, NULL, 0) + 1;
	char *text = malloc(n);

	if (text)
		policy_print(p, i, text, n);
	fprintf(out, "%s\n", text ? text : r->text);
	free(text);
}

/** print_answer - one line: where, yes or no, the rule */
static void print_answer(const struct policy_judging *j, uint32_t i, enum expr_truth truth,
			 FILE *out)
{
	static const char *const words[] = {
		[EXPR_NO] = "no", [EXPR_YES] = "yes", [EXPR_UNKNOWN] = "unknown"};
	const struct policy_rule *r = &j->p->entries[i].rule;
	char place[256];

	snprintf(place, sizeof(place), "%s:%u:", r->file, r->line);
	fprintf(out, "%-*s %-8s ", PLACE_WIDTH, place, words[truth]);
	print_rule(j->p, i, out);
	if (truth == EXPR_UNKNOWN) {
		fprintf(out, "%*s not known yet: ", PLACE_WIDTH, "");
		print_fields(j->unknown, out);
		fputc('\n', out);
	}
}

static void print_waits(unsigned waits, FILE *out)
{
	fprintf(out, "%s%s%s", waits & POLICY_WAITS_OWNER ? "whose socket it is" : "",
		waits == (POLICY_WAITS_OWNER | POLICY_WAITS_PAYLOAD) ? " and " : "",
		waits & POLICY_WAITS_PAYLOAD ? "the first payload" : "");
}

static void print_end(const struct policy *p, const struct policy_judgement *g, FILE *out)
{
	const struct policy_rule *r = policy_by(p, g->rule);

	fprintf(out, "=> %s", policy_verdict_text(g->verdict));
	if (g->verdict == POLICY_WAIT) {
		fputs(" for ", out);
		if (g->waits)
			print_waits(g->waits, out);
		else
			print_fields(g->unknown, out);
	}
	if (g->rule && g->verdict == POLICY_BLOCK && !r->final)
		fprintf(out, ", as more than %d rules apply before %s:%u\n", POLICY_COLLECT_MAX,
			r->file, r->line);
	else if (g->rule)
		fprintf(out, ", by %s:%u\n", r->file, r->line);
	else if (r->file)
		fprintf(out, ", the default of %s:%u\n", r->file, r->line);
	else
		fputs(", the default when none is stated\n", out);
	if (g->hooks_wait && g->verdict != POLICY_WAIT) {
		fputs("   payload waits for ", out);
		print_waits(g->waits, out);
		fputs(", as hooks depend on it\n", out);
	}
}

void policy_explain(const struct policy *p, expr_get_fn *get, const void *subject, FILE *out)
{
	struct policy_judgement g;
	struct policy_judging j;
	enum expr_truth truth;
	bool go_on = true;

	policy_judge_start(&j, p, get, subject, &g);
	for (uint32_t i = 0; i < p->n_entries && go_on; i++) {
		go_on = policy_judge_rule(&j, i, &truth);
		print_answer(&j, i, truth, out);
	}
	print_end(p, &g, out);
}

/* --- warnings ----------------------------------------------------------------------------------
 */

/** never_reached - the rule before rule @i that always decides, or NULL; @i may be the default's */
static const struct policy_rule *never_reached(const struct policy *p, uint32_t i)
{
	return p->always && p->always - 1 < i ? &p->entries[p->always - 1].rule : NULL;
}

/** changes - a field that rule @i looks at and that goes on changing; NULL */
static const char *changes(const struct policy *p, uint32_t i)
{
	static const enum expr_field changing[] = {EXPR_F_BYTES_UP, EXPR_F_BYTES_DOWN,
						   EXPR_F_DURATION, EXPR_F_STATE, EXPR_F_VERDICT};
	const struct expr *e = i < p->n_entries ? p->entries[i].expr : NULL;

	for (size_t k = 0; e && k < ARRAY_SIZE(changing); k++)
		if (expr_fields(e) & 1ULL << changing[k])
			return expr_field_name(changing[k]);
	return NULL;
}

/** warning_of - of rule @i, or the default's behind the last one; false: none */
static bool warning_of(const struct policy *p, uint32_t i, char *buf, size_t size)
{
	const struct policy_rule *by = never_reached(p, i);
	const char *field = changes(p, i);

	if (i == p->n_entries && !p->fallback.rule.file)
		return false;
	if (by)
		snprintf(buf, size, "never reached: %s:%u always decides", by->file, by->line);
	else if (field)
		snprintf(buf, size, "%s is looked at when a flow is judged, not as it changes",
			 field);
	return by || field;
}

void policy_warnings(const struct policy *p, void (*say)(void *ctx, const char *text), void *ctx)
{
	char what[300], text[600];

	for (uint32_t i = 0; i <= p->n_entries; i++) {
		const struct policy_rule *r =
			i < p->n_entries ? policy_rule(p, i) : &p->fallback.rule;

		if (!r->file || !warning_of(p, i, what, sizeof(what)))
			continue;
		snprintf(text, sizeof(text), "%.255s:%u: %s", r->file, r->line, what);
		say(ctx, text);
	}
}

/* --- all rules -----------------------------------------------------------------------------------
 */

static void print_set(const struct policy *p, uint32_t i, FILE *out)
{
	struct policy_set_info s;
	bool one;

	policy_set_info(p, i, &s);
	one = s.entries == 1;
	fprintf(out, "%s:%u: set %s: %u %s", s.file, s.line, s.name, s.entries,
		s.type == EXPR_ADDR	? (one ? "range of addresses" : "ranges of addresses")
		: s.type == EXPR_NUMBER ? (one ? "range of numbers" : "ranges of numbers")
		: s.type == EXPR_TEXT	? (one ? "text" : "texts")
					: (one ? "host name" : "host names"));
	if (s.path)
		fprintf(out, ", of %s", s.path);
	fprintf(out, " (%zu bytes)\n", s.size);
}

static bool print_warning(const struct policy *p, uint32_t i, FILE *out)
{
	char what[300];

	if (!warning_of(p, i, what, sizeof(what)))
		return false;
	fprintf(out, "\tWARNING: %s\n", what);
	return true;
}

/** print_needs - what has to be known for the rule to be decided */
static void print_needs(const struct policy_entry *e, FILE *out)
{
	uint64_t fields = e->expr ? expr_fields(e->expr) : 0;
	unsigned waits = policy_waits(fields);

	if (!waits)
		return;
	fputs(e->rule.final || e->rule.what == POLICY_HOOK ? "\twaits for " : "\tneeds ", out);
	print_waits(waits, out);
	fputc('\n', out);
}

static unsigned print_rules(const struct policy *p, FILE *out)
{
	unsigned warnings = 0;

	for (uint32_t i = 0; i < p->n_entries; i++) {
		fprintf(out, "%s:%u: ", p->entries[i].rule.file, p->entries[i].rule.line);
		print_rule(p, i, out);
		print_needs(&p->entries[i], out);
		warnings += print_warning(p, i, out);
	}
	return warnings;
}

void policy_explain_rules(const struct policy *p, FILE *out)
{
	const struct policy_rule *r = policy_default_rule(p);
	unsigned warnings;

	for (uint32_t i = 0; i < p->n_sets; i++)
		print_set(p, i, out);
	warnings = print_rules(p, out);
	if (r->file)
		fprintf(out, "%s:%u: %s\n", r->file, r->line, r->text);
	else
		fputs("default allow, as none is stated\n", out);
	warnings += print_warning(p, p->n_entries, out);
	fprintf(out, "%u rule%s, %u set%s, %u warning%s\n", p->n_entries,
		p->n_entries == 1 ? "" : "s", p->n_sets, p->n_sets == 1 ? "" : "s", warnings,
		warnings == 1 ? "" : "s");
}
