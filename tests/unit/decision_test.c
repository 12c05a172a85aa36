/* SPDX-License-Identifier: MIT */
/*
 * facts and decision: a flow as expressions see it, and answers that count for others.
 * LINK: src/decision.o src/facts.o src/learnt.o src/flow.o src/expr_field.o src/base/addr.o
 * LINK: src/base/hash.o src/base/log.o src/base/util.o
 */
#include "decision.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "../lib/tap.h"

static struct owner curl = {.uid = 7,
			    .gid = 8,
			    .pid = 9,
			    .start_ns = 10,
			    .comm = "curl",
			    .exe = "/usr/bin/curl",
			    .cgroup = "/user.slice/user@7.service/app.slice/a \"b\".scope/below",
			    .parents_len = 2,
			    .parents = {{1, "sh", ""}, {2, "init", "/sbin/init"}}};
static struct learnt learnt;
static struct flow_rec rec;
static struct flow_facts ff = {.rec = &rec, .owner = &curl, .now = 100};

static void begin(void)
{
	rec = (struct flow_rec){
		.proto = IPPROTO_TCP, .owner_uid = 7, .state = FLOW_OPEN, .start = 40};
	addr_parse("192.0.2.1", &rec.app.addr);
	addr_parse("198.51.100.1", &rec.net.addr);
	rec.app.port = 1000;
	rec.net.port = 443;
	learnt_clear(&learnt);
	ff = (struct flow_facts){.rec = &rec, .owner = &curl, .learnt = &learnt, .now = 100};
}

static bool text(enum expr_field field, unsigned i, const char *want)
{
	struct expr_value v;

	return facts_get(&ff, field, i, &v) == EXPR_KNOWN && v.text.len == strlen(want) &&
	       !memcmp(v.text.s, want, v.text.len);
}

static bool number(enum expr_field field, uint64_t want)
{
	struct expr_value v;

	return facts_get(&ff, field, 0, &v) == EXPR_KNOWN && v.num == want;
}

static enum expr_known known(enum expr_field field, unsigned i)
{
	struct expr_value v;

	return facts_get(&ff, field, i, &v);
}

static bool state(const char *word)
{
	return number(EXPR_F_STATE, (uint64_t)expr_name_find(EXPR_F_STATE, word, strlen(word)));
}

static void test_facts(void)
{
	struct expr_value v;

	begin();
	tap_ok(number(EXPR_F_PROTO, 6) && number(EXPR_F_DST_PORT, 443) &&
		       number(EXPR_F_SRC_PORT, 1000) && number(EXPR_F_IP_VERSION, 4) &&
		       number(EXPR_F_DURATION, 60) && state("open"),
	       "the record");
	tap_ok(number(EXPR_F_UID, 7) && number(EXPR_F_GID, 8) && number(EXPR_F_PID, 9) &&
		       text(EXPR_F_COMM, 0, "curl") && text(EXPR_F_EXE, 0, "/usr/bin/curl"),
	       "the owner");
	tap_ok(text(EXPR_F_PARENT_COMM, 0, "sh") && text(EXPR_F_ANCESTOR_COMM, 1, "init") &&
		       known(EXPR_F_ANCESTOR_COMM, 2) == EXPR_ABSENT,
	       "ancestors");
	tap_ok(text(EXPR_F_ANCESTOR_EXE, 0, "/sbin/init") &&
		       known(EXPR_F_ANCESTOR_EXE, 1) == EXPR_ABSENT,
	       "... one whose executable is unknown is left out");
	tap_ok(text(EXPR_F_UNIT, 0, "a \"b\".scope"), "the innermost unit");
	rec.inbound = 1;
	tap_ok(number(EXPR_F_DST_PORT, 1000) && number(EXPR_F_SRC_PORT, 443), "src opened it");
	begin();
	rec.verdict = FLOW_HELD;
	tap_ok(state("held") && number(EXPR_F_VERDICT, 4), "held is a state");
	rec.proto = IPPROTO_ICMP;
	tap_ok(known(EXPR_F_DST_PORT, 0) == EXPR_ABSENT, "an echo has no port");
	ff.owner = NULL;
	rec.owner_uid = (uint32_t)-1;
	tap_ok(known(EXPR_F_COMM, 0) == EXPR_ABSENT && known(EXPR_F_UID, 0) == EXPR_ABSENT,
	       "no owner");
	ff.owner_pending = true;
	tap_ok(known(EXPR_F_COMM, 0) == EXPR_NOT_YET && known(EXPR_F_UID, 0) == EXPR_NOT_YET &&
		       known(EXPR_F_DST_IP, 0) == EXPR_KNOWN,
	       "not known yet");

	begin();
	ff.names_pending = true;
	tap_ok(known(EXPR_F_SNI, 0) == EXPR_NOT_YET && known(EXPR_F_HOST, 0) == EXPR_NOT_YET &&
		       known(EXPR_F_TAG, 0) == EXPR_ABSENT,
	       "names may come; tags are there or not");
	ff.dns_name = "dns.example";
	tap_ok(text(EXPR_F_HOST, 0, "dns.example") && text(EXPR_F_DNS_NAME, 0, "dns.example"),
	       "by DNS");
	ff.host_pending = true;
	tap_ok(known(EXPR_F_HOST, 0) == EXPR_NOT_YET && known(EXPR_F_DNS_NAME, 0) == EXPR_KNOWN,
	       "a better one may come");
	learnt_add(&learnt, EXPR_F_SNI, "sni.example");
	tap_ok(text(EXPR_F_HOST, 0, "sni.example"), "the TLS name is better");
	learnt_add(&learnt, EXPR_F_HTTP_HOST, "http.example");
	tap_ok(text(EXPR_F_HOST, 0, "http.example"), "the HTTP name is best");
	learnt.done = 1;
	tap_ok(known(EXPR_F_ALPN, 0) == EXPR_ABSENT, "nothing more will come");
	tap_ok(facts_get(&ff, EXPR_F_DST_IP, 1, &v) == EXPR_ABSENT, "no list");
}

