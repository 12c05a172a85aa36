/* SPDX-License-Identifier: MIT */
/*
 * up: the second door to the engine. The same worker as that of `weir run` relays, but what
 * reaches it comes from the host's own programs, by rules that steer.c puts in force.
 *
 * Order of a start: what needs no change of the host first (the worker's user, sockets for
 * captured look-ups, the plan), then the device and its routes, then the guard and the rules,
 * and the worker last. What arrives in between waits in the device's queue. An end is the
 * mirror of it, except that the worker goes first: it resets what it relays while the programs
 * still hear it.
 */
#include "up.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "control.h"
#include "hostdns.h"
#include "inbound.h"
#include "isolate.h"
#include "netns.h"
#include "notify.h"
#include "owner.h"
#include "owner_bpf.h"
#include "owner_sockdiag.h"
#include "plan.h"
#include "record.h"
#include "sandbox.h"
#include "service.h"
#include "steer.h"
#include "workerctl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

#define STATUS_USAGE   2
#define STATUS_FAILED  126
#define STOP_NS	       (5 * NSEC_PER_SEC)
#define FLUSH_RETRY_NS (100 * NSEC_PER_MSEC)
#define RESOLV_CONF    "/etc/resolv.conf"

enum phase { STARTING, RUNNING, STOPPING, DONE };

struct up {
	const struct up_config *c; /* as at the start; of @next only the selection counts */
	struct up_config *next;	   /* of the last reload; NULL: none yet */
	up_reparse_fn *reparse;
	void *reparse_ctx;
	struct isolate_user user;
	struct sandbox sandbox; /* of which a host needs the device, the resolvers and the MTU */
	struct plan_dns dns[PLAN_DNS_MAX];
	struct steer *steer;
	struct inbound *inbound;	     /* NULL: servers are reached unseen (said) */
	unsigned changes_seen, cgroups_seen; /* steer's counts as it knows them */
	struct record *record;
	struct owner_db *db;
	struct owner_bpf *bpf; /* borrowed from @db; NULL: there is none */
	struct workerctl *worker;
	struct workerctl_env env;
	struct starter *starter; /* NULL: there are no hooks */
	uint64_t look_at;	 /* when something of the worker's is due; 0: never */
	struct control *control;
	struct service service;
	struct up_config *wanted; /* of the reload under way */
	uint64_t serve_at;
	sigset_t orig;
	int sig_fd, diag_fd;
	int home_fd;		/* with --netns: the network namespace that we came from */
	struct netcfg *outside; /* and a socket of it */
	enum phase phase;
	uint64_t deadline;    /* of STOPPING */
	uint64_t watchdog_ns; /* 0: nobody watches over us */
	uint64_t watchdog_at;
	bool flush_left;
	bool served; /* has been RUNNING */
	int status;
};

/* --- phases -------------------------------------------------------------------------- */

static void stop(struct up *u, int status)
{
	if (u->phase >= STOPPING)
		return;
	notify("STOPPING=1");
	inbound_steer(u->inbound, 0); /* nobody is to be reset who has just come */
	u->status = status;
	u->phase = DONE;
	if (!workerctl_pid(u->worker))
		return;
	workerctl_stop(u->worker);
	u->phase = STOPPING;
	u->deadline = clock_mono_ns() + STOP_NS;
}

static void check_worker(struct up *u)
{
	if (u->phase != STARTING || !workerctl_ready(u->worker))
		return;
	u->phase = RUNNING;
	u->served = true;
	log_note("up: process %d watches over the selected traffic", (int)getpid());
	notify("READY=1");
}

/** check_device - with another one the worker has to be another one, too: worker_ended() */
static void check_device(struct up *u)
{
	int rc = steer_device(u->steer, &u->sandbox);

	if (rc < 0) {
		stop(u, STATUS_FAILED);
		return;
	}
	inbound_steer(u->inbound, u->sandbox.beside);
	if (rc && workerctl_pid(u->worker))
		workerctl_kill(u->worker);
}

