/* SPDX-License-Identifier: MIT */
/* policy_host: rules from this host's files, with this host's users and groups. */
#ifndef WEIR_POLICY_HOST_H
#define WEIR_POLICY_HOST_H

#include "policy.h"

/** policy_host - borrowed, valid for the life of the process; reads and asks, so it may block */
const struct policy_source *policy_host(void);

#endif
