/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fds.h"
#include "control.h"
#include "inside.h"
#include "proctree.h"

#include "base/clock.h"
#include "base/util.h"

/*
 * A signal to a group reaches its members one after the other, in one go of the
 * kernel. Longer than this apart, they were two signals.
 */
#define GROUP_WAIT_MS 2
#define GROUP_SAME_NS (100 * NSEC_PER_MSEC)

struct seen {
	pid_t sender;
	uint64_t at;
};

struct keeper {
	const struct keeper_args *args;
	int sig_fd;
	pid_t command; /* 0 = not started, or reaped */
	bool begun, stopped;
	struct seen seen[NSIG]; /* signals the whole process group got */
	uid_t uid;		/* of --user */
	gid_t gid;
	const char *user;		/* NULL: COMMAND stays who we are */
	char control[CONTROL_PATH_MAX]; /* the supervisor's socket; "" = not known */
	struct inside_dns dns;
	union { /* an order as it came */
		struct keeper_order order;
		struct keeper_resolv resolv;
	} in;
};

/* --- events up ---------------------------------------------------------------------- */

static void tell(const struct keeper *k, uint32_t type, pid_t pid, int status)
{
	const struct sandbox_event ev = {.type = type, .pid = pid, .status = status};

	send(k->args->ctl_fd, &ev, sizeof(ev), MSG_NOSIGNAL);
}

static _Noreturn void fail(const struct keeper *k, int err, const char *text)
{
	struct sandbox_event ev = {.type = SANDBOX_FAILED, .status = err};

	str_copy(ev.text, sizeof(ev.text), text);
	send(k->args->ctl_fd, &ev, sizeof(ev), MSG_NOSIGNAL);
	_exit(126);
}

/** tell_with - @data, @len long, and descriptors; 0 or -errno */
static int tell_with(const struct keeper *k, void *data, size_t len, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(KEEPER_FDS_MAX * sizeof(int))];
	} u = {.room = {0}};
	struct iovec iov = {data, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n) {
		msg.msg_control = u.room;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		u.align.cmsg_level = SOL_SOCKET;
		u.align.cmsg_type = SCM_RIGHTS;
		u.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&u.align), fds, n * sizeof(int));
	}
	return sendmsg(k->args->ctl_fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/** dns_fds - the sockets of @n resolvers in @fds; returns how many they are */
static size_t dns_fds(const struct sandbox_dns *dns, unsigned n, int *fds)
{
	for (unsigned i = 0; i < n; i++) {
		*fds++ = dns[i].udp_fd;
		*fds++ = dns[i].tcp_fd;
	}
	return 2 * (size_t)n;
}

static void dns_close(struct sandbox_dns *dns, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		close_fd(&dns[i].udp_fd);
		close_fd(&dns[i].tcp_fd);
	}
}

static int tell_ready(const struct keeper *k, const struct sandbox *s)
{
	struct keeper_ready ready = {.ev.type = SANDBOX_READY, .sandbox = *s};
	int fds[KEEPER_FDS_MAX] = {s->tun_fd, s->diag_fd, s->netns_fd};
	size_t n = 3 + dns_fds(s->dns, s->n_dns, fds + 3);

	return tell_with(k, &ready, sizeof(ready), fds, n);
}

/* --- COMMAND --------------------------------------------------------------------------- */

/** parse_uid - digits only: -1 and 2^32 would be somebody else's */
static bool parse_uid(const char *text, uid_t *uid)
{
	unsigned long long n;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	n = strtoull(text, &end, 10);
	*uid = (uid_t)n;
	return !errno && !*end && n < (uid_t)-1;
}

/** find_user - --user NAME or number; read before the namespaces change what can be asked */
static void find_user(struct keeper *k)
{
	const char *name = k->args->cfg->user;
	struct passwd *pw;
	char text[256];
	uid_t uid;

	if (!name)
		return;
	if (k->args->userns)
		fail(k, EPERM, "--user needs root");
	pw = getpwnam(name);
	if (!pw && parse_uid(name, &uid))
		pw = getpwuid(uid);
	if (pw) {
		k->uid = pw->pw_uid;
		k->gid = pw->pw_gid;
		k->user = strdup(pw->pw_name);
		if (!k->user)
			fail(k, ENOMEM, "out of memory");
		return;
	}
	snprintf(text, sizeof(text), "--user %.64s: no such user", name);
	fail(k, ENOENT, text);
}

static int become_user(const struct keeper *k)
{
	if (!k->user)
		return 0;
	if (initgroups(k->user, k->gid) || setgid(k->gid) || setuid(k->uid))
		return -errno;
	return 0;
}

/** command_exec - as the caller would have started it: mask, dispositions, descriptors, ids */
/**
 * not_found - is there no file of the name that @errno_exec was about, as a shell would see it?
 *
 * execvp(3) says EACCES as soon as one directory of PATH can't be searched.
 */
