/* SPDX-License-Identifier: MIT */
#include "match_set.h"

#define PCRE2_CODE_UNIT_WIDTH 8

#include <ctype.h>
#include <hs/hs.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Places to replace that one look may find and a flow may keep: 1 MiB of them. */
#define HITS_MAX 65536
/* A beginning that PCRE2 waits with for more bytes; a longer one is let go. */
#define PARTIAL_MAX (64 * 1024)
/* PCRE2's work from one place on: a millisecond or two. */
#define PCRE_MATCH_LIMIT 100000
#define PCRE_DEPTH_LIMIT 20000
#define PCRE_HEAP_LIMIT	 4096 /* KiB */
/* And of one look at all places, in time of this thread's own; the second for each rule of PCRE2's.
 */
#define LOOK_NS (10 * 1000000LL)
#define RULE_NS 1000000LL
#define CALLOUT "(?C)" /* before a pattern: called at each place where a match could begin */

/** struct engine - the same patterns for streams and for datagrams */
struct engine {
	hs_database_t *stream, *block;
};

/** struct prefixes - literals to be replaced, in order, to find their beginnings */
struct prefixes {
	uint32_t *rule;
	size_t n, longest;
	uint8_t *pairs; /* bit for each two bytes with which one begins */
	uint8_t first[32];
};

struct match_set {
	unsigned refs;
	struct match_rules rules;
	struct engine literals, regexes;
	hs_scratch_t *scratch;
	struct prefixes as_is, folded; /* folded: those that ignore case, in lower case */
	uint32_t *pcre_rule;
	pcre2_code **pcre;
	size_t n_pcre;
	pcre2_match_data *pcre_data;
	pcre2_match_context *pcre_ctx;
	int64_t began, deadline; /* of a look: CPU time; by the clock, which is asked first */
};

struct match_stream {
	struct match_set *set;
	unsigned dir;
	hs_stream_t *literals, *regexes;
	uint64_t scanned;    /* by Hyperscan */
	uint64_t pcre_wait;  /* where PCRE2 waits for more */
	uint64_t *pcre_next; /* per rule, where to go on */
};

/* --- compiling ------------------------------------------------------------------- */

static bool is_set(const uint8_t *bits, unsigned i)
{
	return bits[i / 8] >> (i % 8) & 1;
}

static void set_bit(uint8_t *bits, unsigned i)
{
	bits[i / 8] |= (uint8_t)(1U << (i % 8));
}

/** struct hs_list - what a call of Hyperscan's compiler wants */
struct hs_list {
	const char **text;
	unsigned *flags, *ids;
	size_t *lens;
	unsigned n;
};

static int list_alloc(struct hs_list *l, size_t n)
{
	*l = (struct hs_list){
		.text = calloc(n + 1, sizeof(*l->text)),
		.flags = calloc(n + 1, sizeof(*l->flags)),
		.ids = calloc(n + 1, sizeof(*l->ids)),
		.lens = calloc(n + 1, sizeof(*l->lens)),
	};
	return l->text && l->flags && l->ids && l->lens ? 0 : -1;
}

static void list_free(struct hs_list *l)
{
	free(l->text);
	free(l->flags);
	free(l->ids);
	free(l->lens);
}

static unsigned hs_flags(const struct match_rule *r)
{
	unsigned f = 0;

	/* Of what is replaced every place counts; else the first one says it all. */
	if (r->action != MATCH_REPLACE)
		f |= HS_FLAG_SINGLEMATCH;
	if (r->nocase)
		f |= HS_FLAG_CASELESS;
	if (r->dotall)
		f |= HS_FLAG_DOTALL;
	if (r->multiline)
		f |= HS_FLAG_MULTILINE;
	return f;
}

static void list_add(struct hs_list *l, const struct match_set *s, size_t i)
{
	const struct match_rule *r = &s->rules.rule[i];

	l->text[l->n] = r->pattern;
	l->lens[l->n] = r->len;
	l->flags[l->n] = hs_flags(r);
	l->ids[l->n++] = (unsigned)i;
}

