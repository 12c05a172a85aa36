/* SPDX-License-Identifier: MIT */
/*
 * crr: connect, one byte each way, close; as often as it goes.
 *
 *	crr [-p PARALLEL] [-a ADDRESSES] [-q PORTS] [-t SECONDS] ADDRESS PORT
 *
 * Goes round ADDRESSES consecutive addresses and PORTS ports from the given
 * ones, so that ports in TIME_WAIT do not set the pace. Prints
 * "rate=N errors=N time_wait=N": connections a second, failed ones, and sockets in
 * TIME_WAIT in this network namespace afterwards.
 */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>

static struct target *targets;
static unsigned n_targets;
static uint64_t deadline;
static atomic_uint next_target;
static atomic_ulong done, failed;

/** once - one connection; returns 0, or -1 with the reason in errno */
static int once(const struct target *t)
{
	int one = 1, ret = -1, fd = socket(t->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char c = 'x';

	if (fd < 0)
		fail("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (const struct sockaddr *)&t->ss, t->len) == 0 &&
	    io_all(fd, &c, 1, 1) == 0 && io_all(fd, &c, 1, 0) == 0)
		ret = 0;
	close(fd);
	return ret;
}

static void *client(void *arg)
{
	(void)arg;
	while (mono_ns() < deadline) {
		if (once(&targets[atomic_fetch_add(&next_target, 1) % n_targets]) == 0) {
			atomic_fetch_add(&done, 1);
		} else {
			atomic_fetch_add(&failed, 1);
			usleep(1000);
		}
	}
	return NULL;
}

static long time_wait(void)
{
	FILE *f = fopen("/proc/net/sockstat", "re");
	char line[256];
	long n = -1;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		sscanf(line, "TCP: inuse %*d orphan %*d tw %ld", &n);
	if (f != NULL)
		fclose(f);
	return n;
}

static void run(unsigned parallel, unsigned seconds)
{
	pthread_t *threads = calloc(parallel, sizeof(*threads));
	uint64_t begin = mono_ns();

	if (threads == NULL)
		fail("malloc");
	deadline = begin + seconds * BENCH_SEC;
	for (unsigned i = 0; i < parallel; i++) {
		if (pthread_create(&threads[i], NULL, client, NULL) != 0)
			fail("thread");
	}
	for (unsigned i = 0; i < parallel; i++)
		pthread_join(threads[i], NULL);
	printf("rate=%.0f errors=%lu time_wait=%ld\n",
	       (double)atomic_load(&done) * 1e9 / (double)(mono_ns() - begin), atomic_load(&failed),
	       time_wait());
	free(threads);
}

int main(int argc, char **argv)
{
	unsigned parallel = 32, addresses = 1, ports = 1, seconds = 10;
	int opt;

	while ((opt = getopt(argc, argv, "p:a:q:t:")) != -1) {
		if (opt == 'p')
			parallel = arg_unsigned(optarg);
		else if (opt == 'a')
			addresses = arg_unsigned(optarg);
		else if (opt == 'q')
			ports = arg_unsigned(optarg);
		else if (opt == 't')
			seconds = arg_unsigned(optarg);
		else
			return 2;
	}
	if (argc - optind != 2 || parallel == 0 || addresses == 0 || ports == 0)
		return 2;
	n_targets = addresses * ports;
	targets = calloc(n_targets, sizeof(*targets));
	if (targets == NULL)
		fail("malloc");
	for (unsigned i = 0; i < n_targets; i++)
		targets[i] =
			target_make(argv[optind], arg_unsigned(argv[optind + 1]) + i / addresses,
				    i % addresses);
	run(parallel, seconds);
	free(targets);
	return 0;
}
