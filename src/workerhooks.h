/* SPDX-License-Identifier: MIT */
/*
 * workerhooks: what hooks ask of the worker that they run in (struct hook_env): what is known of a
 * flow, the time, timers and watched descriptors of its loop.
 */
#ifndef WEIR_WORKERHOOKS_H
#define WEIR_WORKERHOOKS_H

#include "outbox.h"
#include "relay.h"

#include <sys/queue.h>
#include <uv.h>

/**
 * struct workerhooks - part of the worker
 * @relay, @loop, @outbox: borrowed
 * @opens: what was asked for and is not answered yet
 * @rearmed: set when libuv has something to tell its epoll set
 */
struct workerhooks {
	struct relay *relay;
	uv_loop_t *loop;
	bool *rearmed;
	struct outbox *outbox;
	uint32_t next_open;
	struct hook_stats *stats;
	uv_timer_t refresh; /* of the hooks' lines, some time after they were called */
	uint64_t calls;	    /* when that was armed last */
	TAILQ_HEAD(, hook_open) opens;
	TAILQ_HEAD(, weir_timer) timers;
	TAILQ_HEAD(, weir_watch) watches;
};

/** workerhooks_scopes - if= of hooks; holds() wants a struct workerhooks */
extern const struct hook_scopes workerhooks_scopes;

/** workerhooks_init - @stats: HOOK_CHAIN_MAX of them, shared with the supervisor */
void workerhooks_init(struct workerhooks *wh, struct relay *r, uv_loop_t *loop, bool *rearmed,
		      struct hook_stats *stats);
/** workerhooks_turn - at the end of each turn */
void workerhooks_turn(struct workerhooks *wh);
/** workerhooks_env - what the chain needs of us; refers to @wh */
struct hook_env workerhooks_env(struct workerhooks *wh);
/**
 * workerhooks_load - all of --hook, in its order, by paths relative to @cwd; 0 or -errno, said
 *
 * Before the lock-down.
 */
int workerhooks_load(struct hook_chain *c, const struct config *cfg, int cwd);
/** workerhooks_ask - tell the supervisor what may be opened and is to be started; before the
 * lock-down */
void workerhooks_ask(struct workerhooks *wh, struct outbox *outbox);
/** workerhooks_allow - the system calls that hooks need, for the lock-down; 0 or -errno, said */
int workerhooks_allow(const struct hook_chain *c);
/** workerhooks_take - an answer of the supervisor's; @fd: owned from here on, or -1 */
void workerhooks_take(struct workerhooks *wh, const struct ipc_hook *h, int fd);
/** workerhooks_close - what hooks have left, after the last of them was unloaded */
void workerhooks_close(struct workerhooks *wh);

#endif
