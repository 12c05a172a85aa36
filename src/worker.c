/* SPDX-License-Identifier: MIT */
/*
 * worker: the loop around intercept.c.
 *
 * It waits in the epoll set of the flow sockets (netsock.h), in which the device
 * and libuv's own descriptor are members too: a packet or a payload costs one
 * epoll_wait(), and libuv, which has the supervisor's socket and the timers,
 * runs only when it has something to do (uv_backend_fd(3) is made for that).
 *
 * A turn: take the time, hand over what has come, and close the turn: gathered
 * datagrams, owner queries and reports go out, ended flows are freed.
 */
#include "worker.h"

#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "intercept.h"
#include "ipc.h"
#include "outbox.h"
#include "relay_in.h"
#include "owner_cache.h"
#include "relay_local.h"
#include "tun.h"
#include "workerctl.h"
#include "workerhooks.h"

#define NOTICE_KINDS 16
#define WALL_FRESH   (250 * NSEC_PER_MSEC) /* how long the wall clock may go unread */
#define SPIN_NS	     30000		   /* how long a wait is watched before it is slept */
#define SPIN_TRUST   16			   /* quick waits that count; at 0: no more watching */
#define SPIN_BYTES   8192 /* more in a turn: a transfer, which has other work to do */

struct notice_kind {
	const char *what;
	struct log_limit limit;
};

struct worker {
	struct intercept ic;
	const struct worker_args *args;
	struct stack_sink sink;
	struct workerhooks hooks;
	struct owner_cache *owners;
	struct outbox *outbox; /* messages to the supervisor */
	struct ipc_msg query;  /* owner queries gathered in this turn */
	uint64_t wall_offset, wall_read;
	uint64_t armed;	  /* the deadline that the timer is set for, 0 = none */
	uint64_t acks_at; /* when ACKs that wait for company go alone, 0 = none waits */
	int ipc_events;	  /* what the supervisor's socket is watched for */
	bool draining, drained, stopping;
	struct notice_kind notices[NOTICE_KINDS];
	uv_loop_t loop;
	uv_poll_t ipc;
	uv_timer_t tick, deadline;
	int trust;    /* how often waits have been quick lately, up to SPIN_TRUST */
	bool more;    /* work is left that no event will bring back */
	bool refused; /* a hook did not like what it was told */
	bool rearmed; /* libuv has to tell its epoll set: that happens in uv_run() */
};

static void begin_turn(struct worker *w)
{
	uint64_t now = clock_mono_ns();

	if (now - w->wall_read >= WALL_FRESH) {
		w->wall_read = now;
		w->wall_offset = clock_wall_ns() - now;
	}
	intercept_now(&w->ic, now, now + w->wall_offset);
}

/* --- to the supervisor -------------------------------------------------------------- */

static void flush_queries(struct worker *w)
{
	if (!w->query.count)
		return;
	w->query.type = IPC_OWNER_QUERY;
	outbox_send(w->outbox, &w->query);
	w->query.count = 0;
}

static void ask_owner(void *ctx, struct flow *f)
{
	struct worker *w = ctx;
	struct ipc_query *q = &w->query.query[w->query.count++];

	*q = (struct ipc_query){
		.flow = flow_ref(f),
		.q = {.proto = f->rec->proto,
		      .again = f->rec->state != FLOW_NEW && !f->rec->inbound,
		      .listens = f->rec->inbound && f->rec->state == FLOW_NEW,
		      .app = f->rec->app,
		      .net = f->rec->net},
	};
	if (f->rec->icmp_ident)
		q->q.app.port = f->rec->icmp_ident;
	if (w->query.count == IPC_BATCH)
		flush_queries(w);
}

static void tell_flow(struct worker *w, const struct flow *f, enum ipc_type type, uint32_t what,
		      uint32_t rule)
{
	const struct learnt *learnt = w->args->shared_learnt;
	const struct hook_view v = relay_view(&w->ic.relay, f);
	struct ipc_msg m;

	m.type = type;
	m.count = f->rec->learnt ? 2 : 1;
	m.flow.rec = *f->rec;
	m.flow.what = what;
	m.flow.rule = rule;
	str_copy(m.flow.host, sizeof(m.flow.host), v.host ? v.host : "");
	if (f->rec->learnt)
		m.flow.learnt = learnt[f->index];
	outbox_send(w->outbox, &m);
}

