/* SPDX-License-Identifier: MIT */
/*
 * relay_in: where peers come in: listening sockets outside, and what is made of those who come.
 *
 * Theory of operation
 *
 * A connection is accepted, given the address by which the program may know its peer
 * (dest_client()), and becomes a flow of relay_tcp.c; a bound UDP socket becomes a
 * mapping of relay_udp.c. In their records @net is the peer and @app the program, as
 * everywhere: up is still from the program, down to it.
 *
 * Two connections can look the same inside: the same peer and port came to two published
 * ports, or two peers stand behind one address. Then the later one gets another port of the peer's,
 * and the record says which one it had.
 *
 * The owner is asked for twice. First it is the listening program: it is known before the
 * connection is made inside, so hooks judge before the program sees anything. When the program
 * has answered, somebody holds the accepted socket, perhaps another process: that one is the owner
 * from then on.
 */
#ifndef WEIR_RELAY_IN_H
#define WEIR_RELAY_IN_H

#include "listener.h"
#include "relay.h"

int relay_in_init(struct relay *r);
/** relay_in_exit - closes all; the flows have ended */
void relay_in_exit(struct relay *r);
/** relay_in_add - take connections or datagrams from @fd; owns it, also when -errno is returned */
int relay_in_add(struct relay *r, const struct listener *l, int fd);
/** relay_in_remove - no more of them; connections that are open go on */
void relay_in_remove(struct relay *r, uint32_t id);
/** relay_in_close - the same for all: nothing runs inside any more */
void relay_in_close(struct relay *r);
/** relay_in_event - a listening socket (NETSOCK_LISTEN) has somebody waiting */
void relay_in_event(struct relay *r, uint64_t token);
/** relay_in_tick - with engine_tick(): those that could not be accepted for want of descriptors */
void relay_in_tick(struct relay *r);
bool relay_in_waits(const struct relay *r); /* relay_in_tick() has something to do */

#endif
