/* SPDX-License-Identifier: MIT */
/*
 * hook: which hooks get a flow, when, what they are told of it, and what it costs when none wants
 * it.
 * LINK: src/hook.o src/hook_call.o src/hook_stream.o src/hook_dgram.o src/hook_host.o
 * LINK: src/hook_load.o src/flow.o src/base/hash.o src/base/addr.o src/base/util.o src/base/log.o
 * LINK: src/base/clock.o
 */
#include "hook.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "owner.h"
#include "../lib/tap.h"

/* --- a hook that does what the test says ----------------------------------------------------- */

/** struct tool - one loaded hook, found by its name */
struct tool {
	struct weir_hook_ref *ref;
	struct weir_flow *f; /* the last one opened */
	int open_says;
	int64_t payload_says; /* ALL: all of it */
	unsigned opened, shown, closed, learned, half_closed;
	bool done_at_open, decide_in_open, inject_in_open, resume_in_payload;
	char last[64], args[32], field[64];
};

#define ALL INT64_MAX

static struct tool tools[4];
static unsigned n_tools;
static const struct weir_host *host;
static uint64_t clock_now;

static void *load(const struct weir_host *h, struct weir_hook_ref *ref, const char **err)
{
	struct tool *t = &tools[n_tools++];

	(void)err;
	host = h;
	*t = (struct tool){.ref = ref, .payload_says = ALL};
	return t;
}

static int flow_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct tool *t = state;

	t->f = f;
	t->opened++;
	str_copy(t->args, sizeof(t->args), info->args ? info->args : "");
	if (t->done_at_open)
		host->done(f);
	if (t->decide_in_open)
		host->decide(f, WEIR_PASS);
	if (t->inject_in_open)
		host->inject(f, WEIR_DOWN, "hi ", 3);
	return t->open_says;
}

static int64_t payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	struct tool *t = state;

	t->shown++;
	if (t->resume_in_payload)
		host->resume(f, p->dir);
	snprintf(t->last, sizeof(t->last), "%.*s%s", (int)p->len, (const char *)p->data,
		 p->flags & WEIR_LAST ? "!" : "");
	clock_now += 20000000; /* it takes 20 ms */
	return t->payload_says == ALL ? (int64_t)p->len : t->payload_says;
}

static void learned(void *state, struct weir_flow *f, const char *field, const char *value)
{
	struct tool *t = state;

	(void)f;
	t->learned++;
	snprintf(t->field, sizeof(t->field), "%s=%s", field, value);
}

static void flow_close(void *state, struct weir_flow *f, const struct weir_info *info)
{
	(void)f;
	(void)info;
	((struct tool *)state)->closed++;
}

static const struct weir_hook tool_hook = {
	WEIR_HOOK_HEAD,		  .name = "tool",     .load = load,
	.flow_open = flow_open,	  .payload = payload, .name_learned = learned,
	.flow_close = flow_close,
};
static const struct weir_hook names_hook = {
	WEIR_HOOK_HEAD, .name = "names", .load = load, .flow_open = flow_open, .payload = payload,
};

/* --- scopes: "yes", "no", "maybe" (by the variable) ----------------------------------------------
 */

static enum expr_truth maybe;

static int compile(const char *text, struct expr **e, char *err, size_t errsize)
{
	if (*text == '!') {
		snprintf(err, errsize, "if: column 1: what is '!'?");
		return -EINVAL;
	}
	*e = (struct expr *)(void *)strdup(text);
	return 0;
}

static void scope_free(struct expr *e)
{
	free(e);
}

static uint64_t fields(const struct expr *e)
{
	return *(const char *)(const void *)e == 'm' ? 4 : 1;
}

static enum expr_truth holds(void *ctx, const struct expr *e, const struct flow *f)
{
	const char *text = (const void *)e;

	(void)ctx;
	(void)f;
	return *text == 'm' ? maybe : *text == 'y' ? EXPR_YES : EXPR_NO;
}

static const struct hook_scopes scopes = {compile, scope_free, fields, holds};

/* --- the surroundings
 * ------------------------------------------------------------------------------- */

