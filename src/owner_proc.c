/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The kernel has no index from a socket to its holders; /proc/PID/fd must be read.
 * Reading one link costs about 1 us, so an answer may look at a handful of them:
 *
 *  1. Every link ever read is remembered: socket inode -> process and fd. A query
 *     that hits is checked by one read, as the fd may have been reused.
 *  2. The kernel gives a new socket the lowest free fd. So in the processes that
 *     lately had sockets these are tried: the fd of the last answer (connect, close,
 *     connect, ...), fds known to be closed, lowest first (owner_proc_closed()), those
 *     behind the last one for as long as they show something new (connect,
 *     connect, ...), and those of the last few answers.
 *  3. What is left takes a walk: the keeper's tree of processes, never-seen processes
 *     first, then those of the socket's user, youngest first; then, if allowed, all
 *     of /proc. One walk serves a whole batch and fills the memory of step 1.
 *
 * So the cost of an answer does not grow with the number of open sockets, except for a
 * program that closes and opens sockets at random fds without our hearing of
 * it. Walks that turn out long are then kept to a share of the time
 * (OWNER_WALK_SHARE); an answer that would have needed one is OWNER_NO_ANSWER.
 *
 * Who is named when several processes hold the socket? Who called socket() can't be
 * known afterwards, but a descriptor goes from parent to child by fork and keeps
 * its number. So the holder's ancestors are asked for the same fd, and the
 * furthest one that holds it is named: of the living it had the socket first. If
 * instead a sister process holds it, it came from a parent that has closed it (a server's
 * pre-forked children on one UDP socket), no one is the owner more than the other,
 * and none is named: OWNER_SHARED. Copies under another number (dup2, SCM_RIGHTS)
 * and threads with a table of fds of their own are not noticed.
 *
 * A program with file capabilities (Debian's ping) is not dumpable, and its /proc/PID/fd
 * is closed to an ordinary user. The maker of a user namespace may trace what runs in it all
 * the same, and so may borrow a descriptor to see what it is (pidfd_getfd(2)). What
 * cannot be listed is tried from 0 up.
 *
 * A process is held by descriptors of its /proc/PID, which can't be taken over by a
 * later process with the same pid; exec and setuid make a new owner (owner_ident.h).
 */
#include "owner_proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "owner_ident.h"

#define OWNER_KEEP	 16384	   /* owners remembered; the oldest go first (1.5 KB each) */
#define PROCS_MIN	 16	   /* processes held open (two fds each): between these, */
#define PROCS_MAX	 256	   /* by the limit of open files */
#define FDS_MAX		 (1 << 20) /* per process: the kernel's own default bound (fs.nr_open) */
#define WALK_PIDS_MAX	 8192
#define HINT_PROCS	 8 /* processes whose likely fds are tried before a walk */
#define FREED_MAX	 32
#define FREED_TRIES	 8
#define RECENT_MAX	 16
#define SMALL_FDS	 64
#define FORWARD_SURE	 4 /* fds tried behind the last one, also when they show nothing new */
#define FORWARD_MAX	 512
#define ANCESTORS_MAX	 8
#define SISTERS_MAX	 8
#define OWNER_WALK_SHARE 3 /* a long walk is followed by this many times its length without */
#define OWNER_WALK_LONG	 (20 * NSEC_PER_MSEC)
#define FD_NONE		 (-1)
#define PID_FD_UNTRIED	 (-1)
#define PID_FD_NONE	 (-2)

struct proc {
	struct proc *prev, *next; /* by last use */
	pid_t pid;
	uint16_t slot;
	int dir_fd, stat_fd; /* /proc/PID and its stat */
	int pid_fd;	     /* where /proc/PID/fd is closed to us; else PID_FD_... */
	struct owner_mark mark;
	uint32_t owner;	    /* id, 0 = not made for this mark yet */
	uint32_t *inode_at; /* by fd: the socket last seen there, 0 = none */
	int n_fds;
	int last_fd;
	int freed[FREED_MAX], recent[RECENT_MAX];
	unsigned n_freed, n_recent;
	uint32_t turn; /* the look-up in which the mark was read last */
	bool scanned;
};

/* one entry of the memory inode -> (process, fd); inode 0 = free */
struct where {
	uint32_t inode;
	int fd;
	uint16_t slot;
};

/* a process that a walk may look into */
struct candidate {
	pid_t pid;
	uint64_t start;
	bool fresh, user;
};

struct owner_proc {
	pid_t keeper;
	bool whole, no_children;
	struct proc *procs[PROCS_MAX], *first, *last;
	unsigned n_procs, max_procs;
	struct where *map;
	uint32_t map_size, map_used; /* size is a power of two */
	struct owner *owners[OWNER_KEEP];
	uint32_t last_id;
	uint32_t turn; /* counts look-ups (batches) */
	struct candidate *candidates;
	uint64_t walk_cost, walk_end;
	struct owner_proc_stats stats;
};

/* --- memory of sockets ---------------------------------------------------------- */

static uint32_t map_home(const struct owner_proc *op, uint32_t inode)
{
	return (inode * 2654435769u) >> 7 & (op->map_size - 1);
}

static struct where *map_find(const struct owner_proc *op, uint32_t inode)
{
	uint32_t i;

	if (!op->map_size)
		return NULL;
	for (i = map_home(op, inode); op->map[i].inode; i = (i + 1) & (op->map_size - 1))
		if (op->map[i].inode == inode)
			return &op->map[i];
	return NULL;
}

/* map_delete - close the gap, so that chains stay whole without tombstones */
static void map_delete(struct owner_proc *op, struct where *e)
{
	uint32_t mask = op->map_size - 1, gap = (uint32_t)(e - op->map), i = gap, home;

	for (;;) {
		i = (i + 1) & mask;
		if (!op->map[i].inode)
			break;
		home = map_home(op, op->map[i].inode);
		if (((i - home) & mask) >= ((i - gap) & mask)) {
			op->map[gap] = op->map[i];
			gap = i;
		}
	}
	op->map[gap].inode = 0;
	op->map_used--;
}

static void map_put(struct owner_proc *op, struct where w)
{
	uint32_t i = map_home(op, w.inode);

	while (op->map[i].inode && op->map[i].inode != w.inode)
		i = (i + 1) & (op->map_size - 1);
	if (!op->map[i].inode)
		op->map_used++;
	op->map[i] = w;
}

static bool map_grow(struct owner_proc *op)
{
	struct where *old = op->map;
	uint32_t size = op->map_size, i;

	if ((op->map_used + 1) * 2 <= size)
		return true;
	op->map = calloc(size ? size * 2 : 64, sizeof(*op->map));
	if (!op->map) {
		op->map = old;
		return false;
	}
	op->map_size = size ? size * 2 : 64;
	op->map_used = 0;
	for (i = 0; i < size; i++)
		if (old[i].inode)
			map_put(op, old[i]);
	free(old);
	return true;
}

static bool fds_grow(struct proc *p, int fd)
{
	int n = p->n_fds ? p->n_fds : 64;
	uint32_t *more;

	if (fd < p->n_fds)
		return true;
	if (fd >= FDS_MAX)
		return false;
	while (n <= fd)
		n *= 2;
	more = realloc(p->inode_at, (size_t)n * sizeof(*more));
	if (!more)
		return false;
	memset(more + p->n_fds, 0, (size_t)(n - p->n_fds) * sizeof(*more));
	p->inode_at = more;
	p->n_fds = n;
	return true;
}

/* remember - @inode is at @fd now; returns whether that is news. Out of memory: forgotten */
static bool remember(struct owner_proc *op, struct proc *p, int fd, uint32_t inode)
{
	struct where *old;

	if (!inode && fd >= p->n_fds)
		return false;
	if (!fds_grow(p, fd) || p->inode_at[fd] == inode)
		return false;
	old = p->inode_at[fd] ? map_find(op, p->inode_at[fd]) : NULL;
	if (old && old->slot == p->slot && old->fd == fd)
		map_delete(op, old);
	p->inode_at[fd] = inode;
	if (inode && map_grow(op))
		map_put(op, (struct where){inode, fd, p->slot});
	return true;
}

/* --- processes -------------------------------------------------------------------- */

static void proc_unlink(struct owner_proc *op, struct proc *p)
{
	*(op->first == p ? &op->first : &p->prev->next) = p->next;
	*(op->last == p ? &op->last : &p->next->prev) = p->prev;
}

static void proc_link_first(struct owner_proc *op, struct proc *p)
{
	p->prev = NULL;
	p->next = op->first;
	*(op->first ? &op->first->prev : &op->last) = p;
	op->first = p;
}

static void proc_used(struct owner_proc *op, struct proc *p)
{
	if (op->first == p)
		return;
	proc_unlink(op, p);
	proc_link_first(op, p);
}

static void proc_drop(struct owner_proc *op, struct proc *p)
{
	int fd;

	for (fd = 0; fd < p->n_fds; fd++)
		remember(op, p, fd, 0);
	proc_unlink(op, p);
	op->procs[p->slot] = NULL;
	op->n_procs--;
	close_fd(&p->pid_fd);
	close_fd(&p->stat_fd);
	close_fd(&p->dir_fd);
	free(p->inode_at);
	free(p);
}

static struct proc *proc_cached(const struct owner_proc *op, pid_t pid)
{
	struct proc *p;

	for (p = op->first; p && p->pid != pid;)
		p = p->next;
	return p;
}

static struct proc *proc_open(struct owner_proc *op, pid_t pid)
{
	struct proc *p = calloc(1, sizeof(*p));
	char path[32];
	uint16_t slot = 0;

	if (!p)
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d", pid);
	p->pid = pid;
	p->last_fd = FD_NONE;
	p->pid_fd = PID_FD_UNTRIED;
	p->dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->stat_fd = p->dir_fd < 0 ? -1 : openat(p->dir_fd, "stat", O_RDONLY | O_CLOEXEC);
	if (p->stat_fd < 0 || owner_mark_read(p->dir_fd, p->stat_fd, &p->mark)) {
		close_fd(&p->stat_fd);
		close_fd(&p->dir_fd);
		free(p);
		return NULL;
	}
	if (op->n_procs == op->max_procs) {
		weir_assert(op->last != op->first); /* which is in somebody's hands */
		proc_drop(op, op->last);
	}
	while (op->procs[slot])
		slot++;
	p->slot = slot;
	p->turn = op->turn;
	op->procs[slot] = p;
	op->n_procs++;
	proc_link_first(op, p);
	return p;
}

/*
 * proc_refresh - false when the process has ended; a new image gets a new owner
 *
 * Once in a look-up is enough: its queries came in one message, of one moment.
 */
static bool proc_refresh(const struct owner_proc *op, struct proc *p)
{
	struct owner_mark m;

	if (p->turn == op->turn)
		return true;
	if (owner_mark_read(p->dir_fd, p->stat_fd, &m))
		return false;
	if (!owner_mark_same(&m, &p->mark)) {
		p->owner = 0;
		p->scanned = false;
	}
	p->mark = m;
	p->turn = op->turn;
	return true;
}

/* proc_get - the living process of that number, now; NULL when there is none */
static struct proc *proc_get(struct owner_proc *op, pid_t pid)
{
	struct proc *p = proc_cached(op, pid);

	if (p && proc_refresh(op, p))
		return p;
	if (p)
		proc_drop(op, p);
	return proc_open(op, pid);
}

/* --- looking at descriptors ------------------------------------------------------- */

static void fd_path(char *out, int fd)
{
	char digits[12];
	int n = 0;

	do
		digits[n++] = (char)('0' + fd % 10);
	while (fd /= 10);
	memcpy(out, "fd/", 3);
	for (out += 3; n;)
		*out++ = digits[--n];
	*out = '\0';
}

/* look - what /proc says is at @fd: a socket's inode, 0 = something else, -ENOENT, -errno */
static int64_t look(const struct proc *p, int fd)
{
	static const char prefix[] = "socket:[";
	char path[16], link[64];
	ssize_t n;

	fd_path(path, fd);
	n = readlinkat(p->dir_fd, path, link, sizeof(link) - 1);
	if (n < 0)
		return -errno;
	link[n] = '\0';
	if (strncmp(link, prefix, sizeof(prefix) - 1))
		return 0;
	return (uint32_t)strtoul(link + sizeof(prefix) - 1, NULL, 10);
}

/* pid_fd_open - a pidfd of this very process: while its /proc/PID lives, the number is its own */
static int pid_fd_open(const struct proc *p)
{
	int fd = pidfd_open(p->pid, 0);
	struct owner_mark m;

	if (fd >= 0 && owner_mark_read(p->dir_fd, p->stat_fd, &m))
		close_fd(&fd);
	return fd < 0 ? PID_FD_NONE : fd;
}

/* borrow - as look(), by a copy of the descriptor, closed again at once */
static int64_t borrow(struct proc *p, int fd)
{
	int64_t inode = 0;
	struct stat st;
	int copy;

	if (p->pid_fd == PID_FD_UNTRIED)
		p->pid_fd = pid_fd_open(p);
	if (p->pid_fd < 0)
		return -EACCES;
	copy = pidfd_getfd(p->pid_fd, fd, 0);
	if (copy < 0)
		return errno == EBADF ? -ENOENT : -EACCES;
	if (!fstat(copy, &st) && S_ISSOCK(st.st_mode))
		inode = (uint32_t)st.st_ino;
	close(copy);
	return inode;
}

/* probe - the socket at @fd: its inode, 0 = no socket, -errno; *@news when it was not known */
static int64_t probe(struct owner_proc *op, struct proc *p, int fd, bool *news)
{
	int64_t got = look(p, fd);
	bool changed;

	if (got == -EACCES)
		got = borrow(p, fd);
	if (news)
		*news = false;
	op->stats.probes++;
	if (got < 0 && got != -ENOENT)
		return got;
	changed = remember(op, p, fd, got > 0 ? (uint32_t)got : 0);
	if (news)
		*news = changed && got > 0;
	return got;
}

static int forward_search(struct owner_proc *op, struct proc *p, uint32_t inode)
{
	bool news = true;
	int i, fd;

	for (i = 1; i <= FORWARD_MAX && (news || i <= FORWARD_SURE); i++) {
		fd = p->last_fd + i;
		if (probe(op, p, fd, &news) == inode)
			return fd;
	}
	return FD_NONE;
}

static int freed_search(struct owner_proc *op, struct proc *p, uint32_t inode)
{
	unsigned i = 0, tries = 0;

	while (i < p->n_freed && tries++ < FREED_TRIES) {
		int fd = p->freed[i];
		int64_t got = probe(op, p, fd, NULL);

		if (got >= 0) { /* in use again, by whatever */
			memmove(&p->freed[i], &p->freed[i + 1],
				(--p->n_freed - i) * sizeof(p->freed[0]));
		} else {
			i++;
		}
		if (got == inode)
			return fd;
	}
	return FD_NONE;
}

static int recent_search(struct owner_proc *op, struct proc *p, uint32_t inode)
{
	unsigned i, n = MIN(p->n_recent, RECENT_MAX);

	for (i = 0; i < n; i++) { /* the oldest first: closed before the newer ones, as a rule */
		int fd = p->recent[(p->n_recent - n + i) % RECENT_MAX];

		if (fd != p->last_fd && probe(op, p, fd, NULL) == inode)
			return fd;
	}
	return FD_NONE;
}

static int hint_search(struct owner_proc *op, struct proc *p, uint32_t inode)
{
	int fd;

	if (p->last_fd < p->n_fds && p->inode_at[p->last_fd] == inode)
		return p->last_fd; /* as just read by settle_hint() */
	fd = freed_search(op, p, inode);
	if (fd == FD_NONE)
		fd = forward_search(op, p, inode);
	if (fd == FD_NONE)
		fd = recent_search(op, p, inode);
	return fd;
}

/* scan_closed - the first descriptors of @p, whose list is closed to us: always -EACCES */
static int scan_closed(struct owner_proc *op, struct proc *p)
{
	for (int fd = 0; fd < SMALL_FDS && probe(op, p, fd, NULL) != -EACCES; fd++)
		;
	return -EACCES;
}

/* scan - read all descriptors of @p; 0 or -errno (-EACCES: not all, if any) */
static int scan(struct owner_proc *op, struct proc *p)
{
	int fd = openat(p->dir_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	DIR *d;

	if (fd < 0)
		return errno == EACCES ? scan_closed(op, p) : -errno;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	while ((e = readdir(d)) != NULL)
		if (isdigit((unsigned char)e->d_name[0]))
			probe(op, p, atoi(e->d_name), NULL);
	closedir(d);
	p->scanned = true;
	return 0;
}

/* --- who is named --------------------------------------------------------------------- */

/* top_holder - the furthest ancestor of @p that has the same socket at the same fd */
static struct proc *top_holder(struct owner_proc *op, struct proc *p, int fd, uint32_t inode)
{
	struct proc *top = p, *q = p;
	pid_t pids[ANCESTORS_MAX];
	unsigned n = 0, i;

	/* names first: opening one may push another out of the cache */
	while (q && q->mark.ppid != op->keeper && q->mark.ppid > 1 && n < ANCESTORS_MAX) {
		pids[n] = q->mark.ppid;
		q = proc_cached(op, pids[n]);
		if (!q)
			q = proc_open(op, pids[n]);
		n++;
	}
	for (i = 0; i < n; i++) {
		q = proc_cached(op, pids[i]);
		if (q && probe(op, q, fd, NULL) == inode)
			top = q;
	}
	return top;
}

static bool sister_holds(struct owner_proc *op, const struct proc *p, int fd, uint32_t inode)
{
	unsigned tries = 0;
	struct proc *q;

	for (q = op->first; q && tries < SISTERS_MAX; q = q->next) {
		if (q == p || q->mark.ppid != p->mark.ppid)
			continue;
		tries++;
		if (probe(op, q, fd, NULL) == inode)
			return true;
	}
	return false;
}

/* owner_of - the id of the process as it is now; 0 when it has ended or on ENOMEM */
static uint32_t owner_of(struct owner_proc *op, struct proc *p)
{
	struct owner **at = &op->owners[(op->last_id + 1) % OWNER_KEEP];

	/* an owner that has left the memory is made anew: the process may outlive it there */
	if (p->owner && owner_proc_get(op, p->owner))
		return p->owner;
	if (!*at)
		*at = malloc(sizeof(**at));
	if (!*at)
		return 0;
	(*at)->id = 0;
	if (owner_ident_read(p->dir_fd, p->pid, &p->mark, *at))
		return 0;
	p->owner = (*at)->id = ++op->last_id;
	return p->owner;
}

/* settle - @p holds @w at @fd, as was just read: name the owner */
static bool settle(struct owner_proc *op, struct owner_want *w, struct proc *p, int fd)
{
	pid_t pid = p->pid;
	struct proc *top;

	if (!proc_refresh(op, p))
		return false;
	proc_used(op, p); /* the last to be pushed out by the ancestors */
	p->last_fd = fd;
	if (p->recent[(p->n_recent + RECENT_MAX - 1) % RECENT_MAX] != fd || !p->n_recent)
		p->recent[p->n_recent++ % RECENT_MAX] = fd;
	top = top_holder(op, p, fd, w->inode);
	if (top->pid != pid && !proc_refresh(op, top))
		top = p;
	w->owner = 0;
	w->why = OWNER_SHARED;
	if (!sister_holds(op, top, fd, w->inode)) {
		w->owner = owner_of(op, top);
		w->why = w->owner ? OWNER_KNOWN : OWNER_NO_PROCESS;
	}
	return true;
}

static bool settle_known(struct owner_proc *op, struct owner_want *w)
{
	const struct where *e = map_find(op, w->inode);
	struct proc *p = e ? op->procs[e->slot] : NULL;
	int fd = e ? e->fd : FD_NONE; /* probing may move the entry */

	return p && probe(op, p, fd, NULL) == w->inode && settle(op, w, p, fd);
}

/* settle_hint - processes that had sockets lately; those of the socket's user first */
static bool settle_hint(struct owner_proc *op, struct owner_want *w)
{
	unsigned pass, tries;
	struct proc *p, *next;
	int fd;

	for (pass = 0; pass < 2; pass++) {
		tries = 0;
		for (p = op->first; p && tries < HINT_PROCS; p = next) {
			next = p->next;
			if ((p->mark.uid == w->uid) == (pass == 1) || p->last_fd == FD_NONE)
				continue;
			if (probe(op, p, p->last_fd, NULL) < 0 && !proc_refresh(op, p)) {
				proc_drop(op, p); /* ended: a series of short programs */
				continue;
			}
			tries++;
			fd = hint_search(op, p, w->inode);
			if (fd != FD_NONE && settle(op, w, p, fd))
				return true;
			/* All of a small table costs less than a walk, and serves the whole batch.
			 */
			if (p->n_fds <= SMALL_FDS && scan(op, p) == 0 && settle_known(op, w))
				return true;
		}
	}
	return false;
}

/* --- the walk ---------------------------------------------------------------------------- */

struct walk {
	struct owner_proc *op;
	struct owner_want *wants;
	unsigned n, left;
	bool light;  /* only processes never seen before */
	bool denied; /* some process's descriptors are closed to us */
	unsigned count;
	struct candidate *c; /* WALK_PIDS_MAX of them */
};

static void walk_list(struct walk *wk, pid_t pid)
{
	if (wk->count < WALK_PIDS_MAX)
		wk->c[wk->count++] = (struct candidate){.pid = pid};
}

static int read_children(struct walk *wk, pid_t pid, const char *tid)
{
	char path[64];
	FILE *f;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%.12s/children", pid, tid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fscanf(f, "%d", &child) == 1)
		walk_list(wk, child);
	fclose(f);
	return 0;
}

/* list_children - of every thread: a child belongs to the thread that forked it */
static void list_children(struct walk *wk, pid_t pid)
{
	bool missing = false;
	char path[32];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		return;
	while ((e = readdir(d)) != NULL)
		if (isdigit((unsigned char)e->d_name[0]))
			missing = read_children(wk, pid, e->d_name) == -ENOENT;
	closedir(d);
	/* the keeper has not ended, so it is the kernel: no CONFIG_PROC_CHILDREN */
	if (missing && pid == wk->op->keeper)
		wk->op->no_children = true;
}

static void list_tree(struct walk *wk)
{
	unsigned i;

	if (wk->op->keeper > 0)
		walk_list(wk, wk->op->keeper);
	for (i = 0; i < wk->count; i++)
		list_children(wk, wk->c[i].pid);
}

static bool in_tree(const struct walk *wk, unsigned tree, pid_t pid)
{
	unsigned i;

	for (i = 0; i < tree; i++)
		if (wk->c[i].pid == pid)
			return true;
	return false;
}

static void list_all(struct walk *wk)
{
	unsigned tree = wk->count;
	DIR *d = opendir("/proc");
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)) != NULL)
		if (isdigit((unsigned char)e->d_name[0]) && !in_tree(wk, tree, atoi(e->d_name)))
			walk_list(wk, atoi(e->d_name));
	closedir(d);
}

