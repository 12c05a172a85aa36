/* SPDX-License-Identifier: MIT */
/*
 * How a hook comes into the chain: its description is checked, it is loaded and configured. All of
 * that is before the worker's lock-down. hook_find.c has it found.
 */
#include "hook_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"

#define BUDGET_DEFAULT (10 * NSEC_PER_MSEC)

/* --- its description
 * ------------------------------------------------------------------------------ */

/** take_copy - of a hook that may have been built with an older or a newer header; 0 or -EINVAL */
static int take_copy(const struct weir_hook *theirs, struct weir_hook *ours, char *err,
		     size_t errsize)
{
	const size_t least = offsetof(struct weir_hook, wants);

	if (!theirs || theirs->size < least) {
		snprintf(err, errsize, "its description is cut short");
		return -EINVAL;
	}
	if (theirs->abi != WEIR_HOOK_ABI) {
		snprintf(err, errsize, "it was built for ABI %u of hooks, this is %u", theirs->abi,
			 (unsigned)WEIR_HOOK_ABI);
		return -EINVAL;
	}
	memcpy(ours, theirs, MIN(theirs->size, sizeof(*ours)));
	ours->size = sizeof(*ours);
	if (!ours->name || !*ours->name) {
		snprintf(err, errsize, "it has no name");
		return -EINVAL;
	}
	return 0;
}

/* --- its configuration -------------------------------------------------------------------------
 */

static int set_name(struct weir_hook_ref *e, const char *value, char *err, size_t errsize)
{
	(void)err;
	(void)errsize;
	if (!*value || strlen(value) >= sizeof(e->stats->name))
		return -EINVAL;
	for (const char *p = value; *p; p++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.",
			    *p))
			return -EINVAL;
	str_copy(e->stats->name, sizeof(e->stats->name), value);
	return 0;
}

static int set_on_error(struct weir_hook_ref *e, const char *value, char *err, size_t errsize)
{
	(void)err;
	(void)errsize;
	e->error_passes = !strcmp(value, "pass");
	return e->error_passes || !strcmp(value, "block") ? 0 : -EINVAL;
}

/** set_budget - "10ms", "500us", "1s" */
static int set_budget(struct weir_hook_ref *e, const char *value, char *err, size_t errsize)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {{"us", NSEC_PER_USEC}, {"ms", NSEC_PER_MSEC}, {"s", NSEC_PER_SEC}};
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	(void)err;
	(void)errsize;
	if (*value < '0' || *value > '9' || !n || n > 3600000)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (!strcmp(end, units[i].unit)) {
			e->budget = n * units[i].ns;
			return 0;
		}
	return -EINVAL;
}

/** set_scope - if=EXPR */
static int set_scope(struct weir_hook_ref *e, const char *value, char *err, size_t errsize)
{
	const struct hook_scopes *scopes = e->chain->env.scopes;

	return scopes ? scopes->compile(value, &e->scope, err, errsize) : -EINVAL;
}

/** common - the keys that every hook has; 1: it is none of these */
static int common(struct weir_hook_ref *e, const char *key, const char *value, char *err,
		  size_t errsize)
{
	static const struct {
		const char *key, *want;
		int (*set)(struct weir_hook_ref *e, const char *value, char *err, size_t errsize);
	} keys[] = {
		{"on-error", "block or pass", set_on_error},
		{"budget", "a time such as 10ms", set_budget},
		{"if", "an expression", set_scope},
		{"name", "letters, digits, - _ . (up to 31)", set_name},
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(keys[i].key, key))
			continue;
		if (!keys[i].set(e, value, err, errsize))
			return 0;
		if (!*err)
			snprintf(err, errsize, "%s: not '%s', but %s", key, value, keys[i].want);
		return -EINVAL;
	}
	return 1;
}

