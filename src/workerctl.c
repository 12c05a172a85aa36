/* SPDX-License-Identifier: MIT */
#include "workerctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "broker.h"
#include "ipc.h"
#include "owner_cache.h"
#include "owner_sockdiag.h"
#include "worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

/* Messages handled before signals get their turn again. */
#define SERVICE_BATCH 64
/* Crashes that are put up with in a span of time; a loop of crashes helps nobody. */
#define CRASH_MAX     5
#define CRASH_SPAN_NS (10 * NSEC_PER_SEC)
/* Lost flows named one by one; the flow log has all of them. */
#define CRASH_LINES 10
/* Bytes on their way to and from the worker: a burst of ended flows fits. */
#define IPC_BUFFER (4 << 20)
/* Descriptors of a worker besides one for each flow. */
#define NOFILE_SPARE 256

/** struct waiting - a message that the worker's socket had no room for */
struct waiting {
	struct waiting *next;
	int fd; /* owned: goes with it; or -1 */
	struct ipc_msg msg;
};

struct workerctl {
	struct workerctl_env env;
	void *flows, *names; /* shared with the worker */
	struct hook_stats *hooks;
	struct learnt *learnt;
	struct tally *tally; /* outlives workers */
	size_t flows_size, names_size;
	bool watched; /* somebody wants to hear of flows that are refused */
	pid_t pid;
	int ipc_fd;
	bool ready, drained, draining;
	bool worked;		/* this worker or one before it became ready */
	struct owner_sent told; /* owners that this worker has */
	unsigned n_dns;		/* resolvers that it has, or that are on their way to it */
	struct waiting *first, **last;
	struct broker *broker;	   /* NULL: there are no hooks */
	uint64_t crash[CRASH_MAX]; /* when the last ones were, oldest first */
};

static void give_listener(void *ctx, const struct listener *l, int fd);
static void take_listener(void *ctx, const struct listener *l);
static void give_hook(void *ctx, const struct ipc_hook *h, int fd);

/* --- life ------------------------------------------------------------------------ */

static void *map_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static size_t learnt_bytes(const struct workerctl *w)
{
	return learnt_size(flow_table_entries(w->env.cfg->max_flows));
}

struct workerctl *workerctl_new(const struct workerctl_env *env)
{
	struct workerctl *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->env = *env;
	w->ipc_fd = -1;
	w->last = &w->first;
	w->flows_size = flow_table_shared_size(env->cfg->max_flows);
	w->names_size = names_shared_size(WORKER_NAMES_MAX);
	w->flows = map_shared(w->flows_size);
	w->names = map_shared(w->names_size);
	w->hooks = map_shared(HOOK_CHAIN_MAX * sizeof(*w->hooks));
	w->learnt = map_shared(learnt_bytes(w));
	w->tally = map_shared(sizeof(*w->tally));
	if (!w->flows || !w->names || !w->hooks || !w->learnt || !w->tally ||
	    tally_start(w->tally)) {
		workerctl_free(w);
		return NULL;
	}
	const struct broker_ops bo = {.give = give_hook, .ctx = w};

	if (env->starter && broker_new(&w->broker, env->user, env->starter, &bo)) {
		workerctl_free(w);
		return NULL;
	}

	const struct publish_ops ops = {.add = give_listener, .remove = take_listener, .ctx = w};

	publish_start(env->publish, &ops); /* nobody gets anything yet: there is no worker */
	return w;
}

static void forget_waiting(struct workerctl *w)
{
	while (w->first) {
		struct waiting *m = w->first;

		w->first = m->next;
		close_fd(&m->fd);
		free(m);
	}
	w->last = &w->first;
}

void workerctl_end(struct workerctl *w)
{
	if (!w)
		return;
	if (w->pid) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
		w->pid = 0;
	}
	close_fd(&w->ipc_fd);
}

