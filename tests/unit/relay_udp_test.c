/* SPDX-License-Identifier: MIT */
/*
 * relay_udp: mappings, order, batches, filters, errors and bounds against faked sockets.
 * LINK: src/relay_udp.o src/relay_dgram.o src/relay.o src/flow.o src/timers.o src/dest.o
 * LINK: stack/pktbuf.o src/base/addr.o src/base/hash.o src/base/log.o src/base/util.o
 * LINK: src/base/clock.o
 */
#include "dgram_world.h"

#define APP "192.0.2.10"

static struct addrport app, dns, srv, srv2;
static char text[70000];

static void freeing(void *ctx, struct flow *f)
{
	(void)ctx;
	relay_udp_freeing(&w.r, f);
}

static void begin(void)
{
	world_begin();
	if (relay_udp_init(&w.r))
		exit(1);
	app = at(APP, 5000);
	dns = at("9.9.9.9", 53);
	srv = at("198.51.100.1", 7000);
	srv2 = at("198.51.100.2", 7000);
	memset(text, 'x', sizeof(text));
}

static void stop_one(void *ctx, struct flow *f)
{
	(void)ctx;
	relay_udp_stop(&w.r, f);
}

static void end(const char *test)
{
	flow_each(w.r.flows, stop_one, NULL);
	flow_reap(w.r.flows, freeing, NULL);
	relay_udp_exit(&w.r);
	world_end(test);
	if (pktbuf_live())
		tap_ok(false, "%s: %u packet buffers are live", test, pktbuf_live());
	pktbuf_drain();
}

/** send_gso - the program sends @len bytes of @data, as datagrams of @gso_size */
static void send_gso(struct addrport from, struct addrport to, const void *data, size_t len,
		     uint16_t gso_size)
{
	struct pktbuf *b = pktbuf_get();
	struct packet p = {
		.data = b->data,
		.len = 28 + len,
		.app = from,
		.net = to,
		.version = 4,
		.proto = IPPROTO_UDP,
		.ttl = 61,
		.tos = 0xb8,
		.df = true,
		.l4 = 20,
		.l4len = (uint16_t)(8 + len),
		.payload = 28,
		.gso_size = gso_size,
	};

	if (len)
		memcpy(b->data + 28, data, len);
	relay_udp_packet(&w.r, &p, b);
	pktbuf_put(b);
}

static void app_send(struct addrport from, struct addrport to, const char *data)
{
	send_gso(from, to, data, strlen(data), 0);
}

static struct flow *flow_of(struct addrport from, struct addrport to)
{
	return flow_find(w.r.flows, IPPROTO_UDP, &from, &to);
}

/** open_flow - a flow past its owner's look-up, with one datagram sent */
static struct flow *open_flow(struct addrport from, struct addrport to)
{
	struct flow *f;

	app_send(from, to, "hello");
	f = flow_of(from, to);
	weir_assert(f);
	relay_udp_owned(&w.r, f);
	return f;
}

static void net_event(uint32_t events)
{
	relay_udp_net(&w.r, w.token, events);
}

static void waits_for_owner(void)
{
	struct flow *f;

	begin();
	app_send(app, srv, "1");
	app_send(app, srv, "2");
	send_gso(app, srv, "3456", 4, 2);
	relay_udp_flush(&w.r);
	tap_is(w.n_asked, 1, "the owner is asked for once");
	tap_ok(!w.n_sent && !w.n_hooked, "nothing is sent or shown before it is known");
	f = flow_of(app, srv);
	relay_udp_owned(&w.r, f);
	tap_ok(w.n_sent == 4 && w.sent[0].first == '1' && w.sent[1].first == '2' &&
		       w.sent[2].first == '3' && w.sent[3].first == '5',
	       "then all is sent in order");
	tap_is(w.n_send_calls, 1, "in one call");
	tap_ok(w.sent[0].ttl == 61 && w.sent[0].tos == 0xb8 && w.sent[0].df,
	       "TTL, TOS and DF are carried");
	tap_ok(f->rec->state == FLOW_OPEN && w.n_opened_flows == 1, "the flow is open");
	tap_ok(f->rec->up.packets == 4 && f->rec->up.bytes == 6, "and counted");
	relay_udp_owned(&w.r, f);
	tap_is(w.n_sent, 4, "a second answer about the owner changes nothing");
	end(__func__);
}

