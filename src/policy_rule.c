/* SPDX-License-Identifier: MIT */
/* policy_rule: one rule: ACTION [PARAMETERS] [if EXPR]. A new action is a row of `actions`. */
#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy_impl.h"

#include "base/log.h"
#include "base/util.h"

#define NSEC_PER_SEC 1000000000ULL
#define ASK_TIMEOUT  (30 * NSEC_PER_SEC)
#define PARAMS_MAX   3
#define NAME_MAX_LEN 64

/* --- values ------------------------------------------------------------------------------------
 */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};
static const struct unit size_units[] = {{"", 1},
					 {"b", 1},
					 {"kb", 1000},
					 {"mb", 1000000},
					 {"gb", 1000000000},
					 {"tb", 1000000000000},
					 {"kib", 1 << 10},
					 {"mib", 1 << 20},
					 {"gib", 1 << 30},
					 {"tib", 1ULL << 40},
					 {NULL, 0}};
static const struct unit time_units[] = {{"ms", 1000000},
					 {"s", NSEC_PER_SEC},
					 {"m", 60 * NSEC_PER_SEC},
					 {"h", 3600 * NSEC_PER_SEC},
					 {"d", 86400 * NSEC_PER_SEC},
					 {NULL, 0}};

/** take_quantity - digits and a unit; 0 (more than nothing, and it fits) or -EINVAL */
static int take_quantity(const char *text, const struct unit *units, uint64_t *out)
{
	uint64_t n = 0;
	const char *p;

	for (p = text; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return -EINVAL;
	if (p == text || !n)
		return -EINVAL;
	for (const struct unit *u = units; u->name; u++)
		if (!strcmp(u->name, p))
			return __builtin_mul_overflow(n, u->factor, out) ? -EINVAL : 0;
	return -EINVAL;
}

/** take_choice - the place of @text among @words, which NULL ends, or -EINVAL */
static int take_choice(const char *text, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], text))
			return i;
	return -EINVAL;
}

