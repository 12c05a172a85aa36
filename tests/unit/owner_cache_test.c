/* SPDX-License-Identifier: MIT */
/*
 * Sender and receiver of owners agree about what the receiver still has.
 *
 * LINK: src/owner_cache.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "owner_cache.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"

static struct owner_sent sent;

/** tell - what the supervisor does before an answer that names @id */
static void tell(struct owner_cache *c, uint32_t id)
{
	struct owner o = {.id = id, .uid = id + 1};

	if (!owner_sent_known(&sent, id))
		owner_cache_add(c, &o);
}

int main(void)
{
	struct owner_cache *c = owner_cache_new();
	const struct owner *kept;
	unsigned missing = 0;

	tap_ok(!owner_cache_hold(c, 7), "an id never sent is not known");
	tap_ok(!owner_cache_hold(c, 0), "0 is nobody");
	tell(c, 1);
	kept = owner_cache_hold(c, 1);
	tap_ok(kept && kept->uid == 2, "what was sent is held");
	for (unsigned i = 0; i < 50000; i++) {
		uint32_t id = 2 + (uint32_t)rand() % 20000;
		const struct owner *o;

		tell(c, id);
		o = owner_cache_hold(c, id);
		missing += !o || o->id != id;
		owner_cache_drop(c, o);
	}
	tap_is(missing, 0, "every id is there at the moment it is named");
	tap_ok(kept->id == 1 && kept->uid == 2, "one in use outlives the recent ones");
	owner_cache_drop(c, kept);
	tap_ok(!owner_cache_hold(c, 1), "and goes with its last user");
	owner_cache_drop(c, NULL);
	owner_cache_free(c);
	return tap_done();
}
