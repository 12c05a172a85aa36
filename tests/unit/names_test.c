/* SPDX-License-Identifier: MIT */
/*
 * LINK: src/names.o src/dnsmsg.o src/base/addr.o src/base/hash.o src/base/util.o src/base/log.o
 * LINK: src/base/clock.o
 */
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "../lib/tap.h"

/* answer - "name has 10.0.x.y", @ttl seconds */
static size_t answer(uint8_t *m, const char *name, uint32_t host, uint32_t ttl)
{
	size_t n = 12, len = strlen(name);

	memset(m, 0, 12);
	m[2] = 0x81;
	m[3] = 0x80;
	m[5] = m[7] = 1;
	m[n++] = (uint8_t)len;
	memcpy(m + n, name, len);
	n += len;
	memcpy(m + n, "\0\0\1\0\1\xc0\x0c\0\1\0\1", 11);
	n += 11;
	put_be32(m + n, ttl);
	put_be16(m + n + 4, 4);
	put_be32(m + n + 6, 0x0a000000 | host);
	return n + 10;
}

static struct addr ten(uint32_t host)
{
	uint8_t b[4];

	put_be32(b, 0x0a000000 | host);
	return addr_from_v4(b);
}

static int learn(struct names *n, const char *name, uint32_t host, uint32_t ttl, uint64_t now)
{
	uint8_t m[512];

	return names_learn(n, m, answer(m, name, host, ttl), now);
}

static const char *text(struct names *n, uint32_t host, uint64_t now)
{
	struct addr a = ten(host);

	return names_text(n, names_slot(n, &a, now));
}

int main(void)
{
	void *shared = calloc(1, names_shared_size(4));
	struct names *n = names_new(4, shared);
	char out[NAMES_HOST_MAX], name[16];
	uint8_t junk[20] = {0};
	struct addr a;
	uint32_t slot;

	tap_is(learn(n, "one", 1, 60, 0), 1, "learnt");
	tap_ok(!strcmp(text(n, 1, 0), "one"), "known");
	tap_ok(!strcmp(text(n, 1, 60 * NSEC_PER_SEC - 1), "one"), "to the end of its TTL");
	tap_ok(!strcmp(text(n, 1, 60 * NSEC_PER_SEC), ""), "and not after");
	learn(n, "zero", 1, 0, 0);
	tap_ok(!strcmp(text(n, 1, NSEC_PER_SEC - 1), "zero"), "TTL 0 lasts a second");
	learn(n, "other", 1, 60, 0);
	tap_ok(!strcmp(text(n, 1, 0), "other"), "the latest name of an address counts");
	tap_is(names_learn(n, junk, sizeof(junk), 0), 0, "a query is nothing to learn from");
	junk[2] = 0x80;
	tap_is(names_learn(n, junk, sizeof(junk), 0), -EBADMSG, "a malformed answer");

	a = ten(1);
	slot = names_slot(n, &a, 0);
	names_hold(n, slot);
	for (uint32_t i = 10; i < 30; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		tap_is(learn(n, name, i, 60, 0), 1, "%s is learnt though the table is full", name);
	}
	tap_ok(!strcmp(text(n, 29, 0), "n29"), "the newest is known");
	tap_ok(!strcmp(text(n, 28, 0), "n28"), "the one before as well");
	tap_ok(!strcmp(text(n, 10, 0), ""), "an old one has gone");
	tap_ok(!strcmp(names_text(n, slot), "other"), "a held name stays");
	names_text_at(shared, 4, slot, out);
	tap_ok(!strcmp(out, "other"), "and is seen in the shared memory");
	names_drop(n, slot);

	for (uint32_t i = 40; i < 44; i++) {
		snprintf(name, sizeof(name), "h%u", i);
		learn(n, name, i, 60, 0);
		a = ten(i);
		names_hold(n, names_slot(n, &a, 0));
	}
	tap_is(learn(n, "toomuch", 50, 60, 0), 0, "all slots are held: nothing is learnt");
	tap_ok(!strcmp(text(n, 50, 0), ""), "and no wrong name given");
	for (uint32_t s = 1; s <= 4; s++)
		names_drop(n, s);
	tap_is(learn(n, "again", 51, 60, 0), 1, "dropped: there is room again");

	names_text_at(shared, 4, 0, out);
	tap_ok(!*out, "slot 0 is no name");
	names_text_at(shared, 4, 5, out);
	tap_ok(!*out, "a slot out of range is no name");
	memset(shared, 'a', names_shared_size(4));
	names_text_at(shared, 4, 1, out);
	tap_ok(!*out, "a writer that never ends");
	memset(shared, 'b', names_shared_size(4)); /* an even sequence number, no NUL */
	names_text_at(shared, 4, 1, out);
	tap_is(strlen(out), NAMES_HOST_MAX - 1, "unterminated text is terminated");
	memset(shared, 0x1e, names_shared_size(4));
	names_text_at(shared, 4, 1, out);
	tap_ok(!*out, "control bytes are no name");
	memset(shared, 0, names_shared_size(4));
	names_free(n);
	free(shared);
	return tap_done();
}
