/* SPDX-License-Identifier: MIT */
#include "isolate_filter.h"

#include <errno.h>

scmp_filter_ctx filter_new(uint32_t action)
{
	scmp_filter_ctx ctx = seccomp_init(action);

	if (!ctx)
		return NULL;
	/*
	 * A binary tree of numbers, and no speculation barriers: each packet is a few system
	 * calls, and nothing in here is worth guessing at. The supervisor's filter is inherited
	 * by workers, so what holds for theirs holds for it.
	 */
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_SSB, 1);
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	return ctx;
}

int filter_each(scmp_filter_ctx ctx, uint32_t action, const int *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int r = seccomp_rule_add(ctx, action, list[i], 0);

		/* -EDOM: a call that this architecture does not have */
		if (r && r != -EDOM && r != -EEXIST)
			return r;
	}
	return 0;
}

int filter_load(scmp_filter_ctx ctx, int r)
{
	if (!r)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}