static int candidate_order(const void *va, const void *vb)
{
	const struct candidate *a = va, *b = vb;

	if (a->fresh != b->fresh)
		return a->fresh ? -1 : 1;
	if (a->user != b->user)
		return a->user ? -1 : 1;
	return a->start > b->start ? -1 : a->start < b->start;
}

/* rank - fill in what the order of candidates [from, count) needs, and sort them */
static void rank(struct walk *wk, unsigned from)
{
	unsigned i, k;

	for (i = from; i < wk->count; i++) {
		struct candidate *c = &wk->c[i];
		struct proc *p = proc_get(wk->op, c->pid);

		if (!p)
			continue;
		c->fresh = !p->scanned;
		c->start = p->mark.start_ticks;
		for (k = 0; k < wk->n; k++)
			c->user |= wk->wants[k].uid == p->mark.uid;
	}
	qsort(wk->c + from, wk->count - from, sizeof(*wk->c), candidate_order);
}

static void settle_rest(struct walk *wk)
{
	unsigned i;

	for (i = 0; i < wk->n; i++) {
		struct owner_want *w = &wk->wants[i];

		if (w->inode && w->why == OWNER_PENDING && settle_known(wk->op, w))
			wk->left--;
	}
}

/* search - scan candidates [from, count) until nothing is left to find */
static void search(struct walk *wk, unsigned from)
{
	unsigned i;

	rank(wk, from);
	for (i = from; i < wk->count && wk->left; i++) {
		struct proc *p;
		int err;

		if (wk->light && !wk->c[i].fresh)
			continue;
		p = proc_cached(wk->op, wk->c[i].pid);
		if (!p)
			p = proc_open(wk->op, wk->c[i].pid);
		err = p ? scan(wk->op, p) : 0;
		wk->denied |= err == -EACCES || err == -EPERM;
		if (p && (!err || err == -EACCES))
			settle_rest(wk);
	}
}

