/* SPDX-License-Identifier: MIT */
/*
 * inside: enters the private namespaces and furnishes them.
 *
 * Runs in the keeper, single-threaded. What the host has is read before the
 * namespaces are left, so that inside looks the same: addresses, MTU, settings,
 * resolvers.
 */
#ifndef WEIR_INSIDE_H
#define WEIR_INSIDE_H

#include "inside_dns.h"
#include "sandbox.h"

/**
 * inside_furnish - fill @s (all but keeper and ctl_fd); its descriptors are owned by the caller
 * @s->userns: make a user namespace as well
 * @conf: the host's resolv.conf
 * @dns: what is made of it; for inside_dns_apply() later
 *
 * Returns 0, or -errno with one line in @err that says what to change.
 */
int inside_furnish(struct sandbox *s, const struct config *cfg, const struct hostdns_conf *conf,
		   struct inside_dns *dns, char *err, size_t errsize);

#endif
