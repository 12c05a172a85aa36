/* SPDX-License-Identifier: MIT */
/*
 * owner_sockdiag: what the kernel knows of a socket, asked by its exact 5-tuple.
 *
 * The netlink socket must have been opened inside the network namespace that is
 * asked; from where it is used then does not matter for look-ups.
 */
#ifndef WEIR_OWNER_SOCKDIAG_H
#define WEIR_OWNER_SOCKDIAG_H

#include "owner.h"

#include <stdbool.h>
#include <stdint.h>

#define OWNER_SOCKDIAG_BATCH 32

/**
 * struct owner_sock - the kernel's answer to one query
 * @err: 0 = found, -ENOENT = no such socket, -EEXIST = several sockets could have
 *       sent it (@inode is 0, @uid is set when it is the same for all), -EPROTONOSUPPORT =
 *       no exact look-up for this protocol, -ETIMEDOUT or another -errno = no answer
 * @orphan: with -ENOENT: cookie of the very socket, which nobody holds: not accepted yet, or closed
 * @uid: as the user namespace sees it in which the netlink socket was opened
 */
struct owner_sock {
	int err;
	uint32_t uid, inode;
	uint64_t cookie, orphan;
};

/** owner_sockdiag_open - a socket for the network namespace we are in; the fd or -errno */
int owner_sockdiag_open(void);
/**
 * owner_sockdiag_lookup - fill @out[i] for @q[i]; @n is at most OWNER_SOCKDIAG_BATCH
 *
 * One system call asks, one or two read: the kernel answers inside sendmsg(2).
 */
void owner_sockdiag_lookup(int fd, const struct owner_query *q, struct owner_sock *out, unsigned n);
/**
 * struct owner_listener - a socket that waits for peers: a TCP listener, or UDP and not connected
 * @at: where it is bound; unspecified: at every address, of IPv4 too unless @v6only
 */
struct owner_listener {
	uint8_t proto;
	bool v6only;
	struct addrport at;
};

/**
 * owner_sockdiag_listeners - call @fn for each of them; 0, or -errno when not all were seen
 */
int owner_sockdiag_listeners(int fd, void (*fn)(void *ctx, const struct owner_listener *l),
			     void *ctx);
/**
 * owner_sockdiag_destroy - end a TCP or UDP socket as if by ECONNABORTED
 *
 * Needs CAP_NET_ADMIN over the namespace twice: the opener of @fd must have had
 * it, and the caller must have it now; the creator of a user namespace has it from
 * outside by its effective uid alone. Returns 0 or -errno (-ENOENT: no such socket,
 * -EPERM, -EOPNOTSUPP: a kernel without CONFIG_INET_DIAG_DESTROY).
 */
int owner_sockdiag_destroy(int fd, const struct owner_query *q);

#endif
