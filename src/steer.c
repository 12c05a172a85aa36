/* SPDX-License-Identifier: MIT */
#include "steer.h"

#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "cgroupwatch.h"
#include "journal.h"
#include "looptest.h"
#include "mirror.h"
#include "netcfg.h"
#include "netns.h"
#include "nft.h"
#include "oldconn.h"
#include "owner_sockdiag.h"
#include "rtnl.h"
#include "select_names.h"
#include "sysctl.h"
#include "tundev.h"
#include "watcher.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

#define SETTLE_NS (100 * NSEC_PER_MSEC) /* changes of the host come in bursts */
#define CHECK_NS  NSEC_PER_SEC		/* which sockets are there that keep their path */
#define KEEP_NS	  (30 * NSEC_PER_SEC)	/* a UDP server may come back */
#define LOOK_NS	  (5 * NSEC_PER_SEC)	/* notifications can be lost: look by ourselves */
#define TXQLEN	  2000			/* packets that wait while a worker starts */
#define MTU_MIN	  1280

struct steer {
	struct steer_config sc;
	struct plan *plan;
	struct plan_input input;
	struct journal *journal;
	struct rtnl *rtnl;
	struct nft *nft;
	struct mirror mirror;
	struct oldconn *old;
	struct cgroupwatch *cgroups; /* NULL: none are selected */
	struct watcher *watcher;
	int ifindex;
	struct addr inside4, inside6; /* with --netns: sources for its programs, if it has some */
	int rtnl_fd, nft_fd;
	bool device_gone;
	bool inherited;			       /* a guard was in force when we came */
	bool limited;			       /* it was said that there are too many routes */
	bool selected;			       /* rules and tables are in force */
	bool steered;			       /* connections from outside go to the worker */
	bool keeping;			       /* the plan's keep_nft is in force */
	uint64_t follow_at, check_at, look_at; /* 0: nothing to do */
	char *in_force;			       /* owned; text of weir_guard; NULL: not by us */
	uint64_t udp_until;		       /* UDP servers of the selected were there lately */
	unsigned changes, cgroup_changes;      /* how often there were some */
};

/* --- before anything is changed ------------------------------------------------------ */

static int make_plan(struct steer *s, char *err, size_t errsize)
{
	const struct select_names *names = select_names_host();
	const struct selection *sel = &s->sc.up->select;
	uint64_t id;
	int rc;

	s->plan = calloc(1, sizeof(*s->plan));
	if (!s->plan)
		return -ENOMEM;
	s->input = (struct plan_input){
		.worker_uid = s->sc.worker->uid,
		.dev = TUNDEV_NAME,
		.cgroup_mount = names->cgroup_mount,
		.steered = s->steered,
		.n_dns = MIN(s->sc.n_dns, PLAN_DNS_MAX),
	};
	for (unsigned i = 0; i < s->input.n_dns; i++)
		s->input.dns[i] = s->sc.dns[i];
	for (unsigned i = 0; s->sc.up->dry_run && i < sel->n_cgroups; i++)
		s->input.cgroup_exists[i] = !select_cgroup_id(sel->cgroups[i].path, &id);
	rc = plan_make(s->plan, s->sc.up, &s->input, err, errsize);
	return rc ? rc : cgroupwatch_open(&s->cgroups, sel, names->cgroup_mount);
}

int steer_new(struct steer **out, const struct steer_config *sc, char *err, size_t errsize)
{
	struct steer *s = calloc(1, sizeof(*s));
	int rc;

	*out = s;
	if (!s) {
		snprintf(err, errsize, "no memory");
		return -ENOMEM;
	}
	s->sc = *sc;
	s->rtnl_fd = s->nft_fd = -1;
	*err = 0;
	rc = make_plan(s, err, errsize);
	if (rc && !*err)
		snprintf(err, errsize, "no plan: %s", strerror(-rc));
	return rc;
}

static void drop_plan(struct steer *s)
{
	if (s->plan)
		plan_free(s->plan);
	free(s->plan);
	s->plan = NULL;
	cgroupwatch_close(s->cgroups);
	s->cgroups = NULL;
}

int steer_steered(struct steer *s, char *err, size_t errsize)
{
	s->steered = true;
	drop_plan(s);
	return make_plan(s, err, errsize);
}

void steer_free(struct steer *s)
{
	if (!s)
		return;
	oldconn_free(s->old);
	free(s->in_force);
	if (s->journal)
		journal_close(s->journal);
	if (s->nft)
		nft_close(s->nft);
	if (s->rtnl)
		rtnl_close(s->rtnl);
	close_fd(&s->rtnl_fd);
	close_fd(&s->nft_fd);
	drop_plan(s);
	free(s);
}

