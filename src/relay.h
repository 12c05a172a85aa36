/* SPDX-License-Identifier: MIT */
/*
 * relay: what the three relays (TCP, UDP, echo) share: the worker's tables and
 * the order in which a flow is owned, judged and shown to hooks.
 *
 * Each relay_*.c answers the same questions:
 *   _packet   the program sent something
 *   _net      its kernel socket became ready (EPOLL* bits)
 *   _owned    the owner is known, or known to be unknown
 *   _judged   what rules say of it has changed, or what it was held for is decided (judge.h)
 *   _woken    hooks have done something outside of the calls that showed them its payload
 *   _timeout  its deadline has passed
 *   _stop     weir ends: finish now
 *   _freeing  flow_reap() is about to free it: give everything back
 */
#ifndef WEIR_RELAY_H
#define WEIR_RELAY_H

#include "config.h"
#include "dest.h"
#include "flow.h"
#include "hook.h"
#include "judge.h"
#include "names.h"
#include "netsock.h"
#include "stack.h"
#include "timers.h"

struct relay_counters {
	uint64_t flows_refused_table, flows_refused_half_open, flows_evicted;
	uint64_t buffer_full, dgram_queue_full;
	uint64_t ignored_dest, unsupported_proto, stray_segments;
};

struct relay {
	const struct config *cfg;
	struct flow_table *flows;
	struct timers *timers;
	struct hook_chain *hooks;
	struct judge *judge;
	struct names *names;
	struct netsock_set *socks;
	const struct stack_sink *sink;
	struct dest_map dest;
	bool uso;
	unsigned mtu;
	uint64_t now, wall; /* of this loop turn */
	size_t moved;	    /* bytes of streams relayed in this loop turn */
	bool draining;	    /* the last program has ended */
	struct relay_counters count;
	/* asks the supervisor; the answer comes as relay_*_owned() */
	void (*ask_owner)(void *ctx, struct flow *f); /* also a second time: relay_in.h */
	/* one line for the user, at most once a second per @what (a constant string) */
	void (*notice)(void *ctx, const char *what, const char *fmt, ...)
		__attribute__((format(printf, 3, 4)));
	void (*flow_ended)(void *ctx, struct flow *f); /* to the record; called once per flow */
	void (*flow_opened)(void *ctx, struct flow *f);
	void (*flow_event)(void *ctx, struct flow *f, enum judge_event what, uint32_t rule);
	void *ctx;
	/* to its relay's _judged(): intercept.c */
	void (*judged)(struct relay *r, struct flow *f, enum judge_say say);
	/* private to each relay: owned by relay_*_init() */
	struct relay_tcp_state *tcp;
	struct relay_local *local; /* NULL: no resolver on loopback */
	struct relay_in *in;	   /* what is published */
	/* by port: steered flows whose peer has it outside; owned by relay_in.c, NULL: none */
	uint32_t *steered_from;
	/* datagrams from a resolver on loopback (dest_is_dns()): relay_local_reply() */
	int (*local_reply)(struct relay *r, const struct udpout *d);
	struct relay_udp_state *udp;
	struct relay_icmp_state *icmp;
};

/** relay_view - how hooks see @f (filled from flow, owner, names) */
struct hook_view relay_view(const struct relay *r, const struct flow *f);

/**
 * relay_flow_new - a flow for this 5-tuple: bounds checked, owner asked for, name
 * looked up. NULL when a bound refuses it (counted and said).
 *
 * A flow for which a full table has no place ends the datagram flow that was silent the
 * longest, if any: those have no end of their own, so most of them are over. A mere record,
 * of a protocol that is not carried, ends nothing.
 *
 * Arms timers_config.owner_wait: a flow that timers_pop() returns in state NEW has no
 * answer yet, and goes on as one without an owner (OWNER_NO_ANSWER), by relay_*_owned().
 */
struct flow *relay_flow_new(struct relay *r, uint8_t proto, const struct addrport *app,
			    const struct addrport *net);

/**
 * struct relay_peer - a peer that comes to a program
 * @client: its own address; @net: as the program sees it
 * @host_port: where it came to, outside, 0: it was steered here; @app: where it is taken, inside
 */
struct relay_peer {
	struct addrport client, net, app;
	uint16_t host_port;
};

/**
 * relay_flow_new_in - the same for a flow that a peer opens
 *
 * Peers get half of the table at most: they must not take the last places from the programs.
 */
struct flow *relay_flow_new_in(struct relay *r, uint8_t proto, const struct relay_peer *p);
/**
 * relay_flow_owned - NEW -> OWNED; with JUDGE_PASS also JUDGED, hooks opened
 *
 * After JUDGE_HOLD the flow stays OWNED. When it was a hook that wants more time (HOOK_PEND),
 * this is called again; else relay_*_judged() is.
 */
