/* SPDX-License-Identifier: MIT */
#include "service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "owner_ident.h"
#include "policy_host.h"
#include "table.h"

#define LOOK_NS	   NSEC_PER_SEC /* how often processes of live flows are looked at */
#define LOOK_MAX   512		/* of them at one time */
#define ORDERS_MAX 65536
#define UID_NONE   ((uid_t)-1)

void service_init(struct service *s)
{
	*s = (struct service){.rules = {.fd = -1}, .load = {.pipe_fd = -1, .mem_fd = -1}};
}

void service_free(struct service *s)
{
	ruleset_load_cancel(&s->load);
	ruleset_free(&s->rules);
	decisions_free(&s->decisions);
}

int service_rules(struct service *s, const char *path, char *err, size_t errsize)
{
	return path ? ruleset_load_now(path, &s->rules, err, errsize) : 0;
}

static void facts_of(const struct service *s, const struct workerctl_flow *flow, uint64_t now,
		     struct flow_facts *ff)
{
	*ff = (struct flow_facts){
		.rec = &flow->f,
		.owner = flow->owner,
		.learnt = flow->more.learnt,
		.dns_name = flow->host[0] ? flow->host : NULL,
		.netns = s->netns,
		.now = now,
	};
}

/* --- what is said of flows ----------------------------------------------------------------- */

#define FLOW_LINE (TABLE_DEST + 2 * TABLE_PROGRAM + 16)

/** describe - "curl(123) alice -> example.org:443" */
static const char *describe(const struct workerctl_flow *flow, char out[FLOW_LINE])
{
	char program[TABLE_PROGRAM], user[TABLE_PROGRAM], dest[TABLE_DEST];

	snprintf(out, FLOW_LINE, "%s %s -> %s", table_program(flow->owner, program),
		 table_user(&flow->f, flow->owner, user),
		 table_dest(&flow->f, flow->host[0] ? flow->host : NULL, dest));
	return out;
}

static const char *why(const struct workerctl_flow *flow)
{
	return flow->more.rule ? flow->more.rule : "weir";
}

static void say_held(struct service *s, const struct workerctl_flow *flow, uint64_t now)
{
	char line[FLOW_LINE];
	uint64_t kept;

	if (log_limit_pass(&s->held, now, &kept))
		log_note("held by %s: %s (weir decide %llu allow|block)%s", why(flow),
			 describe(flow, line), (unsigned long long)flow->f.id,
			 kept ? ", and others" : "");
}

static void say_cut(struct service *s, const struct workerctl_flow *flow, uint64_t now)
{
	char line[FLOW_LINE], up[TABLE_NUMBER], down[TABLE_NUMBER];
	uint64_t kept;

	if (log_limit_pass(&s->cut, now, &kept))
		log_note("ended by %s: %s, %s up, %s down%s", why(flow), describe(flow, line),
			 table_bytes(flow->f.up.bytes, up), table_bytes(flow->f.down.bytes, down),
			 kept ? ", and others" : "");
}

static void say_rule(struct service *s, const struct workerctl_flow *flow,
		     const struct policy_rule *rule)
{
	char line[FLOW_LINE];

	(void)s;
	if (rule)
		log_at((enum log_level)rule->level, "%s:%u: %s", rule->file, rule->line,
		       describe(flow, line));
}

/** publish - to streams, and what rules log also to the flow log */
static void publish(struct service *s, const char *event, const struct workerctl_flow *flow,
		    const struct policy_rule *rule)
{
	struct record_more more = flow->more;
	char where[512], *line;

	if (!control_streams(s->control) && !rule)
		return;
	if (rule) {
		snprintf(where, sizeof(where), "%s:%u", rule->file, rule->line);
		more.rule = where;
	}
	line = record_event_json(&flow->f, flow->owner, flow->host[0] ? flow->host : NULL, &more,
				 event, clock_wall_ns());
	if (!line)
		return;
	control_publish(s->control, flow->f.owner_uid, line);
	if (rule)
		record_line(s->record, line);
	free(line);
}

