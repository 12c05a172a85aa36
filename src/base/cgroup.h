/* SPDX-License-Identifier: MIT */
/* cgroup: where the unified hierarchy (version 2) is; hybrid systems have it in odd places. */
#ifndef WEIR_BASE_CGROUP_H
#define WEIR_BASE_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/** cgroup2_mount - its mount point, from /proc/self/mountinfo; false when it is not mounted */
bool cgroup2_mount(char *out, size_t size);

#endif
