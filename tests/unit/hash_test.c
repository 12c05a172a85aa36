/* SPDX-License-Identifier: MIT */
/*
 * hash: against another implementation; spread; independence of alignment.
 * LINK: src/base/hash.o
 */
#include "base/hash.h"

#include <string.h>

#include "../lib/tap.h"

/* Made with another implementation: CPython's hash() of bytes under PYTHONHASHSEED=0 (zero key). */
static void test_reference(void)
{
	static const struct {
		const char *text;
		uint64_t want;
	} t[] = {
		{"abc", 0xc03bc3a0042630f2},
		{"abcdefg", 0x6db12aae9070f506},
		{"abcdefgh", 0x3f7b849c0b8e35ea},
		{"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 0x1ff91b165bb0419b},
	};
	static const struct hash_key zero;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		tap_ok(hash_bytes(&zero, t[i].text, strlen(t[i].text)) == t[i].want,
		       "SipHash-1-3 of \"%s\"", t[i].text);
}

/** test_spread - keys that differ in one low byte fall into all buckets alike */
static void test_spread(void)
{
	struct hash_key key;
	unsigned count[64] = {0}, worst = 0;
	uint8_t data[40] = {0};

	tap_is(hash_key_random(&key), 0, "draw a key");
	for (unsigned i = 0; i < 64 * 256; i++) {
		memcpy(data + 30, &i, sizeof(i));
		count[hash_bytes(&key, data, sizeof(data)) % 64]++;
	}
	for (int i = 0; i < 64; i++)
		worst = count[i] > worst ? count[i] : worst;
	tap_ok(worst < 256 * 3 / 2, "fullest of 64 buckets has %u of 256 expected", worst);
}

int main(void)
{
	struct hash_key a, b;
	static const uint8_t data[] = "the same bytes at another place";
	uint8_t moved[sizeof(data) + 3];

	test_reference();
	test_spread();
	tap_ok(!hash_key_random(&a) && !hash_key_random(&b) && memcmp(&a, &b, sizeof(a)),
	       "two keys differ");
	for (int off = 0; off < 4; off++) {
		memcpy(moved + off, data, sizeof(data) - 1);
		tap_ok(hash_bytes(&a, data, sizeof(data) - 1) ==
			       hash_bytes(&a, moved + off, sizeof(data) - 1),
		       "alignment %d does not matter", off);
		memset(moved, 0, sizeof(moved));
	}
	tap_ok(hash_bytes(&a, data, 8) != hash_bytes(&b, data, 8), "the key matters");
	return tap_done();
}
