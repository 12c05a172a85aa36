/* SPDX-License-Identifier: MIT */
/*
 * plan: options in, rules and nft text out. With arguments it prints the plan of these options
 * of `weir up` instead, for the test that tries plans on a real kernel: with --rules, --guard or
 * --nft in front only that part. Its worker is uid 4242, its device weir0; environment: CGROUPS
 * is where cgroup v2 is mounted, DNS a resolver whose port 53 goes to 5353.
 * LINK: src/plan.o src/select.o src/config_up.o src/config.o src/option.o
 * LINK: src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"

#define WORKER	  4242
#define WORDS_MAX 64

static struct up_config c;
static struct plan_input in;
static struct plan plan;
static char err[256], line_text[2000];
static char *words[WORDS_MAX];
static const char *conf; /* what stands in the file of options */

static int fake_user(void *ctx, const char *name, uint32_t *uid)
{
	(void)ctx;
	*uid = 1000;
	return strcmp(name, "alice") ? -ENOENT : 0;
}

static int fake_group(void *ctx, const char *name, uint32_t *gid)
{
	(void)ctx;
	*gid = 50;
	return strcmp(name, "staff") ? -ENOENT : 0;
}

static int fake_subuids(void *ctx, const char *name, uint32_t uid, struct id_range *out,
			unsigned room)
{
	(void)ctx;
	(void)name;
	(void)uid;
	(void)room;
	out[0] = (struct id_range){100000, 165535};
	return 1;
}

static int fake_unit(void *ctx, const char *unit, char *path, size_t size)
{
	(void)ctx;
	snprintf(path, size, "system.slice/%s", unit);
	return 0;
}

static int fake_read(const char *path, char **text)
{
	if (!conf)
		return -ENOENT;
	*text = strdup(strcmp(path, "/other.conf") ? conf : "user = 77\n");
	return *text ? 0 : -ENOMEM;
}

static int parse_words(int argc)
{
	static const struct select_names names = {.cgroup_mount = "/sys/fs/cgroup",
						  .user = fake_user,
						  .group = fake_group,
						  .subuids = fake_subuids,
						  .unit = fake_unit};
	static const struct up_env env = {.names = &names, .read_file = fake_read};

	config_free_up(&c);
	config_default_up(&c);
	err[0] = 0;
	return config_parse_up(&c, &env, argc, words, err, sizeof(err));
}

/** parse - @line split at blanks, "up" in front */
static int parse(const char *line)
{
	int argc = 1;

	words[0] = (char *)(uintptr_t) "up";
	snprintf(line_text, sizeof(line_text), "%s", line);
	for (char *w = strtok(line_text, " "); w && argc < WORDS_MAX - 1; w = strtok(NULL, " "))
		words[argc++] = w;
	words[argc] = NULL;
	return parse_words(argc);
}

/** make - the plan of @line */
static int make(const char *line)
{
	int rc = parse(line);

	plan_free(&plan);
	return rc ? rc : plan_make(&plan, &c, &in, err, sizeof(err));
}

/** printed - @plan as --dry-run shows it; freed with the next call */
static const char *printed(void)
{
	static char *text;
	size_t size;
	FILE *f;

	free(text);
	text = NULL;
	f = open_memstream(&text, &size);
	plan_print(&plan, f);
	fclose(f);
	return text;
}

static unsigned count(const char *what)
{
	unsigned n = 0;

	for (const char *p = printed(); (p = strstr(p, what)); p++)
		n++;
	return n;
}

/** pref_of - the pref of the first rule whose line has @what; 0: there is none */
static unsigned pref_of(const char *what)
{
	const char *text = printed(), *at = strstr(text, what);

	if (!at)
		return 0;
	while (at > text && at[-1] != '\n')
		at--;
	at = strstr(at, "pref ");
	return at ? (unsigned)atoi(at + 5) : 0;
}