/* walk_may_be_long - the bound on how much time long walks take, see the top */
static bool walk_may_be_long(const struct owner_proc *op, uint64_t now)
{
	return op->walk_cost < OWNER_WALK_LONG ||
	       now - op->walk_end > OWNER_WALK_SHARE * op->walk_cost;
}

/* walk - returns why what it did not find was not found */
static uint32_t walk(struct owner_proc *op, struct owner_want *w, unsigned n, unsigned left)
{
	struct walk wk = {.op = op, .wants = w, .n = n, .left = left, .c = op->candidates};
	uint64_t start = clock_mono_ns();

	wk.light = !walk_may_be_long(op, start);
	op->stats.walks++;
	op->stats.walks_skipped += wk.light;
	list_tree(&wk);
	search(&wk, 0);
	if (wk.left && (op->whole || op->no_children)) {
		unsigned tree = wk.count;

		list_all(&wk);
		search(&wk, tree);
	}
	if (!wk.light) {
		op->walk_end = clock_mono_ns();
		op->walk_cost = op->walk_end - start;
	}
	return wk.denied ? OWNER_DENIED : wk.light ? OWNER_NO_ANSWER : OWNER_NO_PROCESS;
}

/* --- interface ------------------------------------------------------------------------------ */

/* procs_limit - leave most of the descriptors we may have to others */
static unsigned procs_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_cur > 4 * PROCS_MAX)
		return PROCS_MAX;
	return MAX((unsigned)rl.rlim_cur / 8, PROCS_MIN);
}

