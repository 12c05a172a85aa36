/* SPDX-License-Identifier: MIT */
/*
 * processor_fuzz: what a processor says, on arbitrary bytes: each line of the input is read, with
 * what follows as its body, and all that was taken is looked at.
 *
 * LINK: src/hooks/processor_wire.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "hooks/processor_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "fuzz_main.h"

static unsigned sum; /* so that every byte is read */

static void look(const struct wire_text *t)
{
	for (size_t i = 0; i < t->len; i++)
		sum += t->bytes[i];
}

/** check - what wire_parse() promises */
static void check(const struct wire_message *m, bool raw)
{
	size_t from = 0;

	weir_assert(m->has_id != m->has_flow && m->body <= WIRE_BODY_MAX && (raw || !m->body));
	weir_assert(!m->n_edits || m->verdict == WIRE_PASS);
	weir_assert(!m->has_id || m->verdict != WIRE_NONE);
	for (size_t i = 0; i < m->n_edits; i++) {
		weir_assert(m->edits[i].off >= from);
		from = m->edits[i].off + m->edits[i].len;
		look(&m->edits[i].text);
	}
	for (size_t i = 0; i < m->n_injects; i++) {
		weir_assert(m->injects[i].dir == WEIR_UP || m->injects[i].dir == WEIR_DOWN);
		look(&m->injects[i].text);
	}
	look(&m->data);
}

static void one_line(const char *line, size_t len, const uint8_t *rest, size_t left, bool raw)
{
	struct wire_message *m;
	const char *err = NULL;
	int rc = wire_parse(line, len, raw, &m, &err);

	weir_assert(!rc == !err && (!rc || err) && (rc || m) && (!rc || !m || m->has_id));
	if (!rc && m->body && m->body <= left)
		weir_assert(!wire_set_body(m, rest));
	if (!rc)
		check(m, raw);
	wire_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	while (size) {
		const uint8_t *newline = memchr(data, '\n', size);
		size_t len = newline ? (size_t)(newline - data) : size;
		size_t step = len + (newline != NULL);

		for (int raw = 0; raw < 2; raw++)
			one_line((const char *)data, len, data + step, size - step, raw);
		data += step;
		size -= step;
	}
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static const char *const seeds[] = {
		"{\"id\":1,\"verdict\":\"pass\",\"accept\":3,\"replace\":[[0,1,\"a\"],[2,1,\"\\u00e9\"]]}\n",
		"{\"id\":2,\"verdict\":\"replace\",\"data\":\"\\u0000x\xc3\xa9\",\"done\":true}\n",
		"{\"id\":3,\"verdict\":\"drop\",\"inject\":[[\"down\",\"hi\"]],\"close\":[\"up\",\"down\"]}\n",
		"{\"id\":4,\"verdict\":\"replace\",\"len\":5}\nhello{\"id\":5,\"verdict\":\"hold\"}\n",
		"{\"flow\":6,\"verdict\":\"block\",\"tag\":\"t\",\"log\":\"l\",\"learn\":{\"app\":null}}\n",
		"{\"flow\":6,\"inject\":\"up\",\"len\":2}\nhi{\"flow\":7,\"event\":[\"x\",{\"y\":[1]}]}\n",
	};
	size_t len;

	if (n >= ARRAY_SIZE(seeds))
		return 0;
	len = strlen(seeds[n]);
	if (len > room)
		return 0;
	memcpy(out, seeds[n], len);
	return len;
}
#endif
