/* SPDX-License-Identifier: MIT */
/*
 * fake_host: a struct weir_host for tests of hooks: it notes what a hook asks for, and moves time,
 * timers, watches and files only when the test says so. Include it in one file.
 */
#ifndef WEIR_TESTS_FAKE_HOST_H
#define WEIR_TESTS_FAKE_HOST_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weir/hook.h"

#define FAKE_MAX   16
#define FAKE_OPENS 300
#define FAKE_TEXT  4096
#define FAKE_BYTES (1 << 20)

/** struct fake_text - what came, one behind the other, each with a newline */
struct fake_text {
	size_t len;
	char text[FAKE_TEXT];
};

/** struct fake_bytes - a stream, or datagrams */
struct fake_bytes {
	size_t len;
	uint8_t data[FAKE_BYTES];
};

/** struct weir_flow - the fake's flow; @out: what has passed the hook, with edits and injections */
struct weir_flow {
	struct weir_info info;
	struct weir_owner owner;
	void *data;
	void (*free_fn)(void *data);
	struct fake_bytes out[2];
	bool closed[2], done, learn_done;
	unsigned resumed[2], n_decided;
	int decided;
	struct fake_text learned, tags, events;
};

struct weir_timer {
	uint64_t at;
	void (*fn)(void *ctx);
	void *ctx;
	bool armed;
};

struct weir_watch {
	int fd;
	unsigned events;
	void (*fn)(void *ctx, unsigned events);
	void *ctx;
	bool on;
};

struct fake_open {
	char path[256];
	void (*fn)(void *ctx, int fd);
	void *ctx;
};

static struct {
	uint64_t now;
	struct weir_flow *flows[FAKE_MAX];
	struct weir_timer timers[FAKE_MAX];
	struct weir_watch watches[FAKE_MAX];
	struct fake_open opens[FAKE_OPENS];
	unsigned n_opens, n_logs;
	char log[1024]; /* the last line */
	int inject_rc;
	/* of the callback that runs */
	struct weir_flow *at;
	size_t shown, n_edits;
	struct {
		size_t off, len, n;
		char with[FAKE_TEXT];
	} edits[FAKE_MAX];
} fake = {.now = 1000000000};

__attribute__((unused)) static void fake_add(struct fake_text *t, const char *a, const char *b)
{
	int n = snprintf(t->text + t->len, sizeof(t->text) - t->len, "%s%s%s\n", a, b ? "=" : "",
			 b ? b : "");

	t->len += (size_t)n;
}

static void fake_put(struct fake_bytes *out, const void *data, size_t n)
{
	if (out->len + n > sizeof(out->data))
		abort();
	if (n)
		memcpy(out->data + out->len, data, n);
	out->len += n;
}

/* --- what the hook calls --------------------------------------------------------------- */

static const struct weir_info *fake_info(struct weir_flow *f)
{
	return &f->info;
}

static void fake_set_data(struct weir_flow *f, void *data, void (*free_fn)(void *data))
{
	f->data = data;
	f->free_fn = free_fn;
}

static void *fake_data(struct weir_flow *f)
{
	return f->data;
}

static struct weir_flow *fake_find(struct weir_hook_ref *hook, uint64_t id)
{
	(void)hook;
	for (unsigned i = 0; i < FAKE_MAX; i++)
		if (fake.flows[i] && fake.flows[i]->info.id == id)
			return fake.flows[i];
	return NULL;
}

static int fake_replace(struct weir_flow *f, size_t off, size_t len, const void *with, size_t n)
{
	size_t k = fake.n_edits;

	if (f != fake.at || off > fake.shown || len > fake.shown - off ||
	    (k && off < fake.edits[k - 1].off + fake.edits[k - 1].len))
		return -EINVAL;
	if (k == FAKE_MAX || n > FAKE_TEXT)
		return -ENOBUFS;
	fake.edits[k].off = off;
	fake.edits[k].len = len;
	fake.edits[k].n = n;
	if (n)
		memcpy(fake.edits[k].with, with, n);
	fake.n_edits++;
	return 0;
}

static int fake_inject(struct weir_flow *f, enum weir_dir dir, const void *data, size_t len)
{
	if (!fake.inject_rc)
		fake_put(&f->out[dir], data, len);
	return fake.inject_rc;
}

static int fake_close(struct weir_flow *f, enum weir_dir dir)
{
	f->closed[dir] = true;
	return 0;
}

static void fake_resume(struct weir_flow *f, enum weir_dir dir)
{
	f->resumed[dir]++;
}

static void fake_decide(struct weir_flow *f, int verdict)
{
	f->decided = verdict;
	f->n_decided++;
}

static void fake_done(struct weir_flow *f)
{
	f->done = true;
}

static int fake_learn(struct weir_flow *f, const char *field, const char *value)
{
	if (!strcmp(field, "nonsense"))
		return -EINVAL;
	fake_add(&f->learned, field, value);
	return 0;
}

