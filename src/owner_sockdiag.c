/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * SOCK_DIAG_BY_FAMILY without NLM_F_DUMP is an exact look-up in the kernel's own
 * hash tables, so its cost does not grow with the number of sockets. Several
 * requests travel in one send; every request is answered by exactly one message
 * (the socket, or an error) that carries its sequence number.
 *
 * Four habits of the kernel matter:
 *
 *  - UDP is looked up as for a datagram that arrives, so local and remote are
 *    swapped in the request. TCP is asked with the tuple as the socket has it.
 *  - AF_INET finds IPv4 sockets and dual-stack AF_INET6 ones alike; a v4-mapped
 *    request in AF_INET6 finds no UDP socket of AF_INET. So IPv4 asks AF_INET.
 *  - A TCP look-up that misses falls back to a listener on the local port, and
 *    finds TIME_WAIT entries and orphans, which have inode 0 and (on older
 *    kernels) uid 0. None of these is the socket in question: taking them would
 *    blame root. What comes back must carry the tuple asked for and an inode.
 *    Where the listener is the one that is asked for, only a listener counts.
 *  - An unconnected UDP socket matches by port alone, and several may share a port
 *    (SO_REUSEPORT, SO_REUSEADDR); the kernel picks one by hash or order. Such an
 *    answer is checked by a dump of that port, and refused as ambiguous.
 */
#include "owner_sockdiag.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include "base/clock.h"
#include "base/util.h"

#define DIAG_WAIT_NS	(50 * NSEC_PER_MSEC) /* the answer is there when send returns; be sure */
#define DIAG_REQ_SIZE	(NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct inet_diag_req_v2)))
#define DIAG_REPLY_MAX	1024 /* an answer without extensions is below 200 bytes */
#define DIAG_DUMP_SIZE	16384
#define DIAG_ALL_STATES 0xffffffffu
#define STATE_TIME_WAIT 6 /* the kernel's TCP_TIME_WAIT and TCP_LISTEN */
#define STATE_CLOSE	7 /* of UDP: not connected */
#define STATE_LISTEN	10

/* Sequence numbers are never reused within a process: a late answer finds no taker. */
static uint32_t next_seq = 1;

int owner_sockdiag_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);

	return fd < 0 ? -errno : fd;
}

/* put_addr - @a in the form that @family's requests have */
static void put_addr(__be32 out[4], const struct addr *a, uint8_t family)
{
	if (family == AF_INET)
		memcpy(out, addr_v4_bytes(a), 4);
	else
		memcpy(out, a->b, sizeof(a->b));
}

static bool same_addr(const __be32 got[4], const struct addr *want, uint8_t family)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *b = (const uint8_t *)got;

	if (family == AF_INET)
		return addr_is_v4(want) && !memcmp(b, addr_v4_bytes(want), 4);
	if (addr_is_v4(want) && !memcmp(b, mapped, sizeof(mapped)))
		return !memcmp(b + 12, addr_v4_bytes(want), 4);
	return !memcmp(b, want->b, sizeof(want->b));
}

static bool no_addr(const __be32 a[4])
{
	return !(a[0] | a[1] | a[2] | a[3]);
}

/* fill_id - the socket id of @q as the kernel's look-up wants it */
static void fill_id(struct inet_diag_req_v2 *r, const struct owner_query *q, bool swap)
{
	const struct addrport *src = swap ? &q->net : &q->app, *dst = swap ? &q->app : &q->net;

	put_addr(r->id.idiag_src, &src->addr, r->sdiag_family);
	put_addr(r->id.idiag_dst, &dst->addr, r->sdiag_family);
	r->id.idiag_sport = htons(src->port);
	r->id.idiag_dport = htons(dst->port);
	r->id.idiag_cookie[0] = r->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
}

static struct nlmsghdr *put_request(void *at, uint16_t type, uint16_t flags, uint32_t seq,
				    const struct owner_query *q)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(at);
	struct inet_diag_req_v2 *r = mnl_nlmsg_put_extra_header(h, sizeof(*r));

	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_seq = seq;
	r->sdiag_family = addr_is_v4(&q->app.addr) && addr_is_v4(&q->net.addr) ? AF_INET : AF_INET6;
	r->sdiag_protocol = q->proto;
	r->idiag_states = DIAG_ALL_STATES;
	fill_id(r, q, q->proto == IPPROTO_UDP && type == SOCK_DIAG_BY_FAMILY);
	return h;
}

static int send_all(int fd, const void *buf, size_t len)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t n;

	do
		n = sendto(fd, buf, len, MSG_DONTWAIT, (struct sockaddr *)&kernel, sizeof(kernel));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* wait_readable - 0, or -ETIMEDOUT when @deadline passed */
