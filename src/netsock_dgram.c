/* SPDX-License-Identifier: MIT */
/*
 * The datagram half of netsock.h: UDP and ping sockets, unconnected.
 *
 * Theory of operation
 *
 * A system call costs more than the datagram in it, so datagrams go out in
 * sendmmsg(2), and those of one size in a row to one peer as one message with
 * UDP_SEGMENT: the kernel walks its stack once and cuts at the end. The kernel
 * refuses such a message where a single datagram would be fine (larger than the
 * route's MTU: EINVAL, EMSGSIZE with newer kernels; no checksum offload or IPsec: EIO).
 * Then the same datagrams go one by one, so that an error is the right one's
 * own, and after the second refusal in a row the socket stops joining
 * datagrams of that size. One refusal proves nothing: it may have been a pending
 * error of an earlier datagram, which the kernel reports just so.
 *
 * TTL and TOS travel as control messages, only where they differ from what the
 * socket sends by itself. DF is a socket option (IP_MTU_DISCOVER), set when it
 * changes; a batch never mixes. What a socket was last set to is kept here in a
 * table by descriptor.
 *
 * Where the device is in the same network namespace as these sockets, what weir writes into it
 * for a program that is gone could find one of them bound to the program's port, and be
 * read as another datagram from the peer, for ever. So they take other ports than the programs',
 * which may want theirs again, and a filter drops what comes by the device.
 */
#include "netsock.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/errqueue.h>
#include <linux/filter.h>

#include "base/util.h"

#define SEND_DGRAMS   64	/* of one sendmmsg(2): the packets of one TUN batch */
#define JOIN_SEGMENTS 64	/* UDP_MAX_SEGMENTS of every kernel; newer ones take 128 */
#define JOIN_BYTES    65000	/* with the headers of either family below 65536 */
#define REFUSALS      2		/* in a row, then a size is not joined any more */
#define SOCKET_BUFFER (4 << 20) /* wanted; the host's rmem_max and wmem_max have the last word */

/** struct dgram_sock - what a socket was last set to */
struct dgram_sock {
	uint8_t ttl; /* what it sends when not told */
	uint8_t refused;
	bool df_known, df;
	uint16_t join_max; /* largest size to join, 0 = none */
};

static struct dgram_sock *socks; /* by descriptor; the process has one loop */
static size_t n_socks;
static unsigned device; /* whose packets are not for us; 0: it is elsewhere */

void netsock_dgram_beside(unsigned ifindex)
{
	device = ifindex;
}

/** sock_slot - the entry of @fd, made when there is none yet; NULL on ENOMEM */
static struct dgram_sock *sock_slot(int fd)
{
	size_t want = (size_t)fd + 1, n = n_socks ? n_socks : 64;
	struct dgram_sock *grown;

	if (want <= n_socks)
		return &socks[fd];
	while (n < want)
		n *= 2;
	grown = realloc(socks, n * sizeof(*socks));
	if (!grown)
		return NULL;
	memset(grown + n_socks, 0, (n - n_socks) * sizeof(*socks));
	socks = grown;
	n_socks = n;
	return &socks[fd];
}

/* --- opening ------------------------------------------------------------------- */

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int watch(struct netsock_set *s, int op, int fd, uint64_t token, bool out)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLET | (out ? (uint32_t)EPOLLOUT : 0),
		.data.u64 = token,
	};

	return epoll_ctl(netsock_set_fd(s), op, fd, &ev) < 0 ? -errno : 0;
}

/** dgram_options - what both kinds need; errors queued, TTL and TOS told */
static int dgram_options(int fd, bool v4)
{
	int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
	int rc;

	rc = set_int(fd, level, v4 ? IP_RECVERR : IPV6_RECVERR, 1);
	if (!rc)
		rc = set_int(fd, level, v4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1);
	if (!rc)
		rc = set_int(fd, level, v4 ? IP_RECVTOS : IPV6_RECVTCLASS, 1);
	if (rc)
		return rc;
	/* A burst fits or it does not: nothing fails without these. */
	set_int(fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER);
	set_int(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER);
	return 0;
}

/** default_ttl - what the host's own datagrams carry (net.ipv4.ip_default_ttl and the like) */
static uint8_t default_ttl(int fd, bool v4)
{
	int ttl = 0;
	socklen_t len = sizeof(ttl);

	if (getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS, &ttl,
		       &len) < 0 ||
	    ttl < 0)
		return 0;
	return (uint8_t)ttl;
}

