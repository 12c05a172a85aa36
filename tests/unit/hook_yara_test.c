/* SPDX-License-Identifier: MIT */
/*
 * yara: streams in pieces, bodies of HTTP messages, who is asked for.
 * LINK: src/hooks/yara.o src/hooks/yara_body.o
 * LIBS: yara zlib
 */
#include "../lib/hookhost.h"
#include "../lib/tap.h"

#include <unistd.h>
#include <zlib.h>

#include "../../src/hooks/yara_body.h"

const struct weir_hook *weir_hook_entry(void);

/* --- bodies --------------------------------------------------------------------------- */

struct seen {
	char text[1024]; /* "<" start, data, ">" end or "!" cut */
	enum body_encoding encoding;
};

static void on_start(void *ctx, enum body_encoding encoding)
{
	struct seen *s = ctx;

	s->encoding = encoding;
	strcat(s->text, "<");
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct seen *s = ctx;

	strncat(s->text, (const char *)data, len);
}

static void on_end(void *ctx, bool cut)
{
	struct seen *s = ctx;

	strcat(s->text, cut ? "!" : ">");
}

static const struct body_ops ops = {on_start, on_data, on_end};

static const struct {
	const char *up, *down, *up_seen, *down_seen;
} streams[] = {
	{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	 "", "<hello>"},
	{"POST /a HTTP/1.1\r\ncontent-length:3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
	 "HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\nHTTP/1.0 200 OK\r\n\r\nrest", "<abc>",
	 "<rest>"},
	{"HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
	 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
	 "2\r\n\r\nok",
	 "", "<ok>"},
	{"GET / HTTP/1.1\r\n\r\n",
	 "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n"
	 "hello\r\n0006\r\n world\r\n0\r\nTrailer: t\r\n\r\nHTTP/1.1 304 Not\r\n\r\n",
	 "", "<hello world>"},
	{"GET / HTTP/1.1\n\n", "HTTP/1.1 200 OK\nContent-Length: 4\n\ncut", "", "<cut!"},
	{"SSH-2.0-x\r\n", "SSH-2.0-y\r\n", "", ""},
	{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	 "", "<!"},
	{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4x\r\n\r\nabcd", "", ""},
	{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "", ""},
	{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 2", "", ""},
};

static void feed_pieces(struct body_parser *p, struct seen *s, const char *text, size_t piece)
{
	size_t len = strlen(text), n;

	for (size_t at = 0; at < len; at += n) {
		n = len - at < piece ? len - at : piece;
		body_feed(p, &ops, s, (const uint8_t *)text + at, n);
	}
	body_last(p, &ops, s);
}

static void test_bodies(void)
{
	static struct body_parser up, down;

	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		bool ok = true;

		for (size_t piece = 1; piece < 80; piece++) {
			struct seen a = {.text = ""}, b = {.text = ""};

			body_init(&up, &down);
			body_init(&down, &up);
			feed_pieces(&up, &a, streams[i].up, piece);
			feed_pieces(&down, &b, streams[i].down, piece);
			if (strcmp(a.text, streams[i].up_seen) ||
			    strcmp(b.text, streams[i].down_seen)) {
				printf("# pieces of %zu: up %s, down %s\n", piece, a.text, b.text);
				ok = false;
			}
		}
		tap_ok(ok, "bodies of stream %zu, in pieces of all sizes", i);
	}
}

static void test_long_line(void)
{
	static char line[2 * BODY_LINE_MAX];
	static struct body_parser p;
	struct seen s = {.text = ""};

	memset(line, 'a', sizeof(line));
	body_init(&p, NULL);
	body_feed(&p, &ops, &s, (const uint8_t *)"GET ", 4);
	body_feed(&p, &ops, &s, (const uint8_t *)line, sizeof(line));
	tap_is(p.state, BODY_OFF, "a line without end is no HTTP");
}

/* --- the hook --------------------------------------------------------------------------- */

static const char *try_load(struct hh *h, const char *rules, const char *more)
{
	char path[] = "/tmp/weir-yara-XXXXXX", word[64];
	const char *words[] = {word, more, NULL}, *err;
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, rules, strlen(rules)) != (ssize_t)strlen(rules))
		abort();
	close(fd);
	snprintf(word, sizeof(word), "file=%s", path);
	err = hh_load(h, weir_hook_entry(), NULL, words);
	unlink(path);
	return err;
}

static void load(struct hh *h, const char *rules, const char *more)
{
	const char *err = try_load(h, rules, more);

	if (err) {
		printf("# %s\n", err);
		abort();
	}
}