static void one_mapping_per_port(void)
{
	struct flow *a, *b;

	begin();
	a = open_flow(app, srv);
	b = open_flow(app, srv2);
	tap_ok(w.n_opened == 1 && w.opened_port == 5000, "two destinations, one socket, same port");
	tap_is(w.sent[0].fd, w.sent[1].fd, "both are sent from it");
	open_flow(at(APP, 5001), srv);
	tap_is(w.n_opened, 2, "another program port has its own");
	relay_udp_timeout(&w.r, a);
	flow_reap(w.r.flows, freeing, NULL);
	tap_is(w.n_closed, 0, "the mapping outlives the first flow");
	relay_udp_timeout(&w.r, b);
	tap_is(w.ended_reason, FLOW_ENDED_TIMEOUT, "idle is the normal end");
	flow_reap(w.r.flows, freeing, NULL);
	tap_is(w.n_closed, 1, "and goes with the last one");
	end(__func__);
}

static void batches(void)
{
	begin();
	open_flow(app, srv);
	open_flow(at(APP, 5001), srv);
	w.n_send_calls = w.n_sent = 0;
	for (int i = 0; i < 40; i++)
		app_send(i % 2 ? app : at(APP, 5001), srv, i % 4 < 2 ? "a" : "b");
	tap_is(w.n_sent, 0, "a batch is gathered");
	relay_udp_flush(&w.r);
	tap_ok(w.n_sent == 40 && w.n_send_calls == 2, "and sent in one call per socket: %d in %d",
	       w.n_sent, w.n_send_calls);
	w.n_sent = 0;
	for (int i = 0; i < 600; i++)
		app_send(app, srv, "c");
	relay_udp_flush(&w.r);
	tap_is(w.n_sent, 600, "more than the batch has room for loses nothing");
	end(__func__);
}

static void sizes(void)
{
	begin();
	open_flow(app, srv);
	w.n_sent = 0;
	app_send(app, srv, "");
	send_gso(app, srv, text, 65507, 0);
	app_send(app, srv, "small");
	for (int i = 0; i < 300; i++)
		send_gso(app, srv, text, 2048, 0);
	relay_udp_flush(&w.r);
	tap_ok(w.n_sent == 303 && !w.sent[0].len && w.sent[1].len == 65507 && w.sent[2].len == 5,
	       "none, 65507 and 5 bytes in order, and an arena full of them");
	tap_is(pktbuf_live(), 0, "no buffer is kept");
	/* An empty one back, the largest one back. */
	receive_datagram(srv, "", 0, 0);
	receive_datagram(srv, text, 65507, 0);
	net_event(EPOLLIN);
	tap_ok(w.n_written == 2 && !w.written[0].len && w.written[1].len == 65507,
	       "none and 65507 bytes come back");
	end(__func__);
}

static void large_waits_for_owner(void)
{
	begin();
	send_gso(app, srv, text, 65507, 0);
	send_gso(app, srv, text, 65507, 0);
	send_gso(app, srv, text, 65507, 0);
	send_gso(app, srv, text, 65507, 0);
	relay_udp_owned(&w.r, flow_of(app, srv));
	tap_ok(w.n_sent == 4 && w.sent[3].len == 65507, "large ones wait as well");
	end(__func__);
}

static void super_packets(void)
{
	begin();
	open_flow(app, srv);
	w.n_sent = w.n_hooked = 0;
	send_gso(app, srv, "aaaaDaaaaa", 10, 4);
	relay_udp_flush(&w.r);
	tap_ok(w.n_hooked == 3 && w.n_sent == 2 && w.sent[0].len == 4 && w.sent[1].len == 2,
	       "hooks see each datagram of a super packet, and one is dropped");
	receive_datagram(srv, "aabbcc", 6, 2);
	net_event(EPOLLIN);
	tap_ok(w.n_written == 1 && w.written[0].gso_size == 2 && w.written[0].len == 6,
	       "a received batch is written as one packet");
	tap_ok(w.written[0].ttl == 55 && w.written[0].tos == 4, "with its TTL and TOS");
	receive_datagram(srv, "aabbDDcce", 9, 2);
	net_event(EPOLLIN);
	tap_ok(w.n_written == 3 && w.written[1].len == 4 && w.written[1].gso_size == 2 &&
		       w.written[2].len == 3 && w.written[2].data[0] == 'c',
	       "around a dropped one it is cut in two");
	tap_is(flow_of(app, srv)->rec->down.packets, 3 + 4, "each datagram is counted");
	end(__func__);
}