static void flow_ended(void *ctx, struct flow *f)
{
	struct worker *w = ctx;

	tell_flow(w, f, IPC_FLOW_END, 0, 0);
	owner_cache_drop(w->owners, f->owner);
	f->owner = NULL;
}

static void flow_opened(void *ctx, struct flow *f)
{
	struct worker *w = ctx;

	if (w->args->tell_open)
		tell_flow(w, f, IPC_FLOW_OPEN, 0, 0);
}

static void flow_event(void *ctx, struct flow *f, enum judge_event what, uint32_t rule)
{
	tell_flow(ctx, f, IPC_FLOW_EVENT, what, rule);
}

static struct log_limit *notice_limit(struct worker *w, const char *what)
{
	struct notice_kind *k = w->notices;

	for (; k < w->notices + NOTICE_KINDS - 1 && k->what; k++) {
		if (!strcmp(k->what, what))
			return &k->limit;
	}
	k->what = what;
	return &k->limit;
}

__attribute__((format(printf, 3, 4))) static void notice(void *ctx, const char *what,
							 const char *fmt, ...)
{
	struct worker *w = ctx;
	struct ipc_msg m = {.type = IPC_NOTICE};
	uint64_t held;
	va_list ap;
	size_t n;

	if (!log_limit_pass(notice_limit(w, what), w->ic.relay.now, &held))
		return;
	va_start(ap, fmt);
	vsnprintf(m.text, sizeof(m.text), fmt, ap);
	va_end(ap);
	n = strlen(m.text);
	if (held)
		snprintf(m.text + n, sizeof(m.text) - n, " (and %llu more times)",
			 (unsigned long long)held);
	m.count = (uint32_t)strlen(m.text);
	outbox_send(w->outbox, &m);
}

/* --- from the supervisor -------------------------------------------------------------- */

static void check_drained(struct worker *w)
{
	struct ipc_msg m = {.type = IPC_DRAINED};

	if (!w->draining || w->drained || !intercept_idle(&w->ic))
		return;
	w->drained = true;
	outbox_send(w->outbox, &m);
}

static void take_answers(struct worker *w, const struct ipc_msg *m)
{
	for (uint32_t i = 0; i < m->count; i++) {
		const struct ipc_answer *a = &m->answer[i];
		const struct owner *o = owner_cache_hold(w->owners, a->a.owner);

		owner_cache_drop(w->owners, intercept_owner(&w->ic, a->flow, &a->a, o));
	}
}

/** take_resolver - bound inside since we were started; @fds are its sockets */
static void take_resolver(struct worker *w, const struct ipc_resolver *r, const int *fds)
{
	const struct sandbox_dns d = {
		.addr = r->inside,
		.outside = r->outside,
		.udp_fd = fds[0],
		.tcp_fd = fds[1],
	};
	int rc = relay_local_add(&w->ic.relay, &d);

	if (rc)
		log_warn("a new resolver can't be relayed: %s", strerror(-rc));
}

static void take_listener(struct worker *w, const struct listener *l, int fd)
{
	int rc;

	if (fd >= 0 && !l->steered &&
	    hook_chain_listen(w->ic.relay.hooks, l->proto, &l->app, false)) {
		notice(w, "listen", "port %u is not served: a hook forbids it", l->host.port);
		close(fd);
		return;
	}
	rc = fd < 0 ? -EBADF : relay_in_add(&w->ic.relay, l, fd);

	if (rc)
		notice(w, "listen", "port %u can't be served: %s", l->host.port, strerror(-rc));
}

static void take_rules(struct worker *w, const struct ipc_rules *rules, int fd)
{
	if (fd < 0)
		notice(w, "rules", "the new rules did not come, the old ones are used");
	else
		judge_change(&w->ic.relay, fd, rules->number);
}

/** ordered - the flow that @o means, if it is still there */
static struct flow *ordered(struct worker *w, const struct ipc_order *o)
{
	struct flow *f = flow_get(w->ic.relay.flows, o->flow);

	return f && f->rec->id == o->id && f->rec->reason == FLOW_ENDED_NOT ? f : NULL;
}

