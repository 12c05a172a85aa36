/* SPDX-License-Identifier: MIT */
/*
 * starter: the small process that starts the programs that hooks talk to.
 *
 * It is forked before the supervisor locks itself down (which forbids it to start programs), is the
 * worker's user from then on, and has no capabilities. So whatever it starts has no more rights
 * than the worker had. It ends with the supervisor, and they end with it.
 */
#ifndef WEIR_STARTER_H
#define WEIR_STARTER_H

#include "isolate.h"

#include <stdint.h>

#define STARTER_ARGS_MAX 2048 /* bytes of a program's words, each with its NUL */

struct starter;

/** starter_new - fork it; @user: whom it becomes, NULL: it stays who we are. 0 or -errno */
int starter_new(struct starter **out, const struct isolate_user *user);
/** starter_free - ends it, and gives what it has started a second to end by itself */
void starter_free(struct starter *s);
/**
 * starter_run - start a program
 * @tag: what it is called in starter_ended()
 * @args: its words, one behind the other, each with its NUL; the first is found by PATH
 * @fd: its standard input and output; stays the caller's
 *
 * 0 or -errno; that the program is not there shows as its end.
 */
int starter_run(struct starter *s, uint32_t tag, const char *args, size_t len, int fd);
/** starter_stop - SIGTERM to the program @tag, if it still runs */
void starter_stop(struct starter *s, uint32_t tag);
/** starter_ended - 1 and the tag of a program that has ended, 0: none has now, -errno: it is gone
 */
int starter_ended(struct starter *s, uint32_t *tag, int *status);
int starter_fd(const struct starter *s); /* readable for starter_ended() */

#endif
