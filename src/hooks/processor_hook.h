/* SPDX-License-Identifier: MIT */
/*
 * processor_hook: inspection by another process, over a stream socket; what the hooks exec and
 * socket, which get that socket in different ways, have in common.
 *
 *   processor_wire.c  one line of the processor's, read and checked
 *   processor_say.c   events, written
 *   processor_link.c  the connection: buffers in both directions, time-outs, the end
 *   processor_flow.c  the callbacks: what is asked, what waits, what is done with an answer
 *
 * Theory of operation
 *
 * What needs an answer is a request with a number of its own, and the flow pends until the answer
 * is there. There is one request at most for a flow's beginning, and one for each direction. An
 * answer is kept with its request, the host is asked to show the bytes again, and is given the
 * answer then: edits are made from inside payload().
 *
 * Numbers rise, so the requests that are out form a window [oldest, next) of a ring. An answer may
 * come in any order. All have the same time, so only the oldest needs to be watched.
 *
 * Bytes toward the processor wait in a buffer. While it is fuller than `queue` no payload is
 * added: the flow pends without a request, in a list, and is shown again when there is room. So
 * a processor that is slow slows flows down, and costs no memory.
 *
 * When the connection ends every request has failed, which means what on-error= says; so it does
 * for flows that begin until there is another connection. Flows that live on are made known to a
 * new processor before anything else is said of them.
 */
#ifndef WEIR_HOOKS_PROCESSOR_HOOK_H
#define WEIR_HOOKS_PROCESSOR_HOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "processor_wire.h"
#include "shared_util.h"

#define PROCESSOR_WINDOW 16384 /* requests that are out; a power of two */

enum processor_wants {
	PROCESSOR_OPEN = 1,
	PROCESSOR_PAYLOAD = 2,
	PROCESSOR_DATAGRAM = 4,
	PROCESSOR_HALF_CLOSE = 8,
	PROCESSOR_NAME = 16,
	PROCESSOR_ALL = 31,
};

enum request_kind { REQUEST_OPEN, REQUEST_PAYLOAD, REQUEST_DATAGRAM };

struct processor_flow;

/** struct request - of one flow, for its beginning or a direction; used again and again */
struct request {
	struct processor_flow *flow;
	enum request_kind kind;
	enum weir_dir dir;
	uint64_t id; /* 0: none is out */
	uint64_t deadline;
	size_t asked;		     /* bytes shown with it */
	bool asked_last;	     /* ... and that they are the last */
	bool failed;		     /* in its place there will be no answer */
	struct wire_message *answer; /* owned; has come */
	bool waits;		     /* for room in the buffer */
	TAILQ_ENTRY(request) next;
};

struct processor_flow {
	struct processor *p;
	struct weir_flow *f;
	uint64_t id;
	unsigned told; /* the connection that knows of it; 0: none */
	struct request open, side[2];
};

/** struct bytes - added behind, taken in front */
struct bytes {
	uint8_t *p; /* owned */
	size_t off, len, cap;
	bool failed; /* there was no memory: what is in it is not whole */
};

enum link_state { LINK_STARTING, LINK_UP, LINK_DOWN };

struct processor {
	const struct weir_host *host;
	struct weir_hook_ref *ref;

	bool raw;
	unsigned wants;
	uint64_t time_ns;
	size_t queue;

	enum link_state state;
	int fd;
	struct weir_watch *watch;
	bool writing;  /* the watch looks for room, too */
	bool answered; /* this connection was of use */
	unsigned connection;
	struct bytes out, in;
	size_t scanned;		   /* of @in: no newline */
	struct wire_message *head; /* owned; its body has not come yet */

	struct request *window[PROCESSOR_WINDOW];
	uint64_t oldest, next;
	struct weir_timer *timer; /* for the oldest */
	TAILQ_HEAD(, request) waiting;
	struct request *asking; /* of the callback that runs, or NULL */

	void (*ended)(void *ctx); /* the connection; for who makes another one */
	void *ended_ctx;

	uint64_t requests, late, lost;
	struct complaints complaints;
};

/* --- processor_link.c ---------------------------------------------------------------------- */

void processor_init(struct processor *p, const struct weir_host *host, struct weir_hook_ref *ref);
/** processor_ready - all keys were given */
int processor_ready(struct processor *p, const char **err);
/** processor_end - what hangs on it; its own memory is the caller's */
void processor_end(struct processor *p);
/** processor_config - a key that both have; 0, or -1 with *err */
int processor_config(struct processor *p, const char *key, const char *value, const char **err);
/** link_up - @fd is a new connection, and the processor's own from here on */
void link_up(struct processor *p, int fd);
/** link_down - the connection is over, @why is logged; harmless where there is none */
void link_down(struct processor *p, const char *why);
/** link_flush - something was put into p->out: send what can be sent */
void link_flush(struct processor *p);
/** link_room - may payload be added? */
bool link_room(const struct processor *p);
/** request_start - give it a number; -1: there are too many */
int request_start(struct processor *p, struct request *r);
/** request_forget - its flow has ended */
void request_forget(struct processor *p, struct request *r);

/* --- processor_say.c -------------------------------------------------------------------------- */

void bytes_add(struct bytes *b, const void *data, size_t n);
void bytes_drop(struct bytes *b, size_t n);
void bytes_free(struct bytes *b);

void say_hello(struct processor *p);
/** say_flow_open - @id 0: no answer is wanted, it is only made known */
void say_flow_open(struct processor *p, struct processor_flow *pf, uint64_t id);
void say_payload(struct processor *p, const struct request *r, const uint8_t *data, size_t len);
void say_half_close(struct processor *p, uint64_t flow, enum weir_dir dir);
void say_name(struct processor *p, uint64_t flow, const char *field, const char *value);
void say_flow_close(struct processor *p, uint64_t flow, const struct weir_info *info);

/* --- processor_flow.c ---------------------------------------------------------------------------
 */

/** flow_answer - @m, which is taken, has come for @r, or unasked (NULL) */
void flow_answer(struct processor *p, struct request *r, struct wire_message *m);
/** request_fail - there will be no answer */
void request_fail(struct request *r);

int processor_flow_open(void *state, struct weir_flow *f, const struct weir_info *info);
int64_t processor_payload(void *state, struct weir_flow *f, const struct weir_payload *d);
int processor_datagram(void *state, struct weir_flow *f, const struct weir_datagram *d);
void processor_half_close(void *state, struct weir_flow *f, enum weir_dir dir);
void processor_name_learned(void *state, struct weir_flow *f, const char *field, const char *value);
void processor_flow_close(void *state, struct weir_flow *f, const struct weir_info *info);
void processor_report(void *state, char *line, size_t size);

#endif
