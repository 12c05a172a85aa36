/* SPDX-License-Identifier: MIT */
/*
 * dest: from the destination a program names to the one weir connects to.
 *
 * The host's loopback is out of reach unless --host-loopback maps an address to
 * it, and the host's own (mirrored) address unless --host-addr does. Pure.
 */
#ifndef WEIR_DEST_H
#define WEIR_DEST_H

#include "config.h"

#define DEST_DNS_MAX 32

struct dest_map {
	struct addr loop4, loop6; /* these addresses inside mean 127.0.0.1, ::1 outside */
	struct addr host4, host6; /* these mean own4, own6 */
	struct addr own4, own6;	  /* mirrored addresses of the host */
	/* resolvers served by relay_local: port 53 at @inside means @outside, mostly itself */
	struct {
		struct addr inside, outside;
	} dns[DEST_DNS_MAX];
	unsigned n_dns;
	struct addr inside[10]; /* all addresses of the namespace but loopback */
	unsigned n_inside;
};

/**
 * dest_out - where to connect for @net; -EHOSTUNREACH (loopback, unspecified) or -ENETUNREACH
 */
int dest_out(const struct dest_map *m, const struct addrport *net, struct addrport *out);
/** dest_is_dns - @net is one of the resolvers that relay_local serves */
bool dest_is_dns(const struct dest_map *m, const struct addrport *net);
/** dest_in - the reverse, for an answer from @peer: the address the program knows it by */
void dest_in(const struct dest_map *m, const struct addrport *peer, struct addrport *net);
/**
 * dest_client - the address by which a program knows the peer @client that connects to it
 *
 * Its own, but where that means something else inside: see dest.c.
 */
struct addr dest_client(const struct dest_map *m, const struct addr *client);
/** dest_is_ignored - multicast, broadcast, link-local: never answered with errors (counted) */
bool dest_is_ignored(const struct addr *net);

#endif
