/* SPDX-License-Identifier: MIT */
/*
 * watcher: waits for the supervisor's end, and does then what that no longer can.
 *
 * Nothing that it needs later may depend on the supervisor's good order: it waits on a pidfd, as
 * a socket could be held open by a process that should have closed it; it kills by pidfd, as
 * numbers are given to strangers; it reads the journal from its file, as memory is as old as
 * the fork. The goodbye lies in the socket's queue before the supervisor can end, so it is
 * looked for once more when that has ended.
 *
 * It keeps CAP_NET_ADMIN, which is all that rules, routes, nftables and /proc/sys/net ask for,
 * and CAP_KILL, as workers are another user's. It blocks every signal: a terminal's Ctrl-C and
 * a service manager's SIGTERM are meant for the supervisor, whose end it will see.
 */
#include "watcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cap-ng.h>

#include "fds.h"
#include "runlock.h"
#include "tosyslog.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

#define PIDS_MAX  256
#define READY_MS  5000
#define END_MS	  3000		 /* for what was killed to be gone, with the device it holds */
#define QUICK_NS  (NSEC_PER_SEC) /* a watcher that lives shorter than this ... */
#define QUICK_MAX 6		 /* ... so many times in a row is not started again */

enum word { READY = 'r', WATCH = 'w', GOODBYE = 'g' };

/** struct pidfds - processes to end; owned descriptors */
struct pidfds {
	int fd[PIDS_MAX];
	size_t n;
};

struct watcher {
	const struct journal *journal; /* borrowed */
	pid_t pid;
	int pidfd, sock; /* -1: not running */
	uint64_t since;
	unsigned quick;
	struct pidfds watched;
};

/* --- processes ---------------------------------------------------------------------------------
 */

static int pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */

	return fd < 0 ? -errno : fd;
}

/** ended_within - has the process of @pidfd ended, or does it in @ms? */
static bool ended_within(int pidfd, int ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return pidfd < 0 || poll(&p, 1, ms) > 0;
}

/** pidfds_add - @fd is the list's now; what has ended makes room. -ENOSPC closes it */
static int pidfds_add(struct pidfds *l, int fd)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (ended_within(l->fd[i], 0))
			close(l->fd[i]);
		else
			l->fd[n++] = l->fd[i];
	}
	l->n = n;
	if (n == PIDS_MAX) {
		close(fd);
		return -ENOSPC;
	}
	l->fd[l->n++] = fd;
	return 0;
}

static void kill_all(const struct pidfds *l)
{
	const uint64_t until = clock_mono_ns() + END_MS * NSEC_PER_MSEC;

	for (size_t i = 0; i < l->n; i++)
		syscall(SYS_pidfd_send_signal, l->fd[i], SIGKILL, NULL, 0);
	for (size_t i = 0; i < l->n; i++) {
		const uint64_t now = clock_mono_ns();

		ended_within(l->fd[i], now < until ? (int)((until - now) / NSEC_PER_MSEC) : 0);
	}
}

/* --- words between the two
 * ------------------------------------------------------------------------- */

static int tell(int sock, enum word word, int fd)
{
	char byte = (char)word;
	struct iovec iov = {&byte, 1};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} u;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (fd >= 0) {
		memset(&u, 0, sizeof(u));
		msg.msg_control = u.buf;
		msg.msg_controllen = sizeof(u.buf);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/** hear - the next word, 0 at the end, -EAGAIN; *@fd: what came with it, -1 = nothing */
static int hear(int sock, int *fd)
{
	char byte;
	struct iovec iov = {&byte, 1};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} u;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = u.buf,
			     .msg_controllen = sizeof(u.buf)};
	ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c;

	*fd = -1;
	if (n <= 0)
		return n < 0 ? -errno : 0;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return byte;
}

/* --- the watcher's side: what it is
 * ----------------------------------------------------------------- */

/** struct watching - the watcher's own state, after the fork */
struct watching {
	char path[256];
	int sock, supervisor, lock_fd;
	struct pidfds ends; /* with the supervisor */
};

