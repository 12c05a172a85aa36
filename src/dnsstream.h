/* SPDX-License-Identifier: MIT */
/*
 * dnsstream: DNS messages out of a TCP stream (RFC 1035, 4.2.2: two bytes of
 * length before each). Pure; used on what a program receives from port 53.
 */
#ifndef WEIR_DNSSTREAM_H
#define WEIR_DNSSTREAM_H

#include <stddef.h>
#include <stdint.h>

struct dnsstream; /* holds at most one message */

/**
 * dnsstream_feed - look at the next @len bytes
 * @s: NULL before the first call; owned by the caller until dnsstream_free()
 * @fn: called for each message that is whole now
 *
 * Returns 0 or -ENOMEM; after that the stream is not followed further.
 */
int dnsstream_feed(struct dnsstream **s, const uint8_t *data, size_t len,
		   void (*fn)(void *ctx, const uint8_t *msg, size_t len), void *ctx);
void dnsstream_free(struct dnsstream *s);

#endif
