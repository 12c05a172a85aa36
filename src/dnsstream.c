/* SPDX-License-Identifier: MIT */
#include "dnsstream.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

struct dnsstream {
	size_t have; /* of prefix and message */
	bool lost;   /* out of memory once: where messages begin is no longer known */
	uint8_t prefix[2];
	uint8_t *msg; /* owned; NULL between messages */
};

/** take - move up to @want - have bytes; returns how many */
static size_t take(struct dnsstream *s, uint8_t *to, size_t at, size_t want, const uint8_t *data,
		   size_t len)
{
	size_t n = MIN(want - at, len);

	memcpy(to + at, data, n);
	s->have += n;
	return n;
}

int dnsstream_feed(struct dnsstream **sp, const uint8_t *data, size_t len,
		   void (*fn)(void *ctx, const uint8_t *msg, size_t len), void *ctx)
{
	struct dnsstream *s = *sp;

	if (!s)
		s = *sp = calloc(1, sizeof(*s));
	if (!s || s->lost)
		return -ENOMEM;
	while (len) {
		size_t n, size;

		if (s->have < 2) {
			n = take(s, s->prefix, s->have, 2, data, len);
			data += n;
			len -= n;
			continue;
		}
		size = get_be16(s->prefix);
		if (!s->msg)
			s->msg = malloc(size + 1); /* a length of 0 is allowed, and nothing */
		if (!s->msg) {
			s->lost = true;
			return -ENOMEM;
		}
		n = take(s, s->msg, s->have - 2, size, data, len);
		data += n;
		len -= n;
		if (s->have < 2 + size)
			continue;
		fn(ctx, s->msg, size);
		free(s->msg);
		s->msg = NULL;
		s->have = 0;
	}
	return 0;
}

void dnsstream_free(struct dnsstream *s)
{
	if (!s)
		return;
	free(s->msg);
	free(s);
}
