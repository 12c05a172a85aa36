/* SPDX-License-Identifier: MIT */
/* down: `weir down`, the end of a `weir up`, also of one that was killed. */
#ifndef WEIR_DOWN_H
#define WEIR_DOWN_H

#include <stdbool.h>

/**
 * down_run - end the supervisor that runs in @runtime_dir and undo what is left there
 * @after_crash: only what one that is gone has left, and not the guard of fail-closed selections
 *
 * A supervisor is sent SIGTERM and waited for. Prints what it undid. Returns the exit status:
 * 0 when nothing is left, also where there was nothing to do; 1 otherwise, with a line why.
 */
int down_run(const char *runtime_dir, bool after_crash);

#endif
