/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The kernel's half (src/bpf/owner.bpf.c) fills four maps; this half reads them
 * when a flow's owner is asked for. Up to three notes can fit a query: the one by
 * tuple, the one by tuple without the local address (datagram sockets bound to none),
 * and the one of the living socket that sock_diag names. A note by tuple counts
 * while it is fresh, or when sock_diag says that its very socket lives. When the
 * notes that count name the same process it is the owner. When they differ, or
 * when a note says that it replaced another one a moment before, the packet in
 * question may be of either, and none is named: OWNER_SHARED.
 *
 * Notes hold the image (process, start, execve count, user), so neither cookies nor
 * pids used again can bring a wrong one in. An image becomes a struct owner at its
 * first look-up, and stays one after its end. What the kernel's half can't read (the path
 * of a cgroup) is read here, when the process still lives.
 */
#include "owner_bpf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cgroup.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/util.h"
#include "bpf/owner_bpf_shared.h"
#include "owner_ident.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14 */
#endif

#define KEEP	      16384 /* owners remembered; the oldest go first */
#define PROGRAMS_MAX  16
#define NOTES_MAX     4
#define FIRST_PIDNS   0xeffffffcu /* inode of the first pid namespace: fixed */
#define HANDLE_KERNFS 0xfe	  /* a file handle that is a cgroup's id */

extern const uint8_t owner_bpf_object[];
extern const uint64_t owner_bpf_object_size;

struct known {
	struct ob_image who;
	uint32_t next; /* slot + 1 of the next one in the bucket */
	struct owner o;
};

struct owner_bpf {
	struct bpf_object *obj;
	struct bpf_link *links[PROGRAMS_MAX];
	unsigned n_links;
	int socks, tuples, images, births, chosen;
	int cgroup_fd;
	char cgroup_at[256];
	uint32_t pidns;
	struct hash_key hash; /* programs choose their names */
	struct known *known[KEEP];
	uint32_t buckets[KEEP]; /* slot + 1, 0 = empty */
	uint32_t count;
};

/* struct notes - what counts for one query */
struct notes {
	struct ob_sock s[NOTES_MAX];
	unsigned n;
	bool mixed;
};

bool owner_bpf_built(void)
{
	return true;
}

/* --- images become owners -------------------------------------------------------------- */

static uint32_t bucket_of(const struct owner_bpf *ob, const struct ob_image *who)
{
	return (uint32_t)hash_bytes(&ob->hash, who, sizeof(*who)) % KEEP;
}

static struct known *known_find(const struct owner_bpf *ob, const struct ob_image *who)
{
	uint32_t at = ob->buckets[bucket_of(ob, who)];

	while (at) {
		struct known *k = ob->known[at - 1];

		if (!memcmp(&k->who, who, sizeof(*who)))
			return k;
		at = k->next;
	}
	return NULL;
}

static void known_unlink(struct owner_bpf *ob, uint32_t slot)
{
	uint32_t *at = &ob->buckets[bucket_of(ob, &ob->known[slot]->who)];

	while (*at && *at != slot + 1)
		at = &ob->known[*at - 1]->next;
	if (*at)
		*at = ob->known[slot]->next;
}

/* known_new - the place of the oldest, for @who; NULL on ENOMEM */
static struct known *known_new(struct owner_bpf *ob, const struct ob_image *who)
{
	uint32_t slot = ob->count % KEEP, bucket = bucket_of(ob, who);
	struct known *k = ob->known[slot];

	if (k)
		known_unlink(ob, slot);
	else
		k = ob->known[slot] = malloc(sizeof(*k));
	if (!k)
		return NULL;
	memset(k, 0, sizeof(*k));
	k->who = *who;
	k->next = ob->buckets[bucket];
	ob->buckets[bucket] = slot + 1;
	k->o.id = OWNER_BPF_ID | ob->count++;
	return k;
}