static void joins(void)
{
	begin();
	open_flow(app, srv);
	open_flow(app, srv2);
	receive_datagram(srv, "11", 2, 0);
	receive_datagram(srv, "22", 2, 0);
	receive_datagram(srv, "3", 1, 0);
	receive_datagram(srv, "44", 2, 0);
	receive_datagram(srv2, "55", 2, 0);
	receive_datagram(srv2, "", 0, 0);
	receive_datagram(srv2, "66", 2, 0);
	net_event(EPOLLIN);
	tap_is(w.n_written, 5, "equal ones in a row are written together");
	tap_ok(w.written[0].gso_size == 2 && w.written[0].len == 5 &&
		       !memcmp(w.written[0].data, "11223", 5),
	       "up to a shorter one");
	tap_ok(w.written[1].len == 2 && !w.written[1].gso_size && w.written[1].data[0] == '4',
	       "what follows begins anew");
	tap_ok(addrport_equal(&w.written[2].from, &srv2) && !w.written[3].len &&
		       w.written[4].data[0] == '6',
	       "another peer and an empty one stay apart");
	w.n_written = 0;
	receive_datagram(srv, text, 1473, 0);
	receive_datagram(srv, text, 1473, 0);
	net_event(EPOLLIN);
	tap_is(w.n_written, 2, "what is larger than the MTU is not joined");
	w.n_written = 0;
	w.r.uso = false;
	receive_datagram(srv, "11", 2, 0);
	receive_datagram(srv, "22", 2, 0);
	net_event(EPOLLIN);
	tap_is(w.n_written, 2, "nor where the device does not cut");
	end(__func__);
}

/** changed - hooks put another datagram in the place of one, or keep one for later */
static void changed(void)
{
	struct flow *f;

	begin();
	open_flow(app, srv);
	f = flow_of(app, srv);
	w.n_sent = 0;
	send_gso(app, srv, "aaRbcc", 6, 2);
	relay_udp_flush(&w.r);
	tap_ok(w.n_sent == 3 && w.sent[0].first == 'a' && w.sent[1].len == 5 &&
		       w.sent[1].first == 'o' && w.sent[2].first == 'c',
	       "another one goes in its place, and in its order");
	receive_datagram(srv, "aaRbcc", 6, 2);
	net_event(EPOLLIN);
	tap_ok(w.n_written == 3 && w.written[0].len == 2 && w.written[1].len == 5 &&
		       !memcmp(w.written[1].data, "other", 5) && w.written[2].data[0] == 'c',
	       "on the way down, too");
	tap_ok(w.written[1].ttl == 55 && w.written[1].tos == 4, "with the other's TTL and TOS");
	w.n_sent = w.n_written = 0;
	app_send(app, srv, "Take");
	receive_datagram(srv, "Take", 4, 0);
	net_event(EPOLLIN);
	tap_ok(!w.n_sent && !w.n_written, "what hooks keep does not go on");
	w.resumed = 1;
	relay_udp_woken(&w.r, f);
	relay_udp_flush(&w.r);
	tap_ok(w.n_sent == 1 && w.sent[0].len == 4 && addrport_equal(&w.sent[0].peer, &srv),
	       "until they let it");
	receive_datagram(srv, "Take", 4, 0);
	w.resumed = 1;
	net_event(EPOLLIN);
	tap_ok(w.n_written == 1 && w.written[0].len == 4 && w.written[0].ttl == 55,
	       "or something else in its place");
	w.hook_late_block = true;
	relay_udp_woken(&w.r, f);
	tap_ok(w.n_ended == 1 && w.ended_reason == FLOW_ENDED_BLOCKED && w.n_errors == 1,
	       "or end the flow");
	end(__func__);
}

static void blocks(void)
{
	begin();
	open_flow(app, srv);
	w.n_sent = 0;
	app_send(app, srv, "fine");
	app_send(app, srv, "Bad");
	tap_ok(w.n_ended == 1 && w.ended_reason == FLOW_ENDED_BLOCKED && !w.ended_errno,
	       "a hook ends the flow");
	tap_ok(w.n_errors == 1 && w.errors[0].e.type == 3 && w.errors[0].e.code == 13,
	       "and the program is told: prohibited");
	flow_reap(w.r.flows, freeing, NULL);
	tap_ok(w.n_sent == 1 && w.sent[0].first == 'f', "what passed before is sent");
	open_flow(app, srv);
	receive_datagram(srv, "okBad", 5, 2);
	net_event(EPOLLIN);
	tap_ok(w.n_written == 1 && w.written[0].len == 2 && w.n_ended == 2,
	       "a block on the way down stops there");
	w.hook_open = HOOK_BLOCK;
	app_send(app, srv2, "x");
	relay_udp_owned(&w.r, flow_of(app, srv2));
	tap_ok(w.ended_reason == FLOW_ENDED_BLOCKED && w.n_ended == 3, "blocked before it began");
	end(__func__);
}

