/* SPDX-License-Identifier: MIT */
/*
 * netsock_dgram: real sockets over loopback, both families. What needs another
 * MTU or ping sockets runs in a network namespace of its own, where one can be made.
 * LINK: src/netsock_dgram.o src/base/addr.o src/base/util.o
 */
#include "netsock.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/errqueue.h>

#include "../lib/tap.h"
#include "base/util.h"

#define SLOT	65600
#define WAIT_MS 5000

struct netsock_set {
	int epfd;
};

static struct netsock_set set;
static uint8_t slots[NETSOCK_DGRAM_BATCH * SLOT];
static uint8_t payload[65536];

int netsock_set_fd(const struct netsock_set *s)
{
	return s->epfd;
}

/* --- helpers ------------------------------------------------------------------------ */

static struct addr loopback(bool v4)
{
	struct addr a = {{0}};

	addr_parse(v4 ? "127.0.0.1" : "::1", &a);
	return a;
}

/** port_of - the port that @fd is bound to */
static uint16_t port_of(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addrport ap = {{{0}}, 0};

	if (!getsockname(fd, (struct sockaddr *)&ss, &len))
		addr_from_sockaddr((struct sockaddr *)&ss, &ap);
	return ap.port;
}

/** peer_open - an ordinary socket on loopback that is told TTL and TOS */
static int peer_open(bool v4, struct addrport *at)
{
	struct sockaddr_storage ss;
	struct addrport any = {loopback(v4), 0};
	socklen_t len = addr_to_sockaddr(&any, &ss);
	int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || bind(fd, (struct sockaddr *)&ss, len))
		return -1;
	if (v4) {
		setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &one, sizeof(one));
		setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof(one));
	} else {
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &one, sizeof(one));
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &one, sizeof(one));
	}
	*at = any;
	at->port = port_of(fd);
	return fd;
}

static bool readable(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, WAIT_MS) == 1;
}

/** peer_read - one datagram as an ordinary program gets it; -1: nothing came */
static ssize_t peer_read(int fd, uint8_t *buf, size_t size, int *ttl, int *tos)
{
	struct iovec iov = {buf, size};
	char control[256];
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	*ttl = *tos = -1;
	if (!readable(fd, POLLIN))
		return -1;
	n = recvmsg(fd, &mh, MSG_DONTWAIT);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); n >= 0 && c; c = CMSG_NXTHDR(&mh, c)) {
		if (c->cmsg_type == IP_TTL || c->cmsg_type == IPV6_HOPLIMIT)
			memcpy(ttl, CMSG_DATA(c), sizeof(*ttl));
		else if (c->cmsg_type == IP_TOS || c->cmsg_type == IPV6_TCLASS)
			*tos = *CMSG_DATA(c);
	}
	return n;
}

/** recv_wait - netsock_dgram_recv() when something is there */
static int recv_wait(int fd, bool v4, struct netsock_dgram *d, int n)
{
	if (!readable(fd, POLLIN))
		return -ETIMEDOUT;
	return netsock_dgram_recv(fd, v4, d, n, slots, SLOT);
}

static struct netsock_dgram dgram(const struct addrport *to, size_t off, size_t len)
{
	return (struct netsock_dgram){
		.peer = *to, .ttl = 64, .df = true, .data = payload + off, .len = len};
}

static const char *fam(bool v4)
{
	return v4 ? "v4" : "v6";
}

/* --- tests -------------------------------------------------------------------------- */

static void keeps_port(bool v4)
{
	int a, b, c;
	uint16_t port;

	a = netsock_udp_open(&set, v4, 0, 1);
	port = port_of(a);
	close(a);
	b = netsock_udp_open(&set, v4, port, 1);
	tap_is(port_of(b), port, "%s: a free port is kept", fam(v4));
	c = netsock_udp_open(&set, v4, port, 2);
	tap_ok(c >= 0 && port_of(c) && port_of(c) != port, "%s: a taken one is replaced", fam(v4));
	close(b);
	close(c);
}

