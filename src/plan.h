/* SPDX-License-Identifier: MIT */
/*
 * plan: what a selection means on the host, as values and text that others carry out: policy
 * rules, fixed routes, sysctls, and nftables tables. Pure: plan.c opens with how it works.
 *
 * Carry it out in this order, each through the journal: @sysctls; the link, and @dev_sysctls
 * once it is there and before it is up; @routes; @guard_nft; the old connections
 * (plan_old_text()), @keep_nft; @nft; the cgroups (cgroupwatch.h); @rules, in the order of the
 * list, which is such that a goto finds its target and the exemptions stand before anything is
 * taken. Undo backwards.
 */
#ifndef WEIR_PLAN_H
#define WEIR_PLAN_H

#include "config.h"
#include "rule.h"
#include "select.h"

#include <stdio.h>

#define PLAN_RULES_MAX	 2048
#define PLAN_ROUTES_MAX	 4
#define PLAN_SYSCTLS_MAX 16
#define PLAN_DNS_MAX	 8
#define PLAN_GUARD_TABLE "weir_guard"
#define PLAN_TABLE	 "weir"

/* Sets of cgroups' ids in both tables, which are filled while weir runs (cgroupwatch.h). */
#define PLAN_CG_SET	"cg%u"	     /* number N of the selection's cgroups, in all its lives */
#define PLAN_CG_PARENTS "cg_parents" /* the directories on the way to a selected one */
#define PLAN_CG_KNOWN	"cg_known"   /* their children that have been looked at */

/** enum plan_mark - the value of weir's two bits in a packet's mark */
enum plan_mark {
	PLAN_MARK_SELECT = 1, /* goes by weir */
	PLAN_MARK_PASS = 2,   /* keeps its path: connections from before, and from outside */
	PLAN_MARK_REPLY = 3,  /* came from weir0, so the kernel's answer to it goes back there; or
			       * goes by weir as long as that is there (fail-open) */
};

/** struct plan_dns - a resolver whose port 53 is redirected, for the selected, to the worker */
struct plan_dns {
	struct addr addr;
	uint16_t udp_port, tcp_port; /* where the worker listens on 127.0.0.1 or ::1; 0: not */
};

/**
 * struct plan_input - what the plan has to know beside the options
 * @worker_uid: its packets never meet weir's rules
 * @dev: name of the device ("weir0")
 * @cgroup_mount: where cgroup v2 is mounted, NULL: nowhere. nft looks for cgroups below
 *	/sys/fs/cgroup only, so the text reaches other places by ../
 * @cgroup_exists: for each of the selection's cgroups, whether its set has its path from the
 *	start. All false where cgroupwatch_print() puts the ids there
 * @steered: connections from outside to the selected's servers are taken over by the worker, so
 *	answers need no way round while weir runs
 * @dns: empty without --dns capture
 */
struct plan_input {
	uint32_t worker_uid;
	const char *dev;
	const char *cgroup_mount;
	bool cgroup_exists[SELECT_CGROUPS_MAX];
	bool steered;
	struct plan_dns dns[PLAN_DNS_MAX];
	unsigned n_dns;
};

/** struct plan_rule - @guard: stays after a crash, as it keeps a fail-closed selector closed */
struct plan_rule {
	struct host_rule rule;
	bool guard;
};

struct plan_route {
	struct host_route route;
	bool guard;
};

/**
 * struct plan - all changes; about 200 KiB, so not on a stack
 * @guard_nft: creates table inet weir_guard, which stays after a crash where @has_guard; owned
 * @keep_nft: adds to it chains that everybody pays for and that are needed only while there are
 *	connections from before, or selected owners with unconnected UDP sockets, whose answers to
 *	strangers keep the way those came; @unkeep_nft takes them away again; owned
 * @output_for_kept: that of the output hook is one of them
 * @nft: creates tables inet weir and netdev weir, which a crash undoes; owned
 * @has_guard: at least one selector is fail-closed
 * @by_rule: for each selector, whether policy rules alone select it (else nft sets the mark)
 */
struct plan {
	struct plan_rule rules[PLAN_RULES_MAX];
	unsigned n_rules;
	struct plan_route routes[PLAN_ROUTES_MAX];
	unsigned n_routes;
	struct host_sysctl sysctls[PLAN_SYSCTLS_MAX]; /* of the host: to be journalled */
	unsigned n_sysctls;
	struct host_sysctl dev_sysctls[PLAN_SYSCTLS_MAX]; /* of the device: gone with it */
	unsigned n_dev_sysctls;
	char *guard_nft;
	char *keep_nft, *unkeep_nft;
	char *nft;
	bool has_guard;
	bool output_for_kept;
	bool by_rule[SELECT_MAX];
};

/**
 * plan_make - the plan of @c's selection (after config_parse_up())
 *
 * Returns 0; -EINVAL with one line in @err (--mark uses weir's own bits, a cgroup selector and no
 * cgroup v2, the worker's uid selected by name); -E2BIG (more rules than fit); -ENOMEM.
 */
int plan_make(struct plan *p, const struct up_config *c, const struct plan_input *in, char *err,
	      size_t errsize);
void plan_free(struct plan *p);
/** plan_print - for --dry-run: `sysctl`, `ip route`, `ip rule` commands and the nft tables */
void plan_print(const struct plan *p, FILE *f);

/** plan_mark_value - the bits of @m where --mark-bits has put them; plan_mark_mask(): both bits */
uint32_t plan_mark_value(const struct up_config *c, enum plan_mark m);
uint32_t plan_mark_mask(const struct up_config *c);

/**
 * plan_old_text - nft text for a TCP connection that existed before the start
 * @add: it keeps its path from now on; else it has ended
 *
 * Returns the length of the text (one line), or -ENOSPC. Lines may be put together and applied
 * as one. Deleting one that is not there fails; adding one twice does not.
 */
int plan_old_text(char *buf, size_t size, bool add, const struct addrport *local,
		  const struct addrport *remote);

#endif
