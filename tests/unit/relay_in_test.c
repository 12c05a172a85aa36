/* SPDX-License-Identifier: MIT */
/*
 * relay_in: who comes in, and by which port a peer is known inside. Sockets and the TCP relay are
 * fakes; the flow table is real.
 * LINK: src/relay_in.o src/flow.o src/dest.o src/base/addr.o src/base/hash.o src/base/log.o
 * LINK: src/base/util.o src/base/clock.o
 */
#include "relay_in.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"

/* --- fakes ---------------------------------------------------------------------------------- */

static struct addrport waiting_peer, waiting_local;
static bool waiting;
static unsigned resets, accepted;
static struct relay_peer last;
static struct flow *flow;

int netsock_accept(int fd, struct addrport *peer, struct addrport *local)
{
	(void)fd;
	if (!waiting)
		return -EAGAIN;
	waiting = false;
	*peer = waiting_peer;
	if (local)
		*local = waiting_local;
	return 50;
}

void netsock_reset(int *fd)
{
	*fd = -1;
	resets++;
}

void netsock_close(int *fd)
{
	*fd = -1;
}

int netsock_listen_watch(struct netsock_set *s, int fd, uint64_t token)
{
	(void)s, (void)fd, (void)token;
	return 0;
}

int netsock_dgram_rearm(struct netsock_set *s, int fd, uint64_t token, bool out)
{
	(void)s, (void)fd, (void)token, (void)out;
	return 0;
}

int64_t relay_udp_publish(struct relay *r, const struct addrport *app, uint16_t host_port,
			  bool private, int fd)
{
	(void)r, (void)app, (void)host_port, (void)private, (void)fd;
	return -ENOTSUP;
}

void relay_udp_unpublish(struct relay *r, uint64_t token)
{
	(void)r, (void)token;
}

/* as relay_flow_new_in() counts */
void relay_tcp_accepted(struct relay *r, const struct relay_peer *p, int fd)
{
	(void)fd;
	last = *p;
	accepted++;
	flow = flow_new(r->flows, IPPROTO_TCP, &p->app, &p->net, r->now, r->wall);
	if (!flow)
		abort();
	flow_set_inbound(flow, p->host_port, p->client.port);
	if (!p->host_port)
		r->steered_from[p->client.port]++;
}

/* --- a worker ------------------------------------------------------------------------------- */

static struct config cfg = {.max_flows = 4096};
static struct relay r;

static void setup(void)
{
	const struct flow_table_config fc = {.max_flows = cfg.max_flows};

	memset(&r, 0, sizeof(r));
	r.cfg = &cfg;
	r.flows = flow_table_new(&fc);
	r.now = r.wall = 1000;
	resets = accepted = 0;
	if (!r.flows || relay_in_init(&r))
		abort();
}

static void teardown(void)
{
	relay_in_exit(&r);
	flow_table_free(r.flows);
}

static struct addrport at(const char *addr, uint16_t port)
{
	struct addrport a = {.port = port};

	if (addr_parse(addr, &a.addr))
		abort();
	return a;
}

static int add(struct listener l)
{
	return relay_in_add(&r, &l, 40);
}

/** came - a connection is accepted at listener 1; the port by which its peer is known, 0: reset */
static unsigned came(const char *peer, uint16_t peer_port, const char *local, uint16_t port)
{
	const unsigned before = accepted;

	waiting_peer = at(peer, peer_port);
	waiting_local = at(local, port);
	waiting = true;
	relay_in_event(&r, netsock_token(NETSOCK_LISTEN, 0, 1));
	return accepted == before ? 0 : last.net.port;
}

static void published(void)
{
	setup();
	tap_ok(!add((struct listener){.id = 1,
				      .proto = IPPROTO_TCP,
				      .host = at("0.0.0.0", 8080),
				      .app = at("10.0.0.2", 80)}),
	       "a published port");
	tap_is(came("198.51.100.7", 4444, "10.9.9.9", 8080), 4444, "a peer keeps its port");
	tap_ok(addrport_equal(&last.app, &(struct addrport){at("10.0.0.2", 80).addr, 80}) &&
		       last.host_port == 8080,
	       "... and comes to the program");
	tap_is(came("198.51.100.7", 4444, "10.9.9.9", 8080), 1024,
	       "one that looks the same gets another port");
	tap_ok(!r.steered_from, "nothing is counted");
	teardown();
}

static struct listener steered_listener(uint16_t lo, uint16_t hi)
{
	return (struct listener){.id = 1,
				 .proto = IPPROTO_TCP,
				 .steered = true,
				 .peer_lo = lo,
				 .peer_hi = hi,
				 .host = at("127.0.0.1", 33333)};
}

static void end(struct flow *f)
{
	r.steered_from[f->rec->orig_port]--;
	flow_set_state(r.flows, f, FLOW_CLOSING);
	flow_release(r.flows, f);
	flow_reap(r.flows, NULL, NULL);
}

static void steered(void)
{
	struct flow *first;

	setup();
	tap_is(add(steered_listener(0, 0)), -EINVAL, "a steered listener needs ports for peers");
	tap_is(add(steered_listener(6001, 6000)), -EINVAL, "... the lower one first");
	tap_ok(!add(steered_listener(6001, 6003)), "one that has them");
	tap_is(came("198.51.100.7", 4444, "10.0.0.2", 22), 6001,
	       "a steered peer never keeps its own port");
	first = flow;
	tap_ok(addrport_equal(&last.app, &(struct addrport){at("10.0.0.2", 22).addr, 22}) &&
		       addr_equal(&last.net.addr, &last.client.addr),
	       "it comes to where it wanted to go, with its own address");
	tap_ok(first->rec->inbound && !first->rec->host_port && first->rec->orig_port == 4444,
	       "the record has the port that it had");
	tap_is(came("198.51.100.8", 6002, "10.0.0.2", 22), 6003,
	       "not its own port, if that is among the others");
	tap_is(came("198.51.100.9", 5000, "10.0.0.2", 22), 6001, "another address: the same port");
	tap_is(came("198.51.100.7", 4445, "10.0.0.2", 22), 6003,
	       "6002 is somebody's own: the accepted socket of that one would get the packets");
	tap_is(came("198.51.100.7", 4446, "10.0.0.2", 22), 0, "none is left: reset");
	tap_is(resets, 1, "... once");
	tap_ok(came("198.51.100.7", 4447, "10.0.0.2", 23), "to another port of the host one is");
	end(first);
	tap_is(came("198.51.100.7", 4448, "10.0.0.2", 22), 6001,
	       "the port of one that has ended is free");
	tap_is(came("127.0.0.1", 4449, "127.0.0.1", 33333), 0,
	       "who comes to the listener's own address was not steered: reset");
	teardown();
}

int main(void)
{
	published();
	steered();
	return tap_done();
}
