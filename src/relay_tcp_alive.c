/* SPDX-License-Identifier: MIT */
/*
 * The program's keepalive, carried over.
 *
 * lwIP would answer a keepalive probe by itself, and the program would never
 * learn that its peer is dead. So a probe is not answered when it comes:
 * it makes our kernel probe the real peer, and is answered when the peer has
 * acknowledged that. The program's own interval and count thus stay in force, and
 * its ETIMEDOUT comes when it would have come without us.
 *
 * The answer of the peer is seen in TCP_INFO (no event tells of it), looked at
 * after growing pauses while a probe is open.
 *
 * When our kernel gives a silent peer up first, the flow stays as a dead one:
 * its segments are swallowed, so that the program's kernel comes to the same
 * end on its own, and does not see a reset that nobody sent.
 */
#include "relay_tcp.h"

#include "base/clock.h"

/* A silent flow is forgotten when the program's kernel has been silent too for longer
 * than any retransmission pause (TCP_RTO_MAX, 120 s) or usual keepalive interval. */
#define DEAD_KEEP (15 * 60 * NSEC_PER_SEC)

/* Below this idle time the peer counts as alive: TCP_KEEPIDLE's unit is a second. */
#define FRESH_MS 1000

/* After this long nobody waits for the answer of this probe. */
#define PROBE_MAX_MS 10000

static void stop_probing(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	rt->probing = false;
	netsock_probe_end(rt->fd);
	timers_clear(r->timers, f);
}

void relay_tcp_probe(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	uint32_t idle;

	/* With its window closed a program probes the window, in the same form. */
	if (rt->closed || engine_pending(rt->conn) || netsock_last_ack(rt->fd, &idle) < 0 ||
	    idle < FRESH_MS) {
		engine_ack(rt->conn);
		return;
	}
	if (netsock_probe(rt->fd) < 0) {
		engine_ack(rt->conn);
		return;
	}
	rt->keepalive = true;
	rt->probing = true;
	rt->probe_start = r->now;
	timers_set(r->timers, f, r->now + NSEC_PER_MSEC);
}

void relay_tcp_probe_poll(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);
	uint64_t open_ms = (r->now - rt->probe_start) / NSEC_PER_MSEC;
	uint32_t idle;

	if (netsock_last_ack(rt->fd, &idle) == 0 && idle <= open_ms + FRESH_MS / 4) {
		engine_ack(rt->conn);
		stop_probing(r, f);
		return;
	}
	if (open_ms > PROBE_MAX_MS) {
		stop_probing(r, f);
		return;
	}
	timers_set(r->timers, f, r->now + NSEC_PER_MSEC + (r->now - rt->probe_start) / 4);
}

void relay_tcp_die(struct relay *r, struct flow *f)
{
	struct relay_tcp *rt = relay_tcp_of(f);

	rt->dead = true;
	rt->probing = false;
	netsock_close(&rt->fd);
	timers_set(r->timers, f, r->now + DEAD_KEEP);
}

void relay_tcp_dead_packet(struct relay *r, struct flow *f, const struct packet *p)
{
	if (!(p->tcp.flags & (TCPF_RST | TCPF_SYN))) {
		timers_set(r->timers, f, r->now + DEAD_KEEP);
		return;
	}
	relay_tcp_end(r, f, FLOW_ENDED_TIMEOUT);
	if (packet_is_tcp_syn(p))
		relay_tcp_packet(r, p, NULL);
}
