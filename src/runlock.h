/* SPDX-License-Identifier: MIT */
/*
 * runlock: one weir at a time, and who it is.
 *
 * A file that is locked (flock) by the supervisor and its watcher, which inherits it; a lock
 * that nobody holds is free, whatever stands in the file. The supervisor's pid and start time
 * stand in it, so that `weir down` signals nobody else.
 */
#ifndef WEIR_RUNLOCK_H
#define WEIR_RUNLOCK_H

#include <sys/types.h>

/** runlock_take - a descriptor that holds the lock; -EBUSY: somebody else does; -errno */
int runlock_take(const char *path);
/** runlock_announce - the caller is the supervisor: it undoes everything on SIGTERM; 0, -errno */
int runlock_announce(int fd);
/** runlock_release - close @fd; the file goes where no other process holds on to the lock */
void runlock_release(int fd, const char *path);
/**
 * runlock_holder - the supervisor that announced itself in a lock that is held
 *
 * Returns a pidfd of it with *@pid set; -ESRCH: none did, or it has ended; -errno.
 */
int runlock_holder(const char *path, pid_t *pid);

#endif
