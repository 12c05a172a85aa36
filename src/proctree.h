/* SPDX-License-Identifier: MIT */
/* proctree: who descends from whom, as /proc tells it. */
#ifndef WEIR_PROCTREE_H
#define WEIR_PROCTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/** struct proctree_pids - a list of process ids; owned, freed by proctree_pids_free() */
struct proctree_pids {
	pid_t *pid;
	size_t n, room;
};

void proctree_pids_free(struct proctree_pids *l);
bool proctree_pids_has(const struct proctree_pids *l, pid_t pid);
/** proctree_pids_add - 0 or -ENOMEM */
int proctree_pids_add(struct proctree_pids *l, pid_t pid);
/** proctree_children - direct children of @pid, appended to @out; 0 or -errno */
int proctree_children(pid_t pid, struct proctree_pids *out);
/** proctree_count - how many processes descend from @pid (zombies not counted) */
size_t proctree_count(pid_t pid);
/** proctree_is_descendant - is @ancestor among the parents of @pid (or @pid itself)? */
bool proctree_is_descendant(pid_t pid, pid_t ancestor);
/**
 * proctree_end_children - kill and reap the caller's children until none is left
 * @spare: these stay, and so does what descends from them; NULL: none
 *
 * The caller must be a subreaper: each round, what the killed leave behind
 * becomes a child of the caller and is met in the next one.
 */
void proctree_end_children(const struct proctree_pids *spare);

#endif
