/* SPDX-License-Identifier: MIT */
/*
 * policy_pack: what comes out of an image is what went in; what is damaged is refused, or harmless.
 * LINK: src/policy.o src/policy_file.o src/policy_rule.o src/policy_set.o src/policy_judge.o
 * LINK: src/policy_index.o src/policy_pack.o src/policy_fd.o src/nameset.o src/prefixset.o
 * LINK: src/numset.o src/base/addr.o src/base/hash.o src/base/util.o src/expr.o
 * LINK: src/expr_build.o src/expr_check.o src/expr_error.o src/expr_field.o src/expr_flags.o
 * LINK: src/expr_glob.o src/expr_lex.o src/expr_literal.o src/expr_parse.o src/expr_print.o
 * LINK: src/expr_regex.o src/expr_required.o src/expr_values.o
 */
#include "policy.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "policy_impl.h"

#include "../lib/tap.h"
#include "failing_alloc.h"
#include "policy_world.h"

static const char rules[] =
	"set ads = { a.example, .b.example } # both\n"
	"set nets = file nets\n"
	"set ports = { 80, 443, 8000-8100 }\n"
	"set progs = { curl, wget }\n"
	"tag web if dst.port in ports\n"
	"hook lua script=\"a b\",x=1 if comm in progs \\\n	and user == alice\n"
	"include inner\n"
	"quota bytes=5mb per user period=1d\n"
	"reset if dst.ip in nets\n"
	"ask timeout=5s default=allow if exe =~ \"^/opt/.*\\\\.sh\"\n"
	"default drop # the rest\n";

static struct policy *loaded(void)
{
	struct policy *p;

	world_file("nets", "10.0.0.0/8\n2001:db8::/32\n");
	world_file("inner", "set none = { }\nblock if host in ads or tag == x or uid in none\n");
	p = world_load(rules);
	if (!p) {
		printf("# %s\n", world_err);
		abort();
	}
	return p;
}

static int packed(const struct policy *p)
{
	int fd = memfd_create("rules", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || policy_pack(p, fd))
		abort();
	return fd;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool same_rule(const struct policy_rule *a, const struct policy_rule *b)
{
	return same_text(a->file, b->file) && same_text(a->text, b->text) && a->line == b->line &&
	       a->final == b->final && a->verdict == b->verdict && a->what == b->what &&
	       same_text(a->name, b->name) && same_text(a->args, b->args) && a->level == b->level &&
	       a->amount == b->amount && a->per == b->per && a->period == b->period &&
	       a->ask_timeout == b->ask_timeout && a->ask_default == b->ask_default;
}

static bool same_print(const struct policy *a, const struct policy *b, unsigned i)
{
	char ta[300], tb[300];

	policy_print(a, i, ta, sizeof(ta));
	policy_print(b, i, tb, sizeof(tb));
	return !strcmp(ta, tb);
}

static const char *const flows[] = {
	"host=a.example dst.port=1 comm=x uid=1 user=1 dst.ip=1.2.3.4 exe=/x",
	"host=x.b.example. dst.port=443 comm=curl user=1000 dst.ip=1.2.3.4",
	"host=- dst.port=8050 comm=wget user=1000 dst.ip=10.9.9.9",
	"host=- dst.port=8050 comm=nc user=1000 dst.ip=2001:db8::5",
	"host=- dst.port=79 comm=nc user=1001 dst.ip=11.0.0.0 exe=/opt/x/y.sh",
	"host=- dst.port=79 comm=nc user=1001 dst.ip=11.0.0.0 exe=/opt/x/y.py",
	"dst.port=80 dst.ip=1.2.3.4",
	"",
};

static unsigned different(const struct policy *a, const struct policy *b)
{
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(flows) / sizeof(flows[0]); i++) {
		struct policy_judgement ga, gb;

		policy_judge(a, world_get, world_flow(flows[i]), &ga);
		policy_judge(b, world_get, world_flow(flows[i]), &gb);
		n += ga.verdict != gb.verdict || ga.rule != gb.rule || ga.waits != gb.waits ||
		     ga.n_collected != gb.n_collected || ga.hooks_wait != gb.hooks_wait;
	}
	return n;
}

static void test_round(void)
{
	struct policy *p = loaded(), *q = NULL;
	struct policy_set_info a, b;
	unsigned wrong = 0;
	int fd = packed(p);

	tap_is(policy_unpack(fd, &q, world_err, sizeof(world_err)), 0, "an image is unpacked");
	close(fd);
	if (!q)
		return;
	tap_is(policy_rules(q), policy_rules(p), "as many rules");
	for (unsigned i = 0; i < policy_rules(p); i++)
		wrong += !same_rule(policy_rule(p, i), policy_rule(q, i)) || !same_print(p, q, i);
	tap_is(wrong, 0, "the same ones");
	tap_ok(same_rule(policy_default_rule(p), policy_default_rule(q)), "the same default");
	tap_ok(policy_fields(p) == policy_fields(q), "the same fields");
	for (unsigned i = 0; i < policy_sets(p); i++) {
		policy_set_info(p, i, &a);
		policy_set_info(q, i, &b);
		wrong += !same_text(a.name, b.name) || !same_text(a.file, b.file) ||
			 !same_text(a.path, b.path) || a.line != b.line || a.type != b.type ||
			 a.entries != b.entries || a.size != b.size;
	}
	tap_ok(!wrong && policy_sets(q) == 5, "the same sets");
	tap_is(different(p, q), 0, "the same judgements");
	policy_free(p);
	fd = packed(q);
	tap_is(policy_unpack(fd, &p, world_err, sizeof(world_err)), 0,
	       "packed again, unpacked again");
	tap_is(different(p, q), 0, "... judges the same");
	close(fd);
	policy_free(p);
	policy_free(q);
}

