/* SPDX-License-Identifier: MIT */
/*
 * names_http: reads HTTP/1 messages (RFC 9112), one after the other, in pieces of any size. Pure:
 * no library, no system call.
 */
#ifndef WEIR_HOOKS_NAMES_HTTP_H
#define WEIR_HOOKS_NAMES_HTTP_H

#include "names_buf.h"

#define NAMES_HTTP_HEAD_MAX   16384
#define NAMES_HTTP_METHOD_MAX 24
#define NAMES_HTTP_HOST_MAX   255

enum names_http_event {
	NAMES_HTTP_MORE, /* all was taken, more is needed */
	NAMES_HTTP_LINE, /* the start line is known */
	NAMES_HTTP_HEAD, /* so are all fields: host, content length ... */
	NAMES_HTTP_END,	 /* the message's last byte was taken */
	NAMES_HTTP_BAD,	 /* not HTTP/1, malformed, or beyond a bound: it stays so */
};

enum names_http_state {
	NAMES_HTTP_AT_START, /* between messages: empty lines don't count */
	NAMES_HTTP_IN_LINE,
	NAMES_HTTP_IN_FIELDS,
	NAMES_HTTP_IN_BODY,	  /* of a known length */
	NAMES_HTTP_IN_CHUNK_SIZE, /* its digits */
	NAMES_HTTP_IN_CHUNK_EXT,  /* what may follow them, to the end of the line */
	NAMES_HTTP_IN_CHUNK,
	NAMES_HTTP_IN_CHUNK_END,
	NAMES_HTTP_IN_TRAILER,
	NAMES_HTTP_TO_THE_END, /* of the connection */
	NAMES_HTTP_IS_BAD,
};

/**
 * struct names_http - one direction; zero and @response are its beginning
 * @method, @minor, @status, @host, @target: of the current message
 * @host: without port, lower case; "" when there is none, or several that differ
 * @target: of a request, as sent; borrowed, until the next feed
 * @length: of the body so far
 */
struct names_http {
	bool response;
	enum names_http_state state;
	char method[NAMES_HTTP_METHOD_MAX + 1];
	char host[NAMES_HTTP_HOST_MAX + 1];
	struct names_view target;
	uint8_t minor;
	uint16_t status;
	uint64_t length;

	bool has_host, host_bad, chunked, coded, has_length;
	uint64_t left; /* of the body, or of the chunk */
	uint8_t digits;
	bool empty;	       /* the line so far, of a trailer */
	size_t taken;	       /* of the head: bounds it */
	struct names_buf line; /* one that is not complete */
};

/**
 * names_http_feed - the next bytes, up to the next event; *@used of them were taken
 *
 * Call it again with the rest. After NAMES_HTTP_BAD nothing more comes.
 */
enum names_http_event names_http_feed(struct names_http *h, const uint8_t *data, size_t len,
				      size_t *used);
/** names_http_no_body - after NAMES_HTTP_HEAD of an answer: it has none, whatever its fields say
 * (it answers HEAD) */
void names_http_no_body(struct names_http *h);
void names_http_free(struct names_http *h);

/** names_http_path - the path in @target, without query and fragment; "*" and host:port as they
 * are */
struct names_view names_http_path(struct names_view target);
/** names_http_split_host - of "user@Host:port" the host, lower case; false: not a host name */
bool names_http_split_host(struct names_view v, char out[NAMES_HTTP_HOST_MAX + 1]);
/** names_http2_start - does a stream that begins so begin with HTTP/2's preface? */
enum names_step names_http2_start(const uint8_t *data, size_t len);

#endif
