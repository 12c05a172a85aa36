/* SPDX-License-Identifier: MIT */
#include "runlock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define TRIES 100 /* each means that somebody else removed the file in between */

/** start_time - of process @pid, in ticks since boot (field 22 of its stat); 0: no such process */
static unsigned long long start_time(pid_t pid)
{
	char path[64], buf[1024], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	p = strrchr(buf, ')'); /* the name before it may hold anything */
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

/** still_there - is @path the file that @fd has open? It may have been removed meanwhile */
static bool still_there(int fd, const char *path)
{
	struct stat ours, theirs;

	return !fstat(fd, &ours) && !lstat(path, &theirs) && ours.st_dev == theirs.st_dev &&
	       ours.st_ino == theirs.st_ino;
}

static int open_and_lock(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644), err;

	if (fd < 0)
		return -errno;
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	err = errno == EWOULDBLOCK ? EBUSY : errno;
	close(fd);
	return -err;
}

int runlock_take(const char *path)
{
	for (int i = 0; i < TRIES; i++) {
		int fd = open_and_lock(path);

		if (fd < 0)
			return fd;
		if (still_there(fd, path) && !ftruncate(fd, 0))
			return fd;
		close(fd);
	}
	return -EBUSY;
}

int runlock_announce(int fd)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%d %llu\n", (int)getpid(), start_time(getpid()));

	if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n)
		return -EIO;
	return 0;
}

void runlock_release(int fd, const char *path)
{
	close(fd);
	/* Who can take it knows that no process has inherited it. */
	fd = runlock_take(path);
	if (fd >= 0) {
		unlink(path);
		close(fd);
	}
}

static int read_announced(const char *path, pid_t *pid, unsigned long long *start)
{
	char text[64];
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), number;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	if (sscanf(text, "%d %llu", &number, start) != 2 || number <= 1)
		return -ESRCH;
	*pid = number;
	return 0;
}

int runlock_holder(const char *path, pid_t *pid)
{
	unsigned long long start = 0;
	int rc = read_announced(path, pid, &start), fd;

	if (rc)
		return rc;
	fd = (int)syscall(SYS_pidfd_open, *pid, 0);
	if (fd < 0)
		return -errno;
	/* From here on the number can't go to another process unnoticed. */
	if (start_time(*pid) == start)
		return fd;
	close(fd);
	return -ESRCH;
}
