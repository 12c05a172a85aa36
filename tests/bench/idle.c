/* SPDX-License-Identifier: MIT */
/*
 * idle: opens N connections, sends a byte over each and gets it back, holds them.
 *
 *	idle [-n CONNECTIONS] [-t SECONDS] ADDRESS PORT
 *
 * Prints "held=N" when all are open, keeps them SECONDS longer, and ends. The
 * memory is read from outside meanwhile.
 */
#include "bench.h"

int main(int argc, char **argv)
{
	unsigned n = 1000, seconds = 5;
	struct target to;
	char c = 'x';
	int opt;

	while ((opt = getopt(argc, argv, "n:t:")) != -1) {
		if (opt == 'n')
			n = arg_unsigned(optarg);
		else if (opt == 't')
			seconds = arg_unsigned(optarg);
		else
			return 2;
	}
	if (argc - optind != 2)
		return 2;
	files_max();
	to = target_make(argv[optind], arg_unsigned(argv[optind + 1]), 0);
	for (unsigned i = 0; i < n; i++) {
		int fd = client_connect(&to); /* closed by the exit */

		if (io_all(fd, &c, 1, 1) != 0 || io_all(fd, &c, 1, 0) != 0)
			fail("connection %u", i);
	}
	printf("held=%u\n", n);
	fflush(stdout);
	sleep_until(mono_ns() + seconds * BENCH_SEC);
	return 0;
}
