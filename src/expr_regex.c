/* SPDX-License-Identifier: MIT */
/*
 * expr_regex: PCRE2, bounded in time and memory, as what it is tried on was sent by strangers.
 *
 * - No JIT: the worker may not make memory executable (W^X, by seccomp).
 * - No allocation while matching. PCRE2 keeps its backtracking frames in the match data and grows
 *   them by a new block twice the size; both come from a room that is there from the first
 *   expression to the last, shared by all of them. One thread per process, so one match at a time.
 * - Bytes, not characters: names and paths need not be UTF-8. $ is the very end.
 * - The match limit counts per place where a match could begin, so it is divided by the number of
 *   those places: the whole costs at most BUDGET steps.
 * - A step may run along all of the text (a class that is repeated), so texts are limited, too. The
 *   square of the longest one takes some 5 ms.
 */
#include "expr_impl.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define BUDGET	   1000000    /* steps of one evaluation: some 20 ms */
#define STEPS_MAX  100000     /* ... from one place */
#define DEPTH_MAX  20000      /* nested backtracking */
#define HALF_SIZE  (1U << 20) /* the most that frames may take */
#define FRAMES_MIN 10	      /* that PCRE2 begins with */
#define PARENS_MAX 100

#define OPTIONS (PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UCP | PCRE2_NEVER_UTF)

/**
 * room - what all regular expressions share
 * @half: a block of frames lies in one of the two while the next one is made in the other
 * @serving: allocations are taken from the halves (while matching), else from malloc()
 */
static struct {
	unsigned users;
	uint8_t *half; /* owned: two of HALF_SIZE; what is never used costs no memory */
	bool taken[2];
	bool serving;
	pcre2_general_context *general;
	pcre2_match_context *limits;
	pcre2_match_data *match;
} room;

static uint64_t limits_hit;

uint64_t expr_limits_hit(void)
{
	return limits_hit;
}

static void *room_alloc(size_t size, void *ctx)
{
	(void)ctx;
	if (!room.serving)
		return malloc(size);
	for (unsigned i = 0; i < 2 && size <= HALF_SIZE; i++) {
		if (room.taken[i])
			continue;
		room.taken[i] = true;
		return room.half + (size_t)i * HALF_SIZE;
	}
	return NULL;
}

static void room_free(void *p, void *ctx)
{
	(void)ctx;
	for (unsigned i = 0; i < 2; i++) {
		if (room.half && p == room.half + (size_t)i * HALF_SIZE) {
			room.taken[i] = false;
			return;
		}
	}
	free(p);
}

static void room_close(void)
{
	pcre2_match_data_free(room.match);
	pcre2_match_context_free(room.limits);
	pcre2_general_context_free(room.general);
	free(room.half);
	memset(&room, 0, sizeof(room));
}

static int room_open(void)
{
	room.half = malloc(2 * (size_t)HALF_SIZE);
	room.general = pcre2_general_context_create(room_alloc, room_free, NULL);
	if (!room.half || !room.general)
		return -ENOMEM;
	room.limits = pcre2_match_context_create(room.general);
	room.match = pcre2_match_data_create(1, room.general);
	if (!room.limits || !room.match)
		return -ENOMEM;
	pcre2_set_depth_limit(room.limits, DEPTH_MAX);
	pcre2_set_heap_limit(room.limits, HALF_SIZE >> 10);
	return 0;
}

/** room_take - for one more expression; 0 or -ENOMEM */
static int room_take(void)
{
	if (!room.users && room_open()) {
		room_close();
		return -ENOMEM;
	}
	room.users++;
	return 0;
}

static void room_give(void)
{
	if (!--room.users)
		room_close();
}

/** complain - in PCRE2's words, at the place that it names */
static int complain(struct expr_build *b, const struct expr_token *token, int error, size_t at)
{
	char text[120] = "";

	if (error == PCRE2_ERROR_HEAP_FAILED)
		return -ENOMEM;
	pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof(text));
	return expr_fail_at(b, expr_pattern_place(token, at), 1, "%s", text);
}

/** compile - a pattern that the room is large enough for */
static int compile(struct expr_build *b, const struct expr_token *token, const char *pattern,
		   size_t len, bool fold, pcre2_code **out)
{
	pcre2_compile_context *ctx = pcre2_compile_context_create(room.general);
	int error;
	size_t at, frame;

	if (!ctx)
		return -ENOMEM;
	pcre2_set_parens_nest_limit(ctx, PARENS_MAX);
	*out = pcre2_compile((PCRE2_SPTR)pattern, len, OPTIONS | (fold ? PCRE2_CASELESS : 0),
			     &error, &at, ctx);
	pcre2_compile_context_free(ctx);
	if (!*out)
		return complain(b, token, error, at);
	pcre2_pattern_info(*out, PCRE2_INFO_FRAMESIZE, &frame);
	if (frame <= HALF_SIZE / FRAMES_MIN)
		return 0;
	pcre2_code_free(*out);
	return expr_fail(b, token, "too many groups");
}

int expr_regex_compile(struct expr_build *b, const struct expr_token *token, const char *pattern,
		       size_t len, bool fold, void **code)
{
	pcre2_code *out = NULL;
	int rc = room_take();

	if (rc)
		return rc;
	rc = compile(b, token, pattern, len, fold, &out);
	if (rc)
		room_give();
	else
		*code = out;
	return rc;
}

void expr_regex_free(void *code)
{
	pcre2_code_free(code);
	room_give();
}

/** count_byte - how often @c, or the same letter in the other case, is in @s */
static size_t count_byte(const char *s, size_t len, uint8_t c, bool fold)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += (uint8_t)s[i] == c || (fold && expr_lower(s[i]) == expr_lower((char)c));
	return n;
}

/** starts - at how many places of @s a match may begin, at most */
static size_t starts(const pcre2_code *code, const char *s, size_t len)
{
	uint32_t options = 0, kind = 0, first = 0;

	pcre2_pattern_info(code, PCRE2_INFO_ALLOPTIONS, &options);
	pcre2_pattern_info(code, PCRE2_INFO_FIRSTCODETYPE, &kind);
	pcre2_pattern_info(code, PCRE2_INFO_FIRSTCODEUNIT, &first);
	if (options & PCRE2_ANCHORED)
		return 1;
	if (kind == 2) /* behind each newline */
		return 1 + count_byte(s, len, '\n', false);
	if (kind == 1)
		return MAX(count_byte(s, len, (uint8_t)first, true), (size_t)1);
	return len + 1;
}

bool expr_regex_match(const void *code, const char *s, size_t len)
{
	int rc = PCRE2_ERROR_MATCHLIMIT;

	if (len <= EXPR_SUBJECT_MAX) {
		size_t steps = STEPS_MAX;

		if (len + 1 > BUDGET / STEPS_MAX)
			steps = MIN(BUDGET / starts(code, s, len), (size_t)STEPS_MAX);
		pcre2_set_match_limit(room.limits, (uint32_t)steps);
		room.serving = true;
		rc = pcre2_match(code, (PCRE2_SPTR)s, len, 0, 0, room.match, room.limits);
		room.serving = false;
	}
	limits_hit += rc < 0 && rc != PCRE2_ERROR_NOMATCH;
	return rc >= 0;
}
