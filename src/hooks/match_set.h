/* SPDX-License-Identifier: MIT */
/*
 * match_set: the patterns of a file, compiled, and one look at some bytes.
 *
 * Literals and most regular expressions are Hyperscan's, which looks for all of them at once and
 * goes on at the next bytes where it stopped at the last ones. It does not say where the match of a
 * regular expression began, nor does it know all of PCRE: what has to be replaced, and what
 * Hyperscan refuses, is PCRE2's, one after the other, within bounds.
 */
#ifndef WEIR_HOOK_MATCH_SET_H
#define WEIR_HOOK_MATCH_SET_H

#include "match_rules.h"

struct match_set;
struct match_stream;

/** struct match_hit - rule @rule matched [@from, @to), offsets in the stream */
struct match_hit {
	uint64_t from, to;
	uint32_t rule;
};

/**
 * struct match_found - what a look has found
 * @alert: called for an alert, perhaps several times for one rule and stream
 * @blocked: 1 + the rule that said so, 0 = none
 * @hits: owned by the caller (free()); places to replace, not yet in order; grows
 * @failed: no memory, too many hits, or @given_up: more work than PCRE2 may have
 */
struct match_found {
	void (*alert)(void *ctx, const struct match_rule *rule, uint64_t to);
	void *ctx;
	uint32_t blocked;
	struct match_hit *hits;
	size_t n, cap;
	bool failed, given_up;
};

/** match_set_new - takes over @rules, also on failure; NULL with a line in @err */
struct match_set *match_set_new(struct match_rules *rules, char *err, size_t errsize);
struct match_set *match_set_get(struct match_set *s); /* one more reference */
void match_set_put(struct match_set *s);
const struct match_rule *match_set_rule(const struct match_set *s, uint32_t i);
size_t match_set_size(const struct match_set *s);
/** match_set_pcre - how many rules are PCRE2's, for `weir hooks` */
size_t match_set_pcre(const struct match_set *s);

/** match_stream_new - for one direction (enum weir_dir); holds @s; NULL on ENOMEM */
struct match_stream *match_stream_new(struct match_set *s, unsigned dir);
void match_stream_free(struct match_stream *m);
/**
 * match_stream_scan - look at @data, which begins at @offset of the stream
 *
 * Bytes that were looked at before may come again (those not accepted), never fewer.
 */
void match_stream_scan(struct match_stream *m, uint64_t offset, const uint8_t *data, size_t len,
		       bool last, struct match_found *out);
/**
 * match_stream_partial - from where on, at or behind @from, bytes at the end of @data may be the
 * start of a match that has to be replaced; @len: none
 *
 * For the bytes that match_stream_scan() has just looked at.
 */
size_t match_stream_partial(const struct match_stream *m, const uint8_t *data, size_t len,
			    size_t from);
/** match_set_scan - look at one datagram */
void match_set_scan(struct match_set *s, unsigned dir, const uint8_t *data, size_t len,
		    struct match_found *out);

#endif
