/* SPDX-License-Identifier: MIT */
/*
 * Files of rules and lists: any text. What is refused comes with a place and printable lines; what
 * is accepted judges the same with and without the index, and after it was packed and unpacked.
 *
 * An input is a file of rules; behind a NUL the text of every other file.
 *
 * LINK: src/policy.o src/policy_file.o src/policy_rule.o src/policy_set.o src/policy_judge.o
 * LINK: src/policy_explain.o src/policy_index.o src/policy_pack.o src/nameset.o src/prefixset.o
 * LINK: src/numset.o src/base/addr.o src/base/hash.o src/base/util.o src/expr.o src/expr_build.o
 * LINK: src/expr_check.o src/expr_error.o src/expr_field.o src/expr_flags.o src/expr_glob.o
 * LINK: src/expr_lex.o src/expr_literal.o src/expr_parse.o src/expr_print.o src/expr_regex.o
 * LINK: src/expr_required.o src/expr_values.o
 */
#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "policy_impl.h"

#include "base/util.h"

#include "fuzz_main.h"

/** getrandom - keys of hash tables are the same in every run */
ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	memset(buf, 7, len);
	return (ssize_t)len;
}

static const char *rules, *other;
static size_t rules_len, other_len;

static int fuzz_read(void *ctx, const char *path, char **text, size_t *len)
{
	bool first = !strcmp(path, "r");

	(void)ctx;
	if (!strcmp(path, "none"))
		return -ENOENT;
	*len = first ? rules_len : other_len;
	*text = malloc(*len + !*len); /* its end is where a sanitizer watches */
	if (!*text)
		return -ENOMEM;
	if (*len)
		memcpy(*text, first ? rules : other, *len);
	return 0;
}

static int fuzz_number(void *ctx, const char *name, uint32_t *id)
{
	(void)ctx;
	*id = 1000 + (unsigned char)name[0];
	return name[0] == 'x' ? -ENOENT : 0;
}

/** fuzz_get - of each field a value, none, or none yet, as the number at @subject has it */
static enum expr_known fuzz_get(const void *subject, enum expr_field f, unsigned i,
				struct expr_value *out)
{
	static const char *const texts[] = {"a.example", "/bin/sh", "x", "A.b.example."};
	const unsigned n = *(const unsigned *)subject * 7 + f * 13;

	if (i)
		return EXPR_ABSENT;
	if (n % 5 == 0)
		return EXPR_NOT_YET;
	if (n % 5 == 1)
		return EXPR_ABSENT;
	switch (expr_field_type(f)) {
	case EXPR_ADDR:
		addr_parse(n % 2 ? "10.0.0.1" : "2001:db8::1", &out->addr);
		break;
	case EXPR_TEXT:
	case EXPR_HOSTNAME:
		out->text.s = texts[n % 4];
		out->text.len = strlen(out->text.s);
		break;
	default:
		out->num = n % 4 == 0 ? 443 : n % 4 == 1 ? 6 : n % 4 == 2 ? 1000 : 0;
	}
	return EXPR_KNOWN;
}

static bool same(const struct policy_judgement *a, const struct policy_judgement *b)
{
	return a->verdict == b->verdict && a->rule == b->rule && a->waits == b->waits &&
	       a->unknown == b->unknown && a->hooks_wait == b->hooks_wait &&
	       a->n_collected == b->n_collected &&
	       !memcmp(a->collected, b->collected, a->n_collected * sizeof(a->collected[0]));
}

static struct policy *repack(const struct policy *p, char **image)
{
	struct policy_unpacking *u;
	struct policy *q;
	char err[100];
	size_t size;
	FILE *f = open_memstream(image, &size);

	weir_assert(f && !policy_image_write(p, f));
	fclose(f);
	weir_assert(!policy_image_start(*image, size, &u, err, sizeof(err)));
	weir_assert(!policy_unpack_step(u, UINT32_MAX, &q, err, sizeof(err)));
	return q;
}

