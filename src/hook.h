/* SPDX-License-Identifier: MIT */
/*
 * hook: the one place where inspection sees a payload.
 *
 * relay passes every chunk and datagram of both directions through here; the chain may be empty.
 * What hooks are promised, and may answer, is in weir/hook.h. What relay and chain promise each
 * other about a stream:
 *
 *   - relay offers new bytes in order, each once, when hook_chain_room() has a place for them;
 *   - the chain says how many of them, from the front, go on as they are (relay sends its own
 *     bytes, without a copy); the rest it has taken: relay forgets them;
 *   - behind those the relay sends what hook_chain_output() shows, before it offers anything
 *     again. That is what hooks have held, changed or made;
 *   - @last is told once, with the last bytes or alone; the direction has ended where it goes
 *     to when hook_chain_over() says so, which a hook may bring about earlier;
 *   - a negative answer ends the flow; the first block is latched.
 *
 * Whatever happens outside of such a call (a timer of a hook, an answer that it waited for)
 * wakes the flow: relay gets it from hook_chain_woken() before the turn ends.
 */
#ifndef WEIR_HOOK_H
#define WEIR_HOOK_H

#include "expr.h"
#include "flow.h"

#include "weir/hook.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum hook_dir { HOOK_UP = WEIR_UP, HOOK_DOWN = WEIR_DOWN };

/* Answers other than 0, apart from -errno. */
#define HOOK_BLOCK WEIR_BLOCK /* end this flow */
#define HOOK_DROP  WEIR_DROP  /* a flow: silently; a datagram: this one */
#define HOOK_PEND  WEIR_PEND  /* not decided yet; the flow will be woken */
#define HOOK_LIMIT (-5)	      /* a hook holds more than the flow may keep */
#define HOOK_TAKEN (-6)	      /* a datagram waits in the chain, or has become another */

#define HOOK_CHAIN_MAX 16

/**
 * struct hook_view - what may be known of a flow
 * @owner: NULL: unknown, rec->owner_why
 * @host, @rule: NULL: none
 */
struct hook_view {
	const struct flow_rec *rec;
	const struct owner *owner;
	const char *host, *rule;
};

struct expr;

/**
 * struct hook_scopes - how if= is read and evaluated (expr.h, which the chain does without)
 * @compile: 0 or -errno, and a line in @err
 * @holds: what it says of @f now; @ctx: of struct hook_env
 */
struct hook_scopes {
	int (*compile)(const char *text, struct expr **e, char *err, size_t errsize);
	void (*free)(struct expr *e);
	uint64_t (*fields)(const struct expr *e);
	enum expr_truth (*holds)(void *ctx, const struct expr *e, const struct flow *f);
};

/**
 * struct hook_env - the chain's surroundings; every member but @view may be NULL or 0
 * @view: what is known of @f now
 * @clock: ns, to measure calls with
 * @now: of this turn
 * @scopes: NULL: there is no if=
 * @learned: a hook has learnt a field of @f; @field NULL: nothing more will be
 * @limit: a flow's bytes in each direction; @total: of all flows
 */
struct hook_env {
	void (*view)(void *ctx, const struct flow *f, struct hook_view *v);
	uint64_t (*clock)(void);
	uint64_t (*now)(void *ctx);
	const struct hook_scopes *scopes;
	void (*learned)(void *ctx, struct flow *f, const char *field, const char *value);
	int (*tag)(void *ctx, struct flow *f, const char *tag);
	int (*event)(void *ctx, struct flow *f, const char *type, const char *json);
	struct weir_timer *(*timer)(void *ctx, unsigned ms, void (*fn)(void *arg), void *arg);
	void (*timer_stop)(struct weir_timer *t);
	struct weir_watch *(*watch)(void *ctx, int fd, unsigned events,
				    void (*fn)(void *arg, unsigned events), void *arg);
	int (*watch_set)(struct weir_watch *w, unsigned events);
	void (*watch_stop)(struct weir_watch *w);
	int (*open)(void *ctx, unsigned hook, const char *path, int flags,
		    void (*fn)(void *arg, int fd), void *arg);
	struct hook_stats *stats; /* HOOK_CHAIN_MAX of them, zeroed; NULL: the chain's own */
	size_t limit, total;
	bool check; /* hooks are loaded and configured to see whether they can be: not ready() */
	void *ctx;
};

