/* SPDX-License-Identifier: MIT */
/*
 * select_names: who knows the numbers of users, groups, subordinate uids and units on this host:
 * the name service, /etc/subuid, and the cgroup v2 hierarchy, wherever it is mounted.
 */
#ifndef WEIR_SELECT_NAMES_H
#define WEIR_SELECT_NAMES_H

#include "select.h"

/** select_names_host - borrowed, valid for the life of the process; not to be changed */
const struct select_names *select_names_host(void);
/**
 * select_cgroup_id - the id of the cgroup at @path below the hierarchy's root
 *
 * 0, or -errno (-ENOENT: not there now, or no cgroup v2 at all). A cgroup that is removed and made
 * again has another id.
 */
int select_cgroup_id(const char *path, uint64_t *id);

#endif
