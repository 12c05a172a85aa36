/* SPDX-License-Identifier: MIT */
/*
 * nameset: is this name in the list? A million host names, or texts, in one piece of memory.
 *
 * A set is built once and is then an image: a hash table without pointers, which may lie in a file
 * or in memory that another process maps. Host names are compared as DNS does (case does not
 * count, nor does a final dot) and an entry may stand for more than itself:
 *
 *	example.com	that name
 *	*.example.com	every name below it, but not itself
 *	.example.com	both
 *
 * Texts are compared as they are.
 */
#ifndef WEIR_NAMESET_H
#define WEIR_NAMESET_H

#include "base/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum nameset_kind { NAMESET_HOSTS, NAMESET_TEXTS };

#define NAMESET_TEXT_MAX 4096 /* bytes of one entry */

struct nameset_build;

/** nameset_is_host - can it be an entry of a set of host names? */
bool nameset_is_host(const char *name, size_t len);

/**
 * nameset_build_new - an empty set; NULL: no memory
 * @key: of the hash, so that who writes the list can't aim at one place of the table
 */
struct nameset_build *nameset_build_new(enum nameset_kind kind, const struct hash_key *key);
void nameset_build_free(struct nameset_build *b);
/**
 * nameset_build_add - one more entry; the same one again changes nothing
 *
 * 0, -EINVAL: it can't be a name (or is empty, or too long), -E2BIG: the set is full, -ENOMEM.
 */
int nameset_build_add(struct nameset_build *b, const char *name, size_t len);
/** nameset_build_image - the set so far, malloc'd, of *@size bytes; 0, -E2BIG or -ENOMEM */
int nameset_build_image(const struct nameset_build *b, void **image, size_t *size);

/**
 * nameset_check - may this be asked? @image is 8-aligned
 *
 * Looks at the head alone, so costs the same for any size: nameset_has() believes nothing else.
 */
bool nameset_check(const void *image, size_t size);
/** nameset_has - is @name matched by an entry? @image has passed nameset_check() */
bool nameset_has(const void *image, const char *name, size_t len);
/** nameset_entries - how many different names */
uint32_t nameset_entries(const void *image);

#endif
