/* SPDX-License-Identifier: MIT */
/*
 * Both halves close in every order, and what was not read stays readable.
 * LINK: stack/tcp_engine.o stack/engine_selftest.o stack/csum_lwip.o stack/csum.o stack/pktbuf.o
 * LINK: stack/sanitize.o stack/rxqueue.o src/base/hash.o src/base/addr.o src/base/util.o
 */
#include "harness.h"

static uint8_t buf[70000];

static void ack_fin(struct app *a)
{
	a->ack = last().seq + (uint32_t)last().len + 1;
}

static void program_first(void)
{
	struct app a = connected(false, 4000);

	tap_ok(seg(&a, A | P | F, "bye", 3) == (ENGINE_EV_DATA | ENGINE_EV_FIN),
	       "data and FIN are told");
	engine_flush_acks();
	tap_is(last().ack, a.seq, "the FIN is acknowledged");
	tap_is(engine_write(a.c, "still here", 10), 10, "the other half still carries data");
	a.ack += 10;
	seg(&a, A, NULL, 0);
	tap_is(seg_at(&a, A, a.seq, "more", 4), 0, "data behind the FIN are ignored");
	engine_shutdown(a.c);
	tap_ok(last().flags & F, "our FIN goes out");
	ack_fin(&a);
	tap_is(seg(&a, A, NULL, 0) & ENGINE_EV_CLOSED, ENGINE_EV_CLOSED, "its ACK closes");
	tap_is(engine_pending(a.c), 3, "unread bytes are still there");
	tap_ok(take(&a, buf, 9) == 3 && !memcmp(buf, "bye", 3), "and can be read");
	app_free(&a);
}

static void weir_first(void)
{
	struct app a = connected(true, 4001);

	engine_write(a.c, "last words", 10);
	engine_shutdown(a.c);
	tap_ok(last().flags & F, "the FIN goes out");
	tap_is(engine_unacked(a.c), 10, "the FIN is no byte");
	ack_fin(&a);
	tap_is(seg(&a, A, NULL, 0) & ENGINE_EV_CLOSED, 0, "its ACK is not the end");
	tap_is(engine_unacked(a.c), 0, "all is acknowledged");
	for (int i = 0; i < 3; i++) {
		ticks(&a, 400);
		tap_ok(seg(&a, A | P, buf, 1000) & ENGINE_EV_DATA, "the program goes on sending");
	}
	tap_is(take(&a, buf, sizeof(buf)), 3000, "all arrives");
	engine_flush_acks();
	tap_is(last().ack, a.seq, "and is acknowledged");
	tap_is(seg(&a, A | F, "x", 1), ENGINE_EV_DATA | ENGINE_EV_FIN | ENGINE_EV_CLOSED,
	       "its FIN is the end");
	tap_is(last().ack, a.seq, "which is acknowledged");
	tap_is(take(&a, buf, 9), 1, "the last byte can be read");
	app_free(&a);
}

static void both_at_once(void)
{
	struct app a = connected(false, 4002);

	engine_shutdown(a.c);
	tap_is(seg(&a, A | F, NULL, 0), ENGINE_EV_FIN, "FINs cross");
	tap_is(last().ack, a.seq, "the program's is acknowledged");
	ack_fin(&a);
	a.ack = sent[0].seq + 1;
	tap_is(seg(&a, A, NULL, 0) & ENGINE_EV_CLOSED, ENGINE_EV_CLOSED, "the ACK of ours closes");
	app_free(&a);
}

static void fin_again(void)
{
	struct app a = connected(false, 4003);

	seg(&a, A | F, NULL, 0);
	sent_clear();
	tap_is(seg_at(&a, A | F, a.seq - 1, NULL, 0), 0, "the FIN again is no event");
	tap_ok(sent_count == 1 && last().ack == a.seq, "but acknowledged again");
	engine_shutdown(a.c);
	sent_clear();
	ticks(&a, 20);
	tap_ok(sent_count >= 1 && last().flags & F, "our FIN is repeated until acknowledged");
	ack_fin(&a);
	tap_ok(seg(&a, A, NULL, 0) & ENGINE_EV_CLOSED, "then it ends");
	app_free(&a);
}

static void program_resets(void)
{
	struct app a = connected(false, 4004);

	seg(&a, A | P, "unread", 6);
	tap_is(seg(&a, R, NULL, 0), ENGINE_EV_RESET, "a RST is told");
	tap_is(engine_pending(a.c), 0, "unread bytes are gone");
	tap_is(seg(&a, A | P, "more", 4), 0, "later segments are nothing");
	tap_is(engine_write(a.c, "x", 1), -EPIPE, "writing fails");
	engine_consume(a.c, 0);
	engine_shutdown(a.c);
	engine_abort(a.c);
	app_free(&a);
}

static void weir_resets(void)
{
	struct app a = connected(false, 4005);
	uint32_t edge = a.ack;

	seg(&a, A | P, "unread", 6);
	engine_write(a.c, buf, 3000);
	engine_abort(a.c);
	tap_ok(last().flags & R && last().seq == edge + 3000, "an abort is a RST behind all data");
	tap_is(last().ack, a.seq, "that acknowledges");
	app_free(&a);

	a = connected_wnd(false, 4006, 0, 7);
	edge = a.ack;
	engine_write(a.c, buf, 100);
	ticks(&a, 12);
	engine_abort(a.c);
	tap_ok(last().flags & R && last().seq == edge,
	       "with a closed window it has the window's number");
	app_free(&a);
}

static void silent_end(void)
{
	struct app a = connected(false, 4007);

	seg(&a, A | P, "unacknowledged", 14);
	sent_clear();
	app_free(&a);
	tap_is(sent_count, 0, "freeing a live connection says nothing");
}

static void shutdown_in_handshake(void)
{
	struct app a = app_at(false, 4008);

	syn(&a);
	engine_shutdown(a.c);
	sent_clear();
	tap_ok(seg(&a, A, NULL, 0) & ENGINE_EV_OPEN,
	       "a shutdown before the handshake's end lets it end");
	tap_ok(last().flags & F, "and then sends the FIN");
	app_free(&a);
}

static void never_answered_fin(void)
{
	struct app a = connected(false, 4009);

	seg(&a, A | F, NULL, 0);
	engine_shutdown(a.c);
	ticks(&a, 4 * 600);
	tap_ok(a.ev & ENGINE_EV_RESET, "a program that never acknowledges our FIN is given up");
	app_free(&a);
}

int main(void)
{
	start_engine(true, 1500, 1 << 20);
	program_first();
	weir_first();
	both_at_once();
	fin_again();
	program_resets();
	weir_resets();
	silent_end();
	shutdown_in_handshake();
	never_answered_fin();
	return finish();
}