/** stranger_passes - a datagram of @peer, without a flow, comes through @filter */
static bool stranger_passes(enum udp_filter filter, struct addrport peer)
{
	struct flow *f;
	bool passed;

	begin();
	open_flow(app, srv);
	w.cfg.udp_filter = filter;
	receive_datagram(peer, "knock", 5, 0);
	receive_datagram(peer, "again", 5, 0);
	net_event(EPOLLIN);
	f = flow_of(app, peer);
	if (f) {
		tap_ok(!w.n_written && w.n_asked == 2, "a stranger's datagram waits for the owner");
		relay_udp_owned(&w.r, f);
	}
	passed = w.n_written == 2 && addrport_equal(&w.written[0].from, &peer) &&
		 addrport_equal(&w.written[0].app, &app) && w.n_opened == 1;
	end("filters");
	return passed;
}

static void filters(void)
{
	struct addrport same_host = at("198.51.100.1", 9), other = at("203.0.113.9", 7000);

	tap_ok(stranger_passes(FILTER_ENDPOINT, other), "endpoint: anybody may answer");
	tap_ok(stranger_passes(FILTER_ADDRESS, same_host), "address: another port of the peer");
	tap_ok(!stranger_passes(FILTER_ADDRESS, other), "address: not another host");
	tap_ok(!stranger_passes(FILTER_PORT, same_host), "port: not even another port");
	tap_ok(!stranger_passes(FILTER_ENDPOINT, at("127.0.0.5", 9)),
	       "the host's loopback is none");
	tap_ok(!stranger_passes(FILTER_ENDPOINT, at("192.0.2.10", 9)), "nor is the host itself");
}

static void strangers_are_bounded(void)
{
	begin();
	open_flow(app, srv);
	for (int round = 0; round < 10; round++) {
		w.inbox_first = w.inbox_last = 0;
		for (int i = 0; i < 40; i++)
			receive_datagram(at("203.0.113.9", (uint16_t)(1 + round * 40 + i)), "x", 1,
					 0);
		net_event(EPOLLIN);
	}
	tap_is(flow_count(w.r.flows), 256, "strangers take half of the table at most");
	w.r.draining = true;
	receive_datagram(at("203.0.113.10", 1), "x", 1, 0);
	net_event(EPOLLIN);
	tap_ok(!flow_of(app, at("203.0.113.10", 1)), "and nothing when the program has ended");
	w.r.draining = false;
	end(__func__);
}

static void mapped_peer(void)
{
	struct addrport mapped = at("10.0.2.2", 99);

	begin();
	open_flow(app, mapped);
	tap_ok(addr_is_loopback(&w.sent[0].peer.addr) && w.sent[0].peer.port == 99,
	       "a mapped address is sent to loopback");
	receive_datagram(at("127.0.0.1", 99), "hi", 2, 0);
	net_event(EPOLLIN);
	tap_ok(w.n_written == 1 && addrport_equal(&w.written[0].from, &mapped),
	       "and the answer comes from the mapped one");
	end(__func__);
}

static void errors_come_back(void)
{
	struct addrport router = at("203.0.113.1", 0);

	begin();
	open_flow(app, srv);
	open_flow(app, srv2);
	queue_error(srv, "203.0.113.1", EHOSTUNREACH, SO_EE_ORIGIN_ICMP, 11, 0, 0);
	net_event(EPOLLERR);
	tap_ok(w.n_errors == 1 && w.errors[0].e.type == 11 && w.errors[0].e.code == 0 &&
		       addr_equal(&w.errors[0].e.from, &router.addr),
	       "time exceeded keeps type and router");
	tap_ok(addrport_equal(&w.errors[0].net, &srv) && addrport_equal(&w.errors[0].app, &app) &&
		       w.errors[0].proto == IPPROTO_UDP,
	       "and belongs to its flow");
	/* Pending error of srv while srv2 is sent to. */
	w.n_sent = 0;
	script(-ECONNREFUSED, 0, 0);
	queue_error(srv, "198.51.100.1", ECONNREFUSED, SO_EE_ORIGIN_ICMP, 3, 3, 0);
	app_send(app, srv2, "precious");
	relay_udp_flush(&w.r);
	tap_ok(w.n_sent == 1 && addrport_equal(&w.sent[0].peer, &srv2),
	       "another destination's error costs no datagram");
	tap_ok(w.n_errors == 2 && addrport_equal(&w.errors[1].net, &srv) &&
		       w.errors[1].e.type == 3 && w.errors[1].e.code == 3,
	       "and is not lost either");
	tap_ok(!flow_of(app, srv2)->rec->net_errno && flow_of(app, srv)->rec->net_errno,
	       "each record has its own");
	relay_udp_timeout(&w.r, flow_of(app, srv));
	tap_is(w.ended_reason, FLOW_ENDED_REFUSED, "a flow with nothing but errors was refused");
	/* Its error queue may still speak of it. */
	queue_error(srv, "198.51.100.1", ECONNREFUSED, SO_EE_ORIGIN_ICMP, 3, 3, 0);
	net_event(EPOLLERR);
	tap_is(w.n_errors, 2, "an error of a flow that has ended goes nowhere");
	end(__func__);
}

