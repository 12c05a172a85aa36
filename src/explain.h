/* SPDX-License-Identifier: MIT */
/* explain: why the kernel refused a piece that weir needs, and what to change. */
#ifndef WEIR_EXPLAIN_H
#define WEIR_EXPLAIN_H

#include <stddef.h>

/* @err is a positive errno; each writes one line without newline into @out. */

/** explain_userns - unshare(CLONE_NEWUSER), or writing its id maps, failed */
void explain_userns(int err, char *out, size_t size);
/** explain_netns - unshare(CLONE_NEWNET) failed; @userns: inside a new user namespace */
void explain_netns(int err, int userns, char *out, size_t size);
/** explain_tun - opening /dev/net/tun or making the device failed */
void explain_tun(int err, char *out, size_t size);

#endif