/** bind_any - bind to the wildcard address and @port */
static int bind_any(int fd, bool v4, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int rc;

	if (v4)
		rc = bind(fd, (struct sockaddr *)&in, sizeof(in));
	else
		rc = bind(fd, (struct sockaddr *)&in6, sizeof(in6));
	return rc < 0 ? -errno : 0;
}

/** not_by_device - packets that came by @device are dropped before they are queued */
static int not_by_device(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(SKF_AD_OFF + SKF_AD_IFINDEX)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, device, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog prog = {ARRAY_SIZE(code), code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) ? -errno : 0;
}

/** dgram_open - socket, options and port (@port where it is free); the fd or -errno */
static int dgram_open(bool v4, int proto, uint16_t port)
{
	struct dgram_sock *ds;
	int fd, rc;

	fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, proto);
	if (fd < 0)
		return -errno;
	ds = sock_slot(fd);
	rc = ds ? dgram_options(fd, v4) : -ENOMEM;
	/* Ping sockets share an identifier unless told not to, and one gets the other's replies. */
	if (!rc)
		rc = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 0);
	if (!rc && !v4)
		rc = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (!rc && device) {
		rc = not_by_device(fd);
		port = 0;
	}
	/* Taken or privileged: any other does as well. */
	if (!rc && (!port || bind_any(fd, v4, port)))
		rc = bind_any(fd, v4, 0);
	if (rc) {
		close(fd);
		return rc;
	}
	*ds = (struct dgram_sock){.ttl = default_ttl(fd, v4)};
	return fd;
}

/** dgram_watched - the last step of opening: @fd, or it is closed and -errno returned */
static int dgram_watched(struct netsock_set *s, int fd, uint64_t token)
{
	int rc = watch(s, EPOLL_CTL_ADD, fd, token, false);

	if (rc) {
		close(fd);
		return rc;
	}
	return fd;
}

int netsock_udp_open(struct netsock_set *s, bool v4, uint16_t port, uint64_t token)
{
	int fd = dgram_open(v4, IPPROTO_UDP, port);

	if (fd < 0)
		return fd;
	/* A kernel without it hands over one by one. */
	set_int(fd, SOL_UDP, UDP_GRO, 1);
	sock_slot(fd)->join_max = UINT16_MAX;
	return dgram_watched(s, fd, token);
}

int netsock_udp_adopt(struct netsock_set *s, int fd, bool v4, uint64_t token)
{
	struct dgram_sock *ds = sock_slot(fd);
	int rc = ds ? dgram_options(fd, v4) : -ENOMEM;

	if (!rc)
		rc = set_int(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO,
			     1);
	if (rc)
		return rc;
	set_int(fd, SOL_UDP, UDP_GRO, 1);
	*ds = (struct dgram_sock){.ttl = default_ttl(fd, v4), .join_max = UINT16_MAX};
	return watch(s, EPOLL_CTL_ADD, fd, token, false);
}

int netsock_icmp_open(struct netsock_set *s, bool v4, uint16_t *ident, uint64_t token)
{
	int fd = dgram_open(v4, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, *ident);
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} name = {.sa = {0}};
	socklen_t len = sizeof(name);

	if (fd < 0)
		return fd;
	if (getsockname(fd, &name.sa, &len) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	*ident = ntohs(v4 ? name.in.sin_port : name.in6.sin6_port);
	return dgram_watched(s, fd, token);
}

int netsock_dgram_rearm(struct netsock_set *s, int fd, uint64_t token, bool out)
{
	return watch(s, EPOLL_CTL_MOD, fd, token, out);
}

/* --- sending ------------------------------------------------------------------- */

union control { /* TTL, TOS, source address and UDP_SEGMENT */
	struct cmsghdr align;
	char room[2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo)) +
		  CMSG_SPACE(sizeof(uint16_t))];
};

/** struct outbox - the messages of one sendmmsg(2) */
struct outbox {
	struct mmsghdr msg[SEND_DGRAMS];
	struct iovec iov[SEND_DGRAMS];
	struct sockaddr_storage name[SEND_DGRAMS];
	union control control[SEND_DGRAMS];
	uint8_t count[SEND_DGRAMS]; /* datagrams in each message */
	unsigned n, n_iov;
};

/* Too large for a stack that hostile input may deepen; the process has one loop. */
static struct outbox outbox;

/** control_add - one control message behind those already there */
static void control_add(struct msghdr *mh, union control *c, int level, int type, const void *data,
			size_t len)
{
	struct cmsghdr *cm = (struct cmsghdr *)(void *)(c->room + mh->msg_controllen);

	cm->cmsg_level = level;
	cm->cmsg_type = type;
	cm->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(cm), data, len);
	mh->msg_control = c->room;
	mh->msg_controllen += CMSG_SPACE(len);
}

