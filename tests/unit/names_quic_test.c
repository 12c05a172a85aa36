/* SPDX-License-Identifier: MIT */
/*
 * The samples of RFC 9001, A.1 and A.2, and RFC 9369, A.1 and A.2; then hellos forged by
 * names_hello.h in packets forged by quic_forge.h. That what is forged equals the samples, up to
 * the tag, which depends on every byte, shows that the forger is right.
 *
 * LINK: src/hooks/names_quic.o src/hooks/names_tls.o src/hooks/names_ja.o
 */
#include "hooks/names_quic.h"
#include "hooks/names_ja.h"

#include <stdio.h>

#include "names_hello.h"
#include "../lib/quic_forge.h"
#include "../lib/tap.h"

static const uint8_t cid[] = {0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08};
static const uint8_t other_cid[] = {1, 2, 3, 4, 5, 6, 7, 8};
static const char sample_payload[] =
	"060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c0000"
	"0413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017"
	"001800100007000504616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559f"
	"edba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408"
	"050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff080110"
	"01048000"
	"75300901100f088394c8f03e51570806048000ffff";

static const struct sample {
	uint32_t version;
	const char *what, *key, *iv, *hp, *start, *tag;
} samples[] = {
	{FORGE_V1, "RFC 9001", "1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c",
	 "9f50449e04a0e810283a1e9933adedd2",
	 "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
	 "e221af44860018ab0856972e194cd934"},
	{FORGE_V2, "RFC 9369", "8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f",
	 "45b95e15235d6f45a6b19cbcb0294ba9",
	 "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
	 "a18b2faa745b6fe189cf772a9f84cbfc"},
};

static struct names_quic_lib *lib;
static struct names_ja *ja;
static uint8_t hello[HELLO_ROOM];
static size_t hello_len;

static size_t unhex(const char *text, uint8_t *out)
{
	size_t n = 0;
	unsigned byte;

	for (; sscanf(text, "%2x", &byte) == 1; text += 2)
		out[n++] = (uint8_t)byte;
	return n;
}

static bool is_hex(const uint8_t *data, const char *hex)
{
	uint8_t want[64];
	size_t n = unhex(hex, want);

	return !memcmp(data, want, n);
}

static void test_sample(const struct sample *s)
{
	struct forge f = {s->version, cid, sizeof(cid), NULL, 2, 4, 0, 1162};
	uint8_t frames[300], packet[1300];
	size_t len = forge_initial(&f, frames, unhex(sample_payload, frames), packet);
	char ja4[NAMES_JA4_SIZE] = "";
	struct names_quic_keys k;
	struct names_quic q = {0};
	struct names_view msg;
	struct names_hello h = {0};

	tap_ok(names_quic_derive(lib, s->version, cid, sizeof(cid), &k) && is_hex(k.key, s->key) &&
		       is_hex(k.iv, s->iv) && is_hex(k.hp, s->hp),
	       "%s: the client's keys", s->what);
	tap_ok(len == 1200 && is_hex(packet, s->start) && is_hex(packet + 1184, s->tag),
	       "%s: the forger makes the packet of the sample", s->what);
	tap_is(names_quic_start(packet, len), NAMES_QUIC_INITIAL, "%s: an Initial", s->what);
	tap_ok(names_quic_feed(lib, &q, packet, len, &msg) == NAMES_FOUND &&
		       names_hello_parse(msg.at, msg.len, &h) && !strcmp(h.sni, "example.com") &&
		       names_ja4(ja, &h, 'q', ja4) &&
		       !strcmp(ja4, "q13d0211an_62ed6f6ca7ad_4d634acda6c0"),
	       "%s: its name and JA4 %s", s->what, ja4);
	names_quic_free(&q);
}

/* --- connections ----------------------------------------------------------------------------- */

static struct names_quic quic;
static uint64_t number;

static void begin(void)
{
	names_quic_free(&quic);
	quic = (struct names_quic){0};
	number = 0;
}

