/* SPDX-License-Identifier: MIT */
/*
 * Bytes arrive in order, once, whatever the segments look like; both ways.
 * LINK: stack/tcp_engine.o stack/engine_selftest.o stack/csum_lwip.o stack/csum.o stack/pktbuf.o
 * LINK: stack/sanitize.o stack/rxqueue.o src/base/hash.o src/base/addr.o src/base/util.o
 */
#include "harness.h"

#define BIG 300000

static uint8_t want[BIG], got[BIG];

/** sends_up - 200 segments of odd sizes; every third is not consumed at once */
static void sends_up(bool v6)
{
	static const size_t sizes[] = {1, 1460, 17, 65000, 2, 4000, 33000, 1, 1};
	struct app a = connected(v6, 2000);
	size_t at = 0, have = 0, n, used;

	for (int i = 0; at + 65000 < BIG; i++) {
		n = sizes[(size_t)i % ARRAY_SIZE(sizes)];
		used = engine_pending(a.c);
		if (used + n > 60000)
			have += take(&a, got + have, BIG - have);
		seg(&a, A | P, want + at, n);
		at += n;
		if (i % 3)
			have += take(&a, got + have, BIG - have);
	}
	have += take(&a, got + have, BIG - have);
	tap_is(have, at, "IPv%d: all bytes arrive", v6 ? 6 : 4);
	tap_ok(!memcmp(got, want, at), "IPv%d: and are the right ones", v6 ? 6 : 4);
	engine_flush_acks();
	tap_is(last().ack, a.seq, "IPv%d: all is acknowledged", v6 ? 6 : 4);
	app_free(&a);
}

static void disorder(void)
{
	struct app a = connected(false, 2001);
	uint32_t s = a.seq;

	tap_is(seg_at(&a, A | P, s + 100, want + 100, 100), 0, "a segment ahead is no event");
	tap_ok(last().ack == s && sent_count == 1, "it gets an immediate ACK of what is there");
	tap_ok(seg_at(&a, A | P, s, want, 150) & ENGINE_EV_DATA, "the one before it arrives");
	seg_at(&a, A | P, s + 100, want + 100, 100);
	tap_is(engine_pending(a.c), 200, "an overlapping one adds only what is new");
	sent_clear();
	tap_is(seg_at(&a, A | P, s + 20, want + 20, 100), 0, "an old one adds nothing");
	tap_ok(last().ack == s + 200, "and is acknowledged again");
	tap_is(seg_at(&a, A | F, s + 201, NULL, 0), 0, "a FIN ahead of the data is no event");
	take(&a, got, BIG);
	tap_ok(!memcmp(got, want, 200), "the bytes are right");
	app_free(&a);
}

/** full - @window bytes are taken and no more, until they are read */
static void full(struct app *a, uint32_t window, unsigned scale)
{
	uint32_t s = a->seq;

	for (uint32_t at = 0; at < window - 25000; at += 20000)
		seg_at(a, A, s + at, want + at, 20000);
	tap_ok(seg_at(a, A | F, s + window - 25000, want + window - 25000, 30000) & ENGINE_EV_DATA,
	       "a segment past the window is taken as far as it fits");
	tap_is(engine_pending(a->c), window, "the window of %u is full", window);
	tap_ok(!(a->ev & ENGINE_EV_FIN), "its FIN is not taken");
	sent_clear();
	tap_is(seg_at(a, A, s + window, want, 1), 0, "against the full window nothing is taken");
	tap_ok(last().wnd == 0 && last().ack == s + window, "the ACK says so");
	tap_is(take(a, got, BIG), window, "all can be read");
	tap_ok(!memcmp(got, want, window), "and is right");
	tap_is(last().wnd, window >> scale, "reading opens the whole window");
	tap_ok(seg_at(a, A | F, s + window, want + window, 100) & ENGINE_EV_FIN,
	       "then the FIN comes");
	app_free(a);
}

static void overruns_the_window(void)
{
	struct app scaled = connected(false, 2002), plain = connected_wnd(true, 2012, 0xffff, -1);

	full(&scaled, 262140, 3);
	full(&plain, 65535, 0);
}

/** small_ones_do_not_wait - the relay has its bytes at once, and so has the program (no Nagle) */
static void small_ones_do_not_wait(void)
{
	struct app a = connected(false, 2013);

	sent_clear();
	tap_is(engine_write(a.c, want, 10), 10, "ten bytes are written");
	tap_is(sent_count, 1, "and sent");
	tap_is(engine_write(a.c, want + 10, 20), 20, "twenty more while nothing is acknowledged");
	tap_ok(sent_count == 2 && last().len == 20, "and sent as well");
	app_free(&a);
}

static void urgent_is_inline(void)
{
	struct app a = connected(false, 2003);

	seg(&a, A | P, "abc", 3);
	seg(&a, A | P | TCPF_URG, "!", 1);
	seg(&a, A | P, "def", 3);
	tap_is(take(&a, got, 10), 7, "urgent data are bytes like others");
	tap_ok(!memcmp(got, "abc!def", 7), "in their place");
	app_free(&a);
}

