/* SPDX-License-Identifier: MIT */
/*
 * policy_pack: a set of rules as one image, for a process that can open no file.
 *
 *	head, rules, sets, texts, images of the sets
 *
 * All places count from the start. Rules are there as text, conditions in their normal form, which
 * needs no names of users; who gets the image compiles them again. Sets and texts stay where the
 * image is.
 */
#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy_impl.h"

#include "base/util.h"

#define IMAGE_MAGIC 0x31454c5552574557ULL /* "WEWRULE1" */
#define IMAGE_ALIGN 8
#define NO_TEXT	    UINT32_MAX
#define ANY_TYPE    UINT32_MAX /* of a set with nothing in it */
#define TEXTS_ROOM  65536

struct image_head {
	uint64_t magic, size;
	struct hash_key key;
	uint32_t n_rules, n_sets;
	uint64_t texts, texts_size; /* the last byte is 0 */
};

/** struct image_rule - numbers are places in the texts; NO_TEXT: there is none */
struct image_rule {
	uint32_t file, line, text, head, condition;
};

struct image_set {
	uint32_t name, path, file, line;
	uint64_t at, size;
	uint64_t type;
};

static uint64_t align(uint64_t n)
{
	return (n + IMAGE_ALIGN - 1) & ~(uint64_t)(IMAGE_ALIGN - 1);
}

/** rules_size - the default action follows the rules */
static uint64_t rules_size(uint32_t n_rules)
{
	return align(((uint64_t)n_rules + 1) * sizeof(struct image_rule));
}

/* --- making one ------------------------------------------------------------------------------ */

/** struct texts - owned */
struct texts {
	char *v;
	size_t n, room;
	const char *last; /* that was added, and where it is: files come many times */
	uint32_t last_at;
};

static int texts_reserve(struct texts *t, size_t more)
{
	size_t room = MAX(t->room, (size_t)TEXTS_ROOM);
	char *grown;

	if (t->n + more <= t->room)
		return 0;
	if (t->n + more >= NO_TEXT)
		return -E2BIG;
	while (room < t->n + more)
		room *= 2;
	grown = realloc(t->v, room);
	if (!grown)
		return -ENOMEM;
	t->v = grown;
	t->room = room;
	return 0;
}

static int text_add(struct texts *t, const char *s, uint32_t *at)
{
	size_t len = s ? strlen(s) + 1 : 0;
	int rc = texts_reserve(t, len);

	*at = NO_TEXT;
	if (rc || !s)
		return rc;
	*at = (uint32_t)t->n;
	memcpy(t->v + t->n, s, len);
	t->n += len;
	return 0;
}

/** file_add - as text_add(), for one that most likely is the same as before */
static int file_add(struct texts *t, const char *s, uint32_t *at)
{
	int rc = 0;

	if (!s || s != t->last) {
		rc = text_add(t, s, &t->last_at);
		t->last = rc ? NULL : s;
	}
	*at = t->last_at;
	return rc;
}

static int condition_add(struct texts *t, const struct expr *e, uint32_t *at)
{
	size_t len = e ? expr_print(e, NULL, 0) + 1 : 0;
	int rc = texts_reserve(t, len);

	*at = NO_TEXT;
	if (rc || !e)
		return rc;
	*at = (uint32_t)t->n;
	expr_print(e, t->v + t->n, len);
	t->n += len;
	return 0;
}

static int pack_rule(const struct policy_entry *e, struct texts *t, struct image_rule *out)
{
	int rc;

	*out = (struct image_rule){.line = e->rule.line, .head = e->head};
	rc = file_add(t, e->rule.file, &out->file);
	if (!rc)
		rc = text_add(t, e->rule.text, &out->text);
	return rc ? rc : condition_add(t, e->expr, &out->condition);
}

static int pack_set(const struct policy_set *s, struct texts *t, struct image_set *out)
{
	int rc;

	*out = (struct image_set){
		.line = s->line, .size = s->size, .type = s->set.any ? ANY_TYPE : s->set.type};
	rc = text_add(t, s->name, &out->name);
	if (!rc)
		rc = text_add(t, s->path, &out->path);
	return rc ? rc : text_add(t, s->file, &out->file);
}

/** struct packing - owned */
struct packing {
	struct image_head head;
	struct image_rule *rules;
	struct image_set *sets;
	struct texts texts;
};

