/* SPDX-License-Identifier: MIT */
/* policy_file: files of rules: lines, words, comments, includes. */
#include "policy.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "policy_impl.h"

#include "base/util.h"

#define SHOWN_MAX 40

/* --- errors ---------------------------------------------------------------------------------- */

/** place_of - line and column of @at, by counting, as this happens once */
static void place_of(const struct policy_parse *x, const char *at, struct expr_error *e)
{
	const char *line = x->text;

	e->line = 1;
	for (const char *p = x->text; p < at; p++) {
		if (*p == '\n') {
			e->line++;
			line = p + 1;
		}
	}
	e->column = (unsigned)(at - line) + 1;
}

int policy_fail(const struct policy_parse *x, const char *at, size_t width, const char *fmt, ...)
{
	struct expr_error e = {.width = (unsigned)MAX(width, (size_t)1)};
	size_t n;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	n = (size_t)snprintf(x->err, x->errsize, "%s:%s%s", x->path, at ? "" : " ",
			     at ? "" : e.text);
	if (!at || n >= x->errsize)
		return -EINVAL;
	place_of(x, at, &e);
	expr_error_show(&e, x->text, x->len, x->err + n, x->errsize - n);
	return -EINVAL;
}

const char *policy_shown(const struct policy_word *w)
{
	static char out[SHOWN_MAX + 4];
	size_t n = MIN(w->len, (size_t)SHOWN_MAX);

	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned char)w->s[i] < ' ' || w->s[i] == 0x7f ? '?' : w->s[i];
	str_copy(out + n, sizeof(out) - n, w->len > n ? "..." : "");
	return out;
}

/* --- words ----------------------------------------------------------------------------------- */

bool policy_is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/** goes_on - is this the end of a line that goes on behind it? Its length, or 0 */
static size_t goes_on(const char *p, const char *end)
{
	if (*p != '\\')
		return 0;
	if (end - p > 1 && p[1] == '\n')
		return 2;
	return end - p > 2 && p[1] == '\r' && p[2] == '\n' ? 3 : 0;
}

static void skip_blanks(struct policy_line *l)
{
	while (l->at < l->end) {
		size_t n = policy_is_blank(*l->at) ? 1 : goes_on(l->at, l->end);

		if (!n)
			return;
		l->at += n;
	}
}

/** quoted_end - behind the quote that ends what begins at @p, or where the line ends */
static const char *quoted_end(const char *p, const char *end)
{
	for (p++; p < end && *p != '"' && *p != '\n'; p++)
		if (*p == '\\' && end - p > 1 && p[1] != '\n')
			p++;
	return p < end && *p == '"' ? p + 1 : p;
}

