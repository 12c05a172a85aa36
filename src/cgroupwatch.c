/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * nftables knows a cgroup by its id, and one that is made again (a service that restarts) gets
 * another. inotify tells of it, but a process may be in the new cgroup and send before we
 * have read that. So nftables is told, beside the ids that are selected, what is certainly
 * something else: of each directory on the way to a selected cgroup ("parents") it has the
 * children that we have seen ("known"). A packet whose socket is below a parent in a child that
 * is not known may be of a selected cgroup: it is dropped, until we have looked (plan.c has the
 * rules). TCP sends it again.
 *
 * What one event brings goes in one transaction: a directory is known only together with what it
 * means, or after it. It is looked at through one descriptor, so that id, watch and contents are of
 * the same one, should it be removed and made again meanwhile; and it is watched before it is read.
 *
 * Ids are not used again (they count up, over 64 bits), and a socket outlives its cgroup: so what
 * is gone is not taken out of the sets, until they have grown: then they are made anew.
 */
#include "cgroupwatch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/inotify.h>
#include <sys/stat.h>

#include "plan.h"

#include "base/log.h"
#include "base/util.h"

#define GROWN_MAX  8192 /* ids added since the sets were made */
#define DIR_EVENTS (IN_CREATE | IN_DELETE | IN_ONLYDIR)
#define NO_NODE	   UINT32_MAX

/**
 * struct node - a directory on the way to a selected cgroup, or such a one
 * @name: its last part; "" is the root
 * @leads: on the way to another node
 * @wd: of a watch that is on it; -1: it is not there, or leads nowhere
 */
struct node {
	char name[NAME_MAX + 1];
	uint32_t parent;
	bool leads;
	int wd;
};

struct cgroupwatch {
	const struct selection *s;
	const char *mount;
	int fd;
	struct node *nodes; /* owned; parents first */
	uint32_t n_nodes;
	uint32_t of[SELECT_CGROUPS_MAX]; /* the selection's cgroups' nodes */
	struct nft_id *ids;		 /* owned: to be put into the sets */
	size_t n_ids, room;
	size_t grown;
	unsigned came; /* selected ones */
	int text_fd[SELECT_CGROUPS_MAX];
	unsigned n_text;
};

/* --- the nodes ------------------------------------------------------------------------- */

static uint32_t node_find(const struct cgroupwatch *w, uint32_t parent, const char *name,
			  size_t len)
{
	for (uint32_t i = 0; i < w->n_nodes; i++) {
		const struct node *d = &w->nodes[i];

		if (d->parent == parent && !strncmp(d->name, name, len) && !d->name[len])
			return i;
	}
	return NO_NODE;
}

static uint32_t node_add(struct cgroupwatch *w, uint32_t parent, const char *name, size_t len)
{
	struct node *d;

	if (len > NAME_MAX)
		return NO_NODE;
	d = reallocarray(w->nodes, w->n_nodes + 1, sizeof(*d));
	if (!d)
		return NO_NODE;
	w->nodes = d;
	d += w->n_nodes;
	*d = (struct node){.parent = parent, .wd = -1};
	memcpy(d->name, name, len);
	if (parent != NO_NODE)
		w->nodes[parent].leads = true;
	return w->n_nodes++;
}

/** nodes_of - those on the way to @path, and its own, which is returned; NO_NODE: no memory */
static uint32_t nodes_of(struct cgroupwatch *w, const char *path)
{
	uint32_t at = 0;

	while (at != NO_NODE && *path) {
		size_t len = strcspn(path, "/");
		uint32_t next = node_find(w, at, path, len);

		at = next == NO_NODE ? node_add(w, at, path, len) : next;
		path += len;
		path += *path == '/';
	}
	return at;
}

static int make_nodes(struct cgroupwatch *w)
{
	if (node_add(w, NO_NODE, "", 0) == NO_NODE)
		return -ENOMEM;
	for (unsigned i = 0; i < w->s->n_cgroups; i++) {
		w->of[i] = nodes_of(w, w->s->cgroups[i].path);
		if (w->of[i] == NO_NODE)
			return -ENOMEM;
	}
	return 0;
}

