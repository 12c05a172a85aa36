/* SPDX-License-Identifier: MIT */
#include "workerhooks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "isolate.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "policy_host.h"

/* How old a hook's line may be (`weir hooks`). */
#define REFRESH_MS 500

/* --- what is known ----------------------------------------------------------------------- */

static void sees(void *ctx, const struct flow *f, struct hook_view *v)
{
	const struct workerhooks *wh = ctx;

	*v = relay_view(wh->relay, f);
}

static void learned(void *ctx, struct flow *f, const char *field, const char *value)
{
	struct workerhooks *wh = ctx;

	if (field)
		judge_learn(wh->relay, f, field, value);
	else
		judge_learn_done(wh->relay, f);
}

static int tag(void *ctx, struct flow *f, const char *text)
{
	struct workerhooks *wh = ctx;

	return judge_tag(wh->relay, f, text);
}

/** event - to the log, with what is known of the flow */
static int event(void *ctx, struct flow *f, const char *type, const char *json)
{
	struct workerhooks *wh = ctx;
	const struct hook_view v = relay_view(wh->relay, f);
	const size_t n = strlen(type) + 1, len = strlen(json) + 1;
	struct ipc_msg m = {.type = IPC_HOOK_EVENT, .count = 1};

	if (n + len > sizeof(m.event.text))
		return -EMSGSIZE;
	m.event.rec = *f->rec;
	str_copy(m.event.host, sizeof(m.event.host), v.host ? v.host : "");
	m.event.len = (uint32_t)(n + len);
	memcpy(m.event.text, type, n);
	memcpy(m.event.text + n, json, len);
	outbox_send(wh->outbox, &m);
	return 0;
}

static uint64_t now(void *ctx)
{
	const struct workerhooks *wh = ctx;

	return wh->relay->now;
}

/* --- timers ------------------------------------------------------------------------------- */

/** struct weir_timer - runs once, then frees itself */
struct weir_timer {
	uv_timer_t uv; /* the first: libuv gives it back in its callbacks */
	TAILQ_ENTRY(weir_timer) link;
	struct workerhooks *wh;
	void (*fn)(void *arg);
	void *arg;
};

static void timer_closed(uv_handle_t *handle)
{
	free((void *)handle);
}

static void timer_stop(struct weir_timer *t)
{
	TAILQ_REMOVE(&t->wh->timers, t, link);
	uv_close((uv_handle_t *)&t->uv, timer_closed);
}

static void timer_fires(uv_timer_t *handle)
{
	struct weir_timer *t = (void *)handle;
	void (*fn)(void *arg) = t->fn;
	void *arg = t->arg;

	timer_stop(t);
	fn(arg);
}

static struct weir_timer *timer(void *ctx, unsigned ms, void (*fn)(void *arg), void *arg)
{
	struct workerhooks *wh = ctx;
	struct weir_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->wh = wh;
	t->fn = fn;
	t->arg = arg;
	uv_timer_init(wh->loop, &t->uv);
	/* libuv's time is that of the last turn, which may have been long ago. */
	uv_update_time(wh->loop);
	uv_timer_start(&t->uv, timer_fires, ms, 0);
	TAILQ_INSERT_TAIL(&wh->timers, t, link);
	return t;
}

/* --- descriptors ---------------------------------------------------------------------------- */

struct weir_watch {
	uv_poll_t uv; /* the first */
	TAILQ_ENTRY(weir_watch) link;
	struct workerhooks *wh;
	void (*fn)(void *arg, unsigned events);
	void *arg;
};

static void watch_closed(uv_handle_t *handle)
{
	free((void *)handle);
}

/** watch_ready - an error is both: whoever reads or writes next will be told */
static void watch_ready(uv_poll_t *handle, int status, int events)
{
	struct weir_watch *w = (void *)handle;
	unsigned bits = 0;

	if (status < 0 || events & (UV_READABLE | UV_DISCONNECT))
		bits |= WEIR_READABLE;
	if (status < 0 || events & UV_WRITABLE)
		bits |= WEIR_WRITABLE;
	w->fn(w->arg, bits);
}

static int watch_set(struct weir_watch *w, unsigned events)
{
	int bits = (events & WEIR_READABLE ? UV_READABLE : 0) |
		   (events & WEIR_WRITABLE ? UV_WRITABLE : 0);

	*w->wh->rearmed = true;
	return bits ? uv_poll_start(&w->uv, bits, watch_ready) : uv_poll_stop(&w->uv);
}

static void watch_stop(struct weir_watch *w)
{
	TAILQ_REMOVE(&w->wh->watches, w, link);
	*w->wh->rearmed = true;
	uv_close((uv_handle_t *)&w->uv, watch_closed);
}

