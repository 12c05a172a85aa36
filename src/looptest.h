/* SPDX-License-Identifier: MIT */
/* looptest: does what the worker sends really pass the TUN device by? */
#ifndef WEIR_LOOPTEST_H
#define WEIR_LOOPTEST_H

#include "isolate.h"

/**
 * looptest - send one datagram as @user, in each family, and look for it on device @ifindex
 *
 * It goes to a documentation address (RFC 5737, RFC 3849) with a TTL of 1, so it gets no further
 * than the first router. Returns 0; -ELOOP: it went into the device, and a relay would feed
 * itself; another -errno: it could not be tried.
 */
int looptest(const struct isolate_user *user, int ifindex);

#endif