static void put_text(char *out, size_t size, const char *from, size_t len)
{
	len = MIN(len, size - 1);
	memcpy(out, from, len);
	out[len] = '\0';
	owner_ident_clean(out, len);
}

/* put_exe - the names come leaf first */
static void put_exe(struct owner *o, const struct ob_details *d)
{
	size_t at = 0, len = MIN(d->exe_len, sizeof(d->exe)), room = sizeof(o->exe) - 1;
	char *end = o->exe + room;

	while (at < len && room) {
		size_t n = strnlen(d->exe + at, len - at), part = MIN(n, room - 1);

		memcpy(end -= part, d->exe + at + n - part, part);
		*--end = '/';
		room -= part + 1;
		at += n + 1;
	}
	memmove(o->exe, end, sizeof(o->exe) - 1 - room);
	o->exe[sizeof(o->exe) - 1 - room] = '\0';
	owner_ident_clean(o->exe, strlen(o->exe));
}

/* seen_parent - the parent of (@pid, @start) as it was when the image was noted */
static const struct ob_parent *seen_parent(const struct ob_details *d, uint32_t pid, uint64_t start)
{
	unsigned i, n = MIN(d->n_parents, OB_PARENTS_MAX);

	if (pid == d->who.pid && start == d->who.start)
		return n ? &d->parents[0] : NULL;
	for (i = 0; i + 1 < n; i++)
		if (d->parents[i].pid == pid && d->parents[i].start == start)
			return &d->parents[i + 1];
	return NULL;
}

/* put_parents - from birth to birth, so those that have ended are named as well */
static void put_parents(const struct owner_bpf *ob, struct owner *o, const struct ob_details *d)
{
	const uint64_t tick = NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);
	struct ob_process key = {.pid = d->who.pid, .start = d->who.start};
	struct ob_birth birth, own;

	while (o->parents_len < OWNER_PARENTS_MAX) {
		struct owner_parent *out = &o->parents[o->parents_len];
		const struct ob_parent *p = seen_parent(d, key.pid, key.start);

		if (!bpf_map_lookup_elem(ob->births, &key, &birth))
			p = &birth.parent;
		if (!p || !p->nr)
			break;
		out->pid = (int32_t)p->nr;
		key.pid = p->pid;
		key.start = p->start;
		put_text(out->comm, sizeof(out->comm), p->comm, strnlen(p->comm, sizeof(p->comm)));
		if (!bpf_map_lookup_elem(ob->births, &key, &own))
			put_text(out->comm, sizeof(out->comm), own.comm,
				 strnlen(own.comm, sizeof(own.comm)));
		owner_ident_parent_exe(out, p->start / tick);
		o->parents_len++;
	}
}