static void own_errors(void)
{
	begin();
	open_flow(app, srv);
	w.n_sent = 0;
	script(-EMSGSIZE, -EMSGSIZE, 0);
	queue_error(srv, NULL, EMSGSIZE, SO_EE_ORIGIN_LOCAL, 0, 0, 1280);
	app_send(app, srv, "long");
	app_send(app, srv, "next");
	relay_udp_flush(&w.r);
	tap_ok(w.n_errors == 1 && w.errors[0].e.code == EMSGSIZE && w.errors[0].e.info == 1280 &&
		       w.errors[0].len == 4,
	       "too long: the program learns the path's MTU, once");
	tap_ok(w.n_sent == 1 && w.sent[0].first == 'n', "the next datagram goes on");
	script(-ENOBUFS, -ENOBUFS, 0);
	app_send(app, srv, "lost");
	relay_udp_flush(&w.r);
	tap_ok(w.n_errors == 1 && w.r.count.dgram_queue_full == 1,
	       "a full device queue is a counted loss, no error");
	end(__func__);
}

static void offender_is_the_host(void)
{
	begin();
	open_flow(app, srv);
	queue_error(srv, "192.0.2.10", EHOSTUNREACH, SO_EE_ORIGIN_ICMP, 3, 1, 0);
	net_event(EPOLLERR);
	tap_ok(w.n_errors == 1 && addr_equal(&w.errors[0].e.from, &srv.addr),
	       "an error of the host's own stack comes from the destination");
	end(__func__);
}

static void backlog(void)
{
	begin();
	open_flow(app, srv);
	w.n_sent = 0;
	script(-EAGAIN, 0, 0);
	app_send(app, srv, "1");
	app_send(app, srv, "2");
	relay_udp_flush(&w.r);
	tap_ok(!w.n_sent && w.n_rearm == 1 && w.rearm_out, "a full socket: wait for room");
	app_send(app, srv, "3");
	relay_udp_flush(&w.r);
	tap_is(w.n_sent, 0, "later ones wait behind");
	tap_ok(!relay_udp_idle(flow_of(app, srv)), "they are the program's: weir must not end");
	script(-EAGAIN, 0, 0);
	net_event(EPOLLOUT);
	tap_is(w.n_sent, 0, "room for none yet");
	net_event(EPOLLOUT);
	tap_ok(w.n_sent == 3 && w.sent[0].first == '1' && w.sent[1].first == '2' &&
		       w.sent[2].first == '3',
	       "then all in order");
	tap_ok(relay_udp_idle(flow_of(app, srv)), "now nothing of it waits");
	tap_ok(!w.rearm_out, "and room is not asked for any more");
	script(-EAGAIN, 0, 0);
	for (int i = 0; i < 300; i++)
		app_send(app, srv, "m");
	relay_udp_flush(&w.r);
	tap_ok(w.r.count.dgram_queue_full == 300 - DGRAM_HOLD_MAX && w.n_notices,
	       "what is too much is counted: %llu", (unsigned long long)w.r.count.dgram_queue_full);
	end(__func__); /* with a backlog: nothing leaks */
}

static void holds_are_bounded(void)
{
	begin();
	for (int i = 0; i < 300; i++)
		app_send(app, srv, "m");
	tap_is(w.r.count.dgram_queue_full, 300 - DGRAM_HOLD_MAX, "datagrams held: by count");
	w.r.count.dgram_queue_full = 0;
	for (int i = 0; i < 20; i++)
		send_gso(app, srv2, text, 65507, 0);
	tap_is(w.r.count.dgram_queue_full, 4, "by bytes of the flow: 16 of 64 KiB in 1 MiB");
	for (uint16_t port = 1; port < 10; port++)
		for (int i = 0; i < 16; i++)
			send_gso(app, at("198.51.100.3", port), text, 65507, 0);
	tap_is(w.r.count.dgram_queue_full, 4 + 9 * 16 - 47, "by bytes of all: 63 in 4 MiB");
	relay_udp_owned(&w.r, flow_of(app, srv));
	tap_is(w.n_sent, DGRAM_HOLD_MAX, "those held are sent");
	end(__func__);
}

