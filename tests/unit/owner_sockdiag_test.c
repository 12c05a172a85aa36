/* SPDX-License-Identifier: MIT */
/*
 * The kernel is asked about our own sockets on the loopback of a namespace of
 * our own (no privilege needed where user namespaces are allowed).
 *
 * LINK: src/owner_sockdiag.o src/base/addr.o src/base/clock.o src/base/util.o src/base/log.o
 */
#include "owner_sockdiag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "lib_netns.h"
#include "../lib/tap.h"

static int diag;

static struct owner_query query_of(int fd, int proto)
{
	struct owner_query q = {.proto = (uint8_t)proto};
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	getsockname(fd, (struct sockaddr *)&ss, &len);
	addr_from_sockaddr((struct sockaddr *)&ss, &q.app);
	len = sizeof(ss);
	if (!getpeername(fd, (struct sockaddr *)&ss, &len))
		addr_from_sockaddr((struct sockaddr *)&ss, &q.net);
	return q;
}

static uint32_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (uint32_t)st.st_ino;
}

static uint64_t cookie_of(int fd)
{
	uint64_t c = 0;
	socklen_t len = sizeof(c);

	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &c, &len);
	return c;
}

static struct owner_sock ask_one(const struct owner_query *q)
{
	struct owner_sock s;

	owner_sockdiag_lookup(diag, q, &s, 1);
	return s;
}

static void expect_sock(const char *what, const struct owner_query *q, int fd)
{
	struct owner_sock s = ask_one(q);

	tap_is(s.err, 0, "%s is found", what);
	tap_is(s.inode, inode_of(fd), "%s: inode", what);
	tap_is(s.cookie, cookie_of(fd), "%s: cookie", what);
	tap_is(s.uid, getuid(), "%s: uid", what);
}

/* a connected pair of @family; *@srv is the accepted socket */
static int tcp_pair(int family, const char *text, int *lst, int *srv)
{
	int c = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	*lst = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listen(*lst, 8) || getsockname(*lst, (struct sockaddr *)&ss, &len))
		return -1;
	struct addrport to = {.port = ntohs(((struct sockaddr_in6 *)&ss)->sin6_port)};

	addr_parse(text, &to.addr);
	if (family == AF_INET6) {
		struct sockaddr_in6 s6 = {.sin6_family = AF_INET6, .sin6_port = htons(to.port)};

		memcpy(&s6.sin6_addr, to.addr.b, 16);
		if (connect(c, (struct sockaddr *)&s6, sizeof(s6)))
			return -1;
	} else {
		len = addr_to_sockaddr(&to, &ss);
		if (connect(c, (struct sockaddr *)&ss, len))
			return -1;
	}
	*srv = accept4(*lst, NULL, NULL, SOCK_CLOEXEC);
	return c;
}

static void tcp_cases(void)
{
	static const struct {
		const char *name, *addr;
		int family;
	} cases[] = {
		{"TCP over IPv4", "127.0.0.1", AF_INET},
		{"TCP over IPv6", "::1", AF_INET6},
		{"TCP over IPv4 by an AF_INET6 socket", "127.0.0.1", AF_INET6},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		int lst, srv, c = tcp_pair(cases[i].family, cases[i].addr, &lst, &srv);
		struct owner_query q = query_of(c, IPPROTO_TCP), back = query_of(srv, IPPROTO_TCP);

		tap_ok(c >= 0, "%s: connected", cases[i].name);
		expect_sock(cases[i].name, &q, c);
		expect_sock("the accepted side", &back, srv);
		close(c);
		close(srv);
		tap_is(ask_one(&q).err, -ENOENT, "%s: closed, not TIME_WAIT's root", cases[i].name);
		q.app.port = back.app.port;
		tap_is(ask_one(&q).err, -ENOENT, "%s: a listener is no answer", cases[i].name);
		close(lst);
	}
}

static int listener_any6(void)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(7005)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), off = 0, on = 1;

	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&in6, sizeof(in6)) || listen(fd, 8))
		tap_ok(false, "bind: %s", strerror(errno));
	return fd;
}

