/* SPDX-License-Identifier: MIT */
/* isolate: takes privilege away, in stages; each says what must hold after it. */
#ifndef WEIR_ISOLATE_H
#define WEIR_ISOLATE_H

#include <stdbool.h>
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
 * isolate_become - from root to @u (NULL: stay who we are), without capabilities or a way back to
 * them, and end with the parent; 0 or -errno
 */
int isolate_become(const struct isolate_user *u);
/** isolate_drop_capabilities - all of them, and no new privileges; 0 or -errno */
int isolate_drop_capabilities(void);
/**
 * isolate_worker_allow - calls that a hook needs beside ours, by name, blanks between
 *
 * Before isolate_worker_lock(). 0, or -EINVAL with a line in @err: there is no such call, or it is
 * one that no worker may make (it would open files, start or trace programs, change namespaces
 * or the kernel, or run memory that can be written).
 */
int isolate_worker_allow(const char *names, char *err, size_t errsize);
/**
 * isolate_worker_lock - last step before the first packet
 *
 * Should: uid and gid dropped (root only), no capability in any set, no new
 * privileges, seccomp filter that allows what the loop needs and kills the rest, and
 * Landlock where the kernel has it.
 * Mustn't: be able to open a file, start a program, or make any socket but
 * AF_INET/AF_INET6 stream and datagram ones.
 */
int isolate_worker_lock(const struct isolate_user *u /* NULL: keep ours */, char *err,
			size_t errsize);
/**
 * isolate_landlock - no path can be opened any more; what is open stays usable
 *
 * Needs no_new_privs or CAP_SYS_ADMIN. 0, -EOPNOTSUPP (the kernel has none), -errno. It can't be
 * seen from outside, nor undone.
 */
int isolate_landlock(void);

/**
 * isolate_supervisor_lock - `weir up`, when nothing is left to do that needs more
 * @nofile: what its workers will need
 * @netns: they go to another network namespace than this one, which takes CAP_SYS_ADMIN
 *
 * Before the first worker is started, so that all of them start in the same way. Should: keep the
 * capabilities to change rules, routes and tables, to see whose process a socket is, and to
 * start and end workers; no new privileges; a filter under which no program can be started, no
 * namespace, mount, module or BPF program made, and no memory be both written and run.
 * Mustn't: open files that only CAP_DAC_OVERRIDE lets root open, or make packet sockets.
 */
int isolate_supervisor_lock(size_t nofile, bool netns, char *err, size_t errsize);

#endif
