/* SPDX-License-Identifier: MIT */
/*
 * policy: files of rules in, judgements out.
 * LINK: src/policy.o src/policy_file.o src/policy_rule.o src/policy_set.o src/policy_judge.o
 * LINK: src/policy_explain.o src/policy_index.o src/nameset.o src/prefixset.o src/numset.o
 * LINK: src/base/addr.o src/base/hash.o src/base/util.o src/expr.o src/expr_build.o
 * LINK: src/expr_check.o src/expr_error.o src/expr_field.o src/expr_flags.o src/expr_glob.o
 * LINK: src/expr_lex.o src/expr_literal.o src/expr_parse.o src/expr_print.o src/expr_regex.o
 * LINK: src/expr_required.o src/expr_values.o
 */
#include "policy.h"

#include <stdio.h>

#include "../lib/tap.h"
#include "failing_alloc.h"
#include "policy_world.h"

static struct policy_judgement g;

/** judge - load @rules (NULL: as before) and judge the flow of @words */
static void judge(const char *rules, const char *words)
{
	static struct policy *p;

	if (rules) {
		policy_free(p);
		p = world_load(rules);
		if (!p) {
			printf("# %s\n", world_err);
			abort();
		}
	}
	policy_judge(p, world_get, world_flow(words), &g);
}

/* --- errors ------------------------------------------------------------------------------------
 */

