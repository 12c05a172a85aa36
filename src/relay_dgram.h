/* SPDX-License-Identifier: MIT */
/*
 * relay_dgram: what UDP and echo share.
 *
 * Theory of operation
 *
 * A mapping (struct dgram_map) is one program address and port, or echo
 * identifier, and the one socket outside that stands for it, whatever the
 * destination (RFC 4787 REQ-1: endpoint-independent mapping). Flows refer to
 * it and are counted; it goes with the last one. It is found by address when a
 * flow is made, and by index and generation when its socket has an event.
 *
 * Datagrams that cannot go on yet wait in a hold (struct dgram_hold) as copies,
 * in order and bounded: those of a flow until its owner is known, and those of
 * a mapping whose socket takes no more for the moment.
 */
#ifndef WEIR_RELAY_DGRAM_H
#define WEIR_RELAY_DGRAM_H

#include "relay.h"

/* Reports read in one go: more than a traceroute has under way, little for one turn. */
#define DGRAM_ERRORS_MAX 256

/* --- held datagrams ---------------------------------------------------------------- */

/* A burst of one owner look-up (100 us) at 1 Mpps; bytes are bounded by the configuration. */
#define DGRAM_HOLD_MAX 256

struct dgram_held {
	struct dgram_held *next;
	struct flow_ref flow;
	struct addrport peer; /* where to: hold of a mapping only */
	struct addr local;
	enum hook_dir dir;
	uint8_t ttl, tos;
	bool df;
	size_t len;
	uint8_t data[];
};

struct dgram_hold {
	struct dgram_held *first, *last;
	unsigned count;
	size_t bytes;
};

/** struct dgram_budget - bytes that all holds of a relay may keep, and keep (with their own) */
struct dgram_budget {
	size_t flow_max, max, used;
};

/** dgram_hold_push - a copy of @d at the end; -ENOBUFS over a bound, -ENOMEM */
int dgram_hold_push(struct dgram_hold *h, struct dgram_budget *b, struct flow_ref flow,
		    enum hook_dir dir, const struct netsock_dgram *d);
/** dgram_hold_pop - the oldest, to be freed by the caller, or NULL */
struct dgram_held *dgram_hold_pop(struct dgram_hold *h, struct dgram_budget *b);
void dgram_hold_drop_all(struct dgram_hold *h, struct dgram_budget *b);
/** dgram_held_view - @held as a datagram; borrows it */
struct netsock_dgram dgram_held_view(const struct dgram_held *held);

/* --- mappings ------------------------------------------------------------------------ */

/**
 * struct dgram_map - one program port and its socket
 * @refs: flows that use it
 * @fd: owned; -1 until it is opened
 * @backlog: passed by hooks, but the socket is full
 * @out_first, @out_last, @dirty_next, @dirty: gathered for the next flush (relay_udp.c)
 * @flows: relay_udp.c's list of the flows that use it
 * @published: bound for peers to come to: @host_port, 0 when no more shall; holds a reference
 * @private: it is not the way out for flows of the program's own
 */
struct dgram_map {
	uint32_t index, gen;
	uint32_t hash_next; /* 1 + index */
	uint32_t refs;
	struct addrport app;
	int fd;
	bool v4;
	struct dgram_hold backlog;
	uint32_t out_first, out_last;
	struct dgram_map *dirty_next;
	bool dirty, published, private;
	uint16_t host_port;
	struct relay_udp *flows;
};

#define DGRAM_NONE UINT32_MAX /* no datagram: out_first, out_last */

struct dgram_maps;

struct dgram_maps *dgram_maps_new(void); /* NULL on ENOMEM */
void dgram_maps_free(struct dgram_maps *t);
unsigned dgram_maps_count(const struct dgram_maps *t);
/**
 * dgram_map_open - the mapping of @app, or a new one with its socket of @kind (UDP or ICMP)
 *
 * Without references yet. NULL and *@err (positive) when there is no memory or no socket.
 */
struct dgram_map *dgram_map_open(struct relay *r, struct dgram_maps *t, const struct addrport *app,
				 enum netsock_kind kind, int *err);
/** dgram_map_new - without socket and references, beside others of @app; NULL on ENOMEM */
struct dgram_map *dgram_map_new(struct dgram_maps *t, const struct addrport *app);
/** dgram_map_get - by an event's token; NULL when it is gone */
struct dgram_map *dgram_map_get(const struct dgram_maps *t, uint64_t token);
uint64_t dgram_map_token(const struct dgram_map *m, enum netsock_kind kind);
/** dgram_map_free - close the socket too; the backlog must be empty */
void dgram_map_free(struct dgram_maps *t, struct dgram_map *m);

/* --- errors for the program ------------------------------------------------------------ */

/* Both families' "communication administratively prohibited" (RFC 1812 5.2.7.1, RFC 4443 3.1) */
struct icmp_error dgram_prohibited(const struct addr *net);
/** dgram_give_error - send @e for the datagram @payload of @f; @err (not 0) goes into its record */
void dgram_give_error(struct relay *r, struct flow *f, int err, const struct icmp_error *e,
		      const void *payload, size_t len);
/** dgram_give_errno - the same for an error that the host's own kernel gave */
void dgram_give_errno(struct relay *r, struct flow *f, int err, uint32_t mtu, const void *payload,
		      size_t len);
/**
 * dgram_drain_errors - hand every report of @m's error queue to the program it concerns
 * @proto: of the flows
 * @mtu: set to the MTU of a local "message too long", when not NULL
 *
 * Returns how many remote reports there were. Local errors are not handed on: the
 * send call that met them returns them as well, and knows its datagram.
 */
unsigned dgram_drain_errors(struct relay *r, struct dgram_map *m, uint8_t proto, uint32_t *mtu);
/**
 * dgram_send - netsock_dgram_send(), with errors that are truly the first datagram's own
 * @mtu: of the path, when the error is EMSGSIZE and the kernel told it, else 0
 *
 * A report that waits in the socket makes the next send fail, whatever its
 * destination: so an error counts only when it comes again with the queue empty.
 */
int dgram_send(struct relay *r, struct dgram_map *m, uint8_t proto, const struct netsock_dgram *d,
	       int n, uint32_t *mtu);

/**
 * dgram_refuse - rules refuse @f, and here is a datagram of it (or NULL: the news of it)
 *
 * "Administratively prohibited", or silence, as the record's verdict says. The flow stays.
 */
void dgram_refuse(struct relay *r, struct flow *f, const void *payload, size_t len);
/**
 * dgram_within - may this datagram pass by its quotas? It is counted then
 *
 * Else it is lost, and a program that sent it is told that it is prohibited.
 */
bool dgram_within(struct relay *r, struct flow *f, enum hook_dir dir, const void *payload,
		  size_t len);
/** dgram_opened - a judged flow is open: its datagrams may pass */
void dgram_opened(struct relay *r, struct flow *f);
/** dgram_seen - a datagram of @f has come, from either side: it is in use */
void dgram_seen(struct relay *r, struct flow *f);
/** dgram_end - timers, record, state; the entry goes at the end of the turn */
void dgram_end(struct relay *r, struct flow *f, enum flow_reason reason);
/** dgram_idle_reason - why a flow that nobody uses any more ended */
enum flow_reason dgram_idle_reason(const struct flow *f);
/** dgram_stop_reason - the same where weir ends and the flow might have gone on */
enum flow_reason dgram_stop_reason(enum flow_reason idle);

#endif