void steer_print(const struct steer *s, FILE *f)
{
	plan_print(s->plan, f);
}

/* --- in ------------------------------------------------------------------------------------ */

__attribute__((format(printf, 4, 5))) static int failed(int rc, char *err, size_t errsize,
							const char *fmt, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(err, errsize, fmt, ap);
	va_end(ap);
	n = strlen(err);
	snprintf(err + n, errsize - n, ": %s", strerror(-rc));
	return rc;
}

/** load_journal - of a network namespace that is gone nothing but files is left */
static int load_journal(struct steer *s, const char *path, char *err, size_t errsize)
{
	int rc = journal_load(path, &s->journal, err, errsize), fd;
	char id[NETNS_ID_MAX];

	if (rc != -EXDEV || journal_netns(path, id, sizeof(id)))
		return rc;
	fd = netns_find(id);
	if (fd >= 0)
		close(fd);
	else
		rc = journal_load_files(path, &s->journal, err, errsize);
	return rc;
}

/** open_journal - the guard that a weir which was killed has left stays until ours is in force */
static int open_journal(struct steer *s, char *err, size_t errsize)
{
	char path[256];
	int rc;

	if (snprintf(path, sizeof(path), "%s/" JOURNAL_NAME, s->sc.up->runtime_dir) >=
	    (int)sizeof(path))
		return failed(-ENAMETOOLONG, err, errsize, "--runtime-dir");
	if (mkdir(s->sc.up->runtime_dir, 0755) && errno != EEXIST)
		return failed(-errno, err, errsize, "%s", s->sc.up->runtime_dir);
	rc = journal_create(path, &s->journal);
	if (rc == -EEXIST) {
		log_note("an earlier weir has left changes on this host: they are replaced");
		rc = load_journal(s, path, err, errsize);
		if (rc && *err)
			return rc;
		s->inherited = !rc && journal_has_guard(s->journal);
	}
	if (rc == -EBUSY)
		snprintf(err, errsize, "weir is up already (weir down ends it)");
	else if (rc)
		failed(rc, err, errsize, "%s", path);
	return rc;
}

static int open_tools(struct steer *s, char *err, size_t errsize)
{
	int rc = rtnl_open(&s->rtnl);

	if (rc)
		return failed(rc, err, errsize, "no rtnetlink");
	rc = nft_open(&s->nft);
	if (rc)
		return failed(rc, err, errsize, "no nftables");
	rc = oldconn_new(&s->old);
	if (rc)
		return failed(rc, err, errsize, "no sock_diag");
	s->rtnl_fd = rtnl_watch_open();
	if (s->rtnl_fd < 0)
		return failed(s->rtnl_fd, err, errsize, "no word of changed routes");
	s->nft_fd = nft_watch_open();
	if (s->nft_fd < 0)
		return failed(s->nft_fd, err, errsize, "no word of changed nftables");
	return 0;
}

static int set_sysctls(struct steer *s, char *err, size_t errsize)
{
	for (unsigned i = 0; i < s->plan->n_sysctls; i++) {
		const struct host_sysctl *c = &s->plan->sysctls[i];
		int rc = journal_sysctl(s->journal, c);

		if (rc && rc != -ENOENT) /* a kernel without IPv6 has none of its settings */
			return failed(rc, err, errsize, "sysctl %s", c->name);
	}
	return 0;
}

static unsigned device_mtu(const struct steer *s, struct netcfg *nc)
{
	struct netcfg_host h;

	if (s->sc.up->base.mtu)
		return s->sc.up->base.mtu;
	if (s->sc.outside)
		nc = s->sc.outside;
	return !netcfg_read_host(nc, &h) && h.mtu ? MAX(h.mtu, MTU_MIN) : 1500;
}

static int add_addresses(const struct steer *s, struct netcfg *nc, struct sandbox *sb)
{
	const struct config *c = &s->sc.up->base;
	int rc = 0;

	for (unsigned i = 0; i < c->n_addresses; i++) {
		const bool v4 = addr_is_v4(&c->addresses[i].addr);
		int r = netcfg_address_add(nc, s->ifindex, &c->addresses[i], NULL);

		if (!r)
			*(v4 ? &sb->has4 : &sb->has6) = true;
		else if (v4 || r != -EACCES) /* IPv6 is switched off here */
			rc = r;
	}
	return rc;
}