static void worker_ended(struct up *u, int status)
{
	const bool lost = u->phase < STOPPING && steer_device(u->steer, &u->sandbox) < 0;
	int rc = workerctl_ended(u->worker, status, u->phase == STOPPING || lost);

	if (!lost && u->phase < STOPPING) /* the device may be another one */
		inbound_steer(u->inbound, u->sandbox.beside);
	if (lost)
		stop(u, STATUS_FAILED);
	else if (u->phase == STOPPING) {
		u->phase = DONE;
	} else if (rc) {
		const bool refused = WIFEXITED(status) && WEXITSTATUS(status) == WORKER_REFUSED;

		if (u->phase == STARTING && refused) {
			stop(u, STATUS_USAGE);
			return;
		}
		if (u->phase == STARTING)
			log_error("the worker did not start");
		else if (rc != -ELOOP)
			log_error("no new worker: %s", strerror(-rc));
		stop(u, STATUS_FAILED);
	} else {
		steer_watch(u->steer, workerctl_pid(u->worker));
	}
}

static void reap(struct up *u)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == workerctl_pid(u->worker))
			worker_ended(u, status);
		else
			steer_child_ended(u->steer, pid);
	}
}

/** choose_owners - nobody else's sockets need be noted, and so cost less */
static void choose_owners(struct up *u, const struct up_config *c)
{
	static struct id_range users[SELECT_RANGES_MAX];
	const unsigned n = select_users(&c->select, users, ARRAY_SIZE(users));
	int rc = u->bpf ? owner_bpf_choose(u->bpf, users, n) : 0;

	if (rc)
		log_warn("owners of newly selected users are looked up without BPF: %s",
			 strerror(-rc));
}

/** follow_inbound - steer for the servers of @c; what the kernel does not take is said */
static void follow_inbound(struct up *u, const struct up_config *c)
{
	int rc = inbound_select(u->inbound, c);

	if (rc)
		log_warn("connections to servers of the selection do not arrive: %s",
			 strerror(-rc));
}

/**
 * reload_selection - @next in the place of the one in force
 *
 * 0: @next is ours; else -errno with a line in @err. Nothing may be steered whose answers the new
 * rules will not bring back.
 */
static int reload_selection(struct up *u, struct up_config *next, char *err, size_t errsize)
{
	const bool steered = inbound_can_steer(u->inbound, next);
	struct up_config *old = u->next;
	int rc;

	if (!steered)
		follow_inbound(u, next);
	rc = steer_reload(u->steer, next, steered, err, errsize);
	if (!rc)
		u->next = next;
	choose_owners(u, u->next ? u->next : u->c);
	follow_inbound(u, u->next ? u->next : u->c);
	if (rc || !old)
		return rc;
	config_free_up(old);
	free(old);
	return 0;
}

/* --- reload: the log file anew (it may have been moved away), rules, another selection ---------
 *
 * The options are read, then a child compiles the rules, and only when both are good is the
 * selection changed, and after it the rules: an error anywhere changes nothing.
 */

static void free_config(struct up_config *c)
{
	if (!c)
		return;
	config_free_up(c);
	free(c);
}

/** steer_wanted - the selection of u->wanted is in force from here on, or @err says why not */
static int steer_wanted(struct up *u, char *err, size_t errsize)
{
	int rc = reload_selection(u, u->wanted, err, errsize);

	if (!rc)
		u->wanted = NULL;
	return rc;
}

/** finish_reload - @rc and @text: of the rules; returns the answer to who asked */
static const char *finish_reload(void *ctx, int rc, const char *text)
{
	static char answer[RULESET_ERR + 64];
	struct up *u = ctx;
	char err[RULESET_ERR] = "";

	str_copy(err, sizeof(err), text);
	if (!rc && u->phase == RUNNING)
		rc = steer_wanted(u, err, sizeof(err));
	if (!rc) {
		service_adopt(&u->service);
		workerctl_reload(u->worker);
	}
	free_config(u->wanted);
	u->wanted = NULL;
	if (rc) {
		log_error("nothing is changed by the reload: %s", err);
		snprintf(answer, sizeof(answer), "error: nothing is changed: %s\n", err);
	} else {
		log_note("reloaded");
		str_copy(answer, sizeof(answer), "reloaded\n");
	}
	notify("READY=1");
	return answer;
}