static struct flow_rec rec;
static struct flow flow = {.rec = &rec};
static struct hook_chain *c;
static char facts[256], err[256];
static struct owner owner = {
	.uid = 1000,
	.gid = 100,
	.pid = 4711,
	.user = "alice",
	.comm = "sixteen-letters!",
	.exe = "/usr/bin/curl",
	.parents_len = 2,
	.parents = {{.pid = 4700, .comm = "bash"}, {.pid = 1, .comm = "init"}},
};
static bool known;

static void view(void *ctx, const struct flow *f, struct hook_view *v)
{
	(void)ctx;
	*v = (struct hook_view){.rec = f->rec,
				.owner = known ? &owner : NULL,
				.host = "dns.example",
				.rule = "a:7"};
}

static void env_learned(void *ctx, struct flow *f, const char *field, const char *value)
{
	size_t n = strlen(facts);

	(void)ctx;
	(void)f;
	snprintf(facts + n, sizeof(facts) - n, "%s=%s ", field ? field : "done",
		 value ? value : "-");
}

static uint64_t fake_clock(void)
{
	return clock_now;
}

static void begin(void)
{
	const struct hook_env env = {.view = view,
				     .scopes = &scopes,
				     .learned = env_learned,
				     .clock = fake_clock,
				     .limit = 100};

	n_tools = 0;
	facts[0] = '\0';
	c = hook_chain_new(&env);
	rec = (struct flow_rec){.id = 9, .proto = IPPROTO_TCP, .state = FLOW_OPEN};
	addr_parse("192.0.2.7", &rec.app.addr);
	addr_parse("2001:db8::1", &rec.net.addr);
	rec.net.port = 443;
}

static struct tool *add_hook(const struct weir_hook *hook, const char *args)
{
	if (hook_chain_add_hook(c, hook, args, err, sizeof(err)))
		abort();
	return &tools[n_tools - 1];
}

static struct tool *add(const char *args)
{
	return add_hook(&tool_hook, args);
}

static void end(void)
{
	hook_chain_close(c, &flow);
	hook_chain_free(c);
}

/** pass - offer @text; how many bytes have come out, or the answer */
static ssize_t pass(enum hook_dir dir, const char *text)
{
	struct hook_passed p;
	const uint8_t *out;
	int rc = hook_chain_chunk(c, &flow, dir, (const uint8_t *)text, strlen(text), false, &p);
	size_t n;

	if (rc)
		return rc;
	n = hook_chain_output(&flow, dir, &out);
	if (n)
		hook_chain_sent(&flow, dir, n);
	return (ssize_t)(p.as_is + n);
}

/** woken - the flow was woken; how many bytes have come out since, or an answer */
static ssize_t woken(enum hook_dir dir)
{
	int rc;

	if (hook_chain_woken(c) != &flow || hook_chain_woken(c))
		return -99;
	rc = hook_chain_run(&flow, dir);
	return rc ? rc : pass(dir, "");
}

/* --- the tests
 * ---------------------------------------------------------------------------------------- */

static void test_free_of_charge(void)
{
	static const struct weir_hook only_opens = {WEIR_HOOK_HEAD, .name = "opens", .load = load,
						    .flow_open = flow_open};
	static const struct weir_hook only_datagrams = {WEIR_HOOK_HEAD, .name = "datagrams",
							.wants = WEIR_WANTS_DATAGRAMS, .load = load,
							.payload = payload};
	struct tool *t;

	begin();
	add_hook(&only_datagrams, NULL);
	hook_chain_open(c, &flow);
	tap_ok(hook_direct(&flow) && hook_chain_room(&flow, HOOK_UP) == SIZE_MAX,
	       "what a hook does not want passes it");
	end();
	begin();
	t = add_hook(&only_opens, NULL);
	hook_chain_open(c, &flow);
	tap_ok(t->opened == 1 && hook_direct(&flow), "nor is a hook asked that only judges");
	hook_chain_close(c, &flow);
	t->open_says = WEIR_BLOCK;
	tap_ok(hook_chain_open(c, &flow) == WEIR_BLOCK && !hook_direct(&flow), "which it may do");
	end();
	begin();
	t = add(NULL);
	hook_chain_open(c, &flow);
	tap_ok(!hook_direct(&flow), "one that wants payload is asked");
	pass(HOOK_UP, "abc");
	host->done(t->f);
	tap_ok(hook_direct(&flow) && t->shown == 1, "until it is done");
	tap_is(pass(HOOK_UP, "def"), 3, "then bytes pass");
	tap_is(t->shown, 1, "without a call");
	end();
	tap_is(t->closed, 1, "but for flow_close()");
	begin();
	t = add(NULL);
	t->done_at_open = true;
	hook_chain_open(c, &flow);
	tap_ok(hook_direct(&flow), "a hook may be done from the start");
	end();
	begin();
	t = add(NULL);
	hook_chain_open(c, &flow);
	t->payload_says = 1;
	tap_is(pass(HOOK_UP, "abc"), 1, "what it has held");
	host->done(t->f);
	tap_is(woken(HOOK_UP), 2, "goes when it is done");
	tap_ok(hook_direct(&flow) && !hook_chain_bytes(c), "and nothing is kept");
	end();
}