/** keep_capabilities - of those that we have: see the head of this file */
static int keep_capabilities(void)
{
	static const unsigned needed[] = {CAP_NET_ADMIN, CAP_KILL};
	bool have[ARRAY_SIZE(needed)];

	if (capng_get_caps_process())
		return -EPERM;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		have[i] = capng_have_capability(CAPNG_PERMITTED, needed[i]);
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (have[i])
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, needed[i]);
	}
	/* The bounding set needs CAP_SETPCAP; no_new_privs makes up for it. */
	capng_apply(CAPNG_SELECT_BOUNDS);
	if (capng_apply(CAPNG_SELECT_CAPS))
		return -EPERM;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

/** avoid_oom - what frees no memory should not be killed for it; only root may ask so */
static void avoid_oom(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "-1000", 5) < 0)
		log_debug("the watcher keeps its place among those that memory is taken from");
	close(fd);
}

static int become_watcher(const struct watching *w)
{
	const int keep[] = {w->sock, w->supervisor, w->lock_fd};
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "weir-watcher");
	if (setsid() < 0 || chdir("/"))
		return -errno;
	for (int fd = 0; fd < 2; fd++) {
		if (fd != w->sock && fd != w->supervisor && fd != w->lock_fd)
			fds_null(fd);
	}
	fds_close_except(3, keep, ARRAY_SIZE(keep));
	avoid_oom();
	return keep_capabilities();
}

/* --- the watcher's side: what it does
 * ---------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_error("%s", line);
	tosyslog_critical(line);
}

static void say_step(void *ctx, const char *line)
{
	(void)ctx;
	log_debug("%s", line);
}

static void say_result(const struct watching *w, const struct journal *j, int rc)
{
	if (rc)
		say("the supervisor was killed, and not everything could be undone (%s): "
		    "what is left stands in %s; `weir down` tries again",
		    strerror(-rc), w->path);
	else if (journal_has_guard(j))
		say("the supervisor was killed: what it changed is undone, but the selected stay "
		    "cut off until `weir down` or the next `weir up`");
	else
		say("the supervisor was killed: what it changed is undone");
}

static void clean_up(struct watching *w)
{
	struct journal *j;
	struct rtnl *nl = NULL;
	struct nft *nft = NULL;
	char err[300] = "";
	int rc;

	kill_all(&w->ends);
	rc = journal_load_locked(w->path, w->lock_fd, &j, err, sizeof(err));
	if (rc == -ENOENT)
		return;
	if (rc) {
		say("the supervisor was killed, and what it changed stays: %s", err);
		return;
	}
	/* Without one of them its changes are reported as not undone. */
	if (rtnl_open(&nl))
		nl = NULL;
	if (nft_open(&nft))
		nft = NULL;
	rc = journal_undo(j, nl, nft, UNDO_KEEP_GUARD, say_step, NULL);
	say_result(w, j, rc);
	journal_close(j);
	if (nft)
		nft_close(nft);
	if (nl)
		rtnl_close(nl);
}

/** listen_to - all that was said; false at a goodbye */
static bool listen_to(struct watching *w)
{
	int word, fd;

	while (w->sock >= 0 && (word = hear(w->sock, &fd)) != -EAGAIN) {
		if (word == GOODBYE)
			return false;
		if (word == WATCH && fd >= 0)
			pidfds_add(&w->ends, fd);
		else if (word <= 0 && word != -EINTR)
			close_fd(&w->sock);
	}
	return true;
}

static _Noreturn void watch(struct watching *w)
{
	for (;;) {
		struct pollfd p[] = {
			{.fd = w->supervisor, .events = POLLIN},
			{.fd = w->sock, .events = POLLIN},
		};

		if (poll(p, ARRAY_SIZE(p), -1) < 0)
			continue;
		if (!listen_to(w))
			_exit(0);
		if (p[0].revents) {
			clean_up(w);
			_exit(0);
		}
	}
}