static void test_fixed(void)
{
	make("--user 2000");
	tap_is(pref_of("uidrange 4242-4242 goto 1099"), 1000, "the worker comes first");
	tap_is(pref_of("fwmark 0x20000000/0x30000000 goto 1099"), 1001, "then PASS");
	tap_is(pref_of("fwmark 0x30000000/0x30000000 iif lo lookup 7771"), 1010, "REPLY");
	tap_is(pref_of("fwmark 0x10000000/0x30000000 iif lo lookup 7771"), 1080, "SELECT");
	tap_is(pref_of("nop"), 1099, "and the end");
	tap_is(pref_of("iif lo uidrange 2000-2000 lookup 7771"), 1021, "the user in between");
	tap_ok(plan.rules[0].rule.action == RULE_NOP, "the target of all gotos is made first");
	tap_is(plan.n_rules, 16, "two of each");
	tap_ok(pref_of("iif lo uidrange 2000-2000 unreachable") == 1022 &&
		       pref_of("fwmark 0x10000000/0x30000000 iif lo unreachable") == 1081,
	       "what the table has no route for has none");
	tap_is(count("unreachable default table 7771 metric 4294967295"), 2, "the table's end");
	tap_ok(strstr(plan.nft, "hook ingress device \"weir0\" priority -150; policy accept;\n"
				"\t\tmeta mark set meta mark and 0xcfffffff or 0x30000000"),
	       "REPLY is set with the other bits kept, where weir0 alone is heard");
	make("--user 2000 --table 5 --rule-base 30 --mark-bits 0");
	tap_ok(pref_of("fwmark 0x2/0x3 goto 129") == 31 && pref_of("lookup 5") == 40,
	       "table, prefs and bits as the options say");
}

/** test_guard - what a crash leaves: all that a fail-closed selector needs, nothing else */
static void test_guard(void)
{
	unsigned open = 0, closed = 0;

	make("--user 2000 --user 3000 --fail-open");
	for (unsigned i = 0; i < plan.n_rules; i++) {
		const struct host_rule *r = &plan.rules[i].rule;

		if (r->has_uid && r->uid_lo == 2000)
			closed += plan.rules[i].guard;
		else if (r->has_uid)
			open += plan.rules[i].guard;
	}
	tap_ok(plan.has_guard && closed == 4 && !open, "fail-closed stays, fail-open does not");
	tap_ok(plan.routes[0].guard, "so does the route that ends the table");
	make("--fail-open --user 2000 --group staff");
	for (unsigned i = open = 0; i < plan.n_rules; i++)
		open += plan.rules[i].guard;
	tap_ok(!plan.has_guard && !open && !plan.routes[0].guard, "all fail-open: nothing stays");
	tap_ok(!strstr(plan.guard_nft, "skgid") && strstr(plan.nft, "meta skgid { 50 }"),
	       "... and is marked by the table that goes");
	make("--group staff");
	tap_ok(strstr(plan.guard_nft, "meta skgid { 50 } goto select") &&
		       strstr(plan.guard_nft, "meta skgid { 50 } goto refuse") &&
		       !strstr(plan.nft, "skgid"),
	       "fail-closed is marked and dropped by the table that stays");
}

static void test_ways(void)
{
	static const struct {
		const char *line;
		bool rule;
	} all[] = {
		{"--user 5", true},
		{"--user alice --proto tcp --to 10.0.0.0/8 --port 80", true},
		{"--user 5 --except user=5 --except to=::/0 --except proto=udp --except port=1",
		 true},
		{"--user 0", false},
		{"--user 0-9", false},
		{"--all", false},
		{"--group staff", false},
		{"--user 5 --except group=staff", false},
		{"--user 5 --except mark=1", false},
		{"--user 5 --except cgroup=/a", false},
		{"--mark 1", false},
		{"--cgroup /a", false},
		{"--netns x", true},
	};

	in.cgroup_mount = "/sys/fs/cgroup";
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int rc = make(all[i].line);

		tap_ok(!rc && plan.by_rule[0] == all[i].rule, "%s: by %s", all[i].line,
		       all[i].rule ? "rule" : "mark");
	}
}

