/* SPDX-License-Identifier: MIT */
/*
 * The journal's text: what is written can be read, what is not ours is refused, and what a crash
 * cut short is passed over, wherever it was cut.
 *
 * LINK: src/change.o src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "change.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

#include "../lib/tap.h"

/* Lines as change_format() writes them, so that they come back the same. */
static const char *const good[] = {
	"rule v4 pref=1000 goto=1099 uid=999-999",
	"rule v6 pref=1099 nop",
	"guard rule v4 pref=1020 lookup=7771 uid=2000-2999 iif=lo",
	"guard rule v6 pref=4294967295 lookup=4294967295 uid=0-4294967295",
	"rule v4 pref=0 lookup=254 mark=0x10000000/0x30000000",
	"rule v4 pref=7 lookup=7771 mark=0x0/0x1 proto=6 to=10.0.0.0/8 dport=80-443",
	"rule v6 pref=7 lookup=7771 iif=eth0.5 proto=17 to=2001:db8::/32 dport=0-53",
	"guard route v4 unreachable table=7771 dst=default metric=4294967295",
	"route v6 unicast table=7771 dst=fd00::/8 dev=12 src=fd00::1 metric=1024 mtu=1400",
	"route v4 blackhole table=1 dst=192.0.2.1/32",
	"route v4 prohibit table=1 dst=192.0.2.0/24",
	"route v6 throw table=1 dst=default",
	"guard nft weir_guard",
	"nft weir",
	"sysctl net/ipv4/fwmark_reflect old=0 new=1",
	"sysctl net/ipv4/tcp_rmem old=4096%09131072%096291456 new=1%202%203",
	"sysctl net/ipv4/x old= new=",
	"link weir0",
	"path /run/weir/control.sock",
	"path /run/a%20b%25%0a%ff",
	"table-routes 7771",
};

static const char *const bad[] = {
	"",
	" ",
	"guard",
	"guard ",
	"guard guard link weir0",
	"rules v4 pref=1 nop",
	"rule",
	"rule v5 pref=1 nop",
	"rule v4",
	"rule v4 pref=1",
	"rule v4 nop",
	"rule v4 pref=1 nop goto=5",
	"rule v4 pref=1 pref=2 nop",
	"rule v4 pref=1 nop nop",
	"rule v4 pref=1  nop",
	"rule v4 pref=1 nop ",
	"rule v4 pref= nop",
	"rule v4 pref=-1 nop",
	"rule v4 pref=+1 nop",
	"rule v4 pref=1x nop",
	"rule v4 pref=4294967296 nop",
	"rule v4 pref=99999999999999999999999999 nop",
	"rule v4 pref=1 nopx",
	"rule v4 pref=1 nop uid=5",
	"rule v4 pref=1 nop uid=6-5",
	"rule v4 pref=1 nop uid=-5",
	"rule v4 pref=1 nop uid=5-",
	"rule v4 pref=1 nop mark=1/1",
	"rule v4 pref=1 nop mark=0x1",
	"rule v4 pref=1 nop mark=0x1/0x0",
	"rule v4 pref=1 nop mark=0x1/0x",
	"rule v4 pref=1 nop iif=",
	"rule v4 pref=1 nop iif=a/b",
	"rule v4 pref=1 nop iif=sixteen-chars-xx",
	"rule v4 pref=1 nop proto=0",
	"rule v4 pref=1 nop proto=256",
	"rule v4 pref=1 nop to=fd00::/8",
	"rule v4 pref=1 nop to=10.0.0.0/0",
	"rule v4 pref=1 nop to=10.0.0.0/33",
	"rule v4 pref=1 nop to=10.0.0.0",
	"rule v4 pref=1 nop dport=0-0",
	"rule v4 pref=1 nop dport=1-65536",
	"rule v4 pref=1 nop tos=4",
	"route v4 unicast table=7",
	"route v4 unicast dst=default",
	"route v4 local table=7 dst=default",
	"route v4 unicast table=0 dst=default",
	"route v4 unicast table=7 dst=fd00::/8",
	"route v4 unicast table=7 dst=default src=fd00::1",
	"route v4 unicast table=7 dst=default src=0.0.0.0",
	"route v4 unicast table=7 dst=default dev=0",
	"route v4 unicast table=7 dst=default dev=4294967295",
	"route v4 unicast table=7 dst=default via=10.0.0.1",
	"nft",
	"nft filter",
	"nft weir guard",
	"nft weir;flush",
	"nft weir%20x",
	"nft weir_a_name_that_is_much_too_long_for_us",
	"sysctl net/ipv4/x old=0",
	"sysctl net/ipv4/x new=0",
	"sysctl kernel/core_pattern old=core new=x",
	"sysctl net/../kernel/core_pattern old=core new=x",
	"sysctl /net/ipv4/x old=0 new=1",
	"sysctl net/ipv4/x old=%0 new=1",
	"sysctl net/ipv4/x old=%zz new=1",
	"sysctl net/ipv4/x old=%00 new=1",
	"link",
	"link lo",
	"link ..",
	"link a b",
	"link a%20b",
	"path relative",
	"path /",
	"path /run/../etc/passwd",
	"path /run/..",
	"path",
	"table-routes",
	"table-routes 0",
	"table-routes x",
};

