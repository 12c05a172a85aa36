/* SPDX-License-Identifier: MIT */
/*
 * flow: the table of all flows, and the life of one.
 *
 * A flow is one 5-tuple. Its public half, struct flow_rec, lies in memory that
 * worker and supervisor share, written by the worker only: after a worker's
 * crash the supervisor still knows what was lost. The private half, struct
 * flow, is the worker's. Entries are referred to by struct flow_ref (index and
 * generation) in everything that outlives a call: callbacks, timers, messages.
 *
 *   NEW -> OWNED -> JUDGED -> CONNECTING -> OPEN -> CLOSING -> FREE
 *
 * TCP's owner look-up and real connect run side by side: its relay starts the
 * connect in NEW, remembers that in its own half, and takes the edge to
 * CONNECTING when the flow is judged. UDP and echo go from JUDGED to OPEN. No
 * payload is relayed before the owner is known or known to be unknown.
 *
 * Only flow.c writes the common part; flow_set_state() logs and asserts every
 * edge; flow_reap(), at the end of a loop turn, is the only place that frees.
 */
#ifndef WEIR_FLOW_H
#define WEIR_FLOW_H

#include "base/addr.h"
#include "base/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flow_state {
	FLOW_FREE,	 /* Operations: flow_new(). */
	FLOW_NEW,	 /* Entered by the first packet. Owner asked for. */
	FLOW_OWNED,	 /* Owner known, or known to be unknown. Caveat: stays here while
			  * somebody is asked for a decision, or its SYN is left unanswered. */
	FLOW_JUDGED,	 /* Rules and hooks let it pass (judge.h). Caveat: a datagram flow that
			  * rules refuse stays here, so that its next one needs no judgement. */
	FLOW_CONNECTING, /* Upstream connect under way; the program's SYN is held.
			  * Caveat: the program may give up without a word. */
	FLOW_OPEN,	 /* Payload passes. */
	FLOW_CLOSING,	 /* Out of the hash: a new flow may take the 5-tuple.
			  * Caveat: bytes may still wait for the upstream socket. */
	FLOW_STATE_MAX
};

enum flow_reason {			   /* how it ended; flow_reason_text() */
		   FLOW_ENDED_NOT,	   /* still open */
		   FLOW_ENDED_FIN,	   /* both sides closed in order */
		   FLOW_ENDED_RESET_APP,   /* the program reset it */
		   FLOW_ENDED_RESET_NET,   /* the peer reset it */
		   FLOW_ENDED_REFUSED,	   /* connect: refused, unreachable (error in net_errno) */
		   FLOW_ENDED_TIMEOUT,	   /* connect or peer timed out, UDP idle */
		   FLOW_ENDED_APP_GONE,	   /* the program gave up while connecting */
		   FLOW_ENDED_BLOCKED,	   /* a hook or rule */
		   FLOW_ENDED_LIMIT,	   /* a bound of weir's */
		   FLOW_ENDED_CRASH,	   /* the worker died */
		   FLOW_ENDED_SHUTDOWN,	   /* weir ended first */
		   FLOW_ENDED_UNSUPPORTED, /* a protocol weir does not carry */
		   FLOW_ENDED_EVICTED,	   /* silent the longest, it made room in a full table */
		   FLOW_REASON_MAX
};

enum flow_verdict { /* what rules, a decision or a hook said; flow_verdict_text() */
		    FLOW_ALLOW,
		    FLOW_BLOCK,
		    FLOW_DROP,	/* silence */
		    FLOW_RESET, /* after the handshake */
		    FLOW_HELD,	/* waits for somebody's decision */
		    FLOW_WAITS, /* its first payload will tell; goes on that far */
		    FLOW_VERDICT_MAX
};

enum flow_by { /* who said so; with FLOW_BY_RULE and _DECISION flow_rec.rule says which */
	       FLOW_BY_DEFAULT,
	       FLOW_BY_RULE,
	       FLOW_BY_DECISION,
	       FLOW_BY_HOOK,
	       FLOW_BY_KILL, /* `weir kill` */
	       FLOW_BY_MAX
};