/** add_ip_facts - TTL and TOS where the socket would send others */
static void add_ip_facts(struct msghdr *mh, union control *c, bool v4, uint8_t own_ttl,
			 const struct netsock_dgram *d)
{
	/* IPv4 takes no TTL of 0 from a program; on the way here it would have died at once. */
	int ttl = d->ttl ? d->ttl : 1, tos = d->tos;

	if (ttl != own_ttl)
		control_add(mh, c, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_HOPLIMIT,
			    &ttl, sizeof(ttl));
	if (tos)
		control_add(mh, c, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &tos,
			    sizeof(tos));
}

/** add_source - an answer comes from the address that was asked, on a host that has several */
static void add_source(struct msghdr *mh, union control *c, bool v4, const struct addr *local)
{
	struct in_pktinfo in = {.ipi_ifindex = 0};
	struct in6_pktinfo in6 = {.ipi6_ifindex = 0};

	if (addr_is_unspecified(local))
		return;
	if (v4) {
		memcpy(&in.ipi_spec_dst, addr_v4_bytes(local), sizeof(in.ipi_spec_dst));
		control_add(mh, c, IPPROTO_IP, IP_PKTINFO, &in, sizeof(in));
	} else {
		memcpy(&in6.ipi6_addr, local->b, sizeof(in6.ipi6_addr));
		control_add(mh, c, IPPROTO_IPV6, IPV6_PKTINFO, &in6, sizeof(in6));
	}
}

/** joinable - how many of @d go into one message; 1 when nothing can be joined */
static int joinable(const struct dgram_sock *ds, const struct netsock_dgram *d, int n)
{
	size_t total = d[0].len;
	int k = 1;

	if (!d[0].len || d[0].len > ds->join_max)
		return 1;
	while (k < n && k < JOIN_SEGMENTS && d[k].len && d[k].len <= d[0].len &&
	       total + d[k].len <= JOIN_BYTES && d[k].ttl == d[0].ttl && d[k].tos == d[0].tos &&
	       addrport_equal(&d[k].peer, &d[0].peer) && addr_equal(&d[k].local, &d[0].local)) {
		total += d[k].len;
		if (d[k++].len < d[0].len)
			break; /* only the last may be shorter */
	}
	return k;
}

/** add_data - payload of @k datagrams; those that lie in a row in memory take one iovec */
static void add_data(struct outbox *o, struct msghdr *mh, const struct netsock_dgram *d, int k)
{
	struct iovec *iov = &o->iov[o->n_iov];
	size_t n = 0;

	for (int i = 0; i < k; i++) {
		/* The kernel only reads it: the cast drops a const it has no way to promise. */
		void *data = (void *)(uintptr_t)d[i].data;

		if (n && (char *)iov[n - 1].iov_base + iov[n - 1].iov_len == data)
			iov[n - 1].iov_len += d[i].len;
		else
			iov[n++] = (struct iovec){.iov_base = data, .iov_len = d[i].len};
	}
	mh->msg_iov = iov;
	mh->msg_iovlen = n;
	o->n_iov += (unsigned)n;
}

/** add_message - @k joined datagrams as the next message */
static void add_message(struct outbox *o, const struct dgram_sock *ds, bool v4,
			const struct netsock_dgram *d, int k)
{
	struct msghdr *mh = &o->msg[o->n].msg_hdr;
	union control *c = &o->control[o->n];
	uint16_t size = (uint16_t)d->len;

	*mh = (struct msghdr){.msg_name = &o->name[o->n]};
	mh->msg_namelen = addr_to_sockaddr(&d->peer, &o->name[o->n]);
	add_data(o, mh, d, k);
	add_ip_facts(mh, c, v4, ds->ttl, d);
	add_source(mh, c, v4, &d->local);
	if (k > 1)
		control_add(mh, c, SOL_UDP, UDP_SEGMENT, &size, sizeof(size));
	o->count[o->n++] = (uint8_t)k;
}

