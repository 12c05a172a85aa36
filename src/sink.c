/* SPDX-License-Identifier: MIT */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

#define QUEUE_MAX (8u << 20) /* about 8,000 flows while nobody reads */
#define STALL_MS  5000	     /* at the end: a reader that takes nothing for so long takes no more */

static void sink_init(struct sink *s)
{
	*s = (struct sink){.fd = -1};
}

static int open_file(const char *path)
{
	int fd =
		open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);

	return fd < 0 ? -errno : fd;
}

int sink_file(struct sink *s, const char *path)
{
	int fd = open_file(path);

	sink_init(s);
	if (fd >= 0)
		s->fd = fd;
	return fd < 0 ? fd : 0;
}

int sink_reopen(struct sink *s, const char *path)
{
	int fd = s->partial ? -EAGAIN : open_file(path); /* a line stays in one file */

	if (fd < 0)
		return fd;
	close(s->fd);
	s->fd = fd;
	s->torn = false;
	return 0;
}

int sink_fd(struct sink *s, int fd)
{
	char path[32];
	struct stat st;

	sink_init(s);
	if (fstat(fd, &st))
		return -errno;
	s->is_socket = S_ISSOCK(st.st_mode);
	if (!s->is_socket && !S_ISREG(st.st_mode)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		s->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	}
	if (s->fd >= 0)
		return 0;
	/* a file keeps the offset it shares with others: opened anew we'd overwrite each other */
	s->polled = !s->is_socket && !S_ISREG(st.st_mode);
	s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return s->fd < 0 ? -errno : 0;
}

/* write_quietly - a reader that has gone is EPIPE, not SIGPIPE, whatever the process's choice */
static ssize_t write_quietly(int fd, const char *p, size_t len)
{
	static const struct timespec at_once;
	sigset_t pipe_only, before, pending;
	ssize_t n;
	int err;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigpending(&pending);
	sigprocmask(SIG_BLOCK, &pipe_only, &before);
	n = write(fd, p, len);
	err = errno;
	if (n < 0 && err == EPIPE && !sigismember(&pending, SIGPIPE))
		sigtimedwait(&pipe_only, NULL, &at_once);
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = err;
	return n;
}

/* try_write - bytes written, or -errno; -EAGAIN: not now */
static ssize_t try_write(struct sink *s, const char *p, size_t len)
{
	struct pollfd pfd = {.fd = s->fd, .events = POLLOUT};
	ssize_t n;

	if (s->polled) {
		if (poll(&pfd, 1, 0) <= 0)
			return -EAGAIN;
		len = MIN(len, PIPE_BUF); /* what a writable pipe takes without blocking */
	}
	do
		n = s->is_socket ? send(s->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL)
				 : write_quietly(s->fd, p, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* end_torn - a line that was cut short must not run into the next one; 0 or -errno */
static int end_torn(struct sink *s)
{
	ssize_t n = s->torn ? try_write(s, "\n", 1) : 1;

	if (n == 1)
		s->torn = false;
	return n < 0 ? (int)n : 0;
}

static void drop_line(struct sink *s, size_t len)
{
	s->lost++;
	s->torn |= s->partial;
	s->partial = false;
	s->head += len;
	s->len -= len;
}

size_t sink_flush(struct sink *s)
{
	while (s->len) {
		char *line = s->queue + s->head;
		char *end = memchr(line, '\n', s->len);
		size_t len = end ? (size_t)(end - line) + 1 : s->len;
		ssize_t n = end_torn(s);

		if (!n)
			n = try_write(s, line, len);
		if (n == -EAGAIN)
			break;
		if (n < 0) { /* a full disk, a reader that has gone */
			drop_line(s, len);
			continue;
		}
		s->partial = (size_t)n < len;
		s->head += (size_t)n;
		s->len -= (size_t)n;
	}
	if (!s->len)
		s->head = 0;
	return s->len;
}

void sink_finish(struct sink *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLOUT};
	size_t left = sink_flush(s), before = 0;

	while (left && left != before && poll(&p, 1, STALL_MS) > 0) {
		before = left;
		left = sink_flush(s);
	}
	while (s->len)
		drop_line(s, (size_t)((char *)memchr(s->queue + s->head, '\n', s->len) -
				      (s->queue + s->head)) +
				     1);
}

/* make_room - for @more bytes at the end of the queue; false at the bound or out of memory */
static bool make_room(struct sink *s, size_t more)
{
	size_t room = s->room ? s->room : 16384;
	char *q;

	if (s->len + more > QUEUE_MAX)
		return false;
	if (s->head + s->len + more <= s->room)
		return true;
	if (s->len)
		memmove(s->queue, s->queue + s->head, s->len);
	s->head = 0;
	while (room < s->len + more)
		room *= 2;
	if (room == s->room)
		return true;
	q = realloc(s->queue, room);
	if (!q)
		return s->len + more <= s->room;
	s->queue = q;
	s->room = room;
	return true;
}

void sink_line(struct sink *s, const char *line)
{
	size_t len = strlen(line);

	if (s->fd < 0)
		return;
	if (!make_room(s, len + 1)) {
		s->lost++;
		return;
	}
	memcpy(s->queue + s->head + s->len, line, len);
	s->queue[s->head + s->len + len] = '\n';
	s->len += len + 1;
	sink_flush(s);
}

void sink_close(struct sink *s)
{
	close_fd(&s->fd);
	free(s->queue);
	s->queue = NULL;
	s->head = s->len = s->room = 0;
}
