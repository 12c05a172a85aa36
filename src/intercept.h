/* SPDX-License-Identifier: MIT */
/*
 * intercept: the conductor. Takes packets from the device to the relay of their
 * protocol, events of sockets and answers about owners to the flow they are
 * for, and closes each loop turn: what was gathered goes out, what has ended is
 * freed. Knows no libuv: the worker calls it with the time.
 */
#ifndef WEIR_INTERCEPT_H
#define WEIR_INTERCEPT_H

#include "owner.h"
#include "relay.h"

/** struct intercept - one worker's datapath; @relay is set up by the worker */
struct intercept {
	struct relay relay;
	struct front *front; /* owned */
	struct pktbuf *buf;  /* owned: the next packet's */
	int tun_fd;	     /* borrowed */
	int tun_batch;	     /* packets to read at once, see intercept_tun() */
};

/** intercept_init - relay.cfg, flows, timers, hooks, names, socks and sink are set; 0 or -errno */
int intercept_init(struct intercept *ic);
void intercept_exit(struct intercept *ic);
/** intercept_now - at the start of each loop turn, before anything else */
void intercept_now(struct intercept *ic, uint64_t now, uint64_t wall);
/** intercept_tun - read a batch; returns true when the device may have more */
bool intercept_tun(struct intercept *ic);

#define INTERCEPT_BATCH 64 /* events taken in one go */

/** intercept_event - one event of a flow's socket (any kind but TUN and LOOP) */
void intercept_event(struct intercept *ic, const struct epoll_event *ev);
/**
 * intercept_owner - the supervisor's answer; @o is NULL for an unknown process
 *
 * When the flow takes it, it refers to @o until relay.flow_ended() is called for it. Returns the
 * description that nobody refers to here: @o, the one that it replaces, or NULL.
 */
const struct owner *intercept_owner(struct intercept *ic, struct flow_ref ref,
				    const struct owner_answer *a, const struct owner *o);
/** intercept_deadlines - flows whose deadline has passed */
void intercept_deadlines(struct intercept *ic);
/** intercept_tick - every ENGINE_TICK_MS, while intercept_wants_tick() */
void intercept_tick(struct intercept *ic);
/** intercept_wants_tick - false: no connection and no fragment, nothing that time changes */
bool intercept_wants_tick(const struct intercept *ic);
/** intercept_turn_end - send what was gathered, free what has ended; true: work is left */
bool intercept_turn_end(struct intercept *ic);
/** intercept_idle - no byte of a program is still under way to the net */
bool intercept_idle(struct intercept *ic);
/** intercept_stop - end every flow */
void intercept_stop(struct intercept *ic);

#endif
