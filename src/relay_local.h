/* SPDX-License-Identifier: MIT */
/*
 * relay_local: a host's resolver that the TUN does not lead to.
 *
 * The address of one that listens on loopback is the namespace's own loopback inside, so
 * its packets never reach the TUN; a link-local one has no meaning there, and stands
 * behind an address of weir's. The keeper has bound these addresses before COMMAND
 * started, or when the host's resolv.conf changed; here those sockets are served: datagrams go
 * through relay_udp like any other (the answer leaves by the socket instead of the TUN),
 * connections are accepted and relayed socket to socket. Both are flows with owner, hooks and
 * record.
 */
#ifndef WEIR_RELAY_LOCAL_H
#define WEIR_RELAY_LOCAL_H

#include "relay.h"
#include "sandbox.h"

struct relay_local;

/** relay_local_new - serve @dns (sockets borrowed); 0 or -errno */
int relay_local_new(struct relay *r, const struct sandbox_dns *dns, unsigned n);
/** relay_local_add - one more; its sockets are owned from here on, also after an error */
int relay_local_add(struct relay *r, const struct sandbox_dns *dns);
void relay_local_free(struct relay *r);
/** relay_local_reply - an answer for a program that asked one of these sockets */
int relay_local_reply(struct relay *r, const struct udpout *d);
void relay_local_net(struct relay *r, uint64_t token, uint32_t epoll_events);
void relay_local_owned(struct relay *r, struct flow *f);
void relay_local_judged(struct relay *r, struct flow *f, enum judge_say say);
void relay_local_woken(struct relay *r, struct flow *f);
void relay_local_stop(struct relay *r, struct flow *f);

#endif
