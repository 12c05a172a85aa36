/* SPDX-License-Identifier: MIT */
#include "learnt.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

#define HEAD	  3 /* field, length in two bytes */
#define VALUE_MAX 511

/** struct entry - one value, as it lies in the data */
struct entry {
	unsigned field;
	size_t len, end; /* @end: offset behind it */
	const char *text;
};

/** read_entry - the entry at @at; false behind the last one, or where the rest makes no sense */
static bool read_entry(const struct learnt *l, size_t at, struct entry *e)
{
	const size_t used = MIN((size_t)l->used, sizeof(l->data));

	if (at + HEAD > used)
		return false;
	e->field = l->data[at];
	e->len = (size_t)l->data[at + 1] << 8 | l->data[at + 2];
	e->end = at + HEAD + e->len;
	e->text = (const char *)l->data + at + HEAD;
	return e->end <= used;
}

void learnt_clear(struct learnt *l)
{
	l->used = 0;
	l->done = 0;
}

static bool has(const struct learnt *l, unsigned field, const char *value, size_t len)
{
	struct entry e;

	for (size_t at = 0; read_entry(l, at, &e); at = e.end)
		if (e.field == field && e.len == len && (!len || !memcmp(e.text, value, len)))
			return true;
	return false;
}

int learnt_add(struct learnt *l, unsigned field, const char *value)
{
	size_t len = value ? strnlen(value, VALUE_MAX) : 0;
	uint8_t *to;

	if (has(l, field, value, len))
		return 1;
	if ((size_t)l->used + HEAD + len > sizeof(l->data))
		return -ENOSPC;
	to = l->data + l->used;
	to[0] = (uint8_t)field;
	to[1] = (uint8_t)(len >> 8);
	to[2] = (uint8_t)len;
	if (len)
		memcpy(to + HEAD, value, len);
	l->used = (uint16_t)(l->used + HEAD + len);
	return 0;
}

enum learnt_what learnt_get(const struct learnt *l, unsigned field, unsigned i, const char **text,
			    size_t *len)
{
	bool absent = false;
	struct entry e;

	for (size_t at = 0; read_entry(l, at, &e); at = e.end) {
		if (e.field != field)
			continue;
		absent |= !e.len;
		if (!e.len || i--)
			continue;
		*text = e.text;
		*len = e.len;
		return LEARNT_VALUE;
	}
	return absent || l->done ? LEARNT_ABSENT : LEARNT_NOTHING;
}

void learnt_forget(struct learnt *l, unsigned field)
{
	struct entry e;
	size_t at = 0;

	while (read_entry(l, at, &e)) {
		if (e.field != field) {
			at = e.end;
			continue;
		}
		memmove(l->data + at, l->data + e.end, l->used - e.end);
		l->used = (uint16_t)(l->used - (e.end - at));
	}
}
