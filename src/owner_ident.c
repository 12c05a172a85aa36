/* SPDX-License-Identifier: MIT */
#include "owner_ident.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"

#define STAT_MAX	 1024 /* a stat line is below 400 bytes */
#define STAT_FIELD_PPID	 4    /* numbers as in proc(5) */
#define STAT_FIELD_START 22
#define STAT_FIELD_CODE	 26
#define STAT_FIELD_STACK 28
#define HZ_USUAL	 100
#define USERS_MAX	 64 /* names of users remembered; more are asked for again */
#define FNV_BASIS	 0xcbf29ce484222325ULL
#define FNV_PRIME	 0x100000001b3ULL

static ssize_t read_at(int dir_fd, const char *name, char *buf, size_t size)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	do {
		n = read(fd, buf + have, size - 1 - have);
		if (n > 0)
			have += (size_t)n;
	} while (n > 0 && have < size - 1);
	n = n < 0 ? -errno : (ssize_t)have;
	close(fd);
	buf[have] = '\0';
	return n;
}

/*
 * owner_stat_parse - comm may hold anything, also ") R 1"; it ends at the last ')'
 */
int owner_stat_parse(const char *text, size_t len, struct owner_stat *s)
{
	const char *open = memchr(text, '(', len), *end = memrchr(text, ')', len), *p;
	size_t n;
	unsigned field;

	if (!open || !end || end < open || text[len])
		return -EBADMSG;
	memset(s, 0, sizeof(*s));
	n = MIN((size_t)(end - open - 1), sizeof(s->comm) - 1);
	memcpy(s->comm, open + 1, n);
	p = end + 1;
	for (field = 3; field <= STAT_FIELD_STACK; field++) {
		while (*p == ' ')
			p++;
		if (!*p)
			return -EBADMSG;
		if (field == STAT_FIELD_PPID)
			s->ppid = (int32_t)strtol(p, NULL, 10);
		else if (field == STAT_FIELD_START)
			s->start_ticks = strtoull(p, NULL, 10);
		else if (field == STAT_FIELD_CODE)
			s->code = strtoull(p, NULL, 10);
		else if (field == STAT_FIELD_STACK)
			s->stack = strtoull(p, NULL, 10);
		p += strcspn(p, " ");
	}
	return 0;
}

static uint64_t hash_text(const char *p, size_t len)
{
	uint64_t h = FNV_BASIS;

	while (len--)
		h = (h ^ (uint8_t)*p++) * FNV_PRIME;
	return h;
}

int owner_mark_read(int dir_fd, int stat_fd, struct owner_mark *m)
{
	struct owner_stat s;
	char buf[STAT_MAX];
	struct stat st;
	ssize_t n = pread(stat_fd, buf, sizeof(buf) - 1, 0);
	int err;

	if (n <= 0)
		return n ? -errno : -ESRCH;
	buf[n] = '\0';
	err = owner_stat_parse(buf, (size_t)n, &s);
	if (err)
		return err;
	if (fstat(dir_fd, &st))
		return -errno;
	memcpy(m->comm, s.comm, sizeof(m->comm));
	m->ppid = s.ppid;
	m->start_ticks = s.start_ticks;
	m->code = s.code;
	m->stack = s.stack;
	m->uid = st.st_uid;
	n = readlinkat(dir_fd, "exe", buf, sizeof(buf));
	m->exe_hash = n > 0 ? hash_text(buf, (size_t)n) : 0;
	return 0;
}

int owner_mark_same(const struct owner_mark *a, const struct owner_mark *b)
{
	return a->stack == b->stack && a->code == b->code && a->exe_hash == b->exe_hash &&
	       a->uid == b->uid && a->start_ticks == b->start_ticks && !strcmp(a->comm, b->comm);
}

void owner_ident_clean(char *text, size_t len)
{
	size_t i;

	while (len && !text[len - 1])
		len--;
	for (i = 0; i < len; i++)
		if (!text[i])
			text[i] = ' ';
		else if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';
	text[len] = '\0';
}

/* read_ids - effective uid and gid from status; the directory's owner is root's when not dumpable
 */
static void read_ids(int dir_fd, struct owner *o)
{
	char buf[4096];
	const char *p;
	unsigned ids[2];

	if (read_at(dir_fd, "status", buf, sizeof(buf)) <= 0)
		return;
	p = strstr(buf, "\nUid:");
	if (p && sscanf(p, "\nUid: %u %u", &ids[0], &ids[1]) == 2)
		o->uid = ids[1];
	p = strstr(buf, "\nGid:");
	if (p && sscanf(p, "\nGid: %u %u", &ids[0], &ids[1]) == 2)
		o->gid = ids[1];
}

/* owner_ident_user - remembered, as NSS may ask a server */
void owner_ident_user(uint32_t uid, char *out, size_t size)
{
	static struct {
		uint32_t uid;
		char name[sizeof(((struct owner *)0)->user)];
	} known[USERS_MAX];
	static unsigned count, next;
	struct passwd pw, *res = NULL;
	char buf[4096];
	unsigned i;

	for (i = 0; i < count; i++)
		if (known[i].uid == uid)
			goto out;
	i = next++ % USERS_MAX;
	count = MAX(count, i + 1);
	known[i].uid = uid;
	known[i].name[0] = '\0';
	if (!getpwuid_r(uid, &pw, buf, sizeof(buf), &res) && res)
		str_copy(known[i].name, sizeof(known[i].name), res->pw_name);
out:
	str_copy(out, size, known[i].name);
}