void workerctl_free(struct workerctl *w)
{
	if (!w)
		return;
	workerctl_end(w);
	broker_free(w->broker);
	forget_waiting(w);
	if (w->flows)
		munmap(w->flows, w->flows_size);
	if (w->names)
		munmap(w->names, w->names_size);
	if (w->hooks)
		munmap(w->hooks, HOOK_CHAIN_MAX * sizeof(*w->hooks));
	if (w->learnt)
		munmap(w->learnt, learnt_bytes(w));
	if (w->tally)
		munmap(w->tally, sizeof(*w->tally));
	free(w);
}

size_t workerctl_nofile(const struct config *cfg)
{
	return flow_table_entries(cfg->max_flows) + (size_t)NOFILE_SPARE;
}

static _Noreturn void worker_child(const struct workerctl *w, int ipc_fd)
{
	const struct sandbox *s = w->env.sandbox;
	const struct worker_args args = {
		.cfg = w->env.cfg,
		.sandbox = s,
		.ipc_fd = ipc_fd,
		.cwd_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC),
		.shared_flows = w->flows,
		.shared_names = w->names,
		.shared_hooks = w->hooks,
		.shared_learnt = w->learnt,
		.shared_tally = w->tally,
		.rules_fd = w->env.rules->fd,
		.rules_number = w->env.rules->number,
		.decisions = w->env.decisions,
		.netns = w->env.netns,
		.watched = w->watched,
		.user = w->env.user,
		.tell_open = w->env.cfg->live,
	};
	int keep[5 + 2 * SANDBOX_DNS_MAX] = {2, ipc_fd, s->tun_fd, args.cwd_fd};
	size_t n = 4;

	if (args.rules_fd >= 0)
		keep[n++] = args.rules_fd;

	for (unsigned i = 0; i < s->n_dns; i++) {
		keep[n++] = s->dns[i].udp_fd;
		keep[n++] = s->dns[i].tcp_fd;
	}
	int r = w->env.netns_fd && setns(*w->env.netns_fd, CLONE_NEWNET) ? -errno : 0;

	if (!r)
		r = isolate_worker_early(keep, n, workerctl_nofile(w->env.cfg));
	if (r)
		log_error("worker cannot start: %s", strerror(-r));
	exit(r ? 1 : worker_main(&args));
}

/** fresh - what the last worker has written or was told is not the next one's */
static void fresh(struct workerctl *w)
{
	forget_waiting(w);
	w->told.next = 0;
	broker_fresh(w->broker);
	/* gives the pages back as well; memset() would touch all of them */
	if (madvise(w->flows, w->flows_size, MADV_REMOVE))
		memset(w->flows, 0, w->flows_size);
	if (madvise(w->names, w->names_size, MADV_REMOVE))
		memset(w->names, 0, w->names_size);
	memset(w->hooks, 0, HOOK_CHAIN_MAX * sizeof(*w->hooks));
	w->ready = w->drained = false;
}