static struct weir_watch *watch(void *ctx, int fd, unsigned events,
				void (*fn)(void *arg, unsigned events), void *arg)
{
	struct workerhooks *wh = ctx;
	struct weir_watch *w = calloc(1, sizeof(*w));

	if (!w || uv_poll_init(wh->loop, &w->uv, fd)) {
		free(w);
		return NULL;
	}
	w->wh = wh;
	w->fn = fn;
	w->arg = arg;
	TAILQ_INSERT_TAIL(&wh->watches, w, link);
	if (!watch_set(w, events))
		return w;
	watch_stop(w);
	return NULL;
}

/* --- files and programs: the supervisor has them ------------------------------------------------
 */

/** struct hook_open - a file that a hook has asked for */
struct hook_open {
	TAILQ_ENTRY(hook_open) link;
	uint32_t id;
	void (*fn)(void *arg, int fd);
	void *arg;
};

/** ask - @text of @len bytes, with its NUL */
static int ask(struct workerhooks *wh, enum ipc_hook_what what, uint32_t id, unsigned hook,
	       int value, const char *text, size_t len)
{
	struct ipc_msg m = {.type = IPC_HOOK, .count = 1};

	if (!len || len > sizeof(m.hook.text))
		return -ENAMETOOLONG;
	m.hook.what = what;
	m.hook.id = id;
	m.hook.hook = hook;
	m.hook.value = value;
	m.hook.len = (uint32_t)len;
	memcpy(m.hook.text, text, len);
	outbox_send(wh->outbox, &m);
	return 0;
}

static int open_later(void *ctx, unsigned hook, const char *path, int flags,
		      void (*fn)(void *arg, int fd), void *arg)
{
	struct workerhooks *wh = ctx;
	struct hook_open *o = malloc(sizeof(*o));
	int rc;

	if (!o)
		return -ENOMEM;
	*o = (struct hook_open){.id = ++wh->next_open, .fn = fn, .arg = arg};
	rc = ask(wh, IPC_HOOK_OPEN, o->id, hook, flags, path, strlen(path) + 1);
	if (rc)
		free(o);
	else
		TAILQ_INSERT_TAIL(&wh->opens, o, link);
	return rc;
}

/** opened - answers come in the order of the questions, but for those of an older worker */
static void opened(struct workerhooks *wh, uint32_t id, int fd)
{
	struct hook_open *o = TAILQ_FIRST(&wh->opens);

	if (!o || o->id != id) {
		close_fd(&fd);
		return;
	}
	TAILQ_REMOVE(&wh->opens, o, link);
	o->fn(o->arg, fd);
	free(o);
}

void workerhooks_take(struct workerhooks *wh, const struct ipc_hook *h, int fd)
{
	const int result = h->value ? h->value : fd < 0 ? -EMFILE : fd;

	switch (h->what) {
	case IPC_HOOK_OPEN:
		opened(wh, h->id, result);
		break;
	case IPC_HOOK_PROCESS:
		hook_chain_connected(wh->relay->hooks, h->hook, result);
		break;
	case IPC_HOOK_RELOAD:
		hook_chain_reload(wh->relay->hooks);
		break;
	default:
		close_fd(&fd);
	}
}

/** ask_paths - each of them, of a list with blanks between */
static void ask_paths(struct workerhooks *wh, unsigned k, const char *paths)
{
	char path[IPC_HOOK_TEXT];

	while (paths && *(paths += strspn(paths, " "))) {
		const size_t n = strcspn(paths, " ");

		if (n < sizeof(path)) {
			memcpy(path, paths, n);
			path[n] = '\0';
			ask(wh, IPC_HOOK_PATH, 0, k, 0, path, n + 1);
		}
		paths += n;
	}
}

static void ask_process(struct workerhooks *wh, unsigned k, const char *const *argv)
{
	char words[IPC_HOOK_TEXT];
	size_t len = 0;

	for (; argv && *argv; argv++) {
		const size_t n = strlen(*argv) + 1;

		if (n > sizeof(words) - len) {
			log_warn("the command line of a hook's program is too long");
			return;
		}
		memcpy(words + len, *argv, n);
		len += n;
	}
	if (len)
		ask(wh, IPC_HOOK_PROCESS, 0, k, 0, words, len);
}

void workerhooks_ask(struct workerhooks *wh, struct outbox *outbox)
{
	const struct hook_chain *c = wh->relay->hooks;

	wh->outbox = outbox;
	for (unsigned k = 0; k < hook_chain_hooks(c); k++) {
		ask_paths(wh, k, hook_chain_paths(c, k));
		ask_process(wh, k, hook_chain_process(c, k));
	}
}

int workerhooks_allow(const struct hook_chain *c)
{
	char err[200];

	for (unsigned k = 0; k < hook_chain_hooks(c); k++) {
		const char *calls = hook_chain_syscalls(c, k), *name = hook_chain_stats(c, k)->name;
		int rc = calls ? isolate_worker_allow(calls, err, sizeof(err)) : 0;

		if (rc) {
			log_error("hook %s: %s", name, err);
			return rc;
		}
		if (calls)
			log_debug("hook %s: the worker may also call %s", name, calls);
	}
	return 0;
}