static void test_narrowing(void)
{
	make("--user alice --to 10.1.2.3/8");
	tap_ok(count("to 10.0.0.0/8 iif lo uidrange 1000-1000 lookup") == 1 &&
		       count("to 10.0.0.0/8 iif lo uidrange 100000-165535 lookup") == 1,
	       "each range of uids, to the network");
	tap_is(count("ip -6 rule add pref 1021"), 0, "an IPv4 network takes no IPv6");
	make("--user 5 --proto icmp");
	tap_ok(count("ipproto 1 lookup") == 1 && count("ipproto 58 lookup") == 1,
	       "ICMP of both families");
	make("--user 5 --port 53 --port 80-90 --port 85-100");
	tap_ok(count("ipproto 6 dport 53-53 lookup") == 2 &&
		       count("ipproto 17 dport 80-100 lookup") == 2 && count(" ipproto ") == 16,
	       "ports with their protocols, overlapping ones as one");
	make("--group staff --to 10.0.0.0/8 --to 10.1.0.0/16 --to 10.0.0.0/8 --to ::/0");
	tap_ok(strstr(plan.guard_nft, "meta skgid { 50 } ip daddr { 10.0.0.0/8 } goto select") &&
		       strstr(plan.guard_nft, "meta skgid { 50 } meta nfproto ipv6 goto select"),
	       "networks inside of others are left out, all of a family is the family");
	make("--user 0-10 --group staff --except user=7-9 --except user=9-12");
	tap_ok(strstr(plan.guard_nft, "chain guard0 {\n\t\tmeta skuid { 0-10 } goto refuse") &&
		       strstr(plan.guard_nft, "chain guard1 {\n\t\tmeta skuid { 7-9 } return\n"
					      "\t\tmeta skuid { 9-12 } return\n"),
	       "exceptions belong to the selector in front of them");
}

static void test_excepts(void)
{
	make("--user 5 --except to=10.0.0.0/8 --user 6 --user 7 --except port=22");
	tap_is(pref_of("to 10.0.0.0/8 iif lo goto 1024"), 1020, "past this selector, to the next");
	tap_is(pref_of("ipproto 6 dport 22-22 goto 1080"), 1026, "from the last to the marks");
	tap_is(pref_of("uidrange 7-7 lookup"), 1027, "its user after that");
	make("--user 5 --user 6 --except user=6");
	tap_is(pref_of("uidrange 6-6 goto 1080"), 1023, "users too");
}

static void test_many(void)
{
	char line[1500] = "";
	unsigned rules = 0;

	for (int i = 1; i <= 25; i++)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), "--user %d ", i);
	make(line);
	for (unsigned i = 0; i < 25; i++)
		rules += plan.by_rule[i];
	tap_ok(rules == 20 && pref_of("uidrange 20-20 lookup") == 1078 && !plan.by_rule[20],
	       "after twenty users by rule the others go by mark");
	snprintf(line, sizeof(line), "--user alice");
	for (int i = 0; i < 15; i++)
		snprintf(line + strlen(line), sizeof(line) - strlen(line),
			 " --to 10.%d.0.0/16 --port %d", i, 1 + 2 * i);
	tap_ok(!make(line) && !plan.by_rule[0], "so does what takes too many rules");
}

