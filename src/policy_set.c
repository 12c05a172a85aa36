/* SPDX-License-Identifier: MIT */
/*
 * policy_set: named sets, in a rule file or in a list of its own.
 *
 *	set NAME = { ELEMENT, ELEMENT ... } [TYPE]
 *	set NAME = file "PATH" [TYPE]
 *
 * What a set holds is told by TYPE, or by what is in it: numbers, addresses, host names with a dot
 * in them; else texts. A list is looked at as far as its first entry for that.
 */
#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nameset.h"
#include "numset.h"
#include "policy_impl.h"
#include "prefixset.h"

#include "base/util.h"

/* --- asking ---------------------------------------------------------------------------------- */

static const void *image_of(const struct expr_set *set)
{
	return ((const struct policy_set *)(const void *)set)->image;
}

static bool has_name(const struct expr_set *set, const struct expr_value *v)
{
	return nameset_has(image_of(set), v->text.s, v->text.len);
}

static bool has_addr(const struct expr_set *set, const struct expr_value *v)
{
	return prefixset_has(image_of(set), &v->addr);
}

static bool has_number(const struct expr_set *set, const struct expr_value *v)
{
	return numset_has(image_of(set), v->num);
}

static bool has_nothing(const struct expr_set *set, const struct expr_value *v)
{
	(void)set;
	(void)v;
	return false;
}

void policy_set_empty(struct policy_set *set)
{
	set->set.any = true;
	set->set.has = has_nothing;
}

bool policy_set_open(struct policy_set *set, enum expr_type type, const void *image, size_t size)
{
	bool ok = type == EXPR_ADDR	? prefixset_check(image, size)
		  : type == EXPR_NUMBER ? numset_check(image, size)
					: nameset_check(image, size);

	set->set.type = type;
	set->set.has = type == EXPR_ADDR ? has_addr : type == EXPR_NUMBER ? has_number : has_name;
	set->image = image;
	set->size = size;
	return ok && (type == EXPR_ADDR || type == EXPR_NUMBER || type == EXPR_HOSTNAME ||
		      type == EXPR_TEXT);
}

/* --- making one of any type ------------------------------------------------------------------ */

/** struct maker - one of the builders is there, by the type */
struct maker {
	enum expr_type type;
	struct nameset_build *names;
	struct prefixset_build *addrs;
	struct numset_build *numbers;
};

static int maker_start(struct maker *m, enum expr_type type, const struct hash_key *key)
{
	*m = (struct maker){.type = type};
	if (type == EXPR_ADDR)
		m->addrs = prefixset_build_new();
	else if (type == EXPR_NUMBER)
		m->numbers = numset_build_new();
	else
		m->names = nameset_build_new(type == EXPR_HOSTNAME ? NAMESET_HOSTS : NAMESET_TEXTS,
					     key);
	return m->addrs || m->numbers || m->names ? 0 : -ENOMEM;
}

static void maker_free(struct maker *m)
{
	nameset_build_free(m->names);
	prefixset_build_free(m->addrs);
	numset_build_free(m->numbers);
}

/** maker_add - 0; -EINVAL: it is not of this type; -E2BIG, -ENOMEM */
static int maker_add(struct maker *m, const char *s, size_t len)
{
	struct prefixset_range r;
	uint64_t lo, hi;

	if (m->names)
		return nameset_build_add(m->names, s, len);
	if (m->addrs)
		return prefixset_parse(s, len, &r) ? -EINVAL : prefixset_build_add(m->addrs, &r);
	return numset_parse(s, len, &lo, &hi) ? -EINVAL : numset_build_add(m->numbers, lo, hi);
}

static int maker_image(struct maker *m, struct policy_set *set)
{
	size_t size = 0;
	int rc = m->names   ? nameset_build_image(m->names, &set->owned, &size)
		 : m->addrs ? prefixset_build_image(m->addrs, &set->owned, &size)
			    : numset_build_image(m->numbers, &set->owned, &size);

	if (!rc)
		weir_assert(policy_set_open(set, m->type, set->owned, size));
	return rc;
}

/* --- types ----------------------------------------------------------------------------------- */

static const struct type {
	const char *word, *what;
	enum expr_type type;
} types[] = {
	/* from the narrowest to the widest */
	{"number", "a number, or a range of them", EXPR_NUMBER},
	{"address", "an address, a prefix or a range of addresses", EXPR_ADDR},
	{"host", "a host name", EXPR_HOSTNAME},
	{"text", "a text", EXPR_TEXT},
};

