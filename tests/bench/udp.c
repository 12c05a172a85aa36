/* SPDX-License-Identifier: MIT */
/*
 * udp: datagrams a second that arrive, one way, flooding or paced.
 *
 *	udp -s PORT ADDRESS
 *	udp [-d] [-l SIZE] [-r RATE] [-t SECONDS] ADDRESS PORT
 *
 * Up by default, -d for down; RATE 0 floods. Counts what arrives inside a
 * window of time that both ends know. Prints "pps=N sent=N lost=PERCENT"; the
 * sender's count is of the same window. The server is bound to one address: its
 * answers come from there.
 */
#include "bench.h"

#include <poll.h>

#define SIZE_MIN 40 /* struct order fits */
#define BATCH	 64
#define WARM_UP	 (BENCH_SEC / 4)
#define GRACE	 (BENCH_SEC / 5) /* after the window: what queues still hold */

enum kind { DATA, ORDER_UP, ORDER_DOWN, ASK, COUNT };

/** struct order - first bytes of every datagram */
struct order {
	uint32_t kind, size;
	uint64_t begin, end; /* of the window; in COUNT: packets that arrived in it, sent in it */
	uint64_t run;	     /* number of the run: late datagrams of another one don't count */
	uint32_t rate, pad;
};

_Static_assert(sizeof(struct order) <= SIZE_MIN, "every datagram holds an order");

static struct mmsghdr msgs[BATCH];
static char bufs[BATCH][65536];

/** flood - send DATA from @begin - WARM_UP to @end; returns how many went out in the window */
static uint64_t flood(int fd, const struct target *to, const struct order *o)
{
	static char buf[65536];
	struct order head = {.kind = DATA, .run = o->run};
	uint64_t now = mono_ns(), begin = now, sent = 0, in_window = 0;

	memcpy(buf, &head, sizeof(head));
	for (; (now = mono_ns()) < o->end; sent++) {
		if (o->rate)
			sleep_until(begin + sent * BENCH_SEC / o->rate);
		if (sendto(fd, buf, o->size, 0, to ? (const struct sockaddr *)&to->ss : NULL,
			   to ? to->len : 0) < 0 &&
		    errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED)
			fail("send");
		in_window += now >= o->begin;
	}
	return in_window;
}

/** gather - one batch of datagrams; returns how many came (0: none within @ms) */
static int gather(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	static struct sockaddr_storage from[BATCH];
	static struct iovec iov[BATCH];
	int n;

	if (poll(&p, 1, ms) <= 0)
		return 0;
	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){bufs[i], sizeof(bufs[i])};
		msgs[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
						  .msg_namelen = sizeof(from[i]),
						  .msg_iov = &iov[i],
						  .msg_iovlen = 1};
	}
	n = recvmmsg(fd, msgs, BATCH, MSG_DONTWAIT, NULL);
	return n > 0 ? n : 0;
}

/** head_of - the order at the front of datagram @i, or NULL when it is too short */
static const struct order *head_of(int i, struct order *o)
{
	if (msgs[i].msg_len < sizeof(*o))
		return NULL;
	return memcpy(o, bufs[i], sizeof(*o));
}

static void serve_one(int fd, int i, const struct order *o, struct order *now, uint64_t *count)
{
	struct target from = {.len = msgs[i].msg_hdr.msg_namelen};
	struct order reply = {.kind = COUNT, .run = o->run};

	memcpy(&from.ss, msgs[i].msg_hdr.msg_name, from.len);
	if (o->kind == DATA && o->run == now->run) {
		uint64_t t = mono_ns();

		*count += t >= now->begin && t < now->end;
	} else if (o->kind == ORDER_UP || o->kind == ORDER_DOWN) {
		if (o->run == now->run && o->kind == ORDER_DOWN)
			return; /* a repeated order */
		if (o->run != now->run)
			*count = 0;
		*now = *o;
		if (o->kind == ORDER_UP)
			sendto(fd, &reply, SIZE_MIN, 0, (struct sockaddr *)&from.ss, from.len);
		else
			*count = flood(fd, &from, o);
	} else if (o->kind == ASK) {
		reply.begin = *count;
		sendto(fd, &reply, SIZE_MIN, 0, (struct sockaddr *)&from.ss, from.len);
	}
}