static bool is_name(const char *text)
{
	size_t len = strlen(text);

	for (const char *p = text; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9') || strchr("_.-", *p)))
			return false;
	return len > 0 && len <= NAME_MAX_LEN;
}

static int set_name(struct policy_rule *r, const char *value)
{
	r->name = value;
	return is_name(value) ? 0 : -EINVAL;
}

static int set_args(struct policy_rule *r, const char *value)
{
	r->args = value;
	return 0;
}

static int set_level(struct policy_rule *r, const char *value)
{
	static const char *const levels[] = {[LOG_ERROR] = "error",
					     [LOG_WARN] = "warn",
					     [LOG_NOTE] = "note",
					     [LOG_DEBUG] = "debug",
					     NULL};

	r->level = take_choice(value, levels);
	return MIN(r->level, 0);
}

static int set_flows(struct policy_rule *r, const char *value)
{
	int rc = take_quantity(value, no_units, &r->amount);

	return rc || r->amount > UINT32_MAX ? -EINVAL : 0;
}

static int set_bytes(struct policy_rule *r, const char *value)
{
	return take_quantity(value, size_units, &r->amount);
}

static int set_per(struct policy_rule *r, const char *value)
{
	static const char *const per[] = {
		[POLICY_PER_USER] = "user",	  [POLICY_PER_PROCESS] = "process",
		[POLICY_PER_PROGRAM] = "program", [POLICY_PER_HOST] = "host",
		[POLICY_PER_RULE] = "rule",	  NULL};
	int i = take_choice(value, per);

	r->per = i < 0 ? POLICY_PER_RULE : (enum policy_per)i;
	return MIN(i, 0);
}

static int set_period(struct policy_rule *r, const char *value)
{
	return take_quantity(value, time_units, &r->period);
}

static int set_timeout(struct policy_rule *r, const char *value)
{
	return take_quantity(value, time_units, &r->ask_timeout);
}

static int set_default(struct policy_rule *r, const char *value)
{
	for (unsigned v = POLICY_ALLOW; v < POLICY_ASK; v++) {
		if (!strcmp(value, policy_verdict_text(v))) {
			r->ask_default = (enum policy_verdict)v;
			return 0;
		}
	}
	return -EINVAL;
}

/* --- actions --------------------------------------------------------------------------------- */

/**
 * struct param - of an action
 * @key: of "KEY=VALUE", or "KEY VALUE" when @word; NULL: a value alone, in this order
 * @wants: what the value is, for errors
 */
struct param {
	const char *key;
	bool word, required;
	int (*set)(struct policy_rule *r, const char *value);
	const char *wants;
};

#define PER                                                                                        \
	{                                                                                          \
		"per", true, false, set_per, "per user, process, program, host or rule"            \
	}

static const struct action {
	const char *name;
	bool final;
	unsigned is; /* enum policy_verdict or enum policy_what */
	struct param params[PARAMS_MAX];
} actions[] = {
	{"allow", true, POLICY_ALLOW, {{.key = NULL}}},
	{"block", true, POLICY_BLOCK, {{.key = NULL}}},
	{"drop", true, POLICY_DROP, {{.key = NULL}}},
	{"reset", true, POLICY_RESET, {{.key = NULL}}},
	{"ask",
	 true,
	 POLICY_ASK,
	 {{"timeout", false, false, set_timeout, "a time: 30s, 5m"},
	  {"default", false, false, set_default, "allow, block, drop or reset"}}},
	{"hook",
	 false,
	 POLICY_HOOK,
	 {{NULL, false, true, set_name, "the name of a hook"},
	  {NULL, false, false, set_args, "the hook's parameters"}}},
	{"log", false, POLICY_LOG, {{NULL, false, true, set_level, "error, warn, note or debug"}}},
	{"tag",
	 false,
	 POLICY_TAG,
	 {{NULL, false, true, set_name, "a name: letters, digits, - _ ."}}},
	{"limit",
	 false,
	 POLICY_LIMIT,
	 {{"flows", false, true, set_flows, "flows=NUMBER, from 1"}, PER}},
	{"quota",
	 false,
	 POLICY_QUOTA,
	 {{"bytes", false, true, set_bytes, "bytes=SIZE: 10mb, 1gib"},
	  PER,
	  {"period", false, false, set_period, "a time: 1h, 1d"}}},
};

static const struct action *find_action(const struct policy_word *w)
{
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (policy_word_is(w, actions[i].name))
			return &actions[i];
	return NULL;
}

/** struct taking - the parameters of one rule */
struct taking {
	const struct policy_parse *x;
	const struct action *action;
	struct policy_line *line;
	struct policy_rule *rule;
	bool given[PARAMS_MAX];
};

/** find_param - the one that @w is for, and its value in *@value; PARAMS_MAX: none */
static unsigned find_param(const struct taking *t, const struct policy_word *w, const char **value)
{
	const char *equals = strchr(w->text, '=');
	unsigned i;

	*value = w->text;
	for (i = 0; i < PARAMS_MAX && t->action->params[i].set; i++) {
		const struct param *p = &t->action->params[i];
		size_t len = p->key ? strlen(p->key) : 0;

		if (!p->key && !t->given[i])
			return i;
		if (p->key && equals == w->text + len && !memcmp(w->text, p->key, len)) {
			*value = equals + 1;
			return i;
		}
		if (p->key && p->word && policy_word_is(w, p->key)) {
			*value = NULL;
			return i;
		}
	}
	return PARAMS_MAX;
}

/** take_param - @w, and the word behind it where it is "per" */
static int take_param(struct taking *t, const struct policy_word *w)
{
	const char *value;
	unsigned i = find_param(t, w, &value);
	const struct param *p = &t->action->params[i];
	struct policy_word next = *w;
	int rc;

	if (i == PARAMS_MAX)
		return policy_fail(t->x, w->s, w->len, "%s has no parameter %s", t->action->name,
				   policy_shown(w));
	if (t->given[i])
		return policy_fail(t->x, w->s, w->len, "%s is given twice", p->key);
	t->given[i] = true;
	if (!value) {
		rc = policy_word_next(t->x, t->line, &next);
		if (rc < 0)
			return rc;
		value = next.text;
		if (!rc)
			next = *w;
	}
	return p->set(t->rule, value) ? policy_fail(t->x, next.s, next.len, "%s takes %s",
						    t->action->name, p->wants)
				      : 0;
}

/** check_params - is all there that must be? */
static int check_params(const struct taking *t, const struct policy_word *w)
{
	for (unsigned i = 0; i < PARAMS_MAX; i++)
		if (t->action->params[i].required && !t->given[i])
			return policy_fail(t->x, w->s, w->len, "%s needs %s", t->action->name,
					   t->action->params[i].wants);
	return 0;
}

static struct policy_rule rule_new(const struct action *a)
{
	struct policy_rule r = {.final = a->final,
				.per = POLICY_PER_RULE,
				.ask_timeout = ASK_TIMEOUT,
				.ask_default = POLICY_BLOCK};

	if (a->final)
		r.verdict = (enum policy_verdict)a->is;
	else
		r.what = (enum policy_what)a->is;
	return r;
}

static int unknown_action(const struct policy_parse *x, const struct policy_word *w)
{
	return policy_fail(
		x, w->s, w->len,
		"no such action; there are allow, block, drop, reset, ask, hook, log, tag, "
		"limit, quota, and set, include, default");
}

int policy_rule_head(const struct policy_parse *x, struct policy_line *l, struct policy_entry *out,
		     const char **head_end)
{
	struct taking t = {.x = x, .line = l, .rule = &out->rule};
	struct policy_word action, w;
	int rc = policy_word_next(x, l, &action);

	if (rc < 0)
		return rc;
	if (!rc)
		return policy_fail(x, l->at, 1, "an action is missing");
	t.action = find_action(&action);
	if (!t.action)
		return unknown_action(x, &action);
	*out = (struct policy_entry){.rule = rule_new(t.action)};
	while ((rc = policy_word_next(x, l, &w)) > 0 && !policy_word_is(&w, "if")) {
		rc = take_param(&t, &w);
		if (rc)
			return rc;
	}
	*head_end = w.s;
	if (rc >= 0 && check_params(&t, &action))
		return -EINVAL;
	return rc;
}

/* --- the condition -----------------------------------------------------------------------------
 */

static const struct expr_set *set_of(void *ctx, const char *name, size_t len)
{
	const struct policy_parse *x = ctx;
	const struct policy_set *s = policy_find_set(x->p, name, len);

	return s ? &s->set : NULL;
}

static int user_of(void *ctx, const char *name, uint32_t *uid)
{
	const struct policy_source *src = ((const struct policy_parse *)ctx)->src;

	return src->user(src->ctx, name, uid);
}

static int group_of(void *ctx, const char *name, uint32_t *gid)
{
	const struct policy_source *src = ((const struct policy_parse *)ctx)->src;

	return src->group(src->ctx, name, gid);
}

/** place_in - where line @line, column @column of the text from @text on is */
static const char *place_in(const char *text, const char *end, unsigned line, unsigned column)
{
	for (; line > 1 && text < end; line--) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));

		text = nl ? nl + 1 : end;
	}
	return MIN(text + column - 1, end);
}

