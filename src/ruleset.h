/* SPDX-License-Identifier: MIT */
/*
 * ruleset: the supervisor's side of the rules: a file becomes a sealed memfd that workers map.
 *
 * Compiling reads files, asks the name service for users, and takes long for sets of a million
 * names, so a child does it. It writes the packed rules to a memfd and one line to a pipe; nothing
 * is changed until both are there and good.
 */
#ifndef WEIR_RULESET_H
#define WEIR_RULESET_H

#include "policy.h"

#include <stdbool.h>
#include <sys/types.h>

#define RULESET_ERR 1024 /* an error is a line, the line of the file, and carets */

/**
 * struct ruleset_load - a file that is being compiled
 * @pipe_fd: to be polled; -1: nothing is under way
 * @p: owned; with @mem_fd what has come of it, until ruleset_adopt() or ruleset_load_cancel()
 */
struct ruleset_load {
	int pipe_fd, mem_fd;
	pid_t pid;
	struct policy *p;
	size_t len;
	char text[RULESET_ERR];
};

/**
 * struct ruleset_use - rules in force
 * @fd: sealed memfd, given to each worker; -1: there are none
 * @number: of this ruleset in this run, from 1
 * @now, @before: as @fd says, and the one that it took the place of: flows that it had judged may
 *	still end
 */
struct ruleset_use {
	int fd;
	uint32_t number;
	struct policy *now, *before;
};

/** ruleset_load_start - fork the child that compiles @path; 0 or -errno */
int ruleset_load_start(struct ruleset_load *l, const char *path);
/**
 * ruleset_load_read - the pipe is readable
 *
 * -EAGAIN: not done. 0: the rules are good, and wait for ruleset_adopt(). Else -errno, with the
 * reason in l->text.
 */
int ruleset_load_read(struct ruleset_load *l);
/** ruleset_adopt - @l's rules are those in force; false: there are none */
bool ruleset_adopt(struct ruleset_load *l, struct ruleset_use *u);
/** ruleset_load_cancel - end the child, if there is one; rules not adopted are forgotten */
void ruleset_load_cancel(struct ruleset_load *l);
/** ruleset_load_now - all of that, waiting for it: at the start, when nothing else can happen */
int ruleset_load_now(const char *path, struct ruleset_use *u, char *err, size_t errsize);
void ruleset_free(struct ruleset_use *u);
/** ruleset_of - the policy with this number; NULL: it is gone */
const struct policy *ruleset_of(const struct ruleset_use *u, uint32_t number);

#endif