static void test_scope(void)
{
	struct tool *yes, *no, *perhaps;
	uint32_t flows_before;

	begin();
	tap_ok(hook_chain_add_hook(c, &tool_hook, "if=!", err, sizeof(err)) == -EINVAL &&
		       !strcmp(err, "if: column 1: what is '!'?"),
	       "an expression is checked: %s", err);
	n_tools = 0;
	yes = add("name=a,if=yes, with a comma");
	no = add("if=no");
	perhaps = add("if=maybe");
	tap_is(hook_chain_fields(c), 5, "what scopes look at is known");
	maybe = EXPR_UNKNOWN;
	flows_before = (uint32_t)hook_chain_stats(c, 1)->flows;
	hook_chain_open(c, &flow);
	tap_ok(yes->opened == 1 && !no->opened && !perhaps->opened,
	       "a hook gets what is its scope");
	tap_is(hook_chain_stats(c, 1)->flows, flows_before, "and no more is counted for it");
	tap_ok(hook_chain_unsure(&flow), "one is not decided");
	hook_chain_gate(c, &flow, false);
	tap_is(pass(HOOK_UP, "abc"), 0, "until it is, nothing passes the gate");
	maybe = EXPR_YES;
	hook_chain_gate(c, &flow, true);
	tap_ok(perhaps->opened == 1 && !hook_chain_unsure(&flow), "then the hook gets the flow");
	tap_is(woken(HOOK_UP), 3, "and the bytes go on");
	tap_ok(!strcmp(perhaps->last, "abc"), "past it, from the first: %s", perhaps->last);
	end();
	tap_ok(yes->closed == 1 && !no->closed && perhaps->closed == 1,
	       "who had it is told its end");
	begin();
	perhaps = add("if=maybe");
	maybe = EXPR_UNKNOWN;
	hook_chain_open(c, &flow);
	hook_chain_gate(c, &flow, false);
	hook_chain_gate(c, &flow, true);
	tap_ok(!perhaps->opened && hook_direct(&flow), "what stays unknown is no yes");
	end();
}

static void test_pick(void)
{
	struct tool *free_one, *ruled;

	begin();
	free_one = add(NULL);
	ruled = add("name=ruled");
	tap_ok(hook_chain_by_rule(c, "nosuch", true) == -ENOENT &&
		       !hook_chain_by_rule(c, "ruled", true),
	       "rules name hooks that are there");
	hook_chain_open(c, &flow);
	tap_ok(free_one->opened == 1 && !ruled->opened, "which then get no other flows");
	hook_chain_close(c, &flow);
	hook_chain_pick(c, &flow, "ruled", "x=1");
	hook_chain_open(c, &flow);
	tap_ok(ruled->opened == 1 && !strcmp(ruled->args, "x=1") && free_one->opened == 2,
	       "those that are picked for them they get, with the rule's words: %s", ruled->args);
	tap_ok(!hook_chain_pick(c, &flow, "ruled", "y=1") && ruled->opened == 1, "once");
	tap_is(hook_chain_pick(c, &flow, "nosuch", NULL), -ENOENT, "nobody else does");
	end();

	begin();
	ruled = add("name=ruled");
	hook_chain_by_rule(c, "ruled", true);
	hook_chain_open(c, &flow);
	tap_ok(hook_direct(&flow) && pass(HOOK_UP, "abc") == 3, "a flow of nobody's");
	ruled->open_says = WEIR_PEND;
	hook_chain_pick(c, &flow, "ruled", NULL);
	tap_ok(ruled->opened == 1 && !hook_direct(&flow), "may be given to one later");
	tap_is(woken(HOOK_UP), 0, "who does not know yet what to do with it");
	tap_is(pass(HOOK_UP, "def"), 0, "so it waits");
	host->decide(ruled->f, WEIR_PASS);
	tap_is(woken(HOOK_UP), 3, "until that is decided");
	tap_ok(!strcmp(ruled->last, "def"), "and sees what passes from then on: %s", ruled->last);
	end();

	begin();
	ruled = add("name=ruled");
	hook_chain_by_rule(c, "ruled", true);
	hook_chain_open(c, &flow);
	ruled->open_says = WEIR_BLOCK;
	hook_chain_pick(c, &flow, "ruled", NULL);
	tap_ok(woken(HOOK_UP) == HOOK_BLOCK && rec.verdict, "it may block it, too");
	end();
	hook_chain_refuse(&flow);
	begin();
	add(NULL);
	hook_chain_open(c, &flow);
	hook_chain_refuse(&flow);
	tap_ok(woken(HOOK_UP) == HOOK_BLOCK && pass(HOOK_UP, "x") == HOOK_BLOCK,
	       "and so may who judges");
	end();
}