static int furnish(struct steer *s, struct sandbox *sb)
{
	const struct netcfg_link quiet = {.no_link_local = true}, up = {.up = true};
	struct netcfg_link shape = {.txqlen = TXQLEN};
	struct netcfg *nc;
	int rc = netcfg_open(&nc);

	if (rc)
		return rc;
	sb->mtu = shape.mtu = device_mtu(s, nc);
	for (unsigned i = 0; i < s->plan->n_dev_sysctls; i++)
		sysctl_write(s->plan->dev_sysctls[i].name, s->plan->dev_sysctls[i].value);
	rc = netcfg_link_set(nc, s->ifindex, &shape);
	if (!rc)
		netcfg_link_set(nc, s->ifindex, &quiet);
	if (!rc)
		rc = netcfg_link_set(nc, s->ifindex, &up);
	if (!rc)
		rc = add_addresses(s, nc, sb);
	netcfg_close(nc);
	return rc;
}

static int make_device(struct steer *s, struct sandbox *sb, char *err, size_t errsize)
{
	struct tundev t;
	int rc;

	if (if_nametoindex(TUNDEV_NAME)) {
		snprintf(err, errsize, "there is a device %s already", TUNDEV_NAME);
		return -EEXIST;
	}
	rc = journal_link(s->journal, TUNDEV_NAME);
	if (rc)
		return failed(rc, err, errsize, "device %s", TUNDEV_NAME);
	rc = tundev_open(&t);
	if (rc) {
		if (!s->selected) /* else the line is an old one */
			journal_take_back(s->journal);
		return failed(rc, err, errsize, "no TUN device (/dev/net/tun)");
	}
	sb->tun_fd = t.fd;
	sb->tso = t.tso;
	sb->uso = t.uso;
	s->ifindex = t.ifindex;
	sb->beside = s->sc.outside ? 0 : (unsigned)t.ifindex;
	rc = furnish(s, sb);
	return rc ? failed(rc, err, errsize, "device %s", TUNDEV_NAME) : 0;
}

/** inside_route - of one family; where there is no way outside there is none, as mirror.c says it
 */
static int inside_route(struct steer *s, bool v6, bool present)
{
	struct host_route r = {
		.v6 = v6,
		.table = s->mirror.table,
		.ifindex = s->mirror.ifindex,
		.src = v6 ? s->inside6 : s->inside4,
	};
	int rc;

	if (!present) {
		r.type = ROUTE_THROW;
		r.ifindex = 0;
		memset(&r.src, 0, sizeof(r.src));
	}
	weir_assert(!prefix_parse(v6 ? "::/0" : "0.0.0.0/0", &r.dst));
	rc = rtnl_route_replace(s->rtnl, &r);
	if (rc == -EINVAL && present && !addr_is_unspecified(&r.src)) { /* its address is gone */
		memset(&r.src, 0, sizeof(r.src));
		rc = rtnl_route_replace(s->rtnl, &r);
	}
	return rc && present && !v6 ? rc : 0; /* it may have no IPv6 */
}

static int inside_routes(struct steer *s)
{
	struct netcfg_host h;
	int rc = netcfg_read_host(s->sc.outside, &h), r;

	if (rc)
		return rc;
	rc = inside_route(s, false, h.v4.present);
	r = inside_route(s, true, h.v6.present);
	return rc ? rc : r;
}

/** read_inside - the sources that programs have so far, so that servers go on answering by them */
static void read_inside(struct steer *s)
{
	struct netcfg *nc;
	struct netcfg_host h;

	if (netcfg_open(&nc))
		return;
	if (!netcfg_read_host(nc, &h)) {
		if (h.v4.present)
			s->inside4 = h.v4.own.addr;
		if (h.v6.present)
			s->inside6 = h.v6.own.addr;
	}
	netcfg_close(nc);
}

/** update_routes - the mirrored ones; says what can't be mirrored, once in a row */
static int update_routes(struct steer *s)
{
	struct mirror_report report;
	int rc;

	if (s->sc.outside)
		return inside_routes(s);
	rc = mirror_update(&s->mirror, &report);
	if (rc)
		return rc;
	if (report.limited && !s->limited)
		log_note(
			"this host has more than %d routes: only the default way is mirrored, so all "
			"destinations are seen from its source address",
			RTNL_ROUTES_MAX);
	s->limited = report.limited;
	if (report.failed)
		log_warn("a route of table %u can't be set: %s", s->mirror.table,
			 strerror(-report.failed));
	if (report.added + report.replaced + report.deleted)
		log_debug("routes: %u added, %u replaced, %u deleted", report.added,
			  report.replaced, report.deleted);
	return 0;
}

static int mirror_routes(struct steer *s, char *err, size_t errsize)
{
	int rc = journal_table_routes(s->journal, s->sc.up->table);

	s->mirror = (struct mirror){
		.nl = s->rtnl,
		.table = s->sc.up->table,
		.ifindex = (unsigned)s->ifindex,
		.uid = s->sc.worker->uid,
	};
	if (!rc && s->sc.outside)
		read_inside(s);
	if (!rc)
		rc = update_routes(s);
	return rc ? failed(rc, err, errsize, "the host's routes") : 0;
}

