/* SPDX-License-Identifier: MIT */
#include "oldconn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include "base/util.h"

#define CONNECTIONS_MAX 100000 /* more than a host has; sets of this size load within a second */
#define ELEMENTS	500    /* of one nft command */

/* What has a peer and may still send of its own accord. */
#define STATES_OPEN                                                                                \
	(1U << TCP_ESTABLISHED | 1U << TCP_FIN_WAIT1 | 1U << TCP_FIN_WAIT2 |                       \
	 1U << TCP_CLOSE_WAIT | 1U << TCP_LAST_ACK | 1U << TCP_CLOSING)
#define STATES_CONNECTING  (1U << TCP_SYN_SENT | 1U << TCP_SYN_RECV)
#define STATES_UNCONNECTED (1U << TCP_CLOSE) /* of UDP */

enum member { NOTED, IN_SET, ENDED, GONE }; /* ENDED: in the set still */

struct entry {
	struct addrport local, peer;
	enum member member;
	bool seen; /* by oldconn_check() */
};

struct oldconn {
	struct entry
		*e; /* sorted, so that the end of any socket of the host is looked up at once */
	size_t n, room;
	size_t ended; /* ENDED or GONE */
};

/* --- the kernel's list -------------------------------------------------------------- */

static struct addr diag_addr(uint8_t family, const uint32_t *words)
{
	return family == AF_INET ? addr_from_v4(words) : addr_from_v6(words);
}

static bool parse(const struct nlmsghdr *nlh, struct oldconn_sock *s)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*m) ||
	    (m->idiag_family != AF_INET && m->idiag_family != AF_INET6))
		return false;
	*s = (struct oldconn_sock){
		.local = {diag_addr(m->idiag_family, m->id.idiag_src), ntohs(m->id.idiag_sport)},
		.peer = {diag_addr(m->idiag_family, m->id.idiag_dst), ntohs(m->id.idiag_dport)},
		.uid = m->idiag_uid,
		.state = m->idiag_state,
	};
	return true;
}

struct dump {
	uint8_t proto;
	bool (*fits)(const struct oldconn_sock *s);
	int (*each)(void *ctx, const struct oldconn_sock *s);
	void *ctx;
	int stopped;
};

static int dump_one(const struct nlmsghdr *nlh, void *data)
{
	struct dump *d = data;
	struct oldconn_sock s;

	if (!d->stopped && parse(nlh, &s) && d->fits(&s))
		d->stopped = d->each(d->ctx, &s);
	return MNL_CB_OK; /* to the end, else the rest would be the next request's answer */
}

static int dump_family(struct mnl_socket *nl, uint8_t family, uint32_t states, struct dump *d)
{
	char buf[16384];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req;
	ssize_t n;
	int rc = MNL_CB_OK;

	nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));
	req->sdiag_family = family;
	req->sdiag_protocol = d->proto;
	req->idiag_states = states;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (rc == MNL_CB_OK) {
		n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		if (n < 0)
			return -errno;
		rc = mnl_cb_run(buf, (size_t)n, 0, 0, dump_one, d);
	}
	if (rc < 0) /* a kernel without IPv6 has none of its sockets */
		return errno == ENOENT || errno == EAFNOSUPPORT ? 0 : -errno;
	return d->stopped;
}

static int dump_all(uint32_t states, struct dump *d)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	int rc;

	if (!nl)
		return -errno;
	rc = dump_family(nl, AF_INET, states, d);
	if (!rc)
		rc = dump_family(nl, AF_INET6, states, d);
	mnl_socket_close(nl);
	return rc;
}

static bool has_peer(const struct oldconn_sock *s)
{
	return s->peer.port && !addr_is_loopback(&s->peer.addr);
}

int oldconn_dump(bool connecting, int (*each)(void *ctx, const struct oldconn_sock *s), void *ctx)
{
	struct dump d = {.proto = IPPROTO_TCP, .fits = has_peer, .each = each, .ctx = ctx};

	return dump_all(STATES_OPEN | (connecting ? STATES_CONNECTING : 0), &d);
}

