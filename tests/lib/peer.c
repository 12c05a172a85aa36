/* SPDX-License-Identifier: MIT */
/*
 * peer: the servers that the probe talks to, with plain kernel sockets.
 *
 *   peer DELAY_MS ADDR4 ALT4|- ADDR6 ALT6|-
 *
 * Every port of wire.h is one behaviour, on both addresses; each answer is sent
 * DELAY_MS late. A thread per connection: a server under test may be slow, not clever.
 * Prints "ready" once all ports are bound.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define BUF_SIZE 65536

static useconds_t delay_us;

static char last_text[128] = "none";
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

struct address {
	struct sockaddr_storage ss;
	socklen_t len;
	bool set;
};

static struct address mains[2], alts[2]; /* v4, v6 */

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void set_last(const char *text)
{
	pthread_mutex_lock(&last_lock);
	snprintf(last_text, sizeof(last_text), "%s", text);
	pthread_mutex_unlock(&last_lock);
}

/* lag - what makes this the delayed server; before every answer */
static void lag(void)
{
	if (delay_us)
		usleep(delay_us);
}

static const char *error_name(int err)
{
	const char *n = strerrorname_np(err);

	return n ? n : "?";
}

static int send_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static void send_text(int fd, const char *text)
{
	send_all(fd, text, strlen(text));
}

static void reset_close(int fd)
{
	struct linger l = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(fd);
}

/* read_to_eof - count and sum what comes; returns 0 or -errno */
static int read_to_eof(int fd, size_t *count, uint32_t *sum)
{
	uint8_t buf[BUF_SIZE];
	ssize_t n;

	*count = 0;
	*sum = 1;
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		*count += (size_t)n;
		*sum = wire_sum(*sum, buf, (size_t)n);
	}
	return n < 0 ? -errno : 0;
}

/* --- one function per TCP port; each closes its descriptor ------------------------ */

static void serve_echo(int fd)
{
	uint8_t buf[BUF_SIZE];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		lag();
		if (send_all(fd, buf, (size_t)n))
			break;
	}
	close(fd);
}

static void serve_count(int fd)
{
	char text[64];
	uint32_t sum;
	size_t count;

	if (!read_to_eof(fd, &count, &sum)) {
		lag();
		snprintf(text, sizeof(text), "%zu %08x\n", count, sum);
		send_text(fd, text);
	}
	close(fd);
}

static void serve_speak_first(int fd)
{
	static uint8_t data[100000];
	char text[96];
	uint32_t sum;
	size_t count;
	int err;

	wire_fill(data, sizeof(data), 0);
	lag();
	send_all(fd, data, sizeof(data));
	shutdown(fd, SHUT_WR);
	err = read_to_eof(fd, &count, &sum);
	snprintf(text, sizeof(text), "%s %zu %08x", err ? error_name(-err) : "EOF", count, sum);
	set_last(text);
	close(fd);
}

static void serve_rst_later(int fd)
{
	char c;

	if (recv(fd, &c, 1, 0) == 1)
		lag();
	reset_close(fd);
}

static void serve_rst_unread(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	poll(&p, 1, 5000);
	lag();
	send_text(fd, "0123456789");
	usleep(100000); /* so that the ten bytes are read before the reset throws them away */
	close(fd);
}

static void serve_slow_reader(int fd)
{
	usleep(1500000);
	serve_count(fd);
}

static void serve_flood(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	uint8_t data[BUF_SIZE];
	size_t sent = 0;
	bool held = false;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	lag();
	while (sent < FLOOD_BYTES) {
		size_t n = FLOOD_BYTES - sent < sizeof(data) ? FLOOD_BYTES - sent : sizeof(data);
		ssize_t r;

		wire_fill(data, n, sent);
		r = send(fd, data, n, MSG_NOSIGNAL);
		if (r < 0 && errno != EAGAIN)
			break;
		if (r > 0)
			sent += (size_t)r;
		else if (poll(&p, 1, 500) == 0)
			held = true; /* half a second without room: back-pressure arrived here */
	}
	set_last(held ? "held up" : "never held up");
	close(fd);
}

static void serve_urgent(int fd)
{
	char got[64];
	size_t n = 0;
	ssize_t r;

	lag();
	send_text(fd, "abc");
	usleep(20000);
	send(fd, "!", 1, MSG_OOB | MSG_NOSIGNAL);
	usleep(20000);
	send_text(fd, "def");
	while (n < sizeof(got) - 2 && (r = recv(fd, got + n, sizeof(got) - 2 - n, 0)) > 0)
		n += (size_t)r;
	got[n++] = '\n';
	send_all(fd, got, n);
	close(fd);
}

static void serve_simclose(int fd)
{
	char c;

	if (recv(fd, &c, 1, 0) == 1) {
		lag();
		send_all(fd, &c, 1);
		shutdown(fd, SHUT_WR);
		while (recv(fd, &c, 1, 0) > 0)
			;
	}
	close(fd);
}