static bool not_found(const char *name, int errno_exec)
{
	const char *path = getenv("PATH");
	char file[4096];

	if (errno_exec == ENOENT)
		return true;
	if (errno_exec != EACCES || !path || strchr(name, '/'))
		return false;
	for (size_t len; *path; path += len + (path[len] == ':')) {
		len = strcspn(path, ":");
		snprintf(file, sizeof(file), "%.*s/%s", (int)len, path, name);
		if (!access(file, F_OK))
			return false;
	}
	return true;
}

static _Noreturn void command_exec(const struct keeper *k, pid_t keeper)
{
	int err = -become_user(k);

	if (!err) {
		/* should the keeper and the supervisor be killed at the same moment */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != keeper)
			_exit(126);
		if (k->args->chld_ignored)
			signal(SIGCHLD, SIG_IGN);
		sigprocmask(SIG_SETMASK, k->args->orig, NULL);
		execvp(k->args->cfg->command[0], k->args->cfg->command);
		err = errno;
		if (not_found(k->args->cfg->command[0], err))
			err = ENOENT;
	}
	tell(k, SANDBOX_EXEC_FAILED, 0, err);
	_exit(err == ENOENT ? 127 : 126);
}

/** let_go - hold on to nothing of the caller's: a pipe ends when COMMAND is done with it */
static void let_go(const struct keeper *k)
{
	const int keep[] = {k->args->ctl_fd, k->sig_fd};

	for (int fd = 0; fd < 3; fd++) {
		if (fd != keep[0] && fd != keep[1])
			fds_null(fd);
	}
	fds_close_except(3, keep, ARRAY_SIZE(keep));
}

static void command_start(struct keeper *k)
{
	const pid_t keeper = getpid();
	pid_t pid = fork();

	if (pid == 0)
		command_exec(k, keeper);
	if (pid < 0) {
		tell(k, SANDBOX_EXEC_FAILED, 0, errno);
		tell(k, SANDBOX_EXITED, 0, 126 << 8);
		tell(k, SANDBOX_EMPTY, 0, 0);
		_exit(126);
	}
	k->command = pid;
	k->begun = true;
	tell(k, SANDBOX_STARTED, pid, 0);
	let_go(k);
}

/**
 * follow - stop and continue the supervisor with COMMAND, for the shell's job control
 *
 * Done here and not by the supervisor itself: what it learns of COMMAND may be
 * out of date, and stopped by mistake it could not learn better.
 */
static void follow(struct keeper *k, bool stopped)
{
	k->stopped = stopped;
	kill(k->args->supervisor, stopped ? SIGSTOP : SIGCONT);
}

static void command_ended(struct keeper *k, int status)
{
	const pid_t pid = k->command;

	k->command = 0;
	if (k->stopped) /* killed while it was, or continued so shortly before that we missed it */
		follow(k, false);
	if (k->args->cfg->kill_children)
		proctree_end_children(NULL);
	tell(k, SANDBOX_EXITED, pid, status);
}

/** reap - false when nothing runs inside any more */
static bool reap(struct keeper *k)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED | __WALL)) > 0) {
		if (pid != k->command)
			continue;
		if (WIFSTOPPED(status)) {
			follow(k, true);
			tell(k, SANDBOX_STOPPED, pid, WSTOPSIG(status));
		} else if (WIFCONTINUED(status)) {
			follow(k, false);
			tell(k, SANDBOX_CONTINUED, pid, 0);
		} else {
			command_ended(k, status);
		}
	}
	return !(pid < 0 && errno == ECHILD);
}

/* --- signals ------------------------------------------------------------------------------ */

