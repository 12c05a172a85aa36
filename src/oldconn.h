/* SPDX-License-Identifier: MIT */
/*
 * oldconn: the TCP connections that were there before weir selected their owners.
 *
 * A connected socket follows new routing rules with its very next packet, and a stack that
 * has not seen the handshake can do nothing for it. So what sock_diag lists at start goes
 * into sets of weir's nftables table whose members keep the path they had, and leaves them
 * when it is no longer listed (a later connection may use the same ports). The kernel could tell of
 * each socket that ends, but then every user's connection would cost a fifth more.
 */
#ifndef WEIR_OLDCONN_H
#define WEIR_OLDCONN_H

#include "base/addr.h"
#include "nft.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** struct oldconn_sock - one connected TCP socket of this network namespace */
struct oldconn_sock {
	struct addrport local, peer;
	uint32_t uid;
	uint8_t state; /* the kernel's TCP_ESTABLISHED ... */
};

/**
 * oldconn_dump - every connected TCP socket, both families, but loopback's and TIME_WAIT's
 * @connecting: those whose handshake is not over as well
 * @each: non-zero ends the walk and is returned
 */
int oldconn_dump(bool connecting, int (*each)(void *ctx, const struct oldconn_sock *s), void *ctx);

/**
 * oldconn_udp - is there a UDP socket to which strangers can send, and that @wanted takes?
 *
 * It is bound, not connected, and not to loopback only; @wanted looks at @local and @uid. 1, 0,
 * -errno.
 */
int oldconn_udp(bool (*wanted)(void *ctx, const struct oldconn_sock *s), void *ctx);

struct oldconn; /* those that keep their path */

/** oldconn_new - 0 or -errno */
int oldconn_new(struct oldconn **out);
void oldconn_free(struct oldconn *o);
/**
 * oldconn_add - note those that are there now and that @wanted (NULL: all) takes
 *
 * May be called again: what is known already stays. Returns how many are new, or -errno.
 */
int oldconn_add(struct oldconn *o, bool connecting,
		bool (*wanted)(void *, const struct oldconn_sock *), void *ctx);
/** oldconn_apply - put what is noted but not there yet into the sets old4 and old6 of @table */
int oldconn_apply(struct oldconn *o, struct nft *n, const char *table, char *err, size_t errsize);
/**
 * oldconn_print - nft text that puts all of them into the sets, for a transaction that makes the
 * table anew: no packet of theirs may meet empty sets. oldconn_printed() when it was applied.
 */
void oldconn_print(const struct oldconn *o, const char *table, FILE *f);
void oldconn_printed(struct oldconn *o);

/** oldconn_check - ask which have ended; returns how many have, or -errno. Cheap for none */
int oldconn_check(struct oldconn *o);
/** oldconn_expire - take those out of the sets; cheap when there are none */
int oldconn_expire(struct oldconn *o, struct nft *n, const char *table, char *err, size_t errsize);
/** oldconn_count - how many keep their path */
size_t oldconn_count(const struct oldconn *o);

#endif