static void test_refused(void)
{
	struct hh h;
	const char *err = try_load(&h, "rule a {\n condition: nothing }", NULL);

	tap_ok(err && strstr(err, "line 2: "), "a wrong rule is refused with its line");
	hh_unload(&h);
	err = try_load(&h, "rule a { condition: true }", "limit=65m");
	tap_ok(err && !strcmp(err, "limit= takes a size up to 64m"), "a wrong size, too");
	hh_unload(&h);
	err = hh_load(&h, weir_hook_entry(), NULL, NULL);
	tap_ok(err && strstr(err, "yara=FILE"), "and no file at all");
	hh_unload(&h);
}

static void test_pieces(void)
{
	static const char in[] = "some text before MALWARE and behind";
	struct hh h;
	bool ok = true;

	load(&h, "rule bad { strings: $a = \"MALWARE\" condition: $a }", "overlap=16");
	for (size_t piece = 1; piece <= sizeof(in); piece++) {
		int verdict;
		struct weir_flow *f = hh_open(&h, &verdict);
		int64_t rc = 0;

		for (size_t at = 0; rc >= 0 && at < sizeof(in) - 1; at += piece) {
			size_t n = sizeof(in) - 1 - at < piece ? sizeof(in) - 1 - at : piece;

			rc = hh_offer(&h, f, WEIR_DOWN, in + at, n, false);
		}
		/* "MALWARE" ends at 24: what has passed lacks at least its last byte. */
		ok &= rc == WEIR_BLOCK && f->out[1].len < 24 &&
		      strstr(f->events,
			     "yara {\"rule\":\"bad\",\"action\":\"block\",\"dir\":\"down\"");
		hh_end(&h, f);
	}
	tap_ok(ok, "a text is found in pieces of all sizes, and never passes whole");
	hh_unload(&h);
}

static void test_alerts(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h,
	     "rule told : alert { strings: $a = \"word\" condition: $a }\n"
	     "rule who { condition: user == \"mallory\" and kind == \"stream\" }",
	     NULL);
	f = hh_open(&h, &verdict);
	tap_is(hh_offer(&h, f, WEIR_UP, "a word", 6, false), 6,
	       "a rule with the tag alert blocks not");
	tap_is(hh_offer(&h, f, WEIR_UP, "a word", 6, false), 6, "and");
	tap_ok(strstr(f->events, "told") && !strstr(strstr(f->events, "told") + 1, "told"),
	       "is told once for a flow");
	hh_end(&h, f);
	f = hh_open(&h, &verdict);
	f->owner.user = "mallory";
	tap_is(hh_offer(&h, f, WEIR_UP, "x", 1, false), WEIR_BLOCK, "a rule by user");
	hh_end(&h, f);
	hh_unload(&h);
}

static size_t pack(const void *text, size_t len, int window_bits, uint8_t *out, size_t size)
{
	z_stream z = {.next_in = (uint8_t *)(uintptr_t)text,
		      .avail_in = (unsigned)len,
		      .next_out = out,
		      .avail_out = (unsigned)size};

	if (deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflate(&z, Z_FINISH) != Z_STREAM_END)
		abort();
	deflateEnd(&z);
	return size - z.avail_out;
}

static size_t gzip(const char *text, uint8_t *out, size_t size)
{
	return pack(text, strlen(text), 16 + MAX_WBITS, out, size);
}

/** answer - an answer with @body in an encoding; returns its length */
static size_t answer(char *out, const char *encoding, const uint8_t *body, size_t len)
{
	size_t n = (size_t)sprintf(
		out, "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
		encoding, len);

	memcpy(out + n, body, len);
	return n + len;
}

static int64_t offer_answer(struct hh *h, const char *encoding, const uint8_t *body, size_t len)
{
	char text[1024];
	size_t n = answer(text, encoding, body, len);
	int verdict;
	struct weir_flow *f = hh_open(h, &verdict);
	int64_t rc = hh_offer(h, f, WEIR_DOWN, text, n, false);

	hh_end(h, f);
	return rc;
}

static void test_encodings(void)
{
	static const char evil[] = "some evil in it";
	uint8_t packed[512];
	struct hh h;
	size_t n;

	load(&h, "rule a { strings: $a = \"evil\" condition: $a }", NULL);
	n = pack(evil, strlen(evil), MAX_WBITS, packed, sizeof(packed));
	tap_is(offer_answer(&h, "deflate", packed, n), WEIR_BLOCK, "deflate in zlib's format");
	n = pack(evil, strlen(evil), -MAX_WBITS, packed, sizeof(packed));
	tap_is(offer_answer(&h, "deflate", packed, n), WEIR_BLOCK, "and bare");
	n = gzip("", packed, sizeof(packed));
	n += gzip(evil, packed + n, sizeof(packed) - n);
	tap_is(offer_answer(&h, "gzip", packed, n), WEIR_BLOCK, "gzip in several parts");
	hh_unload(&h);
}