/** read_options - into u->wanted; 0 or -errno with @err */
static int read_options(struct up *u, char *err, size_t errsize)
{
	int rc = u->reparse(u->reparse_ctx, &u->wanted, err, errsize);

	if (!rc && u->service.rules.now && !u->wanted->base.rules) {
		snprintf(err, errsize, "rules can't be taken away; name a file without any");
		rc = -EINVAL;
	}
	return rc;
}

/** reload - true: the answer for @client comes later, else it is in *@answer */
static bool reload(struct up *u, uint32_t client, const char **answer)
{
	char err[RULESET_ERR] = "";
	int rc;

	*answer = "error: not ready, or a reload is under way\n";
	if (u->phase != RUNNING || u->wanted)
		return false;
	notify("RELOADING=1");
	rc = record_reopen(u->record, err, sizeof(err));
	if (rc)
		log_error("%s (the old file is still written)", err);
	err[0] = '\0';
	rc = read_options(u, err, sizeof(err));
	if (!rc && u->wanted->base.rules) {
		rc = service_reload(&u->service, u->wanted->base.rules, client);
		if (!rc)
			return true;
		snprintf(err, sizeof(err), "the rules can't be read: %s", strerror(-rc));
	}
	*answer = finish_reload(u, rc, err);
	return false;
}

static void read_signals(struct up *u)
{
	struct signalfd_siginfo si;
	const char *answer;

	while (read(u->sig_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		switch (si.ssi_signo) {
		case SIGCHLD:
			reap(u);
			break;
		case SIGHUP:
			reload(u, 0, &answer);
			break;
		case SIGINT:
		case SIGTERM:
			stop(u, 0);
			break;
		}
	}
}

static int watch_signals(struct up *u)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGPIPE, SIGXFSZ};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, &u->orig);
	u->sig_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return u->sig_fd < 0 ? -errno : 0;
}

/* --- the loop ---------------------------------------------------------------------------- */

static void answer_status(const struct up *u, const struct control_peer *who, FILE *out)
{
	fprintf(out, "weir up: process %d, worker %d, %s\n", (int)getpid(),
		(int)workerctl_pid(u->worker), u->phase == RUNNING ? "running" : "not ready");
	if (!who->full)
		return;
	steer_status(u->steer, out);
	inbound_status(u->inbound, out);
}

static enum control_said answer_request(void *ctx, const struct control_peer *who,
					const char *request, FILE *out)
{
	struct up *u = ctx;
	enum control_said said;
	const char *answer;

	if (service_answer(&u->service, who, request, out, &said))
		return said;
	if (!strcmp(request, "hooks") && who->full) {
		workerctl_hooks(u->worker, out);
	} else if (!strcmp(request, "status")) {
		answer_status(u, who, out);
	} else if (!strcmp(request, "reload") && who->full) {
		if (reload(u, who->client, &answer))
			return CONTROL_LATER;
		fputs(answer, out);
	} else if (!strcmp(request, "reload")) {
		fprintf(out, "error: only root and members of the group weir may do that\n");
	} else {
		fprintf(out, "error: no such request\n");
	}
	return CONTROL_ANSWERED;
}

static int poll_timeout(const struct up *u)
{
	const uint64_t now = clock_mono_ns();
	uint64_t at = steer_deadline(u->steer);

	if (u->inbound)
		at = MIN(at, inbound_deadline(u->inbound));
	if (u->deadline)
		at = MIN(at, u->deadline);
	if (u->look_at)
		at = MIN(at, u->look_at);
	if (u->watchdog_ns)
		at = MIN(at, u->watchdog_at);
	if (u->flush_left)
		at = MIN(at, now + FLUSH_RETRY_NS);
	if (u->serve_at)
		at = MIN(at, u->serve_at);
	return at <= now ? 0 : (int)MIN((at - now) / NSEC_PER_MSEC + 1, 3600000ULL);
}

static void deadlines(struct up *u)
{
	const uint64_t now = clock_mono_ns();

	if (u->deadline && now >= u->deadline) {
		workerctl_kill(u->worker);
		u->deadline = 0;
	}
	if (u->watchdog_ns && now >= u->watchdog_at) {
		notify("WATCHDOG=1");
		u->watchdog_at = now + u->watchdog_ns;
	}
}

