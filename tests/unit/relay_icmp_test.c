/* SPDX-License-Identifier: MIT */
/*
 * relay_icmp: echo through faked ping sockets: identifiers, errors, refusals.
 * LINK: src/relay_icmp.o src/relay_dgram.o src/relay.o src/flow.o src/timers.o src/dest.o
 * LINK: src/base/addr.o src/base/hash.o src/base/log.o src/base/util.o src/base/clock.o
 */
#include "dgram_world.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

static struct addrport app4, app6, srv4, srv6;

static void freeing(void *ctx, struct flow *f)
{
	(void)ctx;
	relay_icmp_freeing(&w.r, f);
}

static void begin(void)
{
	world_begin();
	if (relay_icmp_init(&w.r))
		exit(1);
	app4 = at("192.0.2.10", 0);
	app6 = at("2001:db8::10", 0);
	srv4 = at("198.51.100.1", 0);
	srv6 = at("2001:db8:1::1", 0);
}

static void stop_one(void *ctx, struct flow *f)
{
	(void)ctx;
	relay_icmp_stop(&w.r, f);
}

static void end(const char *test)
{
	flow_each(w.r.flows, stop_one, NULL);
	flow_reap(w.r.flows, freeing, NULL);
	relay_icmp_exit(&w.r);
	world_end(test);
}

/** app_icmp - the program sends an ICMP message of @type with @payload */
static void app_icmp(struct addrport to, uint8_t type, uint16_t ident, uint16_t seqno,
		     const void *payload, size_t len)
{
	static uint8_t buf[70000];
	bool v4 = addr_is_v4(&to.addr);
	uint16_t l4 = v4 ? 20 : 40;
	struct packet p = {
		.data = buf,
		.len = l4 + 8U + len,
		.app = v4 ? app4 : app6,
		.net = to,
		.version = v4 ? 4 : 6,
		.proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.ttl = 3,
		.tos = 0x10,
		.df = true,
		.l4 = l4,
		.l4len = (uint16_t)(8 + len),
		.payload = l4,
		.icmp = {.type = type, .ident = ident, .seqno = seqno},
	};

	memset(buf, 0, l4 + 8U);
	buf[l4] = type;
	put_be16(buf + l4 + 4, ident);
	put_be16(buf + l4 + 6, seqno);
	if (len)
		memcpy(buf + l4 + 8, payload, len);
	relay_icmp_packet(&w.r, &p, NULL);
}

static void app_ping(struct addrport to, uint16_t ident, uint16_t seqno, const char *payload)
{
	app_icmp(to, addr_is_v4(&to.addr) ? ICMP_ECHO : ICMP6_ECHO_REQUEST, ident, seqno, payload,
		 strlen(payload));
}

static struct flow *flow_of(struct addrport to, uint16_t ident)
{
	bool v4 = addr_is_v4(&to.addr);
	struct addrport app = v4 ? app4 : app6;

	app.port = ident;
	return flow_find(w.r.flows, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, &app, &to);
}

static struct flow *open_flow(struct addrport to, uint16_t ident)
{
	struct flow *f;

	app_ping(to, ident, 1, "ping");
	f = flow_of(to, ident);
	weir_assert(f);
	relay_icmp_owned(&w.r, f);
	return f;
}

/** net_reply - into the socket: a reply as the kernel hands it over */
static void net_reply(struct addrport from, uint16_t seqno, const char *payload)
{
	static uint8_t msgs[16][64];
	static int n;
	uint8_t *m = msgs[n++ % 16];

	memset(m, 0, 8);
	m[0] = addr_is_v4(&from.addr) ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
	put_be16(m + 4, 0x7777); /* the socket's own identifier */
	put_be16(m + 6, seqno);
	memcpy(m + 8, payload, strlen(payload));
	receive_datagram(from, m, 8 + strlen(payload), 0);
}

static void net_event(uint32_t events)
{
	relay_icmp_net(&w.r, w.token, events);
}

