/* SPDX-License-Identifier: MIT */
/*
 * timers: deadlines come in order, busy flows are not idle.
 * LINK: src/timers.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "timers.h"

#include <netinet/in.h>
#include <stdlib.h>

#include "base/util.h"
#include "../lib/tap.h"

#define SEC 1000000000ULL
#define N   500

static struct flow_rec recs[N];
static struct flow flows[N];

static const struct timers_config config = {
	.udp_idle = 300 * SEC,
	.dns_idle = 30 * SEC,
	.icmp_idle = 60 * SEC,
	.tcp_closing = 240 * SEC,
	.owner_wait = SEC,
};

static struct flow *fresh(unsigned i, uint8_t proto, uint16_t port, enum flow_state s)
{
	recs[i] = (struct flow_rec){.proto = proto, .net.port = port, .state = (uint8_t)s};
	flows[i] = (struct flow){.rec = &recs[i], .index = i};
	return &flows[i];
}

static void test_order(void)
{
	struct timers *t = timers_new(&config, N);
	uint64_t last = 0;
	unsigned n = 0, bad = 0;

	srandom(3);
	for (unsigned i = 0; i < N; i++)
		timers_set(t, fresh(i, IPPROTO_TCP, 1, FLOW_OPEN), 1 + (uint64_t)random() % 1000);
	for (unsigned i = 0; i < N; i += 3)
		timers_clear(t, &flows[i]);
	for (unsigned i = 1; i < N; i += 3)
		timers_set(t, &flows[i], 1 + (uint64_t)random() % 1000);
	for (uint64_t now = 0; now <= 1001; now++) {
		struct flow *f;
		uint64_t at = timers_next(t);

		while (at && at <= now) {
			f = timers_pop(t, now);
			bad += !f || f->index % 3 == 0 || at != now || at < last;
			bad += f && (f->timer_pos || f->deadline);
			last = at;
			n++;
			at = timers_next(t);
		}
		bad += timers_pop(t, now) != NULL;
	}
	tap_is(bad, 0, "deadlines come up in order, once, on time, cleared ones never");
	tap_is(n, N - (N + 2) / 3, "none is lost");
	tap_is(timers_next(t), 0, "an empty heap has no next");
	timers_clear(t, &flows[0]);
	tap_ok(true, "clearing what is not set does nothing");
	timers_free(t);
}

static void test_random(void)
{
	struct timers *t = timers_new(&config, N);
	uint64_t want[N] = {0};
	unsigned bad = 0;

	for (unsigned i = 0; i < N; i++)
		fresh(i, IPPROTO_TCP, 1, FLOW_OPEN);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (unsigned)random() % N;
		uint64_t min = UINT64_MAX;

		if (random() % 3) {
			want[i] = 1 + (uint64_t)random() % 100000;
			timers_set(t, &flows[i], want[i]);
		} else {
			want[i] = 0;
			timers_clear(t, &flows[i]);
		}
		for (unsigned k = 0; k < N; k++)
			if (want[k] && want[k] < min)
				min = want[k];
		bad += timers_next(t) != (min == UINT64_MAX ? 0 : min);
	}
	tap_is(bad, 0, "20,000 random moves agree with a model");
	timers_free(t);
}

static void check_idle(const char *what, struct flow *f, uint64_t idle)
{
	struct timers *t = timers_new(&config, N);
	unsigned moves = 0;
	uint64_t now;

	timers_datagram(t, f, SEC);
	tap_ok(timers_next(t) == SEC + idle, "%s: idle for %llu s", what,
	       (unsigned long long)(idle / SEC));
	for (now = SEC; now < SEC + 4 * idle; now += idle / 100)
		timers_datagram(t, f, now);
	now -= idle / 100;
	while (timers_next(t) <= now && moves++ < 10)
		if (timers_pop(t, timers_next(t)))
			tap_ok(false, "%s: was busy, and came up", what);
	tap_ok(moves <= 1, "%s: being busy moves the heap once, not at each datagram", what);
	tap_ok(!timers_pop(t, now + idle - 1), "%s: is kept until the last moment", what);
	tap_ok(timers_pop(t, now + idle) == f, "%s: goes when idle", what);
	tap_is(f->rec->last, now, "%s: the fact is noted", what);
	timers_free(t);
}

static void test_states(void)
{
	struct timers *t = timers_new(&config, N);
	struct flow *f = fresh(0, IPPROTO_UDP, 9, FLOW_NEW);

	timers_set(t, f, SEC);
	timers_datagram(t, f, SEC / 2);
	tap_ok(timers_next(t) == SEC, "a datagram does not touch the wait for the owner");
	tap_ok(timers_pop(t, SEC) == f, "which ends even when datagrams come");
	timers_set(t, f, SEC);
	f->rec->state = FLOW_OPEN;
	tap_ok(!timers_pop(t, SEC), "when the owner is known that deadline turns into idle time");
	tap_ok(timers_next(t) == SEC / 2 + config.udp_idle, "counted from the last datagram");
	f->rec->state = FLOW_CLOSING;
	timers_set(t, f, 2 * SEC);
	tap_ok(timers_pop(t, 2 * SEC) == f, "a closing flow's deadline is what it was set to");

	f = fresh(1, IPPROTO_TCP, 9, FLOW_OPEN);
	f->rec->last = 5 * SEC;
	timers_set(t, f, 3 * SEC);
	tap_ok(timers_pop(t, 3 * SEC) == f, "so is every deadline of TCP");
	timers_free(t);
}

int main(void)
{
	test_order();
	test_random();
	check_idle("udp", fresh(0, IPPROTO_UDP, 123, FLOW_OPEN), config.udp_idle);
	check_idle("udp port 53", fresh(0, IPPROTO_UDP, 53, FLOW_OPEN), config.dns_idle);
	check_idle("echo", fresh(0, IPPROTO_ICMP, 0, FLOW_OPEN), config.icmp_idle);
	check_idle("echo v6", fresh(0, IPPROTO_ICMPV6, 0, FLOW_OPEN), config.icmp_idle);
	test_states();
	return tap_done();
}