/**
 * struct hook_stats - of one hook, since the start; plain data, may lie in shared memory
 * @line: its report, see hook_chain_refresh()
 */
struct hook_stats {
	char name[32];
	char line[200];
	uint64_t flows, calls, bytes, ns;
	uint64_t holds, pends, edits, errors, over_budget, out_of_range;
};

struct hook_chain;

/** hook_chain_new - an empty chain, or NULL; @env is copied */
struct hook_chain *hook_chain_new(const struct hook_env *env);
void hook_chain_free(struct hook_chain *c);
/**
 * hook_chain_add - load "NAME[=ARGS]" of a built-in hook, or "PATH.so[=ARGS]"
 * @err: one line, when it returns -ENOENT, -EINVAL or -ENOMEM
 */
int hook_chain_add(struct hook_chain *c, const char *spec, char *err, size_t errsize);
/** hook_chain_add_hook - the same for @hook, which need not be built in */
int hook_chain_add_hook(struct hook_chain *c, const struct weir_hook *hook, const char *args,
			char *err, size_t errsize);
bool hook_chain_empty(const struct hook_chain *c);
/** hook_chain_by_rule - the hook called @name gets only flows that are picked for it, or (@on
 * false) all again; 0 or -ENOENT */
int hook_chain_by_rule(struct hook_chain *c, const char *name, bool on);
/** hook_chain_fields - bits (expr_fields()) of what scopes look at */
uint64_t hook_chain_fields(const struct hook_chain *c);
/** hook_chain_hooks - how many there are; those below are asked by number, from 0 */
unsigned hook_chain_hooks(const struct hook_chain *c);
/** hook_chain_paths - what it may open later, blanks between; NULL: nothing. Likewise a program's
 * words, and names of system calls */
const char *hook_chain_paths(const struct hook_chain *c, unsigned k);
const char *const *hook_chain_process(const struct hook_chain *c, unsigned k);
const char *hook_chain_syscalls(const struct hook_chain *c, unsigned k);
/** hook_chain_connected - its program's socket (owned by the hook from here), or -errno: it ended
 */
void hook_chain_connected(struct hook_chain *c, unsigned k, int fd);
/** hook_chain_listen - peers may come to @at from now on (@ended: no longer); 0 or HOOK_BLOCK */
int hook_chain_listen(struct hook_chain *c, uint8_t proto, const struct addrport *at, bool ended);
/** hook_chain_locked - the lock-down has happened: hooks may watch descriptors */
void hook_chain_locked(struct hook_chain *c);
/** hook_chain_reload - the user asked for it: tell each hook */
void hook_chain_reload(struct hook_chain *c);
/** hook_chain_stats - where the @k-th hook counts; NULL: there is none */
const struct hook_stats *hook_chain_stats(const struct hook_chain *c, unsigned k);
/** hook_chain_bytes - what the chain keeps, of all flows */
size_t hook_chain_bytes(const struct hook_chain *c);
/** hook_chain_calls - of all hooks: whether something has changed */
uint64_t hook_chain_calls(const struct hook_chain *c);
/** hook_chain_refresh - ask each hook for its line */
void hook_chain_refresh(struct hook_chain *c);
/** hook_chain_hush - the hook added last reports nothing: nobody has asked for it */
void hook_chain_hush(struct hook_chain *c);
/** hook_chain_report - call @fn with one line for each hook that has something to say */
void hook_chain_report(struct hook_chain *c, void (*fn)(void *ctx, const char *line), void *ctx);

/* --- a flow ---------------------------------------------------------------------------- */

/** struct hook_head - what f->hookdata begins with */
struct hook_head {
	bool direct; /* no hook wants its payload (any more): it need not be offered */
};

/** hook_direct - payload of @f goes on as it is: the calls below would change nothing */
static inline bool hook_direct(const struct flow *f)
{
	const struct hook_head *h = f->hookdata;

	return h && h->direct;
}

