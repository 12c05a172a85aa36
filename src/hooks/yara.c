/* SPDX-License-Identifier: MIT */
/*
 * yara: looks at payload with YARA rules, and blocks or reports.
 *
 * Theory of operation
 *
 * YARA looks at pieces of memory, not at streams, so a stream is shown to it in two ways. As it
 * passes: each new piece together with the `overlap` bytes before it, so that a text across the
 * border is found. And as files: the bodies of HTTP/1 messages are gathered, up to `limit` bytes
 * each, unpacked where they are gzip or deflate, and looked at as a whole when they are complete,
 * for rules that speak of a file's beginning, its size or several texts in it.
 *
 * Nothing is held back: the piece with which a rule matches does not pass, nor does what comes
 * after it. So the receiver never has all of a file that matches, unless the file ends with the
 * connection and nothing else says where; and a small one it has not at all.
 *
 * Rules may ask for whom it is: the external variables user, comm, exe, host (text), direction
 * ("up" or "down"), and kind ("stream", "body" or "datagram").
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yara.h>
#include <zlib.h>

#include <weir/hook.h>

#include "yara_body.h"

#define LIMIT_USED   (1u << 20) /* of a body, unless limit= says otherwise */
#define LIMIT_MOST   (64u << 20)
#define OVERLAP_USED 4096u
#define OVERLAP_MOST (1u << 20)
#define RULES_MOST   (64 << 20)
#define SCAN_SECONDS 1	/* libyara counts in whole seconds; the sizes above bound it far below */
#define NAMES_MAX    16 /* rules reported of a flow, once each */
#define UNPACK_TIMES 2	/* the limit: what one payload may come to when it is unpacked */

struct yara_state {
	const struct weir_host *host;
	struct weir_hook_ref *ref;
	char path[4096];
	char err[512];
	size_t limit, overlap;
	bool block, streams, files, locked;
	YR_RULES *rules;
	YR_SCANNER *scanner;
	uint64_t scans, bytes, matches, blocks, failed, unpacked_cut;
	size_t unpack_left;    /* bytes that the payload at hand may still come to */
	struct yara_side *now; /* whom the scanner's callback is for */
};

/** struct yara_side - one direction of a flow */
struct yara_side {
	struct yara_flow *flow;
	enum weir_dir dir;
	uint64_t seen; /* bytes of the stream that were looked at */
	uint8_t *tail; /* the last `overlap` of them */
	size_t tail_len;
	struct body_parser *http; /* NULL: files are not asked for */
	uint8_t *body;		  /* gathered */
	size_t body_len, body_cap;
	enum body_encoding encoding;
	bool body_over; /* more than limit: not gathered any further */
};

struct yara_flow {
	struct yara_state *y;
	struct weir_flow *f;
	bool matched; /* a rule that blocks */
	bool failed;  /* a body could not be looked at */
	unsigned n_told;
	const YR_RULE *told[NAMES_MAX];
	struct yara_side side[2];
};

/* --- loading -------------------------------------------------------------------------- */

static void *yara_load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	struct yara_state *y = calloc(1, sizeof(*y));

	if (!y || yr_initialize() != ERROR_SUCCESS) {
		*err = "libyara does not start";
		free(y);
		return NULL;
	}
	y->host = host;
	y->ref = ref;
	y->limit = LIMIT_USED;
	y->overlap = OVERLAP_USED;
	y->block = y->streams = y->files = true;
	return y;
}

static void yara_unload(void *state)
{
	struct yara_state *y = state;

	if (y->scanner)
		yr_scanner_destroy(y->scanner);
	if (y->rules)
		yr_rules_destroy(y->rules);
	yr_finalize();
	free(y);
}

/** parse_size - digits and k or m, at most @most; 0 or -1 */
static int parse_size(const char *value, size_t most, size_t *out)
{
	unsigned long long n;
	char *end;

	if (*value < '0' || *value > '9')
		return -1;
	n = strtoull(value, &end, 10);
	if (*end == 'k')
		n = n > most ? n : n << 10;
	else if (*end == 'm')
		n = n > most ? n : n << 20;
	else if (*end)
		return -1;
	if ((*end && end[1] && strcmp(end + 1, "b") != 0) || !n || n > most)
		return -1;
	*out = (size_t)n;
	return 0;
}

static int set_word(const char *value, const char *yes, const char *no, bool *out)
{
	if (strcmp(value, yes) != 0 && strcmp(value, no) != 0)
		return -1;
	*out = !strcmp(value, yes);
	return 0;
}

