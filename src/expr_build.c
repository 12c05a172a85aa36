/* SPDX-License-Identifier: MIT */
/*
 * expr_build: memory while an expression is compiled, and its packing into one allocation.
 *
 * All arrays double, so their cost is in proportion to the text; nothing points into them but
 * indexes.
 */
#include "expr_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define POOL_ALIGN 8

/** room_for - see that *@array of elements of @size can hold @n */
static int room_for(void **array, uint32_t *room, size_t n, size_t size)
{
	size_t more = *room ? *room : 16;
	void *p;

	if (n <= *room)
		return 0;
	while (more < n)
		more *= 2;
	p = realloc(*array, more * size);
	if (!p)
		return -ENOMEM;
	*array = p;
	*room = (uint32_t)more;
	return 0;
}

int expr_pool_add(struct expr_build *b, size_t size, uint32_t *at)
{
	const size_t start = (b->n_pool + POOL_ALIGN - 1) & ~(size_t)(POOL_ALIGN - 1);
	void *pool = b->pool;
	int rc =
		room_for(&pool, &b->room_pool, start + size + 1, 1); /* a place, also for nothing */

	if (rc)
		return rc;
	b->pool = pool;
	memset(b->pool + b->n_pool, 0, start + size - b->n_pool);
	b->n_pool = (uint32_t)(start + size);
	*at = (uint32_t)start;
	return 0;
}

int expr_pool_text(struct expr_build *b, const char *text, size_t len, uint32_t *at)
{
	int rc = expr_pool_add(b, len, at);

	if (!rc)
		memcpy(b->pool + *at, text, len);
	return rc;
}

int expr_value_add(struct expr_build *b, const struct expr_token *token)
{
	void *value = b->value;
	int rc = room_for(&value, &b->room_value, b->n_value + 1, sizeof(*b->value));

	if (rc)
		return rc;
	b->value = value;
	b->value[b->n_value++] = *token;
	return 0;
}

int expr_branch_add(struct expr_build *b, const struct expr_node *n, uint32_t *index)
{
	void *branch = b->branch;
	int rc = room_for(&branch, &b->room_branch, b->n_branch + 1, sizeof(*b->branch));

	if (rc)
		return rc;
	b->branch = branch;
	*index = b->n_branch++;
	b->branch[*index] = (struct expr_branch){
		.node = *n, .first = EXPR_NONE, .last = EXPR_NONE, .next = EXPR_NONE};
	return 0;
}

static bool is_group(const struct expr_node *n)
{
	return n->kind == EXPR_N_AND || n->kind == EXPR_N_OR;
}

void expr_branch_append(struct expr_build *b, uint32_t group, uint32_t child)
{
	struct expr_branch *g = &b->branch[group], *c = &b->branch[child];
	const bool joins = c->node.kind == g->node.kind && !c->node.negate;
	const uint32_t first = joins ? c->first : child, last = joins ? c->last : child;

	if (g->first == EXPR_NONE)
		g->first = first;
	else
		b->branch[g->last].next = first;
	g->last = last;
}

/** flatten - write @index and all below it from *@n on; with @out NULL only count them */
static void flatten(const struct expr_build *b, uint32_t index, struct expr *out, uint32_t *n)
{
	const struct expr_branch *br = &b->branch[index];
	const uint32_t mine = (*n)++;

	if (is_group(&br->node))
		for (uint32_t c = br->first; c != EXPR_NONE; c = b->branch[c].next)
			flatten(b, c, out, n);
	if (!out)
		return;
	out->node[mine] = br->node;
	out->node[mine].skip = *n;
	if (!is_group(&br->node))
		out->fields |= 1ULL << br->node.field;
}

struct expr *expr_build_finish(struct expr_build *b, uint32_t root)
{
	uint32_t n = 0, again = 0;
	uint8_t *pool;
	struct expr *e;

	flatten(b, root, NULL, &n);
	e = calloc(1, sizeof(*e) + n * sizeof(e->node[0]) + b->n_pool);
	if (!e)
		return NULL;
	e->n_nodes = n;
	flatten(b, root, e, &again);
	pool = (uint8_t *)&e->node[n];
	if (b->n_pool)
		memcpy(pool, b->pool, b->n_pool);
	e->pool = pool;
	b->n_branch = 0; /* their regular expressions are @e's now */
	return e;
}

void expr_build_free(struct expr_build *b)
{
	for (uint32_t i = 0; i < b->n_branch; i++)
		if (b->branch[i].node.kind == EXPR_N_REGEX)
			expr_regex_free(b->branch[i].node.text.code);
	free(b->branch);
	free(b->pool);
	free(b->value);
	free(b->scratch);
}
