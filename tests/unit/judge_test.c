/* SPDX-License-Identifier: MIT */
/*
 * judge: what rules say of a flow, and when: with rules of the test's own (a policy that looks at
 * fields itself), real facts, tallies and decisions, and a relay that notes what it is told.
 * LINK: src/judge.o src/facts.o src/decision.o src/tally.o src/learnt.o src/flow.o src/timers.o
 * LINK: src/expr_field.o src/base/addr.o src/base/hash.o src/base/log.o src/base/util.o
 * LINK: src/base/clock.o
 */
#include "judge.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "policy.h"
#include "relay.h"
#include "../lib/tap.h"

/* --- a policy: the first rule whose field is the given text or number decides --------------------
 */

struct rule {
	struct policy_rule pub;
	enum expr_field field; /* EXPR_FIELD_MAX: all flows */
	const char *text;      /* NULL: @num */
	uint64_t num;
};

static struct rule rules[8];
static unsigned n_rules;
static struct policy_rule fallback = {.final = true, .verdict = POLICY_ALLOW};

struct policy {
	int nothing;
};
static struct policy the_policy;
static int unpacked;

int policy_unpack(int fd, struct policy **out, char *err, size_t errsize)
{
	(void)fd;
	(void)err;
	(void)errsize;
	unpacked++;
	*out = &the_policy;
	return 0;
}

struct policy_unpacking {
	unsigned steps;
};
static struct policy_unpacking under_way;
static int unpack_fails;

int policy_unpack_start(int fd, struct policy_unpacking **out, char *err, size_t errsize)
{
	(void)fd;
	(void)err;
	(void)errsize;
	under_way.steps = 3;
	*out = &under_way;
	return 0;
}

int policy_unpack_step(struct policy_unpacking *u, unsigned some, struct policy **out, char *err,
		       size_t errsize)
{
	(void)some;
	snprintf(err, errsize, "made up");
	if (--u->steps)
		return 1;
	*out = &the_policy;
	return unpack_fails;
}

void policy_unpack_stop(struct policy_unpacking *u)
{
	u->steps = 0;
}

void policy_free(struct policy *p)
{
	(void)p;
}

unsigned policy_rules(const struct policy *p)
{
	(void)p;
	return n_rules;
}

const struct policy_rule *policy_rule(const struct policy *p, unsigned i)
{
	(void)p;
	return &rules[i].pub;
}

const struct policy_rule *policy_by(const struct policy *p, uint32_t rule)
{
	return rule ? policy_rule(p, rule - 1) : &fallback;
}

uint64_t policy_fields(const struct policy *p)
{
	uint64_t bits = 0;

	(void)p;
	for (unsigned i = 0; i < n_rules; i++)
		if (rules[i].field < EXPR_FIELD_MAX)
			bits |= 1ULL << rules[i].field;
	return bits;
}

static enum expr_truth matches(const struct rule *rule, expr_get_fn *get, const void *subject)
{
	struct expr_value v;
	enum expr_known known;

	if (rule->field == EXPR_FIELD_MAX)
		return EXPR_YES;
	known = get(subject, rule->field, 0, &v);
	if (known != EXPR_KNOWN)
		return known == EXPR_ABSENT ? EXPR_NO : EXPR_UNKNOWN;
	if (!rule->text)
		return v.num == rule->num ? EXPR_YES : EXPR_NO;
	return v.text.len == strlen(rule->text) && !memcmp(v.text.s, rule->text, v.text.len)
		       ? EXPR_YES
		       : EXPR_NO;
}

void policy_judge(const struct policy *p, expr_get_fn *get, const void *subject,
		  struct policy_judgement *out)
{
	(void)p;
	*out = (struct policy_judgement){.verdict = fallback.verdict};
	for (unsigned i = 0; i < n_rules; i++) {
		const struct rule *rule = &rules[i];
		enum expr_truth t = matches(rule, get, subject);

		if (t == EXPR_YES && !rule->pub.final)
			out->collected[out->n_collected++] = i;
		if (t == EXPR_UNKNOWN && !rule->pub.final)
			out->hooks_wait |= rule->pub.what == POLICY_HOOK;
		if (t == EXPR_NO || !rule->pub.final)
			continue;
		out->rule = i + 1;
		out->verdict = t == EXPR_YES ? rule->pub.verdict : POLICY_WAIT;
		if (t == EXPR_UNKNOWN)
			out->waits = 1ULL << rule->field & facts_of_owner ? POLICY_WAITS_OWNER
									  : POLICY_WAITS_PAYLOAD;
		return;
	}
}