/** struct flow_side - what one side has done */
struct flow_side {
	uint64_t bytes;	  /* payload from this side */
	uint64_t packets; /* datagrams; for TCP segments (app), reads (net) */
	uint8_t fin, rst; /* how this side closed */
};

#define FLOW_HOST_MAX 256

/**
 * struct flow_rec - the public half of a flow; plain data, no pointers
 * @id: EVE flow_id: unique in a run (time, worker and counter)
 * @owner: 0 = not known (see @owner_why), else the id of a struct owner
 * @owner_uid: of the socket, -1 when not known
 * @host_slot: 1 + index into the shared host names, 0 = no name
 * @rule: FLOW_BY_RULE: 1 + index in the ruleset of this number; FLOW_BY_DECISION: its number
 * @counted: bytes up and down that rules have been credited with already (judge.h)
 */
struct flow_rec {
	uint64_t id;
	struct addrport app, net;
	uint8_t proto;
	uint8_t state;	 /* enum flow_state */
	uint8_t reason;	 /* enum flow_reason */
	uint8_t verdict; /* enum flow_verdict */
	uint32_t gen;	 /* 28 bits, never 0 while in use: it fits a netsock token */
	uint32_t owner, owner_uid, owner_why;
	uint64_t cookie;
	uint32_t inode;
	uint32_t host_slot;
	uint64_t start_wall;				  /* ns since 1970 */
	uint64_t start, connected, first_byte, last, end; /* monotonic ns, 0 = not yet */
	struct flow_side up, down;			  /* from app, from net */
	int32_t net_errno, app_errno; /* last error of each side, positive, 0 = none */
	uint16_t icmp_ident;	      /* echo only: ports are 0 */
	uint8_t inbound;	      /* the peer opened it: @net is the client, @app the server */
	uint16_t host_port;	      /* inbound: the port outside that the peer came to */
	uint16_t orig_port; /* inbound: the peer's own port, where @net's had to be another */
	uint8_t by;	    /* enum flow_by */
	uint8_t learnt;	    /* the struct learnt beside it holds something (learnt.h) */
	uint32_t rule, ruleset;
	uint64_t counted[2];
};

struct flow_ref {
	uint32_t index, gen;
};

struct flow_key { /* hashed and compared as memory: no padding */
	struct addr app, net;
	uint16_t app_port, net_port;
	uint16_t proto, zero;
};

/** struct flow - the worker's half; common part first, then what its relay needs */
struct flow {
	/* common: written by flow.c only */
	struct flow_rec *rec;
	uint32_t index;
	uint32_t hash_next, reap_next;
	uint32_t older, newer; /* 1 + index: by the last datagram, see flow_touch() */
	bool hashed, reaping;
	bool local; /* its program's side is an accepted socket: relay_local.c, not lwIP */
	/* owned by timers.c: position in the heap, 0 = no deadline */
	uint32_t timer_pos;
	uint64_t deadline;
	/* owner, as the hooks see it; borrowed from the owner cache */
	const struct owner *owner;
	void *relay;	/* owned: struct relay_tcp, udp or icmp state */
	void *hookdata; /* owned by hook.c */
	/* written by judge.c */
	struct judged *judged; /* owned: what the rules said; NULL: nothing worth to be kept */
	bool held;	       /* waits for a decision: nothing passes */
	bool gated;	       /* what the program sends waits for what it will tell */
	bool silent;	       /* nobody has spoken yet: what the program sends will be gated */
	bool metered;	       /* a quota counts its bytes */
	bool refused;	       /* a datagram flow that is kept only to be refused */
};

struct flow_table;

struct flow_table_config {
	uint32_t max_flows;
	uint16_t worker; /* number, part of the flow id */
	void *shared;	 /* flow_table_shared_size() bytes, zeroed, MAP_SHARED; NULL: private */
};

/*
 * Entries beyond max_flows: a flow that has ended keeps its entry until the end of the turn, and
 * one that takes its place needs another. As many as a turn makes: a batch of a device, or of
 * the resolver's datagrams.
 */
