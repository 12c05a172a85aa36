/* SPDX-License-Identifier: MIT */
/*
 * Messages come out whole, however the stream is cut.
 *
 * LINK: src/dnsstream.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "dnsstream.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"

static unsigned count;
static size_t bytes, longest;
static int wrong;

static void got(void *ctx, const uint8_t *msg, size_t len)
{
	(void)ctx;
	count++;
	bytes += len;
	longest = len > longest ? len : longest;
	for (size_t i = 0; i < len; i++)
		wrong += msg[i] != (uint8_t)len;
}

int main(void)
{
	static const size_t sizes[] = {12, 0, 1, 512, 65535, 3};
	static uint8_t stream[70000];
	size_t total = 0;

	for (unsigned i = 0; i < 6; i++) {
		stream[total] = (uint8_t)(sizes[i] >> 8);
		stream[total + 1] = (uint8_t)sizes[i];
		memset(stream + total + 2, (uint8_t)sizes[i], sizes[i]);
		total += 2 + sizes[i];
	}
	for (unsigned round = 0; round < 50; round++) {
		struct dnsstream *s = NULL;
		size_t at = 0;

		count = 0;
		bytes = 0;
		while (at < total) {
			size_t n = round ? 1 + (size_t)rand() % (round * 50) : 1;

			n = n < total - at ? n : total - at;
			dnsstream_feed(&s, stream + at, n, got, NULL);
			at += n;
		}
		if (count != 5 && count != 6)
			tap_ok(false, "round %u: %u messages", round, count);
		dnsstream_free(s);
	}
	tap_is(bytes, 12 + 1 + 512 + 65535 + 3, "every byte is in its message");
	tap_is(longest, 65535, "the longest message is whole");
	tap_is(wrong, 0, "and no other's");

	struct dnsstream *s = NULL;

	dnsstream_feed(&s, (const uint8_t *)"\0\5ab", 4, got, NULL);
	dnsstream_free(s);
	tap_ok(true, "a stream may end inside a message");
	return tap_done();
}