/** serve_inbound - who listens, and cgroups that steer_serve() has heard of */
static void serve_inbound(struct up *u)
{
	const unsigned changes = steer_changes(u->steer);
	const unsigned cgroups = steer_cgroup_changes(u->steer);

	if (changes != u->changes_seen)
		inbound_addresses(u->inbound);
	if (cgroups != u->cgroups_seen)
		inbound_cgroups(u->inbound);
	u->changes_seen = changes;
	u->cgroups_seen = cgroups;
	inbound_serve(u->inbound, u->db, u->record);
}

#define POLL_OWN 5 /* signals, worker, starter, listening sockets, rules */

static void turn(struct up *u)
{
	struct pollfd p[POLL_OWN + STEER_FDS + CONTROL_FDS_MAX] = {
		{.fd = u->sig_fd, .events = POLLIN},
		{.fd = workerctl_fd(u->worker), .events = workerctl_events(u->worker)},
		{.fd = workerctl_starter_fd(u->worker), .events = POLLIN},
		{.fd = inbound_fd(u->inbound), .events = POLLIN},
		{.fd = service_fd(&u->service), .events = POLLIN},
	};
	const int changes = steer_pollfds(u->steer, p + POLL_OWN);
	const int asking = control_pollfds(u->control, p + POLL_OWN + changes);

	if (poll(p, (nfds_t)(POLL_OWN + changes + asking), poll_timeout(u)) < 0)
		return;
	control_serve(u->control, p + POLL_OWN + changes, asking, answer_request, u);
	if (p[1].revents)
		workerctl_service(u->worker);
	if (u->phase < STOPPING && !steer_serve(u->steer, p + POLL_OWN, changes))
		check_device(u);
	if (u->phase < STOPPING)
		serve_inbound(u);
	u->serve_at = service_serve(&u->service, p[4].revents != 0, clock_mono_ns());
	if (p[0].revents)
		read_signals(u);
	check_worker(u);
	u->look_at = u->phase == RUNNING ? workerctl_look(u->worker, clock_mono_ns()) : 0;
	u->flush_left = record_flush(u->record) > 0;
	deadlines(u);
}

/* --- start ----------------------------------------------------------------------------------- */

static int find_worker_user(struct up *u)
{
	const char *name = u->c->worker_user;
	int rc = isolate_find_user(name, &u->user);

	if (rc == -EPERM)
		log_error("--worker-user %s: root can't be the worker's user", name);
	else if (rc)
		log_error("there is no user \"%s\" for the worker; make one with: useradd --system "
			  "--no-create-home --shell /usr/sbin/nologin %s (or --worker-user NAME)",
			  name, name);
	return rc;
}

static int bind_any_port(struct addr on, int type, uint16_t *port)
{
	struct addrport at = {.addr = on};
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&at, &ss);
	int fd = socket(ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc = 0;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&ss, len) || (type == SOCK_STREAM && listen(fd, 128)) ||
	    getsockname(fd, (struct sockaddr *)&ss, &len))
		rc = -errno;
	else
		rc = addr_from_sockaddr((struct sockaddr *)&ss, &at);
	if (rc) {
		close_fd(&fd);
		return rc;
	}
	*port = at.port;
	return fd;
}

/** capture_one - a socket of each kind that look-ups to resolver @a are redirected to */
static int capture_one(struct up *u, const struct addr *a)
{
	struct sandbox_dns *d = &u->sandbox.dns[u->sandbox.n_dns];
	struct plan_dns *p = &u->dns[u->sandbox.n_dns];
	struct addr on;

	addr_parse(addr_is_v4(a) ? "127.0.0.1" : "::1", &on);
	d->addr = d->outside = p->addr = *a;
	d->udp_fd = bind_any_port(on, SOCK_DGRAM, &p->udp_port);
	if (d->udp_fd < 0)
		return d->udp_fd;
	d->tcp_fd = bind_any_port(on, SOCK_STREAM, &p->tcp_port);
	if (d->tcp_fd < 0) {
		close_fd(&d->udp_fd);
		return d->tcp_fd;
	}
	u->sandbox.n_dns++;
	return 0;
}

