/* SPDX-License-Identifier: MIT */
/*
 * Opening towards a program: the SYN, and what may answer it.
 * LINK: stack/tcp_engine.o stack/engine_selftest.o stack/csum_lwip.o stack/csum.o stack/pktbuf.o
 * LINK: stack/sanitize.o stack/rxqueue.o src/base/hash.o src/base/addr.o src/base/util.o
 */
#include "harness.h"

/** dial - a->c gets a connection whose SYN is sent; returns engine_connect()'s result */
static int dial(struct app *a, bool v6, uint16_t port)
{
	int err;

	*a = app_at(v6, port);
	sent_clear();
	err = engine_connect(&a->me, &a->peer, (uintptr_t)a, &a->c);
	a->ack = last().seq + 1;
	return err;
}

/** answer - the SYN-ACK with MSS @mss and, unless @scale < 0, a window scale option */
static unsigned answer(struct app *a, uint16_t mss, int scale)
{
	uint8_t opt[8] = {2, 4, (uint8_t)(mss >> 8), (uint8_t)mss, 1, 3, 3, (uint8_t)scale};
	unsigned ev;

	memcpy(a->opt, opt, sizeof(opt));
	a->optlen = scale < 0 ? 4 : 8;
	ev = seg_at(a, S | A, a->seq++, NULL, 0);
	a->optlen = 0;
	return ev;
}

static void shakes_hands(bool v6)
{
	const char *fam = v6 ? "IPv6" : "IPv4";
	uint8_t data[5000];
	struct app a;

	tap_is(dial(&a, v6, 2000), 0, "%s: a connection is opened", fam);
	tap_is(sent_count, 1, "%s: one packet leaves", fam);
	tap_is(last().flags, S, "%s: it is a SYN", fam);
	tap_is(last().mss_option, v6 ? 1440 : 1460, "%s: it offers the device's MSS", fam);
	tap_ok(last().wscale_option && last().wnd == 65535, "%s: it offers a scaled window", fam);
	tap_is(engine_room(a.c), 0, "%s: no room before the answer", fam);
	tap_is(engine_write(a.c, "x", 1), 0, "%s: nothing is taken before the answer", fam);
	sent_clear();
	tap_is(answer(&a, 1000, 7), ENGINE_EV_OPEN | ENGINE_EV_ROOM, "%s: the SYN-ACK opens it",
	       fam);
	tap_ok(sent_count == 1 && last().flags == A && last().ack == a.seq && last().seq == a.ack,
	       "%s: it is acknowledged at once", fam);
	tap_is(last().wnd, 65535 * 4 >> 3, "%s: with the whole window", fam);
	sent_clear();
	tap_is(engine_write(a.c, data, sizeof(data)), sizeof(data), "%s: bytes are taken", fam);
	tap_ok(sent_bytes() == sizeof(data) && last().gso_size == 1000,
	       "%s: and leave at once, in the segments that the program asked for", fam);
	a.ack += sizeof(data);
	tap_ok(seg(&a, A | P, "hello", 5) & ENGINE_EV_DATA, "%s: bytes arrive", fam);
	tap_is(engine_unacked(a.c), 0, "%s: and acknowledge what was written", fam);
	app_free(&a);
}

static void closes(void)
{
	struct app a;

	dial(&a, false, 2001);
	answer(&a, 1460, 7);
	sent_clear();
	engine_shutdown(a.c);
	tap_ok(last().flags & F, "a FIN goes out");
	a.ack++;
	tap_is(seg(&a, A, NULL, 0) & ENGINE_EV_CLOSED, 0, "half closed is not closed");
	tap_ok(seg(&a, A | F, NULL, 0) & ENGINE_EV_CLOSED, "both FINs close");
	app_free(&a);
}

/** early_fin - the client has closed its half before the program answers */
static void early_fin(void)
{
	struct app a;

	dial(&a, false, 2002);
	sent_clear();
	engine_shutdown(a.c);
	tap_is(sent_count, 0, "a FIN waits for the SYN-ACK");
	answer(&a, 1460, 7);
	tap_ok(last().flags == (F | A), "and follows it");
	app_free(&a);
}

static void without_options(void)
{
	struct app a;

	dial(&a, false, 2003);
	tap_ok(seg_at(&a, S | A, a.seq++, "early", 5) & ENGINE_EV_OPEN,
	       "a SYN-ACK without options");
	tap_is(engine_pending(a.c), 0, "its data are left for later");
	tap_is(last().wnd, 65535, "no scale was agreed on");
	tap_ok(seg(&a, A, "early", 5) & ENGINE_EV_DATA, "when they come again");
	app_free(&a);
	dial(&a, false, 2004);
	answer(&a, 1, -1);
	tap_ok(engine_room(a.c) >= 48, "an MSS of 1 is not believed");
	app_free(&a);
}