static void test_empty(void)
{
	struct policy *p = world_load("# nothing\n"), *q = NULL;
	int fd = packed(p);

	tap_is(policy_unpack(fd, &q, world_err, sizeof(world_err)), 0, "no rules at all");
	tap_ok(q && !policy_default_rule(q)->file &&
		       policy_default_rule(q)->verdict == POLICY_ALLOW,
	       "... have no default either");
	close(fd);
	policy_free(p);
	policy_free(q);
}

static void test_steps(void)
{
	struct policy *p = loaded(), *q = NULL;
	struct policy_unpacking *u;
	unsigned steps = 0;
	int fd = packed(p), rc;

	rc = policy_unpack_start(fd, &u, world_err, sizeof(world_err));
	while (!rc && (rc = policy_unpack_step(u, 2, &q, world_err, sizeof(world_err))) == 1) {
		rc = 0;
		steps++;
	}
	tap_ok(q && steps == 2 && !different(p, q), "six rules in steps of two");
	policy_free(q);
	rc = policy_unpack_start(fd, &u, world_err, sizeof(world_err));
	rc |= policy_unpack_step(u, 1, &q, world_err, sizeof(world_err)) != 1;
	policy_unpack_stop(u);
	tap_is(rc, 0, "given up half-way");
	close(fd);
	policy_free(p);
}

static void test_seals(void)
{
	struct policy *p = loaded(), *q;
	int fd = packed(p), plain = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int none = open("/dev/null", O_RDWR | O_CLOEXEC);

	tap_ok(write(fd, "x", 1) < 0 && ftruncate(fd, 10) < 0, "nobody can change it any more");
	tap_is(policy_pack(p, fd), -EPERM, "... not even by packing again");
	tap_ok(write(plain, "hello", 5) == 5, "a memfd with something else");
	tap_is(policy_unpack(plain, &q, world_err, sizeof(world_err)), -EPERM,
	       "one that is not sealed is refused: %s", world_err);
	tap_is(fcntl(plain, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
	       0, "sealed");
	tap_is(policy_unpack(plain, &q, world_err, sizeof(world_err)), -EINVAL,
	       "one with something else: %s", world_err);
	tap_is(policy_unpack(none, &q, world_err, sizeof(world_err)), -EINVAL,
	       "what is no memfd: %s", world_err);
	tap_ok(policy_pack(p, none) < 0, "... is not packed to");
	tap_ok(policy_pack(p, -1) < 0, "nor is what is not open");
	close(fd);
	close(plain);
	close(none);
	policy_free(p);
}

/* --- damage ---------------------------------------------------------------------------------- */

static uint64_t state = 88172645463325252ULL;

static unsigned rnd(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 16) % below);
}

/** try_image - unpack and ask; was it taken? */
static bool try_image(const char *image, size_t size)
{
	struct policy_unpacking *u;
	struct policy *q = NULL;
	char err[200];

	if (policy_image_start(image, size, &u, err, sizeof(err)) ||
	    policy_unpack_step(u, 1000, &q, err, sizeof(err)))
		return false;
	different(q, q);
	policy_free(q);
	return true;
}

static void test_damaged(void)
{
	struct policy *p = loaded();
	unsigned taken = 0, refused = 0;
	char *image;
	size_t size;
	FILE *f = open_memstream(&image, &size);

	policy_image_write(p, f);
	fclose(f);
	for (size_t n = 0; n < size; n += 1 + n / 300) {
		char *bad = malloc(n + !n); /* exact, so that a sanitizer sees overruns */

		memcpy(bad, image, n);
		taken += try_image(bad, n);
		free(bad);
	}
	tap_is(taken, 0, "an image that is cut off is refused");
	for (unsigned i = 0; i < 3000; i++) {
		char *bad = malloc(size);

		memcpy(bad, image, size);
		for (unsigned k = 1 + rnd(4); k; k--)
			bad[rnd((unsigned)size)] = (char)rnd(256);
		if (try_image(bad, size))
			taken++;
		else
			refused++;
		free(bad);
	}
	tap_ok(taken > 100 && refused > 100, "changed ones do no harm (%u taken, %u refused)",
	       taken, refused);
	free(image);
	policy_free(p);
}

static void test_no_memory(void)
{
	struct policy *p = loaded(), *q = NULL;
	int rc = -ENOMEM, fd = -1;
	long n, m;

	if (!FAILING_ALLOC) {
		tap_skip("no memory", "the sanitizer has its own malloc");
		policy_free(p);
		return;
	}
	for (n = 1; rc == -ENOMEM && n < 100; n++) {
		if (fd >= 0)
			close(fd);
		fd = memfd_create("rules", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		fail_in = n;
		rc = policy_pack(p, fd);
		fail_in = 0;
	}
	tap_ok(!rc && n > 4, "packing: each allocation that fails is reported (%ld)", n - 2);
	for (m = 1, rc = -ENOMEM; rc == -ENOMEM && m < 200; m++) {
		fail_in = m;
		rc = policy_unpack(fd, &q, world_err, sizeof(world_err));
		fail_in = 0;
	}
	tap_ok(!rc && m > 20 && !different(p, q), "unpacking: as well (%ld)", m - 2);
	close(fd);
	policy_free(p);
	policy_free(q);
}

int main(void)
{
	test_round();
	test_empty();
	test_steps();
	test_seals();
	test_damaged();
	test_no_memory();
	return tap_done();
}
