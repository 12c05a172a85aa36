/* SPDX-License-Identifier: MIT */
#include "yara_body.h"

#include <string.h>
#include <strings.h>

#define FIELDS_MAX 200 /* lines of one head: more is no HTTP that anybody sends */
#define ASKED_MAX  32

void body_init(struct body_parser *p, struct body_parser *other)
{
	p->state = BODY_START;
	p->other = other;
	p->line_len = 0;
	p->asked = 0;
	p->heads = 0;
	p->open = false;
}

static void start_body(struct body_parser *p, const struct body_ops *ops, void *ctx,
		       enum body_state state)
{
	p->state = state;
	p->open = true;
	if (ops->start)
		ops->start(ctx, p->encoding);
}

static void end_body(struct body_parser *p, const struct body_ops *ops, void *ctx, bool cut)
{
	if (p->open && ops->end)
		ops->end(ctx, cut);
	p->open = false;
	p->state = BODY_START;
}

/** answered - the other side's oldest request is answered; was it a HEAD? */
static bool answered(struct body_parser *asking)
{
	bool head;

	if (!asking || !asking->asked)
		return false;
	head = asking->heads & 1;
	asking->heads >>= 1;
	asking->asked--;
	return head;
}

/** status_line - "HTTP/1.x NNN ..."; interim answers (1xx) answer nothing */
static bool status_line(struct body_parser *p, const char *s)
{
	int status;

	if (strlen(s) < 12 || s[8] != ' ')
		return false;
	status = (s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0');
	if (status < 100 || status > 999)
		return false;
	p->response = true;
	p->no_body = status < 200 || status == 204 || status == 304;
	if (status >= 200 && answered(p->other))
		p->no_body = true;
	return true;
}

static bool request_line(struct body_parser *p, const char *s)
{
	const char *version = strrchr(s, ' ');

	if (!version || strncmp(version + 1, "HTTP/1.", 7) != 0 || s[0] < 'A' || s[0] > 'Z')
		return false;
	p->response = p->no_body = false;
	if (p->asked < ASKED_MAX)
		p->heads |= (uint32_t)!strncmp(s, "HEAD ", 5) << p->asked++;
	return true;
}

static bool first_line(struct body_parser *p, const char *s)
{
	p->chunked = p->has_length = false;
	p->encoding = BODY_PLAIN;
	p->fields = 0;
	p->state = BODY_HEADER;
	return strncmp(s, "HTTP/1.", 7) == 0 ? status_line(p, s) : request_line(p, s);
}

/** field_value - the value of @line when its name is @name, else NULL */
static const char *field_value(const char *line, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	for (line += n + 1; *line == ' ' || *line == '\t'; line++)
		;
	return line;
}

static bool parse_decimal(const char *s, uint64_t *out)
{
	*out = 0;
	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (*out > UINT64_MAX / 16)
			return false;
		*out = *out * 10 + (uint64_t)(*s - '0');
	}
	return *s == 0 || *s == ' ' || *s == '\t';
}

static bool field(struct body_parser *p, const char *line)
{
	const char *v;

	if (++p->fields > FIELDS_MAX)
		return false;
	v = field_value(line, "content-length");
	if (v) {
		p->has_length = true;
		return parse_decimal(v, &p->left);
	}
	v = field_value(line, "transfer-encoding");
	if (v)
		p->chunked = strcasestr(v, "chunked") != NULL;
	v = field_value(line, "content-encoding");
	if (v && (!strcasecmp(v, "gzip") || !strcasecmp(v, "x-gzip")))
		p->encoding = BODY_GZIP;
	else if (v && !strcasecmp(v, "deflate"))
		p->encoding = BODY_DEFLATE;
	else if (v && strcasecmp(v, "identity") != 0)
		p->encoding = BODY_OTHER;
	return true;
}

