/* SPDX-License-Identifier: MIT */
/*
 * Ten thousand connections: bounded memory, and no call gets slower.
 * LINK: stack/tcp_engine.o stack/engine_selftest.o stack/csum_lwip.o stack/csum.o stack/pktbuf.o
 * LINK: stack/sanitize.o stack/rxqueue.o src/base/hash.o src/base/addr.o src/base/util.o
 */
#include "harness.h"

#include <malloc.h>
#include <time.h>

#define CONNS 10000

static struct app *apps;

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/** round_us - CPU time per segment with @n connections in turn; best of five */
static double round_us(unsigned n)
{
	static uint8_t data[100];
	double best = 1e9, t;

	for (int r = 0; r < 5; r++) {
		t = now_us();
		for (unsigned i = 0; i < 20000; i++) {
			struct app *a = &apps[i * 7919 % n];

			seg(a, A | P, data, sizeof(data));
			engine_consume(a->c, sizeof(data));
			sent_clear();
		}
		best = MIN(best, (now_us() - t) / 20000);
	}
	return best;
}

int main(void)
{
	size_t before, each;
	double few, many, t;

	apps = calloc(CONNS, sizeof(*apps));
	start_engine(true, 1500, 1 << 20);
	before = mallinfo2().uordblks;
	for (unsigned i = 0; i < CONNS; i++)
		apps[i] = connected(i & 1, (uint16_t)(2000 + i));
	each = (mallinfo2().uordblks - before) / CONNS;
	tap_ok(each <= 640, "an idle connection takes %zu bytes", each);
	tap_is(engine_memory(), 0, "and no queue memory");
	few = round_us(10);
	many = round_us(CONNS);
	/* ten: a scan of a list this long would cost hundreds of times as much */
	tap_ok(many < 10 * few + 1, "a segment costs %.2f us among 10 connections, %.2f among %d",
	       few, many, CONNS);
	t = now_us();
	engine_tick();
	engine_tick();
	tap_ok(now_us() - t < 50000, "two ticks take %.0f us", now_us() - t);
	for (unsigned i = 0; i < CONNS; i++)
		app_free(&apps[i]);
	free(apps);
	return finish();
}
