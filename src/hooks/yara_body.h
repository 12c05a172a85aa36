/* SPDX-License-Identifier: MIT */
/*
 * yara_body: finds the bodies of HTTP/1 messages in a stream, as far as scanning them needs.
 *
 * Not a judge of HTTP: what it does not understand it calls no HTTP, and is silent from there on
 * (RFC 9112; obsolete line folding and bare CR are not understood).
 */
#ifndef WEIR_HOOK_YARA_BODY_H
#define WEIR_HOOK_YARA_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum body_encoding { BODY_PLAIN, BODY_GZIP, BODY_DEFLATE, BODY_OTHER };

/** struct body_ops - what is found, in order; each may be NULL */
struct body_ops {
	void (*start)(void *ctx, enum body_encoding encoding);
	void (*data)(void *ctx, const uint8_t *data, size_t len);
	/** end - the body is complete; @cut: the stream ended first */
	void (*end)(void *ctx, bool cut);
};

enum body_state {
	BODY_START,	 /* of a message: its first line */
	BODY_HEADER,	 /* header fields */
	BODY_LENGTH,	 /* @left bytes of body */
	BODY_CHUNK_HEAD, /* the line with a chunk's size */
	BODY_CHUNK,	 /* @left bytes of a chunk */
	BODY_CHUNK_END,	 /* the line end behind it */
	BODY_TRAILER,	 /* fields behind the last chunk */
	BODY_REST,	 /* until the stream ends */
	BODY_OFF,	 /* not HTTP/1 */
};

#define BODY_LINE_MAX 8192

/**
 * struct body_parser - one direction of a connection
 * @other: the other direction's, for which requests expect a body: HEAD
 */
struct body_parser {
	enum body_state state;
	struct body_parser *other;
	uint64_t left;
	enum body_encoding encoding;
	bool response, chunked, has_length, no_body, open;
	uint32_t heads;	 /* of a side that asks: bit i: the i-th unanswered request is a HEAD */
	unsigned asked;	 /* requests not answered yet */
	unsigned fields; /* of this message, bounded */
	size_t line_len;
	char line[BODY_LINE_MAX];
};

void body_init(struct body_parser *p, struct body_parser *other);
/** body_feed - the next @len bytes of the stream */
void body_feed(struct body_parser *p, const struct body_ops *ops, void *ctx, const uint8_t *data,
	       size_t len);
/** body_last - the stream has ended */
void body_last(struct body_parser *p, const struct body_ops *ops, void *ctx);

#endif