int workerctl_start(struct workerctl *w)
{
	const int size = IPC_BUFFER;
	int pair[2], r = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return -errno;
	for (int i = 0; i < 2; i++) {
		if (setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
			setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	w->n_dns = w->env.sandbox->n_dns;
	w->pid = fork();
	if (w->pid == 0)
		worker_child(w, pair[1]);
	close(pair[1]);
	if (w->pid < 0) {
		r = -errno;
		w->pid = 0;
		close_fd(&pair[0]);
	}
	w->ipc_fd = pair[0];
	if (!r)
		publish_again(w->env.publish);
	return r;
}

int workerctl_fd(const struct workerctl *w)
{
	return w->ipc_fd;
}

pid_t workerctl_pid(const struct workerctl *w)
{
	return w->pid;
}

bool workerctl_ready(const struct workerctl *w)
{
	return w->ready;
}

bool workerctl_drained(const struct workerctl *w)
{
	return w->drained;
}

/* --- to the worker ------------------------------------------------------------------ */

/** send_one - a message with the descriptors that belong to it (@fd: its only one); 0 or -errno */
static int send_one(const struct workerctl *w, const struct ipc_msg *m, int fd)
{
	const struct sandbox_dns *d = w->env.sandbox->dns;

	if (m->type == IPC_LISTEN || m->type == IPC_RULES || (m->type == IPC_HOOK && fd >= 0))
		return ipc_send_fds(w->ipc_fd, m, &fd, 1);
	if (m->type != IPC_RESOLVER)
		return ipc_send(w->ipc_fd, m);
	d += m->resolver.slot;
	return ipc_send_fds(w->ipc_fd, m, (const int[]){d->udp_fd, d->tcp_fd}, 2);
}

/**
 * push_fd - in order, nothing is lost; while messages wait no more queries are read
 * @fd: goes along with IPC_LISTEN and IPC_RULES, and stays the caller's; else -1
 */
static void push_fd(struct workerctl *w, const struct ipc_msg *m, int fd)
{
	struct waiting *e;

	if (w->ipc_fd < 0)
		return;
	if (!w->first && send_one(w, m, fd) != -EAGAIN)
		return; /* sent, or the worker is gone: its end is seen elsewhere */
	e = malloc(sizeof(*e));
	if (!e) {
		log_warn("out of memory: an answer to the worker is lost");
		return;
	}
	e->next = NULL;
	e->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	memcpy(&e->msg, m, ipc_size(m));
	*w->last = e;
	w->last = &e->next;
}

static void push(struct workerctl *w, const struct ipc_msg *m)
{
	push_fd(w, m, -1);
}

static void push_waiting(struct workerctl *w)
{
	while (w->first) {
		struct waiting *e = w->first;

		if (send_one(w, &e->msg, e->fd) == -EAGAIN)
			return;
		close_fd(&e->fd);
		w->first = e->next;
		if (!w->first)
			w->last = &w->first;
		free(e);
	}
}

static void push_empty(struct workerctl *w, enum ipc_type type)
{
	const struct ipc_msg m = {.type = type};

	push(w, &m);
}

void workerctl_resolvers(struct workerctl *w)
{
	const struct sandbox *s = w->env.sandbox;

	for (; w->pid && w->n_dns < s->n_dns; w->n_dns++) {
		const struct ipc_msg m = {
			.type = IPC_RESOLVER,
			.count = 1,
			.resolver = {w->n_dns, s->dns[w->n_dns].addr, s->dns[w->n_dns].outside},
		};

		push(w, &m);
	}
}

static void give_listener(void *ctx, const struct listener *l, int fd)
{
	const struct ipc_msg m = {.type = IPC_LISTEN, .count = 1, .listener = *l};

	push_fd(ctx, &m, fd);
}

static void take_listener(void *ctx, const struct listener *l)
{
	const struct ipc_msg m = {.type = IPC_UNLISTEN, .count = 1, .listener = *l};

	push(ctx, &m);
}

static void give_hook(void *ctx, const struct ipc_hook *h, int fd)
{
	const struct ipc_msg m = {.type = IPC_HOOK, .count = 1, .hook = *h};

	push_fd(ctx, &m, fd);
}

void workerctl_reload(struct workerctl *w)
{
	const struct ipc_hook h = {.what = IPC_HOOK_RELOAD};

	give_hook(w, &h, -1);
}

int workerctl_starter_fd(const struct workerctl *w)
{
	return broker_fd(w->broker);
}

void workerctl_rules(struct workerctl *w)
{
	const struct ruleset_use *u = w->env.rules;
	const struct ipc_msg m = {.type = IPC_RULES, .count = 1, .rules = {u->number}};

	push_fd(w, &m, u->fd);
}

void workerctl_decision(struct workerctl *w, const struct decision *d)
{
	const struct ipc_msg m = {.type = IPC_DECISION, .count = 1, .decision = *d};

	push(w, &m);
}

void workerctl_forget(struct workerctl *w, uint32_t number)
{
	const struct ipc_msg m = {.type = IPC_FORGET, .count = number};

	push(w, &m);
}

void workerctl_order(struct workerctl *w, enum ipc_type type, const struct ipc_order *order,
		     size_t n)
{
	for (size_t done = 0, part; done < n; done += part) {
		struct ipc_msg m = {.type = type};

		part = MIN(n - done, (size_t)IPC_BATCH);
		m.count = (uint32_t)part;
		memcpy(m.order, order + done, part * sizeof(*order));
		push(w, &m);
	}
}

void workerctl_watch(struct workerctl *w, bool on)
{
	const struct ipc_msg m = {.type = IPC_WATCH, .count = on};

	if (on != w->watched)
		push(w, &m);
	w->watched = on;
}

const struct tally *workerctl_tally(const struct workerctl *w)
{
	return w->tally;
}

uint64_t workerctl_look(struct workerctl *w, uint64_t now)
{
	const uint64_t ports = publish_poll(w->env.publish, w->env.db, w->env.diag_fd, now);
	const uint64_t programs = broker_look(w->broker, now);

	return ports && programs ? MIN(ports, programs) : ports + programs;
}

void workerctl_drain(struct workerctl *w)
{
	publish_stop(w->env.publish);
	w->draining = true;
	push_empty(w, IPC_DRAIN);
}

void workerctl_stop(struct workerctl *w)
{
	push_empty(w, IPC_STOP);
}

void workerctl_kill(struct workerctl *w)
{
	if (w->pid)
		kill(w->pid, SIGKILL);
}

/* --- from the worker ----------------------------------------------------------------- */

static void answer(struct workerctl *w, const struct ipc_msg *m)
{
	struct ipc_msg reply = {.type = IPC_OWNER_ANSWER, .count = m->count}, desc;
	struct owner_query q[IPC_BATCH];
	struct owner_answer a[IPC_BATCH];

	for (uint32_t i = 0; i < m->count; i++)
		q[i] = m->query[i].q;
	owner_db_lookup(w->env.db, q, a, m->count);
	for (uint32_t i = 0; i < m->count; i++) {
		const struct owner *o = a[i].owner ? owner_db_get(w->env.db, a[i].owner) : NULL;

		reply.answer[i] = (struct ipc_answer){.flow = m->query[i].flow, .a = a[i]};
		if (!o || owner_sent_known(&w->told, o->id))
			continue;
		desc.type = IPC_OWNER;
		desc.count = 1;
		desc.owner = *o;
		push(w, &desc);
	}
	push(w, &reply);
}

/** printable - ASCII for the terminal: programs choose their names, workers what they say */
static const char *printable(const char *text, char *out, size_t size)
{
	size_t n = str_copy(out, size, text);

	for (size_t i = 0; i < n; i++) {
		if (out[i] < 0x20 || out[i] > 0x7e)
			out[i] = '?';
	}
	return out;
}

static void say_notice(const struct ipc_msg *m)
{
	char text[sizeof(m->text)];

	log_note("%s", printable(m->text, text, sizeof(text)));
}

static const struct owner *owner_of(const struct workerctl *w, const struct flow_rec *f)
{
	return f->owner ? owner_db_get(w->env.db, f->owner) : NULL;
}

#define RULE_TEXT 512

/** rule_text - what decided about @f, in @buf; NULL: nothing that had to be written down */
static const char *rule_text(const struct workerctl *w, const struct flow_rec *f, char *buf)
{
	const struct policy *p = ruleset_of(w->env.rules, f->ruleset);

	switch (f->by) {
	case FLOW_BY_RULE:
		if (!p || !f->rule || f->rule > policy_rules(p))
			return NULL;
		snprintf(buf, RULE_TEXT, "%s:%u", policy_rule(p, f->rule - 1)->file,
			 policy_rule(p, f->rule - 1)->line);
		return buf;
	case FLOW_BY_DECISION:
		snprintf(buf, RULE_TEXT, "decision %u", f->rule);
		return buf;
	case FLOW_BY_HOOK:
		return "hook";
	case FLOW_BY_KILL:
		return "kill";
	default:
		return f->ruleset ? "default" : NULL;
	}
}

/** told - a flow that a message is about; @text: RULE_TEXT bytes for the rule's name */
static void told(const struct workerctl *w, const struct ipc_msg *m, struct workerctl_flow *flow,
		 char *text)
{
	flow->f = m->flow.rec;
	flow->index = 0;
	flow->owner = owner_of(w, &flow->f);
	str_copy(flow->host, sizeof(flow->host), m->flow.host);
	flow->more.learnt = m->count == 2 ? &flow->learnt : NULL;
	if (flow->more.learnt)
		flow->learnt = m->flow.learnt;
	flow->more.rule = rule_text(w, &flow->f, text);
}

static const char *name_of(const struct workerctl_flow *flow)
{
	return flow->host[0] ? flow->host : NULL;
}

static void take_end(struct workerctl *w, const struct ipc_msg *m)
{
	struct workerctl_flow flow;
	char text[RULE_TEXT];

	told(w, m, &flow, text);
	owner_db_closed(w->env.db, flow.f.inode);
	record_end(w->env.record, &flow.f, flow.owner, name_of(&flow), &flow.more);
}

static void take_event(struct workerctl *w, const struct ipc_msg *m)
{
	const struct policy *p = ruleset_of(w->env.rules, m->flow.rec.ruleset);
	const uint32_t rule = m->flow.rule;
	struct workerctl_flow flow;
	char text[RULE_TEXT];

	if (m->flow.what >= JUDGE_EV_MAX)
		return;
	told(w, m, &flow, text);
	w->env.event(w->env.ctx, (enum judge_event)m->flow.what, &flow,
		     p && rule && rule <= policy_rules(p) ? policy_rule(p, rule - 1) : NULL);
}

/** take_hook_event - a hook's own record; what is none is not written */
static void take_hook_event(const struct workerctl *w, const struct ipc_event *e)
{
	const char *json = e->text + strlen(e->text) + 1;
	char *line = record_hook_json(&e->rec, owner_of(w, &e->rec), *e->host ? e->host : NULL,
				      e->text, json, clock_wall_ns());

	if (line)
		record_line(w->env.record, line);
	else
		log_note("a hook's event is not written: it is no JSON object, or has no fit name");
	free(line);
}

static void take_message(struct workerctl *w, const struct ipc_msg *m)
{
	const struct flow_rec *f = &m->flow.rec;
	const char *host = m->flow.host;

	switch (m->type) {
	case IPC_READY:
		w->ready = w->worked = true;
		break;
	case IPC_OWNER_QUERY:
		answer(w, m);
		break;
	case IPC_FLOW_OPEN:
		record_open(w->env.record, f, owner_of(w, f), *host ? host : NULL);
		break;
	case IPC_FLOW_END:
		take_end(w, m);
		break;
	case IPC_FLOW_EVENT:
		take_event(w, m);
		break;
	case IPC_NOTICE:
		say_notice(m);
		break;
	case IPC_DRAINED:
		w->drained = true;
		break;
	case IPC_HOOK_EVENT:
		take_hook_event(w, &m->event);
		break;
	case IPC_HOOK:
		if (!w->broker || !broker_take(w->broker, &m->hook, w->ready, clock_mono_ns()))
			workerctl_kill(w);
		break;
	default: /* a type that only goes the other way */
		workerctl_kill(w);
	}
}

short workerctl_events(const struct workerctl *w)
{
	return w->first ? POLLOUT : POLLIN;
}

/** read_some - up to @max messages; false at the end of the connection */
static bool read_some(struct workerctl *w, unsigned max)
{
	struct ipc_msg m;
	int r = 1;

	while (max-- && (r = ipc_recv(w->ipc_fd, &m)) == 1)
		take_message(w, &m);
	/* ended with a message of ours unread: the error comes once, before its last words */
	if (r == 1 || r == -EAGAIN || r == -ECONNRESET)
		return true;
	if (r) /* malformed: not our worker any more */
		workerctl_kill(w);
	close_fd(&w->ipc_fd); /* its death is reported by SIGCHLD */
	return false;
}

void workerctl_service(struct workerctl *w)
{
	if (w->ipc_fd < 0)
		return;
	push_waiting(w);
	if (!w->first)
		read_some(w, SERVICE_BATCH);
}

/* --- after a crash ------------------------------------------------------------------- */

static void say_lost(const struct workerctl *w, const struct flow_rec *f, const char *host)
{
	char to[ADDRPORT_STRLEN], comm[17], name[NAMES_HOST_MAX];
	const struct owner *o = owner_of(w, f);

	log_warn("lost: %s (pid %d) -> %s%s%s%s, %llu bytes up, %llu down",
		 o ? printable(o->comm, comm, sizeof(comm)) : "unknown program", o ? o->pid : 0,
		 addrport_format(&f->net, to), *host ? " (" : "",
		 printable(host, name, sizeof(name)), *host ? ")" : "",
		 (unsigned long long)f->up.bytes, (unsigned long long)f->down.bytes);
}

/** host_of - the name of a record in shared memory; "" = none */
static const char *host_of(const struct workerctl *w, const struct flow_rec *f,
			   char host[NAMES_HOST_MAX])
{
	host[0] = '\0';
	if (f->host_slot)
		names_text_at(w->names, WORKER_NAMES_MAX, f->host_slot, host);
	return host;
}

/**
 * live_flow - a copy of record @i, made plausible: its writer may be in the middle of it,
 * or may not be what it was
 */
static bool live_flow(const struct workerctl *w, uint32_t i, struct flow_rec *f)
{
	*f = *flow_rec_at(w->flows, w->env.cfg->max_flows, i);
	f->verdict = MIN(f->verdict, (uint8_t)(FLOW_VERDICT_MAX - 1));
	f->by = MIN(f->by, (uint8_t)(FLOW_BY_MAX - 1));
	f->owner_why = MIN(f->owner_why, (uint32_t)OWNER_WHY_MAX - 1);
	/* One with a reason was recorded when it ended. */
	return f->state > FLOW_FREE && f->state < FLOW_STATE_MAX && f->reason == FLOW_ENDED_NOT;
}

/** fill_flow - all that is known of record @i; false: there is no live flow */
static bool fill_flow(const struct workerctl *w, uint32_t i, struct workerctl_flow *flow,
		      char *text)
{
	if (!live_flow(w, i, &flow->f))
		return false;
	flow->index = i;
	flow->owner = owner_of(w, &flow->f);
	host_of(w, &flow->f, flow->host);
	flow->more.learnt = flow->f.learnt ? &flow->learnt : NULL;
	if (flow->f.learnt)
		flow->learnt = w->learnt[i];
	flow->more.rule = rule_text(w, &flow->f, text);
	return true;
}

void workerctl_each(const struct workerctl *w,
		    bool (*fn)(void *ctx, const struct workerctl_flow *flow), void *ctx)
{
	struct workerctl_flow flow;
	char text[RULE_TEXT];

	for (uint32_t i = 0; i < flow_table_entries(w->env.cfg->max_flows); i++)
		if (fill_flow(w, i, &flow, text) && !fn(ctx, &flow))
			return;
}

/** take_stats - a copy whose texts end: the worker may be what it should not be */
static struct hook_stats take_stats(const struct workerctl *w, unsigned k)
{
	struct hook_stats s = w->hooks[k];
	char text[sizeof(s.line)];

	s.name[sizeof(s.name) - 1] = s.line[sizeof(s.line) - 1] = '\0';
	str_copy(s.line, sizeof(s.line), printable(s.line, text, sizeof(text)));
	str_copy(s.name, sizeof(s.name), printable(s.name, text, sizeof(s.name)));
	return s;
}

void workerctl_hooks(const struct workerctl *w, FILE *out)
{
	fprintf(out, "%-16s %9s %10s %14s %8s %8s %8s %8s %7s %6s\n", "HOOK", "FLOWS", "CALLS",
		"BYTES", "NS/CALL", "HOLDS", "WAITS", "EDITS", "ERRORS", "SLOW");
	for (unsigned k = 0; k < HOOK_CHAIN_MAX; k++) {
		const struct hook_stats s = take_stats(w, k);

		if (!s.name[0])
			continue;
		fprintf(out,
			"%-16s %9" PRIu64 " %10" PRIu64 " %14" PRIu64 " %8" PRIu64 " %8" PRIu64
			" %8" PRIu64 " %8" PRIu64 " %7" PRIu64 " %6" PRIu64 "\n",
			s.name, s.flows, s.calls, s.bytes, s.calls ? s.ns / s.calls : 0, s.holds,
			s.pends, s.edits, s.errors + s.out_of_range, s.over_budget);
		if (s.line[0])
			fprintf(out, "  %s\n", s.line);
	}
}

/** end_socket - the program's end of a lost connection; blocked calls return ECONNABORTED */
static void end_socket(const struct workerctl *w, const struct flow_rec *f)
{
	const struct owner_query q = {.proto = f->proto, .app = f->app, .net = f->net};
	int r = f->proto == IPPROTO_TCP ? owner_sockdiag_destroy(w->env.diag_fd, &q) : 0;

	if (r && r != -ENOENT)
		log_debug("a program's socket can't be ended: %s", strerror(-r));
}

static void lose_flow(const struct workerctl *w, struct workerctl_flow *flow, bool say)
{
	flow->f.reason = FLOW_ENDED_CRASH;
	flow->f.end = clock_mono_ns();
	if (say)
		say_lost(w, &flow->f, flow->host);
	record_end(w->env.record, &flow->f, flow->owner, name_of(flow), &flow->more);
}

static void lose_flows(const struct workerctl *w)
{
	struct workerctl_flow flow;
	char text[RULE_TEXT];
	unsigned lost = 0;

	for (uint32_t i = 0; i < flow_table_entries(w->env.cfg->max_flows); i++) {
		bool live = fill_flow(w, i, &flow, text);

		if (flow.f.state > FLOW_FREE && flow.f.state < FLOW_STATE_MAX)
			end_socket(w, &flow.f);
		if (live)
			lose_flow(w, &flow, lost++ < CRASH_LINES);
	}
	if (lost > CRASH_LINES)
		log_warn("lost: %u more flows", lost - CRASH_LINES);
}

static void say_crash(int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		log_warn("the worker was killed by its system call filter; starting another");
	else if (WIFSIGNALED(status))
		log_warn("the worker was killed by signal %d (%s); starting another",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		log_warn("the worker ended with status %d; starting another", WEXITSTATUS(status));
}

static bool crashes_too_often(struct workerctl *w)
{
	const uint64_t now = clock_mono_ns(), oldest = w->crash[0];

	memmove(w->crash, w->crash + 1, sizeof(w->crash) - sizeof(w->crash[0]));
	w->crash[CRASH_MAX - 1] = now;
	return oldest && now - oldest < CRASH_SPAN_NS;
}

int workerctl_ended(struct workerctl *w, int status, bool expected)
{
	w->pid = 0;
	forget_waiting(w);
	while (w->ipc_fd >= 0 && read_some(w, SERVICE_BATCH)) {
		struct pollfd p = {.fd = w->ipc_fd, .events = POLLIN};

		if (w->ipc_fd >= 0 && poll(&p, 1, 0) == 0)
			break;
	}
	close_fd(&w->ipc_fd);
	if (expected)
		return 0;
	if (!w->worked)
		return -ECHILD; /* none ever did: another would not either */
	say_crash(status);
	lose_flows(w);
	if (crashes_too_often(w)) {
		log_error("the worker crashed %d times in %llu s: giving up", CRASH_MAX + 1,
			  (unsigned long long)(CRASH_SPAN_NS / NSEC_PER_SEC));
		return -ELOOP;
	}
	fresh(w);
	int r = workerctl_start(w);

	if (!r && w->draining)
		push_empty(w, IPC_DRAIN);
	return r;
}
