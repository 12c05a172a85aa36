/* SPDX-License-Identifier: MIT */
#include "inbound.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/fsuid.h>
#include <sys/socket.h>

#include "inbound_bpf.h"
#include "plan.h"
#include "select_names.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

#define BACKLOG	 4096		      /* the host's net.core.somaxconn has the last word */
#define SOON_NS	 (10 * NSEC_PER_MSEC) /* for a socket to get its port */
#define LOOK_NS	 (60 * NSEC_PER_SEC)  /* to be sure: an event can be lost */
#define UID_NONE ((uint32_t)-1)

struct inbound {
	struct inbound_bpf *bpf;
	struct publish *publish;
	const struct selection *selection; /* borrowed */
	struct inbound_select select;
	uint64_t ids[SELECT_CGROUPS_MAX]; /* that the programs know; 0: it does not exist */
	uint64_t look_at;
	unsigned tun, open;  /* open: keys at which somebody selected listens */
	struct owner_db *db; /* both during inbound_serve() */
	struct record *record;
};

/* --- the doors ------------------------------------------------------------------------------- */

/**
 * listen_as - a socket that listens at @host, of user @worker
 *
 * Whose a socket is, the kernel reads off the file system's user of who makes it. 0 could be
 * selected, and then the answers to those who were not accepted yet would go to the device.
 */
static int listen_as(uid_t worker, struct addrport *host)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(host, &ss);
	int one = 1, rc = 0, fd;

	setfsuid(worker);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	rc = fd < 0 ? -errno : 0;
	setfsuid(geteuid());
	if (rc)
		return rc;
	if ((ss.ss_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one))) ||
	    bind(fd, (struct sockaddr *)&ss, len) || listen(fd, BACKLOG) ||
	    getsockname(fd, (struct sockaddr *)&ss, &len))
		rc = -errno;
	else
		rc = addr_from_sockaddr((struct sockaddr *)&ss, host);
	if (!rc)
		return fd;
	close(fd);
	return rc;
}

static int open_door(struct inbound *in, enum ib_door door, const char *on, uid_t worker)
{
	struct listener l = {.id = door + 1U, .proto = IPPROTO_TCP, .steered = true};
	int fd, rc;

	weir_assert(!addr_parse(on, &l.host.addr));
	fd = listen_as(worker, &l.host);
	if (fd < 0)
		return fd;
	rc = inbound_bpf_door(in->bpf, door, fd);
	if (!rc)
		rc = publish_give(&in->publish, &l, fd);
	else
		close(fd);
	return rc;
}

int inbound_open(struct inbound **out, uid_t worker, char *err, size_t errsize)
{
	struct inbound *in = calloc(1, sizeof(*in));
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = -ENOMEM;

	*out = NULL;
	snprintf(err, errsize, "no memory");
	if (in)
		rc = sock < 0 ? -errno : inbound_bpf_open(sock, worker, &in->bpf, err, errsize);
	close_fd(&sock);
	if (!rc) {
		rc = open_door(in, IB_DOOR_TCP4, "127.0.0.1", worker);
		if (rc)
			snprintf(err, errsize, "no listening socket: %s", strerror(-rc));
	}
	if (rc) {
		inbound_close(in);
		return rc;
	}
	rc = open_door(in, IB_DOOR_TCP6, "::1", worker);
	if (rc) /* a host without IPv6 */
		log_debug("no listening socket for IPv6: %s", strerror(-rc));
	in->look_at = clock_mono_ns() + LOOK_NS;
	*out = in;
	return 0;
}

void inbound_close(struct inbound *in)
{
	if (!in)
		return;
	inbound_bpf_free(in->bpf);
	publish_free(in->publish);
	free(in);
}

struct publish *inbound_publish(const struct inbound *in)
{
	return in ? in->publish : NULL;
}

/* --- whose servers ------------------------------------------------------------------------------
 */

/** put_cgroups - the ids of now; returns whether there is one that was not known */
static bool put_cgroups(struct inbound *in)
{
	bool news = false;

	for (unsigned i = 0; i < in->selection->n_cgroups; i++) {
		uint64_t id;

		if (select_cgroup_id(in->selection->cgroups[i].path, &id))
			id = 0;
		if (id && id != in->ids[i] && !inbound_bpf_cgroup(in->bpf, &in->select, i, id))
			news = true;
		in->ids[i] = id;
	}
	return news;
}

