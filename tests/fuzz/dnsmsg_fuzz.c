/* SPDX-License-Identifier: MIT */
/*
 * dnsmsg_fuzz: the DNS reader and the table of names on arbitrary bytes.
 *
 * LINK: src/names.o src/dnsmsg.o src/base/addr.o src/base/hash.o src/base/util.o src/base/log.o
 * LINK: src/base/clock.o
 */
#include "names.h"

#include <string.h>

#include "base/util.h"
#include "fuzz_main.h"

#define FUZZ_NAMES 16

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

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static const uint8_t chain[] =
		"\x12\x34\x81\x80\0\1\0\2\0\0\0\0\3www\7example\3com\0\0\1\0\1"
		"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\4\1c\xc0\x10"
		"\xc0\x2d\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1";
	static const uint8_t one[] = "\x12\x34\x81\x80\0\1\0\1\0\0\0\0\1a\0\0\x1c\0\1"
				     "\xc0\x0c\0\x1c\0\1\0\0\0\x3c\0\x10\x20\x01\x0d\xb8"
				     "\0\0\0\0\0\0\0\0\0\0\0\1";

	if (n > 1 || room < sizeof(chain))
		return 0;
	memcpy(out, n ? one : chain, n ? sizeof(one) - 1 : sizeof(chain) - 1);
	return n ? sizeof(one) - 1 : sizeof(chain) - 1;
}
#endif