/** node_gone - it, and all below */
static void node_gone(struct cgroupwatch *w, uint32_t at)
{
	struct node *d = &w->nodes[at];

	if (d->wd >= 0)
		inotify_rm_watch(w->fd, d->wd);
	d->wd = -1;
	for (uint32_t i = at + 1; d->leads && i < w->n_nodes; i++)
		if (w->nodes[i].parent == at)
			node_gone(w, i);
}

/* --- ids on their way to the sets -------------------------------------------------------- */

static int id_add(struct cgroupwatch *w, const char *set, uint64_t id)
{
	if (w->n_ids == w->room) {
		size_t room = w->room ? 2 * w->room : 64;
		struct nft_id *ids = reallocarray(w->ids, room, sizeof(*ids));

		if (!ids)
			return -ENOMEM;
		w->ids = ids;
		w->room = room;
	}
	w->ids[w->n_ids] = (struct nft_id){.id = id};
	str_copy(w->ids[w->n_ids].set, sizeof(w->ids[0].set), set);
	w->n_ids++;
	return 0;
}

/**
 * flush_ids - into both tables; a table that somebody removed is made anew elsewhere
 * @anew: the sets have nothing else then
 */
static int flush_ids(struct cgroupwatch *w, struct nft *n, bool anew)
{
	static const char *const tables[] = {PLAN_GUARD_TABLE, PLAN_TABLE};
	int rc = 0;

	for (size_t i = 0; w->n_ids && i < ARRAY_SIZE(tables); i++) {
		int r = nft_ids_add(n, tables[i], w->ids, w->n_ids, anew);

		if (r && r != -ENOENT)
			rc = r;
	}
	w->grown = anew ? w->n_ids : w->grown + w->n_ids;
	w->n_ids = 0;
	return rc;
}

/* --- looking ------------------------------------------------------------------------------ */

static int node_came(struct cgroupwatch *w, uint32_t at, int dir_fd);

/** child_came - directory @name of node @parent, which is open at @dir_fd */
static int child_came(struct cgroupwatch *w, uint32_t parent, int dir_fd, const char *name)
{
	uint32_t at = node_find(w, parent, name, strlen(name));
	struct stat st;
	int fd, rc;

	if (at == NO_NODE)
		return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode)
			       ? 0
			       : id_add(w, PLAN_CG_KNOWN, st.st_ino);
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		node_gone(w, at);
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	}
	rc = node_came(w, at, fd);
	close(fd);
	return rc;
}

static int children_came(struct cgroupwatch *w, uint32_t at, int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!dir) {
		close_fd(&fd);
		return errno == ENOENT ? 0 : -errno; /* removed, and about to be told so */
	}
	while (!rc && (e = readdir(dir)))
		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0)
			rc = child_came(w, at, dir_fd, e->d_name);
	closedir(dir);
	return rc;
}

/** node_watch - of the directory that is open at @dir_fd, whatever has its name now */
static int node_watch(struct cgroupwatch *w, uint32_t at, int dir_fd)
{
	char path[32];
	int wd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir_fd);
	wd = inotify_add_watch(w->fd, path, DIR_EVENTS);
	if (wd < 0)
		return errno == ENOENT ? 0 : -errno;
	w->nodes[at].wd = wd;
	return 0;
}

/** node_came - node @at is there, open at @dir_fd: what it means, and what is below */
static int node_came(struct cgroupwatch *w, uint32_t at, int dir_fd)
{
	struct stat st;
	char set[16];
	int rc = 0;

	if (fstat(dir_fd, &st))
		return -errno;
	for (unsigned i = 0; !rc && i < w->s->n_cgroups; i++) {
		if (w->of[i] != at)
			continue;
		snprintf(set, sizeof(set), PLAN_CG_SET, i);
		rc = id_add(w, set, st.st_ino);
		w->came++;
	}
	if (!rc && w->nodes[at].leads) {
		rc = node_watch(w, at, dir_fd);
		if (!rc)
			rc = children_came(w, at, dir_fd);
		if (!rc)
			rc = id_add(w, PLAN_CG_PARENTS, st.st_ino);
	}
	return rc ? rc : id_add(w, PLAN_CG_KNOWN, st.st_ino);
}

