/* SPDX-License-Identifier: MIT */
#include "starter.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fds.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

#define PROGRAMS_MAX 64
#define WORDS_MAX    64
#define GRACE_MS     1000 /* between the end of all and SIGKILL */

enum what { RUN, STOP, ENDED };

/** struct message - between supervisor and starter; RUN brings a descriptor along */
struct message {
	uint32_t what, tag;
	int32_t status;
	uint32_t len;
	char args[STARTER_ARGS_MAX];
};

struct starter {
	pid_t pid;
	int fd;
};

#define HEAD offsetof(struct message, args)

/* --- messages ----------------------------------------------------------------------------- */

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int))];
};

static int send_message(int sock, const struct message *m, int fd)
{
	struct iovec iov = {(void *)(uintptr_t)m, HEAD + m->len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	union control u = {.room = {0}};

	if (fd >= 0) {
		mh.msg_control = u.room;
		mh.msg_controllen = sizeof(u.room);
		u.align.cmsg_level = SOL_SOCKET;
		u.align.cmsg_type = SCM_RIGHTS;
		u.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&u.align), &fd, sizeof(fd));
	}
	return sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/** recv_message - 1, 0 at the end, or -errno; *@fd is owned, or -1 */
static int recv_message(int sock, struct message *m, int *fd)
{
	struct iovec iov = {m, sizeof(*m)};
	union control u;
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = u.room,
		.msg_controllen = sizeof(u.room),
	};
	ssize_t n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL;

	*fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	if (n < 0)
		return -errno;
	if (n && ((size_t)n < HEAD || m->len > sizeof(m->args) || (size_t)n != HEAD + m->len)) {
		close_fd(fd);
		return -EBADMSG;
	}
	return n > 0;
}

/* --- in the starter ------------------------------------------------------------------------ */

struct program {
	pid_t pid; /* 0: a free place */
	uint32_t tag;
};

struct here {
	int sock, sig;
	sigset_t watched;
	struct program programs[PROGRAMS_MAX];
};

static struct program *find(struct here *h, pid_t pid)
{
	for (size_t i = 0; i < PROGRAMS_MAX; i++)
		if (h->programs[i].pid == pid)
			return &h->programs[i];
	return NULL;
}

static _Noreturn void become(const struct here *h, struct message *m, int fd)
{
	char *argv[WORDS_MAX + 1];
	char *at = m->args, *end = m->args + m->len;
	int n = 0;

	for (; at < end && n < WORDS_MAX; at += strlen(at) + 1)
		argv[n++] = at;
	argv[n] = NULL;
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(fd, 0) < 0 || dup2(fd, 1) < 0)
		_exit(126);
	fds_close_except(3, NULL, 0);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &h->watched, NULL);
	execvp(argv[0], argv);
	log_error("%s: %s", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void tell_end(const struct here *h, uint32_t tag, int status)
{
	const struct message m = {.what = ENDED, .tag = tag, .status = status};

	send_message(h->sock, &m, -1);
}

static void run(struct here *h, struct message *m, int fd)
{
	struct program *p = find(h, 0);
	const bool good = p && m->len && !m->args[m->len - 1] && m->args[0] && fd >= 0;

	p = good ? p : NULL;
	if (p) {
		p->tag = m->tag;
		p->pid = fork();
		if (!p->pid)
			become(h, m, fd);
	}
	if (!p || p->pid < 0) {
		if (p)
			p->pid = 0;
		tell_end(h, m->tag, -1);
	}
	close_fd(&fd);
}

static void reap(struct here *h)
{
	struct signalfd_siginfo si;
	int status;
	pid_t pid;

	while (read(h->sig, &si, sizeof(si)) == (ssize_t)sizeof(si))
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct program *p = find(h, pid);

		if (!p)
			continue;
		p->pid = 0;
		tell_end(h, p->tag, status);
	}
}