#define FLOW_SPARE 256

/** flow_table_entries - how many records there are, and so indexes, where max_flows may live */
static inline uint32_t flow_table_entries(uint32_t max_flows)
{
	return max_flows + FLOW_SPARE;
}

size_t flow_table_shared_size(uint32_t max_flows);
/** flow_table_new - returns NULL on ENOMEM */
struct flow_table *flow_table_new(const struct flow_table_config *cfg);
void flow_table_free(struct flow_table *t);
uint32_t flow_count(const struct flow_table *t); /* not FREE */
uint32_t flow_count_state(const struct flow_table *t, enum flow_state s);
uint32_t flow_count_half_open(const struct flow_table *t); /* TCP, NEW to CONNECTING */

/**
 * flow_find - the live flow of this 5-tuple, or NULL
 *
 * Here and in flow_new() an echo's identifier is passed as @app's port, and
 * @net's port does not count; in the record it is icmp_ident, the ports are 0.
 */
struct flow *flow_find(struct flow_table *t, uint8_t proto, const struct addrport *app,
		       const struct addrport *net);
/**
 * flow_new - an entry in state NEW, in the hash; NULL when the table is full. No such flow yet.
 *
 * Full: max_flows are there that are not released, or no entry is left until flow_reap().
 */
struct flow *flow_new(struct flow_table *t, uint8_t proto, const struct addrport *app,
		      const struct addrport *net, uint64_t now, uint64_t wall);
/** flow_set_inbound - right after flow_new(): the peer opened it, see struct flow_rec */
void flow_set_inbound(struct flow *f, uint16_t host_port, uint16_t orig_port);
struct flow_ref flow_ref(const struct flow *f);
/** flow_get - NULL when the entry was freed or reused since @ref was taken */
struct flow *flow_get(struct flow_table *t, struct flow_ref ref);
uint64_t flow_ref_pack(struct flow_ref ref);
struct flow_ref flow_ref_unpack(uint64_t packed);

/** flow_set_state - the only way to move; asserts that the edge exists. CLOSING unhashes. */
void flow_set_state(struct flow_table *t, struct flow *f, enum flow_state s);
/**
 * flow_touch - a datagram of @f passed: it is now the one that was used last
 *
 * Only flows in state OPEN, or JUDGED and refused, are in this order, each from its first touch
 * until it is CLOSING.
 */
void flow_touch(struct flow_table *t, struct flow *f, uint64_t now);
/** flow_oldest - of those, the one that was touched the longest ago; NULL: there is none */
struct flow *flow_oldest(struct flow_table *t);
/** flow_end - set @reason (the first one stays) and move to CLOSING */
void flow_end(struct flow_table *t, struct flow *f, enum flow_reason reason, uint64_t now);
/** flow_release - nothing refers to it any more: free it in the next flow_reap() */
void flow_release(struct flow_table *t, struct flow *f);
/**
 * flow_reap - call @freeing for each released flow, then free them; returns how many
 *
 * @freeing gives back all that hangs on the flow; a deadline left is a bug (asserted).
 */
unsigned flow_reap(struct flow_table *t, void (*freeing)(void *ctx, struct flow *f), void *ctx);
/**
 * flow_walk - the same for up to @n entries from *@at on, which is moved behind them
 *
 * Returns false when the end was reached. For work on all flows that is done in many turns.
 */
bool flow_walk(struct flow_table *t, uint32_t *at, uint32_t n,
	       void (*fn)(void *ctx, struct flow *f), void *ctx);
/** flow_each - call @fn for each flow not released yet (it may make, end and release flows) */
void flow_each(struct flow_table *t, void (*fn)(void *ctx, struct flow *f), void *ctx);

const char *flow_state_text(unsigned state);
const char *flow_reason_text(unsigned reason);
const char *flow_verdict_text(unsigned verdict);
/** flow_rec_table - the records in shared memory as the supervisor sees them */
struct flow_rec *flow_rec_at(void *shared, uint32_t max_flows, uint32_t index);

#endif
