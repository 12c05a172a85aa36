/* SPDX-License-Identifier: MIT */
/*
 * relay_tcp: private to relay_tcp*.c: one TCP flow between lwIP and a socket.
 */
#ifndef WEIR_RELAY_TCP_H
#define WEIR_RELAY_TCP_H

#include <sys/queue.h>

#include "relay.h"

/**
 * struct held_syn - the program's SYN, held until the connect is decided
 * @waiting: in relay_tcp_state.half_open
 * @seen: when it came last
 */
struct held_syn {
	TAILQ_ENTRY(held_syn) waiting;
	struct flow *flow;
	uint64_t seen;
	uint16_t len;
	uint8_t data[];
};

/**
 * struct relay_tcp - what a TCP flow needs beside its record
 * @conn: owned; NULL until the SYN is answered
 * @syn: owned; NULL once the SYN is answered
 * @held: owned; bytes for the program that lwIP had no memory for
 * @up_ok: bytes at the head of lwIP's queue that go on as they are, when the socket takes them
 * @up_taken: bytes behind these that hooks have taken
 * @next: in the list of flows that want another turn
 */
struct relay_tcp {
	struct engine_conn *conn;
	struct held_syn *syn;
	uint8_t *held;
	struct flow *next;
	struct dnsstream *dns; /* owned; answers of port 53 */
	uint32_t held_len, held_cap;
	uint32_t up_ok, up_taken;
	uint64_t probe_start; /* see relay_tcp_alive.c */
	uint64_t cut_until;   /* when the reset comes at last */
	int fd;
	int16_t connect_err;
	int16_t net_err; /* the socket broke, but bytes from before wait in it */
	bool connected : 1;
	bool net_readable : 1;
	bool net_writable : 1;
	/* FIN or error stands behind what is unread, or an urgent mark (at which recv() stops)
	 * in it: a short read does not mean that the socket is empty */
	bool net_over : 1;
	bool net_fin : 1;   /* the peer sent FIN, all its bytes are read */
	bool app_fin : 1;   /* the program sent FIN, its bytes are in lwIP's queue */
	bool up_shut : 1;   /* FIN passed on to the peer */
	bool down_shut : 1; /* FIN passed on to the program */
	bool up_last : 1;   /* hooks were told that no more will come */
	bool down_last : 1;
	bool closed : 1;    /* lwIP is done with both directions */
	bool queued : 1;    /* in a list of struct relay_tcp_state */
	bool keepalive : 1; /* the program has SO_KEEPALIVE on: it has sent a probe */
	bool probing : 1;   /* its probe waits for the peer's answer */
	bool dead : 1;	    /* the peer fell silent: so do we */
	bool served : 1;    /* inbound: the program has answered, so its socket has an owner */
	bool doomed : 1;    /* rules say reset: the handshake is made, and nothing else */
	bool cut : 1;	    /* a quota is used up: what has passed is delivered, then it is reset */
	bool early : 1;	    /* the SYN was answered before the network was asked */
	bool waiting : 1;   /* inbound: in a list of struct relay_tcp_dials */
};

/* One recv() fills up to so many segments: fewer calls, and fewer ACKs to the peer. */
#define RELAY_TCP_BUFS 4

/** struct relay_tcp_list - flows that want another turn; who came first is first */
struct relay_tcp_list {
	struct flow *first, *last;
	unsigned n;
};

/* Connections to servers are spread over so many lists, by port. */
#define RELAY_TCP_DIALS 256

/**
 * struct relay_tcp_dials - connections to servers that lwIP opens, one after the other
 * @unanswered: the last one, as long as the server's kernel has not answered; since @since
 */
struct relay_tcp_dials {
	struct relay_tcp_list waiting;
	const struct relay_tcp *unanswered;
	uint64_t since;
};

/** struct relay_tcp_state - shared by all TCP flows of a worker */
struct relay_tcp_state {
	struct relay_tcp_list ready;   /* had more to do than one turn allows */
	struct relay_tcp_list starved; /* wait for memory that others have */
	struct relay_tcp_dials dials[RELAY_TCP_DIALS];
	unsigned waiting;		     /* in all of them */
	TAILQ_HEAD(, held_syn) half_open;    /* the one whose SYN came last is the last */
	struct pktbuf *bufs[RELAY_TCP_BUFS]; /* owned: the next read's; NULL: take a fresh one */
};

static inline struct relay_tcp *relay_tcp_of(const struct flow *f)
{
	return f->relay;
}

/* relay_tcp_pump.c: both return false when the flow has ended */
bool relay_tcp_pump_up(struct relay *r, struct flow *f);
bool relay_tcp_pump_down(struct relay *r, struct flow *f);

/* relay_tcp.c */
void relay_tcp_end(struct relay *r, struct flow *f, enum flow_reason reason);
void relay_tcp_net_failed(struct relay *r, struct flow *f, int err);
bool relay_tcp_net_broken(struct relay *r, struct flow *f, int err);
/** relay_tcp_refused - hooks have answered @rc: the flow ends */
void relay_tcp_refused(struct relay *r, struct flow *f, int rc);
void relay_tcp_blocked(struct relay *r, struct flow *f, enum flow_reason reason);
void relay_tcp_spent(struct relay *r, struct flow *f);
void relay_tcp_again(struct relay_tcp_list *list, struct flow *f);

/* relay_tcp_alive.c */
void relay_tcp_probe(struct relay *r, struct flow *f);
void relay_tcp_probe_poll(struct relay *r, struct flow *f);
void relay_tcp_die(struct relay *r, struct flow *f);
void relay_tcp_dead_packet(struct relay *r, struct flow *f, const struct packet *p);

#endif