static void empty_ones_take_memory(void)
{
	struct dgram_budget b = {.flow_max = 1000, .max = 1000};
	struct netsock_dgram empty = {.data = NULL};
	struct dgram_hold h = {0};
	unsigned n = 0;

	while (n < 1000 && !dgram_hold_push(&h, &b, (struct flow_ref){0}, HOOK_UP, &empty))
		n++;
	tap_ok(n && n <= 1000 / sizeof(struct dgram_held), "empty datagrams count, too: %u", n);
	dgram_hold_drop_all(&h, &b);
	tap_is(b.used, 0, "and are given back");
}

static void owner_never_known(void)
{
	struct flow *f;

	begin();
	app_send(app, srv, "x");
	f = timers_pop(w.r.timers, w.r.now + 5);
	tap_ok(f == flow_of(app, srv), "the wait for the owner has an end");
	relay_udp_owned(&w.r, f);
	tap_ok(w.n_sent == 1 && !w.n_ended, "and then the datagram goes on");
	tap_ok(!timers_pop(w.r.timers, w.r.now + 299) && timers_pop(w.r.timers, w.r.now + 300) == f,
	       "idle counts from now on");
	end(__func__);
}

/** either_side_keeps_it_alive - RFC 4787, REQ-6: also what comes from outside */
static void either_side_keeps_it_alive(void)
{
	struct flow *f;
	uint64_t start;

	begin();
	start = w.r.now;
	f = open_flow(app, srv);
	w.r.now = start + 200;
	receive_datagram(srv, "answer", 6, 0);
	net_event(EPOLLIN);
	tap_ok(!timers_pop(w.r.timers, start + 310), "an answer keeps it alive");
	tap_ok(timers_pop(w.r.timers, start + 501) == f, "for as long as before");
	timers_set(w.r.timers, f, start + 600);
	w.r.now = start + 550;
	app_send(app, srv, "again");
	tap_ok(!timers_pop(w.r.timers, start + 600), "and so does the program");
	tap_ok(timers_pop(w.r.timers, start + 851) == f, "for as long");
	end(__func__);
}

static void refused_destinations(void)
{
	begin();
	app_send(app, at("127.0.0.1", 80), "x");
	tap_is(w.n_errors, 0, "loopback: no answer before the owner is known");
	relay_udp_owned(&w.r, flow_of(app, at("127.0.0.1", 80)));
	app_send(app, at("127.0.0.1", 80), "y");
	tap_ok(w.n_errors == 2 && w.errors[0].e.code == EHOSTUNREACH && !w.n_opened && !w.n_sent,
	       "then host unreachable for each datagram, and no socket");
	app_send(app, at("224.0.0.251", 5353), "mdns");
	app_send(app, at("255.255.255.255", 67), "dhcp");
	tap_ok(w.r.count.ignored_dest == 2 && flow_count(w.r.flows) == 1 && w.n_errors == 2,
	       "multicast and broadcast are counted and nothing more");
	end(__func__);
}

static void no_socket(void)
{
	begin();
	w.open_error = -EMFILE;
	app_send(app, srv, "x");
	tap_ok(w.n_ended == 1 && w.ended_reason == FLOW_ENDED_LIMIT && w.n_notices == 1,
	       "no descriptor left: the flow ends, and it is said");
	flow_reap(w.r.flows, freeing, NULL);
	w.open_error = -EAFNOSUPPORT;
	app_send(at("2001:db8::5", 1), at("2001:db8:1::1", 2), "x");
	relay_udp_owned(&w.r, flow_of(at("2001:db8::5", 1), at("2001:db8:1::1", 2)));
	tap_ok(w.n_errors == 1 && w.errors[0].e.code == ENETUNREACH,
	       "a host without IPv6 has no way there");
	end(__func__);
}

static void names(void)
{
	begin();
	open_flow(app, dns);
	open_flow(app, srv);
	receive_datagram(dns, "answer", 6, 0);
	receive_datagram(dns, "Dropped", 7, 0);
	receive_datagram(srv, "other", 5, 0);
	net_event(EPOLLIN);
	tap_is(w.n_learnt, 1, "names are learnt from answers of port 53 that passed");
	tap_ok(flow_of(app, dns)->rec->first_byte == w.r.now &&
		       flow_of(app, dns)->rec->down.packets == 1,
	       "which count as received");
	end(__func__);
}

static void work_is_bounded(void)
{
	begin();
	open_flow(app, srv);
	for (int i = 0; i < 100; i++)
		receive_datagram(srv, "a", 1, 0);
	net_event(EPOLLIN);
	tap_ok(w.inbox_first == 64 && w.n_rearm == 1,
	       "one event takes 64 datagrams and comes again");
	net_event(EPOLLIN);
	tap_ok(w.inbox_first == 100 && w.n_rearm == 1, "and takes the rest");
	tap_is(flow_of(app, srv)->rec->down.packets, 100, "none is lost");
	end(__func__);
}

