/* SPDX-License-Identifier: MIT */
/*
 * Each stream must give the events beside it: read in one piece, cut once at every place, and byte
 * by byte.
 *
 *   METHOD path   a request's line        status   an answer's
 *   [host]        the head's end          n        the message's end, of n bytes of body
 *   !             not HTTP
 *
 * LINK: src/hooks/names_http.o
 */
#include "hooks/names_http.h"

#include <stdio.h>

#include "../lib/tap.h"

#define H " HTTP/1.1\r\n"

static const struct {
	const char *what, *stream, *expect;
	bool response;
} cases[] = {
	{"a request", "GET /a" H "Host: Example.ORG\r\n\r\n", "GET /a [example.org] 0", false},
	{"LF alone", "GET /a HTTP/1.0\nHost: h\n\n", "GET /a [h] 0", false},
	{"empty lines first", "\r\n\nGET /a" H "Host: h\r\n\r\n", "GET /a [h] 0", false},
	{"no host", "GET /" H "\r\n", "GET / [] 0", false},
	{"an empty one", "GET /" H "Host:\r\n\r\n", "GET / [] 0", false},
	{"a port", "GET /" H "host:h:8080\r\n\r\n", "GET / [h] 0", false},
	{"an IPv6 address", "GET /" H "Host: [2001:DB8::1]:80\r\n\r\n", "GET / [2001:db8::1] 0",
	 false},
	{"a final dot", "GET /" H "Host: h.\r\n\r\n", "GET / [h] 0", false},
	{"blanks around", "GET /" H "Host \t: \t h \t\r\n\r\n", "GET / [h] 0", false},
	{"the same twice", "GET /" H "Host: h\r\nHost: H:80\r\n\r\n", "GET / [h] 0", false},
	{"two that differ", "GET /" H "Host: h\r\nHost: g\r\n\r\n", "GET / [] 0", false},
	{"an odd one", "GET /" H "Host: a b\r\n\r\n", "GET / [] 0", false},
	{"in the target", "GET http://U@H:1/p?q" H "Host: h\r\n\r\n", "GET /p [h] 0", false},
	{"in the target, no path", "GET http://h?q" H "\r\n", "GET / [h] 0", false},
	{"in the target, another", "GET http://h/" H "Host: g\r\n\r\n", "GET / [] 0", false},
	{"CONNECT", "CONNECT h:443" H "\r\n", "CONNECT h:443 [h] 0", false},
	{"OPTIONS *", "OPTIONS *" H "Host: h\r\n\r\n", "OPTIONS * [h] 0", false},
	{"no query in the path", "GET /a%20b?c=/d#e" H "\r\n", "GET /a%20b [] 0", false},
	{"a target with blanks", "GET /a b HTTP/1.1\r\n\r\n", "GET /a b [] 0", false},
	{"an old continuation", "GET /" H "X: a\r\n Host: g\r\nHost: h\r\n\r\n", "GET / [h] 0",
	 false},
	{"a body", "POST /" H "Content-Length: 3\r\n\r\nabcGET /b" H "\r\n",
	 "POST / [] 3 GET /b [] 0", false},
	{"a length twice", "POST /" H "Content-Length: 3, 3\r\nContent-Length:3\r\n\r\nabc",
	 "POST / [] 3", false},
	{"two lengths", "POST /" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", "POST / !",
	 false},
	{"a length that is none", "POST /" H "Content-Length: -1\r\n\r\n", "POST / !", false},
	{"a huge length", "POST /" H "Content-Length: 9999999999999999999\r\n\r\n", "POST / !",
	 false},
	{"chunks",
	 "PUT /" H "Transfer-Encoding: gzip, Chunked\r\nContent-Length: 1\r\n\r\n"
	 "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: x\r\n\r\nGET /b" H "\r\n",
	 "PUT / [] 13 GET /b [] 0", false},
	{"chunks with LF alone", "PUT /" H "Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
	 "PUT / [] 1", false},
	{"a chunk without size", "PUT /" H "Transfer-Encoding: chunked\r\n\r\n\r\n", "PUT / [] !",
	 false},
	{"a chunk that is longer", "PUT /" H "Transfer-Encoding: chunked\r\n\r\n1\r\nab",
	 "PUT / [] !", false},
	{"a chunk's size too large",
	 "PUT /" H "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "PUT / [] !", false},
	{"chunked, but not last", "PUT /" H "Transfer-Encoding: chunked, gzip\r\n\r\n", "PUT / !",
	 false},
	{"a field without colon", "GET /" H "Host\r\n\r\n", "GET / !", false},
	{"lower case", "get /" H "\r\n", "!", false},
	{"another protocol", "EHLO example.org\r\n", "!", false},
	{"binary", "\x01\x02", "!", false},
	{"HTTP/0.9", "GET /\r\n", "!", false},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!", false},
	{"a method too long", "ABCDEFGHIJKLMNOPQRSTUVWXYZ /", "!", false},
	{"no target", "GET  HTTP/1.1\r\n", "!", false},

	{"an answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "200 [] 2", true},
	{"without reason", "HTTP/1.0 200\r\nContent-Length: 0\r\n\r\n", "200 [] 0", true},
	{"several",
	 "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 204 N\r\n\r\nHTTP/1.1 304 N\r\n"
	 "Content-Length: 9\r\n\r\nHTTP/1.1 200 O\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "2\r\nab\r\n0\r\n\r\n",
	 "100 [] 0 204 [] 0 304 [] 0 200 [] 2", true},
	{"to the end", "HTTP/1.1 200 O\r\n\r\nHTTP/1.1 200 O\r\n\r\n", "200 []", true},
	{"coded, to the end", "HTTP/1.1 200 O\r\nTransfer-Encoding: gzip\r\n\r\nab", "200 []",
	 true},
	{"no status", "HTTP/1.1 OK\r\n\r\n", "!", true},
	{"no answer", "SSH-2.0-x\r\n", "!", true},
};

struct trace {
	struct names_http h;
	char text[400];
	size_t n;
};

static void note(struct trace *t, enum names_http_event event)
{
	struct names_view path = names_http_path(t->h.target);
	char *at = t->text + t->n;
	size_t room = sizeof(t->text) - t->n;
	const char *blank = t->n ? " " : "";

	if (event == NAMES_HTTP_LINE && t->h.response)
		t->n += (size_t)snprintf(at, room, "%s%u", blank, t->h.status);
	else if (event == NAMES_HTTP_LINE)
		t->n += (size_t)snprintf(at, room, "%s%s %.*s", blank, t->h.method, (int)path.len,
					 (const char *)path.at);
	else if (event == NAMES_HTTP_HEAD)
		t->n += (size_t)snprintf(at, room, "%s[%s]", blank, t->h.host);
	else if (event == NAMES_HTTP_END)
		t->n += (size_t)snprintf(at, room, "%s%llu", blank,
					 (unsigned long long)t->h.length);
	else if (event == NAMES_HTTP_BAD)
		t->n += (size_t)snprintf(at, room, "%s!", blank);
}

/* feed - memory ends where the piece does */
static void feed(struct trace *t, const char *data, size_t len)
{
	uint8_t *exact = malloc(len + !len);
	enum names_http_event event = NAMES_HTTP_MORE;
	size_t at = 0, used;

	memcpy(exact, data, len);
	do {
		if (t->h.state == NAMES_HTTP_IS_BAD)
			break;
		event = names_http_feed(&t->h, exact + at, len - at, &used);
		at += used;
		note(t, event);
	} while (event != NAMES_HTTP_MORE);
	free(exact);
}

static bool in_pieces(size_t i, size_t first, size_t step)
{
	const char *stream = cases[i].stream;
	size_t len = strlen(stream), n = first;
	struct trace t = {.h.response = cases[i].response};
	bool same;

	while (len) {
		n = n < len ? n : len;
		feed(&t, stream, n);
		stream += n;
		len -= n;
		n = step;
	}
	same = !strcmp(t.text, cases[i].expect);
	if (!same)
		printf("# first %zu, then %zu: %s\n", first, step, t.text);
	names_http_free(&t.h);
	return same;
}

static void test_cases(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		size_t len = strlen(cases[i].stream), cut;
		bool good = in_pieces(i, 1, 1);

		for (cut = 1; cut <= len; cut++)
			good = in_pieces(i, cut, len) && good;
		tap_ok(good, "%s: %s", cases[i].what, cases[i].expect);
	}
}

/* the bound counts the head, not what comes in one piece */
static void test_bounds(void)
{
	static char field[NAMES_HTTP_HEAD_MAX];
	struct trace t = {0};

	memset(field, 'x', sizeof(field));
	memcpy(field, "X: ", 3);
	feed(&t, "GET /" H, 16);
	feed(&t, field, NAMES_HTTP_HEAD_MAX - 20);
	feed(&t, "\r\n\r\n", 4);
	tap_ok(!strcmp(t.text, "GET / [] 0"), "the largest head: %s", t.text);
	t.n = 0;
	feed(&t, "GET /" H, 16);
	feed(&t, field, NAMES_HTTP_HEAD_MAX - 19);
	feed(&t, "\r\n\r\n", 4);
	tap_ok(!strcmp(t.text, "GET / !"), "a larger one: %s", t.text);
	tap_ok(!t.h.line.data, "nothing is kept of what is bad");
	names_http_free(&t.h);
	t = (struct trace){0};
	memset(field, '\n', sizeof(field));
	feed(&t, field, sizeof(field));
	tap_ok(!t.n, "16384 empty lines");
	feed(&t, field, 1);
	tap_ok(!strcmp(t.text, "!"), "and one more: %s", t.text);
}

static void test_no_body(void)
{
	struct trace t = {.h.response = true};
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
	size_t used;

	names_http_feed(&t.h, (const uint8_t *)head, sizeof(head) - 1, &used);
	names_http_feed(&t.h, (const uint8_t *)head + used, sizeof(head) - 1 - used, &used);
	names_http_no_body(&t.h);
	feed(&t, head, sizeof(head) - 1);
	tap_ok(!strcmp(t.text, "0 200 []"), "the answer to HEAD has no body: %s", t.text);
	names_http_free(&t.h);
}

static void test_http2(void)
{
	static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	unsigned wrong = 0;
	size_t n;

	for (n = 0; n < 24; n++)
		wrong += names_http2_start(preface, n) != NAMES_MORE;
	tap_is(wrong, 0, "HTTP/2's preface, up to each byte");
	tap_is(names_http2_start(preface, 24), NAMES_FOUND, "HTTP/2's preface");
	tap_is(names_http2_start((const uint8_t *)"PRI * HTTP/1", 12), NAMES_NOT, "another one");
}

int main(void)
{
	test_cases();
	test_bounds();
	test_no_body();
	test_http2();
	return tap_done();
}
