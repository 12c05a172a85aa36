/* SPDX-License-Identifier: MIT */
/*
 * Messages: one write(2) each, never longer than the buffer, and no more than one a second of a
 * kind. LINK: src/base/log.o src/base/util.o
 */
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>

#include "base/clock.h"
#include "../lib/tap.h"

static void limit(void)
{
	struct log_limit l = {0};
	uint64_t held = 99, t = 5 * NSEC_PER_SEC;
	unsigned passed = 0;

	tap_ok(log_limit_pass(&l, t, &held) && held == 0, "the first passes");
	for (unsigned i = 1; i <= 999; i++)
		passed += log_limit_pass(&l, t + i * NSEC_PER_MSEC, &held);
	tap_is(passed, 0, "within a second no other does");
	tap_ok(log_limit_pass(&l, t + NSEC_PER_SEC, &held) && held == 999,
	       "the next one says how many were held back");
	tap_ok(!log_limit_pass(&l, t + NSEC_PER_SEC + 1, &held), "and begins a new second");
	tap_ok(log_limit_pass(&l, t + 9 * NSEC_PER_SEC, &held) && held == 1,
	       "the count begins anew");
}

/** said - what @n bytes of text make stderr receive, message by message; returns how many */
static int said(size_t n, char *out, size_t size, ssize_t *len)
{
	char *text = malloc(n + 1);
	int pair[2], old = dup(2), count = 0;
	ssize_t got;

	memset(text, 'x', n);
	text[n] = '\0';
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair))
		abort();
	dup2(pair[1], 2);
	log_note("%s", text);
	dup2(old, 2);
	while ((got = recv(pair[0], out, size, 0)) > 0) {
		*len = got;
		count++;
	}
	close(pair[0]);
	close(pair[1]);
	close(old);
	free(text);
	return count;
}

static void lines(void)
{
	char out[8192];
	ssize_t len = 0;

	tap_is(said(20, out, sizeof(out), &len), 1, "a message is one write");
	tap_ok(len > 20 && out[len - 1] == '\n' && !memcmp(out, "weir: ", 6), "prefix and newline");
	tap_is(said(6000, out, sizeof(out), &len), 1, "also one that is too long");
	tap_ok(len < 6000 && out[len - 1] == '\n' && !memchr(out, 0, (size_t)len), "which is cut");
}

static void levels(void)
{
	char out[64];
	int pair[2], old = dup(2);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair))
		abort();
	dup2(pair[1], 2);
	log_debug("not wanted");
	tap_ok(recv(pair[0], out, sizeof(out), 0) < 0, "debug messages wait to be asked for");
	errno = ENOTTY;
	log_warn("wanted");
	tap_is(errno, ENOTTY, "errno survives");
	dup2(old, 2);
	tap_ok(recv(pair[0], out, sizeof(out), 0) > 6, "warnings do not");
	close(pair[0]);
	close(pair[1]);
	close(old);
}

int main(void)
{
	limit();
	lines();
	levels();
	return tap_done();
}
