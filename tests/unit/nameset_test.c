/* SPDX-License-Identifier: MIT */
/*
 * nameset: host names and texts, against a list that is searched from front to back.
 * LINK: src/nameset.o src/base/hash.o src/base/util.o
 */
#include "nameset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"
#include "failing_alloc.h"

static const struct hash_key key = {{1, 2}};
static uint64_t state = 88172645463325252ULL;

static unsigned rnd(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 16) % below);
}

/** make - the image of entries separated by blanks */
static void *make(enum nameset_kind kind, const char *entries, size_t *size)
{
	struct nameset_build *b = nameset_build_new(kind, &key);
	void *image = NULL;
	char *copy = strdup(entries);

	for (char *w = strtok(copy, " "); w; w = strtok(NULL, " "))
		if (nameset_build_add(b, w, strlen(w)))
			abort();
	if (nameset_build_image(b, &image, size) || !nameset_check(image, *size))
		abort();
	nameset_build_free(b);
	free(copy);
	return image;
}

static void test_hosts(void)
{
	static const struct {
		const char *name;
		bool is;
	} cases[] = {
		{"one.example", true},
		{"ONE.Example", true},
		{"one.example.", true},
		{"one.example..", false},
		{"a.one.example", false},
		{"example", false},
		{"below.example", false},
		{"a.below.example", true},
		{"a.b.below.example", true},
		{"xbelow.example", false},
		{"both.example", true},
		{"A.Both.Example.", true},
		{"tld", true},
		{"any.tld", true},
		{"a.b.c.d.e.f.tld", true},
		{"tldx", false},
		{"upper.example", true},
		{"with_underscore.example", true},
		{"", false},
		{".", false},
		{".one.example", false},
		{"*.below.example", true}, /* no name, so whatever */
	};
	size_t size;
	void *image = make(NAMESET_HOSTS,
			   "one.example *.below.example .both.example .tld UPPER.Example. "
			   "with_underscore.example one.example",
			   &size);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tap_is(nameset_has(image, cases[i].name, strlen(cases[i].name)), cases[i].is,
		       "host \"%s\"", cases[i].name);
	tap_is(nameset_entries(image), 6, "an entry that is there twice counts once");
	free(image);
	image = make(NAMESET_HOSTS, "*.a.example a.example", &size);
	tap_ok(nameset_has(image, "a.example", 9) && nameset_has(image, "b.a.example", 11),
	       "an entry for itself and one for those below it are both");
	free(image);
	image = make(NAMESET_HOSTS, "", &size);
	tap_ok(!nameset_has(image, "a", 1), "an empty set has nothing");
	free(image);
}

static void test_long_names(void)
{
	struct nameset_build *b = nameset_build_new(NAMESET_HOSTS, &key);
	char name[400];
	void *image;
	size_t size, len = 0;

	while (len + 2 < 253)
		len += (size_t)snprintf(name + len, 3, "a.");
	name[len++] = 'a';
	tap_is(len, 253, "a name of 253 bytes");
	tap_is(nameset_build_add(b, name, len), 0, "... is one");
	memcpy(name + len, ".", 2);
	tap_is(nameset_build_add(b, name, len + 1), 0, "... with a final dot as well");
	memcpy(name + len, ".a", 3);
	tap_is(nameset_build_add(b, name, len + 2), -EINVAL, "... of 255 is none");
	memset(name, 'b', 64);
	tap_is(nameset_build_add(b, name, 64), -EINVAL, "nor is a label of 64");
	tap_is(nameset_build_add(b, name, 63), 0, "of 63 it is");
	nameset_build_add(b, ".a.a", 4);
	nameset_build_image(b, &image, &size);
	memset(name, 'a', sizeof(name));
	tap_ok(!nameset_has(image, name, sizeof(name)), "one too long is in no set");
	for (size_t i = 1; i < 253; i += 2)
		name[i] = '.';
	tap_ok(nameset_has(image, name, 253) && nameset_has(image, name, 251),
	       "127 labels: found for itself and below a.a");
	nameset_build_free(b);
	free(image);
}

static void test_refused(void)
{
	static const char *const bad[] = {"",	   ".",	  "..",	   "a..b",    "*.",   "*",
					  "a*.b",  "a b", "a/b",   "-\x80",   "ä.de", "a:b",
					  "[::1]", "a.*", "*.*.a", "1.2.3.4", "7",    "..a"};
	struct nameset_build *b = nameset_build_new(NAMESET_HOSTS, &key);
	char *big = calloc(1, NAMESET_TEXT_MAX + 1);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		tap_is(nameset_build_add(b, bad[i], strlen(bad[i])), -EINVAL, "no host: \"%s\"",
		       bad[i]);
	tap_is(nameset_build_add(b, "a\0b", 3), -EINVAL, "no host: with a NUL");
	nameset_build_free(b);
	b = nameset_build_new(NAMESET_TEXTS, &key);
	tap_is(nameset_build_add(b, "", 0), -EINVAL, "no text: nothing");
	tap_is(nameset_build_add(b, big, NAMESET_TEXT_MAX), 0, "a long text is one");
	tap_is(nameset_build_add(b, big, NAMESET_TEXT_MAX + 1), -EINVAL, "... up to its limit");
	nameset_build_free(b);
	free(big);
}