static int start_watcher(struct steer *s, char *err, size_t errsize)
{
	int rc = watcher_start(&s->watcher, s->journal);

	return rc ? failed(rc, err, errsize, "no watcher process") : 0;
}

int steer_open(struct steer *s, struct sandbox *sb, char *err, size_t errsize)
{
	int rc = open_tools(s, err, errsize);

	if (!rc)
		rc = open_journal(s, err, errsize);
	if (!rc)
		rc = start_watcher(s, err, errsize);
	if (!rc)
		rc = set_sysctls(s, err, errsize);
	if (!rc)
		rc = make_device(s, sb, err, errsize);
	if (!rc)
		rc = mirror_routes(s, err, errsize);
	return rc;
}

/* --- the path of the selected ------------------------------------------------------------------
 */

static int add_routes(struct steer *s, bool only_guard, char *err, size_t errsize)
{
	for (unsigned i = 0; i < s->plan->n_routes; i++) {
		const struct plan_route *r = &s->plan->routes[i];
		int rc = only_guard && !r->guard
				 ? 0
				 : journal_route(s->journal, s->rtnl, &r->route, r->guard);

		/* Without IPv6 there is nothing to keep closed. */
		if (rc && !(r->route.v6 && (rc == -EOPNOTSUPP || rc == -EAFNOSUPPORT)))
			return failed(rc, err, errsize, "route of table %u", r->route.table);
	}
	return 0;
}

static int add_rules(struct steer *s, bool only_guard, char *err, size_t errsize)
{
	for (unsigned i = 0; i < s->plan->n_rules; i++) {
		const struct plan_rule *r = &s->plan->rules[i];
		int rc = only_guard && !r->guard
				 ? 0
				 : journal_rule(s->journal, s->rtnl, &r->rule, r->guard);

		if (rc && !(r->rule.v6 && (rc == -EOPNOTSUPP || rc == -EAFNOSUPPORT)))
			return failed(rc, err, errsize, "rule of pref %u", r->rule.pref);
	}
	return 0;
}

static int fill_cgroups(struct steer *s, char *err, size_t errsize)
{
	int rc = cgroupwatch_fill(s->cgroups, s->nft);

	return rc ? failed(rc, err, errsize, "cgroups can't be followed") : 0;
}

/** is_kept - is there anything for keep_nft to do? */
static bool is_kept(const struct steer *s)
{
	return oldconn_count(s->old) || s->udp_until;
}

/**
 * forget_parts - nft text that deletes the chains, and the sets of cgroups, that @text defines
 *
 * A chain that somebody has deleted is made first, as deleting what is not there fails.
 */
static void forget_parts(const char *text, FILE *f)
{
	for (const char *at = text; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
		char kind[8], name[64];

		if (sscanf(at, "\t%7s %63s {", kind, name) != 2 || at[1] == '\t')
			continue;
		if (!strcmp(kind, "chain"))
			fprintf(f,
				"add chain inet " PLAN_GUARD_TABLE
				" %s\ndelete chain inet " PLAN_GUARD_TABLE " %s\n",
				name, name);
		else if (!strcmp(kind, "set") && !strncmp(name, "cg", 2))
			fprintf(f, "delete set inet " PLAN_GUARD_TABLE " %s\n", name);
	}
}

/**
 * put_clearing - nft text after which @table can be made as if it had not been there
 * @renew: it is weir_guard as we have made it, and what its sets remember stays: connections from
 *	outside would end, and closed sockets get past
 */
static void put_clearing(const struct steer *s, const char *table, bool renew, FILE *f)
{
	if (renew) {
		fprintf(f, "flush table inet %s\nflush set inet %s old4\nflush set inet %s old6\n",
			table, table, table);
		forget_parts(s->in_force, f);
		return;
	}
	fprintf(f, "table inet %s\ndelete table inet %s\n", table, table);
	if (!strcmp(table, PLAN_TABLE))
		fprintf(f, "table netdev %s\ndelete table netdev %s\n", table, table);
}

/**
 * table_text - nft text that makes a table anew; free it
 *
 * It comes with the cgroups there are, the guard's with the connections from before, in the same
 * transaction.
 */
static char *table_text(struct steer *s, const char *table, bool renew)
{
	const bool guard = !strcmp(table, PLAN_GUARD_TABLE);
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	if (!f)
		return NULL;
	put_clearing(s, table, renew, f);
	fputs(guard ? s->plan->guard_nft : s->plan->nft, f);
	cgroupwatch_print(s->cgroups, table, f);
	if (guard) {
		oldconn_print(s->old, table, f);
		fputs(is_kept(s) ? s->plan->keep_nft : "", f);
	}
	if (fclose(f)) {
		free(out);
		return NULL;
	}
	return out;
}

