/* SPDX-License-Identifier: MIT */
/*
 * hook_impl: private to hook*.c.
 *
 * Theory of operation
 *
 * The hooks of a chain are the stages of a line, per flow and direction. Stage k holds the bytes
 * that hook k has not accepted yet; what lies in stage n, behind the last one, is the output.
 *
 *   offered -> [stage 0] hook 0 -> [stage 1] hook 1 -> [stage 2] -> sent
 *
 * As long as every hook accepts what it is shown, unchanged, there are no stages: all hooks look at
 * the relay's own bytes, which then go on as they are. When one accepts less, the rest is
 * copied into its stage, and a line exists (struct hook_line) until it is empty again. The relay
 * so never keeps bytes that a hook has not accepted.
 *
 * An edit is made when the callback has returned: the accepted bytes are copied with the edits into
 * the next stage, and what the hook has injected goes behind them. So bytes that a hook makes
 * are seen by those behind it, and by no other.
 *
 * Each stage has an end: bit k of hook_side.ended says that nothing more will come into stage k.
 * Hook k is told so (WEIR_LAST) and when it has accepted all, the end goes on to stage k + 1.
 *
 * The gate stands before hook hook_chain.gate, when a flow's is closed: nothing passes it, and
 * there is no output.
 */
#ifndef WEIR_HOOK_IMPL_H
#define WEIR_HOOK_IMPL_H

#include "expr.h"
#include "hook.h"
#include "owner.h"

#include <sys/queue.h>

/** struct hook_buf - bytes that are added behind and taken in front */
struct hook_buf {
	uint8_t *p; /* owned */
	size_t off, len, cap;
};

int hook_buf_add(struct hook_buf *b, const void *data, size_t n); /* 0 or -ENOMEM */
void hook_buf_drop(struct hook_buf *b, size_t n);
void hook_buf_free(struct hook_buf *b);
/** hook_ahead - @n bytes behind @p, which is NULL where there is nothing */
static inline const uint8_t *hook_ahead(const uint8_t *p, size_t n)
{
	return p ? p + n : NULL;
}

/** hook_buf_at - the first byte; NULL where there was never one */
static inline uint8_t *hook_buf_at(const struct hook_buf *b)
{
	return b->p ? b->p + b->off : NULL;
}

/** struct hook_edit - @n bytes at @with of hook_chain.with, in place of @len at @off */
struct hook_edit {
	size_t off, len, n, with;
};

/** struct hook_call - the callback that runs now */
struct hook_call {
	struct weir_flow *of; /* NULL: one without a flow, or none */
	enum hook_dir dir;
	enum { HOOK_CALL_OTHER, HOOK_CALL_PAYLOAD, HOOK_CALL_DATAGRAM } what;
	size_t len; /* of what is shown */
};

/** struct weir_hook_ref - a hook of the chain */
struct weir_hook_ref {
	struct hook_chain *chain;
	unsigned index;
	struct weir_hook hook; /* a copy, zeroes where it is older than we are */
	void *state;
	bool loaded;
	bool error_passes;  /* on-error=pass */
	bool by_rule;	    /* gets only flows that hook_chain_pick() gives it */
	bool hushed;	    /* says nothing at the end: nobody has asked for it */
	struct expr *scope; /* owned: if=; NULL: all flows */
	uint64_t budget;    /* ns */
	uint64_t said;	    /* when the budget was last complained about */
	struct hook_stats *stats, own_stats;
};

/** struct weir_flow - one hook's handle of one flow */
struct weir_flow {
	struct flow_hooks *all;
	void *data; /* the hook's */
	void (*free_fn)(void *data);
	uint8_t index;
	bool in;	/* the hook gets this flow */
	bool unsure;	/* ... or not: its scope is not decided yet */
	bool handed;	/* the hook has it: flow_open() was called */
	bool done;	/* ... and needs no more of it */
	bool awaited;	/* flow_open() was answered by WEIR_PEND, and not decided since */
	int8_t verdict; /* of flow_open(), or decide() */
	char *args;	/* owned: of the rule that gave it the flow, or NULL */
	struct {
		uint64_t offset; /* bytes accepted */
		size_t seen;	 /* of its stage, from the front, shown already */
		bool pend, told_last, closed;
		bool again; /* resume() within payload(): what it does not accept is news to it */
	} dir[2];
};

/** struct hook_line - the stages of one direction, n + 1 */
struct hook_line {
	size_t bytes; /* in all of them */
	struct hook_buf stage[];
};

struct hook_side {
	struct hook_line *line; /* owned; NULL: nothing waits */
	uint32_t ended;
};

/** struct hook_held - a datagram that waits before hook @stage (n: is on its way out) */
struct hook_held {
	TAILQ_ENTRY(hook_held) next;
	unsigned stage;
	struct hook_dgram d;
	uint8_t data[];
};

struct hook_queue {
	TAILQ_HEAD(, hook_held) list;
	unsigned n;
	size_t bytes;
};

/** struct hook_fact - a field that was learnt */
struct hook_fact {
	struct hook_fact *next;
	const char *value; /* lies behind the field's name */
	char field[];
};

#define HOOK_GATE_JUDGE 1 /* hook_chain_gate() */
#define HOOK_GATE_LATE	2 /* a hook that was picked late does not know yet */

