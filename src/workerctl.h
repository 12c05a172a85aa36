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
#include "isolate.h"
#include "owner.h"
#include "publish.h"
#include "record.h"
#include "sandbox.h"
#include "starter.h"

#include <stdio.h>

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
};

struct workerctl;

/** workerctl_new - returns NULL on ENOMEM */
struct workerctl *workerctl_new(const struct workerctl_env *env);
/** workerctl_nofile - how many descriptors a worker of @cfg may need */
size_t workerctl_nofile(const struct config *cfg);
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

/**
 * workerctl_flows - the live flows, one JSON object a line as in the flow log
 * @only: flows whose socket belongs to this user; NULL: all
 */
void workerctl_flows(const struct workerctl *w, const uid_t *only, FILE *out);

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