/** note_in_force - what weir_guard consists of; when there is no memory it is made anew as a whole
 */
static void note_in_force(struct steer *s)
{
	char *text = NULL;

	if (asprintf(&text, "%s%s", s->plan->guard_nft, s->keeping ? s->plan->keep_nft : "") < 0)
		text = NULL;
	free(s->in_force);
	s->in_force = text;
}

static int apply_text(struct steer *s, const char *table, bool renew, char *err, size_t errsize)
{
	const bool stays = !strcmp(table, PLAN_GUARD_TABLE) && s->plan->has_guard;
	char *text = table_text(s, table, renew);
	int rc = text ? journal_nft(s->journal, s->nft, table, text, stays, err, errsize) : -ENOMEM;

	free(text);
	return rc;
}

/** apply_table - also in the place of the one that is there */
static int apply_table(struct steer *s, const char *table, char *err, size_t errsize)
{
	const bool guard = !strcmp(table, PLAN_GUARD_TABLE);
	int rc = -ENOENT;

	if (guard && s->in_force)
		rc = apply_text(s, table, true, err, errsize);
	if (rc) /* the first time, or somebody has changed it */
		rc = apply_text(s, table, false, err, errsize);
	cgroupwatch_printed(s->cgroups);
	if (!rc && guard) {
		oldconn_printed(s->old);
		s->keeping = is_kept(s);
		note_in_force(s);
	}
	return rc;
}

/** update_keep - what everybody pays for only as long as it is needed */
static int update_keep(struct steer *s, char *err, size_t errsize)
{
	const bool keep = is_kept(s);
	int rc;

	if (keep == s->keeping)
		return 0;
	rc = nft_apply(s->nft, keep ? s->plan->keep_nft : s->plan->unkeep_nft, err, errsize);
	if (!rc) {
		s->keeping = keep;
		note_in_force(s);
	}
	return rc;
}

static bool may_be_selected(void *ctx, const struct oldconn_sock *sock)
{
	const struct steer *s = ctx;

	return sock->uid != s->sc.worker->uid && select_matches_uid(&s->sc.up->select, sock->uid);
}

struct taking {
	const struct steer *s;
	int diag_fd;
	unsigned n;
};

static int take_one(void *ctx, const struct oldconn_sock *sock)
{
	struct taking *t = ctx;
	const struct owner_query q = {
		.proto = IPPROTO_TCP,
		.app = sock->local,
		.net = sock->peer,
	};

	if (may_be_selected((void *)(uintptr_t)t->s, sock) &&
	    !owner_sockdiag_destroy(t->diag_fd, &q))
		t->n++;
	return 0;
}

/** take_over - what is connected already is ended, so that it comes back by weir */
static void take_over(struct steer *s)
{
	struct taking t = {.s = s, .diag_fd = owner_sockdiag_open()};

	if (t.diag_fd < 0) {
		log_warn("--take-over: connections can't be ended: %s", strerror(-t.diag_fd));
		return;
	}
	oldconn_dump(true, take_one, &t);
	close(t.diag_fd);
	if (t.n)
		log_note("ended %u connection%s from before", t.n, t.n == 1 ? "" : "s");
}

/** find_udp - UDP servers of the selected: what they answer keeps its path */
static void find_udp(struct steer *s)
{
	const uint64_t now = clock_mono_ns();
	int rc = oldconn_udp(may_be_selected, s);

	if (rc) /* if it can't be told, be on the safe side */
		s->udp_until = now + KEEP_NS;
	else if (s->udp_until <= now)
		s->udp_until = 0;
}

/** keep_paths - note connections that are there now; @connecting: those on their way as well */
static int keep_paths(struct steer *s, bool connecting, char *err, size_t errsize)
{
	int rc;

	if (s->sc.up->take_over)
		return 0;
	rc = oldconn_add(s->old, connecting, may_be_selected, s);
	return rc < 0 ? failed(rc, err, errsize, "connections from before can't be listed") : 0;
}

/** forget_changes - what the watches tell now is what we did ourselves */
static void forget_changes(struct steer *s)
{
	rtnl_watch_read(s->rtnl_fd, s->rtnl);
	nft_watch_read(s->nft_fd, s->nft);
}

static int test_loop(struct steer *s, char *err, size_t errsize)
{
	/* Workers of another namespace can't reach the device. */
	int rc = s->sc.outside ? 0 : looptest(s->sc.worker, s->ifindex);

	if (rc == -ELOOP) {
		snprintf(err, errsize,
			 "what user %s sends comes back through %s: another rule or "
			 "nftables chain of this host sends it there",
			 s->sc.worker->name, TUNDEV_NAME);
		return rc;
	}
	return rc ? failed(rc, err, errsize, "the loop test") : 0;
}

