/* SPDX-License-Identifier: MIT */
/*
 * timers: owns all deadlines of flows. Others report facts ("a payload passed")
 * and timers.c decides what that means; at most one deadline per flow, in a
 * binary heap. Activity only notes the time; a deadline that comes up early is
 * put back, so the packet path never moves the heap.
 */
#ifndef WEIR_TIMERS_H
#define WEIR_TIMERS_H

#include "flow.h"

struct timers;

struct timers_config {
	uint64_t udp_idle;    /* 300 s: RFC 4787 REQ-5 says at least 2, better 5 min */
	uint64_t dns_idle;    /* 30 s, for port 53 */
	uint64_t icmp_idle;   /* 60 s: RFC 5508 REQ-2 */
	uint64_t tcp_connect; /* 0 = as long as the kernel tries */
	uint64_t tcp_closing; /* an orderly close that nobody completes: 240 s */
	uint64_t owner_wait;  /* 1 s: then the owner is unknown; 0 = wait for ever */
};

struct timers *timers_new(const struct timers_config *cfg, uint32_t max_flows);
void timers_free(struct timers *t);

/** timers_set - (re)arm @f's deadline at @at (monotonic ns) */
void timers_set(struct timers *t, struct flow *f, uint64_t at);
void timers_clear(struct timers *t, struct flow *f);
/** timers_datagram - a datagram passed in either direction; f->rec->last is the fact */
void timers_datagram(struct timers *t, struct flow *f, uint64_t now);
/** timers_next - when the earliest deadline is, 0 = none */
uint64_t timers_next(const struct timers *t);
/**
 * timers_pop - a flow whose deadline has truly passed, or NULL
 *
 * The flow returned has no deadline any more. Datagram flows between NEW and CLOSING that
 * were busy are re-armed instead: their deadline is always the idle time, unless they are held
 * or gated (judge.h).
 */
struct flow *timers_pop(struct timers *t, uint64_t now);
const struct timers_config *timers_config(const struct timers *t);

#endif