static int outbox_send(int fd, struct outbox *o)
{
	int rc;

	do {
		rc = sendmmsg(fd, o->msg, o->n, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : rc;
}

/** send_singles - @n datagrams, nothing joined; how many went, or -errno */
static int send_singles(int fd, bool v4, const struct dgram_sock *ds, const struct netsock_dgram *d,
			int n)
{
	outbox.n = outbox.n_iov = 0;
	for (int i = 0; i < n; i++)
		add_message(&outbox, ds, v4, &d[i], 1);
	return outbox_send(fd, &outbox);
}

static bool is_refusal(int err)
{
	return err == -EINVAL || err == -EMSGSIZE || err == -EIO;
}

/** send_refused - the kernel does not take @k datagrams joined: one by one, and remember */
static int send_refused(int fd, bool v4, struct dgram_sock *ds, const struct netsock_dgram *d,
			int k, int err)
{
	if (++ds->refused >= REFUSALS) {
		ds->join_max = err == -EIO ? 0 : (uint16_t)(d->len - 1);
		ds->refused = 0;
	}
	return send_singles(fd, v4, ds, d, k);
}

/** send_joined - up to SEND_DGRAMS of one DF; how many datagrams went, or -errno */
static int send_joined(int fd, bool v4, struct dgram_sock *ds, const struct netsock_dgram *d, int n)
{
	int sent = 0, rc;

	outbox.n = outbox.n_iov = 0;
	for (int i = 0; i < n; i += outbox.count[outbox.n - 1])
		add_message(&outbox, ds, v4, &d[i], joinable(ds, &d[i], n - i));
	rc = outbox_send(fd, &outbox);
	if (rc < 0 && outbox.count[0] > 1 && is_refusal(rc))
		return send_refused(fd, v4, ds, d, outbox.count[0], rc);
	if (rc < 0)
		return rc;
	for (int i = 0; i < rc; i++) {
		sent += outbox.count[i];
		if (outbox.count[i] > 1)
			ds->refused = 0;
	}
	return sent;
}

/** put_df - make the kernel set DF, or cut into fragments where needed */
static int put_df(int fd, bool v4, struct dgram_sock *ds, bool df)
{
	int how, rc;

	if (ds->df_known && ds->df == df)
		return 0;
	if (v4)
		how = df ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
	else
		how = df ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_WANT;
	rc = set_int(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER,
		     how);
	if (!rc) {
		ds->df_known = true;
		ds->df = df;
	}
	return rc;
}

/** same_df - how many of @d in a row want the same DF */
static int same_df(const struct netsock_dgram *d, int n)
{
	int k = 1;

	while (k < n && d[k].df == d[0].df)
		k++;
	return k;
}

int netsock_dgram_send(int fd, bool v4, const struct netsock_dgram *d, int n)
{
	struct dgram_sock *ds = sock_slot(fd);
	int done = 0, rc;

	if (!ds)
		return -ENOMEM;
	while (done < n) {
		int run = same_df(d + done, MIN(n - done, SEND_DGRAMS));

		rc = put_df(fd, v4, ds, d[done].df);
		if (!rc)
			rc = send_joined(fd, v4, ds, d + done, run);
		/* The caller comes again with the one that failed and gets its error then. */
		if (rc < 0)
			return done ? done : rc;
		done += rc;
	}
	return done;
}

/* --- receiving ----------------------------------------------------------------- */

union recv_control { /* TTL, TOS, GRO size, or an error with its offender */
	struct cmsghdr align;
	char room[256];
};

/** read_fact - one control message of a received datagram */
static void read_fact(struct netsock_dgram *d, struct cmsghdr *cm)
{
	const void *data = CMSG_DATA(cm);
	struct in_pktinfo in;
	int value = 0;

	/* IPv4 gives TOS as one byte, all others are int. */
	if (cm->cmsg_len >= CMSG_LEN(sizeof(value)))
		memcpy(&value, data, sizeof(value));
	else if (cm->cmsg_len >= CMSG_LEN(1))
		value = *(const uint8_t *)data;
	if ((cm->cmsg_level == IPPROTO_IP && cm->cmsg_type == IP_TTL) ||
	    (cm->cmsg_level == IPPROTO_IPV6 && cm->cmsg_type == IPV6_HOPLIMIT))
		d->ttl = (uint8_t)value;
	else if ((cm->cmsg_level == IPPROTO_IP && cm->cmsg_type == IP_TOS) ||
		 (cm->cmsg_level == IPPROTO_IPV6 && cm->cmsg_type == IPV6_TCLASS))
		d->tos = (uint8_t)value;
	else if (cm->cmsg_level == SOL_UDP && cm->cmsg_type == UDP_GRO)
		d->gso_size = (uint16_t)value;
	else if (cm->cmsg_level == IPPROTO_IP && cm->cmsg_type == IP_PKTINFO &&
		 cm->cmsg_len >= CMSG_LEN(sizeof(in))) {
		memcpy(&in, data, sizeof(in));
		/* of a broadcast this is the host's own address on that network */
		d->local = addr_from_v4(&in.ipi_spec_dst);
	} else if (cm->cmsg_level == IPPROTO_IPV6 && cm->cmsg_type == IPV6_PKTINFO &&
		   cm->cmsg_len >= CMSG_LEN(sizeof(struct in6_pktinfo))) {
		d->local = addr_from_v6(data); /* the address comes first in it */
	}
}

/** read_facts - everything but payload of a received datagram; false: not to be used */
static bool read_facts(struct netsock_dgram *d, struct msghdr *mh, const struct sockaddr *from,
		       size_t len)
{
	d->len = len;
	d->ttl = 64; /* a kernel that does not tell */
	d->tos = 0;
	d->df = false;
	d->gso_size = 0;
	memset(&d->local, 0, sizeof(d->local));
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm))
		read_fact(d, cm);
	if (d->gso_size >= d->len)
		d->gso_size = 0;
	return !(mh->msg_flags & MSG_TRUNC) && !addr_from_sockaddr(from, &d->peer);
}

