/* SPDX-License-Identifier: MIT */
/*
 * stream: TCP throughput, counted at the receiver inside a window of time that
 * both ends know (one machine, one clock), so that neither slow start nor what
 * buffers hold at the end is part of the figure.
 *
 *	stream -s PORT
 *	stream [-d] [-n STREAMS] [-t SECONDS] ADDRESS PORT
 *
 * Up by default, -d for down. Prints "gbps=G bytes=N cpu=S": N counts every
 * byte that arrived, inside the window or not, to relate CPU time to.
 */
#include "bench.h"

#include <pthread.h>
#include <signal.h>

#define CHUNK	(128 << 10)
#define WARM_UP (BENCH_SEC / 3)

/** struct order - what the client asks of the server, first thing on each connection */
struct order {
	uint64_t begin, end; /* of the window, CLOCK_MONOTONIC ns */
	uint64_t down;
};

/** struct result - what a receiver counted */
struct result {
	uint64_t window, total;
};

struct job {
	pthread_t thread;
	struct target to;
	struct order order;
	struct result result;
};

static void sink(int fd, const struct order *o, struct result *r)
{
	char *buf = malloc(CHUNK);
	ssize_t n;

	if (buf == NULL)
		fail("malloc");
	while ((n = read(fd, buf, CHUNK)) > 0) {
		uint64_t now = mono_ns();

		r->total += (uint64_t)n;
		if (now >= o->begin && now < o->end)
			r->window += (uint64_t)n;
	}
	if (n < 0)
		fail("read");
	free(buf);
}

static void source(int fd, const struct order *o)
{
	char *buf = calloc(1, CHUNK);

	if (buf == NULL)
		fail("malloc");
	while (mono_ns() < o->end) {
		if (write(fd, buf, CHUNK) < 0)
			break;
	}
	shutdown(fd, SHUT_WR);
	free(buf);
}

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct order o;
	struct result r = {0, 0};

	if (io_all(fd, &o, sizeof(o), 0) == 0) {
		if (o.down) {
			source(fd, &o);
			(void)!read(fd, &o, 1); /* until the client has it all */
		} else {
			sink(fd, &o, &r);
			io_all(fd, &r, sizeof(r), 1);
		}
	}
	close(fd);
	return NULL;
}

static void server(unsigned port)
{
	int fd, listener = server_socket(SOCK_STREAM, port);
	pthread_t t;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		if (pthread_create(&t, NULL, serve, (void *)(intptr_t)fd) != 0)
			fail("thread");
		pthread_detach(t);
	}
	fail("accept");
}

static void *client(void *arg)
{
	struct job *j = arg;
	int fd = client_connect(&j->to);

	if (io_all(fd, &j->order, sizeof(j->order), 1) != 0)
		fail("write");
	if (j->order.down) {
		sink(fd, &j->order, &j->result);
	} else {
		source(fd, &j->order);
		if (io_all(fd, &j->result, sizeof(j->result), 0) != 0)
			fail("the server's count did not come");
	}
	close(fd);
	return NULL;
}

static void run(struct job *jobs, unsigned n, unsigned seconds)
{
	struct result sum = {0, 0};

	for (unsigned i = 0; i < n; i++) {
		if (pthread_create(&jobs[i].thread, NULL, client, &jobs[i]) != 0)
			fail("thread");
	}
	for (unsigned i = 0; i < n; i++) {
		pthread_join(jobs[i].thread, NULL);
		sum.window += jobs[i].result.window;
		sum.total += jobs[i].result.total;
	}
	printf("gbps=%.3f bytes=%llu", (double)sum.window * 8 / seconds / 1e9,
	       (unsigned long long)sum.total);
	print_self_cpu();
	printf("\n");
}

int main(int argc, char **argv)
{
	unsigned port = 0, n = 1, seconds = 3;
	uint64_t down = 0, begin;
	struct job *jobs;
	int opt;

	signal(SIGPIPE, SIG_IGN);
	while ((opt = getopt(argc, argv, "s:dn:t:")) != -1) {
		if (opt == 's')
			port = arg_unsigned(optarg);
		else if (opt == 'd')
			down = 1;
		else if (opt == 'n')
			n = arg_unsigned(optarg);
		else if (opt == 't')
			seconds = arg_unsigned(optarg);
		else
			return 2;
	}
	if (port)
		server(port);
	if (argc - optind != 2 || n == 0 || seconds == 0)
		return 2;
	jobs = calloc(n, sizeof(*jobs));
	if (jobs == NULL)
		fail("malloc");
	begin = mono_ns() + WARM_UP;
	for (unsigned i = 0; i < n; i++) {
		jobs[i].to = target_make(argv[optind], arg_unsigned(argv[optind + 1]), 0);
		jobs[i].order = (struct order){begin, begin + seconds * BENCH_SEC, down};
	}
	run(jobs, n, seconds);
	free(jobs);
	return 0;
}
