/* SPDX-License-Identifier: MIT */
#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX (1U << 20) /* of a file that is read whole */

void assert_fail(const char *expr, const char *file, int line)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "weir: bug: %s:%d: %s\n", file, line, expr);
	ssize_t unused;

	/* as much as fits, without stdio: its locks may be what is broken */
	unused = write(STDERR_FILENO, text, MIN((size_t)MAX(n, 0), sizeof(text) - 1));
	(void)unused;
	abort();
}

size_t str_copy(char *dst, size_t size, const char *src)
{
	size_t n;

	if (!size)
		return 0;
	n = strnlen(src, size - 1);
	memcpy(dst, src, n);
	dst[n] = '\0';
	return n;
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int read_text(const char *path, char **text)
{
	FILE *f = fopen(path, "re");
	char *buf = f ? malloc(TEXT_MAX + 2) : NULL;
	int rc = 0;
	size_t n;

	if (!f)
		return -errno;
	if (!buf) {
		fclose(f);
		return -ENOMEM;
	}
	errno = 0;
	n = fread(buf, 1, TEXT_MAX + 1, f);
	if (ferror(f))
		rc = errno ? -errno : -EIO;
	else if (n > TEXT_MAX)
		rc = -EFBIG;
	else if (memchr(buf, 0, n))
		rc = -EINVAL;
	fclose(f);
	if (rc) {
		free(buf);
		return rc;
	}
	buf[n] = 0;
	*text = buf;
	return 0;
}
