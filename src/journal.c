/* SPDX-License-Identifier: MIT */
/*
 * journal: the file, and making and undoing what stands in it.
 *
 * How it survives being killed anywhere:
 *  - A line is appended and flushed before its change is made; a line without its newline is one
 *    whose change was never begun (change.c reads the text).
 *  - A step that has been undone gets its mark changed from "+" to "-", one byte in place. Killed
 *    between the step and the mark, the next undo does the step again, which finds nothing to do.
 *  - Lines that are done with go when the whole file is written anew beside the old one and put
 *    in its place, at the end of an undo.
 * The lock is a file of its own, since that replacing would leave a lock on the old one.
 *
 * The memory has the same list: one entry a line, in the file's order.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "change.h"
#include "netns.h"
#include "runlock.h"
#include "sysctl.h"

#include "base/util.h"

#define SIZE_LIMIT (16 << 20) /* a plan of thousands of rules is less than a tenth of this */
#define PATH_ROOM  (CHANGE_PATH_MAX + 16)

_Static_assert(CHANGE_VALUE_MAX >= SYSCTL_VALUE_MAX, "an old value must fit into a change");

/** struct entry - a line: @stands: not undone; @old: not made again since journal_renew() */
struct entry {
	struct change c;
	off_t at;
	bool stands, old;
};

struct journal {
	char path[PATH_ROOM], lock_path[PATH_ROOM], new_path[PATH_ROOM];
	int fd, lock_fd;
	bool own_lock;
	bool only_files; /* the network namespace is gone, with all else */
	off_t end;
	struct entry *entries; /* owned */
	size_t n, room;
};

/** struct undoing - what undoing needs; @say may be NULL */
struct undoing {
	struct rtnl *nl;
	struct nft *nft;
	void (*say)(void *ctx, const char *line);
	void *ctx;
};

/* --- the file --------------------------------------------------------------------------------- */

static void here(struct change_head *h)
{
	if (sysctl_read("kernel/random/boot_id", h->boot, sizeof(h->boot)))
		str_copy(h->boot, sizeof(h->boot), "unknown");
	if (netns_id(-1, h->netns, sizeof(h->netns)))
		str_copy(h->netns, sizeof(h->netns), "unknown");
}

static int write_at(int fd, const char *text, size_t len, off_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, text, len, at);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
			at += n;
		}
	}
	return 0;
}

static int flush(int fd)
{
	return fdatasync(fd) ? -errno : 0;
}