static void test_errors(void)
{
	static const struct {
		const char *rules, *says;
	} bad[] = {
		{"frobnicate\n", "r:1:1: no such action; there are allow"},
		{"allow\n  block iff\n",
		 "r:2:9: block has no parameter iff\n  block iff\n        ^^^"},
		{"block if\n", "r:1:9: "},
		{"block if dst.port == example.org\n", "r:1:22: "},
		{"block if dst.port == \\\n  example.org\n", "r:2:3: "},
		{"\n\n  block if user == carol # who?\n", "r:3:20: "},
		{"block if host in ads\n", "r:1:18: "},
		{"hook\n", "r:1:1: hook needs the name of a hook"},
		{"hook a/b\n", "r:1:6: hook takes the name of a hook"},
		{"hook a b c\n", "r:1:10: hook has no parameter c"},
		{"log loud\n", "r:1:5: log takes error, warn, note or debug"},
		{"log\n", "r:1:1: log needs error"},
		{"tag a b\n", "r:1:7: tag has no parameter b"},
		{"tag \"a b\"\n", "r:1:5: tag takes a name"},
		{"limit\n", "r:1:1: limit needs flows=NUMBER"},
		{"limit flows=0\n", "r:1:7: limit takes flows=NUMBER"},
		{"limit flows=4294967296\n", "r:1:7: limit takes"},
		{"limit flows=18446744073709551617\n", "r:1:7: limit takes"},
		{"limit flows=x\n", "r:1:7: limit takes"},
		{"limit flows=1k\n", "r:1:7: limit takes"},
		{"limit flows=1 flows=2\n", "r:1:15: flows is given twice"},
		{"limit flows=1 per\n", "r:1:15: limit takes per user"},
		{"limit flows=1 per planet\n", "r:1:19: limit takes per user"},
		{"limit flows=1 per user per host\n", "r:1:24: per is given twice"},
		{"quota per user\n", "r:1:1: quota needs bytes=SIZE"},
		{"quota bytes=10zb\n", "r:1:7: quota takes bytes=SIZE"},
		{"quota bytes=18446744073709551615kb\n", "r:1:7: quota takes bytes=SIZE"},
		{"quota bytes=1 period=7\n", "r:1:15: quota takes a time"},
		{"ask timeout=0s\n", "r:1:5: ask takes a time"},
		{"ask timeout=s\n", "r:1:5: ask takes a time"},
		{"ask default=ask\n", "r:1:5: ask takes allow, block, drop or reset"},
		{"allow \"x\n", "r:1:7: this quote is not closed"},
		{"default\n", "r:1:8: an action is missing"},
		{"default tag x\n", "r:1:1: a default decides"},
		{"default allow if uid == 1\n", "r:1:15: a default has no condition"},
		{"default allow\ndefault block\n", "r:2:1: the default is stated at r:1 already"},
		{"include\n", "r:1:1: include needs the name of a file"},
		{"include x y\n", "r:1:11: nothing may follow"},
		{"include none\n", "r:1:9: none can't be read: No such file"},
		{"include r\n", "r:1:9: this file would include itself"},
		{"include d/up\n", "d/up:2:9: this file would include itself"},
		{"include d/bad\n", "d/bad:1:1: no such action"},
		{"set\n", "r:1:4: a set needs a name"},
		{"set 9 = {}\n", "r:1:5: a set needs a name"},
		{"set a.b = {}\n", "r:1:5: a set needs a name"},
		{"set a {}\n", "r:1:7: = is missing here"},
		{"set a = \n", "r:1:9: a set is { ELEMENTS } or file"},
		{"set a = list x\n", "r:1:9: a set is { ELEMENTS } or file"},
		{"set a = file\n", "r:1:13: the name of a file is missing"},
		{"set a = file none\n", "r:1:14: none can't be read"},
		{"set a = { x\n", "r:2:1: } at the end of the set is missing"},
		{"set a = { x } y\n", "r:1:15: a set is of type"},
		{"set a = { x } host y\n", "r:1:20: nothing may follow a set"},
		{"set a = { x, \"y } \n", "r:1:14: this quote is not closed"},
		{"set a = { 1, 2 }\nset a = { 3 }\n", "r:2:5: there is a set of this name at r:1"},
		{"set a = { 1, x } number\n", "r:1:14: not a number"},
		{"set a = { 1.2.3.4\n, x } address\n", "r:2:3: not an address"},
		{"set a = { a.b, c/d } host\n", "r:1:16: not a host name"},
		{"set a = file mixed\n", "mixed:3:2: not a host name"},
		{"set a = file d/numbers address\n", "d/numbers:1:1: not an address"},
		{"set a = { 80 }\nblock if host in a\n", "r:2:18: "},
		{"include \"a\tb\"\n", "r:1:11: a control character"},
		{"set a = file \"a\033[0m\"\n", "r:1:16: a control character"},
		{"tag \xff\n", "r:1:5: tag takes"},
	};

	world_file("d/up", "tag x\ninclude up\n");
	world_file("d/bad", "nothing");
	world_file("d/numbers", "80\n");
	world_file("mixed", "a.example # fine\n\n a:b.example\n");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct policy *p = world_load(bad[i].rules);

		if (!tap_ok(!p && !strncmp(world_err, bad[i].says, strlen(bad[i].says)),
			    "error: %.*s", (int)strcspn(bad[i].rules, "\n"), bad[i].rules))
			printf("# says: %s\n# not:  %s\n", world_err, bad[i].says);
		policy_free(p);
	}
}

static void test_deep(void)
{
	static char names[40][8], texts[40][32];
	struct policy *p;
	int rc;

	memset(world_files, 0, sizeof(world_files));
	for (unsigned i = 0; i < 15; i++) {
		sprintf(names[i], "f%u", i);
		sprintf(texts[i], "include f%u\n", i + 1);
		world_file(names[i], texts[i]);
	}
	world_file("f15", "allow\n");
	rc = world_load_file("f0", &p);
	tap_ok(!rc && policy_rules(p) == 1, "sixteen files within each other %s", world_err);
	policy_free(p);
	world_file("f15", "include f16\n");
	memset(&world_files[0], 0, sizeof(world_files[0]));
	world_file("f16", "allow\n");
	rc = world_load_file("f1", &p);
	tap_ok(!rc, "... from wherever");
	policy_free(p);
	world_file("f16", "include f17\n");
	rc = world_load_file("f1", &p);
	tap_ok(rc == -EINVAL && strstr(world_err, "f16:1:9: too many files within each other"),
	       "one more is refused");
	memset(world_files, 0, sizeof(world_files));
	tap_is(world_load_file("none", &p), -ENOENT, "a file that is not there");
	tap_ok(!strcmp(world_err, "none: No such file or directory"), "... is named: %s",
	       world_err);
}