static int wait_readable(int fd, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now = clock_mono_ns();
	int n;

	if (now >= deadline)
		return -ETIMEDOUT;
	n = poll(&p, 1, (int)((deadline - now) / NSEC_PER_MSEC) + 1);
	return n < 0 && errno != EINTR ? -errno : 0;
}

/* from_kernel - anybody inside may send to our netlink port; only port 0 is the kernel */
static bool from_kernel(const struct msghdr *m)
{
	const struct sockaddr_nl *nl = m->msg_name;

	return m->msg_namelen == sizeof(*nl) && nl->nl_pid == 0 && !(m->msg_flags & MSG_TRUNC);
}

static uint64_t cookie_of(const struct inet_diag_msg *m)
{
	return (uint64_t)m->id.idiag_cookie[1] << 32 | m->id.idiag_cookie[0];
}

/* sock_from_msg - one answer, judged: only the very socket that was asked for counts */
static void sock_from_msg(struct owner_sock *out, const struct inet_diag_msg *m,
			  const struct owner_query *q)
{
	uint16_t dport = ntohs(m->id.idiag_dport);
	bool tcp = q->proto == IPPROTO_TCP;

	out->err = -ENOENT;
	if (ntohs(m->id.idiag_sport) != q->app.port)
		return;
	if (tcp &&
	    ((m->idiag_state == STATE_LISTEN) != q->listens || m->idiag_state == STATE_TIME_WAIT))
		return;
	if (((tcp && !q->listens) || dport) &&
	    (dport != q->net.port || !same_addr(m->id.idiag_dst, &q->net.addr, m->idiag_family)))
		return;
	if (((tcp && !q->listens) || !no_addr(m->id.idiag_src)) &&
	    !same_addr(m->id.idiag_src, &q->app.addr, m->idiag_family))
		return;
	if (!m->idiag_inode) {
		out->orphan = cookie_of(m);
		return;
	}
	out->err = 0;
	out->uid = m->idiag_uid;
	out->inode = m->idiag_inode;
	out->cookie = cookie_of(m);
	if (!tcp && !dport)
		out->err = -EAGAIN; /* by port alone: check_port() decides */
}

struct collect {
	const struct owner_query *q;
	struct owner_sock *out;
	uint32_t first_seq;
	unsigned n, open; /* asked, not yet answered */
};

static void take_answer(struct collect *c, const struct nlmsghdr *h)
{
	uint32_t i = h->nlmsg_seq - c->first_seq;

	if (i >= c->n || c->out[i].err != -EINPROGRESS)
		return;
	c->open--;
	if (h->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

		c->out[i].err = mnl_nlmsg_get_payload_len(h) < sizeof(*e) || !e->error ? -EBADMSG
										       : e->error;
	} else if (mnl_nlmsg_get_payload_len(h) < sizeof(struct inet_diag_msg)) {
		c->out[i].err = -EBADMSG;
	} else {
		sock_from_msg(&c->out[i], mnl_nlmsg_get_payload(h), &c->q[i]);
	}
}

/* read_answers - what waits in the socket, up to a batch; how many messages or -errno */
static int read_answers(int fd, struct collect *c)
{
	static _Alignas(struct nlmsghdr) uint8_t buf[OWNER_SOCKDIAG_BATCH][DIAG_REPLY_MAX];
	struct mmsghdr mm[OWNER_SOCKDIAG_BATCH] = {0};
	struct sockaddr_nl from[OWNER_SOCKDIAG_BATCH];
	struct iovec iov[OWNER_SOCKDIAG_BATCH];
	unsigned want = MIN(c->open, OWNER_SOCKDIAG_BATCH);
	int i, got;

	for (i = 0; i < (int)want; i++) {
		iov[i] = (struct iovec){buf[i], sizeof(buf[i])};
		mm[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
						.msg_namelen = sizeof(from[i]),
						.msg_iov = &iov[i],
						.msg_iovlen = 1};
	}
	got = recvmmsg(fd, mm, want, MSG_DONTWAIT, NULL);
	if (got < 0)
		return -errno;
	for (i = 0; i < got; i++) {
		struct nlmsghdr *h = (struct nlmsghdr *)(void *)buf[i];

		if (from_kernel(&mm[i].msg_hdr) && mnl_nlmsg_ok(h, (int)mm[i].msg_len))
			take_answer(c, h);
	}
	return got;
}