static int compile_mode(const struct match_set *s, const struct hs_list *l, bool literal,
			unsigned mode, hs_database_t **db, char *err, size_t errsize)
{
	hs_compile_error_t *e = NULL;
	hs_error_t rc;

	if (literal)
		rc = hs_compile_lit_multi(l->text, l->flags, l->ids, l->lens, l->n, mode, NULL, db,
					  &e);
	else
		rc = hs_compile_multi(l->text, l->flags, l->ids, l->n, mode, NULL, db, &e);
	if (rc == HS_SUCCESS)
		return 0;
	if (e && e->expression >= 0 && (unsigned)e->expression < l->n)
		snprintf(err, errsize, "line %u: %s", s->rules.rule[l->ids[e->expression]].line,
			 e->message);
	else
		snprintf(err, errsize, "%s", e ? e->message : "out of memory");
	hs_free_compile_error(e);
	return -1;
}

static int compile_engine(struct match_set *s, const struct hs_list *l, bool literal,
			  struct engine *out, char *err, size_t errsize)
{
	if (!l->n)
		return 0;
	if (compile_mode(s, l, literal, HS_MODE_STREAM, &out->stream, err, errsize) ||
	    compile_mode(s, l, literal, HS_MODE_BLOCK, &out->block, err, errsize))
		return -1;
	if (hs_alloc_scratch(out->stream, &s->scratch) != HS_SUCCESS ||
	    hs_alloc_scratch(out->block, &s->scratch) != HS_SUCCESS) {
		snprintf(err, errsize, "out of memory");
		return -1;
	}
	return 0;
}

static int compile_literals(struct match_set *s, char *err, size_t errsize)
{
	struct hs_list l;
	int rc = list_alloc(&l, s->rules.n);

	if (rc)
		snprintf(err, errsize, "out of memory");
	for (size_t i = 0; !rc && i < s->rules.n; i++)
		if (!s->rules.rule[i].regex)
			list_add(&l, s, i);
	if (!rc)
		rc = compile_engine(s, &l, true, &s->literals, err, errsize);
	list_free(&l);
	return rc;
}

/** hyperscan_takes - can Hyperscan do this one? What it can't PCRE2 is asked to */
static bool hyperscan_takes(const struct match_rule *r)
{
	hs_compile_error_t *e = NULL;
	hs_expr_info_t *info = NULL;

	if (r->action == MATCH_REPLACE || strlen(r->pattern) != r->len)
		return false;
	if (hs_expression_info(r->pattern, hs_flags(r), &info, &e) != HS_SUCCESS) {
		hs_free_compile_error(e);
		return false;
	}
	free(info);
	return true;
}