static void serve_two_writes(int fd)
{
	uint8_t buf[8];

	while (recv(fd, buf, sizeof(buf), MSG_WAITALL) == (ssize_t)sizeof(buf)) {
		lag();
		send_all(fd, "k", 1);
	}
	close(fd);
}

static void serve_last(int fd)
{
	char text[sizeof(last_text) + 1];

	pthread_mutex_lock(&last_lock);
	snprintf(text, sizeof(text), "%s\n", last_text);
	snprintf(last_text, sizeof(last_text), "none");
	pthread_mutex_unlock(&last_lock);
	send_text(fd, text);
	close(fd);
}

static void sockaddr_text(const struct sockaddr_storage *ss, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN];
	const struct sockaddr_in6 *s6 = (const void *)ss;
	const struct sockaddr_in *s4 = (const void *)ss;

	if (ss->ss_family == AF_INET)
		inet_ntop(AF_INET, &s4->sin_addr, host, sizeof(host));
	else
		inet_ntop(AF_INET6, &s6->sin6_addr, host, sizeof(host));
	snprintf(text, size, "%s %u", host,
		 ntohs(ss->ss_family == AF_INET ? s4->sin_port : s6->sin6_port));
}

static void serve_whoami(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char text[96];

	if (getpeername(fd, (struct sockaddr *)&ss, &len) == 0) {
		sockaddr_text(&ss, text, sizeof(text) - 1);
		strcat(text, "\n");
		send_text(fd, text);
	}
	close(fd);
}

static void serve_close_first(int fd)
{
	close(fd);
}

static void serve_read_rst(int fd)
{
	char text[96];
	uint32_t sum;
	size_t count;
	int err = read_to_eof(fd, &count, &sum);

	snprintf(text, sizeof(text), "%s", err ? error_name(-err) : "EOF");
	set_last(text);
	close(fd);
}

static void (*const serve_port[])(int fd) = {
	serve_echo,	   serve_count,	 serve_speak_first, serve_rst_later, serve_rst_unread,
	serve_slow_reader, serve_flood,	 serve_urgent,	    serve_simclose,  serve_two_writes,
	serve_last,	   serve_whoami, serve_close_first, serve_read_rst,
};

/* --- TCP listeners ------------------------------------------------------------------ */

struct job {
	void (*serve)(int fd);
	int fd;
};

static void detach(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&t, &attr, fn, arg))
		fail("pthread_create");
	pthread_attr_destroy(&attr);
}

static void *connection_main(void *arg)
{
	struct job j = *(struct job *)arg;

	free(arg);
	j.serve(j.fd);
	return NULL;
}

static void *listener_main(void *arg)
{
	const struct job *l = arg;

	for (;;) {
		struct job *j = malloc(sizeof(*j));

		if (!j)
			fail("malloc");
		*j = *l;
		j->fd = accept(l->fd, NULL, NULL);
		if (j->fd >= 0)
			detach(connection_main, j);
		else
			free(j);
	}
	return NULL;
}

static int bound_socket(int type, const struct address *a, unsigned port)
{
	struct sockaddr_storage ss = a->ss;
	int one = 1, fd = socket(ss.ss_family, type, 0);

	if (fd < 0)
		fail("socket");
	if (ss.ss_family == AF_INET)
		((struct sockaddr_in *)&ss)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)&ss)->sin6_port = htons((uint16_t)port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&ss, a->len))
		fail("bind");
	return fd;
}

static void listen_on(const struct address *a, unsigned port, void (*serve)(int fd))
{
	struct job *j = malloc(sizeof(*j));
	int small = 8192, one = 1;

	if (!j)
		fail("malloc");
	j->serve = serve;
	j->fd = bound_socket(SOCK_STREAM, a, port);
	setsockopt(j->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (port == TCP_SLOW_READER)
		setsockopt(j->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (port == TCP_URGENT)
		setsockopt(j->fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	if (listen(j->fd, 4096))
		fail("listen");
	detach(listener_main, j);
}

/* --- UDP ------------------------------------------------------------------------------ */

struct udpjob {
	unsigned port;
	int fd, fd_port, fd_addr; /* bound to port, UDP_FROM_PORT, second address; -1 = none */
};

struct dgram {
	struct sockaddr_storage peer;
	socklen_t peer_len;
	uint8_t data[65536];
	size_t len;
	int tos, ttl;
};

static void read_cmsgs(struct msghdr *m, struct dgram *d)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		int v = 0;

		memcpy(&v, CMSG_DATA(c), c->cmsg_len >= CMSG_LEN(sizeof(int)) ? sizeof(int) : 1);
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS))
			d->tos = v;
		else
			d->ttl = v;
	}
}

static int dgram_recv(int fd, struct dgram *d)
{
	char ctl[256];
	struct iovec iov = {d->data, sizeof(d->data)};
	struct msghdr m = {.msg_name = &d->peer,
			   .msg_namelen = sizeof(d->peer),
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl,
			   .msg_controllen = sizeof(ctl)};
	ssize_t n = recvmsg(fd, &m, 0);

	if (n < 0)
		return -errno;
	d->len = (size_t)n;
	d->peer_len = m.msg_namelen;
	d->tos = d->ttl = -1;
	read_cmsgs(&m, d);
	return 0;
}

