/* SPDX-License-Identifier: MIT */
#include "decision.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"

static const char *const words[DECISION_FOR_MAX] = {
	[DECISION_ONCE] = "once", [DECISION_PROCESS] = "process", [DECISION_PROGRAM] = "program",
	[DECISION_USER] = "user", [DECISION_HOST] = "host",
};

enum decision_for decision_for_find(const char *word)
{
	unsigned i = 0;

	while (i < DECISION_FOR_MAX && strcmp(words[i], word) != 0)
		i++;
	return (enum decision_for)i;
}

const char *decision_for_text(unsigned what)
{
	return what < DECISION_FOR_MAX ? words[what] : "?";
}

static const struct addrport *other_side(const struct flow_facts *ff)
{
	return &ff->rec->net;
}

/** host_of - the best known name, or the address; false: a name may still come */
static bool host_of(const struct flow_facts *ff, char out[FLOW_HOST_MAX])
{
	enum expr_known known;
	struct expr_value v;

	known = facts_get(ff, EXPR_F_HOST, 0, &v);
	if (known == EXPR_NOT_YET)
		return false;
	if (known == EXPR_KNOWN)
		snprintf(out, FLOW_HOST_MAX, "%.*s", (int)MIN(v.text.len, FLOW_HOST_MAX - 1UL),
			 v.text.s);
	else
		addr_format(&other_side(ff)->addr, out);
	return true;
}

static int make_program(struct decision *d, const struct flow_facts *ff)
{
	if (!ff->owner || !ff->owner->exe[0])
		return -ENODATA;
	str_copy(d->text, sizeof(d->text), ff->owner->exe);
	return 0;
}

static int make_process(struct decision *d, const struct flow_facts *ff)
{
	if (!ff->owner)
		return -ENODATA;
	d->pid = ff->owner->pid;
	d->start_ns = ff->owner->start_ns;
	return 0;
}

static int make_user(struct decision *d, const struct flow_facts *ff)
{
	struct expr_value v;

	if (facts_get(ff, EXPR_F_UID, 0, &v) != EXPR_KNOWN)
		return -ENODATA;
	d->uid = (uint32_t)v.num;
	return 0;
}

int decision_make(struct decision *d, enum decision_for what, enum flow_verdict verdict,
		  const struct flow_facts *ff)
{
	*d = (struct decision){.what = (uint8_t)what, .verdict = (uint8_t)verdict};
	switch (what) {
	case DECISION_PROCESS:
		return make_process(d, ff);
	case DECISION_PROGRAM:
		return make_program(d, ff);
	case DECISION_USER:
		return make_user(d, ff);
	case DECISION_HOST:
		return host_of(ff, d->text) ? 0 : -ENODATA;
	default:
		return 0;
	}
}

static bool fits_host(const struct decision *d, const struct flow_facts *ff)
{
	char host[FLOW_HOST_MAX];

	return host_of(ff, host) && !strcasecmp(host, d->text);
}

bool decision_fits(const struct decision *d, const struct flow_facts *ff)
{
	const struct owner *o = ff->owner;
	struct expr_value v;

	if (d->expires && d->expires <= ff->now)
		return false;
	switch (d->what) {
	case DECISION_PROCESS:
		return o && o->pid == d->pid && o->start_ns == d->start_ns;
	case DECISION_PROGRAM:
		return o && !strncmp(o->exe, d->text, sizeof(o->exe));
	case DECISION_USER:
		return facts_get(ff, EXPR_F_UID, 0, &v) == EXPR_KNOWN && v.num == d->uid;
	case DECISION_HOST:
		return fits_host(d, ff);
	default:
		return false;
	}
}

/** quoted - @text as the language writes it; false where it cannot be written */
static bool quoted(const char *text, char *buf, size_t size)
{
	size_t n = 0;

	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || n + 3 > size)
			return false;
		if (*text == '"' || *text == '\\')
			buf[n++] = '\\';
		buf[n++] = *text;
	}
	buf[n] = '\0';
	return true;
}

bool decision_rule(const struct decision *d, char *buf, size_t size)
{
	const char *action = d->verdict == FLOW_ALLOW ? "allow" : "block";
	char text[2 * FLOW_HOST_MAX];
	struct addr a;

	if (!quoted(d->text, text, sizeof(text)))
		return false;
	switch (d->what) {
	case DECISION_PROGRAM:
		snprintf(buf, size, "%s if exe == \"%s\"", action, text);
		return true;
	case DECISION_USER:
		snprintf(buf, size, "%s if uid == %u", action, d->uid);
		return true;
	case DECISION_HOST:
		snprintf(buf, size,
			 addr_parse(text, &a) ? "%s if host == \"%s\"" : "%s if dst.ip == %s",
			 action, text);
		return true;
	default:
		return false;
	}
}

/* --- those that are remembered ----------------------------------------------------------- */

static void remove_at(struct decisions *ds, unsigned i)
{
	ds->n--;
	memmove(&ds->list[i], &ds->list[i + 1], (ds->n - i) * sizeof(*ds->list));
}

static bool same_subject(const struct decision *a, const struct decision *b)
{
	return a->what == b->what && a->uid == b->uid && a->pid == b->pid &&
	       a->start_ns == b->start_ns && !strcmp(a->text, b->text);
}

int decisions_add(struct decisions *ds, const struct decision *d)
{
	for (unsigned i = 0; i < ds->n; i++) {
		if (!same_subject(&ds->list[i], d))
			continue;
		remove_at(ds, i);
		break;
	}
	if (ds->n == DECISIONS_MAX)
		return -ENOSPC;
	if (!ds->list)
		ds->list = calloc(DECISIONS_MAX, sizeof(*ds->list));
	if (!ds->list)
		return -ENOMEM;
	memmove(&ds->list[1], &ds->list[0], ds->n * sizeof(*ds->list));
	ds->list[0] = *d;
	ds->n++;
	return 0;
}

const struct decision *decisions_find(const struct decisions *ds, const struct flow_facts *ff)
{
	for (unsigned i = 0; i < ds->n; i++)
		if (decision_fits(&ds->list[i], ff))
			return &ds->list[i];
	return NULL;
}

void decisions_expire(struct decisions *ds, uint64_t now)
{
	for (unsigned i = ds->n; i-- > 0;)
		if (ds->list[i].expires && ds->list[i].expires <= now)
			remove_at(ds, i);
}

bool decisions_remove(struct decisions *ds, uint32_t number)
{
	for (unsigned i = 0; i < ds->n; i++) {
		if (ds->list[i].number != number)
			continue;
		remove_at(ds, i);
		return true;
	}
	return false;
}

bool decisions_of_owner(const struct decisions *ds)
{
	for (unsigned i = 0; i < ds->n; i++)
		if (ds->list[i].what != DECISION_HOST)
			return true;
	return false;
}

void decisions_free(struct decisions *ds)
{
	free(ds->list);
	*ds = (struct decisions){.list = NULL};
}
