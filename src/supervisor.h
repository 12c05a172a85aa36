/* SPDX-License-Identifier: MIT */
/* supervisor: `weir run` from the sandbox's birth to the exit status. */
#ifndef WEIR_SUPERVISOR_H
#define WEIR_SUPERVISOR_H

#include "config.h"

/** supervisor_run - returns the exit status, or does not return when COMMAND died by a signal */
int supervisor_run(const struct config *cfg);

#endif
