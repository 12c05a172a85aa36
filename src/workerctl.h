/* SPDX-License-Identifier: MIT */
/*
 * workerctl: the supervisor's half of the worker: starts it, answers its owner
 * queries, records its flows, and clears up after its crash.
 *
 * A crash costs the worker's flows and nothing else. What they were is still in the
 * shared memory that the worker wrote them to; the programs' sockets are ended through
 * sock_diag, so that one that waits in recv() learns of it at once; a new worker goes on
 * with the same device. Nothing that a worker says is believed beyond its own flows.
 */
#ifndef WEIR_WORKERCTL_H
#define WEIR_WORKERCTL_H

#include "config.h"
#include "decision.h"
#include "ipc.h"
#include "isolate.h"
#include "judge.h"
#include "owner.h"
#include "publish.h"
#include "record.h"
#include "ruleset.h"
#include "sandbox.h"
#include "starter.h"
#include "tally.h"

#include <stdio.h>

/**
 * struct workerctl_flow - a flow in the worker's table, as it was a moment ago
 * @f: made plausible; @host: "" = none; @more.learnt points into it
 */
struct workerctl_flow {
	struct flow_rec f;
	uint32_t index;
	const struct owner *owner;
	char host[NAMES_HOST_MAX];
	struct record_more more;
	struct learnt learnt;
};

/** struct workerctl_env - all borrowed */
struct workerctl_env {
	const struct config *cfg;
	const struct sandbox *sandbox;
	struct record *record;
	struct owner_db *db;
	int diag_fd;			 /* to end sockets inside */
	const struct isolate_user *user; /* NULL: the worker stays who we are */
	struct publish *publish;	 /* NULL: nothing is published */
	struct starter *starter;	 /* starts programs of hooks; NULL: there are no hooks */
	const int *netns_fd;		 /* NULL: the worker's network is ours, else this one */
	const char *netns;		 /* name of the programs', or NULL */
	const struct ruleset_use *rules;
	const struct decisions *decisions;
	/* a worker says something of a flow; @rule: of JUDGE_EV_LOG */
	void (*event)(void *ctx, enum judge_event what, const struct workerctl_flow *flow,
		      const struct policy_rule *rule);
	void *ctx;
};

/* Exit status of a worker that can't start for a wrong --hook, about which it has said a line. */
#define WORKER_REFUSED 2

struct workerctl;

/** workerctl_new - returns NULL on ENOMEM */
struct workerctl *workerctl_new(const struct workerctl_env *env);
/** workerctl_nofile - how many descriptors a worker of @cfg may need */
size_t workerctl_nofile(const struct config *cfg);
/** workerctl_end - no more worker, at once; what is to be told to it is forgotten. @w may be NULL
 */
void workerctl_end(struct workerctl *w);
/** workerctl_free - kills a worker that still runs */
void workerctl_free(struct workerctl *w);
/** workerctl_start - fork the worker; 0 or -errno */
int workerctl_start(struct workerctl *w);

/** workerctl_look - publish_poll(): returns when to call again, 0: never */
uint64_t workerctl_look(struct workerctl *w, uint64_t now);

/** workerctl_starter_fd - when it is readable, workerctl_look() has something to do; -1: never */
int workerctl_starter_fd(const struct workerctl *w);
/** workerctl_hooks - what each hook was called for, as a table */
void workerctl_hooks(const struct workerctl *w, FILE *out);
/** workerctl_reload - hooks are to read again what they can */
void workerctl_reload(struct workerctl *w);

int workerctl_fd(const struct workerctl *w); /* -1: no worker */
short workerctl_events(const struct workerctl *w);
/** workerctl_service - read and answer what has come, bounded */
void workerctl_service(struct workerctl *w);

/** workerctl_each - call @fn for each live flow, until it returns false */
void workerctl_each(const struct workerctl *w,
		    bool (*fn)(void *ctx, const struct workerctl_flow *flow), void *ctx);
/** workerctl_tally - what rules have counted; the worker writes it */
const struct tally *workerctl_tally(const struct workerctl *w);
/** workerctl_rules - env.rules is another one */
void workerctl_rules(struct workerctl *w);
/** workerctl_decision - one more in env.decisions; workerctl_forget() - one less */
void workerctl_decision(struct workerctl *w, const struct decision *d);
void workerctl_forget(struct workerctl *w, uint32_t number);
/** workerctl_order - IPC_DECIDE, IPC_KILL or IPC_LOOK for @n flows */
void workerctl_order(struct workerctl *w, enum ipc_type type, const struct ipc_order *order,
		     size_t n);
/** workerctl_watch - does somebody want to hear of flows that are refused? Also of later workers */
void workerctl_watch(struct workerctl *w, bool on);

pid_t workerctl_pid(const struct workerctl *w); /* 0: none */
bool workerctl_ready(const struct workerctl *w);
bool workerctl_drained(const struct workerctl *w);
/** workerctl_resolvers - tell the worker of those in sandbox->dns that are new to it */
void workerctl_resolvers(struct workerctl *w);
/** workerctl_drain - tell it, and any later one, that the last program has ended */
void workerctl_drain(struct workerctl *w);
void workerctl_stop(struct workerctl *w);
/** workerctl_kill - it did not stop in time */
void workerctl_kill(struct workerctl *w);
/**
 * workerctl_ended - it was reaped with @status
 * @expected: it had been told to stop
 *
 * Reads what it still had said. Unless expected, reports what was lost, ends the
 * programs' sockets and starts another worker. Returns 0, or -errno: no worker runs
 * now (-ELOOP: too many crashes in a short time; said).
 */
int workerctl_ended(struct workerctl *w, int status, bool expected);

#endif
