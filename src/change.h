/* SPDX-License-Identifier: MIT */
/*
 * change: one change that weir makes to a host, as a value and as a line of the journal; and
 * the journal's text as a whole. Pure: journal.c makes and undoes, and keeps the file.
 */
#ifndef WEIR_CHANGE_H
#define WEIR_CHANGE_H

#include "rule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHANGE_LINE_MAX	 1024 /* without its newline; a terminating NUL fits */
#define CHANGE_VALUE_MAX 128  /* of a sysctl before we changed it */
#define CHANGE_PATH_MAX	 256
#define CHANGE_NAME_MAX	 32

enum change_kind {
	CHANGE_RULE,
	CHANGE_ROUTE,
	CHANGE_NFT,
	CHANGE_SYSCTL,
	CHANGE_LINK,
	CHANGE_PATH,
	CHANGE_TABLE_ROUTES,
};

/** struct change - @guard: keeps fail-closed selections closed, so it outlives a crash */
struct change {
	enum change_kind kind;
	bool guard;
	union {
		struct host_rule rule;
		struct host_route route;
		char nft[CHANGE_NAME_MAX]; /* a table of family inet */
		struct {
			struct host_sysctl to;
			char old[CHANGE_VALUE_MAX];
		} sysctl;
		char link[IFNAMSIZ];
		char path[CHANGE_PATH_MAX];
		uint32_t table; /* of CHANGE_TABLE_ROUTES */
	};
};

/**
 * change_format - the line for @c in @line (CHANGE_LINE_MAX), without mark and newline
 *
 * 0; -EINVAL: @c is something that change_parse() would not take. What was written can
 * always be read.
 */
int change_format(const struct change *c, char *line);
/** change_parse - @text of @len bytes, without mark and newline; 0 or -EINVAL */
int change_parse(const char *text, size_t len, struct change *c);
/** change_same_object - do both stand for one thing on the host, perhaps with other values? */
bool change_same_object(const struct change *a, const struct change *b);

/** struct change_head - where and when a journal was written; texts without blanks */
struct change_head {
	char boot[64];	/* the kernel's boot id */
	char netns[64]; /* the network namespace's identity */
};

/** change_format_head - the first line with its newline; returns the length, or -ENAMETOOLONG */
int change_format_head(const struct change_head *h, char *line, size_t size);
/**
 * change_read - a whole journal
 * @each: called with each change, in order; @done: it was undone; @at: where its line begins.
 *	What it returns ends the reading when it is not 0
 *
 * A last line without newline is what a crash cut short. It is passed over: a change is made
 * only when its line is complete.
 *
 * Returns 0, what @each returned, or -EINVAL with one line in @err.
 */
int change_read(const char *text, size_t len, struct change_head *h,
		int (*each)(void *ctx, const struct change *c, bool done, size_t at), void *ctx,
		char *err, size_t errsize);

#endif
