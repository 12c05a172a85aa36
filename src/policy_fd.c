/* SPDX-License-Identifier: MIT */
/* policy_fd: a set of rules in a memfd, which another process maps. */
#include "policy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "policy_impl.h"

/* Without these whoever holds the memfd could change the rules, or shrink them under who reads */
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int policy_pack(const struct policy *p, int fd)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0), rc;
	FILE *f = own < 0 ? NULL : fdopen(own, "w");

	if (!f) {
		rc = -errno;
		if (own >= 0)
			close(own);
		return rc;
	}
	rc = policy_image_write(p, f);
	if (fclose(f) && !rc)
		rc = -errno;
	if (!rc && fcntl(fd, F_ADD_SEALS, SEALS))
		rc = -errno;
	return rc;
}

static void unmap(void *map, size_t size)
{
	munmap(map, size);
}

/** map_sealed - all of @fd; 0 or -errno */
static int map_sealed(int fd, void **map, size_t *size)
{
	int seals = fcntl(fd, F_GET_SEALS);
	/* not fstat(): a C library may ask by path, which a worker's filter forbids */
	off_t end = lseek(fd, 0, SEEK_END);

	if (seals < 0 || end < 0)
		return -errno;
	if ((seals & SEALS) != SEALS || !end)
		return -EPERM;
	*size = (size_t)end;
	*map = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
	return *map == MAP_FAILED ? -errno : 0;
}

int policy_unpack_start(int fd, struct policy_unpacking **out, char *err, size_t errsize)
{
	struct policy *p;
	size_t size = 0;
	void *map = NULL;
	int rc = map_sealed(fd, &map, &size);

	if (rc) {
		snprintf(err, errsize, "the rules that were passed on can't be mapped: %s",
			 strerror(-rc));
		return rc;
	}
	rc = policy_image_start(map, size, out, err, errsize);
	if (rc) {
		munmap(map, size);
		return rc;
	}
	p = policy_unpacking_policy(*out);
	p->map = map;
	p->map_size = size;
	p->unmap = unmap;
	return 0;
}

int policy_unpack(int fd, struct policy **out, char *err, size_t errsize)
{
	struct policy_unpacking *u;
	int rc = policy_unpack_start(fd, &u, err, errsize);

	return rc ? rc : policy_unpack_step(u, UINT_MAX, out, err, errsize);
}
