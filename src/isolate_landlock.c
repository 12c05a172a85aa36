/* SPDX-License-Identifier: MIT */
/*
 * Landlock: a second wall behind the worker's system call filter, of another make. Where the filter
 * says which calls there are, this says that no path may be opened, made, removed or
 * looked into, whatever call is used for it.
 *
 * Rights by number, as the headers of a distribution are often older than its kernel.
 */
#include "isolate.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include <sys/syscall.h>

#include "base/util.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444 /* the same on all architectures */
#define SYS_landlock_restrict_self  446
#endif

#define CREATE_VERSION 1U /* asks for the ABI's version instead of a ruleset */
#define SCOPE_ALL      3U /* abstract AF_UNIX names, signals: none outside of the domain */
#define SCOPE_ABI      6

/** struct ruleset - as of ABI 6; older kernels accept the longer one when the rest is zero */
struct ruleset {
	uint64_t fs, net, scoped;
};

/** fs_rights - all that ABI @abi knows; every one of them is denied, as there is no rule */
static uint64_t fs_rights(int abi)
{
	static const unsigned bits[] = {0, 13, 14, 15, 15, 16}; /* + refer, truncate, ioctl */

	return (1ULL << bits[MIN((size_t)abi, ARRAY_SIZE(bits) - 1)]) - 1;
}

int isolate_landlock(void)
{
	const int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
	struct ruleset r = {.fs = fs_rights(abi), .scoped = abi >= SCOPE_ABI ? SCOPE_ALL : 0};
	int fd, rc;

	if (abi < 1) /* not built in, switched off, or forbidden in a container */
		return -EOPNOTSUPP;
	fd = (int)syscall(SYS_landlock_create_ruleset, &r, sizeof(r), 0);
	if (fd < 0)
		return -errno;
	rc = syscall(SYS_landlock_restrict_self, fd, 0) ? -errno : 0;
	close(fd);
	return rc;
}