/** beside_device - here lo is the device: nothing that comes by it is seen, other ports are used */
static void beside_device(bool v4)
{
	struct addrport at;
	int peer = peer_open(v4, &at), fd;
	struct pollfd p = {.events = POLLIN};
	struct addrport to = {.addr = loopback(v4)};
	struct sockaddr_storage ss;
	uint16_t port;

	fd = netsock_udp_open(&set, v4, 0, 1);
	port = port_of(fd);
	close(fd);
	netsock_dgram_beside(if_nametoindex("lo"));
	fd = netsock_udp_open(&set, v4, port, 1);
	netsock_dgram_beside(0);
	tap_ok(fd >= 0 && port_of(fd) != port, "%s: beside the device no port is kept", fam(v4));
	p.fd = fd;
	to.port = port_of(fd);
	sendto(peer, "x", 1, 0, (struct sockaddr *)&ss, addr_to_sockaddr(&to, &ss));
	tap_is(poll(&p, 1, 200), 0, "%s: ... and what comes by it is dropped", fam(v4));
	close(fd);
	fd = netsock_udp_open(&set, v4, 0, 1);
	p.fd = fd;
	to.port = port_of(fd);
	sendto(peer, "x", 1, 0, (struct sockaddr *)&ss, addr_to_sockaddr(&to, &ss));
	tap_is(poll(&p, 1, WAIT_MS), 1, "%s: ... by another device it is not", fam(v4));
	close(fd);
	close(peer);
}

static void carries_ttl_and_tos_up(bool v4)
{
	struct addrport to;
	int peer = peer_open(v4, &to), fd = netsock_udp_open(&set, v4, 0, 1), ttl, tos;
	struct netsock_dgram d[3];
	uint8_t buf[64];

	d[0] = dgram(&to, 0, 5);
	d[0].ttl = 33;
	d[0].tos = 0xb9;
	d[1] = dgram(&to, 5, 5);
	d[2] = dgram(&to, 10, 5);
	d[2].ttl = 1;
	tap_is(netsock_dgram_send(fd, v4, d, 3), 3, "%s: three datagrams sent", fam(v4));
	peer_read(peer, buf, sizeof(buf), &ttl, &tos);
	tap_ok(ttl == 33 && tos == 0xb9, "%s: TTL 33, DSCP EF, ECT(1): %d %#x", fam(v4), ttl, tos);
	peer_read(peer, buf, sizeof(buf), &ttl, &tos);
	tap_ok(ttl == 64 && tos == 0, "%s: the next has its own: %d %#x", fam(v4), ttl, tos);
	peer_read(peer, buf, sizeof(buf), &ttl, &tos);
	tap_ok(ttl == 1 && tos == 0, "%s: and so has the third: %d %#x", fam(v4), ttl, tos);
	close(peer);
	close(fd);
}

static void carries_ttl_and_tos_down(bool v4)
{
	struct addrport at;
	int peer = peer_open(v4, &at), fd = netsock_udp_open(&set, v4, 0, 1);
	struct addrport to = {loopback(v4), port_of(fd)};
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&to, &ss);
	int ttl = 7, tos = 0x2e << 2 | 2;
	struct netsock_dgram d[4];

	setsockopt(peer, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS, &ttl,
		   sizeof(ttl));
	setsockopt(peer, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &tos,
		   sizeof(tos));
	sendto(peer, "hello", 5, 0, (struct sockaddr *)&ss, len);
	tap_is(recv_wait(fd, v4, d, 4), 1, "%s: one datagram received", fam(v4));
	tap_ok(d[0].ttl == 7 && d[0].tos == tos, "%s: with its TTL and TOS: %u %#x", fam(v4),
	       d[0].ttl, d[0].tos);
	tap_ok(addrport_equal(&d[0].peer, &at) && d[0].len == 5 && !d[0].gso_size &&
		       !memcmp(d[0].data, "hello", 5),
	       "%s: with its peer and bytes", fam(v4));
	tap_is(netsock_dgram_recv(fd, v4, d, 4, slots, SLOT), -EAGAIN, "%s: then none", fam(v4));
	close(peer);
	close(fd);
}

static void any_size(bool v4, size_t size)
{
	struct addrport at;
	int peer = peer_open(v4, &at), fd = netsock_udp_open(&set, v4, 0, 1), ttl, tos;
	struct addrport to = {loopback(v4), port_of(fd)};
	static uint8_t buf[65536];
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&to, &ss);
	struct netsock_dgram d[2] = {dgram(&at, 0, size)};

	d[0].df = false;
	tap_is(netsock_dgram_send(fd, v4, d, 1), 1, "%s: %zu bytes sent", fam(v4), size);
	tap_ok(peer_read(peer, buf, sizeof(buf), &ttl, &tos) == (ssize_t)size &&
		       !memcmp(buf, payload, size),
	       "%s: %zu bytes arrive", fam(v4), size);
	sendto(peer, payload, size, 0, (struct sockaddr *)&ss, len);
	tap_ok(recv_wait(fd, v4, d, 2) == 1 && d[0].len == size && !d[0].gso_size &&
		       !memcmp(d[0].data, payload, size),
	       "%s: %zu bytes come back", fam(v4), size);
	close(peer);
	close(fd);
}