static void dgram_send(int fd, const struct dgram *d, const void *data, size_t len)
{
	if (fd >= 0)
		sendto(fd, data, len, 0, (const struct sockaddr *)&d->peer, d->peer_len);
}

static void answer_whoami(const struct udpjob *j, const struct dgram *d)
{
	char text[160], addr[96];

	sockaddr_text(&d->peer, addr, sizeof(addr));
	snprintf(text, sizeof(text), "%s tos %d ttl %d len %zu", addr, d->tos, d->ttl, d->len);
	dgram_send(j->fd, d, text, strlen(text));
}

static void answer_tos(const struct udpjob *j, const struct dgram *d)
{
	int tos = d->len ? d->data[0] : 0;

	setsockopt(j->fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	setsockopt(j->fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
	dgram_send(j->fd, d, d->data, d->len);
}

/* burst - 1000 numbered datagrams, paced so that no receive buffer overflows */
static void answer_burst(const struct udpjob *j, const struct dgram *d)
{
	uint8_t out[2048] = {0};
	size_t size = d->len >= 4 && d->len <= sizeof(out) ? d->len : 4;

	for (uint32_t i = 0; i < 1000; i++) {
		memcpy(out, &i, sizeof(i));
		dgram_send(j->fd, d, out, size);
		if (i % 20 == 19)
			usleep(3000);
	}
}

static void answer(const struct udpjob *j, const struct dgram *d)
{
	switch (j->port) {
	case UDP_ECHO:
		dgram_send(j->fd, d, d->data, d->len);
		break;
	case UDP_WHOAMI:
		answer_whoami(j, d);
		break;
	case UDP_OTHER_PORT:
		dgram_send(j->fd_port, d, d->data, d->len);
		break;
	case UDP_OTHER_ADDR:
		dgram_send(j->fd_addr, d, d->data, d->len);
		break;
	case UDP_TOS:
		answer_tos(j, d);
		break;
	case UDP_BURST:
		answer_burst(j, d);
		break;
	case UDP_UNASKED:
		dgram_send(j->fd, d, "same", 4);
		usleep(20000);
		dgram_send(j->fd_port, d, "port", 4);
		usleep(20000);
		dgram_send(j->fd_addr, d, "addr", 4);
		break;
	}
}

static void *answers_main(void *arg)
{
	struct udpjob *j = arg;
	struct dgram *d = malloc(sizeof(*d));

	if (!d)
		fail("malloc");
	for (;;) {
		if (dgram_recv(j->fd, d))
			continue;
		lag();
		answer(j, d);
	}
	return NULL;
}

static int dgram_socket(const struct address *a, unsigned port)
{
	int one = 1, big = 4 << 20, fd;

	if (!a->set)
		return -1;
	fd = bound_socket(SOCK_DGRAM, a, port);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	if (a->ss.ss_family == AF_INET) {
		setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof(one));
		setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &one, sizeof(one));
	} else {
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &one, sizeof(one));
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &one, sizeof(one));
	}
	return fd;
}

static void serve_udp(int family)
{
	int from = dgram_socket(&mains[family], UDP_FROM_PORT);

	for (unsigned port = UDP_ECHO; port < UDP_PORT_END; port++) {
		struct udpjob *j = malloc(sizeof(*j));

		if (!j)
			fail("malloc");
		*j = (struct udpjob){.port = port,
				     .fd = dgram_socket(&mains[family], port),
				     .fd_port = from,
				     .fd_addr = dgram_socket(&alts[family], port)};
		detach(answers_main, j);
	}
}

/* --- start ------------------------------------------------------------------------------ */

static struct address address_parse(const char *text, int family)
{
	struct address a = {.set = strcmp(text, "-") != 0};
	struct sockaddr_in6 *s6 = (void *)&a.ss;
	struct sockaddr_in *s4 = (void *)&a.ss;

	a.ss.ss_family = (sa_family_t)family;
	a.len = family == AF_INET ? sizeof(*s4) : sizeof(*s6);
	if (a.set &&
	    inet_pton(family, text,
		      family == AF_INET ? (void *)&s4->sin_addr : (void *)&s6->sin6_addr) != 1)
		fail(text);
	return a;
}

int main(int argc, char **argv)
{
	struct rlimit files = {65536, 65536};

	if (argc != 6) {
		fprintf(stderr, "usage: peer DELAY_MS ADDR4 ALT4|- ADDR6 ALT6|-\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &files);
	delay_us = (useconds_t)atoi(argv[1]) * 1000;
	for (int i = 0; i < 2; i++) {
		mains[i] = address_parse(argv[2 + 2 * i], i ? AF_INET6 : AF_INET);
		alts[i] = address_parse(argv[3 + 2 * i], i ? AF_INET6 : AF_INET);
		for (unsigned p = TCP_ECHO; p < TCP_PORT_END; p++)
			listen_on(&mains[i], p, serve_port[p - TCP_ECHO]);
		serve_udp(i);
	}
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}