/** sends_down - to a program that acknowledges now and then */
static void sends_down(bool v6, bool by_ref, uint16_t mss)
{
	struct app a = app_at(v6, 2004);
	size_t at = 0, have = 0, n, room;
	unsigned largest = 0, seen = 0;
	struct pktbuf *b;
	ssize_t w;

	handshake(&a, mss, 7);
	while (have < BIG) {
		while (at < BIG && (room = engine_room(a.c))) {
			n = MIN(MIN(room, (size_t)BIG - at), (size_t)ENGINE_CHUNK);
			b = pktbuf_get();
			memcpy(b->data + 100, want + at, n);
			w = by_ref ? engine_write_buf(a.c, b, b->data + 100, n)
				   : engine_write(a.c, want + at, n);
			pktbuf_put(b);
			if (w <= 0)
				break;
			at += (size_t)w;
		}
		for (; seen < sent_count; seen++) {
			struct sent *s = &sent[seen % SENT_MAX];

			if (!s->len || s->seq != a.ack)
				continue;
			memcpy(got + have, s->data, s->len);
			have += s->len;
			a.ack += (uint32_t)s->len;
			largest = MAX(largest, (unsigned)s->len);
		}
		seg(&a, A, NULL, 0);
	}
	tap_is(have, BIG, "IPv%d %s mss %u: all bytes arrive", v6 ? 6 : 4, by_ref ? "ref" : "copy",
	       mss);
	tap_ok(!memcmp(got, want, BIG), "and are right");
	tap_is(engine_unacked(a.c), 0, "all is acknowledged");
	tap_ok(sink_gso ? largest > 60000 : largest == mss, "largest packet %u", largest);
	app_free(&a);
	sent_clear();
}

static void acks_once(void)
{
	struct app a = connected(false, 2005);

	seg(&a, A | P, want, 60000);
	tap_is(sent_count, 0, "no ACK before the bytes are consumed");
	take(&a, got, BIG);
	tap_is(sent_count, 1, "one when they are");
	seg(&a, A | P, want, 1);
	take(&a, got, BIG);
	tap_ok(sent_count == 1 && engine_acks_owed(), "that of a small segment may wait");
	seg(&a, A | P, want, 1);
	take(&a, got, BIG);
	tap_ok(sent_count == 2 && last().ack == a.seq,
	       "a second small one is acknowledged at once");
	tap_ok(!engine_acks_owed(), "and nothing is owed any more");
	seg(&a, A | P, want, 10);
	take(&a, got, BIG);
	engine_flush_acks();
	tap_ok(sent_count == 3 && last().ack == a.seq, "what is owed is sent when asked for");
	seg(&a, A | P, want, 10);
	take(&a, got, BIG);
	engine_write(a.c, "answer", 6);
	tap_ok(sent_count == 4 && last().ack == a.seq && last().len == 6, "or goes with data");
	tap_ok(!engine_acks_owed(), "not twice");
	a.ack += 6;
	seg(&a, A | P, want, 10);
	engine_settle();
	ticks(&a, 1);
	tap_ok(sent_count == 5 && last().ack == a.seq, "a tick sends it, too");
	app_free(&a);
}

static void small_segments_do_not_pin(void)
{
	struct app a = connected(false, 2006);
	size_t n = 0;

	for (; n < 5000; n++)
		seg(&a, A | P, want + n, 1);
	engine_settle();
	tap_is(engine_pending(a.c), 5000, "5000 segments of one byte wait");
	tap_ok(engine_memory() < 32768, "in %zu bytes of memory", engine_memory());
	tap_is(pktbuf_live(), 0, "and in no packet buffer");
	engine_consume(a.c, 1234);
	tap_is(take(&a, got, BIG), 5000 - 1234, "they can be read in parts");
	tap_ok(!memcmp(got, want + 1234, 5000 - 1234), "and are right");
	seg(&a, A | P, want, 40000);
	engine_settle();
	tap_is(pktbuf_live(), 1, "a large segment keeps its buffer");
	tap_is(engine_memory() / PKTBUF_SIZE, 1, "which is counted");
	app_free(&a);
}

int main(int argc, char **argv)
{
	(void)argv;
	pattern(want, 0, BIG);
	start_engine(argc < 2, 1500, 1 << 20);
	for (int v6 = 0; v6 < 2; v6++) {
		sends_up(v6);
		sends_down(v6, false, 1440);
		sends_down(v6, true, 1440);
	}
	sends_down(false, false, 536);
	disorder();
	overruns_the_window();
	small_ones_do_not_wait();
	urgent_is_inline();
	acks_once();
	small_segments_do_not_pin();
	sent_clear();
	engine_exit();
	start_engine(false, 1500, 1 << 20);
	sends_down(false, false, 1460);
	sends_down(true, true, 1440);
	sends_down(false, false, 88);
	return finish();
}
