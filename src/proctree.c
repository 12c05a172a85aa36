/* SPDX-License-Identifier: MIT */
#include "proctree.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/wait.h>

/* Deeper chains of parents are not followed: /proc changes while we read it. */
#define DEPTH_MAX 4096

void proctree_pids_free(struct proctree_pids *l)
{
	free(l->pid);
	*l = (struct proctree_pids){0};
}

bool proctree_pids_has(const struct proctree_pids *l, pid_t pid)
{
	for (size_t i = 0; l && i < l->n; i++) {
		if (l->pid[i] == pid)
			return true;
	}
	return false;
}

int proctree_pids_add(struct proctree_pids *l, pid_t pid)
{
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 32;
		pid_t *p = reallocarray(l->pid, room, sizeof(*p));

		if (!p)
			return -ENOMEM;
		l->pid = p;
		l->room = room;
	}
	l->pid[l->n++] = pid;
	return 0;
}

/** stat_read - parent and state letter of @pid; the name in front may hold anything */
static int stat_read(pid_t pid, pid_t *parent, char *state)
{
	char path[64], buf[512];
	const char *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	buf[n] = '\0';
	p = strrchr(buf, ')');
	if (!p || p[1] != ' ' || !p[2] || p[3] != ' ')
		return -ESRCH;
	*state = p[2];
	*parent = (pid_t)strtol(p + 4, NULL, 10);
	return 0;
}

/** children_scan - for kernels without /proc/PID/task/TID/children: ask every process */
static int children_scan(pid_t pid, struct proctree_pids *out)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	pid_t parent = 0;
	char state = 0;
	int r = 0;

	if (!d)
		return -errno;
	while (!r && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		pid_t p = (pid_t)strtol(e->d_name, NULL, 10);

		if (!stat_read(p, &parent, &state) && parent == pid)
			r = proctree_pids_add(out, p);
	}
	closedir(d);
	return r;
}

static int children_of_thread(pid_t pid, const char *tid, struct proctree_pids *out)
{
	char path[96];
	int child, r = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", (int)pid, tid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (!r && fscanf(f, "%d", &child) == 1)
		r = proctree_pids_add(out, child);
	fclose(f);
	return r;
}

int proctree_children(pid_t pid, struct proctree_pids *out)
{
	struct dirent *e;
	bool missing = false;
	char path[64];
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	if (!d)
		return -errno;
	while (!r && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		r = children_of_thread(pid, e->d_name, out);
		if (r == -ENOENT || r == -EACCES) { /* not built in, or the thread ended */
			missing = true;
			r = 0;
		}
	}
	closedir(d);
	if (!r && missing && !out->n)
		r = children_scan(pid, out);
	return r;
}

size_t proctree_count(pid_t pid)
{
	struct proctree_pids all = {0};
	pid_t parent = 0;
	size_t n = 0;
	char state = 0;

	if (proctree_children(pid, &all))
		return 0;
	for (size_t i = 0; i < all.n; i++) { /* grows while it is walked */
		if (!stat_read(all.pid[i], &parent, &state) && state != 'Z' && state != 'X')
			n++;
		struct proctree_pids below = {0};

		proctree_children(all.pid[i], &below);
		for (size_t k = 0; k < below.n; k++) {
			if (proctree_pids_add(&all, below.pid[k]))
				break;
		}
		proctree_pids_free(&below);
	}
	proctree_pids_free(&all);
	return n;
}

bool proctree_is_descendant(pid_t pid, pid_t ancestor)
{
	char state;

	for (int i = 0; pid > 0 && i < DEPTH_MAX; i++) {
		if (pid == ancestor)
			return true;
		if (stat_read(pid, &pid, &state))
			return false;
	}
	return false;
}

/** end_round - kill and, where already dead, reap each child not spared; returns how many */
static size_t end_round(const struct proctree_pids *spare)
{
	struct proctree_pids l = {0};
	size_t n = 0;

	proctree_children(getpid(), &l);
	for (size_t i = 0; i < l.n; i++) {
		if (proctree_pids_has(spare, l.pid[i]))
			continue;
		kill(l.pid[i], SIGKILL);
		waitpid(l.pid[i], NULL, WNOHANG | __WALL);
		n++;
	}
	proctree_pids_free(&l);
	return n;
}

void proctree_end_children(const struct proctree_pids *spare)
{
	long wait_ns = 200 * 1000;

	while (end_round(spare)) {
		nanosleep(&(struct timespec){.tv_nsec = wait_ns}, NULL);
		if (wait_ns < 20 * 1000 * 1000) /* one in an uninterruptible sleep ends later */
			wait_ns *= 2;
	}
}