/* send - a datagram of one packet; memory ends where it does */
static enum names_step send(const struct forge *f, const uint8_t *frames, size_t len)
{
	static uint8_t packet[FORGE_ROOM + 100];
	size_t n = forge_initial(f, frames, len, packet);
	uint8_t *exact = malloc(n);
	struct names_view msg = {0};
	enum names_step step;

	memcpy(exact, packet, n);
	step = names_quic_feed(lib, &quic, exact, n, &msg);
	free(exact);
	if (step == NAMES_FOUND && (msg.len != hello_len || memcmp(msg.at, hello, hello_len) != 0))
		return NAMES_NOT;
	return step;
}

/* send_part - bytes [from, to) of the hello in one datagram */
static enum names_step send_part(uint32_t version, size_t from, size_t to)
{
	static uint8_t frames[FORGE_ROOM];
	struct forge f = {version, cid, sizeof(cid), NULL, number++, 1, 0, 1162};

	return send(&f, frames, forge_crypto(frames, from, hello + from, to - from));
}

static void large_hello(size_t key_share)
{
	struct hello_spec spec = hello_foxio;

	spec.key_share = key_share;
	hello_len = hello_make(&spec, hello);
}

static void test_split(uint32_t version)
{
	unsigned wrong = 0;
	size_t cut;

	large_hello(1200);
	for (cut = 1; cut < hello_len; cut += 7) {
		begin();
		wrong += send_part(version, 0, cut) != NAMES_MORE;
		wrong += send_part(version, cut, hello_len) != NAMES_FOUND;
		begin();
		wrong += send_part(version, cut, hello_len) != NAMES_MORE;
		wrong += send_part(version, 0, cut) != NAMES_FOUND;
	}
	tap_is(wrong, 0, "version %x: a hello in two datagrams, in either order", version);
}

static void test_three(void)
{
	size_t third;

	large_hello(3000);
	third = hello_len / 3;
	begin();
	tap_ok(send_part(FORGE_V1, 2 * third, hello_len) == NAMES_MORE &&
		       send_part(FORGE_V1, third, 2 * third + 9) == NAMES_MORE &&
		       send_part(FORGE_V1, third, 2 * third) == NAMES_MORE &&
		       send_part(FORGE_V1, 0, third + 1) == NAMES_FOUND,
	       "three datagrams, backwards, overlapping, one again");
}

/* as browsers do: small frames, shuffled, with PING, padding and an ACK between them */
static void test_chaos(void)
{
	static uint8_t frames[FORGE_ROOM];
	static const uint8_t between[] = {0x01, 0x00, 0x00, 0x02, 0x05, 0x40, 0x10,
					  0x01, 0x01, 0x00, 0x00, 0x03, 0x01, 0x00,
					  0x00, 0x00, 0x01, 0x02, 0x03, 0x01};
	struct forge f = {FORGE_V1, cid, sizeof(cid), NULL, 0x12345, 3, 70, 1162};
	size_t n = 0, i, at;

	large_hello(100);
	for (i = 0; i < 97; i++) {
		at = i * 41 % 97;
		if (at * 5 >= hello_len)
			continue;
		n += forge_crypto(frames + n, at * 5, hello + at * 5,
				  hello_len - at * 5 < 5 ? hello_len - at * 5 : 5);
		memcpy(frames + n, between, sizeof(between));
		n += sizeof(between);
	}
	begin();
	tap_is(send(&f, frames, n), NAMES_FOUND, "small frames shuffled among others, a token");
}

/* two packets in a datagram, and one of another kind in front */
static void test_coalesced(void)
{
	static uint8_t frames[FORGE_ROOM], datagram[FORGE_ROOM];
	struct forge f = {FORGE_V1, cid, sizeof(cid), NULL, 0, 2, 0, 0};
	struct names_view msg;
	size_t n = 0, len;

	large_hello(300);
	memcpy(datagram, "\xe0\x00\x00\x00\x01\x01\x61\x00\x04zzzz", 13); /* Handshake */
	n = 13;
	len = forge_crypto(frames, 0, hello, 200);
	n += forge_initial(&f, frames, len, datagram + n);
	f.number++;
	len = forge_crypto(frames, 200, hello + 200, hello_len - 200);
	n += forge_initial(&f, frames, len, datagram + n);
	memcpy(datagram + n, "\x40short", 6);
	begin();
	tap_ok(names_quic_feed(lib, &quic, datagram, n + 6, &msg) == NAMES_FOUND &&
		       msg.len == hello_len && !memcmp(msg.at, hello, hello_len),
	       "several packets in a datagram");
}

