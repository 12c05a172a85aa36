/* SPDX-License-Identifier: MIT */
/*
 * isolate: what the worker may still do once it reads hostile bytes.
 *
 * Two stages, because libraries, hooks and outputs are opened in between. After
 * the second one a worker taken over by a hostile packet holds its own relay
 * sockets and the TUN, can make more Internet sockets as a user without rights, and
 * can ask the supervisor who owns a socket. It can't open, start, trace or
 * signal anything.
 *
 * The list below is what libuv's loop (1.44: epoll, eventfd, timeouts by
 * epoll_pwait), sockets, the TUN's read and write, malloc and abort() need.
 */
#include "isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#include <cap-ng.h>
#include <seccomp.h>

#include "fds.h"
#include "isolate_filter.h"

#include "base/util.h"

/* --- stage 1 ------------------------------------------------------------------- */

static int take_user(const struct passwd *pw, struct isolate_user *u)
{
	if (!pw)
		return -ENOENT;
	if (!pw->pw_uid || !pw->pw_gid)
		return -EPERM;
	u->uid = pw->pw_uid;
	u->gid = pw->pw_gid;
	str_copy(u->name, sizeof(u->name), pw->pw_name);
	return 0;
}

int isolate_find_user(const char *name, struct isolate_user *u)
{
	char *end;
	unsigned long uid = strtoul(name, &end, 10);

	if (*name < '0' || *name > '9' || *end || uid >= UINT32_MAX)
		return take_user(getpwnam(name), u);
	if (!uid)
		return -EPERM;
	if (!take_user(getpwuid((uid_t)uid), u))
		return 0;
	u->uid = (uid_t)uid; /* a number needs no name */
	u->gid = (gid_t)uid;
	snprintf(u->name, sizeof(u->name), "%lu", uid);
	return 0;
}

int isolate_worker_user(struct isolate_user *u)
{
	if (!take_user(getpwnam("weir"), u))
		return 0;
	return take_user(getpwnam("nobody"), u) ? -ENOENT : 0;
}

static int raise_nofile(size_t nofile)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		return -errno;
	if (rl.rlim_cur >= nofile)
		return 0;
	if (rl.rlim_max < nofile) {
		const struct rlimit more = {nofile, nofile};

		if (!setrlimit(RLIMIT_NOFILE, &more)) /* root may */
			return 0;
	}
	rl.rlim_cur = MIN((rlim_t)nofile, rl.rlim_max);
	return setrlimit(RLIMIT_NOFILE, &rl) ? -errno : 0;
}

static bool is_kept(int fd, const int *keep, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (keep[i] == fd)
			return true;
	}
	return false;
}

/** write_only - standard error may be a terminal that can be read: what is typed is not for us */
static void write_only(int fd)
{
	const int flags = fcntl(fd, F_GETFL);
	char path[32];
	int again;

	if (flags < 0 || (flags & O_ACCMODE) != O_RDWR)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
	if (again < 0) /* a socket, or another user's terminal */
		return;
	dup3(again, fd, O_CLOEXEC);
	close(again);
}

int isolate_worker_early(const int *keep, size_t n_keep, size_t nofile)
{
	const struct rlimit none = {0, 0};

	setsid(); /* no signal of the terminal; fails only where it is so already */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || setrlimit(RLIMIT_CORE, &none) ||
	    prctl(PR_SET_DUMPABLE, 0))
		return -errno;
	for (int fd = 0; fd < 3; fd++) {
		if (!is_kept(fd, keep, n_keep))
			fds_null(fd);
	}
	fds_close_except(3, keep, n_keep);
	write_only(STDERR_FILENO);
	if (chdir("/") || raise_nofile(nofile))
		return -errno;
	return 0;
}

/* --- stage 2: identity --------------------------------------------------------- */

static int drop_user(const struct isolate_user *u)
{
	if (!u)
		return 0;
	if (setgroups(0, NULL) || setresgid(u->gid, u->gid, u->gid) ||
	    setresuid(u->uid, u->uid, u->uid))
		return -errno;
	if (!setresuid(-1, 0, -1) || !setresgid(-1, 0, -1)) /* must be impossible now */
		return -EPERM;
	return 0;
}

int isolate_drop_capabilities(void)
{
	capng_clear(CAPNG_SELECT_BOTH);
	/* the bounding set needs CAP_SETPCAP; without it no_new_privs makes up for it */
	if (capng_apply(CAPNG_SELECT_CAPS))
		return -EPERM;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	capng_get_caps_process();
	return capng_have_capabilities(CAPNG_SELECT_CAPS) > CAPNG_NONE ? -EPERM : 0;
}

int isolate_become(const struct isolate_user *u)
{
	int r = drop_user(u);

	if (!r)
		r = isolate_drop_capabilities();
	/* a change of user clears it */
	return r ? r : prctl(PR_SET_PDEATHSIG, SIGKILL) ? -errno : 0;
}

/* --- stage 2: system calls -------------------------------------------------------- */