/**
 * hook_chain_open - when the owner is known; 0, HOOK_BLOCK, HOOK_DROP, HOOK_PEND or -ENOMEM
 *
 * After HOOK_PEND the flow is woken, and this is called again. A payload offered before it has
 * returned 0 is blocked.
 */
int hook_chain_open(struct hook_chain *c, struct flow *f);
/** hook_chain_close - with the flow's record complete; nothing is left in the chain of it */
void hook_chain_close(struct hook_chain *c, struct flow *f);

/**
 * hook_chain_gate - close or open @f's gate; 0 or -ENOMEM
 *
 * It stands behind the hook `names`, where that is the first one, else before all. Closed, no
 * payload passes it, and no output is shown. When it opens, scopes that were not decided
 * (hook_chain_unsure()) are: those who then get the flow are opened. May be called within a
 * hook's callback.
 */
int hook_chain_gate(struct hook_chain *c, struct flow *f, bool open);
/** hook_chain_unsure - is there a hook whose if= depends on what is not known of @f yet? */
bool hook_chain_unsure(const struct flow *f);
/**
 * hook_chain_pick - a rule gives @f to the hook called @name, with @args (copied, or NULL)
 *
 * Before hook_chain_open(), or at any time after it: then the hook sees what passes from now on,
 * and while it does not know whether the flow may be (WEIR_PEND) the gate is closed. 0 (also
 * when it has the flow already), -ENOENT, -ENOMEM. May be called within a hook's callback.
 */
int hook_chain_pick(struct hook_chain *c, struct flow *f, const char *name, const char *args);
/** hook_chain_refuse - latch a block that is not a hook's: all calls below answer HOOK_BLOCK */
void hook_chain_refuse(struct flow *f);

/** hook_chain_woken - a flow that something has happened to; NULL: no (more) such flow */
struct flow *hook_chain_woken(struct hook_chain *c);

/** struct hook_passed - what became of bytes offered: @as_is from the front, @taken behind them */
struct hook_passed {
	size_t as_is, taken;
};

/** hook_chain_chunk - offer bytes of a stream (see above); 0, HOOK_BLOCK or HOOK_LIMIT */
int hook_chain_chunk(struct hook_chain *c, struct flow *f, enum hook_dir dir, const uint8_t *data,
		     size_t len, bool last, struct hook_passed *out);
/** hook_chain_run - of a woken flow: ask hooks again; as hook_chain_chunk() */
int hook_chain_run(struct flow *f, enum hook_dir dir);
/** hook_chain_room - how many bytes may be offered: 0 while output or a hook's answer waits */
size_t hook_chain_room(const struct flow *f, enum hook_dir dir);
/** hook_chain_output - bytes to send; 0: none. Borrowed until the next call */
size_t hook_chain_output(const struct flow *f, enum hook_dir dir, const uint8_t **data);
/** hook_chain_sent - @n bytes of the output have gone */
void hook_chain_sent(struct flow *f, enum hook_dir dir, size_t n);
/** hook_chain_over - no byte will come out any more, and the end is to be passed on */
bool hook_chain_over(const struct flow *f, enum hook_dir dir);

/**
 * struct hook_dgram - a datagram; all but @data and @len is the relay's own business, kept with it
 */
struct hook_dgram {
	const uint8_t *data;
	size_t len;
	uint8_t head[8]; /* in front of the payload (echo) */
	uint8_t ttl, tos;
	bool df;
};

/**
 * hook_chain_datagram - 0: @d goes on, perhaps with other @data (borrowed until the next call);
 * HOOK_DROP, HOOK_BLOCK, HOOK_TAKEN
 */
int hook_chain_datagram(struct hook_chain *c, struct flow *f, enum hook_dir dir,
			struct hook_dgram *d);
/**
 * hook_chain_next_datagram - one that has waited in the chain (woken, or HOOK_TAKEN)
 *
 * 1 and *@d (borrowed until the next call), 0: no more now, or HOOK_BLOCK.
 */
int hook_chain_next_datagram(struct flow *f, enum hook_dir dir, struct hook_dgram *d);

#endif
