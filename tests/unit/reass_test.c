/* SPDX-License-Identifier: MIT */
/*
 * reass: order, duplicates, overlaps, bounds, time; and a random run against the
 * datagram that was cut.
 * LINK: stack/reass.o stack/pktbuf.o stack/csum.o src/packet.o src/base/addr.o src/base/hash.o
 * LINK: src/base/util.o
 */
#include "reass.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"
#include "base/clock.h"
#include "base/util.h"
#include "forge.h"

#define A4 "192.0.2.1"
#define B4 "198.51.100.2"
#define A6 "2001:db8::1"
#define B6 "2001:db8:1::2"

#define SEC NSEC_PER_SEC
#define MB  (1024UL * 1024)

static struct forged whole, piece;
static uint64_t evicted;

/** feed - cut @from..@to out of @whole and hand it in; a complete datagram is put in @d */
static int feed_at(struct reass *r, uint64_t now, uint32_t id, size_t from, size_t to, bool more,
		   struct reass_datagram *d)
{
	struct packet p;

	forge_frag(&piece, &whole, id, from, to, more);
	if (packet_parse(&p, piece.b, piece.len) != PACKET_OK)
		abort();
	return reass_add(r, &p, now, d, &evicted);
}

static int feed(struct reass *r, size_t from, size_t to, bool more)
{
	struct reass_datagram d;

	return feed_at(r, SEC, 77, from, to, more, &d);
}

/** same - is @d what was cut, with header fields as a whole packet has them? */
static bool same(const struct reass_datagram *d)
{
	struct packet p;

	if (packet_parse(&p, d->data, d->len) != PACKET_OK || p.is_frag)
		return false;
	return p.l4len == whole.len - whole.l4 &&
	       !memcmp(d->data + p.l4, whole.b + whole.l4, p.l4len);
}

static void finish(struct reass *r, const char *what, size_t from, size_t to, bool more)
{
	struct reass_datagram d;

	if (!tap_ok(feed_at(r, SEC, 77, from, to, more, &d) == REASS_WHOLE, "%s: whole", what))
		return;
	tap_ok(same(&d), "%s: as it was", what);
	pktbuf_put(d.buf);
}

static void test_order(const char *from, const char *to)
{
	struct reass *r = reass_new(MB, 30 * SEC);

	forge_udp(&whole, from, to, 4000);
	tap_is(feed(r, 0, 1480, true), REASS_HELD, "%s: first", from);
	tap_is(feed(r, 1480, 2960, true), REASS_HELD, "second");
	finish(r, "in order", 2960, 4008, false);
	feed(r, 2960, 4008, false);
	feed(r, 1480, 2960, true);
	finish(r, "backwards", 0, 1480, true);
	feed(r, 0, 1480, true);
	feed(r, 2960, 4008, false);
	finish(r, "the middle last", 1480, 2960, true);
	tap_is(reass_count(r), 0, "nothing waits");
	tap_is(pktbuf_live(), 0, "no buffer is out");
	reass_free(r);
}

static void test_duplicates(const char *from, const char *to)
{
	struct reass *r = reass_new(MB, 30 * SEC);

	forge_udp(&whole, from, to, 4000);
	for (int i = 0; i < 2; i++) {
		tap_is(feed(r, 0, 1480, true), REASS_HELD, "%s: first, time %d", from, i);
		tap_is(feed(r, 2960, 4008, false), REASS_HELD, "last, time %d", i);
	}
	finish(r, "with duplicates", 1480, 2960, true);
	reass_free(r);
}

/** test_conflict - @n fragments, the last of which makes the datagram void for good */
static void test_conflict(const char *what, const size_t (*cut)[3], int n)
{
	struct reass *r = reass_new(MB, 30 * SEC);

	for (int i = 0; i < n; i++)
		tap_is(feed(r, cut[i][0], cut[i][1], cut[i][2]),
		       i == n - 1 ? REASS_REFUSED : REASS_HELD, "%s: %zu..%zu", what, cut[i][0],
		       cut[i][1]);
	tap_is(feed(r, 8, 4008, false), REASS_REFUSED, "%s: void stays void", what);
	tap_is(pktbuf_live(), 0, "%s: its buffer is free", what);
	reass_free(r);
}