static bool hears_strangers(const struct oldconn_sock *s)
{
	return !s->peer.port && s->local.port && !addr_is_loopback(&s->local.addr);
}

struct looking {
	bool (*wanted)(void *ctx, const struct oldconn_sock *s);
	void *ctx;
};

static int is_wanted(void *ctx, const struct oldconn_sock *s)
{
	const struct looking *l = ctx;

	return l->wanted(l->ctx, s);
}

int oldconn_udp(bool (*wanted)(void *ctx, const struct oldconn_sock *s), void *ctx)
{
	struct looking l = {.wanted = wanted, .ctx = ctx};
	struct dump d = {
		.proto = IPPROTO_UDP, .fits = hears_strangers, .each = is_wanted, .ctx = &l};

	return dump_all(STATES_UNCONNECTED, &d);
}

/* --- those that keep their path ------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int c = memcmp(&x->local.addr, &y->local.addr, sizeof(x->local.addr));

	if (!c)
		c = memcmp(&x->peer.addr, &y->peer.addr, sizeof(x->peer.addr));
	if (!c)
		c = (int)x->local.port - (int)y->local.port;
	return c ? c : (int)x->peer.port - (int)y->peer.port;
}

static struct entry *find(const struct oldconn *o, size_t n, const struct oldconn_sock *s)
{
	const struct entry key = {.local = s->local, .peer = s->peer};

	return n ? bsearch(&key, o->e, n, sizeof(key), compare) : NULL;
}

int oldconn_new(struct oldconn **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void oldconn_free(struct oldconn *o)
{
	if (!o)
		return;
	free(o->e);
	free(o);
}

struct adding {
	struct oldconn *o;
	size_t known; /* entries that were there before: the sorted part */
	bool (*wanted)(void *, const struct oldconn_sock *);
	void *ctx;
};

static int grow(struct oldconn *o)
{
	const size_t room = o->room ? 2 * o->room : 256;
	struct entry *e;

	if (o->n >= CONNECTIONS_MAX)
		return -E2BIG;
	e = reallocarray(o->e, room, sizeof(*e));
	if (!e)
		return -ENOMEM;
	o->e = e;
	o->room = room;
	return 0;
}

static int add_one(void *ctx, const struct oldconn_sock *s)
{
	struct adding *a = ctx;
	struct oldconn *o = a->o;
	int rc;

	if ((a->wanted && !a->wanted(a->ctx, s)) || find(o, a->known, s))
		return 0;
	rc = o->n < o->room ? 0 : grow(o);
	if (!rc)
		o->e[o->n++] = (struct entry){.local = s->local, .peer = s->peer};
	return rc;
}

int oldconn_add(struct oldconn *o, bool connecting,
		bool (*wanted)(void *, const struct oldconn_sock *), void *ctx)
{
	struct adding a = {.o = o, .known = o->n, .wanted = wanted, .ctx = ctx};
	int rc = oldconn_dump(connecting, add_one, &a);

	if (o->n > a.known)
		qsort(o->e, o->n, sizeof(*o->e), compare);
	return rc ? rc : (int)(o->n - a.known);
}

size_t oldconn_count(const struct oldconn *o)
{
	return o->n - o->ended;
}

/* --- the sets ----------------------------------------------------------------------------- */

static void print_entry(FILE *f, const struct entry *e)
{
	char local[ADDR_STRLEN], peer[ADDR_STRLEN];

	fprintf(f, "%s . %u . %s . %u, ", addr_format(&e->local.addr, local), e->local.port,
		addr_format(&e->peer.addr, peer), e->peer.port);
}

/** command - the next ELEMENTS entries of one family in state @from, from *@at on */
static char *command(const struct oldconn *o, const char *verb, const char *table, bool v4,
		     enum member from, size_t *at, int *count)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	*count = 0;
	if (!f)
		return NULL;
	fprintf(f, "%s element inet %s %s { ", verb, table, v4 ? "old4" : "old6");
	for (; *at < o->n && *count < ELEMENTS; (*at)++) {
		const struct entry *e = &o->e[*at];

		if (e->member != from || addr_is_v4(&e->local.addr) != v4)
			continue;
		print_entry(f, e);
		(*count)++;
	}
	fputs("}\n", f);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

