/* SPDX-License-Identifier: MIT */
/*
 * match_fuzz: the file of patterns of the hook `match` on arbitrary text.
 *
 * LINK: src/hooks/match_rules.o
 */
#include "../../src/hooks/match_rules.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "fuzz_main.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct match_rules r;
	char err[120] = "";
	int rc = match_rules_parse(&r, (const char *)data, size, err, sizeof(err));

	if (rc && (rc != -EINVAL || strncmp(err, "line ", 5) != 0))
		__builtin_trap();
	for (size_t i = 0; !rc && i < r.n; i++)
		if (!r.rule[i].len || r.rule[i].pattern[r.rule[i].len] || !r.rule[i].name[0] ||
		    !r.rule[i].dirs || (r.rule[i].action == MATCH_REPLACE) != !!r.rule[i].with)
			__builtin_trap();
	match_rules_free(&r);
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static const char *const good[] = {
		"# patterns\nblock \"BEGIN RSA\" name key\nalert up \"pass\\x20word\"i\n",
		"replace \"a\\\"b\" with \"\\n\"\nreplace down /a(b|c)+\\/d/ism with \"x\" name y\n",
	};

	if (n >= ARRAY_SIZE(good) || strlen(good[n]) > room)
		return 0;
	memcpy(out, good[n], strlen(good[n]));
	return strlen(good[n]);
}
#endif