/** load_long - a rule with a set of @n texts of six letters in its condition */
static struct policy *load_long(unsigned n)
{
	static char text[70000];
	size_t len = (size_t)sprintf(text, "block if comm in {a");

	for (unsigned i = 0; i < n; i++)
		len += (size_t)sprintf(text + len, ",%06u", i);
	sprintf(text + len, "}\n");
	return world_load(text);
}

static void test_bounds(void)
{
	static char text[POLICY_FILES_MAX * 20];
	struct policy *p;
	size_t n = 0;

	memset(world_files, 0, sizeof(world_files));
	world_file("/abs/none", "");
	for (unsigned i = 0; i < POLICY_FILES_MAX; i++)
		n += (size_t)sprintf(text + n, "include /abs/none\n");
	p = world_load(text);
	tap_ok(p, "as many files as may be included, by their full paths %s", world_err);
	policy_free(p);
	strcat(text, "include /abs/none\n");
	p = world_load(text);
	tap_ok(!p && strstr(world_err, "r:257:9: too many files are included"),
	       "one more is refused");
	policy_free(p);
	p = load_long(6000);
	tap_ok(p, "a long condition %s", world_err);
	policy_free(p);
	p = load_long(8000);
	tap_ok(!p && !strncmp(world_err, "r:1:9: this condition is too long\n", 34),
	       "... that is too long to be passed on in normal form: %.60s", world_err);
	policy_free(p);
}

/* --- what rules say ------------------------------------------------------------------------------
 */

static void test_rules(void)
{
	struct policy *p;
	const struct policy_rule *r;
	char text[200];

	world_file("d/inner", "tag inner if uid == 7\n");
	p = world_load("\xef\xbb\xbf# a comment\n"
		       "allow if user == alice # her\r\n"
		       "  ask timeout=5m default=drop \\\n"
		       "    if dst.port \\\n\t == 22\n"
		       "hook lua script=\"a #b.lua\",x=1 if host == \"a#b\"\n"
		       "log debug\n"
		       "include d/inner\n"
		       "limit flows=3 per user\n"
		       "quota bytes=2kib per=program period=1d\n"
		       "reset\n"
		       "\n"
		       "default drop\n"
		       "drop");
	if (!tap_ok(p && policy_rules(p) == 9, "nine rules %s", world_err))
		return;
	r = policy_rule(p, 0);
	tap_ok(r->final && r->verdict == POLICY_ALLOW && r->line == 2 && !strcmp(r->file, "r") &&
		       !strcmp(r->text, "allow if user == alice"),
	       "where it stands, and how: %s", r->text);
	policy_print(p, 0, text, sizeof(text));
	tap_ok(!strcmp(text, "allow if user == 1000"), "its normal form: %s", text);
	tap_is(policy_print(p, 0, text, 8), 21, "... has a length");
	tap_ok(!strcmp(text, "allow i"), "... and is cut at the room: %s", text);
	r = policy_rule(p, 1);
	tap_ok(r->verdict == POLICY_ASK && r->ask_timeout == 300000000000 &&
		       r->ask_default == POLICY_DROP && r->line == 3 &&
		       !strcmp(r->text, "ask timeout=5m default=drop if dst.port == 22"),
	       "on several lines: %s", r->text);
	r = policy_rule(p, 2);
	tap_ok(!r->final && r->what == POLICY_HOOK && !strcmp(r->name, "lua") &&
		       !strcmp(r->args, "script=a #b.lua,x=1") && r->line == 6,
	       "a hook: %s", r->text);
	r = policy_rule(p, 3);
	tap_ok(r->what == POLICY_LOG && r->level == 3, "a level");
	r = policy_rule(p, 4);
	tap_ok(r->what == POLICY_TAG && !strcmp(r->name, "inner") && !strcmp(r->file, "d/inner") &&
		       r->line == 1,
	       "of another file");
	r = policy_rule(p, 5);
	tap_ok(r->what == POLICY_LIMIT && r->amount == 3 && r->per == POLICY_PER_USER &&
		       r->line == 9,
	       "a limit");
	r = policy_rule(p, 6);
	tap_ok(r->what == POLICY_QUOTA && r->amount == 2048 && r->per == POLICY_PER_PROGRAM &&
		       r->period == 86400000000000,
	       "a quota");
	tap_ok(policy_rule(p, 7)->verdict == POLICY_RESET && policy_rule(p, 8)->line == 14,
	       "the last line needs no end");
	r = policy_default_rule(p);
	tap_ok(r->verdict == POLICY_DROP && r->line == 13 && !strcmp(r->text, "default drop"),
	       "the default");
	tap_ok(policy_fields(p) == (1ULL << EXPR_F_USER | 1ULL << EXPR_F_DST_PORT |
				    1ULL << EXPR_F_HOST | 1ULL << EXPR_F_UID),
	       "fields that are looked at");
	policy_free(p);
	p = world_load("");
	tap_ok(p && !policy_rules(p) && policy_default_rule(p)->verdict == POLICY_ALLOW &&
		       !policy_default_rule(p)->file,
	       "no rules: all is allowed");
	policy_free(p);
}

