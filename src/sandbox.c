/* SPDX-License-Identifier: MIT */
#include "sandbox.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cap-ng.h>

#include "keeper.h"

#include "base/util.h"

/** can_change_user - not in a user namespace that has one user only, as weir's own */
static bool can_change_user(void)
{
	char text[16] = "";
	FILE *f = fopen("/proc/self/setgroups", "re");

	if (!f)
		return true;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	return strncmp(text, "deny", 4) != 0;
}

bool sandbox_privileged(void)
{
	static const unsigned needed[] = {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SETUID, CAP_SETGID};

	if (geteuid())
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (!capng_have_capability(CAPNG_EFFECTIVE, needed[i]))
			return false;
	}
	return can_change_user();
}

/** fds_of - the descriptors that came with @msg, owned by the caller; returns how many */
static size_t fds_of(struct msghdr *msg, int fds[KEEPER_FDS_MAX])
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), (size_t)KEEPER_FDS_MAX);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	}
	return n;
}

static int lost_fds(int *fds, size_t n)
{
	while (n)
		close(fds[--n]);
	return -EPROTO;
}

static void take_dns_fds(struct sandbox_dns *dns, unsigned n, const int *fds)
{
	for (unsigned i = 0; i < n; i++) {
		dns[i].udp_fd = *fds++;
		dns[i].tcp_fd = *fds++;
	}
}

/** take_fds - hand the descriptors of one message to @s; 0 or -EPROTO (then all are closed) */
static int take_fds(struct sandbox *s, struct msghdr *msg)
{
	int fds[KEEPER_FDS_MAX] = {0};
	size_t n = fds_of(msg, fds);

	if (s->n_dns > SANDBOX_DNS_MAX || n != 3 + 2 * (size_t)s->n_dns) {
		s->n_dns = 0;
		return lost_fds(fds, n);
	}
	s->tun_fd = fds[0];
	s->diag_fd = fds[1];
	s->netns_fd = fds[2];
	take_dns_fds(s->dns, s->n_dns, fds + 3);
	return 0;
}

/** read_ready - wait for SANDBOX_READY or SANDBOX_FAILED */
static int read_ready(struct sandbox *s, char *err, size_t errsize)
{
	const pid_t keeper = s->keeper;
	const int ctl_fd = s->ctl_fd;
	struct keeper_ready ready;
	struct iovec iov = {&ready, sizeof(ready)};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(KEEPER_FDS_MAX * sizeof(int))];
	} u;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = u.buf,
			     .msg_controllen = sizeof(u.buf)};
	ssize_t n;
	int r;

	do {
		n = recvmsg(ctl_fd, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(ready.ev) && ready.ev.type == SANDBOX_FAILED) {
		ready.ev.text[sizeof(ready.ev.text) - 1] = '\0';
		snprintf(err, errsize, "%s", ready.ev.text);
		return ready.ev.status > 0 ? -ready.ev.status : -EPROTO;
	}
	if (n != (ssize_t)sizeof(ready) || ready.ev.type != SANDBOX_READY) {
		snprintf(err, errsize, "the keeper process ended while setting up");
		return -EPROTO;
	}
	*s = ready.sandbox;
	s->keeper = keeper;
	s->ctl_fd = ctl_fd;
	r = take_fds(s, &msg);
	if (r) {
		s->tun_fd = s->diag_fd = s->netns_fd = -1;
		snprintf(err, errsize, "descriptors were lost on the way (too many open files?)");
	}
	return r;
}

/** default_chld - waiting needs SIGCHLD not to be ignored; COMMAND gets it back */
static bool default_chld(void)
{
	struct sigaction sa;

	if (sigaction(SIGCHLD, NULL, &sa) || sa.sa_handler != SIG_IGN)
		return false;
	signal(SIGCHLD, SIG_DFL);
	return true;
}

int sandbox_open(struct sandbox *s, const struct config *cfg, const sigset_t *orig,
		 const struct hostdns_conf *conf, char *err, size_t errsize)
{
	int pair[2], r;
	struct keeper_args args = {
		.cfg = cfg,
		.conf = conf,
		.orig = orig,
		.chld_ignored = default_chld(),
		.userns = !sandbox_privileged(),
		.supervisor = getpid(),
	};

	*s = (struct sandbox){.ctl_fd = -1, .tun_fd = -1, .diag_fd = -1, .netns_fd = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		r = -errno;
		snprintf(err, errsize, "no socket pair: %s", strerror(-r));
		return r;
	}
	s->ctl_fd = pair[0];
	s->keeper = fork();
	if (s->keeper == 0) {
		close(pair[0]);
		args.ctl_fd = pair[1];
		keeper_main(&args);
	}
	r = s->keeper < 0 ? -errno : 0;
	close(pair[1]);
	if (r) {
		snprintf(err, errsize, "no new process: %s", strerror(-r));
		sandbox_close(s);
	}
	return r;
}

