/* SPDX-License-Identifier: MIT */
/*
 * names_http_fuzz: messages of either direction; what they say must not depend on how they are cut.
 * The first byte: its lowest bit is the direction, the rest the size of pieces. The same bytes, in
 * turn the client's and the server's, as the rest of a connection whose requests are logged.
 *
 * LINK: src/hooks/names_http.o src/hooks/names_follow.o src/hooks/names_event.o
 * LINK: src/hooks/names_tls.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "hooks/names_follow.h"

#include "base/util.h"
#include "fuzz_main.h"

#define HASH(h, v) ((h)*0x100000001b3ULL ^ (v))

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
	for (const uint8_t *at = data; len; len--)
		hash = HASH(hash, *at++);
	return hash;
}

static uint64_t hash_event(uint64_t hash, const struct names_http *h, enum names_http_event event)
{
	struct names_view path;
	char host[NAMES_HTTP_HOST_MAX + 1];

	hash = HASH(hash, event);
	if (event == NAMES_HTTP_LINE && !h->response) {
		path = names_http_path(h->target);
		names_http_split_host(h->target, host);
		hash = hash_bytes(hash, path.at, path.len);
		hash = hash_bytes(hash, h->method, strlen(h->method));
	}
	if (event == NAMES_HTTP_HEAD)
		hash = hash_bytes(hash, h->host, strlen(h->host)) + h->status;
	return event == NAMES_HTTP_END ? HASH(hash, h->length) : hash;
}

static uint64_t run(const uint8_t *data, size_t size, bool response, size_t piece)
{
	struct names_http h = {.response = response};
	enum names_http_event event = NAMES_HTTP_MORE;
	uint64_t hash = 0;
	size_t n, at, used;

	for (; size && event != NAMES_HTTP_BAD; data += n, size -= n) {
		n = MIN(piece, size);
		for (at = 0;; at += used) {
			event = names_http_feed(&h, data + at, n - at, &used);
			weir_assert(used <= n - at && h.line.len <= NAMES_HTTP_HEAD_MAX);
			if (event == NAMES_HTTP_MORE)
				break;
			hash = hash_event(hash, &h, event);
			if (event == NAMES_HTTP_BAD)
				break;
		}
		weir_assert(event == NAMES_HTTP_BAD || at + used == n);
	}
	names_http_free(&h);
	return hash;
}

static void logged(void *ctx, const struct names_exchange *x)
{
	char json[NAMES_EVENT_SIZE];
	unsigned *n = ctx;

	names_event_http(x, json);
	weir_assert(strlen(json) < sizeof(json) && json[strlen(json) - 1] == '}');
	++*n;
}

/* connection - pieces of both sides; no more is logged than was asked for */
static void connection(const uint8_t *data, size_t size, size_t piece)
{
	struct names_http first = {0};
	struct names_exchange x = {.method = "GET", .url_len = 1, .url = "/"};
	struct names_follow *w = names_follow_new(&first, &x);
	unsigned n = 0, turns = 0;
	size_t at, len;

	for (at = 0; at < size; at += len, turns++) {
		len = MIN(piece, size - at);
		if (!names_follow_feed(w, turns & 1, data + at, len, logged, &n))
			break;
	}
	names_follow_end(w, logged, &n);
	weir_assert(n >= 1 && n <= 1 + size / 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool response;

	if (size < 2)
		return 0;
	response = data[0] & 1;
	weir_assert(run(data + 1, size - 1, response, size) ==
		    run(data + 1, size - 1, response, 1 + data[0] / 2));
	connection(data + 1, size - 1, 1 + data[0] / 2);
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static const char *const seeds[] = {
		"\x10GET /a/b?c HTTP/1.1\r\nHost: Example.org:80\r\nAccept: */*\r\n\r\n",
		"\x02POST http://h/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
		"GET / HTTP/1.0\r\n\r\n",
		"\x06PUT /x HTTP/1.1\r\nHost: [::1]:8\r\nTransfer-Encoding: chunked\r\n\r\n"
		"5\r\nhello\r\n0\r\n\r\nCONNECT h:443 HTTP/1.1\r\n\r\n",
		"\x07HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
		"\x31HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na;x=y\r\n0123456789\r\n"
		"0\r\nT: x\r\n\r\nHTTP/1.1 304 N\r\n\r\nHTTP/1.0 200 OK\r\n\r\nrest",
		/* pieces of 38: a request, an answer, in turn */
		"\x4aGET /a HTTP/1.1\r\nHost: example.org\r\n\r\n"
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
		"HEAD / HTTP/1.1\r\nHost: example.org\r\n\r\n"
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
	};
	size_t len = n < ARRAY_SIZE(seeds) ? strlen(seeds[n]) : 0;

	if (len > room)
		return 0;
	if (len)
		memcpy(out, seeds[n], len);
	return len;
}
#endif
