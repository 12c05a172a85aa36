/* SPDX-License-Identifier: MIT */
/*
 * supervisor: waits in one poll() for signals, the keeper, the worker, changes of
 * resolv.conf and the clock; and moves through the phases of a run.
 *
 *   STARTING  the worker locks itself down; COMMAND does not run yet
 *   RUNNING   COMMAND runs
 *   LEFT      COMMAND has ended, descendants of it still use the network
 *   DRAINING  nothing runs inside; bytes are still on their way out
 *   STOPPING  the worker has been told to end
 *   DONE      it is reaped
 *
 * Signals are blocked and read from a descriptor; their dispositions stay as they
 * were, so that nohup and an ignored interrupt mean for COMMAND what they meant
 * for us. What the terminal sends goes to the process group and so to COMMAND by
 * itself; only what somebody sent to us alone is passed on.
 */
#include "supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "control.h"
#include "fds.h"
#include "hostdns.h"
#include "isolate.h"
#include "owner.h"
#include "owner_bpf.h"
#include "proctree.h"
#include "record.h"
#include "resolvwatch.h"
#include "sandbox.h"
#include "service.h"
#include "workerctl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

#define STATUS_USAGE   2		  /* options, and rules are one of them, are wrong */
#define STATUS_FAILED  126		  /* weir could not set up or go on */
#define STATUS_MISSING 127		  /* no such COMMAND, as in a shell */
#define SAY_LEFT_NS    NSEC_PER_SEC	  /* before we say what we wait for */
#define STOP_NS	       (5 * NSEC_PER_SEC) /* for a worker to report and end */
#define FLUSH_RETRY_NS (100 * NSEC_PER_MSEC)
#define CALLER_FDS_MAX 1024

enum phase { STARTING, RUNNING, LEFT, DRAINING, STOPPING, DONE };

struct supervisor {
	const struct config *cfg;
	struct sandbox sandbox;
	struct record *record;
	struct owner_db *db;
	struct workerctl *worker;
	struct publish *publish;    /* NULL: nothing is published */
	struct starter *starter;    /* NULL: there are no hooks */
	struct resolvwatch *resolv; /* NULL: changes are not followed (said) */
	struct hostdns_conf conf;   /* the host's resolv.conf as the keeper knows it */
	struct control *control;    /* NULL: nobody can ask (said) */
	struct service service;
	struct isolate_user user;
	struct workerctl_env env;
	struct proctree_pids ours; /* children we had before, and the worker: not COMMAND's */
	int caller_fds[CALLER_FDS_MAX];
	size_t n_caller_fds;
	sigset_t orig, watched;
	int sig_fd;
	enum phase phase;
	bool started;	   /* COMMAND was */
	bool empty;	   /* nothing runs inside any more */
	uint64_t deadline; /* of this phase, 0 = none */
	bool flush_left;
	uint64_t look_at;  /* when to see what is listened on inside, 0 = never */
	uint64_t serve_at; /* when the service wants to be called, 0 = never */
	int exec_errno;
	int status; /* wait status of COMMAND, or made up */
};

/* --- phases ---------------------------------------------------------------------- */

static void enter(struct supervisor *s, enum phase phase, uint64_t wait_ns)
{
	s->phase = phase;
	s->deadline = wait_ns ? clock_mono_ns() + wait_ns : 0;
}

static void stop_worker(struct supervisor *s)
{
	if (!workerctl_pid(s->worker)) {
		enter(s, DONE, 0);
		return;
	}
	workerctl_stop(s->worker);
	enter(s, STOPPING, STOP_NS);
}

static void drain_worker(struct supervisor *s)
{
	if (!workerctl_pid(s->worker)) {
		enter(s, DONE, 0);
		return;
	}
	workerctl_drain(s->worker);
	enter(s, DRAINING, s->cfg->linger * NSEC_PER_SEC + 1);
}

/** give_up - end everything inside; @status is what the caller will see */
static void give_up(struct supervisor *s, int status)
{
	s->status = status << 8;
	sandbox_kill(&s->sandbox);
	stop_worker(s);
}