static int set_scan(struct yara_state *y, const char *value)
{
	y->streams = !strcmp(value, "streams") || !strcmp(value, "both");
	y->files = !strcmp(value, "files") || !strcmp(value, "both");
	return y->streams || y->files ? 0 : -1;
}

static int yara_config(void *state, const char *key, const char *value, const char **err)
{
	struct yara_state *y = state;

	if (!strcmp(key, "limit")) {
		*err = "limit= takes a size up to 64m";
		return parse_size(value, LIMIT_MOST, &y->limit);
	}
	if (!strcmp(key, "overlap")) {
		*err = "overlap= takes a size up to 1m";
		return parse_size(value, OVERLAP_MOST, &y->overlap);
	}
	if (!strcmp(key, "on")) {
		*err = "on= is block or alert";
		return set_word(value, "block", "alert", &y->block);
	}
	if (!strcmp(key, "scan")) {
		*err = "scan= is streams, files or both";
		return set_scan(y, value);
	}
	*err = "its keys are file=RULES, limit=, overlap=, on= and scan=";
	if (strcmp(key, "file") != 0)
		return -1;
	*err = "the name of its file is too long";
	if (strlen(value) >= sizeof(y->path))
		return -1;
	*err = "the name of its file has a blank in it";
	if (strchr(value, ' ')) /* see paths of weir/hook.h: it could not be read again */
		return -1;
	memcpy(y->path, value, strlen(value) + 1);
	return 0;
}

static void compile_error(int level, const char *file, int line, const YR_RULE *rule,
			  const char *message, void *ctx)
{
	struct yara_state *y = ctx;

	(void)rule;
	if (level != YARA_ERROR_LEVEL_ERROR || y->err[0])
		return;
	snprintf(y->err, sizeof(y->err), "%.150s: line %d: %.250s", file ? file : y->path, line,
		 message);
}

static const char *const externals[] = {"user", "comm", "exe", "host", "direction", "kind"};

/** read_all - all of @fd, malloc'd; NULL: no file, too large, or with a NUL in it */
static char *read_all(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END), at = 0;
	char *text;
	ssize_t n;

	if (size < 0 || size > RULES_MOST || lseek(fd, 0, SEEK_SET) < 0)
		return NULL;
	text = malloc((size_t)size + 1);
	while (text && at < size && (n = read(fd, text + at, (size_t)(size - at))) > 0)
		at += n;
	if (text && !memchr(text, 0, (size_t)at)) {
		text[at] = 0;
		return text;
	}
	free(text);
	return NULL;
}

/** compile - rules of @text; NULL with a line in y->err */
static YR_RULES *compile(struct yara_state *y, const char *text)
{
	YR_COMPILER *c = NULL;
	YR_RULES *rules = NULL;
	int bad = 0;

	y->err[0] = 0;
	if (yr_compiler_create(&c) != ERROR_SUCCESS) {
		snprintf(y->err, sizeof(y->err), "out of memory");
		return NULL;
	}
	yr_compiler_set_callback(c, compile_error, y);
	if (y->locked) /* no file can be opened any more */
		yr_compiler_set_include_callback(c, NULL, NULL, NULL);
	for (size_t i = 0; i < sizeof(externals) / sizeof(externals[0]); i++)
		bad |= yr_compiler_define_string_variable(c, externals[i], "") != ERROR_SUCCESS;
	if (!bad)
		bad = yr_compiler_add_string(c, text, NULL);
	if (!bad && yr_compiler_get_rules(c, &rules) != ERROR_SUCCESS)
		rules = NULL;
	if (!rules && !y->err[0])
		snprintf(y->err, sizeof(y->err), "%.150s: its rules can't be compiled", y->path);
	yr_compiler_destroy(c);
	return rules;
}

/** compile_file - rules from @fd, which is closed; NULL with a line in y->err */
static YR_RULES *compile_file(struct yara_state *y, int fd)
{
	char *text = read_all(fd);
	YR_RULES *rules = NULL;

	close(fd);
	if (text)
		rules = compile(y, text);
	else
		snprintf(y->err, sizeof(y->err), "%.150s: no text file, or larger than %d MiB",
			 y->path, RULES_MOST >> 20);
	free(text);
	return rules;
}

static int on_match(YR_SCAN_CONTEXT *context, int message, void *data, void *ctx);

