/* SPDX-License-Identifier: MIT */
/*
 * inbound: connections from outside to the selected's servers, in `weir up`.
 *
 * The supervisor has two listening sockets (IPv4, IPv6), on loopback and so out of reach by
 * themselves, to which programs in the kernel (inbound_bpf.h) steer what arrives for a listening
 * socket of somebody selected. It keeps them and hands copies to each worker, as publish.h does: a
 * connection that comes while a worker is restarted waits. The worker takes an accepted one to
 * the server, where it wanted to go, with the client's address (relay_in.h). What comes back from
 * the device is not steered again.
 *
 * The programs end with the supervisor. From then on servers are reached directly, as
 * far as what weir leaves behind lets them answer.
 */
#ifndef WEIR_INBOUND_H
#define WEIR_INBOUND_H

#include "config.h"
#include "owner.h"
#include "publish.h"
#include "record.h"

#include <stdio.h>

struct inbound;

/**
 * inbound_open - sockets and programs, before the supervisor locks itself down
 * @worker: the relay's uid: the sockets are its own, so that weir's rules let their answers pass
 *
 * 0, or -errno with the reason in @err: servers go on being reached, unseen.
 */
int inbound_open(struct inbound **out, uid_t worker, char *err, size_t errsize);
/** inbound_close - servers are reached directly; all functions but inbound_open() accept NULL */
void inbound_close(struct inbound *in);
/** inbound_publish - the sockets, for workerctl; borrowed, NULL without @in */
struct publish *inbound_publish(const struct inbound *in);

/**
 * inbound_can_steer - can connections to all servers of @c's selection be steered?
 *
 * All or none: weir's rules have to know. False without @in, too; else why not is said.
 */
bool inbound_can_steer(struct inbound *in, const struct up_config *c);
/**
 * inbound_select - steer for the servers of @c's selection, if that can be, from now on
 *
 * 0 or -errno.
 */
int inbound_select(struct inbound *in, const struct up_config *c);
/** inbound_steer - begin, or the device is another one; @tun 0: stop */
int inbound_steer(struct inbound *in, unsigned tun);
/** inbound_addresses - the host's own may have changed */
void inbound_addresses(struct inbound *in);
/** inbound_cgroups - the selection's cgroups may have come, gone, or been made again */
void inbound_cgroups(struct inbound *in);

int inbound_fd(const struct inbound *in); /* readable when inbound_serve() is due; -1: never */
/** inbound_serve - after poll(): who began to listen, and who stopped, goes into @record */
void inbound_serve(struct inbound *in, struct owner_db *db, struct record *record);
/** inbound_deadline - when it is due anyway, CLOCK_MONOTONIC in ns; 0: never */
uint64_t inbound_deadline(const struct inbound *in);
/** inbound_status - one line for people; also for NULL */
void inbound_status(const struct inbound *in, FILE *f);

#endif
