/* SPDX-License-Identifier: MIT */
/*
 * rtnl: policy rules, routes, links and addresses of the network namespace that the
 * caller is in when it opens the socket, by rtnetlink; and word of every change to
 * them. Beside netcfg.h, which furnishes a namespace of our own.
 */
#ifndef WEIR_RTNL_H
#define WEIR_RTNL_H

#include "rule.h"

struct rtnl; /* one rtnetlink socket for requests; every call waits for the kernel's answer */

int rtnl_open(struct rtnl **out);
void rtnl_close(struct rtnl *nl);

/** rtnl_rule_add - 0, -EEXIST (an equal one with our protocol is there), -errno */
int rtnl_rule_add(struct rtnl *nl, const struct policy_rule *r);
/** rtnl_rule_del - exactly this rule and only with RULE_PROTOCOL; 0, -ENOENT, -errno */
int rtnl_rule_del(struct rtnl *nl, const struct policy_rule *r);
/** rtnl_rules - every rule of both families; @ours: RULE_PROTOCOL. @each returns non-zero to stop
 */
int rtnl_rules(struct rtnl *nl, int (*each)(void *ctx, const struct policy_rule *r, bool ours),
	       void *ctx);

int rtnl_route_replace(struct rtnl *nl, const struct host_route *r);
int rtnl_route_del(struct rtnl *nl, const struct host_route *r); /* -ESRCH: not there */
/** rtnl_routes - every route of both families but those of table local (and cloned ones) */
int rtnl_routes(struct rtnl *nl, int (*each)(void *ctx, const struct host_route *r), void *ctx);
/** rtnl_routes_flush - every route of @table that has RULE_PROTOCOL; returns how many, -errno */
int rtnl_routes_flush(struct rtnl *nl, uint32_t table);

/** struct rtnl_way - the kernel's answer to "how would uid @uid reach @dst" */
struct rtnl_way {
	enum route_type type;
	uint32_t table;
	unsigned ifindex;
	struct addr src;
	unsigned mtu;
};
/** rtnl_way_to - 0, or -errno (-ENETUNREACH, -EHOSTUNREACH, -EACCES ...: there is none) */
int rtnl_way_to(struct rtnl *nl, const struct addr *dst, uint32_t uid, uint32_t mark,
		struct rtnl_way *w);

/** rtnl_link_del - 0, -ENODEV (there is none of this name), -errno */
int rtnl_link_del(struct rtnl *nl, const char *name);
/** rtnl_addresses - every address of @ifindex (0: of all links) */
int rtnl_addresses(struct rtnl *nl, unsigned ifindex,
		   int (*each)(void *ctx, unsigned ifindex, const struct prefix *p), void *ctx);

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
 * Changes to objects with RULE_PROTOCOL that @own_pid's socket made are left out where the
 * kernel says so (nlmsg_pid), removals of ours by others are not.
 */
int rtnl_watch_read(int fd);

#endif