/** use_rules - from now on @rules, which it takes; 0 or -1 */
static int use_rules(struct yara_state *y, YR_RULES *rules)
{
	YR_SCANNER *s;

	if (yr_scanner_create(rules, &s) != ERROR_SUCCESS) {
		snprintf(y->err, sizeof(y->err), "out of memory");
		yr_rules_destroy(rules);
		return -1;
	}
	/* No handlers for signals: this is memory of ours, no file that may shrink. */
	yr_scanner_set_flags(s, SCAN_FLAGS_NO_TRYCATCH | SCAN_FLAGS_REPORT_RULES_MATCHING |
					SCAN_FLAGS_FAST_MODE);
	yr_scanner_set_timeout(s, SCAN_SECONDS);
	yr_scanner_set_callback(s, on_match, y);
	if (y->scanner)
		yr_scanner_destroy(y->scanner);
	if (y->rules)
		yr_rules_destroy(y->rules);
	y->scanner = s;
	y->rules = rules;
	return 0;
}

static int yara_ready(void *state, const char **err)
{
	struct yara_state *y = state;
	YR_RULES *rules = NULL;
	int fd;

	*err = y->err;
	if (!y->path[0]) {
		*err = "it needs a file of rules: yara=FILE";
		return -1;
	}
	fd = open(y->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(y->err, sizeof(y->err), "%.150s: %s", y->path, strerror(errno));
		return -1;
	}
	rules = compile_file(y, fd);
	return rules ? use_rules(y, rules) : -1;
}

static void yara_locked(void *state)
{
	((struct yara_state *)state)->locked = true;
}

static const char *yara_paths(void *state)
{
	return ((struct yara_state *)state)->path;
}

static void reloaded(void *ctx, int fd)
{
	struct yara_state *y = ctx;
	YR_RULES *rules = NULL;

	if (fd < 0) {
		snprintf(y->err, sizeof(y->err), "%.150s: %s", y->path, strerror(-fd));
	} else {
		rules = compile_file(y, fd);
	}
	if (!rules || use_rules(y, rules)) /* the rules of before stay in force */
		y->host->log(y->ref, NULL, WEIR_LOG_ERROR, y->err);
}

static void yara_reload(void *state)
{
	struct yara_state *y = state;

	y->host->open(y->ref, y->path, O_RDONLY, reloaded, y);
}

/* --- a look ------------------------------------------------------------------------------ */

/** told - was this rule reported for the flow, or are there too many? It is from now on */
static bool told(struct yara_flow *yf, const YR_RULE *rule)
{
	for (unsigned i = 0; i < yf->n_told; i++)
		if (yf->told[i] == rule)
			return true;
	if (yf->n_told == NAMES_MAX)
		return true;
	yf->told[yf->n_told++] = rule;
	return false;
}

/** wants_alert - a rule with the tag "alert" only reports, whatever on= says */
static bool wants_alert(const YR_RULE *rule)
{
	const char *tag;

	yr_rule_tags_foreach(rule, tag)
	{
		if (!strcmp(tag, "alert"))
			return true;
	}
	return false;
}

static int on_match(YR_SCAN_CONTEXT *context, int message, void *data, void *ctx)
{
	struct yara_state *y = ctx;
	struct yara_flow *yf = y->now->flow;
	const YR_RULE *rule = data;
	char json[320];
	bool block;

	(void)context;
	if (message != CALLBACK_MSG_RULE_MATCHING)
		return CALLBACK_CONTINUE;
	block = y->block && !wants_alert(rule);
	if (told(yf, rule) && (!block || yf->matched)) /* what ends a flow is said in any case */
		return CALLBACK_CONTINUE;
	yf->matched |= block;
	y->matches++;
	/* Identifiers are letters, digits and _ by YARA's grammar: nothing to escape. */
	snprintf(json, sizeof(json),
		 "{\"rule\":\"%.128s\",\"action\":\"%s\",\"dir\":\"%s\",\"offset\":%llu}",
		 rule->identifier, block ? "block" : "alert",
		 y->now->dir == WEIR_UP ? "up" : "down", (unsigned long long)y->now->seen);
	y->host->event(yf->f, "yara", json);
	return CALLBACK_CONTINUE;
}

static void define(YR_SCANNER *s, const char *name, const char *value)
{
	yr_scanner_define_string_variable(s, name, value ? value : "");
}

