/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Everything that the programs decide by lies in maps that this half writes: settings, the
 * conditions and prefixes of the selection, the cgroups' ids, weir's own listening sockets. It
 * reads the table of listeners only to sweep out of it what a scan has not seen again.
 *
 * Opening, loading and attaching need root; what follows (maps' elements, a round of the iterator)
 * needs nothing but the descriptors, so it goes on after the supervisor has locked itself down.
 */
#include "inbound_bpf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/log.h"
#include "base/util.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14 */
#endif

#define LINKS_MAX 3

extern const uint8_t inbound_bpf_object[];
extern const uint64_t inbound_bpf_object_size;

struct inbound_bpf {
	struct bpf_object *obj;
	struct bpf_link *links[LINKS_MAX];
	unsigned n_links;
	int iter_fd; /* borrowed: of the link that inbound_scan is */
	struct ring_buffer *ring;
	int settings, conds, cgroups, peers, own, listeners, known, doors;
	struct ib_settings set;
	struct ib_prefix old_peers[IB_PREFIXES_MAX]; /* that are in the map */
	unsigned n_old_peers;
	void (*fn)(void *ctx, const struct inbound_event *e); /* during inbound_bpf_events() */
	void *ctx;
};

/* --- birth and end ------------------------------------------------------------------------ */

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

static int take_event(void *ctx, void *data, size_t size)
{
	const struct inbound_bpf *ib = ctx;
	const struct ib_event *e = data;
	struct inbound_event out;

	if (size < sizeof(*e) || !ib->fn)
		return 0;
	out = (struct inbound_event){
		.kind = (enum ib_kind)e->kind,
		.proto = (uint8_t)e->at.proto,
		.uid = e->uid,
		.dev = e->at.dev,
		.at = {addr_from_v6(e->at.addr), e->at.port},
	};
	ib->fn(ib->ctx, &out);
	return 0;
}

static int load(struct inbound_bpf *ib)
{
	const struct bpf_object_open_opts opts = {.sz = sizeof(opts),
						  .object_name = "weir_inbound"};
	struct {
		int *fd;
		const char *name;
	} const maps[] = {
		{&ib->settings, "settings"},   {&ib->conds, "conds"},
		{&ib->cgroups, "cgroups"},     {&ib->peers, "peers"},
		{&ib->listeners, "listeners"}, {&ib->known, "known"},
		{&ib->doors, "doors"},	       {&ib->own, "own"},
	};
	int rc;

	ib->obj = bpf_object__open_mem(inbound_bpf_object, (size_t)inbound_bpf_object_size, &opts);
	if (!ib->obj)
		return -errno;
	rc = bpf_object__load(ib->obj);
	if (rc)
		return rc;
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
		*maps[i].fd = bpf_object__find_map_fd_by_name(ib->obj, maps[i].name);
	ib->ring = ring_buffer__new(bpf_object__find_map_fd_by_name(ib->obj, "events"), take_event,
				    ib, NULL);
	return ib->ring ? 0 : -errno;
}

static struct bpf_link *attach_one(const struct bpf_program *p, int netns_fd)
{
	return bpf_program__type(p) == BPF_PROG_TYPE_SK_LOOKUP
		       ? bpf_program__attach_netns(p, netns_fd)
		       : bpf_program__attach(p);
}

static int attach(struct inbound_bpf *ib)
{
	struct bpf_program *p;
	int netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), rc = 0;

	if (netns_fd < 0)
		return -errno;
	bpf_object__for_each_program(p, ib->obj)
	{
		struct bpf_link *l = attach_one(p, netns_fd);

		weir_assert(ib->n_links < LINKS_MAX);
		if (!l) {
			rc = -errno;
			break;
		}
		ib->links[ib->n_links++] = l;
		if (bpf_program__type(p) == BPF_PROG_TYPE_TRACING)
			ib->iter_fd = bpf_link__fd(l);
	}
	close(netns_fd);
	return rc;
}