static void say_left(struct supervisor *s)
{
	size_t n = proctree_count(s->sandbox.keeper);

	s->deadline = 0;
	if (n)
		log_note("%s has ended; %zu descendant%s still use%s the network "
			 "(--kill-children ends them)",
			 s->cfg->command[0], n, n == 1 ? "" : "s", n == 1 ? "s" : "");
}

static void deadline_passed(struct supervisor *s)
{
	switch (s->phase) {
	case LEFT:
		say_left(s);
		break;
	case DRAINING:
		log_note("bytes still under way after %u s are given up (--linger)",
			 s->cfg->linger);
		stop_worker(s);
		break;
	case STOPPING:
		workerctl_kill(s->worker);
		s->deadline = 0;
		break;
	default:
		s->deadline = 0;
	}
}

/* --- the keeper --------------------------------------------------------------------- */

/** let_go - the caller's descriptors are COMMAND's now: a pipe ends when COMMAND closes it */
static void let_go(struct supervisor *s)
{
	const int log = record_log_fd(s->record);

	for (size_t i = 0; i < s->n_caller_fds; i++) {
		if (s->caller_fds[i] != log)
			close(s->caller_fds[i]);
	}
	for (int fd = 0; fd < 2; fd++) {
		if (fd != log)
			fds_null(fd);
	}
}

static void command_failed(struct supervisor *s)
{
	log_error("%s: %s", s->cfg->command[0], strerror(s->exec_errno));
	s->status = (s->exec_errno == ENOENT ? STATUS_MISSING : STATUS_FAILED) << 8;
}

static void take_event(struct supervisor *s, const struct sandbox_event *ev)
{
	switch (ev->type) {
	case SANDBOX_STARTED:
		s->started = true;
		let_go(s);
		break;
	case SANDBOX_EXEC_FAILED:
		s->exec_errno = ev->status;
		break;
	case SANDBOX_EXITED:
		if (s->phase != RUNNING)
			break;
		s->status = ev->status;
		if (s->exec_errno)
			command_failed(s);
		enter(s, LEFT, SAY_LEFT_NS);
		break;
	case SANDBOX_EMPTY:
		s->empty = true;
		if (s->phase == LEFT)
			drain_worker(s);
		break;
	case SANDBOX_DNS:
		if (ev->text[0])
			log_note("%s", ev->text);
		workerctl_resolvers(s->worker);
		break;
	default: /* the keeper stops and continues us by itself */
		break;
	}
}

static void read_events(struct supervisor *s)
{
	struct sandbox_event ev;
	int r;

	while (s->sandbox.ctl_fd >= 0 && (r = sandbox_event_read(&s->sandbox, &ev)) != -EAGAIN) {
		if (r == 1)
			take_event(s, &ev);
		else
			close_fd(&s->sandbox.ctl_fd); /* its death is reported by SIGCHLD */
	}
}

/** keeper_ended - in order when everything inside is over, else somebody killed it */
static void keeper_ended(struct supervisor *s, int status)
{
	read_events(s);
	s->sandbox.keeper = 0;
	if (s->empty || s->phase >= STOPPING)
		return;
	/* What it watched over has fallen to us. */
	if (workerctl_pid(s->worker))
		proctree_pids_add(&s->ours, workerctl_pid(s->worker));
	proctree_end_children(&s->ours);
	log_error("the keeper process was ended (%s): killed everything that ran inside",
		  WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "unexpectedly");
	s->status = (128 + SIGKILL) << 8;
	stop_worker(s);
}

/* --- resolvers ----------------------------------------------------------------------- */