static struct rule *add(enum policy_verdict verdict, enum expr_field field, const char *text,
			uint64_t num)
{
	static char texts[8][32];
	struct rule *rule = &rules[n_rules];

	snprintf(texts[n_rules], sizeof(texts[0]), "rule %u", n_rules);
	*rule = (struct rule){
		.pub = {.file = "test",
			.text = texts[n_rules],
			.line = n_rules + 1,
			.final = true,
			.verdict = verdict,
			.ask_timeout = 5 * NSEC_PER_SEC,
			.ask_default = POLICY_BLOCK},
		.field = field,
		.text = text,
		.num = num,
	};
	n_rules++;
	return rule;
}

static struct rule *add_what(enum policy_what what, enum policy_per per, uint64_t amount)
{
	struct rule *rule = add(POLICY_ALLOW, EXPR_FIELD_MAX, NULL, 0);

	rule->pub.final = false;
	rule->pub.what = what;
	rule->pub.per = per;
	rule->pub.amount = amount;
	rule->pub.name = "a-name";
	return rule;
}

/* --- the rest of the world ----------------------------------------------------------------------
 */

static struct { /* what hooks and the relay were told */
	bool gate_closed, direct, unsure;
	int picks, pick_rc, events[JUDGE_EV_MAX], judged, notices;
	enum judge_say say;
	uint32_t log_rule;
	struct flow *flow;
} told;

int hook_chain_gate(struct hook_chain *c, struct flow *f, bool open)
{
	(void)c;
	(void)f;
	told.gate_closed = !open;
	return 0;
}

bool hook_chain_unsure(const struct flow *f)
{
	(void)f;
	return told.unsure;
}

int hook_chain_pick(struct hook_chain *c, struct flow *f, const char *name, const char *args)
{
	(void)c;
	(void)f;
	(void)name;
	(void)args;
	told.picks++;
	return told.pick_rc;
}

int hook_chain_by_rule(struct hook_chain *c, const char *name, bool on)
{
	(void)c;
	(void)name;
	(void)on;
	return 0;
}

static uint64_t limits_hit;

uint64_t expr_limits_hit(void)
{
	return limits_hit;
}

const char *names_text(const struct names *n, uint32_t slot)
{
	(void)n;
	return slot == 1 ? "dns.example" : "wrong";
}

static void judged(struct relay *r, struct flow *f, enum judge_say say)
{
	(void)r;
	told.judged++;
	told.say = say;
	told.flow = f;
}

static void event(void *ctx, struct flow *f, enum judge_event what, uint32_t rule)
{
	(void)ctx;
	(void)f;
	told.events[what]++;
	if (what == JUDGE_EV_LOG)
		told.log_rule = rule;
}

__attribute__((format(printf, 3, 4))) static void notice(void *ctx, const char *what,
							 const char *fmt, ...)
{
	(void)ctx;
	(void)what;
	(void)fmt;
	told.notices++;
}

static struct learnt learnt[64 + FLOW_SPARE];
static struct tally *tally;
static struct owner curl = {
	.id = 1, .uid = 7, .pid = 100, .start_ns = 5, .comm = "curl", .exe = "/usr/bin/curl"};
static struct hook_head hooks; /* what hookdata begins with */
static struct relay r = {
	.judged = judged, .flow_event = event, .notice = notice, .now = 100 * NSEC_PER_SEC};
static uint16_t port;

static void begin(void)
{
	const struct flow_table_config fc = {.max_flows = 64};
	const struct timers_config tc = {.udp_idle = 300 * NSEC_PER_SEC};
	struct judge_config jc = {.tally = tally, .learnt = learnt};

	n_rules = 0;
	memset(&told, 0, sizeof(told));
	memset(learnt, 0xee, sizeof(learnt));
	fallback.verdict = POLICY_ALLOW;
	r.flows = flow_table_new(&fc);
	r.timers = timers_new(&tc, 64 + FLOW_SPARE);
	r.judge = judge_new(&jc);
}

static void use(uint32_t number)
{
	tap_ok(judge_use(&r, open("/dev/null", O_RDONLY), number) == 0, "rules are in use");
	while (judge_turn(&r))
		;
}