static void test_bombs(void)
{
	static uint8_t zeroes[64 << 10];
	uint8_t packed[512];
	static char text[8192];
	struct weir_flow *f;
	struct hh h;
	int verdict;
	size_t one = pack(zeroes, sizeof(zeroes), 16 + MAX_WBITS, packed, sizeof(packed)), n = 0;

	load(&h, "rule a { strings: $a = \"evil\" condition: $a }", "limit=64k");
	f = hh_open(&h, &verdict);
	for (int i = 0; i < 2; i++)
		n += answer(text + n, "gzip", packed, one);
	tap_is(hh_offer(&h, f, WEIR_DOWN, text, n, false), (int64_t)n, "two large bodies");
	n += answer(text + n, "gzip", packed, one);
	tap_is(hh_offer(&h, f, WEIR_DOWN, text, n, false), WEIR_ERROR,
	       "a third one in one payload is an error");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_failed_body(void)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h,
	     "rule slow { condition: kind == \"body\" and "
	     "for all i in (1..4000000000) : (i > 0) }",
	     NULL);
	f = hh_open(&h, &verdict);
	tap_is(hh_offer(&h, f, WEIR_DOWN, head, sizeof(head) - 1, false), WEIR_ERROR,
	       "a body that can't be looked at is an error");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_many_alerts(void)
{
	char rules[4096] = "";
	struct weir_flow *f;
	struct hh h;
	int verdict;
	size_t told;

	for (int i = 0; i < 20; i++)
		sprintf(rules + strlen(rules),
			"rule r%d : alert { strings: $a = \"word\" condition: $a }\n", i);
	strcat(rules, "rule end { strings: $a = \"evil\" condition: $a }");
	load(&h, rules, NULL);
	f = hh_open(&h, &verdict);
	hh_offer(&h, f, WEIR_UP, "a word", 6, false);
	told = strlen(f->events);
	hh_offer(&h, f, WEIR_UP, "a word", 6, false);
	tap_is(strlen(f->events), told, "of many rules none is told twice");
	tap_is(hh_offer(&h, f, WEIR_UP, "evil", 4, false), WEIR_BLOCK, "one more blocks");
	tap_ok(strstr(f->events, "\"end\"") != NULL, "and this is told");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_files(void)
{
	uint8_t packed[512];
	char head[256];
	struct weir_flow *f;
	struct hh h;
	int verdict;
	size_t n;

	load(&h,
	     "rule whole { strings: $a = \"start\" $b = \"finish\" "
	     "condition: $a at 0 and $b and filesize == 40 and kind == \"body\" }",
	     NULL);
	n = gzip("start............................ finish", packed, sizeof(packed));
	f = hh_open(&h, &verdict);
	hh_offer(&h, f, WEIR_UP, "GET / HTTP/1.1\r\n\r\n", 18, false);
	snprintf(head, sizeof(head),
		 "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", n);
	tap_is(hh_offer(&h, f, WEIR_DOWN, head, strlen(head), false), (int64_t)strlen(head),
	       "a head");
	tap_is(hh_offer(&h, f, WEIR_DOWN, packed, n - 1, false), (int64_t)n - 1, "most of a body");
	tap_is(hh_offer(&h, f, WEIR_DOWN, packed + n - 1, 1, false), WEIR_BLOCK,
	       "the last byte of a packed file that matches as a whole does not pass");
	hh_end(&h, f);
	f = hh_open(&h, &verdict);
	n = gzip("start............................, finish", packed, sizeof(packed));
	snprintf(head, sizeof(head),
		 "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", n);
	hh_offer(&h, f, WEIR_DOWN, head, strlen(head), false);
	tap_is(hh_offer(&h, f, WEIR_DOWN, packed, n, false), (int64_t)n, "another file does");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_bounds(void)
{
	static char body[8192];
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, "rule big { condition: kind == \"body\" and filesize > 4096 }", "limit=4k");
	f = hh_open(&h, &verdict);
	hh_offer(&h, f, WEIR_DOWN, "HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n", 42, false);
	tap_is(hh_offer(&h, f, WEIR_DOWN, body, sizeof(body), false), (int64_t)sizeof(body),
	       "no more than limit= of a body is gathered");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_datagrams(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, "rule d { strings: $a = \"evil\" condition: $a and kind == \"datagram\" }", NULL);
	f = hh_open(&h, &verdict);
	tap_is(hh_datagram(&h, f, WEIR_UP, "good", 4), WEIR_PASS, "a datagram passes");
	tap_is(hh_datagram(&h, f, WEIR_UP, "an evil", 7), WEIR_BLOCK, "another one does not");
	hh_end(&h, f);
	hh_unload(&h);
}

int main(void)
{
	test_bodies();
	test_long_line();
	test_refused();
	test_pieces();
	test_alerts();
	test_many_alerts();
	test_files();
	test_encodings();
	test_bombs();
	test_failed_body();
	test_bounds();
	test_datagrams();
	return tap_done();
}
