/* SPDX-License-Identifier: MIT */
/*
 * dnsmsg_fuzz: the DNS reader and the table of names on arbitrary bytes.
 *
 * libFuzzer: clang -fsanitize=fuzzer,address,undefined. Otherwise
 * (FUZZ_STANDALONE) a loop: dnsmsg_fuzz [ROUNDS [SEED]] mutates well-formed messages.
 *
 * LINK: src/names.o src/dnsmsg.o src/base/addr.o src/base/hash.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define FUZZ_NAMES 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct dnsmsg *m)
{
	size_t i, len = strnlen(m->name, sizeof(m->name));

	weir_assert(len < sizeof(m->name) && m->n <= ARRAY_SIZE(m->addrs));
	for (i = 0; i < len; i++)
		weir_assert(m->name[i] > ' ' && m->name[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct names *names;
	static uint64_t now;
	char text[NAMES_HOST_MAX];
	struct dnsmsg m;
	unsigned i;

	if (!names)
		names = names_new(FUZZ_NAMES, NULL);
	now += 1000000;
	if (!dnsmsg_parse(data, size, &m))
		check(&m);
	names_learn(names, data, size, now);
	for (i = 0; i < m.n; i++) {
		uint32_t slot = names_slot(names, &m.addrs[i].addr, now);

		str_copy(text, sizeof(text), names_text(names, slot));
	}
	return 0;
}

#ifndef FUZZ_LIBFUZZER
static const uint8_t seed_msg[] = "\x12\x34\x81\x80\0\1\0\2\0\0\0\0\3www\7example\3com\0\0\1\0\1"
				  "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\4\1c\xc0\x10"
				  "\xc0\x2d\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1";

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 200000, r;

	srandom(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 1);
	for (r = 0; r < rounds; r++) {
		size_t len = sizeof(seed_msg) - 1, cut = (size_t)random() % (len + 1), i;
		uint8_t *m = malloc(len);

		memcpy(m, seed_msg, len);
		for (i = (size_t)random() % 6; i; i--)
			m[(size_t)random() % len] = (uint8_t)random();
		LLVMFuzzerTestOneInput(m, random() % 4 ? len : cut);
		free(m);
	}
	printf("%lu messages read\n", rounds);
	return 0;
}
#endif