static int pack_all(const struct policy *p, struct packing *k)
{
	int rc;

	k->rules = calloc(p->n_entries + 1, sizeof(*k->rules));
	k->sets = calloc(p->n_sets + 1, sizeof(*k->sets));
	rc = k->rules && k->sets ? text_add(&k->texts, "", &(uint32_t){0}) : -ENOMEM;
	for (uint32_t i = 0; i < p->n_entries && !rc; i++)
		rc = pack_rule(&p->entries[i], &k->texts, &k->rules[i]);
	if (!rc)
		rc = pack_rule(&p->fallback, &k->texts, &k->rules[p->n_entries]);
	for (uint32_t i = 0; i < p->n_sets && !rc; i++)
		rc = pack_set(p->sets[i], &k->texts, &k->sets[i]);
	return rc;
}

/** pack_places - where everything will be */
static void pack_places(const struct policy *p, struct packing *k)
{
	uint64_t at = align(sizeof(k->head)) + rules_size(p->n_entries) +
		      p->n_sets * (uint64_t)sizeof(*k->sets);

	k->head = (struct image_head){.magic = IMAGE_MAGIC,
				      .key = p->key,
				      .n_rules = p->n_entries,
				      .n_sets = p->n_sets,
				      .texts = at,
				      .texts_size = k->texts.n};
	at = align(at + k->texts.n);
	for (uint32_t i = 0; i < p->n_sets; i++) {
		k->sets[i].at = at;
		at = align(at + k->sets[i].size);
	}
	k->head.size = at;
}

/** put - @size bytes, and zeroes up to what is aligned */
static void put(FILE *f, const void *data, uint64_t size)
{
	static const char zero[IMAGE_ALIGN];

	if (size)
		fwrite(data, 1, size, f);
	fwrite(zero, 1, align(size) - size, f);
}

int policy_image_write(const struct policy *p, FILE *f)
{
	struct packing k = {.rules = NULL};
	int rc = pack_all(p, &k);

	if (!rc) {
		pack_places(p, &k);
		put(f, &k.head, sizeof(k.head));
		put(f, k.rules, ((uint64_t)p->n_entries + 1) * sizeof(*k.rules));
		put(f, k.sets, p->n_sets * (uint64_t)sizeof(*k.sets));
		put(f, k.texts.v, k.texts.n);
		for (uint32_t i = 0; i < p->n_sets; i++)
			put(f, p->sets[i]->image, p->sets[i]->size);
		if (fflush(f))
			rc = -errno;
		else if (ferror(f))
			rc = -EIO;
	}
	free(k.rules);
	free(k.sets);
	free(k.texts.v);
	return rc;
}

/* --- reading one ----------------------------------------------------------------------------- */

/** struct policy_unpacking - @at: the next rule */
struct policy_unpacking {
	struct policy *p;
	const struct image_head *head;
	const struct image_rule *rules;
	const struct image_set *sets;
	const char *texts;
	uint32_t at;
};

/** lay_out - are the parts where they must be? */
static bool lay_out(struct policy_unpacking *u, const void *image, size_t size)
{
	const struct image_head *h = image;
	uint64_t rules, sets;

	if (size < sizeof(*h) || h->magic != IMAGE_MAGIC || h->size != size ||
	    h->n_rules > POLICY_RULES_MAX)
		return false;
	rules = align(sizeof(*h));
	sets = rules + rules_size(h->n_rules);
	if (h->texts != sets + h->n_sets * (uint64_t)sizeof(struct image_set) || h->texts >= size ||
	    !h->texts_size || h->texts_size > size - h->texts)
		return false;
	u->head = h;
	u->rules = (const void *)((const char *)image + rules);
	u->sets = (const void *)((const char *)image + sets);
	u->texts = (const char *)image + h->texts;
	return !u->texts[h->texts_size - 1];
}

/** text_at - NULL for NO_TEXT, and for a place that is none */
static const char *text_at(const struct policy_unpacking *u, uint32_t at)
{
	return at < u->head->texts_size ? u->texts + at : NULL;
}

static int unpack_set(struct policy_unpacking *u, const struct image_set *s)
{
	const uint64_t type = s->type == ANY_TYPE ? EXPR_HOSTNAME : s->type;
	struct policy_set *set = policy_alloc(u->p, sizeof(*set));
	const char *image = (const char *)u->head;

	if (!set)
		return -ENOMEM;
	set->name = text_at(u, s->name);
	set->file = text_at(u, s->file);
	set->path = text_at(u, s->path);
	set->line = s->line;
	if (!set->name || !set->file || s->at % IMAGE_ALIGN || s->at > u->head->size ||
	    s->size > u->head->size - s->at || type > EXPR_FLAGS ||
	    !policy_set_open(set, (enum expr_type)type, image + s->at, s->size))
		return -EINVAL;
	if (s->type == ANY_TYPE)
		policy_set_empty(set);
	return policy_add_set(u->p, set);
}

