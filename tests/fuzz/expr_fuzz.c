/* SPDX-License-Identifier: MIT */
/*
 * expr_fuzz: any text as an expression. What compiles is evaluated, printed, and compiled again to
 * the same; what does not says where and why in one printable line.
 *
 * LINK: src/expr.o src/expr_build.o src/expr_check.o src/expr_error.o src/expr_field.o
 * LINK: src/expr_flags.o src/expr_glob.o src/expr_lex.o src/expr_literal.o src/expr_parse.o
 * LINK: src/expr_print.o src/expr_regex.o src/expr_required.o src/expr_values.o
 * LINK: src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "expr.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "fuzz_main.h"

#define FUZZ_INPUT_LONGEST 4096

static int find_id(void *ctx, const char *name, uint32_t *id)
{
	(void)ctx;
	*id = (uint32_t)strlen(name);
	return *name == 'z' ? -ENOENT : 0;
}

static bool set_has(const struct expr_set *set, const struct expr_value *v)
{
	return set->type == EXPR_NUMBER ? v->num & 1 : v->text.len & 1;
}

static const struct expr_set *find_set(void *ctx, const char *name, size_t len)
{
	static const struct expr_set sets[] = {{EXPR_HOSTNAME, set_has, false},
					       {EXPR_NUMBER, set_has, false},
					       {EXPR_TEXT, set_has, false}};

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
		if (len == 2 && name[0] == 's' && name[1] == "hnt"[i])
			return &sets[i];
	return NULL;
}

static const struct expr_context context = {
	.user = find_id, .group = find_id, .set = find_set, .packet = true};

/** get - a subject is a number: what it knows and has follows from that */
static enum expr_known get(const void *subject, enum expr_field f, unsigned i,
			   struct expr_value *out)
{
	static const char *const texts[] = {"www.example.com.", "", "a\"b\\", "/usr/bin/curl",
					    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"};
	const unsigned n = *(const unsigned *)subject + f * 7 + i * 13;

	if (n % 5 == 0 || i > 3)
		return EXPR_ABSENT;
	if (n % 7 == 0)
		return EXPR_NOT_YET;
	memset(out, 0, sizeof(*out));
	switch (expr_field_type(f)) {
	case EXPR_ADDR:
		memset(out->addr.b, n % 3 ? 0xff : 0xfe, sizeof(out->addr.b));
		memset(out->addr.b, 0, n % 3 ? 10 : 0);
		break;
	case EXPR_TEXT:
	case EXPR_HOSTNAME:
		out->text.s = texts[n % ARRAY_SIZE(texts)];
		out->text.len = strlen(out->text.s);
		break;
	default:
		out->num = n % 11 ? n : UINT64_MAX;
	}
	return EXPR_KNOWN;
}

static void check_value(void *ctx, const struct expr_value *v, int prefix_bits)
{
	const enum expr_field f = *(enum expr_field *)ctx;

	if (expr_field_type(f) == EXPR_ADDR)
		weir_assert(prefix_bits >= 0 && prefix_bits <= (addr_is_v4(&v->addr) ? 32 : 128));
	else
		weir_assert(prefix_bits == -1);
}

/** check_same - the normal form means what @e means, and is its own normal form */
static void check_same(const struct expr *e)
{
	static char text[10 * FUZZ_INPUT_LONGEST], again_text[sizeof(text)];
	const size_t len = expr_print(e, text, sizeof(text));
	struct expr_error err;
	struct expr *again;
	int rc;

	weir_assert(len < sizeof(text));
	rc = expr_compile(&context, text, len, &again, &err);
	if (rc)
		fprintf(stderr, "%s\n%u:%u %s\n", text, err.line, err.column, err.text);
	weir_assert(!rc);
	weir_assert(expr_print(again, again_text, sizeof(again_text)) == len);
	weir_assert(!memcmp(text, again_text, len));
	weir_assert(expr_fields(e) == expr_fields(again));
	for (unsigned s = 0; s < 20; s++)
		weir_assert(expr_eval(e, get, &s) == expr_eval(again, get, &s));
	expr_free(again);
}

static void check_error(const struct expr_error *err, const char *text, size_t len)
{
	char shown[600];

	weir_assert(err->line >= 1 && err->column >= 1 && err->width >= 1);
	weir_assert(err->column <= len + 1 && err->text[0]);
	for (const char *p = err->text; *p; p++)
		weir_assert((unsigned char)*p >= ' ' && (unsigned char)*p < 0x7f);
	expr_error_show(err, text, len, shown, sizeof(shown));
	weir_assert(strlen(shown) < sizeof(shown) && strchr(shown, '^'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum expr_field f;
	struct expr_value tail;
	struct expr_error err;
	struct expr *e;

	if (size > FUZZ_INPUT_LONGEST)
		return 0;
	if (expr_compile(&context, (const char *)data, size, &e, &err)) {
		weir_assert(!e);
		check_error(&err, (const char *)data, size);
		return 0;
	}
	check_same(e);
	for (unsigned i = 0; expr_required(e, i, &f, NULL, NULL); i++)
		expr_required(e, i, &f, check_value, &f);
	for (unsigned i = 0; expr_required_tail(e, i, &f, &tail); i++)
		weir_assert(tail.text.len && tail.text.len < EXPR_GLOB_MAX);
	expr_free(e);
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static const char *const seeds[] = {
		"user == alice and dst.port in {80, 443} and host ~ \"*.example.com\"",
		"not (uid >= 1000 or gid == staff) && !proto in {udp, 47-50} || dir == in",
		"src.ip in {10.0.0.0/8, fe80::/10, ::1-::9, 10.0.0.1-10.0.0.9} and ip.version == 4",
		"exe =~ \"^/(usr/)?bin/[a-z]+$\" or cmdline =~ \"\\\"a\\\\x\" or sni =~ \"(a+)+$\"",
		"bytes.up > 10kib and bytes.down <= 1gb and duration < 1500ms and duration > 3d",
		"tcp.flags & \"syn,ack\" or tcp.flags ~ SA or tcp.flags in {0x12, fin} and ttl < 5",
		"host in sh and tag in st and uid in sn and not dst.port not in sn",
		"comm in {a, b, c, d, e, f, g, h, \"i\\x00\\n\\\"\", j,} and exe ~ \"[!a-z]*\\*?\"",
		"state == held or verdict != allow or alpn == h2 and ja4 ~ t13d*",
		"dst.port in {9, 1-4, 3-8, 0x10, 65535} and (((id == 0)))",
	};

	if (n >= ARRAY_SIZE(seeds) || room < strlen(seeds[n]))
		return 0;
	memcpy(out, seeds[n], strlen(seeds[n]));
	return strlen(seeds[n]);
}
#endif