static void test_cgroups(void)
{
	in.cgroup_mount = "/sys/fs/cgroup";
	in.cgroup_exists[0] = true;
	make("--cgroup /user.slice/a --unit web");
	tap_ok(strstr(plan.guard_nft, "set cg0 {\n\t\ttype cgroupsv2\n"
				      "\t\telements = { \"user.slice/a\" }") &&
		       strstr(plan.guard_nft, "set cg1 {\n\t\ttype cgroupsv2\n\t}"),
	       "only what exists has an element");
	tap_ok(strstr(plan.guard_nft, "socket cgroupv2 level 2 @cg0 goto select"), "by level");
	tap_ok(!strstr(plan.guard_nft, "chain guard0") &&
		       strstr(plan.guard_nft, "== 0x10000000 goto refuse"),
	       "dropped by mark");
	in.cgroup_mount = "/sys/fs/cgroup/unified";
	make("--cgroup /a");
	tap_ok(strstr(plan.guard_nft, "\"unified/a\""), "mounted below the usual place");
	in.cgroup_mount = "/mnt/cg";
	make("--cgroup /a");
	tap_ok(strstr(plan.guard_nft, "\"../../../mnt/cg/a\""), "or elsewhere");
	make("--cgroup /a/b --port 5 --fail-open");
	tap_ok(strstr(plan.nft,
		      "socket cgroupv2 level 0 @cg_parents socket cgroupv2 level 1 != "
		      "@cg_known meta l4proto { tcp, udp } th dport { 5 } goto unlooked\n"
		      "\t\tsocket cgroupv2 level 1 @cg_parents socket cgroupv2 level 2 != "
		      "@cg_known meta l4proto { tcp, udp } th dport { 5 } goto unlooked\n") &&
		       !strstr(plan.guard_nft, "@cg_known"),
	       "a child not looked at, of each directory on the way, is dropped");
	tap_ok(strstr(plan.nft, "@cg_known") < strstr(plan.nft, "level 2 @cg0"),
	       "before the selected one is looked for, as sets change in between");
	in.cgroup_mount = NULL;
	tap_ok(make("--cgroup /a") == -EINVAL && strstr(err, "--cgroup /a: needs a cgroup v2"),
	       "none mounted: refused");
}

static void test_netns(void)
{
	make("--netns x --port 443");
	tap_is(count("uidrange"), 0, "another namespace: the worker's uid is anybody's there");
	tap_ok(!strstr(plan.guard_nft, "return\n\t\tmeta skuid 2990") &&
		       !strstr(plan.guard_nft, "meta skuid 2990 return"),
	       "in nft as well");
	tap_ok(count("iif lo ipproto 6 dport 443-443 lookup") == 2 &&
		       count("iif lo ipproto 17 dport 443-443 lookup") == 2,
	       "whoever sends, by rule, as there may be no other route");
}

static void test_refused(void)
{
	tap_ok(make("--mark 0x10000000") == -EINVAL && strstr(err, "--mark-bits"), "our bits");
	tap_ok(make("--mark 0/0x20000000") == -EINVAL, "in a mask too");
	tap_ok(make("--all --except mark=0x10000001/0x10000001") == -EINVAL, "in an exception");
	tap_ok(!make("--mark 0x10000000 --mark-bits 2"), "unless they are others");
	tap_ok(!make("--mark 7") &&
		       strstr(plan.guard_nft, "meta mark and 0xcfffffff == 0x00000007"),
	       "our bits do not count in a mark of the user's");
	tap_ok(make("--user 4242") == -EINVAL && strstr(err, "worker's own"), "the worker's user");
	tap_ok(!make("--user 4000-5000"), "a range that has it among others is fine");
}

static void test_dns(void)
{
	in.n_dns = 2;
	addr_parse("127.0.0.53", &in.dns[0].addr);
	in.dns[0].udp_port = 5353;
	in.dns[0].tcp_port = 5354;
	addr_parse("::1", &in.dns[1].addr);
	in.dns[1].udp_port = 5355;
	in.dns[1].tcp_port = 0;
	make("--user 5 --group staff --fail-open");
	tap_ok(strstr(plan.nft, "ip daddr 127.0.0.53 udp dport 53 notrack ip daddr set "
				"127.0.0.1 udp dport set 5353\n") &&
		       strstr(plan.nft, "ip daddr 127.0.0.53 tcp dport 53 notrack ip daddr set "
					"127.0.0.1 tcp dport set 5354\n") &&
		       strstr(plan.nft, "ip6 daddr ::1 udp dport 53 notrack ip6 daddr set ::1 udp "
					"dport set 5355\n") &&
		       !strstr(plan.nft, "dport set 0"),
	       "each resolver to its own ports");
	tap_ok(strstr(plan.nft,
		      "ip saddr 127.0.0.1 tcp sport 5354 notrack ip saddr set 127.0.0.53 tcp "
		      "sport set 53 return\n"),
	       "answers come from where it is");
	tap_ok(strstr(plan.nft, "meta skuid { 5 } goto redirect_dns") &&
		       strstr(plan.nft, "meta skgid { 50 } goto redirect_dns"),
	       "of all who are selected, however");
	in.n_dns = 0;
	make("--user 5");
	tap_ok(!strstr(plan.nft, "redirect"), "no resolver, no redirection");
}

