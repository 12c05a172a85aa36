/* SPDX-License-Identifier: MIT */
/*
 * match_rules: the file of patterns of the hook `match`, as data.
 *
 *   # ACTION [up|down] PATTERN [with "TEXT"] [name WORD]
 *   block  "BEGIN RSA PRIVATE KEY" name key
 *   alert  up "password="i
 *   replace "http://old.example/" with "http://new.example/"
 *   block  down /MZ.{0,1024}This program cannot be run/s
 */
#ifndef WEIR_HOOK_MATCH_RULES_H
#define WEIR_HOOK_MATCH_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum match_action { MATCH_ALERT, MATCH_BLOCK, MATCH_REPLACE };

#define MATCH_NAME_MAX	  64
#define MATCH_PATTERN_MAX 4096	/* bytes of one pattern */
#define MATCH_RULES_MAX	  65536 /* of one file */

/**
 * struct match_rule - one line
 * @dirs: bit 1 << enum weir_dir
 * @pattern: owned; @len bytes and a NUL; of a literal what it means, of a regex as it was written
 * @with: owned; NULL unless MATCH_REPLACE
 */
struct match_rule {
	enum match_action action;
	unsigned dirs, line;
	bool regex, nocase, dotall, multiline;
	char name[MATCH_NAME_MAX]; /* "line N" when none is given */
	char *pattern, *with;
	size_t len, with_len;
};

struct match_rules {
	struct match_rule *rule;
	size_t n, cap;
};

/**
 * match_rules_parse - all lines of @text
 * @err: "line N: what", on -EINVAL
 *
 * Returns 0, -EINVAL or -ENOMEM; what was parsed before is freed by match_rules_free() in any case.
 */
int match_rules_parse(struct match_rules *r, const char *text, size_t len, char *err,
		      size_t errsize);
void match_rules_free(struct match_rules *r);

#endif