static struct flow *make(uint8_t proto, uint16_t to, bool named)
{
	struct addrport app = {.port = ++port}, net = {.port = to};
	struct flow *f;

	addr_parse("192.0.2.2", &app.addr);
	addr_parse("198.51.100.1", &net.addr);
	f = flow_new(r.flows, proto, &app, &net, r.now, 1);
	f->rec->host_slot = named;
	f->hookdata = &hooks;
	return f;
}

/** owned - curl's, uid 7; what is said then. Passed, it is as open as relays make it */
static enum judge_say owned(struct flow *f)
{
	enum judge_say say;

	f->owner = &curl;
	f->rec->owner = 1;
	f->rec->owner_uid = 7;
	flow_set_state(r.flows, f, FLOW_OWNED);
	say = judge_owned(&r, f);
	if (say == JUDGE_PASS) {
		flow_set_state(r.flows, f, FLOW_JUDGED);
		say = judge_gate(&r, f);
		flow_set_state(r.flows, f, FLOW_OPEN);
		judge_opened(&r, f);
	}
	return say;
}

static void over(struct flow *f)
{
	timers_clear(r.timers, f);
	flow_end(r.flows, f, FLOW_ENDED_FIN, r.now);
	judge_end(&r, f);
	f->hookdata = NULL;
	flow_release(r.flows, f);
	flow_reap(r.flows, NULL, NULL);
}

static void end_flow(void *ctx, struct flow *f)
{
	(void)ctx;
	timers_clear(r.timers, f);
	flow_end(r.flows, f, FLOW_ENDED_FIN, r.now);
	judge_end(&r, f);
	flow_release(r.flows, f);
}

static void end(void)
{
	flow_each(r.flows, end_flow, NULL);
	flow_reap(r.flows, NULL, NULL);
	judge_free(r.judge);
	timers_free(r.timers);
	flow_table_free(r.flows);
}

/* --- tests
 * ---------------------------------------------------------------------------------------- */

static void without_rules(void)
{
	struct flow *f;

	begin();
	f = make(IPPROTO_TCP, 80, true);
	tap_ok(judge_early(&r, f) && owned(f) == JUDGE_PASS && !f->judged && !f->rec->learnt,
	       "without rules all passes, and costs nothing");
	end();
}

static void verdicts(void)
{
	static const struct {
		enum policy_verdict verdict;
		enum judge_say say;
		enum flow_verdict rec;
	} cases[] = {{POLICY_ALLOW, JUDGE_PASS, FLOW_ALLOW},
		     {POLICY_BLOCK, JUDGE_BLOCK, FLOW_BLOCK},
		     {POLICY_DROP, JUDGE_DROP, FLOW_DROP},
		     {POLICY_RESET, JUDGE_RESET, FLOW_RESET},
		     {POLICY_ASK, JUDGE_HOLD, FLOW_HELD}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct flow *f;

		begin();
		add(cases[i].verdict, EXPR_F_DST_PORT, NULL, 80);
		use(1);
		f = make(IPPROTO_TCP, 80, false);
		tap_ok(owned(f) == cases[i].say && f->rec->verdict == cases[i].rec &&
			       f->rec->by == FLOW_BY_RULE && f->rec->rule == 1 &&
			       f->rec->ruleset == 1 && f->held == (cases[i].say == JUDGE_HOLD),
		       "verdict %u: said, and in the record", cases[i].verdict);
		f = make(IPPROTO_TCP, 81, false);
		tap_ok(owned(f) == JUDGE_PASS && f->rec->by == FLOW_BY_DEFAULT,
		       "... another port is not meant");
		end();
	}
}

static void early(void)
{
	struct flow *f;

	begin();
	add(POLICY_BLOCK, EXPR_F_UID, NULL, 7);
	use(1);
	f = make(IPPROTO_TCP, 80, false);
	tap_ok(!judge_early(&r, f),
	       "a rule about owners: the network is not asked before it is known");
	tap_ok(owned(f) == JUDGE_BLOCK, "... and the flow is blocked");
	end();

	begin();
	add(POLICY_ALLOW, EXPR_F_DST_PORT, NULL, 80);
	add(POLICY_BLOCK, EXPR_F_UID, NULL, 7);
	use(1);
	tap_ok(judge_early(&r, make(IPPROTO_TCP, 80, false)), "allowed whoever it is: at once");
	tap_ok(!judge_early(&r, make(IPPROTO_TCP, 81, false)), "... others are not");
	end();

	begin();
	add(POLICY_BLOCK, EXPR_F_SNI, "bad.example", 0);
	use(1);
	tap_ok(judge_early(&r, make(IPPROTO_TCP, 80, false)),
	       "what waits for the payload alone may connect");
	end();

	begin();
	add_what(POLICY_LIMIT, POLICY_PER_USER, 1);
	use(1);
	tap_ok(!judge_early(&r, make(IPPROTO_TCP, 80, false)), "a limit may refuse it yet");
	end();
}