static void take_orders(struct worker *w, const struct ipc_msg *m)
{
	struct relay *r = &w->ic.relay;

	for (uint32_t i = 0; i < m->count; i++) {
		struct flow *f = ordered(w, &m->order[i]);

		if (!f)
			continue;
		if (m->type == IPC_DECIDE)
			judge_decide(r, f,
				     m->order[i].verdict == FLOW_ALLOW ? FLOW_ALLOW : FLOW_BLOCK);
		else if (m->type == IPC_KILL)
			judge_kill(r, f);
		else
			ask_owner(w, f);
	}
}

static void take_message(struct worker *w, const struct ipc_msg *m, const int *fds)
{
	switch (m->type) {
	case IPC_OWNER:
		if (owner_cache_add(w->owners, &m->owner) < 0)
			log_warn("no memory for a process's description");
		break;
	case IPC_OWNER_ANSWER:
		take_answers(w, m);
		break;
	case IPC_RESOLVER:
		take_resolver(w, &m->resolver, fds);
		break;
	case IPC_LISTEN:
		take_listener(w, &m->listener, fds[0]);
		break;
	case IPC_HOOK:
		workerhooks_take(&w->hooks, &m->hook, fds[0]);
		break;
	case IPC_UNLISTEN:
		if (!m->listener.steered)
			hook_chain_listen(w->ic.relay.hooks, m->listener.proto, &m->listener.app,
					  true);
		relay_in_remove(&w->ic.relay, m->listener.id);
		break;
	case IPC_RULES:
		take_rules(w, &m->rules, fds[0]);
		break;
	case IPC_DECISION:
		judge_remember(&w->ic.relay, &m->decision);
		break;
	case IPC_FORGET:
		judge_forget(&w->ic.relay, m->count);
		break;
	case IPC_DECIDE:
	case IPC_KILL:
	case IPC_LOOK:
		take_orders(w, m);
		break;
	case IPC_WATCH:
		judge_watch(w->ic.relay.judge, m->count != 0);
		break;
	case IPC_DRAIN:
		w->draining = w->ic.relay.draining = true;
		relay_in_close(&w->ic.relay);
		while (intercept_tun(&w->ic))
			; /* what the programs wrote last is in the device's queue */
		break;
	case IPC_STOP:
		w->stopping = true;
		break;
	}
}

static void on_ipc(uv_poll_t *handle, int status, int events)
{
	struct worker *w = handle->data;
	int fds[IPC_FDS_MAX], rc;
	struct ipc_msg m;

	(void)status;
	begin_turn(w);
	if (events & UV_WRITABLE)
		outbox_flush(w->outbox);
	while ((rc = ipc_recv_fds(w->args->ipc_fd, &m, fds)) == 1)
		take_message(w, &m, fds);
	if (rc != -EAGAIN) /* the supervisor is gone, or not itself */
		w->stopping = true;
}

/* --- the loop ---------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *handle)
{
	struct worker *w = handle->data;

	begin_turn(w);
	intercept_tick(&w->ic);
	if (!intercept_wants_tick(&w->ic))
		uv_timer_stop(handle);
}

/** arm_tick - an idle worker sleeps */
static void arm_tick(struct worker *w)
{
	if (!uv_is_active((uv_handle_t *)&w->tick) && intercept_wants_tick(&w->ic))
		uv_timer_start(&w->tick, on_tick, ENGINE_TICK_MS, ENGINE_TICK_MS);
}

static void on_deadline(uv_timer_t *handle)
{
	struct worker *w = handle->data;

	begin_turn(w);
	w->armed = 0;
	intercept_deadlines(&w->ic);
}

static void arm_deadline(struct worker *w)
{
	uint64_t next = timers_next(w->ic.relay.timers), now;

	if (next == w->armed)
		return;
	w->armed = next;
	now = clock_mono_ns();
	if (!next) {
		uv_timer_stop(&w->deadline);
		return;
	}
	/* One millisecond too late is right, too early would come back for nothing. */
	uv_timer_start(&w->deadline, on_deadline, next > now ? (next - now) / NSEC_PER_MSEC + 1 : 0,
		       0);
}