static void server(const struct target *at)
{
	int fd = socket(at->ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), big = 4 << 20;
	struct order now = {0}, o;
	uint64_t count = 0;

	if (fd < 0 || bind(fd, (const struct sockaddr *)&at->ss, at->len) != 0)
		fail("bind");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
	for (;;) {
		int n = gather(fd, -1);

		for (int i = 0; i < n; i++) {
			if (head_of(i, &o) != NULL)
				serve_one(fd, i, &o, &now, &count);
		}
	}
}

/** exchange - send @o until an answer of kind COUNT comes; returns its count */
static uint64_t exchange(int fd, const struct order *o)
{
	char buf[SIZE_MIN] = {0};
	struct order r;

	memcpy(buf, o, sizeof(*o));
	for (int tries = 0; tries < 50; tries++) {
		(void)!send(fd, buf, sizeof(buf), 0);
		for (int n; (n = gather(fd, 100)) > 0;) {
			for (int i = 0; i < n; i++) {
				if (head_of(i, &r) && r.kind == COUNT && r.run == o->run)
					return r.begin;
			}
		}
	}
	errno = ETIMEDOUT;
	fail("the server does not answer");
}

static uint64_t receive(int fd, const struct order *o)
{
	uint64_t t, count = 0;
	struct order head;

	while ((t = mono_ns()) < o->end + GRACE) {
		int n = gather(fd, 50);

		for (int i = 0; i < n; i++) {
			if (head_of(i, &head) && head.kind == DATA && head.run == o->run)
				count += t >= o->begin && t < o->end;
		}
	}
	return count;
}

static void measure(const struct target *to, struct order o, unsigned seconds)
{
	int fd = socket(to->ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), big = 4 << 20;
	struct order ask = {.kind = ASK, .run = o.run};
	char first[SIZE_MIN] = {0};
	uint64_t sent, got;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to->ss, to->len) != 0)
		fail("connect");
	exchange(fd, &(struct order){.kind = ORDER_UP, .run = o.run - 1}); /* opens the path */
	o.begin = mono_ns() + WARM_UP;
	o.end = o.begin + seconds * BENCH_SEC;
	if (o.kind == ORDER_DOWN) {
		memcpy(first, &o, sizeof(o));
		for (int i = 0; i < 3; i++)
			(void)!send(fd, first, sizeof(first), 0);
		got = receive(fd, &o);
		sent = exchange(fd, &ask);
	} else {
		exchange(fd, &o);
		sent = flood(fd, NULL, &o);
		sleep_until(o.end + GRACE);
		got = exchange(fd, &ask);
	}
	printf("pps=%.0f sent=%llu lost=%.1f\n", (double)got / seconds, (unsigned long long)sent,
	       sent > got ? 100.0 * (double)(sent - got) / (double)sent : 0.0);
	close(fd);
}

int main(int argc, char **argv)
{
	struct order o = {.kind = ORDER_UP, .size = 1400, .run = mono_ns()};
	unsigned port = 0, seconds = 2;
	struct target to;
	int opt;

	while ((opt = getopt(argc, argv, "s:dl:r:t:")) != -1) {
		if (opt == 's')
			port = arg_unsigned(optarg);
		else if (opt == 'd')
			o.kind = ORDER_DOWN;
		else if (opt == 'l')
			o.size = arg_unsigned(optarg);
		else if (opt == 'r')
			o.rate = arg_unsigned(optarg);
		else if (opt == 't')
			seconds = arg_unsigned(optarg);
		else
			return 2;
	}
	if (port && argc - optind == 1) {
		to = target_make(argv[optind], port, 0);
		server(&to);
	}
	if (argc - optind != 2 || o.size < SIZE_MIN || o.size > 65507 || seconds == 0)
		return 2;
	to = target_make(argv[optind], arg_unsigned(argv[optind + 1]), 0);
	measure(&to, o, seconds);
	return 0;
}