static void count(void *ctx, const char *text)
{
	(*(unsigned *)ctx)++;
	printf("# %s\n", text);
}

static void test_warnings(void)
{
	struct policy *p =
		world_load("tag x\nallow if uid == 1\nblock\ntag y\nallow\ndefault drop\n");
	unsigned n = 0;

	policy_warnings(p, count, &n);
	tap_is(n, 3, "two rules and the default behind one that always decides");
	policy_free(p);
	p = world_load("block if bytes.up > 10mb\n");
	n = 0;
	policy_warnings(p, count, &n);
	tap_is(n, 1, "a field that goes on changing");
	policy_free(p);
}

/* --- judging ---------------------------------------------------------------------------------- */

static void test_first_final(void)
{
	judge("allow if dst.port == 1\nblock if dst.port in {1, 2}\ndrop if dst.port == 2\nreset if "
	      "dst.port == 3\nask if dst.port == 4\n",
	      "dst.port=1");
	tap_ok(g.verdict == POLICY_ALLOW && g.rule == 1, "the first that matches");
	judge(NULL, "dst.port=2");
	tap_ok(g.verdict == POLICY_BLOCK && g.rule == 2, "... not a later one");
	judge(NULL, "dst.port=3");
	tap_ok(g.verdict == POLICY_RESET && g.rule == 4, "reset");
	judge(NULL, "dst.port=4");
	tap_ok(g.verdict == POLICY_ASK && g.rule == 5, "ask");
	judge(NULL, "dst.port=5");
	tap_ok(g.verdict == POLICY_ALLOW && !g.rule, "none: the default");
	judge("block if dst.port == 1\ndefault drop", "dst.port=5");
	tap_ok(g.verdict == POLICY_DROP && !g.rule, "... that was stated");
}