static void test_old(void)
{
	struct addrport a = {.port = 40000}, b = {.port = 22};
	char text[200];
	int n;

	addr_parse("10.0.0.1", &a.addr);
	addr_parse("10.0.0.2", &b.addr);
	n = plan_old_text(text, sizeof(text), true, &a, &b);
	tap_ok(n == (int)strlen(text) &&
		       !strcmp(text, "add element inet weir_guard old4 { 10.0.0.1 . 40000 . "
				     "10.0.0.2 . 22 }\n"),
	       "an old connection");
	addr_parse("fd00::1", &a.addr);
	addr_parse("fd00::2", &b.addr);
	n = plan_old_text(text, sizeof(text), false, &a, &b);
	tap_ok(!strcmp(text, "delete element inet weir_guard old6 { fd00::1 . 40000 . fd00::2 . "
			     "22 }\n"),
	       "one that has ended");
	tap_is(plan_old_text(text, (size_t)n, false, &a, &b), -ENOSPC, "no room for all of it");
}

/** has_line - of chain @chain, in @text, is @line the one at @index behind the line of its hook? */
static bool has_line(const char *text, const char *chain, unsigned index, const char *line)
{
	char head[64];
	const char *at;

	snprintf(head, sizeof(head), "\tchain %s {\n", chain);
	at = text ? strstr(text, head) : NULL;
	for (unsigned i = 0; at && i < index + 2; i++) {
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	return at && !strncmp(at, "\t\t", 2) && !strncmp(at + 2, line, strlen(line)) &&
	       at[2 + strlen(line)] == '\n';
}

/** test_cost - what those pay who are not selected */
static void test_cost(void)
{
	static const struct {
		const char *line, *first;
	} all[] = {
		{"--user 5", "meta skuid != 5 return"},
		{"--user 5-9 --user 8-12", "meta skuid != 5-12 return"},
		{"--user alice", "meta skuid != 1000-165535 return"},
		{"--group staff", "meta skgid != 50 return"},
		{"--mark 7", "meta mark and 0xcfffffff != 0x00000007 return"},
		{"--user 1 --user 3 --user 5 --user 7 --user 9",
		 "meta skuid != { 1, 3, 5, 7, 9 } return"},
		{"--all --except port=22 --except user=6", "meta skuid { 6 } return"},
		{"--cgroup /a", "meta mark and 0x30000000 == 0 meta skuid != 4294967295 return"},
		{"--user 5 --group staff --fail-open", "meta skuid != 5 return"},
	};

	in.cgroup_mount = "/sys/fs/cgroup";
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		make(all[i].line);
		tap_ok(has_line(plan.guard_nft, "guard", 0, all[i].first),
		       "%s: the guard's first rule is for others", all[i].line);
		tap_ok(!strstr(printed(), " ct ") && !strstr(printed(), "\tct ") &&
			       !strstr(printed(), "type nat"),
		       "... and nothing tracks connections");
	}
	make("--user alice");
	tap_ok(has_line(plan.guard_nft, "guard", 1, "meta skuid 1001-99999 return"),
	       "users in between are told by a second one");
	make("--user 5");
	tap_ok(has_line(plan.guard_nft, "output", 0, "meta skuid != 5 return") &&
		       !plan.output_for_kept,
	       "the chain in the output hook opens with it, too");
	in.steered = true;
	make("--user 5");
	tap_ok(plan.output_for_kept && !strstr(plan.guard_nft, "hook output") &&
		       has_line(plan.keep_nft, "output", 0, "meta skuid != 5 return") &&
		       strstr(plan.unkeep_nft, "delete chain inet weir_guard output\n"),
	       "without servers to be answered for it is there for old connections only");
	make("--group staff");
	tap_ok(strstr(plan.guard_nft, "hook output") && !strstr(plan.guard_nft, "goto pass_answer"),
	       "what goes by mark needs it always");
	make("--all");
	tap_ok(strstr(plan.guard_nft, "goto pass_answer\n") &&
		       strstr(plan.nft, "chain answers {\n\t\ttype route hook output priority "
					"-151"),
	       "root's servers answer after a crash, by weir0 before it");
	tap_ok(strstr(plan.guard_nft, "0x30000000 tcp flags & (syn | ack) != syn | ack return\n"),
	       "... and are remembered for what has no owner yet");
	make("--all --fail-open");
	tap_ok(strstr(plan.nft, "update @ours4") < strstr(plan.nft, "chain answers") &&
		       strstr(strstr(plan.nft, "chain answer {"), "update @ours6"),
	       "... by the open one's table, too");
	in.steered = false;
	make("--all");
	tap_ok(!strstr(plan.nft, "chain answers"), "... where that takes them over");
}