static const struct type *type_of(enum expr_type t)
{
	size_t i = 0;

	while (types[i].type != t)
		i++;
	return &types[i];
}

/** could_be - may @s be meant as one of @type, when nobody said? */
static bool could_be(enum expr_type type, const char *s, size_t len)
{
	struct prefixset_range r;
	uint64_t lo, hi;

	switch (type) {
	case EXPR_NUMBER:
		return !numset_parse(s, len, &lo, &hi);
	case EXPR_ADDR:
		return !prefixset_parse(s, len, &r);
	case EXPR_HOSTNAME:
		return memchr(s, '.', len) && nameset_is_host(s, len);
	default:
		return true;
	}
}

/** refused - the error of an entry that @m did not take */
static int refused(const struct policy_parse *x, const struct maker *m, int rc, const char *s,
		   size_t len)
{
	const struct type *t = type_of(m->type);

	if (rc == -E2BIG)
		return policy_fail(x, s, len, "the set is too large");
	if (rc != -EINVAL)
		return rc;
	return policy_fail(x, s, len, "not %s, as the others: this is a set of type %s", t->what,
			   t->word);
}

/* --- lists in files ----------------------------------------------------------------------------
 */

/** struct list - one that is read; @m has no type yet until the first entry */
struct list {
	struct policy_parse x; /* of the list's own text */
	struct maker m;
	bool typed, nothing; /* nothing: no type was given, and no entry says one */
	const struct hash_key *key;
};

static bool is_gap(char c)
{
	return policy_is_blank(c) || c == ',';
}

static int list_start(struct list *l, enum expr_type type)
{
	l->typed = true;
	return maker_start(&l->m, type, l->key);
}

static int list_add(struct list *l, const char *s, size_t len)
{
	size_t i = 0;
	int rc = 0;

	if (!l->typed) {
		while (!could_be(types[i].type, s, len))
			i++;
		rc = list_start(l, types[i].type);
	}
	if (!rc)
		rc = maker_add(&l->m, s, len);
	return rc ? refused(&l->x, &l->m, rc, s, len) : 0;
}

/** is_address - perhaps with a zone behind it; quickly no for nearly all names */
static bool is_address(const char *s, size_t len)
{
	const char *zone = memchr(s, '%', len);
	struct prefixset_range r;

	if (zone)
		len = (size_t)(zone - s);
	if (!memchr(s, ':', len) && !(len && s[len - 1] >= '0' && s[len - 1] <= '9'))
		return false;
	return !memchr(s, '/', len) && !prefixset_parse(s, len, &r);
}

/** is_local_name - what each hosts file has for itself: nobody means it to be in a set */
static bool is_local_name(const char *s, size_t len)
{
	static const char own[] = "localhost.localdomain";

	return !memchr(s, '.', len) || (len == strlen(own) && !memcmp(s, own, len)) ||
	       is_address(s, len);
}

/** next_word - in [*@p, @end); its length, 0 at the end */
static size_t next_word(const char **p, const char *end)
{
	const char *w;

	while (*p < end && is_gap(**p))
		(*p)++;
	for (w = *p; w < end && !is_gap(*w); w++)
		;
	return (size_t)(w - *p);
}

/** list_words - a line of several entries, or one of a hosts file: "ADDRESS NAME NAME..." */
static int list_words(struct list *l, const char *p, const char *end)
{
	size_t len = next_word(&p, end), n;
	const char *second = p + len;
	bool hosts = false;
	int rc = 0;

	if ((!l->typed || l->m.type == EXPR_HOSTNAME) && is_address(p, len)) {
		n = next_word(&second, end);
		hosts = n && (l->typed || !is_address(second, n));
	}
	if (hosts)
		p += len;
	if (hosts && !l->typed) /* those of this host come first, and say no type */
		rc = list_start(l, EXPR_HOSTNAME);
	while (!rc && (len = next_word(&p, end))) {
		if (!hosts || !is_local_name(p, len))
			rc = list_add(l, p, len);
		p += len;
	}
	return rc;
}

/**
 * list_line - without blanks around it. A # or ; begins a comment; of texts only at the start, as
 * they may have both in them
 */
