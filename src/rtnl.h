/* SPDX-License-Identifier: MIT */
/*
 * rtnl: policy rules, routes, links and addresses of the network namespace that the
 * caller is in when it opens the socket, by rtnetlink; and word of every change to
 * them. Beside netcfg.h, which furnishes a namespace of our own.
 *
 * Where everything of a kind is given to a function @each, all of it was read before the
 * first call: @each may use the same struct rtnl, and may change what is being listed. It
 * returns non-zero to stop. A family that this kernel lacks has nothing.
 */
#ifndef WEIR_RTNL_H
#define WEIR_RTNL_H

#include "rule.h"

struct rtnl; /* one rtnetlink socket for requests; every call waits for the kernel's answer */

int rtnl_open(struct rtnl **out);
void rtnl_close(struct rtnl *nl);

/** rtnl_rule_add - 0, -EEXIST (an equal one with our protocol is there), -errno */
int rtnl_rule_add(struct rtnl *nl, const struct host_rule *r);
/**
 * rtnl_rule_del - exactly this rule and only with RULE_PROTOCOL; 0, -ENOENT, -errno
 *
 * The kernel deletes the first rule that has what it is given, whatever else that one has: a
 * rule of ours in front of @r, of the same pref and with more selectors, is lifted for a
 * moment and then stands behind the others of its pref. Give each rule a pref of its own.
 */
int rtnl_rule_del(struct rtnl *nl, const struct host_rule *r);
/**
 * rtnl_rules - every rule of both families
 * @ours: it has RULE_PROTOCOL, and struct host_rule holds all that it says. A foreign rule
 *        may say more (source, suppress_prefixlen, not ...).
 */
int rtnl_rules(struct rtnl *nl, int (*each)(void *ctx, const struct host_rule *r, bool ours),
	       void *ctx);

/** rtnl_route_replace - add it, or put it in place of the one with its prefix and metric */
int rtnl_route_replace(struct rtnl *nl, const struct host_route *r);
int rtnl_route_del(struct rtnl *nl, const struct host_route *r); /* -ESRCH: not there */

#define RTNL_ROUTES_MAX 20000
/**
 * rtnl_routes - every route of both families but those of table local (and cloned ones)
 *
 * -E2BIG: more than RTNL_ROUTES_MAX (a router's full table), @each was not called. A route
 * over several devices has none here.
 */
int rtnl_routes(struct rtnl *nl, int (*each)(void *ctx, const struct host_route *r), void *ctx);
/** rtnl_table_routes - the routes of @table that have RULE_PROTOCOL */
int rtnl_table_routes(struct rtnl *nl, uint32_t table,
		      int (*each)(void *ctx, const struct host_route *r), void *ctx);
/** rtnl_local_prefixes - what this host takes itself: its addresses, 127/8, broadcast ... */
int rtnl_local_prefixes(struct rtnl *nl, int (*each)(void *ctx, const struct prefix *p), void *ctx);
/**
 * rtnl_routes_flush - the routes of @table that come and go: RULE_PROTOCOL and metric 0
 *
 * A fixed route, as the one that ends the table, has a metric and stays. Returns how many
 * went, or -errno.
 */
int rtnl_routes_flush(struct rtnl *nl, uint32_t table);

/** struct rtnl_way - the kernel's answer to "how would uid @uid reach @dst" */
struct rtnl_way {
	enum route_type type; /* not ROUTE_THROW */
	bool local; /* this host takes it itself; also when it is broadcast or multicast */
	uint32_t table;
	unsigned ifindex;
	struct addr src; /* unspecified: the kernel names none */
	unsigned mtu;	 /* the route's own; 0: the device's */
};
/**
 * rtnl_way_to - 0, or -errno (-ENETUNREACH ...: no rule leads to a route)
 *
 * A route that says no is an answer, in @w->type. IPv6 does not tell an unreachable route
 * from none.
 */
int rtnl_way_to(struct rtnl *nl, const struct addr *dst, uint32_t uid, uint32_t mark,
		struct rtnl_way *w);

/** rtnl_link_del - 0, -ENODEV (there is none of this name), -errno */
int rtnl_link_del(struct rtnl *nl, const char *name);
/** rtnl_addresses - every address of @ifindex (0: of all links) */
int rtnl_addresses(struct rtnl *nl, unsigned ifindex,
		   int (*each)(void *ctx, unsigned ifindex, const struct prefix *p), void *ctx);

struct rtnl_link {
	unsigned ifindex, mtu;
	char name[IFNAMSIZ];
	bool up;
};
int rtnl_links(struct rtnl *nl, int (*each)(void *ctx, const struct rtnl_link *l), void *ctx);

/* --- changes -------------------------------------------------------------------------- */

enum rtnl_change {
	RTNL_LINK = 1 << 0,
	RTNL_ADDRESS = 1 << 1,
	RTNL_ROUTE = 1 << 2,
	RTNL_RULE = 1 << 3,
	RTNL_LOST = 1 << 4, /* the socket's buffer overflowed: look at everything */
};

/** rtnl_watch_open - a non-blocking descriptor that hears of changes; or -errno */
int rtnl_watch_open(void);
/**
 * rtnl_watch_read - what has changed since the last call; 0 nothing, a set of RTNL_*, -errno
 *
 * What @own (may be NULL) changed is left out; what others, and the kernel by itself, did to
 * objects of ours is not. Table local is left out: RTNL_ADDRESS speaks for it. Reads a
 * bounded amount: call it again when the descriptor is still readable.
 */
int rtnl_watch_read(int fd, const struct rtnl *own);

#endif