static void test_collecting(void)
{
	char rules[3000] = "";

	judge("tag a if uid == 1\nhook h if uid == 1\nlog note if uid == 2\nlimit flows=1\n"
	      "allow if uid == 1\ntag late\n",
	      "uid=1");
	tap_ok(g.n_collected == 3 && g.collected[0] == 0 && g.collected[1] == 1 &&
		       g.collected[2] == 3 && g.rule == 5,
	       "all that match, in order, up to the one that decides");
	judge(NULL, "uid=3");
	tap_ok(g.n_collected == 2 && g.collected[1] == 5 && !g.rule,
	       "... or to the end, for the default");
	judge("tag a if uid == 1\ntag b\nblock if tag == a\nallow if tag == b\ntag c\nblock if tag == c\n",
	      "uid=1");
	tap_is(g.rule, 3, "tags count in rules behind them");
	judge(NULL, "uid=2");
	tap_is(g.rule, 4, "... when they were given");
	judge("block if tag == a\ntag a\n", "uid=2");
	tap_is(g.rule, 0, "... not before");
	for (unsigned i = 0; i < POLICY_COLLECT_MAX; i++)
		strcat(rules, "tag x if uid < 3\n");
	strcat(rules, "tag y if uid == 2\nallow\n");
	judge(rules, "uid=1");
	tap_ok(g.verdict == POLICY_ALLOW && g.n_collected == POLICY_COLLECT_MAX, "as many as fit");
	judge(NULL, "uid=2");
	tap_ok(g.verdict == POLICY_BLOCK && g.rule == POLICY_COLLECT_MAX + 1,
	       "one more: blocked, by that");
}

static void test_waiting(void)
{
	judge("allow if dst.port == 22\nblock if host == a.example\nblock if uid == 0\n",
	      "dst.port=443");
	tap_ok(g.verdict == POLICY_WAIT && g.rule == 2 && g.waits == POLICY_WAITS_PAYLOAD &&
		       g.unknown == 1ULL << EXPR_F_HOST,
	       "what may still match makes wait");
	judge(NULL, "dst.port=22");
	tap_ok(g.verdict == POLICY_ALLOW && !g.waits, "... not when it is decided before");
	judge(NULL, "dst.port=443 host=b.example");
	tap_ok(g.verdict == POLICY_WAIT && g.rule == 3 && g.waits == POLICY_WAITS_OWNER,
	       "for the owner");
	judge(NULL, "dst.port=443 host=- uid=5");
	tap_ok(g.verdict == POLICY_ALLOW && !g.rule && !g.hooks_wait,
	       "what is absent does not match");
	judge("block if host == a.example and uid == 0\n", "dst.port=1");
	tap_is(g.waits, POLICY_WAITS_OWNER | POLICY_WAITS_PAYLOAD, "for both");
	judge(NULL, "uid=1");
	tap_ok(g.verdict == POLICY_ALLOW, "half of it is enough for no");
	judge("tag t if host == a\nlog note if sni != a\nlimit flows=1 if app == tls\n"
	      "quota bytes=1 if alpn == h2\nallow\n",
	      "dst.port=1");
	tap_ok(g.verdict == POLICY_ALLOW && !g.n_collected && !g.hooks_wait && !g.waits,
	       "rules that only collect let it pass");
	judge("hook h if app == http\nallow if uid == 1\n", "uid=1");
	tap_ok(g.verdict == POLICY_ALLOW && g.hooks_wait && g.waits == POLICY_WAITS_PAYLOAD,
	       "hooks do not, but for payload");
	judge(NULL, "uid=1 app=http");
	tap_ok(!g.hooks_wait && g.n_collected == 1, "... until it is known");
	judge("allow if uid == 1\nhook h if app == http\n", "uid=1");
	tap_ok(!g.hooks_wait && !g.waits, "a hook behind what decides is not waited for");
	judge("tag t if host == a\nblock if tag == t\n", "uid=1");
	tap_ok(g.verdict == POLICY_WAIT && g.rule == 2 && g.waits == POLICY_WAITS_PAYLOAD &&
		       g.unknown == 1ULL << EXPR_F_HOST,
	       "a tag that may come makes wait for what it needs");
	judge("tag t\ntag u if host == a\nblock if tag == t\n", "uid=1");
	tap_ok(g.verdict == POLICY_BLOCK, "one that is there does not");
}