static void ask(int fd, struct collect *c)
{
	_Alignas(struct nlmsghdr) uint8_t buf[OWNER_SOCKDIAG_BATCH * DIAG_REQ_SIZE];
	uint64_t deadline = clock_mono_ns() + DIAG_WAIT_NS;
	size_t len = 0;
	unsigned i;
	int err;

	c->first_seq = next_seq;
	for (i = 0; i < c->n; i++) {
		c->out[i] = (struct owner_sock){.err = -EPROTONOSUPPORT, .uid = (uint32_t)-1};
		if (c->q[i].proto != IPPROTO_TCP && c->q[i].proto != IPPROTO_UDP)
			continue;
		put_request(buf + len, SOCK_DIAG_BY_FAMILY, 0, c->first_seq + i, &c->q[i]);
		len += DIAG_REQ_SIZE;
		c->out[i].err = -EINPROGRESS;
		c->open++;
	}
	next_seq += c->n;
	if (!c->open)
		return;
	err = send_all(fd, buf, len);
	while (!err && c->open) {
		err = read_answers(fd, c);
		if (err == -EAGAIN)
			err = wait_readable(fd, deadline);
		else if (err > 0 || err == -EINTR || err == -ENOBUFS)
			err = clock_mono_ns() < deadline ? 0 : -ETIMEDOUT;
	}
	for (i = 0; i < c->n; i++)
		if (c->out[i].err == -EINPROGRESS)
			c->out[i].err = err ? err : -ETIMEDOUT;
}

/* port_rival - true when @m, another socket on the port, could have sent @q as well */
static bool port_rival(const struct inet_diag_msg *m, const struct owner_query *q, uint32_t inode)
{
	if (!m->idiag_inode || m->idiag_inode == inode || ntohs(m->id.idiag_sport) != q->app.port)
		return false;
	if (!no_addr(m->id.idiag_src) && !same_addr(m->id.idiag_src, &q->app.addr, m->idiag_family))
		return false;
	return !m->id.idiag_dport; /* connected elsewhere cannot be; to us would have been found */
}

struct port_dump {
	const struct owner_query *q;
	struct owner_sock *out;
};

static int port_dump_cb(const struct nlmsghdr *h, void *data)
{
	struct port_dump *d = data;
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);

	if (mnl_nlmsg_get_payload_len(h) < sizeof(*m))
		return MNL_CB_OK;
	if (port_rival(m, d->q, d->out->inode)) {
		d->out->err = -EEXIST;
		if (m->idiag_uid != d->out->uid)
			d->out->uid = (uint32_t)-1;
	}
	return MNL_CB_OK;
}

/* run_dump - send the request in @buf and give every answer to @cb; 0 or -errno */
static int run_dump(int fd, uint8_t *buf, mnl_cb_t cb, void *data)
{
	uint64_t deadline = clock_mono_ns() + DIAG_WAIT_NS;
	const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)buf;
	uint32_t seq = h->nlmsg_seq;
	int err = send_all(fd, buf, h->nlmsg_len), rc;

	while (!err) {
		struct sockaddr_nl from;
		struct iovec iov = {buf, DIAG_DUMP_SIZE};
		struct msghdr mh = {.msg_name = &from,
				    .msg_namelen = sizeof(from),
				    .msg_iov = &iov,
				    .msg_iovlen = 1};
		ssize_t n = recvmsg(fd, &mh, MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			err = wait_readable(fd, deadline);
		else if (n < 0)
			err = -errno;
		else if (from_kernel(&mh) && h->nlmsg_seq == seq &&
			 (rc = mnl_cb_run(buf, (size_t)n, seq, 0, cb, data)) <= MNL_CB_STOP)
			return rc < 0 ? -errno : 0;
		else
			err = clock_mono_ns() < deadline ? 0 : -ETIMEDOUT;
	}
	return err;
}

/* dump_port - all sockets of one family on the port of @d->q; 0 or -errno */
static int dump_port(int fd, uint8_t family, struct port_dump *d)
{
	static _Alignas(struct nlmsghdr) uint8_t buf[DIAG_DUMP_SIZE];
	struct nlmsghdr *h = put_request(buf, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, next_seq++, d->q);
	struct inet_diag_req_v2 *r = mnl_nlmsg_get_payload(h);

	memset(&r->id, 0, sizeof(r->id));
	r->sdiag_family = family;
	r->id.idiag_sport = htons(d->q->app.port);
	return run_dump(fd, buf, port_dump_cb, d);
}

struct listen_dump {
	uint8_t proto;
	void (*fn)(void *ctx, const struct owner_listener *l);
	void *ctx;
};

static int v6only_cb(const struct nlattr *a, void *data)
{
	if (mnl_attr_get_type(a) == INET_DIAG_SKV6ONLY && mnl_attr_get_payload_len(a) >= 1)
		*(bool *)data = mnl_attr_get_u8(a);
	return MNL_CB_OK;
}

