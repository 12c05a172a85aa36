/* SPDX-License-Identifier: MIT */
/*
 * netcfg: links, addresses and routes by rtnetlink, of the network namespace that
 * the caller is in when it opens the socket.
 */
#ifndef WEIR_NETCFG_H
#define WEIR_NETCFG_H

#include "base/addr.h"

#include <stdbool.h>
#include <stdint.h>

struct netcfg; /* one rtnetlink socket */

/** netcfg_open - 0 or -errno; *@out is owned */
int netcfg_open(struct netcfg **out);
void netcfg_close(struct netcfg *nc);

/** struct netcfg_family - how the host reaches the Internet in one family */
struct netcfg_family {
	bool present;	   /* it has a default route and an address to send from */
	struct prefix own; /* the address its packets carry, with the prefix of its network */
	struct addr brd;   /* broadcast address, unspecified: none */
	int ifindex;
};

struct netcfg_host {
	struct netcfg_family v4, v6;
	unsigned mtu; /* the smallest of the default interfaces', 0: no family present */
};

/**
 * netcfg_read_host - what the routing rules and tables here say of the default way out
 *
 * Asks the kernel which route it would take, so that policy routing (VPN) counts
 * as it does for the host's programs. Returns 0 or -errno of the socket itself; a
 * family without a way out is simply not present.
 */
int netcfg_read_host(struct netcfg *nc, struct netcfg_host *h);

/** struct netcfg_link - what to set; zero fields stay as they are */
struct netcfg_link {
	unsigned mtu, txqlen;
	bool no_link_local; /* IPv6: make no fe80:: address by itself */
	bool up;
};

int netcfg_link_set(struct netcfg *nc, int ifindex, const struct netcfg_link *l);
/** netcfg_address_add - @brd may be NULL; IPv6 without duplicate address detection */
int netcfg_address_add(struct netcfg *nc, int ifindex, const struct prefix *own,
		       const struct addr *brd);
/** netcfg_default_add - default route over @ifindex, no gateway, @src preferred */
int netcfg_default_add(struct netcfg *nc, int ifindex, const struct addr *src);

#endif
