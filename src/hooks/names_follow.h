/* SPDX-License-Identifier: MIT */
/*
 * names_follow: all requests of an HTTP/1 connection, with their answers, also when several are
 * under way. Pure; what is complete is told by a function of the caller's.
 */
#ifndef WEIR_HOOKS_NAMES_FOLLOW_H
#define WEIR_HOOKS_NAMES_FOLLOW_H

#include "names_event.h"

#define NAMES_UNDER_WAY_MAX 16 /* requests without an answer: clients pipeline few, if any */

struct names_follow;

typedef void names_exchange_fn(void *ctx, const struct names_exchange *x);

/** names_follow_new - @first: the parser of requests, which is taken over, in the middle of the
 * first one's body; @x: that one */
struct names_follow *names_follow_new(struct names_http *first, const struct names_exchange *x);
/** names_follow_feed - false: it can't be followed any further (a tunnel, no HTTP/1, too many) */
bool names_follow_feed(struct names_follow *w, bool answer, const uint8_t *data, size_t len,
		       names_exchange_fn *fn, void *ctx);
/** names_follow_end - tell what is left, and free */
void names_follow_end(struct names_follow *w, names_exchange_fn *fn, void *ctx);
/** names_exchange_line - note what a request's line says */
void names_exchange_line(struct names_exchange *x, const struct names_http *h);

#endif