/** boundaries_stay - many datagrams of many sizes reach an ordinary socket one by one */
static void boundaries_stay(bool v4)
{
	static const size_t sizes[] = {100, 100, 100, 60, 100, 100,  0,	  100,
				       0,   0,	 1,   1,  1,   1400, 1400};
	struct netsock_dgram d[150];
	struct addrport at;
	int peer = peer_open(v4, &at), fd = netsock_udp_open(&set, v4, 0, 1), ttl, tos, good = 0;
	size_t off = 0;
	uint8_t buf[2048];

	for (int i = 0; i < 150; i++) {
		d[i] = dgram(&at, off, sizes[i % ARRAY_SIZE(sizes)]);
		d[i].tos = i / 30 % 2 ? 0x20 : 0;
		d[i].df = i / 50 % 2;
		off += d[i].len + (i % 7 == 0); /* not all of them side by side in memory */
	}
	tap_is(netsock_dgram_send(fd, v4, d, 150), 150, "%s: 150 datagrams sent", fam(v4));
	for (int i = 0; i < 150; i++) {
		ssize_t n = peer_read(peer, buf, sizeof(buf), &ttl, &tos);

		good += n == (ssize_t)d[i].len && !memcmp(buf, d[i].data, d[i].len) &&
			tos == d[i].tos;
	}
	tap_is(good, 150, "%s: all arrive in order with their sizes and TOS", fam(v4));
	close(peer);
	close(fd);
}

/** joined_both_ways - a UDP_SEGMENT send is received as one UDP_GRO batch */
static void joined_both_ways(bool v4)
{
	int from = netsock_udp_open(&set, v4, 0, 1), to = netsock_udp_open(&set, v4, 0, 2), n;
	struct addrport at = {loopback(v4), port_of(to)};
	struct netsock_dgram d[20], got[4];

	for (int i = 0; i < 20; i++)
		d[i] = dgram(&at, (size_t)i * 300, i == 19 ? 77 : 300);
	tap_is(netsock_dgram_send(from, v4, d, 20), 20, "%s: twenty of one size sent", fam(v4));
	n = recv_wait(to, v4, got, 4);
	tap_ok(n == 1 && got[0].gso_size == 300 && got[0].len == 19 * 300 + 77,
	       "%s: as one message: %d, %zu bytes of %u", fam(v4), n, got[0].len, got[0].gso_size);
	tap_ok(!memcmp(got[0].data, payload, got[0].len), "%s: the same bytes", fam(v4));
	close(from);
	close(to);
}

/** error_wait - the next entry of the error queue */
static int error_wait(int fd, bool v4, struct netsock_dgram_error *e)
{
	if (!readable(fd, 0))
		return 0;
	return netsock_dgram_error(fd, v4, e);
}

static void refused(bool v4)
{
	struct addrport at, dead;
	int peer = peer_open(v4, &at), gone = peer_open(v4, &dead);
	int fd = netsock_udp_open(&set, v4, 0, 1), ttl, tos;
	struct netsock_dgram d = dgram(&dead, 10, 20), healthy = dgram(&at, 0, 9);
	struct netsock_dgram_error e;
	struct addr lo = loopback(v4);
	uint8_t buf[64];

	close(gone);
	tap_is(netsock_dgram_send(fd, v4, &d, 1), 1, "%s: sent to a port without socket", fam(v4));
	tap_ok(readable(fd, 0), "%s: an error is reported", fam(v4));
	tap_is(netsock_dgram_send(fd, v4, &healthy, 1), -ECONNREFUSED,
	       "%s: it stands in the way of another destination", fam(v4));
	tap_is(error_wait(fd, v4, &e), 1, "%s: it is in the queue", fam(v4));
	tap_ok(e.err == ECONNREFUSED && addrport_equal(&e.peer, &dead) &&
		       addr_equal(&e.offender, &lo),
	       "%s: of the right peer, from the right host", fam(v4));
	tap_ok(e.origin == (v4 ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6) &&
		       e.type == (v4 ? 3 : 1) && e.code == (v4 ? 3 : 4),
	       "%s: port unreachable: %u/%u", fam(v4), e.type, e.code);
	tap_ok(e.len == 20 && !memcmp(e.data, payload + 10, 20), "%s: quotes the payload", fam(v4));
	tap_is(netsock_dgram_error(fd, v4, &e), 0, "%s: the queue is empty then", fam(v4));
	tap_is(netsock_dgram_send(fd, v4, &healthy, 1), 1, "%s: and the way is free", fam(v4));
	tap_is(peer_read(peer, buf, sizeof(buf), &ttl, &tos), 9, "%s: nothing is lost", fam(v4));
	close(peer);
	close(fd);
}

