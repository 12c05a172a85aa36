/* SPDX-License-Identifier: MIT */
/* owner_proc: which process holds a socket, found by its inode through /proc. */
#ifndef WEIR_OWNER_PROC_H
#define WEIR_OWNER_PROC_H

#include "owner.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * struct owner_want - one socket to find the holder of
 * @inode: 0 = nothing to find
 * @uid: of the socket, as we see users; -1 = not known. Only orders the search.
 * @owner: the answer: an id for owner_proc_get(), or 0 and
 * @why: OWNER_NO_PROCESS, OWNER_DENIED, OWNER_SHARED or (a bound was hit) OWNER_NO_ANSWER
 */
struct owner_want {
	uint32_t inode, uid;
	uint32_t owner, why;
};

struct owner_proc;

/** struct owner_proc_stats - how the answers were found */
struct owner_proc_stats {
	uint64_t hints, walks, probes; /* answers without and with a walk; fds looked at */
	uint64_t walks_skipped;	       /* bounds: see OWNER_WALK_SHARE in owner_proc.c */
};

/** owner_proc_new - @keeper: root of the tree to search; @whole: then all of /proc. NULL: ENOMEM */
struct owner_proc *owner_proc_new(pid_t keeper, bool whole);
void owner_proc_free(struct owner_proc *op);
/** owner_proc_find - answer @n wants with at most one walk */
void owner_proc_find(struct owner_proc *op, struct owner_want *w, unsigned n);
/** owner_proc_closed - the socket is closed: its fd number will be used again soon */
void owner_proc_closed(struct owner_proc *op, uint32_t inode);
/** owner_proc_get - valid until the next owner_proc_find(); NULL when unknown or long past */
const struct owner *owner_proc_get(const struct owner_proc *op, uint32_t id);
const struct owner_proc_stats *owner_proc_stats(const struct owner_proc *op);

#endif