/* put_cgroup - from the id, as long as the cgroup exists */
static void put_cgroup(const struct owner_bpf *ob, struct owner *o, uint64_t id)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + sizeof(id)];
	} u = {.h = {.handle_bytes = sizeof(id), .handle_type = HANDLE_KERNFS}};
	const size_t skip = strlen(ob->cgroup_at);
	char link[32], path[512];
	ssize_t n;
	int fd;

	memcpy(u.h.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(ob->cgroup_fd, &u.h, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	close(fd);
	if (n < (ssize_t)skip)
		return;
	path[n] = '\0';
	put_text(o->cgroup, sizeof(o->cgroup), path[skip] ? path + skip : "/",
		 path[skip] ? (size_t)n - skip : 1);
}

/* put_from_proc - hybrid systems have nothing but a root in the unified hierarchy */
static void put_from_proc(struct owner *o, uint64_t start_ticks)
{
	struct owner_mark m;
	char path[32];
	int dir, stat;

	snprintf(path, sizeof(path), "/proc/%d", o->pid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return;
	stat = openat(dir, "stat", O_RDONLY | O_CLOEXEC);
	if (stat >= 0 && !owner_mark_read(dir, stat, &m) && m.start_ticks == start_ticks)
		owner_ident_cgroup(dir, o);
	close_fd(&stat);
	close(dir);
}

/* details_of - 0, or -ENOENT when they have left the map or are being written */
static int details_of(const struct owner_bpf *ob, const struct ob_image *who, struct ob_details *d)
{
	int err = bpf_map_lookup_elem(ob->images, who, d);

	if (!err && !memcmp(&d->who, who, sizeof(*who)))
		return 0;
	memset(d, 0, sizeof(*d));
	d->who = *who;
	if (ob->pidns == FIRST_PIDNS)
		d->nr = who->pid;
	return -ENOENT;
}

/* owner_of - the id; 0 when we cannot see the process, or on ENOMEM */
static uint32_t owner_of(struct owner_bpf *ob, const struct ob_image *who)
{
	const uint64_t tick = NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);
	struct known *k = known_find(ob, who);
	struct ob_details d;
	struct owner *o;

	if (k)
		return k->o.id;
	details_of(ob, who, &d);
	if (!d.nr)
		return 0;
	k = known_new(ob, who);
	if (!k)
		return 0;
	o = &k->o;
	o->source = OWNER_BY_BPF;
	o->pid = (int32_t)d.nr;
	o->start_ns = who->start / tick * tick; /* as /proc has it */
	o->uid = who->uid;
	o->gid = who->gid;
	owner_ident_user(o->uid, o->user, sizeof(o->user));
	put_text(o->comm, sizeof(o->comm), who->comm, strnlen(who->comm, sizeof(who->comm)));
	put_exe(o, &d);
	put_text(o->cmdline, sizeof(o->cmdline), d.args, MIN(d.args_len, sizeof(d.args)));
	put_parents(ob, o, &d);
	put_cgroup(ob, o, d.cgroup);
	if (!o->cgroup[0] || !strcmp(o->cgroup, "/"))
		put_from_proc(o, who->start / tick);
	return o->id;
}

/* --- queries ------------------------------------------------------------------------------ */

static void notes_add(struct notes *t, const struct ob_sock *s)
{
	if (t->n < NOTES_MAX)
		t->s[t->n++] = *s;
}

/* notes_tuple - the note at @k, when it is fresh or its socket lives */
static void notes_tuple(const struct owner_bpf *ob, const struct ob_tuple *k,
			const struct owner_sock *live, uint64_t now, struct notes *t)
{
	struct ob_sock s;

	if (bpf_map_lookup_elem(ob->tuples, k, &s))
		return;
	if (now - s.time > OB_FRESH_NS && (!live || live->err || live->cookie != s.cookie))
		return;
	if (s.mixed && now - s.mixed < OB_FRESH_NS)
		t->mixed = true;
	notes_add(t, &s);
}

/* notes_live - returns the kind of the living socket, OB_RAW when none was noted */
static enum ob_kind notes_live(const struct owner_bpf *ob, uint64_t key, struct notes *t)
{
	struct ob_sock s;

	if (bpf_map_lookup_elem(ob->socks, &key, &s))
		return OB_RAW;
	notes_add(t, &s);
	return s.kind == OB_PORT ? OB_PORT : OB_RAW;
}

static bool is_echo(const struct owner_query *q)
{
	return q->proto == IPPROTO_ICMP || q->proto == IPPROTO_ICMPV6;
}

/* collect_echo - an identifier is a port's equal; raw sockets count when no other fits */
static void collect_echo(const struct owner_bpf *ob, const struct owner_query *q,
			 const struct owner_sock *live, uint64_t now, struct notes *t)
{
	struct ob_tuple k = {.proto = q->proto, .app_port = q->app.port};
	enum ob_kind kind = OB_RAW;
	unsigned noted;

	if (!live->err)
		kind = notes_live(ob, OB_BY_INODE(live->inode), t);
	noted = t->n;
	notes_tuple(ob, &k, NULL, now, t);
	if (kind == OB_PORT || t->n > noted)
		return;
	if (live->err != -ENOENT && !noted)
		return; /* raw sockets that were not noted could have sent it: not ours to say */
	k.app_port = 0;
	k.kind = OB_RAW;
	notes_tuple(ob, &k, NULL, now, t);
	k.proto = IPPROTO_RAW;
	notes_tuple(ob, &k, NULL, now, t);
}

static void collect(const struct owner_bpf *ob, const struct owner_query *q,
		    const struct owner_sock *live, uint64_t now, struct notes *t)
{
	struct ob_tuple k = {.proto = q->proto, .app_port = q->app.port, .net_port = q->net.port};

	/* in this order: a socket that is closed meanwhile goes from the one to the other */
	if (q->proto == IPPROTO_UDP && live && !live->err)
		notes_live(ob, live->cookie, t);
	memcpy(k.app, &q->app.addr, sizeof(k.app));
	memcpy(k.net, &q->net.addr, sizeof(k.net));
	notes_tuple(ob, &k, live, now, t);
	if (q->proto != IPPROTO_UDP)
		return;
	memset(k.app, 0, sizeof(k.app));
	notes_tuple(ob, &k, live, now, t);
}

static bool same_process(const struct ob_image *a, const struct ob_image *b)
{
	return a->start == b->start && a->pid == b->pid && a->exec == b->exec && a->uid == b->uid;
}

/* settle - the answer that @t allows */
static void settle(struct owner_bpf *ob, const struct notes *t, struct owner_answer *a)
{
	const struct ob_sock *s = &t->s[0];
	bool shared = t->mixed;
	unsigned i;

	*a = (struct owner_answer){.uid = s->uid, .why = OWNER_SHARED};
	for (i = 1; i < t->n; i++) {
		shared |= !same_process(&t->s[i].who, &s->who);
		if (t->s[i].uid != s->uid)
			a->uid = (uint32_t)-1;
	}
	if (shared) {
		if (t->mixed) /* by whom, the note does not say */
			a->uid = (uint32_t)-1;
		return;
	}
	a->cookie = s->cookie;
	a->inode = s->inode;
	a->owner = owner_of(ob, &s->who);
	a->why = a->owner ? OWNER_KNOWN : OWNER_NO_PROCESS;
}

bool owner_bpf_find(struct owner_bpf *ob, const struct owner_query *q,
		    const struct owner_sock *live, struct owner_answer *a)
{
	struct notes t = {.n = 0};

	if (!live && q->proto != IPPROTO_TCP)
		return false; /* a socket that lives may have the tuple of one just closed */
	if (is_echo(q))
		collect_echo(ob, q, live, clock_mono_ns(), &t);
	else
		collect(ob, q, live, clock_mono_ns(), &t);
	if (!t.n)
		return false;
	settle(ob, &t, a);
	return true;
}

const struct owner *owner_bpf_get(const struct owner_bpf *ob, uint32_t id)
{
	const struct known *k = id & OWNER_BPF_ID ? ob->known[(id & ~OWNER_BPF_ID) % KEEP] : NULL;

	return k && k->o.id == id ? &k->o : NULL;
}

/* --- birth and end ---------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) static int say(enum libbpf_print_level level, const char *fmt,
						     va_list ap)
{
	char text[256];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	log_debug("%s", text);
	return 0;
}

static int open_cgroup(struct owner_bpf *ob)
{
	if (!cgroup2_mount(ob->cgroup_at, sizeof(ob->cgroup_at)))
		return -ENOENT;
	ob->cgroup_fd = open(ob->cgroup_at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return ob->cgroup_fd < 0 ? -errno : 0;
}

static int read_settings(int sock_fd, struct ob_settings *s)
{
	socklen_t len = sizeof(s->netns_cookie);
	struct stat st;

	memset(s, 0, sizeof(*s));
	if (getsockopt(sock_fd, SOL_SOCKET, SO_NETNS_COOKIE, &s->netns_cookie, &len) ||
	    stat("/proc/self/ns/pid", &st))
		return -errno;
	s->pidns_inum = (uint32_t)st.st_ino;
	return 0;
}

static int load(struct owner_bpf *ob, const struct ob_settings *s)
{
	const struct bpf_object_open_opts opts = {.sz = sizeof(opts), .object_name = "weir_owner"};
	struct bpf_map *settings;
	int r;

	ob->obj = bpf_object__open_mem(owner_bpf_object, (size_t)owner_bpf_object_size, &opts);
	if (!ob->obj)
		return -errno;
	settings = bpf_object__find_map_by_name(ob->obj, ".rodata.settings");
	r = settings ? bpf_map__set_initial_value(settings, s, sizeof(*s)) : -ENOENT;
	if (!r)
		r = bpf_object__load(ob->obj);
	if (r)
		return r;
	ob->socks = bpf_object__find_map_fd_by_name(ob->obj, "socks");
	ob->tuples = bpf_object__find_map_fd_by_name(ob->obj, "tuples");
	ob->images = bpf_object__find_map_fd_by_name(ob->obj, "images");
	ob->births = bpf_object__find_map_fd_by_name(ob->obj, "births");
	ob->chosen = bpf_object__find_map_fd_by_name(ob->obj, "chosen");
	return 0;
}

static int attach(struct owner_bpf *ob)
{
	struct bpf_program *p;

	bpf_object__for_each_program(p, ob->obj)
	{
		struct bpf_link *l;

		weir_assert(ob->n_links < PROGRAMS_MAX);
		l = bpf_program__type(p) == BPF_PROG_TYPE_RAW_TRACEPOINT
			    ? bpf_program__attach(p)
			    : bpf_program__attach_cgroup(p, ob->cgroup_fd);
		if (!l)
			return -errno;
		ob->links[ob->n_links++] = l;
	}
	return 0;
}

int owner_bpf_open(int sock_fd, struct owner_bpf **out, char *err, size_t errsize)
{
	struct owner_bpf *ob = calloc(1, sizeof(*ob));
	const char *what = "memory";
	struct ob_settings s;
	int r = ob ? 0 : -ENOMEM;

	libbpf_set_print(say);
	if (!r) {
		ob->cgroup_fd = -1;
		r = hash_key_random(&ob->hash);
	}
	if (!r) {
		what = "no cgroup version 2 hierarchy";
		r = open_cgroup(ob);
	}
	if (!r) {
		what = "the network namespace has no cookie (Linux 5.14)";
		r = read_settings(sock_fd, &s);
	}
	if (!r) {
		ob->pidns = s.pidns_inum;
		what = "the kernel does not take the program";
		r = load(ob, &s);
	}
	if (!r) {
		what = "the program can't be attached";
		r = attach(ob);
	}
	if (r) {
		snprintf(err, errsize, "%s: %s", what, strerror(-r));
		owner_bpf_free(ob);
		ob = NULL;
	}
	*out = ob;
	return r;
}

int owner_bpf_choose(struct owner_bpf *ob, const struct id_range *users, unsigned n)
{
	const uint32_t zero = 0;
	struct ob_chosen c = {.n = n > OB_RANGES_MAX ? 0 : n};

	for (unsigned i = 0; i < c.n; i++)
		c.r[i] = (struct ob_range){.lo = users[i].lo, .hi = users[i].hi};
	return bpf_map_update_elem(ob->chosen, &zero, &c, BPF_ANY) ? -errno : 0;
}

void owner_bpf_free(struct owner_bpf *ob)
{
	unsigned i;

	if (!ob)
		return;
	for (i = 0; i < ob->n_links; i++)
		bpf_link__destroy(ob->links[i]);
	bpf_object__close(ob->obj);
	for (i = 0; i < KEEP; i++)
		free(ob->known[i]);
	close_fd(&ob->cgroup_fd);
	free(ob);
}
