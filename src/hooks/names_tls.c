/* SPDX-License-Identifier: MIT */
/*
 * The stream is a row of records, each with a head of five bytes; the message may be cut into
 * records anywhere, and the stream into pieces anywhere. A message that lies whole in one record
 * in one piece, as nearly all do, is read where it is; another is gathered.
 *
 * The message is checked as far as it is read: every length against what holds it, no bytes left
 * over. What a server would refuse is not a hello.
 */
#include "names_tls.h"

#define RECORD_HEAD    5
#define RECORD_MAX     16384
#define HANDSHAKE      22
#define CLIENT_HELLO   1
#define MESSAGE_HEAD   4
#define RANDOM	       32
#define SESSION_ID_MAX 32
#define SSL3_MAJOR     3
#define HOST_NAME      0
#define EXTENSIONS_MAX 512 /* each type once; more than are registered */
#define ECH_OUTER      0

enum {
	EXT_SERVER_NAME = 0,
	EXT_GROUPS = 10,
	EXT_FORMATS = 11,
	EXT_SIGNATURES = 13,
	EXT_ALPN = 16,
	EXT_VERSIONS = 43,
	EXT_ECH = 0xfe0d,
};

/* --- records ------------------------------------------------------------------------------- */

static bool head_good(const uint8_t *head, size_t len)
{
	size_t left = len >= RECORD_HEAD ? (size_t)head[3] << 8 | head[4] : 1;

	return (len < 1 || head[0] == HANDSHAKE) && (len < 2 || head[1] == SSL3_MAJOR) &&
	       (len < 3 || head[2] <= 4) && left > 0 && left <= RECORD_MAX;
}

enum names_step names_tls_start(const uint8_t *data, size_t len)
{
	if (!head_good(data, len))
		return NAMES_NOT;
	if (len <= RECORD_HEAD)
		return NAMES_MORE;
	return data[RECORD_HEAD] == CLIENT_HELLO ? NAMES_FOUND : NAMES_NOT;
}

size_t names_hello_size(const uint8_t *msg, size_t len)
{
	size_t size;

	if (len && msg[0] != CLIENT_HELLO)
		return SIZE_MAX;
	if (len < MESSAGE_HEAD)
		return 0;
	size = MESSAGE_HEAD + ((size_t)msg[1] << 16 | (size_t)msg[2] << 8 | msg[3]);
	return size <= NAMES_HELLO_MAX ? size : SIZE_MAX;
}

/* whole - is the message there? It may be followed by others in its record */
static enum names_step whole(const uint8_t *data, size_t len, struct names_view *msg)
{
	size_t size = names_hello_size(data, len);

	if (size == SIZE_MAX)
		return NAMES_NOT;
	if (!size || size > len)
		return NAMES_MORE;
	*msg = (struct names_view){data, size};
	return NAMES_FOUND;
}

/* in_place - the usual case: the stream's first record is all here, and the message in it */
static enum names_step in_place(const uint8_t *data, size_t len, struct names_view *msg)
{
	size_t left;

	if (len < RECORD_HEAD || !head_good(data, RECORD_HEAD))
		return NAMES_MORE;
	left = (size_t)data[3] << 8 | data[4];
	return left <= len - RECORD_HEAD ? whole(data + RECORD_HEAD, left, msg) : NAMES_MORE;
}

/* gather - take bytes of a record's head, or of its content; how many, or 0: not good */
static size_t gather(struct names_tls *t, const uint8_t *data, size_t len)
{
	size_t n;

	if (t->head_len < RECORD_HEAD) {
		t->head[t->head_len++] = *data;
		if (!head_good(t->head, t->head_len))
			return 0;
		if (t->head_len == RECORD_HEAD)
			t->left = (uint16_t)(t->head[3] << 8 | t->head[4]);
		return 1;
	}
	n = len < t->left ? len : t->left;
	/* what is behind the message in its record is not looked at, but must not end the flow */
	if (!names_buf_add(&t->message, data, n, NAMES_HELLO_MAX + RECORD_MAX))
		return 0;
	t->left = (uint16_t)(t->left - n);
	if (!t->left)
		t->head_len = 0;
	return n;
}

enum names_step names_tls_feed(struct names_tls *t, const uint8_t *data, size_t len,
			       struct names_view *msg)
{
	enum names_step step;

	if (!t->message.len && !t->head_len) {
		step = in_place(data, len, msg);
		if (step != NAMES_MORE)
			return step;
	}
	while (len) {
		size_t n = gather(t, data, len);

		if (!n)
			return NAMES_NOT;
		data += n;
		len -= n;
		step = whole(t->message.data, t->message.len, msg);
		if (step != NAMES_MORE)
			return step;
	}
	return NAMES_MORE;
}

void names_tls_free(struct names_tls *t)
{
	names_buf_free(&t->message);
	*t = (struct names_tls){0};
}

/* --- the message --------------------------------------------------------------------------- */

/*
 * host_name - @v as a name, lower case, without a final dot; false when it can't be one, as
 * then nobody would serve it, and a NUL or a blank inside would deceive those who compare it
 */