/** unquote - the text of a word; 0, or -EINVAL when a quote is not closed */
static int unquote(const struct policy_parse *x, struct policy_word *w)
{
	char *out = policy_alloc(x->p, w->len + 1);
	const char *end = w->s + w->len;
	bool quoted = false;

	if (!out)
		return -ENOMEM;
	w->text = out;
	for (const char *p = w->s; p < end; p++) {
		if (*p == '"')
			quoted = !quoted;
		else if (quoted && *p == '\\' && p + 1 < end && (p[1] == '"' || p[1] == '\\'))
			*out++ = *++p;
		else
			*out++ = *p;
	}
	if (quoted)
		return policy_fail(x, w->s, w->len, "this quote is not closed");
	for (const char *p = w->s; p < end; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return policy_fail(x, p, 1, "a control character");
	return 0;
}

int policy_word_next(const struct policy_parse *x, struct policy_line *l, struct policy_word *w)
{
	const char *p;
	int rc;

	skip_blanks(l);
	for (p = l->at; p < l->end && !policy_is_blank(*p) && *p != '\n' && !goes_on(p, l->end);)
		p = *p == '"' ? quoted_end(p, l->end) : p + 1;
	*w = (struct policy_word){.s = l->at, .text = "", .len = (size_t)(p - l->at)};
	l->at = p;
	if (!w->len)
		return 0;
	rc = unquote(x, w);
	return rc ? rc : 1;
}

bool policy_word_is(const struct policy_word *w, const char *text)
{
	return strlen(text) == w->len && !memcmp(w->s, text, w->len);
}

char *policy_line_text(struct policy *p, const struct policy_line *l)
{
	struct policy_line rest = *l;
	char *out = policy_alloc(p, (size_t)(l->end - l->at) + 1);
	size_t n = 0;

	if (!out)
		return NULL;
	skip_blanks(&rest);
	while (rest.at < rest.end) {
		if (goes_on(rest.at, rest.end)) {
			skip_blanks(&rest);
			while (n && policy_is_blank(out[n - 1]))
				n--;
			out[n++] = ' ';
		} else {
			out[n++] = *rest.at++;
		}
	}
	while (n && policy_is_blank(out[n - 1]))
		n--;
	out[n] = 0;
	return out;
}

/* --- files ----------------------------------------------------------------------------------- */

/** struct open_file - one that is being read, and by which it is included */
struct open_file {
	struct policy_parse x;
	const struct open_file *up;
	unsigned depth;
	unsigned *files; /* that were included so far, of all */
};

char *policy_path(struct policy *p, const char *from, const char *path)
{
	const char *slash = strrchr(from, '/');
	size_t dir = slash ? (size_t)(slash - from) + 1 : 0, len = strlen(path);
	char *out;

	if (*path == '/')
		dir = 0;
	out = policy_alloc(p, dir + len + 1);
	if (out)
		snprintf(out, dir + len + 1, "%.*s%s", (int)dir, from, path);
	return out;
}

static int load_file(struct open_file *f, const char *path, const struct policy_word *where);

/** include_refused - why @path must not be read here; NULL: it may */
static const char *include_refused(const struct open_file *f, const char *path)
{
	const struct open_file *i = f;

	do {
		if (!strcmp(i->x.path, path))
			return "this file would include itself";
	} while ((i = i->up));
	if (f->depth == POLICY_INCLUDE_DEPTH)
		return "too many files within each other";
	if (*f->files == POLICY_FILES_MAX)
		return "too many files are included";
	return NULL;
}

/** no_more - what follows on the line should not be there */
static int no_more(const struct policy_parse *x, struct policy_line *l, const char *after)
{
	struct policy_word w;
	int rc = policy_word_next(x, l, &w);

	if (rc <= 0)
		return rc;
	return policy_fail(x, w.s, w.len, "nothing may follow %s", after);
}

static int include_line(struct open_file *f, struct policy_line *l, const struct policy_word *word)
{
	struct open_file inner = {.x = f->x, .up = f, .depth = f->depth + 1, .files = f->files};
	const char *path, *why;
	struct policy_word w;
	int rc = policy_word_next(&f->x, l, &w);

	if (!rc)
		return policy_fail(&f->x, word->s, word->len, "include needs the name of a file");
	if (rc > 0)
		rc = no_more(&f->x, l, "the name of the file");
	if (rc < 0)
		return rc;
	path = policy_path(f->x.p, f->x.path, w.text);
	if (!path)
		return -ENOMEM;
	why = include_refused(f, path);
	if (why)
		return policy_fail(&f->x, w.s, w.len, "%s", why);
	(*f->files)++;
	return load_file(&inner, path, &w);
}

/** default_line - "default ACTION", once in all files */
static int default_line(struct open_file *f, const struct policy_line *whole, struct policy_line *l,
			const struct policy_word *word)
{
	struct policy_entry e = {.expr = NULL}, *old = &f->x.p->fallback;
	const char *head_end;
	int rc;

	if (old->rule.file)
		return policy_fail(&f->x, word->s, word->len,
				   "the default is stated at %s:%u already", old->rule.file,
				   old->rule.line);
	rc = policy_rule_head(&f->x, l, &e, &head_end);
	if (rc > 0)
		return policy_fail(&f->x, head_end, 2, "a default has no condition");
	if (rc < 0)
		return rc;
	if (!e.rule.final)
		return policy_fail(&f->x, whole->at, (size_t)(whole->end - whole->at),
				   "a default decides: allow, block, drop, reset or ask");
	e.rule.text = policy_line_text(f->x.p, whole);
	if (!e.rule.text)
		return -ENOMEM;
	e.rule.file = f->x.path;
	e.rule.line = whole->number;
	*old = e;
	return 0;
}

static int rule_line(struct open_file *f, const struct policy_line *whole)
{
	struct policy_entry e;
	int rc = policy_rule_parse(&f->x, whole, &e);

	if (rc)
		return rc;
	e.rule.file = f->x.path;
	e.rule.line = whole->number;
	rc = policy_add_entry(f->x.p, &e);
	if (rc)
		expr_free(e.expr);
	return rc == -E2BIG ? policy_fail(&f->x, whole->at, 1, "too many rules") : rc;
}

/**
 * line_end - where what counts of a line ends: before a comment, or the newline that ends it
 *
 * A # begins a comment at the start of a word, outside of quotes.
 */
static const char *line_end(const char *p, const char *end)
{
	bool between = true;

	while (p < end && *p != '\n' && !(*p == '#' && between)) {
		size_t n = goes_on(p, end);

		between = n || policy_is_blank(*p);
		p = n ? p + n : *p == '"' ? quoted_end(p, end) : p + 1;
	}
	return p;
}

/** take_line - one line, or several that belong together; @l->at is behind it then */
static int take_line(struct open_file *f, struct policy_line *l)
{
	struct policy_line whole = {l->at, line_end(l->at, l->end), l->number}, rest = whole;
	struct policy_word w;
	int rc = policy_word_next(&f->x, &rest, &w);

	if (rc > 0 && policy_word_is(&w, "set")) {
		rest.end = l->end;
		rc = policy_set_line(&f->x, &rest);
		whole.end = rest.at;
	} else if (rc > 0 && policy_word_is(&w, "include")) {
		rc = include_line(f, &rest, &w);
	} else if (rc > 0 && policy_word_is(&w, "default")) {
		rc = default_line(f, &whole, &rest, &w);
	} else if (rc > 0) {
		rc = rule_line(f, &whole);
	}
	for (; l->at < whole.end; l->at++)
		l->number += *l->at == '\n';
	return rc;
}

size_t policy_mark(const char *text, size_t len)
{
	static const char mark[] = "\xef\xbb\xbf";
	const size_t n = sizeof(mark) - 1;

	return len >= n && !memcmp(text, mark, n) ? n : 0;
}

static int take_lines(struct open_file *f)
{
	struct policy_line l = {f->x.text + policy_mark(f->x.text, f->x.len), f->x.text + f->x.len,
				1};
	int rc = 0;

	while (!rc && l.at < l.end) {
		rc = take_line(f, &l);
		while (!rc && l.at < l.end && *l.at != '\n')
			l.at++; /* a comment */
		if (!rc && l.at < l.end) {
			l.at++;
			l.number++;
		}
	}
	return rc;
}

/**
 * load_file - all of @path; @where it is named in the file that includes it, NULL: it is the first
 *
 * @f->x is still that of the file around it.
 */
static int load_file(struct open_file *f, const char *path, const struct policy_word *where)
{
	char *text = NULL;
	size_t len = 0;
	int rc = f->x.src->read_file(f->x.src->ctx, path, &text, &len);

	if (rc == -ENOMEM)
		return rc;
	if (rc && where)
		return policy_fail(&f->x, where->s, where->len, "%s can't be read: %s", path,
				   strerror(-rc));
	f->x.path = path;
	if (rc) {
		policy_fail(&f->x, NULL, 0, "%s", strerror(-rc));
		return rc;
	}
	f->x.text = text;
	f->x.len = len;
	rc = take_lines(f);
	free(text);
	return rc;
}

int policy_load(const struct policy_source *src, const char *path, struct policy **out, char *err,
		size_t errsize)
{
	unsigned files = 0;
	struct policy *p = policy_new();
	struct open_file f = {.x = {.p = p, .src = src, .err = err, .errsize = errsize},
			      .depth = 1,
			      .files = &files};
	const char *own = p ? policy_text(p, path, strlen(path)) : NULL;
	int rc = own ? hash_key_random(&p->key) : -ENOMEM;

	if (!rc)
		rc = load_file(&f, own, NULL);
	if (!rc)
		rc = policy_index_make(p);
	if (rc) {
		if (rc == -ENOMEM)
			snprintf(err, errsize, "%s: no memory", path);
		policy_free(p);
		return rc;
	}
	*out = p;
	return 0;
}