static int close_path(struct steer *s, char *err, size_t errsize)
{
	int rc = keep_paths(s, true, err, errsize);

	find_udp(s);
	return rc ? rc : apply_table(s, PLAN_GUARD_TABLE, err, errsize);
}

static void say_undo(void *ctx, const char *line)
{
	(void)ctx;
	log_debug("%s", line);
}

int steer_select(struct steer *s, char *err, size_t errsize)
{
	int rc;

	*err = 0;
	rc = add_routes(s, false, err, errsize);
	if (!rc)
		rc = close_path(s, err, errsize);
	if (!rc)
		rc = apply_table(s, PLAN_TABLE, err, errsize);
	if (!rc)
		rc = fill_cgroups(s, err, errsize);
	if (!rc)
		rc = add_rules(s, false, err, errsize);
	/*
	 * Those that became connected before the last rule was there. No worker answers yet, so
	 * none of them came by weir.
	 */
	if (!rc)
		rc = keep_paths(s, false, err, errsize);
	if (!rc)
		rc = oldconn_apply(s->old, s->nft, PLAN_GUARD_TABLE, err, errsize);
	if (!rc)
		rc = update_keep(s, err, errsize);
	if (!rc && s->sc.up->take_over)
		take_over(s);
	if (!rc)
		rc = test_loop(s, err, errsize);
	if (!rc) /* what an earlier weir left and this one does not need */
		journal_settle(s->journal, s->rtnl, s->nft, say_undo, NULL);
	if (rc && !*err)
		snprintf(err, errsize, "%s", strerror(-rc));
	s->selected = !rc;
	s->look_at = clock_mono_ns() + LOOK_NS;
	s->check_at = clock_mono_ns() + CHECK_NS;
	forget_changes(s);
	return rc;
}

int steer_guard(struct steer *s, char *err, size_t errsize)
{
	int rc = open_tools(s, err, errsize);

	if (!rc)
		rc = open_journal(s, err, errsize);
	if (!rc)
		rc = add_routes(s, true, err, errsize);
	if (!rc && s->plan->has_guard)
		rc = close_path(s, err, errsize);
	if (!rc)
		rc = add_rules(s, true, err, errsize);
	if (!rc)
		journal_settle(s->journal, s->rtnl, s->nft, say_undo, NULL);
	return rc;
}

/* --- out ----------------------------------------------------------------------------------------
 */

bool steer_inherited(const struct steer *s)
{
	return s->inherited;
}

int steer_undo(struct steer *s, bool keep_guard)
{
	int rc = 0;

	s->selected = false;
	if (s->journal) {
		rc = journal_undo(s->journal, s->rtnl, s->nft,
				  keep_guard ? UNDO_KEEP_GUARD : UNDO_ALL, say_undo, NULL);
		if (!rc && keep_guard && journal_has_guard(s->journal))
			log_error(
				"the selected stay cut off until `weir down` or the next `weir up`");
		if (rc)
			log_error("not everything could be taken back (%s): see %s/journal and "
				  "`weir down`",
				  strerror(-rc), s->sc.up->runtime_dir);
	}
	watcher_stop(s->watcher);
	s->watcher = NULL;
	return rc;
}

void steer_watch(struct steer *s, pid_t pid)
{
	int rc = watcher_watch(s->watcher, pid);

	if (rc)
		log_debug("the watcher can't watch %d: %s", (int)pid, strerror(-rc));
}

int steer_path(struct steer *s, const char *path)
{
	int rc = journal_path(s->journal, path);

	return rc == -EEXIST ? 0 : rc; /* not ours to remove, then */
}

void steer_child_ended(struct steer *s, pid_t pid)
{
	if (pid == watcher_pid(s->watcher))
		s->look_at = clock_mono_ns();
}

void steer_leave(struct steer *s)
{
	watcher_stop(s->watcher);
	s->watcher = NULL;
}

/* --- in force ----------------------------------------------------------------------------------
 */

static unsigned restore_rules(struct steer *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->plan->n_rules; i++) {
		int rc = rtnl_rule_add(s->rtnl, &s->plan->rules[i].rule);

		if (!rc)
			n++;
		else if (rc != -EEXIST && !s->plan->rules[i].rule.v6)
			log_warn("rule of pref %u can't be put back: %s",
				 s->plan->rules[i].rule.pref, strerror(-rc));
	}
	return n;
}

static void restore_routes(struct steer *s)
{
	int rc;

	for (unsigned i = 0; i < s->plan->n_routes; i++)
		rtnl_route_replace(s->rtnl, &s->plan->routes[i].route);
	rc = update_routes(s);
	if (rc)
		log_warn("the host's routes can't be followed: %s", strerror(-rc));
}

