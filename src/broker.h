/* SPDX-License-Identifier: MIT */
/*
 * broker: what the supervisor does for hooks: opens files and starts programs for a worker that may
 * do neither.
 *
 * What may be opened or started is what the worker names before it is ready, when it has read
 * the configuration and nothing else; whoever takes it over later can't add to it. Files are
 * opened as the worker's user, below a directory that is held open, through no symbolic link;
 * the socket of a service is connected to in the same way.
 */
#ifndef WEIR_BROKER_H
#define WEIR_BROKER_H

#include "ipc.h"
#include "isolate.h"
#include "starter.h"

struct broker;

/**
 * struct broker_ops - how the worker is answered
 * @give: @fd (-1: none) goes along and stays the broker's
 */
struct broker_ops {
	void (*give)(void *ctx, const struct ipc_hook *h, int fd);
	void *ctx;
};

/** broker_new - @user: the worker's, NULL: ours; @starter: borrowed. 0 or -ENOMEM */
int broker_new(struct broker **out, const struct isolate_user *user, struct starter *starter,
	       const struct broker_ops *ops);
void broker_free(struct broker *b);
/** broker_fresh - another worker begins: nothing is known, and the old one's programs end */
void broker_fresh(struct broker *b);
/**
 * broker_take - a request of the worker's
 * @ready: it has begun to read what others send: it can name nothing new
 *
 * False: it asks for what no worker of ours would.
 */
bool broker_take(struct broker *b, const struct ipc_hook *h, bool ready, uint64_t now);
int broker_fd(const struct broker *b); /* -1: none */
/** broker_look - programs that have ended or are to be started; when to call again, 0: never */
uint64_t broker_look(struct broker *b, uint64_t now);

#endif
