/* SPDX-License-Identifier: MIT */
/*
 * csum: against the definition, at all lengths and alignments.
 * LINK: stack/csum.o src/base/addr.o src/base/util.o
 */
#include "csum.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"
#include "forge.h"

/** as_be - a folded sum as it stands in memory, read as a number */
static unsigned as_be(uint16_t folded)
{
	uint8_t b[2];

	memcpy(b, &folded, 2);
	return (unsigned)b[0] << 8 | b[1];
}

static void test_vectors(void)
{
	/* RFC 1071, 3: 0001 f203 f4f5 f6f7 add up to ddf2 */
	static const uint8_t rfc[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	/* the header that textbooks use; its checksum is b861 */
	static const uint8_t ip[] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
				     0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};

	tap_is(as_be(csum_fold(csum_add(0, rfc, sizeof(rfc)))), 0xddf2, "example of RFC 1071");
	tap_is(as_be(csum_fold(csum_add(0, ip, sizeof(ip)))), 0xffff, "a header that is right");
	tap_is(csum_fold(csum_add(0, rfc, 0)), 0, "nothing adds nothing");
	tap_is(as_be(csum_fold(csum_add(0, rfc + 1, 1))), 0x0100, "one odd byte");
}

/** test_random - all lengths and alignments against the sum by definition */
static void test_random(void)
{
	enum { SIZE = 70000 };
	uint8_t *data = malloc(SIZE);
	int bad = 0, bad_split = 0;

	srand(1);
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(rand() >> 5);
	for (int i = 0; i < 4000; i++) {
		size_t off = (size_t)rand() % 16;
		size_t len = i < 400 ? (size_t)i : (size_t)rand() % (i % 4 ? 2000 : SIZE - 16);
		size_t cut = len ? ((size_t)rand() % len) & ~(size_t)1 : 0;
		uint8_t *p = malloc(len + off + 1); /* exact, so that a sanitizer sees overruns */
		uint64_t two;

		memcpy(p + off + 1, data, len);
		bad += as_be(csum_fold(csum_add(0, p + off + 1, len))) != naive_sum(0, data, len);
		two = csum_add(csum_add(0, data, cut), data + cut, len - cut);
		bad_split += as_be(csum_fold(two)) != naive_sum(0, data, len);
		free(p);
	}
	tap_is(bad, 0, "4000 random blocks");
	tap_is(bad_split, 0, "the same in two pieces");
	memset(data, 0xff, SIZE);
	tap_is(csum_fold(csum_add(0, data, SIZE)), 0xffff, "all ones: every carry counts");
	free(data);
}

static void test_pseudo(const char *from, const char *to)
{
	struct addr a = addr_of(from), b = addr_of(to);
	struct forged *f = malloc(sizeof(*f));
	uint64_t sum;

	forge_udp(f, from, to, 999);
	sum = csum_pseudo(&a, &b, IPPROTO_UDP, 1007);
	tap_is(csum_fold(csum_add(sum, f->b + f->l4, f->len - f->l4)), 0xffff,
	       "datagram from %s verifies", from);
	f->b[f->len - 1] ^= 0x10;
	tap_ok(csum_fold(csum_add(sum, f->b + f->l4, f->len - f->l4)) != 0xffff,
	       "a changed bit shows");
	free(f);
}

int main(void)
{
	test_vectors();
	test_random();
	test_pseudo("192.0.2.1", "198.51.100.255");
	test_pseudo("2001:db8::1", "2001:db8:ffff:ffff::2");
	return tap_done();
}
