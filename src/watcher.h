/* SPDX-License-Identifier: MIT */
/*
 * watcher: the small process that cleans up when the supervisor is killed.
 *
 * It has the journal's path and lock, a socket to the supervisor, and pidfds: of the supervisor
 * and of the processes it is told of. When the supervisor ends without a goodbye it ends
 * those processes, undoes everything but the guard, says in one line (stderr and syslog) what
 * stays, and ends.
 */
#ifndef WEIR_WATCHER_H
#define WEIR_WATCHER_H

#include "journal.h"

#include <sys/types.h>

struct watcher;

/**
 * watcher_start - fork the watcher of @j; the caller is the supervisor, in the namespaces in
 * which the changes are made, and says so in the journal's lock
 *
 * Returns when the watcher is ready. *@out is owned. 0 or -errno.
 */
int watcher_start(struct watcher **out, const struct journal *j);
/** watcher_pid - so that a supervisor that reaps its children knows it; 0: not running */
pid_t watcher_pid(const struct watcher *w);
/** watcher_fd - readable when the watcher has ended; -1: not running */
int watcher_fd(const struct watcher *w);
bool watcher_alive(const struct watcher *w);
/**
 * watcher_watch - child @pid of the caller is to end with the supervisor; 0 or -errno
 *
 * To be told right after its fork. What has ended needs no word.
 */
int watcher_watch(struct watcher *w, pid_t pid);
/** watcher_restart - another one for one that has ended, with what that had been told */
int watcher_restart(struct watcher *w);
/** watcher_stop - goodbye: everything is undone; waits for its end and frees @w (may be NULL) */
void watcher_stop(struct watcher *w);

#endif