/** flush_directory - so that the file's name is as lasting as its text */
static int flush_directory(const char *path)
{
	char dir[PATH_ROOM], *slash;
	int fd, rc;

	str_copy(dir, sizeof(dir), path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = fsync(fd) && errno != EINVAL ? -errno : 0;
	close(fd);
	return rc;
}

/** line_of - "+ CHANGE\n"; returns its length or -EINVAL */
static int line_of(const struct change *c, char line[CHANGE_LINE_MAX + 4])
{
	int rc;

	line[0] = '+';
	line[1] = ' ';
	rc = change_format(c, line + 2);
	if (rc)
		return rc;
	rc = (int)strlen(line);
	line[rc++] = '\n';
	return rc;
}

/** write_standing - head and what stands to @fd; where each line begins, to @at; returns the end */
static off_t write_standing(const struct journal *j, int fd, off_t *at)
{
	char line[CHANGE_LINE_MAX + 4];
	struct change_head h;
	off_t end;
	int len;

	here(&h);
	len = change_format_head(&h, line, sizeof(line));
	end = len;
	for (size_t i = 0; len >= 0; i++) {
		int rc = write_at(fd, line, (size_t)len, end - len);

		if (rc)
			return rc;
		while (i < j->n && !j->entries[i].stands)
			i++;
		if (i == j->n)
			return end;
		at[i] = end;
		len = line_of(&j->entries[i].c, line);
		end += len;
	}
	return len;
}

/** forget_done - entries as they stand in the new file */
static void forget_done(struct journal *j, const off_t *at)
{
	size_t n = 0;

	for (size_t i = 0; i < j->n; i++) {
		if (!j->entries[i].stands)
			continue;
		j->entries[n] = j->entries[i];
		j->entries[n++].at = at[i];
	}
	j->n = n;
}

/** rewrite - a file of what stands, in the place of the one there is */
static int rewrite(struct journal *j)
{
	off_t *at = calloc(j->n + 1, sizeof(*at)), end;
	int fd = -1, rc = at ? 0 : -ENOMEM;

	unlink(j->new_path);
	if (!rc)
		fd = open(j->new_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (!rc && fd < 0)
		rc = -errno;
	if (!rc) {
		end = write_standing(j, fd, at);
		rc = end < 0 ? (int)end : flush(fd);
	}
	if (!rc && rename(j->new_path, j->path))
		rc = -errno;
	if (rc) {
		close_fd(&fd);
		unlink(j->new_path);
	} else {
		close_fd(&j->fd);
		j->fd = fd;
		j->end = end;
		forget_done(j, at);
		rc = flush_directory(j->path);
	}
	free(at);
	return rc;
}

/* --- entries --------------------------------------------------------------------------------- */

static int add_entry(struct journal *j, const struct change *c, off_t at, bool stands, bool old)
{
	if (j->n == j->room) {
		size_t room = j->room ? 2 * j->room : 64;
		struct entry *e = reallocarray(j->entries, room, sizeof(*e));

		if (!e)
			return -ENOMEM;
		j->entries = e;
		j->room = room;
	}
	j->entries[j->n++] = (struct entry){.c = *c, .at = at, .stands = stands, .old = old};
	return 0;
}

/** find - the newest entry that stands for the same thing as @c, before number @end */
static struct entry *find(const struct journal *j, const struct change *c, size_t end)
{
	while (end-- > 0) {
		struct entry *e = &j->entries[end];

		if (e->stands && change_same_object(&e->c, c))
			return e;
	}
	return NULL;
}

/**
 * append - the line for @c, on disk when this returns 0
 *
 * The entry is what the line says, so that it makes no difference who undoes it.
 */
static int append(struct journal *j, const struct change *c)
{
	char line[CHANGE_LINE_MAX + 4];
	const int len = line_of(c, line);
	struct change written;
	int rc = len < 0 ? len : change_parse(line + 2, (size_t)len - 3, &written);

	if (!rc)
		rc = add_entry(j, &written, j->end, true, false);

	if (rc)
		return rc;
	rc = j->end + len > SIZE_LIMIT ? -EFBIG : write_at(j->fd, line, (size_t)len, j->end);
	if (!rc)
		rc = flush(j->fd);
	if (!rc) {
		j->end += len;
		return 0;
	}
	j->n--;
	if (ftruncate(j->fd, j->end))
		close_fd(&j->fd); /* the next line would be joined to half of this one */
	return rc;
}

static int mark_done(struct journal *j, struct entry *e)
{
	e->stands = false;
	return write_at(j->fd, "-", 1, e->at);
}

int journal_take_back(struct journal *j)
{
	struct entry *e = j->n ? &j->entries[j->n - 1] : NULL;

	if (!e || !e->stands)
		return -ENOENT;
	if (ftruncate(j->fd, e->at))
		return mark_done(j, e);
	j->end = e->at;
	j->n--;
	return flush(j->fd);
}

void journal_renew(struct journal *j)
{
	for (size_t i = 0; i < j->n; i++)
		j->entries[i].old = true;
}

bool journal_has_guard(const struct journal *j)
{
	for (size_t i = 0; i < j->n; i++) {
		if (j->entries[i].stands && j->entries[i].c.guard)
			return true;
	}
	return false;
}

size_t journal_count(const struct journal *j)
{
	size_t n = 0;

	for (size_t i = 0; i < j->n; i++)
		n += j->entries[i].stands;
	return n;
}

/* --- open and close ----------------------------------------------------------------------------
 */

static int new_journal(const char *path, struct journal **out)
{
	struct journal *j;

	if (strlen(path) >= CHANGE_PATH_MAX)
		return -ENAMETOOLONG;
	j = calloc(1, sizeof(*j));
	if (!j)
		return -ENOMEM;
	j->fd = j->lock_fd = -1;
	snprintf(j->path, sizeof(j->path), "%s", path);
	snprintf(j->new_path, sizeof(j->new_path), "%s.new", path);
	snprintf(j->lock_path, sizeof(j->lock_path), "%s.lock", path);
	*out = j;
	return 0;
}

static void free_journal(struct journal *j)
{
	close_fd(&j->fd);
	if (j->own_lock)
		runlock_release(j->lock_fd, j->lock_path);
	free(j->entries);
	free(j);
}

static int take_lock(struct journal *j)
{
	j->lock_fd = runlock_take(j->lock_path);
	j->own_lock = j->lock_fd >= 0;
	return j->own_lock ? 0 : j->lock_fd;
}

int journal_create(const char *path, struct journal **out)
{
	struct journal *j;
	struct stat st;
	int rc = new_journal(path, &j);

	if (rc)
		return rc;
	rc = take_lock(j);
	if (!rc && !lstat(path, &st))
		rc = -EEXIST;
	if (!rc)
		rc = rewrite(j);
	if (rc)
		free_journal(j);
	else
		*out = j;
	return rc;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	if (!journal_count(j))
		unlink(j->path);
	free_journal(j);
}

const char *journal_path_of(const struct journal *j)
{
	return j->path;
}

int journal_lock_fd(const struct journal *j)
{
	return j->lock_fd;
}

/* --- load ----------------------------------------------------------------------------------------
 */

__attribute__((format(printf, 4, 5))) static int because(int rc, char *err, size_t errsize,
							 const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errsize, fmt, ap);
	va_end(ap);
	return rc;
}

/** open_safe - it says what root will do: it must be ours, and nobody else's to write */
static int open_safe(struct journal *j, struct stat *st, char *err, size_t errsize)
{
	j->fd = open(j->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (j->fd < 0 || fstat(j->fd, st))
		return because(-errno, err, errsize, "%s: %s", j->path, strerror(errno));
	if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || (st->st_mode & 022))
		return because(-EPERM, err, errsize,
			       "%s: not a file of ours that nobody else may write", j->path);
	if (st->st_size > SIZE_LIMIT)
		return because(-EFBIG, err, errsize, "%s: too long for a journal", j->path);
	return 0;
}

static int read_whole(int fd, char *text, size_t size, size_t *len)
{
	*len = 0;
	while (*len < size) {
		ssize_t n = pread(fd, text + *len, size - *len, (off_t)*len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		*len += (size_t)n;
	}
	return 0;
}

static int take_change(void *ctx, const struct change *c, bool done, size_t at)
{
	return add_entry(ctx, c, (off_t)at, !done, true);
}

/** whole_lines - how much of @text is; the rest is a line that a crash cut short */
static size_t whole_lines(const char *text, size_t len)
{
	const char *last = memrchr(text, '\n', len);

	return last ? (size_t)(last - text) + 1 : 0;
}

/** fit - does what was read belong to this boot and this network namespace? */
static int fit(struct journal *j, const struct change_head *h, char *err, size_t errsize)
{
	struct change_head now;

	here(&now);
	if (!*h->boot) /* killed before the first line was whole */
		return 0;
	if (strcmp(h->boot, now.boot) != 0 || j->only_files) {
		/* All but files has ended with that; what is set now somebody else set. */
		for (size_t i = 0; i < j->n; i++)
			j->entries[i].stands &= j->entries[i].c.kind == CHANGE_PATH;
		return 0;
	}
	if (strcmp(h->netns, now.netns) != 0)
		return because(-EXDEV, err, errsize,
			       "%s is about another network namespace (%s): `weir down` undoes "
			       "what is there",
			       j->path, h->netns);
	return 0;
}

static int load_text(struct journal *j, char *text, size_t size, char *err, size_t errsize)
{
	struct change_head h;
	char why[80] = "";
	size_t len;
	int rc = read_whole(j->fd, text, size, &len);

	if (rc)
		return because(rc, err, errsize, "%s: %s", j->path, strerror(-rc));
	rc = change_read(text, len, &h, take_change, j, why, sizeof(why));
	if (rc)
		return because(rc, err, errsize, "%s: %s", j->path, *why ? why : strerror(-rc));
	rc = fit(j, &h, err, errsize);
	if (rc)
		return rc;
	j->end = (off_t)whole_lines(text, len);
	/* Of another boot, cut short or empty: a whole file to go on with. */
	if (!*h.boot || (size_t)j->end != len || journal_count(j) != j->n)
		rc = rewrite(j);
	return rc ? because(rc, err, errsize, "%s: %s", j->path, strerror(-rc)) : 0;
}

static int load(struct journal *j, char *err, size_t errsize)
{
	struct stat st = {0};
	int rc = open_safe(j, &st, err, errsize);
	char *text;

	if (rc)
		return rc;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return because(-ENOMEM, err, errsize, "%s: out of memory", j->path);
	rc = load_text(j, text, (size_t)st.st_size, err, errsize);
	free(text);
	return rc;
}

/**
 * lock_existing - -ENOENT where there is no journal
 *
 * No lock file is made there, and what one that was killed at its very start left is removed.
 */
static int lock_existing(struct journal *j)
{
	struct stat st;
	int rc;

	if (lstat(j->path, &st) && lstat(j->lock_path, &st))
		return -ENOENT;
	rc = take_lock(j);
	if (rc || !lstat(j->path, &st))
		return rc;
	unlink(j->new_path);
	return -ENOENT;
}

static int load_path(const char *path, bool only_files, struct journal **out, char *err,
		     size_t errsize)
{
	struct journal *j;
	int rc = new_journal(path, &j);

	if (rc)
		return because(rc, err, errsize, "%s: %s", path, strerror(-rc));
	j->only_files = only_files;
	rc = lock_existing(j);
	if (rc)
		because(rc, err, errsize, "%s: %s", path, strerror(-rc));
	else
		rc = load(j, err, errsize);
	if (rc)
		free_journal(j);
	else
		*out = j;
	return rc;
}

int journal_load(const char *path, struct journal **out, char *err, size_t errsize)
{
	return load_path(path, false, out, err, errsize);
}

int journal_load_files(const char *path, struct journal **out, char *err, size_t errsize)
{
	return load_path(path, true, out, err, errsize);
}

int journal_netns(const char *path, char *id, size_t size)
{
	char line[512], why[80];
	struct change_head h = {0};
	FILE *f = fopen(path, "re");
	int rc;

	if (!f)
		return -errno;
	rc = fgets(line, sizeof(line), f) ? 0 : -ENODATA;
	fclose(f);
	if (!rc)
		rc = change_read(line, strlen(line), &h, NULL, NULL, why, sizeof(why));
	if (!rc)
		str_copy(id, size, h.netns);
	return rc;
}

int journal_load_locked(const char *path, int lock_fd, struct journal **out, char *err,
			size_t errsize)
{
	struct journal *j;
	int rc = new_journal(path, &j);

	if (rc) {
		close(lock_fd);
		return because(rc, err, errsize, "%s: %s", path, strerror(-rc));
	}
	j->lock_fd = lock_fd;
	j->own_lock = true;
	rc = load(j, err, errsize);
	if (rc)
		free_journal(j);
	else
		*out = j;
	return rc;
}

/* --- changes
 * ---------------------------------------------------------------------------------------
 */

/** struct making - a change and how it is made */
struct making {
	struct change c;
	int (*make)(struct making *m);
	struct rtnl *nl;
	struct nft *nft;
	const char *text;
	char *err;
	size_t errsize;
};

/** note - the line for @c, unless the same one stands; *@fresh: it is a new one */
static int note(struct journal *j, const struct change *c, bool *fresh)
{
	struct entry *e = find(j, c, j->n);
	char have[CHANGE_LINE_MAX], want[CHANGE_LINE_MAX];

	*fresh = true;
	if (e && !change_format(&e->c, have) && !change_format(c, want) && !strcmp(have, want)) {
		*fresh = false;
		return 0;
	}
	return append(j, c);
}

/** confirm - @c is made: its line is not old, and others for the same thing are done with */
static void confirm(struct journal *j, const struct change *c)
{
	struct entry *e = find(j, c, j->n), *other;

	if (!e)
		return;
	e->old = false;
	while ((other = find(j, c, (size_t)(e - j->entries))))
		mark_done(j, other); /* should that fail: undoing one thing twice is harmless */
}

static int carry_out(struct journal *j, struct making *m)
{
	bool fresh;
	int rc = note(j, &m->c, &fresh);

	if (rc)
		return rc;
	rc = m->make ? m->make(m) : 0;
	if (!rc)
		confirm(j, &m->c);
	else if (fresh)
		journal_take_back(j);
	return rc;
}

static int make_rule(struct making *m)
{
	int rc = rtnl_rule_add(m->nl, &m->c.rule);

	return rc == -EEXIST ? 0 : rc; /* by its protocol it is ours */
}

int journal_rule(struct journal *j, struct rtnl *nl, const struct host_rule *r, bool guard)
{
	struct making m = {.make = make_rule, .nl = nl};

	m.c = (struct change){.kind = CHANGE_RULE, .guard = guard, .rule = *r};
	return carry_out(j, &m);
}

static int make_route(struct making *m)
{
	return rtnl_route_replace(m->nl, &m->c.route);
}

int journal_route(struct journal *j, struct rtnl *nl, const struct host_route *r, bool guard)
{
	struct making m = {.make = make_route, .nl = nl};

	m.c = (struct change){.kind = CHANGE_ROUTE, .guard = guard, .route = *r};
	return carry_out(j, &m);
}

static int make_table(struct making *m)
{
	return nft_apply(m->nft, m->text, m->err, m->errsize);
}

int journal_nft(struct journal *j, struct nft *n, const char *table, const char *text, bool guard,
		char *err, size_t errsize)
{
	struct making m = {
		.make = make_table, .nft = n, .text = text, .err = err, .errsize = errsize};
	int rc;

	m.c = (struct change){.kind = CHANGE_NFT, .guard = guard};
	if (strlen(table) >= sizeof(m.c.nft))
		return because(-EINVAL, err, errsize, "table %s: too long a name", table);
	str_copy(m.c.nft, sizeof(m.c.nft), table);
	if (errsize)
		*err = '\0';
	rc = carry_out(j, &m);
	if (rc && errsize && !*err)
		because(rc, err, errsize, "table %s: %s", table, strerror(-rc));
	return rc;
}

/** same_value - as the kernel reads them: runs of blanks and tabs are one */
static bool same_value(const char *a, const char *b)
{
	static const char blank[] = " \t\n";

	for (;;) {
		size_t la, lb;

		a += strspn(a, blank);
		b += strspn(b, blank);
		la = strcspn(a, blank);
		lb = strcspn(b, blank);
		if (la != lb || memcmp(a, b, la) != 0)
			return false;
		if (!la)
			return true;
		a += la;
		b += lb;
	}
}

static int make_sysctl(struct making *m)
{
	return sysctl_write(m->c.sysctl.to.name, m->c.sysctl.to.value);
}

int journal_sysctl(struct journal *j, const struct host_sysctl *s)
{
	struct making m = {.c = {.kind = CHANGE_SYSCTL}, .make = make_sysctl};
	const struct entry *had;
	char now[SYSCTL_VALUE_MAX];
	int rc = sysctl_read(s->name, now, sizeof(now));

	if (rc)
		return rc;
	m.c.sysctl.to = *s;
	str_copy(m.c.sysctl.old, sizeof(m.c.sysctl.old), now);
	had = find(j, &m.c, j->n);
	if (had) /* its old value is the one to come back to */
		memcpy(m.c.sysctl.old, had->c.sysctl.old, sizeof(m.c.sysctl.old));
	else if (same_value(now, s->value))
		return 0;
	return carry_out(j, &m);
}

int journal_link(struct journal *j, const char *name)
{
	struct making m = {.c = {.kind = CHANGE_LINK}};

	if (strlen(name) >= sizeof(m.c.link))
		return -EINVAL;
	str_copy(m.c.link, sizeof(m.c.link), name);
	if (if_nametoindex(name) && !find(j, &m.c, j->n))
		return -EEXIST;
	return carry_out(j, &m);
}

int journal_path(struct journal *j, const char *path)
{
	struct making m = {.c = {.kind = CHANGE_PATH}};
	struct stat st;

	if (strlen(path) >= sizeof(m.c.path))
		return -ENAMETOOLONG;
	str_copy(m.c.path, sizeof(m.c.path), path);
	if (!lstat(path, &st) && !find(j, &m.c, j->n))
		return -EEXIST;
	return carry_out(j, &m);
}

int journal_table_routes(struct journal *j, uint32_t table)
{
	struct making m = {.c = {.kind = CHANGE_TABLE_ROUTES, .table = table}};

	return carry_out(j, &m);
}

/* --- undoing: one thing
 * -----------------------------------------------------------------------------
 */

enum outcome { REMOVED, GONE, LEFT }; /* or -errno */

static int outcome_of(int rc)
{
	switch (rc) {
	case 0:
		return REMOVED;
	case -ENOENT:
	case -ESRCH:
	case -ENODEV:
		return GONE;
	default:
		return rc;
	}
}

static int undo_sysctl(const struct change *c)
{
	char now[SYSCTL_VALUE_MAX];
	int rc = sysctl_read(c->sysctl.to.name, now, sizeof(now));

	if (rc)
		return outcome_of(rc);
	if (same_value(now, c->sysctl.old))
		return GONE;
	if (!same_value(now, c->sysctl.to.value))
		return LEFT;
	return outcome_of(sysctl_write(c->sysctl.to.name, c->sysctl.old));
}

static int undo_path(const struct change *c)
{
	struct stat st;

	if (lstat(c->path, &st))
		return outcome_of(-errno);
	if (!S_ISDIR(st.st_mode))
		return outcome_of(unlink(c->path) ? -errno : 0);
	if (!rmdir(c->path))
		return REMOVED;
	return errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY ? LEFT : outcome_of(-errno);
}

/** struct sweep - routes of a table that are to go */
struct sweep {
	const struct journal *j;
	struct rtnl *nl;
	int result;
};

/** names_route - has the journal a line for it? By what the kernel tells routes apart by */
static bool names_route(const struct journal *j, const struct host_route *r)
{
	for (size_t i = 0; i < j->n; i++) {
		const struct entry *e = &j->entries[i];
		const struct host_route *has = &e->c.route;

		if (e->stands && e->c.kind == CHANGE_ROUTE && has->v6 == r->v6 &&
		    has->table == r->table && has->metric == r->metric &&
		    has->dst.bits == r->dst.bits &&
		    (!r->dst.bits || addr_equal(&has->dst.addr, &r->dst.addr)))
			return true;
	}
	return false;
}

static int sweep_route(void *ctx, const struct host_route *r)
{
	struct sweep *s = ctx;
	int rc;

	if (names_route(s->j, r))
		return 0;
	rc = outcome_of(rtnl_route_del(s->nl, r));
	if (s->result >= 0 && (rc < 0 || rc == REMOVED))
		s->result = rc;
	return 0;
}

/** undo_table_routes - one by one: flushing the table would open the guard's last route, too */
static int undo_table_routes(const struct journal *j, struct rtnl *nl, uint32_t table)
{
	struct sweep s = {.j = j, .nl = nl, .result = GONE};
	int rc = rtnl_table_routes(nl, table, sweep_route, &s);

	return rc < 0 ? rc : s.result;
}

static int undo_change(const struct journal *j, const struct undoing *u, const struct change *c)
{
	const bool by_rtnl = c->kind == CHANGE_RULE || c->kind == CHANGE_ROUTE ||
			     c->kind == CHANGE_LINK || c->kind == CHANGE_TABLE_ROUTES;

	if ((by_rtnl && !u->nl) || (c->kind == CHANGE_NFT && !u->nft))
		return -EOPNOTSUPP;
	switch (c->kind) {
	case CHANGE_RULE:
		return outcome_of(rtnl_rule_del(u->nl, &c->rule));
	case CHANGE_ROUTE:
		return outcome_of(rtnl_route_del(u->nl, &c->route));
	case CHANGE_NFT:
		return outcome_of(nft_table_delete(u->nft, c->nft));
	case CHANGE_SYSCTL:
		return undo_sysctl(c);
	case CHANGE_LINK:
		return outcome_of(rtnl_link_del(u->nl, c->link));
	case CHANGE_PATH:
		return undo_path(c);
	case CHANGE_TABLE_ROUTES:
		return undo_table_routes(j, u->nl, c->table);
	}
	return -EINVAL;
}

/* --- undoing: all of it
 * ---------------------------------------------------------------------------
 */

static void say_outcome(const struct undoing *u, const struct change *c, int outcome)
{
	static const char *const done[] = {
		[REMOVED] = "undone",
		[GONE] = "was gone",
		[LEFT] = "left, as somebody changed it since",
	};
	char text[CHANGE_LINE_MAX], line[CHANGE_LINE_MAX + 128];

	if (!u->say || change_format(c, text))
		return;
	if (outcome < 0)
		snprintf(line, sizeof(line), "can't be undone (%s): %s", strerror(-outcome), text);
	else
		snprintf(line, sizeof(line), "%s: %s", done[outcome], text);
	u->say(u->ctx, line);
}

/** undo_where - backwards, each entry that @want wants; 0 or the first -errno */
static int undo_where(struct journal *j, const struct undoing *u,
		      bool (*want)(const struct entry *e))
{
	int first = 0, rc;

	for (size_t i = j->n; i-- > 0;) {
		struct entry *e = &j->entries[i];

		if (!e->stands || !want(e))
			continue;
		rc = undo_change(j, u, &e->c);
		say_outcome(u, &e->c, rc);
		if (rc >= 0)
			rc = mark_done(j, e);
		if (rc < 0 && !first)
			first = rc;
	}
	rc = journal_count(j) == j->n ? 0 : rewrite(j);
	return first ? first : rc;
}

static bool want_all(const struct entry *e)
{
	(void)e;
	return true;
}

static bool want_open(const struct entry *e)
{
	return !e->c.guard;
}

static bool want_old(const struct entry *e)
{
	return e->old;
}

int journal_undo(struct journal *j, struct rtnl *nl, struct nft *n, enum journal_undo how,
		 void (*say)(void *ctx, const char *line), void *ctx)
{
	const struct undoing u = {.nl = nl, .nft = n, .say = say, .ctx = ctx};

	return undo_where(j, &u, how == UNDO_KEEP_GUARD ? want_open : want_all);
}

int journal_settle(struct journal *j, struct rtnl *nl, struct nft *n,
		   void (*say)(void *ctx, const char *line), void *ctx)
{
	const struct undoing u = {.nl = nl, .nft = n, .say = say, .ctx = ctx};

	return undo_where(j, &u, want_old);
}