static void test_names_gate(void)
{
	struct tool *names, *t, *late;

	begin();
	names = add_hook(&names_hook, NULL);
	t = add(NULL);
	late = add("name=late");
	hook_chain_by_rule(c, "late", true);
	hook_chain_open(c, &flow);
	hook_chain_gate(c, &flow, false);
	tap_is(pass(HOOK_UP, "GET / "), 0, "a gate that is closed");
	tap_ok(!strcmp(names->last, "GET / ") && !t->shown, "is behind the hook that learns names");
	host->learn(names->f, "http.host", "www.example");
	host->learn(names->f, "alpn", NULL);
	host->learn_done(names->f);
	tap_ok(!strcmp(facts, "http.host=www.example alpn=- done=- "), "who judges is told: %s",
	       facts);
	tap_ok(!hook_chain_pick(c, &flow, "late", NULL) && late->learned == 1 &&
		       !strcmp(late->field, "http.host=www.example"),
	       "one that gets the flow later is told what is known: %s", late->field);
	tap_ok(t->learned == 1 && !strcmp(t->field, "http.host=www.example") && !names->learned,
	       "other hooks too: %s", t->field);
	tap_ok(!strcmp(host->info(t->f)->host, "www.example"), "it is the best name now");
	hook_chain_gate(c, &flow, true);
	tap_is(woken(HOOK_UP), 6, "and the gate opens");
	tap_is(t->shown, 1, "for the hooks behind it");
	end();
	begin();
	t = add(NULL);
	add_hook(&names_hook, NULL);
	hook_chain_open(c, &flow);
	hook_chain_gate(c, &flow, false);
	pass(HOOK_UP, "x");
	tap_is(t->shown, 0, "with another one first it is before all");
	end();
}

static void test_errors(void)
{
	struct tool *strict, *lax;

	begin();
	strict = add(NULL);
	hook_chain_open(c, &flow);
	strict->payload_says = WEIR_ERROR;
	tap_ok(pass(HOOK_UP, "x") == HOOK_BLOCK && rec.verdict,
	       "a hook that fails blocks the flow");
	tap_is(hook_chain_stats(c, 0)->errors, 1, "that is counted");
	end();
	begin();
	lax = add("on-error=pass");
	hook_chain_open(c, &flow);
	lax->payload_says = WEIR_ERROR;
	tap_is(pass(HOOK_UP, "abc"), 3, "with on-error=pass it goes on");
	tap_ok(hook_direct(&flow) && pass(HOOK_UP, "abc") == 3 && lax->shown == 1,
	       "without that hook");
	hook_chain_close(c, &flow);
	lax->open_says = WEIR_ERROR;
	tap_ok(!hook_chain_open(c, &flow) && hook_direct(&flow),
	       "from the start, where it fails then");
	end();
}

