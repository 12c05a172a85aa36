/* SPDX-License-Identifier: MIT */
/*
 * journal: what weir has changed on this host, written down before each change.
 *
 * A text file, one change a line, flushed before the change is made; so that whoever comes
 * later (the watcher, `weir down`, the next start) can undo exactly what is there and nothing
 * else: backwards, each step harmless when its object is gone already. A change is marked as
 * guard when it belongs to what keeps fail-closed selections closed: a crash leaves those.
 *
 * Whoever has a journal open holds its lock, PATH.lock, and processes it forks (the watcher)
 * hold it with it: there is one weir at a time for a runtime directory.
 */
#ifndef WEIR_JOURNAL_H
#define WEIR_JOURNAL_H

#include "nft.h"
#include "rtnl.h"
#include "rule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_NAME "journal" /* in the runtime directory */

struct journal;

/**
 * journal_create - a new journal at @path (mode 0600, its directory must exist)
 *
 * -EEXIST: a weir that was killed left one: load it. -EBUSY: another weir has it (see
 * runlock_holder()). -errno otherwise.
 */
int journal_create(const char *path, struct journal **out);
/**
 * journal_load - go on with an existing one
 *
 * -ENOENT: none; -EBUSY: another weir has it. With one line in @err: -EINVAL (unreadable, with
 * the line's number), -EPERM (not ours, or others may write it), -EXDEV (made in another network
 * namespace). Of a journal from before a reboot only paths are left to undo.
 */
int journal_load(const char *path, struct journal **out, char *err, size_t errsize);
/**
 * journal_load_files - the same, when the network namespace of one that was -EXDEV is gone: all
 * that is left to undo is files
 */
int journal_load_files(const char *path, struct journal **out, char *err, size_t errsize);
/** journal_netns - the namespace that the journal at @path is about (netns.h); 0 or -errno */
int journal_netns(const char *path, char *id, size_t size);
/** journal_load_locked - the same for who inherited @lock_fd, which is @j's (or closed) now */
int journal_load_locked(const char *path, int lock_fd, struct journal **out, char *err,
			size_t errsize);
/**
 * journal_close - frees @j (may be NULL) and gives the lock back
 *
 * The file stays, unless nothing is left in it to undo.
 */
void journal_close(struct journal *j);
const char *journal_path_of(const struct journal *j);
int journal_lock_fd(const struct journal *j);

/*
 * Each writes the line, then makes the change. 0, or -errno of the change, in which case the line
 * is taken back. What stands in the journal already gets no second line and is made again: so
 * they serve to restore what others have removed, too. @guard: see above.
 */
int journal_rule(struct journal *j, struct rtnl *nl, const struct host_rule *r, bool guard);
int journal_route(struct journal *j, struct rtnl *nl, const struct host_route *r, bool guard);
/** journal_nft - @text makes @table ("weir..."), which is deleted at undo */
int journal_nft(struct journal *j, struct nft *n, const char *table, const char *text, bool guard,
		char *err, size_t errsize);
/**
 * journal_sysctl - remembers the old value; undo restores it only where ours still stands
 *
 * A setting that has the value already is not ours: nothing is written.
 */
int journal_sysctl(struct journal *j, const struct host_sysctl *s);

/*
 * What the caller is about to make by itself. -EEXIST: it is there already, so it is not ours and
 * will not be removed. Should the making fail, journal_take_back() the line.
 */
int journal_link(struct journal *j, const char *name);
/** journal_path - a file or (empty) directory, by its absolute path */
int journal_path(struct journal *j, const char *path);
/**
 * journal_table_routes - routes of @table come and go: undo removes those with our protocol,
 * except those that the journal names itself (a guard's)
 */
int journal_table_routes(struct journal *j, uint32_t table);
/** journal_take_back - the newest line was written for something that was not made */
int journal_take_back(struct journal *j);

enum journal_undo { UNDO_ALL, UNDO_KEEP_GUARD };
/**
 * journal_undo - backwards; what is already gone is no error
 * @nl, @n: may be NULL where no change needs them
 * @say: NULL, or one line for each step that was done or failed
 *
 * Returns 0, or the first -errno; goes on to the end in any case. The file then lists what is
 * left (the guard, or what failed). May be killed at any moment and done again. @j can be used
 * further.
 */
int journal_undo(struct journal *j, struct rtnl *nl, struct nft *n, enum journal_undo how,
		 void (*say)(void *ctx, const char *line), void *ctx);

/*
 * Another plan in the place of the one in force, without a moment in which neither is: a
 * reload, or a start that finds the guard of a weir that was killed.
 *
 *	journal_renew(), the changes of the new plan, journal_settle()
 *
 * journal_load() renews by itself.
 */
/** journal_renew - from now on, what is not made again is old */
void journal_renew(struct journal *j);
/** journal_settle - undo what is old; as journal_undo() */
int journal_settle(struct journal *j, struct rtnl *nl, struct nft *n,
		   void (*say)(void *ctx, const char *line), void *ctx);

/** journal_has_guard - is any guard change in it that stands? */
bool journal_has_guard(const struct journal *j);
/** journal_count - how many changes stand */
size_t journal_count(const struct journal *j);

#endif