static void fake_learn_done(struct weir_flow *f)
{
	f->learn_done = true;
}

static int fake_tag(struct weir_flow *f, const char *tag)
{
	fake_add(&f->tags, tag, NULL);
	return 0;
}

static int fake_event(struct weir_flow *f, const char *event_type, const char *json)
{
	fake_add(&f->events, event_type, json);
	return 0;
}

static void fake_log(struct weir_hook_ref *hook, struct weir_flow *f, enum weir_log level,
		     const char *text)
{
	(void)hook;
	fake.n_logs++;
	snprintf(fake.log, sizeof(fake.log), "%d%s %s", level, f ? " flow" : "", text);
}

static uint64_t fake_now(struct weir_hook_ref *hook)
{
	(void)hook;
	return fake.now;
}

static struct weir_timer *fake_timer(struct weir_hook_ref *hook, unsigned ms, void (*fn)(void *ctx),
				     void *ctx)
{
	(void)hook;
	for (unsigned i = 0; i < FAKE_MAX; i++) {
		struct weir_timer *t = &fake.timers[i];

		if (!t->armed) {
			*t = (struct weir_timer){fake.now + ms * UINT64_C(1000000), fn, ctx, true};
			return t;
		}
	}
	return NULL;
}

static void fake_timer_stop(struct weir_timer *t)
{
	if (!t->armed)
		abort();
	t->armed = false;
}

static struct weir_watch *fake_watch(struct weir_hook_ref *hook, int fd, unsigned events,
				     void (*fn)(void *ctx, unsigned events), void *ctx)
{
	(void)hook;
	for (unsigned i = 0; i < FAKE_MAX; i++) {
		struct weir_watch *w = &fake.watches[i];

		if (!w->on) {
			*w = (struct weir_watch){fd, events, fn, ctx, true};
			return w;
		}
	}
	return NULL;
}

static int fake_watch_set(struct weir_watch *w, unsigned events)
{
	w->events = events;
	return 0;
}

static void fake_watch_stop(struct weir_watch *w)
{
	if (!w->on)
		abort();
	w->on = false;
}

static int fake_open_later(struct weir_hook_ref *hook, const char *path, int flags,
			   void (*fn)(void *ctx, int fd), void *ctx)
{
	struct fake_open *o = &fake.opens[fake.n_opens];

	(void)hook;
	(void)flags;
	if (++fake.n_opens == FAKE_OPENS)
		abort();
	snprintf(o->path, sizeof(o->path), "%s", path);
	o->fn = fn;
	o->ctx = ctx;
	return 0;
}

static const struct weir_host fake_host = {
	.size = sizeof(struct weir_host),
	.abi = WEIR_HOOK_ABI,
	.info = fake_info,
	.set_data = fake_set_data,
	.data = fake_data,
	.find = fake_find,
	.replace = fake_replace,
	.inject = fake_inject,
	.close = fake_close,
	.resume = fake_resume,
	.decide = fake_decide,
	.done = fake_done,
	.learn = fake_learn,
	.learn_done = fake_learn_done,
	.tag = fake_tag,
	.event = fake_event,
	.log = fake_log,
	.now = fake_now,
	.timer = fake_timer,
	.timer_stop = fake_timer_stop,
	.watch = fake_watch,
	.watch_set = fake_watch_set,
	.watch_stop = fake_watch_stop,
	.open = fake_open_later,
};

/* --- what the test calls ---------------------------------------------------------------- */

/** fake_flow - number @id, TCP, of alice's curl to 192.0.2.1:443 */
static struct weir_flow *fake_flow(uint64_t id)
{
	static const char *const comms[] = {"bash", "sshd"};
	static const int64_t pids[] = {41, 40};
	static const unsigned char app[] = {10, 0, 0, 1}, net[] = {192, 0, 2, 1};
	struct weir_flow *f = calloc(1, sizeof(*f));
	unsigned i = 0;

	f->owner = (struct weir_owner){
		.size = sizeof(f->owner),
		.uid = 1000,
		.gid = 100,
		.socket_uid = 1000,
		.pid = 42,
		.start_ns = 7,
		.user = "alice",
		.comm = "curl",
		.exe = "/usr/bin/curl",
		.cmdline = "curl -s x",
		.cgroup = "/",
		.source = "sockdiag",
		.n_parents = 2,
		.parent_comm = comms,
		.parent_pid = pids,
	};
	f->info = (struct weir_info){
		.size = sizeof(f->info),
		.id = id,
		.proto = 6,
		.app = {"10.0.0.1", app, 4, 40000},
		.net = {"192.0.2.1", net, 4, 443},
		.owner = &f->owner,
		.host = "example.org",
		.verdict = "allow",
	};
	while (i < FAKE_MAX && fake.flows[i])
		i++;
	if (i == FAKE_MAX)
		abort();
	fake.flows[i] = f;
	return f;
}