void service_event(void *ctx, enum judge_event what, const struct workerctl_flow *flow,
		   const struct policy_rule *rule)
{
	static const char *const names[JUDGE_EV_MAX] = {
		[JUDGE_EV_HELD] = "held",	[JUDGE_EV_DECIDED] = "decided",
		[JUDGE_EV_BLOCKED] = "blocked", [JUDGE_EV_CUT] = "cut",
		[JUDGE_EV_LOG] = "log",
	};
	struct service *s = ctx;
	const uint64_t now = clock_mono_ns();

	if (what == JUDGE_EV_HELD)
		say_held(s, flow, now);
	else if (what == JUDGE_EV_CUT)
		say_cut(s, flow, now);
	else if (what == JUDGE_EV_LOG)
		say_rule(s, flow, rule);
	publish(s, names[what], flow, what == JUDGE_EV_LOG ? rule : NULL);
}

/* --- reload ----------------------------------------------------------------------------------- */

int service_fd(const struct service *s)
{
	return s->load.pipe_fd;
}

int service_reload(struct service *s, const char *path, uint32_t client)
{
	int rc;

	if (s->load.pipe_fd >= 0)
		return -EBUSY;
	rc = ruleset_load_start(&s->load, path);
	if (!rc)
		s->asker = client;
	return rc;
}

static void say_reload(const struct service *s, bool failed)
{
	char line[128];

	snprintf(line, sizeof(line),
		 "{\"event_type\":\"weir\",\"weir\":{\"event\":\"reload\",\"result\":\"%s\","
		 "\"rules\":%u}}",
		 failed ? "failed" : "done", s->rules.now ? policy_rules(s->rules.now) : 0);
	control_publish(s->control, UID_NONE, line);
}

void service_adopt(struct service *s)
{
	if (ruleset_adopt(&s->load, &s->rules))
		workerctl_rules(s->worker);
}

static void read_load(struct service *s)
{
	int rc = ruleset_load_read(&s->load);
	const uint32_t asker = s->asker;
	const char *answer;

	if (rc == -EAGAIN)
		return;
	s->asker = 0;
	answer = s->reloaded(s->ctx, rc, s->load.text);
	ruleset_load_cancel(&s->load);
	say_reload(s, !strncmp(answer, "error: ", 7));
	if (asker)
		control_finish(s->control, asker, answer);
}

/* --- processes that have become something else ---------------------------------------------------
 */

/** struct look - which owners of live flows are not what they were */
struct look {
	uint32_t seen[LOOK_MAX];
	bool changed[LOOK_MAX];
	unsigned n, n_orders;
	struct ipc_order order[IPC_BATCH];
	struct workerctl *worker;
};

/** look_at_owner - each process once, however many flows it has */
static bool look_at_owner(struct look *l, const struct owner *o)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->seen[i] == o->id)
			return l->changed[i];
	if (l->n == LOOK_MAX)
		return false;
	l->seen[l->n] = o->id;
	l->changed[l->n] = owner_ident_changed(o);
	return l->changed[l->n++];
}

static bool look_one(void *ctx, const struct workerctl_flow *flow)
{
	struct look *l = ctx;

	if (!flow->owner || flow->f.state == FLOW_NEW || !look_at_owner(l, flow->owner))
		return true;
	l->order[l->n_orders++] =
		(struct ipc_order){.flow = {flow->index, flow->f.gen}, .id = flow->f.id};
	if (l->n_orders == IPC_BATCH) {
		workerctl_order(l->worker, IPC_LOOK, l->order, l->n_orders);
		l->n_orders = 0;
	}
	return true;
}

/** look - rules judge by processes, so those of live flows are looked at */
static uint64_t look(struct service *s, uint64_t now)
{
	static struct look l;

	if (!s->rules.now || !(policy_fields(s->rules.now) & facts_of_owner))
		return 0;
	if (now < s->look_at)
		return s->look_at;
	s->look_at = now + LOOK_NS;
	l = (struct look){.worker = s->worker};
	workerctl_each(s->worker, look_one, &l);
	if (l.n_orders)
		workerctl_order(s->worker, IPC_LOOK, l.order, l.n_orders);
	return s->look_at;
}

uint64_t service_serve(struct service *s, bool readable, uint64_t now)
{
	if (readable)
		read_load(s);
	workerctl_watch(s->worker, control_streams(s->control));
	return look(s, now);
}

/* --- requests: which flows
 * -------------------------------------------------------------------------- */

