/* SPDX-License-Identifier: MIT */
/*
 * rules_bench: what sets of a million entries and ten thousand rules cost, as a table. No I/O is
 * measured: lists and rules are in memory.
 *
 * LINK: src/policy.o src/policy_file.o src/policy_rule.o src/policy_set.o src/policy_judge.o
 * LINK: src/policy_index.o src/policy_pack.o src/policy_fd.o
 * LINK: src/nameset.o src/prefixset.o src/numset.o src/base/addr.o src/base/hash.o src/base/util.o
 * LINK: src/expr.o src/expr_build.o src/expr_check.o src/expr_error.o src/expr_field.o
 * LINK: src/expr_flags.o src/expr_glob.o src/expr_lex.o src/expr_literal.o src/expr_parse.o
 * LINK: src/expr_print.o src/expr_regex.o src/expr_required.o src/expr_values.o
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "policy.h"
#include "policy_impl.h"

#define ENTRIES	  1000000
#define RULES	  10000
#define QUESTIONS 500000
#define FLOWS	  20000

static uint64_t state = 88172645463325252ULL;
static char *file_text; /* of whatever file is read */
static char *rules_text;

static unsigned rnd(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 16) % below);
}

/** now - seconds of this process's own: the machine may be busy with others */
static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int read_text_of(void *ctx, const char *path, char **text, size_t *len)
{
	(void)ctx;
	*text = strdup(strcmp(path, "rules") ? file_text : rules_text);
	*len = *text ? strlen(*text) : 0;
	return *text ? 0 : -ENOMEM;
}

static struct policy *load(double *seconds)
{
	static const struct policy_source src = {.read_file = read_text_of};
	struct policy *p;
	char err[500];
	double start = now();

	if (policy_load(&src, "rules", &p, err, sizeof(err))) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
	*seconds = now() - start;
	return p;
}

/* --- subjects -------------------------------------------------------------------------------- */

/** struct flow - the fields that rules here look at */
struct flow {
	char host[64];
	size_t host_len;
	bool host_known;
	struct addr dst;
	unsigned uid, port;
};

static enum expr_known flow_get(const void *subject, enum expr_field f, unsigned i,
				struct expr_value *out)
{
	const struct flow *w = subject;

	if (i)
		return EXPR_ABSENT;
	switch (f) {
	case EXPR_F_HOST:
		out->text.s = w->host;
		out->text.len = w->host_len;
		return w->host_known ? EXPR_KNOWN : EXPR_NOT_YET;
	case EXPR_F_DST_IP:
		out->addr = w->dst;
		return EXPR_KNOWN;
	case EXPR_F_UID:
		out->num = w->uid;
		return EXPR_KNOWN;
	case EXPR_F_DST_PORT:
		out->num = w->port;
		return EXPR_KNOWN;
	default:
		return EXPR_ABSENT;
	}
}

/** host_of - the @n-th name: what block lists are made of */
static size_t host_of(char *out, unsigned n)
{
	static const char *const tails[] = {"com", "net", "example.org", "co.uk",
					    "ads.example.com"};
	unsigned h = n * 2654435761U;

	return (size_t)sprintf(out, "%s%x.%x.%s", h & 1 ? "track" : "cdn-", h >> 8, n,
			       tails[n % 5]);
}

static struct addr addr_of(bool v6, unsigned n)
{
	uint8_t b[16] = {0x20, 0x01, (uint8_t)(n % 13), (uint8_t)(n % 251)};
	uint64_t h = n * 0x9e3779b97f4a7c15ULL;

	if (!v6)
		return addr_from_v4((uint8_t *)&h + 4);
	memcpy(b + 4, &h, 8);
	return addr_from_v6(b);
}

/* --- sets --------------------------------------------------------------------------------------
 */

static void fill_hosts(const char *before)
{
	char *p = file_text;

	for (unsigned i = 0; i < ENTRIES; i++) {
		p += sprintf(p, "%s", before);
		p += host_of(p, i);
		*p++ = '\n';
	}
	*p = 0;
}

static void fill_addrs(bool v6)
{
	char *p = file_text, text[ADDR_STRLEN];

	for (unsigned i = 0; i < ENTRIES; i++) {
		struct addr a = addr_of(v6, i);

		p += sprintf(p, "%s/%u\n", addr_format(&a, text),
			     v6 ? (i % 3 ? 64 : 128) : (i % 3 ? 32 : 28));
	}
	*p = 0;
}

/** ask - the mean time of a question, in ns; half of the answers are yes */
static double ask(const struct policy *p, bool addrs, bool v6)
{
	static struct expr_value v[QUESTIONS];
	static char host[QUESTIONS][64];
	const struct expr_set *set = &p->sets[0]->set;
	unsigned found = 0;
	double start;

	for (unsigned i = 0; i < QUESTIONS; i++) {
		unsigned n = rnd(2 * ENTRIES);

		v[i].text.s = host[i];
		if (addrs)
			v[i].addr = addr_of(v6, n);
		else
			v[i].text.len = host_of(host[i], n);
	}
	start = now();
	for (unsigned i = 0; i < QUESTIONS; i++)
		found += set->has(set, &v[i]);
	if (found < QUESTIONS / 3 || found > QUESTIONS * 2 / 3)
		exit(1);
	return (now() - start) / QUESTIONS * 1e9;
}

