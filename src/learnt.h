/* SPDX-License-Identifier: MIT */
/*
 * learnt: what has become known of one flow beside its record: names from its payload, and the
 * tags that rules and hooks gave it. One lies beside each flow record in the shared memory (it is
 * touched only where there is something to note), so that the supervisor can filter by it and
 * record it after a crash. Its reader may be another process than its writer: every
 * length is checked where it is read.
 */
#ifndef WEIR_LEARNT_H
#define WEIR_LEARNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEARNT_ROOM 1020

/** struct learnt - entries of a field (enum expr_field), a length and so many bytes */
struct learnt {
	uint16_t used;
	uint8_t done; /* no more names will be learnt: what is not here is absent */
	uint8_t zero;
	uint8_t data[LEARNT_ROOM];
};

enum learnt_what { LEARNT_NOTHING, LEARNT_ABSENT, LEARNT_VALUE };

/** learnt_size - of the memory for the flows of a table with @entries records */
static inline size_t learnt_size(uint32_t entries)
{
	return (size_t)entries * sizeof(struct learnt);
}

void learnt_clear(struct learnt *l);
/**
 * learnt_add - @value, or NULL: that there is none; a value that is there already is not repeated
 *
 * Returns 0, 1 when nothing is new, or -ENOSPC. Long values are cut to 511 bytes.
 */
int learnt_add(struct learnt *l, unsigned field, const char *value);
/** learnt_get - the @i-th value of @field, borrowed, without a NUL */
enum learnt_what learnt_get(const struct learnt *l, unsigned field, unsigned i, const char **text,
			    size_t *len);
/** learnt_forget - remove all values of @field */
void learnt_forget(struct learnt *l, unsigned field);

#endif
