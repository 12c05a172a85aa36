/* SPDX-License-Identifier: MIT */
/* numset: is this number in the list? Numbers and ranges of them; images as in nameset.h. */
#ifndef WEIR_NUMSET_H
#define WEIR_NUMSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct numset_build;

/** numset_parse - "N" or "N-M", decimal; 0 or -EINVAL */
int numset_parse(const char *text, size_t len, uint64_t *lo, uint64_t *hi);

struct numset_build *numset_build_new(void);
void numset_build_free(struct numset_build *b);
/** numset_build_add - @lo to @hi, both included; 0, -EINVAL, -E2BIG or -ENOMEM */
int numset_build_add(struct numset_build *b, uint64_t lo, uint64_t hi);
/** numset_build_image - the set so far, malloc'd; @b is put in order; 0 or -ENOMEM */
int numset_build_image(struct numset_build *b, void **image, size_t *size);

bool numset_check(const void *image, size_t size);
bool numset_has(const void *image, uint64_t number);
/** numset_entries - how many ranges are left when those that touch are joined */
uint32_t numset_entries(const void *image);

#endif
