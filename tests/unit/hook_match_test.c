/* SPDX-License-Identifier: MIT */
/*
 * match: patterns across chunk borders, held against a search that sees everything at once.
 * LINK: src/hooks/match.o src/hooks/match_set.o src/hooks/match_rules.o
 * LIBS: libhs libpcre2-8
 */
#include "../lib/hookhost.h"
#include "../lib/tap.h"

#include <time.h>
#include <unistd.h>

#include "../../src/hooks/match_rules.h"

const struct weir_hook *weir_hook_entry(void);

static uint64_t seed = 88172645463325252ULL;

static unsigned rnd(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed % n);
}

/** load - a hook with the patterns @text; aborts with its error */
static void load(struct hh *h, const char *text)
{
	char path[] = "/tmp/weir-match-XXXXXX", word[64];
	const char *words[] = {word, NULL}, *err;
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	close(fd);
	snprintf(word, sizeof(word), "file=%s", path);
	err = hh_load(h, weir_hook_entry(), NULL, words);
	unlink(path);
	if (err) {
		printf("# %s\n", err);
		abort();
	}
}

/* --- the file of patterns --------------------------------------------------------------- */

static const struct {
	const char *text, *err; /* NULL: it is right */
} files[] = {
	{"", NULL},
	{"# only a comment\n\n   \n", NULL},
	{"block \"x\"", NULL},
	{"alert up \"a\\x00b\"i name nul # behind\nblock down /a.b/sm\n", NULL},
	{"replace \"a\" with \"\"", NULL},
	{"alert /a\\/b/", NULL},
	{"replace \"a\"", "line 1: replace needs: with \"TEXT\""},
	{"\nblock \"a\" with \"b\"", "line 2: only replace takes 'with'"},
	{"stop \"a\"", "line 1: it begins with alert, block or replace"},
	{"blocked \"a\"", "line 1: it begins with alert, block or replace"},
	{"block a", "line 1: a text in double quotes is missing"},
	{"block \"a", "line 1: the closing quote is missing"},
	{"block /a", "line 1: the closing / is missing"},
	{"block \"\"", "line 1: the pattern is empty"},
	{"block //", "line 1: the pattern is empty"},
	{"block \"\\q\"", "line 1: unknown escape after a backslash"},
	{"block \"\\x4\"", "line 1: unknown escape after a backslash"},
	{"block \"a\"s", "line 1: unknown flag 's'"},
	{"block \"a\" name", "line 1: the name is missing"},
	{"block \"a\" name x\"y", "line 1: a name is up to 63 letters, digits, . _ -"},
	{"block \"a\" more", "line 1: something stands behind the rule: more"},
};

static void test_files(void)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct match_rules r;
		char err[200] = "";
		int rc = match_rules_parse(&r, files[i].text, strlen(files[i].text), err,
					   sizeof(err));
		bool ok = files[i].err ? rc == -EINVAL && !strcmp(err, files[i].err) : !rc;

		if (!tap_ok(ok, "file %zu is %s", i, files[i].err ? "refused" : "taken"))
			printf("# %d %s\n", rc, err);
		match_rules_free(&r);
	}
}

static void test_parts(void)
{
	static const char text[] =
		"block down \"A\\x00\\n\"i name n.1\nreplace /x\\/y\\d/ms with \"\\\"\"";
	struct match_rules r;
	char err[200];

	tap_is(match_rules_parse(&r, text, sizeof(text) - 1, err, sizeof(err)), 0, "two rules");
	tap_ok(r.rule[0].action == MATCH_BLOCK && r.rule[0].dirs == 2 && r.rule[0].nocase &&
		       r.rule[0].len == 3 && !memcmp(r.rule[0].pattern, "A\0\n", 3) &&
		       !strcmp(r.rule[0].name, "n.1"),
	       "a literal with escapes, a direction, a flag and a name");
	tap_ok(r.rule[1].action == MATCH_REPLACE && r.rule[1].dirs == 3 && r.rule[1].regex &&
		       !strcmp(r.rule[1].pattern, "x/y\\d") && r.rule[1].dotall &&
		       r.rule[1].multiline && !strcmp(r.rule[1].with, "\"") &&
		       !strcmp(r.rule[1].name, "line 2"),
	       "a regex keeps its backslashes but that before /");
	match_rules_free(&r);
}

