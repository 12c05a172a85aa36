/* SPDX-License-Identifier: MIT */
/*
 * Messages wait in order when the supervisor is slow, and are bounded.
 *
 * LINK: src/outbox.o src/ipc.o src/base/util.o src/base/log.o src/base/clock.o src/base/addr.o
 */
#include "outbox.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/tap.h"

static void say(struct outbox *o, unsigned n)
{
	struct ipc_msg m = {.type = IPC_NOTICE};

	m.count = (uint32_t)snprintf(m.text, sizeof(m.text), "message %u", n);
	outbox_send(o, &m);
}

/** hear - reads all there is; returns the next number expected, 0 on disorder */
static unsigned hear(int fd, unsigned next)
{
	struct ipc_msg m;
	char want[64];

	while (ipc_recv(fd, &m) == 1) {
		snprintf(want, sizeof(want), "message %u", next++);
		if (strcmp(m.text, want))
			return 0;
	}
	return next;
}

int main(void)
{
	struct outbox *o;
	unsigned next = 1;
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
		return 1;
	o = outbox_new(fd[0]);
	for (unsigned i = 1; i <= 5000; i++)
		say(o, i);
	tap_ok(!outbox_empty(o), "a slow reader makes messages wait");
	while (!outbox_empty(o) && next) {
		next = hear(fd[1], next);
		outbox_flush(o);
	}
	next = hear(fd[1], next);
	tap_is(next, 5001, "all arrive, in order");
	tap_is(outbox_lost(o), 0, "none is lost");

	struct ipc_msg big = {.type = IPC_FLOW_END, .count = 2};

	for (unsigned i = 0; i < 2 * OUTBOX_MAX / sizeof(big.flow); i++)
		outbox_send(o, &big);
	tap_ok(outbox_lost(o) > 0, "over the bound messages are lost, and counted");
	close(fd[1]);
	outbox_finish(o);
	tap_ok(outbox_empty(o), "with the reader gone nothing waits for ever");
	outbox_free(o);
	close(fd[0]);
	return tap_done();
}
