/* SPDX-License-Identifier: MIT */
/*
 * names_tls_fuzz: a client's stream, cut into pieces by its own first byte, and the hello in it.
 *
 * LINK: src/hooks/names_tls.o src/hooks/names_ja.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "hooks/names_ja.h"

#include "base/util.h"
#include "../unit/names_hello.h"
#include "fuzz_main.h"

static void check(struct names_ja *ja, const uint8_t *msg, size_t len)
{
	char ja3[NAMES_JA3_SIZE], ja4[NAMES_JA4_SIZE], name[256];
	struct names_view rest;
	struct names_hello h;

	if (!names_hello_parse(msg, len, &h))
		return;
	for (size_t i = 0; h.sni[i]; i++)
		weir_assert(h.sni[i] > ' ' && h.sni[i] < 0x7f && i < NAMES_SNI_MAX);
	for (rest = h.alpn; names_hello_alpn(&rest, name);)
		weir_assert(strlen(name) < sizeof(name));
	weir_assert(!rest.len);
	weir_assert(names_ja3(ja, &h, ja3) && strlen(ja3) == NAMES_JA3_SIZE - 1);
	weir_assert(names_ja4(ja, &h, 't', ja4) && strlen(ja4) == NAMES_JA4_SIZE - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct names_ja *ja;
	struct names_tls t = {0};
	struct names_view msg;
	enum names_step step = NAMES_MORE;
	size_t piece, at = 1, n;

	if (!ja)
		ja = names_ja_new();
	if (!size)
		return 0;
	check(ja, data + 1, size - 1); /* as it comes out of QUIC */
	piece = data[0] ? data[0] : size;
	for (; at < size && step == NAMES_MORE; at += n) {
		n = MIN(piece, size - at);
		step = names_tls_feed(&t, data + at, n, &msg);
		weir_assert(t.message.len <= NAMES_HELLO_MAX + 16384);
	}
	if (step == NAMES_FOUND)
		check(ja, msg.at, msg.len);
	names_tls_free(&t);
	return 0;
}

#ifdef FUZZ_STANDALONE
static size_t fuzz_seed(unsigned n, uint8_t *out, size_t room)
{
	static uint8_t msg[HELLO_ROOM], stream[2 * HELLO_ROOM];
	struct hello_spec spec = hello_foxio;
	size_t len;

	if (n > 3)
		return 0;
	spec.key_share = n & 1 ? 1300 : 50;
	len = hello_make(&spec, msg);
	if (n < 2) /* bare, for names_hello_parse() */
		memcpy(stream, msg, len);
	else
		len = hello_records(msg, len, n == 2 ? 16384 : 70, stream);
	if (len + 1 > room)
		return 0;
	out[0] = n == 2 ? 0 : 50;
	memcpy(out + 1, stream, len);
	return len + 1;
}
#endif
