/* SPDX-License-Identifier: MIT */
/*
 * publish: the ports of this host at which peers reach what runs inside (--publish).
 *
 * The supervisor binds them, with the caller's rights and in the caller's namespace, and keeps
 * them: a worker gets copies, and a later worker gets them again. So a published port stays open
 * when a worker dies, and nobody is refused meanwhile.
 *
 * With "auto" it looks at the programs' listening sockets (sock_diag, in their namespace) several
 * times a second and follows: the same port is bound outside when one appears, and closed
 * when it is gone. Ports of the usual ephemeral range are no UDP servers. Without "auto" it
 * looks as well, to say when a program begins to listen on a published port.
 */
#ifndef WEIR_PUBLISH_H
#define WEIR_PUBLISH_H

#include "config.h"
#include "listener.h"
#include "sandbox.h"

#include <stdint.h>

struct owner_db;

/**
 * struct publish_ops - where sockets go
 * @add: @fd stays publish's
 * @remove: one that was added
 */
struct publish_ops {
	void (*add)(void *ctx, const struct listener *l, int fd);
	void (*remove)(void *ctx, const struct listener *l);
	void *ctx;
};

struct publish;

/**
 * publish_new - bind what --publish names; NULL in *@out when nothing is to be published
 * @err: one line that says which port can't be had, when -errno is returned
 */
int publish_new(const struct config *cfg, const struct sandbox *s, struct publish **out, char *err,
		size_t errsize);
/**
 * publish_give - a socket that the caller has made, in its own network namespace
 * @p: NULL in *@p makes a new one
 * @fd: owned from now on, also when -errno is returned
 */
int publish_give(struct publish **p, const struct listener *l, int fd);
/** publish_peer_ports - of all that were given: @lo to @hi for their peers; @p may be NULL */
void publish_peer_ports(struct publish *p, uint16_t lo, uint16_t hi);
void publish_free(struct publish *p);
/** publish_start - @ops get all sockets there are, and from now on those that come and go */
void publish_start(struct publish *p, const struct publish_ops *ops);
/** publish_again - @ops.add for all: there is a new worker; @p may be NULL */
void publish_again(struct publish *p);
/**
 * publish_poll - look at what is listened on inside, when it is time to
 *
 * Returns when to call again; 0: never (@p may be NULL).
 */
uint64_t publish_poll(struct publish *p, struct owner_db *db, int diag_fd, uint64_t now);
/** publish_stop - nothing runs inside any more: close all */
void publish_stop(struct publish *p);

#endif