/** read_signals - remember what the group was sent; true when a child changed */
static bool read_signals(struct keeper *k)
{
	struct signalfd_siginfo si;
	bool chld = false;

	while (read(k->sig_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			chld = true;
		else if (si.ssi_signo < NSIG)
			k->seen[si.ssi_signo] = (struct seen){(pid_t)si.ssi_pid, clock_mono_ns()};
	}
	return chld;
}

static bool take_seen(struct keeper *k, int signo, pid_t sender)
{
	struct seen *s = &k->seen[signo];

	if (s->sender != sender || !s->at || clock_mono_ns() - s->at > GROUP_SAME_NS)
		return false;
	*s = (struct seen){0};
	return true;
}

/** pass_signal - true when a child changed meanwhile */
static bool pass_signal(struct keeper *k, int signo, pid_t sender)
{
	struct pollfd p = {.fd = k->sig_fd, .events = POLLIN};
	bool chld = read_signals(k);

	if (!k->command || signo <= 0 || signo >= NSIG)
		return chld;
	if (getpgid(k->command) == getpgrp()) {
		if (take_seen(k, signo, sender))
			return chld;
		poll(&p, 1, GROUP_WAIT_MS);
		chld |= read_signals(k);
		if (take_seen(k, signo, sender))
			return chld;
	}
	kill(k->command, signo);
	return chld;
}

/** pass_continue - the whole group: what was stopped together goes on together */
static void pass_continue(struct keeper *k)
{
	pid_t group;

	reap(k); /* the shell may have continued the group before us */
	if (!k->command || !k->stopped)
		return;
	group = getpgid(k->command);
	kill(k->command, SIGCONT);
	if (group > 0 && group != getpgrp())
		kill(-group, SIGCONT);
	else
		kill(0, SIGCONT);
}

/* --- the loop -------------------------------------------------------------------------------- */

/** new_resolvers - make them work inside and hand their sockets over */
static void new_resolvers(struct keeper *k, const struct hostdns_conf *conf)
{
	struct keeper_dns m = {.ev.type = SANDBOX_DNS};
	int fds[2 * SANDBOX_DNS_MAX];
	size_t n_fds;

	m.n = inside_dns_apply(&k->dns, conf, m.dns, m.ev.text, sizeof(m.ev.text));
	n_fds = dns_fds(m.dns, m.n, fds);
	if (m.n || m.ev.text[0])
		tell_with(k, &m, offsetof(struct keeper_dns, dns) + m.n * sizeof(m.dns[0]), fds,
			  n_fds);
	dns_close(m.dns, m.n);
}

/** order_whole - @n bytes are what an order of this kind has */
static bool order_whole(const struct keeper *k, ssize_t n)
{
	const size_t head = offsetof(struct keeper_resolv, conf.text);

	if (n < (ssize_t)sizeof(k->in.order))
		return false;
	if (k->in.order.op != KEEPER_RESOLV)
		return n == (ssize_t)sizeof(k->in.order);
	return (size_t)n >= head && k->in.resolv.conf.len == (size_t)n - head;
}

/** obey - one order; false when the supervisor is gone or wants the end */
static bool obey(struct keeper *k, bool *chld)
{
	const struct keeper_order *in = &k->in.order;
	ssize_t n = recv(k->args->ctl_fd, &k->in, sizeof(k->in), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (!order_whole(k, n))
		return false;
	switch (in->op) {
	case KEEPER_GO:
		if (!k->begun)
			command_start(k);
		return true;
	case KEEPER_SIGNAL:
		*chld |= pass_signal(k, in->signo, in->sender);
		return true;
	case KEEPER_RESOLV:
		new_resolvers(k, &k->in.resolv.conf);
		return true;
	case KEEPER_CONTINUE:
		pass_continue(k);
		*chld = true;
		return true;
	default:
		return false;
	}
}

static _Noreturn void keep(struct keeper *k)
{
	struct pollfd p[] = {
		{.fd = k->sig_fd, .events = POLLIN},
		{.fd = k->args->ctl_fd, .events = POLLIN},
	};

	for (;;) {
		bool chld = false;

		poll(p, ARRAY_SIZE(p), -1);
		if (p[0].revents)
			chld = read_signals(k);
		if (p[1].revents && !obey(k, &chld)) {
			proctree_end_children(NULL);
			control_remove(k->control); /* where the supervisor could not */
			_exit(0);
		}
		if (chld && k->begun && !reap(k)) {
			tell(k, SANDBOX_EMPTY, 0, 0);
			_exit(0);
		}
	}
}

static void watch_signals(struct keeper *k)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	k->sig_fd = signalfd(-1, &all, SFD_NONBLOCK | SFD_CLOEXEC);
	if (k->sig_fd < 0)
		fail(k, errno, "no signalfd");
}

_Noreturn void keeper_main(const struct keeper_args *args)
{
	static struct keeper k; /* too large for a stack */
	struct sandbox s = {.userns = args->userns, .tun_fd = -1, .diag_fd = -1, .netns_fd = -1};
	char err[256];
	int r;

	k.args = args;
	prctl(PR_SET_NAME, "weir-keeper");
	watch_signals(&k);
	find_user(&k);
	/* Before the user namespace, in which we may be somebody else. */
	if (control_path(args->supervisor, getuid(), k.control))
		k.control[0] = '\0';
	r = inside_furnish(&s, args->cfg, args->conf, &k.dns, err, sizeof(err));
	if (r)
		fail(&k, -r, err);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	/*
	 * The closed control socket says that the supervisor is gone; the signal only
	 * wakes a keeper that somebody stopped. Set after the user namespace, whose
	 * change of credentials would clear it.
	 */
	prctl(PR_SET_PDEATHSIG, SIGCONT);
	if (tell_ready(&k, &s))
		_exit(126);
	close_fd(&s.tun_fd);
	close_fd(&s.diag_fd);
	close_fd(&s.netns_fd);
	dns_close(s.dns, s.n_dns);
	keep(&k);
}