static const int allowed[] = {
	/* the loop */
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(eventfd2),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_gettime),
	SCMP_SYS(pipe2),
	/* descriptors we have */
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(close),
	SCMP_SYS(dup),
	SCMP_SYS(dup3),
	SCMP_SYS(fstat),
	SCMP_SYS(lseek),
	/* sockets; socket() itself is below */
	SCMP_SYS(bind),
	SCMP_SYS(connect),
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(setsockopt),
	SCMP_SYS(getsockopt),
	SCMP_SYS(shutdown),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(recvmmsg),
	/* memory; executable mappings are below */
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	/* clocks, random numbers, locks */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(getrandom),
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(getrusage),
	SCMP_SYS(membarrier),
	/* ourselves; the way out */
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getppid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* What the run-time of a sanitizer build needs for its checks and its report. */
static const int allowed_asan[] = {
	SCMP_SYS(mincore),	   SCMP_SYS(readlink), SCMP_SYS(sched_getaffinity),
	SCMP_SYS(set_robust_list), SCMP_SYS(prctl),    SCMP_SYS(getrlimit),
	SCMP_SYS(prlimit64),	   SCMP_SYS(mprotect), SCMP_SYS(ioctl),
	SCMP_SYS(newfstatat),	   SCMP_SYS(stat),
};

static const int allowed_gcov[] = {
	SCMP_SYS(openat), SCMP_SYS(open),  SCMP_SYS(newfstatat),
	SCMP_SYS(fcntl),  SCMP_SYS(mkdir), SCMP_SYS(ftruncate),
};

/** allow_sockets - Internet stream and datagram ones (a ping socket is a datagram one) */
static int allow_sockets(scmp_filter_ctx ctx)
{
	static const unsigned family[] = {AF_INET, AF_INET6}, type[] = {SOCK_STREAM, SOCK_DGRAM};
	const unsigned type_mask = ~(unsigned)(SOCK_NONBLOCK | SOCK_CLOEXEC);
	int r = 0;

	for (size_t i = 0; !r && i < 4; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
				     SCMP_A0_32(SCMP_CMP_EQ, family[i / 2], 0),
				     SCMP_A1_32(SCMP_CMP_MASKED_EQ, type_mask, type[i % 2]));
	return r;
}

static int allow_ioctls(scmp_filter_ctx ctx)
{
	static const unsigned request[] = {FIONREAD, FIONBIO, SIOCOUTQ};
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(request); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1_32(SCMP_CMP_EQ, request[i], 0));
	return r;
}

static int allow_fcntls(scmp_filter_ctx ctx)
{
	static const unsigned cmd[] = {
		F_GETFD,	 F_SETFD,    F_GETFL, F_SETFL,
		F_DUPFD_CLOEXEC, F_GET_SEALS}; /* the last one: of rules that are passed on */
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(cmd); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
				     SCMP_A1_32(SCMP_CMP_EQ, cmd[i], 0));
	return r;
}

/** allow_memory - anonymous memory, never executable */
static int allow_memory(scmp_filter_ctx ctx)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				 SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (!r && !WITH_ASAN)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				     SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return r;
}

/** allow_abort - a signal to ourselves only */
static int allow_abort(scmp_filter_ctx ctx)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				SCMP_A0_32(SCMP_CMP_EQ, (unsigned)getpid(), 0));
}

static int fill_filter(scmp_filter_ctx ctx)
{
	int r = filter_each(ctx, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));

	/* the sanitizer's list holds ioctl as a whole: isatty() before its report */
	if (!r && WITH_ASAN)
		r = filter_each(ctx, SCMP_ACT_ALLOW, allowed_asan, ARRAY_SIZE(allowed_asan));
	else if (!r)
		r = allow_ioctls(ctx);
	if (!r && __gcov_dump)
		r = filter_each(ctx, SCMP_ACT_ALLOW, allowed_gcov, ARRAY_SIZE(allowed_gcov));
	else if (!r)
		r = allow_fcntls(ctx);
	if (!r)
		r = allow_sockets(ctx);
	if (!r)
		r = allow_memory(ctx);
	if (!r)
		r = allow_abort(ctx);
	if (!r)
		r = filter_extra(ctx);
	return r;
}

static int by_value(const void *a, const void *b)
{
	return *(const uint8_t *)a - *(const uint8_t *)b;
}

/**
 * settle_libc - what the C library does once, by a call that the filter does not let pass
 *
 * glibc's qsort() asks how much memory there is (sysinfo) when it first gets more than a kilobyte.
 * A peer can choose how many suites a hello has, or how often a text has a word.
 */
static void settle_libc(void)
{
	uint8_t v[4096] = {1};

	qsort(v, sizeof(v), 1, by_value);
}

static int load_filter(void)
{
	scmp_filter_ctx ctx = filter_new(SCMP_ACT_KILL_PROCESS);

	settle_libc();
	return ctx ? filter_load(ctx, fill_filter(ctx)) : -ENOMEM;
}

int isolate_worker_lock(const struct isolate_user *u, char *err, size_t errsize)
{
	const char *what = "the worker can't change its user";
	int r = drop_user(u);

	if (!r) {
		what = "the worker can't give up its capabilities";
		r = isolate_drop_capabilities();
	}
	/* a change of user clears the first and may set the second */
	if (!r && (prctl(PR_SET_PDEATHSIG, SIGKILL) || prctl(PR_SET_DUMPABLE, 0)))
		r = -errno;
	if (!r && !__gcov_dump) {
		what = "the worker's Landlock domain can't be made";
		r = isolate_landlock();
		if (r == -EOPNOTSUPP) /* the filter has the same effect: this is a second wall */
			r = 0;
	}
	if (!r) {
		what = "the worker's system call filter can't be loaded";
		r = load_filter();
	}
	if (r)
		snprintf(err, errsize, "%s: %s", what, strerror(-r));
	return r;
}