static int set(struct weir_hook_ref *e, const char *key, const char *value, char *err,
	       size_t errsize)
{
	const char *why = NULL;
	int rc = common(e, key, value, err, errsize);

	if (rc <= 0)
		return rc;
	if (!e->hook.config) {
		snprintf(err, errsize, "%s: there is no such key", key);
		return -EINVAL;
	}
	if (!e->hook.config(e->state, key, value, &why))
		return 0;
	snprintf(err, errsize, "%s: %s", key, why ? why : "the hook refuses it");
	return -EINVAL;
}

/**
 * next_arg - cut the next "key=value" off *@args, in place; "\," stands for a comma
 *
 * `if=` takes all the rest. @key is NULL where there is a value alone.
 */
static void next_arg(char **args, char **key, char **value)
{
	char *from = *args, *to = *args;

	*key = NULL;
	*value = *args;
	if (!strncmp(from, "if=", 3)) {
		*key = from;
		from[2] = '\0';
		*value = from + 3;
		*args = NULL;
		return;
	}
	while (*from && *from != ',') {
		if (*from == '\\' && from[1] == ',')
			from++;
		if (*from == '=' && !*key) {
			*key = *value;
			*to++ = '\0';
			*value = to;
			from++;
			continue;
		}
		*to++ = *from++;
	}
	*args = *from ? from + 1 : NULL;
	*to = '\0';
}

static int configure(struct weir_hook_ref *e, char *args, char *err, size_t errsize)
{
	bool first = true;
	int rc = 0;

	while (!rc && args) {
		char *key, *value;

		next_arg(&args, &key, &value);
		if (!key && first && e->hook.default_key) {
			rc = set(e, e->hook.default_key, value, err, errsize);
		} else if (!key) {
			snprintf(err, errsize, "'%s': not key=value", value);
			rc = -EINVAL;
		} else {
			rc = set(e, key, value, err, errsize);
		}
		first = false;
	}
	return rc;
}

/* --- birth and end
 * --------------------------------------------------------------------------------- */

void hook_unload(struct weir_hook_ref *e)
{
	if (e->hook.unload && e->loaded)
		e->hook.unload(e->state);
	if (e->scope)
		e->chain->env.scopes->free(e->scope);
	free(e);
}

/** start - load, config for each key, ready */
static int start(struct weir_hook_ref *e, const char *args, char *err, size_t errsize)
{
	const char *why = NULL;
	char *copy = NULL;
	int rc = 0;

	if (e->hook.load) {
		e->state = e->hook.load(&e->chain->host, e, &why);
		if (!e->state) {
			snprintf(err, errsize, "%s", why ? why : "it could not be loaded");
			return -EINVAL;
		}
	}
	e->loaded = true;
	if (args) {
		copy = strdup(args);
		rc = copy ? configure(e, copy, err, errsize) : -ENOMEM;
		free(copy);
	}
	if (!rc && !e->chain->env.check && e->hook.ready && e->hook.ready(e->state, &why)) {
		snprintf(err, errsize, "%s", why ? why : "it is not ready");
		rc = -EINVAL;
	}
	return rc;
}

int hook_chain_add_hook(struct hook_chain *c, const struct weir_hook *hook, const char *args,
			char *err, size_t errsize)
{
	struct weir_hook_ref *e;
	int rc;

	*err = '\0';
	weir_assert(!c->flows);
	if (c->n == HOOK_CHAIN_MAX) {
		snprintf(err, errsize, "there are too many hooks");
		return -EINVAL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->chain = c;
	e->index = c->n;
	e->stats = c->env.stats ? &c->env.stats[c->n] : &e->own_stats;
	e->budget = BUDGET_DEFAULT;
	rc = take_copy(hook, &e->hook, err, errsize);
	if (!rc) {
		str_copy(e->stats->name, sizeof(e->stats->name), e->hook.name);
		rc = start(e, args, err, errsize);
	}
	if (rc) {
		hook_unload(e);
		return rc;
	}
	if (!c->n && !strcmp(e->hook.name, "names"))
		c->gate = 1;
	c->hook[c->n++] = e;
	return 0;
}