static void test_conflicts(const char *from, const char *to)
{
	static const size_t t[][4][3] = {
		{{0, 1480, 1}, {1472, 2960, 1}},
		{{1480, 2960, 1}, {0, 1488, 1}},
		{{1480, 2960, 1}, {8, 4008, 0}},
		{{0, 2960, 1}, {8, 16, 1}},
		{{0, 2960, 1}, {0, 16, 1}},
		{{0, 2960, 1}, {2952, 2960, 1}},
		{{0, 16, 1}, {16, 32, 1}, {0, 32, 1}},
		{{0, 16, 1}, {16, 32, 1}, {8, 24, 1}},
		{{2960, 4008, 0}, {2960, 4000, 0}}, /* two ends */
		{{2960, 4008, 0}, {2960, 4008, 1}}, /* the end is not the end */
		{{2960, 4008, 1}, {2960, 4008, 0}},
		{{0, 1480, 1}, {8, 1000, 0}}, /* an end before what is here */
		{{16, 21, 0}, {16, 24, 1}},
		{{16, 24, 1}, {16, 21, 0}},
		{{0, 16, 0 + 1}, {4000, 4008, 0}, {4008, 4016, 1}}, /* behind the end */
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		char what[64];
		int n = 0;

		while (n < 4 && t[i][n][1])
			n++;
		forge_udp(&whole, from, to, 5000);
		snprintf(what, sizeof(what), "%s conflict %zu", from, i);
		test_conflict(what, t[i], n);
	}
}

/** test_limits - the longest datagram, and one byte more than any header can say */
static void test_limits(void)
{
	struct reass *r = reass_new(MB, 30 * SEC);
	size_t at;

	forge_udp(&whole, A4, B4, 65507);
	for (at = 0; at + 1480 < 65515; at += 1480)
		feed(r, at, at + 1480, true);
	finish(r, "65507 bytes over IPv4", at, 65515, false);

	forge_udp(&whole, A6, B6, 65527);
	for (at = 0; at + 1448 < 65535; at += 1448)
		feed(r, at, at + 1448, true);
	finish(r, "65527 bytes over IPv6", at, 65535, false);

	forge_udp(&whole, A6, B6, 4000);
	for (at = 0; at < 4000; at += 8)
		feed(r, at, at + 8, true);
	finish(r, "501 fragments of 8 bytes", at, 4008, false);

	/* options only in the first fragment make header and payload too long together */
	forge_udp(&whole, A4, B4, 65507);
	for (at = 1480; at + 1480 < 65515; at += 1480)
		feed(r, at, at + 1480, true);
	feed(r, at, 65515, false);
	memmove(whole.b + 24, whole.b + 20, 1500);
	memset(whole.b + 20, 1, 4);
	whole.b[0] = 0x46;
	whole.l4 = 24;
	tap_is(feed(r, 0, 1480, true), REASS_REFUSED, "longer than 65535 with its options");
	tap_is(pktbuf_live(), 0, "no buffer is out");
	reass_free(r);
}

static void test_ecn(const char *from, const char *to)
{
	static const struct {
		int a, b, want;
	} t[] = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2},  {2, 3, 3},
		 {3, 1, 3}, {2, 1, 2}, {0, 3, -1}, {2, 0, -1}};
	struct reass *r = reass_new(MB, 30 * SEC);

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct reass_datagram d;
		struct packet p = {0};
		int rc;

		forge_udp(&whole, from, to, 2000);
		whole.b[1] = (uint8_t)(whole.v6 ? t[i].a << 4 : 0xb8 | t[i].a);
		feed_at(r, SEC, 1000 + (uint32_t)i, 0, 1480, true, &d);
		whole.b[1] = (uint8_t)(whole.v6 ? t[i].b << 4 : 0xb8 | t[i].b);
		rc = feed_at(r, SEC, 1000 + (uint32_t)i, 1480, 2008, false, &d);
		if (t[i].want < 0) {
			tap_is(rc, REASS_REFUSED, "%s: ECN %d with %d", from, t[i].a, t[i].b);
			continue;
		}
		tap_ok(rc == REASS_WHOLE && packet_parse(&p, d.data, d.len) == PACKET_OK &&
			       p.tos == ((whole.v6 ? 0 : 0xb8) | t[i].want),
		       "%s: ECN %d with %d is %d", from, t[i].a, t[i].b, t[i].want);
		if (rc == REASS_WHOLE)
			pktbuf_put(d.buf);
	}
	reass_free(r);
}