/** struct pick - flows that a request is about */
struct pick {
	struct service *s;
	const struct control_peer *who;
	struct expr *e;	  /* NULL: all */
	uint64_t now, id; /* @id: this one alone, 0: any */
	FILE *out;
	struct ipc_order *order; /* owned */
	size_t n, room;
};

static bool picked(const struct pick *p, const struct workerctl_flow *flow)
{
	struct flow_facts ff;

	if (!p->who->full && flow->f.owner_uid != p->who->uid)
		return false;
	if (p->id)
		return flow->f.id == p->id;
	facts_of(p->s, flow, p->now, &ff);
	return !p->e || expr_eval(p->e, facts_get, &ff) == EXPR_YES;
}

/** compile - an expression of a request; 0, or an error was written */
static int compile(const char *text, struct expr **e, FILE *out)
{
	const struct expr_context ctx = {.user = policy_host()->user,
					 .group = policy_host()->group};
	struct expr_error err = {.line = 0};
	char shown[1024];
	int rc;

	rc = expr_compile(&ctx, text, strlen(text), e, &err);
	if (!rc)
		return 0;
	if (rc == -EINVAL)
		expr_error_show(&err, text, strlen(text), shown, sizeof(shown));
	fprintf(out, "error: %s\n", rc == -EINVAL ? shown : strerror(-rc));
	return rc;
}

/** number_of - all of @text is a number; 0: it is not */
static uint64_t number_of(const char *text)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	return *text >= '0' && *text <= '9' && !*end ? n : 0;
}

static bool print_flow(void *ctx, const struct workerctl_flow *flow)
{
	const struct pick *p = ctx;
	char *line;

	if (!picked(p, flow))
		return true;
	line = record_json(&flow->f, flow->owner, flow->host[0] ? flow->host : NULL, &flow->more);
	if (line)
		fprintf(p->out, "%s\n", line);
	free(line);
	return true;
}

static void answer_flows(struct pick *p, const char *expr)
{
	if (*expr && compile(expr, &p->e, p->out))
		return;
	workerctl_each(p->s->worker, print_flow, p);
	expr_free(p->e);
}

static bool order_flow(void *ctx, const struct workerctl_flow *flow)
{
	struct pick *p = ctx;

	if (!picked(p, flow))
		return true;
	if (p->n == p->room) {
		size_t room = p->room ? 2 * p->room : 64;
		struct ipc_order *more = realloc(p->order, room * sizeof(*more));

		if (!more)
			return false;
		p->order = more;
		p->room = room;
	}
	p->order[p->n++] = (struct ipc_order){.flow = {flow->index, flow->f.gen}, .id = flow->f.id};
	return p->n < ORDERS_MAX;
}

static void answer_kill(struct pick *p, const char *what)
{
	p->id = number_of(what);
	if (!p->id && compile(what, &p->e, p->out))
		return;
	workerctl_each(p->s->worker, order_flow, p);
	if (p->n)
		workerctl_order(p->s->worker, IPC_KILL, p->order, p->n);
	if (p->id && !p->n)
		fprintf(p->out, "error: there is no flow %llu\n", (unsigned long long)p->id);
	else
		fprintf(p->out, "%zu flow%s ended\n", p->n, p->n == 1 ? "" : "s");
	free(p->order);
	expr_free(p->e);
}

/* --- requests: decisions
 * ---------------------------------------------------------------------------- */

/** struct ask_decide - `decide ID allow|block FOR TTL KEEP` */
struct ask_decide {
	unsigned long long id, ttl; /* @ttl: ns, 0 = for ever */
	enum flow_verdict verdict;
	enum decision_for what;
	int keep;
};

static bool parse_decide(const char *text, struct ask_decide *a)
{
	char verdict[8], what[16];

	if (sscanf(text, "%llu %7s %15s %llu %d", &a->id, verdict, what, &a->ttl, &a->keep) != 5)
		return false;
	a->verdict = !strcmp(verdict, "allow") ? FLOW_ALLOW : FLOW_BLOCK;
	a->what = decision_for_find(what);
	return a->what < DECISION_FOR_MAX &&
	       (a->verdict == FLOW_ALLOW || !strcmp(verdict, "block"));
}

struct find {
	uint64_t id;
	bool found;
	struct workerctl_flow flow;
};