static void test_lines(void)
{
	char line[CHANGE_LINE_MAX];
	struct change c;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		int rc = change_parse(good[i], strlen(good[i]), &c);
		int back = rc ? rc : change_format(&c, line);

		tap_ok(!rc && !back && !strcmp(line, good[i]), "there and back: %s", good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		tap_is(change_parse(bad[i], strlen(bad[i]), &c), -EINVAL, "refused: '%s'", bad[i]);
	tap_is(change_parse("link a\0b", 8, &c), -EINVAL, "refused: a zero byte");
	tap_is(change_parse("link a\tb", 8, &c), -EINVAL, "refused: a tab");
}

static void test_writer(void)
{
	struct change c = {.kind = CHANGE_SYSCTL};
	char line[CHANGE_LINE_MAX];

	str_copy(c.sysctl.to.name, sizeof(c.sysctl.to.name), "kernel/hostname");
	tap_is(change_format(&c, line), -EINVAL, "what could not be read back is not written");
	c = (struct change){.kind = CHANGE_PATH};
	memset(c.path, '\n', sizeof(c.path) - 1);
	c.path[0] = '/';
	tap_is(change_format(&c, line), 0, "the longest path fits, all of it escaped");
	c = (struct change){.kind = CHANGE_RULE, .rule = {.pref = 5, .has_uid = true, .uid_lo = 1}};
	tap_is(change_format(&c, line), -EINVAL, "an empty range is not written");
	c = (struct change){.kind = CHANGE_ROUTE, .route = {.table = 7, .type = 77}};
	tap_is(change_format(&c, line), -EINVAL, "an unknown type of route is not written");
}

static bool same(const char *a, const char *b)
{
	struct change x, y;

	return !change_parse(a, strlen(a), &x) && !change_parse(b, strlen(b), &y) &&
	       change_same_object(&x, &y);
}

static void test_same(void)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(good); k++)
			wrong += same(good[i], good[k]) != (i == k);
	}
	tap_is(wrong, 0, "each of the good lines is the same as itself alone");
	tap_ok(same("guard rule v4 pref=1 nop", "rule v4 pref=1 nop"), "guard or not is one thing");
	tap_ok(same("sysctl net/ipv4/x old=0 new=1", "sysctl net/ipv4/x old=1 new=2"),
	       "a sysctl with another value is the same one");
	tap_ok(!same("rule v4 pref=1 nop", "rule v6 pref=1 nop"), "the families are two things");
}

/* --- the whole text --------------------------------------------------------------------------- */

struct seen {
	unsigned n, done;
	size_t at[8];
	char last[CHANGE_LINE_MAX];
};