static int list_line(struct list *l, const char *p, const char *end)
{
	const char *c;

	while (p < end && policy_is_blank(*p))
		p++;
	while (p < end && policy_is_blank(end[-1]))
		end--;
	if (p == end || *p == '#' || *p == ';')
		return 0;
	if (l->typed && l->m.type == EXPR_TEXT)
		return list_add(l, p, (size_t)(end - p));
	for (c = p; c < end && *c != '#' && *c != ';'; c++)
		;
	if (!l->typed && *p == '/')
		return list_add(l, p, (size_t)(end - p)); /* a path may have blanks in it */
	return list_words(l, p, c);
}

static int list_read(struct list *l)
{
	const char *p = l->x.text + policy_mark(l->x.text, l->x.len);
	const char *end = l->x.text + l->x.len;
	int rc = 0;

	while (!rc && p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		nl = nl ? nl : end;
		rc = list_line(l, p, nl);
		p = nl + 1;
	}
	l->nothing = !l->typed;
	if (!rc && l->nothing) /* whatever it is asked for */
		rc = list_start(l, EXPR_HOSTNAME);
	return rc;
}

/** set_from_file - @w: where the file is named */
static int set_from_file(const struct policy_parse *x, const struct policy_word *w,
			 const struct type *type, struct policy_set *set)
{
	struct list l = {.x = *x, .key = &x->p->key};
	char *text = NULL;
	int rc;

	set->path = policy_path(x->p, x->path, w->text);
	if (!set->path)
		return -ENOMEM;
	rc = x->src->read_file(x->src->ctx, set->path, &text, &l.x.len);
	if (rc == -ENOMEM)
		return rc;
	if (rc)
		return policy_fail(x, w->s, w->len, "%s can't be read: %s", set->path,
				   strerror(-rc));
	l.x.path = set->path;
	l.x.text = text;
	if (type)
		rc = list_start(&l, type->type);
	if (!rc)
		rc = list_read(&l);
	if (!rc)
		rc = maker_image(&l.m, set);
	if (!rc && l.nothing)
		policy_set_empty(set);
	maker_free(&l.m);
	free(text);
	return rc;
}

/* --- sets in the rules --------------------------------------------------------------------------
 */

/** struct elements - of a set between braces; owned */
struct elements {
	struct policy_word *v;
	uint32_t n, room;
};

static int set_from_elements(const struct policy_parse *x, const struct elements *e,
			     const struct type *type, struct policy_set *set)
{
	const bool nothing = !type && !e->n;
	struct maker m;
	int rc;

	if (nothing)
		type = type_of(EXPR_HOSTNAME);
	for (size_t t = 0; !type; t++) {
		uint32_t fit = 0;

		while (fit < e->n &&
		       could_be(types[t].type, e->v[fit].text, strlen(e->v[fit].text)))
			fit++;
		if (fit == e->n)
			type = &types[t];
	}
	rc = maker_start(&m, type->type, &x->p->key);
	for (uint32_t i = 0; i < e->n && !rc; i++) {
		rc = maker_add(&m, e->v[i].text, strlen(e->v[i].text));
		if (rc)
			rc = refused(x, &m, rc, e->v[i].s, e->v[i].len);
	}
	if (!rc)
		rc = maker_image(&m, set);
	if (!rc && nothing)
		policy_set_empty(set);
	maker_free(&m);
	return rc;
}

/** skip - blanks; between braces ends of lines and comments as well */
static void skip(struct policy_line *l, bool braces)
{
	while (l->at < l->end) {
		if (*l->at == '#' && braces) {
			while (l->at < l->end && *l->at != '\n')
				l->at++;
		} else if (policy_is_blank(*l->at) || (braces && *l->at == '\n')) {
			l->at++;
		} else {
			break;
		}
	}
}

/** is_sign - does it end a word, though it is no blank? */
static bool is_sign(char c)
{
	return c && strchr("\n{},=\"#", c);
}

/** take_word - a word that also ends at a sign of the set's own, or at a comment; as
 * policy_word_next() */
static int take_word(const struct policy_parse *x, struct policy_line *l, bool braces,
		     struct policy_word *w)
{
	struct policy_line one;
	const char *p;
	int rc;

	skip(l, braces);
	p = l->at;
	if (p < l->end && *p == '"') {
		for (p++; p < l->end && *p != '"' && *p != '\n'; p++)
			if (*p == '\\' && p + 1 < l->end && p[1] != '\n')
				p++;
		p += p < l->end && *p == '"';
	} else {
		while (p < l->end && !policy_is_blank(*p) && !is_sign(*p))
			p++;
	}
	one = (struct policy_line){l->at, p, l->number};
	l->at = p;
	rc = policy_word_next(x, &one, w);
	return rc;
}