static void stale_events(void)
{
	uint64_t token;

	begin();
	relay_udp_timeout(&w.r, open_flow(app, srv));
	token = w.token;
	flow_reap(w.r.flows, freeing, NULL);
	relay_udp_net(&w.r, token, EPOLLIN | EPOLLERR | EPOLLOUT);
	open_flow(app, srv);
	receive_datagram(srv, "a", 1, 0);
	relay_udp_net(&w.r, token, EPOLLIN);
	tap_ok(w.inbox_first == 0 && w.token != token, "an event of a closed socket is no other's");
	relay_udp_net(&w.r, netsock_token(NETSOCK_UDP, 99999, 0), EPOLLIN);
	end(__func__);
}

static void many_mappings(void)
{
	begin();
	for (uint16_t port = 1; port <= 200; port++)
		open_flow(at(APP, port), srv);
	tap_is(w.n_opened, 200, "200 program ports, 200 sockets");
	for (uint16_t port = 1; port <= 200; port++)
		open_flow(at(APP, port), srv2);
	tap_is(w.n_opened, 200, "all of them found again");
	for (uint16_t port = 1; port <= 200; port += 2) {
		relay_udp_timeout(&w.r, flow_of(at(APP, port), srv));
		relay_udp_timeout(&w.r, flow_of(at(APP, port), srv2));
	}
	flow_reap(w.r.flows, freeing, NULL);
	tap_is(w.n_closed, 100, "half of them gone");
	for (uint16_t port = 1; port <= 100; port++)
		open_flow(at(APP, (uint16_t)(1000 + port)), srv);
	tap_is(w.n_opened, 300, "others in their place");
	end(__func__);
}

/* --- published sockets ----------------------------------------------------------------- */

static struct addrport served;

static uint64_t publish(bool private)
{
	int64_t token = relay_udp_publish(&w.r, &served, 5353, private, 77);

	weir_assert(token >= 0);
	return (uint64_t)token;
}

/** comes - a peer's datagram to the published socket; its flow, owned, or NULL */
static struct flow *comes(uint64_t token, struct addrport client, struct addrport seen)
{
	struct flow *f;

	w.inbox_first = w.inbox_last = 0;
	receive_datagram(client, "q", 1, 0);
	relay_udp_net(&w.r, token, EPOLLIN);
	f = flow_of(served, seen);
	if (f)
		relay_udp_owned(&w.r, f);
	return f;
}

static void clients_come_in(void)
{
	struct addrport peer = at("93.184.216.34", 4000), loop = at("127.0.0.2", 4000),
			seen = at("192.0.2.1", 4000);
	struct flow *f;
	uint64_t token;

	begin();
	served = at("10.0.0.2", 53);
	token = publish(false);
	f = comes(token, peer, peer);
	tap_ok(f && f->rec->inbound && f->rec->host_port == 5353 && w.n_asked == 1,
	       "a peer of a published socket makes a flow of direction in");
	tap_ok(w.n_written == 1 && addrport_equal(&w.written[0].from, &peer) &&
		       addrport_equal(&w.written[0].app, &served),
	       "its datagram goes in, from its own address");
	app_send(served, peer, "answer");
	relay_udp_flush(&w.r);
	tap_ok(w.n_sent == 1 && w.sent[0].fd == 77 && addrport_equal(&w.sent[0].peer, &peer),
	       "the answer leaves by the published socket");
	tap_ok(f->rec->up.packets == 1 && f->rec->down.packets == 1, "up is from the program");
	f = comes(token, loop, seen);
	tap_ok(f && w.n_written == 2 && addrport_equal(&w.written[1].from, &seen),
	       "one on loopback has a stand-in's address");
	app_send(served, seen, "answer");
	relay_udp_flush(&w.r);
	tap_ok(w.n_sent == 2 && addrport_equal(&w.sent[1].peer, &loop), "and gets its answer");
	receive_datagram(at("127.0.0.3", 4000), "q", 1, 0);
	relay_udp_net(&w.r, token, EPOLLIN);
	tap_is(w.n_written, 2, "another one that would look the same is not mixed up with it");
	app_send(served, at("8.8.8.8", 99), "hi");
	f = flow_of(served, at("8.8.8.8", 99));
	relay_udp_owned(&w.r, f);
	tap_ok(!f->rec->inbound && w.n_sent == 3 && w.sent[2].fd == 77 && w.n_opened == 1,
	       "what the program sends from that port leaves by it as well");
	tap_is(w.n_learnt, 0, "no name is learnt from any of it");
	relay_udp_unpublish(&w.r, token);
	flow_reap(w.r.flows, freeing, NULL);
	tap_ok(w.n_ended == 3 && w.n_closed == 1, "unpublished, its flows end and it is closed");
	relay_udp_net(&w.r, token, EPOLLIN);
	relay_udp_unpublish(&w.r, token);
	end(__func__);
}