static void test_sets(void)
{
	struct policy_set_info info[5];
	struct policy *p;

	world_file("d/ads", "# comment\n127.0.0.1 localhost localhost.localdomain\n"
			    "255.255.255.255 broadcasthost\nfe80::1%lo0 localhost\n"
			    "0.0.0.0 ad.example Bad.Example # two\n0.0.0.0 0.0.0.0\n"
			    "\t.tracker.example\r\n::1 ip6-loopback\n*.wild.example");
	world_file("nets", "; spam\n10.0.0.0/8 ; SBL1\n2001:db8::/32, 192.0.2.1-192.0.2.9\n");
	world_file("paths", "# programs\n/usr/bin/curl\n/opt/a b/c #1\n");
	world_file("empty", "# nothing yet\n");
	p = world_load("set ads = file \"d/ads\" host\n"
		       "set nets=file nets\n"
		       "set ports = { 80, 443 # web\n\t8000-8100,\n } \n"
		       "set progs = { curl \"wget\",{ } text # comment\n"
		       "set none = file empty\n");
	tap_ok(!p && strstr(world_err, "r:6:27:"), "a brace in braces");
	p = world_load("set ads = file \"d/ads\"\n"
		       "set nets=file nets\n"
		       "set ports = { 80, 443 # web\n\t8000-8100,\n } \n"
		       "set progs = { curl \"we\\\"get\", } # comment\n"
		       "set paths = file paths\n"
		       "set none = file empty\n"
		       "set mixed = { 80, a.example }\n"
		       "block if host in ads\n"
		       "reset if dst.ip in nets or comm in mixed\n"
		       "ask if dst.port in ports or comm in progs or exe in paths\n"
		       "drop if host in none\n");
	if (!tap_ok(p && policy_sets(p) == 7 && policy_rules(p) == 4, "seven sets %s", world_err))
		return;
	for (unsigned i = 0; i < 5; i++)
		policy_set_info(p, i, &info[i]);
	tap_ok(info[0].type == EXPR_HOSTNAME && info[0].entries == 4 &&
		       !strcmp(info[0].path, "d/ads"),
	       "host names of a hosts file (%u)", info[0].entries);
	tap_ok(info[1].type == EXPR_ADDR && info[1].entries == 3, "addresses");
	tap_ok(info[2].type == EXPR_NUMBER && info[2].entries == 3 && info[2].line == 3 &&
		       !info[2].path,
	       "numbers, on several lines");
	tap_ok(info[3].type == EXPR_TEXT && info[3].entries == 2 && info[3].line == 6, "texts");
	tap_ok(info[4].type == EXPR_TEXT && info[4].entries == 2, "paths, with blanks");
	policy_free(p);
	judge("set ads = file \"d/ads\"\nset nets=file nets\nset ports = { 80, 8000-8100 }\n"
	      "set progs = { curl, \"we\\\"get\" }\nset paths = file paths\n"
	      "block if host in ads\nreset if dst.ip in nets\nask if dst.port in ports\n"
	      "drop if comm in progs or exe in paths\n",
	      "host=BAD.example.");
	tap_is(g.verdict, POLICY_BLOCK, "a host");
	judge(NULL, "host=tracker.example");
	tap_is(g.verdict, POLICY_BLOCK, "... and one below");
	judge(NULL, "host=localhost dst.ip=192.0.2.9");
	tap_is(g.verdict, POLICY_RESET, "an address");
	judge(NULL, "host=- dst.ip=192.0.2.10 dst.port=8080");
	tap_is(g.verdict, POLICY_ASK, "a number");
	judge(NULL, "host=- dst.ip=- dst.port=79 comm=we\"get");
	tap_is(g.verdict, POLICY_DROP, "a text");
	judge(NULL, "host=- dst.ip=- dst.port=79 comm=- exe=/usr/bin/curl");
	tap_is(g.verdict, POLICY_DROP, "a path");
	judge(NULL, "dst.ip=10.0.0.1");
	tap_ok(g.verdict == POLICY_WAIT && g.rule == 1,
	       "a set waits for its field as any comparison");
}

