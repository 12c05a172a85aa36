/* SPDX-License-Identifier: MIT */
/*
 * fuzz_main: runs a fuzz target without libFuzzer (-DFUZZ_STANDALONE): random
 * inputs and mutations of good ones, the same in every run.
 *
 * The target gives its good inputs by fuzz_seed(). Arguments: how many inputs
 * (default 200000), then the seed.
 */
#ifndef WEIR_TESTS_FUZZ_MAIN_H
#define WEIR_TESTS_FUZZ_MAIN_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef FUZZ_STANDALONE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_INPUT_MAX 4096

/** fuzz_seed - good input number @n in @out; returns its length, 0 = there are only @n */
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room);

static uint64_t fuzz_state = 88172645463325252ULL;

static uint32_t fuzz_rand(void)
{
	fuzz_state ^= fuzz_state << 13;
	fuzz_state ^= fuzz_state >> 7;
	fuzz_state ^= fuzz_state << 17;
	return (uint32_t)(fuzz_state >> 16);
}

/** fuzz_mutate - a few changes of the kinds that parsers trip over */
static size_t fuzz_mutate(uint8_t *b, size_t len)
{
	static const uint8_t edge[] = {0, 1, 4, 7, 8, 15, 20, 40, 44, 60, 127, 128, 254, 255};

	for (unsigned n = fuzz_rand() % 5; n && len; n--) {
		size_t at = fuzz_rand() % len;

		switch (fuzz_rand() % 5) {
		case 0:
			b[at] ^= (uint8_t)(1U << fuzz_rand() % 8);
			break;
		case 1:
			b[at] = edge[fuzz_rand() % sizeof(edge)];
			break;
		case 2:
			b[at] = (uint8_t)fuzz_rand();
			break;
		case 3:
			len = at + 1;
			break;
		default:
			memmove(b + at / 2, b + at, len - at);
			len -= at - at / 2;
			break;
		}
	}
	return len;
}

int main(int argc, char **argv)
{
	unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, 10) : 200000;
	uint8_t input[FUZZ_INPUT_MAX];
	unsigned seeds = 0;

	if (argc > 2)
		fuzz_state ^= strtoul(argv[2], NULL, 10) * 0x9e3779b97f4a7c15ULL;
	while (fuzz_seed(seeds, input, sizeof(input)))
		seeds++;
	for (unsigned long i = 0; i < runs; i++) {
		unsigned pick = fuzz_rand() % (seeds + 1);
		size_t len = fuzz_seed(pick, input, sizeof(input));
		uint8_t *exact;

		if (!len) {
			len = fuzz_rand() % 256;
			for (size_t k = 0; k < len; k++)
				input[k] = (uint8_t)fuzz_rand();
		}
		len = fuzz_mutate(input, len);
		exact = malloc(len + !len); /* its end is where a sanitizer watches */
		if (!exact)
			return 1;
		memcpy(exact, input, len);
		LLVMFuzzerTestOneInput(exact, len);
		free(exact);
	}
	printf("%lu inputs\n", runs);
	return 0;
}
#endif

#endif