static void gate(void)
{
	struct flow *f;

	begin();
	add(POLICY_BLOCK, EXPR_F_SNI, "bad.example", 0);
	use(1);
	f = make(IPPROTO_TCP, 443, false);
	tap_ok(owned(f) == JUDGE_PASS && f->gated && told.gate_closed &&
		       f->rec->verdict == FLOW_WAITS,
	       "a rule about a name from the payload: the flow goes on, its payload waits");
	tap_ok(judge_payload(&r, f, HOOK_UP, 100, false) == JUDGE_PASS &&
		       judge_shown(&r, f) == JUDGE_PASS && f->gated,
	       "bytes that tell nothing yet stay");
	tap_ok(!f->deadline, "and time does not run any more: who speaks slowly must not win");
	judge_learn(&r, f, "sni", "bad.example");
	tap_ok(judge_payload(&r, f, HOOK_UP, 100, false) == JUDGE_PASS &&
		       judge_shown(&r, f) == JUDGE_BLOCK && f->rec->verdict == FLOW_BLOCK &&
		       f->rec->rule == 1,
	       "the name comes: blocked");
	over(f);

	f = make(IPPROTO_TCP, 443, false);
	owned(f);
	judge_learn(&r, f, "sni", "good.example");
	tap_ok(judge_shown(&r, f) == JUDGE_PASS && !f->gated && !told.gate_closed &&
		       f->rec->verdict == FLOW_ALLOW && !f->deadline,
	       "another name: the gate opens");
	over(f);

	f = make(IPPROTO_TCP, 443, false);
	owned(f);
	tap_ok(judge_payload(&r, f, HOOK_UP, 0, true) == JUDGE_PASS &&
		       judge_shown(&r, f) == JUDGE_PASS && f->gated,
	       "the client ends without a word: the server may still tell what it is");
	tap_ok(judge_payload(&r, f, HOOK_DOWN, 20, false) == JUDGE_PASS && f->gated &&
		       judge_shown(&r, f) == JUDGE_PASS && !f->gated &&
		       f->rec->verdict == FLOW_ALLOW,
	       "the server speaks first: when hooks have seen it there is no name, and it passes");
	over(f);

	f = make(IPPROTO_TCP, 443, false);
	owned(f);
	r.now += 299 * NSEC_PER_MSEC;
	tap_ok(!timers_pop(r.timers, r.now), "silence ...");
	r.now += 2 * NSEC_PER_MSEC;
	tap_ok(timers_pop(r.timers, r.now) == f, "... of 300 ms ...");
	judge_timeout(&r, f);
	tap_ok(told.judged == 1 && told.say == JUDGE_PASS && told.flow == f && !f->gated,
	       "... says that there is no name");
	tap_ok(judge_payload(&r, f, HOOK_UP, 50, false) == JUDGE_PASS && f->gated &&
		       told.gate_closed && f->rec->verdict == FLOW_WAITS,
	       "but when the client speaks first after all, its bytes wait");
	r.now += NSEC_PER_SEC;
	tap_ok(!f->deadline && f->gated, "for as long as it takes");
	judge_learn(&r, f, "sni", "bad.example");
	tap_is(judge_shown(&r, f), JUDGE_BLOCK, "and are judged");
	over(f);

	f = make(IPPROTO_TCP, 443, false);
	owned(f);
	r.now += 301 * NSEC_PER_MSEC;
	timers_pop(r.timers, r.now);
	judge_timeout(&r, f);
	tap_ok(judge_payload(&r, f, HOOK_DOWN, 50, false) == JUDGE_PASS && !f->gated && !f->silent,
	       "after a silence, too, a server that speaks first is heard");
	over(f);

	f = make(IPPROTO_TCP, 443, false);
	owned(f);
	for (int i = 0; i < 16; i++) {
		judge_payload(&r, f, HOOK_UP, 1024, false);
		judge_shown(&r, f);
		if (i == 14)
			tap_ok(f->gated, "15 KiB wait");
	}
	tap_ok(!f->gated, "16 KiB without a name are enough");
	over(f);

	f = make(IPPROTO_TCP, 443, false);
	owned(f);
	judge_payload(&r, f, HOOK_UP, 5, true);
	tap_ok(judge_shown(&r, f) == JUDGE_PASS && !f->gated, "so is the client's end");
	over(f);

	f = make(IPPROTO_TCP, 443, false);
	owned(f);
	judge_payload(&r, f, HOOK_UP, 0, true);
	judge_shown(&r, f);
	tap_ok(f->deadline && timers_pop(r.timers, f->deadline) == f,
	       "an end without a byte does not stop the time");
	judge_timeout(&r, f);
	tap_ok(!f->gated, "... after which it is passed on");
	over(f);

	f = make(IPPROTO_TCP, 443, false);
	flow_set_inbound(f, 443, 1);
	owned(f);
	judge_payload(&r, f, HOOK_DOWN, 5, false);
	tap_ok(f->gated, "of a flow from outside, the client is the other side");
	judge_payload(&r, f, HOOK_UP, 5, false);
	judge_shown(&r, f);
	tap_ok(!f->gated, "... and the server this one");
	over(f);

	hooks.direct = true;
	f = make(IPPROTO_TCP, 443, false);
	tap_ok(owned(f) == JUDGE_PASS && !f->gated && f->rec->verdict == FLOW_ALLOW,
	       "where no hook learns names nothing waits");
	hooks.direct = false;
	f = make(IPPROTO_ICMP, 0, false);
	tap_ok(owned(f) == JUDGE_PASS && !f->gated, "an echo has no name");
	end();
}