static void test_options(void)
{
	conf = NULL;
	tap_ok(!parse("--user 5") && c.table == 7771 && c.rule_base == 1000 && c.mark_bits == 28 &&
		       !strcmp(c.worker_user, "weir") && !strcmp(c.runtime_dir, "/run/weir") &&
		       !c.dns_pass && !c.link_local_pass && !c.take_over && !c.dry_run &&
		       c.base.max_flows == 65536 && c.base.n_addresses == 2,
	       "the defaults are those of --help");
	tap_ok(!parse("--user 5 --dns pass --link-local=pass --take-over --dry-run --worker-user w "
		      "--runtime-dir /x --address 192.0.2.1 -q --lockdown") &&
		       c.dns_pass && c.link_local_pass && c.take_over && c.dry_run && c.lockdown &&
		       !strcmp(c.worker_user, "w") && !strcmp(c.runtime_dir, "/x") &&
		       c.base.n_addresses == 2 && c.base.quiet,
	       "each of them");
	tap_is(parse("--help"), 1, "--help");
	tap_is(parse("--config /none --help"), 1, "--help wins over a file that is not there");
}

static void test_bad_options(void)
{
	static const struct {
		const char *line, *says;
	} bad[] = {
		{"", "nothing is selected"},
		{"--user 5 x", "not an option: x; see weir up --help"},
		{"--user 5 -- x", "not an option: x"},
		{"--nosuch", "unknown option --nosuch; see weir up --help"},
		{"--map-root", "unknown option --map-root"},
		{"--user", "--user: a value is missing"},
		{"--user 5-4", "--user: not '5-4'; allowed: a user's name"},
		{"--user 5 --dns no", "--dns: not 'no'; allowed: capture or pass"},
		{"--user 5 --link-local x", "--link-local: not 'x'"},
		{"--table 254", "--table: not '254'"},
		{"--table 0", "--table: not '0'"},
		{"--rule-base 0", "--rule-base: not"},
		{"--rule-base 32666", "--rule-base: not"},
		{"--mark-bits 31", "--mark-bits: not"},
		{"--runtime-dir x", "--runtime-dir: not 'x'"},
		{"--mtu 1279", "--mtu: not"},
		{"--user 5 --address 10.0.0.1 --address 10.0.0.2", "--address: one of each"},
		{"--config= --user 5", "--config: not ''"},
		{"--config /none --user 5", "--config /none: No such file"},
		{"--user carol", "--user carol: there is no such user"},
	};

	conf = NULL;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!tap_ok(parse(bad[i].line) == -EINVAL &&
				    !strncmp(err, bad[i].says, strlen(bad[i].says)),
			    "bad: '%s'", bad[i].line))
			printf("# says: %s\n", err);
}

