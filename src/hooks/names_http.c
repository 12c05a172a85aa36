/* SPDX-License-Identifier: MIT */
/*
 * A head is read line by line; a line that lies in one piece is read where it is, and only one that
 * does not is kept. Nothing of a head but what struct names_http shows outlives its line.
 *
 * Where servers differ in what they take, the choice here is to see a host rather than none: a
 * line may end with LF alone, blanks may stand before a field's colon, empty lines before a
 * request. Two hosts that differ are none, as nobody knows which one a server will believe.
 */
#include "names_http.h"

#include <stdio.h>
#include <strings.h>

#define PREFACE	      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define PREFACE_LEN   (sizeof(PREFACE) - 1)
#define VERSION	      "HTTP/1." /* and a digit */
#define VERSION_LEN   (sizeof(VERSION))
#define LENGTH_DIGITS 18 /* fits 64 bits */
#define CHUNK_DIGITS  15
#define STATUS_DIGITS 3

enum names_step names_http2_start(const uint8_t *data, size_t len)
{
	size_t n = len < PREFACE_LEN ? len : PREFACE_LEN;

	if (memcmp(data, PREFACE, n) != 0)
		return NAMES_NOT;
	return n == PREFACE_LEN ? NAMES_FOUND : NAMES_MORE;
}

/* --- words and values ------------------------------------------------------------------------ */

static bool blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static void trim(struct names_view *v)
{
	while (v->len && blank(v->at[0])) {
		v->at++;
		v->len--;
	}
	while (v->len && blank(v->at[v->len - 1]))
		v->len--;
}

static bool is_word(struct names_view v, const char *word)
{
	return v.len == strlen(word) && !strncasecmp((const char *)v.at, word, v.len);
}

/* cut - what stands before the first @c; all, and nothing left, when there is none */
static struct names_view cut(struct names_view *v, uint8_t c)
{
	const uint8_t *at = v->len ? memchr(v->at, c, v->len) : NULL;
	struct names_view out = *v;

	if (at) {
		out.len = (size_t)(at - v->at);
		v->len -= out.len + 1;
		v->at = at + 1;
	} else {
		*v = (struct names_view){0};
	}
	return out;
}