int sandbox_ready(struct sandbox *s, char *err, size_t errsize)
{
	int r = read_ready(s, err, errsize);

	if (r)
		sandbox_close(s);
	return r;
}

void sandbox_abort(struct sandbox *s)
{
	if (s->keeper > 0)
		kill(s->keeper, SIGKILL);
	sandbox_close(s);
}

static int order(struct sandbox *s, enum keeper_op op, int signo, pid_t sender)
{
	const struct keeper_order o = {.op = op, .signo = signo, .sender = sender};

	return send(s->ctl_fd, &o, sizeof(o), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int sandbox_start(struct sandbox *s)
{
	return order(s, KEEPER_GO, 0, 0);
}

int sandbox_signal(struct sandbox *s, int signo, pid_t sender)
{
	return order(s, KEEPER_SIGNAL, signo, sender);
}

int sandbox_resolvers(struct sandbox *s, const struct hostdns_conf *conf)
{
	const size_t len = offsetof(struct keeper_resolv, conf.text) + conf->len;
	struct keeper_resolv r = {.order.op = KEEPER_RESOLV, .conf = *conf};

	return send(s->ctl_fd, &r, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int sandbox_continue(struct sandbox *s)
{
	return order(s, KEEPER_CONTINUE, 0, 0);
}

/** take_dns - add new resolvers, whose message is @len long, to the table; 0 or -EPROTO */
static int take_dns(struct sandbox *s, struct keeper_dns *m, size_t len, struct msghdr *msg)
{
	int fds[KEEPER_FDS_MAX] = {0};
	size_t n = fds_of(msg, fds), head = offsetof(struct keeper_dns, dns);

	if (len < head || m->n > SANDBOX_DNS_MAX - s->n_dns ||
	    len != head + m->n * sizeof(m->dns[0]) || n != 2 * (size_t)m->n)
		return lost_fds(fds, n);
	take_dns_fds(m->dns, m->n, fds);
	memcpy(s->dns + s->n_dns, m->dns, m->n * sizeof(m->dns[0]));
	s->n_dns += m->n;
	return 0;
}

int sandbox_event_read(struct sandbox *s, struct sandbox_event *ev)
{
	struct keeper_dns m;
	struct iovec iov = {&m, sizeof(m)};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(KEEPER_FDS_MAX * sizeof(int))];
	} u;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	do { /* a keeper that ended with an order unread: what it said comes after the error */
		msg.msg_control = u.room;
		msg.msg_controllen = sizeof(u.room);
		n = recvmsg(s->ctl_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return errno == EAGAIN ? -EAGAIN : 0;
	if (n < (ssize_t)sizeof(m.ev))
		return 0;
	*ev = m.ev;
	ev->text[sizeof(ev->text) - 1] = '\0';
	if (ev->type == SANDBOX_DNS && take_dns(s, &m, (size_t)n, &msg))
		str_copy(ev->text, sizeof(ev->text), "sockets of a resolver were lost on the way");
	return 1;
}

void sandbox_kill(struct sandbox *s)
{
	/* a keeper that does not read its orders sees the closed socket, or is killed */
	if (s->keeper > 0 && order(s, KEEPER_END, 0, 0))
		kill(s->keeper, SIGKILL);
	if (s->keeper > 0)
		kill(s->keeper, SIGCONT);
}

void sandbox_close(struct sandbox *s)
{
	for (unsigned i = 0; i < s->n_dns; i++) {
		close_fd(&s->dns[i].udp_fd);
		close_fd(&s->dns[i].tcp_fd);
	}
	s->n_dns = 0;
	close_fd(&s->ctl_fd); /* whatever still runs inside ends with it */
	if (s->keeper > 0) {
		kill(s->keeper, SIGCONT);
		waitpid(s->keeper, NULL, 0);
	}
	s->keeper = 0;
	close_fd(&s->tun_fd);
	close_fd(&s->diag_fd);
	close_fd(&s->netns_fd);
}