/** test_keys - datagrams that differ in one field do not mix */
static void test_keys(void)
{
	static const char *const from[] = {A4, "192.0.2.9", A4, A4, A6};
	static const char *const to[] = {B4, B4, "198.51.100.9", B4, B6};
	struct reass *r = reass_new(4 * MB, 30 * SEC);
	struct reass_datagram d;

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 5; i++) {
			forge_udp(&whole, from[i], to[i], 2000 + 8 * (size_t)i);
			if (i == 3)
				whole.b[9] = 99; /* another protocol */
			tap_is(feed_at(r, SEC, 5, round ? 1480 : 0,
				       round ? whole.len - whole.l4 : 1480, !round, &d),
			       round ? REASS_WHOLE : REASS_HELD, "datagram %d, part %d", i, round);
			if (round) {
				tap_ok(same(&d), "datagram %d as it was", i);
				pktbuf_put(d.buf);
			}
		}
	}
	reass_free(r);
}

static void test_bounds(void)
{
	struct reass *r = reass_new(MB, 30 * SEC);
	struct reass_datagram d;
	unsigned most = (unsigned)(MB / sizeof(struct pktbuf));

	evicted = 0;
	forge_udp(&whole, A4, B4, 2000);
	for (uint32_t id = 1; id <= 1000; id++)
		feed_at(r, id, id, 0, 1480, true, &d);
	tap_ok(reass_count(r) <= most && reass_count(r) >= most - 2, "%u of at most %u wait",
	       reass_count(r), most);
	tap_is(evicted, 1000 - reass_count(r), "the others were given up, and counted");
	tap_is(pktbuf_live(), reass_count(r), "one buffer each");
	tap_is(feed_at(r, 1001, 1000, 1480, 2008, false, &d), REASS_WHOLE, "the newest is here");
	pktbuf_put(d.buf);
	tap_is(feed_at(r, 1001, 1, 1480, 2008, false, &d), REASS_HELD, "the oldest is not");
	reass_free(r);
	tap_is(pktbuf_live(), 0, "all buffers are back");

	r = reass_new(0, 30 * SEC);
	feed(r, 0, 1480, true);
	finish(r, "a bound of nothing still takes one", 1480, 2008, false);
	reass_free(r);
}

static void test_time(const char *from, const char *to, uint64_t timeout)
{
	struct reass *r = reass_new(MB, 30 * SEC);
	struct reass_datagram d;
	struct reass_expired e;

	tap_is(reass_next(r), 0, "%s: nothing waits", from);
	forge_udp(&whole, from, to, 4000);
	feed_at(r, 5 * SEC, 1, 0, 1480, true, &d);
	feed_at(r, 6 * SEC, 2, 1480, 2960, true, &d);
	feed_at(r, 7 * SEC, 1, 1480, 2960, true, &d);
	feed_at(r, 8 * SEC, 3, 0, 1480, true, &d);
	feed_at(r, 8 * SEC, 3, 8, 1480, true, &d);
	tap_is(reass_next(r), 5 * SEC + timeout, "counted from the first that came");
	tap_ok(!reass_expire(r, 5 * SEC + timeout - 1, &e), "not yet");
	tap_ok(reass_expire(r, 9 * SEC + timeout, &e) && e.first,
	       "the oldest, first fragment here");
	forge_frag(&piece, &whole, 1, 0, 1480, true);
	tap_ok(e.packet.len == REASS_QUOTE_MAX && !memcmp(e.data, piece.b, REASS_QUOTE_MAX),
	       "quoted as it came");
	tap_ok(e.packet.is_frag && !e.packet.frag_off && e.packet.l4 == piece.l4 &&
		       e.packet.proto == IPPROTO_UDP,
	       "and described");
	tap_ok(reass_expire(r, 9 * SEC + timeout, &e) && !e.first, "the next, first fragment lost");
	tap_ok(!reass_expire(r, 9 * SEC + timeout, &e), "the void one ends without a word");
	tap_is(reass_count(r), 0, "nothing waits");
	tap_is(pktbuf_live(), 0, "no buffer is out");
	reass_free(r);
}