/* a listener at the very address that a connection would have, which is not there */
static void listener_case(void)
{
	struct owner_query q = {.proto = IPPROTO_TCP, .app.port = 7003, .net.port = 80};
	struct sockaddr_storage ss;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr_parse("127.0.0.1", &q.app.addr);
	addr_parse("192.0.2.80", &q.net.addr);
	tap_ok(!bind(fd, (struct sockaddr *)&ss, addr_to_sockaddr(&q.app, &ss)) && !listen(fd, 1),
	       "a listener at 127.0.0.1 port 7003");
	tap_is(ask_one(&q).err, -ENOENT, "is not the connection from there");
	q.listens = true;
	expect_sock("asked for as a listener it", &q, fd);
	q.app.port = 7004;
	tap_is(ask_one(&q).err, -ENOENT, "and nobody listens on the port beside");
	close(fd);
}

/* whoever would accept: the listener, also while the connection itself is there */
static void accepting_case(void)
{
	struct owner_query q = {.proto = IPPROTO_TCP, .listens = true};
	struct sockaddr_storage ss;
	int lst, c, srv;

	for (int v6 = 0; v6 < 2; v6++) {
		lst = v6 ? listener_any6() : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		addr_parse("127.0.0.1", &q.app.addr);
		addr_parse("192.0.2.80", &q.net.addr);
		q.app.port = v6 ? 7005 : 7015;
		q.net.port = 4711;
		if (!v6)
			tap_ok(!bind(lst, (struct sockaddr *)&ss, addr_to_sockaddr(&q.app, &ss)) &&
				       !listen(lst, 1),
			       "a listener");
		expect_sock(v6 ? "IPv4 at a dual-stack listener" : "IPv4", &q, lst);
		c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		tap_ok(!connect(c, (struct sockaddr *)&ss, addr_to_sockaddr(&q.app, &ss)),
		       "connected");
		srv = accept(lst, NULL, NULL);
		expect_sock("the next one", &q, lst);
		close(srv);
		close(c);
		close(lst);
	}
}

static struct {
	unsigned tcp4, tcp6, tcp6only, udp, others;
} listened;

static void note_listener(void *ctx, const struct owner_listener *l)
{
	bool v4 = addr_is_v4(&l->at.addr);

	(void)ctx;
	if (l->proto == IPPROTO_UDP)
		listened.udp += l->at.port == 7006;
	else if (l->at.port == 7006 && v4)
		listened.tcp4++;
	else if (l->at.port == 7005 && !v4 && !l->v6only && addr_is_unspecified(&l->at.addr))
		listened.tcp6++;
	else if (l->at.port == 7006 && !v4 && l->v6only)
		listened.tcp6only++;
	else
		listened.others++;
}

static void listeners_case(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(7006)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(7006)};
	int a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), b = listener_any6(), on = 1;
	int c = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int d = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), e, s;

	setsockopt(c, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	tap_ok(!bind(a, (struct sockaddr *)&in, sizeof(in)) && !listen(a, 1) &&
		       !bind(c, (struct sockaddr *)&in6, sizeof(in6)) && !listen(c, 1) &&
		       !bind(d, (struct sockaddr *)&in, sizeof(in)),
	       "sockets that wait for peers");
	e = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	tap_ok(!connect(e, (struct sockaddr *)&in, sizeof(in)), "and a connection");
	s = accept(a, NULL, NULL);
	tap_is(owner_sockdiag_listeners(diag, note_listener, NULL), 0, "are listed");
	tap_ok(listened.tcp4 == 1 && listened.tcp6 == 1 && listened.tcp6only == 1 &&
		       listened.udp == 1 && !listened.others,
	       "each once, as what it is, and no connection");
	close(a);
	close(b);
	close(c);
	close(d);
	close(e);
	close(s);
}

static int udp_sock(int family, uint16_t port, bool reuse)
{
	int on = 1, fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 s6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in s4 = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (reuse)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (bind(fd, family == AF_INET ? (struct sockaddr *)&s4 : (struct sockaddr *)&s6,
		 family == AF_INET ? sizeof(s4) : sizeof(s6)))
		tap_ok(false, "bind: %s", strerror(errno));
	return fd;
}

static struct owner_query udp_query(uint16_t port, const char *app, const char *net)
{
	struct owner_query q = {.proto = IPPROTO_UDP, .app.port = port, .net.port = 53};

	addr_parse(app, &q.app.addr);
	addr_parse(net, &q.net.addr);
	return q;
}

