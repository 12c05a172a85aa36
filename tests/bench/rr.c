/* SPDX-License-Identifier: MIT */
/*
 * rr: time of a one-byte request and its one-byte answer over one connection.
 *
 *	rr [-t SECONDS] ADDRESS PORT
 *
 * Prints "p50=US p99=US n=N" (microseconds).
 */
#include "bench.h"

#define SAMPLES_MAX 1000000

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static size_t measure(int fd, uint32_t *ns, uint64_t end)
{
	uint64_t before, now = mono_ns();
	char c = 'x';
	size_t n = 0;

	while (now < end && n < SAMPLES_MAX) {
		before = now;
		if (io_all(fd, &c, 1, 1) != 0 || io_all(fd, &c, 1, 0) != 0)
			fail("round trip");
		now = mono_ns();
		ns[n++] = (uint32_t)(now - before);
	}
	return n;
}

int main(int argc, char **argv)
{
	unsigned seconds = 3;
	uint32_t *ns = calloc(SAMPLES_MAX, sizeof(*ns));
	struct target to;
	size_t n;
	int opt, fd;

	while ((opt = getopt(argc, argv, "t:")) != -1) {
		if (opt != 't')
			return 2;
		seconds = arg_unsigned(optarg);
	}
	if (argc - optind != 2 || ns == NULL)
		return 2;
	to = target_make(argv[optind], arg_unsigned(argv[optind + 1]), 0);
	fd = client_connect(&to);
	measure(fd, ns, mono_ns() + BENCH_SEC / 4); /* warm up */
	n = measure(fd, ns, mono_ns() + seconds * BENCH_SEC);
	if (n == 0)
		return 1;
	qsort(ns, n, sizeof(*ns), by_size);
	printf("p50=%.1f p99=%.1f n=%zu\n", ns[n / 2] / 1e3, ns[n * 99 / 100] / 1e3, n);
	free(ns);
	return 0;
}
