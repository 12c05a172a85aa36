/* SPDX-License-Identifier: MIT */
/*
 * yara_body_fuzz: HTTP messages' bodies in arbitrary streams; the first byte says how they are cut.
 *
 * Cut in any way a stream must have the same bodies.
 *
 * LINK: src/hooks/yara_body.o
 */
#include "../../src/hooks/yara_body.h"

#include <string.h>

#include "base/util.h"
#include "fuzz_main.h"

struct sum {
	uint64_t hash;
	unsigned starts, ends;
};

static void note(struct sum *s, uint64_t v)
{
	s->hash = (s->hash ^ v) * 1099511628211ULL;
}

static void on_start(void *ctx, enum body_encoding encoding)
{
	struct sum *s = ctx;

	s->starts++;
	note(s, 0x100 + encoding);
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		note(ctx, data[i]);
}

static void on_end(void *ctx, bool cut)
{
	struct sum *s = ctx;

	s->ends++;
	note(s, 0x200 + cut);
}

static const struct body_ops ops = {on_start, on_data, on_end};

static struct sum feed(const uint8_t *data, size_t size, size_t piece)
{
	static struct body_parser p, other;
	struct sum s = {.hash = 1};

	body_init(&p, &other);
	body_init(&other, &p);
	for (size_t at = 0; at < size; at += piece)
		body_feed(&p, &ops, &s, data + at, MIN(piece, size - at));
	body_last(&p, &ops, &s);
	if (s.starts != s.ends)
		__builtin_trap();
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sum whole, cut;

	if (!size)
		return 0;
	whole = feed(data + 1, size - 1, size);
	cut = feed(data + 1, size - 1, 1 + data[0] % 16);
	if (whole.hash != cut.hash)
		__builtin_trap();
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static const char *const good[] = {
		"\1HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 304 x\r\n\r\n",
		"\2HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\n\r\n",
		"\3POST / HTTP/1.1\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
	};

	if (n >= ARRAY_SIZE(good) || strlen(good[n]) > room)
		return 0;
	memcpy(out, good[n], strlen(good[n]));
	return strlen(good[n]);
}
#endif
