/* SPDX-License-Identifier: MIT */
/*
 * conncost: processor time of a connection, in several network namespaces, in turn.
 *
 *	conncost [-6] [-s] [-b BATCHES] [-u UID] NAME...
 *
 * Namespaces bench-NAME-h and bench-NAME-n are a host and its peer, joined by eth0, as upcost.sh
 * makes them. One thread on one processor connects as UID in the host, accepts in the peer, sends a
 *byte each way and closes; the kernel does both ends' work inside of these calls. Batches of
 *connections take turns in random order, so that what else the machine does hits all alike; the
 *clock is the thread's own. Prints a line "NAME ns=N diff=N", medians over the batches, the second
 *of the difference to the first NAME in the same turn. With -s it is the time of 64 KiB sent over
 *an open connection.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>

#define CONNECTIONS 100 /* in a batch */
#define NAMES_MAX   16
#define BATCHES_MAX 10000
#define PORT	    7001
#define ADDRESSES   16

struct place {
	const char *name;
	int host_ns, listen_fd;
	int up_fd, down_fd; /* of the open connection, with -s */
	long ns[BATCHES_MAX], diff[BATCHES_MAX];
};

static struct place places[NAMES_MAX];
static bool v6, stream;
static uid_t uid = 2003;
static unsigned next_address;

static long thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void enter(int ns)
{
	if (setns(ns, CLONE_NEWNET))
		fail("setns");
}

static int open_ns(const char *name, char end)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/bench-%s-%c", name, end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("%s", path);
	return fd;
}

static void place_open(struct place *p, const char *name)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	int ns = open_ns(name, 'n'), off = 0, on = 1;

	p->name = name;
	p->host_ns = open_ns(name, 'h');
	enter(ns);
	p->listen_fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->listen_fd < 0 ||
	    setsockopt(p->listen_fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
	    setsockopt(p->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(p->listen_fd, (struct sockaddr *)&at, sizeof(at)) || listen(p->listen_fd, 64))
		fail("listen");
	close(ns);
}

static int connect_one(void)
{
	const unsigned n = next_address++ % ADDRESSES + 1;
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to4.sin_addr.s_addr = htonl(0x0a6f0100 + n);
	inet_pton(AF_INET6, "fd11::1:0", &to6.sin6_addr);
	to6.sin6_addr.s6_addr[15] = (uint8_t)n;
	if (fd < 0 || (v6 ? connect(fd, (struct sockaddr *)&to6, sizeof(to6))
			  : connect(fd, (struct sockaddr *)&to4, sizeof(to4))))
		fail("connect");
	return fd;
}

static void once(const struct place *p)
{
	int fd = connect_one(), peer = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	char c = 'x';

	if (peer < 0)
		fail("accept");
	if (io_all(fd, &c, 1, 1) || io_all(peer, &c, 1, 0) || io_all(peer, &c, 1, 1) ||
	    io_all(fd, &c, 1, 0))
		fail("a byte");
	close(fd);
	close(peer);
}

/** bulk - written as far as it goes, read until it is empty: one thread is both ends */
static void bulk(struct place *p)
{
	static char data[65536];
	size_t sent = 0, got = 0;

	if (!p->up_fd) {
		p->up_fd = connect_one();
		p->down_fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	}
	while (got < sizeof(data)) {
		ssize_t n = send(p->up_fd, data + sent, sizeof(data) - sent, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		n = recv(p->down_fd, data, sizeof(data), MSG_DONTWAIT);
		got += n > 0 ? (size_t)n : 0;
	}
}

static long batch(struct place *p)
{
	long began;

	enter(p->host_ns);
	if (seteuid(uid))
		fail("seteuid");
	began = thread_ns();
	for (unsigned i = 0; i < CONNECTIONS; i++)
		stream ? bulk(p) : once(p);
	began = thread_ns() - began;
	if (seteuid(0))
		fail("seteuid");
	return began / CONNECTIONS;
}

static void turn(unsigned n, unsigned at, bool counts)
{
	unsigned order[NAMES_MAX];

	for (unsigned i = 0; i < n; i++) {
		unsigned other = (unsigned)rand() % (i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	for (unsigned i = 0; i < n; i++) {
		long ns = batch(&places[order[i]]);

		if (counts)
			places[order[i]].ns[at] = ns;
	}
	for (unsigned i = 0; counts && i < n; i++)
		places[i].diff[at] = places[i].ns[at] - places[0].ns[at];
}

static int order_of(const void *a, const void *b)
{
	const long *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static long median(long *v, unsigned n)
{
	qsort(v, n, sizeof(*v), order_of);
	return v[n / 2];
}

int main(int argc, char **argv)
{
	unsigned batches = 100, n = 0;
	cpu_set_t one;
	int opt;

	while ((opt = getopt(argc, argv, "6sb:u:")) != -1) {
		if (opt == '6')
			v6 = true;
		else if (opt == 's')
			stream = true;
		else if (opt == 'b')
			batches = arg_unsigned(optarg);
		else if (opt == 'u')
			uid = arg_unsigned(optarg);
		else
			return 2;
	}
	if (optind == argc || argc - optind > NAMES_MAX || !batches || batches > BATCHES_MAX)
		return 2;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (; optind < argc; optind++)
		place_open(&places[n++], argv[optind]);
	turn(n, 0, false);
	for (unsigned i = 0; i < batches; i++)
		turn(n, i, true);
	for (unsigned i = 0; i < n; i++)
		printf("%s ns=%ld diff=%ld\n", places[i].name, median(places[i].ns, batches),
		       median(places[i].diff, batches));
	return 0;
}
