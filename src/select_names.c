/* SPDX-License-Identifier: MIT */
#include "select_names.h"

#include <errno.h>
#include <fts.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"

#define SUBUID_FILE "/etc/subuid"
#define UNIT_DEPTH  16 /* below the hierarchy's root; systemd's own are no deeper than 5 */

static char cgroup_mount[SELECT_PATH_MAX]; /* "" = cgroup v2 is not mounted */

/* --- users and groups ------------------------------------------------------------------- */

static int user_of(void *ctx, const char *name, uint32_t *uid)
{
	const struct passwd *pw;

	(void)ctx;
	errno = 0;
	pw = getpwnam(name);
	if (!pw)
		return errno ? -errno : -ENOENT;
	*uid = pw->pw_uid;
	return 0;
}

static int group_of(void *ctx, const char *name, uint32_t *gid)
{
	const struct group *gr;

	(void)ctx;
	errno = 0;
	gr = getgrnam(name);
	if (!gr)
		return errno ? -errno : -ENOENT;
	*gid = gr->gr_gid;
	return 0;
}

/** subuid_line - "OWNER:FIRST:COUNT" of user @name or @uid; false for all other lines */
static bool subuid_line(const char *line, const char *name, uint32_t uid, struct id_range *r)
{
	size_t len = strcspn(line, ":");
	char number[16];
	uint32_t first, count;

	snprintf(number, sizeof(number), "%" PRIu32, uid);
	if ((strlen(name) != len || memcmp(line, name, len) != 0) &&
	    (strlen(number) != len || memcmp(line, number, len) != 0))
		return false;
	if (sscanf(line + len, ":%" SCNu32 ":%" SCNu32, &first, &count) != 2 || !count ||
	    first > SELECT_ID_MAX || count - 1 > SELECT_ID_MAX - first)
		return false;
	*r = (struct id_range){.lo = first, .hi = first + count - 1};
	return true;
}

static int subuids_of(void *ctx, const char *name, uint32_t uid, struct id_range *out,
		      unsigned room)
{
	FILE *f = fopen(SUBUID_FILE, "re");
	char *line = NULL;
	size_t size = 0;
	unsigned n = 0;
	struct id_range r;

	(void)ctx;
	if (!f)
		return errno == ENOENT ? 0 : -errno;
	while (n <= room && getline(&line, &size, f) >= 0) {
		if (!subuid_line(line, name, uid, &r))
			continue;
		if (n < room)
			out[n] = r;
		n++;
	}
	free(line);
	fclose(f);
	return n > room ? -E2BIG : (int)n;
}

/* --- cgroups ------------------------------------------------------------------------------- */

/** unescape - mountinfo writes blanks and the like as \ooo */
static void unescape(char *text)
{
	char *out = text;

	for (; *text; out++) {
		unsigned c;

		if (text[0] == '\\' && sscanf(text + 1, "%3o", &c) == 1) {
			*out = (char)c;
			text += 4;
		} else {
			*out = *text++;
		}
	}
	*out = 0;
}

/**
 * find_mount - where the whole cgroup v2 hierarchy is mounted
 *
 * A mount of a part of it (root other than /) would make other paths of it.
 */
static void find_mount(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;

	while (f && !*cgroup_mount && getline(&line, &size, f) >= 0) {
		char root[SELECT_PATH_MAX], where[SELECT_PATH_MAX];
		const char *type = strstr(line, " - ");

		if (!type || strncmp(type, " - cgroup2 ", 11) != 0 ||
		    sscanf(line, "%*s %*s %*s %511s %511s", root, where) != 2 ||
		    strcmp(root, "/") != 0)
			continue;
		unescape(where);
		str_copy(cgroup_mount, sizeof(cgroup_mount), where);
	}
	free(line);
	if (f)
		fclose(f);
}

/** find_unit - the directory called @unit that is the nearest to the root; 0 or -ENOENT */
static int find_unit(const char *unit, char *path, size_t size)
{
	char *const roots[] = {cgroup_mount, NULL};
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	int best = UNIT_DEPTH;
	const FTSENT *e;

	while (tree && (e = fts_read(tree))) {
		if (e->fts_info != FTS_D || e->fts_level >= best || strcmp(e->fts_name, unit) != 0)
			continue;
		if ((size_t)snprintf(path, size, "%s", e->fts_path + strlen(cgroup_mount)) < size)
			best = e->fts_level;
	}
	if (tree)
		fts_close(tree);
	return best < UNIT_DEPTH ? 0 : -ENOENT;
}

/** slice_path - systemd puts a-b.slice into a.slice; 0 or -ENAMETOOLONG */
static int slice_path(const char *slice, char *path, size_t size)
{
	size_t stem = strlen(slice) - strlen(".slice"), len = 0;

	for (size_t i = 1; i <= stem; i++) {
		int n;

		if (i < stem && slice[i] != '-')
			continue;
		n = snprintf(path + len, size - len, "%s%.*s.slice", len ? "/" : "", (int)i, slice);
		if (n < 0 || (size_t)n >= size - len)
			return -ENAMETOOLONG;
		len += (size_t)n;
	}
	return 0;
}

/**
 * unit_of - where the unit's cgroup is; one that does not run: where systemd would make it unless
 * its file names another slice
 */
static int unit_of(void *ctx, const char *unit, char *path, size_t size)
{
	char name[SELECT_PATH_MAX];
	const char *suffix = strrchr(unit, '.');
	int n = snprintf(name, sizeof(name), "%s%s", unit, suffix ? "" : ".service");

	(void)ctx;
	if (n < 0 || (size_t)n >= sizeof(name))
		return -ENAMETOOLONG;
	if (*cgroup_mount && !find_unit(name, path, size))
		return 0;
	if (suffix && suffix != unit && !strcmp(suffix, ".slice"))
		return slice_path(name, path, size);
	n = snprintf(path, size, "system.slice/%s", name);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int select_cgroup_id(const char *path, uint64_t *id)
{
	char full[2 * SELECT_PATH_MAX];
	struct stat st;

	if (!select_names_host()->cgroup_mount)
		return -ENOENT;
	snprintf(full, sizeof(full), "%s/%s", cgroup_mount, path);
	if (stat(full, &st))
		return -errno;
	*id = st.st_ino; /* of cgroup2, the inode's number is the cgroup's id */
	return 0;
}

const struct select_names *select_names_host(void)
{
	static struct select_names names = {
		.user = user_of, .group = group_of, .subuids = subuids_of, .unit = unit_of};
	static bool looked;

	if (!looked)
		find_mount();
	looked = true;
	names.cgroup_mount = *cgroup_mount ? cgroup_mount : NULL;
	return &names;
}