/** device_there - and still the one that we have made */
static bool device_there(const struct steer *s)
{
	return (int)if_nametoindex(TUNDEV_NAME) == s->ifindex;
}

/** restore_tables - the whole of them: what is missing can't be told from here */
static void restore_tables(struct steer *s)
{
	char err[256] = "";
	int rc = apply_table(s, PLAN_GUARD_TABLE, err, sizeof(err));

	if (!rc && device_there(s)) /* else steer_device() does it */
		rc = apply_table(s, PLAN_TABLE, err, sizeof(err));
	if (!rc)
		rc = fill_cgroups(s, err, sizeof(err));
	if (rc)
		log_error("weir's nftables tables can't be put back: %s",
			  *err ? err : strerror(-rc));
}

static void follow(struct steer *s)
{
	unsigned n = restore_rules(s);

	if (n)
		log_note("put back %u policy rule%s that somebody removed", n, n == 1 ? "" : "s");
	s->device_gone = !device_there(s);
	if (!s->device_gone)
		restore_routes(s);
	rtnl_watch_read(s->rtnl_fd, s->rtnl);
}

static void check_tables(struct steer *s, bool removed)
{
	if (!removed && nft_table_exists(s->nft, PLAN_GUARD_TABLE) &&
	    nft_table_exists(s->nft, PLAN_TABLE))
		return;
	restore_tables(s);
	log_note("put back weir's nftables tables, which somebody changed or removed");
	nft_watch_read(s->nft_fd, s->nft);
}

static void follow_cgroups(struct steer *s)
{
	int rc = cgroupwatch_serve(s->cgroups, s->nft);

	s->cgroup_changes++;
	if (rc < 0)
		log_warn("cgroups can't be followed: %s", strerror(-rc));
	else if (rc)
		log_debug("%d selected cgroup%s came to be", rc, rc == 1 ? "" : "s");
}

/* The device is looked at by who has its descriptor: steer_device(). */
static void look(struct steer *s)
{
	check_tables(s, false);
	follow(s);
	if (watcher_alive(s->watcher))
		return;
	log_warn("the watcher process is gone: another one starts");
	if (watcher_restart(s->watcher))
		log_error("no watcher process: should weir be killed, only `weir down` takes its "
			  "changes back");
}

/** check_sockets - those that keep their path: which have ended, which have come */
static void check_sockets(struct steer *s)
{
	char err[256] = "";
	int rc = oldconn_check(s->old);

	if (rc > 0)
		rc = oldconn_expire(s->old, s->nft, PLAN_GUARD_TABLE, err, sizeof(err));
	find_udp(s);
	if (!rc)
		rc = update_keep(s, err, sizeof(err));
	if (rc)
		log_warn("sockets that keep their path: %s", *err ? err : strerror(-rc));
}

int steer_pollfds(const struct steer *s, struct pollfd *p)
{
	const int fds[] = {s->rtnl_fd, s->nft_fd, watcher_fd(s->watcher),
			   cgroupwatch_fd(s->cgroups)};

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
	return ARRAY_SIZE(fds);
}

static bool due(uint64_t *at, uint64_t now)
{
	if (!*at || *at > now)
		return false;
	*at = 0;
	return true;
}

static void note(uint64_t *at, uint64_t when)
{
	if (!*at)
		*at = when;
}

/** hear_routing - when to follow; a device that is gone can't wait */
static void hear_routing(struct steer *s, uint64_t now)
{
	const int what = rtnl_watch_read(s->rtnl_fd, s->rtnl);

	if (what)
		note(&s->follow_at, now + SETTLE_NS);
	s->changes += what != 0;
	if (what & (RTNL_LINK | RTNL_LOST))
		s->device_gone |= !device_there(s);
}

bool steer_serve(struct steer *s, const struct pollfd *p, int n)
{
	const uint64_t now = clock_mono_ns();

	if (!s->selected || n < STEER_FDS)
		return true;
	if (p[0].revents)
		hear_routing(s, now);
	if (p[1].revents && nft_watch_read(s->nft_fd, s->nft))
		check_tables(s, true);
	if (p[2].revents)
		s->look_at = now;
	if (p[3].revents)
		follow_cgroups(s);
	if (due(&s->follow_at, now))
		follow(s);
	if (due(&s->check_at, now)) {
		check_sockets(s);
		s->check_at = now + CHECK_NS;
	}
	if (due(&s->look_at, now)) {
		look(s);
		s->look_at = now + LOOK_NS;
	}
	return !s->device_gone;
}

