/* SPDX-License-Identifier: MIT */
#include "nlmsg.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/netlink.h>

#include "base/util.h"

/* A routing daemon's burst of changes should fit; what does not is said by ENOBUFS. */
#define WATCH_RCVBUF (2 << 20)
/* One call reads at most this many datagrams, so that a flood of changes can't hold the loop. */
#define WATCH_READS 256

int nlmsg_open(struct nlmsg *m, int bus)
{
	int one = 1, err;

	*m = (struct nlmsg){.bus = bus};
	m->nl = mnl_socket_open2(bus, SOCK_CLOEXEC);
	if (!m->nl)
		return -errno;
	if (mnl_socket_bind(m->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		nlmsg_close(m);
		return err;
	}
	/* makes the kernel filter dumps; one too old for it leaves that to the reader */
	mnl_socket_setsockopt(m->nl, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	m->seq = (unsigned)time(NULL);
	m->portid = mnl_socket_get_portid(m->nl);
	return 0;
}

void nlmsg_close(struct nlmsg *m)
{
	if (m->nl)
		mnl_socket_close(m->nl);
	m->nl = NULL;
}

struct nlmsghdr *nlmsg_request(struct nlmsg *m, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(m->buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++m->seq;
	return nlh;
}

/** start_over - a new socket in place of one whose answers were not all read */
static void start_over(struct nlmsg *m)
{
	int bus = m->bus;

	nlmsg_close(m);
	nlmsg_open(m, bus);
}

static int send_request(struct nlmsg *m, const struct nlmsghdr *nlh)
{
	if (!m->nl)
		return -EBADF;
	return mnl_socket_sendto(m->nl, nlh, nlh->nlmsg_len) < 0 ? -errno : 0;
}

static ssize_t read_answer(struct nlmsg *m)
{
	ssize_t n;

	do
		n = mnl_socket_recvfrom(m->nl, m->buf, sizeof(m->buf));
	while (n < 0 && errno == EINTR);
	return n;
}

int nlmsg_talk(struct nlmsg *m, struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	const bool dump = (nlh->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	const bool many = dump || (nlh->nlmsg_flags & NLM_F_ACK);
	int r = send_request(m, nlh);
	ssize_t n;

	if (r)
		return r;
	do {
		n = read_answer(m);
		if (n < 0) {
			r = -1;
			break;
		}
		r = mnl_cb_run(m->buf, (size_t)n, m->seq, m->portid, cb, data);
	} while (r > 0 && many);
	if (r >= 0)
		return 0;
	r = -errno;
	if (dump)
		start_over(m);
	return r;
}

void nlmsg_put_addr(struct nlmsghdr *nlh, uint16_t attr, const struct addr *a)
{
	if (addr_is_v4(a))
		mnl_attr_put(nlh, attr, 4, addr_v4_bytes(a));
	else
		mnl_attr_put(nlh, attr, 16, a->b);
}

bool nlmsg_get_addr(const struct nlattr *at, uint8_t family, struct addr *out)
{
	const size_t len = mnl_attr_get_payload_len(at);

	if (family == AF_INET && len == 4)
		*out = addr_from_v4(mnl_attr_get_payload(at));
	else if (family == AF_INET6 && len == 16)
		*out = addr_from_v6(mnl_attr_get_payload(at));
	else
		return false;
	return true;
}

bool nlmsg_get_u32(const struct nlattr *at, uint32_t *out)
{
	if (mnl_attr_validate(at, MNL_TYPE_U32) < 0)
		return false;
	*out = mnl_attr_get_u32(at);
	return true;
}

/* --- changes ------------------------------------------------------------------------ */

int nlmsg_watch_open(int bus, const unsigned *groups, size_t n)
{
	struct sockaddr_nl me = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, bus);
	int size = WATCH_RCVBUF, err;
	size_t i;

	if (fd < 0)
		return -errno;
	/* past rmem_max only with privilege; the smaller buffer works as well */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&me, sizeof(me)))
		goto fail;
	for (i = 0; i < n; i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
			       sizeof(groups[i])))
			goto fail;
	return fd;
fail:
	err = -errno;
	close_fd(&fd);
	return err;
}

/** watch_one - one datagram; its length, 0 when it is to be left out, or -errno */
static ssize_t watch_one(int fd, void *buf, size_t size)
{
	struct sockaddr_nl from = {0};
	struct iovec iov = {buf, size};
	struct msghdr msg = {
		.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	if (msg.msg_namelen != sizeof(from) || from.nl_pid)
		return 0;
	return msg.msg_flags & MSG_TRUNC ? -ENOBUFS : n; /* cut off is as good as lost */
}

int nlmsg_watch_read(int fd, void (*each)(void *ctx, const struct nlmsghdr *nlh), void *ctx)
{
	static _Alignas(struct nlmsghdr) char buf[32768];
	bool lost = false;
	int reads;

	for (reads = 0; reads < WATCH_READS; reads++) {
		ssize_t n = watch_one(fd, buf, sizeof(buf));
		const struct nlmsghdr *nlh = (const void *)buf;
		int left = (int)n;

		if (n == -EAGAIN)
			return lost ? -ENOBUFS : 0;
		if (n == -ENOBUFS)
			lost = true;
		else if (n < 0 && n != -EINTR)
			return (int)n;
		for (; left > 0 && mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
			each(ctx, nlh);
	}
	return lost ? -ENOBUFS : 1;
}