/** fake_close_flow - as weir does it at a flow's end; @f is freed */
static void fake_close_flow(const struct weir_hook *hook, void *state, struct weir_flow *f)
{
	f->info.reason = "fin";
	if (hook->flow_close)
		hook->flow_close(state, f, &f->info);
	if (f->free_fn)
		f->free_fn(f->data);
	for (unsigned i = 0; i < FAKE_MAX; i++)
		if (fake.flows[i] == f)
			fake.flows[i] = NULL;
	free(f);
}

static void fake_begin(struct weir_flow *f, size_t len)
{
	fake.at = f;
	fake.shown = len;
	fake.n_edits = 0;
}

/** fake_edited - the first @n bytes of @data with the edits of the callback, into @out */
static void fake_edited(struct fake_bytes *out, const char *data, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < fake.n_edits; i++) {
		if (fake.edits[i].off + fake.edits[i].len > n)
			break;
		fake_put(out, data + at, fake.edits[i].off - at);
		fake_put(out, fake.edits[i].with, fake.edits[i].n);
		at = fake.edits[i].off + fake.edits[i].len;
	}
	fake_put(out, data + at, n - at);
}

/** fake_payload - show @len bytes; the answer; what is accepted goes to f->out */
static int64_t fake_payload(const struct weir_hook *hook, void *state, struct weir_flow *f,
			    enum weir_dir dir, const char *data, size_t len, bool last)
{
	const struct weir_payload p = {
		.size = sizeof(p),
		.dir = dir,
		.flags = last ? WEIR_LAST : 0,
		.data = (const uint8_t *)data,
		.len = len,
	};
	int64_t n;

	fake_begin(f, len);
	n = hook->payload(state, f, &p);
	if (n >= 0)
		fake_edited(&f->out[dir], data, (size_t)n);
	fake.at = NULL;
	return n;
}

/** fake_datagram - the same with a datagram */
__attribute__((unused)) static int fake_datagram(const struct weir_hook *hook, void *state,
						 struct weir_flow *f, enum weir_dir dir,
						 const char *data, size_t len)
{
	const struct weir_datagram d = {
		.size = sizeof(d), .dir = dir, .data = (const uint8_t *)data, .len = len};
	int verdict;

	fake_begin(f, len);
	verdict = hook->datagram(state, f, &d);
	if (verdict == WEIR_PASS)
		fake_edited(&f->out[dir], data, len);
	fake.at = NULL;
	return verdict;
}

/** fake_out - has exactly @text passed? Then forget it */
static bool fake_out(struct weir_flow *f, enum weir_dir dir, const char *text)
{
	struct fake_bytes *out = &f->out[dir];
	bool same = out->len == strlen(text) && !memcmp(out->data, text, out->len);

	if (!same)
		printf("# passed: %.*s\n", (int)out->len, (const char *)out->data);
	out->len = 0;
	return same;
}

/** fake_advance - move time on, and call what is due, in any order */
static void fake_advance(unsigned ms)
{
	fake.now += ms * UINT64_C(1000000);
	for (unsigned i = 0; i < FAKE_MAX; i++) {
		struct weir_timer *t = &fake.timers[i];

		if (t->armed && t->at <= fake.now) {
			t->armed = false;
			t->fn(t->ctx);
		}
	}
}

/** fake_files - answer what was asked for by open(), and what that asks for, with real files */
__attribute__((unused)) static void fake_files(void)
{
	for (unsigned i = 0; i < fake.n_opens; i++) {
		int fd = open(fake.opens[i].path, O_RDONLY | O_CLOEXEC);

		fake.opens[i].fn(fake.opens[i].ctx, fd < 0 ? -errno : fd);
	}
	fake.n_opens = 0;
}

/** fake_poll - call the watches that are ready within @ms; how many were */
__attribute__((unused)) static unsigned fake_poll(int ms)
{
	struct pollfd p[FAKE_MAX];
	unsigned called = 0;

	for (unsigned i = 0; i < FAKE_MAX; i++) {
		struct weir_watch *w = &fake.watches[i];

		p[i].fd = w->on ? w->fd : -1;
		p[i].events = (short)((w->events & WEIR_READABLE ? POLLIN : 0) |
				      (w->events & WEIR_WRITABLE ? POLLOUT : 0));
		p[i].revents = 0;
	}
	poll(p, FAKE_MAX, ms);
	for (unsigned i = 0; i < FAKE_MAX; i++) {
		unsigned ready = (p[i].revents & (POLLIN | POLLHUP | POLLERR) ? WEIR_READABLE : 0) |
				 (p[i].revents & POLLOUT ? WEIR_WRITABLE : 0);

		ready &= fake.watches[i].events;
		if (!fake.watches[i].on || !ready)
			continue;
		fake.watches[i].fn(fake.watches[i].ctx, ready);
		called++;
	}
	return called;
}

#endif
