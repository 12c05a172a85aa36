/* SPDX-License-Identifier: MIT */
/*
 * inside_dns: the host's resolvers, made to work inside.
 *
 * Used by the keeper: once before COMMAND starts, and again whenever the host's resolv.conf
 * has changed.
 */
#ifndef WEIR_INSIDE_DNS_H
#define WEIR_INSIDE_DNS_H

#include "hostdns.h"
#include "sandbox.h"

#include <limits.h>
#include <stdbool.h>

#define INSIDE_DNS_OWN_MAX 32

/** struct inside_dns - what is set up */
struct inside_dns {
	struct addr own[INSIDE_DNS_OWN_MAX]; /* local inside, besides loopback */
	unsigned n_own;
	bool mounts; /* there is a mount namespace of our own */
	struct {
		struct addr inside, outside;
	} bound[SANDBOX_DNS_MAX];
	unsigned n_bound;
	char mounted[PATH_MAX];	     /* what our copy lies over, "" = there is none */
	unsigned long dev, ino;	     /* the copy itself */
	char copy[HOSTDNS_TEXT_MAX]; /* its text */
	size_t copy_len;
};

/**
 * inside_dns_apply - bind what @conf names and is not bound yet, and show the programs a copy
 * of it where it names link-local resolvers
 * @out: SANDBOX_DNS_MAX places; gets the new ones, whose sockets are owned by the caller
 * @text: something to tell the user, or ""
 *
 * Returns how many are new.
 */
unsigned inside_dns_apply(struct inside_dns *d, const struct hostdns_conf *conf,
			  struct sandbox_dns *out, char *text, size_t size);

#endif