static void capture_dns(struct up *u)
{
	static struct hostdns_conf conf; /* large */
	struct hostdns *h = &conf.dns;
	char text[ADDR_STRLEN];

	if (u->c->dns_pass || select_is_netns(&u->c->select))
		return;
	hostdns_read(RESOLV_CONF, &conf);
	hostdns_local(h, NULL, 0);
	for (unsigned i = 0; i < h->n && i < MIN(PLAN_DNS_MAX, SANDBOX_DNS_MAX); i++) {
		int rc = capture_one(u, &h->addr[i]);

		if (rc)
			log_warn("look-ups by %s are not captured: %s",
				 addr_format(&h->addr[i], text), strerror(-rc));
	}
	if (hostdns_mask_needed() > 0)
		log_note("systemd-resolved or nscd runs here: look-ups by its own socket "
			 "(nss-resolve, nscd) are asked by it, not by the selected users, and not "
			 "seen");
}

static int open_record(struct up *u)
{
	const struct config *c = &u->c->base;
	const struct record_config rc = {
		.log = c->log,
		.table = !c->quiet,
		.live = c->live,
		.out_fd = STDERR_FILENO,
	};
	char err[256] = "";
	int r = record_new(&rc, &u->record, err, sizeof(err));

	if (r)
		log_error("%s", *err ? err : strerror(-r));
	return r;
}

/** open_bpf - not to be had everywhere: NULL */
static struct owner_bpf *open_bpf(const struct up *u, int sock_fd)
{
	struct owner_bpf *ob = NULL;
	char err[200];

	if (!u->c->base.no_bpf && owner_bpf_open(sock_fd, &ob, err, sizeof(err)))
		log_note("owners are looked up with sock_diag and /proc alone: %s", err);
	return ob;
}

static int open_owners(struct up *u)
{
	struct owner_db_config oc = {.whole_proc = true};

	u->diag_fd = owner_sockdiag_open();
	oc.diag_fd = owner_sockdiag_open();
	if (u->diag_fd < 0 || oc.diag_fd < 0) {
		log_error("sockets can't be looked up: no sock_diag");
		return -EOPNOTSUPP;
	}
	oc.bpf = u->bpf = open_bpf(u, oc.diag_fd);
	choose_owners(u, u->c);
	u->db = owner_db_new(&oc);
	return u->db ? 0 : -ENOMEM;
}

/** lock_down - nothing that comes needs more, not even a new worker for one that died */
static int lock_down(const struct up *u)
{
	char err[256] = "";
	int rc = isolate_supervisor_lock(workerctl_nofile(&u->c->base), u->home_fd >= 0, err,
					 sizeof(err));

	if (rc)
		log_error("%s", err);
	return rc;
}

static int open_worker(struct up *u)
{
	int rc;

	u->env = (struct workerctl_env){
		.cfg = &u->c->base,
		.sandbox = &u->sandbox,
		.record = u->record,
		.db = u->db,
		.diag_fd = u->diag_fd,
		.user = &u->user,
		.starter = u->starter,
		.publish = inbound_publish(u->inbound),
		.netns_fd = u->home_fd < 0 ? NULL : &u->home_fd,
		.netns = select_is_netns(&u->c->select) ? u->c->select.list[0].text : NULL,
		.rules = &u->service.rules,
		.decisions = &u->service.decisions,
		.event = service_event,
		.ctx = &u->service,
	};
	u->service.netns = u->env.netns;
	u->worker = workerctl_new(&u->env);
	u->service.worker = u->worker;
	rc = u->worker ? workerctl_start(u->worker) : -ENOMEM;
	if (rc)
		log_error("no worker: %s", strerror(-rc));
	return rc;
}

/**
 * open_inbound - not to be had everywhere: then servers are reached as without weir, unseen
 *
 * With --netns what the workers send in the selected namespace would be selected itself.
 */