/** resolvers_changed - the host's resolv.conf may be another one */
static void resolvers_changed(struct supervisor *s)
{
	static struct hostdns_conf now;
	int r;

	hostdns_read(RESOLV_CONF, &now);
	/* A file of the same text may have replaced one that our copy lay over. */
	if (now.len == s->conf.len && !memcmp(now.text, s->conf.text, now.len) &&
	    !memcmp(&now.dns, &s->conf.dns, sizeof(now.dns)) && !now.dns.n_zoned)
		return;
	if (s->phase > LEFT || s->sandbox.ctl_fd < 0)
		return;
	r = sandbox_resolvers(&s->sandbox, &now);
	if (r)
		log_note("resolvers have changed, which can't be told inside: %s", strerror(-r));
	else
		s->conf = now;
}

/* --- the worker ----------------------------------------------------------------------- */

static void check_worker(struct supervisor *s)
{
	if (s->phase == STARTING && workerctl_ready(s->worker)) {
		enter(s, RUNNING, 0);
		sandbox_start(&s->sandbox);
	}
	if (s->phase == DRAINING && workerctl_drained(s->worker))
		stop_worker(s);
}

static void worker_ended(struct supervisor *s, int status)
{
	int r = workerctl_ended(s->worker, status, s->phase == STOPPING);

	if (s->phase == STOPPING) {
		enter(s, DONE, 0);
		return;
	}
	if (!r)
		return;
	if (s->phase == STARTING && WIFEXITED(status) && WEXITSTATUS(status) == WORKER_REFUSED) {
		give_up(s, STATUS_USAGE);
		return;
	}
	if (s->phase == STARTING)
		log_error("the worker did not start");
	else if (r != -ELOOP)
		log_error("no new worker: %s", strerror(-r));
	give_up(s, STATUS_FAILED);
}

static void reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->sandbox.keeper)
			keeper_ended(s, status);
		else if (pid == workerctl_pid(s->worker))
			worker_ended(s, status);
	}
}

/* --- signals ---------------------------------------------------------------------------- */

static bool is_ignored(int signo)
{
	struct sigaction sa;

	return !sigaction(signo, NULL, &sa) && sa.sa_handler == SIG_IGN;
}

static bool means_end(int signo)
{
	return (signo == SIGINT || signo == SIGTERM || signo == SIGHUP || signo == SIGQUIT) &&
	       !is_ignored(signo);
}

static bool sent_by_somebody(const struct signalfd_siginfo *si)
{
	return si->ssi_code == SI_USER || si->ssi_code == SI_QUEUE || si->ssi_code == SI_TKILL;
}

/** signal_running - to COMMAND, unless it has it already or its own tree sent it */
static void signal_running(struct supervisor *s, const struct signalfd_siginfo *si)
{
	const pid_t sender = (pid_t)si->ssi_pid;

	if (!sent_by_somebody(si) || (sender && proctree_is_descendant(sender, s->sandbox.keeper)))
		return;
	sandbox_signal(&s->sandbox, (int)si->ssi_signo, sender);
}

static void take_signal(struct supervisor *s, const struct signalfd_siginfo *si)
{
	const int signo = (int)si->ssi_signo;

	switch (signo) {
	case SIGCHLD:
		reap(s);
		return;
	case SIGCONT:
		if ((pid_t)si->ssi_pid != s->sandbox.keeper)
			sandbox_continue(&s->sandbox);
		return;
	case SIGPIPE:
	case SIGXFSZ: /* the flow log's: COMMAND has a limit of its own */
	case SIGTTIN:
	case SIGTTOU:
		return;
	}
	if (s->phase == RUNNING) {
		signal_running(s, si);
	} else if (means_end(signo)) {
		if (s->phase == LEFT)
			sandbox_kill(&s->sandbox);
		else if (s->phase == DRAINING)
			stop_worker(s);
		else if (s->phase == STARTING) {
			give_up(s, 0);
			s->status = signo;
		}
	}
}