static int put_settings(const struct inbound_bpf *ib)
{
	const uint32_t zero = 0;

	return bpf_map_update_elem(ib->settings, &zero, &ib->set, BPF_ANY);
}

int inbound_bpf_open(int sock_fd, uint32_t worker, struct inbound_bpf **out, char *err,
		     size_t errsize)
{
	struct inbound_bpf *ib = calloc(1, sizeof(*ib));
	socklen_t len = sizeof(ib->set.netns_cookie);
	const char *what = "memory";
	int rc = ib ? 0 : -ENOMEM;

	libbpf_set_print(say);
	if (!rc) {
		ib->set.worker = worker;
		what = "the network namespace has no cookie (Linux 5.14)";
		if (getsockopt(sock_fd, SOL_SOCKET, SO_NETNS_COOKIE, &ib->set.netns_cookie, &len))
			rc = -errno;
	}
	if (!rc) {
		what = "the kernel does not take the programs";
		rc = load(ib);
	}
	if (!rc) {
		what = "the programs can't be attached";
		rc = put_settings(ib);
	}
	if (!rc)
		rc = attach(ib);
	if (rc) {
		snprintf(err, errsize, "%s: %s", what, strerror(-rc));
		inbound_bpf_free(ib);
		ib = NULL;
	}
	*out = ib;
	return rc;
}

void inbound_bpf_free(struct inbound_bpf *ib)
{
	if (!ib)
		return;
	for (unsigned i = 0; i < ib->n_links; i++)
		bpf_link__destroy(ib->links[i]);
	ring_buffer__free(ib->ring);
	bpf_object__close(ib->obj);
	free(ib);
}

/* --- what is steered, and where to ----------------------------------------------------------- */

int inbound_bpf_door(struct inbound_bpf *ib, enum ib_door door, int fd)
{
	const uint32_t key = door;
	const uint64_t value = (uint64_t)fd;

	return bpf_map_update_elem(ib->doors, &key, &value, BPF_ANY);
}

int inbound_bpf_steer(struct inbound_bpf *ib, unsigned tun)
{
	ib->set.tun = tun;
	ib->set.on = tun != 0;
	return put_settings(ib);
}

static bool still_there(const struct inbound_select *s, const struct ib_prefix *p)
{
	for (unsigned i = 0; i < s->n_peers; i++)
		if (!memcmp(&s->peers[i].key, p, sizeof(*p)))
			return true;
	return false;
}

/** put_peers - the new prefixes over the old ones, then those away that are only the old one's */
static int put_peers(struct inbound_bpf *ib, const struct inbound_select *s)
{
	for (unsigned i = 0; i < s->n_peers; i++) {
		int rc = bpf_map_update_elem(ib->peers, &s->peers[i].key, &s->peers[i].take,
					     BPF_ANY);

		if (rc)
			return rc;
	}
	for (unsigned i = 0; i < ib->n_old_peers; i++)
		if (!still_there(s, &ib->old_peers[i]))
			bpf_map_delete_elem(ib->peers, &ib->old_peers[i]);
	for (unsigned i = 0; i < s->n_peers; i++)
		ib->old_peers[i] = s->peers[i].key;
	ib->n_old_peers = s->n_peers;
	return 0;
}

static bool is_own(const struct addr *own, unsigned n, const uint8_t key[16])
{
	for (unsigned i = 0; i < n; i++)
		if (!memcmp(own[i].b, key, sizeof(own[i].b)))
			return true;
	return false;
}

int inbound_bpf_own(struct inbound_bpf *ib, const struct addr *own, unsigned n)
{
	uint8_t key[16], next[16];
	int rc = 0, end;

	for (unsigned i = 0; i < n && !rc; i++)
		rc = bpf_map_update_elem(ib->own, own[i].b, &(uint32_t){1}, BPF_ANY);
	end = bpf_map_get_next_key(ib->own, NULL, next);
	while (!end) {
		memcpy(key, next, sizeof(key));
		end = bpf_map_get_next_key(ib->own, key, next);
		if (!is_own(own, n, key))
			bpf_map_delete_elem(ib->own, key);
	}
	return rc;
}

