/* SPDX-License-Identifier: MIT */
/*
 * hook: the one place where inspection sees a payload.
 *
 * relay passes every chunk and datagram of both directions through here; the
 * chain may be empty. Contract of a stream hook (accepted-bytes rule):
 *
 *   - it is shown all bytes that are not yet accepted, from the oldest;
 *   - it returns how many of them, from the front, it accepts; those go on to
 *     the next hook and to the peer, in order, exactly once;
 *   - what it does not accept stays with the relay, which keeps the sender's
 *     window closed by as much, and is shown again with more behind it;
 *   - when @last is set no more will come: what is not accepted then is the
 *     end of the flow (reset);
 *   - HOOK_BLOCK ends the flow; the first block is latched.
 *
 * hook_chain_*() assert that, clamp and count; nobody else calls a hook.
 */
#ifndef WEIR_HOOK_H
#define WEIR_HOOK_H

#include "flow.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum hook_dir { HOOK_UP, HOOK_DOWN };

#define HOOK_BLOCK (-1) /* instead of a count of bytes: end this flow */

/** struct hook_view - what a hook may know of a flow */
struct hook_view {
	const struct flow_rec *rec;
	const struct owner *owner; /* NULL: unknown, rec->owner_why */
	const char *host;	   /* NULL: no name */
};

/** struct hook_ops - a hook; every member but @name may be NULL */
struct hook_ops {
	const char *name;
	/** load - returns the hook's state or NULL (*err says why) */
	void *(*load)(const char *args, const char **err);
	void (*unload)(void *state);
	/** open - a new flow; 0 or HOOK_BLOCK; *@fstate (NULL before) is the hook's per-flow state
	 */
	int (*open)(void *state, const struct hook_view *v, void **fstate);
	/** chunk - see the contract above */
	ssize_t (*chunk)(void *state, void *fstate, const struct hook_view *v, enum hook_dir dir,
			 const uint8_t *data, size_t len, bool last);
	/** datagram - 0 passes, 1 drops this one, HOOK_BLOCK ends the flow */
	int (*datagram)(void *state, void *fstate, const struct hook_view *v, enum hook_dir dir,
			const uint8_t *data, size_t len);
	/** close - for each flow that open was called for, also when that answered HOOK_BLOCK */
	void (*close)(void *state, void *fstate, const struct hook_view *v);
	/** report - one line about what was seen, for the end of the run */
	void (*report)(void *state, char *line, size_t size);
};

struct hook_chain;

/** hook_chain_new - an empty chain, or NULL */
struct hook_chain *hook_chain_new(void);
void hook_chain_free(struct hook_chain *c);
/** hook_chain_add - "NAME[=ARGS]" of a built-in hook; 0, or -ENOENT or -EINVAL with *err */
int hook_chain_add(struct hook_chain *c, const char *spec, const char **err);
bool hook_chain_empty(const struct hook_chain *c);

/** hook_chain_open - 0, HOOK_BLOCK or -ENOMEM; call once, when the owner is known */
int hook_chain_open(struct hook_chain *c, struct flow *f, const struct hook_view *v);
/**
 * hook_chain_chunk - how many bytes may go on (0..len), or HOOK_BLOCK
 *
 * The caller takes exactly that many from the front of its queue; the rest comes first
 * in @data of the next call. Less than @len with @last: the chain is done with these
 * bytes only, and the flow ends with a reset behind them.
 */
ssize_t hook_chain_chunk(struct hook_chain *c, struct flow *f, const struct hook_view *v,
			 enum hook_dir dir, const uint8_t *data, size_t len, bool last);
int hook_chain_datagram(struct hook_chain *c, struct flow *f, const struct hook_view *v,
			enum hook_dir dir, const uint8_t *data, size_t len);
void hook_chain_close(struct hook_chain *c, struct flow *f, const struct hook_view *v);
/** hook_chain_report - call @fn with one line for each hook */
void hook_chain_report(struct hook_chain *c, void (*fn)(void *ctx, const char *line), void *ctx);

extern const struct hook_ops hook_count; /* src/hooks/count.c */

#endif