/** node_open - the directory that has @at's name now; -errno */
static int node_open(const struct cgroupwatch *w, uint32_t at)
{
	char path[2 * SELECT_PATH_MAX], rest[2 * SELECT_PATH_MAX] = "";
	int fd;

	for (; w->nodes[at].parent != NO_NODE; at = w->nodes[at].parent) {
		if ((size_t)snprintf(path, sizeof(path), "/%s%s", w->nodes[at].name, rest) >=
		    sizeof(path))
			return -ENAMETOOLONG;
		str_copy(rest, sizeof(rest), path);
	}
	if ((size_t)snprintf(path, sizeof(path), "%s%s", w->mount, rest) >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/** look - at everything */
static int look(struct cgroupwatch *w)
{
	int fd = node_open(w, 0), rc;

	if (fd < 0)
		return fd;
	node_gone(w, 0);
	rc = node_came(w, 0, fd);
	close(fd);
	return rc;
}

int cgroupwatch_fill(struct cgroupwatch *w, struct nft *n)
{
	int rc, r;

	if (!w)
		return 0;
	w->n_ids = 0;
	rc = look(w);
	r = flush_ids(w, n, w->grown > GROWN_MAX);
	return rc ? rc : r;
}

/* --- events ---------------------------------------------------------------------------------- */

static int take_event(struct cgroupwatch *w, const struct inotify_event *ev)
{
	for (uint32_t i = 0; ev->len && i < w->n_nodes; i++) {
		uint32_t at;
		int fd, rc;

		if (w->nodes[i].wd != ev->wd)
			continue;
		if (ev->mask & IN_DELETE) {
			at = node_find(w, i, ev->name, strlen(ev->name));
			if (at != NO_NODE)
				node_gone(w, at);
			return 0;
		}
		fd = node_open(w, i);
		if (fd < 0)
			return fd == -ENOENT ? 0 : fd;
		rc = child_came(w, i, fd, ev->name);
		close(fd);
		return rc;
	}
	return 0;
}

/** read_events - returns 1 when some were lost, so that everything must be looked at; 0; -errno */
static int read_events(struct cgroupwatch *w)
{
	_Alignas(struct inotify_event) char buf[4096];
	ssize_t n = read(w->fd, buf, sizeof(buf));
	int rc = 0;

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *ev = (const void *)(buf + at);
		int r = ev->mask & IN_Q_OVERFLOW ? 1 : take_event(w, ev);

		rc = r ? r : rc;
		at += (ssize_t)sizeof(*ev) + (ssize_t)ev->len;
	}
	return rc;
}

int cgroupwatch_serve(struct cgroupwatch *w, struct nft *n)
{
	int rc, r;

	if (!w)
		return 0;
	w->came = 0;
	rc = read_events(w);
	r = flush_ids(w, n, false);
	if (rc || r || w->grown > GROWN_MAX)
		rc = cgroupwatch_fill(w, n);
	return rc ? rc : (int)w->came;
}

/* --- as text ------------------------------------------------------------------------------------
 */

void cgroupwatch_print(struct cgroupwatch *w, const char *table, FILE *f)
{
	if (!w)
		return;
	cgroupwatch_printed(w);
	for (unsigned i = 0; i < w->s->n_cgroups; i++) {
		int fd = node_open(w, w->of[i]);

		if (fd < 0)
			continue;
		w->text_fd[w->n_text++] = fd;
		/* By descriptor: nftables would refuse all of the text for one that vanished. */
		fprintf(f, "add element inet %s " PLAN_CG_SET " { \"../../../proc/self/fd/%d\" }\n",
			table, i, fd);
	}
}

void cgroupwatch_printed(struct cgroupwatch *w)
{
	while (w && w->n_text)
		close(w->text_fd[--w->n_text]);
}

/* --- life ------------------------------------------------------------------------------------- */

int cgroupwatch_open(struct cgroupwatch **out, const struct selection *s, const char *mount)
{
	struct cgroupwatch *w;
	int rc;

	*out = NULL;
	if (!s->n_cgroups || !mount)
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->s = s;
	w->mount = mount;
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	rc = w->fd < 0 ? -errno : make_nodes(w);
	if (rc)
		cgroupwatch_close(w);
	else
		*out = w;
	return rc;
}

void cgroupwatch_close(struct cgroupwatch *w)
{
	if (!w)
		return;
	cgroupwatch_printed(w);
	close_fd(&w->fd);
	free(w->nodes);
	free(w->ids);
	free(w);
}

int cgroupwatch_fd(const struct cgroupwatch *w)
{
	return w ? w->fd : -1;
}