enum judge_say relay_flow_owned(struct relay *r, struct flow *f);
/** relay_flow_passed - the same from OWNED on, when rules have said @say later */
enum judge_say relay_flow_passed(struct relay *r, struct flow *f, enum judge_say say);
/**
 * relay_flow_end - hooks closed, record told, state CLOSING, no deadline; once per flow
 *
 * A flow may be CLOSING before (its 5-tuple free for a new one) and ends here all the same.
 */
void relay_flow_end(struct relay *r, struct flow *f, enum flow_reason reason);
/** relay_flow_waits - for its owner, or for somebody's decision: no payload may be relayed yet */
static inline bool relay_flow_waits(const struct flow *f)
{
	return f->rec->state < FLOW_JUDGED || f->held;
}

/* --- TCP: relay_tcp.c -------------------------------------------------------------- */
int relay_tcp_init(struct relay *r);
void relay_tcp_exit(struct relay *r);
void relay_tcp_packet(struct relay *r, const struct packet *p, struct pktbuf *buf);
void relay_tcp_engine(struct relay *r, struct flow *f, unsigned ev);
void relay_tcp_net(struct relay *r, struct flow *f, uint32_t ev);
void relay_tcp_owned(struct relay *r, struct flow *f);
void relay_tcp_judged(struct relay *r, struct flow *f, enum judge_say say);
void relay_tcp_woken(struct relay *r, struct flow *f);
void relay_tcp_timeout(struct relay *r, struct flow *f);
void relay_tcp_stop(struct relay *r, struct flow *f);
void relay_tcp_freeing(struct relay *r, struct flow *f);
/**
 * relay_tcp_resume - at the end of a turn: flows that had more to do than it allows, and those
 * that wait for memory when there is some again; true: some of the first still have more
 */
bool relay_tcp_resume(struct relay *r);
/** relay_tcp_tick - with engine_tick(): flows that wait for memory, where nothing says it is there
 */
void relay_tcp_tick(struct relay *r);
/** relay_tcp_idle - nothing of the program's is still under way (drain) */
bool relay_tcp_idle(const struct relay *r, const struct flow *f);
/** relay_tcp_accepted - @fd, just accepted from @p, becomes a flow (or is reset); owns @fd */
void relay_tcp_accepted(struct relay *r, const struct relay_peer *p, int fd);

/* --- UDP: relay_udp.c -------------------------------------------------------------- */
int relay_udp_init(struct relay *r);
void relay_udp_exit(struct relay *r);
/** relay_udp_packet - a whole datagram; @p->gso_size != 0: several (USO) */
void relay_udp_packet(struct relay *r, const struct packet *p, struct pktbuf *buf);
/** relay_udp_flush - end of a batch of packets: send what was gathered */
void relay_udp_flush(struct relay *r);
/**
 * relay_udp_publish - datagrams to @fd go to @app, answers back; owns @fd, also on failure
 * @private: bound to one address: not the way out for what @app sends to others
 *
 * Returns a token for relay_udp_unpublish(), or a negative errno.
 */
int64_t relay_udp_publish(struct relay *r, const struct addrport *app, uint16_t host_port,
			  bool private, int fd);
/** relay_udp_unpublish - no new flows; those there are end with their idle time */
void relay_udp_unpublish(struct relay *r, uint64_t token);
void relay_udp_net(struct relay *r, uint64_t token, uint32_t epoll_events);
void relay_udp_owned(struct relay *r, struct flow *f);
void relay_udp_judged(struct relay *r, struct flow *f, enum judge_say say);
void relay_udp_woken(struct relay *r, struct flow *f);
void relay_udp_timeout(struct relay *r, struct flow *f);
void relay_udp_stop(struct relay *r, struct flow *f);
void relay_udp_freeing(struct relay *r, struct flow *f);
/** relay_udp_idle - nothing of the program's waits here (drain) */
bool relay_udp_idle(const struct flow *f);

/* --- ICMP and ICMPv6 echo: relay_icmp.c ---------------------------------------------- */
int relay_icmp_init(struct relay *r);
void relay_icmp_exit(struct relay *r);
void relay_icmp_packet(struct relay *r, const struct packet *p, struct pktbuf *buf);
void relay_icmp_net(struct relay *r, uint64_t token, uint32_t epoll_events);
void relay_icmp_owned(struct relay *r, struct flow *f);
void relay_icmp_judged(struct relay *r, struct flow *f, enum judge_say say);
void relay_icmp_woken(struct relay *r, struct flow *f);
void relay_icmp_timeout(struct relay *r, struct flow *f);
void relay_icmp_stop(struct relay *r, struct flow *f);
void relay_icmp_freeing(struct relay *r, struct flow *f);

#endif
