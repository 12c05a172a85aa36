/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BASE_UTIL_H
#define WEIR_BASE_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/param.h> /* MIN, MAX */

#define ARRAY_SIZE(a)	      (sizeof(a) / sizeof((a)[0]))
#define container_of(p, t, m) ((t *)(void *)((char *)(p)-offsetof(t, m)))

/**
 * weir_assert - for our own bugs only, never to judge input; stays in release builds
 */
#define weir_assert(e) ((e) ? (void)0 : assert_fail(#e, __FILE__, __LINE__))
_Noreturn void assert_fail(const char *expr, const char *file, int line);

static inline uint16_t get_be16(const void *p)
{
	const uint8_t *b = p;

	return (uint16_t)(b[0] << 8 | b[1]);
}

static inline uint32_t get_be32(const void *p)
{
	const uint8_t *b = p;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline void put_be16(void *p, uint16_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
}

static inline void put_be32(void *p, uint32_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)(v >> 24);
	b[1] = (uint8_t)(v >> 16);
	b[2] = (uint8_t)(v >> 8);
	b[3] = (uint8_t)v;
}

/** str_copy - bounded copy, always terminated; returns the length copied */
size_t str_copy(char *dst, size_t size, const char *src);

/** close_fd - close *@fd if it is one and set it to -1 */
void close_fd(int *fd);

/**
 * read_text - the whole of the file at @path, terminated, in *@text, which the caller frees
 *
 * 0, or -errno: -EFBIG above 1 MiB, -EINVAL when it has a NUL inside, so is no text.
 */
int read_text(const char *path, char **text);

#endif