static void there_and_back(struct addrport to)
{
	struct flow *f;

	begin();
	app_ping(to, 0x1234, 1, "one");
	app_ping(to, 0x1234, 2, "two");
	tap_ok(!w.n_sent && w.n_asked == 1, "echo waits for the owner");
	f = flow_of(to, 0x1234);
	relay_icmp_owned(&w.r, f);
	tap_ok(w.n_sent == 2 && w.sent[0].len == 11 && w.sent[0].ttl == 3 && w.sent[0].tos == 0x10,
	       "then goes, header and payload, with TTL and TOS");
	tap_ok(w.opened_port == 0x1234 && f->rec->icmp_ident == 0x1234, "under its identifier");
	net_reply(to, 2, "two");
	net_event(EPOLLIN);
	tap_ok(w.n_written == 1 && w.written[0].ident == 0x1234 && w.written[0].seqno == 2 &&
		       w.written[0].len == 3 && !memcmp(w.written[0].data, "two", 3) &&
		       w.written[0].ttl == 55 && w.written[0].tos == 4,
	       "the reply has the program's identifier, and its own TTL and TOS");
	tap_ok(addr_equal(&w.written[0].from.addr, &to.addr), "and comes from who was asked");
	tap_ok(f->rec->up.bytes == 6 && f->rec->up.packets == 2 && f->rec->down.bytes == 3 &&
		       f->rec->first_byte && w.n_hooked == 3,
	       "payload is counted and shown to hooks");
	end(__func__);
}

static void mappings(void)
{
	struct flow *a, *b;

	begin();
	a = open_flow(srv4, 7);
	b = open_flow(at("198.51.100.2", 0), 7);
	open_flow(srv4, 8);
	open_flow(srv6, 7);
	tap_is(w.n_opened, 3, "one socket per identifier and family");
	relay_icmp_timeout(&w.r, a);
	flow_reap(w.r.flows, freeing, NULL);
	tap_is(w.n_closed, 0, "it outlives one of its flows");
	relay_icmp_timeout(&w.r, b);
	flow_reap(w.r.flows, freeing, NULL);
	tap_ok(w.n_closed == 1 && w.ended_reason == FLOW_ENDED_TIMEOUT, "not both");
	end(__func__);
}

static void errors(void)
{
	begin();
	open_flow(srv4, 7);
	queue_error(srv4, "203.0.113.1", EHOSTUNREACH, SO_EE_ORIGIN_ICMP, 11, 0, 0);
	net_event(EPOLLERR);
	tap_ok(w.n_errors == 1 && w.errors[0].e.type == 11 && w.errors[0].ident == 7 &&
		       w.errors[0].proto == IPPROTO_ICMP && !w.errors[0].net.port,
	       "time exceeded comes back with the identifier");
	w.n_sent = 0;
	script(-EHOSTUNREACH, 0, 0);
	queue_error(srv4, "203.0.113.1", EHOSTUNREACH, SO_EE_ORIGIN_ICMP, 3, 1, 0);
	app_ping(srv4, 7, 2, "again");
	tap_ok(w.n_sent == 1 && w.n_errors == 2 && w.errors[1].e.code == 1,
	       "a report in the way costs no request");
	script(-ENETUNREACH, -ENETUNREACH, 0);
	app_ping(srv4, 7, 3, "third");
	tap_ok(w.n_sent == 1 && w.n_errors == 3 && w.errors[2].e.code == ENETUNREACH &&
		       w.errors[2].len == 13,
	       "an error of the send itself quotes the request");
	script(-EAGAIN, 0, 0);
	app_ping(srv4, 7, 4, "full");
	tap_ok(w.n_errors == 3 && w.r.count.dgram_queue_full == 1, "a full socket is a loss");
	end(__func__);
}

static void forbidden(void)
{
	begin();
	w.open_error = -EACCES;
	app_ping(srv4, 7, 1, "a");
	tap_ok(w.n_notices == 1 && strstr(w.notice, "net.ipv4.ping_group_range"),
	       "no ping sockets: it is said, with the setting");
	relay_icmp_owned(&w.r, flow_of(srv4, 7));
	app_ping(srv4, 7, 2, "b");
	tap_ok(w.n_errors == 2 && w.errors[0].e.type == ICMP_DEST_UNREACH &&
		       w.errors[0].e.code == ICMP_PKT_FILTERED && w.n_notices == 1,
	       "each request is answered: prohibited");
	relay_icmp_timeout(&w.r, flow_of(srv4, 7));
	tap_is(w.ended_reason, FLOW_ENDED_UNSUPPORTED, "and so it ends");
	open_flow(srv6, 7);
	tap_ok(w.n_errors == 3 && w.errors[2].e.type == ICMP6_DST_UNREACH &&
		       w.errors[2].e.code == ICMP6_DST_UNREACH_ADMIN,
	       "IPv6 in its own numbers");
	end(__func__);
	tap_is(w.ended_reason, FLOW_ENDED_UNSUPPORTED, "also when weir ends first");
}