/** set_type - the type of a list with @text in it, and how many entries; -1: refused */
static int set_type(const char *text, unsigned *entries)
{
	struct policy_set_info info;
	struct policy *p;

	world_file("list", text);
	p = world_load("set s = file list\n");
	if (!p)
		return -1;
	policy_set_info(p, 0, &info);
	*entries = info.entries;
	policy_free(p);
	return (int)info.type;
}

static void test_lists(void)
{
	unsigned n = 0;

	tap_ok(set_type("127.0.0.1 localhost\n255.255.255.255 broadcasthost\n::1 ip6-localhost\n"
			"fe80::1%lo0 localhost\nff00::0 ip6-localnet\n0.0.0.0 0.0.0.0\n\n"
			"0.0.0.0 ads.example\n",
			&n) == EXPR_HOSTNAME &&
		       n == 1,
	       "a hosts file with all that stands at the top of one");
	tap_ok(set_type("\xef\xbb\xbf"
			"ads.example\nb.example\n",
			&n) == EXPR_HOSTNAME &&
		       n == 2,
	       "a list that begins with a mark of UTF-8");
	tap_ok(set_type("\xef\xbb\xbf# ads\n10.0.0.1\n", &n) == EXPR_ADDR && n == 1,
	       "... before a comment");
	world_file("list", "# nothing now\n");
	judge("set a = file list\nset b = { }\nblock if dst.ip in a or dst.port in b or host in a\n"
	      "allow if not comm in b",
	      "dst.ip=10.0.0.1 dst.port=80 host=a comm=b");
	tap_ok(g.verdict == POLICY_ALLOW && g.rule == 2, "an empty set goes with all fields");
	tap_ok(!world_load("set c = { } host\nblock if dst.port in c") &&
		       strstr(world_err, "of host names; dst.port"),
	       "... unless its type is stated");
}

/* --- explaining ----------------------------------------------------------------------------------
 */

/** explain - what is said of a flow, one text */
static const char *explain(const char *rules, const char *words)
{
	static char *text;
	struct policy *p = world_load(rules);
	size_t size;
	FILE *f;

	free(text);
	f = open_memstream(&text, &size);
	policy_explain(p, world_get, world_flow(words), f);
	fclose(f);
	policy_free(p);
	return text;
}

static void test_explain(void)
{
	static const char rules[] = "tag web if dst.port == 80\nblock if host == a.example\ndrop\n";
	const char *text = explain(rules, "dst.port=80 host=b.example");

	tap_ok(strstr(text, "r:1: ") && strstr(text, " yes      tag web if dst.port == 80\n") &&
		       strstr(text, " no       block if host == \"a.example\"\n") &&
		       strstr(text, "=> drop, by r:3\n"),
	       "each rule, and which decides");
	text = explain(rules, "dst.port=81");
	tap_ok(strstr(text, " unknown  block") && strstr(text, "not known yet: host\n") &&
		       strstr(text, "=> wait for the first payload, by r:2\n") &&
		       !strstr(text, "drop"),
	       "what it waits for");
	text = explain("hook x if sni == a or uid == 1\n", "dst.port=80");
	tap_ok(strstr(text, "=> allow, the default when none is stated\n") &&
		       strstr(text, "payload waits for whose socket it is and the first payload"),
	       "hooks that are not decided");
	tap_ok(strstr(explain("drop if dst.port == 1\n", "uid=1"),
		      "=> wait for dst.port, by r:1\n"),
	       "what nobody waits for is named");
	tap_ok(strstr(explain("default reset", ""), "=> reset, the default of r:1\n"), "a default");
}

/** explain_all - what is said of all rules */
static const char *explain_all(const char *rules)
{
	static char *text;
	struct policy *p = world_load(rules);
	size_t size;
	FILE *f;

	free(text);
	f = open_memstream(&text, &size);
	policy_explain_rules(p, f);
	fclose(f);
	policy_free(p);
	return text;
}