/** scan - let the rules look at @data; -1: they could not */
static int scan(struct yara_side *side, const char *kind, const uint8_t *data, size_t len)
{
	struct yara_state *y = side->flow->y;
	const struct weir_info *i = y->host->info(side->flow->f);
	int rc;

	define(y->scanner, "user", i->owner->user);
	define(y->scanner, "comm", i->owner->comm);
	define(y->scanner, "exe", i->owner->exe);
	define(y->scanner, "host", i->host);
	define(y->scanner, "direction", side->dir == WEIR_UP ? "up" : "down");
	define(y->scanner, "kind", kind);
	y->now = side;
	y->scans++;
	y->bytes += len;
	rc = yr_scanner_scan_mem(y->scanner, data, len);
	y->now = NULL;
	if (rc == ERROR_SUCCESS)
		return 0;
	y->failed++;
	return -1;
}

/* --- bodies -------------------------------------------------------------------------------- */

static void body_start(void *ctx, enum body_encoding encoding)
{
	struct yara_side *side = ctx;

	side->body_len = 0;
	side->body_over = false;
	side->encoding = encoding;
}

static void body_data(void *ctx, const uint8_t *data, size_t len)
{
	struct yara_side *side = ctx;
	size_t limit = side->flow->y->limit, room = limit - side->body_len;

	if (len > room) {
		side->body_over = true;
		len = room;
	}
	if (side->body_len + len > side->body_cap) {
		size_t cap = side->body_cap ? side->body_cap : 4096;
		uint8_t *bigger;

		while (cap < side->body_len + len)
			cap *= 2;
		bigger = realloc(side->body, cap);
		if (!bigger) {
			side->body_over = true;
			return;
		}
		side->body = bigger;
		side->body_cap = cap;
	}
	memcpy(side->body + side->body_len, data, len);
	side->body_len += len;
}

/** inflate_all - @side's body into @out; gzip files may have several parts (RFC 1952, 2.2) */
static int inflate_all(struct yara_side *side, int window_bits, uint8_t *out, size_t size,
		       size_t *len)
{
	z_stream z = {.next_in = side->body, .avail_in = (unsigned)side->body_len};
	int rc;

	if (inflateInit2(&z, window_bits) != Z_OK)
		return Z_MEM_ERROR;
	z.next_out = out;
	z.avail_out = (unsigned)size;
	do
		rc = inflate(&z, Z_FINISH);
	while (rc == Z_STREAM_END && z.avail_in && z.avail_out && inflateReset(&z) == Z_OK);
	*len = size - z.avail_out;
	inflateEnd(&z);
	return rc;
}

/** unpack - @side's body into @out: of gzip, or deflate, which some send without zlib's head */
static int unpack(struct yara_side *side, uint8_t *out, size_t size, size_t *len)
{
	/* 32: zlib finds out whether it is gzip or zlib; "deflate" is zlib's format (RFC 9110) */
	int rc = inflate_all(side, 32 + MAX_WBITS, out, size, len);

	if (rc == Z_DATA_ERROR && !*len && side->encoding == BODY_DEFLATE)
		rc = inflate_all(side, -MAX_WBITS, out, size, len);
	return rc;
}

/**
 * scan_unpacked - look at what @side's body is when it is unpacked; -1: that could not be done
 *
 * One payload may bring many small bodies, each of which unpacks to very much: all of them
 * together are bounded.
 */
static int scan_unpacked(struct yara_side *side)
{
	struct yara_state *y = side->flow->y;
	size_t size = y->limit < y->unpack_left ? y->limit : y->unpack_left, len = 0;
	uint8_t *out = size ? malloc(size) : NULL;
	int rc;

	if (!out) {
		y->failed++;
		return -1;
	}
	rc = unpack(side, out, size, &len);
	y->unpacked_cut += rc != Z_STREAM_END;
	y->unpack_left -= len;
	rc = rc == Z_MEM_ERROR ? -1 : len ? scan(side, "body", out, len) : 0;
	free(out);
	return rc;
}

static void body_end(void *ctx, bool cut)
{
	struct yara_side *side = ctx;

	(void)cut; /* a part of a file is looked at as well */
	if (!side->body_len)
		return;
	if (scan(side, "body", side->body, side->body_len) ||
	    ((side->encoding == BODY_GZIP || side->encoding == BODY_DEFLATE) &&
	     scan_unpacked(side)))
		side->flow->failed = true;
	free(side->body);
	side->body = NULL;
	side->body_len = side->body_cap = 0;
}

static const struct body_ops body_ops = {body_start, body_data, body_end};

/* --- a flow ------------------------------------------------------------------------------- */

static void free_flow(void *data)
{
	struct yara_flow *yf = data;

	for (int d = 0; d < 2; d++) {
		free(yf->side[d].tail);
		free(yf->side[d].http);
		free(yf->side[d].body);
	}
	free(yf);
}