static void stop(struct here *h, uint32_t tag)
{
	for (size_t i = 0; i < PROGRAMS_MAX; i++)
		if (h->programs[i].pid && h->programs[i].tag == tag)
			kill(h->programs[i].pid, SIGTERM);
}

/** end_all - their input has ended; whoever does not end by that is told so, then killed */
static void end_all(struct here *h)
{
	for (size_t i = 0; i < PROGRAMS_MAX; i++)
		if (h->programs[i].pid)
			kill(h->programs[i].pid, SIGTERM);
	for (int ms = 0; ms < GRACE_MS; ms += 10) {
		pid_t pid;

		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid < 0)
			break;
		poll(NULL, 0, 10);
	}
}

static _Noreturn void serve(struct here *h)
{
	struct message m = {.what = ENDED};
	int rc = 1, fd;

	while (rc > 0 || rc == -EAGAIN) {
		struct pollfd p[] = {{.fd = h->sock, .events = POLLIN},
				     {.fd = h->sig, .events = POLLIN}};

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents)
			reap(h);
		rc = recv_message(h->sock, &m, &fd);
		if (rc > 0 && m.what == RUN)
			run(h, &m, fd);
		else
			close_fd(&fd);
		if (rc > 0 && m.what == STOP)
			stop(h, m.tag);
	}
	end_all(h);
	_exit(0);
}

static _Noreturn void begin(int sock, const struct isolate_user *user)
{
	static struct here h; /* pages of the supervisor's are not touched by this */
	int keep[] = {2, sock};

	setsid();
	fds_null(0);
	fds_null(1);
	fds_close_except(3, keep, ARRAY_SIZE(keep));
	sigfillset(&h.watched);
	sigprocmask(SIG_UNBLOCK, &h.watched, NULL);
	sigemptyset(&h.watched);
	sigaddset(&h.watched, SIGCHLD);
	sigprocmask(SIG_BLOCK, &h.watched, NULL);
	h.sock = sock;
	h.sig = signalfd(-1, &h.watched, SFD_CLOEXEC | SFD_NONBLOCK);
	if (isolate_become(user) || h.sig < 0)
		_exit(1);
	serve(&h);
}

/* --- in the supervisor --------------------------------------------------------------------------
 */

int starter_new(struct starter **out, const struct isolate_user *user)
{
	struct starter *s = malloc(sizeof(*s));
	int pair[2], rc = 0;

	if (!s)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		free(s);
		return -errno;
	}
	s->pid = fork();
	if (!s->pid)
		begin(pair[1], user);
	if (s->pid < 0)
		rc = -errno;
	close(pair[1]);
	s->fd = pair[0];
	if (rc) {
		close(s->fd);
		free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void starter_free(struct starter *s)
{
	if (!s)
		return;
	close_fd(&s->fd);
	for (int ms = 0; ms < 2 * GRACE_MS && waitpid(s->pid, NULL, WNOHANG) == 0; ms += 10)
		poll(NULL, 0, 10);
	free(s);
}

int starter_run(struct starter *s, uint32_t tag, const char *args, size_t len, int fd)
{
	struct message m = {.what = RUN, .tag = tag, .len = (uint32_t)len};

	if (len > sizeof(m.args))
		return -E2BIG;
	memcpy(m.args, args, len);
	return send_message(s->fd, &m, fd);
}

void starter_stop(struct starter *s, uint32_t tag)
{
	const struct message m = {.what = STOP, .tag = tag};

	send_message(s->fd, &m, -1);
}

int starter_ended(struct starter *s, uint32_t *tag, int *status)
{
	struct message m = {.what = ENDED};
	int fd, rc = recv_message(s->fd, &m, &fd);

	close_fd(&fd);
	if (rc == -EAGAIN)
		return 0;
	if (rc <= 0) {
		close_fd(&s->fd); /* -1 is not polled */
		return rc ? rc : -EPIPE;
	}
	*tag = m.tag;
	*status = m.status;
	return 1;
}

int starter_fd(const struct starter *s)
{
	return s->fd;
}