/** verbs_end - behind what has to stand first in a pattern: (*ANYCRLF) ... */
static size_t verbs_end(const struct match_rule *r)
{
	static const char in[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_=";
	size_t at = 0, n;

	while (!strncmp(r->pattern + at, "(*", 2)) {
		n = 2 + strspn(r->pattern + at + 2, in);
		if (r->pattern[at + n] != ')')
			break;
		at += n + 1;
	}
	return at;
}

/** with_callout - the pattern with a callout before it; *@at: where; malloc'd, or NULL */
static char *with_callout(const struct match_rule *r, size_t *at)
{
	const size_t n = sizeof(CALLOUT) - 1;
	char *p = malloc(r->len + n);

	*at = verbs_end(r);
	if (!p)
		return NULL;
	memcpy(p, r->pattern, *at);
	memcpy(p + *at, CALLOUT, n);
	memcpy(p + *at + n, r->pattern + *at, r->len - *at);
	return p;
}

static int compile_pcre(struct match_set *s, size_t i, char *err, size_t errsize)
{
	const struct match_rule *r = &s->rules.rule[i];
	uint32_t flags = (r->nocase ? PCRE2_CASELESS : 0) | (r->dotall ? PCRE2_DOTALL : 0) |
			 (r->multiline ? PCRE2_MULTILINE : 0) | PCRE2_NEVER_BACKSLASH_C |
			 PCRE2_NEVER_UTF;
	size_t at, callout_at;
	char *pattern = with_callout(r, &callout_at);
	PCRE2_UCHAR text[128];
	pcre2_code *code;
	int rc;

	if (!pattern) {
		snprintf(err, errsize, "out of memory");
		return -1;
	}
	code = pcre2_compile((PCRE2_SPTR)pattern, r->len + sizeof(CALLOUT) - 1, flags, &rc, &at,
			     NULL);
	free(pattern);
	if (!code) {
		if (at >= callout_at + sizeof(CALLOUT) - 1)
			at -= sizeof(CALLOUT) - 1;
		pcre2_get_error_message(rc, text, sizeof(text));
		snprintf(err, errsize, "line %u: %s, at byte %zu of the pattern", r->line, text,
			 at);
		return -1;
	}
	s->pcre[s->n_pcre] = code;
	s->pcre_rule[s->n_pcre++] = (uint32_t)i;
	return 0;
}

static int64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/** begin_look - what PCRE2 may use of one payload begins here */
static void begin_look(struct match_set *s)
{
	if (!s->n_pcre)
		return;
	s->began = now(CLOCK_THREAD_CPUTIME_ID);
	s->deadline = now(CLOCK_MONOTONIC) + LOOK_NS + (int64_t)s->n_pcre * RULE_NS;
}

/**
 * on_place - a match could begin here: is there time left? Not 0 ends the look
 *
 * PCRE2's own limits count from each place anew, and of places there are as many as bytes. Time
 * that others had of this processor does not count, but is asked for only where it matters.
 */
static int on_place(pcre2_callout_block *b, void *ctx)
{
	struct match_set *s = ctx;
	int64_t left;

	(void)b;
	if (now(CLOCK_MONOTONIC) < s->deadline)
		return 0;
	left = LOOK_NS + (int64_t)s->n_pcre * RULE_NS - (now(CLOCK_THREAD_CPUTIME_ID) - s->began);
	if (left <= 0)
		return PCRE2_ERROR_CALLOUT;
	s->deadline = now(CLOCK_MONOTONIC) + left;
	return 0;
}

static int start_pcre(struct match_set *s, char *err, size_t errsize)
{
	/* It is pointers that are wanted. NOLINTNEXTLINE(bugprone-sizeof-expression) */
	s->pcre = calloc(s->rules.n + 1, sizeof(s->pcre[0]));
	s->pcre_rule = calloc(s->rules.n + 1, sizeof(s->pcre_rule[0]));
	s->pcre_data = pcre2_match_data_create(1, NULL);
	s->pcre_ctx = pcre2_match_context_create(NULL);
	if (!s->pcre || !s->pcre_rule || !s->pcre_data || !s->pcre_ctx) {
		snprintf(err, errsize, "out of memory");
		return -1;
	}
	pcre2_set_match_limit(s->pcre_ctx, PCRE_MATCH_LIMIT);
	pcre2_set_depth_limit(s->pcre_ctx, PCRE_DEPTH_LIMIT);
	pcre2_set_heap_limit(s->pcre_ctx, PCRE_HEAP_LIMIT);
	pcre2_set_callout(s->pcre_ctx, on_place, s);
	return 0;
}

static int compile_regexes(struct match_set *s, char *err, size_t errsize)
{
	struct hs_list l;
	int rc = start_pcre(s, err, errsize);

	if (list_alloc(&l, s->rules.n)) {
		snprintf(err, errsize, "out of memory");
		rc = -1;
	}
	for (size_t i = 0; !rc && i < s->rules.n; i++) {
		if (!s->rules.rule[i].regex)
			continue;
		if (hyperscan_takes(&s->rules.rule[i]))
			list_add(&l, s, i);
		else
			rc = compile_pcre(s, i, err, errsize);
	}
	if (!rc)
		rc = compile_engine(s, &l, false, &s->regexes, err, errsize);
	list_free(&l);
	return rc;
}

/* --- beginnings of literals ---------------------------------------------------------- */

static const struct match_rules *sorting; /* qsort() has no context; loading is not concurrent */

static int by_pattern(const void *a, const void *b)
{
	const struct match_rule *x = &sorting->rule[*(const uint32_t *)a];
	const struct match_rule *y = &sorting->rule[*(const uint32_t *)b];
	int rc = memcmp(x->pattern, y->pattern, x->len < y->len ? x->len : y->len);

	return rc ? rc : (x->len > y->len) - (x->len < y->len);
}

static void fold(char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		s[i] = (char)tolower((unsigned char)s[i]);
}

static void add_prefix(struct match_set *s, struct prefixes *p, uint32_t i)
{
	const struct match_rule *r = &s->rules.rule[i];
	const uint8_t *text = (const uint8_t *)r->pattern;

	p->rule[p->n++] = i;
	if (r->len > p->longest)
		p->longest = r->len;
	set_bit(p->first, text[0]);
	if (r->len > 1)
		set_bit(p->pairs, text[0] | (unsigned)text[1] << 8);
}

static int build_prefixes(struct match_set *s)
{
	struct prefixes *both[] = {&s->as_is, &s->folded};

	for (int k = 0; k < 2; k++) {
		both[k]->rule = calloc(s->rules.n + 1, sizeof(uint32_t));
		both[k]->pairs = calloc(1, 65536 / 8);
		if (!both[k]->rule || !both[k]->pairs)
			return -1;
	}
	for (size_t i = 0; i < s->rules.n; i++) {
		struct match_rule *r = &s->rules.rule[i];

		if (r->regex || r->action != MATCH_REPLACE)
			continue;
		if (r->nocase)
			fold(r->pattern, r->len);
		add_prefix(s, r->nocase ? &s->folded : &s->as_is, (uint32_t)i);
	}
	sorting = &s->rules;
	for (int k = 0; k < 2; k++)
		qsort(both[k]->rule, both[k]->n, sizeof(uint32_t), by_pattern);
	return 0;
}

/** begins_one - is @s (of @len bytes) the beginning of a longer literal? */
static bool begins_one(const struct match_set *set, const struct prefixes *p, const uint8_t *s,
		       size_t len)
{
	size_t lo = 0, hi = p->n;

	if (len == 1 ? !is_set(p->first, s[0]) : !is_set(p->pairs, s[0] | (unsigned)s[1] << 8))
		return false;
	while (lo < hi) { /* the first literal that is not less than s */
		size_t mid = lo + (hi - lo) / 2;
		const struct match_rule *r = &set->rules.rule[p->rule[mid]];
		size_t n = r->len < len ? r->len : len;
		int rc = memcmp(r->pattern, s, n);

		if (rc < 0 || (!rc && r->len < len))
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < p->n; lo++) {
		const struct match_rule *r = &set->rules.rule[p->rule[lo]];

		if (r->len < len || memcmp(r->pattern, s, len) != 0)
			return false;
		if (r->len > len)
			return true;
	}
	return false;
}

static size_t partial_literal(const struct match_set *set, const struct prefixes *p,
			      const uint8_t *data, size_t len, size_t from)
{
	if (!p->n)
		return len;
	if (len - from >= p->longest)
		from = len - p->longest + 1;
	for (; from < len; from++)
		if (begins_one(set, p, data + from, len - from))
			break;
	return from;
}

static size_t partial_folded(const struct match_set *set, const uint8_t *data, size_t len,
			     size_t from)
{
	const struct prefixes *p = &set->folded;
	char tail[MATCH_PATTERN_MAX];
	size_t n;

	if (!p->n)
		return len;
	if (len - from >= p->longest)
		from = len - p->longest + 1;
	n = len - from;
	memcpy(tail, data + from, n);
	fold(tail, n);
	return from + partial_literal(set, p, (const uint8_t *)tail, n, 0);
}

/* --- the set ------------------------------------------------------------------------- */

struct match_set *match_set_new(struct match_rules *rules, char *err, size_t errsize)
{
	struct match_set *s = calloc(1, sizeof(*s));

	if (!s) {
		match_rules_free(rules);
		snprintf(err, errsize, "out of memory");
		return NULL;
	}
	s->refs = 1;
	s->rules = *rules;
	*rules = (struct match_rules){NULL, 0, 0};
	if (build_prefixes(s)) {
		snprintf(err, errsize, "out of memory");
	} else if (!compile_literals(s, err, errsize) && !compile_regexes(s, err, errsize)) {
		return s;
	}
	match_set_put(s);
	return NULL;
}

struct match_set *match_set_get(struct match_set *s)
{
	s->refs++;
	return s;
}

static void free_engine(struct engine *e)
{
	hs_free_database(e->stream);
	hs_free_database(e->block);
}

void match_set_put(struct match_set *s)
{
	if (!s || --s->refs)
		return;
	free_engine(&s->literals);
	free_engine(&s->regexes);
	hs_free_scratch(s->scratch);
	for (size_t i = 0; i < s->n_pcre; i++)
		pcre2_code_free(s->pcre[i]);
	free(s->pcre);
	free(s->pcre_rule);
	pcre2_match_data_free(s->pcre_data);
	pcre2_match_context_free(s->pcre_ctx);
	free(s->as_is.rule);
	free(s->as_is.pairs);
	free(s->folded.rule);
	free(s->folded.pairs);
	match_rules_free(&s->rules);
	free(s);
}

const struct match_rule *match_set_rule(const struct match_set *s, uint32_t i)
{
	return &s->rules.rule[i];
}

size_t match_set_size(const struct match_set *s)
{
	return s->rules.n;
}

size_t match_set_pcre(const struct match_set *s)
{
	return s->n_pcre;
}

/* --- a look ----------------------------------------------------------------------------- */

static void add_hit(struct match_found *out, uint32_t rule, uint64_t from, uint64_t to)
{
	if (out->n == out->cap) {
		size_t cap = out->cap ? 2 * out->cap : 16;
		struct match_hit *bigger =
			cap > HITS_MAX ? NULL : reallocarray(out->hits, cap, sizeof(*bigger));

		if (!bigger) {
			out->failed = true;
			return;
		}
		out->hits = bigger;
		out->cap = cap;
	}
	out->hits[out->n++] = (struct match_hit){.from = from, .to = to, .rule = rule};
}

/** found - rule @i matched; @from counts only for what is replaced */
static void found(const struct match_set *s, unsigned dir, uint32_t i, uint64_t from, uint64_t to,
		  struct match_found *out)
{
	const struct match_rule *r = &s->rules.rule[i];

	if (!(r->dirs >> dir & 1))
		return;
	if (r->action == MATCH_ALERT)
		out->alert(out->ctx, r, to);
	else if (r->action == MATCH_REPLACE)
		add_hit(out, i, from, to);
	else if (!out->blocked)
		out->blocked = i + 1;
}

/** struct look - what Hyperscan's callback has to know */
struct look {
	const struct match_set *set;
	unsigned dir;
	struct match_found *out;
};

static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
		    void *ctx)
{
	struct look *l = ctx;
	const struct match_rule *r = &l->set->rules.rule[id];

	(void)from; /* not asked for: of literals it follows from the length */
	(void)flags;
	found(l->set, l->dir, id, r->regex ? 0 : to - r->len, to, l->out);
	return l->out->blocked || l->out->failed;
}