static bool method_char(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* number - decimal digits and nothing else */
static bool number(struct names_view v, unsigned digits, uint64_t *out)
{
	if (!v.len || v.len > digits)
		return false;
	for (*out = 0; v.len; v.at++, v.len--) {
		if (*v.at < '0' || *v.at > '9')
			return false;
		*out = *out * 10 + (uint64_t)(*v.at - '0');
	}
	return true;
}

bool names_http_split_host(struct names_view v, char out[NAMES_HTTP_HOST_MAX + 1])
{
	struct names_view name = v;
	size_t i;

	for (i = v.len; i; i--)
		if (v.at[i - 1] == '@') {
			name = (struct names_view){v.at + i, v.len - i};
			break;
		}
	if (name.len && name.at[0] == '[') { /* an IPv6 address */
		name.at++;
		name.len--;
		name = cut(&name, ']');
	} else {
		name = cut(&name, ':');
	}
	if (name.len && name.at[name.len - 1] == '.')
		name.len--;
	if (!name.len || name.len > NAMES_HTTP_HOST_MAX)
		return false;
	for (i = 0; i < name.len; i++) {
		uint8_t c = name.at[i];

		if (c <= ' ' || c >= 0x7f)
			return false;
		out[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
	}
	out[i] = '\0';
	return true;
}

static bool ends_authority(uint8_t c)
{
	return c == '/' || c == '?' || c == '#';
}

/* authority_of - of "http://AUTHORITY/path"; false: @target has another form */
static bool authority_of(struct names_view target, struct names_view *authority,
			 struct names_view *rest)
{
	static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};
	size_t i, n;

	for (i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
		n = strlen(schemes[i]);
		if (target.len < n || strncasecmp((const char *)target.at, schemes[i], n) != 0)
			continue;
		target.at += n;
		target.len -= n;
		for (n = 0; n < target.len && !ends_authority(target.at[n]); n++)
			;
		*authority = (struct names_view){target.at, n};
		*rest = (struct names_view){target.at + n, target.len - n};
		return true;
	}
	return false;
}

struct names_view names_http_path(struct names_view target)
{
	static const uint8_t root[] = "/";
	struct names_view authority, path = target;
	size_t n;

	if (authority_of(target, &authority, &path) && (!path.len || *path.at != '/'))
		return (struct names_view){root, 1};
	for (n = 0; n < path.len && path.at[n] != '?' && path.at[n] != '#'; n++)
		;
	path.len = n;
	return path;
}

/* --- the start line -------------------------------------------------------------------------- */

static bool version_good(struct names_view v, uint8_t *minor)
{
	if (v.len != VERSION_LEN || memcmp(v.at, VERSION, VERSION_LEN - 1) != 0 ||
	    v.at[VERSION_LEN - 1] < '0' || v.at[VERSION_LEN - 1] > '9')
		return false;
	*minor = (uint8_t)(v.at[VERSION_LEN - 1] - '0');
	return true;
}

/* set_host - what the target or a field says; they must agree */
static void set_host(struct names_http *h, struct names_view v)
{
	char host[NAMES_HTTP_HOST_MAX + 1] = "";

	if (!names_http_split_host(v, host))
		h->host_bad = h->host_bad || v.len;
	else if (h->has_host && strcmp(host, h->host) != 0)
		h->host_bad = true;
	else
		memcpy(h->host, host, sizeof(host));
	h->has_host = true;
}

/* parse_request - METHOD SP target SP HTTP/1.x; the target has no blanks, but servers take some */
static bool parse_request(struct names_http *h, struct names_view line)
{
	struct names_view method = cut(&line, ' '), version, authority, rest;
	size_t i;

	for (i = line.len; i && line.at[i - 1] != ' '; i--)
		;
	if (!method.len || method.len > NAMES_HTTP_METHOD_MAX || i < 2)
		return false;
	version = (struct names_view){line.at + i, line.len - i};
	h->target = (struct names_view){line.at, i - 1};
	trim(&h->target);
	if (!h->target.len || !version_good(version, &h->minor))
		return false;
	memcpy(h->method, method.at, method.len);
	h->method[method.len] = '\0';
	if (authority_of(h->target, &authority, &rest))
		set_host(h, authority);
	else if (!strcmp(h->method, "CONNECT"))
		set_host(h, h->target);
	return true;
}

static bool parse_status(struct names_http *h, struct names_view line)
{
	struct names_view version = cut(&line, ' '), status = cut(&line, ' ');
	uint64_t n;

	if (!version_good(version, &h->minor) || status.len != STATUS_DIGITS ||
	    !number(status, STATUS_DIGITS, &n) || n < 100)
		return false;
	h->status = (uint16_t)n;
	return true;
}

/* start_possible - may a line that begins so be a start line? So that other protocols are
 * recognized without waiting for a line's end */
static bool start_possible(const struct names_http *h, const uint8_t *data, size_t len)
{
	size_t i;

	if (h->response) {
		i = len < VERSION_LEN - 1 ? len : VERSION_LEN - 1;
		return !memcmp(data, VERSION, i);
	}
	for (i = 0; i < len && data[i] != ' '; i++)
		if (i == NAMES_HTTP_METHOD_MAX || !method_char(data[i]))
			return false;
	return !len || data[0] != ' ';
}

/* --- fields ------------------------------------------------------------------------------------
 */

static bool field_length(struct names_http *h, struct names_view value)
{
	uint64_t n;

	while (value.len) { /* "5, 5" is one that was sent twice */
		struct names_view one = cut(&value, ',');

		trim(&one);
		if (!number(one, LENGTH_DIGITS, &n) || (h->has_length && n != h->left))
			return false;
		h->left = n;
		h->has_length = true;
	}
	return true;
}

static void field_encoding(struct names_http *h, struct names_view value)
{
	while (value.len) {
		struct names_view one = cut(&value, ',');

		trim(&one);
		h->coded = true;
		h->chunked = is_word(one, "chunked"); /* when it is the last one */
	}
}

static bool parse_field(struct names_http *h, struct names_view line)
{
	struct names_view name;

	if (blank(line.at[0]))
		return true; /* goes on a field as in the old days: no value that matters does */
	if (!memchr(line.at, ':', line.len))
		return false;
	name = cut(&line, ':');
	trim(&name);
	trim(&line);
	if (!h->response && is_word(name, "host"))
		set_host(h, line);
	else if (is_word(name, "content-length"))
		return field_length(h, line);
	else if (is_word(name, "transfer-encoding"))
		field_encoding(h, line);
	return true;
}

/* --- framing ------------------------------------------------------------------------------------
 */

static void begin(struct names_http *h)
{
	struct names_http fresh = {.response = h->response, .line = h->line};

	fresh.line.len = 0;
	*h = fresh;
}

/* end - the message is complete; what it said stays until the next begins */
static enum names_http_event end(struct names_http *h)
{
	h->state = NAMES_HTTP_AT_START;
	h->taken = 0;
	return NAMES_HTTP_END;
}

/* after_head - where the body ends (RFC 9112, 6.3) */
static enum names_http_state after_head(const struct names_http *h)
{
	if (h->response && (h->status < 200 || h->status == 204 || h->status == 304))
		return NAMES_HTTP_IN_BODY;
	if (h->chunked)
		return NAMES_HTTP_IN_CHUNK_SIZE;
	if (h->coded)
		return h->response ? NAMES_HTTP_TO_THE_END : NAMES_HTTP_IS_BAD;
	if (h->has_length || !h->response)
		return NAMES_HTTP_IN_BODY;
	return NAMES_HTTP_TO_THE_END;
}

static enum names_http_event head_end(struct names_http *h)
{
	h->state = after_head(h);
	if (h->response && (h->status < 200 || h->status == 204 || h->status == 304))
		h->left = 0;
	if (h->host_bad)
		h->host[0] = '\0';
	h->digits = 0;
	return h->state == NAMES_HTTP_IS_BAD ? NAMES_HTTP_BAD : NAMES_HTTP_HEAD;
}

void names_http_no_body(struct names_http *h)
{
	h->state = NAMES_HTTP_IN_BODY;
	h->left = 0;
}

static enum names_http_event parse_line(struct names_http *h, struct names_view line)
{
	bool good;

	if (line.len && line.at[line.len - 1] == '\r')
		line.len--;
	if (h->state == NAMES_HTTP_IN_LINE) {
		good = start_possible(h, line.at, line.len) &&
		       (h->response ? parse_status(h, line) : parse_request(h, line));
		h->state = NAMES_HTTP_IN_FIELDS;
		return good ? NAMES_HTTP_LINE : NAMES_HTTP_BAD;
	}
	if (!line.len)
		return head_end(h);
	return parse_field(h, line) ? NAMES_HTTP_MORE : NAMES_HTTP_BAD;
}

/* head_line - up to the end of one line; in place where it can be */
static enum names_http_event head_line(struct names_http *h, const uint8_t *data, size_t len,
				       size_t *used)
{
	const uint8_t *lf = memchr(data, '\n', len);
	size_t n = lf ? (size_t)(lf - data) + 1 : len;
	struct names_view line = {data, n - 1};
	enum names_http_event event;

	*used = n;
	h->taken += n;
	if (h->taken > NAMES_HTTP_HEAD_MAX)
		return NAMES_HTTP_BAD;
	if (h->line.len || !lf) {
		if (!names_buf_add(&h->line, data, n, NAMES_HTTP_HEAD_MAX))
			return NAMES_HTTP_BAD;
		line = (struct names_view){h->line.data, h->line.len - 1};
	}
	if (!lf)
		return h->state == NAMES_HTTP_IN_LINE &&
				       !start_possible(h, h->line.data, h->line.len)
			       ? NAMES_HTTP_BAD
			       : NAMES_HTTP_MORE;
	event = parse_line(h, line);
	h->line.len = 0;
	return event;
}

/* body - of a known length, or a chunk's content */
static enum names_http_event body(struct names_http *h, size_t len, size_t *used)
{
	*used = len < h->left ? len : (size_t)h->left;
	h->left -= *used;
	h->length += *used;
	if (h->left)
		return NAMES_HTTP_MORE;
	if (h->state == NAMES_HTTP_IN_BODY)
		return end(h);
	h->state = NAMES_HTTP_IN_CHUNK_END;
	return NAMES_HTTP_MORE;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* chunk_size - one byte of a chunk's size, or what ends it */
static enum names_http_event chunk_size(struct names_http *h, uint8_t c)
{
	int digit = hex_digit(c);

	if (!h->digits)
		h->left = 0;
	if (digit >= 0) {
		h->left = h->left << 4 | (unsigned)digit;
		return ++h->digits <= CHUNK_DIGITS ? NAMES_HTTP_MORE : NAMES_HTTP_BAD;
	}
	if (!h->digits)
		return NAMES_HTTP_BAD;
	h->digits = 0;
	h->empty = true;
	h->state = NAMES_HTTP_IN_CHUNK_EXT;
	return NAMES_HTTP_MORE;
}

/* small - the states that read byte by byte: few bytes are spent in them */
static enum names_http_event small(struct names_http *h, uint8_t c)
{
	switch (h->state) {
	case NAMES_HTTP_IN_CHUNK_EXT:
		if (c == '\n')
			h->state = h->left ? NAMES_HTTP_IN_CHUNK : NAMES_HTTP_IN_TRAILER;
		return NAMES_HTTP_MORE;
	case NAMES_HTTP_IN_CHUNK_END:
		if (c == '\n')
			h->state = NAMES_HTTP_IN_CHUNK_SIZE;
		return c == '\n' || c == '\r' ? NAMES_HTTP_MORE : NAMES_HTTP_BAD;
	default: /* trailer */
		if (c == '\n' && h->empty)
			return end(h);
		h->empty = c == '\n' || (h->empty && c == '\r');
		return NAMES_HTTP_MORE;
	}
}

/* start - the first byte of a message, or of an empty line before it */
static enum names_http_event start(struct names_http *h, uint8_t c, size_t *used)
{
	if (c != '\r' && c != '\n') {
		begin(h);
		h->state = NAMES_HTTP_IN_LINE;
		return NAMES_HTTP_MORE;
	}
	*used = 1;
	return ++h->taken <= NAMES_HTTP_HEAD_MAX ? NAMES_HTTP_MORE : NAMES_HTTP_BAD;
}

/* one - at least one byte, or an event that needs none */
static enum names_http_event one(struct names_http *h, const uint8_t *data, size_t len,
				 size_t *used)
{
	enum names_http_event event;

	*used = 0;
	switch (h->state) {
	case NAMES_HTTP_IN_LINE:
	case NAMES_HTTP_IN_FIELDS:
		return len ? head_line(h, data, len, used) : NAMES_HTTP_MORE;
	case NAMES_HTTP_IN_BODY:
	case NAMES_HTTP_IN_CHUNK:
		return body(h, len, used);
	case NAMES_HTTP_TO_THE_END:
		h->length += len;
		*used = len;
		return NAMES_HTTP_MORE;
	case NAMES_HTTP_IS_BAD:
		return NAMES_HTTP_BAD;
	default:
		break;
	}
	if (!len)
		return NAMES_HTTP_MORE;
	if (h->state == NAMES_HTTP_AT_START)
		return start(h, *data, used);
	event = h->state == NAMES_HTTP_IN_CHUNK_SIZE ? chunk_size(h, *data) : small(h, *data);
	/* what ended the size may be the line's end itself */
	if (h->state == NAMES_HTTP_IN_CHUNK_EXT && *data == '\n' && event == NAMES_HTTP_MORE)
		event = small(h, *data);
	*used = 1;
	return event;
}

enum names_http_event names_http_feed(struct names_http *h, const uint8_t *data, size_t len,
				      size_t *used)
{
	enum names_http_event event;
	size_t n;

	*used = 0;
	h->target = (struct names_view){0}; /* what it lay in may be gone */
	do {
		event = one(h, data + *used, len - *used, &n);
		*used += n;
	} while (event == NAMES_HTTP_MORE && *used < len);
	if (event == NAMES_HTTP_BAD) {
		h->state = NAMES_HTTP_IS_BAD;
		h->target = (struct names_view){0};
		names_buf_free(&h->line);
	}
	return event;
}

void names_http_free(struct names_http *h)
{
	names_buf_free(&h->line);
}