/** arm_ipc - uv_poll_start() costs two system calls, so only when something changes */
static void arm_ipc(struct worker *w)
{
	int want = UV_READABLE | (outbox_empty(w->outbox) ? 0 : UV_WRITABLE);

	if (want == w->ipc_events)
		return;
	w->ipc_events = want;
	w->rearmed = true;
	uv_poll_start(&w->ipc, want, on_ipc);
}

static void end_turn(struct worker *w)
{
	w->more = intercept_turn_end(&w->ic);
	workerhooks_turn(&w->hooks);
	check_drained(w);
	flush_queries(w);
	outbox_flush(w->outbox);
	arm_ipc(w);
	arm_deadline(w);
	arm_tick(w);
	if (!engine_acks_owed())
		w->acks_at = 0;
	else if (!w->acks_at)
		w->acks_at = w->ic.relay.now + ENGINE_ACK_MS * NSEC_PER_MSEC;
}

static int start_loop(struct worker *w)
{
	const struct worker_args *a = w->args;
	struct netsock_set *socks = w->ic.relay.socks;
	int rc = uv_poll_init(&w->loop, &w->ipc, a->ipc_fd);

	if (!rc)
		rc = netsock_watch_level(socks, uv_backend_fd(&w->loop),
					 netsock_token(NETSOCK_LOOP, 0, 0));
	if (!rc)
		rc = netsock_watch_level(socks, a->sandbox->tun_fd,
					 netsock_token(NETSOCK_TUN, 0, 0));
	if (rc)
		return rc;
	uv_timer_init(&w->loop, &w->tick);
	uv_timer_init(&w->loop, &w->deadline);
	w->ipc.data = w->tick.data = w->deadline.data = w;
	return 0;
}

/** open_gates - after the lock-down: from here hostile bytes are read */
static void open_gates(struct worker *w)
{
	struct ipc_msg ready = {.type = IPC_READY};

	outbox_send(w->outbox, &ready);
	arm_ipc(w);
}

/**
 * wait_ms - how long nothing has to be done, for epoll_wait()
 *
 * An ACK that waits is no timer of libuv's: most are gone again before one would be
 * armed and disarmed.
 */
static int wait_ms(const struct worker *w)
{
	int ms = uv_backend_timeout(&w->loop);

	if (w->more || w->rearmed)
		return 0;
	return w->acks_at && (ms < 0 || ms > ENGINE_ACK_MS) ? ENGINE_ACK_MS : ms;
}

/** watch_events - what comes until @until; others may have the core in between */
static int watch_events(struct netsock_set *socks, struct epoll_event *ev, uint64_t until)
{
	int n;

	do {
		n = netsock_set_wait(socks, ev, INTERCEPT_BATCH, 0);
		if (!n)
			sched_yield();
	} while (!n && clock_mono_ns() < until);
	return n;
}

/**
 * wait_events - the next events, by watching for a moment or by sleeping
 *
 * A program that exchanges small messages with a near peer lets the worker wait for some
 * microseconds only. To sleep and be woken takes longer than that, twice a round trip, so
 * while waits have been that short the worker looks again instead, and leaves the core to
 * whoever wants it in between. A transfer gains nothing from that: what it waits for needs
 * the core.
 */
static int wait_events(struct worker *w, struct epoll_event *ev)
{
	struct netsock_set *socks = w->ic.relay.socks;
	int ms = wait_ms(w), n;
	size_t moved = w->ic.relay.moved;
	uint64_t until;

	w->ic.relay.moved = 0;
	if (!ms)
		return netsock_set_wait(socks, ev, INTERCEPT_BATCH, 0);
	until = clock_mono_ns() + SPIN_NS;
	if (w->trust > 0 && moved < SPIN_BYTES) {
		n = watch_events(socks, ev, until);
		w->trust = n ? MIN(w->trust + 1, SPIN_TRUST) : w->trust - SPIN_TRUST / 4;
		return n ? n : netsock_set_wait(socks, ev, INTERCEPT_BATCH, ms);
	}
	n = netsock_set_wait(socks, ev, INTERCEPT_BATCH, ms);
	w->trust = clock_mono_ns() > until ? 0 : MIN(w->trust + 1, SPIN_TRUST);
	return n;
}

