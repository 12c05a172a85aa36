/* SPDX-License-Identifier: MIT */
/* policy_explain: the rules, and a judgement, for people. */
#include "policy.h"

#include <stdarg.h>
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

static void print_waits(const struct policy_judgement *g, FILE *out)
{
	fprintf(out, "%s%s%s", g->waits & POLICY_WAITS_OWNER ? "whose socket it is" : "",
		g->waits == (POLICY_WAITS_OWNER | POLICY_WAITS_PAYLOAD) ? " and for " : "",
		g->waits & POLICY_WAITS_PAYLOAD ? "the first payload" : "");
}

static void print_end(const struct policy *p, const struct policy_judgement *g, FILE *out)
{
	const struct policy_rule *r = policy_by(p, g->rule);

	fprintf(out, "=> %s", policy_verdict_text(g->verdict));
	if (g->verdict == POLICY_WAIT) {
		fputs(" for ", out);
		print_waits(g, out);
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
		print_waits(g, out);
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

/** struct warnings - who is told, and by what */
struct warnings {
	void (*say)(void *ctx, const char *text);
	void *ctx;
};

__attribute__((format(printf, 3, 4))) static void warn(const struct warnings *w,
						       const struct policy_rule *r, const char *fmt,
						       ...)
{
	char text[512];
	va_list ap;
	int n = snprintf(text, sizeof(text), "%.255s:%u: ", r->file, r->line);

	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	w->say(w->ctx, text);
}

/** warn_unreachable - rules behind one that always decides */
static void warn_unreachable(const struct policy *p, const struct warnings *w)
{
	const struct policy_rule *stop = NULL;

	for (uint32_t i = 0; i < p->n_entries; i++) {
		const struct policy_rule *r = &p->entries[i].rule;

		if (stop)
			warn(w, r, "never reached: %.255s:%u always decides", stop->file,
			     stop->line);
		else if (r->final && !p->entries[i].expr)
			stop = r;
	}
	if (stop && p->fallback.rule.file)
		warn(w, &p->fallback.rule, "never reached: %.255s:%u always decides", stop->file,
		     stop->line);
}

/** warn_changing - fields that go on changing while nobody judges the flow again for it */
static void warn_changing(const struct policy *p, const struct warnings *w)
{
	static const enum expr_field changing[] = {EXPR_F_BYTES_UP, EXPR_F_BYTES_DOWN,
						   EXPR_F_DURATION, EXPR_F_STATE, EXPR_F_VERDICT};

	for (uint32_t i = 0; i < p->n_entries; i++) {
		const struct policy_entry *e = &p->entries[i];

		for (size_t k = 0; e->expr && k < ARRAY_SIZE(changing); k++)
			if (expr_fields(e->expr) & 1ULL << changing[k])
				warn(w, &e->rule,
				     "%s is looked at when a flow is judged, not as it changes",
				     expr_field_name(changing[k]));
	}
}

void policy_warnings(const struct policy *p, void (*say)(void *ctx, const char *text), void *ctx)
{
	const struct warnings w = {say, ctx};

	warn_unreachable(p, &w);
	warn_changing(p, &w);
}
