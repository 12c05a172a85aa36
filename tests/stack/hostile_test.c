/* SPDX-License-Identifier: MIT */
/*
 * Segments that a blind or hostile sender makes up move nothing.
 * LINK: stack/tcp_engine.o stack/engine_selftest.o stack/csum_lwip.o stack/csum.o stack/pktbuf.o
 * LINK: stack/sanitize.o stack/rxqueue.o src/base/hash.o src/base/addr.o src/base/util.o
 */
#include "harness.h"

static void resets(void)
{
	struct app a = connected(false, 6000);

	tap_is(seg_at(&a, R, a.seq + 1, NULL, 0), 0, "a RST inside the window is no reset");
	tap_ok(sent_count == 1 && last().flags == A && last().ack == a.seq,
	       "but gets a challenge ACK");
	tap_is(seg_at(&a, R, a.seq - 1, NULL, 0), 0, "one before it is nothing");
	tap_is(seg_at(&a, R, a.seq + 300000, NULL, 0), 0, "one behind it is nothing");
	tap_is(sent_count, 1, "and gets nothing");
	tap_is(seg_at(&a, R | A, a.seq, NULL, 0), ENGINE_EV_RESET, "the exact one resets");
	app_free(&a);
}

static void syns(void)
{
	struct app a = connected(false, 6001);
	uint32_t at[] = {a.seq - 1, a.seq, a.seq + 5, a.seq + 1000000};

	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		tap_is(seg_at(&a, i & 1 ? S | A : S, at[i], NULL, 0), 0,
		       "a SYN on the connection is no event");
		tap_ok(sent_count == i + 1 && last().flags == A, "but gets a challenge ACK");
	}
	app_free(&a);
}

static void acks(void)
{
	struct app a = connected(false, 6002);
	uint32_t right = a.ack;

	engine_write(a.c, "data", 4);
	sent_clear();
	a.ack = right + 5;
	tap_is(seg_at(&a, A | P, a.seq, "x", 1), 0,
	       "an ACK of what was never sent is dropped, with its data");
	a.ack = right - 100000000;
	tap_is(seg_at(&a, A | P, a.seq, "x", 1), 0, "one of long ago, too");
	tap_is(sent_count, 2, "both are answered with an ACK");
	a.ack = right;
	tap_is(seg_at(&a, P, a.seq, "x", 1), 0, "a segment without ACK is dropped");
	tap_is(seg_at(&a, 0, a.seq, NULL, 0), 0, "and one without any flag");
	tap_is(sent_count, 2, "without an answer");
	tap_is(engine_unacked(a.c), 4, "nothing has moved");
	app_free(&a);
}

static void options(void)
{
	struct app a = connected(false, 6003);
	uint8_t evil[40] = {2, 4, 0, 1, 3, 3, 14, 8, 0, 8, 255, 2, 0, 2, 1, 3, 3, 0, 5, 2, 5, 200};
	size_t room = engine_room(a.c);

	memcpy(a.opt, evil, sizeof(evil));
	a.optlen = sizeof(evil);
	tap_ok(seg(&a, A | P, "x", 1) & ENGINE_EV_DATA, "data with garbage options are taken");
	tap_is(engine_room(a.c), room, "MSS and scale of a later segment change nothing");
	app_free(&a);

	for (unsigned i = 0; i < 256; i++) { /* in the SYN: any two bytes, cut anywhere */
		a = app_at(false, 6004);
		for (unsigned j = 0; j < 40; j++)
			a.opt[j] = (uint8_t)(i * (j + 1) * 31 >> (j & 7));
		a.optlen = (i % 10 + 1) * 4;
		if (syn(&a) || seg(&a, A, NULL, 0) != (ENGINE_EV_OPEN | ENGINE_EV_ROOM))
			tap_ok(false, "SYN with garbage options %u", i);
		app_free(&a);
	}
	tap_ok(true, "SYNs with garbage options open connections");
}

static void keepalive(void)
{
	struct app a = connected(false, 6005);

	tap_is(seg_at(&a, A, a.seq - 1, NULL, 0), ENGINE_EV_KEEPALIVE, "a keepalive probe is told");
	tap_is(sent_count, 0, "and not answered");
	engine_ack(a.c);
	tap_ok(sent_count == 1 && last().ack == a.seq && !last().len, "until the caller says so");
	tap_is(seg_at(&a, A, a.seq - 1, "x", 1), ENGINE_EV_KEEPALIVE,
	       "one with a garbage byte, too");
	tap_is(engine_pending(a.c), 0, "the byte is not data");
	tap_is(seg_at(&a, A, a.seq - 2, NULL, 0), 0, "two before is none");
	for (int left = 262140; left > 0; left -= 43690) {
		static uint8_t full[43690];

		seg(&a, A, full, sizeof(full));
	}
	engine_settle();
	tap_is(seg_at(&a, A, a.seq - 1, NULL, 0), 0, "a probe of our closed window is none");
	app_free(&a);
}

int main(void)
{
	start_engine(true, 1500, 1 << 20);
	resets();
	sent_clear();
	syns();
	sent_clear();
	acks();
	sent_clear();
	options();
	sent_clear();
	keepalive();
	return finish();
}