static void forget_cgroups(const struct inbound_bpf *ib)
{
	uint64_t id;

	while (!bpf_map_get_next_key(ib->cgroups, NULL, &id))
		if (bpf_map_delete_elem(ib->cgroups, &id))
			return;
}

int inbound_bpf_select(struct inbound_bpf *ib, const struct inbound_select *s)
{
	int rc = put_peers(ib, s);

	forget_cgroups(ib);
	for (uint32_t i = 0; !rc && i < s->n_conds; i++)
		rc = bpf_map_update_elem(ib->conds, &i, &s->conds[i], BPF_ANY);
	if (rc)
		return rc;
	ib->set.all = s->all;
	ib->set.n_conds = s->n_conds;
	ib->set.n_cgroups = s->n_cgroups;
	return put_settings(ib);
}

int inbound_bpf_cgroup(struct inbound_bpf *ib, const struct inbound_select *s, unsigned index,
		       uint64_t id)
{
	struct ib_bits have, bits = s->cgroups[index];

	if (!bpf_map_lookup_elem(ib->cgroups, &id, &have)) { /* named twice */
		bits.take |= have.take;
		bits.except |= have.except;
	}
	return bpf_map_update_elem(ib->cgroups, &id, &bits, BPF_ANY);
}

/* --- what listens -------------------------------------------------------------------------- */

/** run_iterator - one round over all sockets; its output is nothing, its end is what counts */
static int run_iterator(const struct inbound_bpf *ib)
{
	int fd = bpf_iter_create(ib->iter_fd);
	ssize_t n;
	char buf[64];

	if (fd < 0)
		return -errno;
	do
		n = read(fd, buf, sizeof(buf));
	while (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)));
	n = n < 0 ? -errno : 0;
	close(fd);
	return (int)n;
}

/** uncount - one socket less at @k's key, whose end was not heard of */
static void uncount(const struct inbound_bpf *ib, const struct ib_known *k)
{
	struct ib_listener l;

	if (bpf_map_lookup_elem(ib->listeners, &k->at, &l))
		return;
	if (l.n <= 1) {
		bpf_map_delete_elem(ib->listeners, &k->at);
		return;
	}
	l.n--;
	l.dual -= l.dual && k->dual;
	bpf_map_update_elem(ib->listeners, &k->at, &l, BPF_EXIST);
}

static void sweep(const struct inbound_bpf *ib)
{
	uint64_t id, next;
	int rc = bpf_map_get_next_key(ib->known, NULL, &next);
	struct ib_known k;

	while (!rc) {
		id = next;
		rc = bpf_map_get_next_key(ib->known, &id, &next);
		if (bpf_map_lookup_elem(ib->known, &id, &k) || k.generation == ib->set.generation)
			continue;
		if (!bpf_map_delete_elem(ib->known, &id))
			uncount(ib, &k);
	}
}

int inbound_bpf_scan(struct inbound_bpf *ib)
{
	int rc;

	ib->set.generation++;
	rc = put_settings(ib);
	if (!rc)
		rc = run_iterator(ib);
	if (!rc)
		sweep(ib);
	return rc;
}

int inbound_bpf_fd(const struct inbound_bpf *ib)
{
	return ring_buffer__epoll_fd(ib->ring);
}

int inbound_bpf_events(struct inbound_bpf *ib, void (*fn)(void *ctx, const struct inbound_event *e),
		       void *ctx)
{
	int n;

	ib->fn = fn;
	ib->ctx = ctx;
	n = ring_buffer__consume(ib->ring);
	ib->fn = NULL;
	return n < 0 ? n : 0;
}