/**
 * scan_pcre - one rule of PCRE2's, from @at on; returns where to go on
 * @partial: may a match that has begun wait for more? Then *@wait is where it begins
 *
 * A limit that is met is a failure, as what is behind that place was not looked at.
 */
static size_t scan_pcre(const struct match_set *s, size_t k, unsigned dir, uint64_t base,
			const uint8_t *data, size_t len, size_t at, size_t *wait, bool partial,
			struct match_found *out)
{
	const PCRE2_SIZE *ov = pcre2_get_ovector_pointer(s->pcre_data);
	uint32_t flags = partial ? PCRE2_PARTIAL_HARD : 0;

	while (at < len && !out->blocked && !out->failed) {
		int rc = pcre2_match(s->pcre[k], data, len, at, flags, s->pcre_data, s->pcre_ctx);

		if (rc == PCRE2_ERROR_PARTIAL && len - ov[0] <= PARTIAL_MAX) {
			*wait = ov[0] < *wait ? ov[0] : *wait;
			return ov[0];
		}
		if (rc == PCRE2_ERROR_PARTIAL) { /* let go, but not what else begins behind it */
			at = ov[0] + 1;
			continue;
		}
		out->given_up = rc < 0 && rc != PCRE2_ERROR_NOMATCH;
		out->failed |= out->given_up;
		if (rc < 0)
			return len;
		if (ov[1] > ov[0])
			found(s, dir, s->pcre_rule[k], base + ov[0], base + ov[1], out);
		at = ov[1] > at ? ov[1] : at + 1;
	}
	return at;
}