static bool find_flow(void *ctx, const struct workerctl_flow *flow)
{
	struct find *f = ctx;

	if (flow->f.id != f->id)
		return true;
	f->found = true;
	f->flow = *flow;
	if (flow->more.learnt)
		f->flow.more.learnt = &f->flow.learnt;
	return false;
}

/** remember - the decision counts for others as well; 0, or -errno with the reason written */
static int remember(struct service *s, struct decision *d, const struct ask_decide *a, FILE *out)
{
	int rc;

	d->number = ++s->last_decision;
	d->expires = a->ttl ? clock_mono_ns() + a->ttl : 0;
	decisions_expire(&s->decisions, clock_mono_ns());
	rc = decisions_add(&s->decisions, d);
	if (rc)
		fprintf(out, "error: %s\n",
			rc == -ENOSPC ? "too many decisions are remembered (256)" : strerror(-rc));
	else
		workerctl_decision(s->worker, d);
	return rc;
}

/** decide_flow - @f is held: @a counts for it, and for what else it says */
static void decide_flow(struct service *s, struct find *f, const struct ask_decide *a, FILE *out)
{
	struct ipc_order order = {
		.flow = {f->flow.index, f->flow.f.gen}, .id = f->flow.f.id, .verdict = a->verdict};
	char line[FLOW_LINE], rule[2 * FLOW_HOST_MAX + 64];
	struct flow_facts ff;
	struct decision d;

	facts_of(s, &f->flow, clock_mono_ns(), &ff);
	if (decision_make(&d, a->what, a->verdict, &ff)) {
		fprintf(out, "error: its %s is not known\n", decision_for_text(a->what));
		return;
	}
	if (a->keep && !decision_rule(&d, rule, sizeof(rule))) {
		fprintf(out, "error: what counts for one %s can't be kept as a rule\n",
			a->what == DECISION_ONCE ? "flow" : decision_for_text(a->what));
		return;
	}
	if (a->what != DECISION_ONCE && remember(s, &d, a, out))
		return;
	workerctl_order(s->worker, IPC_DECIDE, &order, 1);
	if (a->keep)
		fprintf(out, "%s\n", rule);
	else
		fprintf(out, "%s: %s\n", a->verdict == FLOW_ALLOW ? "allowed" : "blocked",
			describe(&f->flow, line));
}

static void answer_decide(struct pick *p, const char *text)
{
	static struct find f;
	struct ask_decide a;

	if (!parse_decide(text, &a)) {
		fprintf(p->out, "error: no such request\n");
		return;
	}
	f = (struct find){.id = a.id};
	workerctl_each(p->s->worker, find_flow, &f);
	if (!f.found)
		fprintf(p->out, "error: there is no flow %llu\n", a.id);
	else if (f.flow.f.verdict != FLOW_HELD)
		fprintf(p->out, "error: flow %llu is not held\n", a.id);
	else if (f.flow.f.by == FLOW_BY_HOOK)
		fprintf(p->out, "error: flow %llu is held by a hook, which decides itself\n", a.id);
	else
		decide_flow(p->s, &f, &a, p->out);
}

static void answer_forget(struct pick *p, const char *text)
{
	const uint64_t n = number_of(text);

	if (n && n <= UINT32_MAX && decisions_remove(&p->s->decisions, (uint32_t)n)) {
		workerctl_forget(p->s->worker, (uint32_t)n);
		fprintf(p->out, "decision %llu is forgotten\n", (unsigned long long)n);
	} else {
		fprintf(p->out, "error: there is no decision %s\n", text);
	}
}

/* --- requests: rules
 * ---------------------------------------------------------------------------------- */

/** struct live - bytes of live flows that their rules have not been credited with yet */
struct live {
	uint32_t ruleset;
	unsigned n;
	struct policy_counter *rule; /* owned; [n] is the default */
};

static bool add_live(void *ctx, const struct workerctl_flow *flow)
{
	const struct flow_rec *f = &flow->f;
	struct live *l = ctx;
	struct policy_counter *c;

	if (f->ruleset != l->ruleset || f->by > FLOW_BY_RULE || f->rule > l->n)
		return true;
	c = &l->rule[f->by == FLOW_BY_RULE && f->rule ? f->rule - 1 : l->n];
	c->bytes_up += f->up.bytes - f->counted[0];
	c->bytes_down += f->down.bytes - f->counted[1];
	return true;
}

