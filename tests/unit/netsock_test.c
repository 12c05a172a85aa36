/* SPDX-License-Identifier: MIT */
/*
 * The net side's TCP sockets, against real ones on loopback: both families, options,
 * readiness, and how each kind of end looks to the peer.
 * LINK: src/netsock.o src/base/addr.o src/base/util.o src/base/log.o
 */
#include "netsock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/util.h"
#include "../lib/tap.h"

#define TOKEN netsock_token(NETSOCK_TCP, 7, 0xabcdef1)

static struct netsock_set *set;

static int option(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, name, &v, &len) ? -1 : v;
}

/** listener - on a free port of @text's address; its address and port in @at */
static int listener(const char *text, struct addrport *at)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd;

	*at = (struct addrport){0};
	if (addr_parse(text, &at->addr))
		return -1;
	len = addr_to_sockaddr(at, &ss);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&ss, len) || listen(fd, 16) ||
	    getsockname(fd, (struct sockaddr *)&ss, &len) ||
	    addr_from_sockaddr((struct sockaddr *)&ss, at)) {
		close_fd(&fd);
		return -1;
	}
	return fd;
}

/** wait_event - the next event within two seconds; 0 when none comes */
static uint32_t wait_event(uint64_t *token)
{
	struct epoll_event ev;

	if (netsock_set_wait(set, &ev, 1, 2000) != 1)
		return 0;
	*token = ev.data.u64;
	return ev.events;
}

/** link_up - a connection: ours in the set and returned, the peer's in @peer */
static int link_up(int lfd, const struct addrport *at, int *peer)
{
	uint64_t token;
	int fd, rc = netsock_tcp_connect(set, at, TOKEN, &fd);

	tap_ok(rc == 0 || rc == -EINPROGRESS, "connect begins");
	*peer = accept(lfd, NULL, NULL);
	tap_ok(wait_event(&token) & EPOLLOUT && token == TOKEN,
	       "connected: writable, by its token");
	tap_is(netsock_error(fd), 0, "no error");
	return fd;
}

static void options(int lfd, const struct addrport *at)
{
	int peer, fd = link_up(lfd, at, &peer);

	tap_is(option(fd, IPPROTO_TCP, TCP_NODELAY), 1, "TCP_NODELAY");
	tap_is(option(fd, SOL_SOCKET, SO_OOBINLINE), 1, "SO_OOBINLINE");
	tap_is(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0, "no keepalive of its own");
	tap_ok(fcntl(fd, F_GETFL) & O_NONBLOCK, "never blocks");
	tap_ok(fcntl(fd, F_GETFD) & FD_CLOEXEC, "closed on exec");
	netsock_close(&fd);
	tap_is(fd, -1, "close forgets the number");
	close(peer);
}

static void bytes(int lfd, const struct addrport *at)
{
	struct iovec iov[20];
	char text[] = "abcdefghijklmnopqrst", got[32] = "";
	int peer, fd = link_up(lfd, at, &peer);
	uint64_t token;

	for (size_t i = 0; i < ARRAY_SIZE(iov); i++)
		iov[i] = (struct iovec){text + i, 1};
	tap_is(netsock_recv(fd, got, sizeof(got)), -EAGAIN, "nothing to read yet");
	tap_is(netsock_sendv(fd, iov, 3), 3, "three pieces in one call");
	tap_ok(read(peer, got, sizeof(got)) == 3 && !memcmp(got, "abc", 3), "in their order");
	tap_is(netsock_sendv(fd, iov, 20), 16, "no more than sixteen pieces at once");
	tap_is(read(peer, got, sizeof(got)), 16, "and those arrive");
	tap_ok(send(peer, "xy", 2, 0) == 2 && send(peer, "!", 1, MSG_OOB) == 1 &&
		       send(peer, "z", 1, 0) == 1 && !shutdown(peer, SHUT_WR),
	       "urgent byte sent");
	while (wait_event(&token) &&
	       !(recv(fd, got, 1, MSG_PEEK) == 1 && recv(fd, got, 4, MSG_PEEK) == 4))
		;
	memset(got, 0, sizeof(got));
	for (ssize_t n, all = 0;
	     (n = netsock_recv(fd, got + all, sizeof(got) - (size_t)all - 1)) > 0;)
		all += n;
	tap_ok(!strcmp(got, "xy!z"), "urgent data stay in their place");
	tap_is(netsock_recv(fd, got, sizeof(got)), 0, "then the FIN");
	netsock_close(&fd);
	close(peer);
}

static void ends(int lfd, const struct addrport *at)
{
	char c;
	int peer, fd = link_up(lfd, at, &peer);

	tap_is(netsock_shutdown_write(fd), 0, "shutdown");
	tap_is(read(peer, &c, 1), 0, "the peer sees the end");
	tap_ok(write(peer, "x", 1) == 1 && netsock_recv(fd, &c, 1) == 1, "and may still write");
	netsock_close(&fd);
	close(peer);

	fd = link_up(lfd, at, &peer);
	netsock_close(&fd);
	tap_is(read(peer, &c, 1), 0, "close is a FIN");
	close(peer);

	fd = link_up(lfd, at, &peer);
	netsock_reset(&fd);
	tap_ok(fd == -1 && read(peer, &c, 1) < 0 && errno == ECONNRESET, "reset is a RST");
	close(peer);
	netsock_reset(&fd); /* nothing is there: nothing happens */
}

static void refused(int *lfd, const struct addrport *at)
{
	uint64_t token = 0;
	int fd, rc;

	close_fd(lfd);
	rc = netsock_tcp_connect(set, at, TOKEN, &fd);
	if (rc == -ECONNREFUSED) {
		tap_is(fd, -1, "refused at once: no socket is left");
		return;
	}
	tap_is(rc, -EINPROGRESS, "connect begins");
	tap_ok(wait_event(&token) & EPOLLERR && token == TOKEN, "refused: an event");
	tap_is(netsock_error(fd), ECONNREFUSED, "that says ECONNREFUSED");
	tap_is(netsock_error(fd), 0, "once");
	netsock_close(&fd);
}

/** probe - the peer of a connection that has been idle for a second answers a probe at once */
static void probe(int lfd, const struct addrport *at)
{
	int peer, fd = link_up(lfd, at, &peer);
	uint32_t ms = 0, before = 0;

	usleep(1200000);
	tap_ok(!netsock_last_ack(fd, &before) && before >= 1000, "idle since %u ms", before);
	tap_is(netsock_probe(fd), 0, "probe");
	for (int i = 0; i < 100 && (i == 0 || ms >= before); i++) {
		usleep(10000);
		netsock_last_ack(fd, &ms);
	}
	tap_ok(ms < before, "the peer has answered it (%u ms ago)", ms);
	netsock_probe_end(fd);
	tap_is(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0, "no further probes");
	netsock_close(&fd);
	close(peer);
}

int main(void)
{
	static const char *const address[] = {"127.0.0.1", "::1"};

	set = netsock_set_new();
	tap_ok(set != NULL, "a set");
	for (size_t i = 0; set && i < ARRAY_SIZE(address); i++) {
		struct addrport at;
		int lfd = listener(address[i], &at);

		if (lfd < 0) {
			tap_skip(address[i], "this family is not here");
			continue;
		}
		options(lfd, &at);
		bytes(lfd, &at);
		ends(lfd, &at);
		probe(lfd, &at);
		refused(&lfd, &at);
	}
	netsock_set_free(set);
	return tap_done();
}