struct match_stream *match_stream_new(struct match_set *s, unsigned dir)
{
	struct match_stream *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->set = match_set_get(s);
	m->dir = dir;
	m->pcre_next = calloc(s->n_pcre + 1, sizeof(m->pcre_next[0]));
	if (!m->pcre_next ||
	    (s->literals.stream &&
	     hs_open_stream(s->literals.stream, 0, &m->literals) != HS_SUCCESS) ||
	    (s->regexes.stream &&
	     hs_open_stream(s->regexes.stream, 0, &m->regexes) != HS_SUCCESS)) {
		match_stream_free(m);
		return NULL;
	}
	return m;
}

void match_stream_free(struct match_stream *m)
{
	if (!m)
		return;
	/* Without a callback nothing is reported of what would match at the end only. */
	if (m->literals)
		hs_close_stream(m->literals, NULL, NULL, NULL);
	if (m->regexes)
		hs_close_stream(m->regexes, NULL, NULL, NULL);
	free(m->pcre_next);
	match_set_put(m->set);
	free(m);
}

static void scan_new(struct match_stream *m, const uint8_t *data, size_t len, struct look *l)
{
	hs_stream_t *both[] = {m->literals, m->regexes};

	for (int k = 0; k < 2 && len; k++)
		if (both[k] && !l->out->blocked && !l->out->failed)
			hs_scan_stream(both[k], (const char *)data, (unsigned)len, 0,
				       m->set->scratch, on_match, l);
}

