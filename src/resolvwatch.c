/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The way to the file is walked as the kernel would, one name at a time. For each hop, that is for
 * /etc/resolv.conf and each symbolic link's target behind it, the directory is watched for
 * events of the one name that matters, the last one; where a directory is missing yet, the
 * nearest one above it for the name that has to appear. The file itself is watched, too:
 * one that is bind-mounted from elsewhere is changed where no directory of ours tells.
 *
 * After any event that matters all watches are made anew, before the file is read: so a change
 * is seen either by the reader or by the watch. Managers write in several steps (truncate, write,
 * rename), so the file is read when it has been left alone for a moment.
 */
#include "resolvwatch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/inotify.h>

#include "base/clock.h"
#include "base/util.h"

#define HOPS_MAX  8 /* symbolic links on the way */
#define QUIET_NS  (20 * NSEC_PER_MSEC)
#define LATEST_NS (500 * NSEC_PER_MSEC) /* one that is written all the time is read, too */

#define DIR_EVENTS                                                                                 \
	(IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE |        \
	 IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define FILE_EVENTS (IN_MODIFY | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF)

/** struct spot - a name in a directory; "" = everything that happens to what is watched */
struct spot {
	int wd;
	char name[NAME_MAX + 1];
};

struct resolvwatch {
	int fd;
	struct spot spot[HOPS_MAX + 1];
	unsigned n;
	uint64_t first, last; /* events that nothing was done about; 0 = none */
};

/* --- watching ------------------------------------------------------------------------- */

static void spot_add(struct resolvwatch *w, const char *path, uint32_t events, const char *name)
{
	struct spot *s = &w->spot[w->n];

	if (w->n == ARRAY_SIZE(w->spot))
		return;
	/* Two hops may share a directory: the kernel knows one watch for each inode. */
	s->wd = inotify_add_watch(w->fd, path, events);
	if (s->wd < 0)
		return;
	str_copy(s->name, sizeof(s->name), name);
	w->n++;
}

/** watch_name - the last name of @path in its directory, or the first that is missing */
static void watch_name(struct resolvwatch *w, const char *path)
{
	char dir[PATH_MAX], *slash;

	str_copy(dir, sizeof(dir), path);
	while ((slash = strrchr(dir, '/'))) {
		*slash = '\0';
		if (!access(*dir ? dir : "/", F_OK)) {
			spot_add(w, *dir ? dir : "/", DIR_EVENTS, slash + 1);
			return;
		}
	}
}

/** next_hop - where the symbolic link @path leads to, in its place; false: it is none */
static bool next_hop(char path[PATH_MAX])
{
	char target[PATH_MAX], *name = strrchr(path, '/') + 1;
	const size_t dir = (size_t)(name - path);
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n <= 0)
		return false;
	target[n] = '\0';
	if (target[0] == '/') {
		str_copy(path, PATH_MAX, target);
		return true;
	}
	if (dir + (size_t)n >= PATH_MAX)
		return false;
	memcpy(name, target, (size_t)n + 1);
	return true;
}

static void watch_all(struct resolvwatch *w)
{
	char path[PATH_MAX] = RESOLV_CONF;

	for (unsigned i = 0; i < w->n; i++)
		inotify_rm_watch(w->fd, w->spot[i].wd);
	w->n = 0;
	for (int hop = 0; hop < HOPS_MAX; hop++) {
		watch_name(w, path);
		if (!next_hop(path))
			break;
	}
	spot_add(w, path, FILE_EVENTS, "");
}

/* --- events ----------------------------------------------------------------------------- */

/** matters - an event of a name on the way, or one that may hide such events */
static bool matters(const struct resolvwatch *w, const struct inotify_event *ev)
{
	if (ev->mask & IN_Q_OVERFLOW)
		return true;
	if (ev->mask & IN_IGNORED) /* we took the watch away, or a DELETE_SELF came before */
		return false;
	for (unsigned i = 0; i < w->n; i++) {
		const struct spot *s = &w->spot[i];

		if (s->wd == ev->wd && (!ev->len || !*s->name || !strcmp(s->name, ev->name)))
			return true;
	}
	return false;
}

/** read_events - true when one of them matters */
static bool read_events(struct resolvwatch *w)
{
	_Alignas(struct inotify_event) char buf[4096];
	bool any = false;
	ssize_t n;

	while ((n = read(w->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *ev = (const void *)(buf + at);

			any |= matters(w, ev);
			at += (ssize_t)sizeof(*ev) + (ssize_t)ev->len;
		}
	}
	return any;
}

uint64_t resolvwatch_deadline(const struct resolvwatch *w)
{
	return w && w->last ? MIN(w->last + QUIET_NS, w->first + LATEST_NS) : 0;
}

bool resolvwatch_service(struct resolvwatch *w, bool readable)
{
	uint64_t now;

	if (!w || (!readable && !w->last))
		return false;
	now = clock_mono_ns();
	if (readable && read_events(w)) {
		w->last = now;
		if (!w->first)
			w->first = now;
	}
	if (!w->last || now < resolvwatch_deadline(w))
		return false;
	w->first = w->last = 0;
	watch_all(w);
	return true;
}

int resolvwatch_fd(const struct resolvwatch *w)
{
	return w ? w->fd : -1;
}

int resolvwatch_open(struct resolvwatch **out)
{
	struct resolvwatch *w = calloc(1, sizeof(*w));
	int r;

	*out = NULL;
	if (!w)
		return -ENOMEM;
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->fd < 0) {
		r = -errno;
		free(w);
		return r;
	}
	watch_all(w);
	*out = w;
	return 0;
}

void resolvwatch_close(struct resolvwatch *w)
{
	if (!w)
		return;
	close_fd(&w->fd);
	free(w);
}
