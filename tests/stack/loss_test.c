/* SPDX-License-Identifier: MIT */
/*
 * Packets that the device refuses or loses are sent again.
 * LINK: stack/tcp_engine.o stack/engine_selftest.o stack/csum_lwip.o stack/csum.o stack/pktbuf.o
 * LINK: stack/sanitize.o stack/rxqueue.o src/base/hash.o src/base/addr.o src/base/util.o
 */
#include "harness.h"

static uint8_t data[200000], got[200000];

static void lost(void)
{
	struct app a = connected(false, 5000);
	uint32_t first = a.ack;
	size_t n;

	sink_loses = true;
	n = (size_t)engine_write(a.c, data, 100000);
	sink_loses = false;
	tap_is(n, 100000, "two large segments are taken, and lost");
	ticks(&a, 40);
	tap_ok(sent_count && sent[0].seq == first, "they are sent again from the first");
	for (int i = 0; i < 50 && engine_unacked(a.c); i++) {
		struct sent s = last();

		memcpy(got + (s.seq - first), s.data, s.len);
		a.ack = s.seq + (uint32_t)s.len;
		seg(&a, A, NULL, 0);
		ticks(&a, 4);
	}
	tap_is(engine_unacked(a.c), 0, "all is acknowledged in the end");
	tap_ok(!memcmp(got, data, n), "and right");
	app_free(&a);
}

static void fast_retransmit(void)
{
	struct app a = connected(false, 5001);
	uint32_t first = a.ack;

	sink_loses = true;
	engine_write(a.c, data, 1000);
	sink_loses = false;
	for (int i = 0; i < 4; i++)
		engine_write(a.c, data + 1000, 1000);
	sent_clear();
	for (int i = 0; i < 3; i++)
		seg_at(&a, A, a.seq, NULL, 0);
	tap_ok(sent_count == 1 && last().seq == first,
	       "three duplicate ACKs bring the lost one back");
	app_free(&a);
}

static void refused(void)
{
	struct app a = connected(false, 5002);
	uint32_t first = a.ack;

	sink_result = -EAGAIN;
	tap_is(engine_write(a.c, data, 3000), 3000, "data for a full device are taken");
	tap_is(engine_room(a.c), 0, "but then nothing more");
	ticks(&a, 2);
	sink_result = 0;
	tap_ok(ticks(&a, 2) & ENGINE_EV_ROOM, "when it takes packets again, room is told");
	tap_ok(sent_count == 1 && last().seq == first && last().len == 3000,
	       "and the data are out");
	sink_result = -EAGAIN;
	seg(&a, A | P, data, 100);
	take(&a, got, 100);
	sink_result = 0;
	sent_clear();
	ticks(&a, 2);
	tap_ok(sent_count >= 1 && last().ack == a.seq, "a refused ACK is sent later");
	app_free(&a);
}

static void refused_fin(void)
{
	struct app a = connected(false, 5003);

	sink_result = -EAGAIN;
	engine_write(a.c, data, 10);
	engine_shutdown(a.c);
	sink_result = 0;
	ticks(&a, 4);
	tap_ok(sent_count == 2 && !(sent[0].flags & F) && last().flags & F,
	       "data, then FIN, when the device recovers");
	app_free(&a);
}

static void gives_up(void)
{
	struct app a = connected(false, 5004);

	engine_write(a.c, data, 10);
	ticks(&a, 4 * 2600);
	tap_ok(a.ev & ENGINE_EV_RESET, "a program that never acknowledges is given up");
	tap_is(engine_memory(), 0, "and its data are freed");
	app_free(&a);
}

static void shrunk_window(void)
{
	struct app a = connected(true, 5005);
	uint32_t first = a.ack, have = 0, small = 0;
	unsigned seen = 0, wrong = 0;

	sink_loses = true;
	engine_write(a.c, data, 60000);
	sink_loses = false;
	a.wnd = 20; /* 2560 bytes: the lost segment does not fit any more */
	seg(&a, A | P, "x", 1);
	sent_clear();
	for (int i = 0; i < 2000 && have < 60000; i++) {
		ticks(&a, 1);
		for (; seen < sent_count; seen++) {
			struct sent *s = &sent[seen % SENT_MAX];

			if (!s->len || s->seq - first != have)
				continue;
			wrong += s->len > 1440 && s->gso_size != 1440;
			memcpy(got + have, s->data, s->len);
			have += (uint32_t)s->len;
			a.ack = first + have;
		}
		if (have > 5000)
			a.wnd = 0xffff;
		else
			small = MAX(small, (uint32_t)last().len);
		seg_at(&a, A, a.seq, NULL, 0);
	}
	tap_is(have, 60000, "a lost segment comes in parts when the window has shrunk");
	tap_ok(!memcmp(got, data, 60000), "and is right");
	tap_is(wrong, 0, "each packet keeps to the MSS");
	tap_is(small, 2560, "and to the window");
	app_free(&a);
}

int main(void)
{
	pattern(data, 0, sizeof(data));
	start_engine(true, 1500, 1 << 20);
	lost();
	sent_clear();
	fast_retransmit();
	sent_clear();
	refused();
	sent_clear();
	refused_fin();
	gives_up();
	sent_clear();
	shrunk_window();
	return finish();
}