void match_stream_scan(struct match_stream *m, uint64_t offset, const uint8_t *data, size_t len,
		       bool last, struct match_found *out)
{
	struct match_set *s = m->set;
	struct look l = {.set = s, .dir = m->dir, .out = out};
	size_t seen = m->scanned > offset ? (size_t)(m->scanned - offset) : 0, wait = len;

	if (seen < len)
		scan_new(m, data + seen, len - seen, &l);
	m->scanned = offset + len;
	if (last && m->regexes && !out->blocked && !out->failed) {
		/* Patterns that are anchored at the end match now. */
		hs_close_stream(m->regexes, s->scratch, on_match, &l);
		m->regexes = NULL;
	}
	begin_look(s);
	for (size_t k = 0; k < s->n_pcre && !out->blocked && !out->failed; k++) {
		size_t at = m->pcre_next[k] > offset ? (size_t)(m->pcre_next[k] - offset) : 0;

		at = scan_pcre(s, k, m->dir, offset, data, len, at, &wait, !last, out);
		m->pcre_next[k] = offset + at;
	}
	m->pcre_wait = offset + wait;
}

size_t match_stream_partial(const struct match_stream *m, const uint8_t *data, size_t len,
			    size_t from)
{
	uint64_t start = m->scanned - len;
	size_t a = partial_literal(m->set, &m->set->as_is, data, len, from);
	size_t b = partial_folded(m->set, data, len, from);
	size_t c = (size_t)(m->pcre_wait - start);

	if (c < from)
		c = len;
	a = a < b ? a : b;
	return a < c ? a : c;
}

void match_set_scan(struct match_set *s, unsigned dir, const uint8_t *data, size_t len,
		    struct match_found *out)
{
	hs_database_t *both[] = {s->literals.block, s->regexes.block};
	struct look l = {.set = s, .dir = dir, .out = out};
	size_t wait = len;

	for (int k = 0; k < 2 && len; k++)
		if (both[k] && !out->blocked && !out->failed)
			hs_scan(both[k], (const char *)data, (unsigned)len, 0, s->scratch, on_match,
				&l);
	begin_look(s);
	for (size_t k = 0; k < s->n_pcre && !out->blocked && !out->failed; k++)
		scan_pcre(s, k, dir, 0, data, len, 0, &wait, false, out);
}
