/* SPDX-License-Identifier: MIT */
/*
 * journal: what weir has changed on this host, written down before each change.
 *
 * A text file, one change a line, flushed before the change is made; so that whoever comes
 * later (the watcher, `weir down`, the next start) can undo exactly what is there and nothing
 * else: backwards, each step harmless when its object is gone already. A change is marked as
 * guard when it belongs to what keeps fail-closed selections closed: a crash leaves those.
 */
#ifndef WEIR_JOURNAL_H
#define WEIR_JOURNAL_H

#include "nft.h"
#include "rtnl.h"
#include "rule.h"

struct journal;

/**
 * journal_create - a new journal at @path (mode 0600, its directory must exist)
 *
 * -EEXIST: there is one already; undo it first. -errno otherwise.
 */
int journal_create(const char *path, struct journal **out);
/** journal_load - read an existing one; -ENOENT: none; -EINVAL with the line in @err */
int journal_load(const char *path, struct journal **out, char *err, size_t errsize);
/** journal_close - frees @j; the file stays, unless nothing is left in it to undo */
void journal_close(struct journal *j);

/*
 * Each writes the line, then makes the change. 0 or -errno of the change, in which case the
 * line is taken back. @guard: see above.
 */
int journal_rule(struct journal *j, struct rtnl *nl, const struct policy_rule *r, bool guard);
int journal_route(struct journal *j, struct rtnl *nl, const struct host_route *r, bool guard);
/** journal_nft - @text creates @table, which is deleted at undo */
int journal_nft(struct journal *j, struct nft *n, const char *table, const char *text, bool guard,
		char *err, size_t errsize);
/** journal_sysctl - remembers the old value; undo restores it only where ours still stands */
int journal_sysctl(struct journal *j, const struct host_sysctl *s);
/** journal_link - @name is about to be made (by tundev.c); undo deletes it */
int journal_link(struct journal *j, const char *name);
/** journal_path - a file or (empty) directory that is about to be made; undo removes it */
int journal_path(struct journal *j, const char *path);
/** journal_table_routes - mirrored routes of @table come and go: undo flushes those of ours */
int journal_table_routes(struct journal *j, uint32_t table);

enum journal_undo { UNDO_ALL, UNDO_KEEP_GUARD };
/**
 * journal_undo - backwards; what is already gone is no error
 * @say: NULL, or one line for each step that was done or failed
 *
 * Returns 0, or the first -errno; goes on to the end in any case. The file then lists what is
 * left (the guard, or what failed), or is removed.
 */
int journal_undo(struct journal *j, struct rtnl *nl, struct nft *n, enum journal_undo how,
		 void (*say)(void *ctx, const char *line), void *ctx);
/** journal_has_guard - is any guard change in it? */
bool journal_has_guard(const struct journal *j);

#endif
