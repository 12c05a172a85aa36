/* SPDX-License-Identifier: MIT */
/* netns: network namespaces of others: by name, by process, and by what a journal says of them. */
#ifndef WEIR_NETNS_H
#define WEIR_NETNS_H

#include <stddef.h>

#define NETNS_ID_MAX 64

/** netns_id - "DEV:INODE" of the namespace that is open at @fd; -1: our own. 0 or -errno */
int netns_id(int fd, char *id, size_t size);
/**
 * netns_open - the one that `ip netns` calls @text, else that of process @text
 *
 * Returns a descriptor (close-on-exec), -ENOENT (neither), -errno.
 */
int netns_open(const char *text);
/**
 * netns_find - the one with @id, if it has a name or a process; a descriptor or -ENOENT
 *
 * What is kept only by a descriptor or a mount elsewhere is not found.
 */
int netns_find(const char *id);

#endif