static void test_explain_all(void)
{
	char many[3000] = "";

	world_file("l", "a.b\n");
	tap_ok(!strcmp(explain_all(
			       "set a = { ::1 }\nset b = { ::1, ::3 }\nset c = { 1 }\n"
			       "set d = { 1, 3 }\nset e = { x }\nset f = { x, y }\nset g = file l\n"
			       "set h = { a.b, c.d }\n"),
		       "r:1: set a: 1 range of addresses (128 bytes)\n"
		       "r:2: set b: 2 ranges of addresses (160 bytes)\n"
		       "r:3: set c: 1 range of numbers (24 bytes)\n"
		       "r:4: set d: 2 ranges of numbers (40 bytes)\n"
		       "r:5: set e: 1 text (124 bytes)\n"
		       "r:6: set f: 2 texts (128 bytes)\n"
		       "r:7: set g: 1 host name, of l (126 bytes)\n"
		       "r:8: set h: 2 host names (132 bytes)\n"
		       "default allow, as none is stated\n0 rules, 8 sets, 0 warnings\n"),
	       "sets, one and several");
	tap_ok(!strcmp(explain_all(
			       "tag x if gid == staff # !\nhook h if sni == a and uid == 1\ndrop\n"
			       "allow if bytes.up > 1kb\nlog note if bytes.up > 1kb\n"
			       "default ask timeout=1m\n"),
		       "r:1: tag x if gid == 50\n\tneeds whose socket it is\n"
		       "r:2: hook h if sni == \"a\" and uid == 1\n"
		       "\twaits for whose socket it is and the first payload\n"
		       "r:3: drop\n"
		       "r:4: allow if bytes.up > 1kb\n\tWARNING: never reached: r:3 always decides\n"
		       "r:5: log note if bytes.up > 1kb\n"
		       "\tWARNING: never reached: r:3 always decides\n"
		       "r:6: default ask timeout=1m\n\tWARNING: never reached: r:3 always decides\n"
		       "5 rules, 0 sets, 3 warnings\n"),
	       "rules, what they wait for, and warnings");
	for (unsigned i = 0; i <= POLICY_COLLECT_MAX; i++)
		strcat(many, "tag x\n");
	tap_ok(strstr(explain(many, ""), "=> block, as more than 64 rules apply before r:65\n"),
	       "too many rules that apply");
}

/* --- no memory ------------------------------------------------------------------------------- */

static void test_no_memory(void)
{
	static char text[16000];
	int rc = -ENOMEM;
	struct policy *p;
	long n;

	if (!FAILING_ALLOC) {
		tap_skip("no memory", "the sanitizer has its own malloc");
		return;
	}
	sprintf(text,
		"set a = { x.y, z.y }\nset b = file nets\nset c = { 1 }\ninclude d/inner\n"
		"tag x if host in a\nblock if dst.ip in b \\\n and host ~ \"*.z\"\n"
		"ask timeout=3s if dst.port in c\nhook h args=%015000d if uid == 1\ndefault drop\n",
		0);
	world_file("r", text);
	for (n = 1; rc == -ENOMEM && n < 1000; n++) {
		fail_in = n;
		rc = world_load_file("r", &p);
		fail_in = 0;
		if (rc == -ENOMEM && strcmp(world_err, "r: no memory") != 0)
			break;
	}
	tap_ok(!rc && n > 30, "each allocation that fails is reported (%ld)", n - 2);
	if (!rc)
		policy_free(p);
}

int main(void)
{
	test_errors();
	test_deep();
	test_bounds();
	test_rules();
	test_warnings();
	test_first_final();
	test_collecting();
	test_waiting();
	test_sets();
	test_lists();
	test_explain();
	test_explain_all();
	test_no_memory();
	return tap_done();
}