static bool host_name(struct names_view v, char out[NAMES_SNI_MAX + 1])
{
	size_t i;

	if (v.len && v.at[v.len - 1] == '.')
		v.len--;
	if (!v.len || v.len > NAMES_SNI_MAX)
		return false;
	for (i = 0; i < v.len; i++) {
		uint8_t c = v.at[i];

		if (c <= ' ' || c >= 0x7f)
			return false;
		out[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
	}
	out[i] = '\0';
	return true;
}

static bool parse_server_name(struct names_view body, struct names_hello *h)
{
	struct names_view list, name;
	uint32_t type;

	h->has_sni = true;
	if (!names_take_vector(&body, 2, &list) || body.len)
		return false;
	while (list.len) {
		if (!names_take_number(&list, 1, &type) || !names_take_vector(&list, 2, &name))
			return false;
		if (type == HOST_NAME && !h->sni[0] && !host_name(name, h->sni))
			h->sni[0] = '\0';
	}
	return true;
}

static bool parse_versions(struct names_view body, struct names_hello *h)
{
	struct names_view list;
	uint32_t v;

	if (!names_take_vector(&body, 1, &list) || body.len || list.len % 2)
		return false;
	h->version = 0;
	while (names_take_number(&list, 2, &v))
		if (!names_grease((uint16_t)v) && v > h->version)
			h->version = (uint16_t)v;
	return true;
}

static bool parse_alpn(struct names_view body, struct names_hello *h)
{
	struct names_view list, name;

	if (!names_take_vector(&body, 2, &list) || body.len)
		return false;
	h->alpn = list;
	while (list.len)
		if (!names_take_vector(&list, 1, &name))
			return false;
	return true;
}

/* parse_list - a vector with a length of @n bytes, and nothing behind it */
static bool parse_list(struct names_view body, size_t n, struct names_view *out)
{
	return names_take_vector(&body, n, out) && !body.len && (n == 1 || out->len % 2 == 0);
}

static bool parse_extension(uint16_t type, struct names_view body, struct names_hello *h)
{
	switch (type) {
	case EXT_SERVER_NAME:
		return parse_server_name(body, h);
	case EXT_GROUPS:
		return parse_list(body, 2, &h->groups);
	case EXT_FORMATS:
		return parse_list(body, 1, &h->formats);
	case EXT_SIGNATURES:
		return parse_list(body, 2, &h->signatures);
	case EXT_ALPN:
		return parse_alpn(body, h);
	case EXT_VERSIONS:
		return parse_versions(body, h);
	case EXT_ECH:
		h->ech = body.len && body.at[0] == ECH_OUTER;
		return true;
	default:
		return true;
	}
}

bool names_hello_extension(struct names_view *rest, uint16_t *type, struct names_view *body)
{
	uint32_t number;

	if (!names_take_number(rest, 2, &number) || !names_take_vector(rest, 2, body))
		return false;
	*type = (uint16_t)number;
	return true;
}

/*
 * parse_extensions - all of them; a type that comes twice is an error (RFC 8446, 4.2), as
 * servers would differ in which of two names they believe
 */
static bool parse_extensions(struct names_hello *h)
{
	struct names_view rest = h->extensions, body;
	uint16_t seen[EXTENSIONS_MAX], type;
	size_t n = 0, i;

	while (rest.len) {
		if (n == EXTENSIONS_MAX || !names_hello_extension(&rest, &type, &body))
			return false;
		for (i = 0; i < n; i++)
			if (seen[i] == type)
				return false;
		seen[n++] = type;
		if (!parse_extension(type, body, h))
			return false;
	}
	return true;
}

bool names_hello_parse(const uint8_t *msg, size_t len, struct names_hello *out)
{
	struct names_view v = {msg, len}, session, compression, skipped;
	uint32_t version;

	*out = (struct names_hello){0};
	if (names_hello_size(msg, len) != len || !names_take(&v, MESSAGE_HEAD, &skipped) ||
	    !names_take_number(&v, 2, &version) || version >> 8 != SSL3_MAJOR ||
	    !names_take(&v, RANDOM, &skipped) || !names_take_vector(&v, 1, &session) ||
	    session.len > SESSION_ID_MAX || !names_take_vector(&v, 2, &out->ciphers) ||
	    out->ciphers.len % 2 || !names_take_vector(&v, 1, &compression))
		return false;
	out->legacy_version = out->version = (uint16_t)version;
	if (!v.len)
		return true; /* before TLS 1.2 a hello could end here */
	out->has_extensions = true;
	return names_take_vector(&v, 2, &out->extensions) && !v.len && parse_extensions(out);
}

bool names_hello_alpn(struct names_view *rest, char out[256])
{
	struct names_view name;
	size_t i;

	if (!names_take_vector(rest, 1, &name))
		return false;
	for (i = 0; i < name.len; i++)
		out[i] = (char)(name.at[i] > ' ' && name.at[i] < 0x7f ? name.at[i] : '?');
	out[i] = '\0';
	return true;
}