static int listen_dump_cb(const struct nlmsghdr *h, void *data)
{
	const struct listen_dump *d = data;
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);
	struct owner_listener l = {.proto = d->proto};

	if (mnl_nlmsg_get_payload_len(h) < sizeof(*m) || !m->id.idiag_sport || m->id.idiag_dport)
		return MNL_CB_OK;
	mnl_attr_parse(h, sizeof(*m), v6only_cb, &l.v6only);
	l.at.port = ntohs(m->id.idiag_sport);
	l.at.addr = m->idiag_family == AF_INET ? addr_from_v4(m->id.idiag_src)
					       : addr_from_v6(m->id.idiag_src);
	d->fn(d->ctx, &l);
	return MNL_CB_OK;
}

int owner_sockdiag_listeners(int fd, void (*fn)(void *ctx, const struct owner_listener *l),
			     void *ctx)
{
	static _Alignas(struct nlmsghdr) uint8_t buf[DIAG_DUMP_SIZE];
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP};
	static const uint8_t families[] = {AF_INET, AF_INET6};
	int err = 0;

	for (unsigned i = 0; i < 4 && !err; i++) {
		struct listen_dump d = {protos[i / 2], fn, ctx};
		const struct owner_query q = {.proto = d.proto};
		struct nlmsghdr *h =
			put_request(buf, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, next_seq++, &q);
		struct inet_diag_req_v2 *r = mnl_nlmsg_get_payload(h);

		memset(&r->id, 0, sizeof(r->id));
		r->sdiag_family = families[i % 2];
		r->idiag_states = d.proto == IPPROTO_TCP ? 1U << STATE_LISTEN : 1U << STATE_CLOSE;
		err = run_dump(fd, buf, listen_dump_cb, &d);
	}
	return err == -ENOENT ? 0 : err; /* a kernel without IPv6 or udp_diag */
}

/*
 * check_port - is the unconnected UDP socket in @out the only one that fits?
 *
 * When the dump itself fails the answer stays as the kernel picked it: a rival
 * is not known.
 */
static void check_port(int fd, const struct owner_query *q, struct owner_sock *out)
{
	struct port_dump d = {q, out};

	out->err = 0;
	if (addr_is_v4(&q->app.addr))
		dump_port(fd, AF_INET, &d);
	dump_port(fd, AF_INET6, &d); /* IPv4 too: a dual-stack socket */
	if (out->err)
		out->inode = 0, out->cookie = 0;
}

void owner_sockdiag_lookup(int fd, const struct owner_query *q, struct owner_sock *out, unsigned n)
{
	struct collect c = {.q = q, .out = out, .n = n};
	unsigned i;

	weir_assert(n <= OWNER_SOCKDIAG_BATCH);
	ask(fd, &c);
	for (i = 0; i < n; i++)
		if (out[i].err == -EAGAIN && out[i].inode)
			check_port(fd, &q[i], &out[i]);
}

/* send_destroy - @cookie pins the socket: without it a miss would end a listener on the port */
static int send_destroy(int fd, const struct owner_query *q, uint64_t cookie, uint32_t seq)
{
	_Alignas(struct nlmsghdr) uint8_t buf[DIAG_REQ_SIZE];
	struct nlmsghdr *h = put_request(buf, SOCK_DESTROY, NLM_F_ACK, seq, q);
	struct inet_diag_req_v2 *r = mnl_nlmsg_get_payload(h);

	r->id.idiag_cookie[0] = (uint32_t)cookie;
	r->id.idiag_cookie[1] = (uint32_t)(cookie >> 32);
	return send_all(fd, buf, h->nlmsg_len);
}

int owner_sockdiag_destroy(int fd, const struct owner_query *q)
{
	_Alignas(struct nlmsghdr) uint8_t buf[DIAG_REPLY_MAX];
	const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)buf;
	uint64_t deadline = clock_mono_ns() + DIAG_WAIT_NS;
	struct owner_sock found;
	uint32_t seq;
	int err;

	owner_sockdiag_lookup(fd, q, &found, 1);
	if (found.err && !found.orphan)
		return found.err;
	seq = next_seq++;
	err = send_destroy(fd, q, found.err ? found.orphan : found.cookie, seq);
	while (!err) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n < 0) {
			err = errno == EAGAIN ? wait_readable(fd, deadline) : -errno;
			continue;
		}
		if (mnl_nlmsg_ok(h, (int)n) && h->nlmsg_seq == seq &&
		    h->nlmsg_type == NLMSG_ERROR &&
		    mnl_nlmsg_get_payload_len(h) >= sizeof(struct nlmsgerr))
			return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
		err = clock_mono_ns() < deadline ? 0 : -ETIMEDOUT;
	}
	return err;
}