static int yara_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct yara_state *y = state;
	struct yara_flow *yf = calloc(1, sizeof(*yf));

	(void)info;
	if (!yf)
		return WEIR_ERROR;
	yf->y = y;
	yf->f = f;
	for (int d = 0; d < 2; d++) {
		yf->side[d].flow = yf;
		yf->side[d].dir = (enum weir_dir)d;
	}
	y->host->set_data(f, yf, free_flow);
	return WEIR_PASS;
}

/** start_side - what one direction needs from its first byte on; 0 or -1 */
static int start_side(struct yara_flow *yf)
{
	for (int d = 0; d < 2; d++) {
		struct yara_side *s = &yf->side[d];

		s->tail = malloc(2 * yf->y->overlap);
		if (yf->y->files)
			s->http = malloc(sizeof(*s->http));
		if (!s->tail || (yf->y->files && !s->http))
			return -1;
	}
	for (int d = 0; yf->y->files && d < 2; d++)
		body_init(yf->side[d].http, yf->side[!d].http);
	return 0;
}

/** keep_tail - the last bytes of what was looked at, for the next look */
static void keep_tail(struct yara_side *s, const uint8_t *data, size_t len)
{
	size_t overlap = s->flow->y->overlap, keep;

	if (len >= overlap) {
		memcpy(s->tail, data + len - overlap, overlap);
		s->tail_len = overlap;
		return;
	}
	keep = s->tail_len + len > overlap ? overlap - len : s->tail_len;
	memmove(s->tail, s->tail + s->tail_len - keep, keep);
	memcpy(s->tail + keep, data, len);
	s->tail_len = keep + len;
}

/** scan_stream - @data with what was before; two looks, so that @data need not be copied whole */
static int scan_stream(struct yara_side *s, const uint8_t *data, size_t len)
{
	size_t overlap = s->flow->y->overlap, head = len < overlap ? len : overlap;
	int rc = 0;

	if (s->tail_len) { /* s->tail has room for both */
		memcpy(s->tail + s->tail_len, data, head);
		rc = scan(s, "stream", s->tail, s->tail_len + head);
	}
	if (!rc && (!s->tail_len || len > head))
		rc = scan(s, "stream", data, len);
	keep_tail(s, data, len);
	return rc;
}

static int64_t yara_payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	struct yara_state *y = state;
	struct yara_flow *yf = y->host->data(f);
	struct yara_side *s;
	bool failed;

	if (!yf || (!yf->side[0].tail && start_side(yf)))
		return WEIR_ERROR;
	s = &yf->side[p->dir];
	if (p->len && y->streams && scan_stream(s, p->data, p->len))
		return WEIR_ERROR;
	y->unpack_left = UNPACK_TIMES * y->limit;
	if (s->http) {
		body_feed(s->http, &body_ops, s, p->data, p->len);
		if (p->flags & WEIR_LAST)
			body_last(s->http, &body_ops, s);
	}
	s->seen += p->len;
	failed = yf->failed;
	yf->failed = false;
	if (!yf->matched)
		return failed ? WEIR_ERROR : (int64_t)p->len;
	y->blocks++;
	return WEIR_BLOCK;
}

static int yara_datagram(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	struct yara_state *y = state;
	struct yara_flow *yf = y->host->data(f);

	if (!yf || (d->len && scan(&yf->side[d->dir], "datagram", d->data, d->len)))
		return WEIR_ERROR;
	if (!yf->matched)
		return WEIR_PASS;
	y->blocks++;
	return WEIR_BLOCK;
}

static void yara_report(void *state, char *line, size_t size)
{
	const struct yara_state *y = state;

	snprintf(line, size,
		 "%llu looks at %llu bytes; %llu matches, %llu blocks, %llu looks failed, "
		 "%llu bodies not unpacked whole",
		 (unsigned long long)y->scans, (unsigned long long)y->bytes,
		 (unsigned long long)y->matches, (unsigned long long)y->blocks,
		 (unsigned long long)y->failed, (unsigned long long)y->unpacked_cut);
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,
	.name = "yara",
	.help = "YARA rules over streams, datagrams and HTTP bodies",
	.default_key = "file",
	.load = yara_load,
	.config = yara_config,
	.ready = yara_ready,
	.locked = yara_locked,
	.paths = yara_paths,
	.reload = yara_reload,
	.unload = yara_unload,
	.flow_open = yara_open,
	.payload = yara_payload,
	.datagram = yara_datagram,
	.report = yara_report,
};
WEIR_HOOK(hook)