static void too_long(bool v4)
{
	struct addrport at = {loopback(v4), 9};
	int fd = netsock_udp_open(&set, v4, 0, 1);
	struct netsock_dgram d = dgram(&at, 0, 65536);

	tap_is(netsock_dgram_send(fd, v4, &d, 1), -EMSGSIZE, "%s: 65536 bytes are too long",
	       fam(v4));
	close(fd);
}

/** events - edge-triggered, and once more when asked */
static void events(bool v4)
{
	struct addrport at;
	int peer = peer_open(v4, &at), fd = netsock_udp_open(&set, v4, 0, 0x1234);
	struct addrport to = {loopback(v4), port_of(fd)};
	struct netsock_dgram d = dgram(&at, 0, 4);
	struct epoll_event ev;
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&to, &ss);

	tap_is(epoll_wait(set.epfd, &ev, 1, 0), 0, "%s: a new socket has no event", fam(v4));
	netsock_dgram_send(fd, v4, &d, 1);
	tap_is(epoll_wait(set.epfd, &ev, 1, 20), 0, "%s: nor one that has sent", fam(v4));
	sendto(peer, "x", 1, 0, (struct sockaddr *)&ss, len);
	tap_ok(epoll_wait(set.epfd, &ev, 1, WAIT_MS) == 1 && ev.data.u64 == 0x1234 &&
		       ev.events & EPOLLIN,
	       "%s: a datagram makes one", fam(v4));
	tap_is(epoll_wait(set.epfd, &ev, 1, 0), 0, "%s: only one", fam(v4));
	tap_ok(!netsock_dgram_rearm(&set, fd, 0x1235, false) &&
		       epoll_wait(set.epfd, &ev, 1, 0) == 1 && ev.data.u64 == 0x1235 &&
		       !(ev.events & EPOLLOUT),
	       "%s: until it is asked for again", fam(v4));
	tap_ok(!netsock_dgram_rearm(&set, fd, 0x1235, true) &&
		       epoll_wait(set.epfd, &ev, 1, 0) == 1 && ev.events & EPOLLOUT,
	       "%s: with room to send when wanted", fam(v4));
	close(peer);
	close(fd);
}

/* --- in a namespace --------------------------------------------------------------------- */

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/** enter_namespace - a private one whose loopback has an MTU of 1500 */
static bool enter_namespace(void)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_mtu = 1500};
	char map[64];
	int gid = (int)getegid(), s;
	bool ok;

	if (unshare(CLONE_NEWNET)) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
			return false;
		write_file("/proc/self/setgroups", "deny");
		snprintf(map, sizeof(map), "%d %d 1", gid, gid);
		write_file("/proc/self/gid_map", map);
	}
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ok = s >= 0 && !ioctl(s, SIOCSIFMTU, &ifr);
	ifr.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
	ok = ok && !ioctl(s, SIOCSIFFLAGS, &ifr);
	if (s >= 0)
		close(s);
	return ok;
}