/** print_rule - the default that nobody has stated has neither place nor text */
static void print_rule(const struct service *s, const struct policy_rule *rule,
		       const struct policy_counter *live, FILE *out)
{
	const struct tally *t = workerctl_tally(s->worker);
	const struct tally_slot *slot;
	char up[TABLE_NUMBER], down[TABLE_NUMBER];
	uint64_t id[2];

	tally_rule(t, rule->file ? rule->file : "", rule->text ? rule->text : "", id);
	slot = tally_find(t, id, sizeof(id));
	fprintf(out, "%8llu  %7s  %7s  ", slot ? (unsigned long long)slot->hits : 0,
		table_bytes((slot ? slot->up : 0) + live->bytes_up, up),
		table_bytes((slot ? slot->down : 0) + live->bytes_down, down));
	if (rule->file)
		fprintf(out, "%s:%u: %s\n", rule->file, rule->line, rule->text);
	else
		fprintf(out, "default %s\n", policy_verdict_text(rule->verdict));
}

static void print_decision(const struct decision *d, uint64_t now, FILE *out)
{
	char what[2 * FLOW_HOST_MAX + 64], left[TABLE_NUMBER];

	if (!decision_rule(d, what, sizeof(what)))
		snprintf(what, sizeof(what), "%s if pid == %d",
			 d->verdict == FLOW_ALLOW ? "allow" : "block", d->pid);
	fprintf(out, "decision %u: %s", d->number, what);
	if (d->expires)
		fprintf(out, " (%s left)", table_time(d->expires - now, left));
	fputc('\n', out);
}

static void answer_rules(struct pick *p)
{
	struct service *s = p->s;
	const struct policy *pol = s->rules.now;
	struct live l = {.ruleset = s->rules.number, .n = pol ? policy_rules(pol) : 0};

	l.rule = calloc(l.n + 1UL, sizeof(*l.rule));
	if (!l.rule)
		return;
	workerctl_each(s->worker, add_live, &l);
	decisions_expire(&s->decisions, p->now);
	for (unsigned i = 0; i < s->decisions.n; i++)
		print_decision(&s->decisions.list[i], p->now, p->out);
	if (pol) {
		fprintf(p->out, "%8s  %7s  %7s  RULE\n", "HITS", "UP", "DOWN");
		for (unsigned i = 0; i < l.n; i++)
			print_rule(s, policy_rule(pol, i), &l.rule[i], p->out);
		print_rule(s, policy_default_rule(pol), &l.rule[l.n], p->out);
	} else {
		fprintf(p->out, "there are no rules: all is allowed\n");
	}
	free(l.rule);
}

/* --- requests
 * ------------------------------------------------------------------------------------------- */

/** rest - what follows @word in @request; NULL: it is another request */
static const char *rest(const char *request, const char *word)
{
	const size_t n = strlen(word);

	if (strncmp(request, word, n) != 0 || (request[n] && request[n] != ' '))
		return NULL;
	return request[n] ? request + n + 1 : request + n;
}

/** may_change - others may look at what is theirs, and change nothing */
static bool may_change(const struct pick *p)
{
	if (!p->who->full)
		fprintf(p->out, "error: only root and members of the group weir may do that\n");
	return p->who->full;
}

bool service_answer(struct service *s, const struct control_peer *who, const char *request,
		    FILE *out, enum control_said *said)
{
	struct pick p = {.s = s, .who = who, .now = clock_mono_ns(), .out = out};
	const char *args;

	*said = CONTROL_ANSWERED;
	if ((args = rest(request, "flows"))) {
		answer_flows(&p, args);
	} else if ((args = rest(request, "kill"))) {
		if (may_change(&p))
			answer_kill(&p, args);
	} else if ((args = rest(request, "decide"))) {
		if (may_change(&p))
			answer_decide(&p, args);
	} else if ((args = rest(request, "forget"))) {
		if (may_change(&p))
			answer_forget(&p, args);
	} else if (!strcmp(request, "rules")) {
		if (may_change(&p))
			answer_rules(&p);
	} else if (!strcmp(request, "events")) {
		*said = CONTROL_STREAM;
	} else {
		return false;
	}
	return true;
}