static void refused(void)
{
	struct app a;

	dial(&a, false, 2005);
	a.ack++;
	tap_is(seg_at(&a, R | A, 0, NULL, 0), 0,
	       "a RST that acknowledges something else is not ours");
	a.ack--;
	tap_is(seg_at(&a, R, a.seq, NULL, 0), 0, "nor is one that acknowledges nothing");
	sent_clear();
	tap_is(seg_at(&a, R | A, 0, NULL, 0), ENGINE_EV_RESET, "the right one refuses");
	tap_is(sent_count, 0, "and is not answered");
	tap_is(seg_at(&a, S | A, 0, NULL, 0), 0, "nothing comes after it");
	app_free(&a);
}

static void strange_answers(void)
{
	struct app a;

	dial(&a, false, 2006);
	sent_clear();
	tap_is(seg_at(&a, S, a.seq, NULL, 0), 0, "a SYN for our SYN is no event");
	tap_is(seg_at(&a, A, a.seq, "data", 4), 0, "an ACK of our SYN alone is no answer");
	tap_is(sent_count, 0, "neither is answered");
	a.ack += 1000;
	tap_is(seg_at(&a, A, a.seq, NULL, 0), 0, "the ACK of an older connection is no event");
	a.ack -= 1000;
	tap_ok(sent_count == 2 && sent[0].flags & R && sent[0].seq == a.ack + 1000,
	       "it is reset with its own number");
	tap_ok(last().flags == S && last().seq == a.ack - 1, "and the SYN goes out again");
	tap_ok(answer(&a, 1460, 7) & ENGINE_EV_OPEN, "then it opens");
	app_free(&a);
}

static void unanswered(void)
{
	struct app a;

	dial(&a, true, 2007);
	sent_clear();
	ticks(&a, 14);
	tap_ok(sent_count == 1 && last().flags == S && last().seq == a.ack - 1,
	       "the SYN is repeated after 3 s");
	ticks(&a, 40);
	tap_ok(sent_count == 4 && !a.ev, "and every 3 s");
	ticks(&a, 60);
	tap_is(a.ev, ENGINE_EV_RESET | ENGINE_EV_SILENT, "then silence is the answer");
	app_free(&a);
	dial(&a, false, 2008);
	sent_clear();
	engine_abort(a.c);
	tap_is(sent_count, 0, "given up, it leaves without a word");
	app_free(&a);
}

static void sink_full(void)
{
	struct app a;

	sink_result = -EAGAIN;
	tap_is(dial(&a, false, 2009), 0, "a full device does not fail the call");
	sink_result = 0;
	ticks(&a, 14);
	tap_ok(sent_count >= 1 && last().flags == S, "the SYN leaves later");
	a.ack = last().seq + 1;
	tap_ok(answer(&a, 1460, 7) & ENGINE_EV_OPEN, "and opens the connection");
	app_free(&a);
}

static void impossible(void)
{
	struct app a = app_at(false, 2010), six = app_at(true, 2010);
	uint8_t loop[4] = {127, 0, 0, 1};

	tap_is(engine_connect(&a.me, &six.peer, 0, &a.c), -EINVAL, "two families");
	a.peer.addr = addr_from_v4(loop);
	tap_is(engine_connect(&a.me, &a.peer, 0, &a.c), -EINVAL, "a peer on loopback");
	a.peer = six.peer;
	six.peer.port = 0;
	tap_is(engine_connect(&six.me, &six.peer, 0, &a.c), -EINVAL, "port 0");
}

static void two_at_once(void)
{
	struct app a, b;

	dial(&a, false, 2011);
	dial(&b, false, 2012);
	tap_ok(answer(&b, 1460, 7) & ENGINE_EV_OPEN, "of two the second is answered first");
	tap_ok(answer(&a, 1460, 7) & ENGINE_EV_OPEN, "then the first");
	tap_ok(seg(&a, A | P, "a", 1) & ENGINE_EV_DATA && engine_pending(b.c) == 0,
	       "they do not mix");
	app_free(&a);
	app_free(&b);
}

int main(void)
{
	start_engine(true, 1500, 1 << 20);
	shakes_hands(false);
	shakes_hands(true);
	closes();
	early_fin();
	without_options();
	refused();
	strange_answers();
	unanswered();
	sink_full();
	impossible();
	two_at_once();
	return finish();
}