static void test_file(void)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"user = 5\nnosuch = 1\n", "/etc/weir/weir.conf:2: unknown option nosuch"},
		{"# x\n\n\t user\n", "/etc/weir/weir.conf:3: user: a value is missing"},
		{"all = 1\n", "/etc/weir/weir.conf:1: all: takes no value"},
		{"user = 5-4", "/etc/weir/weir.conf:1: --user: not '5-4'"},
		{"config = /other.conf", "/etc/weir/weir.conf:1: unknown option config"},
		{"no-config", "/etc/weir/weir.conf:1: unknown option no-config"},
		{"help", "/etc/weir/weir.conf:1: unknown option help"},
		{"--user = 5", "/etc/weir/weir.conf:1: unknown option --user"},
		{"= 5", "/etc/weir/weir.conf:1: unknown option "},
		{"\x1b[31m", "/etc/weir/weir.conf:1: unknown option ?[31m"},
	};

	conf = " user=alice \r\n# a comment\n  except =  to=10.0.0.0/8\t\nfail-open\nhook = count=a b";
	tap_ok(!parse("") && c.select.n == 1 && c.select.list[0].n_excepts == 1 &&
		       c.select.list[0].fail_open && c.base.n_hooks == 1 &&
		       !strcmp(c.base.hooks[0], "count=a b"),
	       "names, values, flags, blanks and comments; the last line needs no end");
	tap_ok(!parse("--port 22 --user 9") && c.select.n == 2 &&
		       c.select.list[0].narrow.n_ports == 1,
	       "the command line goes on where the file ends");
	tap_ok(!parse("--no-config --user 9") && c.select.n == 1 &&
		       c.select.ranges[c.select.list[0].ids.first].lo == 9,
	       "--no-config: without it");
	tap_ok(!parse("--config /other.conf") && c.select.ranges[0].lo == 77, "another file");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		conf = bad[i].text;
		if (!tap_ok(parse("--user 1") == -EINVAL &&
				    !strncmp(err, bad[i].says, strlen(bad[i].says)),
			    "bad file: %s", bad[i].says))
			printf("# says: %s\n", err);
	}
	conf = NULL;
}

/** print - the plan of the options in @argv, or one part of it */
static int print(int argc, char **argv)
{
	const char *part = argv[1], *dns = getenv("DNS");
	int rc;

	if (!strcmp(part, "--rules") || !strcmp(part, "--guard") || !strcmp(part, "--nft")) {
		argc--;
		argv++;
	}
	for (int i = 0; i <= argc && i < WORDS_MAX; i++)
		words[i] = argv[i];
	in.cgroup_mount = getenv("CGROUPS");
	memset(in.cgroup_exists, 1, sizeof(in.cgroup_exists));
	if (dns && !addr_parse(dns, &in.dns[0].addr)) {
		in.n_dns = 1;
		in.dns[0].udp_port = in.dns[0].tcp_port = 5353;
	}
	rc = argc < WORDS_MAX ? parse_words(argc) : -E2BIG;
	if (!rc)
		rc = plan_make(&plan, &c, &in, err, sizeof(err));
	if (rc)
		fprintf(stderr, "%s\n", err);
	else if (!strcmp(part, "--guard"))
		printf("%s%s", plan.guard_nft, plan.keep_nft);
	else if (!strcmp(part, "--nft"))
		fputs(plan.nft, stdout);
	else if (!strcmp(part, "--rules"))
		fputs(strstr(printed(), "\n# rules\n") + 9, stdout);
	else
		plan_print(&plan, stdout);
	plan_free(&plan);
	config_free_up(&c);
	return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
	in = (struct plan_input){.worker_uid = WORKER, .dev = "weir0"};
	if (argc > 1)
		return print(argc, argv);
	test_fixed();
	test_guard();
	test_ways();
	test_narrowing();
	test_excepts();
	test_many();
	test_cgroups();
	test_netns();
	test_refused();
	test_dns();
	test_old();
	test_cost();
	test_options();
	test_bad_options();
	test_file();
	plan_free(&plan);
	config_free_up(&c);
	return tap_done();
}