static _Noreturn void watcher_main(const char *path, int lock_fd, int sock, int supervisor)
{
	static struct watching w;

	w = (struct watching){.sock = sock, .supervisor = supervisor, .lock_fd = lock_fd};
	str_copy(w.path, sizeof(w.path), path);
	if (become_watcher(&w) || tell(w.sock, READY, -1))
		_exit(1);
	watch(&w);
}

/* --- the supervisor's side
 * ---------------------------------------------------------------------------- */

/** wait_ready - the child has said that it is; 0, -ETIMEDOUT, -ECHILD: it ended first */
static int wait_ready(int sock)
{
	const uint64_t until = clock_mono_ns() + READY_MS * NSEC_PER_MSEC;
	struct pollfd p = {.fd = sock, .events = POLLIN};
	uint64_t now;
	int fd;

	while ((now = clock_mono_ns()) < until) {
		if (poll(&p, 1, (int)((until - now) / NSEC_PER_MSEC) + 1) > 0)
			return hear(sock, &fd) == READY ? 0 : -ECHILD;
	}
	return -ETIMEDOUT;
}

/** let_go - of a watcher that has ended, or shall */
static void let_go(struct watcher *w)
{
	siginfo_t si;

	if (w->pidfd >= 0 && !ended_within(w->pidfd, 0))
		syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
	/* By its pidfd: the supervisor's loop may have reaped it, and the number be another's. */
	if (w->pidfd >= 0)
		waitid(P_PIDFD, (id_t)w->pidfd, &si, WEXITED);
	close_fd(&w->pidfd);
	close_fd(&w->sock);
	w->pid = 0;
}

static int launch(struct watcher *w)
{
	const int lock_fd = journal_lock_fd(w->journal);
	int pair[2], self = pidfd_of(getpid()), rc = 0;

	if (self < 0)
		return self;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		rc = -errno;
		close(self);
		return rc;
	}
	w->pid = fork();
	if (w->pid == 0)
		watcher_main(journal_path_of(w->journal), lock_fd, pair[1], self);
	if (w->pid < 0)
		rc = -errno;
	close(self);
	close(pair[1]);
	w->sock = pair[0];
	if (!rc && (w->pidfd = pidfd_of(w->pid)) < 0)
		rc = w->pidfd;
	if (!rc)
		rc = wait_ready(w->sock);
	for (size_t i = 0; !rc && i < w->watched.n; i++)
		rc = tell(w->sock, WATCH, w->watched.fd[i]);
	w->since = clock_mono_ns();
	if (rc)
		let_go(w);
	return rc;
}

int watcher_start(struct watcher **out, const struct journal *j)
{
	struct watcher *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return -ENOMEM;
	w->journal = j;
	w->pidfd = w->sock = -1;
	rc = runlock_announce(journal_lock_fd(j));
	if (!rc)
		rc = launch(w);
	if (rc)
		free(w);
	else
		*out = w;
	return rc;
}

pid_t watcher_pid(const struct watcher *w)
{
	return w ? w->pid : 0;
}

int watcher_fd(const struct watcher *w)
{
	return w ? w->pidfd : -1;
}

bool watcher_alive(const struct watcher *w)
{
	return w && w->pidfd >= 0 && !ended_within(w->pidfd, 0);
}

int watcher_watch(struct watcher *w, pid_t pid)
{
	const int fd = pidfd_of(pid);
	int rc = fd < 0 ? fd : pidfds_add(&w->watched, fd);

	if (rc || !watcher_alive(w)) /* a new one will be told */
		return rc;
	return tell(w->sock, WATCH, fd);
}

int watcher_restart(struct watcher *w)
{
	w->quick = clock_mono_ns() - w->since < QUICK_NS ? w->quick + 1 : 0;
	let_go(w);
	return w->quick >= QUICK_MAX ? -ELOOP : launch(w);
}

void watcher_stop(struct watcher *w)
{
	if (!w)
		return;
	if (watcher_alive(w) && !tell(w->sock, GOODBYE, -1))
		ended_within(w->pidfd, END_MS);
	let_go(w);
	for (size_t i = 0; i < w->watched.n; i++)
		close(w->watched.fd[i]);
	free(w);
}
