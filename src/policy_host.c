/* SPDX-License-Identifier: MIT */
#include "policy_host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "select_names.h"

#include "base/util.h"

#define FILE_SIZE_MAX (512UL << 20) /* twenty times a list of a million names */
#define READ_ROOM     65536

/** read_all - up to the end of @fd, whatever it is; *@text is owned by the caller also on error */
static int read_all(int fd, size_t room, char **text, size_t *len)
{
	for (*len = 0;;) {
		char *grown = *len < room && *text ? *text : realloc(*text, room);
		ssize_t n;

		if (!grown)
			return -ENOMEM;
		*text = grown;
		n = read(fd, *text + *len, room - *len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : 0;
		*len += (size_t)n;
		if (*len > FILE_SIZE_MAX)
			return -EFBIG;
		if (*len == room)
			room *= 2;
	}
}

static int read_file(void *ctx, const char *path, char **text, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), rc;
	struct stat st;

	(void)ctx;
	*text = NULL;
	if (fd < 0)
		return -errno;
	rc = fstat(fd, &st) ? -errno : st.st_size > (off_t)FILE_SIZE_MAX ? -EFBIG : 0;
	if (!rc) /* one more than there is: the end is seen without another look for room */
		rc = read_all(fd, MAX((size_t)st.st_size + 1, (size_t)READ_ROOM), text, len);
	close(fd);
	if (rc)
		free(*text);
	return rc;
}

static int user_of(void *ctx, const char *name, uint32_t *uid)
{
	(void)ctx;
	return select_names_host()->user(NULL, name, uid);
}

static int group_of(void *ctx, const char *name, uint32_t *gid)
{
	(void)ctx;
	return select_names_host()->group(NULL, name, gid);
}

const struct policy_source *policy_host(void)
{
	static const struct policy_source host = {
		.read_file = read_file, .user = user_of, .group = group_of};

	return &host;
}
