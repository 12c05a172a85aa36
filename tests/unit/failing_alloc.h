/* SPDX-License-Identifier: MIT */
/*
 * failing_alloc: lets the N-th allocation from now fail, once. Under the sanitizer, which has its
 * own malloc, nothing fails: FAILING_ALLOC says whether it works.
 */
#ifndef WEIR_TESTS_FAILING_ALLOC_H
#define WEIR_TESTS_FAILING_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

static long fail_in; /* the how manieth allocation from now fails; 0 = none */

#ifdef __has_feature
#define HAS_FEATURE(f) __has_feature(f)
#else
#define HAS_FEATURE(f) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#define FAILING_ALLOC 0
#else
#define FAILING_ALLOC 1

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static bool alloc_fails(void)
{
	return fail_in > 0 && --fail_in == 0;
}

void *malloc(size_t size)
{
	return alloc_fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return alloc_fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return alloc_fails() ? NULL : __libc_realloc(p, size);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t all;

	if (__builtin_mul_overflow(n, size, &all))
		return NULL;
	return realloc(p, all);
}
#endif

#endif
