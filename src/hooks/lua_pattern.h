/* SPDX-License-Identifier: MIT */
/*
 * lua_pattern: Lua's patterns, by a matcher that can be stopped.
 *
 * Lua's own one runs in C, where no debug hook reaches it, and a pattern such as (.-)(.-)(.-)x
 * takes ages on the right subject. This one has the same language (section 6.4.1 of the reference
 * manual) and asks every now and then whether it may go on. It knows nothing of Lua's states.
 */
#ifndef WEIR_HOOKS_LUA_PATTERN_H
#define WEIR_HOOKS_LUA_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#define PATTERN_CAPTURES_MAX 32

/**
 * struct pattern_capture - @len: CAPTURE_PLACE for "()", which captures where it is; CAPTURE_OPEN
 * after a match: the pattern has a '(' too many
 */
struct pattern_capture {
	const char *at;
	ptrdiff_t len;
};

#define CAPTURE_OPEN  (-1)
#define CAPTURE_PLACE (-2)

/**
 * struct pattern_match - one search; the caller sets the first block, without a leading ^
 * @may_go_on: asked once in PATTERN_STEPS steps; false ends the search with @error
 * @error: what is wrong with the pattern, or NULL
 */
struct pattern_match {
	const char *subject, *subject_end;
	const char *pattern, *pattern_end;
	bool (*may_go_on)(void *ctx);
	void *ctx;

	const char *error;
	unsigned n_captures, depth;
	size_t steps; /* since it was asked */
	struct pattern_capture capture[PATTERN_CAPTURES_MAX];
};

#define PATTERN_STEPS 4096

/** pattern_match_at - where the match that begins at @s ends; NULL: none, or an error */
const char *pattern_match_at(struct pattern_match *m, const char *s);
/** pattern_is_plain - it has no character with a meaning of its own */
bool pattern_is_plain(const char *pattern, size_t len);

#endif