/* as many as fit: each with an identifier of its own, so that keys would be made for all */
static void test_many_packets(void)
{
	static uint8_t frames[FORGE_ROOM], datagram[FORGE_ROOM];
	struct forge f = {FORGE_V1, cid, sizeof(cid), NULL, 0, 2, 0, 0};
	struct forge noise = {FORGE_V1, other_cid, sizeof(other_cid), cid, 0, 2, 0, 0};
	struct names_view msg;

	large_hello(300);
	for (unsigned between = 6; between <= 7; between++) {
		size_t n, len = forge_crypto(frames, 0, hello, 200);

		f.number = 0;
		n = forge_initial(&f, frames, len, datagram);
		for (unsigned i = 0; i < between; i++) {
			n += forge_initial(&noise, (const uint8_t *)"\x01\x01\x01\x01", 4,
					   datagram + n);
			datagram[n - 1] ^= 1;
		}
		f.number++;
		len = forge_crypto(frames, 200, hello + 200, hello_len - 200);
		n += forge_initial(&f, frames, len, datagram + n);
		begin();
		tap_is(names_quic_feed(lib, &quic, datagram, n, &msg),
		       between == 6 ? NAMES_FOUND : NAMES_MORE, "packet %u of a datagram is %s",
		       between + 2, between == 6 ? "looked at" : "not");
	}
}

static void test_early_data(void)
{
	static const uint8_t early[] = "\xd0\x00\x00\x00\x01\x01\x61\x00\x04zzzz";
	struct names_view msg;

	large_hello(300);
	begin();
	tap_is(names_quic_start(early, 13), NAMES_QUIC_INITIAL, "early data in front");
	tap_ok(names_quic_feed(lib, &quic, early, 13, &msg) == NAMES_MORE && !quic.genuine,
	       "says nothing");
	tap_is(send_part(FORGE_V1, 0, hello_len), NAMES_FOUND, "but the hello is waited for");
}

static void test_retry(void)
{
	static uint8_t frames[FORGE_ROOM];
	struct forge f = {FORGE_V1, other_cid, sizeof(other_cid), cid, 1, 1, 0, 1162};
	size_t cut;

	large_hello(300);
	cut = hello_len / 2;
	begin();
	send_part(FORGE_V1, 0, cut);
	tap_is(send(&f, frames, forge_crypto(frames, cut, hello + cut, hello_len - cut)),
	       NAMES_FOUND, "the server's identifier, the same keys");
	begin();
	send_part(FORGE_V1, 0, cut);
	f.key_cid = NULL;
	tap_is(send(&f, frames, forge_crypto(frames, cut, hello + cut, hello_len - cut)),
	       NAMES_MORE, "new keys after a Retry: what came before does not count");
	f.number++;
	tap_is(send(&f, frames, forge_crypto(frames, 0, hello, cut)), NAMES_FOUND,
	       "and goes on with them");
}