static void test_texts(void)
{
	size_t size;
	void *image = make(NAMESET_TEXTS, "/usr/bin/curl wget .x", &size);

	tap_ok(nameset_has(image, "wget", 4) && nameset_has(image, "/usr/bin/curl", 13), "texts");
	tap_ok(!nameset_has(image, "WGET", 4) && !nameset_has(image, "wget.", 5) &&
		       !nameset_has(image, "a.x", 3) && !nameset_has(image, "wge", 3) &&
		       !nameset_has(image, "", 0),
	       "are compared as they are");
	free(image);
}

/* --- against a list ------------------------------------------------------------------------ */

#define NAMES 400

static char list[NAMES][64];

/** random_name - few letters and labels, so that names are often each other's parents */
static size_t random_name(char *out)
{
	unsigned labels = 1 + rnd(5);
	size_t len = 0;

	for (unsigned i = 0; i < labels; i++)
		len += (size_t)sprintf(out + len, "%s%c%s", i ? "." : "", "abC"[rnd(3)],
				       rnd(4) ? "" : "d");
	return len;
}

static bool list_has(unsigned n, const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < n; i++) {
		const char *e = list[i];
		bool self = *e != '*', below = *e == '*' || *e == '.';
		size_t m;

		e += *e == '*' ? 2 : *e == '.';
		m = strlen(e);
		if (self && !strcasecmp(e, name))
			return true;
		if (below && len > m + 1 && name[len - m - 1] == '.' &&
		    !strcasecmp(e, name + len - m))
			return true;
	}
	return false;
}

static void test_random(void)
{
	unsigned wrong = 0, yes = 0;

	for (unsigned round = 0; round < 200; round++) {
		struct nameset_build *b = nameset_build_new(NAMESET_HOSTS, &key);
		unsigned n = rnd(NAMES / (1 + rnd(40)));
		void *image;
		size_t size;

		for (unsigned i = 0; i < n; i++) {
			size_t at = (size_t)sprintf(list[i], "%s",
						    (const char *[]){"", ".", "*."}[rnd(3)]);

			random_name(list[i] + at);
			wrong += nameset_build_add(b, list[i], strlen(list[i])) != 0;
		}
		wrong += nameset_build_image(b, &image, &size) || !nameset_check(image, size);
		for (unsigned i = 0; i < 500; i++) {
			char name[64];
			size_t len = random_name(name);
			bool is = list_has(n, name);

			yes += is;
			wrong += nameset_has(image, name, len) != is;
		}
		nameset_build_free(b);
		free(image);
	}
	tap_is(wrong, 0, "100000 random questions to random sets: as the list says");
	tap_ok(yes > 10000 && yes < 90000, "... of both answers (%u yes)", yes);
}

/* --- hostile images, no memory -------------------------------------------------------------- */

static void test_images(void)
{
	size_t size, passed = 0;
	uint8_t *image = make(NAMESET_HOSTS, "one.example .two.example three", &size);
	unsigned asked = 0;

	for (size_t n = 0; n < size; n++)
		passed += nameset_check(image, n);
	tap_is(passed, 0, "an image that is cut off does not pass");
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t *bad = malloc(size); /* exact, so that a sanitizer sees overruns */

		memcpy(bad, image, size);
		for (unsigned k = 1 + rnd(4); k; k--)
			bad[rnd((unsigned)size)] = (uint8_t)rnd(256);
		if (nameset_check(bad, size)) {
			nameset_has(bad, "a.b.two.example", 15);
			nameset_has(bad, "one.example", 11);
			asked++;
		}
		free(bad);
	}
	tap_ok(asked > 5000, "changed ones are asked without harm (%u)", asked);
	for (size_t n = 0; n < 8 * 8; n++)
		image[size - 8 * 8 - 3 * 3 - 11 - 11 - 5 + n] = 0xff; /* no slot is free */
	tap_ok(nameset_check(image, size) && !nameset_has(image, "x", 1) &&
		       !nameset_has(image, "none.example", 12),
	       "a table without a free slot ends a search");
	free(image);
}

static int build_three(void)
{
	struct nameset_build *b = nameset_build_new(NAMESET_HOSTS, &key);
	void *image = NULL;
	size_t size;
	int rc = b ? 0 : -ENOMEM;

	for (unsigned i = 0; i < 1000 && !rc; i++) {
		char name[32];

		rc = nameset_build_add(b, name, (size_t)sprintf(name, "host%u.example", i));
	}
	if (!rc)
		rc = nameset_build_image(b, &image, &size);
	nameset_build_free(b);
	free(image);
	return rc;
}

static void test_no_memory(void)
{
	int rc = -ENOMEM;
	long n;

	if (!FAILING_ALLOC) {
		tap_skip("no memory", "the sanitizer has its own malloc");
		return;
	}
	for (n = 1; rc == -ENOMEM && n < 100; n++) {
		fail_in = n;
		rc = build_three();
	}
	fail_in = 0;
	tap_ok(!rc && n > 4, "each allocation that fails is reported (%ld)", n - 2);
}

int main(void)
{
	test_hosts();
	test_long_names();
	test_refused();
	test_texts();
	test_random();
	test_images();
	test_no_memory();
	return tap_done();
}