/** turn - wait, and handle what has come; libuv's part when its time or event has come */
static void turn(struct worker *w)
{
	struct epoll_event ev[INTERCEPT_BATCH];
	bool tun = false, loop = w->rearmed;
	int n;

	n = wait_events(w, ev);
	begin_turn(w);
	for (int i = 0; i < n; i++) {
		enum netsock_kind kind = netsock_token_kind(ev[i].data.u64);

		tun |= kind == NETSOCK_TUN;
		loop |= kind == NETSOCK_LOOP;
		intercept_event(&w->ic, &ev[i]);
	}
	if (tun)
		intercept_tun(&w->ic); /* level-triggered: what is left comes again */
	if (w->acks_at && w->ic.relay.now >= w->acks_at) {
		w->acks_at = 0;
		engine_flush_acks();
	}
	loop |= w->rearmed; /* also by what has just been handled */
	w->rearmed = false;
	uv_update_time(&w->loop);
	if (loop || uv_backend_timeout(&w->loop) == 0)
		uv_run(&w->loop, UV_RUN_NOWAIT);
	end_turn(w);
}

static void close_handle(uv_handle_t *h, void *arg)
{
	(void)arg;
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

static void stop_loop(struct worker *w)
{
	uv_walk(&w->loop, close_handle, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	uv_loop_close(&w->loop);
}

/* --- birth ---------------------------------------------------------------------------------- */

static void set_dest(struct relay *r, const struct config *cfg, const struct sandbox *s)
{
	r->dest.loop4 = cfg->host_loopback4;
	r->dest.loop6 = cfg->host_loopback6;
	r->dest.host4 = cfg->host_addr4;
	r->dest.host6 = cfg->host_addr6;
	for (unsigned i = 0; i < s->n_inside; i++)
		r->dest.inside[r->dest.n_inside++] = s->inside[i];
	/* Documentation addresses are nobody's: nothing of the host's answers there. */
	if (!s->documentation) {
		r->dest.own4 = s->own4;
		r->dest.own6 = s->own6;
	}
}

static struct timers_config timers_of(const struct config *cfg)
{
	return (struct timers_config){
		.udp_idle = cfg->udp_timeout * NSEC_PER_SEC,
		.dns_idle = MIN(cfg->udp_timeout, 30U) * NSEC_PER_SEC,
		.icmp_idle = 60 * NSEC_PER_SEC,
		.tcp_closing = 240 * NSEC_PER_SEC,
		.owner_wait = NSEC_PER_SEC,
	};
}

/** make_tables - everything of fixed size, before the lock-down */
static int make_tables(struct worker *w)
{
	const struct worker_args *a = w->args;
	const struct timers_config tc = timers_of(a->cfg);
	const struct flow_table_config fc = {
		.max_flows = a->cfg->max_flows,
		.shared = a->shared_flows,
	};
	const struct judge_config jc = {
		.tally = a->shared_tally,
		.learnt = a->shared_learnt,
		.before_connect = a->cfg->judge_before_connect,
		.netns = a->netns,
	};
	struct relay *r = &w->ic.relay;
	struct hook_env he;

	netsock_dgram_beside(a->sandbox->beside);
	w->ic.tun_fd = a->sandbox->tun_fd;
	w->sink = (struct stack_sink){.write = tun_write, .ctx = &w->ic.tun_fd};
	*r = (struct relay){
		.cfg = a->cfg,
		.flows = flow_table_new(&fc),
		.timers = timers_new(&tc, flow_table_entries(a->cfg->max_flows)),
		.judge = judge_new(&jc),
		.names = names_new(WORKER_NAMES_MAX, a->shared_names),
		.socks = netsock_set_new(),
		.sink = &w->sink,
		.uso = a->sandbox->uso,
		.mtu = a->sandbox->mtu,
		.ask_owner = ask_owner,
		.notice = notice,
		.flow_ended = flow_ended,
		.flow_opened = flow_opened,
		.flow_event = flow_event,
		.ctx = w,
	};
	workerhooks_init(&w->hooks, r, &w->loop, &w->rearmed, a->shared_hooks);
	he = workerhooks_env(&w->hooks);
	r->hooks = hook_chain_new(&he);
	w->owners = owner_cache_new();
	w->outbox = outbox_new(a->ipc_fd);
	if (!r->flows || !r->timers || !r->hooks || !r->judge || !r->names || !r->socks ||
	    !w->owners || !w->outbox)
		return -ENOMEM;
	set_dest(r, a->cfg, a->sandbox);
	return 0;
}

static int make_stack(struct worker *w)
{
	const struct worker_args *a = w->args;
	const struct engine_config ec = {
		.sink = &w->sink,
		.gso = a->sandbox->tso,
		.mtu = a->sandbox->mtu,
		.send_buffer = (unsigned)MIN(a->cfg->flow_buffer, (size_t)1 << 20),
	};
	int rc = engine_init(&ec);

	if (rc) {
		log_error("this lwIP is not the one weir was built for (self-test failed)");
		return rc;
	}
	return intercept_init(&w->ic);
}

/** make_rules - those that are in force; before the first packet */
static int make_rules(struct worker *w)
{
	const struct worker_args *a = w->args;
	struct relay *r = &w->ic.relay;
	int rc = 0;

	begin_turn(w);
	judge_watch(r->judge, a->watched);
	if (a->rules_fd >= 0)
		rc = judge_use(r, a->rules_fd, a->rules_number);
	for (unsigned i = a->decisions->n; !rc && i-- > 0;)
		rc = judge_remember(r, &a->decisions->list[i]);
	return rc;
}

static int set_up(struct worker *w)
{
	int rc;

	/* Blocks of 64 KiB come and go with every segment: keep them in the heap. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	mallopt(M_TOP_PAD, 1 << 20);
	rc = uv_loop_init(&w->loop); /* the hooks' timers are in it, too */
	if (!rc)
		rc = make_tables(w);
	if (!rc) {
		rc = workerhooks_load(w->ic.relay.hooks, w->args->cfg, w->args->cwd_fd);
		w->refused = rc == -EINVAL || rc == -ENOENT;
	}
	close(w->args->cwd_fd);
	if (!rc)
		rc = make_stack(w);
	if (!rc)
		rc = make_rules(w);
	if (!rc)
		rc = relay_local_new(&w->ic.relay, w->args->sandbox->dns, w->args->sandbox->n_dns);
	if (!rc)
		rc = start_loop(w);
	return rc;
}

static void report_line(void *ctx, const char *line)
{
	struct worker *w = ctx;
	struct ipc_msg m = {.type = IPC_NOTICE};

	m.count = (uint32_t)str_copy(m.text, sizeof(m.text), line);
	outbox_send(w->outbox, &m);
}

static void tear_down(struct worker *w)
{
	struct relay *r = &w->ic.relay;

	begin_turn(w);
	intercept_stop(&w->ic);
	hook_chain_report(r->hooks, report_line, w);
	outbox_finish(w->outbox);
	if (outbox_lost(w->outbox))
		log_warn("%llu records of flows are lost: there were too many at once",
			 (unsigned long long)outbox_lost(w->outbox));
	hook_chain_free(r->hooks);
	workerhooks_close(&w->hooks);
	stop_loop(w);
	relay_local_free(r);
	intercept_exit(&w->ic);
	engine_exit();
	outbox_free(w->outbox);
	owner_cache_free(w->owners);
	netsock_set_free(r->socks);
	names_free(r->names);
	judge_free(r->judge);
	timers_free(r->timers);
	flow_table_free(r->flows);
	pktbuf_drain();
}

int worker_main(const struct worker_args *args)
{
	static struct worker w; /* too large for a stack */
	char err[256];
	int rc;

	w.args = args;
	rc = set_up(&w);
	if (w.refused)
		return WORKER_REFUSED;
	if (rc) {
		log_error("worker cannot start: %s", strerror(-rc));
		return 1;
	}
	workerhooks_ask(&w.hooks, w.outbox);
	if (workerhooks_allow(w.ic.relay.hooks))
		return 1;
	if (isolate_worker_lock(args->user, err, sizeof(err)) < 0) {
		log_error("worker cannot give up its privileges: %s", err);
		return 1;
	}
	hook_chain_locked(w.ic.relay.hooks);
	open_gates(&w);
	while (!w.stopping)
		turn(&w);
	tear_down(&w);
	return 0;
}