/** too_much - a regular expression that met its limit is told of, once for each new one */
static void too_much(void)
{
	begin();
	add(POLICY_BLOCK, EXPR_F_DST_PORT, NULL, 80);
	use(1);
	told.notices = 0;
	owned(make(IPPROTO_TCP, 81, false));
	tap_is(told.notices, 0, "nothing is said of rules that could be looked at");
	limits_hit++;
	owned(make(IPPROTO_TCP, 82, false));
	tap_is(told.notices, 1, "of a regular expression that met its limit it is");
	owned(make(IPPROTO_TCP, 83, false));
	tap_is(told.notices, 1, "and not again");
	limits_hit = 0;
	end();
}

static void best_name(void)
{
	struct flow *f;

	begin();
	add(POLICY_BLOCK, EXPR_F_HOST, "dns.example", 0);
	add(POLICY_BLOCK, EXPR_F_HOST, "bad.example", 0);
	use(1);
	f = make(IPPROTO_TCP, 443, true);
	tap_ok(owned(f) == JUDGE_BLOCK && f->rec->rule == 1,
	       "the name of the DNS answer is enough to block");
	over(f);
	rules[0].text = "other.example";
	f = make(IPPROTO_TCP, 443, true);
	tap_ok(owned(f) == JUDGE_PASS && f->gated, "... but not to let payload pass");
	judge_learn(&r, f, "sni", "bad.example");
	tap_ok(judge_shown(&r, f) == JUDGE_BLOCK && f->rec->rule == 2,
	       "... that says another name");
	end();
}

static void asked(void)
{
	struct flow *f;

	begin();
	add(POLICY_ASK, EXPR_F_DST_PORT, NULL, 80);
	use(1);
	f = make(IPPROTO_TCP, 80, false);
	tap_ok(owned(f) == JUDGE_HOLD && told.events[JUDGE_EV_HELD] == 1, "held, and told");
	judge_decide(&r, f, FLOW_ALLOW);
	tap_ok(told.judged == 1 && told.say == JUDGE_PASS && !f->held && !f->deadline &&
		       f->rec->verdict == FLOW_ALLOW && told.events[JUDGE_EV_DECIDED] == 1,
	       "allowed");
	flow_set_state(r.flows, f, FLOW_JUDGED);
	flow_set_state(r.flows, f, FLOW_OPEN);
	judge_again(&r, f);
	tap_ok(!f->held && told.judged == 1, "judged again, the answer still counts");
	f = make(IPPROTO_TCP, 80, false);
	owned(f);
	judge_decide(&r, f, FLOW_BLOCK);
	tap_ok(told.say == JUDGE_BLOCK && f->rec->verdict == FLOW_BLOCK &&
		       !told.events[JUDGE_EV_CUT],
	       "blocked");
	over(f);
	f = make(IPPROTO_UDP, 80, false);
	owned(f);
	tap_ok(!timers_pop(r.timers, r.now + 4 * NSEC_PER_SEC) &&
		       timers_pop(r.timers, r.now + 5 * NSEC_PER_SEC) == f,
	       "nobody answers in time (also of UDP, whose deadlines else are idle time)");
	judge_timeout(&r, f);
	tap_ok(told.say == JUDGE_BLOCK && f->rec->verdict == FLOW_BLOCK,
	       "... then the rule's default counts");
	over(f);
	rules[0].pub.ask_default = POLICY_ALLOW;
	f = make(IPPROTO_TCP, 80, false);
	owned(f);
	judge_timeout(&r, f);
	tap_ok(told.say == JUDGE_PASS && f->rec->verdict == FLOW_ALLOW,
	       "... which may be to allow");
	end();
}