static void test_decisions(void)
{
	struct decisions ds = {.n = 0};
	struct decision d, e;
	char rule[200];

	begin();
	ff.dns_name = "Host.example";
	tap_ok(!decision_make(&d, DECISION_PROGRAM, FLOW_ALLOW, &ff) &&
		       decision_rule(&d, rule, 200) &&
		       !strcmp(rule, "allow if exe == \"/usr/bin/curl\""),
	       "for a program: %s", rule);
	d.number = 1;
	d.expires = 200;
	tap_ok(decision_fits(&d, &ff), "it fits");
	ff.now = 200;
	tap_ok(!decision_fits(&d, &ff), "until its time is over");
	ff.now = 100;
	tap_ok(!decision_make(&e, DECISION_HOST, FLOW_BLOCK, &ff) && decision_rule(&e, rule, 200) &&
		       !strcmp(rule, "block if host == \"Host.example\""),
	       "for a host: %s", rule);
	ff.dns_name = "hOST.EXAMPLE";
	tap_ok(decision_fits(&e, &ff), "its name in any case");
	ff.dns_name = NULL;
	tap_ok(!decision_fits(&e, &ff), "not another one");
	tap_ok(!decision_make(&e, DECISION_HOST, FLOW_BLOCK, &ff) && decision_rule(&e, rule, 200) &&
		       !strcmp(rule, "block if dst.ip == 198.51.100.1"),
	       "without a name: %s", rule);
	ff.names_pending = true;
	tap_is(decision_make(&e, DECISION_HOST, FLOW_BLOCK, &ff), -ENODATA,
	       "... which may still come");
	tap_ok(!decision_make(&e, DECISION_PROCESS, FLOW_BLOCK, &ff) && decision_fits(&e, &ff) &&
		       !decision_rule(&e, rule, 200),
	       "for a process: no rule");
	e.start_ns++;
	tap_ok(!decision_fits(&e, &ff), "another process of the same number");
	ff.owner = NULL;
	tap_is(decision_make(&e, DECISION_PROGRAM, FLOW_BLOCK, &ff), -ENODATA,
	       "nobody knows which");

	ff.owner = &curl;
	decisions_add(&ds, &d);
	d.number = 2;
	d.verdict = FLOW_BLOCK;
	tap_ok(!decisions_add(&ds, &d) && ds.n == 1 && decisions_find(&ds, &ff)->number == 2,
	       "a new one for the same takes the place of the old one");
	tap_ok(decisions_of_owner(&ds), "it depends on the owner");
	decisions_expire(&ds, 300);
	tap_ok(!ds.n && !decisions_find(&ds, &ff), "expired");
	d.expires = 0;
	for (unsigned i = 1; i <= DECISIONS_MAX; i++) {
		d.what = DECISION_USER;
		d.uid = d.number = i;
		decisions_add(&ds, &d);
	}
	d.uid = 100000;
	tap_is(decisions_add(&ds, &d), -ENOSPC, "there is a bound");
	tap_ok(decisions_remove(&ds, 7) && !decisions_remove(&ds, 7), "one is removed");
	decisions_free(&ds);
	memset(d.text, 0, sizeof(d.text));
	d.what = DECISION_PROGRAM;
	strcpy(d.text, "/a\"b\\c");
	tap_ok(decision_rule(&d, rule, 200) && !strcmp(rule, "block if exe == \"/a\\\"b\\\\c\""),
	       "quoted: %s", rule);
	strcpy(d.text, "/a\nb");
	tap_ok(!decision_rule(&d, rule, 200), "what can't be written is no rule");
}

int main(void)
{
	test_facts();
	test_decisions();
	return tap_done();
}
