/* SPDX-License-Identifier: MIT */
/*
 * echo: the server of rr, crr and idle: sends back what comes, closes after the
 * peer. Listens on PORTS consecutive ports, on every address; one epoll loop.
 *
 *	echo PORT [PORTS]
 */
#include "bench.h"

#include <sys/epoll.h>

#define EVENTS 256

static void watch(int ep, int fd, uint32_t events, int listening)
{
	struct epoll_event ev = {.events = events,
				 .data.u64 = (uint64_t)fd << 1 | (uint64_t)listening};

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) != 0)
		fail("epoll_ctl");
}

static void accept_some(int ep, int listener)
{
	int one = 1, fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		watch(ep, fd, EPOLLIN, 0);
	}
}

static void answer(int fd)
{
	char buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || write(fd, buf, (size_t)n) != n)
		close(fd);
}

int main(int argc, char **argv)
{
	struct epoll_event ev[EVENTS];
	unsigned ports = argc > 2 ? arg_unsigned(argv[2]) : 1;
	int n, ep = epoll_create1(EPOLL_CLOEXEC);

	if (argc < 2 || argc > 3)
		return 2;
	files_max();
	for (unsigned i = 0; i < ports; i++)
		watch(ep, server_socket(SOCK_STREAM | SOCK_NONBLOCK, arg_unsigned(argv[1]) + i),
		      EPOLLIN, 1);
	while ((n = epoll_wait(ep, ev, EVENTS, -1)) >= 0 || errno == EINTR) {
		for (int i = 0; i < n; i++) {
			int fd = (int)(ev[i].data.u64 >> 1);

			if (ev[i].data.u64 & 1)
				accept_some(ep, fd);
			else
				answer(fd);
		}
	}
	fail("epoll_wait");
}
