/* SPDX-License-Identifier: MIT */
/*
 * bench: what the measuring programs share. Client and server run on one
 * machine, so CLOCK_MONOTONIC is one clock for both, also across namespaces.
 */
#ifndef WEIR_TESTS_BENCH_H
#define WEIR_TESTS_BENCH_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BENCH_SEC 1000000000ULL

__attribute__((format(printf, 1, 2), noreturn, unused)) static void fail(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(err));
	exit(1);
}

__attribute__((unused)) static uint64_t mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * BENCH_SEC + (uint64_t)ts.tv_nsec;
}

__attribute__((unused)) static void sleep_until(uint64_t at)
{
	struct timespec ts = {(time_t)(at / BENCH_SEC), (long)(at % BENCH_SEC)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/** struct target - a socket address and how long it is */
struct target {
	struct sockaddr_storage ss;
	socklen_t len;
};

/**
 * target_make - numeric @host and @port, moved on by @step addresses (last byte)
 */
__attribute__((unused)) static struct target target_make(const char *host, unsigned port,
							 unsigned step)
{
	struct target t = {.len = 0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&t.ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&t.ss;

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		v4->sin_addr.s_addr = htonl(ntohl(v4->sin_addr.s_addr) + step);
		t.len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		v6->sin6_addr.s6_addr[15] = (uint8_t)(v6->sin6_addr.s6_addr[15] + step);
		t.len = sizeof(*v6);
	} else {
		errno = EINVAL;
		fail("address %s", host);
	}
	return t;
}

/** server_socket - bound to every address of both families; listening if it is a stream */
__attribute__((unused)) static int server_socket(int type, unsigned port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	int one = 1, zero = 0, fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) != 0)
		fail("bind to port %u", port);
	if ((type & 0xf) == SOCK_STREAM && listen(fd, 4096) != 0)
		fail("listen");
	return fd;
}

__attribute__((unused)) static int client_connect(const struct target *t)
{
	int one = 1, fd = socket(t->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	if (connect(fd, (const struct sockaddr *)&t->ss, t->len) != 0)
		fail("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/** io_all - read or write exactly @len bytes; 0, or -1 at end or error */
__attribute__((unused)) static int io_all(int fd, void *buf, size_t len, int writing)
{
	char *p = buf;

	while (len > 0) {
		ssize_t n = writing ? write(fd, p, len) : read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/** files_max - as many descriptors as the hard limit allows */
__attribute__((unused)) static void files_max(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

/** print_self_cpu - " cpu=SECONDS" used by this process, to be taken off the whole tree's */
__attribute__((unused)) static void print_self_cpu(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	printf(" cpu=%.3f", (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
				    (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6);
}

__attribute__((unused)) static unsigned arg_unsigned(const char *s)
{
	char *end;
	unsigned long v = strtoul(s, &end, 10);

	if (*s == '\0' || *end != '\0' || v > 1000000000UL) {
		errno = EINVAL;
		fail("number %s", s);
	}
	return (unsigned)v;
}

#endif