static void row_set(const char *name, bool addrs, bool v6)
{
	double seconds;
	struct policy_set_info s;
	struct policy *p;

	rules_text = strdup("set s = file list\n");
	p = load(&seconds);
	policy_set_info(p, 0, &s);
	printf("| %s | %.2f s | %.0f ns | %.1f MB |\n", name, seconds, ask(p, addrs, v6),
	       (double)s.size / 1e6);
	policy_free(p);
	free(rules_text);
}

static void sets(void)
{
	printf("| set of %d | load | one question | memory |\n|---|---|---|---|\n", ENTRIES);
	fill_hosts("");
	row_set("host names", false, false);
	fill_hosts("0.0.0.0 ");
	row_set("host names, hosts file", false, false);
	fill_hosts(".");
	row_set("domains with all below", false, false);
	fill_addrs(false);
	row_set("IPv4 prefixes", true, false);
	fill_addrs(true);
	row_set("IPv6 prefixes", true, true);
}

/* --- rules -------------------------------------------------------------------------------------
 */

static size_t put_rule(char *out, unsigned kind, unsigned n)
{
	char host[64], text[ADDR_STRLEN];
	struct addr a = addr_of(false, n);

	host_of(host, n);
	addr_format(&a, text);
	switch (kind) {
	case 0:
		return (size_t)sprintf(out, "block if host == %s\n", host);
	case 1:
		return (size_t)sprintf(out, "block if host ~ \"*.%s\"\n", host);
	case 2:
		return (size_t)sprintf(out, "block if dst.ip == %s\n", text);
	case 3:
		return (size_t)sprintf(out, "block if uid == %u and dst.port == %u\n",
				       2000 + n % 500, 1000 + n);
	case 4:
		return (size_t)sprintf(out, "tag t%u if host == %s and uid == %u\n", n % 50, host,
				       n % 10);
	default:
		return put_rule(out, n % 5, n);
	}
}

static void flow_make(struct flow *w, bool known)
{
	unsigned n = rnd(20 * RULES);

	w->host_len = host_of(w->host, n);
	w->host_known = known;
	w->dst = addr_of(false, n + 1);
	w->uid = rnd(10);
	w->port = 443;
}

typedef void judge_fn(const struct policy *p, expr_get_fn *get, const void *subject,
		      struct policy_judgement *out);

static double judge(const struct policy *p, judge_fn *fn, unsigned flows, bool known)
{
	static struct flow w[FLOWS];
	struct policy_judgement g;
	double start;

	for (unsigned i = 0; i < flows; i++)
		flow_make(&w[i], known);
	start = now();
	for (unsigned i = 0; i < flows; i++)
		fn(p, flow_get, &w[i], &g);
	return (now() - start) / flows * 1e6;
}

static double repack(const struct policy *p, double *pack_seconds)
{
	int fd = memfd_create("rules", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct policy *q;
	char err[200];
	double start = now(), took;

	if (policy_pack(p, fd))
		exit(1);
	*pack_seconds = now() - start;
	start = now();
	if (policy_unpack(fd, &q, err, sizeof(err)))
		exit(1);
	took = now() - start;
	policy_free(q);
	close(fd);
	return took;
}

static void row_rules(const char *name, unsigned kind)
{
	char *at = rules_text = malloc(RULES * 128);
	double seconds, pack, unpack;
	struct policy *p;

	for (unsigned i = 0; i < RULES; i++)
		at += put_rule(at, kind, i);
	p = load(&seconds);
	unpack = repack(p, &pack);
	printf("| %s | %.2f us | %.2f us | %.0f us | %.0f ms | %.1f ms | %.1f ms |\n", name,
	       judge(p, policy_judge, FLOWS, false), judge(p, policy_judge, FLOWS, true),
	       judge(p, policy_judge_linear, FLOWS / 20, true), seconds * 1e3, pack * 1e3,
	       unpack * 1e3);
	policy_free(p);
	free(rules_text);
}

static void rules(void)
{
	printf("\n| %d rules | new flow | ... host known | ... without index | load | pack | unpack |\n"
	       "|---|---|---|---|---|---|---|\n",
	       RULES);
	row_rules("`host == NAME`", 0);
	row_rules("`host ~ \"*.NAME\"`", 1);
	row_rules("`dst.ip == IP`", 2);
	row_rules("`uid == N and dst.port == M`", 3);
	row_rules("`tag T if host == NAME and uid == N`", 4);
	row_rules("all of these mixed", 5);
}

int main(void)
{
	file_text = malloc(ENTRIES * 64);
	if (!file_text)
		return 1;
	sets();
	rules();
	free(file_text);
	return 0;
}
