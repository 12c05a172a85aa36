/* SPDX-License-Identifier: MIT */
/*
 * match: looks for many patterns at once in every payload, and blocks, replaces or reports.
 *
 * A pattern is found wherever it stands, also across the borders of chunks. The last bytes that may
 * be the beginning of one that has to be replaced are held until more has come, but not longer than
 * `hold`: they may also be the end of a request, behind which nothing comes until it is answered. A
 * stream that has nothing to do with such a pattern is never delayed.
 *
 * Of what is replaced the leftmost place counts, and of several there the rule that stands first;
 * places do not overlap, and what was put in is not looked at again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/hook.h>

#include "match_set.h"

#define FILE_MAX (64 << 20)

#define HOLD_USED 20 /* ms */
#define HOLD_MOST 60000

struct match_state {
	const struct weir_host *host;
	struct weir_hook_ref *ref;
	unsigned hold; /* ms */
	char path[4096];
	char err[512];
	struct match_set *set;
	uint64_t alerts, blocks, replaced, given_up;
};

/**
 * struct match_wait - bytes of one direction that are held
 * @timer: runs while they are; @from: their place; @over: they were held for long enough
 */
struct match_wait {
	struct match_state *m;
	struct weir_flow *f;
	struct weir_timer *timer;
	uint64_t from;
	enum weir_dir dir;
	bool over;
};

/** struct match_flow - per flow: a stream for each direction once it has payload */
struct match_flow {
	struct match_state *m;
	struct match_set *set; /* a reload does not change what a flow is looked at with */
	struct match_stream *stream[2];
	struct match_hit *later[2]; /* places found behind the bytes that could be accepted */
	size_t n_later[2];
	struct match_wait wait[2];
	uint8_t *told[2]; /* bit for each rule whose alert was told; NULL: none was */
};

/** struct match_ctx - one callback */
struct match_ctx {
	struct match_state *m;
	struct match_flow *mf;
	struct weir_flow *f;
	enum weir_dir dir;
};

/* --- loading ---------------------------------------------------------------------- */

static void *match_load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	struct match_state *m = calloc(1, sizeof(*m));

	if (!m) {
		*err = "out of memory";
		return NULL;
	}
	m->host = host;
	m->ref = ref;
	m->hold = HOLD_USED;
	return m;
}

/** set_hold - "20ms" or "1s" */
static int set_hold(struct match_state *m, const char *value, const char **err)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (!strcmp(end, "s") && n <= HOLD_MOST / 1000)
		n *= 1000;
	else if (strcmp(end, "ms") != 0)
		n = HOLD_MOST + 1;
	if (*value < '0' || *value > '9' || n > HOLD_MOST) {
		*err = "hold= takes a time up to 60s: 20ms, 1s";
		return -1;
	}
	m->hold = (unsigned)n;
	return 0;
}

static int match_config(void *state, const char *key, const char *value, const char **err)
{
	struct match_state *m = state;

	if (!strcmp(key, "hold"))
		return set_hold(m, value, err);
	if (strcmp(key, "file") != 0) {
		*err = "its keys are file=FILE and hold=TIME";
		return -1;
	}
	if (strlen(value) >= sizeof(m->path)) {
		*err = "the name of its file is too long";
		return -1;
	}
	if (strchr(value, ' ')) { /* see paths of weir/hook.h: it could not be read again */
		*err = "the name of its file has a blank in it";
		return -1;
	}
	memcpy(m->path, value, strlen(value) + 1);
	return 0;
}

/** read_all - malloc'd; NULL: no file, or too large (fstat() is not for those that are locked down)
 */
static char *read_all(int fd, size_t *len)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char *text;
	ssize_t n;

	if (size < 0 || size > FILE_MAX || lseek(fd, 0, SEEK_SET) < 0)
		return NULL;
	text = malloc((size_t)size + 1);
	for (*len = 0; text && *len < (size_t)size; *len += (size_t)n) {
		n = read(fd, text + *len, (size_t)size - *len);
		if (!n) /* it has become shorter */
			break;
		if (n < 0) { /* half of the patterns are none */
			free(text);
			return NULL;
		}
	}
	return text;
}

/** load_set - compile what @fd has; NULL with a line in m->err */
static struct match_set *load_set(struct match_state *m, int fd)
{
	struct match_rules rules;
	char line[200];
	size_t len = 0;
	char *text = read_all(fd, &len);
	int rc;

	if (!text) {
		snprintf(m->err, sizeof(m->err),
			 "%.100s: can't be read, or is no file, or larger than %d MiB", m->path,
			 FILE_MAX >> 20);
		return NULL;
	}
	rc = match_rules_parse(&rules, text, len, line, sizeof(line));
	free(text);
	if (!rc) {
		struct match_set *s = match_set_new(&rules, line, sizeof(line));

		if (!s)
			snprintf(m->err, sizeof(m->err), "%.100s: %s", m->path, line);
		return s;
	}
	match_rules_free(&rules);
	snprintf(m->err, sizeof(m->err), "%.100s: %s", m->path,
		 rc == -EINVAL ? line : "out of memory");
	return NULL;
}

