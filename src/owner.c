/* SPDX-License-Identifier: MIT */
/*
 * owner: joins the kernel's answer (owner_sockdiag) with the process (owner_proc),
 * for what the kernel did not note by itself (owner_bpf).
 *
 * Two things come between. Users: sock_diag speaks of users as the user namespace
 * sees them in which the netlink socket was opened; with --map-root our caller is 0
 * there. The keeper's uid_map translates back. Ping sockets: no sock_diag
 * exists for them, so /proc/KEEPER/net/icmp{,6} is read, where the local port is the
 * echo identifier; without a match the sender may be a raw socket, which has
 * no identifier. Path tools have one to send and another one to receive: of several that fit the
 * holder is named when one process holds them all, else none is.
 */
#include "owner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "owner_bpf.h"
#include "owner_proc.h"
#include "owner_sockdiag.h"

#define UID_RANGES_MAX 340 /* the kernel's own limit */
#define UID_NONE       ((uint32_t)-1)
#define RIVALS_MAX     8 /* sockets that fit one echo: more are nobody's */

struct uid_range {
	uint32_t inside, outside, count;
};

struct owner_db {
	int diag_fd;
	pid_t keeper;
	struct owner_proc *proc;
	struct owner_bpf *bpf; /* NULL: none */
	unsigned n_ranges;
	struct uid_range ranges[UID_RANGES_MAX];
};

const char *owner_why_text(unsigned why)
{
	static const char *const text[OWNER_WHY_MAX] = {
		[OWNER_KNOWN] = "known",
		[OWNER_NO_SOCKET] = "the socket was closed already",
		[OWNER_NO_PROCESS] = "no process in reach holds the socket",
		[OWNER_DENIED] = "/proc of the holder is closed to us",
		[OWNER_KERNEL] = "made by the kernel",
		[OWNER_NO_ANSWER] = "the look-up was not answered in time",
		[OWNER_UNSUPPORTED] = "no look-up for this protocol",
		[OWNER_PENDING] = "not looked up yet",
		[OWNER_SHARED] = "several sockets or processes fit",
	};

	return why < OWNER_WHY_MAX ? text[why] : "unknown";
}

const char *owner_source_text(unsigned source)
{
	return source == OWNER_BY_BPF ? "bpf" : "sockdiag";
}

/* --- users ------------------------------------------------------------------------ */

static void read_uid_map(struct owner_db *db)
{
	struct uid_range r;
	char path[32];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/uid_map", db->keeper);
	f = db->keeper > 0 ? fopen(path, "re") : NULL;
	if (!f)
		return;
	while (db->n_ranges < UID_RANGES_MAX &&
	       fscanf(f, "%u %u %u", &r.inside, &r.outside, &r.count) == 3)
		db->ranges[db->n_ranges++] = r;
	fclose(f);
}

/* uid_outside - unmapped users show as the overflow uid, which is nobody in particular */
static uint32_t uid_outside(const struct owner_db *db, uint32_t uid)
{
	unsigned i;

	if (!db->n_ranges)
		return uid;
	for (i = 0; i < db->n_ranges; i++)
		if (uid - db->ranges[i].inside < db->ranges[i].count)
			return db->ranges[i].outside + (uid - db->ranges[i].inside);
	return UID_NONE;
}

/* --- ICMP ------------------------------------------------------------------------- */

/* struct net_line - one socket of /proc/PID/net/{icmp,raw}{,6} */
struct net_line {
	struct addr local, remote;
	unsigned lport; /* raw: the protocol */
	uint32_t uid, inode;
};

/* parse_addr - the kernel prints an address as 32-bit words in the machine's order */
static bool parse_addr(const char *hex, struct addr *a)
{
	uint32_t w[4];
	size_t i, n = strcspn(hex, ":") / 8;

	if (n != 1 && n != 4)
		return false;
	for (i = 0; i < n; i++)
		if (sscanf(hex + i * 8, "%8x", &w[i]) != 1)
			return false;
	*a = n == 1 ? addr_from_v4(w) : addr_from_v6(w);
	return true;
}