/*
 * pick_cgroup - the path in the unified hierarchy; where that is unused (hybrid
 * set-ups put everything in its root) the one that systemd names
 */
static void pick_cgroup(char *text, char *out, size_t size)
{
	const char *named = NULL;
	char *line, *save = NULL;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *path = strchr(line, ':');

		path = path ? strchr(path + 1, ':') : NULL;
		if (!path)
			continue;
		if (!strncmp(line, "0::", 3))
			str_copy(out, size, path + 1);
		else if (strstr(line, ":name=systemd:"))
			named = path + 1;
	}
	if (named && (!*out || !strcmp(out, "/")))
		str_copy(out, size, named);
	owner_ident_clean(out, strlen(out));
}

void owner_ident_cgroup(int dir_fd, struct owner *o)
{
	char text[4096];

	if (read_at(dir_fd, "cgroup", text, sizeof(text)) > 0)
		pick_cgroup(text, o->cgroup, sizeof(o->cgroup));
}

static uint64_t tick_ns(void)
{
	long hz = sysconf(_SC_CLK_TCK);

	return NSEC_PER_SEC / (uint64_t)(hz > 0 ? hz : HZ_USUAL);
}

/* process_open - a descriptor of /proc/PID, and what its stat says; -1: it is gone */
static int process_open(pid_t pid, struct owner_stat *s)
{
	char path[32], buf[STAT_MAX];
	int dir;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -1;
	n = read_at(dir, "stat", buf, sizeof(buf));
	if (n <= 0 || owner_stat_parse(buf, (size_t)n, s))
		close_fd(&dir);
	return dir;
}

/* read_exe - "" where we may not look, or where it does not fit */
static void read_exe(int dir_fd, char *out, size_t size)
{
	ssize_t n = readlinkat(dir_fd, "exe", out, size);

	owner_ident_clean(out, n > 0 && (size_t)n < size ? (size_t)n : 0);
}

void owner_ident_parent_exe(struct owner_parent *p, uint64_t start_ticks)
{
	struct owner_stat s = {.start_ticks = 0};
	int dir = process_open(p->pid, &s);

	p->exe[0] = '\0';
	if (dir >= 0 && (!start_ticks || s.start_ticks == start_ticks))
		read_exe(dir, p->exe, sizeof(p->exe));
	close_fd(&dir);
}

bool owner_ident_changed(const struct owner *o)
{
	struct owner now = {.uid = (uint32_t)-1};
	struct owner_stat s;
	int dir = process_open(o->pid, &s);
	bool same;

	if (dir < 0)
		return false;
	owner_ident_clean(s.comm, strnlen(s.comm, sizeof(s.comm) - 1));
	read_ids(dir, &now);
	read_exe(dir, now.exe, sizeof(now.exe));
	close(dir);
	same = s.start_ticks * tick_ns() != o->start_ns || /* another process: ours has ended */
	       now.uid == (uint32_t)-1 ||
	       (now.uid == o->uid && !strcmp(s.comm, o->comm) &&
		(!now.exe[0] || !o->exe[0] || !strcmp(now.exe, o->exe)));
	return !same;
}

static void read_parents(struct owner *o, pid_t ppid)
{
	struct owner_stat s;
	char path[32], buf[STAT_MAX];
	ssize_t n;

	while (ppid > 0 && o->parents_len < OWNER_PARENTS_MAX) {
		struct owner_parent *p = &o->parents[o->parents_len];

		snprintf(path, sizeof(path), "/proc/%d/stat", ppid);
		n = read_at(AT_FDCWD, path, buf, sizeof(buf));
		if (n <= 0 || owner_stat_parse(buf, (size_t)n, &s))
			break;
		p->pid = ppid;
		owner_ident_parent_exe(p, s.start_ticks);
		memcpy(p->comm, s.comm, sizeof(p->comm));
		owner_ident_clean(p->comm, strnlen(p->comm, sizeof(p->comm) - 1));
		o->parents_len++;
		ppid = s.ppid;
	}
}

int owner_ident_read(int dir_fd, pid_t pid, const struct owner_mark *m, struct owner *o)
{
	ssize_t n;

	memset(o, 0, sizeof(*o));
	o->pid = pid;
	o->uid = o->gid = (uint32_t)-1;
	o->start_ns = m->start_ticks * tick_ns();
	memcpy(o->comm, m->comm, sizeof(o->comm));
	owner_ident_clean(o->comm, strlen(o->comm));
	read_ids(dir_fd, o);
	if (o->uid == (uint32_t)-1)
		return -ESRCH;
	owner_ident_user(o->uid, o->user, sizeof(o->user));
	n = readlinkat(dir_fd, "exe", o->exe, sizeof(o->exe) - 1);
	owner_ident_clean(o->exe, n > 0 ? (size_t)n : 0);
	n = read_at(dir_fd, "cmdline", o->cmdline, sizeof(o->cmdline));
	owner_ident_clean(o->cmdline, n > 0 ? (size_t)n : 0);
	owner_ident_cgroup(dir_fd, o);
	read_parents(o, m->ppid);
	return 0;
}
