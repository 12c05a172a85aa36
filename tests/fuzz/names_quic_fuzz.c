/* SPDX-License-Identifier: MIT */
/*
 * names_quic_fuzz: datagrams as they come, and frames that are sealed first, as a mutated packet
 * would not get past its tag. The first byte: 0 is a datagram, else the size of the pieces that
 * frames are sent in.
 *
 * LINK: src/hooks/names_quic.o src/hooks/names_tls.o src/base/util.o src/base/log.o
 * LINK: src/base/clock.o
 */
#include "hooks/names_quic.h"

#include "base/util.h"
#include "../lib/quic_forge.h"
#include "../unit/names_hello.h"
#include "fuzz_main.h"

static struct names_quic_lib *lib;
static const uint8_t cid[] = {1, 2, 3, 4, 5, 6, 7, 8};

static enum names_step feed(struct names_quic *q, const uint8_t *data, size_t len)
{
	struct names_view msg = {0};
	struct names_hello h;
	enum names_step step;

	names_quic_start(data, len);
	step = names_quic_feed(lib, q, data, len, &msg);
	weir_assert(q->hello.len <= NAMES_HELLO_MAX);
	if (step == NAMES_FOUND) {
		weir_assert(msg.len >= 4 && msg.len <= NAMES_HELLO_MAX);
		names_hello_parse(msg.at, msg.len, &h);
	}
	return step;
}

/* sealed - each piece is the content of a packet */
static void sealed(struct names_quic *q, const uint8_t *data, size_t len, size_t piece)
{
	static uint8_t packet[FORGE_ROOM];
	struct forge f = {FORGE_V1, cid, sizeof(cid), NULL, 0, 1, 0, 4};
	size_t n;

	for (; len; data += n, len -= n, f.number++) {
		n = MIN(piece, len);
		f.version = piece & 1 ? FORGE_V1 : FORGE_V2;
		if (feed(q, packet, forge_initial(&f, data, n, packet)) != NAMES_MORE)
			break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct names_quic q = {0};

	if (!lib)
		lib = names_quic_lib_new();
	if (size < 2 || size > FORGE_ROOM / 2)
		return 0;
	if (data[0])
		sealed(&q, data + 1, size - 1, data[0] * 8u);
	else
		feed(&q, data + 1, size - 1);
	names_quic_free(&q);
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static uint8_t hello[HELLO_ROOM], frames[FORGE_ROOM];
	struct forge f = {n ? FORGE_V2 : FORGE_V1, cid, sizeof(cid), NULL, 0, 1, 0, 1162};
	struct hello_spec spec = hello_foxio;
	size_t len, half;

	if (n > 3 || room < 3000)
		return 0;
	spec.key_share = 40;
	len = hello_make(&spec, hello);
	half = len / 2;
	if (n < 2) { /* a datagram */
		out[0] = 0;
		len = forge_crypto(frames, 0, hello, len);
		return 1 + forge_initial(&f, frames, len, out + 1);
	}
	out[0] = n == 2 ? 255 : 36; /* all in one packet; each frame in one of its own */
	half = n == 2 ? half : 36 * 8 - 5;
	half = MIN(half, len);
	n = (unsigned)forge_crypto(out + 1, 0, hello, half);
	memcpy(out + 1 + n, "\x01\x02\x00\x00\x00\x00", 6);
	return 7 + n + forge_crypto(out + 7 + n, half, hello + half, len - half);
}
#endif
