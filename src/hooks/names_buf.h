/* SPDX-License-Identifier: MIT */
/*
 * names_buf: what the parsers of the hook `names` share: views of bytes, a reader that can't leave
 * them, and a buffer that grows up to a bound.
 */
#ifndef WEIR_HOOKS_NAMES_BUF_H
#define WEIR_HOOKS_NAMES_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What a parser says to bytes that came one after the other. */
enum names_step {
	NAMES_MORE,  /* good so far */
	NAMES_FOUND, /* complete */
	NAMES_NOT,   /* something else, malformed, or beyond a bound: it will stay so */
};

/** struct names_view - borrowed bytes, read from the front */
struct names_view {
	const uint8_t *at;
	size_t len;
};

/** names_take - the first @n bytes in *@out; false when there are fewer */
static inline bool names_take(struct names_view *v, size_t n, struct names_view *out)
{
	if (v->len < n)
		return false;
	*out = (struct names_view){v->at, n};
	v->at += n;
	v->len -= n;
	return true;
}

/** names_take_number - big-endian, of @n bytes (up to 4) */
static inline bool names_take_number(struct names_view *v, size_t n, uint32_t *out)
{
	struct names_view bytes;

	if (!names_take(v, n, &bytes))
		return false;
	for (*out = 0; n--; bytes.at++)
		*out = *out << 8 | *bytes.at;
	return true;
}

/** names_take_vector - a TLS vector: its length in @n bytes, and the bytes */
static inline bool names_take_vector(struct names_view *v, size_t n, struct names_view *out)
{
	uint32_t len;

	return names_take_number(v, n, &len) && names_take(v, len, out);
}

/** struct names_buf - owned bytes; zero is empty */
struct names_buf {
	uint8_t *data;
	size_t len, room;
};

#define NAMES_BUF_STEP 2048u /* most hellos and heads fit */

/** names_buf_room - make room for @room bytes altogether; false above @max or without memory */
static inline bool names_buf_room(struct names_buf *b, size_t room, size_t max)
{
	uint8_t *data;

	if (room <= b->room)
		return true;
	if (room > max)
		return false;
	room = (room + NAMES_BUF_STEP - 1) / NAMES_BUF_STEP * NAMES_BUF_STEP;
	if (room < 2 * b->room)
		room = 2 * b->room; /* bytes that come one by one are copied a few times only */
	data = realloc(b->data, room);
	if (!data)
		return false;
	b->data = data;
	b->room = room;
	return true;
}

static inline bool names_buf_add(struct names_buf *b, const uint8_t *data, size_t len, size_t max)
{
	if (!names_buf_room(b, b->len + len, max))
		return false;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	return true;
}

static inline void names_buf_free(struct names_buf *b)
{
	free(b->data);
	*b = (struct names_buf){0};
}

#endif
