/* SPDX-License-Identifier: MIT */
/*
 * regions: the address space cut along prefixes, so that one answer holds for all of a
 * piece; and which of these answers a routing table has to spell out.
 *
 * Routes and rules choose by prefixes, and two prefixes are nested or apart. So what is left
 * of a prefix without the prefixes inside it is treated alike by every rule and table that
 * these came from, and asking about one address of it is asking about all.
 */
#ifndef WEIR_REGIONS_H
#define WEIR_REGIONS_H

#include <stddef.h>

#include "rule.h"

/** struct region_way - what happens to packets for a region; equal when all of it is */
struct region_way {
	enum route_type type;
	struct addr src; /* of ROUTE_UNICAST */
	unsigned mtu;	 /* likewise; 0: the device's */
};

/** struct region - @p without the regions inside it */
struct region {
	struct prefix p;       /* host bits zero */
	bool hole;	       /* not to be asked about; what is around it decides */
	bool has_probe;	       /* false: regions inside it are all of it */
	bool settled, has_way; /* of use to regions.c only */
	bool keep;	       /* by regions_elide(): needs a route of its own */
	int parent;	       /* the one around it, always at a lower index; -1: none */
	struct addr probe;
	/* to be set where has_probe; regions_elide() makes the others' that of their parent */
	struct region_way way;
};

struct regions {
	struct region *r; /* owned; regions_build() puts a parent in front of what is inside */
	size_t n, room;
};

/** regions_add - 0 or -ENOMEM; of equal prefixes one stays, a hole before others */
int regions_add(struct regions *rs, const struct prefix *p, bool hole);
/** regions_build - sorts, drops duplicates, finds each region's parent and an address of it */
void regions_build(struct regions *rs);
/**
 * regions_elide - sets @keep: false where the table would give the same answer without
 *
 * Outside of everything the table says unreachable.
 */
void regions_elide(struct regions *rs);
void regions_free(struct regions *rs);

/** prefix_masked - @p with host bits zero */
struct prefix prefix_masked(const struct prefix *p);
/** prefix_compare - in the order of regions_build(): IPv4, IPv6, by address, wider first */
int prefix_compare(const struct prefix *a, const struct prefix *b);
bool region_way_equal(const struct region_way *a, const struct region_way *b);

#endif
