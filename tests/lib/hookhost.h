/* SPDX-License-Identifier: MIT */
/*
 * hookhost: a host for one hook under test, in the same process.
 *
 * It does for a hook what weir does, as simply as can be: bytes not accepted are kept and shown
 * again, edits are applied to what was accepted, what is asked for is noted.
 */
#ifndef HOOKHOST_H
#define HOOKHOST_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/hook.h>

struct hh_bytes {
	uint8_t *data;
	size_t len, cap;
};

static inline void hh_append(struct hh_bytes *b, const void *data, size_t len)
{
	if (b->len + len > b->cap) {
		b->cap = 2 * (b->len + len);
		b->data = realloc(b->data, b->cap);
		if (!b->data)
			abort();
	}
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
}

struct hh_edit {
	size_t off, len;
	uint8_t *with;
	size_t n;
};

#define HH_EDITS 4096

/** struct weir_flow - one flow and what the hook did to it */
struct weir_flow {
	struct weir_info info;
	struct weir_owner owner;
	void *data;
	void (*free_fn)(void *);
	struct hh_edit edit[HH_EDITS];
	size_t n_edits;
	struct hh_bytes waiting[2], out[2]; /* not accepted yet; gone on */
	struct hh_bytes injected[2];
	uint64_t offset[2];
	char events[4096], tags[512], learnt[1024], log[1024];
	bool done, learn_done, closed[2], resumed[2];
	int decided;
};

struct weir_timer {
	void (*fn)(void *ctx);
	void *ctx;
	unsigned ms;
};

#define HH_TIMERS 8

/** struct hh - the hook */
struct hh {
	const struct weir_hook *hook;
	void *state;
	struct weir_flow *flow; /* the one flow there is, for find() */
	uint64_t now;
	struct weir_timer timer[HH_TIMERS];
	char log[4096];
};

static struct hh *hh_now; /* the functions of the table have no other way to it */

static inline void hh_note(char *to, size_t size, const char *a, const char *b)
{
	size_t used = strlen(to);

	snprintf(to + used, size - used, "%s%s%s\n", a, b ? " " : "", b ? b : "");
}

static const struct weir_info *hh_info(struct weir_flow *f)
{
	return &f->info;
}

static void hh_set_data(struct weir_flow *f, void *data, void (*free_fn)(void *))
{
	f->data = data;
	f->free_fn = free_fn;
}

static void *hh_data(struct weir_flow *f)
{
	return f->data;
}

static struct weir_flow *hh_find(struct weir_hook_ref *hook, uint64_t id)
{
	(void)hook;
	return hh_now->flow && hh_now->flow->info.id == id ? hh_now->flow : NULL;
}

static int hh_replace(struct weir_flow *f, size_t off, size_t len, const void *with, size_t n)
{
	struct hh_edit *e = &f->edit[f->n_edits];

	if (f->n_edits == HH_EDITS || (f->n_edits && off < e[-1].off + e[-1].len))
		return -EINVAL;
	*e = (struct hh_edit){.off = off, .len = len, .n = n, .with = malloc(n + 1)};
	if (!e->with)
		abort();
	if (n)
		memcpy(e->with, with, n);
	f->n_edits++;
	return 0;
}

static int hh_inject(struct weir_flow *f, enum weir_dir dir, const void *data, size_t len)
{
	hh_append(&f->injected[dir], data, len);
	return 0;
}

static int hh_close(struct weir_flow *f, enum weir_dir dir)
{
	f->closed[dir] = true;
	return 0;
}

static void hh_resume(struct weir_flow *f, enum weir_dir dir)
{
	f->resumed[dir] = true;
}

static void hh_decide(struct weir_flow *f, int verdict)
{
	f->decided = verdict;
}

static void hh_done(struct weir_flow *f)
{
	f->done = true;
}

static int hh_learn(struct weir_flow *f, const char *field, const char *value)
{
	hh_note(f->learnt, sizeof(f->learnt), field, value ? value : "-");
	return 0;
}

static void hh_learn_done(struct weir_flow *f)
{
	f->learn_done = true;
}