static bool parse_net_line(const char *line, struct net_line *l)
{
	char local[48], remote[48];
	unsigned long inode;

	if (sscanf(line, " %*u: %47s %47s %*x %*x:%*x %*x:%*x %*x %u %*u %lu", local, remote,
		   &l->uid, &inode) != 4)
		return false;
	l->inode = (uint32_t)inode;
	return parse_addr(local, &l->local) && parse_addr(remote, &l->remote) &&
	       strchr(local, ':') && sscanf(strchr(local, ':'), ":%x", &l->lport) == 1;
}

static bool net_line_fits(const struct net_line *l, const struct owner_query *q)
{
	return (addr_is_unspecified(&l->local) || addr_equal(&l->local, &q->app.addr)) &&
	       (addr_is_unspecified(&l->remote) || addr_equal(&l->remote, &q->net.addr));
}

/* struct rivals - sockets that fit alike; @uid is known only while all agree */
struct rivals {
	uint32_t inode[RIVALS_MAX], uid;
	unsigned n; /* may be more than there is place for */
};

static void rivals_add(struct rivals *r, const struct net_line *l)
{
	r->uid = r->n && r->uid != l->uid ? UID_NONE : l->uid;
	if (r->n < RIVALS_MAX)
		r->inode[r->n] = l->inode;
	r->n++;
}

/*
 * add_lines - add to @r the sockets of /proc/KEEPER/net/@name that could have sent @q
 * @port: local port that they must have
 */
static void add_lines(const struct owner_db *db, const char *name, unsigned port,
		      const struct owner_query *q, struct rivals *r)
{
	char path[48], line[512];
	struct net_line l;
	FILE *f;

	if (db->keeper > 0)
		snprintf(path, sizeof(path), "/proc/%d/net/%s", db->keeper, name);
	else
		snprintf(path, sizeof(path), "/proc/self/net/%s", name);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (parse_net_line(line, &l) && l.lport == port && net_line_fits(&l, q))
			rivals_add(r, &l);
	}
	fclose(f);
}

/* one_holder - true when a single process holds all of @r */
static bool one_holder(const struct owner_db *db, const struct rivals *r)
{
	struct owner_want w[RIVALS_MAX];

	if (r->n > RIVALS_MAX)
		return false;
	for (unsigned i = 0; i < r->n; i++)
		w[i] = (struct owner_want){.inode = r->inode[i], .uid = r->uid};
	owner_proc_find(db->proc, w, r->n);
	for (unsigned i = 0; i < r->n; i++)
		if (!w[i].owner || w[i].owner != w[0].owner)
			return false;
	return true;
}

/* icmp_socket - uids in /proc are in our own terms already: its reader's */
static void icmp_socket(const struct owner_db *db, const struct owner_query *q,
			struct owner_sock *s)
{
	bool six = q->proto == IPPROTO_ICMPV6;
	const char *ping = six ? "icmp6" : "icmp", *raw = six ? "raw6" : "raw";
	struct rivals r = {.uid = UID_NONE};

	add_lines(db, ping, q->app.port, q, &r);
	if (!r.n) {
		add_lines(db, raw, q->proto, q, &r);
		add_lines(db, raw, IPPROTO_RAW, q, &r);
	}
	*s = (struct owner_sock){.uid = r.uid};
	if (!r.n)
		s->err = -ENOENT;
	else if (r.n > 1 && !one_holder(db, &r))
		s->err = -EEXIST;
	else
		s->inode = r.inode[0];
}

/* --- answers ------------------------------------------------------------------------ */

static uint32_t why_of(int err)
{
	switch (err) {
	case 0:
		return OWNER_KNOWN;
	case -ENOENT:
		return OWNER_NO_SOCKET;
	case -EEXIST:
		return OWNER_SHARED;
	case -EPROTONOSUPPORT:
	case -EOPNOTSUPP:
		return OWNER_UNSUPPORTED;
	default:
		return OWNER_NO_ANSWER;
	}
}

static void find_sockets(struct owner_db *db, const struct owner_query *q, struct owner_sock *s,
			 unsigned n)
{
	unsigned i;

	owner_sockdiag_lookup(db->diag_fd, q, s, n);
	for (i = 0; i < n; i++)
		if (q[i].proto == IPPROTO_ICMP || q[i].proto == IPPROTO_ICMPV6)
			icmp_socket(db, &q[i], &s[i]);
		else if (s[i].uid != UID_NONE)
			s[i].uid = uid_outside(db, s[i].uid);
}