static void private_ones_are_no_way_out(void)
{
	struct addrport peer = at("93.184.216.34", 53);
	uint64_t token;
	struct flow *f;

	begin();
	served = at("10.0.0.2", 53);
	token = publish(true);
	f = comes(token, peer, peer);
	tap_ok(f && w.n_written == 1 && !w.n_learnt, "a client at port 53 is no resolver");
	app_send(served, at("8.8.8.8", 99), "hi");
	relay_udp_owned(&w.r, flow_of(served, at("8.8.8.8", 99)));
	tap_ok(w.n_opened == 2 && w.sent[w.n_sent - 1].fd != 77,
	       "others are not written to from a socket that is bound to one address");
	receive_datagram(at("0.0.0.0", 0), "q", 1, 0);
	relay_udp_net(&w.r, token, EPOLLIN);
	tap_is(w.n_written, 1, "a datagram of nobody goes nowhere");
	relay_udp_unpublish(&w.r, token);
	end(__func__);
}

static void clients_are_bounded(void)
{
	struct addrport peer = at("93.184.216.34", 1);
	uint64_t token;

	begin();
	served = at("10.0.0.2", 53);
	token = publish(false);
	while (comes(token, peer, peer))
		peer.port++;
	tap_ok(peer.port - 1 == (int)(w.cfg.max_flows + 1) / 2 && w.n_notices,
	       "peers get half of the table");
	relay_udp_unpublish(&w.r, token);
	w.open_error = -EINVAL;
	tap_is(relay_udp_publish(&w.r, &served, 1, false, 78), -EINVAL,
	       "a socket that can't be used is said to be one");
	w.open_error = 0;
	end(__func__);
}

/** rules_refuse - the flow stays, so that the next datagrams need no owner and no judgement */
static void rules_refuse(void)
{
	struct flow *f;

	begin();
	judge_fake.say = JUDGE_BLOCK;
	app_send(app, srv, "x");
	f = flow_of(app, srv);
	relay_udp_owned(&w.r, f);
	tap_ok(f->refused && !w.n_sent && !w.n_ended && w.n_errors == 1, "block: prohibited");
	app_send(app, srv, "y");
	tap_ok(w.n_errors == 2 && w.n_asked == 1 && !w.n_sent,
	       "... and so is the next one, at once");
	tap_ok(flow_oldest(w.r.flows) == f, "it may make room for others");
	tap_ok(relay_udp_idle(f), "and holds nothing up");
	relay_udp_judged(&w.r, f, JUDGE_PASS);
	tap_ok(w.n_ended == 1 && w.ended_reason == FLOW_ENDED_BLOCKED,
	       "allowed later, its next datagram begins anew");
	flow_reap(w.r.flows, freeing, NULL);

	judge_fake.say = JUDGE_DROP;
	app_send(app, srv2, "x");
	f = flow_of(app, srv2);
	relay_udp_owned(&w.r, f);
	app_send(app, srv2, "y");
	tap_ok(f->refused && w.n_errors == 2 && !w.n_sent, "drop: silence");

	judge_fake.say = JUDGE_HOLD;
	app_send(app, dns, "x");
	f = flow_of(app, dns);
	relay_udp_owned(&w.r, f);
	app_send(app, dns, "y");
	tap_ok(!w.n_sent && w.n_ended == 1, "held: they wait");
	f->held = false;
	relay_udp_judged(&w.r, f, JUDGE_PASS);
	tap_is(w.n_sent, 2, "allowed: both go on");
	relay_udp_judged(&w.r, f, JUDGE_BLOCK);
	app_send(app, dns, "z");
	tap_ok(w.n_sent == 2 && f->refused, "not allowed any more");
	judge_fake.say = JUDGE_PASS;
	end(__func__);
}

int main(void)
{
	rules_refuse();
	clients_come_in();
	private_ones_are_no_way_out();
	clients_are_bounded();
	waits_for_owner();
	one_mapping_per_port();
	batches();
	sizes();
	large_waits_for_owner();
	super_packets();
	joins();
	changed();
	blocks();
	filters();
	strangers_are_bounded();
	mapped_peer();
	errors_come_back();
	own_errors();
	offender_is_the_host();
	backlog();
	holds_are_bounded();
	empty_ones_take_memory();
	owner_never_known();
	either_side_keeps_it_alive();
	refused_destinations();
	no_socket();
	names();
	work_is_bounded();
	stale_events();
	many_mappings();
	return tap_done();
}
