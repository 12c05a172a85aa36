/* SPDX-License-Identifier: MIT */
/* policy: what a set of rules is made of, and what others may know of it. */
#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nameset.h"
#include "numset.h"
#include "policy_impl.h"
#include "prefixset.h"

#include "base/util.h"

#define CHUNK_SIZE 16384
#define ARRAY_MIN  16

/** struct policy_chunk - memory that is freed with the policy: many small texts */
struct policy_chunk {
	struct policy_chunk *next;
	size_t used, size;
	_Alignas(16) char data[];
};

struct policy *policy_new(void)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (p)
		p->fallback.rule = (struct policy_rule){.final = true, .verdict = POLICY_ALLOW};
	return p;
}

void *policy_alloc(struct policy *p, size_t size)
{
	struct policy_chunk *c = p->chunks;
	void *out;

	size = (size + 7) & ~(size_t)7;
	if (!c || c->size - c->used < size) {
		size_t room = MAX(size, (size_t)CHUNK_SIZE);

		c = calloc(1, sizeof(*c) + room);
		if (!c)
			return NULL;
		c->size = room;
		c->next = p->chunks;
		p->chunks = c;
	}
	out = c->data + c->used;
	c->used += size;
	return out;
}

char *policy_text(struct policy *p, const char *s, size_t len)
{
	char *out = policy_alloc(p, len + 1);

	if (out && len)
		memcpy(out, s, len);
	return out;
}

int policy_grow(void **array, size_t size, uint32_t n, uint32_t *room)
{
	uint32_t new_room = MAX(2 * *room, (uint32_t)ARRAY_MIN);
	void *grown;

	if (n < *room)
		return 0;
	grown = reallocarray(*array, new_room, size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*room = new_room;
	return 0;
}

int policy_add_entry(struct policy *p, const struct policy_entry *e)
{
	void *array = p->entries;
	int rc;

	if (p->n_entries == POLICY_RULES_MAX)
		return -E2BIG;
	rc = policy_grow(&array, sizeof(*e), p->n_entries, &p->room_entries);
	p->entries = array;
	if (rc)
		return rc;
	p->entries[p->n_entries++] = *e;
	if (e->expr)
		p->fields |= expr_fields(e->expr);
	else if (e->rule.final && !p->always)
		p->always = p->n_entries;
	return 0;
}

int policy_add_set(struct policy *p, struct policy_set *set)
{
	void *array = p->sets;
	int rc = policy_grow(&array, sizeof(void *), p->n_sets, &p->room_sets);

	p->sets = array;
	if (!rc)
		p->sets[p->n_sets++] = set;
	return rc;
}

struct policy_set *policy_find_set(const struct policy *p, const char *name, size_t len)
{
	for (uint32_t i = 0; i < p->n_sets; i++)
		if (strlen(p->sets[i]->name) == len && !memcmp(p->sets[i]->name, name, len))
			return p->sets[i];
	return NULL;
}

void policy_free(struct policy *p)
{
	struct policy_chunk *next;

	if (!p)
		return;
	for (uint32_t i = 0; i < p->n_entries; i++)
		expr_free(p->entries[i].expr);
	for (uint32_t i = 0; i < p->n_sets; i++)
		free(p->sets[i]->owned);
	free(p->entries);
	free(p->sets);
	for (struct policy_chunk *c = p->chunks; c; c = next) {
		next = c->next;
		free(c);
	}
	if (p->unmap)
		p->unmap(p->map, p->map_size);
	free(p);
}

/* --- what others may know ------------------------------------------------------------------ */

unsigned policy_rules(const struct policy *p)
{
	return p->n_entries;
}

const struct policy_rule *policy_rule(const struct policy *p, unsigned i)
{
	weir_assert(i < p->n_entries);
	return &p->entries[i].rule;
}

const struct policy_rule *policy_default_rule(const struct policy *p)
{
	return &p->fallback.rule;
}

const struct policy_rule *policy_by(const struct policy *p, uint32_t rule)
{
	return rule ? policy_rule(p, rule - 1) : policy_default_rule(p);
}

uint64_t policy_fields(const struct policy *p)
{
	return p->fields;
}

size_t policy_print(const struct policy *p, unsigned i, char *buf, size_t size)
{
	const struct policy_entry *e = &p->entries[i];
	char none[1];
	size_t n, used;

	if (!size)
		buf = none;
	n = (size_t)snprintf(buf, size, "%.*s%s", (int)e->head, e->rule.text,
			     e->expr ? " if " : "");
	used = MIN(n, size);
	if (e->expr)
		n += expr_print(e->expr, buf + used, size - used);
	return n;
}

unsigned policy_sets(const struct policy *p)
{
	return p->n_sets;
}

void policy_set_info(const struct policy *p, unsigned i, struct policy_set_info *out)
{
	const struct policy_set *s = p->sets[i];

	*out = (struct policy_set_info){
		.name = s->name,
		.path = s->path,
		.file = s->file,
		.line = s->line,
		.type = s->set.type,
		.size = s->size,
		.entries = s->set.type == EXPR_ADDR	? prefixset_entries(s->image)
			   : s->set.type == EXPR_NUMBER ? numset_entries(s->image)
							: nameset_entries(s->image),
	};
}

const char *policy_verdict_text(unsigned verdict)
{
	static const char *const texts[POLICY_VERDICT_MAX] = {"allow", "block", "drop",
							      "reset", "ask",	"wait"};

	return verdict < POLICY_VERDICT_MAX ? texts[verdict] : "?";
}
