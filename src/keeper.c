/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
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

static int tell_ready(const struct keeper *k, const struct sandbox *s)
{
	struct keeper_ready ready = {.ev.type = SANDBOX_READY, .sandbox = *s};
	int fds[KEEPER_FDS_MAX] = {s->tun_fd, s->diag_fd, s->netns_fd};
	size_t n = 3;
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(fds))];
	} u;
	struct iovec iov = {&ready, sizeof(ready)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf};
	struct cmsghdr *c;

	for (unsigned i = 0; i < s->n_dns; i++) {
		fds[n++] = s->dns[i].udp_fd;
		fds[n++] = s->dns[i].tcp_fd;
	}
	memset(&u, 0, sizeof(u));
	msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
	c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return sendmsg(k->args->ctl_fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
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

/** obey - one order; false when the supervisor is gone or wants the end */
static bool obey(struct keeper *k, bool *chld)
{
	struct keeper_order o;
	ssize_t n = recv(k->args->ctl_fd, &o, sizeof(o), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n != (ssize_t)sizeof(o))
		return false;
	switch (o.op) {
	case KEEPER_GO:
		if (!k->begun)
			command_start(k);
		return true;
	case KEEPER_SIGNAL:
		*chld |= pass_signal(k, o.signo, o.sender);
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
	struct keeper k = {.args = args};
	struct sandbox s = {.userns = args->userns, .tun_fd = -1, .diag_fd = -1, .netns_fd = -1};
	char err[256];
	int r;

	prctl(PR_SET_NAME, "weir-keeper");
	watch_signals(&k);
	find_user(&k);
	/* Before the user namespace, in which we may be somebody else. */
	if (control_path(args->supervisor, getuid(), k.control))
		k.control[0] = '\0';
	r = inside_furnish(&s, args->cfg, err, sizeof(err));
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
	for (unsigned i = 0; i < s.n_dns; i++) {
		close_fd(&s.dns[i].udp_fd);
		close_fd(&s.dns[i].tcp_fd);
	}
	keep(&k);
}