/* --- streams ------------------------------------------------------------------------------ */

/** cut - offer @text in @dir in two pieces, the first of @at bytes; the flow's end with it */
static struct weir_flow *cut(struct hh *h, const char *text, size_t at, int64_t rc[2])
{
	struct weir_flow *f;
	int verdict;

	f = hh_open(h, &verdict);
	rc[0] = hh_offer(h, f, WEIR_UP, text, at, false);
	rc[1] = rc[0] < 0 ? rc[0] : hh_offer(h, f, WEIR_UP, text + at, strlen(text) - at, true);
	return f;
}

static void test_every_border(const char *patterns, const char *in, const char *out)
{
	struct hh h;
	bool ok = true;

	load(&h, patterns);
	for (size_t at = 0; at <= strlen(in); at++) {
		int64_t rc[2];
		struct weir_flow *f = cut(&h, in, at, rc);

		if (!hh_text(f, WEIR_UP, out) || rc[1] < 0) {
			printf("# cut at %zu: %.*s\n", at, (int)f->out[0].len,
			       (const char *)f->out[0].data);
			ok = false;
		}
		hh_end(&h, f);
	}
	tap_ok(ok, "%.*s: %s becomes %s, wherever it is cut", (int)strcspn(patterns, "\n"),
	       patterns, in, out);
	hh_unload(&h);
}

static void test_block_border(const char *patterns, const char *in, const char *pass_at_most)
{
	size_t most = strlen(pass_at_most);
	struct hh h;
	bool ok = true;

	load(&h, patterns);
	for (size_t at = 0; at <= strlen(in); at++) {
		int64_t rc[2];
		struct weir_flow *f = cut(&h, in, at, rc);

		ok &= rc[1] == WEIR_BLOCK && f->out[0].len <= most &&
		      !memcmp(f->out[0].data ? f->out[0].data : (const uint8_t *)"", pass_at_most,
			      f->out[0].len) &&
		      strstr(f->events, "\"action\":\"block\"");
		hh_end(&h, f);
	}
	tap_ok(ok, "%s: %s is blocked, wherever it is cut", patterns, in);
	hh_unload(&h);
}

static void test_not_held(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, "replace \"secret\" with \"x\"\nblock \"evil\"\nalert \"GET /\"");
	f = hh_open(&h, &verdict);
	tap_is(hh_offer(&h, f, WEIR_UP, "GET / HTTP/1.1\r\n\r\n", 18, false), 18,
	       "what begins no pattern goes on at once");
	tap_is(hh_offer(&h, f, WEIR_UP, "a se", 4, false), 2, "a beginning waits");
	tap_is(hh_offer(&h, f, WEIR_UP, "t", 1, false), 3, "and goes when it was none");
	tap_is(hh_offer(&h, f, WEIR_UP, "sec", 3, true), 3, "and at the end");
	tap_ok(hh_text(f, WEIR_UP, "GET / HTTP/1.1\r\n\r\na setsec"), "nothing is lost");
	tap_ok(strstr(f->events,
		      "match {\"name\":\"line 3\",\"action\":\"alert\",\"dir\":\"up\",\"end\":5,"
		      "\"line\":3}\n") == f->events,
	       "an alert is an event");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_hold_time(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, "replace \"secret\" with \"x\"\nreplace /ab+c/ with \"y\"");
	f = hh_open(&h, &verdict);
	tap_is(hh_offer(&h, f, WEIR_UP, "a s", 3, false), 2,
	       "the end of a request may look like a beginning");
	tap_is(h.timer[0].ms, 20, "it waits, but for 20 ms at most");
	tap_is(hh_fire(&h), 1, "when they are over");
	tap_ok(f->resumed[WEIR_UP], "it is asked for");
	tap_is(hh_offer(&h, f, WEIR_UP, "", 0, false), 1, "and goes");
	tap_is(hh_offer(&h, f, WEIR_UP, "ecret secret abbb", 17, false), 13,
	       "what follows it is nothing");
	tap_is(hh_fire(&h) + (int)hh_offer(&h, f, WEIR_UP, "", 0, false), 5,
	       "a regex waits no longer");
	tap_is(hh_offer(&h, f, WEIR_UP, "c abc", 5, false), 5, "than that");
	tap_is(hh_fire(&h), 0, "no timer is left where nothing is held");
	tap_ok(hh_text(f, WEIR_UP, "a secret x abbbc y"), "nothing is lost or doubled");
	tap_is(hh_offer(&h, f, WEIR_DOWN, "se", 2, false), 0, "held");
	hh_end(&h, f);
	tap_is(hh_fire(&h), 0, "a flow's end takes its timer along");
	hh_unload(&h);
}