static int hh_tag(struct weir_flow *f, const char *tag)
{
	hh_note(f->tags, sizeof(f->tags), tag, NULL);
	return 0;
}

static int hh_event(struct weir_flow *f, const char *type, const char *json)
{
	hh_note(f->events, sizeof(f->events), type, json);
	return 0;
}

static void hh_log(struct weir_hook_ref *hook, struct weir_flow *f, enum weir_log level,
		   const char *text)
{
	(void)hook;
	(void)level;
	hh_note(f ? f->log : hh_now->log, f ? sizeof(f->log) : sizeof(hh_now->log), text, NULL);
}

static uint64_t hh_clock(struct weir_hook_ref *hook)
{
	(void)hook;
	return hh_now->now;
}

static struct weir_timer *hh_timer(struct weir_hook_ref *hook, unsigned ms, void (*fn)(void *ctx),
				   void *ctx)
{
	(void)hook;
	for (int i = 0; i < HH_TIMERS; i++) {
		struct weir_timer *t = &hh_now->timer[i];

		if (t->fn)
			continue;
		*t = (struct weir_timer){fn, ctx, ms};
		return t;
	}
	return NULL;
}

static void hh_timer_stop(struct weir_timer *t)
{
	t->fn = NULL;
}

/** hh_fire - all timers are over; how many there were */
static inline int hh_fire(struct hh *h)
{
	int n = 0;

	hh_now = h;
	for (int i = 0; i < HH_TIMERS; i++) {
		struct weir_timer t = h->timer[i];

		h->timer[i].fn = NULL;
		if (t.fn)
			t.fn(t.ctx);
		n += t.fn != NULL;
	}
	return n;
}

static const struct weir_host hh_host = {
	.size = sizeof(struct weir_host),
	.abi = WEIR_HOOK_ABI,
	.info = hh_info,
	.set_data = hh_set_data,
	.data = hh_data,
	.find = hh_find,
	.replace = hh_replace,
	.inject = hh_inject,
	.close = hh_close,
	.resume = hh_resume,
	.decide = hh_decide,
	.done = hh_done,
	.learn = hh_learn,
	.learn_done = hh_learn_done,
	.tag = hh_tag,
	.event = hh_event,
	.log = hh_log,
	.now = hh_clock,
	.timer = hh_timer,
	.timer_stop = hh_timer_stop,
};

/**
 * hh_load - load @hook with "key=value" words, the last NULL; NULL, or the line of its refusal
 * @host: NULL: the table above; else one made of it
 */
static inline const char *hh_load(struct hh *h, const struct weir_hook *hook,
				  const struct weir_host *host, const char *const *words)
{
	const char *err = "no line was given";

	*h = (struct hh){.hook = hook};
	hh_now = h;
	h->state = hook->load(host ? host : &hh_host, NULL, &err);
	if (!h->state)
		return err;
	for (; words && *words; words++) {
		char key[64];
		const char *eq = strchr(*words, '=');

		snprintf(key, sizeof(key), "%.*s", (int)(eq - *words), *words);
		if (!hook->config || hook->config(h->state, key, eq + 1, &err))
			return err;
	}
	return hook->ready && hook->ready(h->state, &err) ? err : NULL;
}

static inline void hh_unload(struct hh *h)
{
	if (h->state && h->hook->unload)
		h->hook->unload(h->state);
	h->state = NULL;
}