/** mtu_1500 - DF decides between an error with the MTU and fragments, joined or not */
static void mtu_1500(bool v4)
{
	struct addrport at;
	int peer = peer_open(v4, &at), fd = netsock_udp_open(&set, v4, 0, 1), ttl, tos, good = 0;
	struct netsock_dgram d[8];
	struct netsock_dgram_error e = {.err = 0};
	static uint8_t buf[4096];

	for (int i = 0; i < 8; i++) {
		d[i] = dgram(&at, (size_t)i * 3000, 3000);
		d[i].df = false;
	}
	/* Again and again: the later rounds go on with what the first has learnt. */
	for (int round = 0; round < 3; round++) {
		for (int sent = 0, rc; sent < 8; sent += rc) {
			rc = netsock_dgram_send(fd, v4, d + sent, 8 - sent);
			if (rc <= 0)
				break;
		}
		for (int i = 0; i < 8; i++)
			good += peer_read(peer, buf, sizeof(buf), &ttl, &tos) == 3000 &&
				!memcmp(buf, d[i].data, 3000);
	}
	tap_is(good, 24, "%s: without DF all of 3000 bytes arrive", fam(v4));
	while (netsock_dgram_error(fd, v4, &e))
		;
	for (int i = 0; i < 8; i++)
		d[i].df = true;
	tap_is(netsock_dgram_send(fd, v4, d, 8), -EMSGSIZE, "%s: with DF they do not", fam(v4));
	tap_ok(netsock_dgram_error(fd, v4, &e) && e.err == EMSGSIZE &&
		       e.origin == SO_EE_ORIGIN_LOCAL && e.info == 1500,
	       "%s: the queue tells the MTU", fam(v4));
	while (netsock_dgram_error(fd, v4, &e))
		;
	for (int i = 0; i < 8; i++)
		d[i].len = 1400;
	tap_is(netsock_dgram_send(fd, v4, d, 8), 8, "%s: shorter ones go with DF", fam(v4));
	close(peer);
	close(fd);
}

static void ping(bool v4)
{
	uint16_t ident = 0x4321, taken = 0x4321;
	int fd = netsock_icmp_open(&set, v4, &ident, 1), other;
	uint8_t msg[8 + 1000] = {v4 ? 8 : 128, 0, 0, 0, 0xaa, 0xaa, 0, 9, 'p', 'i', 'n', 'g'};
	struct netsock_dgram d = {
		.peer = {loopback(v4), 0}, .ttl = 9, .tos = 0x20, .data = msg, .len = sizeof(msg)};
	struct netsock_dgram got[2];

	if (!tap_ok(fd >= 0, "%s: a ping socket: %d", fam(v4), fd))
		return;
	tap_is(ident, 0x4321, "%s: its identifier is kept", fam(v4));
	other = netsock_icmp_open(&set, v4, &taken, 2);
	tap_ok(other >= 0 && taken != 0x4321 && taken, "%s: a taken one is replaced", fam(v4));
	close(other);
	tap_is(netsock_dgram_send(fd, v4, &d, 1), 1, "%s: an echo request is sent", fam(v4));
	tap_is(recv_wait(fd, v4, got, 2), 1, "%s: its reply comes", fam(v4));
	tap_ok(got[0].len == sizeof(msg) && got[0].data[0] == (v4 ? 0 : 129) &&
		       got[0].data[4] == 0x43 && got[0].data[5] == 0x21 && got[0].data[7] == 9 &&
		       !memcmp(got[0].data + 8, msg + 8, 1000) && got[0].ttl,
	       "%s: with identifier, sequence number and payload", fam(v4));
	close(fd);
}

static void in_namespace(void)
{
	char range[64];

	if (!enter_namespace()) {
		tap_skip("MTU and ping", "no network namespace can be made here");
		return;
	}
	mtu_1500(true);
	mtu_1500(false);
	snprintf(range, sizeof(range), "%u %u", getegid(), getegid());
	tap_is(netsock_icmp_open(&set, true, &(uint16_t){0}, 1), -EACCES,
	       "a host that forbids ping sockets says EACCES");
	if (!write_file("/proc/sys/net/ipv4/ping_group_range", range)) {
		tap_skip("ping", "ping_group_range cannot be set here");
		return;
	}
	ping(true);
	ping(false);
}

static void both_families(bool v4)
{
	struct addrport at;
	int fd = peer_open(v4, &at);

	if (fd < 0) {
		tap_skip(fam(v4), "no loopback of this family");
		return;
	}
	close(fd);
	keeps_port(v4);
	beside_device(v4);
	carries_ttl_and_tos_up(v4);
	carries_ttl_and_tos_down(v4);
	any_size(v4, 0);
	any_size(v4, 1);
	any_size(v4, 65507);
	boundaries_stay(v4);
	joined_both_ways(v4);
	refused(v4);
	too_long(v4);
	events(v4);
}

int main(void)
{
	set.epfd = epoll_create1(EPOLL_CLOEXEC);
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7 + i / 256);
	both_families(true);
	both_families(false);
	in_namespace();
	close(set.epfd);
	return tap_done();
}
