/* SPDX-License-Identifier: MIT */
/*
 * prefixset: is this address in the list? A million prefixes, ranges or single addresses of
 * both families, in one piece of memory without pointers, as nameset.h.
 */
#ifndef WEIR_PREFIXSET_H
#define WEIR_PREFIXSET_H

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct prefixset_build;

/** struct prefixset_range - from @lo to @hi, both included, of one family */
struct prefixset_range {
	struct addr lo, hi;
};

/** prefixset_parse - "ADDR", "ADDR/BITS" (bits behind do not count) or "ADDR-ADDR"; 0, -EINVAL */
int prefixset_parse(const char *text, size_t len, struct prefixset_range *out);

struct prefixset_build *prefixset_build_new(void);
void prefixset_build_free(struct prefixset_build *b);
/** prefixset_build_add - 0, -EINVAL: two families, or the wrong way round; -E2BIG; -ENOMEM */
int prefixset_build_add(struct prefixset_build *b, const struct prefixset_range *r);
/** prefixset_build_image - the set so far, malloc'd; @b is put in order; 0, -E2BIG or -ENOMEM */
int prefixset_build_image(struct prefixset_build *b, void **image, size_t *size);

/** prefixset_check, prefixset_has - as those of nameset.h */
bool prefixset_check(const void *image, size_t size);
bool prefixset_has(const void *image, const struct addr *a);
/** prefixset_entries - how many ranges are left when those that touch are joined */
uint32_t prefixset_entries(const void *image);

#endif