static void test_directions(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, "block down \"x\"\nreplace up \"y\" with \"z\"");
	f = hh_open(&h, &verdict);
	tap_is(hh_offer(&h, f, WEIR_UP, "x", 1, false), 1, "a pattern of the other direction");
	tap_is(hh_offer(&h, f, WEIR_DOWN, "y", 1, false), 1, "replaces nothing, blocks nothing");
	tap_ok(hh_text(f, WEIR_DOWN, "y"), "there");
	tap_is(hh_offer(&h, f, WEIR_DOWN, "x", 1, false), WEIR_BLOCK, "but in its own");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_datagrams(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, "block \"evil\"\nreplace \"aa\" with \"b\"\nreplace /c+$/ with \"\"");
	f = hh_open(&h, &verdict);
	tap_is(hh_datagram(&h, f, WEIR_UP, "aaaXaacc", 8), WEIR_PASS, "a datagram");
	tap_ok(hh_text(f, WEIR_UP, "baXb"), "is edited");
	tap_is(hh_datagram(&h, f, WEIR_UP, "ev", 2), WEIR_PASS, "half a pattern");
	tap_is(hh_datagram(&h, f, WEIR_UP, "il", 2), WEIR_PASS,
	       "and the other half in another one");
	tap_is(hh_datagram(&h, f, WEIR_DOWN, "an evil one", 11), WEIR_BLOCK, "all of it");
	hh_end(&h, f);
	hh_unload(&h);
}

/* --- alerts, and what costs too much ------------------------------------------------------- */

static unsigned count(const char *text, const char *word)
{
	unsigned n = 0;

	for (; (text = strstr(text, word)); text++)
		n++;
	return n;
}

