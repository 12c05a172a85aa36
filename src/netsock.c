/* SPDX-License-Identifier: MIT */
/*
 * The TCP half of netsock.h and the epoll set. Datagrams: netsock_dgram.c.
 */
#include "netsock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "base/util.h"

struct netsock_set {
	int epfd;
};

struct netsock_set *netsock_set_new(void)
{
	struct netsock_set *s = malloc(sizeof(*s));

	if (!s)
		return NULL;
	s->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epfd < 0) {
		free(s);
		return NULL;
	}
	return s;
}

void netsock_set_free(struct netsock_set *s)
{
	if (!s)
		return;
	close_fd(&s->epfd);
	free(s);
}

int netsock_set_fd(const struct netsock_set *s)
{
	return s->epfd;
}

int netsock_set_wait(struct netsock_set *s, struct epoll_event *ev, int max, int ms)
{
	int n = epoll_wait(s->epfd, ev, max, ms);

	return n < 0 ? 0 : n;
}

int netsock_watch_level(struct netsock_set *s, int fd, uint64_t token)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = token};

	return epoll_ctl(s->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int netsock_watch(struct netsock_set *s, int fd, uint64_t token)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.u64 = token,
	};

	return epoll_ctl(s->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int netsock_tcp_connect(struct netsock_set *s, const struct addrport *to, uint64_t token, int *fd)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(to, &ss);
	int one = 1, rc = 0;

	*fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	if (*fd < 0)
		return -errno;
	/* Timing must not change on the way; urgent bytes stay in their place. */
	setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(*fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	if (connect(*fd, (struct sockaddr *)&ss, len) < 0)
		rc = -errno;
	if (rc && rc != -EINPROGRESS)
		goto fail;
	/* Watched after connect(): a socket not yet connecting reports EPOLLHUP. */
	int watch = netsock_watch(s, *fd, token);

	if (watch) {
		rc = watch;
		goto fail;
	}
	return rc;
fail:
	close_fd(fd);
	return rc;
}

int netsock_listen_watch(struct netsock_set *s, int fd, uint64_t token)
{
	int one = 1;

	/* Inherited by what is accepted: two calls less for each connection. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return netsock_watch(s, fd, token);
}

int netsock_accept(int fd, struct addrport *peer, struct addrport *local)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int got, rc;

	do {
		got = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (got < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (got < 0)
		return -errno;
	rc = addr_from_sockaddr((struct sockaddr *)&ss, peer);
	len = sizeof(ss);
	if (!rc && local)
		rc = getsockname(got, (struct sockaddr *)&ss, &len) < 0
			     ? -errno
			     : addr_from_sockaddr((struct sockaddr *)&ss, local);
	if (!rc)
		return got;
	close(got);
	return rc;
}

int netsock_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return errno;
	return err;
}

ssize_t netsock_recv(int fd, void *buf, size_t len)
{
	ssize_t n;

	do {
		n = recv(fd, buf, len, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t netsock_recvv(int fd, struct iovec *iov, int n)
{
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	ssize_t got;

	do {
		got = recvmsg(fd, &mh, 0);
	} while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

bool netsock_unread(int fd)
{
	char one;

	return recv(fd, &one, 1, MSG_PEEK) > 0;
}

ssize_t netsock_sendv(int fd, const struct iovec *iov, int n)
{
	struct iovec copy[16];
	struct msghdr mh = {.msg_iov = copy};
	ssize_t sent;

	mh.msg_iovlen = (size_t)MIN(n, (int)ARRAY_SIZE(copy));
	for (size_t i = 0; i < mh.msg_iovlen; i++)
		copy[i] = iov[i];
	do {
		sent = sendmsg(fd, &mh, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

int netsock_shutdown_write(int fd)
{
	return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

void netsock_reset(int *fd)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	if (*fd < 0)
		return;
	setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close_fd(fd);
}

void netsock_close(int *fd)
{
	close_fd(fd);
}

static int keepalive_set(int fd, int on)
{
	return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ? -errno : 0;
}

int netsock_probe(int fd)
{
	int cnt = 127, intvl = 32767, idle = 1, rc;

	/*
	 * Setting TCP_KEEPIDLE re-arms the keepalive timer with what is left of
	 * it: a connection that has been idle for longer sends a probe at once
	 * (net/ipv4/tcp.c, tcp_sock_set_keepidle_locked()). The largest interval
	 * and count keep the kernel from a second one or a verdict of its own.
	 */
	rc = keepalive_set(fd, 0);
	if (!rc)
		rc = keepalive_set(fd, 1);
	if (rc)
		return rc;
	if (setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &cnt, sizeof(cnt)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &intvl, sizeof(intvl)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)) < 0)
		return -errno;
	return 0;
}

void netsock_probe_end(int fd)
{
	keepalive_set(fd, 0);
}

int netsock_last_ack(int fd, uint32_t *ms)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len) < 0)
		return -errno;
	*ms = ti.tcpi_last_ack_recv;
	return 0;
}

int netsock_unsent(int fd)
{
	int n = 0;

	return ioctl(fd, SIOCOUTQ, &n) < 0 ? -errno : n;
}
