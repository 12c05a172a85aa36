/* SPDX-License-Identifier: MIT */
/* policy_world: files, users and flows that exist in a test's memory only. */
#ifndef WEIR_TESTS_POLICY_WORLD_H
#define WEIR_TESTS_POLICY_WORLD_H

#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

#define WORLD_FILES 16

static struct {
	const char *path, *text;
} world_files[WORLD_FILES];

static char world_err[600];

static void world_file(const char *path, const char *text)
{
	for (unsigned i = 0; i < WORLD_FILES; i++) {
		if (world_files[i].path && strcmp(world_files[i].path, path) != 0)
			continue;
		world_files[i].path = path;
		world_files[i].text = text;
		return;
	}
	abort();
}

static int world_read(void *ctx, const char *path, char **text, size_t *len)
{
	(void)ctx;
	for (unsigned i = 0; i < WORLD_FILES && world_files[i].path; i++) {
		if (strcmp(world_files[i].path, path) != 0)
			continue;
		*len = strlen(world_files[i].text);
		*text = strdup(world_files[i].text);
		return *text ? 0 : -ENOMEM;
	}
	return -ENOENT;
}

static int world_user(void *ctx, const char *name, uint32_t *uid)
{
	(void)ctx;
	*uid = !strcmp(name, "alice") ? 1000 : 1001;
	return strcmp(name, "alice") && strcmp(name, "bob") ? -ENOENT : 0;
}

static int world_group(void *ctx, const char *name, uint32_t *gid)
{
	(void)ctx;
	*gid = 50;
	return strcmp(name, "staff") ? -ENOENT : 0;
}

static const struct policy_source world_source = {
	.read_file = world_read, .user = world_user, .group = world_group};

static int world_load_file(const char *path, struct policy **p)
{
	world_err[0] = 0;
	return policy_load(&world_source, path, p, world_err, sizeof(world_err));
}

/** world_load - these rules, as the file "r"; NULL: refused, world_err says why */
__attribute__((unused)) static struct policy *world_load(const char *rules)
{
	struct policy *p;

	world_file("r", rules);
	return world_load_file("r", &p) ? NULL : p;
}

/** struct world_flow - what is known of a flow: by field; a field not mentioned is not known yet */
struct world_flow {
	bool known[EXPR_FIELD_MAX], absent[EXPR_FIELD_MAX];
	struct expr_value value[EXPR_FIELD_MAX];
	char text[EXPR_FIELD_MAX][64];
};

static enum expr_known world_get(const void *subject, enum expr_field f, unsigned i,
				 struct expr_value *out)
{
	const struct world_flow *w = subject;

	if (w->known[f] && !i) {
		*out = w->value[f];
		return EXPR_KNOWN;
	}
	return w->absent[f] || w->known[f] ? EXPR_ABSENT : EXPR_NOT_YET;
}

/** world_set - "field=value", or "field=-" when there is none */
static void world_set(struct world_flow *w, const char *word)
{
	size_t name = strcspn(word, "="), len;
	enum expr_field f = expr_field_find(word, name);
	const char *value = word + name + 1;
	struct expr_value *v = &w->value[f];

	if (f == EXPR_FIELD_MAX)
		abort();
	w->absent[f] = !strcmp(value, "-");
	w->known[f] = !w->absent[f];
	switch (expr_field_type(f)) {
	case EXPR_ADDR:
		if (w->known[f] && addr_parse(value, &v->addr))
			abort();
		return;
	case EXPR_TEXT:
	case EXPR_HOSTNAME:
		len = strlen(value);
		memcpy(w->text[f], value, len);
		v->text.s = w->text[f];
		v->text.len = len;
		return;
	case EXPR_NAME:
		v->num = (uint64_t)expr_name_find(f, value, strlen(value));
		return;
	default:
		v->num = strtoull(value, NULL, 10);
		return;
	}
}

/** world_flow - of words with blanks between them */
__attribute__((unused)) static struct world_flow *world_flow(const char *words)
{
	static struct world_flow w;
	char *copy = strdup(words);

	memset(&w, 0, sizeof(w));
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		world_set(&w, word);
	free(copy);
	return &w;
}

#endif