static void remembered(void)
{
	struct decision d = {.number = 3, .what = DECISION_USER, .verdict = FLOW_ALLOW, .uid = 7};
	struct flow *held, *f;

	begin();
	add(POLICY_ASK, EXPR_F_DST_PORT, NULL, 80);
	use(1);
	held = make(IPPROTO_TCP, 80, false);
	owned(held);
	d.expires = r.now + NSEC_PER_SEC;
	judge_remember(&r, &d);
	while (judge_turn(&r))
		;
	tap_ok(told.judged == 1 && told.flow == held && told.say == JUDGE_PASS &&
		       told.events[JUDGE_EV_DECIDED] == 1,
	       "a decision for a user lets go what is held");
	f = make(IPPROTO_TCP, 80, false);
	tap_ok(!judge_early(&r, f) && owned(f) == JUDGE_PASS && f->rec->by == FLOW_BY_DECISION &&
		       f->rec->rule == 3,
	       "it comes before the rules");
	r.now += 2 * NSEC_PER_SEC;
	f = make(IPPROTO_TCP, 80, false);
	tap_ok(owned(f) == JUDGE_HOLD, "its time is over");
	d = (struct decision){.number = 4, .what = DECISION_PROGRAM, .verdict = FLOW_BLOCK};
	snprintf(d.text, sizeof(d.text), "/usr/bin/curl");
	told.judged = 0;
	judge_remember(&r, &d);
	while (judge_turn(&r))
		;
	tap_ok(told.judged >= 1 && f->rec->verdict == FLOW_BLOCK && f->rec->by == FLOW_BY_DECISION,
	       "another one blocks what is open, and what is held");
	judge_forget(&r, 4);
	tap_ok(owned(make(IPPROTO_TCP, 81, false)) == JUDGE_PASS, "forgotten, it counts no more");
	end();
}

static void another_ruleset(void)
{
	struct flow *keep, *cut, *refused;

	begin();
	add(POLICY_DROP, EXPR_F_DST_PORT, NULL, 53);
	use(1);
	keep = make(IPPROTO_TCP, 80, false);
	cut = make(IPPROTO_TCP, 81, false);
	refused = make(IPPROTO_UDP, 53, false);
	owned(keep);
	owned(cut);
	tap_is(owned(refused), JUDGE_DROP, "dropped");
	refused->refused = true;
	keep->rec->up.bytes = cut->rec->up.bytes = 10;
	rules[0].num = 81;
	rules[0].pub.verdict = POLICY_BLOCK;
	judge_change(&r, open("/dev/null", O_RDONLY), 2);
	tap_ok(judge_turn(&r) && judge_turn(&r) && !told.judged && keep->rec->ruleset == 1,
	       "a ruleset that is not complete changes nothing");
	while (judge_turn(&r))
		;
	tap_ok(cut->rec->verdict == FLOW_BLOCK && cut->rec->ruleset == 2 &&
		       told.events[JUDGE_EV_CUT] == 1,
	       "one that blocks an open flow ends it, and tells why");
	tap_ok(keep->rec->verdict == FLOW_ALLOW && keep->rec->ruleset == 2, "others go on");
	tap_ok(told.judged == 2 && told.flow == refused && told.say == JUDGE_PASS,
	       "and what was refused may pass");
	unpack_fails = -ENOMEM;
	rules[0].num = 80;
	judge_change(&r, open("/dev/null", O_RDONLY), 3);
	while (judge_turn(&r))
		;
	tap_ok(keep->rec->ruleset == 2 && told.notices == 1,
	       "one that fails changes nothing, and is said");
	unpack_fails = 0;
	end();
}