static void test_alert_once(const char *patterns)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, patterns);
	f = hh_open(&h, &verdict);
	hh_offer(&h, f, WEIR_UP, "word word ", 10, false);
	hh_offer(&h, f, WEIR_UP, "word", 4, true);
	hh_offer(&h, f, WEIR_DOWN, "word word", 9, true);
	tap_ok(count(f->events, "\"alert\"") == 2 && count(f->events, "\"up\"") == 1,
	       "%s: an event for each direction of a stream", patterns);
	hh_end(&h, f);
	f = hh_open(&h, &verdict);
	hh_datagram(&h, f, WEIR_UP, "word word", 9);
	hh_datagram(&h, f, WEIR_UP, "word", 4);
	hh_datagram(&h, f, WEIR_DOWN, "word", 4);
	tap_ok(count(f->events, "\"alert\"") == 2 && count(f->events, "\"up\"") == 1,
	       "%s: and of datagrams", patterns);
	hh_end(&h, f);
	hh_unload(&h);
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* 20,000 places to begin at, and from each the way to the end and back: some 10^8 steps */
static void test_slow(const char *patterns)
{
	static char text[20000];
	struct weir_flow *f;
	struct hh h;
	int verdict;
	double start;

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\n';
	load(&h, patterns);
	f = hh_open(&h, &verdict);
	start = cpu_seconds();
	tap_is(hh_datagram(&h, f, WEIR_DOWN, text, sizeof(text)), WEIR_ERROR,
	       "%s: a datagram that costs too much is an error", patterns);
	tap_is(hh_offer(&h, f, WEIR_DOWN, text, sizeof(text), false), WEIR_ERROR, "and a stream");
	tap_ok(cpu_seconds() - start < 1, "it is given up soon");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_limit(void)
{
	struct weir_flow *f;
	char line[256];
	struct hh h;
	int verdict;

	load(&h, "block /(x)\\1|(a+)+b\\2/");
	f = hh_open(&h, &verdict);
	tap_is(hh_datagram(&h, f, WEIR_UP, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa xx", 34), WEIR_ERROR,
	       "a place with too many steps is an error, not a way past what is behind it");
	weir_hook_entry()->report(h.state, line, sizeof(line));
	tap_ok(strstr(line, "1 given up") != NULL, "it is counted: %s", line);
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_long_beginning(void)
{
	static char text[70000];
	struct weir_flow *f;
	struct hh h;
	int verdict;

	memset(text, 'a', sizeof(text));
	text[0] = '<';
	memcpy(text + 1000, "(evil)", 6);
	load(&h, "replace /<[a-z()]*>|\\(evil\\)/ with \"\"");
	f = hh_open(&h, &verdict);
	tap_is(hh_offer(&h, f, WEIR_UP, text, sizeof(text), true), (int64_t)sizeof(text),
	       "a long text");
	tap_is(f->out[0].len, sizeof(text) - 6, "what is behind a beginning is found");
	hh_end(&h, f);
	f = hh_open(&h, &verdict);
	memcpy(text + 1000, "aaaaaa", 6);
	memcpy(text + sizeof(text) - 3000, "(evil)", 6);
	hh_offer(&h, f, WEIR_UP, text, sizeof(text), false);
	tap_is(f->out[0].len, sizeof(text) - 6, "also of one that is too long to wait for");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_verbs(void)
{
	test_every_border("replace /(*ANYCRLF)(*NO_AUTO_POSSESS)(x.?)y\\1/ with \"e\"",
			  "xayxa x\ryx\r xyx", "e x\ryx\r e");
}

/* --- against a search that sees all ----------------------------------------------------------- */

struct naive_rule {
	char text[8], with[8];
	bool nocase;
};

static bool same(const char *a, const char *b, size_t n, bool nocase)
{
	return nocase ? !strncasecmp(a, b, n) : !strncmp(a, b, n);
}

/** naive - leftmost place first, there the first rule */
static size_t naive(const struct naive_rule *r, int n, const char *in, char *out)
{
	char *at = out;

	while (*in) {
		int i = 0;

		for (; i < n; i++)
			if (same(in, r[i].text, strlen(r[i].text), r[i].nocase))
				break;
		if (i == n) {
			*at++ = *in++;
			continue;
		}
		at = stpcpy(at, r[i].with);
		in += strlen(r[i].text);
	}
	*at = 0;
	return (size_t)(at - out);
}

static void random_text(char *s, unsigned min, unsigned max)
{
	unsigned n = min + rnd(max - min + 1);

	for (unsigned i = 0; i < n; i++)
		s[i] = "abAc"[rnd(4)];
	s[n] = 0;
}

static void one_random(unsigned round, bool *ok)
{
	struct naive_rule r[6];
	int n = 1 + (int)rnd(6);
	char file[1024] = "", in[400], want[4000];
	struct weir_flow *f;
	struct hh h;
	size_t at = 0, len;
	int verdict;

	for (int i = 0; i < n; i++) {
		size_t used = strlen(file);

		random_text(r[i].text, 1, 6);
		random_text(r[i].with, 0, 6);
		r[i].nocase = rnd(3) == 0;
		snprintf(file + used, sizeof(file) - used, "replace %s%s%s with \"%s\"\n", "\"",
			 r[i].text, r[i].nocase ? "\"i" : "\"", r[i].with);
	}
	load(&h, file);
	random_text(in, 0, 300);
	len = naive(r, n, in, want);
	f = hh_open(&h, &verdict);
	do {
		size_t piece = rnd(8);

		if (piece > strlen(in) - at)
			piece = strlen(in) - at;
		at += piece;
		hh_offer(&h, f, WEIR_DOWN, in + at - piece, piece, at == strlen(in));
	} while (at < strlen(in));
	if (f->out[1].len != len || (len && memcmp(f->out[1].data, want, len) != 0)) {
		printf("# round %u: %s\n%s# want %s\n# got  %.*s\n", round, in, file, want,
		       (int)f->out[1].len, (const char *)f->out[1].data);
		*ok = false;
	}
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_random(void)
{
	bool ok = true;

	for (unsigned i = 0; i < 500 && ok; i++)
		one_random(i, &ok);
	tap_ok(ok, "500 random files and streams: as a search that sees all");
}

static void test_bad_patterns(void)
{
	static const char *const bad[] = {"block /a(/", "replace /a(/ with \"\"",
					  "replace /(*UTF)a/ with \"\""};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char path[] = "/tmp/weir-match-XXXXXX", word[64];
		const char *words[] = {word, NULL}, *err;
		int fd = mkstemp(path);
		struct hh h;

		if (fd < 0 || write(fd, bad[i], strlen(bad[i])) < 0)
			abort();
		close(fd);
		snprintf(word, sizeof(word), "file=%s", path);
		err = hh_load(&h, weir_hook_entry(), NULL, words);
		tap_ok(err && strstr(err, path) && strstr(err, "line 1: "),
		       "a bad regex is refused: %s", err ? strrchr(err, '/') : "");
		hh_unload(&h);
		unlink(path);
	}
}

int main(void)
{
	test_files();
	test_parts();
	test_every_border("replace \"foobar\" with \"X\"", "a foobar foofoobar foo",
			  "a X fooX foo");
	test_every_border("replace \"aab\" with \"\"", "aaaabab aaab", "aaab a");
	test_every_border("replace \"ab\" with \"1\"\nreplace \"abcd\" with \"2\"", "abcd abc",
			  "1cd 1c");
	test_every_border("replace \"abcd\" with \"2\"\nreplace \"ab\" with \"1\"", "abcd abc",
			  "2 1c");
	test_every_border("replace \"Host\"i with \"H\"", "HOST host hOs", "H H hOs");
	test_every_border("replace /[0-9]{3}-[0-9]{2}/ with \"#\"", "a 123-45 1234-567", "a # 1#7");
	test_every_border("replace /(a)b\\1/ with \"x\"", "abab aba", "xb x");
	test_block_border("block \"secret\"", "a secret b", "a secre");
	test_block_border("block \"SECRET\"i name s", "my secretX", "my secre");
	test_block_border("block /k[0-9]+z/", "a k123z b", "a k123");
	test_block_border("block /(x)\\1y/", "a xxy", "a ");
	test_not_held();
	test_hold_time();
	test_directions();
	test_datagrams();
	test_alert_once("alert \"word\"");
	test_alert_once("alert /w(o)rd\\b/");
	test_alert_once("alert /(w)ord(?<=\\1ord)/");
	test_slow("replace /a.*[bc]/ with \"\"");
	test_limit();
	test_long_beginning();
	test_verbs();
	test_random();
	test_bad_patterns();
	return tap_done();
}
