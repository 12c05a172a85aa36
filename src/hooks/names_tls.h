/* SPDX-License-Identifier: MIT */
/*
 * names_tls: reads a TLS ClientHello (RFC 8446, 4.1.2; also those of SSL 3.0 to TLS 1.2), over any
 * number of records and pieces. Pure: no library, no system call.
 */
#ifndef WEIR_HOOKS_NAMES_TLS_H
#define WEIR_HOOKS_NAMES_TLS_H

#include "names_buf.h"

#define NAMES_HELLO_MAX 16384 /* of the message, its header included */
#define NAMES_SNI_MAX	255   /* RFC 1035: no host name is longer */

/**
 * struct names_hello - a ClientHello, taken apart; views are borrowed from the message
 * @legacy_version: of the message; what JA3 shows
 * @version: the highest that is offered
 * @sni: lower case; "" when there is none, or one that can't be a host name
 * @alpn: the list of protocol names, each with its length in front
 * @has_sni, @has_extensions: whether the extension (any extension) is there
 * @ech: Encrypted Client Hello, or a client's imitation of it: sni is the outer, public name
 */
struct names_hello {
	uint16_t legacy_version, version;
	bool has_sni, has_extensions, ech;
	char sni[NAMES_SNI_MAX + 1];
	struct names_view ciphers, extensions, groups, formats, signatures, alpn;
};

/** struct names_tls - the client's side of a stream so far; zero is its beginning */
struct names_tls {
	uint8_t head[5]; /* of the current record */
	uint8_t head_len;
	uint16_t left; /* bytes of it to come */
	struct names_buf message;
};

/** names_tls_start - does a stream that begins so begin with a ClientHello? (six bytes tell) */
enum names_step names_tls_start(const uint8_t *data, size_t len);
/**
 * names_tls_feed - the next bytes of the stream
 *
 * NAMES_FOUND: *@msg is the message with its header, which lies in @data or in @t.
 */
enum names_step names_tls_feed(struct names_tls *t, const uint8_t *data, size_t len,
			       struct names_view *msg);
void names_tls_free(struct names_tls *t);

/** names_hello_size - of a message that begins so: 0 = not to be told yet, else the size with its
 * header; SIZE_MAX: no ClientHello, or one that is too large */
size_t names_hello_size(const uint8_t *msg, size_t len);
/** names_hello_parse - a whole message with its header; false: malformed */
bool names_hello_parse(const uint8_t *msg, size_t len, struct names_hello *out);
/** names_hello_extension - the next extension at *@rest; false at the end */
bool names_hello_extension(struct names_view *rest, uint16_t *type, struct names_view *body);
/** names_hello_alpn - the next protocol name at *@rest, terminated; odd bytes as '?'; false at the
 * end */
bool names_hello_alpn(struct names_view *rest, char out[256]);
/** names_grease - one of the values that stand for nothing (RFC 8701) */
static inline bool names_grease(uint16_t v)
{
	return (v & 0x0f0f) == 0x0a0a && v >> 8 == (v & 0xff);
}

#endif
