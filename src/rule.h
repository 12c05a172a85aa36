/* SPDX-License-Identifier: MIT */
/*
 * rule: what weir changes in a host's routing, as plain values: policy rules, routes
 * and sysctls. plan.c makes them, rtnl.c and sysctl.c carry them out, journal.c
 * remembers them. Everything carries weir's own protocol number, so that nothing a
 * person or another program added is ever mistaken for ours.
 */
#ifndef WEIR_RULE_H
#define WEIR_RULE_H

#include "base/addr.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#define RULE_PROTOCOL 119 /* FRA_PROTOCOL and rtm_protocol of ours; 'w' */

/** enum rule_action - RULE_UNREACHABLE is "no route": ENETUNREACH, which no type of route gives */
enum rule_action { RULE_LOOKUP, RULE_GOTO, RULE_NOP, RULE_UNREACHABLE };

/** struct host_rule - one line of `ip rule`; a selector that is not set matches all */
struct host_rule {
	bool v6;
	uint32_t pref;
	enum rule_action action;
	uint32_t table;	    /* of RULE_LOOKUP */
	uint32_t goto_pref; /* of RULE_GOTO: a rule of exactly this pref must exist */
	bool has_uid;
	uint32_t uid_lo, uid_hi;     /* inclusive */
	uint32_t mark, mask;	     /* mask 0: none */
	char iif[IFNAMSIZ];	     /* "" none; "lo": only what this host sends */
	uint8_t ip_proto;	     /* 0: any */
	struct prefix to;	     /* bits 0: any */
	uint16_t dport_lo, dport_hi; /* 0, 0: any */
};

enum route_type {
	ROUTE_UNICAST,
	ROUTE_UNREACHABLE,
	ROUTE_BLACKHOLE,
	ROUTE_PROHIBIT,
	ROUTE_THROW,
	ROUTE_LOCAL, /* for this host itself */
};

/** struct host_route - one route without a gateway, as weir's own table has them */
struct host_route {
	bool v6;
	enum route_type type;
	uint32_t table;
	struct prefix dst; /* bits 0: default */
	unsigned ifindex;  /* 0: none (types other than unicast) */
	struct addr src;   /* preferred source; unspecified: none */
	uint32_t metric;   /* 0: the kernel's default */
	unsigned mtu;	   /* 0: the device's */
};

/** struct host_sysctl - below /proc/sys, with '/' between the parts; values without newline */
struct host_sysctl {
	char name[128];
	char value[64];
};

#endif
