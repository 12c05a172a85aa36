/* SPDX-License-Identifier: MIT */
/*
 * The program's window is honoured: zero, tiny, scaled, probed, reopened.
 * LINK: stack/tcp_engine.o stack/engine_selftest.o stack/csum_lwip.o stack/csum.o stack/pktbuf.o
 * LINK: stack/sanitize.o stack/rxqueue.o src/base/hash.o src/base/addr.o src/base/util.o
 */
#include "harness.h"

static uint8_t data[200000];

/** ack_all - the program acknowledges everything, announces @wnd */
static unsigned ack_all(struct app *a, uint16_t wnd)
{
	struct sent s = last();

	a->ack = s.seq + (uint32_t)s.len;
	a->wnd = wnd;
	return seg(a, A, NULL, 0);
}

static void zero_window(void)
{
	struct app a = connected(false, 3000);
	uint32_t edge;

	engine_write(a.c, data, 5000);
	ack_all(&a, 0);
	edge = a.ack;
	sent_clear();
	tap_is(engine_room(a.c), 1460, "one segment is taken to probe with");
	tap_is(engine_write(a.c, data, 5000), 1460, "and no more");
	tap_is(engine_room(a.c), 0, "then there is no room");
	tap_is(sent_count, 0, "nothing is sent into a closed window");
	ticks(&a, 12);
	tap_ok(sent_count >= 1 && last().len == 1 && last().seq == edge,
	       "it is probed with a byte");
	for (int i = 0; i < 200; i++) {
		ticks(&a, 4);
		seg_at(&a, A, a.seq, NULL, 0); /* still closed */
	}
	tap_ok(!(a.ev & ENGINE_EV_RESET), "a program that answers probes is not given up");
	tap_is(engine_room(a.c), 0, "it stays closed");
	sent_clear();
	a.wnd = 0xffff;
	tap_ok(seg_at(&a, A, a.seq, NULL, 0) & ENGINE_EV_ROOM,
	       "opening it is told, without a new ACK");
	tap_ok(sent_count == 1 && last().len == 1460, "what waited goes out at once");
	tap_ok(engine_room(a.c) > 60000, "and there is room");
	app_free(&a);
}

/* A receive buffer below one segment opens by less than a segment: no reason to wait. */
static void small_window_reopens(void)
{
	struct app a = connected_wnd(false, 3010, 1152, -1);
	size_t at = 0;

	at += (size_t)engine_write(a.c, data, 1152);
	ack_all(&a, 0);
	at += (size_t)engine_write(a.c, data + at, 5000);
	sent_clear();
	a.wnd = 1152;
	tap_ok(seg_at(&a, A, a.seq, NULL, 0) & ENGINE_EV_ROOM, "a small window opens");
	tap_is(sent_bytes(), at - 1152, "what waited fits into it and goes at once");
	at += (size_t)engine_write(a.c, data + at, 5000);
	tap_is(sent_bytes(), 1152, "and the rest of the window is used");
	app_free(&a);
}

static void probe_byte_is_taken(void)
{
	struct app a = connected_wnd(false, 3001, 0, 7);

	tap_is(engine_write(a.c, data, 1), 1, "a single byte waits before a closed window");
	ticks(&a, 12);
	tap_is(last().len, 1, "the probe carries it");
	a.ack = last().seq + 1;
	seg(&a, A, NULL, 0);
	tap_is(engine_unacked(a.c), 0, "the program takes it, the window stays closed");
	ticks(&a, 100);
	tap_ok(!(a.ev & ENGINE_EV_RESET), "time passes");
	a.wnd = 1000;
	tap_ok(seg(&a, A, NULL, 0) & ENGINE_EV_ROOM, "the window opens");
	app_free(&a);
}