static void ignored(void)
{
	begin();
	app_icmp(srv4, ICMP_DEST_UNREACH, 0, 0, "....", 4);
	app_icmp(srv4, ICMP_ECHOREPLY, 7, 0, "....", 4);
	app_icmp(srv4, ICMP_TIMESTAMP, 7, 0, "....", 4);
	app_icmp(srv6, ND_NEIGHBOR_SOLICIT, 0, 0, "....", 4);
	tap_is(w.r.count.unsupported_proto, 4, "other ICMP is counted");
	app_icmp(at("ff02::2", 0), ND_ROUTER_SOLICIT, 0, 0, "....", 4);
	app_ping(at("224.0.0.1", 0), 7, 1, "all");
	tap_is(w.r.count.ignored_dest, 2, "and multicast");
	tap_ok(!flow_count(w.r.flows) && !w.n_errors && !w.n_opened, "nothing else happens");
	end(__func__);
}

static void hostile_replies(void)
{
	begin();
	open_flow(srv4, 7);
	receive_datagram(srv4, "\0\0\0\0\0\0", 7, 0);
	receive_datagram(srv4, "\3\0\0\0\0\0\0\0", 8, 0);
	net_reply(at("198.51.100.9", 0), 1, "not asked");
	net_event(EPOLLIN);
	tap_ok(!w.n_written && w.inbox_first == w.inbox_last,
	       "short ones, other types and other hosts are nobody's");
	net_reply(srv4, 1, "Drop");
	net_reply(srv4, 1, "");
	net_reply(srv4, 2, "Block");
	net_reply(srv4, 3, "late");
	net_event(EPOLLIN);
	tap_ok(w.n_written == 1 && !w.written[0].len && w.ended_reason == FLOW_ENDED_BLOCKED,
	       "hooks drop one and block the rest");
	end(__func__);
}

/** changed - an echo whose payload is the hooks', and one that waits for them */
static void changed(void)
{
	struct flow *f;

	begin();
	open_flow(srv4, 7);
	f = flow_of(srv4, 7);
	w.n_sent = 0;
	app_ping(srv4, 7, 5, "Replace");
	tap_ok(w.n_sent == 1 && w.sent[0].len == 8 + 5 && w.sent[0].first == ICMP_ECHO,
	       "a request has its header before another payload");
	net_reply(srv4, 9, "Replace");
	net_event(EPOLLIN);
	tap_ok(w.n_written == 1 && w.written[0].len == 5 && w.written[0].seqno == 9 &&
		       w.written[0].ident == 7 && !memcmp(w.written[0].data, "other", 5),
	       "and a reply");
	app_ping(srv4, 7, 6, "Take");
	tap_is(w.n_sent, 1, "one that hooks keep waits");
	w.resumed = 1;
	relay_icmp_woken(&w.r, f);
	tap_ok(w.n_sent == 2 && w.sent[1].len == 8 + 4, "until they let it");
	net_reply(srv4, 10, "Take");
	w.resumed = 1;
	net_event(EPOLLIN);
	tap_ok(w.n_written == 2 && w.written[1].seqno == 10 && w.written[1].len == 4,
	       "a reply as well");
	w.hook_late_block = true;
	relay_icmp_woken(&w.r, f);
	tap_ok(w.ended_reason == FLOW_ENDED_BLOCKED && w.n_errors == 1, "or the flow ends");
	end(__func__);
}

static void bounds(void)
{
	static char big[65507];

	begin();
	app_icmp(srv4, ICMP_ECHO, 7, 1, big, 65507);
	for (int i = 0; i < 300; i++)
		app_ping(srv4, 7, 1, "x");
	tap_ok(w.r.count.dgram_queue_full == 301 - DGRAM_HOLD_MAX && w.n_notices,
	       "what waits for the owner is bounded");
	relay_icmp_owned(&w.r, flow_of(srv4, 7));
	tap_ok(w.n_sent == DGRAM_HOLD_MAX && w.sent[0].len == 65515,
	       "an unknown owner holds nothing up");
	for (int i = 0; i < 100; i++)
		net_reply(srv4, 1, "y");
	net_event(EPOLLIN);
	tap_ok(w.inbox_first == 64 && w.n_rearm == 1, "and so is the work of one event");
	end(__func__);
}

int main(void)
{
	begin();
	end("nothing");
	there_and_back(srv4);
	there_and_back(srv6);
	mappings();
	errors();
	forbidden();
	ignored();
	hostile_replies();
	changed();
	bounds();
	return tap_done();
}
