/* SPDX-License-Identifier: MIT */
/*
 * Each allocation in a connection's life fails once: nothing breaks, nothing leaks.
 * LINK: stack/tcp_engine.o stack/engine_selftest.o stack/csum_lwip.o stack/csum.o stack/pktbuf.o
 * LINK: stack/sanitize.o stack/rxqueue.o src/base/hash.o src/base/addr.o src/base/util.o
 */
#ifdef __SANITIZE_ADDRESS__

#include "../lib/tap.h"

int main(void)
{
	tap_skip_all("the sanitizer has its own malloc");
	return 0;
}

#else

#include "harness.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);

static long fail_in; /* the how manieth allocation from now fails; 0 = none */

static bool fails(void)
{
	return fail_in > 0 && --fail_in == 0;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

static uint8_t up[70000], down[70000];

/** try_seg - as seg(), sent again until it is acknowledged */
static void try_seg(struct app *a, uint8_t flags, const void *data, size_t len)
{
	uint32_t seq = a->seq;
	uint32_t end = seq + (uint32_t)len + !!(flags & F);
	struct pktbuf *b;
	struct packet p;

	a->seq = end;
	for (int i = 0; i < 5 && !(sent_count && last().ack == end); i++) {
		b = pktbuf_get();
		if (!b)
			continue;
		p = build(a, b, flags, seq, data, len);
		a->ev |= engine_input(a->c, &p, b);
		pktbuf_put(b);
		engine_settle();
		ticks(a, 1);
	}
}

static bool half_open(struct app *a)
{
	struct pktbuf *b;
	struct packet p;

	for (int i = 0; i < 3 && !a->c; i++) {
		b = pktbuf_get();
		if (!b)
			continue;
		p = build(a, b, S, a->seq, NULL, 0);
		engine_accept(&p, 0, &a->c);
		pktbuf_put(b);
	}
	if (!a->c)
		return false;
	if (!sent_count)
		ticks(a, 20); /* the SYN-ACK could not be made */
	a->seq++;
	a->ack = last().seq + 1;
	return true;
}

/** life - handshake, bytes both ways, both closes; true when all came through */
static bool life(uint16_t port)
{
	struct app a = app_at(false, port);
	uint32_t edge;
	bool ok;

	sent_clear();
	if (!half_open(&a))
		return false;
	try_seg(&a, A, NULL, 0);
	edge = a.ack;
	try_seg(&a, A | P, up, 100);
	try_seg(&a, A | P, up + 100, 3000);
	try_seg(&a, A | P, up + 3100, 50000);
	ok = engine_pending(a.c) == 53100;
	for (int i = 0; i < 3 && engine_room(a.c) && engine_unacked(a.c) == 0; i++)
		engine_write(a.c, down, 40000);
	ok = ok && engine_unacked(a.c) == 40000;
	a.ack = edge + 40000;
	try_seg(&a, A | F, NULL, 0);
	engine_shutdown(a.c);
	ticks(&a, 12);
	a.ack++;
	a.seq--; /* the FIN's ACK carries data nobody reads: answered in any state */
	seg_at(&a, A, a.seq + 1, NULL, 0);
	ok = ok && a.ev & ENGINE_EV_FIN && a.ev & ENGINE_EV_CLOSED;
	app_free(&a);
	return ok;
}

int main(void)
{
	unsigned whole = 0;

	start_engine(true, 1500, 1 << 20);
	tap_ok(life(999), "the life is right when nothing fails");
	for (long n = 1; n <= 60; n++) {
		fail_in = n;
		whole += life((uint16_t)(1000 + n));
		fail_in = 0;
		pktbuf_drain();
		if (engine_memory() || pktbuf_live() || tcp_active_pcbs)
			tap_ok(false, "after failure %ld: %zu bytes, %u buffers", n,
			       engine_memory(), pktbuf_live());
	}
	tap_ok(whole >= 50, "%u of 60 connections get over a failure", whole);
	return finish();
}
#endif