static void limits(void)
{
	struct flow *f[3];

	begin();
	add_what(POLICY_LIMIT, POLICY_PER_USER, 2);
	use(1);
	for (int i = 0; i < 3; i++)
		f[i] = make(IPPROTO_TCP, 80, false);
	tap_ok(owned(f[0]) == JUDGE_PASS && owned(f[1]) == JUDGE_PASS, "two flows of a user");
	tap_ok(owned(f[2]) == JUDGE_BLOCK && f[2]->rec->by == FLOW_BY_RULE && f[2]->rec->rule == 1,
	       "the third is refused by the limit");
	over(f[2]);
	judge_change(&r, open("/dev/null", O_RDONLY), 2);
	while (judge_turn(&r))
		;
	tap_ok(!told.judged && f[0]->rec->ruleset == 2, "judged again, those that are in stay");
	f[2] = make(IPPROTO_TCP, 80, false);
	tap_is(owned(f[2]), JUDGE_BLOCK, "... and count");
	over(f[2]);
	over(f[0]);
	f[2] = make(IPPROTO_TCP, 80, false);
	tap_is(owned(f[2]), JUDGE_PASS, "one has ended, another one may begin");
	over(f[2]);
	curl.uid = 8;
	f[2] = make(IPPROTO_TCP, 80, false);
	f[2]->rec->owner_uid = 8;
	f[2]->owner = &curl;
	flow_set_state(r.flows, f[2], FLOW_OWNED);
	tap_is(judge_owned(&r, f[2]), JUDGE_PASS, "another user has a count of its own");
	curl.uid = 7;
	end();
}

static void quotas(void)
{
	struct rule *q;
	struct flow *f;

	begin();
	q = add_what(POLICY_QUOTA, POLICY_PER_RULE, 1000);
	q->pub.period = 10 * NSEC_PER_SEC;
	q->pub.text = "quota of this test";
	use(1);
	f = make(IPPROTO_TCP, 80, false);
	tap_ok(owned(f) == JUDGE_PASS && f->metered, "a quota counts");
	tap_is(judge_allowance(&r, f, 600), 600, "600 of 1000 may pass");
	judge_spend(&r, f, 600);
	tap_is(judge_allowance(&r, f, 600), 400, "... and then 400");
	judge_spend(&r, f, 400);
	tap_is(judge_allowance(&r, f, 1), 0, "... and no more");
	judge_spent(&r, f);
	tap_ok(f->rec->verdict == FLOW_BLOCK && f->rec->rule == 1 && told.events[JUDGE_EV_CUT] == 1,
	       "the record names it");
	over(f);
	f = make(IPPROTO_TCP, 80, false);
	tap_is(owned(f), JUDGE_BLOCK, "a new flow is refused");
	over(f);
	judge_free(r.judge); /* the worker dies, another one takes over */
	r.judge = judge_new(&(struct judge_config){.tally = tally, .learnt = learnt});
	use(2);
	f = make(IPPROTO_TCP, 80, false);
	tap_is(owned(f), JUDGE_BLOCK, "... also by a later worker");
	over(f);
	r.now += 11 * NSEC_PER_SEC;
	f = make(IPPROTO_TCP, 80, false);
	tap_ok(owned(f) == JUDGE_PASS && judge_allowance(&r, f, 5000) == 1000,
	       "the next period has all of it again");
	end();
}

static const struct tally_slot *counted(const struct rule *rule)
{
	uint64_t id[2];

	tally_rule(tally, rule->pub.file, rule->pub.text, id);
	return tally_find(tally, id, sizeof(id));
}

