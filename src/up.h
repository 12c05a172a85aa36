/* SPDX-License-Identifier: MIT */
/* up: `weir up`, the supervisor of a whole host's selected users. */
#ifndef WEIR_UP_H
#define WEIR_UP_H

#include "config.h"

/** up_reparse - the options again, into *@out (owned by the caller, malloced); 0 or -EINVAL */
typedef int up_reparse_fn(void *ctx, struct up_config **out, char *err, size_t errsize);

/**
 * up_run - until SIGTERM, SIGINT or a failure; returns the exit status
 *
 * 0 after an ordered end; 126 when it could not be set up or go on (said in one line). With
 * --dry-run it prints what it would do, with --lockdown it closes the path and is done.
 * @reparse: for SIGHUP
 */
int up_run(const struct up_config *c, up_reparse_fn *reparse, void *ctx);

#endif