static int change_family(struct oldconn *o, struct nft *n, const char *verb, const char *table,
			 bool v4, enum member from, char *err, size_t errsize)
{
	size_t at = 0;
	int count, rc = 0;

	while (!rc && at < o->n) {
		char *text = command(o, verb, table, v4, from, &at, &count);

		if (!text)
			return -ENOMEM;
		if (count)
			rc = nft_apply(n, text, err, errsize);
		free(text);
	}
	return rc;
}

int oldconn_apply(struct oldconn *o, struct nft *n, const char *table, char *err, size_t errsize)
{
	int rc = change_family(o, n, "add", table, true, NOTED, err, errsize);

	if (!rc)
		rc = change_family(o, n, "add", table, false, NOTED, err, errsize);
	for (size_t i = 0; !rc && i < o->n; i++) {
		if (o->e[i].member == NOTED)
			o->e[i].member = IN_SET;
	}
	return rc;
}

static void forget_ended(struct oldconn *o)
{
	size_t kept = 0;

	for (size_t i = 0; i < o->n; i++) {
		if (o->e[i].member < ENDED)
			o->e[kept++] = o->e[i];
	}
	o->n = kept;
	o->ended = 0;
}

static void print_family(const struct oldconn *o, const char *table, bool v4, FILE *f)
{
	size_t count = 0;

	for (size_t i = 0; i < o->n; i++) {
		const struct entry *e = &o->e[i];

		if (e->member >= ENDED || addr_is_v4(&e->local.addr) != v4)
			continue;
		if (count++ % ELEMENTS == 0)
			fprintf(f, "%sadd element inet %s %s { ", count > 1 ? "}\n" : "", table,
				v4 ? "old4" : "old6");
		print_entry(f, e);
	}
	if (count)
		fputs("}\n", f);
}

void oldconn_print(const struct oldconn *o, const char *table, FILE *f)
{
	print_family(o, table, true, f);
	print_family(o, table, false, f);
}

void oldconn_printed(struct oldconn *o)
{
	forget_ended(o);
	for (size_t i = 0; i < o->n; i++)
		o->e[i].member = IN_SET;
}

/* --- the end of each ------------------------------------------------------------------------ */

static int see(void *ctx, const struct oldconn_sock *s)
{
	struct oldconn *o = ctx;
	struct entry *e = find(o, o->n, s);

	if (e)
		e->seen = true;
	return 0;
}

int oldconn_check(struct oldconn *o)
{
	const size_t before = o->ended;
	int rc;

	if (!oldconn_count(o))
		return 0;
	for (size_t i = 0; i < o->n; i++)
		o->e[i].seen = false;
	rc = oldconn_dump(true, see, o);
	for (size_t i = 0; !rc && i < o->n; i++) {
		struct entry *e = &o->e[i];

		if (e->seen || e->member >= ENDED)
			continue;
		e->member = e->member == IN_SET ? ENDED : GONE;
		o->ended++;
	}
	return rc ? rc : (int)(o->ended - before);
}

/** refill - the sets as they should be; somebody else may have changed them */
static int refill(struct oldconn *o, struct nft *n, const char *table, char *err, size_t errsize)
{
	char text[128];
	int rc;

	snprintf(text, sizeof(text), "flush set inet %s old4\nflush set inet %s old6\n", table,
		 table);
	rc = nft_apply(n, text, err, errsize);
	if (rc)
		return rc;
	forget_ended(o);
	for (size_t i = 0; i < o->n; i++)
		o->e[i].member = NOTED;
	return oldconn_apply(o, n, table, err, errsize);
}

int oldconn_expire(struct oldconn *o, struct nft *n, const char *table, char *err, size_t errsize)
{
	int rc;

	if (!o->ended)
		return 0;
	rc = change_family(o, n, "delete", table, true, ENDED, err, errsize);
	if (!rc)
		rc = change_family(o, n, "delete", table, false, ENDED, err, errsize);
	if (rc) /* one that is not there spoils the whole transaction */
		return refill(o, n, table, err, errsize);
	forget_ended(o);
	return 0;
}