static void udp_cases(void)
{
	struct owner_query q = udp_query(7001, "127.0.0.1", "192.0.2.53");
	struct owner_query q6 = udp_query(7001, "::1", "2001:db8::53");
	int fd = udp_sock(AF_INET, 7001, false), two;
	struct sockaddr_storage ss;
	struct addrport to = {.port = 9};
	struct owner_query c;

	expect_sock("unconnected UDP over IPv4", &q, fd);
	tap_is(ask_one(&q6).err, -ENOENT, "an IPv4 socket does not answer for IPv6");
	close(fd);
	tap_is(ask_one(&q).err, -ENOENT, "closed UDP socket");
	fd = udp_sock(AF_INET6, 7001, false);
	expect_sock("UDP over IPv4 by a dual-stack socket", &q, fd);
	expect_sock("unconnected UDP over IPv6", &q6, fd);
	close(fd);
	addr_parse("127.0.0.1", &to.addr);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (connect(fd, (struct sockaddr *)&ss, addr_to_sockaddr(&to, &ss)))
		tap_ok(false, "connect");
	c = query_of(fd, IPPROTO_UDP);
	expect_sock("connected UDP over IPv4", &c, fd);
	c.net.port = 10;
	tap_is(ask_one(&c).err, -ENOENT, "a UDP socket connected elsewhere is no answer");
	close(fd);

	fd = udp_sock(AF_INET, 7002, true);
	two = udp_sock(AF_INET, 7002, true);
	q.app.port = 7002;
	tap_is(ask_one(&q).err, -EEXIST, "two sockets on one port: ambiguous");
	tap_is(ask_one(&q).uid, getuid(), "their common uid is known");
	tap_is(ask_one(&q).inode, 0, "their inode is not");
	close(two);
	expect_sock("the one that is left", &q, fd);
	close(fd);
}

static void batch_case(void)
{
	struct owner_query q[OWNER_SOCKDIAG_BATCH];
	struct owner_sock s[OWNER_SOCKDIAG_BATCH];
	int fd[OWNER_SOCKDIAG_BATCH];
	unsigned good = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(q); i++) {
		fd[i] = udp_sock(AF_INET, (uint16_t)(7100 + i), false);
		q[i] = udp_query((uint16_t)(7100 + i), "127.0.0.1", "192.0.2.1");
		if (i == 7)
			q[i].app.port = 6999;
		if (i == 9)
			q[i].proto = IPPROTO_SCTP;
	}
	owner_sockdiag_lookup(diag, q, s, ARRAY_SIZE(q));
	for (unsigned i = 0; i < ARRAY_SIZE(q); i++)
		good += i != 7 && i != 9 && !s[i].err && s[i].inode == inode_of(fd[i]);
	tap_is(good, ARRAY_SIZE(q) - 2, "a batch: each its own inode");
	tap_is(s[7].err, -ENOENT, "a batch: the missing one is missing");
	tap_is(s[9].err, -EPROTONOSUPPORT, "a batch: no look-up for that protocol");
	for (unsigned i = 0; i < ARRAY_SIZE(q); i++)
		close(fd[i]);
}