static int see(void *ctx, const struct change *c, bool done, size_t at)
{
	struct seen *s = ctx;

	if (s->n < ARRAY_SIZE(s->at))
		s->at[s->n] = at;
	s->n++;
	s->done += done;
	return change_format(c, s->last);
}

static const char whole[] = "weir-journal 1 boot=abc-1 netns=4:77\n"
			    "- link weir0\n"
			    "+ guard rule v4 pref=1020 lookup=7771 uid=2000-2000\n"
			    "+ sysctl net/ipv4/fwmark_reflect old=0 new=1\n";

static void test_text(void)
{
	struct change_head h;
	struct seen s = {0};
	char err[80] = "", head[160];

	tap_is(change_read(whole, strlen(whole), &h, see, &s, err, sizeof(err)), 0, "a journal");
	tap_ok(!strcmp(h.boot, "abc-1") && !strcmp(h.netns, "4:77"), "... with its head");
	tap_is(s.n, 3, "... and three changes");
	tap_is(s.done, 1, "... one of them undone");
	tap_is(whole[s.at[2]], '+', "... and where they stand");
	tap_is(change_format_head(&h, head, sizeof(head)), strchr(whole, '\n') - whole + 1,
	       "the head there and back");
	tap_ok(!strncmp(head, whole, strlen(head)), "... is the same");
	tap_is(change_format_head(&h, head, 20), -ENAMETOOLONG, "... if there is room");
}

/** test_cut - a crash may have cut it anywhere */
static void test_cut(void)
{
	unsigned wrong = 0;

	for (size_t len = 0; len <= strlen(whole); len++) {
		unsigned lines = 0;
		struct change_head h;
		struct seen s = {0};
		char err[80], copy[sizeof(whole)];

		memcpy(copy, whole, sizeof(copy));
		memset(copy + len, 'x', sizeof(copy) - len);
		for (size_t i = 0; i < len; i++)
			lines += whole[i] == '\n';
		if (change_read(copy, len, &h, see, &s, err, sizeof(err)) ||
		    s.n != (lines ? lines - 1 : 0) || (lines > 0) != (h.boot[0] != 0))
			wrong++;
	}
	tap_is(wrong, 0, "cut at each byte: whole lines count, half a line does not");
}

static int refuse(void *ctx, const struct change *c, bool done, size_t at)
{
	(void)ctx, (void)c, (void)done, (void)at;
	return -ENOMEM;
}

static void test_wrong_text(void)
{
	static const char *const texts[] = {
		"+ link weir0\n",
		"weir-journal 2 boot=a netns=b\n",
		"weir-journal 1 boot=a\n",
		"weir-journal 1 boot=a netns=b more\n",
		"\n",
	};
	static const char second[] = "weir-journal 1 boot=a netns=b\n+ link weir0\n+ nonsense\n";
	static const char mark[] = "weir-journal 1 boot=a netns=b\n* link weir0\n";
	struct change_head h;
	struct seen s = {0};
	char err[80] = "";

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		err[0] = '\0';
		tap_is(change_read(texts[i], strlen(texts[i]), &h, see, &s, err, sizeof(err)),
		       -EINVAL, "not a journal: %s", err);
	}
	tap_is(change_read(second, strlen(second), &h, see, &s, err, sizeof(err)), -EINVAL,
	       "nonsense is refused");
	tap_ok(!strncmp(err, "line 3:", 7), "... with its line: %s", err);
	tap_is(change_read(mark, strlen(mark), &h, see, &s, err, sizeof(err)), -EINVAL,
	       "neither + nor - is refused");
	tap_is(change_read(whole, strlen(whole), &h, refuse, NULL, err, sizeof(err)), -ENOMEM,
	       "the caller can end it");
}

int main(void)
{
	test_lines();
	test_writer();
	test_same();
	test_text();
	test_cut();
	test_wrong_text();
	return tap_done();
}