static int match_ready(void *state, const char **err)
{
	struct match_state *m = state;
	int fd;

	if (!m->path[0]) {
		*err = "it needs a file of patterns: match=FILE";
		return -1;
	}
	fd = open(m->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(m->err, sizeof(m->err), "%.200s: %m", m->path);
	} else {
		m->set = load_set(m, fd);
		close(fd);
	}
	*err = m->err;
	return m->set ? 0 : -1;
}

static const char *match_paths(void *state)
{
	return ((struct match_state *)state)->path;
}

static void reloaded(void *ctx, int fd)
{
	struct match_state *m = ctx;
	struct match_set *s = NULL;

	if (fd >= 0) {
		s = load_set(m, fd);
		close(fd);
	} else {
		snprintf(m->err, sizeof(m->err), "%.100s: %s", m->path, strerror(-fd));
	}
	if (!s) { /* the patterns of before stay in force */
		m->host->log(m->ref, NULL, WEIR_LOG_ERROR, m->err);
		return;
	}
	match_set_put(m->set);
	m->set = s;
}

static void match_reload(void *state)
{
	struct match_state *m = state;

	m->host->open(m->ref, m->path, O_RDONLY, reloaded, m);
}

static void match_unload(void *state)
{
	struct match_state *m = state;

	match_set_put(m->set);
	free(m);
}

/* --- a flow ------------------------------------------------------------------------- */

static void free_flow(void *data)
{
	struct match_flow *mf = data;

	for (int d = 0; d < 2; d++) {
		if (mf->wait[d].timer)
			mf->m->host->timer_stop(mf->wait[d].timer);
		match_stream_free(mf->stream[d]);
		free(mf->later[d]);
		free(mf->told[d]);
	}
	match_set_put(mf->set);
	free(mf);
}

static int match_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct match_state *m = state;
	struct match_flow *mf = calloc(1, sizeof(*mf));

	(void)info;
	if (!mf)
		return WEIR_ERROR;
	mf->m = m;
	mf->set = match_set_get(m->set);
	for (int d = 0; d < 2; d++)
		mf->wait[d] = (struct match_wait){.m = m, .f = f, .dir = (enum weir_dir)d};
	m->host->set_data(f, mf, free_flow);
	return WEIR_PASS;
}

static void tell(struct match_ctx *c, const struct match_rule *r, uint64_t at)
{
	static const char *const action[] = {"alert", "block", "replace"};
	char json[256];

	snprintf(json, sizeof(json),
		 "{\"name\":\"%s\",\"action\":\"%s\",\"dir\":\"%s\",\"end\":%llu,\"line\":%u}",
		 r->name, action[r->action], c->dir == WEIR_UP ? "up" : "down",
		 (unsigned long long)at, r->line);
	c->m->host->event(c->f, "match", json);
}

/** told - was this alert told of this direction? It is from now on; without memory it is again */
static bool told(struct match_ctx *c, const struct match_rule *r)
{
	const size_t i = (size_t)(r - match_set_rule(c->mf->set, 0));
	uint8_t **bits = &c->mf->told[c->dir], bit = (uint8_t)(1U << i % 8);
	bool before;

	if (!*bits)
		*bits = calloc(match_set_size(c->mf->set) / 8 + 1, 1);
	if (!*bits)
		return false;
	before = (*bits)[i / 8] & bit;
	(*bits)[i / 8] |= bit;
	return before;
}

static void on_alert(void *ctx, const struct match_rule *r, uint64_t to)
{
	struct match_ctx *c = ctx;

	if (told(c, r))
		return;
	c->m->alerts++;
	tell(c, r, to);
}

static int blocked(struct match_ctx *c, const struct match_set *set, uint32_t rule, uint64_t at)
{
	c->m->blocks++;
	tell(c, match_set_rule(set, rule - 1), at);
	return WEIR_BLOCK;
}

static int by_place(const void *a, const void *b)
{
	const struct match_hit *x = a, *y = b;

	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return (x->rule > y->rule) - (x->rule < y->rule);
}

static void sort_hits(struct match_found *found)
{
	if (found->n > 1)
		qsort(found->hits, found->n, sizeof(found->hits[0]), by_place);
}

static int replace(struct match_ctx *c, const struct match_set *set, const struct match_hit *h,
		   uint64_t base)
{
	const struct match_rule *r = match_set_rule(set, h->rule);

	c->m->replaced++;
	return c->m->host->replace(c->f, (size_t)(h->from - base), (size_t)(h->to - h->from),
				   r->with, r->with_len);
}

static void held_enough(void *ctx)
{
	struct match_wait *w = ctx;

	w->timer = NULL;
	w->over = true;
	w->m->host->resume(w->f, w->dir);
}

