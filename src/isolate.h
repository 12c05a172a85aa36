/* SPDX-License-Identifier: MIT */
/* isolate: takes privilege away, in stages; each says what must hold after it. */
#ifndef WEIR_ISOLATE_H
#define WEIR_ISOLATE_H

#include <stddef.h>
#include <sys/types.h>

/** struct isolate_user - whom the worker becomes when weir was started by root */
struct isolate_user {
	uid_t uid;
	gid_t gid;
	char name[33];
};

/** isolate_worker_user - "weir" where it exists, else "nobody"; 0 or -errno */
int isolate_worker_user(struct isolate_user *u);
/** isolate_find_user - @name, or a uid in digits; 0, -ENOENT, -EPERM (root) */
int isolate_find_user(const char *name, struct isolate_user *u);

/**
 * isolate_worker_early - right after fork, before anything hostile is read
 *
 * Should: own session, no core dump, not dumpable, every fd but @keep closed,
 * RLIMIT_NOFILE raised to @nofile or the hard limit; death with the supervisor.
 * Mustn't: need any file later.
 */
int isolate_worker_early(const int *keep, size_t n_keep, size_t nofile);
/**
 * isolate_worker_lock - last step before the first packet
 *
 * Should: uid and gid dropped (root only), no capability in any set, no new
 * privileges, seccomp filter that allows what the loop needs and kills the rest.
 * Mustn't: be able to open a file, start a program, or make any socket but
 * AF_INET/AF_INET6 stream and datagram ones.
 */
int isolate_worker_lock(const struct isolate_user *u /* NULL: keep ours */, char *err,
			size_t errsize);

#endif