struct owner_proc *owner_proc_new(pid_t keeper, bool whole)
{
	struct owner_proc *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->candidates = calloc(WALK_PIDS_MAX, sizeof(*op->candidates));
	if (!op->candidates) {
		free(op);
		return NULL;
	}
	op->keeper = keeper;
	op->whole = whole;
	op->max_procs = procs_limit();
	return op;
}

void owner_proc_free(struct owner_proc *op)
{
	unsigned i;

	if (!op)
		return;
	while (op->first)
		proc_drop(op, op->first);
	for (i = 0; i < OWNER_KEEP; i++)
		free(op->owners[i]);
	free(op->map);
	free(op->candidates);
	free(op);
}

void owner_proc_find(struct owner_proc *op, struct owner_want *w, unsigned n)
{
	unsigned i, left = 0;
	uint32_t why;

	op->turn++;
	for (i = 0; i < n; i++) {
		w[i].owner = 0;
		w[i].why = OWNER_PENDING;
		if (!w[i].inode)
			w[i].why = OWNER_NO_PROCESS;
		else if (settle_known(op, &w[i]) || settle_hint(op, &w[i]))
			op->stats.hints++;
		else
			left++;
	}
	if (!left)
		return;
	why = walk(op, w, n, left);
	for (i = 0; i < n; i++)
		if (w[i].why == OWNER_PENDING)
			w[i].why = why;
}

/* owner_proc_closed - freed fds are kept in order, as the kernel hands out the lowest */
void owner_proc_closed(struct owner_proc *op, uint32_t inode)
{
	const struct where *e = inode ? map_find(op, inode) : NULL;
	struct proc *p = e ? op->procs[e->slot] : NULL;
	int fd = e ? e->fd : FD_NONE;
	unsigned i;

	if (!p)
		return;
	remember(op, p, fd, 0);
	for (i = 0; i < p->n_freed && p->freed[i] < fd;)
		i++;
	if (i == FREED_MAX || (i < p->n_freed && p->freed[i] == fd))
		return;
	if (p->n_freed == FREED_MAX)
		p->n_freed--;
	memmove(&p->freed[i + 1], &p->freed[i], (p->n_freed++ - i) * sizeof(p->freed[0]));
	p->freed[i] = fd;
}

const struct owner *owner_proc_get(const struct owner_proc *op, uint32_t id)
{
	const struct owner *o = op->owners[id % OWNER_KEEP];

	return id && o && o->id == id ? o : NULL;
}

const struct owner_proc_stats *owner_proc_stats(const struct owner_proc *op)
{
	return &op->stats;
}