static void fin_behind_waiting_data(void)
{
	struct app a = connected_wnd(false, 3002, 0, 7);
	uint32_t edge = a.ack;

	engine_write(a.c, data, 1000);
	engine_shutdown(a.c);
	tap_is(engine_write(a.c, data, 1), -EPIPE, "nothing is taken behind a FIN");
	sent_clear();
	a.wnd = 1; /* scaled: 128 bytes */
	seg_at(&a, A, a.seq, NULL, 0);
	for (int i = 0; i < 400 && !(last().flags & F); i++) {
		ticks(&a, 2);
		if (sent_count && last().len) {
			if (last().flags & F)
				break;
			a.ack = last().seq + (uint32_t)last().len;
			seg(&a, A, NULL, 0);
		}
	}
	tap_ok(last().flags & F, "the FIN comes at last");
	tap_is(last().seq + last().len - edge, 1000, "behind all data, not in front of some");
	app_free(&a);
}

static void tiny_window(uint16_t wnd)
{
	struct app a = connected_wnd(false, 3003, wnd, -1);
	size_t at = 0;
	unsigned over = 0;

	for (int i = 0; i < 5000 && at < 3000; i++) {
		ssize_t n = engine_write(a.c, data + at, MIN(engine_room(a.c), 3000 - at));

		if (n > 0)
			at += (size_t)n;
		over += n > wnd;
		ack_all(&a, wnd);
	}
	tap_is(at, 3000, "a window of %u carries all bytes", wnd);
	tap_is(over, 0, "and never more at once");
	app_free(&a);
	sent_clear();
}

static void scaled_window(void)
{
	struct app a = connected_wnd(false, 3004, 1, 14);

	tap_is(engine_room(a.c), 16384, "a window of 1 at scale 14 is 16384 bytes");
	tap_is(engine_write(a.c, data, 20000), 16384, "and takes as many");
	tap_is(engine_room(a.c), 0, "then it is full");
	app_free(&a);
	a = connected_wnd(false, 3005, 10000, -1);
	tap_is(engine_room(a.c), 10000, "without the option it is not scaled");
	app_free(&a);
}

static void silly_window(void)
{
	struct app a = connected_wnd(false, 3006, 5000, -1);

	engine_write(a.c, data, 4500);
	tap_is(engine_room(a.c), 0, "with data under way 500 bytes are no room");
	tap_ok(ack_all(&a, 5000) & ENGINE_EV_ROOM, "the ACK makes room");
	tap_is(engine_room(a.c), 5000, "all of it");
	app_free(&a);
}

static void send_buffer_bound(void)
{
	struct app a = app_at(false, 3007);

	handshake(&a, 1460, 14);
	for (int i = 0; i < 100; i++) { /* let the congestion window grow */
		engine_write(a.c, data, ENGINE_CHUNK);
		ack_all(&a, 0xffff);
	}
	while (engine_write(a.c, data, ENGINE_CHUNK) > 0)
		;
	tap_ok(engine_unacked(a.c) <= 1 << 19 && engine_unacked(a.c) > (1 << 19) - 1460,
	       "no more than the send buffer is under way");
	tap_ok(engine_memory() < 2 << 19, "memory is %zu", engine_memory());
	app_free(&a);
	tap_is(engine_memory(), 0, "all of it is given back");
}

static void small_mss(uint16_t mss, uint16_t want)
{
	struct app a = app_at(false, 3008);
	unsigned wrong = 0;

	handshake(&a, mss, 7);
	engine_write(a.c, data, 30000);
	for (unsigned i = 0; i < MIN(sent_count, (unsigned)SENT_MAX); i++)
		wrong += sent[i].len > want && sent[i].gso_size != want;
	tap_ok(sent_count && !wrong, "an MSS of %u is kept as %u", mss, want);
	app_free(&a);
	sent_clear();
}

int main(void)
{
	pattern(data, 0, sizeof(data));
	start_engine(true, 1500, 1 << 19);
	zero_window();
	small_window_reopens();
	probe_byte_is_taken();
	fin_behind_waiting_data();
	tiny_window(1);
	tiny_window(100);
	tiny_window(1459);
	scaled_window();
	silly_window();
	send_buffer_bound();
	small_mss(0, 536);
	small_mss(1, 48);
	small_mss(88, 88);
	small_mss(536, 536);
	small_mss(9000, 1460);
	return finish();
}