static void read_signals(struct supervisor *s)
{
	struct signalfd_siginfo si;

	while (read(s->sig_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		take_signal(s, &si);
}

static int watch_signals(struct supervisor *s)
{
	static const int signals[] = {SIGHUP,  SIGINT,	SIGQUIT, SIGTERM,  SIGUSR1,
				      SIGUSR2, SIGALRM, SIGPIPE, SIGCHLD,  SIGCONT,
				      SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH, SIGXFSZ};

	sigemptyset(&s->watched);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&s->watched, signals[i]);
	for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
		sigaddset(&s->watched, i);
	sigprocmask(SIG_BLOCK, &s->watched, &s->orig);
	s->sig_fd = signalfd(-1, &s->watched, SFD_NONBLOCK | SFD_CLOEXEC);
	return s->sig_fd < 0 ? -errno : 0;
}

/** die_by - let the shell see how COMMAND died; returns where the signal does not kill */
static void die_by(int signo)
{
	const struct rlimit none = {0, 0};
	sigset_t set;

	setrlimit(RLIMIT_CORE, &none); /* the core worth having is COMMAND's */
	prctl(PR_SET_DUMPABLE, 0);
	signal(signo, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signo);
	kill(getpid(), signo);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* --- the loop ------------------------------------------------------------------------------ */

/** earlier - of two times, of which 0 is never */
static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a && b ? MIN(a, b) : a + b;
}

static int poll_timeout(const struct supervisor *s)
{
	const uint64_t now = clock_mono_ns();
	uint64_t at = s->deadline;

	if (s->flush_left)
		at = earlier(at, now + FLUSH_RETRY_NS);
	at = earlier(at, resolvwatch_deadline(s->resolv));
	at = earlier(at, control_retry_at(s->control));
	at = earlier(at, s->look_at);
	at = earlier(at, s->serve_at);
	if (!at)
		return -1;
	return at <= now ? 0 : (int)MIN((at - now) / NSEC_PER_MSEC + 1, 3600000ULL);
}

/** answer_request - what `weir flows` and its like ask */
static enum control_said answer_request(void *ctx, const struct control_peer *who,
					const char *request, FILE *out)
{
	struct supervisor *s = ctx;
	enum control_said said;
	int r;

	if (service_answer(&s->service, who, request, out, &said))
		return said;
	if (!strcmp(request, "hooks")) {
		workerctl_hooks(s->worker, out);
		return CONTROL_ANSWERED;
	}
	if (strcmp(request, "reload") != 0) {
		fprintf(out, "error: no such request\n");
		return CONTROL_ANSWERED;
	}
	if (!s->cfg->rules) {
		workerctl_reload(s->worker);
		fprintf(out, "reloaded\n");
		return CONTROL_ANSWERED;
	}
	r = service_reload(&s->service, s->cfg->rules, who->client);
	if (!r)
		return CONTROL_LATER;
	fprintf(out, "error: %s\n", r == -EBUSY ? "a reload is under way" : strerror(-r));
	return CONTROL_ANSWERED;
}

/** reloaded - of `weir reload` */
static const char *reloaded(void *ctx, int rc, const char *text)
{
	static char answer[RULESET_ERR + 16];
	struct supervisor *s = ctx;

	if (rc) {
		snprintf(answer, sizeof(answer), "error: %s\n", text);
		return answer;
	}
	service_adopt(&s->service);
	workerctl_reload(s->worker);
	log_note("%s: reloaded", s->cfg->rules);
	return "reloaded\n";
}

/* signals, keeper, worker, resolv.conf, starter, rules; then the control socket and its clients */
#define POLL_OWN 6

static void turn(struct supervisor *s)
{
	struct pollfd p[POLL_OWN + CONTROL_FDS_MAX] = {
		{.fd = s->sig_fd, .events = POLLIN},
		{.fd = s->sandbox.ctl_fd, .events = POLLIN},
		{.fd = workerctl_fd(s->worker), .events = workerctl_events(s->worker)},
		{.fd = resolvwatch_fd(s->resolv), .events = POLLIN},
		{.fd = workerctl_starter_fd(s->worker), .events = POLLIN},
		{.fd = service_fd(&s->service), .events = POLLIN},
	};
	const int asking = control_pollfds(s->control, p + POLL_OWN);

	if (poll(p, POLL_OWN + (nfds_t)asking, poll_timeout(s)) < 0)
		return;
	control_serve(s->control, p + POLL_OWN, asking, answer_request, s);
	if (p[1].revents)
		read_events(s);
	if (p[2].revents)
		workerctl_service(s->worker);
	if (resolvwatch_service(s->resolv, p[3].revents != 0))
		resolvers_changed(s);
	s->serve_at = service_serve(&s->service, p[5].revents != 0, clock_mono_ns());
	if (p[0].revents)
		read_signals(s);
	check_worker(s);
	if (s->phase == RUNNING || s->phase == LEFT)
		s->look_at = workerctl_look(s->worker, clock_mono_ns());
	else
		s->look_at = 0;
	s->flush_left = record_flush(s->record) > 0;
	if (s->deadline && clock_mono_ns() >= s->deadline)
		deadline_passed(s);
}

/* --- birth and end -------------------------------------------------------------------------- */

static int open_record(struct supervisor *s)
{
	const struct record_config rc = {
		.log = s->cfg->log,
		.table = !s->cfg->quiet,
		.live = s->cfg->live,
		.out_fd = STDERR_FILENO,
	};
	char err[256] = "";
	int r = record_new(&rc, &s->record, err, sizeof(err));

	if (r)
		log_error("%s", *err ? err : strerror(-r));
	return r;
}

/** worker_user - root's worker becomes somebody without rights; 0 or -errno */
static int worker_user(struct supervisor *s)
{
	int r;

	if (s->sandbox.userns)
		return 0;
	r = isolate_worker_user(&s->user);
	if (r)
		log_error("there is no user for the worker: add a user \"weir\" or \"nobody\"");
	else
		s->env.user = &s->user;
	return r;
}

/** open_bpf - not needed, and not to be had by everybody: NULL */
static struct owner_bpf *open_bpf(const struct supervisor *s)
{
	struct owner_bpf *ob = NULL;
	char err[200];

	if (s->cfg->no_bpf || s->sandbox.userns)
		return NULL;
	if (owner_bpf_open(s->sandbox.diag_fd, &ob, err, sizeof(err)))
		log_debug("no BPF: %s", err);
	return ob;
}

static int open_worker(struct supervisor *s)
{
	const struct owner_db_config oc = {
		.diag_fd = s->sandbox.diag_fd,
		.keeper = s->sandbox.keeper,
		.whole_proc = !s->sandbox.userns,
		.bpf = open_bpf(s),
	};
	int r = worker_user(s);

	if (!r && s->cfg->n_hooks)
		r = starter_new(&s->starter, s->env.user);
	if (r)
		return r;
	s->env.cfg = s->cfg;
	s->env.sandbox = &s->sandbox;
	s->env.record = s->record;
	s->env.diag_fd = s->sandbox.diag_fd;
	s->env.publish = s->publish;
	s->env.starter = s->starter;
	s->env.rules = &s->service.rules;
	s->env.decisions = &s->service.decisions;
	s->env.event = service_event;
	s->env.ctx = &s->service;
	s->env.db = s->db = owner_db_new(&oc);
	if (s->db)
		s->sandbox.diag_fd = -1; /* the db's now */
	s->worker = s->db ? workerctl_new(&s->env) : NULL;
	s->service.worker = s->worker;
	r = s->worker ? workerctl_start(s->worker) : -ENOMEM;
	if (r)
		log_error("no worker: %s", strerror(-r));
	return r;
}

/** end_asked - the signal that waits and means the end, or 0; others mean nothing yet */
static int end_asked(const struct supervisor *s)
{
	struct signalfd_siginfo si;

	while (read(s->sig_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (means_end((int)si.ssi_signo))
			return (int)si.ssi_signo;
	}
	return 0;
}

/**
 * open_sandbox - make it; 0, or -errno after one line
 *
 * A machine that is busy or short of memory may take long over namespaces: whoever wants
 * an end meanwhile gets it.
 */
static int open_sandbox(struct supervisor *s)
{
	char err[256] = "";
	int r = sandbox_open(&s->sandbox, s->cfg, &s->orig, &s->conf, err, sizeof(err));
	struct pollfd p[] = {
		{.fd = s->sig_fd, .events = POLLIN},
		{.fd = s->sandbox.ctl_fd, .events = POLLIN},
	};

	while (!r && !p[1].revents) {
		int signo;

		poll(p, ARRAY_SIZE(p), -1);
		signo = p[0].revents ? end_asked(s) : 0;
		if (!signo)
			continue;
		s->status = signo;
		sandbox_abort(&s->sandbox);
		return -EINTR;
	}
	if (!r)
		r = sandbox_ready(&s->sandbox, err, sizeof(err));
	if (r)
		log_error("%s", err);
	return r;
}

/** watch_resolvers - before the file is read, so that no change is missed */
static void watch_resolvers(struct supervisor *s)
{
	int r = resolvwatch_open(&s->resolv);

	if (r)
		log_note("changes of resolv.conf are not followed: %s", strerror(-r));
	hostdns_read(RESOLV_CONF, &s->conf);
}

/** open_ports - --publish: what can't be bound is no reason to go on without */
static int open_ports(struct supervisor *s)
{
	char err[256] = "";
	int r = publish_new(s->cfg, &s->sandbox, &s->publish, err, sizeof(err));

	if (r)
		log_error("%s", err);
	return r;
}

static int set_up(struct supervisor *s)
{
	int r;

	proctree_children(getpid(), &s->ours);
	r = watch_signals(s);
	if (!r)
		r = open_record(s);
	if (r)
		return r;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	watch_resolvers(s);
	r = open_sandbox(s);
	if (r)
		return r;
	r = open_ports(s);
	if (r)
		return r;
	r = control_open(&s->control);
	if (r)
		log_note("no control socket, so `weir flows` won't find this run: %s",
			 strerror(-r));
	s->service.control = s->control;
	s->service.record = s->record;
	s->service.reloaded = reloaded;
	s->service.ctx = s;
	return open_worker(s);
}

static void tear_down(struct supervisor *s)
{
	control_close(s->control);
	resolvwatch_close(s->resolv);
	workerctl_end(s->worker);
	publish_free(s->publish); /* takes its listeners back from the worker's half */
	workerctl_free(s->worker);
	starter_free(s->starter);
	service_free(&s->service);
	sandbox_close(&s->sandbox);
	owner_db_free(s->db);
	if (s->record)
		record_free(s->record);
	proctree_pids_free(&s->ours);
	close_fd(&s->sig_fd);
}

static void finish_record(struct supervisor *s)
{
	const uint64_t lost = record_finish(s->record);

	if (s->started && !s->exec_errno) /* else one line says why not */
		record_table(s->record);
	if (lost && s->cfg->quiet) /* the table says it, too */
		log_warn("%llu lines of the flow log lost", (unsigned long long)lost);
}

int supervisor_run(const struct config *cfg)
{
	static struct supervisor s;
	char err[RULESET_ERR] = "";

	s.n_caller_fds = fds_list(3, s.caller_fds, CALLER_FDS_MAX); /* before any of ours */
	service_init(&s.service);
	if (service_rules(&s.service, cfg->rules, err, sizeof(err))) {
		log_error("--rules %s", err);
		return STATUS_USAGE;
	}
	s.cfg = cfg;
	s.sig_fd = -1;
	s.sandbox = (struct sandbox){.ctl_fd = -1, .tun_fd = -1, .diag_fd = -1, .netns_fd = -1};
	s.status = STATUS_FAILED << 8;
	if (!set_up(&s)) {
		while (s.phase != DONE)
			turn(&s);
		finish_record(&s);
	}
	tear_down(&s);
	if (WIFSIGNALED(s.status))
		die_by(WTERMSIG(s.status));
	return WIFSIGNALED(s.status) ? 128 + WTERMSIG(s.status) : WEXITSTATUS(s.status);
}
