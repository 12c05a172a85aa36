/* SPDX-License-Identifier: MIT */
/*
 * steer: carries a plan (plan.h) out on the host, keeps it in force, and takes it back.
 *
 * Everything goes through the journal. In force means: what others remove is put back and said,
 * the mirrored routes follow the host's own, connections from before leave their sets when
 * they end, and a watcher process undoes all but the guard should this one be killed.
 */
#ifndef WEIR_STEER_H
#define WEIR_STEER_H

#include "config.h"
#include "isolate.h"
#include "netcfg.h"
#include "plan.h"
#include "sandbox.h"

#include <poll.h>

#define STEER_FDS 4

struct steer;

/**
 * struct steer_config - all borrowed; @dns as in struct plan_input
 * @outside: NULL, or with --netns a socket of the namespace that the workers are in, while the
 *	caller is in the selected one. Routes are not mirrored then: a default route by the
 *	device for each family that has one outside
 */
struct steer_config {
	const struct up_config *up;
	const struct isolate_user *worker;
	const struct plan_dns *dns;
	unsigned n_dns;
	struct netcfg *outside;
};

/** steer_new - the plan; changes nothing yet. 0, or -errno with a line in @err */
int steer_new(struct steer **out, const struct steer_config *sc, char *err, size_t errsize);
/**
 * steer_steered - connections from outside to the selected's servers are taken over by the worker:
 * the plan can do without a way round for their answers. Before steer_open(); 0 or -errno
 */
int steer_steered(struct steer *s, char *err, size_t errsize);
/** steer_free - whatever is in force stays so */
void steer_free(struct steer *s);
/** steer_print - the plan, for --dry-run */
void steer_print(const struct steer *s, FILE *f);

/**
 * steer_open - journal, watcher, sysctls, device with addresses, mirrored routes
 * @sb: gets tun_fd, mtu and what the device can do
 *
 * Nothing is selected yet. 0, or -errno with a line in @err; then steer_undo() is due. -EBUSY:
 * another weir is in force.
 */
int steer_open(struct steer *s, struct sandbox *sb, char *err, size_t errsize);
/** steer_select - guard, connections from before, rules: from here on packets arrive */
int steer_select(struct steer *s, char *err, size_t errsize);
/** steer_guard - only what keeps fail-closed selections closed (--lockdown) */
int steer_guard(struct steer *s, char *err, size_t errsize);
/**
 * steer_reload - another selection in the place of the one in force, with no moment without a guard
 * @next: borrowed from now on, unless it fails
 * @steered: as steer_steered() says, now
 *
 * 0, or -errno with a line in @err: the old one goes on. What both select keeps its connections.
 */
int steer_reload(struct steer *s, const struct up_config *next, bool steered, char *err,
		 size_t errsize);
/** steer_undo - everything, or all but the guard; returns 0 or the first error (said) */
int steer_undo(struct steer *s, bool keep_guard);
/** steer_inherited - a guard was in force already before we came: a lock-down, or a crash */
bool steer_inherited(const struct steer *s);
/** steer_watch - child @pid is to end with us, whatever happens */
void steer_watch(struct steer *s, pid_t pid);
/** steer_path - a file that is about to be made, to be removed whatever happens; 0 or -errno */
int steer_path(struct steer *s, const char *path);
/** steer_child_ended - any child that was reaped: the watcher may be one */
void steer_child_ended(struct steer *s, pid_t pid);
/** steer_leave - stop watching; what is in force stays (--lockdown) */
void steer_leave(struct steer *s);

/** steer_pollfds - fills at most STEER_FDS; returns how many */
int steer_pollfds(const struct steer *s, struct pollfd *p);
/**
 * steer_serve - after poll(): changes of the host are noted; those that are due are followed
 *
 * Returns false when somebody has deleted the device: steer_device() is due.
 */
bool steer_serve(struct steer *s, const struct pollfd *p, int n);
/**
 * steer_device - is the device still ours? One that somebody has deleted is made anew
 * @sb: its tun_fd is replaced then, and the workers of the old one are of no use any more
 *
 * 1: there is another one now; 0; -errno (said): there is none. The guard stands meanwhile.
 */
int steer_device(struct steer *s, struct sandbox *sb);
/** steer_deadline - when steer_serve() is due again, CLOCK_MONOTONIC in ns; never 0 */
uint64_t steer_deadline(const struct steer *s);

/** steer_changes - goes up when the host's addresses, routes or rules have changed */
unsigned steer_changes(const struct steer *s);
/** steer_cgroup_changes - goes up when selected cgroups may have come, gone or been made again */
unsigned steer_cgroup_changes(const struct steer *s);
/** steer_status - some lines for people: what is selected, how many connections from before ... */
void steer_status(const struct steer *s, FILE *f);

#endif