static void check_rules(const struct policy *p, const struct policy *q)
{
	weir_assert(policy_rules(p) == policy_rules(q) && policy_sets(p) == policy_sets(q));
	weir_assert(policy_fields(p) == policy_fields(q));
	for (unsigned i = 0; i < policy_rules(p) && i < 100; i++) {
		weir_assert(!strcmp(policy_rule(p, i)->text, policy_rule(q, i)->text));
		weir_assert(!strchr(policy_rule(p, i)->text, '\n'));
		weir_assert(policy_print(p, i, NULL, 0) == policy_print(q, i, NULL, 0));
	}
}

static void check_policy(const struct policy *p)
{
	char *image;
	struct policy *q = repack(p, &image);
	FILE *sink = fopen("/dev/null", "we");

	check_rules(p, q);
	for (unsigned i = 0; i < 12; i++) {
		struct policy_judgement a, b, c;

		policy_judge(p, fuzz_get, &i, &a);
		policy_judge_linear(p, fuzz_get, &i, &b);
		policy_judge(q, fuzz_get, &i, &c);
		weir_assert(same(&a, &b) && same(&a, &c));
		if (sink)
			policy_explain(p, fuzz_get, &i, sink);
	}
	if (sink) {
		policy_explain_rules(p, sink);
		fclose(sink);
	}
	policy_free(q);
	free(image);
}

static void check_error(const char *err)
{
	unsigned lines = 0;

	weir_assert(strchr(err, ':'));
	for (const char *p = err; *p; p++) {
		lines += *p == '\n';
		weir_assert((unsigned char)*p >= ' ' || *p == '\n');
		weir_assert(*p != 0x7f);
	}
	weir_assert(lines <= 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct policy_source src = {
		.read_file = fuzz_read, .user = fuzz_number, .group = fuzz_number};
	const char *end = size ? memchr(data, 0, size) : NULL;
	char err[700] = "";
	struct policy *p;
	int rc;

	rules = (const char *)data;
	rules_len = end ? (size_t)(end - rules) : size;
	other = end ? end + 1 : rules;
	other_len = end ? size - rules_len - 1 : 0;
	rc = policy_load(&src, "r", &p, err, sizeof(err));
	weir_assert(rc == 0 || rc == -EINVAL);
	if (rc) {
		check_error(err);
		return 0;
	}
	check_policy(p);
	policy_free(p);
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static const struct {
		const char *rules, *other;
	} seeds[] = {
		{"block if host in ads\nset ads = file x\n", "0.0.0.0 ads.example\n"},
		{"set ads = file \"d/x\"\nblock if host in ads # y\ninclude none\n",
		 "# z\n127.0.0.1 localhost a.example\n.b.example"},
		{"set a=file x address\nset p = { 80, 443 # web\n, 1000-2000 } number\n"
		 "drop if dst.ip in a and dst.port in p\n",
		 "10.0.0.0/8 ; x\n2001:db8::/32, ::1-::5\n1.2.3.4"},
		{"set t = { curl \"a b\" } text\ntag x if comm in t\nblock if tag == x\n"
		 "ask timeout=5m default=drop \\\n if uid == alice\ndefault reset\n",
		 ""},
		{"hook lua script=\"a b\",x=1 if app == http\nlimit flows=3 per user\n"
		 "quota bytes=5mb per=host period=1d if host ~ *.example\nlog note\ninclude y\nallow",
		 "allow if gid == staff\nblock if host ~ \"*.b.example\" and sni == x\n"},
		{"include y\n", "set s = { 1 }\n"},
		{"\xef\xbb\xbf# x\r\nblock\r\nallow if uid == 0 \\\r\n and pid == 1\r\n", ""},
	};
	size_t len;

	if (n >= sizeof(seeds) / sizeof(seeds[0]))
		return 0;
	len = (size_t)snprintf((char *)out, room, "%s", seeds[n].rules) + 1;
	return len + (size_t)snprintf((char *)out + len, room - len, "%s", seeds[n].other);
}
#endif