static void test_refused(void)
{
	static uint8_t frames[FORGE_ROOM], packet[FORGE_ROOM];
	struct forge f = {FORGE_V1, cid, sizeof(cid), other_cid, 0, 1, 0, 1162};
	struct names_view msg;
	size_t n;
	int i;

	large_hello(300);
	n = forge_crypto(frames, 0, hello, hello_len);
	begin();
	tap_is(send(&f, frames, n), NAMES_NOT, "a first packet with other keys");
	tap_ok(!quic.genuine, "is not QUIC");
	begin();
	send_part(FORGE_V1, 0, 10);
	tap_is(send(&f, frames, n), NAMES_MORE, "a later one is noise");
	f.key_cid = NULL;
	begin();
	n = forge_initial(&f, frames, n, packet);
	packet[n - 1] ^= 1;
	tap_is(names_quic_feed(lib, &quic, packet, n, &msg), NAMES_NOT, "a wrong tag");
	begin();
	send_part(FORGE_V1, 0, 10);
	hello[5] ^= 1;
	tap_is(send_part(FORGE_V1, 5, hello_len), NAMES_NOT, "other bytes for the same place");
	begin();
	tap_is(send(&f, (const uint8_t *)"\x06\x7f\xff\x01x", 5), NAMES_MORE, "the last place");
	begin();
	tap_is(send(&f, (const uint8_t *)"\x06\x80\x00\x40\x00\x01x", 7), NAMES_NOT,
	       "a place beyond it");
	begin();
	tap_is(send(&f, (const uint8_t *)"\x1c\x00\x00\x00", 4), NAMES_NOT, "a close");
	begin();
	tap_is(send(&f, (const uint8_t *)"\x06\x00\x40\x04\x02\x00\x00\x01", 8), NAMES_NOT,
	       "another message");
	begin();
	tap_is(send(&f, (const uint8_t *)"\x06\x00\x44\xff\x01\x00\x00\x01", 8), NAMES_NOT,
	       "a frame beyond its packet");
	begin();
	large_hello(300);
	for (i = 0; i < 32; i++)
		if (send_part(FORGE_V1, 0, 10) != NAMES_MORE)
			break;
	tap_ok(i == 32 && send_part(FORGE_V1, 10, hello_len) == NAMES_NOT,
	       "32 datagrams are waited for");
}

static void test_damaged(void)
{
	static uint8_t frames[FORGE_ROOM], packet[FORGE_ROOM];
	struct forge f = {FORGE_V1, cid, sizeof(cid), NULL, 0, 1, 3, 1162};
	struct names_view msg;
	unsigned wrong = 0;
	size_t len, n;

	large_hello(300);
	len = forge_initial(&f, frames, forge_crypto(frames, 0, hello, hello_len), packet);
	for (n = 0; n < len; n++) {
		uint8_t *exact = malloc(n + 1);

		memcpy(exact, packet, n);
		begin();
		wrong += names_quic_start(exact, n) != NAMES_QUIC_NO ||
			 names_quic_feed(lib, &quic, exact, n, &msg) == NAMES_FOUND;
		free(exact);
	}
	tap_is(wrong, 0, "a datagram that is cut is none, at %zu places", len);
}

static void test_start(void)
{
	uint8_t d[1200] = {0xc3, 0x51, 0x30, 0x35, 0x30, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0};

	tap_is(names_quic_start(d, sizeof(d)), NAMES_QUIC_FOREIGN, "another version");
	d[1] = 0x12;
	tap_is(names_quic_start(d, sizeof(d)), NAMES_QUIC_NO, "a version that nobody uses");
	memcpy(d + 1, "\x1a\x2a\x3a\x4a", 4);
	tap_is(names_quic_start(d, sizeof(d)), NAMES_QUIC_FOREIGN, "one that is to be refused");
	tap_is(names_quic_start(d, 1199), NAMES_QUIC_NO, "too small for a first datagram");
	d[0] = 0x83;
	tap_is(names_quic_start(d, sizeof(d)), NAMES_QUIC_NO, "the fixed bit is missing");
	d[0] = 0x43;
	tap_is(names_quic_start(d, sizeof(d)), NAMES_QUIC_NO, "a short header");
	memset(d, 0xff, sizeof(d));
	tap_is(names_quic_start(d, sizeof(d)), NAMES_QUIC_NO, "an identifier of 255 bytes");
}

int main(void)
{
	lib = names_quic_lib_new();
	ja = names_ja_new();
	test_sample(&samples[0]);
	test_sample(&samples[1]);
	test_split(FORGE_V1);
	test_split(FORGE_V2);
	test_three();
	test_chaos();
	test_coalesced();
	test_many_packets();
	test_early_data();
	test_retry();
	test_refused();
	test_damaged();
	test_start();
	begin();
	names_quic_lib_free(lib);
	names_ja_free(ja);
	return tap_done();
}