static void open_inbound(struct up *u)
{
	char err[200] = "switched off";
	int rc = -EOPNOTSUPP;

	if (select_is_netns(&u->c->select))
		return;
	if (!u->c->base.no_bpf)
		rc = inbound_open(&u->inbound, u->user.uid, err, sizeof(err));
	if (!rc) {
		rc = inbound_select(u->inbound, u->c);
		if (rc)
			snprintf(err, sizeof(err), "%s", strerror(-rc));
	}
	if (!rc)
		return;
	log_note("connections to servers of the selected are not seen: %s", err);
	inbound_close(u->inbound);
	u->inbound = NULL;
}

/** steer_in - connections from outside are steered first: their answers will be selected */
static int steer_in(struct up *u)
{
	char err[512] = "";
	int rc =
		inbound_can_steer(u->inbound, u->c) ? steer_steered(u->steer, err, sizeof(err)) : 0;

	if (!rc)
		rc = steer_open(u->steer, &u->sandbox, err, sizeof(err));
	if (!rc)
		inbound_steer(u->inbound, u->sandbox.beside);
	if (!rc)
		rc = steer_select(u->steer, err, sizeof(err));
	if (rc)
		log_error("%s", err);
	return rc;
}

static int plan_in(struct up *u)
{
	const struct steer_config sc = {
		.up = u->c,
		.worker = &u->user,
		.dns = u->dns,
		.n_dns = u->sandbox.n_dns,
		.outside = u->outside,
	};
	char err[512] = "";
	int rc = steer_new(&u->steer, &sc, err, sizeof(err));

	if (rc)
		log_error("%s", err);
	return rc;
}

/** open_control - root and group weir may ask everything, a user what is their own */
static void open_control(struct up *u)
{
	const struct group *gr = getgrnam("weir");
	char path[CONTROL_PATH_MAX];
	int rc = -ENAMETOOLONG;

	if (snprintf(path, sizeof(path), "%s/" CONTROL_SHARED, u->c->runtime_dir) <
	    (int)sizeof(path))
		rc = steer_path(u->steer, path);
	if (!rc)
		rc = control_open_shared(path, gr ? gr->gr_gid : (gid_t)-1, &u->control);
	if (rc)
		log_note("no control socket, so `weir flows` won't find this one: %s",
			 strerror(-rc));
}

static int set_up(struct up *u)
{
	int rc = open_record(u);

	if (!rc)
		rc = watch_signals(u);
	if (rc)
		return rc;
	open_inbound(u);
	rc = steer_in(u);
	if (!rc)
		rc = open_owners(u);
	if (rc)
		return rc;
	open_control(u);
	u->service.control = u->control;
	u->service.record = u->record;
	u->service.reloaded = finish_reload;
	u->service.ctx = u;
	if (u->c->base.n_hooks)
		rc = starter_new(&u->starter, &u->user);
	if (!rc)
		rc = lock_down(u);
	if (!rc)
		rc = open_worker(u);
	if (rc)
		return rc;
	steer_watch(u->steer, workerctl_pid(u->worker));
	u->watchdog_ns = notify_interval();
	u->watchdog_at = clock_mono_ns() + u->watchdog_ns;
	return 0;
}

static void close_sandbox(struct sandbox *sb)
{
	close_fd(&sb->tun_fd);
	for (unsigned i = 0; i < sb->n_dns; i++) {
		close_fd(&sb->dns[i].udp_fd);
		close_fd(&sb->dns[i].tcp_fd);
	}
}

/**
 * take_back - what we changed; the guard only by an ordered end, or when a start fails that found
 * none
 *
 * Giving up is no reason to let traffic pass that is to go by weir or not at all.
 */
static void take_back(struct up *u)
{
	const bool keep_guard = u->status && (u->served || steer_inherited(u->steer));

	if (steer_undo(u->steer, keep_guard) && !u->status)
		u->status = STATUS_FAILED;
}

static void tear_down(struct up *u)
{
	control_close(u->control);
	workerctl_end(u->worker);
	if (u->steer)
		take_back(u);
	inbound_close(u->inbound); /* takes its listeners back from the worker's half, which is gone
				      last */
	workerctl_free(u->worker);
	starter_free(u->starter);
	service_free(&u->service);
	close_sandbox(&u->sandbox);
	owner_db_free(u->db);
	close_fd(&u->diag_fd);
	if (u->record) {
		record_finish(u->record);
		if (u->phase == DONE)
			record_table(u->record);
		record_free(u->record);
	}
	close_fd(&u->sig_fd);
}

