/* SPDX-License-Identifier: MIT */
#include "fds.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"

size_t fds_list(int from, int *out, size_t max)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	size_t n = 0;

	if (!d)
		return 0;
	while (n < max && (e = readdir(d))) {
		int fd = atoi(e->d_name);

		if (isdigit((unsigned char)e->d_name[0]) && fd >= from && fd != dirfd(d))
			out[n++] = fd;
	}
	closedir(d);
	return n;
}

static void close_span(unsigned first, unsigned last)
{
	if (first > last || !close_range(first, last, 0))
		return;
	/* Before Linux 5.9: one by one, as far as any may be open. */
	long max = sysconf(_SC_OPEN_MAX);

	for (unsigned fd = first; fd <= last && (long)fd < max; fd++)
		close((int)fd);
}

void fds_close_except(int from, const int *keep, size_t n_keep)
{
	unsigned first = (unsigned)from;

	for (;;) {
		unsigned next = UINT_MAX;

		for (size_t i = 0; i < n_keep; i++) {
			if (keep[i] >= 0 && (unsigned)keep[i] >= first)
				next = MIN(next, (unsigned)keep[i]);
		}
		if (next == UINT_MAX)
			break;
		if (next > first)
			close_span(first, next - 1);
		first = next + 1;
	}
	close_span(first, UINT_MAX);
}

void fds_null(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0) {
		close(fd);
		return;
	}
	if (null != fd) {
		dup3(null, fd, O_CLOEXEC);
		close(null);
	}
}
