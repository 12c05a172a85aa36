/* SPDX-License-Identifier: MIT */
/* lib_netns: a network namespace of the test's own, with lo up; no root needed. */
#ifndef WEIR_TESTS_LIB_NETNS_H
#define WEIR_TESTS_LIB_NETNS_H

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static inline int netns_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok ? 0 : -1;
}

/** netns_enter_as - a user (our uid, or 0 for it) and a network namespace; NULL, or why not */
static inline const char *netns_enter_as(bool map_root)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	unsigned uid = getuid(), gid = getgid();
	char umap[64], gmap[64];
	int fd, bad;

	snprintf(umap, sizeof(umap), "%u %u 1", map_root ? 0 : uid, uid);
	snprintf(gmap, sizeof(gmap), "%u %u 1", map_root ? 0 : gid, gid);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return "no user namespaces here";
	if (netns_write("/proc/self/setgroups", "deny") ||
	    netns_write("/proc/self/uid_map", umap) || netns_write("/proc/self/gid_map", gmap))
		return "the user map can't be written";
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bad = ioctl(fd, SIOCSIFFLAGS, &ifr);
	close(fd);
	return bad ? "lo can't be brought up" : NULL;
}

/** netns_forbidden - NULL when netns_enter_as() works here, tried in a child */
static inline const char *netns_forbidden(void)
{
	int status = 1;
	pid_t pid = fork();

	if (!pid)
		_exit(netns_enter_as(false) != NULL);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return status ? "no user and network namespaces here" : NULL;
}

#endif