/** parse_of - what errors need; nobody sees them */
static struct policy_parse parse_of(const struct policy_unpacking *u, const char *text)
{
	static char unseen[1];

	return (struct policy_parse){.p = u->p,
				     .path = "",
				     .text = text,
				     .len = strlen(text),
				     .err = unseen,
				     .errsize = sizeof(unseen)};
}

static int unpack_condition(const struct policy_unpacking *u, const char *text,
			    struct policy_entry *e)
{
	const struct policy_parse x = parse_of(u, text);

	return policy_rule_condition(&x, &(struct policy_line){text, text + x.len, 1}, e);
}

/** unpack_rule - @skip: a word before the action */
static int unpack_rule(const struct policy_unpacking *u, const struct image_rule *r, bool skip,
		       struct policy_entry *e)
{
	const char *text = text_at(u, r->text), *condition = text_at(u, r->condition), *end;
	struct policy_parse x;
	struct policy_line l;
	struct policy_word w;
	int rc;

	if (!text || !text_at(u, r->file) || r->head > strlen(text))
		return -EINVAL;
	x = parse_of(u, text);
	l = (struct policy_line){text, skip ? text + x.len : text + r->head, 1};
	rc = skip ? policy_word_next(&x, &l, &w) : 0;
	if (rc >= 0)
		rc = policy_rule_head(&x, &l, e, &end);
	if (rc)
		return rc < 0 ? rc : -EINVAL;
	e->head = r->head;
	e->rule.file = text_at(u, r->file);
	e->rule.line = r->line;
	e->rule.text = text;
	return condition ? unpack_condition(u, condition, e) : 0;
}

static int unpack_default(struct policy_unpacking *u)
{
	const struct image_rule *r = &u->rules[u->head->n_rules];
	struct policy_entry e = {.expr = NULL};
	int rc;

	if (r->text == NO_TEXT)
		return 0;
	rc = r->condition == NO_TEXT ? unpack_rule(u, r, true, &e) : -EINVAL;
	if (!rc)
		u->p->fallback = e;
	return rc || e.rule.final ? rc : -EINVAL;
}

static int damaged(int rc, char *err, size_t errsize)
{
	snprintf(err, errsize, "%s",
		 rc == -ENOMEM ? "no memory for the rules"
			       : "the rules that were passed on are damaged");
	return rc;
}

int policy_image_start(const void *image, size_t size, struct policy_unpacking **out, char *err,
		       size_t errsize)
{
	struct policy_unpacking *u = calloc(1, sizeof(*u));
	int rc = u ? 0 : -ENOMEM;

	if (!rc) {
		u->p = policy_new();
		rc = !u->p ? -ENOMEM : lay_out(u, image, size) ? 0 : -EINVAL;
	}
	if (!rc) {
		u->p->key = u->head->key;
		rc = unpack_default(u);
	}
	for (uint32_t i = 0; !rc && i < u->head->n_sets; i++)
		rc = unpack_set(u, &u->sets[i]);
	if (rc) {
		policy_unpack_stop(u);
		return damaged(rc, err, errsize);
	}
	*out = u;
	return 0;
}

void policy_unpack_stop(struct policy_unpacking *u)
{
	if (!u)
		return;
	policy_free(u->p);
	free(u);
}

struct policy *policy_unpacking_policy(struct policy_unpacking *u)
{
	return u->p;
}

static int unpack_some(struct policy_unpacking *u, unsigned rules)
{
	struct policy_entry e;
	int rc = 0;

	for (; !rc && rules && u->at < u->head->n_rules; rules--, u->at++) {
		e.expr = NULL;
		rc = unpack_rule(u, &u->rules[u->at], false, &e);
		if (!rc)
			rc = policy_add_entry(u->p, &e);
		if (rc)
			expr_free(e.expr);
	}
	return rc;
}

int policy_unpack_step(struct policy_unpacking *u, unsigned rules, struct policy **out, char *err,
		       size_t errsize)
{
	int rc = unpack_some(u, rules);

	if (!rc && u->at < u->head->n_rules)
		return 1;
	if (!rc)
		rc = policy_index_make(u->p);
	if (rc) {
		policy_unpack_stop(u);
		return damaged(rc, err, errsize);
	}
	*out = u->p;
	free(u);
	return 0;
}
