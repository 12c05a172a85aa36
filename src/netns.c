/* SPDX-License-Identifier: MIT */
#include "netns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/stat.h>

#include <linux/nsfs.h>
#include <sched.h>

#include "base/util.h"

#define NAMED "/run/netns"

int netns_id(int fd, char *id, size_t size)
{
	struct stat st;

	if (fd < 0 ? stat("/proc/self/ns/net", &st) : fstat(fd, &st))
		return -errno;
	snprintf(id, size, "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	return 0;
}

/** open_netns - @path, if it is a network namespace; a file left behind by one is none */
static int open_netns(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET)
		return fd;
	close(fd);
	return -ENOENT;
}

int netns_open(const char *text)
{
	const bool number = *text && strspn(text, "0123456789") == strlen(text);
	char path[300];
	int fd = -ENOENT;

	if (!strchr(text, '/') && strcmp(text, ".") != 0 && strcmp(text, "..") != 0 &&
	    (size_t)snprintf(path, sizeof(path), NAMED "/%s", text) < sizeof(path))
		fd = open_netns(path);
	if (fd == -ENOENT && number &&
	    (size_t)snprintf(path, sizeof(path), "/proc/%s/ns/net", text) < sizeof(path))
		fd = open_netns(path);
	return fd;
}

/** find_below - among @dir/NAME@suffix */
static int find_below(const char *dir, const char *suffix, bool numbers, const char *id)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	int fd = -ENOENT;

	while (d && fd < 0 && (e = readdir(d))) {
		char path[600], is[NETNS_ID_MAX];

		if (e->d_name[0] == '.' || (numbers && (e->d_name[0] < '1' || e->d_name[0] > '9')))
			continue;
		snprintf(path, sizeof(path), "%s/%s%s", dir, e->d_name, suffix);
		fd = open_netns(path);
		if (fd >= 0 && (netns_id(fd, is, sizeof(is)) || strcmp(is, id) != 0)) {
			close_fd(&fd);
			fd = -ENOENT;
		}
	}
	if (d)
		closedir(d);
	return fd < 0 ? -ENOENT : fd;
}

int netns_find(const char *id)
{
	int fd = find_below(NAMED, "", false, id);

	return fd >= 0 ? fd : find_below("/proc", "/ns/net", true, id);
}