/** plain_copy - the text, with blanks for the signs that a line goes on; malloc'd */
static char *plain_copy(const struct policy_line *l)
{
	size_t len = (size_t)(l->end - l->at);
	char *copy = malloc(len + 1);

	if (!copy)
		return NULL;
	memcpy(copy, l->at, len);
	copy[len] = 0;
	for (size_t i = 0; i + 1 < len; i++)
		if (copy[i] == '\\' && (copy[i + 1] == '\n' || copy[i + 1] == '\r'))
			copy[i] = ' ';
	return copy;
}

/** packs - will the normal form of a condition of @len bytes be taken? Quotes make it longer */
static bool packs(const struct expr *e, size_t len)
{
	return len < EXPR_LEN_MAX / 8 || expr_print(e, NULL, 0) <= EXPR_LEN_MAX;
}

int policy_rule_condition(const struct policy_parse *x, const struct policy_line *l,
			  struct policy_entry *out)
{
	struct policy_parse names = *x;
	const struct expr_context c = {.user = x->src ? user_of : NULL,
				       .group = x->src ? group_of : NULL,
				       .set = set_of,
				       .ctx = &names};
	struct expr_error e = {0};
	char *copy = plain_copy(l);
	int rc = copy ? expr_compile(&c, copy, (size_t)(l->end - l->at), &out->expr, &e) : -ENOMEM;

	free(copy);
	if (rc == -EINVAL)
		return policy_fail(x, place_in(l->at, l->end, e.line, e.column), e.width, "%s",
				   e.text);
	if (!rc && !packs(out->expr, (size_t)(l->end - l->at))) {
		expr_free(out->expr);
		return policy_fail(x, l->at, (size_t)(l->end - l->at),
				   "this condition is too long");
	}
	return rc;
}

int policy_rule_parse(const struct policy_parse *x, const struct policy_line *l,
		      struct policy_entry *out)
{
	struct policy_line rest = *l, head = *l;
	const char *text;
	int rc = policy_rule_head(x, &rest, out, &head.end);

	if (rc > 0)
		rc = policy_rule_condition(x, &rest, out);
	if (rc)
		return rc;
	out->rule.text = policy_line_text(x->p, l);
	text = policy_line_text(x->p, &head);
	if (!out->rule.text || !text) {
		expr_free(out->expr);
		return -ENOMEM;
	}
	out->head = (uint32_t)strlen(text);
	return 0;
}