/* --- life ------------------------------------------------------------------------------------- */

void workerhooks_init(struct workerhooks *wh, struct relay *r, uv_loop_t *loop, bool *rearmed,
		      struct hook_stats *stats)
{
	wh->stats = stats;
	uv_timer_init(loop, &wh->refresh);
	wh->refresh.data = wh;
	wh->relay = r;
	wh->loop = loop;
	wh->rearmed = rearmed;
	TAILQ_INIT(&wh->timers);
	TAILQ_INIT(&wh->watches);
	TAILQ_INIT(&wh->opens);
}

/* --- scopes ---------------------------------------------------------------------------- */

static int scope_compile(const char *text, struct expr **e, char *err, size_t errsize)
{
	const struct expr_context ctx = {.user = policy_host()->user,
					 .group = policy_host()->group};
	struct expr_error where;
	int rc = expr_compile(&ctx, text, strlen(text), e, &where);

	if (rc == -EINVAL)
		snprintf(err, errsize, "if=: column %u: %s", where.column, where.text);
	else if (rc)
		snprintf(err, errsize, "if=: %s", strerror(-rc));
	return rc;
}

static enum expr_truth scope_holds(void *ctx, const struct expr *e, const struct flow *f)
{
	const struct workerhooks *wh = ctx;
	struct flow_facts ff;

	judge_facts(wh->relay, f, &ff);
	return expr_eval(e, facts_get, &ff);
}

const struct hook_scopes workerhooks_scopes = {
	.compile = scope_compile,
	.free = expr_free,
	.fields = expr_fields,
	.holds = scope_holds,
};

struct hook_env workerhooks_env(struct workerhooks *wh)
{
	return (struct hook_env){
		.view = sees,
		.clock = clock_mono_ns,
		.stats = wh->stats,
		.now = now,
		.scopes = &workerhooks_scopes,
		.learned = learned,
		.tag = tag,
		.event = event,
		.timer = timer,
		.timer_stop = timer_stop,
		.watch = watch,
		.watch_set = watch_set,
		.watch_stop = watch_stop,
		.open = open_later,
		.limit = wh->relay->cfg->flow_buffer,
		.total = wh->relay->cfg->total_buffer,
		.ctx = wh,
	};
}

static void refresh(uv_timer_t *handle)
{
	const struct workerhooks *wh = handle->data;

	hook_chain_refresh(wh->relay->hooks);
}

void workerhooks_turn(struct workerhooks *wh)
{
	const uint64_t calls = hook_chain_calls(wh->relay->hooks);

	if (calls == wh->calls || uv_is_active((uv_handle_t *)&wh->refresh))
		return;
	wh->calls = calls;
	uv_timer_start(&wh->refresh, refresh, REFRESH_MS, 0);
}

/** needs_names - rules may look at what it learns, also those of a later reload; and scopes may */
static bool needs_names(const struct config *cfg)
{
	bool needs = cfg->rules;

	for (unsigned i = 0; i < cfg->n_hooks; i++)
		needs |= strstr(cfg->hooks[i], "if=") != NULL;
	return needs && !(cfg->n_hooks && !strncmp(cfg->hooks[0], "names", 5));
}

static int load_all(struct hook_chain *c, const struct config *cfg)
{
	char err[512];

	if (needs_names(cfg)) {
		if (hook_chain_add(c, "names", err, sizeof(err))) {
			log_error("hook names: %s", err);
			return -EINVAL;
		}
		hook_chain_hush(c);
	}
	for (unsigned i = 0; i < cfg->n_hooks; i++) {
		int rc = hook_chain_add(c, cfg->hooks[i], err, sizeof(err));

		if (rc) {
			log_error("--hook %s: %s", cfg->hooks[i], *err ? err : strerror(-rc));
			return rc;
		}
	}
	return 0;
}

int workerhooks_load(struct hook_chain *c, const struct config *cfg, int cwd)
{
	int rc;

	if (cfg->n_hooks && cwd >= 0 && fchdir(cwd))
		log_debug("the directory that weir was started in is out of reach");
	rc = load_all(c, cfg);
	return chdir("/") ? -errno : rc;
}

void workerhooks_close(struct workerhooks *wh)
{
	uv_timer_stop(&wh->refresh);
	while (!TAILQ_EMPTY(&wh->opens)) {
		struct hook_open *o = TAILQ_FIRST(&wh->opens);

		TAILQ_REMOVE(&wh->opens, o, link);
		free(o);
	}
	while (!TAILQ_EMPTY(&wh->timers))
		timer_stop(TAILQ_FIRST(&wh->timers));
	while (!TAILQ_EMPTY(&wh->watches))
		watch_stop(TAILQ_FIRST(&wh->watches));
}