static int lockdown(struct up *u)
{
	char err[512] = "";
	int rc = steer_guard(u->steer, err, sizeof(err));

	if (rc) {
		log_error("%s", err);
		steer_undo(u->steer, steer_inherited(u->steer));
	} else {
		steer_leave(u->steer);
	}
	return rc ? STATUS_FAILED : 0;
}

/** move_into - the namespace that is open at @fd; our own one is no other's */
static int move_into(struct up *u, int fd, const char *name)
{
	char theirs[NETNS_ID_MAX], ours[NETNS_ID_MAX];
	int rc = netns_id(fd, theirs, sizeof(theirs));

	if (!rc)
		rc = netns_id(u->home_fd, ours, sizeof(ours));
	if (!rc && !strcmp(theirs, ours)) {
		log_error("--netns %s: that is the network namespace weir is in (see --all)", name);
		return -EINVAL;
	}
	if (!rc && setns(fd, CLONE_NEWNET))
		rc = -errno;
	if (rc)
		log_error("--netns %s: %s", name, strerror(-rc));
	return rc;
}

/**
 * enter_netns - with --netns: all that is changed from here on is changed in that namespace
 *
 * The workers go back before they relay, so that what they send can't come to the device.
 */
static int enter_netns(struct up *u)
{
	const char *name = u->c->select.list[0].text;
	int fd, rc;

	if (!select_is_netns(&u->c->select))
		return 0;
	u->home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	rc = u->home_fd < 0 ? -errno : netcfg_open(&u->outside);
	fd = rc ? rc : netns_open(name);
	if (fd < 0) {
		log_error("--netns %s: %s", name,
			  fd == -ENOENT ? "there is no network namespace or process of this name"
					: strerror(-fd));
		return fd;
	}
	rc = move_into(u, fd, name);
	close(fd);
	return rc;
}

/** print_plan - for --dry-run; only root can find out whether connections could be steered */
static int print_plan(struct up *u)
{
	char err[512] = "";
	int rc = 0;

	if (!geteuid())
		open_inbound(u);
	if (inbound_can_steer(u->inbound, u->c))
		rc = steer_steered(u->steer, err, sizeof(err));
	inbound_close(u->inbound);
	u->inbound = NULL;
	if (rc) {
		log_error("%s", err);
		return STATUS_FAILED;
	}
	steer_print(u->steer, stdout);
	return 0;
}

/** act - in the place where it is to be done */
static void act(struct up *u)
{
	if (u->c->lockdown) {
		u->status = lockdown(u);
		return;
	}
	if (!set_up(u)) {
		while (u->phase != DONE)
			turn(u);
	}
	tear_down(u);
}

int up_run(const struct up_config *c, up_reparse_fn *reparse, void *ctx)
{
	static struct up u;
	char err[RULESET_ERR] = "";

	service_init(&u.service);
	if (service_rules(&u.service, c->base.rules, err, sizeof(err))) {
		log_error("--rules %s", err);
		return STATUS_USAGE;
	}
	u.c = c;
	u.reparse = reparse;
	u.reparse_ctx = ctx;
	u.sig_fd = u.diag_fd = u.home_fd = -1;
	u.sandbox = (struct sandbox){
		.ctl_fd = -1,
		.tun_fd = -1,
		.diag_fd = -1,
		.netns_fd = -1,
		.documentation = true, /* no address of the host's means another one here */
	};
	u.status = STATUS_FAILED;
	if (find_worker_user(&u))
		return STATUS_FAILED;
	if (!c->dry_run && geteuid()) {
		log_error("weir up needs root: it changes the host's routing");
		return STATUS_FAILED;
	}
	capture_dns(&u);
	if ((c->dry_run || !enter_netns(&u)) && !plan_in(&u)) {
		if (c->dry_run) {
			u.status = print_plan(&u);
		} else {
			act(&u);
		}
	}
	steer_free(u.steer);
	free_config(u.next);
	free_config(u.wanted);
	if (u.outside)
		netcfg_close(u.outside);
	close_fd(&u.home_fd);
	return u.status;
}