int steer_device(struct steer *s, struct sandbox *sb)
{
	char err[256] = "";
	int rc;

	s->device_gone = false;
	if (device_there(s))
		return 0;
	log_warn("somebody deleted %s: it is made anew", TUNDEV_NAME);
	close_fd(&sb->tun_fd);
	rc = make_device(s, sb, err, sizeof(err));
	if (rc) {
		log_error("%s", err);
		return rc;
	}
	s->mirror.ifindex = (unsigned)s->ifindex;
	follow(s);
	restore_tables(s);
	nft_watch_read(s->nft_fd, s->nft);
	return 1;
}

uint64_t steer_deadline(const struct steer *s)
{
	uint64_t at = s->look_at;

	if (s->follow_at)
		at = MIN(at, s->follow_at);
	return s->check_at ? MIN(at, s->check_at) : at;
}

/* --- another selection --------------------------------------------------------------------- */

/** same_frame - what the tables and rules of both plans must have in common */
static const char *same_frame(const struct up_config *a, const struct up_config *b)
{
	if (a->table != b->table)
		return "--table";
	if (a->rule_base != b->rule_base)
		return "--rule-base";
	if (a->mark_bits != b->mark_bits)
		return "--mark-bits";
	if (strcmp(a->worker_user, b->worker_user))
		return "--worker-user";
	if (strcmp(a->runtime_dir, b->runtime_dir))
		return "--runtime-dir";
	if (select_is_netns(&a->select) != select_is_netns(&b->select) ||
	    (select_is_netns(&a->select) &&
	     strcmp(a->select.list[0].text, b->select.list[0].text) != 0))
		return "--netns";
	return NULL;
}

struct newly {
	const struct steer *s;
	const struct up_config *before;
};

static bool newly_selected(void *ctx, const struct oldconn_sock *sock)
{
	const struct newly *n = ctx;

	return may_be_selected((void *)(uintptr_t)n->s, sock) &&
	       !select_matches_uid(&n->before->select, sock->uid);
}

/** put_in_place - the new plan over the old one; then what is only the old one's goes */
static int put_in_place(struct steer *s, const struct up_config *before, char *err, size_t errsize)
{
	struct newly n = {.s = s, .before = before};
	int rc = s->sc.up->take_over ? 0 : oldconn_add(s->old, true, newly_selected, &n);

	journal_renew(s->journal);
	if (rc >= 0)
		rc = set_sysctls(s, err, errsize);
	if (!rc)
		rc = journal_link(s->journal, TUNDEV_NAME);
	if (!rc)
		rc = journal_table_routes(s->journal, s->sc.up->table);
	if (!rc)
		rc = add_routes(s, false, err, errsize);
	if (!rc)
		rc = apply_table(s, PLAN_GUARD_TABLE, err, errsize);
	if (!rc)
		rc = apply_table(s, PLAN_TABLE, err, errsize);
	if (!rc)
		rc = fill_cgroups(s, err, errsize);
	if (!rc)
		rc = add_rules(s, false, err, errsize);
	return rc;
}

int steer_reload(struct steer *s, const struct up_config *next, bool steered, char *err,
		 size_t errsize)
{
	const struct up_config *before = s->sc.up;
	struct plan *old = s->plan;
	struct cgroupwatch *old_cgroups = s->cgroups;
	const char *differs = same_frame(before, next);
	const bool was_steered = s->steered;
	int rc;

	*err = 0;
	if (differs) {
		snprintf(err, errsize, "%s can't change while weir is up", differs);
		return -EINVAL;
	}
	s->sc.up = next;
	s->steered = steered;
	s->cgroups = NULL;
	rc = make_plan(s, err, errsize);
	if (!rc)
		rc = put_in_place(s, before, err, errsize);
	if (rc) {
		char again[256] = "";

		drop_plan(s);
		s->plan = old;
		s->cgroups = old_cgroups;
		s->sc.up = before;
		s->steered = was_steered;
		if (!*err)
			snprintf(err, errsize, "%s", strerror(-rc));
		if (put_in_place(s, next, again, sizeof(again)))
			log_error("the old selection can't be put back: %s", again);
	} else {
		cgroupwatch_close(old_cgroups);
		plan_free(old);
		free(old);
	}
	journal_settle(s->journal, s->rtnl, s->nft, say_undo, NULL);
	forget_changes(s);
	return rc;
}

unsigned steer_changes(const struct steer *s)
{
	return s->changes;
}

unsigned steer_cgroup_changes(const struct steer *s)
{
	return s->cgroup_changes;
}

void steer_status(const struct steer *s, FILE *f)
{
	const struct selection *sel = &s->sc.up->select;

	for (unsigned i = 0; i < sel->n; i++) {
		fputs("selected: ", f);
		select_print(&sel->list[i], sel, f);
		fputc('\n', f);
	}
	fprintf(f, "connections from before: %zu\n", oldconn_count(s->old));
}
