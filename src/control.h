/* SPDX-License-Identifier: MIT */
/*
 * control: how a running weir is asked.
 *
 * `weir run` listens on $XDG_RUNTIME_DIR/weir/PID.sock, without that variable
 * on /tmp/weir-UID/PID.sock; directory mode 0700, socket 0600, and each peer's
 * credentials are checked as well: the same user, or root. `weir up` listens on
 * control.sock in its runtime directory, mode 0666: anybody may ask, and each
 * request is judged by who does. A request is one line, the answer is text
 * until end of file; it may come later, or be a stream of lines that has no end. Sockets of
 * instances that died are swept by any later start.
 */
#ifndef WEIR_CONTROL_H
#define WEIR_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define CONTROL_PATH_MAX 108
#define CONTROL_FDS_MAX	 33 /* listener and clients */

struct control;

#define CONTROL_SHARED	   "control.sock" /* of `weir up`, in its runtime directory */
#define CONTROL_SHARED_DIR "/run/weir"

/**
 * struct control_peer - who asks, as the kernel says
 * @full: root, the user whose instance it is, or a member of the group that may control: sees
 *	everything; others see what is their own
 * @client: for control_finish()
 */
struct control_peer {
	uid_t uid;
	bool full;
	uint32_t client;
};

enum control_said {
	CONTROL_ANSWERED, /* with what was written */
	CONTROL_LATER,	  /* by control_finish(), or never, when the client goes first */
	CONTROL_STREAM,	  /* by each control_publish() from now on */
};

typedef enum control_said control_answer_fn(void *ctx, const struct control_peer *who,
					    const char *request, FILE *out);

/** control_path - where instance @pid of user @uid listens; 0 or -ENAMETOOLONG */
int control_path(pid_t pid, uid_t uid, char path[CONTROL_PATH_MAX]);
/** control_open - sweep stale sockets and listen; 0 or -errno */
int control_open(struct control **out);
/**
 * control_open_shared - listen on @path for everybody
 * @group: whose members get struct control_peer.full; (gid_t)-1: nobody but root
 *
 * What is left at @path is replaced: the runtime directory's lock says that nobody listens.
 */
int control_open_shared(const char *path, gid_t group, struct control **out);
/** control_remove - remove the socket of an instance that was killed, by its path */
void control_remove(const char *path);
/** control_close - stop listening and remove the socket; @c may be NULL */
void control_close(struct control *c);
/**
 * control_pollfds - what to poll; returns how many of @fds (CONTROL_FDS_MAX) were filled
 *
 * The listener is not among them while descriptors are short: who waits in its queue would
 * wake the poll for ever.
 */
int control_pollfds(const struct control *c, struct pollfd *fds);
/** control_retry_at - when to poll again all the same (clock_mono_ns()), 0 = never; @c may be NULL
 */
uint64_t control_retry_at(const struct control *c);
/**
 * control_serve - accept, read and answer whatever is ready, without blocking
 * @answer: writes the reply to @request to @out; an unknown request is its business
 */
void control_serve(struct control *c, const struct pollfd *fds, int n, control_answer_fn *answer,
		   void *ctx);

/** control_finish - the answer to a request that was to be answered later; it may be gone */
void control_finish(struct control *c, uint32_t client, const char *text);
/** control_streams - does anybody read what is published? */
bool control_streams(const struct control *c);
/**
 * control_publish - @line to all streams whose peer may see what belongs to @uid
 *
 * Never blocks: a stream that does not read loses lines, and is told how many.
 */
void control_publish(struct control *c, uid_t uid, const char *line);

/* --- the other end ------------------------------------------------------------- */

/**
 * control_ask - send @request to an instance and copy its answer to @out
 * @instance: a pid, or 0: the only one of this user, or the host's own (`weir up`)
 *
 * Returns 0, or -errno with one line in @err: none runs, several do (named), refused.
 */
int control_ask(pid_t instance, const char *request, FILE *out, char *err, size_t errsize);
/** control_ask_long - the same of a request whose answer may take a while, or has no end (@ms -1)
 */
int control_ask_long(pid_t instance, const char *request, FILE *out, int ms, char *err,
		     size_t errsize);
/** control_ask_at - the same of the instance that listens on @path */
int control_ask_at(const char *path, const char *request, FILE *out, char *err, size_t errsize);

#endif