/** hold_from - bytes from @from on (UINT64_MAX: none) are held; false: no memory for that */
static bool hold_from(struct match_wait *w, uint64_t from)
{
	if (w->timer && w->from == from)
		return true;
	if (w->timer)
		w->m->host->timer_stop(w->timer);
	w->timer = NULL;
	w->from = from;
	if (from != UINT64_MAX)
		w->timer = w->m->host->timer(w->m->ref, w->m->hold, held_enough, w);
	return w->timer || from == UINT64_MAX;
}

/**
 * edit_stream - replace what can be, and say how many bytes may go on; or WEIR_ERROR
 *
 * Places at or behind the bytes that are held come again with the next call.
 */
static int64_t edit_stream(struct match_ctx *c, struct match_flow *mf, const struct weir_payload *p,
			   struct match_found *found)
{
	struct match_stream *s = mf->stream[p->dir];
	const bool wait = !(p->flags & WEIR_LAST) && !mf->wait[p->dir].over && c->m->hold;
	size_t pos = 0, i = 0, hold = wait ? match_stream_partial(s, p->data, p->len, 0) : p->len;

	sort_hits(found);
	for (; i < found->n; i++) {
		const struct match_hit *h = &found->hits[i];

		if (h->from < p->offset + pos)
			continue; /* overlaps the one before it */
		if (h->from >= p->offset + hold)
			break;
		if (replace(c, mf->set, h, p->offset))
			return WEIR_ERROR;
		pos = (size_t)(h->to - p->offset);
		if (pos > hold)
			hold = match_stream_partial(s, p->data, p->len, pos);
	}
	mf->wait[p->dir].over = false;
	if (!hold_from(&mf->wait[p->dir], hold < p->len ? p->offset + hold : UINT64_MAX))
		return WEIR_ERROR;
	found->n -= i;
	if (found->n)
		memmove(found->hits, found->hits + i, found->n * sizeof(found->hits[0]));
	return (int64_t)hold;
}

static int64_t match_payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	struct match_state *m = state;
	struct match_flow *mf = m->host->data(f);
	struct match_ctx c = {.m = m, .mf = mf, .f = f, .dir = p->dir};
	struct match_found found = {.alert = on_alert, .ctx = &c};
	struct match_stream **s;
	int64_t rc;

	if (!mf)
		return WEIR_ERROR;
	s = &mf->stream[p->dir];
	if (!*s)
		*s = match_stream_new(mf->set, p->dir);
	if (!*s)
		return WEIR_ERROR;
	found.hits = mf->later[p->dir];
	found.n = found.cap = mf->n_later[p->dir];
	match_stream_scan(*s, p->offset, p->data, p->len, p->flags & WEIR_LAST, &found);
	m->given_up += found.given_up;
	if (found.failed)
		rc = WEIR_ERROR;
	else if (found.blocked)
		rc = blocked(&c, mf->set, found.blocked, p->offset + p->len);
	else
		rc = edit_stream(&c, mf, p, &found);
	mf->later[p->dir] = found.hits;
	mf->n_later[p->dir] = found.n;
	return rc;
}

/** edit_datagram - what edit_stream() does, with nothing to wait for */
static int edit_datagram(struct match_ctx *c, struct match_flow *mf, struct match_found *found)
{
	uint64_t pos = 0;

	sort_hits(found);
	for (size_t i = 0; i < found->n; i++) {
		if (found->hits[i].from < pos)
			continue;
		if (replace(c, mf->set, &found->hits[i], 0))
			return WEIR_ERROR;
		pos = found->hits[i].to;
	}
	return WEIR_PASS;
}

static int match_datagram(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	struct match_state *m = state;
	struct match_flow *mf = m->host->data(f);
	struct match_ctx c = {.m = m, .mf = mf, .f = f, .dir = d->dir};
	struct match_found found = {.alert = on_alert, .ctx = &c};
	int rc = WEIR_ERROR;

	if (!mf)
		return WEIR_ERROR;
	match_set_scan(mf->set, d->dir, d->data, d->len, &found);
	m->given_up += found.given_up;
	if (!found.failed && found.blocked)
		rc = blocked(&c, mf->set, found.blocked, d->len);
	else if (!found.failed)
		rc = edit_datagram(&c, mf, &found);
	free(found.hits);
	return rc;
}

static void match_report(void *state, char *line, size_t size)
{
	const struct match_state *m = state;

	snprintf(line, size,
		 "%zu patterns (%zu by PCRE2); %llu alerts, %llu blocks, %llu replaced, "
		 "%llu given up",
		 match_set_size(m->set), match_set_pcre(m->set), (unsigned long long)m->alerts,
		 (unsigned long long)m->blocks, (unsigned long long)m->replaced,
		 (unsigned long long)m->given_up);
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,
	.name = "match",
	.help = "many literals and regular expressions: alert, block or replace",
	.default_key = "file",
	.load = match_load,
	.config = match_config,
	.ready = match_ready,
	.paths = match_paths,
	.reload = match_reload,
	.unload = match_unload,
	.flow_open = match_open,
	.payload = match_payload,
	.datagram = match_datagram,
	.report = match_report,
};
WEIR_HOOK(hook)