static void counts(void)
{
	struct rule *log, *pass;
	struct flow *f;

	begin();
	log = add_what(POLICY_LOG, POLICY_PER_RULE, 0);
	add_what(POLICY_TAG, POLICY_PER_RULE, 0);
	pass = add(POLICY_ALLOW, EXPR_F_DST_PORT, NULL, 80);
	log->pub.text = "log of this test";
	pass->pub.text = "allow of this test";
	use(1);
	f = make(IPPROTO_TCP, 80, false);
	owned(f);
	tap_ok(told.events[JUDGE_EV_LOG] == 1 && told.log_rule == 1, "a rule that logs is told of");
	tap_ok(judge_tag(&r, f, "a-name") == 0 && learnt[f->index].used == 3 + 6, "a tag once");
	judge_again(&r, f);
	tap_ok(told.events[JUDGE_EV_LOG] == 1 && counted(log)->hits == 1 &&
		       counted(pass)->hits == 1,
	       "judged again, it is the same hit");
	f->rec->up.bytes = 10;
	f->rec->down.bytes = 20;
	judge_again(&r, f);
	tap_ok(counted(pass)->up == 10 && counted(log)->down == 20 && f->rec->counted[1] == 20,
	       "bytes are credited to all rules that it passed by");
	f->rec->up.bytes = 15;
	over(f);
	tap_ok(counted(pass)->up == 15 && counted(pass)->down == 20, "... the rest at its end");
	end();
}

static void hook_rules(void)
{
	struct flow *f;

	begin();
	add_what(POLICY_HOOK, POLICY_PER_RULE, 0);
	use(1);
	f = make(IPPROTO_TCP, 80, false);
	tap_ok(owned(f) == JUDGE_PASS && told.picks == 1, "a rule gives the flow to a hook");
	told.pick_rc = -ENOENT;
	f = make(IPPROTO_TCP, 80, false);
	tap_is(owned(f), JUDGE_BLOCK, "where there is none it does not pass");
	told.pick_rc = 0;
	rules[0].field = EXPR_F_SNI;
	rules[0].text = "x.example";
	f = make(IPPROTO_TCP, 80, false);
	tap_ok(owned(f) == JUDGE_PASS && f->gated && f->rec->verdict == FLOW_ALLOW,
	       "allowed, but nobody knows yet by which hooks it must pass: it waits");
	end();

	begin();
	add_what(POLICY_HOOK, POLICY_PER_RULE, 0);
	add(POLICY_ASK, EXPR_F_DST_PORT, NULL, 80);
	use(2);
	f = make(IPPROTO_TCP, 80, false);
	tap_ok(owned(f) == JUDGE_HOLD && !told.picks,
	       "a flow that is held is not given to one yet");
	judge_decide(&r, f, FLOW_ALLOW);
	tap_ok(told.say == JUDGE_PASS && told.picks == 1, "... but when it was let in");
	end();

	begin();
	add(POLICY_ASK, EXPR_F_SNI, "x.example", 0);
	use(1);
	f = make(IPPROTO_TCP, 80, false);
	owned(f);
	judge_learn(&r, f, "sni", "x.example");
	judge_shown(&r, f);
	tap_ok(f->held && f->gated && told.gate_closed,
	       "asked about by what it has sent: this goes on waiting");
	judge_payload(&r, f, HOOK_UP, 100, false);
	tap_ok(f->deadline, "... and not for ever");
	judge_decide(&r, f, FLOW_ALLOW);
	tap_ok(!f->held && !f->gated && !told.gate_closed, "... until somebody has decided");
	end();

	begin();
	told.unsure = true;
	f = make(IPPROTO_TCP, 80, false);
	tap_ok(owned(f) == JUDGE_PASS && f->gated && told.gate_closed,
	       "without rules, too, when the scope of a hook is not known");
	end();
}

static void another_owner(void)
{
	static struct owner sh = {.id = 2, .uid = 7, .pid = 100, .comm = "sh", .exe = "/bin/sh"};
	struct flow *f;

	begin();
	add(POLICY_BLOCK, EXPR_F_COMM, "sh", 0);
	use(1);
	f = make(IPPROTO_TCP, 80, false);
	tap_is(owned(f), JUDGE_PASS, "curl may");
	f->owner = &sh;
	judge_again(&r, f);
	tap_ok(told.judged == 1 && told.say == JUDGE_BLOCK && f->rec->verdict == FLOW_BLOCK,
	       "its process has become sh, which may not");
	judge_kill(&r, make(IPPROTO_TCP, 80, false));
	tap_ok(told.flow->rec->by == FLOW_BY_KILL && told.say == JUDGE_BLOCK, "a killed one ends");
	end();
}

int main(void)
{
	tally = calloc(1, sizeof(*tally));
	if (!tally || tally_start(tally))
		return 1;
	without_rules();
	verdicts();
	early();
	gate();
	too_much();
	best_name();
	asked();
	remembered();
	another_ruleset();
	limits();
	quotas();
	counts();
	hook_rules();
	another_owner();
	free(tally);
	return tap_done();
}