/** struct flow_hooks - what hangs on flow->hookdata */
struct flow_hooks {
	struct hook_head head;
	struct hook_chain *chain;
	struct flow *flow;
	struct flow_hooks *same_id; /* of the chain's table */
	TAILQ_ENTRY(flow_hooks) woken_link;
	bool woken, blocked;
	uint8_t gated;	 /* HOOK_GATE_*: whose gate is closed */
	bool begun;	 /* who gets the flow is chosen */
	bool opened;	 /* flow_open() of all */
	uint8_t opening; /* the next hook whose flow_open() is due */
	uint32_t asks;	 /* bit k: hook k is shown payload, or datagrams */
	struct hook_side side[2];
	struct hook_queue queue[2];
	struct hook_fact *facts;
	struct hook_held *given; /* owned: the datagram that the relay has borrowed */
	struct weir_flow at[];
};

/** struct hook_info - what hook_info() shows, and where its texts lie */
struct hook_info {
	struct weir_info info;
	struct weir_owner owner;
	char app[ADDR_STRLEN], net[ADDR_STRLEN], comm[17];
	char parent_comm[OWNER_PARENTS_MAX][17];
	const char *parent_comms[OWNER_PARENTS_MAX];
	int64_t parent_pid[OWNER_PARENTS_MAX];
};

struct hook_chain {
	unsigned n, gate;
	uint32_t flows; /* with state: the chain must not change meanwhile */
	struct hook_env env;
	struct weir_host host;
	struct hook_call call;
	struct hook_edit *edits; /* of the current call */
	size_t n_edits, edits_cap;
	struct hook_buf with, injected, scratch;
	struct hook_info info;
	bool closing; /* close() within payload(), of the same direction */
	size_t bytes; /* in all flows' stages and queues */
	TAILQ_HEAD(, flow_hooks) woken;
	struct flow_hooks **by_id;
	uint32_t by_id_size;
	struct weir_hook_ref *hook[HOOK_CHAIN_MAX]; /* owned */
};

/* hook.c */
extern struct hook_head hook_nobody; /* of all flows that no hook is interested in */
static inline bool hook_indifferent(const struct flow *f)
{
	return f->hookdata == &hook_nobody;
}
int hook_block(struct flow_hooks *h, const struct weir_hook_ref *by); /* HOOK_BLOCK, latched */
void hook_wake(struct flow_hooks *h);
/** hook_decided - flow_open() of @wf, whose answer was awaited, is answered now */
void hook_decided(struct weir_flow *wf);
/** hook_settle - after a change: is there a reason left to offer payload? */
void hook_settle(struct flow_hooks *h);
/** hook_wants - is it to be called for @what (one of WEIR_WANTS_*), if it has a callback? */
static inline bool hook_wants(const struct weir_hook *hook, unsigned what)
{
	return !hook->wants || hook->wants & what;
}

/** hook_find_flow - one with state, or NULL */
struct flow_hooks *hook_find_flow(struct hook_chain *c, uint64_t id);
static inline bool hook_asks(const struct flow_hooks *h, unsigned k)
{
	return h->asks >> k & 1;
}

/* hook_call.c: the one way into a hook */
int64_t hook_call_payload(struct weir_flow *wf, const struct weir_payload *p, size_t fresh);
int hook_call_datagram(struct weir_flow *wf, const struct weir_datagram *d);
int hook_call_open(struct weir_flow *wf);
void hook_call_half_close(struct weir_flow *wf, enum hook_dir dir);
void hook_call_learned(struct weir_flow *wf, const char *field, const char *value);
void hook_call_close(struct weir_flow *wf);
/** hook_failed - a callback's WEIR_ERROR: what on-error= says, HOOK_BLOCK or 0 (and done with it)
 */
int hook_failed(struct weir_flow *wf);
/** hook_info - borrowed until the next call of it */
const struct weir_info *hook_info(const struct weir_flow *wf);

/* hook_host.c */
void hook_host_init(struct weir_host *host, const struct hook_env *env);
void hook_done(struct weir_flow *wf);
/** hook_fact - the first value that was learnt of @field, or NULL */
const char *hook_fact(const struct flow_hooks *h, const char *field);
/** hook_edited - the first @n bytes of @data with the current call's edits, behind @out */
int hook_edited(const struct hook_chain *c, const uint8_t *data, size_t n, struct hook_buf *out);

/* hook_stream.c */
/** hook_end_here - hook @k ends the direction: what is before it is forgotten */
void hook_end_here(struct flow_hooks *h, unsigned k, enum hook_dir dir);
struct hook_line *hook_line_of(struct flow_hooks *h, enum hook_dir dir); /* made; NULL on ENOMEM */
int hook_line_add(struct flow_hooks *h, enum hook_dir dir, unsigned stage, const void *data,
		  size_t n);
void hook_line_free(struct flow_hooks *h, enum hook_dir dir);

/* hook_dgram.c */
/** hook_queue_add - a copy of @d before hook @stage; 0, -ENOBUFS or -ENOMEM */
int hook_queue_add(struct flow_hooks *h, enum hook_dir dir, unsigned stage,
		   const struct hook_dgram *d);
void hook_queue_free(struct flow_hooks *h, enum hook_dir dir);

/* hook_load.c */
void hook_unload(struct weir_hook_ref *e); /* and free it */

#endif