/** test_random - cut, shuffle, duplicate; every datagram comes out once, as it was */
static void test_random(void)
{
	struct reass *r = reass_new(MB, 30 * SEC);
	int bad = 0, rounds = 400;

	srand(7);
	for (int i = 0; i < rounds; i++) {
		size_t cut[64][2], n = 0, at = 0, len = 1 + (size_t)rand() % 20000;
		struct reass_datagram d;
		int done = 0;

		forge_udp(&whole, i % 2 ? A6 : A4, i % 2 ? B6 : B4, len);
		len += 8;
		while (at < len && n < 63) {
			size_t step = (1 + (size_t)rand() % 250) * 8;

			cut[n][0] = at;
			at = MIN(at + step, len);
			cut[n++][1] = at;
		}
		if (at < len)
			cut[n][0] = at, cut[n++][1] = len;
		for (size_t k = n - 1; k; k--) {
			size_t j = (size_t)rand() % (k + 1), a = cut[k][0], b = cut[k][1];

			cut[k][0] = cut[j][0], cut[k][1] = cut[j][1];
			cut[j][0] = a, cut[j][1] = b;
		}
		if (n == 1)
			continue;
		for (size_t k = 0; k < n; k++) {
			if (k && rand() % 4 == 0) {
				size_t j = (size_t)rand() % k;

				bad += feed_at(r, SEC, (uint32_t)i, cut[j][0], cut[j][1],
					       cut[j][1] != len, &d) != REASS_HELD;
			}
			if (feed_at(r, SEC, (uint32_t)i, cut[k][0], cut[k][1], cut[k][1] != len,
				    &d) != REASS_WHOLE)
				continue;
			done += same(&d) && k == n - 1;
			pktbuf_put(d.buf);
		}
		bad += done != 1;
	}
	tap_is(bad, 0, "%d random datagrams", rounds);
	tap_is(reass_count(r), 0, "nothing is left");
	reass_free(r);
}

/** test_long_chain - IPv6 headers before the fragment header: kept, or too long */
static void test_long_chain(void)
{
	static const uint8_t dest[24] = {0, 2, 1, 20};
	struct reass *r = reass_new(MB, 30 * SEC);

	forge_udp(&whole, A6, B6, 2000);
	for (int i = 0; i < 2; i++) {
		static struct forged ext;
		struct reass_datagram d;
		struct packet p;

		for (int part = 0; part < 2; part++) {
			forge_frag(&ext, &whole, 9, part ? 1480 : 0, part ? 2008 : 1480, !part);
			for (int n = 0; n <= i; n++)
				forge_ext(&ext, IPPROTO_DSTOPTS, dest, sizeof(dest));
			if (packet_parse(&p, ext.b, ext.len) != PACKET_OK)
				abort();
			tap_is(reass_add(r, &p, SEC, &d, &evicted),
			       i      ? REASS_REFUSED
			       : part ? REASS_WHOLE
				      : REASS_HELD,
			       "%d bytes of extension headers, part %d", 24 * (i + 1), part);
		}
		if (!i) {
			tap_ok(packet_parse(&p, d.data, d.len) == PACKET_OK && p.l4 == 64 &&
				       p.l4len == 2008,
			       "the chain is closed where the fragment header was");
			pktbuf_put(d.buf);
		}
	}
	reass_free(r);
}

int main(void)
{
	test_order(A4, B4);
	test_order(A6, B6);
	test_duplicates(A4, B4);
	test_duplicates(A6, B6);
	test_conflicts(A4, B4);
	test_conflicts(A6, B6);
	test_limits();
	test_ecn(A4, B4);
	test_ecn(A6, B6);
	test_keys();
	test_bounds();
	test_time(A4, B4, 30 * SEC);
	test_time(A6, B6, 60 * SEC);
	test_random();
	test_long_chain();
	tap_is(pktbuf_live(), 0, "no buffer is out");
	pktbuf_drain();
	return tap_done();
}