static bool ask_bpf(struct owner_db *db, const struct owner_query *q, const struct owner_sock *live,
		    struct owner_answer *out)
{
	return db->bpf && !q->again && owner_bpf_find(db->bpf, q, live, out);
}

/* struct batch - the queries that sock_diag is asked, and which of the caller's they are */
struct batch {
	struct owner_query q[OWNER_SOCKDIAG_BATCH];
	struct owner_sock s[OWNER_SOCKDIAG_BATCH];
	struct owner_want w[OWNER_SOCKDIAG_BATCH];
	unsigned from[OWNER_SOCKDIAG_BATCH];
	unsigned n;
};

static void batch_drop(struct batch *b, unsigned i)
{
	b->n--;
	memmove(&b->q[i], &b->q[i + 1], (b->n - i) * sizeof(b->q[0]));
	memmove(&b->s[i], &b->s[i + 1], (b->n - i) * sizeof(b->s[0]));
	memmove(&b->from[i], &b->from[i + 1], (b->n - i) * sizeof(b->from[0]));
}

static void find_processes(struct owner_db *db, struct batch *b, struct owner_answer *out)
{
	unsigned i;

	for (i = 0; i < b->n; i++)
		b->w[i] = (struct owner_want){.inode = b->s[i].err ? 0 : b->s[i].inode,
					      .uid = b->s[i].uid};
	owner_proc_find(db->proc, b->w, b->n);
	for (i = 0; i < b->n; i++)
		out[b->from[i]] = (struct owner_answer){
			.owner = b->w[i].owner,
			.uid = b->s[i].uid,
			.inode = b->s[i].inode,
			.cookie = b->s[i].cookie,
			.why = b->s[i].err ? why_of(b->s[i].err) : b->w[i].why,
		};
}

/* lookup_batch - what was noted alone, what was noted of a living socket, then /proc */
static void lookup_batch(struct owner_db *db, const struct owner_query *q, struct owner_answer *out,
			 unsigned n)
{
	struct batch b = {.n = 0};
	unsigned i;

	for (i = 0; i < n; i++)
		if (!ask_bpf(db, &q[i], NULL, &out[i])) {
			b.q[b.n] = q[i];
			b.from[b.n++] = i;
		}
	if (!b.n)
		return;
	find_sockets(db, b.q, b.s, b.n);
	for (i = 0; i < b.n;)
		if (ask_bpf(db, &b.q[i], &b.s[i], &out[b.from[i]]))
			batch_drop(&b, i);
		else
			i++;
	if (b.n)
		find_processes(db, &b, out);
}

void owner_db_lookup(struct owner_db *db, const struct owner_query *q, struct owner_answer *out,
		     unsigned n)
{
	unsigned done, part;

	for (done = 0; done < n; done += part) {
		part = MIN(n - done, OWNER_SOCKDIAG_BATCH);
		lookup_batch(db, q + done, out + done, part);
	}
}

struct owner_db *owner_db_new(const struct owner_db_config *cfg)
{
	struct owner_db *db = calloc(1, sizeof(*db));

	if (!db)
		return NULL;
	db->proc = owner_proc_new(cfg->keeper, cfg->whole_proc);
	if (!db->proc) {
		free(db);
		return NULL;
	}
	db->diag_fd = cfg->diag_fd;
	db->keeper = cfg->keeper;
	db->bpf = cfg->bpf;
	read_uid_map(db);
	return db;
}

void owner_db_free(struct owner_db *db)
{
	if (!db)
		return;
	close_fd(&db->diag_fd);
	owner_proc_free(db->proc);
	owner_bpf_free(db->bpf);
	free(db);
}

void owner_db_closed(struct owner_db *db, uint32_t inode)
{
	owner_proc_closed(db->proc, inode);
}

const struct owner *owner_db_get(const struct owner_db *db, uint32_t id)
{
	if (id & OWNER_BPF_ID)
		return db->bpf ? owner_bpf_get(db->bpf, id) : NULL;
	return owner_proc_get(db->proc, id);
}
