/* SPDX-License-Identifier: MIT */
/*
 * prefixset, numset: addresses and numbers, against a list that is searched from front to back.
 * LINK: src/prefixset.o src/numset.o src/base/addr.o src/base/util.o
 */
#include "prefixset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numset.h"

#include "../lib/tap.h"
#include "failing_alloc.h"

#define RANGES 600

static uint64_t state = 88172645463325252ULL;
static struct prefixset_range list[RANGES];

static unsigned rnd(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 16) % below);
}

static struct addr addr_of(const char *text)
{
	struct addr a;

	if (addr_parse(text, &a))
		abort();
	return a;
}

static void *make(const char *entries, size_t *size)
{
	struct prefixset_build *b = prefixset_build_new();
	char *copy = strdup(entries);
	void *image = NULL;

	for (char *w = strtok(copy, " "); w; w = strtok(NULL, " ")) {
		struct prefixset_range r;

		if (prefixset_parse(w, strlen(w), &r) || prefixset_build_add(b, &r))
			abort();
	}
	if (prefixset_build_image(b, &image, size) || !prefixset_check(image, *size))
		abort();
	prefixset_build_free(b);
	free(copy);
	return image;
}

static void test_cases(void)
{
	static const struct {
		const char *set, *addr;
		bool is;
	} cases[] = {
		{"", "1.2.3.4", false},
		{"", "::1", false},
		{"10.0.0.0/8", "10.255.255.255", true},
		{"10.0.0.0/8", "9.255.255.255", false},
		{"10.0.0.0/8", "11.0.0.0", false},
		{"10.1.2.3/8", "10.0.0.0", true},
		{"1.2.3.4", "1.2.3.4", true},
		{"1.2.3.4", "1.2.3.5", false},
		{"0.0.0.0/0", "255.255.255.255", true},
		{"0.0.0.0/0", "::1", false},
		{"::/0", "::1", true},
		{"::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
		{"::/0", "1.2.3.4", false},
		{"1.2.3.4-1.2.3.9", "1.2.3.9", true},
		{"1.2.3.4-1.2.3.9", "1.2.3.10", false},
		{"1.2.3.4-1.2.3.9", "1.2.3.3", false},
		{"0.0.0.0-255.255.255.255", "8.8.8.8", true},
		{"2001:db8::/32", "2001:db8:ffff::1", true},
		{"2001:db8::/32", "2001:db9::", false},
		{"2001:db8::1-2001:db8::2:0", "2001:db8::1:ffff", true},
		{"2001:db8::1-2001:db8::2:0", "2001:db8::", false},
		{"fe80::/10 10.0.0.1", "fe80::1", true},
		{"fe80::/10 10.0.0.1", "10.0.0.1", true},
		{"::ffff:1.2.3.4", "1.2.3.4", true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addr a = addr_of(cases[i].addr);
		size_t size;
		void *image = make(cases[i].set, &size);

		tap_is(prefixset_has(image, &a), cases[i].is, "%s in {%s}", cases[i].addr,
		       cases[i].set);
		free(image);
	}
}

static void test_refused(void)
{
	static const char *const bad[] = {"",
					  "1.2.3",
					  "1.2.3.4/33",
					  "1.2.3.4/",
					  "1.2.3.4-",
					  "-1.2.3.4",
					  "::1-1.2.3.4",
					  "1.2.3.4-::1",
					  "2.0.0.0-1.0.0.0",
					  "::/129",
					  "example.org",
					  "1.2.3.4-1.2.3.5/32",
					  "1.2.3.4 ",
					  "::2-::1"};
	struct prefixset_range r = {addr_of("1.2.3.4"), addr_of("::1")};
	struct prefixset_build *b = prefixset_build_new();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		tap_is(prefixset_parse(bad[i], strlen(bad[i]), &r), -EINVAL, "no range: \"%s\"",
		       bad[i]);
	tap_is(prefixset_parse("1.2.3.4\0", 8, &r), -EINVAL, "no range: with a NUL");
	r = (struct prefixset_range){addr_of("1.2.3.4"), addr_of("::1")};
	tap_is(prefixset_build_add(b, &r), -EINVAL, "two families are no range");
	r = (struct prefixset_range){addr_of("1.2.3.4"), addr_of("1.2.3.3")};
	tap_is(prefixset_build_add(b, &r), -EINVAL, "nor is one the wrong way round");
	prefixset_build_free(b);
}

static void test_joined(void)
{
	size_t size;
	void *image = make("10.0.0.0/9 10.128.0.0/9 10.3.0.0/16 11.0.0.0-12.0.0.0 "
			   "255.255.255.255 0.0.0.0 ::1 ::2-::5 ::4 "
			   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::",
			   &size);

	tap_is(prefixset_entries(image), 5, "ranges that overlap or touch become one");
	free(image);
}

/* --- against a list --------------------------------------------------------------------------- */

/** random_addr - near others, at the edges, or anywhere */
static struct addr random_addr(bool v4)
{
	struct addr a;

	for (unsigned i = 0; i < 16; i++)
		a.b[i] = (uint8_t)(rnd(3) ? 0 : rnd(5) ? 1 + rnd(2) : 255);
	if (rnd(4))
		memcpy(a.b, "\x20\x01\x0d\xb8", 4);
	return v4 ? addr_from_v4(a.b + 12) : addr_from_v6(a.b);
}

static void swap_if_needed(struct prefixset_range *r)
{
	struct addr t = r->lo;

	if (memcmp(r->lo.b, r->hi.b, 16) > 0) {
		r->lo = r->hi;
		r->hi = t;
	}
}

static struct prefixset_range random_range(void)
{
	char text[2 * ADDR_STRLEN], at[ADDR_STRLEN];
	bool v4 = rnd(2);
	struct prefixset_range r = {random_addr(v4), random_addr(v4)};

	if (addr_is_v4(&r.lo) != addr_is_v4(&r.hi) || rnd(8)) {
		snprintf(text, sizeof(text), "%s/%u", addr_format(&r.lo, at),
			 addr_is_v4(&r.lo) ? 33 - 1 - rnd(33) / (1 + rnd(8))
					   : 128 - rnd(129) / (1 + rnd(8)));
		if (prefixset_parse(text, strlen(text), &r))
			abort();
	}
	swap_if_needed(&r);
	return r;
}

static bool list_has(unsigned n, const struct addr *a)
{
	for (unsigned i = 0; i < n; i++)
		if (addr_is_v4(a) == addr_is_v4(&list[i].lo) &&
		    memcmp(a->b, list[i].lo.b, 16) >= 0 && memcmp(a->b, list[i].hi.b, 16) <= 0)
			return true;
	return false;
}

/** step - the address before or behind @a; the last one's next is the first */
static void step(struct addr *a, bool up)
{
	for (int i = 15; i >= 0; i--) {
		a->b[i] = (uint8_t)(a->b[i] + (up ? 1 : -1));
		if (a->b[i] != (up ? 0 : 255))
			break;
	}
}

static struct addr question(unsigned n)
{
	struct addr a = random_addr(rnd(2));

	if (n && rnd(2)) {
		const struct prefixset_range *r = &list[rnd(n)];

		a = rnd(2) ? r->lo : r->hi;
		if (rnd(2))
			step(&a, rnd(2));
	}
	return a;
}

static void test_random(void)
{
	unsigned wrong = 0, yes = 0;

	for (unsigned round = 0; round < 300; round++) {
		struct prefixset_build *b = prefixset_build_new();
		unsigned n = rnd(RANGES / (1 + rnd(50)));
		void *image;
		size_t size;

		for (unsigned i = 0; i < n; i++) {
			list[i] = random_range();
			wrong += prefixset_build_add(b, &list[i]) != 0;
		}
		wrong += prefixset_build_image(b, &image, &size) || !prefixset_check(image, size);
		for (unsigned i = 0; i < 500; i++) {
			struct addr a = question(n);
			bool is = list_has(n, &a);

			yes += is;
			wrong += prefixset_has(image, &a) != is;
		}
		prefixset_build_free(b);
		free(image);
	}
	tap_is(wrong, 0, "150000 random questions to random sets: as the list says");
	tap_ok(yes > 15000 && yes < 135000, "... of both answers (%u yes)", yes);
}

/* --- hostile images, no memory ------------------------------------------------------------------
 */

static void test_images(void)
{
	size_t size, passed = 0;
	char text[4000] = "::1 2001:db8::/33 1.2.3.4";
	unsigned asked = 0;
	uint8_t *image;

	for (unsigned i = 0; i < 100; i++)
		snprintf(text + strlen(text), 60, " 10.0.%u.%u 2001:db8:8000::%x:%x", rnd(256),
			 rnd(256), rnd(65536), rnd(65536));
	image = make(text, &size);
	for (size_t n = 0; n < size; n++)
		passed += prefixset_check(image, n);
	tap_is(passed, 0, "an image that is cut off does not pass");
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t *bad = malloc(size); /* exact, so that a sanitizer sees overruns */
		struct addr a = addr_of("10.0.3.4"), b = addr_of("2001:db8:8000::9:9");

		memcpy(bad, image, size);
		for (unsigned k = 1 + rnd(30); k; k--)
			bad[rnd((unsigned)size)] = (uint8_t)rnd(256);
		if (prefixset_check(bad, size)) {
			prefixset_has(bad, &a);
			prefixset_has(bad, &b);
			asked++;
		}
		free(bad);
	}
	tap_ok(asked > 5000, "changed ones are asked without harm (%u)", asked);
	free(image);
}

static int build_some(void)
{
	struct prefixset_build *b = prefixset_build_new();
	void *image = NULL;
	size_t size;
	int rc = b ? 0 : -ENOMEM;

	for (unsigned i = 0; i < 1000 && !rc; i++) {
		uint8_t v6[16] = {0x20, 1, [5] = (uint8_t)(i >> 4), [15] = (uint8_t)(i * 2)};
		struct addr a = addr_from_v6(v6), c = addr_from_v4(v6 + 12);
		struct prefixset_range r6 = {a, a}, r4 = {c, c};

		rc = prefixset_build_add(b, &r6);
		if (!rc)
			rc = prefixset_build_add(b, &r4);
	}
	if (!rc)
		rc = prefixset_build_image(b, &image, &size);
	prefixset_build_free(b);
	free(image);
	return rc;
}

static int build_numbers(void)
{
	struct numset_build *b = numset_build_new();
	void *image = NULL;
	size_t size;
	int rc = b ? 0 : -ENOMEM;

	for (unsigned i = 0; i < 1000 && !rc; i++)
		rc = numset_build_add(b, i * 2, i * 2);
	if (!rc)
		rc = numset_build_image(b, &image, &size);
	numset_build_free(b);
	free(image);
	return rc;
}

static void test_no_memory(int (*build)(void), const char *what)
{
	int rc = -ENOMEM;
	long n;

	if (!FAILING_ALLOC) {
		tap_skip("no memory", "the sanitizer has its own malloc");
		return;
	}
	for (n = 1; rc == -ENOMEM && n < 100; n++) {
		fail_in = n;
		rc = build();
	}
	fail_in = 0;
	tap_ok(!rc && n > 4, "%s: each allocation that fails is reported (%ld)", what, n - 2);
}

/* --- numbers --------------------------------------------------------------------------------- */

static void test_numbers(void)
{
	static const char *const bad[] = {
		"", "x", "1x", "-", "1-", "-1", "5-4", "1-2-3", "18446744073709551616"};
	struct numset_build *b = numset_build_new();
	unsigned wrong = 0, passed = 0;
	bool in[2000] = {false};
	uint64_t lo, hi;
	void *image;
	size_t size;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		tap_is(numset_parse(bad[i], strlen(bad[i]), &lo, &hi), -EINVAL, "no number: \"%s\"",
		       bad[i]);
	tap_ok(!numset_parse("0-18446744073709551615", 22, &lo, &hi) && !lo && hi == UINT64_MAX,
	       "the widest range");
	for (unsigned i = 0; i < 100; i++) {
		unsigned from = rnd(2000), to = from + rnd(15);

		for (unsigned k = from; k <= to && k < 2000; k++)
			in[k] = true;
		numset_build_add(b, from, to);
	}
	numset_build_add(b, UINT64_MAX - 1, UINT64_MAX);
	numset_build_add(b, UINT64_MAX, UINT64_MAX);
	tap_is(numset_build_add(b, 2, 1), -EINVAL, "the wrong way round");
	numset_build_image(b, &image, &size);
	for (unsigned i = 0; i < 2000; i++)
		wrong += numset_has(image, i) != in[i];
	tap_is(wrong, 0, "numbers and ranges: as the list says");
	tap_ok(numset_has(image, UINT64_MAX) && !numset_has(image, UINT64_MAX - 2), "the highest");
	for (size_t n = 0; n < size; n++)
		passed += numset_check(image, n);
	tap_ok(!passed && numset_check(image, size), "an image that is cut off does not pass");
	numset_build_free(b);
	free(image);
}

int main(void)
{
	test_cases();
	test_refused();
	test_joined();
	test_random();
	test_images();
	test_numbers();
	test_no_memory(build_some, "addresses");
	test_no_memory(build_numbers, "numbers");
	return tap_done();
}
