/* SPDX-License-Identifier: MIT */
/*
 * resolvwatch: tells when the host's /etc/resolv.conf has become another one.
 *
 * By whatever way: written, renamed over, removed, made, or a symbolic link on the way to it
 * switched. Every function but _open accepts NULL: nothing is watched then.
 */
#ifndef WEIR_RESOLVWATCH_H
#define WEIR_RESOLVWATCH_H

#include <stdbool.h>
#include <stdint.h>

#define RESOLV_CONF "/etc/resolv.conf"

struct resolvwatch;

/** resolvwatch_open - 0 or -errno; *@out is owned */
int resolvwatch_open(struct resolvwatch **out);
void resolvwatch_close(struct resolvwatch *w);
int resolvwatch_fd(const struct resolvwatch *w); /* for POLLIN; -1: none */
/** resolvwatch_deadline - when resolvwatch_service() wants to be called, monotonic; 0 = never */
uint64_t resolvwatch_deadline(const struct resolvwatch *w);
/** resolvwatch_service - @readable: the descriptor is; true: read the file again */
bool resolvwatch_service(struct resolvwatch *w, bool readable);

#endif