static bool take_sign(struct policy_line *l, char sign, bool braces)
{
	skip(l, braces);
	if (l->at == l->end || *l->at != sign)
		return false;
	l->at++;
	return true;
}

static int expected(const struct policy_parse *x, const struct policy_line *l, const char *what)
{
	return policy_fail(x, l->at, 1, "%s is missing here", what);
}

static int element_add(struct elements *e, const struct policy_word *w)
{
	void *array = e->v;
	int rc = policy_grow(&array, sizeof(*e->v), e->n, &e->room);

	e->v = array;
	if (!rc)
		e->v[e->n++] = *w;
	return rc;
}

/** take_elements - behind "{", up to "}"; commas may be left out, and doubled at the end */
static int take_elements(const struct policy_parse *x, struct policy_line *l, struct elements *e)
{
	struct policy_word w;
	int rc;

	for (;;) {
		if (take_sign(l, '}', true))
			return 0;
		rc = take_word(x, l, true, &w);
		if (!rc)
			return expected(x, l, "} at the end of the set");
		if (rc > 0)
			rc = element_add(e, &w);
		if (rc)
			return rc;
		take_sign(l, ',', true);
	}
}

/** take_type - a type's name, or nothing, and the end of the line */
static int take_type(const struct policy_parse *x, struct policy_line *l, const struct type **type)
{
	struct policy_word w;
	int rc = take_word(x, l, false, &w);

	*type = NULL;
	if (rc < 0)
		return rc;
	for (size_t i = 0; rc && i < ARRAY_SIZE(types); i++)
		if (policy_word_is(&w, types[i].word))
			*type = &types[i];
	if (rc && !*type)
		return policy_fail(x, w.s, w.len, "a set is of type host, address, number or text");
	skip(l, false);
	if (l->at < l->end && *l->at != '\n' && *l->at != '#')
		return policy_fail(x, l->at, 1, "nothing may follow a set");
	return 0;
}

/** take_value - what is behind "=" */
static int take_value(const struct policy_parse *x, struct policy_line *l, struct policy_set *set)
{
	struct elements e = {.v = NULL};
	const struct type *type;
	struct policy_word w, path;
	int rc;

	if (take_sign(l, '{', false)) {
		rc = take_elements(x, l, &e);
		if (!rc)
			rc = take_type(x, l, &type);
		if (!rc)
			rc = set_from_elements(x, &e, type, set);
		free(e.v);
		return rc;
	}
	rc = take_word(x, l, false, &w);
	if (rc < 0)
		return rc;
	if (!rc || !policy_word_is(&w, "file"))
		return policy_fail(x, w.s, w.len, "a set is { ELEMENTS } or file \"PATH\"");
	rc = take_word(x, l, false, &path);
	if (rc <= 0)
		return rc ? rc : expected(x, l, "the name of a file");
	rc = take_type(x, l, &type);
	return rc ? rc : set_from_file(x, &path, type, set);
}

/** is_set_name - what the filter language reads as one word, and no number */
static bool is_set_name(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool letter =
			(s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || s[i] == '_';

		if (!letter && (!i || !((s[i] >= '0' && s[i] <= '9') || s[i] == '-')))
			return false;
	}
	return len > 0;
}

int policy_set_line(const struct policy_parse *x, struct policy_line *l)
{
	const struct policy_set *old;
	struct policy_set *set;
	struct policy_word w;
	int rc = take_word(x, l, false, &w);

	if (rc < 0)
		return rc;
	if (!is_set_name(w.s, w.len))
		return policy_fail(x, w.s, w.len, "a set needs a name of letters, digits, - and _");
	old = policy_find_set(x->p, w.s, w.len);
	if (old)
		return policy_fail(x, w.s, w.len, "there is a set of this name at %s:%u", old->file,
				   old->line);
	if (!take_sign(l, '=', false))
		return expected(x, l, "=");
	set = policy_alloc(x->p, sizeof(*set));
	if (!set)
		return -ENOMEM;
	set->name = w.text;
	set->file = x->path;
	set->line = l->number;
	rc = take_value(x, l, set);
	if (!rc)
		rc = policy_add_set(x->p, set);
	if (rc)
		free(set->owned);
	return rc;
}