static void test_decide(void)
{
	struct tool *t;

	begin();
	t = add(NULL);
	t->open_says = WEIR_PEND;
	t->decide_in_open = true;
	tap_is(hook_chain_open(c, &flow), 0, "a decision may come before the answer");
	end();
	for (int pass_it = 0; pass_it < 2; pass_it++) {
		begin();
		t = add(pass_it ? "on-error=pass" : NULL);
		t->open_says = WEIR_PEND;
		tap_is(hook_chain_open(c, &flow), WEIR_PEND, "a hook waits");
		host->decide(t->f, WEIR_ERROR);
		tap_is(hook_chain_open(c, &flow), pass_it ? 0 : WEIR_BLOCK,
		       "it may fail to decide: on-error=%s", pass_it ? "pass" : "block");
		tap_is(hook_direct(&flow), pass_it, "... and is done with, or not");
		end();
	}
	begin();
	t = add(NULL);
	t->inject_in_open = true;
	hook_chain_open(c, &flow);
	tap_is(woken(HOOK_DOWN), 3, "a hook may speak first");
	tap_ok(host->find(t->ref, 9) == t->f && !host->find(t->ref, 8),
	       "a flow is found by number");
	end();
	tap_ok(n_tools == 1, "when it has ended no more");
}

/** run_once - as woken(), but the hooks are asked once; 1: the flow was woken, and goes on */
static bool run_once(void)
{
	return hook_chain_woken(c) == &flow && !hook_chain_run(&flow, HOOK_UP);
}

static void test_resume_within(void)
{
	struct hook_passed p;
	const uint8_t *out;
	struct tool *t;

	begin();
	t = add(NULL);
	hook_chain_open(c, &flow);
	t->payload_says = 1;
	t->resume_in_payload = true;
	tap_is(pass(HOOK_UP, "abcd"), 1, "a hook accepts a part, and wants to see the rest again");
	tap_ok(run_once() && !strcmp(t->last, "bcd"), "it does, without more behind it");
	t->payload_says = WEIR_PEND;
	tap_ok(run_once() && !strcmp(t->last, "cd"), "once more");
	tap_ok(run_once() && !strcmp(t->last, "cd"), "also where its answer was to wait");
	t->payload_says = 0;
	tap_ok(!hook_chain_chunk(c, &flow, HOOK_UP, NULL, 0, true, &p) && !strcmp(t->last, "cd!"),
	       "and where no more will come");
	t->payload_says = ALL;
	t->resume_in_payload = false;
	tap_ok(run_once() && !strcmp(t->last, "cd!"), "which is not the end of the flow");
	tap_is(hook_chain_output(&flow, HOOK_UP, &out), 3, "until it has accepted all");
	end();
}

static void test_info(void)
{
	const struct weir_info *i;
	struct tool *t;

	begin();
	t = add(NULL);
	hook_chain_open(c, &flow);
	i = host->info(t->f);
	tap_ok(i->id == 9 && !strcmp(i->app.ip, "192.0.2.7") && i->app.n_bytes == 4 &&
		       i->app.bytes[3] == 7 && !strcmp(i->net.ip, "2001:db8::1") &&
		       i->net.n_bytes == 16 && i->net.port == 443,
	       "a hook is told the addresses");
	tap_ok(!strcmp(i->host, "dns.example") && !strcmp(i->rule, "a:7") && !i->reason &&
		       !strcmp(i->verdict, "allow"),
	       "the name, and the rule");
	tap_ok(i->owner->uid == -1 && i->owner->pid == -1 && !*i->owner->user && !*i->owner->comm &&
		       !i->owner->n_parents && *i->owner->source,
	       "an owner that is not known, and why");
	known = true;
	i = host->info(t->f);
	tap_ok(i->owner->uid == 1000 && i->owner->pid == 4711 && !strcmp(i->owner->user, "alice") &&
		       !strcmp(i->owner->comm, "sixteen-letters!"),
	       "and one that is: %s", i->owner->comm);
	tap_ok(i->owner->n_parents == 2 && !strcmp(i->owner->parent_comm[0], "bash") &&
		       i->owner->parent_pid[1] == 1,
	       "with its parents");
	known = false;
	end();
}