static int scan(struct inbound *in)
{
	int rc = inbound_bpf_scan(in->bpf);

	if (rc)
		log_warn("who listens can't be seen: %s", strerror(-rc));
	in->look_at = clock_mono_ns() + LOOK_NS;
	return rc;
}

static void make_select(struct inbound_select *out, const struct up_config *c)
{
	inbound_select_make(out, &c->select, plan_mark_mask(c), c->link_local_pass);
}

bool inbound_can_steer(struct inbound *in, const struct up_config *c)
{
	static struct inbound_select s; /* large */
	char text[96];

	if (!in)
		return false;
	make_select(&s, c);
	if (s.obstacle < 0)
		return true;
	log_note("connections to servers of the selected are not seen: those of %s can't be told "
		 "beforehand",
		 select_text(&c->select.list[s.obstacle], &c->select, text, sizeof(text)));
	return false;
}

int inbound_select(struct inbound *in, const struct up_config *c)
{
	int rc;

	if (!in)
		return 0;
	in->selection = &c->select;
	make_select(&in->select, c);
	if (in->select.obstacle >= 0)
		in->select.all = 0;
	publish_peer_ports(in->publish, in->select.ports.lo, in->select.ports.hi);
	rc = inbound_bpf_select(in->bpf, &in->select);
	memset(in->ids, 0, sizeof(in->ids));
	if (rc)
		return rc;
	put_cgroups(in);
	inbound_addresses(in);
	return scan(in);
}

int inbound_steer(struct inbound *in, unsigned tun)
{
	if (!in || tun == in->tun)
		return 0;
	in->tun = tun;
	return inbound_bpf_steer(in->bpf, tun);
}

void inbound_addresses(struct inbound *in)
{
	struct addr own[IB_OWN_MAX];
	struct ifaddrs *list;
	struct addrport at;
	unsigned n = 0;
	int rc;

	if (!in)
		return;
	rc = getifaddrs(&list) ? -errno : 0;
	if (rc)
		list = NULL;
	for (const struct ifaddrs *i = list; i && n < ARRAY_SIZE(own); i = i->ifa_next)
		if (i->ifa_addr && !addr_from_sockaddr(i->ifa_addr, &at))
			own[n++] = at.addr;
	if (!rc)
		rc = inbound_bpf_own(in->bpf, own, n);
	if (rc)
		log_warn("this host's own addresses can't be noted: %s", strerror(-rc));
	if (list)
		freeifaddrs(list);
}

void inbound_cgroups(struct inbound *in)
{
	if (in && put_cgroups(in))
		scan(in);
}

/* --- who listens ---------------------------------------------------------------------------------
 */

int inbound_fd(const struct inbound *in)
{
	return in ? inbound_bpf_fd(in->bpf) : -1;
}

static void record_it(struct inbound *in, const struct inbound_event *e)
{
	const struct owner_query q = {
		.proto = e->proto, .listens = true, .app = e->at, .net = e->at};
	struct owner_answer a = {.uid = UID_NONE, .why = OWNER_NO_SOCKET};
	struct record_listen r = {.at = e->at, .proto = e->proto, .listens = e->kind == IB_OPENED};

	if (r.listens)
		owner_db_lookup(in->db, &q, &a, 1);
	r.uid = a.uid == UID_NONE ? e->uid : a.uid;
	r.inode = a.inode;
	r.why = a.why;
	record_listen(in->record, &r, a.owner ? owner_db_get(in->db, a.owner) : NULL);
}

static void take_event(void *ctx, const struct inbound_event *e)
{
	struct inbound *in = ctx;

	if (e->kind == IB_LOOK) {
		in->look_at = MIN(in->look_at, clock_mono_ns() + SOON_NS);
		return;
	}
	in->open += e->kind == IB_OPENED ? 1 : in->open ? -1U : 0;
	record_it(in, e);
}

void inbound_serve(struct inbound *in, struct owner_db *db, struct record *record)
{
	int rc;

	if (!in)
		return;
	if (clock_mono_ns() >= in->look_at)
		scan(in);
	in->db = db;
	in->record = record;
	rc = inbound_bpf_events(in->bpf, take_event, in);
	if (rc)
		log_debug("events of listening sockets: %s", strerror(-rc));
}

uint64_t inbound_deadline(const struct inbound *in)
{
	return in ? in->look_at : 0;
}

void inbound_status(const struct inbound *in, FILE *f)
{
	if (in && in->select.all)
		fprintf(f, "inbound: connections to %u listening address%s come by weir\n",
			in->open, in->open == 1 ? "" : "es");
	else
		fprintf(f, "inbound: not seen\n");
}