/** head_done - the empty line: what comes next (RFC 9112, 6.3)? */
static void head_done(struct body_parser *p, const struct body_ops *ops, void *ctx)
{
	if (p->no_body)
		p->state = BODY_START;
	else if (p->chunked)
		start_body(p, ops, ctx, BODY_CHUNK_HEAD);
	else if (p->has_length && p->left)
		start_body(p, ops, ctx, BODY_LENGTH);
	else if (p->has_length || !p->response)
		p->state = BODY_START;
	else
		start_body(p, ops, ctx, BODY_REST);
}

static bool chunk_head(struct body_parser *p, const char *s)
{
	const char *at = s;

	for (p->left = 0; *at && strchr("0123456789abcdefABCDEF", *at); at++) {
		if (p->left > UINT64_MAX >> 8)
			return false;
		p->left =
			p->left << 4 | (uint64_t)(*at <= '9' ? *at - '0' : (*at | 0x20) - 'a' + 10);
	}
	p->state = p->left ? BODY_CHUNK : BODY_TRAILER;
	return at > s && (!*at || strchr("; \t", *at));
}

/** line_done - a whole line, without its end, is in p->line */
static void line_done(struct body_parser *p, const struct body_ops *ops, void *ctx)
{
	bool ok = true;

	if (p->line_len && p->line[p->line_len - 1] == '\r')
		p->line_len--;
	p->line[p->line_len] = 0;
	if (p->state == BODY_START) /* an empty line before a message is let be */
		ok = !p->line_len || first_line(p, p->line);
	else if (p->state == BODY_HEADER && p->line_len)
		ok = field(p, p->line);
	else if (p->state == BODY_HEADER)
		head_done(p, ops, ctx);
	else if (p->state == BODY_CHUNK_HEAD)
		ok = chunk_head(p, p->line);
	else if (p->state == BODY_CHUNK_END)
		p->state = BODY_CHUNK_HEAD;
	else if (!p->line_len) /* BODY_TRAILER */
		end_body(p, ops, ctx, false);
	p->line_len = 0;
	if (!ok) {
		end_body(p, ops, ctx, true);
		p->state = BODY_OFF;
	}
}

/** take_line - bytes up to a line's end; returns how many were used */
static size_t take_line(struct body_parser *p, const struct body_ops *ops, void *ctx,
			const uint8_t *data, size_t len)
{
	const uint8_t *nl = memchr(data, '\n', len);
	size_t n = nl ? (size_t)(nl - data) : len;

	if (p->line_len + n >= BODY_LINE_MAX) {
		end_body(p, ops, ctx, true);
		p->state = BODY_OFF;
		return len;
	}
	memcpy(p->line + p->line_len, data, n);
	p->line_len += n;
	if (!nl)
		return len;
	line_done(p, ops, ctx);
	return n + 1;
}

static size_t take_body(struct body_parser *p, const struct body_ops *ops, void *ctx,
			const uint8_t *data, size_t len)
{
	size_t n = p->state == BODY_REST || p->left > len ? len : (size_t)p->left;

	if (ops->data)
		ops->data(ctx, data, n);
	if (p->state == BODY_REST)
		return n;
	p->left -= n;
	if (!p->left && p->state == BODY_LENGTH)
		end_body(p, ops, ctx, false);
	else if (!p->left)
		p->state = BODY_CHUNK_END;
	return n;
}

void body_feed(struct body_parser *p, const struct body_ops *ops, void *ctx, const uint8_t *data,
	       size_t len)
{
	while (len && p->state != BODY_OFF) {
		bool in_body =
			p->state == BODY_LENGTH || p->state == BODY_CHUNK || p->state == BODY_REST;
		size_t n = in_body ? take_body(p, ops, ctx, data, len)
				   : take_line(p, ops, ctx, data, len);

		data += n;
		len -= n;
	}
}

void body_last(struct body_parser *p, const struct body_ops *ops, void *ctx)
{
	end_body(p, ops, ctx, p->state != BODY_REST);
	p->state = BODY_OFF;
}