static void test_accounts(void)
{
	const struct hook_stats *s;
	struct tool *t;

	begin();
	t = add("budget=10ms,name=slow");
	s = hook_chain_stats(c, 0);
	tap_ok(!hook_chain_stats(c, 1), "there is one hook");
	hook_chain_open(c, &flow);
	pass(HOOK_UP, "abc");
	t->payload_says = 1;
	pass(HOOK_DOWN, "defg");
	pass(HOOK_DOWN, "h");
	t->payload_says = WEIR_PEND;
	pass(HOOK_DOWN, "i");
	tap_ok(!strcmp(s->name, "slow") && s->flows == 1 && s->calls == 5, "%llu calls",
	       (unsigned long long)s->calls);
	tap_is(s->bytes, 9, "each byte is counted once");
	tap_ok(s->holds == 2 && s->pends == 1 && s->ns == 80000000 && s->over_budget == 4,
	       "and how long it took");
	end();
}

/** test_total - what all flows keep is bounded, too */
static void test_total(void)
{
	const struct hook_env env = {.view = view, .limit = 100000, .total = 40000};
	static char big[30001];
	struct tool *t;

	n_tools = 0;
	c = hook_chain_new(&env);
	rec = (struct flow_rec){.id = 9, .proto = IPPROTO_TCP, .state = FLOW_OPEN};
	memset(big, 'x', sizeof(big) - 1);
	t = add(NULL);
	t->payload_says = 0;
	hook_chain_open(c, &flow);
	tap_is(pass(HOOK_UP, big), 0, "a hook holds 30,000 bytes");
	tap_is(pass(HOOK_DOWN, big), HOOK_LIMIT, "but not twice, where all may keep 40,000");
	hook_chain_close(c, &flow);
	hook_chain_open(c, &flow);
	pass(HOOK_UP, big);
	t->payload_says = WEIR_PEND;
	tap_is(pass(HOOK_DOWN, big), 0, "one that waits is not ended");
	tap_is(hook_chain_room(&flow, HOOK_DOWN), 0, "it is given no more");
	end();
}

static void test_abuse(void)
{
	struct tool *t;
	static char big[200];

	begin();
	t = add(NULL);
	hook_chain_open(c, &flow);
	tap_is(host->replace(t->f, 0, 0, "x", 1), -EINVAL,
	       "there is nothing to replace outside a call");
	tap_is(host->inject(t->f, WEIR_UP, big, 101), -ENOBUFS, "a flow keeps so much");
	tap_is(host->inject(t->f, WEIR_UP, big, 100), 0, "and no more");
	tap_is(host->inject(t->f, WEIR_UP, big, 1), -ENOBUFS, "in all");
	tap_is(host->inject(t->f, (enum weir_dir)2, big, 1), -EINVAL, "there are two directions");
	tap_is(host->event(t->f, "x", "{}"), -ENOSYS,
	       "what the surroundings do not have is not there");
	tap_is(hook_chain_room(&flow, HOOK_UP), 0, "nothing is offered before the output has gone");
	hook_chain_close(c, &flow);
	t->payload_says = 0;
	hook_chain_open(c, &flow);
	tap_is(pass(HOOK_UP, "0123456789012345678901234567890123456789"), 0, "a hook holds");
	tap_is(hook_chain_room(&flow, HOOK_UP), 60, "as long as there is room");
	memset(big, 'x', 60);
	tap_is(pass(HOOK_UP, big), 0, "all of it");
	tap_is(hook_chain_room(&flow, HOOK_UP), 1, "and one byte more is looked at");
	tap_is(pass(HOOK_UP, "y"), HOOK_LIMIT, "which is too much");
	hook_chain_close(c, &flow);
	t->payload_says = WEIR_PEND;
	hook_chain_open(c, &flow);
	memset(big, 'x', 100);
	pass(HOOK_UP, big);
	tap_is(hook_chain_room(&flow, HOOK_UP), 0, "one that waits is not given more than that");
	end();
}

const char *owner_why_text(unsigned why)
{
	return why ? "unknown" : "known";
}

const char *owner_source_text(unsigned source)
{
	return source ? "bpf" : "sockdiag";
}

int main(void)
{
	log_level = LOG_ERROR;
	test_free_of_charge();
	test_scope();
	test_pick();
	test_names_gate();
	test_errors();
	test_decide();
	test_resume_within();
	test_info();
	test_accounts();
	test_abuse();
	test_total();
	return tap_done();
}
