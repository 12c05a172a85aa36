/* SPDX-License-Identifier: MIT */
/*
 * tool: a hook for tests, built as a shared object like anybody's. What it does is said by keys:
 *
 *	replace=OLD:NEW   in what comes down, also across the borders of chunks
 *	wait=MS           each payload waits so long before it is looked at, by a timer
 *	open=PATH         after the lock-down: a line for each flow is appended to it; try=PATH
 *			  beside it: what may not be opened; both results are logged
 *	event=WORD	  a record of each flow, and a tag of that name
 *	closed=PORT	  nobody is let in there
 *	exec=PROGRAM	  asked for each flow: a line with its address, answered by "pass", "block"
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weir/hook.h"

#ifndef TOOL_CALLS
#define TOOL_CALLS NULL /* system calls that it says it needs */
#endif

struct tool {
	const struct weir_host *host;
	struct weir_hook_ref *ref;
	char *old, *with, *open, *try, *exec, *event;
	unsigned wait, closed;
	int file, peer;
	struct weir_watch *watch;
	char answer[256];
	size_t n_answer;
};

/** struct waiter - a flow that waits for its timer, by number: it may end before */
struct waiter {
	struct tool *t;
	uint64_t id;
	enum weir_dir dir;
};

/** struct seen - per flow: a payload has waited and may pass */
struct seen {
	int ready[2];
};

static void *load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	struct tool *t = calloc(1, sizeof(*t));

	if (!t) {
		*err = "out of memory";
		return NULL;
	}
	t->host = host;
	t->ref = ref;
	t->file = t->peer = -1;
	return t;
}

static int config(void *state, const char *key, const char *value, const char **err)
{
	struct tool *t = state;
	char *colon;

	if (!strcmp(key, "replace")) {
		t->old = strdup(value);
		colon = t->old ? strchr(t->old, ':') : NULL;
		if (!colon || colon == t->old) {
			*err = "not OLD:NEW";
			return -1;
		}
		*colon = '\0';
		t->with = colon + 1;
	} else if (!strcmp(key, "wait")) {
		t->wait = (unsigned)atoi(value);
	} else if (!strcmp(key, "open")) {
		t->open = strdup(value);
	} else if (!strcmp(key, "try")) {
		t->try = strdup(value);
	} else if (!strcmp(key, "closed")) {
		t->closed = (unsigned)atoi(value);
	} else if (!strcmp(key, "event")) {
		t->event = strdup(value);
	} else if (!strcmp(key, "exec")) {
		t->exec = strdup(value);
	} else {
		*err = "there is no such key";
		return -1;
	}
	return 0;
}

static void say(struct tool *t, const char *what, const char *path, int result)
{
	char line[300];

	snprintf(line, sizeof(line), "%s %s: %s", what, path,
		 result < 0 ? strerror(-result) : "opened");
	t->host->log(t->ref, NULL, WEIR_LOG_INFO, line);
}

static void tried(void *ctx, int fd)
{
	struct tool *t = ctx;

	say(t, "try", t->try, fd);
	if (fd >= 0)
		close(fd);
}

static void opened(void *ctx, int fd)
{
	struct tool *t = ctx;

	say(t, "open", t->open, fd);
	t->file = fd;
}

static void locked(void *state)
{
	struct tool *t = state;

	if (t->open)
		t->host->open(t->ref, t->open, O_WRONLY | O_CREAT | O_APPEND, opened, t);
	if (t->try)
		t->host->open(t->ref, t->try, O_RDONLY, tried, t);
}

static void reload(void *state)
{
	struct tool *t = state;

	t->host->log(t->ref, NULL, WEIR_LOG_INFO, "reloaded");
}

static const char *paths(void *state)
{
	return ((struct tool *)state)->open;
}

/* --- a program ------------------------------------------------------------------------------ */

static const char *const *process(void *state)
{
	static const char *argv[] = {"sh", "-c", NULL, NULL};

	argv[2] = ((struct tool *)state)->exec;
	return argv[2] ? argv : NULL;
}

/** answered - "NUMBER pass" or "NUMBER block", a line */
static void answered(struct tool *t, const char *line)
{
	char verdict[16];
	uint64_t id;
	struct weir_flow *f;

	if (sscanf(line, "%" SCNu64 " %15s", &id, verdict) != 2)
		return;
	f = t->host->find(t->ref, id);
	if (f)
		t->host->decide(f, strcmp(verdict, "pass") ? WEIR_BLOCK : WEIR_PASS);
}

static void readable(void *ctx, unsigned events)
{
	struct tool *t = ctx;
	char *end;
	ssize_t n = read(t->peer, t->answer + t->n_answer, sizeof(t->answer) - 1 - t->n_answer);

	(void)events;
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		t->host->watch_stop(t->watch);
		t->watch = NULL;
		close(t->peer);
		t->peer = -1;
		return;
	}
	if (n < 0)
		return;
	t->n_answer += (size_t)n;
	t->answer[t->n_answer] = '\0';
	while ((end = strchr(t->answer, '\n'))) {
		*end = '\0';
		answered(t, t->answer);
		t->n_answer -= (size_t)(end + 1 - t->answer);
		memmove(t->answer, end + 1, t->n_answer + 1);
	}
}

