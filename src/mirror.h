/* SPDX-License-Identifier: MIT */
/*
 * mirror: keeps the routes of weir's own table like the host's, in what programs can see
 * of them: which destinations can be reached, from which source address, with which MTU.
 */
#ifndef WEIR_MIRROR_H
#define WEIR_MIRROR_H

#include "rtnl.h"

/** struct mirror - what to keep where; filled by the caller */
struct mirror {
	struct rtnl *nl;  /* borrowed */
	uint32_t table;	  /* the mirrored routes are those of RULE_PROTOCOL with metric 0 */
	unsigned ifindex; /* of the TUN device */
	uint32_t uid;	  /* of the workers, whom our own rules let pass */
};

/** struct mirror_report - what one update did */
struct mirror_report {
	unsigned asked, routes; /* ways asked for; routes in the table now */
	unsigned added, replaced, deleted;
	bool limited; /* more than RTNL_ROUTES_MAX routes: only the default way is mirrored */
	int failed;   /* -errno of the first change that the kernel refused; the others were made */
};

/**
 * mirror_update - make the table what it should be now, by as few changes as possible
 *
 * To be called at start and when rtnl_watch_read() reports a change, some time after the
 * last of a series. What others removed from the table is put back. 0 or -errno, where the
 * table was left as it is; -ENODEV: the device is gone.
 */
int mirror_update(const struct mirror *m, struct mirror_report *report);

#endif
