/* SPDX-License-Identifier: MIT */
/*
 * A held SYN is answered as a real server would, in both families.
 * LINK: stack/tcp_engine.o stack/engine_selftest.o stack/csum_lwip.o stack/csum.o stack/pktbuf.o
 * LINK: stack/sanitize.o stack/rxqueue.o src/base/hash.o src/base/addr.o src/base/util.o
 */
#include "harness.h"

static void shakes_hands(bool v6)
{
	const char *fam = v6 ? "IPv6" : "IPv4";
	struct app a = app_at(v6, 1000);
	uint8_t opt[] = {2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7};

	memcpy(a.opt, opt, sizeof(opt));
	a.optlen = sizeof(opt);
	sent_clear();
	tap_is(syn(&a), 0, "%s: the SYN is accepted", fam);
	tap_is(sent_count, 1, "%s: one packet answers", fam);
	tap_is(last().flags, S | A, "%s: it is a SYN-ACK", fam);
	tap_is(last().ack, a.seq, "%s: it acknowledges the SYN", fam);
	tap_is(last().mss_option, v6 ? 1440 : 1460, "%s: it offers the device's MSS", fam);
	tap_ok(last().wscale_option, "%s: it scales the window", fam);
	tap_is(engine_room(a.c), 0, "%s: no room before the handshake ends", fam);
	tap_is(engine_write(a.c, "x", 1), 0, "%s: nothing is taken before the handshake ends", fam);
	tap_is(seg(&a, A, NULL, 0), ENGINE_EV_OPEN | ENGINE_EV_ROOM, "%s: the ACK opens it", fam);
	tap_ok(engine_room(a.c) >= 1460, "%s: then there is room", fam);
	app_free(&a);
}

static void repeats_syn_ack(void)
{
	struct app a = app_at(false, 1001);
	uint32_t iss;

	syn(&a);
	iss = last().seq;
	sent_clear();
	tap_is(seg_at(&a, S, a.seq - 1, "early", 5), 0,
	       "a repeated SYN (with fast open data) is no event");
	tap_ok(sent_count == 1 && last().flags == (S | A) && last().seq == iss,
	       "it gets the same SYN-ACK");
	sent_clear();
	seg_at(&a, S, a.seq + 1000, NULL, 0);
	tap_ok(sent_count == 1 && last().flags == A, "another SYN gets a challenge ACK");
	tap_ok(seg(&a, A | P, "hello", 5) & ENGINE_EV_DATA, "data on the handshake's ACK arrive");
	tap_is(engine_pending(a.c), 5, "without the fast open data");
	app_free(&a);
}

static void loses_syn_ack(void)
{
	struct app a = app_at(false, 1002);

	syn(&a);
	sent_clear();
	ticks(&a, 14);
	tap_ok(sent_count == 1 && last().flags == (S | A), "the SYN-ACK is repeated after 3 s");
	ticks(&a, 100);
	tap_ok(a.ev & ENGINE_EV_RESET, "a program that never answers is given up");
	app_free(&a);
}

static void refuses_in_handshake(void)
{
	struct app a = app_at(false, 1003);

	syn(&a);
	tap_is(seg_at(&a, R, a.seq, NULL, 0), ENGINE_EV_RESET, "a RST ends the handshake");
	app_free(&a);
	a = app_at(false, 1004);
	syn(&a);
	a.ack += 7;
	sent_clear();
	seg_at(&a, A, a.seq, NULL, 0);
	tap_ok(last().flags & R && last().seq == a.ack, "a wrong ACK in the handshake gets a RST");
	app_free(&a);
}

static void ecn_syn(void)
{
	struct app a = app_at(false, 1005);
	struct pktbuf *b = pktbuf_get();
	struct packet p = build(&a, b, S | TCPF_ECE | TCPF_CWR, a.seq, NULL, 0);

	sent_clear();
	tap_is(engine_accept(&p, 0, &a.c), 0, "a SYN that offers ECN is accepted");
	tap_is(last().flags, S | A, "ECN is not agreed to");
	pktbuf_put(b);
	app_free(&a);
}

static void iss_differs(void)
{
	struct app a = app_at(false, 1006), b = app_at(false, 1007), c = app_at(false, 1006);
	uint32_t one, two;

	syn(&a);
	one = last().seq;
	syn(&b);
	two = last().seq;
	tap_ok(two - one > 1000000 && one - two > 1000000, "initial numbers are far apart");
	app_free(&a);
	syn(&c);
	tap_ok((int32_t)(last().seq - one) > 0, "the same tuple again gets a later number");
	app_free(&b);
	app_free(&c);
}

static void bad_addresses(void)
{
	static const uint8_t lo[4] = {127, 0, 0, 1};
	struct app a = app_at(false, 1008);

	a.me.addr = addr_from_v4(lo);
	tap_is(syn(&a), -EINVAL, "a loopback program address is refused");
}

int main(void)
{
	start_engine(true, 1500, 1 << 20);
	shakes_hands(false);
	shakes_hands(true);
	repeats_syn_ack();
	loses_syn_ack();
	refuses_in_handshake();
	ecn_syn();
	iss_differs();
	bad_addresses();
	return finish();
}
