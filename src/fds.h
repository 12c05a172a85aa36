/* SPDX-License-Identifier: MIT */
/* fds: which descriptors a process of ours holds on to. */
#ifndef WEIR_FDS_H
#define WEIR_FDS_H

#include <stddef.h>

/** fds_close_except - close every descriptor from @from up but @keep (any order, -1 allowed) */
void fds_close_except(int from, const int *keep, size_t n_keep);
/**
 * fds_null - put /dev/null in the place of descriptor @fd
 *
 * So that a pipe of the caller's reaches its end when the program closes it,
 * and no later descriptor gets a number of the standard streams.
 */
void fds_null(int fd);
/** fds_list - numbers of open descriptors from @from up, at most @max; returns how many */
size_t fds_list(int from, int *out, size_t max);

#endif