int netsock_dgram_recv(int fd, bool v4, struct netsock_dgram *d, int n, uint8_t *buf, size_t slot)
{
	struct mmsghdr msg[NETSOCK_DGRAM_BATCH];
	struct iovec iov[NETSOCK_DGRAM_BATCH];
	struct sockaddr_storage name[NETSOCK_DGRAM_BATCH];
	union recv_control control[NETSOCK_DGRAM_BATCH];
	int got;

	(void)v4; /* both families tell theirs in the same form */
	n = MIN(n, NETSOCK_DGRAM_BATCH);
	for (int i = 0; i < n; i++) {
		iov[i] = (struct iovec){.iov_base = buf + (size_t)i * slot, .iov_len = slot};
		msg[i].msg_hdr = (struct msghdr){
			.msg_name = &name[i],
			.msg_namelen = sizeof(name[i]),
			.msg_iov = &iov[i],
			.msg_iovlen = 1,
			.msg_control = &control[i],
			.msg_controllen = sizeof(control[i]),
		};
	}
	do {
		got = recvmmsg(fd, msg, (unsigned)n, MSG_DONTWAIT, NULL);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	for (int i = 0; i < got; i++) {
		d[i].data = buf + (size_t)i * slot;
		if (!read_facts(&d[i], &msg[i].msg_hdr, (struct sockaddr *)&name[i],
				msg[i].msg_len))
			memset(&d[i].peer, 0, sizeof(d[i].peer)); /* a peer nobody knows */
	}
	return got;
}

/* --- errors -------------------------------------------------------------------- */

/** read_error - the kernel's report; false when @cm is something else */
static bool read_error(struct netsock_dgram_error *e, struct cmsghdr *cm)
{
	size_t len = cm->cmsg_len - CMSG_LEN(0);
	struct sock_extended_err ee;
	struct sockaddr_storage from;
	struct addrport who;

	if (!(cm->cmsg_level == IPPROTO_IP && cm->cmsg_type == IP_RECVERR) &&
	    !(cm->cmsg_level == IPPROTO_IPV6 && cm->cmsg_type == IPV6_RECVERR))
		return false;
	if (len < sizeof(ee))
		return false;
	memcpy(&ee, CMSG_DATA(cm), sizeof(ee));
	e->err = (int)ee.ee_errno;
	e->origin = ee.ee_origin;
	e->type = ee.ee_type;
	e->code = ee.ee_code;
	e->info = ee.ee_info;
	memset(&from, 0, sizeof(from));
	memcpy(&from, (const char *)CMSG_DATA(cm) + sizeof(ee),
	       MIN(len - sizeof(ee), sizeof(from)));
	if (!addr_from_sockaddr((struct sockaddr *)&from, &who))
		e->offender = who.addr;
	return true;
}

int netsock_dgram_error(int fd, bool v4, struct netsock_dgram_error *e)
{
	struct sockaddr_storage name = {.ss_family = v4 ? AF_INET : AF_INET6};
	struct iovec iov = {.iov_base = e->data, .iov_len = sizeof(e->data)};
	union recv_control control;
	struct msghdr mh = {
		.msg_name = &name,
		.msg_namelen = sizeof(name),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t len;

	memset(e, 0, offsetof(struct netsock_dgram_error, data));
	do {
		len = recvmsg(fd, &mh, MSG_ERRQUEUE | MSG_DONTWAIT);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		return 0;
	e->len = (size_t)len;
	if (addr_from_sockaddr((struct sockaddr *)&name, &e->peer))
		memset(&e->peer, 0, sizeof(e->peer));
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(&mh); cm; cm = CMSG_NXTHDR(&mh, cm))
		if (read_error(e, cm))
			break;
	return 1;
}
