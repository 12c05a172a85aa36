/* SPDX-License-Identifier: MIT */
/*
 * Images of sets and of rules: any bytes. Whatever passes the check of its head is asked, within
 * its bounds and in bounded time.
 *
 * LINK: src/policy.o src/policy_file.o src/policy_rule.o src/policy_set.o src/policy_judge.o
 * LINK: src/policy_index.o src/policy_pack.o src/nameset.o src/prefixset.o
 * LINK: src/numset.o src/base/addr.o src/base/hash.o src/base/util.o src/expr.o src/expr_build.o
 * LINK: src/expr_check.o src/expr_error.o src/expr_field.o src/expr_flags.o src/expr_glob.o
 * LINK: src/expr_lex.o src/expr_literal.o src/expr_parse.o src/expr_print.o src/expr_regex.o
 * LINK: src/expr_required.o src/expr_values.o
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "nameset.h"
#include "numset.h"
#include "policy.h"
#include "policy_impl.h"
#include "prefixset.h"

#include "base/util.h"

#include "fuzz_main.h"

/** getrandom - keys of hash tables are the same in every run */
ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	memset(buf, 7, len);
	return (ssize_t)len;
}

static enum expr_known fuzz_get(const void *subject, enum expr_field f, unsigned i,
				struct expr_value *out)
{
	(void)subject;
	if (i)
		return EXPR_ABSENT;
	switch (expr_field_type(f)) {
	case EXPR_ADDR:
		addr_parse("10.0.0.1", &out->addr);
		break;
	case EXPR_TEXT:
	case EXPR_HOSTNAME:
		out->text.s = "a.b.example";
		out->text.len = 11;
		break;
	default:
		out->num = 443;
	}
	return EXPR_KNOWN;
}

static void try_rules(const void *image, size_t size)
{
	struct policy_unpacking *u;
	struct policy_judgement g;
	struct policy *p;
	char err[100];

	if (policy_image_start(image, size, &u, err, sizeof(err)) ||
	    policy_unpack_step(u, UINT32_MAX, &p, err, sizeof(err))) {
		weir_assert(err[0]);
		return;
	}
	policy_judge(p, fuzz_get, NULL, &g);
	weir_assert(g.verdict < POLICY_VERDICT_MAX);
	policy_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct addr v4, v6;
	void *image = malloc(size + !size); /* aligned, and its end is watched */

	addr_parse("10.0.0.1", &v4);
	addr_parse("2001:db8::1", &v6);
	if (!image)
		return 0;
	if (size)
		memcpy(image, data, size);
	if (nameset_check(image, size)) {
		nameset_has(image, "a.b.example", 11);
		nameset_has(image, "x", 1);
	}
	if (prefixset_check(image, size)) {
		prefixset_has(image, &v4);
		prefixset_has(image, &v6);
	}
	if (numset_check(image, size))
		numset_has(image, 443);
	try_rules(image, size);
	free(image);
	return 0;
}

#ifdef FUZZ_STANDALONE
static int seed_read(void *ctx, const char *path, char **text, size_t *len)
{
	(void)path;
	*text = strdup(ctx);
	*len = *text ? strlen(*text) : 0;
	return *text ? 0 : -ENOMEM;
}

/** fuzz_seed - the image of some rules; of one of their sets */
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static char rules[] = "set h = { a.example, .b.example, x } host\n"
			      "set a = { 10.0.0.0/9, 10.0.0.1, 1.2.3.4-1.2.3.9, 2001:db8::/33 }\n"
			      "set n = { 80, 443, 1000-2000 }\nset t = { a, b }\n"
			      "block if host in h or dst.ip in a\ntag x if dst.port in n\n"
			      "ask timeout=3s if comm in t\ndefault drop\n";
	const struct policy_source src = {.read_file = seed_read, .ctx = rules};
	struct policy *p;
	size_t len = 0;
	char err[300];
	FILE *f;

	if (n > 4 || policy_load(&src, "r", &p, err, sizeof(err)))
		return 0;
	if (n < 4) {
		len = p->sets[n]->size;
		weir_assert(len <= room);
		memcpy(out, p->sets[n]->image, len);
	} else {
		f = fmemopen(out, room, "w");
		weir_assert(f && !policy_image_write(p, f));
		len = (size_t)ftell(f);
		fclose(f);
	}
	policy_free(p);
	return len;
}
#endif