/* a server that has not come to accept() yet would take a dead connection for a live one */
static void destroy_unaccepted(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(7016)};
	int lst = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), c, srv;
	struct owner_query q, back;
	char byte;

	c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	tap_ok(!bind(lst, (struct sockaddr *)&in, sizeof(in)) && !listen(lst, 1) &&
		       !connect(c, (struct sockaddr *)&in, sizeof(in)),
	       "a connection that waits for accept()");
	q = query_of(c, IPPROTO_TCP);
	back = (struct owner_query){.proto = IPPROTO_TCP, .app = q.net, .net = q.app};
	tap_is(ask_one(&back).err, -ENOENT, "has no owner");
	tap_is(owner_sockdiag_destroy(diag, &back), 0, "can be ended");
	srv = accept4(lst, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	tap_ok(srv < 0 || (recv(srv, &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN),
	       "and whoever accepts it learns that");
	close(srv);
	srv = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	tap_ok(!connect(srv, (struct sockaddr *)&in, sizeof(in)), "the listener stays");
	close(srv);
	close(c);
	close(lst);
}

static void destroy_cases(void)
{
	int lst, srv, c = tcp_pair(AF_INET, "127.0.0.1", &lst, &srv), err;
	struct owner_query q = query_of(c, IPPROTO_TCP), gone = q;
	char byte;

	err = owner_sockdiag_destroy(diag, &q);
	if (err == -EOPNOTSUPP || err == -EPERM) {
		tap_skip("SOCK_DESTROY", strerror(-err));
		return;
	}
	tap_is(err, 0, "SOCK_DESTROY");
	tap_is(recv(c, &byte, 1, MSG_DONTWAIT), -1, "its reader gets an error");
	tap_is(errno, ECONNABORTED, "ECONNABORTED");
	tap_is(owner_sockdiag_destroy(diag, &q), -ENOENT, "a second time there is no socket");
	gone.app.port = query_of(lst, IPPROTO_TCP).app.port;
	tap_is(owner_sockdiag_destroy(diag, &gone), -ENOENT,
	       "a listener is not ended in its place");
	close(c);
	close(srv);
	c = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(gone.app.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	tap_is(connect(c, (struct sockaddr *)&to, sizeof(to)), 0, "the listener still listens");
	close(c);
	close(lst);
	c = udp_sock(AF_INET, 7003, false);
	q = udp_query(7003, "127.0.0.1", "192.0.2.1");
	err = owner_sockdiag_destroy(diag, &q);
	tap_ok(err == 0 || err == -EOPNOTSUPP, "SOCK_DESTROY of UDP: %d", err);
	close(c);
}

static void timing(void)
{
	int lst, srv, c = tcp_pair(AF_INET, "127.0.0.1", &lst, &srv);
	struct owner_query q = query_of(c, IPPROTO_TCP),
			   u = udp_query(7004, "127.0.0.1", "1.2.3.4");
	int fd = udp_sock(AF_INET, 7004, false);
	uint64_t t0 = clock_mono_ns(), t1;

	for (int i = 0; i < 2000; i++)
		ask_one(&q);
	t1 = clock_mono_ns();
	printf("# TCP look-up: %.1f us\n", (double)(t1 - t0) / 2e6);
	for (int i = 0; i < 2000; i++)
		ask_one(&u);
	printf("# unconnected UDP look-up, port checked: %.1f us\n",
	       (double)(clock_mono_ns() - t1) / 2e6);
	close(c);
	close(srv);
	close(lst);
	close(fd);
}

/* inside: sends the netlink socket and the query of a connection, then waits in recv() */
static int inside(int ctl, bool map_root)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} u = {.buf = {0}};
	int lst, srv, c, fd;
	struct owner_query q;
	struct iovec iov = {&q, sizeof(q)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = u.buf,
			   .msg_controllen = sizeof(u.buf)};
	char byte;

	if (netns_enter_as(map_root))
		return 1;
	c = tcp_pair(AF_INET, "127.0.0.1", &lst, &srv);
	q = query_of(c, IPPROTO_TCP);
	fd = owner_sockdiag_open();
	u.align = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&u.align), &fd, sizeof(fd));
	if (sendmsg(ctl, &m, 0) < 0)
		return 1;
	return recv(c, &byte, 1, 0) < 0 && errno == ECONNABORTED ? 42 : 2;
}

static int receive(int ctl, struct owner_query *q)
{
	char buf[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {q, sizeof(*q)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = buf,
			   .msg_controllen = sizeof(buf)};
	int fd = -1;

	if (recvmsg(ctl, &m, 0) == sizeof(*q) && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

/*
 * The supervisor's case: the namespaces belong to a child that blocks in recv();
 * the parent outside, without a capability, uses the netlink socket made inside.
 */
static void from_outside(bool map_root)
{
	int sp[2], status = 0, err;
	struct owner_query q;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sp))
		return;
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(inside(sp[1], map_root));
	close(sp[1]);
	diag = receive(sp[0], &q);
	tap_ok(diag >= 0, "outside: got the socket made inside%s", map_root ? " (as root)" : "");
	tap_is(ask_one(&q).err, 0, "outside: the connection is found");
	tap_is(ask_one(&q).uid, map_root ? 0 : getuid(), "outside: uid in the terms of the inside");
	err = owner_sockdiag_destroy(diag, &q);
	if (err == -EOPNOTSUPP) {
		tap_skip("outside: SOCK_DESTROY", "not in this kernel");
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	} else {
		tap_is(err, 0, "outside: SOCK_DESTROY");
		if (err)
			kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		tap_ok(WIFEXITED(status) && WEXITSTATUS(status) == 42,
		       "its blocked reader got ECONNABORTED");
	}
	close(diag);
	close(sp[0]);
}

int main(void)
{
	const char *why = netns_forbidden();

	if (why) {
		tap_skip_all(why);
		return 0;
	}
	from_outside(false);
	from_outside(true);
	tap_ok(!netns_enter_as(false), "a namespace of our own");
	diag = owner_sockdiag_open();
	tap_ok(diag >= 0, "open");
	tcp_cases();
	listener_case();
	accepting_case();
	listeners_case();
	udp_cases();
	batch_case();
	destroy_cases();
	destroy_unaccepted();
	timing();
	close(diag);
	return tap_done();
}