/** hh_open - a TCP flow of curl(1234), user alice, to 203.0.113.5:80; *@verdict: what it said */
static inline struct weir_flow *hh_open(struct hh *h, int *verdict)
{
	static const unsigned char app[] = {192, 0, 2, 2}, net[] = {203, 0, 113, 5};
	struct weir_flow *f = calloc(1, sizeof(*f));

	if (!f)
		abort();
	hh_now = h;
	h->flow = f;
	f->decided = 1;
	f->owner = (struct weir_owner){.size = sizeof(f->owner),
				       .uid = 1000,
				       .gid = 1000,
				       .socket_uid = 1000,
				       .pid = 1234,
				       .user = "alice",
				       .comm = "curl",
				       .exe = "/usr/bin/curl",
				       .cmdline = "curl http://www.example.org/",
				       .cgroup = "/",
				       .source = "sockdiag"};
	f->info = (struct weir_info){.size = sizeof(f->info),
				     .id = 42,
				     .proto = 6,
				     .app = {"192.0.2.2", app, 4, 40000},
				     .net = {"203.0.113.5", net, 4, 80},
				     .owner = &f->owner,
				     .host = "www.example.org",
				     .verdict = "allow"};
	*verdict = h->hook->flow_open ? h->hook->flow_open(h->state, f, &f->info) : WEIR_PASS;
	return f;
}

static inline void hh_drop_edits(struct weir_flow *f)
{
	while (f->n_edits)
		free(f->edit[--f->n_edits].with);
}

/** hh_pass - @n bytes of @data go on, with the edits in them */
static inline void hh_pass(struct weir_flow *f, enum weir_dir dir, const uint8_t *data, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < f->n_edits; i++) {
		const struct hh_edit *e = &f->edit[i];

		if (e->off + e->len > n)
			break;
		hh_append(&f->out[dir], data + at, e->off - at);
		hh_append(&f->out[dir], e->with, e->n);
		at = e->off + e->len;
	}
	hh_append(&f->out[dir], data + at, n - at);
	hh_append(&f->out[dir], f->injected[dir].data, f->injected[dir].len);
	f->injected[dir].len = 0;
}

/** hh_offer - @len more bytes have come; what payload() said */
static inline int64_t hh_offer(struct hh *h, struct weir_flow *f, enum weir_dir dir,
			       const void *data, size_t len, bool last)
{
	struct hh_bytes *w = &f->waiting[dir];
	struct weir_payload p = {.size = sizeof(p), .dir = dir, .flags = last ? WEIR_LAST : 0};
	int64_t n;

	hh_now = h;
	hh_append(w, data, len);
	/* An exact copy, so that a read beyond it is noticed. */
	uint8_t *copy = malloc(w->len ? w->len : 1);

	if (!copy)
		abort();
	if (w->len)
		memcpy(copy, w->data, w->len);
	p.data = copy;
	p.len = w->len;
	p.offset = f->offset[dir];
	n = h->hook->payload(h->state, f, &p);
	if (n > 0 || (n == 0 && f->n_edits == 0)) {
		hh_pass(f, dir, copy, (size_t)n);
		w->len -= (size_t)n;
		if (w->len)
			memmove(w->data, w->data + n, w->len);
		f->offset[dir] += (uint64_t)n;
	}
	hh_drop_edits(f);
	free(copy);
	return n;
}

/** hh_datagram - what datagram() said; what goes on is in out[dir] */
static inline int hh_datagram(struct hh *h, struct weir_flow *f, enum weir_dir dir,
			      const void *data, size_t len)
{
	struct weir_datagram d = {.size = sizeof(d), .dir = dir, .data = data, .len = len};
	int rc;

	hh_now = h;
	rc = h->hook->datagram(h->state, f, &d);
	f->out[dir].len = 0;
	if (rc == WEIR_PASS)
		hh_pass(f, dir, data, len);
	hh_drop_edits(f);
	return rc;
}

static inline void hh_end(struct hh *h, struct weir_flow *f)
{
	hh_now = h;
	h->flow = NULL;
	if (h->hook->flow_close)
		h->hook->flow_close(h->state, f, &f->info);
	if (f->free_fn)
		f->free_fn(f->data);
	for (int d = 0; d < 2; d++) {
		free(f->waiting[d].data);
		free(f->out[d].data);
		free(f->injected[d].data);
	}
	hh_drop_edits(f);
	free(f);
}

/** hh_text - is what has gone on in @dir exactly @text? */
static inline bool hh_text(const struct weir_flow *f, enum weir_dir dir, const char *text)
{
	return f->out[dir].len == strlen(text) && !memcmp(f->out[dir].data, text, strlen(text));
}

#endif