static void connected(void *state, int fd)
{
	struct tool *t = state;

	if (fd < 0) {
		t->host->log(t->ref, NULL, WEIR_LOG_INFO, "the program has ended");
		return;
	}
	t->host->log(t->ref, NULL, WEIR_LOG_INFO, "the program runs");
	if (t->watch)
		t->host->watch_stop(t->watch);
	if (t->peer >= 0)
		close(t->peer);
	t->peer = fd;
	t->n_answer = 0;
	t->watch = t->host->watch(t->ref, fd, WEIR_READABLE, readable, t);
}

/* --- flows ------------------------------------------------------------------------------------ */

static int listens(void *state, const struct weir_listen *l)
{
	const struct tool *t = state;

	return t->closed && l->at.port == t->closed ? WEIR_BLOCK : WEIR_PASS;
}

static int flow_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct tool *t = state;
	char line[200];
	int n;

	n = snprintf(line, sizeof(line), "%" PRIu64 " %s %s %s\n", info->id, info->net.ip,
		     info->owner->user, info->owner->comm);
	if (t->file >= 0 && write(t->file, line, (size_t)n) != n)
		t->host->log(t->ref, f, WEIR_LOG_WARN, "a line is lost");
	if (t->event) {
		snprintf(line, sizeof(line), "{\"said\":\"%s\"}", t->event);
		t->host->event(f, "tool", line);
		t->host->tag(f, t->event);
	}
	if (t->wait)
		t->host->set_data(f, calloc(1, sizeof(struct seen)), free);
	if (!t->exec)
		return WEIR_PASS;
	if (t->peer < 0 || write(t->peer, line, (size_t)n) != n)
		return WEIR_ERROR;
	return WEIR_PEND;
}

static void time_over(void *ctx)
{
	struct waiter *w = ctx;
	struct weir_flow *f = w->t->host->find(w->t->ref, w->id);
	struct seen *seen = f ? w->t->host->data(f) : NULL;

	if (seen) {
		seen->ready[w->dir] = 1;
		w->t->host->resume(f, w->dir);
	}
	free(w);
}

/** must_wait - true when a timer was started, and false the time after */
static int must_wait(struct tool *t, struct weir_flow *f, enum weir_dir dir)
{
	struct seen *seen = t->host->data(f);
	struct waiter *w;

	if (!t->wait || !seen || seen->ready[dir]) {
		if (seen)
			seen->ready[dir] = 0;
		return 0;
	}
	w = malloc(sizeof(*w));
	if (!w)
		return 0;
	*w = (struct waiter){t, t->host->info(f)->id, dir};
	if (t->host->timer(t->ref, t->wait, time_over, w))
		return 1;
	free(w);
	return 0;
}

/** replace_all - how many bytes may go on: not the beginning of a word that may follow */
static size_t replace_all(struct tool *t, struct weir_flow *f, const struct weir_payload *p)
{
	const size_t n = strlen(t->old);
	const uint8_t *at = p->data, *end = p->data + p->len, *hit;

	while (p->len && (hit = memmem(at, (size_t)(end - at), t->old, n))) {
		t->host->replace(f, (size_t)(hit - p->data), n, t->with, strlen(t->with));
		at = hit + n;
	}
	if (p->flags & WEIR_LAST)
		return p->len;
	for (size_t keep = (size_t)(end - at) < n - 1 ? (size_t)(end - at) : n - 1; keep; keep--)
		if (!memcmp(end - keep, t->old, keep))
			return p->len - keep;
	return p->len;
}

static int64_t payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	struct tool *t = state;

	if (must_wait(t, f, p->dir))
		return WEIR_PEND;
	if (t->old && p->dir == WEIR_DOWN)
		return (int64_t)replace_all(t, f, p);
	return (int64_t)p->len;
}

static int datagram(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	struct tool *t = state;
	const uint8_t *hit;

	if (must_wait(t, f, d->dir))
		return WEIR_PEND;
	hit = t->old && d->dir == WEIR_DOWN ? memmem(d->data, d->len, t->old, strlen(t->old))
					    : NULL;
	if (hit)
		t->host->replace(f, (size_t)(hit - d->data), strlen(t->old), t->with,
				 strlen(t->with));
	return WEIR_PASS;
}

static void unload(void *state)
{
	struct tool *t = state;

	if (t->watch)
		t->host->watch_stop(t->watch);
	free(t->old);
	free(t->open);
	free(t->try);
	free(t->exec);
	free(t->event);
	free(t);
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,		.name = "tool",		.load = load,		.config = config,
	.locked = locked,	.unload = unload,	.reload = reload,	.listen = listens,
	.flow_open = flow_open, .payload = payload,	.datagram = datagram,	.paths = paths,
	.process = process,	.connected = connected, .syscalls = TOOL_CALLS,
};
WEIR_HOOK(hook)
