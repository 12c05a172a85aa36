/* SPDX-License-Identifier: MIT */
/*
 * sink: lines to a descriptor that may be slow. Writing never blocks; what has to
 * wait is kept in memory up to a bound, what exceeds it is counted as lost.
 */
#ifndef WEIR_SINK_H
#define WEIR_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sink {
	int fd; /* owned; -1 = none */
	bool is_socket;
	bool polled; /* shares its file description with others: ask before each write */
	char *queue; /* owned */
	size_t head, len, room;
	bool partial; /* the first line in the queue is the rest of one */
	bool torn;    /* what was written last is a line without its end */
	uint64_t lost;
};

/** sink_file - append to a file or FIFO; 0 or -errno */
int sink_file(struct sink *s, const char *path);
/** sink_reopen - go on with @path; what waits goes there; 0, or -errno: nothing has changed */
int sink_reopen(struct sink *s, const char *path);
/** sink_fd - @fd stays the caller's; opened anew, so that O_NONBLOCK is ours alone; 0 or -errno */
int sink_fd(struct sink *s, int fd);
/** sink_line - @line without its newline; one write(2) */
void sink_line(struct sink *s, const char *line);
/** sink_flush - returns the bytes that still wait */
size_t sink_flush(struct sink *s);
/** sink_finish - no more will come: wait for a reader as long as it reads; the rest is lost */
void sink_finish(struct sink *s);
void sink_close(struct sink *s);

#endif
